//! Each row of the ownership table has a bug that breaks it and a scenario that notices.
//!
//! Runs only in builds with the feature `planted`: the binary is given the bug once the
//! scenario's fleet is made, and the scenario must then fail, for the right reason.

use crate::ownership::{PLANTED, births, copies, markers, places, projects};
use novahost::planted::Bug;

/// Bug, scenario, and what the scenario says when the rule is broken.
type Catch = (Bug, fn(), &'static str);

const CATCHES: &[Catch] = &[
    (Bug::IdHalfNotCompared, copies::a_restore_beside_its_original_is_not_ours, "duplicate"),
    (
        Bug::UuidHalfNotCompared,
        copies::a_restore_over_our_id_with_another_uuid_is_an_impostor,
        "touched, and not ours to touch",
    ),
    (
        Bug::UnfinishedIsNobodys,
        births::a_half_made_machine_is_built_to_its_end_and_never_made_again,
        "`continue` is not said",
    ),
    (
        Bug::OpenBirthForgotten,
        births::a_machine_that_is_being_born_is_waited_for,
        "`[being-born]` is not said",
    ),
    (
        Bug::StrayBirthIsAbsent,
        births::a_birth_that_nobody_remembers_blocks_all_that_is_not_found,
        "create vm/web",
    ),
    (
        Bug::SecondBearerOverlooked,
        copies::two_machines_that_bind_are_duplicates_and_both_are_left_alone,
        "touched, and not ours to touch",
    ),
    (
        Bug::MovedIsTakenOver,
        copies::a_restore_under_another_id_has_moved_and_is_left_to_a_person,
        "vm/web",
    ),
    (
        Bug::CopyIsUnmanaged,
        copies::a_clone_of_ours_is_an_impostor_when_the_original_is_gone,
        "touched, and not ours to touch",
    ),
    (
        Bug::SignatureNotChecked,
        markers::a_marker_without_the_right_signature_is_an_impostor,
        "touched, and not ours to touch",
    ),
    (
        Bug::LostMarkerForgotten,
        markers::a_marker_that_was_removed_blocks_while_the_journal_remembers,
        "touched, and not ours to touch",
    ),
    (
        Bug::ForeignMarkerIsOurs,
        projects::two_projects_with_the_same_keys_leave_each_other_alone,
        "update vm/web",
    ),
    (
        Bug::UnreadableIsAbsent,
        places::a_machine_that_cannot_be_read_is_unknown_and_not_absent,
        "create vm/web",
    ),
];

fn name(bug: Bug) -> &'static str {
    Bug::ALL.iter().find(|(it, ..)| *it == bug).expect("every bug has a row").1
}

/// Runs a scenario with the bug, and says how it failed.
fn failure(bug: Bug, scenario: fn()) -> Option<String> {
    PLANTED.set(Some(name(bug)));
    let ended = std::panic::catch_unwind(scenario);
    PLANTED.set(None);
    let payload = ended.err()?;
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|it| (*it).to_owned()))
}

#[test]
fn each_rule_of_the_ownership_table_has_a_scenario_that_fails_without_it() {
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let halves = CATCHES.chunks(CATCHES.len().div_ceil(2));
        let threads: Vec<_> = halves
            .map(|half| {
                scope.spawn(move || {
                    let missed = half.iter().filter_map(|(bug, scenario, says)| {
                        match failure(*bug, *scenario) {
                            None => Some(format!("{} was not noticed", name(*bug))),
                            Some(text) if !text.contains(says) => {
                                Some(format!("{}: `{says}` is not in\n{text}", name(*bug)))
                            }
                            Some(_) => None,
                        }
                    });
                    missed.collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|it| it.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The bugs of no row are hunted by the campaigns, and are held to be there.
#[test]
fn every_bug_of_a_row_has_a_scenario_and_no_other_has() {
    for (bug, name, _, row, _) in Bug::ALL {
        let scenarios = CATCHES.iter().filter(|(it, ..)| it == bug).count();
        assert_eq!(scenarios, usize::from(!row.is_empty()), "scenarios of {name}");
    }
}

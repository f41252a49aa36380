//! The rules as a list: which row of ARCHITECTURE.md, section 6, each one holds, and who
//! else says so.

use super::{
    lab::Lab,
    life, lost, observe, read, refused,
    subject::Scene::{self, Crowd, Idle, Slow, Usual},
    tasks, transport,
};
use std::{collections::BTreeMap, fmt, fs, path::Path, pin::Pin};

/// Who, beside our own simulator, says that this is how the product behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Witness {
    /// The product's own schema, over the recorded exchanges.
    Schema,
    /// An official client, which drives the simulator through the same calls.
    Proxmoxer,
    /// Nobody: our reading of the sources alone.
    Nobody,
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Witness::Schema => "schema check",
            Witness::Proxmoxer => "proxmoxer",
            Witness::Nobody => "witness: none",
        })
    }
}

type Check = fn(Lab) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// One rule.
pub struct Rule {
    /// Its row in ARCHITECTURE.md.
    pub row: u8,
    /// Its name, which is that of its function.
    pub name: &'static str,
    /// The world it wants.
    pub scene: Scene,
    /// Whether it sends what must be refused, or plants faults.
    pub faulty: bool,
    /// Its witness.
    pub witness: Witness,
    /// The rule itself.
    pub check: Check,
}

macro_rules! rules {
    ($($row:literal $module:ident::$name:ident $scene:ident $side:ident $witness:ident;)*) => {
        /// All rules, by row.
        pub static RULES: &[Rule] = &[$(Rule {
            row: $row,
            name: stringify!($name),
            scene: $scene,
            faulty: rules!(@faulty $side),
            witness: Witness::$witness,
            check: |lab| Box::pin($module::$name(lab)),
        }),*];
    };
    (@faulty clean) => { false };
    (@faulty faulty) => { true };
}

rules! {
    1 observe::a_hypervisor_that_fails_says_why Usual faulty Nobody;
    1 observe::a_renamed_machine_and_a_moved_one_are_seen_as_they_are_now Usual clean Schema;
    2 observe::a_whole_view_is_complete Usual clean Schema;
    2 observe::fewer_rights_are_scoped Usual faulty Nobody;
    2 observe::a_row_that_hides_one_machine_is_scoped Usual clean Schema;
    2 observe::a_silent_host_is_incomplete Usual faulty Nobody;
    2 observe::a_frozen_installation_is_incomplete Usual clean Nobody;
    2 observe::what_cannot_be_read_is_unknown_and_not_absent Usual faulty Nobody;
    3 observe::a_host_that_does_not_list_is_a_gap Usual faulty Nobody;
    3 observe::a_listing_cut_short_is_never_a_shorter_list Usual faulty Nobody;
    4 transport::another_installation_gets_no_change Usual faulty Nobody;
    5 read::a_machine_is_found_where_it_moved Usual faulty Nobody;
    5 read::absence_is_proved_on_every_host Usual faulty Nobody;
    5 read::hidden_is_not_absent Usual faulty Nobody;
    5 read::a_pool_is_there_or_it_is_not Usual faulty Nobody;
    6 read::a_version_changes_with_the_object_and_only_then Usual faulty Nobody;
    6 life::pending_values_are_not_in_force Usual clean Schema;
    7 life::a_submit_sends_one_call Usual clean Nobody;
    8 lost::a_lost_birth_is_looked_up Usual faulty Nobody;
    8 lost::a_lost_change_is_looked_up Usual faulty Nobody;
    8 transport::a_read_is_tried_again_and_a_change_is_not Usual faulty Nobody;
    9 refused::a_locked_machine_is_busy Usual faulty Nobody;
    9 refused::what_exists_is_not_made_again Usual faulty Nobody;
    9 refused::what_is_gone_is_missing Usual faulty Nobody;
    9 refused::a_missing_privilege_is_a_permission Usual faulty Nobody;
    9 refused::what_never_left_is_not_sent Usual faulty Nobody;
    10 refused::a_stale_version_is_a_conflict Usual faulty Nobody;
    11 life::what_a_step_does_not_speak_of_survives_it Usual clean Schema;
    11 life::a_machine_changes_hands_by_its_marker_alone Usual clean Schema;
    12 life::a_birth_is_off_marked_and_collides Usual clean Schema;
    13 tasks::a_task_runs_then_is_done_and_answers_keep_their_order Slow clean Proxmoxer;
    13 tasks::a_task_that_cannot_be_found_is_unknown Usual faulty Nobody;
    13 tasks::the_end_of_a_task_is_told_in_the_product_s_words Usual faulty Nobody;
    14 lost::a_lost_call_about_a_pool_is_looked_up Usual faulty Nobody;
    14 lost::what_still_runs_is_running Slow faulty Nobody;
    15 life::a_machine_is_born_from_a_template_as_declared Usual clean Schema;
    15 life::a_machine_is_born_from_an_image_as_declared Usual clean Schema;
    15 life::every_change_reads_back_as_declared Usual clean Schema;
    15 life::a_machine_changes_its_pool Usual clean Schema;
    15 life::a_pool_is_made_described_and_removed Usual clean Schema;
    15 life::normalizing_twice_is_normalizing_once Usual clean Nobody;
    16 life::what_cannot_be_had_is_an_error_while_planning Usual clean Nobody;
    17 life::every_end_of_a_build_holds_when_it_is_done Usual clean Schema;
    17 life::a_machine_starts_stops_and_goes Usual clean Schema;
    17 life::a_guest_that_does_not_hear_is_switched_off Usual clean Nobody;
    18 life::a_half_made_machine_is_built_to_its_end Usual clean Schema;
    19 life::a_device_is_in_the_map_from_the_call_that_makes_it Usual clean Schema;
    20 transport::no_secret_is_said_aloud Usual faulty Nobody;
    21 observe::an_inventory_costs_one_request_for_each_machine_that_matters Crowd clean Schema;
    21 transport::a_redirect_is_not_followed Usual faulty Nobody;
    21 transport::an_idle_connection_is_replaced Idle faulty Nobody;
    21 transport::replies_are_compressed Crowd clean Proxmoxer;
    21 transport::the_next_endpoint_is_used_when_the_first_is_down Usual faulty Nobody;
    21 transport::a_session_is_opened_once_renewed_and_closed Usual faulty Proxmoxer;
    22 read::an_error_says_whether_again_can_help Usual faulty Nobody;
    23 observe::an_examination_makes_every_check_and_changes_nothing Usual faulty Nobody;
    24 tasks::an_author_is_who_the_log_names_and_never_ourselves Usual clean Schema;
    24 tasks::a_log_that_cannot_be_read_is_a_gap Usual faulty Nobody;
}

/// What ARCHITECTURE.md has to say in the last two columns of a row.
fn cells(row: u8) -> (String, String) {
    let rules = || RULES.iter().filter(|rule| rule.row == row);
    let names: Vec<_> = rules().map(|rule| format!("`{}`", rule.name)).collect();
    let mut witnesses: Vec<_> = rules().map(|rule| rule.witness).collect();
    witnesses.sort();
    witnesses.dedup();
    // A witness of one rule of a row is none of the others: said only when some rule has it.
    let said: Vec<_> = witnesses.iter().map(ToString::to_string).collect();
    (names.join(" "), said.join(", "))
}

#[test]
fn the_table_of_rules_and_the_architecture_agree() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let text = fs::read_to_string(path).unwrap();
    let section = text.split("## 6. ").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut written = BTreeMap::new();
    for line in section.lines() {
        let columns: Vec<_> = line.split('|').map(str::trim).collect();
        if let [_, number, _, _, test, witness, _] = columns[..]
            && let Ok(number) = number.parse::<u8>()
        {
            written.insert(number, (test.to_owned(), witness.to_owned()));
        }
    }
    for rule in RULES {
        println!("{:2} {:75} {}", rule.row, rule.name, rule.witness);
    }
    let wanted: BTreeMap<_, _> = RULES.iter().map(|rule| (rule.row, cells(rule.row))).collect();
    assert_eq!(written, wanted);
}

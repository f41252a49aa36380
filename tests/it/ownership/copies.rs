//! Copies, restores, and ids that were given to somebody else.

use super::{Fleet, WISHES, Wish, marker_of, stranger, without_marker};

/// `web` was deleted by hand, and its id is somebody else's machine now.
fn recycled(name: &str, notes: impl FnOnce(&str) -> Option<String>) -> (Fleet, u32) {
    let fleet = Fleet::start(name);
    let web = fleet.web();
    let notes = notes(&marker_of(&fleet.guest(web)));
    fleet.operator(|control| {
        control.delete_guest(web);
        stranger(control, web, notes.as_deref());
    });
    (fleet, web)
}

#[test]
pub fn a_recycled_id_without_a_marker_is_somebodys_machine() {
    let (fleet, web) = recycled("recycled-bare", |_| None);
    // The journal still says that this is `web`: a person has to look.
    fleet.tempt(&WISHES, |_, ran| {
        let ran = ran
            .code(5)
            .says("[lost-marker]")
            .says_in_words(&format!("{web} (`payroll`) on pve-paris"));
        ran.says_in_words("if another machine was given its id");
    });
    // Without it, nothing points there, and `web` is made anew beside it.
    fleet.lose_journal();
    let before = fleet.truth();
    fleet.run("apply --yes").code(0);
    let new = fleet.web();
    assert_ne!(new, web);
    before.is_still(&fleet.truth(), &[new], "it was made anew");
    fleet.settled();
}

#[test]
pub fn a_recycled_id_with_another_projects_marker_is_theirs() {
    let (fleet, web) = recycled("recycled-theirs", |marker| {
        Some(marker.replace("project=shop", "project=payroll").replace("vm/web", "vm/payroll"))
    });
    fleet.tempt(&[Wish::Gone], |_, ran| drop(ran.code(0)));
    let before = fleet.truth();
    fleet.run("apply --yes").code(0);
    let new = fleet.web();
    assert_ne!(new, web);
    before.is_still(&fleet.truth(), &[new], "it was made anew");
    fleet.settled();
}

#[test]
pub fn a_recycled_id_with_a_copied_marker_of_ours_is_an_impostor() {
    let (fleet, web) = recycled("recycled-copied", |marker| Some(marker.to_owned()));
    fleet.tempt_twice(|_, _, ran| {
        let ran = ran
            .code(5)
            .says("[impostor]")
            .says_in_words(&format!("{web} (`payroll`) on pve-paris"));
        ran.says_in_words("its marker names another machine uuid");
    });
    // The way out that the help names.
    fleet.edit(web, without_marker);
    let before = fleet.truth();
    fleet.run("apply --yes").code(0);
    let new = fleet.web();
    before.is_still(&fleet.truth(), &[new], "it was made anew");
    fleet.settled();
}

#[test]
pub fn a_clone_of_ours_is_not_ours_while_the_original_is_there() {
    let fleet = Fleet::start("clone-beside");
    let web = fleet.web();
    fleet.operator(|control| control.clone_guest(web, 20900, "copy"));
    // It is named, and stops nothing.
    let plan = fleet.run("plan --detailed-exitcode").code(0);
    plan.says_in_words("20900 (`copy`) on pve-paris names vm/web, but its marker names another");
    let before = fleet.truth();
    for wish in [Wish::Changed, Wish::Gone] {
        fleet.wish(wish);
        fleet.run(super::FULL).code(0);
        before.is_still(&fleet.truth(), &[web], "only the original is ours");
    }
    assert!(!fleet.world().guests.contains_key(&web), "the original is gone");
    // Now that it stands alone it is in the way, until somebody says what it is.
    fleet.tempt(&[Wish::Same, Wish::Gone], |_, ran| drop(ran.code(5).says("[impostor]")));
    fleet.edit(20900, without_marker);
    fleet.run("apply --yes").code(0);
    fleet.settled();
}

#[test]
pub fn a_clone_of_ours_is_an_impostor_when_the_original_is_gone() {
    let fleet = Fleet::start("clone-alone");
    let web = fleet.web();
    fleet.operator(|control| {
        control.clone_guest(web, 20900, "copy");
        control.delete_guest(web);
    });
    fleet.tempt_twice(|_, _, ran| {
        let ran = ran
            .code(5)
            .says("[impostor]")
            .says_in_words("20900 (`copy`) on pve-paris names vm/web");
        ran.says_in_words("remove the `novahost/1` lines from its notes");
    });
    fleet.edit(20900, without_marker);
    let before = fleet.truth();
    fleet.run("apply --yes").code(0);
    let new = fleet.web();
    before.is_still(&fleet.truth(), &[new], "it was made anew");
    fleet.settled();
}

#[test]
pub fn a_restore_beside_its_original_is_not_ours() {
    let fleet = Fleet::start("restore-beside");
    let web = fleet.web();
    fleet.operator(|control| control.restore(web, 20900));
    // The same uuid, and yet its id is not the one that the marker names.
    let plan = fleet.run("plan --detailed-exitcode").code(0);
    plan.says_in_words("20900 (`web`) on pve-paris names vm/web, but its marker names another");
    let before = fleet.truth();
    for wish in [Wish::Changed, Wish::Gone] {
        fleet.wish(wish);
        fleet.run(super::FULL).code(0);
        before.is_still(&fleet.truth(), &[web], "only the original is ours");
    }
}

#[test]
pub fn two_machines_that_bind_are_duplicates_and_both_are_left_alone() {
    let fleet = Fleet::start("duplicate");
    let web = fleet.web();
    fleet.operator(|control| control.restore(web, 20900));
    fleet.notes(20900, &format!("id={web}"), "id=20900");
    fleet.tempt_twice(|_, _, ran| {
        let ran = ran.code(5).says("[duplicate]").says_in_words("2 machines are vm/web");
        let ran = ran.says_in_words("20900 (`web`) on pve-paris");
        let ran = ran.says_in_words(&format!("{web} (`web`) on pve-paris"));
        ran.says_in_words("remove the `novahost/1` lines from the notes of the others");
    });
    fleet.edit(20900, without_marker);
    fleet.operator(|control| control.rename(20900, "kept-by-marie"));
    fleet.settled();
    assert_eq!(fleet.web(), web);
}

#[test]
pub fn a_restore_under_another_id_has_moved_and_is_left_to_a_person() {
    let fleet = Fleet::start("moved");
    let web = fleet.web();
    fleet.operator(|control| {
        control.restore(web, 20900);
        control.delete_guest(web);
    });
    fleet.tempt_twice(|_, _, ran| {
        let ran = ran.code(5).says("[moved]");
        let ran =
            ran.says_in_words(&format!("20900 (`web`) on pve-paris is vm/web, which was {web}"));
        ran.says_in_words("write `adopt: pve-paris/20900` on its entry");
    });
    // Somebody looked, and says so on the object.
    fleet.notes(20900, &format!("id={web}"), "id=20900");
    fleet.wish(Wish::Changed);
    fleet.run(super::FULL).code(0);
    assert_eq!(fleet.web(), 20900);
    assert_eq!(fleet.guest(20900).config["cores"], "2");
}

#[test]
pub fn a_restore_over_our_id_with_another_uuid_is_an_impostor() {
    let fleet = Fleet::start("restored-over");
    let web = fleet.web();
    // A backup of a clone of `web` was restored over it: our notes, another machine.
    fleet.operator(|control| {
        control.clone_guest(web, 20900, "web");
        control.delete_guest(web);
        control.restore(20900, web);
        control.delete_guest(20900);
    });
    fleet.tempt_twice(|_, _, ran| {
        let ran =
            ran.code(5).says("[impostor]").says_in_words(&format!("{web} (`web`) on pve-paris"));
        ran.says_in_words("its marker names another machine uuid");
    });
}

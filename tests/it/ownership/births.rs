//! Machines that are being made, or were half made.

use super::{FULL, Fleet, WISHES, Wish};
use crate::scratch::{Ran, send, wait_until};
use mock_servers::pve::{Control, Fault};
use std::{collections::BTreeMap, process::Stdio, time::Duration};

#[test]
pub fn a_half_made_machine_is_built_to_its_end_and_never_made_again() {
    let fleet = Fleet::start("unfinished");
    let web = fleet.web();
    // As a runner that died leaves it: never started, and without what came last.
    fleet.operator(|control| control.power(web, false));
    fleet.edit(web, |guest| {
        guest.boots.clear();
        guest.config.insert("name".to_owned(), "half".to_owned());
        guest.config.remove("tags");
    });
    fleet.notes(web, "stage=ready", "stage=new");
    fleet.lose_journal();
    let before = fleet.truth();
    fleet.run("plan").code(0).says("vm/web").says("continue");
    fleet.run("apply --yes").code(0).says("1 done");
    before.is_still(&fleet.truth(), &[web], "only the half-made one was built");
    assert_eq!(fleet.web(), web);
    assert_eq!(fleet.guest(web).boots.len(), 1, "it was started once");
    fleet.settled();
}

/// A clone whose reply was lost, by a run that was stopped, and the world as the clone
/// begins: a locked file that does not say yet whose it is.
fn begun(name: &str) -> (Fleet, u32, mock_servers::pve::world::Guest) {
    let fleet = Fleet::outside(name, "");
    let web = fleet.web();
    fleet.operator(|control| control.delete_guest(web));
    fleet.lose_journal();
    let mut lost = false;
    fleet.operator(|control| {
        control.clear_requests();
        control.set_fault(Box::new(move |point| {
            if lost {
                return Some(Fault::DropBefore);
            }
            lost = point.method == "POST" && point.template.ends_with("/clone");
            lost.then_some(Fault::DropAfter)
        }));
    });
    let mut command = fleet.it.command("apply --yes");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the clone was asked for", || {
        let all = fleet.server().control().requests();
        all.iter().any(|it| it.template.ends_with("/clone"))
    });
    send("INT", child.id());
    std::thread::sleep(Duration::from_millis(300));
    send("INT", child.id());
    Ran::of("apply --yes", &mut child, String::new()).code(10);
    wait_until("the clone is done", || fleet.server().control().is_idle());
    let born = fleet.web();
    let whole = fleet.guest(born);
    fleet.edit(born, |guest| {
        guest.config = BTreeMap::from([("lock".to_owned(), "clone".to_owned())]);
    });
    fleet.operator(Control::clear_fault);
    (fleet, born, whole)
}

#[test]
pub fn a_machine_that_is_being_born_is_waited_for() {
    let (fleet, born, whole) = begun("being-born");
    fleet.tempt(&[Wish::Same, Wish::Changed], |_, ran| {
        let ran = ran.code(5).says("[being-born]");
        ran.says_in_words(&format!("{born} (`VM {born}`) on pve-paris is being born as vm/web"));
    });
    // The clone ends, and what was begun is built to its end.
    fleet.edit(born, |guest| *guest = whole.clone());
    fleet.wish(Wish::Same);
    fleet.run("runs resume");
    fleet.run("apply --yes").code(0);
    assert_eq!(fleet.web(), born);
    fleet.settled();
}

#[test]
pub fn a_birth_that_nobody_remembers_blocks_all_that_is_not_found() {
    let (fleet, born, whole) = begun("stray-birth");
    fleet.lose_journal();
    fleet.tempt(&WISHES, |wish, ran| {
        if wish == Wish::Gone {
            ran.code(0);
        } else {
            let ran = ran
                .code(5)
                .says_in_words(&format!("{born} (`VM {born}`) on pve-paris cannot be read"));
            ran.says_in_words("it is being made (lock `clone`)");
        }
    });
    let _ = FULL;
    fleet.edit(born, |guest| *guest = whole.clone());
    fleet.run("apply --yes").code(0);
    assert_eq!(fleet.web(), born);
    fleet.settled();
}

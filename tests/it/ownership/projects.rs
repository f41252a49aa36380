//! Project names: two of them on one cluster, and one that was mistyped.

use super::{FLEET, FULL, Fleet, Wish};

/// The same fleet under another project, with the same keys and other native names.
fn mill() -> String {
    FLEET
        .replace("project: shop", "project: mill")
        .replace("pools:\n  shop:", "pools:\n  mill:")
        .replace("pool: shop", "pool: mill")
        .replace("  web:\n", "  web:\n    name: mill-web\n")
        .replace("  db:\n", "  db:\n    name: mill-db\n")
}

#[test]
pub fn two_projects_with_the_same_keys_leave_each_other_alone() {
    let fleet = Fleet::start("two-projects");
    let (web, db) = (fleet.web(), fleet.db());
    fleet.it.write("mill.yaml", &mill());
    let before = fleet.truth();
    fleet.run("apply mill.yaml --yes").code(0).says("3 done");
    let both = fleet.truth();
    let theirs: Vec<u32> = fleet
        .world()
        .guests
        .iter()
        .filter(|(_, it)| it.config.get("name").is_some_and(|it| it.starts_with("mill-")))
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(theirs.len(), 2);
    before.is_still(&both, &theirs, "the shop is untouched");
    fleet.settled();
    // All of one goes, with every consent. Nothing of the other does.
    fleet.wish(Wish::Changed);
    fleet.run(FULL).code(0);
    both.is_still(&fleet.truth(), &[web], "the mill is untouched");
    fleet.lose_journal();
    let (head, _) = FLEET.split_once("vms:\n").unwrap();
    fleet.it.write("novahost.yaml", &format!("{head}vms: {{}}\n"));
    fleet.run(&format!("{FULL} --confirm vm/web,vm/db")).code(0);
    both.is_still(&fleet.truth(), &[web, db], "the mill is untouched");
    assert!(theirs.iter().all(|id| fleet.world().guests.contains_key(id)));
    fleet.run("plan mill.yaml --detailed-exitcode").code(0);
}

#[test]
pub fn a_mistyped_project_makes_no_second_fleet() {
    let fleet = Fleet::start("mistyped");
    let (web, db) = (fleet.web(), fleet.db());
    // A new entry has no machine that could stand in its way.
    let typed = FLEET.replace("project: shop", "project: shpo");
    let typed = format!("{typed}  new: {{ profile: small, power: running }}\n");
    fleet.it.write("novahost.yaml", &typed);
    for journal in [true, false] {
        if !journal {
            fleet.lose_journal();
        }
        let before = fleet.truth();
        fleet.run("plan").code(0).says_in_words("is `project:` right?");
        let ran = fleet.run(FULL).code(5);
        before.is_still(&fleet.truth(), &[], &ran.out);
        let ran = ran.says("[name-taken]").says_in_words(&format!(
            "`web` is the name of {web} on pve-paris, which is vm/web of project `shop`"
        ));
        let ran =
            ran.says_in_words(&format!("{db} on pve-paris, which is vm/db of project `shop`"));
        ran.warns("nothing was changed").warns("`project: shop`");
    }
    fleet.settled();
}

#[test]
pub fn a_machine_that_was_renamed_is_the_same_machine() {
    let fleet = Fleet::start("renamed");
    let web = fleet.web();
    fleet.operator(|control| {
        control.rename(web, "front");
        control.rename(102, "web");
    });
    // Somebody else's machine is called `web` now; ours is still ours.
    fleet.tempt(&[Wish::Same], |_, ran| {
        ran.code(5).says("[name-taken]").says_in_words("`web` is the name of 102 on pve-paris");
    });
    fleet.operator(|control| control.rename(102, "old-print"));
    let before = fleet.truth();
    fleet.wish(Wish::Changed);
    fleet.run(FULL).code(0);
    before.is_still(&fleet.truth(), &[web], "it was called by its name again");
    assert_eq!(fleet.web(), web);
    assert_eq!(fleet.guest(web).config["name"], "web");
}

//! `vm` through the real binary: one machine of ours, and nobody else's.

use crate::scratch::{SMALL, Scratch, others, repository};
use mock_servers::{pve::Release, vcenter};

fn applied(name: &str) -> Scratch {
    let it = Scratch::with(name, SMALL);
    it.applied();
    it
}

fn runs(it: &Scratch, key: &str) -> bool {
    it.world().guests[&it.id_of(key)].running
}

#[test]
fn a_machine_is_stopped_started_and_restarted() {
    let it = applied("vm-power");
    assert!(runs(&it, "vm/a"));
    let before = others(&it.world());
    // Nobody at the terminal and no `--yes`: it says what it costs, and does nothing.
    let asked = it.sandbox("vm stop a").code(5).says("STOPS").says("120 s").fits();
    asked.warns("--yes");
    assert!(runs(&it, "vm/a"));
    let stopped = it.sandbox("vm stop a --yes").code(0).says("Command: 1 done.");
    stopped.says_in_words("the next apply starts it again");
    assert!(!runs(&it, "vm/a"));
    it.sandbox("vm stop vm/a --yes").code(0).says("off already");
    it.sandbox("vm reboot a --yes").code(5).warns("is off");
    // That it is down is a difference, and an apply puts it right.
    it.sandbox("plan --detailed-exitcode").code(2).says("start");
    it.sandbox("vm start a --yes").code(0).says("it is started");
    assert!(runs(&it, "vm/a"));
    it.sandbox("vm start a --yes").code(0).says("runs already");
    it.sandbox("vm reboot a --yes").code(0).says("then it is started again");
    assert!(runs(&it, "vm/a"));
    // An entry that says `stopped`.
    it.sandbox("vm start b --yes").code(0).says_in_words("stops it again");
    it.sandbox("vm stop b --yes").code(0);
    it.settled();
    assert_eq!(others(&it.world()), before);
}

#[test]
fn what_was_done_by_hand_is_in_the_journal() {
    let it = applied("vm-audit");
    it.sandbox("vm stop a --yes --reason maintenance --ticket T-1").code(0);
    let runs = it.sandbox("runs list").code(0);
    let run = runs.out.split_whitespace().next().unwrap();
    let given = "reason: maintenance  ticket: T-1";
    runs.clone().says("vm stop").says(given);
    let shown = it.sandbox(&format!("runs show {run}")).code(0);
    shown.says("vm/a:stop").says("shutdown").says(given);
    it.sandbox("audit list --key vm/a").code(0).says("shutdown").says(given);
    it.sandbox(&format!("audit show {run}")).code(0).says("run begun  vm stop").says(given);
    let exported = it.sandbox("audit export").code(0).out;
    let begun = exported.lines().find(|it| it.contains("vm stop") && it.contains(run)).unwrap();
    assert!(begun.contains("maintenance") && begun.contains("T-1"), "{begun}");
    it.sandbox("audit verify").code(0);
    // It settles nothing: what differs afterwards is still told by its cause.
    it.sandbox("drift").code(2).says("power").says("drift");
}

#[test]
fn json_is_one_document() {
    let it = applied("vm-json");
    let ran = it.sandbox("vm stop a --yes --format json").code(0);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["actions"][0]["id"], "vm/a:stop");
    assert_eq!(json["actions"][0]["ended"], "done");
    // Nothing to do is a document, too.
    let ran = it.sandbox("vm stop a --yes --format json").code(0);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json["address"], &json["exit_code"]), (&"vm/a".into(), &0.into()));
    // What is asked about is shown beside the document.
    let ran = it.sandbox("vm start a --format json").code(5).warns("it is started");
    assert_eq!(ran.out.trim(), "");
}

#[test]
fn nothing_that_is_not_ours_is_touched() {
    let it = applied("vm-others");
    let before = others(&it.world());
    for command in ["start", "stop", "stop --hard", "reboot", "snapshot"] {
        let ran = it.sandbox(&format!("vm {command} legacy-db --yes")).code(5);
        ran.warns("unmanaged").warns("not vm/legacy-db").warns("`novahost adopt`");
    }
    it.sandbox("vm stop nobody --yes").code(1).warns("on no hypervisor");
    it.sandbox("vm stop pool/shop --yes").code(64).warns("names no machine");
    // A copy of ours that binds as well: two of one key, and neither is touched.
    let id = it.id_of("vm/c");
    it.operator(|control| control.edit_config(id, "smbios1", Some("uuid=not-ours")));
    it.sandbox("vm stop c --yes").code(5).warns("[impostor]");
    assert_eq!(others(&it.world()), before);
    it.operator(|control| assert!(control.inspect(|world| world.guests[&id].running)));
}

#[test]
fn a_machine_that_is_not_finished_is_not_started() {
    let it = applied("vm-unfinished");
    let id = it.id_of("vm/b");
    let text = it.config("vm/b", "description").unwrap().replace("stage=ready", "stage=new");
    it.operator(|control| control.edit_config(id, "description", Some(&text)));
    it.sandbox("vm start b --yes").code(5).warns("is not finished");
    it.operator(|control| assert!(!control.inspect(|world| world.guests[&id].running)));
}

#[test]
fn a_product_that_takes_no_snapshots_says_so() {
    let it = applied("vm-none");
    let ran = it.sandbox("vm snapshot a --yes").code(5).warns("not supported yet");
    assert!(!ran.err.contains("marker:"), "{ran}");
    it.sandbox("vm snapshot a --name novahost-x --yes").code(64).warns("novahost-");
    it.sandbox("vm snapshot a --name a/b --yes").code(64);
}

#[test]
fn a_snapshot_is_taken_and_listed() {
    let it = Scratch::empty("vm-snapshot", Release::V9_2).unrecorded();
    it.copy(&repository().join("examples/keys"), "keys");
    it.copy(&repository().join("examples/vcenter.yaml"), "novahost.yaml");
    it.applied();
    let machine = {
        let ran = it.sandbox("get vms --format json").code(0);
        let rows: Vec<serde_json::Value> = serde_json::from_str(&ran.out).unwrap();
        let ours = rows.iter().filter_map(|it| it["whose"].as_str());
        ours.filter(|it| it.starts_with("vm/")).min().unwrap().to_owned()
    };
    let run = |line: &str| it.sandbox(&line.replace("VM", &machine));
    run("vm snapshot VM --name before-upgrade").code(5).says("before-upgrade").warns("--yes");
    run("vm snapshot VM --name before-upgrade --yes").code(0).says("without memory");
    run("vm snapshot VM --yes").code(0).says("manual-");
    run("describe VM").code(0).says("snapshot before-upgrade").says("snapshot manual-").fits();
    run("vm snapshot VM --name before-upgrade --yes").code(5).warns("[name-taken]");
    it.settled();
    let file = it.path(".novahost/sandbox/vc-lyon.json");
    let mut world = vcenter::World::from_json(&std::fs::read(&file).unwrap()).unwrap();
    let name = machine.strip_prefix("vm/").unwrap();
    let (_, vm) = world.vms().find(|(id, _)| world.entities[*id].name == name).unwrap();
    let taken: Vec<(&str, &str)> =
        vm.snapshots.iter().map(|it| (it.name.as_str(), it.description.as_str())).collect();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0].0, "before-upgrade");
    assert!(taken[0].1.contains(&machine), "{taken:?}");
    // A guest that nobody can ask to shut down: what is left is told before and after.
    let found = world.vms().find(|(id, _)| world.entities[*id].name == name);
    let id = found.unwrap().0.to_owned();
    world.vm_mut(&id).unwrap().behaviour.tools = false;
    std::fs::write(&file, serde_json::to_vec(&world).unwrap()).unwrap();
    let ran = run("vm stop VM --yes");
    assert_ne!(ran.code, 0);
    ran.says_in_words("`--hard` takes its power instead").warns("`--hard`");
    run("vm stop VM --yes --hard").code(0).says("Command: 1 done.");
}

//! The least role: one list for the program, the README and the sandbox; enough for
//! everything that can be done, and nothing in it that could be left out.

use crate::scratch::{HYPERVISOR, RELEASES, Ran, Scratch, others, repository};
use mock_servers::pve::{Release, World};
use novahost::provider::proxmox::privileges::ROLE;
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

const FIRST_WORLD: &str = include_str!("../../fixtures/worlds/proxmox.yaml");
/// A project that makes every kind of call: two ways of birth from a template, one from
/// an installer, pools, an order at start, and something to change of every kind.
const LEAST: &str = include_str!("least.yaml");
/// The template that linked clones are made of.
const SMALL_TEMPLATE: u32 = 9002;
const ROLE_NAME: &str = "NovahostProvisioner";
/// Everything that a person could allow.
const ALL: &str = "--allow reinit --allow restart --allow replace --allow delete --allow data-loss";
/// Tests at a time: the machine of the checks has two cores, and each waits a lot.
const AT_ONCE: usize = 4;

fn role() -> BTreeSet<&'static str> {
    ROLE.iter().map(|(name, _)| *name).collect()
}

/// A project on a cluster whose account has the least role but for one privilege.
fn project(name: &str, release: Release, without: Option<&str>) -> Scratch {
    let it = Scratch::empty(name, release).unrecorded();
    it.copy(&repository().join("keys"), "keys");
    it.write("novahost.yaml", LEAST);
    let mut world = World::from_yaml(FIRST_WORLD).unwrap();
    let role = world.access.custom_roles.get_mut(ROLE_NAME).unwrap();
    if let Some(without) = without {
        assert!(role.remove(without), "{without} is in the role");
    }
    // A template without a drive for first-boot configuration: its clones are given one.
    world.guests.get_mut(&SMALL_TEMPLATE).unwrap().config.remove("ide2");
    keep(&it, &world);
    it
}

fn keep(it: &Scratch, world: &World) {
    std::fs::create_dir_all(it.world_file().parent().unwrap()).unwrap();
    std::fs::write(it.world_file(), world.to_json().unwrap()).unwrap();
}

#[test]
fn the_role_is_one_list_for_program_readme_and_sandbox() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let (_, rest) = readme.split_once(&format!("pveum role add {ROLE_NAME} --privs \"")).unwrap();
    let said: Vec<&str> = rest.split('"').next().unwrap().split(' ').collect();
    let wanted: Vec<&str> = ROLE.iter().map(|(name, _)| *name).collect();
    assert_eq!(said, wanted);
    for (name, why) in ROLE {
        let row = format!("| `{name}` | {why} |");
        assert!(readme.contains(&row), "the README lacks the row {row}");
    }
    let world = World::from_yaml(FIRST_WORLD).unwrap();
    let sandbox = &world.access.custom_roles[ROLE_NAME];
    assert_eq!(sandbox.iter().map(String::as_str).collect::<BTreeSet<_>>(), role());
}

/// A disk whose volume goes with its entry.
const GONE: &str = "      gone: { size: 4GiB, bus: scsi, slot: 2, on_remove: delete }\n";

/// Every change of this project, each line one edit.
fn change_everything(it: &Scratch) {
    let edits = [
        ("cpu: 2, memory: 2GiB, disk: 16GiB", "cpu: 4, sockets: 2, memory: 3GiB, disk: 18GiB"),
        ("      kept: { size: 4GiB, bus: scsi, slot: 1, on_remove: detach }\n", ""),
        (
            GONE,
            "      gone: { size: 4GiB, bus: scsi, slot: 2, on_remove: delete }\n      more: { size: 5GiB, bus: scsi, slot: 3 }\n",
        ),
        ("      eth1: { network: back, ip: none }\n", "      eth2: { network: lan, ip: none }\n"),
        ("ip: 10.20.0.81 }", "ip: 10.20.0.91, vlan: 40 }"),
        ("autostart: { order: 2, wait: 10s }", "autostart: { order: 3 }"),
        ("    tpm: true\n", "    tpm: false\n"),
        ("    tags: [web]\n    notes: First\n", "    tags: [blue]\n    notes: Second\n"),
        ("    pool: one\n", "    name: whole\n    pool: two\n"),
        ("comment: First", "comment: Second"),
        ("    boot: [disk, cdrom]\n", "    boot: [disk]\n    cdrom: none\n    protect: true\n"),
    ];
    for (from, to) in edits {
        it.edit(from, to);
    }
    let yaml = it.read("novahost.yaml");
    let yaml = yaml.replacen(
        "image: small\n    resources: { cpu: 1,",
        "image: small\n    firmware: uefi\n    resources: { cpu: 1,",
        1,
    );
    it.write("novahost.yaml", &yaml);
}

#[test]
fn the_role_is_enough_for_everything() {
    for release in RELEASES {
        let it = project("least-enough", release, None);
        let healthy = it.sandbox("doctor").code(0).fits();
        assert!(healthy.out.contains("nothing beyond that"), "more than needed: {healthy}");
        let before = others(&it.world());
        it.sandbox("apply --yes").code(0);
        it.settled();
        change_everything(&it);
        it.sandbox(&format!("apply --yes {ALL}")).code(0);
        it.settled();
        it.edit(GONE, "");
        it.sandbox(&format!("apply --yes {ALL}")).code(0);
        it.settled();
        it.sandbox("doctor").code(0).says_in_words("ok doctor.privileges");
        // Protected machines have to be released before they can go.
        it.edit("    protect: true\n", "    protect: false\n");
        it.sandbox("apply --yes").code(0);
        let yaml = it.read("novahost.yaml");
        let (head, _) = yaml.split_once("pools:\n").unwrap();
        it.write("novahost.yaml", head);
        let doctor = it.sandbox("doctor").code(0);
        doctor.says_in_words("ok doctor.privileges");
        it.sandbox(&format!("apply --yes {ALL} --expect-shrink 3")).code(0);
        let world = it.world();
        assert_eq!(others(&world), before);
        assert_eq!(world.pools.keys().collect::<Vec<_>>(), ["shared-infra"]);
        let ours = |text: &String| text.contains("project=least");
        let left = world.guests.values().filter_map(|it| it.config.get("description"));
        assert!(!left.into_iter().any(ours), "something of ours is left");
    }
}

/// Words on any output.
fn said(ran: &Ran, text: &str) -> bool {
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    flat(&ran.out).contains(text) || flat(&ran.err).contains(text)
}

/// Rows of the journal that say that a call is about to be sent.
fn intents(it: &Scratch) -> usize {
    if !it.path(".novahost/sandbox/journal.db").exists() {
        return 0;
    }
    let all = it.sandbox("audit export").code(0);
    all.out.matches("\\\"event\\\":\\\"step-intended\\\"").count()
}

/// Calls that were not reads, as the cluster saw them.
fn calls(it: &Scratch, file: &str) -> usize {
    if !it.path(file).exists() {
        return 0;
    }
    let text = it.read(file);
    let rows = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.filter(|row| row["method"] != "GET").count()
}

fn without(privilege: &str) {
    let it = project("least-without", Release::V9_2, Some(privilege));
    let before = others(&it.world());

    // The doctor names it, what for, and the line that gives it back.
    let json = it.sandbox("doctor --format json").code(1);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let checks = json["groups"][1]["findings"].as_array().unwrap();
    let finding = checks.iter().find(|it| it["check"] == "doctor.privileges").unwrap();
    assert_eq!(finding["state"], "fail");
    let details = finding["details"].as_array().unwrap();
    let why = ROLE.iter().find(|(name, _)| *name == privilege).unwrap().1;
    let line = details[0].as_str().unwrap();
    assert_eq!(details.len(), 1, "{details:?}");
    assert!(line.starts_with(&format!("{privilege} on `/")), "{line}");
    assert!(line.ends_with(&format!(": to {why}")), "{line}");
    let commands = finding["fix"].as_array().unwrap().iter().filter_map(|it| it["run"].as_str());
    let commands: Vec<&str> = commands.collect();
    // Without a look at the access list it cannot know which role it is that falls short.
    let first = match privilege {
        "Sys.Audit" => format!("pveum role add NovahostMore --privs \"{privilege}\""),
        _ => format!("pveum role modify {ROLE_NAME} --append 1 --privs \"{privilege}\""),
    };
    assert_eq!(commands[0], first);

    // Nothing can be finished, nothing of others is touched, and no call is unrecorded.
    let apply = it.sandbox(&format!("apply --yes {ALL} --record calls.jsonl"));
    assert!(apply.code != 0, "{privilege} is not needed: {apply}");
    // What hides storages or bridges is not told by the server: they are just not there.
    let hides = ["Datastore.Audit", "SDN.Use"].contains(&privilege);
    let words = if hides { "`novahost doctor` tells" } else { privilege };
    assert!(said(&apply, words), "{privilege} is not named: {apply}");
    assert_eq!(others(&it.world()), before, "{privilege}");
    assert_eq!(calls(&it, "calls.jsonl"), intents(&it), "{privilege}: {apply}");
    for guest in it.world().guests.values() {
        let ours = guest.config.get("description").is_some_and(|it| it.contains("project=least"));
        let ready = guest.config.get("description").is_some_and(|it| it.contains("stage=ready"));
        assert!(!(ours && guest.running && !ready), "{privilege}: half-made and started");
    }

    // Given back, the next run finishes what was begun.
    let mut world = it.world();
    world.access.custom_roles.get_mut(ROLE_NAME).unwrap().insert(privilege.to_owned());
    keep(&it, &world);
    it.sandbox(&format!("apply --yes {ALL}")).code(0);
    it.settled();
    assert_eq!(others(&it.world()), before, "{privilege}");
}

#[test]
fn each_privilege_of_the_role_is_needed_and_named_when_it_is_missing() {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((privilege, _)) = ROLE.get(next.fetch_add(1, Ordering::SeqCst)) {
            without(privilege);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
}

#[test]
fn the_sandbox_s_own_project_needs_no_more_than_the_role() {
    let it = Scratch::project("least-project", Release::V9_2).unrecorded();
    it.sandbox("doctor").code(0).says("ok      doctor.privileges").fits();
    assert!(it.world().access.acl.iter().all(|row| row.role == ROLE_NAME), "{HYPERVISOR}");
}

//! The whole road with the real binary: plan, apply, nothing left to do.

use crate::scratch::{RELEASES, Scratch, others, repository};
use mock_servers::pve::{Release, World};

const FIRST_WORLD: &str = include_str!("../../fixtures/worlds/proxmox.yaml");

/// The world as it is before anybody did anything.
fn untouched() -> String {
    let mut world = World::from_yaml(FIRST_WORLD).unwrap();
    world.settle();
    others(&world)
}

#[test]
fn the_project_is_planned_applied_and_then_nothing_is_left() {
    for release in RELEASES {
        let it = Scratch::project("road", release);
        it.sandbox("plan").code(0).says("Plan: 7 to create. 0 unchanged.").fits();
        it.sandbox("plan --detailed-exitcode").code(2);
        it.applied().says("Apply: 7 done.");
        it.sandbox("apply --yes").code(0).says("Nothing to do. 7 unchanged.");
        it.sandbox("apply").code(0).says("Nothing to do. 7 unchanged.");
        it.sandbox("plan --detailed-exitcode").code(0).says("Nothing to do. 7 unchanged.");
        it.sandbox("drift").code(0);
        assert_eq!(others(&it.world()), untouched(), "{release}");
    }
}

/// Every example of one file.
const EXAMPLES: [&str; 8] = [
    "cluster.yaml",
    "disks.yaml",
    "guest-init.yaml",
    "installer.yaml",
    "many-machines.yaml",
    "minimal.yaml",
    "networks.yaml",
    "policy.yaml",
];

fn example(file: &str, release: Release) -> Scratch {
    let examples = repository().join("examples");
    let it = Scratch::empty(&format!("example-{}", file.trim_end_matches(".yaml")), release);
    it.copy(&examples.join(file), "novahost.yaml");
    it.copy(&examples.join("keys"), "keys");
    it.copy(&examples.join("pki"), "pki");
    it
}

#[test]
fn every_example_is_in_the_list() {
    let mut found: Vec<String> = std::fs::read_dir(repository().join("examples"))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .filter(|it| it.ends_with(".yaml"))
        .collect();
    found.sort();
    // `cli_adopt` runs the one that takes over a guest of the sandbox's world; `portability`
    // and `windows` run those with a vCenter.
    let elsewhere = ["adopt.yaml", "both.yaml", "vcenter.yaml", "windows.yaml"];
    found.retain(|it| !elsewhere.contains(&it.as_str()));
    assert_eq!(found, EXAMPLES);
}

/// What an operator may do without changing anything that the YAML speaks of.
fn rearrange(it: &Scratch) {
    let before = it.world();
    let ours: Vec<u32> = before
        .guests
        .iter()
        .filter(|(_, guest)| {
            guest.config.get("description").is_some_and(|it| it.contains("novahost/1 "))
        })
        .map(|(id, _)| *id)
        .filter(|id| *id != 20500)
        .collect();
    it.operator(|control| {
        for id in ours {
            control.edit(|world| {
                let guest = world.guests.get_mut(&id).unwrap();
                for (key, value) in &mut guest.config {
                    let disk =
                        ["scsi", "virtio", "sata", "ide"].iter().any(|it| key.starts_with(it))
                            && value.contains(':');
                    if disk || key.starts_with("net") {
                        // The leading part is positional, the rest is a set.
                        let mut parts: Vec<&str> = value.split(',').collect();
                        parts[1..].reverse();
                        *value = parts.join(",");
                    } else if key == "tags" {
                        let mut tags: Vec<&str> = value.split(';').collect();
                        tags.reverse();
                        *value = tags.join(";");
                    }
                }
            });
        }
    });
}

/// Moves every machine of ours to another node, as an operator or the cluster would.
fn migrate(it: &Scratch) {
    let before = it.world();
    let ours: Vec<u32> = before
        .guests
        .iter()
        .filter(|(id, guest)| {
            **id != 20500
                && guest.config.get("description").is_some_and(|it| it.contains("novahost/1 "))
        })
        .map(|(id, _)| *id)
        .collect();
    assert!(!ours.is_empty());
    it.operator(|control| {
        for id in ours {
            control.migrate_guest(id, "pve3");
        }
    });
}

/// The YAML with the keys of every mapping in the opposite order.
fn reversed(text: &str) -> String {
    fn turn(value: serde_yaml::Value) -> serde_yaml::Value {
        match value {
            serde_yaml::Value::Mapping(map) => {
                let turned: Vec<_> = map.into_iter().map(|(key, it)| (key, turn(it))).collect();
                serde_yaml::Value::Mapping(turned.into_iter().rev().collect())
            }
            serde_yaml::Value::Sequence(all) => {
                serde_yaml::Value::Sequence(all.into_iter().map(turn).collect())
            }
            other => other,
        }
    }
    let value: serde_yaml::Value = serde_yaml::from_str(text).unwrap();
    serde_yaml::to_string(&turn(value)).unwrap()
}

fn settles(it: &Scratch) {
    it.sandbox("plan").code(0).fits();
    it.applied();
    it.settled();
    let text = it.read("novahost.yaml");
    it.write("novahost.yaml", &reversed(&text));
    it.settled();
    rearrange(it);
    it.settled();
    assert_eq!(others(&it.world()), untouched());
}

#[test]
fn every_example_settles_on_8_4() {
    for file in EXAMPLES {
        settles(&example(file, Release::V8_4));
    }
}

#[test]
fn every_example_settles_on_9_2() {
    for file in EXAMPLES {
        settles(&example(file, Release::V9_2));
    }
}

#[test]
fn a_project_in_several_files_settles() {
    for release in RELEASES {
        let it = Scratch::empty("example-split", release);
        it.copy(&repository().join("examples/split"), "");
        settles(&it);
    }
}

#[test]
fn machines_that_were_moved_to_another_node_are_left_there() {
    let it = Scratch::project("migrated", Release::V9_2);
    it.applied();
    // `builder` is pinned; the others are wherever they were put.
    it.edit("    placement: { node: pve1 }", "    placement: { node: auto }");
    it.settled();
    migrate(&it);
    it.settled();
}

//! `capacity` through the real binary: what it promises for after the plan is what it finds
//! once the plan is carried out.

use crate::scratch::{Scratch, repository};
use mock_servers::pve::Release;
use serde_json::Value;

/// The example of a product, with its keys.
fn example(name: &str, file: &str) -> Scratch {
    let it = Scratch::empty(name, Release::V9_2).unrecorded();
    it.copy(&repository().join("examples/keys"), "keys");
    it.copy(&repository().join("examples").join(file), "novahost.yaml");
    it
}

fn rooms(it: &Scratch) -> Vec<Value> {
    let ran = it.sandbox("capacity --format json").code(0);
    serde_json::from_str::<Vec<Value>>(&ran.out).unwrap()
}

/// One number of every host, by name.
fn of_nodes(room: &Value, resource: &str, number: &str) -> Vec<(String, i64)> {
    let nodes = room["nodes"].as_array().unwrap();
    let one = |it: &Value| {
        (it["node"].as_str().unwrap().to_owned(), it[resource][number].as_i64().unwrap())
    };
    nodes.iter().map(one).collect()
}

#[test]
fn what_is_said_of_after_the_plan_is_so_after_the_apply() {
    for (name, file) in [("capacity-pve", "minimal.yaml"), ("capacity-vc", "vcenter.yaml")] {
        let it = example(name, file);
        let before = rooms(&it).remove(0);
        it.applied();
        let after = rooms(&it).remove(0);
        for resource in ["cpu", "memory_bytes"] {
            let said = of_nodes(&before, resource, "free_after");
            assert_ne!(said, of_nodes(&before, resource, "free"), "{file} takes nothing");
            assert_eq!(said, of_nodes(&after, resource, "free"), "{file}: {resource}");
            assert_eq!(said, of_nodes(&after, resource, "free_after"), "{file}: {resource}");
            assert!(of_nodes(&before, resource, "ours").iter().all(|(_, ours)| *ours == 0));
            assert!(of_nodes(&after, resource, "ours").iter().any(|(_, ours)| *ours > 0));
            assert_eq!(
                of_nodes(&before, resource, "others"),
                of_nodes(&after, resource, "others"),
                "{file}"
            );
        }
        let planned = |room: &Value| -> i64 {
            let rows = room["storages"].as_array().unwrap();
            rows.iter().map(|it| it["planned_bytes"].as_i64().unwrap()).sum()
        };
        assert!(planned(&before) > 0, "{file} takes no disk");
        assert_eq!(planned(&after), 0, "{file}");
        let promised = after["storages"][0].get("promised_bytes");
        assert_eq!(promised.is_some(), file == "vcenter.yaml", "only a vCenter tells");
    }
}

#[test]
fn a_page_for_people_and_for_one_hypervisor() {
    let it = example("capacity-page", "both.yaml");
    let all = it.sandbox("capacity").code(0).fits();
    let all = all.says("pve-paris (").says("vc-lyon (").says("memory GiB").says("LIMIT:");
    assert!(all.out.contains("DC0_C0"), "{all}");
    it.sandbox("capacity vc-lyon").code(0).says("vc-lyon").says_not("pve-paris").fits();
    it.sandbox("capacity nope").code(3).warns("no hypervisor `nope`").warns("pve-paris");
    // It only looks.
    it.sandbox("plan --detailed-exitcode").code(2);
}

//! Profiles: how a partial machine and a machine become one tree.
//!
//! In: two nodes. Out: one, in which every value keeps the place where it was written.

use super::yaml::{Entry, Node, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Fields that share one slot: the nearer level wins as a whole.
const ONE_SLOT: [&str; 2] = ["plan", "resources"];

/// Mappings that mean one value and are not merged: a version without its secret means nothing.
const ONE_VALUE: [&str; 1] = ["password"];

/// A machine on top of its profile: mappings merge by key; scalars and lists of the machine win.
pub fn merge(profile: &Node, machine: &Node) -> Node {
    let (Some(base), Some(own)) = (profile.as_map(), machine.as_map()) else {
        return machine.clone();
    };
    let has_slot = own.iter().any(|entry| ONE_SLOT.contains(&&*entry.key));
    let base: Vec<&Entry> = base
        .iter()
        .filter(|entry| &*entry.key != "profile")
        .filter(|entry| !(has_slot && ONE_SLOT.contains(&&*entry.key)))
        .collect();
    Node { value: Value::Map(merge_maps(&base, own)), ..machine.clone() }
}

fn merge_maps(base: &[&Entry], own: &[Entry]) -> Arc<[Entry]> {
    let mut rest: BTreeMap<&str, &Entry> = own.iter().map(|entry| (&*entry.key, entry)).collect();
    let mut merged: Vec<Entry> = Vec::with_capacity(base.len() + own.len());
    for below in base {
        merged.push(match rest.remove(&*below.key) {
            Some(above) => merge_entries(below, above),
            None => (*below).clone(),
        });
    }
    // What only the machine has follows in the order of writing.
    let news = own.iter().filter(|entry| rest.contains_key(&*entry.key));
    merged.extend(news.cloned());
    merged.into()
}

fn merge_entries(below: &Entry, above: &Entry) -> Entry {
    match (below.value.as_map(), above.value.as_map()) {
        (Some(base), Some(own)) if !ONE_VALUE.contains(&&*above.key) => {
            let base: Vec<&Entry> = base.iter().collect();
            let value = Node { value: Value::Map(merge_maps(&base, own)), ..above.value.clone() };
            Entry { value, ..above.clone() }
        }
        _ => above.clone(),
    }
}

/// Nodes of a tree, aliases counted as often as they are used.
pub fn size(node: &Node) -> usize {
    match &node.value {
        Value::Seq(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| size(&entry.value)).sum::<usize>(),
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_)
        | Value::Str(_)
        | Value::Invalid => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::diagnostic::{FileId, Report};
    use crate::config::yaml::parse;

    fn merged(profile: &str, machine: &str) -> serde_json::Value {
        let read = |text: &str| {
            let mut report = Report::new();
            let node = parse(text, FileId(0), &mut report).expect("valid YAML");
            assert!(report.is_empty());
            node
        };
        merge(&read(profile), &read(machine)).to_json()
    }

    #[test]
    fn mappings_merge_by_key_and_scalars_and_lists_of_the_machine_win() {
        let both = merged(
            "{ image: a, tags: [x, y], nics: { eth0: { network: web, vlan: 3 } } }",
            "{ tags: [z], nics: { eth0: { vlan: 4 }, eth1: { network: db } } }",
        );
        assert_eq!(
            both,
            serde_json::json!({
                "image": "a",
                "tags": ["z"],
                "nics": { "eth0": { "network": "web", "vlan": 4 }, "eth1": { "network": "db" } }
            })
        );
    }

    #[test]
    fn plan_and_resources_are_one_slot_that_the_nearer_level_fills() {
        let both = merged("{ plan: small }", "{ resources: { cpu: 2 } }");
        assert_eq!(both, serde_json::json!({ "resources": { "cpu": 2 } }));
        let both = merged("{ resources: { cpu: 2, memory: 1GiB } }", "{ resources: { cpu: 4 } }");
        assert_eq!(both, serde_json::json!({ "resources": { "cpu": 4 } }));
    }

    #[test]
    fn a_secret_of_the_machine_replaces_the_version_of_the_profile() {
        let both = merged(
            "init: { password: { from: secret:a, version: 4 } }",
            "init: { password: { from: secret:b } }",
        );
        assert_eq!(both["init"]["password"], serde_json::json!({ "from": "secret:b" }));
    }
}

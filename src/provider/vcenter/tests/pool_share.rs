//! Pools that have a folder or a resource pool in common, with each other or with another
//! project's.

use super::pools::{
    OURS, attributes, bound_as, custom, desired, look, native, object, with, world,
};
use crate::{
    model::{
        Change, Name, ObservedPool, PartKind, PartState, PoolChange, PoolPart, Product as _, StepOp,
    },
    provider::vcenter::{
        places::{Places, PoolPlace},
        pools::{COMMENT, MARK},
        product::Vcenter,
    },
};
use std::collections::BTreeMap;

fn named(found: &BTreeMap<Name, ObservedPool>, name: &str, kind: PartKind) -> Vec<String> {
    let of_kind = found[name].parts.iter().filter(|(part, _)| part.kind == kind);
    of_kind.map(|(part, _)| part.name.clone()).collect()
}

fn two(one: (&str, &str, &str), two: (&str, &str, &str)) -> BTreeMap<Name, PoolPlace> {
    [bound_as(one.0, one.1, one.2), bound_as(two.0, two.1, two.2)].into_iter().flatten().collect()
}

/// A folder of another project, and one of another pool of ours, each with a mark that binds.
fn marked_by_others() -> Places {
    let other = OURS.replace("project=acme", "project=other").replace("id=f-web", "id=f-a");
    let sister = OURS.replace("key=pool/web", "key=pool/old").replace("id=f-web", "id=f-b");
    world(vec![
        with(object("Folder", "f-a", "a", ("Folder", "vms")), "customValue", custom(7, &other)),
        with(object("Folder", "f-b", "b", ("Folder", "vms")), "customValue", custom(7, &sister)),
    ])
}

#[test]
fn what_others_marked_is_neither_described_nor_removed() {
    let keys = attributes(&[(MARK, 7), (COMMENT, 8)]);
    let places = marked_by_others();
    for folder in ["a", "b"] {
        let pools: BTreeMap<_, _> = bound_as("web", folder, "").into_iter().collect();
        let mut seen = look(&places, &keys, &pools, None).remove("web").unwrap();
        // The folder of another is where our machines go; our own is elsewhere.
        let part = PoolPart::new(PartKind::Group, folder);
        assert_eq!(seen.part(&part), PartState::Marked, "{folder}");
        let marker = seen.marker.found().unwrap();
        assert_eq!(
            (marker.project.as_str(), marker.key.to_string().as_str()),
            ("acme", "pool/web")
        );
        let call = native(&places, &keys, &seen, StepOp::SetComment { comment: "x".into() });
        assert!(format!("{:?}", call.unwrap().args).contains("f-web"), "{folder}");
        let removed = Vcenter.lower(&Change::DeletePool(&seen)).unwrap().steps;
        let removed: Vec<_> = removed.iter().filter_map(|step| step.op.part()).collect();
        assert_eq!(removed, [&PoolPart::new(PartKind::Group, "Tenants/web")], "{folder}");
        // Without a part of ours there is nowhere to write to.
        seen.parts.retain(|at, _| *at == part);
        let call = native(&places, &keys, &seen, StepOp::SetComment { comment: "x".into() });
        assert!(call.unwrap_err().contains("no part"), "{folder}");
    }
}

#[test]
fn a_folder_that_two_pools_share_is_the_one_s_and_the_other_goes_through_it() {
    let keys = attributes(&[(MARK, 7)]);
    let places = world(Vec::new());
    // The same folder with two resource pools: of the first by name, until one has marked it.
    let pools = two(("app", "New", "A"), ("db", "New", "B"));
    let found = look(&places, &keys, &pools, None);
    assert_eq!(named(&found, "app", PartKind::Group), ["New"]);
    assert_eq!(named(&found, "db", PartKind::Group), [""; 0]);
    assert_eq!(named(&found, "db", PartKind::GroupAbove), ["New"]);
    let seen = &found["db"];
    let mut pool = desired(None);
    pool.key = crate::model::ResourceKey::pool("db");
    let change = Change::CreatePool(PoolChange { pool: &pool, seen: Some(seen) });
    let marks =
        Vcenter.lower(&change).unwrap().steps.into_iter().filter_map(|step| match step.op {
            StepOp::MarkPart { part } => Some(part.to_string()),
            _ => None,
        });
    assert_eq!(marks.collect::<Vec<_>>(), ["share:blue/B"]);
    // `Tenants/web` is marked by `web`, which comes after `app`.
    let pools = two(("app", "Tenants/web", "A"), ("web", "Tenants/web", "B"));
    let found = look(&places, &keys, &pools, None);
    assert_eq!(named(&found, "app", PartKind::Group), [""; 0]);
    assert_eq!(named(&found, "web", PartKind::Group), ["Tenants/web"]);
    // One by the end of its path, the other by the whole of it.
    let pools = two(("app", "", "/A"), ("db", "x", "A"));
    let found = look(&places, &keys, &pools, None);
    assert_eq!(named(&found, "app", PartKind::Share), ["blue/A"]);
    assert_eq!(named(&found, "db", PartKind::Share), [""; 0]);
    // One that is found elsewhere by the end of its path does not end here.
    let inside = vec![
        object("ResourcePool", "p1", "X", ("ResourcePool", "root-c1")),
        object("ResourcePool", "p2", "A", ("ResourcePool", "p1")),
    ];
    let pools = two(("app", "", "A"), ("db", "", "/A"));
    let found = look(&world(inside), &keys, &pools, None);
    assert_eq!(named(&found, "app", PartKind::Share), ["blue/X/A"]);
    assert_eq!(named(&found, "db", PartKind::Share), ["blue/A"]);
    // The end of one on the way of the other: each sees what it is to itself.
    let pools = two(("app", "New/app", ""), ("top", "New", ""));
    let found = look(&places, &keys, &pools, None);
    assert_eq!(named(&found, "app", PartKind::GroupAbove), ["New"]);
    assert_eq!(named(&found, "top", PartKind::Group), ["New"]);
}

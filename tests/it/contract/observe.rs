//! What an inventory may claim, and what it costs.

use super::{
    lab::Lab,
    subject::{Act, CROWD, Door, Need, Point, Trouble},
};
use novahost::model::{
    Check, Coverage, DesiredState, FailureKind, GuestKind, Health, HypervisorInventory, Policy,
};
use std::collections::BTreeMap;

fn is_incomplete(inventory: &HypervisorInventory) -> bool {
    matches!(&inventory.coverage, Coverage::Incomplete { gaps } if !gaps.is_empty())
}

fn failure(inventory: HypervisorInventory) -> FailureKind {
    assert!(inventory.machines.is_empty() && inventory.listed.is_empty());
    match inventory.coverage {
        Coverage::Failed { kind, error } if !error.is_empty() => kind,
        other => panic!("not failed: {other:?}"),
    }
}

pub async fn a_whole_view_is_complete(lab: Lab) {
    let seen = lab.observe().await;
    assert_eq!(seen.coverage, Coverage::Complete, "{:?}", seen.notes);
    let foreign = &seen.machines[lab.props().foreign.id().unwrap()];
    assert_ne!(foreign.marker.found().unwrap().project.as_str(), "acme");
    assert!(seen.machines[lab.props().template.id().unwrap()].template);
    let container = seen.listed.values().any(|row| row.guest == GuestKind::Container);
    assert_eq!(container, lab.has(Need::Containers));
    assert!(seen.isos.contains(&lab.props().iso));
    assert_eq!(seen.nodes.len(), lab.props().hosts.len());
    let networks = seen.nodes[&lab.props().hosts[0]].networks.clone().unwrap();
    assert!(lab.props().networks.iter().all(|it| networks.contains(it)), "{networks:?}");
    assert!(seen.storages.iter().any(|it| it.name == lab.props().storage && it.holds_disks));
    assert!(seen.pools.contains_key(lab.props().pool.as_str()));
    assert!(!seen.version.is_empty() && !seen.identity.is_empty());
    assert!(seen.unreadable.is_empty());
}

pub async fn fewer_rights_are_scoped(lab: Lab) {
    lab.act(Act::Narrow);
    let seen = lab.observe().await;
    assert!(matches!(seen.coverage, Coverage::Scoped { .. }), "{:?}", seen.coverage);
    // What is hidden and what is free are told apart only by the product's own word.
    assert_eq!(seen.free_ids, lab.props().free.iter().map(|it| it[0].clone()).collect());
    assert!(!seen.listed.contains_key(lab.props().foreign.id().unwrap()));
}

pub async fn a_row_that_hides_one_machine_is_scoped(lab: Lab) {
    assert_eq!(lab.observe().await.coverage, Coverage::Complete);
    lab.act(Act::Hide(lab.props().foreign.id().unwrap()));
    let seen = lab.observe().await;
    assert!(matches!(seen.coverage, Coverage::Scoped { .. }), "{:?}", seen.coverage);
}

pub async fn a_silent_host_is_incomplete(lab: Lab) {
    lab.act(Act::Migrate(lab.props().foreign.id().unwrap()));
    lab.act(Act::HostDown(true));
    let seen = lab.observe().await;
    assert_eq!(is_incomplete(&seen), lab.has(Need::HostsKnow), "{:?}", seen.coverage);
    let foreign = lab.props().foreign.id().unwrap();
    assert!(seen.unreadable.contains_key(foreign) && !seen.machines.contains_key(foreign));
    assert!(!seen.nodes[&lab.props().hosts[2]].online);
    assert_eq!(lab.provider.list().await.unwrap().gaps.is_empty(), !lab.has(Need::HostsKnow));
    lab.act(Act::HostDown(false));
    assert_eq!(lab.observe().await.coverage, Coverage::Complete);
}

pub async fn a_frozen_installation_is_incomplete(lab: Lab) {
    lab.act(Act::Frozen(true));
    let seen = lab.observe().await;
    assert!(is_incomplete(&seen), "{:?}", seen.coverage);
    assert!(!lab.provider.list().await.unwrap().gaps.is_empty());
}

pub async fn a_host_that_does_not_list_is_a_gap(lab: Lab) {
    let words = "the storage of words ran dry".to_owned();
    lab.world.trouble(Point::HostListing, Trouble::Refused(words), usize::MAX);
    assert!(is_incomplete(&lab.observe().await));
}

pub async fn a_listing_cut_short_is_never_a_shorter_list(lab: Lab) {
    if lab.has(Need::HostsKnow) {
        lab.world.trouble(Point::HostListing, Trouble::Cut, usize::MAX);
        assert!(is_incomplete(&lab.observe().await));
    }
    lab.world.trouble(Point::Listing, Trouble::Cut, usize::MAX);
    assert_eq!(failure(lab.observe().await), FailureKind::Unreachable);
    assert!(lab.provider.list().await.is_err());
}

pub async fn what_cannot_be_read_is_unknown_and_not_absent(lab: Lab) {
    let words = "unable to open file - I/O error".to_owned();
    lab.world.trouble(Point::Machine, Trouble::Refused(words), usize::MAX);
    let seen = lab.observe().await;
    let foreign = lab.props().foreign.id().unwrap();
    // Where machines are read together, all of them cannot be read.
    let failed = matches!(seen.coverage, Coverage::Failed { .. });
    assert!(failed || seen.unreadable.contains_key(foreign), "{:?}", seen.unreadable);
    assert!(failed || seen.listed.contains_key(foreign) && !seen.machines.contains_key(foreign));
    assert!(lab.provider.read(&lab.props().foreign).await.is_err());
    lab.world.calm();
    lab.act(Act::BeginBirth(&lab.target().at));
    let seen = lab.observe().await;
    assert_eq!(seen.unreadable.len(), 1, "{:?}", seen.unreadable);
    let unborn = seen.unreadable.keys().next().unwrap();
    assert!(lab.target().id().is_none_or(|id| id == unborn));
    assert!(seen.listed.contains_key(unborn) && !seen.machines.contains_key(unborn));
}

pub async fn a_hypervisor_that_fails_says_why(lab: Lab) {
    let doors = [
        (Door::WrongSecret, FailureKind::Auth),
        (Door::WrongPin, FailureKind::Trust),
        (Door::WrongAuthority, FailureKind::Trust),
        (Door::WrongIdentity, FailureKind::Trust),
        (Door::Dead, FailureKind::Unreachable),
    ];
    for (door, kind) in doors {
        let found = failure(lab.world.provider(door).observe(&lab.scope()).await);
        assert_eq!(found, kind, "{door:?}");
    }
    lab.world.trouble(Point::Listing, Trouble::LostBefore, usize::MAX);
    assert_eq!(failure(lab.observe().await), FailureKind::Unreachable);
}

pub async fn an_inventory_costs_one_request_for_each_machine_that_matters(lab: Lab) {
    let seen = lab.observe().await;
    assert_eq!(seen.coverage, Coverage::Complete, "{:?}", seen.notes);
    assert_eq!(seen.machines.len(), CROWD + 1, "the crowd and the template");
    let most = seen.machines.len() + 3 * seen.nodes.len() + 10;
    assert!(lab.world.requests() <= most, "{} requests, {most} allowed", lab.world.requests());
}

pub async fn a_renamed_machine_and_a_moved_one_are_seen_as_they_are_now(lab: Lab) {
    let foreign = lab.props().foreign.id().unwrap().clone();
    lab.act(Act::Rename(&foreign, "web-7"));
    lab.act(Act::Migrate(&foreign));
    lab.act(Act::Power(&foreign, false));
    let seen = lab.observe().await;
    let machine = &seen.machines[&foreign];
    assert_eq!(machine.spec.name.as_deref(), Some("web-7"));
    assert_eq!(machine.node.as_ref(), Some(&lab.props().hosts[2]));
    assert_eq!(machine.power, novahost::model::PowerState::Stopped);
    let listed = &lab.provider.list().await.unwrap().guests[&foreign];
    assert_eq!(listed.name.as_deref(), Some("web-7"));
}

pub async fn an_examination_makes_every_check_and_changes_nothing(lab: Lab) {
    let machine = lab.desired(false);
    let desired = DesiredState {
        project: "acme".into(),
        hypervisors: BTreeMap::new(),
        networks: BTreeMap::new(),
        pools: BTreeMap::new(),
        machines: [(machine.key.clone(), machine)].into(),
        policy: Policy::default(),
        files: BTreeMap::new(),
        forget: std::collections::BTreeSet::new(),
    };
    let exam = lab.provider.examine(&desired, &lab.scope()).await;
    let checks: Vec<Check> = exam.findings.iter().map(|it| it.check).collect();
    assert_eq!(checks, Check::PROVIDERS);
    let failed: Vec<_> = exam.findings.iter().filter(|it| it.state == Health::Fail).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(exam.identity.is_some_and(|it| !it.is_empty()));
    // Another installation is told as such, and what rests on that is not looked at.
    let other = lab.world.provider(Door::WrongIdentity);
    let exam = other.examine(&desired, &lab.scope()).await;
    let checks: Vec<Check> = exam.findings.iter().map(|it| it.check).collect();
    assert_eq!(checks, Check::PROVIDERS);
    let failed = exam.findings.iter().position(|it| it.state == Health::Fail).unwrap();
    assert_eq!(exam.findings[failed].check, Check::Identity);
    assert!(exam.findings[failed + 1..].iter().all(|it| it.state == Health::Skipped));
    assert_eq!(lab.world.mutations(), 0);
}

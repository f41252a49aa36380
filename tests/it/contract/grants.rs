//! What people may do with a pool: roles of ours, and what is granted with them.

use super::{
    lab::{Lab, refused},
    lost::lose,
    parts::{desired, seen, target},
    subject::Act,
};
use novahost::model::{
    Change, GrantChange, GrantRole, Grantee, GranteeSeen, ObservedPool, PartState, PoolChange,
    PoolPart, RefusalKind, RoleSeen, Step, StepOp,
};
use std::collections::BTreeSet;

/// A pool of ours, and the parts of it on which something can be granted.
async fn pool(lab: &Lab) -> Vec<PoolPart> {
    let before = seen(lab).await;
    let ours = desired(lab, "Of the team");
    for step in lab.lower(&Change::CreatePool(PoolChange { pool: &ours, seen: Some(&before) })) {
        lab.must_at(&target(), &step).await;
    }
    let own = seen(lab).await.parts.into_iter().filter(|(part, _)| part.kind.is_own());
    own.inspect(|(_, it)| assert_eq!(it.state(), PartState::Marked)).map(|(part, _)| part).collect()
}

/// Somebody, a group, and somebody whom nobody knows.
fn people(lab: &Lab) -> [Grantee; 3] {
    lab.props().people.clone().expect("who could be granted something is known")
}

fn granting(parts: &[PoolPart], who: &Grantee, role: GrantRole, make: bool) -> GrantChange {
    GrantChange {
        take: Vec::new(),
        make: if make { [role].into() } else { BTreeSet::new() },
        give: parts.iter().map(|part| (part.clone(), who.clone(), role)).collect(),
    }
}

fn steps(lab: &Lab, change: &GrantChange) -> Vec<Step> {
    lab.lower(&Change::Grants(change))
}

/// Who has which of our roles, or another one, on every part.
fn granted(pool: &ObservedPool) -> BTreeSet<String> {
    pool.grant_lines()
}

pub async fn what_is_granted_on_a_pool_reads_back_as_granted(lab: Lab) {
    let parts = pool(&lab).await;
    let [person, group, unknown] = people(&lab);
    assert!(granted(&seen(&lab).await).is_empty());
    for (who, role) in [(&person, GrantRole::Viewer), (&group, GrantRole::Operator)] {
        for step in steps(&lab, &granting(&parts, who, role, true)) {
            lab.must_at(&target(), &step).await;
        }
    }
    let both = [format!("{group}: operator"), format!("{person}: viewer")];
    assert_eq!(granted(&seen(&lab).await), both.clone().into());
    // What others grant to others on the same object concerns nobody here, and stays.
    let id = seen(&lab).await.parts[&parts[0]].id.clone().unwrap();
    lab.act(Act::Permit(&id, &lab.props().outsider));
    let theirs = lab.world.permits(&id);
    for step in steps(&lab, &granting(&parts, &person, GrantRole::Admin, true)) {
        lab.must_at(&target(), &step).await;
    }
    let take = parts.iter().map(|part| (part.clone(), group.clone())).collect();
    for step in steps(&lab, &GrantChange { take, ..GrantChange::default() }) {
        lab.must_at(&target(), &step).await;
    }
    let now = seen(&lab).await;
    assert_eq!(granted(&now), [format!("{person}: admin")].into());
    assert_eq!(lab.world.permits(&id), theirs);
    assert!(GrantRole::ALL.iter().all(|role| now.access.roles[role] == RoleSeen::Whole));
    let listed = lab.observe().await.pools["tenant"].clone();
    assert_eq!(listed.parts, now.parts, "a listing and a look see the same");
    assert_eq!(listed.access.roles, now.access.roles);
    assert_eq!(listed.access.grantees[&person], GranteeSeen::Known);
    assert_eq!(listed.access.grantees[&group], GranteeSeen::Known);
    assert_eq!(listed.access.grantees[&unknown], GranteeSeen::Missing);
    assert!(listed.access.hindrance.is_none());
    // With the pool goes what was granted on it.
    for step in lab.lower(&Change::DeletePool(&listed)) {
        lab.must_at(&target(), &step).await;
    }
    assert!(granted(&seen(&lab).await).is_empty());
}

pub async fn a_lost_call_about_a_grant_is_looked_up(lab: Lab) {
    let parts = pool(&lab).await;
    let [person, group, _] = people(&lab);
    for who in [person, group] {
        let role = GrantRole::Operator;
        let make = !seen(&lab).await.access.roles.contains_key(&role);
        for step in steps(&lab, &granting(&parts, &who, role, make)) {
            lose(&lab, &target(), &step).await;
        }
        let take = parts.iter().map(|part| (part.clone(), who.clone())).collect();
        for step in steps(&lab, &GrantChange { take, ..GrantChange::default() }) {
            lose(&lab, &target(), &step).await;
        }
    }
    assert!(granted(&seen(&lab).await).is_empty());
}

pub async fn what_cannot_be_granted_is_refused(lab: Lab) {
    let parts = pool(&lab).await;
    let [person, _, unknown] = people(&lab);
    let role = GrantRole::Viewer;
    for step in steps(&lab, &granting(&parts, &person, role, true)) {
        lab.must_at(&target(), &step).await;
    }
    let send = async |step: &Step| {
        let fresh = lab.provider.read(&target()).await.unwrap();
        let (submitted, _) = lab.submit(&*lab.provider, &target(), step, &step.op, &fresh).await;
        refused(submitted)
    };
    // A role that is there is not made again, and so never overwritten.
    let make = GrantChange { make: [role].into(), ..GrantChange::default() };
    let make = steps(&lab, &make).remove(0);
    assert_eq!(
        (make.op.clone(), send(&make).await),
        (StepOp::MakeRole { role }, RefusalKind::Exists)
    );
    let give = steps(&lab, &granting(&parts[..1], &unknown, role, false)).remove(0);
    assert_eq!(send(&give).await, RefusalKind::Invalid);
    lab.act(Act::ReadOnly);
    let take = vec![(parts[0].clone(), person)];
    let take = steps(&lab, &GrantChange { take, ..GrantChange::default() }).remove(0);
    assert_eq!(send(&take).await, RefusalKind::Permission);
    let listed = lab.observe().await.pools["tenant"].clone();
    assert!(listed.access.hindrance.is_some(), "the inventory says so beforehand");
}

//! Snapshots: taken, told apart, removed one by one, and looked up when a reply is lost.

use super::{
    lab::{Lab, unmet},
    lost::lose,
    subject::Act,
};
use novahost::{
    model::{
        Change, FreshObject, ObservedMachine, RefusalKind, Scope, SnapshotSeen, Step, StepOp,
        Submitted, TakeSnapshot, TaskState,
    },
    ownership::own_snapshots,
};

fn take(lab: &Lab, name: &str, before_change: bool) -> Vec<Step> {
    lab.lower(&Change::TakeSnapshot(&TakeSnapshot { name: name.to_owned(), before_change }))
}

fn names(seen: &ObservedMachine) -> Vec<&str> {
    seen.snapshots.iter().map(|it| it.name.as_str()).collect()
}

pub async fn a_snapshot_is_taken_and_removed_and_no_other(lab: Lab) {
    lab.small().await;
    let spec = lab.seen().await.spec;
    let [first, by_hand, last] = ["novahost-000000000001", "by hand", "novahost-000000000003"];
    // Of a machine that is off, and of one that runs.
    for step in take(&lab, first, true).iter().chain(&take(&lab, by_hand, false)) {
        lab.must(step).await;
    }
    for step in lab.lower(&Change::Start).iter().chain(&take(&lab, last, true)) {
        lab.must(step).await;
    }
    let seen = lab.seen().await;
    assert_eq!(names(&seen), [first, by_hand, last]);
    assert_eq!(seen.spec, spec, "what a machine is does not change with a snapshot of it");
    assert!(seen.snapshots.iter().all(|it| !it.with_memory), "{:?}", seen.snapshots);
    assert!(seen.snapshots.iter().all(|it| it.created_ms.is_some()));
    let own = own_snapshots(&"acme".into(), &seen);
    assert_eq!(own.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), [first, last]);
    let mark = own[0].mark.as_ref().unwrap();
    assert_eq!((mark.plan.as_str(), Some(mark.uuid)), ("0123456789ab", seen.uuid));
    assert_eq!(own_snapshots(&"other".into(), &seen), Vec::<&SnapshotSeen>::new());
    // An inventory tells the same as a look at the machine alone.
    assert_eq!(lab.observe().await.machines[&lab.id()].snapshots, seen.snapshots);

    // The one in the middle of a chain goes, and what hangs on it stays.
    let oldest = own[0].clone();
    let steps = lab.lower(&Change::RemoveSnapshots(&[&oldest]));
    for step in &steps {
        lab.must(step).await;
    }
    let seen = lab.seen().await;
    assert_eq!(names(&seen), [by_hand, last]);
    assert_eq!(seen.spec, spec);
    // What is gone cannot be removed again: that is known from what is seen.
    assert_eq!(unmet(&steps[0].end, &lab.read().await.object), Vec::<String>::new());
    let state = lab.carry_out(&lab.target(), &steps[0], &steps[0].op).await;
    let TaskState::Failed(refusal) = state else { panic!("removed twice: {state:?}") };
    assert_eq!(refusal.kind, RefusalKind::Missing);
    for step in lab.lower(&Change::Delete(&seen)) {
        lab.must(&step).await;
    }
    assert!(matches!(lab.read().await.object, FreshObject::Absent));
}

pub async fn a_lost_snapshot_is_looked_up(lab: Lab) {
    lab.small().await;
    for step in take(&lab, "novahost-000000000001", true) {
        lose(&lab, &lab.target(), &step).await;
    }
    // However often it was sent and lost, it is there once.
    let seen = lab.seen().await;
    assert_eq!(names(&seen), ["novahost-000000000001"]);
    let only = seen.snapshots[0].clone();
    for step in lab.lower(&Change::RemoveSnapshots(&[&only])) {
        assert!(matches!(step.op, StepOp::RemoveSnapshot { .. }));
        lose(&lab, &lab.target(), &step).await;
    }
    assert_eq!(lab.seen().await.snapshots, []);
}

/// Somebody's linked clone hangs on a snapshot of ours: neither it nor the machine goes.
pub async fn what_linked_clones_hang_on_is_not_taken_away(lab: Lab) {
    lab.small().await;
    for step in take(&lab, "novahost-000000000001", true) {
        lab.must(&step).await;
    }
    let ours = lab.seen().await;
    assert!(!lab.observe().await.hung_on.contains_key(&ours.id));
    lab.act(Act::BranchOff(&ours.id, "child"));
    // It bears no mark, so that a usual look does not read it; one at everything does.
    assert!(!lab.observe().await.hung_on.contains_key(&ours.id));
    let all = lab.provider.observe(&Scope { every: true, ..lab.scope() }).await;
    assert_eq!(all.hung_on[&ours.id], ["child".to_owned()].into());
    let snapshot = ours.snapshots[0].clone();
    let truth = lab.truth();
    let mut steps = lab.lower(&Change::RemoveSnapshots(&[&snapshot]));
    // From the step on that announces it: nothing is begun that cannot be ended.
    let delete = lab.lower(&Change::Delete(&ours));
    assert!(delete.len() > 1 && delete[delete.len() - 1].op.is_end());
    steps.extend(delete);
    for step in &steps {
        // Whatever was seen before: right before the call it is asked who goes on from it.
        let fresh = lab.read().await;
        let (submitted, _) = lab.send(step, &fresh).await;
        let Submitted::Refused(refusal) = submitted else { panic!("{submitted:?}") };
        assert_eq!(refusal.kind, RefusalKind::Invalid);
        assert!(refusal.text.contains("child"), "{}", refusal.text);
    }
    assert_eq!(lab.truth(), truth);
}

/// A machine that tells nothing of its disks may be a linked clone: only where it cannot be one
/// does what it might hang on go.
pub async fn what_may_hang_on_it_and_cannot_be_seen_is_not_lost(lab: Lab) {
    lab.small().await;
    for step in take(&lab, "novahost-000000000001", true) {
        lab.must(&step).await;
    }
    let ours = lab.seen().await;
    lab.act(Act::BranchOff(&ours.id, "ruin"));
    let listed = lab.observe().await.listed;
    let ruin = listed.iter().find(|(_, row)| row.name.as_ref().is_some_and(|it| it == "ruin"));
    let other = ruin.unwrap().0.clone();
    lab.act(Act::Ruin(&other));
    let snapshot = ours.snapshots[0].clone();
    let truth = lab.truth();
    let mut steps = lab.lower(&Change::RemoveSnapshots(&[&snapshot]));
    steps.extend(lab.lower(&Change::Delete(&ours)));
    for step in &steps {
        let fresh = lab.read().await;
        let (submitted, _) = lab.send(step, &fresh).await;
        let Submitted::Refused(refusal) = submitted else { panic!("{submitted:?}") };
        assert_eq!(refusal.kind, RefusalKind::Invalid);
        assert!(refusal.text.contains("ruin"), "{}", refusal.text);
    }
    assert_eq!(lab.truth(), truth);
    lab.act(Act::Delete(&other));
    for step in &steps {
        lab.must(step).await;
    }
    assert!(matches!(lab.read().await.object, FreshObject::Absent));
}

/// Who hangs on a machine is read of all machines there are: steps that follow each other share
/// that, and a deletion has it anew.
pub async fn snapshots_are_removed_with_one_look_at_the_others(lab: Lab) {
    lab.small().await;
    for name in ["novahost-000000000001", "novahost-000000000002", "novahost-000000000003"] {
        for step in take(&lab, name, true) {
            lab.must(&step).await;
        }
    }
    let seen = lab.seen().await;
    let doomed: Vec<&SnapshotSeen> = seen.snapshots[..2].iter().collect();
    let mut steps = lab.lower(&Change::RemoveSnapshots(&doomed));
    assert_eq!(steps.len(), 2);
    steps.extend(lab.lower(&Change::Delete(&seen)).into_iter().filter(|step| step.op.is_end()));
    let mut asked = Vec::new();
    for step in &steps {
        let fresh = lab.read().await;
        let before = lab.world.requests();
        let (submitted, _) = lab.send(step, &fresh).await;
        asked.push(lab.world.requests() - before);
        let Submitted::Accepted(task) = submitted else { panic!("{submitted:?}") };
        assert!(matches!(lab.wait(&task).await, TaskState::Done(_)));
    }
    assert!(asked[0] > asked[1] && asked[2] > asked[1], "{asked:?}");
}

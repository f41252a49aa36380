//! Calls that are refused: the right kind, and nothing happened.

use super::{
    lab::{Lab, absent, bare, comment, pool, refused},
    subject::{Act, Door, Need},
};
use novahost::model::{
    Birthplace, Bytes, Change, DiskSpec, Expect, OnRemove, RefusalKind, Step, StepOp, Submitted,
    Target,
};

/// One of each guarded call, on a machine where each has something to do.
async fn guarded(lab: &Lab) -> Vec<Step> {
    let mut machine = lab.small().await;
    let disk = DiskSpec {
        size: Some(Bytes::gib(1)),
        storage: Some(lab.props().storage.clone()),
        on_remove: OnRemove::Delete,
        ..DiskSpec::default()
    };
    machine.spec.disks.insert("toss".into(), disk);
    lab.update(&machine).await;
    machine.spec.disks.remove("toss");
    let steps = lab.update_steps(&machine, false).await;
    machine.spec.memory = Some(Bytes::gib(7));
    machine.spec.disks.get_mut("boot").unwrap().size = Some(Bytes::gib(20));
    let write = lab.update_steps(&machine, false).await;
    let steps: Vec<Step> = steps.into_iter().chain(write).filter(|step| step.guarded).collect();
    let names: Vec<_> = steps.iter().map(|step| step.op.name()).collect();
    for wanted in ["configure", "grow-disk"] {
        assert!(names.contains(&wanted) == lab.speaks(wanted), "{names:?}");
    }
    steps
}

pub async fn a_stale_version_is_a_conflict(lab: Lab) {
    for step in guarded(&lab).await {
        let fresh = lab.read().await;
        lab.act(Act::Edit(&lab.id()));
        let truth = lab.truth();
        let submitted = lab.send(&step, &fresh).await.0;
        // Some calls compare versions only in their task, and there in words alone.
        let mute = matches!(submitted, Submitted::Accepted(_)) && !lab.has(Need::TypedFailures);
        assert!(!mute || step.op.name() == "grow-disk", "{}", step.op.name());
        let refusal = lab.refusal(submitted, "checksum mismatch").await;
        assert!(mute || refusal.kind == RefusalKind::Conflict, "{refusal:?}");
        assert_eq!(lab.truth(), truth, "{}", step.op.name());
        lab.act(Act::Rename(&lab.id(), &format!("x-{}", step.op.name())));
    }
}

pub async fn a_locked_machine_is_busy(lab: Lab) {
    let mut steps = guarded(&lab).await;
    steps.extend(lab.lower(&Change::Start));
    steps.extend(lab.lower(&Change::Delete(&lab.seen().await)));
    lab.act(Act::Lock(&lab.id()));
    let truth = lab.truth();
    for step in &steps {
        let (name, fresh) = (step.op.name(), lab.read().await);
        let submitted = lab.send(step, &fresh).await.0;
        // Some calls look at the lock only in their task, and say so in words alone.
        let mute = matches!(submitted, Submitted::Accepted(_)) && !lab.has(Need::TypedFailures);
        assert!(!mute || name != "configure", "could have been refused at once");
        let refusal = lab.refusal(submitted, "locked").await;
        assert!(mute || refusal.kind == RefusalKind::Busy, "{name}: {refusal:?}");
        assert_eq!(lab.truth(), truth, "{name}");
    }
    lab.act(Act::Unlock(&lab.id()));
    let free = steps.iter().find(|step| step.op.name() == "configure").unwrap();
    lab.must(free).await;
}

pub async fn what_exists_is_not_made_again(lab: Lab) {
    let machines = [lab.desired(true), lab.desired_from_iso()];
    let mut steps = Vec::new();
    for machine in &machines {
        steps.push(lab.build_steps(machine, None).await.remove(0));
    }
    let place = Birthplace {
        name: "web-7".into(),
        pool: machines[0].spec.pool.clone(),
        uuid: lab.identity(&lab.target()).uuid,
    };
    let (at, holder) = lab.world.occupied(&place);
    let truth = lab.world.truth(&holder);
    let target = Target { at, ..lab.target() };
    for step in &steps {
        let (submitted, _) = lab.submit(&*lab.provider, &target, step, &step.op, &absent()).await;
        // On another host only the task meets it.
        let mute = matches!(submitted, Submitted::Accepted(_)) && !lab.has(Need::TypedFailures);
        let refusal = lab.refusal(submitted, "exists").await;
        assert!(mute || refusal.kind == RefusalKind::Exists, "{refusal:?}");
    }
    assert_eq!(lab.world.truth(&holder), truth);
    if !lab.has(Need::OwnPools) {
        return;
    }
    let other = Target::with_id(pool().key, lab.props().pool.as_str(), None);
    let step = bare(StepOp::CreatePool { comment: "mine".into() }, comment("mine"));
    let (submitted, _) = lab.submit(&*lab.provider, &other, &step, &step.op, &absent()).await;
    assert_eq!(refused(submitted), RefusalKind::Exists);
}

pub async fn what_is_gone_is_missing(lab: Lab) {
    let mut steps = guarded(&lab).await;
    steps.extend(lab.lower(&Change::Start));
    let fresh = lab.read().await;
    lab.act(Act::Delete(&lab.id()));
    for step in &steps {
        let (submitted, _) = lab.send(step, &fresh).await;
        assert_eq!(refused(submitted), RefusalKind::Missing, "{}", step.op.name());
    }
    if !lab.has(Need::OwnPools) {
        return;
    }
    let gone = bare(StepOp::SetComment { comment: "x".into() }, comment("x"));
    let (submitted, _) = lab.submit(&*lab.provider, &pool(), &gone, &gone.op, &absent()).await;
    assert_eq!(refused(submitted), RefusalKind::Missing);
}

pub async fn a_missing_privilege_is_a_permission(lab: Lab) {
    let mut steps = guarded(&lab).await;
    steps.extend(lab.lower(&Change::Start));
    let delete = bare(StepOp::Delete, Expect { exists: Some(false), ..Expect::default() });
    steps.push(delete);
    steps.push(bare(
        StepOp::SetPool { pool: Some(lab.props().pool.as_str().into()) },
        Expect::default(),
    ));
    let birth = lab.build_steps(&lab.desired(true), None).await.remove(0);
    lab.act(Act::ReadOnly);
    let (fresh, truth) = (lab.read().await, lab.truth());
    for step in &steps {
        let (submitted, _) = lab.send(step, &fresh).await;
        assert_eq!(refused(submitted), RefusalKind::Permission, "{}", step.op.name());
    }
    assert_eq!(lab.truth(), truth);
    let other = lab.birth(1);
    let (submitted, _) = lab.submit(&*lab.provider, &other, &birth, &birth.op, &absent()).await;
    assert_eq!(refused(submitted), RefusalKind::Permission);
    let pools = [StepOp::CreatePool { comment: "x".into() }, StepOp::DeletePool];
    for op in pools.into_iter().filter(|_| lab.has(Need::OwnPools)) {
        let step = bare(op, Expect::default());
        let (submitted, _) = lab.submit(&*lab.provider, &pool(), &step, &step.op, &absent()).await;
        assert_eq!(refused(submitted), RefusalKind::Permission, "{}", step.op.name());
    }
    // What it may see, it still sees.
    assert_eq!(lab.observe().await.coverage, novahost::model::Coverage::Complete);
}

pub async fn what_never_left_is_not_sent(lab: Lab) {
    let step = lab.build_steps(&lab.desired(true), None).await.remove(0);
    for door in [Door::Dead, Door::WrongPin, Door::WrongAuthority, Door::WrongIdentity] {
        let before = lab.world.mutations();
        let provider = lab.world.provider(door);
        let (submitted, _) =
            lab.submit(&*provider, &lab.target(), &step, &step.op, &absent()).await;
        assert!(matches!(submitted, Submitted::NotSent(_)), "{door:?}: {submitted:?}");
        assert_eq!(lab.world.mutations(), before, "{door:?}");
    }
    let wrong = lab.world.provider(Door::WrongSecret);
    let (submitted, _) = lab.submit(&*wrong, &lab.target(), &step, &step.op, &absent()).await;
    assert_eq!(refused(submitted), RefusalKind::Auth);
    assert_eq!(lab.truth(), "nothing");
}

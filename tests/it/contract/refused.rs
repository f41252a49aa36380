//! Calls that are refused: the right kind, and nothing happened.

use super::{
    lab::{Lab, absent, bare, comment, pool, refused},
    subject::{Act, Door},
};
use novahost::model::{
    Bytes, Change, DiskSpec, Expect, OnRemove, RefusalKind, Step, StepOp, Submitted, TaskState,
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
        assert!(names.contains(&wanted), "{names:?}");
    }
    steps
}

pub async fn a_stale_version_is_a_conflict(lab: Lab) {
    for step in guarded(&lab).await {
        let fresh = lab.read().await;
        lab.act(Act::Edit(&lab.id()));
        let truth = lab.world.truth(&lab.id());
        match lab.send(&step, &fresh).await.0 {
            // This call compares versions only in its task.
            Submitted::Accepted(task) if step.op.name() == "grow-disk" => {
                let state = lab.wait(&task).await;
                assert!(
                    matches!(&state, TaskState::Failed(it) if it.text.contains("checksum mismatch")),
                    "{state:?}"
                );
            }
            submitted => {
                assert_eq!(refused(submitted), RefusalKind::Conflict, "{}", step.op.name());
            }
        }
        assert_eq!(lab.world.truth(&lab.id()), truth, "{}", step.op.name());
        lab.act(Act::Rename(&lab.id(), &format!("x-{}", step.op.name())));
    }
}

pub async fn a_locked_machine_is_busy(lab: Lab) {
    let mut steps = guarded(&lab).await;
    steps.extend(lab.lower(&Change::Start));
    steps.extend(lab.lower(&Change::Delete(&lab.seen().await)));
    lab.act(Act::Lock(&lab.id()));
    let truth = lab.world.truth(&lab.id());
    for step in &steps {
        let (name, fresh) = (step.op.name(), lab.read().await);
        match lab.send(step, &fresh).await.0 {
            Submitted::Refused(refusal) => assert_eq!(refusal.kind, RefusalKind::Busy, "{name}"),
            // Some calls look at the lock only in their task.
            Submitted::Accepted(task) => {
                let state = lab.wait(&task).await;
                assert!(
                    matches!(&state, TaskState::Failed(it) if it.text.contains("locked")),
                    "{name}: {state:?}"
                );
                assert_ne!(name, "configure", "could have been refused at once");
            }
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(lab.world.truth(&lab.id()), truth, "{name}");
    }
    lab.act(Act::Unlock(&lab.id()));
    let free = steps.iter().find(|step| step.op.name() == "configure").unwrap();
    lab.must(free).await;
}

pub async fn what_exists_is_not_made_again(lab: Lab) {
    let foreign = lab.props().foreign.clone();
    let truth = lab.world.truth(foreign.id().unwrap());
    let target = novahost::model::Target { at: foreign.at.clone(), ..lab.target() };
    for machine in [lab.desired(true), lab.desired_from_iso()] {
        let step = lab.build_steps(&machine, None).await.remove(0);
        let (submitted, _) = lab.submit(&*lab.provider, &target, &step, &step.op, &absent()).await;
        // On another host only the task meets it.
        match submitted {
            Submitted::Accepted(task) => {
                let state = lab.wait(&task).await;
                assert!(
                    matches!(&state, TaskState::Failed(it) if it.text.contains("exists")),
                    "{state:?}"
                );
            }
            submitted => {
                assert_eq!(refused(submitted), RefusalKind::Exists, "{}", step.op.name());
            }
        }
    }
    assert_eq!(lab.world.truth(foreign.id().unwrap()), truth);
    let other = novahost::model::Target::with_id(pool().key, lab.props().pool.as_str(), None);
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
    let (fresh, truth) = (lab.read().await, lab.world.truth(&lab.id()));
    for step in &steps {
        let (submitted, _) = lab.send(step, &fresh).await;
        assert_eq!(refused(submitted), RefusalKind::Permission, "{}", step.op.name());
    }
    assert_eq!(lab.world.truth(&lab.id()), truth);
    let other = novahost::model::Target::with_id(lab.target().key, "20072", lab.target().node);
    let (submitted, _) = lab.submit(&*lab.provider, &other, &birth, &birth.op, &absent()).await;
    assert_eq!(refused(submitted), RefusalKind::Permission);
    for op in [StepOp::CreatePool { comment: "x".into() }, StepOp::DeletePool] {
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
    assert_eq!(lab.world.truth(&lab.id()), "nothing");
}

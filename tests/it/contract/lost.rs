//! Calls whose reply is lost: unknown at first, then looked up, never sent again.

use super::{
    lab::{Lab, bare, comment, pool},
    subject::{Need, Point, Trouble},
};
use novahost::model::{
    Bytes, Change, Expect, FieldKind, FieldPath, Located, Step, StepOp, Submitted, Target, Value,
};

fn troubles() -> [(Trouble, bool); 4] {
    [
        (Trouble::LostBefore, false),
        (Trouble::GatewayBefore, false),
        (Trouble::LostAfter, true),
        (Trouble::GatewayAfter, true),
    ]
}

/// Loses one call before it happens, in each way, and then once as it happens; and looks each
/// time. What has happened cannot be lost again, so that the two ways of that take turns, by
/// how much was changed before.
pub async fn lose(lab: &Lab, target: &Target, step: &Step) {
    let [before, gateway_before, after, gateway_after] = troubles();
    let last = if lab.world.mutations().is_multiple_of(2) { after } else { gateway_after };
    for (trouble, happened) in [before, gateway_before, last] {
        let what = format!("{} {trouble:?}", step.op.name());
        let fresh = lab.provider.read(target).await.unwrap();
        let before = lab.world.mutations();
        lab.trouble(Point::Mutation, trouble);
        let (submitted, intent) = lab.submit(&*lab.provider, target, step, &step.op, &fresh).await;
        assert!(matches!(submitted, Submitted::Unknown(_)), "{what}: {submitted:?}");
        lab.world.calm();
        let located = lab.settle(&intent).await;
        assert_eq!(lab.world.mutations() - before, 1, "{what}: sent again");
        match &located {
            Located::Happened(_) => assert!(happened, "{what}: {located:?}"),
            Located::DidNotHappen(why) => assert!(!happened && !why.is_empty(), "{what}: {why}"),
            Located::Running(_) | Located::StillUnknown(_) => unreachable!(),
        }
    }
}

pub async fn a_lost_birth_is_looked_up(lab: Lab) {
    for machine in [lab.desired(true), lab.desired(false), lab.desired_from_iso()] {
        let step = lab.build_steps(&machine, None).await.remove(0);
        for (trouble, happened) in troubles() {
            let lab = lab.again().await;
            lab.trouble(Point::Mutation, trouble.clone());
            let fresh = lab.read().await;
            let (submitted, intent) = lab.send(&step, &fresh).await;
            assert!(matches!(submitted, Submitted::Unknown(_)), "{trouble:?}: {submitted:?}");
            let located = lab.settle(&intent).await;
            assert_eq!(
                matches!(located, Located::Happened(_)),
                happened,
                "{trouble:?}: {located:?}"
            );
            assert_eq!(lab.world.mutations(), 1);
        }
    }
}

pub async fn a_lost_change_is_looked_up(lab: Lab) {
    let mut machine = lab.small().await;
    machine.spec.memory = Some(Bytes::gib(7));
    machine.spec.disks.get_mut("boot").unwrap().size = Some(Bytes::gib(20));
    machine.spec.pool = Some(lab.props().pool.as_str().into());
    if lab.has_field(FieldKind::HardwareVersion) {
        // The template has 19.
        machine.spec.hardware_version = Some(20);
    }
    if lab.has(Need::DiskMoves) {
        let other = lab.props().other_storage.clone();
        machine.spec.disks.get_mut("boot").unwrap().storage = Some(other);
    }
    let mut steps = lab.update_steps(&machine, false).await;
    let names: Vec<_> = steps.iter().map(|step| step.op.name()).collect();
    let spoken = |word: &&str| lab.speaks(word);
    let wanted = ["upgrade-hardware", "configure", "grow-disk", "move-disks", "set-pool"]
        .into_iter()
        .filter(spoken);
    assert_eq!(names, wanted.collect::<Vec<_>>());
    steps.extend(lab.lower(&Change::Start));
    for step in &steps {
        lose(&lab, &lab.target(), step).await;
    }
    for step in lab.lower(&Change::Delete(&lab.seen().await)) {
        lose(&lab, &lab.target(), &step).await;
    }
}

pub async fn a_lost_call_about_a_label_is_looked_up(lab: Lab) {
    let mut machine = lab.small().await;
    let mut set = |value: &str| {
        machine.spec.labels.insert("tenant".into(), [value.to_owned()].into());
        machine.clone()
    };
    for machine in [set("acme"), set("beta")] {
        for step in lab.update_steps(&machine, false).await {
            lose(&lab, &lab.target(), &step).await;
        }
        assert!(lab.update_steps(&machine, false).await.is_empty());
    }
}

pub async fn a_lost_call_about_a_pool_is_looked_up(lab: Lab) {
    let gone = Expect { exists: Some(false), ..Expect::default() };
    let steps = [
        bare(StepOp::CreatePool { comment: "one".into() }, comment("one")),
        bare(StepOp::SetComment { comment: "two".into() }, comment("two")),
        bare(StepOp::DeletePool, gone),
    ];
    for step in &steps {
        lose(&lab, &pool(), step).await;
    }
}

pub async fn what_still_runs_is_running(lab: Lab) {
    let step = lab.build_steps(&lab.desired(true), None).await.remove(0);
    lab.trouble(Point::Mutation, Trouble::LostAfter);
    let fresh = lab.read().await;
    let (submitted, intent) = lab.send(&step, &fresh).await;
    assert!(matches!(submitted, Submitted::Unknown(_)), "{submitted:?}");
    // Where births of others run in the same list, nobody can say which one is ours.
    match lab.provider.locate(&intent).await {
        Located::Running(task) => drop(lab.wait(&task).await),
        Located::StillUnknown(_) if !lab.has(Need::ChosenIds) => {}
        other => panic!("not running: {other:?}"),
    }
    assert!(matches!(lab.settle(&intent).await, Located::Happened(_)));
    let mut cpu = Expect::default();
    cpu.fields.insert(FieldPath::of(FieldKind::Cpu), Some(Value::Count(6)));
    let op = StepOp::Configure(vec![novahost::model::Setting::Cpu { total: 6, sockets: 1 }]);
    lab.trouble(Point::Mutation, Trouble::LostAfter);
    let fresh = lab.read().await;
    let (_, intent) = lab.send(&bare(op, cpu), &fresh).await;
    let Located::Running(_) = lab.provider.locate(&intent).await else { panic!("not running") };
    assert!(matches!(lab.settle(&intent).await, Located::Happened(_)));
    assert_eq!(lab.world.mutations(), 2);
    if !lab.has_field(FieldKind::HardwareVersion) {
        return;
    }
    let mut newer = Expect::default();
    newer.fields.insert(FieldPath::of(FieldKind::HardwareVersion), Some(Value::Count(20)));
    lab.trouble(Point::Mutation, Trouble::LostAfter);
    let fresh = lab.read().await;
    let (_, intent) = lab.send(&bare(StepOp::UpgradeHardware { to: 20 }, newer), &fresh).await;
    let Located::Running(_) = lab.provider.locate(&intent).await else { panic!("not running") };
    assert!(matches!(lab.settle(&intent).await, Located::Happened(_)));
    assert_eq!(lab.world.mutations(), 3);
}

//! Guests that the product itself sets up before their first start.

use super::{
    lab::{Lab, secret},
    lost,
    subject::Act,
};
use novahost::model::{
    Customization, DesiredMachine, DomainJoin, GuestIdentity, GuestOs, Power, PowerState, Stage,
    Step, StepOp, Told, WindowsSetup,
};

fn set_up(machine: &mut DesiredMachine, identity: GuestIdentity) {
    let windows = matches!(identity, GuestIdentity::Windows(_));
    let init = machine.spec.init.as_mut().unwrap();
    (init.user, init.ssh_keys) = (None, None);
    init.password = init.password.take().filter(|_| windows);
    init.customization = Some(Box::new(Customization { identity, told: Told::default() }));
    machine.birth.as_mut().unwrap().os = if windows { GuestOs::Windows } else { GuestOs::Linux };
}

fn windows() -> GuestIdentity {
    GuestIdentity::Windows(Box::new(WindowsSetup {
        organization: "Acme & Söhne".into(),
        timezone: Some("Europe/Paris".into()),
        product_key: Some(secret(1)),
        join: Some(DomainJoin {
            domain: "corp.example".into(),
            user: "joiner@corp.example".into(),
            password: secret(1),
        }),
        run_once: vec!["winrm quickconfig -force".into(), "shutdown /r".into()],
    }))
}

/// A Windows of the template, which is one for once.
fn of_windows(lab: &Lab) -> DesiredMachine {
    lab.act(Act::Windows(lab.props().template.id().unwrap()));
    let mut machine = lab.desired(false);
    set_up(&mut machine, windows());
    machine
}

fn of_linux(lab: &Lab, name: &str) -> DesiredMachine {
    let mut machine = lab.desired(false);
    set_up(&mut machine, GuestIdentity::Kept(name.into()));
    machine
}

pub async fn a_guest_is_set_up_at_its_first_start(lab: Lab) {
    for windows in [true, false] {
        let lab = lab.again().await;
        let mut machine = if windows { of_windows(&lab) } else { of_linux(&lab, "linux") };
        lab.build(&machine).await;
        let seen = lab.seen().await;
        assert!(seen.setup_waits, "it has not been started");
        assert_eq!(seen.marker.found().unwrap().stage, Stage::Ready);
        lab.assert_as_declared(&machine, &seen);
        assert_eq!(lab.update_steps(&machine, false).await, []);
        machine.power = Power::Once;
        for step in lab.lower(&novahost::model::Change::Start) {
            lab.must(&step).await;
        }
        let at = lab.target().at;
        let told = lab.world.told(&at);
        // The second card asks for its address; the description says otherwise of none.
        assert_eq!(told, ["web-7", "10.20.0.71/24", "dhcp"], "windows: {windows}");
        for _ in 0..100 {
            if !lab.seen().await.setup_waits {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let seen = lab.seen().await;
        assert_eq!((seen.power, seen.setup_waits), (PowerState::Running, false));
        assert_eq!(lab.update_steps(&machine, false).await, []);
    }
}

/// Brings the machine to where its description comes next.
async fn before_setup(lab: &Lab, machine: &DesiredMachine) -> Step {
    for step in lab.build_steps(machine, None).await {
        if matches!(step.op, StepOp::Customize(_)) {
            return step;
        }
        lab.must(&step).await;
    }
    panic!("nothing sets the guest up")
}

pub async fn a_lost_setup_is_looked_up(lab: Lab) {
    for windows in [true, false] {
        let lab = lab.again().await;
        let machine = if windows { of_windows(&lab) } else { of_linux(&lab, "linux") };
        let step = before_setup(&lab, &machine).await;
        lost::lose(&lab, &lab.target(), &step).await;
        assert!(lab.seen().await.setup_waits);
        // What is missing is done, and what waits is not sent again.
        let rest = lab.build_steps(&machine, Some(&lab.seen().await)).await;
        let before = lab.world.mutations();
        let mut sent = 0;
        for step in &rest {
            if matches!(step.op, StepOp::Customize(_)) {
                assert!(super::lab::unmet(&step.end, &lab.read().await.object).is_empty());
                continue;
            }
            lab.must(step).await;
            sent += 1;
        }
        assert_eq!(lab.world.mutations() - before, sent);
        lab.assert_as_declared(&machine, &lab.seen().await);
    }
}

pub async fn a_setup_that_does_not_fit_is_refused(lab: Lab) {
    // A Windows by the description of a Linux, and the other way round: the product says so.
    let mut machine = lab.desired(false);
    set_up(&mut machine, windows());
    let step = before_setup(&lab, &machine).await;
    let (fresh, truth) = (lab.read().await, lab.truth());
    let submitted = lab.send(&step, &fresh).await.0;
    lab.refusal(submitted, "UncustomizableGuest").await;
    assert_eq!(lab.truth(), truth);
    // A description that is gone by then is not sent as an empty one.
    let lab = lab.again().await;
    let machine = of_linux(&lab, "nothing");
    let step = before_setup(&lab, &machine).await;
    let (fresh, before) = (lab.read().await, lab.world.mutations());
    let submitted = lab.send(&step, &fresh).await.0;
    lab.refusal(submitted, "`nothing`").await;
    assert_eq!(lab.world.mutations(), before);
}

pub async fn descriptions_that_are_kept_are_seen(lab: Lab) {
    let kept = lab.observe().await.kept_setups;
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["elsewhere", "linux", "windows"]);
    assert_eq!((kept["linux"].os, &kept["linux"].unfit), (Some(GuestOs::Linux), &None));
    assert_eq!((kept["windows"].os, &kept["windows"].unfit), (Some(GuestOs::Windows), &None));
    let why = kept["elsewhere"].unfit.as_ref().unwrap();
    assert!(why.contains("another"), "{why}");
    // One that may not be read is no reason to plan nothing.
    lab.act(Act::ReadOnly);
    let kept = lab.observe().await.kept_setups;
    assert!(kept["linux"].unfit.is_some());
}

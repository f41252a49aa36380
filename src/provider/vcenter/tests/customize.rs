//! Guests that the product sets up at their first start.

use super::*;
use crate::diff;

fn setup(edit: impl FnOnce(&mut WindowsSetup)) -> Customization {
    let secret = |name: &str| SecretRef { source: SecretSource::Secret(name.into()), version: 1 };
    let mut windows = WindowsSetup {
        organization: "Acme".to_owned(),
        timezone: Some("Europe/Paris".to_owned()),
        product_key: Some(secret("key")),
        join: Some(DomainJoin {
            domain: "corp.example".to_owned(),
            user: "joiner@corp.example".to_owned(),
            password: secret("join"),
        }),
        run_once: vec!["winrm quickconfig -force".to_owned()],
    };
    edit(&mut windows);
    Customization { identity: GuestIdentity::Windows(Box::new(windows)), told: Told::default() }
}

fn windows(edit: impl FnOnce(&mut DesiredMachine)) -> DesiredMachine {
    let mut machine = DesiredMachine { power: Power::Once, ..from_template(full_spec()) };
    if let Some(birth) = &mut machine.birth {
        birth.os = GuestOs::Windows;
    }
    machine.spec.init = Some(InitSpec {
        hostname: Some("web-1".to_owned()),
        domain: Some("corp.example".to_owned()),
        password: Some(SecretRef { source: SecretSource::Secret("admin".into()), version: 1 }),
        dns: Some(vec!["10.20.0.2".parse().unwrap()]),
        customization: Some(Box::new(setup(|_| ()))),
        digest: Some("0123456789abcdef0123456789abcdef".to_owned()),
        ..InitSpec::default()
    });
    edit(&mut machine);
    machine
}

fn init(machine: &mut DesiredMachine) -> &mut InitSpec {
    machine.spec.init.as_mut().unwrap()
}

fn faults(edit: impl FnOnce(&mut DesiredMachine)) -> BTreeMap<String, String> {
    let found = Vcenter.normalize(&windows(edit)).err().unwrap_or_default();
    found.into_iter().map(|it| (it.field.to_string(), it.why)).collect()
}

fn names(steps: &[Step]) -> Vec<&'static str> {
    steps.iter().map(|step| step.op.name()).collect()
}

fn born() -> (DesiredMachine, MachineSpec, World) {
    let machine = windows(|_| ());
    let spec = Vcenter.normalize(&machine).unwrap();
    let lowered = build(&machine, Some(&template().seen()), None).unwrap();
    let mut world = World::with_template();
    world.run(&lowered.steps);
    (machine, spec, world)
}

#[test]
fn nothing_is_compared_of_what_cannot_be_read_back() {
    let (machine, spec, world) = born();
    let mut kinds = BTreeSet::new();
    spec.visit(|path, _| {
        kinds.insert(path.kind);
    });
    for kind in [FieldKind::InitHostname, FieldKind::InitDomain, FieldKind::InitDns] {
        assert!(!kinds.contains(&kind), "{kind:?}");
    }
    assert!(kinds.contains(&FieldKind::InitDigest) && !kinds.contains(&FieldKind::NicIp));
    let again = DesiredMachine { spec: spec.clone(), ..machine.clone() };
    assert_eq!(Vcenter.normalize(&again), Ok(spec.clone()));
    let seen = world.seen();
    let marker = seen.marker.found().unwrap();
    assert_eq!(diff::compare(&machine, &spec, &seen, marker, &Vcenter).fields, []);
}

#[test]
fn a_guest_is_set_up_once_its_cards_are_there_and_before_it_is_ready() {
    let lowered = build(&windows(|_| ()), Some(&template().seen()), None).unwrap();
    let tail = ["configure", "customize", "configure", "start"];
    assert_eq!(names(&lowered.steps)[lowered.steps.len() - 4..], tail);
    let at = lowered.steps.iter().position(|step| step.op.name() == "customize").unwrap();
    let StepOp::Customize(seed) = &lowered.steps[at].op else { panic!("a customization") };
    assert_eq!(seed.nics.len(), 1);
    assert_eq!(seed.init.customization.as_ref().unwrap().told.hostname.as_deref(), Some("web-1"));
    let secrets: Vec<InitSecret> = lowered.steps[at].op.guest_secrets().into_keys().collect();
    assert_eq!(secrets, [InitSecret::Password, InitSecret::JoinPassword, InitSecret::ProductKey]);
    // The marker says which description it is before that is sent.
    let StepOp::Configure(before) = &lowered.steps[at - 1].op else { panic!("a write") };
    let draft = before.iter().find_map(|it| match it {
        Setting::Marker(draft) => Some(draft),
        _ => None,
    });
    let draft = draft.unwrap();
    assert_eq!(draft.stage, Stage::New);
    assert_eq!(draft.init, init(&mut windows(|_| ())).digest);
    assert!(!lowered.steps.iter().any(|step| matches!(&step.op, StepOp::Configure(all)
        if all.iter().any(|it| matches!(it, Setting::Seed(_))))));
    let (_, _, world) = born();
    assert_eq!((world.waits, world.set_up.len()), (None, 1));
}

#[test]
fn a_build_that_broke_off_is_finished_and_sets_up_once() {
    let machine = windows(|_| ());
    let whole = build(&machine, Some(&template().seen()), None).unwrap().steps;
    for cut in 1..whole.len() - 1 {
        let mut world = World::with_template();
        world.run(&whole[..cut]);
        let rest = build(&machine, Some(&template().seen()), Some(&world.seen())).unwrap();
        world.run(&rest.steps);
        assert_eq!((world.running, world.set_up.len()), (true, 1), "cut after {cut}");
    }
}

#[test]
fn what_waits_with_another_digest_is_not_taken_for_ours() {
    let machine = windows(|_| ());
    let whole = build(&machine, Some(&template().seen()), None).unwrap().steps;
    let at = whole.iter().position(|step| step.op.name() == "customize").unwrap();
    let mut world = World::with_template();
    world.run(&whole[..=at]);
    let other = windows(|machine| init(machine).digest = Some("f".repeat(32)));
    let faults = build(&other, Some(&template().seen()), Some(&world.seen())).unwrap_err();
    assert!(faults[0].why.contains("cannot be taken back"), "{faults:?}");
}

#[test]
fn later_it_is_set_up_anew_only_while_it_is_off() {
    let (_, _, mut world) = born();
    let machine = windows(|machine| init(machine).digest = Some("f".repeat(32)));
    let spec = Vcenter.normalize(&machine).unwrap();
    let lower = |world: &World| {
        let seen = world.seen();
        let marker = seen.marker.found().unwrap().clone();
        let found = diff::compare(&machine, &spec, &seen, &marker, &Vcenter);
        assert_eq!(found.fields.len(), 1, "{found:?}");
        assert_eq!(found.fields[0].disruption, Disruption::Reinit);
        Vcenter.lower(&Change::Update(Update {
            machine: &machine,
            spec: &spec,
            seen: &seen,
            fields: &found.fields,
            allotted: &Allotted::default(),
            restart: false,
        }))
    };
    assert!(lower(&world).unwrap_err()[0].why.contains("while it is off"));
    world.running = false;
    let lowered = lower(&world).unwrap();
    // The marker says so afterwards: who dies in between does it again.
    assert_eq!(names(&lowered.steps), ["customize", "configure"]);
    let mut half = world.clone();
    half.run(&lowered.steps[..1]);
    assert!(lower(&half).unwrap_err()[0].why.contains("waits already"));
    world.run(&lowered.steps);
    let seen = world.seen();
    let marker = seen.marker.found().unwrap();
    assert_eq!(diff::compare(&machine, &spec, &seen, marker, &Vcenter).fields, []);
}

#[test]
fn what_such_a_guest_cannot_be_told_is_an_error_on_its_field() {
    assert_eq!(faults(|_| ()), BTreeMap::new());
    let of = |field: &str, edit: fn(&mut DesiredMachine)| {
        let found = faults(edit);
        assert_eq!(found.keys().collect::<Vec<_>>(), [field], "{found:?}");
        found[field].clone()
    };
    let why = of("init.hostname", |it| init(it).hostname = Some("a-name-of-17-more".to_owned()));
    assert!(why.contains("17 letters"), "{why}");
    of("init.hostname", |it| {
        init(it).hostname = None;
        it.spec.name = Some("web_1".to_owned());
    });
    of("init.user", |it| init(it).user = Some("deploy".to_owned()));
    of("init.ssh_keys", |it| init(it).ssh_keys = Some(vec!["ssh-ed25519 A a".to_owned()]));
    of("init.windows", |it| init(it).password = None);
    of("init.windows", |it| {
        init(it).customization = Some(Box::new(setup(|it| it.timezone = Some("Mars/Base".into()))));
    });
    of("init.windows", |it| it.birth.as_mut().unwrap().os = GuestOs::Linux);
    of("nic.eth0.ip", |it| {
        let nic = it.spec.nics.get_mut("eth0").unwrap();
        (nic.ip, nic.gateway) = (Some(IpSetting::None), None);
    });
    let kept = |it: &mut DesiredMachine| {
        let identity = GuestIdentity::Kept("web".to_owned());
        let customization = Customization { identity, told: Told::default() };
        init(it).customization = Some(Box::new(customization));
    };
    assert!(faults(kept)["init.password"].contains("the description has"), "{:?}", faults(kept));
    let linux = faults(|it| {
        kept(it);
        init(it).password = None;
        init(it).hostname = Some("a-linux-may-be-called-longer".to_owned());
        it.birth.as_mut().unwrap().os = GuestOs::Linux;
    });
    assert_eq!(linux, BTreeMap::new());
}

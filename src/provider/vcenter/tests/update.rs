//! Changes, restarts, ends and changes of hands of machines that are ready.

use super::*;
use crate::diff;

/// A machine that was built as `full_spec` says, running.
fn built() -> World {
    let machine = from_template(full_spec());
    let lowered = build(&machine, Some(&template().seen()), None).unwrap();
    let mut world = World::with_template();
    world.run(&lowered.steps);
    world
}

/// What differs, at the price that it has.
fn changes(
    machine: &DesiredMachine,
    spec: &MachineSpec,
    seen: &ObservedMachine,
) -> Vec<FieldChange> {
    let marker = seen.marker.found().unwrap();
    let found = diff::compare(machine, spec, seen, marker, &Vcenter);
    assert_eq!(found.problems, []);
    found.fields
}

fn lowered(spec: &MachineSpec, world: &World) -> Result<Lowered, Vec<Unsupported>> {
    let machine = from_template(spec.clone());
    let spec = Vcenter.normalize(&machine)?;
    let seen = world.seen();
    let fields = changes(&machine, &spec, &seen);
    let restart = fields.iter().any(|it| it.disruption == Disruption::Restart);
    let allotted = allotted(&spec);
    let update = Update {
        machine: &machine,
        spec: &spec,
        seen: &seen,
        fields: &fields,
        allotted: &allotted,
        restart,
    };
    Vcenter.lower(&Change::Update(update))
}

/// Changes a built machine, and says which calls it took.
fn change_of(
    mut world: World,
    edit: impl FnOnce(&mut MachineSpec),
) -> (World, Vec<&'static str>, Lowered) {
    let mut spec = full_spec();
    edit(&mut spec);
    let lowered = lowered(&spec, &world).unwrap();
    world.run(&lowered.steps);
    assert_converged(&spec, &world);
    assert_eq!(world.marker.as_ref().unwrap().stage, Stage::Ready);
    assert_eq!(self::lowered(&spec, &world).unwrap().steps, [], "a second look finds nothing");
    let ops = ops(&lowered);
    (world, ops, lowered)
}

fn change(edit: impl FnOnce(&mut MachineSpec)) -> (World, Vec<&'static str>, Lowered) {
    change_of(built(), edit)
}

fn eth0(spec: &mut MachineSpec) -> &mut NicSpec {
    spec.nics.get_mut("eth0").unwrap()
}

fn more_card() -> NicSpec {
    NicSpec {
        network: Some(NetworkBinding { name: None, native: "Backup".into() }),
        ip: Some(IpSetting::Dhcp),
        ..NicSpec::default()
    }
}

#[test]
fn newer_hardware_is_a_call_of_its_own_between_shutdown_and_start() {
    let (world, ops, lowered) = change(|it| it.hardware_version = Some(22));
    assert_eq!(ops, ["shutdown", "upgrade-hardware", "start"]);
    assert!(world.running && lowered.steps[1].op.is_one_way());
    assert_eq!(lowered.steps[1].begin.power, Some(PowerState::Stopped));
    let mut spec = full_spec();
    spec.hardware_version = Some(19);
    let (machine, seen) = (from_template(spec.clone()), world.seen());
    let found = diff::compare(&machine, &spec, &seen, seen.marker.found().unwrap(), &Vcenter);
    assert_eq!(found.fields, []);
    assert!(found.problems[0].message.ends_with("machine, only the opposite"), "{found:?}");
}

#[test]
fn an_empty_key_is_no_key_and_what_the_guest_is_told_is_online() {
    let extra = |key: &str, value: &str| {
        let (key, value) = (DeviceName::new(key), value.to_owned());
        move |it: &mut MachineSpec| drop(it.extra.insert(key, value))
    };
    let (world, ops, _) = change(extra("disk.EnableUUID", ""));
    assert_eq!((ops, world.extra.len()), (vec!["configure"], 0));
    let price = |key: &str| {
        let mut spec = MachineSpec { init: None, ..full_spec() };
        extra(key, "1")(&mut spec);
        let (machine, seen) = (from_template(spec.clone()), built().seen());
        let found = changes(&machine, &spec, &seen);
        found.iter().find(|it| it.field.kind == FieldKind::Extra).unwrap().disruption
    };
    assert_eq!(price("guestinfo.role"), Disruption::Online);
    assert_eq!(price("sched.cpu.latencySensitivity"), Disruption::NextBoot);
}

#[test]
fn a_converged_machine_needs_nothing() {
    assert_eq!(lowered(&full_spec(), &built()).unwrap().steps, []);
}

#[test]
fn fields_that_change_while_it_runs_take_one_guarded_write() {
    let edits: [fn(&mut MachineSpec); 10] = [
        |it| it.name = Some("web-9".into()),
        |it| it.notes = Some(String::new()),
        |it| it.cdrom = Some(Cdrom::None),
        |it| it.protect = Some(false),
        |it| it.boot = Some(vec![BootDevice::Disk]),
        |it| eth0(it).network.as_mut().unwrap().native = "Other".into(),
        |it| it.disks.get_mut("data").unwrap().size = Some(Bytes::gib(200)),
        |it| it.disks.get_mut("data").unwrap().on_remove = OnRemove::Detach,
        |it| it.init.as_mut().unwrap().user = Some("ops".into()),
        |it| eth0(it).gateway = "10.20.0.9".parse().ok(),
    ];
    for edit in edits {
        let (world, ops, lowered) = change(edit);
        assert_eq!(ops, ["configure"]);
        assert!(world.running && lowered.steps[0].guarded);
    }
}

#[test]
fn what_needs_the_power_off_is_written_between_shutdown_and_start() {
    let edits: [fn(&mut MachineSpec); 6] = [
        |it| it.cpu = Some(8),
        |it| it.memory = Some(Bytes::gib(8)),
        |it| it.sockets = Some(4),
        |it| eth0(it).model = Some(NicModel::E1000),
        |it| eth0(it).mac = "00:50:56:0A:0B:0D".parse().ok(),
        |it| {
            it.memory = Some(Bytes::gib(2));
            it.notes = Some(String::new());
        },
    ];
    for edit in edits {
        let (world, ops, lowered) = change(edit);
        // A card that is replaced needs a boot order that names the new one.
        let (first, last) = (ops.first().copied(), ops.last().copied());
        assert_eq!((first, last), (Some("shutdown"), Some("start")), "{ops:?}");
        assert!(ops[1..ops.len() - 1].iter().all(|op| *op == "configure"), "{ops:?}");
        assert!(world.running);
        assert_eq!(lowered.steps[0].wait, Wait::PowerOff { within_s: 120 });
        assert_eq!(lowered.steps[0].otherwise, None);
        let mut off = built();
        off.running = false;
        assert!(change_of(off, edit).1.iter().all(|op| *op == "configure"));
    }
}

#[test]
fn what_is_hot_needs_no_restart() {
    let mut world = built();
    world.hot = [Hot::CpuUp, Hot::MemoryUp].into();
    let up = |it: &mut MachineSpec| (it.cpu, it.memory) = (Some(8), Some(Bytes::gib(8)));
    assert_eq!(change_of(world.clone(), up).1, ["configure"]);
    let down = |it: &mut MachineSpec| it.cpu = Some(2);
    assert_eq!(change_of(world.clone(), down).1, ["shutdown", "configure", "start"]);
    world.hot.insert(Hot::CpuDown);
    assert_eq!(change_of(world.clone(), down).1, ["configure"]);
    let less = |it: &mut MachineSpec| it.memory = Some(Bytes::gib(2));
    assert_eq!(change_of(world, less).1, ["shutdown", "configure", "start"]);
}

#[test]
fn a_machine_that_shall_stop_is_changed_when_it_is_off() {
    let world = built();
    let mut spec = full_spec();
    spec.memory = Some(Bytes::gib(2));
    let machine = DesiredMachine { power: Power::Stopped, ..from_template(spec.clone()) };
    let seen = world.seen();
    let mut fields = changes(&machine, &spec, &seen);
    fields.retain(|it| it.field.kind != FieldKind::Power);
    let allotted = allotted(&spec);
    let (restart, fields) = (false, fields.as_slice());
    let update = Update {
        machine: &machine,
        spec: &spec,
        seen: &seen,
        fields,
        allotted: &allotted,
        restart,
    };
    let lowered = Vcenter.lower(&Change::Update(update)).unwrap();
    assert_eq!(ops(&lowered), ["shutdown", "configure"]);
}

#[test]
fn a_new_address_of_a_card_moves_its_handle_and_the_documents() {
    let (world, _, lowered) = change(|it| eth0(it).mac = "00:50:56:0A:0B:0D".parse().ok());
    let entry = &world.marker.as_ref().unwrap().map.nics["eth0"];
    assert_eq!((entry.slot.as_str(), entry.confirmed), ("mac-00:50:56:0a:0b:0d", true));
    let documents = world.seeded.unwrap();
    assert!(documents.metadata.contains("00:50:56:0a:0b:0d"));
    assert!(lowered.notes[0].contains("anew"), "{:?}", lowered.notes);
}

#[test]
fn another_model_keeps_the_address_though_nobody_wrote_it() {
    let mut spec = full_spec();
    eth0(&mut spec).mac = None;
    eth0(&mut spec).model = None;
    let lowered = build(&from_template(spec), Some(&template().seen()), None).unwrap();
    let mut world = World::with_template();
    world.run(&lowered.steps);
    let mac = world.cards[0].mac;
    let (world, ..) = change_of(world, |it| eth0(it).mac = None);
    assert_eq!((world.cards[0].mac, world.cards[0].model), (mac, NicModel::Vmxnet3));
    let entry = &world.marker.unwrap().map.nics["eth0"];
    assert_eq!(entry.slot, slots::handle(mac));
}

#[test]
fn what_waits_for_another_consent_is_not_written_along() {
    let mut spec = full_spec();
    eth0(&mut spec).network.as_mut().unwrap().native = "Other".into();
    eth0(&mut spec).mac = "00:50:56:0A:0B:0D".parse().ok();
    let (machine, mut world) = (from_template(spec.clone()), built());
    let seen = world.seen();
    let (free, consent): (Vec<_>, Vec<_>) = changes(&machine, &spec, &seen)
        .into_iter()
        .partition(|it| it.disruption == Disruption::Online);
    assert_eq!((free.len(), consent.len()), (1, 1));
    for (fields, restart) in [(&free, false), (&consent, true)] {
        let allotted = allotted(&spec);
        let update = Update {
            machine: &machine,
            spec: &spec,
            seen: &seen,
            fields,
            allotted: &allotted,
            restart,
        };
        world.run(&Vcenter.lower(&Change::Update(update)).unwrap().steps);
    }
    assert_converged(&spec, &world);
}

#[test]
fn disks_come_and_go() {
    let disk = |bus| DiskSpec {
        size: Some(Bytes::gib(8)),
        bus,
        storage: Some("fast".into()),
        ..DiskSpec::default()
    };
    let (mut world, ops, _) = change(|it| drop(it.disks.insert("logs".into(), disk(None))));
    assert_eq!(ops, ["configure"]);
    let entry = &world.marker.as_ref().unwrap().map.disks["logs"];
    assert_eq!((entry.slot.as_str(), entry.confirmed), ("scsi0:2", false));
    let mut spec = full_spec();
    spec.disks.remove("data");
    let gone = lowered(&spec, &world).unwrap();
    let detached: Vec<_> = settings(&gone.steps[0])
        .iter()
        .filter_map(|it| match it {
            Setting::DetachDisk { disk, delete, .. } => Some((disk.as_str(), delete.is_some())),
            _ => None,
        })
        .collect();
    // One call: each volume goes or stays by itself.
    assert_eq!(
        (self::ops(&gone), detached),
        (vec!["configure"], vec![("data", true), ("logs", false)])
    );
    assert!(gone.notes.iter().any(|it| it.contains("detached volume")));
    world.run(&gone.steps);
    assert_eq!(world.disks.len(), 1);
    // A controller that cannot do it while the machine runs.
    let sata = |it: &mut MachineSpec| drop(it.disks.insert("logs".into(), disk(Some(Bus::Sata))));
    let mut spec = full_spec();
    sata(&mut spec);
    let found = lowered(&spec, &built()).unwrap_err();
    assert!(found[0].why.contains("sata0:0"), "{found:?}");
    let mut off = built();
    off.running = false;
    let (mut world, ..) = change_of(off, sata);
    world.running = true;
    assert_eq!(
        self::ops(&lowered(&full_spec(), &world).unwrap()),
        ["shutdown", "configure", "start"]
    );
}

#[test]
fn snapshots_hold_disks_as_they_are() {
    let mut world = built();
    world.snapshots =
        vec![SnapshotSeen { id: "s".into(), name: "s".into(), ..SnapshotSeen::default() }];
    let mut larger = full_spec();
    larger.disks.get_mut("data").unwrap().size = Some(Bytes::gib(200));
    let machine = from_template(larger);
    let (spec, seen) = (Vcenter.normalize(&machine).unwrap(), world.seen());
    let marker = seen.marker.found().unwrap();
    let found = diff::compare(&machine, &spec, &seen, marker, &Vcenter);
    assert_eq!(found.problems[0].code, Code::SnapshotsExist);
    assert!(found.problems[0].message.contains("`s`"), "{found:?}");
    let mut fewer = full_spec();
    drop(fewer.disks.remove("data"));
    let found = lowered(&fewer, &world).unwrap_err();
    assert!(found[0].why.contains("snapshots"), "{found:?}");
}

#[test]
fn cards_come_and_go_with_the_documents_that_name_them() {
    let (world, ops, _) = change(|it| drop(it.nics.insert("eth1".into(), more_card())));
    assert_eq!(ops, ["configure"]);
    assert_eq!(world.cards.len(), 2);
    let entry = world.marker.as_ref().unwrap().map.nics["eth1"].clone();
    assert!(entry.slot.as_str().starts_with("mac-00:50:56:01:") && !entry.confirmed);
    assert!(world.seeded.as_ref().unwrap().metadata.contains(r#""eth1""#));
    let mut world = world;
    let gone = lowered(&full_spec(), &world).unwrap();
    assert_eq!(self::ops(&gone), ["configure"]);
    world.run(&gone.steps);
    assert_eq!(world.cards.len(), 1);
    assert!(!world.seeded.unwrap().metadata.contains(r#""eth1""#));
}

#[test]
fn a_card_of_a_guest_without_documents_brings_none() {
    let mut spec = full_spec();
    spec.init = None;
    (eth0(&mut spec).ip, eth0(&mut spec).gateway) = (None, None);
    let mut bare = spec.clone();
    let lowered = build(&from_template(spec), Some(&template().seen()), None).unwrap();
    let mut world = World::with_template();
    world.run(&lowered.steps);
    assert!(world.seeded.is_none());
    bare.nics.insert("eth1".into(), NicSpec { ip: None, ..more_card() });
    let machine = from_template(bare.clone());
    let found = changes(&machine, &bare, &world.seen());
    assert_eq!(found.iter().map(|it| it.disruption).collect::<Vec<_>>(), [Disruption::Online]);
    world.run(&self::lowered(&bare, &world).unwrap().steps);
    assert!(world.seeded.is_none());
}

#[test]
fn a_pool_is_a_call_of_its_own() {
    let (_, ops, lowered) = change(|it| {
        it.pool = Some("other".into());
        it.notes = Some(String::new());
    });
    assert_eq!(ops, ["configure", "set-pool"]);
    assert!(lowered.steps[1].wait == Wait::Task && !lowered.steps[1].guarded);
}

#[test]
fn a_cd_drive_is_added_to_a_machine_that_is_off() {
    let mut world = built();
    world.drives.clear();
    let mut spec = full_spec();
    spec.boot = None;
    let found = lowered(&spec, &world).unwrap_err();
    assert_eq!(found[0].field.to_string(), "cdrom");
    world.running = false;
    world.run(&lowered(&spec, &world).unwrap().steps);
    assert_converged(&spec, &world);
}

#[test]
fn ends_are_announced_and_then_hard() {
    let mut world = built();
    let seen = world.seen();
    let lowered = Vcenter.lower(&Change::Delete(&seen)).unwrap();
    assert_eq!(ops(&lowered), ["configure", "shutdown", "delete"]);
    assert_eq!(lowered.steps[1].otherwise, Some(StepOp::Stop));
    assert_eq!(lowered.steps.iter().map(|it| it.guarded).collect::<Vec<_>>(), [true, false, false]);
    world.run(&lowered.steps);
    assert!(!world.exists);
    let off = ObservedMachine { power: PowerState::Stopped, ..seen.clone() };
    assert_eq!(ops(&Vcenter.lower(&Change::Delete(&off)).unwrap()), ["configure", "delete"]);
    let asleep = ObservedMachine { power: PowerState::Suspended, ..seen };
    let lowered = Vcenter.lower(&Change::Delete(&asleep)).unwrap();
    assert_eq!(ops(&lowered), ["configure", "stop", "delete"]);
    let unmarked = ObservedMachine { marker: MarkerState::None, ..asleep };
    assert!(Vcenter.lower(&Change::Delete(&unmarked)).is_err());
}

#[test]
fn power_alone_is_one_or_two_calls() {
    let seen = built().seen();
    let ops_of = |change: &Change<'_>| ops(&Vcenter.lower(change).unwrap());
    assert_eq!(ops_of(&Change::Start), ["start"]);
    assert_eq!(ops_of(&Change::Stop(PowerState::Running)), ["shutdown"]);
    assert_eq!(ops_of(&Change::Stop(PowerState::Suspended)), ["stop"]);
    assert_eq!(ops_of(&Change::Restart(&seen)), ["shutdown", "start"]);
}

#[test]
fn a_machine_changes_hands_by_its_marker_alone() {
    let mut world = built();
    world.marker = None;
    let seen = world.seen();
    let (spec, machine) = (full_spec(), from_template(full_spec()));
    let adopt = Adopt { machine: &machine, spec: &spec, seen: &seen };
    let lowered = Vcenter.lower(&Change::Adopt(adopt)).unwrap();
    assert!(matches!(settings(&lowered.steps[0]), [Setting::Marker(_)]));
    world.run(&lowered.steps);
    assert_eq!(world.marker.as_ref().unwrap().map.nics["eth0"].slot.as_str(), "nic-4001");
    let to = ResourceKey::vm("web-2");
    let seen = world.seen();
    let rename = Vcenter.lower(&Change::Rename(Rename { to: &to, seen: &seen })).unwrap();
    assert_eq!(rename.steps[0].end.owner, Some(Owner::Entry(to)));
    let forget = Vcenter.lower(&Change::Forget(&seen)).unwrap();
    world.run(&forget.steps);
    assert!(world.marker.is_none());
}

#[test]
fn disks_move_while_the_machine_runs_all_in_one_call() {
    let to = |name: &'static str, storage: &'static str| {
        move |it: &mut MachineSpec| {
            it.disks.get_mut(name).unwrap().storage = Some(storage.into());
        }
    };
    let (world, ops, lowered) = change(|it| {
        to("boot", "slow")(it);
        to("data", "safe")(it);
    });
    assert_eq!((ops, world.running), (vec!["move-disks"], true));
    let StepOp::MoveDisks(moves) = &lowered.steps[0].op else { panic!("{lowered:?}") };
    assert_eq!(moves.len(), 2);
    assert!(!lowered.steps[0].guarded && lowered.steps[0].begin.slots.len() == 2);
    // After the rest: what is grown is grown before it is copied.
    let (_, ops, _) = change(|it| {
        to("data", "safe")(it);
        it.disks.get_mut("data").unwrap().size = Some(Bytes::gib(200));
    });
    assert_eq!(ops, ["configure", "move-disks"]);
    let mut spec = full_spec();
    to("data", "safe")(&mut spec);
    let mut held = built();
    held.snapshots =
        vec![SnapshotSeen { id: "s".into(), name: "s".into(), ..SnapshotSeen::default() }];
    let shares = World { linked: true, ..built() };
    for (world, why) in [(held, "snapshots"), (shares, "shares the blocks")] {
        let found = lowered_err(&spec, &world);
        assert!(found.why.contains(why) && found.help.contains("`storage: fast`"), "{found:?}");
    }
}

fn lowered_err(spec: &MachineSpec, world: &World) -> Unsupported {
    lowered(spec, world).unwrap_err().remove(0)
}

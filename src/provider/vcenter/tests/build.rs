//! Births.

use super::*;

fn seen_template() -> ObservedMachine {
    template().seen()
}

#[test]
fn a_machine_from_a_template_converges_in_every_field() {
    let machine = from_template(full_spec());
    let lowered = build(&machine, Some(&seen_template()), None).unwrap();
    assert_eq!(ops(&lowered), ["clone", "upgrade-hardware", "configure", "configure", "start"]);
    let guarded: Vec<bool> = lowered.steps.iter().map(|step| step.guarded).collect();
    assert_eq!(guarded, [false, false, true, true, false]);
    assert_eq!(lowered.steps[0].learns, [Fact::NativeId].into());
    let mut world = World::with_template();
    world.run(&lowered.steps);
    assert!(world.running);
    assert_converged(&full_spec(), &world);
    let marker = world.marker.as_ref().unwrap();
    assert!(marker.protect && marker.stage == Stage::Ready);
    assert_eq!(world.cards.len(), 1, "what the template brought and nobody declares is gone");
    let slots: Vec<&str> = lowered.slots.values().map(Slot::as_str).collect();
    assert_eq!(slots, ["scsi0:0", "scsi0:1", "mac-00:50:56:0a:0b:0c"]);
}

/// The words of a write.
fn words(step: &Step) -> Vec<String> {
    let word = |it: &Setting| format!("{it:?}").split([' ', '(']).next().unwrap().to_owned();
    settings(step).iter().map(word).collect()
}

#[test]
fn a_boot_order_that_names_what_a_write_makes_comes_after_it() {
    let machine = from_template(full_spec());
    let lowered = build(&machine, Some(&seen_template()), None).unwrap();
    let first = words(&lowered.steps[2]);
    assert!(first.contains(&"Cdrom".to_owned()) && !first.contains(&"Boot".to_owned()));
    assert_eq!(lowered.steps[2].op.writes_stage(), Some(Stage::New));
    assert_eq!(words(&lowered.steps[3]), ["Boot", "Protect", "Seed", "Marker"]);
    assert_eq!(lowered.steps[3].op.writes_stage(), Some(Stage::Ready));
}

#[test]
fn one_write_sets_everything_in_this_order() {
    // A card of any kind stays the card that it is, and no drive is added.
    let mut spec = full_spec();
    spec.nics.get_mut("eth0").unwrap().model = None;
    spec.hardware_version = None;
    spec.boot = Some(vec![BootDevice::Disk, BootDevice::Network]);
    let machine = from_template(spec);
    let lowered = build(&machine, Some(&seen_template()), None).unwrap();
    let names = words(&lowered.steps[1]);
    let expected = [
        "Cpu",
        "Memory",
        "Extra",
        "Firmware",
        "DiskSize",
        "AttachDisk",
        "RemoveNic",
        "SetNic",
        "Cdrom",
        "Notes",
        "Boot",
        "Protect",
        "Seed",
        "Marker",
    ];
    assert_eq!(names, expected);
    let begin = &lowered.steps[1].begin;
    assert_eq!((begin.stage, begin.power), (Some(Stage::New), Some(PowerState::Stopped)));
    let there: Vec<&str> = begin.slots.keys().map(Slot::as_str).collect();
    assert_eq!(there, ["nic-4000", "scsi0:0"]);
    let start = &lowered.steps[2].begin;
    assert_eq!((start.stage, start.power), (Some(Stage::Ready), Some(PowerState::Stopped)));
}

#[test]
fn every_declared_field_is_in_the_end_of_a_step() {
    let machine = from_template(full_spec());
    let lowered = build(&machine, Some(&seen_template()), None).unwrap();
    let mut ends = BTreeMap::new();
    lowered.steps.iter().for_each(|step| ends.extend(step.end.fields.clone()));
    full_spec().visit(|path, value| {
        // Where a disk goes is said in its birth, and what becomes of it in the marker.
        let elsewhere = [FieldKind::DiskStorage, FieldKind::DiskOnRemove].contains(&path.kind);
        assert!(elsewhere || ends.get(&path) == Some(&Some(value)), "{path}");
    });
}

#[test]
fn a_machine_from_an_iso_converges_in_every_field() {
    let mut spec = full_spec();
    spec.cdrom = Some(Cdrom::Iso("[fast] iso/debian.iso".into()));
    spec.disks.get_mut("data").unwrap().bus = Some(Bus::Sata);
    let machine = desired(spec.clone(), Medium::Iso { volume: "[fast] iso/debian.iso".into() });
    let lowered = build(&machine, None, None).unwrap();
    assert_eq!(ops(&lowered), ["create", "configure", "start"]);
    let last = settings(&lowered.steps[1]);
    let [Setting::Boot { .. }, Setting::Protect(true), Setting::Seed(_), Setting::Marker(_)] = last
    else {
        panic!("{last:?}")
    };
    assert_eq!(lowered.steps[0].op.writes_stage(), Some(Stage::New));
    let mut world = World::default();
    world.run(&lowered.steps);
    assert_converged(&spec, &world);
    assert_eq!(lowered.slots[&FieldPath::on(FieldKind::Disk, &"data".into())].as_str(), "sata0:0");
    assert!(world.drives.contains_key(&Slot::from("ide0:0")));
}

#[test]
fn a_build_that_stopped_anywhere_is_finished_without_a_second_birth() {
    let iso = Medium::Iso { volume: "[fast] iso/tools.iso".into() };
    for (machine, template) in
        [(from_template(full_spec()), Some(seen_template())), (desired(full_spec(), iso), None)]
    {
        let lowered = build(&machine, template.as_ref(), None).unwrap();
        let mut world = World::with_template();
        world.run(&lowered.steps[..1]);
        // And somebody put it elsewhere meanwhile.
        world.pool = None;
        let rest = build(&machine, template.as_ref(), Some(&world.seen())).unwrap();
        let ops = ops(&rest);
        assert_eq!((ops[0], ops[ops.len() - 1]), ("set-pool", "start"));
        let between = ["configure", "upgrade-hardware"];
        assert!(ops[1..ops.len() - 1].iter().all(|op| between.contains(op)), "{ops:?}");
        let step = &rest.steps[0];
        assert!(step.wait == Wait::Task && !step.guarded);
        let has = |it: &Setting| matches!(it, Setting::Seed(_));
        assert!(settings(&rest.steps[rest.steps.len() - 2]).iter().any(has));
        world.run(&rest.steps);
        assert_converged(&full_spec(), &world);
        assert_eq!(world.marker.unwrap().stage, Stage::Ready);
    }
}

#[test]
fn snapshots_hold_the_disks_of_a_half_made_machine_as_they_are() {
    let machine = from_template(full_spec());
    let lowered = build(&machine, Some(&seen_template()), None).unwrap();
    let mut world = World::with_template();
    world.run(&lowered.steps[..1]);
    world.snapshots =
        vec![SnapshotSeen { id: "s".into(), name: "s".into(), ..SnapshotSeen::default() }];
    let found = build(&machine, Some(&seen_template()), Some(&world.seen())).unwrap_err();
    assert_eq!(found[0].field.to_string(), "disk.boot.size");
    assert!(found[0].why.contains("snapshots"), "{found:?}");
    // The first disk has its size by now, and a new one does not mind.
    world.snapshots.clear();
    world.run(&lowered.steps[1..3]);
    world.snapshots =
        vec![SnapshotSeen { id: "s".into(), name: "s".into(), ..SnapshotSeen::default() }];
    build(&machine, Some(&seen_template()), Some(&world.seen())).unwrap();
}

#[test]
fn a_card_that_no_model_is_declared_for_keeps_its_key() {
    let mut spec = full_spec();
    let nic = spec.nics.get_mut("eth0").unwrap();
    (nic.model, nic.mac) = (None, None);
    let lowered = build(&from_template(spec.clone()), Some(&seen_template()), None).unwrap();
    let mut world = World::with_template();
    world.run(&lowered.steps);
    assert_converged(&spec, &world);
    let marker = world.marker.unwrap();
    assert_eq!(marker.map.nics["eth0"].slot.as_str(), "nic-4000");
    assert_eq!(world.cards[0].mac.0[..4], [0, 0x50, 0x56, 0x01], "the chosen address");
}

#[test]
fn a_linked_clone_hangs_on_the_snapshot_and_cannot_grow() {
    let machine = desired(full_spec(), medium(true));
    let found = build(&machine, Some(&seen_template()), None).unwrap_err();
    assert_eq!(found[0].field.to_string(), "disk.boot.size");
    assert!(found[0].why.contains("8 GiB") && found[0].why.contains("32 GiB"), "{found:?}");
    let mut spec = full_spec();
    spec.disks.get_mut("boot").unwrap().size = None;
    let lowered =
        build(&desired(spec.clone(), medium(true)), Some(&seen_template()), None).unwrap();
    let StepOp::Clone(from) = &lowered.steps[0].op else { panic!("{lowered:?}") };
    assert_eq!((from.snapshot.as_deref(), &from.storage), (Some("snapshot-3"), &None));
    let mut world = World::with_template();
    world.run(&lowered.steps);
    assert_converged(&spec, &world);
    spec.disks.get_mut("boot").unwrap().storage = Some("slow".into());
    let found = build(&desired(spec, medium(true)), Some(&seen_template()), None).unwrap_err();
    assert_eq!(found[0].field.to_string(), "disk.boot.storage");
}

type Edit = fn(&mut MachineSpec);

#[test]
fn what_a_template_cannot_become_is_refused_with_its_field() {
    let edits: [(&str, Edit); 3] = [
        ("disk.boot.size", |it| it.disks.get_mut("boot").unwrap().size = Some(Bytes::gib(4))),
        ("disk.boot.bus", |it| it.disks.get_mut("boot").unwrap().bus = Some(Bus::Sata)),
        ("disk.data", |it| it.disks.get_mut("data").unwrap().slot = Some(0)),
    ];
    for (field, edit) in edits {
        let mut spec = full_spec();
        edit(&mut spec);
        let found = build(&from_template(spec), Some(&seen_template()), None).unwrap_err();
        assert_eq!(found[0].field.to_string(), field, "{found:?}");
    }
}

#[test]
fn a_machine_that_shall_be_stopped_is_not_started() {
    let machine = DesiredMachine { power: Power::Stopped, ..from_template(full_spec()) };
    let lowered = build(&machine, Some(&seen_template()), None).unwrap();
    assert_eq!(ops(&lowered), ["clone", "upgrade-hardware", "configure", "configure"]);
    assert_eq!(lowered.steps[3].op.writes_stage(), Some(Stage::Ready));
}

#[test]
fn hardware_is_upgraded_before_the_rest_and_never_made_older() {
    let machine = from_template(full_spec());
    let lowered = build(&machine, Some(&seen_template()), None).unwrap();
    let begin = &lowered.steps[1].begin;
    assert_eq!((begin.stage, begin.power), (Some(Stage::New), Some(PowerState::Stopped)));
    // As it is already: nothing is sent, and the end of the build holds it to that.
    let mut spec = full_spec();
    spec.hardware_version = Some(19);
    let lowered = build(&from_template(spec.clone()), Some(&seen_template()), None).unwrap();
    assert!(!ops(&lowered).contains(&"upgrade-hardware"));
    let ready = &lowered.steps[lowered.steps.len() - 2];
    let at = FieldPath::of(FieldKind::HardwareVersion);
    assert_eq!(ready.end.fields.get(&at), Some(&Some(Value::Count(19))));
    spec.hardware_version = Some(17);
    let found = build(&from_template(spec), Some(&seen_template()), None).unwrap_err();
    assert!(found[0].why.contains("never gets older"), "{found:?}");
}

//! Changes, restarts and ends of machines that are ready.

use super::*;
use crate::ownership::render;

/// A machine that was built as `full_spec` says, running.
fn built() -> Server {
    let options = template_options();
    let machine = from_template(full_spec());
    let spec = normalized(&machine);
    let allotted = allotted();
    let template = template_seen(&options);
    let build = Build {
        machine: &machine,
        spec: &spec,
        template: Some(&template),
        snapshot: None,
        allotted: &allotted,
        seen: None,
    };
    let lowered = Proxmox.lower(&Change::Build(build)).unwrap();
    let mut server = Server::with_template(&options);
    server.run(&lowered.steps);
    server.log.clear();
    server
}

/// What differs, as the planner would say it.
fn changes(spec: &MachineSpec, seen: &ObservedMachine) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    let change = |field: FieldPath, before, after, pending| FieldChange {
        field,
        before,
        after,
        disruption: Disruption::Online,
        place: None,
        pending,
    };
    let whole = |names: BTreeSet<&DeviceName>,
                 kind,
                 old: &dyn Fn(&DeviceName) -> bool,
                 new: &dyn Fn(&DeviceName) -> bool| {
        let one = |name: &&DeviceName| {
            let flag = |is: bool| is.then_some(Value::Flag(true));
            (old(name) != new(name))
                .then(|| change(FieldPath::on(kind, name), flag(old(name)), flag(new(name)), false))
        };
        names.iter().filter_map(one).collect::<Vec<_>>()
    };
    let old = seen.settled();
    changes.extend(whole(
        old.disks.keys().chain(spec.disks.keys()).collect(),
        FieldKind::Disk,
        &|name| old.disks.contains_key(name),
        &|name| spec.disks.contains_key(name),
    ));
    changes.extend(whole(
        old.nics.keys().chain(spec.nics.keys()).collect(),
        FieldKind::Nic,
        &|name| old.nics.contains_key(name),
        &|name| spec.nics.contains_key(name),
    ));
    spec.visit(|path, value| {
        let known = path
            .device
            .as_ref()
            .is_none_or(|name| old.disks.contains_key(name) || old.nics.contains_key(name));
        let (now, then) = (seen.spec.get(&path), old.get(&path));
        if !known || now.as_ref() == Some(&value) {
            return;
        }
        let pending = then.as_ref() == Some(&value);
        changes.push(change(path, now, Some(value), pending));
    });
    changes
}

fn lowered(
    spec: &MachineSpec,
    seen: &ObservedMachine,
    restart: bool,
) -> Result<Lowered, Vec<Unsupported>> {
    let machine = from_template(spec.clone());
    let spec = normalized(&machine);
    let fields = changes(&spec, seen);
    let mut allotted = allotted();
    let macs = spec.nics.keys().map(|name| (name.clone(), "BC:24:11:0A:0B:99".parse().unwrap()));
    allotted.macs = macs.collect();
    let update = Update {
        machine: &machine,
        spec: &spec,
        seen,
        fields: &fields,
        allotted: &allotted,
        restart,
    };
    Proxmox.lower(&Change::Update(update))
}

/// Changes a built machine, and says which calls it took.
fn change(restart: bool, edit: impl FnOnce(&mut MachineSpec)) -> (Server, Vec<&'static str>) {
    let mut server = built();
    let mut spec = full_spec();
    edit(&mut spec);
    let lowered = lowered(&spec, &server.seen(), restart).unwrap();
    server.run(&lowered.steps);
    assert_converged(&spec, &server);
    let marker = server.seen().marker;
    assert_eq!(marker.found().unwrap().stage, Stage::Ready);
    (server, lowered.steps.iter().map(|step| step.op.name()).collect())
}

#[test]
fn a_converged_machine_needs_nothing() {
    let server = built();
    assert_eq!(changes(&full_spec(), &server.seen()), []);
    let lowered = lowered(&full_spec(), &server.seen(), false).unwrap();
    assert_eq!(lowered.steps, []);
}

#[test]
fn fields_that_change_online_take_one_write() {
    let edits: [fn(&mut MachineSpec); 9] = [
        |it| {
            it.name = Some("web-9".into());
            it.init.as_mut().unwrap().hostname = Some("web-9".into());
        },
        |it| it.autostart = Some(Autostart { enabled: false, order: None, wait_s: None }),
        |it| it.tags = Some(BTreeSet::new()),
        |it| it.notes = Some(String::new()),
        |it| it.cdrom = Some(Cdrom::None),
        |it| it.nics.get_mut("eth0").unwrap().vlan = Some(30),
        |it| it.nics.get_mut("eth0").unwrap().model = Some(NicModel::E1000),
        |it| it.nics.get_mut("eth0").unwrap().mac = "BC:24:11:0A:0B:0D".parse().ok(),
        |it| it.init.as_mut().unwrap().user = Some("ops".into()),
    ];
    for edit in edits {
        let (server, ops) = change(false, edit);
        assert_eq!(ops, ["configure"]);
        assert!(server.running);
        assert!(server.log[0].params.contains(&("digest".into(), "d1".into())));
    }
}

#[test]
fn fields_that_stay_pending_are_written_and_the_machine_is_restarted() {
    let (server, ops) = change(true, |it| {
        it.cpu = Some(8);
        it.memory = Some(Bytes::gib(8));
        it.boot = Some(vec![BootDevice::Disk]);
    });
    assert_eq!(ops, ["configure", "shutdown", "start"]);
    assert_eq!(server.log[1].params, [("timeout".to_owned(), "120".to_owned())]);
}

#[test]
fn a_value_that_is_pending_already_is_not_written_again() {
    let mut server = built();
    server.store("memory", "8192");
    let spec = MachineSpec { memory: Some(Bytes::gib(8)), ..full_spec() };
    let lowered = lowered(&spec, &server.seen(), true).unwrap();
    assert!(lowered.steps.iter().all(|step| step.op.name() != "configure"));
    server.run(&lowered.steps);
    assert_converged(&spec, &server);
}

#[test]
fn a_disk_grows_in_a_call_of_its_own() {
    let (server, ops) = change(false, |it| {
        it.disks.get_mut("data").unwrap().size = Some(Bytes::gib(120));
    });
    assert_eq!(ops, ["grow-disk"]);
    assert_eq!(
        server.lines()[0],
        "Put /nodes/pve1/qemu/20071/resize digest=d1&disk=virtio0&size=120G"
    );
}

#[test]
fn a_new_disk_is_mapped_in_the_call_that_attaches_it() {
    let (server, ops) = change(false, |it| {
        let disk = DiskSpec {
            size: Some(Bytes::gib(10)),
            storage: Some("slow".into()),
            ..DiskSpec::default()
        };
        it.disks.insert("logs".into(), disk);
    });
    assert_eq!(ops, ["configure"]);
    let seen = server.seen();
    let map = &seen.marker.found().unwrap().map;
    assert_eq!(map.disks["logs"], MapEntry { slot: "scsi1".into(), confirmed: false });
    assert!(map.disks["boot"].confirmed);
}

#[test]
fn a_disk_that_was_never_seen_in_its_place_is_attached_there_again() {
    let (mut server, _) = change(false, |it| {
        let disk = DiskSpec {
            size: Some(Bytes::gib(10)),
            storage: Some("slow".into()),
            slot: Some(7),
            ..DiskSpec::default()
        };
        it.disks.insert("logs".into(), disk);
    });
    server.current.remove("scsi7");
    server.next.remove("scsi7");
    let mut spec = full_spec();
    let disk = DiskSpec {
        size: Some(Bytes::gib(10)),
        storage: Some("slow".into()),
        ..DiskSpec::default()
    };
    spec.disks.insert("logs".into(), disk);
    let lowered = lowered(&spec, &server.seen(), false).unwrap();
    server.run(&lowered.steps);
    assert_converged(&spec, &server);
    assert!(server.next.contains_key("scsi7"));
}

#[test]
fn a_disk_on_a_bus_that_cannot_be_hot_plugged_waits_for_a_stop() {
    let mut server = built();
    let mut spec = full_spec();
    let disk = DiskSpec {
        size: Some(Bytes::gib(10)),
        storage: Some("slow".into()),
        bus: Some(Bus::Sata),
        ..DiskSpec::default()
    };
    spec.disks.insert("logs".into(), disk);
    let found = lowered(&spec, &server.seen(), false).unwrap_err();
    assert_eq!(found[0].field.to_string(), "disk.logs");
    server.running = false;
    let lowered = lowered(&spec, &server.seen(), false).unwrap();
    server.run(&lowered.steps);
    assert_converged(&spec, &server);
}

#[test]
fn a_removed_disk_is_detached_and_protection_comes_back() {
    let (server, ops) = change(false, |it| drop(it.disks.remove("data")));
    assert_eq!(ops, ["configure", "configure", "configure"]);
    let seen = server.seen();
    assert!(seen.devices.iter().any(|it| it.kind == DeviceKind::Detached));
    assert!(!seen.marker.found().unwrap().map.disks.contains_key("data"));
    assert!(server.log[0].params.contains(&("protection".into(), "0".into())));
    assert!(server.log[1].params.contains(&("delete".into(), "virtio0".into())));
    assert!(server.log[2].params.contains(&("protection".into(), "1".into())));
}

#[test]
fn a_volume_is_deleted_with_its_disk_in_one_call_and_only_by_its_own_name() {
    let mut server = built();
    server.store("unused0", "fast:vm-20071-disk-99");
    let mut spec = full_spec();
    spec.disks.remove("data");
    let mut seen = server.seen();
    let disk = seen.spec.disks.get_mut("data").unwrap();
    disk.on_remove = OnRemove::Delete;
    let volume = seen.device("virtio0").unwrap().volume.clone().unwrap();
    let lowered = lowered(&spec, &seen, false).unwrap();
    let mut moved = server.clone();
    server.run(&lowered.steps);
    let forced: Vec<_> =
        server.log.iter().filter(|it| it.params.contains(&("force".into(), "1".into()))).collect();
    assert_eq!(forced.len(), 1, "no death of ours can come between");
    assert!(forced[0].params.contains(&("delete".into(), "virtio0".into())));
    assert!(server.next.contains_key("unused0") && !server.next.contains_key("unused1"));
    let volumes: Vec<_> = server.seen().devices.into_iter().filter_map(|it| it.volume).collect();
    assert!(!volumes.contains(&volume) && volumes.contains(&"fast:vm-20071-disk-99".to_owned()));

    // Another volume sits there now: nobody agreed to lose that one.
    moved.store("virtio0", "fast:vm-20071-disk-98");
    let deletes = |step: &&Step| {
        matches!(&step.op, StepOp::Configure(all)
            if all.iter().any(|it| matches!(it, Setting::DetachDisk { .. })))
    };
    let step = lowered.steps.iter().find(deletes).unwrap();
    let fresh = moved.fresh();
    let error = native_request(&call(step, &target(), &identity(), &fresh)).unwrap_err();
    assert!(error.contains("fast:vm-20071-disk-98"), "{error}");
}

#[test]
fn a_volume_that_stays_never_shares_a_write_with_one_that_goes() {
    let mut server = built();
    let mut seen = server.seen();
    seen.spec.disks.get_mut("data").unwrap().on_remove = OnRemove::Delete;
    let mut spec = full_spec();
    spec.disks.remove("data");
    spec.tpm = Some(false);
    let lowered = lowered(&spec, &seen, false).unwrap();
    server.run(&lowered.steps);
    let removing: Vec<_> =
        server.log.iter().filter(|it| it.params.iter().any(|(key, _)| key == "delete")).collect();
    let forced = |it: &NativeRequest| it.params.contains(&("force".into(), "1".into()));
    assert_eq!(removing.iter().map(|it| forced(it)).collect::<Vec<_>>(), [true, false]);
    assert!(!server.seen().marker.found().unwrap().map.disks.contains_key("data"));
}

#[test]
fn cards_come_and_go_with_their_addresses() {
    let (mut server, ops) = change(false, |it| {
        let nic = NicSpec {
            network: Some(NetworkBinding { name: None, native: "vmbr1".into() }),
            ip: Some(IpSetting::Dhcp),
            ..NicSpec::default()
        };
        it.nics.insert("lan".into(), nic);
    });
    assert_eq!(ops, ["configure"]);
    assert_eq!(server.next["net1"], "virtio=BC:24:11:0A:0B:99,bridge=vmbr1");
    assert_eq!(server.next["ipconfig1"], "ip=dhcp");
    let lowered = lowered(&full_spec(), &server.seen(), false).unwrap();
    server.run(&lowered.steps);
    assert!(!server.next.contains_key("net1") && !server.next.contains_key("ipconfig1"));
    assert_converged(&full_spec(), &server);
}

#[test]
fn a_changed_document_is_written_with_its_digest() {
    let (server, ops) = change(false, |it| {
        let init = it.init.as_mut().unwrap();
        init.domain = None;
        init.password = None;
        init.digest = Some("ffffffffffffffffffffffffffffffff".into());
    });
    assert_eq!(ops, ["configure"]);
    assert!(!server.next.contains_key("searchdomain") && !server.next.contains_key("cipassword"));
    let digest = server.seen().marker.found().unwrap().init.clone();
    assert_eq!(digest.as_deref(), Some("ffffffffffffffffffffffffffffffff"));
}

#[test]
fn a_new_cd_drive_and_the_boot_order_are_two_writes() {
    let mut server = built();
    server.remove("ide0");
    server.store("boot", "order=virtio0;net0");
    server.running = false;
    server.current = server.next.clone();
    let lowered = lowered(&full_spec(), &server.seen(), false).unwrap();
    let writes: Vec<_> = lowered.steps.iter().map(|step| step.op.name()).collect();
    assert_eq!(writes, ["configure", "configure"]);
    server.run(&lowered.steps);
    assert_converged(&full_spec(), &server);
    assert!(!server.log[0].params.iter().any(|(key, _)| key == "boot"));
}

#[test]
fn a_pool_is_changed_by_moving() {
    let (server, ops) = change(false, |it| it.pool = Some("other".into()));
    assert_eq!(ops, ["set-pool"]);
    assert_eq!(server.lines(), ["Put /pools allow-move=1&poolid=other&vms=20071"]);
}

#[test]
fn firmware_is_not_changed_on_a_machine_that_exists() {
    let server = built();
    let spec = MachineSpec { firmware: Some(Firmware::Bios), ..full_spec() };
    let found = lowered(&spec, &server.seen(), true).unwrap_err();
    assert_eq!(found[0].field.to_string(), "firmware");
}

#[test]
fn notes_of_a_person_and_tags_survive_a_write_that_does_not_speak_of_them() {
    let mut server = built();
    let marker = render(server.seen().marker.found().unwrap());
    server.store("description", &format!("written by hand\n{marker}"));
    server.store("tags", "by-hand");
    let seen = server.seen();
    let mut spec = MachineSpec { notes: None, tags: None, ..full_spec() };
    spec.protect = Some(false);
    let lowered = lowered(&spec, &seen, false).unwrap();
    server.run(&lowered.steps);
    let seen = server.seen();
    assert_eq!(seen.spec.notes.as_deref(), Some("written by hand"));
    assert_eq!(server.next["tags"], "by-hand;nh-acme");
    assert!(!seen.marker.found().unwrap().protect);
}

#[test]
fn a_delete_says_so_before_it_stops_and_removes() {
    let mut server = built();
    let lowered = Proxmox.lower(&Change::Delete(&server.seen())).unwrap();
    let ops: Vec<_> = lowered.steps.iter().map(|step| step.op.name()).collect();
    assert_eq!(ops, ["configure", "shutdown", "delete"]);
    assert_eq!(lowered.steps[1].otherwise, Some(StepOp::Stop));
    assert_eq!(lowered.steps[1].wait, Wait::PowerOff { within_s: 120 });
    let guards: Vec<bool> = lowered.steps.iter().map(|step| step.guarded).collect();
    assert_eq!(guards, [true, false, false]);
    server.run(&lowered.steps);
    assert!(!server.exists);
    assert_eq!(server.lines()[2], "Delete /nodes/pve1/qemu/20071 purge=1");
    assert!(
        server.lines()[0].contains("protection=0") && server.lines()[0].contains("stage=deleting")
    );
}

#[test]
fn a_machine_without_a_marker_is_never_lowered() {
    let seen = Server::of(&[("cores", "2")]).seen();
    assert!(Proxmox.lower(&Change::Delete(&seen)).is_err());
    assert!(lowered(&full_spec(), &seen, false).is_err());
}

#[test]
fn a_restart_waits_for_the_guest_and_never_pulls_the_plug() {
    let server = built();
    let restart = Proxmox.lower(&Change::Restart(&server.seen())).unwrap();
    let stop = Proxmox.lower(&Change::Stop(PowerState::Running)).unwrap();
    assert!(restart.steps.iter().chain(&stop.steps).all(|step| step.otherwise.is_none()));
    let ops: Vec<_> = restart.steps.iter().map(|step| step.op.name()).collect();
    assert_eq!(ops, ["shutdown", "start"]);
}

#[test]
fn a_call_that_the_fresh_read_does_not_allow_is_refused_in_words() {
    let server = built();
    let refused = |op: StepOp, fresh: &Fresh| {
        let step = Step {
            op,
            begin: Expect::default(),
            end: Expect::default(),
            wait: Wait::Task,
            otherwise: None,
            learns: BTreeSet::new(),
            guarded: true,
        };
        native_request(&call(&step, &target(), &identity(), fresh)).unwrap_err()
    };
    let fresh = server.fresh();
    let attach = Setting::AttachDisk {
        disk: "data".into(),
        slot: "scsi0".into(),
        bus: Bus::Scsi,
        size: Bytes::gib(10),
        storage: "fast".into(),
    };
    assert!(refused(StepOp::Configure(vec![attach]), &fresh).contains("scsi0 is taken"));
    let grow = StepOp::GrowDisk { disk: "x".into(), slot: "scsi9".into(), to: Bytes::gib(1) };
    assert!(refused(grow, &fresh).contains("scsi9"));
    let size = Setting::DiskSize { disk: "boot".into(), slot: "scsi0".into(), to: Bytes::gib(99) };
    assert!(refused(StepOp::Configure(vec![size]), &fresh).contains("a call of its own"));
    let absent = Fresh { object: FreshObject::Absent, version: None, raw: serde_json::Value::Null };
    assert!(refused(StepOp::Start, &absent).contains("no guest 20071"));
    let mut bare = server.clone();
    bare.store("description", "novahost/1 broken");
    let notes = StepOp::Configure(vec![Setting::Notes("x".into())]);
    assert!(refused(notes, &bare.fresh()).contains("cannot be read"));
}

#[test]
fn a_value_is_written_only_where_it_is_still_guarded_by_what_was_read() {
    let server = built();
    let spec = MachineSpec { cpu: Some(8), ..full_spec() };
    let lowered = lowered(&spec, &server.seen(), true).unwrap();
    let digests: Vec<bool> = lowered
        .steps
        .iter()
        .map(|step| server.request(step).params.contains(&("digest".into(), "d1".into())))
        .collect();
    assert_eq!(digests, [true, false, false]);
    assert_eq!(lowered.reads, [FieldPath::of(FieldKind::Sockets)]);
}

#[test]
fn a_marker_alone_can_be_written_back_to_ready() {
    let mut server = built();
    let delete = Proxmox.lower(&Change::Delete(&server.seen())).unwrap();
    server.run(&delete.steps[..1]);
    let seen = server.seen();
    let field = FieldChange {
        field: FieldPath::of(FieldKind::Marker),
        before: None,
        after: Some(Value::from("ready")),
        disruption: Disruption::Online,
        place: None,
        pending: false,
    };
    let machine = from_template(full_spec());
    let update = Update {
        machine: &machine,
        spec: &normalized(&machine),
        seen: &seen,
        fields: &[field],
        allotted: &allotted(),
        restart: false,
    };
    let lowered = Proxmox.lower(&Change::Update(update)).unwrap();
    server.run(&lowered.steps);
    assert_eq!(server.seen().marker.found().unwrap().stage, Stage::Ready);
}

//! A machine's life, lowered by the product and carried out step by step: after each, a
//! fresh read shows the step's end.

use super::{
    lab::{Lab, comment, key, pool, secret, unmet},
    subject::{Act, Need},
};
use novahost::model::{
    Adopt, Autostart, Bus, Bytes, Cdrom, Change, DesiredPool, Device, DeviceKind, DiskSpec,
    FieldKind, FieldPath, FreshObject, IpSetting, MachineSpec, MarkerState, NetworkBinding,
    NicModel, NicSpec, ObservedMachine, OnRemove, PoolBinding, PoolChange, Power, PowerState,
    Rename, ResourceKey, Stage, StepOp, Submitted, Target, TaskState,
};

use std::collections::{BTreeMap, BTreeSet};

/// A change to what is declared.
type Edit = fn(&mut MachineSpec);

pub async fn a_machine_is_born_from_a_template_as_declared(lab: Lab) {
    let machine = lab.desired(false);
    lab.build(&machine).await;
    let seen = lab.seen().await;
    assert_eq!(seen.next, None, "nothing is pending on a machine that never ran");
    lab.assert_as_declared(&machine, &seen);
    assert_eq!(seen.uuid, lab.identity(&lab.target()).uuid);
    let marker = seen.marker.found().unwrap();
    assert_eq!((marker.stage, marker.id.as_ref()), (Stage::Ready, Some(&lab.id())));
    let inventory = lab.observe().await;
    lab.assert_as_declared(&machine, &inventory.machines[&lab.id()]);
    assert!(inventory.machines[&lab.id()].bulk_mark);
}

pub async fn a_machine_is_born_from_an_image_as_declared(lab: Lab) {
    let mut machine = lab.desired_from_iso();
    machine.power = Power::Running;
    lab.build(&machine).await;
    let seen = lab.seen().await;
    lab.assert_as_declared(&machine, &seen);
    assert_eq!(seen.power, PowerState::Running);
    assert_eq!(seen.uuid, lab.identity(&lab.target()).uuid);
}

pub async fn addresses_are_told_to_a_guest_without_users(lab: Lab) {
    let mut machine = lab.desired(lab.props().linked_grows);
    machine.spec.init = None;
    lab.build(&machine).await;
    lab.assert_as_declared(&machine, &lab.seen().await);
    assert_eq!(lab.update_steps(&machine, false).await, []);
    // Another address, and then a name for the first time.
    let ip = IpSetting::Static { address: "10.20.0.73".parse().unwrap(), prefix: 24 };
    machine.spec.nics.get_mut("eth0").unwrap().ip = Some(ip);
    lab.update(&machine).await;
    machine.spec.init = lab.desired(false).spec.init;
    lab.update(&machine).await;
    lab.assert_as_declared(&machine, &lab.seen().await);
}

/// The controller is there already, or is added with the disk; a boot order that names one
/// is found again.
pub async fn a_disk_on_every_bus_reads_back(lab: Lab) {
    for mut machine in [lab.desired(lab.props().linked_grows), lab.desired_from_iso()] {
        let lab = lab.again().await;
        let storage = Some(lab.props().storage.clone());
        let buses =
            [("ata", Bus::Sata, None), ("old", Bus::Ide, None), ("far", Bus::Scsi, Some(13))];
        for (name, bus, slot) in buses {
            let size = Some(Bytes::gib(1));
            let (storage, bus) = (storage.clone(), Some(bus));
            let disk = DiskSpec { size, bus, slot, storage, ..DiskSpec::default() };
            machine.spec.disks.insert(name.into(), disk);
        }
        lab.build(&machine).await;
        lab.assert_as_declared(&machine, &lab.seen().await);
        assert_eq!(lab.update_steps(&machine, false).await, []);
        // They go, and others come.
        for (name, _, _) in buses {
            let mut disk = machine.spec.disks.remove(name).unwrap();
            disk.slot = None;
            machine.spec.disks.insert(format!("{name}2").as_str().into(), disk);
        }
        lab.update(&machine).await;
        lab.assert_as_declared(&machine, &lab.seen().await);
    }
}

/// A machine is put where somebody made room for it after our first look.
pub async fn a_pool_that_was_made_since_is_found(lab: Lab) {
    lab.observe().await;
    assert!(matches!(lab.read().await.object, FreshObject::Absent));
    let mut machine = lab.desired(false);
    machine.spec.pool = Some("later".into());
    let steps = lab.build_steps(&machine, None).await;
    // Before that, a birth into it is refused and nothing is born.
    let fresh = super::lab::absent();
    let (submitted, _) = lab.send(&steps[0], &fresh).await;
    lab.refusal(submitted, "").await;
    assert_eq!(lab.world.born("web-7"), 0);
    lab.act(Act::MakePool("later"));
    for step in &steps {
        lab.must(step).await;
    }
    assert_eq!(
        lab.seen().await.spec.pool.as_ref().map(ToString::to_string).as_deref(),
        Some("later")
    );
    lab.assert_as_declared(&machine, &lab.seen().await);
}

/// A device without its handle.
fn unnamed(device: &Device) -> (DeviceKind, Option<String>, Option<String>, Option<Bytes>) {
    let mac = device.mac.map(|mac| mac.to_string());
    (device.kind, device.volume.clone(), mac, device.size)
}

/// Which device each name of the map means.
fn named(seen: &ObservedMachine) -> BTreeMap<String, String> {
    let map = &seen.marker.found().unwrap().map;
    let entries = map.disks.iter().chain(&map.nics);
    let device = |slot: &str| format!("{:?}", unnamed(seen.device(slot).unwrap()));
    entries.map(|(name, entry)| (name.to_string(), device(entry.slot.as_str()))).collect()
}

/// Adopted, renamed, forgotten: one write of the marker, and nothing else of the machine
/// is other than before.
pub async fn a_machine_changes_hands_by_its_marker_alone(lab: Lab) {
    let machine = lab.desired(true);
    lab.build(&machine).await;
    let ours = lab.seen().await;
    // What lies in the marker goes with it, and the handles that its map gives to devices;
    // free keys are read of what an entry of ours declares.
    let bare = |seen: &ObservedMachine| {
        let protect = seen.spec.protect.filter(|_| lab.props().protects_itself);
        let spec = MachineSpec {
            protect,
            disks: BTreeMap::default(),
            nics: BTreeMap::default(),
            extra: BTreeMap::default(),
            ..seen.spec.clone()
        };
        (
            MachineSpec { init: None, boot: None, ..spec },
            seen.devices.iter().map(unnamed).collect::<BTreeSet<_>>(),
            seen.power,
            seen.uuid,
        )
    };
    let [forget] = &lab.lower(&Change::Forget(&ours))[..] else { panic!("one call") };
    assert!(forget.guarded);
    lab.must(forget).await;
    let nobodys = lab.seen().await;
    assert_eq!((&nobodys.marker, nobodys.bulk_mark), (&MarkerState::None, false));
    assert_eq!(bare(&nobodys), bare(&ours));

    let spec = lab.normalized(&machine);
    let change = Change::Adopt(Adopt { machine: &machine, spec: &spec, seen: &nobodys });
    let [adopt] = &lab.lower(&change)[..] else { panic!("one call") };
    assert!(adopt.guarded);
    lab.must(adopt).await;
    let adopted = lab.seen().await;
    assert!(adopted.bulk_mark);
    assert_eq!(bare(&adopted), bare(&ours));
    let (old, new) = (ours.marker.found().unwrap(), adopted.marker.found().unwrap());
    assert_eq!((new.uuid, &new.id, new.stage), (ours.uuid, &old.id, Stage::Ready));
    assert_eq!(named(&adopted), named(&ours));

    let to = ResourceKey::vm("other");
    let [rename] = &lab.lower(&Change::Rename(Rename { to: &to, seen: &adopted }))[..] else {
        panic!("one call")
    };
    let target = Target { key: to.clone(), ..lab.target() };
    lab.must_at(&target, rename).await;
    let renamed = lab.seen().await;
    let marker = renamed.marker.found().unwrap();
    assert_eq!((&marker.key, &marker.map, marker.uuid), (&to, &new.map, new.uuid));
    assert_eq!(bare(&renamed), bare(&ours));
}

pub async fn a_birth_is_off_marked_and_collides(lab: Lab) {
    for machine in [lab.desired(true), lab.desired(false), lab.desired_from_iso()] {
        let lab = lab.again().await;
        let steps = lab.build_steps(&machine, None).await;
        lab.must(&steps[0]).await;
        let seen = lab.seen().await;
        assert_eq!(seen.power, PowerState::Stopped);
        let marker = seen.marker.found().unwrap();
        assert_eq!((&marker.key, marker.stage), (&key(), Stage::New));
        let (birth, op) = (lab.birth(0), &steps[0].op);
        let absent = super::lab::absent();
        let (again, _) = lab.submit(&*lab.provider, &birth, &steps[0], op, &absent).await;
        let refusal = lab.refusal(again, "exists").await;
        assert_eq!(refusal.kind, novahost::model::RefusalKind::Exists, "{refusal:?}");
        assert_eq!(lab.world.born("web-7"), 1);
    }
}

pub async fn a_half_made_machine_is_built_to_its_end(lab: Lab) {
    let machine = lab.desired(true);
    let steps = lab.build_steps(&machine, None).await;
    for done in 1..steps.len() {
        let lab = lab.again().await;
        for step in &steps[..done] {
            lab.must(step).await;
        }
        let seen = lab.seen().await;
        let rest = lab.build_steps(&machine, Some(&seen)).await;
        assert!(rest.iter().all(|step| !step.op.is_birth()), "after {done}: {rest:?}");
        for step in &rest {
            lab.must(step).await;
        }
        lab.assert_as_declared(&machine, &lab.seen().await);
    }
}

pub async fn every_end_of_a_build_holds_when_it_is_done(lab: Lab) {
    let machine = lab.desired(true);
    let steps = lab.build_steps(&machine, None).await;
    lab.build(&machine).await;
    let fresh = lab.read().await;
    for step in &steps {
        assert!(!step.end.is_empty(), "{:?}", step.op);
        // A stage is passed through; everything else that was reached stays.
        let mut end = step.end.clone();
        end.stage = end.stage.filter(|stage| *stage != Stage::New);
        assert_eq!(unmet(&end, &fresh.object), Vec::<String>::new(), "{:?}", step.op);
    }
    assert_eq!(lab.update_steps(&machine, false).await, []);
}

pub async fn a_device_is_in_the_map_from_the_call_that_makes_it(lab: Lab) {
    let machine = lab.desired(true);
    for step in lab.build_steps(&machine, None).await {
        lab.must(&step).await;
        let seen = lab.seen().await;
        let marker = seen.marker.found().unwrap();
        let entries: Vec<_> = marker.map.disks.values().chain(marker.map.nics.values()).collect();
        assert!(entries.iter().all(|entry| seen.device(entry.slot.as_str()).is_some()));
        let new = seen.device(lab.props().second_disk).is_some();
        assert_eq!(new, marker.map.disks.contains_key("data"), "after {}", step.op.name());
        if new {
            let read = marker.stage == Stage::Ready;
            assert_eq!(marker.map.disks["data"].confirmed, read, "after {}", step.op.name());
        }
    }
}

pub async fn every_change_reads_back_as_declared(lab: Lab) {
    let mut machine = lab.desired(lab.props().linked_grows);
    lab.build(&machine).await;
    let edits: [(&str, Edit); 20] = [
        ("protect", |it| it.protect = Some(false)),
        ("name", |it| {
            it.name = Some("web-7b".into());
            it.init.as_mut().unwrap().hostname = Some("web-7b".into());
        }),
        ("processors", |it| (it.cpu, it.sockets) = (Some(6), Some(3))),
        ("memory", |it| it.memory = Some(Bytes::gib(6))),
        ("tags", |it| it.tags = Some(["One".to_owned()].into())),
        ("no tags", |it| it.tags = Some([].into())),
        ("notes", |it| it.notes = Some("Only this.\n".into())),
        ("no notes", |it| it.notes = Some(String::new())),
        ("autostart", |it| {
            it.autostart = Some(Autostart { enabled: false, order: None, wait_s: None });
        }),
        ("medium", |it| it.cdrom = Some(Cdrom::None)),
        ("no tpm", |it| it.tpm = Some(false)),
        ("newer hardware", |it| it.hardware_version = Some(21)),
        ("free keys", |it| {
            it.extra.insert("disk.EnableUUID".into(), String::new());
            it.extra.insert("tools.syncTime".into(), "FALSE".into());
        }),
        ("first boot", |it| {
            let init = it.init.as_mut().unwrap();
            init.ssh_keys = Some(vec!["ssh-ed25519 AAAAnew third".into()]);
            init.user = Some("admin".into());
            init.password = Some(secret(2));
            init.digest = Some("f".repeat(32));
            it.nics.get_mut("eth0").unwrap().ip =
                Some(IpSetting::Static { address: "10.20.0.72".parse().unwrap(), prefix: 25 });
        }),
        ("more cards", |it| {
            // On the network that eth1 is on; that of eth0 is changed to it.
            let network = it.nics["eth1"].network.clone();
            let model = Some(NicModel::Virtio);
            it.nics.insert(
                "eth2".into(),
                NicSpec { network: network.clone(), model, ..NicSpec::default() },
            );
            let eth0 = it.nics.get_mut("eth0").unwrap();
            (eth0.vlan, eth0.network) = (None, network);
        }),
        ("another kind of card", |it| {
            it.nics.get_mut("eth0").unwrap().model = Some(NicModel::E1000);
        }),
        ("fewer cards", |it| drop(it.nics.remove("eth1"))),
        ("disks", |it| {
            let storage = it.disks["boot"].storage.clone();
            it.disks.get_mut("boot").unwrap().size = Some(Bytes::gib(14));
            let disk = |on_remove| DiskSpec {
                size: Some(Bytes::gib(1)),
                storage: storage.clone(),
                on_remove,
                ..DiskSpec::default()
            };
            it.disks.insert("keep".into(), disk(OnRemove::Detach));
            it.disks.insert("toss".into(), disk(OnRemove::Delete));
        }),
        ("disks gone", |it| {
            it.disks.remove("keep");
            it.disks.remove("toss");
        }),
        ("boot", |it| it.boot = Some(vec![novahost::model::BootDevice::Disk])),
    ];
    let lacking = [
        ("tags", FieldKind::Tags),
        ("no tags", FieldKind::Tags),
        ("autostart", FieldKind::Autostart),
        ("no tpm", FieldKind::Tpm),
        ("newer hardware", FieldKind::HardwareVersion),
        ("free keys", FieldKind::Extra),
    ];
    for (what, edit) in edits {
        // What the product has not cannot be changed on it.
        if lacking.iter().any(|(it, kind)| *it == what && !lab.has_field(*kind)) {
            continue;
        }
        let before = machine.spec.clone();
        edit(&mut machine.spec);
        assert_ne!(machine.spec, before, "{what} changes nothing");
        lab.update(&machine).await;
        lab.assert_as_declared(&machine, &lab.seen().await);
    }
    // What was detached is still there (a disk, and the state of the TPM where there was one),
    // what was to go is gone.
    let left = 1 + usize::from(lab.has_field(FieldKind::Tpm));
    assert_eq!(lab.world.detached(&lab.target().at), left);
}

/// Running or not; what hangs on the machine and is nobody's stays where it is.
pub async fn a_disk_moves_to_another_storage_and_no_other_does(lab: Lab) {
    let other = lab.props().other_storage.clone();
    for runs in [false, true] {
        let lab = lab.again().await;
        let mut machine = lab.desired(false);
        // Its disk is left unmanaged, as one that somebody hung on.
        lab.build(&machine).await;
        if runs {
            machine.power = Power::Running;
            for step in lab.lower(&Change::Start) {
                lab.must(&step).await;
            }
        }
        let volumes = |seen: &ObservedMachine| {
            let at = |name: &str| {
                let slot = &seen.marker.found().unwrap().map.disks[name].slot;
                seen.device(slot.as_str()).unwrap().volume.clone().unwrap()
            };
            (at("boot"), at("data"))
        };
        let before = volumes(&lab.seen().await);
        for name in ["data", "boot"] {
            machine.spec.disks.get_mut(name).unwrap().storage = Some(other.clone());
            lab.update(&machine).await;
            let seen = lab.seen().await;
            lab.assert_as_declared(&machine, &seen);
            let now = volumes(&seen);
            assert_ne!(now.1, before.1);
            assert_eq!(now.0 == before.0, name == "data", "{name}: {now:?}");
        }
        // The boot disk alone, with the machine's own files: the other one stays.
        machine.spec.disks.get_mut("boot").unwrap().storage = Some(lab.props().storage.clone());
        let before = volumes(&lab.seen().await);
        lab.update(&machine).await;
        let now = volumes(&lab.seen().await);
        assert!(now.0 != before.0 && now.1 == before.1, "{now:?}");
        assert_eq!(lab.world.detached(&lab.target().at), 0, "nothing is left behind");
    }
}

pub async fn a_machine_changes_its_pool(lab: Lab) {
    let mut machine = lab.small().await;
    let ours = DesiredPool {
        key: pool().key,
        comment: Some("Of the team".into()),
        at: [(lab.props().hypervisor.clone(), PoolBinding::Named)].into(),
        acl: [].into(),
        place: super::lab::place(),
    };
    // Where pools are not made, the world has this one.
    if lab.has(Need::OwnPools) {
        for step in lab.lower(&Change::CreatePool(PoolChange { pool: &ours, seen: None })) {
            lab.must_at(&pool(), &step).await;
        }
    }
    let shared = lab.props().pool.clone();
    for name in ["team", shared.as_str()] {
        machine.spec.pool = Some(name.into());
        lab.update(&machine).await;
        assert_eq!(
            lab.seen().await.spec.pool.as_ref().map(ToString::to_string).as_deref(),
            Some(name)
        );
    }
    let out = super::lab::bare(
        StepOp::SetPool { pool: None },
        novahost::model::Expect {
            fields: [(FieldPath::of(FieldKind::Pool), None)].into(),
            ..Default::default()
        },
    );
    lab.must(&out).await;
    assert_eq!(lab.seen().await.spec.pool, None);
}

pub async fn a_pool_is_made_described_and_removed(lab: Lab) {
    let mut ours = DesiredPool {
        key: pool().key,
        comment: Some("Of the team: a=b; c&d, ä".into()),
        at: [(lab.props().hypervisor.clone(), PoolBinding::Named)].into(),
        acl: [].into(),
        place: super::lab::place(),
    };
    for step in lab.lower(&Change::CreatePool(PoolChange { pool: &ours, seen: None })) {
        lab.must_at(&pool(), &step).await;
    }
    ours.comment = Some("Of others".into());
    for step in lab.lower(&Change::UpdatePool(PoolChange { pool: &ours, seen: None })) {
        lab.must_at(&pool(), &step).await;
    }
    let fresh = lab.provider.read(&pool()).await.unwrap();
    assert_eq!(unmet(&comment("Of others"), &fresh.object), Vec::<String>::new());
    let FreshObject::Pool(seen) = fresh.object else { panic!("no pool") };
    assert_eq!(seen.marker.found().map(|marker| &marker.key), Some(&pool().key));
    let listed = &lab.observe().await.pools["team"];
    assert_eq!((listed.comment.as_str(), listed.other_members), ("Of others", false));
    for step in lab.lower(&Change::DeletePool(&seen)) {
        lab.must_at(&pool(), &step).await;
    }
    assert!(matches!(lab.provider.read(&pool()).await.unwrap().object, FreshObject::Absent));
}

pub async fn a_machine_starts_stops_and_goes(lab: Lab) {
    lab.small().await;
    // `small` leaves it off.
    for _ in 0..2 {
        for change in [Change::Start, Change::Stop(PowerState::Running)] {
            for step in lab.lower(&change) {
                lab.must(&step).await;
            }
        }
    }
    let seen = lab.seen().await;
    for step in lab.lower(&Change::Start).into_iter().chain(lab.lower(&Change::Restart(&seen))) {
        lab.must(&step).await;
    }
    for step in lab.lower(&Change::Delete(&lab.seen().await)) {
        lab.must(&step).await;
    }
    assert_eq!(lab.truth(), "nothing");
}

pub async fn a_guest_that_does_not_hear_is_switched_off(lab: Lab) {
    lab.small().await;
    for step in lab.lower(&Change::Start) {
        lab.must(&step).await;
    }
    lab.act(Act::Deafen(&lab.id()));
    for mut step in lab.lower(&Change::Delete(&lab.seen().await)) {
        let StepOp::Shutdown = step.op else {
            lab.must(&step).await;
            continue;
        };
        step.wait = novahost::model::Wait::PowerOff { within_s: 1 };
        // Either its task waits and fails, or it is asked and nothing comes of it.
        let state = lab.carry_out(&lab.target(), &step, &step.op.clone()).await;
        assert!(matches!(state, TaskState::Failed(_) | TaskState::Done(_)), "{state:?}");
        assert_ne!(unmet(&step.end, &lab.read().await.object), Vec::<String>::new());
        let instead = step.otherwise.clone().unwrap();
        let state = lab.carry_out(&lab.target(), &step, &instead).await;
        assert!(matches!(state, TaskState::Done(_)), "{state:?}");
        assert_eq!(unmet(&step.end, &lab.read().await.object), Vec::<String>::new());
    }
    assert!(matches!(lab.read().await.object, FreshObject::Absent));
}

pub async fn pending_values_are_not_in_force(lab: Lab) {
    let mut machine = lab.small().await;
    machine.power = Power::Running;
    for step in lab.lower(&Change::Start) {
        lab.must(&step).await;
    }
    let before = lab.seen().await.spec;
    (machine.spec.cpu, machine.spec.memory) = (Some(4), Some(Bytes::gib(3)));
    machine.spec.sockets = Some(1);
    for step in lab.update_steps(&machine, false).await {
        lab.must(&step).await;
    }
    let observed = lab.observe().await.machines[&lab.id()].clone();
    for seen in [lab.seen().await, observed] {
        assert_eq!((seen.spec.cpu, seen.spec.memory), (before.cpu, before.memory));
        let next = seen.next.expect("something is pending");
        assert_eq!((next.cpu, next.memory), (Some(4), Some(Bytes::gib(3))));
    }
    for step in lab.lower(&Change::Restart(&lab.seen().await)) {
        lab.must(&step).await;
    }
    let seen = lab.seen().await;
    assert_eq!((seen.spec.cpu, seen.next), (Some(4), None));
}

pub async fn what_a_step_does_not_speak_of_survives_it(lab: Lab) {
    let mut machine = lab.small().await;
    lab.act(Act::Decorate(&lab.id()));
    let mac = lab.seen().await.spec.nics["eth0"].mac;
    machine.spec.tags = lab.has_field(FieldKind::Tags).then(|| ["x".to_owned()].into());
    machine.spec.protect = Some(true);
    machine.spec.autostart = lab.has_field(FieldKind::Autostart).then_some(Autostart {
        enabled: true,
        order: Some(2),
        wait_s: None,
    });
    let other = NetworkBinding { name: None, native: lab.props().networks[1].clone() };
    let eth0 = machine.spec.nics.get_mut("eth0").unwrap();
    (eth0.network, eth0.mac) = (Some(other.clone()), None);
    if lab.has_field(FieldKind::NicVlan) {
        eth0.vlan = Some(77);
    }
    lab.update(&machine).await;
    let seen = lab.seen().await;
    assert_eq!(seen.spec.notes.as_deref(), Some("Written by hand."));
    assert_eq!(seen.spec.nics["eth0"].mac, mac);
    assert!(seen.bulk_mark);
    assert_eq!(seen.spec.nics["eth0"].network, Some(other));
    let truth = lab.truth();
    for kept in &lab.props().decorations {
        assert!(truth.contains(kept), "{kept} is lost: {truth}");
    }
}

pub async fn normalizing_twice_is_normalizing_once(lab: Lab) {
    for mut machine in [lab.desired(true), lab.desired_from_iso()] {
        let once = lab.normalized(&machine);
        machine.spec = once.clone();
        assert_eq!(lab.normalized(&machine), once);
    }
}

pub async fn what_cannot_be_had_is_an_error_while_planning(lab: Lab) {
    let edits: [(Edit, FieldKind); 8] = [
        (|it| it.name = Some("not/a\tname ".into()), FieldKind::Name),
        (|it| it.sockets = Some(3), FieldKind::Sockets),
        (|it| it.memory = Some(Bytes(4097)), FieldKind::Memory),
        (|it| it.tags = Some(["a b".to_owned()].into()), FieldKind::Tags),
        (|it| it.disks.get_mut("data").unwrap().size = None, FieldKind::DiskSize),
        (|it| it.nics.get_mut("eth0").unwrap().vlan = Some(4095), FieldKind::NicVlan),
        (
            |it| it.nics.get_mut("eth1").unwrap().gateway = "10.0.0.1".parse().ok(),
            FieldKind::NicGateway,
        ),
        (|it| it.init.as_mut().unwrap().hostname = Some("no name".into()), FieldKind::InitHostname),
    ];
    for (edit, kind) in edits {
        let mut machine = lab.desired(true);
        edit(&mut machine.spec);
        // Written on the card, not by the network's entry.
        machine
            .places
            .push((FieldPath::on(FieldKind::NicVlan, &"eth0".into()), super::lab::place()));
        let found = lab.world.product().normalize(&machine).unwrap_err();
        assert!(found.iter().any(|it| it.field.kind == kind), "{kind:?}: {found:?}");
        assert!(found.iter().all(|it| !it.why.is_empty() && !it.help.is_empty()));
    }
    let mut machine = lab.desired(true);
    machine.spec.notes = Some(lab.props().bad_notes.clone());
    let found = lab.world.product().normalize(&machine).unwrap_err();
    assert!(found.iter().all(|it| it.field.kind == FieldKind::Notes), "{found:?}");
    // What it has not at all, it refuses too.
    let lacking: [(Edit, FieldKind); 4] = [
        (|it| it.tags = Some(["x".to_owned()].into()), FieldKind::Tags),
        (|it| it.tpm = Some(true), FieldKind::Tpm),
        (
            |it| it.autostart = Some(Autostart { enabled: true, order: None, wait_s: None }),
            FieldKind::Autostart,
        ),
        (|it| it.disks.get_mut("data").unwrap().bus = Some(Bus::Virtio), FieldKind::DiskBus),
    ];
    for (edit, kind) in lacking {
        let mut machine = lab.desired(true);
        edit(&mut machine.spec);
        let found = lab.world.product().normalize(&machine);
        match found {
            // What is not refused is not dropped.
            Ok(spec) => {
                let bus = spec.disks["data"].bus == Some(Bus::Virtio);
                let kept = bus || spec.get(&FieldPath::of(kind)).is_some();
                assert!(kept, "{kind:?} is dropped");
            }
            Err(found) => assert!(found.iter().any(|it| it.field.kind == kind), "{found:?}"),
        }
    }
    // Smaller than the template's disk: only lowering can know.
    let mut machine = lab.desired(true);
    machine.spec.disks.get_mut("boot").unwrap().size = Some(Bytes::gib(4));
    let (spec, template) = (lab.normalized(&machine), lab.template().await);
    let allotted = lab.allotted(&spec);
    let build = novahost::model::Build {
        machine: &machine,
        spec: &spec,
        template: Some(&template),
        snapshot: template.snapshots.last(),
        allotted: &allotted,
        seen: None,
    };
    assert!(lab.world.product().lower(&Change::Build(build)).is_err());
}

pub async fn a_submit_sends_one_call(lab: Lab) {
    let machine = lab.desired(true);
    let steps = lab.build_steps(&machine, None).await;
    let before = lab.world.mutations();
    lab.build(&machine).await;
    assert_eq!(lab.world.mutations() - before, steps.len());
    // A step that the fresh read does not allow sends nothing.
    let configure = steps.iter().find(|step| step.op.name() == "configure").unwrap();
    let (submitted, _) = lab.send(configure, &super::lab::absent()).await;
    assert!(matches!(submitted, Submitted::Refused(_)), "{submitted:?}");
    assert_eq!(lab.world.mutations() - before, steps.len());
}

use super::*;
use crate::model::{
    Bus, Bytes, Capabilities, Change, Device, DeviceMap, DiskSpec, Hot, InitSpec, Lowered,
    MapEntry, MarkerState, NicSpec, Place, ResourceKey, Stage, Unsupported,
};
use std::collections::BTreeMap;

/// A product that knows one field of each class; `firmware` cannot be changed at all, and
/// more processors cost nothing where the machine takes them while it runs.
struct Simple(Capabilities);

impl Product for Simple {
    fn capabilities(&self) -> &Capabilities {
        &self.0
    }

    fn normalize(&self, machine: &DesiredMachine) -> Result<MachineSpec, Vec<Unsupported>> {
        Ok(machine.spec.clone())
    }

    fn cost(
        &self,
        change: &FieldDelta<'_>,
        seen: &ObservedMachine,
        running: bool,
    ) -> Option<Disruption> {
        let count = |value: Option<&Value>| match value {
            Some(Value::Count(count)) => *count,
            _ => 0,
        };
        let more = count(change.after) > count(change.before);
        let hot = if more { Hot::CpuUp } else { Hot::CpuDown };
        if change.field.kind == FieldKind::Cpu && running && seen.hot.contains(&hot) {
            return Some(Disruption::Online);
        }
        self.0.cost(change.field.kind, running)
    }

    fn name_key(&self, name: &str) -> String {
        name.to_owned()
    }

    fn lower(&self, _: &Change<'_>) -> Result<Lowered, Vec<Unsupported>> {
        Err(Vec::new())
    }
}

fn capabilities() -> Capabilities {
    use {Disruption as D, FieldKind as K};
    let changes = [
        (K::Tags, D::Online),
        (K::Notes, D::NextBoot),
        (K::Memory, D::Restart),
        (K::Cpu, D::Restart),
        (K::Tpm, D::Replace),
        (K::InitUser, D::Reinit),
        (K::InitDigest, D::Reinit),
        (K::NicIp, D::Reinit),
        (K::Protect, D::Online),
        (K::Disk, D::Online),
        (K::DiskSize, D::Online),
        (K::DiskOnRemove, D::Online),
        (K::Nic, D::Reinit),
    ];
    Capabilities {
        product: "Test",
        changes: changes.into(),
        unreadable: Vec::new(),
        chooses_ids: true,
        chooses_uuid: true,
        macs: crate::model::MacRange { prefix: [2, 0, 0], bits: 24 },
        default_bus: Bus::Scsi,
        detaches_disks: true,
        linked_needs_snapshot: false,
        snapshots: crate::model::SnapshotRules { disks_grow: true, volumes_go: true, levels: None },
        words: crate::model::Words {
            id_setting: Some("test.id"),
            id_range: "test_ids",
            marker_home: "notes",
            uuid_home: "in its settings",
        },
    }
}

struct Pair {
    machine: DesiredMachine,
    seen: ObservedMachine,
    marker: Marker,
}

fn pair() -> Pair {
    let place = Place { file: "novahost.yaml".into(), line: 1, column: 1 };
    let machine = DesiredMachine {
        key: ResourceKey::vm("web"),
        hypervisor: "pve".into(),
        spec: MachineSpec::default(),
        power: Power::Once,
        birth: None,
        after: Vec::new(),
        pinned_node: None,
        spread: None,
        wanted_id: None,
        adopt: None,
        was: None,
        service_plan: None,
        snapshots: None,
        place,
        places: Vec::new(),
    };
    let marker = Marker {
        project: "acme".into(),
        key: ResourceKey::vm("web"),
        uuid: None,
        id: Some("100".into()),
        stage: Stage::Ready,
        intent: uuid::Uuid::nil(),
        init: None,
        protect: false,
        mac: None,
        map: DeviceMap::default(),
    };
    let seen = ObservedMachine {
        id: "100".into(),
        node: None,
        uuid: None,
        template: false,
        snapshots: Vec::new(),
        hot: [].into(),
        power: PowerState::Running,
        lock: None,
        marker: MarkerState::None,
        bulk_mark: false,
        spec: MachineSpec::default(),
        next: None,
        devices: Vec::new(),
        known_labels: [].into(),
        setup_waits: false,
        addresses: Vec::new(),
    };
    Pair { machine, seen, marker }
}

impl Pair {
    fn compare(&self) -> Differences {
        compare(
            &self.machine,
            &self.machine.spec,
            &self.seen,
            &self.marker,
            &Simple(capabilities()),
        )
    }

    /// `memory restart`, `tags online`: what differs and what it costs.
    fn costs(&self) -> Vec<String> {
        let found = self.compare();
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        let mark = |it: &FieldChange| if it.pending { " pending" } else { "" };
        found
            .fields
            .iter()
            .map(|it| format!("{} {}{}", it.field, it.disruption, mark(it)))
            .collect()
    }

    fn codes(&self) -> Vec<Code> {
        self.compare().problems.iter().map(|it| it.code).collect()
    }

    /// A disk that the marker's map names, with or without its device.
    fn disk(&mut self, name: &str, slot: &str, confirmed: bool, there: bool, size: u64) {
        self.marker.map.disks.insert(name.into(), MapEntry { slot: slot.into(), confirmed });
        if there {
            let size = Some(Bytes::gib(size));
            self.seen.spec.disks.insert(name.into(), DiskSpec { size, ..DiskSpec::default() });
            self.seen.devices.push(Device {
                slot: slot.into(),
                kind: DeviceKind::Disk,
                volume: Some(format!("fast:{name}")),
                storage: Some("fast".into()),
                size,
                linked: false,
                mac: None,
                network: None,
                vlan: None,
            });
        }
    }

    fn want_disk(&mut self, name: &str, size: u64, on_remove: OnRemove) {
        let disk = DiskSpec { size: Some(Bytes::gib(size)), on_remove, ..DiskSpec::default() };
        self.machine.spec.disks.insert(name.into(), disk);
    }
}

fn memory(gib: u64) -> MachineSpec {
    MachineSpec { memory: Some(Bytes::gib(gib)), ..MachineSpec::default() }
}

#[test]
fn what_is_not_declared_is_not_compared() {
    let mut pair = pair();
    pair.seen.spec = MachineSpec {
        notes: Some("by hand".into()),
        cpu: Some(64),
        protect: Some(true),
        init: Some(InitSpec { user: Some("root".into()), ..InitSpec::default() }),
        nics: [("eth9".into(), NicSpec::default())].into(),
        ..memory(1)
    };
    pair.marker.init = Some("0123".into());
    assert!(pair.compare().is_empty());
}

#[test]
fn each_field_has_the_class_of_its_product_and_nothing_above_none_when_off() {
    let mut pair = pair();
    pair.machine.spec = MachineSpec {
        tags: Some(["a".to_owned()].into()),
        notes: Some("new".into()),
        tpm: Some(true),
        init: Some(InitSpec { user: Some("deploy".into()), ..InitSpec::default() }),
        ..memory(2)
    };
    let running =
        ["memory restart", "tpm replace", "tags online", "notes next-boot", "init.user reinit"];
    assert_eq!(pair.costs(), running);
    pair.seen.power = PowerState::Stopped;
    let stopped = ["memory none", "tpm replace", "tags none", "notes none", "init.user reinit"];
    assert_eq!(pair.costs(), stopped);
}

#[test]
fn the_price_depends_on_the_value_and_on_the_machine_where_the_product_says_so() {
    let mut pair = pair();
    let processors = |count| MachineSpec { cpu: Some(count), ..MachineSpec::default() };
    pair.seen.spec = processors(2);
    pair.machine.spec = processors(4);
    assert_eq!(pair.costs(), ["cpu restart"]);
    pair.seen.hot = [Hot::CpuUp].into();
    assert_eq!(pair.costs(), ["cpu online"]);
    pair.machine.spec = processors(1);
    assert_eq!(pair.costs(), ["cpu restart"]);
    pair.seen.power = PowerState::Stopped;
    assert_eq!(pair.costs(), ["cpu none"]);
}

#[test]
fn a_machine_whose_power_cannot_be_told_costs_what_a_running_one_does() {
    let mut pair = pair();
    pair.machine.spec = memory(2);
    pair.seen.power = PowerState::Unknown;
    assert_eq!(pair.costs(), ["memory restart"]);
}

#[test]
fn a_field_that_the_product_cannot_change_is_a_problem_with_its_value() {
    let mut pair = pair();
    pair.machine.spec.firmware = Some(crate::model::Firmware::Uefi);
    pair.seen.spec.firmware = Some(crate::model::Firmware::Bios);
    let found = pair.compare();
    assert_eq!(pair.codes(), [Code::Unsupported]);
    assert!(found.fields.is_empty());
    assert_eq!(found.problems[0].help, "write `bios` again, or make a new machine");
}

#[test]
fn a_wanted_value_that_is_only_pending_is_a_restart_without_a_write() {
    let mut pair = pair();
    pair.machine.spec = memory(4);
    pair.seen.spec = memory(1);
    pair.seen.next = Some(Box::new(memory(4)));
    assert_eq!(pair.costs(), ["memory restart pending"]);
    let change = pair.compare().fields.remove(0);
    assert_eq!(change.before, Some(Value::Size(Bytes::gib(1))));
    // It will be in force whenever the machine is started: nothing is left to do.
    pair.seen.power = PowerState::Stopped;
    assert!(pair.compare().is_empty());
}

#[test]
fn another_pending_value_is_written_over_and_one_against_us_is_taken_back_for_nothing() {
    let mut pair = pair();
    pair.machine.spec = memory(2);
    pair.seen.spec = memory(1);
    pair.seen.next = Some(Box::new(memory(4)));
    assert_eq!(pair.costs(), ["memory restart"]);
    pair.seen.spec = memory(2);
    assert_eq!(pair.costs(), ["memory none"]);
}

#[test]
fn taking_back_what_cannot_be_changed_leaves_other_prices_alone() {
    let mut pair = pair();
    pair.machine.spec =
        MachineSpec { boot: Some(vec![crate::model::BootDevice::Disk]), ..memory(2) };
    pair.seen.spec = MachineSpec { boot: pair.machine.spec.boot.clone(), ..memory(1) };
    let other = Some(vec![crate::model::BootDevice::Cdrom]);
    pair.seen.next = Some(Box::new(MachineSpec { boot: other, ..memory(1) }));
    let found = pair.compare();
    assert_eq!(found.problems.len(), 1);
    assert_eq!(found.fields[0].disruption, Disruption::Restart);
}

#[test]
fn protection_stands_in_two_places_and_either_missing_is_a_difference() {
    for (native, marked, differs) in
        [(true, true, false), (true, false, true), (false, true, true), (false, false, true)]
    {
        let mut pair = pair();
        pair.machine.spec.protect = Some(true);
        pair.seen.spec.protect = Some(native);
        pair.marker.protect = marked;
        assert_eq!(!pair.compare().is_empty(), differs, "{native} {marked}");
    }
}

#[test]
fn disks_grow_and_never_shrink() {
    let mut pair = pair();
    pair.disk("data", "scsi1", true, true, 8);
    pair.want_disk("data", 16, OnRemove::Detach);
    assert_eq!(pair.costs(), ["disk.data.size online"]);
    pair.want_disk("data", 4, OnRemove::Detach);
    assert_eq!(pair.codes(), [Code::DiskShrink]);
    pair.want_disk("data", 8, OnRemove::Detach);
    assert!(pair.compare().is_empty());
}

#[test]
fn a_map_entry_without_its_device_is_attached_again_only_when_it_was_never_seen() {
    let mut pair = pair();
    pair.want_disk("data", 8, OnRemove::Detach);
    assert_eq!(pair.costs(), ["disk.data online"]);
    pair.disk("data", "scsi1", false, false, 8);
    assert_eq!(pair.costs(), ["disk.data online"]);
    pair.disk("data", "scsi1", true, false, 8);
    assert_eq!(pair.codes(), [Code::MissingDevice]);
}

#[test]
fn a_removed_disk_is_lost_only_when_the_marker_says_so_and_boot_never_goes() {
    let mut pair = pair();
    pair.disk("boot", "scsi0", true, true, 8);
    pair.disk("data", "scsi1", true, true, 8);
    pair.disk("gone", "scsi2", true, false, 8);
    assert_eq!(pair.costs(), ["disk.data online"]);
    assert!(pair.compare().dropped_disks.is_empty());
    pair.marker.map.delete_on_remove.insert("data".into());
    assert_eq!(pair.compare().dropped_disks, ["data".into()]);
}

#[test]
fn on_remove_is_compared_with_what_the_marker_remembers() {
    let mut pair = pair();
    pair.disk("data", "scsi1", true, true, 8);
    pair.want_disk("data", 8, OnRemove::Delete);
    assert_eq!(pair.costs(), ["disk.data.on_remove online"]);
    pair.marker.map.delete_on_remove.insert("data".into());
    assert!(pair.compare().is_empty());
    pair.want_disk("data", 8, OnRemove::Detach);
    assert_eq!(pair.costs(), ["disk.data.on_remove online"]);
}

#[test]
fn the_digest_says_what_no_readable_field_says() {
    let mut pair = pair();
    let init = InitSpec {
        user: Some("deploy".into()),
        digest: Some("b".repeat(32)),
        ..InitSpec::default()
    };
    pair.machine.spec.init = Some(init.clone());
    pair.marker.init = Some("a".repeat(32));
    assert_eq!(pair.costs(), ["init.user reinit"]);
    pair.seen.spec.init = Some(InitSpec { digest: None, ..init });
    assert_eq!(pair.costs(), ["init reinit"]);
    pair.marker.init = Some("b".repeat(32));
    assert!(pair.compare().is_empty());
}

#[test]
fn power_is_kept_only_when_it_is_asked_for_and_known() {
    use {Power as P, PowerState as S};
    let table: BTreeMap<(P, S), &[&str]> = [
        ((P::Running, S::Stopped), &["power none"][..]),
        ((P::Stopped, S::Running), &["power restart"]),
        ((P::Running, S::Running), &[]),
        ((P::Stopped, S::Stopped), &[]),
        ((P::Once, S::Stopped), &[]),
        ((P::Once, S::Running), &[]),
        ((P::Running, S::Suspended), &["power none"]),
        ((P::Stopped, S::Suspended), &["power restart"]),
        ((P::Once, S::Suspended), &[]),
        ((P::Running, S::Unknown), &[]),
        ((P::Stopped, S::Unknown), &[]),
    ]
    .into();
    for ((wanted, seen), costs) in table {
        let mut pair = pair();
        pair.machine.power = wanted;
        pair.seen.power = seen;
        assert_eq!(pair.costs(), costs, "{wanted:?} {seen:?}");
    }
}

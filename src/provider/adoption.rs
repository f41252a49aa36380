//! Machines that are taken over: which device is which declared one.
//!
//! Where a binding is not certain, each device has to be as it is declared; a wrong one
//! would show up later as a disk that grows or goes.

use crate::{
    model::{
        Adopt, Bus, Device, DeviceKind, DeviceMap, DeviceName, DiskSpec, Expect, FieldKind,
        FieldPath, MapEntry, MarkerDraft, NicSpec, ObservedMachine, OnRemove, Owner, ResourceKey,
        Setting, Slot, Stage, StepOp, Unsupported,
    },
    provider::lowering::fault,
};
use std::collections::{BTreeMap, BTreeSet};

/// Named devices, and where they sit.
pub(super) type Seats = BTreeMap<DeviceName, Slot>;

/// How a product spells the places of disks.
#[derive(Clone, Copy)]
pub(super) struct Places {
    /// The bus of a slot.
    pub(super) bus_of: fn(&str) -> Option<Bus>,
    /// The slot that a written bus and number mean.
    pub(super) at: fn(Bus, u8) -> Option<String>,
}

/// Which device is which.
#[derive(Default)]
pub(super) struct Bound {
    pub(super) disks: Seats,
    pub(super) nics: Seats,
    pub(super) faults: Vec<Unsupported>,
}

/// One call of a machine that changes hands: what it is, what must hold before, and what
/// holds after it.
pub(super) struct Handover {
    pub(super) op: StepOp,
    pub(super) begin: Expect,
    pub(super) end: Expect,
}

/// Binds declared devices to slots.
pub(super) fn bind(adopt: &Adopt<'_>, places: Places) -> Bound {
    let none = DeviceMap::default();
    let old_map = adopt.seen.marker.found().map_or(&none, |marker| &marker.map);
    let (disks, mut faults) = bind_disks(adopt, places, &old_map.disks);
    let (nics, more) = bind_nics(adopt, &old_map.nics);
    faults.extend(more);
    Bound { disks, nics, faults }
}

/// The write that takes a machine over, and what is worth a line about it.
pub(super) fn take_over(adopt: &Adopt<'_>, bound: &Bound) -> (Handover, Vec<String>) {
    let Adopt { machine, spec, seen } = adopt;
    let Bound { disks, nics, .. } = bound;
    let none = DeviceMap::default();
    let old = seen.marker.found();
    let old_map = old.map_or(&none, |marker| &marker.map);
    let entries = |seats: &Seats| {
        let entry = |slot: &Slot| MapEntry { slot: slot.clone(), confirmed: true };
        seats.iter().map(|(name, slot)| (name.clone(), entry(slot))).collect()
    };
    let goes = |name: &&DeviceName| {
        spec.disks.get(*name).is_some_and(|disk| disk.on_remove == OnRemove::Delete)
    };
    let mut addresses = old_map.addresses.clone();
    addresses.retain(|name, _| nics.contains_key(name));
    let map = DeviceMap {
        disks: entries(disks),
        nics: entries(nics),
        addresses,
        delete_on_remove: disks.keys().filter(goes).cloned().collect(),
    };
    let mut draft = MarkerDraft::new(Stage::Ready);
    draft.turn(old_map, map);
    // What protects it now goes on protecting it; another wish is an ordinary change.
    let protected = seen.settled().protect == Some(true) || old.is_some_and(|it| it.protect);
    draft.protect = Some(protected);
    let held: BTreeSet<&Slot> = disks.values().chain(nics.values()).collect();
    let begin = Expect {
        exists: Some(true),
        slots: held.iter().map(|slot| ((*slot).clone(), true)).collect(),
        ..Expect::default()
    };
    let left_alone = seen
        .devices
        .iter()
        .filter(|it| matches!(it.kind, DeviceKind::Disk | DeviceKind::Nic))
        .filter(|it| !held.contains(&it.slot));
    let notes = left_alone
        .map(|it| format!("{} is in no entry: it stays unmanaged and is left alone", it.slot))
        .collect();
    (mark(draft, &machine.key, begin), notes)
}

/// The write by which another entry of ours manages a machine.
pub(super) fn hand_over(from: ResourceKey, to: &ResourceKey) -> Handover {
    let begin = Expect { owner: Some(Owner::Entry(from)), ..Expect::default() };
    mark(MarkerDraft::new(Stage::Ready), to, begin)
}

/// The write by which nobody manages a machine.
pub(super) fn let_go(from: ResourceKey) -> Handover {
    let begin = Expect { owner: Some(Owner::Entry(from)), ..Expect::default() };
    let end = Expect { owner: Some(Owner::Nobody), ..Expect::default() };
    Handover { op: StepOp::Configure(vec![Setting::Unmark]), begin, end }
}

fn mark(draft: MarkerDraft, owner: &ResourceKey, begin: Expect) -> Handover {
    let end = Expect {
        stage: Some(draft.stage),
        owner: Some(Owner::Entry(owner.clone())),
        ..Expect::default()
    };
    Handover { op: StepOp::Configure(vec![Setting::Marker(draft)]), begin, end }
}

/// The slots of all that was bound, for people.
pub(super) fn bound_slots(bound: Bound) -> BTreeMap<FieldPath, Slot> {
    let path = |kind| move |(name, slot): (DeviceName, Slot)| (FieldPath::on(kind, &name), slot);
    let disks = bound.disks.into_iter().map(path(FieldKind::Disk));
    disks.chain(bound.nics.into_iter().map(path(FieldKind::Nic))).collect()
}

/// What a former marker of ours says, as far as the devices are there.
fn remembered(
    seen: &ObservedMachine,
    old: &BTreeMap<DeviceName, MapEntry>,
    kind: DeviceKind,
    declared: impl Fn(&DeviceName) -> bool,
) -> Seats {
    let there =
        |entry: &MapEntry| seen.device(entry.slot.as_str()).is_some_and(|it| it.kind == kind);
    old.iter()
        .filter(|(name, entry)| declared(name) && there(entry))
        .map(|(name, entry)| (name.clone(), entry.slot.clone()))
        .collect()
}

fn free<'a>(seen: &'a ObservedMachine, seats: &Seats, kind: DeviceKind) -> Vec<&'a Device> {
    let taken: BTreeSet<&Slot> = seats.values().collect();
    // In slot order, the boot disk first: that is how devices are reported.
    seen.devices.iter().filter(|it| it.kind == kind && !taken.contains(&it.slot)).collect()
}

/// Disks: by a former marker, `boot` by the boot order, by a written slot, and the rest
/// in slot order.
fn bind_disks(
    adopt: &Adopt<'_>,
    places: Places,
    old: &BTreeMap<DeviceName, MapEntry>,
) -> (Seats, Vec<Unsupported>) {
    let (spec, seen) = (adopt.spec, adopt.seen);
    let mut faults = Vec::new();
    let at = |name: &DeviceName| FieldPath::on(FieldKind::Disk, name);
    let mut seats = remembered(seen, old, DeviceKind::Disk, |name| spec.disks.contains_key(name));
    let boot = DeviceName::from(DeviceName::BOOT);
    if let Some(disk) = spec.disks.get(&boot).filter(|_| !seats.contains_key(&boot)) {
        let first = seen.devices.iter().find(|it| it.kind == DeviceKind::Disk);
        match first.filter(|it| !seats.values().any(|slot| *slot == it.slot)) {
            Some(device) if places.suit(disk, &device.slot) => {
                seats.insert(boot.clone(), device.slot.clone());
            }
            Some(device) => {
                let why = format!("its boot disk is {}", device.slot);
                faults.push(fault(at(&boot), why, "leave `bus:` and `slot:` of `boot` out"));
            }
            None => {
                let why = "it has no disk that could be `boot`";
                faults.push(fault(at(&boot), why, "only a machine with a boot disk is adopted"));
            }
        }
    }
    for (name, disk) in spec.disks.iter().filter(|(_, disk)| disk.slot.is_some()) {
        if seats.contains_key(name) || name.is_boot() {
            continue;
        }
        match free(seen, &seats, DeviceKind::Disk).iter().find(|it| places.suit(disk, &it.slot)) {
            Some(device) => drop(seats.insert(name.clone(), device.slot.clone())),
            None => {
                let why = "there is no free disk in the slot that is written";
                faults.push(fault(at(name), why, "correct `bus:` and `slot:`"));
            }
        }
    }
    let rest: Vec<&DeviceName> = spec
        .disks
        .iter()
        .filter(|(name, disk)| !seats.contains_key(*name) && !name.is_boot() && disk.slot.is_none())
        .map(|(name, _)| name)
        .collect();
    let spare = free(seen, &seats, DeviceKind::Disk);
    let certain = rest.len() == 1 && spare.len() == 1;
    for (index, name) in rest.iter().enumerate() {
        let (Some(device), Some(disk)) = (spare.get(index), spec.disks.get(*name)) else {
            let why = format!("the machine has {} to bind it to", count(spare.len(), "free disk"));
            let help = "take it out of the entry, adopt, and add it afterwards";
            faults.push(fault(at(name), why, help));
            continue;
        };
        match places.unlike(disk, device).filter(|_| !certain) {
            Some(why) => faults.push(fault(
                at(name),
                why,
                "write `bus:` and `slot:` to say which disk it is, or its size and storage as they are",
            )),
            None => drop(seats.insert((*name).clone(), device.slot.clone())),
        }
    }
    (seats, faults)
}

fn count(number: usize, what: &str) -> String {
    match number {
        0 => format!("no {what}"),
        1 => format!("one {what}"),
        more => format!("{more} {what}s"),
    }
}

impl Places {
    /// Whether a disk that sits there sits where the entry says, as far as it says anything.
    pub(super) fn suit(self, disk: &DiskSpec, slot: &Slot) -> bool {
        let slot = slot.as_str();
        let own = (self.bus_of)(slot);
        let bus = disk.bus.is_none_or(|bus| Some(bus) == own);
        let index = disk.slot.is_none_or(|index| {
            let wish = disk.bus.or(own).and_then(|bus| (self.at)(bus, index));
            wish.is_some_and(|wish| wish == slot)
        });
        bus && index
    }

    /// In what a disk is not the declared one.
    fn unlike(self, disk: &DiskSpec, device: &Device) -> Option<String> {
        let slot = &device.slot;
        if !self.suit(disk, slot) {
            return Some(format!("the next free disk is {slot}, on another controller"));
        }
        if let Some(size) = disk.size.filter(|size| Some(*size) != device.size) {
            let has = device.size.map_or_else(|| "an unknown size".to_owned(), |it| it.to_string());
            return Some(format!("the next free disk is {slot} with {has}, not {size}"));
        }
        let storage = disk.storage.as_ref().filter(|it| Some(*it) != device.storage.as_ref());
        storage.map(|storage| {
            format!("the next free disk is {slot}, which does not lie on `{storage}`")
        })
    }
}

/// Cards: by a former marker, by a written hardware address, and the rest in slot order.
fn bind_nics(adopt: &Adopt<'_>, old: &BTreeMap<DeviceName, MapEntry>) -> (Seats, Vec<Unsupported>) {
    let (spec, seen) = (adopt.spec, adopt.seen);
    let mut faults = Vec::new();
    let at = |name: &DeviceName| FieldPath::on(FieldKind::Nic, name);
    let mut seats = remembered(seen, old, DeviceKind::Nic, |name| spec.nics.contains_key(name));
    for (name, nic) in spec.nics.iter().filter(|(_, nic)| nic.mac.is_some()) {
        let same = |it: &&&Device| it.mac == nic.mac;
        if seats.contains_key(name) {
            continue;
        }
        if let Some(device) = free(seen, &seats, DeviceKind::Nic).iter().find(same) {
            seats.insert(name.clone(), device.slot.clone());
        }
    }
    let rest: Vec<&DeviceName> =
        spec.nics.keys().filter(|name| !seats.contains_key(*name)).collect();
    let spare = free(seen, &seats, DeviceKind::Nic);
    let certain = rest.len() == 1 && spare.len() == 1;
    for (index, name) in rest.iter().enumerate() {
        let (Some(device), Some(nic)) = (spare.get(index), spec.nics.get(*name)) else {
            let why = format!("the machine has {} to bind it to", count(spare.len(), "free card"));
            let help = "take it out of the entry, adopt, and add it afterwards";
            faults.push(fault(at(name), why, help));
            continue;
        };
        match is_elsewhere(nic, device).filter(|_| !certain) {
            Some(why) => {
                let help = "write its `mac:` to say which card it is, or its network as it is";
                faults.push(fault(at(name), why, help));
            }
            None => drop(seats.insert((*name).clone(), device.slot.clone())),
        }
    }
    (seats, faults)
}

/// In what a card is not the declared one.
fn is_elsewhere(nic: &NicSpec, device: &Device) -> Option<String> {
    let native = nic.network.as_ref().map(|it| it.native.as_str());
    let same = native.is_none_or(|it| device.network.as_deref() == Some(it))
        && nic.vlan.is_none_or(|it| device.vlan == Some(it))
        && nic.mac.is_none_or(|it| device.mac == Some(it));
    let plugged = device.network.as_deref().unwrap_or("nothing");
    (!same).then(|| format!("the next free card is {} on {plugged}", device.slot))
}

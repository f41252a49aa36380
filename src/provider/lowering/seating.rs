//! Which slot each named device of a machine sits in: what is no product's own of it.
//!
//! The map of the marker decides first. At birth, what a template brings is taken
//! over by declared names in slot order; what is new comes in name order, the boot disk
//! first. The same inputs give the same slots.

use super::fault;
use crate::{
    model::{
        BootDevice, Bus, DeviceKind, DeviceMap, DeviceName, DiskSpec, FieldKind, FieldPath,
        MachineSpec, MapEntry, ObservedMachine, OnRemove, Slot, Unsupported,
    },
    provider::adoption::Places,
};
use std::collections::{BTreeMap, BTreeSet};

/// Where a named device sits, and whether it is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    pub slot: Slot,
    pub exists: bool,
    /// The slot that it has after the write that is put together, when that is another.
    pub becomes: Option<Slot>,
}

impl Seat {
    pub fn new(slot: Slot, exists: bool) -> Self {
        Self { slot, exists, becomes: None }
    }

    /// Whether the write makes it, or makes it another.
    pub fn changes(&self) -> bool {
        !self.exists || self.becomes.is_some()
    }

    /// Where it is found after the write.
    pub fn after(&self) -> &Slot {
        self.becomes.as_ref().unwrap_or(&self.slot)
    }
}

/// The seats of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seating {
    pub disks: BTreeMap<DeviceName, Seat>,
    pub nics: BTreeMap<DeviceName, Seat>,
    /// Cards that a template brought and nobody declares.
    pub spare_nics: Vec<Slot>,
    /// The CD drive, when there is or will be one.
    pub cd: Option<Seat>,
    taken: BTreeSet<String>,
}

impl Seating {
    /// What is there, by the map alone.
    pub fn of(seen: &ObservedMachine, map: &DeviceMap) -> Self {
        let seats = |entries: &BTreeMap<DeviceName, MapEntry>| {
            let seat = |entry: &MapEntry| {
                Seat::new(entry.slot.clone(), seen.device(entry.slot.as_str()).is_some())
            };
            entries.iter().map(|(name, entry)| (name.clone(), seat(entry))).collect()
        };
        let mapped = map.disks.values().chain(map.nics.values()).map(|entry| &entry.slot);
        let shown = seen.devices.iter().map(|device| &device.slot);
        Self {
            disks: seats(&map.disks),
            nics: seats(&map.nics),
            taken: shown.chain(mapped).map(Slot::to_string).collect(),
            ..Self::default()
        }
    }

    /// At birth: what is declared takes over what `base` brings. `order` orders cards.
    pub fn take_over<K: Ord>(
        &mut self,
        spec: &MachineSpec,
        base: &ObservedMachine,
        places: Places,
        order: impl Fn(&str) -> K,
    ) -> Vec<Unsupported> {
        // A disk that a former run made and that is no longer declared keeps its seat: it goes
        // as any other does, once the machine is built and under its own consent.
        self.disks
            .retain(|name, seat| name.is_boot() || spec.disks.contains_key(name) || seat.exists);
        self.nics.retain(|name, _| spec.nics.contains_key(name));
        self.take_nics(spec, base, order);
        self.take_disks(spec, base, places)
    }

    fn take_disks(
        &mut self,
        spec: &MachineSpec,
        base: &ObservedMachine,
        places: Places,
    ) -> Vec<Unsupported> {
        let boot = DeviceName::from(DeviceName::BOOT);
        let names: Vec<DeviceName> = std::iter::once(boot)
            .chain(spec.disks.keys().filter(|name| !name.is_boot()).cloned())
            .filter(|name| !self.disks.contains_key(name))
            .collect();
        let mut names = names.into_iter();
        let mut faults = Vec::new();
        // The boot disk is the first of the list, then by slot.
        for slot in spare(base, DeviceKind::Disk, &self.disks) {
            let Some(name) = names.next() else {
                faults.push(undeclared(slot));
                continue;
            };
            faults.extend(misfit(spec, &name, slot, places));
            self.disks.insert(name, Seat::new(slot.clone(), true));
        }
        faults
    }

    fn take_nics<K: Ord>(
        &mut self,
        spec: &MachineSpec,
        base: &ObservedMachine,
        order: impl Fn(&str) -> K,
    ) {
        let names: Vec<DeviceName> =
            spec.nics.keys().filter(|name| !self.nics.contains_key(*name)).cloned().collect();
        let mut names = names.into_iter();
        let mut spare = spare(base, DeviceKind::Nic, &self.nics);
        spare.sort_by_key(|slot| order(slot.as_str()));
        for slot in spare {
            match names.next() {
                Some(name) => drop(self.nics.insert(name, Seat::new(slot.clone(), true))),
                None => self.spare_nics.push(slot.clone()),
            }
        }
    }

    /// Disks that are declared and sit nowhere yet, in the order in which they choose:
    /// explicit slots first, so that no other disk is given one of them.
    pub fn seatless<'a>(&self, spec: &'a MachineSpec) -> Vec<(&'a DeviceName, &'a DiskSpec)> {
        let mut disks: Vec<_> =
            spec.disks.iter().filter(|(name, _)| !self.disks.contains_key(*name)).collect();
        disks.sort_by_key(|(name, disk)| (disk.slot.is_none(), !name.is_boot()));
        disks
    }

    /// A seat for a new disk: the wished one, or the first free one of its bus.
    pub fn add_disk(
        &mut self,
        name: &DeviceName,
        bus: Bus,
        wished: Option<String>,
        mut all: impl Iterator<Item = String>,
    ) -> Result<Slot, Unsupported> {
        let fail = |why: String, help: &str| fault(FieldPath::on(FieldKind::Disk, name), why, help);
        let slot = match wished {
            Some(slot) if self.is_taken(&slot) => {
                return Err(fail(format!("slot {slot} is taken"), "choose another `slot:`"));
            }
            Some(slot) => slot,
            None => all.find(|slot| !self.is_taken(slot)).ok_or_else(|| {
                fail(format!("all {} slots are taken", bus.as_str()), "choose another `bus:`")
            })?,
        };
        let seat = self.take(slot);
        self.disks.insert(name.clone(), seat.clone());
        Ok(seat.slot)
    }

    pub fn is_taken(&self, slot: &str) -> bool {
        self.taken.contains(slot)
    }

    /// A seat for what is new.
    pub fn take(&mut self, slot: String) -> Seat {
        self.taken.insert(slot.clone());
        Seat::new(slot.into(), false)
    }

    /// The slots of a boot order, as they are after the write. A boot from the network
    /// uses the first card.
    pub fn boot_slots<K: Ord>(
        &self,
        boot: &[BootDevice],
        order: impl Fn(&str) -> K,
    ) -> Result<Vec<Slot>, Unsupported> {
        let seat = |device: &BootDevice| match device {
            BootDevice::Disk => self.disks.get(DeviceName::BOOT),
            BootDevice::Cdrom => self.cd.as_ref(),
            BootDevice::Network => self.nics.values().min_by_key(|it| order(it.slot.as_str())),
        };
        let find = |device: &BootDevice| {
            seat(device).map(|seat| seat.after().clone()).ok_or_else(|| {
                let why = format!("the boot order names `{}`, and there is none", device.as_str());
                fault(FieldPath::of(FieldKind::Boot), why, "declare the device, or leave it out")
            })
        };
        boot.iter().map(find).collect()
    }

    /// The map of these slots, after the write. What the write adds is not confirmed
    /// before a read has seen it: `confirmed` = one has seen all devices.
    pub fn map(&self, old: &DeviceMap, spec: &MachineSpec, confirmed: bool) -> DeviceMap {
        let entries = |seats: &BTreeMap<DeviceName, Seat>| {
            let entry = |seat: &Seat| MapEntry {
                slot: seat.after().clone(),
                confirmed: confirmed || seat.exists,
            };
            seats.iter().map(|(name, seat)| (name.clone(), entry(seat))).collect()
        };
        let mut addresses = old.addresses.clone();
        addresses.retain(|name, _| self.nics.contains_key(name));
        // A disk that is no longer declared keeps what was said of it while it was.
        let goes = |name: &&DeviceName| match spec.disks.get(*name) {
            Some(disk) => disk.on_remove == OnRemove::Delete,
            None => old.delete_on_remove.contains(*name),
        };
        DeviceMap {
            disks: entries(&self.disks),
            nics: entries(&self.nics),
            addresses,
            delete_on_remove: self.disks.keys().filter(goes).cloned().collect(),
        }
    }

    /// Where devices are found after the write, for those that `shown` picks.
    pub fn slots(&self, shown: impl Fn(&Seat) -> bool) -> BTreeMap<FieldPath, Slot> {
        let of = |kind, seats: &BTreeMap<DeviceName, Seat>| {
            let all = seats.iter().filter(|(_, seat)| shown(seat));
            all.map(|(name, seat)| (FieldPath::on(kind, name), seat.after().clone()))
                .collect::<Vec<_>>()
        };
        let disks = of(FieldKind::Disk, &self.disks);
        disks.into_iter().chain(of(FieldKind::Nic, &self.nics)).collect()
    }
}

/// Devices of this kind that no name is known for.
fn spare<'a>(
    base: &'a ObservedMachine,
    kind: DeviceKind,
    named: &BTreeMap<DeviceName, Seat>,
) -> Vec<&'a Slot> {
    let known: BTreeSet<&Slot> = named.values().map(|seat| &seat.slot).collect();
    let devices = base.devices.iter().filter(|device| device.kind == kind);
    devices.map(|device| &device.slot).filter(|slot| !known.contains(slot)).collect()
}

fn undeclared(slot: &Slot) -> Unsupported {
    let at = FieldPath::on(FieldKind::Disk, &slot.as_str().into());
    let why = format!("the template brings a disk in {slot} that no declared disk takes over");
    fault(at, why, "declare one more disk, or remove it from the template")
}

/// A disk of a template that cannot be the declared one.
fn misfit(
    spec: &MachineSpec,
    name: &DeviceName,
    slot: &Slot,
    places: Places,
) -> Option<Unsupported> {
    let disk = spec.disks.get(name)?;
    (!places.suit(disk, slot)).then(|| {
        let why = format!("the template brings this disk in {slot}");
        let help = "leave `bus:` and `slot:` out, or change the template";
        fault(FieldPath::on(FieldKind::DiskBus, name), why, help)
    })
}

//! Which slot each named device of a machine sits in.
//!
//! The map of the marker decides first. At birth, what a template brings is taken
//! over by declared names in slot order; everything new gets the first free slot, in
//! name order, the boot disk first. The same inputs give the same slots.

use crate::{
    model::{
        Bus, DeviceKind, DeviceMap, DeviceName, FieldKind, FieldPath, MachineSpec, MapEntry,
        ObservedMachine, OnRemove, Slot, Unsupported,
    },
    provider::proxmox::{
        normalize::slots_of,
        property::split_slot,
        translate::{bus_of, cd_drive},
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// Where a named device sits, and whether it is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) slot: Slot,
    pub(super) exists: bool,
}

/// The slots of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) disks: BTreeMap<DeviceName, Seat>,
    pub(super) nics: BTreeMap<DeviceName, Seat>,
    /// Cards that a template brought and nobody declares.
    pub(super) spare_nics: Vec<Slot>,
    taken: BTreeSet<String>,
    cd: Option<Seat>,
    seed: Option<Seat>,
}

/// Where CD and first-boot drives go, in this order: `ide2` is where the product's
/// own interface puts them, and `ide0` is the other one that every machine type has.
const DRIVES: [&str; 11] = [
    "ide2", "ide0", "ide3", "ide1", "sata5", "sata4", "sata3", "sata2", "sata1", "sata0", "scsi30",
];

impl Layout {
    /// What is there, by the map alone: the start of an update.
    pub(super) fn of(seen: &ObservedMachine, map: &DeviceMap) -> Self {
        let mut layout = Self::over(Some(seen));
        let seats = |entries: &BTreeMap<DeviceName, MapEntry>| {
            let seat = |entry: &MapEntry| Seat {
                slot: entry.slot.clone(),
                exists: seen.device(entry.slot.as_str()).is_some(),
            };
            entries.iter().map(|(name, entry)| (name.clone(), seat(entry))).collect()
        };
        layout.disks = seats(&map.disks);
        layout.nics = seats(&map.nics);
        let mapped = layout.disks.values().chain(layout.nics.values());
        let mapped: Vec<String> = mapped.map(|seat| seat.slot.to_string()).collect();
        layout.taken.extend(mapped);
        layout
    }

    /// A machine at birth, over what a template or a former run left there.
    pub(super) fn at_birth(
        spec: &MachineSpec,
        base: Option<&ObservedMachine>,
        map: &DeviceMap,
    ) -> Result<Self, Vec<Unsupported>> {
        let mut layout = match base {
            Some(base) => Self::of(base, map),
            None => Self::default(),
        };
        // A disk that a former run made and that is no longer declared keeps its seat: it goes
        // as any other does, once the machine is built and under its own consent.
        layout
            .disks
            .retain(|name, seat| name.is_boot() || spec.disks.contains_key(name) || seat.exists);
        layout.nics.retain(|name, _| spec.nics.contains_key(name));
        let mut faults = layout.take_disks(spec, base);
        layout.take_nics(spec, base);
        // Explicit slots first, so that no other disk is given one of them.
        let wishes = |wished: bool| {
            let rest = spec.disks.iter().filter(move |(_, disk)| disk.slot.is_some() == wished);
            let (boot, others): (Vec<_>, Vec<_>) = rest.partition(|(name, _)| name.is_boot());
            boot.into_iter().chain(others)
        };
        for (name, disk) in wishes(true).chain(wishes(false)) {
            if layout.disks.contains_key(name) {
                continue;
            }
            let bus = disk.bus.unwrap_or(Bus::Scsi);
            match layout.add_disk(name, bus, disk.slot) {
                Ok(_) => {}
                Err(fault) => faults.push(fault),
            }
        }
        for name in spec.nics.keys() {
            if !layout.nics.contains_key(name) {
                layout.add_nic(name).map_err(|fault| vec![fault])?;
            }
        }
        if faults.is_empty() { Ok(layout) } else { Err(faults) }
    }

    fn over(base: Option<&ObservedMachine>) -> Self {
        let mut layout = Self::default();
        let Some(base) = base else { return layout };
        layout.taken = base.devices.iter().map(|device| device.slot.to_string()).collect();
        let seat = |slot: &Slot| Seat { slot: slot.clone(), exists: true };
        layout.cd = cd_drive(&base.devices).map(|device| seat(&device.slot));
        let seed = base.devices.iter().find(|device| device.kind == DeviceKind::Seed);
        layout.seed = seed.map(|device| seat(&device.slot));
        layout
    }

    fn take_disks(
        &mut self,
        spec: &MachineSpec,
        base: Option<&ObservedMachine>,
    ) -> Vec<Unsupported> {
        let Some(base) = base else { return Vec::new() };
        let known: BTreeSet<Slot> = self.disks.values().map(|seat| seat.slot.clone()).collect();
        // The boot disk is the first of the list, then by slot.
        let spare = base
            .devices
            .iter()
            .filter(|it| it.kind == DeviceKind::Disk && !known.contains(&it.slot));
        let boot = DeviceName::from(DeviceName::BOOT);
        let names: Vec<DeviceName> = std::iter::once(boot)
            .chain(spec.disks.keys().filter(|name| !name.is_boot()).cloned())
            .filter(|name| !self.disks.contains_key(name))
            .collect();
        let mut names = names.into_iter();
        let mut faults = Vec::new();
        for device in spare {
            match names.next() {
                Some(name) => {
                    faults.extend(misfit(spec, &name, &device.slot));
                    self.disks.insert(name, Seat { slot: device.slot.clone(), exists: true });
                }
                None => faults.push(Unsupported {
                    field: FieldPath::on(FieldKind::Disk, &device.slot.as_str().into()),
                    why: format!(
                        "the template brings a disk in {} that no declared disk takes over",
                        device.slot
                    ),
                    help: "declare one more disk, or remove it from the template".into(),
                }),
            }
        }
        faults
    }

    fn take_nics(&mut self, spec: &MachineSpec, base: Option<&ObservedMachine>) {
        let Some(base) = base else { return };
        let known: BTreeSet<Slot> = self.nics.values().map(|seat| seat.slot.clone()).collect();
        let names: Vec<DeviceName> =
            spec.nics.keys().filter(|name| !self.nics.contains_key(*name)).cloned().collect();
        let mut names = names.into_iter();
        let mut spare: Vec<&Slot> = base
            .devices
            .iter()
            .filter(|it| it.kind == DeviceKind::Nic && !known.contains(&it.slot))
            .map(|device| &device.slot)
            .collect();
        spare.sort_by_key(|slot| split_slot(slot.as_str()));
        for slot in spare {
            match names.next() {
                Some(name) => {
                    self.nics.insert(name, Seat { slot: slot.clone(), exists: true });
                }
                None => self.spare_nics.push(slot.clone()),
            }
        }
    }

    /// A slot for a new disk: the wished one, or the first free one of its bus.
    pub(super) fn add_disk(
        &mut self,
        name: &DeviceName,
        bus: Bus,
        wish: Option<u8>,
    ) -> Result<Slot, Unsupported> {
        let fault = |why: String, help: &str| Unsupported {
            field: FieldPath::on(FieldKind::Disk, name),
            why,
            help: help.to_owned(),
        };
        let slot = match wish {
            Some(index) => {
                let slot = format!("{}{index}", bus.as_str());
                if self.taken.contains(&slot) {
                    return Err(fault(format!("slot {slot} is taken"), "choose another `slot:`"));
                }
                slot
            }
            None => self.free(bus.as_str(), slots_of(bus)).ok_or_else(|| {
                fault(format!("all {} slots are taken", bus.as_str()), "choose another `bus:`")
            })?,
        };
        Ok(self.seat_disk(name, slot))
    }

    fn seat_disk(&mut self, name: &DeviceName, slot: String) -> Slot {
        self.taken.insert(slot.clone());
        let slot = Slot::from(slot);
        self.disks.insert(name.clone(), Seat { slot: slot.clone(), exists: false });
        slot
    }

    /// A slot for a new card.
    pub(super) fn add_nic(&mut self, name: &DeviceName) -> Result<Slot, Unsupported> {
        let slot = self.free("net", 32).ok_or_else(|| Unsupported {
            field: FieldPath::on(FieldKind::Nic, name),
            why: "all 32 slots for cards are taken".into(),
            help: "remove a card".into(),
        })?;
        self.taken.insert(slot.clone());
        let slot = Slot::from(slot);
        self.nics.insert(name.clone(), Seat { slot: slot.clone(), exists: false });
        Ok(slot)
    }

    fn free(&self, bus: &str, count: u8) -> Option<String> {
        (0..count).map(|index| format!("{bus}{index}")).find(|slot| !self.taken.contains(slot))
    }

    fn free_drive(&mut self) -> Seat {
        let free = DRIVES.iter().find(|slot| !self.taken.contains(**slot));
        // Eleven drives in use is beyond any machine that was ever seen; the server
        // then refuses the call, because the drive exists.
        let slot = (*free.unwrap_or(&DRIVES[0])).to_owned();
        self.taken.insert(slot.clone());
        Seat { slot: slot.into(), exists: false }
    }

    /// The CD drive; a new one is given the first free place.
    pub(super) fn cd(&mut self) -> Seat {
        let seat = self.cd.clone().unwrap_or_else(|| self.free_drive());
        self.cd.get_or_insert(seat).clone()
    }

    /// The CD drive, when there is or will be one.
    pub(super) fn cd_if_any(&self) -> Option<&Seat> {
        self.cd.as_ref()
    }

    /// The first-boot drive; a new one is given the first free place.
    pub(super) fn seed(&mut self) -> Seat {
        let seat = self.seed.clone().unwrap_or_else(|| self.free_drive());
        self.seed.get_or_insert(seat).clone()
    }

    /// The card that a boot from the network uses.
    pub(super) fn first_nic(&self) -> Option<&Slot> {
        let slots = self.nics.values().map(|seat| &seat.slot);
        slots.min_by_key(|slot| split_slot(slot.as_str()))
    }

    /// The map of these slots. `confirmed` = a read has seen all devices.
    pub(super) fn map(&self, old: &DeviceMap, spec: &MachineSpec, confirmed: bool) -> DeviceMap {
        let entries = |seats: &BTreeMap<DeviceName, Seat>| {
            seats
                .iter()
                .map(|(name, seat)| {
                    let confirmed = confirmed || seat.exists;
                    (name.clone(), MapEntry { slot: seat.slot.clone(), confirmed })
                })
                .collect()
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
}

/// A disk of a template that cannot be the declared one.
fn misfit(spec: &MachineSpec, name: &DeviceName, slot: &Slot) -> Option<Unsupported> {
    let disk = spec.disks.get(name)?;
    let bus = disk.bus.filter(|bus| Some(*bus) != bus_of(slot.as_str()));
    let index =
        disk.slot.filter(|at| split_slot(slot.as_str()).map(|it| it.1) != Some((*at).into()));
    if bus.is_none() && index.is_none() {
        return None;
    }
    Some(Unsupported {
        field: FieldPath::on(FieldKind::DiskBus, name),
        why: format!("the template brings this disk in {slot}"),
        help: "leave `bus:` and `slot:` out, or change the template".into(),
    })
}

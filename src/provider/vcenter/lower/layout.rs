//! Which slot each named device of a machine sits in.
//!
//! The map of the marker decides first. At birth, what a template brings is taken
//! over by declared names in slot order; everything new gets the first free slot, in
//! name order, the boot disk first. The same inputs give the same slots.

use crate::{
    model::{
        Bus, DeviceKind, DeviceMap, DeviceName, FieldKind, FieldPath, MacAddress, MachineSpec,
        MapEntry, ObservedMachine, OnRemove, Slot, Unsupported,
    },
    provider::{
        lowering::fault,
        vcenter::slots::{bus_of, handle, order, place, places, wish},
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// Where a named device sits, and whether it is there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) slot: Slot,
    pub(super) exists: bool,
    /// The slot that it has after the write that is put together, when that is another.
    pub(super) becomes: Option<Slot>,
}

impl Seat {
    fn new(slot: Slot, exists: bool) -> Self {
        Self { slot, exists, becomes: None }
    }

    /// Where it is found after the write.
    pub(super) fn after(&self) -> &Slot {
        self.becomes.as_ref().unwrap_or(&self.slot)
    }
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
}

impl Layout {
    /// What is there, by the map alone: the start of an update.
    pub(super) fn of(seen: &ObservedMachine, map: &DeviceMap) -> Self {
        let mut layout = Self {
            taken: seen.devices.iter().map(|device| device.slot.to_string()).collect(),
            ..Self::default()
        };
        let drive = seen.devices.iter().find(|device| device.kind == DeviceKind::Cdrom);
        layout.cd = drive.map(|device| Seat::new(device.slot.clone(), true));
        let seats = |entries: &BTreeMap<DeviceName, MapEntry>| {
            let seat = |entry: &MapEntry| {
                Seat::new(entry.slot.clone(), seen.device(entry.slot.as_str()).is_some())
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
        mac: impl Fn(&DeviceName) -> Option<MacAddress>,
    ) -> Result<Self, Vec<Unsupported>> {
        let mut layout = base.map(|base| Self::of(base, map)).unwrap_or_default();
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
            if !layout.disks.contains_key(name) {
                let bus = disk.bus.unwrap_or(Bus::Scsi);
                faults.extend(layout.add_disk(name, bus, disk.slot).err());
            }
        }
        for name in spec.nics.keys() {
            if !layout.nics.get(name).is_some_and(|seat| seat.exists) {
                faults.extend(layout.add_nic(name, mac(name)).err());
            }
        }
        if faults.is_empty() { Ok(layout) } else { Err(faults) }
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
                    self.disks.insert(name, Seat::new(device.slot.clone(), true));
                }
                None => {
                    let at = FieldPath::on(FieldKind::Disk, &device.slot.as_str().into());
                    let why = format!(
                        "the template brings a disk in {} that no declared disk takes over",
                        device.slot
                    );
                    let help = "declare one more disk, or remove it from the template";
                    faults.push(fault(at, why, help));
                }
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
        spare.sort_by_key(|slot| order(slot.as_str()));
        for slot in spare {
            match names.next() {
                Some(name) => drop(self.nics.insert(name, Seat::new(slot.clone(), true))),
                None => self.spare_nics.push(slot.clone()),
            }
        }
    }

    /// A slot for a new disk: the wished one, or the first free one of its bus.
    pub(super) fn add_disk(
        &mut self,
        name: &DeviceName,
        bus: Bus,
        wished: Option<u8>,
    ) -> Result<Slot, Unsupported> {
        let fail = |why: String, help: &str| fault(FieldPath::on(FieldKind::Disk, name), why, help);
        let slot = match wished {
            Some(number) => {
                let slot = wish(bus, number).map(|place| place.to_string()).ok_or_else(|| {
                    let why = format!("the {} bus has no slot {number}", bus.as_str());
                    fail(why, "choose another `slot:`")
                })?;
                if self.taken.contains(&slot) {
                    return Err(fail(format!("slot {slot} is taken"), "choose another `slot:`"));
                }
                slot
            }
            None => self.free(bus).ok_or_else(|| {
                fail(format!("all {} slots are taken", bus.as_str()), "choose another `bus:`")
            })?,
        };
        self.taken.insert(slot.clone());
        let slot = Slot::from(slot);
        self.disks.insert(name.clone(), Seat::new(slot.clone(), false));
        Ok(slot)
    }

    fn free(&self, bus: Bus) -> Option<String> {
        places(bus).map(|place| place.to_string()).find(|slot| !self.taken.contains(slot))
    }

    /// A slot for a new card: its address, since the server assigns the key.
    pub(super) fn add_nic(
        &mut self,
        name: &DeviceName,
        mac: Option<MacAddress>,
    ) -> Result<Slot, Unsupported> {
        let fail =
            |why: &str| fault(FieldPath::on(FieldKind::NicMac, name), why, "set another `mac:`");
        let Some(mac) = mac else { return Err(fail("no hardware address is left for it")) };
        let slot = handle(mac);
        let held = |(other, seat): (&DeviceName, &Seat)| other != name && *seat.after() == slot;
        if self.nics.iter().any(held) {
            return Err(fail("another card of the machine has this hardware address"));
        }
        self.nics.insert(name.clone(), Seat::new(slot.clone(), false));
        Ok(slot)
    }

    /// A card that is there is known by its address from this write on.
    pub(super) fn name_by_address(&mut self, name: &DeviceName, mac: MacAddress) {
        if let Some(seat) = self.nics.get_mut(name) {
            seat.becomes = Some(handle(mac)).filter(|slot| *slot != seat.slot);
        }
    }

    /// The CD drive; a new one is put where guests look first.
    pub(super) fn cd(&mut self) -> Result<Seat, Unsupported> {
        if let Some(seat) = &self.cd {
            return Ok(seat.clone());
        }
        let places = [Bus::Ide, Bus::Sata].into_iter().flat_map(places);
        let mut slots: Vec<String> = places.map(|place| place.to_string()).collect();
        // One IDE place is used, the others are left to disks while there is SATA.
        slots.sort_by_key(|slot| (slot != "ide0:0", slot.starts_with("ide")));
        let Some(slot) = slots.into_iter().find(|slot| !self.taken.contains(slot)) else {
            let why = "there is no free place for a CD drive";
            return Err(fault(
                FieldPath::of(FieldKind::Cdrom),
                why,
                "remove a disk on ide or sata",
            ));
        };
        self.taken.insert(slot.clone());
        let seat = Seat::new(slot.into(), false);
        self.cd = Some(seat.clone());
        Ok(seat)
    }

    /// The CD drive, when there is or will be one.
    pub(super) fn cd_if_any(&self) -> Option<&Seat> {
        self.cd.as_ref()
    }

    /// The card that a boot from the network uses.
    pub(super) fn first_nic(&self) -> Option<&Slot> {
        self.nics.values().min_by_key(|seat| order(seat.slot.as_str())).map(Seat::after)
    }

    /// The map of these slots, after the write. What the write adds is not confirmed.
    pub(super) fn map(&self, old: &DeviceMap, spec: &MachineSpec) -> DeviceMap {
        let entries = |seats: &BTreeMap<DeviceName, Seat>| {
            let entry =
                |seat: &Seat| MapEntry { slot: seat.after().clone(), confirmed: seat.exists };
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
}

/// A disk of a template that cannot be the declared one.
fn misfit(spec: &MachineSpec, name: &DeviceName, slot: &Slot) -> Option<Unsupported> {
    let disk = spec.disks.get(name)?;
    let own = bus_of(slot.as_str());
    let bus = disk.bus.is_none_or(|bus| Some(bus) == own);
    let at = |number| wish(disk.bus.or(own)?, number);
    let number = disk.slot.is_none_or(|it| at(it).is_some() && at(it) == place(slot.as_str()));
    (!(bus && number)).then(|| {
        let why = format!("the template brings this disk in {slot}");
        let help = "leave `bus:` and `slot:` out, or change the template";
        fault(FieldPath::on(FieldKind::DiskBus, name), why, help)
    })
}

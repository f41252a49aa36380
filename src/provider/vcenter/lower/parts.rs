//! Pieces that births and changes share: the first-boot documents, new disks.

use super::{super::slots::bus_of, layout::Layout};
use crate::model::{
    DeviceName, FieldKind, FieldPath, InitSpec, MacAddress, MachineSpec, ObservedMachine, Seed,
    SeedNic, Setting, Slot, StorageName, Unsupported,
};
pub(super) use crate::provider::lowering::{
    Seat, Write, changing::new_disk, fault, nic_fields, processors, seed_end,
};
use std::collections::BTreeMap;

/// A new disk in its slot.
pub(super) fn attach(
    spec: &MachineSpec,
    storages: &BTreeMap<DeviceName, StorageName>,
    (name, slot): (&DeviceName, &Slot),
    write: &mut Write,
) -> Result<(), Unsupported> {
    let (size, storage) = new_disk(spec, storages, name)?;
    let bus = bus_of(slot.as_str()).ok_or_else(|| {
        let why = format!("{slot} is no place for a disk");
        fault(FieldPath::on(FieldKind::Disk, name), why, "look at the machine's marker")
    })?;
    write.end.slots.insert(slot.clone(), true);
    write.holds(spec, FieldPath::on(FieldKind::DiskSize, name));
    let (disk, slot) = (name.clone(), slot.clone());
    write.settings.push(Setting::AttachDisk { disk, slot, bus, size, storage });
    Ok(())
}

/// Why a disk keeps its size, where snapshots of the machine hold it.
pub(super) fn snapshots_hold(seen: &ObservedMachine, disk_size: FieldPath) -> Option<Unsupported> {
    let why = "a disk of a machine with snapshots cannot grow";
    let held = !seen.snapshots.is_empty();
    held.then(|| fault(disk_size, why, "remove the snapshots first"))
}

/// One key of the free configuration.
pub(super) fn set_extra(spec: &MachineSpec, key: &DeviceName, write: &mut Write) {
    let value = spec.extra.get(key).cloned().unwrap_or_default();
    write.holds(spec, FieldPath::on(FieldKind::Extra, key));
    write.settings.push(Setting::Extra { key: key.clone(), value });
}

/// The first-boot documents of a spec, complete. `mac` knows the address of each card: the
/// guest knows them by nothing else.
pub(super) fn seed_of(
    spec: &MachineSpec,
    init: Option<InitSpec>,
    layout: &Layout,
    mac: impl Fn(&DeviceName) -> Option<MacAddress>,
) -> Result<Seed, Vec<Unsupported>> {
    let mut seed =
        Seed { init: init.unwrap_or_default(), nics: BTreeMap::new(), slot: None, storage: None };
    let mut faults = Vec::new();
    for (name, seat) in &layout.seats.nics {
        // An address that is not declared stays as it is.
        let Some((nic, ip)) = spec.nics.get(name).and_then(|nic| Some((nic, nic.ip?))) else {
            continue;
        };
        let mac = mac(name);
        if mac.is_none() {
            let why = "its hardware address is not known, and the guest knows its cards by it";
            faults.push(fault(FieldPath::on(FieldKind::NicMac, name), why, "set `mac:`"));
        }
        let slot = seat.after().clone();
        seed.nics.insert(name.clone(), SeedNic { slot, mac, ip, gateway: nic.gateway });
    }
    if faults.is_empty() { Ok(seed) } else { Err(faults) }
}

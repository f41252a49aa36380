//! Pieces that births and changes share: processors, the first-boot documents, new
//! disks.

use super::layout::Layout;
use crate::model::{
    DeviceName, FieldKind, FieldPath, InitSpec, MacAddress, MachineSpec, Seed, SeedNic, Setting,
    Slot, StorageName, Unsupported, Value,
};
pub(super) use crate::provider::lowering::{Seat, Write, fault, nic_fields, seed_end};
use std::collections::BTreeMap;

/// Processors over sockets; where the spec says nothing of one, as near to `now` as goes.
pub(super) fn processors(
    spec: &MachineSpec,
    now: Option<&MachineSpec>,
    write: &mut Write,
) -> Result<(), Unsupported> {
    let total = spec.cpu.or_else(|| now?.cpu).unwrap_or(1);
    let divides = |sockets: &u32| *sockets > 0 && total.is_multiple_of(*sockets);
    let kept = now.and_then(|now| now.sockets).filter(divides);
    let sockets = spec.sockets.or(kept).unwrap_or(1);
    if !divides(&sockets) {
        let why = format!("{total} processors cannot be spread over {sockets} sockets");
        let at = FieldPath::of(FieldKind::Sockets);
        return Err(fault(at, why, "set `cpu:` to a multiple of `sockets:`"));
    }
    let setting = Setting::Cpu { total, sockets };
    if !write.settings.contains(&setting) {
        write.settings.push(setting);
    }
    for (kind, count) in [(FieldKind::Cpu, total), (FieldKind::Sockets, sockets)] {
        write.end.fields.insert(FieldPath::of(kind), Some(Value::Count(count.into())));
    }
    Ok(())
}

/// A new disk in its slot.
pub(super) fn attach(
    spec: &MachineSpec,
    storages: &BTreeMap<DeviceName, StorageName>,
    (name, slot): (&DeviceName, &Slot),
    write: &mut Write,
) -> Result<(), Unsupported> {
    let disk = spec.disks.get(name);
    let storage = storages.get(name).or_else(|| disk?.storage.as_ref()).cloned();
    let parts = disk
        .and_then(|disk| disk.size)
        .zip(storage)
        .zip(super::super::slots::bus_of(slot.as_str()));
    let Some(((size, storage), bus)) = parts else {
        let at = FieldPath::on(FieldKind::Disk, name);
        return Err(fault(
            at,
            "a new disk needs a size and a storage",
            "set `size:` and `storage:`",
        ));
    };
    write.end.slots.insert(slot.clone(), true);
    write.holds(spec, FieldPath::on(FieldKind::DiskSize, name));
    let (disk, slot) = (name.clone(), slot.clone());
    write.settings.push(Setting::AttachDisk { disk, slot, bus, size, storage });
    Ok(())
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

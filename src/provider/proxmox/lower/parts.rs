//! Pieces that births and changes share: growth, the first-boot documents.

use super::{layout::Layout, step};
use crate::model::{
    Bytes, DeviceKind, DeviceName, Expect, FieldKind, FieldPath, InitSpec, MachineSpec,
    ObservedMachine, Seed, SeedNic, Slot, Step, StepOp, StorageName, Value,
};
pub(super) use crate::provider::lowering::{
    Seat, Write, changing::new_disk, fault, nic_fields, processors, seed_end, set_pool,
};
use std::collections::BTreeMap;

/// The storage of what has no name: firmware variables, TPM state, first-boot drive.
/// They lie beside the boot disk.
pub(super) fn system_storage(
    spec: &MachineSpec,
    storages: &BTreeMap<DeviceName, StorageName>,
    base: Option<&ObservedMachine>,
) -> Option<StorageName> {
    let boot = storages.get(DeviceName::BOOT).cloned();
    let declared = || spec.disks.get(DeviceName::BOOT)?.storage.clone();
    let beside = || {
        let disk = base?.devices.iter().find(|device| device.kind == DeviceKind::Disk)?;
        disk.storage.clone()
    };
    boot.or_else(declared).or_else(beside)
}

pub(super) fn grow(name: &DeviceName, slot: &Slot, to: Bytes) -> Step {
    let op = StepOp::GrowDisk { disk: name.clone(), slot: slot.clone(), to };
    let begin = Expect { slots: [(slot.clone(), true)].into(), ..Expect::default() };
    let mut end = Expect::default();
    end.fields.insert(FieldPath::on(FieldKind::DiskSize, name), Some(Value::Size(to)));
    step(op, begin, end)
}

/// The first-boot documents of a spec, complete.
pub(super) fn seed_of(
    spec: &MachineSpec,
    init: Option<InitSpec>,
    layout: &Layout,
    slot: Slot,
    storage: Option<StorageName>,
) -> Seed {
    let nics = layout.seats.nics.iter().filter_map(|(name, seat)| {
        let nic = spec.nics.get(name)?;
        // An address that is not declared stays as it is.
        let ip = nic.ip?;
        // The drive knows the cards by their place.
        let seat = SeedNic { slot: seat.slot.clone(), mac: None, ip, gateway: nic.gateway };
        Some((name.clone(), seat))
    });
    Seed { nics: nics.collect(), init: init.unwrap_or_default(), slot: Some(slot), storage }
}

//! What changes of a machine have in common, whatever the product: volumes that go or
//! stay, documents that are written anew, and the marker's draft.

use super::{Seating, Write, fault};
use crate::model::{
    Bytes, Device, DeviceMap, DeviceName, FieldKind, FieldPath, InitSpec, MachineSpec, MarkerDraft,
    ObservedMachine, OnRemove, Setting, Slot, Stage, StorageName, Unsupported, Update,
};
use std::collections::{BTreeMap, BTreeSet};

/// How large a new disk is, and where it lies.
pub fn new_disk(
    spec: &MachineSpec,
    storages: &BTreeMap<DeviceName, StorageName>,
    name: &DeviceName,
) -> Result<(Bytes, StorageName), Unsupported> {
    let disk = spec.disks.get(name);
    let storage = storages.get(name).or_else(|| disk?.storage.as_ref()).cloned();
    disk.and_then(|disk| disk.size).zip(storage).ok_or_else(|| {
        let why = "a new disk needs a size and a storage";
        fault(FieldPath::on(FieldKind::Disk, name), why, "set `size:` and `storage:`")
    })
}

/// The volume of a disk that goes, when it goes with it; of one that stays, a note.
pub fn doomed_volume(
    seen: &ObservedMachine,
    name: &DeviceName,
    device: &Device,
    notes: &mut Vec<String>,
) -> Result<Option<String>, Unsupported> {
    let Some(volume) = device.volume.clone() else { return Ok(None) };
    let disk = seen.settled().disks.get(name);
    if disk.is_none_or(|disk| disk.on_remove != OnRemove::Delete) {
        notes.push(format!("disk {name} stays as the detached volume {volume}"));
        return Ok(None);
    }
    if seen.snapshots.is_empty() {
        return Ok(Some(volume));
    }
    let why = "snapshots of this machine need the volume";
    let help = "remove the snapshots, or use `on_remove: detach`";
    Err(fault(FieldPath::on(FieldKind::Disk, name), why, help))
}

impl Write {
    pub fn detach(&mut self, name: &DeviceName, slot: Slot, delete: Option<String>) {
        self.end.slots.insert(slot.clone(), false);
        self.settings.push(Setting::DetachDisk { disk: name.clone(), slot, delete });
    }
}

/// What the first-boot documents are made of. They are written as a whole, so that what
/// is not declared is kept: addresses in the spec, and the rest beside it.
pub fn kept_seed(spec: &MachineSpec, seen: &MachineSpec) -> (MachineSpec, Option<InitSpec>) {
    let kept = || Some(InitSpec { digest: None, ..seen.init.clone()? });
    let init = spec.init.clone().or_else(kept);
    let mut nics = spec.nics.clone();
    for (name, nic) in nics.iter_mut().filter(|(_, nic)| nic.ip.is_none()) {
        let kept = seen.nics.get(name);
        nic.ip = kept.and_then(|kept| kept.ip);
        nic.gateway = kept.and_then(|kept| kept.gateway);
    }
    (MachineSpec { init: spec.init.clone(), nics, ..MachineSpec::default() }, init)
}

/// The marker's draft: `stage` is `ready`, also for a machine that was on its way out and
/// is wanted again. The digest is new when `seeds` says that the documents are.
pub fn draft(
    update: &Update<'_>,
    old: &DeviceMap,
    write: &Write,
    seats: &Seating,
    seeds: bool,
) -> MarkerDraft {
    let protect = write.settings.iter().find_map(|setting| match setting {
        Setting::Protect(protect) => Some(*protect),
        _ => None,
    });
    let init = update.spec.init.as_ref().filter(|_| seeds);
    let init = init.and_then(|init| init.digest.clone());
    let mut draft = MarkerDraft { init, protect, ..MarkerDraft::new(Stage::Ready) };
    draft.turn(old, seats.map(old, update.spec, false));
    draft
}

/// Fields that are not changed and decide what is written all the same. `seeded` are those
/// of each card that first-boot documents are made of, when they are written.
pub fn reads(update: &Update<'_>, seeded: &[FieldKind]) -> Vec<FieldPath> {
    let changed: BTreeSet<&FieldPath> = update.fields.iter().map(|it| &it.field).collect();
    let mut reads = Vec::new();
    let cpu = [FieldKind::Cpu, FieldKind::Sockets].map(FieldPath::of);
    if cpu.iter().any(|path| changed.contains(path)) {
        reads.extend(cpu);
    }
    for name in update.spec.nics.keys() {
        reads.extend(seeded.iter().map(|kind| FieldPath::on(*kind, name)));
    }
    reads.retain(|path| !changed.contains(path));
    reads
}

//! A desired spec in the spelling that Proxmox will report back, and everything
//! that Proxmox cannot have, as errors.
//!
//! Limits are from pve-common `JSONSchema.pm` and qemu-server `QemuServer.pm`,
//! `QemuServer/{Drive,Network,Memory}.pm`.

use super::call::NOTES_MAX;
use crate::{
    model::{
        Bus, Bytes, Cdrom, DesiredMachine, DeviceName, DiskSpec, FieldKind, FieldPath,
        GuestIdentity, InitSpec, MachineSpec, NicSpec, Unsupported,
    },
    ownership,
    provider::checks::{self, Check, is_dns_name},
};
use std::collections::BTreeSet;

/// Cards that a machine can have: `net0` to `net31`.
const NICS_MAX: usize = 32;
/// Storages round sizes up, LVM to extents of 4 MiB. A size that every storage can
/// hold exactly is read back as it was written.
const DISK_STEP: Bytes = Bytes::mib(4);
/// Room that a marker may need in the notes, without its map.
const MARKER_ROOM: usize = 420;
/// Room that one map entry may need beside its name.
const MAP_ENTRY_ROOM: usize = 24;

/// How many devices a bus takes (qemu-server `Drive.pm`).
pub(super) fn slots_of(bus: Bus) -> u8 {
    match bus {
        Bus::Scsi => 31,
        Bus::Virtio => 16,
        Bus::Sata => 6,
        Bus::Ide => 4,
    }
}

/// Room that a marker may need in the notes, with these devices in its map.
pub(super) fn marker_room<'a>(names: impl Iterator<Item = &'a DeviceName>) -> usize {
    let map: usize = names.map(|name| name.as_str().len() + MAP_ENTRY_ROOM).sum();
    MARKER_ROOM + map
}

/// What Proxmox VE has under other names, which are not declared yet.
fn not_here(check: &mut Check, spec: &mut MachineSpec) {
    if spec.hardware_version.take().is_some() {
        let why = "virtual hardware has no number here: its version is part of the machine type";
        check.fail_of(FieldKind::HardwareVersion, why, "leave `hardware_version:` out");
    }
    let setup = spec.init.as_mut().and_then(|init| init.customization.take());
    if let Some(setup) = setup {
        let (field, what) = match setup.identity {
            GuestIdentity::Windows(_) => (FieldKind::InitWindows, "init.windows"),
            GuestIdentity::Kept(_) => (FieldKind::InitCustomization, "init.customization_spec"),
        };
        let why = format!("`{what}` is not supported on Proxmox VE yet");
        check.fail_of(field, why, "leave it out, or put the machine on a vCenter");
    }
    for key in std::mem::take(&mut spec.extra).into_keys() {
        let why = "there is no free configuration here";
        check.fail(FieldPath::on(FieldKind::Extra, &key), why, "leave `extra_config:` out");
    }
}

pub(super) fn normalize(machine: &DesiredMachine) -> Result<MachineSpec, Vec<Unsupported>> {
    let mut check = Check::default();
    let mut spec = machine.spec.clone();
    name(&mut check, &spec);
    checks::processors(&mut check, &spec);
    checks::memory(&mut check, &spec, Bytes::mib(1), Bytes::mib(16));
    tags(&mut check, &mut spec);
    labels(&mut check, &spec);
    not_here(&mut check, &mut spec);
    if machine.spread.is_some() {
        let why = "keeping machines apart on Proxmox VE is not supported yet";
        check.fail_of(FieldKind::Spread, why, "leave `spread:` out, or pin nodes");
    }
    let names = spec.disks.keys().chain(spec.nics.keys());
    let room = NOTES_MAX.saturating_sub(marker_room(names));
    checks::notes(&mut check, &mut spec, Some(room));
    checks::boot(&mut check, &spec);
    if let Some(Cdrom::Iso(volume)) = &spec.cdrom
        && !volume.contains(':')
    {
        let why = format!("`{volume}` is not a volume");
        check.fail_of(FieldKind::Cdrom, why, "write `storage:iso/file.iso`");
    }
    disks(&mut check, machine, &spec);
    spec.nics.iter().for_each(|(name, nic)| vlan(&mut check, name, nic));
    checks::nics(&mut check, machine, &mut spec, NICS_MAX);
    if machine.snapshots.is_some() {
        let why = "snapshots before changes are not supported yet on Proxmox VE";
        check.fail_of(FieldKind::Snapshots, why, "leave `snapshots:` out");
    }
    if let Some(init) = &mut spec.init {
        normalize_init(&mut check, init, spec.name.as_deref());
    }
    check.finish(spec)
}

fn name(check: &mut Check, spec: &MachineSpec) {
    let help = "set `name:` to letters, digits and hyphens, with dots between parts";
    match &spec.name {
        Some(name) if is_dns_name(name) => {}
        Some(name) => {
            check.fail_of(FieldKind::Name, format!("`{name}` is not a valid DNS name"), help);
        }
        None => check.fail_of(FieldKind::Name, "a machine needs a name", help),
    }
}

fn tags(check: &mut Check, spec: &mut MachineSpec) {
    let Some(tags) = &mut spec.tags else { return };
    *tags = tags.iter().map(|tag| tag.to_lowercase()).collect();
    for tag in tags.iter() {
        let inner = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-+.".contains(&byte)
        };
        let first = tag.bytes().next();
        if !first.is_some_and(|byte| inner(byte) && !b"-+.".contains(&byte))
            || !tag.bytes().all(inner)
        {
            let why = format!("`{tag}` is not a valid tag");
            let help = "use letters, digits and `_ - + .`, beginning with a letter, digit or `_`";
            check.fail_of(FieldKind::Tags, why, help);
        } else if tag.starts_with(ownership::BULK_TAG_PREFIX) {
            let why = format!("`{tag}` is spelt like the mark of a project");
            check.fail_of(FieldKind::Tags, why, "choose a tag that does not begin with `nh-`");
        }
    }
}

/// The product has tags and no pairs; which spelling as a tag they will get is not settled.
fn labels(check: &mut Check, spec: &MachineSpec) {
    for key in spec.labels.keys() {
        let why = "labels on Proxmox VE are not supported yet";
        check.fail(FieldPath::label(key), why, "leave `labels:` out, or use `tags:`");
    }
}

fn disks(check: &mut Check, machine: &DesiredMachine, spec: &MachineSpec) {
    let mut taken = BTreeSet::new();
    for (name, disk) in &spec.disks {
        one_disk(check, machine, name, disk);
        let bus = disk.bus.unwrap_or(Bus::Scsi);
        if let Some(slot) = disk.slot
            && !taken.insert((bus.as_str(), slot))
        {
            let why = format!("two disks want {}{slot}", bus.as_str());
            check.fail(FieldPath::on(FieldKind::Disk, name), why, "give each a slot of its own");
        }
    }
    for bus in [Bus::Scsi, Bus::Virtio, Bus::Sata, Bus::Ide] {
        checks::bus(check, spec, bus, slots_of(bus).into());
    }
}

fn one_disk(check: &mut Check, machine: &DesiredMachine, name: &DeviceName, disk: &DiskSpec) {
    let at = |kind| FieldPath::on(kind, name);
    let help = "storages round up to 4 MiB; write a size that they can hold exactly";
    checks::disk_size(check, machine, (name, disk), (DISK_STEP, help));
    let bus = disk.bus.unwrap_or(Bus::Scsi);
    if disk.slot.is_some_and(|slot| slot >= slots_of(bus)) {
        let why = format!("the {} bus has slots 0 to {}", bus.as_str(), slots_of(bus) - 1);
        check.fail(at(FieldKind::Disk), why, "choose another `slot:`");
    }
}

fn vlan(check: &mut Check, name: &DeviceName, nic: &NicSpec) {
    if nic.vlan.is_some_and(|tag| !(1..=4094).contains(&tag)) {
        let at = FieldPath::on(FieldKind::NicVlan, name);
        check.fail(at, "VLAN tags are 1 to 4094", "choose one of them");
    }
}

fn normalize_init(check: &mut Check, init: &mut InitSpec, name: Option<&str>) {
    if let Some(hostname) = &init.hostname
        && Some(hostname.as_str()) != name
    {
        let why =
            format!("the guest's host name is the machine's name, so it cannot be `{hostname}`");
        let help = format!("set `name: {hostname}`");
        check.fail_of(FieldKind::InitHostname, why, &help);
    }
    checks::init_texts(check, init);
}

//! A desired spec in the spelling that Proxmox will report back, and everything
//! that Proxmox cannot have, as errors.
//!
//! Limits are from pve-common `JSONSchema.pm` and qemu-server `QemuServer.pm`,
//! `QemuServer/{Drive,Network,Memory}.pm`.

use super::call::NOTES_MAX;
use crate::{
    model::{
        BootDevice, Bus, Bytes, Cdrom, DesiredMachine, DeviceName, DiskSpec, FieldKind, FieldPath,
        InitSpec, IpSetting, MachineSpec, MarkerState, Medium, NicSpec, Unsupported,
    },
    ownership,
};
use std::collections::BTreeSet;

/// Cards that a machine can have: `net0` to `net31`.
const NICS_MAX: usize = 32;
/// Storages round sizes up, LVM to extents of 4 MiB. A size that every storage can
/// hold exactly is read back as it was written.
const DISK_STEP: u64 = 4 * Bytes::MIB;
/// Room that a marker may need in the notes, without its map.
const MARKER_ROOM: usize = 420;
/// Room that one map entry may need beside its name.
const MAP_ENTRY_ROOM: usize = 24;

/// Whether a machine gets a first-boot drive: when it declares `init`, or an address
/// that only such a drive can carry.
pub(super) fn wants_seed(spec: &MachineSpec) -> bool {
    spec.init.is_some()
        || spec
            .nics
            .values()
            .any(|nic| matches!(nic.ip, Some(IpSetting::Static { .. } | IpSetting::Dhcp)))
}

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

/// Collects errors on the way.
struct Check {
    found: Vec<Unsupported>,
}

impl Check {
    fn fail(&mut self, field: FieldPath, why: impl Into<String>, help: &str) {
        self.found.push(Unsupported { field, why: why.into(), help: help.to_owned() });
    }

    fn fail_of(&mut self, kind: FieldKind, why: impl Into<String>, help: &str) {
        self.fail(FieldPath::of(kind), why, help);
    }
}

pub(super) fn normalize(machine: &DesiredMachine) -> Result<MachineSpec, Vec<Unsupported>> {
    let mut check = Check { found: Vec::new() };
    let mut spec = machine.spec.clone();
    name(&mut check, &spec);
    processors(&mut check, &spec);
    memory(&mut check, &spec);
    tags(&mut check, &mut spec);
    notes(&mut check, &mut spec);
    boot(&mut check, &spec);
    if let Some(Cdrom::Iso(volume)) = &spec.cdrom
        && !volume.contains(':')
    {
        let why = format!("`{volume}` is not a volume");
        check.fail_of(FieldKind::Cdrom, why, "write `storage:iso/file.iso`");
    }
    disks(&mut check, machine, &spec);
    nics(&mut check, machine, &mut spec);
    if let Some(init) = &mut spec.init {
        normalize_init(&mut check, init, spec.name.as_deref());
    }
    if check.found.is_empty() { Ok(spec) } else { Err(check.found) }
}

fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = label.as_bytes();
        bytes.len() <= 63
            && ends(bytes.first())
            && ends(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
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

fn processors(check: &mut Check, spec: &MachineSpec) {
    if spec.cpu == Some(0) {
        check.fail_of(FieldKind::Cpu, "a machine needs a processor", "set `cpu:` to 1 or more");
    }
    match (spec.cpu, spec.sockets) {
        (_, Some(0)) => {
            check.fail_of(FieldKind::Sockets, "a machine needs a socket", "leave `sockets:` out");
        }
        (Some(cpu), Some(sockets)) if !cpu.is_multiple_of(sockets) => {
            let why = format!("{cpu} processors cannot be spread over {sockets} sockets");
            check.fail_of(FieldKind::Sockets, why, "choose a number of sockets that divides `cpu`");
        }
        (Some(_) | None, Some(_) | None) => {}
    }
}

fn memory(check: &mut Check, spec: &MachineSpec) {
    let Some(memory) = spec.memory else { return };
    if !memory.0.is_multiple_of(Bytes::MIB) {
        let why = format!("{memory} is not a whole number of MiB");
        check.fail_of(FieldKind::Memory, why, "write memory in MiB or GiB");
    } else if memory < Bytes::mib(16) {
        let why = format!("{memory} is less than 16 MiB");
        check.fail_of(FieldKind::Memory, why, "give it at least 16 MiB");
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

fn notes(check: &mut Check, spec: &mut MachineSpec) {
    let names = spec.disks.keys().chain(spec.nics.keys());
    let marker_room = marker_room(names);
    let Some(notes) = &mut spec.notes else { return };
    let (text, marker) = ownership::split_notes(notes);
    if marker != MarkerState::None {
        let why = "a line of the notes begins like an ownership marker";
        check.fail_of(FieldKind::Notes, why, "begin that line with another word");
    }
    let room = NOTES_MAX.saturating_sub(marker_room);
    if text.len() > room {
        let why = format!("notes of {} bytes leave no room for the marker", text.len());
        check.fail_of(FieldKind::Notes, why, &format!("keep them within {room} bytes"));
    }
    *notes = text;
}

fn boot(check: &mut Check, spec: &MachineSpec) {
    let Some(order) = &spec.boot else { return };
    let mut fail = |why: &str, help: &str| check.fail_of(FieldKind::Boot, why, help);
    if order.is_empty() {
        fail("an empty boot order starts nothing", "leave `boot:` out");
    }
    if order.iter().collect::<BTreeSet<_>>().len() != order.len() {
        fail("the boot order names a device twice", "name each once");
    }
    if order.contains(&BootDevice::Network) && spec.nics.is_empty() {
        fail("the boot order names the network, and there is no card", "declare a card");
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
        let count = spec.disks.values().filter(|it| it.bus.unwrap_or(Bus::Scsi) == bus).count();
        if let Some(name) = spec.disks.keys().next()
            && count > usize::from(slots_of(bus))
        {
            let why = format!("{count} disks are more than the {} bus takes", bus.as_str());
            check.fail(FieldPath::on(FieldKind::Disk, name), why, "spread them over buses");
        }
    }
}

fn one_disk(check: &mut Check, machine: &DesiredMachine, name: &DeviceName, disk: &DiskSpec) {
    let at = |kind| FieldPath::on(kind, name);
    let from_template = matches!(
        machine.birth.as_ref().map(|birth| &birth.medium),
        Some(Medium::Template { .. }) | None
    );
    match disk.size {
        Some(size) if size.0 == 0 || !size.0.is_multiple_of(DISK_STEP) => {
            let why = format!("{size} is not a multiple of 4 MiB");
            let help = "storages round up to 4 MiB; write a size that they can hold exactly";
            check.fail(at(FieldKind::DiskSize), why, help);
        }
        None if !name.is_boot() => {
            check.fail(at(FieldKind::DiskSize), "a new disk needs a size", "set `size:`");
        }
        None if !from_template => {
            let why = "a machine made from an ISO starts with an empty disk";
            check.fail(at(FieldKind::DiskSize), why, "set the size of `boot`");
        }
        Some(_) | None => {}
    }
    let bus = disk.bus.unwrap_or(Bus::Scsi);
    if disk.slot.is_some_and(|slot| slot >= slots_of(bus)) {
        let why = format!("the {} bus has slots 0 to {}", bus.as_str(), slots_of(bus) - 1);
        check.fail(at(FieldKind::Disk), why, "choose another `slot:`");
    }
}

fn nics(check: &mut Check, machine: &DesiredMachine, spec: &mut MachineSpec) {
    let count = spec.nics.len();
    if let Some(name) = spec.nics.keys().next()
        && count > NICS_MAX
    {
        let why = format!("{count} cards are more than the {NICS_MAX} that a machine takes");
        check.fail(FieldPath::on(FieldKind::Nic, name), why, "declare fewer");
    }
    let takes_init = machine.birth.as_ref().is_none_or(|birth| birth.takes_init);
    let declares_init = spec.init.is_some();
    for (name, nic) in &mut spec.nics {
        one_nic(check, name, nic);
        let unseedable = !takes_init && !declares_init;
        if unseedable && matches!(nic.ip, Some(IpSetting::Static { .. })) {
            let why = "the image reads no first-boot configuration, so it cannot be given one";
            check.fail(FieldPath::on(FieldKind::NicIp, name), why, "leave `ip:` out");
        } else if unseedable {
            // What such a guest does on its own can be neither set nor read.
            nic.ip = None;
        }
    }
    if !wants_seed(spec) {
        for nic in spec.nics.values_mut() {
            nic.ip = nic.ip.filter(|ip| *ip != IpSetting::None);
        }
    }
}

fn one_nic(check: &mut Check, name: &DeviceName, nic: &NicSpec) {
    let at = |kind| FieldPath::on(kind, name);
    if nic.vlan.is_some_and(|tag| !(1..=4094).contains(&tag)) {
        check.fail(at(FieldKind::NicVlan), "VLAN tags are 1 to 4094", "choose one of them");
    }
    if let Some(mac) = nic.mac
        && mac.0[0] & 1 == 1
    {
        let why = format!("{mac} is a multicast address");
        check.fail(at(FieldKind::NicMac), why, "choose one whose first byte is even");
    }
    let is_static = match nic.ip {
        Some(IpSetting::Static { address, prefix }) => {
            if prefix > if address.is_ipv4() { 32 } else { 128 } {
                let why = format!("/{prefix} is too long for {address}");
                check.fail(at(FieldKind::NicIp), why, "write a shorter prefix");
            }
            if nic.gateway.is_some_and(|gateway| gateway.is_ipv4() != address.is_ipv4()) {
                let why = "address and gateway are of different families";
                check.fail(at(FieldKind::NicGateway), why, "write both as IPv4 or both as IPv6");
            }
            true
        }
        Some(IpSetting::Dhcp | IpSetting::None) | None => false,
    };
    if nic.gateway.is_some() && !is_static {
        let why = "a gateway without a static address is never used";
        check.fail(at(FieldKind::NicGateway), why, "set `ip:`, or leave `gateway:` out");
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
    for text in [&mut init.domain, &mut init.user].into_iter().flatten() {
        *text = text.trim().to_owned();
    }
    if init.user.as_deref() == Some("") {
        check.fail_of(FieldKind::InitUser, "the user has no name", "leave `user:` out");
    }
    if init.domain.as_deref() == Some("") {
        check.fail_of(FieldKind::InitDomain, "the domain is empty", "leave `domain:` out");
    }
    if let Some(keys) = &mut init.ssh_keys {
        let lines = keys.iter().flat_map(|key| key.lines());
        *keys = lines.map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect();
    }
}

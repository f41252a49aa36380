//! What a declared machine must be, whatever it runs on: the checks that more than one
//! product's `normalize` makes.

use crate::{
    model::{
        BootDevice, Bus, Bytes, Customization, DesiredMachine, DeviceName, DiskSpec, FieldKind,
        FieldPath, InitSpec, IpSetting, MachineSpec, MarkerState, Medium, NicSpec, Unsupported,
    },
    ownership,
};
use std::collections::BTreeSet;

/// Collects errors on the way.
#[derive(Default)]
pub(super) struct Check {
    found: Vec<Unsupported>,
}

impl Check {
    pub(super) fn fail(&mut self, field: FieldPath, why: impl Into<String>, help: &str) {
        self.found.push(Unsupported { field, why: why.into(), help: help.to_owned() });
    }

    pub(super) fn fail_of(&mut self, kind: FieldKind, why: impl Into<String>, help: &str) {
        self.fail(FieldPath::of(kind), why, help);
    }

    pub(super) fn finish(self, spec: MachineSpec) -> Result<MachineSpec, Vec<Unsupported>> {
        if self.found.is_empty() { Ok(spec) } else { Err(self.found) }
    }
}

/// Whether a machine gets first-boot documents: when it declares `init`, or an address
/// that only such documents can carry. One that the product itself sets up gets none.
pub(super) fn wants_seed(spec: &MachineSpec) -> bool {
    if customization(spec).is_some() {
        return false;
    }
    spec.init.is_some()
        || spec
            .nics
            .values()
            .any(|nic| matches!(nic.ip, Some(IpSetting::Static { .. } | IpSetting::Dhcp)))
}

/// How the product itself sets the guest up, where it does.
pub(super) fn customization(spec: &MachineSpec) -> Option<&Customization> {
    spec.init.as_ref()?.customization.as_deref()
}

pub(super) fn is_dns_name(text: &str) -> bool {
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

pub(super) fn processors(check: &mut Check, spec: &MachineSpec) {
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

/// Memory in the steps that the product has it in, and not less than it takes.
pub(super) fn memory(check: &mut Check, spec: &MachineSpec, step: Bytes, least: Bytes) {
    let Some(memory) = spec.memory else { return };
    if !memory.0.is_multiple_of(Bytes::MIB) {
        let why = format!("{memory} is not a whole number of MiB");
        check.fail_of(FieldKind::Memory, why, "write memory in MiB or GiB");
    } else if !memory.0.is_multiple_of(step.0) {
        let why = format!("{memory} is not a multiple of {step}");
        check.fail_of(FieldKind::Memory, why, "memory comes in such steps there");
    } else if memory < least {
        let why = format!("{memory} is less than {least}");
        check.fail_of(FieldKind::Memory, why, &format!("give it at least {least}"));
    }
}

/// Notes as they are read back. `room` is how long they may be, where there is a limit.
pub(super) fn notes(check: &mut Check, spec: &mut MachineSpec, room: Option<usize>) {
    let Some(notes) = &mut spec.notes else { return };
    let (text, marker) = ownership::split_notes(notes);
    if marker != MarkerState::None {
        let why = "a line of the notes begins like an ownership marker";
        check.fail_of(FieldKind::Notes, why, "begin that line with another word");
    }
    if let Some(room) = room.filter(|room| text.len() > *room) {
        let why = format!("notes of {} bytes leave no room for the marker", text.len());
        check.fail_of(FieldKind::Notes, why, &format!("keep them within {room} bytes"));
    }
    *notes = text;
}

pub(super) fn boot(check: &mut Check, spec: &MachineSpec) {
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

/// A disk's size, in steps that are read back exactly.
pub(super) fn disk_size(
    check: &mut Check,
    machine: &DesiredMachine,
    (name, disk): (&DeviceName, &DiskSpec),
    (step, help): (Bytes, &str),
) {
    let at = FieldPath::on(FieldKind::DiskSize, name);
    let from_template = matches!(
        machine.birth.as_ref().map(|birth| &birth.medium),
        Some(Medium::Template { .. }) | None
    );
    match disk.size {
        Some(size) if size.0 == 0 || !size.0.is_multiple_of(step.0) => {
            check.fail(at, format!("{size} is not a multiple of {step}"), help);
        }
        None if !name.is_boot() => check.fail(at, "a new disk needs a size", "set `size:`"),
        None if !from_template => {
            let why = "a machine made from an ISO starts with an empty disk";
            check.fail(at, why, "set the size of `boot`");
        }
        Some(_) | None => {}
    }
}

/// The number of disks on a bus: of too many, the first that finds no room is named.
pub(super) fn bus(check: &mut Check, spec: &MachineSpec, bus: Bus, room: usize) {
    let on_bus = spec.disks.iter().filter(|(_, it)| it.bus.unwrap_or(Bus::Scsi) == bus);
    let names: Vec<&DeviceName> = on_bus.map(|(name, _)| name).collect();
    if let Some(name) = names.get(room) {
        let why = format!("{} disks are more than the {} bus takes", names.len(), bus.as_str());
        check.fail(FieldPath::on(FieldKind::Disk, name), why, "spread them over buses");
    }
}

/// The number of cards, their addresses, and whether anything in the guest reads these.
pub(super) fn nics(
    check: &mut Check,
    machine: &DesiredMachine,
    spec: &mut MachineSpec,
    most: usize,
) {
    let count = spec.nics.len();
    if let Some(name) = spec.nics.keys().next()
        && count > most
    {
        let why = format!("{count} cards are more than the {most} that a machine takes");
        check.fail(FieldPath::on(FieldKind::Nic, name), why, "declare fewer");
    }
    let takes_init = machine.birth.as_ref().is_none_or(|birth| birth.takes_init);
    let declares_init = spec.init.is_some();
    for (name, nic) in &mut spec.nics {
        addresses(check, name, nic);
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

fn addresses(check: &mut Check, name: &DeviceName, nic: &NicSpec) {
    let at = |kind| FieldPath::on(kind, name);
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

/// Names and key lines of the first-boot documents, without blanks around them.
pub(super) fn init_texts(check: &mut Check, init: &mut InitSpec) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_disks_are_told_of_one_on_their_bus() {
        let mut spec = MachineSpec::default();
        let on = |bus| DiskSpec { bus: Some(bus), ..DiskSpec::default() };
        spec.disks.insert("a".into(), on(Bus::Scsi));
        for name in ["b", "c", "d", "e"] {
            spec.disks.insert(name.into(), on(Bus::Ide));
        }
        let faults = |spec: &MachineSpec| {
            let mut check = Check::default();
            bus(&mut check, spec, Bus::Ide, 4);
            let faults = check.finish(spec.clone()).err().unwrap_or_default();
            faults.into_iter().map(|it| (it.field.to_string(), it.why)).collect::<Vec<_>>()
        };
        assert!(faults(&spec).is_empty());
        spec.disks.insert("f".into(), on(Bus::Ide));
        let why = "5 disks are more than the ide bus takes";
        assert_eq!(faults(&spec), [("disk.f".to_owned(), why.to_owned())]);
    }
}

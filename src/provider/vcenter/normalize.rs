//! A desired spec in the spelling that vCenter will report back, and everything that it
//! cannot have, or that is not made there yet, as errors.

use super::{
    customize, guarded,
    product::MACS,
    slots::{places, wish},
};
use crate::{
    model::{
        Bus, Bytes, Cdrom, DesiredMachine, DeviceName, DiskSpec, FieldKind, FieldPath, InitSpec,
        MacAddress, MachineSpec, NicModel, NicSpec, Unsupported,
    },
    provider::checks::{self, Check, is_dns_name, wants_seed},
};
use std::collections::BTreeSet;

/// Cards that a machine can have.
const NICS_MAX: usize = 10;
/// Letters of a name.
const NAME_MAX: usize = 80;
/// The server takes memory in such steps, and no less than one.
const MEMORY_STEP: Bytes = Bytes::mib(4);
/// Sizes of virtual disks are read back exactly in such steps, whatever they lie on.
const DISK_STEP: Bytes = Bytes::mib(1);

pub(super) fn normalize(machine: &DesiredMachine) -> Result<MachineSpec, Vec<Unsupported>> {
    let mut check = Check::default();
    let mut spec = machine.spec.clone();
    name(&mut check, &spec);
    checks::processors(&mut check, &spec);
    checks::memory(&mut check, &spec, MEMORY_STEP, MEMORY_STEP);
    not_yet(&mut check, &mut spec);
    hardware_version(&mut check, &spec);
    extra(&mut check, &spec);
    text(&mut check, &spec);
    // The marker does not lie in the notes here, so they have all the room.
    checks::notes(&mut check, &mut spec, None);
    checks::boot(&mut check, &spec);
    cdrom(&mut check, machine, &spec);
    disks(&mut check, machine, &spec);
    for (name, nic) in &mut spec.nics {
        one_nic(&mut check, machine, name, nic);
    }
    checks::nics(&mut check, machine, &mut spec, NICS_MAX);
    customize::check::normalize(&mut check, machine, &mut spec);
    init(&mut check, &mut spec);
    check.finish(spec)
}

fn name(check: &mut Check, spec: &MachineSpec) {
    let help = "set `name:` to a short plain text";
    let Some(name) = spec.name.as_deref() else {
        return check.fail_of(FieldKind::Name, "a machine needs a name", help);
    };
    if name.is_empty() || name.trim() != name {
        check.fail_of(FieldKind::Name, "a name is empty or has blanks around it", help);
    } else if name.chars().count() > NAME_MAX {
        let why = format!("a name has at most {NAME_MAX} letters");
        check.fail_of(FieldKind::Name, why, help);
    } else if name.contains(['/', '\\', '%']) {
        let why = format!(
            "`{name}` has a letter that the server stores as an escape (`%2f`), so that it would be read back as another name"
        );
        check.fail_of(FieldKind::Name, why, "leave `/`, `\\` and `%` out");
    } else if name.contains(char::is_control) {
        check.fail_of(FieldKind::Name, "a name holds a control character", help);
    }
}

/// What vCenter has and novahost does not set there yet. What asks for nothing of it is
/// not in the way, and is not compared.
fn not_yet(check: &mut Check, spec: &mut MachineSpec) {
    if spec.tags.take().is_some_and(|tags| !tags.is_empty()) {
        // `tags` are all that a machine has; here a machine's tags are also what others go
        // by (backups, other tools), and those must not be taken off.
        let why = "a tag of vCenter belongs to a category, and `tags:` names none";
        let help = "leave `tags:` out, or use `labels:`, whose keys are categories";
        check.fail_of(FieldKind::Tags, why, help);
    }
    if spec.autostart.take().is_some_and(|it| it.enabled) {
        let why = "what a host starts by itself is a setting of the host, and in a cluster it has no effect";
        check.fail_of(FieldKind::Autostart, why, "leave `autostart:` out");
    }
    if spec.tpm.take() == Some(true) {
        let why = "a virtual TPM needs a key provider, and novahost does not set one up yet";
        check.fail_of(FieldKind::Tpm, why, "leave `tpm:` out");
    }
}

/// The first version that current hosts still run, and one that is far from any that is out.
const HARDWARE_VERSIONS: std::ops::RangeInclusive<u32> = 7..=99;

fn hardware_version(check: &mut Check, spec: &MachineSpec) {
    let Some(version) = spec.hardware_version else { return };
    if !HARDWARE_VERSIONS.contains(&version) {
        let why = format!("there is no version {version} of the virtual hardware");
        let help = "write the number in `vmx-21`, as the host's documentation has it";
        check.fail_of(FieldKind::HardwareVersion, why, help);
    }
}

/// Free keys; those that reach the host or say what a field says are refused.
fn extra(check: &mut Check, spec: &MachineSpec) {
    for (key, value) in &spec.extra {
        let checked = guarded::check(key.as_str(), value, wants_seed(spec));
        if let Err(guarded::Refused { why, help }) = checked {
            check.fail(FieldPath::on(FieldKind::Extra, key), why, help);
        }
    }
}

/// Texts that no request could carry.
fn text(check: &mut Check, spec: &MachineSpec) {
    let unsendable = |it: char| it.is_control() && !matches!(it, '\n' | '\r' | '\t');
    if spec.notes.as_deref().is_some_and(|notes| notes.contains(unsendable)) {
        let why = "the notes hold a control character";
        check.fail_of(FieldKind::Notes, why, "keep to letters, tabs and line breaks");
    }
}

fn cdrom(check: &mut Check, machine: &DesiredMachine, spec: &MachineSpec) {
    let image = machine.birth.as_ref().and_then(|birth| birth.medium.cdrom());
    for cdrom in spec.cdrom.iter().chain(&image) {
        let Cdrom::Iso(volume) = cdrom else { continue };
        if !is_datastore_path(volume) {
            let why = format!("`{volume}` is not a file on a datastore");
            check.fail_of(FieldKind::Cdrom, why, "write `[datastore] folder/file.iso`");
        }
    }
}

fn is_datastore_path(text: &str) -> bool {
    let parts = text.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    parts.is_some_and(|(datastore, path)| {
        !datastore.is_empty() && !path.is_empty() && path.trim() == path
    })
}

fn disks(check: &mut Check, machine: &DesiredMachine, spec: &MachineSpec) {
    let mut taken = BTreeSet::new();
    for (name, disk) in &spec.disks {
        let help = "sizes are whole MiB";
        checks::disk_size(check, machine, (name, disk), (DISK_STEP, help));
        let Some(slot) = one_disk(check, name, disk) else { continue };
        if !taken.insert(slot.clone()) {
            let why = format!("two disks want {slot}");
            check.fail(FieldPath::on(FieldKind::Disk, name), why, "give each a slot of its own");
        }
    }
    for bus in [Bus::Scsi, Bus::Sata, Bus::Ide] {
        checks::bus(check, spec, bus, places(bus).count());
    }
}

/// The slot that a disk asks for.
fn one_disk(check: &mut Check, name: &DeviceName, disk: &DiskSpec) -> Option<String> {
    let bus = disk.bus.unwrap_or(Bus::Scsi);
    if bus == Bus::Virtio {
        let why = "vCenter has no virtio controllers";
        let help = "leave `bus:` out: its SCSI controller is the paravirtual one";
        check.fail(FieldPath::on(FieldKind::DiskBus, name), why, help);
        return None;
    }
    let number = disk.slot?;
    let Some(place) = wish(bus, number) else {
        let why = match bus {
            Bus::Scsi if number == 7 => "unit 7 is the SCSI controller itself",
            Bus::Scsi | Bus::Virtio => "the scsi bus has slots 0 to 15, without 7",
            Bus::Sata => "the sata bus has slots 0 to 29",
            Bus::Ide => "the ide bus has slots 0 to 3",
        };
        check.fail(FieldPath::on(FieldKind::Disk, name), why, "choose another `slot:`");
        return None;
    };
    Some(place.to_string())
}

fn one_nic(check: &mut Check, machine: &DesiredMachine, name: &DeviceName, nic: &mut NicSpec) {
    let at = |kind| FieldPath::on(kind, name);
    // A port group carries its VLAN. A tag that the network's entry brings says which one
    // that port group is in, for people and for other products; there is nothing to set
    // and nothing to compare. One that is written on the card asks for what cannot be had.
    let is_own = machine.places.iter().any(|(path, _)| *path == at(FieldKind::NicVlan));
    if nic.vlan.take().is_some() && is_own {
        let why = "a card has no VLAN of its own here: its port group has one";
        let help = "leave `vlan:` out, and name the network whose port group is in that VLAN";
        check.fail(at(FieldKind::NicVlan), why, help);
    }
    match nic.model {
        // The word for the product's own fast card; it is read back by its name.
        Some(NicModel::Virtio) => nic.model = Some(NicModel::Vmxnet3),
        Some(NicModel::Rtl8139) => {
            let why = "vCenter has no rtl8139 cards";
            check.fail(at(FieldKind::NicModel), why, "choose `vmxnet3` or `e1000`");
        }
        Some(NicModel::Vmxnet3 | NicModel::E1000) | None => {}
    }
    if let Some(mac) = nic.mac.filter(|mac| !is_free_to_choose(*mac)) {
        let [first, last] = [0, u64::MAX].map(|it| MACS.at(it).to_string().to_ascii_lowercase());
        let why =
            format!("the server refuses {mac}: written addresses lie between {first} and {last}");
        check.fail(at(FieldKind::NicMac), why, "choose one of them, or leave `mac:` out");
    }
}

fn is_free_to_choose(mac: MacAddress) -> bool {
    let number = mac.0.into_iter().fold(0, |number, byte| number << 8 | u64::from(byte));
    MACS.at(number) == mac
}

fn init(check: &mut Check, spec: &mut MachineSpec) {
    let named = spec.init.as_ref().and_then(|init| init.hostname.clone());
    // Without one the guest is called as the machine is.
    let hostname = named.clone().or_else(|| spec.name.clone()).filter(|_| wants_seed(spec));
    if let Some(hostname) = hostname.filter(|it| !is_dns_name(it)) {
        let why = format!("`{hostname}` cannot be a guest's host name");
        let help = "use letters, digits and hyphens, with dots between parts";
        let help = match named {
            Some(_) => help.to_owned(),
            None => format!("set `hostname:` below `init:`; {help}"),
        };
        check.fail_of(FieldKind::InitHostname, why, &help);
    }
    let Some(init) = &mut spec.init else { return };
    checks::init_texts(check, init);
    // An empty list and none are the same document.
    let InitSpec { ssh_keys, dns, .. } = init;
    *ssh_keys = ssh_keys.take().filter(|keys| !keys.is_empty());
    *dns = dns.take().filter(|all| !all.is_empty());
}

//! Machines that exist, as entries that adopt them.
//!
//! An entry says only what reads back as it is now, so that after its adoption nothing
//! is left to do. What cannot be said like that is left out, and why is said instead.
//! Every value is quoted as YAML needs it; what others wrote as free text stands in no
//! value and in no comment.

use crate::model::{
    Bytes, DesiredState, Device, DeviceKind, DeviceName, HypervisorName, Name, ObservedMachine,
    PowerState, inert, is_active,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Names of entries are no longer than this.
const NAME_BYTES_MAX: usize = 63;
/// Sizes that every storage can hold exactly; others would read as a difference.
const DISK_STEP: u64 = 4 * Bytes::MIB;

/// Entries, ready to be included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// The YAML; empty when there is no entry.
    pub text: String,
    /// How many machines have an entry in it.
    pub count: usize,
    /// What is not in it, and why, a line each.
    pub left_out: Vec<String>,
}

/// A network that an entry needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Plug {
    hypervisor: HypervisorName,
    bridge: String,
    vlan: Option<u16>,
}

struct Writer<'a> {
    desired: &'a DesiredState,
    /// Names of entries that are taken.
    keys: BTreeSet<String>,
    /// Native names that an entry has.
    names: BTreeSet<(HypervisorName, String)>,
    /// Names of networks that are taken, and those that are made here.
    networks: BTreeSet<String>,
    made: BTreeMap<Plug, String>,
    body: String,
    found: Entries,
}

/// Entries for machines, in the order given.
pub fn adopting_entries(
    desired: &DesiredState,
    machines: &[(&HypervisorName, &ObservedMachine)],
) -> Entries {
    let named = desired
        .machines
        .values()
        .filter_map(|it| Some((it.hypervisor.clone(), it.spec.name.clone()?)));
    let mut writer = Writer {
        desired,
        keys: desired.machines.keys().map(|key| key.name.to_string()).collect(),
        names: named.collect(),
        networks: desired.networks.keys().map(ToString::to_string).collect(),
        made: BTreeMap::new(),
        body: String::new(),
        found: Entries::default(),
    };
    for (hypervisor, machine) in machines {
        if let Err(why) = writer.entry(hypervisor, machine) {
            let line = format!("{hypervisor}/{}: {why}", inert(machine.id.as_str()));
            writer.found.left_out.push(line);
        }
    }
    let Writer { made, body, mut found, .. } = writer;
    if found.count > 0 {
        found.text = networks(&made);
        found.text.push_str("vms:\n");
        found.text.push_str(&body);
    }
    found
}

fn networks(made: &BTreeMap<Plug, String>) -> String {
    let mut text = String::new();
    if !made.is_empty() {
        text.push_str("networks:\n");
    }
    for (plug, name) in made {
        let vlan = plug.vlan.map_or_else(String::new, |tag| format!("vlan: {tag}, "));
        let (at, bridge) = (yaml(plug.hypervisor.as_str()), yaml(&plug.bridge));
        let _ =
            writeln!(text, "  {}: {{ {vlan}at: {{ {at}: {{ bridge: {bridge} }} }} }}", yaml(name));
    }
    text
}

impl Writer<'_> {
    fn entry(
        &mut self,
        hypervisor: &HypervisorName,
        machine: &ObservedMachine,
    ) -> Result<(), String> {
        let name = machine.settled().name.clone().ok_or("it has no name; give it one first")?;
        if !is_dns_name(&name) {
            return Err("its name cannot be written in an entry; rename it first".to_owned());
        }
        let disk = machine.devices.iter().find(|it| it.kind == DeviceKind::Disk);
        let boot = disk.ok_or("it has no disk that could be `boot`")?;
        if !self.names.insert((hypervisor.clone(), name.clone())) {
            return Err(format!(
                "another entry there has the name `{name}`; rename one of them first"
            ));
        }
        let key = free(&slug(&name, machine.id.as_str()), &mut self.keys);
        let (id, at) = (machine.id.as_str(), yaml(hypervisor.as_str()));
        let mut text = format!("  {}:\n    hypervisor: {at}\n", yaml(&key));
        let _ = writeln!(text, "    adopt: {}", yaml(&format!("{hypervisor}/{id}")));
        if key != name {
            let _ = writeln!(text, "    name: {}", yaml(&name));
        }
        text.push_str(&sizes(machine));
        text.push_str(&self.disks(hypervisor, machine, boot));
        text.push_str(&self.cards(hypervisor, machine));
        self.body.push_str(&text);
        self.found.count += 1;
        Ok(())
    }

    fn disks(
        &mut self,
        hypervisor: &HypervisorName,
        machine: &ObservedMachine,
        boot: &Device,
    ) -> String {
        let mut lines = vec![(DeviceName::BOOT.to_owned(), disk(boot, None))];
        let others = machine.devices.iter().filter(|it| it.kind == DeviceKind::Disk);
        for device in others.filter(|it| it.slot != boot.slot) {
            let place = slot_of(device.slot.as_str());
            match place.zip(device.size.filter(|it| it.0 > 0 && it.0.is_multiple_of(DISK_STEP))) {
                Some((place, _)) => {
                    lines.push((device.slot.to_string(), disk(device, Some(place))));
                }
                None => self.found.left_out.push(format!(
                    "{hypervisor}/{}: disk {} stays unmanaged: its size cannot be written",
                    inert(machine.id.as_str()),
                    inert(device.slot.as_str())
                )),
            }
        }
        let mut text = String::new();
        for (name, parts) in lines.into_iter().filter(|(_, parts)| !parts.is_empty()) {
            if text.is_empty() {
                text.push_str("    disks:\n");
            }
            let _ = writeln!(text, "      {}: {{ {} }}", yaml(&name), parts.join(", "));
        }
        text
    }

    fn cards(&mut self, hypervisor: &HypervisorName, machine: &ObservedMachine) -> String {
        let cards: Vec<&Device> =
            machine.devices.iter().filter(|it| it.kind == DeviceKind::Nic).collect();
        let mut text = String::new();
        for (index, card) in cards.iter().enumerate() {
            let bridge = card.network.as_deref().filter(|it| is_bridge(it));
            // Of several cards each needs to be told from the others.
            let mac = card.mac.filter(|mac| mac.0[0] & 1 == 0);
            let (Some(bridge), true) = (bridge, cards.len() == 1 || mac.is_some()) else {
                self.found.left_out.push(format!(
                    "{hypervisor}/{}: card {} stays unmanaged: it is plugged into nothing that can be written",
                    inert(machine.id.as_str()),
                    inert(card.slot.as_str())
                ));
                continue;
            };
            let network = self.network(hypervisor, bridge, card.vlan);
            let mut parts = vec![format!("network: {}", yaml(&network))];
            parts.extend(mac.filter(|_| cards.len() > 1).map(|mac| format!("mac: \"{mac}\"")));
            if text.is_empty() {
                text.push_str("    nics:\n");
            }
            let _ = writeln!(text, "      eth{index}: {{ {} }}", parts.join(", "));
        }
        text
    }

    /// A declared network that is just this, or one that is written beside the entries.
    fn network(&mut self, hypervisor: &HypervisorName, bridge: &str, vlan: Option<u16>) -> String {
        let declared = self.desired.networks.iter().find(|(_, it)| {
            it.vlan == vlan && it.at.get(hypervisor).is_some_and(|native| native == bridge)
        });
        if let Some((name, _)) = declared {
            return name.to_string();
        }
        let plug = Plug { hypervisor: hypervisor.clone(), bridge: bridge.to_owned(), vlan };
        if let Some(name) = self.made.get(&plug) {
            return name.clone();
        }
        let tag = vlan.map_or_else(String::new, |tag| format!("-{tag}"));
        let wish = slug(&format!("{hypervisor}-{bridge}{tag}"), "network");
        let name = free(&wish, &mut self.networks);
        self.made.insert(plug, name.clone());
        name
    }
}

/// Processors and memory, as far as what runs now is what will run: of two values an
/// entry could keep neither.
fn sizes(machine: &ObservedMachine) -> String {
    let (now, next) = (&machine.spec, machine.settled());
    let stopped = machine.power == PowerState::Stopped;
    let cpu = next.cpu.filter(|it| stopped || now.cpu == Some(*it));
    let memory = next.memory.filter(|it| stopped || now.memory == Some(*it));
    let memory = memory.filter(|it| *it >= Bytes::mib(16));
    let cpu = cpu.filter(|it| (1..=768).contains(it)).map(|it| format!("cpu: {it}"));
    let memory = memory.map(|it| format!("memory: {}", written(it)));
    let parts: Vec<String> = cpu.into_iter().chain(memory).collect();
    if parts.is_empty() {
        return String::new();
    }
    format!("    resources: {{ {} }}\n", parts.join(", "))
}

fn disk(device: &Device, place: Option<(&str, u8)>) -> Vec<String> {
    let size = device.size.filter(|it| it.0 > 0 && it.0.is_multiple_of(DISK_STEP));
    let storage = device.storage.as_ref().filter(|it| is_storage(it.as_str()));
    let size = size.map(|it| format!("size: {}", written(it)));
    let storage = storage.map(|it| format!("storage: {}", yaml(it.as_str())));
    let place = place.map(|(bus, index)| format!("bus: {bus}, slot: {index}"));
    size.into_iter().chain(storage).chain(place).collect()
}

/// A size as the YAML spells it: the largest unit that divides it.
fn written(size: Bytes) -> String {
    size.to_string().replace(' ', "")
}

/// Controller and place of a disk's slot.
fn slot_of(slot: &str) -> Option<(&str, u8)> {
    let at = slot.find(|it: char| it.is_ascii_digit())?;
    let (bus, index) = slot.split_at(at);
    let known = matches!(bus, "scsi" | "virtio" | "sata" | "ide");
    index.parse().ok().filter(|_| known).map(|index| (bus, index))
}

/// What a name becomes as the name of an entry.
fn slug(text: &str, otherwise: &str) -> String {
    let mut slug = String::new();
    for character in text.chars().flat_map(char::to_lowercase) {
        let fits = character.is_ascii_lowercase() || character.is_ascii_digit() || character == '.';
        match fits {
            true => slug.push(character),
            false if !slug.is_empty() && !slug.ends_with('-') => slug.push('-'),
            false => {}
        }
    }
    slug.truncate(NAME_BYTES_MAX);
    let slug = slug.trim_matches(['-', '.']);
    if !slug.is_empty() {
        return slug.to_owned();
    }
    let id: String = otherwise.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("vm-{}", id.to_ascii_lowercase()).trim_end_matches('-').to_owned()
}

/// The name, or the name with the first number that nobody has, which is taken then.
fn free(wish: &str, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2_u32..).map(|number| {
        let end = format!("-{number}");
        let room = NAME_BYTES_MAX - end.len();
        format!("{}{end}", wish.get(..room.min(wish.len())).unwrap_or(wish))
    });
    let mut all = std::iter::once(wish.to_owned()).chain(numbered);
    let name = all.find(|it| !taken.contains(it)).unwrap_or_else(|| wish.to_owned());
    taken.insert(name.clone());
    name
}

fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn is_storage(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (2..=100).contains(&text.len())
        && text.bytes().all(inner)
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.ends_with(|last: char| last.is_ascii_alphanumeric())
}

fn is_bridge(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=15).contains(&text.len())
        && text.bytes().all(inner)
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
}

/// Words that YAML tools of some age read as something else than text.
const RESERVED: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// A text as a YAML scalar on one line, in quotes where it could be read as anything
/// else.
pub fn yaml(text: &str) -> String {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    let plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(inner)
        && !RESERVED.contains(&text.to_ascii_lowercase().as_str());
    if plain {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            ' '..='~' => quoted.push(character),
            other if !is_active(other) && other.is_alphanumeric() => quoted.push(other),
            other => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(other));
            }
        }
    }
    quoted.push('"');
    quoted
}

/// The line that an entry needs for the machine that it is now.
pub fn adopting_line(key: &Name, hypervisor: &HypervisorName, id: &str) -> String {
    format!("  {}:\n    adopt: {}\n", yaml(key.as_str()), yaml(&format!("{hypervisor}/{id}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_reads_back_as_it_was(text in any::<String>()) {
            let document = format!("{{ a: {}, {}: b }}\n", yaml(&text), yaml(&format!("k{text}")));
            prop_assert_eq!(document.lines().count(), 1);
            let read: BTreeMap<String, String> = serde_yaml::from_str(&document).unwrap();
            prop_assert_eq!(read.get("a"), Some(&text));
            let key = format!("k{text}");
            prop_assert_eq!(read.get(&key).map(String::as_str), Some("b"));
            let shown = yaml(&text);
            prop_assert!(!shown.chars().any(is_active), "{}", shown);
        }

        #[test]
        fn a_slug_is_the_name_of_an_entry(text in any::<String>()) {
            let made = slug(&text, "101");
            let edge = |it: Option<&u8>| it.is_some_and(|it| it.is_ascii_lowercase() || it.is_ascii_digit());
            let bytes = made.as_bytes();
            prop_assert!((1..=NAME_BYTES_MAX).contains(&bytes.len()));
            prop_assert!(edge(bytes.first()) && edge(bytes.last()), "{}", made);
            prop_assert!(bytes.iter().all(|it| edge(Some(it)) || b".-".contains(it)), "{}", made);
        }
    }

    #[test]
    fn words_that_could_be_read_otherwise_are_quoted() {
        for text in ["on", "Yes", "123", "1e5", "0x10", "", "~", "null", "a: b", "# no", "- x", "N"]
        {
            assert!(yaml(text).starts_with('"'), "{text}");
        }
        assert_eq!(yaml("web-1.example"), "web-1.example");
        assert_eq!(yaml("pve-paris/106"), "pve-paris/106");
    }

    #[test]
    fn names_that_are_taken_get_a_number() {
        let mut taken: BTreeSet<String> = ["web".to_owned(), "web-2".to_owned()].into();
        assert_eq!(free("web", &mut taken), "web-3");
        assert_eq!(free("web", &mut taken), "web-4");
        let long = "x".repeat(NAME_BYTES_MAX);
        assert_eq!(free(&long, &mut taken), long);
        assert_eq!(free(&long, &mut taken).len(), NAME_BYTES_MAX);
        assert_eq!(slug("Old Print_Server", "102"), "old-print-server");
        assert_eq!(slug("---", "102"), "vm-102");
    }
}

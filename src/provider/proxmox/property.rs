//! The little languages inside Proxmox option values: property strings, sizes,
//! tags, boot orders, addresses, keys.
//!
//! Inputs and outputs are texts and small values. What a value means for a machine
//! is decided in `translate` and `call`. Facts are from pve-common `JSONSchema.pm`
//! and qemu-server `QemuServer.pm`.

use crate::model::{Bytes, IpSetting, MacAddress};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::{collections::BTreeSet, fmt, net::IpAddr};

/// A property string: an optional leading value without a key, then `key=value`
/// pairs in the order in which they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Property {
    /// The value that stands for the default key: a disk's volume, `1` of `agent`.
    pub first: Option<String>,
    /// The other parts.
    pub rest: Vec<(String, String)>,
}

/// A text that is no property string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a list of `key=value` parts")]
pub struct NotAProperty(pub String);

impl Property {
    /// Reads a property string.
    ///
    /// # Errors
    /// When two parts have no key, a key is written twice, or a key is empty.
    pub fn parse(text: &str) -> Result<Self, NotAProperty> {
        let wrong = || NotAProperty(text.to_owned());
        let mut property = Self::default();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            match part.split_once('=') {
                None if property.first.is_none() => property.first = Some(part.to_owned()),
                None | Some(("", _)) => return Err(wrong()),
                Some((key, _)) if property.get(key).is_some() => return Err(wrong()),
                Some((key, value)) => property.rest.push((key.to_owned(), value.to_owned())),
            }
        }
        Ok(property)
    }

    /// Reads what a server stored; a text that cannot be read has no parts. The
    /// server checks every value when it is written, so this is a matter of newer
    /// versions, and an unknown device is better than no inventory.
    pub fn lenient(text: &str) -> Self {
        Self::parse(text).unwrap_or_default()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.rest.iter().find(|(at, _)| at == key).map(|(_, value)| value.as_str())
    }

    /// The leading value, or that of the key it stands for.
    pub fn first_or(&self, key: &str) -> Option<&str> {
        self.first.as_deref().or_else(|| self.get(key))
    }

    /// Whether a key is set to a true value.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(is_true)
    }

    /// Sets a key in its place, or at the end.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        let value = value.into();
        match self.rest.iter_mut().find(|(at, _)| at == key) {
            Some((_, old)) => *old = value,
            None => self.rest.push((key.to_owned(), value)),
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        self.rest.retain(|(at, _)| at != key);
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.first.is_none() && self.rest.is_empty()
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(first) = &self.first {
            f.write_str(first)?;
            separator = ",";
        }
        for (key, value) in &self.rest {
            write!(f, "{separator}{key}={value}")?;
            separator = ",";
        }
        Ok(())
    }
}

/// Whether a stored boolean is true. The server accepts these spellings.
pub fn is_true(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "1" | "on" | "yes" | "true")
}

/// Reads a size: `32G`, `1.5T`, `528K`; without a unit, bytes.
pub fn parse_size(text: &str) -> Option<Bytes> {
    let text = text.trim();
    let (number, shift) = match text.char_indices().last()? {
        (at, 'K') => (&text[..at], 10),
        (at, 'M') => (&text[..at], 20),
        (at, 'G') => (&text[..at], 30),
        (at, 'T') => (&text[..at], 40),
        _ => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let unit = 1_u64 << shift;
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    // Twelve places are more than the server prints; the rest is below a byte.
    let places = u32::try_from(fraction.len().min(12)).ok()?;
    let part = match places {
        0 => 0,
        places => {
            let digits = fraction.get(..places as usize)?.parse::<u128>().ok()?;
            u64::try_from(digits * u128::from(unit) / 10_u128.pow(places)).ok()?
        }
    };
    whole.checked_add(part).map(Bytes)
}

/// Prints a size as the server does: in the largest unit that divides it exactly.
pub fn print_size(size: Bytes) -> String {
    let units = [(1_u64 << 40, 'T'), (1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];
    match units.iter().find(|(unit, _)| size.0 != 0 && size.0.is_multiple_of(*unit)) {
        Some((unit, letter)) => format!("{}{letter}", size.0 / unit),
        None => size.0.to_string(),
    }
}

/// A size as the bare number of GiB that allocates a new disk, exact to the MiB.
pub fn print_gib(size: Bytes) -> String {
    let (whole, rest) = (size.0 / Bytes::GIB, size.0 % Bytes::GIB);
    if rest == 0 {
        return whole.to_string();
    }
    // 1/1024 has ten decimals, so this is exact for whole MiB.
    let decimals = u128::from(rest / Bytes::MIB) * 10_u128.pow(10) / 1024;
    format!("{whole}.{decimals:010}").trim_end_matches('0').to_owned()
}

/// Tags as a set. The server separates them by `;`, and takes `,` and blanks too;
/// case does not count unless a cluster says so, so they are compared in lower case.
pub fn parse_tags(text: &str) -> BTreeSet<String> {
    text.split([';', ',', ' ', '\t', '\n'])
        .filter(|tag| !tag.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Tags in the one spelling that every version stores unchanged.
pub fn print_tags(tags: &BTreeSet<String>) -> String {
    let lower: BTreeSet<String> = tags.iter().map(|tag| tag.to_lowercase()).collect();
    lower.into_iter().collect::<Vec<_>>().join(";")
}

/// What the server's format `urlencoded` leaves unencoded.
const SSH_KEYS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// Public keys as the once-encoded text that the option holds. The form layer
/// encodes it again on the wire.
pub fn encode_ssh_keys(keys: &[String]) -> String {
    utf8_percent_encode(&keys.join("\n"), SSH_KEYS).to_string()
}

/// Public keys, one per line, blanks at the ends removed.
pub fn decode_ssh_keys(text: &str) -> Vec<String> {
    percent_decode_str(text)
        .decode_utf8_lossy()
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The slots of a boot order; `None` for the legacy form (`cdn`) and for none.
pub fn parse_boot(text: &str) -> Option<Vec<String>> {
    let property = Property::parse(text).ok()?;
    let order = property.get("order")?;
    Some(order.split(';').filter(|slot| !slot.is_empty()).map(str::to_owned).collect())
}

/// A boot order.
pub fn print_boot<S: AsRef<str>>(slots: &[S]) -> String {
    let slots: Vec<&str> = slots.iter().map(AsRef::as_ref).collect();
    format!("order={}", slots.join(";"))
}

/// Place in the start order, and seconds to wait after the start.
pub fn parse_startup(text: &str) -> (Option<u32>, Option<u32>) {
    let property = Property::lenient(text);
    let number = |value: Option<&str>| value.and_then(|value| value.parse().ok());
    (number(property.first_or("order")), number(property.get("up")))
}

/// A start order that keeps what it does not know of the old one (`down`).
pub fn merge_startup(old: &str, order: Option<u32>, wait_s: Option<u32>) -> Property {
    let old = Property::lenient(old);
    let mut merged = Property::default();
    if let Some(order) = order {
        merged.set("order", order.to_string());
    }
    if let Some(wait) = wait_s {
        merged.set("up", wait.to_string());
    }
    for (key, value) in &old.rest {
        if key != "order" && key != "up" {
            merged.set(key, value.clone());
        }
    }
    merged
}

/// How a card gets its address, and its gateway. IPv4 counts first; a static IPv6
/// address counts when there is no IPv4 setting.
pub fn parse_ipconfig(text: &str) -> (IpSetting, Option<IpAddr>) {
    let property = Property::lenient(text);
    let read = |ip: &str, gateway: &str| {
        let setting = match property.get(ip)? {
            "dhcp" => IpSetting::Dhcp,
            text => {
                let (address, prefix) = text.split_once('/')?;
                let (address, prefix) = (address.parse().ok()?, prefix.parse().ok()?);
                IpSetting::Static { address, prefix }
            }
        };
        Some((setting, property.get(gateway).and_then(|text| text.parse().ok())))
    };
    read("ip", "gw")
        .or_else(|| read("ip6", "gw6").filter(|(it, _)| matches!(it, IpSetting::Static { .. })))
        .unwrap_or((IpSetting::None, None))
}

/// An address setting that keeps the other address family of the old one.
pub fn merge_ipconfig(old: &str, ip: IpSetting, gateway: Option<IpAddr>) -> Property {
    let mut merged = Property::lenient(old);
    let v6 = match ip {
        IpSetting::Static { address, .. } => address.is_ipv6(),
        IpSetting::Dhcp | IpSetting::None => {
            // A static IPv6 address would otherwise go on counting as the setting.
            let (old_ip, _) = parse_ipconfig(old);
            if matches!(old_ip, IpSetting::Static { address, .. } if address.is_ipv6()) {
                merged.remove("ip6");
                merged.remove("gw6");
            }
            false
        }
    };
    // IPv4 is read first, so it must go when the setting is an IPv6 address.
    merged.remove("ip");
    merged.remove("gw");
    let (ip_key, gateway_key) = if v6 { ("ip6", "gw6") } else { ("ip", "gw") };
    merged.remove(ip_key);
    merged.remove(gateway_key);
    if ip != IpSetting::None {
        merged.set(ip_key, ip.to_string());
        if let Some(gateway) = gateway {
            merged.set(gateway_key, gateway.to_string());
        }
    }
    merged
}

/// Emulated cards, as keys of a net string that hold the hardware address.
const MODELS: [&str; 14] = [
    "virtio",
    "e1000",
    "e1000-82540em",
    "e1000-82544gc",
    "e1000-82545em",
    "e1000e",
    "i82551",
    "i82557b",
    "i82559er",
    "ne2k_isa",
    "ne2k_pci",
    "pcnet",
    "rtl8139",
    "vmxnet3",
];

/// The card and the hardware address of a net string, in either spelling
/// (`virtio=MAC` or `model=virtio,macaddr=MAC`).
pub fn net_card(net: &Property) -> (Option<&str>, Option<MacAddress>) {
    if let Some(model) = net.first_or("model") {
        return (Some(model), net.get("macaddr").and_then(|mac| mac.parse().ok()));
    }
    let card = net.rest.iter().find(|(key, _)| MODELS.contains(&key.as_str()));
    match card {
        Some((model, mac)) => (Some(model), mac.parse().ok()),
        None => (None, None),
    }
}

/// A card under its plain name: the server has two names for the E1000.
pub fn plain_model(model: &str) -> &str {
    if model == "e1000-82540em" { "e1000" } else { model }
}

/// A net string with another card, everything else kept.
pub fn set_net_card(net: &mut Property, model: &str, mac: Option<MacAddress>) {
    net.first = None;
    net.rest
        .retain(|(key, _)| key != "model" && key != "macaddr" && !MODELS.contains(&key.as_str()));
    let card = match mac {
        Some(mac) => (model.to_owned(), mac.to_string()),
        // Without an address the server draws one.
        None => ("model".to_owned(), model.to_owned()),
    };
    net.rest.insert(0, card);
}

/// The storage of a volume name; absolute paths and empty drives have none.
pub fn storage_of(volume: &str) -> Option<&str> {
    let (storage, name) = volume.split_once(':')?;
    (!storage.is_empty() && !storage.contains('/') && !name.is_empty()).then_some(storage)
}

/// Whether a volume is a generated first-boot drive, as `drive_is_cloudinit` tells.
pub fn is_seed_volume(volume: &str) -> bool {
    let Some(at) = volume.rfind([':', '/']) else { return false };
    let mut name = &volume[at + 1..];
    for format in [".raw", ".qcow2", ".qed", ".vmdk", ".cloop", ".cow", ".subvol"] {
        name = name.strip_suffix(format).unwrap_or(name);
    }
    match name.strip_suffix("cloudinit") {
        Some("") => true,
        Some(owner) => owner
            .strip_prefix("vm-")
            .and_then(|rest| rest.strip_suffix('-'))
            .is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())),
        None => false,
    }
}

/// A device key as bus and index: `scsi12` is (`scsi`, 12).
pub fn split_slot(slot: &str) -> Option<(&str, u16)> {
    let at = slot.find(|letter: char| letter.is_ascii_digit())?;
    let index = slot[at..].parse().ok()?;
    // `scsi01` is no key of the product's.
    (at > 0 && format!("{}{index}", &slot[..at]) == slot).then_some((&slot[..at], index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_disk_string_reads_back_as_written() {
        let text = "local-lvm:vm-100-disk-0,discard=on,iothread=1,size=32G,ssd=1";
        let disk = Property::parse(text).unwrap();
        assert_eq!(disk.first.as_deref(), Some("local-lvm:vm-100-disk-0"));
        assert_eq!(disk.get("size"), Some("32G"));
        assert!(disk.flag("discard") && disk.flag("ssd") && !disk.flag("ro"));
        assert_eq!(disk.to_string(), text);
    }

    #[test]
    fn a_text_with_two_bare_parts_or_a_double_key_is_refused() {
        for text in ["a,b", "a=1,a=2", "=x"] {
            assert!(Property::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_printed_as_the_server_prints_them() {
        // [run] examples of the reference.
        let cases = [("1024M", "1G"), ("1.5G", "1536M"), ("1025M", "1025M"), ("32768M", "32G")];
        for (written, printed) in cases {
            assert_eq!(print_size(parse_size(written).unwrap()), printed);
        }
        assert_eq!(parse_size("528K"), Some(Bytes(528 * 1024)));
        assert_eq!(parse_size("4194304"), Some(Bytes::mib(4)));
        for text in ["", "G", "12GB", "-1G", "1.2.3G", "x"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn an_allocation_is_a_bare_number_of_gib() {
        assert_eq!(print_gib(Bytes::gib(32)), "32");
        assert_eq!(print_gib(Bytes::mib(1536)), "1.5");
        assert_eq!(print_gib(Bytes::mib(4)), "0.00390625");
    }

    #[test]
    fn tags_are_compared_as_sets_and_written_in_one_spelling() {
        // [run] examples of the reference.
        assert_eq!(print_tags(&parse_tags("Web;nova;alpha")), "alpha;nova;web");
        assert_eq!(print_tags(&parse_tags("b, a  B;a")), "a;b");
    }

    #[test]
    fn keys_are_encoded_once_in_the_alphabet_of_the_option() {
        let keys = ["ssh-ed25519 AAAA+/= me@host".to_owned(), "ssh-rsa B".to_owned()];
        let text = encode_ssh_keys(&keys);
        assert_eq!(text, "ssh-ed25519%20AAAA%2B%2F%3D%20me%40host%0Assh-rsa%20B");
        assert_eq!(decode_ssh_keys(&text), keys);
        assert_eq!(
            decode_ssh_keys("ssh-ed25519%20AAAA%20me%40host%0A"),
            ["ssh-ed25519 AAAA me@host"]
        );
    }

    #[test]
    fn the_form_layer_encodes_keys_a_second_time() {
        // [run] example of the reference, without its final newline.
        let once = encode_ssh_keys(&["ssh-ed25519 AAAA me@host".to_owned()]);
        let wire = utf8_percent_encode(&once, SSH_KEYS).to_string();
        assert_eq!(wire, "ssh-ed25519%2520AAAA%2520me%2540host");
    }

    #[test]
    fn what_was_sent_and_what_the_server_prints_mean_the_same_disk() {
        // [run] example of the reference.
        let sent = "local-lvm:vm-100-disk-0,ssd=1,iothread=on,discard=on,size=32768M";
        let printed = "local-lvm:vm-100-disk-0,discard=on,iothread=1,size=32G,ssd=1";
        let facts = |text: &str| {
            let disk = Property::parse(text).unwrap();
            let flags = ["ssd", "iothread", "discard"].map(|key| disk.flag(key));
            (disk.first.clone(), flags, disk.get("size").and_then(parse_size))
        };
        assert_eq!(facts(sent), facts(printed));
    }

    #[test]
    fn both_spellings_of_a_net_string_mean_the_same_card() {
        let mac: MacAddress = "BC:24:11:AA:BB:CC".parse().unwrap();
        for text in [
            "virtio=bc:24:11:aa:bb:cc,bridge=vmbr0",
            "model=virtio,bridge=vmbr0,macaddr=bc:24:11:aa:bb:cc",
        ] {
            assert_eq!(net_card(&Property::lenient(text)), (Some("virtio"), Some(mac)));
        }
        let mut net = Property::lenient("virtio=BC:24:11:AA:BB:CC,bridge=vmbr0,firewall=1");
        set_net_card(&mut net, "e1000", Some(mac));
        assert_eq!(net.to_string(), "e1000=BC:24:11:AA:BB:CC,bridge=vmbr0,firewall=1");
    }

    #[test]
    fn an_address_setting_keeps_the_other_family() {
        let merged = |old: &str, ip: &str, gateway: Option<&str>| {
            let (ip, _) = parse_ipconfig(ip);
            merge_ipconfig(old, ip, gateway.map(|text| text.parse().unwrap())).to_string()
        };
        let v4 = "ip=10.0.0.5/24,gw=10.0.0.1";
        assert_eq!(merged("ip=dhcp,ip6=auto", v4, Some("10.0.0.1")), format!("ip6=auto,{v4}"));
        assert_eq!(merged(v4, "", None), "");
        assert_eq!(merged(v4, "ip6=fd00::5/64", Some("fd00::1")), "ip6=fd00::5/64,gw6=fd00::1");
        assert_eq!(merged("ip6=fd00::5/64,gw6=fd00::1", "ip=dhcp", None), "ip=dhcp");
    }

    #[test]
    fn the_legacy_boot_order_names_no_slots() {
        assert_eq!(parse_boot("cdn"), None);
        assert_eq!(parse_boot("order=scsi0;net0"), Some(vec!["scsi0".into(), "net0".into()]));
        assert_eq!(print_boot(&["scsi0", "ide2"]), "order=scsi0;ide2");
    }

    #[test]
    fn a_start_order_keeps_the_shutdown_delay() {
        assert_eq!(parse_startup("2"), (Some(2), None));
        assert_eq!(parse_startup("order=2,up=30,down=60"), (Some(2), Some(30)));
        let merged = merge_startup("order=2,up=30,down=60", Some(5), None);
        assert_eq!(merged.to_string(), "order=5,down=60");
    }

    #[test]
    fn generated_drives_are_told_from_disks() {
        for volume in ["a:vm-9-cloudinit", "a:9/vm-9-cloudinit.qcow2", "a:cloudinit"] {
            assert!(is_seed_volume(volume), "{volume}");
        }
        for volume in ["a:vm-9-disk-0", "a:iso/cloudinit.iso", "none", "a:vm-x-cloudinit"] {
            assert!(!is_seed_volume(volume), "{volume}");
        }
    }

    proptest! {
        #[test]
        fn every_property_string_reads_back(
            first in proptest::option::of("[a-z0-9:/._-]{1,12}"),
            rest in proptest::collection::btree_map("[a-z0-9_-]{1,8}", "[A-Za-z0-9:;/._=-]{0,10}", 0..6),
        ) {
            let property = Property { first, rest: rest.into_iter().collect() };
            prop_assert_eq!(Property::parse(&property.to_string()), Ok(property));
        }

        #[test]
        fn every_size_reads_back(kib in 0_u64..(1 << 40)) {
            let size = Bytes(kib << 10);
            prop_assert_eq!(parse_size(&print_size(size)), Some(size));
        }

        #[test]
        fn every_allocation_is_exact_to_the_mib(mib in 1_u64..(1 << 24)) {
            let text = format!("{}G", print_gib(Bytes::mib(mib)));
            prop_assert_eq!(parse_size(&text), Some(Bytes::mib(mib)));
        }

        #[test]
        fn keys_survive_any_letter(keys in proptest::collection::vec("[!-~]([ -~]{0,30}[!-~])?", 0..4)) {
            prop_assert_eq!(decode_ssh_keys(&encode_ssh_keys(&keys)), keys);
        }

        #[test]
        fn tags_keep_their_set(tags in proptest::collection::btree_set("[a-z0-9_][a-z0-9_.+-]{0,8}", 0..6)) {
            prop_assert_eq!(parse_tags(&print_tags(&tags)), tags);
        }
    }
}

//! Single words and lines of the language: what each may look like, said once for
//! the reader and once as a pattern for the schema.

use crate::config::decode::{Cx, Decode, Defs, Keyed, Lenient};
use crate::config::diagnostic::Diagnostic;
use crate::config::scalar::{IPV4_PATTERN, IpRange, NAME_PATTERN, Name, ScalarError};
use crate::config::yaml::{Node, Value};
use crate::model::{BootDevice, Bus, Firmware, GrantRole, GuestOs, NicModel, OnRemove, Power};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Words of the model, as the YAML spells them.
macro_rules! words {
    ($( $(#[doc = $doc:literal])* $ty:ty { $($word:literal => $value:expr),+ $(,)? } later [$($later:literal),*]; )*) => { $(
        impl Decode for $ty {
            fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
                const WORDS: &[&str] = &[$($word),+];
                let text = cx.text(node, concat!("one of" $(, " `", $word, "`")+))?;
                match text {
                    $( $word => Some($value), )+
                    _ => {
                        cx.unknown_word(node, text, WORDS, &[$($later),*]);
                        None
                    }
                }
            }

            fn schema(defs: &mut Defs) -> Json {
                defs.or_member(json!({ "type": "string", "enum": [$($word),+] }))
            }
        }
    )* };
}

words! {
    Firmware { "bios" => Self::Bios, "uefi" => Self::Uefi, "secure-boot" => Self::SecureBoot } later [];
    GrantRole { "viewer" => Self::Viewer, "operator" => Self::Operator, "admin" => Self::Admin } later [];
    GuestOs { "linux" => Self::Linux, "windows" => Self::Windows, "bsd" => Self::Bsd, "other" => Self::Other } later [];
    Bus { "scsi" => Self::Scsi, "virtio" => Self::Virtio, "sata" => Self::Sata, "ide" => Self::Ide } later [];
    NicModel { "virtio" => Self::Virtio, "e1000" => Self::E1000, "vmxnet3" => Self::Vmxnet3, "rtl8139" => Self::Rtl8139 } later [];
    OnRemove { "detach" => Self::Detach, "delete" => Self::Delete } later [];
    Power { "running" => Self::Running, "stopped" => Self::Stopped, "once" => Self::Once } later [];
    BootDevice { "disk" => Self::Disk, "cdrom" => Self::Cdrom, "network" => Self::Network } later [];
}

/// Texts with a rule. The rule is a function, since machines have many of them and a
/// pattern is slower; the schema tests hold both to the same verdicts.
macro_rules! checked {
    ($( $(#[doc = $doc:literal])* $name:ident = $check:path, $pattern:literal, $rule:literal; )*) => { $(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub Arc<str>);

        impl Decode for $name {
            fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
                let text = cx.text(node, $rule)?;
                if $check(text) {
                    return Some(Self(Arc::from(text)));
                }
                let shown: String = text.chars().take(80).collect();
                let message = format!("`{shown}` cannot stand here");
                cx.invalid(node, ScalarError::new(message, concat!("expected ", $rule)));
                None
            }

            fn schema(defs: &mut Defs) -> Json {
                defs.text($pattern)
            }
        }
    )* };
}

checked! {
    /// A node of a cluster.
    NodeText = is_label, "^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$", "the name of a node";
    /// What the neutral node is on each product: a node of Proxmox VE, a cluster of a vCenter.
    NodeOrCluster = is_inventory_name, "^[^ /\\u0000-\\u001F\\u007F](?:[^/\\u0000-\\u001F\\u007F]{0,78}[^ /\\u0000-\\u001F\\u007F])?$",
        "the name of a node, or of a cluster of a vCenter";
    /// A storage.
    StorageText = is_storage, "^[A-Za-z][A-Za-z0-9._-]{0,98}[A-Za-z0-9]$", "the name of a storage, such as `local-lvm`";
    /// Where a disk lies on each product: a storage of Proxmox VE, a datastore of a vCenter.
    StorageOrDatastore = is_storage_or_datastore, "^[^ /\\u0000-\\u001F\\u007F](?:[^/\\u0000-\\u001F\\u007F]{0,98}[^ /\\u0000-\\u001F\\u007F])?$",
        "the name of a storage, or of a datastore of a vCenter";
    /// A host name without domain.
    HostText = is_label, "^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$",
        "a host name without domain: up to 63 letters, digits and `-`";
    /// A user of a guest.
    GuestUser = is_user, "^[A-Za-z_][A-Za-z0-9_.-]{0,31}$", "a user name such as `deploy`";
    /// A tag on a hypervisor.
    TagText = is_tag, "^[a-z0-9_][a-z0-9_.+-]{0,62}$", "a tag: small letters, digits, `_`, `-`, `.` and `+`";
    /// The value of a label.
    LabelText = is_label_value, "^[A-Za-z0-9](?:[A-Za-z0-9_.+ -]{0,61}[A-Za-z0-9])?$", "the value of a label: up to 63 letters, digits, `_`, `-`, `.`, `+` and blanks, a letter or digit first and last";
    /// An ISO image as its product names it: a volume of Proxmox VE, a file in a datastore of a vCenter.
    IsoVolume = is_iso, "^(?:[A-Za-z][A-Za-z0-9._-]*:iso/[^/\\s\\u0000-\\u001F\\u007F]+|\\[[^\\[\\]/\\u0000-\\u001F\\u007F]{1,80}\\] [^ \\u0000-\\u001F\\u007F][^\\u0000-\\u001F\\u007F]*)$",
        "an ISO image, such as `local:iso/debian.iso`, or on a vCenter `[DATASTORE] iso/debian.iso`";
    /// A machine that exists: its hypervisor and its id there.
    AdoptText = is_machine, "^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?/[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$",
        "a hypervisor and an id there, such as `pve-paris/106`";
    /// A public key, or `file:PATH`.
    KeyText = is_key_or_file, "^(?:file:[^\\u0000-\\u001F\\u007F]+|(?:ssh|ecdsa|sk)-[a-z0-9@.-]+ +[A-Za-z0-9+/]+={0,3}(?: [^\\u0000-\\u001F\\u007F]*)?)$",
        "one line of a public key file, or `file:PATH` relative to this file";
}

/// The version of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version;

impl Decode for Version {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let error = match &node.value {
            Value::Int(1) => return Some(Self),
            Value::Int(other) => {
                format!("this program does not know version {other} of the language")
            }
            Value::Null
            | Value::Bool(_)
            | Value::Float(_)
            | Value::Str(_)
            | Value::Seq(_)
            | Value::Map(_)
            | Value::Invalid => {
                cx.wrong_type(node, "the number 1");
                return None;
            }
        };
        cx.invalid(node, ScalarError::new(error, "write `version: 1`, or use a newer novahost"));
        None
    }

    fn schema(_: &mut Defs) -> Json {
        json!({ "const": 1 })
    }
}

/// A reference to an entry of another section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference(pub Arc<str>);

impl Decode for Reference {
    // Whether it names something is decided where the section is known: a name that breaks the
    // rule for names exists nowhere, and the nearest real one is the better message.
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        Arc::<str>::decode(node, cx).map(Self)
    }

    fn schema(defs: &mut Defs) -> Json {
        defs.text(NAME_PATTERN)
    }
}

fn all(text: &str, fine: impl Fn(u8) -> bool) -> bool {
    text.bytes().all(fine)
}

/// A DNS label, in any case.
pub fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && all(text, |byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A storage of Proxmox VE.
pub fn is_storage(text: &str) -> bool {
    (2..=100).contains(&text.len())
        && all(text, |byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.ends_with(|last: char| last.is_ascii_alphanumeric())
}

fn is_user(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && all(text, |byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

fn is_tag(text: &str) -> bool {
    let inner =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.+-".contains(&byte);
    (1..=63).contains(&text.len()) && all(text, inner) && !text.starts_with(['.', '+', '-'])
}

/// The value of a label.
fn is_label_value(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+- ".contains(&byte);
    let ends = |byte: Option<u8>| byte.is_some_and(|it| it.is_ascii_alphanumeric());
    let bytes = || text.bytes();
    (1..=63).contains(&text.len())
        && all(text, inner)
        && ends(bytes().next())
        && ends(bytes().next_back())
}

/// What vCenter shows as the name of something; a `/` in it would be shown escaped.
pub fn is_inventory_name(text: &str) -> bool {
    let fine = |any: char| any != '/' && !any.is_ascii_control();
    (1..=80).contains(&text.chars().count())
        && text.chars().all(fine)
        && !text.starts_with(' ')
        && !text.ends_with(' ')
}

fn is_storage_or_datastore(text: &str) -> bool {
    is_storage(text) || is_inventory_name(text)
}

fn is_iso(text: &str) -> bool {
    is_iso_volume(text) || is_iso_file(text)
}

/// An ISO image of Proxmox VE.
pub fn is_iso_volume(text: &str) -> bool {
    let Some((storage, file)) = text.split_once(":iso/") else { return false };
    storage.starts_with(|first: char| first.is_ascii_alphabetic())
        && all(storage, |byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !file.is_empty()
        && !file.contains(|any: char| any == '/' || any.is_whitespace() || any.is_ascii_control())
}

/// An ISO image of a vCenter.
pub fn is_iso_file(text: &str) -> bool {
    let inside = text.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    let Some((datastore, file)) = inside else { return false };
    let name = |any: char| !"[]/".contains(any) && !any.is_ascii_control();
    (1..=80).contains(&datastore.chars().count())
        && datastore.chars().all(name)
        && !file.is_empty()
        && !file.starts_with(' ')
        && !file.contains(|any: char| any.is_ascii_control())
}

fn is_machine(text: &str) -> bool {
    let Some((hypervisor, id)) = text.split_once('/') else { return false };
    let name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends =
        |text: &str| text.bytes().next().is_some_and(name) && text.bytes().last().is_some_and(name);
    (1..=63).contains(&hypervisor.len())
        && all(hypervisor, |byte| name(byte) || b".-".contains(&byte))
        && ends(hypervisor)
        && (1..=100).contains(&id.len())
        && id.starts_with(|first: char| first.is_ascii_alphanumeric())
        && all(id, |byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
}

impl AdoptText {
    /// Hypervisor and id.
    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or((&self.0, ""))
    }
}

fn is_key_or_file(text: &str) -> bool {
    match text.strip_prefix("file:") {
        // Where it may lead is decided where the root is known.
        Some(path) => !path.is_empty() && !path.contains(|any: char| any.is_ascii_control()),
        None => is_public_key(text),
    }
}

/// Whether a line is a public key in OpenSSH's form, without options before it.
pub fn is_public_key(line: &str) -> bool {
    let Some((kind, rest)) = line.split_once(' ') else { return false };
    let known = ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| {
        kind.strip_prefix(prefix).is_some_and(|rest| {
            !rest.is_empty()
                && all(rest, |byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"@.-".contains(&byte)
                })
        })
    });
    let rest = rest.trim_start_matches(' ');
    let (data, comment) = rest.split_once(' ').unwrap_or((rest, ""));
    let bare = data.trim_end_matches('=');
    known
        && !bare.is_empty()
        && data.len() - bare.len() <= 3
        && all(bare, |byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
        && !comment.contains(|any: char| any.is_ascii_control())
}

/// What is in a CD drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CdromText {
    /// Nothing.
    None,
    /// An ISO image.
    Iso(Arc<str>),
}

impl Decode for CdromText {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match node.as_str() {
            Some("none") => Some(Self::None),
            _ => IsoVolume::decode(node, cx).map(|iso| Self::Iso(iso.0)),
        }
    }

    fn schema(defs: &mut Defs) -> Json {
        json!({ "anyOf": [{ "const": "none" }, IsoVolume::schema(defs)] })
    }
}

/// How a card gets its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressText {
    /// By DHCP.
    Dhcp,
    /// Not at all.
    None,
    /// A written address; the prefix length is the network's unless written.
    Address {
        /// The address.
        address: Ipv4Addr,
        /// Prefix length.
        prefix: Option<u8>,
    },
    /// One for each member of the entry.
    Range(IpRange),
}

impl Decode for AddressText {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        const EXPECTED: &str = "an address, `dhcp` or `none`";
        let text = cx.text(node, EXPECTED)?;
        match text {
            "dhcp" => return Some(Self::Dhcp),
            "none" => return Some(Self::None),
            "auto" => {
                let message = "`auto` is not supported yet in this version";
                let help = "write the address, a range for all members, or `dhcp`";
                cx.push(Diagnostic::error("not-supported-yet", node.span, message).help(help));
                return None;
            }
            _ => {}
        }
        if let Ok(address) = text.parse() {
            return Some(Self::Address { address, prefix: None });
        }
        if let Some((address, prefix)) = text.split_once('/')
            && let (Ok(address), Ok(prefix)) = (address.parse(), prefix.parse::<u8>())
            && prefix <= 32
            && prefix.to_string().len() == text.len() - text.find('/').unwrap_or(0) - 1
        {
            return Some(Self::Address { address, prefix: Some(prefix) });
        }
        let six = text
            .split(['/', '-'])
            .all(|part| part.parse::<IpAddr>().is_ok() || !part.contains(':'));
        let error = if text.contains(':') && six {
            ScalarError::new(
                "`ip` is for IPv4",
                "IPv6 addresses are not supported yet in this version",
            )
        } else if text.contains('-') {
            match text.parse::<IpRange>() {
                Ok(range) => return Some(Self::Range(range)),
                Err(error) => error,
            }
        } else {
            let shown: String = text.chars().take(80).collect();
            let help = "write it as `10.20.0.71`, or `dhcp`, or `none`";
            ScalarError::new(format!("expected {EXPECTED}, found `{shown}`"), help)
        };
        cx.invalid(node, error);
        None
    }

    fn schema(defs: &mut Defs) -> Json {
        let address = IPV4_PATTERN.trim_start_matches('^').trim_end_matches('$');
        let pattern = format!(
            "^(?:dhcp|none|{address}(?:/(?:[0-9]|[12][0-9]|3[0-2]))?|{address}-{address})$"
        );
        defs.text(&pattern)
    }
}

/// The default gateway of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayText {
    /// None through this card.
    None,
    /// This one.
    Address(Ipv4Addr),
}

impl Decode for GatewayText {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match node.as_str() {
            Some("none") => Some(Self::None),
            _ => Ipv4Addr::decode(node, cx).map(Self::Address),
        }
    }

    fn schema(defs: &mut Defs) -> Json {
        json!({ "anyOf": [{ "const": "none" }, Ipv4Addr::schema(defs)] })
    }
}

/// One address, or `first-last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressOrRange(pub IpRange);

impl Decode for AddressOrRange {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, "an address or a range of addresses")?;
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            let address = IpAddr::V4(address);
            return Some(Self(IpRange { first: address, last: address }));
        }
        match text.parse::<IpRange>() {
            Ok(range) if range.first.is_ipv4() => Some(Self(range)),
            Ok(_) => {
                let help = "IPv6 addresses are not supported yet in this version";
                cx.invalid(node, ScalarError::new("`reserved` is for IPv4", help));
                None
            }
            Err(_) if !text.contains('-') => {
                cx.invalid(
                    node,
                    ScalarError::new(
                        format!("expected an address, found `{text}`"),
                        "write it as `10.20.0.71`",
                    ),
                );
                None
            }
            Err(error) => {
                cx.invalid(node, error);
                None
            }
        }
    }

    fn schema(defs: &mut Defs) -> Json {
        let address = IPV4_PATTERN.trim_start_matches('^').trim_end_matches('$');
        defs.text(&format!("^{address}(?:-{address})?$"))
    }
}

/// Something by hypervisor; at least one must be named.
#[derive(Debug, Clone, PartialEq)]
pub struct At<T>(pub BTreeMap<Name, Keyed<Lenient<T>>>);

impl<T> At<T> {
    /// Whether a hypervisor is named, with whatever it says.
    pub fn has(&self, hypervisor: &Name) -> bool {
        self.0.contains_key(hypervisor)
    }

    /// What is said for a hypervisor.
    pub fn get(&self, hypervisor: &Name) -> Option<&T> {
        self.0.get(hypervisor)?.value.0.as_ref()
    }
}

impl<T: Decode> Decode for At<T> {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let by_name = BTreeMap::decode(node, cx)?;
        if node.as_map().is_some_and(<[_]>::is_empty) {
            let problem =
                Diagnostic::error("empty", cx.key_span(node), "no hypervisor is named here");
            cx.push(problem.help("name at least one: `at: { HYPERVISOR: … }`"));
            return None;
        }
        Some(Self(by_name))
    }

    fn schema(defs: &mut Defs) -> Json {
        let mut schema = BTreeMap::<Name, T>::schema(defs);
        schema["minProperties"] = json!(1);
        schema
    }
}

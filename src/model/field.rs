//! Fields as things that can be named, compared and shown one by one.

use super::{
    Autostart, BootDevice, Bytes, Cdrom, DeviceName, DiskSpec, InitSpec, MachineSpec, Name, NicSpec,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// Every field that can be compared, without the device it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each is the field of the same name in `MachineSpec`")]
pub enum FieldKind {
    Name,
    Cpu,
    Sockets,
    Memory,
    Firmware,
    Tpm,
    HardwareVersion,
    Boot,
    Cdrom,
    Autostart,
    Protect,
    Tags,
    /// One label, by its key.
    Label,
    Notes,
    Pool,
    /// One key of the product's free configuration.
    Extra,
    /// With whom it is kept on different hosts.
    Spread,
    DiskSize,
    DiskBus,
    DiskStorage,
    DiskOnRemove,
    NicNetwork,
    NicVlan,
    NicMac,
    NicModel,
    NicIp,
    NicGateway,
    InitHostname,
    InitDomain,
    InitUser,
    InitSshKeys,
    InitPassword,
    InitDns,
    /// What a guest's own setup is told, as part of the digest.
    InitWindows,
    /// A description of the guest that the product keeps, as part of the digest.
    InitCustomization,
    /// The first-boot document as a whole, by its digest in the marker.
    InitDigest,
    /// A whole disk that appears or goes.
    Disk,
    /// A whole network card that appears or goes.
    Nic,
    /// On or off.
    Power,
    /// Which snapshots are taken and kept.
    Snapshots,
    /// The comment of a pool.
    Comment,
    /// Who may do what with a pool.
    Acl,
    /// The marker itself (stage, map), when only that is to be written.
    Marker,
    /// Which values of a label the product knows, whether a machine bears them or not.
    LabelValues,
    /// The machines of a spread.
    Members,
    /// Whether one machine is in a spread.
    Member,
    /// Whether a spread is in force.
    Enabled,
}

impl FieldKind {
    /// Every kind, in the order in which plans show them.
    pub const ALL: [FieldKind; 47] = {
        use FieldKind::*;
        [
            Name,
            Cpu,
            Sockets,
            Memory,
            Firmware,
            Tpm,
            HardwareVersion,
            Boot,
            Cdrom,
            Autostart,
            Protect,
            Tags,
            Label,
            Notes,
            Pool,
            Extra,
            Spread,
            DiskSize,
            DiskBus,
            DiskStorage,
            DiskOnRemove,
            NicNetwork,
            NicVlan,
            NicMac,
            NicModel,
            NicIp,
            NicGateway,
            InitHostname,
            InitDomain,
            InitUser,
            InitSshKeys,
            InitPassword,
            InitDns,
            InitWindows,
            InitCustomization,
            InitDigest,
            Disk,
            Nic,
            Power,
            Snapshots,
            Comment,
            Acl,
            Marker,
            LabelValues,
            Members,
            Member,
            Enabled,
        ]
    };

    /// The path's words around the device name: prefix and suffix.
    fn words(self) -> (&'static str, &'static str) {
        use FieldKind::*;
        match self {
            Name => ("name", ""),
            Cpu => ("cpu", ""),
            Sockets => ("sockets", ""),
            Memory => ("memory", ""),
            Firmware => ("firmware", ""),
            Tpm => ("tpm", ""),
            HardwareVersion => ("hardware_version", ""),
            Boot => ("boot", ""),
            Cdrom => ("cdrom", ""),
            Autostart => ("autostart", ""),
            Protect => ("protect", ""),
            Tags => ("tags", ""),
            Notes => ("notes", ""),
            Pool => ("pool", ""),
            Extra => ("extra_config", ""),
            DiskSize => ("disk", "size"),
            DiskBus => ("disk", "bus"),
            DiskStorage => ("disk", "storage"),
            DiskOnRemove => ("disk", "on_remove"),
            NicNetwork => ("nic", "network"),
            NicVlan => ("nic", "vlan"),
            NicMac => ("nic", "mac"),
            NicModel => ("nic", "model"),
            NicIp => ("nic", "ip"),
            NicGateway => ("nic", "gateway"),
            InitHostname => ("init.hostname", ""),
            InitDomain => ("init.domain", ""),
            InitUser => ("init.user", ""),
            InitSshKeys => ("init.ssh_keys", ""),
            InitPassword => ("init.password", ""),
            InitDns => ("init.dns", ""),
            InitWindows => ("init.windows", ""),
            InitCustomization => ("init.customization_spec", ""),
            InitDigest => ("init", ""),
            Disk => ("disk", ""),
            Nic => ("nic", ""),
            Power => ("power", ""),
            Snapshots => ("snapshots", ""),
            Comment => ("comment", ""),
            Acl => ("acl", ""),
            Marker => ("marker", ""),
            Label => ("label", ""),
            LabelValues => ("label-values", ""),
            Spread => ("placement.spread", ""),
            Members => ("members", ""),
            Member => ("member", ""),
            Enabled => ("enabled", ""),
        }
    }

    /// Whether a path of this kind names a disk, a card, a label or a key.
    pub fn has_device(self) -> bool {
        use FieldKind::*;
        matches!(
            self,
            Extra
                | DiskSize
                | DiskBus
                | DiskStorage
                | DiskOnRemove
                | NicNetwork
                | NicVlan
                | NicMac
                | NicModel
                | NicIp
                | NicGateway
                | Disk
                | Nic
                | Label
                | LabelValues
                | Member
        )
    }

    /// Whether a field that was found is as wanted. An unset field equals an empty one. A
    /// label holds when it has the wanted values, whatever it has besides: those are
    /// somebody else's.
    pub fn is_reached(self, wanted: Option<&Value>, found: Option<&Value>) -> bool {
        let open = matches!(self, FieldKind::Label | FieldKind::LabelValues);
        match (wanted, found) {
            (Some(Value::List(wanted)), Some(Value::List(found))) if open => {
                wanted.iter().all(|it| found.contains(it))
            }
            (Some(wanted), Some(found)) => wanted == found,
            // That there is a label without values is to be told from that there is none.
            (Some(_), None) if self == FieldKind::LabelValues => false,
            (Some(value), None) | (None, Some(value)) => value.is_empty(),
            (None, None) => true,
        }
    }
}

/// A field of one object: `memory`, `disk.data.size`, `nic.eth0.vlan`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath {
    /// Which field.
    pub kind: FieldKind,
    /// Which disk, card, label or key, for kinds that have one.
    pub device: Option<DeviceName>,
}

impl FieldPath {
    /// A field of the object itself.
    pub fn of(kind: FieldKind) -> Self {
        debug_assert!(!kind.has_device());
        Self { kind, device: None }
    }

    /// One of its labels.
    pub fn label(key: &Name) -> Self {
        Self::on(FieldKind::Label, &DeviceName::new(key.shared()))
    }

    /// A field of one of its disks or cards, or one of its labels or keys.
    pub fn on(kind: FieldKind, device: &DeviceName) -> Self {
        debug_assert!(kind.has_device());
        Self { kind, device: Some(device.clone()) }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (prefix, suffix) = self.kind.words();
        match (&self.device, suffix) {
            (None, _) => f.write_str(prefix),
            (Some(device), "") => write!(f, "{prefix}.{device}"),
            (Some(device), suffix) => write!(f, "{prefix}.{device}.{suffix}"),
        }
    }
}

/// A text that names no field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the path of a field")]
pub struct NotAField(pub String);

impl FromStr for FieldPath {
    type Err = NotAField;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotAField(text.to_owned());
        if let Some(kind) =
            FieldKind::ALL.into_iter().find(|kind| !kind.has_device() && kind.words().0 == text)
        {
            return Ok(Self { kind, device: None });
        }
        let (prefix, rest) = text.split_once('.').ok_or_else(wrong)?;
        // Device names may hold dots, so the suffix is looked for at the end.
        let (device, suffix) = match rest.rsplit_once('.') {
            Some((device, suffix))
                if FieldKind::ALL.into_iter().any(|kind| kind.words() == (prefix, suffix)) =>
            {
                (device, suffix)
            }
            _ => (rest, ""),
        };
        FieldKind::ALL
            .into_iter()
            .find(|kind| kind.has_device() && kind.words() == (prefix, suffix))
            .map(|kind| Self { kind, device: Some(device.into()) })
            .ok_or_else(wrong)
    }
}

impl Serialize for FieldPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FieldPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A field's value, with its unit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// A number without a unit.
    Count(u64),
    /// A size; in JSON as bytes.
    Size(Bytes),
    /// Yes or no.
    Flag(bool),
    /// One line, or a block of text.
    Text(String),
    /// A set or a list, in canonical order.
    List(Vec<String>),
}

impl Value {
    /// Whether it says as much as no value.
    pub fn is_empty(&self) -> bool {
        match self {
            Value::Text(text) => text.is_empty(),
            Value::List(items) => items.is_empty(),
            Value::Count(_) | Value::Size(_) | Value::Flag(_) => false,
        }
    }

    /// A set as a list.
    pub fn set(items: &BTreeSet<String>) -> Self {
        Value::List(items.iter().cloned().collect())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Count(number) => write!(f, "{number}"),
            Value::Size(bytes) => write!(f, "{bytes}"),
            Value::Flag(flag) => f.write_str(if *flag { "yes" } else { "no" }),
            Value::Text(text) => f.write_str(text),
            Value::List(items) => f.write_str(&items.join(", ")),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

fn text(value: impl fmt::Display) -> Value {
    Value::Text(value.to_string())
}

impl MachineSpec {
    /// Calls `each` with every field that is set, in plan order by device.
    ///
    /// `slot` is not compared and not visited; `Power` is not
    /// part of a spec.
    pub fn visit(&self, mut each: impl FnMut(FieldPath, Value)) {
        use FieldKind as K;
        let mut field = |kind: FieldKind, value: Option<Value>| {
            if let Some(value) = value {
                each(FieldPath { kind, device: None }, value);
            }
        };
        field(K::Name, self.name.as_deref().map(Value::from));
        field(K::Cpu, self.cpu.map(|n| Value::Count(n.into())));
        field(K::Sockets, self.sockets.map(|n| Value::Count(n.into())));
        field(K::Memory, self.memory.map(Value::Size));
        field(K::Firmware, self.firmware.map(|it| it.as_str().into()));
        field(K::Tpm, self.tpm.map(Value::Flag));
        field(K::HardwareVersion, self.hardware_version.map(|n| Value::Count(n.into())));
        field(K::Boot, self.boot.as_deref().map(boot_value));
        field(K::Cdrom, self.cdrom.as_ref().map(cdrom_value));
        field(K::Autostart, self.autostart.map(autostart_value));
        field(K::Protect, self.protect.map(Value::Flag));
        field(K::Tags, self.tags.as_ref().map(Value::set));
        field(K::Notes, self.notes.as_deref().map(Value::from));
        field(K::Pool, self.pool.as_ref().map(text));
        for (key, values) in &self.labels {
            each(FieldPath::label(key), Value::set(values));
        }
        for (key, value) in self.extra.iter().filter(|(_, value)| !value.is_empty()) {
            each(FieldPath::on(K::Extra, key), value.as_str().into());
        }
        for (name, disk) in &self.disks {
            disk.visit(name, &mut each);
        }
        for (name, nic) in &self.nics {
            nic.visit(name, &mut each);
        }
        if let Some(init) = &self.init {
            init.visit(&mut each);
        }
    }

    /// The value of one field, when it is set.
    pub fn get(&self, path: &FieldPath) -> Option<Value> {
        let mut found = None;
        // Only one disk or card has to be walked; the rest of the spec is small.
        match (&path.device, path.kind) {
            (Some(device), FieldKind::Disk) => {
                return self.disks.contains_key(device).then_some(Value::Flag(true));
            }
            (Some(device), FieldKind::DiskOnRemove) => {
                return self.disks.get(device).map(|disk| disk.on_remove.as_str().into());
            }
            (Some(key), FieldKind::Extra) => {
                let value = self.extra.get(key).filter(|value| !value.is_empty());
                return value.map(|value| value.as_str().into());
            }
            (Some(device), FieldKind::Nic) => {
                return self.nics.contains_key(device).then_some(Value::Flag(true));
            }
            (Some(key), FieldKind::Label) => {
                return self.labels.get(key.as_str()).map(Value::set);
            }
            (Some(device), _) => {
                let mut take = |at: FieldPath, value: Value| {
                    if at == *path {
                        found = Some(value);
                    }
                };
                if let Some(disk) = self.disks.get(device) {
                    disk.visit(device, &mut take);
                }
                if let Some(nic) = self.nics.get(device) {
                    nic.visit(device, &mut take);
                }
            }
            (None, _) => self.visit(|at, value| {
                if at == *path {
                    found = Some(value);
                }
            }),
        }
        found
    }
}

impl DiskSpec {
    /// Calls `each` with every compared field that is set.
    pub fn visit(&self, name: &DeviceName, each: &mut impl FnMut(FieldPath, Value)) {
        use FieldKind as K;
        let mut field = |kind, value: Option<Value>| {
            if let Some(value) = value {
                each(FieldPath::on(kind, name), value);
            }
        };
        field(K::DiskSize, self.size.map(Value::Size));
        field(K::DiskBus, self.bus.map(|bus| bus.as_str().into()));
        field(K::DiskStorage, self.storage.as_ref().map(text));
        // The default goes without saying.
        field(
            K::DiskOnRemove,
            (!self.on_remove.is_detach()).then(|| self.on_remove.as_str().into()),
        );
    }
}

impl NicSpec {
    /// Calls `each` with every compared field that is set.
    pub fn visit(&self, name: &DeviceName, each: &mut impl FnMut(FieldPath, Value)) {
        use FieldKind as K;
        let mut field = |kind, value: Option<Value>| {
            if let Some(value) = value {
                each(FieldPath::on(kind, name), value);
            }
        };
        field(K::NicNetwork, self.network.as_ref().map(|it| text(&it.native)));
        field(K::NicVlan, self.vlan.map(|tag| Value::Count(tag.into())));
        field(K::NicMac, self.mac.map(text));
        field(K::NicModel, self.model.map(|model| model.as_str().into()));
        field(K::NicIp, self.ip.map(text));
        field(K::NicGateway, self.gateway.map(text));
    }
}

impl InitSpec {
    /// Calls `each` with every compared field that is set.
    ///
    /// The password and what the product itself tells the guest are not visited: they are
    /// compared only as part of the digest.
    pub fn visit(&self, each: &mut impl FnMut(FieldPath, Value)) {
        use FieldKind as K;
        let mut field = |kind, value: Option<Value>| {
            if let Some(value) = value {
                each(FieldPath::of(kind), value);
            }
        };
        field(K::InitHostname, self.hostname.as_deref().map(Value::from));
        field(K::InitDomain, self.domain.as_deref().map(Value::from));
        field(K::InitUser, self.user.as_deref().map(Value::from));
        field(K::InitSshKeys, self.ssh_keys.clone().map(Value::List));
        field(
            K::InitDns,
            self.dns.as_ref().map(|all| Value::List(all.iter().map(ToString::to_string).collect())),
        );
        field(K::InitDigest, self.digest.as_deref().map(Value::from));
    }
}

fn boot_value(order: &[BootDevice]) -> Value {
    Value::List(order.iter().map(|device| device.as_str().to_owned()).collect())
}

fn cdrom_value(cdrom: &Cdrom) -> Value {
    match cdrom {
        Cdrom::None => Value::from("none"),
        Cdrom::Iso(volume) => Value::from(volume.as_str()),
    }
}

fn autostart_value(autostart: Autostart) -> Value {
    let mut shown = String::from(if autostart.enabled { "yes" } else { "no" });
    if let Some(order) = autostart.order {
        shown.push_str(&format!(", order {order}"));
    }
    if let Some(wait) = autostart.wait_s {
        shown.push_str(&format!(", wait {wait} s"));
    }
    Value::Text(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_reads_back() {
        for kind in FieldKind::ALL {
            let path = FieldPath { kind, device: kind.has_device().then(|| "a.b".into()) };
            assert_eq!(path.to_string().parse(), Ok(path));
        }
    }

    #[test]
    fn a_word_that_is_no_field_is_refused() {
        assert!("disk".parse::<FieldPath>().is_err());
        assert!("colour".parse::<FieldPath>().is_err());
    }
}

//! The canonical form of a machine: what the YAML can declare and what every
//! product reports back, in one vocabulary and one set of units.
//!
//! A field that is `None` is *not declared* in a desired spec, and *not known* or
//! *not set* in an observed one. Only what is declared is compared.

use super::{
    Bytes, Customization, DeviceName, InitSecret, MacAddress, Name, SecretRef, Slot, StorageName,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

/// A machine's compared fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineSpec {
    /// The native name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Virtual processors in all, over all sockets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Sockets that `cpu` is spread over; divides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<u32>,
    /// Configured memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// What the machine boots with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Firmware>,
    /// Whether there is a virtual TPM 2.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<bool>,
    /// The version of the virtual hardware, as the product counts it. It only goes up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware_version: Option<u32>,
    /// Boot order, first to last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Vec<BootDevice>>,
    /// What is in the CD drive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cdrom: Option<Cdrom>,
    /// Whether the hypervisor starts it at its own boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostart: Option<Autostart>,
    /// Deletion protection, in the marker and on the hypervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protect: Option<bool>,
    /// All tags but our own mark, lower-case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeSet<String>>,
    /// Labels by key, each with its values: one of a machine that is declared, all that it
    /// bears of one that was observed. Other keys are not compared.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Name, BTreeSet<String>>,
    /// Free text, without our marker lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// The pool it is a member of, by native name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// Free configuration of the product by key. Only declared keys are compared; an empty
    /// value and no value are the same, and an observed spec holds only keys that were asked
    /// for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<DeviceName, String>,
    /// Disks by name; an observed spec holds only those that the marker's map names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disks: BTreeMap<DeviceName, DiskSpec>,
    /// Network cards by name; an observed spec holds only those that the map names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nics: BTreeMap<DeviceName, NicSpec>,
    /// First-boot configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitSpec>,
}

/// One disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSpec {
    /// Size; grows only. Absent on a boot disk = the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Bytes>,
    /// The controller it hangs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<Bus>,
    /// Index on the bus at birth; never compared later, the map decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u8>,
    /// Where its volume lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageName>,
    /// What happens to its volume when the entry is removed.
    #[serde(default, skip_serializing_if = "OnRemove::is_detach")]
    pub on_remove: OnRemove,
}

/// What happens to the volume of a disk that is no longer declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnRemove {
    /// The volume stays, unattached; the plan names where it lies.
    #[default]
    Detach,
    /// The volume is deleted: `data-loss`.
    Delete,
}

impl OnRemove {
    /// The word used in YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            OnRemove::Detach => "detach",
            OnRemove::Delete => "delete",
        }
    }

    /// Whether this is the default, which saved documents leave out.
    pub fn is_detach(&self) -> bool {
        *self == OnRemove::Detach
    }
}

/// A disk controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// SCSI.
    Scsi,
    /// Paravirtual block device.
    Virtio,
    /// SATA.
    Sata,
    /// IDE.
    Ide,
}

impl Bus {
    /// The word used in YAML and in slots.
    pub fn as_str(self) -> &'static str {
        match self {
            Bus::Scsi => "scsi",
            Bus::Virtio => "virtio",
            Bus::Sata => "sata",
            Bus::Ide => "ide",
        }
    }
}

/// One network card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicSpec {
    /// What it is plugged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkBinding>,
    /// The VLAN tag that the hypervisor puts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// A wanted hardware address. Absent in a desired spec: derived at birth, then kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// The emulated card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<NicModel>,
    /// How the guest gets its IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpSetting>,
    /// The default gateway of this card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// A network of the YAML, bound to what it is called on one hypervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkBinding {
    /// The entry of `networks`; unknown for what was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// The native name (a bridge, a port group, a subnet).
    pub native: String,
}

// Two bindings are equal when they are the same thing on the hypervisor: what
// was observed cannot know which entry of the YAML it came from.
impl PartialEq for NetworkBinding {
    fn eq(&self, other: &Self) -> bool {
        self.native == other.native
    }
}
impl Eq for NetworkBinding {}

/// An emulated network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NicModel {
    /// The product's paravirtual card.
    Virtio,
    /// Intel E1000.
    E1000,
    /// VMware VMXNET3.
    Vmxnet3,
    /// Realtek 8139.
    Rtl8139,
}

impl NicModel {
    /// The word used in YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            NicModel::Virtio => "virtio",
            NicModel::E1000 => "e1000",
            NicModel::Vmxnet3 => "vmxnet3",
            NicModel::Rtl8139 => "rtl8139",
        }
    }
}

/// How a guest gets the address of one card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpSetting {
    /// A written address with its prefix length.
    Static {
        /// The address.
        address: IpAddr,
        /// Prefix length.
        prefix: u8,
    },
    /// By DHCP.
    Dhcp,
    /// Left unconfigured.
    None,
}

impl fmt::Display for IpSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IpSetting::Static { address, prefix } => write!(f, "{address}/{prefix}"),
            IpSetting::Dhcp => f.write_str("dhcp"),
            IpSetting::None => f.write_str("none"),
        }
    }
}

/// First-boot configuration, product-neutral. Addresses are on the cards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitSpec {
    /// Host name; absent = the product's rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// DNS domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The user that the guest creates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Public keys of that user, one line each, without trailing blanks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_keys: Option<Vec<String>>,
    /// Where that user's password comes from; never its value. Never observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// Resolvers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Vec<IpAddr>>,
    /// How the product itself sets the guest up, where nothing in the image reads documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customization: Option<Box<Customization>>,
    /// First 128 bits of the SHA-256 of the whole first-boot document, hex. On a
    /// desired spec it is computed from the declaration, on an observed one it is
    /// the marker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl InitSpec {
    /// Every secret of it, with where it comes from.
    pub fn secrets(&self) -> impl Iterator<Item = (InitSecret, &SecretRef)> {
        let password = self.password.iter().map(|it| (InitSecret::Password, it));
        password.chain(self.customization.iter().flat_map(|it| it.secrets()))
    }
}

/// What a machine boots with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// Legacy BIOS.
    Bios,
    /// UEFI without secure boot keys.
    Uefi,
    /// UEFI with secure boot.
    SecureBoot,
}

impl Firmware {
    /// The word used in YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
            Firmware::SecureBoot => "secure-boot",
        }
    }
}

/// One entry of a boot order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BootDevice {
    /// The boot disk.
    Disk,
    /// The CD drive.
    Cdrom,
    /// The first network card.
    Network,
}

impl BootDevice {
    /// The word used in YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            BootDevice::Disk => "disk",
            BootDevice::Cdrom => "cdrom",
            BootDevice::Network => "network",
        }
    }
}

/// What is in the CD drive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cdrom {
    /// No drive, or an empty one.
    None,
    /// An ISO image, by native volume name.
    Iso(String),
}

/// Whether and how the hypervisor starts a machine at its own boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Autostart {
    /// Whether it does.
    pub enabled: bool,
    /// Place in the order, lower first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<u32>,
    /// Seconds to wait before the next machine is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<u32>,
}

/// What power state is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// Kept running.
    Running,
    /// Kept stopped.
    Stopped,
    /// Started at birth, then left alone.
    #[default]
    Once,
}

/// What power state was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PowerState {
    /// Running, or paused: it has a running process.
    Running,
    /// Off.
    Stopped,
    /// Neither: its memory is kept, and nothing runs. It takes no change; all that can be
    /// done about it is to resume it, by a start, or to give its memory up, by a stop.
    Suspended,
    /// The hypervisor could not tell.
    Unknown,
}

impl PowerState {
    /// The word used in plans.
    pub fn as_str(self) -> &'static str {
        match self {
            PowerState::Running => "running",
            PowerState::Stopped => "stopped",
            PowerState::Suspended => "suspended",
            PowerState::Unknown => "unknown",
        }
    }
}

/// A device of a machine as the hypervisor shows it, named or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Where it sits.
    pub slot: Slot,
    /// What it is.
    pub kind: DeviceKind,
    /// The native volume name of a disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// The storage that the volume lies on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageName>,
    /// The size of a disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Bytes>,
    /// Whether a disk's volume holds only the differences to another one: a linked clone's,
    /// or one with snapshots.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub linked: bool,
    /// The hardware address of a card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// What a card is plugged into, by native name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The VLAN tag that the hypervisor puts on a card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
}

impl DeviceKind {
    /// Whether the device's volume goes when its machine does. An ISO image is not the
    /// machine's own.
    pub fn is_lost_with_machine(self) -> bool {
        match self {
            DeviceKind::Disk
            | DeviceKind::Detached
            | DeviceKind::Seed
            | DeviceKind::Firmware
            | DeviceKind::Tpm => true,
            DeviceKind::Cdrom | DeviceKind::Nic => false,
        }
    }
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// A disk with data.
    Disk,
    /// A volume that belongs to the machine and is not attached.
    Detached,
    /// A CD drive with or without an ISO.
    Cdrom,
    /// The drive that carries first-boot configuration.
    Seed,
    /// Firmware variables.
    Firmware,
    /// TPM state.
    Tpm,
    /// A network card.
    Nic,
}

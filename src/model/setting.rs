//! What a step makes a machine of, or sets on one.

use super::{
    Autostart, BirthSource, BootDevice, Bus, Bytes, Cdrom, DeviceName, Firmware, InitSpec,
    IpSetting, MacAddress, MarkerDraft, Name, NativeId, NetworkBinding, NicModel, NodeName, Slot,
    StorageName,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// A clone of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloneFrom {
    /// The template's native id.
    pub template: NativeId,
    /// Where the template is; the copy is made there.
    pub template_node: Option<NodeName>,
    /// The template's name when it was planned; another name now is a refusal.
    pub template_name: Option<String>,
    /// Its UUID when it was planned.
    pub template_uuid: Option<uuid::Uuid>,
    /// Linked to the template, or a full copy.
    pub linked: bool,
    /// The native id of the template's snapshot that a linked clone hangs on, for
    /// products whose linked clones need one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The new machine's name.
    pub name: String,
    /// Where the new machine goes.
    pub node: Option<NodeName>,
    /// Where the copy of a full clone goes.
    pub storage: Option<StorageName>,
    /// The pool it is born into.
    pub pool: Option<Name>,
    /// The marker that is written in the same call where the product can.
    pub marker: MarkerDraft,
}

/// A disk that moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskMove {
    /// Its name.
    pub disk: DeviceName,
    /// Where it sits.
    pub slot: Slot,
    /// Where its volume lies afterwards.
    pub to: StorageName,
}

/// A machine made from nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Birth {
    /// Its name.
    pub name: String,
    /// Where it goes.
    pub node: Option<NodeName>,
    /// The pool it is born into.
    pub pool: Option<Name>,
    /// What it is born from.
    pub source: BirthSource,
    /// Everything else.
    pub settings: Vec<Setting>,
}

/// One thing that a `Configure` sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Setting {
    /// The native name.
    Name(String),
    /// Processors: all of them, and the sockets they are spread over.
    Cpu {
        /// In all.
        total: u32,
        /// Sockets.
        sockets: u32,
    },
    /// Memory.
    Memory(Bytes),
    /// Firmware, with a place for its variables where it needs one.
    Firmware {
        /// Which.
        firmware: Firmware,
        /// Where its variables go; absent = they exist already.
        storage: Option<StorageName>,
    },
    /// A virtual TPM 2.0.
    Tpm {
        /// Present or not.
        present: bool,
        /// Where its state goes when it is added.
        storage: Option<StorageName>,
    },
    /// The version of the virtual hardware of a machine that is made; `UpgradeHardware` is
    /// for one that exists.
    HardwareVersion(u32),
    /// One key of the product's free configuration; an empty value takes it out.
    Extra {
        /// The key.
        key: DeviceName,
        /// Its value.
        value: String,
    },
    /// Boot order, as kinds and as the slots that they mean.
    Boot {
        /// By kind.
        order: Vec<BootDevice>,
        /// The slots in that order.
        slots: Vec<Slot>,
    },
    /// What is in the CD drive.
    Cdrom {
        /// The content.
        cdrom: Cdrom,
        /// The drive's slot.
        slot: Slot,
    },
    /// Start at the hypervisor's own boot.
    Autostart(Autostart),
    /// Deletion protection on the hypervisor. (The marker's bit is in the draft.)
    Protect(bool),
    /// All tags but our own mark, which is always added.
    Tags(BTreeSet<String>),
    /// Free text above the marker.
    Notes(String),
    /// A new, empty disk.
    AttachDisk {
        /// Its name.
        disk: DeviceName,
        /// Where it sits.
        slot: Slot,
        /// Its controller.
        bus: Bus,
        /// Its size.
        size: Bytes,
        /// Where its volume goes.
        storage: StorageName,
    },
    /// Grow one disk to a size, where that goes with other settings; `GrowDisk` is the
    /// same as a call of its own.
    DiskSize {
        /// Its name.
        disk: DeviceName,
        /// Where it sits.
        slot: Slot,
        /// The size afterwards.
        to: Bytes,
    },
    /// Take a disk off.
    DetachDisk {
        /// Its name.
        disk: DeviceName,
        /// Where it sits.
        slot: Slot,
        /// Its volume, when that is deleted with it; `None` = the volume stays. One call,
        /// for whoever dies between two would leave a volume that nobody asks about.
        delete: Option<String>,
    },
    /// Plug in or change a network card.
    SetNic(NicSetting),
    /// Remove a network card.
    RemoveNic {
        /// Its name; a card that a template brought has none.
        nic: Option<DeviceName>,
        /// Where it sits.
        slot: Slot,
    },
    /// First-boot configuration.
    Seed(Box<Seed>),
    /// Our machine UUID, chosen by us where the product lets us.
    MachineUuid,
    /// The marker.
    Marker(MarkerDraft),
    /// No marker, and no mark of ours beside it.
    Unmark,
}

/// One network card, complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicSetting {
    /// Its name.
    pub nic: DeviceName,
    /// Where it sits.
    pub slot: Slot,
    /// What it is plugged into; absent = as it is.
    pub network: Option<NetworkBinding>,
    /// VLAN tag; absent = as it is, 0 = none.
    pub vlan: Option<u16>,
    /// The card; absent = as it is.
    pub model: Option<NicModel>,
    /// Hardware address; absent = as it is.
    pub mac: Option<MacAddress>,
}

/// First-boot configuration for one machine, complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// Names, user, keys, resolvers; the password as a reference.
    pub init: InitSpec,
    /// Addresses by card.
    pub nics: BTreeMap<DeviceName, SeedNic>,
    /// The drive that carries it; `None` = this product hands it over without a drive.
    pub slot: Option<Slot>,
    /// Where the drive goes when it does not exist yet.
    pub storage: Option<StorageName>,
}

/// The address of one card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedNic {
    /// Where the card sits.
    pub slot: Slot,
    /// Its hardware address, for products whose guests know their cards by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddress>,
    /// How it gets its address.
    pub ip: IpSetting,
    /// Its gateway.
    pub gateway: Option<IpAddr>,
}

//! Steps: single mutating calls in a closed, neutral vocabulary.
//!
//! A product's `lower` chooses and orders them; the provider turns one step and a
//! fresh read into one native call. No step says "add": each states an end.

use super::{
    Autostart, BirthSource, BootDevice, Bus, Bytes, Cdrom, DeviceMap, DeviceName, FieldKind,
    FieldPath, Firmware, GrantEnd, GrantRole, Grantee, InitSecret, InitSpec, IpSetting, MacAddress,
    MapEntry, MarkerState, Name, NativeId, NetworkBinding, NicModel, NodeName, ObservedMachine,
    PartState, PoolPart, PowerState, ResourceKey, SecretRef, Slot, Stage, StorageName, Value,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// One mutating call of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What is called.
    pub op: StepOp,
    /// What must hold before it, beyond ownership and the action's base.
    #[serde(default, skip_serializing_if = "Expect::is_empty")]
    pub begin: Expect,
    /// What holds after it. When this holds already, nothing is sent.
    pub end: Expect,
    /// How long its effect may take.
    pub wait: Wait,
    /// What is done instead when the wait runs out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<StepOp>,
    /// Facts that only the hypervisor can assign, and that later steps may use.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub learns: BTreeSet<Fact>,
    /// Whether the product itself refuses the call when the object has changed
    /// since it was read.
    pub guarded: bool,
}

/// The closed vocabulary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum StepOp {
    /// Make a machine, powered off, as a copy of a template.
    Clone(Box<CloneFrom>),
    /// Make an empty machine, powered off.
    Create(Box<Birth>),
    /// Set several things of one machine in one call.
    Configure(Vec<Setting>),
    /// Grow one disk to a size, in a call of its own.
    GrowDisk {
        /// Its name.
        disk: DeviceName,
        /// Where it sits.
        slot: Slot,
        /// The size afterwards.
        to: Bytes,
    },
    /// Move volumes of disks to other storages, running or not. With the boot disk goes what
    /// else the machine has in files of its own.
    MoveDisks(Vec<DiskMove>),
    /// Raise the version of the virtual hardware of a machine that is off. There is no way
    /// back.
    UpgradeHardware {
        /// The version afterwards.
        to: u32,
    },
    /// Let the product set the guest up when it starts for the first time, which is still to
    /// come.
    Customize(Box<Seed>),
    /// Put the machine into a pool, or out of all.
    SetPool {
        /// The pool; `None` = none.
        pool: Option<Name>,
    },
    /// Make a label known to the product, so that machines can bear it.
    DefineLabel {
        /// Its key.
        label: Name,
    },
    /// Make a value of a label known to the product.
    DefineLabelValue {
        /// The label's key.
        label: Name,
        /// The value.
        value: String,
    },
    /// Let the machine bear a label, beside whatever else it bears.
    SetLabel {
        /// The label's key.
        label: Name,
        /// The value.
        value: String,
    },
    /// Take a value off of which the product lets it bear only one.
    ClearLabel {
        /// The label's key.
        label: Name,
        /// The value that goes.
        value: String,
    },
    /// Start it.
    Start,
    /// Ask the guest to shut down.
    Shutdown,
    /// Take the power away.
    Stop,
    /// Keep the disks of the machine as they are, without the memory of its guest.
    TakeSnapshot(TakeSnapshot),
    /// Remove one snapshot; what the machine is now stays as it is.
    RemoveSnapshot {
        /// Its native id.
        id: String,
        /// Its name.
        name: String,
    },
    /// Remove the machine with its own volumes.
    Delete,
    /// Make a pool with this comment.
    CreatePool {
        /// The comment without our mark.
        comment: String,
    },
    /// Write the comment of a pool.
    SetComment {
        /// The comment without our mark.
        comment: String,
    },
    /// Remove an empty pool.
    DeletePool,
    /// Make one of the objects that a pool is made of.
    MakePart {
        /// Which.
        part: PoolPart,
    },
    /// Write our mark on a part that was made just now.
    MarkPart {
        /// Which.
        part: PoolPart,
    },
    /// Make a role of ours, which only says what it allows.
    MakeRole {
        /// Which.
        role: GrantRole,
    },
    /// Give somebody a role on a part of ours, and on all that is in it.
    Grant {
        /// On which part.
        part: PoolPart,
        /// To whom.
        grantee: Grantee,
        /// Which role.
        role: GrantRole,
    },
    /// Take a role of ours on a part of ours away from somebody.
    Revoke {
        /// On which part.
        part: PoolPart,
        /// From whom.
        grantee: Grantee,
    },
    /// Remove a part of ours in which nothing is.
    RemovePart {
        /// Which.
        part: PoolPart,
    },
    /// Begin to keep machines on different hosts of a place.
    CreateSpread {
        /// All of them, by key; their ids are looked up right before the call.
        members: BTreeSet<ResourceKey>,
    },
    /// Keep these machines apart, and no others under that name.
    SetSpread {
        /// All of them, by key.
        members: BTreeSet<ResourceKey>,
    },
    /// Keep them apart no longer.
    DeleteSpread,
}

impl StepOp {
    /// A short name for journals and progress lines.
    pub fn name(&self) -> &'static str {
        match self {
            StepOp::Clone(_) => "clone",
            StepOp::Create(_) => "create",
            StepOp::Configure(_) => "configure",
            StepOp::GrowDisk { .. } => "grow-disk",
            StepOp::MoveDisks(_) => "move-disks",
            StepOp::UpgradeHardware { .. } => "upgrade-hardware",
            StepOp::Customize(_) => "customize",
            StepOp::SetPool { .. } => "set-pool",
            StepOp::DefineLabel { .. } => "define-label",
            StepOp::DefineLabelValue { .. } => "define-label-value",
            StepOp::SetLabel { .. } => "set-label",
            StepOp::ClearLabel { .. } => "clear-label",
            StepOp::Start => "start",
            StepOp::Shutdown => "shutdown",
            StepOp::Stop => "stop",
            StepOp::TakeSnapshot(_) => "take-snapshot",
            StepOp::RemoveSnapshot { .. } => "remove-snapshot",
            StepOp::Delete => "delete",
            StepOp::CreatePool { .. } => "create-pool",
            StepOp::SetComment { .. } => "set-comment",
            StepOp::DeletePool => "delete-pool",
            StepOp::MakePart { .. } => "make-part",
            StepOp::MarkPart { .. } => "mark-part",
            StepOp::MakeRole { .. } => "make-role",
            StepOp::Grant { .. } => "grant",
            StepOp::Revoke { .. } => "revoke",
            StepOp::RemovePart { .. } => "remove-part",
            StepOp::CreateSpread { .. } => "create-spread",
            StepOp::SetSpread { .. } => "set-spread",
            StepOp::DeleteSpread => "delete-spread",
        }
    }

    /// The part of a pool that the call is about, when it is about one.
    pub fn part(&self) -> Option<&PoolPart> {
        match self {
            StepOp::MakePart { part } | StepOp::MarkPart { part } | StepOp::RemovePart { part } => {
                Some(part)
            }
            StepOp::Clone(_)
            | StepOp::Create(_)
            | StepOp::Configure(_)
            | StepOp::GrowDisk { .. }
            | StepOp::SetPool { .. }
            | StepOp::Start
            | StepOp::Shutdown
            | StepOp::Stop
            | StepOp::Delete
            | StepOp::CreatePool { .. }
            | StepOp::SetComment { .. }
            | StepOp::MakeRole { .. }
            | StepOp::Grant { .. }
            | StepOp::Revoke { .. }
            | StepOp::DefineLabel { .. }
            | StepOp::DefineLabelValue { .. }
            | StepOp::SetLabel { .. }
            | StepOp::ClearLabel { .. }
            | StepOp::MoveDisks(_)
            | StepOp::UpgradeHardware { .. }
            | StepOp::Customize(_)
            | StepOp::TakeSnapshot { .. }
            | StepOp::RemoveSnapshot { .. }
            | StepOp::CreateSpread { .. }
            | StepOp::SetSpread { .. }
            | StepOp::DeleteSpread
            | StepOp::DeletePool => None,
        }
    }

    /// Whether the call brings an object into being.
    pub fn is_birth(&self) -> bool {
        matches!(
            self,
            StepOp::Clone(_)
                | StepOp::Create(_)
                | StepOp::CreatePool { .. }
                | StepOp::CreateSpread { .. }
        )
    }

    /// Whether the call is about labels.
    pub fn is_about_labels(&self) -> bool {
        Self::is_about_labels_name(self.name())
    }

    /// The same, asked of a name.
    pub fn is_about_labels_name(name: &str) -> bool {
        matches!(name, "define-label" | "define-label-value" | "set-label" | "clear-label")
    }

    /// The same as [`StepOp::is_birth`], asked of a name: what a journal row holds.
    pub fn is_birth_name(name: &str) -> bool {
        matches!(name, "clone" | "create" | "create-pool" | "create-spread")
    }

    /// Whether nothing that is called later can undo it, though it deletes nothing.
    pub fn is_one_way(&self) -> bool {
        matches!(self, StepOp::UpgradeHardware { .. })
    }

    /// Whether the call ends an object's life.
    pub fn is_end(&self) -> bool {
        matches!(self, StepOp::Delete | StepOp::DeletePool | StepOp::DeleteSpread)
    }

    /// Everything that this call sets on a machine, besides what it is about by itself.
    fn settings(&self) -> &[Setting] {
        match self {
            StepOp::Configure(settings) => settings,
            StepOp::Create(birth) => &birth.settings,
            _ => &[],
        }
    }

    /// The secrets of a guest that this call hands over, each with where it comes from.
    pub fn guest_secrets(&self) -> BTreeMap<InitSecret, &SecretRef> {
        let of_settings = self.settings().iter().filter_map(|setting| match setting {
            Setting::Seed(seed) => Some(seed),
            _ => None,
        });
        let own = match self {
            StepOp::Customize(seed) => Some(seed),
            _ => None,
        };
        of_settings.chain(own).flat_map(|seed| seed.init.secrets()).collect()
    }

    /// The stage that this call writes into the marker, when it writes one.
    pub fn writes_stage(&self) -> Option<Stage> {
        self.settings().iter().find_map(|setting| match setting {
            Setting::Marker(draft) => Some(draft.stage),
            _ => None,
        })
    }
}

/// A snapshot that is to be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakeSnapshot {
    /// Its name. Names need not be unique on a machine; the plan chooses one that is.
    pub name: String,
    /// Whether it is taken before a change: then its description names this machine, and it
    /// is removed again when there are too many. What a person asks for is kept.
    pub before_change: bool,
}

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

/// A marker to be written. Project, key, uuid, id and intent come from the run:
/// the plan cannot hold values that are derived from its own digest.
///
/// Of the map it holds what to change, not the whole: when one run carries out
/// several actions on a machine, a later one must not write back the map that was
/// seen before the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkerDraft {
    /// The stage to write.
    pub stage: Stage,
    /// Digest of the first-boot document to write; absent = keep what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Deletion protection; absent = keep what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protect: Option<bool>,
    /// Entries to set. For each of its disks, `delete_on_remove` says whether that is
    /// to be remembered. An entry whose device the fresh read shows is written as
    /// confirmed, whatever it says here.
    pub map: DeviceMap,
    /// Entries to take out: `disk.NAME`, `nic.NAME`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub forget: BTreeSet<FieldPath>,
}

impl MarkerDraft {
    /// A draft that writes a stage and keeps everything else.
    pub fn new(stage: Stage) -> Self {
        Self {
            stage,
            init: None,
            protect: None,
            map: DeviceMap::default(),
            forget: BTreeSet::new(),
        }
    }

    /// The changes that lead from one map to another.
    pub fn turn(&mut self, old: &DeviceMap, new: DeviceMap) {
        let forget = |kind, entries: &BTreeMap<DeviceName, MapEntry>, kept: &BTreeMap<_, _>| {
            let gone = entries.keys().filter(|name| !kept.contains_key(*name));
            gone.map(|name| FieldPath::on(kind, name)).collect::<Vec<_>>()
        };
        self.forget.extend(forget(FieldKind::Disk, &old.disks, &new.disks));
        self.forget.extend(forget(FieldKind::Nic, &old.nics, &new.nics));
        let mut new = new;
        new.disks.retain(|name, entry| {
            let remembered = new.delete_on_remove.contains(name);
            old.disks.get(name) != Some(entry) || old.delete_on_remove.contains(name) != remembered
        });
        new.delete_on_remove.retain(|name| new.disks.contains_key(name));
        new.nics.retain(|name, entry| old.nics.get(name) != Some(entry));
        new.addresses.retain(|name, address| old.addresses.get(name) != Some(address));
        self.map = new;
    }

    /// The map that is written over the one that is there.
    pub fn map_over(&self, old: &DeviceMap) -> DeviceMap {
        let mut map = old.clone();
        for path in &self.forget {
            let Some(name) = &path.device else { continue };
            if path.kind == FieldKind::Disk {
                map.disks.remove(name);
                map.delete_on_remove.remove(name);
            } else {
                map.nics.remove(name);
                map.addresses.remove(name);
            }
        }
        for (name, entry) in &self.map.disks {
            map.disks.insert(name.clone(), entry.clone());
            map.delete_on_remove.remove(name);
        }
        map.delete_on_remove.extend(self.map.delete_on_remove.iter().cloned());
        map.nics.extend(self.map.nics.clone());
        map.addresses.extend(self.map.addresses.clone());
        map
    }
}

/// What must hold before a step, or holds after it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Whether the object exists; `None` = not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
    /// Power state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<PowerState>,
    /// Marker stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// Whose it is; `None` = not asked. A step that states it as its end changes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Fields with their values; `None` = unset.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<FieldPath, Option<Value>>,
    /// Parts of a pool, and how they stand.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<PoolPart, PartState>,
    /// Roles of ours that are there and allow what they should.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub roles: BTreeSet<GrantRole>,
    /// What somebody has on parts of a pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<GrantEnd>,
    /// Slots that hold a device, or do not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slots: BTreeMap<Slot, bool>,
    /// Names of snapshots that are there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub snapshots: BTreeSet<String>,
    /// Native ids of snapshots that are not there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub no_snapshots: BTreeSet<String>,
    /// Whether the product is about to set the guest up at its next start; `None` = not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup_waits: Option<bool>,
    /// Whether fields are compared with what holds after the next restart
    /// (written) or with what runs now (in force).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_force: bool,
}

impl Expect {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whose a machine is, by its marker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Owner {
    /// This entry's: the marker names it, with the object's own id and uuid.
    Entry(ResourceKey),
    /// Nobody's: there is no marker.
    Nobody,
}

impl Owner {
    /// Whether a machine is this owner's. Says nothing about project and signature.
    pub fn has(&self, machine: &ObservedMachine) -> bool {
        match (self, &machine.marker) {
            (Owner::Nobody, marker) => *marker == MarkerState::None,
            (Owner::Entry(key), MarkerState::Found(marker)) => {
                marker.key == *key
                    && marker.id.as_ref() == Some(&machine.id)
                    && marker.uuid.is_some()
                    && marker.uuid == machine.uuid
            }
            (Owner::Entry(_), MarkerState::None | MarkerState::Garbled(_)) => false,
        }
    }
}

/// How long a step's effect may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Wait {
    /// The call itself is the end.
    Call,
    /// The product's own task ends it.
    Task,
    /// The guest ends it; then `otherwise`, or a failure.
    PowerOff {
        /// Seconds until the wait runs out.
        within_s: u32,
    },
}

/// What only the hypervisor can assign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    /// The native id.
    NativeId,
    /// The machine's UUID.
    MachineUuid,
    /// A hardware address.
    Mac,
    /// A volume's name.
    Volume,
    /// A device's key.
    DeviceKey,
    /// An address that the guest reports.
    GuestAddress,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(slot: &str) -> MapEntry {
        MapEntry { slot: slot.into(), confirmed: true }
    }

    fn map(disks: &[(&str, &str)], delete: &[&str]) -> DeviceMap {
        DeviceMap {
            disks: disks.iter().map(|(name, slot)| ((*name).into(), entry(slot))).collect(),
            delete_on_remove: delete.iter().map(|name| (*name).into()).collect(),
            ..DeviceMap::default()
        }
    }

    #[test]
    fn a_draft_turns_one_map_into_another() {
        let old = map(&[("boot", "scsi0"), ("data", "scsi1"), ("logs", "scsi2")], &["logs"]);
        let new = map(&[("boot", "scsi0"), ("data", "scsi1"), ("more", "scsi3")], &["data"]);
        let mut draft = MarkerDraft::new(Stage::Ready);
        draft.turn(&old, new.clone());
        assert_eq!(draft.map_over(&old), new);
        assert!(!draft.map.disks.contains_key("boot"), "what does not change is not written");
    }

    #[test]
    fn a_later_draft_keeps_what_an_earlier_one_of_the_run_wrote() {
        let seen = map(&[("boot", "scsi0"), ("data", "scsi1")], &[]);
        let (mut first, mut second) =
            (MarkerDraft::new(Stage::Ready), MarkerDraft::new(Stage::Ready));
        first.turn(&seen, map(&[("boot", "scsi0"), ("more", "scsi2")], &[]));
        second.turn(&seen, seen.clone());
        let after = second.map_over(&first.map_over(&seen));
        assert_eq!(after, map(&[("boot", "scsi0"), ("more", "scsi2")], &[]));
    }
}

//! What hypervisors reported, with what could not be learnt kept beside it.

use super::{
    AccessSeen, Bytes, Device, FieldKind, FieldPath, GuestOs, Hindrance, HypervisorName,
    MachineSpec, MarkerState, Name, NativeId, NodeName, PartSeen, PartState, PoolPart, PowerState,
    ProjectName, ResourceKey, StorageName, Value, grant_lines,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// One collection of observations over all configured hypervisors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// What each one reported. A hypervisor that did not answer is here too, as
    /// `Failed`: leaving it out would make all of its machines look deleted.
    pub hypervisors: BTreeMap<HypervisorName, HypervisorInventory>,
}

/// What one hypervisor reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HypervisorInventory {
    /// How far absence can be believed.
    pub coverage: Coverage,
    /// Product and version, for people: `Proxmox VE 9.2`.
    pub version: String,
    /// What identifies this installation, as trust settings spell it; empty when unknown.
    pub identity: String,
    /// Every guest that the listing named, of any owner and kind.
    pub listed: BTreeMap<NativeId, Listed>,
    /// Every guest that was read in full.
    pub machines: BTreeMap<NativeId, ObservedMachine>,
    /// Guests that had to be read and could not be, with the reason.
    pub unreadable: BTreeMap<NativeId, String>,
    /// Pools by native name.
    pub pools: BTreeMap<Name, ObservedPool>,
    /// Machines that are kept apart under a name of ours, by place and name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub spreads: BTreeMap<NativeId, ObservedSpread>,
    /// Hosts.
    pub nodes: BTreeMap<NodeName, ObservedNode>,
    /// Storages, one row per host that sees them.
    pub storages: Vec<ObservedStorage>,
    /// ISO images that the configuration refers to and that exist.
    pub isos: BTreeSet<String>,
    /// Ids that the configuration pins and that the product itself called free.
    pub free_ids: BTreeSet<NativeId>,
    /// Machines whose disks go on from those of another, by that other's id: what deletes
    /// the one destroys the others. Only of machines that were read in full.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hung_on: BTreeMap<NativeId, BTreeSet<String>>,
    /// Descriptions of guests that the product keeps, of those that the configuration names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept_setups: BTreeMap<String, KeptSetup>,
    /// What was noticed on the way and is worth a line.
    pub notes: Vec<String>,
}

/// A description of a guest that a product keeps under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptSetup {
    /// What guests it is for; `None` = it does not say.
    pub os: Option<GuestOs>,
    /// Why no guest can be set up by it, when none can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfit: Option<String>,
}

impl HypervisorInventory {
    /// An inventory that says nothing but why it is empty.
    pub fn failed(error: impl Into<String>, kind: FailureKind) -> Self {
        Self {
            coverage: Coverage::Failed { error: error.into(), kind },
            version: String::new(),
            identity: String::new(),
            listed: BTreeMap::new(),
            machines: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            pools: BTreeMap::new(),
            spreads: BTreeMap::new(),
            nodes: BTreeMap::new(),
            storages: Vec::new(),
            isos: BTreeSet::new(),
            free_ids: BTreeSet::new(),
            hung_on: BTreeMap::new(),
            kept_setups: BTreeMap::new(),
            notes: Vec::new(),
        }
    }
}

/// How far the absence of a thing can be believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Coverage {
    /// All guests were visible to this account.
    Complete,
    /// The account may not see everything: creates only at pinned ids, deletes never.
    Scoped {
        /// What is missing, for people.
        why: String,
        /// What to do about it, as an order without a full stop.
        help: String,
    },
    /// Something did not answer. Unknown is not absent: no creates, no deletes.
    Incomplete {
        /// What is missing, one line each.
        gaps: Vec<String>,
    },
    /// Nothing could be learnt.
    Failed {
        /// The error, joined with its causes.
        error: String,
        /// Which exit code it deserves.
        kind: FailureKind,
    },
}

impl Coverage {
    /// Whether what was not seen is proved not to exist.
    pub fn is_complete(&self) -> bool {
        matches!(self, Coverage::Complete)
    }

    /// Whether anything at all was learnt.
    pub fn is_failed(&self) -> bool {
        matches!(self, Coverage::Failed { .. })
    }
}

/// Why nothing could be learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureKind {
    /// Not reachable, or it answered nonsense.
    Unreachable,
    /// It refused our credentials.
    Auth,
    /// Trust settings do not cover it, or another identity answered.
    Trust,
}

/// One row of a listing: cheap facts that name an object and prove little.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// Its name, possibly old; absent right after birth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What its name collides by, where that is not the name itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_key: Option<String>,
    /// What it is.
    pub guest: GuestKind,
    /// Whether it is a template.
    pub template: bool,
    /// Its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// Which project's cheap bulk mark it carries, in whatever form the product has one
    /// (a tag, a path, a category); ours when it carries several. Proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marked: Option<ProjectName>,
    /// Its tags, for people to choose by.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// Its lock, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// Configured memory, where the listing tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Virtual processors, where the listing tells them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// On or off, as far as the listing knows.
    pub power: PowerState,
}

impl Listed {
    /// What its name collides by, as [`Product::name_key`](super::Product::name_key) says
    /// it of a name in the files.
    pub fn name_key(&self) -> Option<&str> {
        self.name_key.as_deref().or(self.name.as_deref())
    }

    /// Whether it counts where room on a host is counted. What is stopped uses nothing now,
    /// and whoever starts it is told by the hypervisor; what is locked is being born or moved,
    /// and will run.
    pub fn takes_room(&self) -> bool {
        !self.template && (self.power != PowerState::Stopped || self.lock.is_some())
    }
}

/// A listing with the time it stands for, used to prove claims again.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Every guest.
    pub guests: BTreeMap<NativeId, Listed>,
    /// Hosts that answer.
    pub online: BTreeSet<NodeName>,
    /// What could not be listed; empty when the listing is whole.
    pub gaps: Vec<String>,
}

/// Machine or container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    /// A virtual machine.
    Vm,
    /// A container.
    Container,
}

/// Why the product itself refuses to change a machine for now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// What ends it.
    pub kind: LockKind,
    /// The product's own word for it.
    pub text: String,
}

/// A snapshot of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotSeen {
    /// Its native id; names need not be unique.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it stands in its chain, where the product tells: 1 = below it is no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<u32>,
    /// Whether it is the one that the machine goes on from.
    #[serde(default, skip_serializing_if = "is_false")]
    pub current: bool,
    /// Whether it is known to hold the memory of a running guest.
    #[serde(default, skip_serializing_if = "is_false")]
    pub with_memory: bool,
    /// When it was taken, in milliseconds since 1970 by the product's clock, where it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_ms: Option<i64>,
    /// What its description says of it, when that is one of ours. What others wrote there is
    /// not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<SnapshotMark>,
}

/// Of which machine, and before which plan, a snapshot was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotMark {
    /// Whose the machine was.
    pub project: ProjectName,
    /// Which entry it was.
    pub key: ResourceKey,
    /// The machine's own UUID.
    pub uuid: Uuid,
    /// The plan.
    pub plan: String,
}

/// What a machine that runs can be given or lose, where that is a setting of its own. A
/// product for which it is not leaves the set empty, and prices by the field alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hot {
    /// More processors.
    CpuUp,
    /// Fewer processors.
    CpuDown,
    /// More memory.
    MemoryUp,
}

/// What ends a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockKind {
    /// The end of the machine's birth: it may not say yet whose it is.
    Birth,
    /// The end of some work, such as a backup.
    Busy,
    /// A person alone: nothing that runs will take it away.
    NeedsPerson,
}

/// A machine that was read in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedMachine {
    /// Its native id.
    pub id: NativeId,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// Its own UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uuid>,
    /// Whether it is a template.
    #[serde(default, skip_serializing_if = "is_false")]
    pub template: bool,
    /// Its snapshots, the newest last, as far as the product tells of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotSeen>,
    /// On or off.
    pub power: PowerState,
    /// What can be changed while it runs, as far as that is a setting of the machine.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hot: BTreeSet<Hot>,
    /// What keeps the product from changing it, when something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Lock>,
    /// Our mark, or another project's, or none.
    #[serde(default)]
    pub marker: MarkerState,
    /// Whether the cheap bulk mark of our project (a tag) is on it. Proves nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bulk_mark: bool,
    /// What runs now. Devices are here by name, through the marker's map.
    pub spec: MachineSpec,
    /// What will run after the next stop and start, when that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Box<MachineSpec>>,
    /// Every device, named or not, by slot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// What the product has under the labels that the configuration declares for it, where it
    /// has labels of its own that are made before a machine can bear one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub known_labels: BTreeMap<Name, KnownLabel>,
    /// Whether the product is about to set the guest up at its next start.
    #[serde(default, skip_serializing_if = "is_false")]
    pub setup_waits: bool,
    /// Static guest addresses that it is configured with, for conflict checks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<std::net::IpAddr>,
}

/// A label as a product knows it, whichever machines bear it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownLabel {
    /// Whether the product lets a machine have one of its values only.
    pub one: bool,
    /// Why no machine can bear it, when none can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfit: Option<String>,
    /// Those of its values that the configuration declares and the product has.
    pub values: BTreeSet<String>,
}

impl ObservedMachine {
    /// Which values of a label the product knows; `None` = it does not know the label.
    pub fn label_values(&self, path: &FieldPath) -> Option<Value> {
        let known = self.known_labels.get(path.device.as_ref()?.as_str())?;
        Some(Value::set(&known.values))
    }

    /// How many snapshots the machine's disks go on from, one on top of the other. Where it
    /// cannot be told which ones these are, the longest chain there is.
    pub fn snapshot_levels(&self) -> u32 {
        let all = &self.snapshots;
        let current = all.iter().find(|it| it.current).and_then(|it| it.level);
        let longest = || all.iter().map(|it| it.level).max().flatten();
        current.or_else(longest).unwrap_or_else(|| u32::try_from(all.len()).unwrap_or(u32::MAX))
    }

    /// What the machine will be once pending values are in force.
    pub fn settled(&self) -> &MachineSpec {
        self.next.as_deref().unwrap_or(&self.spec)
    }

    /// The device in a slot.
    pub fn device(&self, slot: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.slot.as_str() == slot)
    }
}

/// A pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedPool {
    /// Its comment without our mark.
    pub comment: String,
    /// Our mark, or another project's, or none.
    #[serde(default)]
    pub marker: MarkerState,
    /// Guests in it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub members: BTreeSet<NativeId>,
    /// Whether it holds anything that is not a guest.
    #[serde(default, skip_serializing_if = "is_false")]
    pub other_members: bool,
    /// The objects that it is made of, where the product has no pool as such; none where it
    /// has. The marker is then that of its first part that bears ours.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<PoolPart, PartSeen>,
    /// What granting something on it depends on.
    #[serde(default, skip_serializing_if = "AccessSeen::is_empty")]
    pub access: AccessSeen,
    /// Why what is missing of its parts cannot be made, where that can be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hindrance: Option<Hindrance>,
}

impl ObservedPool {
    /// Whether anything of it is there: a pool of parts can be looked at before it is.
    pub fn exists(&self) -> bool {
        self.parts.is_empty()
            || self.parts.iter().any(|(part, seen)| part.kind.is_own() && seen.id.is_some())
    }

    /// What is granted on it, in words, as far as it concerns us.
    pub fn grant_lines(&self) -> BTreeSet<String> {
        let Some(marker) = self.marker.found() else { return BTreeSet::new() };
        let own = self.parts.iter().filter(|(part, _)| part.kind.is_own());
        let ours = own.filter(|(_, it)| it.is_marked_by(&marker.project, &marker.key));
        grant_lines(&ours.map(|(_, it)| &it.grants).collect::<Vec<_>>())
    }

    /// How one of its parts stands.
    pub fn part(&self, part: &PoolPart) -> PartState {
        self.parts.get(part).map_or(PartState::Absent, PartSeen::state)
    }
}

/// Machines that a place keeps on different hosts of its own, by a rule that bears a name of
/// ours. There is no room for a marker on it: the name and the members say whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedSpread {
    /// Which entry its name means.
    pub key: ResourceKey,
    /// Where it is.
    pub node: NodeName,
    /// Whether it is in force.
    pub enabled: bool,
    /// Machines of ours in it.
    pub members: BTreeSet<ResourceKey>,
    /// Why it is not ours all the same, when it is not: machines of others are in it, or it is
    /// of another kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<String>,
}

impl ObservedSpread {
    /// One of its fields.
    pub fn value(&self, path: &FieldPath) -> Option<Value> {
        match (path.kind, &path.device) {
            (FieldKind::Enabled, _) => Some(Value::Flag(self.enabled)),
            (FieldKind::Members, _) => Some(Self::names(&self.members)),
            (FieldKind::Member, Some(name)) => {
                let key = ResourceKey::vm(name.as_str());
                Some(Value::Flag(self.members.contains(&key)))
            }
            _ => None,
        }
    }

    /// Members as a value.
    pub fn names(members: &BTreeSet<ResourceKey>) -> Value {
        Value::List(members.iter().map(|key| key.name.to_string()).collect())
    }

    /// What a spread of a place is called among all of a hypervisor.
    pub fn id_of(key: &ResourceKey, node: &NodeName) -> NativeId {
        format!("{node}/{}", key.name).into()
    }
}

/// A host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedNode {
    /// Whether it answers.
    pub online: bool,
    /// Processors.
    pub cpus: u32,
    /// Memory.
    pub memory: Bytes,
    /// Whether it has hosts of its own among which it keeps machines apart.
    #[serde(default, skip_serializing_if = "is_false")]
    pub spreads: bool,
    /// Native networks that guests can be plugged into; `None` when not known.
    pub networks: Option<BTreeSet<String>>,
}

/// A storage as one host sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedStorage {
    /// Its name.
    pub name: StorageName,
    /// The host.
    pub node: NodeName,
    /// Whether all hosts see the same volumes.
    pub shared: bool,
    /// Whether it takes machine disks.
    pub holds_disks: bool,
    /// Whether it can be used right now.
    pub active: bool,
    /// Size.
    pub total: Bytes,
    /// In use.
    pub used: Bytes,
    /// What thin disks on it may still come to take, where the product tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promised: Option<Bytes>,
}

/// What an observation should look at closely.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Whose mark counts as ours.
    pub project: Option<ProjectName>,
    /// Native names that the configuration wants, or once wanted.
    pub names: BTreeSet<String>,
    /// Ids that are pinned, adopted or named by the journal.
    pub ids: BTreeSet<NativeId>,
    /// Ids that creation would like to have and that must be asked for one by one
    /// when the account does not see everything.
    pub pinned: BTreeSet<NativeId>,
    /// Templates that images name, by id.
    pub templates: BTreeSet<NativeId>,
    /// Templates that images name only by name.
    pub template_names: BTreeSet<String>,
    /// ISO images by native volume name.
    pub isos: BTreeSet<String>,
    /// Every machine there is, whoever's: for a look at what could be adopted.
    pub every: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

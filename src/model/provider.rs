//! The contract of a provider, in two halves.
//!
//! [`Product`] is pure: facts about a product, and translation of intent into
//! steps. `diff` and `plan` see nothing else of it. The effectful half, `Provider`,
//! is in `provider`, because its one mutating call needs a journal row.

use super::{
    Bus, DesiredMachine, DesiredPool, DeviceName, Disruption, FieldChange, FieldKind, FieldPath,
    MacAddress, MachineSpec, Name, NativeId, NodeName, ObservedMachine, ObservedPool,
    ObservedSpread, PowerState, ResourceKey, Slot, SnapshotSeen, Step, StorageName, TakeSnapshot,
    Value,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use uuid::Uuid;

/// What is known of a product without asking any hypervisor.
pub trait Product: Send + Sync {
    /// What it can do, field by field.
    fn capabilities(&self) -> &Capabilities;

    /// A desired spec, spelt the way the product will report it back. Fields that
    /// the product cannot have are errors here, never dropped.
    fn normalize(&self, machine: &DesiredMachine) -> Result<MachineSpec, Vec<Unsupported>>;

    /// What a change costs the machine that was seen, when it runs or when it does not;
    /// `None` = it cannot be made on a machine that exists. The price may depend on the
    /// values and on the machine; where it does not, it is
    /// [`Capabilities::cost`](Capabilities::cost).
    fn cost(
        &self,
        change: &FieldDelta<'_>,
        seen: &ObservedMachine,
        running: bool,
    ) -> Option<Disruption>;

    /// What two names have in common when the product lets only one machine have them:
    /// the name itself where it compares letter by letter.
    fn name_key(&self, name: &str) -> String;

    /// The single calls, in order, that bring about one change.
    fn lower(&self, change: &Change<'_>) -> Result<Lowered, Vec<Unsupported>>;
}

/// What a product can do.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// The product's name, for people.
    pub product: &'static str,
    /// What changing a field costs on a running machine, as far as the field alone
    /// tells; a field that is not here cannot be changed after birth. Asked for through
    /// [`Product::cost`], which knows the values too.
    pub changes: BTreeMap<FieldKind, Disruption>,
    /// Fields that can be declared but never read back.
    pub unreadable: Vec<FieldKind>,
    /// Whether we choose native ids, as numbers from a range.
    pub chooses_ids: bool,
    /// Whether we choose the machine's UUID.
    pub chooses_uuid: bool,
    /// Hardware addresses that we may derive.
    pub macs: MacRange,
    /// The controller of a disk that names none.
    pub default_bus: Bus,
    /// Whether removing a disk can leave its volume.
    pub detaches_disks: bool,
    /// Whether a linked clone hangs on a snapshot of its template.
    pub linked_needs_snapshot: bool,
    /// What goes together with snapshots.
    pub snapshots: SnapshotRules,
    /// What a person finds under which name.
    pub words: Words,
}

/// What goes together with snapshots of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRules {
    /// Whether a disk can grow while there are any.
    pub disks_grow: bool,
    /// Whether the volume of a disk can be deleted while there are any.
    pub volumes_go: bool,
}

/// The product's own words for what help texts point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// The setting of a machine that pins its native id; `None` = ids cannot be pinned.
    pub id_setting: Option<&'static str>,
    /// The setting of a hypervisor that says from which range ids are chosen.
    pub id_range: &'static str,
    /// The part of an object that holds the marker: `notes`.
    pub marker_home: &'static str,
    /// Where a machine can be given a machine UUID.
    pub uuid_home: &'static str,
}

/// Hardware addresses that the product takes from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacRange {
    /// Their first three bytes.
    pub prefix: [u8; 3],
    /// How many of the low bits are ours to choose, 24 at most. What lies between prefix and
    /// these is zero: VMware takes `00:50:56:00:00:00` to `00:50:56:3f:ff:ff`, which is 22.
    pub bits: u8,
}

impl MacRange {
    /// The address that a number stands for; only its low bits count.
    #[must_use]
    pub fn at(self, number: u64) -> MacAddress {
        let free = number & ((1 << u32::from(self.bits.min(24))) - 1);
        let [.., a, b, c] = free.to_be_bytes();
        MacAddress([self.prefix[0], self.prefix[1], self.prefix[2], a, b, c])
    }
}

impl Capabilities {
    /// What changing a field costs on a machine in this power state, whatever its
    /// values: the whole answer of a product whose prices do not depend on them.
    /// `restart` costs nothing on a stopped machine; `reinit` stays.
    pub fn cost(&self, kind: FieldKind, running: bool) -> Option<Disruption> {
        let cost = *self.changes.get(&kind)?;
        Some(match cost {
            Disruption::Restart | Disruption::Online | Disruption::NextBoot if !running => {
                Disruption::None
            }
            other => other,
        })
    }
}

/// One change of one field before anything is decided about it: what it is, and what it
/// is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldDelta<'a> {
    /// Which field.
    pub field: &'a FieldPath,
    /// Its value now; `None` = unset.
    pub before: Option<&'a Value>,
    /// Its value afterwards; `None` = unset.
    pub after: Option<&'a Value>,
}

impl<'a> From<&'a FieldChange> for FieldDelta<'a> {
    fn from(it: &'a FieldChange) -> Self {
        Self { field: &it.field, before: it.before.as_ref(), after: it.after.as_ref() }
    }
}

/// A declared field that a product cannot have, or not like this.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unsupported {
    /// Which field.
    pub field: FieldPath,
    /// Why.
    pub why: String,
    /// What to do.
    pub help: String,
}

/// One change to be lowered into steps.
#[derive(Clone, Debug)]
pub enum Change<'a> {
    /// Make a machine and build it to its end. With `seen`, a half-made one is
    /// there already and only what is missing is emitted.
    Build(Build<'a>),
    /// Change fields of a machine that is ready.
    Update(Update<'a>),
    /// Turn it on, or resume it.
    Start,
    /// Shut it down, waiting 120 s, then failing; from which state, because what is
    /// suspended hears no shutdown.
    Stop(PowerState),
    /// Shut it down and start it.
    Restart(&'a ObservedMachine),
    /// Keep its disks as they are.
    TakeSnapshot(&'a TakeSnapshot),
    /// Remove these of its snapshots, one after the other.
    RemoveSnapshots(&'a [&'a SnapshotSeen]),
    /// Write our marker on a machine that exists, and change nothing else.
    Adopt(Adopt<'a>),
    /// Write the marker of a machine for another entry.
    Rename(Rename<'a>),
    /// Take the marker off, and change nothing else.
    Forget(&'a ObservedMachine),
    /// Delete a machine with its volumes; a shutdown, then a hard stop when it runs.
    Delete(&'a ObservedMachine),
    /// Make a pool, or what is missing of it.
    CreatePool(PoolChange<'a>),
    /// Write a pool's comment.
    UpdatePool(PoolChange<'a>),
    /// Delete an empty pool.
    DeletePool(&'a ObservedPool),
    /// Keep machines apart that are not.
    CreateSpread(&'a Spread),
    /// Keep these machines apart, and no others under that name.
    UpdateSpread(&'a Spread),
    /// Keep them apart no longer.
    DeleteSpread(&'a ObservedSpread),
}

/// Machines that are to be kept on different hosts of one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// `spread/NAME`.
    pub key: ResourceKey,
    /// The place.
    pub node: NodeName,
    /// All of them, by key: some may not be born yet.
    pub members: BTreeSet<ResourceKey>,
}

/// A pool to be made or changed.
#[derive(Clone, Copy, Debug)]
pub struct PoolChange<'a> {
    /// What is asked for.
    pub pool: &'a DesiredPool,
    /// What is there; `None` = nothing that could be seen.
    pub seen: Option<&'a ObservedPool>,
}

/// A machine to be made.
#[derive(Clone, Debug)]
pub struct Build<'a> {
    /// What is asked for.
    pub machine: &'a DesiredMachine,
    /// Its spec, normalised.
    pub spec: &'a MachineSpec,
    /// The template it is cloned from, as observed; `None` for an ISO.
    pub template: Option<&'a ObservedMachine>,
    /// The snapshot of the template that a linked clone hangs on, where the product says
    /// that it needs one.
    pub snapshot: Option<&'a SnapshotSeen>,
    /// What was chosen.
    pub allotted: &'a Allotted,
    /// The half-made machine, when a former run began it.
    pub seen: Option<&'a ObservedMachine>,
}

/// A machine to be taken over.
#[derive(Clone, Debug)]
pub struct Adopt<'a> {
    /// What is asked for; its devices get the names.
    pub machine: &'a DesiredMachine,
    /// Its spec, normalised.
    pub spec: &'a MachineSpec,
    /// What is there. A marker of ours on it, which does not bind, still says which
    /// device was which.
    pub seen: &'a ObservedMachine,
}

/// A machine that another entry manages from now on.
#[derive(Clone, Debug)]
pub struct Rename<'a> {
    /// The entry that it is to be.
    pub to: &'a ResourceKey,
    /// What is there, ours under its old key.
    pub seen: &'a ObservedMachine,
}

/// A machine to be changed.
#[derive(Clone, Debug)]
pub struct Update<'a> {
    /// What is asked for.
    pub machine: &'a DesiredMachine,
    /// Its spec, normalised.
    pub spec: &'a MachineSpec,
    /// What is there.
    pub seen: &'a ObservedMachine,
    /// The fields to change: all of one consent group.
    pub fields: &'a [FieldChange],
    /// What was chosen for new disks and cards.
    pub allotted: &'a Allotted,
    /// Whether a restart is part of it.
    pub restart: bool,
}

/// Every choice that was made for one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allotted {
    /// Its native id, where we choose it.
    pub id: Option<NativeId>,
    /// Its host.
    pub node: Option<NodeName>,
    /// Where each new disk's volume goes.
    pub storages: BTreeMap<DeviceName, StorageName>,
    /// The hardware address of each new card.
    pub macs: BTreeMap<DeviceName, MacAddress>,
}

/// The result of lowering one change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lowered {
    /// Calls, in order.
    pub steps: Vec<Step>,
    /// Slots that were given to new devices, for people.
    pub slots: BTreeMap<FieldPath, Slot>,
    /// Fields that are only read.
    pub reads: Vec<FieldPath>,
    /// Worth a line (an unmanaged card that is removed from a fresh clone).
    pub notes: Vec<String>,
}

/// Points at one object on a hypervisor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "TargetRow", into = "TargetRow")]
pub struct Target {
    /// Which entry it is.
    pub key: ResourceKey,
    /// What it is found by.
    pub at: At,
    /// Where it was last seen; it may have moved.
    pub node: Option<NodeName>,
}

/// What an object is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// Its native id; for a pool its native name.
    Id(NativeId),
    /// Where it is being born, on a product that assigns the id.
    Birth(Birthplace),
}

/// How an object is found whose native id nobody knows yet: by its UUID, else by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Birthplace {
    /// The name that it gets.
    pub name: String,
    /// The pool that it is born into: names may collide within one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// The UUID that we gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uuid>,
}

impl Target {
    /// An object with a native id.
    pub fn with_id(key: ResourceKey, id: impl Into<NativeId>, node: Option<NodeName>) -> Self {
        Self { key, at: At::Id(id.into()), node }
    }

    /// Its native id, once it has one.
    pub fn id(&self) -> Option<&NativeId> {
        match &self.at {
            At::Id(id) => Some(id),
            At::Birth(_) => None,
        }
    }
}

impl At {
    /// The id, or the name that it is born with.
    pub fn as_str(&self) -> &str {
        match self {
            At::Id(id) => id.as_str(),
            At::Birth(place) => &place.name,
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Id(id) => write!(f, "{id}"),
            At::Birth(place) => write!(f, "`{}`", place.name),
        }
    }
}

/// A target as journals hold it: an id is a plain field, as it was before any product
/// assigned ids.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetRow {
    key: ResourceKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<NativeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    birth: Option<Birthplace>,
    node: Option<NodeName>,
}

impl TryFrom<TargetRow> for Target {
    type Error = &'static str;

    fn try_from(row: TargetRow) -> Result<Self, Self::Error> {
        let at = match (row.id, row.birth) {
            (Some(id), None) => At::Id(id),
            (None, Some(place)) => At::Birth(place),
            (Some(_), Some(_)) | (None, None) => return Err("expected either `id` or `birth`"),
        };
        Ok(Self { key: row.key, at, node: row.node })
    }
}

impl From<Target> for TargetRow {
    fn from(target: Target) -> Self {
        let (id, birth) = match target.at {
            At::Id(id) => (Some(id), None),
            At::Birth(place) => (None, Some(place)),
        };
        Self { key: target.key, id, birth, node: target.node }
    }
}

/// One object, just read from its own place.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// What is there.
    pub object: FreshObject,
    /// The product's own version of it (a digest, an ETag): never in a plan, lives
    /// only until the write that follows.
    pub version: Option<String>,
    /// The product's own form of it, for the provider to write it back complete.
    pub raw: serde_json::Value,
}

impl Fresh {
    /// Nothing was found.
    pub fn absent() -> Self {
        Self { object: FreshObject::Absent, version: None, raw: serde_json::Value::Null }
    }
}

/// What a fresh read found.
#[derive(Clone, Debug)]
pub enum FreshObject {
    /// A machine.
    Machine(Box<ObservedMachine>),
    /// A pool.
    Pool(ObservedPool),
    /// Machines that are kept apart.
    Spread(ObservedSpread),
    /// Proved not to be there, on any host.
    Absent,
    /// Something is there and cannot be read (a locked birth, a dead node).
    Unreadable(String),
}

/// The product's own asynchronous job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskRef(pub String);

/// How a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Not begun: the product has others to do first. How long a task may take counts from
    /// its beginning.
    Queued,
    /// Still going.
    Running,
    /// Ended well, with what it made and what it warns of.
    Done(Receipt),
    /// Ended badly. `Conflict`, `Busy` and `Exists` say that it did nothing; of the others
    /// a look has to tell.
    Failed(Refusal),
    /// Cannot be told.
    Unknown(String),
}

/// What came of one mutating call.
#[derive(Debug)]
pub enum Submitted {
    /// It is done.
    Done(Receipt),
    /// A task was begun.
    Accepted(TaskRef),
    /// Proved not done.
    Refused(Refusal),
    /// Never left.
    NotSent(ProviderError),
    /// It may have happened.
    Unknown(ProviderError),
}

/// Facts that came back with a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The native id of what was made, when the product chose it.
    pub id: Option<NativeId>,
    /// Worth a line.
    pub notes: Vec<String>,
}

/// A call that was refused, so that nothing happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of refusal.
    pub kind: RefusalKind,
    /// The product's words, without secrets.
    pub text: String,
}

/// What kind of refusal; decides whether to read again, wait, or give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The object changed since it was read: read again.
    Conflict,
    /// It is locked, or busy: wait.
    Busy,
    /// What was to be made exists: the claim is lost.
    Exists,
    /// What was to be changed does not exist.
    Missing,
    /// The guest cannot be asked: there is nothing in it that would hear.
    GuestDeaf,
    /// A privilege is missing.
    Permission,
    /// The credentials are refused.
    Auth,
    /// The product finds fault with the request, or with the state of the world.
    Invalid,
}

impl RefusalKind {
    /// Whether a call that ended like this did nothing at all, also as a task.
    pub fn leaves_all_as_it_was(self) -> bool {
        match self {
            RefusalKind::Conflict
            | RefusalKind::Busy
            | RefusalKind::Exists
            | RefusalKind::GuestDeaf => true,
            RefusalKind::Missing
            | RefusalKind::Permission
            | RefusalKind::Auth
            | RefusalKind::Invalid => false,
        }
    }
}

/// What became of a call whose reply was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// A task of it is running.
    Running(TaskRef),
    /// It happened.
    Happened(Receipt),
    /// It did not, and this is how we know.
    DidNotHappen(String),
    /// Cannot be told yet.
    StillUnknown(String),
}

/// An error of a provider: which call, on what, and whether again can help.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation}")]
pub struct ProviderError {
    /// What was being done, beginning with a verb: "read vm 100 on pve1".
    pub operation: String,
    /// What kind of trouble.
    pub kind: ErrorKind,
    /// Whether trying again can help; only the runner acts on it.
    pub retry: Retry,
    /// The cause.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// No connection, or no answer in time.
    Unreachable,
    /// The certificate is not the one that is trusted.
    Certificate,
    /// Another installation answers under this name.
    Identity,
    /// Trust settings do not cover this host.
    Trust,
    /// The credentials are refused.
    Auth,
    /// A privilege is missing.
    Permission,
    /// An answer that cannot be understood.
    Decode,
    /// The product refused for another reason.
    Refused,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// No.
    No,
    /// At once.
    Now,
    /// After this long.
    After(std::time::Duration),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.key, self.at)
    }
}

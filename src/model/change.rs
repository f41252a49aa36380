//! A change to be lowered into steps: what a plan asks of a product, and gets from it.

use super::{
    DesiredMachine, DesiredPool, DeviceName, FieldChange, FieldPath, GrantRole, Grantee,
    MacAddress, MachineSpec, NativeId, NodeName, ObservedMachine, ObservedPool, ObservedSpread,
    PoolPart, PowerState, ResourceKey, Slot, SnapshotSeen, Step, StorageName, TakeSnapshot,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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
    /// Grant something on parts of a pool, and take something away.
    Grants(&'a GrantChange),
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

/// What is to be granted on parts of a pool, and what is to be taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantChange {
    /// What is taken away, of our own.
    pub take: Vec<(PoolPart, Grantee)>,
    /// Roles that have to be made first.
    pub make: BTreeSet<GrantRole>,
    /// What is granted.
    pub give: Vec<(PoolPart, Grantee, GrantRole)>,
}

impl GrantChange {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.take.is_empty() && self.give.is_empty()
    }
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

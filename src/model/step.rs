//! Steps: single mutating calls in a closed, neutral vocabulary.
//!
//! A product's `lower` chooses and orders them; the provider turns one step and a
//! fresh read into one native call. No step says "add": each states an end.

use super::{
    Birth, Bytes, CloneFrom, DeviceName, DiskMove, Expect, GrantRole, Grantee, InitSecret, Name,
    PoolPart, ResourceKey, SecretRef, Seed, Setting, Slot, Stage,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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

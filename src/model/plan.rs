//! The plan: what `apply` will do, complete and final.

use super::{
    ActionId, Bytes, Code, Envelope, FieldPath, HypervisorName, NativeId, NodeName, Place, Policy,
    ProjectName, ResourceKey, Step, StepOp, Value,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The version of plan documents that this code writes and reads.
pub const PLAN_FORMAT: u32 = 1;

/// A plan document: the body that is approved, and what surrounds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// SHA-256 of the canonical JSON of `body`, hex; what `--approve` names.
    pub plan_id: String,
    /// What is approved. Has no times, ages, reasons or authors.
    pub body: PlanBody,
    /// What surrounds it, and may differ between two equal plans.
    pub envelope: Envelope,
}

/// What is approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanBody {
    /// Version of this document.
    pub format: u32,
    /// Whose plan it is.
    pub project: ProjectName,
    /// SHA-256 of each file that was read, by path below the root.
    pub files: BTreeMap<String, String>,
    /// The rules that it was judged by.
    pub policy: Policy,
    /// What would be done, by id.
    pub actions: Vec<Action>,
    /// What must finish before what.
    pub edges: Vec<Edge>,
    /// What cannot be done, and why.
    pub blocked: Vec<Blocked>,
    /// Objects that were examined and need nothing.
    pub unchanged: u32,
}

/// What one plan does to one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// `key:verb`, unique in its plan.
    pub id: ActionId,
    /// The object.
    pub key: ResourceKey,
    /// Where it is.
    pub hypervisor: HypervisorName,
    /// Its native id; for a birth, the id that is claimed.
    pub native_id: Option<NativeId>,
    /// The host it is on, or goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// What is done.
    pub verb: Verb,
    /// Fields before and after.
    pub fields: Vec<FieldChange>,
    /// Every class above `none` that it has; each above `next-boot` needs consent.
    pub classes: BTreeSet<Disruption>,
    /// What data goes.
    #[serde(default, skip_serializing_if = "DataLoss::is_none")]
    pub data_loss: DataLoss,
    /// Whether a later plan can undo it.
    pub reversible: bool,
    /// The entry that asks for it; for a removed entry, nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Single calls, in order.
    pub steps: Vec<Step>,
    /// What the world must still look like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// Choices that another may take first.
    pub claims: Vec<Claim>,
    /// Choices that were made, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
    /// Whether the object is protected: deletes and replaces are refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
}

impl Action {
    /// The worst class it has.
    pub fn disruption(&self) -> Disruption {
        self.classes.last().copied().unwrap_or(Disruption::None)
    }

    /// Whether what it loses are snapshots of a machine, and no volumes.
    pub fn loses_snapshots(&self) -> bool {
        let removes = |step: &Step| matches!(step.op, StepOp::RemoveSnapshot { .. });
        !self.data_loss.is_none() && self.steps.iter().any(removes)
    }
}

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Make it.
    Create,
    /// Build a half-made one to its end.
    Continue,
    /// Change it.
    Update,
    /// Start it.
    Start,
    /// Shut it down.
    Stop,
    /// Shut it down and start it, so that pending values come into force.
    Restart,
    /// Delete it and make it anew.
    Replace,
    /// Delete it.
    Delete,
    /// Begin to manage one that exists, without touching the machine.
    Adopt,
    /// Manage it under another key.
    Rename,
    /// Stop managing it, without touching the machine.
    Forget,
    /// Keep it as it is, because a person asks for it.
    Snapshot,
}

impl Verb {
    /// The word used in plans and ids.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Continue => "continue",
            Verb::Update => "update",
            Verb::Start => "start",
            Verb::Stop => "stop",
            Verb::Restart => "restart",
            Verb::Replace => "replace",
            Verb::Delete => "delete",
            Verb::Adopt => "adopt",
            Verb::Rename => "rename",
            Verb::Forget => "forget",
            Verb::Snapshot => "snapshot",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a change costs the guest, from nothing to everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disruption {
    /// Nothing.
    None,
    /// Applied while it runs.
    Online,
    /// Written now, read by the guest at its own next boot; harmless.
    NextBoot,
    /// At its next boot the guest configures itself anew (host keys, users).
    Reinit,
    /// Shut down and started.
    Restart,
    /// Deleted and made anew; its disks are lost.
    Replace,
    /// Deleted; its disks are lost.
    Delete,
}

impl Disruption {
    /// The word used in plans and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Disruption::None => "none",
            Disruption::Online => "online",
            Disruption::NextBoot => "next-boot",
            Disruption::Reinit => "reinit",
            Disruption::Restart => "restart",
            Disruption::Replace => "replace",
            Disruption::Delete => "delete",
        }
    }

    /// Whether it waits for consent by name.
    pub fn needs_consent(self) -> bool {
        self > Disruption::NextBoot
    }
}

impl fmt::Display for Disruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Data that an action destroys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataLoss {
    /// Every volume that goes, detached and unmanaged ones too.
    pub volumes: Vec<LostVolume>,
    /// Whether this is a loss on a machine that stays, which needs consent of its
    /// own; a delete or a replace includes the loss of its own disks.
    pub on_a_machine_that_stays: bool,
}

impl DataLoss {
    /// Whether nothing is lost.
    pub fn is_none(&self) -> bool {
        self.volumes.is_empty()
    }

    /// All bytes that go.
    pub fn bytes(&self) -> Bytes {
        Bytes(self.volumes.iter().map(|volume| volume.size.map_or(0, |size| size.0)).sum())
    }
}

/// One volume that goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostVolume {
    /// Native name.
    pub volume: String,
    /// What it was: a disk's name, or the slot of an unmanaged one.
    pub label: String,
    /// Its size, when known.
    pub size: Option<Bytes>,
}

/// One field before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldChange {
    /// Which field.
    pub field: FieldPath,
    /// What was observed; `None` = unset or not there.
    pub before: Option<Value>,
    /// What is desired; `None` = to be unset or removed.
    pub after: Option<Value>,
    /// What it costs.
    pub disruption: Disruption,
    /// Where it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Already written on the hypervisor and waiting for a restart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending: bool,
}

/// What the world must look like for an action to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Every field that the action reads or writes.
    pub fields: BTreeSet<FieldPath>,
    /// SHA-256 over native id, uuid, marker and those fields, hex.
    pub sha256: String,
}

/// A choice that another may take first; proved again right before the first call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Claim {
    /// No guest has this native id.
    Id(NativeId),
    /// No other guest on this hypervisor has a name that collides by this
    /// (`Product::name_key`).
    Name(String),
    /// This host is online.
    Node(NodeName),
    /// No other guest is configured with this address.
    Address(std::net::IpAddr),
    /// There is still room for this.
    Capacity {
        /// On this host.
        node: NodeName,
        /// Memory.
        memory: Bytes,
    },
}

/// A choice that was made in the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// What was chosen: `node`, `vmid`, `storage disk.data`, `mac nic.eth0`.
    pub what: String,
    /// What came out.
    pub value: String,
    /// Why.
    pub why: String,
}

/// `before` must finish before `after` begins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// First.
    pub before: ActionId,
    /// Then.
    pub after: ActionId,
    /// Why.
    pub reason: EdgeReason,
}

/// Why one action waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeReason {
    /// A pool before its members, and before another pool that goes through it.
    Pool,
    /// `after:` in the YAML.
    After,
    /// A name, an id, an address or room is freed before it is used again.
    Frees,
    /// Machines are deleted before the pool that holds them.
    DeleteOrder,
    /// Two actions on one object.
    SameObject,
    /// Machines before the rule that keeps them apart.
    Members,
}

/// Something that cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blocked {
    /// The object.
    pub key: ResourceKey,
    /// Where.
    pub hypervisor: HypervisorName,
    /// What would have been done, when that is known.
    pub verb: Option<Verb>,
    /// Why, as a stable code.
    pub code: Code,
    /// Why, in words.
    pub message: String,
    /// What to do about it.
    pub help: String,
    /// The entry.
    pub place: Option<Place>,
}

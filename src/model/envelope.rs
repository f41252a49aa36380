//! What surrounds a plan: reasons, verdicts and ages, and what a person allows. None of it
//! is part of what is approved.

use super::{ActionId, Code, HypervisorName, ResourceKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What surrounds a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// When it was made (RFC 3339); absent in tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<String>,
    /// Which program made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// Why each action is there, by id.
    pub reasons: BTreeMap<ActionId, Reason>,
    /// Actions that wait, and for what.
    pub waiting: BTreeMap<ActionId, Waiting>,
    /// What would refuse the run, judged without any consent.
    pub refusals: Vec<Refused>,
    /// Per hypervisor: how it was read.
    pub hypervisors: BTreeMap<HypervisorName, HypervisorSummary>,
    /// Waves in which actions can run, for people.
    pub waves: Vec<Vec<ActionId>>,
    /// Worth a line.
    pub notes: Vec<Note>,
    /// When `--target` was given: what was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targeted: Option<Targeted>,
}

/// Why an action is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The entry is new.
    New,
    /// The YAML changed.
    ConfigChanged,
    /// The world changed.
    Drift,
    /// The YAML and the world differ, and the journal cannot tell which moved.
    Different,
    /// The entry is gone.
    Removed,
    /// Something else needs it.
    Dependency,
    /// It was begun and not finished.
    Unfinished,
    /// A person asks for it here and now.
    Asked,
    /// There is more of something than is to be kept.
    Surplus,
    /// Fewer than two machines are left to be kept apart.
    TooFew,
}

/// What an action waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// Why, as a stable code.
    pub code: Code,
    /// Why, in words.
    pub message: String,
    /// The flag or the deed that would let it run.
    pub unlock: String,
}

/// A refusal of a whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Which rule.
    pub code: Code,
    /// What it says.
    pub message: String,
    /// Which objects.
    pub objects: Vec<String>,
    /// What to do.
    pub help: String,
}

/// How one hypervisor was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HypervisorSummary {
    /// Product and version.
    pub version: String,
    /// `complete`, `scoped`, `partial` or `failed`.
    pub coverage: String,
    /// What is missing.
    pub gaps: Vec<String>,
    /// Guests listed.
    pub guests: u32,
    /// Of them, ours.
    pub owned: u32,
    /// Age of the observation in seconds, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<u64>,
}

/// A line that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// About what, when it is about one object.
    pub key: Option<ResourceKey>,
    /// The text.
    pub text: String,
}

/// What `--target` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targeted {
    /// What was asked for.
    pub targets: Vec<String>,
    /// Predecessors that were added because they are needed.
    pub added: Vec<ActionId>,
    /// The actions on the targets, with the added ones: all that may run.
    pub chosen: BTreeSet<ActionId>,
    /// How many actions were left out.
    pub left_out: u32,
}

impl Envelope {
    /// Whether an action is within what `--target` asked for.
    pub fn covers(&self, id: &ActionId) -> bool {
        self.targeted.as_ref().is_none_or(|it| it.chosen.contains(id))
    }

    /// Whether an object is within what `--target` asked for.
    pub fn covers_key(&self, key: &ResourceKey) -> bool {
        self.targeted.as_ref().is_none_or(|it| {
            let key = key.to_string();
            it.targets.contains(&key)
        })
    }
}

/// What a person allows a run to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    /// Everything up to `next-boot`.
    pub yes: bool,
    /// Classes allowed by name, for all objects (`None`) or for some.
    pub allow: BTreeMap<Allowance, Option<BTreeSet<ResourceKey>>>,
    /// Objects whose delete or replace a person confirms, as second witness.
    pub confirm: BTreeSet<ResourceKey>,
    /// How many objects the desired state may lose against what is owned.
    pub expect_shrink: Option<u32>,
}

/// What `--allow` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allowance {
    /// A guest that configures itself anew.
    Reinit,
    /// A shut-down and start.
    Restart,
    /// A delete and create.
    Replace,
    /// A delete.
    Delete,
    /// Loss of a disk on a machine that stays.
    DataLoss,
}

impl Allowance {
    /// Every one, mildest first.
    pub const ALL: [Allowance; 5] = [
        Allowance::Reinit,
        Allowance::Restart,
        Allowance::Replace,
        Allowance::Delete,
        Allowance::DataLoss,
    ];

    /// The word used on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Allowance::Reinit => "reinit",
            Allowance::Restart => "restart",
            Allowance::Replace => "replace",
            Allowance::Delete => "delete",
            Allowance::DataLoss => "data-loss",
        }
    }
}

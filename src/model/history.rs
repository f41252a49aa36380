//! What the journal remembers, as an optional input of planning. It may withhold
//! or label an action, never add one.

use super::{HypervisorName, NativeId, ResourceKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The journal's memory of this project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Objects that we created or adopted, and did not delete or forget.
    pub owned: BTreeSet<Remembered>,
    /// Creations whose outcome was never written down.
    pub open: BTreeSet<OpenBirth>,
    /// What each entry asked for when it was last seen to be so, as a digest.
    #[serde(default)]
    pub settled: BTreeMap<ResourceKey, String>,
}

/// One object as the journal remembers it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    /// Which entry it was.
    pub key: ResourceKey,
    /// On which hypervisor.
    pub hypervisor: HypervisorName,
    /// Its native id.
    pub id: NativeId,
}

/// A creation whose outcome was never written down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenBirth {
    /// Which entry it was for.
    pub key: ResourceKey,
    /// On which hypervisor.
    pub hypervisor: HypervisorName,
    /// Which creation: the marker of what came of it says the same.
    pub intent: Uuid,
    /// The native id, where we chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<NativeId>,
}

impl History {
    /// Whether the journal has a record that we made or adopted this object: the
    /// second witness of a delete.
    pub fn remembers(&self, key: &ResourceKey, hypervisor: &HypervisorName, id: &NativeId) -> bool {
        self.owned.iter().any(|it| it.key == *key && it.hypervisor == *hypervisor && it.id == *id)
    }

    /// Whether this very creation was begun and not closed.
    pub fn has_open(&self, key: &ResourceKey, hypervisor: &HypervisorName, intent: Uuid) -> bool {
        let is =
            |it: &&OpenBirth| it.key == *key && it.hypervisor == *hypervisor && it.intent == intent;
        self.open.iter().any(|it| is(&it))
    }
}

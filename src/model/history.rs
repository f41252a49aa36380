//! What the journal remembers, as an optional input of planning. It may withhold
//! or label an action, never add one.

use super::{HypervisorName, NativeId, ResourceKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The journal's memory of this project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Objects that we created or adopted, and did not delete or forget.
    pub owned: BTreeSet<Remembered>,
    /// Creations whose outcome was never written down.
    pub open: BTreeSet<Remembered>,
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

impl History {
    /// Whether the journal has a record that we made or adopted this object: the
    /// second witness of a delete.
    pub fn remembers(&self, key: &ResourceKey, hypervisor: &HypervisorName, id: &NativeId) -> bool {
        self.owned.iter().any(|it| it.key == *key && it.hypervisor == *hypervisor && it.id == *id)
    }

    /// Whether a creation of this key at this id was begun and not closed.
    pub fn has_open(&self, key: &ResourceKey, hypervisor: &HypervisorName, id: &NativeId) -> bool {
        self.open.iter().any(|it| it.key == *key && it.hypervisor == *hypervisor && it.id == *id)
    }
}

//! What must hold before a step, and what holds after it.

use super::{
    FieldPath, GrantEnd, GrantRole, MarkerState, ObservedMachine, PartState, PoolPart, PowerState,
    ResourceKey, Slot, Stage, Value,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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

//! The ownership marker as data. Its text is in `ownership::text`.

use super::{DeviceName, NativeId, ProjectName, ResourceKey, Slot};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What novahost wrote on an object, to know it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    /// Whose it is.
    pub project: ProjectName,
    /// Which entry it is.
    pub key: ResourceKey,
    /// The machine's own UUID when the marker was written; `None` where the product has none.
    pub uuid: Option<Uuid>,
    /// The native id; `None` is written as `pending`, before it is known.
    pub id: Option<NativeId>,
    /// How far its life has come.
    pub stage: Stage,
    /// Which creation made it.
    pub intent: Uuid,
    /// Digest of the first-boot document that it was seeded with, 32 hex digits.
    pub init: Option<String>,
    /// Deletion protection; outlives the entry in the YAML.
    pub protect: bool,
    /// Keyed digest over all of the above and the map, when a `marker_key` is set.
    pub mac: Option<String>,
    /// Disks, cards and addresses by the names of the YAML.
    pub map: DeviceMap,
}

/// How far a machine's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Being built; never started yet.
    New,
    /// Complete; may have run.
    Ready,
    /// On its way out.
    Deleting,
}

impl Stage {
    /// The word used in the marker.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::New => "new",
            Stage::Ready => "ready",
            Stage::Deleting => "deleting",
        }
    }
}

/// Which native slot each named device sits in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceMap {
    /// Disks by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disks: BTreeMap<DeviceName, MapEntry>,
    /// Cards by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nics: BTreeMap<DeviceName, MapEntry>,
    /// Addresses that were chosen for a card, by card name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<DeviceName, String>,
    /// Disks whose volume goes when their entry is removed: by then the YAML that
    /// said so is gone, so it has to be remembered on the object.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub delete_on_remove: BTreeSet<DeviceName>,
}

/// One entry of the map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapEntry {
    /// The slot.
    pub slot: Slot,
    /// Whether a read has seen the device there after it was written. An entry
    /// that is not confirmed and has no device is attached again; a confirmed
    /// one without its device blocks the machine.
    pub confirmed: bool,
}

/// What was found where a marker would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MarkerState {
    /// No marker of any project.
    #[default]
    None,
    /// A well-formed one.
    Found(Box<Marker>),
    /// Lines that begin like a marker and cannot be read; the text, made inert.
    Garbled(String),
}

impl MarkerState {
    /// The marker, when it is well-formed.
    pub fn found(&self) -> Option<&Marker> {
        match self {
            MarkerState::Found(marker) => Some(marker),
            MarkerState::None | MarkerState::Garbled(_) => None,
        }
    }
}

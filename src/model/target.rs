//! What points at one object on a hypervisor, before it has an id and afterwards.

use super::{Name, NativeId, NodeName, ResourceKey};
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

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

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.key, self.at)
    }
}

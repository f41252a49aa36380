//! The native objects that a pool is made of, on products that have no pool as such.

use super::{GrantSeen, MarkerState, NativeId, ProjectName, ResourceKey};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// What a native object does for a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartKind {
    /// The definition of what marks and comments are written into. There is one for all pools.
    Mark,
    /// A group on the way to the pool's own; others may use it too.
    GroupAbove,
    /// The group that holds the pool's machines.
    Group,
    /// A share of resources on the way to the pool's own; others may use it too.
    ShareAbove,
    /// The share of resources that the pool's machines live on.
    Share,
}

impl PartKind {
    const ALL: [Self; 5] =
        [Self::Mark, Self::GroupAbove, Self::Group, Self::ShareAbove, Self::Share];

    /// The word in plans.
    pub fn as_str(self) -> &'static str {
        match self {
            PartKind::Mark => "mark",
            PartKind::GroupAbove => "group-above",
            PartKind::Group => "group",
            PartKind::ShareAbove => "share-above",
            PartKind::Share => "share",
        }
    }

    /// Whether it is the pool's own, which bears our mark when we made it and is removed with
    /// the pool. What several pools may use is made where it is missing, and stays.
    pub fn is_own(self) -> bool {
        match self {
            PartKind::Group | PartKind::Share => true,
            PartKind::Mark | PartKind::GroupAbove | PartKind::ShareAbove => false,
        }
    }

    /// What the same object is to the pool that ends in it: what is on the way to one pool may
    /// be another one's own.
    #[must_use]
    pub fn as_own(self) -> Self {
        match self {
            PartKind::GroupAbove => PartKind::Group,
            PartKind::ShareAbove => PartKind::Share,
            PartKind::Mark | PartKind::Group | PartKind::Share => self,
        }
    }
}

/// One native object of a pool, by what it does and what it is called. In text `KIND:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PoolPart {
    /// What it does.
    pub kind: PartKind,
    /// What the product calls it: a path, from outside to inside.
    pub name: String,
}

impl PoolPart {
    /// A part.
    pub fn new(kind: PartKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for PoolPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.name)
    }
}

impl FromStr for PoolPart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once(':').and_then(|(word, name)| {
            let kind = PartKind::ALL.into_iter().find(|it| it.as_str() == word)?;
            (!name.is_empty()).then(|| Self::new(kind, name))
        });
        parts.ok_or_else(|| format!("`{text}` is no part of a pool; expected `KIND:NAME`"))
    }
}

impl TryFrom<String> for PoolPart {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PoolPart> for String {
    fn from(part: PoolPart) -> Self {
        part.to_string()
    }
}

/// One part as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartSeen {
    /// Its native id; `None` = it is not there.
    pub id: Option<NativeId>,
    /// What is written on it.
    #[serde(default)]
    pub marker: MarkerState,
    /// Whether the configuration names it. What bears our mark and is not named was a part
    /// of the pool once.
    #[serde(default)]
    pub named: bool,
    /// Whether nothing at all is in it. Known of what bears a mark.
    #[serde(default)]
    pub empty: bool,
    /// What is granted on it with a role of ours, or to somebody to whom the configuration
    /// grants something. Known of what bears a mark.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub grants: BTreeSet<GrantSeen>,
}

impl PartSeen {
    /// How it stands, whosever the mark is: a mark that names another object was copied, and
    /// marks nothing.
    pub fn state(&self) -> PartState {
        match (&self.id, self.marker.found()) {
            (None, _) => PartState::Absent,
            (Some(_), Some(marker)) if marker.id == self.id => PartState::Marked,
            (Some(_), _) => PartState::There,
        }
    }

    /// Whether it bears a mark that names it, this project and this pool.
    pub fn is_marked_by(&self, project: &ProjectName, key: &ResourceKey) -> bool {
        let of_pool = |it: &super::Marker| it.project == *project && it.key == *key;
        self.state() == PartState::Marked && self.marker.found().is_some_and(of_pool)
    }
}

/// How a part stands, or is to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartState {
    /// It does not exist.
    Absent,
    /// It exists.
    There,
    /// It exists, and bears a mark that names it.
    Marked,
}

impl PartState {
    /// Whether one that stands so is as it is wanted: a marked one is there, too.
    pub fn meets(self, wanted: PartState) -> bool {
        self == wanted || (wanted == PartState::There && self == PartState::Marked)
    }
}

/// Why what is missing of a pool cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hindrance {
    /// Why.
    pub why: String,
    /// What to do.
    pub help: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_as_it_is_written() {
        for kind in PartKind::ALL {
            let part = PoolPart::new(kind, "A/b: c");
            assert_eq!(part.to_string().parse(), Ok(part));
        }
        for text in ["", "group", "group:", "groups:a"] {
            assert!(text.parse::<PoolPart>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mark_that_names_another_object_marks_nothing() {
        let line = "novahost/1 project=acme key=pool/web uuid=none id=group-7 stage=ready \
                    intent=00000000-0000-0000-0000-000000000001 init=none protect=0";
        assert!(line.contains("id=group-7"));
        let there = PartSeen { id: Some("group-7".into()), ..PartSeen::default() };
        assert_eq!(there.state(), PartState::There);
        assert!(PartState::Marked.meets(PartState::There));
        assert!(!PartState::There.meets(PartState::Marked));
        assert!(!PartState::Marked.meets(PartState::Absent));
        assert_eq!(PartSeen::default().state(), PartState::Absent);
    }
}

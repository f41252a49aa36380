//! Names and keys: what things are called in the YAML and on a hypervisor.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// Declares a name as a type of its own, cheap to clone, ordered by its text.
macro_rules! name_type {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a text that was already checked where it was read.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The name as it is written.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text, shared.
            pub fn shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )+};
}

name_type! {
    /// The project whose files these are; part of every marker.
    ProjectName,
    /// A configured hypervisor: an entry of `hypervisors`.
    HypervisorName,
    /// The name of an entry in any section but `hypervisors`.
    Name,
    /// A disk or network card of one machine, or a key of its free configuration, as the YAML
    /// calls it.
    DeviceName,
    /// Where a device sits on its hypervisor, in the product's words (`scsi0`, `net1`).
    Slot,
    /// A host of a hypervisor.
    NodeName,
    /// A place for volumes on a hypervisor.
    StorageName,
    /// What the hypervisor calls an object for good (a vmid, a MoRef, an extId).
    NativeId,
    /// One action of a plan: `vm/web-1:create`.
    ActionId,
}

impl DeviceName {
    /// The one reserved disk name: the disk that the image or the ISO fills.
    pub const BOOT: &'static str = "boot";

    /// Whether this is the reserved boot disk.
    pub fn is_boot(&self) -> bool {
        self.as_str() == Self::BOOT
    }
}

/// What kind of thing a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A pool that groups machines.
    Pool,
    /// A virtual machine.
    Vm,
    /// Machines that are kept on different hosts.
    Spread,
}

impl Kind {
    /// The word used in addresses.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Pool => "pool",
            Kind::Vm => "vm",
            Kind::Spread => "spread",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// `kind/name`: the address of an entry, for good; renaming it makes another entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    /// What it names.
    pub kind: Kind,
    /// The entry's name in its section.
    pub name: Name,
}

impl ResourceKey {
    /// The key of a machine.
    pub fn vm(name: impl Into<Name>) -> Self {
        Self { kind: Kind::Vm, name: name.into() }
    }

    /// The key of machines that are kept apart.
    pub fn spread(name: impl Into<Name>) -> Self {
        Self { kind: Kind::Spread, name: name.into() }
    }

    /// The key of a pool.
    pub fn pool(name: impl Into<Name>) -> Self {
        Self { kind: Kind::Pool, name: name.into() }
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.kind, self.name))
    }
}

/// A text that is not `kind/name`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address; expected `vm/NAME`, `pool/NAME` or `spread/NAME`")]
pub struct NotAnAddress(pub String);

impl FromStr for ResourceKey {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some(("vm", name)) if !name.is_empty() => Ok(Self::vm(name)),
            Some(("pool", name)) if !name.is_empty() => Ok(Self::pool(name)),
            Some(("spread", name)) if !name.is_empty() => Ok(Self::spread(name)),
            _ => Err(NotAnAddress(text.to_owned())),
        }
    }
}

impl Serialize for ResourceKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ResourceKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A line of a file, relative to the root, so that it reads the same on any machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Path below the root, with `/`.
    pub file: Arc<str>,
    /// 1-based.
    pub line: u32,
    /// 1-based, in characters.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

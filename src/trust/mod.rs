//! Trust settings: which host may be spoken to under which name, and which secret
//! may be used for what. Like ssh's `known_hosts`, they live outside of the reviewed
//! tree, because a pull request can edit everything inside of it.
//!
//! Input: one TOML file from outside of the tree. Output: judgements. Judging is
//! pure; finding and reading the file is in `file`, adding an entry in `add`. Values
//! of secrets are never here: `secrets` fetches them, after asking this module.

mod add;
mod endpoint;
mod file;
mod refusal;

pub use add::{AddError, NewEntry, add_entry};
pub use endpoint::{Endpoint, NotAnEndpoint};
pub use file::{Sources, TrustError};
pub use refusal::{Presented, Refusal};

use crate::model::{HypervisorName, SecretRef, SecretSource};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Whom to believe, and what may be used for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    origin: Origin,
    hypervisors: BTreeMap<HypervisorName, Binding>,
    secrets: BTreeMap<String, SecretValue>,
    guest: BTreeSet<SecretSource>,
    marker_key: Option<SecretSource>,
    store: Option<PathBuf>,
}

/// Where trust settings came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Origin {
    /// There is no file: only loopback can be reached.
    #[default]
    Nowhere,
    /// The bundled simulators: loopback only, and no real secret at all.
    Sandbox,
    /// This file.
    File(PathBuf),
}

/// What trust binds to one hypervisor name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// Where it may be reached.
    pub hosts: Vec<Endpoint>,
    /// What identifies the installation, as the provider spells it: of a cluster of Proxmox
    /// VE its name and CA, of a vCenter its `about.instanceUuid`.
    pub identity: Option<String>,
    /// SHA-256 of leaf certificates, lower-case hex. With pins, nothing else counts.
    pub pins: Vec<String>,
    /// The CA that signs its certificates, as an absolute path.
    pub ca_file: Option<PathBuf>,
    /// Secrets that may be sent to it.
    pub secrets: BTreeSet<SecretSource>,
}

impl Binding {
    /// Whether it says how TLS is verified, so that `tls:` in the tree cannot widen it.
    pub fn settles_tls(&self) -> bool {
        !self.pins.is_empty() || self.ca_file.is_some()
    }
}

/// Where the value of a secret is fetched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretValue {
    /// A variable of the environment.
    Environment(String),
    /// A file, as an absolute path.
    File(PathBuf),
    /// A program and its arguments, run without a shell.
    Command(Vec<String>),
}

/// Leave to connect, and what goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection<'t> {
    /// Trust binds this host to this name.
    Bound(&'t Binding),
    /// This machine itself, for a name that trust does not know.
    Loopback,
}

impl Trust {
    /// No settings at all: only loopback can be reached.
    pub fn none() -> Self {
        Self::default()
    }

    /// For the bundled simulators: loopback only, and fixed stand-ins for secrets.
    pub fn sandbox() -> Self {
        Self { origin: Origin::Sandbox, ..Self::default() }
    }

    /// Whether secrets are stand-ins.
    pub fn is_sandbox(&self) -> bool {
        self.origin == Origin::Sandbox
    }

    /// The file they were read from.
    pub fn file(&self) -> Option<&Path> {
        match &self.origin {
            Origin::File(path) => Some(path),
            Origin::Nowhere | Origin::Sandbox => None,
        }
    }

    /// Hypervisors with an entry.
    pub fn hypervisors(&self) -> &BTreeMap<HypervisorName, Binding> {
        &self.hypervisors
    }

    /// Where the journal lies, when that is set.
    pub fn store(&self) -> Option<&Path> {
        self.store.as_deref()
    }

    /// The secret that signs markers, when one is set.
    pub fn marker_key(&self) -> Option<&SecretSource> {
        self.marker_key.as_ref()
    }

    /// Whether anything may be sent to this endpoint under this name. To be asked for
    /// every endpoint, before a socket is opened.
    ///
    /// Loopback needs no entry. A name that has one is held to it there as well: its
    /// secrets must not end at another program of this machine.
    ///
    /// # Errors
    /// When trust does not bind the endpoint to the name.
    pub fn may_connect(
        &self,
        name: &HypervisorName,
        endpoint: &Endpoint,
    ) -> Result<Connection<'_>, Refusal> {
        match self.hypervisors.get(name) {
            Some(binding) if binding.hosts.contains(endpoint) => Ok(Connection::Bound(binding)),
            Some(binding) => Err(Refusal::OtherHost {
                name: name.clone(),
                endpoint: endpoint.clone(),
                known: binding.hosts.clone(),
            }),
            None if endpoint.is_loopback() => Ok(Connection::Loopback),
            None if self.is_sandbox() => {
                Err(Refusal::OutsideSandbox { name: name.clone(), endpoint: endpoint.clone() })
            }
            None => Err(Refusal::NoEntry { name: name.clone(), endpoint: endpoint.clone() }),
        }
    }

    /// Whether this secret may be sent over a connection of this name.
    ///
    /// # Errors
    /// When trust binds the secret to something else, or not to this name.
    pub fn may_use_secret(
        &self,
        name: &HypervisorName,
        connection: &Connection<'_>,
        reference: &SecretRef,
    ) -> Result<(), Refusal> {
        let source = &reference.source;
        if self.is_sandbox() {
            return Ok(());
        }
        match connection {
            // The leave of one name is not the leave of another.
            Connection::Bound(binding)
                if self.hypervisors.get(name) == Some(*binding)
                    && binding.secrets.contains(source) =>
            {
                Ok(())
            }
            // A name without an entry on this machine: any secret that is nobody's.
            Connection::Loopback if self.is_unclaimed(source) => Ok(()),
            Connection::Bound(_) | Connection::Loopback => Err(Refusal::SecretNotBound {
                name: name.clone(),
                reference: reference.to_string(),
            }),
        }
    }

    /// Whether a guest's configuration may hold this secret.
    ///
    /// # Errors
    /// When it logs in to a hypervisor or signs markers, whatever else is said of it,
    /// and when `guest` does not list it.
    pub fn may_use_in_guest(&self, reference: &SecretRef) -> Result<(), Refusal> {
        if self.is_sandbox() {
            return Ok(());
        }
        if let Some(holder) = self.reserved_for(&reference.source) {
            return Err(Refusal::Reserved { reference: reference.to_string(), holder });
        }
        if self.guest.contains(&reference.source) {
            return Ok(());
        }
        Err(Refusal::NotForGuests { reference: reference.to_string() })
    }

    /// Whether the installation that answered is the one that trust means.
    ///
    /// # Errors
    /// When it is another one, or the one of another name.
    pub fn may_believe(&self, name: &HypervisorName, identity: &str) -> Result<(), Refusal> {
        let bound = self.hypervisors.get(name).and_then(|it| it.identity.as_deref());
        if let Some(known) = bound.filter(|known| *known != identity) {
            return Err(Refusal::OtherIdentity {
                name: name.clone(),
                known: known.to_owned(),
                presented: identity.to_owned(),
            });
        }
        let holder = self
            .hypervisors
            .iter()
            .find(|(other, it)| *other != name && it.identity.as_deref() == Some(identity));
        match holder {
            Some((other, _)) => Err(Refusal::IdentityOfAnother {
                name: name.clone(),
                other: other.clone(),
                identity: identity.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Where a secret's value comes from; `None` when `secret:NAME` is not defined. A
    /// relative `file:` is taken from `folder`.
    pub(crate) fn value_of(&self, source: &SecretSource, folder: &Path) -> Option<SecretValue> {
        match source {
            SecretSource::Env(variable) => Some(SecretValue::Environment(variable.clone())),
            SecretSource::File(path) => Some(SecretValue::File(folder.join(path))),
            SecretSource::Secret(name) => self.secrets.get(name).cloned(),
        }
    }

    /// The folder that relative paths of the file are taken from.
    pub(crate) fn folder(&self) -> &Path {
        self.file().and_then(Path::parent).unwrap_or(Path::new("/"))
    }

    /// What a secret is kept for, when that forbids any other use. Looks through
    /// `secret:NAME`: another spelling of the same variable is the same secret.
    fn reserved_for(&self, source: &SecretSource) -> Option<String> {
        let same = |other: &SecretSource| {
            other == source || {
                let value = self.value_of(source, self.folder());
                value.is_some() && value == self.value_of(other, self.folder())
            }
        };
        if self.marker_key.as_ref().is_some_and(same) {
            return Some("the marker key".to_owned());
        }
        self.hypervisors
            .iter()
            .find(|(_, binding)| binding.secrets.iter().any(same))
            .map(|(name, _)| format!("hypervisor `{name}`"))
    }

    /// Whether nothing in the file speaks of a secret.
    fn is_unclaimed(&self, source: &SecretSource) -> bool {
        !matches!(source, SecretSource::Secret(_))
            && !self.guest.contains(source)
            && self.reserved_for(source).is_none()
    }
}

/// Two names that lead to one installation, when there are such. Each machine would
/// be owned twice, so nothing may be planned.
pub fn one_identity_twice<'n>(
    identities: impl IntoIterator<Item = (&'n HypervisorName, &'n str)>,
) -> Option<(&'n HypervisorName, &'n HypervisorName)> {
    let mut seen: BTreeMap<&str, &HypervisorName> = BTreeMap::new();
    for (name, identity) in identities {
        // An empty one was not learnt, and proves nothing.
        if identity.is_empty() {
            continue;
        }
        if let Some(first) = seen.insert(identity, name).filter(|first| *first != name) {
            return Some((first, name));
        }
    }
    None
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

//! From what is written to what is desired: profiles merged, names expanded, and
//! networks, images and plans looked up for the hypervisor of each machine.
//!
//! In: the tables of `raw` and the files that they name as data. Out: the parts of a
//! desired state, with places. Pure. Whether machines fit together is left to `validate`.

mod entries;
mod grants;
mod hypervisors;
mod images;
mod init;
mod machine;
mod nics;
mod places;
mod products;
mod sections;
mod setup;
mod table;
mod world;

use super::decode::{Cx, Keyed, Lenient};
use super::diagnostic::{Diagnostic, Span};
use super::expand::Expansion;
use super::raw::{RawConfig, RawHypervisor, RawNetwork, RawNetworkAt};
use super::scalar::Name;
use super::source::{DataFile, DataRef};
use crate::model::{
    DesiredNetwork, DesiredPool, HypervisorConfig, Policy, ProjectName, ResourceKey,
};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

pub use entries::{MachineEntry, UsedProfile};
pub use images::Image;
pub use machine::{Address, Resolved};
pub use places::Places;
pub(super) use products::is_iso_of;
pub use sections::merge as merge_sections;
pub use table::{Item, Table};
pub use world::World;

/// Suggestions for names of machines; each compares a word with all of them.
const MACHINE_SUGGESTIONS_MAX: u32 = 20;

/// A document whose names are expanded, before the files that it names are read.
#[derive(Debug)]
pub struct Draft {
    /// As written.
    pub raw: RawConfig,
    /// All machines.
    pub entries: Vec<MachineEntry>,
    /// Their names.
    pub names: Expansion,
    /// Read early, since they name files.
    pub hypervisors: Table<RawHypervisor>,
}

/// Everything that could be resolved.
#[derive(Debug)]
pub struct Outcome {
    /// Whose it is.
    pub project: Option<ProjectName>,
    /// What machines refer to.
    pub world: World,
    /// Pools by key.
    pub pools: BTreeMap<ResourceKey, DesiredPool>,
    /// Machines that have no problem of their own.
    pub machines: Vec<Resolved>,
    /// Rules.
    pub policy: Policy,
}

impl Draft {
    /// Expands names and merges profiles.
    pub fn new(raw: RawConfig, cx: &mut Cx<'_>) -> Self {
        let hypervisors = hypervisors::read(&raw, cx);
        let (entries, names) = entries::read(&raw, cx);
        Self { raw, entries, names, hypervisors }
    }

    /// Files that are named as data.
    pub fn data_refs(&self) -> BTreeSet<DataRef> {
        hypervisors::data_refs(&self.hypervisors).chain(init::data_refs(&self.entries)).collect()
    }

    /// Looks everything up. `top` is where problems of the document as a whole are shown.
    pub fn resolve(
        &self,
        data: &BTreeMap<DataRef, DataFile>,
        top: Span,
        cx: &mut Cx<'_>,
    ) -> Outcome {
        let places = Places::new(cx.sources());
        let project = project(&self.raw, top, cx);
        let world = world::read(&self.raw, &self.hypervisors, data, &places, cx);
        let pools = world::desired_pools(&world, &self.hypervisors, &places, cx);
        let policy = self.raw.policy.0.as_ref().and_then(|policy| policy.as_ref());
        let policy = world::policy(policy.map(|policy| &policy.value), cx);
        let keys = init::KeyFiles::new(data);
        let around = machine::Surroundings {
            world: &world,
            names: &self.names,
            keys: &keys,
            places: &places,
            suggestions: &Cell::new(MACHINE_SUGGESTIONS_MAX),
            edges: &Cell::new(Some(machine::EDGES_MAX)),
        };
        let resolve =
            |entry: &MachineEntry| entry.on_behalf(cx, |cx| machine::resolve(entry, &around, cx));
        let machines = self.entries.iter().filter_map(resolve).collect();
        Outcome { project, world, pools, machines, policy }
    }
}

impl World {
    /// The settings of all hypervisors.
    pub fn hypervisor_configs(&self) -> BTreeMap<crate::model::HypervisorName, HypervisorConfig> {
        let all = self.hypervisors.iter();
        all.filter_map(|(name, item)| Some((name.as_str().into(), item.value.clone()?))).collect()
    }

    /// What each network is called where, with its tag.
    pub fn desired_networks(&self) -> BTreeMap<Name, DesiredNetwork> {
        let network = |network: &RawNetwork| {
            let at = network.at.0.iter();
            let native = |(hypervisor, it): (&Name, &Keyed<Lenient<RawNetworkAt>>)| {
                Some((hypervisor.as_str().into(), it.value.0.as_ref()?.native()?.to_owned()))
            };
            DesiredNetwork {
                vlan: network.vlan.and_then(|tag| u16::try_from(tag.0).ok()),
                at: at.filter_map(native).collect(),
            }
        };
        let all = self.networks.iter();
        all.filter_map(|(name, item)| Some((name.clone(), network(item.value.as_ref()?)))).collect()
    }
}

fn project(raw: &RawConfig, top: Span, cx: &mut Cx<'_>) -> Option<ProjectName> {
    if matches!(raw.version, Lenient(Some(None))) {
        let message = "the field `version` is missing";
        cx.push(Diagnostic::error("missing-field", top, message).help("write `version: 1`"));
    }
    if matches!(raw.project, Lenient(Some(None))) {
        let message = "the field `project` is missing";
        let help = "write `project: NAME`; it is part of the mark on every machine";
        cx.push(Diagnostic::error("missing-field", top, message).help(help));
    }
    let written = raw.project.0.as_ref()?.as_ref()?;
    Some(ProjectName::new(written.value.as_str()))
}

//! From differences to a plan: actions with their steps, edges, waves; what is
//! blocked; the body with its id, and the envelope around it.
//!
//! A pure function of desired state, inventory and history. Every choice is made
//! here (through `alloc`), every call is listed (through the product's `lower`), and
//! nothing is left for apply to decide. Refusing and withholding is `guard`'s.

mod base;
mod change_hands;
mod command;
mod edges;
mod grants;
mod machines;
mod own_snapshots;
mod pools;
mod snapshot;
mod spreads;
mod taken;
mod target;

pub use base::{machine_base, pool_base, spread_base};
pub use command::{Answer, Command, NotDone, command};
pub use target::{UnknownTarget, target};

use crate::planted::{self, Bug};
use crate::{
    alloc::Allocator,
    model::{
        Action, ActionId, Blocked, Change, Code, Coverage, DataLoss, DesiredState, Envelope,
        History, HypervisorName, HypervisorSummary, Inventory, NativeId, Note, PLAN_FORMAT, Place,
        Plan, PlanBody, Product, ProjectName, Reason, ResourceKey, Step, Verb, Words, plan_id,
    },
    ownership::{MarkerKey, Ownership, classify},
};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that a plan is a function of.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// What the YAML asks for.
    pub desired: &'a DesiredState,
    /// What the hypervisors reported.
    pub inventory: &'a Inventory,
    /// What the journal remembers.
    pub history: &'a History,
    /// The pure half of each hypervisor's product.
    pub products: &'a BTreeMap<HypervisorName, &'a dyn Product>,
    /// Verifies markers, when trust settings have a key.
    pub marker_key: Option<&'a MarkerKey>,
}

/// A plan with the ownership that it rests on, which `guard` needs, too.
#[derive(Debug)]
pub struct Planned {
    /// The document. Its envelope has no verdict yet.
    pub plan: Plan,
    /// Who owns what.
    pub ownership: Ownership,
}

/// How each hypervisor's product calls things.
fn words(input: Input<'_>) -> BTreeMap<HypervisorName, Words> {
    let all = input.products.iter();
    all.map(|(name, product)| (name.clone(), product.capabilities().words)).collect()
}

/// Whose everything is.
fn classified(input: Input<'_>) -> Ownership {
    classify(
        &input.desired.project,
        input.inventory,
        input.history,
        &wanted_names(input),
        input.marker_key,
        words(input),
    )
}

/// Plans everything.
pub fn plan(input: Input<'_>) -> Planned {
    let mut ownership = classified(input);
    let chosen = change_hands::settle_duplicates(&mut ownership, &input);
    let mut builder = Builder {
        input,
        ownership: &ownership,
        allocator: Allocator::new(
            input.inventory,
            &input.desired.hypervisors,
            &input.desired.policy,
        ),
        actions: BTreeMap::new(),
        blocked: Vec::new(),
        unchanged: 0,
        reasons: BTreeMap::new(),
        notes: BTreeSet::new(),
        names: BTreeMap::new(),
        addresses: BTreeMap::new(),
    };
    for (key, text) in chosen {
        builder.note(&key, text);
    }
    builder.index_what_is_taken();
    builder.reserve_what_is_asked_for();
    builder.plan_pools();
    builder.plan_machines();
    builder.plan_forgotten();
    builder.plan_spreads();
    let edges = builder.finish_edges();
    let Builder { actions, mut blocked, unchanged, reasons, notes, .. } = builder;
    blocked.sort();
    let actions: Vec<Action> = actions.into_values().collect();
    let waves = edges::waves(&actions, &edges);
    let mut actions = actions;
    if let Some(first) = actions.first_mut()
        && first.native_id.as_ref().is_some_and(|id| Bug::PlanCountsItself.strikes(id.as_str()))
        && planted::every_second_time()
    {
        first.reversible = !first.reversible;
    }
    let body = PlanBody {
        format: PLAN_FORMAT,
        project: input.desired.project.clone(),
        files: input.desired.files.clone(),
        policy: input.desired.policy.clone(),
        actions,
        edges,
        blocked,
        unchanged,
    };
    let envelope = Envelope {
        reasons,
        hypervisors: summaries(&input, &ownership),
        waves,
        notes: notes.into_iter().collect(),
        ..Envelope::default()
    };
    let plan = Plan { plan_id: plan_id(&body), body, envelope };
    Planned { plan, ownership }
}

/// Who would like which name; asked only about objects that could not be read.
fn wanted_names(input: Input<'_>) -> BTreeMap<(HypervisorName, String), ResourceKey> {
    if input.inventory.hypervisors.values().all(|it| it.unreadable.is_empty()) {
        return BTreeMap::new();
    }
    let desired = input.desired;
    let name = |machine: &crate::model::DesiredMachine| {
        machine.spec.name.clone().unwrap_or_else(|| machine.key.name.to_string())
    };
    desired
        .machines
        .values()
        .map(|machine| {
            let at = &machine.hypervisor;
            ((at.clone(), name_key(input, at, &name(machine))), machine.key.clone())
        })
        .collect()
}

/// What a name on a hypervisor collides by.
fn name_key(input: Input<'_>, hypervisor: &HypervisorName, name: &str) -> String {
    let product = input.products.get(hypervisor);
    product.map_or_else(|| name.to_owned(), |product| product.name_key(name))
}

fn summaries(
    input: &Input<'_>,
    ownership: &Ownership,
) -> BTreeMap<HypervisorName, HypervisorSummary> {
    let mut owned: BTreeMap<&HypervisorName, u32> = BTreeMap::new();
    for it in ownership.owned.values() {
        *owned.entry(&it.hypervisor).or_default() += 1;
    }
    let summary = |name: &HypervisorName, seen: &crate::model::HypervisorInventory| {
        let (coverage, gaps) = match &seen.coverage {
            Coverage::Complete => ("complete", Vec::new()),
            Coverage::Scoped { why, .. } => ("scoped", vec![why.clone()]),
            Coverage::Incomplete { gaps } => ("partial", gaps.clone()),
            Coverage::Failed { error, .. } => ("failed", vec![error.clone()]),
        };
        HypervisorSummary {
            version: seen.version.clone(),
            coverage: coverage.to_owned(),
            gaps,
            guests: u32::try_from(seen.listed.len()).unwrap_or(u32::MAX),
            owned: owned.get(name).copied().unwrap_or(0),
            age_s: None,
        }
    };
    let all = input.inventory.hypervisors.iter();
    all.map(|(name, seen)| (name.clone(), summary(name, seen))).collect()
}

/// A plan being put together.
struct Builder<'a> {
    input: Input<'a>,
    ownership: &'a Ownership,
    allocator: Allocator<'a>,
    actions: BTreeMap<ActionId, Action>,
    blocked: Vec<Blocked>,
    unchanged: u32,
    reasons: BTreeMap<ActionId, Reason>,
    notes: BTreeSet<Note>,
    /// Who bears a native name.
    names: BTreeMap<(HypervisorName, String), BTreeSet<Holder>>,
    /// Who is configured with an address.
    addresses: BTreeMap<(HypervisorName, std::net::IpAddr), BTreeSet<Holder>>,
}

/// Who holds a name or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Holder {
    id: NativeId,
    key: Option<ResourceKey>,
    /// Whose it is by a marker of another project.
    theirs: Option<(ProjectName, ResourceKey)>,
}

impl Builder<'_> {
    fn index_what_is_taken(&mut self) {
        // `move` is of references only: the index borrows nothing of the builder.
        let by_id: BTreeMap<(&HypervisorName, &NativeId), &ResourceKey> = self
            .ownership
            .owned
            .iter()
            .map(|(key, owned)| ((&owned.hypervisor, &owned.id), key))
            .collect();
        for (hypervisor, seen) in &self.input.inventory.hypervisors {
            for (id, listed) in &seen.listed {
                let read = seen.machines.get(id);
                let key = by_id.get(&(hypervisor, id)).map(|key| (*key).clone());
                let marker = read.and_then(|it| it.marker.found());
                let theirs = marker
                    .filter(|it| it.project != self.input.desired.project)
                    .map(|it| (it.project.clone(), it.key.clone()));
                let holder = Holder { id: id.clone(), key, theirs };
                // A listing can be old; what was read from the object itself wins.
                let name = match read {
                    Some(machine) => {
                        let name = machine.settled().name.as_deref();
                        name.map(|name| name_key(self.input, hypervisor, name))
                    }
                    None => listed.name_key().map(str::to_owned),
                };
                if let Some(name) = name {
                    let at = (hypervisor.clone(), name);
                    self.names.entry(at).or_default().insert(holder.clone());
                }
                for address in read.map(|it| it.addresses.as_slice()).unwrap_or_default() {
                    let at = (hypervisor.clone(), *address);
                    self.addresses.entry(at).or_default().insert(holder.clone());
                }
            }
        }
    }

    /// An id or a hardware address that one machine asks for is not derived for
    /// another, whichever comes first.
    fn reserve_what_is_asked_for(&mut self) {
        for machine in self.input.desired.machines.values() {
            let macs = machine.spec.nics.values().filter_map(|nic| nic.mac);
            self.allocator.reserve(&machine.hypervisor, machine.wanted_id.as_ref(), macs);
        }
    }

    fn block(&mut self, blocked: Blocked) {
        self.blocked.push(blocked);
    }

    fn add(&mut self, action: Action, reason: Reason) {
        self.reasons.insert(action.id.clone(), reason);
        self.actions.insert(action.id.clone(), action);
    }

    /// The calls that a change of a pool or a spread takes; none when the product refuses it,
    /// which blocks the object.
    fn lowered(
        &mut self,
        key: &ResourceKey,
        hypervisor: &HypervisorName,
        verb: Verb,
        place: Option<&Place>,
        change: &Change<'_>,
    ) -> Option<Vec<Step>> {
        let (code, message, help) = match self.input.products.get(hypervisor) {
            Some(product) => match product.lower(change) {
                Ok(lowered) => return Some(lowered.steps),
                Err(all) => {
                    let text: Vec<&str> = all.iter().map(|it| it.why.as_str()).collect();
                    let help = all.first().map(|it| it.help.clone()).unwrap_or_default();
                    (Code::Unsupported, text.join("; "), help)
                }
            },
            None => {
                let help = "put the hypervisor's entry back".to_owned();
                (Code::FailedHypervisor, format!("{hypervisor} is not configured"), help)
            }
        };
        self.block(Blocked {
            key: key.clone(),
            hypervisor: hypervisor.clone(),
            verb: Some(verb),
            code,
            message,
            help,
            place: place.cloned(),
        });
        None
    }

    /// What a person calls a guest: by its entry when it is ours, else by its name and id.
    fn called(&self, hypervisor: &HypervisorName, id: &NativeId) -> String {
        let mut owned = self.ownership.owned.iter();
        let ours = owned.find(|(_, it)| it.hypervisor == *hypervisor && it.id == *id);
        let found = self.input.inventory.hypervisors.get(hypervisor);
        let name = found.and_then(|it| it.listed.get(id)?.name.as_deref());
        match (ours, name) {
            (Some((key, _)), _) => key.to_string(),
            (None, Some(name)) => format!("`{name}` ({id})"),
            (None, None) => id.to_string(),
        }
    }

    fn note(&mut self, key: &ResourceKey, text: impl Into<String>) {
        self.notes.insert(Note { key: Some(key.clone()), text: text.into() });
    }

    /// Drops every action of a key and says why it is blocked instead.
    fn block_actions_of(&mut self, id: &ActionId, code: Code, message: String, help: String) {
        let Some(action) = self.actions.remove(id) else { return };
        self.reasons.remove(id);
        self.blocked.push(Blocked {
            key: action.key,
            hypervisor: action.hypervisor,
            verb: Some(action.verb),
            code,
            message,
            help,
            place: action.place,
        });
    }
}

/// An action on what is no machine: no memory, no volume and no protection is concerned.
fn group_action(
    id: ActionId,
    (key, hypervisor): (&ResourceKey, &HypervisorName),
    verb: Verb,
    steps: Vec<Step>,
) -> Action {
    Action {
        id,
        key: key.clone(),
        hypervisor: hypervisor.clone(),
        native_id: None,
        node: None,
        verb,
        fields: Vec::new(),
        classes: BTreeSet::new(),
        data_loss: DataLoss::default(),
        reversible: true,
        place: None,
        steps,
        base: None,
        claims: Vec::new(),
        choices: Vec::new(),
        protected: false,
    }
}

/// The id of an action on a machine.
fn machine_action_id(key: &ResourceKey, verb: Verb, part: &str) -> ActionId {
    let dot = if part.is_empty() { "" } else { "." };
    ActionId::from(format!("{key}:{verb}{dot}{part}"))
}

//! What must finish before what, and the waves that come of it.

use super::{Builder, pools::pool_action_id};
use crate::model::{
    Action, ActionId, Code, Edge, EdgeReason, FieldKind, HypervisorName, Kind, Name, NativeId,
    PoolPart, ResourceKey, StepOp, Verb,
};
use petgraph::{algo::tarjan_scc, graph::DiGraph};
use std::collections::{BTreeMap, BTreeSet};

/// Which action makes each part, by where it is.
type Makers = BTreeMap<(HypervisorName, PoolPart), ActionId>;

impl Builder<'_> {
    /// Adds every edge, and turns what can never run into blocked items.
    ///
    /// What is blocked can block more, so this goes round until nothing falls any more.
    pub(super) fn finish_edges(&mut self) -> Vec<Edge> {
        loop {
            let before = self.actions.len();
            self.block_what_is_taken();
            self.block_full_pools();
            self.block_spreads_without_members();
            self.block_dependents();
            self.block_half_replaces();
            let edges = self.edges();
            self.block_cycles(&edges);
            if self.actions.len() == before {
                return edges;
            }
        }
    }

    fn edges(&self) -> Vec<Edge> {
        let mut edges = BTreeSet::new();
        let by_key = self.actions_by_key();
        let makers = self.makers();
        let mut edge = |before: &ActionId, after: &ActionId, reason| {
            if before != after {
                edges.insert(Edge { before: before.clone(), after: after.clone(), reason });
            }
        };
        for action in self.actions.values() {
            self.edges_of_object(action, &by_key, &mut edge);
            match action.key.kind {
                Kind::Vm => self.edges_of_machine(action, (&by_key, &makers), &mut edge),
                Kind::Pool => self.edges_of_pool(action, &makers, &mut edge),
                Kind::Spread => self.edges_of_spread(action, &by_key, &mut edge),
            }
        }
        edges.into_iter().collect()
    }

    fn actions_by_key(&self) -> BTreeMap<ResourceKey, Vec<ActionId>> {
        let mut by_key: BTreeMap<ResourceKey, Vec<ActionId>> = BTreeMap::new();
        for action in self.actions.values() {
            by_key.entry(action.key.clone()).or_default().push(action.id.clone());
        }
        by_key
    }

    /// Actions on one machine go one after the other: first what frees or is free,
    /// then what needs consent, a birth after the removal that makes room for it.
    fn edges_of_object(
        &self,
        action: &Action,
        by_key: &BTreeMap<ResourceKey, Vec<ActionId>>,
        edge: &mut impl FnMut(&ActionId, &ActionId, EdgeReason),
    ) {
        if matches!(action.key.kind, Kind::Pool | Kind::Spread) {
            return;
        }
        for other in by_key.get(&action.key).into_iter().flatten() {
            let Some(other) = self.actions.get(other) else { continue };
            if rank(other) < rank(action) {
                edge(&other.id, &action.id, EdgeReason::SameObject);
            }
        }
    }

    /// Which action makes each part as its pool's own. Another pool may have it on the way to
    /// its own, and would take the mark from it by making it first.
    fn makers(&self) -> Makers {
        let made = |action: &Action| {
            let own = action.steps.iter().filter_map(|step| match &step.op {
                StepOp::MakePart { part } if part.kind.is_own() => Some(part.clone()),
                _ => None,
            });
            let at = |part| ((action.hypervisor.clone(), part), action.id.clone());
            own.map(at).collect::<Vec<_>>()
        };
        let pools = self.actions.values().filter(|it| it.key.kind == Kind::Pool);
        pools.flat_map(made).collect()
    }

    /// The actions that make what is missing of a pool.
    fn makers_of<'a>(
        &self,
        name: &Name,
        hypervisor: &HypervisorName,
        makers: &'a Makers,
    ) -> Vec<&'a ActionId> {
        let found = self.input.inventory.hypervisors.get(hypervisor);
        let parts = found.and_then(|it| it.pools.get(name)).map(|it| &it.parts);
        let missing = parts.into_iter().flatten().filter(|(_, it)| it.named && it.id.is_none());
        let own = missing.map(|(part, _)| PoolPart::new(part.kind.as_own(), part.name.clone()));
        own.filter_map(|part| makers.get(&(hypervisor.clone(), part))).collect()
    }

    /// Whether a pool goes before one that makes something on its way: two that go through
    /// each other cannot both wait, so the first by name does not.
    fn goes_first(&self, pool: &Action, maker: &ActionId, makers: &Makers) -> bool {
        let Some(other) = self.actions.get(maker) else { return false };
        let needs = self.makers_of(&other.key.name, &other.hypervisor, makers);
        pool.key < other.key && needs.contains(&&pool.id)
    }

    fn edges_of_machine(
        &self,
        action: &Action,
        (by_key, makers): (&BTreeMap<ResourceKey, Vec<ActionId>>, &Makers),
        edge: &mut impl FnMut(&ActionId, &ActionId, EdgeReason),
    ) {
        let Some(machine) = self.input.desired.machines.get(&action.key) else { return };
        let gets_pool = matches!(action.verb, Verb::Create | Verb::Continue | Verb::Replace)
            || action.fields.iter().any(|it| it.field.kind == FieldKind::Pool);
        if let Some(pool) = machine.spec.pool.as_ref().filter(|_| gets_pool) {
            let key = ResourceKey::pool(pool.clone());
            let create = pool_action_id(&key, &action.hypervisor, Verb::Create);
            if self.actions.contains_key(&create) {
                edge(&create, &action.id, EdgeReason::Pool);
            }
            for maker in self.makers_of(pool, &action.hypervisor, makers) {
                edge(maker, &action.id, EdgeReason::Pool);
            }
        }
        if waits_for_others(action.verb) {
            for first in &machine.after {
                for other in by_key.get(first).into_iter().flatten() {
                    edge(other, &action.id, EdgeReason::After);
                }
            }
        }
        for taking in self.takings(machine, action) {
            for holder in self.holders(machine, &taking) {
                if let Some(id) = self.freed_by(machine, holder, &taking) {
                    edge(&id, &action.id, EdgeReason::Frees);
                }
            }
        }
    }

    fn edges_of_pool(
        &self,
        action: &Action,
        makers: &Makers,
        edge: &mut impl FnMut(&ActionId, &ActionId, EdgeReason),
    ) {
        if action.verb == Verb::Create {
            for maker in self.makers_of(&action.key.name, &action.hypervisor, makers) {
                if !self.goes_first(action, maker, makers) {
                    edge(maker, &action.id, EdgeReason::Pool);
                }
            }
        }
        if action.verb != Verb::Delete {
            return;
        }
        for id in self.members(action) {
            if let Some(leaving) = self.leaving(action, id) {
                edge(&leaving.id, &action.id, EdgeReason::DeleteOrder);
            }
        }
    }

    /// The guests that are in a pool now.
    fn members(&self, pool: &Action) -> impl Iterator<Item = &NativeId> {
        let found = self.input.inventory.hypervisors.get(&pool.hypervisor);
        found.and_then(|it| it.pools.get(&pool.key.name)).into_iter().flat_map(|it| &it.members)
    }

    /// The action with which a guest leaves its pool.
    fn leaving(&self, pool: &Action, member: &NativeId) -> Option<&Action> {
        self.actions.values().find(|action| {
            action.key.kind == Kind::Vm
                && action.hypervisor == pool.hypervisor
                && action.native_id.as_ref() == Some(member)
                && (matches!(action.verb, Verb::Delete | Verb::Replace)
                    || action.fields.iter().any(|it| it.field.kind == FieldKind::Pool))
        })
    }

    /// A pool is deleted only when each of its members leaves in this very plan.
    fn block_full_pools(&mut self) {
        let deletes =
            self.actions.values().filter(|it| it.key.kind == Kind::Pool && it.verb == Verb::Delete);
        let full: Vec<(ActionId, String)> = deletes
            .filter_map(|pool| {
                let stays = self.members(pool).find(|id| self.leaving(pool, id).is_none())?;
                let name = &pool.key.name;
                let stays = self.called(&pool.hypervisor, stays);
                Some((pool.id.clone(), format!("{stays} cannot leave pool `{name}`")))
            })
            .collect();
        for (id, message) in full {
            let help = "solve what blocks that machine, or keep the pool".to_owned();
            self.block_actions_of(&id, Code::PoolNotEmpty, message, help);
        }
    }

    /// A replace is a removal and a birth: neither may be there without the other, or
    /// a machine would go for good, or be born beside itself.
    fn block_half_replaces(&mut self) {
        let has = |key: &ResourceKey, verb| {
            self.actions.contains_key(&super::machine_action_id(key, verb, ""))
        };
        let half = |action: &&Action| match action.verb {
            Verb::Replace => !has(&action.key, Verb::Create),
            Verb::Create => {
                self.ownership.owned.contains_key(&action.key) && !has(&action.key, Verb::Replace)
            }
            Verb::Continue
            | Verb::Update
            | Verb::Start
            | Verb::Stop
            | Verb::Restart
            | Verb::Delete
            | Verb::Adopt
            | Verb::Rename
            | Verb::Forget
            | Verb::Snapshot => false,
        };
        let halves: Vec<ActionId> =
            self.actions.values().filter(half).map(|it| it.id.clone()).collect();
        for id in halves {
            let message = "the other half of this replace is blocked".to_owned();
            let help = "solve what blocks the other half".to_owned();
            self.block_actions_of(&id, Code::Dependency, message, help);
        }
    }

    /// What depends on a blocked thing is blocked too, and says by what.
    fn block_dependents(&mut self) {
        loop {
            let blocked: BTreeMap<(ResourceKey, Option<HypervisorName>), Code> = self
                .blocked
                .iter()
                // A pool that is there can be used, whatever else of it cannot be changed.
                .filter(|it| it.key.kind != Kind::Pool || it.verb == Some(Verb::Create))
                .map(|it| {
                    let at = (it.key.kind == Kind::Pool).then(|| it.hypervisor.clone());
                    ((it.key.clone(), at), it.code)
                })
                .collect();
            let mut hit: Vec<(ActionId, ResourceKey)> = Vec::new();
            for action in self.actions.values() {
                let Some(machine) = self.input.desired.machines.get(&action.key) else { continue };
                let waits = waits_for_others(action.verb);
                // One that is to be moved into a pool needs it as one that is born into it does.
                let moves = action.fields.iter().any(|it| it.field.kind == FieldKind::Pool);
                let pool = machine.spec.pool.clone().map(ResourceKey::pool);
                let pool = pool.filter(|_| waits || moves);
                let pool = pool.map(|key| (key, Some(action.hypervisor.clone())));
                let after = machine.after.iter().filter(|_| waits).map(|key| (key.clone(), None));
                let cause = pool.into_iter().chain(after).find(|it| blocked.contains_key(it));
                if let Some((cause, _)) = cause {
                    hit.push((action.id.clone(), cause));
                }
            }
            if hit.is_empty() {
                return;
            }
            for (id, cause) in hit {
                let message = format!("{cause} is blocked, and this needs it first");
                let help = format!("solve what blocks {cause}");
                self.block_actions_of(&id, Code::Dependency, message, help);
            }
        }
    }

    /// Cycles in `after` are found on the YAML; what is left can only come of two
    /// machines that wait for each other's name or address.
    fn block_cycles(&mut self, edges: &[Edge]) {
        let ids: Vec<ActionId> = self.actions.keys().cloned().collect();
        let (graph, _) = graph(&ids, edges);
        for cycle in tarjan_scc(&graph).into_iter().filter(|it| it.len() > 1) {
            let mut names: Vec<ActionId> =
                cycle.iter().filter_map(|node| graph.node_weight(*node).cloned()).collect();
            names.sort();
            let list: Vec<&str> = names.iter().map(ActionId::as_str).collect();
            let message = format!("these wait for each other: {}", list.join(", "));
            for id in &names {
                let help = "give one of them another name or address first".to_owned();
                self.block_actions_of(id, Code::Dependency, message.clone(), help);
            }
        }
    }
}

/// Whether an action waits for the machines of `after` and for its pool. A replace
/// does from its removal on: nothing is taken away before it can be made anew.
fn waits_for_others(verb: Verb) -> bool {
    matches!(verb, Verb::Create | Verb::Continue | Verb::Start | Verb::Replace)
}

/// The order of several actions on one machine.
fn rank(action: &Action) -> u8 {
    match action.verb {
        Verb::Delete | Verb::Replace | Verb::Adopt | Verb::Rename | Verb::Forget => 0,
        Verb::Create | Verb::Continue => 1,
        Verb::Update if action.data_loss.is_none() && !action.disruption().needs_consent() => 2,
        Verb::Update if action.data_loss.is_none() => 3,
        Verb::Update if action.loses_snapshots() => 5,
        Verb::Update => 4,
        Verb::Restart => 6,
        Verb::Start | Verb::Stop => 7,
        Verb::Snapshot => 8,
    }
}

fn graph(
    ids: &[ActionId],
    edges: &[Edge],
) -> (DiGraph<ActionId, ()>, BTreeMap<ActionId, petgraph::graph::NodeIndex>) {
    let mut graph = DiGraph::with_capacity(ids.len(), edges.len());
    let index: BTreeMap<ActionId, _> =
        ids.iter().map(|id| (id.clone(), graph.add_node(id.clone()))).collect();
    for edge in edges {
        if let (Some(before), Some(after)) = (index.get(&edge.before), index.get(&edge.after)) {
            graph.add_edge(*before, *after, ());
        }
    }
    (graph, index)
}

/// Groups actions by the length of the longest chain before them.
pub(super) fn waves(actions: &[Action], edges: &[Edge]) -> Vec<Vec<ActionId>> {
    let ids: Vec<ActionId> = actions.iter().map(|it| it.id.clone()).collect();
    let (graph, index) = graph(&ids, edges);
    let Ok(order) = petgraph::algo::toposort(&graph, None) else { return vec![ids] };
    let mut depth = vec![0_usize; graph.node_count()];
    for node in order {
        for next in graph.neighbors(node) {
            depth[next.index()] = depth[next.index()].max(depth[node.index()] + 1);
        }
    }
    let mut waves: Vec<Vec<ActionId>> = Vec::new();
    for id in ids {
        let level = index.get(&id).map_or(0, |node| depth[node.index()]);
        if waves.len() <= level {
            waves.resize(level + 1, Vec::new());
        }
        waves[level].push(id);
    }
    waves
}

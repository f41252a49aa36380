//! What must finish before what, and the waves that come of it.

use super::{Builder, pools::pool_action_id};
use crate::model::{
    Action, ActionId, Code, DesiredMachine, Edge, EdgeReason, Kind, ResourceKey, Verb,
};
use petgraph::{algo::tarjan_scc, graph::DiGraph};
use std::collections::{BTreeMap, BTreeSet};

impl Builder<'_> {
    /// Adds every edge, and turns what can never run into blocked items.
    pub(super) fn finish_edges(&mut self) -> Vec<Edge> {
        self.block_dependents();
        let mut edges = BTreeSet::new();
        let by_key = self.actions_by_key();
        let mut edge = |before: &ActionId, after: &ActionId, reason| {
            if before != after {
                edges.insert(Edge { before: before.clone(), after: after.clone(), reason });
            }
        };
        for action in self.actions.values() {
            self.edges_of_object(action, &by_key, &mut edge);
            match action.key.kind {
                Kind::Vm => self.edges_of_machine(action, &by_key, &mut edge),
                Kind::Pool => self.edges_of_pool(action, &mut edge),
            }
        }
        let edges: Vec<Edge> = edges.into_iter().collect();
        self.block_cycles(edges)
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
        if action.key.kind == Kind::Pool {
            return;
        }
        for other in by_key.get(&action.key).into_iter().flatten() {
            let Some(other) = self.actions.get(other) else { continue };
            if rank(other) < rank(action) {
                edge(&other.id, &action.id, EdgeReason::SameObject);
            }
        }
    }

    fn edges_of_machine(
        &self,
        action: &Action,
        by_key: &BTreeMap<ResourceKey, Vec<ActionId>>,
        edge: &mut impl FnMut(&ActionId, &ActionId, EdgeReason),
    ) {
        let Some(machine) = self.input.desired.machines.get(&action.key) else { return };
        let gets_pool = matches!(action.verb, Verb::Create | Verb::Continue)
            || action.fields.iter().any(|it| it.field.kind == crate::model::FieldKind::Pool);
        if let Some(pool) = machine.spec.pool.as_ref().filter(|_| gets_pool) {
            let key = ResourceKey::pool(pool.clone());
            let create = pool_action_id(&key, &action.hypervisor, Verb::Create);
            if self.actions.contains_key(&create) {
                edge(&create, &action.id, EdgeReason::Pool);
            }
        }
        if !matches!(action.verb, Verb::Create | Verb::Continue | Verb::Start) {
            return;
        }
        for first in &machine.after {
            for other in by_key.get(first).into_iter().flatten() {
                edge(other, &action.id, EdgeReason::After);
            }
        }
        if action.verb == Verb::Create {
            self.edges_from_holders(machine, action, edge);
        }
    }

    /// A name, address or id that a removed machine still holds is free only when it
    /// is gone.
    fn edges_from_holders(
        &self,
        machine: &DesiredMachine,
        action: &Action,
        edge: &mut impl FnMut(&ActionId, &ActionId, EdgeReason),
    ) {
        let mut holders = BTreeSet::new();
        if let Some(name) = &machine.spec.name {
            let at = (machine.hypervisor.clone(), name.clone());
            holders.extend(self.names.get(&at).into_iter().flatten().cloned());
        }
        for claim in &action.claims {
            if let crate::model::Claim::Address(address) = claim {
                let at = (machine.hypervisor.clone(), *address);
                holders.extend(self.addresses.get(&at).into_iter().flatten().cloned());
            }
        }
        for key in holders.into_iter().filter_map(|it| it.key) {
            for verb in [Verb::Delete, Verb::Replace] {
                let id = super::machine_action_id(&key, verb, "");
                if self.actions.contains_key(&id) {
                    edge(&id, &action.id, EdgeReason::Frees);
                }
            }
        }
    }

    fn edges_of_pool(
        &self,
        action: &Action,
        edge: &mut impl FnMut(&ActionId, &ActionId, EdgeReason),
    ) {
        if action.verb != Verb::Delete {
            return;
        }
        let found = self.input.inventory.hypervisors.get(&action.hypervisor);
        let Some(seen) = found.and_then(|it| it.pools.get(&action.key.name)) else { return };
        for other in self.actions.values() {
            let leaves = other.hypervisor == action.hypervisor
                && other.native_id.as_ref().is_some_and(|id| seen.members.contains(id))
                && other.key.kind == Kind::Vm;
            if leaves {
                edge(&other.id, &action.id, EdgeReason::DeleteOrder);
            }
        }
    }

    /// What depends on a blocked thing is blocked too, and says by what.
    fn block_dependents(&mut self) {
        loop {
            let blocked: BTreeMap<(ResourceKey, Option<crate::model::HypervisorName>), Code> = self
                .blocked
                .iter()
                .map(|it| {
                    let at = (it.key.kind == Kind::Pool).then(|| it.hypervisor.clone());
                    ((it.key.clone(), at), it.code)
                })
                .collect();
            let mut hit: Vec<(ActionId, ResourceKey)> = Vec::new();
            for action in self.actions.values() {
                let Some(machine) = self.input.desired.machines.get(&action.key) else { continue };
                if !matches!(action.verb, Verb::Create | Verb::Continue | Verb::Start) {
                    continue;
                }
                let pool = machine.spec.pool.clone().map(ResourceKey::pool);
                let pool = pool.map(|key| (key, Some(action.hypervisor.clone())));
                let after = machine.after.iter().map(|key| (key.clone(), None));
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
    fn block_cycles(&mut self, edges: Vec<Edge>) -> Vec<Edge> {
        let ids: Vec<ActionId> = self.actions.keys().cloned().collect();
        let (graph, _) = graph(&ids, &edges);
        let mut members = BTreeSet::new();
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
            members.extend(names);
        }
        let gone = |id: &ActionId| members.contains(id);
        edges.into_iter().filter(|it| !gone(&it.before) && !gone(&it.after)).collect()
    }
}

/// The order of several actions on one machine.
fn rank(action: &Action) -> u8 {
    match action.verb {
        Verb::Delete | Verb::Replace => 0,
        Verb::Create | Verb::Continue => 1,
        Verb::Update if action.data_loss.is_none() && !action.disruption().needs_consent() => 2,
        Verb::Update if action.data_loss.is_none() => 3,
        Verb::Update => 4,
        Verb::Restart => 5,
        Verb::Start | Verb::Stop => 6,
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

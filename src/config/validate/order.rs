//! Who waits for whom: nobody may wait for itself, not even through others.

use crate::config::decode::Cx;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::resolve::Resolved;
use crate::model::ResourceKey;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// Members of a cycle that a message names.
const NAMED_MAX: usize = 12;

/// Reports each cycle once, with all that wait in it.
pub(super) fn check(machines: &[Resolved], cx: &mut Cx<'_>) {
    let mut graph: DiGraph<&Resolved, Span> = DiGraph::new();
    let nodes: BTreeMap<&ResourceKey, NodeIndex> =
        machines.iter().map(|one| (&one.desired.key, graph.add_node(one))).collect();
    for machine in machines {
        for (other, span) in &machine.after {
            // A machine with problems of its own is not here.
            let ends = nodes.get(&machine.desired.key).zip(nodes.get(other));
            if let Some((&from, &to)) = ends {
                graph.add_edge(from, to, *span);
            }
        }
    }
    let mut problems: Vec<Diagnostic> = Vec::new();
    // Not Tarjan's: that one recurses, and a chain of ten thousand machines would be as deep.
    for component in kosaraju_scc(&graph) {
        let inside: HashSet<NodeIndex> = component.iter().copied().collect();
        let first = component.iter().copied().min_by_key(|&node| &graph[node].desired.key);
        if let Some(cycle) = first.and_then(|first| shortest_cycle(&graph, first, &inside)) {
            problems.push(describe(&graph, &cycle));
        }
    }
    problems.sort_by_key(|problem| problem.primary.span);
    problems.into_iter().for_each(|problem| cx.push(problem));
}

/// Edges of the shortest way from a machine back to itself; `None` when there is none.
fn shortest_cycle(
    graph: &DiGraph<&Resolved, Span>,
    first: NodeIndex,
    inside: &HashSet<NodeIndex>,
) -> Option<Vec<(NodeIndex, Span)>> {
    let mut came: HashMap<NodeIndex, (NodeIndex, Span)> = HashMap::new();
    let mut queue = VecDeque::from([first]);
    while let Some(node) = queue.pop_front() {
        let mut next: Vec<(NodeIndex, Span)> = graph
            .edges(node)
            .map(|edge| (petgraph::visit::EdgeRef::target(&edge), *edge.weight()))
            .collect();
        // The graph gives edges last first; the way that is shown must not depend on that.
        next.sort_by_key(|(node, _)| &graph[*node].desired.key);
        for (to, span) in next.into_iter().filter(|(to, _)| inside.contains(to)) {
            if to == first {
                let mut way = vec![(node, span)];
                let mut at = node;
                while let Some(&(before, span)) = came.get(&at) {
                    way.push((before, span));
                    at = before;
                }
                way.reverse();
                return Some(way);
            }
            if let Entry::Vacant(free) = came.entry(to) {
                free.insert((node, span));
                queue.push_back(to);
            }
        }
    }
    None
}

fn describe(graph: &DiGraph<&Resolved, Span>, cycle: &[(NodeIndex, Span)]) -> Diagnostic {
    let name = |node: NodeIndex| graph[node].desired.key.name.to_string();
    let (first, span) = cycle[0];
    if cycle.len() == 1 {
        let message = format!("`{}` waits for itself", graph[first].desired.key);
        return Diagnostic::error("cycle", span, message);
    }
    let mut names: Vec<String> =
        cycle.iter().take(NAMED_MAX).map(|(node, _)| name(*node)).collect();
    if cycle.len() > NAMED_MAX {
        names.push(format!("{} more", cycle.len() - NAMED_MAX));
    }
    names.push(name(first));
    let message = format!("machines wait for each other: {}", names.join(" -> "));
    let mut problem = Diagnostic::error("cycle", span, message);
    for (node, span) in cycle.iter().take(NAMED_MAX).skip(1) {
        problem = problem.related(*span, format!("`{}` waits here", name(*node)));
    }
    problem.help("remove one of these from `after`")
}

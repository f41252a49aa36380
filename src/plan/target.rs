//! `--target`: fewer actions of a plan that was made and judged whole.

use crate::model::{ActionId, Plan, ResourceKey, Targeted};
use std::collections::{BTreeMap, BTreeSet};

/// A target that names nothing in the configuration or in the plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names nothing that is in the YAML or owned on a hypervisor")]
pub struct UnknownTarget(pub String);

/// The actions on the targets, with everything that must run before them.
///
/// The body stays as it is, and so does its id: targeting chooses among what was
/// planned, it plans nothing new.
///
/// # Errors
/// When a target is not among `known`.
pub fn target(
    plan: &mut Plan,
    targets: &[ResourceKey],
    known: &BTreeSet<ResourceKey>,
) -> Result<BTreeSet<ActionId>, UnknownTarget> {
    if let Some(unknown) = targets.iter().find(|key| !known.contains(*key)) {
        return Err(UnknownTarget(unknown.to_string()));
    }
    let mut before: BTreeMap<&ActionId, Vec<&ActionId>> = BTreeMap::new();
    for edge in &plan.body.edges {
        before.entry(&edge.after).or_default().push(&edge.before);
    }
    let wanted: BTreeSet<ActionId> = plan
        .body
        .actions
        .iter()
        .filter(|action| targets.contains(&action.key))
        .map(|action| action.id.clone())
        .collect();
    let mut chosen = wanted.clone();
    let mut open: Vec<ActionId> = wanted.iter().cloned().collect();
    while let Some(id) = open.pop() {
        for first in before.get(&id).into_iter().flatten() {
            if chosen.insert((*first).clone()) {
                open.push((*first).clone());
            }
        }
    }
    plan.envelope.targeted = Some(Targeted {
        targets: targets.iter().map(ToString::to_string).collect(),
        added: chosen.difference(&wanted).cloned().collect(),
        chosen: chosen.clone(),
        left_out: u32::try_from(plan.body.actions.len() - chosen.len()).unwrap_or(u32::MAX),
    });
    Ok(chosen)
}

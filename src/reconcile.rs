//! The road itself: what `plan`, `apply`, `drift` and the daemon all walk.

use crate::{
    guard::{self, Case, Verdict},
    model::{
        Action, ActionId, Consent, DesiredState, Disruption, History, HypervisorName, Inventory,
        Plan, Product, ResourceKey, Verb,
    },
    ownership::{MarkerKey, Ownership},
    plan::{self, UnknownTarget},
    planted::Bug,
};
use std::collections::{BTreeMap, BTreeSet};

/// What is known before anything is decided.
#[derive(Clone, Copy)]
pub struct Known<'a> {
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

/// A plan with the verdict on it, which its envelope holds too.
#[derive(Debug)]
pub struct Reconciled {
    /// The plan.
    pub plan: Plan,
    /// Who owns what.
    pub ownership: Ownership,
    /// What may run.
    pub verdict: Verdict,
    /// With `--target`: the actions that were chosen.
    pub chosen: Option<BTreeSet<ActionId>>,
}

/// Compares, plans, chooses and judges. Pure.
///
/// # Errors
/// When a target names nothing.
pub fn reconcile(
    known: Known<'_>,
    targets: &[ResourceKey],
    consent: &Consent,
) -> Result<Reconciled, UnknownTarget> {
    let planned = plan::plan(plan::Input {
        desired: known.desired,
        inventory: known.inventory,
        history: known.history,
        products: known.products,
        marker_key: known.marker_key,
    });
    let mut reconciled = Reconciled {
        plan: planned.plan,
        ownership: planned.ownership,
        verdict: Verdict::default(),
        chosen: None,
    };
    if Bug::DeleteUnannounced.is_planted() {
        let deletes = |it: &&mut Action| it.verb == Verb::Delete;
        for action in reconciled.plan.body.actions.iter_mut().filter(deletes) {
            action.steps.remove(0);
            action.steps.iter_mut().for_each(|step| step.begin.stage = None);
        }
    }
    if !targets.is_empty() {
        let desired = known.desired;
        let all = desired.machines.keys().chain(desired.pools.keys());
        let ownership = &reconciled.ownership;
        // What only the journal or a stray marker speaks of can be given up.
        let remembered = known.history.owned.iter().map(|it| &it.key);
        let lost = remembered.chain(ownership.obstacles.keys());
        let lost = lost.filter(|key| desired.forget.contains(*key));
        let asked = desired.machines.values().filter_map(|it| it.spread.clone());
        let found = known.inventory.hypervisors.values().flat_map(|it| it.spreads.values());
        let spreads = asked.map(ResourceKey::spread).chain(found.map(|it| it.key.clone()));
        // A pool that bears our mark can be removed when no entry names it any more.
        let pools = known.inventory.hypervisors.values().flat_map(|it| it.pools.values());
        let pools = pools.filter_map(|it| it.marker.found());
        let pools = pools.filter(|it| it.project == desired.project).map(|it| it.key.clone());
        let known = all.chain(ownership.owned.keys()).chain(lost).cloned();
        let known = known.chain(spreads).chain(pools).collect();
        reconciled.chosen = Some(plan::target(&mut reconciled.plan, targets, &known)?);
    }
    judge(known, &mut reconciled, consent);
    Ok(reconciled)
}

/// Judges what a person asks of one machine, and writes the verdict into its envelope.
pub fn judge_command(known: Known<'_>, reconciled: &mut Reconciled, consent: &Consent) {
    let verdict = guard::judge_command(case(known, reconciled, consent));
    reconciled.plan.envelope.refusals = verdict.refusals.clone();
    reconciled.verdict = verdict;
}

fn case<'a>(known: Known<'a>, reconciled: &'a Reconciled, consent: &'a Consent) -> Case<'a> {
    Case {
        plan: &reconciled.plan,
        chosen: reconciled.chosen.as_ref(),
        ownership: &reconciled.ownership,
        inventory: known.inventory,
        history: known.history,
        desired: known.desired,
        consent,
        marker_key: known.marker_key,
    }
}

/// Judges a plan again, under another consent, and writes the verdict into its envelope.
pub fn judge(known: Known<'_>, reconciled: &mut Reconciled, consent: &Consent) {
    let verdict = guard::judge(case(known, reconciled, consent));
    let mut verdict = verdict;
    if Bug::RestartUnasked.is_planted() {
        let restarts = |it: &&Action| it.classes.contains(&Disruption::Restart);
        let unasked = reconciled.plan.body.actions.iter().filter(restarts);
        verdict.runnable.extend(unasked.map(|it| it.id.clone()));
    }
    let envelope = &mut reconciled.plan.envelope;
    envelope.waiting = verdict.waiting.clone();
    envelope.refusals = verdict.refusals.clone();
    // A forbidden action is shown where waiting ones are: it does not run, and the
    // line says what would let it.
    for (id, forbidden) in &verdict.forbidden {
        envelope.waiting.insert(
            id.clone(),
            crate::model::Waiting {
                code: forbidden.code,
                message: forbidden.message.clone(),
                unlock: forbidden.unlock.clone(),
            },
        );
    }
    reconciled.verdict = verdict;
}

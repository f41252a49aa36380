//! What may run of a finished plan: a separate pass with stable codes.
//!
//! Consent withholds, budgets refuse. `plan` shows the verdict without any consent
//! but the first; `apply` judges again, over what is about to run.

use crate::{
    model::{
        Action, ActionId, Allowance, Code, Consent, DesiredState, Disruption, History, Inventory,
        Kind, MarkerState, Plan, ProjectName, Refused, ResourceKey, Verb, Waiting,
    },
    ownership::{MarkerKey, Ownership},
};
use std::collections::{BTreeMap, BTreeSet};

/// The verdict on a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What may run, should nothing refuse the run.
    pub runnable: BTreeSet<ActionId>,
    /// What waits, and for what.
    pub waiting: BTreeMap<ActionId, Waiting>,
    /// What a rule forbids, one action at a time.
    pub forbidden: BTreeMap<ActionId, Forbidden>,
    /// What refuses the run as a whole.
    pub refusals: Vec<Refused>,
}

/// An action that a rule forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// Stable code.
    pub code: Code,
    /// In words.
    pub message: String,
    /// The flags that would let it run, or in words what to do first.
    pub unlock: String,
}

/// What the guard looks at.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// `--target`: the actions that are asked for; `None` = all.
    pub chosen: Option<&'a BTreeSet<ActionId>>,
    /// Who owns what.
    pub ownership: &'a Ownership,
    /// What was seen.
    pub inventory: &'a Inventory,
    /// What the journal remembers.
    pub history: &'a History,
    /// What is asked for.
    pub desired: &'a DesiredState,
    /// What a person allows.
    pub consent: &'a Consent,
    /// Verifies markers: one of the second witnesses.
    pub marker_key: Option<&'a MarkerKey>,
}

/// Vanished objects above this number are a refusal, whatever the share.
const VANISHED_MAX: usize = 2;
/// Vanished objects above this share of what the journal remembers, percent.
const VANISHED_PERCENT_MAX: usize = 10;
/// Entries that disappeared above this number are a refusal, whatever the share.
const SHRINK_MAX: usize = 3;
/// Entries that disappeared above this share of what is owned, percent.
const SHRINK_PERCENT_MAX: usize = 20;

/// Judges what a person asks of one machine: its class, and the budget. Files that went
/// missing and machines that vanished say nothing about it.
pub fn judge_command(case: Case<'_>) -> Verdict {
    let mut verdict = one_by_one(&case);
    verdict.refusals.extend(over_budget(&case, &verdict));
    verdict
}

/// Judges a plan.
pub fn judge(case: Case<'_>) -> Verdict {
    let mut verdict = one_by_one(&case);
    withhold_dependents(&case, &mut verdict);
    while let Some((id, birth)) = half_replace(&case, &verdict) {
        let unlock = verdict.waiting.get(birth).map_or_else(String::new, |it| it.unlock.clone());
        verdict.runnable.remove(&id);
        verdict.waiting.insert(
            id,
            Waiting {
                code: Code::Dependency,
                message: "what comes after this removal does not run, so it would not be made anew"
                    .to_owned(),
                unlock,
            },
        );
        withhold_dependents(&case, &mut verdict);
    }
    verdict.refusals.extend(other_project(&case));
    verdict.refusals.extend(empty_source(&case));
    verdict.refusals.extend(mass_absence(case.history, case.ownership, case.consent));
    verdict.refusals.extend(over_budget(&case, &verdict));
    verdict
}

/// Every action by itself.
fn one_by_one(case: &Case<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    for action in &case.plan.body.actions {
        if case.chosen.is_some_and(|chosen| !chosen.contains(&action.id)) {
            continue;
        }
        if let Some(forbidden) = forbidden(case, action) {
            verdict.forbidden.insert(action.id.clone(), forbidden);
        } else if let Some(waiting) = needs_consent(case.consent, action) {
            verdict.waiting.insert(action.id.clone(), waiting);
        } else {
            verdict.runnable.insert(action.id.clone());
        }
    }
    verdict
}

/// A removal that would run without the birth that follows it: a machine that is
/// replaced must not end as one that was deleted.
fn half_replace<'a>(case: &Case<'a>, verdict: &Verdict) -> Option<(ActionId, &'a ActionId)> {
    let runs = |id: &ActionId| verdict.runnable.contains(id);
    let actions = || case.plan.body.actions.iter();
    let mut removals = actions().filter(|it| it.verb == Verb::Replace && runs(&it.id));
    removals.find_map(|removal| {
        let mut births = actions().filter(|it| it.verb == Verb::Create && it.key == removal.key);
        let birth = births.find(|birth| !runs(&birth.id))?;
        Some((removal.id.clone(), &birth.id))
    })
}

fn forbidden(case: &Case<'_>, action: &Action) -> Option<Forbidden> {
    if !removes(action) || action.key.kind != Kind::Vm {
        return None;
    }
    if action.protected {
        return Some(Forbidden {
            code: Code::Protected,
            message: format!("{} is protected", action.key),
            unlock: format!(
                "write `protect: false` on {} and apply that first; then {} it",
                action.key, action.verb
            ),
        });
    }
    if has_second_witness(case, action) {
        return None;
    }
    Some(Forbidden {
        code: Code::SecondWitness,
        message: format!(
            "nothing but its marker says that {} is {}: the journal has no record of it; look at it first",
            action.native_id.as_ref().map_or("the machine", |id| id.as_str()),
            action.key
        ),
        unlock: match needs_consent(case.consent, action) {
            Some(waiting) => format!("{} --confirm {}", waiting.unlock, action.key),
            None => format!("--confirm {}", action.key),
        },
    })
}

fn removes(action: &Action) -> bool {
    matches!(action.verb, Verb::Delete | Verb::Replace)
}

/// A valid signature, a record of our own create or adopt, or a person's word.
fn has_second_witness(case: &Case<'_>, action: &Action) -> bool {
    if case.consent.confirm.contains(&action.key) {
        return true;
    }
    let Some(id) = &action.native_id else { return false };
    if case.history.remembers(&action.key, &action.hypervisor, id) {
        return true;
    }
    let seen = case.inventory.hypervisors.get(&action.hypervisor);
    let marker = seen.and_then(|it| it.machines.get(id)).map(|it| &it.marker);
    match (case.marker_key, marker) {
        (Some(key), Some(MarkerState::Found(marker))) => key.verifies(marker),
        _ => false,
    }
}

/// The classes that an action needs consent for, by the name of the flag.
pub fn allowances(action: &Action) -> BTreeSet<Allowance> {
    let of_class = |class: &Disruption| match class {
        Disruption::None | Disruption::Online | Disruption::NextBoot => None,
        Disruption::Reinit => Some(Allowance::Reinit),
        Disruption::Restart => Some(Allowance::Restart),
        Disruption::Replace => Some(Allowance::Replace),
        Disruption::Delete => Some(Allowance::Delete),
    };
    let mut all: BTreeSet<Allowance> = action.classes.iter().filter_map(of_class).collect();
    if action.data_loss.on_a_machine_that_stays {
        all.insert(Allowance::DataLoss);
    }
    all
}

fn needs_consent(consent: &Consent, action: &Action) -> Option<Waiting> {
    let missing: Vec<&str> = allowances(action)
        .into_iter()
        .filter(|class| match consent.allow.get(class) {
            Some(None) => false,
            Some(Some(keys)) => !keys.contains(&action.key),
            None => true,
        })
        .map(Allowance::as_str)
        .collect();
    if missing.is_empty() {
        return (!consent.yes).then(|| Waiting {
            code: Code::Consent,
            message: "needs a yes".to_owned(),
            unlock: "--yes".to_owned(),
        });
    }
    let flags: Vec<String> =
        missing.iter().map(|class| format!("--allow {class}={}", action.key)).collect();
    Some(Waiting {
        code: Code::Consent,
        message: format!("needs consent for {}", missing.join(" and ")),
        unlock: flags.join(" "),
    })
}

/// What stands behind something that does not run does not run either.
fn withhold_dependents(case: &Case<'_>, verdict: &mut Verdict) {
    let mut after: BTreeMap<&ActionId, Vec<(&ActionId, crate::model::EdgeReason)>> =
        BTreeMap::new();
    for edge in &case.plan.body.edges {
        after.entry(&edge.before).or_default().push((&edge.after, edge.reason));
    }
    let verbs: BTreeMap<&ActionId, Verb> =
        case.plan.body.actions.iter().map(|it| (&it.id, it.verb)).collect();
    let mut open: Vec<ActionId> =
        verdict.waiting.keys().chain(verdict.forbidden.keys()).cloned().collect();
    while let Some(id) = open.pop() {
        for (next, reason) in after.get(&id).into_iter().flatten() {
            // Two updates of one machine are ordered, but neither needs the other.
            let independent = *reason == crate::model::EdgeReason::SameObject
                && verbs.get(&id) == Some(&Verb::Update);
            if !independent && verdict.runnable.remove(*next) {
                let waiting = Waiting {
                    code: Code::Dependency,
                    message: format!("{id} must be done first"),
                    unlock: verdict
                        .waiting
                        .get(&id)
                        .map_or_else(String::new, |it| it.unlock.clone()),
                };
                verdict.waiting.insert((*next).clone(), waiting);
                open.push((*next).clone());
            }
        }
    }
}

/// A project that owns nothing, with entries that are another project's machines under the
/// very same key and name: a mistyped `project:`, and whatever else is new in the files
/// would be made under it.
fn other_project(case: &Case<'_>) -> Option<Refused> {
    let project = &case.desired.project;
    if case.ownership.owned.keys().any(|key| key.kind == Kind::Vm) {
        return None;
    }
    let theirs: Vec<(&ResourceKey, &ProjectName)> = case
        .desired
        .machines
        .values()
        .filter_map(|machine| {
            let seen = case.inventory.hypervisors.get(&machine.hypervisor)?;
            let name = machine.spec.name.as_deref().unwrap_or(machine.key.name.as_str());
            let mut named =
                seen.machines.values().filter(|it| it.settled().name.as_deref() == Some(name));
            named.find_map(|it| {
                let marker = it.marker.found()?;
                let same = marker.key == machine.key && marker.project != *project;
                same.then_some((&machine.key, &marker.project))
            })
        })
        .collect();
    let other = theirs.first()?.1;
    Some(Refused {
        code: Code::OtherProject,
        message: format!(
            "project `{project}` owns no machine, and {} of its entries are machines of project `{other}`; is `project:` right?",
            theirs.len()
        ),
        help: format!(
            "write `project: {other}`, or give these entries names of their own (`name:`)"
        ),
        objects: theirs.iter().map(|(key, _)| key.to_string()).collect(),
    })
}

fn empty_source(case: &Case<'_>) -> Option<Refused> {
    let owned: Vec<&ResourceKey> =
        case.ownership.owned.keys().filter(|key| key.kind == Kind::Vm).collect();
    let renamed: BTreeSet<&ResourceKey> =
        case.desired.machines.values().filter_map(|it| it.was.as_ref()).collect();
    let lost: Vec<String> = owned
        .iter()
        .filter(|key| !case.desired.machines.contains_key(**key))
        // What is renamed or given up on purpose did not go missing.
        .filter(|key| !renamed.contains(**key) && !case.desired.forget.contains(**key))
        .map(ToString::to_string)
        .collect();
    let limit = SHRINK_MAX.max(owned.len() * SHRINK_PERCENT_MAX / 100);
    let expected = case.consent.expect_shrink.map_or(0, |n| n as usize);
    (lost.len() > limit && lost.len() > expected).then(|| Refused {
        code: Code::EmptySource,
        message: format!(
            "{} of {} owned machines are no longer in the YAML; more than {limit} looks like files that went missing",
            lost.len(),
            owned.len()
        ),
        help: format!("check the files, or add `--expect-shrink {}`", lost.len()),
        objects: lost,
    })
}

/// A person's word that a machine is gone counts: there has to be a way on after
/// machines were deleted by hand.
fn mass_absence(history: &History, ownership: &Ownership, consent: &Consent) -> Option<Refused> {
    let remembered = history.owned.len();
    let vanished: Vec<String> = ownership
        .vanished
        .iter()
        .filter(|key| !consent.confirm.contains(*key))
        .map(ToString::to_string)
        .collect();
    let limit = VANISHED_MAX.max(remembered * VANISHED_PERCENT_MAX / 100);
    (vanished.len() > limit).then(|| Refused {
        code: Code::MassAbsence,
        message: format!(
            "{} of {remembered} objects that the journal remembers are gone; more than {limit} looks like a wrong hypervisor, account or project",
            vanished.len()
        ),
        help: format!(
            "check endpoint, account and `project:`; if they were really removed, add `--confirm {}`",
            vanished.join(",")
        ),
        objects: vanished,
    })
}

fn over_budget(case: &Case<'_>, verdict: &Verdict) -> Vec<Refused> {
    let budgets = case.plan.body.policy.budgets;
    let running =
        || case.plan.body.actions.iter().filter(|action| verdict.runnable.contains(&action.id));
    let with = |class: Disruption| -> Vec<String> {
        running()
            .filter(|action| action.classes.contains(&class))
            .map(|action| action.key.to_string())
            .collect()
    };
    let changes: Vec<String> = running()
        .filter(|action| !matches!(action.verb, Verb::Create | Verb::Continue))
        .map(|action| action.key.to_string())
        .collect();
    [
        ("deletes", budgets.deletes, with(Disruption::Delete)),
        ("replaces", budgets.replaces, with(Disruption::Replace)),
        ("restarts", budgets.restarts, with(Disruption::Restart)),
        ("changes", budgets.changes, changes),
    ]
    .into_iter()
    .filter(|(_, budget, objects)| objects.len() > *budget as usize)
    .map(|(name, budget, objects)| Refused {
        code: Code::Budget,
        message: format!("{} {name} in one run; the budget is {budget}", objects.len()),
        help: format!("allow fewer, or raise `policy.budgets.{name}` in a reviewed change"),
        objects,
    })
    .collect()
}

#[cfg(test)]
mod tests;

//! Actions that are alike, shown once: a plan of ten thousand is read in seconds.

use crate::model::{
    Action, Code, Disruption, Envelope, FieldKind, FieldPath, HypervisorName, Kind, Reason, Value,
    Verb,
};
use std::collections::{BTreeMap, BTreeSet};

/// Actions of one verb that are listed one by one; more are put into groups.
pub(super) const SINGLE_MAX: usize = 50;

/// Actions that differ in nothing but what makes each machine itself.
pub(super) struct Group<'a> {
    /// The first by address, shown for all.
    pub first: &'a Action,
    /// Addresses of all of them, in order.
    pub members: Vec<&'a Action>,
    /// Fields whose values differ among them.
    pub varying: BTreeSet<FieldPath>,
}

/// What two actions must share to be shown as one.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Shape<'a> {
    verb: Verb,
    kind: Kind,
    hypervisor: &'a HypervisorName,
    classes: &'a BTreeSet<Disruption>,
    loses_here: bool,
    reversible: bool,
    protected: bool,
    reason: Option<Reason>,
    waits: Option<Code>,
    fields: Vec<Compared<'a>>,
}

/// A field with its values, or without them where each machine has its own.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Compared<'a> {
    field: &'a FieldPath,
    pending: bool,
    disruption: Disruption,
    values: Option<(Option<&'a Value>, Option<&'a Value>)>,
}

/// Fields that are a machine's own by nature.
fn is_personal(kind: FieldKind) -> bool {
    matches!(
        kind,
        FieldKind::Name
            | FieldKind::NicMac
            | FieldKind::NicIp
            | FieldKind::InitHostname
            | FieldKind::InitDigest
    )
}

fn shape<'a>(action: &'a Action, envelope: &Envelope) -> Shape<'a> {
    let compared = |change: &'a crate::model::FieldChange| Compared {
        field: &change.field,
        pending: change.pending,
        disruption: change.disruption,
        values: (!is_personal(change.field.kind))
            .then_some((change.before.as_ref(), change.after.as_ref())),
    };
    Shape {
        verb: action.verb,
        kind: action.key.kind,
        hypervisor: &action.hypervisor,
        classes: &action.classes,
        loses_here: action.data_loss.on_a_machine_that_stays,
        reversible: action.reversible,
        protected: action.protected,
        reason: envelope.reasons.get(&action.id).copied(),
        waits: envelope.waiting.get(&action.id).map(|it| it.code),
        fields: action.fields.iter().map(compared).collect(),
    }
}

/// Groups actions of one wave, in the order of their first members. Verbs in `alone`
/// are not grouped.
pub(super) fn group<'a>(
    actions: &[&'a Action],
    alone: &BTreeSet<Verb>,
    envelope: &Envelope,
) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut by_shape: BTreeMap<Shape<'a>, usize> = BTreeMap::new();
    for &action in actions {
        let single = || Group { first: action, members: vec![action], varying: BTreeSet::new() };
        if alone.contains(&action.verb) {
            groups.push(single());
            continue;
        }
        let next = groups.len();
        let index = *by_shape.entry(shape(action, envelope)).or_insert(next);
        match groups.get_mut(index) {
            Some(group) => {
                note_differences(group, action);
                group.members.push(action);
            }
            None => groups.push(single()),
        }
    }
    groups
}

fn note_differences(group: &mut Group<'_>, action: &Action) {
    for (mine, other) in group.first.fields.iter().zip(&action.fields) {
        let same = mine.before == other.before && mine.after == other.after;
        if !same && !group.varying.contains(&mine.field) {
            group.varying.insert(mine.field.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{create, update};

    #[test]
    fn machines_that_differ_in_themselves_only_are_one_group() {
        let actions: Vec<_> = (0..5).map(|number| create(&format!("web-{number}"), 4)).collect();
        let groups =
            group(&actions.iter().collect::<Vec<_>>(), &BTreeSet::new(), &Envelope::default());
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].members.len(), 5);
        assert!(groups[0].varying.iter().all(|field| is_personal(field.kind)));
        assert!(!groups[0].varying.is_empty());
    }

    #[test]
    fn another_size_is_another_group() {
        let actions = [create("a", 4), create("b", 8), create("c", 4)];
        let groups =
            group(&actions.iter().collect::<Vec<_>>(), &BTreeSet::new(), &Envelope::default());
        assert_eq!(groups.iter().map(|it| it.members.len()).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn what_waits_is_apart_from_what_runs() {
        let actions = [update("a"), update("b")];
        let mut envelope = Envelope::default();
        envelope
            .waiting
            .insert(actions[0].id.clone(), crate::report::fixture::waiting("--allow x"));
        let groups = group(&actions.iter().collect::<Vec<_>>(), &BTreeSet::new(), &envelope);
        assert_eq!(groups.len(), 2);
    }
}

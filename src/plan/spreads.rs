//! Machines that are kept on different hosts: one rule per name and place, made once they
//! exist, and gone when nobody asks for it any more.
//!
//! Within a place the product chooses hosts; machines in different places are on different
//! hosts anyway, so that a name in several places makes a rule in each. Where a machine goes
//! is chosen as if it were alone.

use super::{Builder, base::spread_base, group_action, machine_action_id};
use crate::model::{
    Action, ActionId, Blocked, Change, Code, Coverage, DesiredMachine, DesiredState, DeviceName,
    Disruption, EdgeReason, FieldChange, FieldKind, FieldPath, HypervisorInventory, HypervisorName,
    Kind, Name, NodeName, ObservedSpread, Place, Reason, ResourceKey, Spread, StepOp, Value, Verb,
};
use std::collections::{BTreeMap, BTreeSet};

/// The fewest machines that can be kept apart.
const MEMBERS_MIN: usize = 2;

/// The machines of a hypervisor by the name under which they are kept apart.
type Asked<'a> = BTreeMap<&'a Name, Vec<&'a DesiredMachine>>;

/// What is asked for under one name in one place.
struct Wanted {
    spread: Spread,
    place: Place,
}

impl Builder<'_> {
    pub(super) fn plan_spreads(&mut self) {
        let inventory = self.input.inventory;
        for (hypervisor, found) in &inventory.hypervisors {
            if matches!(found.coverage, Coverage::Failed { .. }) {
                // Its machines are blocked, and they are what it is about.
                continue;
            }
            let asked = asked_on(self.input.desired, hypervisor);
            let open: BTreeMap<&Name, &DesiredMachine> = asked
                .iter()
                .filter_map(|(name, all)| Some((*name, self.undecided(all)?)))
                .collect();
            let wanted = self.wanted_spreads(&asked);
            for (id, seen) in &found.spreads {
                let is_it = |it: &&Wanted| it.spread.key == seen.key && it.spread.node == seen.node;
                if !open.contains_key(&seen.key.name) && !wanted.iter().any(|it| is_it(&it)) {
                    let reason = match asked.contains_key(&seen.key.name) {
                        true => Reason::TooFew,
                        false => Reason::Removed,
                    };
                    self.plan_unwanted(hypervisor, found, (id.as_str(), seen), reason);
                }
            }
            for one in wanted.iter().filter(|it| !open.contains_key(&it.spread.key.name)) {
                self.plan_spread(hypervisor, found, one);
            }
            for (name, machine) in open {
                self.hold_off(hypervisor, found, name, machine);
            }
        }
    }

    /// One of several machines of which it is not known where it will be. What is kept apart
    /// without it would be a rule of fewer machines, or none at all.
    fn undecided<'m>(&self, all: &[&'m DesiredMachine]) -> Option<&'m DesiredMachine> {
        let mut unknown = all.iter().filter(|it| self.node_by_then(it).is_none());
        unknown.next().copied().filter(|_| all.len() >= MEMBERS_MIN)
    }

    /// Leaves a rule as it is, and says why.
    fn hold_off(
        &mut self,
        hypervisor: &HypervisorName,
        found: &HypervisorInventory,
        name: &Name,
        machine: &DesiredMachine,
    ) {
        let key = ResourceKey::spread(name.clone());
        if !self.blocked.iter().any(|it| it.key == machine.key) {
            let text = format!("waits for the next plan, which knows where {} is", machine.key);
            return self.note(&key, text);
        }
        let is_there = found.spreads.values().any(|it| it.key == key);
        self.block(Blocked {
            key,
            hypervisor: hypervisor.clone(),
            verb: Some(if is_there { Verb::Update } else { Verb::Create }),
            code: Code::Dependency,
            message: format!("{} is blocked, and it is one of those to be kept apart", machine.key),
            help: format!("solve what blocks {}", machine.key),
            place: Some(machine.place_of(&FieldPath::of(FieldKind::Spread)).clone()),
        });
    }

    /// Names with two machines or more in a place, by then.
    fn wanted_spreads(&self, asked: &Asked<'_>) -> Vec<Wanted> {
        let mut groups: BTreeMap<(&Name, NodeName), Vec<&DesiredMachine>> = BTreeMap::new();
        for (name, machine) in
            asked.iter().flat_map(|(name, all)| all.iter().map(move |it| (*name, *it)))
        {
            if let Some(node) = self.node_by_then(machine) {
                groups.entry((name, node)).or_default().push(machine);
            }
        }
        let groups = groups.into_iter().filter(|(_, all)| all.len() >= MEMBERS_MIN);
        groups
            .filter_map(|((name, node), all)| {
                let members = all.iter().map(|it| it.key.clone()).collect();
                let place = all.first()?.place_of(&FieldPath::of(FieldKind::Spread)).clone();
                let spread = Spread { key: ResourceKey::spread(name.clone()), node, members };
                Some(Wanted { spread, place })
            })
            .collect()
    }

    /// Where a machine is once this plan has run; none when it is nowhere then.
    fn node_by_then(&self, machine: &DesiredMachine) -> Option<NodeName> {
        if let Some(birth) = self.birth_of(&machine.key) {
            return birth.node.clone();
        }
        let owned = self.ownership.owned.get(&machine.key)?;
        let here = owned.hypervisor == machine.hypervisor;
        let seen = self.input.inventory.hypervisors.get(&owned.hypervisor)?;
        let seen = seen.machines.get(&owned.id).filter(|_| here)?;
        seen.node.clone()
    }

    fn birth_of(&self, key: &ResourceKey) -> Option<&Action> {
        self.actions.get(&machine_action_id(key, Verb::Create, ""))
    }

    fn plan_spread(
        &mut self,
        hypervisor: &HypervisorName,
        found: &HypervisorInventory,
        wanted: &Wanted,
    ) {
        let Spread { key, node, members } = &wanted.spread;
        let id = ObservedSpread::id_of(key, node);
        let seen = found.spreads.get(&id);
        let blocked = |code, message: String, help: &str| Blocked {
            key: key.clone(),
            hypervisor: hypervisor.clone(),
            verb: Some(if seen.is_some() { Verb::Update } else { Verb::Create }),
            code,
            message,
            help: help.to_owned(),
            place: Some(wanted.place.clone()),
        };
        if !found.nodes.get(node).is_some_and(|it| it.spreads) {
            let text = format!("{node} does not keep machines on different hosts by itself");
            let help = "let it choose hosts itself (DRS), or leave `spread:` out";
            return self.block(blocked(Code::Unsupported, text, help));
        }
        if let Some(why) = seen.and_then(|it| it.foreign.as_ref()) {
            let text = format!("a rule of our name on {node} is not ours: {why}");
            let help = "rename or remove that rule, or choose another name for `spread:`";
            return self.block(blocked(Code::Impostor, text, help));
        }
        let Some(seen) = seen else {
            let fields = vec![member_change(None, members, &wanted.place)];
            let change = Change::CreateSpread(&wanted.spread);
            return self.spread_action(hypervisor, wanted, Verb::Create, fields, None, &change);
        };
        // The product takes a machine out of its rules when it is removed.
        let by_then = self.without_removed(hypervisor, seen);
        let mut fields = Vec::new();
        if by_then.members != *members {
            fields.push(member_change(Some(&seen.members), members, &wanted.place));
        }
        if !seen.enabled {
            fields.push(FieldChange {
                field: FieldPath::of(FieldKind::Enabled),
                before: Some(Value::Flag(false)),
                after: Some(Value::Flag(true)),
                disruption: Disruption::Online,
                place: Some(wanted.place.clone()),
                pending: false,
            });
        }
        if fields.is_empty() {
            self.unchanged += 1;
            return;
        }
        let replaced = self.without_replaced(seen);
        let change = Change::UpdateSpread(&wanted.spread);
        self.spread_action(hypervisor, wanted, Verb::Update, fields, Some(&replaced), &change);
    }

    /// A spread as it is once machines are gone that this plan removes.
    fn without_removed(
        &self,
        hypervisor: &HypervisorName,
        seen: &ObservedSpread,
    ) -> ObservedSpread {
        let goes = |key: &ResourceKey, verb| {
            let action = self.actions.get(&machine_action_id(key, verb, ""));
            action.is_some_and(|it| it.hypervisor == *hypervisor)
        };
        without(seen, |key| goes(key, Verb::Delete) || goes(key, Verb::Replace))
    }

    /// A spread as its update finds it: what is replaced is removed before that by an edge.
    fn without_replaced(&self, seen: &ObservedSpread) -> ObservedSpread {
        without(seen, |key| self.actions.contains_key(&machine_action_id(key, Verb::Replace, "")))
    }

    fn spread_action(
        &mut self,
        hypervisor: &HypervisorName,
        wanted: &Wanted,
        verb: Verb,
        fields: Vec<FieldChange>,
        base: Option<&ObservedSpread>,
        change: &Change<'_>,
    ) {
        let Spread { key, node, members } = &wanted.spread;
        let place = Some(&wanted.place);
        let Some(steps) = self.lowered(key, hypervisor, verb, place, change) else { return };
        let member = |key: &ResourceKey| {
            FieldPath::on(FieldKind::Member, &DeviceName::new(key.name.shared()))
        };
        let mut reads: BTreeSet<FieldPath> = members.iter().map(member).collect();
        reads.insert(FieldPath::of(FieldKind::Enabled));
        let classes: BTreeSet<Disruption> =
            fields.iter().map(|it| it.disruption).filter(|it| *it > Disruption::None).collect();
        let bare =
            group_action(action_id(key, hypervisor, node, verb), (key, hypervisor), verb, steps);
        let action = Action {
            native_id: Some(ObservedSpread::id_of(key, node)),
            node: Some(node.clone()),
            fields,
            classes,
            place: Some(wanted.place.clone()),
            base: base.map(|seen| spread_base(seen, reads)),
            ..bare
        };
        let reason = if base.is_some() { Reason::Different } else { Reason::New };
        self.add(action, reason);
    }

    /// A rule that bears a name of ours, and that nobody asks for.
    fn plan_unwanted(
        &mut self,
        hypervisor: &HypervisorName,
        found: &HypervisorInventory,
        (id, seen): (&str, &ObservedSpread),
        reason: Reason,
    ) {
        if let Some(why) = &seen.foreign {
            let text = format!("a rule of our name on {} is left alone: {why}", seen.node);
            return self.note(&seen.key, text);
        }
        if seen.members.is_empty() {
            // Another project may be called like the beginning of the rule's name, too.
            let text = format!("a rule of our name on {} has no machine and is left", seen.node);
            return self.note(&seen.key, text);
        }
        if !found.coverage.is_complete() {
            self.block(Blocked {
                key: seen.key.clone(),
                hypervisor: hypervisor.clone(),
                verb: Some(Verb::Delete),
                code: Code::IncompleteInventory,
                message: format!(
                    "{hypervisor} was not read completely, so nothing is deleted there"
                ),
                help: "plan again when all of it answers".to_owned(),
                place: None,
            });
            return;
        }
        let change = Change::DeleteSpread(seen);
        let Some(steps) = self.lowered(&seen.key, hypervisor, Verb::Delete, None, &change) else {
            return;
        };
        let reads = [FieldPath::of(FieldKind::Enabled)].into();
        let bare = group_action(
            action_id(&seen.key, hypervisor, &seen.node, Verb::Delete),
            (&seen.key, hypervisor),
            Verb::Delete,
            steps,
        );
        let action = Action {
            native_id: Some(id.into()),
            node: Some(seen.node.clone()),
            classes: [Disruption::Delete].into(),
            base: Some(spread_base(seen, reads)),
            ..bare
        };
        self.add(action, reason);
    }

    /// A rule comes after its machines.
    pub(super) fn edges_of_spread(
        &self,
        action: &Action,
        by_key: &BTreeMap<ResourceKey, Vec<ActionId>>,
        edge: &mut impl FnMut(&ActionId, &ActionId, EdgeReason),
    ) {
        for member in members_of(action) {
            for id in by_key.get(member).into_iter().flatten() {
                let makes = self
                    .actions
                    .get(id)
                    .is_some_and(|it| matches!(it.verb, Verb::Create | Verb::Continue));
                if makes {
                    edge(id, &action.id, EdgeReason::Members);
                }
            }
        }
    }

    /// What cannot be made cannot be kept apart from the others. One whose replacement is
    /// blocked stays in its rule, which the plan expects to be without it by then.
    pub(super) fn block_spreads_without_members(&mut self) {
        let births = [Verb::Create, Verb::Continue, Verb::Replace].map(Some);
        let stuck: BTreeSet<&ResourceKey> =
            self.blocked.iter().filter(|it| births.contains(&it.verb)).map(|it| &it.key).collect();
        let lacks = |key: &&ResourceKey| {
            let is_there = || self.ownership.owned.contains_key(*key);
            stuck.contains(key) || self.birth_of(key).is_none() && !is_there()
        };
        let spreads = self.actions.values().filter(|it| it.key.kind == Kind::Spread);
        let lacking: Vec<(ActionId, ResourceKey)> = spreads
            .filter_map(|it| Some((it.id.clone(), members_of(it).find(lacks)?.clone())))
            .collect();
        for (id, member) in lacking {
            let message = format!("{member} is blocked, and it is one of those to be kept apart");
            let help = format!("solve what blocks {member}");
            self.block_actions_of(&id, Code::Dependency, message, help);
        }
    }
}

fn asked_on<'a>(desired: &'a DesiredState, hypervisor: &HypervisorName) -> Asked<'a> {
    let mut asked = Asked::new();
    for machine in desired.machines.values().filter(|it| it.hypervisor == *hypervisor) {
        if let Some(name) = &machine.spread {
            asked.entry(name).or_default().push(machine);
        }
    }
    asked
}

fn without(seen: &ObservedSpread, gone: impl Fn(&ResourceKey) -> bool) -> ObservedSpread {
    let mut left = seen.clone();
    left.members.retain(|key| !gone(key));
    left
}

fn member_change(
    before: Option<&BTreeSet<ResourceKey>>,
    after: &BTreeSet<ResourceKey>,
    place: &Place,
) -> FieldChange {
    FieldChange {
        field: FieldPath::of(FieldKind::Members),
        before: before.map(ObservedSpread::names),
        after: Some(ObservedSpread::names(after)),
        disruption: if before.is_some() { Disruption::Online } else { Disruption::None },
        place: Some(place.clone()),
        pending: false,
    }
}

fn members_of(action: &Action) -> impl Iterator<Item = &ResourceKey> {
    action.steps.iter().flat_map(|step| match &step.op {
        StepOp::CreateSpread { members } | StepOp::SetSpread { members } => members.iter(),
        _ => NO_ONE.iter(),
    })
}

static NO_ONE: BTreeSet<ResourceKey> = BTreeSet::new();

/// A name can stand in several places of one hypervisor.
fn action_id(
    key: &ResourceKey,
    hypervisor: &HypervisorName,
    node: &NodeName,
    verb: Verb,
) -> ActionId {
    ActionId::from(format!("{key}@{hypervisor}:{verb}.{node}"))
}

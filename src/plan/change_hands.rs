//! Machines that change hands: taken over, renamed, given up. None of it touches the
//! machine; what an entry asks beyond that is an ordinary change of the next plan.

use super::{
    Builder, Input,
    base::machine_base,
    machine_action_id,
    machines::{Trouble, changeable},
};
use crate::{
    model::{
        Action, Adopt, Blocked, Change, Code, Coverage, DataLoss, DesiredMachine, DeviceKind,
        Disruption, FieldChange, FieldKind, FieldPath, GuestKind, HypervisorName, Lowered,
        NativeId, ObservedMachine, Product, Reason, Rename, ResourceKey, Slot, Stage, Value, Verb,
    },
    ownership::{Obstacle, Owned, Ownership, adoptable},
};
use std::collections::BTreeSet;

type Outcome = Result<(), (Option<Verb>, Trouble)>;

fn trouble(code: Code, message: String, help: impl Into<String>) -> Trouble {
    Trouble { code, message, help: help.into(), place: None }
}

/// What a person's `adopt:` decides. What cannot be read, or is being born, could be the
/// machine itself, and stays in the way.
fn is_decided_by_adopting(code: Code) -> bool {
    matches!(
        code,
        Code::Duplicate
            | Code::Moved
            | Code::Impostor
            | Code::LostMarker
            | Code::StrayBirth
            | Code::GarbledMarker
    )
}

/// Of several machines that bind, the one that the entry adopts is the key's: that is
/// what its `adopt:` line decides for as long as it stands there.
pub(super) fn settle_duplicates(
    ownership: &mut Ownership,
    input: &Input<'_>,
) -> Vec<(ResourceKey, String)> {
    let mut notes = Vec::new();
    for machine in input.desired.machines.values() {
        let Some(id) = &machine.adopt else { continue };
        let Some(all) = ownership.obstacles.get_mut(&machine.key) else { continue };
        let here = |it: &&Obstacle| {
            it.code == Code::Duplicate
                && it.hypervisor == machine.hypervisor
                && it.id.as_ref() == Some(id)
        };
        let Some(chosen) = all.iter().find(here).cloned() else { continue };
        let seen = input.inventory.hypervisors.get(&machine.hypervisor);
        let marker = seen.and_then(|it| it.machines.get(id)).and_then(|it| it.marker.found());
        let Some(stage) = marker.map(|it| it.stage) else { continue };
        all.retain(|it| !is_decided_by_adopting(it.code));
        if all.is_empty() {
            ownership.obstacles.remove(&machine.key);
        }
        let owned = Owned { hypervisor: machine.hypervisor.clone(), id: id.clone(), stage };
        ownership.owned.insert(machine.key.clone(), owned);
        notes.push((machine.key.clone(), format!("{}; `adopt:` decides for {id}", chosen.message)));
    }
    notes
}

impl Builder<'_> {
    /// What stands in the way of an entry, after its own `adopt:` has been heard.
    pub(super) fn obstacle_of(&self, machine: &DesiredMachine) -> Option<&Obstacle> {
        let found = self.ownership.obstacle(&machine.key, &machine.hypervisor)?;
        if machine.adopt.is_none() || !is_decided_by_adopting(found.code) {
            return Some(found);
        }
        let all = self.ownership.obstacles.get(&machine.key);
        let other = all.into_iter().flatten().find(|it| !is_decided_by_adopting(it.code));
        let fog = self.ownership.fog.get(&machine.hypervisor).and_then(|all| all.first());
        other.or(fog)
    }

    /// An entry with `adopt:` or `was:` whose key nothing bears yet. `None`: it is born
    /// like any other.
    pub(super) fn plan_taking(&mut self, machine: &DesiredMachine) -> Option<Outcome> {
        if let Some(id) = &machine.adopt {
            let outcome = self.plan_adoption(machine, id);
            return Some(outcome.map_err(|trouble| (Some(Verb::Adopt), trouble)));
        }
        let was = machine.was.as_ref()?;
        let obstacle = self.ownership.obstacles.get(was).and_then(|all| all.first());
        if let Some(obstacle) = obstacle.filter(|_| !self.ownership.owned.contains_key(was)) {
            let trouble = trouble(obstacle.code, obstacle.message.clone(), obstacle.help.clone());
            return Some(Err((Some(Verb::Rename), trouble)));
        }
        let owned = self.ownership.owned.get(was)?;
        let outcome = self.plan_rename(machine, was, owned);
        Some(outcome.map_err(|trouble| (Some(Verb::Rename), trouble)))
    }

    /// An entry whose machine is there already: its `adopt:` and `was:` are history, or a
    /// contradiction.
    pub(super) fn check_taken(
        &mut self,
        machine: &DesiredMachine,
        owned: &Owned,
    ) -> Result<(), Trouble> {
        if let Some(id) = machine.adopt.as_ref().filter(|id| **id != owned.id) {
            let found = self.input.inventory.hypervisors.get(&machine.hypervisor);
            let is_there =
                found.is_none_or(|it| it.listed.contains_key(id) || !it.coverage.is_complete());
            if is_there {
                return Err(trouble(
                    Code::AlreadyOurs,
                    format!(
                        "{} is {} on {}; the entry would adopt {id} on {}",
                        machine.key, owned.id, owned.hypervisor, machine.hypervisor
                    ),
                    format!(
                        "adopt {id} under another name, or correct the line to `adopt: {}/{}`, or remove it",
                        owned.hypervisor, owned.id
                    ),
                ));
            }
            let text = format!("there is no {id} any more: its `adopt:` line can go");
            self.note(&machine.key, text);
        }
        if let Some(was) = &machine.was
            && let Some(other) = self.ownership.owned.get(was)
        {
            return Err(trouble(
                Code::AlreadyOurs,
                format!(
                    "both are there: {} is {} on {}, and {was}, which it was, is {} on {}",
                    machine.key, owned.id, owned.hypervisor, other.id, other.hypervisor
                ),
                format!("give {was} an entry of its own, or remove the `was:` line"),
            ));
        }
        Ok(())
    }

    fn plan_adoption(&mut self, machine: &DesiredMachine, id: &NativeId) -> Result<(), Trouble> {
        let hypervisor = &machine.hypervisor;
        let (seen, product) = adoption_target(self.input, machine, id)?;
        let key = &machine.key;
        let words = product.capabilities().words;
        adoptable(&self.input.desired.project, key, seen, self.input.marker_key).map_err(|it| {
            trouble(Code::NotAdoptable, format!("{id} on {hypervisor} {}", it.why), it.help(&words))
        })?;
        changeable(hypervisor, seen)?;
        let not_bound = |all: &[crate::model::Unsupported]| Trouble {
            code: Code::NotAdoptable,
            ..super::machines::unsupported(machine, all)
        };
        let spec = product.normalize(machine).map_err(|all| not_bound(&all))?;
        let change = Change::Adopt(Adopt { machine, spec: &spec, seen });
        let lowered = product.lower(&change).map_err(|all| not_bound(&all))?;
        let before = seen.marker.found().map(|marker| {
            let id = marker.id.as_ref().map_or("pending", |id| id.as_str());
            Value::Text(format!("{} as {id}", marker.key))
        });
        let place = machine.place_of(&FieldPath::of(FieldKind::Marker)).clone();
        let mut fields = vec![FieldChange {
            field: FieldPath::of(FieldKind::Marker),
            before,
            after: Some(Value::Text(key.to_string())),
            disruption: Disruption::None,
            place: Some(place),
            pending: false,
        }];
        let mut read: BTreeSet<FieldPath> =
            [FieldKind::Name, FieldKind::Boot].map(FieldPath::of).into();
        for (field, slot) in &lowered.slots {
            // The device itself, by its slot: the map that would name it is not there yet.
            read.insert(FieldPath::on(field.kind, &slot.as_str().into()));
            fields.push(bound(machine, seen, field, slot));
        }
        for note in &lowered.notes {
            self.note(key, note.clone());
        }
        let text = "in what else it differs from its entry is planned once it is adopted";
        self.note(key, text);
        let action = change_of_hands(key, hypervisor, seen, Verb::Adopt, lowered, fields, read);
        self.add(Action { place: Some(machine.place.clone()), ..action }, Reason::New);
        Ok(())
    }

    fn plan_rename(
        &mut self,
        machine: &DesiredMachine,
        was: &ResourceKey,
        owned: &Owned,
    ) -> Result<(), Trouble> {
        let key = &machine.key;
        if owned.hypervisor != machine.hypervisor {
            return Err(trouble(
                Code::AlreadyOurs,
                format!("{was} is on {}, the entry is on {}", owned.hypervisor, machine.hypervisor),
                "rename it where it is first; another hypervisor is another machine",
            ));
        }
        if owned.stage == Stage::New {
            return Err(trouble(
                Code::AlreadyOurs,
                format!("{was} is not finished, and only a finished machine is renamed"),
                format!("put the entry of {was} back, apply, then rename it"),
            ));
        }
        let found = self.input.inventory.hypervisors.get(&owned.hypervisor);
        let seen = found.and_then(|it| it.machines.get(&owned.id));
        let product = self.input.products.get(&owned.hypervisor).copied();
        let (Some(seen), Some(product)) = (seen, product) else { return Ok(()) };
        changeable(&owned.hypervisor, seen)?;
        let change = Change::Rename(Rename { to: key, seen });
        let lowered =
            product.lower(&change).map_err(|all| super::machines::unsupported(machine, &all))?;
        let fields = vec![FieldChange {
            field: FieldPath::of(FieldKind::Marker),
            before: Some(Value::Text(was.to_string())),
            after: Some(Value::Text(key.to_string())),
            disruption: Disruption::None,
            place: Some(machine.place_of(&FieldPath::of(FieldKind::Marker)).clone()),
            pending: false,
        }];
        self.note(key, "in what else it differs from its entry is planned once it is renamed");
        let read = BTreeSet::new();
        let action =
            change_of_hands(key, &owned.hypervisor, seen, Verb::Rename, lowered, fields, read);
        self.add(Action { place: Some(machine.place.clone()), ..action }, Reason::ConfigChanged);
        Ok(())
    }

    /// Keys that a person asks to give up: what is ours loses its marker, and what only
    /// the journal remembers is forgotten there.
    pub(super) fn plan_forgotten(&mut self) {
        for key in &self.input.desired.forget {
            if let Err(trouble) = self.plan_forget(key) {
                self.block(Blocked {
                    key: key.clone(),
                    hypervisor: self.hypervisor_of(key),
                    verb: Some(Verb::Forget),
                    code: trouble.code,
                    message: trouble.message,
                    help: trouble.help,
                    place: None,
                });
            }
        }
    }

    fn hypervisor_of(&self, key: &ResourceKey) -> HypervisorName {
        let obstacle = self.ownership.obstacles.get(key).and_then(|all| all.first());
        let remembered = || self.input.history.owned.iter().find(|it| it.key == *key);
        obstacle
            .map(|it| it.hypervisor.clone())
            .or_else(|| remembered().map(|it| it.hypervisor.clone()))
            .unwrap_or_else(|| "".into())
    }

    fn plan_forget(&mut self, key: &ResourceKey) -> Result<(), Trouble> {
        if let Some(owned) = self.ownership.owned.get(key) {
            let found = self.input.inventory.hypervisors.get(&owned.hypervisor);
            let seen = found.and_then(|it| it.machines.get(&owned.id));
            let product = self.input.products.get(&owned.hypervisor).copied();
            let (Some(seen), Some(product)) = (seen, product) else { return Ok(()) };
            changeable(&owned.hypervisor, seen)?;
            let lowered = product
                .lower(&Change::Forget(seen))
                .map_err(|all| super::machines::first_unsupported(&all, None))?;
            let fields = vec![FieldChange {
                field: FieldPath::of(FieldKind::Marker),
                before: Some(Value::Text(key.to_string())),
                after: None,
                disruption: Disruption::None,
                place: None,
                pending: false,
            }];
            let read = BTreeSet::new();
            let at = &owned.hypervisor;
            let action = change_of_hands(key, at, seen, Verb::Forget, lowered, fields, read);
            self.add(action, Reason::Removed);
            return Ok(());
        }
        let others = self.ownership.obstacles.get(key).into_iter().flatten();
        if let Some(obstacle) = others.clone().find(|it| it.code != Code::LostMarker) {
            return Err(trouble(obstacle.code, obstacle.message.clone(), obstacle.help.clone()));
        }
        let remembered: Vec<_> =
            self.input.history.owned.iter().filter(|it| it.key == *key).cloned().collect();
        for record in remembered {
            let found = self.input.inventory.hypervisors.get(&record.hypervisor);
            if found.is_none_or(|it| it.coverage.is_failed()) {
                return Err(trouble(
                    Code::FailedHypervisor,
                    format!("{} was not read, and {key} may still be there", record.hypervisor),
                    "try again when it answers",
                ));
            }
            let part = format!("{}.{}", record.hypervisor, record.id);
            let action = Action {
                id: machine_action_id(key, Verb::Forget, &part),
                key: key.clone(),
                hypervisor: record.hypervisor.clone(),
                native_id: Some(record.id.clone()),
                node: None,
                verb: Verb::Forget,
                fields: Vec::new(),
                classes: BTreeSet::new(),
                data_loss: DataLoss::default(),
                reversible: true,
                place: None,
                steps: Vec::new(),
                base: None,
                claims: Vec::new(),
                choices: Vec::new(),
                protected: false,
            };
            self.note(key, "its marker is not there: only the journal's memory of it goes");
            self.add(action, Reason::Removed);
        }
        Ok(())
    }
}

/// The machine that is to be adopted, read in full.
fn adoption_target<'a>(
    input: Input<'a>,
    machine: &DesiredMachine,
    id: &NativeId,
) -> Result<(&'a ObservedMachine, &'a dyn Product), Trouble> {
    let hypervisor = &machine.hypervisor;
    let inventory = input.inventory.hypervisors.get(hypervisor);
    let product = input.products.get(hypervisor).copied();
    let (Some(found), Some(product)) = (inventory, product) else {
        return Err(trouble(
            Code::FailedHypervisor,
            format!("{hypervisor} was not read"),
            "plan again when it answers",
        ));
    };
    match &found.coverage {
        // A person names the machine, so that not seeing all others is no obstacle.
        Coverage::Complete | Coverage::Scoped { .. } => {}
        Coverage::Incomplete { gaps } => {
            return Err(trouble(
                Code::IncompleteInventory,
                format!(
                    "{hypervisor} was read in part ({}), so {} may be there already",
                    gaps.join("; "),
                    machine.key
                ),
                "plan again when all of it answers",
            ));
        }
        Coverage::Failed { .. } => {
            return Err(trouble(
                Code::FailedHypervisor,
                format!("{hypervisor} was not read"),
                "plan again when it answers",
            ));
        }
    }
    if let Some(seen) = found.machines.get(id) {
        return Ok((seen, product));
    }
    let container = found.listed.get(id).is_some_and(|it| it.guest == GuestKind::Container);
    let (why, help) = match found.unreadable.get(id) {
        Some(why) => (format!("cannot be read: {why}"), "wait until it can be read"),
        None if container => ("is a container".to_owned(), "only machines can be adopted yet"),
        None => (
            "does not exist, or this account cannot see it".to_owned(),
            "correct the id; to have the machine made anew, remove the `adopt:` line",
        ),
    };
    Err(trouble(Code::NotAdoptable, format!("{id} on {hypervisor} {why}"), help))
}

/// What a declared device is bound to.
fn bound(
    machine: &DesiredMachine,
    seen: &ObservedMachine,
    field: &FieldPath,
    slot: &Slot,
) -> FieldChange {
    let device = seen.device(slot.as_str());
    let text = match device.map(|it| it.kind) {
        Some(DeviceKind::Disk) => {
            let has = device.and_then(|it| it.size);
            let text = crate::diff::disk_text(has, device.and_then(|it| it.storage.as_ref()));
            format!("{slot}, {text}")
        }
        _ => device
            .and_then(|it| it.network.as_deref())
            .map_or_else(|| slot.to_string(), |network| format!("{slot} on {network}")),
    };
    FieldChange {
        field: field.clone(),
        before: None,
        after: Some(Value::Text(text)),
        disruption: Disruption::None,
        place: Some(machine.place_of(field).clone()),
        pending: false,
    }
}

fn change_of_hands(
    key: &ResourceKey,
    hypervisor: &HypervisorName,
    seen: &ObservedMachine,
    verb: Verb,
    lowered: Lowered,
    fields: Vec<FieldChange>,
    read: BTreeSet<FieldPath>,
) -> Action {
    Action {
        id: machine_action_id(key, verb, ""),
        key: key.clone(),
        hypervisor: hypervisor.clone(),
        native_id: Some(seen.id.clone()),
        node: seen.node.clone(),
        verb,
        fields,
        classes: BTreeSet::new(),
        data_loss: DataLoss::default(),
        reversible: true,
        place: None,
        steps: lowered.steps,
        base: Some(machine_base(seen, read)),
        claims: Vec::new(),
        choices: Vec::new(),
        protected: false,
    }
}

//! Actions on machines.

use super::{Builder, base::machine_base, machine_action_id, snapshot::linked_snapshot};
use crate::planted::Bug;
use crate::{
    alloc::{NoPlace, Request},
    diff,
    model::{
        Action, Allotted, BirthSource, Blocked, Build, Change, Code, Coverage, DataLoss,
        DesiredMachine, Device, DeviceName, Disruption, Expect, FieldChange, FieldKind, FieldPath,
        HypervisorInventory, HypervisorName, LockKind, LostVolume, Lowered, MachineSpec, Marker,
        Medium, Note, ObservedMachine, Place, Power, PowerState, Product, Reason, ResourceKey,
        Stage, StepOp, Unsupported, Update, Verb, Words,
    },
    ownership::Owned,
};
use std::collections::BTreeSet;

/// Which fields may go together in one action: those that need the same consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// Nothing above `next-boot`: runs with `--yes`.
    Free,
    /// `reinit` or `restart`.
    Consent,
    /// Deletes the volume of a disk.
    DataLoss,
}

/// What is wrong with a machine, before it is a `Blocked`.
pub(super) struct Trouble {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) help: String,
    pub(super) place: Option<Place>,
}

impl From<NoPlace> for Trouble {
    fn from(it: NoPlace) -> Self {
        Self { code: it.code, message: it.message, help: it.help, place: None }
    }
}

impl Builder<'_> {
    pub(super) fn plan_machines(&mut self) {
        let desired = self.input.desired;
        for machine in desired.machines.values() {
            self.plan_machine(machine);
        }
        let renamed: BTreeSet<&ResourceKey> =
            desired.machines.values().filter_map(|it| it.was.as_ref()).collect();
        let ownership = self.ownership;
        for (key, owned) in &ownership.owned {
            let stays = desired.machines.contains_key(key)
                || desired.forget.contains(key)
                || renamed.contains(key);
            if key.kind == crate::model::Kind::Vm && !stays {
                self.plan_removed(key, owned);
            }
        }
        for copy in &ownership.copies {
            self.notes.insert(Note { key: None, text: format!("{}; {}", copy.message, copy.help) });
        }
        // What blocks whatever is not found elsewhere has to be seen even if that is nothing.
        for garbled in ownership.fog.values().flatten().filter(|it| it.code == Code::GarbledMarker)
        {
            self.notes
                .insert(Note { key: None, text: format!("{}; {}", garbled.message, garbled.help) });
        }
        // A key with an obstacle and no entry in the YAML is somebody's copy of what we
        // once owned; it is shown so that nothing that bears our mark stays unseen.
        for (key, obstacles) in &ownership.obstacles {
            let known = desired.machines.contains_key(key)
                || ownership.owned.contains_key(key)
                || desired.forget.contains(key)
                || renamed.contains(key);
            if let Some(obstacle) = obstacles.first().filter(|_| !known) {
                self.block(Blocked {
                    key: key.clone(),
                    hypervisor: obstacle.hypervisor.clone(),
                    verb: None,
                    code: obstacle.code,
                    message: obstacle.message.clone(),
                    help: obstacle.help.clone(),
                    place: None,
                });
            }
        }
    }

    fn plan_machine(&mut self, machine: &DesiredMachine) {
        let ownership = self.ownership;
        let place = &machine.place;
        if let Some(obstacle) = self.obstacle_of(machine).cloned() {
            self.block(Blocked {
                key: machine.key.clone(),
                hypervisor: obstacle.hypervisor.clone(),
                verb: None,
                code: obstacle.code,
                message: obstacle.message.clone(),
                help: obstacle.help.clone(),
                place: Some(place.clone()),
            });
            return;
        }
        let owned = ownership.owned.get(&machine.key);
        let checked = owned.map_or(Ok(()), |owned| self.check_taken(machine, owned));
        let outcome = match owned {
            _ if checked.is_err() => checked.map_err(|trouble| (None, trouble)),
            Some(owned) if owned.hypervisor == machine.hypervisor => {
                self.plan_owned(machine, owned)
            }
            Some(owned) => self.plan_move_away(machine, owned),
            None => match self.plan_taking(machine) {
                Some(outcome) => outcome,
                None => self.plan_birth(machine, None, Reason::New),
            },
        };
        if let Err((verb, trouble)) = outcome {
            self.block(Blocked {
                key: machine.key.clone(),
                hypervisor: machine.hypervisor.clone(),
                verb,
                code: trouble.code,
                message: trouble.message,
                help: trouble.help,
                place: trouble.place.or_else(|| Some(place.clone())),
            });
        }
    }

    fn plan_owned(
        &mut self,
        machine: &DesiredMachine,
        owned: &Owned,
    ) -> Result<(), (Option<Verb>, Trouble)> {
        let inventory = self.input.inventory;
        let found = inventory.hypervisors.get(&owned.hypervisor);
        let seen = found.and_then(|it| it.machines.get(&owned.id));
        let (Some(seen), Some(marker)) = (seen, seen.and_then(|it| it.marker.found())) else {
            return Ok(());
        };
        if owned.stage == Stage::New {
            if matches!(seen.power, PowerState::Running | PowerState::Suspended) {
                return Err((Some(Verb::Continue), runs_unfinished(machine, owned, seen)));
            }
            return self.plan_birth(machine, Some(seen), Reason::Unfinished);
        }
        let Some(&product) = self.input.products.get(&machine.hypervisor) else { return Ok(()) };
        let spec = product.normalize(machine).map_err(|all| (None, unsupported(machine, &all)))?;
        let mut found = diff::compare(machine, &spec, seen, marker, product);
        if let (Some(pinned), Some(node)) = (&machine.pinned_node, &seen.node)
            && pinned != node
        {
            // An existing machine stays where high availability or a person moved it.
            let text = format!(
                "is on {node}, pinned to {pinned}: a pin decides at birth, it moves nothing"
            );
            self.note(&machine.key, text);
        }
        if owned.stage == Stage::Deleting {
            found.fields.push(FieldChange {
                field: FieldPath::of(FieldKind::Marker),
                before: Some(Stage::Deleting.as_str().into()),
                after: Some(Stage::Ready.as_str().into()),
                disruption: Disruption::None,
                place: Some(machine.place.clone()),
                pending: false,
            });
        }
        if let Some(problem) = found.problems.first() {
            let mut trouble = Trouble {
                code: problem.code,
                message: problem.message.clone(),
                help: problem.help.clone(),
                place: Some(machine.place_of(&problem.field).clone()),
            };
            for other in &found.problems[1..] {
                trouble.message.push_str("; ");
                trouble.message.push_str(&other.message);
            }
            return Err((Some(Verb::Update), trouble));
        }
        if found.fields.is_empty() {
            self.unchanged += 1;
            return Ok(());
        }
        if found.fields.iter().any(|it| it.disruption == Disruption::Replace) {
            return self.plan_replace(machine, seen, marker, found.fields);
        }
        self.plan_updates(machine, &spec, seen, product, &found)
            .map_err(|trouble| (Some(Verb::Update), trouble))
    }

    /// One action per kind of consent, so that a tag need not wait for the night in
    /// which the machine may be restarted.
    fn plan_updates(
        &mut self,
        machine: &DesiredMachine,
        spec: &MachineSpec,
        seen: &ObservedMachine,
        product: &dyn Product,
        found: &diff::Differences,
    ) -> Result<(), Trouble> {
        if found.fields.iter().all(|it| it.field.kind == FieldKind::Power) {
            unlocked(&machine.hypervisor, seen)?;
        } else {
            changeable(&machine.hypervisor, seen)?;
        }
        let group_of = |change: &FieldChange| match &change.field {
            FieldPath { kind: FieldKind::Disk, device: Some(name) }
                if change.after.is_none() && found.dropped_disks.contains(name) =>
            {
                Group::DataLoss
            }
            _ if change.disruption.needs_consent() => Group::Consent,
            _ => Group::Free,
        };
        let mut actions = Vec::new();
        for group in [Group::Free, Group::Consent, Group::DataLoss] {
            let fields: Vec<FieldChange> =
                found.fields.iter().filter(|it| group_of(it) == group).cloned().collect();
            if fields.is_empty() {
                continue;
            }
            let allotted = self.allot_for_update(machine, spec, seen, product, &fields)?;
            let (action, notes) =
                update_action(machine, spec, seen, product, group, fields, allotted)?;
            actions.push(action);
            for note in notes {
                self.note(&machine.key, note);
            }
        }
        let reason = self.why_it_differs(machine);
        for action in actions {
            self.add(action, reason);
        }
        Ok(())
    }

    /// Whether the YAML moved or the world did, as far as the journal can tell.
    fn why_it_differs(&self, machine: &DesiredMachine) -> Reason {
        match self.input.history.settled.get(&machine.key) {
            Some(digest) if *digest == machine.digest() => Reason::Drift,
            Some(_) => Reason::ConfigChanged,
            None => Reason::Different,
        }
    }

    fn allot_for_update(
        &mut self,
        machine: &DesiredMachine,
        spec: &MachineSpec,
        seen: &ObservedMachine,
        product: &dyn Product,
        fields: &[FieldChange],
    ) -> Result<crate::alloc::Allotment, Trouble> {
        let added = |kind| -> BTreeSet<DeviceName> {
            fields
                .iter()
                .filter(|it| it.field.kind == kind && it.after.is_some())
                .filter_map(|it| it.field.device.clone())
                .collect()
        };
        let (new_disks, new_nics) = (added(FieldKind::Disk), added(FieldKind::Nic));
        if new_disks.is_empty() && new_nics.is_empty() {
            return Ok(crate::alloc::Allotment {
                allotted: Allotted {
                    id: Some(seen.id.clone()),
                    node: seen.node.clone(),
                    ..Allotted::default()
                },
                ..crate::alloc::Allotment::default()
            });
        }
        let request = Request {
            machine,
            spec,
            template: None,
            seen: Some(seen),
            new_disks: &new_disks,
            new_nics: &new_nics,
        };
        Ok(self.allocator.allot(&request, product)?)
    }

    /// A machine to be made, or a half-made one to be built to its end.
    fn plan_birth(
        &mut self,
        machine: &DesiredMachine,
        seen: Option<&ObservedMachine>,
        reason: Reason,
    ) -> Result<(), (Option<Verb>, Trouble)> {
        let verb = if seen.is_some() { Verb::Continue } else { Verb::Create };
        let action = self.birth_action(machine, seen, verb).map_err(|it| (Some(verb), it))?;
        self.add(action, reason);
        Ok(())
    }

    fn birth_action(
        &mut self,
        machine: &DesiredMachine,
        seen: Option<&ObservedMachine>,
        verb: Verb,
    ) -> Result<Action, Trouble> {
        let trouble = |code, message: String, help: &str| Trouble {
            code,
            message,
            help: help.to_owned(),
            place: None,
        };
        let Some(&product) = self.input.products.get(&machine.hypervisor) else {
            return Err(trouble(
                Code::FailedHypervisor,
                format!("{} was not read", machine.hypervisor),
                "plan again when it answers",
            ));
        };
        let Some(found) = self.input.inventory.hypervisors.get(&machine.hypervisor) else {
            return Err(trouble(
                Code::FailedHypervisor,
                format!("{} was not read", machine.hypervisor),
                "plan again when it answers",
            ));
        };
        if seen.is_none() {
            let own = self.ownership.owned.get(&machine.key);
            may_create(machine, found, own, product.capabilities().words)?;
        }
        let spec = product.normalize(machine).map_err(|all| unsupported(machine, &all))?;
        let Some(birth) = &machine.birth else {
            return Err(trouble(
                Code::ImageMissing,
                format!("{} has no image to be made from", machine.key),
                "write `image:` on the machine or its profile",
            ));
        };
        let template = find_template(birth, found)?;
        let needs = product.capabilities().linked_needs_snapshot && seen.is_none();
        let snapshot = match template.filter(|_| needs) {
            Some(template) => linked_snapshot(birth, template)?,
            None => None,
        };
        let new_disks: BTreeSet<DeviceName> = spec
            .disks
            .keys()
            .cloned()
            .chain(template.is_some().then(|| DeviceName::from(DeviceName::BOOT)))
            .filter(|name| seen.is_none_or(|it| !it.settled().disks.contains_key(name)))
            .collect();
        let new_nics: BTreeSet<DeviceName> = spec
            .nics
            .keys()
            .filter(|name| seen.is_none_or(|it| !it.settled().nics.contains_key(*name)))
            .cloned()
            .collect();
        if let Medium::Iso { volume } = &birth.medium
            && !found.isos.contains(volume)
            && !found.coverage.is_failed()
        {
            return Err(trouble(
                Code::ImageMissing,
                format!("there is no ISO image `{volume}` on {}", machine.hypervisor),
                "upload it, or correct the volume in `images`; if it is there, `novahost doctor` tells whether the account may see it",
            ));
        }
        let request = Request {
            machine,
            spec: &spec,
            template,
            seen,
            new_disks: &new_disks,
            new_nics: &new_nics,
        };
        let allotment = self.allocator.allot(&request, product)?;
        let allotted = &allotment.allotted;
        let build = Build { machine, spec: &spec, template, snapshot, allotted, seen };
        let mut lowered =
            product.lower(&Change::Build(build)).map_err(|all| unsupported(machine, &all))?;
        let id = allotment.allotted.id.as_ref().map_or("", |id| id.as_str());
        if let [.., ready, start] = lowered.steps.as_mut_slice()
            && start.op == StepOp::Start
            && Bug::StartedUnready.strikes(id)
        {
            std::mem::swap(ready, start);
            ready.begin = Expect::default();
        }
        for note in &lowered.notes {
            self.note(&machine.key, note.clone());
        }
        let fields = birth_fields(machine, &spec, seen);
        let mut read: BTreeSet<FieldPath> = fields.iter().map(|it| it.field.clone()).collect();
        read.extend(lowered.reads);
        Ok(Action {
            id: machine_action_id(&machine.key, verb, ""),
            key: machine.key.clone(),
            hypervisor: machine.hypervisor.clone(),
            native_id: allotment.allotted.id.clone(),
            node: allotment.allotted.node.clone(),
            verb,
            fields,
            classes: BTreeSet::new(),
            data_loss: DataLoss::default(),
            reversible: true,
            place: Some(machine.place.clone()),
            steps: lowered.steps,
            base: seen.map(|seen| machine_base(seen, read)),
            claims: allotment.claims,
            choices: allotment.choices,
            protected: false,
        })
    }

    /// Delete what is there, then make it anew: two actions, so that each is shown
    /// with its own steps, and the second cannot begin before the first has ended.
    fn plan_replace(
        &mut self,
        machine: &DesiredMachine,
        seen: &ObservedMachine,
        marker: &Marker,
        fields: Vec<FieldChange>,
    ) -> Result<(), (Option<Verb>, Trouble)> {
        let fail = |trouble| (Some(Verb::Replace), trouble);
        let create = self.birth_action(machine, None, Verb::Create).map_err(fail)?;
        let mut removal = self
            .removal_action(&machine.key, &machine.hypervisor, seen, marker, Verb::Replace)
            .map_err(fail)?;
        removal.fields = fields;
        removal.place = Some(machine.place.clone());
        self.add(removal, self.why_it_differs(machine));
        self.add(create, Reason::Dependency);
        Ok(())
    }

    /// The entry names another hypervisor now: it ends here and begins there.
    fn plan_move_away(
        &mut self,
        machine: &DesiredMachine,
        owned: &Owned,
    ) -> Result<(), (Option<Verb>, Trouble)> {
        let fail = |trouble| (Some(Verb::Replace), trouble);
        let create = self.birth_action(machine, None, Verb::Create).map_err(fail)?;
        let inventory = self.input.inventory;
        let found = inventory.hypervisors.get(&owned.hypervisor);
        let seen = found.and_then(|it| it.machines.get(&owned.id));
        let (Some(seen), Some(marker)) = (seen, seen.and_then(|it| it.marker.found())) else {
            return Ok(());
        };
        let removal = self
            .removal_action(&machine.key, &owned.hypervisor, seen, marker, Verb::Replace)
            .map_err(fail)?;
        self.add(removal, self.why_it_differs(machine));
        self.add(create, Reason::Dependency);
        Ok(())
    }

    fn plan_removed(&mut self, key: &ResourceKey, owned: &Owned) {
        let inventory = self.input.inventory;
        let seen =
            inventory.hypervisors.get(&owned.hypervisor).and_then(|it| it.machines.get(&owned.id));
        let (Some(seen), Some(marker)) = (seen, seen.and_then(|it| it.marker.found())) else {
            return;
        };
        match self.removal_action(key, &owned.hypervisor, seen, marker, Verb::Delete) {
            Ok(action) => self.add(action, Reason::Removed),
            Err(trouble) => self.block(Blocked {
                key: key.clone(),
                hypervisor: owned.hypervisor.clone(),
                verb: Some(Verb::Delete),
                code: trouble.code,
                message: trouble.message,
                help: trouble.help,
                place: None,
            }),
        }
    }

    fn removal_action(
        &mut self,
        key: &ResourceKey,
        hypervisor: &HypervisorName,
        seen: &ObservedMachine,
        marker: &Marker,
        verb: Verb,
    ) -> Result<Action, Trouble> {
        changeable(hypervisor, seen)?;
        let found = self.input.inventory.hypervisors.get(hypervisor);
        let trouble = |code, message: String, help: &str| Trouble {
            code,
            message,
            help: help.to_owned(),
            place: None,
        };
        match found.map(|it| &it.coverage) {
            Some(Coverage::Complete) => {}
            Some(Coverage::Scoped { why, help }) => {
                return Err(trouble(
                    Code::ScopedInventory,
                    format!(
                        "this account does not see all of {hypervisor} ({why}), so nothing is deleted there"
                    ),
                    help,
                ));
            }
            Some(Coverage::Incomplete { gaps }) => {
                return Err(trouble(
                    Code::IncompleteInventory,
                    format!(
                        "{hypervisor} was read in part ({}), so nothing is deleted there",
                        gaps.join("; ")
                    ),
                    "plan again when all of it answers",
                ));
            }
            Some(Coverage::Failed { .. }) | None => {
                return Err(trouble(
                    Code::FailedHypervisor,
                    format!("{hypervisor} was not read"),
                    "plan again when it answers",
                ));
            }
        }
        let Some(&product) = self.input.products.get(hypervisor) else {
            return Err(trouble(
                Code::FailedHypervisor,
                format!("{hypervisor} is not configured"),
                "put the hypervisor's entry back",
            ));
        };
        let lowered =
            product.lower(&Change::Delete(seen)).map_err(|all| first_unsupported(&all, None))?;
        let mut fields: BTreeSet<FieldPath> =
            [FieldKind::Power, FieldKind::Protect, FieldKind::Name].map(FieldPath::of).into();
        fields.extend(marker.map.disks.keys().map(|name| FieldPath::on(FieldKind::Disk, name)));
        fields.extend(lowered.reads);
        let class = if verb == Verb::Replace { Disruption::Replace } else { Disruption::Delete };
        Ok(Action {
            id: machine_action_id(key, verb, ""),
            key: key.clone(),
            hypervisor: hypervisor.clone(),
            native_id: Some(seen.id.clone()),
            node: seen.node.clone(),
            verb,
            fields: Vec::new(),
            classes: [class].into(),
            data_loss: DataLoss {
                volumes: lost_volumes(seen, marker),
                on_a_machine_that_stays: false,
            },
            reversible: false,
            place: None,
            steps: lowered.steps,
            base: Some(machine_base(seen, fields)),
            claims: Vec::new(),
            choices: Vec::new(),
            protected: marker.protect || seen.spec.protect == Some(true),
        })
    }
}

/// The creation rule. `own` is what bears the key now and goes first in a replace.
fn may_create(
    machine: &DesiredMachine,
    found: &HypervisorInventory,
    own: Option<&Owned>,
    words: Words,
) -> Result<(), Trouble> {
    let trouble = |code, message: String, help: &str| {
        Err(Trouble { code, message, help: help.to_owned(), place: None })
    };
    let hypervisor = &machine.hypervisor;
    match &found.coverage {
        Coverage::Complete => {}
        Coverage::Scoped { why, help } => match &machine.wanted_id {
            Some(id) if found.free_ids.contains(id) => {}
            Some(id) => {
                return trouble(
                    Code::IdTaken,
                    format!("{hypervisor} does not call {id} free"),
                    "pin another id",
                );
            }
            None => {
                let pin = words.id_setting.map(|it| format!(", or pin its id with `{it}`"));
                return trouble(
                    Code::ScopedInventory,
                    format!(
                        "this account does not see all of {hypervisor} ({why}), so absence is not proved"
                    ),
                    &format!("{help}{}", pin.unwrap_or_default()),
                );
            }
        },
        Coverage::Incomplete { gaps } => {
            return trouble(
                Code::IncompleteInventory,
                format!(
                    "{hypervisor} was read in part ({}), so absence is not proved",
                    gaps.join("; ")
                ),
                "plan again when all of it answers",
            );
        }
        // Why it was not stands in the header once, and not in what the plan's id covers.
        Coverage::Failed { .. } => {
            return trouble(
                Code::FailedHypervisor,
                format!("{hypervisor} was not read"),
                "plan again when it answers",
            );
        }
    }
    if let Some(id) = &machine.wanted_id
        && own.is_none_or(|own| own.id != *id)
        && (found.listed.contains_key(id) || found.unreadable.contains_key(id))
    {
        let bearer =
            found.listed.get(id).and_then(|it| it.name.as_deref()).unwrap_or("another guest");
        return trouble(
            Code::IdTaken,
            format!("id {id} on {hypervisor} is taken by `{bearer}`"),
            "pin another id, or none",
        );
    }
    Ok(())
}

/// A half-made machine needs no consent because it never ran. One that runs is complete,
/// or was started by somebody: building it would strike at what runs in it.
fn runs_unfinished(machine: &DesiredMachine, owned: &Owned, seen: &ObservedMachine) -> Trouble {
    let name = seen.settled().name.as_deref().unwrap_or_default();
    let runs = if seen.power == PowerState::Suspended { "is suspended" } else { "runs" };
    Trouble {
        code: Code::RunsUnfinished,
        message: format!(
            "{} (`{name}`) on {} {runs}, though its marker says that it was never finished",
            seen.id, owned.hypervisor
        ),
        help: "shut it down to have it built to its end; if it is complete, write `stage=ready` in its `novahost/1` line".to_owned(),
        place: Some(machine.place.clone()),
    }
}

/// Refuses what the product would refuse until a person does something: any change but one
/// of power to what is locked or suspended. Resuming it or giving its memory up by
/// implication would be more than was asked for.
pub(super) fn changeable(at: &HypervisorName, seen: &ObservedMachine) -> Result<(), Trouble> {
    unlocked(at, seen)?;
    if seen.power != PowerState::Suspended {
        return Ok(());
    }
    let name = seen.settled().name.as_deref().unwrap_or_default();
    Err(Trouble {
        code: Code::Locked,
        message: format!("{} (`{name}`) on {at} is suspended and cannot be changed", seen.id),
        help: "resume or stop it, then plan again".to_owned(),
        place: None,
    })
}

/// Refuses what is locked until a person ends that. Work that is going on is waited for at
/// apply; this would be waited for in vain.
fn unlocked(at: &HypervisorName, seen: &ObservedMachine) -> Result<(), Trouble> {
    let Some(lock) = seen.lock.as_ref().filter(|it| it.kind == LockKind::NeedsPerson) else {
        return Ok(());
    };
    let name = seen.settled().name.as_deref().unwrap_or_default();
    Err(Trouble {
        code: Code::Locked,
        message: format!(
            "{} (`{name}`) on {at} is locked (`{}`), and nothing that runs will end that",
            seen.id, lock.text
        ),
        help: "end it on the hypervisor (resume the guest, or unlock it), then plan again"
            .to_owned(),
        place: None,
    })
}

fn find_template<'a>(
    birth: &BirthSource,
    found: &'a HypervisorInventory,
) -> Result<Option<&'a ObservedMachine>, Trouble> {
    let Medium::Template { id, name, .. } = &birth.medium else { return Ok(None) };
    let trouble = |code, message: String| Trouble {
        code,
        message,
        help: format!("correct `images.{}`", birth.image),
        place: None,
    };
    let template = match (id, name) {
        (Some(id), _) => found.machines.get(id).ok_or_else(|| {
            let why = found.unreadable.get(id).map_or("it does not exist", String::as_str);
            trouble(Code::TemplateMissing, format!("template {id} cannot be used: {why}"))
        })?,
        (None, Some(name)) => {
            let mut all = found
                .machines
                .values()
                .filter(|it| it.template && it.spec.name.as_deref() == Some(name.as_str()));
            match (all.next(), all.next()) {
                (Some(one), None) => one,
                (Some(one), Some(other)) => {
                    return Err(trouble(
                        Code::TemplateMismatch,
                        format!("templates {} and {} are both called `{name}`", one.id, other.id),
                    ));
                }
                (None, _) => {
                    return Err(trouble(
                        Code::TemplateMissing,
                        format!("there is no template called `{name}`"),
                    ));
                }
            }
        }
        (None, None) => return Ok(None),
    };
    if !template.template {
        return Err(trouble(
            Code::TemplateMismatch,
            format!("{} is a machine, not a template", template.id),
        ));
    }
    match (name, &template.spec.name) {
        (Some(wanted), Some(has)) if wanted != has => Err(trouble(
            Code::TemplateMismatch,
            format!("template {} is called `{has}`, not `{wanted}`", template.id),
        )),
        _ => Ok(Some(template)),
    }
}

fn update_action(
    machine: &DesiredMachine,
    spec: &MachineSpec,
    seen: &ObservedMachine,
    product: &dyn Product,
    group: Group,
    fields: Vec<FieldChange>,
    allotment: crate::alloc::Allotment,
) -> Result<(Action, Vec<String>), Trouble> {
    let only_power = fields.iter().all(|it| it.field.kind == FieldKind::Power);
    let only_pending = fields.iter().all(|it| it.pending);
    let stops = |it: &FieldChange| it.after == Some(PowerState::Stopped.as_str().into());
    let stopping = fields.iter().any(|it| it.field.kind == FieldKind::Power && stops(it));
    let restart = fields.iter().any(|it| it.disruption == Disruption::Restart) && !stopping;
    // Power is steps of its own, below.
    let others = fields.iter().filter(|it| it.field.kind != FieldKind::Power);
    let besides_power: Vec<FieldChange> = others.cloned().collect();
    let (verb, change) = if only_power && stopping {
        (Verb::Stop, Change::Stop(seen.power))
    } else if only_power {
        (Verb::Start, Change::Start)
    } else if only_pending && restart {
        (Verb::Restart, Change::Restart(seen))
    } else {
        let fields = &besides_power;
        let update = Update { machine, spec, seen, fields, allotted: &allotment.allotted, restart };
        (Verb::Update, Change::Update(update))
    };
    let Lowered { mut steps, reads, notes, .. } =
        product.lower(&change).map_err(|all| unsupported(machine, &all))?;
    // A start or stop that comes with other changes of the same consent goes last.
    if verb == Verb::Update && fields.iter().any(|it| it.field.kind == FieldKind::Power) {
        let power = if stopping { Change::Stop(seen.power) } else { Change::Start };
        let more = product.lower(&power).map_err(|all| unsupported(machine, &all))?;
        steps.extend(more.steps);
    }
    let mut read: BTreeSet<FieldPath> = fields.iter().map(|it| it.field.clone()).collect();
    read.extend(reads);
    // The price of these fields depends on whether it runs, and consent was given for
    // this price.
    let dear = |it: &FieldChange| product.cost(&it.into(), seen, true) >= Some(Disruption::Restart);
    if fields.iter().any(|it| it.field.kind == FieldKind::Power || dear(it)) {
        read.insert(FieldPath::of(FieldKind::Power));
    }
    let classes: BTreeSet<Disruption> =
        fields.iter().map(|it| it.disruption).filter(|it| *it > Disruption::None).collect();
    let part = match group {
        Group::Free => "",
        Group::Consent if verb == Verb::Update => match classes.last() {
            Some(class) => class.as_str(),
            None => "consent",
        },
        Group::Consent => "",
        Group::DataLoss => "data-loss",
    };
    let marker = seen.marker.found();
    let volumes = if group == Group::DataLoss {
        let name_of = |it: &FieldChange| it.field.device.clone();
        let names: BTreeSet<DeviceName> = fields.iter().filter_map(name_of).collect();
        marker.map(|marker| dropped_volumes(seen, marker, &names)).unwrap_or_default()
    } else {
        Vec::new()
    };
    debug_assert!(seen.power != PowerState::Stopped || !restart);
    let action = Action {
        id: machine_action_id(&machine.key, verb, part),
        key: machine.key.clone(),
        hypervisor: machine.hypervisor.clone(),
        native_id: Some(seen.id.clone()),
        node: seen.node.clone(),
        verb,
        fields,
        classes,
        data_loss: DataLoss { on_a_machine_that_stays: !volumes.is_empty(), volumes },
        reversible: group != Group::DataLoss,
        place: Some(machine.place.clone()),
        steps,
        base: Some(machine_base(seen, read)),
        claims: allotment.claims,
        choices: allotment.choices,
        protected: false,
    };
    Ok((action, notes))
}

/// What a new machine will have, for people: every declared field, before nothing.
fn birth_fields(
    machine: &DesiredMachine,
    spec: &MachineSpec,
    seen: Option<&ObservedMachine>,
) -> Vec<FieldChange> {
    let mut fields = Vec::new();
    spec.visit(|field, after| {
        let before = seen.and_then(|it| it.settled().get(&field));
        if before.as_ref() != Some(&after) {
            let place = Some(machine.place_of(&field).clone());
            let after = Some(after);
            let disruption = Disruption::None;
            fields.push(FieldChange { field, before, after, disruption, place, pending: false });
        }
    });
    let starts = machine.power != Power::Stopped;
    fields.push(FieldChange {
        field: FieldPath::of(FieldKind::Power),
        before: None,
        after: Some(if starts { "running" } else { "stopped" }.into()),
        disruption: Disruption::None,
        place: Some(machine.place_of(&FieldPath::of(FieldKind::Power)).clone()),
        pending: false,
    });
    fields
}

/// Every volume that goes with a machine, detached and unmanaged ones too.
fn lost_volumes(seen: &ObservedMachine, marker: &Marker) -> Vec<LostVolume> {
    let label = |slot: &str| {
        let named = marker.map.disks.iter().find(|(_, entry)| entry.slot.as_str() == slot);
        named.map_or_else(|| slot.to_owned(), |(name, _)| name.to_string())
    };
    let goes = |it: &&Device| it.kind.is_lost_with_machine();
    let mut devices: Vec<_> = seen.devices.iter().filter(goes).collect();
    // The boot disk first, then by slot, in whatever order the devices were reported.
    devices.sort_by_key(|it| (label(it.slot.as_str()) != DeviceName::BOOT, &it.slot));
    devices
        .into_iter()
        .filter_map(|device| {
            Some(LostVolume {
                volume: device.volume.clone()?,
                label: label(device.slot.as_str()),
                size: device.size,
            })
        })
        .collect()
}

fn dropped_volumes(
    seen: &ObservedMachine,
    marker: &Marker,
    names: &BTreeSet<DeviceName>,
) -> Vec<LostVolume> {
    let volume = |name: &DeviceName| {
        let device = seen.device(marker.map.disks.get(name)?.slot.as_str())?;
        let volume = device.volume.clone()?;
        Some(LostVolume { volume, label: name.to_string(), size: device.size })
    };
    names.iter().filter_map(volume).collect()
}

pub(super) fn unsupported(machine: &DesiredMachine, all: &[Unsupported]) -> Trouble {
    first_unsupported(all, Some(machine))
}

pub(super) fn first_unsupported(all: &[Unsupported], machine: Option<&DesiredMachine>) -> Trouble {
    let text: Vec<String> = all.iter().map(|it| format!("{}: {}", it.field, it.why)).collect();
    let first = all.first();
    Trouble {
        code: Code::Unsupported,
        message: text.join("; "),
        help: first.map(|it| it.help.clone()).unwrap_or_default(),
        place: first.and_then(|it| Some(machine?.place_of(&it.field).clone())),
    }
}

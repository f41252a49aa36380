//! Fields of machines that change.

use super::{Trouble, changeable, unlocked, unsupported};
use crate::{
    alloc::Request,
    diff,
    model::{
        Action, Allotted, Change, DataLoss, DesiredMachine, DeviceName, Disruption, FieldChange,
        FieldKind, FieldPath, LostVolume, Lowered, MachineSpec, Marker, ObservedMachine,
        PowerState, Product, Reason, Update, Verb,
    },
    plan::{
        Builder,
        base::machine_base,
        machine_action_id,
        own_snapshots::{self, Before, Changed, before_change},
    },
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

impl Builder<'_> {
    /// One action per kind of consent, so that a tag need not wait for the night in
    /// which the machine may be restarted.
    pub(super) fn plan_updates(
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
        let mut planned = 0;
        for group in [Group::Free, Group::Consent, Group::DataLoss] {
            let fields: Vec<FieldChange> =
                found.fields.iter().filter(|it| group_of(it) == group).cloned().collect();
            if fields.is_empty() {
                continue;
            }
            let allotted = self.allot_for_update(machine, spec, seen, product, &fields)?;
            let (mut action, mut notes) =
                update_action(machine, spec, seen, product, group, fields, allotted)?;
            if action.verb == Verb::Update {
                let loses = !found.dropped_disks.is_empty();
                // What runs with `--yes` comes first, so that a disk that grows later would
                // meet its snapshot.
                let later = if group == Group::Free { &found.fields } else { &action.fields };
                let grows = later.iter().any(own_snapshots::grows);
                let changed = Changed {
                    machine,
                    seen,
                    product,
                    fields: &action.fields,
                    base: action.base.as_ref().map_or("", |base| base.sha256.as_str()),
                    grows,
                    loses,
                    planned,
                };
                match before_change(&changed)? {
                    Before::Nothing => {}
                    Before::NotTaken(why) => notes.push(why),
                    Before::Taken(taken, choice) => {
                        own_snapshots::insert(&mut action.steps, taken);
                        action.choices.push(choice);
                        planned += 1;
                    }
                }
            }
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
    pub(super) fn why_it_differs(&self, machine: &DesiredMachine) -> Reason {
        match self.input.history.settled.get(&machine.key) {
            Some(digest) if *digest == self.input.desired.digest_of(machine) => Reason::Drift,
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
        // One that moves needs room where it goes, as a new one does.
        let mut new_disks = added(FieldKind::Disk);
        new_disks.extend(added(FieldKind::DiskStorage));
        let new_nics = added(FieldKind::Nic);
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
        reversible: group != Group::DataLoss && !steps.iter().any(|it| it.op.is_one_way()),
        place: Some(machine.place.clone()),
        steps,
        base: Some(machine_base(seen, read)),
        claims: allotment.claims,
        choices: allotment.choices,
        protected: false,
    };
    Ok((action, notes))
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

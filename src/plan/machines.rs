//! Actions on machines: which of them each entry needs.

mod birth;
mod change;
mod removal;

use super::Builder;
use crate::{
    alloc::NoPlace,
    diff,
    model::{
        Blocked, Code, DesiredMachine, Disruption, FieldChange, FieldKind, FieldPath,
        HypervisorName, LockKind, Note, ObservedMachine, Place, PowerState, Reason, ResourceKey,
        Stage, Unsupported, Verb,
    },
    ownership::Owned,
};
use std::collections::BTreeSet;

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
        let replaces = found.fields.iter().any(|it| it.disruption == Disruption::Replace);
        let stays = owned.stage == Stage::Ready && !replaces;
        let surplus = stays && self.plan_surplus(machine, seen, product);
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
            self.unchanged += u32::from(!surplus);
            return Ok(());
        }
        if replaces {
            return self.plan_replace(machine, seen, marker, found.fields);
        }
        self.plan_updates(machine, &spec, seen, product, &found)
            .map_err(|trouble| (Some(Verb::Update), trouble))
    }
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
pub(super) fn unlocked(at: &HypervisorName, seen: &ObservedMachine) -> Result<(), Trouble> {
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

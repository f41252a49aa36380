//! What becomes of the world with each call.

use super::*;

impl State {
    /// Whether the name of what is to be made is taken, also by what is on its way.
    pub(super) fn bears_name(&self, op: &StepOp) -> bool {
        let StepOp::Clone(from) = op else { return false };
        let pending = |task: &Task| {
            !task.settled && matches!(&task.call.op, StepOp::Clone(it) if it.name == from.name)
        };
        self.machines.values().any(|it| it.spec.name.as_ref() == Some(&from.name))
            || self.tasks.values().any(pending)
    }

    pub(super) fn listed(&self) -> BTreeMap<NativeId, Listed> {
        let row = |it: &ObservedMachine| Listed {
            node: it.node.clone(),
            name: it.spec.name.clone(),
            guest: GuestKind::Vm,
            template: it.template,
            pool: None,
            name_key: None,
            marked: None,
            tags: BTreeSet::new(),
            lock: it.lock.as_ref().map(|lock| lock.text.clone()),
            memory: it.spec.memory,
            cpu: it.spec.cpu,
            power: it.power,
        };
        let mut all: BTreeMap<_, _> =
            self.machines.iter().map(|(id, it)| (id.clone(), row(it))).collect();
        for id in &self.being_born {
            all.insert(id.clone(), Listed { name: None, ..row(&machine(id.as_str())) });
        }
        all
    }

    pub(super) fn settle(&mut self, now: Duration) {
        let due: Vec<String> = self
            .tasks
            .iter()
            .filter(|(_, task)| !task.settled && task.until <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            let Some(task) = self.tasks.get_mut(&name) else { continue };
            task.settled = true;
            let (call, fails) = (task.call.clone(), task.fails.is_some());
            self.in_flight -= 1;
            self.being_born.remove(&call.id);
            if !fails || call.only_first {
                self.take_effect(&call);
            }
        }
    }

    pub(super) fn bump(&mut self, id: &NativeId) {
        *self.versions.entry(id.clone()).or_default() += 1;
    }

    pub(super) fn take_effect(&mut self, call: &Sent) {
        let id = &call.id;
        self.wrote.push(Wrote { id: id.to_string(), op: call.op.name() });
        let mut wrong =
            |what: &str| self.violations.push(format!("{} {id}: {what}", call.op.name()));
        let there = self.machines.get(id);
        if call.op.is_birth() {
            if there.is_some() {
                wrong("something is there");
                return;
            }
        } else {
            // A later edit by somebody else is their affair; an object that never was
            // ours is not.
            match there {
                Some(it) if names_us(it, &call.identity.key) => {}
                // What changes hands is written before it is ours; another project's never.
                Some(it) if changes_hands(&call.op) && !is_foreign(it) => {}
                Some(_) => {
                    wrong("it is not ours");
                    return;
                }
                None => return,
            }
        }
        if call.op == StepOp::Start {
            let it = &self.machines[id];
            if binding(&project(), &call.identity.key, it, None) != Binding::Ready {
                wrong("started before it is ready");
            }
            let twin = self.machines.values().any(|other| {
                other.id != *id
                    && other.power == PowerState::Running
                    && names_us(other, &call.identity.key)
            });
            if twin {
                self.violations.push(format!("two started machines of {}", call.identity.key));
            }
            self.started.insert(id.clone());
        }
        self.apply(call);
        self.bump(id);
    }

    pub(super) fn apply(&mut self, call: &Sent) {
        let id = &call.id;
        match &call.op {
            StepOp::Clone(from) => {
                let mut new = machine(id.as_str());
                new.spec.name = Some(from.name.clone());
                // The copy's uuid is the server's choice until the first configuration.
                new.marker = drafted(call, &from.marker, Some(id), None);
                if call.assigned {
                    new.uuid = call.identity.uuid;
                    new.marker = drafted(call, &from.marker, None, call.identity.uuid);
                }
                self.machines.insert(id.clone(), new);
            }
            StepOp::Configure(settings) => {
                let count = if call.only_first { 1 } else { settings.len() };
                let Some(it) = self.machines.get_mut(id) else { return };
                for setting in settings.iter().take(count) {
                    match setting {
                        Setting::Memory(size) => it.spec.memory = Some(*size),
                        Setting::Cpu { total, .. } => it.spec.cpu = Some(*total),
                        Setting::MachineUuid => it.uuid = call.identity.uuid,
                        Setting::Marker(draft) => {
                            it.marker = drafted(call, draft, Some(id), call.identity.uuid);
                        }
                        Setting::Unmark => it.marker = MarkerState::None,
                        Setting::Protect(on) => it.spec.protect = Some(*on),
                        other => unreachable!("not used here: {other:?}"),
                    }
                }
            }
            StepOp::Start | StepOp::Stop => {
                if let Some(it) = self.machines.get_mut(id) {
                    it.power = if call.op == StepOp::Start {
                        PowerState::Running
                    } else {
                        PowerState::Stopped
                    };
                }
            }
            StepOp::Shutdown => {
                if self.obeys_shutdown
                    && let Some(it) = self.machines.get_mut(id)
                {
                    it.power = PowerState::Stopped;
                }
            }
            StepOp::TakeSnapshot(take) => {
                if let Some(it) = self.machines.get_mut(id) {
                    it.snapshots.push(SnapshotSeen {
                        id: format!("id-of-{}", take.name),
                        name: take.name.clone(),
                        ..SnapshotSeen::default()
                    });
                }
            }
            StepOp::RemoveSnapshot { id: gone, .. } => {
                if let Some(it) = self.machines.get_mut(id) {
                    it.snapshots.retain(|it| it.id != *gone);
                }
            }
            StepOp::Delete => drop(self.machines.remove(id)),
            other => unreachable!("not used here: {other:?}"),
        }
    }

    /// What goes wrong with this call, and what somebody else does right before it.
    pub(super) fn fault(&mut self, call: &Sent, guarded: bool) -> Option<Fault> {
        let fault = match self.script.pop_front() {
            Some(fault) => fault,
            None => self.by_chance(call),
        }?;
        let id = &call.id;
        let disturbed = match fault {
            Fault::CompetingEdit => {
                self.machines.get_mut(id).map(|it| it.spec.memory = Some(Bytes::gib(7)))
            }
            Fault::Conflict => self.machines.get_mut(id).map(|it| it.spec.cpu = Some(9)),
            // Between a read and a call that the product does not guard nobody can
            // know; the promise is about the others.
            Fault::Stolen if guarded => self.machines.get_mut(id).map(|it| {
                if let MarkerState::Found(marker) = &mut it.marker {
                    marker.project = "thief".into();
                }
            }),
            Fault::Rewritten => self.machines.get_mut(id).map(|it| {
                if let MarkerState::Found(marker) = &mut it.marker {
                    marker.intent = Uuid::from_u128(5);
                }
            }),
            Fault::IdTaken if call.op.is_birth() => {
                self.machines.insert(id.clone(), machine(id.as_str()));
                Some(())
            }
            // Another runner that sees a machine of ours calls none of its own ready,
            // and makes none when ours is.
            Fault::Twin(stage)
                if call.op.is_birth()
                    || (stage == Stage::New && call.op.writes_stage() == Some(Stage::New)) =>
            {
                self.next += 1;
                let mut twin = machine(&(7000 + self.next).to_string());
                twin.marker = marker(&call.identity.key, &twin, stage);
                if stage == Stage::Ready {
                    twin.power = PowerState::Running;
                }
                self.machines.insert(twin.id.clone(), twin);
                Some(())
            }
            _ => None,
        };
        if disturbed.is_some() {
            self.bump(id);
            if fault != Fault::Conflict {
                self.disturbed.insert(call.identity.key.clone());
            }
        }
        Some(fault)
    }

    pub(super) fn by_chance(&mut self, call: &Sent) -> Option<Fault> {
        let (dice, percent, hostile) = self.chance.as_mut()?;
        if dice.next(100) >= *percent {
            return None;
        }
        let fair = [
            Fault::Conflict,
            Fault::Busy,
            Fault::LostBefore,
            Fault::LostAfter,
            Fault::NotSent,
            Fault::TaskFails,
            Fault::TaskConflicts,
            Fault::Partial,
            Fault::Fog,
        ];
        let foul = [
            Fault::CompetingEdit,
            Fault::Stolen,
            Fault::IdTaken,
            Fault::Twin(Stage::New),
            Fault::Twin(Stage::Ready),
        ];
        let all: Vec<Fault> =
            if *hostile { [&fair[..], &foul[..]].concat() } else { fair.to_vec() };
        let picked = all[usize::try_from(dice.next(all.len() as u64)).unwrap()];
        // A start is not refused for what somebody else did to a field.
        let starts = call.op == StepOp::Start;
        (!starts || picked != Fault::CompetingEdit).then_some(picked)
    }
}

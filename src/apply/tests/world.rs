//! A small hypervisor in memory, with faults and with eyes: it notes every write that
//! should not have happened.

use super::super::Journal;
use crate::{
    clock::Clock,
    model::*,
    ownership::{Binding, binding},
    provider::{Call, Provider},
    store::{ActionState, DurableIntent, StepOutcome, StoreError},
};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use uuid::Uuid;

/// Numbers that are the same for a seed.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d)
    }

    pub(super) fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Somebody edits a field that nobody cares for, right before.
    Conflict,
    /// It is locked for an instant.
    Busy,
    /// The call is lost before it arrives.
    LostBefore,
    /// The call is carried out and its reply is lost.
    LostAfter,
    /// The call never leaves.
    NotSent,
    /// The task fails and nothing happened.
    TaskFails,
    /// The task fails with a conflict: somebody changed the object before it began.
    TaskConflicts,
    /// The guest has nothing that would hear of a shutdown.
    Deaf,
    /// The task fails after the first of its settings.
    Partial,
    /// Somebody changes the memory, right before.
    CompetingEdit,
    /// Somebody writes another project's marker, right before.
    Stolen,
    /// Somebody writes the marker of another creation of the same key, right before.
    Rewritten,
    /// Somebody makes a machine at the id, right before.
    IdTaken,
    /// Another runner makes the key at another id, right before.
    Twin(Stage),
    /// The provider breaks.
    Panic,
    /// Nothing ever tells what became of it.
    Fog,
    /// The credentials are refused.
    Auth,
}

pub(super) struct Task {
    until: Duration,
    call: Sent,
    fails: Option<(RefusalKind, &'static str)>,
    settled: bool,
}

#[derive(Clone)]
struct Sent {
    id: NativeId,
    op: StepOp,
    identity: Identity,
    only_first: bool,
    /// Whether the id is this world's choice, told at the end of the task.
    assigned: bool,
}

/// One write that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrote {
    pub(super) id: String,
    pub(super) op: &'static str,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) machines: BTreeMap<NativeId, ObservedMachine>,
    pub(super) being_born: BTreeSet<NativeId>,
    pub(super) versions: BTreeMap<NativeId, u64>,
    pub(super) tasks: BTreeMap<String, Task>,
    arrived: BTreeMap<Uuid, String>,
    fog: BTreeSet<Uuid>,
    /// Faults for the next calls, one each; `None` = all goes well.
    pub(super) script: VecDeque<Option<Fault>>,
    /// Faults by chance: this many in a hundred calls.
    pub(super) chance: Option<(Dice, u64, bool)>,
    pub(super) wrote: Vec<Wrote>,
    /// What must never be seen.
    pub(super) violations: Vec<String>,
    pub(super) started: BTreeSet<NativeId>,
    /// Machines that a fault made or took over: nobody promises that they converge.
    pub(super) disturbed: BTreeSet<ResourceKey>,
    rows_used: BTreeSet<i64>,
    pub(super) lists: u32,
    pub(super) reads: u32,
    pub(super) polls: u32,
    pub(super) in_flight: usize,
    pub(super) in_flight_max: usize,
    pub(super) obeys_shutdown: bool,
    /// Whether this world chooses the ids of what is made: then names collide, and the
    /// caller's uuid is taken at birth.
    pub(super) assigns_ids: bool,
    /// Whether rows are looked up in the fake journal; off when there is a real one.
    pub(super) eyes_on_rows: bool,
    pub(super) task_time: Duration,
    next: u64,
}

pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) journal: Arc<FakeJournal>,
    state: Mutex<State>,
}

pub(super) const PROJECT: &str = "acme";

pub(super) fn project() -> ProjectName {
    PROJECT.into()
}

pub(super) fn machine(id: &str) -> ObservedMachine {
    ObservedMachine {
        id: id.into(),
        node: Some("pve1".into()),
        uuid: Some(Uuid::new_v5(&Uuid::NAMESPACE_OID, id.as_bytes())),
        template: false,
        snapshots: Vec::new(),
        hot: [].into(),
        power: PowerState::Stopped,
        lock: None,
        marker: MarkerState::None,
        bulk_mark: false,
        spec: MachineSpec {
            name: Some(format!("guest-{id}")),
            memory: Some(Bytes::gib(2)),
            cpu: Some(2),
            ..MachineSpec::default()
        },
        next: None,
        devices: Vec::new(),
        known_labels: [].into(),
        addresses: Vec::new(),
    }
}

pub(super) fn marker(key: &ResourceKey, of: &ObservedMachine, stage: Stage) -> MarkerState {
    MarkerState::Found(Box::new(Marker {
        project: project(),
        key: key.clone(),
        uuid: of.uuid,
        id: Some(of.id.clone()),
        stage,
        intent: Uuid::new_v5(&Uuid::NAMESPACE_URL, key.to_string().as_bytes()),
        init: None,
        protect: false,
        mac: None,
        map: DeviceMap::default(),
    }))
}

/// A machine of ours that is complete.
pub(super) fn owned(id: &str, name: &str) -> ObservedMachine {
    let mut it = machine(id);
    it.marker = marker(&ResourceKey::vm(name), &it, Stage::Ready);
    it.spec.name = Some(name.to_owned());
    it
}

impl World {
    pub(super) fn new() -> Arc<Self> {
        let state =
            State { obeys_shutdown: true, task_time: Duration::from_secs(3), ..State::default() };
        let journal = Arc::new(FakeJournal::default());
        let world = Self { clock: Clock::fixed(1_000_000), journal, state: Mutex::new(state) };
        let mut template = machine("9000");
        template.template = true;
        template.spec.name = Some("debian".to_owned());
        world.put(template);
        world.put(machine("500"));
        let mut other = machine("501");
        other.marker = marker(&ResourceKey::vm("web-1"), &other, Stage::Ready);
        if let MarkerState::Found(marker) = &mut other.marker {
            marker.project = "other".into();
        }
        world.put(other);
        Arc::new(world)
    }

    pub(super) fn put(&self, machine: ObservedMachine) {
        self.state().machines.insert(machine.id.clone(), machine);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn get(&self, id: &str) -> Option<ObservedMachine> {
        self.state().machines.get(id).cloned()
    }

    pub(super) fn inventory(&self) -> Inventory {
        let state = self.state();
        let mut here = HypervisorInventory::failed("", FailureKind::Unreachable);
        here.coverage = Coverage::Complete;
        here.listed = state.listed();
        here.machines = state.machines.clone();
        let node = ObservedNode {
            spreads: false,
            online: true,
            cpus: 8,
            memory: Bytes::gib(64),
            networks: None,
        };
        here.nodes.insert("pve1".into(), node);
        Inventory { hypervisors: [("pve".into(), here)].into() }
    }

    /// Ends what runs, so that a new run starts with a quiet world.
    pub(super) fn calm(&self) {
        self.clock.advance(Duration::from_secs(3600));
        let now = self.clock.monotonic();
        let mut state = self.state();
        state.chance = None;
        state.script.clear();
        state.fog.clear();
        state.settle(now);
    }
}

impl Task {
    fn receipt(&self) -> Receipt {
        Receipt { id: self.call.assigned.then(|| self.call.id.clone()), notes: Vec::new() }
    }
}

impl State {
    /// Whether the name of what is to be made is taken, also by what is on its way.
    fn bears_name(&self, op: &StepOp) -> bool {
        let StepOp::Clone(from) = op else { return false };
        let pending = |task: &Task| {
            !task.settled && matches!(&task.call.op, StepOp::Clone(it) if it.name == from.name)
        };
        self.machines.values().any(|it| it.spec.name.as_ref() == Some(&from.name))
            || self.tasks.values().any(pending)
    }

    fn listed(&self) -> BTreeMap<NativeId, Listed> {
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

    fn settle(&mut self, now: Duration) {
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

    fn bump(&mut self, id: &NativeId) {
        *self.versions.entry(id.clone()).or_default() += 1;
    }

    fn take_effect(&mut self, call: &Sent) {
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

    fn apply(&mut self, call: &Sent) {
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
    fn fault(&mut self, call: &Sent, guarded: bool) -> Option<Fault> {
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

    fn by_chance(&mut self, call: &Sent) -> Option<Fault> {
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

fn changes_hands(op: &StepOp) -> bool {
    let StepOp::Configure(settings) = op else { return false };
    settings.iter().all(|it| matches!(it, Setting::Marker(_) | Setting::Unmark))
}

fn is_foreign(it: &ObservedMachine) -> bool {
    it.marker.found().is_some_and(|marker| marker.project != project())
}

fn names_us(it: &ObservedMachine, key: &ResourceKey) -> bool {
    let own = |m: &Marker| match &m.id {
        Some(id) => *id == it.id,
        None => m.uuid.is_some() && m.uuid == it.uuid,
    };
    it.marker.found().is_some_and(|m| m.project == project() && m.key == *key && own(m))
}

fn drafted(
    call: &Sent,
    draft: &MarkerDraft,
    id: Option<&NativeId>,
    uuid: Option<Uuid>,
) -> MarkerState {
    MarkerState::Found(Box::new(Marker {
        project: call.identity.project.clone(),
        key: call.identity.key.clone(),
        uuid,
        id: id.cloned(),
        stage: draft.stage,
        intent: call.identity.intent,
        init: draft.init.clone(),
        protect: draft.protect.unwrap_or(false),
        mac: None,
        map: draft.map.clone(),
    }))
}

fn lost(kind: ErrorKind, retry: Retry) -> ProviderError {
    ProviderError { operation: "call".into(), kind, retry, source: "no answer".into() }
}

fn refusal(kind: RefusalKind, text: &str) -> Submitted {
    Submitted::Refused(Refusal { kind, text: text.to_owned() })
}

#[async_trait]
impl Provider for World {
    async fn observe(&self, _: &Scope) -> HypervisorInventory {
        HypervisorInventory::failed("not asked here", FailureKind::Unreachable)
    }

    async fn examine(&self, _: &DesiredState, _: &Scope) -> Examination {
        Examination::default().skip_rest("not asked here")
    }

    /// Every task of this world is of its only account, so there is nobody to name.
    async fn authors(&self, _: &[Altered]) -> Authors {
        Authors::default()
    }

    async fn list(&self) -> Result<Listing, ProviderError> {
        let mut state = self.state();
        state.settle(self.clock.monotonic());
        state.lists += 1;
        let online = BTreeSet::from(["pve1".into()]);
        Ok(Listing { guests: state.listed(), online, gaps: Vec::new() })
    }

    async fn read(&self, target: &Target) -> Result<Fresh, ProviderError> {
        let mut state = self.state();
        state.settle(self.clock.monotonic());
        state.reads += 1;
        let found = match &target.at {
            At::Id(id) => state.machines.get(id),
            At::Birth(place) => {
                let ours = state.machines.values().find(|it| it.uuid == place.uuid);
                let named = |it: &&ObservedMachine| it.spec.name.as_ref() == Some(&place.name);
                ours.or_else(|| state.machines.values().find(named))
            }
        };
        let object = match (found, target.id()) {
            (Some(it), _) => FreshObject::Machine(Box::new(it.clone())),
            (None, Some(id)) if state.being_born.contains(id) => {
                FreshObject::Unreadable("being born".to_owned())
            }
            (None, _) => FreshObject::Absent,
        };
        let version = found.and_then(|it| state.versions.get(&it.id)).copied().unwrap_or(0);
        let version = version.to_string();
        Ok(Fresh { object, version: Some(version), raw: serde_json::Value::Null })
    }

    async fn submit(&self, call: &Call<'_>, intent: &DurableIntent) -> Submitted {
        let now = self.clock.monotonic();
        let mut state = self.state();
        state.settle(now);
        let reused = !state.rows_used.insert(intent.row()) || !self.journal.is_open(intent.row());
        if state.eyes_on_rows && reused {
            state.violations.push(format!("row {} was used twice or is closed", intent.row()));
        }
        let assigned = call.op.is_birth() && state.assigns_ids;
        let id = match call.target.id() {
            Some(id) => id.clone(),
            None => {
                assert!(assigned, "only a birth goes where no id is known");
                state.next += 1;
                format!("vm-{}", state.next).as_str().into()
            }
        };
        let (op, identity) = (call.op.clone(), call.identity.clone());
        let mut sent = Sent { id, op, identity, only_first: false, assigned };
        let fault = state.fault(&sent, call.step.guarded);
        match fault {
            Some(Fault::Panic) => {
                drop(state);
                panic!("the provider breaks");
            }
            Some(Fault::Busy) => return refusal(RefusalKind::Busy, "VM is locked (backup)"),
            Some(Fault::Deaf) => return refusal(RefusalKind::GuestDeaf, "no agent answers"),
            Some(Fault::Auth) => return refusal(RefusalKind::Auth, "no ticket"),
            Some(Fault::NotSent) => {
                return Submitted::NotSent(lost(ErrorKind::Unreachable, Retry::Now));
            }
            Some(Fault::LostBefore) => {
                return Submitted::Unknown(lost(ErrorKind::Unreachable, Retry::Now));
            }
            Some(Fault::Fog) => {
                state.fog.insert(intent.intent().request_id());
                return Submitted::Unknown(lost(ErrorKind::Unreachable, Retry::Now));
            }
            _ => {}
        }
        let there = state.machines.contains_key(&sent.id)
            || state.being_born.contains(&sent.id)
            || (assigned && state.bears_name(&sent.op));
        if sent.op.is_birth() && there {
            return refusal(RefusalKind::Exists, "config file already exists");
        }
        if !sent.op.is_birth() && !state.machines.contains_key(&sent.id) {
            return refusal(RefusalKind::Missing, "does not exist");
        }
        let version = state.versions.get(&sent.id).copied().unwrap_or(0).to_string();
        if call.step.guarded && call.fresh.version.as_ref() != Some(&version) {
            return refusal(RefusalKind::Conflict, "checksum mismatch");
        }
        let fails = match fault {
            Some(Fault::TaskFails) => Some((RefusalKind::Invalid, "storage is full")),
            Some(Fault::TaskConflicts) => Some((RefusalKind::Conflict, "changed concurrently")),
            Some(Fault::Partial) => {
                sent.only_first = matches!(sent.op, StepOp::Configure(_));
                Some((RefusalKind::Invalid, "hotplug problem"))
            }
            _ => None,
        };
        if sent.op.is_birth() {
            state.being_born.insert(sent.id.clone());
        }
        state.next += 1;
        let name = format!("task-{}", state.next);
        let until = now + state.task_time;
        state.tasks.insert(name.clone(), Task { until, call: sent, fails, settled: false });
        state.arrived.insert(intent.intent().request_id(), name.clone());
        state.in_flight += 1;
        state.in_flight_max = state.in_flight_max.max(state.in_flight);
        if fault == Some(Fault::LostAfter) {
            return Submitted::Unknown(lost(ErrorKind::Unreachable, Retry::Now));
        }
        Submitted::Accepted(TaskRef(name))
    }

    async fn poll(&self, tasks: &[TaskRef]) -> Vec<TaskState> {
        let mut state = self.state();
        state.settle(self.clock.monotonic());
        state.polls += 1;
        tasks
            .iter()
            .map(|task| match state.tasks.get(&task.0) {
                None => TaskState::Unknown("no such task".to_owned()),
                Some(task) if !task.settled => TaskState::Running,
                Some(task) => match task.fails {
                    Some((kind, text)) => {
                        TaskState::Failed(Refusal { kind, text: text.to_owned() })
                    }
                    None => TaskState::Done(task.receipt()),
                },
            })
            .collect()
    }

    async fn locate(&self, intent: &Intent) -> Located {
        let mut state = self.state();
        state.settle(self.clock.monotonic());
        let request = intent.request_id();
        if state.fog.contains(&request) {
            return Located::StillUnknown("the node does not answer".to_owned());
        }
        match state.arrived.get(&request) {
            None => Located::DidNotHappen("no task of it is listed".to_owned()),
            Some(name) => {
                match state.tasks.get(name).filter(|it| it.settled && it.fails.is_none()) {
                    Some(done) => Located::Happened(done.receipt()),
                    None => Located::Running(TaskRef(name.clone())),
                }
            }
        }
    }

    async fn close(&self) {}
}

/// A journal in memory that can be made to fail.
#[derive(Default)]
pub(super) struct FakeJournal {
    runs: Mutex<u128>,
    rows: Mutex<Vec<(Intent, Option<StepOutcome>)>>,
    pub(super) owned: Mutex<BTreeSet<(ResourceKey, NativeId)>>,
    pub(super) states: Mutex<Vec<(ActionId, ActionState)>>,
    /// Writes that still succeed; `None` = all.
    pub(super) writes_left: Mutex<Option<u32>>,
    /// Outcomes that were written over another one.
    pub(super) rewritten: Mutex<u32>,
}

impl FakeJournal {
    fn write(&self) -> Result<(), StoreError> {
        match &mut *self.writes_left.lock().unwrap() {
            Some(0) => Err(StoreError::Closed { operation: "write", path: PathBuf::new() }),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn is_open(&self, row: i64) -> bool {
        let index = usize::try_from(row).unwrap();
        self.rows.lock().unwrap().get(index).is_some_and(|row| row.1.is_none())
    }

    pub(super) fn outcomes(&self) -> Vec<(String, u32, Option<StepOutcome>)> {
        let rows = self.rows.lock().unwrap();
        rows.iter().map(|(it, outcome)| (it.op.clone(), it.attempt, outcome.clone())).collect()
    }

    pub(super) fn attempts_are_unique(&self) -> bool {
        let rows = self.rows.lock().unwrap();
        // As the journal itself has it: another call at a step is another row.
        let row = |it: &Intent| (it.run, it.action.clone(), it.step, it.attempt, it.op.clone());
        let all: BTreeSet<_> = rows.iter().map(|(it, _)| row(it)).collect();
        all.len() == rows.len()
    }

    /// Another run with the same journal.
    pub(super) fn begin_run(&self) {
        *self.runs.lock().unwrap() += 1;
    }
}

#[async_trait]
impl Journal for FakeJournal {
    fn run(&self) -> Uuid {
        Uuid::from_u128(*self.runs.lock().unwrap())
    }

    async fn intend(&self, intent: Intent, _: Option<String>) -> Result<DurableIntent, StoreError> {
        self.write()?;
        let mut rows = self.rows.lock().unwrap();
        rows.push((intent.clone(), None));
        Ok(DurableIntent::in_test(i64::try_from(rows.len()).unwrap() - 1, intent))
    }

    async fn accepted(&self, _: &DurableIntent, _: &TaskRef, _: i64) -> Result<(), StoreError> {
        self.write()
    }

    async fn finished(
        &self,
        intent: &DurableIntent,
        outcome: StepOutcome,
        _: Option<String>,
        _: i64,
    ) -> Result<(), StoreError> {
        self.write()?;
        let mut rows = self.rows.lock().unwrap();
        let row = &mut rows[usize::try_from(intent.row()).unwrap()].1;
        if row.replace(outcome).is_some() {
            *self.rewritten.lock().unwrap() += 1;
        }
        Ok(())
    }

    async fn action_state(
        &self,
        action: &ActionId,
        state: ActionState,
        _: i64,
    ) -> Result<(), StoreError> {
        self.write()?;
        self.states.lock().unwrap().push((action.clone(), state));
        Ok(())
    }

    async fn owned(
        &self,
        key: &ResourceKey,
        _: &HypervisorName,
        id: &NativeId,
        _: i64,
    ) -> Result<(), StoreError> {
        self.write()?;
        self.owned.lock().unwrap().insert((key.clone(), id.clone()));
        Ok(())
    }

    async fn disowned(
        &self,
        key: &ResourceKey,
        _: &HypervisorName,
        id: &NativeId,
        _: i64,
    ) -> Result<(), StoreError> {
        self.write()?;
        self.owned.lock().unwrap().remove(&(key.clone(), id.clone()));
        Ok(())
    }

    async fn open_intents(&self) -> Result<Vec<DurableIntent>, StoreError> {
        let rows = self.rows.lock().unwrap();
        let open = (0_i64..).zip(rows.iter()).filter(|(_, (_, outcome))| outcome.is_none());
        Ok(open.map(|(row, (intent, _))| DurableIntent::in_test(row, intent.clone())).collect())
    }
}

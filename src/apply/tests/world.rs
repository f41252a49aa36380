//! A small hypervisor in memory, with faults and with eyes: it notes every write that
//! should not have happened.

mod journal;
mod state;

pub(super) use journal::FakeJournal;

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
        setup_waits: false,
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

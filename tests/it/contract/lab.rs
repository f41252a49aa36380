//! One rule's workbench: a world, a provider, a journal, and the small moves that rules
//! are made of.

use super::{
    subject::{Act, Door, Need, Point, Props, Subject, Trouble, World},
    table::Rule,
};
use novahost::{
    clock::Clock,
    model::{
        Allotted, At, Autostart, BirthSource, Birthplace, BootDevice, Build, Bus, Bytes, Cdrom,
        Change, DesiredMachine, DiskSpec, Expect, FieldKind, Firmware, Fresh, FreshObject, GuestOs,
        HypervisorInventory, Identity, InitSecret, InitSpec, Intent, IpSetting, Located,
        MachineSpec, MarkerState, Medium, Name, NativeId, NetworkBinding, NicModel, NicSpec,
        ObservedMachine, Owner, Place, Power, Refusal, RefusalKind, ResourceKey, RoleSeen, Scope,
        SecretRef, SecretSource, Setting, Step, StepOp, Submitted, Target, TaskRef, TaskState,
        Update, Value, Verb, Wait,
    },
    ownership,
    provider::{Call, Provider},
    store::{NewRun, RunHandle, Store, Who},
};
use secrecy::SecretString;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use uuid::Uuid;

/// The guest's password in every seed.
pub const PASSWORD: &str = "gu3st-passw0rd;of=the&contract";
/// How often something is asked that is under way.
const ASKS: u32 = 400;
const PAUSE: Duration = Duration::from_millis(15);

pub struct Lab {
    subject: Arc<dyn Subject>,
    rule: &'static Rule,
    pub world: Arc<dyn World>,
    pub provider: Arc<dyn Provider>,
    run: RunHandle,
    clock: Clock,
    step: AtomicU32,
    /// The pool that the machine is born into.
    pool: Mutex<Option<Name>>,
    /// Its id, once the product has told it.
    born: Mutex<Option<NativeId>>,
}

impl Lab {
    pub async fn open(subject: Arc<dyn Subject>, rule: &'static Rule) -> Self {
        let world = subject.world(rule.name, rule.scene, rule.faulty).await;
        let provider = world.provider(Door::Usual);
        let clock = Clock::system();
        let action = |key: ResourceKey| {
            let hypervisor = world.props().hypervisor.clone();
            (format!("{key}:create").as_str().into(), key, hypervisor, Verb::Create)
        };
        let run = NewRun {
            id: Uuid::now_v7(),
            project: "acme".into(),
            plan_id: "0".repeat(64),
            plan_json: "{}".into(),
            kind: "apply".into(),
            who: Who { user: "test".into(), host: "test".into(), ..Who::default() },
            started_ms: clock.now_ms(),
            actions: vec![action(key()), action(pool().key), action(ResourceKey::spread("apart"))],
        };
        let store = Store::open_in_memory().await.unwrap();
        let run = store.begin_run(run).await.unwrap();
        let (step, pool, born) = (AtomicU32::new(0), Mutex::default(), Mutex::default());
        Self { subject, rule, world, provider, run, clock, step, pool, born }
    }

    /// The same rule in a world of its own, for the machine that steps were made for.
    pub async fn again(&self) -> Self {
        let lab = Self::open(Arc::clone(&self.subject), self.rule).await;
        lab.pool.lock().unwrap().clone_from(&self.pool.lock().unwrap());
        lab
    }

    /// Whether the product has what a part of a rule is about.
    pub fn has(&self, need: Need) -> bool {
        !self.subject.lacks().contains_key(&need)
    }

    /// Whether the product has this field at all.
    pub fn has_field(&self, kind: FieldKind) -> bool {
        self.world.product().capabilities().changes.contains_key(&kind)
    }

    /// Whether the product is ever sent this word of the vocabulary.
    pub fn speaks(&self, word: &str) -> bool {
        !self.subject.unspoken().contains_key(word)
    }

    pub fn props(&self) -> &Props {
        self.world.props()
    }

    pub fn act(&self, act: Act<'_>) {
        self.world.outsider(act);
    }

    pub fn trouble(&self, at: Point, what: Trouble) {
        self.world.trouble(at, what, 1);
    }

    // ---- what there is to be

    /// The machine, as it is found now.
    pub fn target(&self) -> Target {
        let id = self.born.lock().unwrap().clone();
        match id {
            Some(id) => Target { at: At::Id(id), ..self.birth(0) },
            None => self.birth(0),
        }
    }

    /// A machine before it is born: the one of most rules, or another one.
    pub fn birth(&self, number: usize) -> Target {
        let node = Some(self.props().hosts[0].clone());
        match &self.props().free {
            Some(free) => Target::with_id(key(), free[number].clone(), node),
            None => {
                let name = if number == 0 { "web-7".to_owned() } else { format!("web-7-{number}") };
                let intent = Uuid::from_u128(7 + number as u128);
                let uuid = ownership::machine_uuid(&"acme".into(), &key(), intent);
                let pool = self.pool.lock().unwrap().clone();
                let place = Birthplace { name, pool, uuid: Some(uuid) };
                Target { key: key(), at: At::Birth(place), node }
            }
        }
    }

    /// The machine's id; there is one before its birth only where we choose it.
    pub fn id(&self) -> NativeId {
        self.target().id().expect("it has an id").clone()
    }

    /// Remembers the id that the product told.
    pub fn learn(&self, target: &Target, id: Option<&NativeId>) {
        if let (At::Birth(_), Some(id)) = (&target.at, id) {
            *self.born.lock().unwrap() = Some(id.clone());
        }
    }

    /// The machine in the simulator's own words.
    pub fn truth(&self) -> String {
        self.world.truth(&self.target().at)
    }

    pub fn scope(&self) -> Scope {
        Scope {
            project: Some("acme".into()),
            names: ["web-7".to_owned(), "team".to_owned()].into(),
            templates: [self.props().template.id().unwrap().clone()].into(),
            template_names: [self.props().template_name.clone()].into(),
            isos: [self.props().iso.clone()].into(),
            pinned: self.pinned(),
            ids: [self.props().foreign.id().unwrap().clone()].into(),
            ..Scope::default()
        }
    }

    fn pinned(&self) -> BTreeSet<NativeId> {
        let own = self.target().id().cloned();
        own.into_iter().chain(self.props().foreign.id().cloned()).collect()
    }

    /// A machine from the template, with a little of everything that the product has.
    pub fn desired(&self, linked: bool) -> DesiredMachine {
        let props = self.props();
        let disk = |gib: u64| DiskSpec {
            size: Some(Bytes::gib(gib)),
            bus: Some(Bus::Scsi),
            storage: Some(props.storage.clone()),
            ..DiskSpec::default()
        };
        let network = |index: usize| {
            Some(NetworkBinding { name: None, native: props.networks[index].clone() })
        };
        // The template has 8 GiB.
        let boot_gib = if linked && !props.linked_grows { 8 } else { 12 };
        let eth0 = NicSpec {
            network: network(0),
            vlan: self.has_field(FieldKind::NicVlan).then_some(52),
            mac: Some(self.mac(0x0a_0b0c)),
            model: Some(NicModel::Virtio),
            ip: Some(IpSetting::Static { address: "10.20.0.71".parse().unwrap(), prefix: 24 }),
            gateway: Some("10.20.0.1".parse().unwrap()),
        };
        let eth1 = NicSpec {
            network: network(1),
            model: Some(NicModel::E1000),
            ip: Some(IpSetting::Dhcp),
            ..NicSpec::default()
        };
        let init = InitSpec {
            hostname: Some("web-7".into()),
            domain: Some("acme.example".into()),
            user: Some("ops".into()),
            ssh_keys: Some(vec![
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO+/abc= first key, with = and +".into(),
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPxyz= ünï@host".into(),
            ]),
            password: Some(secret(1)),
            dns: Some(vec!["10.20.0.2".parse().unwrap(), "10.20.0.3".parse().unwrap()]),
            customization: None,
            digest: Some("0123456789abcdef0123456789abcdef".into()),
        };
        let spec = MachineSpec {
            name: Some("web-7".into()),
            cpu: Some(4),
            sockets: Some(2),
            memory: Some(Bytes::gib(4)),
            firmware: Some(Firmware::Uefi),
            tpm: self.has_field(FieldKind::Tpm).then_some(true),
            // The template has 19.
            hardware_version: self.has_field(FieldKind::HardwareVersion).then_some(20),
            boot: Some(vec![BootDevice::Disk, BootDevice::Cdrom, BootDevice::Network]),
            cdrom: Some(Cdrom::Iso(props.iso.clone())),
            autostart: self.has_field(FieldKind::Autostart).then_some(Autostart {
                enabled: true,
                order: Some(3),
                wait_s: Some(20),
            }),
            protect: Some(true),
            tags: self
                .has_field(FieldKind::Tags)
                .then(|| ["Web".to_owned(), "prod".to_owned(), "a.b+c_d".to_owned()].into()),
            labels: [].into(),
            notes: Some("Front end: a=b; c&d, 100 % + ä\n\nzweite Zeile  \n".into()),
            pool: Some(props.pool.as_str().into()),
            extra: self
                .has_field(FieldKind::Extra)
                .then(|| ("disk.EnableUUID".into(), "TRUE".to_owned()))
                .into_iter()
                .collect(),
            disks: [("boot".into(), disk(boot_gib)), ("data".into(), disk(3))].into(),
            nics: [("eth0".into(), eth0), ("eth1".into(), eth1)].into(),
            init: Some(init),
        };
        let medium = Medium::Template {
            id: Some(props.template.id().unwrap().clone()),
            name: Some(props.template_name.clone()),
            linked,
            snapshot: None,
        };
        self.machine(spec, medium, Power::Stopped)
    }

    /// A machine from an image of an installer.
    pub fn desired_from_iso(&self) -> DesiredMachine {
        let mut machine = self.desired(false);
        machine.birth.as_mut().unwrap().medium = Medium::Iso { volume: self.props().iso.clone() };
        machine
    }

    fn machine(&self, spec: MachineSpec, medium: Medium, power: Power) -> DesiredMachine {
        DesiredMachine {
            key: key(),
            hypervisor: self.props().hypervisor.clone(),
            spec,
            power,
            birth: Some(BirthSource {
                image: "debian-13".into(),
                medium,
                firmware: Some(Firmware::Uefi),
                takes_init: true,
                agent: true,
                os: GuestOs::Linux,
            }),
            after: Vec::new(),
            pinned_node: None,
            spread: None,
            wanted_id: None,
            adopt: None,
            was: None,
            service_plan: None,
            snapshots: None,
            place: place(),
            places: Vec::new(),
        }
    }

    /// A hardware address that the product takes from us.
    pub fn mac(&self, number: u64) -> novahost::model::MacAddress {
        self.world.product().capabilities().macs.at(number)
    }

    pub fn normalized(&self, machine: &DesiredMachine) -> MachineSpec {
        self.world.product().normalize(machine).unwrap()
    }

    pub fn allotted(&self, spec: &MachineSpec) -> Allotted {
        let storage = &self.props().storage;
        let macs = spec.nics.iter().zip(1..).map(|((name, nic), n)| {
            (name.clone(), nic.mac.unwrap_or_else(|| self.mac(0x7100 + n)))
        });
        Allotted {
            id: self.props().free.as_ref().map(|free| free[0].clone()),
            node: Some(self.props().hosts[0].clone()),
            storages: spec.disks.keys().map(|name| (name.clone(), storage.clone())).collect(),
            macs: macs.collect(),
        }
    }

    // ---- looking

    pub async fn observe(&self) -> HypervisorInventory {
        self.provider.observe(&self.scope()).await
    }

    pub async fn read(&self) -> Fresh {
        self.provider.read(&self.target()).await.unwrap()
    }

    pub async fn seen(&self) -> ObservedMachine {
        match self.read().await.object {
            FreshObject::Machine(machine) => *machine,
            other => panic!("no machine: {other:?}"),
        }
    }

    // ---- doing

    pub fn identity(&self, target: &Target) -> Identity {
        let intent = Uuid::from_u128(7);
        let key = target.key.clone();
        let uuid = ownership::machine_uuid(&"acme".into(), &key, intent);
        Identity { project: "acme".into(), key, intent, uuid: Some(uuid) }
    }

    /// One journalled call on what was just read.
    pub async fn submit(
        &self,
        provider: &dyn Provider,
        target: &Target,
        step: &Step,
        op: &StepOp,
        fresh: &Fresh,
    ) -> (Submitted, Intent) {
        let source = match op {
            StepOp::Clone(_) => Some(self.props().template.clone()),
            _ => None,
        };
        let mut identity = self.identity(target);
        // Who changes hands keeps its UUID, as in a run.
        if let (Some(_), FreshObject::Machine(machine)) = (&step.end.owner, &fresh.object) {
            identity.uuid = machine.uuid;
        }
        let intent = Intent {
            run: self.run.id(),
            action: format!("{}:create", target.key).as_str().into(),
            step: self.step.fetch_add(1, Ordering::SeqCst),
            attempt: 1,
            hypervisor: self.props().hypervisor.clone(),
            target: target.clone(),
            identity: identity.clone(),
            op: op.name().into(),
            source,
            end: step.end.clone(),
            begun_ms: self.clock.now_ms(),
            task: None,
        };
        let durable = self.run.intend(intent, None).await.unwrap();
        let secrets = [InitSecret::Password, InitSecret::JoinPassword, InitSecret::ProductKey]
            .map(|which| (which, SecretString::from(PASSWORD)))
            .into();
        let call = Call {
            step,
            op,
            target,
            identity: &identity,
            plan_id: "0123456789ab",
            fresh,
            marker_key: None,
            secrets: &secrets,
        };
        let before = self.world.mutations();
        let submitted = provider.submit(&call, &durable).await;
        if let Submitted::Done(receipt) = &submitted {
            self.learn(target, receipt.id.as_ref());
        }
        let sent = self.world.mutations() - before;
        assert!(sent <= 1, "`{}` was sent {sent} times", op.name());
        (submitted, durable.intent().clone())
    }

    /// The usual submit: the machine, with the usual provider.
    pub async fn send(&self, step: &Step, fresh: &Fresh) -> (Submitted, Intent) {
        self.submit(&*self.provider, &self.target(), step, &step.op, fresh).await
    }

    /// Reads, sends, waits, and holds the step to its end.
    pub async fn carry_out(&self, target: &Target, step: &Step, op: &StepOp) -> TaskState {
        assert!(!step.end.is_empty(), "`{}` has no end", op.name());
        let fresh = self.provider.read(target).await.unwrap();
        let lines = unmet(&step.begin, &fresh.object);
        assert!(lines.is_empty(), "before `{}`: {lines:?}", op.name());
        let state = match self.submit(&*self.provider, target, step, op, &fresh).await.0 {
            Submitted::Accepted(task) => self.wait(&task).await,
            Submitted::Done(receipt) => TaskState::Done(receipt),
            Submitted::Refused(refusal) => TaskState::Failed(refusal),
            other => panic!("`{}`: {other:?}", op.name()),
        };
        if let TaskState::Done(receipt) = &state {
            self.learn(target, receipt.id.as_ref());
        }
        for word in words(op) {
            self.subject.note(word);
        }
        state
    }

    /// The same for a step of the machine that must succeed; its end must hold then.
    pub async fn must(&self, step: &Step) {
        self.must_at(&self.target(), step).await;
    }

    pub async fn must_at(&self, target: &Target, step: &Step) {
        let name = step.op.name();
        let state = self.carry_out(target, step, &step.op).await;
        assert!(matches!(state, TaskState::Done(_)), "`{name}`: {state:?}\n{:?}", step.op);
        // What is born here has an id from now on.
        let now = match &target.at {
            At::Birth(_) => self.target().at,
            At::Id(_) => target.at.clone(),
        };
        let target = Target { at: now, ..target.clone() };
        self.reaches(&target, step).await;
    }

    /// Waits for the end of a step: a call may be done before its effect is.
    pub async fn reaches(&self, target: &Target, step: &Step) {
        for asked in 0..ASKS {
            let fresh = self.provider.read(target).await.unwrap();
            let lines = unmet(&step.end, &fresh.object);
            let waits = matches!(step.wait, Wait::PowerOff { .. }) || step.op == StepOp::Start;
            let last = asked + 1 == ASKS || !waits;
            assert!(
                !last || lines.is_empty(),
                "after `{}`: {lines:?}\n{:?}",
                step.op.name(),
                step.op
            );
            if lines.is_empty() && self.world.hears(&target.at) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub async fn wait(&self, task: &TaskRef) -> TaskState {
        for _ in 0..ASKS {
            match self.provider.poll(std::slice::from_ref(task)).await.remove(0) {
                TaskState::Queued | TaskState::Running => tokio::time::sleep(PAUSE).await,
                state => return state,
            }
        }
        panic!("the task never ended");
    }

    /// Looks until it is known, as a runner does.
    pub async fn settle(&self, intent: &Intent) -> Located {
        let mut last = None;
        for _ in 0..ASKS {
            match self.provider.locate(intent).await {
                open @ (Located::StillUnknown(_) | Located::Running(_)) => {
                    last = Some(open);
                    tokio::time::sleep(PAUSE).await;
                }
                located => {
                    if let Located::Happened(receipt) = &located {
                        self.learn(&intent.target, receipt.id.as_ref());
                    }
                    return located;
                }
            }
        }
        panic!("it never became known: {last:?}");
    }

    // ---- changes

    pub async fn template(&self) -> ObservedMachine {
        match self.provider.read(&self.props().template).await.unwrap().object {
            FreshObject::Machine(machine) => *machine,
            other => panic!("no template: {other:?}"),
        }
    }

    /// The steps of a build.
    pub async fn build_steps(
        &self,
        machine: &DesiredMachine,
        seen: Option<&ObservedMachine>,
    ) -> Vec<Step> {
        let spec = self.normalized(machine);
        let from_template =
            matches!(machine.birth.as_ref().unwrap().medium, Medium::Template { .. });
        let template = if from_template { Some(self.template().await) } else { None };
        let allotted = self.allotted(&spec);
        let template = template.as_ref();
        self.pool.lock().unwrap().clone_from(&spec.pool);
        // As a plan chooses it: the newest.
        let hangs = self.world.product().capabilities().linked_needs_snapshot;
        let snapshot = template.filter(|_| hangs).and_then(|it| it.snapshots.last());
        let allotted = &allotted;
        let build = Build { machine, spec: &spec, template, snapshot, allotted, seen };
        self.world.product().lower(&Change::Build(build)).unwrap().steps
    }

    pub async fn build(&self, machine: &DesiredMachine) {
        for step in self.build_steps(machine, None).await {
            self.must(&step).await;
        }
    }

    /// A small stopped machine with its marker, as quickly as one can be had whose disk grows.
    pub async fn small(&self) -> DesiredMachine {
        let mut machine = self.desired(self.props().linked_grows);
        machine.spec = MachineSpec {
            name: machine.spec.name.clone(),
            disks: [("boot".into(), DiskSpec::default())].into(),
            nics: [("eth0".into(), machine.spec.nics["eth0"].clone())].into(),
            init: machine.spec.init.clone(),
            ..MachineSpec::default()
        };
        self.build(&machine).await;
        machine
    }

    /// The steps that bring a machine that exists to what is desired.
    pub async fn update_steps(&self, machine: &DesiredMachine, restart: bool) -> Vec<Step> {
        let spec = self.normalized(machine);
        let seen = self.seen().await;
        let product = self.world.product();
        let marker = seen.marker.found().unwrap();
        let found = novahost::diff::compare(machine, &spec, &seen, marker, product);
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        let allotted = self.allotted(&spec);
        let fields = &found.fields;
        let update =
            Update { machine, spec: &spec, seen: &seen, fields, allotted: &allotted, restart };
        product.lower(&Change::Update(update)).unwrap().steps
    }

    pub async fn update(&self, machine: &DesiredMachine) {
        let steps = self.update_steps(machine, false).await;
        assert!(!steps.is_empty(), "nothing differs");
        for step in steps {
            self.must(&step).await;
        }
        let rest = self.update_steps(machine, false).await;
        assert!(rest.is_empty(), "it still differs: {rest:?}");
    }

    pub fn lower(&self, change: &Change<'_>) -> Vec<Step> {
        self.world.product().lower(change).unwrap().steps
    }

    /// Every declared field reads back as it was asked for.
    pub fn assert_as_declared(&self, machine: &DesiredMachine, seen: &ObservedMachine) {
        let spec = self.normalized(machine);
        let unreadable = &self.world.product().capabilities().unreadable;
        let mut wrong = Vec::new();
        spec.visit(|path, wanted| {
            let found = seen.settled().get(&path);
            if !unreadable.contains(&path.kind) && found.as_ref() != Some(&wanted) {
                wrong.push(format!("{path}: {wanted:?} reads back as {found:?}"));
            }
        });
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

pub fn key() -> ResourceKey {
    ResourceKey::vm("web-7")
}

/// A pool of ours.
pub fn pool() -> Target {
    Target::with_id(ResourceKey::pool("team"), "team", None)
}

pub fn place() -> Place {
    Place { file: "infra.yaml".into(), line: 1, column: 1 }
}

pub fn secret(version: u32) -> SecretRef {
    SecretRef { source: SecretSource::Secret("guest".into()), version }
}

/// A step with nothing but a call and an end.
pub fn bare(op: StepOp, end: Expect) -> Step {
    Step {
        op,
        begin: Expect::default(),
        end,
        wait: Wait::Task,
        otherwise: None,
        learns: BTreeSet::new(),
        guarded: true,
    }
}

impl Lab {
    /// The refusal of a call, at once or by its task. A task that fails in words alone has to
    /// say one of these words.
    pub async fn refusal(&self, submitted: Submitted, words: &str) -> Refusal {
        match submitted {
            Submitted::Refused(refusal) => refusal,
            Submitted::Accepted(task) => match self.wait(&task).await {
                TaskState::Failed(refusal) if self.has(Need::TypedFailures) => refusal,
                TaskState::Failed(refusal) => {
                    assert!(refusal.text.contains(words), "{refusal:?}");
                    refusal
                }
                other => panic!("not refused: {other:?}"),
            },
            other => panic!("not refused: {other:?}"),
        }
    }
}

pub fn refused(submitted: Submitted) -> RefusalKind {
    match submitted {
        Submitted::Refused(Refusal { kind, .. }) => kind,
        other => panic!("not refused: {other:?}"),
    }
}

pub fn absent() -> Fresh {
    Fresh { object: FreshObject::Absent, version: None, raw: serde_json::Value::Null }
}

/// What of an expectation does not hold. A second reading of what `apply` judges by.
pub fn unmet(expect: &Expect, object: &FreshObject) -> Vec<String> {
    let mut lines = Vec::new();
    let mut hold = |what: String, holds: bool| {
        if !holds {
            lines.push(what);
        }
    };
    match object {
        FreshObject::Machine(machine) => {
            hold("exists".into(), expect.exists != Some(false));
            let (wanted, found) = (expect.power, machine.power);
            hold(format!("{wanted:?}, is {found:?}"), wanted.is_none_or(|it| it == found));
            let stage = machine.marker.found().map(|marker| marker.stage);
            hold(
                format!("{:?}, is {stage:?}", expect.stage),
                expect.stage.is_none() || expect.stage == stage,
            );
            let spec = if expect.in_force { &machine.spec } else { machine.settled() };
            for (path, wanted) in &expect.fields {
                let found = match path.kind {
                    FieldKind::LabelValues => machine.label_values(path),
                    _ => spec.get(path),
                };
                let holds = path.kind.is_reached(wanted.as_ref(), found.as_ref());
                hold(format!("{path} = {wanted:?}, is {found:?}"), holds);
            }
            let waits = machine.setup_waits;
            hold(
                format!("setup {:?}", expect.setup_waits),
                expect.setup_waits.is_none_or(|it| it == waits),
            );
            if let Some(owner) = &expect.owner {
                let marker = machine.marker.found();
                let holds = match owner {
                    Owner::Nobody => machine.marker == MarkerState::None,
                    Owner::Entry(key) => marker.is_some_and(|it| {
                        it.key == *key
                            && it.id.as_ref() == Some(&machine.id)
                            && it.uuid == machine.uuid
                    }),
                };
                hold(format!("{owner:?}, is {marker:?}"), holds);
            }
            for name in &expect.snapshots {
                let found = machine.snapshots.iter().any(|it| it.name == *name);
                hold(format!("snapshot `{name}`"), found);
            }
            for id in &expect.no_snapshots {
                let found = machine.snapshots.iter().any(|it| it.id == *id);
                hold(format!("no snapshot `{id}`"), !found);
            }
            for (slot, wanted) in &expect.slots {
                let found = machine.device(slot.as_str()).is_some();
                hold(format!("{slot}: {wanted}, is {found}"), found == *wanted);
            }
        }
        FreshObject::Pool(pool) => {
            hold("exists".into(), expect.exists != Some(false));
            for (path, wanted) in &expect.fields {
                let found = Some(Value::Text(pool.comment.clone()));
                hold(format!("{path} = {wanted:?}, is {found:?}"), found == *wanted);
            }
            for (part, wanted) in &expect.parts {
                let found = pool.part(part);
                hold(format!("{part}: {wanted:?}, is {found:?}"), found.meets(*wanted));
            }
            for role in &expect.roles {
                let found = pool.access.roles.get(role);
                hold(format!("{role}, is {found:?}"), found == Some(&RoleSeen::Whole));
            }
            for end in &expect.grants {
                let found = pool.parts.get(&end.part).map(|it| &it.grants);
                let holds = found.is_some_and(|it| end.holds(it));
                hold(format!("{end:?}, is {found:?}"), holds);
            }
        }
        FreshObject::Spread(spread) => {
            hold("exists".into(), expect.exists != Some(false));
            for (path, wanted) in &expect.fields {
                let found = spread.value(path);
                hold(format!("{path} = {wanted:?}, is {found:?}"), found == *wanted);
            }
        }
        FreshObject::Absent => hold("does not exist".into(), expect.exists != Some(true)),
        FreshObject::Unreadable(why) => hold(format!("unreadable: {why}"), false),
    }
    lines
}

/// The words of the vocabulary that a call is made of.
fn words(op: &StepOp) -> Vec<String> {
    let settings = match op {
        StepOp::Configure(settings) => settings.as_slice(),
        StepOp::Create(birth) => &birth.settings,
        StepOp::Clone(from) => {
            return vec![format!("clone, {}", if from.linked { "linked" } else { "full" })];
        }
        StepOp::SetPool { pool } => {
            return vec![format!("set-pool, {}", if pool.is_some() { "one" } else { "none" })];
        }
        StepOp::TakeSnapshot(take) => {
            let whose = if take.before_change { "own" } else { "by hand" };
            return vec![format!("take-snapshot, {whose}")];
        }
        StepOp::GrowDisk { .. }
        | StepOp::DefineLabel { .. }
        | StepOp::DefineLabelValue { .. }
        | StepOp::SetLabel { .. }
        | StepOp::ClearLabel { .. }
        | StepOp::MoveDisks(_)
        | StepOp::UpgradeHardware { .. }
        | StepOp::Customize(_)
        | StepOp::Start
        | StepOp::Shutdown
        | StepOp::Stop
        | StepOp::RemoveSnapshot { .. }
        | StepOp::Delete
        | StepOp::CreatePool { .. }
        | StepOp::SetComment { .. }
        | StepOp::DeletePool
        | StepOp::MarkPart { .. }
        | StepOp::RemovePart { .. }
        | StepOp::MakeRole { .. }
        | StepOp::Grant { .. }
        | StepOp::Revoke { .. }
        | StepOp::CreateSpread { .. }
        | StepOp::SetSpread { .. }
        | StepOp::DeleteSpread => &[],
        StepOp::MakePart { part } => return vec![format!("make-part, {}", part.kind.as_str())],
    };
    let settings = settings.iter().map(|setting| format!("setting {}", setting_word(setting)));
    settings.chain([op.name().to_owned()]).collect()
}

fn setting_word(setting: &Setting) -> &'static str {
    match setting {
        Setting::Name(_) => "name",
        Setting::Cpu { .. } => "cpu",
        Setting::Memory(_) => "memory",
        Setting::Firmware { .. } => "firmware",
        Setting::Tpm { .. } => "tpm",
        Setting::HardwareVersion(_) => "hardware-version",
        Setting::Extra { .. } => "extra",
        Setting::Boot { .. } => "boot",
        Setting::Cdrom { .. } => "cdrom",
        Setting::Autostart(_) => "autostart",
        Setting::Protect(_) => "protect",
        Setting::Tags(_) => "tags",
        Setting::Notes(_) => "notes",
        Setting::AttachDisk { .. } => "attach-disk",
        Setting::DiskSize { .. } => "disk-size",
        Setting::DetachDisk { delete: None, .. } => "detach-disk",
        Setting::DetachDisk { delete: Some(_), .. } => "delete-disk",
        Setting::SetNic(_) => "set-nic",
        Setting::RemoveNic { .. } => "remove-nic",
        Setting::Seed(_) => "seed",
        Setting::MachineUuid => "machine-uuid",
        Setting::Marker(_) => "marker",
        Setting::Unmark => "unmark",
    }
}

/// Every word; `words` and `setting_word` are exhaustive, so a new one is noticed there.
pub fn vocabulary() -> BTreeSet<String> {
    let ops = [
        "clone, linked",
        "clone, full",
        "create",
        "configure",
        "grow-disk",
        "move-disks",
        "upgrade-hardware",
        "customize",
        "set-pool, one",
        "set-pool, none",
        "define-label",
        "define-label-value",
        "set-label",
        "clear-label",
        "start",
        "shutdown",
        "stop",
        "take-snapshot, own",
        "take-snapshot, by hand",
        "remove-snapshot",
        "delete",
        "create-pool",
        "set-comment",
        "delete-pool",
        "make-part, mark",
        "make-part, group-above",
        "make-part, group",
        "make-part, share-above",
        "make-part, share",
        "mark-part",
        "remove-part",
        "make-role",
        "grant",
        "revoke",
        "create-spread",
        "set-spread",
        "delete-spread",
    ];
    let settings = [
        "name",
        "cpu",
        "memory",
        "firmware",
        "tpm",
        "hardware-version",
        "extra",
        "boot",
        "cdrom",
        "autostart",
        "protect",
        "tags",
        "notes",
        "attach-disk",
        "disk-size",
        "detach-disk",
        "delete-disk",
        "set-nic",
        "remove-nic",
        "seed",
        "machine-uuid",
        "marker",
        "unmark",
    ];
    let settings = settings.iter().map(|word| format!("setting {word}"));
    ops.iter().map(|word| (*word).to_owned()).chain(settings).collect()
}

/// An expectation about the comment of a pool.
pub fn comment(text: &str) -> Expect {
    let path = novahost::model::FieldPath::of(FieldKind::Comment);
    let fields: BTreeMap<_, _> = [(path, Some(Value::Text(text.to_owned())))].into();
    Expect { exists: Some(true), fields, ..Expect::default() }
}

//! A simulated cluster with the product's whole road before it, an oracle beside it, and
//! faults between them.

use crate::oracle::{Oracle, Rules};
use mock_servers::{
    harness::{FaultPlan, Fired, FiredLog},
    pve::{self, Control, Fault, Options, Release, Server, Switches, Timing, World},
};
use novahost::{
    apply::{self, Ended, ExitClass, Inputs, Limits, RunSummary, Stop},
    clock::Clock,
    config, inventory,
    model::{
        Allowance, Consent, Coverage, DesiredState, HypervisorConfig, HypervisorName, Inventory,
        Product, Verb,
    },
    provider::{
        Provider,
        proxmox::{Auth, Proxmox, ProxmoxProvider, Settings},
        tls::TlsTrust,
    },
    reconcile::{self, Known, Reconciled},
    report,
    sandbox::TOKEN_SECRET,
    store::{NewRun, Store, Who},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

/// The cluster of every campaign.
const WORLD: &str = include_str!("world.yaml");
/// What every configuration of a campaign begins with.
const COMMON: &str = include_str!("common.yaml");
/// The project of the runners.
pub const PROJECT: &str = "campaign";
/// The account with a password: it has sessions that can end.
pub const USER: &str = "runner@pve";
/// What the tokens of the others begin with; their number follows.
const TOKENS: &str = "novahost@pve!r";
/// Its password.
pub const PASSWORD: &str = "c0rrect-h0rse-battery";
/// What the guests' own password resolves to.
pub const GUEST_PASSWORD: &str = "guest-S3CRET-word";
/// So many seconds of the product's patience take one.
const SPEED: u32 = 20;
/// A request is given up after this; faults that hang last longer.
pub const TIMEOUT: Duration = Duration::from_millis(2000);
/// After this a call whose reply was lost may be called proved not to have happened. The
/// simulator has no proxy in which it could linger.
const SETTLE: Duration = Duration::from_millis(60);

static PROXMOX: Proxmox = Proxmox;

/// One cluster under observation.
pub struct Lab {
    server: Server,
    /// The operator's hand.
    pub control: Control,
    /// What judges.
    pub oracle: Oracle,
    armed: Arc<AtomicBool>,
    fired: Mutex<Option<FiredLog>>,
    folder: TempDir,
}

/// Somebody who applies, with a journal of his own.
pub struct Runner {
    pub store: Store,
    path: PathBuf,
    clock: Clock,
    account: Account,
    seed: u64,
    writes: usize,
}

/// A cluster as it was, with the journal of whoever made it so.
pub struct Prepared {
    seed: u64,
    world: World,
    journal: PathBuf,
    /// What should not have happened on the way there.
    pub wrong: Vec<String>,
    _folder: TempDir,
}

/// How somebody logs in.
enum Account {
    Token(String),
    Password,
}

/// What one apply came to.
pub struct Applied {
    pub exit: ExitClass,
    /// What ran; none where nothing was begun.
    pub summary: Option<RunSummary>,
    /// What blocks, in words.
    pub words: Vec<String>,
    /// Codes that refuse the run.
    pub refused: Vec<String>,
}

/// What is still to be done, as the product sees it.
pub struct Rest {
    /// Ids of actions.
    pub actions: Vec<String>,
    /// The same, by key.
    pub keys: BTreeSet<String>,
    /// Codes that block, by key.
    pub blocked: BTreeMap<String, String>,
    /// Whether everything could be seen.
    pub complete: bool,
    /// What blocks, in words.
    pub words: Vec<String>,
}

/// A world with a certificate, which is slow to make and the same for all.
async fn first_world() -> World {
    static FIRST: OnceCell<World> = OnceCell::const_new();
    let made = FIRST.get_or_init(|| async {
        let world = World::from_yaml(WORLD).unwrap();
        let server = pve::serve(world, Options::new(Release::V9_2, 1)).await.unwrap();
        let world = server.control().snapshot();
        server.stop().await;
        world
    });
    made.await.clone()
}

impl Lab {
    /// A fresh cluster. The seed decides its release, and which reading of the points that
    /// the sources leave open it plays.
    pub async fn start(seed: u64) -> Self {
        Self::with_world(seed, first_world().await).await
    }

    /// A cluster that is as another one was.
    pub async fn resume(prepared: &Prepared) -> Self {
        Self::with_world(prepared.seed, prepared.world.clone()).await
    }

    /// Somebody with the journal of that other cluster.
    pub async fn resumed_runner(&self, prepared: &Prepared, password: bool) -> Runner {
        std::fs::copy(&prepared.journal, self.folder.path().join("0.db")).unwrap();
        let runner = if password {
            self.runner_with_password(prepared.seed).await
        } else {
            self.runner(0, prepared.seed).await
        };
        runner.one_at_a_time()
    }

    /// Ends the cluster and keeps what it was.
    pub async fn keep(self, runner: Runner, wrong: Vec<String>) -> Prepared {
        let Self { server, control, folder, .. } = self;
        let (seed, journal) = (runner.seed, folder.path().join("kept.db"));
        // As one snapshot: the store's threads end when they like, and fold the log into the file
        // as they do.
        let conn = rusqlite::Connection::open(&runner.path).unwrap();
        conn.execute("VACUUM INTO ?1", [journal.to_str()]).unwrap();
        drop(runner.store);
        self.oracle.closes_journals();
        let world = control.snapshot();
        server.stop().await;
        Prepared { seed, world, journal, wrong, _folder: folder }
    }

    async fn with_world(seed: u64, world: World) -> Self {
        let release = if seed.is_multiple_of(3) { Release::V8_4 } else { Release::V9_2 };
        let mut options = Options::new(release, seed);
        options.timing = Timing::instant();
        if seed.is_multiple_of(2) {
            options.switches = Switches::flipped();
        }
        let server = pve::serve(world, options).await.unwrap();
        let control = server.control();
        let secrets = [TOKEN_SECRET, PASSWORD, GUEST_PASSWORD].map(str::to_owned).to_vec();
        let rules = Rules { project: PROJECT.to_owned(), secrets, ..Rules::default() };
        let oracle = Oracle::new(rules, control.objects());
        let (watcher, witness) = (oracle.clone(), oracle.clone());
        control.watch(Box::new(move |effect| watcher.happened(effect)));
        let answers = oracle.clone();
        control.answers(Box::new(move |n, status| answers.answered(n, status)));
        control.witness(Box::new(move |arrival| witness.arrived(arrival)));
        Self {
            server,
            control,
            oracle,
            armed: Arc::default(),
            fired: Mutex::default(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Somebody new: with a token of his own, by his number.
    pub async fn runner(&self, number: usize, seed: u64) -> Runner {
        self.somebody(number, seed, Account::Token(format!("{TOKENS}{number}"))).await
    }

    /// Somebody with a password, and so with a session that can end.
    pub async fn runner_with_password(&self, seed: u64) -> Runner {
        self.somebody(0, seed, Account::Password).await
    }

    async fn somebody(&self, number: usize, seed: u64, account: Account) -> Runner {
        let path = self.folder.path().join(format!("{number}.db"));
        let store = Store::open(&path).await.unwrap();
        let who = match &account {
            Account::Token(id) => id,
            Account::Password => USER,
        };
        self.oracle.reads_journal(who, &path);
        let clock = Clock::time_lapse(SPEED);
        Runner { store, path, clock, account, seed, writes: 4 }
    }

    /// Faults, from the next [`Lab::arm`] on.
    pub fn plant(&self, mut plan: FaultPlan<Fault>) {
        *self.fired.lock().unwrap() = Some(plan.log());
        let armed = Arc::clone(&self.armed);
        self.control.set_fault(Box::new(move |point| {
            // What is asked while no fault is armed is not counted either, so that a look
            // between two runs does not change what strikes in the second.
            armed.load(Ordering::SeqCst).then(|| plan.decide(&point.arrival)).flatten()
        }));
    }

    /// Whether faults strike.
    pub fn arm(&self, on: bool) {
        self.armed.store(on, Ordering::SeqCst);
    }

    /// What struck so far.
    pub fn fired(&self) -> Vec<Fired> {
        self.fired.lock().unwrap().as_ref().map(FiredLog::all).unwrap_or_default()
    }

    /// Everything that the operator or a fault has broken for a while is whole again.
    pub fn heal(&self) {
        self.arm(false);
        self.control.certificate(false);
        self.control.edit(|world| {
            world.datacenter.quorate = true;
            for node in world.nodes.values_mut() {
                (node.online, node.lost_ms) = (true, 0);
            }
            world.access.acl.retain(|row| row.role != "NoAccess");
            // A killed worker leaves its lock; a person takes it away (`qm unlock`).
            for guest in world.guests.values_mut() {
                guest.config.remove("lock");
            }
        });
    }

    async fn provider(
        &self,
        runner: &Runner,
        desired: &DesiredState,
    ) -> BTreeMap<HypervisorName, Arc<dyn Provider>> {
        let provider = |(name, config): (&HypervisorName, &HypervisorConfig)| {
            let HypervisorConfig::Proxmox(config) = config else {
                panic!("{name} is of a product that is not simulated here");
            };
            let auth = match &runner.account {
                Account::Password => {
                    Auth::Password { username: USER.into(), password: PASSWORD.into() }
                }
                Account::Token(id) => Auth::Token { id: id.clone(), secret: TOKEN_SECRET.into() },
            };
            let settings = Settings {
                name: name.clone(),
                project: Some(desired.project.clone()),
                endpoints: vec![self.server.endpoint().parse().unwrap()],
                allowed_hosts: BTreeSet::new(),
                auth,
                tls: TlsTrust::Ca(self.server.ca_pem().into()),
                vmid_range: config.vmid_range,
                reads_max: config.reads_max,
                writes_max: config.writes_max,
                expected_identity: None,
                settle: SETTLE,
            };
            let made = ProxmoxProvider::with_timeout(settings, runner.clock.clone(), Some(TIMEOUT));
            (name.clone(), Arc::new(made.unwrap()) as Arc<dyn Provider>)
        };
        desired.hypervisors.iter().map(provider).collect()
    }

    /// Reads, plans, judges under full consent, and carries out.
    pub async fn apply(&self, runner: &Runner, yaml: &str) -> Applied {
        self.apply_with(runner, yaml, true).await
    }

    /// The same, under full consent or under a mere yes.
    pub async fn apply_with(&self, runner: &Runner, yaml: &str, full: bool) -> Applied {
        self.allow(yaml);
        self.oracle.rules(|rules| rules.consent |= full);
        let desired = desired(yaml);
        let history = runner.store.history(&desired.project).await.unwrap();
        let providers = self.provider(runner, &desired).await;
        let scopes = inventory::scopes(&desired, &history);
        let (there, struck) = (self.oracle.keys(), self.fired().len());
        let inventory = inventory::collect(&providers, &scopes, &runner.clock).await;
        let products = products(&desired);
        let known = Known {
            desired: &desired,
            inventory: &inventory,
            history: &history,
            products: &products,
            marker_key: None,
        };
        let mut made = reconcile::reconcile(known, &[], &Consent::default()).unwrap();
        let again = reconcile::reconcile(known, &[], &Consent::default()).unwrap();
        if again.plan.plan_id != made.plan.plan_id {
            self.oracle.blame("the same inputs gave two plans");
        }
        // A list that is older than the machine is the simulator's lie alone.
        if self.fired()[struck..].iter().all(|it| it.rule != "stale-list") {
            self.believes_no_absence(&made, &there);
        }
        let yes = Consent { yes: true, ..Consent::default() };
        let consent = if full { everything(&desired, &made) } else { yes };
        reconcile::judge(known, &mut made, &consent);
        let coverage = coverage(&inventory);
        let blocked = blocked(&made);
        let mut words: Vec<String> =
            made.plan.body.blocked.iter().map(|it| it.message.clone()).collect();
        words.extend(inventory.hypervisors.values().map(|it| format!("{:?}", it.coverage)));
        let refused: Vec<String> =
            made.verdict.refusals.iter().map(|it| it.code.to_string()).collect();
        self.oracle.overhears("a plan", report::plan_json(&made.plan).as_bytes());
        if !refused.is_empty() || made.verdict.runnable.is_empty() {
            let mut exit = coverage.unwrap_or(ExitClass::Ok);
            if !refused.is_empty() || (!blocked.is_empty() && coverage.is_none()) {
                exit = exit.min(ExitClass::Refused);
            }
            return Applied { exit, summary: None, words, refused };
        }
        let summary = self.carry_out(runner, &desired, inventory, providers, made).await;
        self.oracle.overhears("a summary", format!("{summary:?}").as_bytes());
        let mut exit = apply::exit_class(&summary);
        if let Some(coverage) = coverage {
            exit = exit.min(coverage);
        }
        Applied { exit, summary: Some(summary), words, refused }
    }

    /// What is there, and was there before anybody looked, is not planned to be made.
    fn believes_no_absence(&self, made: &Reconciled, before: &BTreeSet<String>) {
        let now = self.oracle.keys();
        let creates = made.plan.body.actions.iter().filter(|it| it.verb == Verb::Create);
        for action in creates {
            let key = action.key.to_string();
            let goes = made
                .plan
                .body
                .actions
                .iter()
                .any(|it| it.key == action.key && it.verb == Verb::Replace);
            if before.contains(&key) && now.contains(&key) && !goes {
                self.oracle.blame(format!("{key} is there, and planned to be made"));
            }
        }
    }

    async fn carry_out(
        &self,
        runner: &Runner,
        desired: &DesiredState,
        inventory: Inventory,
        providers: BTreeMap<HypervisorName, Arc<dyn Provider>>,
        made: Reconciled,
    ) -> RunSummary {
        let actions = made.plan.body.actions.iter();
        let run = NewRun {
            id: Uuid::now_v7(),
            project: desired.project.clone(),
            plan_id: made.plan.plan_id.clone(),
            plan_json: report::plan_json(&made.plan),
            kind: "apply".into(),
            who: Who { user: "campaign".into(), host: "campaign".into(), ..Who::default() },
            started_ms: runner.clock.now_ms(),
            actions: actions
                .map(|it| (it.id.clone(), it.key.clone(), it.hypervisor.clone(), it.verb))
                .collect(),
        };
        let run = runner.store.begin_run(run).await.unwrap();
        let (events, _) = tokio::sync::mpsc::channel(1);
        let products = products(desired);
        let unreadable = products
            .iter()
            .map(|(name, it)| (name.clone(), it.capabilities().unreadable.clone()))
            .collect();
        let blocked_in_plan = made.plan.body.blocked.len() + made.verdict.forbidden.len();
        let writes = desired.hypervisors.keys().map(|it| (it.clone(), runner.writes)).collect();
        let mut summary = apply::run(Inputs {
            plan: Arc::new(made.plan),
            runnable: made.verdict.runnable,
            inventory: Arc::new(inventory),
            providers,
            unreadable,
            journal: Arc::new(run),
            marker_key: None,
            secrets: Arc::new(|_| Ok(GUEST_PASSWORD.to_owned().into())),
            clock: runner.clock.clone(),
            limits: Limits {
                run: runner.writes,
                writes,
                busy: Duration::from_secs(20),
                task: Duration::from_secs(120),
                lookup: Duration::from_secs(20),
                drain: Duration::from_secs(10),
                ..Limits::default()
            },
            stop: Stop::default(),
            events,
            jitter_seed: runner.seed,
        })
        .await;
        summary.blocked_in_plan =
            summary.blocked_in_plan.max(u32::try_from(blocked_in_plan).unwrap_or(0));
        summary
    }

    /// What is left to do, seen without faults.
    pub async fn rest(&self, runner: &Runner, yaml: &str) -> Rest {
        let armed = self.armed.swap(false, Ordering::SeqCst);
        let desired = desired(yaml);
        let history = runner.store.history(&desired.project).await.unwrap();
        let providers = self.provider(runner, &desired).await;
        let scopes = inventory::scopes(&desired, &history);
        let inventory = inventory::collect(&providers, &scopes, &runner.clock).await;
        let products = products(&desired);
        let known = Known {
            desired: &desired,
            inventory: &inventory,
            history: &history,
            products: &products,
            marker_key: None,
        };
        let made = reconcile::reconcile(known, &[], &Consent::default()).unwrap();
        self.armed.store(armed, Ordering::SeqCst);
        let actions = &made.plan.body.actions;
        Rest {
            actions: actions.iter().map(|it| it.id.to_string()).collect(),
            keys: actions.iter().map(|it| it.key.to_string()).collect(),
            blocked: blocked(&made),
            complete: coverage(&inventory).is_none(),
            words: made.plan.body.blocked.iter().map(|it| it.message.clone()).collect(),
        }
    }

    /// Tells the oracle what this configuration lets anybody do.
    fn allow(&self, yaml: &str) {
        let desired = desired(yaml);
        self.oracle.rules(|rules| {
            for (key, machine) in &desired.machines {
                if machine.spec.init.is_some() {
                    rules.seeded.insert(key.to_string());
                } else {
                    rules.seeded.remove(&key.to_string());
                }
            }
        });
    }

    /// What may be deleted from now on.
    pub fn may_delete(&self, keys: impl IntoIterator<Item = String>) {
        self.oracle.rules(|rules| rules.may_delete = keys.into_iter().collect());
    }

    /// Looks for secrets in what is kept, and ends the cluster.
    pub async fn stop(self, runners: Vec<Runner>) {
        for runner in runners {
            drop(runner.store);
            for ending in ["", "-wal"] {
                let path = format!("{}{ending}", runner.path.display());
                if let Ok(bytes) = std::fs::read(path) {
                    self.oracle.overhears("the journal", &bytes);
                }
            }
        }
        self.server.stop().await;
    }
}

impl Runner {
    /// One action at a time: the same seed then meets the same faults in the same order.
    pub fn one_at_a_time(self) -> Self {
        Self { writes: 1, ..self }
    }
}

/// A configuration, with what every one begins with.
pub fn desired(text: &str) -> DesiredState {
    let first = format!("version: 1\nproject: {PROJECT}\ninclude: [common.yaml]\n{text}");
    let files =
        [("novahost.yaml".to_owned(), first), ("common.yaml".to_owned(), COMMON.to_owned())].into();
    let loaded = config::load_str(&files, "novahost.yaml");
    let problems: Vec<String> = loaded.report.iter().map(|it| format!("{it:?}")).collect();
    loaded.desired.unwrap_or_else(|| panic!("{problems:#?}\n{text}"))
}

fn products(desired: &DesiredState) -> BTreeMap<HypervisorName, &'static dyn Product> {
    let one = |name: &HypervisorName| (name.clone(), &PROXMOX as &'static dyn Product);
    desired.hypervisors.keys().map(one).collect()
}

/// Everything that a person could allow.
fn everything(desired: &DesiredState, made: &Reconciled) -> Consent {
    let keys = desired.machines.keys().chain(made.ownership.owned.keys());
    Consent {
        yes: true,
        allow: Allowance::ALL.into_iter().map(|it| (it, None)).collect(),
        confirm: keys.cloned().collect(),
        expect_shrink: Some(1000),
    }
}

fn blocked(made: &Reconciled) -> BTreeMap<String, String> {
    let body = made.plan.body.blocked.iter().map(|it| (it.key.to_string(), it.code.to_string()));
    let forbidden = made.verdict.forbidden.iter().filter_map(|(id, it)| {
        let action = made.plan.body.actions.iter().find(|action| action.id == *id)?;
        Some((action.key.to_string(), it.code.to_string()))
    });
    body.chain(forbidden).collect()
}

/// The exit code of what could not be seen.
fn coverage(inventory: &Inventory) -> Option<ExitClass> {
    let classes = inventory.hypervisors.values().filter_map(|seen| match &seen.coverage {
        Coverage::Complete | Coverage::Scoped { .. } => None,
        Coverage::Incomplete { .. } | Coverage::Failed { .. } => Some(ExitClass::Incomplete),
    });
    classes.min()
}

/// Whether an action says that it was carried out.
pub fn is_done(ended: &Ended) -> bool {
    matches!(ended, Ended::Done)
}

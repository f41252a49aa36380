//! A simulated cluster with the product's whole road before it, an oracle beside it, and
//! faults between them.

use crate::{
    oracle::{self, Oracle, Rules},
    stage::{Fault, Product, Stage, World},
};
use mock_servers::harness::{FaultPlan, Fired, FiredLog};
use novahost::{
    apply::{self, Ended, ExitClass, Inputs, Limits, RunSummary, Stop},
    clock::Clock,
    config, inventory,
    model::{
        Allowance, Consent, Coverage, DesiredState, HypervisorConfig, HypervisorName, Inventory,
        NativeId, PoolBinding, Product as Rulebook, ProxmoxConfig, VcenterConfig, Verb,
    },
    provider::{
        Provider,
        endpoint::Endpoint,
        proxmox::{self, Auth, Proxmox, ProxmoxProvider},
        tls::TlsTrust,
        vcenter::{self, PoolPlace, Vcenter, VcenterProvider},
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
use uuid::Uuid;

/// The project of the runners.
pub const PROJECT: &str = "campaign";
/// The account with a password: it has sessions that can end.
pub const USER: &str = "runner@pve";
/// What the tokens of the others begin with; their number follows.
const TOKENS: &str = "novahost@pve!r";
/// Its password, and that of every account of a vCenter.
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
static VCENTER: Vcenter = Vcenter;

/// One cluster under observation.
pub struct Lab {
    /// The simulator, and the operator's hand in it.
    pub stage: Stage,
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
    /// One of a vCenter, by its number.
    Numbered(usize),
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

impl Lab {
    /// A fresh cluster. The seed decides its release, and which reading of the points that
    /// the sources leave open it plays.
    pub async fn start(product: Product, seed: u64) -> Self {
        Self::with_world(seed, product.first_world().await).await
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
        let Self { stage, folder, oracle, .. } = self;
        let (seed, journal) = (runner.seed, folder.path().join("kept.db"));
        // As one snapshot: the store's threads end when they like, and fold the log into the file
        // as they do.
        let conn = rusqlite::Connection::open(&runner.path).unwrap();
        conn.execute("VACUUM INTO ?1", [journal.to_str()]).unwrap();
        drop(runner.store);
        oracle.closes_journals();
        let world = stage.world();
        stage.stop().await;
        Prepared { seed, world, journal, wrong, _folder: folder }
    }

    async fn with_world(seed: u64, world: World) -> Self {
        let stage = Stage::start(world, seed).await;
        let secrets = [TOKEN_SECRET, PASSWORD, GUEST_PASSWORD].map(str::to_owned).to_vec();
        let rules = Rules { project: PROJECT.to_owned(), secrets, ..Rules::default() };
        let oracle = Oracle::new(rules, stage.objects());
        let (watcher, witness, answers) = (oracle.clone(), oracle.clone(), oracle.clone());
        stage.tells(
            Box::new(move |effect| watcher.happened(effect)),
            Box::new(move |arrival| witness.arrived(arrival)),
            Box::new(move |n, status| answers.answered(n, status)),
        );
        Self {
            stage,
            oracle,
            armed: Arc::default(),
            fired: Mutex::default(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Somebody new: with a token of his own, by his number.
    pub async fn runner(&self, number: usize, seed: u64) -> Runner {
        let account = match self.stage.product() {
            Product::Pve => Account::Token(format!("{TOKENS}{number}")),
            Product::Vcenter => Account::Numbered(number),
        };
        self.somebody(number, seed, account).await
    }

    /// Somebody with a password, and so with a session that can end.
    pub async fn runner_with_password(&self, seed: u64) -> Runner {
        match self.stage.product() {
            Product::Pve => self.somebody(0, seed, Account::Password).await,
            // There everybody has one.
            Product::Vcenter => self.runner(0, seed).await,
        }
    }

    async fn somebody(&self, number: usize, seed: u64, account: Account) -> Runner {
        let path = self.folder.path().join(format!("{number}.db"));
        let store = Store::open(&path).await.unwrap();
        let who = match &account {
            Account::Token(id) => id.clone(),
            Account::Password => USER.to_owned(),
            Account::Numbered(number) => format!("VSPHERE.LOCAL\\r{number}"),
        };
        self.oracle.reads_journal(&who, &path);
        let clock = Clock::time_lapse(SPEED);
        Runner { store, path, clock, account, seed, writes: 4 }
    }

    /// Faults, from the next [`Lab::arm`] on.
    pub fn plant(&self, plan: FaultPlan<Fault>) {
        *self.fired.lock().unwrap() = Some(plan.log());
        self.stage.plant(plan, Arc::clone(&self.armed));
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
        self.stage.heal();
    }

    async fn provider(
        &self,
        runner: &Runner,
        desired: &DesiredState,
    ) -> BTreeMap<HypervisorName, Arc<dyn Provider>> {
        let provider = |(name, config): (&HypervisorName, &HypervisorConfig)| {
            let made: Arc<dyn Provider> = match config {
                HypervisorConfig::Proxmox(config) => {
                    Arc::new(self.proxmox(runner, desired, name, config))
                }
                HypervisorConfig::Vcenter(config) => {
                    Arc::new(self.vcenter(runner, desired, name, config))
                }
            };
            (name.clone(), made)
        };
        desired.hypervisors.iter().map(provider).collect()
    }

    fn proxmox(
        &self,
        runner: &Runner,
        desired: &DesiredState,
        name: &HypervisorName,
        config: &ProxmoxConfig,
    ) -> ProxmoxProvider {
        let auth = match &runner.account {
            Account::Password => {
                Auth::Password { username: USER.into(), password: PASSWORD.into() }
            }
            Account::Token(id) => Auth::Token { id: id.clone(), secret: TOKEN_SECRET.into() },
            Account::Numbered(_) => panic!("this account is of a vCenter"),
        };
        let settings = proxmox::Settings {
            name: name.clone(),
            project: Some(desired.project.clone()),
            endpoints: vec![Endpoint::parse(&self.stage.endpoint(), proxmox::PORT).unwrap()],
            allowed_hosts: BTreeSet::new(),
            auth,
            tls: TlsTrust::Ca(self.stage.ca_pem().into()),
            vmid_range: config.vmid_range,
            reads_max: config.reads_max,
            writes_max: config.writes_max,
            expected_identity: None,
            settle: SETTLE,
        };
        ProxmoxProvider::with_timeout(settings, runner.clock.clone(), Some(TIMEOUT)).unwrap()
    }

    fn vcenter(
        &self,
        runner: &Runner,
        desired: &DesiredState,
        name: &HypervisorName,
        config: &VcenterConfig,
    ) -> VcenterProvider {
        let Account::Numbered(number) = &runner.account else {
            panic!("this account is of another product");
        };
        let place = |pool: &PoolBinding| match pool {
            PoolBinding::Vcenter { folder, resource_pool } => PoolPlace {
                folder: folder.clone(),
                resource_pool: resource_pool.clone(),
                grantees: BTreeSet::new(),
            },
            PoolBinding::Named => PoolPlace::default(),
        };
        let pools = desired.pools.iter();
        let settings = vcenter::Settings {
            name: name.clone(),
            project: Some(desired.project.clone()),
            endpoint: Endpoint::parse(&self.stage.endpoint(), vcenter::PORT).unwrap(),
            allowed_hosts: BTreeSet::new(),
            username: format!("r{number}@vsphere.local"),
            password: PASSWORD.into(),
            tls: TlsTrust::Ca(self.stage.ca_pem().into()),
            datacenter: config.datacenter.clone(),
            cluster: config.cluster.as_ref().map(ToString::to_string),
            folder: config.folder.clone().unwrap_or_default(),
            pools: pools
                .filter_map(|(key, it)| Some((key.name.clone(), place(it.at.get(name)?))))
                .collect(),
            labels: vcenter::DeclaredLabels::of(desired, name),
            keys: vcenter::declared_keys(desired, name),
            setups: vcenter::declared_setups(desired, name),
            reads_max: config.reads_max,
            writes_max: config.writes_max,
            expected_identity: None,
            settle: SETTLE,
        };
        VcenterProvider::with_timeout(settings, runner.clock.clone(), Some(TIMEOUT)).unwrap()
    }

    /// Reads, plans, judges under full consent, and carries out.
    pub async fn apply(&self, runner: &Runner, yaml: &str) -> Applied {
        self.apply_with(runner, yaml, true).await
    }

    /// The same, under full consent or under a mere yes.
    pub async fn apply_with(&self, runner: &Runner, yaml: &str, full: bool) -> Applied {
        self.allow(yaml);
        self.oracle.rules(|rules| rules.consent |= full);
        let desired = desired(self.stage.product(), yaml);
        let history = runner.store.history(&desired.project).await.unwrap();
        let providers = self.provider(runner, &desired).await;
        let scopes = inventory::scopes(&desired, &history);
        let (there, struck) = (self.oracle.keys(), self.fired().len());
        let marked = self.oracle.machines();
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
            self.sees_what_is_there(&inventory, &marked);
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

    /// A machine of ours that was read was read with its mark; and a view that is called
    /// whole shows every one, or says of that very one that it cannot be read.
    fn sees_what_is_there(&self, inventory: &Inventory, before: &BTreeMap<String, String>) {
        let now = self.oracle.machines();
        for seen in inventory.hypervisors.values() {
            for (id, key) in before.iter().filter(|(id, key)| now.get(*id) == Some(*key)) {
                let native = NativeId::from(oracle::native(id));
                let read = seen.machines.get(&native);
                let marker = read.and_then(|it| it.marker.found());
                let wrong = match read {
                    Some(_) => marker.is_none_or(|it| it.key.to_string() != *key),
                    None => {
                        seen.coverage == Coverage::Complete
                            && !seen.unreadable.contains_key(&native)
                    }
                };
                if wrong {
                    self.oracle.blame(format!("{id} is {key}, and is not seen as that"));
                }
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
        let desired = desired(self.stage.product(), yaml);
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
        let desired = desired(self.stage.product(), yaml);
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
        self.stage.stop().await;
    }
}

impl Runner {
    /// One action at a time: the same seed then meets the same faults in the same order.
    pub fn one_at_a_time(self) -> Self {
        Self { writes: 1, ..self }
    }
}

/// A configuration, with what every one begins with.
pub fn desired(product: Product, text: &str) -> DesiredState {
    let first = format!("version: 1\nproject: {PROJECT}\ninclude: [common.yaml]\n{text}");
    let common = product.common().to_owned();
    let files = [("novahost.yaml".to_owned(), first), ("common.yaml".to_owned(), common)].into();
    let loaded = config::load_str(&files, "novahost.yaml");
    let problems: Vec<String> = loaded.report.iter().map(|it| format!("{it:?}")).collect();
    loaded.desired.unwrap_or_else(|| panic!("{problems:#?}\n{text}"))
}

fn products(desired: &DesiredState) -> BTreeMap<HypervisorName, &'static dyn Rulebook> {
    let one = |(name, config): (&HypervisorName, &HypervisorConfig)| {
        let rules: &'static dyn Rulebook = match config {
            HypervisorConfig::Proxmox(_) => &PROXMOX,
            HypervisorConfig::Vcenter(_) => &VCENTER,
        };
        (name.clone(), rules)
    };
    desired.hypervisors.iter().map(one).collect()
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

//! A case's hypervisors, simulated, with a journal: what is planned and carried out there.

use super::{Case, On, folder};
use mock_servers::{pve, vcenter};
use novahost::{
    apply::{self, Ended, Inputs, Limits, Stop},
    clock::Clock,
    config, inventory,
    model::{
        Allowance, Consent, DesiredState, History, HypervisorConfig, HypervisorName, Inventory,
        PoolBinding, Product, ResourceKey,
    },
    ownership::MarkerKey,
    provider::{
        Provider,
        endpoint::Endpoint,
        proxmox::{self, Auth, Proxmox, ProxmoxProvider},
        tls::TlsTrust,
        vcenter::{self as vc, PoolPlace, Vcenter, VcenterProvider},
    },
    reconcile::{self, Known, Reconciled},
    report,
    sandbox::{PASSWORD, TOKEN_ID, TOKEN_SECRET, USERNAME},
    store::{NewRun, Store, Who},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

static PROXMOX: Proxmox = Proxmox;
static VCENTER: Vcenter = Vcenter;

/// One hypervisor or more, with a journal.
pub struct Lab {
    on: On,
    pub servers: BTreeMap<HypervisorName, Simulator>,
    pub store: Store,
    clock: Clock,
    marker_key: Option<MarkerKey>,
}

/// One simulated hypervisor.
pub enum Simulator {
    Proxmox(pve::Server),
    Vcenter(vcenter::Server),
}

/// One configuration, observed and judged.
pub struct Look {
    desired: DesiredState,
    inventory: Inventory,
    history: History,
    pub made: Reconciled,
}

/// A configuration with what every case has, on a product.
pub fn desired(text: &str, on: On) -> DesiredState {
    let head = if text.contains("project:") { "" } else { "project: cases\n" };
    let first = format!("version: 1\ninclude: [common.yaml]\n{head}{text}");
    let common = std::fs::read_to_string(folder().join("common").join(on.common())).unwrap();
    let files = [("novahost.yaml".to_owned(), first), ("common.yaml".to_owned(), common)].into();
    let loaded = config::load_str(&files, "novahost.yaml");
    let problems: Vec<String> = loaded.report.iter().map(|it| format!("{it:?}")).collect();
    loaded.desired.unwrap_or_else(|| panic!("{problems:#?}\n{text}"))
}

/// The product of each hypervisor.
pub fn products(desired: &DesiredState) -> BTreeMap<HypervisorName, &'static dyn Product> {
    let one = |(name, config): (&HypervisorName, &HypervisorConfig)| {
        let product: &'static dyn Product = match config {
            HypervisorConfig::Proxmox(_) => &PROXMOX,
            HypervisorConfig::Vcenter(_) => &VCENTER,
        };
        (name.clone(), product)
    };
    desired.hypervisors.iter().map(one).collect()
}

/// Everything that a person could allow.
fn all_consent(desired: &DesiredState, made: &Reconciled) -> Consent {
    let keys = desired.machines.keys().chain(made.ownership.owned.keys());
    Consent {
        yes: true,
        allow: Allowance::ALL.into_iter().map(|it| (it, None)).collect(),
        confirm: keys.cloned().collect(),
        expect_shrink: Some(1000),
    }
}

/// `allow restart`, `allow delete=vm/a`, `confirm vm/a`, `expect-shrink 4`.
fn consent_of(words: &[String]) -> Consent {
    let mut consent = Consent { yes: true, ..Consent::default() };
    for line in words {
        let (word, rest) = line.split_once(' ').unwrap();
        let key = |text: &str| text.parse::<ResourceKey>().unwrap();
        match word {
            "allow" => {
                let (class, keys) = match rest.split_once('=') {
                    Some((class, keys)) => (class, Some(keys.split(',').map(key).collect())),
                    None => (rest, None),
                };
                let class = Allowance::ALL.into_iter().find(|it| it.as_str() == class).unwrap();
                consent.allow.insert(class, keys);
            }
            "confirm" => drop(consent.confirm.insert(key(rest))),
            "expect-shrink" => consent.expect_shrink = Some(rest.parse().unwrap()),
            other => panic!("no such consent: {other}"),
        }
    }
    consent
}

impl Simulator {
    async fn start(on: On, name: &HypervisorName, seed: u64) -> Self {
        let text = std::fs::read_to_string(folder().join("common").join(on.world())).unwrap();
        match on {
            On::Proxmox => {
                let mut world = pve::World::from_yaml(&text).unwrap();
                name.as_str().clone_into(&mut world.cluster);
                let mut options = pve::Options::new(pve::Release::V9_2, seed);
                options.timing = pve::Timing::instant();
                Self::Proxmox(pve::serve(world, options).await.unwrap())
            }
            On::Vcenter => {
                let mut world = vcenter::World::from_yaml(&text).unwrap();
                name.as_str().clone_into(&mut world.name);
                let mut options = vcenter::Options::new(seed);
                options.timing = vcenter::Timing::instant();
                Self::Vcenter(vcenter::serve(world, options).await.unwrap())
            }
        }
    }

    /// Ends it.
    pub async fn stop(self) {
        match self {
            Self::Proxmox(server) => server.stop().await,
            Self::Vcenter(server) => server.stop().await,
        }
    }
}

impl Lab {
    pub async fn start(case: &Case, on: On) -> Self {
        let configs = [&case.before, &case.after];
        let names: BTreeSet<HypervisorName> =
            configs.iter().flat_map(|it| desired(it, on).hypervisors.into_keys()).collect();
        let mut servers = BTreeMap::new();
        for (name, seed) in names.into_iter().zip(7..) {
            let server = Simulator::start(on, &name, seed).await;
            servers.insert(name, server);
        }
        Self {
            on,
            servers,
            store: Store::open_in_memory().await.unwrap(),
            clock: Clock::system(),
            marker_key: case.marker_key.as_ref().map(|it| MarkerKey::new(it.as_bytes())),
        }
    }

    fn providers(&self, desired: &DesiredState) -> BTreeMap<HypervisorName, Arc<dyn Provider>> {
        let one = |(name, config): (&HypervisorName, &HypervisorConfig)| {
            let provider: Arc<dyn Provider> = match (config, &self.servers[name]) {
                (HypervisorConfig::Proxmox(config), Simulator::Proxmox(server)) => {
                    let settings = proxmox::Settings {
                        name: name.clone(),
                        project: Some(desired.project.clone()),
                        endpoints: vec![
                            Endpoint::parse(&server.endpoint(), proxmox::PORT).unwrap(),
                        ],
                        allowed_hosts: BTreeSet::new(),
                        auth: Auth::Token { id: TOKEN_ID.into(), secret: TOKEN_SECRET.into() },
                        tls: TlsTrust::Ca(server.ca_pem().into()),
                        vmid_range: config.vmid_range,
                        reads_max: config.reads_max,
                        writes_max: config.writes_max,
                        expected_identity: None,
                        settle: Duration::from_millis(100),
                    };
                    Arc::new(ProxmoxProvider::new(settings, self.clock.clone()).unwrap())
                }
                (HypervisorConfig::Vcenter(config), Simulator::Vcenter(server)) => {
                    let settings = vc::Settings {
                        name: name.clone(),
                        project: Some(desired.project.clone()),
                        endpoint: Endpoint::parse(&server.endpoint(), vc::PORT).unwrap(),
                        allowed_hosts: BTreeSet::new(),
                        username: USERNAME.into(),
                        password: PASSWORD.into(),
                        tls: TlsTrust::Ca(server.ca_pem().into()),
                        datacenter: config.datacenter.clone(),
                        cluster: config.cluster.as_ref().map(ToString::to_string),
                        folder: config.folder.clone().unwrap_or_default(),
                        pools: pools_at(desired, name),
                        labels: vc::DeclaredLabels::of(desired, name),
                        keys: vc::declared_keys(desired, name),
                        setups: vc::declared_setups(desired, name),
                        reads_max: config.reads_max,
                        writes_max: config.writes_max,
                        expected_identity: None,
                        settle: Duration::from_millis(100),
                    };
                    Arc::new(VcenterProvider::new(settings, self.clock.clone()).unwrap())
                }
                (HypervisorConfig::Proxmox(_) | HypervisorConfig::Vcenter(_), _) => {
                    panic!("{name} is of a product that is not simulated here")
                }
            };
            (name.clone(), provider)
        };
        desired.hypervisors.iter().map(one).collect()
    }

    pub async fn look(&self, text: &str, consent: &[String]) -> Look {
        let desired = desired(text, self.on);
        let history = self.store.history(&desired.project).await.unwrap();
        let scopes = inventory::scopes(&desired, &history);
        let providers = self.providers(&desired);
        let inventory = inventory::collect(&providers, &scopes, &self.clock).await;
        close(providers).await;
        let products = products(&desired);
        let known = Known {
            desired: &desired,
            inventory: &inventory,
            history: &history,
            products: &products,
            marker_key: self.marker_key.as_ref(),
        };
        let made = reconcile::reconcile(known, &[], &consent_of(consent)).unwrap();
        Look { desired, inventory, history, made }
    }

    /// Carries out everything that no rule forbids; says what did not end well.
    pub async fn carry_out(&self, look: Look) -> Result<(), String> {
        let Look { desired, inventory, history, mut made } = look;
        let products = products(&desired);
        let known = Known {
            desired: &desired,
            inventory: &inventory,
            history: &history,
            products: &products,
            marker_key: self.marker_key.as_ref(),
        };
        let consent = all_consent(&desired, &made);
        reconcile::judge(known, &mut made, &consent);
        if !made.verdict.refusals.is_empty() {
            return Ok(());
        }
        let actions = made.plan.body.actions.iter();
        let run = NewRun {
            id: Uuid::now_v7(),
            project: desired.project.clone(),
            plan_id: made.plan.plan_id.clone(),
            plan_json: report::plan_json(&made.plan),
            kind: "apply".into(),
            who: Who { user: "case".into(), host: "case".into(), ..Who::default() },
            started_ms: self.clock.now_ms(),
            actions: actions
                .map(|it| (it.id.clone(), it.key.clone(), it.hypervisor.clone(), it.verb))
                .collect(),
        };
        let run = self.store.begin_run(run).await.unwrap();
        let (events, _) = tokio::sync::mpsc::channel(1);
        let unreadable = products
            .iter()
            .map(|(name, it)| (name.clone(), it.capabilities().unreadable.clone()))
            .collect();
        let providers = self.providers(&desired);
        let summary = apply::run(Inputs {
            plan: Arc::new(made.plan),
            runnable: made.verdict.runnable,
            inventory: Arc::new(inventory),
            providers: providers.clone(),
            unreadable,
            journal: Arc::new(run),
            marker_key: self.marker_key.clone(),
            secrets: Arc::new(|reference| Ok(format!("secret of {reference}").into())),
            clock: self.clock.clone(),
            limits: Limits { busy: Duration::from_secs(5), ..Limits::default() },
            stop: Stop::default(),
            events,
            jitter_seed: 1,
        })
        .await;
        close(providers).await;
        let mut wrong = String::new();
        for action in &summary.actions {
            if !matches!(action.ended, Ended::Done | Ended::Skipped(_)) {
                let _ = writeln!(wrong, "{}: {:?}", action.id, action.ended);
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// Plans and carries out until nothing can be done any more. An action that
    /// rewrites the marker makes the next one on its machine stale, so one more round
    /// may be needed; a third would be a plan that does not converge.
    pub async fn apply(&self, text: &str) -> Result<(), String> {
        let mut last = Ok(());
        for _ in 0..3 {
            let look = self.look(text, &[]).await;
            if look.made.plan.body.actions.is_empty() {
                return Ok(());
            }
            last = self.carry_out(look).await;
            if last.is_ok() {
                return last;
            }
        }
        last
    }
}

/// What the pools of the configuration are on one vCenter.
fn pools_at(
    desired: &DesiredState,
    name: &HypervisorName,
) -> BTreeMap<novahost::model::Name, PoolPlace> {
    let places = desired.pools.iter().filter_map(|(key, pool)| {
        let place = match pool.at.get(name)? {
            PoolBinding::Vcenter { folder, resource_pool } => PoolPlace {
                folder: folder.clone(),
                resource_pool: resource_pool.clone(),
                grantees: pool.grantees(name),
            },
            PoolBinding::Named => PoolPlace::default(),
        };
        Some((key.name.clone(), place))
    });
    places.collect()
}

/// Ends their sessions: a server has only so many.
async fn close(providers: BTreeMap<HypervisorName, Arc<dyn Provider>>) {
    for provider in providers.into_values() {
        provider.close().await;
    }
}

//! Cases: two configurations and a world, walked along the whole road in four phases.
//!
//! Each file of `fixtures/cases` is one case. Its `before` is applied to the common
//! world, `world` says what people did to it since, and `after` is planned. Then come
//! the four phases: the expected plan (`plan`), nothing left after it ran, the expected
//! way back to `before` (`back`), and nothing left again. Planning is pure, but reading
//! and writing are not, so the phases run through the real provider, runner and journal
//! against the simulated cluster.
//!
//! `NOVAHOST_GOLDEN=write` writes what is planned into the files; `NOVAHOST_CASE=name`
//! runs only those whose name contains it.
#![allow(clippy::unwrap_used, reason = "helpers of tests are test code too")]

use mock_servers::pve::{self, Options, Release, Server, Timing, World};
use novahost::{
    apply::{self, Ended, Inputs, Limits, Stop},
    clock::Clock,
    config, inventory,
    model::{
        Allowance, Consent, DesiredState, History, HypervisorConfig, HypervisorName, Inventory,
        Plan, Product, ResourceKey,
    },
    ownership::MarkerKey,
    provider::{
        Provider,
        proxmox::{Auth, Proxmox, ProxmoxProvider, Settings},
        tls::TlsTrust,
    },
    reconcile::{self, Known, Reconciled},
    report,
    sandbox::{TOKEN_ID, TOKEN_SECRET},
    store::{NewRun, Store, Who},
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

/// Cases at a time: enough to hide the waiting, few enough to leave the machine usable.
const AT_ONCE: usize = 8;

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it shows.
    about: String,
    /// A configuration of somebody else on the same cluster, applied first. It must
    /// need nothing at any time.
    #[serde(default)]
    neighbour: Option<String>,
    /// The start.
    #[serde(default)]
    before: String,
    /// What people did to the world since.
    #[serde(default)]
    world: Vec<String>,
    /// `lost`: the journal is gone once `before` was applied.
    #[serde(default)]
    journal: Option<String>,
    /// Signs markers.
    #[serde(default)]
    marker_key: Option<String>,
    /// What is asked for.
    #[serde(default)]
    after: String,
    /// What the plan is shown under beside `--yes`; what is applied is all of it.
    #[serde(default)]
    consent: Vec<String>,
    /// Why the second plan is not empty, when it is not: something is blocked or kept.
    #[serde(default)]
    stays: Option<String>,
    /// Why there is no way back, when there is none.
    #[serde(default)]
    one_way: Option<String>,
    plan: String,
    #[serde(default)]
    then: String,
    #[serde(default)]
    back: String,
    #[serde(default)]
    finally: String,
}

/// One cluster or more, with a journal.
struct Lab {
    servers: BTreeMap<HypervisorName, Server>,
    store: Store,
    clock: Clock,
    marker_key: Option<MarkerKey>,
}

/// One configuration, observed and judged.
struct Look {
    desired: DesiredState,
    inventory: Inventory,
    history: History,
    made: Reconciled,
}

static PROXMOX: Proxmox = Proxmox;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cases")
}

fn desired(text: &str) -> DesiredState {
    let head = if text.contains("project:") { "" } else { "project: cases\n" };
    let first = format!("version: 1\ninclude: [common.yaml]\n{head}{text}");
    let common = std::fs::read_to_string(folder().join("common/common.yaml")).unwrap();
    let files = [("novahost.yaml".to_owned(), first), ("common.yaml".to_owned(), common)].into();
    let loaded = config::load_str(&files, "novahost.yaml");
    let problems: Vec<String> = loaded.report.iter().map(|it| format!("{it:?}")).collect();
    loaded.desired.unwrap_or_else(|| panic!("{problems:#?}\n{text}"))
}

fn products(desired: &DesiredState) -> BTreeMap<HypervisorName, &'static dyn Product> {
    let one = |name: &HypervisorName| (name.clone(), &PROXMOX as &'static dyn Product);
    desired.hypervisors.keys().map(one).collect()
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

impl Lab {
    async fn start(case: &Case) -> Self {
        let text = std::fs::read_to_string(folder().join("common/world.yaml")).unwrap();
        let mut servers = BTreeMap::new();
        let configs = [&case.before, &case.after];
        let names: BTreeSet<HypervisorName> =
            configs.iter().flat_map(|it| desired(it).hypervisors.into_keys()).collect();
        for (name, seed) in names.into_iter().zip(7..) {
            let mut world = World::from_yaml(&text).unwrap();
            name.as_str().clone_into(&mut world.cluster);
            let mut options = Options::new(Release::V9_2, seed);
            options.timing = Timing::instant();
            servers.insert(name, pve::serve(world, options).await.unwrap());
        }
        Self {
            servers,
            store: Store::open_in_memory().await.unwrap(),
            clock: Clock::system(),
            marker_key: case.marker_key.as_ref().map(|it| MarkerKey::new(it.as_bytes())),
        }
    }

    fn providers(&self, desired: &DesiredState) -> BTreeMap<HypervisorName, Arc<dyn Provider>> {
        let provider = |(name, config): (&HypervisorName, &HypervisorConfig)| {
            let HypervisorConfig::Proxmox(config) = config else {
                panic!("{name} is of a product that is not simulated here");
            };
            let server = &self.servers[name];
            let settings = Settings {
                name: name.clone(),
                project: Some(desired.project.clone()),
                endpoints: vec![server.endpoint().parse().unwrap()],
                allowed_hosts: BTreeSet::new(),
                auth: Auth::Token { id: TOKEN_ID.into(), secret: TOKEN_SECRET.into() },
                tls: TlsTrust::Ca(server.ca_pem().into()),
                vmid_range: config.vmid_range,
                reads_max: config.reads_max,
                writes_max: config.writes_max,
                expected_identity: None,
                settle: Duration::from_millis(100),
            };
            let provider = ProxmoxProvider::new(settings, self.clock.clone()).unwrap();
            (name.clone(), Arc::new(provider) as Arc<dyn Provider>)
        };
        desired.hypervisors.iter().map(provider).collect()
    }

    async fn look(&self, text: &str, consent: &[String]) -> Look {
        let desired = desired(text);
        let history = self.store.history(&desired.project).await.unwrap();
        let scopes = inventory::scopes(&desired, &history);
        let inventory = inventory::collect(&self.providers(&desired), &scopes, &self.clock).await;
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
    async fn carry_out(&self, look: Look) -> Result<(), String> {
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
        let summary = apply::run(Inputs {
            plan: Arc::new(made.plan),
            runnable: made.verdict.runnable,
            inventory: Arc::new(inventory),
            providers: self.providers(&desired),
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
    async fn apply(&self, text: &str) -> Result<(), String> {
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

    fn guest(&self, world: &World, name: &str) -> u32 {
        let named = world.guests.iter().find(|(id, guest)| {
            id.to_string() == name || guest.config.get("name").is_some_and(|it| it == name)
        });
        *named.unwrap_or_else(|| panic!("no guest {name}")).0
    }

    /// One line of `world`.
    fn disturb(&self, line: &str) {
        let mut words = line.splitn(4, ' ');
        let mut next = || words.next().unwrap_or_default();
        let (word, at, key, rest) = (next(), next(), next(), next());
        let control = self.servers["pve"].control();
        let world = control.snapshot();
        let id = || self.guest(&world, at);
        match word {
            "set" => control.edit_config(id(), key, Some(rest)),
            "unset" => control.edit_config(id(), key, None),
            "pending" => control.edit(|world| {
                let guest = world.guests.get_mut(&id()).unwrap();
                guest.pending.insert(key.to_owned(), rest.to_owned());
            }),
            "notes" => control.edit(|world| {
                let config = &mut world.guests.get_mut(&id()).unwrap().config;
                let notes = config.get_mut("description").unwrap();
                assert!(notes.contains(key), "{notes}");
                *notes = notes.replace(key, rest);
            }),
            "power" => control.power(id(), key == "on"),
            "delete" => control.delete_guest(id()),
            "clone" => control.clone_guest(id(), key.parse().unwrap(), rest),
            "restore" => control.restore(id(), key.parse().unwrap()),
            "migrate" => control.migrate_guest(id(), key),
            "lock" => control.lock(id(), key),
            "offline" => control.node_offline(at, true),
            "fill" => control.edit(|world| {
                let storage = world.storages.get_mut(at).unwrap();
                storage.other_used = storage.total / 100 * key.parse::<u64>().unwrap();
            }),
            "pool" => control.edit(|world| {
                let pool = world.pools.entry(at.to_owned()).or_default();
                pool.guests.insert(key.parse().unwrap());
            }),
            "comment" => control.edit(|world| {
                let pool = world.pools.get_mut(at).unwrap();
                pool.comment = format!("{key} {rest}\n{}", pool.comment);
            }),
            "hide" => control.edit(|world| {
                let row = format!(
                    "{{path: /vms/{at}, kind: token, who: \"{TOKEN_ID}\", role: NoAccess}}"
                );
                world.access.acl.push(serde_yaml::from_str(&row).unwrap());
            }),
            other => panic!("no such disturbance: {other}"),
        }
    }
}

/// A plan in lines: what is compared.
fn lines(look: &Look) -> String {
    let plan: &Plan = &look.made.plan;
    let mut text = String::new();
    for refusal in &plan.envelope.refusals {
        let _ = writeln!(text, "refused: {}: {}", refusal.code, refusal.objects.join(", "));
    }
    for action in &plan.body.actions {
        let id = action.native_id.as_ref().map_or("?", |id| id.as_str());
        let _ = write!(text, "{} {id}@{}", action.id, action.hypervisor);
        if !action.classes.is_empty() {
            let classes: Vec<&str> = action.classes.iter().map(|it| it.as_str()).collect();
            let _ = write!(text, " [{}]", classes.join(", "));
        }
        if let Some(waiting) = plan.envelope.waiting.get(&action.id) {
            let _ = write!(text, " waits: {} ({})", waiting.code, waiting.unlock);
        }
        text.push('\n');
        for edge in plan.body.edges.iter().filter(|it| it.after == action.id) {
            let _ = writeln!(text, "  after {} ({})", edge.before, reason(edge.reason));
        }
        for field in &action.fields {
            let shown = |value: &Option<novahost::model::Value>| {
                value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
            };
            let pending = if field.pending { " pending" } else { "" };
            let cost = if field.disruption == novahost::model::Disruption::None {
                String::new()
            } else {
                format!(" ({})", field.disruption)
            };
            let (before, after) = (shown(&field.before), shown(&field.after));
            let _ = writeln!(text, "  {}: {before} → {after}{cost}{pending}", field.field);
        }
        for volume in &action.data_loss.volumes {
            let size = volume.size.map_or_else(String::new, |it| format!(", {it}"));
            let _ = writeln!(text, "  loses {} ({}{size})", volume.volume, volume.label);
        }
    }
    for blocked in &plan.body.blocked {
        let verb = blocked.verb.map_or_else(String::new, |it| format!(" {it}"));
        let _ = writeln!(
            text,
            "blocked {}@{}{verb}: {}",
            blocked.key, blocked.hypervisor, blocked.code
        );
    }
    if text.is_empty() { "nothing\n".to_owned() } else { text }
}

fn reason(reason: novahost::model::EdgeReason) -> String {
    serde_json::to_value(reason).unwrap().as_str().unwrap().to_owned()
}

/// What the four plans were.
struct Outcome {
    plans: [String; 4],
    problems: Vec<String>,
}

async fn walk(case: &Case) -> Outcome {
    let mut lab = Lab::start(case).await;
    let mut problems = Vec::new();
    let mut must = |what: &str, result: Result<(), String>| {
        if let Err(text) = result {
            problems.push(format!("{what} did not end well:\n{text}"));
        }
    };
    if let Some(neighbour) = &case.neighbour {
        must("the neighbour", lab.apply(neighbour).await);
    }
    must("`before`", lab.apply(&case.before).await);
    for line in &case.world {
        lab.disturb(line);
    }
    if case.journal.as_deref() == Some("lost") {
        lab.store = Store::open_in_memory().await.unwrap();
    }
    let first = lab.look(&case.after, &case.consent).await;
    let mut plans = [lines(&first), String::new(), String::new(), String::new()];
    must("`after`", lab.apply(&case.after).await);
    plans[1] = lines(&lab.look(&case.after, &[]).await);
    if case.one_way.is_none() {
        plans[2] = lines(&lab.look(&case.before, &[]).await);
        must("the way back", lab.apply(&case.before).await);
        plans[3] = lines(&lab.look(&case.before, &[]).await);
    }
    if let Some(neighbour) = &case.neighbour {
        let look = lab.look(neighbour, &[]).await;
        let seen = lines(&look);
        if seen != "nothing\n" {
            problems.push(format!("the neighbour was touched:\n{seen}"));
        }
    }
    for server in lab.servers.into_values() {
        server.stop().await;
    }
    Outcome { plans, problems }
}

/// The four plans as they stand in a file, after everything that a person wrote.
fn with_plans(text: &str, plans: &[String; 4]) -> String {
    let head = text.split("\nplan:").next().unwrap().trim_end();
    let mut out = format!("{head}\n");
    for (name, plan) in ["plan", "then", "back", "finally"].iter().zip(plans) {
        let quiet = plan == "nothing\n" || plan.is_empty();
        if quiet && (*name == "then" || *name == "finally") || plan.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{name}: |");
        for line in plan.lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}

async fn one(path: PathBuf, write: bool) -> Vec<String> {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(&path).unwrap();
    let whole = if text.contains("\nplan:") { text.clone() } else { format!("{text}\nplan: ''\n") };
    let case: Case = match serde_yaml::from_str(&whole) {
        Ok(case) => case,
        Err(error) => return vec![format!("{name}: {error}")],
    };
    let Outcome { plans, problems } = walk(&case).await;
    let mut wrong: Vec<String> =
        problems.into_iter().map(|it| format!("{name} ({}): {it}", case.about)).collect();
    if write {
        std::fs::write(&path, with_plans(&text, &plans)).unwrap();
    }
    let nothing = || "nothing\n".to_owned();
    let or_nothing = |it: &String| if it.is_empty() { nothing() } else { it.clone() };
    let back = if case.one_way.is_some() { String::new() } else { case.back.clone() };
    let finally = if case.one_way.is_some() { String::new() } else { or_nothing(&case.finally) };
    let wanted = [case.plan.clone(), or_nothing(&case.then), back, finally];
    for (at, (wanted, found)) in
        ["plan", "then", "back", "finally"].iter().zip(wanted.iter().zip(&plans))
    {
        if !write && wanted != found {
            wrong.push(format!("{name}, {at}: wanted\n{wanted}found\n{found}"));
        }
    }
    for (at, plan) in [("then", &plans[1]), ("finally", &plans[3])] {
        if case.stays.is_none() && !plan.is_empty() && *plan != nothing() {
            wrong.push(format!("{name}, {at}: something is left to do\n{plan}"));
        }
    }
    let quiet = |plan: &String| plan.is_empty() || *plan == nothing();
    if let Some(why) = case.stays.filter(|_| quiet(&plans[1]) && quiet(&plans[3])) {
        wrong.push(format!("{name}: nothing stays, though `stays` says: {why}"));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cases_hold_in_four_phases() {
    let write = std::env::var("NOVAHOST_GOLDEN").is_ok_and(|it| it == "write");
    let wanted = std::env::var("NOVAHOST_CASE").unwrap_or_default();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|it| it.unwrap().path())
        .filter(|it| it.extension().is_some_and(|it| it == "yaml"))
        .filter(|it| it.file_stem().unwrap().to_string_lossy().contains(&wanted))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no case is called like `{wanted}`");
    let count = paths.len();
    let (mut running, mut wrong) = (tokio::task::JoinSet::new(), Vec::new());
    let mut paths = paths.into_iter();
    loop {
        while running.len() < AT_ONCE
            && let Some(path) = paths.next()
        {
            running.spawn(one(path, write));
        }
        match running.join_next().await {
            Some(result) => wrong.extend(result.unwrap()),
            None => break,
        }
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{} problems in {count} cases:\n{}", wrong.len(), wrong.join("\n"));
}

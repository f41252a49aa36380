//! Whole commands against a simulated cluster that answers as slowly as a real one.
//!
//! ```text
//! cargo bench --bench cluster -- plan 1000 10000
//! cargo bench --bench cluster -- apply 200 10
//! ```
//!
//! `plan N…` runs the real binary over N machines that are as they should be. `apply N S`
//! makes N machines, with tasks of 2 to 20 s divided by S. The simulator is a process of
//! its own, so that time and memory are the client's; it is this program again.
//!
//! The floor of a plan is requests × service time ÷ workers. The ideal of an apply is what
//! the tasks that really ran, in the order in which they ran, would take on the same number
//! of writers and clones if nothing came between them.

#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up has nothing to measure")]
#![allow(clippy::print_stdout, reason = "figures are its output")]
#![allow(clippy::disallowed_methods, reason = "what is measured is the time on the wall")]

use mock_servers::pve::{FieldModel, Options, Release, Server, Timing, World, serve};
use novahost::{
    apply::{self, Ended, Inputs, Limits, Stop},
    clock::Clock,
    config, inventory,
    model::{
        Consent, DeviceMap, History, HypervisorName, MapEntry, Marker, Product, ResourceKey, Stage,
    },
    ownership::{bulk_tag, intent_id, render},
    provider::{
        Provider,
        endpoint::Endpoint,
        proxmox::{Auth, PORT, Proxmox, ProxmoxProvider, Settings},
        tls::TlsTrust,
    },
    reconcile::{Known, reconcile},
    report,
    store::{NewRun, Store, Who},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    fmt::Write as _,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

const PROJECT: &str = "bench";
const NODES: usize = 4;
const TOKEN_ID: &str = "novahost@pve!sandbox";
const TOKEN_SECRET: &str = "00000000-0000-4000-8000-00000000a11a";
const WRITERS: usize = 4;
/// How often the simulator looks which of its tasks run: the exactness of their lengths.
const LOOK: Duration = Duration::from_millis(2);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let numbers: Vec<usize> = words.iter().filter_map(|it| it.parse().ok()).collect();
    match words.first().map(String::as_str) {
        Some("serve") => serve_until_closed(numbers[0], numbers[1], numbers[2]),
        Some("plan") => numbers.iter().for_each(|count| plan(*count)),
        Some("apply") => apply(numbers[0], numbers[1]),
        _ => {
            plan(1_000);
            plan(10_000);
            apply(200, 10);
        }
    }
}

// ---- the simulator's side ----

/// Serves `there` machines of ours; tells what was asked when it gets a line.
fn serve_until_closed(there: usize, seed: usize, shrink: usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(serve(world(there), options(seed, shrink))).unwrap();
    println!("{}", server.endpoint());
    println!("{}", server.ca_pem().replace('\n', "|"));
    let tasks = Arc::new(Mutex::new(BTreeMap::new()));
    runtime.spawn(watch(server.control(), Arc::clone(&tasks)));
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "requests" => {
                println!("{}", server.control().requests().len());
                server.control().clear_requests();
            }
            _ => println!("{}", lengths(&tasks.lock().unwrap())),
        }
    }
    runtime.block_on(Server::stop(server));
}

fn options(seed: usize, shrink: usize) -> Options {
    let scaled = |time: Duration| time / u32::try_from(shrink).unwrap();
    let seconds = |low, high| (scaled(Duration::from_secs(low)), scaled(Duration::from_secs(high)));
    let real = Timing::realistic();
    let timing = Timing {
        kinds: BTreeMap::new(),
        task: seconds(2, 20),
        statistics: scaled(real.statistics),
        second: scaled(real.second),
        storage_hold: scaled(real.storage_hold),
        slow_call: scaled(real.slow_call),
        boot: scaled(real.boot),
        shutdown: scaled(real.shutdown),
        ..real
    };
    Options {
        timing,
        field_model: Some(FieldModel::default()),
        ..Options::new(Release::V9_2, u64::try_from(seed).unwrap())
    }
}

/// A cluster whose machines are ours and finished.
fn world(machines: usize) -> World {
    let mut world = World::synthetic(NODES, machines, 7, &|_, _| None);
    for (id, guest) in &mut world.guests {
        let Some(name) = guest.config.get("name").filter(|it| it.starts_with("vm-")) else {
            continue;
        };
        let uuid = guest.config.get("smbios1").and_then(|it| it.strip_prefix("uuid=")).unwrap();
        let key = ResourceKey::vm(name.as_str());
        let entry = |slot: &str| MapEntry { slot: slot.into(), confirmed: true };
        let marker = Marker {
            project: PROJECT.into(),
            intent: intent_id("bench", &key),
            key,
            uuid: Some(uuid.parse().unwrap()),
            id: Some(id.to_string().into()),
            stage: Stage::Ready,
            init: None,
            protect: false,
            mac: None,
            map: DeviceMap {
                disks: [("boot".into(), entry("scsi0"))].into(),
                nics: [("eth0".into(), entry("net0"))].into(),
                ..DeviceMap::default()
            },
        };
        guest.config.insert("description".to_owned(), render(&marker));
        guest.config.insert("tags".to_owned(), bulk_tag(&PROJECT.into()));
    }
    world
}

/// A task's kind, and when it was first and last seen running.
type Seen = (String, Instant, Instant);

async fn watch(control: mock_servers::pve::Control, seen: Arc<Mutex<BTreeMap<String, Seen>>>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let now = Instant::now();
        control.inspect(|world| {
            let mut seen = seen.lock().unwrap();
            for (id, task) in world.tasks.iter().filter(|(_, task)| task.exit.is_none()) {
                let kind = || (task.kind.clone(), now, now);
                seen.entry(id.clone()).or_insert_with(kind).2 = now;
            }
        });
    }
}

/// `kind:milliseconds` of every task, in the order of their beginnings, with the machine.
fn lengths(tasks: &BTreeMap<String, Seen>) -> String {
    let mut all: Vec<(&String, &Seen)> = tasks.iter().collect();
    all.sort_by_key(|(_, (_, begun, _))| *begun);
    let word = |(id, (kind, begun, end)): (&String, &Seen)| {
        let machine = id.split(':').nth(6).unwrap_or_default();
        format!("{kind}:{machine}:{}", (*end - *begun + LOOK).as_micros())
    };
    all.into_iter().map(word).collect::<Vec<_>>().join(" ")
}

// ---- the client's side ----

struct Simulator {
    child: Child,
    ask: Option<ChildStdin>,
    answer: BufReader<ChildStdout>,
    endpoint: String,
    ca_pem: String,
}

impl Simulator {
    fn start(there: usize, shrink: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["serve", &there.to_string(), "7", &shrink.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let ask = child.stdin.take();
        let mut answer = BufReader::new(child.stdout.take().unwrap());
        let endpoint = line(&mut answer);
        let ca_pem = line(&mut answer).replace('|', "\n");
        Self { child, ask, answer, endpoint, ca_pem }
    }

    fn tell(&mut self, what: &str) -> String {
        writeln!(self.ask.as_mut().unwrap(), "{what}").unwrap();
        line(&mut self.answer)
    }

    fn stop(mut self) {
        self.ask = None;
        self.child.wait().unwrap();
    }
}

fn line(from: &mut BufReader<ChildStdout>) -> String {
    let mut text = String::new();
    from.read_line(&mut text).unwrap();
    text.trim_end().to_owned()
}

fn yaml(machines: usize, simulator: &Simulator, name: &str) -> String {
    let mut text = format!(
        "version: 1
project: {PROJECT}
hypervisors:
  pve:
    type: proxmox
    endpoint: {}
    tls: {{ ca_file: ca.pem }}
    auth: {{ token_id: {TOKEN_ID}, token_secret: env:NOVAHOST_PVE_TOKEN }}
    vmid_range: 200000-299999
    defaults: {{ node: pve1, storage: fast }}
images:
  debian: {{ os: linux, init: none, firmware: bios, agent: true, at: {{ pve: {{ template: {{ id: 900, name: tpl-debian-13 }} }} }} }}
networks:
  lan: {{ cidr: 10.0.0.0/8, at: {{ pve: {{ bridge: vmbr0 }} }} }}
vms:
",
        simulator.endpoint
    );
    for at in 0..machines {
        writeln!(
            text,
            "  {name}-{at}:\n    hypervisor: pve\n    image: debian\n    resources: {{ cpu: 2, memory: 2GiB, disk: 8GiB }}\n    nics: {{ eth0: {{ network: lan }} }}\n    power: running"
        )
        .unwrap();
    }
    text
}

/// The highest resident size that a process had, in MiB; nothing once it has ended.
fn peak_mib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}

fn plan(machines: usize) {
    let mut simulator = Simulator::start(machines, 1);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), &simulator.ca_pem).unwrap();
    std::fs::write(folder.path().join("novahost.yaml"), yaml(machines, &simulator, "vm")).unwrap();
    for run in 1..=3 {
        let begun = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_novahost"))
            .args(["plan", "--detailed-exitcode"])
            .current_dir(folder.path())
            .env("NOVAHOST_PVE_TOKEN", TOKEN_SECRET)
            .env("XDG_STATE_HOME", folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut peak = 0;
        let status = loop {
            peak = peak_mib(child.id()).unwrap_or(0).max(peak);
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let took = begun.elapsed();
        assert!(status.success(), "the plan is not empty: {status}");
        let requests: u32 = simulator.tell("requests").parse().unwrap();
        let model = FieldModel::default();
        let floor = model.read * requests / u32::try_from(NODES * model.workers_per_node).unwrap();
        println!(
            "plan {machines} run {run}: {requests} requests, {:.3} s, floor {:.3} s, ratio {:.2}, peak {peak} MiB",
            took.as_secs_f64(),
            floor.as_secs_f64(),
            took.as_secs_f64() / floor.as_secs_f64(),
        );
    }
    simulator.stop();
}

fn apply(machines: usize, shrink: usize) {
    let mut simulator = Simulator::start(0, shrink);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (took, sent, commits) = runtime.block_on(make(machines, &simulator));
    let told = simulator.tell("tasks");
    let requests = simulator.tell("requests");
    let tasks: Vec<(&str, &str, Duration)> = told
        .split(' ')
        .map(|word| {
            let mut parts = word.split(':');
            let (kind, machine) = (parts.next().unwrap(), parts.next().unwrap());
            (kind, machine, Duration::from_micros(parts.next().unwrap().parse().unwrap()))
        })
        .collect();
    let clones = Limits::default().clones_per_source;
    let ideal = ideal(&tasks, clones);
    let work: Duration = tasks.iter().map(|it| it.2).sum();
    println!(
        "apply {machines}, tasks of 2-20 s / {shrink}: {:.2} s, ideal {:.2} s, ratio {:.3}; {} tasks of {:.1} s in all, {requests} requests",
        took.as_secs_f64(),
        ideal.as_secs_f64(),
        took.as_secs_f64() / ideal.as_secs_f64(),
        tasks.len(),
        work.as_secs_f64(),
    );
    println!(
        "  {sent} steps, {commits} commits of the journal: {:.2} per step",
        commits as f64 / f64::from(sent)
    );
    simulator.stop();
}

/// What the same tasks would take if each began when the one before it on its machine has
/// ended, a writer is free and, for a clone, fewer than so many others run.
fn ideal(tasks: &[(&str, &str, Duration)], clones: usize) -> Duration {
    let mut order = Vec::new();
    let mut of: BTreeMap<&str, Vec<(bool, Duration)>> = BTreeMap::new();
    for (kind, machine, length) in tasks {
        let all = of.entry(machine).or_default();
        if all.is_empty() {
            order.push(*machine);
        }
        all.push((*kind == "qmclone", *length));
    }
    let free = |count| -> BinaryHeap<Reverse<Duration>> {
        std::iter::repeat_n(Reverse(Duration::ZERO), count).collect()
    };
    let (mut writers, mut cloners) = (free(WRITERS), free(clones));
    let mut end = Duration::ZERO;
    for machine in order {
        let Reverse(mut now) = writers.pop().unwrap();
        for (is_clone, length) in &of[machine] {
            if *is_clone {
                let Reverse(at) = cloners.pop().unwrap();
                now = now.max(at) + *length;
                cloners.push(Reverse(now));
            } else {
                now += *length;
            }
        }
        writers.push(Reverse(now));
        end = end.max(now);
    }
    end
}

/// Plans and applies; how long the apply took, its steps, and the journal's commits.
async fn make(machines: usize, simulator: &Simulator) -> (Duration, u32, u64) {
    let text = yaml(machines, simulator, "new");
    let files = BTreeMap::from([
        ("novahost.yaml".to_owned(), text),
        ("ca.pem".to_owned(), simulator.ca_pem.clone()),
    ]);
    let loaded = config::load_str(&files, "novahost.yaml");
    let first = loaded.report.iter().next();
    let desired = loaded.desired.unwrap_or_else(|| panic!("{first:?}"));
    let clock = Clock::system();
    let pve: HypervisorName = "pve".into();
    let provider: Arc<dyn Provider> =
        Arc::new(ProxmoxProvider::new(settings(simulator), clock.clone()).unwrap());
    let providers = BTreeMap::from([(pve.clone(), provider)]);
    let history = History::default();
    let scopes = inventory::scopes(&desired, &history);
    let seen = inventory::collect(&providers, &scopes, &clock).await;
    static PROXMOX: Proxmox = Proxmox;
    let products: BTreeMap<_, &dyn Product> = [(pve.clone(), &PROXMOX as _)].into();
    let known = Known {
        desired: &desired,
        inventory: &seen,
        history: &history,
        products: &products,
        marker_key: None,
    };
    let made = reconcile(known, &[], &Consent { yes: true, ..Consent::default() }).unwrap();
    assert!(made.plan.body.blocked.is_empty(), "{:?}", made.plan.body.blocked.first());
    assert_eq!(made.verdict.runnable.len(), machines);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("journal.db")).await.unwrap();
    let run = begin(&store, &made.plan, &clock).await;
    let (before, begun) = (store.commits(), Instant::now());
    let (events, mut taken) = tokio::sync::mpsc::channel(1024);
    let reader = tokio::spawn(async move { while taken.recv().await.is_some() {} });
    let summary = apply::run(Inputs {
        plan: Arc::new(made.plan),
        runnable: made.verdict.runnable,
        inventory: Arc::new(seen),
        unreadable: [(pve.clone(), PROXMOX.capabilities().unreadable.clone())].into(),
        providers,
        journal: Arc::new(run),
        marker_key: None,
        secrets: Arc::new(|_| Err("there are no secrets".to_owned())),
        clock,
        limits: Limits { writes: [(pve, WRITERS)].into(), ..Limits::default() },
        stop: Stop::default(),
        events,
        jitter_seed: 7,
    })
    .await;
    let took = begun.elapsed();
    reader.await.unwrap();
    let bad = summary.actions.iter().find(|it| it.ended != Ended::Done);
    assert!(bad.is_none(), "{bad:?}");
    let sent = summary.actions.iter().map(|it| it.sent).sum();
    (took, sent, store.commits() - before)
}

fn settings(simulator: &Simulator) -> Settings {
    Settings {
        name: "pve".into(),
        project: Some(PROJECT.into()),
        endpoints: vec![Endpoint::parse(&simulator.endpoint, PORT).unwrap()],
        allowed_hosts: BTreeSet::new(),
        auth: Auth::Token { id: TOKEN_ID.into(), secret: TOKEN_SECRET.into() },
        tls: TlsTrust::Ca(simulator.ca_pem.clone().into()),
        vmid_range: (200_000, 299_999),
        reads_max: 16,
        writes_max: WRITERS,
        expected_identity: None,
        settle: Settings::SETTLE,
    }
}

async fn begin(
    store: &Store,
    plan: &novahost::model::Plan,
    clock: &Clock,
) -> novahost::store::RunHandle {
    let action = |it: &novahost::model::Action| {
        (it.id.clone(), it.key.clone(), it.hypervisor.clone(), it.verb)
    };
    let run = NewRun {
        id: uuid::Uuid::now_v7(),
        project: PROJECT.into(),
        plan_id: plan.plan_id.clone(),
        plan_json: report::plan_json(plan),
        kind: "apply".to_owned(),
        who: Who { user: "bench".into(), host: "bench".into(), ..Who::default() },
        started_ms: clock.now_ms(),
        actions: plan.body.actions.iter().map(action).collect(),
    };
    store.begin_run(run).await.unwrap()
}

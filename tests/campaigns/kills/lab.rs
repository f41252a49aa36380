//! A cluster that lives on, a project, and the real program that is killed in it.

use super::{scenario::Scenario, witness::Witness};
use crate::{
    oracle::{Oracle, Rules},
    stage::{Cut, Knock, Product, Stage, World},
};
use mock_servers::{harness::Arrival, pve, vcenter};
use std::{
    fmt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// What the simulators let us in for: the token of one, the password of the other.
pub const TOKEN: &str = "00000000-0000-4000-8000-00000000a11a";
pub const ENTRY: &str = "sandbox-password";
/// A password for a guest, as no text has it by accident.
pub const PASSWORD: &str = "correct-horse-7f3a9";
/// What nobody may be told.
pub const SECRETS: [&str; 3] = [TOKEN, ENTRY, PASSWORD];
/// No command here takes a tenth of it; a program that hangs must not hang the campaign.
const PATIENCE: Duration = Duration::from_secs(180);

/// The simulators' threads. They must go on when a victim dies, so they are not its.
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Around which moment of a request the program is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    /// The request has arrived and has no effect.
    Before,
    /// It took effect and nobody is told.
    Effect,
    /// The reply has left.
    Reply,
}

impl Position {
    pub const ALL: [Position; 3] = [Position::Before, Position::Effect, Position::Reply];
}

/// Where the program is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// Around this request, counted from 0.
    Http(u64, Position),
    /// Around this commit of its journal, counted from 0; `true` for after it.
    #[cfg_attr(not(feature = "planted"), allow(dead_code, reason = "needs the feature"))]
    Commit(u64, bool),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Http(n, position) => {
                write!(f, "http:{n}:{}", format!("{position:?}").to_lowercase())
            }
            Point::Commit(n, after) => {
                write!(f, "commit:{n}:{}", if *after { "after" } else { "before" })
            }
        }
    }
}

/// A request, as the product words it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub words: String,
    pub mutates: bool,
}

/// How one command ended.
#[derive(Clone, Debug)]
pub struct Ran {
    pub line: String,
    /// `None` = killed.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    pub took: Duration,
    /// Requests that it sent, in the order of their arrival.
    pub requests: Vec<Asked>,
    /// What its commits were for; empty without the feature.
    pub commits: Vec<String>,
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, code, out, err, .. } = self;
        write!(f, "$ novahost {line}\n--- exit {code:?}, stdout:\n{out}--- stderr:\n{err}---")
    }
}

/// Everything that outlives a program: the cluster's world and the journal's files.
#[derive(Clone)]
pub struct Frozen {
    pub world: World,
    journal: Vec<(String, Vec<u8>)>,
}

impl Frozen {
    /// Nobody was here yet.
    pub fn first(product: Product) -> Self {
        let world = match product {
            Product::Pve => {
                let text = include_str!("../../../fixtures/worlds/proxmox.yaml");
                World::Pve(pve::World::from_yaml(text).unwrap())
            }
            Product::Vcenter => {
                let text = include_str!("../../../fixtures/worlds/vcenter.yaml");
                World::Vcenter(vcenter::World::from_yaml(text).unwrap())
            }
        };
        Self { world, journal: Vec::new() }
    }
}

/// What the hook of the simulator and the one who runs commands share.
struct Desk {
    victim: Mutex<Option<Child>>,
    /// How many commands were run: what was to kill one must not kill the next.
    turn: AtomicU64,
    arrived: AtomicU64,
    point: Mutex<Option<Point>>,
    requests: Mutex<Vec<Asked>>,
    witness: Mutex<Witness>,
}

impl Desk {
    /// Ends the victim with SIGKILL and waits until it is gone.
    fn kill(&self, turn: u64) {
        if let Some(child) = locked(&self.victim).as_mut()
            && self.turn.load(Ordering::SeqCst) == turn
        {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Judges a request, and kills its sender if this is the moment.
    fn hook(self: &Arc<Self>, knock: &Knock<'_>) -> Option<Cut> {
        let mutates = knock.arrival.mutates;
        if mutates {
            locked(&self.witness).sees(knock.arrival);
        }
        let n = self.arrived.fetch_add(1, Ordering::SeqCst);
        locked(&self.requests).push(Asked { words: knock.words.clone(), mutates });
        let turn = self.turn.load(Ordering::SeqCst);
        match *locked(&self.point) {
            Some(Point::Http(at, Position::Before)) if at == n => {
                self.kill(turn);
                Some(Cut::Before)
            }
            Some(Point::Http(at, Position::Effect)) if at == n => {
                self.kill(turn);
                Some(Cut::After)
            }
            Some(Point::Http(at, Position::Reply)) if at == n => {
                let answered = Arc::clone(&knock.answered);
                self.kill_after_reply(turn, knock.arrival.n, answered);
                None
            }
            _ => None,
        }
    }

    /// A reply is noted by the simulator as it is handed to the connection.
    fn kill_after_reply(
        self: &Arc<Self>,
        turn: u64,
        number: u64,
        answered: Arc<dyn Fn() -> usize + Send + Sync>,
    ) {
        let desk = Arc::clone(self);
        std::thread::spawn(move || {
            // No other request of this kind is open in a run: one action, one object.
            let before = answered();
            let begun = Instant::now();
            while answered() == before && begun.elapsed() < Duration::from_millis(40) {
                std::thread::yield_now();
            }
            // Some replies are just on their way then, others have been read.
            std::thread::sleep(Duration::from_micros(number % 4 * 700));
            desk.kill(turn);
        });
    }
}

/// One cluster with one project.
pub struct Lab {
    pub stage: Stage,
    /// Judges each change as it happens; the rows of the journal are the witness's.
    pub oracle: Oracle,
    project: TempDir,
    home: TempDir,
    desk: Arc<Desk>,
}

impl Lab {
    /// Takes everything up from where it was frozen.
    pub fn thaw(scenario: &Scenario, frozen: &Frozen, seed: u64) -> Self {
        // A killed client leaves its connections behind.
        let idle = Some(Duration::from_millis(500));
        let stage = RUNTIME.block_on(Stage::with_idle(frozen.world.clone(), seed, idle));
        let words = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
        // The installer's machine is the only one that is not told anything at its start.
        let ends = scenario.ends.iter().map(|it| it.key).filter(|it| *it != "vm/wall");
        let oracle = Oracle::new(
            Rules {
                consent: true,
                project: "kills".to_owned(),
                may_delete: words(scenario.deletes),
                seeded: words(&ends.collect::<Vec<_>>()),
                secrets: SECRETS.map(str::to_owned).to_vec(),
            },
            stage.objects(),
        );
        let (watcher, reader) = (oracle.clone(), oracle.clone());
        let looks = move |arrival: &Arrival| {
            if !arrival.mutates {
                reader.arrived(arrival);
            }
        };
        let (effects, answers) = (move |effect| watcher.happened(effect), |_, _| {});
        stage.tells(Box::new(effects), Box::new(looks), Box::new(answers));
        let (project, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(project.path().join("ca.pem"), stage.ca_pem()).unwrap();
        std::fs::create_dir_all(home.path().join("state")).unwrap();
        for (name, bytes) in &frozen.journal {
            std::fs::write(home.path().join("state").join(name), bytes).unwrap();
        }
        let trust = home.path().join("trust.toml");
        let text = format!(
            "guest = [\"secret:first\"]\n[secrets.first]\nenv = \"GUEST_PASSWORD\"\n[store]\npath = \"{}\"\n",
            home.path().join("state/journal.db").display()
        );
        std::fs::write(&trust, text).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&trust, private).unwrap();
        let desk = Arc::new(Desk {
            victim: Mutex::default(),
            turn: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            point: Mutex::default(),
            requests: Mutex::default(),
            witness: Mutex::new(Witness::new(home.path().join("state/journal.db"))),
        });
        let it = Self { stage, oracle, project, home, desk };
        let desk = Arc::clone(&it.desk);
        it.stage.at_the_door(move |knock| desk.hook(knock));
        it
    }

    /// What would survive a power cut of the runner, once the cluster is quiet.
    pub fn freeze(&self) -> Frozen {
        self.quiet();
        let mut journal = Vec::new();
        for entry in std::fs::read_dir(self.home.path().join("state")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // The shared index is made anew by whoever opens the database first.
            if !name.ends_with("-shm") {
                journal.push((name, std::fs::read(path).unwrap()));
            }
        }
        Frozen { world: self.stage.world(), journal }
    }

    /// Waits until no task of the cluster runs.
    pub fn quiet(&self) {
        let begun = Instant::now();
        while !self.stage.is_idle() {
            assert!(begun.elapsed() < PATIENCE, "a task of the cluster never ends");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn asks_for(&self, body: &str) {
        let yaml = Scenario::yaml(self.stage.product(), body, &self.stage.endpoint());
        std::fs::write(self.project.path().join("novahost.yaml"), yaml).unwrap();
    }

    pub fn journal(&self) -> PathBuf {
        self.home.path().join("state/journal.db")
    }

    /// What requests without a row of their own came in so far.
    pub fn accusations(&self) -> Vec<String> {
        locked(&self.desk.witness).accusations.clone()
    }

    /// Files below project and home that hold one of the secrets.
    pub fn leaks(&self) -> Vec<String> {
        let mut found = Vec::new();
        for folder in [self.project.path(), self.home.path()] {
            search(folder, &mut found);
        }
        found
    }

    /// Runs a command, and kills it at the point.
    pub fn run(&self, line: &str, point: Option<Point>) -> Ran {
        let at = |name: &str| self.home.path().join(name);
        let file = |name: &str| std::fs::File::create(at(name)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_novahost"));
        command
            .args(line.split_whitespace())
            .current_dir(self.project.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("USER", "tester")
            .env("COLUMNS", "80")
            .env("NO_COLOR", "1")
            .env("NOVAHOST_TRUST", at("trust.toml"))
            .env("NOVAHOST_PVE_TOKEN", TOKEN)
            .env("NOVAHOST_VC_PASSWORD", ENTRY)
            .env("GUEST_PASSWORD", PASSWORD)
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"));
        if cfg!(feature = "planted") {
            let _ = std::fs::remove_file(at("commits"));
            command.env("NOVAHOST_COMMITS", at("commits"));
            if let Some(Point::Commit(n, after)) = point {
                command.env("NOVAHOST_DIE_AT_COMMIT", n.to_string());
                command.env("NOVAHOST_DIE_WHEN", if after { "after" } else { "before" });
            }
        }
        *locked(&self.desk.point) = point;
        self.desk.arrived.store(0, Ordering::SeqCst);
        locked(&self.desk.requests).clear();
        let begun = Instant::now();
        {
            // Held until the child is there, for its first request may be quicker.
            let mut victim = locked(&self.desk.victim);
            self.desk.turn.fetch_add(1, Ordering::SeqCst);
            *victim = Some(command.spawn().unwrap());
        }
        let code = self.wait(line, begun);
        *locked(&self.desk.victim) = None;
        *locked(&self.desk.point) = None;
        let text = |name: &str| std::fs::read_to_string(at(name)).unwrap_or_default();
        Ran {
            line: line.to_owned(),
            code,
            out: text("stdout"),
            err: text("stderr"),
            took: begun.elapsed(),
            requests: locked(&self.desk.requests).clone(),
            commits: text("commits").lines().map(str::to_owned).collect(),
        }
    }

    fn wait(&self, line: &str, begun: Instant) -> Option<i32> {
        loop {
            let ended = locked(&self.desk.victim).as_mut().unwrap().try_wait().unwrap();
            if let Some(status) = ended {
                return status.code();
            }
            if begun.elapsed() > PATIENCE {
                self.desk.kill(self.desk.turn.load(Ordering::SeqCst));
                panic!("`novahost {line}` hangs");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn search(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path, found);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for secret in SECRETS {
            if bytes.windows(secret.len()).any(|it| it == secret.as_bytes()) {
                found.push(format!("{} holds a secret", path.display()));
            }
        }
    }
}

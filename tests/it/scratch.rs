//! A project in a folder of its own, and the real binary run in it.
//!
//! The binary gets a clean environment, 80 columns, no colours, no home and no terminal.
//! With `--sandbox` its world is a file below the folder; tests read it and, through the
//! simulator's own operator, change it between commands.

use mock_servers::pve::{Control, Options, Release, World, serve};
use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// Both releases that the simulator plays.
pub const RELEASES: [Release; 2] = [Release::V8_4, Release::V9_2];
/// The binary under test.
const BINARY: &str = env!("CARGO_BIN_EXE_novahost");
/// A small project: three machines, two pools, two networks.
pub const SMALL: &str = include_str!("small.yaml");
/// The hypervisor of every project here.
pub const HYPERVISOR: &str = "pve-paris";

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Address space of a bounded run. A few threads reserve half of it without touching any.
const MEMORY_KIB_MAX: u32 = 3_000_000;
/// Looks, 2 ms apart, after which a bounded run is taken to hang: two minutes and more.
const HANG_LOOKS: u32 = 60_000;

/// A project in a folder of its own.
pub struct Scratch {
    folder: TempDir,
    /// Variables of the environment besides the usual ones.
    pub variables: Vec<(String, String)>,
    release: Release,
    name: String,
    records: bool,
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What was run.
    pub line: String,
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    fn new(line: String, output: &Output) -> Self {
        Self {
            line,
            // A killed process has none.
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            err: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    /// The end of a process that was started with pipes; `err` was read from it before.
    pub fn of(line: &str, child: &mut Child, mut err: String) -> Self {
        let mut out = String::new();
        if let Some(stream) = &mut child.stdout {
            stream.read_to_string(&mut out).unwrap();
        }
        if let Some(stream) = &mut child.stderr {
            stream.read_to_string(&mut err).unwrap();
        }
        let code = child.wait().unwrap().code().unwrap_or(-1);
        Self { line: line.to_owned(), code, out, err }
    }

    /// Demands an exit code.
    #[track_caller]
    pub fn code(self, wanted: i32) -> Self {
        assert_eq!(self.code, wanted, "{self}");
        self
    }

    /// Demands words on standard output.
    #[track_caller]
    pub fn says(self, wanted: &str) -> Self {
        assert!(self.out.contains(wanted), "`{wanted}` is not said\n{self}");
        self
    }

    /// Demands that standard output has nothing of the kind.
    #[track_caller]
    pub fn says_not(self, unwanted: &str) -> Self {
        assert!(!self.out.contains(unwanted), "`{unwanted}` is said\n{self}");
        self
    }

    /// Demands words on standard error.
    #[track_caller]
    pub fn warns(self, wanted: &str) -> Self {
        assert!(self.err.contains(wanted), "`{wanted}` is not on standard error\n{self}");
        self
    }

    /// Demands words on standard output, however they were wrapped.
    #[track_caller]
    pub fn says_in_words(self, wanted: &str) -> Self {
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat(&self.out).contains(&flat(wanted)), "`{wanted}` is not said\n{self}");
        self
    }

    /// Demands that every line fits a terminal of 80 columns.
    #[track_caller]
    pub fn fits(self) -> Self {
        let wide: Vec<&str> =
            self.out.lines().chain(self.err.lines()).filter(|it| it.chars().count() > 80).collect();
        assert!(wide.is_empty(), "wider than 80 columns: {wide:#?}\n{self}");
        self
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, code, out, err } = self;
        write!(f, "$ novahost {line}\n--- exit code {code}, stdout:\n{out}--- stderr:\n{err}---")
    }
}

impl Scratch {
    /// An empty folder. `name` is the test's; its exchanges are recorded under it.
    pub fn empty(name: &str, release: Release) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
            release,
            name: name.to_owned(),
            records: true,
        }
    }

    /// The project of the repository: `novahost.yaml` and `keys/`.
    pub fn project(name: &str, release: Release) -> Self {
        let it = Self::empty(name, release);
        it.copy(&repository().join("novahost.yaml"), "novahost.yaml");
        it.copy(&repository().join("keys"), "keys");
        it
    }

    /// A project with this YAML.
    pub fn with(name: &str, yaml: &str) -> Self {
        let it = Self::empty(name, Release::V9_2);
        it.copy(&repository().join("keys"), "keys");
        it.write("novahost.yaml", yaml);
        it
    }

    /// Exchanges with planted faults are no contract: they are not recorded.
    pub fn unrecorded(mut self) -> Self {
        self.records = false;
        self
    }

    /// Sets a variable of the environment.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Copies a file or a folder into the project.
    pub fn copy(&self, from: &Path, to: &str) {
        let to = self.path(to);
        if from.is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            for entry in std::fs::read_dir(from).unwrap() {
                let entry = entry.unwrap();
                let below = to.join(entry.file_name());
                let below = below.strip_prefix(self.folder.path()).unwrap().to_owned();
                self.copy(&entry.path(), below.to_str().unwrap());
            }
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }

    /// A path below the project.
    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Reads a file of the project.
    pub fn read(&self, below: &str) -> String {
        std::fs::read_to_string(self.path(below)).unwrap()
    }

    /// Writes a file of the project.
    pub fn write(&self, below: &str, text: &str) {
        std::fs::write(self.path(below), text).unwrap();
    }

    /// Replaces the only place of a text in `novahost.yaml`.
    #[track_caller]
    pub fn edit(&self, from: &str, to: &str) {
        let text = self.read("novahost.yaml");
        assert_eq!(text.matches(from).count(), 1, "`{from}` must be there once");
        self.write("novahost.yaml", &text.replacen(from, to, 1));
    }

    /// The binary with these arguments, not started yet.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(line.split_whitespace())
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("USER", "tester")
            .env("COLUMNS", "80")
            .env("NO_COLOR", "1")
            .env("NOVAHOST_SANDBOX_RELEASE", self.release.to_string())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        let sandbox = line.split_whitespace().any(|it| it == "--sandbox");
        if let (true, true, Some(folder)) =
            (sandbox, self.records, std::env::var_os("NOVAHOST_CONTRACTS"))
        {
            let file = format!("{}-client-{}.jsonl", self.release, self.name);
            command.arg("--record").arg(PathBuf::from(folder).join(file));
        }
        command
    }

    /// Runs the binary.
    pub fn run(&self, line: &str) -> Ran {
        Ran::new(line.to_owned(), &self.command(line).output().unwrap())
    }

    /// Runs the binary with bounds on its memory and time. Whoever passes them is ended, and the test fails: a
    /// hang must not hang the suite. The bound on time is far off; it judges nothing but "never".
    #[track_caller]
    pub fn bounded(&self, line: &str) -> Ran {
        let inner = self.command(line);
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -v {MEMORY_KIB_MAX}; exec \"$0\" \"$@\""), BINARY])
            .args(inner.get_args())
            .current_dir(self.folder.path())
            .env_clear()
            .stdin(Stdio::null());
        for (name, value) in inner.get_envs() {
            command.envs(value.map(|value| (name, value)));
        }
        let ended = tempfile::tempdir().unwrap();
        let file = |name: &str| std::fs::File::create(ended.path().join(name)).unwrap();
        let mut child = command.stdout(file("out")).stderr(file("err")).spawn().unwrap();
        let mut looks = 0;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            looks += 1;
            if looks > HANG_LOOKS {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("`novahost {line}` hangs");
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let read = |name: &str| std::fs::read(ended.path().join(name)).unwrap();
        let output = Output { status, stdout: read("out"), stderr: read("err") };
        Ran::new(line.to_owned(), &output)
    }

    /// Runs the binary against the sandbox.
    pub fn sandbox(&self, line: &str) -> Ran {
        self.run(&format!("{line} --sandbox"))
    }

    /// Starts the binary against the sandbox and leaves it running.
    pub fn spawn(&self, line: &str) -> Child {
        let mut command = self.command(&format!("{line} --sandbox"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Applies all of it and demands that it is done.
    #[track_caller]
    pub fn applied(&self) -> Ran {
        self.sandbox("apply --yes").code(0)
    }

    /// Demands that nothing is left to do.
    #[track_caller]
    pub fn settled(&self) {
        self.sandbox("plan --detailed-exitcode").code(0).says("Nothing to do");
    }

    /// The file with the sandbox's world.
    pub fn world_file(&self) -> PathBuf {
        self.path(&format!(".novahost/sandbox/{HYPERVISOR}.json"))
    }

    /// The sandbox's world.
    pub fn world(&self) -> World {
        World::from_json(&std::fs::read(self.world_file()).unwrap()).unwrap()
    }

    /// The operator of the hypervisor does something, between two commands.
    pub fn operator(&self, does: impl FnOnce(&Control)) {
        runtime().block_on(async {
            let mut options = Options::new(self.release, 1);
            options.persist = Some(self.world_file());
            let server = serve(self.world(), options).await.unwrap();
            does(&server.control());
            server.stop().await;
        });
    }

    /// The id of the only guest that says it is this machine.
    #[track_caller]
    pub fn id_of(&self, key: &str) -> u32 {
        let found = self.ids_of(key);
        assert_eq!(found.len(), 1, "{key} is {found:?}");
        found[0]
    }

    /// The ids of all guests that say they are this machine of this project.
    pub fn ids_of(&self, key: &str) -> Vec<u32> {
        let world = self.world();
        let is = |text: &str| {
            let mut words = text.lines().rev().flat_map(str::split_whitespace);
            words.any(|it| it == format!("key={key}")) && !text.contains("project=other-team")
        };
        let named = |it: &mock_servers::pve::world::Guest| {
            it.config.get("description").is_some_and(|it| is(it))
        };
        world.guests.iter().filter(|(_, it)| named(it)).map(|(id, _)| *id).collect()
    }

    /// One value of a guest's configuration.
    #[track_caller]
    pub fn config(&self, key: &str, option: &str) -> Option<String> {
        self.world().guests[&self.id_of(key)].config.get(option).cloned()
    }
}

/// Waits for a line of a process's standard error, and gives the rest of it.
#[track_caller]
pub fn wait_for(child: &mut Child, wanted: &str) -> BufReader<ChildStderr> {
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(wanted) {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "`{wanted}` was never said");
    }
    lines
}

/// Waits until something holds.
#[track_caller]
pub fn wait_until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("it never came to this: {what}");
}

/// Sends a signal to a process.
pub fn send(signal: &str, process: u32) {
    let mut shell = Command::new("sh");
    let sent = shell.args(["-c", &format!("kill -{signal} {process}")]).status().unwrap();
    assert!(sent.success());
}

/// A runtime for the simulators of a test that is not itself asynchronous.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// What the sandbox holds of other people, as text: guests, volumes, pools.
pub fn others(world: &World) -> String {
    let mut text = String::new();
    let foreign = [101, 102, 200, 9000, 9001, 9002, 20500];
    for id in foreign {
        let guest = &world.guests[&id];
        let _ = writeln!(
            text,
            "{id} on {} running {} {:#?} {:?} {:?} {:?}",
            guest.node,
            guest.running,
            guest.config,
            guest.pending,
            guest.pending_delete,
            guest.snapshots.keys()
        );
    }
    for (key, volume) in world.volumes.iter().filter(|(_, it)| foreign.contains(&it.vmid)) {
        let _ = writeln!(text, "{key} {volume:?}");
    }
    let _ = writeln!(text, "{:?}", world.pools.get("shared-infra"));
    text
}

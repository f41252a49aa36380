//! Starts a vCenter: loads its world, binds its port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinHandle};

use super::control::{Control, RequestLog};
use super::faults::FaultHook;
use super::live::Live;
use super::options::{Options, Switches, Timing};
use super::record::Recorder;
use super::world::World;
use super::{http, jobs, tasks, truth};
use crate::authority::{self, Authority, Names};
use crate::harness::{Actor, AnswerSink, ArrivalSink, Watch};
use crate::keep::write_atomically;

/// What one lock guards: the world and everything that must change with it.
pub(crate) struct Core {
    pub(crate) world: World,
    pub(crate) switches: Switches,
    pub(crate) timing: Timing,
    pub(crate) page_max: usize,
    pub(crate) ahead_ms: i64,
    pub(crate) requests: Vec<RequestLog>,
    pub(crate) counted: u64,
    pub(crate) fault: Option<FaultHook>,
    /// Told of each request before anything is done about it.
    pub(crate) arrivals: Option<ArrivalSink>,
    /// Told of each answer.
    pub(crate) answers: Option<AnswerSink>,
    pub(crate) watch: Watch,
    /// The request that a deed of the operator comes before, while it is done.
    pub(crate) deed_before: Option<u64>,
    /// The last answer to each list, for one that is to be stale.
    pub(crate) lists: BTreeMap<String, String>,
    pub(crate) workers: BTreeMap<String, AbortHandle>,
    /// Views, collectors and tokens: they end with their session.
    pub(crate) live: Live,
    /// Whose each cookie was that was ever given: a request on a dead session still says whose it is.
    pub(crate) cookies: BTreeMap<String, String>,
    /// Units of work on each host, by task.
    pub(crate) slots: BTreeMap<String, (String, u32)>,
    /// Who holds which machine: task, and whether alone.
    pub(crate) holds: BTreeMap<String, Vec<(String, bool)>>,
    /// Bumped with each change, for whoever waits for one.
    pub(crate) changed: tokio::sync::watch::Sender<u64>,
}

/// What all connections and workers share.
pub(crate) struct Shared {
    core: Mutex<Core>,
    pub(crate) options: Options,
    pub(crate) recorder: Option<Recorder>,
    /// The certificate that new connections see.
    pub(crate) tls: Mutex<Arc<rustls::ServerConfig>>,
    /// Bumped when all connections are to end.
    pub(crate) hang_up: tokio::sync::watch::Sender<u64>,
}

impl Core {
    /// A world that nobody has asked anything of yet.
    pub(crate) fn new(world: World, options: &Options) -> Self {
        Self {
            world,
            switches: options.switches,
            timing: options.timing.clone(),
            page_max: options.page_max,
            ahead_ms: options.clock_ahead * 1000,
            requests: Vec::new(),
            counted: 0,
            fault: None,
            arrivals: None,
            answers: None,
            watch: Watch::default(),
            deed_before: None,
            lists: BTreeMap::new(),
            workers: BTreeMap::new(),
            live: Live::default(),
            cookies: BTreeMap::new(),
            slots: BTreeMap::new(),
            holds: BTreeMap::new(),
            changed: tokio::sync::watch::Sender::new(0),
        }
    }

    /// Milliseconds since the epoch by the server's clock.
    pub(crate) fn now_ms(&self) -> u64 {
        crate::clock::unix_millis().saturating_add_signed(self.ahead_ms)
    }

    /// A duration for a task of this method, from the seeded generator.
    pub(crate) fn duration(&mut self, method: &str) -> Duration {
        let (low, high) = self.timing.bounds(method);
        let span = high.saturating_sub(low);
        let parts = u32::try_from(self.world.random() % 1000).unwrap_or(0);
        low + span * parts / 1000
    }

    /// Tells whoever watches or waits what has changed since the last time, and who did it.
    pub(crate) fn note(&mut self, request: Option<u64>, by: &Actor) {
        if self.watch.is_on() {
            let now = truth::objects(&self.world);
            self.watch.note(now, request.or(self.deed_before), by);
        }
        self.changed.send_modify(|turn| *turn += 1);
    }

    /// Workers of a stopped server must not change a world that another one has loaded by then.
    fn stop_workers(&mut self) {
        for (_, worker) in std::mem::take(&mut self.workers) {
            worker.abort();
        }
    }
}

impl Shared {
    /// The world's lock. A panic elsewhere leaves the world as it was: the simulator goes on.
    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the world to its file, if it has one.
    pub(crate) fn save(&self, core: &Core) {
        if let Some(path) = &self.options.persist {
            // A world that cannot be kept still serves; the next save may succeed.
            let _ = core.world.to_json().and_then(|json| write_atomically(path, &json));
        }
    }
}

/// Certificates of this world.
pub(crate) fn certificates(name: &str) -> anyhow::Result<Authority> {
    let names = Names {
        authority: "CA",
        authority_of: &format!("novahost mock vCenter {name}"),
        leaf_of: "novahost mock vCenter",
        hosts: &[],
    };
    authority::make(&names, crate::clock::unix_now())
}

/// A running vCenter. Dropping it closes its port; [`Server::stop`] also waits for that and keeps the world.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    ca_pem: String,
    leaf_sha256: String,
    thread: Option<JoinHandle<()>>,
}

/// Starts a vCenter. A world kept in `options.persist` takes precedence over `world`.
///
/// # Errors
/// The kept world is unreadable, no certificate can be made, or the port is taken.
pub async fn serve(world: World, options: Options) -> anyhow::Result<Server> {
    let mut world = match &options.persist {
        Some(path) if path.exists() => World::from_json(&std::fs::read(path)?)
            .with_context(|| format!("could not read the world kept in {}", path.display()))?,
        _ => {
            let mut world = world;
            world.counters.random = options.seed;
            world
        }
    };
    // Nobody stays logged in over a restart.
    world.sessions.clear();
    world.tagging.sessions.clear();
    let authority = match world.authority.clone() {
        Some(authority) => authority,
        None => certificates(&world.name)?,
    };
    world.authority = Some(authority.clone());
    let mut core = Core::new(world, &options);
    settle(&mut core);
    let recorder = options.record.as_deref().map(Recorder::open).transpose()?;
    let tls = Mutex::new(authority::server_config(&authority)?);
    let listener =
        TcpListener::bind(("127.0.0.1", options.port)).await.context("could not bind the port")?;
    let address = listener.local_addr()?;
    let shared = Arc::new(Shared {
        core: Mutex::new(core),
        options,
        recorder,
        tls,
        hang_up: tokio::sync::watch::Sender::new(0),
    });
    shared.save(&shared.core());
    let thread = tokio::spawn(http::accept(listener, Arc::clone(&shared)));
    Ok(Server {
        shared,
        address,
        leaf_sha256: authority::fingerprint(&authority.leaf_pem),
        ca_pem: authority.ca_pem,
        thread: Some(thread),
    })
}

/// Hosts go on while the server is away: what was begun is done by the time that it is back.
fn settle(core: &mut Core) {
    let open: Vec<String> = core
        .world
        .tasks
        .iter()
        .filter(|(_, task)| task.ended_ms.is_none())
        .map(|(id, _)| id.clone())
        .collect();
    for id in open {
        let begun = core.world.tasks.get(&id).is_some_and(|task| task.started_ms.is_some());
        let outcome = if begun { Ok(()) } else { jobs::begin(core, &id) }
            .and_then(|()| jobs::finish(core, &id));
        tasks::end(core, &id, outcome);
    }
}

impl Server {
    /// Base address, such as `https://127.0.0.1:41234`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Certificate of the authority.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// SHA-256 fingerprint of the listener's certificate, as upper-case pairs with colons.
    #[must_use]
    pub fn leaf_sha256(&self) -> String {
        self.leaf_sha256.clone()
    }

    /// The operator's hand in this vCenter.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.shared))
    }

    /// Closes the port and keeps the world as it is; running tasks are ended on the next load.
    pub async fn stop(mut self) {
        if let Some(thread) = self.thread.take() {
            thread.abort();
            // Its connections are gone only once it has ended; how it ended does not matter.
            let _ = thread.await;
        }
        let mut core = self.shared.core();
        core.stop_workers();
        self.shared.save(&core);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(thread) = &self.thread {
            thread.abort();
        }
        self.shared.core().stop_workers();
    }
}

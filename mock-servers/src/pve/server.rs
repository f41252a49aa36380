//! Starts a cluster: loads its world, binds its ports, keeps its clockwork running.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinHandle};

use super::access::{Identity, valid_privilege};
use super::control::{Control, RequestLog};
use super::error::{ApiError, ApiResult};
use super::faults::FaultHook;
use super::field::Field;
use super::locks::Locks;
use super::options::{Options, Switches, Timing};
use super::record::Recorder;
use super::schema::Release;
use super::world::World;
use super::{http, jobs, tls, truth};
use crate::harness::{Actor, AnswerSink, ArrivalSink, Watch};
use crate::keep::write_atomically;

/// What one lock guards: the world and everything that must change with it.
pub(crate) struct Core {
    pub(crate) world: World,
    pub(crate) release: Release,
    pub(crate) switches: Switches,
    pub(crate) timing: Timing,
    pub(crate) clock_ahead: i64,
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
    pub(crate) lists: BTreeMap<String, Value>,
    pub(crate) workers: BTreeMap<String, AbortHandle>,
}

/// What all connections and workers of one cluster share.
pub(crate) struct Shared {
    core: Mutex<Core>,
    pub(crate) options: Options,
    pub(crate) locks: Locks,
    pub(crate) field: Option<Field>,
    pub(crate) recorder: Option<Recorder>,
    /// The certificate that new connections see.
    pub(crate) tls: Mutex<Arc<rustls::ServerConfig>>,
    /// Bumped when all connections are to end.
    pub(crate) hang_up: tokio::sync::watch::Sender<u64>,
}

impl Core {
    /// Seconds since the epoch by the clock of the nodes: what expires and what is listed with a
    /// time goes by it.
    pub(crate) fn now(&self) -> u64 {
        crate::clock::unix_now().saturating_add_signed(self.clock_ahead)
    }

    /// A duration for a task of this type, from the seeded generator.
    pub(crate) fn duration(&mut self, kind: &str) -> Duration {
        let (low, high) = self.timing.bounds(kind);
        let span = high.saturating_sub(low);
        let parts = u32::try_from(self.world.random() % 1000).unwrap_or(0);
        low + span * parts / 1000
    }

    /// Whether the caller has a privilege on a path.
    pub(crate) fn has(&self, who: &Identity, path: &str, privilege: &str) -> bool {
        self.privileges(who, path).contains_key(privilege)
    }

    /// All privileges on a path, with whether they propagate.
    pub(crate) fn privileges(&self, who: &Identity, path: &str) -> BTreeMap<String, bool> {
        self.world.access.privileges(self.release, who, path, &|path| {
            if let Some(vmid) = path.strip_prefix("/vms/") {
                return vmid
                    .parse()
                    .ok()
                    .and_then(|vmid| self.world.pool_of(vmid))
                    .map(str::to_owned);
            }
            let storage = path.strip_prefix("/storage/")?;
            self.world
                .pools
                .iter()
                .find(|(_, pool)| pool.storages.contains(storage))
                .map(|(name, _)| name.clone())
        })
    }

    /// Refuses unless every privilege is there.
    pub(crate) fn need(&self, who: &Identity, path: &str, privileges: &[&str]) -> ApiResult<()> {
        let held = self.privileges(who, path);
        match privileges.iter().find(|privilege| !held.contains_key(**privilege)) {
            None => Ok(()),
            Some(missing) => Err(ApiError::forbidden(&format!("{path}, {missing}"))),
        }
    }

    /// Refuses unless one of the privileges is there.
    pub(crate) fn need_any(
        &self,
        who: &Identity,
        path: &str,
        privileges: &[&str],
    ) -> ApiResult<()> {
        let held = self.privileges(who, path);
        if privileges.iter().any(|privilege| held.contains_key(*privilege)) {
            Ok(())
        } else {
            Err(ApiError::forbidden(&format!("{path}, {}", privileges.join("|"))))
        }
    }

    /// Every write needs a quorate cluster.
    pub(crate) fn need_quorum(&self) -> ApiResult<()> {
        if self.world.datacenter.quorate {
            Ok(())
        } else {
            Err(ApiError::died("cluster not ready - no quorum?"))
        }
    }

    /// Tells whoever watches what has changed since the last time, and who did it.
    pub(crate) fn note(&mut self, request: Option<u64>, by: &Actor) {
        if self.watch.is_on() {
            let now = truth::objects(&self.world);
            self.watch.note(now, request.or(self.deed_before), by);
        }
    }

    /// Workers of a stopped cluster must not change a world that another server has loaded by then.
    fn stop_workers(&mut self) {
        for (_, worker) in std::mem::take(&mut self.workers) {
            worker.abort();
        }
    }

    /// Whether this is release 9 or later.
    pub(crate) fn is_nine(&self) -> bool {
        matches!(self.release, Release::V9_2)
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

/// A running cluster. Dropping it closes its ports; [`Server::stop`] also waits for that and keeps the world.
pub struct Server {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    ca_pem: String,
    leaf_sha256: String,
    threads: Vec<JoinHandle<()>>,
}

/// Starts a cluster. A world kept in `options.persist` takes precedence over `world`.
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
    world.settle();
    for privileges in world.access.custom_roles.values_mut() {
        // One fixture serves all releases; each knows only its own names.
        privileges.retain(|privilege| valid_privilege(options.release, privilege));
    }
    let authority = match world.authority.clone() {
        Some(authority) => authority,
        None => {
            let names: Vec<String> = world.nodes.keys().cloned().collect();
            tls::make(&world.cluster, &names, crate::clock::unix_now())?
        }
    };
    world.authority = Some(authority.clone());
    if world.counters.ticket_key == 0 {
        world.counters.ticket_key = world.random() | 1;
    }
    let mut core = Core {
        world,
        release: options.release,
        switches: options.switches,
        timing: options.timing.clone(),
        clock_ahead: options.clock_ahead,
        requests: Vec::new(),
        counted: 0,
        fault: None,
        arrivals: None,
        answers: None,
        watch: Watch::default(),
        deed_before: None,
        lists: BTreeMap::new(),
        workers: BTreeMap::new(),
    };
    jobs::settle(&mut core);
    let field =
        options.field_model.map(|model| Field::new(model, core.world.nodes.keys().cloned()));
    let recorder = options.record.as_deref().map(Recorder::open).transpose()?;
    let tls_config = tls::server_config(&authority)?;
    let mut listeners = Vec::new();
    for index in 0..options.endpoints.max(1) {
        let port = if index == 0 { options.port } else { 0 };
        let listener =
            TcpListener::bind(("127.0.0.1", port)).await.context("could not bind the port")?;
        listeners.push(listener);
    }
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    let shared = Arc::new(Shared {
        core: Mutex::new(core),
        options,
        locks: Locks::default(),
        field,
        recorder,
        tls: Mutex::new(tls_config),
        hang_up: tokio::sync::watch::Sender::new(0),
    });
    shared.save(&shared.core());
    let mut threads: Vec<JoinHandle<()>> = listeners
        .into_iter()
        .map(|listener| tokio::spawn(http::accept(listener, Arc::clone(&shared))))
        .collect();
    if !shared.options.timing.statistics.is_zero() {
        threads.push(tokio::spawn(broadcast(Arc::clone(&shared))));
    }
    Ok(Server {
        shared,
        addresses,
        leaf_sha256: tls::fingerprint(&authority.leaf_pem),
        ca_pem: authority.ca_pem,
        threads,
    })
}

/// After this many seconds the guests of a lost node are `unknown`.
const LOST_SECONDS: u32 = 300;

async fn broadcast(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(shared.options.timing.statistics).await;
        let patience = (shared.options.timing.second * LOST_SECONDS).as_millis();
        let patience = u64::try_from(patience).unwrap_or(u64::MAX);
        shared.core().world.refresh_statistics(crate::clock::unix_millis(), patience);
    }
}

impl Server {
    /// Base address, such as `https://127.0.0.1:41234`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.addresses.first().map(|address| format!("https://{address}")).unwrap_or_default()
    }

    /// Base addresses of all ports.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        self.addresses.iter().map(|address| format!("https://{address}")).collect()
    }

    /// Certificate of the cluster's authority.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// SHA-256 fingerprint of the listener's certificate, as upper-case pairs with colons.
    #[must_use]
    pub fn leaf_sha256(&self) -> String {
        self.leaf_sha256.clone()
    }

    /// The operator's hand in this cluster.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.shared))
    }

    /// Closes the ports and keeps the world as it is; running tasks are ended on the next load.
    pub async fn stop(mut self) {
        for thread in std::mem::take(&mut self.threads) {
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
        for thread in &self.threads {
            thread.abort();
        }
        self.shared.core().stop_workers();
    }
}

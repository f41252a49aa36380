//! One configured cluster, behind the contract of a provider.
//!
//! Reads one object, sends one call, asks about tasks. What to send is decided by
//! the pure half, when to send and how long to wait by the runner.

use super::{
    authors,
    call::{Answers, native_request},
    client::{Auth, Client, ClientSettings},
    error::{CallError, Verdict, judge_mutation},
    examine, locate, look,
    observe::{gather, joined, observe},
    spelling::segment,
    translate::GuestRow,
    upid::Upid,
    wire,
};
use crate::{
    clock::Clock,
    model::{
        Altered, Authors, DesiredState, ErrorKind, Examination, Fresh, FreshObject, GuestKind,
        HypervisorInventory, HypervisorName, Intent, Kind, Listing, Located, NodeName, ProjectName,
        ProviderError, Receipt, Refusal, RefusalKind, Retry, Scope, StepOp, Submitted, Target,
        TaskRef, TaskState,
    },
    planted::Bug,
    provider::{Call, Provider, endpoint::Endpoint, tls::TlsTrust},
    store::DurableIntent,
};
use async_trait::async_trait;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Mutex;

/// How old the shared listing may be that tells a machine's pool: no other call
/// tells it, and one listing per read would be a megabyte per step on a large
/// cluster.
const LISTING_AGE_MAX: Duration = Duration::from_secs(2);
/// A new task is not always found at once ([field] bpg): so often, so long.
const NEW_TASK_TRIES: u32 = 4;
const NEW_TASK_PAUSE: Duration = Duration::from_millis(150);
/// Lines of a task's log that are searched for warnings.
const LOG_LINES_MAX: &str = "500";

/// What a provider is made from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the entry.
    pub name: HypervisorName,
    /// Whose tag counts as ours.
    pub project: Option<ProjectName>,
    /// Addresses of one cluster; the next is used when one cannot be reached.
    pub endpoints: Vec<Endpoint>,
    /// Hosts that trust settings bind to this name; loopback needs no entry.
    pub allowed_hosts: BTreeSet<String>,
    /// How to log in.
    pub auth: Auth,
    /// Whom to believe.
    pub tls: TlsTrust,
    /// First and last vmid of our own machines: each one in it is read.
    pub vmid_range: (u32, u32),
    /// Requests in flight when reading.
    pub reads_max: usize,
    /// Requests in flight when writing.
    pub writes_max: usize,
    /// `NAME/sha256:…`: the cluster's name, or a single node's, and the SHA-256 of its
    /// root certificate. `None` believes whoever answers.
    pub expected_identity: Option<String>,
    /// How long after a call whose reply was lost its effect may still begin; before
    /// that nothing is called proved not to have happened.
    pub settle: Duration,
}

impl Settings {
    /// The server's proxy holds a request for up to 30 s; a little is added for
    /// the task to be listed.
    pub const SETTLE: Duration = Duration::from_secs(35);
}

/// The effectful half, for one cluster.
#[derive(Debug)]
pub struct ProxmoxProvider {
    inner: Arc<Inner>,
}

/// What all duties share.
#[derive(Debug)]
pub(super) struct Inner {
    pub client: Client,
    pub name: HypervisorName,
    pub project: Option<ProjectName>,
    pub vmid_range: (u32, u32),
    pub settle: Duration,
    pub clock: Clock,
    pub expected_identity: Option<String>,
    /// The endpoint that is known to be the installation that is expected.
    pub confirmed: AtomicUsize,
    listing: Mutex<Option<SharedListing>>,
    /// Counts what may have changed a machine's pool or place.
    changes: AtomicU64,
}

#[derive(Debug)]
struct SharedListing {
    since: Duration,
    changes: u64,
    guests: BTreeMap<u32, GuestRow>,
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("`{0}` is not the number of a guest")]
    NotAnId(String),
    #[error("absence cannot be proved: {0}")]
    Doubt(String),
    #[error("it exists and this account may not see it")]
    Hidden,
    #[error("it is moving between nodes")]
    Moving,
}

impl ProxmoxProvider {
    /// A provider that has not connected yet.
    ///
    /// # Errors
    /// When a host is not bound by trust settings, TLS cannot be set up as asked, or
    /// plain HTTP is asked for anywhere but on loopback.
    pub fn new(settings: Settings, clock: Clock) -> Result<Self, ProviderError> {
        Self::with_timeout(settings, clock, None)
    }

    /// The same, giving a request up after this time rather than after the usual one.
    ///
    /// # Errors
    /// As [`ProxmoxProvider::new`].
    pub fn with_timeout(
        settings: Settings,
        clock: Clock,
        timeout: Option<Duration>,
    ) -> Result<Self, ProviderError> {
        let operation = format!("set up hypervisor `{}`", settings.name);
        let client = ClientSettings {
            endpoints: settings.endpoints,
            auth: settings.auth,
            tls: settings.tls,
            allowed_hosts: settings.allowed_hosts,
            reads_max: settings.reads_max,
            writes_max: settings.writes_max,
            patience: timeout.unwrap_or(super::client::TOTAL_TIMEOUT),
        };
        let client = Client::new(client, clock.clone()).map_err(|error| ProviderError {
            operation,
            kind: error.kind(),
            retry: Retry::No,
            source: Box::new(error),
        })?;
        Ok(Self {
            inner: Arc::new(Inner {
                client,
                name: settings.name,
                project: settings.project,
                vmid_range: settings.vmid_range,
                settle: settings.settle,
                clock,
                expected_identity: settings.expected_identity,
                confirmed: AtomicUsize::new(usize::MAX),
                listing: Mutex::new(None),
                changes: AtomicU64::new(0),
            }),
        })
    }
}

#[async_trait]
impl Provider for ProxmoxProvider {
    async fn observe(&self, scope: &Scope) -> HypervisorInventory {
        observe(&self.inner, scope).await
    }

    async fn list(&self) -> Result<Listing, ProviderError> {
        self.inner.confirm_identity().await?;
        let client = &self.inner.client;
        let (resources, status) = tokio::join!(
            look::resources(client, None),
            client.get::<Vec<wire::StatusRow>>("/cluster/status", &[]),
        );
        let resources = resources.map_err(|error| error.into_provider("list the cluster"))?;
        let mut gaps = Vec::new();
        let status = match status {
            Ok(rows) => Some(rows),
            Err(error) if error.is_forbidden() => None,
            Err(error) => return Err(error.into_provider("read the cluster's status")),
        };
        if status.as_deref().is_some_and(|rows| !look::quorate(rows)) {
            gaps.push("the cluster has no quorum".to_owned());
        }
        let nodes = look::nodes_online(status.as_deref(), &resources.nodes);
        let silent = nodes.iter().filter(|(_, online)| !**online);
        gaps.extend(silent.map(|(node, _)| format!("node `{node}` is not online")));
        let online = nodes.iter().filter(|(_, online)| **online);
        Ok(Listing {
            online: online.map(|(node, _)| node.clone()).collect(),
            guests: resources
                .guests
                .values()
                .map(|row| (row.id(), super::translate::listed(self.inner.project.as_ref(), row)))
                .collect(),
            gaps,
        })
    }

    async fn read(&self, target: &Target) -> Result<Fresh, ProviderError> {
        self.inner.confirm_identity().await?;
        self.inner.read(target).await
    }

    async fn submit(&self, call: &Call<'_>, _intent: &DurableIntent) -> Submitted {
        let mut request = match native_request(call) {
            Ok(request) => request,
            Err(text) => {
                return Submitted::Refused(Refusal { kind: RefusalKind::Invalid, text });
            }
        };
        if Bug::DigestNotSent.is_planted() {
            request.params.retain(|(name, _)| name != "digest");
        }
        let endpoint = match self.inner.confirm_identity().await {
            Ok(endpoint) => endpoint,
            Err(error) => return Submitted::NotSent(error),
        };
        let sent = self
            .inner
            .client
            .mutate(
                endpoint,
                request.method,
                &request.path,
                &request.params,
                &request.secret_params,
            )
            .await;
        if let StepOp::SetPool { .. } = call.op {
            self.inner.changes.fetch_add(1, Ordering::SeqCst);
        }
        let operation = || format!("{} {}", call.op.name(), call.target);
        let data = match sent {
            Ok(data) => data,
            Err(error) => {
                return match judge_mutation(error) {
                    Verdict::Refused(refusal) => Submitted::Refused(refusal),
                    Verdict::NotSent(error) => Submitted::NotSent(error.into_provider(operation())),
                    Verdict::Unknown(error) => Submitted::Unknown(error.into_provider(operation())),
                };
            }
        };
        match (request.answers, data) {
            (Answers::Task | Answers::MaybeTask, serde_json::Value::String(upid))
                if Upid::parse(&upid).is_some() =>
            {
                Submitted::Accepted(TaskRef(upid))
            }
            (Answers::MaybeTask, serde_json::Value::Null) | (Answers::Nothing, _) => {
                Submitted::Done(Receipt::default())
            }
            (Answers::Task | Answers::MaybeTask, other) => {
                let text = format!("expected a task, got `{other}`");
                let error = CallError::Decode(text.into());
                Submitted::Unknown(error.into_provider(operation()))
            }
        }
    }

    async fn poll(&self, tasks: &[TaskRef]) -> Vec<TaskState> {
        if let Err(error) = self.inner.confirm_identity().await {
            return vec![TaskState::Unknown(joined(&error)); tasks.len()];
        }
        let shared = Arc::clone(&self.inner);
        gather(self.inner.client.reads_max, tasks.to_vec(), move |task| {
            let inner = Arc::clone(&shared);
            async move { inner.task_state(&task).await }
        })
        .await
    }

    async fn locate(&self, intent: &Intent) -> Located {
        match self.inner.confirm_identity().await {
            Ok(_) => locate::locate(&self.inner, intent).await,
            Err(error) => Located::StillUnknown(joined(&error)),
        }
    }

    async fn examine(&self, desired: &DesiredState, scope: &Scope) -> Examination {
        examine::examine(&self.inner, desired, scope).await
    }

    async fn authors(&self, altered: &[Altered]) -> Authors {
        authors::authors(&self.inner, altered).await
    }

    async fn close(&self) {
        self.inner.client.close().await;
    }
}

impl Inner {
    pub async fn read(&self, target: &Target) -> Result<Fresh, ProviderError> {
        let operation = || match &target.node {
            Some(node) => format!("read {target} on {node}"),
            None => format!("read {target}"),
        };
        match target.key.kind {
            Kind::Pool => match look::pool(&self.client, target.at.as_str()).await {
                Ok(Some(row)) => Ok(Fresh {
                    object: FreshObject::Pool(look::observed_pool(&row)),
                    version: None,
                    raw: serde_json::json!({ "poolid": row.poolid, "comment": look::comment(&row) }),
                }),
                Ok(None) => Ok(Fresh::absent()),
                Err(error) => Err(error.into_provider(operation())),
            },
            Kind::Spread => {
                let error = ReadError::NotAnId(target.at.to_string());
                Err(read_error(operation(), ErrorKind::Decode, Retry::No, error))
            }
            Kind::Vm => {
                let Ok(vmid) = target.at.as_str().parse() else {
                    let error = ReadError::NotAnId(target.at.to_string());
                    return Err(read_error(operation(), ErrorKind::Decode, Retry::No, error));
                };
                self.read_machine(vmid, target.node.as_ref(), &operation).await
            }
        }
    }

    async fn read_machine(
        &self,
        vmid: u32,
        node: Option<&NodeName>,
        operation: &(impl Fn() -> String + Sync),
    ) -> Result<Fresh, ProviderError> {
        let spell = |error: CallError| error.into_provider(operation());
        if let Some(node) = node {
            match self.read_at(vmid, node.as_str()).await {
                Ok(fresh) => return Ok(fresh),
                // A guest that left its pool answers 403 to those who saw it through
                // the pool, so that this too may mean "gone" and is looked into.
                Err(error) if error.is_missing_guest() || error.is_forbidden() => {}
                // That node may be down and the guest elsewhere by now.
                Err(error @ CallError::Gateway { .. }) => {
                    return match self.place_of(vmid).await {
                        Some(now) if now != *node => {
                            self.read_at(vmid, now.as_str()).await.map_err(spell)
                        }
                        Some(_) | None => Err(spell(error)),
                    };
                }
                Err(error) => return Err(spell(error)),
            }
        }
        if look::is_free(&self.client, vmid).await.map_err(spell)? {
            return match look::absence_doubt(&self.client).await.map_err(spell)? {
                None => Ok(Fresh::absent()),
                Some(doubt) => {
                    let (kind, retry) =
                        (ErrorKind::Unreachable, Retry::After(Duration::from_secs(2)));
                    Err(read_error(operation(), kind, retry, ReadError::Doubt(doubt)))
                }
            };
        }
        let mut guests = look::resources(&self.client, Some("vm")).await.map_err(spell)?.guests;
        match guests.remove(&vmid) {
            Some(row) if row.kind == GuestKind::Container => Ok(Fresh {
                object: FreshObject::Unreadable(format!("{vmid} is a container")),
                version: None,
                raw: serde_json::Value::Null,
            }),
            Some(row) => match self.read_at(vmid, &row.node).await {
                Err(error) if error.is_missing_guest() => {
                    let (kind, retry) = (ErrorKind::Refused, Retry::After(Duration::from_secs(1)));
                    Err(read_error(operation(), kind, retry, ReadError::Moving))
                }
                answer => answer.map_err(spell),
            },
            None => {
                Err(read_error(operation(), ErrorKind::Permission, Retry::No, ReadError::Hidden))
            }
        }
    }

    /// Where the cluster says that a machine is, when it says so.
    async fn place_of(&self, vmid: u32) -> Option<NodeName> {
        let guests = look::resources(&self.client, Some("vm")).await.ok()?.guests;
        let row = guests.get(&vmid).filter(|row| row.kind == GuestKind::Vm)?;
        Some(row.node.as_str().into())
    }

    async fn read_at(&self, vmid: u32, node: &str) -> Result<Fresh, CallError> {
        let (config, current) = tokio::join!(
            look::config(&self.client, node, vmid),
            look::current(&self.client, node, vmid),
        );
        let (config, current) = (config?, current?);
        // Only now: a machine that is not there would cost a new listing each time.
        let listed = self.listed(vmid).await?;
        let mut row = listed.unwrap_or_else(|| super::observe::newcomer(vmid, &node.into()));
        row.node = node.to_owned();
        look::freshen(&mut row, current);
        Ok(look::fresh_machine(self.project.as_ref(), &row, config))
    }

    /// A machine's row in the shared listing, which is read anew when it is old, when
    /// we changed something since, or when the machine is not in it.
    async fn listed(&self, vmid: u32) -> Result<Option<GuestRow>, CallError> {
        let mut shared = self.listing.lock().await;
        let changes = self.changes.load(Ordering::SeqCst);
        let now = self.clock.monotonic();
        if let Some(listing) = &*shared
            && listing.changes == changes
            && now.saturating_sub(listing.since) < LISTING_AGE_MAX
            && let Some(row) = listing.guests.get(&vmid)
        {
            return Ok(Some(row.clone()));
        }
        let guests = look::resources(&self.client, Some("vm")).await?.guests;
        let row = guests.get(&vmid).cloned();
        *shared = Some(SharedListing { since: now, changes, guests });
        Ok(row)
    }

    pub async fn task_state(&self, task: &TaskRef) -> TaskState {
        let Some(upid) = Upid::parse(&task.0) else {
            return TaskState::Unknown(format!("`{}` does not name a task", task.0));
        };
        let at = format!("/nodes/{}/tasks/{}", segment(&upid.node), segment(&task.0));
        let mut tries = 0;
        let answer = loop {
            tries += 1;
            let answer = self.client.get::<wire::TaskStatus>(&format!("{at}/status"), &[]).await;
            match answer {
                Err(error) if error.says("no such task") && tries < NEW_TASK_TRIES => {
                    self.clock.sleep(NEW_TASK_PAUSE).await;
                }
                answer => break answer,
            }
        };
        let status = match answer {
            Ok(status) => status,
            Err(error) => return TaskState::Unknown(joined(&error)),
        };
        let state = judge_task(&status);
        // A newborn joins its pool at the end of its task.
        if state != TaskState::Running && matches!(upid.kind.as_str(), "qmclone" | "qmcreate") {
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
        match state {
            TaskState::Done(receipt) if !receipt.notes.is_empty() => {
                let notes = self.warnings(&at).await.map_or(receipt.notes, |text| vec![text]);
                TaskState::Done(Receipt { id: None, notes })
            }
            state => state,
        }
    }

    /// The warnings themselves: `WARNINGS: 1` does not say that a disk was left.
    async fn warnings(&self, at: &str) -> Option<String> {
        let path = format!("{at}/log");
        let lines: Vec<wire::LogLine> =
            self.client.get(&path, &[("start", "0"), ("limit", LOG_LINES_MAX)]).await.ok()?;
        let texts = lines.into_iter().filter_map(|line| line.t.map(|text| text.0));
        let said: Vec<String> = texts
            .filter(|text| text.to_ascii_lowercase().contains("warn") && !text.starts_with("TASK"))
            .collect();
        (!said.is_empty()).then(|| said.join("; "))
    }
}

fn read_error(operation: String, kind: ErrorKind, retry: Retry, error: ReadError) -> ProviderError {
    ProviderError { operation, kind, retry, source: Box::new(error) }
}

/// What a task's status means. Only `OK` and `WARNINGS: n` are success.
fn judge_task(status: &wire::TaskStatus) -> TaskState {
    if status.status != "stopped" {
        return TaskState::Running;
    }
    match status.exitstatus.as_ref().map(|text| text.0.trim()) {
        Some("OK") => TaskState::Done(Receipt::default()),
        Some(text) if text.starts_with("WARNINGS:") => {
            TaskState::Done(Receipt { id: None, notes: vec![text.to_owned()] })
        }
        // The worker was killed, or its node restarted: how far it came is not known.
        Some("unexpected status") | None => {
            TaskState::Unknown("the task ended without saying how".into())
        }
        // A worker may have got half-way before it failed.
        Some(text) => {
            TaskState::Failed(Refusal { kind: RefusalKind::Invalid, text: text.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: serde_json::Value) -> TaskState {
        judge_task(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn only_ok_and_warnings_are_success() {
        let stopped =
            |exit: &str| status(serde_json::json!({ "status": "stopped", "exitstatus": exit }));
        assert_eq!(status(serde_json::json!({ "status": "running" })), TaskState::Running);
        assert_eq!(stopped("OK"), TaskState::Done(Receipt::default()));
        let warned = |state| matches!(state, TaskState::Done(receipt) if receipt.notes.len() == 1);
        assert!(warned(stopped("WARNINGS: 2")));
        assert!(matches!(stopped("clone failed: no space"), TaskState::Failed(_)));
        assert!(matches!(stopped("OKAY"), TaskState::Failed(_)));
        assert!(matches!(stopped("unexpected status"), TaskState::Unknown(_)));
        assert!(matches!(
            status(serde_json::json!({ "status": "stopped" })),
            TaskState::Unknown(_)
        ));
    }
}

//! Runs work: as a task behind a UPID, or inside the request for synchronous calls.

use std::sync::Arc;
use std::time::Duration;

use super::access::Identity;
use super::error::{ApiError, ApiResult};
use super::faults::TaskFault;
use super::locks::of_storage;
use super::server::{Core, Shared};
use super::tasks;
use super::work::{Done, Work};
use crate::harness::Actor;

/// The request that work comes from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// Which.
    pub(crate) request: u64,
    /// Whose.
    pub(crate) by: Actor,
    /// What goes wrong with its task.
    pub(crate) fault: Option<TaskFault>,
}

impl Origin {
    /// Tells whoever watches what this request has changed.
    pub(crate) fn note(&self, core: &mut Core) {
        core.note(Some(self.request), &self.by);
    }
}

/// Starts a task on a node and returns its UPID. The effects come later.
pub(crate) fn spawn(
    shared: &Arc<Shared>,
    core: &mut Core,
    node: &str,
    who: &Identity,
    work: Work,
    origin: Origin,
) -> String {
    let upid = tasks::register(core, node, who, &work);
    let worker = {
        let shared = Arc::clone(shared);
        let (node, upid) = (node.to_owned(), upid.clone());
        async move {
            let result = execute(&shared, &node, &work, Some(&upid), &origin).await;
            let mut core = shared.core();
            tasks::close(&mut core, &upid, &result);
            shared.save(&core);
        }
    };
    let handle = tokio::spawn(worker);
    core.workers.insert(upid.clone(), handle.abort_handle());
    upid
}

/// Runs work inside a request; past the proxy's patience the caller gets 596 while the work goes on.
pub(crate) async fn inline(
    shared: &Arc<Shared>,
    node: &str,
    work: Work,
    origin: Origin,
) -> ApiResult<()> {
    let patience = shared.options.timing.proxy_timeout;
    let runner = {
        let shared = Arc::clone(shared);
        let node = node.to_owned();
        tokio::spawn(async move {
            let result = execute(&shared, &node, &work, None, &origin).await;
            let core = shared.core();
            shared.save(&core);
            result
        })
    };
    match tokio::time::timeout(patience, runner).await {
        Ok(Ok(result)) => result.map(drop),
        Ok(Err(_)) => Err(ApiError::died("worker died")),
        Err(_) => Err(ApiError::new(596, "Connection timed out")),
    }
}

async fn execute(
    shared: &Arc<Shared>,
    node: &str,
    work: &Work,
    upid: Option<&str>,
    origin: &Origin,
) -> ApiResult<Done> {
    let timing = &shared.options.timing;
    let _guest_locks = shared.locks.take(&work.locks(node, timing.second)).await?;
    let (stage, usual) = {
        let mut core = shared.core();
        let stage = match work.begin(&mut core, node) {
            Ok(stage) => stage,
            Err(error) => {
                // A create has laid its configuration before the task; others leave nothing behind.
                if matches!(work, Work::Create(_)) {
                    work.abandon(&mut core, node);
                }
                origin.note(&mut core);
                return Err(error);
            }
        };
        let usual = match upid {
            Some(upid) => {
                tasks::mark_begun(&mut core, upid, &stage.log);
                core.duration(work.kind())
            }
            None if stage.storages.is_empty() => Duration::ZERO,
            None => timing.slow_call,
        };
        origin.note(&mut core);
        shared.save(&core);
        (stage, usual)
    };
    let held = hold_storages(shared, node, &stage.storages).await;
    let mut outcome = held.map_err(ApiError::from);
    let mut half = stage.wait.unwrap_or(usual) / 2;
    if let Some(TaskFault::Slow(more)) = &origin.fault {
        half += *more / 2;
    }
    tokio::time::sleep(half).await;
    if outcome.is_ok() {
        let mut core = shared.core();
        work.midway(&mut core, node);
        origin.note(&mut core);
    }
    tokio::time::sleep(half).await;
    if let Some(text) = stage.fails {
        outcome = outcome.and(Err(ApiError::died(text)));
    }
    match &origin.fault {
        Some(TaskFault::Fails(text)) => {
            outcome = outcome.and(Err(ApiError::died(text.clone())));
        }
        Some(TaskFault::Vanishes) => return Err(ApiError::died(tasks::UNEXPECTED)),
        Some(TaskFault::Warns(_) | TaskFault::Slow(_)) | None => {}
    }
    let mut core = shared.core();
    let mut result = outcome.and_then(|()| work.finish(&mut core, node));
    match (&mut result, &origin.fault) {
        (Err(_), _) => work.abandon(&mut core, node),
        (Ok(done), Some(TaskFault::Warns(text))) => done.warnings.push(text.clone()),
        (Ok(_), _) => {}
    }
    origin.note(&mut core);
    result
}

/// Passes through the lock of each storage once per volume: that is what limits a clone storm.
async fn hold_storages(
    shared: &Arc<Shared>,
    node: &str,
    storages: &[(String, usize)],
) -> Result<(), String> {
    let timing = &shared.options.timing;
    for (storage, volumes) in storages {
        let is_shared =
            shared.core().world.storages.get(storage).is_some_and(|definition| definition.shared);
        for _ in 0..*volumes {
            let wish = of_storage(node, storage, is_shared, timing.second * 10);
            let _held = shared.locks.take(&[wish]).await?;
            tokio::time::sleep(timing.storage_hold).await;
        }
    }
    Ok(())
}

/// Ends, in a fixed order, what was running when the world was last saved.
pub(crate) fn settle(core: &mut Core) {
    let open: Vec<String> = core
        .world
        .tasks
        .iter()
        .filter(|(_, task)| task.exit.is_none())
        .map(|(upid, _)| upid.clone())
        .collect();
    for upid in open {
        let Some(task) = core.world.tasks.get(&upid) else {
            continue;
        };
        let (node, work, begun) = (task.node.clone(), task.work.clone(), task.begun);
        let result = match work {
            None => Err(ApiError::died(tasks::UNEXPECTED)),
            Some(work) => {
                let first = if begun { Ok(()) } else { work.begin(core, &node).map(drop) };
                let result = first.and_then(|()| work.finish(core, &node));
                if result.is_err() {
                    work.abandon(core, &node);
                }
                result
            }
        };
        tasks::close(core, &upid, &result);
    }
}

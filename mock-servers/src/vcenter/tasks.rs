//! Tasks: queued, running, done, and forgotten after a while.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::api::Call;
use super::fault::{Fault, Outcome};
use super::faults::TaskFault;
use super::jobs;
use super::server::{Core, Shared};
use super::val::{Val, flag, int, obj, text, time, word};
use super::xml::Elem;
use crate::harness::Actor;

/// How often a queued task looks whether its turn has come.
const QUEUE_POLL: Duration = Duration::from_millis(3);
/// How often a running task tells how far it is.
const STEPS: u32 = 4;
/// A recent-task list holds so many.
pub(crate) const RECENT_MAX: usize = 200;

/// A task, as it is remembered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    /// The method that started it.
    pub method: String,
    /// The id of the object it is about.
    pub entity: String,
    /// Kind and name of that object when the task began.
    pub entity_is: (String, String),
    /// Who started it.
    pub user: String,
    /// `queued`, `running`, `success` or `error`.
    pub state: String,
    /// How far it is, in percent.
    pub progress: Option<u32>,
    /// When it was asked for, in milliseconds.
    pub queued_ms: u64,
    /// When it began.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// The request that it is for, while the server that got it runs.
    #[serde(skip)]
    pub request: Option<u64>,
    /// The client's own name for the request.
    pub activation: Option<String>,
    /// Number of the events that belong to it.
    pub chain: i64,
    /// A machine that it is making.
    pub born: Option<String>,
    /// Somebody asked to end it.
    pub cancelled: bool,
    pub(crate) error: Option<Fault>,
    pub(crate) result: Option<Val>,
    pub(crate) call: Elem,
}

/// Starts a task and gives its reference.
pub(crate) fn start(core: &mut Core, call: &Call<'_>) -> Val {
    core.world.counters.task += 1;
    core.world.counters.event += 1;
    let id = format!("task-{}", core.world.counters.task);
    let entity = call.on.to_owned();
    let name = core.world.entities.get(&entity).map_or_else(String::new, |it| it.name.clone());
    let task = Task {
        method: call.elem.name.clone(),
        entity_is: (call.kind.to_owned(), name),
        entity,
        user: call.user.to_owned(),
        state: "queued".to_owned(),
        progress: None,
        queued_ms: core.now_ms(),
        started_ms: None,
        ended_ms: None,
        request: Some(call.n),
        activation: call.operation.clone().filter(|_| core.switches.activation_ids),
        chain: core.world.counters.event,
        born: None,
        cancelled: false,
        error: None,
        result: None,
        call: call.elem.clone(),
    };
    core.world.tasks.insert(id.clone(), task);
    let worker = tokio::spawn(run(Arc::clone(call.shared), id.clone(), call.fault.clone()));
    core.workers.insert(id.clone(), worker.abort_handle());
    Val::Ref("Task".into(), id)
}

/// A task's life after its call was answered.
async fn run(shared: Arc<Shared>, id: String, fault: Option<TaskFault>) {
    // Whoever asked for it has the answer before anything happens.
    tokio::task::yield_now().await;
    loop {
        {
            let mut core = shared.core();
            let Some(task) = core.world.tasks.get(&id) else { return };
            if task.cancelled {
                let fault =
                    Fault::new("RequestCanceled", "The task was canceled by a user.", vec![]);
                finish(&shared, &mut core, &id, Err(fault));
                return;
            }
            if jobs::has_turn(&mut core, &id) {
                break;
            }
        }
        tokio::time::sleep(QUEUE_POLL).await;
    }
    let begun = {
        let mut core = shared.core();
        let begun = begin(&mut core, &id);
        if let Err(fault) = &begun {
            finish(&shared, &mut core, &id, Err(fault.clone()));
        } else {
            shared.save(&core);
        }
        begun
    };
    let Ok(mut work) = begun else { return };
    if let Some(TaskFault::Slow(time)) = &fault {
        work += *time;
    }
    for step in 1..=STEPS {
        tokio::time::sleep(work / STEPS).await;
        let mut core = shared.core();
        if let Some(task) = core.world.tasks.get_mut(&id) {
            task.progress = Some(step * 99 / STEPS);
        }
        core.changed.send_modify(|turn| *turn += 1);
    }
    let mut core = shared.core();
    let outcome = match &fault {
        Some(TaskFault::Fails(text)) => {
            jobs::give_up(&mut core, &id);
            Err(Fault::system(text))
        }
        Some(TaskFault::FailsAfter(text)) => {
            jobs::finish(&mut core, &id).and(Err(Fault::system(text)))
        }
        Some(TaskFault::Vanishes | TaskFault::Slow(_)) | None => jobs::finish(&mut core, &id),
    };
    finish(&shared, &mut core, &id, outcome);
    if matches!(fault, Some(TaskFault::Vanishes)) {
        core.world.tasks.remove(&id);
    }
}

fn begin(core: &mut Core, id: &str) -> Outcome<Duration> {
    let now = core.now_ms();
    let Some(task) = core.world.tasks.get_mut(id) else {
        return Err(Fault::system("the task is gone"));
    };
    task.state = "running".to_owned();
    task.started_ms = Some(now);
    let method = task.method.clone();
    let actor = Actor::Client(task.user.clone());
    let request = task.request;
    jobs::begin(core, id)?;
    core.note(request, &actor);
    Ok(core.duration(&method))
}

fn finish(shared: &Arc<Shared>, core: &mut Core, id: &str, outcome: Outcome<Option<Val>>) {
    end(core, id, outcome);
    core.workers.remove(id);
    let of = core.world.tasks.get(id).map(|task| (task.request, task.user.clone()));
    if let Some((request, user)) = of {
        core.note(request, &Actor::Client(user));
    }
    shared.save(core);
}

/// Writes down how a task ended, and lets go of what it held.
pub(crate) fn end(core: &mut Core, id: &str, outcome: Outcome<Option<Val>>) {
    if outcome.is_err() {
        jobs::give_up(core, id);
    }
    core.slots.remove(id);
    for holders in core.holds.values_mut() {
        holders.retain(|(task, _)| task != id);
    }
    let now = core.now_ms();
    let keep = u64::try_from(core.timing.task_keep.as_millis()).unwrap_or(u64::MAX);
    if let Some(task) = core.world.tasks.get_mut(id) {
        task.started_ms.get_or_insert(now);
        task.ended_ms = Some(now);
        task.progress = None;
        match outcome {
            Ok(result) => {
                task.state = "success".to_owned();
                task.result = result;
            }
            Err(fault) => {
                task.state = "error".to_owned();
                task.error = Some(fault);
            }
        }
    }
    core.world
        .tasks
        .retain(|_, task| task.ended_ms.is_none_or(|ended| now < ended.saturating_add(keep)));
}

/// Forgets tasks that have been done for long enough.
pub(crate) fn forget(core: &mut Core) {
    let now = core.now_ms();
    let keep = u64::try_from(core.timing.task_keep.as_millis()).unwrap_or(u64::MAX);
    core.world
        .tasks
        .retain(|_, task| task.ended_ms.is_none_or(|ended| now < ended.saturating_add(keep)));
}

/// How the product names the work of a method.
fn description(method: &str, kind: &str) -> String {
    let verb = match method {
        "CreateVM_Task" => return "Folder.createVm".to_owned(),
        "CloneVM_Task" => "clone",
        "ReconfigVM_Task" => "reconfigure",
        "CustomizeVM_Task" => "customize",
        "ReconfigureComputeResource_Task" => return "ComputeResource.reconfigureEx".to_owned(),
        "PowerOnVM_Task" => "powerOn",
        "PowerOffVM_Task" => "powerOff",
        "ResetVM_Task" => "reset",
        "SuspendVM_Task" => "suspend",
        "RelocateVM_Task" => "relocate",
        "UpgradeVM_Task" => "upgradeVirtualHardware",
        "Destroy_Task" => "destroy",
        "Rename_Task" => "rename",
        "MoveIntoFolder_Task" => "moveInto",
        "UnregisterAndDestroy_Task" => "unregisterAndDestroy",
        "CreateSnapshot_Task" => "createSnapshot",
        "RevertToSnapshot_Task" => return "vm.Snapshot.revert".to_owned(),
        "RemoveSnapshot_Task" => return "vm.Snapshot.remove".to_owned(),
        "RemoveAllSnapshots_Task" => "removeAllSnapshots",
        other => other.trim_end_matches("_Task"),
    };
    format!("{kind}.{verb}")
}

/// The property `info`.
pub(crate) fn info(id: &str, task: &Task) -> Val {
    let on = Val::Ref(task.entity_is.0.clone().into(), task.entity.clone());
    let mut fields = vec![
        ("key", text(id)),
        ("task", Val::Ref("Task".into(), id.to_owned())),
        ("name", text(task.method.clone())),
        ("descriptionId", text(description(&task.method, &task.entity_is.0))),
        ("entity", on),
        ("entityName", text(task.entity_is.1.clone())),
        ("state", word("TaskInfoState", &task.state)),
        ("cancelled", flag(task.cancelled)),
        ("cancelable", flag(task.method == "CloneVM_Task" && task.ended_ms.is_none())),
        ("reason", obj("TaskReasonUser", vec![("userName", text(task.user.clone()))])),
        ("queueTime", time(task.queued_ms)),
        ("eventChainId", int(task.chain)),
    ];
    let mut some = |name, value: Option<Val>| fields.extend(value.map(|value| (name, value)));
    some("startTime", task.started_ms.map(time));
    some("completeTime", task.ended_ms.map(time));
    some("progress", task.progress.map(int));
    some("error", task.error.as_ref().map(Fault::localized));
    some("result", task.result.clone());
    some("activationId", task.activation.clone().map(text));
    obj("TaskInfo", fields)
}

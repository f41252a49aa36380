//! What became of a call whose reply was lost. Looks at the object and at the tasks around
//! it; never sends anything again.

use super::{
    observe::joined,
    provider::Inner,
    rights::same_account,
    translate::machine_ref,
    vim::{MoRef, Node, collect::Paths},
};
use crate::{
    model::{
        At, FreshObject, Intent, Kind, Located, ProviderError, Receipt, StepOp, TaskRef, TaskState,
    },
    planted::Bug,
    provider::evidence::{Evidence, judge_object},
};

pub(super) async fn locate(inner: &Inner, intent: &Intent) -> Located {
    match try_locate(inner, intent).await {
        Ok(located) => located,
        Err(error) => Located::StillUnknown(joined(&error)),
    }
}

async fn try_locate(inner: &Inner, intent: &Intent) -> Result<Located, ProviderError> {
    let mut failed = None;
    if let Some(task) = &intent.task {
        match inner.poll(std::slice::from_ref(task)).await.pop() {
            Some(TaskState::Queued | TaskState::Running) => {
                return Ok(Located::Running(task.clone()));
            }
            Some(TaskState::Done(receipt)) => return Ok(Located::Happened(receipt)),
            Some(TaskState::Failed(refusal)) => failed = Some(refusal.text),
            Some(TaskState::Unknown(_)) | None => {}
        }
    }
    if matches!(intent.target.at, At::Birth(_)) && Bug::LostBirthDenied.is_planted() {
        return Ok(Located::DidNotHappen("nobody has seen it".to_owned()));
    }
    let evidence = look(inner, intent).await?;
    match (evidence, failed) {
        (Found::Happened(receipt), _) => Ok(Located::Happened(receipt)),
        (Found::CannotTell(why), Some(_)) => Ok(Located::StillUnknown(why)),
        (Found::NotThere(_), Some(text)) => {
            Ok(Located::DidNotHappen(format!("its task failed: {text}")))
        }
        (Found::CannotTell(why), None) => ask_tasks(inner, intent, &why, false).await,
        (Found::NotThere(why), None) => {
            let located = ask_tasks(inner, intent, &why, true).await?;
            if !matches!(located, Located::DidNotHappen(_)) {
                return Ok(located);
            }
            // A task may have ended between the two looks; only what is seen after no task
            // was can prove that nothing happened.
            Ok(match look(inner, intent).await? {
                Found::Happened(receipt) => Located::Happened(receipt),
                Found::CannotTell(why) => Located::StillUnknown(why),
                Found::NotThere(_) => located,
            })
        }
    }
}

/// What the object says.
enum Found {
    Happened(Receipt),
    NotThere(String),
    CannotTell(String),
}

async fn look(inner: &Inner, intent: &Intent) -> Result<Found, ProviderError> {
    let fresh = inner.read(&intent.target).await?;
    Ok(match judge_object(intent, &fresh.object) {
        Evidence::Happened => {
            let born = matches!(intent.target.at, At::Birth(_));
            let id = match &fresh.object {
                FreshObject::Machine(machine) if born => Some(machine.id.clone()),
                _ => None,
            };
            Found::Happened(Receipt { id, notes: Vec::new() })
        }
        Evidence::NotThere(why) => Found::NotThere(why),
        Evidence::InFlight(why) | Evidence::CannotTell(why) => Found::CannotTell(why),
    })
}

/// Asks the tasks around the object whether one of them may be the call's.
async fn ask_tasks(
    inner: &Inner,
    intent: &Intent,
    why: &str,
    proves: bool,
) -> Result<Located, ProviderError> {
    let running = running_tasks(inner, intent).await?;
    let ours: Vec<&TaskRef> =
        running.iter().filter(|it| it.may_be_ours).map(|it| &it.task).collect();
    Ok(match running.as_slice() {
        [_, ..] if ours.len() == 1 => Located::Running(ours[0].clone()),
        [] => {
            let age_ms = inner.clock.now_ms().saturating_sub(intent.begun_ms);
            let settled = u128::try_from(age_ms).is_ok_and(|age| age >= inner.settle.as_millis());
            match proves && settled {
                true => Located::DidNotHappen(format!("{why}, and no task of it runs")),
                false => Located::StillUnknown(format!("{why}, and the call may be on its way")),
            }
        }
        // Whose they are, nobody knows: a backup of somebody else is no sign of our call.
        many => Located::StillUnknown(format!("{why}, and {} tasks run there", many.len())),
    })
}

/// A task that runs.
struct Running {
    task: TaskRef,
    /// Whether this account began it, and it is of the kind that the call begins. A birth's
    /// task is filed under its source or its folder, where those of other births run too.
    may_be_ours: bool,
}

/// What a call's task is called at its end.
fn described(op: &str) -> Option<&'static str> {
    match op {
        "configure" => Some(".reconfigure"),
        "upgrade-hardware" => Some(".upgradeVirtualHardware"),
        "customize" => Some(".customize"),
        "move-disks" | "set-pool" => Some(".relocate"),
        "create-spread" | "set-spread" | "delete-spread" => Some(".reconfigureEx"),
        "start" => Some(".powerOn"),
        "stop" => Some(".powerOff"),
        "take-snapshot" => Some(".createSnapshot"),
        "remove-snapshot" => Some(".Snapshot.remove"),
        "delete" => Some(".destroy"),
        _ => None,
    }
}

/// Tasks that run now on what the call was sent to.
async fn running_tasks(inner: &Inner, intent: &Intent) -> Result<Vec<Running>, ProviderError> {
    if intent.target.key.kind == Kind::Pool || StepOp::is_about_labels_name(&intent.op) {
        return Ok(Vec::new());
    }
    let operation = "look for its task";
    let cluster = match &intent.target.node {
        Some(node) if intent.target.key.kind == Kind::Spread => {
            let places = inner.places(operation).await?;
            places.nodes.get(node).map(|it| it.compute.clone())
        }
        Some(_) | None => None,
    };
    let (subject, kind) = match (&intent.source, &intent.target.at) {
        (None, _) if intent.target.key.kind == Kind::Spread => match cluster {
            Some(cluster) => (cluster, "ClusterComputeResource"),
            None => return Ok(Vec::new()),
        },
        (Some(source), _) => match source.id() {
            Some(id) => (machine_ref(id), "VirtualMachine"),
            None => return Ok(Vec::new()),
        },
        (None, At::Id(id)) => (machine_ref(id), "VirtualMachine"),
        (None, At::Birth(place)) => {
            let places = inner.places(operation).await?;
            match inner.around(&places).folder_of(place.pool.as_ref()) {
                Ok(folder) => (folder, "Folder"),
                Err(_) => return Ok(Vec::new()),
            }
        }
    };
    let tasks = recent(inner, &subject, kind, operation).await?;
    let states = inner.client.task_states(&tasks, operation).await;
    let states = states.map_err(|error| error.into_provider(operation))?;
    let open = tasks.into_iter().zip(states).filter(|(_, state)| !state.is_final());
    let open: Vec<MoRef> = open.map(|(task, _)| task).collect();
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let paths = Paths::of("Task", &["info.descriptionId", "info.reason"]);
    let read = inner.client.properties(&open, &paths, operation).await;
    let read = read.map_err(|error| error.into_provider(operation))?;
    let wanted = described(&intent.op);
    let mut running = Vec::new();
    for task in &open {
        let Some(task_ref) = inner.task_ref(task).await else { continue };
        let told = read.objects.iter().find(|it| it.obj == *task).map(|it| &it.props);
        let kind = told.and_then(|it| it.get("info.descriptionId")).and_then(Node::as_word);
        let who = told.and_then(|it| it.get("info.reason")).and_then(|it| it.word_at("userName"));
        let fits = kind.zip(wanted).is_some_and(|(kind, wanted)| kind.ends_with(wanted));
        let by_us = who.is_some_and(|who| same_account(who, inner.client.username()));
        running.push(Running { task: task_ref, may_be_ours: fits && by_us });
    }
    Ok(running)
}

async fn recent(
    inner: &Inner,
    subject: &MoRef,
    kind: &'static str,
    operation: &str,
) -> Result<Vec<MoRef>, ProviderError> {
    let paths = Paths::of(kind, &["recentTask"]);
    let read = inner.client.properties(std::slice::from_ref(subject), &paths, operation).await;
    let read = read.map_err(|error| error.into_provider(operation))?;
    let list = read.objects.first().and_then(|object| object.props.get("recentTask"));
    Ok(list.map(Node::morefs).unwrap_or_default())
}

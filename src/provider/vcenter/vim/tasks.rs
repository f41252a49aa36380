//! What runs: the state of many tasks at once, asked or waited for.
//!
//! A server keeps a task for a while after its end and then forgets it, so "gone" is a
//! state of its own: what became of the work has to be seen on the object.

use super::{
    client::{Session, VimClient},
    codec::Request,
    collect::{Paths, filter_spec, over_view, property, reference},
    error::CallError,
    fault::{Fault, FaultKind},
    node::Node,
    val::{MoRef, Val},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Mutex;

/// How a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskStatus {
    /// Waits for its turn; that is healthy, however long.
    Queued,
    /// Runs.
    Running {
        /// Per cent, when the server tells.
        progress: Option<u8>,
    },
    /// Ended well.
    Success {
        /// What it made, for those that make something.
        result: Option<Node>,
    },
    /// Ended badly.
    Error(Fault),
    /// The server does not know it (any more).
    Gone,
    /// It is there, and its state may not be read.
    Unreadable(Fault),
}

impl TaskStatus {
    /// Whether nothing more will come of it.
    pub fn is_final(&self) -> bool {
        match self {
            TaskStatus::Success { .. } | TaskStatus::Error(_) | TaskStatus::Gone => true,
            TaskStatus::Queued | TaskStatus::Running { .. } | TaskStatus::Unreadable(_) => false,
        }
    }
}

const STATE: &str = "info.state";
const PROGRESS: &str = "info.progress";
const ERROR: &str = "info.error";
const RESULT: &str = "info.result";

impl VimClient {
    /// How these tasks stand, in the order asked, with one read for up to 500 of them.
    ///
    /// # Errors
    /// When none could be asked.
    pub async fn task_states(
        &self,
        tasks: &[MoRef],
        operation: &str,
    ) -> Result<Vec<TaskStatus>, CallError> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        // An object that is named twice is an error to some servers.
        let unique: Vec<MoRef> =
            tasks.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let paths = Paths::of("Task", &[STATE, PROGRESS, ERROR, RESULT]);
        let read = self.properties(&unique, &paths, operation).await?;
        let mut found: BTreeMap<MoRef, TaskStatus> = BTreeMap::new();
        for task in read.objects {
            found.insert(task.obj, status(&task.props, &task.missing));
        }
        let state = |task: &MoRef| found.get(task).cloned().unwrap_or(TaskStatus::Gone);
        Ok(tasks.iter().map(state).collect())
    }
}

fn status(props: &BTreeMap<String, Node>, missing: &BTreeMap<String, Fault>) -> TaskStatus {
    match props.get(STATE).and_then(Node::as_word) {
        Some("queued") => TaskStatus::Queued,
        Some("running") => {
            let progress = props.get(PROGRESS).and_then(Node::as_i64);
            TaskStatus::Running { progress: progress.and_then(|it| u8::try_from(it).ok()) }
        }
        Some("success") => TaskStatus::Success { result: props.get(RESULT).cloned() },
        Some("error") => TaskStatus::Error(match props.get(ERROR) {
            Some(error) => Fault::localized(error),
            None => Fault::untyped("unknown fault", "the task failed and does not say why"),
        }),
        Some(other) => TaskStatus::Unreadable(Fault::untyped("unknown task state", other)),
        None => match missing.get(STATE) {
            Some(fault) if fault.is(&FaultKind::ManagedObjectNotFound) => TaskStatus::Gone,
            Some(fault) => TaskStatus::Unreadable(fault.clone()),
            None => TaskStatus::Unreadable(Fault::untyped("unknown task state", "")),
        },
    }
}

/// The longest wait that one request asks for: proxies on the way cut what is silent for
/// a minute.
const WAIT_MAX: Duration = Duration::from_secs(25);
/// The server may think for longer than it was told to wait.
const WAIT_GRACE: Duration = Duration::from_secs(60);
/// What the product itself caps an answer at.
const UPDATES_MAX: i32 = 100;
/// Answers in a row that say that there is more.
const ROUNDS_MAX: usize = 100;

/// Waits for tasks with one long poll for all of them, in a collector of its own: ending
/// its wait disturbs nobody else's.
#[derive(Debug, Default)]
pub struct TaskWatch {
    watched: Mutex<Option<Watched>>,
}

/// What exists at the server. Dies with the session.
struct Watched {
    session: Arc<Session>,
    collector: MoRef,
    list: MoRef,
    version: String,
    members: BTreeSet<MoRef>,
    /// Those that were seen at their end. A stale update never takes one back.
    ended: BTreeSet<MoRef>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("members", &self.members.len()).finish_non_exhaustive()
    }
}

impl TaskWatch {
    /// How these tasks stand, in the order asked. Waits until one of them has ended, or
    /// for so long. Where waiting is not to be had, they are asked once.
    ///
    /// # Errors
    /// When none could be asked.
    pub async fn poll(
        &self,
        client: &VimClient,
        tasks: &[MoRef],
        wait: Duration,
        operation: &str,
    ) -> Result<Vec<TaskStatus>, CallError> {
        let wanted: BTreeSet<MoRef> = tasks.iter().cloned().collect();
        // Taken out while it is used: when this future is dropped half-way, nobody knows
        // what the server has heard, and the next one begins anew.
        let mut place = self.watched.lock().await;
        let watch = Watch { client, operation };
        match watch.until_one_ends(place.take(), &wanted, wait).await {
            Ok(watched) => *place = watched,
            // The collector is a convenience; the answer below is what counts, and it
            // says so when the server cannot be reached at all.
            Err(_) => *place = None,
        }
        drop(place);
        client.task_states(tasks, operation).await
    }

    /// Takes down what exists at the server.
    pub async fn close(&self, client: &VimClient) {
        let watched = self.watched.lock().await.take();
        if let Some(watched) = watched {
            Watch { client, operation: "close" }.take_down(&watched).await;
        }
    }
}

struct Watch<'a> {
    client: &'a VimClient,
    operation: &'a str,
}

impl Watch<'_> {
    /// Brings what is watched up to date and waits.
    async fn until_one_ends(
        &self,
        watched: Option<Watched>,
        wanted: &BTreeSet<MoRef>,
        wait: Duration,
    ) -> Result<Option<Watched>, CallError> {
        if wanted.is_empty() {
            return Ok(watched);
        }
        let session = self.client.session().await?;
        let old = watched.filter(|old| Arc::ptr_eq(&old.session, &session));
        let mut watched = match old {
            Some(old) => self.keep_up(old, wanted).await?,
            None => self.set_up(&session, wanted).await?,
        };
        if watched.ended.is_disjoint(wanted) {
            self.wait(&mut watched, wait).await?;
        }
        Ok(Some(watched))
    }

    async fn set_up(
        &self,
        session: &Arc<Session>,
        wanted: &BTreeSet<MoRef>,
    ) -> Result<Watched, CallError> {
        let root = self.client.part("propertyCollector").await?;
        let views = self.client.part("viewManager").await?;
        let made = self.call(session, "CreatePropertyCollector", &root, &[]).await?;
        let collector = reference(&made)?;
        let args = [("obj", Val::arr(wanted))];
        let list = reference(&self.call(session, "CreateListView", &views, &args).await?)?;
        let spec = filter_spec(&[Paths::of("Task", &[STATE])], vec![over_view(&list, "ListView")]);
        let args = [("spec", spec), ("partialUpdates", true.into())];
        self.call(session, "CreateFilter", &collector, &args).await?;
        Ok(Watched {
            session: Arc::clone(session),
            collector,
            list,
            version: String::new(),
            members: wanted.clone(),
            ended: BTreeSet::new(),
        })
    }

    async fn keep_up(
        &self,
        mut watched: Watched,
        wanted: &BTreeSet<MoRef>,
    ) -> Result<Watched, CallError> {
        let add: Vec<&MoRef> = wanted.difference(&watched.members).collect();
        let remove: Vec<&MoRef> = watched.members.difference(wanted).collect();
        if add.is_empty() && remove.is_empty() {
            return Ok(watched);
        }
        let args = [("add", Val::arr(add)), ("remove", Val::arr(remove))];
        let answer = self.call(&watched.session, "ModifyListView", &watched.list, &args).await?;
        watched.members.clone_from(wanted);
        watched.ended.retain(|task| wanted.contains(task));
        // What the server cannot resolve has ended, as far as anyone can wait for it.
        watched.ended.extend(answer.all("returnval").filter_map(Node::as_moref));
        Ok(watched)
    }

    /// One wait, and whatever more there is to fetch at once after it.
    async fn wait(&self, watched: &mut Watched, wait: Duration) -> Result<(), CallError> {
        let until = self.client.elapsed() + wait.min(WAIT_MAX);
        let mut more = false;
        for _ in 0..ROUNDS_MAX {
            let left = until.saturating_sub(self.client.elapsed());
            let left = if more { Duration::ZERO } else { left };
            let options = Val::obj("WaitOptions")
                .with("maxWaitSeconds", left.as_millis().div_ceil(1_000).to_string())
                .with("maxObjectUpdates", UPDATES_MAX);
            let args = [("version", watched.version.as_str().into()), ("options", options)];
            let request = Request {
                method: "WaitForUpdatesEx",
                this: &watched.collector,
                args: &args,
                operation: Some(self.operation),
            };
            let patience = Some(left + WAIT_GRACE);
            let answer = self.client.read_in(&watched.session, &request, patience).await?;
            let Some(update) = answer.into_returned() else { return Ok(()) };
            watched.version = update.text_at("version").unwrap_or_default().to_owned();
            more = update.bool_at("truncated") == Some(true);
            note_ended(&mut watched.ended, update)?;
            let over = !watched.ended.is_empty() || self.client.elapsed() >= until;
            if over && !more {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn take_down(&self, watched: &Watched) {
        let session = &watched.session;
        let _ = self.call(session, "DestroyPropertyCollector", &watched.collector, &[]).await;
        let _ = self.call(session, "DestroyView", &watched.list, &[]).await;
    }

    async fn call(
        &self,
        session: &Session,
        method: &str,
        this: &MoRef,
        args: &[(&str, Val)],
    ) -> Result<Node, CallError> {
        let request = Request { method, this, args, operation: Some(self.operation) };
        self.client.read_in(session, &request, None).await
    }
}

/// Notes the tasks that an update shows at their end, or no more at all.
fn note_ended(ended: &mut BTreeSet<MoRef>, update: Node) -> Result<(), CallError> {
    let filters = update.children.into_iter().filter(|it| it.name == "filterSet");
    for object in filters.flat_map(|it| it.children).filter(|it| it.name == "objectSet") {
        let Some(task) = object.moref_at("obj") else { continue };
        let left = object.word_at("kind") == Some("leave");
        let mut over = left || object.child("missingSet").is_some();
        for change in object.children.into_iter().filter(|it| it.name == "changeSet") {
            let (path, value) = property(change)?;
            let state = value.as_ref().and_then(Node::as_word);
            over |= path == STATE && matches!(state, Some("success" | "error"));
        }
        if over {
            ended.insert(task);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "tasks_tests.rs"]
mod tests;

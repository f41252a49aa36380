//! What runs: the state of many tasks at once.
//!
//! A server keeps a task for a while after its end and then forgets it, so "gone" is a
//! state of its own: what became of the work has to be seen on the object.

use super::{
    client::VimClient,
    collect::Paths,
    error::CallError,
    fault::{Fault, FaultKind},
    node::Node,
    val::MoRef,
};
use std::collections::{BTreeMap, BTreeSet};

/// How a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskStatus {
    /// Waits for its turn; that is healthy, however long.
    Queued,
    /// Runs.
    Running,
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
            TaskStatus::Queued | TaskStatus::Running | TaskStatus::Unreadable(_) => false,
        }
    }
}

const STATE: &str = "info.state";
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
        let paths = Paths::of("Task", &[STATE, ERROR, RESULT]);
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
        Some("running") => TaskStatus::Running,
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

#[cfg(test)]
#[path = "tasks_tests.rs"]
mod tests;

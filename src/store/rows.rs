//! What goes into the store and what comes out, as plain data.

use crate::model::{ActionId, HypervisorName, NativeId, ProjectName, ResourceKey, TaskRef, Verb};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};
use uuid::Uuid;

/// Who ran something, from where and why. Holds the only personal data of the store.
// Fields are in the order of the alphabet: this is part of the canonical JSON that
// the chain hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The CI job, when one ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci_job: Option<String>,
    /// The commit that the files came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
    /// The machine that novahost ran on.
    pub host: String,
    /// Why, as the user gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The ticket, as the user gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// The user of that machine.
    pub user: String,
}

/// A run that begins.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id, a UUIDv7 so that runs sort by time.
    pub id: Uuid,
    /// Whose.
    pub project: ProjectName,
    /// The plan that it carries out.
    pub plan_id: String,
    /// That plan as a document.
    pub plan_json: String,
    /// What kind of run: `apply`.
    pub kind: String,
    /// Who runs it.
    pub who: Who,
    /// Milliseconds since 1970.
    pub started_ms: i64,
    /// What it sets out to do, in the order of the plan.
    pub actions: Vec<(ActionId, ResourceKey, HypervisorName, Verb)>,
}

/// How far an action has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "detail", rename_all = "lowercase")]
pub enum ActionState {
    /// Its steps are being sent.
    Running,
    /// Done and verified.
    Done,
    /// It failed, and why.
    Failed(String),
    /// It was not begun because of another, and which.
    Blocked(String),
    /// The world moved since the plan, and how.
    Stale(String),
    /// What became of it cannot be told, and why.
    Unknown(String),
    /// It was left out, and why.
    Skipped(String),
}

impl ActionState {
    pub(super) fn parts(&self) -> (&'static str, Option<&str>) {
        match self {
            ActionState::Running => ("running", None),
            ActionState::Done => ("done", None),
            ActionState::Failed(why) => ("failed", Some(why)),
            ActionState::Blocked(why) => ("blocked", Some(why)),
            ActionState::Stale(why) => ("stale", Some(why)),
            ActionState::Unknown(why) => ("unknown", Some(why)),
            ActionState::Skipped(why) => ("skipped", Some(why)),
        }
    }
}

impl fmt::Display for ActionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (word, Some(why)) => write!(f, "{word}: {why}"),
            (word, None) => f.write_str(word),
        }
    }
}

/// What came of one mutating call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "detail", rename_all = "kebab-case")]
pub enum StepOutcome {
    /// It happened.
    Done,
    /// What it would bring about held already; nothing was sent.
    AlreadySo,
    /// Proved not to have happened, in the hypervisor's words.
    Refused(String),
    /// Never left, and why.
    NotSent(String),
    /// It may have happened. The only outcome that a later one may replace.
    Unknown(String),
}

impl StepOutcome {
    pub(super) fn parts(&self) -> (&'static str, Option<&str>) {
        match self {
            StepOutcome::Done => ("done", None),
            StepOutcome::AlreadySo => ("already-so", None),
            StepOutcome::Refused(why) => ("refused", Some(why)),
            StepOutcome::NotSent(why) => ("not-sent", Some(why)),
            StepOutcome::Unknown(why) => ("unknown", Some(why)),
        }
    }
}

impl fmt::Display for StepOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (word, Some(why)) => write!(f, "{word}: {why}"),
            (word, None) => f.write_str(word),
        }
    }
}

/// One run, for lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunRow {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub project: ProjectName,
    /// The plan that it carried out.
    pub plan_id: String,
    /// What kind of run.
    pub kind: String,
    /// Who ran it.
    pub who: Who,
    /// Milliseconds since 1970.
    pub started_ms: i64,
    /// Milliseconds since 1970; `None` = still going, or broken off.
    pub finished_ms: Option<i64>,
    /// Its exit code.
    pub code: Option<i32>,
    /// What it said at its end.
    pub summary: Option<String>,
    /// The chain's head that it printed at its end.
    pub head: Option<String>,
    /// Actions it set out to do.
    pub actions: u32,
    /// Of them, done.
    pub done: u32,
}

/// One run with all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunDetail {
    /// The run.
    pub run: RunRow,
    /// The plan as a document.
    pub plan_json: String,
    /// Its actions, in the order of the plan.
    pub actions: Vec<ActionRow>,
    /// Its mutating calls, in the order in which they were meant.
    pub steps: Vec<StepRow>,
    /// Its part of the chain.
    pub entries: Vec<EntryRow>,
}

/// One action of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActionRow {
    /// Its id.
    pub id: ActionId,
    /// The object.
    pub key: ResourceKey,
    /// Where it is.
    pub hypervisor: HypervisorName,
    /// What is done, in the plan's word.
    pub verb: String,
    /// How far it has come; `None` = never begun.
    pub state: Option<ActionState>,
    /// When that was written, milliseconds since 1970.
    pub at_ms: Option<i64>,
}

/// What was written to one object, over all runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// When the last call that did something ended (milliseconds since 1970); `None` =
    /// none did.
    pub at_ms: Option<i64>,
    /// Every task that was begun.
    pub tasks: BTreeSet<TaskRef>,
}

/// One mutating call of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepRow {
    /// Its row.
    pub row: i64,
    /// The action it belongs to.
    pub action: ActionId,
    /// Which step, from 0.
    pub step: u32,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The object.
    pub key: ResourceKey,
    /// Where it was sent.
    pub hypervisor: HypervisorName,
    /// The object's native id.
    pub id: NativeId,
    /// The call's name in the vocabulary.
    pub op: String,
    /// Digest of what was read before it.
    pub before: Option<String>,
    /// Digest of what was read after it.
    pub after: Option<String>,
    /// The hypervisor's task.
    pub task: Option<TaskRef>,
    /// What came of it; `None` = never written down.
    pub outcome: Option<StepOutcome>,
    /// Milliseconds since 1970.
    pub begun_ms: i64,
    /// Milliseconds since 1970.
    pub accepted_ms: Option<i64>,
    /// Milliseconds since 1970.
    pub finished_ms: Option<i64>,
}

/// What happened, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A run began.
    RunBegun,
    /// A run that had ended or broken off goes on.
    RunResumed,
    /// A run ended.
    RunFinished,
    /// An action came further.
    ActionState,
    /// A mutating call is about to leave.
    StepIntended,
    /// A hypervisor took a call and gave a task.
    StepAccepted,
    /// What came of a call.
    StepFinished,
    /// An object is remembered as ours.
    Owned,
    /// An object is no longer remembered as ours.
    Disowned,
    /// A lease that had run out was taken over.
    LeaseTakenOver,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Event::RunBegun => "run begun",
            Event::RunResumed => "run resumed",
            Event::RunFinished => "run finished",
            Event::ActionState => "action",
            Event::StepIntended => "call intended",
            Event::StepAccepted => "call accepted",
            Event::StepFinished => "call finished",
            Event::Owned => "owned",
            Event::Disowned => "disowned",
            Event::LeaseTakenOver => "lease taken over",
        })
    }
}

/// One row of the chain: what its hash covers.
// Fields are in the order of the alphabet, here and in `Who`, and what is absent is
// left out: serialised, this is canonical JSON. A new field or event is a new schema
// version, so that an older program refuses the file and does not misread a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionId>,
    /// Digest of what was read after a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Milliseconds since 1970, by the clock of the machine that wrote it.
    pub at_ms: i64,
    /// Which attempt at the step, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Digest of what was read before a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The exit code of a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// What happened.
    pub event: Event,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<HypervisorName>,
    /// The object's native id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<NativeId>,
    /// The object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<ResourceKey>,
    /// The call's name in the vocabulary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    /// The plan; empty outside a run.
    pub plan_id: String,
    /// Whose.
    pub project: ProjectName,
    /// The run.
    pub run: Uuid,
    /// Its place in the chain, from 1, without gaps.
    pub seq: i64,
    /// The state of an action, or the outcome of a call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Which step, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
    /// The hypervisor's task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskRef>,
    /// Words about it, some of them a hypervisor's: to be made inert where shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Who ran it.
    pub who: Who,
}

/// One row of the chain with its links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EntryRow {
    /// What it says.
    pub entry: Entry,
    /// The hash of the row before it.
    pub prev: String,
    /// Its own hash.
    pub hash: String,
}

/// Which entries to read.
#[derive(Clone, Debug)]
pub struct EntryFilter {
    /// Of this run only.
    pub run: Option<Uuid>,
    /// About this object only.
    pub key: Option<ResourceKey>,
    /// At most so many, the newest.
    pub limit: u32,
}

impl Default for EntryFilter {
    /// The last hundred of all.
    fn default() -> Self {
        Self { run: None, key: None, limit: 100 }
    }
}

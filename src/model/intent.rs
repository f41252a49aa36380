//! What the journal holds of one mutating call before it leaves, so that what
//! became of it can be looked up after a lost reply or a crash.

use super::{ActionId, HypervisorName, ProjectName, ResourceKey, Target, TaskRef};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Whose object is being made or changed, in values that only a run can know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Whose.
    pub project: ProjectName,
    /// Which entry.
    pub key: ResourceKey,
    /// Which creation: UUIDv5 of plan id and key; a continued build keeps the marker's.
    pub intent: Uuid,
    /// The machine UUID that we choose: UUIDv5 of project, key and intent; of a
    /// machine that exists, its own.
    pub uuid: Option<Uuid>,
}

/// One mutating call, as the journal knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The run that sends it.
    pub run: Uuid,
    /// The action it belongs to.
    pub action: ActionId,
    /// Which step of it, from 0.
    pub step: u32,
    /// Which attempt at this step, from 1.
    pub attempt: u32,
    /// Where it is sent.
    pub hypervisor: HypervisorName,
    /// At what.
    pub target: Target,
    /// Whose it is.
    pub identity: Identity,
    /// The step's name in the vocabulary.
    pub op: String,
    /// For a clone: the source, which is what some products file the task under.
    pub source: Option<Target>,
    /// What holds afterwards, so that a look can tell whether it happened.
    pub end: super::Expect,
    /// Milliseconds since 1970 when the row was written, by our clock.
    pub begun_ms: i64,
    /// The product's task, once it was accepted.
    pub task: Option<TaskRef>,
}

impl Intent {
    /// An id for products that take one with each call: the same call sent again is
    /// the same request, another attempt is another.
    pub fn request_id(&self) -> Uuid {
        let text = format!("{}/{}/{}/{}", self.run, self.action, self.step, self.attempt);
        Uuid::new_v5(&self.identity.intent, text.as_bytes())
    }
}

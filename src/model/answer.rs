//! What a provider answers: what it read, what became of a call, and why it could not.

use super::{NativeId, ObservedMachine, ObservedPool, ObservedSpread};
use serde::{Deserialize, Serialize};

/// One object, just read from its own place.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// What is there.
    pub object: FreshObject,
    /// The product's own version of it (a digest, an ETag): never in a plan, lives
    /// only until the write that follows.
    pub version: Option<String>,
    /// The product's own form of it, for the provider to write it back complete.
    pub raw: serde_json::Value,
}

impl Fresh {
    /// Nothing was found.
    pub fn absent() -> Self {
        Self { object: FreshObject::Absent, version: None, raw: serde_json::Value::Null }
    }
}

/// What a fresh read found.
#[derive(Clone, Debug)]
pub enum FreshObject {
    /// A machine.
    Machine(Box<ObservedMachine>),
    /// A pool.
    Pool(ObservedPool),
    /// Machines that are kept apart.
    Spread(ObservedSpread),
    /// Proved not to be there, on any host.
    Absent,
    /// Something is there and cannot be read (a locked birth, a dead node).
    Unreadable(String),
}

/// The product's own asynchronous job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskRef(pub String);

/// How a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Not begun: the product has others to do first. How long a task may take counts from
    /// its beginning.
    Queued,
    /// Still going.
    Running,
    /// Ended well, with what it made and what it warns of.
    Done(Receipt),
    /// Ended badly. `Conflict`, `Busy` and `Exists` say that it did nothing; of the others
    /// a look has to tell.
    Failed(Refusal),
    /// Cannot be told.
    Unknown(String),
}

/// What came of one mutating call.
#[derive(Debug)]
pub enum Submitted {
    /// It is done.
    Done(Receipt),
    /// A task was begun.
    Accepted(TaskRef),
    /// Proved not done.
    Refused(Refusal),
    /// Never left.
    NotSent(ProviderError),
    /// It may have happened.
    Unknown(ProviderError),
}

/// Facts that came back with a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The native id of what was made, when the product chose it.
    pub id: Option<NativeId>,
    /// Worth a line.
    pub notes: Vec<String>,
}

/// A call that was refused, so that nothing happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of refusal.
    pub kind: RefusalKind,
    /// The product's words, without secrets.
    pub text: String,
}

/// What kind of refusal; decides whether to read again, wait, or give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The object changed since it was read: read again.
    Conflict,
    /// It is locked, or busy: wait.
    Busy,
    /// What was to be made exists: the claim is lost.
    Exists,
    /// What was to be changed does not exist.
    Missing,
    /// The guest cannot be asked: there is nothing in it that would hear.
    GuestDeaf,
    /// A privilege is missing.
    Permission,
    /// The credentials are refused.
    Auth,
    /// The product finds fault with the request, or with the state of the world.
    Invalid,
}

impl RefusalKind {
    /// Whether a call that ended like this did nothing at all, also as a task.
    pub fn leaves_all_as_it_was(self) -> bool {
        match self {
            RefusalKind::Conflict
            | RefusalKind::Busy
            | RefusalKind::Exists
            | RefusalKind::GuestDeaf => true,
            RefusalKind::Missing
            | RefusalKind::Permission
            | RefusalKind::Auth
            | RefusalKind::Invalid => false,
        }
    }
}

/// What became of a call whose reply was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// A task of it is running.
    Running(TaskRef),
    /// It happened.
    Happened(Receipt),
    /// It did not, and this is how we know.
    DidNotHappen(String),
    /// Cannot be told yet.
    StillUnknown(String),
}

/// An error of a provider: which call, on what, and whether again can help.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation}")]
pub struct ProviderError {
    /// What was being done, beginning with a verb: "read vm 100 on pve1".
    pub operation: String,
    /// What kind of trouble.
    pub kind: ErrorKind,
    /// Whether trying again can help; only the runner acts on it.
    pub retry: Retry,
    /// The cause.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// No connection, or no answer in time.
    Unreachable,
    /// The certificate is not the one that is trusted.
    Certificate,
    /// Another installation answers under this name.
    Identity,
    /// Trust settings do not cover this host.
    Trust,
    /// The credentials are refused.
    Auth,
    /// A privilege is missing.
    Permission,
    /// An answer that cannot be understood.
    Decode,
    /// The product refused for another reason.
    Refused,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// No.
    No,
    /// At once.
    Now,
    /// After this long.
    After(std::time::Duration),
}

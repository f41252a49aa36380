//! Who changed a machine behind our back, as far as the product's own log of tasks
//! tells. It is told beside a plan and decides nothing.

use super::{FieldKind, NativeId, NodeName, TaskRef};
use std::collections::{BTreeMap, BTreeSet};

/// A machine that is not as we left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Altered {
    /// Its native id.
    pub id: NativeId,
    /// The host that it is on; `None` = it is on none any more.
    pub node: Option<NodeName>,
    /// What differs; empty = the machine as a whole: its marker, or that it is gone.
    pub fields: BTreeSet<FieldKind>,
    /// When we last wrote to it (milliseconds since 1970); `None` = nobody remembers.
    pub since_ms: Option<i64>,
    /// Our own tasks, which are not looked for.
    pub ours: BTreeSet<TaskRef>,
}

/// What the log of tasks says of some machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authors {
    /// The last task of somebody else that can explain the difference. A machine that
    /// is not here has none: not every call makes a task.
    pub found: BTreeMap<NativeId, Author>,
    /// What could not be read; empty when the logs are whole.
    pub gaps: Vec<String>,
}

/// Who began a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The account, as the product files it: `root@pam`, `ops@pve!laptop`.
    pub who: String,
    /// The product's name for the task: `qmconfig`.
    pub task: String,
    /// When it began, by the product's clock (milliseconds since 1970).
    pub at_ms: i64,
}

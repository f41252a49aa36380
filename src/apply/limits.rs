//! Every bound of the runner, by name.

use crate::model::HypervisorName;
use std::{collections::BTreeMap, time::Duration};

/// Conflicts of one step that are answered by reading again. More means that
/// somebody keeps writing, and a person should know.
pub(super) const CONFLICTS_MAX: u32 = 5;
/// Calls of one step that may get lost and prove harmless before a person should know.
pub(super) const LOST_MAX: u32 = 5;
/// Calls of one step in all. Each kind of retry has its own bound below this; it only
/// keeps a loop that nobody thought of from going on for ever.
pub(super) const ATTEMPTS_MAX: u32 = 64;
/// Reads and listings that are tried again when trying again can help.
pub(super) const READ_TRIES: u32 = 5;
/// A listing older than this proves no claim.
pub(super) const LISTING_AGE_MAX: Duration = Duration::from_secs(30);
/// First question about a task.
pub(super) const POLL_START: Duration = Duration::from_millis(50);
/// Each question comes this much later than the one before, so that the end of a
/// task is seen at most a quarter of its length late.
pub(super) const POLL_GROWTH: f64 = 1.25;
/// Questions are never further apart than this.
pub(super) const POLL_MAX: Duration = Duration::from_secs(2);
/// Times in a row that a task's state may be untellable: a task is not always
/// listed at once, and a node may be busy for an instant.
pub(super) const POLL_UNKNOWN_MAX: u32 = 5;
/// Looks at an object whose call ended well until its end shows: products answer
/// from caches that lag by an instant.
pub(super) const VERIFY_TRIES: u32 = 6;

/// Bounds that settings can change.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Actions in flight in the whole run.
    pub run: usize,
    /// Actions in flight per hypervisor; one that is missing here gets 4.
    pub writes: BTreeMap<HypervisorName, usize>,
    /// Clones of one template at a time. More only wait for each other's locks.
    pub clones_per_source: usize,
    /// How long a locked or busy object is waited for.
    pub busy: Duration,
    /// How long a task is followed.
    pub task: Duration,
    /// How long a lost reply is looked up.
    pub lookup: Duration,
    /// How long open tasks are followed after an interrupt.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            run: 16,
            writes: BTreeMap::new(),
            clones_per_source: 2,
            // A snapshot or a migration holds its lock for minutes; a backup may hold
            // it for hours, which is for the next run.
            busy: Duration::from_secs(300),
            // A full copy of a large disk on slow storage.
            task: Duration::from_secs(2 * 3600),
            // A node that is restarted answers again within a few minutes.
            lookup: Duration::from_secs(180),
            drain: Duration::from_secs(120),
        }
    }
}

impl Limits {
    /// Actions in flight on one hypervisor.
    pub(super) fn writes_on(&self, hypervisor: &HypervisorName) -> usize {
        self.writes.get(hypervisor).copied().unwrap_or(4).max(1)
    }
}

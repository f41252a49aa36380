//! Work that takes time: what it is, what it locks, and its two halves.
//!
//! Work is data, so that a world stopped in the middle of a task can be ended on its next load. Each kind has a
//! first half (checks under the lock, visible beginnings), a waiting time, and a second half that brings the
//! result; `abandon` undoes the first half.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::ApiResult;
use super::guest::{clone, create, destroy, disks, migrate, power, snapshot, template, update};
use super::locks::{LockWish, of_guest};
use super::server::Core;

/// A piece of work on one guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Work {
    /// Build a guest from parameters.
    Create(create::Create),
    /// Copy a guest.
    Clone(clone::CloneGuest),
    /// Change options.
    Update(update::Update),
    /// Grow a disk.
    Resize(disks::Resize),
    /// Move a disk to another storage.
    Move(disks::Move),
    /// Change the power state.
    Power(power::Power),
    /// Remove a guest.
    Destroy(destroy::Destroy),
    /// Convert to a template.
    Template(template::Template),
    /// Take, remove or return to a snapshot.
    Snapshot(snapshot::SnapshotWork),
    /// Move a guest to another node.
    Migrate(migrate::Migrate),
}

/// What the first half asks for.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    /// How long the work takes; none for the usual time of its type.
    pub(crate) wait: Option<Duration>,
    /// The failure that comes after the wait.
    pub(crate) fails: Option<String>,
    /// Storages whose lock is needed, with the number of volumes made, copied or freed there.
    pub(crate) storages: Vec<(String, usize)>,
    /// Lines for the log.
    pub(crate) log: Vec<String>,
}

/// How the second half ended.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Complaints that do not make it a failure.
    pub(crate) warnings: Vec<String>,
    /// Lines for the log.
    pub(crate) log: Vec<String>,
}

macro_rules! each {
    ($work:expr, $inner:ident => $body:expr) => {
        match $work {
            Work::Create($inner) => $body,
            Work::Clone($inner) => $body,
            Work::Update($inner) => $body,
            Work::Resize($inner) => $body,
            Work::Move($inner) => $body,
            Work::Power($inner) => $body,
            Work::Destroy($inner) => $body,
            Work::Template($inner) => $body,
            Work::Snapshot($inner) => $body,
            Work::Migrate($inner) => $body,
        }
    };
}

impl Work {
    /// Type of its task.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Create(_) => "qmcreate",
            Self::Clone(_) => "qmclone",
            Self::Update(_) => "qmconfig",
            Self::Resize(_) => "resize",
            Self::Move(_) => "qmmove",
            Self::Power(power) => power.op.task_kind(),
            Self::Destroy(_) => "qmdestroy",
            Self::Template(_) => "qmtemplate",
            Self::Snapshot(snapshot) => snapshot.op.task_kind(),
            Self::Migrate(_) => "qmigrate",
        }
    }

    /// The guest it is about: for a clone its source.
    pub(crate) fn vmid(&self) -> u32 {
        each!(self, work => work.vmid)
    }

    /// The file locks it takes, in order. `second` is one second of waiting.
    pub(crate) fn locks(&self, node: &str, second: Duration) -> Vec<LockWish> {
        let vmid = self.vmid();
        match self {
            Self::Create(_) => vec![of_guest(node, vmid, false, second)],
            Self::Clone(clone) => vec![
                // A running source would change under the copy; a stopped one may be copied many times at once.
                of_guest(node, vmid, !clone.source_runs, second),
                of_guest(node, clone.newid, false, second),
            ],
            Self::Update(_)
            | Self::Resize(_)
            | Self::Move(_)
            | Self::Power(_)
            | Self::Destroy(_)
            | Self::Template(_)
            | Self::Snapshot(_)
            | Self::Migrate(_) => vec![of_guest(node, vmid, false, second * 10)],
        }
    }

    /// First half.
    pub(crate) fn begin(&self, core: &mut Core, node: &str) -> ApiResult<Stage> {
        each!(self, work => work.begin(core, node))
    }

    /// What becomes visible in the middle of the waiting time.
    pub(crate) fn midway(&self, core: &mut Core, node: &str) {
        if let Self::Clone(work) = self {
            work.midway(core, node);
        }
    }

    /// Second half.
    pub(crate) fn finish(&self, core: &mut Core, node: &str) -> ApiResult<Done> {
        each!(self, work => work.finish(core, node))
    }

    /// Undoes what the first half began.
    pub(crate) fn abandon(&self, core: &mut Core, node: &str) {
        match self {
            Self::Create(work) => work.abandon(core, node),
            Self::Clone(work) => work.abandon(core, node),
            Self::Snapshot(work) => work.abandon(core, node),
            Self::Migrate(work) => work.abandon(core, node),
            Self::Template(_)
            | Self::Update(_)
            | Self::Resize(_)
            | Self::Move(_)
            | Self::Power(_)
            | Self::Destroy(_) => {}
        }
    }
}

/// Options as they were sent.
pub(crate) type Settings = BTreeMap<String, String>;

//! Snapshots: they are part of the configuration file, and so of its digest.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{check_lock, power, vm, vm_mut};
use crate::pve::error::{ApiError, ApiResult};
use crate::pve::router::{Call, Outcome};
use crate::pve::server::Core;
use crate::pve::work::{Done, Stage, Work};
use crate::pve::world::Snapshot;

/// What is done with a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Take it.
    Take,
    /// Remove it.
    Remove,
    /// Return to it.
    Rollback,
}

impl Op {
    /// Type of its task.
    pub(crate) fn task_kind(self) -> &'static str {
        match self {
            Self::Take => "qmsnapshot",
            Self::Remove => "qmdelsnapshot",
            Self::Rollback => "qmrollback",
        }
    }

    fn lock(self) -> &'static str {
        match self {
            Self::Take => "snapshot",
            Self::Remove => "snapshot-delete",
            Self::Rollback => "rollback",
        }
    }
}

/// Work on a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SnapshotWork {
    pub(crate) vmid: u32,
    pub(crate) op: Op,
    name: String,
    description: String,
    vmstate: bool,
    start: bool,
}

/// `GET …/snapshot`.
pub(crate) fn list(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let guest = vm(core, call.id("node"), call.vmid())?;
    let mut rows: Vec<Value> = guest
        .snapshots
        .iter()
        .map(|(name, snapshot)| {
            let mut row = json!({
                "name": name, "snaptime": snapshot.snaptime, "vmstate": u8::from(snapshot.vmstate),
                "description": snapshot.description,
            });
            if let Some(parent) = &snapshot.parent {
                row["parent"] = json!(parent);
            }
            row
        })
        .collect();
    let mut current = json!({
        "name": "current", "description": "You are here!", "running": u8::from(guest.running),
        "digest": guest.digest(),
    });
    if let Some(parent) = guest.get("parent") {
        current["parent"] = json!(parent);
    }
    rows.push(current);
    Ok(Outcome::Data(Value::Array(rows)))
}

fn work(core: &Core, call: &Call, op: Op) -> ApiResult<Outcome> {
    let node = call.id("node").to_owned();
    vm(core, &node, call.vmid())?;
    let work = SnapshotWork {
        vmid: call.vmid(),
        op,
        name: call.get("snapname").unwrap_or("").to_owned(),
        description: call.get("description").unwrap_or("").to_owned(),
        vmstate: call.flag("vmstate"),
        start: call.flag("start"),
    };
    Ok(Outcome::Task(node, Work::Snapshot(work)))
}

/// `POST …/snapshot`.
pub(crate) fn post(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    if let Some(name @ ("current" | "pending")) = call.get("snapname") {
        return Err(ApiError::died(format!(
            "unable to use snapshot name '{name}' (reserved name)"
        )));
    }
    work(core, call, Op::Take)
}

/// `DELETE …/snapshot/{snapname}`.
pub(crate) fn delete(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    work(core, call, Op::Remove)
}

/// `POST …/snapshot/{snapname}/rollback`.
pub(crate) fn rollback(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    work(core, call, Op::Rollback)
}

impl SnapshotWork {
    pub(crate) fn begin(&self, core: &mut Core, node: &str) -> ApiResult<Stage> {
        let guest = vm_mut(core, node, self.vmid)?;
        check_lock(guest)?;
        let exists = guest.snapshots.contains_key(&self.name);
        match self.op {
            Op::Take if guest.is_template() => {
                return Err(ApiError::died("you can't take a snapshot if it's a template"));
            }
            Op::Take if exists => {
                return Err(ApiError::died(format!("snapshot name '{}' already used", self.name)));
            }
            Op::Remove | Op::Rollback if !exists => {
                return Err(ApiError::died(format!("snapshot '{}' does not exist", self.name)));
            }
            Op::Take | Op::Remove | Op::Rollback => {}
        }
        guest.config.insert("lock".to_owned(), self.op.lock().to_owned());
        Ok(Stage::default())
    }

    pub(crate) fn finish(&self, core: &mut Core, node: &str) -> ApiResult<Done> {
        let mut done = Done::default();
        let guest = vm_mut(core, node, self.vmid)?;
        guest.config.remove("lock");
        match self.op {
            Op::Take => {
                let snapshot = Snapshot {
                    config: guest.config.clone(),
                    snaptime: crate::clock::unix_now(),
                    parent: guest.config.get("parent").cloned(),
                    description: self.description.clone(),
                    vmstate: self.vmstate && guest.running,
                };
                guest.snapshots.insert(self.name.clone(), snapshot);
                guest.config.insert("parent".to_owned(), self.name.clone());
            }
            Op::Remove => {
                let gone = guest.snapshots.remove(&self.name);
                let heir = gone.and_then(|snapshot| snapshot.parent);
                for other in guest
                    .snapshots
                    .values_mut()
                    .filter(|other| other.parent.as_ref() == Some(&self.name))
                {
                    other.parent.clone_from(&heir);
                }
                if guest.get("parent") == Some(self.name.as_str()) {
                    match heir {
                        Some(heir) => guest.config.insert("parent".to_owned(), heir),
                        None => guest.config.remove("parent"),
                    };
                }
            }
            Op::Rollback => {
                if let Some(snapshot) = guest.snapshots.get(&self.name) {
                    let mut config = snapshot.config.clone();
                    config.insert("parent".to_owned(), self.name.clone());
                    guest.config = config;
                    guest.pending.clear();
                    guest.pending_delete.clear();
                    guest.running = snapshot.vmstate;
                }
                if self.start
                    && !guest.running
                    && let Err(error) = power::start_now(core, node, self.vmid)
                {
                    done.warnings.push(error.as_exit_status());
                }
            }
        }
        Ok(done)
    }

    pub(crate) fn abandon(&self, core: &mut Core, node: &str) {
        if let Ok(guest) = vm_mut(core, node, self.vmid)
            && guest.get("lock") == Some(self.op.lock())
        {
            guest.config.remove("lock");
        }
    }
}

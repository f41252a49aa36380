//! Snapshots: they are part of the configuration file, and so of its digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{check_lock, power, vm, vm_mut};
use crate::pve::error::{ApiError, ApiResult};
use crate::pve::router::{Call, Outcome};
use crate::pve::server::Core;
use crate::pve::work::{Done, Stage, Work};
use crate::pve::world::{Guest, Snapshot, is_disk_key};

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

/// What stays with the machine and is no part of a snapshot (`__snapshot_copy_config` of
/// pve-guest-common): the machine's own notes, and volumes that are detached.
fn stays(option: &str) -> bool {
    option == "description" || option.starts_with("unused")
}

/// Takes a snapshot, at once.
pub(crate) fn take(guest: &mut Guest, name: &str, description: &str, vmstate: bool) {
    let mut config = guest.config.clone();
    config.retain(|option, _| !stays(option));
    if !description.is_empty() {
        config.insert("description".to_owned(), description.to_owned());
    }
    let snapshot = Snapshot {
        config,
        snaptime: crate::clock::unix_now(),
        parent: guest.config.get("parent").cloned(),
        description: description.to_owned(),
        vmstate: vmstate && guest.running,
    };
    guest.snapshots.insert(name.to_owned(), snapshot);
    guest.config.insert("parent".to_owned(), name.to_owned());
}

/// Returns to a snapshot, at once.
pub(crate) fn return_to(guest: &mut Guest, name: &str) {
    let Some(snapshot) = guest.snapshots.get(name) else {
        return;
    };
    let then = snapshot.config.iter().filter(|(option, _)| !stays(option));
    let mut config: BTreeMap<String, String> =
        then.map(|(key, value)| (key.clone(), value.clone())).collect();
    let now = std::mem::take(&mut guest.config);
    // A disk that came later is not lost: it is detached.
    let disks = now.iter().filter(|(key, _)| is_disk_key(key) && !config.contains_key(*key));
    let volumes = disks.filter_map(|(_, value)| value.split(',').next().map(str::to_owned));
    let volumes: Vec<String> = volumes.filter(|it| !it.contains("cloudinit")).collect();
    config.extend(now.into_iter().filter(|(option, _)| stays(option)));
    for volume in volumes {
        let free = (0_u32..).map(|it| format!("unused{it}")).find(|it| !config.contains_key(it));
        config.extend(free.map(|slot| (slot, volume)));
    }
    guest.config = config;
    guest.config.insert("parent".to_owned(), name.to_owned());
    guest.pending.clear();
    guest.pending_delete.clear();
    guest.running = snapshot.vmstate;
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
                take(guest, &self.name, &self.description, self.vmstate);
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
                return_to(guest, &self.name);
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

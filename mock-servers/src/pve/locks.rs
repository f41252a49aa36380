//! File locks of guests and storages: held by work in flight, never kept across a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// A lock to take before work begins.
#[derive(Debug, Clone)]
pub(crate) struct LockWish {
    pub(crate) name: String,
    pub(crate) shared: bool,
    pub(crate) wait: Duration,
    /// What the failure says.
    pub(crate) message: String,
}

/// A lock that is held.
pub(crate) enum Held {
    Shared { _guard: OwnedRwLockReadGuard<()> },
    Exclusive { _guard: OwnedRwLockWriteGuard<()> },
}

#[derive(Default)]
pub(crate) struct Locks {
    table: Mutex<BTreeMap<String, Arc<RwLock<()>>>>,
}

impl Locks {
    /// Takes the locks in order; on failure those already taken are let go.
    pub(crate) async fn take(&self, wishes: &[LockWish]) -> Result<Vec<Held>, String> {
        let mut held = Vec::with_capacity(wishes.len());
        for wish in wishes {
            let lock = {
                let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(table.entry(wish.name.clone()).or_default())
            };
            let attempt = async {
                if wish.shared {
                    Held::Shared { _guard: lock.read_owned().await }
                } else {
                    Held::Exclusive { _guard: lock.write_owned().await }
                }
            };
            match tokio::time::timeout(wish.wait, attempt).await {
                Ok(guard) => held.push(guard),
                Err(_) => return Err(wish.message.clone()),
            }
        }
        Ok(held)
    }
}

/// The file lock of a guest's configuration.
pub(crate) fn of_guest(node: &str, vmid: u32, shared: bool, wait: Duration) -> LockWish {
    LockWish {
        name: format!("guest {node} {vmid}"),
        shared,
        wait,
        message: format!("can't lock file '/var/lock/qemu-server/lock-{vmid}.conf' - got timeout"),
    }
}

/// The lock around allocations: of the node for a local storage, of the cluster for a shared one.
pub(crate) fn of_storage(node: &str, storage: &str, is_shared: bool, wait: Duration) -> LockWish {
    if is_shared {
        LockWish {
            name: format!("storage * {storage}"),
            shared: false,
            wait,
            message: format!("cfs-lock 'storage-{storage}' error: got lock request timeout"),
        }
    } else {
        LockWish {
            name: format!("storage {node} {storage}"),
            shared: false,
            wait,
            message: format!(
                "can't lock file '/var/lock/pve-manager/pve-storage-{storage}' - got timeout"
            ),
        }
    }
}

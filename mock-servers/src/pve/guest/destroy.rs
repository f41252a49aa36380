//! `DELETE /nodes/{node}/qemu/{vmid}`.

use serde::{Deserialize, Serialize};

use super::{check_lock, root_only, vm};
use crate::pve::error::{ApiError, ApiResult};
use crate::pve::router::{Call, Outcome};
use crate::pve::server::Core;
use crate::pve::volumes;
use crate::pve::work::{Done, Stage, Work};
use crate::pve::world::{GuestKind, named_volume, owner_of};

/// A guest to remove.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Destroy {
    pub(crate) vmid: u32,
    unreferenced: bool,
    skiplock: bool,
}

/// `DELETE …/qemu/{vmid}`.
pub(crate) fn delete(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    root_only(call, &["skiplock"])?;
    let node = call.id("node").to_owned();
    let work = Destroy {
        vmid: call.vmid(),
        unreferenced: call.flag("destroy-unreferenced-disks"),
        skiplock: call.flag("skiplock"),
    };
    work.early(core, &node)?;
    Ok(Outcome::Task(node, Work::Destroy(work)))
}

impl Destroy {
    fn early(&self, core: &Core, node: &str) -> ApiResult<()> {
        let guest = vm(core, node, self.vmid)?;
        if guest.get("protection") == Some("1") {
            return Err(ApiError::died(format!(
                "can't remove VM {} - protection mode enabled",
                self.vmid
            )));
        }
        if guest.running {
            return Err(ApiError::died(format!("VM {} is running - destroy failed", self.vmid)));
        }
        Ok(())
    }

    /// Volumes that go with the guest, by the options that name them.
    fn volumes(&self, core: &Core, node: &str) -> ApiResult<Vec<String>> {
        let guest = vm(core, node, self.vmid)?;
        let configs = std::iter::once(&guest.config)
            .chain(std::iter::once(&guest.pending))
            .chain(guest.snapshots.values().map(|snapshot| &snapshot.config));
        let mut found: Vec<String> = configs
            .flat_map(|config| config.iter())
            .filter_map(|(key, value)| named_volume(GuestKind::Qemu, key, value))
            .filter(|(_, name, _)| owner_of(name) == Some(self.vmid))
            .map(|(storage, name, _)| format!("{storage}:{name}"))
            .collect();
        found.sort();
        found.dedup();
        Ok(found)
    }

    pub(crate) fn begin(&self, core: &mut Core, node: &str) -> ApiResult<Stage> {
        self.early(core, node)?;
        let guest = vm(core, node, self.vmid)?;
        if !self.skiplock {
            check_lock(guest)?;
        }
        let volumes = self.volumes(core, node)?;
        for volid in &volumes {
            if let Some(child) = volumes::child_of(&core.world, node, volid) {
                let text =
                    format!("base volume '{volid}' is still in use by linked cloned {child}");
                return Err(ApiError::died(text));
            }
        }
        let storages = volumes
            .iter()
            .filter_map(|volid| Some((volid.split_once(':')?.0.to_owned(), 1)))
            .collect();
        Ok(Stage { storages, ..Stage::default() })
    }

    pub(crate) fn finish(&self, core: &mut Core, node: &str) -> ApiResult<Done> {
        self.early(core, node)?;
        let mut done = Done::default();
        let mut doomed = self.volumes(core, node)?;
        if self.unreferenced {
            let own = core.world.volumes.iter().filter(|(_, volume)| volume.vmid == self.vmid);
            let reachable = own.filter_map(|(key, _)| {
                let (place, volid) = key.split_once('|')?;
                (place == "*" || place == node).then(|| volid.to_owned())
            });
            doomed.extend(reachable);
            doomed.sort();
            doomed.dedup();
        }
        for volid in doomed {
            // The guest goes even where a volume stays.
            if let Err(text) = volumes::free(&mut core.world, node, &volid) {
                done.warnings.push(text);
            }
        }
        core.world.guests.remove(&self.vmid);
        for pool in core.world.pools.values_mut() {
            pool.guests.remove(&self.vmid);
        }
        let path = format!("/vms/{}", self.vmid);
        core.world.access.acl.retain(|entry| entry.path != path);
        Ok(done)
    }
}

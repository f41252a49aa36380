//! `POST …/migrate`.

use serde::{Deserialize, Serialize};

use super::{check_lock, root_only, vm, vm_mut};
use crate::pve::error::{ApiError, ApiResult};
use crate::pve::router::{Call, Outcome};
use crate::pve::server::Core;
use crate::pve::volumes;
use crate::pve::work::{Done, Stage, Work};
use crate::pve::world::{
    GuestKind, is_disk_key, is_unused_key, named_volume, owner_of, volume_key,
};

/// A guest to move.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Migrate {
    pub(crate) vmid: u32,
    target: String,
    with_local_disks: bool,
    target_storage: Option<String>,
}

/// `POST …/migrate`.
pub(crate) fn post(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let node = call.id("node").to_owned();
    let target = call.get("target").unwrap_or("").to_owned();
    if target == node {
        return Err(ApiError::parameter("target", "target is local node."));
    }
    root_only(call, &["force"])?;
    match core.world.nodes.get(&target) {
        Some(host) if host.online => {}
        _ => return Err(ApiError::parameter("target", "target node is not online")),
    }
    let guest = vm(core, &node, call.vmid())?;
    check_lock(guest)?;
    if guest.running && !call.flag("online") {
        return Err(ApiError::died("can't migrate running VM without --online"));
    }
    let work = Migrate {
        vmid: call.vmid(),
        target,
        with_local_disks: call.flag("with-local-disks"),
        target_storage: call.get("targetstorage").map(str::to_owned),
    };
    Ok(Outcome::Task(node, Work::Migrate(work)))
}

impl Migrate {
    pub(crate) fn begin(&self, core: &mut Core, node: &str) -> ApiResult<Stage> {
        let guest = vm(core, node, self.vmid)?;
        check_lock(guest)?;
        let mut local = Vec::new();
        for (key, value) in &guest.config {
            let Some((storage, name, _)) = named_volume(GuestKind::Qemu, key, value) else {
                continue;
            };
            let shared =
                core.world.storages.get(&storage).is_some_and(|definition| definition.shared);
            if !shared {
                local.push(format!("{storage}:{name}"));
            }
        }
        if !local.is_empty() && !self.with_local_disks {
            let text = format!("can't migrate local disk '{}': use --with-local-disks", local[0]);
            return Err(ApiError::died(format!("Problem found while scanning volumes - {text}")));
        }
        vm_mut(core, node, self.vmid)?.config.insert("lock".to_owned(), "migrate".to_owned());
        let storages = local
            .iter()
            .filter_map(|volid| Some((volid.split_once(':')?.0.to_owned(), 1)))
            .collect();
        Ok(Stage { storages, ..Stage::default() })
    }

    pub(crate) fn finish(&self, core: &mut Core, node: &str) -> ApiResult<Done> {
        let config = vm(core, node, self.vmid)?.config.clone();
        for (key, value) in config.iter().filter(|(key, _)| is_disk_key(key) || is_unused_key(key))
        {
            let Some((storage, name, _)) = named_volume(GuestKind::Qemu, key, value) else {
                continue;
            };
            if core.world.storages.get(&storage).is_some_and(|definition| definition.shared) {
                continue;
            }
            let wanted = match self.target_storage.as_deref() {
                None | Some("1") => storage.clone(),
                Some(map) => map
                    .split(',')
                    .find_map(|pair| match pair.split_once(':') {
                        Some((from, to)) => (from == storage).then(|| to.to_owned()),
                        None => Some(pair.to_owned()),
                    })
                    .unwrap_or_else(|| storage.clone()),
            };
            volumes::usable(&core.world, &self.target, &wanted)?;
            let old = format!("{storage}:{name}");
            let new = format!("{wanted}:{name}");
            let key_before = volumes::key_of(&core.world, node, &old);
            if let Some(volume) = core.world.volumes.remove(&key_before) {
                let shared =
                    core.world.storages.get(&wanted).is_some_and(|definition| definition.shared);
                core.world.volumes.insert(volume_key(shared, &self.target, &new), volume);
            }
            debug_assert!(owner_of(&name).is_some());
            let moved = value.replacen(&old, &new, 1);
            vm_mut(core, node, self.vmid)?.config.insert(key.clone(), moved);
        }
        let target = self.target.clone();
        let guest = vm_mut(core, node, self.vmid)?;
        guest.config.remove("lock");
        guest.node = target;
        Ok(Done::default())
    }

    pub(crate) fn abandon(&self, core: &mut Core, node: &str) {
        if let Ok(guest) = vm_mut(core, node, self.vmid)
            && guest.get("lock") == Some("migrate")
        {
            guest.config.remove("lock");
        }
    }
}

//! `PUT …/resize` and `POST …/move_disk`.

use serde::{Deserialize, Serialize};

use super::{check_digest, check_lock, drive, root_only, vm, vm_mut};
use crate::pve::error::{ApiError, ApiResult};
use crate::pve::propstring;
use crate::pve::router::{Call, Outcome};
use crate::pve::server::Core;
use crate::pve::volumes::{self, Wish};
use crate::pve::work::{Done, Stage, Work};
use crate::pve::world::is_cdrom;

/// A disk to grow.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Resize {
    pub(crate) vmid: u32,
    disk: String,
    size: String,
    digest: Option<String>,
    skiplock: bool,
}

/// `PUT …/resize`: everything is checked inside the task.
pub(crate) fn resize(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    root_only(call, &["skiplock"])?;
    let node = call.id("node").to_owned();
    vm(core, &node, call.vmid())?;
    let work = Resize {
        vmid: call.vmid(),
        disk: call.get("disk").unwrap_or("").to_owned(),
        size: call.get("size").unwrap_or("").to_owned(),
        digest: call.get("digest").map(str::to_owned),
        skiplock: call.flag("skiplock"),
    };
    Ok(Outcome::Task(node, Work::Resize(work)))
}

impl Resize {
    /// The drive, its volume, and its size before and after.
    fn target(&self, core: &Core, node: &str) -> ApiResult<(String, String, u64, u64)> {
        let disk = &self.disk;
        let guest = vm(core, node, self.vmid)?;
        check_digest(guest, self.digest.as_deref())?;
        if !self.skiplock {
            check_lock(guest)?;
        }
        let value = guest
            .get(disk)
            .ok_or_else(|| ApiError::died(format!("disk '{disk}' does not exist")))?
            .to_owned();
        if is_cdrom(&value) {
            return Err(ApiError::died("you can't resize a cdrom"));
        }
        let volid = value.split(',').next().unwrap_or("").to_owned();
        let size = volumes::size_of(&core.world, node, &volid).ok_or_else(|| {
            ApiError::died(format!("Could not determine current size of volume '{volid}'"))
        })?;
        let (relative, text) =
            self.size.strip_prefix('+').map_or((false, self.size.as_str()), |text| (true, text));
        let given =
            propstring::size_to_bytes(text).ok_or_else(|| ApiError::died("internal error"))?;
        let wanted = if relative { size + given } else { given };
        if wanted < size {
            return Err(ApiError::died("shrinking disks is not supported"));
        }
        Ok((value, volid, size, wanted))
    }

    pub(crate) fn begin(&self, core: &mut Core, node: &str) -> ApiResult<Stage> {
        let (_, volid, _, _) = self.target(core, node)?;
        let storage = volid.split(':').next().unwrap_or("").to_owned();
        Ok(Stage { storages: vec![(storage, 1)], ..Stage::default() })
    }

    pub(crate) fn finish(&self, core: &mut Core, node: &str) -> ApiResult<Done> {
        let (value, volid, size, wanted) = self.target(core, node)?;
        if wanted == size {
            return Ok(Done::default());
        }
        let storage = volid.split(':').next().unwrap_or("");
        let definition = volumes::usable(&core.world, node, storage)?;
        let rounded = volumes::rounded(&definition.kind, wanted);
        let total = definition.total;
        if volumes::used(&core.world, node, storage) + (rounded - size) > total {
            return Err(ApiError::died(format!(
                "unable to resize disk '{volid}': insufficient free space"
            )));
        }
        let key = volumes::key_of(&core.world, node, &volid);
        if let Some(volume) = core.world.volumes.get_mut(&key) {
            volume.size = rounded;
        }
        let mut parsed = propstring::normalize_disk(&self.disk, &value)
            .map_err(|text| ApiError::parameter(&self.disk, text))?;
        parsed.opts.insert("size".to_owned(), propstring::print_size(rounded));
        vm_mut(core, node, self.vmid)?.config.insert(self.disk.clone(), parsed.print());
        Ok(Done::default())
    }
}

/// A disk to copy to another storage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Move {
    pub(crate) vmid: u32,
    disk: String,
    storage: String,
    format: Option<String>,
    delete: bool,
    digest: Option<String>,
}

/// `POST …/move_disk` to another storage.
pub(crate) fn move_disk(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let node = call.id("node").to_owned();
    if call.get("target-vmid").is_some() {
        return Err(ApiError::new(501, "moving a disk to another guest is not simulated"));
    }
    let Some(storage) = call.get("storage") else {
        let text = "must specify either 'storage' or 'target-vmid'";
        return Err(ApiError::parameter("storage", text));
    };
    core.need(&call.who, &format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    let work = Move {
        vmid: call.vmid(),
        disk: call.get("disk").unwrap_or("").to_owned(),
        storage: storage.to_owned(),
        format: call.get("format").map(str::to_owned),
        delete: call.flag("delete"),
        digest: call.get("digest").map(str::to_owned),
    };
    work.check(core, &node)?;
    Ok(Outcome::Task(node, Work::Move(work)))
}

impl Move {
    fn check(&self, core: &Core, node: &str) -> ApiResult<String> {
        let disk = &self.disk;
        let guest = vm(core, node, self.vmid)?;
        check_lock(guest)?;
        check_digest(guest, self.digest.as_deref())?;
        let value = guest
            .get(disk)
            .ok_or_else(|| ApiError::died(format!("disk '{disk}' does not exist")))?
            .to_owned();
        if is_cdrom(&value) {
            return Err(ApiError::died("you can't move a cdrom"));
        }
        let old = value.split(':').next().unwrap_or("");
        if old == self.storage && self.format.is_none() {
            return Err(ApiError::died("you can't move to the same storage with same format"));
        }
        volumes::for_images(&core.world, node, &self.storage)?;
        if self.delete && !guest.snapshots.is_empty() {
            return Err(ApiError::died(
                "you can't move a disk with snapshots and delete the source",
            ));
        }
        Ok(value)
    }

    pub(crate) fn begin(&self, core: &mut Core, node: &str) -> ApiResult<Stage> {
        self.check(core, node)?;
        Ok(Stage { storages: vec![(self.storage.clone(), 1)], ..Stage::default() })
    }

    pub(crate) fn finish(&self, core: &mut Core, node: &str) -> ApiResult<Done> {
        let value = self.check(core, node)?;
        let mut parsed = propstring::normalize_disk(&self.disk, &value)
            .map_err(|text| ApiError::parameter(&self.disk, text))?;
        let old = parsed.volume.clone();
        let bytes = volumes::size_of(&core.world, node, &old).ok_or_else(|| {
            ApiError::died(format!("storage migration failed: no such volume '{old}'"))
        })?;
        let wish = Wish {
            node,
            storage: &self.storage,
            vmid: self.vmid,
            bytes,
            format: self.format.as_deref(),
            name: None,
            content: "images",
        };
        let volid = volumes::allocate(&mut core.world, &wish)
            .map_err(|text| ApiError::died(format!("storage migration failed: {text}")))?;
        let size = volumes::size_of(&core.world, node, &volid).unwrap_or(bytes);
        parsed.volume = volid;
        parsed.opts.insert("size".to_owned(), propstring::print_size(size));
        let mut done = Done::default();
        let guest = vm_mut(core, node, self.vmid)?;
        guest.config.insert(self.disk.clone(), parsed.print());
        if self.delete {
            if let Err(text) = volumes::free(&mut core.world, node, &old) {
                done.warnings.push(text);
            }
        } else {
            drive::park(guest, &old);
        }
        Ok(done)
    }
}

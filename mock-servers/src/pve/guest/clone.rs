//! `POST /nodes/{node}/qemu/{vmid}/clone`.

use serde::{Deserialize, Serialize};

use super::create::check_pool;
use super::{check_lock, drive, vm};
use crate::pve::error::{ApiError, ApiResult};
use crate::pve::propstring;
use crate::pve::router::{Call, Outcome};
use crate::pve::server::Core;
use crate::pve::text;
use crate::pve::volumes::{self, Wish};
use crate::pve::work::{Done, Settings, Stage, Work};
use crate::pve::world::{
    Guest, GuestKind, is_cdrom, is_cloudinit, is_disk_key, is_net_key, is_unused_key,
};

/// A copy to make.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CloneGuest {
    pub(crate) vmid: u32,
    pub(crate) newid: u32,
    /// A running source is locked for the copy alone.
    pub(crate) source_runs: bool,
    full: bool,
    target: Option<String>,
    storage: Option<String>,
    format: Option<String>,
    name: Option<String>,
    description: Option<String>,
    pool: Option<String>,
    snapname: Option<String>,
}

/// `POST …/clone`.
pub(crate) fn post(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let node = call.id("node").to_owned();
    let vmid = call.vmid();
    let text = |name: &str| call.get(name).map(str::to_owned);
    check_pool(core, call.get("pool"))?;
    let (template, running) = {
        let source = vm(core, &node, vmid)?;
        (source.is_template(), source.running)
    };
    let target = text("target").filter(|target| target != &node);
    if let Some(target) = &target {
        match core.world.nodes.get(target) {
            Some(host) if host.online => {}
            Some(_) => return Err(ApiError::parameter("target", "target node is not online")),
            None => return Err(ApiError::parameter("target", "target node is not online")),
        }
    }
    if let Some(storage) = call.get("storage") {
        core.need(&call.who, &format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    }
    let work = CloneGuest {
        vmid,
        newid: u32::try_from(call.number("newid").unwrap_or(0)).unwrap_or(0),
        source_runs: running,
        full: call.get("full").map_or(!template, |text| text == "1"),
        target,
        storage: text("storage"),
        format: text("format"),
        name: text("name"),
        description: text("description"),
        pool: text("pool"),
        snapname: text("snapname"),
    };
    work.check(core, &node)?;
    // The copied drives and interfaces need the same rights as new ones.
    let source = vm(core, &node, vmid)?.clone();
    for (key, value) in &source.config {
        if is_disk_key(key) && !is_cdrom(value) && work.storage.is_none() {
            let storage = value.split(':').next().unwrap_or("");
            core.need(&call.who, &format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
        }
        if is_net_key(key) {
            let net = drive::parse_net(key, value)?;
            super::options::check_bridge(core, &call.who, &net)?;
        }
    }
    Ok(Outcome::Task(node, Work::Clone(work)))
}

impl CloneGuest {
    /// The configuration that is copied.
    fn source_config(&self, core: &Core, node: &str) -> ApiResult<Settings> {
        let source = vm(core, node, self.vmid)?;
        match &self.snapname {
            None => Ok(source.config.clone()),
            Some(name) => source
                .snapshots
                .get(name)
                .map(|snapshot| snapshot.config.clone())
                .ok_or_else(|| ApiError::died(format!("snapshot '{name}' does not exist"))),
        }
    }

    /// The checks that are made both before the reply and again inside the task.
    fn check(&self, core: &Core, node: &str) -> ApiResult<()> {
        let source = vm(core, node, self.vmid)?;
        check_lock(source)?;
        if source.running != self.source_runs {
            return Err(ApiError::died("unexpected state change"));
        }
        let config = self.source_config(core, node)?;
        if !self.full && self.storage.is_some() {
            return Err(ApiError::died("parameter 'storage' not allowed for linked clones"));
        }
        if !self.full && self.format.is_some() {
            return Err(ApiError::died("parameter 'format' not allowed for linked clones"));
        }
        if let Some(storage) = &self.storage {
            volumes::for_images(&core.world, node, storage)?;
            let shared =
                core.world.storages.get(storage).is_some_and(|definition| definition.shared);
            if self.target.is_some() && !shared {
                return Err(ApiError::died(format!(
                    "can't clone to non-shared storage '{storage}'"
                )));
            }
        }
        for (key, value) in
            config.iter().filter(|(key, value)| is_disk_key(key) && !is_cdrom(value))
        {
            let volid = value.split(',').next().unwrap_or("");
            let storage = volid.split(':').next().unwrap_or("");
            let definition = volumes::usable(&core.world, node, storage)?;
            if let Some(target) = &self.target
                && !definition.shared
            {
                let text = format!("can't clone VM to node '{target}' (VM uses local storage)");
                return Err(ApiError::died(text));
            }
            let linkable = volumes::can_link(&definition.kind) && volid.contains("base-");
            if !self.full && !linkable {
                let text = format!("Linked clone feature is not supported for '{volid}' ({key})");
                return Err(ApiError::died(text));
            }
        }
        if core.world.guests.get(&self.newid).is_some_and(|other| other.node == node) {
            return Err(ApiError::died(format!(
                "unable to create VM {}: config file already exists",
                self.newid
            )));
        }
        Ok(())
    }

    pub(crate) fn begin(&self, core: &mut Core, node: &str) -> ApiResult<Stage> {
        self.check(core, node)?;
        if core.world.guests.contains_key(&self.newid) {
            // Ids are unique in the cluster's file system, whatever node they are on.
            let text = format!(
                "close (rename) atomic file '/etc/pve/nodes/{node}/qemu-server/{}.conf' failed: File exists",
                self.newid
            );
            return Err(ApiError::died(text));
        }
        let mut guest = Guest::new(node, GuestKind::Qemu);
        guest.config.insert("lock".to_owned(), "clone".to_owned());
        core.world.guests.insert(self.newid, guest);
        if let Some(pool) = self.pool.as_ref().and_then(|name| core.world.pools.get_mut(name)) {
            pool.guests.insert(self.newid);
        }
        let config = self.source_config(core, node)?;
        let mut log = Vec::new();
        let mut storages = Vec::new();
        for (key, value) in config.iter().filter(|(key, _)| is_disk_key(key)) {
            if is_cdrom(value) && !is_cloudinit(value) {
                continue;
            }
            let volid = value.split(',').next().unwrap_or("");
            let storage = volid.split(':').next().unwrap_or("");
            let kind = if self.full { "full" } else { "linked" };
            log.push(format!("create {kind} clone of drive {key} ({volid})"));
            storages.push((self.storage.clone().unwrap_or_else(|| storage.to_owned()), 1));
        }
        Ok(Stage { storages, log, ..Stage::default() })
    }

    pub(crate) fn finish(&self, core: &mut Core, node: &str) -> ApiResult<Done> {
        let mut made = Vec::new();
        match self.copy(core, node, &mut made) {
            Ok(guest) => {
                core.world.guests.insert(self.newid, guest);
                Ok(Done::default())
            }
            Err(error) => {
                for volid in made {
                    // What cannot be freed now stays behind, as it would on a real node.
                    let _ = volumes::free(&mut core.world, node, &volid);
                }
                Err(ApiError::died(format!("clone failed: {}", error.as_exit_status())))
            }
        }
    }

    /// Once the first disk is copied the real server writes all other options, still under the lock.
    pub(crate) fn midway(&self, core: &mut Core, node: &str) {
        let Ok(options) = self.options(core, node) else { return };
        let Some(guest) = core.world.guests.get_mut(&self.newid) else { return };
        if guest.get("lock") == Some("clone") {
            guest.config.extend(options);
        }
    }

    /// All options of the copy but its drives.
    fn options(&self, core: &mut Core, node: &str) -> ApiResult<Settings> {
        let source = self.source_config(core, node)?;
        let mut config = Settings::new();
        for (key, value) in &source {
            let dropped = is_unused_key(key)
                || is_disk_key(key)
                || matches!(
                    key.as_str(),
                    "template" | "lock" | "parent" | "vmstate" | "snaptime" | "digest" | "meta"
                );
            if dropped {
                continue;
            }
            let kept = if is_net_key(key) {
                let mut net = drive::parse_net(key, value)?;
                net.mac = Some(core.world.new_mac());
                net.print()
            } else {
                value.clone()
            };
            config.insert(key.clone(), kept);
        }
        let mut smbios = vec![format!("uuid={}", core.world.new_uuid())];
        let before = config.get("smbios1").map_or("", String::as_str);
        let rest = before.split(',').filter(|part| !part.is_empty() && !part.starts_with("uuid="));
        smbios.extend(rest.map(str::to_owned));
        config.insert("smbios1".to_owned(), smbios.join(","));
        config.insert("vmgenid".to_owned(), core.world.new_uuid());
        config.insert("meta".to_owned(), super::create::meta(core));
        let old_name = source.get("name").cloned().unwrap_or_else(|| self.vmid.to_string());
        let name = self.name.clone().unwrap_or_else(|| format!("Copy-of-VM-{old_name}"));
        config.insert("name".to_owned(), name);
        if let Some(description) = &self.description {
            config.insert("description".to_owned(), text::strip_description(description));
        }
        Ok(config)
    }

    fn copy(&self, core: &mut Core, node: &str, made: &mut Vec<String>) -> ApiResult<Guest> {
        let behaviour = vm(core, node, self.vmid)?.behaviour.clone();
        let source = self.source_config(core, node)?;
        // What was written midway stays: MACs and UUIDs are made once.
        let mut config = vm(core, node, self.newid)?.config.clone();
        if !config.contains_key("smbios1") {
            config = self.options(core, node)?;
        }
        config.remove("lock");
        for (key, value) in source.iter().filter(|(key, _)| is_disk_key(key)) {
            let kept = self.copy_drive(core, node, key, value, made)?;
            config.insert(key.clone(), kept);
        }
        let mut guest = Guest::new(self.target.as_deref().unwrap_or(node), GuestKind::Qemu);
        guest.behaviour = behaviour;
        guest.config = config;
        Ok(guest)
    }

    fn copy_drive(
        &self,
        core: &mut Core,
        node: &str,
        key: &str,
        value: &str,
        made: &mut Vec<String>,
    ) -> ApiResult<String> {
        let cloudinit = is_cloudinit(value);
        if is_cdrom(value) && !cloudinit {
            return Ok(value.to_owned());
        }
        let mut parsed = propstring::normalize_disk(key, value)
            .map_err(|text| ApiError::parameter(key, text))?;
        let source = parsed.volume.clone();
        let own_storage = source.split(':').next().unwrap_or("").to_owned();
        let storage = self.storage.clone().unwrap_or(own_storage);
        let volid = if cloudinit || self.full {
            let volume = volumes::find(&core.world, node, &source)
                .cloned()
                .ok_or_else(|| ApiError::died(format!("no such volume '{source}'")))?;
            let file_based = core
                .world
                .storages
                .get(&storage)
                .is_some_and(|definition| definition.kind == "dir");
            let format = self.format.clone().or_else(|| file_based.then(|| volume.format.clone()));
            let name = cloudinit.then(|| format!("vm-{}-cloudinit", self.newid));
            let wish = Wish {
                node,
                storage: &storage,
                vmid: self.newid,
                bytes: volume.size,
                format: format.as_deref(),
                name,
                content: "images",
            };
            volumes::allocate(&mut core.world, &wish)?
        } else {
            volumes::link(&mut core.world, node, &source, self.newid)?
        };
        made.push(volid.clone());
        if let Some(size) = volumes::size_of(&core.world, node, &volid)
            && !cloudinit
        {
            parsed.opts.insert("size".to_owned(), propstring::print_size(size));
        }
        parsed.volume = volid;
        Ok(parsed.print())
    }

    pub(crate) fn abandon(&self, core: &mut Core, node: &str) {
        let locked =
            vm(core, node, self.newid).is_ok_and(|guest| guest.get("lock") == Some("clone"));
        if !locked {
            return;
        }
        core.world.guests.remove(&self.newid);
        for pool in core.world.pools.values_mut() {
            pool.guests.remove(&self.newid);
        }
    }
}

//! `PUT` and `POST …/config`, and `PUT …/unlink`: what applies at once, and what waits for a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::options::{check, check_bridge, check_bridges, check_drive, is_cloudinit_option};
use super::{check_digest, check_lock, drive, root_only, vm, vm_mut};
use crate::pve::access::Identity;
use crate::pve::error::{ApiError, ApiResult};
use crate::pve::propstring;
use crate::pve::router::{Call, Outcome};
use crate::pve::server::Core;
use crate::pve::text;
use crate::pve::volumes;
use crate::pve::work::{Done, Settings, Stage, Work};
use crate::pve::world::{
    Guest, hex, is_cdrom, is_cloudinit, is_disk_key, is_net_key, is_unused_key,
};

/// Parameters of the call that are no options of the guest.
const NOT_OPTIONS: [&str; 10] = [
    "node",
    "vmid",
    "delete",
    "revert",
    "digest",
    "force",
    "skiplock",
    "background_delay",
    "import-working-storage",
    "idlist",
];

/// Options to set, remove or take back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Update {
    pub(crate) vmid: u32,
    /// Who asked: drives and the old bridges of cards are checked by the worker.
    who: Identity,
    set: Settings,
    delete: Vec<String>,
    revert: Vec<String>,
    digest: Option<String>,
    force: bool,
    skiplock: bool,
}

/// `PUT …/config`.
pub(crate) fn put(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let node = call.id("node").to_owned();
    let work = prepare(core, call)?;
    // A locked guest is told of at once, not after waiting for the file.
    work.check(core, &node)?;
    Ok(Outcome::Inline(node, Work::Update(work)))
}

/// `POST …/config`.
pub(crate) fn post(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let node = call.id("node").to_owned();
    let work = prepare(core, call)?;
    // What can be told before the worker starts is told in the reply.
    work.check(core, &node)?;
    Ok(match call.number("background_delay") {
        Some(seconds) => {
            Outcome::Awaited(node, Work::Update(work), u32::try_from(seconds).unwrap_or(30))
        }
        None => Outcome::Task(node, Work::Update(work)),
    })
}

/// `PUT …/unlink`: the older form of `delete`.
pub(crate) fn unlink(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let node = call.id("node").to_owned();
    vm(core, &node, call.vmid())?;
    let work = Update {
        vmid: call.vmid(),
        who: call.who.clone(),
        set: Settings::new(),
        delete: call.list("idlist"),
        revert: Vec::new(),
        digest: None,
        force: call.flag("force"),
        skiplock: false,
    };
    Ok(Outcome::Inline(node, Work::Update(work)))
}

fn prepare(core: &Core, call: &Call) -> ApiResult<Update> {
    root_only(call, &["skiplock"])?;
    let (node, vmid) = (call.id("node"), call.vmid());
    let mut set = super::create::settings(call, &NOT_OPTIONS);
    let delete = call.list("delete");
    let revert = call.list("revert");
    if set.is_empty() && delete.is_empty() && revert.is_empty() {
        return Err(ApiError::died("no options specified"));
    }
    for key in &delete {
        if set.contains_key(key) {
            let text = format!("you can't use '-{key}' and -delete {key}' at the same time");
            return Err(ApiError::parameter("delete", text));
        }
        if revert.contains(key) {
            let text = format!("you can't use '-revert {key}' and -delete {key}' at the same time");
            return Err(ApiError::parameter("delete", text));
        }
    }
    for key in &revert {
        if set.contains_key(key) {
            let text = format!("you can't use '-{key}' and '-revert {key}' at the same time");
            return Err(ApiError::parameter("revert", text));
        }
    }
    if let Some(keys) = set.get("sshkeys") {
        text::decode_sshkeys(keys).map_err(ApiError::died)?;
    }
    if let Some(password) = set.get_mut("cipassword")
        && !password.starts_with('$')
        && !password.is_empty()
    {
        use sha2::Digest as _;
        *password = format!("$5$mock${}", hex(&sha2::Sha256::digest(password.as_bytes())));
    }
    let guest = core.world.guests.get(&vmid).filter(|guest| guest.node == node);
    let current = |key: &str| guest.and_then(|guest| guest.get(key)).unwrap_or("").to_owned();
    let deleted: Vec<(String, String)> =
        delete.iter().map(|key| (key.clone(), current(key))).collect();
    let pairs = deleted.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let sets = set.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    // Drives are left to the worker.
    let early = pairs.chain(sets).filter(|(key, _)| !is_disk_key(key) && !is_unused_key(key));
    check(core, &call.who, vmid, None, early)?;
    drive::check_storages(core, &call.who, node, vmid, &set)?;
    check_bridges(core, &call.who, &set)?;
    vm(core, node, vmid)?;
    Ok(Update {
        vmid,
        who: call.who.clone(),
        set,
        delete,
        revert,
        digest: call.get("digest").map(str::to_owned),
        force: call.flag("force"),
        skiplock: call.flag("skiplock"),
    })
}

impl Update {
    fn check(&self, core: &Core, node: &str) -> ApiResult<()> {
        let guest = vm(core, node, self.vmid)?;
        check_digest(guest, self.digest.as_deref())?;
        if !self.skiplock {
            check_lock(guest)?;
        }
        if self.set.contains_key("memory") || self.set.contains_key("balloon") {
            let mut future = guest.clone();
            future.config = super::view::with_pending(guest);
            for key in ["memory", "balloon"] {
                if let Some(value) = self.set.get(key) {
                    future.config.insert(key.to_owned(), value.clone());
                }
            }
            super::create::check_balloon(&future)?;
        }
        Ok(())
    }

    pub(crate) fn begin(&self, core: &mut Core, node: &str) -> ApiResult<Stage> {
        self.check(core, node)?;
        Ok(Stage { storages: drive::storages_of(&self.set), ..Stage::default() })
    }

    pub(crate) fn finish(&self, core: &mut Core, node: &str) -> ApiResult<Done> {
        self.check(core, node)?;
        let mut done = Done::default();
        let mut errors = BTreeMap::new();
        let running = vm(core, node, self.vmid)?.running;
        if let Err(error) = self.allowed(core, node) {
            self.leave_pending(core, node)?;
            return Err(error);
        }
        for key in &self.revert {
            let guest = vm_mut(core, node, self.vmid)?;
            guest.pending_delete.remove(key);
            if let Some(value) = guest.pending.remove(key) {
                drop_volume(core, node, self.vmid, &value);
            }
        }
        for key in &self.delete {
            self.delete_one(core, node, key, running, &mut done)?;
        }
        // Drives and interfaces first: `boot` may name one that comes with it.
        let (devices, others): (Vec<_>, Vec<_>) =
            self.set.iter().partition(|(key, _)| is_disk_key(key) || is_net_key(key));
        for (key, value) in devices.into_iter().chain(others) {
            if let Err(error) = self.set_one(core, node, key, value, running) {
                // One failing option leaves the others in place.
                match error.errors.is_empty() {
                    true if self.set.len() == 1 => return Err(error),
                    true => errors.insert(key.clone(), error.message),
                    false => errors
                        .insert(key.clone(), error.errors.into_values().next().unwrap_or_default()),
                };
            }
        }
        if errors.is_empty() && !running {
            // Whatever an earlier call left behind goes along.
            apply_pending(core, node, self.vmid)?;
        }
        if errors.is_empty() { Ok(done) } else { Err(ApiError::parameters(errors)) }
    }

    /// What only the worker checks: drives, old and new, the storage of a volume that goes
    /// for good, and the bridge that a card had.
    fn allowed(&self, core: &Core, node: &str) -> ApiResult<()> {
        let guest = vm(core, node, self.vmid)?;
        let (who, vmid) = (&self.who, self.vmid);
        let touched = self.delete.iter().chain(self.set.keys());
        for (key, old) in touched.filter_map(|key| Some((key, guest.get(key)?))) {
            if is_unused_key(key) {
                check_drive(core, who, vmid, old)?;
                let storage = old.split(':').next().unwrap_or("");
                core.need(who, &format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
            } else if is_disk_key(key) {
                check_drive(core, who, vmid, old)?;
            } else if is_net_key(key) {
                check_bridge(core, who, &drive::parse_net(key, old)?)?;
            }
        }
        for (_, new) in self.set.iter().filter(|(key, _)| is_disk_key(key)) {
            check_drive(core, who, vmid, new)?;
        }
        Ok(())
    }

    /// The worker writes option by option, in no order of its own, and dies where one is not
    /// allowed: what came before stays pending. Here everything did that could.
    fn leave_pending(&self, core: &mut Core, node: &str) -> ApiResult<()> {
        let plain = |key: &str| !is_disk_key(key) && !is_net_key(key) && key != "boot";
        for (key, value) in self.set.iter().filter(|(key, _)| plain(key)) {
            let kept = self.kept(core, node, key, value)?;
            let guest = vm_mut(core, node, self.vmid)?;
            if guest.get(key) != Some(kept.as_str()) {
                guest.pending.insert(key.clone(), kept);
            }
        }
        Ok(())
    }

    fn delete_one(
        &self,
        core: &mut Core,
        node: &str,
        key: &str,
        running: bool,
        done: &mut Done,
    ) -> ApiResult<()> {
        let guest = vm_mut(core, node, self.vmid)?;
        let pending = guest.pending.remove(key);
        let Some(value) = guest.config.get(key).cloned() else {
            if pending.is_none() {
                done.log.push(format!("cannot delete '{key}' - not set in current configuration!"));
            }
            return Ok(());
        };
        if is_disk_key(key) && guest.get("protection") == Some("1") && !is_cdrom(&value) {
            return Err(ApiError::died(format!(
                "can't remove drive '{key}' - protection mode enabled"
            )));
        }
        if is_unused_key(key) {
            if guest.get("protection") == Some("1") {
                return Err(ApiError::died(format!(
                    "can't remove unused disk '{key}' - protection mode enabled"
                )));
            }
            guest.config.remove(key);
            drop_volume(core, node, self.vmid, &value);
            return Ok(());
        }
        if running && !removable_live(key, &value) {
            guest.pending_delete.insert(key.to_owned(), self.force);
            return Ok(());
        }
        remove_now(core, node, self.vmid, key, self.force)
    }

    fn set_one(
        &self,
        core: &mut Core,
        node: &str,
        key: &str,
        value: &str,
        running: bool,
    ) -> ApiResult<()> {
        let kept = self.kept(core, node, key, value)?;
        let guest = vm_mut(core, node, self.vmid)?;
        guest.pending_delete.remove(key);
        let old = guest.config.get(key).cloned();
        if old.as_deref() == Some(kept.as_str()) {
            guest.pending.remove(key);
            return Ok(());
        }
        if running && !changeable_live(key, old.as_deref(), &kept) {
            guest.pending.insert(key.to_owned(), kept);
            return Ok(());
        }
        if running && is_net_key(key) {
            check_bridge_exists(core, node, key, &kept)?;
        }
        set_now(core, node, self.vmid, key, &kept)
    }

    /// The value as it will be kept; new volumes are made here.
    fn kept(&self, core: &mut Core, node: &str, key: &str, value: &str) -> ApiResult<String> {
        if is_disk_key(key) {
            let snapshot = vm(core, node, self.vmid)?.clone();
            if key == "tpmstate0"
                && snapshot.get(key).is_some_and(|old| version_of(old) != version_of(value))
            {
                return Err(ApiError::died("cannot change TPM state version after creation"));
            }
            let mut made = Vec::new();
            return drive::realize(core, node, self.vmid, key, value, &snapshot, &mut made);
        }
        if is_net_key(key) {
            return drive::realize_net(core, key, value);
        }
        match key {
            "description" => Ok(text::strip_description(value)),
            "tags" => {
                text::normalize_tags(value).map_err(|error| ApiError::parameter("tags", error))
            }
            "boot" => {
                let mut future = vm(core, node, self.vmid)?.clone();
                future.config = super::view::with_pending(&future);
                future.config.insert("boot".to_owned(), value.to_owned());
                check_boot(&future)?;
                Ok(value.to_owned())
            }
            "vmgenid" if value == "1" => Ok(core.world.new_uuid()),
            _ => Ok(value.to_owned()),
        }
    }
}

fn version_of(value: &str) -> &str {
    value.split(',').find_map(|part| part.strip_prefix("version=")).unwrap_or("v1.2")
}

/// Every device in the boot order must exist.
pub(crate) fn check_boot(guest: &Guest) -> ApiResult<()> {
    let Some(order) = guest.get("boot").and_then(|boot| boot.strip_prefix("order=")) else {
        return Ok(());
    };
    match order.split(';').find(|device| !device.is_empty() && !guest.config.contains_key(*device))
    {
        Some(device) => {
            Err(ApiError::died(format!("invalid bootorder: device '{device}' does not exist'")))
        }
        None => Ok(()),
    }
}

fn check_bridge_exists(core: &Core, node: &str, key: &str, value: &str) -> ApiResult<()> {
    let net = drive::parse_net(key, value)?;
    let Some(bridge) = net.opts.get("bridge") else {
        return Ok(());
    };
    let known = core.world.nodes.get(node).is_some_and(|host| host.bridges.contains_key(bridge));
    if known {
        Ok(())
    } else {
        Err(ApiError::parameter(
            key,
            format!("hotplug problem - bridge '{bridge}' does not exist\n"),
        ))
    }
}

/// Options that never touch the running process.
fn is_fast(key: &str) -> bool {
    matches!(
        key,
        "name"
            | "description"
            | "tags"
            | "onboot"
            | "protection"
            | "startup"
            | "hookscript"
            | "shares"
            | "autostart"
            | "migrate_downtime"
            | "migrate_speed"
            | "vmstatestorage"
            | "lock"
            | "template"
    )
}

fn removable_live(key: &str, value: &str) -> bool {
    is_fast(key)
        || is_cloudinit_option(key)
        || is_net_key(key)
        || matches!(key, "cpuunits" | "cpulimit")
        || ((key.starts_with("scsi") || key.starts_with("virtio"))
            && is_disk_key(key)
            && !is_cdrom(value))
}

/// Drive keys that change under a running guest.
fn is_live_drive_option(key: &str) -> bool {
    key.starts_with("mbps")
        || key.starts_with("iops")
        || key.starts_with("bps")
        || matches!(key, "backup" | "replicate" | "size")
}

/// Whether the default `hotplug: network,disk,usb` carries this change.
fn changeable_live(key: &str, old: Option<&str>, new: &str) -> bool {
    if is_fast(key)
        || is_cloudinit_option(key)
        || is_net_key(key)
        || matches!(key, "cpuunits" | "cpulimit")
    {
        return true;
    }
    if key == "balloon" {
        return new != "0" && old != Some("0");
    }
    if key == "agent" {
        return false;
    }
    if !is_disk_key(key) {
        return false;
    }
    let is_hot_bus =
        key.starts_with("virtio") || (key.starts_with("scsi") && !key.starts_with("scsihw"));
    let Some(old) = old else {
        return is_hot_bus && !is_cdrom(new);
    };
    if is_cdrom(old) && is_cdrom(new) && !is_cloudinit(old) && !is_cloudinit(new) {
        return true;
    }
    let (Ok(old), Ok(new)) =
        (propstring::normalize_disk(key, old), propstring::normalize_disk(key, new))
    else {
        return false;
    };
    if old.volume != new.volume {
        return is_hot_bus;
    }
    let keys = old.opts.keys().chain(new.opts.keys());
    keys.into_iter()
        .all(|name| is_live_drive_option(name) || old.opts.get(name) == new.opts.get(name))
}

fn set_now(core: &mut Core, node: &str, vmid: u32, key: &str, kept: &str) -> ApiResult<()> {
    let guest = vm_mut(core, node, vmid)?;
    guest.pending.remove(key);
    let old = guest.config.insert(key.to_owned(), kept.to_owned());
    if !is_disk_key(key) {
        return Ok(());
    }
    let volume = kept.split(',').next().unwrap_or("").to_owned();
    guest.config.retain(|other, value| !(is_unused_key(other) && *value == volume));
    let Some(old) = old else { return Ok(()) };
    if old.split(',').next() == Some(volume.as_str()) {
        return Ok(());
    }
    if let Some(parked) = drive::kept_volume(&old) {
        drive::park(guest, parked);
    } else if is_cloudinit(&old) {
        drop_volume(core, node, vmid, &old);
    }
    Ok(())
}

fn remove_now(core: &mut Core, node: &str, vmid: u32, key: &str, force: bool) -> ApiResult<()> {
    let guest = vm_mut(core, node, vmid)?;
    let Some(value) = guest.config.remove(key) else {
        return Ok(());
    };
    if is_disk_key(key) {
        match drive::kept_volume(&value).map(str::to_owned) {
            Some(volume) if !force => drive::park(guest, &volume),
            _ => drop_volume(core, node, vmid, &value),
        }
    }
    let guest = vm_mut(core, node, vmid)?;
    if (is_disk_key(key) || is_net_key(key))
        && let Some(order) = guest.get("boot").and_then(|boot| boot.strip_prefix("order="))
    {
        let rest: Vec<&str> = order.split(';').filter(|device| *device != key).collect();
        let boot = format!("order={}", rest.join(";"));
        guest.config.insert("boot".to_owned(), boot);
    }
    Ok(())
}

/// Frees the volume of a drive string if it is the guest's own; what cannot be freed stays.
fn drop_volume(core: &mut Core, node: &str, vmid: u32, value: &str) {
    let volid = value.split(',').next().unwrap_or("");
    let own = volumes::find(&core.world, node, volid).is_some_and(|volume| volume.vmid == vmid);
    if own {
        let _ = volumes::free(&mut core.world, node, volid);
    }
}

/// Applies everything that waited for a restart.
pub(crate) fn apply_pending(core: &mut Core, node: &str, vmid: u32) -> ApiResult<()> {
    let guest = vm_mut(core, node, vmid)?;
    let deletes = std::mem::take(&mut guest.pending_delete);
    let sets = std::mem::take(&mut guest.pending);
    for (key, force) in deletes {
        remove_now(core, node, vmid, &key, force)?;
    }
    for (key, value) in sets {
        set_now(core, node, vmid, &key, &value)?;
    }
    Ok(())
}

//! Guests: what all their methods share. Each method's own rules are in a file of its name.

pub(crate) mod agent;
pub(crate) mod clone;
pub(crate) mod create;
pub(crate) mod destroy;
pub(crate) mod disks;
pub(crate) mod drive;
pub(crate) mod lxc;
pub(crate) mod migrate;
pub(crate) mod options;
pub(crate) mod power;
pub(crate) mod snapshot;
pub(crate) mod template;
pub(crate) mod update;
pub(crate) mod view;

use super::error::{ApiError, ApiResult};
use super::server::Core;
use super::world::{Guest, GuestKind, World};

fn missing(node: &str, vmid: u32, kind: GuestKind) -> ApiError {
    let folder = match kind {
        GuestKind::Qemu => "qemu-server",
        GuestKind::Lxc => "lxc",
    };
    ApiError::died(format!("Configuration file 'nodes/{node}/{folder}/{vmid}.conf' does not exist"))
}

/// The guest, if it is of this kind and on this node.
pub(crate) fn find<'a>(
    world: &'a World,
    node: &str,
    vmid: u32,
    kind: GuestKind,
) -> ApiResult<&'a Guest> {
    world
        .guests
        .get(&vmid)
        .filter(|guest| guest.node == node && guest.kind == kind)
        .ok_or_else(|| missing(node, vmid, kind))
}

/// A virtual machine on this node.
pub(crate) fn vm<'a>(core: &'a Core, node: &str, vmid: u32) -> ApiResult<&'a Guest> {
    find(&core.world, node, vmid, GuestKind::Qemu)
}

/// A virtual machine on this node, to change it.
pub(crate) fn vm_mut<'a>(core: &'a mut Core, node: &str, vmid: u32) -> ApiResult<&'a mut Guest> {
    core.world
        .guests
        .get_mut(&vmid)
        .filter(|guest| guest.node == node && guest.kind == GuestKind::Qemu)
        .ok_or_else(|| missing(node, vmid, GuestKind::Qemu))
}

/// Refuses while the configuration carries a lock.
pub(crate) fn check_lock(guest: &Guest) -> ApiResult<()> {
    let word = match guest.kind {
        GuestKind::Qemu => "VM",
        GuestKind::Lxc => "CT",
    };
    match guest.get("lock") {
        None => Ok(()),
        Some(lock) => Err(ApiError::died(format!("{word} is locked ({lock})"))),
    }
}

/// Refuses when the configuration is no longer the one the caller has read.
pub(crate) fn check_digest(guest: &Guest, digest: Option<&str>) -> ApiResult<()> {
    match digest {
        Some(digest) if digest != guest.digest() => {
            Err(ApiError::died("checksum mismatch (file change by other user?)"))
        }
        _ => Ok(()),
    }
}

/// `skiplock` and its like are for the superuser's own login only.
pub(crate) fn root_only(call: &super::router::Call, names: &[&str]) -> ApiResult<()> {
    match names.iter().find(|name| call.flag(name)) {
        Some(name) if !call.who.is_root() => {
            Err(ApiError::parameter(name, "Only root may use this option."))
        }
        _ => Ok(()),
    }
}

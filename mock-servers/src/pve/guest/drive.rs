//! Drives and interfaces: from what was sent to what is kept.

use crate::pve::access::Identity;
use crate::pve::error::{ApiError, ApiResult};
use crate::pve::propstring::{self, DiskString, NetString};
use crate::pve::server::Core;
use crate::pve::volumes::{self, Wish};
use crate::pve::work::Settings;
use crate::pve::world::{Guest, indexed, is_cloudinit, is_disk_key, owner_of};

/// EFI variables and TPM state have one size, whatever was asked.
const FIRMWARE_BYTES: u64 = 4 * 1024 * 1024;

/// The cloud-init drive is a small ISO image.
const CLOUDINIT_BYTES: u64 = 4 * 1024 * 1024;

/// What the volume part of a drive string asks for.
pub(crate) enum Source<'a> {
    /// No medium, or the host's drive.
    Empty,
    /// A new volume of this many bytes.
    New { storage: &'a str, bytes: u64 },
    /// The cloud-init drive.
    CloudInit { storage: &'a str },
    /// A file such as an ISO image.
    File { storage: &'a str },
    /// A volume that exists.
    Volume { storage: &'a str },
}

/// Reads the volume part.
pub(crate) fn source<'a>(key: &str, volume: &'a str) -> ApiResult<Source<'a>> {
    if matches!(volume, "none" | "cdrom") {
        return Ok(Source::Empty);
    }
    let Some((storage, name)) = volume.split_once(':') else {
        return Err(ApiError::parameter(key, format!("not a valid volid: {volume}")));
    };
    if name == "cloudinit" {
        return Ok(Source::CloudInit { storage });
    }
    if let Ok(gib) = name.parse::<f64>() {
        let bytes = (gib * 1024.0 * 1024.0).ceil().max(0.0) as u64 * 1024;
        return Ok(Source::New { storage, bytes });
    }
    if name.starts_with("iso/") {
        return Ok(Source::File { storage });
    }
    Ok(Source::Volume { storage })
}

/// Checks that the caller may use the storages that the drives name, and that they can hold them.
pub(crate) fn check_storages(
    core: &Core,
    who: &Identity,
    node: &str,
    vmid: u32,
    settings: &Settings,
) -> ApiResult<()> {
    for (key, value) in settings.iter().filter(|(key, _)| is_disk_key(key)) {
        let drive = parse(key, value)?;
        match source(key, &drive.volume)? {
            Source::Empty => {}
            Source::New { storage, .. } => {
                core.need(who, &format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
                volumes::for_images(&core.world, node, storage)?;
                if let Some(import) = drive.opts.get("import-from") {
                    check_import(core, who, import)?;
                }
            }
            Source::CloudInit { storage } => {
                core.need(who, &format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
                volumes::for_images(&core.world, node, storage)?;
            }
            Source::File { storage } => {
                if !drive.is_cdrom() {
                    return Err(ApiError::parameter(
                        key,
                        "explicit 'media=cdrom' is required for iso images",
                    ));
                }
                core.need_any(
                    who,
                    &format!("/storage/{storage}"),
                    &["Datastore.Audit", "Datastore.AllocateSpace"],
                )?;
            }
            Source::Volume { storage } => {
                let name = drive.volume.split_once(':').map_or("", |(_, name)| name);
                if owner_of(name) != Some(vmid) {
                    core.need(who, &format!("/storage/{storage}"), &["Datastore.Allocate"])?;
                }
            }
        }
    }
    Ok(())
}

fn check_import(core: &Core, who: &Identity, import: &str) -> ApiResult<()> {
    if import.starts_with('/') {
        return if who.is_root() {
            Ok(())
        } else {
            Err(ApiError::forbidden("only root can import from absolute paths"))
        };
    }
    let storage = import.split(':').next().unwrap_or("");
    core.need_any(
        who,
        &format!("/storage/{storage}"),
        &["Datastore.Audit", "Datastore.AllocateSpace"],
    )
}

fn parse(key: &str, value: &str) -> ApiResult<DiskString> {
    propstring::normalize_disk(key, value).map_err(|text| ApiError::parameter(key, text))
}

/// Storages on which a drive string will make a volume.
pub(crate) fn storages_of(settings: &Settings) -> Vec<(String, usize)> {
    let mut storages = Vec::new();
    for (key, value) in settings.iter().filter(|(key, _)| is_disk_key(key)) {
        let Ok(drive) = parse(key, value) else {
            continue;
        };
        if let Ok(Source::New { storage, .. } | Source::CloudInit { storage }) =
            source(key, &drive.volume)
        {
            storages.push((storage.to_owned(), 1));
        }
    }
    storages
}

/// Makes what a drive string asks for and returns the string to keep. `made` collects new volumes.
pub(crate) fn realize(
    core: &mut Core,
    node: &str,
    vmid: u32,
    key: &str,
    value: &str,
    guest: &Guest,
    made: &mut Vec<String>,
) -> ApiResult<String> {
    let mut drive = parse(key, value)?;
    let format = drive.opts.get("format").cloned();
    let volume = drive.volume.clone();
    match source(key, &volume)? {
        Source::Empty => {
            drive.opts.remove("size");
        }
        Source::New { storage, bytes } => {
            let fixed = matches!(key, "efidisk0" | "tpmstate0");
            let imported = drive.opts.remove("import-from");
            let bytes = match &imported {
                Some(volid) => volumes::size_of(&core.world, node, volid)
                    .ok_or_else(|| ApiError::died(format!("could not get size of {volid}")))?,
                None if fixed => FIRMWARE_BYTES,
                None => bytes,
            };
            let wish = Wish {
                node,
                storage,
                vmid,
                bytes,
                format: format.as_deref(),
                name: None,
                content: "images",
            };
            let volid = volumes::allocate(&mut core.world, &wish)?;
            made.push(volid.clone());
            let size = volumes::size_of(&core.world, node, &volid).unwrap_or(bytes);
            drive.opts.insert("size".to_owned(), propstring::print_size(size));
            drive.opts.remove("format");
            drive.volume = volid;
        }
        Source::CloudInit { storage } => {
            let other = guest.config.iter().find(|(other, value)| {
                other.as_str() != key && is_disk_key(other) && is_cloudinit(value)
            });
            if let Some((other, _)) = other {
                let text = format!("{key} - cloud-init drive is already attached at '{other}'");
                return Err(ApiError::died(text));
            }
            let name = Some(format!("vm-{vmid}-cloudinit"));
            let shared =
                core.world.storages.get(storage).is_some_and(|definition| definition.kind == "dir");
            let format = if shared { Some("qcow2") } else { None };
            let wish = Wish {
                node,
                storage,
                vmid,
                bytes: CLOUDINIT_BYTES,
                format,
                name,
                content: "images",
            };
            let volid = volumes::allocate(&mut core.world, &wish)?;
            made.push(volid.clone());
            drive.volume = volid;
            drive.opts.insert("media".to_owned(), "cdrom".to_owned());
            drive.opts.remove("format");
        }
        Source::File { .. } | Source::Volume { .. } => {
            let size = volumes::size_of(&core.world, node, &volume)
                .ok_or_else(|| ApiError::died(format!("volume {volume} does not exist")))?;
            drive.opts.insert("size".to_owned(), propstring::print_size(size));
        }
    }
    Ok(drive.print())
}

/// The interface string to keep: a missing MAC is made up here.
pub(crate) fn realize_net(core: &mut Core, key: &str, value: &str) -> ApiResult<String> {
    let mut net = parse_net(key, value)?;
    if net.mac.is_none() {
        net.mac = Some(core.world.new_mac());
    }
    Ok(net.print())
}

/// Reads an interface string.
pub(crate) fn parse_net(key: &str, value: &str) -> ApiResult<NetString> {
    propstring::normalize_net(value).map_err(|text| ApiError::parameter(key, text))
}

/// The volume of a drive string, if it is one that is kept when detached.
pub(crate) fn kept_volume(value: &str) -> Option<&str> {
    let volume = value.split(',').next()?;
    let (_, name) = volume.split_once(':')?;
    owner_of(name)?;
    (!is_cloudinit(value)).then_some(volume)
}

/// Puts a detached volume under the lowest free `unusedN`.
pub(crate) fn park(guest: &mut Guest, volume: &str) {
    let already = guest.config.iter().any(|(key, value)| indexed(key, "unused") && value == volume);
    if already {
        return;
    }
    let free = (0..256)
        .map(|number| format!("unused{number}"))
        .find(|key| !guest.config.contains_key(key));
    if let Some(key) = free {
        guest.config.insert(key, volume.to_owned());
    }
}

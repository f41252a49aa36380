//! Volumes on storages: naming, rounding, capacity, copies and linked clones.

use super::error::{ApiError, ApiResult};
use super::world::{Storage, Volume, World, owner_of, volume_key};

const MIB: u64 = 1024 * 1024;

/// The storage, if this node can use it now; the texts are those of the storage layer.
pub(crate) fn usable<'a>(world: &'a World, node: &str, name: &str) -> Result<&'a Storage, String> {
    let storage =
        world.storages.get(name).ok_or_else(|| format!("storage '{name}' does not exist"))?;
    if storage.disabled {
        return Err(format!("storage '{name}' is disabled"));
    }
    if !storage.is_on(node) {
        return Err(format!("storage '{name}' is not available on node '{node}'"));
    }
    if storage.inactive_on.contains(node) {
        return Err(format!("storage '{name}' is not online"));
    }
    Ok(storage)
}

/// The storage, if it may hold guest images; a wrong content is a parameter error.
pub(crate) fn for_images(world: &World, node: &str, name: &str) -> ApiResult<()> {
    let storage = usable(world, node, name)?;
    if storage.holds("images") {
        Ok(())
    } else {
        Err(ApiError::parameter("storage", format!("storage '{name}' does not support vm images")))
    }
}

/// Bytes taken on a storage as seen from a node.
pub(crate) fn used(world: &World, node: &str, name: &str) -> u64 {
    let Some(storage) = world.storages.get(name) else {
        return 0;
    };
    let prefix = volume_key(storage.shared, node, &format!("{name}:"));
    let volumes: u64 = world
        .volumes
        .range(prefix.clone()..)
        .take_while(|(key, _)| key.starts_with(&prefix))
        .filter(|(_, volume)| volume.parent.is_none())
        .map(|(_, volume)| volume.size)
        .sum();
    volumes + storage.other_used + storage.files.values().sum::<u64>()
}

/// A size as this kind of storage makes it: never smaller than asked.
pub(crate) fn rounded(kind: &str, bytes: u64) -> u64 {
    let unit = match kind {
        "lvm" | "lvmthin" => 4 * MIB,
        "zfspool" | "rbd" => MIB,
        _ => 1024,
    };
    bytes.div_ceil(unit).max(1) * unit
}

fn is_file_based(kind: &str) -> bool {
    matches!(kind, "dir" | "nfs" | "cifs" | "cephfs" | "btrfs")
}

/// Whether linked clones of base images are possible.
pub(crate) fn can_link(kind: &str) -> bool {
    matches!(kind, "lvmthin" | "rbd" | "zfspool" | "dir" | "nfs" | "cifs" | "btrfs")
}

fn full_message(kind: &str, volname: &str) -> String {
    match kind {
        "lvm" | "lvmthin" => format!("lvcreate '{volname}' error: insufficient free space"),
        "zfspool" => "zfs error: cannot create volume: out of space".to_owned(),
        "rbd" => format!("error creating image '{volname}': (28) No space left on device"),
        _ => "unable to create image: No space left on device".to_owned(),
    }
}

/// Name of the next free volume of a guest.
fn next_name(world: &World, node: &str, storage: &str, vmid: u32, stem: &str) -> String {
    let shared = world.storages.get(storage).is_some_and(|definition| definition.shared);
    let prefix = volume_key(shared, node, &format!("{storage}:"));
    let taken: Vec<&str> = world
        .volumes
        .range(prefix.clone()..)
        .take_while(|(key, _)| key.starts_with(&prefix))
        .filter(|(_, volume)| volume.vmid == vmid)
        .filter_map(|(key, _)| key.rsplit(['/', ':']).next())
        .map(|name| name.split('.').next().unwrap_or(name))
        .collect();
    let mut number = 0;
    loop {
        let name = format!("{stem}-{vmid}-disk-{number}");
        // A base image and a plain one never share a number.
        let other = format!("base-{vmid}-disk-{number}");
        if !taken.iter().any(|taken| *taken == name || *taken == other) {
            return name;
        }
        number += 1;
    }
}

/// What a new volume is to be.
pub(crate) struct Wish<'a> {
    pub(crate) node: &'a str,
    pub(crate) storage: &'a str,
    pub(crate) vmid: u32,
    pub(crate) bytes: u64,
    pub(crate) format: Option<&'a str>,
    /// Fixed name such as `vm-100-cloudinit`; else the next free number.
    pub(crate) name: Option<String>,
    pub(crate) content: &'a str,
}

/// Makes a volume and returns its id.
pub(crate) fn allocate(world: &mut World, wish: &Wish<'_>) -> Result<String, String> {
    let kind = usable(world, wish.node, wish.storage)?.kind.clone();
    let format = match wish.format {
        Some(format) if is_file_based(&kind) => format.to_owned(),
        Some(format) if format != "raw" => return Err(format!("unsupported format '{format}'")),
        _ => "raw".to_owned(),
    };
    let plain = wish
        .name
        .clone()
        .unwrap_or_else(|| next_name(world, wish.node, wish.storage, wish.vmid, "vm"));
    let volname =
        if is_file_based(&kind) { format!("{}/{plain}.{format}", wish.vmid) } else { plain };
    let size = rounded(&kind, wish.bytes);
    let total = world.storages.get(wish.storage).map_or(0, |storage| storage.total);
    if used(world, wish.node, wish.storage) + size > total {
        return Err(full_message(&kind, &volname));
    }
    insert(world, wish, &volname, size, &format, None)
}

fn insert(
    world: &mut World,
    wish: &Wish<'_>,
    volname: &str,
    size: u64,
    format: &str,
    parent: Option<String>,
) -> Result<String, String> {
    let shared = world.storages.get(wish.storage).is_some_and(|storage| storage.shared);
    let volid = format!("{}:{volname}", wish.storage);
    let key = volume_key(shared, wish.node, &volid);
    if world.volumes.contains_key(&key) {
        return Err(format!("disk image '{volid}' already exists"));
    }
    let volume = Volume {
        size,
        vmid: wish.vmid,
        content: wish.content.to_owned(),
        format: format.to_owned(),
        parent,
        ctime: crate::clock::unix_now(),
        stuck: false,
    };
    world.volumes.insert(key, volume);
    Ok(volid)
}

/// A volume by its id, as seen from a node.
pub(crate) fn find<'a>(world: &'a World, node: &str, volid: &str) -> Option<&'a Volume> {
    world.volumes.get(&key_of(world, node, volid))
}

/// The key under which a volume id is kept.
pub(crate) fn key_of(world: &World, node: &str, volid: &str) -> String {
    let storage = volid.split(':').next().unwrap_or("");
    let shared = world.storages.get(storage).is_some_and(|definition| definition.shared);
    volume_key(shared, node, volid)
}

/// Size of a volume or of an ISO file.
pub(crate) fn size_of(world: &World, node: &str, volid: &str) -> Option<u64> {
    if let Some(volume) = find(world, node, volid) {
        return Some(volume.size);
    }
    let (storage, name) = volid.split_once(':')?;
    world.storages.get(storage)?.files.get(name).copied()
}

/// Makes a linked clone of a base image.
pub(crate) fn link(
    world: &mut World,
    node: &str,
    volid: &str,
    vmid: u32,
) -> Result<String, String> {
    let (storage, base) =
        volid.split_once(':').ok_or_else(|| format!("unable to parse volume ID '{volid}'"))?;
    let kind = usable(world, node, storage)?.kind.clone();
    let source =
        find(world, node, volid).cloned().ok_or_else(|| format!("no such volume '{volid}'"))?;
    let plain = next_name(world, node, storage, vmid, "vm");
    let base_name = base.rsplit('/').next().unwrap_or(base);
    let (volname, format) = match kind.as_str() {
        "lvmthin" => (plain, "raw".to_owned()),
        "rbd" | "zfspool" => (format!("{base_name}/{plain}"), "raw".to_owned()),
        _ => (format!("{base}/{vmid}/{plain}.qcow2"), "qcow2".to_owned()),
    };
    let wish = Wish {
        node,
        storage,
        vmid,
        bytes: source.size,
        format: None,
        name: None,
        content: "images",
    };
    insert(world, &wish, &volname, source.size, &format, Some(base.to_owned()))
}

/// Frees a volume; a missing one is no failure.
pub(crate) fn free(world: &mut World, node: &str, volid: &str) -> Result<(), String> {
    let key = key_of(world, node, volid);
    let Some(volume) = world.volumes.get(&key) else {
        return Ok(());
    };
    if volume.stuck {
        return Err(format!("Could not remove disk '{volid}', check manually: device busy"));
    }
    if let Some(name) = child_of(world, node, volid) {
        return Err(format!("base volume '{volid}' is still in use by linked cloned {name}"));
    }
    world.volumes.remove(&key);
    Ok(())
}

/// A volume that is a linked clone of this one.
pub(crate) fn child_of(world: &World, node: &str, volid: &str) -> Option<String> {
    let (storage, name) = volid.split_once(':')?;
    if !name.rsplit('/').next().unwrap_or(name).starts_with("base-") {
        return None;
    }
    let shared = world.storages.get(storage)?.shared;
    let prefix = volume_key(shared, node, &format!("{storage}:"));
    world
        .volumes
        .range(prefix.clone()..)
        .take_while(|(key, _)| key.starts_with(&prefix))
        .find(|(_, volume)| volume.parent.as_deref() == Some(name))
        .map(|(key, _)| key[prefix.len()..].to_owned())
}

/// Turns a plain volume into a base image and returns the new id.
pub(crate) fn to_base(world: &mut World, node: &str, volid: &str) -> Result<String, String> {
    rename(world, node, volid, |last| last.replacen("vm-", "base-", 1))
}

/// Gives a volume a name that belongs to another guest.
fn rename(
    world: &mut World,
    node: &str,
    volid: &str,
    change: impl Fn(&str) -> String,
) -> Result<String, String> {
    let (storage, name) =
        volid.split_once(':').ok_or_else(|| format!("unable to parse volume ID '{volid}'"))?;
    usable(world, node, storage)?;
    let (folder, last) = name.rsplit_once('/').map_or(("", name), |(folder, last)| (folder, last));
    let new_last = change(last);
    let new_name = if folder.is_empty() { new_last } else { format!("{folder}/{new_last}") };
    let new_volid = format!("{storage}:{new_name}");
    let key = key_of(world, node, volid);
    let mut volume =
        world.volumes.remove(&key).ok_or_else(|| format!("no such volume '{volid}'"))?;
    volume.vmid = owner_of(&new_name).unwrap_or(volume.vmid);
    let new_key = key_of(world, node, &new_volid);
    world.volumes.insert(new_key, volume);
    Ok(new_volid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        World::from_yaml(include_str!("../../../fixtures/worlds/proxmox.yaml")).expect("a world")
    }

    fn wish<'a>(storage: &'a str, bytes: u64) -> Wish<'a> {
        Wish {
            node: "pve1",
            storage,
            vmid: 100,
            bytes,
            format: None,
            name: None,
            content: "images",
        }
    }

    #[test]
    fn storages_round_up_in_their_own_units() {
        assert_eq!(rounded("lvmthin", 4 * MIB + 1), 8 * MIB);
        assert_eq!(rounded("rbd", 1), MIB);
        assert_eq!(rounded("dir", 1024), 1024);
    }

    #[test]
    fn a_local_volume_exists_on_one_node_and_a_shared_one_everywhere() {
        let mut world = world();
        let local = allocate(&mut world, &wish("local-lvm", MIB)).expect("a volume");
        let shared = allocate(&mut world, &wish("fast", MIB)).expect("a volume");
        assert!(find(&world, "pve1", &local).is_some() && find(&world, "pve2", &local).is_none());
        assert!(find(&world, "pve1", &shared).is_some() && find(&world, "pve2", &shared).is_some());
    }

    #[test]
    fn numbers_of_freed_volumes_are_used_again() {
        let mut world = world();
        let first = allocate(&mut world, &wish("fast", MIB)).expect("a volume");
        assert_eq!(
            allocate(&mut world, &wish("fast", MIB)).expect("a volume"),
            "fast:vm-100-disk-1"
        );
        free(&mut world, "pve1", &first).expect("freed");
        assert_eq!(allocate(&mut world, &wish("fast", MIB)).expect("a volume"), first);
    }

    #[test]
    fn a_full_storage_refuses() {
        let mut world = world();
        let text = allocate(&mut world, &wish("local-lvm", 1 << 40)).expect_err("full");
        assert!(text.contains("insufficient free space"), "{text}");
    }

    #[test]
    fn a_base_image_with_a_linked_clone_stays() {
        let mut world = world();
        link(&mut world, "pve1", "fast:base-9000-disk-0", 100).expect("a clone");
        let text = free(&mut world, "pve1", "fast:base-9000-disk-0").expect_err("in use");
        assert!(text.contains("still in use by linked cloned"), "{text}");
    }
}

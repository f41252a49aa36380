//! Snapshots: they keep the hardware and bring it back.

use super::fixture::snapshot_of;
use super::vm::{Config, Vm};
use super::world::{Volume, World};

/// What a file of differences takes at first.
const DELTA: u64 = 16 << 20;

/// Snapshots that one machine has in a chain. That the product holds no more is known of its
/// documentation; which fault it tells it by is read from the interface's list of faults, and not
/// confirmed.
pub(crate) const LEVELS_MAX: usize = 32;

/// How many snapshots a machine goes on from, one on the other.
pub(crate) fn levels(vm: &Vm) -> usize {
    let mut at = vm.current_snapshot.as_ref();
    let mut count = 0;
    // More than there are would be a circle.
    while let Some(id) = at.filter(|_| count < vm.snapshots.len()) {
        count += 1;
        let here = vm.snapshots.iter().find(|it| it.id == *id);
        at = here.and_then(|it| it.parent.as_ref());
    }
    count
}

/// Takes a snapshot; gives its id.
pub(crate) fn take(
    world: &mut World,
    id: &str,
    name: &str,
    description: &str,
    now_ms: u64,
) -> Option<String> {
    let snapshot = format!("snapshot-{}", world.next_object());
    let vm = world.vm_mut(id)?;
    let kept = snapshot_of(vm, snapshot.clone(), name, description, now_ms);
    vm.snapshots.push(kept);
    vm.current_snapshot = Some(snapshot.clone());
    let mut config = vm.config.clone();
    let files: Vec<String> = config.disks().map(|disk| disk.file.clone()).collect();
    branch_off(world, id, &mut config, &files);
    let vm = world.vm_mut(id)?;
    vm.config = config;
    Some(snapshot)
}

/// Lets each disk write into a file of its own that goes on from the one given.
pub(crate) fn branch_off(world: &mut World, owner: &str, config: &mut Config, files: &[String]) {
    for (disk, parent) in config.disks_mut().zip(files) {
        let Some(volume) = world.volumes.get(parent).cloned() else { continue };
        let stem = parent.trim_end_matches(".vmdk");
        let stem = stem.rsplit_once("-0").map_or(stem, |(stem, _)| stem);
        let file = (1_u32..)
            .map(|number| format!("{stem}-{number:06}.vmdk"))
            .find(|file| !world.volumes.contains_key(file))
            .unwrap_or_default();
        disk.file.clone_from(&file);
        let volume =
            Volume { used: DELTA, parent: Some(parent.clone()), owner: owner.to_owned(), ..volume };
        world.volumes.insert(file, volume);
    }
}

/// Returns a machine to a snapshot: configuration, hardware and power as they were.
pub(crate) fn revert(world: &mut World, id: &str, snapshot: &str, now_ms: u64) -> bool {
    let Some(vm) = world.vm(id) else { return false };
    let Some(kept) = vm.snapshots.iter().find(|it| it.id == snapshot).cloned() else {
        return false;
    };
    let left: Vec<String> = vm.config.disks().map(|disk| disk.file.clone()).collect();
    for file in left {
        remove_unused(world, id, &file);
    }
    let files: Vec<String> = kept.config.disks().map(|disk| disk.file.clone()).collect();
    let mut config = kept.config;
    branch_off(world, id, &mut config, &files);
    let change = world.new_change(now_ms);
    let Some(vm) = world.vm_mut(id) else { return false };
    vm.config = config;
    vm.power = kept.power;
    vm.current_snapshot = Some(snapshot.to_owned());
    vm.change = change;
    vm.modified_ms = now_ms;
    true
}

/// Removes a file that no snapshot and no other file needs.
fn remove_unused(world: &mut World, id: &str, file: &str) {
    let kept = world.vm(id).is_some_and(|vm| {
        vm.snapshots.iter().any(|it| it.config.disks().any(|disk| disk.file == file))
    });
    let built_on = world.volumes.values().any(|volume| volume.parent.as_deref() == Some(file));
    if !kept && !built_on {
        world.volumes.remove(file);
    }
}

/// Removes snapshots; with the last one the files of differences are merged.
pub(crate) fn remove(world: &mut World, id: &str, gone: &[String]) {
    let Some(vm) = world.vm_mut(id) else { return };
    let parents: Vec<(String, Option<String>)> =
        vm.snapshots.iter().map(|it| (it.id.clone(), it.parent.clone())).collect();
    let heir = |start: Option<String>| {
        let mut at = start;
        while let Some(here) = at.clone().filter(|here| gone.contains(here)) {
            at = parents.iter().find(|(id, _)| *id == here).and_then(|(_, parent)| parent.clone());
        }
        at
    };
    vm.current_snapshot = heir(vm.current_snapshot.take());
    vm.snapshots.retain(|it| !gone.contains(&it.id));
    for snapshot in &mut vm.snapshots {
        snapshot.parent = heir(snapshot.parent.take());
    }
    if vm.snapshots.is_empty() {
        merge(world, id);
    }
}

fn merge(world: &mut World, id: &str) {
    let Some(vm) = world.vm(id) else { return };
    let mut config = vm.config.clone();
    for disk in config.disks_mut() {
        let mut file = disk.file.clone();
        while let Some(volume) = world.volumes.get(&file).cloned() {
            let Some(parent) = volume.parent.clone() else { break };
            let own = world.volumes.get(&parent).is_some_and(|it| it.owner == id);
            let shared = world
                .volumes
                .iter()
                .any(|(name, it)| *name != file && it.parent.as_ref() == Some(&parent));
            if !own || shared {
                break;
            }
            world.volumes.remove(&file);
            if let Some(below) = world.volumes.get_mut(&parent) {
                below.used = (below.used + volume.used).min(below.bytes);
            }
            file = parent;
        }
        disk.file = file;
    }
    if let Some(vm) = world.vm_mut(id) {
        vm.config = config;
    }
}

/// Every file of a machine: of its disks, of its snapshots, and what they go on from.
pub(crate) fn files_of(world: &World, id: &str, vm: &Vm) -> Vec<String> {
    let mut open: Vec<String> = vm.config.disks().map(|disk| disk.file.clone()).collect();
    open.extend(vm.snapshots.iter().flat_map(|it| it.config.disks().map(|disk| disk.file.clone())));
    let mut found: Vec<String> = Vec::new();
    while let Some(file) = open.pop() {
        let Some(volume) = world.volumes.get(&file) else { continue };
        // A machine deletes what is attached to it, and of what that is built on only its own.
        if found.contains(&file) {
            continue;
        }
        if let Some(parent) = &volume.parent
            && world.volumes.get(parent).is_some_and(|it| it.owner == id)
        {
            open.push(parent.clone());
        }
        found.push(file);
    }
    found
}

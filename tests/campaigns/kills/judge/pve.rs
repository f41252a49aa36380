//! A cluster of Proxmox VE, as the judge sees it.

use super::{Machine, Seen, marked};
use mock_servers::pve::{World, world::Guest};

pub(super) fn others(world: &World, first: &World) -> Vec<String> {
    let mut lines = Vec::new();
    for id in first.guests.keys() {
        let mut guest = serde_json::to_value(world.guests.get(id)).unwrap();
        if let Some(guest) = guest.as_object_mut() {
            // What a node broadcasts moves by itself.
            guest.remove("statistics");
        }
        lines.push(format!("guest {id}: {guest}"));
    }
    let theirs = world.volumes.iter().filter(|(_, it)| first.guests.contains_key(&it.vmid));
    lines.extend(theirs.map(|(name, volume)| format!("volume {name}: {volume:?}")));
    for name in first.pools.keys() {
        lines.push(format!("pool {:?}", world.pools.get(name)));
    }
    for (name, storage) in &world.storages {
        lines.push(format!("storage {name}: {storage:?}"));
    }
    lines
}

pub(super) fn seen(world: &World, first: &World) -> Seen {
    let ours = world.guests.iter().filter(|(id, _)| !first.guests.contains_key(*id));
    let machines = ours.map(|(id, guest)| machine(world, *id, guest)).collect();
    let pools = world.pools.keys().filter(|it| !first.pools.contains_key(*it)).cloned().collect();
    let lost = world.volumes.iter().filter(|(_, it)| !world.guests.contains_key(&it.vmid));
    let orphans = lost.map(|(name, _)| format!("volume {name}")).collect();
    Seen { machines, pools, unmarked: Vec::new(), orphans }
}

fn machine(world: &World, id: u32, guest: &Guest) -> Machine {
    let notes = guest.config.get("description");
    let volumes = world.volumes.iter().filter(|(_, it)| it.vmid == id);
    Machine {
        id: id.to_string(),
        name: guest.config.get("name").cloned().unwrap_or_default(),
        key: notes.and_then(|it| marked(it, "key")).map(str::to_owned),
        running: guest.running,
        boots: guest.boots.len(),
        wrong: started_wrongly(id, guest),
        options: guest.config.clone().into_iter().collect(),
        volumes: volumes.map(|(name, _)| name.clone()).collect(),
    }
}

fn started_wrongly(id: u32, guest: &Guest) -> Vec<String> {
    let mut wrong = Vec::new();
    let cloud_init = guest.config.values().any(|it| it.contains("cloudinit"));
    for boot in &guest.boots {
        let stage = boot.notes.as_deref().and_then(|it| marked(it, "stage"));
        if stage != Some("ready") {
            wrong.push(format!("{id} was started at stage {stage:?}"));
        }
        if cloud_init && (!boot.had_seed || boot.addresses.is_empty()) {
            wrong.push(format!("{id} was started before its cloud-init: {boot:?}"));
        }
    }
    wrong
}

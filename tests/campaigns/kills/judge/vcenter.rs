//! A vCenter, as the judge sees it. At which stage a machine was started the oracle sees.

use super::{Machine, Seen, marked};
use mock_servers::vcenter::{
    World,
    world::{Entity, Kind},
};

/// Everything that was there: machines, templates, folders, pools, hosts, networks, datastores,
/// with the permissions on them.
pub(super) fn others(world: &World, first: &World) -> Vec<String> {
    let there = first.entities.keys().map(|id| {
        let entity = serde_json::to_string(&world.entities.get(id)).unwrap();
        format!("{id}: {entity}")
    });
    let theirs =
        world.volumes.iter().filter(|(_, it)| first.entities.contains_key(&it.owner)).map(
            |(file, volume)| format!("volume {file}: {}", serde_json::to_string(volume).unwrap()),
        );
    there.chain(theirs).collect()
}

pub(super) fn seen(world: &World, first: &World) -> Seen {
    let mut found = Seen { machines: Vec::new(), pools: Vec::new(), orphans: Vec::new() };
    for (id, entity) in world.entities.iter().filter(|(id, _)| !first.entities.contains_key(*id)) {
        match machine(world, id, entity) {
            Some(machine) => found.machines.push(machine),
            None => found.orphans.push(format!("{} {id}", entity.type_name())),
        }
    }
    let lost = world.volumes.iter().filter(|(_, it)| !world.entities.contains_key(&it.owner));
    found.orphans.extend(lost.map(|(file, _)| format!("volume {file}")));
    found
}

fn machine(world: &World, id: &str, entity: &Entity) -> Option<Machine> {
    let Kind::Vm(vm) = &entity.kind else { return None };
    let config = &vm.config;
    let mark = config.extra.get("novahost.id").and_then(|it| marked(it, "key"));
    let is_told = |boot: &&mock_servers::vcenter::vm::Boot| {
        boot.metadata.as_deref().is_some_and(|it| it.contains("ethernets"))
    };
    // The installer's machine is not told anything.
    let tells = config.extra.contains_key("guestinfo.metadata");
    let untold = vm.boots.iter().filter(|_| tells).filter(|boot| !is_told(boot));
    let own = [
        ("numCPUs", config.cpus.to_string()),
        ("memoryMB", config.memory_mb.to_string()),
        ("annotation", config.annotation.clone()),
        ("firmware", config.firmware.clone()),
    ];
    let volumes = world.volumes.iter().filter(|(_, it)| it.owner == id);
    Some(Machine {
        id: id.to_owned(),
        name: entity.name.clone(),
        key: mark.map(str::to_owned),
        running: vm.power == "poweredOn",
        boots: vm.boots.len(),
        wrong: untold.map(|boot| format!("{id} was not told its addresses: {boot:?}")).collect(),
        options: own.map(|(name, value)| (name.to_owned(), value)).into(),
        volumes: volumes.map(|(file, _)| file.clone()).collect(),
    })
}

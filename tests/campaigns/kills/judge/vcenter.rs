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
    let mut found = Seen {
        machines: Vec::new(),
        pools: rules(world),
        unmarked: Vec::new(),
        orphans: Vec::new(),
    };
    for (id, entity) in world.entities.iter().filter(|(id, _)| !first.entities.contains_key(*id)) {
        match (machine(world, id, entity), part(world, id, entity)) {
            (Some(machine), _) => found.machines.push(machine),
            (None, Some(part)) => {
                found.pools.extend(grants(world, entity));
                found.pools.push(part);
            }
            (None, None) if matches!(entity.kind, Kind::Folder(_) | Kind::Pool(_)) => {
                found.unmarked.push(format!("{} {}", entity.type_name(), entity.name));
            }
            (None, None) => found.orphans.push(format!("{} {id}", entity.type_name())),
        }
    }
    found.pools.sort();
    let lost = world.volumes.iter().filter(|(_, it)| !world.entities.contains_key(&it.owner));
    found.orphans.extend(lost.map(|(file, _)| format!("volume {file}")));
    found
}

/// Names of the datastores that its files lie on.
fn datastores(world: &World, id: &str) -> String {
    let own = world.volumes.values().filter(|it| it.owner == id);
    let names = own.filter_map(|it| Some(world.entities.get(&it.datastore)?.name.as_str()));
    names.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ")
}

/// Rules that keep machines apart, with their members; none was there at first.
fn rules(world: &World) -> Vec<String> {
    let all = world.rules.values().flatten();
    let name = |id: &String| world.entities.get(id).map_or("nobody", |it| &it.name).to_owned();
    let one = |it: &mock_servers::vcenter::world::Rule| {
        let mut members: Vec<String> = it.vms.iter().map(name).collect();
        members.sort();
        format!("rule {}: {}", it.name, members.join(", "))
    };
    all.map(one).collect()
}

/// What is granted on a part, and whether as a role of this project says.
fn grants(world: &World, entity: &Entity) -> Vec<String> {
    let role = |id: i32| world.access.roles.get(&id).map_or("no role", |it| &it.name);
    let one = |it: &mock_servers::vcenter::access::Grant| {
        format!("{} {}: {} is {}", entity.type_name(), entity.name, it.principal, role(it.role))
    };
    entity.grants.iter().map(one).collect()
}

/// A part of a pool of this project, whose mark names this very part.
fn part(world: &World, id: &str, entity: &Entity) -> Option<String> {
    let named = |key: &i32| world.fields.get(key).is_some_and(|it| it.name == "novahost.id");
    let (_, mark) = entity.custom.iter().find(|(key, _)| named(key))?;
    marked(mark, "key").filter(|_| marked(mark, "id") == Some(id))?;
    Some(format!("{} {}", entity.type_name(), entity.name))
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
        ("version", config.version.clone()),
        ("is set up", (!vm.setup.done.is_empty()).to_string()),
        ("is kept", (!vm.snapshots.is_empty()).to_string()),
        ("datastores", datastores(world, id)),
    ];
    // What a snapshot leaves of a disk and what was written since are one disk.
    let is_own = |file: &String| world.volumes.get(file).is_some_and(|it| it.owner == id);
    let volumes = world
        .volumes
        .iter()
        .filter(|(_, it)| it.owner == id && !it.parent.as_ref().is_some_and(is_own));
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

//! What people do to the simulated hypervisor behind our back, a line each.

use super::lab::{Lab, Simulator};
use mock_servers::{pve, vcenter};
use novahost::sandbox::TOKEN_ID;

impl Lab {
    /// One line of `world`.
    pub fn disturb(&self, line: &str) {
        match &self.servers["pve"] {
            Simulator::Proxmox(server) => cluster(&server.control(), line),
            Simulator::Vcenter(server) => vcenter(&server.control(), line),
        }
    }
}

fn words(line: &str) -> [&str; 4] {
    let mut words = line.splitn(4, ' ');
    [(); 4].map(|()| words.next().unwrap_or_default())
}

fn guest(world: &pve::World, name: &str) -> u32 {
    let named = world.guests.iter().find(|(id, guest)| {
        id.to_string() == name || guest.config.get("name").is_some_and(|it| it == name)
    });
    *named.unwrap_or_else(|| panic!("no guest {name}")).0
}

fn cluster(control: &pve::Control, line: &str) {
    let [word, at, key, rest] = words(line);
    let world = control.snapshot();
    let id = || guest(&world, at);
    match word {
        "set" => control.edit_config(id(), key, Some(rest)),
        "unset" => control.edit_config(id(), key, None),
        "pending" => control.edit(|world| {
            let guest = world.guests.get_mut(&id()).unwrap();
            guest.pending.insert(key.to_owned(), rest.to_owned());
        }),
        "notes" => control.edit(|world| {
            let config = &mut world.guests.get_mut(&id()).unwrap().config;
            let notes = config.get_mut("description").unwrap();
            assert!(notes.contains(key), "{notes}");
            *notes = notes.replace(key, rest);
        }),
        "power" => control.power(id(), key == "on"),
        "delete" => control.delete_guest(id()),
        "clone" => control.clone_guest(id(), key.parse().unwrap(), rest),
        "restore" => control.restore(id(), key.parse().unwrap()),
        "migrate" => control.migrate_guest(id(), key),
        "lock" => control.lock(id(), key),
        "offline" => control.node_offline(at, true),
        "fill" => control.edit(|world| {
            let storage = world.storages.get_mut(at).unwrap();
            storage.other_used = storage.total / 100 * key.parse::<u64>().unwrap();
        }),
        "pool" => control.edit(|world| {
            let pool = world.pools.entry(at.to_owned()).or_default();
            pool.guests.insert(key.parse().unwrap());
        }),
        "comment" => control.edit(|world| {
            let pool = world.pools.get_mut(at).unwrap();
            pool.comment = format!("{key} {rest}\n{}", pool.comment);
        }),
        "hide" => control.edit(|world| {
            let row =
                format!("{{path: /vms/{at}, kind: token, who: \"{TOKEN_ID}\", role: NoAccess}}");
            world.access.acl.push(serde_yaml::from_str(&row).unwrap());
        }),
        other => panic!("no such disturbance: {other}"),
    }
}

/// The key that holds the marker.
const MARKER: &str = "novahost.id";

fn vcenter(control: &vcenter::Control, line: &str) {
    let [word, at, key, rest] = words(line);
    let id = || control.find_vm(at).unwrap_or_else(|| panic!("no machine {at}"));
    match word {
        "set" => {
            let (at, id) = (key.to_owned(), id());
            control.change_vm(&id, |vm| match at.as_str() {
                "memory" => vm.config.memory_mb = rest.parse().unwrap(),
                "cpu" => vm.config.cpus = rest.parse().unwrap(),
                "notes" => rest.clone_into(&mut vm.config.annotation),
                other => panic!("no such setting: {other}"),
            });
        }
        "unset" => control.change_vm(&id(), |vm| drop(vm.config.extra.remove(key))),
        "notes" => control.change_vm(&id(), |vm| {
            let marker = vm.config.extra.get_mut(MARKER).unwrap();
            assert!(marker.contains(key), "{marker}");
            *marker = marker.replace(key, rest);
        }),
        "power" => control.power(&id(), key == "on"),
        "delete" => control.delete_vm(&id()),
        "clone" => drop(control.clone_vm(&id(), rest)),
        "register" => drop(control.register_again(&id())),
        "offline" => control.host_offline(at, true),
        "hide" => control.hide(&id(), true),
        "fill" => control.edit(|world| {
            let store = world.find("Datastore", at).unwrap().to_owned();
            let entity = world.entities.get_mut(&store).unwrap();
            let vcenter::world::Kind::Datastore(store) = &mut entity.kind else {
                panic!("{at} is no datastore")
            };
            store.other_used = store.capacity / 100 * key.parse::<u64>().unwrap();
        }),
        other => panic!("no such disturbance of a vCenter: {other}"),
    }
}

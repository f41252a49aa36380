//! Where a machine can be: names, hosts, datastores, and what they still have room for.

use crate::vcenter::fault::{Fault, Outcome};
use crate::vcenter::schema::schema;
use crate::vcenter::server::Core;
use crate::vcenter::val::{Val, text};
use crate::vcenter::vm::Config;
use crate::vcenter::world::{Entity, Host, Kind, World, escape_name};
use crate::vcenter::xml::Elem;

/// The longest name.
const NAME_MAX: usize = 80;
/// Memory that running a machine takes beside its own, in MiB.
pub(crate) const OVERHEAD_MB: i64 = 64;
const MIB: i64 = 1 << 20;

/// The id that an argument names, if it is there and of that kind.
pub(crate) fn named(core: &Core, elem: &Elem, kind: &str) -> Outcome<String> {
    let id = elem.text.trim();
    match core.world.entities.get(id) {
        Some(entity) if schema().object_is(entity.type_name(), kind) => Ok(id.to_owned()),
        Some(_) => Err(Fault::argument(&elem.name)),
        None => Err(Fault::gone(&elem.kind, id)),
    }
}

/// The same for an argument that may be left out.
pub(crate) fn maybe(
    core: &Core,
    args: Option<&Elem>,
    name: &str,
    kind: &str,
) -> Outcome<Option<String>> {
    args.and_then(|args| args.get(name)).map(|elem| named(core, elem, kind)).transpose()
}

/// A new name as it will be stored; refuses one that is taken in that folder.
pub(crate) fn new_name(
    core: &Core,
    parent: &str,
    name: &str,
    own: Option<&str>,
) -> Outcome<String> {
    let stored = escape_name(name);
    if name.is_empty() || stored.chars().count() > NAME_MAX {
        let fields = vec![("name", text(name))];
        return Err(Fault::new("InvalidName", format!("The name '{name}' is invalid."), fields));
    }
    let same = |other: &str| {
        if core.switches.names_by_case {
            other == stored
        } else {
            other.to_lowercase() == stored.to_lowercase()
        }
    };
    let taken = core.world.children(parent).find(|(id, it)| Some(*id) != own && same(&it.name));
    match taken {
        Some((id, entity)) => {
            let other = Val::Ref(entity.type_name().into(), id.to_owned());
            Err(Fault::duplicate(name, other))
        }
        None => Ok(stored),
    }
}

/// Refuses a folder that takes no machines.
pub(crate) fn need_vm_folder(core: &Core, id: &str) -> Outcome<()> {
    match core.world.entities.get(id).map(|it| &it.kind) {
        Some(Kind::Folder(holds)) if holds.iter().any(|it| it == "VirtualMachine") => Ok(()),
        _ => {
            let target = Val::Ref("Folder".into(), id.to_owned());
            Err(Fault::new(
                "InvalidFolder",
                "The folder takes no virtual machines.",
                vec![("target", target)],
            ))
        }
    }
}

/// Chooses the host for a machine in a pool.
pub(crate) fn host_for(
    core: &Core,
    pool: &str,
    asked: Option<&str>,
    config: &Config,
    datastore: Option<&str>,
) -> Outcome<String> {
    let owner = core.world.pool(pool).map(|pool| pool.owner.clone()).unwrap_or_default();
    let fits = |host: &Host| {
        host.connection == "connected"
            && !host.maintenance
            && datastore.is_none_or(|id| host.datastores.contains(id))
            && config.nics().all(|nic| host.networks.contains(&nic.network))
    };
    if let Some(id) = asked {
        let Some(host) = core.world.host(id) else { return Err(Fault::argument("host")) };
        if core.world.entities.get(id).and_then(|it| it.parent.as_deref()) != Some(owner.as_str()) {
            return Err(Fault::argument("spec.pool"));
        }
        return usable(id, host).map(|()| id.to_owned());
    }
    let hosts: Vec<(&str, &Host)> = core.world.hosts_of(&owner).collect();
    let drs = matches!(
        core.world.entities.get(&owner).map(|it| &it.kind),
        Some(Kind::Cluster { drs: true, .. })
    );
    if !drs && hosts.len() > 1 {
        return Err(Fault::argument("spec.location.host"));
    }
    let best = hosts.iter().filter(|(_, host)| fits(host)).max_by_key(|(id, host)| {
        (
            i64::try_from(host.memory_mb).unwrap_or(0) - configured(&core.world, id),
            std::cmp::Reverse(*id),
        )
    });
    best.map(|(id, _)| (*id).to_owned()).ok_or_else(|| {
        Fault::new("InvalidState", "No host is compatible with the virtual machine.", vec![])
    })
}

/// Refuses a host that does nothing at the moment.
pub(crate) fn usable(id: &str, host: &Host) -> Outcome<()> {
    if host.connection != "connected" {
        let message =
            format!("Unable to communicate with the remote host, since it is disconnected. ({id})");
        return Err(Fault::new("HostNotConnected", message, vec![]));
    }
    if host.maintenance {
        return Err(Fault::state("The operation is not allowed in the current state of the host."));
    }
    Ok(())
}

/// Memory that machines on a host are meant to have, running or not.
fn configured(world: &World, host: &str) -> i64 {
    world
        .vms()
        .filter(|(_, vm)| vm.host == host && !vm.template)
        .map(|(_, vm)| vm.config.memory_mb)
        .sum()
}

/// Memory that is set aside on a host.
fn reserved(world: &World, host: &str, without: &str) -> i64 {
    world
        .vms()
        .filter(|(id, vm)| vm.host == host && vm.power == "poweredOn" && *id != without)
        .map(|(_, vm)| vm.config.memory.reservation + OVERHEAD_MB)
        .sum()
}

impl World {
    /// Memory (MiB) and processors (MHz) that machines and pools in a pool have set aside.
    pub(crate) fn pool_use(&self, pool: &str) -> (i64, i64) {
        let machines = self
            .vms()
            .filter(|(_, vm)| vm.pool.as_deref() == Some(pool) && vm.power == "poweredOn")
            .map(|(_, vm)| (vm.config.memory.reservation + OVERHEAD_MB, vm.config.cpu.reservation));
        let pools = self.children(pool).filter_map(|(id, it)| match &it.kind {
            Kind::Pool(pool) => {
                let inner = self.pool_use(id);
                Some((pool.memory.reservation.max(inner.0), pool.cpu.reservation.max(inner.1)))
            }
            _ => None,
        });
        machines.chain(pools).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// Memory (MiB) and processors (MHz) that a pool has for itself; a root pool has its hosts'.
    pub(crate) fn pool_size(&self, id: &str) -> (i64, i64) {
        let Some(pool) = self.pool(id) else { return (0, 0) };
        let parent = self.entities.get(id).and_then(|it| it.parent.as_deref());
        if parent != Some(pool.owner.as_str()) {
            return (pool.memory.reservation, pool.cpu.reservation);
        }
        let up = self
            .hosts_of(&pool.owner)
            .filter(|(_, it)| it.connection == "connected" && !it.maintenance);
        up.fold((0, 0), |sum, (_, host)| {
            let memory = i64::try_from(host.memory_mb).unwrap_or(0);
            (sum.0 + memory, sum.1 + i64::from(host.cores) * i64::from(host.mhz))
        })
    }
}

fn bytes(mib: i64) -> u64 {
    u64::try_from(mib.max(0) * MIB).unwrap_or(0)
}

/// Finds room for a machine that is to run; gives the host, which DRS may have changed.
pub(crate) fn admit(core: &Core, id: &str) -> Outcome<String> {
    let Some(vm) = core.world.vm(id) else { return Err(Fault::gone("VirtualMachine", id)) };
    let need = vm.config.memory.reservation + OVERHEAD_MB;
    let mut at = vm.pool.clone();
    while let Some(pool_id) = at {
        let Some(pool) = core.world.pool(&pool_id) else { break };
        let used = core.world.pool_use(&pool_id).0;
        let parent = core.world.entities.get(&pool_id).and_then(|it| it.parent.clone());
        let root = parent.as_deref() == Some(pool.owner.as_str());
        if !root && pool.memory.limit >= 0 && used + need > pool.memory.limit {
            return Err(Fault::no_memory(bytes(pool.memory.limit - used), bytes(need)));
        }
        let free = core.world.pool_size(&pool_id).0 - used;
        if free >= need {
            break;
        }
        if root || !pool.memory.expandable {
            return Err(Fault::no_memory(bytes(free), bytes(need)));
        }
        at = parent;
    }
    let room = |host: &str, it: &Host| {
        i64::try_from(it.memory_mb).unwrap_or(0) - reserved(&core.world, host, id) - need
    };
    let own = core.world.host(&vm.host).ok_or_else(|| Fault::gone("HostSystem", &vm.host))?;
    let cluster =
        core.world.entities.get(&vm.host).and_then(|it| it.parent.clone()).unwrap_or_default();
    let drs = matches!(
        core.world.entities.get(&cluster).map(|it| &it.kind),
        Some(Kind::Cluster { drs: true, .. })
    );
    if usable(&vm.host, own).is_ok() && room(&vm.host, own) >= 0 {
        return Ok(vm.host.clone());
    }
    if !drs {
        usable(&vm.host, own)?;
        let free = room(&vm.host, own) + need;
        return Err(Fault::no_memory(bytes(free), bytes(need)));
    }
    let reaches = |it: &Host| vm.config.nics().all(|nic| it.networks.contains(&nic.network));
    let best = core
        .world
        .hosts_of(&cluster)
        .filter(|(id, it)| usable(id, it).is_ok() && reaches(it))
        .max_by_key(|(host, it)| room(host, it));
    match best {
        Some((host, it)) if room(host, it) >= 0 => Ok(host.to_owned()),
        Some((host, it)) => Err(Fault::no_memory(bytes(room(host, it) + need), bytes(need))),
        None => Err(Fault::new("HostNotConnected", "No host is connected.", vec![])),
    }
}

/// Refuses where a datastore has not so many bytes left.
pub(crate) fn need_space(core: &Core, datastore: &str, bytes: u64) -> Outcome<()> {
    let Some(Entity { name, kind: Kind::Datastore(store), .. }) =
        core.world.entities.get(datastore)
    else {
        return Err(Fault::argument("datastore"));
    };
    if !store.accessible {
        let on = Val::Ref("Datastore".into(), datastore.to_owned());
        let fields = vec![("datastore", on), ("name", text(name.clone()))];
        return Err(Fault::new("InvalidDatastore", "The datastore is not accessible.", fields));
    }
    if core.world.free_space(datastore) < bytes { Err(Fault::no_space(name)) } else { Ok(()) }
}

//! Resource pools.

use super::birth::whole_allocation;
use super::place::{named, new_name};
use super::reconfigure::allocation;
use crate::vcenter::fault::{Fault, Outcome};
use crate::vcenter::server::Core;
use crate::vcenter::val::Val;
use crate::vcenter::world::{Allocation, Entity, Kind, Pool};
use crate::vcenter::xml::Elem;

/// Makes a pool in a pool.
pub(crate) fn create(core: &mut Core, parent: &str, args: &Elem) -> Outcome<Val> {
    let Some(above) = core.world.pool(parent).cloned() else {
        return Err(Fault::gone("ResourcePool", parent));
    };
    let drs = matches!(
        core.world.entities.get(&above.owner).map(|it| &it.kind),
        Some(Kind::Cluster { drs: true, .. })
    );
    if !drs {
        return Err(Fault::unsupported("pools need a cluster with DRS"));
    }
    let name = new_name(core, parent, args.text_of("name").unwrap_or(""), None)?;
    let spec = args.get("spec");
    let cpu = whole_allocation(spec.and_then(|it| it.get("cpuAllocation")), "cpuAllocation")?;
    let memory =
        whole_allocation(spec.and_then(|it| it.get("memoryAllocation")), "memoryAllocation")?;
    check(core, parent, None, &memory)?;
    let kind = Kind::Pool(Pool { owner: above.owner, cpu, memory });
    let id = core.world.add("resgroup", Entity::new(&name, Some(parent), kind));
    Ok(Val::Ref("ResourcePool".into(), id))
}

/// A pool cannot set aside what its parent has not.
fn check(core: &Core, parent: &str, own: Option<&str>, memory: &Allocation) -> Outcome<()> {
    let size = core.world.pool_size(parent).0;
    let mut used = core.world.pool_use(parent).0;
    if let Some(own) = own.and_then(|id| core.world.pool(id)) {
        used -= own.memory.reservation;
    }
    let expandable = core.world.pool(parent).is_some_and(|it| it.memory.expandable);
    let root = core.world.pool(parent).is_some_and(|it| {
        core.world.entities.get(parent).and_then(|at| at.parent.as_deref())
            == Some(it.owner.as_str())
    });
    let free = (size - used).max(0);
    if memory.reservation > free && (root || !expandable) {
        let bytes = |mib: i64| u64::try_from(mib.max(0) << 20).unwrap_or(0);
        return Err(Fault::no_memory(bytes(free), bytes(memory.reservation)));
    }
    Ok(())
}

/// Changes a pool.
pub(crate) fn update(core: &mut Core, id: &str, args: &Elem) -> Outcome<()> {
    let Some(mut pool) = core.world.pool(id).cloned() else {
        return Err(Fault::gone("ResourcePool", id));
    };
    let parent = core.world.entities.get(id).and_then(|it| it.parent.clone()).unwrap_or_default();
    if parent == pool.owner {
        return Err(Fault::unsupported("the root pool of a cluster"));
    }
    let name =
        args.text_of("name").map(|name| new_name(core, &parent, name, Some(id))).transpose()?;
    if let Some(config) = args.get("config") {
        for (field, slot) in
            [("cpuAllocation", &mut pool.cpu), ("memoryAllocation", &mut pool.memory)]
        {
            if let Some(given) = config.get(field) {
                *slot = allocation(slot, given);
            }
        }
        check(core, &parent, Some(id), &pool.memory)?;
    }
    if let Some(entity) = core.world.entities.get_mut(id) {
        if let Some(name) = name {
            entity.name = name;
        }
        entity.kind = Kind::Pool(pool);
    }
    Ok(())
}

/// Moves machines and pools into a pool of the same cluster. What was moved stays moved when a later
/// one fails.
pub(crate) fn move_into(core: &mut Core, pool: &str, args: &Elem) -> Outcome<()> {
    for one in args.all("list") {
        let id = named(core, one, "ManagedEntity")?;
        let owner = core.world.pool(pool).map(|it| it.owner.clone()).unwrap_or_default();
        let parent = core.world.entities.get(&id).and_then(|it| it.parent.clone());
        let here = match core.world.entities.get(&id).map(|it| &it.kind) {
            Some(Kind::Vm(vm)) if !vm.template => {
                core.world.entities.get(&vm.host).and_then(|it| it.parent.clone())
            }
            Some(Kind::Pool(it))
                if parent.as_ref() != Some(&it.owner) && !core.world.is_below(pool, &id) =>
            {
                Some(it.owner.clone())
            }
            _ => None,
        };
        if here != Some(owner) {
            return Err(Fault::argument("list"));
        }
        if let Some(vm) = core.world.vm_mut(&id) {
            vm.pool = Some(pool.to_owned());
        } else if let Some(entity) = core.world.entities.get_mut(&id) {
            entity.parent = Some(pool.to_owned());
        }
    }
    Ok(())
}

/// Ends a pool; what was in it is in its parent from then on.
pub(crate) fn destroy(core: &mut Core, id: &str) -> Outcome<()> {
    let Some(pool) = core.world.pool(id).cloned() else {
        return Err(Fault::gone("ResourcePool", id));
    };
    let parent = core.world.entities.get(id).and_then(|it| it.parent.clone()).unwrap_or_default();
    if parent == pool.owner {
        return Err(Fault::unsupported("the root pool of a cluster"));
    }
    for entity in core.world.entities.values_mut() {
        match &mut entity.kind {
            Kind::Vm(vm) if vm.pool.as_deref() == Some(id) => vm.pool = Some(parent.clone()),
            Kind::Pool(_) if entity.parent.as_deref() == Some(id) => {
                entity.parent = Some(parent.clone());
            }
            _ => {}
        }
    }
    core.world.entities.remove(id);
    Ok(())
}

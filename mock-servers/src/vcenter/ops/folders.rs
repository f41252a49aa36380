//! Folders, names, templates, and the end of things.

use super::place::{named, need_vm_folder, new_name};
use super::reconfigure::readable;
use crate::vcenter::fault::{Fault, Outcome};
use crate::vcenter::server::Core;
use crate::vcenter::snapshot;
use crate::vcenter::val::Val;
use crate::vcenter::world::{Entity, Kind};
use crate::vcenter::xml::Elem;

/// Makes a folder.
pub(crate) fn create(core: &mut Core, parent: &str, args: &Elem) -> Outcome<Val> {
    let Some(Entity { kind: Kind::Folder(holds), .. }) = core.world.entities.get(parent) else {
        return Err(Fault::gone("Folder", parent));
    };
    let holds = holds.clone();
    let name = new_name(core, parent, args.text_of("name").unwrap_or(""), None)?;
    let id = core.world.add("group", Entity::new(&name, Some(parent), Kind::Folder(holds)));
    Ok(Val::Ref("Folder".into(), id))
}

/// Moves machines and folders into a folder.
pub(crate) fn move_into(core: &mut Core, folder: &str, args: &Elem) -> Outcome<()> {
    for one in args.all("list") {
        let id = named(core, one, "ManagedEntity")?;
        need_vm_folder(core, folder)?;
        let Some(entity) = core.world.entities.get(&id) else { continue };
        if !matches!(entity.kind, Kind::Vm(_) | Kind::Folder(_)) || core.world.is_below(folder, &id)
        {
            return Err(Fault::argument("list"));
        }
        let name = entity.name.clone();
        new_name(core, folder, &name, Some(&id))?;
        if let Some(entity) = core.world.entities.get_mut(&id) {
            entity.parent = Some(folder.to_owned());
        }
    }
    Ok(())
}

/// Gives something another name.
pub(crate) fn rename(core: &mut Core, id: &str, args: &Elem) -> Outcome<()> {
    let Some(entity) = core.world.entities.get(id) else {
        return Err(Fault::gone("ManagedEntity", id));
    };
    let parent = entity.parent.clone().unwrap_or_default();
    if !core.world.takes_grants(id) {
        return Err(Fault::unsupported("its name is fixed"));
    }
    let name = new_name(core, &parent, args.text_of("newName").unwrap_or(""), Some(id))?;
    if let Some(entity) = core.world.entities.get_mut(id) {
        entity.name = name;
    }
    let now = core.now_ms();
    let change = core.world.new_change(now);
    if let Some(vm) = core.world.vm_mut(id) {
        vm.change = change;
        vm.modified_ms = now;
    }
    Ok(())
}

/// Makes a template of a machine.
pub(crate) fn mark_template(core: &mut Core, id: &str) -> Outcome<()> {
    let Some(vm) = core.world.vm(id).cloned() else {
        return Err(Fault::gone("VirtualMachine", id));
    };
    readable(core, &vm)?;
    if vm.power != "poweredOff" {
        return Err(Fault::power(Some("poweredOff"), &vm.power));
    }
    if vm.template {
        return Err(Fault::unsupported("it is a template already"));
    }
    let now = core.now_ms();
    let change = core.world.new_change(now);
    if let Some(vm) = core.world.vm_mut(id) {
        vm.template = true;
        vm.pool = None;
        vm.change = change;
    }
    Ok(())
}

/// Makes a machine of a template.
pub(crate) fn mark_machine(core: &mut Core, id: &str, args: &Elem) -> Outcome<()> {
    let Some(vm) = core.world.vm(id).cloned() else {
        return Err(Fault::gone("VirtualMachine", id));
    };
    readable(core, &vm)?;
    if !vm.template {
        return Err(Fault::unsupported("it is no template"));
    }
    let pool = super::place::maybe(core, Some(args), "pool", "ResourcePool")?.unwrap_or_default();
    let host = super::place::maybe(core, Some(args), "host", "HostSystem")?;
    let host = super::place::host_for(core, &pool, host.as_deref(), &vm.config, None)?;
    let now = core.now_ms();
    let change = core.world.new_change(now);
    if let Some(vm) = core.world.vm_mut(id) {
        vm.template = false;
        vm.pool = Some(pool);
        vm.host = host;
        vm.change = change;
    }
    Ok(())
}

/// Ends a machine, a folder with all in it, or a pool.
pub(crate) fn destroy(core: &mut Core, id: &str) -> Outcome<()> {
    match core.world.entities.get(id).map(|it| it.kind.clone()) {
        Some(Kind::Vm(_)) => destroy_vm(core, id),
        Some(Kind::Folder(_)) => empty_out(core, id, destroy_vm),
        Some(Kind::Pool(_)) => super::pools::destroy(core, id),
        Some(_) => Err(Fault::unsupported("this kind of object in this simulator")),
        None => Err(Fault::gone("ManagedEntity", id)),
    }
}

/// Ends a folder; machines in it leave the inventory, and their files stay. The first that cannot
/// leave ends the task, and those before it are gone: the interface does not say that it is all
/// or nothing.
pub(crate) fn unregister_and_destroy(core: &mut Core, id: &str) -> Outcome<()> {
    match core.world.entities.get(id).map(|it| &it.kind) {
        Some(Kind::Folder(_)) => empty_out(core, id, unregister),
        Some(_) => Err(Fault::unsupported("this kind of object")),
        None => Err(Fault::gone("Folder", id)),
    }
}

fn empty_out(core: &mut Core, id: &str, end: fn(&mut Core, &str) -> Outcome<()>) -> Outcome<()> {
    if !core.world.takes_grants(id) {
        return Err(Fault::unsupported("the folder belongs to its datacenter"));
    }
    let below = core.world.entities.keys().filter(|it| it.as_str() != id);
    let inside: Vec<String> = below.filter(|it| core.world.is_below(it, id)).cloned().collect();
    for vm in &inside {
        if core.world.vm(vm).is_some() {
            end(core, vm)?;
        }
    }
    for one in inside.iter().chain([&id.to_owned()]) {
        core.world.entities.remove(one);
    }
    Ok(())
}

fn destroy_vm(core: &mut Core, id: &str) -> Outcome<()> {
    let Some(vm) = core.world.vm(id).cloned() else {
        return Err(Fault::gone("VirtualMachine", id));
    };
    readable(core, &vm)?;
    if vm.power != "poweredOff" {
        return Err(Fault::power(Some("poweredOff"), &vm.power));
    }
    let mut files = snapshot::files_of(&core.world, id, &vm);
    core.world.entities.remove(id);
    // What others are built on stays, as a file that belongs to no machine any more. A file can be
    // needed by one that goes in the same breath, so those go first that nobody is built on.
    loop {
        let before = files.len();
        files.retain(|file| {
            let needed = core.world.volumes.values().any(|it| it.parent.as_ref() == Some(file));
            if !needed {
                core.world.volumes.remove(file);
            }
            needed
        });
        if files.len() == before {
            return Ok(());
        }
    }
}

/// Takes a machine out of the inventory; its files stay.
pub(crate) fn unregister(core: &mut Core, id: &str) -> Outcome<()> {
    let Some(vm) = core.world.vm(id) else { return Err(Fault::gone("VirtualMachine", id)) };
    if vm.power != "poweredOff" {
        return Err(Fault::power(Some("poweredOff"), &vm.power));
    }
    core.world.entities.remove(id);
    Ok(())
}

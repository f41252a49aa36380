//! What the tasks do: their turn, their beginning, their end.

use super::fault::{Fault, Outcome};
use super::ops::{birth, customize, folders, power, reconfigure, rules};
use super::server::Core;
use super::snapshot;
use super::val::Val;
use super::xml::Elem;

/// Units that a full copy of a machine costs its host.
const FULL_COPY: u32 = 4;

/// Whether a queued task may begin; it holds its share of the host from then on.
pub(crate) fn has_turn(core: &mut Core, id: &str) -> bool {
    let Some(task) = core.world.tasks.get(id) else { return false };
    let Some(host) = core.world.vm(&task.entity).map(|vm| vm.host.clone()) else { return true };
    let spec = task.call.get("spec");
    let location = spec.and_then(|it| it.get("location"));
    let cost = match task.method.as_str() {
        "CloneVM_Task" => match location.and_then(|it| it.text_of("diskMoveType")) {
            Some("createNewChildDiskBacking") => 1,
            Some(_) | None => FULL_COPY,
        },
        "RelocateVM_Task" if spec.is_some_and(moves_files) => FULL_COPY,
        _ => return true,
    };
    let used: u32 = core.slots.values().filter(|(at, _)| *at == host).map(|(_, units)| units).sum();
    if used > 0 && used + cost > core.timing.host_units {
        return false;
    }
    core.slots.insert(id.to_owned(), (host, cost));
    true
}

/// Whether a relocation copies files.
fn moves_files(spec: &Elem) -> bool {
    spec.get("datastore").is_some() || spec.get("disk").is_some()
}

/// Takes the machines that a task works on, or tells who has them.
fn hold(core: &mut Core, id: &str, vm: &str, alone: bool) -> Outcome<()> {
    let holders = core.holds.entry(vm.to_owned()).or_default();
    match holders.iter().find(|(task, only)| task != id && (alone || *only)) {
        Some((task, _)) => Err(Fault::busy(task)),
        None => {
            holders.push((id.to_owned(), alone));
            Ok(())
        }
    }
}

fn parts(core: &Core, id: &str) -> Outcome<(String, String, Elem)> {
    match core.world.tasks.get(id) {
        Some(task) => Ok((task.method.clone(), task.entity.clone(), task.call.clone())),
        None => Err(Fault::system("the task is gone")),
    }
}

/// The first half: what is there from the moment that the task runs.
pub(crate) fn begin(core: &mut Core, id: &str) -> Outcome<()> {
    let (method, entity, call) = parts(core, id)?;
    match method.as_str() {
        "CreateVM_Task" => {
            let born = birth::create(core, &entity, &call, id)?;
            hold(core, id, &born, true)?;
            remember(core, id, born);
        }
        "CloneVM_Task" => {
            hold(core, id, &entity, false)?;
            let born = birth::clone(core, &entity, &call, id)?;
            hold(core, id, &born, true)?;
            remember(core, id, born);
        }
        "MoveIntoFolder_Task" => {
            for one in call.all("list") {
                hold(core, id, one.text.trim(), true)?;
            }
        }
        _ => {
            let vm = owner(core, &entity);
            hold(core, id, &vm, true)?;
        }
    }
    Ok(())
}

/// The machine of a snapshot, or the object itself.
pub(crate) fn owner(core: &Core, id: &str) -> String {
    let found = core.world.vms().find(|(_, vm)| vm.snapshots.iter().any(|it| it.id == id));
    found.map_or(id, |(vm, _)| vm).to_owned()
}

fn remember(core: &mut Core, id: &str, born: String) {
    if let Some(task) = core.world.tasks.get_mut(id) {
        task.born = Some(born);
    }
}

/// Takes back what a task that failed had begun.
pub(crate) fn give_up(core: &mut Core, id: &str) {
    let Some(born) = core.world.tasks.get_mut(id).and_then(|task| task.born.take()) else { return };
    let forming = core.world.vm(&born).is_some_and(|vm| vm.forming.as_deref() == Some(id));
    if forming {
        core.world.entities.remove(&born);
        core.world.volumes.retain(|_, volume| volume.owner != born);
    }
}

/// The second half: what is there when the task is done.
pub(crate) fn finish(core: &mut Core, id: &str) -> Outcome<Option<Val>> {
    let (method, entity, call) = parts(core, id)?;
    let user = core.world.tasks.get(id).map(|it| it.user.clone()).unwrap_or_default();
    let now = core.now_ms();
    let vm = owner(core, &entity);
    let name = core.world.entities.get(&vm).map_or_else(String::new, |it| it.name.clone());
    let said = |core: &mut Core, ty: &str, about: &str, what: &str| {
        core.world.happened(ty, &user, about, now, &format!("{name}: {what}"));
    };
    match method.as_str() {
        "CreateVM_Task" | "CloneVM_Task" => {
            let born = core.world.tasks.get(id).and_then(|it| it.born.clone()).unwrap_or_default();
            let spec = call.get("spec");
            let asked = |field: &str| spec.and_then(|it| it.flag(field)) == Some(true);
            let answer = birth::born(core, &born, asked("template"))?;
            if asked("powerOn") && !asked("template") {
                power::on(core, &born, None)?;
            }
            let ty = if method == "CloneVM_Task" { "VmClonedEvent" } else { "VmCreatedEvent" };
            said(core, ty, &born, "made");
            return Ok(Some(answer));
        }
        "ReconfigVM_Task" => {
            let spec = call.get("spec").ok_or_else(|| Fault::argument("spec"))?;
            reconfigure::reconfigure(core, &vm, spec)?;
            said(core, "VmReconfiguredEvent", &vm, "reconfigured");
        }
        "ReconfigureComputeResource_Task" => rules::reconfigure(core, &entity, &call)?,
        "RelocateVM_Task" => {
            birth::relocate(core, &vm, &call)?;
            said(core, "VmRelocatedEvent", &vm, "relocated");
        }
        "UpgradeVM_Task" => {
            reconfigure::upgrade(core, &vm, call.text_of("version"))?;
            said(core, "VmUpgradeCompleteEvent", &vm, "virtual hardware upgraded");
        }
        "CustomizeVM_Task" => {
            let spec = call.get("spec").ok_or_else(|| Fault::argument("spec"))?;
            customize::customize(core, &vm, spec)?;
        }
        "PowerOnVM_Task" => {
            power::on(core, &vm, call.text_of("host"))?;
            said(core, "VmPoweredOnEvent", &vm, "powered on");
        }
        "PowerOffVM_Task" => {
            power::off(core, &vm)?;
            said(core, "VmPoweredOffEvent", &vm, "powered off");
        }
        "ResetVM_Task" => {
            power::disturb(core, &vm, false)?;
            said(core, "VmResettingEvent", &vm, "reset");
        }
        "SuspendVM_Task" => {
            power::disturb(core, &vm, true)?;
            said(core, "VmSuspendedEvent", &vm, "suspended");
        }
        "Destroy_Task" => {
            // The event needs the name, which is gone afterwards.
            let is_vm = core.world.vm(&vm).is_some();
            let parent = core.world.entities.get(&vm).cloned();
            folders::destroy(core, &vm)?;
            if is_vm {
                said(core, "VmRemovedEvent", &vm, "removed");
                if let (Some(event), Some(entity)) = (core.world.events.last_mut(), parent) {
                    event.vm = Some((vm.clone(), entity.name));
                }
            }
        }
        "UnregisterAndDestroy_Task" => folders::unregister_and_destroy(core, &entity)?,
        "Rename_Task" => {
            folders::rename(core, &vm, &call)?;
            if core.world.vm(&vm).is_some() {
                said(core, "VmRenamedEvent", &vm, "renamed");
            }
        }
        "MoveIntoFolder_Task" => folders::move_into(core, &entity, &call)?,
        "CreateSnapshot_Task" => return take(core, &vm, &call).map(Some),
        "RevertToSnapshot_Task" => {
            ready(core, &vm)?;
            if !snapshot::revert(&mut core.world, &vm, &entity, now) {
                return Err(Fault::gone("VirtualMachineSnapshot", &entity));
            }
            said(core, "VmReconfiguredEvent", &vm, "reverted to a snapshot");
        }
        "RemoveSnapshot_Task" => {
            ready(core, &vm)?;
            let gone = doomed(core, &vm, &entity, call.flag("removeChildren") == Some(true));
            snapshot::remove(&mut core.world, &vm, &gone);
        }
        "RemoveAllSnapshots_Task" => {
            ready(core, &vm)?;
            let gone: Vec<String> = core
                .world
                .vm(&vm)
                .map(|it| it.snapshots.iter().map(|one| one.id.clone()).collect())
                .unwrap_or_default();
            snapshot::remove(&mut core.world, &vm, &gone);
        }
        other => return Err(Fault::unsupported(&format!("{other} in this simulator"))),
    }
    Ok(None)
}

fn ready(core: &Core, vm: &str) -> Outcome<()> {
    match core.world.vm(vm) {
        Some(found) => reconfigure::readable(core, found),
        None => Err(Fault::gone("VirtualMachine", vm)),
    }
}

fn take(core: &mut Core, vm: &str, call: &Elem) -> Outcome<Val> {
    ready(core, vm)?;
    let running = core.world.vm(vm).is_some_and(|it| it.power == "poweredOn");
    if running && call.flag("memory") == Some(true) {
        return Err(Fault::unsupported("snapshots with memory in this simulator"));
    }
    let name = call.text_of("name").unwrap_or("");
    if name.is_empty() {
        return Err(Fault::argument("name"));
    }
    if core.world.vm(vm).is_some_and(|it| snapshot::levels(it) >= snapshot::LEVELS_MAX) {
        let why = "Too many levels of snapshots: a chain has no more than 32.";
        return Err(Fault::new("TooManySnapshotLevels", why, vec![]));
    }
    let now = core.now_ms();
    let text = call.text_of("description").unwrap_or("");
    let id = snapshot::take(&mut core.world, vm, name, text, now);
    let change = core.world.new_change(now);
    if let Some(vm) = core.world.vm_mut(vm) {
        vm.change = change;
    }
    id.map(|id| Val::Ref("VirtualMachineSnapshot".into(), id))
        .ok_or_else(|| Fault::gone("VirtualMachine", vm))
}

/// A snapshot, and with `deep` all that were taken on top of it.
fn doomed(core: &Core, vm: &str, snapshot: &str, deep: bool) -> Vec<String> {
    let mut gone = vec![snapshot.to_owned()];
    let Some(vm) = core.world.vm(vm).filter(|_| deep) else { return gone };
    for one in &vm.snapshots {
        if one.parent.as_ref().is_some_and(|parent| gone.contains(parent)) {
            gone.push(one.id.clone());
        }
    }
    gone
}

//! Changes of a configuration: all of it or nothing.

use super::devices::{self, Files, Subject};
use super::place::new_name;
use crate::vcenter::fault::{Fault, Outcome};
use crate::vcenter::server::Core;
use crate::vcenter::vm::{Config, Vm};
use crate::vcenter::world::Allocation;
use crate::vcenter::xml::Elem;

/// What stays as it was sent.
const KEPT: [&str; 6] =
    ["tools", "flags", "bootOptions", "managedBy", "changeTrackingEnabled", "nestedHVEnabled"];
/// What else is understood.
const KNOWN: [&str; 19] = [
    "changeVersion",
    "name",
    "version",
    "uuid",
    "instanceUuid",
    "guestId",
    "annotation",
    "files",
    "numCPUs",
    "numCoresPerSocket",
    "memoryMB",
    "memoryHotAddEnabled",
    "cpuHotAddEnabled",
    "cpuHotRemoveEnabled",
    "deviceChange",
    "cpuAllocation",
    "memoryAllocation",
    "extraConfig",
    "firmware",
];
const GIB3_MB: i64 = 3072;

/// Applies a specification to a machine.
pub(crate) fn reconfigure(core: &mut Core, id: &str, spec: &Elem) -> Outcome<()> {
    let Some(vm) = core.world.vm(id) else { return Err(Fault::gone("VirtualMachine", id)) };
    let mut vm: Vm = vm.clone();
    readable(core, &vm)?;
    if spec.text_of("changeVersion").is_some_and(|it| it != vm.change) {
        let message = "The resource was changed by another client.";
        return Err(Fault::new("ConcurrentAccess", message, vec![]));
    }
    if vm.template {
        let more = spec
            .kids
            .iter()
            .find(|it| !matches!(it.name.as_str(), "name" | "annotation" | "changeVersion"));
        if more.is_some() {
            return Err(Fault::unsupported("a template takes no changes of its hardware"));
        }
    }
    if spec.get("files").is_some() {
        return Err(Fault::unsupported("configSpec.files of a machine in this simulator"));
    }
    let parent = core.world.entities.get(id).and_then(|it| it.parent.clone()).unwrap_or_default();
    let name = match spec.text_of("name").filter(|it| !it.is_empty()) {
        Some(name) => Some(new_name(core, &parent, name, Some(id))?),
        None => None,
    };
    let home =
        vm.path.rsplit_once('/').map_or_else(|| vm.path.clone(), |(home, _)| home.to_owned());
    let subject = Subject {
        id,
        host: &vm.host.clone(),
        home: &home,
        running: vm.power != "poweredOff",
        has_snapshots: !vm.snapshots.is_empty(),
    };
    let mut files = Files::default();
    apply(core, &subject, &mut vm.config, spec, &mut files)?;
    identity(core, &subject, &mut vm, spec)?;
    files.check(core)?;
    files.apply(core);
    let now = core.now_ms();
    vm.change = core.world.new_change(now);
    vm.modified_ms = now;
    if let Some(name) = name
        && let Some(entity) = core.world.entities.get_mut(id)
    {
        entity.name = name;
    }
    if let Some(slot) = core.world.vm_mut(id) {
        *slot = vm;
    }
    Ok(())
}

/// The versions that hosts here run. The numbers have holes.
const HARDWARE: [&str; 15] = [
    "vmx-04", "vmx-07", "vmx-08", "vmx-09", "vmx-10", "vmx-11", "vmx-13", "vmx-14", "vmx-15",
    "vmx-16", "vmx-17", "vmx-18", "vmx-19", "vmx-20", "vmx-21",
];

/// Gives a machine that is off newer virtual hardware; without a version, the newest.
pub(crate) fn upgrade(core: &mut Core, id: &str, version: Option<&str>) -> Outcome<()> {
    let Some(vm) = core.world.vm(id).cloned() else {
        return Err(Fault::gone("VirtualMachine", id));
    };
    readable(core, &vm)?;
    if vm.power != "poweredOff" {
        return Err(Fault::power(Some("poweredOff"), &vm.power));
    }
    if vm.template {
        return Err(Fault::state("A template takes no new hardware."));
    }
    let place = |wanted: &str| HARDWARE.iter().position(|it| *it == wanted);
    let newest = HARDWARE[HARDWARE.len() - 1];
    let wanted = version.filter(|it| !it.is_empty()).unwrap_or(newest);
    let Some(to) = place(wanted) else {
        return Err(Fault::unsupported(&format!("virtual hardware {wanted}")));
    };
    if place(&vm.config.version).is_some_and(|now| now >= to) {
        let message = "The virtual machine has this version of the virtual hardware already.";
        return Err(Fault::new("AlreadyUpgraded", message, vec![]));
    }
    let now = core.now_ms();
    let change = core.world.new_change(now);
    if let Some(vm) = core.world.vm_mut(id) {
        wanted.clone_into(&mut vm.config.version);
        (vm.change, vm.modified_ms) = (change, now);
    }
    Ok(())
}

/// Refuses a machine whose files cannot be reached.
pub(crate) fn readable(core: &Core, vm: &Vm) -> Outcome<()> {
    if vm.connection != "connected" || vm.forming.is_some() {
        return Err(Fault::state("The operation is not allowed in the current connection state."));
    }
    if let Some(host) = core.world.host(&vm.host)
        && host.connection != "connected"
    {
        return super::place::usable(&vm.host, host);
    }
    match &vm.question {
        Some(question) => {
            let fields = vec![("text", crate::vcenter::val::text(question.clone()))];
            Err(Fault::new("QuestionPending", "The virtual machine waits for an answer.", fields))
        }
        None => Ok(()),
    }
}

fn identity(core: &mut Core, subject: &Subject<'_>, vm: &mut Vm, spec: &Elem) -> Outcome<()> {
    for (field, slot) in [("uuid", &mut vm.uuid), ("instanceUuid", &mut vm.instance_uuid)] {
        if let Some(wanted) =
            spec.text_of(field).filter(|it| !it.is_empty() && *it != slot.as_str())
        {
            if subject.running {
                return Err(Fault::power(Some("poweredOff"), "poweredOn"));
            }
            *slot = new_uuid(core, field, wanted, subject.id)?;
        }
    }
    Ok(())
}

/// A UUID that a client chose: an instance UUID is taken only if no other machine has it.
pub(crate) fn new_uuid(core: &mut Core, field: &str, wanted: &str, own: &str) -> Outcome<String> {
    let Ok(parsed) = wanted.parse::<uuid::Uuid>() else {
        return Err(Fault::argument(&format!("configSpec.{field}")));
    };
    let wanted = parsed.to_string();
    let taken = field == "instanceUuid"
        && core.world.vms().any(|(id, vm)| id != own && vm.instance_uuid == wanted);
    match (taken, core.switches.taken_uuid_replaced) {
        (false, _) => Ok(wanted),
        (true, true) => Ok(core.world.new_uuid()),
        (true, false) => Err(Fault::argument("configSpec.instanceUuid")),
    }
}

/// Applies a specification to a configuration.
pub(crate) fn apply(
    core: &mut Core,
    subject: &Subject<'_>,
    config: &mut Config,
    spec: &Elem,
    files: &mut Files,
) -> Outcome<()> {
    let strange =
        |it: &&Elem| !KNOWN.contains(&it.name.as_str()) && !KEPT.contains(&it.name.as_str());
    if let Some(strange) = spec.kids.iter().find(strange) {
        return Err(Fault::unsupported(&format!("configSpec.{} in this simulator", strange.name)));
    }
    processors(core, subject, config, spec)?;
    memory(core, subject, config, spec)?;
    let off_only = |changed: bool| {
        if changed && subject.running {
            Err(Fault::power(Some("poweredOff"), "poweredOn"))
        } else {
            Ok(())
        }
    };
    for (field, slot) in [
        ("cpuHotAddEnabled", &mut config.cpu_hot_add),
        ("cpuHotRemoveEnabled", &mut config.cpu_hot_remove),
        ("memoryHotAddEnabled", &mut config.memory_hot_add),
    ] {
        if let Some(flag) = spec.flag(field) {
            off_only(flag != *slot)?;
            *slot = flag;
        }
    }
    for (field, slot) in [
        ("guestId", &mut config.guest_id),
        ("version", &mut config.version),
        ("firmware", &mut config.firmware),
    ] {
        if let Some(value) = spec.text_of(field).filter(|it| !it.is_empty()) {
            off_only(value != slot.as_str())?;
            value.clone_into(slot);
        }
    }
    if spec.get("version").is_some() && !HARDWARE.contains(&config.version.as_str()) {
        let host = vec![
            ("hostName", crate::vcenter::val::text(subject.host)),
            ("host", crate::vcenter::val::Val::Ref("HostSystem".into(), subject.host.to_owned())),
        ];
        let message =
            format!("Virtual machine hardware version '{}' is not supported.", config.version);
        return Err(Fault::new("VirtualHardwareVersionNotSupported", message, host));
    }
    if !matches!(config.firmware.as_str(), "bios" | "efi") {
        return Err(Fault::argument("configSpec.firmware"));
    }
    if let Some(annotation) = spec.text_of("annotation") {
        annotation.clone_into(&mut config.annotation);
    }
    for (field, slot) in
        [("cpuAllocation", &mut config.cpu), ("memoryAllocation", &mut config.memory)]
    {
        if let Some(given) = spec.get(field) {
            *slot = allocation(slot, given);
        }
    }
    if config.memory.reservation > config.memory_mb {
        return Err(Fault::argument("configSpec.memoryAllocation.reservation"));
    }
    for one in spec.all("extraConfig") {
        extra(core, config, one)?;
    }
    for name in KEPT {
        if let Some(elem) = spec.get(name) {
            let before = config.other.remove(name);
            config.other.insert(name.to_owned(), over(before, elem));
        }
    }
    devices::change(core, subject, config, spec, files)?;
    boot_order(config, spec)
}

/// What was set before, under what is set now: a field that is not sent stays as it is.
fn over(before: Option<Elem>, now: &Elem) -> Elem {
    let mut merged = now.clone();
    let kept = before.into_iter().flat_map(|it| it.kids);
    let kept: Vec<Elem> = kept.filter(|kid| now.get(&kid.name).is_none()).collect();
    merged.kids.extend(kept);
    merged
}

/// A boot order names devices by keys that the server has given: one that a client made up for a
/// device of the same call is none of them. What is taken out leaves the order.
fn boot_order(config: &mut Config, spec: &Elem) -> Outcome<()> {
    let known: Vec<i64> = config.devices.iter().map(|it| it.key).collect();
    let names_one = |entry: &Elem| entry.number("deviceKey").is_none_or(|key| known.contains(&key));
    let sent = spec.get("bootOptions").into_iter().flat_map(|it| it.all("bootOrder"));
    if sent.into_iter().any(|entry| !names_one(entry)) {
        return Err(Fault::argument("configSpec.bootOptions.bootOrder.deviceKey"));
    }
    if let Some(options) = config.other.get_mut("bootOptions") {
        options.kids.retain(|kid| kid.name != "bootOrder" || names_one(kid));
    }
    Ok(())
}

fn processors(core: &Core, subject: &Subject<'_>, config: &mut Config, spec: &Elem) -> Outcome<()> {
    let cpus = spec.number("numCPUs").unwrap_or(config.cpus);
    let cores =
        spec.number("numCoresPerSocket").filter(|it| *it > 0).unwrap_or(config.cores_per_socket);
    if cpus < 1 {
        return Err(Fault::argument("configSpec.numCPUs"));
    }
    if cpus % cores != 0 {
        return Err(Fault::argument("configSpec.numCoresPerSocket"));
    }
    if subject.running {
        if cores != config.cores_per_socket {
            return Err(Fault::power(Some("poweredOff"), "poweredOn"));
        }
        let cold = (cpus > config.cpus && !config.cpu_hot_add)
            || (cpus < config.cpus && !config.cpu_hot_remove);
        if cold {
            return Err(hot_plug(core, "CpuHotPlugNotSupported", "CPU"));
        }
    }
    (config.cpus, config.cores_per_socket) = (cpus, cores);
    Ok(())
}

fn memory(core: &Core, subject: &Subject<'_>, config: &mut Config, spec: &Elem) -> Outcome<()> {
    let memory = spec.number("memoryMB").unwrap_or(config.memory_mb);
    if memory < 4 || memory % 4 != 0 {
        return Err(Fault::argument("configSpec.memoryMB"));
    }
    if subject.running && memory != config.memory_mb {
        let windows = config.guest_id.starts_with("win");
        let beyond = core.switches.three_gib_rule
            && !windows
            && config.memory_mb <= GIB3_MB
            && memory > GIB3_MB;
        if memory < config.memory_mb || !config.memory_hot_add || beyond {
            return Err(hot_plug(core, "MemoryHotPlugNotSupported", "Memory"));
        }
    }
    config.memory_mb = memory;
    Ok(())
}

fn hot_plug(core: &Core, ty: &'static str, what: &str) -> Fault {
    if core.switches.hot_add_power_fault {
        return Fault::power(Some("poweredOff"), "poweredOn");
    }
    Fault::new(ty, format!("{what} hot plug is not supported for this virtual machine."), vec![])
}

fn extra(core: &Core, config: &mut Config, one: &Elem) -> Outcome<()> {
    let (Some(key), Some(value)) = (one.text_of("key"), one.get("value")) else {
        return Err(Fault::argument("configSpec.extraConfig"));
    };
    if key.is_empty() || value.ty != "xsd:string" {
        return Err(Fault::argument("configSpec.extraConfig"));
    }
    if core.switches.small_values && value.text.len() > 64 * 1024 {
        return Err(Fault::argument("configSpec.extraConfig"));
    }
    if value.text.is_empty() {
        config.extra.remove(key);
    } else {
        config.extra.insert(key.to_owned(), value.text.clone());
    }
    Ok(())
}

/// An allocation with the fields that were given.
pub(crate) fn allocation(old: &Allocation, given: &Elem) -> Allocation {
    let shares = given.get("shares");
    Allocation {
        reservation: given.number("reservation").unwrap_or(old.reservation),
        expandable: given.flag("expandableReservation").unwrap_or(old.expandable),
        limit: given.number("limit").unwrap_or(old.limit),
        level: shares.and_then(|it| it.text_of("level")).unwrap_or(&old.level).to_owned(),
        shares: shares.and_then(|it| it.number("shares")).unwrap_or(old.shares),
    }
}

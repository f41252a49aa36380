//! New machines: created, cloned; and moved ones.

use std::collections::BTreeMap;

use super::devices::{Files, Subject, free_file};
use super::place::{host_for, maybe, named, need_space, need_vm_folder, new_name};
use super::reconfigure::{allocation, apply, new_uuid, readable};
use crate::vcenter::fault::{Fault, Outcome};
use crate::vcenter::server::Core;
use crate::vcenter::val::{Val, text};
use crate::vcenter::vm::{Behaviour, Config, Setup, Vm};
use crate::vcenter::world::{Allocation, Entity, Kind, Volume};
use crate::vcenter::xml::Elem;

/// The ways in which disks can be moved or copied.
const MOVE_TYPES: [&str; 5] = [
    "moveAllDiskBackingsAndAllowSharing",
    "moveAllDiskBackingsAndDisallowSharing",
    "moveChildMostDiskBacking",
    "createNewChildDiskBacking",
    "moveAllDiskBackingsAndConsolidate",
];

/// Makes a machine; it has no readable configuration before `task` ends.
pub(crate) fn create(core: &mut Core, folder: &str, args: &Elem, task: &str) -> Outcome<String> {
    need_vm_folder(core, folder)?;
    let Some(spec) = args.get("config") else { return Err(Fault::argument("config")) };
    let name = new_name(core, folder, spec.text_of("name").unwrap_or(""), None)?;
    let pool = maybe(core, Some(args), "pool", "ResourcePool")?.unwrap_or_default();
    let host = maybe(core, Some(args), "host", "HostSystem")?;
    let path = spec.get("files").and_then(|it| it.text_of("vmPathName")).unwrap_or("");
    let Some(store) = path.strip_prefix('[').and_then(|it| it.split_once(']')).map(|it| it.0)
    else {
        let fields = vec![("datastorePath", text(path))];
        return Err(Fault::new(
            "InvalidDatastorePath",
            format!("Invalid datastore path '{path}'."),
            fields,
        ));
    };
    let Some(datastore) = core.world.find("Datastore", store).map(str::to_owned) else {
        let fields = vec![("name", text(store))];
        return Err(Fault::new(
            "InvalidDatastore",
            format!("Invalid datastore '{store}'."),
            fields,
        ));
    };
    need_space(core, &datastore, 0)?;
    let mut config = Config::new(spec.text_of("guestId").unwrap_or("otherGuest"));
    let host = host_for(core, &pool, host.as_deref(), &config, Some(&datastore))?;
    let home = free_folder(core, store, &name);
    let id = reserve(core);
    let subject =
        Subject { id: &id, host: &host, home: &home, running: false, has_snapshots: false };
    let mut files = Files::default();
    apply(core, &subject, &mut config, spec, &mut files)?;
    files.check(core)?;
    let uuids = uuids(core, Some(spec))?;
    files.apply(core);
    let vm = blank(core, (pool, host), uuids, (&home, &name), config, task);
    core.world
        .entities
        .insert(id.clone(), Entity::new(&name, Some(folder), Kind::Vm(Box::new(vm))));
    Ok(id)
}

/// Refuses what is not carried out here: nothing is left out in silence.
pub(crate) fn only(spec: &Elem, known: &[&str]) -> Outcome<()> {
    match spec.kids.iter().find(|it| !known.contains(&it.name.as_str())) {
        Some(strange) => Err(Fault::unsupported(&format!("{} in this simulator", strange.name))),
        None => Ok(()),
    }
}

/// An id for a machine that is yet to be put into the inventory.
fn reserve(core: &mut Core) -> String {
    format!("vm-{}", core.world.next_object())
}

/// A folder for a machine's files that no other machine has.
fn free_folder(core: &Core, store: &str, name: &str) -> String {
    let names = std::iter::once(format!("[{store}] {name}"))
        .chain((1_u32..).map(|it| format!("[{store}] {name}_{it}")));
    let free = |home: &String| {
        let inside = format!("{home}/");
        !core.world.vms().any(|(_, vm)| vm.path.starts_with(&inside))
            && !core.world.volumes.keys().any(|file| file.starts_with(&inside))
    };
    names.into_iter().find(free).unwrap_or_default()
}

fn uuids(core: &mut Core, spec: Option<&Elem>) -> Outcome<(String, String)> {
    let mut pick =
        |field: &str| match spec.and_then(|it| it.text_of(field)).filter(|it| !it.is_empty()) {
            Some(wanted) => new_uuid(core, field, wanted, ""),
            None => Ok(core.world.new_uuid()),
        };
    Ok((pick("uuid")?, pick("instanceUuid")?))
}

fn blank(
    core: &mut Core,
    (pool, host): (String, String),
    (uuid, instance_uuid): (String, String),
    (home, name): (&str, &str),
    config: Config,
    task: &str,
) -> Vm {
    let now = core.now_ms();
    Vm {
        pool: Some(pool),
        host,
        template: false,
        uuid,
        instance_uuid,
        change: core.world.new_change(now),
        modified_ms: now,
        created_ms: now,
        path: format!("{home}/{name}.vmx"),
        config,
        snapshots: Vec::new(),
        current_snapshot: None,
        power: "poweredOff".to_owned(),
        connection: "connected".to_owned(),
        question: None,
        started_ms: 0,
        forming: Some(task.to_owned()),
        boots: Vec::new(),
        setup: Setup::default(),
        behaviour: Behaviour { tools: false, ..Behaviour::default() },
    }
}

/// Copies a machine; the copy has no readable configuration before `task` ends.
pub(crate) fn clone(core: &mut Core, source: &str, args: &Elem, task: &str) -> Outcome<String> {
    let Some(from) = core.world.vm(source).cloned() else {
        return Err(Fault::gone("VirtualMachine", source));
    };
    readable(core, &from)?;
    let Some(spec) = args.get("spec") else { return Err(Fault::argument("spec")) };
    let Some(location) = spec.get("location") else { return Err(Fault::argument("spec.location")) };
    only(spec, &["location", "template", "config", "powerOn", "snapshot", "memory"])?;
    only(
        location,
        &["folder", "datastore", "diskMoveType", "pool", "host", "disk", "deviceChange"],
    )?;
    if spec.flag("memory") == Some(true) {
        return Err(Fault::unsupported("spec.memory in this simulator"));
    }
    let folder = match maybe(core, Some(location), "folder", "Folder")? {
        Some(folder) => folder,
        None => maybe(core, Some(args), "folder", "Folder")?.unwrap_or_default(),
    };
    need_vm_folder(core, &folder)?;
    let name = new_name(core, &folder, args.text_of("name").unwrap_or(""), None)?;
    let pool = match maybe(core, Some(location), "pool", "ResourcePool")? {
        Some(pool) => pool,
        None => from.pool.clone().ok_or_else(|| Fault::argument("spec.location.pool"))?,
    };
    let datastore = maybe(core, Some(location), "datastore", "Datastore")?;
    let host = maybe(core, Some(location), "host", "HostSystem")?;
    let (mut config, snapshot) = match spec.get("snapshot") {
        Some(wanted) => match from.snapshots.iter().find(|it| it.id == wanted.text.trim()) {
            Some(snapshot) => (snapshot.config.clone(), true),
            None => return Err(Fault::argument("spec.snapshot")),
        },
        None => (from.config.clone(), false),
    };
    let linked = linked(location, snapshot)?;
    let host = host_for(core, &pool, host.as_deref(), &config, datastore.as_deref())?;
    let first = config.disks().next().map(|disk| disk.file.clone());
    let home_store = match &datastore {
        Some(id) => core.world.entities.get(id).map(|it| it.name.clone()).unwrap_or_default(),
        None => first
            .as_deref()
            .unwrap_or(&from.path)
            .strip_prefix('[')
            .and_then(|it| it.split_once(']'))
            .map(|it| it.0.to_owned())
            .unwrap_or_default(),
    };
    let home = free_folder(core, &home_store, &name);
    let id = reserve(core);
    let mut files = Files::default();
    copy_disks(
        core,
        (&id, &home, &name),
        location,
        datastore.as_deref(),
        linked,
        &mut config,
        &mut files,
    )?;
    let mut fresh = Vec::new();
    for _ in 0..config.nics().count() {
        fresh.push(core.world.new_mac());
    }
    for (nic, mac) in config.nics_mut().zip(fresh) {
        if nic.address_type != "manual" {
            nic.mac = mac;
        }
    }
    // Also a full copy of what has snapshots has disks with parents while it is made.
    let has_snapshots = linked || !from.snapshots.is_empty();
    let subject = Subject { id: &id, host: &host, home: &home, running: false, has_snapshots };
    apply(core, &subject, &mut config, &only_devices(location), &mut files)?;
    if let Some(spec) = spec.get("config") {
        if spec.get("changeVersion").is_some() {
            return Err(Fault::argument("spec.config.changeVersion"));
        }
        apply(core, &subject, &mut config, spec, &mut files)?;
    }
    let uuids = uuids(core, spec.get("config"))?;
    files.check(core)?;
    files.apply(core);
    let mut vm = blank(core, (pool, host), uuids, (&home, &name), config, task);
    vm.behaviour = from.behaviour;
    let mut entity = Entity::new(&name, Some(&folder), Kind::Vm(Box::new(vm)));
    if core.switches.clone_copies_fields {
        entity.custom =
            core.world.entities.get(source).map(|it| it.custom.clone()).unwrap_or_default();
    }
    core.world.entities.insert(id.clone(), entity);
    if core.switches.clone_copies_tags {
        let attached = &mut core.world.tagging.attached;
        let of: Vec<String> =
            attached.iter().filter(|(_, on)| on == source).map(|(tag, _)| tag.clone()).collect();
        attached.extend(of.into_iter().map(|tag| (tag, id.clone())));
    }
    Ok(id)
}

fn linked(location: &Elem, snapshot: bool) -> Outcome<bool> {
    match location.text_of("diskMoveType") {
        None => Ok(false),
        Some("createNewChildDiskBacking") if snapshot => Ok(true),
        Some("createNewChildDiskBacking") => Err(Fault::argument("spec.snapshot")),
        Some(kind) if MOVE_TYPES.contains(&kind) => Ok(false),
        Some(_) => Err(Fault::argument("spec.location.diskMoveType")),
    }
}

fn only_devices(location: &Elem) -> Elem {
    Elem { kids: location.all("deviceChange").cloned().collect(), ..Elem::default() }
}

fn copy_disks(
    core: &mut Core,
    (id, home, name): (&str, &str, &str),
    location: &Elem,
    datastore: Option<&str>,
    linked: bool,
    config: &mut Config,
    files: &mut Files,
) -> Outcome<()> {
    let targets = locators(core, location)?;
    let keys: Vec<i64> = config.devices.iter().filter(|it| is_disk(it)).map(|it| it.key).collect();
    let fresh: Vec<String> = keys.iter().map(|_| core.world.new_uuid()).collect();
    let folder = home.split_once("] ").map_or("", |(_, folder)| folder);
    for ((disk, key), uuid) in config.disks_mut().zip(keys).zip(fresh) {
        let Some(volume) = core.world.volumes.get(&disk.file).cloned() else {
            let fields = vec![("file", text(disk.file.clone()))];
            return Err(Fault::new(
                "FileNotFound",
                format!("File {} was not found", disk.file),
                fields,
            ));
        };
        let wanted = targets.get(&key).map(String::as_str).or(datastore);
        let store = wanted.unwrap_or(&volume.datastore).to_owned();
        let store_name = core.world.entities.get(&store).map_or("", |it| it.name.as_str());
        let stem = format!("[{store_name}] {folder}/{name}");
        let file = free_file(core, files, &stem);
        let (used, parent) = if linked {
            (16 << 20, Some(disk.file.clone()))
        } else if disk.thin {
            (chain_use(core, &disk.file), None)
        } else {
            (volume.bytes, None)
        };
        let new =
            Volume { datastore: store, bytes: volume.bytes, used, parent, owner: id.to_owned() };
        files.new.insert(file.clone(), new);
        disk.file = file;
        disk.uuid = uuid;
    }
    Ok(())
}

/// Datastores of single disks, by the disk's key.
fn locators(core: &Core, spec: &Elem) -> Outcome<BTreeMap<i64, String>> {
    let mut targets = BTreeMap::new();
    for locator in spec.all("disk") {
        only(locator, &["diskId", "datastore"])?;
        let store = locator.get("datastore").ok_or_else(|| Fault::argument("spec.disk"))?;
        targets.insert(locator.number("diskId").unwrap_or(0), named(core, store, "Datastore")?);
    }
    Ok(targets)
}

/// Space that a disk takes with all it goes on from.
fn chain_use(core: &Core, file: &str) -> u64 {
    let (mut at, mut sum, mut bytes) = (Some(file.to_owned()), 0, 0);
    while let Some(volume) = at.as_ref().and_then(|file| core.world.volumes.get(file)) {
        sum += volume.used;
        bytes = volume.bytes.max(bytes);
        at.clone_from(&volume.parent);
    }
    sum.min(bytes)
}

/// Ends a birth: the machine is whole from now on.
pub(crate) fn born(core: &mut Core, id: &str, template: bool) -> Outcome<Val> {
    let Some(vm) = core.world.vm_mut(id) else { return Err(Fault::gone("VirtualMachine", id)) };
    vm.forming = None;
    if template {
        vm.template = true;
        vm.pool = None;
    }
    Ok(Val::Ref("VirtualMachine".into(), id.to_owned()))
}

/// Moves a machine to another pool, host or datastore.
pub(crate) fn relocate(core: &mut Core, id: &str, args: &Elem) -> Outcome<()> {
    let Some(vm) = core.world.vm(id).cloned() else {
        return Err(Fault::gone("VirtualMachine", id));
    };
    readable(core, &vm)?;
    let Some(spec) = args.get("spec") else { return Err(Fault::argument("spec")) };
    only(spec, &["folder", "datastore", "pool", "host", "disk"])?;
    let pool = maybe(core, Some(spec), "pool", "ResourcePool")?;
    let host = maybe(core, Some(spec), "host", "HostSystem")?;
    let datastore = maybe(core, Some(spec), "datastore", "Datastore")?;
    let folder = maybe(core, Some(spec), "folder", "Folder")?;
    if vm.template && pool.is_some() {
        return Err(Fault::argument("spec.pool"));
    }
    let mut moved = vm.clone();
    if let Some(pool) = &pool {
        let owner = core.world.pool(pool).map(|it| it.owner.clone());
        let here = core.world.entities.get(&vm.host).and_then(|it| it.parent.clone());
        if owner != here && host.is_none() {
            moved.host = host_for(core, pool, None, &vm.config, datastore.as_deref())?;
        }
        moved.pool = Some(pool.clone());
    }
    if let Some(host) = &host {
        let pool = moved.pool.clone().unwrap_or_default();
        moved.host = if vm.template {
            host.clone()
        } else {
            host_for(core, &pool, Some(host), &vm.config, None)?
        };
    }
    let targets = locators(core, spec)?;
    if datastore.is_some() || !targets.is_empty() {
        move_disks(core, id, &mut moved, datastore.as_deref(), &targets)?;
    }
    if let Some(folder) = &folder {
        need_vm_folder(core, folder)?;
        let name = core.world.entities.get(id).map_or_else(String::new, |it| it.name.clone());
        new_name(core, folder, &name, Some(id))?;
        if let Some(entity) = core.world.entities.get_mut(id) {
            entity.parent = Some(folder.clone());
        }
    }
    let now = core.now_ms();
    moved.change = core.world.new_change(now);
    if let Some(slot) = core.world.vm_mut(id) {
        *slot = moved;
    }
    Ok(())
}

/// Moves disks: each to where its locator says, the others and the machine's own files to
/// `store`; without that they stay.
fn move_disks(
    core: &mut Core,
    id: &str,
    vm: &mut Vm,
    store: Option<&str>,
    targets: &BTreeMap<i64, String>,
) -> Outcome<()> {
    let keys: Vec<i64> =
        vm.config.devices.iter().filter(|it| is_disk(it)).map(|it| it.key).collect();
    if targets.keys().any(|key| !keys.contains(key)) {
        return Err(Fault::argument("spec.disk.diskId"));
    }
    let reached = core.world.host(&vm.host).map(|host| host.datastores.clone()).unwrap_or_default();
    if let Some(far) =
        targets.values().map(String::as_str).chain(store).find(|it| !reached.contains(*it))
    {
        let on = Val::Ref("Datastore".into(), far.to_owned());
        let message = "The datastore is not accessible from the host.";
        return Err(Fault::new("InvalidDatastore", message, vec![("datastore", on)]));
    }
    let has_snapshots = !vm.snapshots.is_empty();
    let old: Vec<String> = vm.config.disks().map(|disk| disk.file.clone()).collect();
    let mut files = Files::default();
    for (disk, key) in vm.config.disks_mut().zip(keys) {
        let Some(volume) = core.world.volumes.get(&disk.file).cloned() else { continue };
        let wanted = targets.get(&key).map(String::as_str).or(store);
        let Some(to) = wanted.filter(|to| *to != volume.datastore) else { continue };
        if has_snapshots {
            return Err(Fault::unsupported("moving disks with snapshots in this simulator"));
        }
        let name = core.world.entities.get(to).map_or("", |it| it.name.as_str());
        let used = chain_use(core, &disk.file);
        let stem =
            disk.file.split_once("] ").map_or("", |(_, path)| path).trim_end_matches(".vmdk");
        let file = free_file(core, &files, &format!("[{name}] {stem}"));
        let (datastore, bytes) = (to.to_owned(), volume.bytes);
        let new = Volume { datastore, bytes, used, parent: None, owner: id.to_owned() };
        files.new.insert(file.clone(), new);
        disk.file = file;
    }
    files.check(core)?;
    let now: Vec<String> = vm.config.disks().map(|disk| disk.file.clone()).collect();
    files.gone = old.into_iter().filter(|file| !now.contains(file)).collect();
    files.apply(core);
    if let Some(store) = store {
        let name = core.world.entities.get(store).map_or("", |it| it.name.as_str());
        let home = vm.path.split_once("] ").map_or("", |(_, path)| path);
        vm.path = format!("[{name}] {home}");
    }
    Ok(())
}

fn is_disk(device: &crate::vcenter::vm::Device) -> bool {
    matches!(device.kind, crate::vcenter::vm::DeviceKind::Disk(_))
}

/// The allocation of a new pool: every field has to be there.
pub(crate) fn whole_allocation(given: Option<&Elem>, name: &str) -> Outcome<Allocation> {
    let property = format!("spec.{name}");
    let given = given.ok_or_else(|| Fault::argument(&property))?;
    let all = ["reservation", "expandableReservation", "limit", "shares"];
    if all.iter().any(|field| given.get(field).is_none()) {
        return Err(Fault::argument(&property));
    }
    Ok(allocation(&Allocation::default(), given))
}

//! The world and its requests in the words of [`crate::harness`].

use std::collections::BTreeMap;

use super::access::{NO_ACCESS, VIEW};
use super::vm::Vm;
use super::world::{Entity, Kind, World};
use super::xml::Elem;
use crate::harness::{Arrival, Object};

/// What a request asks for.
fn call_of(method: &Elem, kind: &str) -> &'static str {
    let start =
        method.get("specSet").and_then(|it| it.get("objectSet")).and_then(|it| it.get("obj"));
    let looked_at = start.map_or("", |it| it.kind.as_str());
    let paths = method.get("specSet").map(|it| it.all("propSet").flat_map(|it| it.all("pathSet")));
    // Which tasks it has says nothing of the machine itself.
    let whole = paths.is_some_and(|mut it| it.any(|path| path.text.trim().starts_with("config")));
    match (method.name.as_str(), kind) {
        ("RetrievePropertiesEx", _) => match looked_at {
            "ContainerView" => "list",
            "VirtualMachine" if whole => "read-config",
            "VirtualMachine" => "read-tasks",
            "Task" => "read-task",
            _ => "read-other",
        },
        ("ContinueRetrievePropertiesEx", _) => "list",
        ("WaitForUpdatesEx", _) => "read-task",
        ("Login", _) => "log-in",
        ("Logout", _) => "log-out",
        ("CurrentTime", _) => "read-time",
        (
            "RetrieveEntityPermissions" | "HasPrivilegeOnEntities" | "FetchUserPrivilegeOnEntities",
            _,
        ) => "read-permissions",
        ("CloneVM_Task", _) => "clone",
        ("CreateVM_Task", _) => "create",
        ("ReconfigVM_Task", _) => "configure",
        ("Rename_Task", "ResourcePool") => "change-pool",
        ("Rename_Task", _) => "rename",
        ("UpgradeVM_Task", _) => "upgrade",
        ("ReconfigureComputeResource_Task", _) => "change-rules",
        ("SetField", _) => "mark-part",
        ("AddCustomFieldDef", _) => "define-mark",
        ("AddAuthorizationRole", _) => "make-role",
        ("SetEntityPermissions", _) => "grant",
        ("RemoveEntityPermission", _) => "revoke",
        ("CustomizeVM_Task", _) => "customize",
        ("RelocateVM_Task", _) => "relocate",
        ("PowerOnVM_Task", _) => "start",
        ("PowerOffVM_Task", _) => "stop",
        ("ShutdownGuest", _) => "shutdown",
        ("RebootGuest" | "ResetVM_Task", _) => "restart",
        ("SuspendVM_Task", _) => "suspend",
        ("Destroy_Task", "ResourcePool") => "delete-pool",
        ("Destroy_Task", "Folder") | ("UnregisterAndDestroy_Task", _) => "delete-folder",
        ("Destroy_Task", _) => "delete",
        ("CreateFolder", _) => "create-folder",
        ("MoveIntoFolder_Task", _) => "move",
        ("CreateResourcePool", _) => "create-pool",
        ("UpdateConfig" | "MoveIntoResourcePool", _) => "change-pool",
        ("CreateSnapshot_Task", _) => "snapshot",
        ("RevertToSnapshot_Task", _) => "roll-back",
        ("RemoveSnapshot_Task", _) => "remove-snapshot",
        (name, _) if super::api::reads(name) => "read-other",
        _ => "other-change",
    }
}

/// The machine that a request is about, if it is there yet.
pub(crate) fn machine_of(arrival: &Arrival) -> Option<String> {
    Some(arrival.object.as_deref()?.strip_prefix("vm/")?.to_owned())
}

/// The folder that a birth puts its machine into.
pub(crate) fn folder_of(method: &Elem) -> Option<&str> {
    let location = method.get("spec").and_then(|it| it.get("location"));
    let folder = match method.name.as_str() {
        "CloneVM_Task" => location.and_then(|it| it.get("folder")).or_else(|| method.get("folder")),
        "CreateVM_Task" => method.get("_this"),
        _ => None,
    };
    folder.map(|it| it.text.trim())
}

/// A request in neutral words. A birth is about `vm/` and the new name.
pub(crate) fn arrival(world: &World, (n, by): (u64, String), method: &Elem, text: &str) -> Arrival {
    let this = method.get("_this").cloned().unwrap_or_default();
    let on = this.text.trim();
    let call = call_of(method, &this.kind);
    let name = |field: &str| method.text_of(field).map(str::to_owned);
    let vm = |id: &str| Some(format!("vm/{id}"));
    let part = |id: &str| Some(format!("part/{id}"));
    let object = match (call, method.name.as_str()) {
        ("clone", _) => name("name").and_then(|it| vm(&it)),
        ("create", _) => method.get("config").and_then(|it| it.text_of("name")).and_then(vm),
        ("mark-part" | "grant" | "revoke", _) => match method.get("entity") {
            Some(it) if it.kind == "VirtualMachine" => vm(it.text.trim()),
            it => it.and_then(|it| part(it.text.trim())),
        },
        // A pool's members are changed on the pool and are about the member.
        (_, "MoveIntoResourcePool" | "MoveIntoFolder_Task") => {
            method.get("list").and_then(|it| vm(it.text.trim()))
        }
        ("change-pool" | "delete-pool" | "delete-folder", _) => part(on),
        ("read-config", _) => {
            // A read of several machines is about none of them.
            let mut starts = method.all("specSet").flat_map(|it| it.all("objectSet"));
            match (starts.next(), starts.next()) {
                (Some(only), None) => only.text_of("obj").and_then(|it| vm(it.trim())),
                (Some(_) | None, _) => None,
            }
        }
        ("roll-back" | "remove-snapshot", _) => world
            .vms()
            .find(|(_, it)| it.snapshots.iter().any(|one| one.id == on))
            .and_then(|(id, _)| vm(id)),
        _ if this.kind == "VirtualMachine" => vm(on),
        _ => None,
    };
    let mutates = !super::api::reads(&method.name);
    Arrival { n, by, call, mutates, object, text: text.to_owned() }
}

/// Every machine, and every folder and resource pool: the parts of pools.
pub(crate) fn objects(world: &World) -> BTreeMap<String, Object> {
    let mut all = BTreeMap::new();
    for (id, entity) in &world.entities {
        match &entity.kind {
            Kind::Vm(vm) => {
                all.insert(format!("vm/{id}"), machine(world, (id, entity), vm));
            }
            Kind::Pool(_) | Kind::Folder(_) => {
                all.insert(format!("part/{id}"), part(world, entity));
            }
            _ => {}
        }
    }
    for (file, volume) in &world.volumes {
        // Files without their machine still belong to somebody.
        let slot = all
            .entry(format!("vm/{}", volume.owner))
            .or_insert_with(|| bare("(volumes only)", String::new()));
        slot.volumes.insert(file.clone(), volume.bytes);
    }
    all
}

fn bare(name: &str, detail: String) -> Object {
    Object {
        name: name.to_owned(),
        uuid: None,
        notes: String::new(),
        running: false,
        template: false,
        lock: None,
        starts: 0,
        seeded: None,
        detail,
        volumes: BTreeMap::new(),
    }
}

/// The custom attribute that marks what has no notes is all of its notes.
fn part(world: &World, entity: &Entity) -> Object {
    let named = |key: &i32| world.fields.get(key).is_some_and(|it| it.name == "novahost.id");
    let marks = entity.custom.iter().filter(|(key, _)| named(key));
    let notes = marks.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join("\n");
    let Entity { parent, grants, custom, kind, .. } = entity;
    let detail = format!("{kind:?} {parent:?} {grants:?} {custom:?}");
    Object { notes, ..bare(&entity.name, detail) }
}

/// Notes are the annotation and then the free keys, one a line: that is where marks are.
fn machine(world: &World, (id, entity): (&str, &Entity), vm: &Vm) -> Object {
    let tags = world.tags_of(id);
    let mut notes = vm.config.annotation.clone();
    for (key, value) in vm.config.extra.iter().filter(|(key, _)| !key.starts_with("guestinfo.")) {
        notes.push_str(&format!("\n{key}={value}"));
    }
    let lock = match (&vm.forming, &vm.question) {
        (Some(_), _) => Some("forming".to_owned()),
        (None, Some(_)) => Some("question".to_owned()),
        (None, None) => None,
    };
    let seeds: Vec<_> =
        vm.config.extra.iter().filter(|(key, _)| key.starts_with("guestinfo.")).collect();
    // It is set up once, at its first start.
    let is_set_up = !vm.setup.done.is_empty();
    let pool = vm.pool.as_ref().and_then(|pool| world.entities.get(pool)).map(|it| &it.name);
    let config = &vm.config;
    // Who may see it is told here too: hiding it is a deed.
    let hidden = entity.grants.iter().filter(|it| matches!(it.role, NO_ACCESS | VIEW)).count();
    Object {
        name: entity.name.clone(),
        uuid: Some(vm.instance_uuid.clone()),
        notes,
        running: vm.power == "poweredOn",
        template: vm.template,
        lock,
        starts: vm.boots.len(),
        seeded: vm.boots.last().map(|boot| boot.seeded || is_set_up),
        detail: format!(
            "{} {:?} {pool:?} {} {} {} {} {}/{} {} {:?} {:?} {:?} {:?} {seeds:?} {:?} {:?} {:?} {} {hidden} {tags:?}",
            vm.host,
            entity.parent,
            vm.power,
            vm.connection,
            config.guest_id,
            config.firmware,
            config.cpus,
            config.cores_per_socket,
            config.memory_mb,
            (config.cpu_hot_add, config.cpu_hot_remove, config.memory_hot_add),
            (&config.cpu, &config.memory),
            config.devices,
            config.other,
            vm.snapshots.iter().map(|it| &it.name).collect::<Vec<_>>(),
            vm.current_snapshot,
            entity.custom,
            vm.uuid,
        ),
        volumes: BTreeMap::new(),
    }
}

//! The world and its requests in the words of [`crate::harness`].

use std::collections::BTreeMap;

use super::form::Params;
use super::world::{Guest, World};
use crate::harness::{Arrival, Object};

/// What a request asks for, and whether it is meant to change something.
fn call_of(method: &str, template: &str) -> (&'static str, bool) {
    let name = match (method, template) {
        ("GET", "/cluster/resources") => "list",
        ("GET", "/cluster/status") => "cluster-status",
        ("GET", "/cluster/nextid") => "next-id",
        ("GET", "/nodes/{node}/qemu/{vmid}/pending") => "read-config",
        ("GET", "/nodes/{node}/qemu/{vmid}/status/current") => "read-power",
        ("GET", "/nodes/{node}/tasks/{upid}/status") => "read-task",
        ("GET", "/nodes/{node}/tasks") => "list-tasks",
        ("GET", "/pools") => "list-pools",
        ("GET", "/access/permissions") => "read-permissions",
        ("GET", _) => "read-other",
        ("POST", "/access/ticket") => "log-in",
        ("POST", "/nodes/{node}/qemu") => "create",
        ("POST", "/nodes/{node}/qemu/{vmid}/clone") => "clone",
        ("POST" | "PUT", "/nodes/{node}/qemu/{vmid}/config") => "configure",
        ("PUT", "/nodes/{node}/qemu/{vmid}/resize") => "resize",
        ("POST", "/nodes/{node}/qemu/{vmid}/status/start") => "start",
        ("POST", "/nodes/{node}/qemu/{vmid}/status/shutdown") => "shutdown",
        ("POST", "/nodes/{node}/qemu/{vmid}/status/stop") => "stop",
        ("DELETE", "/nodes/{node}/qemu/{vmid}") => "delete",
        ("POST", "/pools") => "create-pool",
        ("PUT", "/pools" | "/pools/{poolid}") => "change-pool",
        ("DELETE", "/pools" | "/pools/{poolid}") => "delete-pool",
        _ => "other-change",
    };
    (name, !matches!(method, "GET" | "HEAD") && name != "log-in")
}

/// The guest that a request is about: the new one for a birth.
pub(crate) fn guest_of(arrival: &Arrival) -> Option<u32> {
    arrival.object.as_deref()?.strip_prefix("vm/")?.parse().ok()
}

/// A request in neutral words.
pub(crate) fn arrival(
    (n, by): (u64, String),
    method: &str,
    template: &str,
    ids: &BTreeMap<String, String>,
    query: &Params,
    fields: &Params,
) -> Arrival {
    let (call, mutates) = call_of(method, template);
    let given = |name: &str| {
        let value = ids.get(name).map(String::as_str);
        let value = value.or_else(|| fields.get(name)).or_else(|| query.get(name));
        value.map(str::to_owned)
    };
    let vm = |name: &str| given(name).map(|id| format!("vm/{id}"));
    let pool = || given("poolid").map(|id| format!("pool/{id}"));
    let object = match call {
        "clone" => vm("newid"),
        "create-pool" | "delete-pool" => pool(),
        // A pool's members are changed on the pool and are about the member.
        "change-pool" => vm("vms").or_else(pool),
        _ => vm("vmid"),
    };
    let all = query.iter().chain(fields.iter());
    let text: Vec<String> =
        all.map(|(name, values)| format!("{name}={}", values.join(","))).collect();
    Arrival { n, by, call, mutates, object, text: text.join("\n") }
}

/// Every guest and pool.
pub(crate) fn objects(world: &World) -> BTreeMap<String, Object> {
    let mut all = BTreeMap::new();
    for (id, guest) in &world.guests {
        all.insert(format!("vm/{id}"), machine(*id, guest, world.pool_of(*id)));
    }
    for (key, volume) in &world.volumes {
        // Volumes without their guest still belong to somebody.
        let slot = all.entry(format!("vm/{}", volume.vmid)).or_insert_with(|| Object {
            name: "(volumes only)".to_owned(),
            uuid: None,
            notes: String::new(),
            running: false,
            template: false,
            lock: None,
            starts: 0,
            seeded: None,
            detail: String::new(),
            volumes: BTreeMap::new(),
        });
        slot.volumes.insert(key.clone(), volume.size);
    }
    for (name, pool) in &world.pools {
        all.insert(
            format!("pool/{name}"),
            Object {
                name: name.clone(),
                uuid: None,
                notes: pool.comment.clone(),
                running: false,
                template: false,
                lock: None,
                starts: 0,
                seeded: None,
                // Who is in it is told of the members.
                detail: format!("{:?}", pool.storages),
                volumes: BTreeMap::new(),
            },
        );
    }
    all
}

fn machine(id: u32, guest: &Guest, pool: Option<&str>) -> Object {
    let uuid = guest
        .get("smbios1")
        .and_then(|value| value.split(',').find_map(|part| part.strip_prefix("uuid=")));
    let rest: Vec<(&String, &String)> = guest
        .config
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "description" | "lock"))
        .collect();
    let has_drive = guest.config.values().any(|value| value.contains("cloudinit"));
    Object {
        name: guest.shown_name(id),
        uuid: uuid.map(str::to_owned),
        notes: guest.get("description").unwrap_or("").to_owned(),
        running: guest.running,
        template: guest.is_template(),
        lock: guest.get("lock").map(str::to_owned),
        starts: guest.boots.len(),
        seeded: guest.boots.last().filter(|_| has_drive).map(|boot| boot.had_seed),
        detail: format!(
            "{} {:?} {rest:?} {:?} {:?} {:?} {pool:?}",
            guest.node,
            guest.kind,
            guest.pending,
            guest.pending_delete,
            guest.snapshots.keys().collect::<Vec<_>>(),
        ),
        volumes: BTreeMap::new(),
    }
}

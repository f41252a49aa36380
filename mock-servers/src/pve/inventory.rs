//! Lists over guests and the cluster: what is live in them, and what is up to ten seconds old.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::access::Identity;
use super::error::{ApiError, ApiResult};
use super::guest::view;
use super::router::{Call, Outcome};
use super::server::Core;
use super::volumes;
use super::world::{Guest, GuestKind};

/// Tells for many guests whether the caller has a privilege on them.
///
/// Guests without entries of their own share the answer of their pool, which keeps lists of thousands cheap.
pub(crate) fn guest_filter<'a>(
    core: &'a Core,
    who: &'a Identity,
    privilege: &'a str,
) -> impl Fn(u32) -> bool + 'a {
    let known: RefCell<BTreeMap<Option<String>, bool>> = RefCell::default();
    let pools: BTreeMap<u32, &str> = core
        .world
        .pools
        .iter()
        .flat_map(|(name, pool)| pool.guests.iter().map(move |vmid| (*vmid, name.as_str())))
        .collect();
    let named: Vec<&str> =
        core.world.access.acl.iter().filter_map(|entry| entry.path.strip_prefix("/vms/")).collect();
    move |vmid| {
        let path = format!("/vms/{vmid}");
        if named.iter().any(|id| id.parse() == Ok(vmid)) {
            return core.has(who, &path, privilege);
        }
        let pool = pools.get(&vmid).map(|name| (*name).to_owned());
        *known.borrow_mut().entry(pool).or_insert_with(|| core.has(who, &path, privilege))
    }
}

/// `GET /cluster/resources`.
pub(crate) fn resources(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let wanted = call.get("type");
    let wants = |kind: &str| wanted.is_none_or(|name| name == kind);
    let mut rows = Vec::new();
    if wants("vm") {
        guest_rows(core, call, &mut rows);
    }
    if wanted.is_none() {
        pool_rows(core, call, &mut rows);
    }
    if wants("node") {
        node_rows(core, call, &mut rows);
    }
    if wants("storage") {
        storage_rows(core, call, &mut rows);
    }
    if wants("sdn") {
        zone_rows(core, call, &mut rows);
    }
    Ok(Outcome::Data(Value::Array(rows)))
}

fn guest_rows(core: &Core, call: &Call, rows: &mut Vec<Value>) {
    let visible = guest_filter(core, &call.who, "VM.Audit");
    // The pool of a row is told only to those who may see the pool.
    let shown_pools: BTreeMap<u32, &str> = core
        .world
        .pools
        .iter()
        .filter(|(name, _)| core.has(&call.who, &format!("/pool/{name}"), "Pool.Audit"))
        .flat_map(|(name, pool)| pool.guests.iter().map(move |vmid| (*vmid, name.as_str())))
        .collect();
    for (vmid, guest) in &core.world.guests {
        if !visible(*vmid) || core.world.datacenter.unlisted.contains(vmid) {
            continue;
        }
        let mut row = guest_row(*vmid, guest);
        if let Some(pool) = shown_pools.get(vmid) {
            row.insert("pool".into(), json!(pool));
        }
        rows.push(Value::Object(row));
    }
}

/// A row with live parts and broadcast parts.
pub(crate) fn guest_row(vmid: u32, guest: &Guest) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("id".into(), json!(format!("{}/{vmid}", guest.kind.name())));
    row.insert("type".into(), json!(guest.kind.name()));
    row.insert("vmid".into(), json!(vmid));
    row.insert("node".into(), json!(guest.node));
    for key in ["tags", "lock"] {
        if let Some(value) = guest.get(key) {
            row.insert(key.into(), json!(value));
        }
    }
    let Some(statistics) = &guest.statistics else {
        row.insert("status".into(), json!("unknown"));
        return row;
    };
    row.insert("status".into(), json!(statistics.status));
    row.insert("name".into(), json!(statistics.name));
    row.insert("template".into(), json!(u8::from(statistics.template)));
    row.insert("maxcpu".into(), json!(statistics.maxcpu));
    row.insert("maxmem".into(), json!(statistics.maxmem));
    row.insert("maxdisk".into(), json!(statistics.maxdisk));
    row.insert("mem".into(), json!(statistics.mem));
    row.insert("cpu".into(), json!(statistics.cpu));
    row.insert("uptime".into(), json!(statistics.uptime));
    for key in ["disk", "netin", "netout", "diskread", "diskwrite"] {
        row.insert(key.into(), json!(0));
    }
    row
}

fn pool_rows(core: &Core, call: &Call, rows: &mut Vec<Value>) {
    for name in core.world.pools.keys() {
        if core.has(&call.who, &format!("/pool/{name}"), "Pool.Audit") {
            rows.push(json!({"id": format!("/pool/{name}"), "type": "pool", "pool": name}));
        }
    }
}

fn node_rows(core: &Core, call: &Call, rows: &mut Vec<Value>) {
    for (name, node) in &core.world.nodes {
        let mut row = json!({
            "id": format!("node/{name}"), "type": "node", "node": name,
            "status": if node.online { "online" } else { "offline" },
        });
        if core.has(&call.who, &format!("/nodes/{name}"), "Sys.Audit") {
            row["level"] = json!("");
            row["cgroup-mode"] = json!(2);
            if node.online {
                row["maxcpu"] = json!(node.cpu);
                row["cpu"] = json!(0.03);
                row["maxmem"] = json!(node.memory * 1024 * 1024);
                row["mem"] = json!(memory_used(core, name));
                row["maxdisk"] = json!(100_861_726_720_u64);
                row["disk"] = json!(4_861_726_720_u64);
                row["uptime"] = json!(864_000);
            }
        }
        rows.push(row);
    }
}

/// Memory of the running guests of a node and of the node itself, in bytes.
pub(crate) fn memory_used(core: &Core, node: &str) -> u64 {
    let guests: u64 = core
        .world
        .guests
        .values()
        .filter(|guest| guest.node == node && guest.running)
        .map(|guest| super::world::memory_mib(guest) * 1024 * 1024 / 2)
        .sum();
    guests + (2 << 30)
}

fn storage_rows(core: &Core, call: &Call, rows: &mut Vec<Value>) {
    for (node, host) in &core.world.nodes {
        for (name, storage) in &core.world.storages {
            let path = format!("/storage/{name}");
            if storage.disabled
                || !storage.is_on(node)
                || !core.has(&call.who, &path, "Datastore.Audit")
            {
                continue;
            }
            let available = host.online && !storage.inactive_on.contains(node);
            let mut row = json!({
                "id": format!("storage/{node}/{name}"), "type": "storage", "storage": name, "node": node,
                "status": if available { "available" } else { "unknown" },
                "plugintype": storage.kind, "content": storage.content.join(","),
                "shared": u8::from(storage.shared),
            });
            if available {
                row["maxdisk"] = json!(storage.total);
                row["disk"] = json!(volumes::used(&core.world, node, name));
            }
            rows.push(row);
        }
    }
}

fn zone_rows(core: &Core, call: &Call, rows: &mut Vec<Value>) {
    if !core.has(&call.who, "/sdn/zones/localnetwork", "SDN.Audit") {
        return;
    }
    for (node, host) in &core.world.nodes {
        let status = if host.online { "ok" } else { "unknown" };
        rows.push(if core.is_nine() {
            json!({
                "id": format!("network/{node}/zone/localnetwork"), "type": "network", "network-type": "zone",
                "network": "localnetwork", "node": node, "status": status,
            })
        } else {
            json!({
                "id": format!("sdn/{node}/localnetwork"), "type": "sdn", "sdn": "localnetwork", "node": node,
                "status": status,
            })
        });
    }
}

/// `GET /cluster/status`.
pub(crate) fn cluster_status(core: &mut Core, _call: &Call) -> ApiResult<Outcome> {
    let world = &core.world;
    let mut rows = Vec::new();
    if world.datacenter.clustered {
        rows.push(json!({
            "id": "cluster", "type": "cluster", "name": world.cluster, "nodes": world.nodes.len(),
            "quorate": u8::from(world.datacenter.quorate), "version": world.nodes.len(),
        }));
    }
    for (index, (name, node)) in world.nodes.iter().enumerate() {
        rows.push(json!({
            "id": format!("node/{name}"), "type": "node", "name": name, "online": u8::from(node.online),
            "ip": node.ip, "local": u8::from(index == 0), "nodeid": index + 1, "level": "",
        }));
    }
    Ok(Outcome::Data(Value::Array(rows)))
}

/// `GET /cluster/nextid`: the lowest free id, reserved for nobody.
pub(crate) fn next_id(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let world = &core.world;
    let id = match call.number("vmid") {
        Some(vmid) => {
            let vmid = u32::try_from(vmid).unwrap_or(u32::MAX);
            if world.guests.contains_key(&vmid) {
                return Err(ApiError::parameter("vmid", format!("VM {vmid} already exists")));
            }
            vmid
        }
        None => {
            let range = world.datacenter.next_id_lower..world.datacenter.next_id_upper;
            range.into_iter().find(|vmid| !world.guests.contains_key(vmid)).ok_or_else(|| {
                ApiError::died(format!(
                    "unable to get any free VMID in range [{}, {}]",
                    world.datacenter.next_id_lower,
                    world.datacenter.next_id_upper - 1
                ))
            })?
        }
    };
    Ok(Outcome::Data(if core.switches.nextid_number { json!(id) } else { json!(id.to_string()) }))
}

fn list(core: &Core, call: &Call, kind: GuestKind) -> Outcome {
    let visible = guest_filter(core, &call.who, "VM.Audit");
    let node = call.id("node");
    let rows = core
        .world
        .guests
        .iter()
        .filter(|(vmid, guest)| guest.node == node && guest.kind == kind && visible(**vmid))
        .map(|(vmid, guest)| Value::Object(view::live_row(core, *vmid, guest)))
        .collect();
    Outcome::Data(Value::Array(rows))
}

/// `GET /nodes/{node}/qemu`.
pub(crate) fn qemu_list(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    Ok(list(core, call, GuestKind::Qemu))
}

/// `GET /nodes/{node}/lxc`.
pub(crate) fn lxc_list(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    Ok(list(core, call, GuestKind::Lxc))
}

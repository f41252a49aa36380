//! Pools, in both generations of their API: the id in the path, or as a parameter.

use serde_json::{Value, json};

use super::error::{ApiError, ApiResult};
use super::inventory::guest_row;
use super::router::{Call, Outcome};
use super::server::Core;
use super::world::Pool;

fn wanted(call: &Call) -> String {
    let id = call.id("poolid");
    if id.is_empty() { call.get("poolid").unwrap_or("").to_owned() } else { id.to_owned() }
}

fn members(core: &Core, call: &Call, pool: &Pool) -> Vec<Value> {
    let only = call.get("type");
    let mut rows = Vec::new();
    for vmid in &pool.guests {
        let Some(guest) = core.world.guests.get(vmid) else {
            continue;
        };
        if only.is_none_or(|kind| kind == guest.kind.name()) {
            rows.push(Value::Object(guest_row(*vmid, guest)));
        }
    }
    for name in &pool.storages {
        let Some(storage) = core.world.storages.get(name) else {
            continue;
        };
        for node in core.world.nodes.keys().filter(|node| storage.is_on(node)) {
            if only.is_none_or(|kind| kind == "storage") {
                rows.push(json!({
                    "id": format!("storage/{node}/{name}"), "type": "storage", "storage": name, "node": node,
                    "status": "available",
                }));
            }
        }
    }
    rows
}

fn described(name: &str, pool: &Pool) -> Value {
    let mut row = json!({"poolid": name});
    if !pool.comment.is_empty() {
        row["comment"] = json!(pool.comment);
    }
    row
}

/// `GET /pools`.
pub(crate) fn list(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    if let Some(name) = call.get("poolid") {
        core.need(&call.who, &format!("/pool/{name}"), &["Pool.Audit"])?;
        let pool = existing(core, name).map_err(ApiError::died)?;
        let mut row = described(name, pool);
        row["members"] = json!(members(core, call, pool));
        return Ok(Outcome::Data(json!([row])));
    }
    let rows = core
        .world
        .pools
        .iter()
        .filter(|(name, _)| core.has(&call.who, &format!("/pool/{name}"), "Pool.Audit"))
        .map(|(name, pool)| described(name, pool))
        .collect();
    Ok(Outcome::Data(Value::Array(rows)))
}

/// `GET /pools/{poolid}`.
pub(crate) fn read(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let name = wanted(call);
    let pool = existing(core, &name).map_err(ApiError::died)?;
    let mut row = json!({"members": members(core, call, pool)});
    if !pool.comment.is_empty() {
        row["comment"] = json!(pool.comment);
    }
    Ok(Outcome::Data(row))
}

fn existing<'a>(core: &'a Core, name: &str) -> Result<&'a Pool, String> {
    core.world.pools.get(name).ok_or_else(|| format!("pool '{name}' does not exist"))
}

/// `POST /pools`.
pub(crate) fn create(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let failed = |text: String| ApiError::died(format!("create pool failed: {text}"));
    let name = wanted(call);
    if core.world.pools.contains_key(&name) {
        return Err(failed(format!("pool '{name}' already exists")));
    }
    if let Some((parent, _)) = name.rsplit_once('/') {
        existing(core, parent)
            .map_err(|_| failed(format!("parent '{parent}' of pool '{name}' does not exist")))?;
    }
    let comment = call.get("comment").unwrap_or("").to_owned();
    core.world.pools.insert(name, Pool { comment, ..Pool::default() });
    Ok(Outcome::Null)
}

/// `PUT /pools` and `PUT /pools/{poolid}`: all or nothing.
pub(crate) fn update(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let failed = |text: String| ApiError::died(format!("update pools failed: {text}"));
    let name = wanted(call);
    let mut pool = existing(core, &name).map_err(failed)?.clone();
    if let Some(comment) = call.get("comment") {
        pool.comment = comment.to_owned();
    }
    let deleting = call.flag("delete");
    let mut moved = Vec::new();
    for text in call.list("vms") {
        let vmid: u32 =
            text.parse().map_err(|_| failed(format!("unable to parse VM ID '{text}'")))?;
        let held = core.privileges(&call.who, &format!("/vms/{vmid}"));
        if !(held.contains_key("VM.Allocate") || held.contains_key("Permissions.Modify")) {
            // The check happens inside the change, so that its text gets the prefix while the status stays 403.
            return Err(ApiError::forbidden(&format!("/vms/{vmid}, VM.Allocate")));
        }
        if deleting {
            if !pool.guests.remove(&vmid) {
                return Err(failed(format!("VM {vmid} is not a pool member")));
            }
            continue;
        }
        if pool.guests.contains(&vmid) {
            return Err(failed(format!("VM {vmid} is already a pool member")));
        }
        if let Some(other) = core.world.pool_of(vmid) {
            if !call.flag("allow-move") {
                return Err(failed(format!(
                    "VM {vmid} belongs already to pool '{other}' and 'allow-move' is not set"
                )));
            }
            core.need(&call.who, &format!("/pool/{other}"), &["Pool.Allocate"])?;
            moved.push((other.to_owned(), vmid));
        }
        pool.guests.insert(vmid);
    }
    for storage in call.list("storage") {
        core.need(&call.who, &format!("/storage/{storage}"), &["Datastore.Allocate"])?;
        if deleting {
            if !pool.storages.remove(&storage) {
                return Err(failed(format!("Storage '{storage}' is not a pool member")));
            }
        } else if !pool.storages.insert(storage.clone()) {
            return Err(failed(format!("Storage '{storage}' is already a pool member")));
        }
    }
    for (other, vmid) in moved {
        if let Some(other) = core.world.pools.get_mut(&other) {
            other.guests.remove(&vmid);
        }
    }
    core.world.pools.insert(name, pool);
    Ok(Outcome::Null)
}

/// `DELETE /pools` and `DELETE /pools/{poolid}`.
pub(crate) fn delete(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let failed = |text: String| ApiError::died(format!("delete pool failed: {text}"));
    let name = wanted(call);
    let pool = existing(core, &name).map_err(failed)?;
    if let Some(vmid) = pool.guests.first() {
        return Err(failed(format!("pool '{name}' is not empty (contains VM {vmid})")));
    }
    if let Some(storage) = pool.storages.first() {
        return Err(failed(format!("pool '{name}' is not empty (contains storage '{storage}')")));
    }
    let children = format!("{name}/");
    if core.world.pools.keys().any(|other| other.starts_with(&children)) {
        return Err(failed(format!("pool '{name}' is not empty (contains nested pools)")));
    }
    core.world.pools.remove(&name);
    let path = format!("/pool/{name}");
    core.world.access.acl.retain(|entry| entry.path != path);
    Ok(Outcome::Null)
}

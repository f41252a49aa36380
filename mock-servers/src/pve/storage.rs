//! Storage definitions and contents.

use serde_json::{Map, Value, json};

use super::error::{ApiError, ApiResult};
use super::router::{Call, Outcome};
use super::server::Core;
use super::volumes;
use super::world::volume_key;

const SEEN_BY: [&str; 2] = ["Datastore.Audit", "Datastore.AllocateSpace"];

fn visible(core: &Core, call: &Call, name: &str) -> bool {
    let held = core.privileges(&call.who, &format!("/storage/{name}"));
    SEEN_BY.iter().any(|privilege| held.contains_key(*privilege))
}

/// `GET /storage`.
pub(crate) fn definitions(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let mut rows = Vec::new();
    for (name, storage) in &core.world.storages {
        if !visible(core, call, name) || call.get("type").is_some_and(|kind| kind != storage.kind) {
            continue;
        }
        let mut row = json!({
            "storage": name, "type": storage.kind, "content": storage.content.join(","),
            "digest": "0000000000000000000000000000000000000000",
        });
        if storage.shared {
            row["shared"] = json!(1);
        }
        if storage.disabled {
            row["disable"] = json!(1);
        }
        if !storage.nodes.is_empty() {
            row["nodes"] = json!(storage.nodes.join(","));
        }
        if storage.kind == "dir" {
            row["path"] = json!("/var/lib/vz");
        }
        rows.push(row);
    }
    Ok(Outcome::Data(Value::Array(rows)))
}

/// `GET /nodes/{node}/storage`.
pub(crate) fn on_node(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let node = call.id("node");
    let contents = call.list("content");
    let mut rows = Vec::new();
    for (name, storage) in &core.world.storages {
        let wanted = storage.is_on(node)
            && call.get("storage").is_none_or(|only| only == name)
            && (contents.is_empty() || contents.iter().any(|content| storage.holds(content)))
            && !(call.flag("enabled") && storage.disabled);
        if !wanted || !visible(core, call, name) {
            continue;
        }
        let active = !storage.disabled && !storage.inactive_on.contains(node);
        let mut row = json!({
            "storage": name, "type": storage.kind, "content": storage.content.join(","),
            "shared": u8::from(storage.shared), "enabled": u8::from(!storage.disabled), "active": u8::from(active),
        });
        let used = if active { volumes::used(&core.world, node, name) } else { 0 };
        let total = if active { storage.total } else { 0 };
        row["total"] = json!(total);
        row["used"] = json!(used);
        row["avail"] = json!(total.saturating_sub(used));
        if total > 0 {
            row["used_fraction"] = json!(used as f64 / total as f64);
        }
        rows.push(row);
    }
    Ok(Outcome::Data(Value::Array(rows)))
}

/// `GET /nodes/{node}/storage/{storage}/content`.
pub(crate) fn content(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let (node, name) = (call.id("node"), call.id("storage"));
    let storage = volumes::usable(&core.world, node, name).map_err(ApiError::died)?;
    let wanted = call.get("content");
    let of_guest = call.number("vmid");
    let mut rows = Vec::new();
    for (file, size) in &storage.files {
        let kind = file.split('/').next().unwrap_or("");
        if of_guest.is_some() || wanted.is_some_and(|wanted| wanted != kind) {
            continue;
        }
        let format = match kind {
            "vztmpl" => "tzst",
            "snippets" => "snippet",
            "import" => "qcow2",
            _ => "iso",
        };
        rows.push(json!({
            "volid": format!("{name}:{file}"), "content": kind, "format": format, "size": size, "ctime": 1_760_000_000,
        }));
    }
    let prefix = volume_key(storage.shared, node, &format!("{name}:"));
    let volumes =
        core.world.volumes.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
    let sees_all = core.has(&call.who, &format!("/storage/{name}"), "Datastore.Audit");
    for (key, volume) in volumes {
        let hidden = wanted.is_some_and(|wanted| wanted != volume.content)
            || of_guest.is_some_and(|vmid| vmid != u64::from(volume.vmid))
            || !(sees_all
                || core.has(&call.who, &format!("/vms/{}", volume.vmid), "VM.Config.Disk"));
        if hidden {
            continue;
        }
        let mut row = Map::new();
        let volid = key.split_once('|').map_or(key.as_str(), |(_, volid)| volid);
        row.insert("volid".into(), json!(volid));
        row.insert("content".into(), json!(volume.content));
        row.insert("format".into(), json!(volume.format));
        row.insert("size".into(), json!(volume.size));
        row.insert("vmid".into(), json!(volume.vmid));
        row.insert("ctime".into(), json!(volume.ctime));
        if let Some(parent) = &volume.parent {
            row.insert("parent".into(), json!(parent));
        }
        rows.push(Value::Object(row));
    }
    Ok(Outcome::Data(Value::Array(rows)))
}

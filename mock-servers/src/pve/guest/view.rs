//! What is read of a virtual machine.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{check_lock, vm};
use crate::pve::error::{ApiError, ApiResult};
use crate::pve::router::{Call, Outcome};
use crate::pve::server::Core;
use crate::pve::work::Settings;
use crate::pve::world::{Guest, GuestKind, memory_mib, size_in};

/// Options that Perl holds as numbers.
const NUMBERS: [&str; 22] = [
    "acpi",
    "autostart",
    "balloon",
    "ciupgrade",
    "cores",
    "cpuunits",
    "freeze",
    "keephugepages",
    "kvm",
    "localtime",
    "migrate_downtime",
    "migrate_speed",
    "numa",
    "onboot",
    "protection",
    "reboot",
    "shares",
    "smp",
    "sockets",
    "tablet",
    "template",
    "vcpus",
];

/// A password is never shown.
const MASK: &str = "**********";

fn value_of(core: &Core, key: &str, text: &str) -> Value {
    if key == "cipassword" {
        return json!(MASK);
    }
    if NUMBERS.contains(&key)
        && !core.switches.integers_as_strings
        && let Ok(number) = text.parse::<i64>()
    {
        return json!(number);
    }
    json!(text)
}

fn rendered(core: &Core, config: &Settings, digest: &str) -> Value {
    let mut data: Map<String, Value> =
        config.iter().map(|(key, text)| (key.clone(), value_of(core, key, text))).collect();
    data.insert("digest".to_owned(), json!(digest));
    Value::Object(data)
}

/// The configuration as it will be once pending changes are applied.
pub(crate) fn with_pending(guest: &Guest) -> Settings {
    let mut config = guest.config.clone();
    for key in guest.pending_delete.keys() {
        config.remove(key);
    }
    config.extend(guest.pending.iter().map(|(key, value)| (key.clone(), value.clone())));
    config
}

/// `GET …/config`.
pub(crate) fn config(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let guest = vm(core, call.id("node"), call.vmid())?;
    let digest = guest.digest();
    if let Some(name) = call.get("snapshot") {
        let snapshot = guest
            .snapshots
            .get(name)
            .ok_or_else(|| ApiError::died(format!("snapshot '{name}' does not exist")))?;
        let mut config = snapshot.config.clone();
        config.insert("snaptime".to_owned(), snapshot.snaptime.to_string());
        return Ok(Outcome::Data(rendered(core, &config, &digest)));
    }
    let config = if call.flag("current") { guest.config.clone() } else { with_pending(guest) };
    Ok(Outcome::Data(rendered(core, &config, &digest)))
}

/// `GET …/pending`: every scalar of the loaded file, its digest among them.
pub(crate) fn pending(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let guest = vm(core, call.id("node"), call.vmid())?;
    let mut rows = Vec::new();
    let keys: BTreeSet<&String> = guest.config.keys().chain(guest.pending.keys()).collect();
    for key in keys {
        let mut row = json!({"key": key});
        if let Some(value) = guest.config.get(key) {
            row["value"] = value_of(core, key, value);
        }
        if let Some(value) = guest.pending.get(key) {
            row["pending"] = value_of(core, key, value);
        }
        if let Some(force) = guest.pending_delete.get(key) {
            row["delete"] = json!(if *force { 2 } else { 1 });
        }
        rows.push(row);
    }
    rows.push(json!({"key": "digest", "value": guest.digest()}));
    Ok(Outcome::Data(Value::Array(rows)))
}

/// A row of live figures, as the node's own lists give them.
pub(crate) fn live_row(core: &Core, vmid: u32, guest: &Guest) -> Map<String, Value> {
    let host = core.world.nodes.get(&guest.node).map_or(1, |node| node.cpu);
    let number = |key: &str, fallback: u32| {
        guest.get(key).and_then(|text| text.parse().ok()).unwrap_or(fallback)
    };
    let cpus = match guest.kind {
        GuestKind::Qemu => number("vcpus", (number("sockets", 1) * number("cores", 1)).min(host)),
        GuestKind::Lxc => number("cores", host),
    };
    let maxmem = memory_mib(guest) * 1024 * 1024;
    let maxdisk = guest.boot_disk().and_then(|key| guest.get(&key).and_then(size_in)).unwrap_or(0);
    let uptime = if guest.running {
        (crate::clock::unix_millis().saturating_sub(guest.started_ms) / 1000).max(1)
    } else {
        0
    };
    let mut row = Map::new();
    row.insert("vmid".into(), json!(vmid));
    row.insert("name".into(), json!(guest.shown_name(vmid)));
    row.insert("status".into(), json!(guest.status()));
    row.insert("cpus".into(), json!(cpus));
    row.insert("maxmem".into(), json!(maxmem));
    row.insert("maxdisk".into(), json!(maxdisk));
    row.insert("uptime".into(), json!(uptime));
    row.insert("mem".into(), json!(if guest.running { maxmem / 2 } else { 0 }));
    row.insert("cpu".into(), json!(if guest.running { 0.015 } else { 0.0 }));
    for key in ["disk", "diskread", "diskwrite", "netin", "netout"] {
        row.insert(key.into(), json!(0));
    }
    if guest.kind == GuestKind::Lxc {
        row.insert("type".into(), json!("lxc"));
    }
    if guest.running {
        row.insert("pid".into(), json!(40_000 + vmid % 20_000));
    }
    if guest.is_template() {
        row.insert("template".into(), json!(1));
    }
    for key in ["lock", "tags"] {
        if let Some(value) = guest.get(key) {
            row.insert(key.into(), json!(value));
        }
    }
    row
}

/// `GET …/status/current`.
pub(crate) fn current(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let vmid = call.vmid();
    let guest = vm(core, call.id("node"), vmid)?;
    let mut row = live_row(core, vmid, guest);
    let qmp = match (guest.running, guest.paused) {
        (true, true) => "paused",
        (true, false) => "running",
        (false, _) => "stopped",
    };
    row.insert("qmpstatus".into(), json!(qmp));
    row.insert("ha".into(), json!({"managed": 0}));
    if super::agent::is_configured(guest) {
        row.insert("agent".into(), json!(1));
    }
    if guest.running {
        let (qemu, machine) = if core.is_nine() {
            ("10.1.2", "pc-i440fx-10.1+pve0")
        } else {
            ("9.2.0", "pc-i440fx-9.2+pve1")
        };
        row.insert("running-qemu".into(), json!(qemu));
        row.insert("running-machine".into(), json!(machine));
    }
    Ok(Outcome::Data(Value::Object(row)))
}

/// `PUT …/cloudinit`: regenerates the drive. What a guest finds on it is computed at its start, so there is
/// nothing more to do here than to refuse where the real server does.
pub(crate) fn cloudinit(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let guest = vm(core, call.id("node"), call.vmid())?;
    check_lock(guest)?;
    Ok(Outcome::Null)
}

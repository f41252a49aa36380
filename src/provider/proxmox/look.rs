//! Small reads that several duties share: the listing, one guest, one pool, proof of
//! absence.

use super::{
    client::Client,
    error::CallError,
    spelling::segment,
    translate::{self, GuestRow, RawConfig, RawGuest},
    wire,
};
use crate::model::{
    Fresh, FreshObject, GuestKind, LockKind, NativeId, NodeName, ObservedPool, PowerState,
    ProjectName,
};
use std::collections::{BTreeMap, BTreeSet};

/// Every row of `/cluster/resources`, sorted by what it is about.
#[derive(Default)]
pub(super) struct Resources {
    pub guests: BTreeMap<u32, GuestRow>,
    pub nodes: Vec<wire::Resource>,
    pub storages: Vec<wire::Resource>,
}

/// The one-call inventory. `only` narrows it: `vm`, `node`.
pub(super) async fn resources(client: &Client, only: Option<&str>) -> Result<Resources, CallError> {
    let params: &[(&str, &str)] = &[("type", only.unwrap_or_default())];
    let params = if only.is_some() { params } else { &[] };
    let rows: Vec<wire::Resource> = client.get("/cluster/resources", params).await?;
    let mut all = Resources::default();
    for row in rows {
        match row.kind.as_str() {
            "qemu" => all.guests.extend(guest_row(row, GuestKind::Vm)),
            "lxc" => all.guests.extend(guest_row(row, GuestKind::Container)),
            "node" => all.nodes.push(row),
            "storage" => all.storages.push(row),
            // Pools, networks and whatever a later version adds.
            _ => {}
        }
    }
    Ok(all)
}

fn guest_row(row: wire::Resource, kind: GuestKind) -> Option<(u32, GuestRow)> {
    let vmid = row.vmid?.small()?;
    let guest = GuestRow {
        vmid,
        node: row.node?,
        name: row.name.map(|name| name.0),
        kind,
        template: row.template.is_some_and(|flag| flag.0),
        pool: row.pool.filter(|pool| !pool.is_empty()),
        tags: row.tags.map(|tags| tags.0),
        lock: row.lock.filter(|lock| !lock.is_empty()),
        power: power(row.status.as_deref()),
        maxmem: row.maxmem.map(|number| number.0),
        maxcpu: row.maxcpu.and_then(wire::Number::small),
    };
    Some((vmid, guest))
}

/// Takes over what a node says live about a guest of its own; the broadcast that
/// fills `/cluster/resources` is up to 10 s old.
pub(super) fn freshen(row: &mut GuestRow, live: wire::LiveGuest) {
    row.power = power(live.status.as_deref());
    if let Some(name) = live.name {
        row.name = Some(name.0);
    }
    if let Some(template) = live.template {
        row.template = template.0;
    }
    if let Some(tags) = live.tags {
        row.tags = Some(tags.0);
    }
    row.lock = live.lock.filter(|lock| !lock.is_empty());
    row.maxmem = live.maxmem.map(|number| number.0).or(row.maxmem);
    row.maxcpu = live.cpus.and_then(wire::Number::small).or(row.maxcpu);
}

/// The broadcast prefers the emulator's own words: every one but `stopped` and
/// `unknown` belongs to a running process (`paused`, `prelaunch`, `suspended`…).
fn power(status: Option<&str>) -> PowerState {
    match status {
        Some("stopped") => PowerState::Stopped,
        None | Some("unknown" | "") => PowerState::Unknown,
        Some(_) => PowerState::Running,
    }
}

/// Which hosts answer, by the cluster's own word where the account may hear it.
pub(super) fn nodes_online(
    status: Option<&[wire::StatusRow]>,
    resources: &[wire::Resource],
) -> BTreeMap<NodeName, bool> {
    let mut nodes: BTreeMap<NodeName, bool> = resources
        .iter()
        .filter_map(|row| {
            let online = row.status.as_deref() == Some("online");
            Some((NodeName::from(row.node.as_deref()?), online))
        })
        .collect();
    for row in status.unwrap_or_default().iter().filter(|row| row.kind == "node") {
        let online = row.online.is_some_and(|flag| flag.0);
        nodes.insert(row.name.as_str().into(), online);
    }
    nodes
}

/// Whether the cluster can write. A single node has no cluster row, and always can.
pub(super) fn quorate(status: &[wire::StatusRow]) -> bool {
    let cluster = status.iter().find(|row| row.kind == "cluster");
    cluster.is_none_or(|row| row.quorate.is_some_and(|flag| flag.0))
}

/// The configuration of a guest, with what is pending.
pub(super) async fn config(client: &Client, node: &str, vmid: u32) -> Result<RawConfig, CallError> {
    let path = format!("/nodes/{}/qemu/{vmid}/pending", segment(node));
    let rows: Vec<wire::PendingRow> = client.get(&path, &[]).await?;
    Ok(translate::raw_config(rows.into_iter().map(Into::into)))
}

/// Its state right now.
pub(super) async fn current(
    client: &Client,
    node: &str,
    vmid: u32,
) -> Result<wire::LiveGuest, CallError> {
    client.get(&format!("/nodes/{}/qemu/{vmid}/status/current", segment(node)), &[]).await
}

/// Why a configuration cannot be judged though it was read: a clone or a restore
/// begins as a locked file that does not say yet whose it is.
pub(super) fn unfinished_birth(config: &RawConfig) -> Option<String> {
    let lock = config.next.get("lock").or_else(|| config.current.get("lock"))?;
    let silent = !config.next.contains_key("description");
    let birth = translate::lock(lock).kind == LockKind::Birth;
    (birth && silent).then(|| format!("it is being made (lock `{lock}`)"))
}

/// A machine as a fresh read.
pub(super) fn fresh_machine(
    project: Option<&ProjectName>,
    row: &GuestRow,
    config: RawConfig,
) -> Fresh {
    let object = match unfinished_birth(&config) {
        Some(why) => FreshObject::Unreadable(why),
        None => FreshObject::Machine(Box::new(translate::machine(project, row, &config))),
    };
    let version = config.digest.clone();
    // Maps of texts always serialise.
    let raw = serde_json::to_value(RawGuest { node: row.node.clone(), config });
    Fresh { object, version, raw: raw.unwrap_or_default() }
}

/// Whether the product itself calls an id free. It looks at all guests of the
/// cluster, those that the account may not see too.
pub(super) async fn is_free(client: &Client, vmid: u32) -> Result<bool, CallError> {
    let id = vmid.to_string();
    match client.get::<wire::Text>("/cluster/nextid", &[("vmid", &id)]).await {
        Ok(_) => Ok(true),
        Err(error) if error.says("already exists") => Ok(false),
        Err(error) => Err(error),
    }
}

/// Why the cluster's word on absence cannot be believed at this moment.
pub(super) async fn absence_doubt(client: &Client) -> Result<Option<String>, CallError> {
    let silent = |nodes: Vec<String>| {
        let list = nodes.join("`, `");
        (!nodes.is_empty()).then(|| format!("node `{list}` is not online"))
    };
    match client.get::<Vec<wire::StatusRow>>("/cluster/status", &[]).await {
        Ok(rows) if !quorate(&rows) => Ok(Some("the cluster has no quorum".into())),
        Ok(rows) => {
            let nodes = rows.into_iter().filter(|row| row.kind == "node");
            let offline = nodes.filter(|row| !row.online.is_some_and(|flag| flag.0));
            Ok(silent(offline.map(|row| row.name).collect()))
        }
        // Quorum is for auditors to know; which nodes answer is for everyone.
        Err(error) if error.is_forbidden() => {
            let rows: Vec<wire::NodeRow> = client.get("/nodes", &[]).await?;
            let offline = rows.into_iter().filter(|row| row.status.as_deref() != Some("online"));
            Ok(silent(offline.map(|row| row.node).collect()))
        }
        Err(error) => Err(error),
    }
}

/// One pool with its members; `None` when the product says that there is none.
pub(super) async fn pool(client: &Client, name: &str) -> Result<Option<wire::Pool>, CallError> {
    match client.get::<Vec<wire::Pool>>("/pools", &[("poolid", name)]).await {
        Ok(rows) => Ok(rows.into_iter().find(|row| row.poolid == name)),
        Err(error)
            if !error.is_forbidden()
                && (error.says("no such pool") || error.says("does not exist")) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A pool that was asked for by name.
pub(super) fn observed_pool(row: &wire::Pool) -> ObservedPool {
    let ids = row.members.iter().filter_map(|member| member.vmid);
    let members: BTreeSet<NativeId> = ids.map(|id| NativeId::from(id.0.to_string())).collect();
    let others = row.members.iter().any(|member| member.vmid.is_none());
    translate::pool(comment(row), members, others)
}

/// A pool's comment as it stands.
pub(super) fn comment(row: &wire::Pool) -> &str {
    row.comment.as_ref().map_or("", |comment| comment.0.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(json: serde_json::Value) -> wire::Resource {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_live_row_outweighs_the_broadcast() {
        let row = resource(serde_json::json!({
            "type": "qemu", "vmid": 100, "node": "pve1", "status": "unknown", "tags": "a", "pool": "nova"
        }));
        let (_, mut row) = guest_row(row, GuestKind::Vm).unwrap();
        assert_eq!((row.power, row.name.as_deref()), (PowerState::Unknown, None));
        let live = serde_json::json!({
            "vmid": "100", "name": "web", "status": "running", "cpus": 4, "maxmem": "2147483648"
        });
        freshen(&mut row, serde_json::from_value(live).unwrap());
        assert_eq!((row.power, row.name.as_deref()), (PowerState::Running, Some("web")));
        assert_eq!((row.maxcpu, row.maxmem), (Some(4), Some(2 << 30)));
        assert_eq!((row.tags.as_deref(), row.pool.as_deref()), (Some("a"), Some("nova")));
    }

    #[test]
    fn a_paused_machine_runs_and_an_unknown_one_is_unknown() {
        assert_eq!(power(Some("paused")), PowerState::Running);
        assert_eq!(power(Some("stopped")), PowerState::Stopped);
        assert_eq!(power(None), PowerState::Unknown);
    }

    #[test]
    fn the_cluster_s_word_on_nodes_outweighs_the_broadcast() {
        let rows = [
            resource(serde_json::json!({"type": "node", "node": "pve1", "status": "online"})),
            resource(serde_json::json!({"type": "node", "node": "pve2", "status": "online"})),
        ];
        let status: Vec<wire::StatusRow> = serde_json::from_value(serde_json::json!([
            {"type": "cluster", "name": "paris", "quorate": 1},
            {"type": "node", "name": "pve1", "online": 1},
            {"type": "node", "name": "pve2", "online": 0},
        ]))
        .unwrap();
        let nodes = nodes_online(Some(&status), &rows);
        assert_eq!(nodes.values().copied().collect::<Vec<_>>(), [true, false]);
        assert!(quorate(&status) && quorate(&status[1..]));
        assert_eq!(nodes_online(None, &rows).values().filter(|online| **online).count(), 2);
    }

    #[test]
    fn a_locked_birth_without_notes_cannot_be_judged() {
        let options = |pairs: &[(&str, &str)]| RawConfig {
            next: pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
            ..RawConfig::default()
        };
        assert!(unfinished_birth(&options(&[("lock", "clone")])).is_some());
        let told = options(&[("lock", "clone"), ("description", "novahost/1 …")]);
        assert_eq!(unfinished_birth(&told), None);
        assert_eq!(unfinished_birth(&options(&[("lock", "backup")])), None);
        assert_eq!(unfinished_birth(&options(&[])), None);
    }
}

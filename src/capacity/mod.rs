//! How much room there is: what hosts and storages have, what machines take of it, and what
//! the policy leaves, now and once a plan is carried out.
//!
//! Pure. It counts as `alloc` does, so that what is called free here is what the next plan
//! may give away: machines that run count with all they are configured with, and a new disk
//! counts with its whole size, however thin it begins.

mod effects;

use crate::model::{
    Coverage, DesiredState, HypervisorConfig, HypervisorInventory, HypervisorName, Inventory,
    Listed, NativeId, NodeName, ObservedNode, ObservedStorage, Plan, Policy, StorageName,
};
use crate::ownership::Ownership;
use effects::{Effects, Use};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// One hypervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Room {
    /// Its name.
    pub hypervisor: HypervisorName,
    /// Product and version.
    pub version: String,
    /// Hosts, or clusters that choose a host themselves.
    pub nodes: Vec<NodeRoom>,
    /// Storages that take disks of machines.
    pub storages: Vec<StorageRoom>,
    /// What the numbers leave out.
    pub notes: Vec<String>,
}

/// One host or cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeRoom {
    /// Its name.
    pub node: NodeName,
    /// Whether new machines may go there.
    pub state: NodeState,
    /// Machines of any owner on it, templates left out.
    pub machines: usize,
    /// Virtual processors.
    pub cpu: Share,
    /// Memory, in bytes.
    pub memory_bytes: Share,
}

/// Whether new machines may go to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// They may.
    Online,
    /// It does not answer, or serves no machines.
    Offline,
    /// The YAML says that it is in maintenance.
    Maintenance,
    /// The YAML names other hosts.
    NotAllowed,
}

impl NodeState {
    /// The word that is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeState::Online => "online",
            NodeState::Offline => "offline",
            NodeState::Maintenance => "maintenance",
            NodeState::NotAllowed => "not allowed",
        }
    }
}

/// One resource of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// What the hardware has.
    pub total: u64,
    /// What the policy gives away of it.
    pub limit: u64,
    /// Configured by machines of this project that run.
    pub ours: u64,
    /// Configured by other machines that run.
    pub others: u64,
    /// Configured by machines of anybody that are off. They take nothing until somebody
    /// starts them.
    pub off: u64,
    /// The limit less what runs. Below zero: more is given away than the policy allows.
    pub free: i64,
    /// The same once the plan is carried out.
    pub free_after: i64,
}

/// One storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StorageRoom {
    /// Its name.
    pub storage: StorageName,
    /// The host whose own it is; absent = several share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// Whether it can be used right now.
    pub active: bool,
    /// Its size.
    pub total_bytes: u64,
    /// What is written.
    pub used_bytes: u64,
    /// What thin disks on it may still come to take; absent where nobody tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promised_bytes: Option<u64>,
    /// What the policy leaves of what is not written.
    pub free_bytes: i64,
    /// What new and grown disks of the plan may come to take.
    pub planned_bytes: u64,
    /// The room for new disks once the plan is carried out. What it deletes is not counted:
    /// how much of a thin disk was written, nobody knows.
    pub free_after_bytes: i64,
}

/// What the numbers are made of.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// What the YAML asks for.
    pub desired: &'a DesiredState,
    /// What was seen.
    pub inventory: &'a Inventory,
    /// Whose machines are whose.
    pub ownership: &'a Ownership,
    /// What would be done, whether it waits for consent or not.
    pub plan: &'a Plan,
}

/// Every hypervisor that was read, in the order of names.
pub fn rooms(sources: Sources<'_>) -> Vec<Room> {
    let owned: BTreeSet<(&HypervisorName, &NativeId)> =
        sources.ownership.owned.values().map(|it| (&it.hypervisor, &it.id)).collect();
    let mut rooms = Vec::new();
    for (name, seen) in &sources.inventory.hypervisors {
        let Some(config) = sources.desired.hypervisors.get(name) else { continue };
        let effects = Effects::of(sources.plan, name, seen);
        let count = Count { config, seen, policy: &sources.desired.policy, effects: &effects };
        let ours = |id: &NativeId| owned.contains(&(name, id));
        rooms.push(Room {
            hypervisor: name.clone(),
            version: seen.version.clone(),
            nodes: count.nodes(&ours),
            storages: count.storages(),
            notes: notes(sources.plan, name, seen, &effects),
        });
    }
    rooms
}

fn use_of(guest: &Listed) -> Use {
    Use { cpu: guest.cpu.map_or(0, u64::from), memory: guest.memory.map_or(0, |memory| memory.0) }
}

struct Count<'a> {
    config: &'a HypervisorConfig,
    seen: &'a HypervisorInventory,
    policy: &'a Policy,
    effects: &'a Effects,
}

impl Count<'_> {
    fn nodes(&self, ours: &dyn Fn(&NativeId) -> bool) -> Vec<NodeRoom> {
        let mut rooms = Vec::new();
        for (name, node) in &self.seen.nodes {
            let (mut own, mut others, mut off) = (Use::default(), Use::default(), Use::default());
            let mut machines = 0;
            for (id, guest) in &self.seen.listed {
                if guest.node.as_ref() != Some(name) || guest.template {
                    continue;
                }
                machines += 1;
                let slot = match (guest.takes_room(), ours(id)) {
                    (true, true) => &mut own,
                    (true, false) => &mut others,
                    (false, _) => &mut off,
                };
                slot.add(use_of(guest));
            }
            let added = self.effects.on_node(name);
            let cpu_limit = self.policy.cpu_limit(node.cpus);
            let memory_limit = self.policy.memory_limit(node.memory);
            let share = |total, limit, of: fn(Use) -> u64, added: i64| {
                let free = signed(limit) - signed(of(own)) - signed(of(others));
                let free_after = free - added;
                let (ours, others, off) = (of(own), of(others), of(off));
                Share { total, limit, ours, others, off, free, free_after }
            };
            rooms.push(NodeRoom {
                node: name.clone(),
                state: self.state(name, node),
                machines,
                cpu: share(node.cpus.into(), cpu_limit, |it| it.cpu, added.cpu),
                memory_bytes: share(node.memory.0, memory_limit, |it| it.memory, added.memory),
            });
        }
        rooms
    }

    fn state(&self, name: &NodeName, node: &ObservedNode) -> NodeState {
        if !node.online {
            NodeState::Offline
        } else if self.config.maintenance().contains(name) {
            NodeState::Maintenance
        } else if self.config.allowed_nodes().is_some_and(|allowed| !allowed.contains(name)) {
            NodeState::NotAllowed
        } else {
            NodeState::Online
        }
    }

    fn storages(&self) -> Vec<StorageRoom> {
        // A shared storage is one, however many hosts list it.
        let mut rows: BTreeMap<(&StorageName, Option<&NodeName>), &ObservedStorage> =
            BTreeMap::new();
        for row in self.seen.storages.iter().filter(|it| it.holds_disks) {
            let node = (!row.shared).then_some(&row.node);
            let known = rows.entry((&row.name, node)).or_insert(row);
            // One host that reaches it is enough.
            if row.active && !known.active {
                *known = row;
            }
        }
        let room = |((name, node), row): ((&StorageName, Option<&NodeName>), &ObservedStorage)| {
            let reserve = self.policy.disk_reserve(row.total);
            let free = signed(row.total.0) - signed(row.used.0) - signed(reserve);
            let planned = self.effects.on_storage(name, node);
            StorageRoom {
                storage: name.clone(),
                node: node.cloned(),
                active: row.active,
                total_bytes: row.total.0,
                used_bytes: row.used.0,
                promised_bytes: row.promised.map(|it| it.0),
                free_bytes: free,
                planned_bytes: planned,
                free_after_bytes: free - signed(planned),
            }
        };
        rows.into_iter().map(room).collect()
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What the numbers leave out.
fn notes(
    plan: &Plan,
    name: &HypervisorName,
    seen: &HypervisorInventory,
    effects: &Effects,
) -> Vec<String> {
    let mut notes = Vec::new();
    match &seen.coverage {
        Coverage::Complete => {}
        Coverage::Scoped { why, .. } => {
            notes.push(format!("what the account does not see is not counted: {why}"));
        }
        Coverage::Incomplete { gaps } => {
            notes.push(format!("what was not read is not counted: {}", gaps.join("; ")));
        }
        Coverage::Failed { error, .. } => notes.push(format!("it was not read: {error}")),
    }
    let homeless = seen.listed.values().filter(|it| it.takes_room() && it.node.is_none()).count();
    if homeless > 0 {
        notes.push(format!("machines on no known host, not counted: {homeless}"));
    }
    let blocked = plan.body.blocked.iter().filter(|it| it.hypervisor == *name).count();
    if blocked > 0 {
        notes.push(format!("blocked in the plan, not counted in what is left after it: {blocked}"));
    }
    let full = |it: &&ObservedStorage| {
        it.holds_disks
            && it.promised.is_some_and(|more| more.0 > it.total.0.saturating_sub(it.used.0))
    };
    let full: BTreeSet<&StorageName> =
        seen.storages.iter().filter(full).map(|it| &it.name).collect();
    for storage in full {
        notes.push(format!("thin disks on {storage} may come to take more than is free there"));
    }
    if effects.freed > 0 {
        let freed = crate::model::Bytes(effects.freed);
        notes.push(format!("the plan deletes disks of {freed}; what that frees is not counted"));
    }
    notes
}

#[cfg(test)]
mod tests;

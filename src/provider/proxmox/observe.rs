//! One inventory of a cluster, within a budget of requests: one per guest that has
//! to be read, two per node, and a handful for the cluster.
//!
//! Nothing here is an error to the caller: what could not be learnt becomes a gap,
//! an unreadable guest, or an inventory that says why it is empty.

use super::{
    client::Client,
    coverage::{self, Facts},
    error::CallError,
    identity::SelfId,
    look::{self, Resources},
    provider::Inner,
    spelling::segment,
    translate::{self, GuestRow},
    wire,
};
use crate::{
    model::{
        Bytes, Coverage, FailureKind, GuestKind, HypervisorInventory, Listed, MarkerState, Name,
        NativeId, NodeName, ObservedMachine, ObservedNode, ObservedPool, ObservedStorage,
        ProjectName, ProviderError, Scope, Stage,
    },
    planted::Bug,
    provider::failure,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::task::JoinSet;

pub(super) use crate::provider::failure::joined;

/// Runs `each` over all items, so many at a time, and keeps their order. Panics of a
/// worker are the caller's.
pub(super) async fn gather<I, T, F, Work>(limit: usize, items: Vec<I>, each: F) -> Vec<T>
where
    I: Send + 'static,
    T: Send + 'static,
    F: Fn(I) -> Work + Clone + Send + 'static,
    Work: Future<Output = T> + Send,
{
    let count = items.len();
    let queue = Arc::new(Mutex::new(items.into_iter().enumerate()));
    let mut workers = JoinSet::new();
    // Workers that share a queue, and not one task per item: ten thousand idle
    // futures cost more memory than the answers.
    for _ in 0..limit.min(count) {
        let (queue, each) = (Arc::clone(&queue), each.clone());
        workers.spawn(async move {
            let mut done = Vec::new();
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((index, item)) = next else { return done };
                done.push((index, each(item).await));
            }
        });
    }
    let mut all = Vec::with_capacity(count);
    while let Some(joined) = workers.join_next().await {
        match joined {
            Ok(done) => all.extend(done),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Workers are aborted only together with this future.
            Err(_) => {}
        }
    }
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, answer)| answer).collect()
}

/// An inventory, or one that says why there is none.
pub(super) async fn observe(inner: &Arc<Inner>, scope: &Scope) -> HypervisorInventory {
    failure::inventory(try_observe(inner, scope).await)
}

/// What the cluster as a whole said.
struct Head {
    status: Option<Vec<wire::StatusRow>>,
    permissions: wire::Permissions,
    acl: Vec<wire::AclRow>,
    resources: Resources,
    pools: Vec<wire::Pool>,
    gaps: Vec<String>,
}

async fn try_observe(
    inner: &Arc<Inner>,
    scope: &Scope,
) -> Result<HypervisorInventory, ProviderError> {
    let client = &inner.client;
    // First and alone: wrong credentials cost three seconds each at the server.
    let version: wire::Version = client
        .get("/version", &[])
        .await
        .map_err(|error| error.into_provider("read the version"))?;
    let mut head = read_head(client).await?;
    let nodes = look::nodes_online(head.status.as_deref(), &head.resources.nodes);
    let mut inventory = blank(&version);
    let identity = inner.identify(head.status.as_deref(), &nodes).await?;
    note_identity(&mut inventory, identity);

    let answers = ask_nodes(inner, &nodes).await;
    let networks = take_answers(&mut head, &mut inventory, answers);
    let groups = read_groups(client, &head).await;
    inventory.coverage = coverage::judge_coverage(&Facts {
        gaps: &head.gaps,
        quorate: head.status.as_deref().map(look::quorate),
        nodes: &nodes,
        permissions: &head.permissions,
        acl: if Bug::HiddenRowIgnored.is_planted() { &[] } else { &head.acl },
        identity: client.identity(),
        groups: groups.as_ref(),
    });
    let ours = scope.project.as_ref().or(inner.project.as_ref());
    let mut listed: BTreeMap<u32, Listed> = head
        .resources
        .guests
        .values()
        .map(|row| (row.vmid, translate::listed(ours, row)))
        .collect();
    let candidates = candidates(inner, scope, &head.resources.guests, &listed);
    let read = read_candidates(inner, &nodes, candidates).await;
    take_candidates(&mut inventory, &mut listed, ours, read);
    inventory.listed =
        listed.into_iter().map(|(id, row)| (NativeId::from(id.to_string()), row)).collect();

    inventory.pools = read_pools(inner, scope, &head).await;
    fill_in_pools(&mut inventory);
    inventory.nodes = observed_nodes(&head.resources.nodes, &nodes, networks);
    inventory.storages = head.resources.storages.iter().filter_map(observed_storage).collect();
    inventory.storages.sort();
    find_isos(inner, scope, &nodes, &mut inventory).await;
    if matches!(inventory.coverage, Coverage::Scoped { .. }) {
        ask_pinned(inner, scope, &mut inventory).await;
    }
    Ok(inventory)
}

fn blank(version: &wire::Version) -> HypervisorInventory {
    let release = version.release.as_ref().unwrap_or(&version.version);
    let mut inventory = HypervisorInventory::failed("", FailureKind::Unreachable);
    inventory.version = format!("Proxmox VE {}", release.0);
    inventory
}

fn note_identity(inventory: &mut HypervisorInventory, identity: Option<SelfId>) {
    match identity {
        Some(identity) => inventory.identity = identity.to_string(),
        None => inventory.notes.push("the installation does not tell its identity".into()),
    }
}

async fn read_head(client: &Client) -> Result<Head, ProviderError> {
    let (status, permissions, acl, resources, pools) = tokio::join!(
        client.get::<Vec<wire::StatusRow>>("/cluster/status", &[]),
        client.get::<wire::Permissions>("/access/permissions", &[]),
        client.get::<Vec<wire::AclRow>>("/access/acl", &[]),
        look::resources(client, None),
        client.get::<Vec<wire::Pool>>("/pools", &[]),
    );
    // Without the listing there is nothing that an inventory could be made of.
    let resources = resources.map_err(|error| error.into_provider("list the cluster"))?;
    let mut gaps = Vec::new();
    let status = match status {
        Err(error) if error.is_forbidden() => None,
        answer => keep(&mut gaps, "read the cluster's status", answer.map(Some)),
    };
    Ok(Head {
        status,
        permissions: keep(&mut gaps, "read the account's permissions", permissions),
        acl: keep(&mut gaps, "read access rows", acl),
        resources,
        pools: keep(&mut gaps, "list pools", pools),
        gaps,
    })
}

/// The answer, or nothing and a gap.
fn keep<T: Default>(gaps: &mut Vec<String>, what: &str, answer: Result<T, CallError>) -> T {
    answer.unwrap_or_else(|error| {
        gaps.push(format!("could not {what}: {}", joined(&error)));
        T::default()
    })
}

struct NodeAnswer {
    node: NodeName,
    guests: Result<Vec<wire::LiveGuest>, CallError>,
    networks: Result<Vec<wire::Interface>, CallError>,
}

async fn ask_nodes(inner: &Arc<Inner>, nodes: &BTreeMap<NodeName, bool>) -> Vec<NodeAnswer> {
    let online: Vec<NodeName> =
        nodes.iter().filter(|(_, online)| **online).map(|(node, _)| node.clone()).collect();
    let shared = Arc::clone(inner);
    gather(inner.client.reads_max, online, move |node| {
        let inner = Arc::clone(&shared);
        async move {
            let (qemu, network) = (
                format!("/nodes/{}/qemu", segment(node.as_str())),
                format!("/nodes/{}/network", segment(node.as_str())),
            );
            let (guests, networks) = tokio::join!(
                inner.client.get(&qemu, &[]),
                inner.client.get(&network, &[("type", "any_bridge")]),
            );
            NodeAnswer { node, guests, networks }
        }
    })
    .await
}

/// Brings the listing up to date, and keeps what nodes say of their networks.
fn take_answers(
    head: &mut Head,
    inventory: &mut HypervisorInventory,
    answers: Vec<NodeAnswer>,
) -> BTreeMap<NodeName, BTreeSet<String>> {
    let mut networks = BTreeMap::new();
    for NodeAnswer { node, guests, networks: bridges } in answers {
        let guests = keep(&mut head.gaps, &format!("list the machines of node `{node}`"), guests);
        for live in guests {
            let Some(vmid) = live.vmid.and_then(wire::Number::small) else { continue };
            let row = head.resources.guests.entry(vmid).or_insert_with(|| newcomer(vmid, &node));
            if row.node == node.as_str() {
                look::freshen(row, live);
            }
        }
        match bridges {
            Ok(rows) => {
                networks.insert(node, rows.into_iter().map(|row| row.iface).collect());
            }
            // Planning checks networks only where it knows them.
            Err(error) => inventory
                .notes
                .push(format!("could not list networks of node `{node}`: {}", joined(&error))),
        }
    }
    networks
}

/// A machine that was made between the two lists.
pub(super) fn newcomer(vmid: u32, node: &NodeName) -> GuestRow {
    GuestRow {
        vmid,
        node: node.to_string(),
        name: None,
        kind: GuestKind::Vm,
        template: false,
        pool: None,
        tags: None,
        lock: None,
        power: crate::model::PowerState::Unknown,
        maxmem: None,
        maxcpu: None,
    }
}

/// The user's groups, asked only when a row is about groups. Not being told them is
/// no gap: then every group counts as one of theirs.
async fn read_groups(client: &Client, head: &Head) -> Option<BTreeSet<String>> {
    if !coverage::needs_groups(&head.acl) {
        return Some(BTreeSet::new());
    }
    let user = client.identity().split('!').next().unwrap_or_default();
    let path = format!("/access/users/{}", segment(user));
    let user: wire::User = client.get(&path, &[]).await.ok()?;
    Some(user.groups.into_iter().collect())
}

/// The machines that have to be read (DESIGN 6.3).
fn candidates(
    inner: &Inner,
    scope: &Scope,
    rows: &BTreeMap<u32, GuestRow>,
    listed: &BTreeMap<u32, Listed>,
) -> Vec<GuestRow> {
    let (first, last) = inner.vmid_range;
    let project = scope.project.as_ref().or(inner.project.as_ref());
    let is_candidate = |row: &&GuestRow| {
        let id = row.id();
        let cheap = listed.get(&row.vmid);
        let marked = cheap.and_then(|it| it.marked.as_ref()).is_some_and(|it| Some(it) == project);
        let named = row.name.as_ref().is_some_and(|name| {
            scope.names.contains(name) || (row.template && scope.template_names.contains(name))
        });
        let asked =
            [&scope.ids, &scope.pinned, &scope.templates].iter().any(|ids| ids.contains(&id));
        let ranged = (first..=last).contains(&row.vmid);
        // A newborn has no name yet for up to ten seconds, so it may be anybody.
        let nameless = row.name.is_none() && !scope.names.is_empty();
        row.kind == GuestKind::Vm && (scope.every || marked || named || asked || ranged || nameless)
    };
    rows.values().filter(is_candidate).cloned().collect()
}

enum Candidate {
    Machine { row: GuestRow, machine: Box<ObservedMachine> },
    Unreadable(u32, String),
    Gone(u32),
}

async fn read_candidates(
    inner: &Arc<Inner>,
    nodes: &BTreeMap<NodeName, bool>,
    rows: Vec<GuestRow>,
) -> Vec<Candidate> {
    let shared = (Arc::clone(inner), Arc::new(nodes.clone()));
    gather(inner.client.reads_max, rows, move |row| {
        let (inner, nodes) = shared.clone();
        async move {
            if nodes.get(row.node.as_str()).copied().unwrap_or(false) {
                read_candidate(&inner, row).await
            } else {
                Candidate::Unreadable(row.vmid, format!("node `{}` is not online", row.node))
            }
        }
    })
    .await
}

async fn read_candidate(inner: &Inner, mut row: GuestRow) -> Candidate {
    let vmid = row.vmid;
    let mut answer = look::config(&inner.client, &row.node, vmid).await;
    if answer.as_ref().is_err_and(CallError::is_missing_guest) {
        // It moved or went since the listing: look once more where it is now.
        match look::resources(&inner.client, Some("vm")).await {
            Ok(mut now) => match now.guests.remove(&vmid) {
                Some(now) if now.kind == GuestKind::Vm => row = now,
                Some(_) | None => return Candidate::Gone(vmid),
            },
            Err(error) => return Candidate::Unreadable(vmid, joined(&error)),
        }
        answer = look::config(&inner.client, &row.node, vmid).await;
    }
    match answer {
        Ok(config) => match look::unfinished_birth(&config) {
            Some(_) if Bug::StrayBirthIsAbsent.is_planted() => Candidate::Gone(vmid),
            Some(why) => Candidate::Unreadable(vmid, why),
            None => {
                let machine = translate::machine(inner.project.as_ref(), &row, &config);
                Candidate::Machine { row, machine: Box::new(machine) }
            }
        },
        Err(error) => Candidate::Unreadable(vmid, joined(&error)),
    }
}

fn take_candidates(
    inventory: &mut HypervisorInventory,
    listed: &mut BTreeMap<u32, Listed>,
    ours: Option<&ProjectName>,
    read: Vec<Candidate>,
) {
    for candidate in read {
        match candidate {
            Candidate::Machine { machine, .. }
                if Bug::SecondBearerOverlooked.is_planted()
                    && is_second(&inventory.machines, &machine) => {}
            Candidate::Machine { row, mut machine } => {
                let stage = machine.marker.found().map(|marker| marker.stage);
                if Bug::UnfinishedIsNobodys.is_planted() && stage == Some(Stage::New) {
                    machine.marker = MarkerState::None;
                }
                if Bug::MovedIsTakenOver.is_planted() {
                    take_over(listed, &mut machine);
                }
                listed.insert(row.vmid, translate::listed(ours, &row));
                inventory.machines.insert(row.id(), *machine);
            }
            Candidate::Unreadable(vmid, _) if Bug::UnreadableIsAbsent.is_planted() => {
                listed.remove(&vmid);
            }
            Candidate::Unreadable(vmid, why) => {
                inventory.unreadable.insert(NativeId::from(vmid.to_string()), why);
            }
            Candidate::Gone(vmid) => {
                listed.remove(&vmid);
                inventory.notes.push(format!("machine {vmid} went while it was being read"));
            }
        }
    }
}

/// For a planted bug: whether another machine names the same key.
fn is_second(all: &BTreeMap<NativeId, ObservedMachine>, machine: &ObservedMachine) -> bool {
    let whose = |it: &ObservedMachine| {
        it.marker.found().map(|marker| (marker.project.clone(), marker.key.clone()))
    };
    whose(machine).is_some_and(|key| all.values().any(|it| whose(it) == Some(key.clone())))
}

/// For a planted bug: a machine whose old id is gone counts as what it was.
fn take_over(listed: &BTreeMap<u32, Listed>, machine: &mut ObservedMachine) {
    let MarkerState::Found(marker) = &mut machine.marker else { return };
    let old = marker.id.as_ref().and_then(|it| it.as_str().parse::<u32>().ok());
    if marker.uuid == machine.uuid && old.is_some_and(|it| !listed.contains_key(&it)) {
        marker.id = Some(machine.id.clone());
    }
}

/// Members come from the listing; a pool of ours is asked for itself, because only
/// its own answer tells of members that are not guests.
async fn read_pools(
    inner: &Arc<Inner>,
    scope: &Scope,
    head: &Head,
) -> BTreeMap<Name, ObservedPool> {
    let project = scope.project.as_ref().or(inner.project.as_ref());
    let mut pools = BTreeMap::new();
    let mut close = Vec::new();
    for row in &head.pools {
        let guests = head.resources.guests.values();
        let members = guests.filter(|guest| guest.pool.as_ref() == Some(&row.poolid));
        let pool = translate::pool(look::comment(row), members.map(GuestRow::id).collect(), false);
        let ours = pool.marker.found().is_some_and(|marker| Some(&marker.project) == project);
        if ours || scope.names.contains(&row.poolid) {
            close.push(row.poolid.clone());
        }
        pools.insert(Name::from(row.poolid.as_str()), pool);
    }
    let shared = Arc::clone(inner);
    let answers = gather(inner.client.reads_max, close, move |name| {
        let inner = Arc::clone(&shared);
        async move {
            let answer = look::pool(&inner.client, &name).await;
            (Name::from(name), answer)
        }
    })
    .await;
    for (name, answer) in answers {
        match answer {
            Ok(Some(row)) => drop(pools.insert(name, look::observed_pool(&row))),
            Ok(None) => drop(pools.remove(&name)),
            // Not knowing what else is in it must not read as empty.
            Err(_) => {
                if let Some(pool) = pools.get_mut(&name) {
                    pool.other_members = true;
                }
            }
        }
    }
    pools
}

/// Who is in no list of the cluster yet is a member all the same: its pool says so.
fn fill_in_pools(inventory: &mut HypervisorInventory) {
    for (name, pool) in &inventory.pools {
        for id in &pool.members {
            if let Some(row) = inventory.listed.get_mut(id) {
                row.pool.get_or_insert_with(|| name.clone());
            }
            if let Some(machine) = inventory.machines.get_mut(id) {
                machine.spec.pool.get_or_insert_with(|| name.clone());
                if let Some(next) = &mut machine.next {
                    next.pool.get_or_insert_with(|| name.clone());
                }
            }
        }
    }
}

fn observed_nodes(
    rows: &[wire::Resource],
    nodes: &BTreeMap<NodeName, bool>,
    mut networks: BTreeMap<NodeName, BTreeSet<String>>,
) -> BTreeMap<NodeName, ObservedNode> {
    let observed = |(name, online): (&NodeName, &bool)| {
        let row = rows.iter().find(|row| row.node.as_deref() == Some(name.as_str()));
        let node = ObservedNode {
            spreads: false,
            online: *online,
            cpus: row.and_then(|row| row.maxcpu?.small()).unwrap_or_default(),
            memory: Bytes(row.and_then(|row| row.maxmem).map_or(0, |number| number.0)),
            networks: networks.remove(name),
        };
        (name.clone(), node)
    };
    nodes.iter().map(observed).collect()
}

fn observed_storage(row: &wire::Resource) -> Option<ObservedStorage> {
    let content = row.content.as_deref().unwrap_or_default();
    Some(ObservedStorage {
        name: row.storage.as_deref()?.into(),
        node: row.node.as_deref()?.into(),
        shared: row.shared.is_some_and(|flag| flag.0),
        holds_disks: content.split(',').any(|kind| kind.trim() == "images"),
        active: row.status.as_deref() == Some("available"),
        total: Bytes(row.maxdisk.map_or(0, |number| number.0)),
        used: Bytes(row.disk.map_or(0, |number| number.0)),
        promised: None,
    })
}

/// Which of the wanted ISO images exist: one call for each storage they lie on, on
/// one node that has it.
async fn find_isos(
    inner: &Arc<Inner>,
    scope: &Scope,
    nodes: &BTreeMap<NodeName, bool>,
    inventory: &mut HypervisorInventory,
) {
    let storages: BTreeSet<&str> =
        scope.isos.iter().filter_map(|iso| iso.split_once(':')).map(|(name, _)| name).collect();
    let mut asks = Vec::new();
    for storage in storages {
        let usable = |row: &&ObservedStorage| {
            let online = nodes.get(&row.node).copied().unwrap_or(false);
            row.name.as_str() == storage && row.active && online
        };
        match inventory.storages.iter().find(usable) {
            Some(row) => asks.push((storage.to_owned(), row.node.clone())),
            None => inventory.notes.push(format!("no node offers storage `{storage}`")),
        }
    }
    let shared = Arc::clone(inner);
    let answers = gather(inner.client.reads_max, asks, move |(storage, node)| {
        let inner = Arc::clone(&shared);
        async move {
            let (at, of) = (segment(node.as_str()), segment(&storage));
            let path = format!("/nodes/{at}/storage/{of}/content");
            let answer = inner.client.get::<Vec<wire::Volume>>(&path, &[("content", "iso")]).await;
            (storage, answer)
        }
    })
    .await;
    for (storage, answer) in answers {
        match answer {
            Ok(rows) => {
                let found = rows.into_iter().map(|row| row.volid);
                inventory.isos.extend(found.filter(|volid| scope.isos.contains(volid)));
            }
            Err(error) => inventory
                .notes
                .push(format!("could not list images on `{storage}`: {}", joined(&error))),
        }
    }
}

/// Asks the product itself about ids that creation would like to have, when the
/// listing proves nothing.
async fn ask_pinned(inner: &Arc<Inner>, scope: &Scope, inventory: &mut HypervisorInventory) {
    let unseen = scope.pinned.iter().filter(|id| !inventory.listed.contains_key(*id));
    let ids: Vec<u32> = unseen.filter_map(|id| id.as_str().parse().ok()).collect();
    let shared = Arc::clone(inner);
    let answers = gather(inner.client.reads_max, ids, move |id| {
        let inner = Arc::clone(&shared);
        async move { (id, look::is_free(&inner.client, id).await) }
    })
    .await;
    for (id, answer) in answers {
        match answer {
            Ok(true) => {
                inventory.free_ids.insert(NativeId::from(id.to_string()));
            }
            Ok(false) => {}
            Err(error) => {
                inventory.notes.push(format!("could not ask about id {id}: {}", joined(&error)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_keep_their_order_and_no_more_than_the_limit_run_at_once() {
        let (running, most) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
        let seen = Arc::clone(&most);
        let answers = gather(3, (0..20).collect(), move |item: u64| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                let now = {
                    let mut running = running.lock().unwrap();
                    *running += 1;
                    *running
                };
                let highest = (*most.lock().unwrap()).max(now);
                *most.lock().unwrap() = highest;
                for _ in 0..20 - item {
                    tokio::task::yield_now().await;
                }
                *running.lock().unwrap() -= 1;
                item * 2
            }
        })
        .await;
        assert_eq!(answers, (0..20).map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(*seen.lock().unwrap(), 3);
    }

    #[test]
    fn a_storage_row_says_whether_it_takes_disks() {
        let row = |content: &str| {
            let json = serde_json::json!({
                "type": "storage", "storage": "local", "node": "pve1", "status": "available",
                "content": content, "shared": "1", "maxdisk": 100, "disk": "40"
            });
            observed_storage(&serde_json::from_value(json).unwrap()).unwrap()
        };
        assert!(row("rootdir,images").holds_disks && !row("iso,vztmpl").holds_disks);
        let storage = row("images");
        assert!(storage.shared && storage.active);
        assert_eq!((storage.total, storage.used), (Bytes(100), Bytes(40)));
    }
}

//! One inventory of a vCenter: one read of everything in pages, one of the rights, and one
//! of the machines that somebody asks about.
//!
//! Nothing here is an error to the caller: what could not be learnt becomes a gap, an
//! unreadable machine, or an inventory that says why it is empty.

use super::{
    access,
    chains::Folders,
    customize,
    devices::{datastore_in, devices_of},
    places::{Places, unescape},
    provider::Inner,
    rights::{self, Permissions, Sight},
    translate::{Reader, id_of, machine_ref, marker_of, unreadable},
    vim::{MoRef, Node, collect::ObjectContent},
};
use crate::{
    model::{
        Coverage, HypervisorInventory, Listed, MarkerState, Name, NativeId, ObservedMachine,
        ObservedPool, ProviderError, Scope,
    },
    planted::Bug,
    provider::failure,
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) use crate::provider::failure::joined;

/// Names listed before the rest is counted.
const NAMES_MAX: usize = 8;

/// An inventory, or one that says why there is none.
pub(super) async fn observe(inner: &Inner, scope: &Scope) -> HypervisorInventory {
    failure::inventory(try_observe(inner, scope).await)
}

async fn try_observe(inner: &Inner, scope: &Scope) -> Result<HypervisorInventory, ProviderError> {
    inner.confirm_identity().await?;
    let (places, machines) = inner.look("read the inventory").await?;
    let permissions = rights::permissions(inner, &places.root_roles).await?;
    let mut sight = rights::sight(inner, &places.root_roles, &permissions).await?;
    let shown: BTreeSet<&MoRef> = machines.objects.iter().map(|it| &it.obj).collect();
    let unseen: Vec<MoRef> =
        places.on_hosts.iter().filter(|it| !shown.contains(it)).cloned().collect();
    let hidden = rights::hidden(inner, &unseen).await?;
    if hidden > 0 && sight == Sight::Whole {
        sight = Sight::Partial {
            why: format!("hosts have {hidden} machines that are kept from the account"),
            help: "look for permissions that take `System.Read` away from it, or from a group \
                   that it is in"
                .to_owned(),
        };
    }
    let reader = inner.reader(&places);
    let service = inner.client.service().await;
    let service = service.map_err(|error| error.into_provider("ask which vCenter answers"))?;
    let mut inventory = HypervisorInventory {
        coverage: coverage(&places, &machines.objects, &sight),
        version: service.full_name.clone(),
        identity: service.instance_uuid.clone(),
        listed: machines.objects.iter().map(|it| (id_of(it), reader.listed(it))).collect(),
        machines: BTreeMap::new(),
        unreadable: BTreeMap::new(),
        pools: BTreeMap::new(),
        spreads: inner.spreads(&places, &machines.objects, "read the rules").await?.0,
        nodes: places.observed_nodes(),
        storages: places.observed_storages(),
        isos: scope.isos.iter().filter(|iso| is_reachable(&places, iso)).cloned().collect(),
        free_ids: BTreeSet::new(),
        hung_on: BTreeMap::new(),
        kept_setups: customize::kept_setups(inner).await,
        notes: places.datacenter(inner.datacenter.as_deref()).err().into_iter().collect(),
    };
    inventory.pools =
        pools(inner, &places, &machines.objects, &inventory.listed, &permissions).await?;
    let asked = candidates(&reader, scope, &machines.objects, &inventory.listed);
    take_machines(inner, &reader, &asked, &mut inventory).await?;
    take_labels(inner, &mut inventory).await;
    let unlisted = unlisted(inner, scope, &inventory).await?;
    if !unlisted.is_empty() {
        inventory.coverage = lessened(&inventory.coverage, unlisted);
    }
    Ok(inventory)
}

/// Machines that somebody knows by their id, that are in no list, and are there all the
/// same. A permission that hides one from the account is itself told only to those who see
/// the machine; but one that is hidden is refused when it is asked for by its id, and one
/// that is gone does not exist.
async fn unlisted(
    inner: &Inner,
    scope: &Scope,
    inventory: &HypervisorInventory,
) -> Result<Vec<String>, ProviderError> {
    let known = |id: &&NativeId| !inventory.listed.contains_key(*id);
    let asked: Vec<MoRef> = scope.ids.iter().filter(known).map(machine_ref).collect();
    if asked.is_empty() || Bug::HiddenRowIgnored.is_planted() {
        return Ok(Vec::new());
    }
    let none = BTreeSet::new();
    let found = inner.machines(&asked, &none, "read machines that are in no list").await?;
    let words = |object: &ObjectContent| {
        let why = unreadable(object).unwrap_or_else(|| "the list is older".to_owned());
        format!("{} exists, and is in no list: {why}", object.obj)
    };
    Ok(found.iter().map(words).collect())
}

/// What is left of a coverage when machines are there that no list shows.
fn lessened(coverage: &Coverage, unlisted: Vec<String>) -> Coverage {
    match coverage {
        Coverage::Complete => Coverage::Scoped {
            why: unlisted.join("; "),
            help: "look for permissions that take `System.Read` away from the account".to_owned(),
        },
        Coverage::Incomplete { gaps } => {
            Coverage::Incomplete { gaps: gaps.iter().cloned().chain(unlisted).collect() }
        }
        Coverage::Scoped { .. } | Coverage::Failed { .. } => coverage.clone(),
    }
}

/// How far the absence of a machine can be believed.
fn coverage(places: &Places, machines: &[ObjectContent], sight: &Sight) -> Coverage {
    let mut gaps = places.gaps.clone();
    let ignored = Bug::MissingIgnored.is_planted();
    let blind = machines.iter().filter(|it| !it.missing.is_empty() && !ignored);
    let blind: Vec<&ObjectContent> = blind.collect();
    for object in blind.iter().take(NAMES_MAX) {
        let why = unreadable(object).unwrap_or_default();
        gaps.push(format!("{}: {why}", object.obj));
    }
    if let Some(more) = blind.len().checked_sub(NAMES_MAX).filter(|more| *more > 0) {
        gaps.push(format!("and {more} machines more"));
    }
    if !gaps.is_empty() {
        return Coverage::Incomplete { gaps };
    }
    match sight {
        Sight::Whole => Coverage::Complete,
        Sight::Partial { why, help } => Coverage::Scoped { why: why.clone(), help: help.clone() },
    }
}

/// Which machines are read in full: whatever may be ours, and what a configuration names.
fn candidates<'a>(
    reader: &Reader<'_>,
    scope: &Scope,
    machines: &'a [ObjectContent],
    listed: &BTreeMap<NativeId, Listed>,
) -> Vec<&'a ObjectContent> {
    let is_asked = |object: &&ObjectContent| {
        let id = id_of(object);
        let Some(row) = listed.get(&id) else { return false };
        let named = row.name.as_ref().is_some_and(|name| scope.names.contains(name));
        let wanted = scope.ids.contains(&id) || scope.templates.contains(&id);
        let template = row.template
            && row.name.as_ref().is_some_and(|name| scope.template_names.contains(name));
        let marked = match marker_of(object) {
            MarkerState::None => false,
            // Whose a marker is that cannot be read, nobody knows. One of another project
            // is looked at too: its addresses and names are taken.
            MarkerState::Garbled(_) | MarkerState::Found(_) => true,
        };
        // Where our machines are made, one that says nothing of itself may be ours under
        // another name. Elsewhere it would block all births for somebody else's ruin.
        let mute = || unreadable(object).is_some() && reader.is_in_our_folders(object);
        scope.every || marked || named || wanted || template || mute()
    };
    machines.iter().filter(is_asked).collect()
}

async fn take_machines(
    inner: &Inner,
    reader: &Reader<'_>,
    asked: &[&ObjectContent],
    inventory: &mut HypervisorInventory,
) -> Result<(), ProviderError> {
    // Those of entries that declare free keys are read apart, so that nobody else's are.
    let (mut readable, mut keyed) = (Vec::new(), Vec::new());
    let mut declared = BTreeSet::new();
    for object in asked {
        match unreadable(object) {
            Some(why) => {
                inventory.unreadable.insert(id_of(object), why);
            }
            None => {
                let marker = marker_of(object);
                let own = marker.found().map(|it| inner.declared(&it.key)).unwrap_or_default();
                let into = if own.is_empty() { &mut readable } else { &mut keyed };
                into.push(object.obj.clone());
                declared.extend(own);
            }
        }
    }
    let mut found = Vec::new();
    for (of, keys) in [(&readable, &BTreeSet::new()), (&keyed, &declared)] {
        if !of.is_empty() {
            found.extend(inner.machines(of, keys, "read the machines").await?);
        }
    }
    let mut folders: Vec<(NativeId, String, Folders)> = Vec::new();
    for object in found {
        let name = object.props.get("name").map_or("", |name| name.text.as_str());
        folders.push((id_of(&object), unescape(name), Folders::of(devices_of(&object))));
        let id = id_of(&object);
        match unreadable(&object) {
            Some(why) => {
                inventory.unreadable.insert(id, why);
            }
            None => {
                inventory.machines.insert(id, reader.machine(&object));
            }
        }
    }
    inventory.hung_on = hung_on(&folders);
    // One that went between the two reads is gone from both, or it would look like one
    // that was listed and could not be read.
    for reference in readable.iter().chain(&keyed) {
        let id = NativeId::from(reference.value.as_str());
        if !inventory.machines.contains_key(&id) && !inventory.unreadable.contains_key(&id) {
            inventory.listed.remove(&id);
        }
    }
    Ok(())
}

/// What machines bear that may be declared to bear labels, and what templates do, of which
/// a clone may be born with them. Where that cannot be told, nothing is said of the machine:
/// a label that was not read must not look like one that is missing.
async fn take_labels(inner: &Inner, inventory: &mut HypervisorInventory) {
    if !inner.tagging.is_used() {
        return;
    }
    let labelled = |machine: &ObservedMachine| {
        machine.marker.found().is_some_and(|marker| {
            Some(&marker.project) == inner.project.as_ref() && inner.tagging.is_about(&marker.key)
        })
    };
    let asked: Vec<NativeId> = inventory
        .machines
        .values()
        .filter(|it| it.template || labelled(it))
        .map(|it| it.id.clone())
        .collect();
    let references: Vec<MoRef> = asked.iter().map(machine_ref).collect();
    match inner.tagging.look(&references, None).await {
        Ok(seen) => {
            for id in asked {
                if let Some(machine) = inventory.machines.get_mut(&id) {
                    let entry = machine.marker.found().map(|marker| marker.key.clone());
                    seen.tell(machine, entry.filter(|_| labelled(machine)).as_ref());
                }
            }
        }
        Err(error) => {
            let why = format!("its labels cannot be read: {}", joined(&error));
            for id in asked {
                if inventory.machines.get(&id).is_some_and(&labelled) {
                    inventory.machines.remove(&id);
                    inventory.unreadable.insert(id, why.clone());
                }
            }
            inventory.notes.push(format!("labels cannot be read: {}", joined(&error)));
        }
    }
}

/// Who goes on from whom, as far as both were read in full.
fn hung_on(machines: &[(NativeId, String, Folders)]) -> BTreeMap<NativeId, BTreeSet<String>> {
    let mut owners: BTreeMap<&str, Vec<&NativeId>> = BTreeMap::new();
    for (id, _, folders) in machines {
        for folder in &folders.own {
            owners.entry(folder).or_default().push(id);
        }
    }
    let mut found: BTreeMap<NativeId, BTreeSet<String>> = BTreeMap::new();
    for (id, name, folders) in machines {
        let from = folders.borrowed.iter().filter_map(|it| owners.get(it.as_str()));
        for owner in from.flatten().filter(|owner| **owner != id) {
            found.entry((*owner).clone()).or_default().insert(name.clone());
        }
    }
    found
}

/// Pools that the configuration names or that bear our mark, with what is in them and what is
/// granted on them. Why one cannot be completed is asked only when something of one is missing.
async fn pools(
    inner: &Inner,
    places: &Places,
    machines: &[ObjectContent],
    listed: &BTreeMap<NativeId, Listed>,
    permissions: &Permissions,
) -> Result<BTreeMap<Name, ObservedPool>, ProviderError> {
    // Without a pool in the configuration and without a value that could be a mark, the
    // definitions say nothing.
    if inner.pools.is_empty() && places.with_customs().next().is_none() {
        return Ok(BTreeMap::new());
    }
    let attributes = inner.attributes("read the custom attributes").await?;
    let reader = inner.pool_reader(places, &attributes);
    let mut found = reader.all();
    let inside = inside(machines);
    for (id, row) in listed {
        if let Some(pool) = row.pool.as_ref().and_then(|name| found.get_mut(name)) {
            pool.members.insert(id.clone());
        }
    }
    for pool in found.values_mut() {
        for (part, seen) in pool.parts.iter_mut().filter(|(part, _)| part.kind.is_own()) {
            let Some(id) = seen.id.as_ref().filter(|_| seen.marker.found().is_some()) else {
                continue;
            };
            let object = super::pools::reference(part.kind, id);
            let inside = inside.get(&object).map_or(&[][..], Vec::as_slice);
            pool.other_members |= !places.is_childless(&object);
            seen.empty &= inside.is_empty();
            pool.members.extend(inside.iter().cloned());
        }
    }
    let lacks = |pool: &ObservedPool| {
        pool.parts.iter().any(|(part, it)| part.kind.is_own() && it.named && it.id.is_none())
    };
    if found.values().any(lacks) || access::is_asked_for(inner, &found, permissions) {
        let rights = rights::on_root(inner).await?;
        for pool in found.values_mut() {
            reader.hinder(pool, &rights.roles, &rights.held);
        }
        access::take(inner, places, &mut found, permissions, &rights).await?;
    }
    Ok(found)
}

/// Which machines are right in each folder and each resource pool.
fn inside(machines: &[ObjectContent]) -> BTreeMap<MoRef, Vec<NativeId>> {
    let mut found: BTreeMap<MoRef, Vec<NativeId>> = BTreeMap::new();
    for machine in machines {
        for path in ["parent", "resourcePool"] {
            if let Some(object) = machine.props.get(path).and_then(Node::as_moref) {
                found.entry(object).or_default().push(id_of(machine));
            }
        }
    }
    found
}

/// Whether an ISO may be there: its datastore is. The file itself is looked for by the
/// product when the drive is set.
fn is_reachable(places: &Places, iso: &str) -> bool {
    datastore_in(iso).is_some_and(|name| places.datastore(name.as_str()).is_some())
}

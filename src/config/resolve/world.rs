//! What machines refer to: hypervisors, networks, images, service plans, pools.

use super::grants;
use super::hypervisors;
use super::images::{Image, image};
use super::places::Places;
use super::products::check_at;
use super::table::Table;
use crate::config::decode::{Cx, Keyed, Lenient};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{
    RawConfig, RawHypervisor, RawImage, RawNetwork, RawPolicy, RawPool, RawPoolAt, RawServicePlan,
    RawUser,
};
use crate::config::scalar::{Name, Percent, Spanned};
use crate::config::source::{DataFile, DataRef};
use crate::model::{
    DesiredPool, HypervisorConfig, HypervisorName, Policy, PoolBinding, ResourceKey,
};
use std::collections::BTreeMap;

/// The sections that machines refer to.
#[derive(Debug)]
pub struct World {
    /// Where machines can be.
    pub hypervisors: Table<HypervisorConfig>,
    /// What cards are plugged into.
    pub networks: Table<RawNetwork>,
    /// What machines are born from.
    pub images: Table<Image>,
    /// Sizes with a name.
    pub plans: Table<RawServicePlan>,
    /// Those who can be granted something.
    pub users: Table<RawUser>,
    /// Groups.
    pub pools: Table<RawPool>,
}

/// Reads all sections that machines refer to, and checks what they say about hypervisors.
pub fn read(
    raw: &RawConfig,
    hypervisors: &Table<RawHypervisor>,
    data: &BTreeMap<DataRef, DataFile>,
    places: &Places<'_>,
    cx: &mut Cx<'_>,
) -> World {
    let settings = hypervisors::settings(hypervisors, data, places, cx);
    let networks = Table::read("network", "unknown-network", &raw.networks, cx);
    let images: Table<RawImage> = Table::read("image", "unknown-image", &raw.images, cx);
    let plans = Table::read("service plan", "unknown-plan", &raw.plans, cx);
    let pools: Table<RawPool> = Table::read("pool", "unknown-pool", &raw.pools, cx);
    let users: Table<RawUser> = Table::read("user", "unknown-user", &raw.users, cx);
    for item in users.iter().filter_map(|(_, item)| item.value.as_ref()) {
        check_at(&item.at, hypervisors, cx);
    }
    grants::check_users(&users, hypervisors, cx);
    for item in networks.iter().filter_map(|(_, item)| item.value.as_ref()) {
        check_network(item, cx);
        check_at(&item.at, hypervisors, cx);
    }
    for item in images.iter().filter_map(|(_, item)| item.value.as_ref()) {
        check_at(&item.at, hypervisors, cx);
    }
    for item in pools.iter().filter_map(|(_, item)| item.value.as_ref()) {
        check_at(&item.at, hypervisors, cx);
    }
    let images = images.map(|_, key, raw| Some(image(raw, key, hypervisors, cx)));
    World { hypervisors: settings, networks, images, plans, users, pools }
}

fn check_network(network: &RawNetwork, cx: &mut Cx<'_>) {
    if let (Some(cidr), Some(gateway)) = (&network.cidr, &network.gateway)
        && !cidr.contains(&gateway.value)
    {
        let message = format!("the gateway {} is not in {}", gateway.value, cidr.value);
        cx.push(
            Diagnostic::error("address-outside", gateway.span, message)
                .related(cidr.span, "the network"),
        );
    }
}

/// Pools as they are desired.
pub fn desired_pools(
    world: &World,
    hypervisors: &Table<RawHypervisor>,
    places: &Places<'_>,
    cx: &mut Cx<'_>,
) -> BTreeMap<ResourceKey, DesiredPool> {
    let around = grants::Around { users: &world.users, hypervisors, places };
    let binding = |pool: &Name, (name, there): (&Name, &Keyed<Lenient<RawPoolAt>>)| {
        let settings = world.hypervisors.get(name.as_str())?.value.as_ref()?;
        let said = there.value.0.as_ref()?;
        let binding = match settings {
            HypervisorConfig::Proxmox(_) => PoolBinding::Named,
            HypervisorConfig::Vcenter(_) => vcenter_binding(pool, said),
        };
        Some((HypervisorName::new(name.shared()), binding))
    };
    let desired = world.pools.iter().filter_map(|(name, item)| {
        let raw = item.value.as_ref()?;
        let key = ResourceKey::pool(name.clone());
        let at = raw.at.0.iter().filter_map(|it| binding(name, it)).collect();
        let comment = raw.comment.as_ref().map(|comment| comment.value.clone());
        let acl = grants::acl(raw, around, cx);
        Some((key.clone(), DesiredPool { key, comment, at, acl, place: places.at(item.key) }))
    });
    desired.collect()
}

/// Where a pool is on a vCenter. What says nothing is called like the pool, both of it.
fn vcenter_binding(pool: &Name, said: &RawPoolAt) -> PoolBinding {
    let folder = said.folder.as_ref().map(|it| it.as_str().to_owned());
    let resource_pool = said.resource_pool.as_ref().map(|it| it.as_str().to_owned());
    if folder.is_none() && resource_pool.is_none() {
        return PoolBinding::Vcenter {
            folder: Some(pool.to_string()),
            // With a slash: another of that name, further down, is another's.
            resource_pool: Some(format!("/{pool}")),
        };
    }
    PoolBinding::Vcenter { folder, resource_pool }
}

/// Rules as they are desired; what is not written keeps its default.
pub fn policy(raw: Option<&RawPolicy>, cx: &mut Cx<'_>) -> Policy {
    let mut policy = Policy::default();
    let Some(raw) = raw else { return policy };
    if let Some(budgets) = &raw.budgets {
        let set = |field: &mut u32, written: Option<u32>| *field = written.unwrap_or(*field);
        set(&mut policy.budgets.deletes, budgets.deletes);
        set(&mut policy.budgets.replaces, budgets.replaces);
        set(&mut policy.budgets.restarts, budgets.restarts);
        set(&mut policy.budgets.changes, budgets.changes);
    }
    if let Some(capacity) = &raw.capacity {
        let overcommit = capacity.cpu_overcommit.and_then(|count| u32::try_from(count.0).ok());
        policy.cpu_overcommit = overcommit.unwrap_or(policy.cpu_overcommit);
        let headroom = |field: &mut u8, written: &Option<Spanned<Percent>>, cx: &mut Cx<'_>| {
            let Some(share) = written else { return };
            match u8::try_from(share.value.0).ok().filter(|&percent| percent < 100) {
                Some(percent) => *field = percent,
                None => {
                    let message = format!("with {} free, nothing could be placed", share.value);
                    cx.push(Diagnostic::error("invalid-value", share.span, message));
                }
            }
        };
        headroom(&mut policy.memory_headroom_percent, &capacity.memory_headroom, cx);
        headroom(&mut policy.disk_headroom_percent, &capacity.disk_headroom, cx);
    }
    policy.name_pattern = raw.name_pattern.as_ref().map(|pattern| pattern.value.clone());
    policy
}

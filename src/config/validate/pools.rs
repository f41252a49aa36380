//! Pools against each other: of two at one place, nobody could say whose member a machine is.

use crate::config::decode::Cx;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::resolve::Outcome;
use crate::model::{HypervisorConfig, HypervisorName, Name, PoolBinding, ResourceKey};
use std::collections::BTreeMap;

/// Reports every pool that is where another one is.
pub(super) fn check(outcome: &Outcome, cx: &mut Cx<'_>) {
    let mut taken: BTreeMap<(HypervisorName, String, String), (&Name, Span)> = BTreeMap::new();
    for (name, item) in outcome.world.pools.iter() {
        let (Some(raw), Some(desired)) =
            (&item.value, outcome.pools.get(&ResourceKey::pool(name.clone())))
        else {
            continue;
        };
        for (hypervisor, there) in &raw.at.0 {
            let Some(place) = place(outcome, hypervisor, desired.at.get(hypervisor.as_str()))
            else {
                continue;
            };
            let key = (HypervisorName::new(hypervisor.shared()), place.0, place.1);
            let Some((other, span)) = taken.insert(key, (name, there.key)) else { continue };
            let message = format!(
                "pool `{name}` has the folder and the resource pool of pool `{other}` on \
                 `{hypervisor}`"
            );
            let problem = Diagnostic::error("duplicate-pool", there.key, message);
            cx.push(
                problem
                    .related(span, format!("pool `{other}` has them here"))
                    .help("give one of them another folder, or another resource pool"),
            );
        }
    }
}

/// Folder and resource pool, as the product compares them: without regard to case.
fn place(
    outcome: &Outcome,
    hypervisor: &Name,
    binding: Option<&PoolBinding>,
) -> Option<(String, String)> {
    let PoolBinding::Vcenter { folder, resource_pool } = binding? else { return None };
    let settings = outcome.world.hypervisors.get(hypervisor.as_str())?.value.as_ref()?;
    let HypervisorConfig::Vcenter(config) = settings else { return None };
    let folder = folder.as_ref().or(config.folder.as_ref());
    let plain = |text: Option<&String>| {
        text.map(|it| it.trim_matches('/').to_lowercase()).unwrap_or_default()
    };
    Some((plain(folder), plain(resource_pool.as_ref())))
}

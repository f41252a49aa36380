//! Asks every hypervisor at once, and keeps what could not be learnt.
//!
//! A hypervisor that did not answer stays in the result as `Failed`: leaving it out
//! would make all of its machines look deleted. How many requests one of them gets at
//! a time is its provider's business.

use crate::{
    clock::Clock,
    model::{
        DesiredState, FailureKind, History, HypervisorInventory, HypervisorName, Inventory, Medium,
        Scope,
    },
    provider::Provider,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// What one hypervisor may take for all of an observation before the others stop
/// waiting for it. Long enough for ten thousand machines over a slow line.
const OBSERVATION_MAX: Duration = Duration::from_secs(600);

/// Observes all hypervisors concurrently.
pub async fn collect(
    providers: &BTreeMap<HypervisorName, Arc<dyn Provider>>,
    scopes: &BTreeMap<HypervisorName, Scope>,
    clock: &Clock,
) -> Inventory {
    let empty = Scope::default();
    let mut tasks = Vec::new();
    for (name, provider) in providers {
        let (name, provider) = (name.clone(), Arc::clone(provider));
        let scope = scopes.get(&name).unwrap_or(&empty).clone();
        let clock = clock.clone();
        let observation = tokio::spawn(async move {
            tokio::select! {
                seen = provider.observe(&scope) => seen,
                () = clock.sleep(OBSERVATION_MAX) => HypervisorInventory::failed(
                    format!("no complete answer within {} s", OBSERVATION_MAX.as_secs()),
                    FailureKind::Unreachable,
                ),
            }
        });
        tasks.push((name, observation));
    }
    let mut inventory = Inventory::default();
    for (name, task) in tasks {
        let seen = task.await.unwrap_or_else(|error| {
            HypervisorInventory::failed(
                format!("the observation ended with a bug: {error}"),
                FailureKind::Unreachable,
            )
        });
        inventory.hypervisors.insert(name, seen);
    }
    inventory
}

/// What each hypervisor should be looked at closely for.
pub fn scopes(desired: &DesiredState, history: &History) -> BTreeMap<HypervisorName, Scope> {
    let mut scopes: BTreeMap<HypervisorName, Scope> = desired
        .hypervisors
        .keys()
        .map(|name| {
            let scope = Scope { project: Some(desired.project.clone()), ..Scope::default() };
            (name.clone(), scope)
        })
        .collect();
    for machine in desired.machines.values() {
        let Some(scope) = scopes.get_mut(&machine.hypervisor) else { continue };
        scope.names.insert(
            machine.spec.name.clone().unwrap_or_else(|| machine.key.name.as_str().to_owned()),
        );
        scope.ids.extend(machine.wanted_id.clone());
        scope.pinned.extend(machine.wanted_id.clone());
        scope.ids.extend(machine.adopt.clone());
        scope.names.extend(machine.was.as_ref().map(|key| key.name.as_str().to_owned()));
        match machine.birth.as_ref().map(|birth| &birth.medium) {
            Some(Medium::Template { id: Some(id), .. }) => {
                scope.templates.insert(id.clone());
            }
            Some(Medium::Template { id: None, name: Some(name), .. }) => {
                scope.template_names.insert(name.clone());
            }
            Some(Medium::Iso { volume }) => {
                scope.isos.insert(volume.clone());
            }
            Some(Medium::Template { id: None, name: None, .. }) | None => {}
        }
        if let Some(crate::model::Cdrom::Iso(volume)) = &machine.spec.cdrom {
            scope.isos.insert(volume.clone());
        }
    }
    let owned = history.owned.iter().map(|it| (&it.hypervisor, &it.key, Some(&it.id)));
    let open = history.open.iter().map(|it| (&it.hypervisor, &it.key, it.id.as_ref()));
    for (hypervisor, key, id) in owned.chain(open) {
        if let Some(scope) = scopes.get_mut(hypervisor)
            && key.kind == crate::model::Kind::Vm
        {
            scope.ids.extend(id.cloned());
        }
    }
    scopes
}

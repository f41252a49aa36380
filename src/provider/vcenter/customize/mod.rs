//! Guests that the product sets up itself: what may be declared, the description that is
//! sent, and those that it keeps.

pub(super) mod check;
mod kept;
pub(super) mod spec;

use super::{
    observe::joined,
    provider::Inner,
    vim::{CallError, Node, Request, collect::Paths},
};
use crate::{
    model::{DesiredState, GuestIdentity, HypervisorName, KeptSetup, ProviderError},
    provider::checks::customization,
};
use std::collections::{BTreeMap, BTreeSet};

/// Names of the descriptions that machines of a vCenter are set up by.
pub fn declared_setups(desired: &DesiredState, name: &HypervisorName) -> BTreeSet<String> {
    let here = desired.machines.values().filter(|machine| machine.hypervisor == *name);
    let named = here.filter_map(|machine| match &customization(&machine.spec)?.identity {
        GuestIdentity::Kept(name) => Some(name.clone()),
        GuestIdentity::Windows(_) => None,
    });
    named.collect()
}

/// The descriptions that the configuration names, as far as they are there. One that cannot
/// be read is there, and of no use: only those who need it are stopped by that.
pub(super) async fn kept_setups(inner: &Inner) -> BTreeMap<String, KeptSetup> {
    let mut found = BTreeMap::new();
    if inner.setups.is_empty() {
        return found;
    }
    let operation = "read the customization specs";
    let key = own_key(inner, operation).await;
    for name in &inner.setups {
        let setup = match (read(inner, name, operation).await, &key) {
            (Ok(Some(item)), Ok(key)) => kept::setup(&item, key.as_deref()),
            (Ok(None), _) => continue,
            (Err(error), _) => unreadable(&error),
            (Ok(Some(_)), Err(error)) => unreadable(error),
        };
        found.insert(name.clone(), setup);
    }
    found
}

fn unreadable(error: &ProviderError) -> KeptSetup {
    KeptSetup { os: None, unfit: Some(joined(error)) }
}

/// One description with what is said of it; none when there is none of that name.
pub(super) async fn read(
    inner: &Inner,
    name: &str,
    operation: &str,
) -> Result<Option<Node>, ProviderError> {
    let spell = |error: CallError| error.into_provider(operation);
    let service = inner.client.service().await.map_err(spell)?;
    let this = service.part("customizationSpecManager").map_err(spell)?;
    let args = [("name", name.into())];
    let method = "GetCustomizationSpec";
    let request = Request { method, this: &this, args: &args, operation: Some(operation) };
    match inner.client.read(&request).await {
        Ok(answer) => Ok(answer.into_returned()),
        Err(error) if error.fault().is_some_and(|it| it.kind.name() == "NotFound") => Ok(None),
        Err(error) => Err(spell(error)),
    }
}

/// The key that this vCenter encrypts passwords with.
async fn own_key(inner: &Inner, operation: &str) -> Result<Option<String>, ProviderError> {
    let spell = |error: CallError| error.into_provider(operation);
    let service = inner.client.service().await.map_err(spell)?;
    let this = service.part("customizationSpecManager").map_err(spell)?;
    let paths = Paths::of("CustomizationSpecManager", &["encryptionKey"]);
    let read = inner.client.properties(std::slice::from_ref(&this), &paths, operation).await;
    let read = read.map_err(spell)?;
    let key = read.objects.first().and_then(|object| object.props.get("encryptionKey"));
    Ok(kept::key_text(key.into_iter()))
}

//! Choices that another may have taken since the plan: proved again right before
//! the first call.

use super::{
    Cause, Context, Halt,
    limits::{LISTING_AGE_MAX, READ_TRIES},
    site::{Newer, Site, Survey, must_be_read},
    words,
};
use crate::model::{
    Action, Bytes, Claim, FreshObject, HypervisorInventory, Listed, Listing, NativeId, NodeName,
    ResourceKey, Target,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

/// Proves every claim of an action, or says which one is lost. `ours` tells that the
/// object at the target is ours already, so that its own id and name are no obstacle.
pub(super) async fn prove(
    ctx: &Context,
    site: &Site,
    action: &Action,
    target: &Target,
    ours: bool,
) -> Result<(), Halt> {
    if action.claims.is_empty() {
        return Ok(());
    }
    let oldest = ctx.clock.monotonic().saturating_sub(LISTING_AGE_MAX);
    let mut newer = Newer { tick: 0, time: oldest };
    let mut asked_anew = false;
    let mut wait = Duration::from_millis(500);
    for last in (0..READ_TRIES).map(|tried| tried + 1 == READ_TRIES) {
        let survey = site.survey(ctx, newer).await.map_err(|error| Halt::provider(&error))?;
        match judge(ctx, site, action, target, ours, &survey).await? {
            Found::AllHold => return Ok(()),
            // A listing that is a few seconds old may still show what a predecessor
            // in this very run has freed, so a loss needs a listing of its own.
            Found::Lost(why) if asked_anew => {
                return Err(Halt::Stale(why));
            }
            Found::Lost(_) => {}
            Found::CannotTell(why) if last => {
                return Err(Halt::Failed { text: why, cause: Cause::Other });
            }
            Found::CannotTell(_) => {
                ctx.pause(wait).await;
                wait = wait.saturating_mul(2);
            }
        }
        (newer.tick, asked_anew) = (site.tick(), true);
    }
    Err(Halt::failed("its claims could not be proved"))
}

enum Found {
    AllHold,
    Lost(String),
    CannotTell(String),
}

async fn judge(
    ctx: &Context,
    site: &Site,
    action: &Action,
    target: &Target,
    ours: bool,
    survey: &Arc<Survey>,
) -> Result<Found, Halt> {
    let listing = &survey.listing;
    if !listing.gaps.is_empty() {
        return Ok(Found::CannotTell(format!(
            "the listing is not whole: {}",
            listing.gaps.join("; ")
        )));
    }
    let then = ctx.inventory.hypervisors.get(&site.name);
    for claim in &action.claims {
        let found = match claim {
            Claim::Id(id) => {
                let mine = ours && Some(id) == target.id();
                let taken = listing.guests.contains_key(id) && !mine;
                taken.then(|| Found::Lost(format!("id {id} is taken")))
            }
            Claim::Name(name) => listing
                .guests
                .iter()
                .find(|(id, row)| Some(*id) != target.id() && row.name_key() == Some(name.as_str()))
                .map(|(id, _)| Found::Lost(format!("the name `{name}` is taken by {id}"))),
            Claim::Node(node) => (!listing.online.contains(node))
                .then(|| Found::Lost(format!("host {node} is not online"))),
            Claim::Address(address) => {
                address_taken(ctx, site, then, target, *address, survey).await?
            }
            Claim::Capacity { node, memory } => room(ctx, site, then, node, *memory, listing),
        };
        if let Some(found) = found {
            return Ok(found);
        }
    }
    Ok(Found::AllHold)
}

/// Looks for an address on guests that the plan did not read. Those that it read
/// were judged there, and those that this run made were told apart by the plan.
async fn address_taken(
    ctx: &Context,
    site: &Site,
    then: Option<&HypervisorInventory>,
    target: &Target,
    address: IpAddr,
    survey: &Arc<Survey>,
) -> Result<Option<Found>, Halt> {
    for (id, row) in &survey.listing.guests {
        if Some(id) == target.id()
            || site.made_here(id).is_some()
            || !must_be_read(ctx, then, &target.key, None, id, row)
        {
            continue;
        }
        let seen = site
            .look(ctx, survey, &target.key, id)
            .await
            .map_err(|error| Halt::failed(words(&error)))?;
        match seen.as_ref() {
            FreshObject::Machine(machine) if machine.addresses.contains(&address) => {
                return Ok(Some(Found::Lost(format!("address {address} is taken by {id}"))));
            }
            FreshObject::Unreadable(why) => {
                return Ok(Some(Found::CannotTell(format!(
                    "whether {address} is free cannot be told: {id} cannot be read: {why}"
                ))));
            }
            FreshObject::Machine(_)
            | FreshObject::Pool(_)
            | FreshObject::Spread(_)
            | FreshObject::Absent => {}
        }
    }
    Ok(None)
}

/// Whether a host became too full since the plan. The plan's own sum is not done
/// again: only what others added counts against what the plan left.
fn room(
    ctx: &Context,
    site: &Site,
    then: Option<&HypervisorInventory>,
    node: &NodeName,
    memory: Bytes,
    listing: &Listing,
) -> Option<Found> {
    let then = then?;
    let usable = ctx.plan.body.policy.memory_limit(then.nodes.get(node)?.memory);
    let planned: Vec<(&Action, u64)> = ctx
        .plan
        .body
        .actions
        .iter()
        .filter(|action| action.hypervisor == site.name)
        .filter_map(|action| {
            let wanted = action.claims.iter().find_map(|claim| match claim {
                Claim::Capacity { node: on, memory } if on == node => Some(memory.0),
                Claim::Capacity { .. }
                | Claim::Id(_)
                | Claim::Name(_)
                | Claim::Node(_)
                | Claim::Address(_) => None,
            })?;
            Some((action, wanted))
        })
        .collect();
    // What this run has made of them by now is known by its entry, where the product
    // chose the id.
    let births: BTreeSet<&NativeId> =
        planned.iter().filter_map(|(action, _)| action.native_id.as_ref()).collect();
    let keys: BTreeSet<&ResourceKey> = planned.iter().map(|(action, _)| &action.key).collect();
    let is_birth = |id: &NativeId| {
        births.contains(id) || site.made_here(id).is_some_and(|key| keys.contains(&key))
    };
    let used = |guests: &BTreeMap<NativeId, Listed>| -> u64 {
        guests
            .iter()
            .filter(|(id, row)| row.node.as_ref() == Some(node) && !is_birth(id))
            .filter(|(_, row)| row.takes_room())
            .map(|(_, row)| row.memory.map_or(0, |memory| memory.0))
            .sum()
    };
    let (now, before) = (used(&listing.guests), used(&then.listed));
    let wanted: u64 = planned.iter().map(|(_, memory)| memory).sum::<u64>().max(memory.0);
    (now > before && now.saturating_add(wanted) > usable).then(|| {
        Found::Lost(format!("host {node} has no room left for {memory}: it became fuller since"))
    })
}

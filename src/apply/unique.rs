//! At most one started machine per key: before a machine is called ready, every
//! other object that could bear its key is looked at.

use super::{
    Context, Halt,
    limits::LISTING_AGE_MAX,
    site::{Newer, Site, must_be_read},
};
use crate::{
    model::{
        FreshObject, Listed, LockKind, MarkerState, NativeId, ObservedMachine, ProjectName,
        ResourceKey, Target,
    },
    ownership::{Binding, binding},
};
use std::time::Duration;

/// Another object with our key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Other {
    pub(super) id: NativeId,
    /// Whether it is what its marker says.
    pub(super) binding: Binding,
}

/// What a runner does about others with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Ours is the only one.
    GoOn,
    /// Another one is complete: ours, which never ran, goes.
    Withdraw(String),
    /// It cannot be told which one should stay.
    Unsure(String),
}

/// Decides. Which of two half-made machines is older cannot be told from what
/// providers report, so that both runners stop: nobody starts anything.
pub(super) fn judge(others: &[Other], made_here: bool) -> Verdict {
    let Some(first) = others.first() else { return Verdict::GoOn };
    match others.iter().find(|other| other.binding == Binding::Ready) {
        Some(ready) if made_here => {
            Verdict::Withdraw(format!("{} is complete and bears the same key", ready.id))
        }
        Some(ready) => Verdict::Unsure(format!(
            "{} bears the same key, and this run did not make its own",
            ready.id
        )),
        None => Verdict::Unsure(format!(
            "{} bears the same key, and which one is older cannot be told",
            first.id
        )),
    }
}

/// Lists, reads whatever could bear the key, and decides.
pub(super) async fn check(
    ctx: &Context,
    site: &Site,
    target: &Target,
    name: Option<&str>,
    seen_tick: u64,
    made_here: bool,
) -> Result<Verdict, Halt> {
    let deadline = ctx.clock.monotonic() + ctx.limits.lookup;
    let oldest = ctx.clock.monotonic().saturating_sub(LISTING_AGE_MAX);
    let mut newer = Newer { tick: seen_tick, time: oldest };
    let mut wait = Duration::from_millis(250);
    loop {
        let survey = site.survey(ctx, newer).await.map_err(|error| Halt::provider(&error))?;
        // A listing that does not show our own machine is too old to show others.
        let obstacle = if !survey.listing.gaps.is_empty() {
            Some(format!("the listing is not whole: {}", survey.listing.gaps.join("; ")))
        } else if !target.id().is_some_and(|id| survey.listing.guests.contains_key(id)) {
            Some(format!("the listing does not show {} yet", target.at))
        } else {
            None
        };
        let found = match obstacle {
            Some(why) => Err(why),
            None => {
                others(ctx, site, target, name, &survey.listing.guests, |id| {
                    let survey = survey.clone();
                    async move { site.look(ctx, &survey, &target.key, &id).await }
                })
                .await?
            }
        };
        match found {
            Ok(others) => return Ok(judge(&others, made_here)),
            Err(why) if ctx.clock.monotonic() >= deadline || ctx.stop.detached() => {
                return Ok(Verdict::Unsure(format!(
                    "whether another machine bears the same key cannot be told: {why}"
                )));
            }
            Err(_) => {
                ctx.pause(wait).await;
                wait = (wait * 2).min(Duration::from_secs(5));
                newer.tick = site.tick();
            }
        }
    }
}

/// The others of one listing, or what cannot be told yet.
async fn others<F, R>(
    ctx: &Context,
    site: &Site,
    target: &Target,
    name: Option<&str>,
    guests: &std::collections::BTreeMap<NativeId, Listed>,
    look: F,
) -> Result<Result<Vec<Other>, String>, Halt>
where
    F: Fn(NativeId) -> R,
    R: Future<Output = Result<std::sync::Arc<FreshObject>, crate::model::ProviderError>>,
{
    let then = ctx.inventory.hypervisors.get(&site.name);
    let project = &ctx.plan.body.project;
    let mut found = Vec::new();
    for (id, row) in guests {
        // What this run made and saw for another key needs no second look.
        let known = site.made_here(id).is_some_and(|key| key != target.key);
        if Some(id) == target.id() || known || !must_be_read(ctx, then, &target.key, name, id, row)
        {
            continue;
        }
        let seen = look(id.clone()).await.map_err(|error| Halt::provider(&error))?;
        match seen.as_ref() {
            FreshObject::Absent | FreshObject::Pool(_) | FreshObject::Spread(_) => {}
            FreshObject::Unreadable(why) => return Ok(Err(format!("{id} cannot be read: {why}"))),
            FreshObject::Machine(machine) => match bears(project, &target.key, machine) {
                Bears::Yes => found.push(Other {
                    id: id.clone(),
                    binding: binding(project, &target.key, machine, ctx.marker_key.as_ref()),
                }),
                Bears::No => {}
                Bears::NotYet => {
                    return Ok(Err(format!("{id} is being made and has no marker yet")));
                }
            },
        }
    }
    Ok(Ok(found))
}

enum Bears {
    Yes,
    No,
    /// It is being born and its notes are not written yet.
    NotYet,
}

fn bears(project: &ProjectName, key: &ResourceKey, machine: &ObservedMachine) -> Bears {
    match &machine.marker {
        MarkerState::Found(marker) if marker.project == *project && marker.key == *key => {
            Bears::Yes
        }
        MarkerState::Found(_) => Bears::No,
        // A damaged marker that names our key could be a machine of ours.
        MarkerState::Garbled(text) => {
            let mut words = text.split_whitespace();
            let wanted = format!("key={key}");
            if words.any(|word| word == wanted) { Bears::Yes } else { Bears::No }
        }
        // Other locks (a backup) say nothing of whose it is.
        MarkerState::None if is_being_born(machine) => Bears::NotYet,
        MarkerState::None => Bears::No,
    }
}

fn is_being_born(machine: &ObservedMachine) -> bool {
    machine.lock.as_ref().is_some_and(|lock| lock.kind == LockKind::Birth)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(binding: Binding) -> Other {
        Other { id: "200".into(), binding }
    }

    #[test]
    fn only_a_complete_other_makes_us_withdraw_and_only_what_we_made() {
        assert_eq!(judge(&[], true), Verdict::GoOn);
        assert!(matches!(judge(&[other(Binding::Ready)], true), Verdict::Withdraw(_)));
        assert!(matches!(judge(&[other(Binding::Ready)], false), Verdict::Unsure(_)));
        for binding in [Binding::New, Binding::Deleting, Binding::NotOurs("copy".into())] {
            assert!(matches!(judge(&[other(binding)], true), Verdict::Unsure(_)));
        }
    }
}

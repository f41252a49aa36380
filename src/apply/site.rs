//! One hypervisor during a run: its provider, its follower of tasks, the listing
//! that actions share, and what this run made there.

use super::{Context, limits::READ_TRIES, poller::Poller};
use crate::planted::Bug;
use crate::{
    model::{
        Fresh, FreshObject, GuestKind, HypervisorInventory, HypervisorName, Listed, Listing,
        NativeId, ObservedMachine, ProviderError, ResourceKey, Retry, Target,
    },
    provider::Provider,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OnceCell, Semaphore};

/// One hypervisor.
pub(super) struct Site {
    pub(super) name: HypervisorName,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) poller: Poller,
    clones: Mutex<BTreeMap<NativeId, Arc<Semaphore>>>,
    made_here: Mutex<BTreeMap<NativeId, ResourceKey>>,
    trails: Mutex<BTreeMap<NativeId, Trail>>,
    /// Orders "our machine was seen" and "a listing began" without a clock, which
    /// could stand still or jump between the two.
    ticks: AtomicU64,
    survey: tokio::sync::Mutex<Option<Arc<Survey>>>,
}

/// What actions of this run have done to one object: how it was before the first of
/// them, and how the last one left it.
#[derive(Clone)]
pub(super) struct Trail {
    pub(super) before: FreshObject,
    pub(super) after: FreshObject,
}

/// One listing, with the guests that were read because of it.
pub(super) struct Survey {
    pub(super) listing: Listing,
    began_tick: u64,
    began: Duration,
    reads: Mutex<BTreeMap<NativeId, Arc<OnceCell<Arc<FreshObject>>>>>,
}

/// How new a listing must be: begun after a tick, and not before a time of the run's
/// stopwatch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newer {
    pub(super) tick: u64,
    pub(super) time: Duration,
}

impl Survey {
    fn is(&self, newer: Newer) -> bool {
        self.began_tick > newer.tick && self.began >= newer.time
    }
}

impl Site {
    pub(super) fn new(name: HypervisorName, provider: Arc<dyn Provider>, poller: Poller) -> Self {
        Self {
            name,
            provider,
            poller,
            clones: Mutex::default(),
            made_here: Mutex::default(),
            trails: Mutex::default(),
            ticks: AtomicU64::new(1),
            survey: tokio::sync::Mutex::default(),
        }
    }

    /// Now, in an order that all actions on this hypervisor share.
    pub(super) fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    /// The slots for clones of one template.
    pub(super) fn clone_slots(&self, template: &NativeId, count: usize) -> Arc<Semaphore> {
        let mut all = lock(&self.clones);
        all.entry(template.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(count.max(1))))
            .clone()
    }

    /// Remembers that this run made an object, after seeing it.
    pub(super) fn note_made(&self, id: &NativeId, key: &ResourceKey) {
        lock(&self.made_here).insert(id.clone(), key.clone());
    }

    /// Forgets it again, after seeing that it is gone.
    pub(super) fn note_gone(&self, id: &NativeId) {
        lock(&self.made_here).remove(id);
    }

    /// Which entry this run made there.
    pub(super) fn made_here(&self, id: &NativeId) -> Option<ResourceKey> {
        lock(&self.made_here).get(id).cloned()
    }

    /// Remembers how an action of this run left an object, so that the next action on
    /// it can tell our own changes from somebody else's.
    pub(super) fn note_trail(&self, id: &NativeId, before: FreshObject, after: FreshObject) {
        let mut trails = lock(&self.trails);
        let before = trails.remove(id).map_or(before, |trail| trail.before);
        trails.insert(id.clone(), Trail { before, after });
    }

    /// What actions of this run have done to an object.
    pub(super) fn trail(&self, id: &NativeId) -> Option<Trail> {
        lock(&self.trails).get(id).cloned()
    }

    /// A listing that is new enough: the shared one, or another, made once for all
    /// who wait for it.
    pub(super) async fn survey(
        &self,
        ctx: &Context,
        newer: Newer,
    ) -> Result<Arc<Survey>, ProviderError> {
        let mut shared = self.survey.lock().await;
        if let Some(survey) = shared.as_ref().filter(|survey| survey.is(newer)) {
            return Ok(survey.clone());
        }
        let mut tries = 0;
        loop {
            let (began_tick, began) = (self.tick(), ctx.clock.monotonic());
            match self.provider.list().await {
                Ok(listing) => {
                    let reads = Mutex::default();
                    let survey = Arc::new(Survey { listing, began_tick, began, reads });
                    *shared = Some(survey.clone());
                    return Ok(survey);
                }
                Err(error) => tries = again(ctx, tries, error).await?,
            }
        }
    }

    /// One guest of a survey, read once for all who ask.
    pub(super) async fn look(
        &self,
        ctx: &Context,
        survey: &Survey,
        key: &ResourceKey,
        id: &NativeId,
    ) -> Result<Arc<FreshObject>, ProviderError> {
        let cell = lock(&survey.reads).entry(id.clone()).or_default().clone();
        let node = survey.listing.guests.get(id).and_then(|row| row.node.clone());
        let target = Target::with_id(key.clone(), id.clone(), node);
        cell.get_or_try_init(|| async { Ok(Arc::new(self.read(ctx, &target).await?.object)) })
            .await
            .cloned()
    }

    /// One object from its own place, tried again while that can help.
    pub(super) async fn read(
        &self,
        ctx: &Context,
        target: &Target,
    ) -> Result<Fresh, ProviderError> {
        let mut tries = 0;
        loop {
            match self.provider.read(target).await {
                Ok(fresh) => return Ok(fresh),
                Err(error) => tries = again(ctx, tries, error).await?,
            }
        }
    }
}

/// Waits before another try, or gives the error back.
async fn again(ctx: &Context, tries: u32, error: ProviderError) -> Result<u32, ProviderError> {
    let wait = match error.retry {
        Retry::No => return Err(error),
        Retry::Now => Duration::from_millis(100 << tries.min(6)),
        Retry::After(wait) => wait.min(Duration::from_secs(30)),
    };
    if tries + 1 >= READ_TRIES || ctx.stop.detached() {
        return Err(error);
    }
    ctx.pause(wait).await;
    Ok(tries + 1)
}

/// Whether a guest has to be read to know whether it bears our key. What the plan's
/// inventory read in full, and what still looks the same, was judged there.
pub(super) fn must_be_read(
    ctx: &Context,
    then: Option<&HypervisorInventory>,
    key: &ResourceKey,
    name: Option<&str>,
    id: &NativeId,
    now: &Listed,
) -> bool {
    if Bug::TwinNotSeen.strikes(id.as_str()) {
        return false;
    }
    // A container never bears the key of a machine.
    if now.guest == GuestKind::Container {
        return false;
    }
    let Some(then) = then else { return true };
    let Some(was) = then.listed.get(id) else { return true };
    let looks_different =
        was.name != now.name || was.guest != now.guest || was.template != now.template;
    let ours = Some(&ctx.plan.body.project);
    let read_then = then.machines.get(id);
    let newly_marked =
        now.marked.as_ref() == ours && (was.marked.as_ref() != ours || read_then.is_none());
    let named_us = read_then.is_some_and(|machine| names(ctx, machine, key));
    let bears_name = name.is_some() && now.name_key() == name;
    looks_different || newly_marked || named_us || bears_name || then.unreadable.contains_key(id)
}

fn names(ctx: &Context, machine: &ObservedMachine, key: &ResourceKey) -> bool {
    machine
        .marker
        .found()
        .is_some_and(|marker| marker.project == ctx.plan.body.project && marker.key == *key)
}

/// A lock that outlives a panic elsewhere: the maps behind it are valid at every step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

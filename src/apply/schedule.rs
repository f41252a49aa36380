//! The run itself: which action is next, and what follows from its end.

use super::{
    ActionReport, Cause, Context, Ended, Event, Halt, Inputs, RunSummary,
    action::Job,
    poller::{Patience, Poller},
    site::Site,
};
use crate::{
    model::{Action, ActionId, HypervisorName, StepOp},
    store::ActionState,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};
use tokio::task::{Id, JoinSet};

/// Carries out a plan. Never an error: whatever happens is in the summary.
pub async fn run(inputs: Inputs) -> RunSummary {
    let providers = inputs.providers.clone();
    let patience = Patience {
        task: inputs.limits.task,
        drain: inputs.limits.drain,
        stop: inputs.stop.clone(),
    };
    let sites = providers
        .into_iter()
        .map(|(name, provider)| {
            let poller = Poller::start(provider.clone(), inputs.clock.clone(), patience.clone());
            (name.clone(), Arc::new(Site::new(name, provider, poller)))
        })
        .collect();
    let runnable = inputs.runnable.clone();
    let ctx = Arc::new(Context {
        plan: inputs.plan,
        inventory: inputs.inventory,
        unreadable: inputs.unreadable,
        journal: inputs.journal,
        marker_key: inputs.marker_key,
        secrets: inputs.secrets,
        clock: inputs.clock,
        limits: inputs.limits,
        stop: inputs.stop,
        events: inputs.events,
        jitter_seed: inputs.jitter_seed,
        journal_error: std::sync::Mutex::default(),
    });
    Schedule::new(&ctx, sites, &runnable).run().await
}

/// What one action hands back.
struct Outcome {
    ended: Ended,
    cause: Option<Cause>,
    sent: u32,
    already_so: u32,
    notes: Vec<String>,
}

struct Schedule {
    ctx: Arc<Context>,
    sites: BTreeMap<HypervisorName, Arc<Site>>,
    actions: BTreeMap<ActionId, Arc<Action>>,
    /// Not begun, with how many predecessors are still to be done.
    pending: BTreeMap<ActionId, usize>,
    /// Of them, those whose turn it is.
    ready: BTreeMap<HypervisorName, BTreeSet<ActionId>>,
    after: BTreeMap<ActionId, BTreeSet<ActionId>>,
    reports: BTreeMap<ActionId, ActionReport>,
    running: JoinSet<Outcome>,
    by_task: HashMap<Id, ActionId>,
    on: BTreeMap<HypervisorName, usize>,
}

impl Schedule {
    fn new(
        ctx: &Arc<Context>,
        sites: BTreeMap<HypervisorName, Arc<Site>>,
        runnable: &BTreeSet<ActionId>,
    ) -> Self {
        let body = &ctx.plan.body;
        let actions: BTreeMap<_, _> =
            body.actions.iter().map(|it| (it.id.clone(), Arc::new(it.clone()))).collect();
        let mut schedule = Self {
            ctx: ctx.clone(),
            sites,
            pending: actions
                .keys()
                .filter(|id| runnable.contains(*id))
                .map(|id| (id.clone(), 0))
                .collect(),
            actions,
            ready: BTreeMap::new(),
            after: BTreeMap::new(),
            reports: BTreeMap::new(),
            running: JoinSet::new(),
            by_task: HashMap::new(),
            on: BTreeMap::new(),
        };
        for edge in &body.edges {
            let news = schedule.after.entry(edge.before.clone()).or_default();
            if news.insert(edge.after.clone())
                && let Some(open) = schedule.pending.get_mut(&edge.after)
            {
                *open += 1;
            }
        }
        for action in &body.actions {
            if !schedule.pending.contains_key(&action.id) {
                schedule.report(action, plain(Ended::Skipped("withheld".to_owned())));
            }
        }
        for (id, _) in schedule.pending.iter().filter(|(_, open)| **open == 0) {
            if let Some(action) = schedule.actions.get(id) {
                let queue = schedule.ready.entry(action.hypervisor.clone()).or_default();
                queue.insert(id.clone());
            }
        }
        schedule
    }

    async fn run(mut self) -> RunSummary {
        let mut cut_short = false;
        self.block_what_waits_for_nobody().await;
        loop {
            if self.ctx.stop.gently() || self.ctx.journal_error().is_some() {
                cut_short |= self.ctx.stop.gently() && !self.pending.is_empty();
                self.skip_rest().await;
            }
            while let Some(id) = self.next_ready() {
                self.begin(&id).await;
            }
            let stop = self.ctx.stop.clone();
            let waits_for_stop = !self.pending.is_empty() && !stop.gently();
            let joined = tokio::select! {
                joined = self.running.join_next_with_id() => joined,
                // Wakes the loop once, so that what has not begun is skipped at once.
                () = stop.either(), if waits_for_stop && !self.running.is_empty() => continue,
            };
            match joined {
                Some(joined) => self.take(joined).await,
                // What could not be begun for want of a journal is skipped above.
                None if self.ctx.journal_error().is_some() && !self.pending.is_empty() => {}
                None => break,
            }
        }
        // Nothing is ready, nothing runs, and something is left: the edges make a ring.
        for id in std::mem::take(&mut self.pending).into_keys() {
            let text = "its predecessors wait for each other".to_owned();
            self.end(&id, failed(text, Cause::Bug)).await;
        }
        self.summary(cut_short)
    }

    /// The action whose turn it is: the first by id on any hypervisor that has room.
    /// Slots are counted here and nowhere waited for, so that no action holds one
    /// while it waits for another.
    fn next_ready(&self) -> Option<ActionId> {
        // After a failed write nothing new begins; the loop skips what is left.
        if self.running.len() >= self.ctx.limits.run.max(1) || self.ctx.journal_error().is_some() {
            return None;
        }
        let has_room = |name: &HypervisorName| {
            self.on.get(name).copied().unwrap_or(0) < self.ctx.limits.writes_on(name)
        };
        let queues = self.ready.iter().filter(|(name, _)| has_room(name));
        queues.filter_map(|(_, queue)| queue.first()).min().cloned()
    }

    async fn begin(&mut self, id: &ActionId) {
        let Some(action) = self.take_pending(id) else { return };
        let hypervisor = action.hypervisor.clone();
        let Some(site) = self.sites.get(&hypervisor).cloned() else {
            let text = format!("hypervisor `{hypervisor}` is not connected");
            return self.end(id, failed(text, Cause::Other)).await;
        };
        let now_ms = self.ctx.clock.now_ms();
        let written = self.ctx.journal.action_state(id, ActionState::Running, now_ms).await;
        if let Err(error) = written {
            let halt = self.ctx.journal_broke(&error);
            return self.end(id, halted(halt)).await;
        }
        self.ctx.emit(Event::Began { action: id.clone() });
        *self.on.entry(hypervisor).or_default() += 1;
        let ctx = self.ctx.clone();
        let task = self.running.spawn(async move { carry_out(&ctx, &site, &action).await });
        self.by_task.insert(task.id(), id.clone());
    }

    async fn take(&mut self, joined: Result<(Id, Outcome), tokio::task::JoinError>) {
        let (task, outcome) = match joined {
            Ok((task, outcome)) => (task, outcome),
            // One action that breaks must not take the others with it.
            Err(error) => {
                let text = if error.is_panic() { "it broke off: a bug" } else { "it was cut off" };
                (error.id(), failed(text.to_owned(), Cause::Bug))
            }
        };
        let Some(id) = self.by_task.remove(&task) else { return };
        if let Some(action) = self.actions.get(&id)
            && let Some(busy) = self.on.get_mut(&action.hypervisor)
        {
            *busy = busy.saturating_sub(1);
        }
        self.end(&id, outcome).await;
    }

    /// Takes an action out of all queues.
    fn take_pending(&mut self, id: &ActionId) -> Option<Arc<Action>> {
        self.pending.remove(id)?;
        let action = self.actions.get(id)?.clone();
        if let Some(queue) = self.ready.get_mut(&action.hypervisor) {
            queue.remove(id);
        }
        Some(action)
    }

    /// Actions with a predecessor that is not part of this run, or of this plan.
    async fn block_what_waits_for_nobody(&mut self) {
        let absent: Vec<ActionId> =
            self.after.keys().filter(|id| !self.pending.contains_key(*id)).cloned().collect();
        for cause in absent {
            let known = self.actions.contains_key(&cause);
            let why = if known { "is not part of this run" } else { "is not in the plan" };
            self.block_after(&cause, why).await;
        }
    }

    /// Whatever comes after an action that is not done is not done either.
    async fn block_after(&mut self, cause: &ActionId, why: &str) {
        let mut causes = vec![(cause.clone(), why.to_owned())];
        while let Some((cause, why)) = causes.pop() {
            for id in self.after.get(&cause).cloned().unwrap_or_default() {
                if self.take_pending(&id).is_some() {
                    let text = format!("`{cause}` {why}");
                    self.record(&id, plain(Ended::Blocked(text))).await;
                    causes.push((id, "was not done".to_owned()));
                }
            }
        }
    }

    async fn skip_rest(&mut self) {
        let ids: Vec<ActionId> = self.pending.keys().cloned().collect();
        for id in ids {
            if self.take_pending(&id).is_none() {
                continue;
            }
            let outcome = match self.ctx.journal_error() {
                Some(text) => failed(text, Cause::Journal),
                None => plain(Ended::Skipped("the run was stopped before it began".to_owned())),
            };
            self.record(&id, outcome).await;
        }
    }

    /// What follows from the end of an action: its successors' turn, or their block.
    async fn end(&mut self, id: &ActionId, outcome: Outcome) {
        let done = outcome.ended == Ended::Done;
        self.record(id, outcome).await;
        if !done {
            return self.block_after(id, "was not done").await;
        }
        for next in self.after.get(id).into_iter().flatten() {
            let Some(open) = self.pending.get_mut(next) else { continue };
            *open = open.saturating_sub(1);
            if *open == 0
                && let Some(action) = self.actions.get(next)
            {
                let queue = self.ready.entry(action.hypervisor.clone()).or_default();
                queue.insert(next.clone());
            }
        }
    }

    async fn record(&mut self, id: &ActionId, outcome: Outcome) {
        let Some(action) = self.actions.get(id).cloned() else { return };
        let state = match &outcome.ended {
            Ended::Done => ActionState::Done,
            Ended::Failed(text) => ActionState::Failed(text.clone()),
            Ended::Blocked(text) => ActionState::Blocked(text.clone()),
            Ended::Stale(text) => ActionState::Stale(text.clone()),
            Ended::Unknown(text) => ActionState::Unknown(text.clone()),
            Ended::Skipped(text) => ActionState::Skipped(text.clone()),
        };
        let now_ms = self.ctx.clock.now_ms();
        if let Err(error) = self.ctx.journal.action_state(id, state, now_ms).await {
            let _ = self.ctx.journal_broke(&error);
        }
        self.ctx.emit(Event::Ended { action: id.clone(), ended: outcome.ended.clone() });
        self.report(&action, outcome);
    }

    fn report(&mut self, action: &Action, outcome: Outcome) {
        let Outcome { ended, cause, sent, already_so, notes } = outcome;
        self.reports.insert(
            action.id.clone(),
            ActionReport {
                id: action.id.clone(),
                key: action.key.clone(),
                hypervisor: action.hypervisor.clone(),
                ended,
                cause,
                sent,
                already_so,
                notes,
            },
        );
    }

    fn summary(mut self, cut_short: bool) -> RunSummary {
        let body = &self.ctx.plan.body;
        let envelope = &self.ctx.plan.envelope;
        let blocked = body.blocked.iter().filter(|it| envelope.covers_key(&it.key));
        let actions: Vec<ActionReport> =
            body.actions.iter().filter_map(|action| self.reports.remove(&action.id)).collect();
        let broken_off = actions.iter().any(|it| it.cause == Some(Cause::Interrupted));
        let detached = self.ctx.stop.detached()
            && actions.iter().any(|it| matches!(it.ended, Ended::Unknown(_)));
        RunSummary {
            interrupted: (cut_short || broken_off || detached).then(|| self.ctx.stop.signal()),
            blocked_in_plan: u32::try_from(blocked.count()).unwrap_or(u32::MAX),
            journal_error: self.ctx.journal_error(),
            actions,
        }
    }
}

fn plain(ended: Ended) -> Outcome {
    Outcome { ended, cause: None, sent: 0, already_so: 0, notes: Vec::new() }
}

fn failed(text: String, cause: Cause) -> Outcome {
    Outcome { cause: Some(cause), ..plain(Ended::Failed(text)) }
}

async fn carry_out(ctx: &Context, site: &Site, action: &Action) -> Outcome {
    let mut job = match Job::new(ctx, site, action) {
        Ok(job) => job,
        Err(halt) => return halted(halt),
    };
    let result = job.run().await;
    let would_start = action.steps.iter().any(|step| step.op == StepOp::Start);
    if result.is_err() && job.took_down && would_start {
        job.note("the guest was shut down and has not been started again");
    }
    let outcome = match result {
        Ok(()) => plain(Ended::Done),
        Err(halt) => halted(halt),
    };
    Outcome { sent: job.sent, already_so: job.already_so, notes: job.notes, ..outcome }
}

fn halted(halt: Halt) -> Outcome {
    match halt {
        Halt::Failed { text, cause } => failed(text, cause),
        Halt::Stale(text) => plain(Ended::Stale(text)),
        Halt::Unknown(text) => plain(Ended::Unknown(text)),
    }
}

//! What became of a call that left: followed, looked up, and verified by looking at
//! the object. The object outweighs whatever a task says.

use super::{
    Halt,
    action::{Job, read_failed},
    call::Next,
    expect::{object_digest, undone},
    limits::VERIFY_TRIES,
    ours::Ours,
    poller::Followed,
};
use crate::planted::Bug;
use crate::{
    model::{
        At, Fresh, FreshObject, Intent, Located, Owner, Receipt, Refusal, Step, StepOp, TaskRef,
        TaskState, Wait,
    },
    store::{DurableIntent, StepOutcome},
};
use std::time::Duration;

/// What is known of a call that left.
pub(super) enum Phase {
    Follow(TaskRef),
    LookUp(String),
    Arrived(Receipt),
    TaskFailed(Refusal),
}

impl Job<'_> {
    /// Follows a call that left until it is known what became of it.
    pub(super) async fn pursue(
        &mut self,
        step: &Step,
        op: &StepOp,
        durable: &DurableIntent,
        mut phase: Phase,
    ) -> Result<Next, Halt> {
        let until = self.ctx.clock.monotonic() + self.ctx.limits.lookup;
        let mut task = None;
        loop {
            phase = match phase {
                Phase::Follow(followed) => {
                    let next = self.follow(&followed).await?;
                    task = Some(followed);
                    next
                }
                Phase::LookUp(why) => {
                    match self.look_up(step, op, durable, task.clone(), &why, until).await? {
                        Some(phase) => phase,
                        None => return Ok(Next::Again),
                    }
                }
                Phase::Arrived(receipt) => {
                    self.arrived(op, receipt);
                    return self.verify(step, op, durable, None).await;
                }
                // The product says that it did nothing: as if it had refused at once.
                Phase::TaskFailed(refusal) if refusal.kind.leaves_all_as_it_was() => {
                    return Ok(Next::Refused(refusal));
                }
                Phase::TaskFailed(refusal) => {
                    return self.verify(step, op, durable, Some(refusal.text)).await;
                }
            };
        }
    }

    /// Takes up what came back with a call: where we do not choose the id, a birth tells it.
    fn arrived(&mut self, op: &StepOp, receipt: Receipt) {
        self.notes.extend(receipt.notes);
        if let (StepOp::MakePart { part }, Some(id)) = (op, &receipt.id) {
            self.made_parts.insert(part.clone(), id.clone());
        }
        if let (Some(id), At::Birth(_), true) = (receipt.id, &self.target.at, op.is_birth()) {
            self.target.at = At::Id(id);
        }
    }

    async fn follow(&self, task: &TaskRef) -> Result<Phase, Halt> {
        // Detaching leaves the row open: `resume` asks about it later.
        let detached =
            || Halt::Unknown(format!("task `{}` was still going when the run was left", task.0));
        let ended = tokio::select! {
            biased;
            () = self.ctx.stop.detach.cancelled() => return Err(detached()),
            ended = self.site.poller.finish(task.clone()) => ended,
        };
        Ok(match ended {
            Followed::TooLong => return Err(detached()),
            Followed::Ended(TaskState::Done(receipt)) => Phase::Arrived(receipt),
            Followed::Ended(TaskState::Failed(refusal)) => Phase::TaskFailed(refusal),
            Followed::Ended(TaskState::Queued | TaskState::Running) => {
                Phase::LookUp("its task is neither running nor ended".to_owned())
            }
            Followed::Ended(TaskState::Unknown(why)) => Phase::LookUp(why),
        })
    }

    /// Asks what became of a call. `None`: it did not happen, and that is proved.
    pub(super) async fn look_up(
        &mut self,
        step: &Step,
        op: &StepOp,
        durable: &DurableIntent,
        task: Option<TaskRef>,
        why: &str,
        mut until: Duration,
    ) -> Result<Option<Phase>, Halt> {
        let clock = self.ctx.clock.clone();
        let intent = Intent { task, ..durable.intent().clone() };
        let mut wait = Duration::from_millis(250);
        let mut why = why.to_owned();
        let mut draining = false;
        loop {
            if self.ctx.stop.detached() {
                return Err(Halt::Unknown(format!("the run was left before it was known: {why}")));
            }
            match self.site.provider.locate(&intent).await {
                Located::Running(task) => {
                    // Found again after its state could not be told: not at once, or
                    // the two would take turns without a pause.
                    self.ctx.pause(wait).await;
                    self.accepted(durable, &task).await;
                    if clock.monotonic() < until {
                        return Ok(Some(Phase::Follow(task)));
                    }
                    "its task runs and cannot be followed".clone_into(&mut why);
                }
                Located::Happened(receipt) => return Ok(Some(Phase::Arrived(receipt))),
                Located::DidNotHappen(proof) => {
                    self.finish(durable, StepOutcome::Refused(proof), None).await?;
                    return Ok(None);
                }
                Located::StillUnknown(still) => why = still,
            }
            if self.ctx.stop.gently() && !draining {
                draining = true;
                until = until.min(clock.monotonic() + self.ctx.limits.drain);
            }
            if clock.monotonic() >= until {
                break;
            }
            self.says_waiting(&why);
            self.ctx.pause(wait).await;
            wait = (wait * 2).min(Duration::from_secs(5));
        }
        // Where a look shows the end, it does not matter how it came about.
        if let Ok(fresh) = self.read().await
            && self.end_holds(step, op, &fresh.object)
        {
            let notes = vec![format!("its reply was lost: {why}")];
            return Ok(Some(Phase::Arrived(Receipt { id: None, notes })));
        }
        self.finish(durable, StepOutcome::Unknown(why.clone()), None).await?;
        Err(Halt::Unknown(format!("what became of `{}` cannot be told: {why}", op.name())))
    }

    /// Whether the object is ours and as the step wants it.
    pub(super) fn end_holds(&self, step: &Step, op: &StepOp, object: &FreshObject) -> bool {
        if op.part().is_some() {
            return self.part_stands(step, op, object);
        }
        let is_ours = match self.whose(object) {
            Ours::Yes { identity, .. } if op.is_birth() => identity == self.born_as(),
            Ours::Yes { identity, .. } => self.identity.as_ref() == Some(&identity),
            Ours::Absent => op.is_end(),
            Ours::No(_) => step.end.owner == Some(Owner::Nobody),
            Ours::Unreadable(_) => false,
        };
        let says_something = !step.end.is_empty() || op.is_birth() || op.is_end();
        is_ours && says_something && undone(step, op, object, self.identity.as_ref()).is_empty()
    }

    fn is_as_the_call_says(&self, step: &Step, op: &StepOp, object: &FreshObject) -> bool {
        matches!(self.whose(object), Ours::Yes { .. })
            && undone(step, op, object, self.identity.as_ref()).is_empty()
    }

    /// Looks whether a call that ended had its effect. A task that ended badly may
    /// have had it too, in whole or in part.
    async fn verify(
        &mut self,
        step: &Step,
        op: &StepOp,
        durable: &DurableIntent,
        failure: Option<String>,
    ) -> Result<Next, Halt> {
        let mut wait = Duration::from_millis(200);
        let mut last = None;
        for _ in 0..VERIFY_TRIES {
            match self.site.read(self.ctx, &self.target).await {
                Ok(fresh) => {
                    let unasked = step.end.is_empty() && failure.is_none() && !op.is_end();
                    let holds = self.end_holds(step, op, &fresh.object)
                        || (unasked && self.is_as_the_call_says(step, op, &fresh.object));
                    if holds {
                        self.finish(durable, StepOutcome::Done, object_digest(&fresh)).await?;
                        if let Some(text) = failure {
                            self.note(format!("`{}` ended with: {text}", op.name()));
                        }
                        self.reached(op, true, &fresh.object).await?;
                        return Ok(Next::Done);
                    }
                    let readable = !matches!(fresh.object, FreshObject::Unreadable(_));
                    last = Some(Ok(fresh));
                    if failure.is_some() && readable {
                        break;
                    }
                }
                Err(error) => last = Some(Err(read_failed(&error))),
            }
            if self.ctx.stop.detached() {
                break;
            }
            self.ctx.pause(wait).await;
            wait *= 2;
        }
        self.fell_short(step, op, durable, failure, last).await
    }

    /// Names what a call that ended did not bring about.
    async fn fell_short(
        &mut self,
        step: &Step,
        op: &StepOp,
        durable: &DurableIntent,
        failure: Option<String>,
        last: Option<Result<Fresh, String>>,
    ) -> Result<Next, Halt> {
        let fresh = match last {
            Some(Ok(fresh)) => fresh,
            Some(Err(why)) => {
                let why = failure.map_or(why.clone(), |text| format!("{text}; {why}"));
                self.finish(durable, StepOutcome::Unknown(why.clone()), None).await?;
                return Err(Halt::Unknown(why));
            }
            None => return Err(Halt::Unknown("it was not looked at again".to_owned())),
        };
        let after = object_digest(&fresh);
        let outcome = match &failure {
            Some(text) => StepOutcome::Refused(text.clone()),
            None => StepOutcome::Done,
        };
        self.finish(durable, outcome, after).await?;
        match self.whose(&fresh.object) {
            // Somebody else was faster: looked at, never adopted.
            Ours::No(why) if step.end.owner.is_none() => {
                return Err(Halt::Stale(format!("{} is not ours: {why}", self.target.at)));
            }
            Ours::Yes { identity, .. }
                if self.identity.as_ref().is_some_and(|pinned| *pinned != identity) =>
            {
                return Err(Halt::Stale(format!("the marker on {} changed", self.target.at)));
            }
            Ours::Yes { .. } | Ours::No(_) | Ours::Absent | Ours::Unreadable(_) => {}
        }
        if Bug::FailureIsDone.strikes(self.target.at.as_str()) {
            return Ok(Next::Done);
        }
        let missing = undone(step, op, &fresh.object, self.identity.as_ref()).join("; ");
        Err(Halt::failed(match failure {
            Some(text) if missing.is_empty() => format!("`{}` failed: {text}", op.name()),
            Some(text) => format!("`{}` failed: {text} ({missing})", op.name()),
            None => format!("`{}` ended well, but {missing}", op.name()),
        }))
    }

    /// A shutdown only asks the guest: its power is watched until the wait runs out.
    pub(super) async fn wait_for_guest(
        &mut self,
        step: &Step,
        op: &StepOp,
        durable: &DurableIntent,
        phase: Phase,
    ) -> Result<Next, Halt> {
        let Wait::PowerOff { within_s } = step.wait else {
            return self.pursue(step, op, durable, phase).await;
        };
        let clock = self.ctx.clock.clone();
        let until = clock.monotonic() + Duration::from_secs(within_s.into());
        let mut wait = Duration::from_millis(500);
        self.took_down = true;
        let mut words = String::new();
        // The product's own task of the shutdown may give up first; then waiting on
        // would be in vain.
        let site = self.site;
        let follow = async {
            match phase {
                Phase::Follow(task) => site.poller.finish(task).await,
                Phase::LookUp(_) | Phase::Arrived(_) | Phase::TaskFailed(_) => {
                    std::future::pending().await
                }
            }
        };
        tokio::pin!(follow);
        let mut task_open = true;
        loop {
            if let Ok(fresh) = self.site.read(self.ctx, &self.target).await {
                if self.end_holds(step, op, &fresh.object) {
                    self.finish(durable, StepOutcome::Done, object_digest(&fresh)).await?;
                    self.reached(op, true, &fresh.object).await?;
                    return Ok(Next::Done);
                }
                if let Ours::No(why) = self.whose(&fresh.object) {
                    self.finish(durable, StepOutcome::Done, object_digest(&fresh)).await?;
                    return Err(Halt::Stale(format!("{} is not ours: {why}", self.target.at)));
                }
            }
            if self.ctx.stop.detached() {
                return Err(Halt::Unknown("the run was left while the guest shut down".to_owned()));
            }
            if clock.monotonic() >= until || !words.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                ended = &mut follow, if task_open => {
                    task_open = false;
                    if let Followed::Ended(TaskState::Failed(refusal)) = ended {
                        words = refusal.text;
                    }
                }
                () = clock.sleep(wait) => wait = (wait * 2).min(Duration::from_secs(5)),
            }
        }
        let why = if words.is_empty() {
            format!("the guest did not shut down within {within_s} s")
        } else {
            format!("the guest did not shut down: {words}")
        };
        self.finish(durable, StepOutcome::Refused(why.clone()), None).await?;
        if step.otherwise.is_none() {
            self.took_down = false;
            return Err(Halt::failed(why));
        }
        self.note(why);
        Ok(Next::Otherwise)
    }
}

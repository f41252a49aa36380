//! One mutating call: its row in the journal, its submission, and what became of it.

use super::{
    Cause, Event, Halt, action::Job, expect::object_digest, limits::CONFLICTS_MAX, outcome::Phase,
    words,
};
use crate::planted::Bug;
use crate::{
    model::{
        ErrorKind, Fresh, FreshObject, Identity, Intent, ProviderError, Refusal, RefusalKind,
        Retry, Step, StepOp, Submitted, Target, TaskRef, Wait,
    },
    provider::{Call, GuestSecrets},
    store::{DurableIntent, StepOutcome},
};
use secrecy::ExposeSecret as _;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// What follows from a call.
#[derive(Debug)]
pub(super) enum Next {
    /// The step's end is reached.
    Done,
    /// Proved not done: look again, and perhaps send again.
    Again,
    /// The wait ran out: the step's fallback comes next.
    Otherwise,
    /// Its task was refused and changed nothing.
    Refused(Refusal),
}

/// The tries at one step.
#[derive(Default)]
pub(super) struct Trial {
    pub(super) attempt: u32,
    /// Calls that were lost on the way and proved not to have happened.
    pub(super) lost: u32,
    conflicts: u32,
    not_sent: u32,
    busy_since: Option<Duration>,
    busy_wait: Duration,
}

impl Trial {
    /// The first and only attempt.
    pub(super) fn single() -> Self {
        Self { attempt: 1, ..Self::default() }
    }

    /// Waits for a locked or busy object, longer each time, up to the bound.
    pub(super) async fn wait_busy(&mut self, job: &Job<'_>, why: &str) -> Result<(), Halt> {
        let clock = &job.ctx.clock;
        let now = clock.monotonic();
        let since = *self.busy_since.get_or_insert(now);
        if now.saturating_sub(since) >= job.ctx.limits.busy {
            return Err(Halt::failed(format!(
                "waited {} s in vain: {why}",
                job.ctx.limits.busy.as_secs()
            )));
        }
        job.says_waiting(why);
        self.busy_wait =
            (self.busy_wait * 2).clamp(Duration::from_millis(500), Duration::from_secs(10));
        job.ctx.pause(self.busy_wait).await;
        Ok(())
    }
}

impl Job<'_> {
    pub(super) async fn send(
        &mut self,
        index: usize,
        step: &Step,
        op: &StepOp,
        fallback: bool,
        fresh: &Fresh,
        trial: &mut Trial,
    ) -> Result<Next, Halt> {
        let identity = match &self.identity {
            Some(identity) if !op.is_birth() => identity.clone(),
            Some(_) | None => self.born_as(),
        };
        let intent = self.intent(index, step, op, trial.attempt, &identity);
        let durable = match self.ctx.journal.intend(intent, object_digest(fresh)).await {
            Ok(durable) => durable,
            Err(error) => return Err(self.ctx.journal_broke(&error)),
        };
        if self.ctx.stop.detached() {
            self.finish(&durable, StepOutcome::NotSent("the run was stopped".into()), None).await?;
            return Err(Halt::interrupted("the run was stopped before the call left"));
        }
        self.ctx.emit(Event::Step {
            action: self.action.id.clone(),
            number: durable.intent().step + 1,
            of: u32::try_from(self.action.steps.len()).unwrap_or(u32::MAX),
            op: op.name(),
        });
        let submitted = {
            let none = GuestSecrets::new();
            let call = Call {
                step,
                op,
                target: &self.target,
                identity: &identity,
                plan_id: &self.ctx.plan.plan_id,
                fresh,
                marker_key: self.ctx.marker_key.as_ref(),
                secrets: self.secrets.as_ref().unwrap_or(&none),
            };
            self.site.provider.submit(&call, &durable).await
        };
        let waits_for_guest = matches!(step.wait, Wait::PowerOff { .. }) && !fallback;
        let phase = match submitted {
            Submitted::Refused(refusal) => {
                return self.refused(step, op, &durable, refusal, trial).await;
            }
            Submitted::NotSent(error) => return self.not_sent(&durable, &error, trial).await,
            Submitted::Done(receipt) => Phase::Arrived(receipt),
            Submitted::Accepted(task) => {
                self.accepted(&durable, &task).await;
                Phase::Follow(task)
            }
            Submitted::Unknown(error) => Phase::LookUp(words(&error)),
        };
        if let Some(password) = self.secrets.iter().flat_map(GuestSecrets::values).next()
            && Bug::SecretNoted.strikes(self.target.at.as_str())
        {
            self.note(format!("the guest's password is {}", password.expose_secret()));
        }
        self.sent += 1;
        self.effects += 1;
        let next = if waits_for_guest {
            let until = self.ctx.clock.monotonic() + self.ctx.limits.lookup;
            let known = match phase {
                Phase::LookUp(why) => self.look_up(step, op, &durable, None, &why, until).await?,
                other => Some(other),
            };
            match known {
                Some(phase) => self.wait_for_guest(step, op, &durable, phase).await,
                None => Ok(Next::Again),
            }
        } else {
            self.pursue(step, op, &durable, phase).await
        };
        match next {
            Ok(Next::Again) => {
                trial.lost += 1;
                self.effects -= 1;
                Ok(Next::Again)
            }
            Ok(Next::Refused(refusal)) => {
                self.effects -= 1;
                self.refused(step, op, &durable, refusal, trial).await
            }
            other => other,
        }
    }

    fn intent(
        &self,
        index: usize,
        step: &Step,
        op: &StepOp,
        attempt: u32,
        identity: &Identity,
    ) -> Intent {
        let source = match op {
            StepOp::Clone(from) => Some(Target::with_id(
                self.action.key.clone(),
                from.template.clone(),
                from.template_node.clone(),
            )),
            _ => None,
        };
        Intent {
            run: self.ctx.journal.run(),
            action: self.action.id.clone(),
            step: u32::try_from(index).unwrap_or(u32::MAX),
            attempt,
            hypervisor: self.site.name.clone(),
            target: self.target.clone(),
            identity: identity.clone(),
            op: op.name().to_owned(),
            source,
            end: step.end.clone(),
            begun_ms: self.ctx.clock.now_ms(),
            task: None,
        }
    }

    async fn refused(
        &mut self,
        step: &Step,
        op: &StepOp,
        durable: &DurableIntent,
        refusal: Refusal,
        trial: &mut Trial,
    ) -> Result<Next, Halt> {
        let Refusal { kind, text } = refusal;
        let outcome = StepOutcome::Refused(text.clone());
        match kind {
            RefusalKind::Conflict => {
                self.finish(durable, outcome, None).await?;
                trial.conflicts += 1;
                if trial.conflicts > CONFLICTS_MAX {
                    return Err(Halt::failed(format!("somebody keeps changing it: {text}")));
                }
                self.ctx.pause(self.jitter(trial.conflicts)).await;
                Ok(Next::Again)
            }
            RefusalKind::Busy => {
                self.finish(durable, outcome, None).await?;
                // Waiting for a lock is no attempt at the step.
                trial.wait_busy(self, &text).await?;
                Ok(Next::Again)
            }
            // There is nothing to wait for: what comes after the wait comes now.
            RefusalKind::GuestDeaf if step.otherwise.is_some() => {
                self.finish(durable, outcome, None).await?;
                self.note(format!("the guest could not be asked to shut down: {text}"));
                Ok(Next::Otherwise)
            }
            // Look, never adopt: what is there is judged like any other birth.
            RefusalKind::Exists if op.is_birth() => {
                self.finish(durable, outcome, None).await?;
                let fresh = self.read().await?;
                if self.end_holds(step, op, &fresh.object) {
                    return Ok(Next::Again);
                }
                Err(Halt::Stale(format!("{} is taken: {text}", self.target.at)))
            }
            RefusalKind::Missing if !op.is_birth() => {
                self.finish(durable, outcome, None).await?;
                let fresh = self.read().await?;
                match fresh.object {
                    FreshObject::Absent => Ok(Next::Again),
                    FreshObject::Machine(_)
                    | FreshObject::Pool(_)
                    | FreshObject::Spread(_)
                    | FreshObject::Unreadable(_) => {
                        Err(Halt::failed(format!("`{}` was refused: {text}", op.name())))
                    }
                }
            }
            RefusalKind::Exists
            | RefusalKind::Missing
            | RefusalKind::GuestDeaf
            | RefusalKind::Permission
            | RefusalKind::Auth
            | RefusalKind::Invalid => {
                if let Ok(fresh) = self.site.read(self.ctx, &self.target).await
                    && self.end_holds(step, op, &fresh.object)
                {
                    let digest = object_digest(&fresh);
                    self.finish(durable, StepOutcome::AlreadySo, digest).await?;
                    // Two pools that need the same thing for all make it at once: one is told
                    // that it is there, which is what it wanted.
                    let shared = op.part().is_some_and(|part| !part.kind.is_own());
                    if kind != RefusalKind::Exists || !shared {
                        let op = op.name();
                        self.note(format!("`{op}` was refused, and its end holds: {text}"));
                    }
                    self.reached(op, true, &fresh.object).await?;
                    return Ok(Next::Done);
                }
                self.finish(durable, outcome, None).await?;
                let cause = if kind == RefusalKind::Auth { Cause::Auth } else { Cause::Other };
                Err(Halt::Failed { text: format!("`{}` was refused: {text}", op.name()), cause })
            }
        }
    }

    async fn not_sent(
        &mut self,
        durable: &DurableIntent,
        error: &ProviderError,
        trial: &mut Trial,
    ) -> Result<Next, Halt> {
        self.finish(durable, StepOutcome::NotSent(words(error)), None).await?;
        let wait = match error.retry {
            Retry::No => None,
            Retry::Now => Some(self.jitter(trial.not_sent + 1)),
            Retry::After(wait) => Some(wait.min(Duration::from_secs(30))),
        };
        trial.not_sent += 1;
        match wait.filter(|_| trial.not_sent <= CONFLICTS_MAX && error.kind != ErrorKind::Auth) {
            Some(wait) => {
                self.ctx.pause(wait).await;
                Ok(Next::Again)
            }
            None => Err(Halt::provider(error)),
        }
    }

    pub(super) async fn finish(
        &self,
        durable: &DurableIntent,
        outcome: StepOutcome,
        after: Option<String>,
    ) -> Result<(), Halt> {
        let now_ms = self.ctx.clock.now_ms();
        let written = self.ctx.journal.finished(durable, outcome, after, now_ms).await;
        written.map_err(|error| self.ctx.journal_broke(&error))
    }

    /// Notes the task. When that fails the task is followed all the same: it runs
    /// whether or not we watch, and only new calls need the journal.
    pub(super) async fn accepted(&self, durable: &DurableIntent, task: &TaskRef) {
        let now_ms = self.ctx.clock.now_ms();
        if let Err(error) = self.ctx.journal.accepted(durable, task, now_ms).await {
            let _ = self.ctx.journal_broke(&error);
        }
    }

    /// A pause that differs between runners and actions, and is the same for a seed.
    fn jitter(&self, nth: u32) -> Duration {
        let text = format!("{}/{}/{nth}", self.ctx.jitter_seed, self.action.id);
        let byte = Sha256::digest(text.as_bytes()).first().copied().unwrap_or_default();
        Duration::from_millis(u64::from(nth) * (50 + u64::from(byte)))
    }
}

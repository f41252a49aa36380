//! What a fresh read says of a step: already so, to be sent, to be waited for, or the
//! end of the action. Asks nobody.

use super::{
    Cause, Halt,
    action::Job,
    expect::{machine_value, pool_value, undone, unmet},
    ours::Ours,
};
use crate::{
    model::{
        Base, Fresh, FreshObject, Kind, Lock, LockKind, PowerState, Setting, Stage, Step, StepOp,
        Verb,
    },
    ownership::owns_snapshot,
    plan::{machine_base, pool_base, spread_base},
    planted::Bug,
};
use std::collections::BTreeSet;

/// What is to be done about a step, by what was just read.
pub(super) enum Judged {
    Send,
    AlreadySo,
    Wait(String),
}

impl Job<'_> {
    pub(super) fn judge(
        &mut self,
        index: usize,
        step: &Step,
        op: &StepOp,
        fresh: &Fresh,
    ) -> Result<Judged, Halt> {
        if op.is_birth() {
            return self.judge_birth(step, fresh);
        }
        if op.part().is_some() {
            return self.judge_part(op, fresh);
        }
        if let Some(owner) = &step.end.owner {
            return self.judge_owner(index, step, owner, fresh);
        }
        let (stage, identity) = match self.whose(&fresh.object) {
            // Whatever was to be done before a delete is moot when it is gone.
            Ours::Absent if self.ends_later(index) => return Ok(Judged::AlreadySo),
            Ours::Absent => return Err(Halt::Stale(format!("{} is gone", self.target.at))),
            Ours::No(_)
                if index > 0 && Bug::OwnershipProvedOnce.strikes(self.target.at.as_str()) =>
            {
                return Ok(Judged::Send);
            }
            Ours::No(why) => {
                return Err(Halt::Stale(format!("{} is not ours: {why}", self.target.at)));
            }
            Ours::Unreadable(why) => {
                return Ok(Judged::Wait(format!("{} cannot be read: {why}", self.target.at)));
            }
            Ours::Yes { stage, identity } => (stage, identity),
        };
        match &self.identity {
            Some(pinned) if *pinned != identity => {
                return Err(Halt::Stale(format!("the marker on {} changed", self.target.at)));
            }
            Some(_) => {}
            None => self.identity = Some(identity),
        }
        self.stage_allows(step, op, stage)?;
        if stage == Stage::Ready && self.is_built_by(index) {
            return Ok(Judged::AlreadySo);
        }
        let has_seed = matches!(op, StepOp::Configure(settings)
            if settings.iter().any(|it| matches!(it, Setting::Seed(_))));
        // What a half-made machine was seeded with cannot all be read back, so it is
        // seeded again; it never ran, so that does no harm.
        let must_send = stage == Stage::New && has_seed;
        let left = undone(step, op, &fresh.object, self.identity.as_ref());
        if !must_send && !step.end.is_empty() && left.is_empty() {
            return Ok(Judged::AlreadySo);
        }
        if let FreshObject::Machine(machine) = &fresh.object
            && let Some(lock) = &machine.lock
        {
            return locked(lock);
        }
        awake(op, &fresh.object)?;
        self.base_holds(index, fresh)?;
        if *op == StepOp::Delete {
            self.takes_no_more_than_planned(&fresh.object)?;
        }
        self.may_grant(op, &fresh.object)?;
        if let StepOp::RemoveSnapshot { id, .. } = op {
            self.is_own_snapshot(id, &fresh.object)?;
        }
        let missing = unmet(&step.begin, &fresh.object);
        if !missing.is_empty() {
            return Err(Halt::Stale(missing.join("; ")));
        }
        Ok(Judged::Send)
    }

    /// A delete takes every volume that hangs on the machine by then. What the plan showed as
    /// lost was read before; whatever was hung on since was shown to nobody.
    fn takes_no_more_than_planned(&self, object: &FreshObject) -> Result<(), Halt> {
        let FreshObject::Machine(now) = object else { return Ok(()) };
        let planned: BTreeSet<&str> =
            self.action.data_loss.volumes.iter().map(|it| it.volume.as_str()).collect();
        let more = now.devices.iter().filter(|it| it.kind.is_lost_with_machine());
        let more: Vec<&str> = more
            .filter_map(|it| it.volume.as_deref())
            .filter(|volume| !planned.contains(volume))
            .collect();
        match more.is_empty() {
            true => Ok(()),
            false => Err(Halt::Stale(format!(
                "{} was attached since the plan, and the delete would take it",
                more.join(", ")
            ))),
        }
    }

    /// Nothing but what was taken before one of our own changes of this very machine is
    /// removed: it is looked at again, since ids and names are other people's to give.
    fn is_own_snapshot(&self, id: &str, object: &FreshObject) -> Result<(), Halt> {
        let FreshObject::Machine(machine) = object else { return Ok(()) };
        let project = &self.ctx.plan.body.project;
        match machine.snapshots.iter().find(|it| it.id == id) {
            Some(it) if owns_snapshot(project, machine.uuid, it) => Ok(()),
            Some(it) => Err(Halt::Stale(format!("snapshot `{}` is not one of ours", it.name))),
            None => Ok(()),
        }
    }

    fn judge_birth(&mut self, step: &Step, fresh: &Fresh) -> Result<Judged, Halt> {
        let id = &self.target.at;
        if step.op.writes_stage().is_some_and(|stage| stage != Stage::New) {
            return Err(Halt::Failed {
                text: "a birth must not call the machine ready".to_owned(),
                cause: Cause::Bug,
            });
        }
        match self.whose(&fresh.object) {
            Ours::Absent => Ok(Judged::Send),
            Ours::Yes { identity, stage }
                if identity == self.born_as() && stage != Stage::Deleting =>
            {
                let missing = unmet(&step.end, &fresh.object);
                // A machine that is ready has left its birth behind.
                let lives =
                    stage == Stage::Ready && !matches!(fresh.object, FreshObject::Spread(_));
                if missing.is_empty() || lives {
                    Ok(Judged::AlreadySo)
                } else {
                    Err(Halt::failed(format!("{id} was made, but {}", missing.join("; "))))
                }
            }
            Ours::Yes { .. } => {
                Err(Halt::Stale(format!("{id} is ours already, from another plan")))
            }
            Ours::No(why) => Err(Halt::Stale(format!("{id} is taken: {why}"))),
            Ours::Unreadable(why) => {
                Err(Halt::Stale(format!("{id} is taken by something that cannot be read: {why}")))
            }
        }
    }

    /// Which stages of a life an action may touch.
    fn stage_allows(&self, step: &Step, op: &StepOp, stage: Stage) -> Result<(), Halt> {
        if matches!(self.action.key.kind, Kind::Pool | Kind::Spread) {
            return Ok(());
        }
        let id = &self.target.at;
        if Bug::DeleteUnannounced.strikes(id.as_str()) || Bug::StartedUnready.strikes(id.as_str()) {
            return Ok(());
        }
        // Where the product does not guard the delete itself, a guarded write must
        // have proved right before that this is still the machine that was read.
        if *op == StepOp::Delete && !step.guarded && stage != Stage::Deleting {
            return Err(Halt::Stale(format!("{id} is not marked as `deleting`")));
        }
        if *op == StepOp::Start && stage != Stage::Ready {
            return Err(Halt::Stale(format!(
                "{id} is `{}` and is never started before it is `ready`",
                stage.as_str()
            )));
        }
        // A machine on its way out can be called back by an entry that is back.
        let calls_back =
            self.action.steps.iter().any(|step| step.op.writes_stage() == Some(Stage::Ready));
        let allowed = match self.action.verb {
            Verb::Create | Verb::Continue => stage != Stage::Deleting,
            Verb::Update => stage == Stage::Ready || (stage == Stage::Deleting && calls_back),
            Verb::Start | Verb::Stop | Verb::Restart | Verb::Snapshot => stage == Stage::Ready,
            // What changes hands is judged by its owner.
            Verb::Replace | Verb::Delete | Verb::Adopt | Verb::Rename | Verb::Forget => true,
        };
        if allowed {
            Ok(())
        } else {
            Err(Halt::Stale(format!("{id} is `{}` by now", stage.as_str())))
        }
    }

    /// Whether this step or a later one calls the machine ready: then what comes
    /// before is done with, once it is. Doing it again could take it back.
    fn is_built_by(&self, index: usize) -> bool {
        matches!(self.action.verb, Verb::Create | Verb::Continue)
            && self
                .action
                .steps
                .iter()
                .skip(index)
                .any(|step| step.op.writes_stage() == Some(Stage::Ready))
    }

    /// Whether an object's life ends in this step or a later one, before any birth.
    pub(super) fn ends_later(&self, index: usize) -> bool {
        self.action
            .steps
            .iter()
            .skip(index)
            .take_while(|step| !step.op.is_birth())
            .any(|step| step.op.is_end())
    }

    pub(super) fn base_holds(&mut self, index: usize, fresh: &Fresh) -> Result<(), Halt> {
        if let Some(previous) = index.checked_sub(1).and_then(|at| self.action.steps.get(at)) {
            let moved = unmet(&previous.end, &fresh.object);
            if !moved.is_empty() {
                return Err(Halt::Stale(format!(
                    "somebody changed it between two steps: {}",
                    moved.join("; ")
                )));
            }
        }
        if self.effects > 0 {
            return Ok(());
        }
        let Some(base) = &self.action.base else {
            // What this plan itself brought into being has no base.
            if self.action.steps.iter().any(|step| step.op.is_birth()) {
                return Ok(());
            }
            return Err(Halt::Failed {
                text: "the plan gives no base for an object that exists".to_owned(),
                cause: Cause::Bug,
            });
        };
        let now = base_now(base, &fresh.object);
        if now.is_none() {
            return Err(Halt::Stale("it cannot be compared with the plan's base".to_owned()));
        }
        // Where an earlier action of this run changed the same object, the plan's base
        // was proved there, and nobody else may have touched it since.
        let follows_own_change = || {
            self.target.id().and_then(|id| self.site.trail(id)).is_some_and(|trail| {
                base_now(base, &trail.before).as_ref() == Some(&base.sha256)
                    && base_now(base, &trail.after) == now
            })
        };
        if now.as_ref() == Some(&base.sha256) || follows_own_change() {
            self.at_base = Some(fresh.object.clone());
            return Ok(());
        }
        let mut moved: Vec<String> = Vec::new();
        for change in &self.action.fields {
            let value = match &fresh.object {
                FreshObject::Machine(machine) => machine_value(machine, &change.field, false),
                FreshObject::Pool(pool) => pool_value(pool, &change.field),
                FreshObject::Spread(spread) => spread.value(&change.field),
                FreshObject::Absent | FreshObject::Unreadable(_) => None,
            };
            if value != change.before {
                moved.push(change.field.to_string());
            }
        }
        let what = if moved.is_empty() {
            "its marker, identity or a field that the action reads".to_owned()
        } else {
            moved.join(", ")
        };
        Err(Halt::Stale(format!("it changed since the plan: {what}")))
    }
}

/// What a lock on an object means for a step: work ends by itself, the rest does not.
pub(super) fn locked(lock: &Lock) -> Result<Judged, Halt> {
    let text = format!("it is locked ({})", lock.text);
    match lock.kind {
        LockKind::Birth | LockKind::Busy => Ok(Judged::Wait(text)),
        LockKind::NeedsPerson => Err(Halt::Failed {
            text: format!("{text}, which a person has to end"),
            cause: Cause::Other,
        }),
    }
}

/// What is suspended takes no call but one that resumes it or takes its power away; which
/// of the two it is to be is for a person to say, in the plan or by hand.
pub(super) fn awake(op: &StepOp, object: &FreshObject) -> Result<(), Halt> {
    let power = matches!(op, StepOp::Start | StepOp::Stop);
    match object {
        FreshObject::Machine(machine) if machine.power == PowerState::Suspended && !power => {
            Err(Halt::Failed {
                text: "it is suspended: resume or stop it, then plan again".to_owned(),
                cause: Cause::Other,
            })
        }
        FreshObject::Machine(_)
        | FreshObject::Pool(_)
        | FreshObject::Spread(_)
        | FreshObject::Absent
        | FreshObject::Unreadable(_) => Ok(()),
    }
}

/// The digest of an object by a base's own fields, as the plan makes it.
pub(super) fn base_now(base: &Base, object: &FreshObject) -> Option<String> {
    match object {
        FreshObject::Machine(machine) => Some(machine_base(machine, base.fields.clone()).sha256),
        FreshObject::Pool(pool) => Some(pool_base(pool).sha256),
        FreshObject::Spread(spread) => Some(spread_base(spread, base.fields.clone()).sha256),
        FreshObject::Absent | FreshObject::Unreadable(_) => None,
    }
}

//! Steps on the parts of a pool, where the product has no pool as such.
//!
//! A part is marked in a call of its own after the one that made it. Between the two anybody
//! may have made one of the same name, so a part is marked only when the product's own reply
//! to our call named it; one that a look alone shows is somebody's, and is left alone.

use super::{
    Cause, Halt,
    action::Job,
    expect::unmet,
    judge::{Judged, base_now},
    ours::part_marker,
};
use crate::model::{
    Fresh, FreshObject, GrantSeen, NativeId, PartSeen, PartState, PoolPart, RoleSeen, Step, StepOp,
};

impl Job<'_> {
    pub(super) fn judge_part(&mut self, op: &StepOp, fresh: &Fresh) -> Result<Judged, Halt> {
        let Some(part) = op.part() else {
            let text = "the step is about no part of a pool".to_owned();
            return Err(Halt::Failed { text, cause: Cause::Bug });
        };
        let seen = match &fresh.object {
            FreshObject::Pool(pool) => pool.parts.get(part),
            FreshObject::Absent => None,
            FreshObject::Unreadable(why) => {
                return Ok(Judged::Wait(format!("{} cannot be read: {why}", self.target.at)));
            }
            FreshObject::Machine(_) | FreshObject::Spread(_) => {
                return Err(Halt::Stale(format!("{} is no pool", self.target.at)));
            }
        };
        let there = seen.and_then(|it| Some((it, it.id.as_ref()?)));
        let judged = match op {
            StepOp::MakePart { .. } => self.judge_make(part, there),
            StepOp::MarkPart { .. } => self.judge_mark(part, there),
            _ => self.judge_removal(part, there),
        };
        // What is as the step would leave it asks for nothing, whoever made it so.
        if !matches!(judged, Ok(Judged::AlreadySo)) {
            self.parts_are_as_planned(fresh)?;
        }
        judged
    }

    /// Until this action has changed something, the pool is as the plan saw it.
    fn parts_are_as_planned(&self, fresh: &Fresh) -> Result<(), Halt> {
        let Some(base) = self.action.base.as_ref().filter(|_| self.effects == 0) else {
            return Ok(());
        };
        match base_now(base, &fresh.object) {
            Some(now) if now == base.sha256 => Ok(()),
            Some(_) | None => Err(Halt::Stale("its parts changed since the plan".to_owned())),
        }
    }

    fn is_our_part(&self, seen: &PartSeen) -> Result<(), String> {
        let project = &self.ctx.plan.body.project;
        let marker_key = self.ctx.marker_key.as_ref();
        part_marker(project, &self.action.key, seen, marker_key).map(|_| ())
    }

    fn judge_make(
        &self,
        part: &PoolPart,
        there: Option<(&PartSeen, &NativeId)>,
    ) -> Result<Judged, Halt> {
        match there {
            None => Ok(Judged::Send),
            Some((seen, id))
                if !part.kind.is_own()
                    || self.made_parts.get(part) == Some(id)
                    || self.is_our_part(seen).is_ok() =>
            {
                Ok(Judged::AlreadySo)
            }
            Some(_) => Err(Halt::Stale(format!("somebody made `{part}` since the plan"))),
        }
    }

    fn judge_mark(
        &self,
        part: &PoolPart,
        there: Option<(&PartSeen, &NativeId)>,
    ) -> Result<Judged, Halt> {
        let Some((seen, id)) = there else {
            return Err(Halt::Stale(format!("`{part}` is gone")));
        };
        if self.is_our_part(seen).is_ok() {
            return Ok(Judged::AlreadySo);
        }
        if self.made_parts.get(part) == Some(id) && seen.state() == PartState::There {
            return Ok(Judged::Send);
        }
        Err(Halt::Stale(format!(
            "`{part}` is there, and no reply says that this run made it: it is not marked, and \
             from the next plan on it is used for membership only"
        )))
    }

    /// Removing a part takes with it whatever is in it, so nothing may be.
    fn judge_removal(
        &self,
        part: &PoolPart,
        there: Option<(&PartSeen, &NativeId)>,
    ) -> Result<Judged, Halt> {
        let Some((seen, _)) = there else { return Ok(Judged::AlreadySo) };
        if let Err(why) = self.is_our_part(seen) {
            return Err(Halt::Stale(format!("`{part}` is not ours: {why}")));
        }
        if !seen.empty {
            return Err(Halt::Stale(format!("something is in `{part}` by now")));
        }
        Ok(Judged::Send)
    }

    /// Nothing is granted on, or taken away from, what is not ours; no role is granted that
    /// allows something else by now, and none takes the place of what others granted.
    pub(super) fn may_grant(&self, op: &StepOp, object: &FreshObject) -> Result<(), Halt> {
        let (part, granted) = match op {
            StepOp::Grant { part, grantee, role } => (part, Some((grantee, role))),
            StepOp::Revoke { part, .. } => (part, None),
            _ => return Ok(()),
        };
        let FreshObject::Pool(pool) = object else {
            return Err(Halt::Stale(format!("{} is no pool", self.target.at)));
        };
        let Some(seen) = pool.parts.get(part) else {
            return Err(Halt::Stale(format!("`{part}` is gone")));
        };
        if let Err(why) = self.is_our_part(seen) {
            return Err(Halt::Stale(format!("`{part}` is not ours: {why}")));
        }
        let Some((grantee, role)) = granted else { return Ok(()) };
        if pool.access.roles.get(role) != Some(&RoleSeen::Whole) {
            let text = format!("the role for `{role}` is not there with what it should allow");
            return Err(Halt::Stale(text));
        }
        let others = |it: &&GrantSeen| it.grantee == *grantee && it.role.is_none();
        match seen.grants.iter().find(others) {
            Some(found) => Err(Halt::Stale(format!(
                "somebody gave `{grantee}` the role `{}` on `{part}` since the plan",
                found.native
            ))),
            None => Ok(()),
        }
    }

    /// Whether a part stands as a step leaves it, and is ours where that is its end.
    pub(super) fn part_stands(&self, step: &Step, op: &StepOp, object: &FreshObject) -> bool {
        let is_ours = match (op, object) {
            (StepOp::MarkPart { part }, FreshObject::Pool(pool)) => {
                pool.parts.get(part).is_some_and(|seen| self.is_our_part(seen).is_ok())
            }
            (_, _) => true,
        };
        is_ours && unmet(&step.end, object).is_empty()
    }
}

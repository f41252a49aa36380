//! Steps that change whose a machine is: adopt, rename, forget. Before the one write the
//! object is not ours, or ours under another key, or ours and afterwards nobody's.

use super::{
    Halt,
    action::Job,
    judge::Judged,
    ours::{Ours, ours},
};
use crate::{
    model::{Fresh, FreshObject, Identity, ObservedMachine, Owner, Stage, Step, Target, Verb},
    ownership::{adoptable, intent_id},
};

impl Job<'_> {
    /// What a fresh read says of a step that ends with `owner`.
    pub(super) fn judge_owner(
        &mut self,
        index: usize,
        step: &Step,
        owner: &Owner,
        fresh: &Fresh,
    ) -> Result<Judged, Halt> {
        let id = &self.target.at;
        let machine = match &fresh.object {
            FreshObject::Machine(machine) => machine,
            FreshObject::Unreadable(why) => {
                return Ok(Judged::Wait(format!("{id} cannot be read: {why}")));
            }
            // Of what is gone there is nothing left to forget.
            FreshObject::Absent if *owner == Owner::Nobody => return Ok(Judged::AlreadySo),
            FreshObject::Absent => return Err(Halt::Stale(format!("{id} is gone"))),
            FreshObject::Pool(_) | FreshObject::Spread(_) => {
                return Err(Halt::Stale(format!("{id} is no machine")));
            }
        };
        let held = match (owner, self.whose(&fresh.object)) {
            (Owner::Nobody, _) => owner.has(machine),
            (Owner::Entry(_), Ours::Yes { stage: Stage::Ready, identity }) => {
                self.identity = Some(identity);
                true
            }
            (Owner::Entry(_), _) => false,
        };
        if held {
            return Ok(Judged::AlreadySo);
        }
        self.identity = Some(self.identity_before(step, machine, &fresh.object)?);
        if let Some(lock) = &machine.lock {
            return super::judge::locked(lock);
        }
        super::judge::awake(&step.op, &fresh.object)?;
        self.base_holds(index, fresh)?;
        let missing = super::expect::unmet(&step.begin, &fresh.object);
        if !missing.is_empty() {
            return Err(Halt::Stale(missing.join("; ")));
        }
        Ok(Judged::Send)
    }

    /// Whose the object is to be, once it is proved whose it is now.
    fn identity_before(
        &self,
        step: &Step,
        machine: &ObservedMachine,
        object: &FreshObject,
    ) -> Result<Identity, Halt> {
        let project = &self.ctx.plan.body.project;
        let (key, id) = (&self.action.key, &self.target.at);
        let marker_key = self.ctx.marker_key.as_ref();
        let not_ours = |why: String| Halt::Stale(format!("{id} is not ours: {why}"));
        match &step.begin.owner {
            Some(Owner::Entry(old)) => {
                let target = Target { key: old.clone(), ..self.target.clone() };
                match ours(project, &target, object, marker_key) {
                    Ours::Yes { identity, .. } => Ok(Identity { key: key.clone(), ..identity }),
                    Ours::No(why) => Err(not_ours(why)),
                    Ours::Absent | Ours::Unreadable(_) => Err(not_ours("it is gone".to_owned())),
                }
            }
            Some(Owner::Nobody) | None => {
                if Some(&machine.id) != self.target.id() {
                    return Err(Halt::Stale(format!("{} was read instead of {id}", machine.id)));
                }
                adoptable(project, key, machine, marker_key)
                    .map_err(|it| Halt::Stale(format!("{id} {}", it.why)))?;
                Ok(Identity {
                    project: project.clone(),
                    key: key.clone(),
                    intent: intent_id(&self.ctx.plan.plan_id, key),
                    uuid: machine.uuid,
                })
            }
        }
    }

    /// After an action that changed hands: what the journal remembers from now on.
    pub(super) async fn remember(&self) -> Result<(), Halt> {
        let (journal, clock) = (&self.ctx.journal, &self.ctx.clock);
        let (key, name) = (&self.action.key, &self.site.name);
        if !matches!(self.action.verb, Verb::Adopt | Verb::Rename) {
            return Ok(());
        }
        let Some(id) = self.target.id() else { return Ok(()) };
        let mut written = journal.owned(key, name, id, clock.now_ms()).await;
        for step in &self.action.steps {
            if let (Some(Owner::Entry(old)), Ok(())) = (&step.begin.owner, &written) {
                written = journal.disowned(old, name, id, clock.now_ms()).await;
            }
        }
        written.map_err(|error| self.ctx.journal_broke(&error))
    }

    /// The end of a `forget`: nothing makes it ours any more, so the journal need not
    /// remember it either.
    pub(super) async fn forgotten(&mut self) -> Result<(), Halt> {
        let fresh = self.read().await?;
        match self.whose(&fresh.object) {
            Ours::Yes { .. } => {
                return Err(Halt::Stale(format!("{} bears its marker", self.target.at)));
            }
            Ours::Unreadable(why) => {
                return Err(Halt::failed(format!("{} cannot be read: {why}", self.target.at)));
            }
            Ours::Absent | Ours::No(_) => {}
        }
        let (key, name) = (&self.action.key, &self.site.name);
        let Some(id) = self.target.id() else { return Ok(()) };
        let written = self.ctx.journal.disowned(key, name, id, self.ctx.clock.now_ms()).await;
        written.map_err(|error| self.ctx.journal_broke(&error))
    }
}

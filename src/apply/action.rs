//! One action: its steps in order, each proved before and after.

use super::{
    Cause, Context, Event, Halt, claims,
    expect::not_taken,
    judge::Judged,
    limits::{ATTEMPTS_MAX, LISTING_AGE_MAX, LOST_MAX, VERIFY_TRIES},
    ours::{Ours, ours},
    site::Site,
    unique, words,
};
use crate::model::{
    Action, At, Birthplace, Claim, CloneFrom, Expect, Fresh, FreshObject, Identity, Kind, Name,
    NativeId, PoolPart, PowerState, ResourceKey, Stage, Step, StepOp, Target, Verb, Wait,
};
use crate::ownership::{intent_id, machine_uuid};
use crate::planted::Bug;
use crate::provider::GuestSecrets;
use std::{collections::BTreeMap, time::Duration};

/// An action while it runs.
pub(super) struct Job<'a> {
    pub(super) ctx: &'a Context,
    pub(super) site: &'a Site,
    pub(super) action: &'a Action,
    pub(super) target: Target,
    /// Whose the object is: set by the first read, or by its birth, and held against
    /// every read that follows.
    pub(super) identity: Option<Identity>,
    pub(super) sent: u32,
    /// Calls that left and are not proved to have done nothing. Until the first of
    /// them the plan's base must hold.
    pub(super) effects: u32,
    pub(super) already_so: u32,
    pub(super) notes: Vec<String>,
    /// Whether this run sent the birth of the object, and saw it.
    pub(super) made_here: bool,
    /// When the object was first seen, in the order of the site.
    pub(super) seen_tick: Option<u64>,
    /// Whether this action asked a guest to go down and has not started it again.
    pub(super) took_down: bool,
    pub(super) secrets: Option<GuestSecrets>,
    /// The object as it was when the base was proved.
    pub(super) at_base: Option<FreshObject>,
    /// Parts of a pool that this action made, as the product called them in its reply. Only
    /// these are marked: another may have made one of the same name at the same time.
    pub(super) made_parts: BTreeMap<PoolPart, NativeId>,
}

/// What was proved of one step, and when.
#[derive(Default)]
struct Proofs {
    claims: Option<Duration>,
    source: Option<Duration>,
    unique: Option<Duration>,
}

impl<'a> Job<'a> {
    pub(super) fn new(ctx: &'a Context, site: &'a Site, action: &'a Action) -> Result<Self, Halt> {
        let at = match (&action.native_id, action.key.kind) {
            (Some(id), _) => At::Id(id.clone()),
            // Pools are called on a hypervisor what the plan calls them.
            (None, Kind::Pool) => At::Id(action.key.name.as_str().into()),
            (None, Kind::Vm | Kind::Spread) => At::Birth(birthplace(ctx, action)?),
        };
        Ok(Self {
            ctx,
            site,
            action,
            target: Target { key: action.key.clone(), at, node: action.node.clone() },
            identity: None,
            sent: 0,
            effects: 0,
            already_so: 0,
            notes: Vec::new(),
            made_here: false,
            seen_tick: None,
            took_down: false,
            secrets: None,
            at_base: None,
            made_parts: BTreeMap::new(),
        })
    }

    /// Runs every step, then looks whether all of it took.
    pub(super) async fn run(&mut self) -> Result<(), Halt> {
        let action = self.action;
        for (index, step) in action.steps.iter().enumerate() {
            self.may_go_on(index)?;
            if let Err(halt) = self.step(index, step).await {
                self.bring_up_again(index, &halt).await;
                return Err(halt);
            }
        }
        if action.verb == Verb::Forget {
            return self.forgotten().await;
        }
        self.converged().await?;
        self.remember().await
    }

    /// Nothing new is begun after an interrupt or without a journal. A guest that we
    /// took down is brought up again first, unless the run detaches.
    pub(super) fn may_go_on(&self, index: usize) -> Result<(), Halt> {
        if let Some(text) = self.ctx.journal_error() {
            return Err(Halt::Failed { text, cause: Cause::Journal });
        }
        let starts_later =
            self.action.steps.iter().skip(index).any(|step| step.op == StepOp::Start);
        let owes_start = self.took_down && starts_later;
        if self.ctx.stop.detached() || (self.ctx.stop.gently() && !owes_start) {
            return Err(Halt::interrupted(format!(
                "the run was stopped after {index} of {} steps",
                self.action.steps.len()
            )));
        }
        Ok(())
    }

    /// Starts a guest again that we took down for a change which then failed: the plan meant
    /// it to run. What became of a lost call is not known, and what is not ours any more is
    /// left alone.
    async fn bring_up_again(&mut self, failed: usize, halt: &Halt) {
        let steps = &self.action.steps;
        let went_down = steps
            .iter()
            .take(failed)
            .rposition(|step| matches!(step.op, StepOp::Shutdown | StepOp::Stop));
        let starts_later = steps.iter().skip(failed).any(|step| step.op == StepOp::Start);
        let (Some(went_down), Halt::Failed { .. }) = (went_down, halt) else { return };
        if !self.took_down || !starts_later || steps[failed].op == StepOp::Start {
            return;
        }
        let power = |power| Expect { power: Some(power), ..Expect::default() };
        let start = Step {
            op: StepOp::Start,
            begin: power(PowerState::Stopped),
            end: power(PowerState::Running),
            wait: Wait::Task,
            otherwise: None,
            learns: std::collections::BTreeSet::new(),
            guarded: false,
        };
        // It follows the shutdown, whose end holds, and not what failed.
        let text = match self.step(went_down + 1, &start).await {
            Ok(()) => "the guest was started again as it was".to_owned(),
            Err(Halt::Failed { text, .. } | Halt::Stale(text) | Halt::Unknown(text)) => {
                format!("THE GUEST IS DOWN: it could not be started again: {text}")
            }
        };
        self.note(text);
    }

    async fn step(&mut self, index: usize, step: &Step) -> Result<(), Halt> {
        // Held for the whole step and taken before anything is proved, so that a
        // proof is not old when the turn comes. Whoever holds one waits for no other.
        let _slot = match &step.op {
            StepOp::Clone(from) => {
                let slots =
                    self.site.clone_slots(&from.template, self.ctx.limits.clones_per_source);
                slots.acquire_owned().await.ok()
            }
            _ => None,
        };
        let (mut op, mut fallback) = (&step.op, false);
        let mut proofs = Proofs::default();
        let mut trial = super::call::Trial::default();
        self.secrets = None;
        let effects = self.effects;
        loop {
            self.may_go_on(index)?;
            let fresh = self.read().await?;
            match self.judge(index, step, op, &fresh)? {
                Judged::AlreadySo => {
                    self.already_so += u32::from(trial.attempt == 0);
                    self.reached(op, self.effects > effects, &fresh.object).await?;
                    return Ok(());
                }
                Judged::Wait(why) => {
                    trial.wait_busy(self, &why).await?;
                    continue;
                }
                Judged::Send => {}
            }
            // Proving takes time, so that what was read before it is read again.
            if self.prove(op, &fresh, &mut proofs).await? {
                continue;
            }
            if trial.attempt >= ATTEMPTS_MAX || trial.lost > LOST_MAX {
                return Err(Halt::failed(format!("gave up after {} attempts", trial.attempt)));
            }
            trial.attempt += 1;
            match self.send(index, step, op, fallback, &fresh, &mut trial).await? {
                super::call::Next::Done => return Ok(()),
                super::call::Next::Again | super::call::Next::Refused(_) => {}
                super::call::Next::Otherwise => match &step.otherwise {
                    Some(otherwise) if !fallback => (op, fallback) = (otherwise, true),
                    Some(_) | None => return Err(Halt::failed("the guest did not shut down")),
                },
            }
        }
    }

    /// A fresh read of the object; where it is now is where the call will go.
    pub(super) async fn read(&mut self) -> Result<Fresh, Halt> {
        let fresh =
            self.site.read(self.ctx, &self.target).await.map_err(|error| Halt::provider(&error))?;
        if let FreshObject::Machine(machine) = &fresh.object
            && machine.node.is_some()
        {
            self.target.node.clone_from(&machine.node);
        }
        Ok(fresh)
    }

    pub(super) fn whose(&self, object: &FreshObject) -> Ours {
        ours(&self.ctx.plan.body.project, &self.target, object, self.ctx.marker_key.as_ref())
    }

    /// The identity that a birth in this action gives its object.
    pub(super) fn born_as(&self) -> Identity {
        born_as(self.ctx, &self.action.key)
    }

    /// Proves what a read of the object alone cannot. Tells whether it did anything,
    /// because then the object has to be read again.
    async fn prove(
        &mut self,
        op: &StepOp,
        fresh: &Fresh,
        proofs: &mut Proofs,
    ) -> Result<bool, Halt> {
        let now = self.ctx.clock.monotonic();
        let old =
            |at: Option<Duration>| at.is_none_or(|at| now.saturating_sub(at) > LISTING_AGE_MAX);
        let mut did = false;
        if (self.effects == 0 || op.is_birth())
            && !self.action.claims.is_empty()
            && old(proofs.claims)
        {
            let is_ours = matches!(self.whose(&fresh.object), Ours::Yes { .. });
            claims::prove(self.ctx, self.site, self.action, &self.target, is_ours).await?;
            proofs.claims = Some(self.ctx.clock.monotonic());
            did = true;
        }
        if let StepOp::Clone(from) = op
            && old(proofs.source)
        {
            self.source_is_as_planned(from).await?;
            proofs.source = Some(self.ctx.clock.monotonic());
            did = true;
        }
        if self.secrets.is_none() {
            let mut secrets = GuestSecrets::new();
            for (which, wanted) in op.guest_secrets() {
                let (resolve, wanted) = (self.ctx.secrets.clone(), wanted.clone());
                let shown = wanted.to_string();
                let secret = tokio::task::spawn_blocking(move || resolve(&wanted))
                    .await
                    .map_err(|_| Halt::failed(format!("resolving `{shown}` broke off")))?
                    .map_err(|why| Halt::failed(format!("`{shown}` cannot be resolved: {why}")))?;
                secrets.insert(which, secret);
                did = true;
            }
            self.secrets = Some(secrets);
        }
        let half_made = matches!(self.whose(&fresh.object), Ours::Yes { stage: Stage::New, .. });
        if half_made && op.writes_stage() == Some(Stage::Ready) && old(proofs.unique) {
            self.is_the_only_one().await?;
            proofs.unique = Some(self.ctx.clock.monotonic());
            did = true;
        }
        Ok(did)
    }

    /// The template of a clone is still the one that was planned.
    async fn source_is_as_planned(&self, from: &CloneFrom) -> Result<(), Halt> {
        let (key, node) = (self.action.key.clone(), from.template_node.clone());
        let target = Target::with_id(key, from.template.clone(), node);
        let fresh =
            self.site.read(self.ctx, &target).await.map_err(|error| Halt::provider(&error))?;
        let stale = |why: &str| Err(Halt::Stale(format!("template {}: {why}", from.template)));
        let FreshObject::Machine(template) = &fresh.object else {
            return stale("it is gone or cannot be read");
        };
        if !template.template {
            return stale("it is no template any more");
        }
        if from.template_name.is_some() && template.spec.name != from.template_name {
            return stale("it has another name now");
        }
        if from.template_uuid.is_some() && template.uuid != from.template_uuid {
            return stale("it is another machine now");
        }
        Ok(())
    }

    async fn is_the_only_one(&mut self) -> Result<(), Halt> {
        let seen_tick = *self.seen_tick.get_or_insert_with(|| self.site.tick());
        let name = self.action.claims.iter().find_map(|claim| match claim {
            Claim::Name(name) => Some(name.as_str()),
            Claim::Id(_) | Claim::Node(_) | Claim::Address(_) | Claim::Capacity { .. } => None,
        });
        let verdict =
            unique::check(self.ctx, self.site, &self.target, name, seen_tick, self.made_here)
                .await?;
        match verdict {
            unique::Verdict::GoOn => Ok(()),
            unique::Verdict::Unsure(why) => {
                Err(Halt::Unknown(format!("{} was not started: {why}", self.target.at)))
            }
            unique::Verdict::Withdraw(why) => {
                self.withdraw().await?;
                Err(Halt::Stale(format!("{} was removed again: {why}", self.target.at)))
            }
        }
    }

    /// What follows from a step's end being reached.
    pub(super) async fn reached(
        &mut self,
        op: &StepOp,
        sent: bool,
        object: &FreshObject,
    ) -> Result<(), Halt> {
        if let FreshObject::Machine(machine) = object
            && op.is_birth()
        {
            self.target.at = At::Id(machine.id.clone());
        }
        let (key, name) = (&self.action.key, &self.site.name);
        let Some(id) = self.target.id() else {
            // Nothing has an end before it is born.
            return Ok(());
        };
        if key.kind == Kind::Spread {
            // Nothing on it could be lost or copied: its name says whose it is, every time.
            self.identity = (!op.is_end()).then(|| self.born_as());
            return Ok(());
        }
        let written = if op.is_birth() {
            self.identity = Some(self.born_as());
            self.seen_tick = Some(self.site.tick());
            self.made_here = sent;
            self.site.note_made(id, key);
            self.ctx.journal.owned(key, name, id, self.ctx.clock.now_ms()).await
        } else if op.is_end() {
            self.identity = None;
            self.made_here = false;
            self.site.note_gone(id);
            self.ctx.journal.disowned(key, name, id, self.ctx.clock.now_ms()).await
        } else {
            match op {
                StepOp::Shutdown | StepOp::Stop if sent => self.took_down = true,
                StepOp::Start => self.took_down = false,
                _ => {}
            }
            Ok(())
        };
        written.map_err(|error| self.ctx.journal_broke(&error))
    }

    /// After the last step: every change took, and what the steps leave behind holds.
    async fn converged(&mut self) -> Result<(), Halt> {
        let unreadable =
            self.ctx.unreadable.get(&self.site.name).map(Vec::as_slice).unwrap_or_default();
        let mut wait = Duration::from_millis(200);
        let mut lines = Vec::new();
        for _ in 0..VERIFY_TRIES {
            let fresh = self.read().await?;
            if self.ends_later(0) && !self.action.steps.iter().any(|step| step.op.is_birth()) {
                match &fresh.object {
                    FreshObject::Absent => return Ok(()),
                    FreshObject::Machine(_)
                    | FreshObject::Pool(_)
                    | FreshObject::Spread(_)
                    | FreshObject::Unreadable(_) => {
                        lines = vec!["it still exists".to_owned()];
                    }
                }
            } else {
                // What is left of a pool of parts need not be ours: each part is judged by
                // its own end.
                let of_parts = self.action.steps.iter().any(|step| step.op.part().is_some());
                match self.whose(&fresh.object) {
                    _ if of_parts => {}
                    Ours::Yes { .. } => {}
                    Ours::No(why) => return Err(Halt::Stale(format!("it is not ours: {why}"))),
                    Ours::Absent => return Err(Halt::Stale("it is gone".to_owned())),
                    // Named below: nothing holds of what cannot be read.
                    Ours::Unreadable(_) => {}
                }
                lines =
                    not_taken(&self.action.fields, &self.action.steps, unreadable, &fresh.object);
                if lines.is_empty() {
                    if let Some(before) = self.at_base.take().filter(|_| self.effects > 0)
                        && let Some(id) = self.target.id()
                    {
                        self.site.note_trail(id, before, fresh.object);
                    }
                    return Ok(());
                }
            }
            if self.ctx.stop.detached() {
                break;
            }
            self.ctx.pause(wait).await;
            wait *= 2;
        }
        if Bug::FailureIsDone.strikes(self.target.at.as_str()) {
            return Ok(());
        }
        Err(Halt::failed(format!("did not take: {}", lines.join("; "))))
    }

    pub(super) fn says_waiting(&self, why: &str) {
        self.ctx.emit(Event::Waits { action: self.action.id.clone(), why: why.to_owned() });
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// The identity that a plan gives to what it makes for an entry.
fn born_as(ctx: &Context, key: &ResourceKey) -> Identity {
    let project = &ctx.plan.body.project;
    let intent = match key.kind {
        Kind::Vm | Kind::Pool => intent_id(&ctx.plan.plan_id, key),
        // There is no marker that could tell one plan's from another's.
        Kind::Spread => uuid::Uuid::nil(),
    };
    let uuid = match key.kind {
        Kind::Vm => Some(machine_uuid(project, key, intent)),
        Kind::Pool | Kind::Spread => None,
    };
    Identity { project: project.clone(), key: key.clone(), intent, uuid }
}

/// Where the machine of an action will be found before it has an id.
fn birthplace(ctx: &Context, action: &Action) -> Result<Birthplace, Halt> {
    let uuid = born_as(ctx, &action.key).uuid;
    let place = |name: &str, pool: &Option<Name>| Birthplace {
        name: name.to_owned(),
        pool: pool.clone(),
        uuid,
    };
    let born = action.steps.iter().find_map(|step| match &step.op {
        StepOp::Clone(from) => Some(place(&from.name, &from.pool)),
        StepOp::Create(birth) => Some(place(&birth.name, &birth.pool)),
        _ => None,
    });
    let text = "the plan names no native id of what exists".to_owned();
    born.ok_or(Halt::Failed { text, cause: Cause::Bug })
}

/// Joins an error of a read into the words of a note.
pub(super) fn read_failed(error: &crate::model::ProviderError) -> String {
    format!("it could not be read back: {}", words(error))
}

//! Runs a plan: what may run, in order, within bounds, one proved step at a time.
//!
//! Inputs are a finished plan, the ids that the guard lets run, providers and a
//! journal; the output is a [`RunSummary`]. Nothing is chosen here: when a choice of
//! the plan is no longer possible, the action ends as stale and the next plan chooses
//! again. Nothing is printed here either.
//!
//! Before each call: a fresh read, proof of ownership, base or the end of our own
//! previous step, claims, a durable row in the journal. A lost reply is looked up,
//! never sent blindly again.

mod action;
mod call;
mod claims;
mod exit;
mod expect;
mod journal;
mod judge;
mod limits;
mod ours;
mod outcome;
mod owner;
mod part;
mod poller;
mod resume;
mod schedule;
mod site;
#[cfg(test)]
mod tests;
mod unique;
mod withdraw;

pub use exit::{ExitClass, exit_class};
pub use journal::Journal;
pub use limits::Limits;
pub use resume::{Resumed, resume};
pub use schedule::run;

use crate::{
    clock::Clock,
    model::{
        ActionId, ErrorKind, FieldKind, HypervisorName, Inventory, Plan, ProviderError,
        ResourceKey, SecretRef,
    },
    ownership::MarkerKey,
    provider::Provider,
    store::StoreError,
};
use secrecy::SecretString;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Turns a reference into a secret, or says why not. May block (a file, a command).
pub type SecretResolver = Arc<dyn Fn(&SecretRef) -> Result<SecretString, String> + Send + Sync>;

/// All that a run needs.
pub struct Inputs {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Which of its actions may run, as the guard decided.
    pub runnable: BTreeSet<ActionId>,
    /// The inventory that the plan was made from.
    pub inventory: Arc<Inventory>,
    /// Hypervisors by name.
    pub providers: BTreeMap<HypervisorName, Arc<dyn Provider>>,
    /// Fields that a hypervisor can never read back; they are not verified.
    pub unreadable: BTreeMap<HypervisorName, Vec<FieldKind>>,
    /// The journal of this run.
    pub journal: Arc<dyn Journal>,
    /// Signs and checks markers.
    pub marker_key: Option<MarkerKey>,
    /// Resolves guests' passwords.
    pub secrets: SecretResolver,
    /// The time.
    pub clock: Clock,
    /// Bounds.
    pub limits: Limits,
    /// How the run is stopped early.
    pub stop: Stop,
    /// Progress. An event is dropped when nobody takes them fast enough; the
    /// summary has everything.
    pub events: mpsc::Sender<Event>,
    /// Spreads what several runners would otherwise do at the same instant.
    pub jitter_seed: u64,
}

/// How a run is stopped early.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Start nothing new; follow open tasks up to a bound.
    pub gentle: CancellationToken,
    /// Follow nothing any more. Implies `gentle`.
    pub detach: CancellationToken,
    /// Whether it was a request to terminate, rather than Ctrl-C.
    pub terminated: Arc<AtomicBool>,
}

impl Stop {
    fn gently(&self) -> bool {
        self.gentle.is_cancelled() || self.detached()
    }

    fn detached(&self) -> bool {
        self.detach.is_cancelled()
    }

    /// Waits for the first wish to stop.
    async fn either(&self) {
        tokio::select! {
            () = self.gentle.cancelled() => {}
            () = self.detach.cancelled() => {}
        }
    }

    fn signal(&self) -> Signal {
        if self.terminated.load(Ordering::SeqCst) { Signal::Terminate } else { Signal::Interrupt }
    }
}

/// What stopped a run early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// A request to terminate.
    Terminate,
}

/// Progress of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An action began.
    Began {
        /// Which.
        action: ActionId,
    },
    /// A step is about to be sent.
    Step {
        /// Of which action.
        action: ActionId,
        /// Which step, from 1.
        number: u32,
        /// Of how many.
        of: u32,
        /// Its name in the vocabulary.
        op: &'static str,
    },
    /// Something is waited for.
    Waits {
        /// Which action.
        action: ActionId,
        /// For what.
        why: String,
    },
    /// An action ended.
    Ended {
        /// Which.
        action: ActionId,
        /// How.
        ended: Ended,
    },
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Converged, confirmed by looking.
    Done,
    /// Not done, and why.
    Failed(String),
    /// A predecessor was not done, and which.
    Blocked(String),
    /// The world moved since the plan, and how.
    Stale(String),
    /// What became of a call cannot be told.
    Unknown(String),
    /// Not begun: withheld by the guard, or the run was stopped.
    Skipped(String),
}

/// Why an action failed, as far as the exit code asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A bug of ours.
    Bug,
    /// Credentials were refused.
    Auth,
    /// The journal could not be written.
    Journal,
    /// The run was stopped.
    Interrupted,
    /// Anything else.
    Other,
}

/// What became of one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionReport {
    /// Which.
    pub id: ActionId,
    /// The object.
    pub key: ResourceKey,
    /// Where.
    pub hypervisor: HypervisorName,
    /// How it ended.
    pub ended: Ended,
    /// Why, when it failed.
    pub cause: Option<Cause>,
    /// Calls that left.
    pub sent: u32,
    /// Steps whose end held already.
    pub already_so: u32,
    /// Worth a line.
    pub notes: Vec<String>,
}

/// What became of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunSummary {
    /// Every action of the plan, in its order.
    pub actions: Vec<ActionReport>,
    /// Whether, and how, the run was stopped before its end.
    pub interrupted: Option<Signal>,
    /// Items that the plan itself could not do.
    pub blocked_in_plan: u32,
    /// Why the journal could not be written, when it could not.
    pub journal_error: Option<String>,
}

impl RunSummary {
    /// How many actions ended like this.
    pub fn count(&self, like: impl Fn(&Ended) -> bool) -> usize {
        self.actions.iter().filter(|action| like(&action.ended)).count()
    }

    /// Whether anything was done to any object.
    pub fn anything_ran(&self) -> bool {
        self.actions.iter().any(|it| it.sent > 0 || it.ended == Ended::Done)
    }
}

/// Why an action goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Halt {
    Failed { text: String, cause: Cause },
    Stale(String),
    Unknown(String),
}

impl Halt {
    fn failed(text: impl Into<String>) -> Self {
        Halt::Failed { text: text.into(), cause: Cause::Other }
    }

    fn provider(error: &ProviderError) -> Self {
        let cause = if error.kind == ErrorKind::Auth { Cause::Auth } else { Cause::Other };
        Halt::Failed { text: words(error), cause }
    }

    fn interrupted(text: impl Into<String>) -> Self {
        Halt::Failed { text: text.into(), cause: Cause::Interrupted }
    }
}

/// What all actions of a run share.
struct Context {
    plan: Arc<Plan>,
    inventory: Arc<Inventory>,
    unreadable: BTreeMap<HypervisorName, Vec<FieldKind>>,
    journal: Arc<dyn Journal>,
    marker_key: Option<MarkerKey>,
    secrets: SecretResolver,
    clock: Clock,
    limits: Limits,
    stop: Stop,
    events: mpsc::Sender<Event>,
    jitter_seed: u64,
    journal_error: std::sync::Mutex<Option<String>>,
}

impl Context {
    /// Waits; not a moment longer once the run is left.
    async fn pause(&self, duration: std::time::Duration) {
        tokio::select! {
            biased;
            () = self.stop.detach.cancelled() => {}
            () = self.clock.sleep(duration) => {}
        }
    }

    fn emit(&self, event: Event) {
        // A full queue means that nobody looks: progress is not worth waiting for.
        let _ = self.events.try_send(event);
    }

    /// Notes that the journal cannot be written: from now on nothing is sent.
    fn journal_broke(&self, error: &StoreError) -> Halt {
        let text = words(error);
        site::lock(&self.journal_error).get_or_insert(text.clone());
        Halt::Failed { text, cause: Cause::Journal }
    }

    fn journal_error(&self) -> Option<String> {
        site::lock(&self.journal_error).clone()
    }
}

/// An error with its causes, in one line.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

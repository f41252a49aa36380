//! Carrying out a plan and telling what became of it: journal, lease, secrets, progress and
//! summary, for whatever command made the plan.

use super::{
    args::Format,
    error::CliError,
    output::Output,
    plan as plan_command, progress,
    session::{self, Session},
};
use crate::{
    apply::{self, Ended, ExitClass, Inputs, Limits, RunSummary, Stop},
    model::{ActionId, Coverage, HypervisorName, Plan, ResourceKey, SecretRef, Verb},
    reconcile::Reconciled,
    report,
    store::{self, LeaseHolder, NewRun, RunHandle, Store},
};
use secrecy::SecretString;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use uuid::Uuid;

/// A lease is renewed at a third of this; a runner that died out of our sight holds
/// others up no longer. One that died on this machine holds up nobody.
const LEASE_MS: i64 = 90_000;
/// Progress events that may wait to be printed; the summary has everything anyway.
const EVENTS_MAX: usize = 1024;

/// How many objects of this run cannot be worked on.
pub(super) fn blocked(plan: &Plan) -> usize {
    plan.body.blocked.iter().filter(|it| plan.envelope.covers_key(&it.key)).count()
}

/// What a run is for, as the journal keeps it.
pub(super) struct Purpose {
    /// What kind of run: `apply`.
    pub(super) kind: String,
    /// What its summary is called.
    pub(super) title: &'static str,
    /// Why, when somebody said so.
    pub(super) reason: Option<String>,
    /// The ticket, when there is one.
    pub(super) ticket: Option<String>,
    /// Whether what it leaves is what the files ask for, so that later differences are
    /// drift.
    pub(super) settles: bool,
}

pub(super) async fn execute(
    session: &Session,
    store: &Store,
    purpose: &Purpose,
    made: &Reconciled,
    inventory: &crate::model::Inventory,
    stop: &Stop,
) -> Result<(RunSummary, String, Uuid), CliError> {
    let run = begin(session, store, purpose, made).await?;
    let id = run.id();
    let hypervisors: Vec<HypervisorName> = made
        .plan
        .body
        .actions
        .iter()
        .filter(|it| made.verdict.runnable.contains(&it.id))
        .map(|it| it.hypervisor.clone())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let who = session::who(&session.root, None, None);
    let holder = LeaseHolder {
        run: id,
        who: who.user.clone(),
        pid: std::process::id(),
        host: who.host,
        process: store::this_process(),
    };
    let project = &session.desired.project;
    let taken = store
        .acquire_lease(project, &hypervisors, holder, LEASE_MS, session.clock.now_ms())
        .await?;
    let lease = match taken {
        Ok(lease) => lease,
        Err(other) => {
            let text = format!(
                "locked by {}@{} (pid {}, run {})",
                other.holder.who, other.holder.host, other.holder.pid, other.holder.run
            );
            run.finish(ExitClass::Locked.code().into(), text.clone(), session.clock.now_ms())
                .await?;
            return Err(CliError::new(
                ExitClass::Locked,
                format!("`{}` is {text}", other.hypervisor),
            )
            .hint("wait for that run; if it died on another machine, its lease ends after 90 s"));
        }
    };
    for old in &lease.taken_over {
        session.output.remark(format!(
            "note: took over `{}` from run {}, which ended without giving it back",
            old.hypervisor, old.holder.run
        ));
    }
    let renewal =
        tokio::spawn(renew(store.clone(), lease.clone(), session.clock.clone(), stop.clone()));
    let (sender, receiver) = tokio::sync::mpsc::channel(EVENTS_MAX);
    let total = made.verdict.runnable.len();
    let printer = tokio::spawn(progress::print(receiver, total, session.output));
    let secrets = guest_secrets(session, made).await;
    let result = match secrets {
        Ok(secrets) => {
            let inputs = Inputs {
                plan: Arc::new(made.plan.clone()),
                runnable: made.verdict.runnable.clone(),
                inventory: Arc::new(inventory.clone()),
                providers: session.providers.clone(),
                unreadable: plan_command::borrow(&session.desired)
                    .iter()
                    .map(|(name, product)| {
                        (name.clone(), product.capabilities().unreadable.clone())
                    })
                    .collect(),
                journal: Arc::new(run.clone()),
                marker_key: session.marker_key.clone(),
                secrets: Arc::new(move |reference: &SecretRef| {
                    secrets
                        .get(reference)
                        .cloned()
                        .ok_or_else(|| format!("`{reference}` was not fetched before the run"))
                }),
                clock: session.clock.clone(),
                limits: limits(session),
                stop: stop.clone(),
                events: sender,
                jitter_seed: id.as_u64_pair().1,
            };
            Ok(apply::run(inputs).await)
        }
        Err(error) => {
            drop(sender);
            Err(error)
        }
    };
    renewal.abort();
    // The printer ends with the last sender.
    let _ = printer.await;
    let end = |code: ExitClass, text: String| {
        run.finish(code.code().into(), text, session.clock.now_ms())
    };
    match result {
        Ok(summary) => {
            let class = apply::exit_class(&summary);
            let head = end(class, one_line(&summary, made)).await?;
            store.release_lease(&lease).await?;
            save_inventories(session, store, inventory).await;
            if purpose.settles {
                store.save_settled(project, settled(session, made, &summary)).await?;
            }
            Ok((summary, head, id))
        }
        Err(error) => {
            end(error.class, error.message.clone()).await?;
            store.release_lease(&lease).await?;
            Err(error)
        }
    }
}

async fn begin(
    session: &Session,
    store: &Store,
    purpose: &Purpose,
    made: &Reconciled,
) -> Result<RunHandle, CliError> {
    let actions = made
        .plan
        .body
        .actions
        .iter()
        .filter(|it| made.verdict.runnable.contains(&it.id))
        .map(|it| (it.id.clone(), it.key.clone(), it.hypervisor.clone(), it.verb))
        .collect();
    let run = NewRun {
        id: Uuid::now_v7(),
        project: session.desired.project.clone(),
        plan_id: made.plan.plan_id.clone(),
        plan_json: report::plan_json(&made.plan),
        kind: purpose.kind.clone(),
        who: session::who(&session.root, purpose.reason.clone(), purpose.ticket.clone()),
        started_ms: session.clock.now_ms(),
        actions,
    };
    store.begin_run(run).await.map_err(CliError::from)
}

/// Keeps the lease while the run goes on; when it is lost, nothing new starts.
async fn renew(store: Store, mut lease: store::Lease, clock: crate::clock::Clock, stop: Stop) {
    let third = std::time::Duration::from_millis(LEASE_MS.unsigned_abs() / 3);
    loop {
        clock.sleep(third).await;
        match store.renew_lease(&lease, LEASE_MS, clock.now_ms()).await {
            Ok(Ok(renewed)) => lease = renewed,
            Ok(Err(_)) => {
                stop.gentle.cancel();
                return;
            }
            // The store is checked again with every intent; a hiccup here is no loss.
            Err(_) => {}
        }
    }
}

/// Every secret that the run will hand to a guest, fetched before anything is changed.
async fn guest_secrets(
    session: &Session,
    made: &Reconciled,
) -> Result<BTreeMap<SecretRef, SecretString>, CliError> {
    let mut wanted = BTreeSet::new();
    let running = made.plan.body.actions.iter().filter(|it| made.verdict.runnable.contains(&it.id));
    for step in running.flat_map(|it| &it.steps) {
        wanted.extend(step.op.guest_secrets().into_values().cloned());
    }
    let mut found = BTreeMap::new();
    for reference in wanted {
        let value = session.secrets.for_guest(&reference).await;
        let value = value.map_err(|error| session::no_secret(&error))?;
        found.insert(reference, value);
    }
    Ok(found)
}

/// The machines that are now as the YAML asks: all that was planned for them is done,
/// or nothing was.
fn settled(
    session: &Session,
    made: &Reconciled,
    summary: &RunSummary,
) -> BTreeMap<ResourceKey, String> {
    let undone = |key: &ResourceKey| {
        made.plan.body.blocked.iter().any(|it| it.key == *key)
            || summary.actions.iter().any(|it| it.key == *key && it.ended != Ended::Done)
    };
    let machines = session.desired.machines.values().filter(|it| !undone(&it.key));
    machines.map(|it| (it.key.clone(), session.desired.digest_of(it))).collect()
}

fn limits(session: &Session) -> Limits {
    let all = session.desired.hypervisors.iter();
    let writes = all.map(|(name, config)| (name.clone(), config.writes_max()));
    Limits { run: session.settings.parallel, writes: writes.collect(), ..Limits::default() }
}

/// What was seen is kept for `describe` and for the journal's reader. Losing it loses
/// convenience only.
async fn save_inventories(session: &Session, store: &Store, inventory: &crate::model::Inventory) {
    for (name, seen) in &inventory.hypervisors {
        if matches!(seen.coverage, Coverage::Failed { .. }) {
            continue;
        }
        let now = session.clock.now_ms();
        let saved = store.save_inventory(&session.desired.project, name, seen, now).await;
        if let Err(error) = saved {
            session.output.remark(format!("note: the inventory of `{name}` was not kept: {error}"));
        }
    }
}

/// What became of the actions that could run. What was withheld is counted elsewhere.
fn one_line(summary: &RunSummary, made: &Reconciled) -> String {
    let count = |like: fn(&Ended) -> bool| {
        let begun = summary.actions.iter().filter(|it| made.verdict.runnable.contains(&it.id));
        begun.filter(|it| like(&it.ended)).count()
    };
    let mut parts = vec![format!("{} done", count(|it| *it == Ended::Done))];
    let kinds: [(&str, usize); 5] = [
        ("failed", count(|it| matches!(it, Ended::Failed(_)))),
        ("stale", count(|it| matches!(it, Ended::Stale(_)))),
        ("blocked", count(|it| matches!(it, Ended::Blocked(_)))),
        ("unknown", count(|it| matches!(it, Ended::Unknown(_)))),
        ("not begun", count(|it| matches!(it, Ended::Skipped(_)))),
    ];
    for (word, number) in kinds {
        if number > 0 {
            parts.push(format!("{number} {word}"));
        }
    }
    parts.join(", ")
}

#[derive(serde::Serialize)]
struct JsonSummary<'a> {
    run: String,
    plan_id: &'a str,
    exit_code: u8,
    summary: String,
    journal_head: &'a str,
    actions: Vec<JsonAction<'a>>,
}

#[derive(serde::Serialize)]
struct JsonAction<'a> {
    id: &'a str,
    ended: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    calls: u32,
    already_so: u32,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    notes: &'a [String],
}

fn ended_words(ended: &Ended) -> (&'static str, Option<&str>) {
    match ended {
        Ended::Done => ("done", None),
        Ended::Failed(why) => ("failed", Some(why)),
        Ended::Blocked(why) => ("blocked", Some(why)),
        Ended::Stale(why) => ("stale", Some(why)),
        Ended::Unknown(why) => ("unknown", Some(why)),
        Ended::Skipped(why) => ("skipped", Some(why)),
    }
}

/// A run, as its summary names it.
pub(super) struct Shown<'a> {
    pub(super) id: Uuid,
    pub(super) head: &'a str,
    pub(super) title: &'static str,
}

pub(super) fn show_summary(
    summary: &RunSummary,
    made: &Reconciled,
    run: &Shown<'_>,
    format: Format,
    class: ExitClass,
    output: &Output,
) {
    let Shown { id: run, head, title } = *run;
    let ran = |id: &ActionId| made.verdict.runnable.contains(id);
    if format == Format::Json {
        let actions = summary.actions.iter().filter(|it| ran(&it.id)).map(|it| {
            let (ended, why) = ended_words(&it.ended);
            let (calls, already_so) = (it.sent, it.already_so);
            JsonAction { id: it.id.as_str(), ended, why, calls, already_so, notes: &it.notes }
        });
        output.print_json(&JsonSummary {
            run: run.to_string(),
            plan_id: &made.plan.plan_id,
            exit_code: class.code(),
            summary: one_line(summary, made),
            journal_head: head,
            actions: actions.collect(),
        });
        return;
    }
    let mut text = String::new();
    for it in summary.actions.iter().filter(|it| ran(&it.id)) {
        let (word, why) = ended_words(&it.ended);
        if let Some(why) = why {
            text.push_str(&format!("{word}: {}: {}\n", it.id, crate::model::inert(why)));
        }
        for note in &it.notes {
            text.push_str(&format!("note: {}: {}\n", it.id, crate::model::inert(note)));
        }
    }
    if let Some(error) = &summary.journal_error {
        text.push_str(&format!("the journal could not be written: {error}\n"));
    }
    let waiting = made.verdict.waiting.len();
    let mut line = one_line(summary, made);
    if waiting > 0 {
        line.push_str(&format!(", {waiting} waiting"));
    }
    let blocked = blocked(&made.plan) + made.verdict.forbidden.len();
    if blocked > 0 {
        line.push_str(&format!(", {blocked} blocked by the plan"));
    }
    text.push_str(&format!("\n{title}: {line}.\n"));
    let births =
        summary.actions.iter().filter(|it| it.ended == Ended::Done && ran(&it.id)).filter(|it| {
            made.plan
                .body
                .actions
                .iter()
                .any(|action| action.id == it.id && action.verb == Verb::Create)
        });
    let born = births.count();
    if born > 0 {
        text.push_str(&format!("{} made.\n", super::validate::count(born, "object")));
    }
    if summary.interrupted.is_some() || class == ExitClass::Unknown {
        text.push_str(&format!("To look up what is open: novahost runs resume {run}\n"));
    }
    text.push_str(&format!("Run {run}, journal head {head}"));
    output.print(text);
}

//! What a run writes. Each function is one transaction's part, under the write lock.

use super::{
    chain,
    error::{Failure, StoreError},
    lease,
    rows::{ActionState, Entry, Event, NewRun, StepOutcome},
};
use crate::model::{
    ActionId, HypervisorName, Intent, NativeId, ProjectName, ResourceKey, StepOp, TaskRef,
};
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

/// Characters kept of one text. Hypervisors' messages are a few hundred; a task log
/// that slips in must not swell the journal for good.
const TEXT_MAX: usize = 2000;

fn bounded(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A run, its actions, and the first row of its part of the chain.
pub(super) fn begin(conn: &Connection, run: &NewRun, mut entry: Entry) -> Result<(), Failure> {
    conn.prepare_cached(
        "INSERT INTO runs (id, project, plan_id, plan, kind, who, started_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        run.id.to_string(),
        run.project.as_str(),
        run.plan_id,
        run.plan_json,
        run.kind,
        serde_json::to_string(&run.who)?,
        run.started_ms,
    ])?;
    let mut insert = conn.prepare_cached(
        "INSERT INTO actions (run, ordinal, id, key, hypervisor, verb)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (ordinal, (id, key, hypervisor, verb)) in (0_i64..).zip(&run.actions) {
        insert.execute(params![
            run.id.to_string(),
            ordinal,
            id.as_str(),
            key.to_string(),
            hypervisor.as_str(),
            verb.as_str(),
        ])?;
    }
    entry.text = Some(format!("{}: {} actions", run.kind, run.actions.len()));
    chain::append(conn, entry)?;
    Ok(())
}

/// Opens a run again, whether it ended or broke off.
pub(super) fn resume(conn: &Connection, entry: Entry) -> Result<(), Failure> {
    conn.prepare_cached("UPDATE runs SET finished_ms = NULL, code = NULL WHERE id = ?1")?
        .execute([entry.run.to_string()])?;
    chain::append(conn, entry)?;
    Ok(())
}

/// Refuses to write for a run that is finished or was never begun.
fn must_be_open(conn: &Connection, run: Uuid) -> Result<(), Failure> {
    let finished: Option<Option<i64>> = conn
        .prepare_cached("SELECT finished_ms FROM runs WHERE id = ?1")?
        .query_row([run.to_string()], |row| row.get(0))
        .optional()?;
    match finished {
        Some(None) => Ok(()),
        Some(Some(_)) => Err(StoreError::RunFinished(run).into()),
        None => Err(StoreError::NoSuchRun(run).into()),
    }
}

/// The row of a call that is about to leave. `epoch` is the lease that this process
/// was given, if any.
pub(super) fn intend(
    conn: &Connection,
    intent: &Intent,
    before: Option<&str>,
    epoch: Option<i64>,
    entry: Entry,
) -> Result<i64, Failure> {
    must_be_open(conn, entry.run)?;
    let (project, now_ms) = (&entry.project, intent.begun_ms);
    lease::fence(conn, project, &intent.hypervisor, entry.run, epoch, now_ms)?;
    let run = entry.run.to_string();
    let (seq, _) =
        chain::append(conn, Entry { before: before.map(str::to_owned), ..about(entry, intent) })?;
    conn.prepare_cached(
        "INSERT INTO steps (seq, run, action, step, attempt, key, hypervisor, native_id, op,
             birth, intent, before, begun_ms, task)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?
    .execute(params![
        seq,
        run,
        intent.action.as_str(),
        intent.step,
        intent.attempt,
        intent.target.key.to_string(),
        intent.hypervisor.as_str(),
        intent.target.id().map_or("", |id| id.as_str()),
        intent.op,
        StepOp::is_birth_name(&intent.op),
        serde_json::to_string(intent)?,
        before,
        intent.begun_ms,
        intent.task.as_ref().map(|task| task.0.as_str()),
    ])?;
    Ok(conn.last_insert_rowid())
}

/// The columns of an entry that an intent fills.
fn about(entry: Entry, intent: &Intent) -> Entry {
    Entry {
        action: Some(intent.action.clone()),
        attempt: Some(intent.attempt),
        hypervisor: Some(intent.hypervisor.clone()),
        id: intent.target.id().cloned(),
        key: Some(intent.target.key.clone()),
        op: Some(intent.op.clone()),
        step: Some(intent.step),
        ..entry
    }
}

/// The outcome that stands in a step's row, in its word.
fn outcome_of(conn: &Connection, row: i64, intent: &Intent) -> Result<Option<String>, Failure> {
    // The row is looked up by the intent too: a row number of another database, or
    // of a file that was replaced, must not close somebody else's call.
    conn.prepare_cached(
        "SELECT outcome FROM steps
         WHERE id = ?1 AND run = ?2 AND action = ?3 AND step = ?4 AND attempt = ?5",
    )?
    .query_row(
        params![row, intent.run.to_string(), intent.action.as_str(), intent.step, intent.attempt],
        |row| row.get(0),
    )
    .optional()?
    .ok_or_else(|| StoreError::OtherRun { run: intent.run, action: intent.action.clone() }.into())
}

/// A hypervisor took the call and gave a task.
pub(super) fn accepted(
    conn: &Connection,
    row: i64,
    intent: &Intent,
    task: &TaskRef,
    entry: Entry,
) -> Result<(), Failure> {
    outcome_of(conn, row, intent)?;
    conn.prepare_cached("UPDATE steps SET task = ?2, accepted_ms = ?3 WHERE id = ?1")?
        .execute(params![row, task.0, entry.at_ms])?;
    chain::append(conn, Entry { task: Some(task.clone()), ..about(entry, intent) })?;
    Ok(())
}

/// What came of the call. The same outcome twice is one; another is refused, unless
/// it was unknown before.
pub(super) fn finished(
    conn: &Connection,
    row: i64,
    intent: &Intent,
    outcome: &StepOutcome,
    after: Option<&str>,
    entry: Entry,
) -> Result<(), Failure> {
    let (word, detail) = outcome.parts();
    match outcome_of(conn, row, intent)?.as_deref() {
        None | Some("unknown") => {}
        Some(stands) if stands == word => return Ok(()),
        Some(stands) => {
            return Err(StoreError::AlreadyFinished {
                action: intent.action.clone(),
                step: intent.step,
                outcome: stands.to_owned(),
            }
            .into());
        }
    }
    let detail = detail.map(bounded);
    conn.prepare_cached(
        "UPDATE steps SET outcome = ?2, detail = ?3, after = ?4, finished_ms = ?5 WHERE id = ?1",
    )?
    .execute(params![row, word, detail, after, entry.at_ms])?;
    let state = Some(word.to_owned());
    let after = after.map(str::to_owned);
    chain::append(conn, Entry { state, after, text: detail, ..about(entry, intent) })?;
    Ok(())
}

/// How far an action has come.
pub(super) fn action_state(
    conn: &Connection,
    action: &ActionId,
    state: &ActionState,
    entry: Entry,
) -> Result<(), Failure> {
    let (word, detail) = state.parts();
    let detail = detail.map(bounded);
    let about = conn
        .prepare_cached(
            "UPDATE actions SET state = ?3, detail = ?4, at_ms = ?5 WHERE run = ?1 AND id = ?2
             RETURNING key, hypervisor",
        )?
        .query_row(
            params![entry.run.to_string(), action.as_str(), word, detail, entry.at_ms],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)),
        )
        .optional()?;
    let Some((key, hypervisor)) = about else {
        let action = action.clone();
        return Err(StoreError::NoSuchAction { run: entry.run, action }.into());
    };
    chain::append(
        conn,
        Entry {
            action: Some(action.clone()),
            hypervisor: Some(hypervisor.into()),
            key: key.parse().ok(),
            state: Some(word.to_owned()),
            text: detail,
            ..entry
        },
    )?;
    Ok(())
}

/// From here on the journal remembers an object as ours, or no longer.
pub(super) fn remember(
    conn: &Connection,
    key: &ResourceKey,
    hypervisor: &HypervisorName,
    id: &NativeId,
    entry: Entry,
) -> Result<(), Failure> {
    let (project, run): (ProjectName, _) = (entry.project.clone(), entry.run.to_string());
    let ours = entry.event == Event::Owned;
    let (seq, _) = chain::append(
        conn,
        Entry {
            hypervisor: Some(hypervisor.clone()),
            id: Some(id.clone()),
            key: Some(key.clone()),
            ..entry
        },
    )?;
    conn.prepare_cached(
        "INSERT INTO owned (project, key, hypervisor, native_id, run, seq, ours)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (project, key, hypervisor, native_id)
         DO UPDATE SET run = excluded.run, seq = excluded.seq, ours = excluded.ours",
    )?
    .execute(params![
        project.as_str(),
        key.to_string(),
        hypervisor.as_str(),
        id.as_str(),
        run,
        seq,
        ours,
    ])?;
    Ok(())
}

/// The end of a run; returns the chain's head.
pub(super) fn finish(
    conn: &Connection,
    code: i32,
    summary: &str,
    entry: Entry,
) -> Result<String, Failure> {
    must_be_open(conn, entry.run)?;
    let (run, at_ms) = (entry.run.to_string(), entry.at_ms);
    let summary = bounded(summary);
    let (seq, head) =
        chain::append(conn, Entry { code: Some(code), text: Some(summary.clone()), ..entry })?;
    conn.prepare_cached(
        "UPDATE runs SET finished_ms = ?2, code = ?3, summary = ?4, head = ?5, head_seq = ?6
         WHERE id = ?1",
    )?
    .execute(params![run, at_ms, code, summary, head, seq])?;
    Ok(head)
}

/// The row that the next intent gets if nobody is faster.
#[cfg(feature = "planted")]
pub(super) fn next_row(conn: &Connection) -> Result<i64, Failure> {
    let sql = "SELECT coalesce(max(id), 0) + 1 FROM steps";
    Ok(conn.query_row(sql, [], |row| row.get(0))?)
}

//! What is read back of runs, steps and ownership.

use super::{
    chain,
    error::Failure,
    rows::{ActionRow, ActionState, EntryFilter, RunDetail, RunRow, StepOutcome, StepRow, Written},
};
use crate::model::{
    History, HypervisorInventory, HypervisorName, Intent, NotAnAddress, OpenBirth, ProjectName,
    Remembered, ResourceKey, TaskRef,
};
use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

fn wrong(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

fn key_at(row: &Row<'_>, column: usize) -> rusqlite::Result<ResourceKey> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error: NotAnAddress| wrong(column, error))
}

fn name_at<T: From<String>>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    row.get::<_, String>(column).map(T::from)
}

/// A word with its detail, as the enum that it was written from.
fn worded<T: serde::de::DeserializeOwned>(
    tag: &str,
    word: &str,
    detail: Option<String>,
) -> Result<T, serde_json::Error> {
    serde_json::from_value(match detail {
        Some(detail) => json!({ tag: word, "detail": detail }),
        None => json!({ tag: word }),
    })
}

/// What the journal remembers of a project.
pub(super) fn history(conn: &Connection, project: &ProjectName) -> Result<History, Failure> {
    let owned = remembered(
        conn,
        project,
        "SELECT key, hypervisor, native_id FROM owned WHERE project = ?1 AND ours",
    )?;
    // A birth is closed by a known outcome, or by what was later learnt of the
    // object itself: that it is ours, or that it is gone. Where the hypervisor assigns
    // ids, the row of a birth has none.
    let open = open_births(
        conn,
        project,
        "SELECT steps.key, steps.hypervisor, json_extract(steps.intent, '$.identity.intent'),
                nullif(steps.native_id, '')
         FROM steps JOIN runs ON runs.id = steps.run
         WHERE runs.project = ?1 AND steps.birth
           AND (steps.outcome IS NULL OR steps.outcome = 'unknown')
           AND NOT EXISTS (
               SELECT 1 FROM owned
               WHERE owned.project = runs.project AND owned.key = steps.key
                 AND owned.hypervisor = steps.hypervisor
                 AND steps.native_id IN ('', owned.native_id) AND owned.seq > steps.seq)",
    )?;
    Ok(History { owned, open, settled: settled(conn, project)? })
}

fn settled(
    conn: &Connection,
    project: &ProjectName,
) -> Result<BTreeMap<ResourceKey, String>, Failure> {
    let mut statement =
        conn.prepare_cached("SELECT key, digest FROM settled WHERE project = ?1")?;
    let rows = statement
        .query_map([project.as_str()], |row| Ok((key_at(row, 0)?, row.get::<_, String>(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Remembers what entries asked for when they were seen to be so.
pub(super) fn save_settled(
    conn: &Connection,
    project: &ProjectName,
    digests: &BTreeMap<ResourceKey, String>,
) -> Result<(), Failure> {
    let mut statement = conn.prepare_cached(
        "INSERT INTO settled (project, key, digest) VALUES (?1, ?2, ?3)
         ON CONFLICT (project, key) DO UPDATE SET digest = excluded.digest",
    )?;
    for (key, digest) in digests {
        statement.execute(params![project.as_str(), key.to_string(), digest])?;
    }
    Ok(())
}

/// What was written to some objects, over all runs of a project.
pub(super) fn written(
    conn: &Connection,
    project: &ProjectName,
    keys: &BTreeSet<ResourceKey>,
) -> Result<BTreeMap<ResourceKey, Written>, Failure> {
    let mut statement = conn.prepare_cached(
        "SELECT key, iif(outcome IN ('refused', 'not-sent'), NULL,
                         coalesce(finished_ms, accepted_ms, begun_ms)), task
         FROM steps WHERE run IN (SELECT id FROM runs WHERE project = ?1)",
    )?;
    let mut found: BTreeMap<ResourceKey, Written> = BTreeMap::new();
    let mut rows = statement.query([project.as_str()])?;
    while let Some(row) = rows.next()? {
        let key = key_at(row, 0)?;
        if !keys.contains(&key) {
            continue;
        }
        let written = found.entry(key).or_default();
        written.at_ms = written.at_ms.max(row.get(1)?);
        written.tasks.extend(row.get::<_, Option<String>>(2)?.map(TaskRef));
    }
    Ok(found)
}

fn remembered(
    conn: &Connection,
    project: &ProjectName,
    sql: &str,
) -> Result<BTreeSet<Remembered>, Failure> {
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map([project.as_str()], |row| {
        Ok(Remembered { key: key_at(row, 0)?, hypervisor: name_at(row, 1)?, id: name_at(row, 2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn open_births(
    conn: &Connection,
    project: &ProjectName,
    sql: &str,
) -> Result<BTreeSet<OpenBirth>, Failure> {
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map([project.as_str()], |row| {
        Ok(OpenBirth {
            key: key_at(row, 0)?,
            hypervisor: name_at(row, 1)?,
            intent: row.get::<_, String>(2)?.parse().map_err(|error| wrong(2, error))?,
            id: row.get::<_, Option<String>>(3)?.map(|id| id.as_str().into()),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const RUN_COLUMNS: &str = "SELECT id, project, plan_id, kind, who, started_ms, finished_ms, code,
        summary, head, (SELECT count(*) FROM actions WHERE run = runs.id),
        (SELECT count(*) FROM actions WHERE run = runs.id AND state = 'done')
    FROM runs";

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let (id, who): (String, String) = (row.get(0)?, row.get(4)?);
    Ok(RunRow {
        id: id.parse().map_err(|error| wrong(0, error))?,
        project: name_at(row, 1)?,
        plan_id: row.get(2)?,
        kind: row.get(3)?,
        who: serde_json::from_str(&who).map_err(|error| wrong(4, error))?,
        started_ms: row.get(5)?,
        finished_ms: row.get(6)?,
        code: row.get(7)?,
        summary: row.get(8)?,
        head: row.get(9)?,
        actions: row.get(10)?,
        done: row.get(11)?,
    })
}

/// Runs, the newest first.
pub(super) fn runs(
    conn: &Connection,
    project: Option<&ProjectName>,
    limit: u32,
) -> Result<Vec<RunRow>, Failure> {
    let mut statement = conn.prepare_cached(&format!(
        "{RUN_COLUMNS} WHERE ?1 IS NULL OR project = ?1
         ORDER BY started_ms DESC, id DESC LIMIT ?2"
    ))?;
    let rows = statement.query_map(params![project.map(ProjectName::as_str), limit], run_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One run, without its details.
pub(super) fn run_head(conn: &Connection, id: Uuid) -> Result<Option<RunRow>, Failure> {
    let mut statement = conn.prepare_cached(&format!("{RUN_COLUMNS} WHERE id = ?1"))?;
    Ok(statement.query_row([id.to_string()], run_row).optional()?)
}

/// One run with all that is known of it.
pub(super) fn run(conn: &Connection, id: Uuid) -> Result<Option<RunDetail>, Failure> {
    let Some(run) = run_head(conn, id)? else { return Ok(None) };
    let plan_json =
        conn.query_row("SELECT plan FROM runs WHERE id = ?1", [id.to_string()], |row| row.get(0))?;
    let filter = EntryFilter { run: Some(id), key: None, limit: u32::MAX };
    Ok(Some(RunDetail {
        run,
        plan_json,
        actions: actions(conn, id)?,
        steps: steps(conn, id)?,
        entries: chain::entries(conn, &filter)?,
    }))
}

fn actions(conn: &Connection, run: Uuid) -> Result<Vec<ActionRow>, Failure> {
    let mut statement = conn.prepare_cached(
        "SELECT id, key, hypervisor, verb, state, detail, at_ms FROM actions
         WHERE run = ?1 ORDER BY ordinal",
    )?;
    let rows = statement.query_map([run.to_string()], |row| {
        let word: String = row.get(4)?;
        let state = if word == "planned" {
            None
        } else {
            let state: ActionState =
                worded("state", &word, row.get(5)?).map_err(|error| wrong(4, error))?;
            Some(state)
        };
        Ok(ActionRow {
            id: name_at(row, 0)?,
            key: key_at(row, 1)?,
            hypervisor: name_at(row, 2)?,
            verb: row.get(3)?,
            state,
            at_ms: row.get(6)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn steps(conn: &Connection, run: Uuid) -> Result<Vec<StepRow>, Failure> {
    let mut statement = conn.prepare_cached(
        "SELECT id, action, step, attempt, key, hypervisor, native_id, op, before, after, task,
             outcome, detail, begun_ms, accepted_ms, finished_ms
         FROM steps WHERE run = ?1 ORDER BY id",
    )?;
    let rows = statement.query_map([run.to_string()], |row| {
        let word: Option<String> = row.get(11)?;
        let detail = row.get(12)?;
        let outcome: Option<StepOutcome> = word
            .map(|word| worded("outcome", &word, detail))
            .transpose()
            .map_err(|error| wrong(11, error))?;
        Ok(StepRow {
            row: row.get(0)?,
            action: name_at(row, 1)?,
            step: row.get(2)?,
            attempt: row.get(3)?,
            key: key_at(row, 4)?,
            hypervisor: name_at(row, 5)?,
            id: name_at(row, 6)?,
            op: row.get(7)?,
            before: row.get(8)?,
            after: row.get(9)?,
            task: row.get::<_, Option<String>>(10)?.map(TaskRef),
            outcome,
            begun_ms: row.get(13)?,
            accepted_ms: row.get(14)?,
            finished_ms: row.get(15)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Calls of a run whose outcome is not known, in the order in which they were meant.
pub(super) fn open_intents(conn: &Connection, run: Uuid) -> Result<Vec<(i64, Intent)>, Failure> {
    let mut statement = conn.prepare_cached(
        "SELECT id, intent, task FROM steps
         WHERE run = ?1 AND (outcome IS NULL OR outcome = 'unknown') ORDER BY id",
    )?;
    let mut rows = statement.query([run.to_string()])?;
    let mut open = Vec::new();
    while let Some(row) = rows.next()? {
        let mut intent: Intent = serde_json::from_str(&row.get::<_, String>(1)?)?;
        intent.task = row.get::<_, Option<String>>(2)?.map(TaskRef);
        open.push((row.get(0)?, intent));
    }
    Ok(open)
}

/// Keeps the last inventory of one hypervisor.
pub(super) fn save_inventory(
    conn: &Connection,
    project: &ProjectName,
    hypervisor: &HypervisorName,
    body: &str,
    at_ms: i64,
) -> Result<(), Failure> {
    conn.prepare_cached(
        "INSERT INTO inventories (project, hypervisor, at_ms, body) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (project, hypervisor)
         DO UPDATE SET at_ms = excluded.at_ms, body = excluded.body",
    )?
    .execute(params![project.as_str(), hypervisor.as_str(), at_ms, body])?;
    Ok(())
}

/// The last inventory of one hypervisor, and when it was taken.
pub(super) fn last_inventory(
    conn: &Connection,
    project: &ProjectName,
    hypervisor: &HypervisorName,
) -> Result<Option<(HypervisorInventory, i64)>, Failure> {
    let found: Option<(String, i64)> = conn
        .prepare_cached(
            "SELECT body, at_ms FROM inventories WHERE project = ?1 AND hypervisor = ?2",
        )?
        .query_row([project.as_str(), hypervisor.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((body, at_ms)) = found else { return Ok(None) };
    Ok(Some((serde_json::from_str(&body)?, at_ms)))
}

//! The chain: append-only rows, each hashed over the one before it.
//!
//! A row's hash is the SHA-256 of the previous hash (hex), a newline, and the row's
//! JSON as stored, so that `printf '%s\n%s' PREV BODY | sha256sum` checks one row.
//!
//! What walking it can see: a row that was edited, removed or put between others,
//! and rows cut from the end that a run or a step of this file still points to.
//! What it cannot see: a whole file that was replaced or hashed anew from some row
//! on, and a tail that was cut together with everything that points to it. For those
//! there is the head that each run prints: kept outside (a CI log), it must still be
//! found in the chain (`Store::find_head`).

use super::{
    error::Failure,
    rows::{Entry, EntryFilter, EntryRow},
};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt;

/// What stands before the first row.
pub(super) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What walking the chain found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// Rows that are there.
    pub rows: u64,
    /// The hash of the last row; zeros when there is none.
    pub head: String,
    /// The first thing that is wrong.
    pub first_bad: Option<BadRow>,
}

/// A row that breaks the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadRow {
    /// Its place in the chain.
    pub seq: i64,
    /// What is wrong with it.
    pub fault: ChainFault,
}

/// What is wrong with a row of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChainFault {
    /// Its content does not have its hash.
    Edited,
    /// It is not there, and later rows are.
    Missing,
    /// It does not name the hash of the row before it.
    Unlinked,
    /// It is not there, nor is any later row, and a run or a step points to it.
    CutOff,
    /// The run that ended with it recorded another hash for it.
    Rewritten,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            ChainFault::Edited => "was edited: its content does not have its hash",
            ChainFault::Missing => "is missing, though later rows are there",
            ChainFault::Unlinked => "does not follow from the row before it",
            ChainFault::CutOff => "is missing with all rows after it",
            ChainFault::Rewritten => "is not the row that its run recorded as its last",
        };
        write!(f, "row {} of the journal {what}", self.seq)
    }
}

/// The hash of a row.
pub(super) fn digest(prev: &str, body: &str) -> String {
    use fmt::Write as _;
    let hash = Sha256::new().chain_update(prev).chain_update("\n").chain_update(body).finalize();
    hash.iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Puts a row at the end; its `seq` is given here. Must run under the write lock:
/// that is what keeps two processes from following the same row.
pub(super) fn append(conn: &Connection, mut entry: Entry) -> Result<(i64, String), Failure> {
    let (last, prev) = head(conn)?;
    entry.seq = last + 1;
    let body = serde_json::to_string(&entry)?;
    let hash = digest(&prev, &body);
    conn.prepare_cached("INSERT INTO entries (seq, prev, hash, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![entry.seq, prev, hash, body])?;
    Ok((entry.seq, hash))
}

/// Place and hash of the last row.
pub(super) fn head(conn: &Connection) -> Result<(i64, String), Failure> {
    let last = conn
        .prepare_cached("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(last.unwrap_or_else(|| (0, GENESIS.to_owned())))
}

/// Walks the whole chain, one row in memory at a time.
pub(super) fn verify(conn: &Connection) -> Result<ChainReport, Failure> {
    let mut report = ChainReport { rows: 0, head: GENESIS.to_owned(), first_bad: None };
    let mut last = 0;
    let mut statement = conn.prepare("SELECT seq, prev, hash, body FROM entries ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let link = Link::read(row)?;
        let fault = link.fault(last, &report.head);
        if let (Some(fault), None) = (fault, &report.first_bad) {
            // Of a gap, the first row that is missing; else the row itself.
            let seq = if fault == ChainFault::Missing { last + 1 } else { link.seq };
            report.first_bad = Some(BadRow { seq, fault });
        }
        last = link.seq;
        report.head = link.hash;
        report.rows += 1;
    }
    if report.first_bad.is_none() {
        report.first_bad = verify_ends(conn)?;
    }
    Ok(report)
}

/// Holds the chain against the rows elsewhere that point into it: these are what
/// betrays a tail that was cut off.
fn verify_ends(conn: &Connection) -> Result<Option<BadRow>, Failure> {
    let cut: Option<i64> = conn.query_row(
        "SELECT min(seq) FROM (
             SELECT head_seq AS seq FROM runs WHERE head_seq IS NOT NULL
             UNION ALL SELECT seq FROM steps UNION ALL SELECT seq FROM owned)
         WHERE seq > (SELECT coalesce(max(seq), 0) FROM entries)",
        [],
        |row| row.get(0),
    )?;
    if cut.is_some() {
        // Rows that nothing points to may be gone as well; the first that is
        // missing is the one after the last that is there.
        let (last, _) = head(conn)?;
        return Ok(Some(BadRow { seq: last + 1, fault: ChainFault::CutOff }));
    }
    let rewritten: Option<i64> = conn.query_row(
        "SELECT min(runs.head_seq) FROM runs JOIN entries ON entries.seq = runs.head_seq
         WHERE entries.hash <> runs.head",
        [],
        |row| row.get(0),
    )?;
    Ok(rewritten.map(|seq| BadRow { seq, fault: ChainFault::Rewritten }))
}

/// A row as the chain sees it.
struct Link {
    seq: i64,
    prev: String,
    hash: String,
    body: String,
}

impl Link {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { seq: row.get(0)?, prev: row.get(1)?, hash: row.get(2)?, body: row.get(3)? })
    }

    fn fault(&self, last: i64, head: &str) -> Option<ChainFault> {
        if self.seq != last + 1 {
            return Some(ChainFault::Missing);
        }
        if self.prev != head {
            return Some(ChainFault::Unlinked);
        }
        let says = serde_json::from_str(&self.body).map(|entry: Entry| entry.seq);
        let is_own = digest(&self.prev, &self.body) == self.hash;
        (!is_own || says.ok() != Some(self.seq)).then_some(ChainFault::Edited)
    }
}

/// Where a hash stands in the chain.
pub(super) fn find(conn: &Connection, hash: &str) -> Result<Option<i64>, Failure> {
    let sql = "SELECT seq FROM entries WHERE hash = ?1";
    Ok(conn.query_row(sql, [hash], |row| row.get(0)).optional()?)
}

/// The newest entries that a filter lets through, oldest of them first.
pub(super) fn entries(conn: &Connection, filter: &EntryFilter) -> Result<Vec<EntryRow>, Failure> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, prev, hash, body FROM entries
         WHERE (:run IS NULL OR run = :run) AND (:key IS NULL OR key = :key)
         ORDER BY seq DESC LIMIT :limit",
    )?;
    let mut rows = statement.query(named_params! {
        ":run": filter.run.map(|run| run.to_string()),
        ":key": filter.key.as_ref().map(ToString::to_string),
        ":limit": filter.limit,
    })?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let link = Link::read(row)?;
        let entry = serde_json::from_str(&link.body)?;
        found.push(EntryRow { entry, prev: link.prev, hash: link.hash });
    }
    found.reverse();
    Ok(found)
}

/// A part of an export.
pub(super) struct Page {
    /// Its lines.
    pub(super) text: String,
    /// How many.
    pub(super) rows: u64,
    /// The place of the last one.
    pub(super) last: i64,
}

/// Up to `limit` rows after a place, as lines of an export; `None` at the end.
pub(super) fn lines(conn: &Connection, after: i64, limit: u32) -> Result<Option<Page>, Failure> {
    let mut statement = conn.prepare_cached(
        "SELECT seq, prev, hash, body FROM entries WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut rows = statement.query(params![after, limit])?;
    let mut page = Page { text: String::new(), rows: 0, last: after };
    while let Some(row) = rows.next()? {
        let link = Link::read(row)?;
        let Link { seq, prev, hash, body } = &link;
        page.text.push_str(&serde_json::to_string(&Line { body, hash, prev, seq: *seq })?);
        page.text.push('\n');
        page.rows += 1;
        page.last = *seq;
    }
    Ok((page.rows > 0).then_some(page))
}

/// A line of an export. The body is a string, not an object: its bytes are what
/// the hash covers, and a damaged one is carried out as it is.
#[derive(Serialize)]
struct Line<'a> {
    body: &'a str,
    hash: &'a str,
    prev: &'a str,
    seq: i64,
}

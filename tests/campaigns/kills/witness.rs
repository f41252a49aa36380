//! Stands at the cluster's door: every change that arrives must have a row of its own
//! in the journal, written before.

use crate::oracle::{is_about_a_place, named, ops};
use mock_servers::harness::Arrival;
use rusqlite::{Connection, OpenFlags};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};

/// Rows of the journal that were used up, and what came in without one.
pub struct Witness {
    journal: PathBuf,
    used: BTreeSet<i64>,
    pub accusations: Vec<String>,
}

impl Witness {
    pub fn new(journal: PathBuf) -> Self {
        Self { journal, used: BTreeSet::new(), accusations: Vec::new() }
    }

    /// A change has arrived and is not carried out yet.
    pub fn sees(&mut self, arrival: &Arrival) {
        let (call, ops) = (arrival.call, ops(arrival.call));
        let nobodys = is_about_a_place(call).then_some("");
        let about = arrival.object.as_deref().or(nobodys);
        let Some(id) = about.filter(|_| !ops.is_empty()) else {
            self.accusations.push(format!("`{call}` is no call of ours: {}", arrival.text));
            return;
        };
        match self.row(ops, named(id)) {
            Ok(Some(row)) => {
                self.used.insert(row);
            }
            Ok(None) => {
                self.accusations.push(format!("`{call}` of {id} arrived without a row of its own"));
            }
            Err(error) => {
                self.accusations.push(format!("`{call}` of {id} arrived, and no journal: {error}"));
            }
        }
    }

    /// The newest open row that fits and was not used by another request.
    fn row(&self, ops: &[&str], native: &str) -> rusqlite::Result<Option<i64>> {
        let conn = Connection::open_with_flags(&self.journal, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        conn.busy_timeout(Duration::from_secs(10))?;
        // A birth whose id the product chooses is written down under its name.
        let mut statement = conn.prepare(
            "SELECT id, op FROM steps WHERE outcome IS NULL AND (?1 IN ('', native_id)
                 OR birth AND native_id = ''
                 AND json_extract(intent, '$.target.birth.name') = ?1) ORDER BY id DESC",
        )?;
        let mut rows = statement.query([native])?;
        while let Some(row) = rows.next()? {
            let (id, op): (i64, String) = (row.get(0)?, row.get(1)?);
            if ops.contains(&op.as_str()) && !self.used.contains(&id) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}

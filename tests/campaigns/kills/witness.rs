//! Stands at the cluster's door: every change that arrives must have a row of its own
//! in the journal, written before.

use rusqlite::{Connection, OpenFlags};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};

/// Whether a request can change anything.
pub fn is_change(method: &str) -> bool {
    method != "GET"
}

/// Rows of the journal that were used up, and what came in without one.
pub struct Witness {
    journal: PathBuf,
    used: BTreeSet<i64>,
    pub accusations: Vec<String>,
}

/// The words of the journal for a request; the id that it is about, where its path has one.
fn words(method: &str, template: &str, path: &str) -> Option<(&'static [&'static str], Subject)> {
    let part = |n: usize| path.split('/').nth(n).unwrap_or_default().to_owned();
    let guest = || Subject::Is(part(4));
    Some(match (method, template) {
        ("POST", "/nodes/{node}/qemu") => (&["create"], Subject::Any),
        ("POST", "/nodes/{node}/qemu/{vmid}/clone") => (&["clone"], Subject::From(part(4))),
        ("POST" | "PUT", "/nodes/{node}/qemu/{vmid}/config") => (&["configure"], guest()),
        ("PUT", "/nodes/{node}/qemu/{vmid}/resize") => (&["grow-disk"], guest()),
        ("POST", "/nodes/{node}/qemu/{vmid}/status/start") => (&["start"], guest()),
        ("POST", "/nodes/{node}/qemu/{vmid}/status/shutdown") => (&["shutdown"], guest()),
        ("POST", "/nodes/{node}/qemu/{vmid}/status/stop") => (&["stop"], guest()),
        ("DELETE", "/nodes/{node}/qemu/{vmid}") => (&["delete"], guest()),
        ("POST", "/pools") => (&["create-pool"], Subject::Any),
        ("PUT", "/pools" | "/pools/{poolid}") => (&["set-pool", "set-comment"], Subject::Any),
        ("DELETE", "/pools" | "/pools/{poolid}") => (&["delete-pool"], Subject::Any),
        _ => return None,
    })
}

enum Subject {
    /// The path does not say.
    Any,
    /// This native id.
    Is(String),
    /// A copy of this one.
    From(String),
}

impl Witness {
    pub fn new(journal: PathBuf) -> Self {
        Self { journal, used: BTreeSet::new(), accusations: Vec::new() }
    }

    /// A change has arrived and is not carried out yet.
    pub fn sees(&mut self, method: &str, template: &str, path: &str) {
        let Some((ops, subject)) = words(method, template, path) else {
            self.accusations.push(format!("{method} {path} is no call of ours"));
            return;
        };
        match self.row(ops, &subject) {
            Ok(Some(row)) => {
                self.used.insert(row);
            }
            Ok(None) => {
                self.accusations.push(format!("{method} {path} arrived without a row of its own"));
            }
            Err(error) => {
                self.accusations.push(format!("{method} {path} arrived, and no journal: {error}"));
            }
        }
    }

    /// The newest open row that fits and was not used by another request.
    fn row(&self, ops: &[&str], subject: &Subject) -> rusqlite::Result<Option<i64>> {
        let conn = Connection::open_with_flags(&self.journal, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        conn.busy_timeout(Duration::from_secs(10))?;
        let mut statement = conn.prepare(
            "SELECT id, op, native_id, intent FROM steps WHERE outcome IS NULL ORDER BY id DESC",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, op): (i64, String) = (row.get(0)?, row.get(1)?);
            let (native, intent): (String, String) = (row.get(2)?, row.get(3)?);
            let fits = match subject {
                Subject::Any => true,
                Subject::Is(wanted) => native == *wanted,
                Subject::From(source) => {
                    let intent: serde_json::Value =
                        serde_json::from_str(&intent).unwrap_or_default();
                    intent["source"]["id"] == source.as_str()
                }
            };
            if fits && ops.contains(&op.as_str()) && !self.used.contains(&id) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}

//! Proof that a row of the journal is on disk.

use crate::model::Intent;

/// An intent whose row is durable.
///
/// Only this module's parent can make one, after the commit: a mutating call
/// without a row in the journal does not compile.
#[derive(Debug)]
pub struct DurableIntent {
    row: i64,
    intent: Intent,
}

impl DurableIntent {
    pub(super) fn new(row: i64, intent: Intent) -> Self {
        Self { row, intent }
    }

    /// For tests of the runner, whose journal must fail on purpose.
    #[cfg(test)]
    pub(crate) fn in_test(row: i64, intent: Intent) -> Self {
        Self::new(row, intent)
    }

    /// The row.
    pub fn row(&self) -> i64 {
        self.row
    }

    /// What it says.
    pub fn intent(&self) -> &Intent {
        &self.intent
    }
}

//! What can go wrong with the store, each with the path and what to do about it.

use super::LeaseTaken;
use crate::model::{ActionId, HypervisorName, ProjectName};
use rusqlite::ErrorCode;
use std::{io, path::PathBuf, sync::Arc};
use uuid::Uuid;

/// An error of the store. After any of these nothing may be sent.
///
/// Causes are shared, because one failed commit answers every caller in its group.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No room for the row.
    #[error(
        "could not {operation}: the disk that holds the store `{path}` is full; \
         nothing was recorded, so nothing is sent: free some space and run again"
    )]
    DiskFull {
        /// What was being done.
        operation: &'static str,
        /// The database file.
        path: PathBuf,
        /// The cause.
        source: Arc<rusqlite::Error>,
    },
    /// Another process holds the write lock for longer than the busy timeout.
    #[error(
        "could not {operation}: another process has the store `{path}` locked; \
         wait for it to end and run again"
    )]
    Locked {
        /// What was being done.
        operation: &'static str,
        /// The database file.
        path: PathBuf,
        /// The cause.
        source: Arc<rusqlite::Error>,
    },
    /// The file or its folder cannot be written.
    #[error(
        "could not {operation}: the store `{path}` cannot be written; check the owner and mode \
         of the file and its folder, and that the file system is not mounted read-only"
    )]
    ReadOnly {
        /// What was being done.
        operation: &'static str,
        /// The database file.
        path: PathBuf,
        /// The cause.
        source: Arc<rusqlite::Error>,
    },
    /// The folder or the file could not be made.
    #[error(
        "could not open the store `{path}`; check that its folder exists or can be made, \
         and that this user may write there"
    )]
    Folder {
        /// The database file.
        path: PathBuf,
        /// The cause.
        source: Arc<io::Error>,
    },
    /// SQLite cannot read it.
    #[error(
        "could not {operation}: the store `{path}` is damaged; move it aside with its -wal and \
         -shm files and start a new one: that loses history, not control"
    )]
    Damaged {
        /// What was being done.
        operation: &'static str,
        /// The database file.
        path: PathBuf,
        /// The cause.
        source: Arc<rusqlite::Error>,
    },
    /// A row does not hold what this program writes there.
    #[error(
        "could not {operation}: a row of the store `{path}` cannot be understood; \
         `novahost audit verify` names the first bad row of the journal"
    )]
    BadRow {
        /// What was being done.
        operation: &'static str,
        /// The database file.
        path: PathBuf,
        /// The cause.
        source: Arc<serde_json::Error>,
    },
    /// A database of something else.
    #[error("`{path}` is a database, but not a novahost store; name another file for the store")]
    NotAStore {
        /// The file.
        path: PathBuf,
    },
    /// Written by a later program.
    #[error(
        "the store `{path}` has schema version {found}, and this novahost knows versions up to \
         {supported}; use the newer novahost, or another store"
    )]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// The version in the file.
        found: i64,
        /// The last version that this program knows.
        supported: i64,
    },
    /// The file system cannot carry a write-ahead log.
    #[error(
        "the store `{path}` cannot use a write-ahead log (it stays in mode `{mode}`); \
         put it on a local file system"
    )]
    NoWal {
        /// The database file.
        path: PathBuf,
        /// The mode that SQLite stayed in.
        mode: String,
    },
    /// Anything else that SQLite reports.
    #[error("could not {operation} in the store `{path}`")]
    Sqlite {
        /// What was being done.
        operation: &'static str,
        /// The database file.
        path: PathBuf,
        /// The cause.
        source: Arc<rusqlite::Error>,
    },
    /// The thread that owns the database is gone.
    #[error("could not {operation}: the store `{path}` was closed; run again")]
    Closed {
        /// What was being done.
        operation: &'static str,
        /// The database file.
        path: PathBuf,
    },
    /// The thread that owns the database could not be started.
    #[error("could not start a thread for the store `{path}`; check the limits of this user")]
    Thread {
        /// The database file.
        path: PathBuf,
        /// The cause.
        source: Arc<io::Error>,
    },
    /// No run has this id.
    #[error("the store has no run `{0}`; `novahost runs list` shows those it has")]
    NoSuchRun(Uuid),
    /// The run was finished; its journal takes no more calls.
    #[error("run `{0}` is finished; plan again, or resume it")]
    RunFinished(Uuid),
    /// The run does not hold this action.
    #[error("run `{run}` has no action `{action}`")]
    NoSuchAction {
        /// The run.
        run: Uuid,
        /// The action.
        action: ActionId,
    },
    /// A row of another run was given to this one.
    #[error("a step of action `{action}` does not belong to run `{run}`")]
    OtherRun {
        /// The run whose handle was used.
        run: Uuid,
        /// The action of the stray step.
        action: ActionId,
    },
    /// A known outcome is not written over.
    #[error("step {step} of action `{action}` already ended as {outcome}")]
    AlreadyFinished {
        /// The action.
        action: ActionId,
        /// The step, from 0.
        step: u32,
        /// The outcome that stands.
        outcome: String,
    },
    /// Another run holds, or took over, the lease; whoever reads this must stop.
    #[error(
        "run `{run}` does not hold the lease of project `{project}` on `{hypervisor}`{}; \
         plan again once the other run has ended",
        .taken.as_ref().map_or_else(String::new, |taken| format!(": {taken}")),
    )]
    LeaseLost {
        /// The project.
        project: ProjectName,
        /// The hypervisor.
        hypervisor: HypervisorName,
        /// The run that wanted to write.
        run: Uuid,
        /// Who holds it now; `None` when it was released.
        taken: Option<Box<LeaseTaken>>,
    },
    /// The output of an export could not be written.
    #[error("could not write the export")]
    Export(#[source] Arc<io::Error>),
}

impl StoreError {
    /// The same error, met by a caller who was doing something else: a commit or a
    /// lock that fails is told to each in the words of what it wanted.
    pub(super) fn during(mut self, wanted: &'static str) -> Self {
        match &mut self {
            StoreError::DiskFull { operation, .. }
            | StoreError::Locked { operation, .. }
            | StoreError::ReadOnly { operation, .. }
            | StoreError::Damaged { operation, .. }
            | StoreError::BadRow { operation, .. }
            | StoreError::Sqlite { operation, .. }
            | StoreError::Closed { operation, .. } => *operation = wanted,
            StoreError::Folder { .. }
            | StoreError::NotAStore { .. }
            | StoreError::NewerSchema { .. }
            | StoreError::NoWal { .. }
            | StoreError::Thread { .. }
            | StoreError::NoSuchRun(_)
            | StoreError::RunFinished(_)
            | StoreError::NoSuchAction { .. }
            | StoreError::OtherRun { .. }
            | StoreError::AlreadyFinished { .. }
            | StoreError::LeaseLost { .. }
            | StoreError::Export(_) => {}
        }
        self
    }
}

/// An error inside a transaction, before path and operation are known.
#[derive(Debug)]
pub(super) enum Failure {
    Sqlite(rusqlite::Error),
    Json(serde_json::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Failure::Json(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Store(error)
    }
}

impl Failure {
    /// Adds what was being done, and where.
    pub(super) fn at(self, operation: &'static str, path: &std::path::Path) -> StoreError {
        let path = path.to_owned();
        let error = match self {
            Failure::Store(error) => return error,
            Failure::Json(error) => {
                return StoreError::BadRow { operation, path, source: Arc::new(error) };
            }
            Failure::Sqlite(error) => error,
        };
        let code = error.sqlite_error_code();
        let source = Arc::new(error);
        match code {
            Some(ErrorCode::DiskFull) => StoreError::DiskFull { operation, path, source },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                StoreError::Locked { operation, path, source }
            }
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                StoreError::ReadOnly { operation, path, source }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged { operation, path, source }
            }
            _ => StoreError::Sqlite { operation, path, source },
        }
    }
}

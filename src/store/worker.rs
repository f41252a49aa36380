//! One thread that owns one connection, and commits in groups.
//!
//! Callers queue work; the thread drains its queue into one transaction, commits
//! once, and only then answers all of them. So a caller that has its answer has its
//! row on disk, and eight callers share one fsync.

use super::error::{Failure, StoreError};
use rusqlite::Connection;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use tokio::sync::{mpsc, oneshot};

/// Pieces of work that may wait. Far more than actions can be in flight; a full
/// queue makes callers wait, and nothing grows without bound.
const QUEUE_MAX: usize = 1024;
/// Pieces of work in one transaction. A commit costs about as much as a hundred
/// inserts, so more would only lengthen the wait of the first.
const GROUP_MAX: usize = 128;

/// How a worker begins its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Takes the write lock at once and shares commits.
    Write,
    /// One snapshot for each piece of work; never writes.
    Read,
}

/// A queue in front of a connection. Cheap to clone; the thread ends with the last.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    queue: mpsc::Sender<Box<dyn Work>>,
    path: Arc<PathBuf>,
    commits: Arc<AtomicU64>,
}

/// One piece of work, its value once done, and who waits for it.
trait Work: Send {
    fn perform(&mut self, conn: &Connection, path: &Path) -> Result<(), StoreError>;
    #[cfg(feature = "planted")]
    fn purpose(&self) -> &'static str;
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Piece<T, F> {
    operation: &'static str,
    work: Option<F>,
    value: Option<T>,
    waiter: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Work for Piece<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, Failure> + Send,
{
    fn perform(&mut self, conn: &Connection, path: &Path) -> Result<(), StoreError> {
        if let Some(work) = self.work.take() {
            self.value = Some(work(conn).map_err(|failure| failure.at(self.operation, path))?);
        }
        Ok(())
    }

    #[cfg(feature = "planted")]
    fn purpose(&self) -> &'static str {
        self.operation
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { operation, value, waiter, .. } = *self;
        // A waiter that is gone was cancelled: the row stays, and reads as an
        // intent without an outcome, which is what it is.
        match (committed, value) {
            (Ok(()), Some(value)) => drop(waiter.send(Ok(value))),
            (Err(error), _) => drop(waiter.send(Err(error.during(operation)))),
            // Work without a value has failed and was answered with its error.
            (Ok(()), None) => {}
        }
    }
}

impl Worker {
    /// Starts the thread; `open` runs on it, because opening waits for disks too.
    pub(super) async fn start(
        path: &Path,
        mode: Mode,
        open: impl FnOnce() -> Result<Connection, StoreError> + Send + 'static,
    ) -> Result<Self, StoreError> {
        let (queue, work) = mpsc::channel(QUEUE_MAX);
        let (opened, ready) = oneshot::channel();
        let path = Arc::new(path.to_owned());
        let commits = Arc::new(AtomicU64::new(0));
        let desk = Desk { path: Arc::clone(&path), mode, commits: Arc::clone(&commits) };
        thread::Builder::new()
            .name("novahost-store".to_owned())
            .spawn(move || match open() {
                Ok(conn) => {
                    if opened.send(Ok(())).is_ok() {
                        desk.serve(&conn, work);
                    }
                }
                Err(error) => drop(opened.send(Err(error))),
            })
            .map_err(|source| StoreError::Thread {
                path: path.to_path_buf(),
                source: Arc::new(source),
            })?;
        let worker = Self { queue, path, commits };
        ready.await.unwrap_or_else(|_| Err(worker.closed("open it")))?;
        Ok(worker)
    }

    /// Runs `work` in a transaction and returns its value once that is committed.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (waiter, answer) = oneshot::channel();
        let piece = Piece { operation, work: Some(work), value: None, waiter };
        self.queue.send(Box::new(piece)).await.map_err(|_| self.closed(operation))?;
        answer.await.unwrap_or_else(|_| Err(self.closed(operation)))
    }

    /// Transactions committed since it was opened; each is one fsync.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Pieces of work that wait in the queue.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn closed(&self, operation: &'static str) -> StoreError {
        StoreError::Closed { operation, path: self.path.to_path_buf() }
    }
}

/// The thread's side.
struct Desk {
    path: Arc<PathBuf>,
    mode: Mode,
    commits: Arc<AtomicU64>,
}

impl Desk {
    fn serve(&self, conn: &Connection, mut queue: mpsc::Receiver<Box<dyn Work>>) {
        let group_max = match self.mode {
            Mode::Write => GROUP_MAX,
            Mode::Read => 1,
        };
        while let Some(first) = queue.blocking_recv() {
            let mut group = vec![first];
            while group.len() < group_max
                && let Ok(next) = queue.try_recv()
            {
                group.push(next);
            }
            let mut rest = group.into_iter();
            while rest.len() > 0 {
                self.transact(conn, &mut rest);
            }
        }
    }

    /// One transaction over as much of the group as it takes.
    fn transact(&self, conn: &Connection, group: &mut std::vec::IntoIter<Box<dyn Work>>) {
        let begin = match self.mode {
            Mode::Write => "BEGIN IMMEDIATE",
            Mode::Read => "BEGIN DEFERRED",
        };
        if let Err(error) = self.batch(conn, begin, "begin a transaction") {
            for piece in group {
                piece.answer(Err(error.clone()));
            }
            return;
        }
        let mut done = Vec::new();
        let mut outcome = Ok(());
        for mut piece in group.by_ref() {
            match self.perform(conn, piece.as_mut()) {
                Ok(()) => done.push(piece),
                Err(error) => {
                    piece.answer(Err(error.clone()));
                    // A full disk or an I/O error makes SQLite roll the whole
                    // transaction back: what was done before it is gone as well.
                    if conn.is_autocommit() {
                        outcome = Err(error);
                        break;
                    }
                }
            }
        }
        if outcome.is_ok() {
            outcome = self.commit(conn, &done);
        }
        for piece in done {
            piece.answer(outcome.clone());
        }
    }

    /// Work that fails takes back what it wrote, and nothing of its neighbours.
    fn perform(&self, conn: &Connection, piece: &mut dyn Work) -> Result<(), StoreError> {
        if self.mode == Mode::Read {
            return piece.perform(conn, &self.path);
        }
        self.batch(conn, "SAVEPOINT piece", "begin a transaction")?;
        let outcome = piece.perform(conn, &self.path);
        if outcome.is_err() && !conn.is_autocommit() {
            self.batch(conn, "ROLLBACK TO piece", "take back a transaction")?;
        }
        if !conn.is_autocommit() {
            self.batch(conn, "RELEASE piece", "end a transaction")?;
        }
        outcome
    }

    #[cfg_attr(not(feature = "planted"), allow(unused_variables, reason = "only to be named"))]
    fn commit(&self, conn: &Connection, group: &[Box<dyn Work>]) -> Result<(), StoreError> {
        let commit = || self.batch(conn, "COMMIT", "commit");
        #[cfg(feature = "planted")]
        let outcome = if self.mode == Mode::Write {
            let purpose: Vec<&str> = group.iter().map(|it| it.purpose()).collect();
            crate::planted::death::around_commit(&purpose, commit)
        } else {
            commit()
        };
        #[cfg(not(feature = "planted"))]
        let outcome = commit();
        if outcome.is_ok() {
            self.commits.fetch_add(1, Ordering::Relaxed);
        } else if !conn.is_autocommit() {
            // The first error is the one to report; if this fails too, the next
            // transaction cannot begin and says so.
            let _ = conn.execute_batch("ROLLBACK");
        }
        outcome
    }

    fn batch(&self, conn: &Connection, sql: &str, what: &'static str) -> Result<(), StoreError> {
        conn.execute_batch(sql).map_err(|error| Failure::from(error).at(what, &self.path))
    }
}

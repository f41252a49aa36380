//! SQLite: journal, runs, leases, last inventories. All SQL of the project is here.
//!
//! Takes domain verbs, gives back plain rows. One thread owns the connection that
//! writes and commits in groups (`worker`); another reads snapshots. Every row that
//! matters is also a row of a hash chain (`chain`). It asks no clock: every verb is
//! handed the time. Text from hypervisors is kept as it came; making it inert is the
//! duty of whoever shows it. Deciding what an outcome means is the runner's.

mod chain;
mod error;
mod handle;
mod intent;
mod lease;
mod process;
mod read;
mod rows;
mod runs;
mod schema;
mod worker;

#[cfg(test)]
mod tests;

pub use chain::{BadRow, ChainFault, ChainReport};
pub use error::StoreError;
pub use handle::RunHandle;
pub use intent::DurableIntent;
pub use lease::{Lease, LeaseHolder, LeaseTaken};
pub use process::this_process;
pub use rows::{
    ActionRow, ActionState, Entry, EntryFilter, EntryRow, Event, NewRun, RunDetail, RunRow,
    StepOutcome, StepRow, Who, Written,
};

use crate::model::{History, HypervisorInventory, HypervisorName, ProjectName, ResourceKey};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use uuid::Uuid;
use worker::{Mode, Worker};

/// Rows of the chain that an export reads at once; bounds its memory.
const EXPORT_PAGE: u32 = 1000;

/// The store: one database file. Cheap to clone; closed with the last clone.
#[derive(Clone, Debug)]
pub struct Store {
    writer: Worker,
    reader: Worker,
    epochs: Epochs,
}

/// The leases that were given to this process through this store, by run and place.
/// Kept here, not in the file, so that another process that resumes the same run is
/// another holder.
type Epochs = Arc<Mutex<BTreeMap<(Uuid, ProjectName, HypervisorName), i64>>>;

impl Store {
    /// Opens a store, making folder (0700) and file (0600) when missing.
    ///
    /// # Errors
    /// When it cannot be opened or made, is a database of something else, or has a
    /// newer schema than this program knows.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let (to_write, to_read) = (path.to_owned(), path.to_owned());
        let writer = Worker::start(path, Mode::Write, move || schema::open_file(&to_write)).await?;
        let reader = Worker::start(path, Mode::Read, move || schema::open_reader(&to_read)).await?;
        Ok(Self { writer, reader, epochs: Epochs::default() })
    }

    /// Opens a store that is gone with its last clone, for runs that keep nothing.
    ///
    /// # Errors
    /// When there is no memory or thread for it.
    pub async fn open_in_memory() -> Result<Self, StoreError> {
        let path = Path::new(":memory:");
        let writer =
            Worker::start(path, Mode::Write, || schema::open_memory(Path::new(":memory:"))).await?;
        Ok(Self { reader: writer.clone(), writer, epochs: Epochs::default() })
    }

    /// Begins a run. Once this returns, the run is on disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn begin_run(&self, run: NewRun) -> Result<RunHandle, StoreError> {
        let handle = RunHandle::new(self.clone(), &run);
        let entry = handle.entry(Event::RunBegun, run.started_ms);
        self.writer.run("begin a run", move |conn| runs::begin(conn, &run, entry)).await?;
        Ok(handle)
    }

    /// Goes on with a run that broke off or ended with open calls; `None` when there
    /// is none. `who` is whoever resumes it.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub async fn resume_run(
        &self,
        id: Uuid,
        who: Who,
        now_ms: i64,
    ) -> Result<Option<RunHandle>, StoreError> {
        let store = self.clone();
        self.writer
            .run("resume a run", move |conn| {
                let Some(run) = read::run_head(conn, id)? else { return Ok(None) };
                let handle = RunHandle::resumed(store, run, who);
                runs::resume(conn, handle.entry(Event::RunResumed, now_ms))?;
                Ok(Some(handle))
            })
            .await
    }

    /// What the journal remembers of a project: objects created or adopted and not
    /// deleted or forgotten, and births whose outcome is not known.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn history(&self, project: &ProjectName) -> Result<History, StoreError> {
        let project = project.clone();
        self.reader.run("read the history", move |conn| read::history(conn, &project)).await
    }

    /// Remembers what entries asked for when they were seen to be so; the next plan
    /// tells drift from a changed file by it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn save_settled(
        &self,
        project: &ProjectName,
        digests: BTreeMap<ResourceKey, String>,
    ) -> Result<(), StoreError> {
        let project = project.clone();
        self.writer
            .run("remember what is settled", move |conn| {
                read::save_settled(conn, &project, &digests)
            })
            .await
    }

    /// When we last wrote to each of these objects, and the tasks that this made; what
    /// was never written to is left out.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn written(
        &self,
        project: &ProjectName,
        keys: BTreeSet<ResourceKey>,
    ) -> Result<BTreeMap<ResourceKey, Written>, StoreError> {
        let project = project.clone();
        self.reader
            .run("read the last writes", move |conn| read::written(conn, &project, &keys))
            .await
    }

    /// Runs, the newest first, at most `limit`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn runs(
        &self,
        project: Option<&ProjectName>,
        limit: u32,
    ) -> Result<Vec<RunRow>, StoreError> {
        let project = project.cloned();
        self.reader.run("list runs", move |conn| read::runs(conn, project.as_ref(), limit)).await
    }

    /// One run with its actions, steps and entries.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn run(&self, id: Uuid) -> Result<Option<RunDetail>, StoreError> {
        self.reader.run("read a run", move |conn| read::run(conn, id)).await
    }

    /// Calls of a run that were meant and whose outcome is not known, oldest first,
    /// with their tasks. They are to be looked up, never sent again.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn open_intents(&self, run: Uuid) -> Result<Vec<DurableIntent>, StoreError> {
        let open =
            self.reader.run("read open calls", move |conn| read::open_intents(conn, run)).await?;
        Ok(open.into_iter().map(|(row, intent)| DurableIntent::new(row, intent)).collect())
    }

    /// Rows of the chain, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn entries(&self, filter: EntryFilter) -> Result<Vec<EntryRow>, StoreError> {
        self.reader.run("read the journal", move |conn| chain::entries(conn, &filter)).await
    }

    /// Walks the whole chain and names the first bad row.
    ///
    /// A file that was replaced, hashed anew from some row on, or cut short together
    /// with all that points to the end, verifies; only a head that was kept outside
    /// tells (see [`Store::find_head`]).
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn verify_chain(&self) -> Result<ChainReport, StoreError> {
        self.reader.run("verify the journal", chain::verify).await
    }

    /// The place in the chain of a head that some run printed; `None` = the chain no
    /// longer holds it, so it was cut or replaced.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn find_head(&self, head: &str) -> Result<Option<i64>, StoreError> {
        let head = head.trim().to_ascii_lowercase();
        self.reader.run("look up a head", move |conn| chain::find(conn, &head)).await
    }

    /// Writes the chain as JSON lines, so that it can be checked without novahost;
    /// returns how many rows it wrote.
    ///
    /// # Errors
    /// When the chain cannot be read or `out` cannot be written.
    pub async fn export(&self, mut out: impl Write) -> Result<u64, StoreError> {
        let broken = |error| StoreError::Export(Arc::new(error));
        let (mut after, mut rows) = (0, 0);
        loop {
            let page = self
                .reader
                .run("export the journal", move |conn| chain::lines(conn, after, EXPORT_PAGE))
                .await?;
            let Some(page) = page else { break };
            out.write_all(page.text.as_bytes()).map_err(broken)?;
            (after, rows) = (page.last, rows + page.rows);
        }
        out.flush().map_err(broken)?;
        Ok(rows)
    }

    /// Takes a lease for a run on all of these hypervisors, or on none.
    ///
    /// Leases that have run out are taken over, as are those of processes of this machine
    /// that are proved to have ended; they are named in the lease. From here on
    /// every intent of this run is checked against it.
    ///
    /// # Errors
    /// The outer one when the store cannot be written; the inner one when somebody
    /// else has a lease.
    pub async fn acquire_lease(
        &self,
        project: &ProjectName,
        hypervisors: &[HypervisorName],
        holder: LeaseHolder,
        ttl_ms: i64,
        now_ms: i64,
    ) -> Result<Result<Lease, LeaseTaken>, StoreError> {
        let project = project.clone();
        let hypervisors: BTreeSet<_> = hypervisors.iter().cloned().collect();
        let outcome = self
            .writer
            .run("take a lease", move |conn| {
                lease::acquire(conn, &project, &hypervisors, &holder, ttl_ms, now_ms)
            })
            .await?;
        if let Ok(lease) = &outcome {
            let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
            for (hypervisor, epoch) in &lease.epochs {
                let place = (lease.holder.run, lease.project.clone(), hypervisor.clone());
                epochs.insert(place, *epoch);
            }
        }
        Ok(outcome)
    }

    /// Moves the end of a lease to `ttl_ms` from now. The inner error says who has
    /// taken it over; whoever reads that must start nothing more.
    ///
    /// # Errors
    /// The outer one when the store cannot be written.
    pub async fn renew_lease(
        &self,
        lease: &Lease,
        ttl_ms: i64,
        now_ms: i64,
    ) -> Result<Result<Lease, LeaseTaken>, StoreError> {
        let lease = lease.clone();
        self.writer
            .run("renew a lease", move |conn| lease::renew(conn, &lease, ttl_ms, now_ms))
            .await
    }

    /// Gives a lease back. Its run can send nothing more.
    ///
    /// # Errors
    /// When the store cannot be written; the lease then ends by time.
    pub async fn release_lease(&self, lease: &Lease) -> Result<(), StoreError> {
        let lease = lease.clone();
        self.writer.run("release a lease", move |conn| lease::release(conn, &lease)).await
    }

    /// Keeps what a hypervisor reported, in place of what was kept before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn save_inventory(
        &self,
        project: &ProjectName,
        hypervisor: &HypervisorName,
        inventory: &HypervisorInventory,
        at_ms: i64,
    ) -> Result<(), StoreError> {
        let operation = "save an inventory";
        // Serialised here, so that the thread that commits does not do it.
        let body = serde_json::to_string(inventory)
            .map_err(|error| error::Failure::from(error).at(operation, self.writer.path()))?;
        let (project, hypervisor) = (project.clone(), hypervisor.clone());
        self.writer
            .run(operation, move |conn| {
                read::save_inventory(conn, &project, &hypervisor, &body, at_ms)
            })
            .await
    }

    /// What a hypervisor last reported, and when (milliseconds since 1970).
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn last_inventory(
        &self,
        project: &ProjectName,
        hypervisor: &HypervisorName,
    ) -> Result<Option<(HypervisorInventory, i64)>, StoreError> {
        let (project, hypervisor) = (project.clone(), hypervisor.clone());
        self.reader
            .run("read an inventory", move |conn| read::last_inventory(conn, &project, &hypervisor))
            .await
    }

    /// Transactions committed through this store; on a file each is one fsync.
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        self.writer.path()
    }

    fn epoch(&self, run: Uuid, project: &ProjectName, hypervisor: &HypervisorName) -> Option<i64> {
        let epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        epochs.get(&(run, project.clone(), hypervisor.clone())).copied()
    }

    fn forget_epochs(&self, run: Uuid) {
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        epochs.retain(|(of, _, _), _| *of != run);
    }
}

/// An entry that says what happened to whom, and nothing more yet.
fn entry(
    event: Event,
    project: &ProjectName,
    plan_id: String,
    run: Uuid,
    who: Who,
    at_ms: i64,
) -> Entry {
    Entry {
        action: None,
        after: None,
        at_ms,
        attempt: None,
        before: None,
        code: None,
        event,
        hypervisor: None,
        id: None,
        key: None,
        op: None,
        plan_id,
        project: project.clone(),
        run,
        // Given by the chain.
        seq: 0,
        state: None,
        step: None,
        task: None,
        text: None,
        who,
    }
}

//! Opening the database: files, modes, settings, migrations.

use super::error::{Failure, StoreError};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::{fs, path::Path, sync::Arc, thread, time::Duration};

/// Marks the file as ours in SQLite's own header: `nvhs`.
const APPLICATION_ID: i64 = 0x6e76_6873;

/// One batch for each schema version, in order; the number of those that were run
/// is the file's `user_version`. A batch that was released is never edited.
const MIGRATIONS: &[&str] = &[include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// How long a writer waits for another process. Transactions take milliseconds;
/// one that takes this long is a process that hangs.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Tries, 20 ms apart, to switch to the write-ahead log. SQLite does not wait for
/// this lock by itself when two processes open a new file at once.
const WAL_TRIES: u32 = 250;

/// Opens a file for writing, makes it when missing, and brings it up to date.
pub(super) fn open_file(path: &Path) -> Result<Connection, StoreError> {
    make_file(path)
        .map_err(|source| StoreError::Folder { path: path.to_owned(), source: Arc::new(source) })?;
    let open = || -> Result<Connection, Failure> {
        let conn = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        refuse_strangers(&conn, path)?;
        use_wal(&conn, path)?;
        prepare(&conn, path)?;
        Ok(conn)
    };
    open().map_err(|failure| failure.at("open it", path))
}

/// Opens a second connection to a file that `open_file` has prepared.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let open = || -> Result<Connection, Failure> {
        // Not read-only for SQLite: a reader of a write-ahead log writes its lock
        // into the shared index. `query_only` keeps it from writing rows.
        let conn = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        conn.pragma_update(None, "query_only", true)?;
        Ok(conn)
    };
    open().map_err(|failure| failure.at("open it", path))
}

/// Opens a database that lives as long as its thread.
pub(super) fn open_memory(path: &Path) -> Result<Connection, StoreError> {
    let open = || -> Result<Connection, Failure> {
        let conn = Connection::open_in_memory()?;
        prepare(&conn, path)?;
        Ok(conn)
    };
    open().map_err(|failure| failure.at("open it", path))
}

/// Makes folder and file readable by this user only. What exists keeps its mode:
/// somebody may have opened it to a group on purpose. SQLite gives the file's mode
/// to its companions.
fn make_file(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}

fn pragma(conn: &Connection, name: &str) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, name, |row| row.get(0))
}

/// Looks before anything is written: a database of another program, or of a later
/// novahost, is left exactly as it was.
fn refuse_strangers(conn: &Connection, path: &Path) -> Result<(), Failure> {
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && pragma(conn, "application_id")? != APPLICATION_ID {
        return Err(StoreError::NotAStore { path: path.to_owned() }.into());
    }
    let (found, supported) = (pragma(conn, "user_version")?, supported());
    if found > supported {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found, supported }.into());
    }
    Ok(())
}

fn use_wal(conn: &Connection, path: &Path) -> Result<(), Failure> {
    let mut tries = 0;
    loop {
        let switched = conn
            .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0));
        match switched {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => return Err(StoreError::NoWal { path: path.to_owned(), mode }.into()),
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && tries < WAL_TRIES =>
            {
                tries += 1;
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Settings of a writer, then migrations.
fn prepare(conn: &Connection, path: &Path) -> Result<(), Failure> {
    // FULL: a commit returns after fsync. NORMAL would lose the last rows with the
    // power, and with them the proof of calls that were sent.
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // Without this, INSERT OR REPLACE would delete rows past the triggers.
    conn.pragma_update(None, "recursive_triggers", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    // The version is read inside the transaction: of two processes that open a new
    // file, the second finds the work done.
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let migrated = migrate(conn, path);
    let end = || conn.execute_batch(if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" });
    #[cfg(feature = "planted")]
    crate::planted::death::around_commit(&["make it"], end)?;
    #[cfg(not(feature = "planted"))]
    end()?;
    migrated
}

fn migrate(conn: &Connection, path: &Path) -> Result<(), Failure> {
    let (found, supported) = (pragma(conn, "user_version")?, supported());
    if found > supported {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found, supported }.into());
    }
    let done = usize::try_from(found).unwrap_or(0);
    for batch in MIGRATIONS.iter().skip(done) {
        conn.execute_batch(batch)?;
    }
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.pragma_update(None, "user_version", supported)?;
    Ok(())
}

fn supported() -> i64 {
    MIGRATIONS.len() as i64
}

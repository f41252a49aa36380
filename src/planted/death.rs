//! Where a campaign has the program killed around a commit of its journal.
//!
//! `NOVAHOST_DIE_AT_COMMIT=N` with `NOVAHOST_DIE_WHEN=before|after` ends the process
//! with SIGKILL around its commit number N, counted from 0. `NOVAHOST_COMMITS=FILE`
//! writes one line per commit there: what it was for.

use std::{
    io::Write as _,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Commits so far.
static COMMITS: AtomicU64 = AtomicU64::new(0);

/// The commit around which this process ends, and whether after it.
static DEATH: LazyLock<Option<(u64, bool)>> = LazyLock::new(|| {
    let at = std::env::var("NOVAHOST_DIE_AT_COMMIT").ok()?.parse().ok()?;
    Some((at, std::env::var("NOVAHOST_DIE_WHEN").is_ok_and(|it| it == "after")))
});

/// Commits, and dies around it if this is the one.
pub fn around_commit<T>(purpose: &[&str], commit: impl FnOnce() -> T) -> T {
    let number = COMMITS.fetch_add(1, Ordering::SeqCst);
    if let Ok(path) = std::env::var("NOVAHOST_COMMITS") {
        let file = std::fs::File::options().create(true).append(true).open(path);
        // A campaign that misses the line says so.
        let _ = file.and_then(|mut file| writeln!(file, "{}", purpose.join("+")));
    }
    if *DEATH == Some((number, false)) {
        die();
    }
    let outcome = commit();
    if *DEATH == Some((number, true)) {
        die();
    }
    outcome
}

#[cfg(unix)]
fn die() {
    use rustix::process::{Signal, getpid, kill_process};
    let _ = kill_process(getpid(), Signal::KILL);
    loop {
        std::thread::park();
    }
}

#[cfg(not(unix))]
fn die() {
    std::process::abort();
}

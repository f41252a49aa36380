//! Campaigns: the real product against simulated clusters that lie, break, race and die.
//!
//! The product is driven as its users drive it; what happened is judged by an oracle that
//! knows nothing of its code. Sizes are those of a run before every change; a longer one
//! by hand is asked for with `NOVAHOST_CAMPAIGN=long`. Each leaves its figures in
//! `target/campaigns`, from which `.ci/reliability` makes the page.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on says so by failing"
)]

mod faults;
mod fleet;
mod histories;
mod kills;
mod lab;
mod matrix;
mod oracle;
mod page;
mod planted;
mod races;
mod stage;

/// A bug is planted in the whole process: whoever plants has it alone.
static PLANTING: std::sync::RwLock<()> = std::sync::RwLock::new(());

/// Held by a campaign that must find nothing.
fn without_bugs() -> std::sync::RwLockReadGuard<'static, ()> {
    PLANTING.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What all campaigns run in: as many workers as the smallest machine has.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

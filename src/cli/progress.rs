//! What a run shows while it goes on: one line per change, which reads the same on a
//! terminal and in a log.

use super::{error::CliError, output::Output};
use crate::{
    apply::{Ended, Event, ExitClass, Stop},
    model::inert,
};
use std::sync::atomic::Ordering;
use tokio::sync::mpsc::Receiver;

/// Prints events until the run ends.
pub async fn print(mut events: Receiver<Event>, total: usize, output: Output) {
    let mut ended = 0;
    while let Some(event) = events.recv().await {
        match event {
            Event::Began { action } => output.remark(format!("{action} ...")),
            // Single calls are in the journal; here they would bury the actions.
            Event::Step { .. } => {}
            Event::Waits { action, why } => {
                output.remark(format!("{action} waits: {}", inert(&why)));
            }
            Event::Ended { action, ended: how } => {
                let word = match how {
                    Ended::Done => "done",
                    Ended::Failed(_) => "FAILED",
                    Ended::Blocked(_) => "blocked",
                    Ended::Stale(_) => "stale",
                    Ended::Unknown(_) => "UNKNOWN",
                    Ended::Skipped(_) => continue,
                };
                ended += 1;
                output.remark(format!("{action} {word} ({ended}/{total})"));
            }
        }
    }
}

/// A signal came before anything was changed.
pub fn stopped(terminated: bool) -> CliError {
    let class = if terminated { ExitClass::Terminated } else { ExitClass::Interrupted };
    CliError::new(class, "stopped by a signal; nothing was changed")
}

/// Does what changes nothing yet, unless the wish to stop comes first.
pub async fn unless_stopped<T>(stop: &Stop, work: impl Future<Output = T>) -> Result<T, CliError> {
    tokio::select! {
        done = work => Ok(done),
        () = stop.gentle.cancelled() => Err(stopped(stop.terminated.load(Ordering::SeqCst))),
    }
}

/// Ctrl-C once: start nothing new; twice: follow nothing any more.
pub async fn watch_signals(stop: Stop) {
    let mut times = 0;
    loop {
        let terminated = next_signal().await;
        times += 1;
        if terminated {
            stop.terminated.store(true, Ordering::SeqCst);
        }
        if times == 1 {
            stop.gentle.cancel();
        } else {
            stop.detach.cancel();
            return;
        }
    }
}

/// Waits for the next signal; `true` = a request to terminate.
#[cfg(unix)]
pub async fn next_signal() -> bool {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => false,
        _ = terminate.recv() => true,
    }
}

/// Waits for the next signal; `true` = a request to terminate.
#[cfg(not(unix))]
pub async fn next_signal() -> bool {
    let _ = tokio::signal::ctrl_c().await;
    false
}

//! Which exit code a run deserves. Pure.

use super::{Cause, Ended, RunSummary, Signal};

/// Exit codes, worst first: when several apply at once, the first one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExitClass {
    /// A bug of ours.
    Bug,
    /// What became of a call cannot be told.
    Unknown,
    /// Stopped by Ctrl-C.
    Interrupted,
    /// Stopped by a request to terminate.
    Terminated,
    /// Some of it was done, some of it was not.
    Partial,
    /// The plan no longer fits the world; nothing ran.
    Stale,
    /// Another run holds the lock.
    Locked,
    /// Refused by a rule.
    Refused,
    /// Credentials were refused.
    Auth,
    /// A hypervisor was not read completely.
    Incomplete,
    /// The configuration is wrong.
    Config,
    /// Anything else went wrong.
    Error,
    /// There are differences.
    Differences,
    /// All is well.
    Ok,
}

impl ExitClass {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            ExitClass::Bug => 70,
            ExitClass::Unknown => 10,
            ExitClass::Interrupted => 130,
            ExitClass::Terminated => 143,
            ExitClass::Partial => 7,
            ExitClass::Stale => 6,
            ExitClass::Locked => 8,
            ExitClass::Refused => 5,
            ExitClass::Auth => 4,
            ExitClass::Incomplete => 9,
            ExitClass::Config => 3,
            ExitClass::Error => 1,
            ExitClass::Differences => 2,
            ExitClass::Ok => 0,
        }
    }
}

/// The exit class of a run.
pub fn exit_class(summary: &RunSummary) -> ExitClass {
    let ran = summary.anything_ran();
    let ends = summary.actions.iter().map(|action| match (&action.ended, action.cause) {
        (Ended::Done | Ended::Skipped(_), _) => ExitClass::Ok,
        (_, Some(Cause::Bug)) => ExitClass::Bug,
        (Ended::Unknown(_), _) => ExitClass::Unknown,
        // Its cause has its own row; by itself it only makes the run partial.
        (Ended::Blocked(_), _) if !ran => ExitClass::Ok,
        (Ended::Blocked(_) | Ended::Failed(_) | Ended::Stale(_), _) if ran => ExitClass::Partial,
        (Ended::Stale(_), _) => ExitClass::Stale,
        (Ended::Failed(_) | Ended::Blocked(_), cause) => match cause {
            Some(Cause::Auth) => ExitClass::Auth,
            // The interruption speaks for itself below.
            Some(Cause::Interrupted) => ExitClass::Ok,
            Some(Cause::Bug | Cause::Journal | Cause::Other) | None => ExitClass::Error,
        },
    });
    let interrupted = summary.interrupted.map(|signal| match signal {
        Signal::Interrupt => ExitClass::Interrupted,
        Signal::Terminate => ExitClass::Terminated,
    });
    let blocked = (summary.blocked_in_plan > 0).then_some(if ran {
        ExitClass::Partial
    } else {
        ExitClass::Refused
    });
    ends.chain(interrupted).chain(blocked).min().unwrap_or(ExitClass::Ok)
}

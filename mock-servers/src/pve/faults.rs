//! Faults that a test or an operator plants: what may go wrong around one request.

use std::time::Duration;

/// The moment at which a fault may be planted: a request that has been read but not yet carried out.
#[derive(Debug, Clone)]
pub struct FaultPoint {
    /// HTTP method.
    pub method: String,
    /// Path template, such as `/nodes/{node}/qemu/{vmid}/clone`; empty for an unknown path.
    pub template: String,
    /// The path itself.
    pub path: String,
    /// How many requests came before this one.
    pub n: u64,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status and text, without any effect.
    Status(u16, String),
    /// This status and text, although the effect took place (596, `got no worker upid`).
    StatusAfter(u16, String),
    /// The connection breaks before the effect.
    DropBefore,
    /// The connection breaks after the effect.
    DropAfter,
    /// The effect takes place, and only the first half of the reply's body arrives.
    CutBody,
    /// The reply comes late.
    Delay(Duration),
    /// The task begins, then fails with this text.
    TaskFails(String),
    /// The worker is killed in the middle: `unexpected status`, and nothing is cleaned up.
    TaskUnexpectedStatus,
    /// The task succeeds with this warning.
    TaskWarns(String),
}

/// Decides for each request whether something goes wrong.
pub type FaultHook = Box<dyn FnMut(&FaultPoint) -> Option<Fault> + Send>;

/// The part of a fault that concerns the task a request starts.
#[derive(Debug, Clone)]
pub(crate) enum TaskFault {
    Fails(String),
    Vanishes,
    Warns(String),
}

impl Fault {
    pub(crate) fn for_task(&self) -> Option<TaskFault> {
        match self {
            Self::TaskFails(text) => Some(TaskFault::Fails(text.clone())),
            Self::TaskUnexpectedStatus => Some(TaskFault::Vanishes),
            Self::TaskWarns(text) => Some(TaskFault::Warns(text.clone())),
            Self::Status(..)
            | Self::StatusAfter(..)
            | Self::DropBefore
            | Self::DropAfter
            | Self::CutBody
            | Self::Delay(_) => None,
        }
    }
}

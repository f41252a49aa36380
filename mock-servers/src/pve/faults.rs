//! Faults that a test or an operator plants: what may go wrong around one request.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::deeds::Deed;
use crate::harness::{Arrival, FaultPlan};

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
    /// The same request in words that do not depend on the product.
    pub arrival: Arrival,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// This status and text, without any effect.
    Status(u16, String),
    /// This status and text, although the effect took place (596, `got no worker upid`).
    StatusAfter(u16, String),
    /// This status without any effect, with a text that repeats every parameter.
    Echo(u16),
    /// The connection breaks before the effect.
    DropBefore,
    /// The effect takes place, and the connection breaks in the middle of the reply.
    DropDuring,
    /// The connection breaks after the effect.
    DropAfter,
    /// The effect takes place, and only the first half of the reply's body arrives.
    CutBody,
    /// The effect takes place, and the reply's body is this instead.
    Garbage(String),
    /// The reply comes late.
    Delay(#[serde(with = "crate::clock::millis")] Duration),
    /// Nothing happens for so long, and then the connection breaks without any effect.
    HangBefore(#[serde(with = "crate::clock::millis")] Duration),
    /// The effect takes place; the reply never comes, and after so long the connection breaks.
    HangAfter(#[serde(with = "crate::clock::millis")] Duration),
    /// A list is answered as it was the last time that it was asked for.
    Stale,
    /// The task begins, then fails with this text.
    TaskFails(String),
    /// The worker is killed in the middle: `unexpected status`, and nothing is cleaned up.
    TaskUnexpectedStatus,
    /// The task succeeds with this warning.
    TaskWarns(String),
    /// The task takes this much longer.
    TaskSlow(#[serde(with = "crate::clock::millis")] Duration),
    /// Somebody else does this right before; the request itself is served as usual.
    Deed(Deed),
}

/// Decides for each request whether something goes wrong.
pub type FaultHook = Box<dyn FnMut(&FaultPoint) -> Option<Fault> + Send>;

/// A plan of faults as a hook of this simulator.
#[must_use]
pub fn hook(mut plan: FaultPlan<Fault>) -> FaultHook {
    Box::new(move |point| plan.decide(&point.arrival))
}

/// The part of a fault that concerns the task a request starts.
#[derive(Debug, Clone)]
pub(crate) enum TaskFault {
    Fails(String),
    Vanishes,
    Warns(String),
    Slow(Duration),
}

impl Fault {
    pub(crate) fn for_task(&self) -> Option<TaskFault> {
        match self {
            Self::TaskFails(text) => Some(TaskFault::Fails(text.clone())),
            Self::TaskUnexpectedStatus => Some(TaskFault::Vanishes),
            Self::TaskWarns(text) => Some(TaskFault::Warns(text.clone())),
            Self::TaskSlow(time) => Some(TaskFault::Slow(*time)),
            Self::Status(..)
            | Self::StatusAfter(..)
            | Self::Echo(_)
            | Self::DropBefore
            | Self::DropDuring
            | Self::DropAfter
            | Self::CutBody
            | Self::Garbage(_)
            | Self::Delay(_)
            | Self::HangBefore(_)
            | Self::HangAfter(_)
            | Self::Stale
            | Self::Deed(_) => None,
        }
    }
}

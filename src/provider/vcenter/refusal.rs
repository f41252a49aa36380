//! What a fault of the server says of a call: whether to read again, to wait, or to give up.
//!
//! Pure. Faults of calls and of tasks are the same types and mean the same.

use super::vim::{CallError, Fault, FaultKind};
use crate::model::{Refusal, RefusalKind};

/// A refusal in the words of the contract.
pub(super) fn of_fault(fault: &Fault) -> Refusal {
    Refusal { kind: kind(fault), text: words(fault) }
}

/// A call that was refused.
pub(super) fn refused(error: &CallError) -> Refusal {
    match error.fault() {
        Some(fault) => of_fault(fault),
        None => Refusal { kind: RefusalKind::Auth, text: super::observe::joined(error) },
    }
}

fn kind(fault: &Fault) -> RefusalKind {
    match &fault.kind {
        FaultKind::ConcurrentAccess | FaultKind::InvalidPowerState => RefusalKind::Conflict,
        FaultKind::TaskInProgress | FaultKind::FileLocked => RefusalKind::Busy,
        FaultKind::DuplicateName | FaultKind::FileAlreadyExists | FaultKind::AlreadyExists => {
            RefusalKind::Exists
        }
        FaultKind::ManagedObjectNotFound => RefusalKind::Missing,
        FaultKind::NoPermission => RefusalKind::Permission,
        FaultKind::NotAuthenticated | FaultKind::InvalidLogin => RefusalKind::Auth,
        FaultKind::ToolsUnavailable => RefusalKind::GuestDeaf,
        // The product says what it does not like of the request or of the world, or that
        // something went wrong in the middle: a look at the object decides.
        FaultKind::InvalidProperty
        | FaultKind::InvalidType
        | FaultKind::InvalidArgument
        | FaultKind::InvalidRequest
        | FaultKind::InvalidDeviceSpec
        | FaultKind::InvalidVmConfig
        | FaultKind::InvalidName
        | FaultKind::InvalidDatastorePath
        | FaultKind::InvalidState
        | FaultKind::InvalidCollectorVersion
        | FaultKind::RequestCanceled
        | FaultKind::FileNotFound
        | FaultKind::NoDiskSpace
        | FaultKind::InsufficientResourcesFault
        | FaultKind::InsufficientMemoryResourcesFault
        | FaultKind::InsufficientCpuResourcesFault
        | FaultKind::HostNotConnected
        | FaultKind::HostCommunication
        | FaultKind::HostConfigFault
        | FaultKind::Timedout
        | FaultKind::MethodNotFound
        | FaultKind::NotSupported
        | FaultKind::NotImplemented
        | FaultKind::SystemError
        | FaultKind::RuntimeFault
        | FaultKind::Other(_)
        | FaultKind::Untyped(_) => RefusalKind::Invalid,
    }
}

/// A fault in one line: its type, what it is about, and the server's own words.
fn words(fault: &Fault) -> String {
    let mut text = fault.kind.name().to_owned();
    if let Some(privilege) = fault.privilege() {
        text = format!("{text}: the privilege `{privilege}` is missing");
    } else if let Some(subject) = fault.subject() {
        text = format!("{text} ({subject})");
    }
    let said = fault.text.trim();
    match said.is_empty() || said.contains(fault.kind.name()) {
        true => text,
        false => format!("{text}: {said}"),
    }
}

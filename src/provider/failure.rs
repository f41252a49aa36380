//! What an error becomes where nothing is an error to the caller: text, or an inventory
//! that says why it is empty.

use crate::model::{ErrorKind, FailureKind, HypervisorInventory, ProviderError};
use std::error::Error as StdError;

/// An error with its causes on one line, for values that hold text.
pub(super) fn joined(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// An inventory, or one that says why there is none.
pub(super) fn inventory(read: Result<HypervisorInventory, ProviderError>) -> HypervisorInventory {
    read.unwrap_or_else(|error| {
        let kind = match error.kind {
            ErrorKind::Auth => FailureKind::Auth,
            ErrorKind::Certificate | ErrorKind::Identity | ErrorKind::Trust => FailureKind::Trust,
            ErrorKind::Unreachable
            | ErrorKind::Permission
            | ErrorKind::Decode
            | ErrorKind::Refused => FailureKind::Unreachable,
        };
        HypervisorInventory::failed(joined(&error), kind)
    })
}

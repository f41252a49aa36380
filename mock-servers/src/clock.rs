//! The only place of this crate that asks the time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since the epoch.
#[allow(clippy::disallowed_methods)]
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// Milliseconds since the epoch, for waiting times that are shorter than a second when scaled.
#[allow(clippy::disallowed_methods)]
pub(crate) fn unix_millis() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

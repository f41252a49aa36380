//! Exit codes that are not the end of a run. The table of all codes is
//! [`ExitClass`](crate::apply::ExitClass).

/// Wrong usage of the command line: decided before anything runs.
pub const USAGE: u8 = 64;

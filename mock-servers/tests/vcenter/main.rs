//! The simulated vCenter, seen from outside.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod access;
mod births;
mod client;
mod faults;
mod machines;
mod reading;
mod rules;
mod setups;
mod strict;
mod tags;

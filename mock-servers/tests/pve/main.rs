//! The simulated Proxmox VE cluster, seen from outside.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod access;
mod client;
mod faults;
mod guests;
mod http;
mod life;
mod tasks;

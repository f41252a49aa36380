//! All integration tests, as one binary: it links once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on says so by failing"
)]

mod cases;
mod contract;
mod planner;
mod provider_proxmox;
mod readme;
mod support;
mod tidy;

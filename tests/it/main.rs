//! All integration tests, as one binary: it links once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on says so by failing"
)]

mod both;
mod cases;
mod cli_adopt;
mod cli_capacity;
mod cli_drift;
mod cli_edits;
mod cli_exit;
mod cli_help;
mod cli_kill;
mod cli_road;
mod cli_secrets;
mod cli_snapshots;
mod cli_vm;
mod contract;
mod doctor;
mod fuzz;
mod grants_vcenter;
mod hostile;
mod hostile_review;
mod hostile_tree;
mod hostile_world;
mod hostile_yaml;
mod ownership;
mod planner;
#[cfg(feature = "planted")]
mod planted;
mod pools_vcenter;
mod portability;
mod privileges;
mod provider_proxmox;
mod provider_vcenter;
mod readme;
mod scratch;
mod spreads;
mod support;
mod tidy;
mod vcsim;
mod windows;

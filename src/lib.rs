//! novahost plans and applies virtual machines that are written as YAML.
//!
//! One road: YAML becomes a desired state, hypervisors are read into an inventory,
//! the two are compared, a plan is made, guarded, approved, carried out step by
//! step behind a journal, and verified by looking again. ARCHITECTURE.md walks it.

pub mod alloc;
pub mod apply;
pub mod capacity;
pub mod cli;
pub mod clock;
pub mod config;
pub mod diff;
pub mod guard;
pub mod inventory;
pub mod model;
pub mod ownership;
pub mod plan;
pub mod planted;
pub mod provider;
pub mod reconcile;
pub mod report;
pub mod sandbox;
pub mod secrets;
pub mod settings;
pub mod store;
pub mod trust;

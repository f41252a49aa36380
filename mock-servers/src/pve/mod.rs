//! A Proxmox VE cluster behind HTTPS.
//!
//! [`serve`] starts one cluster from a [`World`]; [`Control`] is the operator beside it: it changes the world
//! behind the API's back, plants faults and tells what was asked. Everything reachable through the API behaves
//! as the real daemons do: asynchronous tasks, locks, permissions, stale statistics, late failures.

pub mod access;
mod acl;
mod auth;
mod control;
pub mod deeds;
mod error;
pub mod faults;
mod field;
pub mod form;
mod guest;
mod http;
mod inventory;
mod jobs;
mod keys;
mod locks;
mod nodes;
mod options;
mod pool;
pub mod propstring;
mod record;
mod router;
pub mod schema;
mod server;
mod storage;
mod synthetic;
mod tasks;
pub mod text;
mod tls;
mod truth;
pub mod upid;
mod volumes;
mod work;
pub mod world;

pub use control::{Control, RequestLog};
pub use deeds::Deed;
pub use faults::{Fault, FaultHook, FaultPoint, hook};
pub use options::{FieldModel, Options, Switches, Timing};
pub use schema::Release;
pub use server::{Server, serve};
pub use synthetic::Marker;
pub use world::World;

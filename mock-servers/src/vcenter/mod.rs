//! A vCenter behind HTTPS: the VIM API as SOAP at `/sdk`, and tags as JSON at `/api` and `/rest`.
//!
//! [`serve`] starts one from a [`World`]; [`Control`] is the operator beside it: it changes the world
//! behind the API's back, plants faults and tells what was asked. It is stricter than other simulators
//! where the real product is: order of elements, paging, `changeVersion`, hot-plug rules, tasks that
//! take time, capacity, permissions.
//!
//! In the words of [`crate::harness`], machines are `vm/` and their managed object id, such as
//! `vm/vm-41`; a request that makes one is about `vm/` and the new name. Pools are `pool/` and their
//! name. Every machine has a place for first-boot data, so `seeded` is told from its first start on.

pub mod access;
mod api;
mod collector;
mod control;
pub mod deeds;
pub mod events;
mod fault;
pub mod faults;
mod fixture;
mod guard;
mod guest;
mod http;
mod jobs;
mod live;
mod ops;
mod options;
mod props;
mod record;
mod rest;
mod rest_body;
mod schema;
mod server;
mod session;
mod snapshot;
mod synthetic;
pub mod tagging;
pub mod tasks;
mod time;
mod truth;
mod val;
pub mod vm;
pub mod world;
mod xml;

pub use control::{Control, RequestLog};
pub use deeds::Deed;
pub use faults::{Fault, FaultHook, FaultPoint, hook};
pub use options::{FieldModel, Options, Switches, Timing};
pub use server::{Server, serve};
pub use synthetic::Marker;
pub use world::World;
pub use xml::Elem;

//! The interface of vCenter, called VIM: values, wire format and calls.
//!
//! Pure: [`val`] is what is sent, [`node`] what comes back, [`codec`] the seam between
//! them and a wire format, [`soap`] that format, [`fault`] what a server refuses with,
//! [`error`] what a failed call proves, [`service`] which server answers. Effectful:
//! `http` carries bytes, [`client`] keeps the session, [`collect`] reads many objects in
//! few calls and [`tasks`] follows what runs. None of them knows novahost's model.

pub mod client;
pub mod codec;
pub mod collect;
pub mod error;
pub mod fault;
pub(in crate::provider::vcenter) mod http;
pub mod node;
#[cfg(test)]
mod script;
pub mod service;
pub mod soap;
pub mod tasks;
pub mod val;

pub use client::{ClientSettings, VimClient};
pub use codec::Request;
pub use error::{CallError, Proof};
pub use fault::{Fault, FaultKind};
pub use http::SettingsError;
pub use node::Node;
pub use service::Service;
pub use val::{MoRef, Val};

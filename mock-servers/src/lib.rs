//! Simulators of the hypervisors that novahost manages.
//!
//! They are a second reading of the hypervisors' interfaces: nothing here imports novahost, so that a wrong
//! belief of the client is not repeated by the server it is tested against.

pub mod authority;
mod clock;
pub mod harness;
mod keep;
pub mod pve;
pub mod vcenter;
mod wire;

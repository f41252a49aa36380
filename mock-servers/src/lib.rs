//! Simulators of the hypervisors that novahost manages.
//!
//! They are a second reading of the hypervisors' interfaces: nothing here imports novahost, so that a wrong
//! belief of the client is not repeated by the server it is tested against.

mod clock;
pub mod harness;
pub mod pve;

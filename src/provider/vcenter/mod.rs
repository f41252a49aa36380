//! VMware vCenter.
//!
//! [`vim`] speaks the product's own interface.

mod endpoint;
pub mod vim;

pub use endpoint::{Endpoint, NotAnEndpoint};

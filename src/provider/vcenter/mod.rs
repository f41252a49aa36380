//! VMware vCenter.
//!
//! [`Vcenter`] is the pure half: what the product can do, and in what order it is asked.
//! [`vim`] speaks the product's own interface.

mod endpoint;
mod lower;
mod normalize;
mod product;
mod slots;
pub mod vim;

pub use endpoint::{Endpoint, NotAnEndpoint};
pub use product::Vcenter;

#[cfg(test)]
mod tests;

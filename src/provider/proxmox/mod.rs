//! Proxmox VE.
//!
//! The pure half: [`property`] spells the product's little languages, [`translate`]
//! turns what it reports into the model, [`product`] knows what it can do,
//! `lower` orders the calls of a change, and [`call`] turns one step and a fresh
//! read into one native request. The effectful half: `wire` is their JSON, `client`
//! their HTTP, `observe` reads an inventory, `look` one object, `locate` what became
//! of a lost call, `authors` who changed a machine, `examine` what stands in the way of all that (with [`privileges`],
//! pure, for what the account may do), and `provider` ties them together. [`reply`]
//! walks a reply without a connection.

mod authors;
pub mod call;
mod client;
mod coverage;
mod error;
mod examine;
mod identity;
mod locate;
mod look;
mod lower;
mod normalize;
mod observe;
pub mod privileges;
pub mod product;
pub mod property;
mod provider;
pub mod reply;
mod settings;
mod spelling;
pub mod translate;
mod upid;
mod wire;

#[cfg(test)]
mod tests;

pub use client::Auth;

/// The port of every Proxmox VE node.
pub const PORT: u16 = 8006;
pub use product::Proxmox;
pub use provider::{ProxmoxProvider, Settings};

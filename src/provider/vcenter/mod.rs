//! VMware vCenter.
//!
//! [`vim`] speaks the product's own interface and knows nothing of novahost's model. Pure:
//! `product`, `normalize`, `guarded`, `slots` and `lower` say what can be done and in which calls;
//! `places`, `pools`, `devices`, `translate` and `extra` read answers into the model; `call`,
//! `pool_call` and `device_change` turn a step into one native call; `refusal` reads faults. Effectful:
//! `provider`, `observe`, `rights`, `locate`, `authors` and `examine`.

mod access;
mod authors;
mod call;
mod chains;
mod customize;
mod device_change;
mod devices;
mod editor;
mod examine;
mod extra;
mod grants;
mod guarded;
mod hung;
mod locate;
mod lower;
mod normalize;
mod observe;
mod places;
mod pool_call;
mod pool_share;
mod pools;
mod product;
mod provider;
mod refusal;
mod rest;
mod rights;
mod slots;
mod spreads;
mod tag_book;
mod tagging;
#[cfg(test)]
mod tests;
mod timezones;
mod translate;
pub mod vim;

/// The port of a vCenter. The path of the service is always the same.
pub const PORT: u16 = 443;
pub use customize::declared_setups;
pub use extra::declared_keys;
pub use places::PoolPlace;
pub use product::Vcenter;
pub use provider::{Settings, VcenterProvider};
pub use tagging::DeclaredLabels;

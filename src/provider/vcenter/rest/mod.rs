//! The second interface of vCenter, in JSON: tags are told and set by it alone.
//!
//! [`client`] keeps a session of its own beside the one of [`super::vim`], over the same
//! connections and under the same trust; [`wire`] is the JSON as it is spelt there, in the
//! two forms that servers in the field speak. Knows nothing of novahost's model.

pub(super) mod client;
pub(super) mod wire;

pub(super) use client::{RestClient, RestError};

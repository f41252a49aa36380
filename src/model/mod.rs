//! The nouns that every other module speaks: keys, units, what is desired, what
//! was observed, changes, actions, steps, and the two halves of a provider.
//!
//! Everything here is plain data, ordered and comparable. Nothing in this module
//! decides, waits, reads a file or asks the time; what two other modules must
//! share lives here, so that neither has to import the other.

pub mod answer;
pub mod author;
pub mod canonical;
pub mod change;
pub mod code;
pub mod customization;
pub mod desired;
pub mod draft;
pub mod envelope;
pub mod expect;
pub mod field;
pub mod finding;
pub mod grant;
pub mod history;
pub mod inert;
pub mod intent;
pub mod inventory;
pub mod key;
pub mod marker;
pub mod part;
pub mod plan;
pub mod provider;
pub mod scalar;
pub mod setting;
pub mod spec;
pub mod step;
pub mod target;

pub use answer::*;
pub use author::*;
pub use canonical::{NotCanonical, canonical_json, digest_of, hex, plan_id, pool_address};
pub use change::*;
pub use code::*;
pub use customization::*;
pub use desired::*;
pub use draft::*;
pub use envelope::*;
pub use expect::*;
pub use field::*;
pub use finding::*;
pub use grant::*;
pub use history::*;
pub use inert::{inert, inert_within, is_active, is_invisible, push_inert};
pub use intent::*;
pub use inventory::*;
pub use key::*;
pub use marker::*;
pub use part::*;
pub use plan::*;
pub use provider::*;
pub use scalar::*;
pub use setting::*;
pub use spec::*;
pub use step::*;
pub use target::*;

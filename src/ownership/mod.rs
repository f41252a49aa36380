//! Whose an object is: marker text, binding, the classes and the creation rule.
//!
//! Inputs are observations, outputs are verdicts. Nothing here touches a
//! hypervisor, and nothing else decides what is ours.

mod adopt;
mod classify;
mod snapshots;
mod text;

pub use adopt::{NotAdoptable, WayOut, adoptable};
pub use classify::{Binding, Obstacle, Owned, Ownership, binding, classify};
pub use snapshots::{
    SNAPSHOT_PREFIX, own_snapshots, owns_snapshot, snapshot_mark, snapshot_name, snapshot_note,
};
pub use text::{
    BULK_TAG_PREFIX, MarkerKey, bulk_tag, intent_id, machine_uuid, marked, parse, render,
    split_notes,
};

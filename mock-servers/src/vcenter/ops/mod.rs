//! What the methods do to the world.

pub(super) mod access;
pub(super) mod birth;
pub(super) mod customize;
pub(super) mod devices;
pub(super) mod folders;
pub(super) mod place;
pub(super) mod pools;
pub(super) mod power;
pub(super) mod reconfigure;
pub(super) mod rules;

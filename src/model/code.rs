//! Stable codes: why something is blocked, refused or waits.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Stable codes of refusals, blocks and waits. `explain CODE` will speak of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "`Code::title` says what each one means")]
pub enum Code {
    Duplicate,
    Moved,
    Impostor,
    LostMarker,
    StrayBirth,
    BeingBorn,
    NameTaken,
    IdTaken,
    AddressTaken,
    UnreadableObject,
    IncompleteInventory,
    ScopedInventory,
    FailedHypervisor,
    MissingDevice,
    GarbledMarker,
    RunsUnfinished,
    OtherProject,
    NotAdoptable,
    AlreadyOurs,
    TemplateMissing,
    TemplateMismatch,
    TemplateDisks,
    TemplateSnapshot,
    SetupMissing,
    ImageMissing,
    NetworkMissing,
    StorageMissing,
    NoFeasibleNode,
    NoFreeId,
    DiskShrink,
    Unsupported,
    SnapshotsExist,
    LinkedClones,
    PoolForeign,
    PoolMissing,
    PoolNotEmpty,
    GrantForeign,
    GranteeUnknown,
    RoleChanged,
    GrantRefused,
    Protected,
    SecondWitness,
    Locked,
    Dependency,
    Consent,
    MassAbsence,
    EmptySource,
    Budget,
    Policy,
    Stale,
}

impl Code {
    /// The word used in plans, journals and `explain`.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Duplicate => "duplicate",
            Code::Moved => "moved",
            Code::Impostor => "impostor",
            Code::LostMarker => "lost-marker",
            Code::StrayBirth => "stray-birth",
            Code::BeingBorn => "being-born",
            Code::NameTaken => "name-taken",
            Code::IdTaken => "id-taken",
            Code::AddressTaken => "address-taken",
            Code::UnreadableObject => "unreadable-object",
            Code::IncompleteInventory => "incomplete-inventory",
            Code::ScopedInventory => "scoped-inventory",
            Code::FailedHypervisor => "failed-hypervisor",
            Code::MissingDevice => "missing-device",
            Code::GarbledMarker => "garbled-marker",
            Code::RunsUnfinished => "runs-unfinished",
            Code::OtherProject => "other-project",
            Code::NotAdoptable => "not-adoptable",
            Code::AlreadyOurs => "already-ours",
            Code::TemplateMissing => "template-missing",
            Code::TemplateMismatch => "template-mismatch",
            Code::TemplateDisks => "template-disks",
            Code::TemplateSnapshot => "template-snapshot",
            Code::SetupMissing => "setup-missing",
            Code::ImageMissing => "image-missing",
            Code::NetworkMissing => "network-missing",
            Code::StorageMissing => "storage-missing",
            Code::NoFeasibleNode => "no-feasible-node",
            Code::NoFreeId => "no-free-id",
            Code::DiskShrink => "disk-shrink",
            Code::Unsupported => "unsupported",
            Code::SnapshotsExist => "snapshots-exist",
            Code::LinkedClones => "linked-clones",
            Code::PoolForeign => "pool-foreign",
            Code::PoolMissing => "pool-missing",
            Code::PoolNotEmpty => "pool-not-empty",
            Code::GrantForeign => "grant-foreign",
            Code::GranteeUnknown => "grantee-unknown",
            Code::RoleChanged => "role-changed",
            Code::GrantRefused => "grant-refused",
            Code::Protected => "protected",
            Code::SecondWitness => "second-witness",
            Code::Locked => "locked",
            Code::Dependency => "dependency",
            Code::Consent => "consent",
            Code::MassAbsence => "mass-absence",
            Code::EmptySource => "empty-source",
            Code::Budget => "budget",
            Code::Policy => "policy",
            Code::Stale => "stale",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

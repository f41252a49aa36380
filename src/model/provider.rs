//! The contract of a provider, in two halves.
//!
//! [`Product`] is pure: facts about a product, and translation of intent into
//! steps. `diff` and `plan` see nothing else of it. The effectful half, `Provider`,
//! is in `provider`, because its one mutating call needs a journal row.

use super::{
    Bus, Change, DesiredMachine, Disruption, FieldChange, FieldKind, FieldPath, Lowered,
    MacAddress, MachineSpec, ObservedMachine, Value,
};
use std::collections::BTreeMap;

/// What is known of a product without asking any hypervisor.
pub trait Product: Send + Sync {
    /// What it can do, field by field.
    fn capabilities(&self) -> &Capabilities;

    /// A desired spec, spelt the way the product will report it back. Fields that
    /// the product cannot have are errors here, never dropped.
    fn normalize(&self, machine: &DesiredMachine) -> Result<MachineSpec, Vec<Unsupported>>;

    /// What a change costs the machine that was seen, when it runs or when it does not;
    /// `None` = it cannot be made on a machine that exists. The price may depend on the
    /// values and on the machine; where it does not, it is
    /// [`Capabilities::cost`](Capabilities::cost).
    fn cost(
        &self,
        change: &FieldDelta<'_>,
        seen: &ObservedMachine,
        running: bool,
    ) -> Option<Disruption>;

    /// What two names have in common when the product lets only one machine have them:
    /// the name itself where it compares letter by letter.
    fn name_key(&self, name: &str) -> String;

    /// The single calls, in order, that bring about one change.
    fn lower(&self, change: &Change<'_>) -> Result<Lowered, Vec<Unsupported>>;
}

/// What a product can do.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// The product's name, for people.
    pub product: &'static str,
    /// What changing a field costs on a running machine, as far as the field alone
    /// tells; a field that is not here cannot be changed after birth. Asked for through
    /// [`Product::cost`], which knows the values too.
    pub changes: BTreeMap<FieldKind, Disruption>,
    /// Fields that can be declared but never read back.
    pub unreadable: Vec<FieldKind>,
    /// Whether we choose native ids, as numbers from a range.
    pub chooses_ids: bool,
    /// Whether we choose the machine's UUID.
    pub chooses_uuid: bool,
    /// Hardware addresses that we may derive.
    pub macs: MacRange,
    /// The controller of a disk that names none.
    pub default_bus: Bus,
    /// Whether removing a disk can leave its volume.
    pub detaches_disks: bool,
    /// Whether a linked clone hangs on a snapshot of its template.
    pub linked_needs_snapshot: bool,
    /// What goes together with snapshots.
    pub snapshots: SnapshotRules,
    /// What a person finds under which name.
    pub words: Words,
}

/// What goes together with snapshots of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRules {
    /// Whether a disk can grow while there are any.
    pub disks_grow: bool,
    /// Whether the volume of a disk can be deleted while there are any.
    pub volumes_go: bool,
    /// How many can be taken one on top of the other; `None` = no bound is known.
    pub levels: Option<u32>,
}

/// The product's own words for what help texts point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// The setting of a machine that pins its native id; `None` = ids cannot be pinned.
    pub id_setting: Option<&'static str>,
    /// The setting of a hypervisor that says from which range ids are chosen.
    pub id_range: &'static str,
    /// The part of an object that holds the marker: `notes`.
    pub marker_home: &'static str,
    /// Where a machine can be given a machine UUID.
    pub uuid_home: &'static str,
}

/// Hardware addresses that the product takes from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacRange {
    /// Their first three bytes.
    pub prefix: [u8; 3],
    /// How many of the low bits are ours to choose, 24 at most. What lies between prefix and
    /// these is zero: VMware takes `00:50:56:00:00:00` to `00:50:56:3f:ff:ff`, which is 22.
    pub bits: u8,
}

impl MacRange {
    /// The address that a number stands for; only its low bits count.
    #[must_use]
    pub fn at(self, number: u64) -> MacAddress {
        let free = number & ((1 << u32::from(self.bits.min(24))) - 1);
        let [.., a, b, c] = free.to_be_bytes();
        MacAddress([self.prefix[0], self.prefix[1], self.prefix[2], a, b, c])
    }
}

impl Capabilities {
    /// What changing a field costs on a machine in this power state, whatever its
    /// values: the whole answer of a product whose prices do not depend on them.
    /// `restart` costs nothing on a stopped machine; `reinit` stays.
    pub fn cost(&self, kind: FieldKind, running: bool) -> Option<Disruption> {
        let cost = *self.changes.get(&kind)?;
        Some(match cost {
            Disruption::Restart | Disruption::Online | Disruption::NextBoot if !running => {
                Disruption::None
            }
            other => other,
        })
    }
}

/// One change of one field before anything is decided about it: what it is, and what it
/// is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldDelta<'a> {
    /// Which field.
    pub field: &'a FieldPath,
    /// Its value now; `None` = unset.
    pub before: Option<&'a Value>,
    /// Its value afterwards; `None` = unset.
    pub after: Option<&'a Value>,
}

impl<'a> From<&'a FieldChange> for FieldDelta<'a> {
    fn from(it: &'a FieldChange) -> Self {
        Self { field: &it.field, before: it.before.as_ref(), after: it.after.as_ref() }
    }
}

/// A declared field that a product cannot have, or not like this.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unsupported {
    /// Which field.
    pub field: FieldPath,
    /// Why.
    pub why: String,
    /// What to do.
    pub help: String,
}

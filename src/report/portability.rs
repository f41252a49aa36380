//! Which field can be had on which product, and what a later change costs there.
//!
//! Nothing of it is written down here: every cell is what the product answers when it is
//! asked about a small machine that declares the field, or about the machines given.

mod page;
mod probe;

pub use page::portability_text;

use crate::model::{
    Cdrom, DesiredMachine, DesiredState, Disruption, FieldKind, FieldPath, GuestIdentity, Medium,
    Product, Unsupported,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Fields by product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Portability {
    /// The products, in the order of the columns.
    pub products: Vec<&'static str>,
    /// One row per field.
    pub fields: Vec<FieldRow>,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldRow {
    /// Its path; `NAME` stands for any disk or card.
    pub field: String,
    /// How many machines, or pools, of the configuration use it; none when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<usize>,
    /// What each product does with it, in the order of the columns.
    pub on: Vec<Support>,
}

/// What one product does with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Support {
    /// Whether it can be declared.
    pub create: bool,
    /// What a later change costs a running machine: the usual price, then what else it may
    /// be, depending on machine and values. Empty: it cannot be changed.
    pub change: Vec<Disruption>,
    /// Whether it is compared with what the product reports.
    pub read_back: bool,
    /// Why it cannot be declared, or not as some of the machines do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Reason>,
}

/// Why a product refuses a field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Reason {
    /// In a sentence.
    pub text: String,
    /// What to do.
    pub help: String,
    /// How many machines it is said of; none where no configuration was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machines: Option<usize>,
}

/// Fields that people write: the marker is nobody's, and what a product knows is its own.
fn fields() -> impl Iterator<Item = FieldKind> {
    use FieldKind as K;
    let ours = [K::Marker, K::LabelValues, K::Members, K::Member, K::Enabled];
    FieldKind::ALL.into_iter().filter(move |kind| !ours.contains(kind))
}

/// Every field on every product.
pub fn portability(products: &[&dyn Product]) -> Portability {
    let row = |kind: FieldKind| FieldRow {
        field: shown(kind),
        used: None,
        on: products.iter().map(|product| support(*product, kind)).collect(),
    };
    Portability { products: names(products), fields: fields().map(row).collect() }
}

/// The fields that a configuration uses, on every product: on that of each machine as it is
/// declared, and on the others as if the machine were moved there. `own` is the product of
/// each hypervisor.
pub fn portability_of(
    desired: &DesiredState,
    own: &BTreeMap<crate::model::HypervisorName, &dyn Product>,
    products: &[&dyn Product],
) -> Portability {
    let used = usage(desired);
    let refused: Vec<BTreeMap<FieldKind, Reason>> = products
        .iter()
        .map(|product| {
            let moved = desired.machines.values().map(|machine| {
                let name = product.capabilities().product;
                let home = own.get(&machine.hypervisor).map(|it| it.capabilities().product);
                (machine, home == Some(name))
            });
            refusals(*product, moved)
        })
        .collect();
    let rows = fields().filter(|kind| {
        used.contains_key(kind) || refused.iter().any(|reasons| reasons.contains_key(kind))
    });
    let row = |kind: FieldKind| {
        let one = |(product, reasons): (&&dyn Product, &BTreeMap<FieldKind, Reason>)| {
            let general = support(*product, kind);
            match reasons.get(&kind) {
                Some(reason) => Support { why: Some(reason.clone()), ..general },
                // Of a pool there is nothing that a machine could have asked for otherwise.
                None if kind == FieldKind::Acl => general,
                // What these machines ask for is had, whatever the general answer is.
                None => Support { create: true, why: None, ..general },
            }
        };
        let on = products.iter().zip(&refused).map(one).collect();
        FieldRow { field: shown(kind), used: Some(used.get(&kind).copied().unwrap_or(0)), on }
    };
    Portability { products: names(products), fields: rows.map(row).collect() }
}

fn names(products: &[&dyn Product]) -> Vec<&'static str> {
    products.iter().map(|product| product.capabilities().product).collect()
}

/// `disk.NAME.size`.
fn shown(kind: FieldKind) -> String {
    FieldPath { kind, device: kind.has_device().then(|| "NAME".into()) }.to_string()
}

/// How many objects use each field.
fn usage(desired: &DesiredState) -> BTreeMap<FieldKind, usize> {
    let mut counts = BTreeMap::new();
    let mut count = |kinds: BTreeSet<FieldKind>| {
        for kind in kinds {
            *counts.entry(kind).or_insert(0) += 1;
        }
    };
    for machine in desired.machines.values() {
        let mut kinds = BTreeSet::from([FieldKind::Power]);
        machine.spec.visit(|path, _| {
            kinds.insert(path.kind);
        });
        if machine.spec.disks.keys().any(|name| !name.is_boot()) {
            kinds.insert(FieldKind::Disk);
        }
        if !machine.spec.nics.is_empty() {
            kinds.insert(FieldKind::Nic);
        }
        kinds.extend(machine.snapshots.map(|_| FieldKind::Snapshots));
        kinds.extend(machine.spread.as_ref().map(|_| FieldKind::Spread));
        if let Some(init) = &machine.spec.init {
            kinds.insert(FieldKind::InitDigest);
            kinds.extend(init.password.as_ref().map(|_| FieldKind::InitPassword));
            kinds.extend(init.customization.as_ref().map(|it| match it.identity {
                GuestIdentity::Windows(_) => FieldKind::InitWindows,
                GuestIdentity::Kept(_) => FieldKind::InitCustomization,
            }));
        }
        count(kinds);
    }
    for pool in desired.pools.values() {
        let grants = pool.acl.values().any(|it| !it.is_empty());
        let comment = pool.comment.iter().map(|_| FieldKind::Comment);
        count(comment.chain(grants.then_some(FieldKind::Acl)).collect());
    }
    counts
}

/// What a product refuses of machines, by field.
fn refusals<'a>(
    product: &dyn Product,
    machines: impl Iterator<Item = (&'a DesiredMachine, bool)>,
) -> BTreeMap<FieldKind, Reason> {
    let mut found: BTreeMap<FieldKind, Reason> = BTreeMap::new();
    for (machine, at_home) in machines {
        let refused = match at_home {
            true => product.normalize(machine),
            false => product.normalize(&without_native_words(machine)),
        };
        let mut said = BTreeSet::new();
        for Unsupported { field, why, help } in refused.err().into_iter().flatten() {
            if !said.insert(field.kind) {
                continue;
            }
            let fresh = || Reason { text: why, help, machines: Some(0) };
            let reason = found.entry(field.kind).or_insert_with(fresh);
            reason.machines = reason.machines.map(|count| count + 1);
        }
    }
    found
}

/// The machine without the names of things that another product calls otherwise: whether
/// there is an image there is a question of the configuration, not of the product.
fn without_native_words(machine: &DesiredMachine) -> DesiredMachine {
    let mut moved = machine.clone();
    moved.spec.cdrom = moved.spec.cdrom.map(|_| Cdrom::None);
    if let Some(birth) = &mut moved.birth
        && matches!(birth.medium, Medium::Iso { .. })
    {
        birth.medium = Medium::Template { id: None, name: None, linked: false, snapshot: None };
    }
    moved
}

/// What a product does with a field, by a machine that declares it.
fn support(product: &dyn Product, kind: FieldKind) -> Support {
    let capabilities = product.capabilities();
    let refused = probe::declares(product, kind).and_then(|machine| {
        let errors = product.normalize(&machine).err()?;
        errors.into_iter().find(|error| error.field.kind == kind)
    });
    let why = refused
        .map(|Unsupported { why, help, .. }| Reason { text: why, help, machines: None })
        .or_else(|| probe::pools(product, kind));
    Support {
        create: why.is_none(),
        change: if why.is_none() { probe::prices(product, kind) } else { Vec::new() },
        read_back: !capabilities.unreadable.contains(&kind),
        why,
    }
}

#[cfg(test)]
#[path = "portability/tests.rs"]
mod tests;

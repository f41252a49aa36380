//! What is going on when the program is killed.

mod pve;
mod vcenter;

use crate::stage::Product;

/// How a machine has to stand at the end, whatever was killed on the way.
pub struct End {
    /// Its key.
    pub key: &'static str,
    /// Starts since it was made: one too many is a machine that was started twice.
    pub boots: usize,
    /// Options of its configuration and what they must hold.
    pub holds: &'static [(&'static str, &'static str)],
    /// How many disks of its own it has; where they are disks, EFI and cloud-init drives
    /// included.
    pub volumes: usize,
}

/// A change of a small project.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What was applied before; empty for nothing.
    pub before: &'static str,
    /// What is applied when the program is killed.
    pub after: &'static str,
    /// Consent that it takes.
    pub allow: &'static str,
    /// What may be deleted.
    pub deletes: &'static [&'static str],
    /// Machines at the end; there must be no other ones.
    pub ends: &'static [End],
    /// What there is of pools at the end, and of what keeps machines apart; there must be
    /// nothing else of it.
    pub pools: &'static [&'static str],
}

/// All of a product.
pub fn all(product: Product) -> &'static [Scenario] {
    match product {
        Product::Pve => pve::ALL,
        Product::Vcenter => vcenter::ALL,
    }
}

impl Scenario {
    /// The whole file with this part of it.
    pub fn yaml(product: Product, body: &str, endpoint: &str) -> String {
        let head = match product {
            Product::Pve => pve::HEAD,
            Product::Vcenter => vcenter::HEAD,
        };
        format!("{}{body}", head.replace("ENDPOINT", endpoint))
    }

    /// The command that is killed, and those that go on after it.
    pub fn apply(&self) -> String {
        format!("apply --yes {}", self.allow)
    }
}

//! What may go wrong, by names for reports.

use crate::stage::{Fault, Product};
#[path = "faults_pve.rs"]
mod pve;
#[path = "faults_vcenter.rs"]
mod vcenter;

type Named = Vec<(String, Fault)>;

fn of<F>(all: Vec<(&'static str, F)>, wrap: fn(F) -> Fault) -> Named {
    all.into_iter().map(|(name, fault)| (name.to_owned(), wrap(fault))).collect()
}

/// What the network and the server may do to any request.
pub fn of_the_network(product: Product) -> Named {
    match product {
        Product::Pve => of(pve::network(), Fault::Pve),
        Product::Vcenter => of(vcenter::network(), Fault::Vcenter),
    }
}

/// What may happen to a request that changes something.
pub fn of_tasks(product: Product) -> Named {
    match product {
        Product::Pve => of(pve::tasks(), Fault::Pve),
        Product::Vcenter => of(vcenter::tasks(), Fault::Vcenter),
    }
}

/// What other people may do right before a request that changes something.
pub fn of_people(product: Product) -> Named {
    match product {
        Product::Pve => of(pve::people(), Fault::Pve),
        Product::Vcenter => of(vcenter::people(), Fault::Vcenter),
    }
}

/// Whether this deed puts a machine of somebody else where one of ours is to be.
pub fn brings_strangers(name: &str) -> bool {
    matches!(name, "occupies-id" | "recycles-id" | "occupies-name")
}

/// Whether what people did lasts until somebody mends it.
pub fn lasts(name: &str) -> bool {
    matches!(
        name,
        "hides"
            | "veils"
            | "node-offline"
            | "no-quorum"
            | "other-certificate"
            | "asks"
            | "loses-files"
            | "host-offline"
            | "maintenance"
    )
}

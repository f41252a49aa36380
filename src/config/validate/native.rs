//! What a machine says in the words of its hypervisor's product: its native name, and
//! the names of hosts, storages and ISO images.

use crate::config::decode::Cx;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::raw::{CdromText, Product, RawMachine, is_inventory_name, is_label, is_storage};
use crate::config::resolve::is_iso_of;
use crate::config::scalar::Spanned;
use std::sync::Arc;

/// Characters of a native name on Proxmox VE: what a DNS name may have, since guests get
/// it as theirs.
const DNS_NAME_MAX: usize = 253;

/// Checks what one machine says.
pub(super) fn check(raw: &RawMachine, product: Product, cx: &mut Cx<'_>) {
    if let Some(name) = &raw.name {
        native_name(name, product, cx);
    }
    let placement = raw.placement.as_ref();
    let cluster = placement.and_then(|placement| placement.cluster.as_ref());
    if let (Some(cluster), Product::Proxmox) = (cluster, product) {
        let message = "a machine on Proxmox VE is in the cluster that its `hypervisor` is";
        let problem = Diagnostic::error("other-product", cluster.span, message);
        cx.push(problem.help("remove it, or write `node: NAME`"));
    }
    let cluster = cluster.filter(|_| product == Product::Vcenter);
    if let Some(node) = placement.and_then(|it| it.node.as_ref()).or(cluster) {
        let (fits, what) = match product {
            Product::Proxmox => (is_label(&node.value.0), "the name of a node"),
            Product::Vcenter => (is_inventory_name(&node.value.0), "the name of a cluster"),
        };
        expect(fits, &node.value.0, what, node.span, cx);
    }
    let common = placement.and_then(|placement| placement.storage.as_ref());
    let own = raw.disks.values().filter_map(|disk| disk.value.storage.as_ref());
    for storage in own.chain(common) {
        let (fits, what) = match product {
            Product::Proxmox => {
                (is_storage(&storage.value.0), "the name of a storage, such as `local-lvm`")
            }
            Product::Vcenter => (is_inventory_name(&storage.value.0), "the name of a datastore"),
        };
        expect(fits, &storage.value.0, what, storage.span, cx);
    }
    if let Some(cdrom) = &raw.cdrom
        && let CdromText::Iso(iso) = &cdrom.value
    {
        is_iso_of(product, iso, cdrom.span, cx);
    }
}

fn expect(fits: bool, text: &str, what: &str, span: Span, cx: &mut Cx<'_>) {
    if !fits {
        let shown: String = text.chars().take(80).collect();
        let message = format!("`{shown}` cannot stand here");
        let help = format!("expected {what}");
        cx.push(Diagnostic::error("invalid-value", span, message).help(help));
    }
}

fn native_name(name: &Spanned<Arc<str>>, product: Product, cx: &mut Cx<'_>) {
    let (fits, help) = match product {
        Product::Proxmox => (
            is_dns_name(name),
            "letters, digits and `-`, in parts of at most 63 that are joined by dots",
        ),
        // vCenter takes these three too, and keeps them escaped: two spellings of one name.
        Product::Vcenter => (
            is_inventory_name(name) && !name.contains(['\\', '%']),
            "up to 80 characters, without `/`, `\\` and `%`",
        ),
    };
    if fits {
        return;
    }
    let shown: String = name.chars().take(80).collect();
    let message = format!("`{shown}` cannot be the name of a machine on {}", product.shown());
    cx.push(Diagnostic::error("invalid-name", name.span, message).help(help));
}

/// Proxmox VE takes DNS names only.
fn is_dns_name(name: &str) -> bool {
    name.len() <= DNS_NAME_MAX && name.split('.').all(is_label)
}

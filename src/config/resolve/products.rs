//! What an entry can say at a hypervisor depends on that hypervisor's product.
//!
//! The reader knows no products: `at: { vc-lyon: { bridge: vmbr0 } }` can be told to be
//! wrong only when `vc-lyon` has been looked up.

use super::table::Table;
use crate::config::decode::Cx;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::raw::{
    At, Product, RawHypervisor, RawImageAt, RawNetworkAt, RawPoolAt, RawUserAt, is_iso_file,
    is_iso_volume,
};
use crate::config::scalar::Spanned;

/// A key that is written and that one product alone has.
#[derive(Clone, Copy)]
pub struct OwnKey {
    name: &'static str,
    span: Span,
    product: Product,
}

impl OwnKey {
    fn new<T>(name: &'static str, product: Product, written: Option<&Spanned<T>>) -> Option<Self> {
        written.map(|written| Self { name, span: written.span, product })
    }
}

/// What stands under `at` for one hypervisor.
pub trait AtProduct {
    /// Keys that are written and that one product alone has.
    fn own_keys(&self) -> Vec<OwnKey>;

    /// What can be written for a product.
    fn advice(product: Product) -> &'static str;

    /// A key that must be written for a product, and is not.
    fn missing(&self, product: Product) -> Option<&'static str>;
}

impl AtProduct for RawNetworkAt {
    fn own_keys(&self) -> Vec<OwnKey> {
        let bridge = OwnKey::new("bridge", Product::Proxmox, self.bridge.as_ref());
        let portgroup = OwnKey::new("portgroup", Product::Vcenter, self.portgroup.as_ref());
        bridge.into_iter().chain(portgroup).collect()
    }

    fn advice(product: Product) -> &'static str {
        match product {
            Product::Proxmox => "write `bridge: NAME`",
            Product::Vcenter => "write `portgroup: NAME`",
        }
    }

    fn missing(&self, product: Product) -> Option<&'static str> {
        match product {
            Product::Proxmox => self.bridge.is_none().then_some("bridge"),
            Product::Vcenter => self.portgroup.is_none().then_some("portgroup"),
        }
    }
}

impl RawNetworkAt {
    /// What the network is called there; one of the two is written, which has been checked.
    pub fn native(&self) -> Option<&str> {
        let bridge = self.bridge.as_ref().map(|name| name.as_str());
        bridge.or_else(|| self.portgroup.as_ref().map(|name| name.as_str()))
    }
}

impl AtProduct for RawImageAt {
    fn own_keys(&self) -> Vec<OwnKey> {
        let id = self.template.as_ref().and_then(|template| template.id());
        let id = OwnKey::new("template.id", Product::Proxmox, id);
        let snapshot = OwnKey::new("snapshot", Product::Vcenter, self.snapshot.as_ref());
        id.into_iter().chain(snapshot).collect()
    }

    fn advice(product: Product) -> &'static str {
        match product {
            Product::Proxmox => {
                "write `template: { id: 9000, name: NAME }` or `iso: STORAGE:iso/FILE`"
            }
            Product::Vcenter => "write `template: NAME` or `iso: \"[DATASTORE] FILE\"`",
        }
    }

    /// Whether it is a template or an installer is a question of its own.
    fn missing(&self, _: Product) -> Option<&'static str> {
        None
    }
}

impl AtProduct for RawPoolAt {
    fn own_keys(&self) -> Vec<OwnKey> {
        let folder = OwnKey::new("folder", Product::Vcenter, self.folder.as_ref());
        let pool = OwnKey::new("resource_pool", Product::Vcenter, self.resource_pool.as_ref());
        folder.into_iter().chain(pool).collect()
    }

    fn advice(product: Product) -> &'static str {
        match product {
            Product::Proxmox => "write `{}`: the pool's name says all",
            Product::Vcenter => "write `folder: NAME` and `resource_pool: NAME`, or `{}`",
        }
    }

    fn missing(&self, _: Product) -> Option<&'static str> {
        None
    }
}

impl AtProduct for RawUserAt {
    fn own_keys(&self) -> Vec<OwnKey> {
        OwnKey::new("principal", Product::Vcenter, self.principal.as_ref()).into_iter().collect()
    }

    fn advice(product: Product) -> &'static str {
        match product {
            Product::Proxmox => "leave it out: users on Proxmox VE are not supported yet",
            Product::Vcenter => "write `principal: 'DOMAIN\\NAME'`",
        }
    }

    fn missing(&self, product: Product) -> Option<&'static str> {
        match product {
            Product::Proxmox => None,
            Product::Vcenter => self.principal.is_none().then_some("principal"),
        }
    }
}

/// Whether every hypervisor under `at` exists, and takes what is said for it.
pub fn check_at<T: AtProduct>(at: &At<T>, hypervisors: &Table<RawHypervisor>, cx: &mut Cx<'_>) {
    for (name, there) in &at.0 {
        let found = hypervisors.find(name.as_str(), there.key, cx);
        let Some((_, item)) = found else { continue };
        let (Some(raw), Some(said)) = (&item.value, &there.value.0) else { continue };
        let product = raw.product();
        let other = others(said, product);
        for key in &other {
            let message = format!("`{name}` is {}, which has no `{}`", product.shown(), key.name);
            let problem = Diagnostic::error("other-product", key.span, message);
            cx.push(problem.related(item.key, "the hypervisor").help(T::advice(product)));
        }
        if let (true, Some(missing)) = (other.is_empty(), said.missing(product)) {
            let message = format!("the field `{missing}` is missing");
            let problem = Diagnostic::error("missing-field", there.key, message);
            cx.push(problem.help(T::advice(product)));
        }
    }
}

/// Keys that are written for another product.
pub fn others<T: AtProduct>(said: &T, product: Product) -> Vec<OwnKey> {
    said.own_keys().into_iter().filter(|key| key.product != product).collect()
}

/// Whether an ISO image is named as the product names one; if not, that is reported.
pub fn is_iso_of(product: Product, iso: &str, span: Span, cx: &mut Cx<'_>) -> bool {
    let (fits, form) = match product {
        Product::Proxmox => (is_iso_volume(iso), "STORAGE:iso/FILE"),
        Product::Vcenter => (is_iso_file(iso), "[DATASTORE] FILE"),
    };
    if !fits {
        let shown: String = iso.chars().take(80).collect();
        let message = format!("`{shown}` names no ISO image on {}", product.shown());
        let help = format!("write it as `{form}`");
        cx.push(Diagnostic::error("invalid-value", span, message).help(help));
    }
    fits
}

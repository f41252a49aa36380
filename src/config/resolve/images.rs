//! Images: what machines are born from, on each hypervisor.

use super::products::{self, AtProduct};
use super::table::Table;
use crate::config::decode::Cx;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::raw::{
    CloneMode, GuestInit, Product, RawHypervisor, RawImage, RawImageAt, RawTemplate,
};
use crate::config::scalar::Name;
use crate::model::{BirthSource, Firmware, GuestOs, Medium, NativeId};
use std::collections::BTreeMap;

/// An image, with what it is on each hypervisor.
#[derive(Debug)]
pub struct Image {
    /// What the guest is.
    pub os: GuestOs,
    /// What reads the first-boot configuration of its guests.
    pub reads: GuestInit,
    /// What it needs to boot.
    pub firmware: Option<Firmware>,
    /// Whether the guest agent is in it.
    pub agent: bool,
    /// By hypervisor; `None` = written, but unusable, which has been reported.
    pub at: BTreeMap<Name, Option<Medium>>,
}

impl Image {
    /// What a machine on a hypervisor is born from; `None` when the image is not there.
    pub fn birth(&self, name: &Name, hypervisor: &str) -> Option<BirthSource> {
        let medium = self.at.get(hypervisor)?.clone()?;
        Some(BirthSource {
            image: name.clone(),
            medium,
            firmware: self.firmware,
            takes_init: self.reads != GuestInit::None,
            agent: self.agent,
            os: self.os,
        })
    }
}

/// What is written, for hypervisors that `check_at` has looked at.
pub fn image(
    raw: &RawImage,
    key: Span,
    hypervisors: &Table<RawHypervisor>,
    cx: &mut Cx<'_>,
) -> Image {
    let takes_init = raw.init != GuestInit::None;
    if raw.init == GuestInit::Sysprep && raw.os != GuestOs::Windows {
        let message = "sysprep is the setup of Windows, and the image is another guest's";
        let help = "write `os: windows`, or another word for `init`";
        cx.push(Diagnostic::error("conflict", key, message).help(help));
    }
    let at = raw.at.0.iter().map(|(name, there)| {
        let hypervisor = hypervisors.get(name.as_str()).and_then(|item| item.value.as_ref());
        let said = there.value.0.as_ref().zip(hypervisor);
        let medium = said.and_then(|(raw, it)| medium(raw, it.product(), there.key, cx));
        if let (true, Some(Medium::Iso { .. })) = (takes_init, &medium) {
            let message = "an installer reads no first-boot configuration";
            let help = "remove `init`, or clone a template";
            cx.push(Diagnostic::error("conflict", there.key, message).help(help));
        }
        (name.clone(), medium)
    });
    let reads = raw.init;
    Image { os: raw.os, reads, firmware: raw.firmware, agent: raw.agent, at: at.collect() }
}

fn medium(raw: &RawImageAt, product: Product, key: Span, cx: &mut Cx<'_>) -> Option<Medium> {
    if !products::others(raw, product).is_empty() {
        return None;
    }
    let problem = match (&raw.template, &raw.iso) {
        (Some(template), None) => return cloned(raw, template, product, key, cx),
        (None, Some(iso)) => match (&raw.clone, &raw.snapshot) {
            (None, None) => {
                let volume = &*iso.value.0;
                let fits = products::is_iso_of(product, volume, iso.span, cx);
                return fits.then(|| Medium::Iso { volume: volume.to_owned() });
            }
            (Some(clone), _) => {
                Diagnostic::error("conflict", clone.span, "an ISO image is not cloned")
            }
            (None, Some(snapshot)) => {
                Diagnostic::error("conflict", snapshot.span, "an ISO image has no snapshots")
            }
        },
        (Some(_), Some(iso)) => {
            Diagnostic::error("conflict", iso.span, "a template and an ISO image at once")
        }
        (None, None) => {
            Diagnostic::error("missing-field", key, "nothing says what the image is here")
                .help(RawImageAt::advice(product))
        }
    };
    cx.push(problem);
    None
}

/// A template, and how it is cloned.
fn cloned(
    raw: &RawImageAt,
    template: &RawTemplate,
    product: Product,
    key: Span,
    cx: &mut Cx<'_>,
) -> Option<Medium> {
    let linked = raw.clone.as_ref().filter(|mode| mode.value == CloneMode::Linked);
    let problem = match (product, linked, &raw.snapshot) {
        _ if template.id().is_none() && template.name().is_none() => {
            Diagnostic::error("missing-field", key, "the template has no name").help(
                match product {
                    Product::Proxmox => "write `template: { id: 9000, name: NAME }`",
                    Product::Vcenter => "write `template: NAME`",
                },
            )
        }
        // Without one the product would take whichever snapshot is there at the moment.
        (Product::Vcenter, Some(linked), None) => {
            let message = "a linked clone shares a snapshot of its template, and none is named";
            Diagnostic::error("missing-field", linked.span, message)
                .help("write `snapshot: NAME`, or `clone: full`")
        }
        (Product::Vcenter, None, Some(snapshot)) => {
            let message = "a full clone shares no snapshot of its template";
            Diagnostic::error("conflict", snapshot.span, message)
                .help("write `clone: linked`, or remove `snapshot`")
        }
        (Product::Proxmox | Product::Vcenter, _, snapshot) => {
            return Some(Medium::Template {
                id: template.id().map(|id| NativeId::new(id.value.0.to_string())),
                name: template.name().cloned(),
                linked: linked.is_some(),
                snapshot: snapshot.as_ref().map(|name| name.as_str().to_owned()),
            });
        }
    };
    cx.push(problem);
    None
}

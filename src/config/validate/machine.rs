//! What can be said of one machine without looking at anything else.

use super::native;
use crate::config::decode::Cx;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::raw::{AddressText, Product, RawInit, RawMachine};
use crate::model::{Bus, DeviceName};
use std::collections::BTreeMap;

/// Tags with this beginning mark our own machines.
const OWN_TAG: &str = "nh-";

/// Checks one machine; what depends on the product only where that is known.
pub(super) fn check(raw: &RawMachine, product: Option<Product>, cx: &mut Cx<'_>) {
    if let Some(product) = product {
        native::check(raw, product, cx);
    }
    processors(raw, cx);
    disks(raw, product, cx);
    cards(raw, cx);
    tags_and_notes(raw, cx);
    boot_order(raw, cx);
    if let Some(init) = &raw.init {
        keys_without_user(&init.value, cx);
    }
}

fn processors(raw: &RawMachine, cx: &mut Cx<'_>) {
    let Some(resources) = raw.resources.as_ref().map(|resources| &resources.value) else { return };
    let problem = match (&resources.cpu, &resources.sockets) {
        (Some(cpu), Some(sockets)) if cpu.value.0 % sockets.value.0 != 0 => {
            let (cpu, count) = (cpu.value.0, sockets.value.0);
            let message = format!("{cpu} processors cannot be spread evenly over {count} sockets");
            let below = cpu - cpu % count;
            let near = if below == 0 { count } else { below };
            Diagnostic::error("uneven-sockets", sockets.span, message)
                .help(format!("`cpu` counts all of them; write `cpu: {near}`, or other sockets"))
        }
        (None, Some(sockets)) => {
            Diagnostic::error("missing-field", sockets.span, "`sockets` without `cpu`")
                .help("write `cpu`, the number of processors over all sockets")
        }
        (Some(_) | None, _) => return,
    };
    cx.push(problem);
}

/// The last place on a controller, by Proxmox VE's own limits; the table of the YAML has
/// no more, so for another product this is left to that.
fn last_slot(product: Option<Product>, bus: Bus) -> i64 {
    match product {
        Some(Product::Vcenter) => 30,
        Some(Product::Proxmox) | None => match bus {
            Bus::Scsi => 30,
            Bus::Virtio => 15,
            Bus::Sata => 5,
            Bus::Ide => 3,
        },
    }
}

fn disks(raw: &RawMachine, product: Option<Product>, cx: &mut Cx<'_>) {
    let mut slots: BTreeMap<(Bus, i64), Span> = BTreeMap::new();
    for (name, disk) in &raw.disks {
        if disk.value.size.is_none() && name.as_str() != DeviceName::BOOT {
            let message = format!("the disk `{name}` has no size");
            let help = "write `size`; only `boot` takes its size from the image";
            cx.push(Diagnostic::error("missing-size", disk.key, message).help(help));
        }
        let sizes = [disk.value.size.as_ref()];
        for size in sizes.into_iter().flatten().filter(|size| size.value.0 == 0) {
            cx.push(Diagnostic::error("invalid-value", size.span, "a disk of no size"));
        }
        let Some(slot) = &disk.value.slot else { continue };
        let Some(bus) = &disk.value.bus else {
            let message = format!("the slot of `{name}` is on no controller");
            let help = "write `bus` beside `slot`";
            cx.push(Diagnostic::error("missing-field", slot.span, message).help(help));
            continue;
        };
        let last = last_slot(product, bus.value);
        if slot.value.0 > last {
            let message = format!(
                "{} has no slot {}; the last one is {last}",
                bus.value.as_str(),
                slot.value.0
            );
            cx.push(Diagnostic::error("invalid-value", slot.span, message));
        }
        if let Some(first) = slots.insert((bus.value, slot.value.0), slot.span) {
            let message = format!("{}{} is taken twice", bus.value.as_str(), slot.value.0);
            cx.push(
                Diagnostic::error("duplicate-slot", slot.span, message)
                    .related(first, "the other disk"),
            );
        }
    }
    let resources = raw.resources.as_ref().map(|resources| &resources.value);
    let sizes = resources.map(|resources| [&resources.memory, &resources.disk]);
    for size in sizes.into_iter().flatten().flatten().filter(|size| size.value.0 == 0) {
        cx.push(Diagnostic::error("invalid-value", size.span, "a size of nothing"));
    }
}

fn cards(raw: &RawMachine, cx: &mut Cx<'_>) {
    for nic in raw.nics.values().map(|nic| &nic.value) {
        let fixed = matches!(
            nic.ip.as_ref().map(|ip| ip.value),
            Some(AddressText::Address { .. } | AddressText::Range(_))
        );
        if let (Some(gateway), false) = (&nic.gateway, fixed) {
            let message = "a gateway without a written address means nothing";
            let help = "write the address in `ip`, or remove `gateway`";
            cx.push(Diagnostic::error("conflict", gateway.span, message).help(help));
        }
    }
}

fn tags_and_notes(raw: &RawMachine, cx: &mut Cx<'_>) {
    if let Some(tags) = &raw.tags
        && let Some(own) = tags.value.iter().find(|tag| tag.0.starts_with(OWN_TAG))
    {
        let message =
            format!("the tag `{}` is reserved: `{OWN_TAG}…` marks our own machines", own.0);
        cx.push(Diagnostic::error("reserved", tags.span, message));
    }
    if let Some(notes) = &raw.notes {
        let marker = |line: &str| {
            let line = line.trim_start();
            line.starts_with("novahost/") || line.starts_with("novahost-map/")
        };
        if notes.lines().any(marker) {
            let message = "notes cannot have a line that begins like our own mark";
            let help = "begin the line with another word";
            cx.push(Diagnostic::error("reserved", notes.span, message).help(help));
        }
    }
}

fn boot_order(raw: &RawMachine, cx: &mut Cx<'_>) {
    let Some(order) = &raw.boot else { return };
    let mut seen = order.value.clone();
    seen.sort_unstable();
    if let Some(twice) = seen.windows(2).find(|pair| pair[0] == pair[1]) {
        let message = format!("`{}` is in the boot order twice", twice[0].as_str());
        cx.push(Diagnostic::error("duplicate-value", order.span, message));
    }
}

/// Keys and passwords belong to a user; images differ in whom they would give them to.
fn keys_without_user(init: &RawInit, cx: &mut Cx<'_>) {
    // The setup of a Windows gives it to Administrator.
    if init.user.is_some() || init.windows.is_some() {
        return;
    }
    let keys = init.ssh_keys.as_ref().map(|keys| keys.span);
    if let Some(span) = keys.or(init.password.as_ref().map(|password| password.span)) {
        let message = "keys or a password without `user`: the image decides whose they are";
        cx.push(Diagnostic::warning("no-user", span, message).help("write `user: NAME`"));
    }
}

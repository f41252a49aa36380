//! What only one machine can have: a native name, an id, a hardware address.

use crate::config::decode::Cx;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::resolve::{Outcome, Resolved};
use crate::model::{HypervisorName, MacAddress, NativeId, ResourceKey};
use std::collections::BTreeMap;

/// Checks all machines against each other.
pub(super) fn check(outcome: &Outcome, cx: &mut Cx<'_>) {
    let mut names: BTreeMap<(&HypervisorName, &str), (&Resolved, Span)> = BTreeMap::new();
    let mut ids: BTreeMap<(&HypervisorName, u32), (&Resolved, Span)> = BTreeMap::new();
    let mut macs: BTreeMap<MacAddress, (&Resolved, Span)> = BTreeMap::new();
    let mut adopted: BTreeMap<(&HypervisorName, &NativeId), (&Resolved, Span)> = BTreeMap::new();
    let mut former: BTreeMap<&ResourceKey, (&Resolved, Span)> = BTreeMap::new();
    for machine in &outcome.machines {
        let at = &machine.desired.hypervisor;
        if let Some(name) = machine.desired.spec.name.as_deref() {
            let here = (machine, machine.name);
            if let Some(first) = names.insert((at, name), here) {
                let what = format!("the name `{name}` on `{at}`");
                cx.push(twice("duplicate-native-name", &what, here, first));
            }
        }
        if let Some((id, span)) = machine.vmid
            && let Some(first) = ids.insert((at, id), (machine, span))
        {
            let what = format!("the id {id} on `{at}`");
            cx.push(twice("duplicate-vmid", &what, (machine, span), first));
        }
        if let Some((id, span)) = machine.desired.adopt.as_ref().zip(machine.adopt)
            && let Some(first) = adopted.insert((at, id), (machine, span))
        {
            let what = format!("`adopt: {at}/{id}`");
            cx.push(twice("duplicate-adopt", &what, (machine, span), first));
        }
        if let Some((was, span)) = machine.desired.was.as_ref().zip(machine.was)
            && let Some(first) = former.insert(was, (machine, span))
        {
            let what = format!("`was: {}`", was.name);
            cx.push(twice("duplicate-was", &what, (machine, span), first));
        }
        for (mac, span) in &machine.macs {
            // Bridges of one site are often one segment, so a hardware address is unique everywhere.
            if let Some(first) = macs.insert(*mac, (machine, *span)) {
                let what = format!("the hardware address {mac}");
                cx.push(twice("duplicate-mac", &what, (machine, *span), first));
            }
        }
    }
}

fn twice(
    code: &'static str,
    what: &str,
    here: (&Resolved, Span),
    first: (&Resolved, Span),
) -> Diagnostic {
    let (key, other) = (&here.0.desired.key, &first.0.desired.key);
    if here.0.key == first.0.key {
        return Diagnostic::error(
            code,
            here.1,
            format!("all members of the entry would have {what}"),
        )
        .help("use `{n}`, or write entries of their own");
    }
    // From one line of a profile, both stand in the same place; the entries say more.
    let (at, by) = if here.1 == first.1 { (here.0.key, first.0.key) } else { (here.1, first.1) };
    Diagnostic::error(code, at, format!("`{key}` has {what}, as `{other}` has"))
        .related(by, format!("`{other}` has it here"))
}

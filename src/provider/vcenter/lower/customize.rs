//! A guest that the product sets up at its first start.
//!
//! A step of its own, and not a part of the clone: a description has an entry for each card,
//! and a copy has its own cards only once they have been written. What holds afterwards is
//! that a description waits (`config.tools.pendingCustomization`), which it does until the
//! machine is started. Which one it is, nothing tells: so the digest is in the marker before
//! it is sent to a machine that is made, and what waits with another digest is refused.

use super::{layout::Layout, parts::fault, step};
use crate::{
    model::{
        Expect, FieldKind, FieldPath, MachineSpec, ObservedMachine, PowerState, Seed, SeedNic,
        Step, StepOp, Unsupported, Value,
    },
    provider::checks::customization,
};

/// The step; none when the machine is not set up so. `begin` is what it begins with.
pub(super) fn customize(spec: &MachineSpec, layout: &Layout, begin: Expect) -> Option<Step> {
    let (setup, init) = customization(spec).zip(spec.init.as_ref())?;
    let mut seed = Seed { init: init.clone(), nics: [].into(), slot: None, storage: None };
    for (name, seat) in &layout.seats.nics {
        if let Some(told) = setup.told.nics.get(name) {
            let slot = seat.after().clone();
            let nic = SeedNic { slot, mac: None, ip: told.ip, gateway: told.gateway };
            seed.nics.insert(name.clone(), nic);
        }
    }
    let off = Some(PowerState::Stopped);
    let begin = Expect { power: off, setup_waits: Some(false), ..begin };
    let end = Expect { setup_waits: Some(true), ..Expect::default() };
    Some(step(StepOp::Customize(Box::new(seed)), begin, end))
}

/// The digest of what the machine is told, as a field of an end.
pub(super) fn digest(spec: &MachineSpec) -> Option<(FieldPath, Option<Value>)> {
    let digest = spec.init.as_ref()?.digest.as_deref()?;
    Some((FieldPath::of(FieldKind::InitDigest), Some(digest.into())))
}

/// Why a half-made machine cannot be built to its end: what waits in it says something else
/// than what is declared by now.
pub(super) fn stale(spec: &MachineSpec, seen: &ObservedMachine) -> Option<Unsupported> {
    let told = seen.marker.found().and_then(|marker| marker.init.as_ref());
    let wanted = spec.init.as_ref().and_then(|init| init.digest.as_ref());
    let differs = seen.setup_waits && (customization(spec).is_none() || told != wanted);
    differs.then(|| {
        let why = "what its guest is set up by at the first start was written before it was declared like this, and cannot be taken back";
        let help = "delete the half-made machine in the product, and plan again";
        fault(FieldPath::of(FieldKind::InitDigest), why, help)
    })
}

/// Why the guest of a machine that is in use cannot be set up anew now.
pub(super) fn hindered(seen: &ObservedMachine, runs: bool) -> Option<Unsupported> {
    let documents = seen.settled().init.as_ref().is_some_and(|init| init.hostname.is_some());
    let (why, help) = if documents {
        (
            "it was told by first-boot documents, and its guest would hear both",
            "make a new machine, or write what it was told before",
        )
    } else if runs {
        (
            "a guest is set up at a start, and while it is off until then",
            "write `power: stopped` first, or what it was told before",
        )
    } else if seen.setup_waits {
        (
            "what it is set up by at its next start waits already, and cannot be taken back",
            "start it, and plan again",
        )
    } else {
        return None;
    };
    Some(fault(FieldPath::of(FieldKind::InitDigest), why, help))
}

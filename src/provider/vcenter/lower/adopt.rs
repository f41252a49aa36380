//! Machines that change hands: adopted, renamed, forgotten. One guarded write each, of
//! the marker alone.

use super::{layout::PLACES, marker_of, step};
use crate::{
    model::{Adopt, Lowered, ObservedMachine, Rename, Step, Unsupported},
    provider::adoption::{self, Handover},
};

pub(super) fn lower(adopt: &Adopt<'_>) -> Result<Lowered, Vec<Unsupported>> {
    let bound = adoption::bind(adopt, PLACES);
    if !bound.faults.is_empty() {
        return Err(bound.faults);
    }
    let (handover, notes) = adoption::take_over(adopt, &bound);
    let slots = adoption::bound_slots(bound);
    Ok(Lowered { steps: vec![write(handover)], slots, notes, ..Lowered::default() })
}

pub(super) fn rename(rename: &Rename<'_>) -> Result<Step, Vec<Unsupported>> {
    let from = marker_of(rename.seen)?.key.clone();
    Ok(write(adoption::hand_over(from, rename.to)))
}

pub(super) fn forget(seen: &ObservedMachine) -> Result<Step, Vec<Unsupported>> {
    Ok(write(adoption::let_go(marker_of(seen)?.key.clone())))
}

fn write(Handover { op, begin, end }: Handover) -> Step {
    step(op, begin, end)
}

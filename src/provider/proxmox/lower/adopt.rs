//! Machines that change hands: adopted, renamed, forgotten. One guarded write each, of
//! the marker and the tag alone.

use super::{
    super::{call::NOTES_MAX, normalize},
    layout::PLACES,
    marker_of,
    parts::fault,
    step,
};
use crate::{
    model::{Adopt, FieldKind, FieldPath, Lowered, ObservedMachine, Rename, Step, Unsupported},
    provider::adoption::{self, Handover, Seats},
};

pub(super) fn lower(adopt: &Adopt<'_>) -> Result<Lowered, Vec<Unsupported>> {
    let mut bound = adoption::bind(adopt, PLACES);
    bound.faults.extend(no_room(adopt.seen, &bound.disks, &bound.nics));
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

/// Notes that leave no room for a marker would be found too late, by a call that is
/// refused.
fn no_room(seen: &ObservedMachine, disks: &Seats, nics: &Seats) -> Option<Unsupported> {
    let notes = seen.settled().notes.as_ref().map_or(0, String::len);
    let room = normalize::marker_room(disks.keys().chain(nics.keys()));
    (notes + room > NOTES_MAX).then(|| {
        let why = format!("its notes of {notes} bytes leave no room for the marker");
        fault(FieldPath::of(FieldKind::Notes), why, "shorten the notes of the machine first")
    })
}

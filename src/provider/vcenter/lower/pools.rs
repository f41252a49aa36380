//! Pools: each part that is missing is made and, where it is the pool's own, marked.

use super::step;
use crate::{
    model::{
        DesiredPool, Expect, FieldKind, FieldPath, ObservedPool, PartKind, PartState, PoolChange,
        PoolPart, Step, StepOp, Unsupported, Value,
    },
    provider::{
        lowering::fault,
        vcenter::pools::{COMMENT, MARK},
    },
};

/// What is missing, from outside to inside: the definition of the mark first, since whatever
/// is made has to be marked.
pub(super) fn create(change: &PoolChange<'_>) -> Result<Vec<Step>, Vec<Unsupported>> {
    let seen = seen(change)?;
    let missing = |own: bool| {
        let parts = seen
            .parts
            .iter()
            .filter(move |(part, _)| part.kind != PartKind::Mark && (part.kind.is_own() || !own));
        parts.filter(|(_, it)| it.named && it.id.is_none()).map(|(part, _)| part)
    };
    let mut steps = Vec::new();
    if missing(true).next().is_some() {
        steps.extend(define(seen, MARK));
    }
    for part in missing(false) {
        steps.push(on_part(StepOp::MakePart { part: part.clone() }, PartState::There));
        if part.kind.is_own() {
            steps.push(on_part(StepOp::MarkPart { part: part.clone() }, PartState::Marked));
        }
    }
    if !steps.is_empty() {
        steps.extend(comment(change.pool, seen));
    }
    Ok(steps)
}

pub(super) fn update(change: &PoolChange<'_>) -> Result<Vec<Step>, Vec<Unsupported>> {
    Ok(comment(change.pool, seen(change)?))
}

/// Each part of ours; what it holds was proved to be nothing in the plan, and is again right
/// before the call: what is in it goes with it.
pub(super) fn delete(seen: &ObservedPool) -> Vec<Step> {
    let Some(marker) = seen.marker.found() else { return Vec::new() };
    let own = seen.parts.iter().rev().filter(|(part, _)| part.kind.is_own());
    let ours = own.filter(|(_, it)| it.is_marked_by(&marker.project, &marker.key));
    ours.map(|(part, _)| on_part(StepOp::RemovePart { part: part.clone() }, PartState::Absent))
        .collect()
}

fn seen<'a>(change: &PoolChange<'a>) -> Result<&'a ObservedPool, Vec<Unsupported>> {
    change.seen.ok_or_else(|| {
        let why = "where its folder and its resource pool would be cannot be seen";
        let help = "name the datacenter in the hypervisor's `defaults.datacenter`";
        vec![fault(FieldPath::of(FieldKind::Comment), why, help)]
    })
}

fn define(seen: &ObservedPool, attribute: &str) -> Option<Step> {
    let part = PoolPart::new(PartKind::Mark, attribute);
    let is_missing = seen.part(&part) == PartState::Absent;
    is_missing.then(|| on_part(StepOp::MakePart { part }, PartState::There))
}

fn on_part(op: StepOp, state: PartState) -> Step {
    let part = op.part().cloned();
    let parts = part.into_iter().map(|part| (part, state)).collect();
    step(op, Expect::default(), Expect { parts, ..Expect::default() })
}

/// The comment, on the first part of ours.
fn comment(pool: &DesiredPool, seen: &ObservedPool) -> Vec<Step> {
    let Some(text) = &pool.comment else { return Vec::new() };
    let text = text.trim_end().to_owned();
    if text == seen.comment {
        return Vec::new();
    }
    let fields = [(FieldPath::of(FieldKind::Comment), Some(Value::Text(text.clone())))].into();
    let end = Expect { fields, ..Expect::default() };
    let write = step(StepOp::SetComment { comment: text }, Expect::default(), end);
    define(seen, COMMENT).into_iter().chain([write]).collect()
}

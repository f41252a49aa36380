//! What an object says of a call whose reply was lost. Pure, and the same for every
//! product: an end is stated in the model's words.

use crate::model::{
    Expect, FieldKind, FieldPath, FreshObject, GrantEnd, Intent, LockKind, Marker, MarkerState,
    ObservedMachine, ObservedPool, PartState, PoolPart, RoleSeen, Value,
};
use std::collections::BTreeSet;

/// What the object says of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// What the call was to bring about holds.
    Happened,
    /// It does not hold, and this is what is there instead.
    NotThere(String),
    /// Somebody is at work on the object.
    InFlight(String),
    /// The call has no end that a look could tell.
    CannotTell(String),
}

pub(super) fn judge_object(intent: &Intent, object: &FreshObject) -> Evidence {
    let birth = matches!(intent.op.as_str(), "clone" | "create" | "create-pool" | "create-spread");
    if !intent.end.parts.is_empty() {
        return judge_parts(intent, object);
    }
    match object {
        FreshObject::Unreadable(why) => Evidence::InFlight(why.clone()),
        FreshObject::Absent if intent.end.exists == Some(false) => Evidence::Happened,
        FreshObject::Absent => Evidence::NotThere(format!("{} does not exist", intent.target)),
        FreshObject::Machine(machine) if birth => judge_birth(intent, machine),
        FreshObject::Machine(machine) => match holds(&intent.end, machine) {
            Some(true) => Evidence::Happened,
            Some(false) => match machine.lock.as_ref() {
                // A hibernated guest keeps its lock for ever: nobody works on it.
                Some(lock) if lock.kind != LockKind::NeedsPerson => {
                    Evidence::InFlight(format!("{} has lock `{}`", intent.target, lock.text))
                }
                Some(_) | None => Evidence::NotThere(format!("{} is as it was", intent.target)),
            },
            None => Evidence::CannotTell("the call leaves no trace that a look could find".into()),
        },
        FreshObject::Pool(pool) if birth => {
            if is_ours(intent, &pool.marker) {
                Evidence::Happened
            } else {
                Evidence::NotThere(format!("{} is another's", intent.target))
            }
        }
        FreshObject::Pool(_) if intent.end.exists == Some(false) => {
            Evidence::NotThere(format!("{} is still there", intent.target))
        }
        FreshObject::Spread(_) if intent.end.exists == Some(false) => {
            Evidence::NotThere(format!("{} is still there", intent.target))
        }
        FreshObject::Spread(spread) => {
            let reached = |(path, wanted): (&FieldPath, &Option<Value>)| {
                path.kind.is_reached(wanted.as_ref(), spread.value(path).as_ref())
            };
            match intent.end.fields.iter().all(reached) {
                true => Evidence::Happened,
                false => Evidence::NotThere(format!("{} is as it was", intent.target)),
            }
        }
        FreshObject::Pool(pool) if grants(&intent.end) => match granted(&intent.end, pool) {
            true => Evidence::Happened,
            false => Evidence::NotThere(format!("{} is as it was", intent.target)),
        },
        // A comment has no version, but a call whose end held already is never sent.
        FreshObject::Pool(pool) => {
            match intent.end.fields.get(&FieldPath::of(FieldKind::Comment)) {
                Some(Some(Value::Text(wanted))) if *wanted == pool.comment => Evidence::Happened,
                Some(_) => Evidence::NotThere(format!("{} is as it was", intent.target)),
                None => {
                    Evidence::CannotTell("the call leaves no trace that a look could find".into())
                }
            }
        }
    }
}

/// Whether an end is about what somebody is granted.
fn grants(end: &Expect) -> bool {
    !end.grants.is_empty() || !end.roles.is_empty()
}

/// Whether roles allow what they should, and everybody has what they are to have.
fn granted(end: &Expect, pool: &ObservedPool) -> bool {
    let is_whole = |role| pool.access.roles.get(role) == Some(&RoleSeen::Whole);
    let none = BTreeSet::new();
    let holds = |it: &GrantEnd| it.holds(pool.parts.get(&it.part).map_or(&none, |it| &it.grants));
    end.roles.iter().all(is_whole) && end.grants.iter().all(holds)
}

/// Parts of a pool say of themselves how they stand. Whose a part is that stands there now,
/// they do not say: the runner marks none by a look alone.
fn judge_parts(intent: &Intent, object: &FreshObject) -> Evidence {
    let stands = |part: &PoolPart| match object {
        FreshObject::Pool(pool) => Ok(pool.part(part)),
        FreshObject::Absent => Ok(PartState::Absent),
        FreshObject::Machine(_) | FreshObject::Spread(_) => {
            Err("something else was read instead of a pool")
        }
        FreshObject::Unreadable(why) => Err(why.as_str()),
    };
    for (part, wanted) in &intent.end.parts {
        match stands(part) {
            Ok(state) if state.meets(*wanted) => {}
            Ok(_) => return Evidence::NotThere(format!("`{part}` is as it was")),
            Err(why) => return Evidence::InFlight(why.to_owned()),
        }
    }
    Evidence::Happened
}

/// A birth happened when the machine at the claimed id carries our intent and the
/// product's own lock is gone.
fn judge_birth(intent: &Intent, machine: &ObservedMachine) -> Evidence {
    let working = machine.lock.as_ref().filter(|lock| lock.kind == LockKind::Birth);
    match (is_ours(intent, &machine.marker), working) {
        (true, None) => Evidence::Happened,
        (_, Some(lock)) => {
            Evidence::InFlight(format!("{} has lock `{}`", intent.target, lock.text))
        }
        (false, None) => Evidence::NotThere(format!("{} is another machine", intent.target)),
    }
}

fn is_ours(intent: &Intent, marker: &MarkerState) -> bool {
    let same = |marker: &Marker| {
        let wanted = &intent.identity;
        marker.project == wanted.project
            && marker.key == wanted.key
            && marker.intent == wanted.intent
    };
    marker.found().is_some_and(same)
}

/// Whether an end holds; `None` when it asks nothing.
pub(super) fn holds(end: &Expect, machine: &ObservedMachine) -> Option<bool> {
    if end.is_empty() {
        return None;
    }
    let stage = machine.marker.found().map(|marker| marker.stage);
    let spec = if end.in_force { &machine.spec } else { machine.settled() };
    let fields = end.fields.iter().all(|(path, value)| match path.kind {
        FieldKind::LabelValues => {
            path.kind.is_reached(value.as_ref(), machine.label_values(path).as_ref())
        }
        FieldKind::Label => path.kind.is_reached(value.as_ref(), spec.get(path).as_ref()),
        _ => spec.get(path) == *value,
    });
    let slots =
        end.slots.iter().all(|(slot, held)| machine.device(slot.as_str()).is_some() == *held);
    Some(
        end.exists.is_none_or(|exists| exists)
            && end.power.is_none_or(|power| machine.power == power)
            && end.stage.is_none_or(|wanted| stage == Some(wanted))
            && end.setup_waits.is_none_or(|wanted| machine.setup_waits == wanted)
            && end.owner.as_ref().is_none_or(|owner| owner.has(machine))
            && end.snapshots.iter().all(|name| machine.snapshots.iter().any(|it| it.name == *name))
            && !machine.snapshots.iter().any(|it| end.no_snapshots.contains(&it.id))
            && fields
            && slots,
    )
}

//! Who changed a machine, by the events of the vCenter: one question for all machines.
//!
//! A server keeps events for a while and answers with a thousand at most, so that a log
//! that names nobody proves nothing.

use super::{
    observe::joined,
    provider::Inner,
    rights::{self, Sight, same_account},
    vim::{CallError, Node, Request, Val},
};
use crate::model::{Altered, Author, Authors, FieldKind};
use std::collections::{BTreeMap, BTreeSet};

/// What one question is answered with at most.
const EVENTS_MAX: usize = 1000;
/// Our clock and the server's may differ by this much.
const CLOCK_SKEW_MS: i64 = 60_000;
/// Kinds of events that can explain a difference.
const KINDS: [&str; 12] = [
    "VmReconfiguredEvent",
    "VmRenamedEvent",
    "VmRelocatedEvent",
    "VmMigratedEvent",
    "VmResourcePoolMovedEvent",
    "VmPoweredOnEvent",
    "VmPoweredOffEvent",
    "VmSuspendedEvent",
    "VmResettingEvent",
    "VmRemovedEvent",
    "VmRegisteredEvent",
    "VmUpgradeCompleteEvent",
];

/// Reads the events and names whom they name.
pub(super) async fn authors(inner: &Inner, altered: &[Altered]) -> Authors {
    let mut said = Authors::default();
    if altered.is_empty() {
        return said;
    }
    if let Err(error) = inner.confirm_identity().await {
        said.gaps.push(joined(&error));
        return said;
    }
    let events = match read(inner, altered).await {
        Ok(events) => events,
        Err(error) => {
            said.gaps.push(joined(&error.into_provider("read the events")));
            return said;
        }
    };
    if events.len() >= EVENTS_MAX {
        said.gaps.push(format!("only {EVENTS_MAX} events were read"));
    }
    let mut by_machine: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in &events {
        by_machine.entry(&event.machine).or_default().push(event);
    }
    for machine in altered {
        let own = by_machine.get(machine.id.as_str()).map(Vec::as_slice).unwrap_or_default();
        let author = author(own, machine, inner.client.username());
        said.found.extend(author.map(|it| (machine.id.clone(), it)));
    }
    said.gaps.extend(unseen(inner, altered, &said).await);
    said
}

/// Machines without an author, where the account may not be told of all events: those on
/// what it does not see are kept from it without a word.
async fn unseen(inner: &Inner, altered: &[Altered], said: &Authors) -> Vec<String> {
    let unnamed: BTreeSet<_> =
        altered.iter().map(|it| &it.id).filter(|id| !said.found.contains_key(*id)).collect();
    if unnamed.is_empty() {
        return Vec::new();
    }
    let sight = async {
        let places = inner.places("read the account's rights").await?;
        let permissions = rights::permissions(inner, &places.root_roles).await?;
        rights::sight(inner, &places.root_roles, &permissions).await
    };
    match sight.await {
        Ok(Sight::Whole) => Vec::new(),
        Ok(Sight::Partial { why, .. }) => {
            unnamed.iter().map(|id| format!("events on {id} may not be told: {why}")).collect()
        }
        Err(error) => vec![joined(&error)],
    }
}

/// One event.
struct Event {
    kind: String,
    machine: String,
    who: String,
    at_ms: i64,
}

impl Event {
    fn of(node: &Node) -> Option<Self> {
        let at: jiff::Timestamp = node.word_at("createdTime")?.parse().ok()?;
        Some(Self {
            kind: node.data_type.clone()?,
            machine: node.moref_at("vm.vm")?.value,
            who: node.word_at("userName")?.to_owned(),
            at_ms: at.as_millisecond(),
        })
    }
}

async fn read(inner: &Inner, altered: &[Altered]) -> Result<Vec<Event>, CallError> {
    let service = inner.client.service().await?;
    let (manager, root) = (service.part("eventManager")?, service.part("rootFolder")?);
    let entity = Val::obj("EventFilterSpecByEntity").with("entity", root).with("recursion", "all");
    let since: Option<Vec<i64>> = altered.iter().map(|it| it.since_ms).collect();
    let since = since.and_then(|all| all.into_iter().min());
    let since =
        since.and_then(|ms| jiff::Timestamp::from_millisecond((ms - CLOCK_SKEW_MS).max(0)).ok());
    let time =
        since.map(|since| Val::obj("EventFilterSpecByTime").with("beginTime", since.to_string()));
    let filter = Val::obj("EventFilterSpec")
        .with("entity", entity)
        .with_some("time", time)
        .with("eventTypeId", Val::arr(KINDS));
    let args = [("filter", filter)];
    let operation = Some("read the events");
    let request = Request { method: "QueryEvents", this: &manager, args: &args, operation };
    let answer = inner.client.read(&request).await?;
    Ok(answer.all("returnval").filter_map(Event::of).collect())
}

/// The last event of somebody else that can explain the difference. What this account did
/// is told apart by its name alone: events do not name tasks.
fn author(events: &[&Event], machine: &Altered, account: &str) -> Option<Author> {
    let earliest = machine.since_ms.map_or(i64::MIN, |since| since - CLOCK_SKEW_MS);
    let last = events
        .iter()
        .filter(|event| event.at_ms >= earliest && !same_account(&event.who, account))
        .filter(|event| explains(&event.kind, machine))
        .max_by_key(|event| event.at_ms)?;
    Some(Author { who: last.who.clone(), task: last.kind.clone(), at_ms: last.at_ms })
}

fn explains(kind: &str, machine: &Altered) -> bool {
    // That a machine is gone, or its marker, may come of anything.
    if machine.fields.is_empty() {
        return true;
    }
    let is_power = |field: &FieldKind| *field == FieldKind::Power;
    let is_place = |field: &FieldKind| matches!(field, FieldKind::Pool | FieldKind::DiskStorage);
    match kind {
        "VmPoweredOnEvent" | "VmPoweredOffEvent" | "VmSuspendedEvent" | "VmResettingEvent" => {
            machine.fields.iter().any(is_power)
        }
        "VmRenamedEvent" => machine.fields.contains(&FieldKind::Name),
        "VmRelocatedEvent" | "VmMigratedEvent" | "VmResourcePoolMovedEvent" => {
            machine.fields.iter().any(is_place)
        }
        "VmUpgradeCompleteEvent" => machine.fields.contains(&FieldKind::HardwareVersion),
        // A configuration says nothing of power, nor of where a machine is filed.
        "VmReconfiguredEvent" => {
            let elsewhere = |field: &FieldKind| is_power(field) || is_place(field);
            !machine.fields.iter().all(elsewhere)
        }
        _ => !machine.fields.iter().all(is_power),
    }
}

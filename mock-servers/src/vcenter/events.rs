//! What happened, as the event manager tells it.

use serde::{Deserialize, Serialize};

use super::fault::{Fault, Outcome};
use super::val::{Val, arr, flag, int, obj, text, time};
use super::world::World;
use super::xml::Elem;

/// At most so many are given in one answer.
const ANSWER_MAX: usize = 1000;
/// At most so many are remembered.
const KEPT_MAX: usize = 20_000;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number.
    pub key: i64,
    /// The number of the task or call that it belongs to.
    pub chain: i64,
    /// Its type.
    pub ty: String,
    /// When, in milliseconds.
    pub when_ms: u64,
    /// Who.
    pub user: String,
    /// The machine, and its name at that time.
    pub vm: Option<(String, String)>,
    /// Text.
    pub message: String,
}

impl World {
    /// Remembers that something happened to a machine.
    pub(crate) fn happened(&mut self, ty: &str, user: &str, vm: &str, when_ms: u64, message: &str) {
        self.counters.event += 1;
        let name = self.entities.get(vm).map_or_else(String::new, |entity| entity.name.clone());
        self.events.push(Event {
            key: self.counters.event,
            chain: self.counters.event,
            ty: ty.to_owned(),
            when_ms,
            user: user.to_owned(),
            vm: Some((vm.to_owned(), name)),
            message: message.to_owned(),
        });
        if self.events.len() > KEPT_MAX {
            self.events.remove(0);
        }
    }
}

/// Events that fit a filter, oldest first.
pub(crate) fn query(world: &World, user: &str, filter: &Elem) -> Outcome<Val> {
    let known = ["entity", "time", "userName", "eventTypeId", "maxCount", "disableFullMessage"];
    if let Some(strange) = filter.kids.iter().find(|it| !known.contains(&it.name.as_str())) {
        return Err(Fault::unsupported(&format!("filter.{} in this simulator", strange.name)));
    }
    let entity = filter.get("entity");
    let on = entity.and_then(|it| it.text_of("entity")).map(str::to_owned);
    if let Some(on) = &on
        && !world.entities.contains_key(on)
        && !world.events.iter().any(|event| event.vm.as_ref().is_some_and(|(id, _)| id == on))
    {
        return Err(Fault::argument("filter.entity"));
    }
    let deep = entity.and_then(|it| it.text_of("recursion")).unwrap_or("all");
    let bound = |name: &str| {
        filter.get("time").and_then(|it| it.text_of(name)).and_then(super::time::parse)
    };
    let (from, to) = (bound("beginTime").unwrap_or(0), bound("endTime").unwrap_or(u64::MAX));
    let types: Vec<&str> = filter.all("eventTypeId").map(|it| it.text.as_str()).collect();
    let most = filter.number("maxCount").and_then(|it| usize::try_from(it).ok());
    let fits = |event: &&Event| {
        let id = event.vm.as_ref().map_or("", |(id, _)| id.as_str());
        let here = match (&on, deep) {
            (None, _) => true,
            (Some(on), "self") => id == on,
            (Some(on), "children") => {
                world.entities.get(id).is_some_and(|it| it.parent.as_deref() == Some(on))
            }
            (Some(on), _) => id == on || world.is_below(id, on) || on == world.root(),
        };
        let typed = |name: &&str| name.ends_with(&event.ty);
        let seen = !world.entities.contains_key(id) || world.may(user, id, "System.View");
        here && seen
            && (from..=to).contains(&event.when_ms)
            && (types.is_empty() || types.iter().any(typed))
    };
    let users: Vec<&str> = filter
        .get("userName")
        .map(|it| it.all("userList").map(|one| one.text.as_str()).collect())
        .unwrap_or_default();
    let by = |event: &&Event| {
        users.is_empty() || users.iter().any(|it| it.eq_ignore_ascii_case(&event.user))
    };
    let mut found: Vec<&Event> = world.events.iter().filter(fits).filter(by).collect();
    let most = most.unwrap_or(ANSWER_MAX).min(ANSWER_MAX);
    found.drain(..found.len().saturating_sub(most));
    Ok(arr("Event", found.into_iter().map(value).collect()))
}

fn value(event: &Event) -> Val {
    let mut fields = vec![
        ("key", int(event.key)),
        ("chainId", int(event.chain)),
        ("createdTime", time(event.when_ms)),
        ("userName", text(event.user.clone())),
        ("fullFormattedMessage", text(event.message.clone())),
    ];
    if let Some((id, name)) = &event.vm {
        let vm = Val::Ref("VirtualMachine".into(), id.clone());
        fields.push(("vm", obj("VmEventArgument", vec![("name", text(name.clone())), ("vm", vm)])));
        fields.push(("template", flag(false)));
    }
    match obj("VmEvent", fields) {
        Val::Obj(_, fields) => Val::Obj(event.ty.clone().into(), fields),
        other => other,
    }
}

//! What a campaign needs of any simulator: the truth as it changes, the calls as they
//! arrive, and faults as data.
//!
//! Nothing here knows a product. A simulator tells each call by a name of its own
//! ([`Arrival::call`]) and each object by kind and native id (`vm/101`, `pool/acme`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Who changed something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// Somebody who logged in, by the name of the account.
    Client(String),
    /// Whoever stands beside the interface: another administrator, a failing host.
    Operator,
}

/// One object, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The native name.
    pub name: String,
    /// The machine's own UUID, where it has one.
    pub uuid: Option<String>,
    /// Free text that people, and marks, are written into.
    pub notes: String,
    /// Powered on.
    pub running: bool,
    /// Something to be copied, not to be run.
    pub template: bool,
    /// The product's own lock.
    pub lock: Option<String>,
    /// How often it was powered on.
    pub starts: usize,
    /// Whether the guest found data for its first boot at the last start; `None` before
    /// the first, or where it has no place for them.
    pub seeded: Option<bool>,
    /// All else that a client can change, in one canonical text.
    pub detail: String,
    /// Its volumes and their sizes in bytes.
    pub volumes: BTreeMap<String, u64>,
}

/// One change of one object.
#[derive(Debug, Clone)]
pub struct Effect {
    /// The request that brought it about; for the operator the one that the deed came
    /// before, if any.
    pub request: Option<u64>,
    /// Who.
    pub by: Actor,
    /// Which object.
    pub id: String,
    /// Before; none where it was not there.
    pub before: Option<Object>,
    /// After; none where it is gone.
    pub after: Option<Object>,
}

/// One request, whole, before anything is done about it.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Which request.
    pub n: u64,
    /// Who sent it, by his own word.
    pub by: String,
    /// What it asks for, in the simulator's own words.
    pub call: &'static str,
    /// Whether it is meant to change something.
    pub mutates: bool,
    /// The object that it is about, or that it would make.
    pub object: Option<String>,
    /// Its parameters, as one text.
    pub text: String,
}

/// Called with each change, while the world stands still: it must not look back at it.
pub type EffectSink = Box<dyn FnMut(Effect) + Send>;
/// Called with the number and the status of each answer, before it leaves and while the
/// world stands still. Nothing is told where a connection was cut before any effect.
pub type AnswerSink = Box<dyn FnMut(u64, u16) + Send>;
/// Called with each request, while the world stands still: it must not look back at it.
pub type ArrivalSink = Box<dyn FnMut(&Arrival) + Send>;

/// Compares the world with what it was, and tells what changed.
#[derive(Default)]
pub(crate) struct Watch {
    last: BTreeMap<String, Object>,
    sink: Option<EffectSink>,
}

impl Watch {
    /// Begins with this world.
    pub(crate) fn begin(&mut self, now: BTreeMap<String, Object>, sink: EffectSink) {
        self.last = now;
        self.sink = Some(sink);
    }

    /// Whether anybody looks.
    pub(crate) fn is_on(&self) -> bool {
        self.sink.is_some()
    }

    /// Tells what differs from the last time.
    pub(crate) fn note(&mut self, now: BTreeMap<String, Object>, request: Option<u64>, by: &Actor) {
        let Some(sink) = &mut self.sink else { return };
        let ids: BTreeSet<&String> = self.last.keys().chain(now.keys()).collect();
        for id in ids {
            let (before, after) = (self.last.get(id), now.get(id));
            if before != after {
                sink(Effect {
                    request,
                    by: by.clone(),
                    id: id.clone(),
                    before: before.cloned(),
                    after: after.cloned(),
                });
            }
        }
        self.last = now;
    }
}

/// Numbers that are the same for a seed.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// A generator for this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// One for a seed and some words: it does not matter in which order they are asked.
    #[must_use]
    pub fn of(seed: u64, words: &[&str]) -> Self {
        let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
        for byte in words.iter().flat_map(|word| word.bytes().chain([0])) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self::new(hash)
    }

    /// A number from 0 up to, and without, `below`.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = usize::try_from(self.roll(from.len() as u64)).unwrap_or(0);
        from.get(at)
    }
}

/// Which requests a fault is meant for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Where {
    /// The call's name; empty means any.
    #[serde(default)]
    pub call: String,
    /// Only requests whose parameters hold this.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub with: String,
    /// Only requests about this object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object: String,
}

impl Where {
    /// Whether a request is meant.
    #[must_use]
    pub fn matches(&self, arrival: &Arrival) -> bool {
        (self.call.is_empty() || self.call == arrival.call)
            && (self.with.is_empty() || arrival.text.contains(&self.with))
            && (self.object.is_empty() || arrival.object.as_deref() == Some(&self.object))
    }
}

/// One fault to be planted. `F` is what a simulator can do wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule<F> {
    /// What it is called in reports.
    pub name: String,
    /// Which requests.
    #[serde(default)]
    pub at: Where,
    /// How many of them pass first.
    #[serde(default)]
    pub after: u64,
    /// How many are struck from then on.
    #[serde(default = "once")]
    pub times: u64,
    /// What goes wrong.
    pub fault: F,
}

fn once() -> u64 {
    1
}

/// A fault that struck, as the simulator saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    /// The rule's name.
    pub rule: String,
    /// At which request.
    pub n: u64,
    /// What that asked for.
    pub call: &'static str,
    /// About which object.
    pub object: Option<String>,
    /// Which of the requests with this call and object it was, from 0.
    pub nth: u64,
}

impl Fired {
    /// Where it struck, in one word that is the same in every run with the same seed.
    #[must_use]
    pub fn place(&self) -> String {
        place(self.call, self.object.as_deref(), self.nth)
    }
}

fn place(call: &str, object: Option<&str>, nth: u64) -> String {
    format!("{call}@{}#{nth}", object.unwrap_or("-"))
}

/// Faults by chance, beside those by rule.
#[derive(Debug, Clone)]
pub struct Chance<F> {
    /// Decides everything.
    pub seed: u64,
    /// In a thousand requests that read.
    pub reads: u64,
    /// In a thousand requests that change something.
    pub writes: u64,
    /// What may go wrong with any request, with a name for reports.
    pub any: Vec<(String, F)>,
    /// What may go wrong with a request that changes something.
    pub changes: Vec<(String, F)>,
    /// Strikes that are left out, as [`Fired::place`] names them: how a failure is made
    /// smaller.
    pub without: BTreeSet<String>,
    /// Strikes in all; after so many nothing goes wrong any more.
    pub most: u64,
}

/// All faults of one run. What strikes depends on the seed and on what is asked about
/// which object for how many times, not on the order in which different objects are
/// asked about: runs that work on several objects at once meet the same faults.
#[derive(Debug)]
pub struct FaultPlan<F> {
    rules: Vec<(Rule<F>, u64)>,
    chance: Option<Chance<F>>,
    seen: BTreeMap<(&'static str, Option<String>), u64>,
    strikes: u64,
    fired: Arc<Mutex<Vec<Fired>>>,
}

/// What struck so far.
#[derive(Debug, Clone)]
pub struct FiredLog(Arc<Mutex<Vec<Fired>>>);

impl FiredLog {
    /// A copy of it.
    #[must_use]
    pub fn all(&self) -> Vec<Fired> {
        lock(&self.0).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<F: Clone> FaultPlan<F> {
    /// These rules, and chance beside them.
    #[must_use]
    pub fn new(rules: Vec<Rule<F>>, chance: Option<Chance<F>>) -> Self {
        Self {
            rules: rules.into_iter().map(|rule| (rule, 0)).collect(),
            chance,
            seen: BTreeMap::new(),
            strikes: 0,
            fired: Arc::default(),
        }
    }

    /// What struck; goes on telling.
    #[must_use]
    pub fn log(&self) -> FiredLog {
        FiredLog(Arc::clone(&self.fired))
    }

    /// What goes wrong with this request.
    pub fn decide(&mut self, arrival: &Arrival) -> Option<F> {
        let slot = self.seen.entry((arrival.call, arrival.object.clone())).or_default();
        let nth = *slot;
        *slot += 1;
        let mut struck = None;
        for (rule, matched) in &mut self.rules {
            if !rule.at.matches(arrival) {
                continue;
            }
            let this = *matched;
            *matched += 1;
            if struck.is_none() && this >= rule.after && this < rule.after + rule.times {
                struck = Some((rule.name.clone(), rule.fault.clone()));
            }
        }
        if struck.is_none() {
            struck = self.by_chance(arrival, nth);
        }
        let (rule, fault) = struck?;
        let (n, call, object) = (arrival.n, arrival.call, arrival.object.clone());
        lock(&self.fired).push(Fired { rule, n, call, object, nth });
        Some(fault)
    }

    fn by_chance(&mut self, arrival: &Arrival, nth: u64) -> Option<(String, F)> {
        let chance = self.chance.as_ref()?;
        let object = arrival.object.as_deref().unwrap_or("");
        let mut dice = Dice::of(chance.seed, &[arrival.call, object, &nth.to_string()]);
        let odds = if arrival.mutates { chance.writes } else { chance.reads };
        if self.strikes >= chance.most || dice.roll(1000) >= odds {
            return None;
        }
        self.strikes += 1;
        if chance.without.contains(&place(arrival.call, arrival.object.as_deref(), nth)) {
            return None;
        }
        let more = if arrival.mutates { chance.changes.len() } else { 0 };
        let at = dice.roll((chance.any.len() + more) as u64);
        let at = usize::try_from(at).unwrap_or(0);
        chance.any.iter().chain(&chance.changes).nth(at).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(call: &'static str, object: &str) -> Arrival {
        let by = "somebody".to_owned();
        Arrival { n: 0, by, call, mutates: true, object: Some(object.into()), text: "a=1".into() }
    }

    #[test]
    fn a_rule_strikes_where_and_when_it_says_and_the_log_confirms_it() {
        let at = Where { call: "start".into(), ..Where::default() };
        let rule = Rule { name: "boom".into(), at, after: 1, times: 2, fault: 7 };
        let mut plan = FaultPlan::new(vec![rule], None);
        let log = plan.log();
        let seen: Vec<Option<i32>> = ["start", "stop", "start", "start", "start"]
            .into_iter()
            .map(|call| plan.decide(&arrival(call, "vm/1")))
            .collect();
        assert_eq!(seen, [None, None, Some(7), Some(7), None]);
        let fired: Vec<(u64, &str)> = log.all().iter().map(|it| (it.nth, it.call)).collect();
        assert_eq!(fired, [(1, "start"), (2, "start")]);
    }

    #[test]
    fn chance_does_not_depend_on_the_order_of_objects() {
        let chance = |odds: u64, without: &[String]| Chance {
            seed: 3,
            reads: 0,
            writes: odds,
            any: vec![("x".to_owned(), 1), ("y".to_owned(), 2)],
            changes: vec![],
            without: without.iter().cloned().collect(),
            most: 1000,
        };
        let outcome = |order: &[(&'static str, &str)]| {
            let mut plan = FaultPlan::new(vec![], Some(chance(500, &[])));
            let mut all = BTreeMap::new();
            for (call, object) in order {
                let struck = plan.decide(&arrival(call, object));
                all.entry((*call, (*object).to_owned())).or_insert_with(Vec::new).push(struck);
            }
            all
        };
        let one = [("start", "vm/1"), ("start", "vm/2"), ("stop", "vm/1"), ("start", "vm/1")];
        let other = [("start", "vm/2"), ("start", "vm/1"), ("start", "vm/1"), ("stop", "vm/1")];
        assert_eq!(outcome(&one), outcome(&other));
        let left_out = ["start@vm/1#0".to_owned()];
        let mut fewer = FaultPlan::new(vec![], Some(chance(1000, &left_out)));
        assert!(fewer.decide(&arrival("start", "vm/1")).is_none());
        assert!(fewer.decide(&arrival("start", "vm/1")).is_some());
    }
}

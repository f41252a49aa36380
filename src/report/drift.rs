//! What differs between the YAML and the hypervisors: object by object, field by field,
//! with the class of each difference and, where it is known, who made it.
//!
//! Read off a plan, so that `drift` and `plan` cannot disagree. The plan itself, and
//! its id, know nothing of authors.

use super::narrow::narrowed;
use crate::model::{
    Action, Author, Blocked, Code, FieldChange, FieldPath, HypervisorName, HypervisorSummary,
    NativeId, NodeName, Plan, Reason, ResourceKey, Value, Verb,
};
use serde::{Serialize, Serializer};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The version of the JSON document.
const FORMAT: u32 = 1;

/// All that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Version of this document.
    format: u32,
    /// Whose objects.
    pub project: String,
    /// When it was looked (RFC 3339); absent in tests.
    #[serde(skip_serializing_if = "Option::is_none")]
    made_at: Option<String>,
    /// How many objects differ, per class.
    pub classes: BTreeMap<Class, usize>,
    /// Objects that were examined and are as declared.
    pub unchanged: u32,
    /// Per hypervisor: how it was read.
    pub hypervisors: BTreeMap<HypervisorName, HypervisorSummary>,
    /// Each object that differs, by address.
    pub differences: Vec<Difference>,
    /// Worth a line.
    pub notes: Vec<String>,
}

/// One object that is not as declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The object.
    pub address: ResourceKey,
    /// Where.
    pub hypervisor: HypervisorName,
    /// Its native id, when it is there or the journal knows it.
    pub id: Option<NativeId>,
    /// The host that it is on.
    pub node: Option<NodeName>,
    /// What kind of difference.
    pub class: Class,
    /// Whether the YAML has an entry for it.
    pub declared: bool,
    /// Whether it is on the hypervisor; `null` = that is not told.
    pub observed: Option<bool>,
    /// The class in words, or what stands in the way.
    pub why: String,
    /// What to do; `null` = nothing but to apply.
    pub help: Option<String>,
    /// Where its entry is written.
    pub place: Option<String>,
    /// What differs, where both sides have the object.
    pub fields: Vec<FieldDifference>,
    /// Who made the difference, where a log of tasks names somebody.
    pub author: Option<Named>,
}

/// One field that is not as declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldDifference {
    /// Which one.
    pub field: FieldPath,
    /// What the YAML asks for; `null` = nothing.
    #[serde(serialize_with = "in_words")]
    pub declared: Option<Value>,
    /// What the hypervisor reported; `null` = it is not set, or not there.
    #[serde(serialize_with = "in_words")]
    pub observed: Option<Value>,
    /// As declared already, and in force after a restart.
    pub pending: bool,
    /// Where it is written.
    pub place: Option<String>,
}

/// Who made a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The account.
    pub who: String,
    /// The task, as the product calls it.
    pub task: String,
    /// When it began (RFC 3339), by the product's clock.
    pub at: String,
    /// Nobody remembers when we last wrote to the object, so the task may be older.
    pub perhaps: bool,
}

/// What kind of difference: a plan's reason, or the code of what stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Both sides can be compared.
    Reason(Reason),
    /// The journal remembers it and a complete inventory does not have it.
    Vanished,
    /// Something is in the way.
    Code(Code),
}

impl Class {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Reason(Reason::New) => "new",
            Class::Reason(Reason::ConfigChanged) => "config-changed",
            Class::Reason(Reason::Drift) => "drift",
            Class::Reason(Reason::Different) => "different",
            Class::Reason(Reason::Removed) => "removed",
            Class::Reason(Reason::Dependency) => "dependency",
            Class::Reason(Reason::Unfinished) => "unfinished",
            Class::Reason(Reason::Asked) => "asked",
            Class::Reason(Reason::Surplus) => "surplus",
            Class::Reason(Reason::TooFew) => "too-few",
            Class::Vanished => "vanished",
            Class::Code(code) => code.as_str(),
        }
    }

    /// Whether the world moved, and not the YAML: then somebody did it.
    pub fn has_author(self) -> bool {
        match self {
            Class::Reason(reason) => reason == Reason::Drift,
            Class::Vanished => true,
            Class::Code(code) => matches!(
                code,
                Code::LostMarker
                    | Code::GarbledMarker
                    | Code::Impostor
                    | Code::Moved
                    | Code::MissingDevice
            ),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// As people read it, with its unit.
fn in_words<S: Serializer>(value: &Option<Value>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_some(&value.as_ref().map(ToString::to_string))
}

impl Drift {
    /// Reads the differences off a plan. `vanished`: what the journal remembers and no
    /// hypervisor has.
    pub fn of(plan: &Plan, vanished: &BTreeSet<ResourceKey>) -> Self {
        let (plan, envelope) = narrowed(plan, &plan.envelope);
        let mut found: BTreeMap<(ResourceKey, HypervisorName), Difference> = BTreeMap::new();
        for action in &plan.body.actions {
            let reason = envelope.reasons.get(&action.id).copied().unwrap_or(Reason::Different);
            // The second half of a replace, whose first half says what differs.
            if reason == Reason::Dependency {
                continue;
            }
            let class = match action.verb {
                Verb::Create if vanished.contains(&action.key) => Class::Vanished,
                _ => Class::Reason(reason),
            };
            let at = (action.key.clone(), action.hypervisor.clone());
            let entry = found.entry(at).or_insert_with(|| of_action(action, class));
            // Several actions on one object differ in what they cost, not in their cause.
            if entry.declared && entry.observed == Some(true) {
                entry.fields.extend(action.fields.iter().map(FieldDifference::of));
            }
        }
        for blocked in &plan.body.blocked {
            let at = (blocked.key.clone(), blocked.hypervisor.clone());
            found.entry(at).or_insert_with(|| of_blocked(blocked, vanished));
        }
        let mut differences: Vec<Difference> = found.into_values().collect();
        let mut classes = BTreeMap::new();
        for it in &mut differences {
            it.fields.sort_by(|a, b| a.field.cmp(&b.field));
            *classes.entry(it.class).or_default() += 1;
        }
        let about = |it: &crate::model::Note| match &it.key {
            Some(key) => format!("{key}: {}", it.text),
            None => it.text.clone(),
        };
        Self {
            format: FORMAT,
            project: plan.body.project.to_string(),
            made_at: envelope.made_at.clone(),
            classes,
            unchanged: plan.body.unchanged,
            hypervisors: envelope.hypervisors.clone(),
            differences,
            notes: envelope.notes.iter().map(about).collect(),
        }
    }

    /// The one line that counts.
    pub fn line(&self) -> String {
        let unchanged = super::totals::number(self.unchanged as usize);
        if self.differences.is_empty() {
            return format!("No drift. {unchanged} unchanged.");
        }
        let count =
            |(class, count): (&Class, &usize)| format!("{} {class}", super::totals::number(*count));
        let counts: Vec<String> = self.classes.iter().map(count).collect();
        format!("Differences: {}. {unchanged} unchanged.", counts.join(", "))
    }
}

fn of_action(action: &Action, class: Class) -> Difference {
    let born = action.verb == Verb::Create;
    let gone = matches!(action.verb, Verb::Delete | Verb::Forget);
    Difference {
        address: action.key.clone(),
        hypervisor: action.hypervisor.clone(),
        // The id of a birth is a choice, and nobody's yet.
        id: action.native_id.clone().filter(|_| !born),
        node: action.node.clone().filter(|_| !born),
        class,
        declared: !gone,
        observed: Some(!born),
        why: match class {
            Class::Reason(reason) => {
                let names: Vec<String> = action
                    .data_loss
                    .volumes
                    .iter()
                    .filter(|_| reason == Reason::Surplus)
                    .map(|it| format!("`{}`", it.volume))
                    .collect();
                let words = super::words::reason(reason);
                match names.is_empty() {
                    true => words.to_owned(),
                    false => format!("snapshots {words}: {}", names.join(", ")),
                }
            }
            Class::Vanished => "the journal remembers it, and it is on no host".to_owned(),
            Class::Code(code) => code.to_string(),
        },
        help: None,
        place: action.place.as_ref().map(ToString::to_string),
        fields: Vec::new(),
        author: None,
    }
}

fn of_blocked(blocked: &Blocked, vanished: &BTreeSet<ResourceKey>) -> Difference {
    Difference {
        address: blocked.key.clone(),
        hypervisor: blocked.hypervisor.clone(),
        id: None,
        node: None,
        class: Class::Code(blocked.code),
        declared: blocked.place.is_some(),
        observed: vanished.contains(&blocked.key).then_some(false),
        why: blocked.message.clone(),
        help: Some(blocked.help.clone()).filter(|it| !it.is_empty()),
        place: blocked.place.as_ref().map(ToString::to_string),
        fields: Vec::new(),
        author: None,
    }
}

impl FieldDifference {
    fn of(change: &FieldChange) -> Self {
        Self {
            field: change.field.clone(),
            declared: change.after.clone(),
            observed: change.before.clone(),
            pending: change.pending,
            place: change.place.as_ref().map(ToString::to_string),
        }
    }
}

impl Named {
    /// Names an author; `perhaps` when nobody remembers our own last write.
    pub fn of(author: &Author, perhaps: bool) -> Self {
        let at = jiff::Timestamp::from_millisecond(author.at_ms);
        Self {
            who: author.who.clone(),
            task: author.task.clone(),
            // A time that no calendar has is shown as the number that it is.
            at: at.map_or_else(|_| author.at_ms.to_string(), |it| it.to_string()),
            perhaps,
        }
    }
}

#[cfg(test)]
#[path = "drift_tests.rs"]
mod tests;

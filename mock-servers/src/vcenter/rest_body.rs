//! What bodies of the JSON interface must look like. A server refuses what it does not expect
//! as it refuses what it misses: `UNEXPECTED_INPUT` and `INVALID_ARGUMENT`, both with 400.

use serde_json::{Map, Value as Json};

use super::tagging::No;

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holds {
    Text,
    Texts,
    /// An object, by its id and type.
    Object,
    Objects,
}

/// A field of a body. All that are asked for here must be there.
pub(super) type Field = (&'static str, Holds);

pub(super) const CATEGORY: &[Field] = &[
    ("name", Holds::Text),
    ("description", Holds::Text),
    ("cardinality", Holds::Text),
    ("associable_types", Holds::Texts),
];
pub(super) const TAG: &[Field] =
    &[("name", Holds::Text), ("description", Holds::Text), ("category_id", Holds::Text)];
pub(super) const OF_CATEGORY: &[Field] = &[("category_id", Holds::Text)];
pub(super) const ON_ONE: &[Field] = &[("object_id", Holds::Object)];
pub(super) const ON_MANY: &[Field] = &[("object_ids", Holds::Objects)];
const OBJECT: &[Field] = &[("id", Holds::Text), ("type", Holds::Text)];

/// Checks a body. `wrapped` names the one field that the rest lies in, where there is one.
pub(super) fn check(body: &[u8], wrapped: Option<&str>, fields: &[Field]) -> Result<(), No> {
    if fields.is_empty() && body.is_empty() {
        return Ok(());
    }
    let read: Json =
        serde_json::from_slice(body).map_err(|error| invalid(format!("No JSON: {error}.")))?;
    let Some(name) = wrapped else { return all(&read, "", fields) };
    let outer = object(&read, "")?;
    unexpected(outer, &[name])?;
    all(outer.get(name).ok_or_else(|| missing(name))?, name, fields)
}

fn all(value: &Json, at: &str, fields: &[Field]) -> Result<(), No> {
    let given = object(value, at)?;
    let known: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    unexpected(given, &known)?;
    for (name, holds) in fields {
        one(given.get(*name).ok_or_else(|| missing(name))?, name, *holds)?;
    }
    Ok(())
}

fn one(value: &Json, name: &str, holds: Holds) -> Result<(), No> {
    let wrong = || invalid(format!("The field '{name}' has a value of another type."));
    let list = || value.as_array().ok_or_else(wrong);
    match holds {
        Holds::Text => value.as_str().map(|_| ()).ok_or_else(wrong),
        Holds::Texts => list()?.iter().try_for_each(|it| one(it, name, Holds::Text)),
        Holds::Object => all(value, name, OBJECT),
        Holds::Objects => list()?.iter().try_for_each(|it| one(it, name, Holds::Object)),
    }
}

fn object<'a>(value: &'a Json, at: &str) -> Result<&'a Map<String, Json>, No> {
    value.as_object().ok_or_else(|| invalid(format!("An object is expected at '{at}'.")))
}

fn unexpected(given: &Map<String, Json>, known: &[&str]) -> Result<(), No> {
    match given.keys().find(|it| !known.contains(&it.as_str())) {
        None => Ok(()),
        Some(name) => Err(No(400, "unexpected_input", format!("Unexpected field '{name}'."))),
    }
}

fn missing(name: &str) -> No {
    invalid(format!("The field '{name}' is missing."))
}

fn invalid(text: String) -> No {
    No(400, "invalid_argument", text)
}

//! One table per YAML type, from which both the parser and the JSON Schema come.
//!
//! In: [`Node`]s. Out: typed values and all problems of a document at once, or its schema. Whether names refer to
//! something, and whether values fit together, is left to `validate`.

mod entries;
mod macros;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::diagnostic::{Diagnostic, Label, Report, SourceMap, Span};
use super::scalar::ScalarError;
use super::yaml::{Entry, Meant, Node, Value};

pub use entries::{Key, Keyed, Lazy, Lenient, Template, Templates};
#[allow(unused_imports, reason = "the tables of later sections use them")]
pub(crate) use macros::{choice, either, pattern, record};
pub use values::{Int, text_value};

/// A type that can be read from a node, and whose schema says what the reader accepts.
pub trait Decode: Sized {
    /// Reads a value. `None` after a problem, which has been reported.
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self>;

    /// The JSON Schema (2020-12) of what [`Decode::decode`] accepts.
    fn schema(defs: &mut Defs) -> Json;

    /// The value of a field that is not written; `None` when it must be.
    fn absent() -> Option<Self> {
        None
    }

    /// What a record holds when the field is missing or could not be read, which has been reported; `None` when the
    /// record cannot be without it.
    fn after_error() -> Option<Self> {
        None
    }
}

/// What decoders share: where texts come from, where problems go, and for whom a node is being read.
#[derive(Debug)]
pub struct Cx<'s> {
    sources: &'s SourceMap,
    report: Report,
    key_span: Option<Span>,
    subject: Option<Arc<str>>,
    context: Vec<Label>,
}

impl<'s> Cx<'s> {
    /// A context with an empty report.
    pub fn new(sources: &'s SourceMap) -> Self {
        Self { sources, report: Report::new(), key_span: None, subject: None, context: Vec::new() }
    }

    /// The texts.
    pub fn sources(&self) -> &'s SourceMap {
        self.sources
    }

    /// What has been reported so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// What has been reported.
    pub fn into_report(self) -> Report {
        self.report
    }

    /// Reports a problem, with the object that is being read and the places that led here.
    pub fn push(&mut self, mut diagnostic: Diagnostic) {
        diagnostic.related.extend(self.context.iter().cloned());
        diagnostic.subject = diagnostic.subject.or_else(|| self.subject.clone());
        self.report.push(diagnostic);
    }

    /// Never show these bytes: they may be a secret.
    pub fn mask(&mut self, span: Span) {
        self.report.mask(span);
    }

    /// Reads on behalf of an object (`vm/web-1`). A problem that several objects share is shown once, with their count.
    pub fn for_subject<R>(
        &mut self,
        subject: impl Into<Arc<str>>,
        read: impl FnOnce(&mut Self) -> R,
    ) -> R {
        let before = self.subject.replace(subject.into());
        let result = read(self);
        self.subject = before;
        result
    }

    /// Reads with one more place beside every problem: "used by worker-2 here".
    pub fn with_context<R>(&mut self, label: Label, read: impl FnOnce(&mut Self) -> R) -> R {
        self.context.push(label);
        let result = read(self);
        self.context.pop();
        result
    }

    /// Reads the value of an entry; problems of the value as a whole are shown at its key.
    pub fn field<T: Decode>(&mut self, entry: &Entry) -> Option<T> {
        self.at_key(Some(entry.key_span), |cx| T::decode(&entry.value, cx))
    }

    /// Reads with another key as the nearest one.
    pub(crate) fn at_key<R>(&mut self, key: Option<Span>, read: impl FnOnce(&mut Self) -> R) -> R {
        let before = std::mem::replace(&mut self.key_span, key);
        let result = read(self);
        self.key_span = before;
        result
    }

    /// The key whose value is being read; for an item of a list, its beginning.
    pub fn key_span(&self, node: &Node) -> Span {
        self.key_span.unwrap_or(Span { end: node.span.start, ..node.span })
    }

    /// The entries of a mapping, or an error that says what was expected.
    pub fn mapping<'n>(&mut self, node: &'n Node, expected: &str) -> Option<&'n [Entry]> {
        let entries = node.as_map();
        if entries.is_none() {
            self.wrong_type(node, expected);
        }
        entries
    }

    /// The items of a list, or an error that says what was expected.
    pub fn list<'n>(&mut self, node: &'n Node, expected: &str) -> Option<&'n [Node]> {
        let items = node.as_seq();
        if items.is_none() {
            self.wrong_type(node, expected);
        }
        items
    }

    /// The text of a string, or an error that says what was expected.
    pub fn text<'n>(&mut self, node: &'n Node, expected: &str) -> Option<&'n str> {
        let text = node.as_str();
        if text.is_none() {
            self.wrong_type(node, expected);
        }
        text
    }

    /// Reports that a node is of another type than expected.
    pub fn wrong_type(&mut self, node: &Node, expected: &str) {
        let diagnostic = match &node.value {
            Value::Invalid => return,
            Value::Null => {
                let message = format!("expected {expected}, found no value");
                let what = if expected == "a mapping" { "`{}`" } else { "a value" };
                Diagnostic::error("no-value", self.key_span(node), message)
                    .help(format!("write {what}, or remove the key"))
            }
            Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_) => Diagnostic::error(
                "wrong-type",
                node.span,
                format!("expected {expected}, found {}", node.describe()),
            ),
            Value::Seq(_) | Value::Map(_) => {
                let message = format!("expected {expected}, found {}", node.describe());
                Diagnostic::error("wrong-type", self.key_span(node), message)
            }
        };
        let diagnostic = match type_hint(node, expected) {
            Some(hint) => diagnostic.help(hint),
            None => diagnostic,
        };
        self.push(diagnostic);
    }

    /// Reports a value of the right type that cannot be.
    pub fn invalid(&mut self, node: &Node, error: ScalarError) {
        let diagnostic = Diagnostic::error("invalid-value", node.span, error.message);
        self.push(error.help.into_iter().fold(diagnostic, Diagnostic::help));
    }

    /// Reports a key that a record does not know, or does not know yet.
    pub fn unknown_field(&mut self, entry: &Entry, known: &[FieldDoc], later: &[&str]) {
        if later.contains(&&*entry.key) {
            let message = format!("`{}` is not supported yet in this version", entry.key);
            return self.push(Diagnostic::error("not-supported-yet", entry.key_span, message));
        }
        let names = known.iter().map(|field| field.name);
        let message = format!("unknown field `{}`", entry.key);
        let diagnostic = Diagnostic::error("unknown-field", entry.key_span, message);
        let hint = did_you_mean(&entry.key, names.clone().chain(later.iter().copied()));
        let hint = hint
            .unwrap_or_else(|| format!("known fields: {}", names.collect::<Vec<_>>().join(", ")));
        self.push(diagnostic.help(hint));
    }

    /// Reports a text that is none of the possible words.
    pub fn unknown_word(&mut self, node: &Node, text: &str, words: &[&str], later: &[&str]) {
        let shown: String = text.chars().take(SUGGESTION_BYTES_MAX).collect();
        if later.contains(&text) {
            let message = format!("`{text}` is not supported yet in this version");
            return self.push(Diagnostic::error("not-supported-yet", node.span, message));
        }
        let hint = did_you_mean(text, words.iter().copied());
        let hint = hint.unwrap_or_else(|| format!("possible here: {}", words.join(", ")));
        let diagnostic = Diagnostic::error(
            "unknown-value",
            node.span,
            format!("`{shown}` is not possible here"),
        );
        self.push(diagnostic.help(hint));
    }

    /// Reports a field that must be written.
    pub fn missing_field(&mut self, node: &Node, name: &str) {
        let message = format!("the field `{name}` is missing");
        self.push(Diagnostic::error("missing-field", self.key_span(node), message));
    }
}

/// Advice for the usual ways to miss a type.
fn type_hint(node: &Node, expected: &str) -> Option<String> {
    let text = node.as_str();
    let boolean = expected.contains("true");
    match (node.meant(), text) {
        (Some(Meant::Bool(value)), _) if boolean => Some(format!(
            "YAML 1.2 reads `{}` as a text; write `{value}`",
            text.unwrap_or_default()
        )),
        (Some(Meant::Octal), Some(text)) if expected.contains("number") => {
            let digits = text.trim_start_matches(['+', '-', '0']);
            Some(format!(
                "a number has no leading zero; write `{}`",
                if digits.is_empty() { "0" } else { digits }
            ))
        }
        (Some(Meant::Grouped), Some(text)) if expected.contains("number") => {
            Some(format!("write `{}`, without `_`", text.replace('_', "")))
        }
        (Some(Meant::Sexagesimal), _) if expected.contains("number") => {
            Some("numbers in base 60 ended with YAML 1.1".to_owned())
        }
        (_, Some(text))
            if expected.contains("number") && text.parse::<f64>().is_ok_and(f64::is_finite) =>
        {
            Some(format!("write `{text}` without quotes"))
        }
        (_, Some("true" | "false")) if boolean => Some("write it without quotes".to_owned()),
        (_, None) if !expected.contains("number") => match &node.value {
            Value::Int(value) if !boolean => {
                Some(format!("a text that looks like a number needs quotes: \"{value}\""))
            }
            Value::Float(_) if !boolean => {
                Some("a text that looks like a number needs quotes".to_owned())
            }
            Value::Bool(value) => {
                Some(format!("a text that looks like a boolean needs quotes: \"{value}\""))
            }
            Value::Null
            | Value::Int(_)
            | Value::Float(_)
            | Value::Str(_)
            | Value::Seq(_)
            | Value::Map(_)
            | Value::Invalid => None,
        },
        _ => None,
    }
}

/// Longer words are not compared: the cost grows with the square of the length.
const SUGGESTION_BYTES_MAX: usize = 64;

/// "did you mean `memory`?", when a known word is near.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    if word.len() > SUGGESTION_BYTES_MAX {
        return None;
    }
    let lower = word.to_lowercase().replace('-', "_");
    let distance = |candidate: &str| {
        strsim::damerau_levenshtein(&lower, &candidate.to_lowercase().replace('-', "_"))
    };
    let scored = known.into_iter().map(|candidate| (distance(candidate), candidate));
    let near = scored
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(word.len()) / 3).max(1));
    let (_, best) = near.min()?;
    (best.len() > 1 || word.len() > 1).then(|| format!("did you mean `{best}`?"))
}

/// A field of a record, for `explain` and for suggestions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldDoc {
    /// The key.
    pub name: &'static str,
    /// Its doc comment.
    pub doc: &'static str,
}

/// The named parts of a schema under construction.
#[derive(Debug, Default)]
pub struct Defs {
    named: BTreeMap<String, Json>,
    members: bool,
}

/// A text in which `{n}` will be replaced before anything looks at it.
const MEMBER_PATTERN: &str = "(?:^|[^$])\\{n\\}";

impl Defs {
    /// The schema of a type that has a name: a reference, and the definition beside it.
    pub fn named(&mut self, name: &str, build: impl FnOnce(&mut Self) -> Json) -> Json {
        let name = name.strip_prefix("Raw").unwrap_or(name);
        let name = if self.members { format!("{name}OfMembers") } else { name.to_owned() };
        if !self.named.contains_key(&name) {
            // The place is taken before the definition is built, so that a type may contain itself.
            self.named.insert(name.clone(), Json::Null);
            let definition = build(self);
            self.named.insert(name.clone(), definition);
        }
        json!({ "$ref": format!("#/$defs/{name}") })
    }

    /// The schema of a text that matches a pattern.
    pub fn text(&self, pattern: &str) -> Json {
        self.or_member(json!({ "type": "string", "pattern": pattern }))
    }

    /// In entries that stand for several members, any text with `{n}` is possible beside what the schema says.
    pub fn or_member(&self, schema: Json) -> Json {
        if !self.members {
            return schema;
        }
        json!({ "anyOf": [schema, { "type": "string", "pattern": MEMBER_PATTERN }] })
    }

    /// Builds a schema for entries that stand for several members.
    pub fn of_members<R>(&mut self, build: impl FnOnce(&mut Self) -> R) -> R {
        let before = std::mem::replace(&mut self.members, true);
        let result = build(self);
        self.members = before;
        result
    }
}

/// The complete schema of a document whose root is `T`.
pub fn schema_of<T: Decode>(id: &str, title: &str) -> Json {
    let mut defs = Defs::default();
    let root = T::schema(&mut defs);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": id,
        "title": title,
        "allOf": [root],
        "$defs": defs.named,
    })
}

/// A doc comment as one paragraph.
pub fn paragraph(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Adds a description to a schema.
pub fn described(mut schema: Json, doc: &str) -> Json {
    let doc = paragraph(doc);
    if let (Some(object), false) = (schema.as_object_mut(), doc.is_empty()) {
        object.insert("description".to_owned(), Json::from(doc));
    }
    schema
}

#[cfg(test)]
mod tests;

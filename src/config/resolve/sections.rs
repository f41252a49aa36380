//! The files of a configuration as one document.

use crate::config::diagnostic::{Diagnostic, Report, Span};
use crate::config::raw::TRUST_KEYS;
use crate::config::source::Document;
use crate::config::yaml::{Entry, Node, Style, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// Top-level keys that each file may have for itself.
const PER_FILE: [&str; 2] = ["version", "include"];

/// Merges all files section by section. The same name twice is an error with both places.
pub fn merge(documents: &[Document], report: &mut Report) -> Node {
    let mut sections: Vec<Section> = Vec::new();
    let mut at: HashMap<Arc<str>, usize> = HashMap::new();
    for document in documents {
        match &document.root.value {
            Value::Map(entries) => {
                for entry in entries.iter() {
                    add(entry, &mut sections, &mut at, report);
                }
            }
            // An empty file is a place that somebody keeps; a broken one was reported by its reader.
            Value::Null | Value::Invalid => {}
            Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_) | Value::Seq(_) => {
                let message =
                    format!("expected sections such as `vms`, found {}", document.root.describe());
                report.push(Diagnostic::error("wrong-type", document.root.span, message));
            }
        }
    }
    let entries: Vec<Entry> = sections.into_iter().map(Section::into_entry).collect();
    let span = documents.first().map_or(
        Span { file: crate::config::diagnostic::FileId(0), start: 0, end: 0 },
        |document| Span { end: document.root.span.start, ..document.root.span },
    );
    Node { span, value: Value::Map(entries.into()), style: Style::Block }
}

/// All entries of a section, and where each key stands.
type Merged = (Vec<Entry>, HashMap<Arc<str>, Span>);

/// One top-level key with what all files say under it.
struct Section {
    first: Entry,
    /// Entries of later files; empty for most configurations, which are one file.
    merged: Option<Merged>,
}

impl Section {
    fn into_entry(self) -> Entry {
        match self.merged {
            None => self.first,
            Some((entries, _)) => {
                let value = Node { value: Value::Map(entries.into()), ..self.first.value.clone() };
                Entry { value, ..self.first }
            }
        }
    }

    /// Adds the entries of a later file.
    fn extend(&mut self, more: &[Entry], report: &mut Report) {
        let own = self.first.value.as_map().unwrap_or_default();
        let (entries, places) = self.merged.get_or_insert_with(|| {
            let places = own.iter().map(|entry| (Arc::clone(&entry.key), entry.key_span));
            (own.to_vec(), places.collect())
        });
        for entry in more {
            if let Some(first) = places.get(&entry.key) {
                report.push(twice(entry, *first));
            } else {
                places.insert(Arc::clone(&entry.key), entry.key_span);
                entries.push(entry.clone());
            }
        }
    }
}

fn add(
    entry: &Entry,
    sections: &mut Vec<Section>,
    at: &mut HashMap<Arc<str>, usize>,
    report: &mut Report,
) {
    if TRUST_KEYS.contains(&&*entry.key) {
        // Somebody may have written the secret itself here.
        report.mask(entry.value.span);
        report.push(trust_setting(entry));
        return;
    }
    let Some(&index) = at.get(&entry.key) else {
        at.insert(Arc::clone(&entry.key), sections.len());
        sections.push(Section { first: entry.clone(), merged: None });
        return;
    };
    if PER_FILE.contains(&&*entry.key) {
        return;
    }
    let section = &mut sections[index];
    match (section.first.value.as_map().is_some(), entry.value.as_map()) {
        (true, Some(more)) => section.extend(more, report),
        // `project` is said once; of a section that is no mapping, the decoder complains once.
        (_, _) => report.push(twice(entry, section.first.key_span)),
    }
}

fn twice(entry: &Entry, first: Span) -> Diagnostic {
    let message = format!("`{}` is here a second time", entry.key);
    Diagnostic::error("duplicate-name", entry.key_span, message)
        .related(first, "first written here")
        .help("all files together are one document; keep one of the two")
}

fn trust_setting(entry: &Entry) -> Diagnostic {
    let message = format!("`{}` is a trust setting and cannot be in this file", entry.key);
    Diagnostic::error("trust-setting", entry.key_span, message)
        .help(
            "whoever changes this file could reach secrets with it; write it into the trust file:",
        )
        .help("`--trust FILE`, `NOVAHOST_TRUST`, or /etc/novahost/trust.toml, outside of the root")
}

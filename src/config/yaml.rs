//! YAML text as a tree in which every key and value knows its place.
//!
//! In: the bytes of a file. Out: [`Node`]s and diagnostics, as many as can be found in one pass. What the keys mean is
//! left to `decode`; which files there are, to the loader.

mod plain;
mod reader;

use std::sync::Arc;

use serde_json::Value as Json;

use super::diagnostic::{Diagnostic, FileId, Report, SourceMap, Span};

pub use plain::Meant;
pub use reader::parse;

/// Bytes of one file. The largest sensible one, 10,000 machines in one piece, is 9 MB.
pub const FILE_BYTES_MAX: usize = 16 << 20;
/// Bytes of all files of a run. Ten such files; each byte costs about ten in memory.
pub const ALL_BYTES_MAX: usize = 128 << 20;
/// Nodes of one file, as written. 10,000 machines of sixty values each, three times over.
pub const NODES_MAX: usize = 2_000_000;
/// Nodes that aliases stand for, all uses together. Ten thousand machines that each reuse a block of fifty values.
/// Nine anchors of nine aliases each would otherwise be 387 million.
pub const ALIAS_NODES_MAX: usize = 500_000;
/// Levels of nesting. Real files need twelve; the decoders recurse, so the bound also protects the stack.
pub const DEPTH_MAX: usize = 64;
/// Bytes of one scalar. Guest scripts are far smaller, and larger ones belong in a file of their own.
pub const SCALAR_BYTES_MAX: usize = 1 << 20;

/// A value with its place.
///
/// Cloning is cheap: strings and collections are shared, as are the targets of aliases.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it is written. Of an alias: the alias; what is inside keeps the place of the anchor.
    pub span: Span,
    /// What is written.
    pub value: Value,
    /// How it is written.
    pub style: Style,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A scalar without quotes; only these can be anything but a string.
    Plain,
    /// `'single'` or `"double"`.
    Quoted,
    /// `|` or `>`; also collections by indentation.
    Block,
    /// `{}` and `[]`.
    Flow,
}

/// A value of the YAML 1.2 core schema.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`, also capitalised.
    Bool(bool),
    /// Decimal, `0x` or `0o`, when it fits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Everything else.
    Str(Arc<str>),
    /// A list.
    Seq(Arc<[Node]>),
    /// A mapping; keys are unique.
    Map(Arc<[Entry]>),
    /// Stands for a value whose problem has already been reported; decoders pass over it in silence.
    Invalid,
}

/// One key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// Where the key is written.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(text) => Some(text),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Seq(_)
            | Value::Map(_)
            | Value::Invalid => None,
        }
    }

    /// The entries of a mapping.
    pub fn as_map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Str(_)
            | Value::Seq(_)
            | Value::Invalid => None,
        }
    }

    /// The items of a list.
    pub fn as_seq(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Seq(items) => Some(items),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Str(_)
            | Value::Map(_)
            | Value::Invalid => None,
        }
    }

    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.as_map()?.iter().find(|entry| &*entry.key == key)
    }

    /// What a plain string would have been to YAML 1.1 (`yes`, `0755`, `1_000`, `12:34:56`), for hints.
    pub fn meant(&self) -> Option<Meant> {
        if self.style == Style::Plain { plain::meant(self.as_str()?) } else { None }
    }

    /// What it is, in the words of messages: `the number 4`, `a list`.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("the boolean `{value}`"),
            Value::Int(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Str(text) if text.chars().nth(40).is_none() => format!("the text `{text}`"),
            Value::Str(text) => {
                format!("the text `{}...`", text.chars().take(40).collect::<String>())
            }
            Value::Seq(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
            Value::Invalid => "something unreadable".to_owned(),
        }
    }

    /// The same value as JSON, as a validator of the JSON Schema sees it.
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Null | Value::Invalid => Json::Null,
            Value::Bool(value) => Json::from(*value),
            Value::Int(value) => Json::from(*value),
            Value::Float(value) => Json::from(*value),
            Value::Str(text) => Json::from(&**text),
            Value::Seq(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                entries.iter().map(|e| (e.key.to_string(), e.value.to_json())).collect()
            }
        }
    }
}

/// Takes a file's bytes into the source map, as text that the parser may see.
///
/// A byte order mark of UTF-8 is dropped. What is not text at all is reported at its place and yields `None`.
pub fn read_text(
    sources: &mut SourceMap,
    path: &str,
    bytes: Vec<u8>,
    report: &mut Report,
) -> Option<FileId> {
    let mut refuse =
        |sources: &mut SourceMap, shown: String, at: usize, code, message: String, help: &str| {
            let file = sources.add(path, shown);
            report.push(Diagnostic::error(code, Span::new(file, at, at), message).help(help));
            None
        };
    if bytes.len() > FILE_BYTES_MAX {
        let message =
            format!("the file has {} bytes; at most {FILE_BYTES_MAX} are read", bytes.len());
        return refuse(
            sources,
            String::new(),
            0,
            "file-too-large",
            message,
            "split it and name the parts in `include`",
        );
    }
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        let message = "the file is UTF-16".to_owned();
        return refuse(sources, String::new(), 0, "not-utf8", message, "save it as UTF-8");
    }
    match String::from_utf8(bytes) {
        Ok(mut text) => {
            if text.starts_with('\u{FEFF}') {
                text.drain(..3);
            }
            Some(sources.add(path, text))
        }
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let byte = error.as_bytes()[at];
            let shown = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let message = format!("byte 0x{byte:02X} is not UTF-8");
            refuse(sources, shown, at, "not-utf8", message, "save the file as UTF-8")
        }
    }
}

/// Whether all files together are within [`ALL_BYTES_MAX`]; the first file past it is named by the caller.
pub fn within_total(bytes_of_files: impl IntoIterator<Item = usize>) -> bool {
    bytes_of_files
        .into_iter()
        .try_fold(0usize, usize::checked_add)
        .is_some_and(|all| all <= ALL_BYTES_MAX)
}

#[cfg(test)]
mod tests;

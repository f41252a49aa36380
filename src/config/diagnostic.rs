//! Problems in what people wrote, each with its place.
//!
//! In: spans and words from the readers and checks. Out: text for a terminal, JSON for tools, one line per problem for
//! editors. Decides nothing about exit codes; that is left to the commands.

mod render;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

pub use crate::model::inert;
pub use render::{one_line, render_text, to_json};

/// Problems that one run keeps. A hostile file can hold a million; nobody reads past a few dozen, and memory has a bound.
const DIAGNOSTICS_MAX: usize = 10_000;

/// Names one file of a [`SourceMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A range of bytes in one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The range `start..end` of `file`. Files are far below 4 GiB; larger offsets saturate.
    pub fn new(file: FileId, start: usize, end: usize) -> Self {
        let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { file, start: narrow(start), end: narrow(end.max(start)) }
    }

    /// From the start of `self` to the end of `other`, which is of the same file.
    pub fn to(self, other: Self) -> Self {
        Self { end: other.end.max(self.start), ..self }
    }
}

/// Where a span begins and ends, as people count: lines and columns (in characters) from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location<'a> {
    /// The file, as it is shown.
    pub path: &'a str,
    /// Line of the first character.
    pub line: usize,
    /// Column of the first character.
    pub column: usize,
    /// Line of the end.
    pub end_line: usize,
    /// Column one past the last character.
    pub end_column: usize,
}

#[derive(Debug)]
struct SourceFile {
    path: String,
    text: Arc<str>,
    // Most files have no problem, so their lines are never counted.
    lines: OnceLock<Vec<u32>>,
    // Characters before each block of the text; counted when a line is longer than a block.
    characters: OnceLock<Vec<u32>>,
}

/// Bytes between which characters are counted anew for every column. A file can be one line of megabytes with a
/// hundred thousand places on it, and counting from its beginning for each would take minutes.
const BLOCK_BYTES: usize = 512;

/// How many characters begin in these bytes.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte & 0xC0 != 0x80).count()
}

impl SourceFile {
    fn line_starts(&self) -> &[u32] {
        self.lines.get_or_init(|| {
            let breaks = self.text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
            std::iter::once(0)
                .chain(breaks.map(|(at, _)| u32::try_from(at + 1).unwrap_or(u32::MAX)))
                .collect()
        })
    }

    /// Line (from 0) that holds `offset`.
    fn line_of(&self, offset: u32) -> usize {
        self.line_starts().partition_point(|&start| start <= offset).saturating_sub(1)
    }

    fn characters_before(&self, end: usize) -> usize {
        let blocks = self.characters.get_or_init(|| {
            let mut count = 0;
            let before = self.text.as_bytes().chunks(BLOCK_BYTES).map(|block| {
                let before = count;
                count += u32::try_from(characters(block)).unwrap_or(u32::MAX);
                before
            });
            before.collect()
        });
        let block = (end / BLOCK_BYTES).min(blocks.len().saturating_sub(1));
        let before = blocks.get(block).map_or(0, |&count| count as usize);
        before + characters(&self.text.as_bytes()[block * BLOCK_BYTES..end])
    }

    fn position(&self, offset: u32) -> (usize, usize) {
        let line = self.line_of(offset);
        let start = self.line_starts()[line] as usize;
        let end = (offset as usize).clamp(start, self.text.len());
        let column = if end - start <= BLOCK_BYTES {
            characters(&self.text.as_bytes()[start..end])
        } else {
            self.characters_before(end) - self.characters_before(start)
        };
        (line + 1, column + 1)
    }
}

/// The texts of a run, for finding lines and showing snippets.
#[derive(Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps a text under the path that messages show (relative to the root).
    pub fn add(&mut self, path: impl Into<String>, text: impl Into<Arc<str>>) -> FileId {
        let id = FileId(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        self.files.push(SourceFile {
            path: path.into(),
            text: text.into(),
            lines: OnceLock::new(),
            characters: OnceLock::new(),
        });
        id
    }

    fn file(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(id.0 as usize)
    }

    /// The path as shown; empty for a file of another map.
    pub fn path(&self, id: FileId) -> &str {
        self.file(id).map_or("", |file| &file.path)
    }

    /// The text; empty for a file of another map.
    pub fn text(&self, id: FileId) -> Arc<str> {
        self.file(id).map_or_else(|| Arc::from(""), |file| Arc::clone(&file.text))
    }

    /// The text of a span; empty when the span does not lie in its file.
    pub fn slice(&self, span: Span) -> &str {
        self.file(span.file)
            .and_then(|file| file.text.get(span.start as usize..span.end as usize))
            .unwrap_or_default()
    }

    /// The rest of a line from a place on, up to where its value must have ended; none for a
    /// place in another map.
    pub fn span_at(&self, place: &crate::model::Place) -> Option<Span> {
        let at = self.files.iter().position(|file| *file.path == *place.file)?;
        let file = &self.files[at];
        let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
        let start = *file.line_starts().get(line)? as usize;
        let text = file.text.get(start..)?.lines().next()?;
        let skipped = usize::try_from(place.column).ok()?.saturating_sub(1);
        let begin = text.char_indices().nth(skipped).map_or(text.len(), |(at, _)| at);
        let value = &text[begin..];
        let length = value.find([',', '}', '#']).unwrap_or(value.len());
        let length = value[..length].trim_end().len();
        let start = u32::try_from(start + begin).ok()?;
        let end = start + u32::try_from(length).ok()?;
        Some(Span { file: FileId(u32::try_from(at).ok()?), start, end })
    }

    /// Line and column of the beginning of a span.
    pub fn line_column(&self, span: Span) -> (usize, usize) {
        self.file(span.file).map_or((1, 1), |file| file.position(span.start))
    }

    /// Line and column of a span.
    pub fn location(&self, span: Span) -> Location<'_> {
        let Some(file) = self.file(span.file) else {
            return Location { path: "", line: 1, column: 1, end_line: 1, end_column: 1 };
        };
        let (line, column) = file.position(span.start);
        let (end_line, end_column) = file.position(span.end);
        Location { path: &file.path, line, column, end_line, end_column }
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but somebody should look.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A place and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// May be empty: then the place is only underlined.
    pub text: String,
}

impl Label {
    /// A place with a text.
    pub fn new(span: Span, text: impl Into<String>) -> Self {
        Self { span, text: text.into() }
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable slug such as `unknown-field`; what scripts match and `explain` takes.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// One sentence, lower case, no final stop.
    pub message: String,
    /// Where it is.
    pub primary: Label,
    /// Other places that belong to it: the other end of a conflict, the user of a profile.
    pub related: Vec<Label>,
    /// What to do about it, one line each.
    pub help: Vec<String>,
    /// The object that was being read (`vm/web-1`); the same problem seen from several is shown once.
    pub subject: Option<Arc<str>>,
    /// How many more objects have the very same problem.
    pub more: usize,
}

impl Diagnostic {
    fn new(severity: Severity, code: &'static str, span: Span, message: impl Into<String>) -> Self {
        let primary = Label::new(span, "");
        Self {
            code,
            severity,
            message: message.into(),
            primary,
            related: vec![],
            help: vec![],
            subject: None,
            more: 0,
        }
    }

    /// An error at a place.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, span, message)
    }

    /// A warning at a place.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, span, message)
    }

    /// Words beside the underlined place.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        self.primary.text = text.into();
        self
    }

    /// Another place that belongs to the problem.
    #[must_use]
    pub fn related(mut self, span: Span, text: impl Into<String>) -> Self {
        self.related.push(Label::new(span, text));
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// The object that was being read.
    #[must_use]
    pub fn subject(mut self, subject: Arc<str>) -> Self {
        self.subject = Some(subject);
        self
    }

    /// How many more objects have the same problem.
    #[must_use]
    pub fn more(mut self, count: usize) -> Self {
        self.more = count;
        self
    }

    /// "and 11 more machines", when there are.
    pub fn more_text(&self) -> Option<String> {
        let noun = match self.subject.as_deref().and_then(|subject| subject.split_once('/')) {
            Some(("vm", _)) => "machine",
            Some((kind, _)) => kind,
            None => "place",
        };
        match self.more {
            0 => None,
            1 => Some(format!("and 1 more {noun}")),
            count => Some(format!("and {count} more {noun}s")),
        }
    }
}

/// What makes two problems the same one.
type Identity = (Span, &'static str, Box<str>);

/// All problems of a run, and which bytes must never be shown.
///
/// The same problem at the same place, met once for each of ten thousand machines, is kept once with their count.
#[derive(Debug, Default, Clone)]
pub struct Report {
    diagnostics: Vec<(Diagnostic, BTreeSet<Arc<str>>)>,
    known: HashMap<Identity, usize>,
    dropped: usize,
    errors: usize,
    masked: BTreeSet<Span>,
}

impl Report {
    /// An empty report.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a problem. Past 10,000 different ones they are only counted.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let subjects = diagnostic.subject.iter().cloned().collect();
        self.keep(diagnostic, subjects);
    }

    fn keep(&mut self, diagnostic: Diagnostic, subjects: BTreeSet<Arc<str>>) {
        self.errors += usize::from(diagnostic.severity == Severity::Error);
        let message = diagnostic.message.as_str().into();
        let identity = (diagnostic.primary.span, diagnostic.code, message);
        if let Some(&at) = self.known.get(&identity) {
            self.diagnostics[at].1.extend(subjects);
        } else if self.diagnostics.len() < DIAGNOSTICS_MAX {
            self.known.insert(identity, self.diagnostics.len());
            self.diagnostics.push((diagnostic, subjects));
        } else {
            self.dropped += 1;
        }
    }

    /// Never show these bytes in any snippet: somebody wrote a secret there.
    pub fn mask(&mut self, span: Span) {
        self.masked.insert(span);
    }

    /// Adds everything of another report of the same source map.
    pub fn merge(&mut self, other: Self) {
        self.dropped += other.dropped;
        self.masked.extend(other.masked);
        // Dropped ones may be errors too, hence the comparison with what `keep` will have counted.
        let errors = self.errors + other.errors;
        for (diagnostic, subjects) in other.diagnostics {
            self.keep(diagnostic, subjects);
        }
        self.errors = errors;
    }

    /// Whether anything forbids going on.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// How many errors were found, repetitions included.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// In the order of finding.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().map(|(diagnostic, _)| diagnostic)
    }

    /// Different problems that were counted but not kept.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    pub(crate) fn masked(&self) -> impl Iterator<Item = &Span> {
        self.masked.iter()
    }

    /// By path, place and code, each with how many more objects have it.
    pub fn sorted(&self, sources: &SourceMap) -> Vec<Diagnostic> {
        let counted = self.diagnostics.iter().map(|(diagnostic, subjects)| {
            let mut counted = diagnostic.clone();
            counted.more += subjects.len().saturating_sub(1);
            counted
        });
        let mut all: Vec<Diagnostic> = counted.collect();
        all.sort_by(|a, b| {
            let (left, right) = (a.primary.span, b.primary.span);
            let paths = sources.path(left.file).cmp(sources.path(right.file));
            paths.then_with(|| (left, a.code, &a.message).cmp(&(right, b.code, &b.message)))
        });
        all
    }
}

#[cfg(test)]
mod tests;

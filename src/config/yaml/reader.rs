//! The one place that knows the event parser.
//!
//! Events become nodes on two shared stacks (items of lists, entries of mappings); when a collection ends, its part of
//! the stack moves into one shared slice, so that a node costs no allocation of its own beyond that slice.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, StructureStyle, Tag};

use super::super::diagnostic::{Diagnostic, FileId, Report, Span};
use super::{
    ALIAS_NODES_MAX, DEPTH_MAX, Entry, NODES_MAX, Node, SCALAR_BYTES_MAX, Style, Value, plain,
};
use crate::{config::diagnostic::inert, model::is_invisible};

/// Strings up to this length are kept once however often they occur; names repeat a lot, prose does not.
const INTERNED_BYTES_MAX: usize = 48;

/// Mappings up to this size are searched for duplicate keys one by one, larger ones through a hash set.
const SMALL_MAPPING: usize = 12;

/// Reads one file.
///
/// `None` when there is no tree to go on with (after a syntax error the rest of a file means nothing). An empty file is
/// `Null`. Everything that can be passed over is reported and replaced by [`Value::Invalid`].
pub fn parse(text: &str, file: FileId, report: &mut Report) -> Option<Node> {
    if !check_characters(text, file, report) {
        return None;
    }
    let mut reader = Reader::new(text, file, report);
    if reader.run().is_err() {
        return None;
    }
    Some(reader.root.unwrap_or(Node {
        span: Span::new(file, 0, 0),
        value: Value::Null,
        style: Style::Plain,
    }))
}

/// Characters that no YAML file may hold, and those that make reviewers read something else than the program.
fn check_characters(text: &str, file: FileId, report: &mut Report) -> bool {
    let clean =
        text.bytes().all(|byte| (0x20..0x7F).contains(&byte) || byte == b'\n' || byte == b'\t');
    if clean {
        return true;
    }
    let mut fine = true;
    let mut seen = HashSet::new();
    for (at, character) in text.char_indices() {
        let code = match character {
            '\n' | '\t' => continue,
            '\r' if text[at + 1..].starts_with('\n') => continue,
            '\r' => "carriage-return",
            '\0' => "nul-byte",
            _ if character.is_control() => "control-character",
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => "bidi-control",
            '\u{FEFF}' => "byte-order-mark",
            // Persian and Indic words and families of emoji are written with these two.
            '\u{200C}' | '\u{200D}' => continue,
            _ if is_invisible(character) => "invisible-character",
            _ => continue,
        };
        fine = false;
        // One report per kind of character; a binary file has thousands.
        if seen.insert(character) {
            let span = Span::new(file, at, at + character.len_utf8());
            let shown = inert(character.encode_utf8(&mut [0; 4])).into_owned();
            let what = match code {
                "bidi-control" => "changes the order in which the line is read",
                "carriage-return" => "begins a new line here, and not in what reviewers see",
                "invisible-character" => "is not seen by whoever reads the file",
                "byte-order-mark" => "belongs at the start of a file only",
                _ => "is not allowed in YAML",
            };
            let message = format!("the character `{shown}` {what}");
            report.push(
                Diagnostic::error(code, span, message)
                    .help(format!("remove it, or write it as \"{shown}\"")),
            );
        }
    }
    fine
}

/// Reading cannot go on; why has been reported.
struct Stop;

/// A mapping's key, while its value is awaited.
enum Key {
    Awaited,
    Known(Arc<str>, Span),
    /// Reported; the value is read and dropped.
    Refused,
}

enum Kind {
    Seq,
    Map(Key),
}

struct Frame {
    kind: Kind,
    span: Span,
    style: Style,
    /// Where this collection begins on its stack.
    base: usize,
    anchor: usize,
    /// Values counted before this one, aliases at their full size, to know how large an anchor is.
    expanded_before: usize,
    /// Deepest nesting below.
    height: usize,
}

struct Anchored {
    node: Node,
    nodes: usize,
    height: usize,
}

struct Reader<'i, 'r> {
    text: &'i str,
    file: FileId,
    report: &'r mut Report,
    names: HashMap<Arc<str>, ()>,
    items: Vec<Node>,
    entries: Vec<Entry>,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    /// Values as written.
    nodes: usize,
    /// Values as a decoder meets them, aliases at their full size.
    expanded: usize,
    alias_nodes: usize,
    root: Option<Node>,
}

impl<'i, 'r> Reader<'i, 'r> {
    fn new(text: &'i str, file: FileId, report: &'r mut Report) -> Self {
        Self {
            text,
            file,
            report,
            names: HashMap::new(),
            items: Vec::new(),
            entries: Vec::new(),
            frames: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            expanded: 0,
            alias_nodes: 0,
            root: None,
        }
    }

    fn run(&mut self) -> Result<(), Stop> {
        let options = granit_parser::options! {
            emit_comments: false,
            emit_unresolved_aliases: true,
            flow_nesting_limit: DEPTH_MAX + 1,
            block_nesting_limit: DEPTH_MAX + 1,
        };
        let parser = Parser::new_from_str_with_options(self.text, options);
        let mut documents = 0;
        for next in parser {
            let (event, place) = next.map_err(|error| self.syntax_error(&error))?;
            let span = self.span(&place);
            let tag_span = place.tag_span().map_or(span, |tag| self.span(&tag));
            match event {
                Event::DocumentStart(..) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(self.stop(
                            Diagnostic::error(
                                "several-documents",
                                span,
                                "a second document begins here",
                            )
                            .help("write one document per file and name the files in `include`"),
                        ));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let tag = tag.as_deref().map(|tag| (tag, tag_span));
                    let node = self.scalar(&text, style, span, tag)?;
                    self.expanded += 1;
                    self.add(node, anchor, 1, 0)?;
                }
                Event::SequenceStart(style, anchor, tag) => {
                    self.check_tag(tag.as_deref(), "seq", tag_span);
                    self.open(Kind::Seq, style, span, anchor)?;
                }
                Event::MappingStart(style, anchor, tag) => {
                    self.check_tag(tag.as_deref(), "map", tag_span);
                    self.open(Kind::Map(Key::Awaited), style, span, anchor)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
                Event::Alias(id) => self.alias(id, span)?,
                Event::UnresolvedAlias(_) => {
                    // The name is not repeated: `*...` may be the beginning of a password without quotes.
                    self.report.push(
                        Diagnostic::error(
                            "unknown-alias",
                            span,
                            "no anchor of this name before this alias",
                        )
                        .help("a text that begins with `*` or `&` needs quotes"),
                    );
                    self.add(invalid(span), 0, 1, 0)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn span(&self, place: &granit_parser::Span) -> Span {
        let range = place.byte_range().unwrap_or(0..0);
        Span::new(self.file, range.start.min(self.text.len()), range.end.min(self.text.len()))
    }

    fn stop(&mut self, diagnostic: Diagnostic) -> Stop {
        self.report.push(diagnostic);
        Stop
    }

    fn intern(&mut self, text: &str) -> Arc<str> {
        if text.len() > INTERNED_BYTES_MAX {
            return Arc::from(text);
        }
        if let Some((known, ())) = self.names.get_key_value(text) {
            return Arc::clone(known);
        }
        let name: Arc<str> = Arc::from(text);
        self.names.insert(Arc::clone(&name), ());
        name
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        span: Span,
        tag: Option<(&Tag, Span)>,
    ) -> Result<Node, Stop> {
        let (tag, tag_span) = tag.map_or((None, span), |(tag, at)| (Some(tag), at));
        if text.len() > SCALAR_BYTES_MAX {
            let message =
                format!("a value of {} bytes; at most {SCALAR_BYTES_MAX} are read", text.len());
            let here = Span { end: span.start, ..span };
            return Err(self.stop(
                Diagnostic::error("scalar-too-long", here, message)
                    .help("put it in a file: `file:PATH`"),
            ));
        }
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
        };
        let as_text =
            tag.is_some_and(|tag| tag.core_suffix() == Some("str") || tag.parts() == ("", "!"));
        if !as_text && !self.check_tag(tag, "str", tag_span) {
            return Ok(invalid(span));
        }
        let resolved = match style {
            Style::Plain if text.is_empty() && !as_text => Some(Value::Null),
            Style::Plain if !as_text => plain::resolve(text),
            Style::Plain | Style::Quoted | Style::Block | Style::Flow => None,
        };
        let value = resolved.unwrap_or_else(|| Value::Str(self.intern(text)));
        Ok(Node { span, value, style })
    }

    /// Tags ask a reader to build something else than what is written; only the redundant ones are let through.
    fn check_tag(&mut self, tag: Option<&Tag>, redundant: &str, span: Span) -> bool {
        let Some(tag) = tag else { return true };
        if tag.core_suffix() == Some(redundant) || tag.parts() == ("", "!") {
            return true;
        }
        // The tag is not repeated: `!...` may be the beginning of a password without quotes.
        self.report.push(
            Diagnostic::error("tag", span, "tags are not supported")
                .help("a text that begins with `!` needs quotes"),
        );
        false
    }

    fn open(
        &mut self,
        kind: Kind,
        style: StructureStyle,
        span: Span,
        anchor: usize,
    ) -> Result<(), Stop> {
        if self.frames.len() >= DEPTH_MAX {
            return Err(self.too_deep(span));
        }
        let base = match kind {
            Kind::Seq => self.items.len(),
            Kind::Map(_) => self.entries.len(),
        };
        let style = if style == StructureStyle::Flow { Style::Flow } else { Style::Block };
        self.frames.push(Frame {
            kind,
            span,
            style,
            base,
            anchor,
            expanded_before: self.expanded,
            height: 0,
        });
        Ok(())
    }

    fn too_deep(&mut self, span: Span) -> Stop {
        let here = Span { end: span.start, ..span };
        self.stop(Diagnostic::error(
            "too-deep",
            here,
            format!("more than {DEPTH_MAX} levels of nesting"),
        ))
    }

    fn close(&mut self, end: Span) -> Result<(), Stop> {
        let Some(frame) = self.frames.pop() else {
            return Ok(());
        };
        let (value, last) = match frame.kind {
            Kind::Seq => {
                let items: Arc<[Node]> = self.items.drain(frame.base..).collect();
                let last = items.last().map(|item| item.span);
                (Value::Seq(items), last)
            }
            Kind::Map(_) => {
                self.refuse_duplicates(frame.base);
                let entries: Arc<[Entry]> = self.entries.drain(frame.base..).collect();
                let last = entries.last().map(|entry| entry.key_span.to(entry.value.span));
                (Value::Map(entries), last)
            }
        };
        // The end of a block collection is reported where the next thing begins, often lines below.
        let span = match frame.style {
            Style::Flow => frame.span.to(end),
            Style::Block | Style::Plain | Style::Quoted => {
                last.map_or(frame.span, |last| frame.span.to(last))
            }
        };
        self.expanded += 1;
        let nodes = self.expanded - frame.expanded_before;
        self.add(Node { span, value, style: frame.style }, frame.anchor, nodes, frame.height + 1)
    }

    /// A later entry with the key of an earlier one is reported with both places, and dropped.
    fn refuse_duplicates(&mut self, base: usize) {
        let entries = &self.entries[base..];
        let mut doubles: Vec<(usize, Span)> = Vec::new();
        if entries.len() <= SMALL_MAPPING {
            for (at, entry) in entries.iter().enumerate() {
                if let Some(first) = entries[..at].iter().find(|first| first.key == entry.key) {
                    doubles.push((at, first.key_span));
                }
            }
        } else {
            let mut seen: HashMap<&str, Span> = HashMap::with_capacity(entries.len());
            for (at, entry) in entries.iter().enumerate() {
                if let Some(first) = seen.get(&*entry.key) {
                    doubles.push((at, *first));
                } else {
                    seen.insert(&entry.key, entry.key_span);
                }
            }
        }
        if doubles.is_empty() {
            return;
        }
        for (at, first) in &doubles {
            let entry = &self.entries[base + at];
            let message = format!("the key `{}` is here a second time", entry.key);
            self.report.push(
                Diagnostic::error("duplicate-key", entry.key_span, message)
                    .related(*first, "first written here")
                    .help("remove one of them, or merge what they say"),
            );
        }
        let dropped: HashSet<usize> = doubles.iter().map(|(at, _)| base + at).collect();
        let mut at = 0;
        self.entries.retain(|_| {
            at += 1;
            !dropped.contains(&(at - 1))
        });
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), Stop> {
        let Some(anchored) = self.anchors.get(&id) else {
            let message = "the alias stands inside of what it stands for";
            self.report.push(Diagnostic::error("recursive-alias", span, message));
            return self.add(invalid(span), 0, 1, 0);
        };
        let (nodes, height) = (anchored.nodes, anchored.height);
        let node = Node { span, ..anchored.node.clone() };
        self.alias_nodes = self.alias_nodes.saturating_add(nodes);
        self.expanded = self.expanded.saturating_add(nodes);
        if self.alias_nodes > ALIAS_NODES_MAX {
            let message =
                format!("the aliases up to here stand for more than {ALIAS_NODES_MAX} values");
            return Err(self.stop(Diagnostic::error("too-many-aliases", span, message)));
        }
        if self.frames.len() + height > DEPTH_MAX {
            return Err(self.too_deep(span));
        }
        self.add(node, 0, nodes, height)
    }

    /// Gives a finished node to the collection that awaits it.
    fn add(&mut self, node: Node, anchor: usize, nodes: usize, height: usize) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let here = Span { end: node.span.start, ..node.span };
            return Err(self.stop(Diagnostic::error(
                "too-many-values",
                here,
                format!("more than {NODES_MAX} values"),
            )));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, height });
        }
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.height = frame.height.max(height);
        match &mut frame.kind {
            Kind::Seq => self.items.push(node),
            Kind::Map(key) => match std::mem::replace(key, Key::Awaited) {
                Key::Known(key, key_span) => {
                    self.entries.push(Entry { key, key_span, value: node });
                }
                Key::Refused => {}
                Key::Awaited => {
                    let checked = self.key(node);
                    if let Some(Frame { kind: Kind::Map(key), .. }) = self.frames.last_mut() {
                        *key = checked;
                    }
                }
            },
        }
        Ok(())
    }

    fn key(&mut self, node: Node) -> Key {
        let span = node.span;
        let refused = match node.value {
            Value::Str(text) if &*text == "<<" && node.style == Style::Plain => {
                Diagnostic::error("merge-key", span, "`<<` merges are not part of YAML 1.2")
                    .help("say `profile: NAME` and write the shared part under `profiles`")
            }
            Value::Str(text) => return Key::Known(text, span),
            Value::Invalid => return Key::Refused,
            Value::Null => {
                Diagnostic::error("key-not-text", span, "a key is missing before the `:`")
            }
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                let message = format!("a key must be a text, found {}", node.describe());
                let written =
                    self.text.get(span.start as usize..span.end as usize).unwrap_or_default();
                Diagnostic::error("key-not-text", span, message)
                    .help(format!("put it in quotes: \"{written}\""))
            }
            Value::Seq(_) | Value::Map(_) => {
                let message = format!("a key must be a text, found {}", node.describe());
                let brace = "`{` begins a mapping; a text that begins with it needs quotes";
                Diagnostic::error(
                    "key-not-text",
                    Span { end: span.end.min(span.start + 1), ..span },
                    message,
                )
                .help(brace)
            }
        };
        self.report.push(refused);
        Key::Refused
    }

    fn syntax_error(&mut self, error: &ScanError) -> Stop {
        let at = error.marker().byte_offset().unwrap_or(0).min(self.text.len());
        let length =
            self.text[at..].chars().next().filter(|&c| c != '\n').map_or(0, char::len_utf8);
        let span = Span::new(self.file, at, at + length);
        self.stop(explain(error.kind(), span))
    }
}

fn invalid(span: Span) -> Node {
    Node { span, value: Value::Invalid, style: Style::Plain }
}

/// The parser's error in the words of somebody who writes configuration.
fn explain(kind: &ErrorKind, span: Span) -> Diagnostic {
    let syntax = |message: String| Diagnostic::error("syntax", span, message);
    match kind {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInPlainScalar => {
            Diagnostic::error("tab", span, "a tab stands where YAML allows only spaces").help("indent with spaces")
        }
        ErrorKind::RecursionLimitExceeded => {
            Diagnostic::error("too-deep", span, format!("more than {DEPTH_MAX} levels of nesting"))
        }
        ErrorKind::MappingValueNotAllowed => syntax("a `:` where no key can be".to_owned())
            .help("a text with `: ` in it needs quotes; else check the indentation of this line and the one before"),
        ErrorKind::UnclosedQuotedScalar => syntax("a quote is never closed".to_owned()),
        ErrorKind::InvalidQuotedScalarIndent => {
            syntax("a quote is not closed before this line".to_owned())
                .help("close it, or indent the lines in which the text goes on")
        }
        ErrorKind::UnclosedFlowCollection { open } => syntax(format!("`{open}` is never closed")),
        ErrorKind::UnexpectedCharacter { character: character @ ('@' | '`' | '%') } => {
            syntax(format!("a value cannot begin with `{character}`")).help("put it in quotes")
        }
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::InvalidIndentation | ErrorKind::SimpleKeyExpected => {
            syntax("expected `key: value` at this indentation".to_owned())
                .help("lines of one mapping begin in the same column; each has a `:`")
        }
        ErrorKind::ExpectedFlowSequenceSeparator | ErrorKind::ExpectedFlowMappingSeparator => {
            syntax("expected `,` or the closing bracket".to_owned())
                .help("inside of `[]` and `{}` a text with one of `,[]{}` needs quotes")
        }
        other => syntax(other.to_string()),
    }
}

//! The three written forms of a report. Everything that came from a file passes through [`inert`] on its way.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value as Json, json};

use super::{Diagnostic, Label, Report, Severity, SourceMap, Span};
use crate::model::{inert, inert_within, push_inert};

/// Labels of one file that lie within this many lines share a snippet; farther ones get their own, so that a snippet
/// costs as much as what it shows and not as much as its file.
const SNIPPET_LINES_MAX: usize = 12;

/// A line is shown up to this many bytes around a label; a file may be one line of megabytes.
const LINE_BYTES_MAX: usize = 400;

/// Characters of a message or a hint; what it quotes may be a megabyte. The snippet shows where it stands.
const MESSAGE_CHARACTERS_MAX: usize = 300;

/// Problems that are shown to a person, who will mend the first ones and look again; a program gets all that are kept.
const SHOWN_MAX: usize = 500;

/// What is shown in place of a secret. Of one length for all, so that not even the length is told.
const MASK: &str = "********";

/// The report as people read it, in rustc's manner.
pub fn render_text(report: &Report, sources: &SourceMap, color: bool, width: usize) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(width);
    let mut text = String::new();
    let sorted = report.sorted(sources);
    for diagnostic in sorted.iter().take(SHOWN_MAX) {
        let group = group(diagnostic, report, sources);
        text.push_str(&renderer.render(&[group]));
        text.push_str("\n\n");
    }
    let more = sorted.len().saturating_sub(SHOWN_MAX) + report.dropped();
    if more > 0 {
        text.push_str(&format!("and {more} more problems that are not listed\n"));
    }
    text
}

fn group<'a>(diagnostic: &Diagnostic, report: &Report, sources: &SourceMap) -> Group<'a> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = inert_within(&diagnostic.message, MESSAGE_CHARACTERS_MAX).into_owned();
    let mut group = Group::with_title(level.primary_title(title).id(diagnostic.code));
    let labels = std::iter::once((&diagnostic.primary, AnnotationKind::Primary))
        .chain(diagnostic.related.iter().map(|label| (label, AnnotationKind::Context)));
    let mut windows: Vec<Window<'_>> = Vec::new();
    for (label, kind) in labels {
        let home = windows.iter_mut().find(|window| window.takes(label, sources));
        match home {
            Some(window) => window.add(label, kind, sources),
            None => windows.extend(Window::open(label, kind, sources)),
        }
    }
    for window in windows {
        group = group.element(window.snippet(report, sources));
    }
    for help in &diagnostic.help {
        group = group
            .element(Level::HELP.message(inert_within(help, MESSAGE_CHARACTERS_MAX).into_owned()));
    }
    if let Some(more) = diagnostic.more_text() {
        group = group.element(Level::NOTE.message(more));
    }
    group
}

/// Some neighbouring lines of one file with the labels on them.
struct Window<'a> {
    file: super::FileId,
    first: usize,
    last: usize,
    labels: Vec<(&'a Label, AnnotationKind)>,
}

impl<'a> Window<'a> {
    fn open(label: &'a Label, kind: AnnotationKind, sources: &SourceMap) -> Option<Self> {
        let line = sources.file(label.span.file)?.line_of(label.span.start);
        Some(Self { file: label.span.file, first: line, last: line, labels: vec![(label, kind)] })
    }

    fn takes(&self, label: &Label, sources: &SourceMap) -> bool {
        let Some(file) = sources.file(label.span.file) else {
            return false;
        };
        let line = file.line_of(label.span.start);
        label.span.file == self.file
            && self.first.min(line) + SNIPPET_LINES_MAX > self.last.max(line)
    }

    fn add(&mut self, label: &'a Label, kind: AnnotationKind, sources: &SourceMap) {
        if let Some(file) = sources.file(self.file) {
            let line = file.line_of(label.span.start);
            self.first = self.first.min(line);
            self.last = self.last.max(line);
        }
        self.labels.push((label, kind));
    }

    fn snippet<'b>(
        self,
        report: &Report,
        sources: &SourceMap,
    ) -> Snippet<'b, annotate_snippets::Annotation<'b>> {
        let mut shown = String::new();
        let mut marks = vec![(0, 0); self.labels.len()];
        for line in self.first..=self.last {
            let range = line_range(sources, self.file, line);
            let on_line: Vec<usize> = (0..self.labels.len())
                .filter(|&at| {
                    let start = self.labels[at].0.span.start as usize;
                    start >= range.0 && start <= range.1
                })
                .collect();
            let cut = cut_line(
                sources,
                self.file,
                range,
                on_line.first().map(|&at| self.labels[at].0.span),
            );
            let mask = masks(report, sources, self.file, cut);
            let wanted: Vec<(usize, usize)> = on_line
                .iter()
                .map(|&at| {
                    let span = self.labels[at].0.span;
                    (span.start as usize, (span.end as usize).min(range.1))
                })
                .collect();
            let placed = copy_line(sources, self.file, cut, &mask, &wanted, &mut shown);
            for (&at, place) in on_line.iter().zip(placed) {
                marks[at] = place;
            }
            shown.push('\n');
        }
        let path = inert(sources.path(self.file)).into_owned();
        let annotations = self.labels.iter().zip(marks).map(|((label, kind), (start, end))| {
            let annotation = kind.span(start..end);
            if label.text.is_empty() {
                annotation
            } else {
                annotation.label(inert_within(&label.text, MESSAGE_CHARACTERS_MAX).into_owned())
            }
        });
        let annotations: Vec<_> = annotations.collect();
        Snippet::source(shown).path(path).line_start(self.first + 1).annotations(annotations)
    }
}

/// Bytes of a line, without its break.
fn line_range(sources: &SourceMap, id: super::FileId, line: usize) -> (usize, usize) {
    let Some(file) = sources.file(id) else {
        return (0, 0);
    };
    let starts = file.line_starts();
    let start = starts.get(line).map_or(file.text.len(), |&start| start as usize);
    let next = starts.get(line + 1).map_or(file.text.len(), |&next| next as usize);
    let end = start + file.text[start..next].trim_end_matches(['\n', '\r']).len();
    (start, end)
}

/// The part of an overlong line around a label.
fn cut_line(
    sources: &SourceMap,
    id: super::FileId,
    range: (usize, usize),
    label: Option<Span>,
) -> (usize, usize) {
    if range.1 - range.0 <= LINE_BYTES_MAX {
        return range;
    }
    let Some(file) = sources.file(id) else {
        return range;
    };
    let centre = label.map_or(range.0, |span| span.start as usize);
    let mut start = centre.saturating_sub(LINE_BYTES_MAX / 2).max(range.0);
    let mut end = (start + LINE_BYTES_MAX).min(range.1);
    while !file.text.is_char_boundary(start) {
        start -= 1;
    }
    while !file.text.is_char_boundary(end) {
        end += 1;
    }
    (start, end)
}

/// Bytes of a line that must not be shown: what decoders marked, and what looks like a secret by its key, since after a
/// syntax error nothing has been decoded.
fn masks(
    report: &Report,
    sources: &SourceMap,
    id: super::FileId,
    line: (usize, usize),
) -> Vec<(usize, usize)> {
    let marked = report.masked().filter(|span| span.file == id);
    let overlap =
        marked.map(|span| ((span.start as usize).max(line.0), (span.end as usize).min(line.1)));
    let mut masks: Vec<_> = overlap.filter(|(start, end)| start < end).collect();
    if let Some(file) = sources.file(id) {
        let text = &file.text[line.0..line.1];
        masks.extend(
            secrets_by_key(text).into_iter().map(|(start, end)| (line.0 + start, line.0 + end)),
        );
    }
    masks.sort_unstable();
    masks
}

/// Keys whose value is a secret wherever it stands.
const SECRET_WORDS: [&str; 7] =
    ["password", "passphrase", "passwd", "secret", "token", "api_key", "product_key"];

fn secrets_by_key(line: &str) -> Vec<(usize, usize)> {
    let lower = line.to_ascii_lowercase();
    let mut found = Vec::new();
    for word in SECRET_WORDS {
        for (at, _) in lower.match_indices(word) {
            let rest = lower[at..]
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(lower.len() - at);
            let key = &lower[at..at + rest];
            let after = lower[at + rest..].trim_start_matches(['"', '\'', ' ']);
            let Some(value) = after.strip_prefix(':') else {
                continue;
            };
            let value = value.trim_start();
            let reference = ["env:", "file:", "secret:", "{", "#"]
                .iter()
                .any(|mark| value.trim_start_matches(['"', '\'']).starts_with(mark));
            if key.ends_with("_id") || reference || value.is_empty() {
                continue;
            }
            let start = lower.len() - value.len();
            found.push((start, start + value_length(value, lower[..at].contains('{'))));
        }
    }
    found
}

/// How far a value goes: to the last quote of its kind, which may be too far and never too short, or to what ends a
/// scalar without quotes. Only in braces is that a comma.
fn value_length(value: &str, in_braces: bool) -> usize {
    if let Some(quote @ ('"' | '\'')) = value.chars().next() {
        return value.rfind(quote).filter(|&end| end > 0).map_or(value.len(), |end| end + 1);
    }
    let ends = if in_braces { value.find([',', '}']) } else { None };
    ends.into_iter().chain(value.find(" #")).min().unwrap_or(value.len())
}

/// Copies a line, harmless and masked, and says where the wanted ranges went.
fn copy_line(
    sources: &SourceMap,
    id: super::FileId,
    line: (usize, usize),
    masks: &[(usize, usize)],
    wanted: &[(usize, usize)],
    shown: &mut String,
) -> Vec<(usize, usize)> {
    let mut placed: Vec<(Option<usize>, Option<usize>)> = vec![(None, None); wanted.len()];
    let Some(file) = sources.file(id) else {
        return vec![(0, 0); wanted.len()];
    };
    let mut note = |offset: usize, at: usize| {
        for (place, want) in placed.iter_mut().zip(wanted) {
            if offset >= want.0 && place.0.is_none() {
                place.0 = Some(at);
            }
            if offset >= want.1 && place.1.is_none() {
                place.1 = Some(at);
            }
        }
    };
    let mut in_mask = false;
    for (offset, character) in file.text[line.0..line.1].char_indices() {
        let offset = line.0 + offset;
        let masked = masks.iter().any(|mask| offset >= mask.0 && offset < mask.1);
        note(offset, shown.len());
        match (masked, in_mask) {
            (true, false) => shown.push_str(MASK),
            (true, true) => {}
            (false, _) if character == '\t' => shown.push(' '),
            (false, _) => push_inert(shown, character),
        }
        in_mask = masked;
    }
    note(usize::MAX, shown.len());
    let end = shown.len();
    placed.into_iter().map(|(start, stop)| (start.unwrap_or(end), stop.unwrap_or(end))).collect()
}

/// `file:line:col: error[code]: message`, for editors and logs.
pub fn one_line(diagnostic: &Diagnostic, sources: &SourceMap) -> String {
    let at = sources.location(diagnostic.primary.span);
    let more = diagnostic.more_text().map(|more| format!(" ({more})")).unwrap_or_default();
    format!(
        "{}:{}:{}: {}[{}]: {}{more}",
        inert(at.path),
        at.line,
        at.column,
        diagnostic.severity.as_str(),
        diagnostic.code,
        inert_within(&diagnostic.message, MESSAGE_CHARACTERS_MAX)
    )
}

/// All problems as an array of objects.
pub fn to_json(report: &Report, sources: &SourceMap) -> Json {
    report.sorted(sources).iter().map(|diagnostic| diagnostic_json(diagnostic, sources)).collect()
}

fn diagnostic_json(diagnostic: &Diagnostic, sources: &SourceMap) -> Json {
    let mut object = place(&diagnostic.primary, sources);
    object["code"] = json!(diagnostic.code);
    object["severity"] = json!(diagnostic.severity.as_str());
    object["message"] = json!(inert(&diagnostic.message));
    object["help"] = diagnostic.help.iter().map(|help| json!(inert(help))).collect();
    object["related"] = diagnostic.related.iter().map(|label| place(label, sources)).collect();
    object["subject"] = json!(diagnostic.subject.as_deref().map(inert));
    object["more"] = json!(diagnostic.more);
    object
}

fn place(label: &Label, sources: &SourceMap) -> Json {
    let at = sources.location(label.span);
    json!({
        "file": inert(at.path),
        "line": at.line,
        "column": at.column,
        "end_line": at.end_line,
        "end_column": at.end_column,
        "label": inert(&label.text),
    })
}

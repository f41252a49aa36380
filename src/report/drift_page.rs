//! Drift as a page for people, as JSON and as Markdown.

use super::{
    Options, Style,
    drift::{Class, Difference, Drift, FieldDifference, Named},
    inert::{inert_json, inert_lines, inert_markdown},
    layout::{Canvas, Paint, Piece, width_of},
    markdown::{DETAILS_MAX, HEAD_MAX, ROWS_MAX, fold},
    next,
    totals::number,
    words::value,
};
use crate::model::{FieldKind, Reason, Value};
use std::fmt::Write as _;

/// Objects that are shown in full; JSON has all of them.
const OBJECTS_MAX: usize = 100;
/// Fields of one object that are shown.
const FIELDS_MAX: usize = 40;
/// Notes, and gaps of one hypervisor, that are shown.
const LINES_MAX: usize = 20;
/// Columns before the rows of an object.
const INDENT: usize = 8;
/// A longer label gets a line for itself.
const LABEL_MAX: usize = 24;

/// The whole page, ending in the next command.
pub fn drift_text(drift: &Drift, options: &Options, targets: &[String], style: &Style) -> String {
    let mut canvas = Canvas::new(style);
    let project = canvas.data(&drift.project).into_owned();
    canvas.words(0, &[Piece::new(Paint::Bold, "Drift"), Piece::plain(format!("of {project}"))]);
    unread(&mut canvas, drift);
    for difference in drift.differences.iter().take(OBJECTS_MAX) {
        canvas.blank();
        object(&mut canvas, difference);
    }
    let rest = drift.differences.len().saturating_sub(OBJECTS_MAX);
    if rest > 0 {
        canvas.blank();
        more(&mut canvas, 0, rest, "objects");
    }
    notes(&mut canvas, drift);
    canvas.blank();
    canvas.words(0, &[Piece::new(Paint::Bold, drift.line())]);
    let whole = drift.hypervisors.values().all(|it| it.coverage == "complete");
    if !drift.differences.is_empty() || !whole {
        let command = next::looking(options, targets);
        let command: Vec<String> =
            command.iter().map(|word| canvas.data(word).into_owned()).collect();
        canvas.command("Next: ", &command);
    }
    inert_lines(&canvas.finish()).into_owned()
}

/// Hypervisors of which not all is known: what is not told of them is not "no drift".
fn unread(canvas: &mut Canvas, drift: &Drift) {
    for (name, read) in drift.hypervisors.iter().filter(|(_, it)| it.coverage != "complete") {
        let text = format!(
            "{} was read {}: {}",
            canvas.data(name.as_str()),
            match read.coverage.as_str() {
                "scoped" => "as far as its account sees",
                "partial" => "in part",
                _ => "not at all",
            },
            canvas.data(&read.gaps.iter().take(LINES_MAX).cloned().collect::<Vec<_>>().join("; "))
        );
        canvas.row(2, "!", 1, &[Piece::new(Paint::Danger, text)]);
    }
}

fn object(canvas: &mut Canvas, it: &Difference) {
    let address = canvas.data(&it.address.to_string()).into_owned();
    let mut place = format!("on {}", canvas.data(it.hypervisor.as_str()));
    if let Some(id) = &it.id {
        let _ = write!(place, ", id {}", canvas.data(id.as_str()));
    }
    if let Some(node) = &it.node {
        let _ = write!(place, ", node {}", canvas.data(node.as_str()));
    }
    canvas.words(
        0,
        &[
            Piece::new(paint(it.class), format!("[{}]", it.class)),
            Piece::new(Paint::Bold, address),
            Piece::plain(place),
        ],
    );
    let rows = rows(canvas, it);
    let widths = rows.iter().map(|(label, _)| width_of(label)).filter(|width| *width <= LABEL_MAX);
    let label_width = widths.max().unwrap_or(0).max(8);
    for (label, text) in rows {
        canvas.row(INDENT, &label, label_width, &[Piece::plain(text)]);
    }
}

fn paint(class: Class) -> Paint {
    match class {
        Class::Reason(Reason::New) => Paint::Create,
        Class::Reason(Reason::Removed | Reason::TooFew) => Paint::Delete,
        Class::Reason(Reason::Drift) | Class::Vanished | Class::Code(_) => Paint::Danger,
        Class::Reason(
            Reason::ConfigChanged
            | Reason::Different
            | Reason::Dependency
            | Reason::Unfinished
            | Reason::Asked
            | Reason::Surplus,
        ) => Paint::Update,
    }
}

fn rows(canvas: &Canvas, it: &Difference) -> Vec<(String, String)> {
    let mut rows = vec![("why".to_owned(), canvas.data(&it.why).into_owned())];
    let mut row = |label: &str, text: String| rows.push((label.to_owned(), text));
    match (it.declared, it.observed) {
        (true, Some(false)) => row("object", "declared, not observed".to_owned()),
        (false, Some(true)) => row("object", "observed, not declared".to_owned()),
        (_, Some(_) | None) => {}
    }
    for difference in it.fields.iter().take(FIELDS_MAX) {
        let label = difference.field.to_string();
        row(&canvas.data(&label), field(canvas, difference));
    }
    let rest = it.fields.len().saturating_sub(FIELDS_MAX);
    if rest > 0 {
        row("", format!("{} and {} more fields", canvas.ellipsis(), number(rest)));
    }
    if let Some(named) = &it.author {
        row("author", canvas.data(&author(named)).into_owned());
    }
    if let Some(help) = &it.help {
        row("help", canvas.data(help).into_owned());
    }
    if let Some(place) = &it.place {
        row("at", canvas.data(place).into_owned());
    }
    rows
}

/// Declared, then observed, each with its unit.
fn field(canvas: &Canvas, it: &FieldDifference) -> String {
    let kind = it.field.kind;
    let device = matches!(kind, FieldKind::Disk | FieldKind::Nic);
    let show = |side: &Option<Value>| match side {
        Some(it) => value(canvas, kind, it),
        None => "(not set)".to_owned(),
    };
    let text = match (&it.declared, &it.observed) {
        (Some(_), None) if device => "declared, not observed".to_owned(),
        (None, Some(_)) if device => "observed, not declared".to_owned(),
        (None, None) => "to be written again".to_owned(),
        (declared, observed) => {
            format!("declared {}, observed {}", show(declared), show(observed))
        }
    };
    if it.pending { format!("{text}; written, waits for a restart") } else { text }
}

fn author(it: &Named) -> String {
    let perhaps = if it.perhaps { "perhaps " } else { "" };
    // As people write a time; the zone stays, because the reader's is another.
    let at = it.at.replacen('T', " ", 1).replace('Z', " UTC");
    format!("{perhaps}{}, {}, {at}", it.who, it.task)
}

fn notes(canvas: &mut Canvas, drift: &Drift) {
    if drift.notes.is_empty() {
        return;
    }
    canvas.blank();
    canvas.words(0, &[Piece::new(Paint::Bold, "Notes")]);
    for note in drift.notes.iter().take(LINES_MAX) {
        let text = canvas.data(note).into_owned();
        canvas.words(2, &[Piece::plain(text)]);
    }
    let rest = drift.notes.len().saturating_sub(LINES_MAX);
    if rest > 0 {
        more(canvas, 2, rest, "notes");
    }
}

fn more(canvas: &mut Canvas, indent: usize, count: usize, what: &str) {
    let text =
        format!("{} and {} more {what}; --format json shows all", canvas.ellipsis(), number(count));
    canvas.words(indent, &[Piece::plain(text)]);
}

/// The document for programs.
pub fn drift_json(drift: &Drift) -> String {
    // Text keys, text and whole numbers: nothing that JSON cannot hold.
    #[allow(clippy::expect_used, reason = "it has text keys and whole numbers only")]
    let mut text = inert_json(serde_json::to_string_pretty(drift).expect("drift is JSON"));
    text.push('\n');
    text
}

/// The totals, a table, and the page for people folded away.
pub fn drift_markdown(drift: &Drift, options: &Options, targets: &[String]) -> String {
    let mut text = format!("### {}\n\nDrift of {}\n", drift.line(), inert_markdown(&drift.project));
    if !drift.differences.is_empty() {
        text.push_str("\n| class | what | where | fields | author |\n|---|---|---|---|---|\n");
    }
    let mut rows = 0;
    for it in drift.differences.iter().take(ROWS_MAX) {
        if text.len() > HEAD_MAX {
            break;
        }
        rows += 1;
        let fields: Vec<String> = it.fields.iter().map(|it| it.field.to_string()).collect();
        let cell = |text: &str| match text {
            "" => String::new(),
            text => inert_markdown(text),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            it.class,
            inert_markdown(&it.address.to_string()),
            inert_markdown(it.hypervisor.as_str()),
            cell(&fields.join(", ")),
            cell(&it.author.as_ref().map(author).unwrap_or_default()),
        );
    }
    let rest = drift.differences.len() - rows;
    if rest > 0 {
        let _ = writeln!(text, "\n… and {} more.", number(rest));
    }
    let style = Style { color: false, unicode: true, width: 100 };
    fold(&mut text, &drift_text(drift, options, targets, &style), DETAILS_MAX);
    inert_lines(&text).into_owned()
}

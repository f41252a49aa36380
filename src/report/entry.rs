//! One action, or a group of alike ones, as lines.

use super::{
    group::Group,
    layout::{Canvas, Paint, Piece, width_of},
    steps::{pool_part, step_line},
    totals::number,
    words::{cost, danger, elide, forbids, reason, sign, stops, value},
};
use crate::model::{Action, Envelope, FieldChange, FieldKind, StepOp, Value, Verb};
use similar::{ChangeTag, TextDiff};

/// Columns before the rows of an action.
const INDENT: usize = 8;
/// A longer label gets a line for itself.
const LABEL_MAX: usize = 24;
/// Lines of a text's difference, or entries of a list's, that are shown.
const BLOCK_LINES_MAX: usize = 20;
/// Lost volumes of one action that are listed.
const VOLUMES_MAX: usize = 20;
/// Addresses of a group that are listed; of what destroys, more.
const NAMES_MAX: usize = 5;
const NAMES_DESTROYED_MAX: usize = 50;

/// A row below the first line.
enum Row {
    Words(String, Vec<Piece>),
    /// A label, then lines that keep their blanks.
    Block(String, Vec<(Paint, &'static str, String)>),
}

impl Row {
    fn label(&self) -> &str {
        match self {
            Row::Words(label, _) | Row::Block(label, _) => label,
        }
    }
}

/// Writes one entry of a wave.
pub(super) fn write(canvas: &mut Canvas, group: &Group<'_>, envelope: &Envelope, steps: bool) {
    headline(canvas, group, envelope);
    let rows = rows(canvas, group, envelope, steps);
    let widths = rows.iter().map(|row| width_of(row.label())).filter(|width| *width <= LABEL_MAX);
    let label_width = widths.max().unwrap_or(0).max(8);
    for row in rows {
        match row {
            Row::Words(label, pieces) => canvas.row(INDENT, &label, label_width, &pieces),
            Row::Block(label, lines) => {
                canvas.row(INDENT, &label, label_width, &[]);
                for (paint, lead, text) in lines {
                    canvas.verbatim(INDENT + 2, lead, &text, paint);
                }
            }
        }
    }
}

fn headline(canvas: &mut Canvas, group: &Group<'_>, envelope: &Envelope) {
    let action = group.first;
    let (unicode, ascii, paint) = sign(action.verb);
    let mark = match envelope.waiting.get(&action.id) {
        Some(waiting) if forbids(waiting.code) => "!",
        Some(_) => canvas.ellipsis(),
        None => "",
    };
    let mut pieces = vec![
        Piece::new(paint, format!("{} {}", canvas.sign(unicode, ascii), action.verb)),
        Piece::new(Paint::Bold, address(canvas, group)),
    ];
    pieces.extend(danger(action).into_iter().map(|word| Piece::new(Paint::Danger, word)));
    pieces.extend(lost(group).map(|text| Piece::new(Paint::Danger, text)));
    canvas.row(0, mark, 2, &pieces);
}

/// How much data goes. A volume of unknown size is not one of no size.
fn lost(group: &Group<'_>) -> Option<String> {
    let volumes = || group.members.iter().flat_map(|it| &it.data_loss.volumes);
    if group.members.iter().all(|it| it.loses_snapshots()) {
        // What a snapshot takes up nobody tells.
        return Some(format!("loses {}", snapshots(volumes().count())));
    }
    let known: u64 = volumes().filter_map(|it| it.size).map(|it| it.0).sum();
    let unknown = volumes().filter(|it| it.size.is_none()).count();
    let plural = if unknown == 1 { "" } else { "s" };
    match (volumes().next(), known, unknown) {
        (None, ..) => None,
        (Some(_), known, 0) => Some(format!("loses {}", size(known))),
        (Some(_), 0, unknown) => {
            Some(format!("loses {} volume{plural} of unknown size", number(unknown)))
        }
        (Some(_), known, unknown) => Some(format!(
            "loses {} and {} volume{plural} of unknown size",
            size(known),
            number(unknown)
        )),
    }
}

fn snapshots(count: usize) -> String {
    format!("{} snapshot{}", number(count), if count == 1 { "" } else { "s" })
}

fn address(canvas: &Canvas, group: &Group<'_>) -> String {
    let first = group.first.key.to_string();
    let first = canvas.data(&first);
    match group.members.len() {
        1 => first.into_owned(),
        count => {
            let noun = match group.first.key.kind {
                crate::model::Kind::Vm => "machines",
                crate::model::Kind::Pool => "pools",
                crate::model::Kind::Spread => "spreads",
            };
            format!("{} {noun} like {first}", number(count))
        }
    }
}

fn rows(canvas: &Canvas, group: &Group<'_>, envelope: &Envelope, steps: bool) -> Vec<Row> {
    let action = group.first;
    let many = group.members.len() > 1;
    let mut rows = vec![names(canvas, group), on(canvas, group), why(canvas, group, envelope)];
    rows.extend(action.fields.iter().filter_map(|change| field(canvas, group, change)).map(Some));
    if !group.varying.is_empty() {
        let fields: Vec<_> = group.varying.iter().map(ToString::to_string).collect();
        let text = format!("{} (each has its own)", canvas.data(&fields.join(", ")));
        rows.push(Some(words("differ in", text)));
    }
    if !many {
        rows.extend(choices(canvas, action).map(Some));
    }
    if !many {
        rows.extend(parts(canvas, action).map(Some));
    }
    rows.extend(losses(canvas, group).map(Some));
    rows.push(stops(&action.steps).map(|how| words("stops", how)));
    if !action.reversible && action.data_loss.is_none() && action.verb != Verb::Delete {
        rows.push(Some(words("undo", "no later plan can undo this")));
    }
    if action.protected {
        rows.push(Some(words("protected", "yes: it is neither deleted nor replaced")));
    }
    rows.extend(waits(canvas, group, envelope).map(Some));
    if steps {
        rows.extend(numbered(canvas, action).map(Some));
    }
    rows.into_iter().flatten().collect()
}

fn words(label: &str, text: impl Into<String>) -> Row {
    Row::Words(label.to_owned(), vec![Piece::plain(text)])
}

/// The objects that are made or removed with a pool: a name alone does not say where they are.
fn parts(canvas: &Canvas, action: &Action) -> impl Iterator<Item = Row> {
    let told = |of: fn(&StepOp) -> bool| -> Vec<String> {
        let steps = action.steps.iter().filter(|step| of(&step.op));
        steps.filter_map(|step| Some(pool_part(canvas, step.op.part()?))).collect()
    };
    let made = ("makes", told(|op| matches!(op, StepOp::MakePart { .. })));
    let gone = ("removes", told(|op| matches!(op, StepOp::RemovePart { .. })));
    let shown = [made, gone].into_iter().filter(|(_, names)| !names.is_empty());
    shown.map(|(label, names)| words(label, names.join(", ")))
}

/// Which machines a group stands for.
fn names(canvas: &Canvas, group: &Group<'_>) -> Option<Row> {
    if group.members.len() == 1 {
        return None;
    }
    let destroys = matches!(group.first.verb, Verb::Delete | Verb::Replace)
        || group.first.data_loss.on_a_machine_that_stays;
    let max = if destroys { NAMES_DESTROYED_MAX } else { NAMES_MAX };
    let shown: Vec<_> = group.members.iter().take(max).map(|it| it.key.to_string()).collect();
    let mut text = canvas.data(&shown.join(", ")).into_owned();
    let rest = group.members.len().saturating_sub(max);
    if rest > 0 {
        text.push_str(&format!(
            " {} and {} more; --format json shows all",
            canvas.ellipsis(),
            number(rest)
        ));
    }
    Some(words("these", text))
}

fn on(canvas: &Canvas, group: &Group<'_>) -> Option<Row> {
    let action = group.first;
    let mut text = canvas.data(action.hypervisor.as_str()).into_owned();
    if group.members.len() == 1 {
        if let Some(id) = &action.native_id {
            text.push_str(&format!(", id {}", canvas.data(id.as_str())));
        } else if matches!(action.verb, Verb::Create | Verb::Replace) {
            text.push_str(", id assigned by the hypervisor");
        }
        if let Some(node) = &action.node {
            text.push_str(&format!(", node {}", canvas.data(node.as_str())));
        }
    }
    Some(words("on", text))
}

fn why(canvas: &Canvas, group: &Group<'_>, envelope: &Envelope) -> Option<Row> {
    let said = envelope.reasons.get(&group.first.id).map(|it| reason(*it));
    let place = group.first.place.as_ref().map(ToString::to_string);
    let pieces: Vec<_> = said
        .map(|text| {
            Piece::plain(if place.is_some() { format!("{text},") } else { text.to_owned() })
        })
        .into_iter()
        .chain(place.map(|place| Piece::new(Paint::Dim, canvas.data(&place))))
        .collect();
    (!pieces.is_empty()).then(|| Row::Words("why".to_owned(), pieces))
}

fn field(canvas: &Canvas, group: &Group<'_>, change: &FieldChange) -> Option<Row> {
    if group.varying.contains(&change.field)
        || is_told_by_parts(group.first, change)
        || is_the_key(group.first, change)
    {
        return None;
    }
    let path = change.field.to_string();
    let label = canvas.data(&path).into_owned();
    let extra = extra(canvas, group.first, change);
    if let Some(lines) = block(canvas, change) {
        let mut lines = lines;
        if let Some(extra) = extra {
            lines.insert(0, (Paint::Dim, "", extra));
        }
        return Some(Row::Block(label, lines));
    }
    let kind = change.field.kind;
    let show = |it: &Value| value(canvas, kind, it);
    let text = match (&change.before, &change.after) {
        (None, Some(Value::Flag(true))) if is_device(kind) => "new".to_owned(),
        (Some(_), None) if is_device(kind) => "removed".to_owned(),
        (None, Some(after)) if matches!(group.first.verb, Verb::Create | Verb::Adopt) => {
            show(after)
        }
        (None, Some(after)) => format!("(not set) {} {}", canvas.arrow(), show(after)),
        (Some(before), None) => format!("{} {} (not set)", show(before), canvas.arrow()),
        (Some(before), Some(after)) => {
            format!("{} {} {}", show(before), canvas.arrow(), show(after))
        }
        (None, None) => "written again".to_owned(),
    };
    let mut pieces = vec![Piece::plain(text)];
    pieces.extend(extra.map(|extra| Piece::new(Paint::Dim, extra)));
    Some(Row::Words(label, pieces))
}

fn is_device(kind: FieldKind) -> bool {
    matches!(kind, FieldKind::Disk | FieldKind::Nic)
}

/// A new machine that is called like its entry needs no line to say so.
fn is_the_key(action: &Action, change: &FieldChange) -> bool {
    let named =
        matches!(&change.after, Some(Value::Text(name)) if name == action.key.name.as_str());
    action.verb == Verb::Create && change.field.kind == FieldKind::Name && named
}

/// A device as a whole needs no line when its parts have theirs.
fn is_told_by_parts(action: &Action, change: &FieldChange) -> bool {
    let device = &change.field.device;
    let is_part = |other: &FieldChange| {
        !is_device(other.field.kind) && other.field.device == *device && other.after.is_some()
    };
    is_device(change.field.kind)
        && change.after.is_some()
        && action.verb == Verb::Create
        && action.fields.iter().any(is_part)
}

/// What a change costs and where it was written, when that is not said already.
fn extra(canvas: &Canvas, action: &Action, change: &FieldChange) -> Option<String> {
    let born = matches!(action.verb, Verb::Create | Verb::Continue | Verb::Delete);
    let cost = cost(change).filter(|_| !born).map(str::to_owned);
    let elsewhere = change.place.as_ref().filter(|place| Some(*place) != action.place.as_ref());
    let place = elsewhere.filter(|_| !born).map(|it| canvas.data(&it.to_string()).into_owned());
    let said: Vec<_> = cost.into_iter().chain(place).collect();
    (!said.is_empty()).then(|| format!("({})", said.join(", ")))
}

/// A text of several lines, or a list that fits on none, as a difference.
fn block(canvas: &Canvas, change: &FieldChange) -> Option<Vec<(Paint, &'static str, String)>> {
    let lines = match (&change.before, &change.after) {
        (Some(Value::Text(before)), Some(Value::Text(after)))
            if before.contains('\n') || after.contains('\n') =>
        {
            text_lines(before, after)
        }
        (Some(Value::Text(before)), None) if before.contains('\n') => text_lines(before, ""),
        (None, Some(Value::Text(after))) if after.contains('\n') => text_lines("", after),
        (before, after) => {
            let before = list(before.as_ref())?;
            let after = list(after.as_ref())?;
            let width: usize = before.iter().chain(after).map(|it| it.chars().count() + 2).sum();
            if width < canvas.width().saturating_sub(36) {
                return None;
            }
            list_lines(before, after)
        }
    };
    let room = canvas.width().saturating_sub(INDENT + 4);
    let rest = lines.len().saturating_sub(BLOCK_LINES_MAX);
    let mut shown: Vec<_> = lines
        .into_iter()
        .take(BLOCK_LINES_MAX)
        .map(|(paint, lead, text)| {
            (paint, lead, elide(&canvas.data(&text), room, canvas.ellipsis()))
        })
        .collect();
    if rest > 0 {
        shown.push((Paint::Dim, "", format!("{} and {rest} more lines", canvas.ellipsis())));
    }
    Some(shown)
}

/// An unset list is an empty one here.
fn list(value: Option<&Value>) -> Option<&[String]> {
    match value {
        None => Some(&[]),
        Some(Value::List(items)) => Some(items),
        Some(Value::Count(_) | Value::Size(_) | Value::Flag(_) | Value::Text(_)) => None,
    }
}

/// Lines around a change that are shown with it.
const CONTEXT_LINES: usize = 1;

fn text_lines(before: &str, after: &str) -> Vec<(Paint, &'static str, String)> {
    let diff = TextDiff::from_lines(before, after);
    let mut lines = Vec::new();
    for (index, part) in diff.grouped_ops(CONTEXT_LINES).iter().enumerate() {
        if index > 0 {
            lines.push((Paint::Dim, "  ", "...".to_owned()));
        }
        for change in part.iter().flat_map(|op| diff.iter_changes(op)) {
            let text = change.value();
            let text = text.strip_suffix('\n').unwrap_or(text).to_owned();
            lines.push(match change.tag() {
                ChangeTag::Delete => (Paint::Delete, "- ", text),
                ChangeTag::Insert => (Paint::Create, "+ ", text),
                ChangeTag::Equal => (Paint::Plain, "  ", text),
            });
        }
    }
    lines
}

/// Entries that go and come. An order that changed is shown by all entries.
fn list_lines(before: &[String], after: &[String]) -> Vec<(Paint, &'static str, String)> {
    let gone = before.iter().filter(|item| !after.contains(item));
    let come = after.iter().filter(|item| !before.contains(item));
    let mut lines: Vec<_> = gone
        .map(|item| (Paint::Delete, "- ", item.clone()))
        .chain(come.map(|item| (Paint::Create, "+ ", item.clone())))
        .collect();
    if lines.is_empty() {
        lines.extend(after.iter().map(|item| (Paint::Update, "~ ", item.clone())));
    }
    lines
}

fn choices<'a>(canvas: &Canvas, action: &'a Action) -> impl Iterator<Item = Row> + use<'a> {
    let show = |text: &str| canvas.data(text).into_owned();
    let rows: Vec<_> = action
        .choices
        .iter()
        .map(|choice| {
            Row::Words(
                show(&choice.what),
                vec![
                    Piece::plain(show(&choice.value)),
                    Piece::new(Paint::Dim, format!("(chosen: {})", show(&choice.why))),
                ],
            )
        })
        .collect();
    rows.into_iter()
}

fn losses(canvas: &Canvas, group: &Group<'_>) -> impl Iterator<Item = Row> + use<> {
    let mut rows = Vec::new();
    let volumes: usize = group.members.iter().map(|it| it.data_loss.volumes.len()).sum();
    if volumes == 0 {
        return rows.into_iter();
    }
    let is_snapshot = group.members.iter().all(|it| it.loses_snapshots());
    if group.members.len() > 1 {
        let what = match is_snapshot {
            true => snapshots(volumes),
            false => format!("{} volumes", number(volumes)),
        };
        rows.push(words("loses", format!("{what}; --format json lists them")));
        return rows.into_iter();
    }
    for (index, lost) in group.first.data_loss.volumes.iter().take(VOLUMES_MAX).enumerate() {
        let size = lost.size.map_or_else(|| "size unknown".to_owned(), |it| size(it.0));
        let name = canvas.data(&lost.volume);
        let text = match is_snapshot {
            true => format!("snapshot {name}"),
            false => format!("{}, {size}, {name}", canvas.data(&lost.label)),
        };
        let label = if index == 0 { "loses" } else { "" };
        rows.push(Row::Words(label.to_owned(), vec![Piece::new(Paint::Danger, text)]));
    }
    let rest = volumes.saturating_sub(VOLUMES_MAX);
    if rest > 0 {
        let what = if is_snapshot { "snapshots" } else { "volumes" };
        rows.push(words("", format!("{} and {rest} more {what}", canvas.ellipsis())));
    }
    rows.into_iter()
}

fn waits(
    canvas: &Canvas,
    group: &Group<'_>,
    envelope: &Envelope,
) -> impl Iterator<Item = Row> + use<> {
    let mut rows = Vec::new();
    if let Some(waiting) = envelope.waiting.get(&group.first.id) {
        let label = if forbids(waiting.code) { "blocked" } else { "waits" };
        rows.push(Row::Words(
            label.to_owned(),
            vec![
                Piece::plain(canvas.data(&waiting.message)),
                Piece::new(Paint::Dim, format!("[{}]", waiting.code)),
            ],
        ));
        let lead = if waiting.unlock.starts_with("--") { "add" } else { "until" };
        // Flags of a crowd are joined in the last lines; here one stands for all.
        let example = if group.members.len() > 1 { " (this one)" } else { "" };
        if !waiting.unlock.is_empty() {
            rows.push(words(lead, format!("{}{example}", canvas.data(&waiting.unlock))));
        }
    }
    rows.into_iter()
}

fn numbered(canvas: &Canvas, action: &Action) -> impl Iterator<Item = Row> + use<> {
    let rows: Vec<_> = action
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            let line = step_line(canvas, step);
            words(&format!("step {}", index + 1), canvas.data(&line))
        })
        .collect();
    rows.into_iter()
}

/// A sum of sizes: exact where a unit divides it, else in tenths of the largest.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Some((unit, name)) = UNITS.into_iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes} B");
    };
    let tenths = u128::from(bytes) * 10 / u128::from(unit);
    match tenths % 10 {
        0 => format!("{} {name}", tenths / 10),
        tenth => format!("{}.{tenth} {name}", tenths / 10),
    }
}

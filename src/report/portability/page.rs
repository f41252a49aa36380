//! The table for people.

use super::{FieldRow, Portability, Support};
use crate::report::{
    Style,
    layout::{Canvas, Paint, Piece},
};

/// Columns of a path, of a count, and between two columns.
const FIELD: usize = 20;
const USED: usize = 5;
const GAP: usize = 2;

/// The table, with a note for every field that a product refuses.
pub fn portability_text(table: &Portability, style: &Style) -> String {
    let mut canvas = Canvas::new(style);
    let counted = table.fields.iter().any(|row| row.used.is_some());
    let mut notes: Vec<String> = Vec::new();
    let used = if counted { format!("{:>USED$}  ", "used") } else { String::new() };
    let taken = FIELD + GAP + if counted { USED + GAP } else { 0 };
    let room = canvas.width().saturating_sub(taken) / table.products.len().max(1);
    let line = |canvas: &mut Canvas, text: &str, paint| {
        canvas.verbatim(0, "", text.trim_end(), paint);
    };
    let heads: String = table.products.iter().map(|name| format!("{name:<room$}")).collect();
    line(&mut canvas, &format!("{:<FIELD$}  {used}{heads}", "field"), Paint::Bold);
    for row in &table.fields {
        let cells: Vec<String> = row.on.iter().map(|it| cell(row, it, &mut notes)).collect();
        let cells: String = cells.iter().map(|cell| format!("{cell:<room$}")).collect();
        let used = match row.used {
            Some(count) => format!("{count:>USED$}  "),
            None => " ".repeat(used.len()),
        };
        line(&mut canvas, &format!("{:<FIELD$}  {used}{cells}", row.field), Paint::Plain);
    }
    canvas.blank();
    let legend = "A class is what changing the field later costs a running machine; `fixed` cannot be changed. What is not refused can be written at creation, and is compared on every plan unless it is `not read`.";
    canvas.words(0, &[Piece::plain(legend)]);
    for (number, note) in notes.iter().enumerate() {
        let note = canvas.data(note).into_owned();
        canvas.row(0, &format!("[{}]", number + 1), 4, &[Piece::plain(note)]);
    }
    canvas.finish()
}

/// One cell; what is refused points at a note.
fn cell(row: &FieldRow, support: &Support, notes: &mut Vec<String>) -> String {
    if let Some(reason) = &support.why {
        let note = format!("{}: {}; {}", row.field, reason.text, reason.help);
        let at = notes.iter().position(|it| *it == note).unwrap_or_else(|| {
            notes.push(note);
            notes.len() - 1
        });
        return match (reason.machines, row.used) {
            (Some(some), Some(all)) if some < all => {
                format!("not for {some} of {all} [{}]", at + 1)
            }
            (Some(_) | None, Some(_) | None) => format!("no [{}]", at + 1),
        };
    }
    let change = match support.change.as_slice() {
        [] if support.read_back => "fixed".to_owned(),
        // What is never read is compared as part of the digest, and changed with it.
        [] => "with init".to_owned(),
        classes => {
            let words: Vec<&str> = classes.iter().map(|class| class.as_str()).collect();
            words.join(" or ")
        }
    };
    if support.read_back { change } else { format!("{change}, not read") }
}

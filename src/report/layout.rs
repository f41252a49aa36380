//! Lines that fit a screen: widths, wrapping, colours, and texts of others.

use super::Style;
use crate::model::inert_within;
use std::borrow::Cow;

/// Nothing useful fits into fewer columns.
const WIDTH_MIN: usize = 40;
/// Characters of one text of others: a screen full. The plan document has all of it.
const DATA_CHARACTERS_MAX: usize = 2_000;

/// What a piece of text is, which decides its colour where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Bold,
    Dim,
    Create,
    Update,
    Replace,
    Delete,
    Danger,
}

impl Paint {
    /// The parameters of its escape sequence.
    fn code(self) -> Option<&'static str> {
        match self {
            Paint::Plain => None,
            Paint::Bold => Some("1"),
            Paint::Dim => Some("2"),
            Paint::Create => Some("32"),
            Paint::Update => Some("33"),
            Paint::Replace => Some("35"),
            Paint::Delete => Some("31"),
            Paint::Danger => Some("1;31"),
        }
    }
}

/// Words of one paint. Pieces that follow each other are set apart by a blank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub text: String,
    pub paint: Paint,
    /// Whether it stays on one line when it fits on one.
    whole: bool,
}

impl Piece {
    pub fn new(paint: Paint, text: impl Into<String>) -> Self {
        Self { text: text.into(), paint, whole: false }
    }

    /// Words that say something only together: `7 guests, 0 ours`.
    pub fn whole(paint: Paint, text: impl Into<String>) -> Self {
        Self { whole: true, ..Self::new(paint, text) }
    }

    pub fn plain(text: impl Into<String>) -> Self {
        Self::new(Paint::Plain, text)
    }
}

/// The text that is being made, and the screen it is made for.
pub(super) struct Canvas {
    out: String,
    style: Style,
}

impl Canvas {
    pub fn new(style: &Style) -> Self {
        Self { out: String::new(), style: Style { width: style.width.max(WIDTH_MIN), ..*style } }
    }

    pub fn finish(self) -> String {
        self.out
    }

    pub fn width(&self) -> usize {
        self.style.width
    }

    /// A text that others wrote, harmless and within what the screen can show.
    pub fn data<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let shown = inert_within(text, DATA_CHARACTERS_MAX);
        if self.style.unicode || shown.is_ascii() {
            return shown;
        }
        let mut ascii = String::with_capacity(shown.len() + 8);
        for character in shown.chars() {
            if character.is_ascii() {
                ascii.push(character);
            } else {
                ascii.extend(character.escape_unicode());
            }
        }
        Cow::Owned(ascii)
    }

    /// Our own sign, in one of its two spellings.
    pub fn sign(&self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.style.unicode { unicode } else { ascii }
    }

    pub fn ellipsis(&self) -> &'static str {
        self.sign("…", "...")
    }

    pub fn arrow(&self) -> &'static str {
        self.sign("→", "->")
    }

    pub fn blank(&mut self) {
        self.out.push('\n');
    }

    /// Words, wrapped; later lines begin below the first word.
    pub fn words(&mut self, indent: usize, pieces: &[Piece]) {
        self.row(indent, "", 0, pieces);
    }

    /// A label and words beside it, wrapped below each other.
    pub fn row(&mut self, indent: usize, label: &str, label_width: usize, pieces: &[Piece]) {
        let hang = if label_width == 0 { indent } else { indent + label_width + 2 };
        // A label that is longer than its column gets a line for itself.
        let mut column = indent + width_of(label);
        self.spaces(indent);
        self.out.push_str(label);
        if label_width > 0 && column + 1 > hang {
            self.out.push('\n');
            column = 0;
        }
        self.spaces(hang.saturating_sub(column));
        self.wrap(hang, pieces);
        while self.out.ends_with(' ') {
            self.out.pop();
        }
        self.out.push('\n');
    }

    /// One line kept as it is, blanks included, cut into as many as it needs.
    pub fn verbatim(&mut self, indent: usize, lead: &str, text: &str, paint: Paint) {
        let room = self.style.width.saturating_sub(indent + width_of(lead)).max(8);
        let mut rest = text;
        let mut lead = lead.to_owned();
        loop {
            let (head, tail) = split_at_width(rest, room);
            self.spaces(indent);
            self.paint(&format!("{lead}{head}"), paint);
            self.out.truncate(self.out.trim_end_matches(' ').len());
            self.out.push('\n');
            if tail.is_empty() {
                return;
            }
            rest = tail;
            lead = " ".repeat(width_of(&lead));
        }
    }

    /// A command that can be copied: continued with backslashes where it is too long.
    pub fn command(&mut self, lead: &str, words: &[String]) {
        self.out.push_str(lead);
        let mut column = width_of(lead);
        // The lead is words for people; only the command itself must copy whole.
        for (index, word) in words.iter().enumerate() {
            let width = width_of(word) + usize::from(index > 0);
            // Two columns are kept for the backslash.
            if index == 0 && column + width + 2 > self.style.width {
                self.out.truncate(self.out.trim_end_matches(' ').len());
                self.out.push_str("\n    ");
                column = 4;
            } else if index > 0 && column + width + 2 > self.style.width {
                self.out.push_str(" \\\n");
                self.spaces(4);
                column = 4;
            } else if index > 0 {
                self.out.push(' ');
            }
            self.paint(word, Paint::Bold);
            column += width;
        }
        self.out.push('\n');
    }

    fn wrap(&mut self, hang: usize, pieces: &[Piece]) {
        let mut column = hang;
        for piece in pieces {
            let one = piece.whole.then_some(piece.text.as_str());
            let several = (!piece.whole).then(|| piece.text.split(' ')).into_iter().flatten();
            for word in one.into_iter().chain(several).filter(|word| !word.is_empty()) {
                let mut rest = word;
                if column > hang {
                    if column + 1 + width_of(rest) > self.style.width {
                        self.out.push('\n');
                        self.spaces(hang);
                        column = hang;
                    } else {
                        self.out.push(' ');
                        column += 1;
                    }
                }
                let room = self.style.width.saturating_sub(hang).max(8);
                while width_of(rest) > room {
                    let (head, tail) = split_at_width(rest, room);
                    self.paint(head, piece.paint);
                    self.out.push('\n');
                    self.spaces(hang);
                    rest = tail;
                }
                self.paint(rest, piece.paint);
                column += width_of(rest);
            }
        }
    }

    fn paint(&mut self, text: &str, paint: Paint) {
        match paint.code() {
            Some(code) if self.style.color => {
                self.out.push_str("\u{1b}[");
                self.out.push_str(code);
                self.out.push('m');
                self.out.push_str(text);
                self.out.push_str("\u{1b}[0m");
            }
            Some(_) | None => self.out.push_str(text),
        }
    }

    fn spaces(&mut self, count: usize) {
        self.out.extend(std::iter::repeat_n(' ', count));
    }
}

/// Columns that a text takes.
pub(super) fn width_of(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().map(columns).sum() }
}

/// Columns of one character, close enough for wrapping: combining marks take none,
/// East Asian wide forms and pictures two.
fn columns(character: char) -> usize {
    match character {
        '\u{0300}'..='\u{036F}' | '\u{FE00}'..='\u{FE0F}' => 0,
        '\u{1100}'..='\u{115E}'
        | '\u{2E80}'..='\u{A4CF}'
        | '\u{AC00}'..='\u{D7A3}'
        | '\u{F900}'..='\u{FAFF}'
        | '\u{FE30}'..='\u{FE6F}'
        | '\u{FF00}'..='\u{FF60}'
        | '\u{FFE0}'..='\u{FFE6}'
        | '\u{1F300}'..='\u{1FAFF}'
        | '\u{20000}'..='\u{3FFFD}' => 2,
        _ => 1,
    }
}

/// Cuts where the columns are used up, never inside of a character.
fn split_at_width(text: &str, room: usize) -> (&str, &str) {
    let mut used = 0;
    for (at, character) in text.char_indices() {
        used += columns(character);
        if used > room {
            // At least one character goes, or the caller would never end.
            let at = if at == 0 { character.len_utf8() } else { at };
            return text.split_at(at);
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(width: usize) -> Canvas {
        Canvas::new(&Style { width, ..Style::PLAIN })
    }

    #[test]
    fn words_wrap_below_the_first_one() {
        let mut canvas = plain(40);
        canvas.row(2, "why", 8, &[Piece::plain("one two three four five six seven eight")]);
        assert_eq!(
            canvas.finish(),
            "  why       one two three four five six\n            seven eight\n"
        );
    }

    #[test]
    fn a_word_that_is_too_long_is_cut_and_nothing_is_lost() {
        let mut canvas = plain(40);
        let word = "x".repeat(95);
        canvas.words(4, &[Piece::plain(word.clone())]);
        let text = canvas.finish();
        assert!(text.lines().all(|line| line.len() <= 40));
        assert_eq!(text.replace([' ', '\n'], ""), word);
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(width_of("日本"), 4);
        assert_eq!(width_of("e\u{301}"), 1);
        let mut canvas = Canvas::new(&Style { unicode: true, ..Style::PLAIN });
        canvas.words(0, &[Piece::plain("日".repeat(60))]);
        assert!(canvas.finish().lines().all(|line| width_of(line) <= 80));
    }

    #[test]
    fn a_screen_without_unicode_gets_none() {
        assert_eq!(plain(80).data("né"), "n\\u{e9}");
    }

    #[test]
    fn a_long_command_can_still_be_copied() {
        let mut canvas = plain(40);
        let words: Vec<String> =
            ["novahost", "apply", "--allow", "restart=vm/a,vm/b,vm/c", "--yes"]
                .map(String::from)
                .into();
        canvas.command("Next: ", &words);
        let text = canvas.finish();
        assert!(text.lines().all(|line| line.len() <= 40), "{text}");
        assert_eq!(text.replace("\\\n", "").split_whitespace().skip(1).collect::<Vec<_>>(), words);
    }

    #[test]
    fn colour_is_nothing_but_colour() {
        let mut canvas = Canvas::new(&Style { color: true, ..Style::PLAIN });
        canvas.words(0, &[Piece::new(Paint::Danger, "RESTART now")]);
        assert_eq!(canvas.finish(), "\u{1b}[1;31mRESTART\u{1b}[0m \u{1b}[1;31mnow\u{1b}[0m\n");
    }
}

//! What CI logs and Markdown pages add to the rules of [`crate::model::inert`].

use crate::model::{inert_within, is_active, push_inert};
use std::{borrow::Cow, fmt::Write as _, net::Ipv6Addr};

/// Words that make a CI service act on a line of a log wherever they stand in it:
/// GitHub's and Azure's older form, Azure's newer one, TeamCity's.
const ANYWHERE: [&str; 3] = ["##[", "##vso[", "##teamcity["];

/// Characters of one line of a page. Tables are wider than a screen when names are
/// long; a name of 64 KiB is nobody's table.
const LINE_CHARACTERS_MAX: usize = 2_000;
/// Characters of one text in a Markdown page, which as entities take six times as many.
const CELL_CHARACTERS_MAX: usize = 300;

/// A finished page, as it may reach a screen or a log, whatever got into it: the last
/// barrier, behind the care that each maker of text takes itself.
///
/// Only line breaks stay active, and with `color` the sequences that set a colour. A
/// line that no screen could show is cut, and says so.
pub fn inert_page(text: &str, color: bool) -> String {
    let mut shown = String::with_capacity(text.len() + 16);
    for line in text.split_inclusive('\n') {
        let body = line.strip_suffix('\n').unwrap_or(line);
        push_line(&mut shown, body, color);
        if body.len() < line.len() {
            shown.push('\n');
        }
    }
    match inert_lines(&shown) {
        Cow::Borrowed(_) => shown,
        Cow::Owned(broken) => broken,
    }
}

fn push_line(shown: &mut String, line: &str, color: bool) {
    let mut room = LINE_CHARACTERS_MAX;
    let mut rest = line;
    while let Some(character) = rest.chars().next() {
        if let Some(length) = color.then(|| paint_length(rest)).flatten() {
            shown.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        if room == 0 {
            let more = rest.chars().count();
            shown.push_str(if color { "\u{1b}[0m" } else { "" });
            let _ = write!(shown, "... ({more} more characters)");
            return;
        }
        push_inert(shown, character);
        room -= 1;
        rest = &rest[character.len_utf8()..];
    }
}

/// How long the sequence is that sets a colour, when the text begins with one.
fn paint_length(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|it: char| !(it.is_ascii_digit() || it == ';'))?;
    parameters[end..].starts_with('m').then_some("\u{1b}[".len() + end + 1)
}

/// A finished text with every CI workflow command in it made harmless.
///
/// Works on whole lines, because a command counts only where a line begins (blanks
/// before it do not help) and wrapping decides where that is. An IPv6 address that
/// begins a line, like `::1`, is left as it is.
pub fn inert_lines(text: &str) -> Cow<'_, str> {
    if !text.contains("::") && !text.contains("##") {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 32);
    for line in text.split_inclusive('\n') {
        let body = line.trim_start();
        shown.push_str(&line[..line.len() - body.len()]);
        match body.strip_prefix("::") {
            Some(rest) if !is_address(body) => {
                shown.push_str("\\u{3a}:");
                push_without_hashes(&mut shown, rest);
            }
            Some(_) | None => push_without_hashes(&mut shown, body),
        }
    }
    Cow::Owned(shown)
}

fn is_address(text: &str) -> bool {
    let word = text.split_whitespace().next().unwrap_or_default();
    let address = word.split('/').next().unwrap_or_default();
    address.trim_end_matches(',').parse::<Ipv6Addr>().is_ok()
}

fn push_without_hashes(shown: &mut String, mut rest: &str) {
    while let Some(at) = ANYWHERE.iter().filter_map(|word| rest.find(word)).min() {
        shown.push_str(&rest[..at]);
        shown.push_str("\\u{23}");
        rest = &rest[at + 1..];
    }
    shown.push_str(rest);
}

/// One text as a span of code for a Markdown page: no markup, link, mention or
/// reference in it has any effect.
///
/// Backticks cannot be escaped inside backticks, so it is an HTML element with
/// entities; services look for mentions and references outside of `code` only.
pub fn inert_markdown(text: &str) -> String {
    let mut shown = String::from("<code>");
    for character in inert_within(text, CELL_CHARACTERS_MAX).chars() {
        match character {
            '-' | '.' | ',' | '/' | ' ' => shown.push(character),
            other if other.is_ascii_punctuation() => {
                let _ = write!(shown, "&#{};", u32::from(other));
            }
            other => shown.push(other),
        }
    }
    shown.push_str("</code>");
    shown
}

/// Text for the inside of a `pre` element.
pub(super) fn inert_html(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + text.len() / 8);
    for character in text.chars() {
        match character {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            // Some services look for mentions after the page is made.
            '@' => shown.push_str("&#64;"),
            other => shown.push(other),
        }
    }
    shown
}

/// A JSON document, spelt so that its texts are harmless where it is shown. It reads
/// back as the same value.
pub fn inert_json(text: String) -> String {
    let plain = text.bytes().all(|byte| byte == b'\n' || (0x20..0x7F).contains(&byte));
    if plain && !text.contains("##") {
        return text;
    }
    // Outside of strings a document holds only ASCII that is not a hash, so what is
    // found here is inside of one.
    let mut shown = String::with_capacity(text.len() + 32);
    for character in text.chars() {
        if character == '#' || (is_active(character) && character != '\n') {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_command_is_broken_wherever_a_line_begins() {
        let text = "a\n   ::error file=x::boo\nb ::error::c\n::set-output name=a::b";
        let shown = inert_lines(text);
        assert!(shown.lines().all(|line| !line.trim_start().starts_with("::")), "{shown}");
        assert!(shown.contains("b ::error::c"), "not at the beginning, so no command: {shown}");
    }

    #[test]
    fn older_commands_are_broken_anywhere() {
        let shown = inert_lines("a ##[error]x ##vso[task.setvariable]y ##teamcity[z]");
        assert!(ANYWHERE.iter().all(|word| !shown.contains(word)), "{shown}");
    }

    #[test]
    fn an_address_at_the_beginning_of_a_line_stays_readable() {
        assert_eq!(inert_lines("  ::1/128 x"), "  ::1/128 x");
    }

    #[test]
    fn markup_mentions_and_tags_lose_their_meaning() {
        let shown = inert_markdown("`x` @team #12 <img src=x> [a](http://b) | **c**");
        let inside = shown.strip_prefix("<code>").unwrap().strip_suffix("</code>").unwrap();
        // `&`, `#` and `;` are left because they spell the entities.
        for sign in ['`', '@', '<', '>', '[', ']', '(', '|', '*', ':'] {
            assert!(!inside.contains(sign), "{sign} in {inside}");
        }
        assert!(!inside.contains(" #12") && inside.contains(" &#35;12"));
    }

    #[test]
    fn a_page_keeps_its_line_breaks_and_colours_and_nothing_else() {
        let text = "a\u{1b}[31mb\u{1b}[0m\u{1b}]0;x\u{7}\n\tc\u{202e}\u{9b}2J\r\n::error::d\n";
        let plain = "a\\u{1b}[31mb\\u{1b}[0m\\u{1b}]0;x\\u{7}\n\\tc\\u{202e}\\u{9b}2J\\r\n";
        assert_eq!(inert_page(text, false), format!("{plain}\\u{{3a}}:error::d\n"));
        let colored = inert_page(text, true);
        assert!(colored.starts_with("a\u{1b}[31mb\u{1b}[0m\\u{1b}]0;x"), "{colored:?}");
    }

    #[test]
    fn a_line_that_no_screen_can_show_is_cut_and_says_so() {
        let shown = inert_page(&format!("{}\nnext", "é".repeat(65_536)), false);
        let (first, second) = shown.split_once('\n').unwrap();
        assert!(first.ends_with("... (63536 more characters)"), "{}", &first[first.len() - 40..]);
        assert_eq!((first.chars().count(), second), (LINE_CHARACTERS_MAX + 27, "next"));
    }

    #[test]
    fn json_is_respelt_but_means_the_same() {
        let value = serde_json::json!({"a": "##[error]\u{202e}\u{7f}é\u{e0041}"});
        let shown = inert_json(serde_json::to_string_pretty(&value).unwrap());
        assert!(!shown.contains("##[") && !shown.contains('\u{202e}') && !shown.contains('\u{7f}'));
        assert!(shown.contains('é'));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}

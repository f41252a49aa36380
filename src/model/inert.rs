//! Text that others wrote, made harmless for terminals and reviewers.
//!
//! One implementation for every place that shows such text: messages about files,
//! plans, journals. What a Markdown page or a CI log adds to this is in `report`.

use std::borrow::Cow;

/// Whether a character can move the cursor, hide or reorder its neighbours, or
/// break a line.
///
/// Control characters carry terminal escapes; bidi controls make a reviewer read
/// another order than the program does; zero-width characters make two names look
/// alike; U+2028 and U+2029 are line breaks to some viewers.
pub fn is_active(character: char) -> bool {
    character.is_control() || is_invisible(character)
}

/// Bidi controls, zero-width characters, separators, and tag characters.
pub fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{00AD}'
            | '\u{061C}'
            | '\u{115F}'..='\u{1160}'
            | '\u{180E}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{3164}'
            | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E0FFF}'
    )
}

/// The text with every active character written as an escape (`\n`, `\u{1b}`), so
/// that it can be shown on one line.
pub fn inert(text: &str) -> Cow<'_, str> {
    // Most text is plain ASCII; a scan of bytes is enough to know.
    if text.bytes().all(|byte| (0x20..0x7F).contains(&byte)) || !text.chars().any(is_active) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        push_inert(&mut shown, character);
    }
    Cow::Owned(shown)
}

/// Adds one character, escaped when it is active.
pub fn push_inert(shown: &mut String, character: char) {
    if is_invisible(character) {
        shown.extend(character.escape_unicode());
    } else if character.is_control() {
        shown.extend(character.escape_default());
    } else {
        shown.push(character);
    }
}

/// [`inert`], and no longer than so many characters; what is left out is counted.
pub fn inert_within(text: &str, characters_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters_max) {
        None => inert(text),
        Some((at, _)) => {
            let more = text[at..].chars().count();
            Cow::Owned(format!("{}... ({more} more characters)", inert(&text[..at])))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_bidi_and_line_breaks_are_shown_as_text() {
        assert_eq!(inert("a\u{1b}[31mb"), "a\\u{1b}[31mb");
        assert_eq!(inert("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(inert("a\r\nb\u{2028}"), "a\\r\\nb\\u{2028}");
    }

    #[test]
    fn what_is_cut_is_counted() {
        assert_eq!(inert_within("abc", 3), "abc");
        assert_eq!(inert_within("é\u{7}cd", 2), "é\\u{7}... (2 more characters)");
    }

    #[test]
    fn plain_and_accented_text_is_left_alone() {
        assert!(matches!(inert("web-1 at pve1"), Cow::Borrowed(_)));
        assert!(matches!(inert("bâtiment É"), Cow::Borrowed(_)));
    }
}

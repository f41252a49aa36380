//! Text that others wrote, made harmless for terminals and reviewers.

use std::borrow::Cow;

/// Whether a character can move the cursor, hide or reorder its neighbours, or break a line.
///
/// Control characters carry terminal escapes; bidi controls make a reviewer read another order than the program does;
/// zero-width characters make two names look alike; U+2028 and U+2029 are line breaks to some viewers.
pub(crate) fn is_active(character: char) -> bool {
    character.is_control() || is_invisible(character)
}

/// Bidi controls, zero-width characters, separators, and tag characters.
pub(crate) fn is_invisible(character: char) -> bool {
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

/// The text with every active character written as an escape (`\n`, `\u{1b}`), so that it can be shown on one line.
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
pub(crate) fn push_inert(shown: &mut String, character: char) {
    if is_invisible(character) {
        shown.extend(character.escape_unicode());
    } else if character.is_control() {
        shown.extend(character.escape_default());
    } else {
        shown.push(character);
    }
}

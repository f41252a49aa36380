//! What hostile text looks like, and what it must never do to a screen, a log or a page.

use crate::scratch::Ran;

/// Characters of a line of text. A screen has fewer, a table may have more; 64 KiB is neither.
const LINE_MAX: usize = 2_100;

/// Everything that terminals, CI logs, reviewers and Markdown pages are known to act on.
pub const HOSTILE: &str = "\u{1b}[31mred\u{1b}]0;title\u{7}\u{9b}2J\u{8}\u{7f}\r\n\
    ::error file=x::pwned\n::set-output name=x::y\n##vso[task.setvariable variable=x]y\n\
    ##[error]z\n##teamcity[buildProblem]\n\u{202e}rtl\u{2066}\u{200b}\u{feff}\u{2028}\u{e0041}\
    <script>alert(1)</script> <img src=x> [a](http://evil.example)|cell|`tick`@team #1";

/// The same, and 64 KiB of it.
pub fn long() -> String {
    let mut text = HOSTILE.to_owned();
    text.push_str(&"A".repeat(64 << 10));
    text
}

/// How a command writes its result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// One document, or one a line.
    Json,
    /// For a comment.
    Markdown,
}

/// Demands of all that a command wrote that nothing in it acts.
#[track_caller]
pub fn harmless(ran: &Ran, form: Form) {
    for (name, text) in [("stdout", &ran.out), ("stderr", &ran.err)] {
        no_active_character(name, text, ran);
        no_workflow_command(name, text, ran);
        let document = name == "stdout" && form != Form::Text;
        if !document {
            let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(
                longest <= LINE_MAX,
                "a line of {longest} characters on {name} of {}",
                ran.line
            );
        }
    }
    match form {
        Form::Text => {}
        Form::Json => {
            let values = serde_json::Deserializer::from_str(&ran.out).into_iter();
            for value in values {
                let _: serde_json::Value = value.expect("JSON");
            }
        }
        Form::Markdown => no_markup(&ran.out, ran),
    }
}

#[track_caller]
fn no_active_character(name: &str, text: &str, ran: &Ran) {
    // Written down here once more, and not taken from the program: it could be wrong there.
    let acts = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    if let Some((at, found)) = text.char_indices().find(|(_, c)| acts(*c)) {
        let around: String = text[..at].chars().rev().take(80).collect();
        let around: String = around.chars().rev().collect();
        panic!("{found:?} on {name} of `{}`, after {around:?}", ran.line);
    }
}

#[track_caller]
fn no_workflow_command(name: &str, text: &str, ran: &Ran) {
    for line in text.lines() {
        assert!(!line.trim_start().starts_with("::"), "{name} of `{}`: {line}", ran.line);
        for word in ["##[", "##vso[", "##teamcity["] {
            assert!(!line.contains(word), "{name} of `{}`: {line}", ran.line);
        }
    }
}

#[track_caller]
fn no_markup(page: &str, ran: &Ran) {
    for word in ["<script", "<img", "@team"] {
        assert!(!page.contains(word), "`{word}` in the page of `{}`", ran.line);
    }
    // What is inside of `pre` is no Markdown any more.
    let folded = page.find("<pre>").map_or("", |at| &page[at..]);
    assert!(page.matches("</pre>").count() <= 1, "`{}` leaves its `pre`", ran.line);
    let outside = page.strip_suffix(folded).unwrap();
    for word in ["](http", "|cell|", "`tick`", "http://evil", " #1"] {
        assert!(!outside.contains(word), "`{word}` in the page of `{}`", ran.line);
    }
    assert!(page.chars().count() < 65_536, "the page of `{}` does not fit a comment", ran.line);
}

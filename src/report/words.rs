//! Signs, danger words, and values as people read them.

use super::layout::{Canvas, Paint};
use crate::model::{
    Action, Code, Disruption, FieldChange, FieldKind, Reason, Step, StepOp, Value, Verb, Wait,
};

/// The sign of an action, in Unicode and in ASCII, and its colour.
pub(super) fn sign(verb: Verb) -> (&'static str, &'static str, Paint) {
    match verb {
        Verb::Create | Verb::Continue => ("+", "+", Paint::Create),
        Verb::Update
        | Verb::Start
        | Verb::Stop
        | Verb::Restart
        | Verb::Adopt
        | Verb::Rename
        | Verb::Forget
        | Verb::Snapshot => ("~", "~", Paint::Update),
        Verb::Replace => ("±", "+/-", Paint::Replace),
        Verb::Delete => ("-", "-", Paint::Delete),
    }
}

/// Words in capitals for what the guest will feel.
pub(super) fn danger(action: &Action) -> Vec<&'static str> {
    let word = |class: &Disruption| match class {
        Disruption::None | Disruption::Online | Disruption::NextBoot => None,
        Disruption::Reinit => Some("REINIT"),
        Disruption::Restart => Some("RESTART"),
        Disruption::Replace => Some("REPLACE"),
        Disruption::Delete => Some("DELETE"),
    };
    let mut words: Vec<_> = action.classes.iter().rev().filter_map(word).collect();
    if action.data_loss.on_a_machine_that_stays && !action.data_loss.is_none() {
        words.push("DATA LOSS");
    }
    words
}

/// Why an action is there.
pub(super) fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::New => "new entry",
        Reason::ConfigChanged => "the YAML changed",
        Reason::Drift => "drift: changed on the hypervisor, not in the YAML",
        Reason::Different => "the YAML and the hypervisor differ",
        Reason::Removed => "the entry is gone from the YAML",
        Reason::Dependency => "made anew after the replace",
        Reason::Unfinished => "begun earlier and not finished",
        Reason::Asked => "asked for by hand",
        Reason::Surplus => "beyond what is to be kept",
        Reason::TooFew => "fewer than two machines are left to keep apart",
    }
}

/// What a field's change costs, where that is worth a word.
pub(super) fn cost(change: &FieldChange) -> Option<&'static str> {
    if change.pending {
        return Some("written, waits for a restart");
    }
    match change.disruption {
        Disruption::None | Disruption::Online => None,
        Disruption::NextBoot => Some("at its next boot"),
        Disruption::Reinit => Some("reinit"),
        Disruption::Restart => Some("restart"),
        Disruption::Replace => Some("replace"),
        Disruption::Delete => Some("delete"),
    }
}

/// How a machine is stopped on the way, when it is.
pub(super) fn stops(steps: &[Step]) -> Option<String> {
    steps.iter().find_map(|step| match (&step.op, step.wait, &step.otherwise) {
        (StepOp::Shutdown, Wait::PowerOff { within_s }, Some(_)) => {
            Some(format!("shutdown {within_s} s, then hard stop"))
        }
        (StepOp::Shutdown, Wait::PowerOff { within_s }, None) => {
            Some(format!("shutdown {within_s} s, then fail"))
        }
        (StepOp::Shutdown, Wait::Call | Wait::Task, _) => Some("shutdown".to_owned()),
        (StepOp::Stop, ..) => Some("hard stop at once".to_owned()),
        _ => None,
    })
}

/// Digits of a digest that are enough to see that it changed.
const DIGEST_DIGITS: usize = 12;

/// Longest value that is shown in full on one line or several.
const VALUE_MAX: usize = 400;

/// A value on one line, harmless, with its unit.
pub(super) fn value(canvas: &Canvas, kind: FieldKind, value: &Value) -> String {
    let text = match value {
        Value::Text(text) if kind == FieldKind::InitDigest => {
            text.chars().take(DIGEST_DIGITS).collect()
        }
        Value::List(items) if items.is_empty() => return "none".to_owned(),
        other => other.to_string(),
    };
    let total = text.chars().count();
    let shown = visible_blanks(&canvas.data(&text));
    if total <= VALUE_MAX {
        return shown;
    }
    let head: String = shown.chars().take(VALUE_MAX).collect();
    format!("{head}{} ({total} characters)", canvas.ellipsis())
}

/// Quotes a text whose blanks would be lost in wrapping, so that two values that
/// differ never look the same.
fn visible_blanks(text: &str) -> String {
    let hidden =
        text.is_empty() || text.starts_with(' ') || text.ends_with(' ') || text.contains("  ");
    if !hidden {
        return text.to_owned();
    }
    let mut shown = String::from("\"");
    let mut before = ' ';
    for character in text.chars() {
        match (before, character) {
            (' ', ' ') => shown.push_str("\\x20"),
            _ => shown.push(character),
        }
        before = character;
    }
    if shown.ends_with(' ') {
        shown.pop();
        shown.push_str("\\x20");
    }
    shown.push('"');
    shown
}

/// The text with its middle left out, so that both ends can be recognised.
pub(super) fn elide(text: &str, room: usize, ellipsis: &str) -> String {
    let count = text.chars().count();
    if count <= room {
        return text.to_owned();
    }
    let keep = room.saturating_sub(ellipsis.chars().count());
    let head: String = text.chars().take(keep - keep / 2).collect();
    let tail: String = text.chars().skip(count - keep / 2).collect();
    format!("{head}{ellipsis}{tail}")
}

/// Whether a rule stands against the action, which consent to its class does not lift.
pub(super) fn forbids(code: Code) -> bool {
    matches!(code, Code::Protected | Code::SecondWitness)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Style;

    #[test]
    fn values_that_differ_in_blanks_look_different() {
        let canvas = Canvas::new(&Style::PLAIN);
        let show = |text: &str| value(&canvas, FieldKind::Notes, &Value::from(text));
        let all = ["a b", "a  b", " a b", "a b ", "", " "];
        let shown: std::collections::BTreeSet<_> = all.iter().map(|text| show(text)).collect();
        assert_eq!(shown.len(), all.len(), "{shown:?}");
        assert!(shown.iter().all(|text| !text.contains("  ")));
    }

    #[test]
    fn both_ends_of_a_long_text_stay() {
        assert_eq!(elide("ssh-ed25519 AAAAC3Nza me@home", 15, "..."), "ssh-ed...e@home");
        assert_eq!(elide("short", 15, "..."), "short");
    }
}

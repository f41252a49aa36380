//! The line that counts a plan.

use super::words::forbids;
use crate::model::{Action, Envelope, Plan, ResourceKey, Verb};
use std::collections::BTreeSet;

/// How many objects a plan touches, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Made, or built to their end.
    pub create: usize,
    /// Changed, started, stopped or restarted.
    pub update: usize,
    /// Deleted and made anew.
    pub replace: usize,
    /// Deleted.
    pub delete: usize,
    /// Taken over as they are.
    pub adopt: usize,
    /// Given another key.
    pub rename: usize,
    /// Given up as they are.
    pub forget: usize,
    /// Examined and left alone.
    pub unchanged: usize,
    /// Of the above, those that do not run yet.
    pub waiting: usize,
    /// What cannot be done.
    pub blocked: usize,
}

impl Totals {
    /// Actions of any kind.
    pub fn actions(&self) -> usize {
        self.create
            + self.update
            + self.replace
            + self.delete
            + self.adopt
            + self.rename
            + self.forget
    }

    fn count(&mut self, action: &Action) {
        match action.verb {
            Verb::Create | Verb::Continue => self.create += 1,
            Verb::Update | Verb::Start | Verb::Stop | Verb::Restart | Verb::Snapshot => {
                self.update += 1;
            }
            Verb::Replace => self.replace += 1,
            Verb::Delete => self.delete += 1,
            Verb::Adopt => self.adopt += 1,
            Verb::Rename => self.rename += 1,
            Verb::Forget => self.forget += 1,
        }
    }

    /// The familiar line, without a line break.
    pub fn line(&self) -> String {
        let [line, extra] = self.parts();
        if extra.is_empty() { line } else { format!("{line} {extra}") }
    }

    /// What is done, and what is not done now; the second may be empty.
    pub(super) fn parts(&self) -> [String; 2] {
        let extra = match (self.waiting, self.blocked) {
            (0, 0) => String::new(),
            (waiting, 0) => format!("{} waiting.", number(waiting)),
            (0, blocked) => format!("{} blocked.", number(blocked)),
            (waiting, blocked) => {
                format!("{} waiting, {} blocked.", number(waiting), number(blocked))
            }
        };
        if self.actions() == 0 {
            let nothing = if self.blocked == 0 { "Nothing to do." } else { "Nothing can be done." };
            return [format!("{nothing} {} unchanged.", number(self.unchanged)), extra];
        }
        let parts: Vec<_> = [
            (self.create, "create"),
            (self.update, "update"),
            (self.replace, "replace"),
            (self.delete, "delete"),
            (self.adopt, "adopt"),
            (self.rename, "rename"),
            (self.forget, "forget"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, verb)| format!("{} to {verb}", number(count)))
        .collect();
        [format!("Plan: {}. {} unchanged.", parts.join(", "), number(self.unchanged)), extra]
    }
}

/// Counts a plan.
pub fn totals(plan: &Plan, envelope: &Envelope) -> Totals {
    // A replace is two actions, the removal and the creation; people count one.
    let replaced: BTreeSet<&ResourceKey> = plan
        .body
        .actions
        .iter()
        .filter(|action| action.verb == Verb::Replace)
        .map(|action| &action.key)
        .collect();
    let counted: Vec<&Action> = plan
        .body
        .actions
        .iter()
        .filter(|it| !(it.verb == Verb::Create && replaced.contains(&it.key)))
        .collect();
    let held = |by_rule: bool| {
        let codes = counted.iter().filter_map(|it| envelope.waiting.get(&it.id));
        codes.filter(|it| forbids(it.code) == by_rule).count()
    };
    let mut totals = Totals {
        unchanged: usize::try_from(plan.body.unchanged).unwrap_or(usize::MAX),
        blocked: plan.body.blocked.len() + held(true),
        waiting: held(false),
        ..Totals::default()
    };
    counted.iter().for_each(|action| totals.count(action));
    totals
}

/// A count with commas between thousands.
pub(super) fn number(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_the_familiar_one() {
        let totals = Totals {
            create: 2,
            update: 2,
            replace: 1,
            delete: 1,
            unchanged: 52,
            ..Totals::default()
        };
        assert_eq!(
            totals.line(),
            "Plan: 2 to create, 2 to update, 1 to replace, 1 to delete. 52 unchanged."
        );
        assert_eq!(
            Totals { waiting: 3, blocked: 1, ..totals }.line(),
            "Plan: 2 to create, 2 to update, 1 to replace, 1 to delete. 52 unchanged. 3 waiting, 1 blocked."
        );
    }

    #[test]
    fn nothing_to_do_is_said() {
        assert_eq!(
            Totals { unchanged: 58, ..Totals::default() }.line(),
            "Nothing to do. 58 unchanged."
        );
        assert_eq!(
            Totals { blocked: 1, ..Totals::default() }.line(),
            "Nothing can be done. 0 unchanged. 1 blocked."
        );
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(number(999), "999");
        assert_eq!(number(1_000), "1,000");
        assert_eq!(number(1_234_567), "1,234,567");
    }
}

//! The last line: what to type next.

use super::{Options, layout::Canvas, totals};
use crate::model::{Allowance, Envelope, Plan};
use std::collections::{BTreeMap, BTreeSet};

/// Addresses that one flag names before the class is allowed as a whole. A line of
/// more is not read by anyone, so naming them would only look like care.
const NAMED_MAX: usize = 5;

/// What a reader can do with a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing is left to do.
    Nothing,
    /// Something has to be settled before anything runs.
    Settle { what: &'static str, command: Vec<String> },
    /// It can be applied.
    Apply {
        /// With the flags for what only disturbs.
        command: Vec<String>,
        /// Flags for what destroys, to be added by hand; empty = none, or already there.
        harsh: Vec<String>,
    },
}

/// The command that carries a plan out, as it would be typed; `None` when there is
/// nothing to carry out.
///
/// Consent to restarts is part of it. Consent to what destroys is not, unless there
/// is nothing else to run: a line that is copied at night should not delete.
pub fn next_command(plan: &Plan, envelope: &Envelope, options: &Options) -> Option<String> {
    match next(plan, envelope, options) {
        Next::Nothing | Next::Settle { .. } => None,
        Next::Apply { command, .. } => Some(command.join(" ")),
    }
}

pub(super) fn next(plan: &Plan, envelope: &Envelope, options: &Options) -> Next {
    let typed = |verb: &str, options: &Options| {
        let mut words = typed(verb, options);
        let targets = envelope.targeted.iter().flat_map(|it| &it.targets);
        words.extend(targets.map(|it| format!("--target {}", quoted(it))));
        words
    };
    let counted = totals(plan, envelope);
    if !envelope.refusals.is_empty() {
        return Next::Settle {
            what: "settle what refuses the run",
            command: typed("plan", options),
        };
    }
    if counted.actions() == 0 {
        let unread = envelope.hypervisors.values().any(|it| it.coverage != "complete");
        return match (counted.blocked, unread) {
            (0, false) => Next::Nothing,
            (0, true) => {
                Next::Settle { what: "see why not all was read", command: typed("plan", options) }
            }
            _ => Next::Settle { what: "settle what is blocked", command: typed("plan", options) },
        };
    }
    let (mut gentle, mut harsh) = (Flags::default(), Flags::default());
    for waiting in envelope.waiting.values() {
        match Flags::read(&waiting.unlock) {
            Some(flags) if flags.destroys() => harsh.add(flags),
            Some(flags) => gentle.add(flags),
            // A deed, like the opening of a window; its entry says which.
            None => {}
        }
    }
    let mut command = typed("apply", options);
    let gentle = gentle.words();
    let mut harsh = harsh.words();
    let all_wait = plan.body.actions.iter().all(|it| envelope.waiting.contains_key(&it.id));
    if all_wait && gentle.is_empty() {
        if harsh.is_empty() {
            // No flag helps, so `apply` would do nothing and say this line again.
            return Next::Settle {
                what: "do what the entries above ask for",
                command: typed("plan", options),
            };
        }
        command.append(&mut harsh);
    }
    command.extend(gentle);
    Next::Apply { command, harsh }
}

/// The command that shows what would be done about what was seen.
pub(super) fn looking(options: &Options, targets: &[String]) -> Vec<String> {
    let mut words = typed("plan", options);
    words.extend(targets.iter().map(|it| format!("--target {}", quoted(it))));
    words
}

/// Writes the last lines of a plan.
pub(super) fn write(canvas: &mut Canvas, next: &Next) {
    match next {
        Next::Nothing => {}
        Next::Settle { what, command } => {
            let command: Vec<_> =
                command.iter().map(|word| canvas.data(word).into_owned()).collect();
            canvas.command(&format!("Next: {what}, then "), &command);
        }
        Next::Apply { command, harsh } => {
            if !harsh.is_empty() {
                let flags: Vec<_> =
                    harsh.iter().map(|flag| canvas.data(flag).into_owned()).collect();
                canvas.command("To destroy as well, add: ", &flags);
            }
            let command: Vec<_> =
                command.iter().map(|word| canvas.data(word).into_owned()).collect();
            canvas.command("Next: ", &command);
        }
    }
}

fn typed(verb: &str, options: &Options) -> Vec<String> {
    let mut words = vec!["novahost".to_owned(), verb.to_owned()];
    // Without it, the line that was tried on simulators would be sent to real machines.
    words.extend(options.sandbox.then(|| "--sandbox".to_owned()));
    words.extend(options.subject.as_deref().map(quoted));
    if let Some(file) = &options.file {
        words.extend(["--file".to_owned(), quoted(file)]);
    }
    words
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@%+".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Flags of several waiting actions, joined.
#[derive(Default)]
struct Flags {
    /// Per class, the addresses; an empty set = the whole class.
    allow: BTreeMap<String, BTreeSet<String>>,
    others: BTreeSet<(String, String)>,
}

impl Flags {
    /// Reads `--allow CLASS[=ADDR,…] --confirm ADDR …`; `None` when it is no flag.
    fn read(unlock: &str) -> Option<Self> {
        let mut flags = Self::default();
        let mut words = unlock.split_whitespace();
        while let Some(flag) = words.next() {
            if !flag.starts_with("--") {
                return None;
            }
            let value = words.next()?;
            if flag != "--allow" {
                flags.others.insert((flag.to_owned(), value.to_owned()));
                continue;
            }
            let (class, addresses) = value.split_once('=').unwrap_or((value, ""));
            let named = addresses.split(',').filter(|it| !it.is_empty()).map(str::to_owned);
            flags.allow.entry(class.to_owned()).or_default().extend(named);
        }
        (!flags.allow.is_empty() || !flags.others.is_empty()).then_some(flags)
    }

    fn destroys(&self) -> bool {
        let gentle = [Allowance::Reinit.as_str(), Allowance::Restart.as_str()];
        !self.others.is_empty() || self.allow.keys().any(|class| !gentle.contains(&class.as_str()))
    }

    fn add(&mut self, other: Self) {
        for (class, named) in other.allow {
            self.allow.entry(class).or_default().extend(named);
        }
        self.others.extend(other.others);
    }

    /// Each flag with its value, as one word that is not broken over lines.
    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        for (class, named) in &self.allow {
            let named: Vec<_> = named.iter().map(String::as_str).collect();
            let value = if named.is_empty() || named.len() > NAMED_MAX {
                class.clone()
            } else {
                format!("{class}={}", named.join(","))
            };
            words.push(format!("--allow {}", quoted(&value)));
        }
        for (flag, value) in &self.others {
            words.push(format!("{flag} {}", quoted(value)));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{sample, waiting};

    fn named(subject: &str) -> Options {
        Options { subject: Some(subject.to_owned()), ..Options::default() }
    }

    #[test]
    fn what_was_tried_in_the_sandbox_is_not_offered_for_real_machines() {
        let plan = sample();
        let options = Options { sandbox: true, ..named("novahost.yaml") };
        let line = next_command(&plan, &plan.envelope, &options).unwrap();
        assert!(line.starts_with("novahost apply --sandbox novahost.yaml"), "{line}");
    }

    #[test]
    fn apply_is_not_offered_when_no_flag_would_let_anything_run() {
        let mut plan = sample();
        plan.body.actions.retain(|it| it.id.as_str() == "vm/old-1:delete");
        let told = waiting("write `protect: false` on vm/old-1");
        plan.envelope.waiting = [("vm/old-1:delete".into(), told)].into();
        assert_eq!(next_command(&plan, &plan.envelope, &Options::default()), None);
    }

    #[test]
    fn a_restart_is_offered_and_a_delete_is_not() {
        let plan = sample();
        let line = next_command(&plan, &plan.envelope, &named("novahost.yaml")).unwrap();
        assert!(line.starts_with("novahost apply novahost.yaml --allow restart="), "{line}");
        assert!(!line.contains("delete") && !line.contains("replace"), "{line}");
    }

    #[test]
    fn a_delete_is_offered_when_it_is_all_there_is() {
        let mut plan = sample();
        plan.body.actions.retain(|it| it.id.as_str() == "vm/old-1:delete");
        plan.envelope.waiting.retain(|id, _| id.as_str() == "vm/old-1:delete");
        let line = next_command(&plan, &plan.envelope, &Options::default()).unwrap();
        assert_eq!(line, "novahost apply --allow delete=vm/old-1");
    }

    #[test]
    fn flags_of_many_are_joined_and_a_crowd_is_allowed_as_a_class() {
        let mut plan = sample();
        for number in 0..3 {
            let unlock = format!("--allow restart=vm/m-{number}");
            plan.envelope.waiting.insert(format!("vm/m-{number}:update").into(), waiting(&unlock));
        }
        let line = next_command(&plan, &plan.envelope, &Options::default()).unwrap();
        assert!(line.contains("--allow restart=vm/m-0,vm/m-1,vm/m-2,vm/web-1"), "{line}");
        for number in 3..9 {
            let unlock = format!("--allow restart=vm/m-{number}");
            plan.envelope.waiting.insert(format!("vm/m-{number}:update").into(), waiting(&unlock));
        }
        let line = next_command(&plan, &plan.envelope, &Options::default()).unwrap();
        assert!(line.ends_with("--allow restart"), "{line}");
    }

    #[test]
    fn a_strange_path_comes_back_as_one_word() {
        assert_eq!(quoted("my plans/it's.yaml"), r"'my plans/it'\''s.yaml'");
        assert_eq!(quoted("a;rm -rf"), "'a;rm -rf'");
        assert_eq!(quoted("novahost.yaml"), "novahost.yaml");
    }

    #[test]
    fn a_refused_run_is_not_offered_for_apply() {
        let mut plan = sample();
        plan.envelope.refusals.push(crate::report::fixture::refusal());
        assert_eq!(next_command(&plan, &plan.envelope, &Options::default()), None);
    }
}

//! Sections as tables of names, and looking things up in them.

use crate::config::decode::{Cx, Decode, Lenient, Templates, did_you_mean};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::expand::Expansion;
use crate::config::scalar::Name;
use std::cell::Cell;
use std::collections::BTreeMap;

/// Suggestions of one section. Each compares a word with all names; nobody reads past a few dozen.
const SUGGESTIONS_MAX: u32 = 50;

/// Names that a message lists.
const LISTED_MAX: usize = 8;

/// One section, with its patterns expanded.
#[derive(Debug)]
pub struct Table<T> {
    /// What an entry is called in messages: `network`.
    what: &'static str,
    /// The code for a name that is not there.
    code: &'static str,
    entries: BTreeMap<Name, Item<T>>,
    suggestions: Cell<u32>,
}

/// One entry.
#[derive(Debug)]
pub struct Item<T> {
    /// Where its name is written.
    pub key: Span,
    /// What it says; `None` when that could not be read, which has been reported.
    pub value: Option<T>,
}

impl<T: Decode> Table<T> {
    /// Reads a section.
    pub fn read(
        what: &'static str,
        code: &'static str,
        section: &Lenient<Templates<T>>,
        cx: &mut Cx<'_>,
    ) -> Self {
        let mut names = Expansion::new();
        let mut entries = BTreeMap::new();
        for template in section.0.iter().flat_map(|section| &section.0) {
            let key = template.name.span;
            let conflicts = names.add(&template.name);
            let full = conflicts.iter().any(|one| one.code == "too-many-members");
            conflicts.into_iter().for_each(|conflict| cx.push(conflict));
            if full {
                break;
            }
            for (index, member) in template.name.value.members.iter().enumerate() {
                if entries.contains_key(&member.name) {
                    continue;
                }
                let node = template.member_node(index);
                let before = cx.report().errors();
                let value = node.and_then(|node| cx.at_key(Some(key), |cx| T::decode(&node, cx)));
                // What a broken entry lacks may only be unreadable; nothing is to be concluded from it.
                let value = value.filter(|_| cx.report().errors() == before);
                entries.insert(member.name.clone(), Item { key, value });
            }
        }
        Self { what, code, entries, suggestions: Cell::new(SUGGESTIONS_MAX) }
    }
}

impl<T> Table<T> {
    /// A table of entries that have been read already.
    pub fn of(
        what: &'static str,
        code: &'static str,
        all: impl Iterator<Item = (Name, Span, T)>,
    ) -> Self {
        let entries = all.map(|(name, key, value)| (name, Item { key, value: Some(value) }));
        Self { what, code, entries: entries.collect(), suggestions: Cell::new(SUGGESTIONS_MAX) }
    }

    /// The same names with other values.
    pub fn map<U>(&self, mut change: impl FnMut(&Name, Span, &T) -> Option<U>) -> Table<U> {
        let entries = self.entries.iter().map(|(name, item)| {
            let value = item.value.as_ref().and_then(|value| change(name, item.key, value));
            (name.clone(), Item { key: item.key, value })
        });
        Table {
            what: self.what,
            code: self.code,
            entries: entries.collect(),
            suggestions: Cell::new(SUGGESTIONS_MAX),
        }
    }

    /// An entry by name.
    pub fn get(&self, name: &str) -> Option<&Item<T>> {
        self.entries.get(name)
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Item<T>)> {
        self.entries.iter()
    }

    /// The entry that a reference names. `None` after a problem that has been reported.
    pub fn find(&self, name: &str, span: Span, cx: &mut Cx<'_>) -> Option<(&Name, &Item<T>)> {
        let found = self.entries.get_key_value(name);
        if found.is_none() {
            let message = format!("there is no {} `{}`", self.what, shown(name));
            let help = self.candidates(name, |_| true);
            let none = self.entries.is_empty().then(|| format!("no {} is defined", self.what));
            let problem = Diagnostic::error(self.code, span, message);
            cx.push(help.or(none).into_iter().fold(problem, Diagnostic::help));
        }
        found
    }

    /// Advice for a name that is not there: the nearest one, or those that are.
    /// Nothing, when none fits.
    pub fn candidates(&self, name: &str, fits: impl Fn(&T) -> bool) -> Option<String> {
        // Looking through all names for each of ten thousand slips would take minutes.
        spend(&self.suggestions)?;
        let fitting = self.entries.iter().filter(|(_, item)| item.value.as_ref().is_none_or(&fits));
        let names: Vec<&str> = fitting.map(|(name, _)| name.as_str()).collect();
        suggestion(name, names)
    }
}

/// A word as it may be shown in a message.
pub fn shown(word: &str) -> String {
    word.chars().take(80).collect()
}

/// Takes one of the suggestions that are left.
pub fn spend(left: &Cell<u32>) -> Option<()> {
    left.set(left.get().checked_sub(1)?);
    Some(())
}

/// The nearest name, or the list of names; nothing when there are none.
pub fn suggestion(word: &str, mut names: Vec<&str>) -> Option<String> {
    names.sort_unstable();
    names.dedup();
    if let Some(near) = did_you_mean(word, names.iter().copied()).filter(|_| !word.is_empty()) {
        return Some(near);
    }
    let mut listed = names.iter().take(LISTED_MAX).copied().collect::<Vec<_>>().join(", ");
    if names.len() > LISTED_MAX {
        listed.push_str(&format!(" and {} more", names.len() - LISTED_MAX));
    }
    (!names.is_empty()).then(|| format!("possible here: {listed}"))
}

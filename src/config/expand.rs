//! Names that stand for several: `web-{1..3}`, `{01..12}`, `{1..3,7}`, `{a,b}`, and `{n}` inside of their entries.
//!
//! In: keys and trees. Out: member names, and trees in which only what has `{n}` is copied.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Span};
use super::scalar::{Name, ScalarError, Spanned, whole};
use super::yaml::{Entry, Node, Value};

/// Members of one pattern. The largest fleets are ten thousand machines; a slip of the finger is more.
pub const MEMBERS_MAX: usize = 10_000;

/// Members of all patterns of a run, so that many patterns cannot do what one may not.
pub const MEMBERS_TOTAL_MAX: usize = 100_000;

/// Keys with one group in braces, for the schema. Whether a range ascends and names differ is beyond a pattern.
pub const NAMES_PATTERN: &str = "^[a-z0-9.-]*\\{[a-z0-9.-]+(?:,[a-z0-9.-]+)*\\}[a-z0-9.-]*$";

/// One of the names that a pattern stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The name.
    pub name: Name,
    /// What `{n}` is in its entry; `None` for a plain name, in whose entry `{n}` is only text.
    pub n: Option<Arc<str>>,
}

/// A key as written, with the names that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expanded {
    /// As written.
    pub written: Arc<str>,
    /// In the order of writing; exactly one for a plain name.
    pub members: Vec<Member>,
}

impl Expanded {
    /// Whether it is a pattern.
    pub fn is_pattern(&self) -> bool {
        self.members.first().is_some_and(|member| member.n.is_some())
    }
}

/// Expands a key.
pub fn expand(written: &Arc<str>, span: Span) -> Result<Expanded, Box<Diagnostic>> {
    expand_text(written).map_err(|error| {
        let diagnostic = Diagnostic::error("invalid-name", span, error.message);
        Box::new(error.help.into_iter().fold(diagnostic, Diagnostic::help))
    })
}

fn expand_text(written: &Arc<str>) -> Result<Expanded, ScalarError> {
    if !written.contains(['{', '}']) {
        let name = Name::from_shared(Arc::clone(written))?;
        return Ok(Expanded {
            written: Arc::clone(written),
            members: vec![Member { name, n: None }],
        });
    }
    let shape = || {
        ScalarError::new(
            format!("the name `{written}` has braces that do not match"),
            "write `web-{1..3}`",
        )
    };
    let (before, rest) = written.split_once('{').ok_or_else(shape)?;
    let (group, after) = rest.split_once('}').ok_or_else(shape)?;
    if before.contains('}') || group.contains('{') {
        return Err(shape());
    }
    if after.contains(['{', '}']) {
        let message = format!("the name `{written}` has more than one group in braces");
        return Err(ScalarError::new(
            message,
            "`{n}` could mean either; write one entry per value of one of them",
        ));
    }
    if group == "n" {
        let message = format!("`{{n}}` in the name `{written}` has nothing to stand for");
        return Err(ScalarError::new(message, "write the members: `web-{1..3}` or `web-{a,b}`"));
    }
    let mut members: Vec<Member> = Vec::new();
    for item in items(group)? {
        let name: Name = format!("{before}{item}{after}").parse()?;
        members.push(Member { name, n: Some(Arc::from(item)) });
    }
    let mut names: Vec<&Name> = members.iter().map(|member| &member.name).collect();
    names.sort_unstable();
    if let Some(double) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(ScalarError::bare(format!(
            "the name `{written}` has the member `{}` twice",
            double[0]
        )));
    }
    Ok(Expanded { written: Arc::clone(written), members })
}

/// The values of a group: single ones and ranges.
fn items(group: &str) -> Result<Vec<String>, ScalarError> {
    let mut items = Vec::new();
    for part in group.split(',') {
        if part.is_empty() {
            return Err(ScalarError::bare(format!("the group `{{{group}}}` has an empty member")));
        }
        match part.split_once("..") {
            Some((first, last)) => range(first, last, &mut items)?,
            None => items.push(part.to_owned()),
        }
        if items.len() > MEMBERS_MAX {
            return Err(ScalarError::bare(format!(
                "the group `{{{group}}}` has more than {MEMBERS_MAX} members"
            )));
        }
    }
    Ok(items)
}

/// Digits of a number in a range; more would not fit a name's budget of members anyway.
const RANGE_DIGITS_MAX: usize = 9;

fn range(first: &str, last: &str, items: &mut Vec<String>) -> Result<(), ScalarError> {
    let shape = || {
        ScalarError::new(
            format!("`{first}..{last}` is not a range of numbers"),
            "write `{1..3}` or `{01..12}`",
        )
    };
    let number = |text: &str| {
        let digits = text.trim_start_matches('0');
        if text.is_empty() || text.len() > RANGE_DIGITS_MAX {
            None
        } else if digits.is_empty() {
            Some(0)
        } else {
            whole(digits, RANGE_DIGITS_MAX)
        }
    };
    let (low, high) = (number(first).ok_or_else(shape)?, number(last).ok_or_else(shape)?);
    let padded = |text: &str| text.len() > 1 && text.starts_with('0');
    if (padded(first) || padded(last)) && first.len() != last.len() {
        let width = first.len().max(last.len());
        let help = format!("write `{low:0width$}..{high:0width$}`");
        return Err(ScalarError::new(
            format!("the ends of `{first}..{last}` differ in width"),
            help,
        ));
    }
    if low > high {
        return Err(ScalarError::new(
            format!("the range `{first}..{last}` descends"),
            format!("write `{last}..{first}`"),
        ));
    }
    if high - low >= MEMBERS_MAX as u64 {
        return Err(ScalarError::bare(format!(
            "the range `{first}..{last}` has more than {MEMBERS_MAX} members"
        )));
    }
    let width = if padded(first) || padded(last) { first.len() } else { 0 };
    items.extend((low..=high).map(|value| format!("{value:0width$}")));
    Ok(())
}

/// The tree with `{n}` replaced in every string value.
///
/// Shares all that has no `{n}` in it. `${n}` is left alone: it belongs to the variables of guest scripts. Keys are left
/// alone too, so that members differ in values only and their devices keep one name.
pub fn substitute(node: &Node, n: &str) -> Node {
    replaced(node, n).unwrap_or_else(|| node.clone())
}

fn replaced(node: &Node, n: &str) -> Option<Node> {
    let value = match &node.value {
        Value::Str(text) => Value::Str(Arc::from(replaced_text(text, n)?)),
        Value::Seq(items) => Value::Seq(changed(items, |item| replaced(item, n))?),
        Value::Map(entries) => Value::Map(changed(entries, |entry: &Entry| {
            let value = replaced(&entry.value, n)?;
            Some(Entry { key: Arc::clone(&entry.key), key_span: entry.key_span, value })
        })?),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Invalid => {
            return None;
        }
    };
    Some(Node { value, ..node.clone() })
}

/// A copy with the changed elements, made when the first one turns up.
fn changed<T: Clone>(all: &[T], change: impl Fn(&T) -> Option<T>) -> Option<Arc<[T]>> {
    let mut copy: Option<Vec<T>> = None;
    for (at, one) in all.iter().enumerate() {
        match (change(one), &mut copy) {
            (Some(new), Some(copy)) => copy.push(new),
            (None, Some(copy)) => copy.push(one.clone()),
            (Some(new), None) => copy = Some(all[..at].iter().cloned().chain([new]).collect()),
            (None, None) => {}
        }
    }
    copy.map(Arc::from)
}

fn places(text: &str) -> impl Iterator<Item = usize> {
    text.match_indices("{n}").map(|(at, _)| at).filter(|&at| !text[..at].ends_with('$'))
}

fn replaced_text(text: &str, n: &str) -> Option<String> {
    let mut result = String::new();
    let mut done = 0;
    for at in places(text) {
        result.push_str(&text[done..at]);
        result.push_str(n);
        done = at + "{n}".len();
    }
    if done == 0 {
        return None;
    }
    result.push_str(&text[done..]);
    Some(result)
}

/// What names of one section exist, and what written patterns stand for.
#[derive(Debug, Default, Clone)]
pub struct Expansion {
    written: BTreeMap<Arc<str>, Vec<Name>>,
    members: BTreeMap<Name, (Span, Arc<str>)>,
}

impl Expansion {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry. A member that another entry already has is a conflict, returned with both places; the rest of the
    /// entry is added all the same.
    pub fn add(&mut self, entry: &Spanned<Expanded>) -> Vec<Diagnostic> {
        let mut conflicts = Vec::new();
        let expanded = &entry.value;
        if self.members.len() + expanded.members.len() > MEMBERS_TOTAL_MAX {
            let message =
                format!("the names up to here stand for more than {MEMBERS_TOTAL_MAX} entries");
            return vec![Diagnostic::error("too-many-members", entry.span, message)];
        }
        let mut names = Vec::with_capacity(expanded.members.len());
        for member in &expanded.members {
            names.push(member.name.clone());
            match self.members.get(&member.name) {
                Some((first, written)) => {
                    conflicts.push(conflict(entry, &member.name, *first, written));
                }
                None => {
                    self.members
                        .insert(member.name.clone(), (entry.span, Arc::clone(&expanded.written)));
                }
            }
        }
        self.written.entry(Arc::clone(&expanded.written)).or_insert(names);
        one_of_many(conflicts)
    }

    /// The names that a reference means: itself, or all members of a pattern that is written just like it.
    pub fn resolve(&self, reference: &str) -> Option<Vec<Name>> {
        if let Some(names) = self.written.get(reference) {
            return Some(names.clone());
        }
        self.members.get_key_value(reference).map(|(name, _)| vec![name.clone()])
    }

    /// Where a member is written.
    pub fn span_of(&self, name: &str) -> Option<Span> {
        self.members.get(name).map(|(span, _)| *span)
    }

    /// All names, for suggestions: written patterns and members.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.written.keys().map(AsRef::as_ref).chain(self.members.keys().map(Name::as_str))
    }
}

fn conflict(entry: &Spanned<Expanded>, name: &Name, first: Span, written: &str) -> Diagnostic {
    let message = if *entry.value.written == *name.as_str() {
        format!("`{name}` is here a second time")
    } else {
        format!("`{}` stands for `{name}` a second time", entry.value.written)
    };
    let there = if *written == *name.as_str() {
        "first written here".to_owned()
    } else {
        format!("`{written}` has it too")
    };
    Diagnostic::error("duplicate-name", entry.span, message)
        .related(first, there)
        .help("names are unique in their section; narrow one of the patterns or rename the entry")
}

/// Overlapping patterns conflict in every common member; one of them is enough to see.
fn one_of_many(mut conflicts: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut seen: Vec<Span> = Vec::new();
    conflicts.retain(|conflict| {
        let other = conflict.related.first().map(|label| label.span);
        let new = other.is_none_or(|span| !seen.contains(&span));
        seen.extend(other.filter(|_| new));
        new
    });
    conflicts
}

#[cfg(test)]
mod tests;

//! Reading small TOML files strictly: every key is known, and every problem is told
//! with its line, all at once.
//!
//! Messages name keys and kinds, never values: a person may have written a secret
//! where only its name belongs.

use std::{collections::BTreeMap, fmt, ops::Range};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file as it was named.
    pub file: String,
    /// 1-based.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// Several problems, one per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let break_before = if index == 0 { "" } else { "\n" };
            write!(f, "{break_before}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A value with the places of its key and of itself.
pub(crate) struct Item<'t> {
    key_at: usize,
    value: Spanned<DeValue<'t>>,
}

impl Item<'_> {
    /// Where its key stands, for problems that are found later.
    pub fn at(&self) -> usize {
        self.key_at
    }
}

/// The entries of a table that were not taken yet.
pub(crate) type Fields<'t> = BTreeMap<String, Item<'t>>;

/// Reads one file and collects what is wrong with it.
pub(crate) struct Reader<'t> {
    file: String,
    text: &'t str,
    problems: Vec<Problem>,
}

impl<'t> Reader<'t> {
    pub fn new(file: impl Into<String>, text: &'t str) -> Self {
        Self { file: file.into(), text, problems: Vec::new() }
    }

    /// All entries of the file; empty when it is no TOML.
    pub fn document(&mut self) -> Fields<'t> {
        match DeTable::parse(self.text) {
            Ok(table) => fields(table.into_inner()),
            Err(error) => {
                let at = error.span().map_or(0, |span: Range<usize>| span.start);
                self.problem(at, error.message().to_owned());
                Fields::new()
            }
        }
    }

    /// Notes a problem at a place.
    pub fn problem(&mut self, at: usize, message: impl Into<String>) {
        let before = self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        self.problems.push(Problem { file: self.file.clone(), line, message: message.into() });
    }

    /// Takes a table.
    pub fn table(&mut self, from: &mut Fields<'t>, key: &str) -> Fields<'t> {
        from.remove(key).map(|item| self.as_table(key, item)).unwrap_or_default()
    }

    /// An entry that has to be a table.
    pub fn as_table(&mut self, key: &str, item: Item<'t>) -> Fields<'t> {
        match item.value.into_inner() {
            DeValue::Table(table) => fields(table),
            other => {
                self.expected(item.key_at, key, "a table", &other);
                Fields::new()
            }
        }
    }

    /// Takes a text and the place of its key.
    pub fn text(&mut self, from: &mut Fields<'t>, key: &str) -> Option<(String, usize)> {
        let item = from.remove(key)?;
        match item.value.into_inner() {
            DeValue::String(text) => Some((text.into_owned(), item.key_at)),
            other => {
                self.expected(item.key_at, key, "a text", &other);
                None
            }
        }
    }

    /// Takes a list of texts, each with its own place; absent is empty.
    pub fn texts(&mut self, from: &mut Fields<'t>, key: &str) -> Vec<(String, usize)> {
        let Some(item) = from.remove(key) else { return Vec::new() };
        let array = match item.value.into_inner() {
            DeValue::Array(array) => array,
            other => {
                self.expected(item.key_at, key, "a list of texts", &other);
                return Vec::new();
            }
        };
        let mut all = Vec::new();
        for entry in array {
            let at = entry.span().start;
            match entry.into_inner() {
                DeValue::String(text) => all.push((text.into_owned(), at)),
                other => self.expected(at, key, "a list of texts", &other),
            }
        }
        all
    }

    /// Takes a whole number within bounds.
    pub fn number(
        &mut self,
        from: &mut Fields<'t>,
        key: &str,
        bounds: std::ops::RangeInclusive<usize>,
    ) -> Option<usize> {
        let item = from.remove(key)?;
        let wanted = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        match item.value.into_inner() {
            DeValue::Integer(digits) => {
                let number = usize::from_str_radix(digits.as_str(), digits.radix()).ok();
                let number = number.filter(|number| bounds.contains(number));
                if number.is_none() {
                    self.problem(item.key_at, format!("`{key}` has to be {wanted}"));
                }
                number
            }
            other => {
                self.expected(item.key_at, key, &wanted, &other);
                None
            }
        }
    }

    /// Refuses what is left in a table.
    pub fn done(&mut self, left: &Fields<'t>, table: &str, known: &[&str]) {
        for (key, item) in left {
            let place = if table.is_empty() { String::new() } else { format!(" in `[{table}]`") };
            let near = nearest(key, known).map(|near| format!("; did you mean `{near}`?"));
            self.problem(
                item.key_at,
                format!("`{key}` is not known{place}{}", near.unwrap_or_default()),
            );
        }
    }

    /// The end: the problems in the order of their lines, when there are any.
    ///
    /// # Errors
    /// All problems that were noted.
    pub fn finish(mut self) -> Result<(), Problems> {
        self.problems.sort();
        if self.problems.is_empty() { Ok(()) } else { Err(Problems(self.problems)) }
    }

    fn expected(&mut self, at: usize, key: &str, wanted: &str, found: &DeValue<'_>) {
        self.problem(at, format!("`{key}` has to be {wanted}, but is: {}", found.type_str()));
    }
}

fn fields<'t>(table: DeTable<'t>) -> Fields<'t> {
    table
        .into_iter()
        .map(|(key, value)| {
            let key_at = key.span().start;
            (key.into_inner().into_owned(), Item { key_at, value })
        })
        .collect()
}

/// A known word that is nearly this one.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|known| (strsim::jaro_winkler(word, known), *known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

//! What ids of tags and categories mean, by their names.
//!
//! Pure. A name is found by its letters, else by whatever differs from it in case only. There
//! can be a value for each of thousands of machines, so nothing here is looked for by going
//! through all.

use super::rest::wire::{CategoryInfo, TagInfo};
use crate::model::Name;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What ids mean.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Since when.
    pub since: Duration,
    categories: BTreeMap<String, CategoryInfo>,
    tags: BTreeMap<String, TagInfo>,
    /// Tags that are in no declared category.
    foreign: BTreeSet<String>,
    category_names: Names,
    tag_names: BTreeMap<String, Names>,
}

/// Ids by name. Of several that differ in case only, the first by id.
#[derive(Debug, Default)]
struct Names {
    exact: BTreeMap<String, String>,
    folded: BTreeMap<String, String>,
}

impl Names {
    fn add(&mut self, name: &str, id: &str) {
        for (names, name) in
            [(&mut self.exact, name.to_owned()), (&mut self.folded, name.to_lowercase())]
        {
            let known = names.entry(name).or_insert_with(|| id.to_owned());
            if id < known.as_str() {
                id.clone_into(known);
            }
        }
    }

    fn find(&self, name: &str) -> Option<&str> {
        let folded = || self.folded.get(&name.to_lowercase());
        self.exact.get(name).or_else(folded).map(String::as_str)
    }
}

impl Book {
    /// One in which nothing stands yet.
    pub fn since(since: Duration) -> Self {
        Self { since, ..Self::default() }
    }

    pub fn add_category(&mut self, id: String, info: CategoryInfo) {
        self.category_names.add(&info.name, &id);
        self.categories.insert(id, info);
        // Its tags may be among them.
        self.foreign.clear();
    }

    pub fn add_tag(&mut self, id: String, info: TagInfo) {
        self.tag_names.entry(info.category_id.clone()).or_default().add(&info.name, &id);
        self.tags.insert(id, info);
    }

    /// Tags that are in none of the categories that count.
    pub fn add_foreign(&mut self, ids: impl Iterator<Item = String>) {
        self.foreign.extend(ids);
    }

    /// Whether it is known what a tag means, or that it means nothing here.
    pub fn has_met(&self, id: &str) -> bool {
        self.tags.contains_key(id) || self.foreign.contains(id)
    }

    pub fn knows_category(&self, id: &str) -> bool {
        self.categories.contains_key(id)
    }

    pub fn tag_of(&self, id: &str) -> Option<&TagInfo> {
        self.tags.get(id)
    }

    /// The category of a key: the one of that very name, else one that differs in case only.
    pub fn category(&self, key: &Name) -> Option<(&str, &CategoryInfo)> {
        let id = self.category_names.find(key.as_str())?;
        Some((id, self.categories.get(id)?))
    }

    /// The tag of a value in a category.
    pub fn tag(&self, category: &str, value: &str) -> Option<&str> {
        self.tag_names.get(category)?.find(value)
    }
}

/// The values of one key, with how the configuration spells them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spellings {
    exact: BTreeSet<String>,
    folded: BTreeMap<String, String>,
}

impl Spellings {
    pub fn of(values: &BTreeSet<String>) -> Self {
        let mut folded = BTreeMap::new();
        for value in values {
            folded.entry(value.to_lowercase()).or_insert_with(|| value.clone());
        }
        Self { exact: values.clone(), folded }
    }

    /// A value as the configuration spells it, where that differs in case only.
    pub fn spell<'a>(&'a self, name: &'a str) -> &'a str {
        match self.exact.contains(name) {
            true => name,
            false => self.folded.get(&name.to_lowercase()).map_or(name, String::as_str),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(categories: &[(&str, &str)], tags: &[(&str, &str, &str)]) -> Book {
        let mut book = Book::default();
        for (id, name) in categories {
            let info = CategoryInfo {
                name: (*name).to_owned(),
                cardinality: "SINGLE".to_owned(),
                associable_types: None,
            };
            book.add_category((*id).to_owned(), info);
        }
        for (id, category_id, name) in tags {
            let (name, category_id) = ((*name).to_owned(), (*category_id).to_owned());
            book.add_tag((*id).to_owned(), TagInfo { name, category_id });
        }
        book
    }

    fn category<'a>(book: &'a Book, key: &str) -> Option<&'a str> {
        book.category(&key.into()).map(|(id, _)| id)
    }

    #[test]
    fn a_name_is_found_by_its_letters_and_else_whatever_their_case() {
        let one = book(&[("c1", "Tenant")], &[("t1", "c1", "ACME"), ("t2", "c2", "acme")]);
        assert_eq!(category(&one, "tenant"), Some("c1"));
        assert_eq!(one.tag("c1", "acme"), Some("t1"), "a tag of another category is another");
        let both = book(&[("c1", "Tenant"), ("c2", "tenant")], &[]);
        assert_eq!(category(&both, "tenant"), Some("c2"));
        // In whatever order they were learnt.
        let late = book(&[("c2", "TENANT"), ("c1", "Tenant")], &[]);
        assert_eq!(category(&late, "tenant"), Some("c1"));
    }

    #[test]
    fn what_is_read_is_spelt_as_it_is_declared() {
        let declared = Spellings::of(&["acme".to_owned(), "Beta".to_owned()].into());
        assert_eq!(declared.spell("ACME"), "acme");
        assert_eq!(declared.spell("beta"), "Beta");
        assert_eq!(declared.spell("gamma"), "gamma");
    }
}

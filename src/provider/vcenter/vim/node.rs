//! What came back: a tree of elements, whatever the wire format was.
//!
//! Pure. Values are read on demand, because the same tree carries every answer and
//! most of it is looked at once. Absent, empty and unreadable are told apart by the
//! accessor that is used: an empty text is a value, an empty word is none.

use super::val::MoRef;
use serde::{Deserialize, Serialize};

/// One element of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The field's name, without a prefix.
    pub name: String,
    /// The type of a reference: the attribute `type` that bears no prefix.
    pub ref_type: Option<String>,
    /// The type of the data, without a prefix: `string`, `VirtualDisk`.
    pub data_type: Option<String>,
    /// The text of an element without children.
    pub text: String,
    /// The elements inside.
    pub children: Vec<Node>,
}

impl Node {
    /// An element without text.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The first child of this name.
    pub fn child(&self, name: &str) -> Option<&Node> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All children of this name: the items of an array.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Node> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The element at a path of names with dots between them.
    pub fn at(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(self, |node, name| node.child(name))
    }

    /// The text at a path; empty is a value.
    pub fn text_at(&self, path: &str) -> Option<&str> {
        self.at(path).map(|node| node.text.as_str())
    }

    /// The word of an enum or an id at a path; empty is none, because some servers send
    /// an empty element where the field is unset.
    pub fn word_at(&self, path: &str) -> Option<&str> {
        self.at(path)?.as_word()
    }

    /// The boolean at a path.
    pub fn bool_at(&self, path: &str) -> Option<bool> {
        self.at(path)?.as_bool()
    }

    /// The number at a path.
    pub fn i64_at(&self, path: &str) -> Option<i64> {
        self.at(path)?.as_i64()
    }

    /// The reference at a path.
    pub fn moref_at(&self, path: &str) -> Option<MoRef> {
        self.at(path)?.as_moref()
    }

    /// An enum's word or an id.
    pub fn as_word(&self) -> Option<&str> {
        let word = self.text.trim();
        (!word.is_empty()).then_some(word)
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self.text.trim() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }

    /// A number that fits 64 bits.
    pub fn as_i64(&self) -> Option<i64> {
        self.text.trim().parse().ok()
    }

    /// A reference: its type is told by an attribute of its own.
    pub fn as_moref(&self) -> Option<MoRef> {
        let kind = self.ref_type.as_deref().filter(|kind| !kind.is_empty())?;
        Some(MoRef::new(kind, self.as_word()?))
    }

    /// All references inside: an array of them as the value of a property.
    pub fn morefs(&self) -> Vec<MoRef> {
        self.children.iter().filter_map(Node::as_moref).collect()
    }

    /// Whether the data is of this type, by its concrete name. Inheritance is not known
    /// here.
    pub fn is_a(&self, data_type: &str) -> bool {
        self.data_type.as_deref() == Some(data_type)
    }

    /// What a method returned; `None` when it returned nothing.
    pub fn returned(&self) -> Option<&Node> {
        self.child("returnval")
    }

    /// The same by value.
    pub fn into_returned(self) -> Option<Node> {
        self.children.into_iter().find(|child| child.name == "returnval")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(name: &str, text: &str) -> Node {
        Node { text: text.into(), ..Node::new(name) }
    }

    #[test]
    fn values_are_found_by_path_and_read_on_demand() {
        let mut pool = leaf("resourcePool", "resgroup-23");
        pool.ref_type = Some("ResourcePool".into());
        let config = Node {
            children: vec![leaf("template", "false"), leaf("memoryMB", "4096"), leaf("note", "")],
            ..Node::new("config")
        };
        let machine = Node { children: vec![config, pool], ..Node::new("vm") };
        assert_eq!(machine.bool_at("config.template"), Some(false));
        assert_eq!(machine.i64_at("config.memoryMB"), Some(4096));
        assert_eq!(machine.text_at("config.note"), Some(""));
        assert_eq!(machine.word_at("config.note"), None);
        assert_eq!(machine.at("config.memoryMB.x"), None);
        assert_eq!(
            machine.moref_at("resourcePool"),
            Some(MoRef::new("ResourcePool", "resgroup-23"))
        );
    }

    #[test]
    fn what_is_empty_or_of_another_kind_is_absent() {
        let mut empty = leaf("host", " ");
        empty.ref_type = Some("HostSystem".into());
        assert_eq!(empty.as_moref(), None);
        assert_eq!(leaf("host", "host-1").as_moref(), None);
        assert_eq!(leaf("n", "twelve").as_i64(), None);
        assert_eq!(leaf("n", "99999999999999999999").as_i64(), None);
        assert_eq!(leaf("b", "yes").as_bool(), None);
    }
}

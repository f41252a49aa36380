//! Collections: optional values, lists, mappings by name, and entries that stand for several members.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{Cx, Decode, Defs};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::expand::{Expanded, NAMES_PATTERN, expand, substitute};
use crate::config::scalar::{NAME_PATTERN, Name, ScalarError, Spanned};
use crate::config::yaml::{Entry, Node};

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        T::decode(node, cx).map(Some)
    }

    fn schema(defs: &mut Defs) -> Json {
        T::schema(defs)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    // What may be absent does not take along what surrounds it.
    fn after_error() -> Option<Self> {
        Some(None)
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let items = cx.list(node, "a list")?;
        // Good items are kept beside bad ones, which have been reported, so that they too are checked.
        Some(cx.at_key(None, |cx| items.iter().filter_map(|item| T::decode(item, cx)).collect()))
    }

    fn schema(defs: &mut Defs) -> Json {
        json!({ "type": "array", "items": T::schema(defs) })
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

/// A type that keys of a mapping are read as.
pub trait Key: Ord + Sized {
    /// What a key must match; `None` when it may be anything.
    const PATTERN: Option<&'static str>;

    /// Reads a key.
    fn from_key(text: &Arc<str>) -> Result<Self, ScalarError>;
}

impl Key for Name {
    const PATTERN: Option<&'static str> = Some(NAME_PATTERN);

    fn from_key(text: &Arc<str>) -> Result<Self, ScalarError> {
        Self::from_shared(Arc::clone(text))
    }
}

impl Key for String {
    const PATTERN: Option<&'static str> = None;

    fn from_key(text: &Arc<str>) -> Result<Self, ScalarError> {
        Ok(text.as_ref().to_owned())
    }
}

fn key<K: Key>(entry: &Entry, cx: &mut Cx<'_>) -> Option<K> {
    match K::from_key(&entry.key) {
        Ok(key) => Some(key),
        Err(error) => {
            let diagnostic = Diagnostic::error("invalid-name", entry.key_span, error.message);
            cx.push(error.help.into_iter().fold(diagnostic, Diagnostic::help));
            None
        }
    }
}

impl<K: Key, T: Decode> Decode for BTreeMap<K, T> {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let entries = cx.mapping(node, "a mapping")?;
        let pair = |entry: &Entry, cx: &mut Cx<'_>| {
            // Both are read before either can end it, so that a bad name does not hide a bad value.
            let (key, value) = (key(entry, cx), cx.field(entry));
            Some((key?, value?))
        };
        Some(entries.iter().filter_map(|entry| pair(entry, cx)).collect())
    }

    fn schema(defs: &mut Defs) -> Json {
        let values = T::schema(defs);
        match K::PATTERN {
            Some(pattern) => {
                json!({ "type": "object", "patternProperties": { pattern: values }, "additionalProperties": false })
            }
            None => json!({ "type": "object", "additionalProperties": values }),
        }
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }
}

/// A value with the place of its key.
#[derive(Debug, Clone, PartialEq)]
pub struct Keyed<T> {
    /// Where the key is.
    pub key: Span,
    /// The value.
    pub value: T,
}

impl<T: Decode> Decode for Keyed<T> {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let key = cx.key_span(node);
        T::decode(node, cx).map(|value| Self { key, value })
    }

    fn schema(defs: &mut Defs) -> Json {
        T::schema(defs)
    }
}

/// A value whose problems do not take what surrounds it along: the root keeps its good sections, a section the names of
/// its bad entries, so that references to them are not reported as unknown.
#[derive(Debug, Clone, PartialEq)]
pub struct Lenient<T>(pub Option<T>);

impl<T: Decode> Decode for Lenient<T> {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        Some(Self(T::decode(node, cx)))
    }

    fn schema(defs: &mut Defs) -> Json {
        T::schema(defs)
    }

    fn absent() -> Option<Self> {
        T::absent().map(|value| Self(Some(value)))
    }

    fn after_error() -> Option<Self> {
        Some(Self(None))
    }
}

/// A value that is read later: after a profile has been merged, or once per member.
pub struct Lazy<T> {
    /// As written.
    pub node: Node,
    kind: PhantomData<fn() -> T>,
}

impl<T: Decode> Lazy<T> {
    /// A node that will be read as `T`.
    pub fn new(node: Node) -> Self {
        Self { node, kind: PhantomData }
    }

    /// Reads it.
    pub fn read(&self, cx: &mut Cx<'_>) -> Option<T> {
        T::decode(&self.node, cx)
    }
}

impl<T> Clone for Lazy<T> {
    fn clone(&self) -> Self {
        Self { node: self.node.clone(), kind: PhantomData }
    }
}

impl<T> PartialEq for Lazy<T> {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl<T> fmt::Debug for Lazy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lazy").field(&self.node).finish()
    }
}

impl<T: Decode> Decode for Lazy<T> {
    fn decode(node: &Node, _: &mut Cx<'_>) -> Option<Self> {
        Some(Self::new(node.clone()))
    }

    fn schema(defs: &mut Defs) -> Json {
        T::schema(defs)
    }
}

/// An entry as written: one name, or a pattern such as `web-{1..3}` that stands for several.
#[derive(Debug, Clone, PartialEq)]
pub struct Template<T> {
    /// The names, as written and expanded.
    pub name: Spanned<Expanded>,
    /// What is said about each of them.
    pub body: Lazy<T>,
}

impl<T: Decode> Template<T> {
    /// The tree of one member, with `{n}` replaced. Shares whatever the replacement does not touch.
    pub fn member_node(&self, index: usize) -> Option<Node> {
        let member = self.name.value.members.get(index)?;
        Some(match &member.n {
            Some(n) => substitute(&self.body.node, n),
            None => self.body.node.clone(),
        })
    }
}

/// A section whose names may be patterns. Its entries are read when their members are known.
#[derive(Debug, Clone, PartialEq)]
pub struct Templates<T>(pub Vec<Template<T>>);

impl<T> Default for Templates<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Decode> Decode for Templates<T> {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let entries = cx.mapping(node, "a mapping")?;
        let mut templates = Vec::with_capacity(entries.len());
        for entry in entries {
            match expand(&entry.key, entry.key_span) {
                Ok(names) => templates.push(Template {
                    name: Spanned::new(names, entry.key_span),
                    body: Lazy::new(entry.value.clone()),
                }),
                Err(problem) => cx.push(*problem),
            }
        }
        Some(Self(templates))
    }

    fn schema(defs: &mut Defs) -> Json {
        let one = T::schema(defs);
        let several = defs.of_members(T::schema);
        json!({
            "type": "object",
            "patternProperties": { NAME_PATTERN: one, NAMES_PATTERN: several },
            "additionalProperties": false,
        })
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

//! The one spelling of a value in JSON, for digests.
//!
//! Keys sorted by their text, no blanks, no floating-point numbers, strings as
//! `serde_json` escapes them. That is canonical enough because the only freedom
//! that JSON leaves besides (how a float is printed) is refused, and because every
//! value that is digested is written by this code from typed data: two equal values
//! have one spelling, on any machine. It does not depend on how `serde_json::Value`
//! orders its maps, which a feature of any dependency could change.

use super::PlanBody;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use sha2::{Digest, Sha256};
use std::{
    cell::RefCell,
    cmp::Ordering,
    fmt::Write as _,
    io::{self, Write},
    ops::Range,
    rc::Rc,
};

/// A value that has no canonical spelling, because it holds a fraction, a map whose
/// keys are no texts, or JSON that was spelt elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("the value has no canonical JSON")]
pub struct NotCanonical(#[from] serde_json::Error);

/// The value as canonical JSON.
///
/// # Errors
/// When it holds a floating-point number, or a map whose keys are no texts.
pub fn canonical_json<T: Serialize + ?Sized>(value: &T) -> Result<String, NotCanonical> {
    let shared = Shared::default();
    value.serialize(&mut Serializer::with_formatter(shared.clone(), Sorted::new(&shared)))?;
    let bytes = shared.0.take();
    String::from_utf8(bytes)
        .map_err(|error| NotCanonical(serde_json::Error::io(io::Error::other(error))))
}

/// SHA-256 of the canonical JSON of a plan's body; what `--approve` names.
///
/// Spelt member by member: the whole text of a large plan, which can have 100 MB, is
/// never in memory at once.
pub fn plan_id(body: &PlanBody) -> String {
    let PlanBody { format, project, files, policy, actions, edges, blocked, unchanged } = body;
    let mut digest = Sha256::new();
    digest.update("{\"actions\":");
    update_list(&mut digest, actions);
    digest.update(",\"blocked\":");
    update_list(&mut digest, blocked);
    digest.update(",\"edges\":");
    update_list(&mut digest, edges);
    let mut member = |name: &str, text: String| {
        digest.update(format!(",\"{name}\":"));
        digest.update(text);
    };
    member("files", text_of(files));
    member("format", text_of(format));
    member("policy", text_of(policy));
    member("project", text_of(project));
    member("unchanged", text_of(unchanged));
    digest.update("}");
    hex(&digest.finalize())
}

fn update_list<T: Serialize>(digest: &mut Sha256, items: &[T]) {
    digest.update("[");
    for (index, item) in items.iter().enumerate() {
        digest.update(if index > 0 { "," } else { "" });
        digest.update(text_of(item));
    }
    digest.update("]");
}

/// SHA-256 of the canonical JSON of one of our own documents, 64 hex digits.
pub fn digest_of<T: Serialize + ?Sized>(document: &T) -> String {
    hex(&Sha256::digest(text_of(document).as_bytes()))
}

fn text_of<T: Serialize + ?Sized>(document: &T) -> String {
    // Texts, whole numbers and maps by text are all that our documents hold.
    #[allow(clippy::expect_used, reason = "no digested type of ours holds a fraction")]
    canonical_json(document).expect("our documents have canonical JSON")
}

/// The name under which a pool on one hypervisor is spoken of.
pub fn pool_address(key: &super::ResourceKey, hypervisor: &super::HypervisorName) -> String {
    format!("{key}@{hypervisor}")
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The output, seen by the serializer as a writer and by the formatter as bytes
/// whose order it can still change.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes objects member by member and puts the members in order when one ends. Far
/// cheaper than building a tree of maps first: a plan of 10,000 machines has more
/// than a million members.
struct Sorted {
    out: Shared,
    /// Where each open object began.
    open: Vec<Vec<Member>>,
    /// Emptied lists, to be used again.
    spare: Vec<Vec<Member>>,
    scratch: Vec<u8>,
}

/// One member of an object, as places in the output.
#[derive(Clone, Debug)]
struct Member {
    /// The key with its quotes.
    key: Range<usize>,
    /// Whether the key is spelt with escapes.
    escaped: bool,
    /// The end of its value.
    end: usize,
}

impl Sorted {
    fn new(out: &Shared) -> Self {
        Self { out: out.clone(), open: Vec::new(), spare: Vec::new(), scratch: Vec::new() }
    }

    fn here(&self) -> usize {
        self.out.0.borrow().len()
    }

    fn refuse(what: &str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("{what} has no canonical spelling"))
    }
}

impl Member {
    /// Orders members by the texts that their keys mean.
    fn by_key(&self, other: &Self, out: &[u8]) -> Ordering {
        let (a, b) = (&out[self.key.clone()], &out[other.key.clone()]);
        if self.escaped || other.escaped {
            let text = |key| serde_json::from_slice::<String>(key).unwrap_or_default();
            return text(a).cmp(&text(b));
        }
        // Without the closing quote, which would sort `a b` before `a`.
        a[..a.len() - 1].cmp(&b[..b.len() - 1])
    }
}

impl Formatter for Sorted {
    fn begin_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open.push(self.spare.pop().unwrap_or_default());
        writer.write_all(b"{")
    }

    fn begin_object_key<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        let here = self.here();
        if let Some(members) = self.open.last_mut() {
            members.push(Member { key: here..here, escaped: false, end: here });
        }
        Ok(())
    }

    fn end_object_key<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        let out = self.out.0.borrow();
        if let Some(member) = self.open.last_mut().and_then(|members| members.last_mut()) {
            member.key.end = out.len();
            member.escaped = out[member.key.clone()].contains(&b'\\');
        }
        Ok(())
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        let here = self.here();
        if let Some(member) = self.open.last_mut().and_then(|members| members.last_mut()) {
            member.end = here;
        }
        Ok(())
    }

    fn end_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        let mut members = self.open.pop().unwrap_or_default();
        {
            let mut out = self.out.0.borrow_mut();
            let in_order =
                members.windows(2).all(|pair| pair[0].by_key(&pair[1], &out) == Ordering::Less);
            if let (false, Some(first)) = (in_order, members.first()) {
                let start = first.key.start;
                members.sort_unstable_by(|a, b| a.by_key(b, &out));
                self.scratch.clear();
                for (index, member) in members.iter().enumerate() {
                    if index > 0 {
                        self.scratch.push(b',');
                    }
                    self.scratch.extend_from_slice(&out[member.key.start..member.end]);
                }
                out.truncate(start);
                out.extend_from_slice(&self.scratch);
            }
        }
        members.clear();
        self.spare.push(members);
        writer.write_all(b"}")
    }

    fn write_f32<W: Write + ?Sized>(&mut self, _: &mut W, _: f32) -> io::Result<()> {
        Err(Self::refuse("a fraction"))
    }

    fn write_f64<W: Write + ?Sized>(&mut self, _: &mut W, _: f64) -> io::Result<()> {
        Err(Self::refuse("a fraction"))
    }

    fn write_raw_fragment<W: Write + ?Sized>(&mut self, _: &mut W, _: &str) -> io::Result<()> {
        Err(Self::refuse("raw JSON"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    #[test]
    fn keys_are_sorted_at_every_depth_and_nothing_is_padded() {
        #[derive(Serialize)]
        struct Inner {
            z: u8,
            a: Option<u8>,
        }
        #[derive(Serialize)]
        struct Outer {
            b: Vec<Inner>,
            a: &'static str,
        }
        let value =
            Outer { b: vec![Inner { z: 1, a: None }, Inner { z: 2, a: Some(3) }], a: "x\"" };
        let text = canonical_json(&value).unwrap();
        assert_eq!(text, r#"{"a":"x\"","b":[{"a":null,"z":1},{"a":3,"z":2}]}"#);
    }

    #[test]
    fn a_fraction_is_refused_anywhere() {
        assert!(canonical_json(&json!({"a": [{"b": 1.5}]})).is_err());
        assert!(canonical_json(&json!({"a": [{"b": -15}]})).is_ok());
    }

    #[test]
    fn keys_that_need_escapes_sort_by_what_they_mean() {
        let map: BTreeMap<&str, u8> = [("a", 1), ("a b", 2), ("a\nb", 3), ("a\"", 4)].into();
        let text = canonical_json(&map).unwrap();
        assert_eq!(text, r#"{"a":1,"a\nb":3,"a b":2,"a\"":4}"#);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((".{0,4}", inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// An independent spelling: recursion over sorted maps.
    fn slowly(value: &Value) -> String {
        match value {
            Value::Array(items) => {
                format!("[{}]", items.iter().map(slowly).collect::<Vec<_>>().join(","))
            }
            Value::Object(map) => {
                let sorted: BTreeMap<_, _> = map.iter().collect();
                let members: Vec<_> = sorted
                    .into_iter()
                    .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), slowly(value)))
                    .collect();
                format!("{{{}}}", members.join(","))
            }
            leaf => leaf.to_string(),
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_tree_of_sorted_maps(value in any_json()) {
            prop_assert_eq!(canonical_json(&value).unwrap(), slowly(&value));
        }

        #[test]
        fn what_is_read_back_has_the_same_spelling(value in any_json()) {
            let text = canonical_json(&value).unwrap();
            let again: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(canonical_json(&again).unwrap(), text);
        }
    }
}

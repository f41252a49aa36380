//! Their JSON, as they spell it. Never leaves this folder.
//!
//! Perl's typing leaks through the API: a number may come as a text and a boolean as
//! `1`, `"1"` or `true`, differently by version and by node. Every scalar is
//! therefore decoded leniently, and unknown keys are ignored.

use serde::{Deserialize, Deserializer, de};
use std::{collections::BTreeMap, fmt, marker::PhantomData};

/// What surrounds every successful answer. A missing `data` is an error: a body that
/// was cut short must not read as an empty list.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope<T> {
    pub data: T,
}

/// What surrounds a refusal; all of it may be missing.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Failure {
    #[serde(default)]
    pub message: Option<String>,
    #[serde(default)]
    pub errors: Option<BTreeMap<String, Text>>,
}

/// A scalar that is wanted as a text, whatever type it came as.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text(pub String);

/// A number that may be spelt as a text or with a fraction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Number(pub u64);

/// A boolean in any of its spellings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flag(pub bool);

/// One visitor for all three: each scalar of JSON is handed on as a text.
struct Scalar<T>(PhantomData<T>);

impl<T: TryFrom<String, Error = String>> de::Visitor<'_> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number or a boolean")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<T, E> {
        T::try_from(value.to_owned()).map_err(E::custom)
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<T, E> {
        T::try_from(value).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        T::try_from(value.to_string()).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        T::try_from(value.to_string()).map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        T::try_from(value.to_string()).map_err(E::custom)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<T, E> {
        T::try_from(u8::from(value).to_string()).map_err(E::custom)
    }
}

impl TryFrom<String> for Text {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Ok(Self(text))
    }
}

impl TryFrom<String> for Number {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(number) = text.parse() {
            return Ok(Self(number));
        }
        // Sizes of some storages and fractional processor counts come as floats.
        match text.parse::<f64>() {
            Ok(number) if number >= 0.0 && number <= 2f64.powi(63) => Ok(Self(number as u64)),
            _ => Err(format!("`{text}` is not a number")),
        }
    }
}

impl TryFrom<String> for Flag {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(Self(true)),
            "" | "0" | "false" | "no" | "off" => Ok(Self(false)),
            other => Err(format!("`{other}` is not a boolean")),
        }
    }
}

macro_rules! lenient {
    ($($name:ident),+) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Scalar(PhantomData))
            }
        }
    )+};
}
lenient!(Text, Number, Flag);

impl Number {
    pub(super) fn small(self) -> Option<u32> {
        u32::try_from(self.0).ok()
    }
}

/// `GET /version`.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub version: Text,
    #[serde(default)]
    pub release: Option<Text>,
}

/// `POST /access/ticket`.
#[derive(Deserialize)]
pub(super) struct Ticket {
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub ticket: Option<String>,
    #[serde(default, rename = "CSRFPreventionToken")]
    pub csrf: Option<String>,
    #[serde(default, rename = "NeedTFA")]
    pub need_tfa: Option<Flag>,
}

/// A row of `GET /cluster/status`: the cluster itself or a node.
#[derive(Debug, Deserialize)]
pub(super) struct StatusRow {
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    #[serde(default)]
    pub quorate: Option<Flag>,
    #[serde(default)]
    pub online: Option<Flag>,
    #[serde(default)]
    pub local: Option<Flag>,
}

/// A row of `GET /nodes`.
#[derive(Debug, Deserialize)]
pub(super) struct NodeRow {
    pub node: String,
    #[serde(default)]
    pub status: Option<String>,
}

/// A row of `GET /cluster/resources`, of any type.
#[derive(Debug, Deserialize)]
pub(super) struct Resource {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub vmid: Option<Number>,
    #[serde(default)]
    pub node: Option<String>,
    #[serde(default)]
    pub name: Option<Text>,
    #[serde(default)]
    pub status: Option<String>,
    #[serde(default)]
    pub template: Option<Flag>,
    #[serde(default)]
    pub pool: Option<String>,
    #[serde(default)]
    pub tags: Option<Text>,
    #[serde(default)]
    pub lock: Option<String>,
    #[serde(default)]
    pub maxmem: Option<Number>,
    #[serde(default)]
    pub maxcpu: Option<Number>,
    #[serde(default)]
    pub maxdisk: Option<Number>,
    #[serde(default)]
    pub disk: Option<Number>,
    #[serde(default)]
    pub storage: Option<String>,
    #[serde(default)]
    pub content: Option<String>,
    #[serde(default)]
    pub shared: Option<Flag>,
}

/// A row of `GET /nodes/{node}/qemu`, or the answer of `…/status/current`.
#[derive(Debug, Deserialize)]
pub(super) struct LiveGuest {
    #[serde(default)]
    pub vmid: Option<Number>,
    #[serde(default)]
    pub name: Option<Text>,
    #[serde(default)]
    pub status: Option<String>,
    #[serde(default)]
    pub template: Option<Flag>,
    #[serde(default)]
    pub lock: Option<String>,
    #[serde(default)]
    pub tags: Option<Text>,
    #[serde(default)]
    pub maxmem: Option<Number>,
    #[serde(default)]
    pub cpus: Option<Number>,
}

/// An item of `GET …/pending`.
#[derive(Debug, Deserialize)]
pub(super) struct PendingRow {
    pub key: String,
    #[serde(default)]
    pub value: Option<Text>,
    #[serde(default)]
    pub pending: Option<Text>,
    /// 1, or 2 when forced.
    #[serde(default)]
    pub delete: Option<Number>,
}

impl From<PendingRow> for super::translate::PendingItem {
    fn from(row: PendingRow) -> Self {
        Self {
            key: row.key,
            value: row.value.map(|it| it.0),
            pending: row.pending.map(|it| it.0),
            delete: row.delete.is_some_and(|it| it.0 != 0),
        }
    }
}

/// A row of `GET /access/acl`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct AclRow {
    pub path: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub ugid: String,
    pub roleid: String,
}

/// `GET /access/permissions`: path, privilege, whether it propagates.
pub(super) type Permissions = BTreeMap<String, BTreeMap<String, Flag>>;

/// `GET /access/users/{userid}`.
#[derive(Debug, Deserialize)]
pub(super) struct User {
    #[serde(default)]
    pub groups: Vec<String>,
    /// Unix time; 0 = never.
    #[serde(default)]
    pub expire: Option<Number>,
    #[serde(default)]
    pub tokens: Option<BTreeMap<String, UserToken>>,
}

/// A token of a user.
#[derive(Debug, Deserialize)]
pub(super) struct UserToken {
    /// Unix time; 0 = never.
    #[serde(default)]
    pub expire: Option<Number>,
    #[serde(default)]
    pub privsep: Option<Flag>,
}

/// A row of `GET /access/roles`.
#[derive(Debug, Deserialize)]
pub(super) struct Role {
    pub roleid: String,
    /// Whether it is built in.
    #[serde(default)]
    pub special: Option<Flag>,
}

/// A row of `GET /nodes/{node}/certificates/info`.
#[derive(Debug, Deserialize)]
pub(super) struct Certificate {
    #[serde(default)]
    pub filename: Option<String>,
    #[serde(default)]
    pub fingerprint: Option<String>,
    #[serde(default)]
    pub pem: Option<String>,
}

/// A row of `GET /nodes/{node}/network`.
#[derive(Debug, Deserialize)]
pub(super) struct Interface {
    pub iface: String,
}

/// A row of `GET /nodes/{node}/storage/{storage}/content`.
#[derive(Debug, Deserialize)]
pub(super) struct Volume {
    pub volid: String,
}

/// A row of `GET /pools`; `members` only when one pool was asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Pool {
    pub poolid: String,
    #[serde(default)]
    pub comment: Option<Text>,
    #[serde(default)]
    pub members: Vec<Member>,
}

/// A member of a pool.
#[derive(Debug, Deserialize)]
pub(super) struct Member {
    #[serde(default)]
    pub vmid: Option<Number>,
}

/// `GET /nodes/{node}/tasks/{upid}/status`.
#[derive(Debug, Deserialize)]
pub(super) struct TaskStatus {
    pub status: String,
    #[serde(default)]
    pub exitstatus: Option<Text>,
}

/// A row of `GET /nodes/{node}/tasks`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TaskRow {
    pub upid: String,
    #[serde(default)]
    pub status: Option<Text>,
    #[serde(default)]
    pub endtime: Option<Number>,
}

/// A line of a task's log.
#[derive(Debug, Deserialize)]
pub(super) struct LogLine {
    #[serde(default)]
    pub t: Option<Text>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_flags_are_read_in_every_spelling() {
        let number = |json: &str| serde_json::from_str::<Number>(json).map(|it| it.0).ok();
        assert_eq!(number("4"), Some(4));
        assert_eq!(number("\"4\""), Some(4));
        assert_eq!(number("1.5"), Some(1));
        assert_eq!(number("\"4294967296\""), Some(1 << 32));
        assert_eq!((number("-1"), number("\"x\""), number("null")), (None, None, None));
        let flag = |json: &str| serde_json::from_str::<Flag>(json).map(|it| it.0).ok();
        for yes in ["1", "\"1\"", "true"] {
            assert_eq!(flag(yes), Some(true), "{yes}");
        }
        for no in ["0", "\"0\"", "false", "\"\""] {
            assert_eq!(flag(no), Some(false), "{no}");
        }
        assert_eq!(flag("2"), None);
    }

    #[test]
    fn a_row_of_a_newborn_guest_is_read_though_it_says_little() {
        let json = r#"{"id":"qemu/100","vmid":"100","node":"pve1","type":"qemu","status":"unknown","lock":"clone","new-key":[1]}"#;
        let row: Resource = serde_json::from_str(json).unwrap();
        assert_eq!(row.vmid, Some(Number(100)));
        assert_eq!((row.name, row.template, row.maxmem), (None, None, None));
        assert_eq!(row.lock.as_deref(), Some("clone"));
    }

    #[test]
    fn an_answer_without_data_is_not_an_empty_answer() {
        assert!(serde_json::from_str::<Envelope<Vec<Interface>>>("{}").is_err());
        assert!(serde_json::from_str::<Envelope<Vec<Interface>>>("{\"data\":[{\"if").is_err());
        let null: Envelope<Option<String>> = serde_json::from_str("{\"data\":null}").unwrap();
        assert_eq!(null.data, None);
    }
}

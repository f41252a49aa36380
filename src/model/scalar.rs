//! Units and small values with one canonical spelling.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A size in bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// One mebibyte.
    pub const MIB: u64 = 1 << 20;
    /// One gibibyte.
    pub const GIB: u64 = 1 << 30;

    /// So many mebibytes.
    pub const fn mib(count: u64) -> Self {
        // What a server reports is not bounded by anything.
        Self(count.saturating_mul(Self::MIB))
    }

    /// So many gibibytes.
    pub const fn gib(count: u64) -> Self {
        Self(count * Self::GIB)
    }
}

impl fmt::Display for Bytes {
    /// The largest unit that divides it exactly: `4 GiB`, `1536 MiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] =
            [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let found = UNITS.iter().find(|(unit, _)| self.0 != 0 && self.0.is_multiple_of(*unit));
        match found {
            Some((unit, name)) => f.pad(&format!("{} {name}", self.0 / unit)),
            None => f.pad(&format!("{} B", self.0)),
        }
    }
}

/// A hardware address; printed in upper case with colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}")
    }
}

/// A text that is not six hexadecimal pairs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a hardware address like `BC:24:11:0A:0B:0C`")]
pub struct NotAMac(pub String);

impl std::str::FromStr for MacAddress {
    type Err = NotAMac;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotAMac(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Self(bytes)) }
    }
}

impl Serialize for MacAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Where a secret comes from, and which edition of it; never its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// Its source.
    pub source: SecretSource,
    /// The edition; only this is compared. 1 when the YAML gives none.
    pub version: u32,
}

/// The source of a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// An environment variable: `env:NAME`.
    Env(String),
    /// A file: `file:PATH`.
    File(String),
    /// An entry of the trust settings: `secret:NAME`.
    Secret(String),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            SecretSource::Env(name) => write!(f, "env:{name}"),
            SecretSource::File(path) => write!(f, "file:{path}"),
            SecretSource::Secret(name) => write!(f, "secret:{name}"),
        }
    }
}

//! The small values that configuration is made of: sizes, durations, addresses, names, references to secrets.
//!
//! Each parses from text with an error that says what would have been right, displays in one canonical form, and has a
//! pattern for the JSON Schema that accepts exactly what the parser accepts, as far as a pattern can say it.

mod net;
mod secret;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::diagnostic::Span;

pub use crate::model::{Bytes, MacAddress, Name, SecretRef, SecretSource};
pub use net::{IPV4_PATTERN, IpRange, MAC_PATTERN, parse_mac};
pub use secret::{SECRET_PATTERN, SecretRefError};

/// A value with the place where it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value at a place.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    /// Another value at the same place.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: change(self.value), span: self.span }
    }

    /// The value by reference, at the same place.
    pub fn as_ref(&self) -> Spanned<&T> {
        Spanned { value: &self.value, span: self.span }
    }
}

impl<T> std::ops::Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// A refused text: what is wrong, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScalarError {
    /// One sentence.
    pub message: String,
    /// What to write.
    pub help: Option<String>,
}

impl ScalarError {
    /// An error with advice.
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()) }
    }

    /// An error that says all there is to say.
    pub fn bare(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }
}

/// Letter, power of two, and how many digits may stand before it so that no size exceeds 64 bits.
const UNITS: [(char, u32, usize); 5] =
    [('K', 10, 15), ('M', 20, 12), ('G', 30, 9), ('T', 40, 6), ('P', 50, 4)];

/// What [`Bytes`] accepts.
pub const BYTES_PATTERN: &str = "^(?:(?:0|[1-9][0-9]{0,14}) ?K(?:iB)?|(?:0|[1-9][0-9]{0,11}) ?M(?:iB)?|\
     (?:0|[1-9][0-9]{0,8}) ?G(?:iB)?|(?:0|[1-9][0-9]{0,5}) ?T(?:iB)?|(?:0|[1-9][0-9]{0,3}) ?P(?:iB)?)$";

impl Bytes {
    /// Reads a size, and says whether it was written in a short form (`4G`) that deserves an echo.
    pub fn parse(text: &str) -> Result<(Self, Option<String>), ScalarError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = unit.strip_prefix(' ').unwrap_or(unit);
        let known = UNITS.iter().find(|(letter, ..)| {
            unit.strip_prefix(*letter).is_some_and(|rest| matches!(rest, "" | "iB"))
        });
        let Some(&(letter, shift, digits_max)) = known else {
            return Err(size_error(text, number, unit));
        };
        if number.is_empty() || (number.len() > 1 && number.starts_with('0')) {
            return Err(size_error(text, number, unit));
        }
        if number.len() > digits_max {
            return Err(ScalarError::bare(format!("the size `{text}` is too large")));
        }
        let count: u64 = number.parse().map_err(|_| size_error(text, number, unit))?;
        let size = Self(count << shift);
        let echo = (unit.len() == 1).then(|| format!("`{text}` is read as {number}{letter}iB"));
        Ok((size, echo))
    }

    /// `4GiB`, as it would be written in YAML.
    pub fn compact(self) -> String {
        let (count, unit) = self.largest_unit();
        format!("{count}{unit}")
    }

    /// The largest unit that divides it exactly, so that nothing is rounded away in a plan.
    fn largest_unit(self) -> (u64, &'static str) {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let power = if self.0 == 0 { 2 } else { (self.0.trailing_zeros() as usize / 10).min(5) };
        (self.0 >> (10 * power), units[power])
    }
}

fn size_error(text: &str, number: &str, unit: &str) -> ScalarError {
    let examples = "write a whole number and a unit: `512MiB`, `4GiB`, `2TiB`";
    if number.is_empty() {
        return ScalarError::new(format!("expected a size, found `{text}`"), examples);
    }
    if let Some(exact) = fraction(number, unit) {
        return ScalarError::new(
            format!("the size `{text}` is not a whole number"),
            format!("write `{exact}`"),
        );
    }
    let letter = unit.chars().next().map(|letter| letter.to_ascii_uppercase());
    match letter.filter(|letter| UNITS.iter().any(|(known, ..)| known == letter)) {
        _ if number.len() > 1 && number.starts_with('0') => {
            ScalarError::new(format!("the size `{text}` begins with a zero"), examples)
        }
        None if unit.is_empty() => ScalarError::new(
            format!("the size `{text}` has no unit"),
            format!("write `{number}GiB` or `{number}MiB`"),
        ),
        Some(letter) if unit.len() <= 3 => {
            let message =
                format!("sizes are in powers of 1024, `{unit}` is not one of their units");
            ScalarError::new(message, format!("write `{number}{letter}iB`"))
        }
        _ => ScalarError::new(format!("`{unit}` is not a unit of size"), examples),
    }
}

/// `1.5GiB` as `1536MiB`, where that is exact.
fn fraction(number: &str, unit: &str) -> Option<String> {
    let rest = unit.strip_prefix('.')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (decimals, unit) = rest.split_at(digits);
    let letter = unit.trim_start().chars().next()?.to_ascii_uppercase();
    let (_, shift, _) = UNITS.iter().find(|(known, ..)| *known == letter)?;
    let scale = 10u64.checked_pow(u32::try_from(digits).ok()?)?;
    let mantissa: u64 = format!("{number}{decimals}").parse().ok()?;
    let bytes = mantissa.checked_mul(1 << shift)?;
    (digits > 0 && bytes.is_multiple_of(scale)).then(|| Bytes(bytes / scale).compact())
}

impl FromStr for Bytes {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        Self::parse(text).map(|(size, _)| size)
    }
}

/// A length of time in whole seconds.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seconds(pub u64);

/// What [`Seconds`] accepts.
pub const SECONDS_PATTERN: &str = "^(?:0|[1-9][0-9]{0,8})[smhd]$";

impl From<Seconds> for std::time::Duration {
    fn from(length: Seconds) -> Self {
        Self::from_secs(length.0)
    }
}

impl FromStr for Seconds {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let refuse = || {
            let help = match text.parse::<u32>() {
                Ok(_) => format!("write `{text}s` or `{text}m`"),
                Err(_) => "write a whole number and a unit: `90s`, `5m`, `2h`, `7d`".to_owned(),
            };
            ScalarError::new(format!("expected a duration, found `{text}`"), help)
        };
        let unit = match text.bytes().last() {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 3600,
            Some(b'd') => 86_400,
            _ => return Err(refuse()),
        };
        let count = whole(&text[..text.len() - 1], 9).ok_or_else(refuse)?;
        Ok(Self(count * unit))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
        let exact = units.into_iter().find(|(size, _)| self.0 != 0 && self.0.is_multiple_of(*size));
        let (size, unit) = exact.unwrap_or((1, 's'));
        write!(f, "{}{unit}", self.0 / size)
    }
}

/// A share in whole percent, up to 1000.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Percent(pub u16);

/// What [`Percent`] accepts.
pub const PERCENT_PATTERN: &str = "^(?:0|[1-9][0-9]{0,2}|1000)%$";

impl FromStr for Percent {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let count = text
            .strip_suffix('%')
            .and_then(|digits| whole(digits, 4))
            .filter(|&count| count <= 1000);
        let count = count.and_then(|count| u16::try_from(count).ok());
        count.map(Self).ok_or_else(|| {
            ScalarError::new(
                format!("expected a percentage, found `{text}`"),
                "write a whole number: `10%`",
            )
        })
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// A time zone of the IANA database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ZoneName(String);

/// What [`ZoneName`] looks like; which zones exist is beyond a pattern.
pub const ZONE_PATTERN: &str = "^[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*$";

impl ZoneName {
    /// The name, spelt as in the database.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ZoneName {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        // The bundled database, never the machine's: one file must mean the same everywhere.
        let zone = jiff::tz::TimeZoneDatabase::bundled().get(text).ok();
        let name = zone.as_ref().and_then(|zone| zone.iana_name());
        name.map(|name| Self(name.to_owned())).ok_or_else(|| {
            let help = "write an IANA name: `Europe/Paris`, `UTC`";
            ScalarError::new(format!("`{text}` is not a time zone"), help)
        })
    }
}

impl TryFrom<String> for ZoneName {
    type Error = ScalarError;

    fn try_from(text: String) -> Result<Self, ScalarError> {
        text.parse()
    }
}

impl From<ZoneName> for String {
    fn from(zone: ZoneName) -> Self {
        zone.0
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Digits without a leading zero.
pub(crate) fn whole(digits: &str, digits_max: usize) -> Option<u64> {
    let fine = !digits.is_empty()
        && digits.len() <= digits_max
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    if fine { digits.parse().ok() } else { None }
}

/// Numeric ids `first-last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IdRange {
    /// Lowest.
    pub first: u32,
    /// Highest.
    pub last: u32,
}

/// What [`IdRange`] accepts, but for the order of its ends.
pub const ID_RANGE_PATTERN: &str = "^(?:0|[1-9][0-9]{0,8})-(?:0|[1-9][0-9]{0,8})$";

impl IdRange {
    /// Whether an id lies in it.
    pub fn contains(&self, id: u32) -> bool {
        (self.first..=self.last).contains(&id)
    }
}

impl FromStr for IdRange {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let end = |digits| whole(digits, 9).and_then(|count| u32::try_from(count).ok());
        let ends = text.split_once('-').and_then(|(first, last)| Some((end(first)?, end(last)?)));
        match ends {
            Some((first, last)) if first <= last => Ok(Self { first, last }),
            Some((first, last)) => Err(ScalarError::new(
                format!("the range `{text}` ends before it begins"),
                format!("write `{last}-{first}`"),
            )),
            None => Err(ScalarError::new(
                format!("expected a range of ids, found `{text}`"),
                "write `20000-29999`",
            )),
        }
    }
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// What [`Name`] accepts.
pub const NAME_PATTERN: &str = "^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$";

/// Names become host names, tags and parts of markers; 63 is the length of a DNS label.
pub const NAME_BYTES_MAX: usize = 63;

impl Name {
    /// Checks a text that is already shared.
    pub fn from_shared(text: std::sync::Arc<str>) -> Result<Self, ScalarError> {
        check_name(&text)?;
        Ok(Self::new(text))
    }
}

fn check_name(text: &str) -> Result<(), ScalarError> {
    let rule =
        "names have small letters, digits, `.` and `-`, and begin and end with a letter or digit";
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inner = |byte: &u8| edge(byte) || matches!(byte, b'.' | b'-');
    let bytes = text.as_bytes();
    if bytes.len() > NAME_BYTES_MAX {
        let message = format!(
            "the name `{text}` has {} characters; at most {NAME_BYTES_MAX} fit",
            text.chars().count()
        );
        return Err(ScalarError::bare(message));
    }
    if bytes.first().is_some_and(edge) && bytes.last().is_some_and(edge) && bytes.iter().all(inner)
    {
        return Ok(());
    }
    let lower = text.to_ascii_lowercase().replace(['_', ' '], "-");
    if lower != text && check_name(&lower).is_ok() {
        let help =
            format!("write `{lower}`; `name:` can hold the native name as the product spells it");
        return Err(ScalarError::new(format!("`{text}` is not a name here"), help));
    }
    Err(ScalarError::new(format!("`{text}` is not a name here"), rule))
}

impl FromStr for Name {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        check_name(text)?;
        Ok(Self::new(text))
    }
}

#[cfg(test)]
mod tests;

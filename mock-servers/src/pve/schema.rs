//! Parameter verification: what the server checks before a method runs, with its own texts.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::form::Params;
use super::propstring;

mod formats;
mod guest;
mod methods;

pub(super) use guest::{NET, OPTIONS, drive_props};

/// The release of Proxmox VE that is simulated.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum Release {
    /// Proxmox VE 8.4.
    #[serde(rename = "8.4")]
    V8_4,
    /// Proxmox VE 9.2.
    #[default]
    #[serde(rename = "9.2")]
    V9_2,
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V8_4 => "8.4",
            Self::V9_2 => "9.2",
        })
    }
}

impl FromStr for Release {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "8.4" => Ok(Self::V8_4),
            "9.2" => Ok(Self::V9_2),
            _ => Err(format!("unknown release '{text}' (8.4 or 9.2)")),
        }
    }
}

/// Errors by parameter, as the `errors` member of an answer.
pub type Errors = BTreeMap<String, String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
    /// Another spelling of a key: it stores to `key`, and its own name goes to `name_to`.
    Alias {
        key: &'static str,
        name_to: Option<&'static str>,
    },
}

/// A named check; the error is its text without the final newline.
pub(super) type Check = fn(&str, Release) -> Result<(), String>;

#[derive(Debug, Clone, Copy)]
pub(super) enum Format {
    Any,
    One(Check),
    List(Check),
    /// A property string with these keys, and a check of the whole.
    Props(&'static [Prop], Option<propstring::Whole>),
}

/// One parameter, or one key of a property string.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prop {
    pub(super) name: &'static str,
    /// The name is a prefix, followed by an index up to this one.
    pub(super) last_index: Option<u16>,
    pub(super) kind: Kind,
    pub(super) optional: bool,
    pub(super) default_key: bool,
    pub(super) min: Option<i64>,
    pub(super) max: Option<i64>,
    pub(super) max_length: Option<usize>,
    pub(super) values: &'static [&'static str],
    pub(super) pattern: Option<fn(&str) -> bool>,
    pub(super) format: Format,
    pub(super) requires: Option<&'static str>,
    pub(super) only: Option<Release>,
}

/// An optional parameter of free text.
pub(super) const fn text(name: &'static str) -> Prop {
    Prop {
        name,
        last_index: None,
        kind: Kind::Text,
        optional: true,
        default_key: false,
        min: None,
        max: None,
        max_length: None,
        values: &[],
        pattern: None,
        format: Format::Any,
        requires: None,
        only: None,
    }
}

pub(super) const fn integer(name: &'static str) -> Prop {
    text(name).kind(Kind::Integer)
}

pub(super) const fn number(name: &'static str) -> Prop {
    text(name).kind(Kind::Number)
}

pub(super) const fn boolean(name: &'static str) -> Prop {
    text(name).kind(Kind::Boolean)
}

pub(super) const fn alias(name: &'static str, key: &'static str) -> Prop {
    text(name).kind(Kind::Alias { key, name_to: None })
}

pub(super) const fn name_alias(
    name: &'static str,
    key: &'static str,
    name_to: &'static str,
) -> Prop {
    text(name).kind(Kind::Alias { key, name_to: Some(name_to) })
}

impl Prop {
    const fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    pub(super) const fn required(mut self) -> Self {
        self.optional = false;
        self
    }

    pub(super) const fn default_key(mut self) -> Self {
        self.default_key = true;
        self
    }

    pub(super) const fn indexed(mut self, last: u16) -> Self {
        self.last_index = Some(last);
        self
    }

    pub(super) const fn min(mut self, min: i64) -> Self {
        self.min = Some(min);
        self
    }

    pub(super) const fn range(mut self, min: i64, max: i64) -> Self {
        self.min = Some(min);
        self.max = Some(max);
        self
    }

    pub(super) const fn max_length(mut self, max: usize) -> Self {
        self.max_length = Some(max);
        self
    }

    pub(super) const fn one_of(mut self, values: &'static [&'static str]) -> Self {
        self.values = values;
        self
    }

    pub(super) const fn pattern(mut self, pattern: fn(&str) -> bool) -> Self {
        self.pattern = Some(pattern);
        self
    }

    pub(super) const fn format(mut self, check: Check) -> Self {
        self.format = Format::One(check);
        self
    }

    pub(super) const fn list(mut self, check: Check) -> Self {
        self.format = Format::List(check);
        self
    }

    pub(super) const fn props(mut self, props: &'static [Self]) -> Self {
        self.format = Format::Props(props, None);
        self
    }

    pub(super) const fn checked_props(
        mut self,
        props: &'static [Self],
        whole: propstring::Whole,
    ) -> Self {
        self.format = Format::Props(props, Some(whole));
        self
    }

    pub(super) const fn requires(mut self, other: &'static str) -> Self {
        self.requires = Some(other);
        self
    }

    pub(super) const fn only(mut self, release: Release) -> Self {
        self.only = Some(release);
        self
    }

    fn exists_in(&self, release: Release) -> bool {
        self.only.is_none_or(|only| only == release)
    }

    fn is_called(&self, name: &str) -> bool {
        let Some(last) = self.last_index else {
            return self.name == name;
        };
        let Some(index) = name.strip_prefix(self.name) else {
            return false;
        };
        index.bytes().all(|b| b.is_ascii_digit())
            && (index == "0" || !index.starts_with('0'))
            && index.parse().is_ok_and(|index: u16| index <= last)
    }
}

/// The declaration of `name` among `props` in a release.
pub(super) fn find<'a>(
    props: impl IntoIterator<Item = &'a Prop>,
    name: &str,
    release: Release,
) -> Option<&'a Prop> {
    props.into_iter().find(|prop| prop.exists_in(release) && prop.is_called(name))
}

/// Adds an error. The server joins several for one name with a backslash and an `n`.
fn add_error(errors: &mut Errors, path: String, text: &str) {
    errors
        .entry(path)
        .and_modify(|old| {
            old.push_str("\\n");
            old.push_str(text);
        })
        .or_insert_with(|| text.to_owned());
}

pub(super) const MISSING: &str = "property is missing and it is not optional";
const UNKNOWN: &str =
    "property is not defined in schema and the schema does not allow additional properties";

/// A value as the checks see it.
pub(super) enum Value<'a> {
    One(&'a str),
    /// A key sent several times, where the format is not a list.
    Many,
}

/// Checks a set of values against declarations: the missing, the unknown, and each value.
pub(super) fn check_object<'a>(
    path: &str,
    props: &[&Prop],
    values: &BTreeMap<&'a str, Value<'a>>,
    release: Release,
    errors: &mut Errors,
) {
    let inside = |key: &str| match path {
        "" => key.to_owned(),
        _ => format!("{path}.{key}"),
    };
    for prop in props {
        let wanted = !prop.optional && prop.exists_in(release);
        if wanted && !values.contains_key(prop.name) {
            add_error(errors, inside(prop.name), MISSING);
        }
    }
    for (key, value) in values {
        let here = inside(key);
        let Some(prop) = find(props.iter().copied(), key, release) else {
            add_error(errors, here, UNKNOWN);
            continue;
        };
        if let Err(error) = check_value(prop, value, &here, release) {
            add_error(errors, here.clone(), &error);
        }
        if let Some(other) = prop.requires.filter(|other| !values.contains_key(other)) {
            let text = format!("missing property - '{here}' requires this property");
            add_error(errors, inside(other), &text);
        }
    }
}

fn check_value(prop: &Prop, value: &Value<'_>, path: &str, release: Release) -> Result<(), String> {
    let kind = match prop.kind {
        Kind::Text => "string",
        Kind::Integer => "integer",
        Kind::Number => "number",
        Kind::Boolean => "boolean",
        Kind::Alias { .. } => return Ok(()),
    };
    let Value::One(value) = *value else {
        return Err(format!("type check ('{kind}') failed - got ARRAY"));
    };
    let typed = match prop.kind {
        Kind::Integer => is_integer(value),
        Kind::Number => is_number(value),
        Kind::Boolean => matches!(value, "0" | "1"),
        Kind::Text | Kind::Alias { .. } => true,
    };
    if !typed {
        return Err(format!("type check ('{kind}') failed - got '{value}'"));
    }
    check_format(prop.format, value, path, release)
        .map_err(|text| format!("invalid format - {text}\n"))?;
    if prop.pattern.is_some_and(|matches| !matches(value)) {
        return Err("value does not match the regex pattern".to_owned());
    }
    if let Some(max) = prop.max_length.filter(|max| value.chars().count() > *max) {
        return Err(format!("value may only be {max} characters long"));
    }
    if is_number(value) {
        let n: f64 = value.parse().unwrap_or_default();
        // The bounds are far below what a float holds exactly.
        #[allow(clippy::cast_precision_loss)]
        let (above, below) =
            (prop.max.filter(|max| n > *max as f64), prop.min.filter(|min| n < *min as f64));
        if let Some(max) = above {
            return Err(format!("value must have a maximum value of {max}"));
        }
        if let Some(min) = below {
            return Err(format!("value must have a minimum value of {min}"));
        }
    }
    if !prop.values.is_empty() && !prop.values.contains(&value) {
        let all = prop.values.join(", ");
        return Err(format!("value '{value}' does not have a value in the enumeration '{all}'"));
    }
    Ok(())
}

fn check_format(format: Format, value: &str, path: &str, release: Release) -> Result<(), String> {
    match format {
        Format::Any => Ok(()),
        Format::One(check) => check(value, release),
        Format::List(check) => {
            super::text::split_list(value).into_iter().try_for_each(|part| check(part, release))
        }
        Format::Props(props, whole) => {
            let parsed = propstring::parse(props, value, path, release)?;
            whole.map_or(Ok(()), |whole| whole(&parsed))
        }
    }
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn is_number(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let unsigned = mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa);
    let digits = unsigned.replacen('.', "", 1);
    !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && exponent.is_none_or(is_integer)
}

/// Checks the parameters of a call, those of the path included. Templates not known here pass.
///
/// # Errors
/// The texts by parameter name, to be sent with status 400.
pub fn check(
    method: &str,
    template: &str,
    params: &Params,
    release: Release,
) -> Result<(), Errors> {
    let Some(groups) = methods::find(method, template) else {
        return Ok(());
    };
    let props: Vec<&Prop> = groups.iter().flat_map(|group| group.iter()).collect();
    let joined: BTreeMap<&str, String> = params
        .iter()
        .filter(|(_, values)| values.len() > 1)
        .filter_map(|(key, values)| {
            let prop = find(props.iter().copied(), key, release)?;
            matches!(prop.format, Format::List(_)).then(|| (key, values.join(",")))
        })
        .collect();
    let values = params
        .iter()
        .map(|(key, values)| {
            let value = match (joined.get(key), values) {
                (Some(list), _) => Value::One(list),
                (None, [one]) => Value::One(one),
                (None, _) => Value::Many,
            };
            (key, value)
        })
        .collect();
    let mut errors = Errors::new();
    check_object("", &props, &values, release, &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Whether the parameters of this method are known here.
#[must_use]
pub fn known(method: &str, template: &str) -> bool {
    methods::find(method, template).is_some()
}

#[cfg(test)]
mod tests;

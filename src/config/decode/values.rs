//! How the small values are read, and what the schema says of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Value as Json, json};

use super::{Cx, Decode, Defs};
use crate::config::diagnostic::Diagnostic;
use crate::config::scalar::{
    BYTES_PATTERN, Bytes, ID_RANGE_PATTERN, IPV4_PATTERN, IdRange, IpRange, MAC_PATTERN,
    MacAddress, NAME_PATTERN, Name, PERCENT_PATTERN, Percent, SECONDS_PATTERN, SECRET_PATTERN,
    ScalarError, Seconds, SecretRef, SecretRefError, SecretSource, Spanned, ZONE_PATTERN, ZoneName,
    parse_mac,
};
use crate::config::yaml::{Node, Value};

/// Reads a text and parses it; both kinds of failure are reported.
pub fn text_value<T: FromStr<Err = ScalarError>>(
    node: &Node,
    cx: &mut Cx<'_>,
    expected: &str,
) -> Option<T> {
    match cx.text(node, expected)?.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            cx.invalid(node, error);
            None
        }
    }
}

impl Decode for bool {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if let Value::Bool(value) = node.value {
            return Some(value);
        }
        cx.wrong_type(node, "`true` or `false`");
        None
    }

    fn schema(_: &mut Defs) -> Json {
        json!({ "type": "boolean" })
    }
}

/// A whole number, also written `2.0`: to JSON Schema that is the same number.
fn integer(node: &Node) -> Option<i128> {
    match node.value {
        Value::Int(value) => Some(i128::from(value)),
        // Beyond this a float no longer names one integer; such numbers are out of every range anyway.
        #[allow(clippy::cast_possible_truncation)]
        Value::Float(value) if value.is_finite() && value.fract() == 0.0 => Some(value as i128),
        Value::Float(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Str(_)
        | Value::Seq(_)
        | Value::Map(_)
        | Value::Invalid => None,
    }
}

fn ranged(node: &Node, cx: &mut Cx<'_>, min: i128, max: i128) -> Option<i128> {
    let Some(value) = integer(node) else {
        cx.wrong_type(node, "a whole number");
        return None;
    };
    if (min..=max).contains(&value) {
        return Some(value);
    }
    let bounds = if value < min { format!("at least {min}") } else { format!("at most {max}") };
    cx.invalid(node, ScalarError::bare(format!("the number must be {bounds}")));
    None
}

macro_rules! integers {
    ($($ty:ty),*) => { $(
        impl Decode for $ty {
            fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
                let max = i128::from(<$ty>::MAX).min(i128::from(i64::MAX));
                let value = ranged(node, cx, i128::from(<$ty>::MIN), max)?;
                <$ty>::try_from(value).ok()
            }

            fn schema(_: &mut Defs) -> Json {
                let max = u64::try_from(<$ty>::MAX).unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs());
                json!({ "type": "integer", "minimum": <$ty>::MIN, "maximum": max })
            }
        }
    )* };
}

integers!(u8, u16, u32, u64, i32, i64);

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Int<const MIN: i64, const MAX: i64>(pub i64);

impl<const MIN: i64, const MAX: i64> Decode for Int<MIN, MAX> {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let value = ranged(node, cx, i128::from(MIN), i128::from(MAX))?;
        i64::try_from(value).ok().map(Self)
    }

    fn schema(_: &mut Defs) -> Json {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

impl Decode for f64 {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match node.value {
            #[allow(clippy::cast_precision_loss)]
            Value::Int(value) => Some(value as Self),
            Value::Float(value) if value.is_finite() => Some(value),
            Value::Float(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Str(_)
            | Value::Seq(_)
            | Value::Map(_)
            | Value::Invalid => {
                cx.wrong_type(node, "a number");
                None
            }
        }
    }

    fn schema(_: &mut Defs) -> Json {
        json!({ "type": "number" })
    }
}

impl Decode for String {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        cx.text(node, "a text").map(str::to_owned)
    }

    fn schema(_: &mut Defs) -> Json {
        json!({ "type": "string" })
    }
}

impl Decode for Arc<str> {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        match &node.value {
            Value::Str(text) => Some(Self::clone(text)),
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Seq(_)
            | Value::Map(_)
            | Value::Invalid => {
                cx.wrong_type(node, "a text");
                None
            }
        }
    }

    fn schema(_: &mut Defs) -> Json {
        json!({ "type": "string" })
    }
}

impl<T: Decode> Decode for Spanned<T> {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        T::decode(node, cx).map(|value| Self::new(value, node.span))
    }

    fn schema(defs: &mut Defs) -> Json {
        T::schema(defs)
    }
}

impl<T: Decode> Decode for Box<T> {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        T::decode(node, cx).map(Self::new)
    }

    fn schema(defs: &mut Defs) -> Json {
        T::schema(defs)
    }
}

impl Decode for Bytes {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        // A bare number is the usual slip, and no quotes would mend it.
        let text = match &node.value {
            Value::Int(count) => count.to_string(),
            Value::Float(count) => count.to_string(),
            Value::Null
            | Value::Bool(_)
            | Value::Str(_)
            | Value::Seq(_)
            | Value::Map(_)
            | Value::Invalid => cx.text(node, "a size such as `4GiB`")?.to_owned(),
        };
        match Self::parse(&text) {
            Ok((size, echo)) => {
                if let Some(echo) = echo {
                    let help = format!("write `{}`", size.compact());
                    cx.push(Diagnostic::warning("short-size", node.span, echo).help(help));
                }
                Some(size)
            }
            Err(error) => {
                cx.invalid(node, error);
                None
            }
        }
    }

    fn schema(defs: &mut Defs) -> Json {
        defs.text(BYTES_PATTERN)
    }
}

impl Decode for Seconds {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if let Value::Int(count) = node.value {
            let error = ScalarError::new(
                format!("the duration {count} has no unit"),
                format!("write `{count}s` or `{count}m`"),
            );
            cx.invalid(node, error);
            return None;
        }
        text_value(node, cx, "a duration such as `90s`")
    }

    fn schema(defs: &mut Defs) -> Json {
        defs.text(SECONDS_PATTERN)
    }
}

impl Decode for Percent {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if let Value::Int(count) = node.value {
            let message = format!("the percentage {count} has no `%`");
            cx.invalid(node, ScalarError::new(message, format!("write `{count}%`")));
            return None;
        }
        text_value(node, cx, "a percentage such as `10%`")
    }

    fn schema(defs: &mut Defs) -> Json {
        defs.text(PERCENT_PATTERN)
    }
}

/// Texts with a parser and a pattern.
macro_rules! texts {
    ($($ty:ty, $expected:literal, $pattern:expr;)*) => { $(
        impl Decode for $ty {
            fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
                text_value(node, cx, $expected)
            }

            fn schema(defs: &mut Defs) -> Json {
                defs.text($pattern)
            }
        }
    )* };
}

texts! {
    Name, "the name of an entry", NAME_PATTERN;
    IdRange, "a range of ids such as `20000-29999`", ID_RANGE_PATTERN;
    IpRange, "a range of addresses such as `10.20.0.50-10.20.0.199`", IP_RANGE_PATTERN;
}

impl Decode for MacAddress {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, "a MAC address such as `BC:24:11:00:00:01`")?;
        parse_mac(text).map_err(|error| cx.invalid(node, error)).ok()
    }

    fn schema(defs: &mut Defs) -> Json {
        defs.text(MAC_PATTERN)
    }
}

const IP_RANGE_PATTERN: &str = "^[0-9A-Fa-f:.]{2,45}-[0-9A-Fa-f:.]{2,45}$";
const IPV6_PATTERN: &str = "^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*$";
const IPV6_NET_PATTERN: &str =
    "^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*/(?:[0-9]|[1-9][0-9]|1[01][0-9]|12[0-8])$";

/// Reads a type of the standard library or of `ipnet`, whose errors do not say what would be right.
fn address<T: FromStr>(node: &Node, cx: &mut Cx<'_>, what: &str, example: &str) -> Option<T> {
    let text = cx.text(node, what)?;
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    let shown: String = text.chars().take(80).collect();
    cx.invalid(
        node,
        ScalarError::new(
            format!("expected {what}, found `{shown}`"),
            format!("write it as `{example}`"),
        ),
    );
    None
}

macro_rules! addresses {
    ($($ty:ty, $what:literal, $example:literal, $schema:expr;)*) => { $(
        impl Decode for $ty {
            fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
                address(node, cx, $what, $example)
            }

            fn schema(defs: &mut Defs) -> Json {
                let schema: fn(&Defs) -> Json = $schema;
                schema(defs)
            }
        }
    )* };
}

addresses! {
    Ipv4Addr, "an IPv4 address", "10.20.0.71", |defs| defs.text(IPV4_PATTERN);
    Ipv6Addr, "an IPv6 address", "2001:db8::71", |defs| defs.text(IPV6_PATTERN);
    IpAddr, "an IP address", "10.20.0.71", |defs| json!({ "anyOf": [defs.text(IPV4_PATTERN), defs.text(IPV6_PATTERN)] });
}

/// Networks are written with their own address: in `10.20.0.7/24` either the address or the length is a slip.
macro_rules! networks {
    ($($ty:ty, $what:literal, $example:literal, $schema:expr;)*) => { $(
        impl Decode for $ty {
            fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
                let net: Self = address(node, cx, $what, $example)?;
                if net.addr() == net.network() {
                    return Some(net);
                }
                let message = format!("`{net}` is an address in a network, not the network");
                cx.invalid(node, ScalarError::new(message, format!("write `{}`", net.trunc())));
                None
            }

            fn schema(defs: &mut Defs) -> Json {
                let schema: fn(&Defs) -> Json = $schema;
                schema(defs)
            }
        }
    )* };
}

fn ipv4_net_pattern() -> String {
    format!("{}/(?:[0-9]|[12][0-9]|3[0-2])$", IPV4_PATTERN.trim_end_matches('$'))
}

networks! {
    Ipv4Net, "an IPv4 network", "10.20.0.0/24", |defs| defs.text(&ipv4_net_pattern());
    Ipv6Net, "an IPv6 network", "2001:db8::/64", |defs| defs.text(IPV6_NET_PATTERN);
    IpNet, "a network", "10.20.0.0/24", |defs| json!({ "anyOf": [defs.text(&ipv4_net_pattern()), defs.text(IPV6_NET_PATTERN)] });
}

/// What dates accept, but for the lengths of months.
const DATE_PATTERN: &str = "^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])$";

impl Decode for jiff::civil::Date {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(node, "a date such as `2027-03-01`")?;
        // The library also reads `20270301` and dates with a time; one form is enough.
        let plain = text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
        match text.parse() {
            Ok(date) if plain => Some(date),
            _ => {
                let message = "expected a date that is in the calendar";
                cx.invalid(node, ScalarError::new(message, "write it as `2027-03-01`"));
                None
            }
        }
    }

    fn schema(defs: &mut Defs) -> Json {
        defs.text(DATE_PATTERN)
    }
}

impl Decode for ZoneName {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        text_value(node, cx, "a time zone such as `Europe/Paris`")
    }

    fn schema(defs: &mut Defs) -> Json {
        defs.text(ZONE_PATTERN)
    }
}

impl Decode for SecretSource {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if matches!(node.value, Value::Invalid) {
            return None;
        }
        let refused = match node.as_str().map(str::parse::<Self>) {
            Some(Ok(source)) => return Some(source),
            Some(Err(error)) => error,
            None => SecretRefError::Plain,
        };
        // The node may hold the secret itself: neither the message nor the snippet may show it.
        cx.mask(node.span);
        let empty = matches!(node.value, Value::Null);
        let (span, message) = if empty {
            (cx.key_span(node), "a secret is missing here".to_owned())
        } else {
            (node.span, refused.to_string())
        };
        cx.push(
            Diagnostic::error("plain-secret", span, message)
                .help("write a reference: `env:NAME`, `file:PATH` or `secret:NAME`"),
        );
        None
    }

    fn schema(defs: &mut Defs) -> Json {
        defs.text(SECRET_PATTERN)
    }
}

super::record! {
    /// A secret with a version that is raised when its value changes.
    struct VersionedSecret {
        /// `env:NAME`, `file:PATH` or `secret:NAME`.
        from: SecretSource,
        /// Compared in place of the value.
        version: Int<1, 4_294_967_295> = Int(1),
    }
}

impl Decode for SecretRef {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        if matches!(node.value, Value::Map(_)) {
            // All of it, since an unknown key may hold what belongs into `from`.
            if node.get("from").is_none() {
                cx.mask(node.span);
            }
            let versioned = VersionedSecret::decode(node, cx)?;
            let version = u32::try_from(versioned.version.0).ok()?;
            return Some(Self { source: versioned.from, version });
        }
        Some(Self { source: SecretSource::decode(node, cx)?, version: 1 })
    }

    fn schema(defs: &mut Defs) -> Json {
        json!({ "anyOf": [SecretSource::schema(defs), VersionedSecret::schema(defs)] })
    }
}

//! What a scalar without quotes means, by the YAML 1.2 core schema, and what older readers would have made of it.

use super::Value;

/// What a plain string would have been to a YAML 1.1 reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    /// `yes`, `no`, `on`, `off`, `y`, `n`.
    Bool(bool),
    /// `0755`.
    Octal,
    /// `1_000`.
    Grouped,
    /// `12:34:56`.
    Sexagesimal,
}

/// Resolves a plain scalar; `None` when it is a string.
pub(super) fn resolve(text: &str) -> Option<Value> {
    // The first byte decides for nearly all strings that they are strings.
    match *text.as_bytes().first()? {
        b'~' if text.len() == 1 => Some(Value::Null),
        b'n' | b'N' if matches!(text, "null" | "Null" | "NULL") => Some(Value::Null),
        b't' | b'T' if matches!(text, "true" | "True" | "TRUE") => Some(Value::Bool(true)),
        b'f' | b'F' if matches!(text, "false" | "False" | "FALSE") => Some(Value::Bool(false)),
        b'0'..=b'9' | b'+' | b'-' | b'.' => number(text),
        _ => None,
    }
}

fn number(text: &str) -> Option<Value> {
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = unsigned.bytes().all(|byte| byte.is_ascii_digit());
    if digits && !unsigned.is_empty() {
        // `0755` is 755 to the core schema and 493 to older readers. Nobody may be surprised either way: it stays text.
        if unsigned.len() > 1 && unsigned.starts_with('0') {
            return None;
        }
        return text.parse().map(Value::Int).ok().or_else(|| text.parse().map(Value::Float).ok());
    }
    match unsigned {
        ".inf" | ".Inf" | ".INF" => Some(Value::Float(if text.starts_with('-') {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        })),
        ".nan" | ".NaN" | ".NAN" if unsigned.len() == text.len() => Some(Value::Float(f64::NAN)),
        _ if is_float(unsigned) => text.parse().map(Value::Float).ok(),
        _ => None,
    }
}

fn radix(digits: &str, radix: u32) -> Option<Value> {
    if digits.is_empty() || !digits.bytes().all(|byte| (byte as char).is_digit(radix)) {
        return None;
    }
    i64::from_str_radix(digits, radix).map(Value::Int).ok()
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_holds =
        all_digits(whole) && all_digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_holds = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    // `007.5` is a number to nobody who reads it.
    let leading_zeros = whole.len() > 1 && whole.starts_with('0');
    mantissa_holds && exponent_holds && !leading_zeros
}

/// What a plain string would have been to a YAML 1.1 reader.
pub(super) fn meant(text: &str) -> Option<Meant> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "yes" | "on" | "y" => return Some(Meant::Bool(true)),
        "no" | "off" | "n" => return Some(Meant::Bool(false)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let starts_with_digit = unsigned.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    let only =
        |extra: &[u8]| unsigned.bytes().all(|byte| byte.is_ascii_digit() || extra.contains(&byte));
    match () {
        () if !starts_with_digit => None,
        () if only(b"") && unsigned.len() > 1 && unsigned.starts_with('0') => Some(Meant::Octal),
        () if unsigned.contains('_') && only(b"_.") => Some(Meant::Grouped),
        () if unsigned.contains(':') && only(b":.") && !unsigned.ends_with(':') => {
            Some(Meant::Sexagesimal)
        }
        () => None,
    }
}

//! Request parameters as the Proxmox VE daemons decode them.

use std::collections::BTreeMap;

use serde_json::Value;

/// Decoded request parameters: every key with all the values it was sent with, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(BTreeMap<String, Vec<String>>);

impl Params {
    /// The value of `key`; the last one when it was repeated.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.last().map(String::as_str)
    }

    /// The value of `key` as list formats see it: repeats joined with a comma.
    #[must_use]
    pub fn joined(&self, key: &str) -> Option<String> {
        self.0.get(key).map(|values| values.join(","))
    }

    /// All values of `key`, in the order sent.
    #[must_use]
    pub fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether `key` was sent, even if empty.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Sets `key` to one value, replacing what was there.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), vec![value.into()]);
    }

    /// Adds one more value to `key`, which makes it a list.
    pub fn append(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.entry(key.into()).or_default().push(value.into());
    }

    /// Removes `key` and gives its values.
    pub fn remove(&mut self, key: &str) -> Option<Vec<String>> {
        self.0.remove(key)
    }

    /// Whether there are no parameters at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keys with all their values, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_slice()))
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Params {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        let mut params = Self::default();
        for (key, value) in pairs {
            params.append(key, value);
        }
        params
    }
}

/// Decodes a query string.
#[must_use]
pub fn decode_query(text: &str) -> Params {
    decode_form(text)
}

/// Decodes a form body with the quirks of the real server: pairs end at `&` and at `;`, and what
/// follows a second raw `=` of a pair is lost.
#[must_use]
pub fn decode_form(text: &str) -> Params {
    let mut params = Params::default();
    for pair in text.split(['&', ';']) {
        let mut halves = pair.split('=');
        let key = unescape(halves.next().unwrap_or_default());
        if key.is_empty() {
            continue;
        }
        params.append(key, unescape(halves.next().unwrap_or_default()));
    }
    params
}

fn unescape(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// Decodes a JSON body: an object of scalars and lists of scalars; a null counts as not sent.
///
/// # Errors
/// When the body is not JSON, not an object, or holds something nested deeper.
pub fn decode_json(body: &[u8]) -> Result<Params, String> {
    let value: Value = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let Value::Object(map) = value else {
        return Err("JSON body is not an object".to_owned());
    };
    let mut params = Params::default();
    for (key, value) in map {
        match value {
            Value::Null => {}
            Value::Array(items) => {
                for item in items {
                    params.append(key.as_str(), scalar(&key, &item)?);
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                params.append(key.as_str(), scalar(&key, &value)?);
            }
        }
    }
    Ok(params)
}

fn scalar(key: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::Bool(true) => Ok("1".to_owned()),
        Value::Bool(false) => Ok("0".to_owned()),
        Value::Number(n) => {
            let text = n.to_string();
            // Perl prints a whole float without its fraction.
            Ok(text.strip_suffix(".0").map_or(text.clone(), str::to_owned))
        }
        Value::String(text) => Ok(text.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(format!("value of '{key}' is neither a scalar nor a list of scalars"))
        }
    }
}

/// Joins body and query parameters; on a clash the query wins.
#[must_use]
pub fn merge(body: Params, query: Params) -> Params {
    let mut merged = body;
    merged.0.extend(query.0);
    merged
}

/// Parameters as JSON: a string per key, or a list of strings for a repeated one.
#[must_use]
pub fn to_json(params: &Params) -> Value {
    let map = params.0.iter().map(|(key, values)| {
        let value = match values.as_slice() {
            [one] => Value::from(one.as_str()),
            many => Value::from(many.to_vec()),
        };
        (key.clone(), value)
    });
    Value::Object(map.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unescaped_separators_break_values() {
        assert_eq!(to_json(&decode_form("tags=a;b")), json!({"tags": "a", "b": ""}));
        assert_eq!(
            to_json(&decode_form("net0=virtio=AA:BB,bridge=vmbr0")),
            json!({"net0": "virtio"})
        );
    }

    #[test]
    fn escaped_values_survive() {
        let sent = "net0=virtio%3DBC%3A24,bridge%3Dvmbr0&tags=a%3Bb&description=a+b%2Bc%26%C3%A9";
        let params = decode_form(sent);
        assert_eq!(params.get("net0"), Some("virtio=BC:24,bridge=vmbr0"));
        assert_eq!(params.get("tags"), Some("a;b"));
        assert_eq!(params.get("description"), Some("a b+c&é"));
    }

    #[test]
    fn empty_and_repeated_keys() {
        let params = decode_form("comment=&delete=a&delete=b&&x");
        assert_eq!(params.get("comment"), Some(""));
        assert_eq!(params.get("x"), Some(""));
        assert_eq!(params.get("delete"), Some("b"));
        assert_eq!(params.joined("delete").as_deref(), Some("a,b"));
        assert_eq!(to_json(&params)["delete"], json!(["a", "b"]));
        assert!(params.contains("comment") && !params.contains(""));
    }

    #[test]
    fn doubly_encoded_keys_keep_their_inner_layer() {
        let params = decode_form("sshkeys=ssh-ed25519%2520AAAA%2520me%2540host%250A");
        assert_eq!(params.get("sshkeys"), Some("ssh-ed25519%20AAAA%20me%40host%0A"));
    }

    #[test]
    fn json_scalars_become_text() {
        let body = br#"{"onboot":true,"kvm":false,"cores":4,"cpulimit":1.5,"shares":2.0,
            "delete":["a","b"],"name":"x","pool":null}"#;
        let params = decode_json(body).unwrap();
        assert_eq!(
            to_json(&params),
            json!({"onboot": "1", "kvm": "0", "cores": "4", "cpulimit": "1.5", "shares": "2",
                "delete": ["a", "b"], "name": "x"})
        );
        assert!(decode_json(b"[1]").is_err());
        assert!(decode_json(br#"{"a":{"b":1}}"#).is_err());
        assert!(decode_json(b"x").is_err());
    }

    #[test]
    fn the_query_wins() {
        let merged = merge(decode_form("a=1&b=2"), decode_query("b=3&c=4"));
        assert_eq!(to_json(&merged), json!({"a": "1", "b": "3", "c": "4"}));
    }
}

//! How paths and parameters are spelt on the way to a cluster.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but the unreserved characters: `=`, `;`, `,`, `+` and `&` are all
/// mangled by the server's form decoder when they are sent bare.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Encodes one segment of a path.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, FORM).to_string()
}

/// Parameters as a query or a form body.
pub(super) fn encode(params: &[(String, String)]) -> String {
    let pairs = params.iter().map(|(name, value)| format!("{}={}", segment(name), segment(value)));
    pairs.collect::<Vec<_>>().join("&")
}

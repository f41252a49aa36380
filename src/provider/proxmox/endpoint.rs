//! Addresses of a cluster, and how parameters are spelt on the way there.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::{fmt, str::FromStr};

/// The port of every Proxmox VE node.
const PORT: u16 = 8006;
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

/// One address of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address; an IPv6 address in brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether TLS is spoken; plain HTTP is for loopback only.
    pub https: bool,
}

/// A text that is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an endpoint like `https://pve1.example:8006`")]
pub struct NotAnEndpoint(pub String);

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    /// `https://host:port`; the scheme may be left out, the port defaults to 8006.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NotAnEndpoint(text.to_owned());
        let (https, rest) = match text.trim().split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => return Err(wrong()),
            None => (true, text.trim()),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong())?)
            }
            _ => (rest, PORT),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let good = match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(plain),
        };
        if good { Ok(Self { host: host.to_ascii_lowercase(), port, https }) } else { Err(wrong()) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_nothing_else_is() {
        let read = |text: &str| text.parse::<Endpoint>().map(|it| it.to_string()).ok();
        let https = |rest: &str| Some(format!("https://{rest}"));
        assert_eq!(read("https://PVE1.example:443/"), https("pve1.example:443"));
        assert_eq!(read("pve1.example"), https("pve1.example:8006"));
        assert_eq!(read("https://[::1]"), https("[::1]:8006"));
        assert_eq!(read("http://127.0.0.1:80"), Some("http://127.0.0.1:80".into()));
        for text in ["", "ftp://x", "https://a@b", "https://a/b", "a:x", "https://", "[zz]"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}

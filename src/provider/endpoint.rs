//! The address of a hypervisor.

use std::fmt;

/// Where one hypervisor answers.
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
#[error("`{text}` is not an endpoint like `https://hypervisor.example:{port}`")]
pub struct NotAnEndpoint {
    /// What was written.
    pub text: String,
    /// The port that the product has when none is written.
    pub port: u16,
}

impl Endpoint {
    /// `https://host:port`; the scheme may be left out, and the port, which is then
    /// `default`. A path is not part of it.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn parse(text: &str, default: u16) -> Result<Self, NotAnEndpoint> {
        let wrong = || NotAnEndpoint { text: text.to_owned(), port: default };
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
            _ => (rest, default),
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
        let read = |text: &str| Endpoint::parse(text, 8006).map(|it| it.to_string()).ok();
        let https = |rest: &str| Some(format!("https://{rest}"));
        assert_eq!(read("https://PVE1.example:443/"), https("pve1.example:443"));
        assert_eq!(read("pve1.example"), https("pve1.example:8006"));
        assert_eq!(read("https://[::1]"), https("[::1]:8006"));
        assert_eq!(read("http://127.0.0.1:80"), Some("http://127.0.0.1:80".into()));
        for text in ["", "ftp://x", "https://a@b", "https://a/sdk", "a:x", "https://", "[zz]"] {
            assert_eq!(read(text), None, "{text}");
        }
        let error = Endpoint::parse("ftp://x", 443).unwrap_err();
        assert!(error.to_string().ends_with("`https://hypervisor.example:443`"), "{error}");
    }
}

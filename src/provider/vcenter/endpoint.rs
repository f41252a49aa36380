//! The address of a vCenter.

use std::{fmt, str::FromStr};

const PORT: u16 = 443;

/// Where one vCenter answers.
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
#[error("`{0}` is not an endpoint like `https://vcenter.example`")]
pub struct NotAnEndpoint(pub String);

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    /// `https://host:port`; the scheme may be left out, the port defaults to 443. The path
    /// of the service is always the same and is not part of it.
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
        assert_eq!(read("https://VC.example:8443/"), https("vc.example:8443"));
        assert_eq!(read("vc.example"), https("vc.example:443"));
        assert_eq!(read("https://[::1]"), https("[::1]:443"));
        assert_eq!(read("http://127.0.0.1:80"), Some("http://127.0.0.1:80".into()));
        for text in ["", "ftp://x", "https://a@b", "https://a/sdk", "a:x", "https://", "[zz]"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}

//! A host and port, spelt so that two spellings of one place are equal.

use std::{fmt, net::IpAddr, str::FromStr};

/// Where a hypervisor is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Lower-case name without a final dot, or an address without brackets.
    host: String,
    /// TCP port.
    port: u16,
}

/// A text that is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEndpoint {
    /// Not `HOST:PORT`.
    #[error("expected `HOST:PORT`, like `pve1.example.net:8006` or `[2001:db8::1]:8006`")]
    Form,
    /// Not an `https` URL of host and port.
    #[error("expected a URL like `https://pve1.example.net:8006`")]
    Url,
    /// A URL with a user or password in it, which would be sent to the host.
    #[error("a URL must not hold a user or a password")]
    Credentials,
}

impl Endpoint {
    /// The endpoint of a URL, read by the same parser that the client uses: a host
    /// that two parsers read differently could be judged as one and called as another.
    ///
    /// # Errors
    /// When it is not `https`, names no host, or holds credentials.
    pub fn of_url(text: &str) -> Result<Self, NotAnEndpoint> {
        let url = reqwest::Url::parse(text).map_err(|_| NotAnEndpoint::Url)?;
        if url.scheme() != "https" {
            return Err(NotAnEndpoint::Url);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(NotAnEndpoint::Credentials);
        }
        let host = url.host_str().ok_or(NotAnEndpoint::Url)?;
        let port = url.port_or_known_default().ok_or(NotAnEndpoint::Url)?;
        Self::new(host, port).ok_or(NotAnEndpoint::Url)
    }

    /// An endpoint from its parts; `None` when the host is empty or no host.
    pub fn new(host: &str, port: u16) -> Option<Self> {
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Some(Self { host: address.to_string(), port });
        }
        let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        (!name.is_empty() && name.chars().all(sound)).then_some(Self { host: name, port })
    }

    /// The host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is this machine. Only by address or the one reserved name: any
    /// other name is whatever DNS says at the moment.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or(NotAnEndpoint::Form)?;
        // `::1` would read as host `:` and port 1.
        if host.contains(':') && !host.starts_with('[') {
            return Err(NotAnEndpoint::Form);
        }
        let port = port.parse().map_err(|_| NotAnEndpoint::Form)?;
        Self::new(host, port).ok_or(NotAnEndpoint::Form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_place_are_equal() {
        let same = ["https://PVE1.Example.net.:8006", "https://pve1.example.net:8006/api2/json"];
        let wanted: Endpoint = "pve1.example.net:8006".parse().unwrap();
        for url in same {
            assert_eq!(Endpoint::of_url(url).unwrap(), wanted, "{url}");
        }
        assert_eq!(Endpoint::of_url("https://[0:0::1]:443").unwrap(), "[::1]:443".parse().unwrap());
        assert_eq!(Endpoint::of_url("https://vc.example").unwrap().port(), 443);
    }

    #[test]
    fn a_host_behind_credentials_is_not_taken_for_the_one_before_them() {
        let error =
            Endpoint::of_url("https://pve1.example.net:8006@evil.example:8006").unwrap_err();
        assert_eq!(error, NotAnEndpoint::Credentials);
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for inside in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"] {
            assert!(inside.parse::<Endpoint>().unwrap().is_loopback(), "{inside}");
        }
        for outside in
            ["localhost.evil.example:1", "127.0.0.1.nip.io:1", "10.0.0.1:1", "[::ffff:10.0.0.1]:1"]
        {
            assert!(!outside.parse::<Endpoint>().unwrap().is_loopback(), "{outside}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for wrong in ["pve1", "pve1:", ":8006", "::1", "pve1:99999", "pve 1:80", "a/b:80"] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
        }
        assert!(Endpoint::of_url("http://pve1:8006").is_err());
    }
}

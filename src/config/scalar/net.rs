//! MAC addresses and ranges of IP addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{MacAddress, ScalarError};

/// What [`parse_mac`] accepts. The second digit is even: odd ones are multicast.
pub const MAC_PATTERN: &str =
    "^[0-9A-Fa-f][02468ACEace](?:(?::[0-9A-Fa-f]{2}){5}|(?:-[0-9A-Fa-f]{2}){5})$";

/// Reads the address of one station as people write it: one kind of separator, not multicast.
pub fn parse_mac(text: &str) -> Result<MacAddress, ScalarError> {
    let one_separator = !(text.contains('+') || text.contains('-') && text.contains(':'));
    let Some(mac) = text.parse::<MacAddress>().ok().filter(|_| one_separator) else {
        let message = format!("expected a MAC address, found `{text}`");
        return Err(ScalarError::new(message, "write it as `BC:24:11:00:00:01`"));
    };
    if mac.0[0] & 1 == 1 {
        let message = format!("`{text}` is a multicast address, no NIC can have it");
        return Err(ScalarError::new(message, "the second digit must be even"));
    }
    Ok(mac)
}

/// An IPv4 address, without leading zeros, as the standard library reads it.
pub const IPV4_PATTERN: &str = "^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])[.]){3}\
     (?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$";

/// Addresses `first-last` of one family, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IpRange {
    /// Lowest.
    pub first: IpAddr,
    /// Highest.
    pub last: IpAddr,
}

impl IpRange {
    /// Whether an address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && self.first <= address && address <= self.last
    }

    /// How many addresses it has.
    pub fn len(&self) -> u128 {
        match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                u128::from(last.to_bits() - first.to_bits()) + 1
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                (last.to_bits() - first.to_bits()).saturating_add(1)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
        }
    }

    /// Never: both ends belong to it.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The address `index` places after the first one.
    pub fn nth(&self, index: u128) -> Option<IpAddr> {
        if index >= self.len() {
            return None;
        }
        match self.first {
            IpAddr::V4(first) => {
                let offset = u32::try_from(index).ok()?;
                first.to_bits().checked_add(offset).map(|bits| IpAddr::V4(bits.into()))
            }
            IpAddr::V6(first) => {
                first.to_bits().checked_add(index).map(|bits| IpAddr::V6(bits.into()))
            }
        }
    }
}

impl FromStr for IpRange {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let ends = text
            .split_once('-')
            .and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        let Some((first, last)): Option<(IpAddr, IpAddr)> = ends else {
            let message = format!("expected a range of addresses, found `{text}`");
            return Err(ScalarError::new(message, "write `10.20.0.50-10.20.0.199`"));
        };
        if first.is_ipv4() != last.is_ipv4() {
            return Err(ScalarError::bare(format!("the range `{text}` mixes IPv4 and IPv6")));
        }
        if first > last {
            let message = format!("the range `{text}` ends before it begins");
            return Err(ScalarError::new(message, format!("write `{last}-{first}`")));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

//! First-boot documents read back.

use super::HEAD;
use crate::model::{InitSpec, IpSetting, MacAddress};
use serde_json::{Map, Value as Json};
use std::{collections::BTreeMap, net::IpAddr};

/// Documents of ours are a few kilobytes; products refuse more than this.
const DOCUMENT_MAX: usize = 512 * 1024;

/// What a machine was seeded with, as far as its documents tell. A password they tell of
/// only as a hash, which is not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenInit {
    /// Names, user, keys and resolvers.
    pub init: InitSpec,
    /// Addresses and gateways by hardware address.
    pub by_mac: BTreeMap<MacAddress, (IpSetting, Option<IpAddr>)>,
}

/// What documents say that `documents` wrote; `None` for any others, which may say more
/// than can be told here.
pub fn read(metadata: &str, userdata: &str) -> Option<SeenInit> {
    if metadata.len().max(userdata.len()) > DOCUMENT_MAX {
        return None;
    }
    // The parser bounds its own depth.
    let meta: Map<String, Json> = serde_json::from_str(metadata).ok()?;
    let user: Map<String, Json> = serde_json::from_str(userdata.strip_prefix(HEAD)?).ok()?;
    if !meta.get("instance-id")?.as_str()?.starts_with("nh-") {
        return None;
    }
    let mut seen = SeenInit::default();
    seen.init.hostname = Some(meta.get("local-hostname")?.as_str()?.to_owned());
    match user.get("user") {
        Some(named) => {
            seen.init.user = Some(named.get("name")?.as_str()?.to_owned());
            seen.init.ssh_keys = optional(named.get("ssh_authorized_keys"), texts)?;
        }
        None => seen.init.ssh_keys = optional(user.get("ssh_authorized_keys"), texts)?,
    }
    match meta.get("network") {
        Some(network) => read_network(network, &mut seen)?,
        None => {
            if let Some(resolvers) = user.get("resolv_conf") {
                read_resolvers(resolvers, ["nameservers", "searchdomains"], &mut seen.init)?;
            }
        }
    }
    Some(seen)
}

/// Nothing is `Some(None)`; something that cannot be read is `None`.
fn optional<T>(value: Option<&Json>, read: impl Fn(&Json) -> Option<T>) -> Option<Option<T>> {
    value.map(read).map_or(Some(None), |it| it.map(Some))
}

fn texts(value: &Json) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|it| it.as_str().map(str::to_owned)).collect()
}

fn parsed<T: std::str::FromStr>(value: &Json) -> Option<T> {
    value.as_str()?.parse().ok()
}

fn read_network(network: &Json, seen: &mut SeenInit) -> Option<()> {
    let cards = network.get("ethernets")?.as_object()?;
    for card in cards.values() {
        // Each card has the same resolvers.
        if let Some(resolvers) = card.get("nameservers") {
            read_resolvers(resolvers, ["addresses", "search"], &mut seen.init)?;
        }
        let Some(named) = card.get("match") else { continue };
        let mac: MacAddress = parsed(named.get("macaddress")?)?;
        let gateway = optional(card.get("routes"), |routes| parsed(routes.get(0)?.get("via")?))?;
        seen.by_mac.insert(mac, (address(card)?, gateway));
    }
    Some(())
}

fn address(card: &Json) -> Option<IpSetting> {
    if card.get("dhcp4")?.as_bool()? {
        return Some(IpSetting::Dhcp);
    }
    let Some(addresses) = card.get("addresses") else { return Some(IpSetting::None) };
    let (address, prefix) = addresses.get(0)?.as_str()?.split_once('/')?;
    Some(IpSetting::Static { address: address.parse().ok()?, prefix: prefix.parse().ok()? })
}

fn read_resolvers(from: &Json, [addresses, search]: [&str; 2], init: &mut InitSpec) -> Option<()> {
    let all = |value: &Json| value.as_array()?.iter().map(parsed).collect();
    init.dns = optional(from.get(addresses), all)?;
    init.domain = optional(from.get(search), |it| it.get(0)?.as_str().map(str::to_owned))?;
    Some(())
}

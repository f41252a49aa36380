//! First-boot documents for cloud-init, as products hand them over that generate none
//! themselves: metadata with the network, and user data.
//!
//! Both are canonical JSON, which cloud-init reads as YAML: equal declarations give equal
//! bytes, and what was written can be read back and compared. The instance id is a digest
//! of all the rest, so that a guest configures itself anew when, and only when, something
//! differs. What the documents ask for is what Proxmox VE's own ask for, so that a
//! declaration means the same on all products: the declared user takes the place of the
//! image's default user and keeps that one's groups, shell and sudo rule, and no packages
//! are upgraded.

use crate::model::{IpSetting, MacAddress, Seed, SeedNic, canonical_json, hex};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use sha_crypt::{Algorithm, Params, PasswordHasher, ShaCrypt};
use sha2::{Digest, Sha256};
use std::{fmt::Write as _, net::IpAddr};
use uuid::Uuid;

mod read;

pub use read::{SeenInit, read};

/// The first line of user data, which says what it is.
const HEAD: &str = "#cloud-config\n";
/// Digits of the digest in the instance id.
const ID_DIGITS: usize = 16;
/// Bytes of a salt before encoding: they make the 16 characters that the scheme takes.
const SALT_BYTES: usize = 12;

/// The two documents of one machine.
#[derive(Clone, PartialEq, Eq)]
pub struct Documents {
    /// Instance id, host name and network.
    pub metadata: String,
    /// User, keys and names. May hold the hash of a password.
    pub userdata: String,
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Documents");
        shown.field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

/// The documents that say what the seed says.
///
/// `hostname_fallback` is the host name of a seed that has none. `password_hash` is a
/// crypt hash, never a password. A card is found by its hardware address; one without is
/// taken to be called in the guest as it is here.
pub fn documents(seed: &Seed, hostname_fallback: &str, password_hash: Option<&str>) -> Documents {
    let hostname = seed.init.hostname.as_deref().unwrap_or(hostname_fallback);
    let network = network(seed);
    let userdata = format!("{HEAD}{}", text_of(&userdata(seed, hostname, password_hash)));
    let network_text = network.as_ref().map(text_of).unwrap_or_default();
    let mut id = hex(&Sha256::digest(format!("{userdata}{network_text}")));
    id.truncate(ID_DIGITS);
    let mut metadata = Map::new();
    metadata.insert("instance-id".into(), json!(format!("nh-{id}")));
    metadata.insert("local-hostname".into(), json!(hostname));
    if let Some(network) = network {
        metadata.insert("network".into(), network);
    }
    Documents { metadata: text_of(&metadata), userdata }
}

/// A password as guests keep it (SHA-512 crypt). The salt is derived from the machine and
/// the user: equal inputs give equal documents, and no two machines share one.
///
/// # Errors
/// When the hash cannot be made.
pub fn sha512_crypt(
    machine: Uuid,
    user: &str,
    password: &str,
) -> Result<String, sha_crypt::password_hash::Error> {
    let salt = Sha256::digest(format!("novahost first-boot salt\n{machine}\n{user}"));
    let crypt = ShaCrypt::new(Algorithm::Sha512Crypt, Params::RECOMMENDED);
    let hash = crypt.hash_password_with_salt(password.as_bytes(), &salt[..SALT_BYTES])?;
    Ok(hash.as_str().to_owned())
}

/// User data, as `Cloudinit.pm` of qemu-server has it.
fn userdata(seed: &Seed, hostname: &str, password_hash: Option<&str>) -> Map<String, Json> {
    let init = &seed.init;
    let mut data = Map::new();
    let mut put = |key: &str, value: Json| drop(data.insert(key.to_owned(), value));
    let (label, is_full) = match hostname.split_once('.') {
        Some((label, _)) => (label, true),
        None => (hostname, false),
    };
    put("hostname", json!(label));
    put("manage_etc_hosts", json!(true));
    match &init.domain {
        _ if is_full => put("fqdn", json!(hostname)),
        Some(domain) => put("fqdn", json!(format!("{label}.{domain}"))),
        None => {}
    }
    put("chpasswd", json!({ "expire": false }));
    match init.user.as_deref() {
        Some(user) => {
            put("user", named_user(user, init.ssh_keys.as_deref(), password_hash));
            if user == "root" {
                put("disable_root", json!(false));
            }
        }
        None => {
            // Without a name both go to the image's default user.
            if let Some(keys) = &init.ssh_keys {
                put("ssh_authorized_keys", json!(keys));
            }
            if let Some(hash) = password_hash {
                put("password", json!(hash));
            }
        }
    }
    if init.user.as_deref() != Some("root") {
        put("users", json!(["default"]));
    }
    if !has_network(seed)
        && let Some(resolvers) = resolvers(seed)
    {
        put("manage_resolv_conf", json!(true));
        put("resolv_conf", resolvers.for_resolv_conf());
    }
    data
}

/// `user` as a mapping lies over the image's default user: what it does not say stays.
fn named_user(name: &str, keys: Option<&[String]>, password_hash: Option<&str>) -> Json {
    let mut user = Map::new();
    user.insert("name".into(), json!(name));
    if let Some(keys) = keys {
        user.insert("ssh_authorized_keys".into(), json!(keys));
    }
    if let Some(hash) = password_hash {
        // Set also where the user exists; and a user is locked unless told otherwise.
        user.insert("hashed_passwd".into(), json!(hash));
        user.insert("lock_passwd".into(), json!(false));
    }
    Json::Object(user)
}

/// Resolvers and search domain. In the network document each card has its own; a machine
/// that hands over no network leaves them to the distributions that manage
/// `resolv.conf`, and there they can be read back all the same.
struct Resolvers<'a> {
    addresses: Option<&'a [IpAddr]>,
    search: Option<&'a str>,
}

impl Resolvers<'_> {
    fn map(&self, addresses: &str, search: &str) -> Json {
        let mut map = Map::new();
        if let Some(all) = self.addresses {
            map.insert(addresses.to_owned(), json!(all));
        }
        if let Some(domain) = self.search {
            map.insert(search.to_owned(), json!([domain]));
        }
        Json::Object(map)
    }

    fn for_card(&self) -> Json {
        self.map("addresses", "search")
    }

    fn for_resolv_conf(&self) -> Json {
        self.map("nameservers", "searchdomains")
    }
}

fn resolvers(seed: &Seed) -> Option<Resolvers<'_>> {
    let (addresses, search) = (seed.init.dns.as_deref(), seed.init.domain.as_deref());
    (addresses.is_some() || search.is_some()).then_some(Resolvers { addresses, search })
}

fn has_network(seed: &Seed) -> bool {
    !seed.nics.is_empty()
}

/// The network in version 2 of its format; `None` leaves it to the image.
fn network(seed: &Seed) -> Option<Json> {
    if !has_network(seed) {
        return None;
    }
    let resolvers = resolvers(seed);
    let card = |nic: &SeedNic| {
        let mut card = addresses(nic);
        if let Some(resolvers) = &resolvers {
            card.insert("nameservers".into(), resolvers.for_card());
        }
        Json::Object(card)
    };
    let ethernets: Map<String, Json> =
        seed.nics.iter().map(|(name, nic)| (name.to_string(), card(nic))).collect();
    Some(json!({ "version": 2, "ethernets": ethernets }))
}

fn addresses(nic: &SeedNic) -> Map<String, Json> {
    let mut card = Map::new();
    if let Some(mac) = nic.mac {
        card.insert("match".into(), json!({ "macaddress": lower_case(mac) }));
    }
    card.insert("dhcp4".into(), json!(nic.ip == IpSetting::Dhcp));
    if let IpSetting::Static { address, prefix } = nic.ip {
        card.insert("addresses".into(), json!([format!("{address}/{prefix}")]));
    }
    if let Some(gateway) = nic.gateway {
        // `default` is not known to older releases.
        let to = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        card.insert("routes".into(), json!([{ "to": to, "via": gateway }]));
    }
    card
}

/// Guests compare hardware addresses as text, in lower case.
fn lower_case(mac: MacAddress) -> String {
    mac.to_string().to_ascii_lowercase()
}

/// Canonical JSON that is YAML too. The two differ in a few characters only, which JSON
/// may hold as they are, and which YAML takes for line breaks or refuses.
fn text_of<T: Serialize>(document: &T) -> String {
    // Maps by text, texts, lists, booleans and a version.
    #[allow(clippy::expect_used, reason = "no document of ours holds a fraction")]
    let json = canonical_json(document).expect("first-boot documents have canonical JSON");
    let mut yaml = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '\u{7f}'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                let _ = write!(yaml, "\\u{:04x}", u32::from(letter));
            }
            letter => yaml.push(letter),
        }
    }
    yaml
}

#[cfg(test)]
mod tests;

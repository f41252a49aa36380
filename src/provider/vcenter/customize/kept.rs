//! Descriptions of guests that the vCenter keeps: whether one can be used, and how it is
//! fitted to one machine.
//!
//! What is kept is sent back as it was read, but for what a machine says of itself: its
//! name, where it declares one, and its cards, of which there must be an entry each.

use super::spec::{adapter, by_dhcp, fixed_name, mapping};
use crate::{
    model::{GuestOs, KeptSetup, SeedNic, Told},
    provider::vcenter::vim::{Node, Val},
};

/// What of a description is read to be used: the answer to `GetCustomizationSpec`.
pub(in super::super) fn setup(item: &Node, own_key: Option<&str>) -> KeptSetup {
    let os = match item.word_at("info.type") {
        Some("Windows") => Some(GuestOs::Windows),
        Some("Linux") => Some(GuestOs::Linux),
        Some(_) | None => None,
    };
    KeptSetup { os, unfit: unfit(item, own_key) }
}

/// Why it cannot be used. Its passwords are encrypted with the key of the vCenter that it
/// was written on, and no other one can read them.
fn unfit(item: &Node, own_key: Option<&str>) -> Option<String> {
    let spec = item.child("spec")?;
    let identity = spec.child("identity")?;
    match identity.data_type.as_deref() {
        Some("CustomizationSysprep" | "CustomizationLinuxPrep") => {}
        Some(other) => return Some(format!("its identity is a `{other}`, which is not fitted")),
        None => return Some("it does not say whom it sets up".to_owned()),
    }
    let passwords = ["guiUnattended.password", "identification.domainAdminPassword", "password"];
    let encrypted = passwords
        .iter()
        .filter_map(|path| identity.at(path))
        .any(|password| password.bool_at("plainText") != Some(true));
    let key = key_text(spec.all("encryptionKey"));
    let foreign = encrypted && key.is_some() && key.as_deref() != own_key;
    foreign.then(|| {
        "its passwords were encrypted by another vCenter: type them in again on this one".to_owned()
    })
}

/// A key as it came: in one element, or a byte in each.
pub(in super::super) fn key_text<'a>(elements: impl Iterator<Item = &'a Node>) -> Option<String> {
    let mut parts = Vec::new();
    for element in elements {
        match element.children.as_slice() {
            [] => parts.push(element.text.trim().to_owned()),
            bytes => parts.extend(bytes.iter().map(|it| it.text.trim().to_owned())),
        }
    }
    (!parts.is_empty()).then(|| parts.join(","))
}

/// The description for one machine.
///
/// # Errors
/// In words, when the description cannot be given the machine's name.
pub(super) fn fitted(
    item: &Node,
    told: &Told,
    machine: &str,
    cards: &[Option<&SeedNic>],
) -> Result<Val, String> {
    let spec = item.child("spec").ok_or("the description was read without its text")?;
    let adapters: Vec<&Node> =
        spec.all("nicSettingMap").filter_map(|entry| entry.child("adapter")).collect();
    let one = |(index, card): (usize, &Option<&SeedNic>)| match (card, adapters.get(index)) {
        (Some(card), _) => adapter(card, told),
        (None, Some(adapter)) if says_address(adapter) => echo(adapter),
        (None, Some(_) | None) => by_dhcp(told),
    };
    let map = Val::arr(cards.iter().enumerate().map(one).map(mapping));
    let identity = spec.child("identity").ok_or("the description sets nobody up")?;
    let identity = named(identity, told.hostname.as_deref(), machine)?;
    let global = global(spec.child("globalIPSettings"), told);
    let keys = spec.all("encryptionKey").map(echo);
    Ok(Val::obj("CustomizationSpec")
        .with_some("options", spec.child("options").map(echo))
        .with("identity", identity)
        .with("globalIPSettings", global)
        .with("nicSettingMap", map)
        .with("encryptionKey", Val::arr(keys)))
}

/// Whether an entry says where an address comes from; others wait for a person or a
/// program to say it.
fn says_address(adapter: &Node) -> bool {
    let ip = adapter.child("ip").and_then(|ip| ip.data_type.as_deref());
    matches!(ip, Some("CustomizationDhcpIpGenerator" | "CustomizationFixedIp"))
}

/// What all cards share: resolvers of Linux guests, and suffixes.
fn global(kept: Option<&Node>, told: &Told) -> Val {
    let texts = |name: &'static str| {
        let all = kept.into_iter().flat_map(move |it| it.all(name));
        all.map(|it| it.text.clone()).collect::<Vec<_>>()
    };
    let or = |kept: Vec<String>, own: Vec<String>| if own.is_empty() { kept } else { own };
    let own = told.dns.iter().flatten().map(ToString::to_string).collect();
    let suffixes = or(texts("dnsSuffixList"), told.domain.iter().cloned().collect());
    Val::obj("CustomizationGlobalIPSettings")
        .with("dnsSuffixList", Val::arr(suffixes))
        .with("dnsServerList", Val::arr(or(texts("dnsServerList"), own)))
}

/// The identity, with the name that the machine declares; where the description asks for
/// one, the machine's own.
fn named(identity: &Node, hostname: Option<&str>, machine: &str) -> Result<Val, String> {
    let (whole, field) = match identity.data_type.as_deref() {
        Some("CustomizationSysprep") => ("userData", "computerName"),
        Some("CustomizationLinuxPrep") => ("", "hostName"),
        other => return Err(format!("`{}` cannot be fitted", other.unwrap_or("it"))),
    };
    let holder = if whole.is_empty() { Some(identity) } else { identity.child(whole) };
    let asks = holder
        .and_then(|it| it.child(field))
        .is_none_or(|it| it.data_type.as_deref() == Some("CustomizationUnknownName"));
    let Some(name) = hostname.or(asks.then_some(machine)) else { return Ok(echo(identity)) };
    if whole == "userData"
        && let Some(why) = super::check::computer_name(name)
    {
        return Err(format!("`{name}` {why}: set `hostname:` below `init:`"));
    }
    let mut value = echo(identity);
    let slot = match whole {
        "" => Some(&mut value),
        whole => field_of(&mut value, whole),
    };
    let slot = slot.and_then(|holder| field_of(holder, field));
    *slot.ok_or("the description has no place for a name")? = fixed_name(name);
    Ok(value)
}

fn field_of<'a>(value: &'a mut Val, name: &str) -> Option<&'a mut Val> {
    let Val::Obj { fields, .. } = value else { return None };
    fields.iter_mut().find(|(field, _)| field == name).map(|(_, value)| value)
}

/// What was read, as it is sent back. Passwords and keys are encrypted, and shown to nobody
/// all the same. An object without fields keeps its type.
fn echo(node: &Node) -> Val {
    const HIDDEN: [&str; 4] = ["password", "domainAdminPassword", "productId", "encryptionKey"];
    let hides = HIDDEN.contains(&node.name.as_str());
    let is_object = node.data_type.as_deref().is_some_and(|it| it.starts_with("Customization"));
    if node.children.is_empty() && !is_object {
        return match hides && !node.text.is_empty() {
            true => Val::secret(node.text.clone().into()),
            false => Val::Str(node.text.clone()),
        };
    }
    let one = |child: &Node| {
        let value = match hides && child.name == "value" {
            true => Val::secret(child.text.clone().into()),
            false => echo(child),
        };
        (child.name.clone().into(), value)
    };
    let type_name = node.data_type.clone().unwrap_or_default().into();
    Val::Obj { type_name, fields: node.children.iter().map(one).collect() }
}

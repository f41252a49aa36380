//! Named formats and patterns.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::access::valid_privilege;
use super::super::text;
use super::Release;

type Verdict = Result<(), String>;

fn verdict(good: bool, text: impl FnOnce() -> String) -> Verdict {
    if good { Ok(()) } else { Err(text()) }
}

fn looks_like(good: bool, what: &str) -> Verdict {
    verdict(good, || format!("value does not look like a valid {what}"))
}

fn all(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(allowed)
}

fn digits(text: &str) -> bool {
    all(text, |b| b.is_ascii_digit())
}

fn hex(text: &str, length: usize) -> bool {
    text.len() == length && all(text, |b| b.is_ascii_hexdigit())
}

/// A word of letters, digits, dots, dashes and underscores.
fn is_word(text: &str) -> bool {
    all(text, |b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
}

fn is_realm(text: &str) -> bool {
    text.len() > 1 && text.starts_with(|c: char| c.is_ascii_alphabetic()) && is_word(text)
}

fn is_user(text: &str) -> bool {
    // The name itself may hold an @, so the realm starts after the last one.
    text.rsplit_once('@').is_some_and(|(name, realm)| {
        !name.is_empty()
            && !name.contains(|c: char| c.is_whitespace() || c == ':' || c == '/')
            && is_realm(realm)
    })
}

fn is_token(text: &str) -> bool {
    text.rsplit_once('!').is_some_and(|(user, token)| is_user(user) && is_realm(token))
}

fn is_storage(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && is_word(text)
}

pub(super) fn vmid(value: &str, _: Release) -> Verdict {
    let good = (3..=9).contains(&value.len()) && digits(value) && !value.starts_with('0');
    looks_like(good, "VM ID")
}

pub(super) fn node(value: &str, _: Release) -> Verdict {
    looks_like(text::valid_node_name(value), "node name")
}

pub(super) fn config_id(value: &str, _: Release) -> Verdict {
    let good = value.len() > 1
        && value.starts_with(|c: char| c.is_ascii_alphabetic())
        && all(value, |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    verdict(good, || format!("invalid configuration ID '{value}'"))
}

pub(super) fn storage(value: &str, _: Release) -> Verdict {
    verdict(is_storage(value), || format!("storage ID '{value}' contains illegal characters"))
}

pub(super) fn storage_pair(value: &str, release: Release) -> Verdict {
    let bad = |entry: &str, why: &str| format!("entry '{entry}' contains invalid ID - {why}\n\n");
    if value == "1" {
        return Ok(());
    }
    let check = |id: &str| storage(id, release).map_err(|why| bad(value, &why));
    match value.split_once(':') {
        Some((from, to)) if !to.contains(':') => check(from).and_then(|()| check(to)),
        _ => check(value),
    }
}

pub(super) fn bridge(value: &str, _: Release) -> Verdict {
    let good = !value.is_empty()
        && value.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'));
    verdict(good, || format!("invalid bridge ID '{value}'"))
}

pub(super) fn mac(value: &str, _: Release) -> Verdict {
    let good = value.len() == 17
        && value.split(':').count() == 6
        && value.split(':').all(|part| hex(part, 2))
        // The low bit of the first byte marks a multicast address.
        && value.as_bytes().get(1).is_some_and(|b| b"02468aceACE".contains(b));
    looks_like(good, "unicast MAC address")
}

fn is_ipv4(value: &str) -> bool {
    value.parse::<Ipv4Addr>().is_ok()
}

fn is_ipv6(value: &str) -> bool {
    value.parse::<Ipv6Addr>().is_ok()
}

pub(super) fn ipv4(value: &str, _: Release) -> Verdict {
    looks_like(is_ipv4(value), "IPv4 address")
}

pub(super) fn ipv6(value: &str, _: Release) -> Verdict {
    looks_like(is_ipv6(value), "IPv6 address")
}

fn is_network(value: &str, address: fn(&str) -> bool, longest: u8) -> bool {
    value.split_once('/').is_some_and(|(host, length)| {
        address(host) && digits(length) && length.parse::<u8>().is_ok_and(|n| n > 7 && n <= longest)
    })
}

pub(super) fn cidr(value: &str, _: Release) -> Verdict {
    let good = is_network(value, is_ipv4, 32) || is_network(value, is_ipv6, 128);
    looks_like(good, "CIDR network")
}

pub(super) fn ipv4_config(value: &str, _: Release) -> Verdict {
    let good = matches!(value, "dhcp" | "manual") || is_network(value, is_ipv4, 32);
    looks_like(good, "ipv4 network configuration")
}

pub(super) fn ipv6_config(value: &str, _: Release) -> Verdict {
    let good = matches!(value, "auto" | "dhcp" | "manual") || is_network(value, is_ipv6, 128);
    looks_like(good, "ipv6 network configuration")
}

pub(super) fn dns_name(value: &str, _: Release) -> Verdict {
    looks_like(text::valid_dns_name(value), "DNS name")
}

pub(super) fn address(value: &str, _: Release) -> Verdict {
    let good = is_ipv4(value) || is_ipv6(value) || text::valid_dns_name(value);
    verdict(good, || format!("value does not look like a valid address: {value}"))
}

pub(super) fn disk_size(value: &str, _: Release) -> Verdict {
    let good = super::propstring::size_to_bytes(value).is_some();
    verdict(good, || format!("value does not look like a valid disk size: {value}"))
}

pub(super) fn urlencoded(value: &str, _: Release) -> Verdict {
    verdict(text::is_urlencoded(value), || format!("invalid urlencoded string: {value}"))
}

pub(super) fn tag(value: &str, _: Release) -> Verdict {
    verdict(text::valid_tag(value), || "invalid characters in tag".to_owned())
}

pub(super) fn startup(value: &str, _: Release) -> Verdict {
    let good = !value.is_empty()
        && value != "0"
        && value.split(',').filter(|part| !part.trim().is_empty()).all(|part| {
            ["order=", "up=", "down=", ""]
                .iter()
                .any(|key| part.strip_prefix(key).is_some_and(digits))
        });
    // A lone 0 is false to Perl and taken for nothing.
    verdict(good, || "unable to parse startup options".to_owned())
}

pub(super) fn volume(value: &str, _: Release) -> Verdict {
    let good =
        value.split_once(':').is_some_and(|(store, name)| is_storage(store) && !name.is_empty());
    verdict(good, || format!("unable to parse volume ID '{value}'"))
}

pub(super) fn volume_or_path(value: &str, release: Release) -> Verdict {
    if value.starts_with('/') { Ok(()) } else { volume(value, release) }
}

pub(super) fn drive_file(value: &str, release: Release) -> Verdict {
    if matches!(value, "none" | "cdrom") { Ok(()) } else { volume_or_path(value, release) }
}

/// Splits `scsi12` into bus and index, when the index is written plainly.
fn device(value: &str) -> Option<(&str, u16)> {
    let at = value.find(|c: char| c.is_ascii_digit())?;
    let (bus, index) = value.split_at(at);
    let plain = digits(index) && (index == "0" || !index.starts_with('0'));
    plain.then(|| index.parse().ok()).flatten().map(|index| (bus, index))
}

fn on_bus(value: &str, buses: &[(&str, u16)]) -> bool {
    device(value)
        .is_some_and(|(bus, index)| buses.iter().any(|(name, last)| *name == bus && index <= *last))
}

const DISK_BUSES: &[(&str, u16)] = &[("ide", 3), ("sata", 5), ("scsi", 30), ("virtio", 15)];

pub(super) fn boot_disk(value: &str, _: Release) -> Verdict {
    verdict(on_bus(value, DISK_BUSES), || format!("invalid boot disk '{value}'"))
}

/// A semicolon in a boot order is a list separator, as everywhere.
pub(super) fn boot_device(value: &str, _: Release) -> Verdict {
    let good =
        on_bus(value, DISK_BUSES) || on_bus(value, &[("net", 31), ("usb", 13), ("hostpci", 15)]);
    verdict(good, || format!("invalid boot device '{value}'"))
}

pub(super) fn hotplug(value: &str, _: Release) -> Verdict {
    if matches!(value, "0" | "1") {
        return Ok(());
    }
    text::split_list(value).into_iter().try_for_each(|feature| {
        let good = matches!(feature, "network" | "disk" | "cpu" | "memory" | "usb" | "cloudinit");
        verdict(good, || format!("invalid hotplug feature '{feature}'"))
    })
}

pub(super) fn cpu_set(value: &str, _: Release) -> Verdict {
    verdict(is_ranges(value, ','), || "unable to parse cpuset option".to_owned())
}

pub(super) fn phys_bits(value: &str, _: Release) -> Verdict {
    let good = value == "host"
        || (value.len() <= 2
            && digits(value)
            && value.parse::<u8>().is_ok_and(|n| (8..=64).contains(&n)));
    verdict(good, || "value must be an integer between 8 and 64 or 'host'".to_owned())
}

pub(super) fn content(value: &str, _: Release) -> Verdict {
    let known = ["images", "rootdir", "vztmpl", "iso", "backup", "snippets", "import", "none"];
    verdict(known.contains(&value), || format!("invalid content type '{value}'"))
}

pub(super) fn task_status(value: &str, _: Release) -> Verdict {
    let known = ["ok", "error", "warning", "unknown"];
    let good = known.iter().any(|k| k.eq_ignore_ascii_case(value));
    verdict(good, || format!("invalid status '{value}'"))
}

pub(super) fn realm(value: &str, _: Release) -> Verdict {
    looks_like(is_realm(value), "realm")
}

pub(super) fn user(value: &str, _: Release) -> Verdict {
    if value.len() < 3 {
        return Err(format!("user name '{value}' is too short"));
    }
    if value.len() > 64 {
        return Err(format!("user name '{value}' is too long ({} > 64)", value.len()));
    }
    verdict(is_user(value), || format!("value '{value}' does not look like a valid user name"))
}

pub(super) fn token(value: &str, _: Release) -> Verdict {
    verdict(is_token(value), || format!("value '{value}' does not look like a valid token ID"))
}

pub(super) fn group(value: &str, _: Release) -> Verdict {
    verdict(is_word(value), || format!("group name '{value}' contains invalid characters"))
}

pub(super) fn role(value: &str, _: Release) -> Verdict {
    verdict(is_word(value), || format!("role name '{value}' contains invalid characters"))
}

pub(super) fn pool(value: &str, _: Release) -> Verdict {
    let good = value.split('/').count() <= 3 && value.split('/').all(is_word);
    verdict(good, || format!("pool name '{value}' contains invalid characters"))
}

pub(super) fn privilege(value: &str, release: Release) -> Verdict {
    verdict(valid_privilege(release, value), || format!("invalid privilege '{value}'"))
}

// Patterns.

pub(super) fn is_user_or_token(value: &str) -> bool {
    is_user(value) || is_token(value)
}

fn is_ranges(value: &str, separator: char) -> bool {
    value.split(separator).all(|range| match range.split_once('-') {
        Some((from, to)) => digits(from) && digits(to),
        None => digits(range),
    })
}

/// Numbers and ranges, separated by semicolons.
pub(super) fn ranges(value: &str) -> bool {
    is_ranges(value, ';')
}

pub(super) fn wwn(value: &str) -> bool {
    value.strip_prefix("0x").is_some_and(|rest| hex(rest, 16))
}

pub(super) fn pci_part(value: &str) -> bool {
    value.strip_prefix("0x").is_some_and(|rest| hex(rest, 4))
}

fn scsi_name(value: &str, longest: usize) -> bool {
    value.len() <= longest
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b.is_ascii_whitespace())
}

pub(super) fn scsi_vendor(value: &str) -> bool {
    scsi_name(value, 8)
}

pub(super) fn scsi_product(value: &str) -> bool {
    scsi_name(value, 16)
}

pub(super) fn letters_digits_dashes(value: &str) -> bool {
    all(value, |b| b.is_ascii_alphanumeric() || b == b'-')
}

pub(super) fn hyperv_vendor(value: &str) -> bool {
    value.len() <= 12 && all(value, |b| b.is_ascii_alphanumeric())
}

pub(super) fn cpu_flags(value: &str) -> bool {
    value.split(';').all(|flag| {
        flag.strip_prefix(['+', '-'])
            .is_some_and(|name| all(name, |b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)))
    })
}

/// `9.2`, `9.2+pve1`, `9.2.pxe`: at least two numbers.
fn machine_version(value: &str, pxe: bool) -> bool {
    let value = if pxe { value.strip_suffix(".pxe").unwrap_or(value) } else { value };
    let (numbers, pve) = match value.split_once("+pve") {
        Some((numbers, revision)) => (numbers, digits(revision)),
        None => (value, true),
    };
    pve && numbers.split('.').count() > 1 && numbers.split('.').all(digits)
}

pub(super) fn machine(value: &str) -> bool {
    let version = |prefix: &str, pxe: bool| {
        value.strip_prefix(prefix).is_some_and(|version| machine_version(version, pxe))
    };
    matches!(value, "pc" | "q35" | "virt")
        || version("pc-q35-", true)
        || version("pc-i440fx-", true)
        || version("pc-", true)
        || version("virt-", false)
        || value.strip_prefix("virt+pve").is_some_and(digits)
}

pub(super) fn usb_host(value: &str) -> bool {
    let plain = |part: &str| hex(part.strip_prefix("0x").unwrap_or(part), 4);
    let id = value.split_once(':').is_some_and(|(vendor, product)| plain(vendor) && plain(product));
    let port =
        value.split_once('-').is_some_and(|(bus, path)| digits(bus) && path.split('.').all(digits));
    id || port || value.eq_ignore_ascii_case("spice")
}

pub(super) fn pci_host(value: &str) -> bool {
    let low = |part: &str| all(part, |b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    value.split(';').all(|address| {
        let mut parts: Vec<&str> = address.split(':').collect();
        let Some(slot) = parts.pop() else {
            return false;
        };
        let (slot, function) = slot.split_once('.').unwrap_or((slot, "0"));
        let bus = match parts[..] {
            [bus] => bus,
            [domain, bus] if domain.len() >= 4 && low(domain) => bus,
            _ => return false,
        };
        bus.len() == 2
            && low(bus)
            && slot.len() == 2
            && low(slot)
            && function.len() == 1
            && low(function)
    })
}

pub(super) fn rom_file(value: &str) -> bool {
    !value.is_empty() && !value.contains([',', ';'])
}

pub(super) fn mediated_device(value: &str) -> bool {
    !value.is_empty() && !value.contains(['/', '.', ':'])
}

pub(super) fn serial_8(value: &str) -> bool {
    value == "socket" || value.strip_prefix("/dev/").is_some_and(|rest| !rest.is_empty())
}

pub(super) fn serial_9(value: &str) -> bool {
    serial_8(value) && !value.contains(',')
}

pub(super) fn parallel(value: &str) -> bool {
    ["/dev/parport", "/dev/usb/lp"]
        .iter()
        .any(|prefix| value.strip_prefix(prefix).is_some_and(digits))
}

pub(super) fn uuid(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    parts.len() == 5 && parts.iter().zip([8, 4, 4, 4, 12]).all(|(part, length)| hex(part, length))
}

pub(super) fn generation_id(value: &str) -> bool {
    matches!(value, "0" | "1") || uuid(value)
}

pub(super) fn base64(value: &str) -> bool {
    let body = value.trim_end_matches('=');
    value.len() - body.len() <= 2
        && all(body, |b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

pub(super) fn start_date(value: &str) -> bool {
    let fields = |text: &str, separator: char, first: usize| {
        let parts: Vec<&str> = text.split(separator).collect();
        parts.len() == 3
            && parts.iter().all(|part| digits(part))
            && (first == 0 || parts[0].len() == first)
            && parts[usize::from(first != 0)..].iter().all(|part| part.len() <= 2)
    };
    match value.split_once('T') {
        Some((date, time)) => fields(date, '-', 4) && fields(time, ':', 0),
        None => value == "now" || fields(value, '-', 4),
    }
}

pub(super) fn legacy_boot(value: &str) -> bool {
    value.len() <= 4 && all(value, |b| b"acdn".contains(&b))
}

pub(super) fn resize(value: &str) -> bool {
    let size = value.strip_prefix('+').unwrap_or(value);
    let size = size.strip_suffix(['K', 'M', 'G', 'T']).unwrap_or(size);
    match size.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(size),
    }
}

pub(super) fn host_mtus(value: &str) -> bool {
    value.split(',').all(|item| {
        item.strip_prefix("net")
            .and_then(|rest| rest.split_once('='))
            .is_some_and(|(index, mtu)| digits(index) && digits(mtu))
    })
}

/// Whole-value check of a CPU property string.
pub(super) fn cpu_conf(parsed: &BTreeMap<String, String>) -> Verdict {
    let Some(model) = parsed.get("cputype") else {
        return Err("CPU is missing cputype".to_owned());
    };
    if let Some(name) = model.strip_prefix("custom-") {
        return Err(format!("Custom cputype '{name}' not found"));
    }
    if !super::guest::CPU_MODELS.contains(&model.as_str()) {
        return Err(format!(
            "Built-in cputype '{model}' is not defined (missing 'custom-' prefix?)"
        ));
    }
    let allowed = super::guest::CPU_FLAGS;
    if parsed
        .get("flags")
        .is_some_and(|flags| flags.split(';').any(|f| !allowed.contains(&&f[1..])))
    {
        return Err(format!("VM-specific CPU flags must be a subset of: {}", allowed.join(", ")));
    }
    if parsed.contains_key("reported-model") {
        return Err("Property 'reported-model' not allowed in VM-specific CPU config.".to_owned());
    }
    Ok(())
}

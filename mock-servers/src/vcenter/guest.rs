//! The software inside machines: what it finds at its start, and what its tools tell.

use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_yaml::Value;

use super::ops::customize;
use super::server::Core;
use super::vm::{Boot, Vm};

/// Unpacked first-boot data are cut at this size.
const UNPACKED_MAX: u64 = 4 << 20;

/// Whether the tools of a machine would answer by now.
pub(crate) fn is_up(core: &Core, vm: &Vm) -> bool {
    let boot = u64::try_from(core.timing.boot.as_millis()).unwrap_or(u64::MAX);
    vm.power == "poweredOn" && core.now_ms() >= vm.started_ms.saturating_add(boot)
}

/// Switches a machine on, and lets its software look at what it was given.
pub(crate) fn boot(vm: &mut Vm, now_ms: u64) {
    vm.power = "poweredOn".to_owned();
    vm.started_ms = now_ms;
    let extra = |name: &str| vm.config.extra.get(name);
    let metadata = extra("guestinfo.metadata").map(|value| {
        decode(value, extra("guestinfo.metadata.encoding").map_or("", String::as_str))
    });
    let boot = Boot {
        when_ms: now_ms,
        seeded: extra("guestinfo.userdata").is_some() || metadata.is_some(),
        userdata: extra("guestinfo.userdata").cloned(),
        metadata,
        macs: vm.config.nics().map(|nic| nic.mac.clone()).collect(),
        boot_disk: vm.config.disks().next().map_or(0, |disk| disk.bytes),
    };
    vm.boots.push(boot);
    let number = vm.boots.len();
    vm.setup.done.extend(vm.setup.waits.take().map(|spec| (number, spec)));
}

/// Whether a description waits for a machine's next start, as the product tells it.
pub(crate) fn setup_waits(core: &Core, vm: &Vm) -> bool {
    let last = vm.setup.done.last().is_some_and(|(number, _)| *number == vm.boots.len());
    vm.setup.waits.is_some() || core.switches.setup_waits_for_tools && last && !is_up(core, vm)
}

/// Addresses with their prefix lengths.
pub(crate) type Addresses = Vec<(String, i64)>;

fn metadata(vm: &Vm) -> Option<Value> {
    serde_yaml::from_str(vm.boots.last()?.metadata.as_deref()?).ok()
}

/// The name that the guest gave itself.
pub(crate) fn host_name(vm: &Vm) -> Option<String> {
    if let Some(name) = vm.setup.done.last().and_then(|(_, spec)| customize::told_name(spec)) {
        return Some(name);
    }
    Some(metadata(vm)?.get("local-hostname")?.as_str()?.to_owned())
}

/// Addresses of each card, with their prefix lengths, as the first-boot data say; a card that they
/// do not name gets none, and the first card what the guest has by itself.
pub(crate) fn addresses(vm: &Vm) -> Vec<(String, Addresses)> {
    let macs: Vec<String> = vm.config.nics().map(|nic| nic.mac.clone()).collect();
    let mut all: Vec<(String, Addresses)> =
        macs.iter().map(|mac| (mac.clone(), Vec::new())).collect();
    for (number, (mac, given)) in
        metadata(vm).map(|it| cards(&it)).unwrap_or_default().into_iter().enumerate()
    {
        let at = match mac {
            Some(mac) => macs.iter().position(|it| it.eq_ignore_ascii_case(&mac)),
            None => Some(number),
        };
        if let Some(slot) = at.and_then(|at| all.get_mut(at)) {
            slot.1 = given;
        }
    }
    for (mac, given) in vm
        .setup
        .done
        .last()
        .map(|(_, spec)| customize::told_addresses(vm, spec))
        .unwrap_or_default()
    {
        if let (Some(given), Some(slot)) = (given, all.iter_mut().find(|slot| slot.0 == mac)) {
            slot.1 = vec![given];
        }
    }
    if let (Some(address), Some(slot)) = (&vm.behaviour.address, all.first_mut())
        && slot.1.is_empty()
    {
        slot.1.push((address.clone(), 24));
    }
    all
}

/// The cards that a network configuration of version 2 names.
fn cards(metadata: &Value) -> Vec<(Option<String>, Addresses)> {
    let Some(network) = metadata.get("network") else { return Vec::new() };
    let decoded = network.as_str().map(|value| {
        let encoding = metadata.get("network.encoding").and_then(Value::as_str).unwrap_or("");
        serde_yaml::from_str::<Value>(&decode(value, encoding)).unwrap_or(Value::Null)
    });
    let network = decoded.as_ref().unwrap_or(network);
    let network = network.get("network").unwrap_or(network);
    let Some(cards) = network.get("ethernets").and_then(Value::as_mapping) else {
        return Vec::new();
    };
    cards
        .iter()
        .map(|(_, card)| {
            let mac = card.get("match").and_then(|it| it.get("macaddress")).and_then(Value::as_str);
            let given = card.get("addresses").and_then(Value::as_sequence).map(|list| {
                list.iter()
                    .filter_map(|it| {
                        let (address, prefix) = it.as_str()?.split_once('/')?;
                        Some((address.to_owned(), prefix.parse().ok()?))
                    })
                    .collect()
            });
            (mac.map(str::to_owned), given.unwrap_or_default())
        })
        .collect()
}

/// A value as it was before it was encoded; what cannot be decoded stays as it is.
pub(crate) fn decode(value: &str, encoding: &str) -> String {
    let bytes = match encoding {
        "base64" | "b64" => base64(value),
        "gzip+base64" | "gz+b64" => base64(value).and_then(|packed| {
            let mut plain = Vec::new();
            let mut reader = GzDecoder::new(&packed[..]).take(UNPACKED_MAX);
            reader.read_to_end(&mut plain).ok().map(|_| plain)
        }),
        _ => None,
    };
    bytes.map_or_else(|| value.to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.bytes().filter(|it| !it.is_ascii_whitespace() && *it != b'=') {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        assert_eq!(decode("aGVsbG8gd29ybGQ=", "base64"), "hello world");
        assert_eq!(decode("plain", ""), "plain");
    }

    #[test]
    fn cards_are_found_by_their_hardware_address() {
        let text = "network:\n  version: 2\n  ethernets:\n    a:\n      match: {macaddress: '00:50:56:00:00:01'}\n      addresses: [10.0.0.5/24]\n";
        let value: Value = serde_yaml::from_str(text).expect("yaml");
        let found = cards(&value);
        assert_eq!(found[0].0.as_deref(), Some("00:50:56:00:00:01"));
        assert_eq!(found[0].1, [("10.0.0.5".to_owned(), 24)]);
    }
}

//! The guest agent: not there, not yet, or telling addresses.

use serde_json::{Value, json};

use super::{drive, vm};
use crate::pve::error::{ApiError, ApiResult};
use crate::pve::router::{Call, Outcome};
use crate::pve::server::Core;
use crate::pve::world::{Guest, is_net_key};

/// Whether the configuration enables the agent.
pub(crate) fn is_configured(guest: &Guest) -> bool {
    guest.get("agent").is_some_and(|text| {
        text.split(',')
            .any(|part| matches!(part, "1" | "enabled=1" | "on" | "yes" | "true" | "enabled=true"))
    })
}

/// MACs of a guest's interfaces, in order.
pub(crate) fn macs(guest: &Guest) -> Vec<String> {
    guest
        .config
        .iter()
        .filter(|(key, _)| is_net_key(key))
        .filter_map(|(key, value)| drive::parse_net(key, value).ok().and_then(|net| net.mac))
        .collect()
}

/// `GET …/agent/network-get-interfaces`.
pub(crate) fn interfaces(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let vmid = call.vmid();
    let guest = vm(core, call.id("node"), vmid)?;
    if !is_configured(guest) {
        return Err(ApiError::died("No QEMU guest agent configured"));
    }
    if !guest.running {
        return Err(ApiError::died(format!("VM {vmid} is not running")));
    }
    let up = crate::clock::unix_millis().saturating_sub(guest.started_ms);
    if !guest.behaviour.has_agent || u128::from(up) < core.timing.boot.as_millis() {
        return Err(ApiError::died("QEMU guest agent is not running"));
    }
    if guest.behaviour.agent_fails {
        if core.switches.agent_error_status {
            return Err(ApiError::died("Agent error: command failed"));
        }
        let error = json!({"class": "GenericError", "desc": "command failed"});
        return Ok(Outcome::Data(json!({"result": {"error": error}})));
    }
    let mut rows = vec![json!({
        "name": "lo", "hardware-address": "00:00:00:00:00:00",
        "ip-addresses": [{"ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8}],
    })];
    // The addresses are those of the last boot: a changed seed is not yet in effect.
    let seen = guest.boots.last().map(|boot| boot.addresses.clone()).unwrap_or_default();
    for (index, mac) in macs(guest).iter().enumerate() {
        let mut row =
            json!({"name": format!("eth{index}"), "hardware-address": mac.to_lowercase()});
        let configured = seen.get(index).map_or("", String::as_str);
        let addresses = addresses(guest, configured, index);
        if !addresses.is_empty() {
            row["ip-addresses"] = json!(addresses);
        }
        rows.push(row);
    }
    Ok(Outcome::Data(json!({"result": rows})))
}

fn addresses(guest: &Guest, configured: &str, index: usize) -> Vec<Value> {
    let mut found = Vec::new();
    for part in configured.split(',') {
        let (kind, cidr) = match (part.strip_prefix("ip="), part.strip_prefix("ip6=")) {
            (Some(cidr), _) => ("ipv4", cidr),
            (_, Some(cidr)) => ("ipv6", cidr),
            _ => continue,
        };
        if let Some((address, prefix)) = cidr.split_once('/') {
            let prefix: u32 = prefix.parse().unwrap_or(24);
            found.push(json!({"ip-address": address, "ip-address-type": kind, "prefix": prefix}));
        }
    }
    if found.is_empty()
        && index == 0
        && let Some(address) = &guest.behaviour.dhcp_address
    {
        found.push(json!({"ip-address": address, "ip-address-type": "ipv4", "prefix": 24}));
    }
    found
}

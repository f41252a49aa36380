//! Addresses against their networks and against each other.

use crate::config::decode::Cx;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::raw::RawNetwork;
use crate::config::resolve::{Address, Outcome, Resolved};
use crate::config::scalar::{IpRange, Name};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The reserved ranges of one network, sorted, so that looking one up does not depend on how many there are.
struct Reserved(Vec<(IpRange, Span)>);

impl Reserved {
    fn of(network: &RawNetwork) -> Self {
        let mut ranges: Vec<(IpRange, Span)> =
            network.reserved.iter().map(|range| (range.value.0, range.span)).collect();
        ranges.sort_unstable_by_key(|(range, _)| *range);
        // Overlapping ones become one, so that the last one that begins before an address decides.
        ranges.dedup_by(|(next, _), (kept, _)| {
            let overlap = next.first <= kept.last;
            if overlap {
                kept.last = kept.last.max(next.last);
            }
            overlap
        });
        Self(ranges)
    }

    fn find(&self, address: IpAddr) -> Option<Span> {
        let end = self.0.partition_point(|(range, _)| range.first <= address);
        let (range, span) = self.0[..end].last()?;
        range.contains(address).then_some(*span)
    }
}

/// Checks all written addresses.
pub(super) fn check(outcome: &Outcome, cx: &mut Cx<'_>) {
    let networks: BTreeMap<&Name, (&RawNetwork, Reserved)> = outcome
        .world
        .networks
        .iter()
        .filter_map(|(name, item)| Some((name, item.value.as_ref()?)))
        .map(|(name, network)| (name, (network, Reserved::of(network))))
        .collect();
    let mut taken: BTreeMap<Ipv4Addr, (&Resolved, &Address)> = BTreeMap::new();
    for machine in &outcome.machines {
        let subject: Arc<str> = machine.desired.key.to_string().into();
        for address in &machine.addresses {
            if let Some((network, reserved)) = networks.get(&address.network) {
                let problem = misfit(address, network, reserved);
                if let Some(problem) = problem {
                    cx.push(problem.subject(Arc::clone(&subject)));
                }
            }
            match taken.get(&address.address) {
                Some((first, there)) => cx.push(twice(machine, address, first, there)),
                None => {
                    taken.insert(address.address, (machine, address));
                }
            }
        }
        gateways(machine, &networks, cx);
    }
}

/// Why an address cannot be a machine's in its network.
fn misfit(address: &Address, network: &RawNetwork, reserved: &Reserved) -> Option<Diagnostic> {
    let (ip, name) = (address.address, &address.network);
    let wrong = |message: String| Diagnostic::error("address-outside", address.span, message);
    let taken = |message: String| Diagnostic::error("address-reserved", address.span, message);
    if let Some(cidr) = &network.cidr {
        let net = cidr.value;
        if !net.contains(&ip) {
            let message = format!("{ip} is not in the network `{name}`, {net}");
            return Some(wrong(message).related(cidr.span, "the network"));
        }
        // A /31 and a /32 have neither.
        if net.prefix_len() < 31 && (ip == net.network() || ip == net.broadcast()) {
            let what = if ip == net.network() { "network" } else { "broadcast" };
            let message = format!("{ip} is the {what} address of `{name}`, {net}");
            return Some(wrong(message).related(cidr.span, "the network"));
        }
    }
    if let Some(gateway) = network.gateway.as_ref().filter(|gateway| gateway.value == ip) {
        let message = format!("{ip} is the gateway of `{name}`");
        return Some(taken(message).related(gateway.span, "the gateway"));
    }
    let span = reserved.find(IpAddr::V4(ip))?;
    Some(taken(format!("{ip} is reserved in `{name}`")).related(span, "reserved here"))
}

fn twice(machine: &Resolved, here: &Address, first: &Resolved, there: &Address) -> Diagnostic {
    let (key, other) = (&machine.desired.key, &first.desired.key);
    if machine.key == first.key && here.span == there.span {
        let message = format!("all members of the entry would have the address {}", here.address);
        return Diagnostic::error("duplicate-address", here.span, message)
            .help("write a range, `FIRST-LAST`: it gives one address to each");
    }
    // From one line of a profile, both stand in the same place; the entries say more.
    let (at, by) =
        if here.span == there.span { (machine.key, first.key) } else { (here.span, there.span) };
    let message = format!("`{key}` has the address {} of `{other}`", here.address);
    Diagnostic::error("duplicate-address", at, message)
        .related(by, format!("`{other}` has it here"))
}

/// A default gateway that the card's own network does not reach.
fn gateways(
    machine: &Resolved,
    networks: &BTreeMap<&Name, (&RawNetwork, Reserved)>,
    cx: &mut Cx<'_>,
) {
    for (gateway, span, network) in &machine.gateways {
        let Some(cidr) = networks.get(network).and_then(|(network, _)| network.cidr.as_ref())
        else {
            continue;
        };
        if !cidr.value.contains(gateway) {
            let message = format!("the gateway {gateway} is not in `{network}`, {}", cidr.value);
            let problem = Diagnostic::error("address-outside", *span, message)
                .related(cidr.span, "the network")
                .subject(machine.desired.key.to_string().into());
            cx.push(problem);
        }
    }
}

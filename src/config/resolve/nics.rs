//! Network cards: what they are plugged into, their addresses and gateways.

use super::machine::{Address, Builder};
use crate::config::decode::Cx;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::raw::{AddressText, GatewayText, RawNetwork, RawNic};
use crate::config::scalar::{Name, Spanned};
use crate::model::{
    DeviceName, FieldKind, FieldPath, InitSpec, IpSetting, NetworkBinding, NicSpec,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// The networks of a machine's cards, by card.
pub(super) type Networks<'a> = BTreeMap<DeviceName, (Name, &'a RawNetwork)>;

impl<'a> Builder<'a> {
    /// All cards with what they are plugged into. Gateways are settled later, for all cards at once.
    pub(super) fn nics(&mut self, at: Option<&Name>, cx: &mut Cx<'_>) -> Networks<'a> {
        let mut networks = Networks::new();
        for (name, nic) in &self.raw.nics {
            let name = DeviceName::new(name.shared());
            let raw = &nic.value;
            self.card_places(&name, nic.key, raw);
            let network = self.network(raw, nic.key, at, cx);
            let ip = raw.ip.as_ref().and_then(|ip| self.ip(ip, network.as_ref(), cx));
            let vlan = raw.vlan.as_ref().map(|tag| tag.value);
            let vlan = vlan.or_else(|| network.as_ref().and_then(|(_, network)| network.vlan));
            let native = |(entry, network): &(Name, &RawNetwork)| {
                let native = network.at.get(at?)?.native()?.to_owned();
                Some(NetworkBinding { name: Some(entry.clone()), native })
            };
            let spec = NicSpec {
                network: network.as_ref().and_then(native),
                vlan: vlan.and_then(|tag| u16::try_from(tag.0).ok()),
                mac: raw.mac.as_ref().map(|mac| mac.value),
                model: raw.model.as_ref().map(|model| model.value),
                ip,
                gateway: None,
            };
            self.spec.nics.insert(name.clone(), spec);
            if let Some(network) = network {
                networks.insert(name, network);
            }
        }
        networks
    }

    fn card_places(&mut self, name: &DeviceName, key: Span, raw: &RawNic) {
        use FieldKind as K;
        let spans = [
            (K::Nic, Some(key)),
            (K::NicNetwork, raw.network.as_ref().map(|it| it.span)),
            (K::NicVlan, raw.vlan.as_ref().map(|it| it.span)),
            (K::NicMac, raw.mac.as_ref().map(|it| it.span)),
            (K::NicModel, raw.model.as_ref().map(|it| it.span)),
            (K::NicIp, raw.ip.as_ref().map(|it| it.span)),
            (K::NicGateway, raw.gateway.as_ref().map(|it| it.span)),
        ];
        let written = spans.into_iter().filter_map(|(kind, span)| Some((kind, span?)));
        self.written.extend(written.map(|(kind, span)| (FieldPath::on(kind, name), span)));
    }

    fn network(
        &mut self,
        raw: &RawNic,
        key: Span,
        at: Option<&Name>,
        cx: &mut Cx<'_>,
    ) -> Option<(Name, &'a RawNetwork)> {
        let all = &self.around.world.networks;
        let fits = |network: &RawNetwork| at.is_none_or(|hypervisor| network.at.has(hypervisor));
        let Some(reference) = &raw.network else {
            self.missing_field("network", key, all.candidates("", fits), cx);
            return None;
        };
        let found = all.find(&reference.value.0, reference.span, cx);
        self.fine &= found.is_some();
        let (name, item) = found?;
        let network = item.value.as_ref()?;
        if let Some(hypervisor) = at
            && !fits(network)
        {
            let other = all.candidates(name.as_str(), fits);
            self.not_there("network", name, item.key, hypervisor, reference, other, cx);
        }
        Some((name.clone(), network))
    }

    fn ip(
        &mut self,
        written: &Spanned<AddressText>,
        network: Option<&(Name, &RawNetwork)>,
        cx: &mut Cx<'_>,
    ) -> Option<IpSetting> {
        let (address, prefix) = match written.value {
            AddressText::Dhcp => return Some(IpSetting::Dhcp),
            AddressText::None => return Some(IpSetting::None),
            AddressText::Address { address, prefix } => (address, prefix),
            AddressText::Range(_) => (self.member_of_range(written, cx)?, None),
        };
        // A network that could not be found has been reported, and says nothing about prefixes.
        let (name, network) = network?;
        let cidr = network.cidr.as_ref();
        let problem = match (prefix, cidr) {
            (Some(own), Some(cidr)) if own != cidr.prefix_len() => {
                let message =
                    format!("the prefix /{own} is not that of `{name}`, /{}", cidr.prefix_len());
                Diagnostic::error("conflict", written.span, message)
                    .related(cidr.span, "the network")
                    .help(format!("write `{address}`"))
            }
            (Some(prefix), _) => {
                return Some(IpSetting::Static { address: IpAddr::V4(address), prefix });
            }
            (None, Some(cidr)) => {
                let prefix = cidr.prefix_len();
                return Some(IpSetting::Static { address: IpAddr::V4(address), prefix });
            }
            (None, None) => {
                let message =
                    format!("the network `{name}` has no `cidr`, so the address has no prefix");
                let help = format!("write `cidr` on the network, or `{address}/24` here");
                Diagnostic::error("missing-prefix", written.span, message).help(help)
            }
        };
        self.refuse(problem, cx);
        None
    }

    /// The member's own address of a range.
    fn member_of_range(
        &mut self,
        written: &Spanned<AddressText>,
        cx: &mut Cx<'_>,
    ) -> Option<Ipv4Addr> {
        let AddressText::Range(range) = written.value else { return None };
        let members = self.entry.members;
        let address = match range.nth(self.entry.index as u128) {
            Some(IpAddr::V4(address)) if range.len() >= members as u128 => return Some(address),
            Some(IpAddr::V6(_)) => Diagnostic::error(
                "not-supported-yet",
                written.span,
                "IPv6 addresses are not supported yet in this version",
            ),
            Some(IpAddr::V4(_)) | None => {
                let message =
                    format!("the range has {} addresses for {members} machines", range.len());
                Diagnostic::error("range-too-short", written.span, message)
                    .help("a range gives one address to each member of the entry")
            }
        };
        self.refuse(address, cx);
        None
    }

    /// Settles which card leads out. A gateway that is written decides; otherwise the only
    /// network with one does, among cards with a written address.
    pub(super) fn gateways(
        &mut self,
        networks: &Networks<'_>,
        cx: &mut Cx<'_>,
    ) -> Vec<(Ipv4Addr, Span, Name)> {
        let mut written: Vec<(DeviceName, Ipv4Addr, Span)> = Vec::new();
        let mut inherited: Vec<(DeviceName, Ipv4Addr, Span)> = Vec::new();
        for (name, nic) in &self.raw.nics {
            let name = DeviceName::new(name.shared());
            match nic.value.gateway.as_ref().map(|gateway| (gateway.value, gateway.span)) {
                Some((GatewayText::Address(address), span)) => written.push((name, address, span)),
                Some((GatewayText::None, _)) => {}
                None => {
                    let spec = self.spec.nics.get(&name);
                    let fixed =
                        matches!(spec.and_then(|nic| nic.ip), Some(IpSetting::Static { .. }));
                    let gateway = networks.get(&name).and_then(|(_, network)| network.gateway);
                    if let (true, Some(gateway)) = (fixed, gateway) {
                        inherited.push((name, gateway.value, nic.key));
                    }
                }
            }
        }
        let chosen = if written.is_empty() { inherited } else { written };
        if let [(first, _, there), (second, _, here), ..] = chosen.as_slice() {
            let message = format!("the cards `{first}` and `{second}` both have a default gateway");
            let problem = Diagnostic::error("two-gateways", *here, message)
                .related(*there, "the other one")
                .help("write `gateway: none` on all cards but the one that leads out");
            self.refuse(problem, cx);
            return Vec::new();
        }
        let mut settled = Vec::new();
        for (name, address, span) in chosen {
            // A gateway that comes from the network stands there.
            let own =
                self.raw.nics.get(name.as_str()).is_some_and(|nic| nic.value.gateway.is_some());
            let of_network = networks.get(&name).and_then(|(_, network)| network.gateway);
            let span = of_network.filter(|_| !own).map_or(span, |gateway| gateway.span);
            self.written.push((FieldPath::on(FieldKind::NicGateway, &name), span));
            if let Some(nic) = self.spec.nics.get_mut(&name) {
                nic.gateway = Some(IpAddr::V4(address));
            }
            if let (true, Some((network, _))) = (own, networks.get(&name)) {
                settled.push((address, span, network.clone()));
            }
        }
        settled
    }

    /// Written addresses, for checks against networks and other machines.
    pub(super) fn addresses(&self, networks: &Networks<'_>) -> Vec<Address> {
        let of_card = |(name, nic): (&DeviceName, &NicSpec)| {
            let Some(IpSetting::Static { address: IpAddr::V4(address), .. }) = nic.ip else {
                return None;
            };
            let span = self.raw.nics.get(name.as_str())?.value.ip.as_ref()?.span;
            Some(Address { address, span, network: networks.get(name)?.0.clone() })
        };
        self.spec.nics.iter().filter_map(of_card).collect()
    }

    /// Resolvers and domain of the first card whose network has them.
    pub(super) fn take_from_networks(&mut self, init: &mut InitSpec, networks: &Networks<'_>) {
        let mut all = networks.values().map(|(_, network)| network);
        if init.dns.is_none() {
            let found = all.clone().find(|network| !network.dns.is_empty());
            init.dns = found.map(|network| network.dns.clone());
        }
        if init.domain.is_none() {
            init.domain = all.find_map(|network| network.search.first()).map(ToString::to_string);
        }
    }
}

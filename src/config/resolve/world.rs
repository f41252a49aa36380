//! What machines refer to: hypervisors, networks, images, service plans, pools.

use super::places::Places;
use super::table::Table;
use crate::config::decode::Cx;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::raw::{
    At, CloneMode, GuestInit, NodeText, RawAuth, RawConfig, RawHypervisor, RawImage, RawImageAt,
    RawNetwork, RawPolicy, RawPool, RawProxmox, RawServicePlan,
};
use crate::config::scalar::{IdRange, Name, Percent, Spanned};
use crate::config::source::{DataFile, DataRef};
use crate::model::{
    BirthSource, DesiredPool, Firmware, GuestOs, HypervisorConfig, HypervisorName, Medium,
    NativeId, NodeName, Policy, ProxmoxAuth, ProxmoxConfig, ResourceKey, StorageName,
};
use std::collections::{BTreeMap, BTreeSet};

/// Where new machines take their ids from, unless written.
const VMID_RANGE: (u32, u32) = (20_000, 99_999);

/// The ids that Proxmox VE allows.
const VMIDS: IdRange = IdRange { first: 100, last: 999_999_999 };

/// Requests in flight when reading, unless written.
const READS: usize = 16;

/// Actions in flight when writing, unless written: each full clone reads and writes whole disks.
const WRITES: usize = 4;

/// The sections that machines refer to.
#[derive(Debug)]
pub struct World {
    /// Where machines can be.
    pub hypervisors: Table<HypervisorConfig>,
    /// What cards are plugged into.
    pub networks: Table<RawNetwork>,
    /// What machines are born from.
    pub images: Table<Image>,
    /// Sizes with a name.
    pub plans: Table<RawServicePlan>,
    /// Groups.
    pub pools: Table<RawPool>,
}

/// An image, with what it is on each hypervisor.
#[derive(Debug)]
pub struct Image {
    /// What the guest is.
    pub os: GuestOs,
    /// Whether its guests read first-boot configuration.
    pub takes_init: bool,
    /// What it needs to boot.
    pub firmware: Option<Firmware>,
    /// Whether the guest agent is in it.
    pub agent: bool,
    /// By hypervisor; `None` = written, but unusable, which has been reported.
    pub at: BTreeMap<Name, Option<Medium>>,
}

impl Image {
    /// What a machine on a hypervisor is born from; `None` when the image is not there.
    pub fn birth(&self, name: &Name, hypervisor: &str) -> Option<BirthSource> {
        let medium = self.at.get(hypervisor)?.clone()?;
        Some(BirthSource {
            image: name.clone(),
            medium,
            firmware: self.firmware,
            takes_init: self.takes_init,
            agent: self.agent,
            os: self.os,
        })
    }
}

/// Files that hypervisors name.
pub fn data_refs(raw: &Table<RawHypervisor>) -> impl Iterator<Item = DataRef> {
    raw.iter().filter_map(|(_, item)| item.value.as_ref().and_then(|one| ca_ref(&one.0)))
}

fn ca_ref(raw: &RawProxmox) -> Option<DataRef> {
    let file = raw.tls.as_ref()?.ca_file.as_ref()?;
    Some(DataRef { span: file.span, path: file.value.as_str().into() })
}

/// Reads the section of hypervisors.
pub fn read_hypervisors(raw: &RawConfig, cx: &mut Cx<'_>) -> Table<RawHypervisor> {
    Table::read("hypervisor", "unknown-hypervisor", &raw.hypervisors, cx)
}

/// Reads all sections that machines refer to, and checks what they say about hypervisors.
pub fn read(
    raw: &RawConfig,
    hypervisors: &Table<RawHypervisor>,
    data: &BTreeMap<DataRef, DataFile>,
    places: &Places<'_>,
    cx: &mut Cx<'_>,
) -> World {
    let hypervisors = hypervisors
        .map(|_, key, one| proxmox(&one.0, key, data, places, cx).map(HypervisorConfig::Proxmox));
    let networks = Table::read("network", "unknown-network", &raw.networks, cx);
    let images: Table<RawImage> = Table::read("image", "unknown-image", &raw.images, cx);
    let plans = Table::read("service plan", "unknown-plan", &raw.plans, cx);
    let pools: Table<RawPool> = Table::read("pool", "unknown-pool", &raw.pools, cx);
    for item in networks.iter().filter_map(|(_, item)| item.value.as_ref()) {
        check_network(item, cx);
        check_at(&item.at, &hypervisors, cx);
    }
    for item in images.iter().filter_map(|(_, item)| item.value.as_ref()) {
        check_at(&item.at, &hypervisors, cx);
    }
    for item in pools.iter().filter_map(|(_, item)| item.value.as_ref()) {
        check_at(&item.at, &hypervisors, cx);
    }
    let images = images.map(|_, _, raw| Some(image(raw, cx)));
    World { hypervisors, networks, images, plans, pools }
}

fn check_at<T>(at: &At<T>, hypervisors: &Table<HypervisorConfig>, cx: &mut Cx<'_>) {
    for (name, there) in &at.0 {
        hypervisors.find(name.as_str(), there.key, cx);
    }
}

fn check_network(network: &RawNetwork, cx: &mut Cx<'_>) {
    if let (Some(cidr), Some(gateway)) = (&network.cidr, &network.gateway)
        && !cidr.contains(&gateway.value)
    {
        let message = format!("the gateway {} is not in {}", gateway.value, cidr.value);
        cx.push(
            Diagnostic::error("address-outside", gateway.span, message)
                .related(cidr.span, "the network"),
        );
    }
}

fn proxmox(
    raw: &RawProxmox,
    key: Span,
    data: &BTreeMap<DataRef, DataFile>,
    places: &Places<'_>,
    cx: &mut Cx<'_>,
) -> Option<ProxmoxConfig> {
    let ca_file = match ca_ref(raw) {
        Some(wanted) => Some(ca_path(data, &wanted, cx)?),
        None => None,
    };
    let endpoints = endpoints(raw, key, cx);
    let vmid_range = vmid_range(raw.vmid_range.as_ref(), cx);
    let auth = match &raw.auth {
        RawAuth::Token(token) => ProxmoxAuth::Token {
            id: token.token_id.to_string(),
            secret: token.token_secret.clone(),
        },
        RawAuth::Login(login) => ProxmoxAuth::Password {
            username: login.username.to_string(),
            password: login.password.clone(),
        },
    };
    let pins = raw.tls.iter().flat_map(|tls| &tls.fingerprints);
    let nodes = |all: &[NodeText]| -> BTreeSet<NodeName> {
        all.iter().map(|node| NodeName::new(node.0.clone())).collect()
    };
    let allow = raw.nodes.as_ref().and_then(|nodes| nodes.allow.as_deref());
    let maintenance = raw.nodes.as_ref().map_or(&[][..], |nodes| &nodes.maintenance);
    let node = raw.defaults.as_ref().and_then(|defaults| defaults.node.as_ref());
    let storage = raw.defaults.as_ref().and_then(|defaults| defaults.storage.as_ref());
    let limit = |count: i64, otherwise| usize::try_from(count).unwrap_or(otherwise);
    let (reads_max, writes_max) = raw.limits.as_ref().map_or((READS, WRITES), |limits| {
        (limit(limits.reads.0, READS), limit(limits.writes.0, WRITES))
    });
    Some(ProxmoxConfig {
        endpoints: endpoints?,
        auth,
        ca_file,
        fingerprints: pins.map(|pin| bare_hex(pin.as_str())).collect(),
        vmid_range: vmid_range?,
        nodes_allow: allow.map(nodes),
        nodes_maintenance: nodes(maintenance),
        default_node: node.map(|node| NodeName::new(node.0.clone())),
        default_storage: storage.map(|storage| StorageName::new(storage.0.clone())),
        reads_max,
        writes_max,
        place: places.at(key),
    })
}

fn endpoints(raw: &RawProxmox, key: Span, cx: &mut Cx<'_>) -> Option<Vec<String>> {
    let problem = match (&raw.endpoint, raw.endpoints.first()) {
        (None, None) => Diagnostic::error("missing-field", key, "the field `endpoint` is missing")
            .help("write `endpoint: https://HOST:8006`, or `endpoints` with one per node"),
        (Some(one), Some(first)) => {
            Diagnostic::error("conflict", one.span, "`endpoint` and `endpoints` at once")
                .related(first.span, "also written here")
                .help("keep `endpoints`")
        }
        (one, _) => {
            let all = one.iter().chain(&raw.endpoints);
            let trimmed = all.map(|one| one.as_str().trim_end_matches('/').to_owned());
            return Some(trimmed.collect());
        }
    };
    cx.push(problem);
    None
}

fn vmid_range(written: Option<&Spanned<IdRange>>, cx: &mut Cx<'_>) -> Option<(u32, u32)> {
    let Some(range) = written else { return Some(VMID_RANGE) };
    if VMIDS.contains(range.first) && VMIDS.contains(range.last) {
        return Some((range.first, range.last));
    }
    let message = format!("`{}` is not within {VMIDS}, the ids of Proxmox VE", range.value);
    cx.push(Diagnostic::error("invalid-value", range.span, message));
    None
}

/// The file that a hypervisor is trusted by; a slip here would otherwise be found by the first connection.
fn ca_path(
    data: &BTreeMap<DataRef, DataFile>,
    wanted: &DataRef,
    cx: &mut Cx<'_>,
) -> Option<String> {
    let file = data.get(wanted)?;
    let problem = if file.text.contains("PRIVATE KEY-----") {
        format!("`{}` holds a private key", file.path)
    } else if !file.text.contains("-----BEGIN CERTIFICATE-----") {
        format!("`{}` holds no certificate", file.path)
    } else {
        return Some(file.path.clone());
    };
    let help = "it must hold the CA's certificate in PEM form, and nothing else";
    cx.push(Diagnostic::error("invalid-file", wanted.span, problem).help(help));
    None
}

fn bare_hex(pin: &str) -> String {
    let digits = pin.strip_prefix("sha256:").unwrap_or(pin);
    digits.replace(':', "").to_ascii_lowercase()
}

fn image(raw: &RawImage, cx: &mut Cx<'_>) -> Image {
    let takes_init = match raw.init {
        GuestInit::CloudInit => true,
        GuestInit::None => false,
    };
    let at = raw.at.0.iter().map(|(name, there)| {
        let medium = there.value.0.as_ref().and_then(|raw| medium(raw, there.key, cx));
        if let (true, Some(Medium::Iso { .. })) = (takes_init, &medium) {
            let message = "an installer reads no first-boot configuration";
            let help = "remove `init`, or clone a template";
            cx.push(Diagnostic::error("conflict", there.key, message).help(help));
        }
        (name.clone(), medium)
    });
    Image { os: raw.os, takes_init, firmware: raw.firmware, agent: raw.agent, at: at.collect() }
}

fn medium(raw: &RawImageAt, key: Span, cx: &mut Cx<'_>) -> Option<Medium> {
    let problem = match (&raw.template, &raw.iso, &raw.clone) {
        (Some(template), None, clone) if template.id.is_some() || template.name.is_some() => {
            return Some(Medium::Template {
                id: template.id.as_ref().map(|id| NativeId::new(id.value.0.to_string())),
                name: template.name.clone(),
                linked: clone.as_ref().is_some_and(|mode| mode.value == CloneMode::Linked),
            });
        }
        (None, Some(iso), None) => return Some(Medium::Iso { volume: iso.value.0.to_string() }),
        (Some(_), None, _) => Diagnostic::error("missing-field", key, "the template has no name")
            .help("write `template: { id: 9000, name: NAME }`"),
        (None, Some(_), Some(clone)) => {
            Diagnostic::error("conflict", clone.span, "an ISO image is not cloned")
        }
        (Some(_), Some(iso), _) => {
            Diagnostic::error("conflict", iso.span, "a template and an ISO image at once")
        }
        (None, None, _) => {
            Diagnostic::error("missing-field", key, "nothing says what the image is here")
                .help("write `template: { id: 9000, name: NAME }` or `iso: STORAGE:iso/FILE`")
        }
    };
    cx.push(problem);
    None
}

/// Pools as they are desired.
pub fn desired_pools(
    pools: &Table<RawPool>,
    places: &Places<'_>,
) -> BTreeMap<ResourceKey, DesiredPool> {
    let desired = pools.iter().filter_map(|(name, item)| {
        let raw = item.value.as_ref()?;
        let key = ResourceKey::pool(name.clone());
        let at = raw.at.0.keys().map(|name| HypervisorName::new(name.shared())).collect();
        let comment = raw.comment.as_ref().map(|comment| comment.value.clone());
        Some((key.clone(), DesiredPool { key, comment, at, place: places.at(item.key) }))
    });
    desired.collect()
}

/// Rules as they are desired; what is not written keeps its default.
pub fn policy(raw: Option<&RawPolicy>, cx: &mut Cx<'_>) -> Policy {
    let mut policy = Policy::default();
    let Some(raw) = raw else { return policy };
    if let Some(budgets) = &raw.budgets {
        let set = |field: &mut u32, written: Option<u32>| *field = written.unwrap_or(*field);
        set(&mut policy.budgets.deletes, budgets.deletes);
        set(&mut policy.budgets.replaces, budgets.replaces);
        set(&mut policy.budgets.restarts, budgets.restarts);
        set(&mut policy.budgets.changes, budgets.changes);
    }
    if let Some(capacity) = &raw.capacity {
        let overcommit = capacity.cpu_overcommit.and_then(|count| u32::try_from(count.0).ok());
        policy.cpu_overcommit = overcommit.unwrap_or(policy.cpu_overcommit);
        let headroom = |field: &mut u8, written: &Option<Spanned<Percent>>, cx: &mut Cx<'_>| {
            let Some(share) = written else { return };
            match u8::try_from(share.value.0).ok().filter(|&percent| percent < 100) {
                Some(percent) => *field = percent,
                None => {
                    let message = format!("with {} free, nothing could be placed", share.value);
                    cx.push(Diagnostic::error("invalid-value", share.span, message));
                }
            }
        };
        headroom(&mut policy.memory_headroom_percent, &capacity.memory_headroom, cx);
        headroom(&mut policy.disk_headroom_percent, &capacity.disk_headroom, cx);
    }
    policy.name_pattern = raw.name_pattern.as_ref().map(|pattern| pattern.value.clone());
    policy
}

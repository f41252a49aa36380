//! Hypervisors: from what is written to the settings of their products.

use super::places::Places;
use super::table::Table;
use crate::config::decode::Cx;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::raw::{
    Fingerprint, InventoryName, NodeText, RawAuth, RawConfig, RawHypervisor, RawProxmox, RawTls,
    RawVcenter,
};
use crate::config::scalar::{IdRange, Spanned};
use crate::config::source::{DataFile, DataRef};
use crate::model::{
    HypervisorConfig, NodeName, ProxmoxAuth, ProxmoxConfig, StorageName, VcenterConfig,
};
use std::collections::{BTreeMap, BTreeSet};

/// Where new machines take their ids from, unless written.
const VMID_RANGE: (u32, u32) = (20_000, 99_999);

/// The ids that Proxmox VE allows.
const VMIDS: IdRange = IdRange { first: 100, last: 999_999_999 };

/// How much is asked of a hypervisor at a time.
#[derive(Clone, Copy)]
struct Limits {
    /// Requests in flight when reading.
    reads: usize,
    /// Actions in flight when writing.
    writes: usize,
}

/// For Proxmox VE, unless written: each full clone reads and writes whole disks.
const PROXMOX_LIMITS: Limits = Limits { reads: 16, writes: 4 };

/// For a vCenter, unless written: one reply carries hundreds of machines, so few requests
/// are needed; more than eight changes would only wait in its own queues.
const VCENTER_LIMITS: Limits = Limits { reads: 4, writes: 8 };

/// Files that hypervisors name.
pub fn data_refs(raw: &Table<RawHypervisor>) -> impl Iterator<Item = DataRef> {
    raw.iter().filter_map(|(_, item)| ca_ref(item.value.as_ref()?.tls()))
}

fn ca_ref(tls: Option<&RawTls>) -> Option<DataRef> {
    let file = tls?.ca_file.as_ref()?;
    Some(DataRef { span: file.span, path: file.value.as_str().into() })
}

/// Reads the section.
pub fn read(raw: &RawConfig, cx: &mut Cx<'_>) -> Table<RawHypervisor> {
    Table::read("hypervisor", "unknown-hypervisor", &raw.hypervisors, cx)
}

/// The settings of every hypervisor that has no problem of its own.
pub fn settings(
    raw: &Table<RawHypervisor>,
    data: &BTreeMap<DataRef, DataFile>,
    places: &Places<'_>,
    cx: &mut Cx<'_>,
) -> Table<HypervisorConfig> {
    raw.map(|_, key, one| match one {
        RawHypervisor::Proxmox(raw) => {
            proxmox(raw, key, data, places, cx).map(HypervisorConfig::Proxmox)
        }
        RawHypervisor::Vcenter(raw) => {
            vcenter(raw, key, data, places, cx).map(HypervisorConfig::Vcenter)
        }
    })
}

fn proxmox(
    raw: &RawProxmox,
    key: Span,
    data: &BTreeMap<DataRef, DataFile>,
    places: &Places<'_>,
    cx: &mut Cx<'_>,
) -> Option<ProxmoxConfig> {
    let ca_file = ca_file(raw.tls.as_ref(), data, cx)?;
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
    let nodes = |all: &[NodeText]| -> BTreeSet<NodeName> {
        all.iter().map(|node| NodeName::new(node.0.clone())).collect()
    };
    let allow = raw.nodes.as_ref().and_then(|nodes| nodes.allow.as_deref());
    let maintenance = raw.nodes.as_ref().map_or(&[][..], |nodes| &nodes.maintenance);
    let node = raw.defaults.as_ref().and_then(|defaults| defaults.node.as_ref());
    let storage = raw.defaults.as_ref().and_then(|defaults| defaults.storage.as_ref());
    let written = raw.limits.as_ref().map(|limits| (limits.reads.0, limits.writes.0));
    let limits = limits(written, PROXMOX_LIMITS);
    Some(ProxmoxConfig {
        endpoints: endpoints?,
        auth,
        ca_file,
        fingerprints: pins(raw.tls.as_ref()),
        vmid_range: vmid_range?,
        nodes_allow: allow.map(nodes),
        nodes_maintenance: nodes(maintenance),
        default_node: node.map(|node| NodeName::new(node.0.clone())),
        default_storage: storage.map(|storage| StorageName::new(storage.0.clone())),
        reads_max: limits.reads,
        writes_max: limits.writes,
        place: places.at(key),
    })
}

fn vcenter(
    raw: &RawVcenter,
    key: Span,
    data: &BTreeMap<DataRef, DataFile>,
    places: &Places<'_>,
    cx: &mut Cx<'_>,
) -> Option<VcenterConfig> {
    let ca_file = ca_file(raw.tls.as_ref(), data, cx)?;
    let defaults = raw.defaults.as_ref();
    let name = |of: Option<&InventoryName>| of.map(ToString::to_string);
    let written = raw.limits.as_ref().map(|limits| (limits.reads.0, limits.writes.0));
    let limits = limits(written, VCENTER_LIMITS);
    Some(VcenterConfig {
        endpoint: bare_endpoint(raw.endpoint.as_str()),
        username: raw.auth.0.username.to_string(),
        password: raw.auth.0.password.clone(),
        ca_file,
        fingerprints: pins(raw.tls.as_ref()),
        datacenter: name(defaults.and_then(|it| it.datacenter.as_ref())),
        cluster: name(defaults.and_then(|it| it.cluster.as_ref())).map(NodeName::new),
        datastore: name(defaults.and_then(|it| it.datastore.as_ref())).map(StorageName::new),
        folder: defaults.and_then(|it| it.folder.as_ref()).map(ToString::to_string),
        nodes_allow: None,
        nodes_maintenance: BTreeSet::new(),
        reads_max: limits.reads,
        writes_max: limits.writes,
        place: places.at(key),
    })
}

fn limits(written: Option<(i64, i64)>, otherwise: Limits) -> Limits {
    let Some((reads, writes)) = written else { return otherwise };
    Limits {
        reads: usize::try_from(reads).unwrap_or(otherwise.reads),
        writes: usize::try_from(writes).unwrap_or(otherwise.writes),
    }
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
            return Some(all.map(|one| bare_endpoint(one.as_str())).collect());
        }
    };
    cx.push(problem);
    None
}

fn bare_endpoint(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
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

/// The file that a hypervisor is trusted by, if one is named; `None` after a problem. A
/// slip here would otherwise be found by the first connection.
fn ca_file(
    tls: Option<&RawTls>,
    data: &BTreeMap<DataRef, DataFile>,
    cx: &mut Cx<'_>,
) -> Option<Option<String>> {
    let Some(wanted) = ca_ref(tls) else { return Some(None) };
    let file = data.get(&wanted)?;
    let problem = if file.text.contains("PRIVATE KEY-----") {
        format!("`{}` holds a private key", file.path)
    } else if !file.text.contains("-----BEGIN CERTIFICATE-----") {
        format!("`{}` holds no certificate", file.path)
    } else {
        return Some(Some(file.path.clone()));
    };
    let help = "it must hold the CA's certificate in PEM form, and nothing else";
    cx.push(Diagnostic::error("invalid-file", wanted.span, problem).help(help));
    None
}

fn pins(tls: Option<&RawTls>) -> Vec<String> {
    let bare_hex = |pin: &Fingerprint| {
        let digits = pin.as_str().strip_prefix("sha256:").unwrap_or(pin.as_str());
        digits.replace(':', "").to_ascii_lowercase()
    };
    tls.iter().flat_map(|tls| &tls.fingerprints).map(bare_hex).collect()
}

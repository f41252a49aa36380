//! The cluster's certificate authority and the certificate of the listener.

use super::world::Authority;
use crate::authority::Names;
pub(crate) use crate::authority::{fingerprint, server_config};

/// Makes an authority and a certificate for the loopback names.
pub(crate) fn make(cluster: &str, node_names: &[String], now: u64) -> anyhow::Result<Authority> {
    let names = Names {
        authority: "Proxmox Virtual Environment",
        authority_of: &format!("PVE Cluster Manager CA of {cluster}"),
        leaf_of: "PVE Cluster Node",
        hosts: node_names,
    };
    crate::authority::make(&names, now)
}

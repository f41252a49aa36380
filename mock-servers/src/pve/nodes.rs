//! What a node tells about itself.

use serde_json::{Value, json};

use super::error::{ApiError, ApiResult};
use super::inventory::memory_used;
use super::router::{Call, Outcome};
use super::schema::Release;
use super::server::Core;
use super::tls;

/// Version, release and repository id of a release.
fn release_of(release: Release) -> (&'static str, &'static str, &'static str) {
    match release {
        Release::V8_4 => ("8.4.14", "8.4", "b502d23c55afcba1"),
        Release::V9_2 => ("9.2.11", "9.2", "14a22df3"),
    }
}

/// `GET /version`.
pub(crate) fn version(core: &mut Core, _call: &Call) -> ApiResult<Outcome> {
    let (version, release, repoid) = release_of(core.release);
    Ok(Outcome::Data(json!({"version": version, "release": release, "repoid": repoid})))
}

/// `GET /nodes`.
pub(crate) fn list(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let fingerprint =
        core.world.authority.as_ref().map(|authority| tls::fingerprint(&authority.leaf_pem));
    let mut rows = Vec::new();
    for (name, node) in &core.world.nodes {
        let mut row = json!({
            "id": format!("node/{name}"), "type": "node", "node": name,
            "status": if node.online { "online" } else { "offline" },
        });
        if let Some(fingerprint) = &fingerprint {
            row["ssl_fingerprint"] = json!(fingerprint);
        }
        if core.has(&call.who, &format!("/nodes/{name}"), "Sys.Audit") {
            row["level"] = json!("");
            if node.online {
                row["maxcpu"] = json!(node.cpu);
                row["cpu"] = json!(0.03);
                row["maxmem"] = json!(node.memory * 1024 * 1024);
                row["mem"] = json!(memory_used(core, name));
                row["uptime"] = json!(864_000);
            }
        }
        rows.push(row);
    }
    Ok(Outcome::Data(Value::Array(rows)))
}

/// `GET /nodes/{node}/status`.
pub(crate) fn status(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let name = call.id("node");
    let node = core.world.nodes.get(name).ok_or_else(|| ApiError::died("no such node"))?;
    let (version, _, repoid) = release_of(core.release);
    let kernel = if core.is_nine() { "6.17.4-1-pve" } else { "6.8.12-16-pve" };
    let total = node.memory * 1024 * 1024;
    let used = memory_used(core, name).min(total);
    Ok(Outcome::Data(json!({
        "cpu": 0.03, "wait": 0, "idle": 0, "uptime": 864_000,
        "loadavg": ["0.20", "0.15", "0.10"],
        "cpuinfo": {
            "cpus": node.cpu, "cores": (node.cpu / 2).max(1), "sockets": 1, "model": "AMD EPYC 7313 16-Core Processor",
            "mhz": "3000.000", "hvm": "1", "flags": "fpu vme de pse svm aes avx2", "user_hz": 100,
        },
        "memory": {"total": total, "used": used, "free": total - used, "available": total - used},
        "swap": {"total": 0, "used": 0, "free": 0},
        "rootfs": {
            "total": 100_861_726_720_u64, "used": 4_861_726_720_u64, "free": 96_000_000_000_u64,
            "avail": 91_000_000_000_u64,
        },
        "ksm": {"shared": 0},
        "pveversion": format!("pve-manager/{version}/{repoid}"),
        "kversion": format!("Linux {kernel} #1 SMP PREEMPT_DYNAMIC"),
        "current-kernel": {
            "sysname": "Linux", "release": kernel, "version": "#1 SMP PREEMPT_DYNAMIC PMX", "machine": "x86_64",
        },
        "boot-info": {"mode": "efi", "secureboot": 0},
    })))
}

/// `GET /nodes/{node}/network`: bridges, filtered by what the caller may use.
pub(crate) fn network(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let name = call.id("node");
    let node = core.world.nodes.get(name).ok_or_else(|| ApiError::died("no such node"))?;
    let wanted = call.get("type").unwrap_or("any");
    let is_bridge_query =
        matches!(wanted, "bridge" | "any_bridge" | "any_local_bridge" | "include_sdn");
    let everything = core.has(&call.who, &format!("/nodes/{name}"), "Sys.Audit");
    let mut rows = Vec::new();
    for (priority, (iface, bridge)) in node.bridges.iter().enumerate() {
        let path = format!("/sdn/zones/localnetwork/{iface}");
        let usable =
            core.has(&call.who, &path, "SDN.Use") || core.has(&call.who, &path, "SDN.Audit");
        let visible = if is_bridge_query { usable } else { everything || usable };
        if !visible || !(is_bridge_query || wanted == "any") {
            continue;
        }
        let mut row = json!({
            "iface": iface, "type": "bridge", "active": 1, "autostart": 1, "bridge_ports": format!("eno{}", priority + 1),
            "bridge_stp": "off", "bridge_fd": "0", "method": "manual", "method6": "manual", "families": ["inet"],
            "priority": priority + 3, "exists": 1,
        });
        if bridge.vlan_aware {
            row["bridge_vlan_aware"] = json!(1);
            row["bridge_vids"] = json!("2-4094");
        }
        if let Some(cidr) = &bridge.cidr {
            row["cidr"] = json!(cidr);
            row["method"] = json!("static");
            let (address, prefix) = cidr.split_once('/').unwrap_or((cidr, "24"));
            row["address"] = json!(address);
            row["netmask"] = json!(prefix);
        }
        rows.push(row);
    }
    Ok(Outcome::Data(Value::Array(rows)))
}

/// `GET /nodes/{node}/certificates/info`.
pub(crate) fn certificates(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    /// The authority is good for ten years, a node's certificate for two.
    const YEAR: u64 = 365 * 24 * 3600;
    let Some(authority) = &core.world.authority else {
        return Ok(Outcome::Data(json!([])));
    };
    let name = call.id("node");
    let organization = format!("PVE Cluster Manager CA of {}", core.world.cluster);
    let row = |filename: &str, pem: &str, subject: String, years: u64, names: Vec<&str>| {
        json!({
            "filename": filename, "fingerprint": tls::fingerprint(pem), "pem": pem, "subject": subject,
            "issuer": format!("/CN=Proxmox Virtual Environment/O={organization}"),
            "notbefore": authority.not_before, "notafter": authority.not_before + years * YEAR,
            "public-key-type": "id-ecPublicKey", "public-key-bits": 256, "san": names,
        })
    };
    Ok(Outcome::Data(json!([
        row(
            "pve-root-ca.pem",
            &authority.ca_pem,
            format!("/CN=Proxmox Virtual Environment/O={organization}"),
            10,
            Vec::new()
        ),
        row(
            "pve-ssl.pem",
            &authority.leaf_pem,
            "/O=PVE Cluster Node/CN=localhost".to_owned(),
            2,
            vec!["127.0.0.1", "localhost", name]
        ),
    ])))
}

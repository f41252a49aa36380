//! The truth of a simulated cluster: everything that a real one keeps on disk, and what its guests do.
//!
//! One type serves three uses: the compact YAML fixture, the file kept between runs, and the live state. What is
//! derived (volumes of the guests' disks, statistics) may be left out of a fixture and is filled in on load.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use super::access::Access;
pub(crate) use super::keys::*;
use super::work::Work;
pub use crate::authority::Authority;

/// A cluster with all it holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct World {
    /// Name of the cluster.
    pub cluster: String,
    /// The nodes, by name.
    pub nodes: BTreeMap<String, Node>,
    /// Storage definitions, by name.
    #[serde(default)]
    pub storages: BTreeMap<String, Storage>,
    /// Virtual machines and containers, by id.
    #[serde(default)]
    pub guests: BTreeMap<u32, Guest>,
    /// Pools, by name.
    #[serde(default)]
    pub pools: BTreeMap<String, Pool>,
    /// Users, groups, tokens, roles and access control list.
    #[serde(default)]
    pub access: Access,
    /// Volumes that exist, by [`volume_key`].
    #[serde(default)]
    pub volumes: BTreeMap<String, Volume>,
    /// Tasks by UPID, finished and running.
    #[serde(default)]
    pub tasks: BTreeMap<String, Task>,
    /// Datacenter-wide settings.
    #[serde(default)]
    pub datacenter: Datacenter,
    /// The cluster's own certificate authority, once made.
    #[serde(default)]
    pub authority: Option<Authority>,
    /// Counters behind process ids, MACs and UUIDs.
    #[serde(default)]
    pub counters: Counters,
}

/// A host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// Logical processors.
    pub cpu: u32,
    /// Memory in MiB.
    pub memory: u64,
    /// Reachable and running.
    #[serde(default = "yes")]
    pub online: bool,
    /// Unix milliseconds at which it was lost; 0 while it is there.
    #[serde(default)]
    pub lost_ms: u64,
    /// Address of the node in the cluster network.
    #[serde(default)]
    pub ip: String,
    /// Bridges, by interface name.
    #[serde(default)]
    pub bridges: BTreeMap<String, Bridge>,
}

/// A bridge of a node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Bridge {
    /// Passes VLAN tags.
    #[serde(default)]
    pub vlan_aware: bool,
    /// Address of the node on it.
    #[serde(default)]
    pub cidr: Option<String>,
}

/// A storage definition.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Storage {
    /// Plugin type, such as `lvmthin`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it may hold.
    pub content: Vec<String>,
    /// The same on every node.
    #[serde(default)]
    pub shared: bool,
    /// Nodes that have it; empty means all.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Size in bytes, per node unless shared.
    pub total: u64,
    /// Bytes used by things that are no volume of ours.
    #[serde(default)]
    pub other_used: u64,
    /// Switched off in the definition.
    #[serde(default)]
    pub disabled: bool,
    /// Nodes on which it is down at the moment.
    #[serde(default)]
    pub inactive_on: BTreeSet<String>,
    /// Files such as ISO images present on every node: volume name (`iso/x.iso`) to size in bytes.
    #[serde(default)]
    pub files: BTreeMap<String, u64>,
}

impl Storage {
    /// Whether a node is meant to have it.
    #[must_use]
    pub fn is_on(&self, node: &str) -> bool {
        self.nodes.is_empty() || self.nodes.iter().any(|name| name == node)
    }

    /// Whether it may hold this kind of content.
    #[must_use]
    pub fn holds(&self, content: &str) -> bool {
        self.content.iter().any(|name| name == content)
    }
}

/// A volume made for a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Size in bytes, as the storage rounded it.
    pub size: u64,
    /// The guest it is named after.
    pub vmid: u32,
    /// `images` or `rootdir`.
    pub content: String,
    /// `raw`, `qcow2`…
    pub format: String,
    /// Volume name of the base image of a linked clone.
    #[serde(default)]
    pub parent: Option<String>,
    /// When it was made.
    #[serde(default)]
    pub ctime: u64,
    /// The storage refuses to free it, which ends a delete with a warning.
    #[serde(default)]
    pub stuck: bool,
}

/// Virtual machine or container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    /// A virtual machine.
    #[default]
    Qemu,
    /// A container.
    Lxc,
}

impl GuestKind {
    /// As it is spelt in paths and ids.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Lxc => "lxc",
        }
    }
}

/// A guest: its configuration file and what it does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Guest {
    /// Where its configuration lies.
    pub node: String,
    /// Virtual machine or container.
    #[serde(default)]
    pub kind: GuestKind,
    /// The main section of the configuration file, in the file's own keys and values.
    pub config: BTreeMap<String, String>,
    /// Values that wait for a stop and start.
    #[serde(default)]
    pub pending: BTreeMap<String, String>,
    /// Options whose removal waits for a stop and start; `true` where the volume goes too.
    #[serde(default)]
    pub pending_delete: BTreeMap<String, bool>,
    /// Snapshot sections.
    #[serde(default)]
    pub snapshots: BTreeMap<String, Snapshot>,
    /// Powered on.
    #[serde(default)]
    pub running: bool,
    /// Powered on but halted by the monitor.
    #[serde(default)]
    pub paused: bool,
    /// Unix milliseconds of the last start.
    #[serde(default)]
    pub started_ms: u64,
    /// How the software inside behaves.
    #[serde(default)]
    pub behaviour: Behaviour,
    /// Each start that happened, in order.
    #[serde(default)]
    pub boots: Vec<Boot>,
    /// What the node last broadcast of it; none for a guest that is too young.
    #[serde(default)]
    pub statistics: Option<Statistics>,
}

/// The software inside a guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Behaviour {
    /// Goes down when asked to; without this a shutdown runs into its timeout.
    #[serde(default = "yes")]
    pub answers_shutdown: bool,
    /// An agent is installed.
    #[serde(default = "yes")]
    pub has_agent: bool,
    /// The agent answers with an error of its own.
    #[serde(default)]
    pub agent_fails: bool,
    /// Address it gets on its first interface where the configuration says `dhcp` or nothing.
    #[serde(default)]
    pub dhcp_address: Option<String>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { answers_shutdown: true, has_agent: true, agent_fails: false, dhcp_address: None }
    }
}

/// One start of a guest, as seen from inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Unix milliseconds.
    pub when_ms: u64,
    /// The cloud-init instance id that the guest found, if a cloud-init drive was attached.
    pub instance_id: Option<String>,
    /// Whether anything at all had been given to cloud-init.
    pub had_seed: bool,
    /// The values of `ipconfigN` that it found.
    pub addresses: Vec<String>,
    /// MAC addresses of its interfaces.
    pub macs: Vec<String>,
    /// Size in bytes of the first disk in the boot order.
    pub boot_disk: u64,
    /// Name it found in its metadata.
    pub name: Option<String>,
    /// Its notes at that time: for whoever looks from outside, not from inside.
    #[serde(default)]
    pub notes: Option<String>,
}

/// What a node broadcasts about a guest every ten seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Power state.
    pub status: String,
    /// Name, or the fallback.
    pub name: String,
    /// Is a template.
    pub template: bool,
    /// Processors.
    pub maxcpu: f64,
    /// Memory in bytes.
    pub maxmem: u64,
    /// First disk in bytes.
    pub maxdisk: u64,
    /// Memory in use.
    pub mem: u64,
    /// Share of the processors in use.
    pub cpu: f64,
    /// Seconds since the start.
    pub uptime: u64,
}

/// A snapshot section of a configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// Configuration at that time.
    pub config: BTreeMap<String, String>,
    /// Unix time.
    pub snaptime: u64,
    /// Snapshot before it.
    #[serde(default)]
    pub parent: Option<String>,
    /// Text given.
    #[serde(default)]
    pub description: String,
    /// Memory was kept too.
    #[serde(default)]
    pub vmstate: bool,
}

/// A pool.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Pool {
    /// Text.
    #[serde(default)]
    pub comment: String,
    /// Guests in it.
    #[serde(default)]
    pub guests: BTreeSet<u32>,
    /// Storages in it.
    #[serde(default)]
    pub storages: BTreeSet<String>,
}

/// Datacenter-wide settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Datacenter {
    /// First bytes of generated MACs.
    pub mac_prefix: String,
    /// Lowest id handed out.
    pub next_id_lower: u32,
    /// First id no longer handed out.
    pub next_id_upper: u32,
    /// The cluster may write.
    pub quorate: bool,
    /// Hosts are in a cluster rather than alone.
    pub clustered: bool,
    /// Guests that the list of the whole cluster leaves out, though their node knows them: its
    /// file system lags.
    pub unlisted: BTreeSet<u32>,
}

impl Default for Datacenter {
    fn default() -> Self {
        Self {
            mac_prefix: "BC:24:11".to_owned(),
            next_id_lower: 100,
            next_id_upper: 1_000_000,
            quorate: true,
            clustered: true,
            unlisted: BTreeSet::new(),
        }
    }
}

/// Where the next made-up value comes from.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// State of the generator.
    pub random: u64,
    /// Last process id given to a worker.
    pub pid: u32,
    /// Key that signs tickets.
    pub ticket_key: u64,
}

/// A worker process, running or done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    /// Node it runs on.
    pub node: String,
    /// Process id.
    pub pid: u32,
    /// Start of the process in clock ticks.
    pub pstart: u64,
    /// Unix time.
    pub starttime: u64,
    /// Type, such as `qmclone`.
    pub kind: String,
    /// The object it is about.
    pub id: String,
    /// Plain user.
    pub user: String,
    /// Name of the token that started it.
    #[serde(default)]
    pub token: Option<String>,
    /// Unix time of its end.
    #[serde(default)]
    pub endtime: Option<u64>,
    /// How it ended; none while running.
    #[serde(default)]
    pub exit: Option<String>,
    /// Lines written so far.
    #[serde(default)]
    pub log: Vec<String>,
    /// What is still to be done, so that a restart can end it.
    #[serde(default)]
    pub work: Option<Work>,
    /// The first half of the work has taken effect.
    #[serde(default)]
    pub begun: bool,
    /// How often its status was asked.
    #[serde(default)]
    pub polls: u32,
}

fn yes() -> bool {
    true
}

/// Key of a volume in [`World::volumes`]: shared storages have one volume, local ones one per node.
#[must_use]
pub fn volume_key(shared: bool, node: &str, volid: &str) -> String {
    format!("{}|{volid}", if shared { "*" } else { node })
}

impl World {
    /// Reads a fixture.
    ///
    /// # Errors
    /// The text is not YAML, or does not have the shape of a world.
    pub fn from_yaml(text: &str) -> anyhow::Result<Self> {
        let mut world: Self = serde_yaml::from_str(text)?;
        world.settle();
        Ok(world)
    }

    /// Reads what [`World::to_json`] wrote.
    ///
    /// # Errors
    /// The text is not JSON, or does not have the shape of a world.
    pub fn from_json(text: &[u8]) -> anyhow::Result<Self> {
        Ok(serde_json::from_slice(text)?)
    }

    /// The whole world as one JSON document.
    ///
    /// # Errors
    /// Never for a world made by this crate; the signature keeps the serializer's.
    pub fn to_json(&self) -> anyhow::Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }

    /// Fills in what a fixture may leave out: volumes of the disks that guests name, and statistics.
    pub fn settle(&mut self) {
        let mut found = Vec::new();
        for (vmid, guest) in &self.guests {
            for (key, value) in &guest.config {
                let Some((storage, volname, size)) = named_volume(guest.kind, key, value) else {
                    continue;
                };
                let Some(definition) = self.storages.get(&storage) else {
                    continue;
                };
                let volid = format!("{storage}:{volname}");
                let content = if guest.kind == GuestKind::Lxc { "rootdir" } else { "images" };
                let format = if volname.ends_with(".qcow2") { "qcow2" } else { "raw" };
                found.push((
                    volume_key(definition.shared, &guest.node, &volid),
                    Volume {
                        size,
                        vmid: owner_of(&volname).unwrap_or(*vmid),
                        content: content.to_owned(),
                        format: format.to_owned(),
                        parent: None,
                        ctime: 1_760_000_000,
                        stuck: false,
                    },
                ));
            }
        }
        for (key, volume) in found {
            self.volumes.entry(key).or_insert(volume);
        }
        self.refresh_statistics(crate::clock::unix_millis(), 0);
    }

    /// Every online node broadcasts. What a dead one last said is believed for `patience_ms`.
    pub fn refresh_statistics(&mut self, now_ms: u64, patience_ms: u64) {
        for (vmid, guest) in &mut self.guests {
            let Some(node) = self.nodes.get(&guest.node) else { continue };
            if node.online {
                guest.statistics = Some(statistics_of(*vmid, guest, node.cpu, now_ms / 1000));
            } else if now_ms.saturating_sub(node.lost_ms) >= patience_ms {
                guest.statistics = None;
            }
        }
    }

    /// The pool a guest is in.
    #[must_use]
    pub fn pool_of(&self, vmid: u32) -> Option<&str> {
        self.pools
            .iter()
            .find(|(_, pool)| pool.guests.contains(&vmid))
            .map(|(name, _)| name.as_str())
    }

    /// The next number of the seeded generator.
    pub fn random(&mut self) -> u64 {
        self.counters.random = self.counters.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.counters.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A MAC with the datacenter's prefix, upper case, not used by any guest.
    pub fn new_mac(&mut self) -> String {
        loop {
            let tail = self.random();
            let mac = format!(
                "{}:{:02X}:{:02X}:{:02X}",
                self.datacenter.mac_prefix,
                (tail >> 16) & 0xff,
                (tail >> 8) & 0xff,
                tail & 0xff
            );
            let taken = self
                .guests
                .values()
                .any(|guest| guest.config.values().any(|value| value.contains(&mac)));
            if !taken {
                return mac;
            }
        }
    }

    /// A random UUID from the seeded generator.
    pub fn new_uuid(&mut self) -> String {
        let bits = (u128::from(self.random()) << 64) | u128::from(self.random());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().to_string()
    }
}

impl Guest {
    /// An otherwise empty guest.
    #[must_use]
    pub fn new(node: &str, kind: GuestKind) -> Self {
        Self {
            node: node.to_owned(),
            kind,
            config: BTreeMap::new(),
            pending: BTreeMap::new(),
            pending_delete: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            running: false,
            paused: false,
            started_ms: 0,
            behaviour: Behaviour::default(),
            boots: Vec::new(),
            statistics: None,
        }
    }

    /// One option of the main section.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.config.get(key).map(String::as_str)
    }

    /// Whether it is a template.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.get("template") == Some("1")
    }

    /// SHA-1 over the canonical text of the whole file, with pending values and snapshots.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut text = String::new();
        section(&mut text, &self.config);
        if !self.pending.is_empty() || !self.pending_delete.is_empty() {
            text.push_str("\n[PENDING]\n");
            if !self.pending_delete.is_empty() {
                let keys: Vec<String> = self
                    .pending_delete
                    .iter()
                    .map(|(key, force)| format!("{}{key}", if *force { "!" } else { "" }))
                    .collect();
                text.push_str(&format!("delete: {}\n", keys.join(",")));
            }
            section(&mut text, &self.pending);
        }
        for (name, snapshot) in &self.snapshots {
            text.push_str(&format!("\n[{name}]\n"));
            section(&mut text, &snapshot.config);
            text.push_str(&format!("snaptime: {}\n", snapshot.snaptime));
        }
        hex(&Sha1::digest(text.as_bytes()))
    }

    /// Name as lists show it, with the product's fallback.
    #[must_use]
    pub fn shown_name(&self, vmid: u32) -> String {
        match self.kind {
            GuestKind::Qemu => self.get("name").map_or_else(|| format!("VM {vmid}"), str::to_owned),
            GuestKind::Lxc => {
                self.get("hostname").map_or_else(|| format!("CT{vmid}"), str::to_owned)
            }
        }
    }

    /// Power state as lists show it.
    #[must_use]
    pub fn status(&self) -> &'static str {
        if self.running { "running" } else { "stopped" }
    }

    /// Disk keys in the boot order, then none.
    #[must_use]
    pub fn boot_disk(&self) -> Option<String> {
        if self.kind == GuestKind::Lxc {
            return Some("rootfs".to_owned());
        }
        let order = self.get("boot").and_then(|boot| boot.strip_prefix("order="))?;
        order
            .split(';')
            .find(|key| is_disk_key(key) && self.get(key).is_some_and(|value| !is_cdrom(value)))
            .map(str::to_owned)
    }
}

fn section(text: &mut String, config: &BTreeMap<String, String>) {
    if let Some(description) = config.get("description") {
        for line in description.lines() {
            text.push_str(&format!("#{line}\n"));
        }
    }
    for (key, value) in config {
        if key != "description" {
            text.push_str(&format!("{key}: {value}\n"));
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn statistics_of(vmid: u32, guest: &Guest, host_cpus: u32, now: u64) -> Statistics {
    let number = |key: &str, fallback: f64| {
        guest.get(key).and_then(|text| text.parse().ok()).unwrap_or(fallback)
    };
    let host = f64::from(host_cpus);
    let maxcpu = match guest.kind {
        GuestKind::Qemu => {
            number("vcpus", (number("sockets", 1.0) * number("cores", 1.0)).min(host))
        }
        GuestKind::Lxc => number("cores", number("cpulimit", host)),
    };
    let maxmem = memory_mib(guest) * 1024 * 1024;
    let maxdisk = guest.boot_disk().and_then(|key| guest.get(&key).and_then(size_in)).unwrap_or(0);
    Statistics {
        status: guest.status().to_owned(),
        name: guest.shown_name(vmid),
        template: guest.is_template(),
        maxcpu,
        maxmem,
        maxdisk,
        mem: if guest.running { maxmem / 2 } else { 0 },
        cpu: if guest.running { 0.015 } else { 0.0 },
        uptime: if guest.running { now.saturating_sub(guest.started_ms / 1000) } else { 0 },
    }
}

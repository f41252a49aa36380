//! What the YAML asks for, resolved: profiles merged, names expanded, networks,
//! images and plans looked up for the hypervisor of each machine.

use super::{
    Bytes, Cdrom, FieldPath, Firmware, Grant, Grantee, HypervisorName, MachineSpec, Name, NativeId,
    NodeName, Place, Power, ProjectName, ResourceKey, SecretRef, StorageName,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// One whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredState {
    /// Whose it is.
    pub project: ProjectName,
    /// Where things can be.
    pub hypervisors: BTreeMap<HypervisorName, HypervisorConfig>,
    /// Networks by name, as far as an entry that is written for a machine needs them.
    pub networks: BTreeMap<Name, DesiredNetwork>,
    /// Pools by key; one entry per pool, whatever the number of hypervisors.
    pub pools: BTreeMap<ResourceKey, DesiredPool>,
    /// Machines by key.
    pub machines: BTreeMap<ResourceKey, DesiredMachine>,
    /// Rules.
    pub policy: Policy,
    /// SHA-256, hex, of every file that was read for it, by path below the root.
    pub files: BTreeMap<String, String>,
    /// Keys that a person asks to stop managing. Not in the YAML: it is a wish of one
    /// run (`forget`), for keys whose entries are gone.
    pub forget: BTreeSet<ResourceKey>,
}

/// A configured hypervisor: one variant per product, so that there is no setting
/// that is only for one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HypervisorConfig {
    /// A Proxmox VE cluster or node.
    Proxmox(ProxmoxConfig),
    /// A VMware vCenter.
    Vcenter(VcenterConfig),
}

impl HypervisorConfig {
    /// Hosts that may be chosen for new machines; `None` = any.
    pub fn allowed_nodes(&self) -> Option<&BTreeSet<NodeName>> {
        match self {
            HypervisorConfig::Proxmox(config) => config.nodes_allow.as_ref(),
            HypervisorConfig::Vcenter(config) => config.nodes_allow.as_ref(),
        }
    }

    /// Hosts that get no new machines for now.
    pub fn maintenance(&self) -> &BTreeSet<NodeName> {
        match self {
            HypervisorConfig::Proxmox(config) => &config.nodes_maintenance,
            HypervisorConfig::Vcenter(config) => &config.nodes_maintenance,
        }
    }

    /// The host that is preferred when nothing else decides.
    pub fn default_node(&self) -> Option<&NodeName> {
        match self {
            HypervisorConfig::Proxmox(config) => config.default_node.as_ref(),
            HypervisorConfig::Vcenter(config) => config.cluster.as_ref(),
        }
    }

    /// Where disks go that name no storage.
    pub fn default_storage(&self) -> Option<&StorageName> {
        match self {
            HypervisorConfig::Proxmox(config) => config.default_storage.as_ref(),
            HypervisorConfig::Vcenter(config) => config.datastore.as_ref(),
        }
    }

    /// Numeric ids from which new machines take theirs, for products that let us choose.
    pub fn id_range(&self) -> Option<(u32, u32)> {
        match self {
            HypervisorConfig::Proxmox(config) => Some(config.vmid_range),
            HypervisorConfig::Vcenter(_) => None,
        }
    }

    /// Where the entry stands.
    pub fn place(&self) -> &Place {
        match self {
            HypervisorConfig::Proxmox(config) => &config.place,
            HypervisorConfig::Vcenter(config) => &config.place,
        }
    }

    /// Where its API is: `https://HOST:PORT`, the port unless it is the usual one.
    pub fn endpoints(&self) -> &[String] {
        match self {
            HypervisorConfig::Proxmox(config) => &config.endpoints,
            HypervisorConfig::Vcenter(config) => std::slice::from_ref(&config.endpoint),
        }
    }

    /// What it logs in with.
    pub fn secret(&self) -> &SecretRef {
        match self {
            HypervisorConfig::Proxmox(config) => match &config.auth {
                ProxmoxAuth::Token { secret, .. } => secret,
                ProxmoxAuth::Password { password, .. } => password,
            },
            HypervisorConfig::Vcenter(config) => &config.password,
        }
    }

    /// Actions in flight when writing.
    pub fn writes_max(&self) -> usize {
        match self {
            HypervisorConfig::Proxmox(config) => config.writes_max,
            HypervisorConfig::Vcenter(config) => config.writes_max,
        }
    }
}

/// The settings of a Proxmox VE cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxmoxConfig {
    /// `https://host:port`, one cluster; the next one is used when one is down.
    pub endpoints: Vec<String>,
    /// How to log in.
    pub auth: ProxmoxAuth,
    /// A CA file below the root.
    pub ca_file: Option<String>,
    /// SHA-256 pins of leaf certificates, lower-case hex.
    pub fingerprints: Vec<String>,
    /// First and last vmid that new machines may take.
    pub vmid_range: (u32, u32),
    /// Hosts that may be chosen; `None` = any.
    pub nodes_allow: Option<BTreeSet<NodeName>>,
    /// Hosts that get no new machines.
    pub nodes_maintenance: BTreeSet<NodeName>,
    /// Preferred host.
    pub default_node: Option<NodeName>,
    /// Where disks go that name no storage.
    pub default_storage: Option<StorageName>,
    /// Requests in flight when reading.
    pub reads_max: usize,
    /// Actions in flight when writing.
    pub writes_max: usize,
    /// Where the entry stands.
    pub place: Place,
}

/// How to log in to Proxmox VE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxmoxAuth {
    /// An API token.
    Token {
        /// `user@realm!token`.
        id: String,
        /// Its secret.
        secret: SecretRef,
    },
    /// A ticket for a user.
    Password {
        /// `user@realm`.
        username: String,
        /// The password.
        password: SecretRef,
    },
}

/// The settings of a vCenter.
///
/// A host in the neutral sense is a cluster here, or a host that is in none: within a
/// cluster, which host a machine runs on is the cluster's own business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VcenterConfig {
    /// `https://host`, with a port unless it is 443.
    pub endpoint: String,
    /// `user@domain`.
    pub username: String,
    /// The password.
    pub password: SecretRef,
    /// A CA file below the root.
    pub ca_file: Option<String>,
    /// SHA-256 pins of leaf certificates, lower-case hex.
    pub fingerprints: Vec<String>,
    /// The datacenter that machines are in; `None` = the only one.
    pub datacenter: Option<String>,
    /// The cluster, or host in none, that is preferred when nothing else decides.
    pub cluster: Option<NodeName>,
    /// Where disks go that name no storage.
    pub datastore: Option<StorageName>,
    /// The folder of new machines, as a path below the datacenter's folder of machines.
    pub folder: Option<String>,
    /// Clusters that may be chosen; `None` = any.
    pub nodes_allow: Option<BTreeSet<NodeName>>,
    /// Clusters that get no new machines.
    pub nodes_maintenance: BTreeSet<NodeName>,
    /// Requests in flight when reading.
    pub reads_max: usize,
    /// Actions in flight when writing.
    pub writes_max: usize,
    /// Where the entry stands.
    pub place: Place,
}

/// A network that the YAML names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredNetwork {
    /// The VLAN tag that its cards get.
    pub vlan: Option<u16>,
    /// Its native name on each hypervisor.
    pub at: BTreeMap<HypervisorName, String>,
}

/// A pool that the YAML asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredPool {
    /// `pool/NAME`.
    pub key: ResourceKey,
    /// What is written on it; `None` = not compared.
    pub comment: Option<String>,
    /// The hypervisors it should exist on, and what it is there.
    pub at: BTreeMap<HypervisorName, PoolBinding>,
    /// Who may do what with it, by hypervisor. Where nothing is, nobody is granted anything.
    pub acl: BTreeMap<HypervisorName, Vec<Grant>>,
    /// Where the entry stands.
    pub place: Place,
}

impl DesiredPool {
    /// Those to whom something is granted on it.
    pub fn grantees(&self, at: &HypervisorName) -> BTreeSet<Grantee> {
        let all = self.acl.get(at).map_or(&[][..], Vec::as_slice);
        all.iter().map(|grant| grant.grantee.clone()).collect()
    }
}

/// What a pool is on one hypervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolBinding {
    /// A group of the pool's own name, which the product has as such.
    Named,
    /// Places of a vCenter that together do what a pool does.
    Vcenter {
        /// The folder of its machines, as a path below the datacenter's folder of machines.
        folder: Option<String>,
        /// The resource pool of its machines.
        resource_pool: Option<String>,
    },
}

/// A machine that the YAML asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredMachine {
    /// `vm/NAME`.
    pub key: ResourceKey,
    /// Where it should be.
    pub hypervisor: HypervisorName,
    /// What it should be. `name` is always set.
    pub spec: MachineSpec,
    /// On or off.
    pub power: Power,
    /// Where it is born from; `None` = nothing to create it from.
    pub birth: Option<BirthSource>,
    /// Machines that must have converged before this one is created or started.
    pub after: Vec<ResourceKey>,
    /// The host it must be on, when pinned.
    pub pinned_node: Option<NodeName>,
    /// Machines of one hypervisor with the same name here are kept on different hosts.
    pub spread: Option<Name>,
    /// The id it would like at birth.
    pub wanted_id: Option<NativeId>,
    /// The machine that exists and is to be taken over, on its hypervisor.
    pub adopt: Option<NativeId>,
    /// The key that it had before.
    pub was: Option<ResourceKey>,
    /// Which snapshots are taken of it, and how many are kept; `None` = nobody asks.
    pub snapshots: Option<SnapshotPolicy>,
    /// The service plan it follows, for people.
    pub service_plan: Option<Name>,
    /// Where the entry stands.
    pub place: Place,
    /// Where its fields stand, sorted by path; a field that is not here stands with the entry.
    pub places: Vec<(FieldPath, Place)>,
}

impl DesiredState {
    /// What is asked for of a machine, as a digest: two equal ones ask for the same, wherever
    /// it is written. What its pool is belongs to it: that decides where the machine is.
    pub fn digest_of(&self, machine: &DesiredMachine) -> String {
        let pool = machine.spec.pool.clone().map(ResourceKey::pool);
        let pool = pool.and_then(|key| self.pools.get(&key)?.at.get(&machine.hypervisor));
        match pool {
            Some(PoolBinding::Vcenter { folder, resource_pool }) => {
                super::digest_of(&(machine.digest(), folder, resource_pool))
            }
            Some(PoolBinding::Named) | None => machine.digest(),
        }
    }
}

impl DesiredMachine {
    fn digest(&self) -> String {
        super::digest_of(&(&self.hypervisor, &self.spec, self.power))
    }

    /// Where a field was written.
    pub fn place_of(&self, path: &FieldPath) -> &Place {
        match self.places.binary_search_by(|(at, _)| at.cmp(path)) {
            Ok(index) => &self.places[index].1,
            Err(_) => &self.place,
        }
    }
}

/// Which snapshots of a machine novahost takes and keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// Whether one is taken before a change that disturbs.
    pub before_change: bool,
    /// How many of those that novahost took are kept.
    pub keep: u32,
}

impl SnapshotPolicy {
    /// How many are kept unless the files say.
    pub const KEEP: u32 = 3;
}

/// What a new machine is made from, on its hypervisor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BirthSource {
    /// The entry of `images`.
    pub image: Name,
    /// What the image is there.
    pub medium: Medium,
    /// What the image needs to boot; decides `firmware` when the machine does not.
    pub firmware: Option<Firmware>,
    /// Whether its guests read first-boot configuration.
    pub takes_init: bool,
    /// Whether the guest agent is in the image.
    pub agent: bool,
    /// What the guest is.
    pub os: GuestOs,
}

/// What an image is on one hypervisor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Medium {
    /// A template that is cloned.
    Template {
        /// Its id, when the YAML gives it.
        id: Option<NativeId>,
        /// Its name; with an id, both must agree.
        name: Option<String>,
        /// Full copy or linked to the template.
        linked: bool,
        /// The snapshot of the template that a linked clone shares, on products where it
        /// needs one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snapshot: Option<String>,
    },
    /// An installer in the CD drive of an empty machine.
    Iso {
        /// Its native volume name.
        volume: String,
    },
}

impl Medium {
    /// The CD that a machine born from this has in its drive.
    pub fn cdrom(&self) -> Option<Cdrom> {
        match self {
            Medium::Template { .. } => None,
            Medium::Iso { volume } => Some(Cdrom::Iso(volume.clone())),
        }
    }
}

/// What runs in a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestOs {
    /// Linux.
    Linux,
    /// Windows.
    Windows,
    /// A BSD.
    Bsd,
    /// Anything else.
    Other,
}

impl GuestOs {
    /// The word used in YAML.
    pub fn as_str(self) -> &'static str {
        match self {
            GuestOs::Linux => "linux",
            GuestOs::Windows => "windows",
            GuestOs::Bsd => "bsd",
            GuestOs::Other => "other",
        }
    }
}

/// The rules of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// How much one run may do.
    pub budgets: Budgets,
    /// What names of new machines must look like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_pattern: Option<String>,
    /// Memory that placement leaves free on a host, percent.
    pub memory_headroom_percent: u8,
    /// Space that placement leaves free on a storage, percent.
    pub disk_headroom_percent: u8,
    /// Virtual processors per processor that placement allows.
    pub cpu_overcommit: u32,
}

impl Policy {
    /// Virtual processors that placement allows on a host with so many processors.
    pub fn cpu_limit(&self, cpus: u32) -> u64 {
        u64::from(cpus) * u64::from(self.cpu_overcommit)
    }

    /// Memory in bytes that placement allows on a host with so much.
    pub fn memory_limit(&self, total: Bytes) -> u64 {
        total.0 / 100 * u64::from(100 - self.memory_headroom_percent.min(100))
    }

    /// Space in bytes that placement leaves free on a storage of this size.
    pub fn disk_reserve(&self, total: Bytes) -> u64 {
        total.0 / 100 * u64::from(self.disk_headroom_percent.min(100))
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            budgets: Budgets::default(),
            name_pattern: None,
            memory_headroom_percent: 10,
            disk_headroom_percent: 10,
            cpu_overcommit: 4,
        }
    }
}

/// How many actions of a class one run may carry out; one more refuses the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// Deletes.
    pub deletes: u32,
    /// Replaces.
    pub replaces: u32,
    /// Restarts.
    pub restarts: u32,
    /// Actions of any kind but creation.
    pub changes: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { deletes: 5, replaces: 5, restarts: 20, changes: 500 }
    }
}

/// A static guest address that the YAML gives to a machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DesiredAddress {
    /// The address.
    pub address: IpAddr,
    /// Whose.
    pub key: ResourceKey,
}

/// A size with what it is for, in capacity sums.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Demand {
    /// Virtual processors.
    pub cpu: u32,
    /// Memory.
    pub memory: Bytes,
    /// Disk.
    pub disk: Bytes,
}

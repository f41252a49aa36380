//! The truth of a simulated vCenter: everything that a real one keeps, and what its guests do.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use super::access::{Access, Grant};
use super::events::Event;
use super::tagging::Tagging;
use super::tasks::Task;
use super::vm::Vm;
use super::xml::Elem;
use crate::authority::Authority;

/// A vCenter with all it holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct World {
    /// What it is called.
    pub name: String,
    /// Its `about.instanceUuid`.
    pub instance_uuid: String,
    /// Everything in the inventory, by managed object id.
    pub entities: BTreeMap<String, Entity>,
    /// Disk files that exist, by `[datastore] folder/name.vmdk`.
    pub volumes: BTreeMap<String, Volume>,
    /// Users, groups and roles.
    pub access: Access,
    /// Custom attributes, by key.
    pub fields: BTreeMap<i32, CustomField>,
    /// Tasks that are still remembered, by id.
    pub tasks: BTreeMap<String, Task>,
    /// What happened, oldest first.
    pub events: Vec<Event>,
    /// Sessions, by the value of their cookie.
    pub sessions: BTreeMap<String, Session>,
    /// Categories and tags, and what bears them.
    #[serde(default)]
    pub tagging: Tagging,
    /// Rules of clusters, by the cluster's id.
    #[serde(default)]
    pub rules: BTreeMap<String, Vec<Rule>>,
    /// Descriptions of guests that are kept, by name.
    #[serde(default)]
    pub specs: BTreeMap<String, KeptSpec>,
    /// Most sessions at a time.
    pub sessions_max: usize,
    /// The certificate authority, once made.
    #[serde(default)]
    pub authority: Option<Authority>,
    /// Counters behind ids and made-up values.
    pub counters: Counters,
}

/// A description of a guest that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSpec {
    /// `Windows` or `Linux`.
    pub kind: String,
    /// The description, as the API tells it.
    pub spec: Elem,
    /// When it was last changed, in milliseconds.
    pub changed_ms: u64,
}

impl World {
    /// The key that passwords in descriptions are encrypted with: every installation has its own.
    #[must_use]
    pub fn setup_key(&self) -> String {
        format!("a2V5{}", self.instance_uuid.replace('-', ""))
    }

    /// Keeps a description of a guest, given as the inside of a `CustomizationSpec`.
    pub(crate) fn keep_spec(
        &mut self,
        name: &str,
        kind: &str,
        inside: &str,
        changed_ms: u64,
    ) -> Result<(), String> {
        let inside = inside.replace("{KEY}", &self.setup_key());
        let text = format!(
            "<spec xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">{inside}</spec>"
        );
        let spec = super::xml::parse(&text)?;
        let checked = super::schema::schema().check_object(&spec, "CustomizationSpec");
        checked.map_err(|fault| fault.message)?;
        self.specs.insert(name.to_owned(), KeptSpec { kind: kind.to_owned(), spec, changed_ms });
        Ok(())
    }
}

/// Where the next made-up value comes from.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Counters {
    /// State of the generator.
    pub random: u64,
    /// Last number given to an object.
    pub object: u64,
    /// Last number given to a task.
    pub task: u64,
    /// Last number given to an event.
    pub event: i64,
    /// Last number given to a change of a machine.
    pub change: u64,
    /// Last number given to a rule.
    #[serde(default)]
    pub rule: i32,
}

/// One thing in the inventory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entity {
    /// Its name, as it is stored: `/`, `\` and `%` are escaped.
    pub name: String,
    /// Where it is; none for the root folder.
    pub parent: Option<String>,
    /// Permissions that are set right here.
    #[serde(default)]
    pub grants: Vec<Grant>,
    /// Values of custom attributes.
    #[serde(default)]
    pub custom: BTreeMap<i32, String>,
    /// What it is.
    pub kind: Kind,
}

/// What something in the inventory is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Kind {
    /// A folder, and what it may hold.
    Folder(Vec<String>),
    /// A datacenter and its four folders.
    Datacenter {
        /// Folder of the machines.
        vm: String,
        /// Folder of the hosts.
        host: String,
        /// Folder of the datastores.
        datastore: String,
        /// Folder of the networks.
        network: String,
    },
    /// A cluster.
    Cluster {
        /// Places machines by itself.
        drs: bool,
        /// Its root pool.
        pool: String,
    },
    /// A host.
    Host(Host),
    /// A resource pool.
    Pool(Pool),
    /// A datastore.
    Datastore(Datastore),
    /// A plain network.
    Network,
    /// A distributed port group: its key, its switch, and whether it is for uplinks.
    Portgroup {
        /// Key by which network cards name it.
        key: String,
        /// Its switch.
        switch: String,
        /// Not for machines.
        uplink: bool,
    },
    /// A distributed switch.
    Switch {
        /// UUID by which network cards name it.
        uuid: String,
    },
    /// A machine or a template.
    Vm(Box<Vm>),
}

/// A host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Host {
    /// Cores.
    pub cores: u32,
    /// Clock of each core.
    pub mhz: u32,
    /// Memory in MiB.
    pub memory_mb: u64,
    /// `connected`, `notResponding` or `disconnected`.
    pub connection: String,
    /// In maintenance.
    pub maintenance: bool,
    /// Datastores that it reaches.
    pub datastores: BTreeSet<String>,
    /// Networks that it reaches.
    pub networks: BTreeSet<String>,
}

/// A resource pool.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Pool {
    /// Its cluster.
    pub owner: String,
    /// Processors, in MHz.
    pub cpu: Allocation,
    /// Memory, in MiB.
    pub memory: Allocation,
}

/// How much of a resource something gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// Set aside.
    pub reservation: i64,
    /// May take from the parent what it lacks.
    pub expandable: bool,
    /// At most; -1 for no limit.
    pub limit: i64,
    /// `low`, `normal`, `high` or `custom`.
    pub level: String,
    /// Shares; they count with `custom`.
    pub shares: i64,
}

impl Default for Allocation {
    fn default() -> Self {
        Self {
            reservation: 0,
            expandable: true,
            limit: -1,
            level: "normal".to_owned(),
            shares: 4000,
        }
    }
}

/// A datastore.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Datastore {
    /// Size in bytes.
    pub capacity: u64,
    /// Used by what is no disk of ours.
    pub other_used: u64,
    /// `VMFS`, `NFS`, `vsan`.
    pub kind: String,
    /// Reachable.
    pub accessible: bool,
    /// Files that are no disks, such as ISO images: path to size.
    pub files: BTreeMap<String, u64>,
}

/// A disk file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The datastore's id.
    pub datastore: String,
    /// Size that the guest sees.
    pub bytes: u64,
    /// Space that it takes.
    pub used: u64,
    /// The file that it only holds the differences to.
    pub parent: Option<String>,
    /// The machine it was made for.
    pub owner: String,
}

/// A custom attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomField {
    /// Its name.
    pub name: String,
    /// The kind of object it is for; none for all.
    pub of: Option<String>,
}

/// A rule of a cluster about where machines run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its key, which the cluster gives.
    pub key: i32,
    /// Its UUID, likewise.
    pub uuid: String,
    /// Its name; no two of a cluster have the same.
    pub name: String,
    /// Keeps machines on one host instead of on different ones.
    pub together: bool,
    /// In force.
    pub enabled: bool,
    /// A machine is rather not started than in its breach.
    pub mandatory: bool,
    /// The machines that it is about.
    pub vms: Vec<String>,
}

/// A session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    /// Its key, which is not the cookie.
    pub key: String,
    /// Who, as `DOMAIN\name`.
    pub user: String,
    /// When it began.
    pub began_ms: u64,
    /// When it was last used.
    pub active_ms: u64,
    /// How often.
    pub calls: u64,
    /// What the client called itself.
    pub agent: String,
}

impl Entity {
    /// Something new, without permissions or attributes.
    #[must_use]
    pub fn new(name: &str, parent: Option<&str>, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            parent: parent.map(str::to_owned),
            grants: Vec::new(),
            custom: BTreeMap::new(),
            kind,
        }
    }

    /// The kind's name in the API.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            Kind::Folder(_) => "Folder",
            Kind::Datacenter { .. } => "Datacenter",
            Kind::Cluster { .. } => "ClusterComputeResource",
            Kind::Host(_) => "HostSystem",
            Kind::Pool(_) => "ResourcePool",
            Kind::Datastore(_) => "Datastore",
            Kind::Network => "Network",
            Kind::Portgroup { .. } => "DistributedVirtualPortgroup",
            Kind::Switch { .. } => "VmwareDistributedVirtualSwitch",
            Kind::Vm(_) => "VirtualMachine",
        }
    }
}

impl World {
    /// Reads a fixture.
    ///
    /// # Errors
    /// The text is not YAML, has not the shape of a fixture, or names what is not there.
    pub fn from_yaml(text: &str) -> anyhow::Result<Self> {
        super::fixture::read(text)
    }

    /// Reads what [`World::to_json`] wrote.
    ///
    /// # Errors
    /// The text is not JSON, or has not the shape of a world.
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

    /// A number that is the same for a seed.
    pub fn random(&mut self) -> u64 {
        self.counters.random = self.counters.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.counters.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A UUID that is the same for a seed.
    pub fn new_uuid(&mut self) -> String {
        let (high, low) = (self.random(), self.random());
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high.to_be_bytes());
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// A hardware address that no machine has, of the range that vCenter generates from.
    pub fn new_mac(&mut self) -> String {
        loop {
            let random = self.random();
            let mac = format!(
                "00:50:56:{:02x}:{:02x}:{:02x}",
                0x80 | (random >> 16 & 0x3f),
                random >> 8 & 0xff,
                random & 0xff
            );
            let taken = self.vms().any(|(_, vm)| vm.config.nics().any(|nic| nic.mac == mac));
            if !taken {
                return mac;
            }
        }
    }

    /// Puts something into the inventory, under an id that was never given before.
    pub fn add(&mut self, prefix: &str, entity: Entity) -> String {
        self.counters.object += 1;
        let id = format!("{prefix}-{}{}", id_letter(prefix, &entity), self.counters.object);
        self.entities.insert(id.clone(), entity);
        id
    }

    /// Another number for ids of what is no part of the inventory.
    pub fn next_object(&mut self) -> u64 {
        self.counters.object += 1;
        self.counters.object
    }

    /// The root folder.
    #[must_use]
    pub fn root(&self) -> &str {
        let root = self.entities.iter().find(|(_, entity)| entity.parent.is_none());
        root.map_or("", |(id, _)| id.as_str())
    }

    /// A machine or a template.
    #[must_use]
    pub fn vm(&self, id: &str) -> Option<&Vm> {
        match &self.entities.get(id)?.kind {
            Kind::Vm(vm) => Some(vm),
            _ => None,
        }
    }

    /// A machine or a template, to be changed.
    pub fn vm_mut(&mut self, id: &str) -> Option<&mut Vm> {
        match &mut self.entities.get_mut(id)?.kind {
            Kind::Vm(vm) => Some(vm),
            _ => None,
        }
    }

    /// All machines and templates.
    pub fn vms(&self) -> impl Iterator<Item = (&str, &Vm)> {
        self.entities.iter().filter_map(|(id, entity)| match &entity.kind {
            Kind::Vm(vm) => Some((id.as_str(), &**vm)),
            _ => None,
        })
    }

    /// A host.
    #[must_use]
    pub fn host(&self, id: &str) -> Option<&Host> {
        match &self.entities.get(id)?.kind {
            Kind::Host(host) => Some(host),
            _ => None,
        }
    }

    /// A host, to be changed.
    pub fn host_mut(&mut self, id: &str) -> Option<&mut Host> {
        match &mut self.entities.get_mut(id)?.kind {
            Kind::Host(host) => Some(host),
            _ => None,
        }
    }

    /// A resource pool.
    #[must_use]
    pub fn pool(&self, id: &str) -> Option<&Pool> {
        match &self.entities.get(id)?.kind {
            Kind::Pool(pool) => Some(pool),
            _ => None,
        }
    }

    /// A datastore.
    #[must_use]
    pub fn datastore(&self, id: &str) -> Option<&Datastore> {
        match &self.entities.get(id)?.kind {
            Kind::Datastore(datastore) => Some(datastore),
            _ => None,
        }
    }

    /// What has this for a parent.
    pub fn children<'a>(&'a self, parent: &'a str) -> impl Iterator<Item = (&'a str, &'a Entity)> {
        self.entities
            .iter()
            .filter(move |(_, entity)| entity.parent.as_deref() == Some(parent))
            .map(|(id, entity)| (id.as_str(), entity))
    }

    /// Hosts of a cluster.
    pub fn hosts_of<'a>(&'a self, cluster: &'a str) -> impl Iterator<Item = (&'a str, &'a Host)> {
        self.children(cluster).filter_map(|(id, entity)| match &entity.kind {
            Kind::Host(host) => Some((id, host)),
            _ => None,
        })
    }

    /// The first thing of a kind that has this name, escaped or not.
    #[must_use]
    pub fn find(&self, kind: &str, name: &str) -> Option<&str> {
        let escaped = escape_name(name);
        self.entities
            .iter()
            .find(|(_, entity)| {
                (entity.name == name || entity.name == escaped)
                    && super::schema::schema().object_is(entity.type_name(), kind)
            })
            .map(|(id, _)| id.as_str())
    }

    /// Whether `id` is `above`, or lies below it.
    #[must_use]
    pub fn is_below(&self, id: &str, above: &str) -> bool {
        let mut at = Some(id);
        while let Some(id) = at {
            if id == above {
                return true;
            }
            at = self.entities.get(id).and_then(|entity| entity.parent.as_deref());
        }
        false
    }

    /// The datastore that a machine's own files lie on.
    #[must_use]
    pub fn home_of(&self, vm: &Vm) -> Option<&str> {
        let (name, _) = vm.path.strip_prefix('[')?.split_once(']')?;
        self.datastore_named(name)
    }

    /// A datastore by its name. Machines name them often: only datastores are looked through.
    #[must_use]
    pub fn datastore_named(&self, name: &str) -> Option<&str> {
        let (from, to) = ("datastore-".to_owned(), "datastore.".to_owned());
        let mut all = self.entities.range(from..to);
        all.find(|(_, entity)| entity.name == name).map(|(id, _)| id.as_str())
    }

    /// Bytes that are free on a datastore.
    #[must_use]
    pub fn free_space(&self, id: &str) -> u64 {
        let Some(datastore) = self.datastore(id) else { return 0 };
        let used: u64 = self
            .volumes
            .values()
            .filter(|volume| volume.datastore == id)
            .map(|volume| volume.used)
            .sum();
        let files: u64 = datastore.files.values().sum();
        let swap: u64 = self
            .vms()
            .filter(|(_, vm)| vm.power == "poweredOn" && self.home_of(vm) == Some(id))
            .map(|(_, vm)| vm.swap())
            .sum();
        datastore.capacity.saturating_sub(used + files + swap + datastore.other_used)
    }

    /// A new token for a change of a machine: nobody can tell one from the other by its size.
    pub fn new_change(&mut self, now_ms: u64) -> String {
        self.counters.change += 1;
        format!(
            "{}.{:06}Z",
            super::time::format(now_ms).trim_end_matches('Z'),
            self.counters.change
        )
    }
}

/// The letters that ids of folders and clusters carry.
fn id_letter(prefix: &str, entity: &Entity) -> &'static str {
    match (&entity.kind, prefix) {
        (Kind::Cluster { .. }, _) => "c",
        (Kind::Folder(children), "group") => match children.first().map(String::as_str) {
            Some("Folder") => match children.get(1).map(String::as_str) {
                Some("VirtualMachine") => "v",
                Some("ComputeResource") => "h",
                Some("Datastore") => "s",
                Some("Network") => "n",
                _ => "d",
            },
            _ => "p",
        },
        _ => "",
    }
}

/// A name as it is stored: an escape that is there already stays as it is.
#[must_use]
pub fn escape_name(name: &str) -> String {
    let mut out = String::new();
    for (at, letter) in name.char_indices() {
        let rest = name.get(at + 1..at + 3).unwrap_or("").to_ascii_lowercase();
        match letter {
            '/' => out.push_str("%2f"),
            '\\' => out.push_str("%5c"),
            '%' if !matches!(rest.as_str(), "2f" | "5c" | "25") => out.push_str("%25"),
            other => out.push(other),
        }
    }
    out
}

/// A UUID that is the same for the same words.
#[must_use]
pub fn uuid_of(words: &str) -> String {
    let digest = Sha1::digest(words.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_sha1_bytes(bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_once() {
        assert_eq!(escape_name("a/b\\c%d%2fe"), "a%2fb%5cc%25d%2fe");
    }
}

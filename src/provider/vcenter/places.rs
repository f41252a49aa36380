//! Where things are in one vCenter: folders, clusters, hosts, resource pools, datastores
//! and networks by reference, with the names that a configuration uses for them.
//!
//! Pure: made from one read of everything but the machines.

use super::vim::{
    MoRef, Node,
    collect::{Collected, ObjectContent, Paths},
};
use crate::model::{Bytes, Grantee, Name, NodeName, ObservedNode, ObservedStorage, StorageName};
use std::collections::{BTreeMap, BTreeSet};

/// What a pool of the configuration is in this vCenter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolPlace {
    /// The folder of its machines, as a path below the datacenter's; absent = the default.
    pub folder: Option<String>,
    /// The resource pool of its machines, by the end of its path below the cluster's root, or,
    /// with a slash in front, by the whole of it; absent = the root of the cluster.
    pub resource_pool: Option<String>,
    /// Those to whom the configuration grants something on it.
    pub grantees: BTreeSet<Grantee>,
}

/// One object with a name and a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    parent: Option<MoRef>,
}

/// A host, a cluster with all of its hosts, or a host in none: what a machine is placed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodePlace {
    /// The root of its resource pools.
    pub root_pool: Option<MoRef>,
    /// The host that has to be named, where the product does not choose one itself.
    pub host: Option<MoRef>,
    /// The hosts in it.
    pub hosts: BTreeSet<MoRef>,
    /// Whether resource pools can be made in it.
    pub takes_pools: bool,
    /// Cluster or host in none, by its reference.
    pub compute: MoRef,
    /// Rules of a cluster that chooses hosts, as they were read.
    pub rules: Vec<Node>,
    datastores: BTreeSet<MoRef>,
    networks: BTreeSet<MoRef>,
    seen: ObservedNode,
}

/// A datastore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DatastorePlace {
    pub name: StorageName,
    accessible: bool,
    total: Bytes,
    free: Bytes,
    uncommitted: Option<Bytes>,
    hosts: usize,
}

/// What a card is plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NetworkPlace {
    pub name: String,
    pub reference: MoRef,
    /// Key of the port group and UUID of its switch, for a distributed one.
    pub port: Option<(String, String)>,
}

/// The index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    entries: BTreeMap<MoRef, Entry>,
    pub nodes: BTreeMap<NodeName, NodePlace>,
    pub datastores: BTreeMap<MoRef, DatastorePlace>,
    pub networks: Vec<NetworkPlace>,
    /// The folder of machines of each datacenter.
    vm_folders: BTreeMap<MoRef, MoRef>,
    /// Names that a cluster or host has had so far.
    ambiguous: BTreeSet<NodeName>,
    /// Values of custom attributes of folders and resource pools, by the attribute's key.
    customs: BTreeMap<MoRef, BTreeMap<i64, String>>,
    /// Roles that the account has on folders and resource pools.
    roles: BTreeMap<MoRef, Vec<i64>>,
    /// Roles that the account has on the root of everything.
    pub root_roles: Vec<i64>,
    /// Machines that hosts say they have, whether the account sees these or not.
    pub on_hosts: BTreeSet<MoRef>,
    /// What could not be read and may hide something.
    pub gaps: Vec<String>,
}

/// What has to be read for an index.
pub(super) fn paths() -> Vec<Paths> {
    vec![
        Paths::of("Datacenter", &["name", "parent", "vmFolder"]),
        Paths::of("Folder", &["name", "parent", "effectiveRole", "customValue"]),
        Paths::of(
            "HostSystem",
            &[
                "name",
                "parent",
                "runtime.connectionState",
                "runtime.inMaintenanceMode",
                "summary.hardware.memorySize",
                "summary.hardware.numCpuThreads",
                "datastore",
                "network",
                "vm",
            ],
        ),
        Paths::of("ComputeResource", &["name", "parent", "host", "resourcePool"]),
        Paths::of("ClusterComputeResource", &["configurationEx"]),
        Paths::of("ResourcePool", &["name", "parent", "owner", "effectiveRole", "customValue"]),
        Paths::of(
            "Datastore",
            &[
                "name",
                "parent",
                "summary.capacity",
                "summary.freeSpace",
                "summary.uncommitted",
                "summary.accessible",
                "summary.maintenanceMode",
                "host",
            ],
        ),
        Paths::of("Network", &["name", "parent"]),
        Paths::of("DistributedVirtualPortgroup", &["key", "config.distributedVirtualSwitch"]),
        Paths::of(
            "DistributedVirtualSwitch",
            &["name", "parent", "uuid", "config.uplinkPortgroup"],
        ),
    ]
}

/// A name as people write it: the server spells three characters as escapes.
pub(super) fn unescape(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find('%') {
        plain.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 3).map(str::to_ascii_lowercase);
        let (text, used) = match code.as_deref() {
            Some("2f") => ("/", 3),
            Some("5c") => ("\\", 3),
            Some("25") => ("%", 3),
            _ => ("%", 1),
        };
        plain.push_str(text);
        rest = &rest[at + used..];
    }
    plain.push_str(rest);
    plain
}

fn text<'a>(object: &'a ObjectContent, path: &str) -> Option<&'a str> {
    object.props.get(path).map(|node| node.text.as_str())
}

fn number(object: &ObjectContent, path: &str) -> u64 {
    let value = object.props.get(path).and_then(Node::as_i64);
    value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0)
}

fn flag(object: &ObjectContent, path: &str) -> Option<bool> {
    object.props.get(path).and_then(Node::as_bool)
}

fn references(object: &ObjectContent, path: &str) -> BTreeSet<MoRef> {
    object.props.get(path).map(Node::morefs).unwrap_or_default().into_iter().collect()
}

fn reference(object: &ObjectContent, path: &str) -> Option<MoRef> {
    object.props.get(path).and_then(Node::as_moref)
}

/// A name as a part of a path: what the server stores.
pub(super) fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2f").replace('\\', "%5c")
}

fn rules_of(compute: &ObjectContent) -> Vec<Node> {
    let config = compute.props.get("configurationEx");
    config.into_iter().flat_map(|it| it.all("rule")).cloned().collect()
}

/// The names in a path of folders. A slash, a backslash or a per cent sign in a name is
/// written as the server stores it: `%2f`, `%5c`, `%25`.
pub(super) fn path_names(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty()).map(unescape).collect()
}

/// Whether a resource pool is the one that a configuration means.
fn share_fits(wanted: &str, names: &[String]) -> bool {
    let wanted_names = path_names(wanted);
    match wanted.starts_with('/') {
        true => names == wanted_names,
        false => !wanted_names.is_empty() && names.ends_with(&wanted_names),
    }
}

impl Places {
    /// Reads the answer. Clusters, hosts, datastores and networks are those of one
    /// datacenter: another may have some of the same names.
    pub fn of(read: &Collected, root: &MoRef, datacenter: Option<&str>) -> Self {
        let mut places = Self::default();
        for object in &read.objects {
            if object.obj.kind == "VirtualMachine" {
                continue;
            }
            // An account that may not read the root has no role there, which is told by itself.
            let told = object.missing.iter().filter(|_| object.obj != *root);
            for (path, fault) in told {
                places.gaps.push(format!(
                    "`{path}` of {} may not be read: {}",
                    object.obj,
                    fault.kind.name()
                ));
            }
            let name = unescape(text(object, "name").unwrap_or_default());
            let entry = Entry { name, parent: reference(object, "parent") };
            if let Some(roles) = object.props.get("effectiveRole") {
                let roles = roles.children.iter().filter_map(Node::as_i64).collect();
                places.roles.insert(object.obj.clone(), roles);
            }
            if object.obj == *root {
                places.root_roles = places.roles(root).to_vec();
            }
            let values = object.props.get("customValue").map_or(&[][..], |it| &it.children);
            let custom = |it: &Node| Some((it.i64_at("key")?, it.text_at("value")?.to_owned()));
            let values: BTreeMap<i64, String> = values.iter().filter_map(custom).collect();
            if !values.is_empty() {
                places.customs.insert(object.obj.clone(), values);
            }
            places.entries.insert(object.obj.clone(), entry);
            if object.obj.kind == "HostSystem" {
                places.on_hosts.extend(references(object, "vm"));
            }
            if let Some(folder) = reference(object, "vmFolder") {
                places.vm_folders.insert(object.obj.clone(), folder);
            }
        }
        places.gaps.sort();
        places.gaps.dedup();
        let Ok(center) = places.datacenter(datacenter) else { return places };
        let here: Vec<&ObjectContent> =
            read.objects.iter().filter(|it| places.is_below(&it.obj, &center)).collect();
        places.take_nodes(&here);
        places.take_datastores(&here);
        places.take_networks(&here);
        places
    }

    fn take_nodes(&mut self, here: &[&ObjectContent]) {
        let hosts: BTreeMap<&MoRef, &ObjectContent> = here
            .iter()
            .copied()
            .filter(|it| it.obj.kind == "HostSystem")
            .map(|it| (&it.obj, it))
            .collect();
        for compute in here.iter().filter(|it| it.obj.kind.ends_with("ComputeResource")) {
            let members = references(compute, "host");
            let drs = compute
                .props
                .get("configurationEx")
                .and_then(|config| config.bool_at("drsConfig.enabled"));
            let chooses = compute.obj.kind == "ClusterComputeResource" && drs == Some(true);
            let alone = compute.obj.kind != "ClusterComputeResource";
            if chooses || alone {
                let name = self.name_of(&compute.obj);
                let only = members.iter().next().cloned().filter(|_| alone);
                self.add_node(&name, compute, &members, only, &hosts);
            } else {
                // Where the cluster does not choose a host, the plan has to.
                for host in &members {
                    let name = self.name_of(host);
                    self.add_node(
                        &name,
                        compute,
                        &[host.clone()].into(),
                        Some(host.clone()),
                        &hosts,
                    );
                }
            }
        }
    }

    fn add_node(
        &mut self,
        name: &str,
        compute: &ObjectContent,
        members: &BTreeSet<MoRef>,
        host: Option<MoRef>,
        hosts: &BTreeMap<&MoRef, &ObjectContent>,
    ) {
        // A cluster that chooses hosts is the only place with rules about them.
        let host_chosen = host.is_none() && compute.obj.kind == "ClusterComputeResource";
        let mut seen = ObservedNode { spreads: host_chosen, ..ObservedNode::default() };
        let (mut datastores, mut networks) = (BTreeSet::new(), BTreeSet::new());
        for host in members.iter().filter_map(|host| hosts.get(host)) {
            let connected = text(host, "runtime.connectionState") == Some("connected");
            if !connected || flag(host, "runtime.inMaintenanceMode") == Some(true) {
                continue;
            }
            seen.online = true;
            let memory = number(host, "summary.hardware.memorySize");
            seen.memory.0 = seen.memory.0.saturating_add(memory);
            let threads = number(host, "summary.hardware.numCpuThreads");
            seen.cpus = seen.cpus.saturating_add(u32::try_from(threads).unwrap_or(u32::MAX));
            datastores.extend(references(host, "datastore"));
            networks.extend(references(host, "network"));
        }
        let host_is_chosen = host.is_none();
        let place = NodePlace {
            root_pool: reference(compute, "resourcePool"),
            host,
            hosts: members.clone(),
            takes_pools: compute.obj.kind == "ClusterComputeResource" && host_is_chosen,
            compute: compute.obj.clone(),
            rules: match host_chosen {
                true => rules_of(compute),
                false => Vec::new(),
            },
            datastores,
            networks,
            seen,
        };
        // Two of one name in two folders: whichever was meant, nobody knows.
        if self.nodes.remove(name).is_some() || !self.ambiguous.insert(name.into()) {
            self.gaps.push(format!("several clusters or hosts are called `{name}`"));
            return;
        }
        self.nodes.insert(name.into(), place);
    }

    fn take_datastores(&mut self, here: &[&ObjectContent]) {
        for object in here.iter().filter(|it| it.obj.kind == "Datastore") {
            let mode = text(object, "summary.maintenanceMode");
            let hosts = object.props.get("host").map_or(0, |hosts| hosts.children.len());
            let place = DatastorePlace {
                name: self.name_of(&object.obj).as_str().into(),
                accessible: flag(object, "summary.accessible") != Some(false)
                    && mode.is_none_or(|mode| mode.is_empty() || mode == "normal"),
                total: Bytes(number(object, "summary.capacity")),
                free: Bytes(number(object, "summary.freeSpace")),
                uncommitted: object
                    .props
                    .contains_key("summary.uncommitted")
                    .then(|| Bytes(number(object, "summary.uncommitted"))),
                hosts,
            };
            self.datastores.insert(object.obj.clone(), place);
        }
    }

    fn take_networks(&mut self, here: &[&ObjectContent]) {
        let switches = here.iter().filter(|it| it.obj.kind.ends_with("VirtualSwitch"));
        let (mut uuids, mut uplinks) = (BTreeMap::new(), BTreeSet::new());
        for switch in switches {
            uuids.insert(switch.obj.clone(), text(switch, "uuid").unwrap_or_default().to_owned());
            // Cards of machines do not go into the uplinks of a switch.
            uplinks.extend(references(switch, "config.uplinkPortgroup"));
        }
        for object in here {
            let is_network = matches!(
                object.obj.kind.as_str(),
                "Network" | "DistributedVirtualPortgroup" | "OpaqueNetwork"
            );
            if !is_network || uplinks.contains(&object.obj) {
                continue;
            }
            let switch = reference(object, "config.distributedVirtualSwitch");
            let port = text(object, "key").zip(switch.and_then(|it| uuids.get(&it)));
            self.networks.push(NetworkPlace {
                name: self.name_of(&object.obj),
                reference: object.obj.clone(),
                port: port.map(|(key, uuid)| (key.to_owned(), uuid.clone())),
            });
        }
    }

    fn name_of(&self, object: &MoRef) -> String {
        self.entries.get(object).map_or_else(String::new, |entry| entry.name.clone())
    }

    /// Whether this index knows an object: one that it does not know is newer.
    pub fn knows(&self, object: &MoRef) -> bool {
        self.entries.contains_key(object)
    }

    /// The names of folders on the way to this one from its datacenter's folder of machines;
    /// none = that folder itself. A name may have a slash in it.
    pub fn folder_path(&self, folder: &MoRef) -> Option<Vec<String>> {
        let mut names = Vec::new();
        let mut at = folder.clone();
        // A chain that is longer than this is a circle.
        for _ in 0..64 {
            if self.vm_folders.values().any(|root| *root == at) {
                names.reverse();
                return Some(names);
            }
            let entry = self.entries.get(&at)?;
            names.push(entry.name.clone());
            at = entry.parent.clone()?;
        }
        None
    }

    /// The datacenter of this name, or the only one.
    pub fn datacenter(&self, name: Option<&str>) -> Result<MoRef, String> {
        let named = |it: &&MoRef| name.is_none_or(|name| self.name_of(it) == name);
        let mut found = self.vm_folders.keys().filter(named);
        match (found.next(), found.next(), name) {
            (Some(one), None, _) => Ok(one.clone()),
            (None, _, Some(name)) => Err(format!("there is no datacenter `{name}`")),
            (None, _, None) => Err("no datacenter is visible".to_owned()),
            (Some(_), Some(_), _) => {
                Err("there are several datacenters; set `defaults.datacenter`".to_owned())
            }
        }
    }

    /// The folder of machines of a datacenter.
    pub fn vm_folder(&self, datacenter: &MoRef) -> Option<MoRef> {
        self.vm_folders.get(datacenter).cloned()
    }

    /// What is called so right in a folder or a resource pool.
    pub fn child(&self, parent: &MoRef, kind: &str, name: &str) -> Option<MoRef> {
        let mut inside = self.entries.iter().filter(|(reference, entry)| {
            reference.kind == kind && entry.parent.as_ref() == Some(parent) && entry.name == name
        });
        inside.next().map(|(reference, _)| reference.clone())
    }

    /// Whether nothing but machines can be in a folder or a resource pool.
    pub fn is_childless(&self, parent: &MoRef) -> bool {
        !self.entries.values().any(|entry| entry.parent.as_ref() == Some(parent))
    }

    /// The value of a custom attribute of a folder or a resource pool.
    pub fn custom(&self, object: &MoRef, key: i64) -> Option<&str> {
        self.customs.get(object)?.get(&key).map(String::as_str)
    }

    /// Folders and resource pools with any custom attribute.
    pub fn with_customs(&self) -> impl Iterator<Item = &MoRef> {
        self.customs.keys()
    }

    /// Roles that the account has on a folder or a resource pool.
    pub fn roles(&self, object: &MoRef) -> &[i64] {
        self.roles.get(object).map_or(&[], Vec::as_slice)
    }

    /// The folder at a path below a datacenter's folder of machines.
    pub fn folder(&self, datacenter: &MoRef, path: &str) -> Result<MoRef, String> {
        let missing = || format!("there is no folder `{path}` for machines");
        let mut at = self.vm_folder(datacenter).ok_or_else(missing)?;
        for name in path_names(path) {
            at = self.child(&at, "Folder", &name).ok_or_else(missing)?;
        }
        Ok(at)
    }

    /// The resource pool of a cluster or host that machines are put into.
    pub fn resource_pool(&self, node: &NodePlace, path: Option<&str>) -> Result<MoRef, String> {
        let root = node.root_pool.clone().ok_or("it has no root resource pool")?;
        let Some(path) = path else { return Ok(root) };
        let found = self.share(node, path)?;
        found.map(|(one, _)| one).ok_or_else(|| format!("there is no resource pool `{path}`"))
    }

    /// A resource pool of a cluster or host with the names on the way to it, by the end of its
    /// path or, with a slash in front, by the whole of it. Two that fit are told by name:
    /// which one is meant decides what machines may use.
    pub fn share(
        &self,
        node: &NodePlace,
        path: &str,
    ) -> Result<Option<(MoRef, Vec<String>)>, String> {
        let Some(root) = &node.root_pool else { return Ok(None) };
        let pools = self.entries.keys().filter(|it| it.kind == "ResourcePool");
        let mut found = pools
            .filter_map(|it| Some((it, self.pool_path(it, root)?)))
            .filter(|(_, names)| share_fits(path, names));
        let shown = |names: &[String]| {
            names.iter().map(|name| format!("/{}", escape(name))).collect::<String>()
        };
        match (found.next(), found.next()) {
            (Some((one, names)), None) => Ok(Some((one.clone(), names))),
            (None, _) => Ok(None),
            (Some((_, one)), Some((_, two))) => Err(format!(
                "`{path}` may be the resource pool `{}` or `{}`",
                shown(&one),
                shown(&two)
            )),
        }
    }

    /// The names of resource pools on the way to this one from a root; none = the root.
    pub fn pool_path(&self, pool: &MoRef, root: &MoRef) -> Option<Vec<String>> {
        let mut names = Vec::new();
        let mut at = pool.clone();
        // A chain that is longer than this is a circle.
        for _ in 0..64 {
            if at == *root {
                names.reverse();
                return Some(names);
            }
            let entry = self.entries.get(&at)?;
            names.push(entry.name.clone());
            at = entry.parent.clone()?;
        }
        None
    }

    fn is_below(&self, object: &MoRef, root: &MoRef) -> bool {
        let mut at = Some(object);
        for _ in 0..64 {
            match at {
                Some(reference) if reference == root => return true,
                Some(reference) => {
                    at = self.entries.get(reference).and_then(|entry| entry.parent.as_ref());
                }
                None => return false,
            }
        }
        false
    }

    /// The node of a machine: the one that its host is in.
    pub fn node_of_host(&self, host: &MoRef) -> Option<&NodeName> {
        self.nodes.iter().find(|(_, node)| node.hosts.contains(host)).map(|(name, _)| name)
    }

    /// The node of a resource pool, for machines that are on no host.
    pub fn node_of_pool(&self, pool: &MoRef) -> Option<&NodeName> {
        let below = |node: &NodePlace| {
            node.root_pool.as_ref().is_some_and(|root| self.is_below(pool, root))
        };
        self.nodes.iter().find(|(_, node)| below(node)).map(|(name, _)| name)
    }

    /// A datastore by name.
    pub fn datastore(&self, name: &str) -> Option<&MoRef> {
        self.datastores.iter().find(|(_, it)| it.name.as_str() == name).map(|(it, _)| it)
    }

    /// A network by name, among those that the node reaches. Which of several is meant,
    /// nobody knows: networks keep people apart.
    pub fn network(&self, name: &str, node: Option<&NodePlace>) -> Result<&NetworkPlace, String> {
        let near =
            |it: &&NetworkPlace| node.is_none_or(|node| node.networks.contains(&it.reference));
        let mut found = self.networks.iter().filter(|it| it.name == name).filter(near);
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(format!("there is no network `{name}` that it can be plugged into")),
            (Some(_), Some(_)) => Err(format!("there are several networks `{name}`")),
        }
    }

    /// What a card is plugged into, by its backing.
    pub fn network_of<'a>(&'a self, backing: &'a Node) -> Option<&'a str> {
        let key = backing.word_at("port.portgroupKey");
        if let Some(key) = key {
            let at_key = |it: &&NetworkPlace| it.port.as_ref().is_some_and(|(k, _)| k == key);
            return self.networks.iter().find(at_key).map(|it| it.name.as_str());
        }
        let network = backing.moref_at("network");
        let known = network.and_then(|it| self.networks.iter().find(|net| net.reference == it));
        known.map(|it| it.name.as_str()).or_else(|| backing.word_at("deviceName"))
    }

    /// The pool of the configuration whose folder and resource pool these are.
    pub fn pool_of<'a>(
        &self,
        pools: &'a BTreeMap<Name, PoolPlace>,
        default_folder: &str,
        folder: Option<&MoRef>,
        resource_pool: Option<&MoRef>,
    ) -> Option<&'a Name> {
        let path = self.folder_path(folder?)?;
        let is_root = resource_pool.is_none_or(|pool| {
            self.nodes.values().any(|node| node.root_pool.as_ref() == Some(pool))
        });
        let share = resource_pool.filter(|_| !is_root).and_then(|pool| {
            let mut roots = self.nodes.values().filter_map(|node| node.root_pool.as_ref());
            roots.find_map(|root| self.pool_path(pool, root))
        });
        let is = |place: &PoolPlace| {
            let wanted = path_names(place.folder.as_deref().unwrap_or(default_folder));
            let same_folder = wanted == path;
            let same_pool = match &place.resource_pool {
                Some(wanted) => share.as_ref().is_some_and(|names| share_fits(wanted, names)),
                None => is_root,
            };
            same_folder && same_pool
        };
        pools.iter().find(|(_, place)| is(place)).map(|(name, _)| name)
    }

    /// Hosts as the model sees them.
    pub fn observed_nodes(&self) -> BTreeMap<NodeName, ObservedNode> {
        let names = |node: &NodePlace| {
            let reached = self.networks.iter().filter(|it| node.networks.contains(&it.reference));
            reached.map(|it| it.name.clone()).collect()
        };
        self.nodes
            .iter()
            .map(|(name, node)| {
                let seen = ObservedNode { networks: Some(names(node)), ..node.seen.clone() };
                (name.clone(), seen)
            })
            .collect()
    }

    /// Datastores as the model sees them, one row for each node that reaches them.
    pub fn observed_storages(&self) -> Vec<ObservedStorage> {
        let mut rows = Vec::new();
        for (name, node) in &self.nodes {
            for store in node.datastores.iter().filter_map(|it| self.datastores.get(it)) {
                rows.push(ObservedStorage {
                    name: store.name.clone(),
                    node: name.clone(),
                    shared: store.hosts > node.hosts.len(),
                    holds_disks: true,
                    active: store.accessible,
                    total: store.total,
                    used: Bytes(store.total.0.saturating_sub(store.free.0)),
                    promised: store.uncommitted,
                });
            }
        }
        rows.sort();
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_folder_whose_name_has_a_slash() {
        assert_eq!(path_names("/a%2Fb/team/"), ["a/b", "team"]);
        assert_eq!(path_names(""), [""; 0]);
    }

    fn object(reference: (&str, &str), name: &str, parent: Option<(&str, &str)>) -> ObjectContent {
        let text = |name: &str| Node { text: name.into(), ..Node::new("val") };
        let to = |(kind, id): (&str, &str)| Node {
            ref_type: Some(kind.into()),
            text: id.into(),
            ..Node::new("val")
        };
        let mut props: BTreeMap<String, Node> = [("name".to_owned(), text(name))].into();
        props.extend(parent.map(|parent| ("parent".to_owned(), to(parent))));
        if reference.0 == "Datacenter" {
            let folder = format!("vm-of-{}", reference.1);
            props.insert("vmFolder".to_owned(), to(("Folder", &folder)));
        }
        let obj = MoRef::new(reference.0, reference.1);
        ObjectContent { obj, props, missing: BTreeMap::new() }
    }

    /// What is not asked for its parent is in no datacenter.
    #[test]
    fn everything_is_asked_where_it_is() {
        let inherits = ["ClusterComputeResource", "DistributedVirtualPortgroup"];
        for paths in paths() {
            let asked = paths.required.iter().any(|path| path == "parent");
            assert!(asked || inherits.contains(&paths.kind), "{}", paths.kind);
        }
    }

    #[test]
    fn what_another_datacenter_calls_the_same_is_not_taken_for_it() {
        let (one, two) = (("Datacenter", "dc-1"), ("Datacenter", "dc-2"));
        let objects = vec![
            object(one, "Lyon", None),
            object(two, "Paris", None),
            object(("Datastore", "ds-1"), "fast", Some(one)),
            object(("Datastore", "ds-2"), "fast", Some(two)),
            object(("ComputeResource", "c-1"), "blue", Some(one)),
            object(("ComputeResource", "c-2"), "blue", Some(two)),
        ];
        let read = Collected { objects, ..Collected::default() };
        let root = MoRef::new("Folder", "group-d1");
        for (name, id, compute) in [("Lyon", "ds-1", "c-1"), ("Paris", "ds-2", "c-2")] {
            let places = Places::of(&read, &root, Some(name));
            assert_eq!(places.datastore("fast").map(|it| it.value.as_str()), Some(id));
            assert_eq!(places.nodes["blue"].compute.value, compute);
        }
        // Which one is meant is said by nobody: nothing is placed anywhere.
        let nowhere = Places::of(&read, &root, None);
        assert!(nowhere.datacenter(None).is_err());
        assert!(nowhere.nodes.is_empty() && nowhere.datastore("fast").is_none());
    }

    #[test]
    fn names_are_read_as_people_write_them() {
        for (stored, plain) in [
            ("web-1", "web-1"),
            ("a%2fb", "a/b"),
            ("a%5Cb%25", "a\\b%"),
            ("100%", "100%"),
            ("%2", "%2"),
            ("%zz", "%zz"),
            ("ü%2F", "ü/"),
        ] {
            assert_eq!(unescape(stored), plain);
        }
    }
}

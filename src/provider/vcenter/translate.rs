//! Wire to model: what a vCenter reports of a machine, in the canonical vocabulary.
//!
//! Pure. Inputs are properties as they were read and the index of places; outputs are
//! observations. What was not asked for and what is unset look the same here: callers
//! ask for everything that they want to be told.

use super::{
    devices::{devices_of, iso_of, nic_model, observed},
    extra::{self, DeclaredKeys, Extra},
    places::{Places, PoolPlace, path_names, unescape},
    slots::bus_of,
    vim::{MoRef, Node, collect::ObjectContent},
};
use crate::{
    model::{
        BootDevice, Bytes, Cdrom, Device, DeviceKind, DeviceMap, DeviceName, DiskSpec, Firmware,
        GuestKind, Hot, Listed, Lock, LockKind, MachineSpec, MarkerState, Name, NativeId,
        NetworkBinding, NicSpec, NodeName, ObservedMachine, OnRemove, PowerState, ProjectName,
        SnapshotSeen,
    },
    ownership,
    planted::Bug,
    provider::guest_init,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What every machine is asked for: enough for a listing, and for whose it is.
pub(super) const LEAN: [&str; 11] = [
    "name",
    "parent",
    "resourcePool",
    "runtime.powerState",
    "runtime.connectionState",
    "runtime.host",
    "runtime.question",
    "config.template",
    "config.instanceUuid",
    "config.hardware.numCPU",
    "config.hardware.memoryMB",
];

/// What is read besides of a machine that somebody asks about.
pub(super) const DETAIL: [&str; 14] = [
    "config.changeVersion",
    "config.annotation",
    "config.firmware",
    "config.version",
    "config.bootOptions",
    "config.hardware.numCoresPerSocket",
    "config.hardware.device",
    "config.cpuHotAddEnabled",
    "config.cpuHotRemoveEnabled",
    "config.memoryHotAddEnabled",
    "config.tools.pendingCustomization",
    "snapshot",
    "guest.net",
    "guest.toolsRunningStatus",
];

/// How machines are read into the model.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    /// Whose mark counts as ours.
    pub project: Option<&'a ProjectName>,
    /// Where things are.
    pub places: &'a Places,
    /// What the pools of the configuration are here.
    pub pools: &'a BTreeMap<Name, PoolPlace>,
    /// The folder of machines in no pool.
    pub folder: &'a str,
    /// Free keys that entries declare.
    pub keys: &'a DeclaredKeys,
}

fn word<'a>(object: &'a ObjectContent, path: &str) -> Option<&'a str> {
    object.props.get(path).and_then(Node::as_word)
}

fn number(object: &ObjectContent, path: &str) -> Option<u64> {
    object.props.get(path).and_then(Node::as_i64).and_then(|it| u64::try_from(it).ok())
}

fn flag(object: &ObjectContent, path: &str) -> bool {
    object.props.get(path).and_then(Node::as_bool) == Some(true)
}

fn reference(object: &ObjectContent, path: &str) -> Option<MoRef> {
    object.props.get(path).and_then(Node::as_moref)
}

fn count(object: &ObjectContent, path: &str) -> Option<u32> {
    number(object, path).and_then(|it| u32::try_from(it).ok())
}

/// Its native id.
pub(super) fn id_of(object: &ObjectContent) -> NativeId {
    object.obj.value.as_str().into()
}

/// The reference that an id stands for.
pub(super) fn machine_ref(id: &NativeId) -> MoRef {
    MoRef::new("VirtualMachine", id.as_str())
}

fn power_of(object: &ObjectContent) -> PowerState {
    match word(object, "runtime.powerState") {
        Some("poweredOn") => PowerState::Running,
        Some("poweredOff") => PowerState::Stopped,
        Some("suspended") => PowerState::Suspended,
        Some(_) | None => PowerState::Unknown,
    }
}

/// Why a machine cannot be read, when it cannot. One that is being made, or whose files
/// cannot be reached, has no configuration; it exists, and it holds its name.
pub(super) fn unreadable(object: &ObjectContent) -> Option<String> {
    if Bug::MissingIgnored.is_planted() && !object.missing.is_empty() {
        return None;
    }
    if let Some((path, fault)) = object.missing.iter().next() {
        return Some(format!("`{path}` may not be read: {}", fault.kind.name()));
    }
    if !object.props.contains_key("config.instanceUuid") {
        let state = word(object, "runtime.connectionState").unwrap_or("unknown");
        return Some(format!("it has no configuration (connection: {state})"));
    }
    match word(object, "runtime.connectionState") {
        None | Some("connected") => None,
        Some(state) => Some(format!("its host does not serve it (connection: {state})")),
    }
}

/// The marker in the two keys.
pub(super) fn marker_of(object: &ObjectContent) -> MarkerState {
    let Some(line) = extra::value(object, extra::ID).filter(|line| !line.is_empty()) else {
        return MarkerState::None;
    };
    let map = extra::value(object, extra::MAP).filter(|map| !map.is_empty());
    match map {
        Some(map) => ownership::parse(&format!("{line}\n{map}")),
        None => ownership::parse(&line),
    }
}

impl Reader<'_> {
    fn node(&self, object: &ObjectContent) -> Option<NodeName> {
        let by_host = reference(object, "runtime.host");
        let by_host = by_host.and_then(|host| self.places.node_of_host(&host));
        let by_pool = || {
            let pool = reference(object, "resourcePool")?;
            self.places.node_of_pool(&pool)
        };
        by_host.or_else(by_pool).cloned()
    }

    fn pool(&self, object: &ObjectContent) -> Option<Name> {
        let (folder, pool) = (reference(object, "parent"), reference(object, "resourcePool"));
        self.places.pool_of(self.pools, self.folder, folder.as_ref(), pool.as_ref()).cloned()
    }

    /// Whether it is in a folder that new machines of the configuration are made in.
    pub fn is_in_our_folders(&self, object: &ObjectContent) -> bool {
        let path = reference(object, "parent").and_then(|it| self.places.folder_path(&it));
        let of_pools = self.pools.values().filter_map(|it| it.folder.as_deref());
        let mut ours = of_pools.chain([self.folder]);
        path.is_some_and(|path| ours.any(|it| path_names(it) == path))
    }

    /// A row of the listing.
    pub fn listed(&self, object: &ObjectContent) -> Listed {
        let marked = marker_of(object).found().map(|marker| marker.project.clone());
        Listed {
            node: self.node(object),
            name_key: word(object, "name").map(|name| unescape(name).to_lowercase()),
            name: word(object, "name").map(unescape),
            guest: GuestKind::Vm,
            template: flag(object, "config.template"),
            pool: self.pool(object),
            tags: BTreeSet::new(),
            marked,
            lock: lock(object).map(|lock| lock.text),
            memory: number(object, "config.hardware.memoryMB").map(Bytes::mib),
            cpu: count(object, "config.hardware.numCPU"),
            power: power_of(object),
        }
    }

    /// A machine that was read in full.
    pub fn machine(&self, object: &ObjectContent) -> ObservedMachine {
        let marker = marker_of(object);
        let no_map = DeviceMap::default();
        let map = marker.found().map_or(&no_map, |marker| &marker.map);
        let tree = devices_of(object);
        let devices = observed(tree, map, self.places, &boot_keys(object));
        let seen = seen_init(object);
        let mut spec = self.spec(object, &devices, tree);
        spec.protect = marker.found().map(|marker| marker.protect);
        let declared = marker.found().and_then(|marker| self.keys.get(&marker.key));
        spec.extra = declared
            .into_iter()
            .flatten()
            .filter_map(|key| Some((key.as_str().into(), extra::value(object, key)?)))
            .collect();
        name_devices(&mut spec, map, &devices, tree, seen.as_ref());
        if let (Some(found), Some(seen)) = (marker.found(), &seen) {
            let mut init = seen.init.clone();
            init.digest.clone_from(&found.init);
            spec.init = Some(init);
        } else if let Some(digest) = marker.found().and_then(|found| found.init.clone()) {
            spec.init = Some(crate::model::InitSpec { digest: Some(digest), ..Default::default() });
        }
        let uuid = word(object, "config.instanceUuid").and_then(|uuid| uuid.parse().ok());
        let machine = ObservedMachine {
            id: id_of(object),
            node: self.node(object),
            uuid,
            template: flag(object, "config.template"),
            snapshots: snapshots(object),
            hot: hot(object),
            power: power_of(object),
            lock: lock(object),
            bulk_mark: marker.found().is_some_and(|it| Some(&it.project) == self.project),
            marker,
            spec,
            next: None,
            // They are kept by another interface, and filled in by who reads that too.
            known_labels: BTreeMap::new(),
            setup_waits: word(object, "config.tools.pendingCustomization").is_some(),
            addresses: addresses(object, seen.as_ref()),
            devices,
        };
        as_planted(machine)
    }

    fn spec(&self, object: &ObjectContent, devices: &[Device], tree: &[Node]) -> MachineSpec {
        let cpu = count(object, "config.hardware.numCPU");
        let cores = count(object, "config.hardware.numCoresPerSocket").filter(|it| *it > 0);
        let notes = object.props.get("config.annotation").map(|it| it.text.trim_end().to_owned());
        let cd = tree.iter().filter(|it| it.is_a("VirtualCdrom")).find_map(iso_of);
        MachineSpec {
            name: word(object, "name").map(unescape),
            cpu,
            sockets: cpu.zip(cores).map(|(cpu, cores)| (cpu / cores).max(1)),
            memory: number(object, "config.hardware.memoryMB").map(Bytes::mib),
            firmware: Some(firmware(object)),
            tpm: Some(tree.iter().any(|it| it.is_a("VirtualTPM"))),
            hardware_version: hardware_version(object),
            boot: boot_order(object, devices, tree),
            cdrom: Some(cd.map_or(Cdrom::None, |path| Cdrom::Iso(path.to_owned()))),
            autostart: None,
            protect: None,
            tags: None,
            labels: BTreeMap::new(),
            notes: Some(notes.unwrap_or_default()),
            pool: self.pool(object),
            extra: BTreeMap::new(),
            disks: BTreeMap::new(),
            nics: BTreeMap::new(),
            init: None,
        }
    }
}

/// What a planted bug makes of whose a machine is; in every other build, nothing.
fn as_planted(mut machine: ObservedMachine) -> ObservedMachine {
    let MarkerState::Found(marker) = &machine.marker else { return machine };
    let id_binds = marker.id.as_ref().is_none_or(|id| *id == machine.id);
    if Bug::UuidHalfNotCompared.is_planted() && id_binds {
        machine.uuid = marker.uuid;
    }
    machine
}

/// A machine that waits for an answer does nothing else until it has one.
fn lock(object: &ObjectContent) -> Option<Lock> {
    let question = object.props.get("runtime.question")?;
    let text = question.text_at("text").unwrap_or("a question").trim();
    let text = if text.is_empty() { "a question" } else { text };
    let text = crate::model::inert(text).chars().take(200).collect::<String>();
    Some(Lock { kind: LockKind::NeedsPerson, text: format!("it asks: {text}") })
}

fn firmware(object: &ObjectContent) -> Firmware {
    let secure = object
        .props
        .get("config.bootOptions")
        .and_then(|options| options.bool_at("efiSecureBootEnabled"));
    match (word(object, "config.firmware"), secure) {
        (Some("efi"), Some(true)) => Firmware::SecureBoot,
        (Some("efi"), _) => Firmware::Uefi,
        (Some(_) | None, _) => Firmware::Bios,
    }
}

/// The number in `vmx-21`.
fn hardware_version(object: &ObjectContent) -> Option<u32> {
    word(object, "config.version")?.strip_prefix("vmx-")?.parse().ok()
}

/// Keys of the disks of the boot order, first to last.
fn boot_keys(object: &ObjectContent) -> Vec<i64> {
    let Some(options) = object.props.get("config.bootOptions") else { return Vec::new() };
    options.all("bootOrder").filter_map(|entry| entry.i64_at("deviceKey")).collect()
}

/// The boot order by kind; none when the machine has none of its own.
fn boot_order(
    object: &ObjectContent,
    devices: &[Device],
    tree: &[Node],
) -> Option<Vec<BootDevice>> {
    let options = object.props.get("config.bootOptions")?;
    let first_disk = devices.iter().find(|it| it.kind == DeviceKind::Disk);
    let is_nic =
        |key: i64| tree.iter().any(|it| it.i64_at("key") == Some(key) && nic_model(it).is_some());
    let one = |entry: &Node| {
        let data_type = entry.data_type.as_deref().unwrap_or_default();
        match data_type.strip_prefix("VirtualMachineBootOptionsBootable").unwrap_or(data_type) {
            "DiskDevice" => first_disk.map(|_| BootDevice::Disk),
            "CdromDevice" => Some(BootDevice::Cdrom),
            "EthernetDevice" => {
                entry.i64_at("deviceKey").filter(|key| is_nic(*key)).map(|_| BootDevice::Network)
            }
            _ => None,
        }
    };
    let mut order: Vec<BootDevice> = Vec::new();
    for device in options.all("bootOrder").filter_map(one) {
        if !order.contains(&device) {
            order.push(device);
        }
    }
    (!order.is_empty()).then_some(order)
}

/// Every snapshot, parents before children and older before newer.
fn snapshots(object: &ObjectContent) -> Vec<SnapshotSeen> {
    let mut found = Vec::new();
    let info = object.props.get("snapshot");
    let current = info.and_then(|info| info.moref_at("currentSnapshot"));
    let mut waiting: Vec<(u32, &Node)> =
        info.into_iter().flat_map(|info| info.all("rootSnapshotList")).map(|it| (1, it)).collect();
    waiting.reverse();
    while let Some((level, node)) = waiting.pop() {
        if let Some(id) = node.moref_at("snapshot") {
            found.push(SnapshotSeen {
                level: Some(level),
                current: current.as_ref() == Some(&id),
                id: id.value,
                name: unescape(node.text_at("name").unwrap_or_default()),
                with_memory: node.word_at("state") != Some("poweredOff"),
                created_ms: node.text_at("createTime").and_then(milliseconds),
                mark: node
                    .text_at("description")
                    .map(unescape)
                    .and_then(|it| ownership::snapshot_mark(&it)),
            });
        }
        let children: Vec<&Node> = node.all("childSnapshotList").collect();
        waiting.extend(children.into_iter().rev().map(|it| (level.saturating_add(1), it)));
    }
    found
}

fn milliseconds(time: &str) -> Option<i64> {
    time.trim().parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

fn hot(object: &ObjectContent) -> BTreeSet<Hot> {
    [
        ("config.cpuHotAddEnabled", Hot::CpuUp),
        ("config.cpuHotRemoveEnabled", Hot::CpuDown),
        ("config.memoryHotAddEnabled", Hot::MemoryUp),
    ]
    .into_iter()
    .filter(|(path, _)| flag(object, path))
    .map(|(_, hot)| hot)
    .collect()
}

/// The first-boot documents as they are in the machine now. The guest can rewrite them, so
/// that they say what the guest was told only as long as the digest agrees.
fn seen_init(object: &ObjectContent) -> Option<guest_init::SeenInit> {
    let read = |key: Extra<'_>, encoding: Extra<'_>| {
        let text = extra::value(object, key)?;
        extra::decode(&text, extra::value(object, encoding).as_deref())
    };
    let metadata = read(extra::METADATA, extra::METADATA_ENCODING)?;
    let userdata = read(extra::USERDATA, extra::USERDATA_ENCODING)?;
    guest_init::read(&metadata, &userdata)
}

fn name_devices(
    spec: &mut MachineSpec,
    map: &DeviceMap,
    devices: &[Device],
    tree: &[Node],
    seen: Option<&guest_init::SeenInit>,
) {
    let at = |slot: &str| devices.iter().find(|device| device.slot.as_str() == slot);
    for (name, entry) in &map.disks {
        let Some(device) = at(entry.slot.as_str()) else { continue };
        if device.kind == DeviceKind::Disk {
            spec.disks.insert(name.clone(), disk(name, device, map));
        }
    }
    for (name, entry) in &map.nics {
        let Some(device) = at(entry.slot.as_str()) else { continue };
        if device.kind != DeviceKind::Nic {
            continue;
        }
        let model = device
            .mac
            .and_then(|mac| tree.iter().find(|it| super::devices::mac_of(it) == Some(mac)))
            .and_then(nic_model)
            .flatten();
        let told = device.mac.and_then(|mac| seen?.by_mac.get(&mac));
        spec.nics.insert(
            name.clone(),
            NicSpec {
                network: device.network.clone().map(|native| NetworkBinding { name: None, native }),
                vlan: None,
                mac: device.mac,
                model,
                ip: told.map(|(ip, _)| *ip),
                gateway: told.and_then(|(_, gateway)| *gateway),
            },
        );
    }
}

fn disk(name: &DeviceName, device: &Device, map: &DeviceMap) -> DiskSpec {
    DiskSpec {
        size: device.size,
        bus: bus_of(device.slot.as_str()),
        slot: None,
        storage: device.storage.clone(),
        on_remove: match map.delete_on_remove.contains(name) {
            true => OnRemove::Delete,
            false => OnRemove::Detach,
        },
    }
}

/// Static addresses that the machine is known to use: those that it was told, and those
/// that its guest reports by configuration.
fn addresses(object: &ObjectContent, seen: Option<&guest_init::SeenInit>) -> Vec<IpAddr> {
    use crate::model::IpSetting;
    let mut found = BTreeSet::new();
    for (ip, _) in seen.map(|seen| seen.by_mac.values()).into_iter().flatten() {
        if let IpSetting::Static { address, .. } = ip {
            found.insert(*address);
        }
    }
    let cards = object.props.get("guest.net").map_or(&[][..], |net| net.children.as_slice());
    for card in cards {
        for address in card.at("ipConfig").into_iter().flat_map(|it| it.all("ipAddress")) {
            let origin = address.word_at("origin").unwrap_or("other");
            let address = address.word_at("ipAddress").and_then(|text| text.parse().ok());
            if let Some(address) = address.filter(|_| origin == "manual") {
                found.insert(address);
            }
        }
    }
    found.into_iter().collect()
}

//! Wire to model: what Proxmox reports, in the canonical vocabulary.
//!
//! Inputs are rows and option maps as texts, outputs are observations. An option
//! that is unset and has a meaningful default is reported as that default, so that
//! declaring the default never shows as a difference.

use super::property::{
    self, Property, decode_ssh_keys, is_seed_volume, is_true, net_card, parse_boot, parse_ipconfig,
    parse_size, parse_startup, parse_tags, split_slot, storage_of,
};
use crate::{
    model::{
        Autostart, BootDevice, Bus, Bytes, Cdrom, Device, DeviceKind, DeviceMap, DeviceName,
        DiskSpec, Firmware, GuestKind, InitSpec, IpSetting, Listed, Lock, LockKind, MachineSpec,
        Marker, MarkerState, Name, NativeId, NetworkBinding, NicModel, NicSpec, ObservedMachine,
        ObservedPool, OnRemove, PowerState, ProjectName, Slot, SnapshotSeen, StorageName,
    },
    ownership,
    planted::Bug,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Options of one guest, by key.
pub type Options = BTreeMap<String, String>;

/// One row of the listing, joined from `/cluster/resources` and the live lists of
/// the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestRow {
    /// Its id.
    pub vmid: u32,
    /// Where it is.
    pub node: String,
    /// Its name, possibly old.
    pub name: Option<String>,
    /// Machine or container.
    pub kind: GuestKind,
    /// Whether it is a template.
    pub template: bool,
    /// Its pool.
    pub pool: Option<String>,
    /// Its tags as the server prints them.
    pub tags: Option<String>,
    /// Its config lock.
    pub lock: Option<String>,
    /// On or off.
    pub power: PowerState,
    /// Configured memory in bytes.
    pub maxmem: Option<u64>,
    /// Virtual processors.
    pub maxcpu: Option<u32>,
}

impl GuestRow {
    /// Its id in the model.
    pub fn id(&self) -> NativeId {
        NativeId::from(self.vmid.to_string())
    }
}

/// One item of `GET …/pending`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingItem {
    /// The option.
    pub key: String,
    /// What it is now.
    pub value: Option<String>,
    /// What it will be after a stop and start.
    pub pending: Option<String>,
    /// Whether it will be gone then.
    pub delete: bool,
}

/// The whole configuration of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// What is in force.
    pub current: Options,
    /// What is written: with pending changes applied. Equal to `current` when
    /// nothing is pending.
    pub next: Options,
    /// The server's version of the file, for its optimistic lock.
    pub digest: Option<String>,
}

/// A machine as it was read: the form of `Fresh::raw`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawGuest {
    /// Where it is now.
    pub node: String,
    /// Its configuration.
    pub config: RawConfig,
}

/// Reads the items of `GET …/pending`. That list walks every scalar of the loaded
/// file, so the digest is one of them (qemu-server: `config_with_pending_array`).
pub fn raw_config(items: impl IntoIterator<Item = PendingItem>) -> RawConfig {
    let mut config = RawConfig::default();
    for PendingItem { key, value, pending, delete } in items {
        if key == "digest" {
            config.digest = value;
            continue;
        }
        let written = if delete { None } else { pending.or_else(|| value.clone()) };
        if let Some(written) = written {
            config.next.insert(key.clone(), written);
        }
        if let Some(value) = value {
            config.current.insert(key, value);
        }
    }
    config
}

/// A row of the listing. `project` is whose mark is looked for first.
pub fn listed(project: Option<&ProjectName>, row: &GuestRow) -> Listed {
    let tags = row.tags.as_deref().map(parse_tags).unwrap_or_default();
    Listed {
        node: Some(row.node.as_str().into()),
        name: row.name.clone(),
        guest: row.kind,
        template: row.template,
        pool: row.pool.as_deref().map(Name::from),
        name_key: None,
        marked: ownership::marked(&tags, project),
        tags,
        lock: row.lock.clone(),
        memory: row.maxmem.map(Bytes),
        cpu: row.maxcpu,
        power: row.power,
    }
}

/// The newest snapshot, which is all that a configuration names of them: what runs now
/// grew from it. Its name is its id. Whether it holds memory stands in its own section,
/// which is not read.
fn snapshots(options: &Options) -> Vec<SnapshotSeen> {
    let seen = |name: &String| SnapshotSeen {
        id: name.clone(),
        name: name.clone(),
        ..SnapshotSeen::default()
    };
    options.get("parent").map(seen).into_iter().collect()
}

/// A machine. `project` is whose tag counts as ours.
///
/// `devices` are those that are written, the boot disk first, then by slot; a disk
/// whose removal waits for a restart is listed as detached, in the slot
/// `<slot>.pending`, so that its volume is never overlooked.
///
/// Marker and UUID are both those in force. A config write that dies half-way on a
/// stopped machine (no room for a disk) leaves some of its values pending, and a
/// marker from there would name a UUID that the machine does not have yet.
pub fn machine(
    project: Option<&ProjectName>,
    row: &GuestRow,
    config: &RawConfig,
) -> ObservedMachine {
    let (_, marker) = notes_of(&config.current);
    let no_map = DeviceMap::default();
    let map = marker.found().map_or(&no_map, |marker| &marker.map);
    let reader = |options| Reader { project, row, options, map, marker: marker.found() };
    let spec = reader(&config.current).spec();
    let next = reader(&config.next).spec();
    let bulk = project.map(ownership::bulk_tag);
    let tags = tags_of(row, &config.next);
    as_planted(
        ObservedMachine {
            id: row.id(),
            node: Some(row.node.as_str().into()),
            uuid: uuid_of(&config.current).or_else(|| uuid_of(&config.next)),
            template: row.template || config.current.get("template").is_some_and(|it| is_true(it)),
            snapshots: snapshots(&config.current),
            // What is hot follows from the field alone here.
            hot: [].into(),
            power: row.power,
            lock: config.current.get("lock").or(row.lock.as_ref()).map(|text| lock(text)),
            bulk_mark: bulk.is_some_and(|tag| tags.contains(&tag)),
            next: (next != spec).then(|| Box::new(next)),
            spec,
            devices: all_devices(config),
            known_labels: [].into(),
            setup_waits: false,
            addresses: addresses(config),
            marker,
        },
        project,
    )
}

/// A lock by its word in the configuration. A new word is some new work; `suspended` marks
/// a guest that hibernates, and stays until somebody resumes it.
pub fn lock(text: &str) -> Lock {
    let kind = match text {
        "create" | "clone" => LockKind::Birth,
        "suspended" => LockKind::NeedsPerson,
        _ => LockKind::Busy,
    };
    Lock { kind, text: text.to_owned() }
}

/// What planted bugs make of whose a machine is; in every other build, nothing.
fn as_planted(mut machine: ObservedMachine, project: Option<&ProjectName>) -> ObservedMachine {
    let MarkerState::Found(marker) = &mut machine.marker else { return machine };
    let (id_binds, uuid_binds) =
        (marker.id.as_ref() == Some(&machine.id), marker.uuid == machine.uuid);
    if Bug::IdHalfNotCompared.is_planted() && uuid_binds {
        marker.id = Some(machine.id.clone());
    }
    if Bug::UuidHalfNotCompared.is_planted() && id_binds {
        machine.uuid = marker.uuid;
    }
    if Bug::ForeignMarkerIsOurs.is_planted() {
        marker.project = project.cloned().unwrap_or_else(|| marker.project.clone());
    }
    if Bug::CopyIsUnmanaged.is_planted() && !id_binds && !uuid_binds {
        machine.marker = MarkerState::None;
    }
    machine
}

/// A pool. Its comment is one line, so our mark stands at the line's end.
pub fn pool(comment: &str, members: BTreeSet<NativeId>, other_members: bool) -> ObservedPool {
    let (comment, marker) = split_comment(comment);
    ObservedPool { comment, marker, members, other_members, ..ObservedPool::default() }
}

/// A pool's comment as a person wrote it, and the mark at its end.
pub fn split_comment(comment: &str) -> (String, MarkerState) {
    let begins = |at: &usize| {
        let before = comment[..*at].chars().next_back();
        before.is_none_or(char::is_whitespace)
    };
    match comment.match_indices("novahost/").map(|(at, _)| at).find(begins) {
        Some(at) => (comment[..at].trim_end().to_owned(), ownership::parse(&comment[at..])),
        None => (comment.trim_end().to_owned(), MarkerState::None),
    }
}

/// A pool's comment with the mark.
pub fn join_comment(comment: &str, marker: &Marker) -> String {
    let line = ownership::render(marker).replace('\n', " ");
    let comment = comment.trim_end();
    if comment.is_empty() { line } else { format!("{comment} {line}") }
}

/// Notes without our lines, and our lines.
pub fn notes_of(options: &Options) -> (String, MarkerState) {
    ownership::split_notes(options.get("description").map_or("", String::as_str))
}

/// The machine's own UUID.
pub fn uuid_of(options: &Options) -> Option<uuid::Uuid> {
    Property::lenient(options.get("smbios1")?).get("uuid")?.parse().ok()
}

fn tags_of(row: &GuestRow, options: &Options) -> BTreeSet<String> {
    // The row is as live as the config, but an option that was read wins.
    options.get("tags").or(row.tags.as_ref()).map(|tags| parse_tags(tags)).unwrap_or_default()
}

/// Every device that one state of the configuration has, by slot.
pub fn devices(options: &Options) -> Vec<Device> {
    let mut devices: Vec<Device> =
        options.iter().filter_map(|(key, value)| device(key, value)).collect();
    devices.sort_by(|a, b| split_slot(a.slot.as_str()).cmp(&split_slot(b.slot.as_str())));
    devices
}

fn all_devices(config: &RawConfig) -> Vec<Device> {
    let mut all = devices(&config.next);
    if let Some(boot) = boot_disk(&config.next, &all) {
        let at = all.iter().position(|device| device.slot == boot).unwrap_or(0);
        let boot = all.remove(at);
        all.insert(0, boot);
    }
    let leaving = devices(&config.current).into_iter().filter(|device| {
        device.kind == DeviceKind::Disk && !config.next.contains_key(device.slot.as_str())
    });
    all.extend(leaving.map(|device| Device {
        slot: Slot::from(format!("{}.pending", device.slot)),
        kind: DeviceKind::Detached,
        ..device
    }));
    all
}

/// The first disk of the boot order, or the first disk of all when the order names none.
fn boot_disk(options: &Options, devices: &[Device]) -> Option<Slot> {
    let is_disk = |slot: &str| {
        devices.iter().any(|it| it.kind == DeviceKind::Disk && it.slot.as_str() == slot)
    };
    let order = options.get("boot").and_then(|text| parse_boot(text)).unwrap_or_default();
    let legacy = options.get("bootdisk").cloned();
    order
        .into_iter()
        .chain(legacy)
        .find(|slot| is_disk(slot))
        .map(Slot::from)
        .or_else(|| devices.iter().find(|it| it.kind == DeviceKind::Disk).map(|it| it.slot.clone()))
}

/// The disk controller of a slot.
pub fn bus_of(slot: &str) -> Option<Bus> {
    match split_slot(slot)?.0 {
        "scsi" => Some(Bus::Scsi),
        "virtio" => Some(Bus::Virtio),
        "sata" => Some(Bus::Sata),
        "ide" => Some(Bus::Ide),
        _ => None,
    }
}

fn device(key: &str, value: &str) -> Option<Device> {
    let (bus, _) = split_slot(key)?;
    let property = Property::lenient(value);
    let volume = property.first_or("file").or(property.get("volume")).map(str::to_owned);
    let kind = match bus {
        "net" => DeviceKind::Nic,
        "unused" => DeviceKind::Detached,
        "efidisk" => DeviceKind::Firmware,
        "tpmstate" => DeviceKind::Tpm,
        "scsi" | "virtio" | "sata" | "ide" => match volume.as_deref() {
            Some(volume) if is_seed_volume(volume) => DeviceKind::Seed,
            _ if property.get("media") == Some("cdrom") => DeviceKind::Cdrom,
            _ => DeviceKind::Disk,
        },
        _ => return None,
    };
    let slot = Slot::from(key);
    if kind == DeviceKind::Nic {
        let (_, mac) = net_card(&property);
        return Some(Device {
            slot,
            kind,
            volume: None,
            storage: None,
            size: None,
            linked: false,
            mac,
            network: property.get("bridge").map(str::to_owned),
            vlan: property.get("tag").and_then(|tag| tag.parse().ok()),
        });
    }
    let volume = volume.filter(|volume| volume != "none");
    Some(Device {
        slot,
        kind,
        storage: volume.as_deref().and_then(storage_of).map(StorageName::from),
        volume,
        size: property.get("size").and_then(parse_size),
        linked: false,
        mac: None,
        network: None,
        vlan: None,
    })
}

/// The CD drive that `cdrom` means: one with a medium before an empty one, then
/// `ide2` before all others, because that is the product's own `cdrom` alias.
pub fn cd_drive(devices: &[Device]) -> Option<&Device> {
    devices.iter().filter(|device| device.kind == DeviceKind::Cdrom).min_by_key(|it| {
        (it.volume.is_none(), it.slot.as_str() != "ide2", split_slot(it.slot.as_str()))
    })
}

fn addresses(config: &RawConfig) -> Vec<IpAddr> {
    let both = config.current.iter().chain(&config.next);
    let found: BTreeSet<IpAddr> = both
        .filter(|(key, _)| split_slot(key).is_some_and(|(bus, _)| bus == "ipconfig"))
        .flat_map(|(_, value)| {
            let property = Property::lenient(value);
            ["ip", "ip6"].map(|key| {
                let (address, _) = property.get(key)?.split_once('/')?;
                address.parse().ok()
            })
        })
        .flatten()
        .collect();
    found.into_iter().collect()
}

/// One state of the configuration, read into a spec.
struct Reader<'a> {
    project: Option<&'a ProjectName>,
    row: &'a GuestRow,
    options: &'a Options,
    map: &'a DeviceMap,
    marker: Option<&'a Marker>,
}

impl Reader<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(String::as_str)
    }

    fn number(&self, key: &str) -> Option<u32> {
        self.text(key)?.parse().ok()
    }

    fn flag(&self, key: &str) -> bool {
        self.text(key).is_some_and(is_true)
    }

    fn spec(&self) -> MachineSpec {
        let devices = devices(self.options);
        // Both default to one (qemu-server `QemuServer.pm`, options cores and sockets).
        let sockets = self.number("sockets").unwrap_or(1);
        let cores = self.number("cores").unwrap_or(1);
        let seeded = self.is_seeded(&devices);
        MachineSpec {
            name: self.text("name").map(str::to_owned),
            cpu: Some(sockets.saturating_mul(cores)),
            sockets: Some(sockets),
            memory: Some(self.memory()),
            firmware: Some(self.firmware()),
            tpm: Some(self.options.contains_key("tpmstate0")),
            boot: self.boot(&devices),
            cdrom: Some(
                cd_drive(&devices).and_then(|it| it.volume.clone()).map_or(Cdrom::None, Cdrom::Iso),
            ),
            autostart: Some(self.autostart()),
            protect: Some(self.flag("protection")),
            tags: Some(self.tags()),
            labels: [].into(),
            notes: Some(notes_of(self.options).0),
            hardware_version: None,
            extra: BTreeMap::new(),
            pool: self.row.pool.as_deref().map(Name::from),
            disks: self.disks(&devices),
            nics: self.nics(seeded),
            init: seeded.then(|| self.init()),
        }
    }

    fn memory(&self) -> Bytes {
        let property = Property::lenient(self.text("memory").unwrap_or_default());
        let mib = property.first_or("current").and_then(|text| text.parse().ok());
        // The default of the option is 512 MiB (qemu-server `Memory.pm`).
        Bytes::mib(mib.unwrap_or(512))
    }

    fn firmware(&self) -> Firmware {
        if self.text("bios") != Some("ovmf") {
            return Firmware::Bios;
        }
        let keys = self.text("efidisk0").map(Property::lenient);
        match keys.is_some_and(|disk| disk.flag("pre-enrolled-keys")) {
            true => Firmware::SecureBoot,
            false => Firmware::Uefi,
        }
    }

    fn autostart(&self) -> Autostart {
        let (order, wait_s) = parse_startup(self.text("startup").unwrap_or_default());
        Autostart { enabled: self.flag("onboot"), order, wait_s }
    }

    fn tags(&self) -> BTreeSet<String> {
        let mut tags = tags_of(self.row, self.options);
        if let Some(project) = self.project {
            tags.remove(&ownership::bulk_tag(project));
        }
        if Bug::TagsNotReadBack.is_planted() {
            tags.remove("new");
        }
        tags
    }

    /// The boot order by kind, when every slot of it has one. A slot that is not
    /// there any more, a second card or a disk of another name has none.
    fn boot(&self, devices: &[Device]) -> Option<Vec<BootDevice>> {
        let order = parse_boot(self.text("boot")?)?;
        let boot_disk = match self.map.disks.get(DeviceName::BOOT) {
            Some(entry) => Some(entry.slot.clone()),
            None => boot_disk(self.options, devices),
        };
        let first_nic = devices.iter().find(|it| it.kind == DeviceKind::Nic).map(|it| &it.slot);
        let drive = cd_drive(devices).map(|it| &it.slot);
        order
            .iter()
            .map(|slot| {
                let slot = devices.iter().map(|it| &it.slot).find(|it| it.as_str() == slot)?;
                if Some(slot) == boot_disk.as_ref() {
                    Some(BootDevice::Disk)
                } else if Some(slot) == drive {
                    Some(BootDevice::Cdrom)
                } else if Some(slot) == first_nic {
                    Some(BootDevice::Network)
                } else {
                    None
                }
            })
            .collect()
    }

    fn disks(&self, devices: &[Device]) -> BTreeMap<DeviceName, DiskSpec> {
        let disk =
            |slot: &Slot| devices.iter().find(|it| it.slot == *slot && it.kind == DeviceKind::Disk);
        self.map
            .disks
            .iter()
            .filter_map(|(name, entry)| {
                let device = disk(&entry.slot)?;
                let spec = DiskSpec {
                    size: device.size,
                    bus: bus_of(device.slot.as_str()),
                    slot: None,
                    storage: device.storage.clone(),
                    on_remove: if self.map.delete_on_remove.contains(name) {
                        OnRemove::Delete
                    } else {
                        OnRemove::Detach
                    },
                };
                Some((name.clone(), spec))
            })
            .collect()
    }

    fn nics(&self, seeded: bool) -> BTreeMap<DeviceName, NicSpec> {
        self.map
            .nics
            .iter()
            .filter_map(|(name, entry)| {
                Some((name.clone(), self.nic(entry.slot.as_str(), seeded)?))
            })
            .collect()
    }

    fn nic(&self, slot: &str, seeded: bool) -> Option<NicSpec> {
        let net = Property::lenient(self.text(slot)?);
        let (model, mac) = net_card(&net);
        let (ip, gateway) = self.address(slot);
        Some(NicSpec {
            network: net.get("bridge").map(|it| NetworkBinding { name: None, native: it.into() }),
            vlan: net.get("tag").and_then(|tag| tag.parse().ok()),
            mac,
            model: model.and_then(nic_model),
            // Without a drive that carries it, an address reaches nobody.
            ip: seeded.then_some(ip),
            gateway: gateway.filter(|_| seeded),
        })
    }

    fn address(&self, slot: &str) -> (IpSetting, Option<IpAddr>) {
        let key = slot.replacen("net", "ipconfig", 1);
        self.text(&key).map_or((IpSetting::None, None), parse_ipconfig)
    }

    fn is_seeded(&self, devices: &[Device]) -> bool {
        devices.iter().any(|device| device.kind == DeviceKind::Seed)
    }

    fn init(&self) -> InitSpec {
        let resolvers = self.text("nameserver").unwrap_or_default();
        InitSpec {
            // The generated document takes its host name from the machine's name.
            hostname: self.text("name").map(str::to_owned),
            domain: self.text("searchdomain").map(str::to_owned),
            user: self.text("ciuser").map(str::to_owned),
            ssh_keys: Some(self.text("sshkeys").map(decode_ssh_keys).unwrap_or_default()),
            password: None,
            customization: None,
            dns: Some(
                resolvers
                    .split([' ', ',', ';'])
                    .filter_map(|address| address.parse().ok())
                    .collect(),
            ),
            digest: self.marker.and_then(|marker| marker.init.clone()),
        }
    }
}

/// The card of a model name, when the YAML has a word for it.
pub fn nic_model(native: &str) -> Option<NicModel> {
    [NicModel::Virtio, NicModel::E1000, NicModel::Vmxnet3, NicModel::Rtl8139]
        .into_iter()
        .find(|model| model.as_str() == property::plain_model(native))
}

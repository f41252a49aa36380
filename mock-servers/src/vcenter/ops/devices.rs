//! Changes of devices, as specifications list them.

use std::collections::BTreeMap;

use crate::vcenter::fault::{Fault, Outcome};
use crate::vcenter::server::Core;
use crate::vcenter::val::text;
use crate::vcenter::vm::{Config, Device, DeviceKind, Disk, Nic};
use crate::vcenter::world::{Kind, Volume};
use crate::vcenter::xml::Elem;

/// What a thin file takes at first.
const THIN: u64 = 1 << 20;

/// The machine that is being changed.
pub(crate) struct Subject<'a> {
    pub(crate) id: &'a str,
    pub(crate) host: &'a str,
    /// Folder of its files, such as `[fast] web`.
    pub(crate) home: &'a str,
    pub(crate) running: bool,
    pub(crate) has_snapshots: bool,
}

/// Files that come and go with a change.
#[derive(Default)]
pub(crate) struct Files {
    pub(crate) new: BTreeMap<String, Volume>,
    pub(crate) gone: Vec<String>,
    /// File and its new size.
    pub(crate) grown: Vec<(String, u64)>,
}

impl Files {
    /// Refuses where a datastore has not enough room for all of it.
    pub(crate) fn check(&self, core: &Core) -> Outcome<()> {
        let mut need: BTreeMap<&str, u64> = BTreeMap::new();
        for volume in self.new.values() {
            *need.entry(&volume.datastore).or_default() += volume.used;
        }
        for (file, bytes) in &self.grown {
            if let Some(volume) = core.world.volumes.get(file)
                && volume.used == volume.bytes
            {
                *need.entry(&volume.datastore).or_default() += bytes - volume.bytes;
            }
        }
        need.into_iter().try_for_each(|(id, bytes)| super::place::need_space(core, id, bytes))
    }

    /// Makes it so.
    pub(crate) fn apply(self, core: &mut Core) {
        core.world.volumes.extend(self.new);
        for file in self.gone {
            let built_on = core.world.volumes.values().any(|it| it.parent.as_ref() == Some(&file));
            if !built_on {
                core.world.volumes.remove(&file);
            }
        }
        for (file, bytes) in self.grown {
            if let Some(volume) = core.world.volumes.get_mut(&file) {
                if volume.used == volume.bytes {
                    volume.used = bytes;
                }
                volume.bytes = bytes;
            }
        }
    }
}

/// Applies all changes of a list to a configuration.
pub(crate) fn change(
    core: &mut Core,
    subject: &Subject<'_>,
    config: &mut Config,
    spec: &Elem,
    files: &mut Files,
) -> Outcome<()> {
    // Keys that the client made up, to those that the server gave.
    let mut keys: BTreeMap<i64, i64> = BTreeMap::new();
    for (index, change) in spec.all("deviceChange").enumerate() {
        super::birth::only(change, &["operation", "fileOperation", "device"])?;
        let Some(device) = change.get("device") else { continue };
        let mut work =
            Work { subject, config: &mut *config, files: &mut *files, keys: &mut keys, index };
        match change.text_of("operation") {
            Some("add") => work.add(core, change, device)?,
            Some("edit") => work.edit(core, change, device)?,
            Some("remove") => work.remove(change, device)?,
            _ => {
                return Err(Fault::device(
                    "InvalidDeviceOperation",
                    "deviceChange.operation",
                    index,
                ));
            }
        }
    }
    Ok(())
}

struct Work<'a> {
    subject: &'a Subject<'a>,
    config: &'a mut Config,
    files: &'a mut Files,
    keys: &'a mut BTreeMap<i64, i64>,
    index: usize,
}

impl Work<'_> {
    fn bad(&self, property: &str) -> Fault {
        Fault::device(
            "InvalidDeviceSpec",
            &format!("deviceChange[{}].device.{property}", self.index),
            self.index,
        )
    }

    fn bad_operation(&self) -> Fault {
        Fault::device(
            "InvalidDeviceOperation",
            &format!("deviceChange[{}].operation", self.index),
            self.index,
        )
    }

    fn add(&mut self, core: &mut Core, change: &Elem, device: &Elem) -> Outcome<()> {
        let ty = device.ty.as_str();
        let given = device.number("key").unwrap_or(0);
        let is = |wanted| crate::vcenter::schema::schema().is_type(ty, wanted);
        let (first, kind) = if is("VirtualController") {
            let bus = device.number("busNumber").unwrap_or(0);
            let same = |it: &Device| {
                matches!(&it.kind, DeviceKind::Controller { ty: other, bus: at, .. }
                if *at == bus && family(other) == family(ty))
            };
            if self.config.devices.iter().any(same) {
                return Err(self.bad("busNumber"));
            }
            let shared = device.text_of("sharedBus").map(str::to_owned);
            (family(ty), DeviceKind::Controller { ty: ty.to_owned(), bus, shared })
        } else if ty == "VirtualDisk" {
            (2000, DeviceKind::Disk(self.new_disk(core, change, device)?))
        } else if is("VirtualEthernetCard") {
            (4000, DeviceKind::Nic(self.new_nic(core, device)?))
        } else if ty == "VirtualCdrom" {
            (3000, cdrom(core, device)?)
        } else {
            (9000, DeviceKind::Other(device.clone()))
        };
        let disk_like = matches!(kind, DeviceKind::Disk(_) | DeviceKind::Cdrom { .. });
        let (controller, unit) = if disk_like {
            let (controller, unit) = self.place(device)?;
            (Some(controller), Some(unit))
        } else if matches!(kind, DeviceKind::Other(_)) {
            (None, None)
        } else {
            (Some(100), None)
        };
        let key = (first..).find(|key| self.config.device(*key).is_none()).unwrap_or(first);
        self.keys.insert(given, key);
        let number =
            self.config.devices.iter().filter(|it| it.kind.type_name() == kind.type_name()).count();
        let label = match &kind {
            DeviceKind::Disk(_) => format!("Hard disk {}", number + 1),
            DeviceKind::Nic(_) => format!("Network adapter {}", self.config.nics().count() + 1),
            DeviceKind::Cdrom { .. } => format!("CD/DVD drive {}", number + 1),
            DeviceKind::Controller { bus, .. } => {
                format!("{} {bus}", ty.trim_start_matches("Virtual"))
            }
            DeviceKind::Other(_) => ty.trim_start_matches("Virtual").to_owned(),
        };
        self.config.devices.push(Device { key, controller, unit, label, kind });
        Ok(())
    }

    /// Where a disk or a drive hangs.
    fn place(&self, device: &Elem) -> Outcome<(i64, i64)> {
        let asked = device.number("controllerKey").ok_or_else(|| self.bad("controllerKey"))?;
        let controller = self.keys.get(&asked).copied().unwrap_or(asked);
        let Some(DeviceKind::Controller { ty, .. }) =
            self.config.device(controller).map(|it| &it.kind)
        else {
            return Err(self.bad("controllerKey"));
        };
        let (scsi, ide) = (family(ty) == 1000, ty == "VirtualIDEController");
        if ide && self.subject.running {
            return Err(Fault::power(Some("poweredOff"), "poweredOn"));
        }
        let taken = |unit: i64| {
            self.config
                .devices
                .iter()
                .any(|it| it.controller == Some(controller) && it.unit == Some(unit))
        };
        let most = if ide {
            1
        } else if scsi {
            15
        } else {
            29
        };
        let fits = |unit: i64| (0..=most).contains(&unit) && !(scsi && unit == 7) && !taken(unit);
        let unit = match device.number("unitNumber").filter(|unit| *unit >= 0) {
            Some(unit) => Some(unit).filter(|unit| fits(*unit)),
            None => (0..=most).find(|unit| fits(*unit)),
        };
        unit.map(|unit| (controller, unit)).ok_or_else(|| self.bad("unitNumber"))
    }

    fn new_disk(&mut self, core: &mut Core, change: &Elem, device: &Elem) -> Outcome<Disk> {
        let backing = device
            .get("backing")
            .filter(|it| it.ty == "VirtualDiskFlatVer2BackingInfo")
            .ok_or_else(|| self.bad("backing"))?;
        let file = backing.text_of("fileName").unwrap_or("");
        let mode = backing.text_of("diskMode").unwrap_or("persistent").to_owned();
        if change.get("fileOperation").is_none() {
            return self.attached(core, file, mode);
        }
        if change.text_of("fileOperation") != Some("create") {
            return Err(self.bad_operation());
        }
        let size =
            |name: &str| device.number(name).and_then(|it| u64::try_from(it).ok()).unwrap_or(0);
        let bytes = match (size("capacityInBytes"), size("capacityInKB")) {
            (0, kib) => kib * 1024,
            (bytes, _) => bytes,
        };
        if bytes == 0 {
            return Err(self.bad("capacityInKB"));
        }
        let home = match (file.starts_with('['), backing.get("datastore")) {
            (true, _) => file.split_once(']').map(|(name, _)| name[1..].to_owned()),
            (false, Some(store)) => {
                core.world.entities.get(store.text.trim()).map(|it| it.name.clone())
            }
            (false, None) => None,
        };
        let home = home.or_else(|| Some(self.subject.home.split_once(']')?.0[1..].to_owned()));
        let home = home.ok_or_else(|| self.bad("backing.fileName"))?;
        let Some(datastore) = core.world.find("Datastore", &home).map(str::to_owned) else {
            return Err(no_datastore(&home));
        };
        if !core
            .world
            .host(self.subject.host)
            .is_none_or(|host| host.datastores.contains(&datastore))
        {
            return Err(no_datastore(&home));
        }
        let folder = self.subject.home.split_once(']').map_or("", |(_, folder)| folder.trim());
        let named = file.split_once(']').map_or("", |(_, path)| path.trim());
        let file = if named.ends_with(".vmdk") {
            format!("[{home}] {named}")
        } else {
            self.free_file(core, &format!("[{home}] {folder}/{folder}"))
        };
        if core.world.volumes.contains_key(&file) || self.files.new.contains_key(&file) {
            let fields = vec![("file", text(file.clone()))];
            return Err(Fault::new(
                "FileAlreadyExists",
                format!("The file {file} exists."),
                fields,
            ));
        }
        let thin = backing.flag("thinProvisioned").unwrap_or(false);
        let used = if thin { THIN } else { bytes };
        let owner = self.subject.id.to_owned();
        self.files.new.insert(file.clone(), Volume { datastore, bytes, used, parent: None, owner });
        let uuid = backing.text_of("uuid").map(str::to_owned);
        let uuid = uuid.unwrap_or_else(|| core.world.new_uuid());
        Ok(Disk { bytes, file, mode, thin, uuid })
    }

    fn attached(&self, core: &mut Core, file: &str, mode: String) -> Outcome<Disk> {
        let Some(volume) = core.world.volumes.get(file).cloned() else {
            let fields = vec![("file", text(file))];
            return Err(Fault::new("FileNotFound", format!("File {file} was not found"), fields));
        };
        let uuid = crate::vcenter::world::uuid_of(&format!("file {file}"));
        Ok(Disk {
            bytes: volume.bytes,
            file: file.to_owned(),
            mode,
            thin: volume.used < volume.bytes,
            uuid,
        })
    }

    fn free_file(&self, core: &Core, stem: &str) -> String {
        free_file(core, self.files, stem)
    }

    fn new_nic(&self, core: &mut Core, device: &Elem) -> Outcome<Nic> {
        let backing = device.get("backing").ok_or_else(|| self.bad("backing"))?;
        let network = self.network(core, backing)?;
        let (mac, address_type) = match device.text_of("macAddress").filter(|it| !it.is_empty()) {
            Some(mac) if is_mac(mac) => {
                let kind = device.text_of("addressType").unwrap_or("manual");
                (mac.to_ascii_lowercase(), kind.to_ascii_lowercase())
            }
            Some(_) => return Err(self.bad("macAddress")),
            None if device
                .text_of("addressType")
                .is_some_and(|it| it.eq_ignore_ascii_case("manual")) =>
            {
                return Err(self.bad("macAddress"));
            }
            None => (core.world.new_mac(), "assigned".to_owned()),
        };
        let start_connected =
            device.get("connectable").and_then(|it| it.flag("startConnected")).unwrap_or(true);
        Ok(Nic { ty: device.ty.clone(), network, mac, address_type, start_connected })
    }

    /// The network that a backing names.
    fn network(&self, core: &Core, backing: &Elem) -> Outcome<String> {
        let found = match backing.ty.as_str() {
            "VirtualEthernetCardNetworkBackingInfo" => {
                let name = backing.text_of("deviceName").unwrap_or("");
                let plain = core
                    .world
                    .entities
                    .iter()
                    .find(|(_, it)| matches!(it.kind, Kind::Network) && it.name == name);
                plain.map(|(id, _)| id.clone())
            }
            "VirtualEthernetCardDistributedVirtualPortBackingInfo" => {
                let port = backing.get("port").ok_or_else(|| self.bad("backing.port"))?;
                let wanted = port.text_of("portgroupKey").unwrap_or("");
                let uuid = port.text_of("switchUuid").unwrap_or("");
                let group = core.world.entities.iter().find(|(_, it)| match &it.kind {
                    Kind::Portgroup { key, switch, uplink } => {
                        key == wanted
                            && !uplink
                            && matches!(core.world.entities.get(switch).map(|it| &it.kind),
                                Some(Kind::Switch { uuid: of }) if of == uuid)
                    }
                    _ => false,
                });
                group.map(|(id, _)| id.clone())
            }
            _ => None,
        };
        let reached = |id: &String| {
            core.world.host(self.subject.host).is_none_or(|it| it.networks.contains(id))
        };
        found.filter(reached).ok_or_else(|| self.bad("backing"))
    }

    fn edit(&mut self, core: &mut Core, change: &Elem, device: &Elem) -> Outcome<()> {
        let key = device.number("key").unwrap_or(0);
        let Some(at) = self.config.devices.iter().position(|it| it.key == key) else {
            return Err(self.bad("key"));
        };
        if self.config.devices[at].kind.type_name() != device.ty
            || change.get("fileOperation").is_some()
        {
            return Err(self.bad_operation());
        }
        let (controller, unit) = (device.number("controllerKey"), device.number("unitNumber"));
        let here = &self.config.devices[at];
        let moved = (controller.is_some() && controller != here.controller)
            || (unit.is_some() && here.unit.is_some() && unit != here.unit);
        if moved && matches!(here.kind, DeviceKind::Disk(_)) {
            if self.subject.running {
                return Err(Fault::power(Some("poweredOff"), "poweredOn"));
            }
            return Err(self.bad("controllerKey"));
        }
        let kind = match here.kind.clone() {
            DeviceKind::Disk(disk) => DeviceKind::Disk(self.edited_disk(core, disk, device)?),
            DeviceKind::Nic(nic) => DeviceKind::Nic(self.edited_nic(core, nic, device)?),
            DeviceKind::Cdrom { .. } => cdrom(core, device)?,
            DeviceKind::Controller { ty, bus, .. } => {
                let shared = device.text_of("sharedBus").map(str::to_owned);
                DeviceKind::Controller { ty, bus, shared }
            }
            DeviceKind::Other(_) => DeviceKind::Other(device.clone()),
        };
        self.config.devices[at].kind = kind;
        Ok(())
    }

    fn edited_disk(&mut self, core: &Core, mut disk: Disk, device: &Elem) -> Outcome<Disk> {
        let backing = device.get("backing").ok_or_else(|| self.bad("backing"))?;
        if backing.text_of("fileName").is_none_or(|file| file != disk.file) {
            return Err(self.bad("backing.fileName"));
        }
        if let Some(mode) = backing.text_of("diskMode") {
            mode.clone_into(&mut disk.mode);
        }
        let size = |name: &str| device.number(name).and_then(|it| u64::try_from(it).ok());
        let kib = size("capacityInKB").unwrap_or(0);
        let wanted = match size("capacityInBytes") {
            Some(_) if kib == 0 => return Err(self.bad_operation()),
            Some(bytes) if bytes != disk.bytes => {
                if kib != disk.bytes / 1024 && kib != bytes / 1024 {
                    return Err(self.bad("capacityInBytes"));
                }
                bytes
            }
            Some(_) | None => {
                if kib == disk.bytes / 1024 {
                    disk.bytes
                } else {
                    kib * 1024
                }
            }
        };
        if wanted == disk.bytes {
            return Ok(disk);
        }
        let parent = core.world.volumes.get(&disk.file).is_some_and(|it| it.parent.is_some());
        if wanted < disk.bytes || parent || self.subject.has_snapshots {
            return Err(self.bad_operation());
        }
        self.files.grown.push((disk.file.clone(), wanted));
        disk.bytes = wanted;
        Ok(disk)
    }

    fn edited_nic(&self, core: &Core, mut nic: Nic, device: &Elem) -> Outcome<Nic> {
        if let Some(backing) = device.get("backing") {
            nic.network = self.network(core, backing)?;
        }
        if let Some(mac) = device.text_of("macAddress").filter(|it| !it.is_empty()) {
            let mac = mac.to_ascii_lowercase();
            if mac != nic.mac {
                if self.subject.running {
                    return Err(Fault::power(Some("poweredOff"), "poweredOn"));
                }
                if !is_mac(&mac) {
                    return Err(self.bad("macAddress"));
                }
                nic.mac = mac;
                nic.address_type = "manual".to_owned();
            }
        }
        if let Some(kind) = device.text_of("addressType") {
            nic.address_type = kind.to_ascii_lowercase();
        }
        if let Some(start) = device.get("connectable").and_then(|it| it.flag("startConnected")) {
            nic.start_connected = start;
        }
        Ok(nic)
    }

    fn remove(&mut self, change: &Elem, device: &Elem) -> Outcome<()> {
        let key = device.number("key").unwrap_or(0);
        let Some(at) = self.config.devices.iter().position(|it| it.key == key) else {
            return Err(self.bad("key"));
        };
        if self.config.devices[at].kind.type_name() != device.ty {
            return Err(self.bad("key"));
        }
        if self.config.devices.iter().any(|it| it.controller == Some(key)) {
            return Err(self.bad("key"));
        }
        let on_ide = self.config.devices[at].controller.is_some_and(|it| matches!(it, 200 | 201));
        if on_ide && self.subject.running {
            return Err(Fault::power(Some("poweredOff"), "poweredOn"));
        }
        match (change.text_of("fileOperation"), &self.config.devices[at].kind) {
            (None, _) => {}
            (Some("destroy"), DeviceKind::Disk(_)) if self.subject.has_snapshots => {
                return Err(self.bad_operation());
            }
            (Some("destroy"), DeviceKind::Disk(disk)) => self.files.gone.push(disk.file.clone()),
            (Some(_), _) => return Err(self.bad_operation()),
        }
        self.config.devices.remove(at);
        Ok(())
    }
}

/// A name for a new disk file.
pub(crate) fn free_file(core: &Core, files: &Files, stem: &str) -> String {
    let names = std::iter::once(format!("{stem}.vmdk"))
        .chain((1_u32..).map(|it| format!("{stem}_{it}.vmdk")));
    let free =
        |name: &String| !core.world.volumes.contains_key(name) && !files.new.contains_key(name);
    names.into_iter().find(free).unwrap_or_default()
}

fn no_datastore(name: &str) -> Fault {
    let fields = vec![("name", text(name))];
    Fault::new("InvalidDatastore", format!("Invalid datastore '{name}'."), fields)
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    parts.len() == 6 && parts.iter().all(|it| it.len() == 2 && u8::from_str_radix(it, 16).is_ok())
}

/// First key of a controller's kind: those of a kind share their bus numbers.
fn family(ty: &str) -> i64 {
    match ty {
        "VirtualIDEController" => 200,
        "VirtualAHCIController" | "VirtualSATAController" => 15_000,
        "VirtualNVMEController" => 31_000,
        "VirtualUSBXHCIController" => 14_000,
        "VirtualPCIController" => 100,
        "VirtualPS2Controller" => 300,
        "VirtualSIOController" => 400,
        _ => 1000,
    }
}

fn cdrom(core: &Core, device: &Elem) -> Outcome<DeviceKind> {
    let connected =
        device.get("connectable").and_then(|it| it.flag("startConnected")).unwrap_or(false);
    let backing = device.get("backing");
    let iso = backing
        .filter(|it| it.ty == "VirtualCdromIsoBackingInfo")
        .and_then(|it| it.text_of("fileName"))
        .map(str::to_owned);
    if let Some(file) = &iso {
        let found =
            file.strip_prefix('[').and_then(|it| it.split_once(']')).and_then(|(name, path)| {
                let store = core.world.datastore(core.world.find("Datastore", name)?)?;
                store.files.get(path.trim())
            });
        if found.is_none() {
            let fields = vec![("file", text(file.clone()))];
            return Err(Fault::new("FileNotFound", format!("File {file} was not found"), fields));
        }
    }
    Ok(DeviceKind::Cdrom { iso, connected })
}

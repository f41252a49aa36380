//! One configuration of a machine, put together from what a step sets.
//!
//! Pure. Fields are pushed in the interface's own order: the server reads them with a
//! forward cursor.

use super::{
    call::{RawMachine, Surroundings, hardware, marker, marker_keys, option},
    device_change::{self, DeviceChanges, key_of},
    devices::{self, datastore_in, in_slot, is_linked, nic_model},
    extra,
    places::NodePlace,
    slots,
    vim::{MoRef, Node, Val},
};
use crate::{
    model::{
        BootDevice, Cdrom, DeviceMap, DiskMove, Firmware, FreshObject, MarkerDraft, MarkerState,
        NicModel, NicSetting, PowerState, Seed, Setting, Slot,
    },
    planted::Bug,
    provider::{Call, guest_init},
};
use secrecy::ExposeSecret as _;
use std::collections::{BTreeMap, BTreeSet};

fn hidden_option(key: &str, value: &str) -> Val {
    let value = Val::any_secret(value.to_owned().into());
    Val::obj("OptionValue").with("key", key).with("value", value)
}

/// One configuration while it is put together.
pub(super) struct Editor<'a> {
    call: &'a Call<'a>,
    around: &'a Surroundings<'a>,
    devices: Vec<Node>,
    map: DeviceMap,
    running: bool,
    pub(super) node: Option<&'a NodePlace>,
    /// Name and kind of guest, of a machine that is made.
    pub(super) birth: Option<(String, &'static str)>,
    name: Option<String>,
    notes: Option<String>,
    cpu: Option<(u32, u32)>,
    memory_mib: Option<u64>,
    hardware: Option<u32>,
    firmware: Option<Firmware>,
    boot: Option<Vec<(BootDevice, Slot)>>,
    changes: DeviceChanges,
    /// Keys that stand for devices which this call adds.
    new_keys: BTreeMap<Slot, i64>,
    extra: BTreeMap<String, String>,
    first_datastore: Option<String>,
}

impl<'a> Editor<'a> {
    pub(super) fn of(call: &'a Call<'a>, around: &'a Surroundings<'a>) -> Result<Self, String> {
        let (mut devices, mut map, mut running, mut node) =
            (Vec::new(), DeviceMap::default(), false, None);
        match &call.fresh.object {
            FreshObject::Machine(seen) => {
                let raw: RawMachine = serde_json::from_value(call.fresh.raw.clone())
                    .map_err(|error| format!("the fresh read is not a machine's: {error}"))?;
                devices = raw.devices;
                running = seen.power != PowerState::Stopped;
                map = seen.marker.found().map(|it| it.map.clone()).unwrap_or_default();
                node = seen.node.as_ref().and_then(|name| around.places.nodes.get(name));
            }
            FreshObject::Absent if call.op.is_birth() => {}
            FreshObject::Absent | FreshObject::Pool(_) | FreshObject::Spread(_) => {
                return Err(format!("there is no machine {}", call.target.at));
            }
            FreshObject::Unreadable(why) => return Err(format!("{}: {why}", call.target.at)),
        }
        Ok(Self {
            call,
            around,
            devices,
            map,
            running,
            node,
            birth: None,
            name: None,
            notes: None,
            cpu: None,
            memory_mib: None,
            hardware: None,
            firmware: None,
            boot: None,
            changes: DeviceChanges::default(),
            new_keys: BTreeMap::new(),
            extra: BTreeMap::new(),
            first_datastore: None,
        })
    }

    pub(super) fn configure(mut self, settings: &[Setting]) -> Result<Val, String> {
        for setting in settings {
            self.set(setting)?;
        }
        self.spec()
    }

    /// Where each disk of the machine goes or stays. All are named, also those that are not
    /// ours: where the machine's own files move, the server moves every disk along that it
    /// is told nothing of.
    pub(super) fn relocation(&self, moves: &[DiskMove]) -> Result<Val, String> {
        let (mut home, mut locators) = (None, Vec::new());
        for it in moves {
            let device = self.device(&it.slot)?;
            if !device.is_a("VirtualDisk") {
                return Err(format!("there is no disk in {}", it.slot));
            }
            if is_linked(&device) {
                return Err(format!(
                    "the disk in {} holds only the differences to another",
                    it.slot
                ));
            }
            let to = self.around.datastore(it.to.as_str())?;
            locators.push((key_of(&device)?, to.clone()));
            if it.disk.is_boot() {
                home = Some(to);
            }
        }
        for device in self.devices.iter().filter(|it| home.is_some() && it.is_a("VirtualDisk")) {
            let key = key_of(device)?;
            if locators.iter().any(|(moved, _)| *moved == key) {
                continue;
            }
            let file = device.word_at("backing.fileName").unwrap_or_default();
            let is = datastore_in(file).ok_or_else(|| format!("`{file}` is on no datastore"))?;
            locators.push((key, self.around.datastore(is.as_str())?));
        }
        let locator = |(key, datastore): (i64, MoRef)| {
            Val::obj("VirtualMachineRelocateSpecDiskLocator")
                .with("diskId", key)
                .with("datastore", datastore)
        };
        Ok(Val::obj("VirtualMachineRelocateSpec")
            .with_some("datastore", home)
            .with("disk", Val::arr(locators.into_iter().map(locator))))
    }

    fn device(&self, slot: &Slot) -> Result<Node, String> {
        let missing = || format!("there is no device in {slot}");
        in_slot(&self.devices, &self.map, slot).cloned().ok_or_else(missing)
    }

    fn set(&mut self, setting: &Setting) -> Result<(), String> {
        match setting {
            Setting::Name(name) => self.name = Some(name.clone()),
            Setting::Cpu { total, sockets } => self.cpu = Some((*total, *sockets)),
            Setting::Memory(size) => self.memory_mib = Some(size.0 / (1024 * 1024)),
            Setting::Firmware { firmware, .. } => self.firmware = Some(*firmware),
            Setting::Tpm { present: false, .. } => {}
            Setting::Tpm { present: true, .. } => {
                return Err("a TPM cannot be added here".to_owned());
            }
            Setting::HardwareVersion(_) if self.birth.is_none() => {
                return Err("hardware that exists is upgraded by a call of its own".to_owned());
            }
            Setting::HardwareVersion(version) => self.hardware = Some(*version),
            Setting::Extra { key, value } => {
                self.extra.insert(key.to_string(), value.clone());
            }
            Setting::Boot { order, slots } => {
                self.boot = Some(order.iter().copied().zip(slots.iter().cloned()).collect());
            }
            Setting::Cdrom { cdrom, slot } => self.cdrom(cdrom, slot)?,
            Setting::Autostart(_) => return Err("start order is not set here".to_owned()),
            // Deletion protection is in the marker alone.
            Setting::Protect(_) => {}
            Setting::Tags(_) => return Err("tags are not set here".to_owned()),
            Setting::Notes(notes) => self.notes = Some(notes.clone()),
            Setting::AttachDisk { slot, size, storage, .. } => {
                let datastore = self.around.datastore(storage.as_str())?;
                let place = (storage.as_str(), Some(&datastore));
                let key = self.changes.add_disk(&self.devices, slot.as_str(), *size, place)?;
                self.new_keys.insert(slot.clone(), key);
                self.first_datastore.get_or_insert_with(|| storage.to_string());
            }
            Setting::DetachDisk { slot, delete, .. } => {
                let device = self.device(slot)?;
                let volume = device.word_at("backing.fileName").map(str::to_owned);
                if delete.is_some() && *delete != volume {
                    return Err(format!("another disk is in {slot} by now"));
                }
                self.changes.remove(&device, delete.is_some());
            }
            Setting::DiskSize { slot, to, .. } => {
                let device = self.device(slot)?;
                self.changes.grow(&device, *to);
            }
            Setting::SetNic(nic) => self.nic(nic)?,
            Setting::RemoveNic { slot, .. } => {
                let device = self.device(slot)?;
                self.changes.remove(&device, false);
            }
            Setting::Seed(seed) => self.seed(seed)?,
            // It is born with it.
            Setting::MachineUuid => {}
            Setting::Marker(draft) => self.mark(draft)?,
            Setting::Unmark => {
                self.keys([(extra::ID, String::new()), (extra::MAP, String::new())]);
            }
        }
        Ok(())
    }

    fn mark(&mut self, draft: &MarkerDraft) -> Result<(), String> {
        let (old, taken) = match &self.call.fresh.object {
            FreshObject::Machine(seen) => {
                if matches!(seen.marker, MarkerState::Garbled(_)) {
                    return Err("the marker cannot be read".to_owned());
                }
                let slots = seen.devices.iter().map(|it| it.slot.clone()).collect();
                // Nothing is kept of a marker of another creation.
                let old = seen.marker.found().filter(|it| it.intent == self.call.identity.intent);
                (old, slots)
            }
            FreshObject::Pool(_)
            | FreshObject::Spread(_)
            | FreshObject::Absent
            | FreshObject::Unreadable(_) => (None, BTreeSet::new()),
        };
        let marker = marker(self.call, draft, old, &taken);
        self.keys(marker_keys(&marker));
        Ok(())
    }

    fn keys<const N: usize>(&mut self, keys: [(&str, String); N]) {
        self.extra.extend(keys.map(|(key, value)| (key.to_owned(), value)));
    }

    fn cdrom(&mut self, cdrom: &Cdrom, slot: &Slot) -> Result<(), String> {
        let drive = in_slot(&self.devices, &self.map, slot).cloned();
        let iso = match cdrom {
            Cdrom::None => None,
            Cdrom::Iso(path) => Some(path.as_str()),
        };
        let key =
            self.changes.cdrom(&self.devices, drive.as_ref(), slot.as_str(), iso, self.running)?;
        self.new_keys.insert(slot.clone(), key);
        Ok(())
    }

    fn nic(&mut self, nic: &NicSetting) -> Result<(), String> {
        let network = match &nic.network {
            Some(binding) => Some(self.around.places.network(&binding.native, self.node)?),
            None => None,
        };
        if nic.vlan.is_some_and(|tag| tag != 0) {
            return Err("a card has no VLAN of its own here".to_owned());
        }
        let Some(device) = in_slot(&self.devices, &self.map, &nic.slot).cloned() else {
            let network = network.ok_or("a new card needs a network")?;
            let backing = device_change::backing(network);
            let model = nic.model.unwrap_or(NicModel::Vmxnet3);
            let key = self.changes.add_nic(model, backing, nic.mac, self.running)?;
            self.new_keys.insert(nic.slot.clone(), key);
            return Ok(());
        };
        let is = nic_model(&device).flatten();
        let other_model = nic.model.filter(|wanted| is != Some(*wanted));
        let Some(model) = other_model else {
            self.changes.edit_nic(&device, network, nic.mac);
            // From this call on it may be known by its address.
            let mac = nic.mac.or_else(|| devices::mac_of(&device));
            if let (Some(mac), Some(key)) = (mac, device.i64_at("key")) {
                self.new_keys.insert(slots::handle(mac), key);
            }
            return Ok(());
        };
        // A card cannot change its kind: another one takes its place and its address.
        let backing = match network {
            Some(network) => device_change::backing(network),
            None => {
                let old = device.child("backing").ok_or("a card was read without its network")?;
                device_change::echo(old)
            }
        };
        let mac = nic.mac.or_else(|| devices::mac_of(&device));
        self.changes.remove(&device, false);
        let key = self.changes.add_nic(model, backing, mac, self.running)?;
        self.new_keys.insert(nic.slot.clone(), key);
        Ok(())
    }

    fn seed(&mut self, seed: &Seed) -> Result<(), String> {
        let name = match (&self.birth, &self.call.fresh.object) {
            (Some((name, _)), _) => name.clone(),
            (None, FreshObject::Machine(seen)) => {
                self.name.clone().or_else(|| seen.spec.name.clone()).unwrap_or_default()
            }
            (None, _) => String::new(),
        };
        let hash = match (self.call.password(), &seed.init.user) {
            (Some(password), user) => {
                let uuid = self.call.identity.uuid.unwrap_or_default();
                let user = user.as_deref().unwrap_or_default();
                let hash = guest_init::sha512_crypt(uuid, user, password.expose_secret());
                Some(hash.map_err(|error| format!("the password cannot be hashed: {error}"))?)
            }
            (None, _) => None,
        };
        let documents = guest_init::documents(seed, &name, hash.as_deref());
        self.keys([
            (extra::METADATA, extra::encode(&documents.metadata)?),
            (extra::METADATA_ENCODING, extra::PACKED.to_owned()),
            (extra::USERDATA, extra::encode(&documents.userdata)?),
            (extra::USERDATA_ENCODING, extra::PACKED.to_owned()),
        ]);
        Ok(())
    }

    /// The key of a device in a slot. One that this call adds has none that a boot order
    /// could name: the server gives it one when it makes it.
    fn key_in(&self, slot: &Slot) -> Result<i64, String> {
        match self.new_keys.get(slot) {
            Some(key) if *key > 0 => return Ok(*key),
            Some(_) => return Err(format!("the boot order names {slot}, which has no key yet")),
            None => {}
        }
        let missing = || format!("the boot order names {slot}, which has no device");
        self.device(slot).ok().and_then(|device| device.i64_at("key")).ok_or_else(missing)
    }

    fn boot_options(&self) -> Result<Option<Val>, String> {
        let secure = self.firmware.map(|firmware| firmware == Firmware::SecureBoot);
        if secure.is_none() && self.boot.is_none() {
            return Ok(None);
        }
        let mut entries = Vec::new();
        for (device, slot) in self.boot.iter().flatten() {
            entries.push(match device {
                BootDevice::Disk => Val::obj("VirtualMachineBootOptionsBootableDiskDevice")
                    .with("deviceKey", self.key_in(slot)?),
                BootDevice::Network => Val::obj("VirtualMachineBootOptionsBootableEthernetDevice")
                    .with("deviceKey", self.key_in(slot)?),
                BootDevice::Cdrom => Val::obj("VirtualMachineBootOptionsBootableCdromDevice"),
            });
        }
        let options = Val::obj("VirtualMachineBootOptions")
            .with_some("efiSecureBootEnabled", secure)
            .with("bootOrder", Val::Arr(entries));
        Ok(Some(options))
    }

    fn spec(self) -> Result<Val, String> {
        let version = self.call.fresh.version.clone();
        let version = version.filter(|_| self.call.step.guarded && self.birth.is_none());
        if self.call.step.guarded && self.birth.is_none() && version.is_none() {
            return Err("the server tells no version of it, so that nobody would notice what \
                        somebody else changes meanwhile"
                .to_owned());
        }
        let version = version.filter(|_| !Bug::DigestNotSent.is_planted());
        let boot = self.boot_options()?;
        let firmware = self.firmware.map(|firmware| match firmware {
            Firmware::Bios => "bios",
            Firmware::Uefi | Firmware::SecureBoot => "efi",
        });
        let (name, guest, uuid, files) = match &self.birth {
            Some((name, guest)) => {
                let datastore = self.first_datastore.as_ref().ok_or("no datastore was chosen")?;
                let files =
                    Val::obj("VirtualMachineFileInfo").with("vmPathName", format!("[{datastore}]"));
                let uuid = self.call.identity.uuid.map(|uuid| uuid.to_string());
                (Some(name.clone()), Some(*guest), uuid, Some(files))
            }
            None => (self.name.clone(), None, None, None),
        };
        let cores = self.cpu.map(|(total, sockets)| total / sockets.max(1));
        let extra = self.extra.iter().map(|(key, value)| match key.as_str() {
            // Packed is not hidden: what a server repeats of it must not be shown.
            extra::METADATA | extra::USERDATA => hidden_option(key, value),
            _ => option(key, value),
        });
        Ok(Val::obj("VirtualMachineConfigSpec")
            .with_some("changeVersion", version)
            .with_some("name", name)
            .with_some("version", self.hardware.map(hardware))
            .with_some("instanceUuid", uuid)
            .with_some("guestId", guest)
            .with_some("annotation", self.notes.clone())
            .with_some("files", files)
            .with_some("numCPUs", self.cpu.map(|(total, _)| i64::from(total)))
            .with_some("numCoresPerSocket", cores.map(i64::from))
            .with_some("memoryMB", self.memory_mib.and_then(|mib| i64::try_from(mib).ok()))
            .with("deviceChange", Val::Arr(self.changes.into_specs()))
            .with("extraConfig", Val::arr(extra))
            .with_some("bootOptions", boot)
            .with_some("firmware", firmware))
    }
}

//! Settings of a step, as options of one config write.
//!
//! Inputs are settings and the options that are written now; outputs are options to
//! set and to delete. Property strings keep every part that a setting does not speak
//! of, because a written value replaces the whole option.

use super::{
    property::{
        Property, encode_ssh_keys, merge_ipconfig, merge_startup, net_card, parse_size,
        parse_startup, print_boot, print_gib, set_net_card, split_slot, storage_of,
    },
    translate::Options,
};
use crate::model::{
    Autostart, Bytes, Cdrom, Firmware, NicSetting, Seed, Setting, Slot, StorageName,
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What one config write sets and deletes, over what is written now.
pub(super) struct Edit<'a> {
    /// The options as they are written now; empty for a birth.
    base: &'a Options,
    /// Options to set.
    pub(super) set: BTreeMap<String, String>,
    /// Options to delete, all of them present.
    pub(super) delete: BTreeSet<String>,
    /// Drives among them whose volumes go with them.
    pub(super) destroy: BTreeSet<String>,
}

/// What a setting cannot say itself, because only a run knows it.
pub(super) struct Facts<'a> {
    /// The machine UUID that we chose.
    pub(super) uuid: Option<Uuid>,
    /// The guest's password.
    pub(super) password: Option<&'a str>,
}

impl<'a> Edit<'a> {
    pub(super) fn over(base: &'a Options) -> Self {
        Self { base, set: BTreeMap::new(), delete: BTreeSet::new(), destroy: BTreeSet::new() }
    }

    fn put(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let key = key.into();
        self.delete.remove(&key);
        self.set.insert(key, value.into());
    }

    /// Deletes an option, when it is there: deleting what is not set is a warning
    /// in the task's log, and a warning should mean something.
    pub(super) fn unset(&mut self, key: &str) {
        self.set.remove(key);
        if self.base.contains_key(key) {
            self.delete.insert(key.to_owned());
        }
    }

    fn old(&self, key: &str) -> &'a str {
        self.base.get(key).map_or("", String::as_str)
    }

    /// Adds one setting. Tags, notes and the marker are the caller's: they are
    /// woven with what is written already.
    pub(super) fn apply(&mut self, setting: &Setting, facts: &Facts<'_>) -> Result<(), String> {
        match setting {
            Setting::Name(name) => self.put("name", name),
            Setting::Cpu { total, sockets } => self.cpu(*total, *sockets)?,
            Setting::Memory(memory) => self.memory(*memory),
            Setting::Firmware { firmware, storage } => self.firmware(*firmware, storage.as_ref()),
            Setting::Tpm { present, storage } => self.tpm(*present, storage.as_ref())?,
            Setting::HardwareVersion(_) | Setting::Extra { .. } => {
                return Err("this product has no such setting".to_owned());
            }
            Setting::Boot { slots, .. } => {
                let slots: Vec<&str> = slots.iter().map(Slot::as_str).collect();
                self.put("boot", print_boot(&slots));
            }
            Setting::Cdrom { cdrom, slot } => {
                let volume = match cdrom {
                    Cdrom::None => "none",
                    Cdrom::Iso(volume) => volume,
                };
                self.put(slot.as_str(), format!("{volume},media=cdrom"));
            }
            Setting::Autostart(autostart) => self.autostart(*autostart),
            Setting::Protect(protect) => self.put("protection", u8::from(*protect).to_string()),
            Setting::AttachDisk { slot, size, storage, .. } => self.attach(slot, *size, storage)?,
            // A drive's size in a config write is only a remark; no disk grows by it.
            Setting::DiskSize { disk, .. } => {
                return Err(format!("disk {disk} grows in a call of its own"));
            }
            Setting::DetachDisk { slot, delete, .. } => self.detach(slot, delete.as_deref())?,
            Setting::SetNic(nic) => self.nic(nic),
            Setting::RemoveNic { slot, .. } => {
                self.unset(slot.as_str());
                self.unset(&ipconfig_of(slot));
            }
            Setting::Seed(seed) => self.seed(seed, facts.password)?,
            Setting::MachineUuid => {
                let uuid = facts.uuid.ok_or("no machine uuid was chosen")?;
                let mut smbios = Property::lenient(self.old("smbios1"));
                smbios.set("uuid", uuid.to_string());
                self.put("smbios1", smbios.to_string());
            }
            Setting::Tags(_) | Setting::Notes(_) | Setting::Marker(_) | Setting::Unmark => {}
        }
        Ok(())
    }

    fn detach(&mut self, slot: &Slot, delete: Option<&str>) -> Result<(), String> {
        if let Some(volume) = delete {
            // Deleting another volume than the one that was planned would destroy data
            // that nobody agreed to lose.
            let found = self.old(slot.as_str()).split(',').next().unwrap_or_default();
            if !found.is_empty() && found != volume {
                return Err(format!("slot {slot} holds `{found}`, not `{volume}`"));
            }
            self.destroy.insert(slot.to_string());
        }
        self.unset(slot.as_str());
        Ok(())
    }

    /// Whether the volumes of the drives that are deleted go with them: one word for
    /// all drives of a write.
    pub(super) fn forces(&self) -> Result<bool, String> {
        let is_drive = |key: &&String| split_slot(key).is_some_and(|(kind, _)| kind != "net");
        let kept = self.delete.iter().filter(is_drive).any(|key| !self.destroy.contains(key));
        match (self.destroy.is_empty(), kept) {
            (true, _) => Ok(false),
            (false, false) => Ok(true),
            (false, true) => {
                Err("one write cannot keep one drive's volume and delete another's".into())
            }
        }
    }

    fn cpu(&mut self, total: u32, sockets: u32) -> Result<(), String> {
        if sockets == 0 || !total.is_multiple_of(sockets) {
            return Err(format!("{total} processors cannot be spread over {sockets} sockets"));
        }
        self.put("sockets", sockets.to_string());
        self.put("cores", (total / sockets).to_string());
        Ok(())
    }

    fn memory(&mut self, memory: Bytes) {
        let mib = memory.0 / Bytes::MIB;
        self.put("memory", mib.to_string());
        // The server refuses memory below the balloon's target, which a template
        // may have brought along.
        if self.old("balloon").parse::<u64>().is_ok_and(|balloon| balloon > mib) {
            self.put("balloon", mib.to_string());
        }
    }

    fn firmware(&mut self, firmware: Firmware, storage: Option<&StorageName>) {
        let keys = match firmware {
            Firmware::Bios => {
                self.put("bios", "seabios");
                return;
            }
            Firmware::Uefi => 0,
            Firmware::SecureBoot => 1,
        };
        self.put("bios", "ovmf");
        if let Some(storage) = storage {
            // The size is a formality: the server allocates what its template needs.
            let disk = format!("{storage}:1,efitype=4m,pre-enrolled-keys={keys}");
            self.put("efidisk0", disk);
        }
    }

    fn tpm(&mut self, present: bool, storage: Option<&StorageName>) -> Result<(), String> {
        if !present {
            self.unset("tpmstate0");
        } else if !self.base.contains_key("tpmstate0") {
            let storage = storage.ok_or("no storage was chosen for the TPM's state")?;
            self.put("tpmstate0", format!("{storage}:1,version=v2.0"));
        }
        Ok(())
    }

    fn autostart(&mut self, autostart: Autostart) {
        self.put("onboot", u8::from(autostart.enabled).to_string());
        let old = self.old("startup");
        // `startup` needs Sys.Modify on /, so it is sent only when it changes.
        if parse_startup(old) == (autostart.order, autostart.wait_s) {
            return;
        }
        let merged = merge_startup(old, autostart.order, autostart.wait_s);
        if merged.is_empty() {
            self.unset("startup");
        } else {
            self.put("startup", merged.to_string());
        }
    }

    fn attach(&mut self, slot: &Slot, size: Bytes, storage: &StorageName) -> Result<(), String> {
        let Some(old) = self.base.get(slot.as_str()) else {
            self.put(slot.as_str(), format!("{storage}:{}", print_gib(size)));
            return Ok(());
        };
        // A config write may have been carried out in part. A disk that is just
        // what was asked for is ours; allocating again would leave it as garbage.
        let old = Property::lenient(old);
        let volume = old.first_or("file").unwrap_or_default();
        let same = storage_of(volume) == Some(storage.as_str())
            && old.get("size").and_then(parse_size) == Some(size);
        if same { Ok(()) } else { Err(format!("slot {slot} is taken by `{volume}`")) }
    }

    fn nic(&mut self, nic: &NicSetting) {
        let mut net = Property::lenient(self.old(nic.slot.as_str()));
        let (model, mac) = net_card(&net);
        let model = nic.model.map_or(model.unwrap_or("virtio"), |model| model.as_str()).to_owned();
        let mac = nic.mac.or(mac);
        set_net_card(&mut net, &model, mac);
        if let Some(network) = &nic.network {
            net.set("bridge", network.native.as_str());
        }
        match nic.vlan {
            None => {}
            // There is no tag 0: it stands for an untagged card.
            Some(0) => net.remove("tag"),
            Some(tag) => net.set("tag", tag.to_string()),
        }
        self.put(nic.slot.as_str(), net.to_string());
    }

    fn seed(&mut self, seed: &Seed, password: Option<&str>) -> Result<(), String> {
        let init = &seed.init;
        let or_unset = |edit: &mut Self, key: &str, value: Option<String>| match value {
            Some(value) => edit.put(key, value),
            None => edit.unset(key),
        };
        let keys = init.ssh_keys.as_deref().filter(|keys| !keys.is_empty());
        let dns = init
            .dns
            .as_deref()
            .filter(|dns| !dns.is_empty())
            .map(|dns| dns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        or_unset(self, "ciuser", init.user.clone());
        or_unset(self, "sshkeys", keys.map(encode_ssh_keys));
        or_unset(self, "nameserver", dns);
        or_unset(self, "searchdomain", init.domain.clone());
        match (&init.password, password) {
            (Some(_), Some(password)) => self.put("cipassword", password),
            (Some(_), None) => return Err("the guest's password was not resolved".into()),
            // Only a document that was declared says that there is no password.
            (None, _) if init.digest.is_some() => self.unset("cipassword"),
            (None, _) => {}
        }
        // The default upgrades all packages at first boot.
        self.put("ciupgrade", "0");
        self.addresses(seed);
        let slot = seed.slot.as_ref().ok_or("no drive was chosen for the seed")?.as_str();
        if !self.base.contains_key(slot) {
            let storage = seed.storage.as_ref().ok_or("no storage was chosen for the seed")?;
            self.put(slot, format!("{storage}:cloudinit"));
        }
        Ok(())
    }

    fn addresses(&mut self, seed: &Seed) {
        for nic in seed.nics.values() {
            let key = ipconfig_of(&nic.slot);
            let merged = merge_ipconfig(self.old(&key), nic.ip, nic.gateway);
            if merged.is_empty() {
                self.unset(&key);
            } else {
                self.put(key, merged.to_string());
            }
        }
        // Settings of cards that are gone would count as addresses in use.
        let orphans: Vec<String> = self
            .base
            .keys()
            .filter_map(|key| {
                let (bus, index) = split_slot(key)?;
                let net = format!("net{index}");
                let stays = self.set.contains_key(&net)
                    || self.base.contains_key(&net) && !self.delete.contains(&net);
                (bus == "ipconfig" && !stays).then(|| key.clone())
            })
            .collect();
        for key in orphans {
            self.unset(&key);
        }
    }
}

/// The option that holds the address of the card in a slot.
pub(super) fn ipconfig_of(slot: &Slot) -> String {
    slot.as_str().replacen("net", "ipconfig", 1)
}

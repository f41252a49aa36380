//! One machine, as strict as the product: it refuses what needs the power off.

use super::*;

#[derive(Clone, Debug)]
pub(super) struct Card {
    pub(super) key: u32,
    pub(super) mac: MacAddress,
    pub(super) network: String,
    pub(super) model: NicModel,
}

#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) exists: bool,
    pub(super) running: bool,
    pub(super) hot: BTreeSet<Hot>,
    pub(super) snapshots: Vec<SnapshotSeen>,
    pub(super) name: String,
    pub(super) cpu: u32,
    pub(super) sockets: u32,
    pub(super) memory: Bytes,
    pub(super) firmware: Option<Firmware>,
    pub(super) hardware: u32,
    pub(super) linked: bool,
    pub(super) extra: BTreeMap<DeviceName, String>,
    pub(super) boot: Option<Vec<BootDevice>>,
    pub(super) notes: String,
    pub(super) pool: Option<Name>,
    pub(super) disks: BTreeMap<Slot, (Bytes, StorageName)>,
    pub(super) drives: BTreeMap<Slot, Cdrom>,
    pub(super) cards: Vec<Card>,
    pub(super) seeded: Option<guest_init::Documents>,
    /// What the guest is set up by at the next start, and what it was set up by before.
    pub(super) waits: Option<Seed>,
    pub(super) set_up: Vec<Seed>,
    pub(super) marker: Option<Marker>,
    pub(super) template: Option<Box<World>>,
}

fn intent() -> uuid::Uuid {
    intent_id("plan", &key())
}

fn uuid() -> uuid::Uuid {
    machine_uuid(&"acme".into(), &key(), intent())
}

impl World {
    pub(super) fn with_template() -> Self {
        Self { template: Some(Box::new(template())), ..Self::default() }
    }

    fn map(&self) -> DeviceMap {
        self.marker.as_ref().map(|marker| marker.map.clone()).unwrap_or_default()
    }

    /// A card is told by its handle where the map knows it by that.
    fn slot_of(&self, card: &Card) -> Slot {
        let handle = slots::handle(card.mac);
        let known = self.map().nics.values().any(|entry| entry.slot == handle);
        if known { handle } else { format!("nic-{}", card.key).into() }
    }

    pub(super) fn card(&mut self, slot: &Slot) -> Option<&mut Card> {
        let at = self.cards.iter().position(|card| self.slot_of(card) == *slot)?;
        Some(&mut self.cards[at])
    }

    fn devices(&self) -> Vec<Device> {
        let device = |slot: &Slot, kind| Device {
            slot: slot.clone(),
            kind,
            volume: None,
            storage: None,
            size: None,
            linked: false,
            mac: None,
            network: None,
            vlan: None,
        };
        let disks = self.disks.iter().map(|(slot, (size, storage))| Device {
            volume: Some(format!("[{storage}] {}/{slot}.vmdk", self.name)),
            storage: Some(storage.clone()),
            size: Some(*size),
            linked: self.linked,
            ..device(slot, DeviceKind::Disk)
        });
        let drives = self.drives.keys().map(|slot| device(slot, DeviceKind::Cdrom));
        let cards = self.cards.iter().map(|card| Device {
            mac: Some(card.mac),
            network: Some(card.network.clone()),
            ..device(&self.slot_of(card), DeviceKind::Nic)
        });
        disks.chain(drives).chain(cards).collect()
    }

    pub(super) fn seen(&self) -> ObservedMachine {
        let documents = self.seeded.as_ref();
        let init = documents.and_then(|it| guest_init::read(&it.metadata, &it.userdata));
        let map = self.map();
        let disk = |(name, entry): (&DeviceName, &MapEntry)| {
            let (size, storage) = self.disks.get(&entry.slot)?;
            let on_remove = match map.delete_on_remove.contains(name) {
                true => OnRemove::Delete,
                false => OnRemove::Detach,
            };
            let (size, storage) = (Some(*size), Some(storage.clone()));
            let bus = slots::bus_of(entry.slot.as_str());
            Some((name.clone(), DiskSpec { size, bus, slot: None, storage, on_remove }))
        };
        let nic = |(name, entry): (&DeviceName, &MapEntry)| {
            let card = self.cards.iter().find(|card| self.slot_of(card) == entry.slot)?;
            let by_mac = init.as_ref().and_then(|init| init.by_mac.get(&card.mac));
            let network = NetworkBinding { name: None, native: card.network.clone() };
            let spec = NicSpec {
                network: Some(network),
                vlan: None,
                mac: Some(card.mac),
                model: Some(card.model),
                ip: by_mac.map(|it| it.0),
                gateway: by_mac.and_then(|it| it.1),
            };
            Some((name.clone(), spec))
        };
        let marker = self.marker.as_ref();
        let digest = marker.and_then(|marker| marker.init.clone());
        let spec = MachineSpec {
            name: Some(self.name.clone()),
            cpu: Some(self.cpu),
            sockets: Some(self.sockets),
            memory: Some(self.memory),
            firmware: self.firmware,
            hardware_version: Some(self.hardware),
            extra: self.extra.clone(),
            boot: self.boot.clone(),
            cdrom: self.drives.values().next().cloned().or(Some(Cdrom::None)),
            protect: marker.map(|marker| marker.protect),
            notes: Some(self.notes.clone()),
            pool: self.pool.clone(),
            disks: map.disks.iter().filter_map(disk).collect(),
            nics: map.nics.iter().filter_map(nic).collect(),
            init: match &init {
                Some(it) => Some(InitSpec { digest, ..it.init.clone() }),
                None if digest.is_some() => Some(InitSpec { digest, ..InitSpec::default() }),
                None => None,
            },
            ..MachineSpec::default()
        };
        ObservedMachine {
            id: "vm-20".into(),
            node: Some("/dc/host/cluster".into()),
            uuid: Some(uuid()),
            template: false,
            snapshots: self.snapshots.clone(),
            power: if self.running { PowerState::Running } else { PowerState::Stopped },
            hot: self.hot.clone(),
            lock: None,
            marker: match marker {
                Some(marker) => MarkerState::Found(Box::new(marker.clone())),
                None => MarkerState::None,
            },
            bulk_mark: marker.is_some(),
            spec,
            next: None,
            devices: self.devices(),
            known_labels: [].into(),
            setup_waits: self.waits.is_some(),
            addresses: Vec::new(),
        }
    }

    /// Carries out steps as a runner would: an end that holds is not sent, else begin and end are proved.
    pub(super) fn run(&mut self, steps: &[Step]) {
        for step in steps {
            // Whether a marker or a seed is as it was to be written is not in the end.
            let writes = matches!(step.op, StepOp::Configure(_));
            if self.lacks(&step.end).is_empty() && !writes {
                continue;
            }
            assert!(
                self.lacks(&step.begin).is_empty(),
                "begin: {:?}\n{step:?}",
                self.lacks(&step.begin)
            );
            self.apply(&step.op);
            assert!(self.lacks(&step.end).is_empty(), "end: {:?}\n{step:?}", self.lacks(&step.end));
        }
    }

    /// What does not hold.
    pub(super) fn lacks(&self, expect: &Expect) -> Vec<String> {
        let mut lacks = Vec::new();
        if expect.exists.is_some_and(|exists| exists != self.exists) {
            lacks.push("existence".to_owned());
        }
        if !self.exists {
            return lacks;
        }
        let seen = self.seen();
        if expect.power.is_some_and(|power| power != seen.power) {
            lacks.push("power".to_owned());
        }
        let stage = self.marker.as_ref().map(|marker| marker.stage);
        if expect.stage.is_some() && expect.stage != stage {
            lacks.push("stage".to_owned());
        }
        if expect.owner.as_ref().is_some_and(|owner| !owner.has(&seen)) {
            lacks.push("owner".to_owned());
        }
        if expect.setup_waits.is_some_and(|waits| waits != seen.setup_waits) {
            lacks.push("what waits".to_owned());
        }
        for (path, value) in &expect.fields {
            if seen.spec.get(path) != *value {
                lacks.push(format!("{path} {value:?}, is {:?}", seen.spec.get(path)));
            }
        }
        for (slot, is) in &expect.slots {
            if seen.device(slot.as_str()).is_some() != *is {
                lacks.push(format!("{slot} {is}"));
            }
        }
        lacks
    }

    fn apply(&mut self, op: &StepOp) {
        match op {
            StepOp::Clone(from) => {
                let template = self.template.clone().unwrap();
                assert_eq!(from.linked, from.snapshot.is_some());
                *self = World { template: Some(template.clone()), ..*template };
                (self.name, self.pool) = (from.name.clone(), from.pool.clone());
                for card in &mut self.cards {
                    card.mac.0[3] = 0x90;
                }
                for (_, storage) in self.disks.values_mut() {
                    *storage = from.storage.clone().unwrap_or_else(|| storage.clone());
                }
                self.mark(&from.marker);
            }
            StepOp::Create(birth) => {
                self.exists = true;
                (self.name, self.pool) = (birth.name.clone(), birth.pool.clone());
                self.configure(&birth.settings);
            }
            StepOp::Configure(settings) => self.configure(settings),
            StepOp::MoveDisks(moves) => {
                assert!(self.snapshots.is_empty() && !self.linked);
                for it in moves {
                    self.disks.get_mut(&it.slot).unwrap().1 = it.to.clone();
                }
            }
            StepOp::UpgradeHardware { to } => {
                assert!(!self.running && *to > self.hardware);
                self.hardware = *to;
            }
            StepOp::SetPool { pool } => self.pool = pool.clone(),
            StepOp::Customize(seed) => {
                assert!(!self.running && self.waits.is_none(), "one at a time, while it is off");
                let slots: Vec<Slot> = self.devices().into_iter().map(|it| it.slot).collect();
                assert!(seed.nics.values().all(|nic| slots.contains(&nic.slot)), "{seed:?}");
                self.waits = Some(*seed.clone());
            }
            StepOp::Start => {
                self.running = true;
                self.set_up.extend(self.waits.take());
            }
            StepOp::Shutdown | StepOp::Stop => self.running = false,
            StepOp::Delete => {
                assert!(!self.running);
                self.exists = false;
            }
            other => panic!("{other:?} is no call of this product"),
        }
    }

    fn configure(&mut self, settings: &[Setting]) {
        // The server looks at the machine as it was before the write.
        let before = self.clone();
        for setting in settings {
            self.set(setting, &before);
        }
    }

    fn set(&mut self, setting: &Setting, before: &World) {
        let off = !before.running;
        match setting {
            Setting::Name(name) => self.name.clone_from(name),
            Setting::Cpu { total, sockets } => {
                let hot = if *total > self.cpu { Hot::CpuUp } else { Hot::CpuDown };
                assert!(off || (*sockets == self.sockets && self.hot.contains(&hot)));
                (self.cpu, self.sockets) = (*total, *sockets);
            }
            Setting::Memory(memory) => {
                let up = *memory > self.memory && self.hot.contains(&Hot::MemoryUp);
                assert!(off || up);
                self.memory = *memory;
            }
            Setting::Firmware { firmware, storage } => {
                assert!(off && storage.is_none());
                self.firmware = Some(*firmware);
            }
            Setting::HardwareVersion(version) => {
                assert_eq!(self.hardware, 0, "only of what is made");
                self.hardware = *version;
            }
            Setting::Extra { key, value } if value.is_empty() => drop(self.extra.remove(key)),
            Setting::Extra { key, value } => {
                self.extra.insert(key.clone(), value.clone());
            }
            Setting::Boot { order, slots } => {
                assert_eq!(order.len(), slots.len());
                self.boot = Some(order.clone());
            }
            Setting::Cdrom { cdrom, slot } => {
                assert!(off || self.drives.contains_key(slot));
                self.drives.insert(slot.clone(), cdrom.clone());
            }
            Setting::Notes(notes) => self.notes.clone_from(notes),
            Setting::AttachDisk { slot, bus, size, storage, .. } => {
                assert!(off || *bus == Bus::Scsi);
                assert_eq!(slots::bus_of(slot.as_str()), Some(*bus));
                let old = self.disks.insert(slot.clone(), (*size, storage.clone()));
                assert!(old.is_none(), "{slot} is taken");
            }
            Setting::DiskSize { slot, to, .. } => {
                let (size, _) = self.disks.get_mut(slot).unwrap();
                assert!(*to >= *size && before.snapshots.is_empty());
                *size = *to;
            }
            Setting::DetachDisk { slot, .. } => {
                assert!(off || slots::bus_of(slot.as_str()) == Some(Bus::Scsi));
                assert!(self.disks.remove(slot).is_some());
            }
            Setting::SetNic(nic) => self.set_nic(nic, before),
            Setting::RemoveNic { slot, .. } => {
                let mac = before.clone().card(slot).unwrap().mac;
                self.cards.retain(|card| card.mac != mac);
            }
            Setting::Seed(seed) => {
                assert!(seed.slot.is_none() && seed.storage.is_none());
                assert!(seed.nics.values().all(|nic| nic.mac.is_some()));
                let hash = seed.init.password.as_ref().map(|_| "$6$hash");
                self.seeded = Some(guest_init::documents(seed, &self.name, hash));
            }
            // Protection is in the marker alone.
            Setting::Protect(_) => {}
            Setting::Marker(draft) => self.mark(draft),
            Setting::Unmark => self.marker = None,
            Setting::Tpm { .. }
            | Setting::Autostart(_)
            | Setting::Tags(_)
            | Setting::MachineUuid => {
                panic!("{setting:?} is not set here");
            }
        }
    }

    fn set_nic(&mut self, nic: &NicSetting, before: &World) {
        assert_eq!(nic.vlan, None);
        let there = before.clone().card(&nic.slot).cloned();
        let next = self.cards.iter().map(|card| card.key).max().map_or(4000, |key| key + 1);
        let old = there.unwrap_or_else(|| Card {
            key: next,
            mac: slots::handle_mac(nic.slot.as_str()).unwrap(),
            network: String::new(),
            model: NicModel::Vmxnet3,
        });
        let model = nic.model.unwrap_or(old.model);
        let mac = nic.mac.unwrap_or(old.mac);
        let exists = old.key != next;
        assert!(!before.running || !exists || (model == old.model && mac == old.mac));
        let key = if exists && model != old.model { next } else { old.key };
        let network = nic.network.as_ref().map_or(old.network, |it| it.native.clone());
        self.cards.retain(|card| card.key != old.key);
        self.cards.push(Card { key, mac, network, model });
    }

    fn mark(&mut self, draft: &MarkerDraft) {
        let old = self.marker.take();
        let kept = old.as_ref();
        let mut map = draft.map_over(&kept.map(|it| it.map.clone()).unwrap_or_default());
        let mut marker = Marker {
            project: "acme".into(),
            key: key(),
            uuid: Some(uuid()),
            id: Some("vm-20".into()),
            stage: draft.stage,
            intent: intent(),
            init: draft.init.clone().or_else(|| kept?.init.clone()),
            protect: draft.protect.or_else(|| Some(kept?.protect)).unwrap_or(false),
            mac: None,
            map: map.clone(),
        };
        self.marker = Some(marker.clone());
        let devices = self.devices();
        for entry in map.disks.values_mut().chain(map.nics.values_mut()) {
            let is_there = devices.iter().any(|device| device.slot == entry.slot);
            assert!(is_there || !entry.confirmed, "{} is called confirmed", entry.slot);
        }
        marker.map = map;
        self.marker = Some(marker);
    }
}

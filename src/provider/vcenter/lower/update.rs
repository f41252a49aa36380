//! A machine that changes: one guarded write for all fields of the consent group. Nothing
//! is kept pending, so where the machine has to be off for it, the shutdown comes first.

use super::{
    customize, labels,
    layout::Layout,
    marker_of, move_disks,
    parts::{
        Seat, Write, attach, fault, nic_fields, processors, seed_end, seed_of, set_extra,
        snapshots_hold,
    },
    power, set_pool, start, step, stop, upgrade,
};
use crate::{
    model::{
        BootDevice, Bus, Cdrom, DeviceName, DiskMove, Disruption, Expect, FieldChange, FieldKind,
        FieldPath, Lowered, MacAddress, MachineSpec, Marker, MarkerDraft, NicSetting, PowerState,
        Setting, Slot, Stage, Step, StepOp, Unsupported, Update,
    },
    provider::{
        checks::customization,
        lowering::changing::{self, doomed_volume, kept_seed, reads},
        vcenter::slots::{bus_of, handle_mac},
    },
};
use std::collections::BTreeSet;

struct Updater<'a> {
    update: &'a Update<'a>,
    spec: &'a MachineSpec,
    marker: &'a Marker,
    layout: Layout,
    write: Write,
    pool: Option<Step>,
    labels: Vec<Step>,
    upgrade: Option<Step>,
    /// The guest is set up anew, and the marker says so afterwards.
    customize: Vec<Step>,
    moves: Vec<DiskMove>,
    /// Cards that were set already: several fields of one make one setting.
    set_nics: BTreeSet<DeviceName>,
    seeds: bool,
    marks: bool,
    boots: bool,
    /// Slots of the machine whose device the write takes out or puts another one in for.
    replaced: BTreeSet<Slot>,
    faults: Vec<Unsupported>,
    notes: Vec<String>,
}

pub(super) fn lower(update: &Update<'_>) -> Result<Lowered, Vec<Unsupported>> {
    let marker = marker_of(update.seen)?;
    let mut updater = Updater {
        update,
        spec: update.spec,
        marker,
        layout: Layout::of(update.seen, &marker.map),
        write: Write::default(),
        pool: None,
        labels: Vec::new(),
        upgrade: None,
        customize: Vec::new(),
        moves: Vec::new(),
        set_nics: BTreeSet::new(),
        seeds: false,
        marks: false,
        boots: false,
        replaced: BTreeSet::new(),
        faults: Vec::new(),
        notes: Vec::new(),
    };
    // Removals first: what they free may be taken again by what is added.
    let mut changes: Vec<&FieldChange> = update.fields.iter().collect();
    changes.sort_by_key(|it| it.after.is_some());
    for change in changes {
        updater.field(change);
    }
    updater.finish()
}

impl Updater<'_> {
    fn field(&mut self, change: &FieldChange) {
        use FieldKind as K;
        let spec = self.spec;
        let kind = change.field.kind;
        let (wanted, device) = (&change.after, &change.field.device);
        match kind {
            K::Name => {
                let name = spec.name.clone().unwrap_or_default();
                self.write.set(spec, kind, Setting::Name(name));
            }
            K::Cpu | K::Sockets => {
                let now = self.update.seen.settled();
                let now = (now.cpu, now.sockets);
                self.faults.extend(processors(spec, now, &mut self.write).err());
            }
            K::Memory => {
                if let Some(memory) = spec.memory {
                    self.write.set(spec, kind, Setting::Memory(memory));
                }
            }
            K::HardwareVersion => self.upgrade = spec.hardware_version.map(|to| upgrade(to, None)),
            K::Extra => {
                device.iter().for_each(|key| set_extra(spec, key, &mut self.write));
            }
            K::Boot => self.boots = true,
            K::Cdrom => self.cdrom(),
            K::Protect => {
                if let Some(protect) = spec.protect {
                    self.write.set(spec, kind, Setting::Protect(protect));
                    self.marks = true;
                }
            }
            K::Notes => {
                let notes = spec.notes.clone().unwrap_or_default();
                self.write.set(spec, kind, Setting::Notes(notes));
            }
            K::Pool => self.pool = Some(set_pool(spec.pool.clone())),
            K::Label => device.iter().for_each(|name| self.label(name)),
            K::Marker | K::DiskOnRemove => self.marks = true,
            K::InitHostname
            | K::InitDomain
            | K::InitUser
            | K::InitSshKeys
            | K::InitPassword
            | K::InitDns
            | K::InitWindows
            | K::InitCustomization
            | K::InitDigest
            | K::NicIp
            | K::NicGateway => self.seeds = true,
            K::Disk => match device {
                Some(name) if wanted.is_some() => self.attach(name),
                Some(name) => self.detach(name),
                None => self.refuse(change),
            },
            K::DiskSize => device.iter().for_each(|name| self.grow(name)),
            K::DiskStorage => device.iter().for_each(|name| self.move_disk(name)),
            K::Nic => match device {
                Some(name) if wanted.is_some() => self.nic(name),
                Some(name) => self.remove_nic(name),
                None => self.refuse(change),
            },
            K::NicNetwork | K::NicMac | K::NicModel => {
                device.iter().for_each(|name| self.nic(name));
            }
            // A start or stop that comes with other changes is a step after them.
            K::Power => {}
            K::Firmware
            | K::Tpm
            | K::Autostart
            | K::Tags
            | K::NicVlan
            | K::DiskBus
            | K::Snapshots
            | K::Comment
            | K::Acl
            | K::LabelValues
            | K::Spread
            | K::Members
            | K::Member
            | K::Enabled => self.refuse(change),
        }
    }

    fn refuse(&mut self, change: &FieldChange) {
        let why = "this cannot be changed on a machine that exists";
        self.faults.push(fault(change.field.clone(), why, "replace the machine"));
    }

    fn label(&mut self, name: &DeviceName) {
        let seen = self.update.seen;
        let around =
            labels::Around { worn: Some(&seen.settled().labels), known: Some(&seen.known_labels) };
        let Some((key, values)) = self.spec.labels.get_key_value(name.as_str()) else { return };
        for value in values {
            match labels::bear((key, value), around) {
                Ok(mut steps) => self.labels.append(&mut steps),
                Err(fault) => self.faults.push(fault),
            }
        }
    }

    /// Whether the machine is shut down before the write: for a restart, and when it is to
    /// stay off anyway.
    fn stops_first(&self) -> bool {
        let needs = |it: &FieldChange| it.disruption >= Disruption::Restart;
        self.update.seen.power != PowerState::Stopped
            && (self.update.restart || self.update.fields.iter().any(needs))
    }

    /// Whether the write meets a running machine.
    fn runs(&self) -> bool {
        self.update.seen.power != PowerState::Stopped && !self.stops_first()
    }

    /// The boot order, in the write or, where it names a device that the write makes, in
    /// one after it: the server gives such a device its key first.
    fn boot(&mut self) -> Option<Step> {
        let spec = self.spec;
        let order = spec.boot.clone()?;
        // An order that names a card loses it with the card; it is to be as it was.
        let before = self.update.seen.settled();
        let loses = order.contains(&BootDevice::Network)
            && before.boot == spec.boot
            && !self.replaced.is_empty();
        if !self.boots && !loses {
            return None;
        }
        let slots = match self.layout.boot_slots(&order) {
            Ok(slots) => slots,
            Err(fault) => {
                self.faults.push(fault);
                return None;
            }
        };
        let seats = self.layout.seats.disks.values().chain(self.layout.seats.nics.values());
        let made = |slot: &Slot| {
            let new = seats.clone().any(|seat| seat.after() == slot && !seat.exists);
            new || self.replaced.contains(slot)
        };
        let drive = self.layout.seats.cd.as_ref().is_some_and(|seat| !seat.exists);
        let later = slots.iter().any(made) || drive && order.contains(&BootDevice::Cdrom);
        let setting = Setting::Boot { order, slots };
        if !later {
            self.write.set(spec, FieldKind::Boot, setting);
            return None;
        }
        let mut write = Write::default();
        write.set(spec, FieldKind::Boot, setting);
        let begin = Expect { exists: Some(true), ..Expect::default() };
        Some(step(StepOp::Configure(write.settings), begin, write.end))
    }

    fn cdrom(&mut self) {
        let Some(cdrom) = self.spec.cdrom.clone() else { return };
        if self.layout.seats.cd.is_none() {
            if cdrom == Cdrom::None {
                return;
            }
            if self.runs() {
                let why = "there is no CD drive, and one cannot be added while it runs";
                let help = "stop the machine first";
                self.faults.push(fault(FieldPath::of(FieldKind::Cdrom), why, help));
                return;
            }
        }
        match self.layout.cd() {
            Ok(seat) => {
                let setting = Setting::Cdrom { cdrom, slot: seat.slot };
                self.write.set(self.spec, FieldKind::Cdrom, setting);
            }
            Err(fault) => self.faults.push(fault),
        }
    }

    fn attach(&mut self, name: &DeviceName) {
        let Some(disk) = self.spec.disks.get(name) else { return };
        // A map entry that was never seen with its device: the same place again.
        let slot = match self.layout.seats.disks.get(name) {
            Some(seat) if !seat.exists => seat.slot.clone(),
            Some(_) => return,
            None => {
                let bus = disk.bus.unwrap_or(Bus::Scsi);
                match self.layout.add_disk(name, bus, disk.slot) {
                    Ok(slot) => slot,
                    Err(fault) => return self.faults.push(fault),
                }
            }
        };
        if self.runs() && !hotplugs(&slot) {
            let why = format!("a disk in {slot} cannot be added while the machine runs");
            let at = FieldPath::on(FieldKind::Disk, name);
            let help = "stop the machine first, or use `bus: scsi`";
            return self.faults.push(fault(at, why, help));
        }
        self.marks = true;
        let storages = &self.update.allotted.storages;
        let new = attach(self.spec, storages, (name, &slot), &mut self.write);
        self.faults.extend(new.err());
    }

    fn detach(&mut self, name: &DeviceName) {
        let seen = self.update.seen;
        self.marks = true;
        let Some(seat) = self.layout.seats.disks.remove(name) else { return };
        let Some(device) = seen.device(seat.slot.as_str()) else { return };
        let at = FieldPath::on(FieldKind::Disk, name);
        if self.runs() && !hotplugs(&seat.slot) {
            let why = format!("a disk in {} cannot be removed while the machine runs", seat.slot);
            return self.faults.push(fault(at, why, "stop the machine first"));
        }
        match doomed_volume(seen, name, device, &mut self.notes) {
            Ok(delete) => self.write.detach(name, seat.slot, delete),
            Err(fault) => self.faults.push(fault),
        }
    }

    fn grow(&mut self, name: &DeviceName) {
        let Some(to) = self.spec.disks.get(name).and_then(|disk| disk.size) else { return };
        let Some(seat) = self.layout.seats.disks.get(name) else { return };
        let at = FieldPath::on(FieldKind::DiskSize, name);
        if let Some(fault) = snapshots_hold(self.update.seen, at.clone()) {
            return self.faults.push(fault);
        }
        if self.runs() && bus_of(seat.slot.as_str()) == Some(Bus::Ide) {
            let why = format!("a disk in {} cannot grow while the machine runs", seat.slot);
            self.faults.push(fault(at, why, "stop the machine first"));
            return;
        }
        let (disk, slot) = (name.clone(), seat.slot.clone());
        self.write.end.slots.insert(slot.clone(), true);
        self.write.holds(self.spec, at);
        self.write.settings.push(Setting::DiskSize { disk, slot, to });
    }

    fn move_disk(&mut self, name: &DeviceName) {
        let storage = self.spec.disks.get(name).and_then(|disk| disk.storage.clone());
        let (Some(to), Some(seat)) = (storage, self.layout.seats.disks.get(name)) else { return };
        let seen = self.update.seen;
        let device = seen.device(seat.slot.as_str());
        let is = device.and_then(|it| it.storage.as_ref()).map_or("", |it| it.as_str());
        let why = if !seen.snapshots.is_empty() {
            "its snapshots stay where they were taken, so that a machine with snapshots is not moved"
        } else if device.is_some_and(|it| it.linked) {
            "it shares the blocks of another disk, and moving would make a full copy of both"
        } else {
            self.moves.push(DiskMove { disk: name.clone(), slot: seat.slot.clone(), to });
            return;
        };
        let help = format!("write `storage: {is}` again, or remove what it hangs on");
        self.faults.push(fault(FieldPath::on(FieldKind::DiskStorage, name), why, &help));
    }

    fn remove_nic(&mut self, name: &DeviceName) {
        self.marks = true;
        let Some(seat) = self.layout.seats.nics.remove(name) else { return };
        // The documents are to name cards that are there.
        self.seeds |= self.has_address(name);
        self.write.end.slots.insert(seat.slot.clone(), false);
        self.replaced.insert(seat.slot.clone());
        self.write.settings.push(Setting::RemoveNic { nic: Some(name.clone()), slot: seat.slot });
    }

    /// Whether the documents that the machine has give this card an address.
    fn has_address(&self, name: &DeviceName) -> bool {
        self.update.seen.settled().nics.get(name).is_some_and(|nic| nic.ip.is_some())
    }

    fn changes(&self, kind: FieldKind, name: &DeviceName) -> bool {
        self.update.fields.iter().any(|it| it.field == FieldPath::on(kind, name))
    }

    fn nic(&mut self, name: &DeviceName) {
        let Some(nic) = self.spec.nics.get(name) else { return };
        if !self.set_nics.insert(name.clone()) {
            return;
        }
        if !self.layout.seats.nics.get(name).is_some_and(|seat| seat.exists) {
            return self.add_nic(name);
        }
        // What waits for another consent is not written along with this.
        let network = nic.network.clone().filter(|_| self.changes(FieldKind::NicNetwork, name));
        let model = nic.model.filter(|_| self.changes(FieldKind::NicModel, name));
        let mac = nic.mac.filter(|_| self.changes(FieldKind::NicMac, name));
        let Some(seat) = self.layout.seats.nics.get(name).cloned() else { return };
        let by_address = model.is_some() || handle_mac(seat.slot.as_str()).is_some();
        let after = mac.or_else(|| self.observed_mac(&seat)).filter(|_| by_address);
        if let Some(after) = after {
            // Another model is another card; and a handle is the address.
            self.layout.name_by_address(name, after);
        }
        if mac.is_some() && self.has_address(name) {
            self.seeds = true;
            self.notes.push(format!(
                "the guest configures itself anew at its next boot: it knows {name} by its hardware address"
            ));
        }
        let slot = self.layout.seats.nics.get(name).map_or(&seat.slot, Seat::after).clone();
        self.marks |= slot != seat.slot;
        if model.is_some() {
            self.replaced.insert(slot.clone());
        }
        self.write.end.slots.insert(slot, true);
        // Another card keeps the address, which has to be said: it would get a new one.
        let mac = mac.or(after.filter(|_| model.is_some()));
        let setting =
            NicSetting { nic: name.clone(), slot: seat.slot, network, vlan: None, model, mac };
        self.write.end.fields.extend(nic_fields(&setting));
        self.write.settings.push(Setting::SetNic(setting));
    }

    fn add_nic(&mut self, name: &DeviceName) {
        let Some(nic) = self.spec.nics.get(name) else { return };
        let mac = nic.mac.or_else(|| self.update.allotted.macs.get(name).copied());
        let slot = match self.layout.add_nic(name, mac) {
            Ok(slot) => slot,
            Err(fault) => return self.faults.push(fault),
        };
        self.marks = true;
        // A new card's address travels by the first-boot documents.
        self.seeds |= nic.ip.is_some();
        self.write.end.slots.insert(slot.clone(), true);
        let setting = NicSetting {
            nic: name.clone(),
            slot,
            network: nic.network.clone(),
            vlan: None,
            model: nic.model,
            mac,
        };
        self.write.end.fields.extend(nic_fields(&setting));
        self.write.settings.push(Setting::SetNic(setting));
    }

    fn observed_mac(&self, seat: &Seat) -> Option<MacAddress> {
        self.update.seen.device(seat.slot.as_str())?.mac
    }

    fn seed(&mut self) {
        let seen = self.update.seen.settled();
        let (spec, init) = kept_seed(self.spec, seen);
        if init.is_some() && self.spec.init.is_none() {
            // Only its hash could be read back, and that is nobody's business.
            let note = "the first-boot documents are written anew without a password, since `init:` is not declared any more";
            self.notes.push(note.to_owned());
        }
        let mac = |name: &DeviceName| self.mac_after(name);
        match seed_of(&spec, init, &self.layout, mac) {
            Ok(seed) => self.write.settings.push(Setting::Seed(Box::new(seed))),
            Err(faults) => self.faults.extend(faults),
        }
        seed_end(&spec, &mut self.write.end);
        self.marks |= self.spec.init.is_some();
    }

    /// The hardware address that a card has after the write.
    fn mac_after(&self, name: &DeviceName) -> Option<MacAddress> {
        let set = self.write.settings.iter().find_map(|setting| match setting {
            Setting::SetNic(nic) if nic.nic == *name => nic.mac,
            _ => None,
        });
        set.or_else(|| self.observed_mac(self.layout.seats.nics.get(name)?))
    }

    /// A description that is sent before the marker says so is sent again after a death in
    /// between, and never forgotten.
    fn set_up(&mut self) {
        let hindered = customize::hindered(self.update.seen, self.runs());
        self.faults.extend(hindered);
        let begin = Expect { exists: Some(true), ..Expect::default() };
        self.customize.extend(customize::customize(self.spec, &self.layout, begin));
        let mut end = Expect { stage: Some(Stage::Ready), ..Expect::default() };
        end.fields.extend(customize::digest(self.spec));
        let begin = Expect { setup_waits: Some(true), ..Expect::default() };
        let settings = vec![Setting::Marker(self.draft(true))];
        self.customize.push(step(StepOp::Configure(settings), begin, end));
        self.notes.push(
            "at its next start the guest is set up anew: it gets the names and addresses that are declared, and a Windows another identity"
                .to_owned(),
        );
    }

    fn draft(&self, seeds: bool) -> MarkerDraft {
        changing::draft(self.update, &self.marker.map, &self.write, &self.layout.seats, seeds)
    }

    fn finish(mut self) -> Result<Lowered, Vec<Unsupported>> {
        let sets_up = self.seeds && customization(self.spec).is_some();
        if sets_up {
            self.set_up();
        } else if self.seeds {
            self.seed();
        }
        if self.marks {
            self.write.settings.push(Setting::Marker(self.draft(self.seeds && !sets_up)));
            self.write.end.stage = Some(Stage::Ready);
        }
        let steps = self.steps();
        if !self.faults.is_empty() {
            return Err(self.faults);
        }
        let slots = self.layout.seats.slots(Seat::changes);
        let seeded = [FieldKind::NicIp, FieldKind::NicGateway, FieldKind::NicMac];
        let reads = reads(self.update, if self.seeds { &seeded } else { &[] });
        Ok(Lowered { steps, slots, reads, notes: self.notes })
    }

    fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        let stops = self.stops_first();
        let mut begin = Expect { exists: Some(true), ..Expect::default() };
        if stops {
            steps.push(stop(self.update.seen.power, None));
            begin.power = Some(PowerState::Stopped);
        }
        let boot = self.boot();
        steps.extend(self.upgrade.take());
        let Write { settings, end } = std::mem::take(&mut self.write);
        if !settings.is_empty() {
            steps.push(step(StepOp::Configure(settings), begin, end));
        }
        steps.extend(boot);
        if !self.moves.is_empty() {
            steps.push(move_disks(std::mem::take(&mut self.moves)));
        }
        steps.extend(self.pool.take());
        steps.append(&mut self.labels);
        steps.append(&mut self.customize);
        if stops && self.update.restart {
            steps.push(start(power(PowerState::Stopped)));
        }
        steps
    }
}

/// Whether a disk in this slot can come and go while the machine runs.
fn hotplugs(slot: &Slot) -> bool {
    bus_of(slot.as_str()) == Some(Bus::Scsi)
}

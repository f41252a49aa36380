//! A machine that changes: one guarded write for all fields of the consent group,
//! then growth, pool, and the restart when it is part of the change.

use super::{
    layout::Layout,
    marker_of,
    parts::{
        Seat, Write, fault, grow, new_disk, nic_fields, processors, seed_end, seed_of, set_pool,
        system_storage,
    },
    shutdown, start, step,
};
use crate::{
    model::{
        Bus, Cdrom, DeviceName, Expect, FieldChange, FieldKind, FieldPath, Lowered, MachineSpec,
        Marker, MarkerDraft, NicSetting, PowerState, Setting, Stage, Step, StepOp, Unsupported,
        Update, Value,
    },
    provider::{
        lowering::changing::{self, doomed_volume, kept_seed, reads},
        proxmox::translate::bus_of,
    },
};

struct Updater<'a> {
    update: &'a Update<'a>,
    spec: &'a MachineSpec,
    marker: &'a Marker,
    layout: Layout,
    write: Write,
    /// Grows, after the write.
    grows: Vec<Step>,
    pool: Option<Step>,
    /// Drives that are taken off, and whether their volume goes with them.
    removed: Vec<bool>,
    seeds: bool,
    marks: bool,
    /// A CD drive is added, which makes the server write the boot order itself.
    adds_drive: bool,
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
        grows: Vec::new(),
        pool: None,
        removed: Vec::new(),
        seeds: false,
        marks: false,
        adds_drive: false,
        faults: Vec::new(),
        notes: Vec::new(),
    };
    // Removals first: what they free may be taken again by what is added.
    let changes = || update.fields.iter().filter(|change| !change.pending);
    let (gone, rest): (Vec<_>, Vec<_>) = changes().partition(|it| it.after.is_none());
    for change in gone.into_iter().chain(rest) {
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
            K::Tpm => self.tpm(),
            K::Boot => self.write.holds(spec, FieldPath::of(kind)),
            K::Cdrom => self.cdrom(),
            K::Autostart => {
                if let Some(autostart) = spec.autostart {
                    self.write.set(spec, kind, Setting::Autostart(autostart));
                }
            }
            K::Protect => {
                if let Some(protect) = spec.protect {
                    self.write.set(spec, kind, Setting::Protect(protect));
                    self.marks = true;
                }
            }
            K::Tags => {
                let tags = spec.tags.clone().unwrap_or_default();
                self.write.set(spec, kind, Setting::Tags(tags));
            }
            K::Notes => {
                let notes = spec.notes.clone().unwrap_or_default();
                self.write.set(spec, kind, Setting::Notes(notes));
            }
            K::Pool => {
                let (op, begin, end) = set_pool(spec.pool.clone());
                self.pool = Some(step(op, begin, end));
            }
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
            K::Nic => match device {
                Some(name) if wanted.is_some() => self.nic(name),
                Some(name) => self.remove_nic(name),
                None => self.refuse(change),
            },
            K::NicNetwork | K::NicVlan | K::NicMac | K::NicModel => {
                device.iter().for_each(|name| self.nic(name));
            }
            // A start or stop that comes with other changes is a step after them.
            K::Power => {}
            K::Firmware
            | K::HardwareVersion
            | K::Extra
            | K::DiskBus
            | K::DiskStorage
            | K::Comment
            | K::Acl
            | K::Snapshots
            | K::Label
            | K::LabelValues
            | K::Spread
            | K::Members
            | K::Member
            | K::Enabled => {
                self.refuse(change);
            }
        }
    }

    fn refuse(&mut self, change: &FieldChange) {
        let why = "this cannot be changed on a machine that exists";
        self.faults.push(fault(change.field.clone(), why, "replace the machine"));
    }

    fn runs(&self) -> bool {
        self.update.seen.power != PowerState::Stopped
    }

    fn tpm(&mut self) {
        let Some(present) = self.spec.tpm else { return };
        let at = FieldPath::of(FieldKind::Tpm);
        let storages = &self.update.allotted.storages;
        let storage = system_storage(self.spec, storages, Some(self.update.seen));
        if present && storage.is_none() {
            let why = "there is no storage for the TPM's state";
            self.faults.push(fault(at, why, "set the storage of disk `boot`"));
            return;
        }
        if !present {
            self.removed.push(false);
            self.notes.push("the TPM state stays as a detached volume".into());
        }
        let storage = storage.filter(|_| present);
        self.write.set(self.spec, FieldKind::Tpm, Setting::Tpm { present, storage });
    }

    fn cdrom(&mut self) {
        let Some(cdrom) = self.spec.cdrom.clone() else { return };
        let exists = self.layout.seats.cd.is_some();
        if !exists {
            if cdrom == Cdrom::None {
                return;
            }
            if self.runs() && !self.update.restart {
                let why = "there is no CD drive, and one cannot be added while it runs";
                let help = "stop the machine first";
                self.faults.push(fault(FieldPath::of(FieldKind::Cdrom), why, help));
                return;
            }
            self.adds_drive = true;
        }
        let slot = self.layout.cd().slot;
        self.write.set(self.spec, FieldKind::Cdrom, Setting::Cdrom { cdrom, slot });
    }

    fn attach(&mut self, name: &DeviceName) {
        let Some(disk) = self.spec.disks.get(name) else { return };
        let (size, storage) = match new_disk(self.spec, &self.update.allotted.storages, name) {
            Ok(parts) => parts,
            Err(fault) => return self.faults.push(fault),
        };
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
        let bus = bus_of(slot.as_str()).unwrap_or(Bus::Scsi);
        if !hotplugs(bus) && self.runs() && !self.update.restart {
            let at = FieldPath::on(FieldKind::Disk, name);
            let why = format!("a disk on {} cannot be added while it runs", bus.as_str());
            self.faults.push(fault(at, why, "stop the machine first, or use `bus: scsi`"));
            return;
        }
        self.marks = true;
        self.write.end.slots.insert(slot.clone(), true);
        self.write.holds(self.spec, FieldPath::on(FieldKind::DiskSize, name));
        self.write.settings.push(Setting::AttachDisk {
            disk: name.clone(),
            slot,
            bus,
            size,
            storage,
        });
    }

    fn detach(&mut self, name: &DeviceName) {
        let seen = self.update.seen;
        self.marks = true;
        let Some(seat) = self.layout.seats.disks.remove(name) else { return };
        let Some(device) = seen.device(seat.slot.as_str()) else { return };
        let at = FieldPath::on(FieldKind::Disk, name);
        let bus = bus_of(seat.slot.as_str()).unwrap_or(Bus::Scsi);
        let waits = !hotplugs(bus) && self.runs();
        if waits && !self.update.restart {
            let why = format!("a disk on {} cannot be removed while it runs", bus.as_str());
            self.faults.push(fault(at, why, "stop the machine first"));
            return;
        }
        match doomed_volume(seen, name, device, &mut self.notes) {
            Ok(delete) => {
                self.removed.push(delete.is_some());
                self.write.detach(name, seat.slot, delete);
            }
            Err(fault) => self.faults.push(fault),
        }
    }

    fn grow(&mut self, name: &DeviceName) {
        let Some(to) = self.spec.disks.get(name).and_then(|disk| disk.size) else { return };
        if let Some(seat) = self.layout.seats.disks.get(name) {
            self.grows.push(grow(name, &seat.slot, to));
        }
    }

    fn remove_nic(&mut self, name: &DeviceName) {
        self.marks = true;
        let Some(seat) = self.layout.seats.nics.remove(name) else { return };
        self.write.end.slots.insert(seat.slot.clone(), false);
        self.write.settings.push(Setting::RemoveNic { nic: Some(name.clone()), slot: seat.slot });
    }

    fn nic(&mut self, name: &DeviceName) {
        let Some(nic) = self.spec.nics.get(name) else { return };
        let seat = self.layout.seats.nics.get(name).cloned();
        let exists = seat.as_ref().is_some_and(|seat| seat.exists);
        let slot = match seat {
            Some(seat) => seat.slot,
            None => match self.layout.add_nic(name) {
                Ok(slot) => slot,
                Err(fault) => return self.faults.push(fault),
            },
        };
        let mac = nic.mac.or(self.update.allotted.macs.get(name).copied().filter(|_| !exists));
        let setting = NicSetting {
            nic: name.clone(),
            slot: slot.clone(),
            network: nic.network.clone(),
            vlan: nic.vlan,
            model: nic.model,
            mac,
        };
        if !exists {
            self.marks = true;
            // A new card's address travels by the first-boot documents.
            self.seeds |= nic.ip.is_some();
        }
        self.write.end.slots.insert(slot, true);
        self.write.end.fields.extend(nic_fields(&setting));
        let setting = Setting::SetNic(setting);
        if !self.write.settings.contains(&setting) {
            self.write.settings.push(setting);
        }
    }

    fn seed(&mut self) {
        let seen = self.update.seen.settled();
        let at = FieldPath::of(FieldKind::InitDigest);
        let (spec, init) = kept_seed(self.spec, seen);
        let seat = self.layout.seed();
        let storages = &self.update.allotted.storages;
        let storage = system_storage(self.spec, storages, Some(self.update.seen));
        if !seat.exists && storage.is_none() {
            let why = "there is no storage for the first-boot drive";
            self.faults.push(fault(at, why, "set the storage of disk `boot`"));
        }
        let storage = storage.filter(|_| !seat.exists);
        let seed = seed_of(&spec, init, &self.layout, seat.slot, storage);
        seed_end(&spec, &mut self.write.end);
        self.write.settings.push(Setting::Seed(Box::new(seed)));
        self.marks |= self.spec.init.is_some();
    }

    fn draft(&self) -> MarkerDraft {
        changing::draft(self.update, &self.marker.map, &self.write, &self.layout.seats, self.seeds)
    }

    fn boot_write(&mut self) -> Option<Write> {
        let declared = self.write.end.fields.remove(&FieldPath::of(FieldKind::Boot)).is_some();
        // A new CD drive is appended to the order that was there.
        if !declared && !self.adds_drive {
            return None;
        }
        let order = self.spec.boot.clone()?;
        match self.layout.boot_slots(&order) {
            Ok(slots) => {
                let mut write = Write::default();
                write.set(self.spec, FieldKind::Boot, Setting::Boot { order, slots });
                Some(write)
            }
            Err(fault) => {
                self.faults.push(fault);
                None
            }
        }
    }

    fn finish(mut self) -> Result<Lowered, Vec<Unsupported>> {
        if self.seeds {
            self.seed();
        }
        let boot = self.boot_write();
        let mut writes = Vec::new();
        if self.marks {
            self.write.settings.push(Setting::Marker(self.draft()));
            self.write.end.stage = Some(Stage::Ready);
        }
        writes.extend(self.destroying());
        let last = writes.len();
        writes.push(std::mem::take(&mut self.write));
        match boot {
            // One write is enough where the server does not touch the order itself.
            Some(boot) if !self.adds_drive => {
                writes[last].settings.splice(0..0, boot.settings);
                writes[last].end.fields.extend(boot.end.fields);
            }
            Some(boot) => writes.push(boot),
            None => {}
        }
        let steps = self.steps(writes);
        if !self.faults.is_empty() {
            return Err(self.faults);
        }
        let slots = self.layout.seats.slots(Seat::changes);
        let seeded = [FieldKind::NicIp, FieldKind::NicGateway];
        let reads = reads(self.update, if self.seeds { &seeded } else { &[] });
        Ok(Lowered { steps, slots, reads, notes: self.notes })
    }

    /// Volumes go or stay for a whole write: where both are asked for, those that go
    /// take a write of their own, with the map that no longer names them.
    fn destroying(&mut self) -> Option<Write> {
        let goes = |goes: bool| self.removed.contains(&goes);
        if !(goes(true) && goes(false)) {
            return None;
        }
        let all = std::mem::take(&mut self.write.settings);
        let (doomed, rest): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|it| matches!(it, Setting::DetachDisk { delete: Some(_), .. }));
        let mut write = Write::default();
        for setting in &doomed {
            if let Setting::DetachDisk { slot, .. } = setting {
                write.end.slots.insert(slot.clone(), false);
            }
        }
        write.settings = doomed;
        write.settings.push(Setting::Marker(self.draft()));
        self.write.settings = rest;
        Some(write)
    }

    fn steps(&mut self, writes: Vec<Write>) -> Vec<Step> {
        let exists = || Expect { exists: Some(true), ..Expect::default() };
        let seen = self.update.seen;
        let ends: Vec<Expect> = writes.iter().map(|write| write.end.clone()).collect();
        let mut steps = Vec::new();
        // Protection forbids to take off a drive or to delete a volume, and the
        // server looks at it before it looks at the rest of the same write.
        let lifts = !self.removed.is_empty() && seen.settled().protect == Some(true);
        if lifts {
            steps.push(protect(false));
        }
        for write in writes.into_iter().filter(|write| !write.settings.is_empty()) {
            steps.push(step(StepOp::Configure(write.settings), exists(), write.end));
        }
        steps.append(&mut self.grows);
        steps.extend(self.pool.take());
        if self.update.restart && self.runs() {
            steps.push(shutdown(None));
            steps.push(start(in_force(&ends, self.update.fields)));
        }
        if lifts && self.spec.protect.unwrap_or(true) {
            steps.push(protect(true));
        }
        steps
    }
}

fn protect(on: bool) -> Step {
    let mut end = Expect::default();
    end.fields.insert(FieldPath::of(FieldKind::Protect), Some(Value::Flag(on)));
    let begin = Expect { exists: Some(true), ..Expect::default() };
    step(StepOp::Configure(vec![Setting::Protect(on)]), begin, end)
}

/// Whether a disk on this bus can come and go while the machine runs
/// (qemu-server `vmconfig_hotplug_pending`).
fn hotplugs(bus: Bus) -> bool {
    match bus {
        Bus::Scsi | Bus::Virtio => true,
        Bus::Sata | Bus::Ide => false,
    }
}

/// What is in force once the machine has been started: all that was written, and
/// what was pending before.
fn in_force(ends: &[Expect], changes: &[FieldChange]) -> Expect {
    let mut force = Expect { in_force: true, ..Expect::default() };
    for end in ends {
        force.fields.extend(end.fields.clone());
    }
    let pending = changes.iter().filter(|change| change.pending);
    force.fields.extend(pending.map(|change| (change.field.clone(), change.after.clone())));
    force
}

//! A machine that is made, or built to its end.
//!
//! From a template: clone, one guarded write of everything, growth of disks, one
//! last write that marks it ready, start. From an ISO: create, last write, start.
//! A half-made machine gets what is missing, its first-boot documents always, and
//! never a second birth. Nothing starts before `ready`.

use super::{
    layout::Layout,
    parts::{
        Write, fault, grow, new_disk, nic_fields, processors, seed_end, seed_of, set_pool,
        system_storage,
    },
    start, step,
};
use crate::{
    model::{
        Build, Bus, Bytes, DeviceKind, DeviceMap, Expect, FieldKind, FieldPath, Firmware, Lowered,
        MachineSpec, MarkerDraft, NicSetting, ObservedMachine, Power, PowerState, Setting, Stage,
        Step, StepOp, StorageName, Unsupported, Value,
    },
    provider::{checks::wants_seed, lowering::building, proxmox::translate::bus_of},
};

struct Builder<'a> {
    build: &'a Build<'a>,
    spec: &'a MachineSpec,
    /// What the new machine starts from: itself half-made, or the template.
    base: Option<&'a ObservedMachine>,
    layout: Layout,
    old_map: DeviceMap,
    faults: Vec<Unsupported>,
    notes: Vec<String>,
}

pub(super) fn lower(build: &Build<'_>) -> Result<Lowered, Vec<Unsupported>> {
    let base = building::base(build);
    let old_map = building::old_map(build);
    let layout = Layout::at_birth(build.spec, base, &old_map)?;
    let builder = Builder {
        build,
        spec: build.spec,
        base,
        layout,
        old_map,
        faults: Vec::new(),
        notes: Vec::new(),
    };
    builder.lower()
}

impl Builder<'_> {
    fn lower(mut self) -> Result<Lowered, Vec<Unsupported>> {
        let mut steps = Vec::new();
        self.notes.extend(building::leftovers(self.spec, &self.layout.seats));
        let empty = self.base.is_none();
        if let (Some(template), None) = (self.build.template, self.build.seen) {
            steps.extend(self.clone_step(template));
        }
        let first = self.first_write();
        if empty {
            steps.extend(self.create_step(first));
        } else {
            steps.extend(self.unprotect());
            let begin = Expect {
                stage: Some(Stage::New),
                power: Some(PowerState::Stopped),
                ..Expect::default()
            };
            steps.push(step(StepOp::Configure(first.settings), begin, first.end));
        }
        steps.extend(self.growth());
        steps.extend(self.pool());
        steps.push(self.last_write(empty));
        match self.build.machine.power {
            Power::Running | Power::Once => {
                let mut start = start(Expect::default());
                start.begin.stage = Some(Stage::Ready);
                steps.push(start);
            }
            Power::Stopped => {}
        }
        if !self.faults.is_empty() {
            return Err(self.faults);
        }
        let slots = self.layout.seats.slots(|_| true);
        Ok(Lowered { steps, slots, reads: Vec::new(), notes: self.notes })
    }

    fn draft(&self, stage: Stage) -> MarkerDraft {
        let map = self.layout.seats.map(&self.old_map, self.spec, stage == Stage::Ready);
        building::draft(self.build, stage, wants_seed(self.spec), (&self.old_map, map))
    }

    fn lacks(&self, kind: FieldKind) -> bool {
        building::lacks(self.build, kind)
    }

    fn clone_step(&mut self, template: &ObservedMachine) -> Option<Step> {
        let call = building::clone(self.build, &self.layout.seats, template);
        let (op, begin, end) = call.map_err(|faults| self.faults.extend(faults)).ok()?;
        Some(step(op, begin, end))
    }

    /// A template's own protection would refuse the removal of its TPM state.
    fn unprotect(&mut self) -> Option<Step> {
        let base = self.base?;
        let removes = self.spec.tpm == Some(false) && base.settled().tpm == Some(true);
        if !removes || base.settled().protect != Some(true) {
            return None;
        }
        let mut end = Expect::default();
        end.fields.insert(FieldPath::of(FieldKind::Protect), Some(Value::Flag(false)));
        let begin = Expect { stage: Some(Stage::New), ..Expect::default() };
        Some(step(StepOp::Configure(vec![Setting::Protect(false)]), begin, end))
    }

    fn first_write(&mut self) -> Write {
        let mut write = Write::default();
        write.end.stage = Some(Stage::New);
        let spec = self.spec;
        if self.chooses_uuid() {
            write.settings.push(Setting::MachineUuid);
        }
        if self.build.seen.is_some() && self.lacks(FieldKind::Name) {
            write.set(spec, FieldKind::Name, Setting::Name(building::name(self.build)));
        }
        self.hardware(&mut write);
        self.attach(&mut write);
        self.nics(&mut write);
        self.cdrom(&mut write);
        if let Some(tags) = spec.tags.clone().filter(|_| self.lacks(FieldKind::Tags)) {
            write.set(spec, FieldKind::Tags, Setting::Tags(tags));
        }
        if let Some(notes) = spec.notes.clone().filter(|_| self.lacks(FieldKind::Notes)) {
            write.set(spec, FieldKind::Notes, Setting::Notes(notes));
        }
        if let Some(autostart) = spec.autostart.filter(|_| self.lacks(FieldKind::Autostart)) {
            write.set(spec, FieldKind::Autostart, Setting::Autostart(autostart));
        }
        // The server keeps a password as it was sent at create, and hashes it on
        // update: an empty machine is seeded by its last write.
        if self.base.is_some() {
            self.seed(&mut write);
        }
        let mut draft = self.draft(Stage::New);
        if self.base.is_none() {
            draft.init = None;
        }
        write.settings.push(Setting::Marker(draft));
        write
    }

    /// Our UUID is written once; after that the marker and the machine agree.
    fn chooses_uuid(&self) -> bool {
        self.build.seen.is_none_or(|seen| {
            let marked = seen.marker.found().and_then(|marker| marker.uuid);
            marked.is_none() || marked != seen.uuid
        })
    }

    fn hardware(&mut self, write: &mut Write) {
        let spec = self.spec;
        if self.lacks(FieldKind::Cpu) || self.lacks(FieldKind::Sockets) {
            let now = (self.base.and_then(|base| base.settled().cpu), None);
            self.faults.extend(processors(spec, now, write).err());
        }
        if let Some(memory) = spec.memory.filter(|_| self.lacks(FieldKind::Memory)) {
            write.set(spec, FieldKind::Memory, Setting::Memory(memory));
        }
        self.firmware(write);
        self.tpm(write);
    }

    fn firmware(&mut self, write: &mut Write) {
        let at = FieldPath::of(FieldKind::Firmware);
        let Some(wanted) = building::firmware(self.build) else { return };
        let observed = self.base.and_then(|base| base.settled().firmware);
        let has_variables = self
            .base
            .is_some_and(|base| base.devices.iter().any(|it| it.kind == DeviceKind::Firmware));
        let storage = match wanted {
            Firmware::Bios => None,
            Firmware::Uefi | Firmware::SecureBoot if has_variables => {
                // Its variables are there already, with or without keys.
                let boots_bios = observed == Some(Firmware::Bios);
                if !boots_bios || wanted == Firmware::SecureBoot {
                    let why = "the template's firmware variables were made with other keys";
                    let help = "declare the template's firmware, or change the template";
                    self.faults.push(fault(at.clone(), why, help));
                }
                None
            }
            Firmware::Uefi | Firmware::SecureBoot => self.storage(&at),
        };
        write.settings.push(Setting::Firmware { firmware: wanted, storage });
        write.end.fields.insert(at, Some(Value::Text(wanted.as_str().to_owned())));
    }

    fn tpm(&mut self, write: &mut Write) {
        let Some(present) = self.spec.tpm else { return };
        let at = FieldPath::of(FieldKind::Tpm);
        let observed = self.base.and_then(|base| base.settled().tpm).unwrap_or(false);
        write.holds(self.spec, at.clone());
        if observed == present {
            return;
        }
        let storage = if present { self.storage(&at) } else { None };
        if !present {
            self.notes.push("the TPM state of the template stays as a detached volume".into());
        }
        write.settings.push(Setting::Tpm { present, storage });
    }

    /// The storage of what has no name; none is an error on the field that needs it.
    fn storage(&mut self, at: &FieldPath) -> Option<StorageName> {
        let found = system_storage(self.spec, &self.build.allotted.storages, self.base);
        if found.is_none() {
            let why = "there is no storage for what this needs";
            self.faults.push(fault(at.clone(), why, "set the storage of disk `boot`"));
        }
        found
    }

    fn attach(&mut self, write: &mut Write) {
        for (name, seat) in &self.layout.seats.disks {
            write.end.slots.insert(seat.slot.clone(), true);
            if seat.exists {
                continue;
            }
            let (size, storage) = match new_disk(self.spec, &self.build.allotted.storages, name) {
                Ok(parts) => parts,
                Err(fault) => {
                    self.faults.push(fault);
                    continue;
                }
            };
            let slot = seat.slot.clone();
            let bus = bus_of(slot.as_str()).unwrap_or(Bus::Scsi);
            write.holds(self.spec, FieldPath::on(FieldKind::DiskSize, name));
            write.settings.push(Setting::AttachDisk {
                disk: name.clone(),
                slot,
                bus,
                size,
                storage,
            });
        }
    }

    fn nics(&mut self, write: &mut Write) {
        building::remove_spare(&self.layout.seats, write, &mut self.notes);
        for (name, seat) in &self.layout.seats.nics {
            let Some(nic) = self.spec.nics.get(name) else { continue };
            write.end.slots.insert(seat.slot.clone(), true);
            let mac = nic.mac.or(self.build.allotted.macs.get(name).copied());
            // A network without a tag means an untagged card, not the template's tag.
            let vlan = nic.vlan.or(nic.network.as_ref().map(|_| 0));
            let setting = NicSetting {
                nic: name.clone(),
                slot: seat.slot.clone(),
                network: nic.network.clone(),
                vlan,
                model: nic.model,
                mac,
            };
            let mut fields = nic_fields(&setting);
            let held = |field: &(FieldPath, Option<Value>)| {
                self.build.seen.is_some_and(|seen| seen.settled().get(&field.0) == field.1)
            };
            if !seat.exists || !fields.iter().all(held) {
                write.settings.push(Setting::SetNic(setting));
            }
            write.end.fields.extend(fields.drain(..));
        }
    }

    fn cdrom(&mut self, write: &mut Write) {
        let Some(cdrom) = building::cdrom(self.build, &self.layout.seats, write) else { return };
        let slot = self.layout.cd().slot;
        write.settings.push(Setting::Cdrom { cdrom, slot });
    }

    fn seed(&mut self, write: &mut Write) {
        if !wants_seed(self.spec) {
            return;
        }
        let seat = self.layout.seed();
        let at = FieldPath::of(FieldKind::InitDigest);
        let storage = if seat.exists { None } else { self.storage(&at) };
        let seats = &self.layout;
        let seed = seed_of(self.spec, self.spec.init.clone(), seats, seat.slot, storage);
        seed_end(self.spec, &mut write.end);
        write.settings.push(Setting::Seed(Box::new(seed)));
    }

    fn create_step(&mut self, first: Write) -> Option<Step> {
        let call = building::create(self.build, first);
        let (op, begin, end) = call.map_err(|fault| self.faults.push(fault)).ok()?;
        Some(step(op, begin, end))
    }

    fn growth(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (name, seat) in self.layout.seats.disks.iter().filter(|(_, seat)| seat.exists) {
            let Some(to) = self.spec.disks.get(name).and_then(|disk| disk.size) else { continue };
            let device = self.base.and_then(|base| base.device(seat.slot.as_str()));
            let from = device.and_then(|it| it.size).unwrap_or(Bytes(0));
            if from > to {
                let why = format!("the template's disk is {from}, and disks only grow");
                let at = FieldPath::on(FieldKind::DiskSize, name);
                self.faults.push(fault(at, why, "declare that size or more"));
            } else if from < to {
                steps.push(grow(name, &seat.slot, to));
            }
        }
        steps
    }

    fn pool(&self) -> Option<Step> {
        let (op, begin, end) = set_pool(Some(building::pool(self.build)?));
        Some(step(op, begin, end))
    }

    /// The last write before the first start. What could hinder an earlier step is
    /// here: protection, and a boot order over drives that must exist before (an
    /// update that adds a CD drive appends it to the order that was there).
    fn last_write(&mut self, empty: bool) -> Step {
        let mut write = Write::default();
        if let Some(order) = self.spec.boot.clone() {
            match self.layout.boot_slots(&order) {
                Ok(slots) => {
                    write.set(self.spec, FieldKind::Boot, Setting::Boot { order, slots });
                }
                Err(fault) => self.faults.push(fault),
            }
        }
        if let Some(protect) = self.spec.protect {
            write.set(self.spec, FieldKind::Protect, Setting::Protect(protect));
        }
        if empty {
            self.seed(&mut write);
        }
        write.settings.push(Setting::Marker(self.draft(Stage::Ready)));
        write.end.stage = Some(Stage::Ready);
        let mut begin = Expect {
            stage: Some(Stage::New),
            power: Some(PowerState::Stopped),
            ..Expect::default()
        };
        for seat in self.layout.seats.disks.values().chain(self.layout.seats.nics.values()) {
            begin.slots.insert(seat.slot.clone(), true);
        }
        step(StepOp::Configure(write.settings), begin, write.end)
    }
}

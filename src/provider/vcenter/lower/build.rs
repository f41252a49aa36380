//! A machine that is made, or built to its end.
//!
//! From a template: clone, one guarded write of everything, which marks it ready, start.
//! From an ISO: create with all hardware, one write with what must not be there before,
//! start. A half-made machine gets what is missing, its first-boot documents always, and
//! never a second birth. Nothing starts before `ready`.

use super::{
    customize, labels,
    layout::Layout,
    parts::{
        Seat, Write, attach, fault, nic_fields, processors, seed_end, seed_of, set_extra,
        snapshots_hold,
    },
    set_pool, start, step, upgrade,
};
use crate::{
    model::{
        BootDevice, Build, Bytes, DeviceKind, DeviceMap, DeviceName, Expect, FieldKind, FieldPath,
        Lowered, MacAddress, MachineSpec, MarkerDraft, NicSetting, ObservedMachine, Power,
        PowerState, Setting, Slot, Stage, Step, StepOp, Unsupported, Value,
    },
    provider::{
        checks::{customization, wants_seed},
        lowering::building,
    },
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
    let mac = |name: &DeviceName| mac_of(build, name);
    let layout = Layout::at_birth(build.spec, base, &old_map, mac)?;
    let (faults, notes) = (Vec::new(), Vec::new());
    let spec = build.spec;
    Builder { build, spec, base, layout, old_map, faults, notes }.lower()
}

/// The address that a card gets: written, or chosen.
fn mac_of(build: &Build<'_>, name: &DeviceName) -> Option<MacAddress> {
    let declared = build.spec.nics.get(name).and_then(|nic| nic.mac);
    declared.or_else(|| build.allotted.macs.get(name).copied())
}

impl Builder<'_> {
    fn lower(mut self) -> Result<Lowered, Vec<Unsupported>> {
        let mut steps = Vec::new();
        self.notes.extend(building::leftovers(self.spec, &self.layout.seats));
        if let (Some(template), None) = (self.build.template, self.build.seen) {
            steps.extend(self.clone_step(template));
        }
        let mut write = Write::default();
        // What the boot order names must be there before it: the server has no key for a
        // device that the same call adds.
        let mut made = self.base.is_none();
        if made {
            let mut birth = Write::default();
            self.hardware(&mut birth);
            steps.extend(self.create_step(birth));
        } else {
            steps.extend(self.pool());
            steps.extend(self.upgrade());
            self.hardware(&mut write);
            // Cards are there before their addresses are told.
            if self.is_set_up() || self.sets_boot() && self.boot_names_new() {
                made = true;
                steps.push(self.hardware_step(std::mem::take(&mut write)));
            }
        }
        self.boot(&mut write);
        // Whoever goes by labels, a backup among them, is to see them before the machine runs.
        steps.append(&mut self.labels());
        steps.extend(self.customize());
        steps.push(self.ready(write, made));
        match self.build.machine.power {
            Power::Running | Power::Once => {
                let stopped = Some(PowerState::Stopped);
                let ready = Some(Stage::Ready);
                steps.push(start(Expect { power: stopped, stage: ready, ..Expect::default() }));
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
        // Before a description is sent, the marker says which one that is going to be.
        let seeded = stage == Stage::Ready && wants_seed(self.spec) || self.is_set_up();
        let map = self.layout.seats.map(&self.old_map, self.spec, false);
        building::draft(self.build, stage, seeded, (&self.old_map, map))
    }

    fn lacks(&self, kind: FieldKind) -> bool {
        building::lacks(self.build, kind)
    }

    fn clone_step(&mut self, template: &ObservedMachine) -> Option<Step> {
        if building::is_linked(self.build) && self.build.snapshot.is_none() {
            let why = "a linked clone hangs on a snapshot of its template, and there is none";
            let help = "take a snapshot of the template, or use `clone: full`";
            self.faults.push(fault(FieldPath::of(FieldKind::Name), why, help));
        }
        let call = building::clone(self.build, &self.layout.seats, template);
        let (op, begin, end) = call.map_err(|faults| self.faults.extend(faults)).ok()?;
        Some(step(op, begin, end))
    }

    /// All that is set before the machine is ready, but what the last write keeps.
    fn hardware(&mut self, write: &mut Write) {
        let spec = self.spec;
        if self.build.seen.is_some() && self.lacks(FieldKind::Name) {
            write.set(spec, FieldKind::Name, Setting::Name(building::name(self.build)));
        }
        if self.lacks(FieldKind::Cpu) || self.lacks(FieldKind::Sockets) {
            let now = self.base.map(ObservedMachine::settled);
            let now = (now.and_then(|now| now.cpu), now.and_then(|now| now.sockets));
            self.faults.extend(processors(spec, now, write).err());
        }
        if let Some(memory) = spec.memory.filter(|_| self.lacks(FieldKind::Memory)) {
            write.set(spec, FieldKind::Memory, Setting::Memory(memory));
        }
        if let (Some(version), None) = (spec.hardware_version, self.base) {
            write.set(spec, FieldKind::HardwareVersion, Setting::HardwareVersion(version));
        }
        for key in spec.extra.keys() {
            let path = FieldPath::on(FieldKind::Extra, key);
            let held = self.build.seen.map(|seen| seen.settled().get(&path));
            if held != Some(spec.get(&path)) {
                set_extra(spec, key, write);
            }
        }
        self.firmware(write);
        self.disks(write);
        self.nics(write);
        self.cdrom(write);
        if let Some(notes) = spec.notes.clone().filter(|_| self.lacks(FieldKind::Notes)) {
            write.set(spec, FieldKind::Notes, Setting::Notes(notes));
        }
    }

    /// Newer virtual hardware than what it was copied from has. Everything else of the
    /// hardware comes after it: some of it needs the new version.
    fn upgrade(&mut self) -> Option<Step> {
        let wanted = self.spec.hardware_version?;
        let has = self.base?.settled().hardware_version;
        if has > Some(wanted) {
            let why = format!(
                "what it is made from has version {}, and virtual hardware never gets older",
                has.unwrap_or_default()
            );
            let help = "declare that version or a newer one, or use another template";
            self.faults.push(fault(FieldPath::of(FieldKind::HardwareVersion), why, help));
        }
        (has != Some(wanted)).then(|| upgrade(wanted, Some(Stage::New)))
    }

    fn sets_boot(&self) -> bool {
        self.spec.boot.is_some() && (self.base.is_none() || self.lacks(FieldKind::Boot))
    }

    /// Whether the boot order names a device that is not there yet, or another card that
    /// takes the place of one.
    fn boot_names_new(&self) -> bool {
        let order = self.spec.boot.as_deref().unwrap_or_default();
        let seats = self.layout.seats.disks.values().chain(self.layout.seats.nics.values());
        let new = |slot: &Slot| {
            let seat = seats.clone().find(|seat| seat.after() == slot);
            seat.is_some_and(Seat::changes)
        };
        let drive = self.layout.seats.cd.as_ref().is_some_and(|seat| !seat.exists);
        let named = self.layout.boot_slots(order).unwrap_or_default();
        named.iter().any(new) || order.contains(&BootDevice::Cdrom) && drive
    }

    fn boot(&mut self, write: &mut Write) {
        let Some(order) = self.spec.boot.clone().filter(|_| self.sets_boot()) else { return };
        match self.layout.boot_slots(&order) {
            Ok(slots) => write.set(self.spec, FieldKind::Boot, Setting::Boot { order, slots }),
            Err(fault) => self.faults.push(fault),
        }
    }

    /// A write of the hardware before the one that ends the build.
    fn hardware_step(&mut self, mut write: Write) -> Step {
        let mut draft = self.draft(Stage::New);
        // Nothing protects what is not finished.
        draft.protect = Some(false);
        write.settings.push(Setting::Marker(draft));
        write.end.stage = Some(Stage::New);
        let begin = self.unfinished(false);
        step(StepOp::Configure(write.settings), begin, write.end)
    }

    /// What a write of the build begins with: after a creation all of the hardware is
    /// there; after a clone, what the template brought.
    fn unfinished(&self, made: bool) -> Expect {
        let mut begin = Expect {
            stage: Some(Stage::New),
            power: Some(PowerState::Stopped),
            ..Expect::default()
        };
        for seat in self.layout.seats.disks.values().chain(self.layout.seats.nics.values()) {
            match made {
                true => drop(begin.slots.insert(seat.after().clone(), true)),
                false if seat.exists => drop(begin.slots.insert(seat.slot.clone(), true)),
                false => {}
            }
        }
        begin
    }

    fn firmware(&mut self, write: &mut Write) {
        let Some(wanted) = building::firmware(self.build) else { return };
        write.settings.push(Setting::Firmware { firmware: wanted, storage: None });
        let value = Some(Value::Text(wanted.as_str().to_owned()));
        write.end.fields.insert(FieldPath::of(FieldKind::Firmware), value);
    }

    fn disks(&mut self, write: &mut Write) {
        for (name, seat) in &self.layout.seats.disks {
            if !seat.exists {
                let storages = &self.build.allotted.storages;
                let new = attach(self.spec, storages, (name, &seat.slot), write);
                self.faults.extend(new.err());
                continue;
            }
            write.end.slots.insert(seat.slot.clone(), true);
            let Some(to) = self.spec.disks.get(name).and_then(|disk| disk.size) else { continue };
            let device = self.base.and_then(|base| base.device(seat.slot.as_str()));
            let from = device.and_then(|it| it.size).unwrap_or(Bytes(0));
            let at = FieldPath::on(FieldKind::DiskSize, name);
            if from > to {
                let why = format!("the template's disk is {from}, and disks only grow");
                self.faults.push(fault(at, why, "declare that size or more"));
                continue;
            }
            // The template's disk may have grown since it was read: the end says how large
            // this one is, also where nothing is sent.
            write.end.fields.insert(at.clone(), Some(Value::Size(to)));
            if from == to {
                continue;
            }
            if building::is_linked(self.build) {
                let why = format!(
                    "a disk of a linked clone stays as large as the template's, which is {from}, and {to} is asked for"
                );
                self.faults.push(fault(at, why, "use `clone: full`, or leave `size:` out"));
                continue;
            }
            // Snapshots of the template stay with it; those of a half-made machine somebody took.
            if let Some(fault) = self.build.seen.and_then(|seen| snapshots_hold(seen, at)) {
                self.faults.push(fault);
                continue;
            }
            let (disk, slot) = (name.clone(), seat.slot.clone());
            write.settings.push(Setting::DiskSize { disk, slot, to });
        }
    }

    fn nics(&mut self, write: &mut Write) {
        building::remove_spare(&self.layout.seats, write, &mut self.notes);
        for (name, nic) in &self.spec.nics {
            let Some(seat) = self.layout.seats.nics.get(name).cloned() else { continue };
            let mac = mac_of(self.build, name);
            let setting = NicSetting {
                nic: name.clone(),
                slot: seat.slot.clone(),
                network: nic.network.clone(),
                vlan: None,
                model: nic.model,
                mac,
            };
            let fields = nic_fields(&setting);
            let held = |(path, value): &(FieldPath, Option<Value>)| {
                self.build.seen.is_some_and(|seen| seen.settled().get(path) == *value)
            };
            if !seat.exists || !fields.iter().all(held) {
                // Another model is another card, with a key of its own; which one a
                // template has is not told. Known by its address, it is found either way.
                let known = mac.or_else(|| self.observed(name));
                if let (true, Some(_), Some(mac)) = (seat.exists, nic.model, known) {
                    self.layout.name_by_address(name, mac);
                }
                write.settings.push(Setting::SetNic(setting));
            }
            write.end.fields.extend(fields);
            let after = self.layout.seats.nics.get(name).map(|seat| seat.after().clone());
            write.end.slots.extend(after.map(|slot| (slot, true)));
        }
    }

    fn cdrom(&mut self, write: &mut Write) {
        let Some(cdrom) = building::cdrom(self.build, &self.layout.seats, write) else { return };
        match self.layout.cd() {
            Ok(seat) => write.settings.push(Setting::Cdrom { cdrom, slot: seat.slot }),
            Err(fault) => self.faults.push(fault),
        }
    }

    fn create_step(&mut self, mut first: Write) -> Option<Step> {
        let mut draft = self.draft(Stage::New);
        // Nothing protects what is not finished.
        draft.protect = Some(false);
        first.settings.push(Setting::Marker(draft));
        let call = building::create(self.build, first);
        let (op, begin, end) = call.map_err(|fault| self.faults.push(fault)).ok()?;
        Some(step(op, begin, end))
    }

    /// Labels that the machine does not bear yet. A clone may have been born with its
    /// template's.
    fn labels(&mut self) -> Vec<Step> {
        let around = labels::Around {
            worn: self.base.map(|base| &base.settled().labels),
            known: self.base.map(|base| &base.known_labels),
        };
        let mut steps = Vec::new();
        for (key, values) in &self.spec.labels {
            let bears =
                |value| around.worn.and_then(|it| it.get(key)).is_some_and(|it| it.contains(value));
            for value in values.iter().filter(|it| self.build.seen.is_none() || !bears(*it)) {
                match labels::bear((key, value), around) {
                    Ok(mut calls) => steps.append(&mut calls),
                    Err(fault) => self.faults.push(fault),
                }
            }
        }
        steps
    }

    fn pool(&self) -> Option<Step> {
        Some(set_pool(Some(building::pool(self.build)?)))
    }

    /// Whether the product sets its guest up.
    fn is_set_up(&self) -> bool {
        customization(self.spec).is_some() && self.base.is_some()
    }

    fn customize(&mut self) -> Option<Step> {
        self.faults.extend(self.build.seen.and_then(|seen| customize::stale(self.spec, seen)));
        if !self.is_set_up() {
            return None;
        }
        let begin = self.unfinished(true);
        customize::customize(self.spec, &self.layout, begin)
    }

    /// The write that ends a build, with all that was put together for it.
    fn ready(&mut self, mut write: Write, made: bool) -> Step {
        if let Some(protect) = self.spec.protect {
            write.set(self.spec, FieldKind::Protect, Setting::Protect(protect));
        }
        if wants_seed(self.spec) {
            let mac = |name: &DeviceName| mac_of(self.build, name).or_else(|| self.observed(name));
            match seed_of(self.spec, self.spec.init.clone(), &self.layout, mac) {
                Ok(seed) => write.settings.push(Setting::Seed(Box::new(seed))),
                Err(faults) => self.faults.extend(faults),
            }
            seed_end(self.spec, &mut write.end);
        }
        if self.spec.hardware_version.is_some() {
            // The template may have been upgraded since it was read.
            write.holds(self.spec, FieldPath::of(FieldKind::HardwareVersion));
        }
        write.settings.push(Setting::Marker(self.draft(Stage::Ready)));
        write.end.stage = Some(Stage::Ready);
        let mut begin = self.unfinished(made);
        if self.is_set_up() {
            begin.setup_waits = Some(true);
            write.end.fields.extend(customize::digest(self.spec));
        }
        step(StepOp::Configure(write.settings), begin, write.end)
    }

    /// The address of a card of the half-made machine itself; a clone has others than its
    /// template.
    fn observed(&self, name: &DeviceName) -> Option<MacAddress> {
        let slot = &self.layout.seats.nics.get(name)?.slot;
        let device = self.build.seen?.device(slot.as_str())?;
        device.mac.filter(|_| device.kind == DeviceKind::Nic)
    }
}

//! Desired against observed, field by field.
//!
//! Only what is declared is compared, in the canonical form of the product. The
//! result is a list of field changes with what each would cost, or a reason why the
//! machine cannot be brought there. Deciding what to do about it is `plan`'s.

use crate::model::{
    Bytes, Code, DesiredMachine, DeviceKind, DeviceName, Disruption, FieldChange, FieldDelta,
    FieldKind, FieldPath, MachineSpec, Marker, ObservedMachine, OnRemove, Power, PowerState,
    Product, Value,
};

/// What one machine differs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Fields to change, in plan order.
    pub fields: Vec<FieldChange>,
    /// Disks that are no longer declared and whose volume is to go: `data-loss`.
    pub dropped_disks: Vec<DeviceName>,
    /// What makes the machine impossible to change as declared.
    pub problems: Vec<Problem>,
}

/// One thing that cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable code.
    pub code: Code,
    /// About which field.
    pub field: FieldPath,
    /// In words.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Differences {
    /// Whether nothing differs and nothing is in the way.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.problems.is_empty()
    }
}

/// Compares one machine that is ours and complete with what is asked for.
///
/// `spec` is the desired spec as the product spells it.
pub fn compare(
    machine: &DesiredMachine,
    spec: &MachineSpec,
    seen: &ObservedMachine,
    marker: &Marker,
    product: &dyn Product,
) -> Differences {
    let mut comparison = Comparison {
        machine,
        spec,
        seen,
        marker,
        product,
        // What cannot be told may be running; consent is asked for that.
        running: seen.power != PowerState::Stopped,
        seeded: marker.init.is_some()
            || spec.init.is_some()
            || seen.devices.iter().any(|device| device.kind == DeviceKind::Seed),
        found: Differences::default(),
    };
    comparison.own_fields();
    comparison.labels();
    comparison.disks();
    comparison.nics();
    comparison.init();
    comparison.power();
    comparison.found
}

/// Snapshots named before the rest is counted.
const SNAPSHOTS_NAMED: usize = 8;

struct Comparison<'a> {
    machine: &'a DesiredMachine,
    spec: &'a MachineSpec,
    seen: &'a ObservedMachine,
    marker: &'a Marker,
    product: &'a dyn Product,
    running: bool,
    /// Whether the guest has first-boot configuration at all; without it there is
    /// nothing that it could configure itself from anew.
    seeded: bool,
    found: Differences,
}

/// Compares one declared scalar with what will be in force and with what is: a
/// difference is a write, an agreement that is only pending is a restart. On a stopped
/// machine what is pending is what will run, so there is nothing left to do.
macro_rules! scalar {
    ($self:ident, $kind:expr, $want:expr, $settled:expr, $current:expr) => {
        if let Some(want) = &$want {
            if $settled.as_ref() != Some(want) {
                if $self.running && $current.as_ref() == Some(want) {
                    $self.taken_back(&$kind);
                } else {
                    $self.written($kind);
                }
            } else if $self.running && $self.seen.next.is_some() && $current.as_ref() != Some(want)
            {
                $self.pending($kind);
            }
        }
    };
}

impl Comparison<'_> {
    fn own_fields(&mut self) {
        let (want, seen) = (self.spec, self.seen);
        let (next, now) = (seen.settled(), &seen.spec);
        let path = FieldPath::of;
        scalar!(self, path(FieldKind::Name), want.name, next.name, now.name);
        scalar!(self, path(FieldKind::Cpu), want.cpu, next.cpu, now.cpu);
        scalar!(self, path(FieldKind::Sockets), want.sockets, next.sockets, now.sockets);
        scalar!(self, path(FieldKind::Memory), want.memory, next.memory, now.memory);
        scalar!(self, path(FieldKind::Firmware), want.firmware, next.firmware, now.firmware);
        scalar!(self, path(FieldKind::Tpm), want.tpm, next.tpm, now.tpm);
        scalar!(
            self,
            path(FieldKind::HardwareVersion),
            want.hardware_version,
            next.hardware_version,
            now.hardware_version
        );
        scalar!(self, path(FieldKind::Boot), want.boot, next.boot, now.boot);
        scalar!(self, path(FieldKind::Cdrom), want.cdrom, next.cdrom, now.cdrom);
        scalar!(self, path(FieldKind::Autostart), want.autostart, next.autostart, now.autostart);
        scalar!(self, path(FieldKind::Tags), want.tags, next.tags, now.tags);
        scalar!(self, path(FieldKind::Notes), want.notes, next.notes, now.notes);
        scalar!(self, path(FieldKind::Pool), want.pool, next.pool, now.pool);
        for (key, value) in &want.extra {
            // An empty value is none.
            let set = |spec: &MachineSpec| {
                Some(spec.extra.get(key).map_or("", String::as_str).to_owned())
            };
            let at = FieldPath::on(FieldKind::Extra, key);
            scalar!(self, at.clone(), Some(value.clone()), set(next), set(now));
        }
        // Protection stands in two places; either one missing is a difference.
        if let Some(protect) = want.protect
            && (next.protect != Some(protect) || self.marker.protect != protect)
        {
            let before = next.protect.unwrap_or(false) && self.marker.protect;
            self.push(
                path(FieldKind::Protect),
                Some(Value::Flag(before)),
                Some(Value::Flag(protect)),
            );
        }
    }

    /// Only declared keys are compared, and values beside the declared one are left alone.
    fn labels(&mut self) {
        for (key, wanted) in &self.spec.labels {
            let worn = self.seen.settled().labels.get(key).map(Value::set);
            let wanted = Some(Value::set(wanted));
            if !FieldKind::Label.is_reached(wanted.as_ref(), worn.as_ref()) {
                self.push(FieldPath::label(key), worn, wanted);
            }
        }
    }

    fn disks(&mut self) {
        let (want, seen) = (self.spec, self.seen);
        for (name, disk) in &want.disks {
            let whole = FieldPath::on(FieldKind::Disk, name);
            let Some(observed) = seen.settled().disks.get(name) else {
                match self.marker.map.disks.get(name) {
                    Some(entry) if entry.confirmed => self.missing(&whole, entry.slot.as_str()),
                    Some(_) | None => {
                        let text = disk_text(disk.size, disk.storage.as_ref());
                        self.push(whole, None, Some(text));
                    }
                }
                continue;
            };
            if let (Some(size), Some(has)) = (disk.size, observed.size)
                && size < has
            {
                self.found.problems.push(Problem {
                    code: Code::DiskShrink,
                    field: FieldPath::on(FieldKind::DiskSize, name),
                    message: format!("disk `{name}` has {has}, {size} is asked for: disks only grow"),
                    help: format!("write {has} or more, or add a smaller disk under another name and move the data"),
                });
                continue;
            }
            if let (Some(size), Some(has)) = (disk.size, observed.size)
                && size > has
                && self.cannot_grow()
            {
                self.snapshots_exist(name, has, size);
                continue;
            }
            let on = |kind| FieldPath::on(kind, name);
            let current = seen.spec.disks.get(name);
            scalar!(
                self,
                on(FieldKind::DiskSize),
                disk.size,
                observed.size,
                current.and_then(|it| it.size)
            );
            scalar!(
                self,
                on(FieldKind::DiskBus),
                disk.bus,
                observed.bus,
                current.and_then(|it| it.bus)
            );
            scalar!(
                self,
                on(FieldKind::DiskStorage),
                disk.storage,
                observed.storage,
                current.and_then(|it| it.storage.clone())
            );
            let remembered = self.marker.map.delete_on_remove.contains(name);
            if remembered != (disk.on_remove == OnRemove::Delete) {
                let before = if remembered { OnRemove::Delete } else { OnRemove::Detach };
                let after = Value::from(disk.on_remove.as_str());
                self.push(on(FieldKind::DiskOnRemove), Some(before.as_str().into()), Some(after));
            }
        }
        for (name, entry) in &self.marker.map.disks {
            if want.disks.contains_key(name)
                || name.is_boot()
                || !self.is_there(entry.slot.as_str())
            {
                continue;
            }
            let device = seen.device(entry.slot.as_str());
            let before = device.map(|it| disk_text(it.size, it.storage.as_ref()));
            if self.marker.map.delete_on_remove.contains(name) {
                self.found.dropped_disks.push(name.clone());
            }
            self.push(FieldPath::on(FieldKind::Disk, name), before, None);
        }
    }

    /// Whether the product refuses to grow its disks now.
    fn cannot_grow(&self) -> bool {
        !self.product.capabilities().snapshots.disks_grow && !self.seen.snapshots.is_empty()
    }

    fn snapshots_exist(&mut self, name: &DeviceName, has: Bytes, want: Bytes) {
        let all = &self.seen.snapshots;
        let mut names: Vec<String> =
            all.iter().take(SNAPSHOTS_NAMED).map(|it| format!("`{}`", it.name)).collect();
        if let Some(more) = all.len().checked_sub(SNAPSHOTS_NAMED).filter(|more| *more > 0) {
            names.push(format!("{more} more"));
        }
        self.found.problems.push(Problem {
            code: Code::SnapshotsExist,
            field: FieldPath::on(FieldKind::DiskSize, name),
            message: format!(
                "disk `{name}` has {has}, {want} is asked for, and {} grows no disk of a machine with snapshots: {}",
                self.product.capabilities().product,
                names.join(", ")
            ),
            help: "remove them on the hypervisor first; those that novahost took before changes go with `snapshots: { keep: 0 }`".to_owned(),
        });
    }

    fn nics(&mut self) {
        let (want, seen) = (self.spec, self.seen);
        for (name, nic) in &want.nics {
            let whole = FieldPath::on(FieldKind::Nic, name);
            let Some(observed) = seen.settled().nics.get(name) else {
                match self.marker.map.nics.get(name) {
                    Some(entry) if entry.confirmed => self.missing(&whole, entry.slot.as_str()),
                    Some(_) | None => {
                        let network = nic.network.as_ref().map_or("", |it| it.native.as_str());
                        self.push(whole, None, Some(Value::Text(network.to_owned())));
                    }
                }
                continue;
            };
            let on = |kind| FieldPath::on(kind, name);
            let now = seen.spec.nics.get(name);
            scalar!(
                self,
                on(FieldKind::NicNetwork),
                nic.network,
                observed.network,
                now.and_then(|it| it.network.clone())
            );
            scalar!(
                self,
                on(FieldKind::NicVlan),
                nic.vlan,
                observed.vlan,
                now.and_then(|it| it.vlan)
            );
            scalar!(self, on(FieldKind::NicMac), nic.mac, observed.mac, now.and_then(|it| it.mac));
            scalar!(
                self,
                on(FieldKind::NicModel),
                nic.model,
                observed.model,
                now.and_then(|it| it.model)
            );
            scalar!(self, on(FieldKind::NicIp), nic.ip, observed.ip, now.and_then(|it| it.ip));
            scalar!(
                self,
                on(FieldKind::NicGateway),
                nic.gateway,
                observed.gateway,
                now.and_then(|it| it.gateway)
            );
        }
        for (name, entry) in &self.marker.map.nics {
            if !want.nics.contains_key(name) && self.is_there(entry.slot.as_str()) {
                let before = seen.device(entry.slot.as_str()).and_then(|it| it.mac);
                let before = before.map(|mac| Value::Text(mac.to_string()));
                self.push(FieldPath::on(FieldKind::Nic, name), before, None);
            }
        }
    }

    fn init(&mut self) {
        let Some(want) = &self.spec.init else { return };
        let none = crate::model::InitSpec::default();
        let seen = self.seen;
        let next = seen.settled().init.as_ref().unwrap_or(&none);
        let now = seen.spec.init.as_ref().unwrap_or(&none);
        let count = self.found.fields.len();
        let path = FieldPath::of;
        scalar!(self, path(FieldKind::InitHostname), want.hostname, next.hostname, now.hostname);
        scalar!(self, path(FieldKind::InitDomain), want.domain, next.domain, now.domain);
        scalar!(self, path(FieldKind::InitUser), want.user, next.user, now.user);
        scalar!(self, path(FieldKind::InitSshKeys), want.ssh_keys, next.ssh_keys, now.ssh_keys);
        scalar!(self, path(FieldKind::InitDns), want.dns, next.dns, now.dns);
        let shown = self.found.fields.len() > count
            || self
                .found
                .fields
                .iter()
                .any(|it| matches!(it.field.kind, FieldKind::NicIp | FieldKind::NicGateway));
        // The digest covers what cannot be read back (the password's edition). When a
        // readable field already tells the story, it would only say it twice.
        if want.digest.is_some() && self.marker.init != want.digest && !shown {
            let before = self.marker.init.as_deref().map(Value::from);
            let after = want.digest.as_deref().map(Value::from);
            self.push(path(FieldKind::InitDigest), before, after);
        }
    }

    fn power(&mut self) {
        let before = self.seen.power;
        let after = match (self.machine.power, before) {
            (Power::Running, PowerState::Stopped | PowerState::Suspended) => PowerState::Running,
            (Power::Stopped, PowerState::Running | PowerState::Suspended) => PowerState::Stopped,
            (Power::Once, _)
            | (Power::Running, PowerState::Running | PowerState::Unknown)
            | (Power::Stopped, PowerState::Stopped | PowerState::Unknown) => return,
        };
        let stops = after == PowerState::Stopped;
        self.found.fields.push(FieldChange {
            field: FieldPath::of(FieldKind::Power),
            before: Some(before.as_str().into()),
            after: Some(after.as_str().into()),
            disruption: if stops { Disruption::Restart } else { Disruption::None },
            place: Some(self.machine.place_of(&FieldPath::of(FieldKind::Power)).clone()),
            pending: false,
        });
    }

    fn is_there(&self, slot: &str) -> bool {
        self.seen
            .device(slot)
            .is_some_and(|device| matches!(device.kind, DeviceKind::Disk | DeviceKind::Nic))
    }

    fn missing(&mut self, field: &FieldPath, slot: &str) {
        self.found.problems.push(Problem {
            code: Code::MissingDevice,
            field: field.clone(),
            message: format!("{field} was on {slot}, and nothing is there any more"),
            help: format!("attach it to {slot} again, or take the entry `{field}` out of the YAML and out of the marker's map"),
        });
    }

    fn written(&mut self, field: FieldPath) {
        let before = self.seen.settled().get(&field);
        let after = self.spec.get(&field);
        self.push(field, before, after);
    }

    /// Somebody left a pending value, and what runs now is what is wanted: the write
    /// takes the pending value back, and the guest notices nothing.
    fn taken_back(&mut self, field: &FieldPath) {
        self.written(field.clone());
        if let Some(change) = self.found.fields.last_mut().filter(|it| it.field == *field) {
            change.disruption = Disruption::None;
        }
    }

    fn pending(&mut self, field: FieldPath) {
        let change = FieldChange {
            before: self.seen.spec.get(&field),
            after: self.spec.get(&field),
            disruption: Disruption::Restart,
            place: Some(self.machine.place_of(&field).clone()),
            pending: true,
            field,
        };
        self.found.fields.push(change);
    }

    fn push(&mut self, field: FieldPath, before: Option<Value>, after: Option<Value>) {
        let delta = FieldDelta { field: &field, before: before.as_ref(), after: after.as_ref() };
        let Some(disruption) = self.product.cost(&delta, self.seen, self.running) else {
            let shown = |value: &Option<Value>| {
                value.as_ref().map_or_else(|| "unset".to_owned(), ToString::to_string)
            };
            let back = FieldDelta { before: delta.after, after: delta.before, ..delta };
            let back = self.product.cost(&back, self.seen, self.running);
            let opposite = if back.is_some() { ", only the opposite" } else { "" };
            self.found.problems.push(Problem {
                code: Code::Unsupported,
                message: format!(
                    "{field} is {} and should be {}: {} cannot make that change on an existing \
                     machine{opposite}",
                    shown(&before),
                    shown(&after),
                    self.product.capabilities().product
                ),
                help: format!("write `{}` again, or make a new machine", shown(&before)),
                field,
            });
            return;
        };
        let disruption = match disruption {
            Disruption::Reinit if !self.seeded && self.running => Disruption::Online,
            Disruption::Reinit if !self.seeded => Disruption::None,
            other => other,
        };
        let place = Some(self.machine.place_of(&field).clone());
        self.found.fields.push(FieldChange {
            field,
            before,
            after,
            disruption,
            place,
            pending: false,
        });
    }
}

/// A disk in one line: size and where it lies.
pub fn disk_text(size: Option<Bytes>, storage: Option<&crate::model::StorageName>) -> Value {
    Value::Text(match (size, storage) {
        (Some(size), Some(storage)) => format!("{size} on {storage}"),
        (Some(size), None) => size.to_string(),
        (None, Some(storage)) => format!("on {storage}"),
        (None, None) => "present".to_owned(),
    })
}

#[cfg(test)]
mod tests;

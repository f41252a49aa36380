//! Pieces that births and changes share: a write while it is put together, the
//! first-boot documents, boot orders, and what holds after each.

use super::{layout::Layout, step};
use crate::model::{
    BootDevice, Bytes, DeviceKind, DeviceName, Expect, FieldKind, FieldPath, InitSpec, MachineSpec,
    NicSetting, ObservedMachine, Seed, SeedNic, Setting, Slot, Step, StepOp, StorageName,
    Unsupported, Value,
};
use std::collections::BTreeMap;

/// One write while it is put together: what it sets, and what holds afterwards.
#[derive(Default)]
pub(super) struct Write {
    pub(super) settings: Vec<Setting>,
    pub(super) end: Expect,
}

impl Write {
    /// Adds a field's value to the end, as the spec prints it; also when it is unset.
    pub(super) fn holds(&mut self, spec: &MachineSpec, path: FieldPath) {
        let value = spec.get(&path);
        self.end.fields.insert(path, value);
    }

    pub(super) fn set(&mut self, spec: &MachineSpec, kind: FieldKind, setting: Setting) {
        self.holds(spec, FieldPath::of(kind));
        self.settings.push(setting);
    }
}

pub(super) fn fault(field: FieldPath, why: impl Into<String>, help: &str) -> Unsupported {
    Unsupported { field, why: why.into(), help: help.to_owned() }
}

/// The storage of what has no name: firmware variables, TPM state, first-boot drive.
/// They lie beside the boot disk.
pub(super) fn system_storage(
    spec: &MachineSpec,
    storages: &BTreeMap<DeviceName, StorageName>,
    base: Option<&ObservedMachine>,
) -> Option<StorageName> {
    let boot = storages.get(DeviceName::BOOT).cloned();
    let declared = || spec.disks.get(DeviceName::BOOT)?.storage.clone();
    let beside = || {
        let disk = base?.devices.iter().find(|device| device.kind == DeviceKind::Disk)?;
        disk.storage.clone()
    };
    boot.or_else(declared).or_else(beside)
}

pub(super) fn grow(name: &DeviceName, slot: &Slot, to: Bytes) -> Step {
    let op = StepOp::GrowDisk { disk: name.clone(), slot: slot.clone(), to };
    let begin = Expect { slots: [(slot.clone(), true)].into(), ..Expect::default() };
    let mut end = Expect::default();
    end.fields.insert(FieldPath::on(FieldKind::DiskSize, name), Some(Value::Size(to)));
    step(op, begin, end)
}

/// What holds of a card once this is set.
pub(super) fn nic_fields(nic: &NicSetting) -> Vec<(FieldPath, Option<Value>)> {
    let at = |kind| FieldPath::on(kind, &nic.nic);
    let text = |text: &str| Some(Value::Text(text.to_owned()));
    let mut fields = Vec::new();
    if let Some(network) = &nic.network {
        fields.push((at(FieldKind::NicNetwork), text(&network.native)));
    }
    if let Some(tag) = nic.vlan {
        let value = (tag != 0).then_some(Value::Count(tag.into()));
        fields.push((at(FieldKind::NicVlan), value));
    }
    if let Some(model) = nic.model {
        fields.push((at(FieldKind::NicModel), text(model.as_str())));
    }
    if let Some(mac) = nic.mac {
        fields.push((at(FieldKind::NicMac), text(&mac.to_string())));
    }
    fields
}

/// The first-boot documents of a spec, complete.
pub(super) fn seed_of(
    spec: &MachineSpec,
    init: Option<InitSpec>,
    layout: &Layout,
    slot: Slot,
    storage: Option<StorageName>,
) -> Seed {
    let nics = layout.nics.iter().filter_map(|(name, seat)| {
        let nic = spec.nics.get(name)?;
        // An address that is not declared stays as it is.
        let ip = nic.ip?;
        // The drive knows the cards by their place.
        let seat = SeedNic { slot: seat.slot.clone(), mac: None, ip, gateway: nic.gateway };
        Some((name.clone(), seat))
    });
    Seed { nics: nics.collect(), init: init.unwrap_or_default(), slot: Some(slot), storage }
}

/// What holds once a machine is seeded.
pub(super) fn seed_end(spec: &MachineSpec, end: &mut Expect) {
    if let Some(init) = &spec.init {
        init.visit(&mut |path, value| {
            end.fields.insert(path, Some(value));
        });
    }
    for (name, nic) in &spec.nics {
        let address = [FieldKind::NicIp, FieldKind::NicGateway].map(|it| FieldPath::on(it, name));
        if nic.ip.is_some() {
            end.fields.extend(address.map(|path| {
                let value = spec.get(&path);
                (path, value)
            }));
        }
    }
}

/// The slots of a boot order.
pub(super) fn boot_slots(order: &[BootDevice], layout: &Layout) -> Result<Vec<Slot>, Unsupported> {
    let slot = |device: &BootDevice| match device {
        BootDevice::Disk => layout.disks.get(DeviceName::BOOT).map(|seat| &seat.slot),
        BootDevice::Cdrom => layout.cd_if_any().map(|seat| &seat.slot),
        BootDevice::Network => layout.first_nic(),
    };
    let find = |device: &BootDevice| {
        slot(device).cloned().ok_or_else(|| {
            let why = format!("the boot order names `{}`, and there is none", device.as_str());
            fault(FieldPath::of(FieldKind::Boot), why, "declare the device, or leave it out")
        })
    };
    order.iter().map(find).collect()
}

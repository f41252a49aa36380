//! Changes of devices, as the server takes them: whole devices as they were read, with
//! what changes put in their place.
//!
//! Pure. A device that is sent back incomplete loses what is left out, so an edit begins
//! from the tree that the fresh read brought.

use super::{
    devices::controllers,
    places::NetworkPlace,
    slots::{Kind, Place, place},
    vim::{MoRef, Node, Val},
};
use crate::model::{Bytes, MacAddress, NicModel};

/// The first of the keys that stand for devices which the server has not numbered yet.
const NEW_KEY: i64 = -100;

/// The key of the first of the two controllers that every machine is born with.
const IDE_KEY: i64 = 200;

/// Changes of devices that go into one call.
#[derive(Default)]
pub(super) struct DeviceChanges {
    specs: Vec<Val>,
    /// Controllers that this call adds: kind, bus, key.
    added: Vec<(Kind, i64, i64)>,
    next_key: i64,
}

/// An element as it was read, as it is sent back. What has no type of its own is of the
/// type that its field has.
pub(super) fn echo(node: &Node) -> Val {
    if let Some(reference) = node.as_moref() {
        return Val::MoRef(reference);
    }
    if node.children.is_empty() {
        return Val::Str(node.text.clone());
    }
    let fields = node.children.iter().map(|child| (child.name.clone().into(), echo(child)));
    let type_name = node.data_type.clone().unwrap_or_default().into();
    Val::Obj { type_name, fields: fields.collect() }
}

/// A device with some of its fields replaced; a field that it does not have yet is put
/// where the interface has it.
fn with_fields(device: &Node, changes: &[(&'static str, Val)]) -> Val {
    /// Fields of disks, drives and cards up to the last that is ever changed here, in the
    /// interface's order.
    const ORDER: [&str; 13] = [
        "key",
        "deviceInfo",
        "backing",
        "connectable",
        "slotInfo",
        "controllerKey",
        "unitNumber",
        "numaNode",
        "deviceGroupInfo",
        "addressType",
        "macAddress",
        "capacityInKB",
        "capacityInBytes",
    ];
    let Val::Obj { type_name, mut fields } = echo(device) else { return echo(device) };
    for (name, value) in changes {
        if let Some(field) = fields.iter_mut().find(|(field, _)| field == name) {
            field.1 = value.clone();
            continue;
        }
        let rank = |name: &str| ORDER.iter().position(|it| *it == name);
        let mine = rank(name).unwrap_or(ORDER.len());
        let after = fields.iter().rposition(|(field, _)| rank(field).is_some_and(|it| it < mine));
        fields.insert(after.map_or(0, |at| at + 1), ((*name).into(), value.clone()));
    }
    Val::Obj { type_name, fields }
}

pub(super) fn key_of(device: &Node) -> Result<i64, String> {
    device.i64_at("key").ok_or_else(|| "a device was read without its key".to_owned())
}

/// What a card is plugged into, as a backing.
pub(super) fn backing(network: &NetworkPlace) -> Val {
    match &network.port {
        Some((key, switch)) => {
            let port = Val::obj("DistributedVirtualSwitchPortConnection")
                .with("switchUuid", switch.as_str())
                .with("portgroupKey", key.as_str());
            Val::obj("VirtualEthernetCardDistributedVirtualPortBackingInfo").with("port", port)
        }
        None => Val::obj("VirtualEthernetCardNetworkBackingInfo")
            .with("deviceName", network.name.as_str())
            .with("network", network.reference.clone()),
    }
}

fn connected(now: bool) -> Val {
    Val::obj("VirtualDeviceConnectInfo")
        .with("startConnected", true)
        .with("allowGuestControl", true)
        .with("connected", now)
}

impl DeviceChanges {
    fn key(&mut self) -> i64 {
        self.next_key -= 1;
        NEW_KEY + self.next_key
    }

    fn push(&mut self, operation: &str, file: Option<&str>, device: Val) {
        let spec = Val::obj("VirtualDeviceConfigSpec")
            .with("operation", operation)
            .with_some("fileOperation", file)
            .with("device", device);
        self.specs.push(spec);
    }

    /// The changes, in the order in which they were asked for.
    pub fn into_specs(self) -> Vec<Val> {
        self.specs
    }

    /// The key of the controller of a slot; one that is missing is added.
    fn controller(&mut self, devices: &[Node], slot: &str) -> Result<(i64, i64), String> {
        let Place { kind, controller, unit } =
            place(slot).ok_or_else(|| format!("`{slot}` is no place for a disk"))?;
        let (bus, unit) = (i64::from(controller), i64::from(unit));
        let there = controllers(devices).into_iter().find(|it| it.kind == kind && it.bus == bus);
        if let Some(there) = there {
            return Ok((there.key, unit));
        }
        let added = self.added.iter().find(|(a, b, _)| *a == kind && *b == bus);
        if let Some((_, _, key)) = added {
            return Ok((*key, unit));
        }
        // Every machine has two of these from its first instant, with these keys; the server
        // refuses others.
        if kind == Kind::Ide && (0..=1).contains(&bus) {
            return Ok((IDE_KEY + bus, unit));
        }
        let type_name = match kind {
            Kind::Scsi => "ParaVirtualSCSIController",
            Kind::Sata => "VirtualAHCIController",
            Kind::Nvme | Kind::Ide => {
                return Err(format!("a controller for {} cannot be added", kind.as_str()));
            }
        };
        let key = self.key();
        let device = Val::obj(type_name).with("key", key).with("busNumber", bus);
        let device = match kind {
            Kind::Scsi => device.with("sharedBus", "noSharing"),
            Kind::Nvme | Kind::Sata | Kind::Ide => device,
        };
        self.push("add", None, device);
        self.added.push((kind, bus, key));
        Ok((key, unit))
    }

    /// A new, empty disk.
    pub fn add_disk(
        &mut self,
        devices: &[Node],
        slot: &str,
        size: Bytes,
        (name, datastore): (&str, Option<&MoRef>),
    ) -> Result<i64, String> {
        let (controller, unit) = self.controller(devices, slot)?;
        let key = self.key();
        let backing = Val::obj("VirtualDiskFlatVer2BackingInfo")
            .with("fileName", format!("[{name}]"))
            .with_some("datastore", datastore.cloned())
            .with("diskMode", "persistent")
            .with("thinProvisioned", true);
        let disk = Val::obj("VirtualDisk")
            .with("key", key)
            .with("backing", backing)
            .with("controllerKey", controller)
            .with("unitNumber", unit)
            .with("capacityInKB", kib(size))
            .with("capacityInBytes", bytes(size));
        self.push("add", Some("create"), disk);
        Ok(key)
    }

    /// A disk with more room.
    pub fn grow(&mut self, device: &Node, size: Bytes) {
        let sizes = [("capacityInKB", kib(size).into()), ("capacityInBytes", bytes(size).into())];
        self.push("edit", None, with_fields(device, &sizes));
    }

    /// Takes a device off; a disk's file goes with it where that is asked for.
    pub fn remove(&mut self, device: &Node, with_file: bool) {
        self.push("remove", with_file.then_some("destroy"), echo(device));
    }

    /// Changes a card.
    pub fn edit_nic(
        &mut self,
        device: &Node,
        network: Option<&NetworkPlace>,
        mac: Option<MacAddress>,
    ) {
        let mut changes: Vec<(&'static str, Val)> = Vec::new();
        if let Some(network) = network {
            changes.push(("backing", backing(network)));
        }
        if let Some(mac) = mac {
            changes.push(("addressType", "manual".into()));
            changes.push(("macAddress", mac.to_string().to_ascii_lowercase().into()));
        }
        self.push("edit", None, with_fields(device, &changes));
    }

    /// A new card.
    pub fn add_nic(
        &mut self,
        model: NicModel,
        network: Val,
        mac: Option<MacAddress>,
        running: bool,
    ) -> Result<i64, String> {
        let type_name = match model {
            NicModel::Vmxnet3 | NicModel::Virtio => "VirtualVmxnet3",
            NicModel::E1000 => "VirtualE1000",
            NicModel::Rtl8139 => return Err("this product has no card `rtl8139`".to_owned()),
        };
        let key = self.key();
        let card = Val::obj(type_name)
            .with("key", key)
            .with("backing", network)
            .with("connectable", connected(running))
            .with("addressType", if mac.is_some() { "manual" } else { "generated" })
            .with_some("macAddress", mac.map(|mac| mac.to_string().to_ascii_lowercase()));
        self.push("add", None, card);
        Ok(key)
    }

    /// Puts an ISO into a drive, or takes it out. A drive that is missing is added; an empty
    /// one too, since a boot order may name it.
    pub fn cdrom(
        &mut self,
        devices: &[Node],
        drive: Option<&Node>,
        slot: &str,
        iso: Option<&str>,
        running: bool,
    ) -> Result<i64, String> {
        let content = match iso {
            Some(path) => Val::obj("VirtualCdromIsoBackingInfo").with("fileName", path),
            None => Val::obj("VirtualCdromRemotePassthroughBackingInfo")
                .with("deviceName", "")
                .with("exclusive", false),
        };
        let connectable = Val::obj("VirtualDeviceConnectInfo")
            .with("startConnected", iso.is_some())
            .with("allowGuestControl", true)
            .with("connected", iso.is_some() && running);
        if let Some(drive) = drive {
            let changes = [("backing", content), ("connectable", connectable)];
            self.push("edit", None, with_fields(drive, &changes));
            return key_of(drive);
        }
        let (controller, unit) = self.controller(devices, slot)?;
        let key = self.key();
        let drive = Val::obj("VirtualCdrom")
            .with("key", key)
            .with("backing", content)
            .with("connectable", connectable)
            .with("controllerKey", controller)
            .with("unitNumber", unit);
        self.push("add", None, drive);
        Ok(key)
    }
}

fn kib(size: Bytes) -> i64 {
    i64::try_from(size.0 / 1024).unwrap_or(i64::MAX)
}

fn bytes(size: Bytes) -> i64 {
    i64::try_from(size.0).unwrap_or(i64::MAX)
}

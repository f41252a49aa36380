//! The devices of a machine: the server's tree, and what the model calls it.
//!
//! Pure. A disk's slot is its bus, the bus's number and its unit (`scsi0:1`); a card's is
//! its key (`nic-4000`), or its hardware address (`mac-00:50:56:…`) where the marker's map
//! says so: the key of a card that we add is the server's choice.

use super::{
    places::Places,
    slots::{Kind, handle, order},
    vim::{Node, collect::ObjectContent},
};
use crate::model::{Bytes, Device, DeviceKind, DeviceMap, MacAddress, NicModel, Slot, StorageName};
use std::collections::{BTreeMap, BTreeSet};

/// A controller that disks and drives hang on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Controller {
    /// Its key.
    pub key: i64,
    /// Its number on its kind of bus.
    pub bus: i64,
    /// Its kind.
    pub kind: Kind,
}

/// What kind of controller a device is.
fn controller_kind(device: &Node) -> Option<Kind> {
    match device.data_type.as_deref()? {
        "ParaVirtualSCSIController"
        | "VirtualLsiLogicController"
        | "VirtualLsiLogicSASController"
        | "VirtualBusLogicController" => Some(Kind::Scsi),
        "VirtualAHCIController" => Some(Kind::Sata),
        "VirtualIDEController" => Some(Kind::Ide),
        "VirtualNVMEController" => Some(Kind::Nvme),
        _ => None,
    }
}

/// Every controller of a machine.
pub(super) fn controllers(devices: &[Node]) -> Vec<Controller> {
    let one = |device: &Node| {
        Some(Controller {
            key: device.i64_at("key")?,
            bus: device.i64_at("busNumber")?,
            kind: controller_kind(device)?,
        })
    };
    devices.iter().filter_map(one).collect()
}

/// The model of a card, by the type of its device.
pub(super) fn nic_model(device: &Node) -> Option<Option<NicModel>> {
    match device.data_type.as_deref()? {
        "VirtualVmxnet3" | "VirtualVmxnet3Vrdma" => Some(Some(NicModel::Vmxnet3)),
        "VirtualE1000" | "VirtualE1000e" => Some(Some(NicModel::E1000)),
        "VirtualPCNet32" | "VirtualVmxnet" | "VirtualVmxnet2" | "VirtualSriovEthernetCard" => {
            Some(None)
        }
        _ => None,
    }
}

/// The hardware address of a card.
pub(super) fn mac_of(device: &Node) -> Option<MacAddress> {
    device.word_at("macAddress")?.parse().ok()
}

/// The slot of a card, as the map calls it, else by its key.
fn nic_slot(device: &Node, map: &DeviceMap) -> Option<Slot> {
    let key = device.i64_at("key")?;
    let by_key = Slot::from(format!("nic-{key}"));
    let mapped = |slot: &Slot| map.nics.values().any(|entry| entry.slot == *slot);
    if mapped(&by_key) {
        return Some(by_key);
    }
    let by_mac = mac_of(device).map(handle);
    Some(by_mac.filter(mapped).unwrap_or(by_key))
}

/// The device in a slot.
pub(super) fn in_slot<'a>(devices: &'a [Node], map: &DeviceMap, slot: &Slot) -> Option<&'a Node> {
    let all = slots(devices, map);
    devices.iter().zip(all).find(|(_, at)| at.as_ref() == Some(slot)).map(|(device, _)| device)
}

/// Where each device sits. Some servers show a drive in the very place of a disk; the disk
/// keeps the place, and the drive is known by its key.
fn slots(devices: &[Node], map: &DeviceMap) -> Vec<Option<Slot>> {
    let controllers = controllers(devices);
    let native: Vec<Option<Slot>> =
        devices.iter().map(|device| slot_of(device, &controllers, map)).collect();
    let by_key = |prefix: &str, device: &Node| {
        device.i64_at("key").map(|key| Slot::from(format!("{prefix}-{key}")))
    };
    let disks: BTreeSet<&Slot> = devices
        .iter()
        .zip(&native)
        .filter(|(device, _)| device.is_a("VirtualDisk"))
        .filter_map(|(_, slot)| slot.as_ref())
        .collect();
    let mut taken: BTreeSet<&Slot> = BTreeSet::new();
    let mut all = Vec::with_capacity(devices.len());
    for (device, slot) in devices.iter().zip(&native) {
        // A disk that is in no place, or in that of another, is a disk all the same, and goes
        // when its machine does.
        all.push(match slot {
            Some(slot) if device.is_a("VirtualDisk") && taken.insert(slot) => Some(slot.clone()),
            Some(_) | None if device.is_a("VirtualDisk") => by_key("disk", device),
            Some(slot) if device.is_a("VirtualCdrom") && disks.contains(slot) => {
                by_key("cd", device)
            }
            other => other.clone(),
        });
    }
    all
}

/// Where a device sits by itself; none for what has no place of its own.
fn slot_of(device: &Node, controllers: &[Controller], map: &DeviceMap) -> Option<Slot> {
    if nic_model(device).is_some() {
        return nic_slot(device, map);
    }
    if !device.is_a("VirtualDisk") && !device.is_a("VirtualCdrom") {
        return None;
    }
    let (key, unit) = (device.i64_at("controllerKey")?, device.i64_at("unitNumber")?);
    let controller = controllers.iter().find(|it| it.key == key)?;
    Some(Slot::from(format!("{}{}:{unit}", controller.kind.as_str(), controller.bus)))
}

/// The size of a disk. Old servers tell it in KiB alone.
pub(super) fn disk_size(device: &Node) -> Option<Bytes> {
    let bytes = device.i64_at("capacityInBytes").filter(|bytes| *bytes > 0);
    let bytes = bytes.or_else(|| device.i64_at("capacityInKB").map(|kib| kib.saturating_mul(1024)));
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).map(Bytes)
}

/// The datastore in a path such as `[fast] web-1/web-1.vmdk`.
pub(super) fn datastore_in(path: &str) -> Option<StorageName> {
    let (name, _) = path.strip_prefix('[')?.split_once(']')?;
    Some(name.into())
}

/// Whether a disk's file holds only the differences to another one.
pub(super) fn is_linked(device: &Node) -> bool {
    device.at("backing.parent").is_some()
}

/// The ISO in a drive; none when it is empty or passes a client's drive through.
pub(super) fn iso_of(device: &Node) -> Option<&str> {
    let backing = device.child("backing")?;
    let is_iso = backing.is_a("VirtualCdromIsoBackingInfo");
    backing.word_at("fileName").filter(|_| is_iso)
}

/// Every device that the model knows, the disk that is booted from first, then by slot.
pub(super) fn observed(
    devices: &[Node],
    map: &DeviceMap,
    places: &Places,
    boot_keys: &[i64],
) -> Vec<Device> {
    let mut found: BTreeMap<_, Device> = BTreeMap::new();
    for (device, slot) in devices.iter().zip(slots(devices, map)) {
        let Some(slot) = slot else { continue };
        let mut one = Device {
            slot: slot.clone(),
            kind: DeviceKind::Nic,
            volume: None,
            storage: None,
            size: None,
            linked: false,
            mac: None,
            network: None,
            vlan: None,
        };
        let mut rank = 1;
        if device.is_a("VirtualDisk") {
            one.kind = DeviceKind::Disk;
            one.size = disk_size(device);
            one.volume = device.word_at("backing.fileName").map(str::to_owned);
            one.storage = one.volume.as_deref().and_then(datastore_in);
            one.linked = is_linked(device);
            let key = device.i64_at("key");
            // The first of the boot order; without an order the firmware takes the first
            // by slot, which is what comes first below.
            if key.is_some() && key.as_ref() == boot_keys.first() {
                rank = 0;
            }
        } else if device.is_a("VirtualCdrom") {
            one.kind = DeviceKind::Cdrom;
            one.volume = iso_of(device).map(str::to_owned);
            one.storage = one.volume.as_deref().and_then(datastore_in);
        } else {
            one.mac = mac_of(device);
            one.network =
                device.child("backing").and_then(|it| places.network_of(it)).map(str::to_owned);
        }
        // What has no number of its own is ordered by how it is spelt.
        found.insert((rank, order(slot.as_str()), slot), one);
    }
    found.into_values().collect()
}

/// The devices of a machine as they were read; none where it tells none.
pub(super) fn devices_of(object: &ObjectContent) -> &[Node] {
    object.props.get("config.hardware.device").map_or(&[], |it| it.children.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(kind: &str, fields: &[(&str, &str)]) -> Node {
        let leaf = |(name, text): &(&str, &str)| Node { text: (*text).into(), ..Node::new(*name) };
        let children = fields.iter().map(leaf).collect();
        Node { data_type: Some(kind.into()), children, ..Node::new("VirtualDevice") }
    }

    #[test]
    fn a_drive_in_the_place_of_a_disk_does_not_hide_it() {
        let at = [("key", "2000"), ("controllerKey", "202"), ("unitNumber", "0")];
        let drive = [("key", "203"), ("controllerKey", "202"), ("unitNumber", "0")];
        let tree = [
            device("ParaVirtualSCSIController", &[("key", "202"), ("busNumber", "0")]),
            device("VirtualCdrom", &drive),
            device("VirtualDisk", &at),
        ];
        let map = DeviceMap::default();
        let seen = observed(&tree, &map, &Places::default(), &[]);
        let shown: Vec<_> = seen.iter().map(|it| (it.slot.as_str(), it.kind)).collect();
        assert_eq!(shown, [("scsi0:0", DeviceKind::Disk), ("cd-203", DeviceKind::Cdrom)]);
        for (slot, key) in [("scsi0:0", 2000), ("cd-203", 203)] {
            let found = in_slot(&tree, &map, &slot.into()).unwrap();
            assert_eq!(found.i64_at("key"), Some(key));
        }
    }
}

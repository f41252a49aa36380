//! What vCenter can do, field by field, and its half of the contract that `diff` and
//! `plan` see.

use super::{lower, normalize, slots::bus_of};
use crate::model::{
    Bus, Capabilities, Change, DesiredMachine, Disruption, FieldDelta, FieldKind, Hot, Lowered,
    MacRange, MachineSpec, ObservedMachine, Product, SnapshotRules, Unsupported, Value, Words,
};
use std::{cmp::Ordering, sync::LazyLock};

/// VMware vCenter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vcenter;

/// What each change costs a running machine, by the field alone; `cost` knows better
/// where it depends on the machine.
///
/// Nothing is kept pending: what cannot be changed while it runs is changed between a
/// shutdown and a start. A rename does not touch the guest, whose name is in its
/// first-boot documents; a card that comes or goes changes these, since they know each
/// card by its hardware address.
///
/// `DiskBus` is not here: a disk stays on the controller it was put on. `Tags`,
/// `Autostart`, `Tpm` and `NicVlan` are not here either: `normalize` refuses them.
const CHANGES: [(FieldKind, Disruption); 35] = {
    use {Disruption as D, FieldKind as K};
    [
        (K::Name, D::Online),
        (K::Cpu, D::Restart),
        (K::Sockets, D::Restart),
        (K::Memory, D::Restart),
        (K::Firmware, D::Replace),
        // Only upwards, which `cost` knows, and only while it is off.
        (K::HardwareVersion, D::Restart),
        // Can be written while it runs, and counts when it boots.
        (K::Boot, D::NextBoot),
        (K::Cdrom, D::Online),
        (K::Protect, D::Online),
        (K::Notes, D::Online),
        (K::Pool, D::Online),
        (K::Label, D::Online),
        // Taken while it runs; the host reads them when it starts the machine.
        (K::Extra, D::NextBoot),
        // A rule of the cluster; the machine itself is not touched.
        (K::Spread, D::Online),
        (K::DiskSize, D::Online),
        // The volume is copied while it is in use.
        (K::DiskStorage, D::Online),
        (K::DiskOnRemove, D::Online),
        (K::NicNetwork, D::Online),
        (K::NicMac, D::Restart),
        // The card is taken out and another one put in.
        (K::NicModel, D::Restart),
        (K::NicIp, D::Reinit),
        (K::NicGateway, D::Reinit),
        (K::InitHostname, D::Reinit),
        (K::InitDomain, D::Reinit),
        (K::InitUser, D::Reinit),
        (K::InitSshKeys, D::Reinit),
        (K::InitDns, D::Reinit),
        (K::InitDigest, D::Reinit),
        (K::Disk, D::Online),
        (K::Nic, D::Reinit),
        (K::Power, D::Online),
        (K::Snapshots, D::None),
        (K::Marker, D::Online),
        (K::Comment, D::Online),
        (K::Acl, D::Online),
    ]
};

/// Hardware addresses that the server lets anybody choose.
pub(super) const MACS: MacRange = MacRange { prefix: [0x00, 0x50, 0x56], bits: 22 };

static CAPABILITIES: LazyLock<Capabilities> = LazyLock::new(|| Capabilities {
    product: "VMware vCenter",
    changes: CHANGES.into(),
    // The documents hold a hash; compared by its version in the digest.
    unreadable: vec![FieldKind::InitPassword, FieldKind::InitWindows, FieldKind::InitCustomization],
    chooses_ids: false,
    chooses_uuid: true,
    macs: MACS,
    default_bus: Bus::Scsi,
    detaches_disks: true,
    linked_needs_snapshot: true,
    // "Growing a disk ... is not supported with snapshots", and what a snapshot holds is not
    // deleted either.
    snapshots: SnapshotRules {
        disks_grow: false,
        volumes_go: false,
        levels: Some(32), // VMware's documentation of snapshots
    },
    words: Words {
        id_setting: None,
        id_range: "defaults",
        marker_home: "advanced configuration",
        uuid_home: "on a vCenter: it has one always",
    },
});

impl Product for Vcenter {
    fn capabilities(&self) -> &Capabilities {
        &CAPABILITIES
    }

    fn normalize(&self, machine: &DesiredMachine) -> Result<MachineSpec, Vec<Unsupported>> {
        normalize::normalize(machine)
    }

    fn cost(
        &self,
        change: &FieldDelta<'_>,
        seen: &ObservedMachine,
        running: bool,
    ) -> Option<Disruption> {
        let by_field = self.capabilities().cost(change.field.kind, running)?;
        // Virtual hardware never gets older.
        let raises = direction(change) != Some(Ordering::Less);
        if change.field.kind == FieldKind::HardwareVersion && !raises {
            return None;
        }
        Some(if running {
            while_running(change, seen, by_field)
        } else {
            off(change, seen, by_field)
        })
    }

    /// Names that differ only in case are one name.
    fn name_key(&self, name: &str) -> String {
        name.to_lowercase()
    }

    fn lower(&self, change: &Change<'_>) -> Result<Lowered, Vec<Unsupported>> {
        lower::lower(change)
    }
}

fn while_running(
    change: &FieldDelta<'_>,
    seen: &ObservedMachine,
    by_field: Disruption,
) -> Disruption {
    let kind = change.field.kind;
    let hot = match direction(change) {
        Some(Ordering::Greater) if kind == FieldKind::Cpu => Some(Hot::CpuUp),
        Some(Ordering::Less) if kind == FieldKind::Cpu => Some(Hot::CpuDown),
        Some(Ordering::Greater) if kind == FieldKind::Memory => Some(Hot::MemoryUp),
        Some(Ordering::Less | Ordering::Equal | Ordering::Greater) | None => None,
    };
    // A new disk says here only how large it is; on which bus it may come is for `lower`.
    let goes = kind == FieldKind::Disk && change.after.is_none();
    let grows = kind == FieldKind::DiskSize;
    // What stands below this name is handed to the guest whenever it asks.
    let told = kind == FieldKind::Extra
        && change.field.device.as_ref().is_some_and(|key| key.as_str().starts_with("guestinfo."));
    if told || hot.is_some_and(|hot| seen.hot.contains(&hot)) {
        Disruption::Online
    } else if goes && !sits_on(seen, change, &[Bus::Scsi])
        || grows && !sits_on(seen, change, &[Bus::Scsi, Bus::Sata])
    {
        Disruption::Restart
    } else {
        by_field
    }
}

/// A new hardware address goes into the first-boot documents of a card that has an
/// address in them: that is no matter of power.
fn off(change: &FieldDelta<'_>, seen: &ObservedMachine, by_field: Disruption) -> Disruption {
    let device = change.field.device.as_ref();
    let nic = device.and_then(|name| seen.settled().nics.get(name));
    let has_address = nic.is_some_and(|nic| nic.ip.is_some());
    if change.field.kind == FieldKind::NicMac && has_address {
        Disruption::Reinit
    } else {
        by_field
    }
}

/// Whether there is to be more or less of it.
fn direction(change: &FieldDelta<'_>) -> Option<Ordering> {
    match (change.before?, change.after?) {
        (Value::Count(before), Value::Count(after)) => Some(after.cmp(before)),
        (Value::Size(before), Value::Size(after)) => Some(after.cmp(before)),
        (_, _) => None,
    }
}

/// Whether a disk that is there sits on one of these buses. What is not known to sit
/// elsewhere counts as if it did: a price must not be too low.
fn sits_on(seen: &ObservedMachine, change: &FieldDelta<'_>, buses: &[Bus]) -> bool {
    let entry = change.field.device.as_ref().and_then(|name| {
        let marker = seen.marker.found()?;
        marker.map.disks.get(name)
    });
    entry.and_then(|entry| bus_of(entry.slot.as_str())).is_some_and(|bus| buses.contains(&bus))
}

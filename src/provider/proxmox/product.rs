//! What Proxmox VE can do, field by field, and its half of the contract that
//! `diff` and `plan` see.

use super::{lower, normalize};
use crate::model::{
    Bus, Capabilities, Change, DesiredMachine, Disruption, FieldDelta, FieldKind, Lowered,
    MacRange, MachineSpec, ObservedMachine, Product, SnapshotRules, Unsupported, Words,
};
use std::sync::LazyLock;

/// Proxmox VE.
#[derive(Clone, Copy, Debug, Default)]
pub struct Proxmox;

/// What each change costs a running machine, from the reference of the hotplug rules
/// (qemu-server `vmconfig_hotplug_pending` and `fast_plug_option`).
///
/// The guest configures itself anew when its first-boot documents differ: the
/// instance id is their digest. Into them go the machine's name (as host name), and
/// the hardware address of every card that has an address; so a rename, a new
/// hardware address and a card that comes or goes are `reinit`, though the
/// hypervisor itself does all three while the machine runs. Where the guest has no
/// first-boot configuration and gets none, `diff` takes that price off again.
///
/// `NicModel` unplugs the card and plugs it in again. A disk on `ide` or `sata`
/// cannot be hot-plugged; `lower` refuses it on a running machine. The controller
/// and the storage of a disk cannot be changed.
const CHANGES: [(FieldKind, Disruption); 28] = {
    use {Disruption as D, FieldKind as K};
    [
        (K::Name, D::Reinit),
        (K::Cpu, D::Restart),
        (K::Sockets, D::Restart),
        (K::Memory, D::Restart),
        (K::Firmware, D::Replace),
        (K::Tpm, D::Restart),
        (K::Boot, D::Restart),
        (K::Cdrom, D::Online),
        (K::Autostart, D::Online),
        (K::Protect, D::Online),
        (K::Tags, D::Online),
        (K::Notes, D::Online),
        (K::Pool, D::Online),
        (K::DiskSize, D::Online),
        (K::DiskOnRemove, D::Online),
        (K::NicNetwork, D::Online),
        (K::NicVlan, D::Online),
        (K::NicMac, D::Reinit),
        (K::NicModel, D::Online),
        (K::NicIp, D::Reinit),
        (K::NicGateway, D::Reinit),
        (K::InitDigest, D::Reinit),
        (K::InitHostname, D::Reinit),
        (K::Disk, D::Online),
        (K::Nic, D::Reinit),
        (K::Power, D::Online),
        (K::Comment, D::Online),
        (K::Marker, D::Online),
    ]
};

/// The other parts of the first-boot documents.
const REINIT: [FieldKind; 4] =
    [FieldKind::InitDomain, FieldKind::InitUser, FieldKind::InitSshKeys, FieldKind::InitDns];

static CAPABILITIES: LazyLock<Capabilities> = LazyLock::new(|| Capabilities {
    product: "Proxmox VE",
    changes: CHANGES.into_iter().chain(REINIT.map(|kind| (kind, Disruption::Reinit))).collect(),
    // Read back as stars; compared by its version in the digest.
    unreadable: vec![FieldKind::InitPassword, FieldKind::InitWindows, FieldKind::InitCustomization],
    chooses_ids: true,
    chooses_uuid: true,
    // The prefix that is registered to Proxmox, and the server's own default.
    macs: MacRange { prefix: [0xBC, 0x24, 0x11], bits: 24 },
    default_bus: Bus::Scsi,
    detaches_disks: true,
    linked_needs_snapshot: false,
    snapshots: SnapshotRules { disks_grow: true, volumes_go: false, levels: None },
    words: Words {
        id_setting: Some("proxmox.vmid"),
        id_range: "vmid_range",
        marker_home: "notes",
        uuid_home: "on Proxmox VE: Options, SMBIOS settings",
    },
});

impl Product for Proxmox {
    fn capabilities(&self) -> &Capabilities {
        &CAPABILITIES
    }

    fn normalize(&self, machine: &DesiredMachine) -> Result<MachineSpec, Vec<Unsupported>> {
        normalize::normalize(machine)
    }

    fn cost(
        &self,
        change: &FieldDelta<'_>,
        _: &ObservedMachine,
        running: bool,
    ) -> Option<Disruption> {
        self.capabilities().cost(change.field.kind, running)
    }

    fn name_key(&self, name: &str) -> String {
        name.to_owned()
    }

    fn lower(&self, change: &Change<'_>) -> Result<Lowered, Vec<Unsupported>> {
        lower::lower(change)
    }
}

//! A machine: its configuration, its devices, and what the software inside does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::world::Allocation;
use super::xml::Elem;

/// A machine or a template.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Vm {
    /// Its pool; none for a template.
    pub pool: Option<String>,
    /// Its host.
    pub host: String,
    /// To be copied, not to be run.
    pub template: bool,
    /// BIOS UUID.
    pub uuid: String,
    /// The UUID that vCenter knows it by.
    pub instance_uuid: String,
    /// Token of the last change of its configuration.
    pub change: String,
    /// When it was last changed, in milliseconds.
    pub modified_ms: u64,
    /// When it was made, in milliseconds.
    pub created_ms: u64,
    /// Its `.vmx` file.
    pub path: String,
    /// All that a snapshot keeps.
    pub config: Config,
    /// Snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// The snapshot that its disks go on from.
    pub current_snapshot: Option<String>,
    /// `poweredOff`, `poweredOn` or `suspended`.
    pub power: String,
    /// `connected`, `orphaned`, `inaccessible` or `invalid`.
    pub connection: String,
    /// What it waits for somebody to answer.
    pub question: Option<String>,
    /// When it was started, in milliseconds.
    pub started_ms: u64,
    /// The task that is still making it: it has no readable configuration yet.
    pub forming: Option<String>,
    /// Each start, in order.
    pub boots: Vec<Boot>,
    /// What its guest was and is to be set up by.
    #[serde(default)]
    pub setup: Setup,
    /// How the software inside behaves.
    pub behaviour: Behaviour,
}

/// What a guest is set up by at its start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// What waits for the next start.
    pub waits: Option<Elem>,
    /// What was carried out, in order, with the number of the start.
    pub done: Vec<(usize, Elem)>,
}

/// The software inside a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Has VMware Tools.
    pub tools: bool,
    /// Goes down when asked to.
    pub answers_shutdown: bool,
    /// The address its first card gets where nothing else is said.
    pub address: Option<String>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { tools: true, answers_shutdown: true, address: None }
    }
}

/// One start, as seen from inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// When, in milliseconds.
    pub when_ms: u64,
    /// `guestinfo.metadata` or `guestinfo.userdata` was there.
    pub seeded: bool,
    /// `guestinfo.userdata` itself, as it was.
    pub userdata: Option<String>,
    /// `guestinfo.metadata`, decoded as far as it could be.
    pub metadata: Option<String>,
    /// Hardware addresses of its cards.
    pub macs: Vec<String>,
    /// Size of its first disk.
    pub boot_disk: u64,
}

/// All that a snapshot keeps of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Kind of operating system.
    pub guest_id: String,
    /// Version of the virtual hardware.
    pub version: String,
    /// `bios` or `efi`.
    pub firmware: String,
    /// Notes.
    pub annotation: String,
    /// Processors.
    pub cpus: i64,
    /// Of which so many share a socket.
    pub cores_per_socket: i64,
    /// Memory in MiB.
    pub memory_mb: i64,
    /// Processors can be added while it runs.
    pub cpu_hot_add: bool,
    /// Processors can be taken away while it runs.
    pub cpu_hot_remove: bool,
    /// Memory can be added while it runs.
    pub memory_hot_add: bool,
    /// Processors, in MHz.
    pub cpu: Allocation,
    /// Memory, in MiB.
    pub memory: Allocation,
    /// Its hardware.
    pub devices: Vec<Device>,
    /// Free keys and values.
    pub extra: BTreeMap<String, String>,
    /// Parts that are kept as they were sent: `flags`, `tools`, `bootOptions`…
    pub other: BTreeMap<String, Elem>,
}

/// A snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its id.
    pub id: String,
    /// Its number among those of the machine.
    pub number: i64,
    /// Its name; several may have the same.
    pub name: String,
    /// Text.
    pub description: String,
    /// When it was taken, in milliseconds.
    pub created_ms: u64,
    /// The one before it.
    pub parent: Option<String>,
    /// The configuration at that time.
    pub config: Config,
    /// The power state that it brings back.
    pub power: String,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Key, which it keeps for the machine's life.
    pub key: i64,
    /// What it hangs on.
    pub controller: Option<i64>,
    /// Where there.
    pub unit: Option<i64>,
    /// What people see.
    pub label: String,
    /// What it is.
    pub kind: DeviceKind,
}

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// A controller: its type, its number on its bus, how it shares.
    Controller {
        /// Type in the API.
        ty: String,
        /// Number of the bus.
        bus: i64,
        /// `noSharing` and the like, where its type has it.
        shared: Option<String>,
    },
    /// A disk.
    Disk(Disk),
    /// A network card.
    Nic(Nic),
    /// A CD drive, with its image.
    Cdrom {
        /// `[datastore] path` of the image; none for an empty drive.
        iso: Option<String>,
        /// Connected.
        connected: bool,
    },
    /// Anything else, as it was sent.
    Other(Elem),
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Size in bytes.
    pub bytes: u64,
    /// Its file.
    pub file: String,
    /// `persistent` and the like.
    pub mode: String,
    /// Takes only what was written.
    pub thin: bool,
    /// Its own UUID.
    pub uuid: String,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Type in the API.
    pub ty: String,
    /// The network's or port group's id.
    pub network: String,
    /// Hardware address, in lower case.
    pub mac: String,
    /// `generated`, `assigned` or `manual`.
    pub address_type: String,
    /// Connected at the start.
    pub start_connected: bool,
}

impl Config {
    /// A machine without any device of its own.
    #[must_use]
    pub fn new(guest_id: &str) -> Self {
        Self {
            guest_id: guest_id.to_owned(),
            version: "vmx-19".to_owned(),
            firmware: "bios".to_owned(),
            annotation: String::new(),
            cpus: 1,
            cores_per_socket: 1,
            memory_mb: 1024,
            cpu_hot_add: false,
            cpu_hot_remove: false,
            memory_hot_add: false,
            cpu: Allocation { expandable: false, ..Allocation::default() },
            memory: Allocation { expandable: false, shares: 10_240, ..Allocation::default() },
            devices: default_devices(),
            extra: BTreeMap::new(),
            other: BTreeMap::new(),
        }
    }

    /// Its disks.
    pub fn disks(&self) -> impl Iterator<Item = &Disk> {
        self.devices.iter().filter_map(|device| match &device.kind {
            DeviceKind::Disk(disk) => Some(disk),
            _ => None,
        })
    }

    /// Its disks, to be changed.
    pub fn disks_mut(&mut self) -> impl Iterator<Item = &mut Disk> {
        self.devices.iter_mut().filter_map(|device| match &mut device.kind {
            DeviceKind::Disk(disk) => Some(disk),
            _ => None,
        })
    }

    /// Its network cards.
    pub fn nics(&self) -> impl Iterator<Item = &Nic> {
        self.devices.iter().filter_map(|device| match &device.kind {
            DeviceKind::Nic(nic) => Some(nic),
            _ => None,
        })
    }

    /// Its network cards, to be changed.
    pub fn nics_mut(&mut self) -> impl Iterator<Item = &mut Nic> {
        self.devices.iter_mut().filter_map(|device| match &mut device.kind {
            DeviceKind::Nic(nic) => Some(nic),
            _ => None,
        })
    }

    /// The device with this key.
    #[must_use]
    pub fn device(&self, key: i64) -> Option<&Device> {
        self.devices.iter().find(|device| device.key == key)
    }
}

impl Vm {
    /// Bytes of the swap file that it has while it runs.
    #[must_use]
    pub fn swap(&self) -> u64 {
        let mib = self.config.memory_mb - self.config.memory.reservation;
        u64::try_from(mib.max(0) << 20).unwrap_or(0)
    }
}

impl DeviceKind {
    /// Type in the API.
    #[must_use]
    pub fn type_name(&self) -> &str {
        match self {
            Self::Controller { ty, .. } => ty,
            Self::Disk(_) => "VirtualDisk",
            Self::Nic(nic) => &nic.ty,
            Self::Cdrom { .. } => "VirtualCdrom",
            Self::Other(elem) => &elem.ty,
        }
    }
}

/// What every machine has from the start.
fn default_devices() -> Vec<Device> {
    let controller = |key, ty: &str, bus, label: &str| Device {
        key,
        controller: None,
        unit: None,
        label: label.to_owned(),
        kind: DeviceKind::Controller { ty: ty.to_owned(), bus, shared: None },
    };
    vec![
        controller(200, "VirtualIDEController", 0, "IDE 0"),
        controller(201, "VirtualIDEController", 1, "IDE 1"),
        controller(300, "VirtualPS2Controller", 0, "PS2 controller 0"),
        controller(100, "VirtualPCIController", 0, "PCI controller 0"),
        controller(400, "VirtualSIOController", 0, "SIO controller 0"),
    ]
}

//! The YAML's own shape: one table per mapping, from which reader, schema and `explain` come.
//!
//! In: nodes. Out: values as written, each with its place. What names refer to, and
//! whether values fit together, is left to `resolve` and `validate`.

mod hypervisors;
mod machine;
mod windows;
mod words;

use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr};

use super::decode::{Int, Keyed, Lenient, Templates, choice, either, pattern, record};
use super::scalar::{Bytes, Percent, Spanned};

pub use hypervisors::*;
pub use machine::*;
pub use windows::*;
pub use words::*;

use crate::model::{Firmware, GrantRole, GuestOs};

/// Top-level keys that belong to the trust settings, which are never read from the tree.
pub const TRUST_KEYS: &[&str] =
    &["marker_key", "secrets", "trust", "api_keys", "store", "webhooks"];

record! {
    /// What exists, for one project. Included files have the same sections, without `project`.
    pub struct RawConfig {
        /// Version of this language. Always 1.
        version: Lenient<Option<Spanned<Version>>>,
        /// Whose machines these are. Part of the mark on every machine: with another name, all of them look absent.
        project: Lenient<Option<Spanned<ProjectText>>>,
        /// More files, as globs relative to this one. A glob that matches nothing is an error unless it is optional.
        include: Lenient<Vec<RawInclude>>,
        /// Where machines can be, by name.
        hypervisors: Lenient<Templates<RawHypervisor>>,
        /// Networks that exist, and what they are called on each hypervisor.
        networks: Lenient<Templates<RawNetwork>>,
        /// What machines are born from.
        images: Lenient<Templates<RawImage>>,
        /// The catalogue of service plans.
        plans: Lenient<Templates<RawServicePlan>>,
        /// Those who can be granted something: people and groups that a directory knows already.
        users: Lenient<Templates<RawUser>>,
        /// Groups of machines.
        pools: Lenient<Templates<RawPool>>,
        /// Partial machines that `vms` can build on.
        profiles: Lenient<Profiles>,
        /// Virtual machines. `web-{1..3}` stands for three.
        vms: Lenient<Templates<RawMachine>>,
        /// Rules for the whole project.
        policy: Lenient<Option<Keyed<RawPolicy>>>,
    }
    later { clients, containers, requests }
}

pattern! {
    /// The name of a project.
    pub struct ProjectText = "^[a-z0-9-]{1,32}$", "1 to 32 small letters, digits and `-`";
    /// Where an API is reached.
    pub struct Endpoint = "^https://(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\\[[0-9A-Fa-f:.]+\\]):[1-9][0-9]{0,4}/?$",
        "`https://HOST:PORT`, without a path; Proxmox VE listens on port 8006";
    /// An API token of Proxmox VE, without its secret.
    pub struct TokenId = "^[^\\s:/!@]+@[A-Za-z][A-Za-z0-9._-]*![A-Za-z][A-Za-z0-9._-]*$", "`USER@REALM!TOKEN`";
    /// A user of Proxmox VE.
    pub struct RealmUser = "^[^\\s:/!@]+@[A-Za-z][A-Za-z0-9._-]*$", "`USER@REALM`, such as `root@pam`";
    /// The SHA-256 of a certificate.
    pub struct Fingerprint = "^(?:sha256:)?(?:[0-9A-Fa-f]{64}|[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){31})$",
        "`sha256:` and 64 hexadecimal digits, as `openssl x509 -fingerprint -sha256` shows them";
    /// A bridge or an SDN network of a Proxmox node.
    pub struct Bridge = "^[A-Za-z][A-Za-z0-9_.-]{0,14}$", "the name of a bridge, such as `vmbr0`";
    /// A DNS domain.
    pub struct SearchDomain = "^[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})(?:[.][A-Za-z0-9-]{1,63})*$", "a domain such as `example.net`";
    /// Somebody whom the directory of a vCenter knows.
    pub struct Principal = "^[A-Za-z0-9][A-Za-z0-9._-]*\\\\[^ @/\\\\\\u0000-\\u001F\\u007F](?:[^@/\\\\\\u0000-\\u001F\\u007F]{0,253}[^ @/\\\\\\u0000-\\u001F\\u007F])?$",
        "`DOMAIN\\NAME`, as the vCenter shows it, such as `VSPHERE.LOCAL\\ops`";
    /// A file below the root.
    pub struct PathText = "^[^\\u0000-\\u001F\\u007F]+$", "a path relative to this file";
}

either! {
    /// A glob, or a glob that may match nothing.
    pub enum RawInclude {
        /// A glob relative to this file; `**` goes through folders.
        text Glob(Spanned<String>),
        /// A glob with its conditions.
        mapping Careful(RawCarefulInclude),
    }
}

record! {
    /// An include that may match nothing.
    pub struct RawCarefulInclude {
        /// A glob relative to this file.
        glob: Spanned<String>,
        /// Whether it may match nothing.
        optional: bool = false,
    }
}

record! {
    /// A network that exists. It is never made or changed.
    pub struct RawNetwork {
        /// Its IPv4 addresses; needed for checks and for prefix lengths.
        cidr: Option<Spanned<Ipv4Net>>,
        /// Its default gateway, given to machines with a written address.
        gateway: Option<Spanned<Ipv4Addr>>,
        /// Resolvers for machines that name none.
        dns: Vec<IpAddr>,
        /// Search domains; the first is the domain of machines that name none.
        search: Vec<SearchDomain>,
        /// Addresses and ranges that no machine may take.
        reserved: Vec<Spanned<AddressOrRange>>,
        /// VLAN tag that the hypervisor puts on.
        vlan: Option<Int<1, 4094>>,
        /// What it is called on each hypervisor. (`at`, since `on` is a boolean to older YAML tools.)
        at: At<RawNetworkAt>,
    }
    later { range, cidr6, gateway6, range6 }
}

record! {
    /// A network on one hypervisor.
    pub struct RawNetworkAt {
        /// On Proxmox VE: the bridge or SDN network.
        bridge: Option<Spanned<Bridge>>,
        /// On a vCenter: the port group, by inventory path when two have that name.
        portgroup: Option<Spanned<Portgroup>>,
    }
    later { subnet, vmnet }
}

record! {
    /// What a machine is born from.
    pub struct RawImage {
        /// What the guest is.
        os: GuestOs,
        /// What reads the guest's first-boot configuration. With `none`, `init` on its machines is an error.
        init: GuestInit = GuestInit::None,
        /// What it boots with, for machines that do not say.
        firmware: Option<Firmware>,
        /// Whether the guest agent is in it.
        agent: bool = false,
        /// What it is on each hypervisor.
        at: At<RawImageAt>,
    }
    later { url, checksum, iso }
}

choice! {
    /// What reads a guest's first-boot configuration.
    pub enum GuestInit {
        /// cloud-init.
        CloudInit = "cloud-init",
        /// The setup of a Windows that was generalized (`sysprep`), by `init.windows` or `init.customization_spec`. On a
        /// vCenter alone yet.
        Sysprep = "sysprep",
        /// Nothing.
        None = "none",
    }
    later { "cloudbase-init", "ovf" }
}

record! {
    /// An image on one hypervisor: a template or an installer.
    pub struct RawImageAt {
        /// A template that is cloned.
        template: Option<RawTemplate>,
        /// How the template is cloned, `full` unless written.
        clone: Option<Spanned<CloneMode>>,
        /// On a vCenter: the snapshot of the template that a linked clone shares.
        snapshot: Option<Spanned<InventoryName>>,
        /// An installer for the CD drive of an empty machine: `local:iso/debian.iso`, on a vCenter
        /// `[DATASTORE] iso/debian.iso`.
        iso: Option<Spanned<IsoVolume>>,
    }
    later { library, item, image, container, storage }
}

either! {
    /// A template.
    pub enum RawTemplate {
        /// Its name.
        text Name(String),
        /// What it is known by.
        mapping Known(RawKnownTemplate),
    }
}

impl RawTemplate {
    /// Its vmid.
    pub fn id(&self) -> Option<&Spanned<Int<100, 999_999_999>>> {
        match self {
            Self::Name(_) => None,
            Self::Known(known) => known.id.as_ref(),
        }
    }

    /// Its name.
    pub fn name(&self) -> Option<&String> {
        match self {
            Self::Name(name) => Some(name),
            Self::Known(known) => known.name.as_ref(),
        }
    }
}

record! {
    /// A template. With id and name, both must agree when a machine is made.
    pub struct RawKnownTemplate {
        /// Its vmid, on Proxmox VE.
        id: Option<Spanned<Int<100, 999_999_999>>>,
        /// Its name.
        name: Option<String>,
    }
}

choice! {
    /// How a template is cloned.
    pub enum CloneMode {
        /// A copy of its own.
        Full = "full",
        /// Shares the template's blocks; needs a storage that can, on a vCenter a snapshot.
        Linked = "linked",
    }
}

record! {
    /// A service plan: sizes with a name.
    pub struct RawServicePlan {
        /// Virtual processors.
        cpu: Int<1, 768>,
        /// Memory.
        memory: Bytes,
        /// Size of the boot disk. Absent: the image's.
        disk: Option<Bytes>,
        /// Place in the catalogue, lower first.
        order: Option<i32>,
        /// Price, in the unit of the catalogue.
        price: Option<f64>,
        /// A line for people.
        description: Option<String>,
    }
}

record! {
    /// A group of machines.
    pub struct RawPool {
        /// What is written on it. Absent: not compared.
        comment: Option<Spanned<String>>,
        /// The hypervisors it exists on: `{ pve-paris: {} }`.
        at: At<RawPoolAt>,
        /// Who may do what with its machines. On Proxmox VE not supported yet.
        acl: Vec<RawGrant>,
    }
    later { client, quota }
}

record! {
    /// A role on a pool for somebody.
    pub struct RawGrant {
        /// An entry of `users`.
        user: Spanned<Reference>,
        /// `viewer` looks; `operator` also starts and stops machines and sees their screens; `admin` also
        /// writes their notes and takes their snapshots.
        role: GrantRole,
    }
}

record! {
    /// Somebody, or a group, who can be granted something. None is made here: they are known already.
    pub struct RawUser {
        /// Who that is on each hypervisor.
        at: At<RawUserAt>,
    }
    later { email, phone, role, client, password_hash, vm }
}

record! {
    /// Somebody, or a group, on one hypervisor.
    pub struct RawUserAt {
        /// On a vCenter: `DOMAIN\\NAME`, as it shows them.
        principal: Option<Spanned<Principal>>,
        /// Whether it is a group.
        group: bool = false,
    }
    later { realm }
}

record! {
    /// A pool on one hypervisor. Nothing needs to be said on Proxmox VE.
    pub struct RawPoolAt {
        /// On a vCenter: the folder of its machines, below the datacenter's folder of machines. Made when it is not there. With neither of the two, both are called like the pool.
        folder: Option<Spanned<FolderPath>>,
        /// On a vCenter: the resource pool of its machines, by the end of its path or, with `/` in front, by all of it. Made when it is not there.
        resource_pool: Option<Spanned<SharePath>>,
    }
    later { project }
}

record! {
    /// Rules for the whole project.
    pub struct RawPolicy {
        /// How much one run may do; one more refuses the run.
        budgets: Option<RawBudgets>,
        /// What names of new machines must look like: a regular expression.
        name_pattern: Option<Spanned<String>>,
        /// What placement leaves free.
        capacity: Option<RawCapacity>,
    }
    later { require, one_vm_per_user, unprivileged_containers, windows }
}

record! {
    /// How much one run may do. Creations are not counted.
    pub struct RawBudgets {
        /// Deletes, 5 unless written.
        deletes: Option<u32>,
        /// Replaces, 5 unless written.
        replaces: Option<u32>,
        /// Restarts, 20 unless written.
        restarts: Option<u32>,
        /// Actions of any kind but creation, 500 unless written.
        changes: Option<u32>,
    }
}

record! {
    /// What placement leaves free.
    pub struct RawCapacity {
        /// Virtual processors per processor of a node, 4 unless written.
        cpu_overcommit: Option<Int<1, 100>>,
        /// Memory of a node, `10%` unless written.
        memory_headroom: Option<Spanned<Percent>>,
        /// Space of a storage, `10%` unless written.
        disk_headroom: Option<Spanned<Percent>>,
    }
}

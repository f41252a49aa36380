//! The YAML's own shape: one table per mapping, from which reader, schema and `explain` come.
//!
//! In: nodes. Out: values as written, each with its place. What names refer to, and
//! whether values fit together, is left to `resolve` and `validate`.

mod machine;
mod words;

use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr};

use super::decode::{Int, Keyed, Lenient, Templates, choice, either, pattern, record};
use super::scalar::{Bytes, IdRange, Percent, SecretRef, Spanned};

pub use machine::*;
pub use words::*;

use crate::model::{Firmware, GuestOs};

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
        /// Groups of machines.
        pools: Lenient<Templates<RawPool>>,
        /// Partial machines that `vms` can build on.
        profiles: Lenient<Profiles>,
        /// Virtual machines. `web-{1..3}` stands for three.
        vms: Lenient<Templates<RawMachine>>,
        /// Rules for the whole project.
        policy: Lenient<Option<Keyed<RawPolicy>>>,
    }
    later { clients, users, containers, requests }
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

choice! {
    /// The product.
    pub enum Product {
        /// Proxmox VE 8 or 9, a node or a cluster.
        Proxmox = "proxmox",
    }
    later { "vcenter", "nutanix", "workstation" }
}

record! {
    /// A hypervisor: one cluster, or one node of its own.
    pub struct RawProxmox {
        /// The product.
        kind as "type": Product,
        /// Where its API is, `https://HOST:PORT`.
        endpoint: Option<Spanned<Endpoint>>,
        /// The same for a cluster: the next one is used when one is down.
        endpoints: Vec<Spanned<Endpoint>>,
        /// How to log in.
        auth: RawAuth,
        /// How its certificate is checked. Absent: system roots, or the pins of the trust settings.
        tls: Option<RawTls>,
        /// Ids that new machines may take, `20000-99999` unless written.
        vmid_range: Option<Spanned<IdRange>>,
        /// Which nodes get new machines.
        nodes: Option<RawNodes>,
        /// What is used where a machine says nothing.
        defaults: Option<RawDefaults>,
        /// How much is asked of it at a time.
        limits: Option<RawLimits>,
    }
    later { api, vmrun, vm_dir, templates_dir }
}

record! {
    /// An API token.
    pub struct RawToken {
        /// `USER@REALM!TOKEN`.
        token_id: TokenId,
        /// Its secret, by reference.
        token_secret: SecretRef,
    }
}

record! {
    /// A user with a password. A few settings of Proxmox VE can only be written by `root@pam`.
    pub struct RawLogin {
        /// `USER@REALM`.
        username: RealmUser,
        /// The password, by reference.
        password: SecretRef,
    }
    later { api_key }
}

record! {
    /// How a certificate is checked.
    pub struct RawTls {
        /// A file with the CA's certificate, relative to this file.
        ca_file: Option<Spanned<PathText>>,
        /// SHA-256 of certificates; a cluster has one per node.
        fingerprints: Vec<Fingerprint>,
    }
}

record! {
    /// Which nodes get new machines.
    pub struct RawNodes {
        /// Only these. Absent: any.
        allow: Option<Vec<NodeText>>,
        /// Not these, for now. Machines that are there stay.
        maintenance: Vec<NodeText>,
    }
}

record! {
    /// What is used where a machine says nothing.
    pub struct RawDefaults {
        /// The node that is preferred when nothing else decides.
        node: Option<NodeText>,
        /// Where disks go.
        storage: Option<StorageText>,
    }
    later { datacenter, cluster, datastore, folder }
}

record! {
    /// How much is asked of a hypervisor at a time.
    pub struct RawLimits {
        /// Requests in flight when reading.
        reads: Int<1, 256> = Int(16),
        /// Actions in flight when writing.
        writes: Int<1, 64> = Int(4),
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
        /// The bridge or SDN network.
        bridge: Bridge,
    }
    later { portgroup, subnet, vmnet }
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
        /// Nothing.
        None = "none",
    }
    later { "cloudbase-init", "sysprep", "ovf" }
}

record! {
    /// An image on one hypervisor: a template or an installer.
    pub struct RawImageAt {
        /// A template that is cloned.
        template: Option<RawTemplate>,
        /// How the template is cloned, `full` unless written.
        clone: Option<Spanned<CloneMode>>,
        /// An installer for the CD drive of an empty machine, by volume name.
        iso: Option<Spanned<IsoVolume>>,
    }
    later { library, item, image, snapshot, container, storage }
}

record! {
    /// A template. With id and name, both must agree when a machine is made.
    pub struct RawTemplate {
        /// Its vmid.
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
        /// Shares the template's blocks; needs a storage that can.
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
    }
    later { client, quota, acl }
}

record! {
    /// A pool on one hypervisor. Nothing needs to be said on Proxmox.
    pub struct RawPoolAt {}
    later { folder, resource_pool, project }
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

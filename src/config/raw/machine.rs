//! Machines as they are written, and profiles, which are partial ones.

use super::windows::{PlainLine, RawWindows, ZoneText};
use super::words::{
    AddressText, AdoptText, CdromText, GatewayText, GuestUser, HostText, KeyText, LabelText,
    NodeOrCluster, Reference, StorageOrDatastore, TagText,
};
use crate::config::decode::{Cx, Decode, Defs, Int, Keyed, Lazy, either, record};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::scalar::{Bytes, NAME_PATTERN, Name, Seconds, SecretRef, Spanned};
use crate::config::yaml::Node;
use crate::model::{BootDevice, Bus, Firmware, MacAddress, NicModel, OnRemove, Power};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

record! {
    /// A virtual machine, or in `profiles` a part of one. Only what is written is compared.
    pub struct RawMachine {
        /// Its name on the hypervisor. Absent: the name of the entry, which stays its address.
        name: Option<Spanned<Arc<str>>>,
        /// A profile to build on: mappings merge by key, scalars and lists written here win.
        profile: Option<Spanned<Reference>>,
        /// Where it is. Another one later means a new machine.
        hypervisor: Option<Spanned<Reference>>,
        /// What it is born from; later only a note.
        image: Option<Spanned<Reference>>,
        /// Its service plan. Either this or `resources`.
        plan: Option<Spanned<Reference>>,
        /// Its sizes, when no service plan fits.
        resources: Option<Keyed<RawResources>>,
        /// Disks by name. `boot` is the one that the image or the ISO fills. Disks only grow.
        disks: BTreeMap<Name, Keyed<RawDisk>>,
        /// Network cards by name.
        nics: BTreeMap<Name, Keyed<RawNic>>,
        /// What the guest is told at its first boot.
        init: Option<Keyed<RawInit>>,
        /// What it boots with. Absent: what the image says.
        firmware: Option<Spanned<Firmware>>,
        /// Whether it has a virtual TPM 2.0.
        tpm: Option<Spanned<bool>>,
        /// What it boots from, first to last.
        boot: Option<Spanned<Vec<BootDevice>>>,
        /// What is in the CD drive: `none`, or an ISO image such as `local:iso/debian.iso`, on a vCenter
        /// `[DATASTORE] iso/debian.iso`.
        cdrom: Option<Spanned<CdromText>>,
        /// `running` and `stopped` are kept; `once` (unless written) starts the new machine and then leaves it alone.
        power: Option<Spanned<Power>>,
        /// Whether the hypervisor starts it when it boots itself.
        autostart: Option<Spanned<RawAutostart>>,
        /// Deletion protection. It outlives the entry.
        protect: Option<Spanned<bool>>,
        /// Tags on the hypervisor, all of them.
        tags: Option<Spanned<Vec<TagText>>>,
        /// Labels by key, such as `tenant: acme`. Keys that are not here are left alone. On a vCenter a key is a category
        /// and its value a tag in it; both are made when they are missing. Not on Proxmox VE yet.
        labels: BTreeMap<Name, Spanned<LabelText>>,
        /// Free text.
        notes: Option<Spanned<Arc<str>>>,
        /// Machines that must have converged before this one is created or started.
        after: Vec<Spanned<Arc<str>>>,
        /// The pool it is in.
        pool: Option<Spanned<Reference>>,
        /// Where it goes on its hypervisor.
        placement: Option<RawPlacement>,
        /// A machine that exists and is to be taken over as it is: `HYPERVISOR/ID`. Then `image` may be absent, and
        /// `name_pattern` does not apply. Once that is done the line changes nothing more, and
        /// may stay.
        adopt: Option<Spanned<AdoptText>>,
        /// The name that this entry had before: its machine is kept. Once that is done the line changes nothing more.
        was: Option<Spanned<Arc<str>>>,
        /// Snapshots of its disks before changes. Not on Proxmox VE yet.
        snapshots: Option<Keyed<RawSnapshots>>,
        /// What only Proxmox VE has.
        proxmox: Option<Keyed<RawProxmoxExtras>>,
        /// What only a vCenter has.
        vcenter: Option<Keyed<RawVcenterExtras>>,
    }
    later {
        client, devices, ready, ha, request, ignore, nutanix, workstation
    }
}

record! {
    /// The sizes of a machine.
    pub struct RawResources {
        /// Virtual processors in all.
        cpu: Option<Spanned<Int<1, 768>>>,
        /// Sockets that they are spread over; divides `cpu`.
        sockets: Option<Spanned<Int<1, 16>>>,
        /// Memory.
        memory: Option<Spanned<Bytes>>,
        /// Size of the boot disk. Absent: the image's.
        disk: Option<Spanned<Bytes>>,
    }
    later { memory_min, cpu_weight, cpu_limit, reserve }
}

record! {
    /// A disk.
    pub struct RawDisk {
        /// Its size. Only the boot disk can go without: then it is the image's.
        size: Option<Spanned<Bytes>>,
        /// The controller.
        bus: Option<Spanned<Bus>>,
        /// Place on the controller at birth; needs `bus`. Absent: in the order of names.
        slot: Option<Spanned<Int<0, 30>>>,
        /// Where it lies. Absent: the hypervisor's default.
        storage: Option<Spanned<StorageOrDatastore>>,
        /// What happens to it when this entry goes: it is detached unless `delete` is written.
        on_remove: OnRemove = OnRemove::Detach,
    }
    later { ssd, discard, backup, thin, cache, iothread, serial, policy, image, physical }
}

record! {
    /// A network card.
    pub struct RawNic {
        /// The network it is plugged into.
        network: Option<Spanned<Reference>>,
        /// `dhcp`, `none`, an address, or a range that gives one address to each member of the entry. An image without
        /// `init` is not told its address; it is still checked against all others.
        ip: Option<Spanned<AddressText>>,
        /// Its hardware address. Absent: chosen at birth and kept.
        mac: Option<Spanned<MacAddress>>,
        /// The emulated card.
        model: Option<Spanned<NicModel>>,
        /// VLAN tag. Absent: the network's.
        vlan: Option<Spanned<Int<1, 4094>>>,
        /// The default gateway, or `none`. Absent: the network's, with a written address.
        gateway: Option<Spanned<GatewayText>>,
    }
    later { ip6, gateway6, trunk, mtu }
}

record! {
    /// What a guest is told at its first boot.
    pub struct RawInit {
        /// Host name, without domain.
        hostname: Option<Spanned<HostText>>,
        /// DNS domain. Absent: the first search domain of the network.
        domain: Option<Spanned<super::SearchDomain>>,
        /// The user that is created.
        user: Option<Spanned<GuestUser>>,
        /// Public keys of that user: the line itself, or `file:PATH` relative to this file.
        ssh_keys: Option<Spanned<Vec<Spanned<KeyText>>>>,
        /// That user's password, by reference.
        password: Option<Spanned<SecretRef>>,
        /// Resolvers. Absent: the network's.
        dns: Option<Spanned<Vec<IpAddr>>>,
        /// The time zone of a guest that is set up by `windows`. Absent: UTC.
        timezone: Option<Spanned<ZoneText>>,
        /// What the setup of a Windows is told, before its first start. On a vCenter alone yet. Then `password` is that of
        /// Administrator, and the host name has at most 15 letters.
        windows: Option<Keyed<RawWindows>>,
        /// On a vCenter: a customization spec that is kept there, of a Windows or a Linux, in place of `windows`. It is
        /// given this machine's host name and addresses, where they are declared.
        customization_spec: Option<Spanned<PlainLine>>,
    }
    later { user_data, vars, properties }
}

either! {
    /// Whether, and in which order, the hypervisor starts a machine when it boots itself.
    pub enum RawAutostart {
        /// Whether it does.
        bool Flag(bool),
        /// It does, in this order.
        mapping Ordered(RawAutostartOrder),
    }
}

record! {
    /// A place in the order of starting.
    pub struct RawAutostartOrder {
        /// Lower first.
        order: Option<Int<0, 999_999>>,
        /// How long to wait before the next one.
        wait: Option<Spanned<Seconds>>,
    }
}

record! {
    /// Snapshots that novahost takes of a machine, without its memory. Those of others are never removed.
    pub struct RawSnapshots {
        /// Whether one is taken before a change that is dearer than `online`: at its next boot, by a restart, or of its
        /// first-boot configuration.
        before_change: Option<Spanned<bool>>,
        /// How many of them are kept: 3 unless written. Older ones are removed, with `--allow data-loss`. A vCenter
        /// holds 32 in a chain: 28 leave room for those of one plan, and for one of a person.
        keep: Option<Int<0, 28>>,
    }
}

record! {
    /// Where a machine goes on its hypervisor.
    pub struct RawPlacement {
        /// A node that it must be on, or `auto`. On a vCenter, a cluster or a host that is in none.
        node: Option<Spanned<NodeOrCluster>>,
        /// On a vCenter: the same as `node`, by its own word.
        cluster: Option<Spanned<NodeOrCluster>>,
        /// Where those of its disks lie that say nothing else. Another one later moves them, where the product can.
        storage: Option<Spanned<StorageOrDatastore>>,
        /// Machines of one hypervisor with the same name here are kept on different hosts. On a vCenter that is a rule of
        /// DRS, made once they exist. Not on Proxmox VE yet.
        spread: Option<Spanned<Reference>>,
    }
    later { prefer, hosts, folder }
}

record! {
    /// What only Proxmox VE has.
    pub struct RawProxmoxExtras {
        /// A wish for birth: taken by another machine, it is refused.
        vmid: Option<Spanned<Int<100, 999_999_999>>>,
    }
    later { cpu_type, machine, display, serial0, numa }
}

record! {
    /// What only a vCenter has.
    pub struct RawVcenterExtras {
        /// The version of the virtual hardware: 21 for `vmx-21`. It only goes up, while the machine is off, and never back.
        hardware_version: Option<Spanned<Int<7, 99>>>,
        /// Keys of the machine's advanced configuration, with values as texts (`"TRUE"`). Only these keys are compared;
        /// an empty value takes a key out. Keys that reach the host, or say what a field says, are refused.
        extra_config: BTreeMap<String, Spanned<Arc<str>>>,
    }
}

/// The section of profiles. They are read when they have been merged into a machine,
/// so that `{n}` is the member's and all values of one machine are read at once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profiles(pub BTreeMap<Name, Profile>);

/// A profile as written.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Where its name is.
    pub key: Span,
    /// A part of a machine.
    pub body: Lazy<RawMachine>,
}

/// Fields of a machine that a profile cannot hold, since they mean one machine.
pub const NOT_IN_PROFILES: &[&str] = &["profile", "was", "adopt", "request", "ignore"];

impl Decode for Profiles {
    fn decode(node: &Node, cx: &mut Cx<'_>) -> Option<Self> {
        let mut profiles = BTreeMap::new();
        for entry in cx.mapping(node, "a mapping")? {
            for field in entry.value.as_map().unwrap_or_default() {
                if NOT_IN_PROFILES.contains(&&*field.key) {
                    let message = format!("`{}` cannot be in a profile", field.key);
                    let help = match &*field.key {
                        "profile" => "a profile never names a profile; write its fields here",
                        _ => "it means one machine; write it there",
                    };
                    cx.push(
                        Diagnostic::error("not-in-profile", field.key_span, message).help(help),
                    );
                }
            }
            match Name::from_shared(Arc::clone(&entry.key)) {
                Ok(name) => {
                    let body = Lazy::new(entry.value.clone());
                    profiles.insert(name, Profile { key: entry.key_span, body });
                }
                Err(error) => {
                    let problem = Diagnostic::error("invalid-name", entry.key_span, error.message);
                    cx.push(error.help.into_iter().fold(problem, Diagnostic::help));
                }
            }
        }
        Some(Self(profiles))
    }

    fn schema(defs: &mut Defs) -> Json {
        // A profile may serve entries that stand for several members.
        let machine = defs.of_members(RawMachine::schema);
        let forbidden: Vec<Json> =
            NOT_IN_PROFILES.iter().map(|field| json!({ "required": [field] })).collect();
        json!({
            "type": "object",
            "patternProperties": { NAME_PATTERN: { "allOf": [machine], "not": { "anyOf": forbidden } } },
            "additionalProperties": false,
        })
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }
}

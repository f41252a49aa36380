//! Large made-up clusters for benches.

use std::collections::BTreeMap;

use super::access::{Access, AclEntry, AclKind, Token, User};
use super::world::{Bridge, Counters, Datacenter, Guest, GuestKind, Node, Storage, World};

/// Notes and tags for a machine, by its id and its number from 0; none for an unmanaged one.
pub type Marker<'a> = &'a dyn Fn(u32, usize) -> Option<(String, String)>;

/// Id of the first made-up machine.
const FIRST: u32 = 1000;

/// Id of the template, below those of the machines.
const TEMPLATE: u32 = 900;

impl World {
    /// A cluster of running machines with one disk and one interface each, and a template to clone from.
    ///
    /// Machines have ids from 1000, the template has 900. `novahost@pve` may do everything a provisioner does,
    /// with password `sandbox-password` and token `sandbox` as in the fixture.
    #[must_use]
    pub fn synthetic(nodes: usize, machines: usize, seed: u64, marker: Marker<'_>) -> Self {
        let nodes: BTreeMap<String, Node> = (1..=nodes.max(1))
            .map(|number| {
                let node = Node {
                    cpu: 64,
                    memory: 1024 * 1024,
                    online: true,
                    lost_ms: 0,
                    ip: format!("10.0.0.{number}"),
                    bridges: BTreeMap::from([(
                        "vmbr0".to_owned(),
                        Bridge { vlan_aware: true, cidr: None },
                    )]),
                };
                (format!("pve{number}"), node)
            })
            .collect();
        let names: Vec<String> = nodes.keys().cloned().collect();
        let storage = Storage {
            kind: "rbd".to_owned(),
            content: vec!["images".to_owned()],
            shared: true,
            nodes: Vec::new(),
            total: 1 << 50,
            other_used: 0,
            disabled: false,
            inactive_on: Default::default(),
            files: BTreeMap::new(),
        };
        let mut world = Self {
            cluster: "synthetic".to_owned(),
            nodes,
            storages: BTreeMap::from([("fast".to_owned(), storage)]),
            guests: BTreeMap::new(),
            pools: BTreeMap::new(),
            access: bench_access(),
            volumes: BTreeMap::new(),
            tasks: BTreeMap::new(),
            datacenter: Datacenter::default(),
            authority: None,
            counters: Counters { random: seed, ..Counters::default() },
        };
        for (number, vmid) in (FIRST..).take(machines).enumerate() {
            let uuid = world.new_uuid();
            let tail = world.random() & 0xffff;
            // Numbered MACs: searching for a free one would cost the square of the machines.
            let mac = format!(
                "BC:24:{:02X}:{:02X}:{:02X}:{:02X}",
                vmid >> 16 & 0xff,
                vmid >> 8 & 0xff,
                vmid & 0xff,
                tail & 0xff
            );
            let mut guest = Guest::new(&names[number % names.len()], GuestKind::Qemu);
            guest.running = true;
            guest.started_ms = 1_760_000_000_000;
            let mut set = |key: &str, value: String| guest.config.insert(key.to_owned(), value);
            set("name", format!("vm-{number}"));
            set("cores", "2".to_owned());
            set("memory", "2048".to_owned());
            set("agent", "1".to_owned());
            set("ostype", "l26".to_owned());
            set("scsihw", "virtio-scsi-single".to_owned());
            set("boot", "order=scsi0".to_owned());
            set("scsi0", format!("fast:vm-{vmid}-disk-0,size=8G"));
            set("net0", format!("virtio={mac},bridge=vmbr0"));
            set("smbios1", format!("uuid={uuid}"));
            if let Some((description, tags)) = marker(vmid, number) {
                set("description", description);
                set("tags", tags);
            }
            world.guests.insert(vmid, guest);
        }
        world.guests.insert(TEMPLATE, template(&names[0]));
        world.settle();
        world
    }
}

fn template(node: &str) -> Guest {
    let mut guest = Guest::new(node, GuestKind::Qemu);
    for (key, value) in [
        ("name", "tpl-debian-13"),
        ("template", "1"),
        ("agent", "1"),
        ("boot", "order=scsi0"),
        ("cores", "2"),
        ("memory", "2048"),
        ("ostype", "l26"),
        ("scsihw", "virtio-scsi-single"),
        ("serial0", "socket"),
        ("scsi0", "fast:base-900-disk-0,size=8G"),
        ("ide2", "fast:vm-900-cloudinit,media=cdrom,size=4M"),
        ("net0", "virtio=BC:24:11:00:09:00,bridge=vmbr0"),
        ("smbios1", "uuid=0b7f3b1e-61d5-4f0e-9a3f-5c2f5a0c0900"),
    ] {
        guest.config.insert(key.to_owned(), value.to_owned());
    }
    guest
}

fn bench_access() -> Access {
    let token = Token {
        secret: "00000000-0000-4000-8000-00000000a11a".to_owned(),
        privsep: true,
        ..Token::default()
    };
    let user = User {
        password: Some("sandbox-password".to_owned()),
        tokens: BTreeMap::from([("sandbox".to_owned(), token)]),
        ..User::default()
    };
    let entry = |kind: AclKind, who: &str| AclEntry {
        path: "/".to_owned(),
        kind,
        who: who.to_owned(),
        role: "Administrator".to_owned(),
        propagate: true,
    };
    Access {
        users: BTreeMap::from([("novahost@pve".to_owned(), user)]),
        acl: vec![
            entry(AclKind::User, "novahost@pve"),
            entry(AclKind::Token, "novahost@pve!sandbox"),
        ],
        ..Access::default()
    }
}

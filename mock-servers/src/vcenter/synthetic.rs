//! Large made-up inventories for benches.

use super::vm::{Config, Device, DeviceKind, Disk, Nic, Setup, Vm};
use super::world::{Entity, Host, Kind, Volume, World, uuid_of};

/// Free keys and values for a machine, by its id and its number from 0; none for an unmanaged one.
pub type Marker<'a> = &'a dyn Fn(&str, usize) -> Vec<(String, String)>;

/// The inventory that the large ones begin with: one cluster, one template, one account.
const START: &str = "
name: synthetic
datacenter: DC0
folders: [novahost]
datastores: {fast: {gib: 1048576, kind: vsan}}
networks: [VM Network]
clusters: {C0: {hosts: {esx0.example.test: {cores: 64, memory_gib: 1024}}}}
vms:
  - {name: tpl-debian-13, template: true, host: esx0.example.test, guest_id: debian12_64Guest, firmware: efi,
     cpus: 2, memory_mb: 2048, disks: [{datastore: fast, gib: 8}], networks: [VM Network], snapshots: [base]}
users: {novahost@vsphere.local: {password: sandbox-password}}
permissions: [{principal: novahost@vsphere.local, role: Admin}]
";

impl World {
    /// A cluster of running machines with one disk and one interface each, in the folder `novahost`,
    /// and a template to clone from.
    ///
    /// `novahost@vsphere.local` may do everything, with password `sandbox-password` as in the fixture.
    ///
    /// # Errors
    /// Never for what this crate begins with; the signature keeps the reader's.
    pub fn synthetic(
        hosts: usize,
        machines: usize,
        seed: u64,
        marker: Marker<'_>,
    ) -> anyhow::Result<Self> {
        let mut world = Self::from_yaml(START)?;
        world.counters.random = seed;
        let id_of =
            |world: &Self, kind: &str, name: &str| world.find(kind, name).unwrap_or("").to_owned();
        let first = id_of(&world, "HostSystem", "esx0.example.test");
        let cluster = id_of(&world, "ClusterComputeResource", "C0");
        let like: Option<Host> = world.host(&first).cloned();
        let mut homes = vec![first];
        for number in 1..hosts.max(1) {
            let Some(like) = like.clone() else { break };
            let name = format!("esx{number}.example.test");
            homes.push(world.add("host", Entity::new(&name, Some(&cluster), Kind::Host(like))));
        }
        let place = Place {
            folder: id_of(&world, "Folder", "novahost"),
            pool: id_of(&world, "ResourcePool", "Resources"),
            datastore: id_of(&world, "Datastore", "fast"),
            network: id_of(&world, "Network", "VM Network"),
        };
        for number in 0..machines {
            let host = &homes[number % homes.len()];
            machine(&mut world, &place, host, number, marker);
        }
        Ok(world)
    }
}

struct Place {
    folder: String,
    pool: String,
    datastore: String,
    network: String,
}

fn machine(world: &mut World, place: &Place, host: &str, number: usize, marker: Marker<'_>) {
    const STARTED_MS: u64 = 1_760_000_000_000;
    let name = format!("vm-{number}");
    let file = format!("[fast] {name}/{name}.vmdk");
    let bytes = 8 << 30;
    let mut config = Config::new("debian12_64Guest");
    (config.cpus, config.memory_mb) = (2, 2048);
    let disk = Disk {
        bytes,
        file: file.clone(),
        mode: "persistent".to_owned(),
        thin: true,
        uuid: uuid_of(&format!("disk {name}")),
    };
    // Numbered: searching for a free one would cost the square of the machines.
    let mac = format!(
        "00:50:56:8{:x}:{:02x}:{:02x}",
        number >> 16 & 0xf,
        number >> 8 & 0xff,
        number & 0xff
    );
    let nic = Nic {
        ty: "VirtualVmxnet3".to_owned(),
        network: place.network.clone(),
        mac,
        address_type: "assigned".to_owned(),
        start_connected: true,
    };
    let scsi = DeviceKind::Controller {
        ty: "ParaVirtualSCSIController".to_owned(),
        bus: 0,
        shared: Some("noSharing".to_owned()),
    };
    for (key, controller, unit, label, kind) in [
        (1000, 100, 3, "SCSI controller 0", scsi),
        (2000, 1000, 0, "Hard disk 1", DeviceKind::Disk(disk)),
        (4000, 100, 7, "Network adapter 1", DeviceKind::Nic(nic)),
    ] {
        let label = label.to_owned();
        config.devices.push(Device {
            key,
            controller: Some(controller),
            unit: Some(unit),
            label,
            kind,
        });
    }
    let change = world.new_change(STARTED_MS);
    let vm = Vm {
        pool: Some(place.pool.clone()),
        host: host.to_owned(),
        template: false,
        uuid: uuid_of(&format!("bios {name}")),
        instance_uuid: uuid_of(&format!("instance {name}")),
        change,
        modified_ms: STARTED_MS,
        created_ms: STARTED_MS,
        path: format!("[fast] {name}/{name}.vmx"),
        config,
        snapshots: Vec::new(),
        current_snapshot: None,
        power: "poweredOn".to_owned(),
        connection: "connected".to_owned(),
        question: None,
        started_ms: STARTED_MS,
        forming: None,
        boots: Vec::new(),
        setup: Setup::default(),
        behaviour: super::vm::Behaviour::default(),
    };
    let id = world.add("vm", Entity::new(&name, Some(&place.folder), Kind::Vm(Box::new(vm))));
    let marks = marker(&id, number);
    if let Some(vm) = world.vm_mut(&id) {
        vm.config.extra.extend(marks);
    }
    let datastore = place.datastore.clone();
    world.volumes.insert(file, Volume { datastore, bytes, used: 1 << 30, parent: None, owner: id });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_inventories_are_made_in_one_go() {
        let marker = |id: &str, number: usize| {
            if number.is_multiple_of(2) {
                vec![("novahost.id".to_owned(), id.to_owned())]
            } else {
                vec![]
            }
        };
        let world = World::synthetic(4, 1000, 7, &marker).expect("a world");
        assert_eq!(world.vms().count(), 1001);
        let marked = world
            .vms()
            .filter(|(id, vm)| vm.config.extra.get("novahost.id").is_some_and(|it| it == id));
        assert_eq!(marked.count(), 500);
    }
}

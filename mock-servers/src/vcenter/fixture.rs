//! A world in a few lines of YAML, for tests and for trying.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde::Deserialize;

use super::access::{Access, Grant, User, canonical};
use super::vm::{Behaviour, Config, Device, DeviceKind, Disk, Nic, Setup, Snapshot, Vm};
use super::world::{
    Allocation, Counters, Datastore, Entity, Host, Kind, Pool, Volume, World, uuid_of,
};

/// A time before any client was there.
const LONG_AGO_MS: u64 = 1_750_000_000_000;
const GIB: u64 = 1 << 30;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    name: String,
    datacenter: String,
    #[serde(default)]
    folders: Vec<String>,
    clusters: BTreeMap<String, ClusterYaml>,
    datastores: BTreeMap<String, DatastoreYaml>,
    networks: Vec<String>,
    #[serde(default)]
    switches: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    vms: Vec<VmYaml>,
    users: BTreeMap<String, User>,
    #[serde(default)]
    groups: BTreeSet<String>,
    #[serde(default)]
    roles: BTreeMap<String, BTreeSet<String>>,
    #[serde(default)]
    permissions: Vec<GrantYaml>,
    /// Descriptions of guests: the kind, and the inside of a `CustomizationSpec` in XML.
    #[serde(default)]
    specs: BTreeMap<String, (String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterYaml {
    #[serde(default = "yes")]
    drs: bool,
    hosts: BTreeMap<String, HostYaml>,
    #[serde(default)]
    pools: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostYaml {
    cores: u32,
    memory_gib: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatastoreYaml {
    gib: u64,
    #[serde(default = "vmfs")]
    kind: String,
    #[serde(default)]
    files: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VmYaml {
    name: String,
    #[serde(default)]
    folder: Option<String>,
    host: String,
    #[serde(default)]
    pool: Option<String>,
    #[serde(default)]
    template: bool,
    #[serde(default)]
    running: bool,
    guest_id: String,
    #[serde(default)]
    firmware: Option<String>,
    cpus: i64,
    memory_mb: i64,
    #[serde(default)]
    annotation: String,
    disks: Vec<DiskYaml>,
    networks: Vec<String>,
    #[serde(default)]
    extra: BTreeMap<String, String>,
    #[serde(default)]
    snapshots: Vec<String>,
    #[serde(default)]
    behaviour: Behaviour,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskYaml {
    datastore: String,
    gib: u64,
    #[serde(default = "yes")]
    thin: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantYaml {
    #[serde(default)]
    on: Option<String>,
    principal: String,
    #[serde(default)]
    group: bool,
    role: String,
    #[serde(default = "yes")]
    propagate: bool,
}

fn yes() -> bool {
    true
}

fn vmfs() -> String {
    "VMFS".to_owned()
}

/// Reads a fixture.
pub(crate) fn read(text: &str) -> anyhow::Result<World> {
    let fixture: Fixture = serde_yaml::from_str(text)?;
    let mut world = World {
        instance_uuid: uuid_of(&format!("vcenter {}", fixture.name)),
        name: fixture.name,
        entities: BTreeMap::new(),
        volumes: BTreeMap::new(),
        access: Access::default(),
        fields: BTreeMap::new(),
        tasks: BTreeMap::new(),
        events: Vec::new(),
        sessions: BTreeMap::new(),
        specs: BTreeMap::new(),
        rules: BTreeMap::new(),
        tagging: super::tagging::Tagging::default(),
        sessions_max: 2000,
        authority: None,
        counters: Counters::default(),
    };
    let root = world.add("group", folder("Datacenters", None, &["Folder", "Datacenter"]));
    let vm = ["Folder", "VirtualMachine", "VirtualApp"];
    let center =
        world.add("datacenter", Entity::new(&fixture.datacenter, Some(&root), Kind::Network));
    let vms = world.add("group", folder("vm", Some(&center), &vm));
    let hosts = world.add("group", folder("host", Some(&center), &["Folder", "ComputeResource"]));
    let stores = world
        .add("group", folder("datastore", Some(&center), &["Folder", "Datastore", "StoragePod"]));
    let nets = world.add(
        "group",
        folder("network", Some(&center), &["Folder", "Network", "DistributedVirtualSwitch"]),
    );
    if let Some(entity) = world.entities.get_mut(&center) {
        entity.kind = Kind::Datacenter {
            vm: vms.clone(),
            host: hosts.clone(),
            datastore: stores.clone(),
            network: nets.clone(),
        };
    }
    for name in &fixture.folders {
        world.add("group", folder(name, Some(&vms), &vm));
    }
    for (name, yaml) in fixture.datastores {
        let datastore = Datastore {
            capacity: yaml.gib * GIB,
            other_used: GIB,
            kind: yaml.kind,
            accessible: true,
            files: yaml.files,
        };
        world.add("datastore", Entity::new(&name, Some(&stores), Kind::Datastore(datastore)));
    }
    for name in &fixture.networks {
        world.add("network", Entity::new(name, Some(&nets), Kind::Network));
    }
    for (name, groups) in &fixture.switches {
        let uuid = uuid_of(&format!("switch {name}"));
        let switch = world.add("dvs", Entity::new(name, Some(&nets), Kind::Switch { uuid }));
        let uplinks = format!("{name}-DVUplinks");
        for (group, uplink) in groups.iter().map(|it| (it, false)).chain([(&uplinks, true)]) {
            let kind = Kind::Portgroup { key: String::new(), switch: switch.clone(), uplink };
            let id = world.add("dvportgroup", Entity::new(group, Some(&nets), kind));
            if let Some(Entity { kind: Kind::Portgroup { key, .. }, .. }) =
                world.entities.get_mut(&id)
            {
                key.clone_from(&id);
            }
        }
    }
    for (name, yaml) in fixture.clusters {
        cluster(&mut world, &hosts, &name, yaml);
    }
    for yaml in fixture.vms {
        let name = yaml.name.clone();
        machine(&mut world, &vms, yaml).with_context(|| format!("machine `{name}`"))?;
    }
    world.access.users =
        fixture.users.into_iter().map(|(name, user)| (canonical(&name), user)).collect();
    world.access.groups = fixture.groups.iter().map(|name| canonical(name)).collect();
    for (name, privileges) in fixture.roles {
        world.access.add_role(&name, privileges);
    }
    for yaml in fixture.permissions {
        let role = world.access.role_id(&yaml.role).context("no such role")?;
        let on = match &yaml.on {
            Some(name) => world.find("ManagedEntity", name).context("no such object")?.to_owned(),
            None => root.clone(),
        };
        let grant = Grant {
            principal: canonical(&yaml.principal),
            group: yaml.group,
            role,
            propagate: yaml.propagate,
        };
        if let Some(entity) = world.entities.get_mut(&on) {
            entity.grants.push(grant);
        }
    }
    for (name, (kind, inside)) in &fixture.specs {
        let kept = world.keep_spec(name, kind, inside, LONG_AGO_MS);
        kept.map_err(|why| anyhow::anyhow!("the specification `{name}`: {why}"))?;
    }
    Ok(world)
}

fn folder(name: &str, parent: Option<&str>, holds: &[&str]) -> Entity {
    Entity::new(name, parent, Kind::Folder(holds.iter().map(|it| (*it).to_owned()).collect()))
}

fn cluster(world: &mut World, folder: &str, name: &str, yaml: ClusterYaml) {
    let kind = Kind::Cluster { drs: yaml.drs, pool: String::new() };
    let cluster = world.add("domain", Entity::new(name, Some(folder), kind));
    let of = |world: &World, wanted: &str| -> BTreeSet<String> {
        let schema = super::schema::schema();
        let kinds = world.entities.iter();
        kinds
            .filter(|(_, entity)| schema.object_is(entity.type_name(), wanted))
            .map(|(id, _)| id.clone())
            .collect()
    };
    let (datastores, networks) = (of(world, "Datastore"), of(world, "Network"));
    let (mut mhz, mut memory) = (0, 0);
    for (name, yaml) in yaml.hosts {
        mhz += i64::from(yaml.cores) * 2400;
        memory += i64::try_from(yaml.memory_gib).unwrap_or(0) * 1024;
        let host = Host {
            cores: yaml.cores,
            mhz: 2400,
            memory_mb: yaml.memory_gib * 1024,
            connection: "connected".to_owned(),
            maintenance: false,
            datastores: datastores.clone(),
            networks: networks.clone(),
        };
        world.add("host", Entity::new(&name, Some(&cluster), Kind::Host(host)));
    }
    let root =
        |reservation| Allocation { reservation, limit: reservation, ..Allocation::default() };
    let pool = Pool { owner: cluster.clone(), cpu: root(mhz), memory: root(memory) };
    let pool = world.add("resgroup", Entity::new("Resources", Some(&cluster), Kind::Pool(pool)));
    for name in &yaml.pools {
        let kind = Kind::Pool(Pool { owner: cluster.clone(), ..Pool::default() });
        world.add("resgroup", Entity::new(name, Some(&pool), kind));
    }
    if let Some(Entity { kind: Kind::Cluster { pool: root, .. }, .. }) =
        world.entities.get_mut(&cluster)
    {
        *root = pool;
    }
}

fn machine(world: &mut World, folder: &str, yaml: VmYaml) -> anyhow::Result<()> {
    let parent = match &yaml.folder {
        Some(name) => world.find("Folder", name).context("no such folder")?.to_owned(),
        None => folder.to_owned(),
    };
    let host = world.find("HostSystem", &yaml.host).context("no such host")?.to_owned();
    let cluster = world.entities.get(&host).and_then(|it| it.parent.clone()).unwrap_or_default();
    let root = match world.entities.get(&cluster).map(|it| &it.kind) {
        Some(Kind::Cluster { pool, .. }) => pool.clone(),
        _ => anyhow::bail!("a host without a cluster"),
    };
    let pool = match &yaml.pool {
        Some(name) => world.find("ResourcePool", name).context("no such pool")?.to_owned(),
        None => root,
    };
    let mut config = Config::new(&yaml.guest_id);
    config.firmware = yaml.firmware.unwrap_or_else(|| "bios".to_owned());
    (config.cpus, config.memory_mb) = (yaml.cpus, yaml.memory_mb);
    config.annotation = yaml.annotation;
    config.extra = yaml.extra;
    config.devices.push(Device {
        key: 1000,
        controller: Some(100),
        unit: Some(3),
        label: "SCSI controller 0".to_owned(),
        kind: DeviceKind::Controller {
            ty: "ParaVirtualSCSIController".to_owned(),
            bus: 0,
            shared: Some("noSharing".to_owned()),
        },
    });
    let seed = format!("{} {}", parent, yaml.name);
    let mut home = String::new();
    let mut files = Vec::new();
    for (number, disk) in (0_i64..).zip(&yaml.disks) {
        let datastore =
            world.find("Datastore", &disk.datastore).context("no such datastore")?.to_owned();
        let suffix = if number == 0 { String::new() } else { format!("_{number}") };
        let file = format!("[{}] {1}/{1}{suffix}.vmdk", disk.datastore, yaml.name);
        if number == 0 {
            home.clone_from(&disk.datastore);
        }
        let bytes = disk.gib * GIB;
        let used = if disk.thin { bytes / 4 } else { bytes };
        files.push((file.clone(), datastore, bytes, used));
        config.devices.push(Device {
            key: 2000 + number,
            controller: Some(1000),
            unit: Some(number),
            label: format!("Hard disk {}", number + 1),
            kind: DeviceKind::Disk(Disk {
                bytes,
                file,
                mode: "persistent".to_owned(),
                thin: disk.thin,
                uuid: uuid_of(&format!("disk {seed} {number}")),
            }),
        });
    }
    for (number, name) in (0_i64..).zip(&yaml.networks) {
        let network = world.find("Network", name).context("no such network")?.to_owned();
        let mac = world.new_mac();
        config.devices.push(Device {
            key: 4000 + number,
            controller: Some(100),
            unit: Some(7 + number),
            label: format!("Network adapter {}", number + 1),
            kind: DeviceKind::Nic(Nic {
                ty: "VirtualVmxnet3".to_owned(),
                network,
                mac,
                address_type: "assigned".to_owned(),
                start_connected: true,
            }),
        });
    }
    let change = world.new_change(LONG_AGO_MS);
    let vm = Vm {
        pool: if yaml.template { None } else { Some(pool) },
        host,
        template: yaml.template,
        uuid: uuid_of(&format!("bios {seed}")),
        instance_uuid: uuid_of(&format!("instance {seed}")),
        change,
        modified_ms: LONG_AGO_MS,
        created_ms: LONG_AGO_MS,
        path: format!("[{home}] {0}/{0}.vmx", yaml.name),
        config,
        snapshots: Vec::new(),
        current_snapshot: None,
        power: if yaml.running { "poweredOn" } else { "poweredOff" }.to_owned(),
        connection: "connected".to_owned(),
        question: None,
        started_ms: LONG_AGO_MS,
        forming: None,
        boots: Vec::new(),
        setup: Setup::default(),
        behaviour: yaml.behaviour,
    };
    let id = world.add("vm", Entity::new(&yaml.name, Some(&parent), Kind::Vm(Box::new(vm))));
    for (file, datastore, bytes, used) in files {
        world
            .volumes
            .insert(file, Volume { datastore, bytes, used, parent: None, owner: id.clone() });
    }
    for name in &yaml.snapshots {
        super::snapshot::take(world, &id, name, "", LONG_AGO_MS);
    }
    Ok(())
}

/// A snapshot of a machine as it is.
pub(crate) fn snapshot_of(
    vm: &Vm,
    id: String,
    name: &str,
    description: &str,
    now_ms: u64,
) -> Snapshot {
    Snapshot {
        id,
        number: i64::try_from(vm.snapshots.len()).unwrap_or(0) + 1,
        name: name.to_owned(),
        description: description.to_owned(),
        created_ms: now_ms,
        parent: vm.current_snapshot.clone(),
        config: vm.config.clone(),
        power: "poweredOff".to_owned(),
    }
}

//! The pure part of the road, in memory: YAML, planning, judging, rendering, documents.
//!
//! Worlds are made from `config::testing::synthetic`: the observed side is the desired
//! side with markers, ids and slots, so that a plan over it is empty, and says so. Each
//! row checks what it measured; a row that plans something else panics.

#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up has nothing to measure")]

use divan::{Bencher, black_box, counter::BytesCount};
use novahost::{
    config::{load_str, testing::synthetic},
    model::{
        Bytes, Consent, Coverage, DesiredMachine, DesiredState, Device, DeviceKind, DeviceMap,
        DiskSpec, FailureKind, GuestKind, History, HypervisorConfig, HypervisorInventory,
        HypervisorName, Inventory, IpSetting, Listed, MacAddress, MachineSpec, MapEntry, Marker,
        MarkerState, NativeId, ObservedMachine, ObservedNode, ObservedPool, ObservedStorage,
        PowerState, Product, ResourceKey, Stage,
    },
    ownership::{bulk_tag, intent_id, machine_uuid},
    provider::proxmox::Proxmox,
    reconcile::{Known, Reconciled, reconcile},
    report,
};
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Mutex, OnceLock},
};

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
const NODES: [&str; 4] = ["pve1", "pve2", "pve3", "pve4"];

static PROXMOX: Proxmox = Proxmox;

fn main() {
    divan::main();
}

/// What is asked for, and the same thing as observed.
struct World {
    desired: DesiredState,
    same: Inventory,
    /// 5 % of the machines differ, in turn by memory, tags or notes.
    changed: Inventory,
    /// The cluster with nothing but a template.
    empty: Inventory,
    products: BTreeMap<HypervisorName, &'static dyn Product>,
}

/// One world per size, for all rows.
fn world(machines: usize) -> &'static World {
    static WORLDS: OnceLock<Mutex<BTreeMap<usize, &'static World>>> = OnceLock::new();
    let worlds = WORLDS.get_or_init(Mutex::default);
    let mut worlds = worlds.lock().unwrap();
    worlds.entry(machines).or_insert_with(|| Box::leak(Box::new(World::new(machines))))
}

fn files(machines: usize) -> BTreeMap<String, String> {
    BTreeMap::from([("novahost.yaml".to_owned(), synthetic(machines))])
}

/// More machines than one configuration may hold are copies of its machines.
const LOADED_MAX: usize = 10_000;

fn desired(machines: usize) -> DesiredState {
    let loaded = load_str(&files(machines.min(LOADED_MAX)), "novahost.yaml");
    let mut desired = loaded.desired.unwrap();
    let name = |number: usize| format!("vm-{number:06}");
    let first: Vec<DesiredMachine> = desired.machines.values().cloned().collect();
    for number in LOADED_MAX..machines {
        let mut copy = first[number % LOADED_MAX].clone();
        copy.key = ResourceKey::vm(name(number));
        copy.spec.name = Some(name(number));
        copy.spec.init.as_mut().unwrap().hostname = Some(name(number));
        copy.after = vec![ResourceKey::vm(name(number - 10))];
        let low = u32::try_from(number).unwrap();
        for nic in copy.spec.nics.values_mut() {
            let address = Ipv4Addr::from_bits(0x0a00_0064 + low).into();
            nic.ip = Some(IpSetting::Static { address, prefix: 8 });
        }
        desired.machines.insert(copy.key.clone(), copy);
    }
    desired
}

impl World {
    fn new(machines: usize) -> Self {
        let mut desired = desired(machines);
        for config in desired.hypervisors.values_mut() {
            let HypervisorConfig::Proxmox(config) = config else { unreachable!() };
            config.vmid_range = (1_000_000, 9_999_999);
        }
        let empty = cluster();
        let mut same = cluster();
        let seen = same.hypervisors.values_mut().next().unwrap();
        let mut pool = ObservedPool {
            comment: "All of them".to_owned(),
            marker: pool_marker(&desired),
            ..ObservedPool::default()
        };
        for (number, machine) in desired.machines.values().enumerate() {
            let one = observed(&desired, machine, number);
            pool.members.insert(one.id.clone());
            seen.listed.insert(one.id.clone(), listed(&desired, &one));
            seen.machines.insert(one.id.clone(), one);
        }
        seen.pools.insert("all".into(), pool);
        let mut changed = same.clone();
        let seen = changed.hypervisors.values_mut().next().unwrap();
        let some = seen.machines.values_mut().filter(|it| !it.template).step_by(20);
        for (number, machine) in some.enumerate() {
            match number % 3 {
                0 => machine.spec.memory = Some(Bytes::mib(512)),
                1 => machine.spec.tags = Some(["old".to_owned()].into()),
                _ => machine.spec.notes = Some("old".to_owned()),
            }
        }
        let products = desired.hypervisors.keys().map(|name| (name.clone(), &PROXMOX as _));
        let products = products.collect();
        Self { desired, same, changed, empty, products }
    }

    fn plan(&self, inventory: &Inventory) -> Reconciled {
        let history = History::default();
        let known = Known {
            desired: &self.desired,
            inventory,
            history: &history,
            products: &self.products,
            marker_key: None,
        };
        reconcile(known, &[], &Consent { yes: true, ..Consent::default() }).unwrap()
    }

    /// From two sides to a screen.
    fn walk(&self, inventory: &Inventory) -> (Reconciled, String) {
        let made = self.plan(inventory);
        let options = report::Options::default();
        let style = report::Style { color: true, unicode: true, width: 120 };
        let text = report::plan_text(&made.plan, &made.plan.envelope, &options, &style);
        (made, text)
    }
}

/// Four large hosts, three storages and a template.
fn cluster() -> Inventory {
    let mut seen = HypervisorInventory::failed("", FailureKind::Unreachable);
    seen.coverage = Coverage::Complete;
    seen.version = "Proxmox VE 9.2".to_owned();
    for name in NODES {
        let networks = Some(["vmbr0".to_owned()].into());
        let node = ObservedNode {
            spreads: false,
            online: true,
            cpus: 1 << 20,
            memory: Bytes::gib(1 << 22),
            networks,
        };
        seen.nodes.insert(name.into(), node);
        for storage in ["fast", "local-lvm", "local-zfs"] {
            seen.storages.push(ObservedStorage {
                name: storage.into(),
                node: name.into(),
                shared: storage == "fast",
                holds_disks: true,
                active: true,
                total: Bytes::gib(1 << 26),
                used: Bytes::gib(1),
                promised: None,
            });
        }
    }
    seen.storages.sort();
    let template = template();
    seen.listed.insert(
        template.id.clone(),
        Listed {
            node: template.node.clone(),
            name: template.spec.name.clone(),
            guest: GuestKind::Vm,
            template: true,
            pool: None,
            name_key: None,
            marked: None,
            tags: Default::default(),
            lock: None,
            memory: None,
            cpu: None,
            power: PowerState::Stopped,
        },
    );
    seen.machines.insert(template.id.clone(), template);
    Inventory { hypervisors: [("pve".into(), seen)].into() }
}

fn disk(slot: &str, volume: String, spec: &DiskSpec) -> Device {
    Device {
        slot: slot.into(),
        kind: DeviceKind::Disk,
        volume: Some(volume),
        storage: spec.storage.clone(),
        size: spec.size,
        linked: false,
        mac: None,
        network: None,
        vlan: None,
    }
}

fn template() -> ObservedMachine {
    let boot =
        DiskSpec { storage: Some("fast".into()), size: Some(Bytes::gib(8)), ..DiskSpec::default() };
    ObservedMachine {
        id: "9000".into(),
        node: Some("pve1".into()),
        uuid: None,
        template: true,
        snapshots: Vec::new(),
        hot: [].into(),
        power: PowerState::Stopped,
        lock: None,
        marker: MarkerState::None,
        bulk_mark: false,
        spec: MachineSpec { name: Some("tpl-debian-13".to_owned()), ..MachineSpec::default() },
        next: None,
        devices: vec![disk("scsi0", "fast:base-9000-disk-0".to_owned(), &boot)],
        known_labels: [].into(),
        setup_waits: false,
        addresses: Vec::new(),
    }
}

fn pool_marker(desired: &DesiredState) -> MarkerState {
    let key = desired.pools.keys().next().unwrap().clone();
    let intent = intent_id("bench", &key);
    MarkerState::Found(Box::new(marker(desired, key, None, intent)))
}

fn marker(
    desired: &DesiredState,
    key: ResourceKey,
    id: Option<NativeId>,
    intent: uuid::Uuid,
) -> Marker {
    Marker {
        uuid: id.is_some().then(|| machine_uuid(&desired.project, &key, intent)),
        project: desired.project.clone(),
        key,
        id,
        stage: Stage::Ready,
        intent,
        init: None,
        protect: false,
        mac: None,
        map: DeviceMap::default(),
    }
}

/// A desired machine as it is reported back once it stands.
fn observed(desired: &DesiredState, machine: &DesiredMachine, number: usize) -> ObservedMachine {
    let mut spec = PROXMOX.normalize(machine).unwrap();
    let id = NativeId::from((1_000_000 + number).to_string());
    let intent = intent_id("bench", &machine.key);
    let mut mark = marker(desired, machine.key.clone(), Some(id.clone()), intent);
    mark.init = spec.init.as_ref().and_then(|it| it.digest.clone());
    let entry = |slot: &str| MapEntry { slot: slot.into(), confirmed: true };
    let mut devices = Vec::new();
    for (at, (name, it)) in spec.disks.iter().enumerate() {
        let slot = format!("scsi{at}");
        let volume = format!("{}:vm-{id}-disk-{at}", it.storage.as_ref().unwrap());
        devices.push(disk(&slot, volume, it));
        mark.map.disks.insert(name.clone(), entry(&slot));
    }
    let mut addresses = Vec::new();
    for (at, (name, nic)) in spec.nics.iter_mut().enumerate() {
        let slot = format!("net{at}");
        let tail = u32::try_from(number).unwrap().to_be_bytes();
        nic.mac = Some(MacAddress([0xbc, 0x24, tail[0], tail[1], tail[2], tail[3]]));
        if let Some(IpSetting::Static { address, .. }) = nic.ip {
            addresses.push(address);
        }
        devices.push(Device {
            slot: slot.as_str().into(),
            kind: DeviceKind::Nic,
            volume: None,
            storage: None,
            size: None,
            linked: false,
            mac: nic.mac,
            network: None,
            vlan: None,
        });
        mark.map.nics.insert(name.clone(), entry(&slot));
    }
    ObservedMachine {
        id,
        node: Some(NODES[number % NODES.len()].into()),
        uuid: mark.uuid,
        template: false,
        snapshots: Vec::new(),
        hot: [].into(),
        power: PowerState::Running,
        lock: None,
        marker: MarkerState::Found(Box::new(mark)),
        bulk_mark: true,
        spec,
        next: None,
        devices,
        known_labels: [].into(),
        setup_waits: false,
        addresses,
    }
}

fn listed(desired: &DesiredState, machine: &ObservedMachine) -> Listed {
    let mut tags = machine.spec.tags.clone().unwrap_or_default();
    tags.insert(bulk_tag(&desired.project));
    Listed {
        node: machine.node.clone(),
        name: machine.spec.name.clone(),
        guest: GuestKind::Vm,
        template: false,
        pool: machine.spec.pool.clone(),
        name_key: None,
        marked: Some(desired.project.clone()),
        tags,
        lock: None,
        memory: machine.spec.memory,
        cpu: machine.spec.cpu,
        power: machine.power,
    }
}

/// Fewer samples of what takes long; the first of each is thrown away by none, so the
/// median is what counts.
const SAMPLES: u32 = 15;

#[divan::bench(args = SIZES, sample_count = SAMPLES, sample_size = 1)]
fn a_no_change(bencher: Bencher<'_, '_>, machines: usize) {
    let world = world(machines);
    let (made, _) = world.walk(&world.same);
    assert!(made.plan.body.actions.is_empty(), "{:?}", made.plan.body.actions.first());
    assert!(made.plan.body.blocked.is_empty(), "{:?}", made.plan.body.blocked.first());
    bencher.bench(|| world.walk(black_box(&world.same)));
}

#[divan::bench(args = SIZES, sample_count = SAMPLES, sample_size = 1)]
fn b_changed_5_percent(bencher: Bencher<'_, '_>, machines: usize) {
    let world = world(machines);
    let (made, _) = world.walk(&world.changed);
    assert_eq!(made.plan.body.actions.len(), machines / 20);
    assert!(made.plan.body.blocked.is_empty(), "{:?}", made.plan.body.blocked.first());
    bencher.bench(|| world.walk(black_box(&world.changed)));
}

#[divan::bench(args = SIZES, sample_count = SAMPLES, sample_size = 1)]
fn c_all_new(bencher: Bencher<'_, '_>, machines: usize) {
    let world = world(machines);
    let (made, _) = world.walk(&world.empty);
    assert!(made.plan.body.blocked.is_empty(), "{:?}", made.plan.body.blocked.first());
    assert_eq!(made.plan.body.actions.len(), machines + 1, "and the pool");
    bencher.bench(|| world.walk(black_box(&world.empty)));
}

#[divan::bench(args = [1_000, 10_000], sample_count = SAMPLES, sample_size = 1)]
fn d_validate(bencher: Bencher<'_, '_>, machines: usize) {
    let files = files(machines);
    let bytes: usize = files.values().map(String::len).sum();
    bencher.counter(BytesCount::new(bytes)).bench(|| {
        let loaded = load_str(black_box(&files), "novahost.yaml");
        assert!(loaded.desired.is_some());
        loaded
    });
}

#[divan::bench(args = [1_000, 10_000], sample_count = SAMPLES, sample_size = 1)]
fn e_write_document_all_new(bencher: Bencher<'_, '_>, machines: usize) {
    let made = world(machines).plan(&world(machines).empty);
    let bytes = report::plan_json(&made.plan).len();
    bencher.counter(BytesCount::new(bytes)).bench(|| report::plan_json(black_box(&made.plan)));
}

#[divan::bench(args = [1_000, 10_000], sample_count = SAMPLES, sample_size = 1)]
fn f_parse_document_all_new(bencher: Bencher<'_, '_>, machines: usize) {
    let text = report::plan_json(&world(machines).plan(&world(machines).empty).plan);
    bencher
        .counter(BytesCount::new(text.len()))
        .bench(|| report::parse_plan(black_box(&text)).unwrap());
}

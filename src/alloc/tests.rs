use super::*;
use crate::model::{
    BirthSource, Bus, Change, Coverage, Device, DeviceKind, DiskSpec, Disruption, FailureKind,
    FieldDelta, GuestKind, GuestOs, Listed, Lowered, MacRange, MarkerState, Medium, NetworkBinding,
    NicSpec, ObservedNode, ObservedStorage, Place, Power, PowerState, ProxmoxAuth, ProxmoxConfig,
    ResourceKey, SecretRef, SecretSource, Unsupported,
};

fn place() -> Place {
    Place { file: "novahost.yaml".into(), line: 1, column: 1 }
}

fn config() -> ProxmoxConfig {
    let secret = SecretRef { source: SecretSource::Env("T".into()), version: 1 };
    ProxmoxConfig {
        endpoints: vec!["https://127.0.0.1:8006".into()],
        auth: ProxmoxAuth::Token { id: "a@pve!b".into(), secret },
        ca_file: None,
        fingerprints: Vec::new(),
        vmid_range: (200, 299),
        nodes_allow: None,
        nodes_maintenance: BTreeSet::new(),
        default_node: None,
        default_storage: Some("fast".into()),
        reads_max: 4,
        writes_max: 4,
        place: place(),
    }
}

fn storage(name: &str, node: &str, shared: bool, free_gib: u64) -> ObservedStorage {
    ObservedStorage {
        name: name.into(),
        node: node.into(),
        shared,
        holds_disks: true,
        active: true,
        total: Bytes::gib(free_gib * 10),
        used: Bytes::gib(free_gib * 8),
        promised: None,
    }
}

fn inventory() -> Inventory {
    let mut seen = HypervisorInventory::failed("", FailureKind::Unreachable);
    seen.coverage = Coverage::Complete;
    for (name, memory) in [("pve1", 64), ("pve2", 128)] {
        seen.nodes.insert(
            name.into(),
            ObservedNode {
                spreads: false,
                online: true,
                cpus: 16,
                memory: Bytes::gib(memory),
                networks: Some(["vmbr0".to_owned()].into()),
            },
        );
        seen.storages.push(storage("fast", name, true, 100));
        seen.storages.push(storage("local", name, false, 100));
    }
    Inventory { hypervisors: [("pve".into(), seen)].into() }
}

fn template(storage: &str) -> ObservedMachine {
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
        spec: MachineSpec::default(),
        next: None,
        devices: vec![Device {
            slot: "scsi0".into(),
            kind: DeviceKind::Disk,
            volume: Some(format!("{storage}:base-9000-disk-0")),
            storage: Some(storage.into()),
            size: Some(Bytes::gib(8)),
            linked: false,
            mac: None,
            network: None,
            vlan: None,
        }],
        known_labels: [].into(),
        setup_waits: false,
        addresses: Vec::new(),
    }
}

fn machine(name: &str) -> DesiredMachine {
    let nic = NicSpec {
        network: Some(NetworkBinding { name: None, native: "vmbr0".into() }),
        ..NicSpec::default()
    };
    DesiredMachine {
        key: ResourceKey::vm(name),
        hypervisor: "pve".into(),
        spec: MachineSpec {
            name: Some(name.into()),
            cpu: Some(2),
            memory: Some(Bytes::gib(4)),
            disks: [("boot".into(), DiskSpec::default())].into(),
            nics: [("eth0".into(), nic)].into(),
            ..MachineSpec::default()
        },
        power: Power::Once,
        birth: Some(BirthSource {
            image: "debian".into(),
            medium: Medium::Template {
                id: Some("9000".into()),
                name: None,
                linked: false,
                snapshot: None,
            },
            firmware: None,
            takes_init: true,
            agent: true,
            os: GuestOs::Linux,
        }),
        after: Vec::new(),
        pinned_node: None,
        spread: None,
        wanted_id: None,
        adopt: None,
        was: None,
        service_plan: None,
        snapshots: None,
        place: place(),
        places: Vec::new(),
    }
}

fn capabilities() -> Capabilities {
    Capabilities {
        product: "Test",
        changes: BTreeMap::new(),
        unreadable: Vec::new(),
        chooses_ids: true,
        chooses_uuid: true,
        macs: MacRange { prefix: [0xBC, 0x24, 0x11], bits: 24 },
        default_bus: Bus::Scsi,
        detaches_disks: true,
        linked_needs_snapshot: false,
        snapshots: crate::model::SnapshotRules { disks_grow: true, volumes_go: true, levels: None },
        words: crate::model::Words {
            id_setting: Some("test.id"),
            id_range: "test_ids",
            marker_home: "notes",
            uuid_home: "in its settings",
        },
    }
}

/// A product whose names collide without regard to case.
struct Folding(Capabilities);

impl Product for Folding {
    fn capabilities(&self) -> &Capabilities {
        &self.0
    }

    fn normalize(&self, machine: &DesiredMachine) -> Result<MachineSpec, Vec<Unsupported>> {
        Ok(machine.spec.clone())
    }

    fn cost(
        &self,
        change: &FieldDelta<'_>,
        _: &ObservedMachine,
        running: bool,
    ) -> Option<Disruption> {
        self.0.cost(change.field.kind, running)
    }

    fn name_key(&self, name: &str) -> String {
        name.to_lowercase()
    }

    fn lower(&self, _: &Change<'_>) -> Result<Lowered, Vec<Unsupported>> {
        Err(Vec::new())
    }
}

fn allot_in(
    inventory: &Inventory,
    config: ProxmoxConfig,
    machines: &[DesiredMachine],
    template: &ObservedMachine,
) -> Vec<Result<Allotment, NoPlace>> {
    let hypervisors = [("pve".into(), HypervisorConfig::Proxmox(config))].into();
    let policy = Policy::default();
    let mut allocator = Allocator::new(inventory, &hypervisors, &policy);
    let (disks, nics) = (["boot".into()].into(), ["eth0".into()].into());
    let mut allot = |machine: &DesiredMachine| {
        let request = Request {
            machine,
            spec: &machine.spec,
            template: Some(template),
            seen: None,
            new_disks: &disks,
            new_nics: &nics,
        };
        allocator.allot(&request, &Folding(capabilities()))
    };
    machines.iter().map(&mut allot).collect()
}

fn allot(machine: DesiredMachine, template: &ObservedMachine) -> Result<Allotment, NoPlace> {
    allot_in(&inventory(), config(), &[machine], template).remove(0)
}

#[test]
fn a_name_is_claimed_by_what_it_collides_by() {
    let mut named = machine("web");
    named.spec.name = Some("Web-1".into());
    let found = allot(named, &template("fast")).unwrap();
    assert!(found.claims.contains(&Claim::Name("web-1".into())), "{:?}", found.claims);
}

#[test]
fn the_emptier_host_wins_and_the_reason_is_told() {
    let found = allot(machine("web"), &template("fast")).unwrap();
    assert_eq!(found.allotted.node, Some("pve2".into()));
    let node = found.choices.iter().find(|it| it.what == "node").unwrap();
    assert!(node.why.starts_with("most memory left"), "{}", node.why);
}

#[test]
fn a_template_on_local_storage_is_cloned_where_it_lies() {
    let found = allot(machine("web"), &template("local")).unwrap();
    assert_eq!(found.allotted.node, Some("pve1".into()));
    assert_eq!(found.allotted.storages[&DeviceName::from("boot")], "local".into());
}

#[test]
fn a_pinned_host_that_cannot_take_it_is_a_refusal_with_its_reason() {
    let pinned = DesiredMachine { pinned_node: Some("pve2".into()), ..machine("web") };
    let why = allot(pinned, &template("local")).unwrap_err();
    assert_eq!(why.code, Code::NoFeasibleNode);
    assert!(why.message.contains("the template's disk lies on `local`"), "{}", why.message);
}

#[test]
fn hosts_in_maintenance_offline_or_not_allowed_are_left_out() {
    let mut config = config();
    config.nodes_maintenance = ["pve2".into()].into();
    let found = allot_in(&inventory(), config, &[machine("web")], &template("fast")).remove(0);
    assert_eq!(found.unwrap().allotted.node, Some("pve1".into()));
}

#[test]
fn memory_headroom_is_kept_over_all_births_of_a_plan() {
    let mut world = inventory();
    let seen = world.hypervisors.get_mut("pve").unwrap();
    seen.nodes.remove("pve2");
    seen.listed.insert(
        "100".into(),
        Listed {
            node: Some("pve1".into()),
            name: None,
            guest: GuestKind::Vm,
            template: false,
            pool: None,
            name_key: None,
            marked: None,
            tags: BTreeSet::new(),
            lock: None,
            memory: Some(Bytes::gib(50)),
            cpu: Some(1),
            power: PowerState::Running,
        },
    );
    // 64 GiB less 10 % are 57.6: one machine of 4 GiB fits beside 50, a second does not.
    let two = [machine("a"), machine("b")];
    let found = allot_in(&world, config(), &two, &template("fast"));
    assert!(found[0].is_ok());
    assert_eq!(found[1].as_ref().unwrap_err().code, Code::NoFeasibleNode);
}

#[test]
fn ids_are_probed_past_all_that_is_seen_or_given_out() {
    let mut world = inventory();
    let first = allot(machine("web"), &template("fast")).unwrap().allotted.id.unwrap();
    let seen = world.hypervisors.get_mut("pve").unwrap();
    seen.unreadable.insert(first.clone(), "locked".into());
    let many: Vec<DesiredMachine> = (0..99).map(|n| machine(&format!("web-{n}"))).collect();
    let found = allot_in(&world, config(), &many, &template("fast"));
    let placed = || found.iter().flatten();
    let ids: BTreeSet<_> = placed().filter_map(|it| it.allotted.id.clone()).collect();
    let macs: BTreeSet<_> = placed().flat_map(|it| it.allotted.macs.values().copied()).collect();
    assert!(ids.len() > 10, "{:?}", found.iter().find_map(|it| it.as_ref().err()));
    assert_eq!(ids.len(), placed().count());
    assert_eq!(macs.len(), placed().count());
    assert!(!ids.contains(&first));
}

#[test]
fn a_full_range_is_an_error() {
    let mut config = config();
    config.vmid_range = (200, 200);
    let two = [machine("a"), machine("b")];
    let found = allot_in(&inventory(), config, &two, &template("fast"));
    assert!(found[0].is_ok());
    assert_eq!(found[1].as_ref().unwrap_err().code, Code::NoFreeId);
}

#[test]
fn a_storage_that_is_too_full_is_named() {
    let mut big = machine("web");
    let boot = big.spec.disks.get_mut("boot").unwrap();
    boot.size = Some(Bytes::gib(500));
    let why = allot(big, &template("fast")).unwrap_err();
    assert!(why.message.contains("storage `fast`: 500 GiB do not fit"), "{}", why.message);
}

#[test]
fn a_missing_bridge_is_named() {
    let mut lost = machine("web");
    let nic = lost.spec.nics.get_mut("eth0").unwrap();
    nic.network = Some(NetworkBinding { name: None, native: "vmbr9".into() });
    let why = allot(lost, &template("fast")).unwrap_err();
    assert!(why.message.contains("no network `vmbr9`"), "{}", why.message);
}

#[test]
fn an_address_stays_within_the_range_that_the_product_takes() {
    let vmware = MacRange { prefix: [0x00, 0x50, 0x56], bits: 22 };
    assert_eq!(vmware.at(u64::MAX).to_string(), "00:50:56:3F:FF:FF");
    assert_eq!(vmware.at(0xC0_0000).to_string(), "00:50:56:00:00:00");
    let whole = MacRange { prefix: [0xBC, 0x24, 0x11], bits: 24 };
    assert_eq!(whole.at(0x1234_5678).to_string(), "BC:24:11:34:56:78");
    // More bits than there is room for change nothing before them.
    assert_eq!(MacRange { bits: 99, ..whole }.at(u64::MAX).to_string(), "BC:24:11:FF:FF:FF");
}

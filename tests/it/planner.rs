//! Properties of planning and guarding, over thousands of worlds that nobody thought of.
//!
//! A world holds our machines in every stage, copies, forgeries, restores, machines of
//! other projects and of nobody, and guests that cannot be read; its inventory is
//! complete, scoped, partial or failed; the journal remembers some of it, rightly or not.
#![allow(clippy::unwrap_used, reason = "helpers of tests are test code too")]

use novahost::{
    config,
    model::{
        Action, Allowance, Consent, Coverage, DesiredState, Device, DeviceKind, DeviceMap,
        FailureKind, GuestKind, History, HypervisorInventory, HypervisorName, Inventory, Listed,
        MapEntry, Marker, MarkerState, NativeId, ObservedMachine, ObservedNode, ObservedPool,
        ObservedStorage, OpenBirth, PowerState, Product, Remembered, ResourceKey, Stage, Verb,
    },
    ownership::{self, Binding},
    provider::proxmox::Proxmox,
    reconcile::{self, Known, Reconciled},
    report,
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};
use uuid::Uuid;

/// Keys that worlds and configurations are about: `m0` to `m5`.
const KEYS: u8 = 6;
static PROXMOX: Proxmox = Proxmox;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mark {
    Ready,
    New,
    Deleting,
    WrongUuid,
    WrongId,
    OtherProject,
    Garbled,
    None,
    Unreadable,
}

#[derive(Clone, Debug)]
struct Guest {
    key: u8,
    mark: Mark,
    /// Bears the native name of this key, whatever its marker says.
    name: u8,
    memory_gib: u64,
    pending: bool,
    firmware: bool,
    runs: bool,
    protect: bool,
    bulk_mark: bool,
    /// The address of this key.
    address: u8,
    in_pool: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    memory_gib: u64,
    uefi: bool,
    running: bool,
    pinned: bool,
    pooled: bool,
    after: Option<u8>,
    address: u8,
}

#[derive(Clone, Debug)]
struct Setup {
    guests: Vec<Guest>,
    entries: BTreeMap<u8, Entry>,
    coverage: u8,
    remembered: BTreeSet<(u8, u8)>,
    open: BTreeSet<(u8, u8)>,
    pool_wanted: bool,
    pool_seen: u8,
}

fn guest() -> impl Strategy<Value = Guest> {
    let mark = prop_oneof![
        6 => Just(Mark::Ready),
        1 => Just(Mark::New),
        1 => Just(Mark::Deleting),
        1 => Just(Mark::WrongUuid),
        1 => Just(Mark::WrongId),
        1 => Just(Mark::OtherProject),
        1 => Just(Mark::Garbled),
        1 => Just(Mark::None),
        1 => Just(Mark::Unreadable),
    ];
    (
        (0..KEYS, mark, 0..KEYS, 1..3_u64, 0..KEYS),
        proptest::bool::weighted(0.2),
        proptest::bool::weighted(0.2),
        any::<bool>(),
        proptest::bool::weighted(0.1),
        any::<bool>(),
        any::<bool>(),
        proptest::bool::weighted(0.7),
    )
        .prop_map(|(head, pending, firmware, runs, protect, bulk_mark, in_pool, plain)| {
            let (key, mark, name, memory_gib, address) = head;
            Guest {
                key,
                mark,
                name: if plain { key } else { name },
                memory_gib,
                pending,
                firmware,
                runs,
                protect,
                bulk_mark,
                address: if plain { key } else { address },
                in_pool,
            }
        })
}

fn entry() -> impl Strategy<Value = Entry> {
    (
        1..3_u64,
        proptest::bool::weighted(0.2),
        any::<bool>(),
        proptest::bool::weighted(0.2),
        any::<bool>(),
        proptest::option::weighted(0.3, 0..KEYS),
        proptest::bool::weighted(0.8),
    )
        .prop_map(|(memory_gib, uefi, running, pinned, pooled, after, own)| Entry {
            memory_gib,
            uefi,
            running,
            pinned,
            pooled,
            after,
            address: u8::from(!own),
        })
}

fn setup() -> impl Strategy<Value = Setup> {
    let pairs = || proptest::collection::btree_set((0..KEYS, 0..8_u8), 0..4);
    (
        proptest::collection::vec(guest(), 0..8),
        proptest::collection::btree_map(0..KEYS, entry(), 0..KEYS as usize),
        prop_oneof![5 => Just(0_u8), 1 => Just(1), 1 => Just(2), 1 => Just(3)],
        pairs(),
        pairs(),
        any::<bool>(),
        0..3_u8,
    )
        .prop_map(|(guests, entries, coverage, remembered, open, pool_wanted, pool_seen)| {
            Setup { guests, entries, coverage, remembered, open, pool_wanted, pool_seen }
        })
}

fn yaml(setup: &Setup) -> String {
    let mut text = String::from(
        "version: 1\nproject: acme\nhypervisors:\n  pve: { type: proxmox, endpoint: \"https://127.0.0.1:8006\", auth: { token_id: a@pve!b, token_secret: env:T }, vmid_range: 200-299, defaults: { storage: fast } }\nnetworks:\n  web: { cidr: 10.0.0.0/24, at: { pve: { bridge: vmbr0 } } }\nimages:\n  debian: { os: linux, init: cloud-init, at: { pve: { template: { id: 9000, name: tpl } } } }\n",
    );
    if setup.pool_wanted {
        text.push_str("pools:\n  team: { comment: Team, at: { pve: {} } }\n");
    }
    if !setup.entries.is_empty() {
        text.push_str("vms:\n");
    }
    for (key, it) in &setup.entries {
        // A second set of addresses, so that some entries want what another one has.
        let address = if it.address == 0 { *key } else { (*key + 1) % KEYS + 50 };
        let power = if it.running { "running" } else { "once" };
        let firmware = if it.uefi { "uefi" } else { "bios" };
        let _ = writeln!(
            text,
            "  m{key}:\n    hypervisor: pve\n    image: debian\n    power: {power}\n    firmware: {firmware}\n    resources: {{ cpu: 1, memory: {}GiB }}\n    nics: {{ eth0: {{ network: web, ip: 10.0.0.{} }} }}",
            it.memory_gib,
            100 + u32::from(address),
        );
        if it.pinned {
            let _ = writeln!(text, "    proxmox: {{ vmid: {} }}", 250 + u32::from(*key));
        }
        if it.pooled && setup.pool_wanted {
            text.push_str("    pool: team\n");
        }
        if let Some(after) =
            it.after.filter(|after| after < key && setup.entries.contains_key(after))
        {
            let _ = writeln!(text, "    after: [m{after}]");
        }
    }
    text
}

fn desired(setup: &Setup) -> DesiredState {
    let text = yaml(setup);
    let loaded =
        config::load_str(&[("novahost.yaml".to_owned(), text.clone())].into(), "novahost.yaml");
    let problems: Vec<String> = loaded.report.iter().map(|it| format!("{it:?}")).collect();
    loaded.desired.unwrap_or_else(|| panic!("{problems:#?}\n{text}"))
}

fn id_of(index: usize) -> NativeId {
    (200 + index).to_string().into()
}

fn device(slot: &str, kind: DeviceKind, index: usize) -> Device {
    let disk = kind != DeviceKind::Nic;
    Device {
        slot: slot.into(),
        kind,
        volume: disk.then(|| format!("fast:vm-{index}-{slot}")),
        storage: disk.then(|| "fast".into()),
        size: disk.then(|| novahost::model::Bytes::gib(8)),
        linked: false,
        mac: (!disk).then(|| format!("BC:24:11:00:00:{:02X}", index % 256).parse().unwrap()),
        network: None,
        vlan: None,
    }
}

/// A guest as the provider would report it.
fn machine(index: usize, it: &Guest) -> ObservedMachine {
    let id = id_of(index);
    let uuid = Uuid::from_u128(index as u128 + 1);
    let entry = |slot: &str| MapEntry { slot: slot.into(), confirmed: true };
    let marker = Marker {
        project: if it.mark == Mark::OtherProject { "other" } else { "acme" }.into(),
        key: ResourceKey::vm(format!("m{}", it.key)),
        uuid: Some(if it.mark == Mark::WrongUuid { Uuid::from_u128(999) } else { uuid }),
        id: Some(if it.mark == Mark::WrongId { "777".into() } else { id.clone() }),
        stage: match it.mark {
            Mark::New => Stage::New,
            Mark::Deleting => Stage::Deleting,
            _ => Stage::Ready,
        },
        intent: Uuid::nil(),
        init: None,
        protect: it.protect,
        mac: None,
        map: DeviceMap {
            disks: [("boot".into(), entry("scsi0"))].into(),
            nics: [("eth0".into(), entry("net0"))].into(),
            ..DeviceMap::default()
        },
    };
    let state = match it.mark {
        Mark::None => MarkerState::None,
        Mark::Garbled => {
            MarkerState::Garbled(format!("novahost/1 project=acme key=vm/m{}", it.key))
        }
        _ => MarkerState::Found(Box::new(marker)),
    };
    let address: std::net::IpAddr =
        format!("10.0.0.{}", 100 + u32::from(it.address)).parse().unwrap();
    let boot = novahost::model::DiskSpec {
        size: Some(novahost::model::Bytes::gib(8)),
        storage: Some("fast".into()),
        bus: Some(novahost::model::Bus::Scsi),
        ..Default::default()
    };
    let nic = novahost::model::NicSpec {
        network: Some(novahost::model::NetworkBinding { name: None, native: "vmbr0".into() }),
        ip: Some(novahost::model::IpSetting::Static { address, prefix: 24 }),
        ..Default::default()
    };
    let spec = novahost::model::MachineSpec {
        name: Some(format!("m{}", it.name)),
        cpu: Some(1),
        memory: Some(novahost::model::Bytes::gib(it.memory_gib)),
        firmware: Some(if it.firmware {
            novahost::model::Firmware::Uefi
        } else {
            novahost::model::Firmware::Bios
        }),
        protect: Some(it.protect),
        pool: it.in_pool.then(|| "team".into()),
        disks: [("boot".into(), boot)].into(),
        nics: [("eth0".into(), nic)].into(),
        ..Default::default()
    };
    let next = it.pending.then(|| {
        let memory = Some(novahost::model::Bytes::gib(2));
        Box::new(novahost::model::MachineSpec { memory, ..spec.clone() })
    });
    ObservedMachine {
        id,
        node: Some("pve1".into()),
        uuid: Some(uuid),
        template: false,
        snapshots: Vec::new(),
        hot: [].into(),
        power: if it.runs { PowerState::Running } else { PowerState::Stopped },
        lock: None,
        marker: state,
        bulk_mark: it.bulk_mark,
        spec,
        next,
        devices: vec![
            device("scsi0", DeviceKind::Disk, index),
            device("net0", DeviceKind::Nic, index),
            device("unused0", DeviceKind::Detached, index),
        ],
        known_labels: [].into(),
        setup_waits: false,
        addresses: vec![address],
    }
}

fn inventory(setup: &Setup) -> Inventory {
    let mut seen = HypervisorInventory::failed("no route", FailureKind::Unreachable);
    seen.coverage = match setup.coverage {
        0 => Coverage::Complete,
        1 => Coverage::Scoped { why: "no rights".into(), help: "get some".into() },
        2 => Coverage::Incomplete { gaps: vec!["node pve2".into()] },
        _ => return Inventory { hypervisors: [("pve".into(), seen)].into() },
    };
    let listed = |name: String, template, runs| Listed {
        node: Some("pve1".into()),
        name: Some(name),
        guest: GuestKind::Vm,
        template,
        pool: None,
        name_key: None,
        marked: None,
        tags: BTreeSet::new(),
        lock: None,
        memory: Some(novahost::model::Bytes::gib(1)),
        cpu: Some(1),
        power: if runs { PowerState::Running } else { PowerState::Stopped },
    };
    for (index, guest) in setup.guests.iter().enumerate() {
        let id = id_of(index);
        seen.listed.insert(id.clone(), listed(format!("m{}", guest.name), false, guest.runs));
        if guest.mark == Mark::Unreadable {
            seen.unreadable.insert(id, "locked".into());
        } else {
            seen.machines.insert(id, machine(index, guest));
        }
    }
    let plain = Guest {
        key: 0,
        mark: Mark::None,
        name: 0,
        memory_gib: 1,
        pending: false,
        firmware: false,
        runs: false,
        protect: false,
        bulk_mark: false,
        address: 120,
        in_pool: false,
    };
    let mut template = machine(900, &plain);
    template.id = "9000".into();
    template.template = true;
    template.spec.name = Some("tpl".into());
    template.addresses.clear();
    template.devices.truncate(1);
    seen.listed.insert("9000".into(), listed("tpl".into(), true, false));
    seen.machines.insert("9000".into(), template);
    for name in ["pve1", "pve2"] {
        seen.nodes.insert(
            name.into(),
            ObservedNode {
                spreads: false,
                online: true,
                cpus: 64,
                memory: novahost::model::Bytes::gib(256),
                networks: Some(["vmbr0".to_owned()].into()),
            },
        );
        seen.storages.push(ObservedStorage {
            name: "fast".into(),
            node: name.into(),
            shared: true,
            holds_disks: true,
            active: true,
            total: novahost::model::Bytes::gib(10_000),
            used: novahost::model::Bytes::gib(10),
            promised: None,
        });
    }
    let pool_marker = Marker {
        project: "acme".into(),
        key: ResourceKey::pool("team"),
        uuid: None,
        id: Some("team".into()),
        stage: Stage::Ready,
        intent: Uuid::nil(),
        init: None,
        protect: false,
        mac: None,
        map: DeviceMap::default(),
    };
    if setup.pool_seen > 0 {
        let ours = setup.pool_seen == 1;
        let members = setup.guests.iter().enumerate().filter(|(_, it)| it.in_pool);
        let pool = ObservedPool {
            comment: "Old".into(),
            marker: if ours {
                MarkerState::Found(Box::new(pool_marker))
            } else {
                MarkerState::None
            },
            members: members.map(|(index, _)| id_of(index)).collect(),
            ..ObservedPool::default()
        };
        seen.pools.insert("team".into(), pool);
    }
    // Every other pinned id is called free.
    seen.free_ids = ["250", "252", "254"].map(NativeId::from).into();
    Inventory { hypervisors: [("pve".into(), seen)].into() }
}

fn history(setup: &Setup) -> History {
    let named = |key: &u8| ResourceKey::vm(format!("m{key}"));
    let owned = setup.remembered.iter().map(|(key, index)| Remembered {
        key: named(key),
        hypervisor: "pve".into(),
        id: id_of((*index).into()),
    });
    let open = setup.open.iter().map(|(key, index)| OpenBirth {
        key: named(key),
        hypervisor: "pve".into(),
        intent: Uuid::from_u128((*index).into()),
        id: Some(id_of((*index).into())),
    });
    History { owned: owned.collect(), open: open.collect(), ..History::default() }
}

struct Planned {
    desired: DesiredState,
    inventory: Inventory,
    history: History,
    products: BTreeMap<HypervisorName, &'static dyn Product>,
    made: Reconciled,
}

impl Planned {
    fn of(
        desired: DesiredState,
        inventory: Inventory,
        history: History,
        consent: &Consent,
    ) -> Self {
        let products: BTreeMap<HypervisorName, &'static dyn Product> =
            [("pve".into(), &PROXMOX as &'static dyn Product)].into();
        let known = Known {
            desired: &desired,
            inventory: &inventory,
            history: &history,
            products: &products,
            marker_key: None,
        };
        let made = reconcile::reconcile(known, &[], consent).unwrap();
        Self { desired, inventory, history, products, made }
    }

    fn new(setup: &Setup) -> Self {
        let yes = Consent { yes: true, ..Consent::default() };
        Self::of(desired(setup), inventory(setup), history(setup), &yes)
    }

    fn judge(&mut self, consent: &Consent) {
        let known = Known {
            desired: &self.desired,
            inventory: &self.inventory,
            history: &self.history,
            products: &self.products,
            marker_key: None,
        };
        reconcile::judge(known, &mut self.made, consent);
    }

    fn actions(&self) -> &[Action] {
        &self.made.plan.body.actions
    }

    fn seen(&self) -> &HypervisorInventory {
        &self.inventory.hypervisors["pve"]
    }
}

fn everything() -> Consent {
    Consent {
        yes: true,
        allow: Allowance::ALL.into_iter().map(|it| (it, None)).collect(),
        confirm: (0..KEYS).map(|it| ResourceKey::vm(format!("m{it}"))).collect(),
        expect_shrink: Some(100),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_is_not_ours_is_touched(setup in setup()) {
        let planned = Planned::new(&setup);
        let project = &planned.desired.project;
        for action in planned.actions().iter().filter(|it| it.key.kind == novahost::model::Kind::Vm) {
            let id = action.native_id.as_ref().unwrap();
            if action.verb == Verb::Create {
                prop_assert!(!planned.seen().listed.contains_key(id), "{} at {id}", action.id);
                prop_assert!(action.base.is_none());
                continue;
            }
            let binds = |it: &ObservedMachine| {
                !matches!(ownership::binding(project, &action.key, it, None), Binding::NotOurs(_))
            };
            let seen = &planned.seen().machines[id];
            prop_assert!(binds(seen), "{} touches {id}", action.id);
            prop_assert!(action.base.is_some());
            let twins = planned.seen().machines.values().filter(|it| binds(it)).count();
            prop_assert_eq!(twins, 1, "{} has a twin", action.id);
        }
    }

    #[test]
    fn absence_is_believed_only_when_proved(setup in setup()) {
        let planned = Planned::new(&setup);
        let coverage = &planned.seen().coverage;
        for action in planned.actions() {
            match action.verb {
                Verb::Create if action.key.kind == novahost::model::Kind::Vm => {
                    let obstacle = planned.made.ownership.obstacle(&action.key, &action.hypervisor);
                    prop_assert!(obstacle.is_none(), "{} in spite of {obstacle:?}", action.id);
                    let pinned = &planned.desired.machines[&action.key].wanted_id;
                    let free = pinned.as_ref().is_some_and(|id| planned.seen().free_ids.contains(id));
                    let scoped = matches!(coverage, Coverage::Scoped { .. }) && free;
                    prop_assert!(coverage.is_complete() || scoped, "{} under {coverage:?}", action.id);
                }
                Verb::Create | Verb::Delete | Verb::Replace => {
                    prop_assert!(coverage.is_complete(), "{} under {coverage:?}", action.id);
                }
                Verb::Continue
                | Verb::Update
                | Verb::Start
                | Verb::Stop
                | Verb::Restart
                | Verb::Adopt
                | Verb::Rename
                | Verb::Forget
                | Verb::Snapshot => {
                    prop_assert!(!coverage.is_failed());
                }
            }
        }
    }

    #[test]
    fn everything_that_was_examined_is_counted_once(setup in setup()) {
        let planned = Planned::new(&setup);
        let body = &planned.made.plan.body;
        let mut examined: BTreeSet<ResourceKey> = planned.desired.machines.keys().cloned().collect();
        examined.extend(planned.desired.pools.keys().cloned());
        examined.extend(planned.made.ownership.owned.keys().cloned());
        examined.extend(planned.made.ownership.obstacles.keys().cloned());
        let pool_is_ours = setup.pool_seen == 1 && setup.coverage != 3;
        examined.extend(pool_is_ours.then(|| ResourceKey::pool("team")));
        let mut told: BTreeSet<ResourceKey> = body.actions.iter().map(|it| it.key.clone()).collect();
        told.extend(body.blocked.iter().map(|it| it.key.clone()));
        prop_assert!(told.is_subset(&examined), "{told:?} of {examined:?}");
        prop_assert_eq!(told.len() + body.unchanged as usize, examined.len());
        // Two updates of one machine may be held up by two things; nothing is said twice.
        let blocked = body.blocked.iter().map(|it| (&it.key, &it.hypervisor, it.verb, it.code));
        let blocked: BTreeSet<_> = blocked.collect();
        prop_assert_eq!(blocked.len(), body.blocked.len(), "blocked twice: {:?}", body.blocked);
    }

    #[test]
    fn the_graph_has_an_order_and_waves_follow_it(setup in setup()) {
        let planned = Planned::new(&setup);
        let plan = &planned.made.plan;
        let wave: BTreeMap<_, _> = plan
            .envelope
            .waves
            .iter()
            .enumerate()
            .flat_map(|(level, ids)| ids.iter().map(move |id| (id, level)))
            .collect();
        prop_assert_eq!(wave.len(), plan.body.actions.len());
        for edge in &plan.body.edges {
            prop_assert!(wave[&edge.before] < wave[&edge.after], "{edge:?}");
        }
    }

    #[test]
    fn names_ids_and_addresses_have_one_holder_at_a_time(setup in setup()) {
        let planned = Planned::new(&setup);
        let before = |id: &novahost::model::ActionId| -> BTreeSet<_> {
            let edges = planned.made.plan.body.edges.iter();
            edges.filter(|it| it.after == *id).map(|it| it.before.clone()).collect()
        };
        let mut ids = BTreeSet::new();
        for action in planned.actions().iter().filter(|it| it.verb == Verb::Create) {
            let Some(machine) = planned.desired.machines.get(&action.key) else { continue };
            prop_assert!(ids.insert(action.native_id.clone()), "two at {:?}", action.native_id);
            let name = machine.spec.name.as_deref();
            for other in planned.seen().machines.values() {
                let holder = other.marker.found().map(|it| it.key.clone());
                let has_name = other.settled().name.as_deref() == name;
                let has_address = machine.spec.nics.values().any(|nic| {
                    matches!(nic.ip, Some(novahost::model::IpSetting::Static { address, .. }) if other.addresses.contains(&address))
                });
                if !(has_name || has_address) || holder.as_ref() == Some(&action.key) {
                    continue;
                }
                let frees = before(&action.id).iter().any(|id| {
                    planned.actions().iter().any(|it| it.id == *id && it.native_id.as_ref() == Some(&other.id))
                });
                prop_assert!(frees, "{} takes what {} holds", action.id, other.id);
            }
        }
    }

    #[test]
    fn what_is_suspended_is_resumed_or_stopped_and_nothing_else(setup in setup()) {
        let mut inventory = inventory(&setup);
        for machine in inventory.hypervisors.values_mut().flat_map(|it| it.machines.values_mut()) {
            machine.power = PowerState::Suspended;
        }
        let planned = Planned::of(desired(&setup), inventory, history(&setup), &everything());
        for action in planned.actions().iter().filter(|it| it.key.kind == novahost::model::Kind::Vm) {
            let id = action.native_id.as_ref().unwrap();
            let power = matches!(action.verb, Verb::Start | Verb::Stop);
            prop_assert!(power || !planned.seen().machines.contains_key(id), "{}", action.id);
        }
    }

    #[test]
    fn the_order_of_inputs_changes_nothing(setup in setup(), turn in 0..3_usize) {
        let planned = Planned::new(&setup);
        let mut inventory = planned.inventory.clone();
        for seen in inventory.hypervisors.values_mut() {
            seen.storages.reverse();
            for machine in seen.machines.values_mut() {
                let count = machine.devices.len().max(1);
                machine.devices.rotate_left(turn % count);
            }
        }
        let mut desired = planned.desired.clone();
        for machine in desired.machines.values_mut() {
            machine.after.reverse();
        }
        let yes = Consent { yes: true, ..Consent::default() };
        let again = Planned::of(desired, inventory, planned.history.clone(), &yes);
        prop_assert_eq!(&again.made.plan.plan_id, &planned.made.plan.plan_id);
        prop_assert_eq!(&again.made.plan, &planned.made.plan);
    }

    #[test]
    fn a_plan_reads_back_as_written_with_the_same_id(setup in setup()) {
        let planned = Planned::new(&setup);
        let read = report::parse_plan(&report::plan_json(&planned.made.plan)).unwrap();
        prop_assert_eq!(novahost::model::plan_id(&read.body), planned.made.plan.plan_id.clone());
        prop_assert_eq!(read, planned.made.plan);
    }

    #[test]
    fn consent_changes_the_verdict_and_never_the_body(setup in setup(), allowed in proptest::collection::btree_set(0..5_usize, 0..5), yes: bool) {
        let mut planned = Planned::new(&setup);
        let body = planned.made.plan.body.clone();
        let id = planned.made.plan.plan_id.clone();
        let allow = allowed.iter().map(|it| (Allowance::ALL[*it], None)).collect();
        planned.judge(&Consent { yes, allow, ..Consent::default() });
        let some = planned.made.verdict.runnable.clone();
        planned.judge(&everything());
        prop_assert_eq!(&planned.made.plan.body, &body);
        prop_assert_eq!(&planned.made.plan.plan_id, &id);
        // More consent never withholds what less consent let run.
        prop_assert!(some.is_subset(&planned.made.verdict.runnable));
        planned.judge(&Consent::default());
        prop_assert!(planned.made.verdict.runnable.is_empty());
    }

    #[test]
    fn what_runs_has_all_that_it_needs(setup in setup(), allowed in proptest::collection::btree_set(0..5_usize, 0..5), confirm: bool) {
        let mut planned = Planned::new(&setup);
        let allow = allowed.iter().map(|it| (Allowance::ALL[*it], None)).collect();
        let confirm = if confirm { everything().confirm } else { BTreeSet::new() };
        planned.judge(&Consent { yes: true, allow, confirm: confirm.clone(), ..Consent::default() });
        let verdict = &planned.made.verdict;
        let body = &planned.made.plan.body;
        let verbs: BTreeMap<_, _> = body.actions.iter().map(|it| (&it.id, it.verb)).collect();
        let count = verdict.runnable.len() + verdict.waiting.len() + verdict.forbidden.len();
        prop_assert_eq!(count, body.actions.len(), "each action has one verdict");
        for edge in body.edges.iter().filter(|it| verdict.runnable.contains(&it.after)) {
            let ordered_only = edge.reason == novahost::model::EdgeReason::SameObject
                && verbs[&edge.before] == Verb::Update;
            prop_assert!(ordered_only || verdict.runnable.contains(&edge.before), "{edge:?}");
        }
        for action in body.actions.iter().filter(|it| it.key.kind == novahost::model::Kind::Vm) {
            let runs = verdict.runnable.contains(&action.id);
            if matches!(action.verb, Verb::Delete | Verb::Replace) && runs {
                let id = action.native_id.as_ref().unwrap();
                let witness = confirm.contains(&action.key)
                    || planned.history.remembers(&action.key, &action.hypervisor, id);
                prop_assert!(witness, "{} has no second witness", action.id);
                prop_assert!(!action.protected, "{} is protected", action.id);
            }
            if action.verb == Verb::Replace {
                let birth = body.actions.iter().find(|it| it.key == action.key && it.verb == Verb::Create);
                let birth = birth.map(|it| verdict.runnable.contains(&it.id));
                prop_assert_eq!(birth, Some(runs), "half a replace of {}", action.key);
            }
        }
    }
}

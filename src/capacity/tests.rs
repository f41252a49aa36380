use super::*;
use crate::model::{
    Action, ActionId, Bytes, CloneFrom, DataLoss, Device, DeviceKind, Disruption, Envelope, Expect,
    FailureKind, FieldChange, FieldKind, FieldPath, GuestKind, LostVolume, MachineSpec,
    MarkerDraft, MarkerState, ObservedMachine, PLAN_FORMAT, PlanBody, PowerState, ResourceKey,
    Setting, Stage, Step, StepOp, Value, Verb, Wait,
};
use crate::ownership::Owned;

const HOST: &str = "pve1";

fn guest(power: PowerState, cpu: u32, memory_gib: u64) -> Listed {
    Listed {
        node: Some(HOST.into()),
        name: None,
        name_key: None,
        guest: GuestKind::Vm,
        template: false,
        pool: None,
        marked: None,
        tags: BTreeSet::new(),
        lock: None,
        memory: Some(Bytes::gib(memory_gib)),
        cpu: Some(cpu),
        power,
    }
}

fn disk(slot: &str, storage: &str, gib: u64) -> Device {
    Device {
        slot: slot.into(),
        kind: DeviceKind::Disk,
        volume: Some(format!("{storage}:{slot}")),
        storage: Some(storage.into()),
        size: Some(Bytes::gib(gib)),
        linked: false,
        mac: None,
        network: None,
        vlan: None,
    }
}

fn machine(id: &str, cpu: u32, memory_gib: u64, devices: Vec<Device>) -> ObservedMachine {
    ObservedMachine {
        id: id.into(),
        node: Some(HOST.into()),
        uuid: None,
        template: false,
        snapshots: Vec::new(),
        power: PowerState::Running,
        hot: [].into(),
        lock: None,
        marker: MarkerState::None,
        bulk_mark: false,
        spec: MachineSpec {
            cpu: Some(cpu),
            memory: Some(Bytes::gib(memory_gib)),
            ..MachineSpec::default()
        },
        next: None,
        devices,
        known_labels: [].into(),
        setup_waits: false,
        addresses: Vec::new(),
    }
}

/// A host with one machine of ours that runs, one of others, one that is off, a template.
fn inventory() -> HypervisorInventory {
    let mut seen = HypervisorInventory::failed("", FailureKind::Unreachable);
    seen.coverage = Coverage::Complete;
    let node = ObservedNode {
        spreads: false,
        online: true,
        cpus: 8,
        memory: Bytes::gib(100),
        networks: None,
    };
    seen.nodes.insert(HOST.into(), node);
    seen.storages.push(ObservedStorage {
        name: "fast".into(),
        node: HOST.into(),
        shared: true,
        holds_disks: true,
        active: true,
        total: Bytes::gib(1000),
        used: Bytes::gib(300),
        promised: Some(Bytes::gib(50)),
    });
    let template = Listed { template: true, ..guest(PowerState::Stopped, 1, 1) };
    for (id, row) in [
        ("1", guest(PowerState::Running, 2, 4)),
        ("2", guest(PowerState::Running, 4, 16)),
        ("3", guest(PowerState::Stopped, 8, 32)),
        ("9", template),
    ] {
        seen.listed.insert(id.into(), row);
    }
    seen.machines.insert("1".into(), machine("1", 2, 4, vec![disk("scsi0", "fast", 10)]));
    seen.machines.insert("9".into(), machine("9", 1, 1, vec![disk("scsi0", "fast", 8)]));
    seen
}

fn step(op: StepOp) -> Step {
    let end = Expect::default();
    let learns = BTreeSet::new();
    Step {
        op,
        begin: Expect::default(),
        end,
        wait: Wait::Task,
        otherwise: None,
        learns,
        guarded: false,
    }
}

fn field(kind: FieldKind, after: Value) -> FieldChange {
    FieldChange {
        field: FieldPath::of(kind),
        before: None,
        after: Some(after),
        disruption: Disruption::None,
        place: None,
        pending: false,
    }
}

fn action(name: &str, verb: Verb, id: Option<&str>, steps: Vec<StepOp>) -> Action {
    Action {
        id: ActionId::from(format!("vm/{name}:{verb}")),
        key: ResourceKey::vm(name),
        hypervisor: "pve".into(),
        native_id: id.map(Into::into),
        node: Some(HOST.into()),
        verb,
        fields: Vec::new(),
        classes: BTreeSet::new(),
        data_loss: DataLoss::default(),
        reversible: true,
        place: None,
        steps: steps.into_iter().map(step).collect(),
        base: None,
        claims: Vec::new(),
        choices: Vec::new(),
        protected: false,
    }
}

fn clone_of_9() -> StepOp {
    StepOp::Clone(Box::new(CloneFrom {
        template: "9".into(),
        template_node: None,
        template_name: None,
        template_uuid: None,
        linked: false,
        snapshot: None,
        name: "new".into(),
        node: Some(HOST.into()),
        storage: None,
        pool: None,
        marker: MarkerDraft::new(Stage::New),
    }))
}

fn room(actions: Vec<Action>) -> Room {
    room_of(inventory(), actions)
}

fn room_of(seen: HypervisorInventory, actions: Vec<Action>) -> Room {
    let text = "version: 1
project: acme
hypervisors:
  pve:
    type: proxmox
    endpoints: [https://127.0.0.1:8006]
    auth: { token_id: a@pve!b, token_secret: env:T }
    nodes: { maintenance: [pve1] }
";
    let files = [("novahost.yaml".to_owned(), text.to_owned())].into();
    let loaded = crate::config::load_str(&files, "novahost.yaml");
    let desired = loaded.desired.unwrap();
    let inventory = Inventory { hypervisors: [("pve".into(), seen)].into() };
    let owned = Owned { hypervisor: "pve".into(), id: "1".into(), stage: Stage::Ready };
    let mut ownership = Ownership::default();
    ownership.owned.insert(ResourceKey::vm("a"), owned);
    let body = PlanBody {
        format: PLAN_FORMAT,
        project: "acme".into(),
        files: BTreeMap::new(),
        policy: desired.policy.clone(),
        actions,
        edges: Vec::new(),
        blocked: Vec::new(),
        unchanged: 0,
    };
    let plan = Plan { plan_id: String::new(), body, envelope: Envelope::default() };
    let sources =
        Sources { desired: &desired, inventory: &inventory, ownership: &ownership, plan: &plan };
    rooms(sources).remove(0)
}

const GIB: i64 = 1 << 30;

#[test]
fn what_runs_counts_and_what_is_off_is_told_apart() {
    let room = room(Vec::new());
    let cpu = room.nodes[0].cpu;
    assert_eq!((cpu.total, cpu.limit, cpu.ours, cpu.others, cpu.off), (8, 32, 2, 4, 8));
    assert_eq!((cpu.free, cpu.free_after), (26, 26));
    // A tenth of the memory is kept free.
    let memory = room.nodes[0].memory_bytes;
    assert_eq!((memory.free, memory.free_after), (70 * GIB, 70 * GIB));
    assert_eq!(room.nodes[0].machines, 3, "a template is no machine");
    let fast = &room.storages[0];
    assert_eq!((fast.free_bytes, fast.free_after_bytes), (600 * GIB, 600 * GIB));
    assert_eq!(fast.promised_bytes, Some(50 << 30));
}

#[test]
fn a_birth_takes_what_it_declares_and_the_rest_as_its_template() {
    let grow = StepOp::GrowDisk { disk: "boot".into(), slot: "scsi0".into(), to: Bytes::gib(32) };
    let more = StepOp::Configure(vec![Setting::AttachDisk {
        disk: "data".into(),
        slot: "scsi1".into(),
        bus: crate::model::Bus::Scsi,
        size: Bytes::gib(100),
        storage: "fast".into(),
    }]);
    let steps = vec![clone_of_9(), more, grow, StepOp::Start];
    let mut birth = action("new", Verb::Create, None, steps);
    birth.fields = vec![field(FieldKind::Memory, Value::Size(Bytes::gib(8)))];
    let with = room(vec![birth.clone()]);
    assert_eq!(with.nodes[0].cpu.free_after, 25);
    assert_eq!(with.nodes[0].memory_bytes.free_after, 62 * GIB);
    assert_eq!(with.storages[0].planned_bytes, 132 << 30);
    assert_eq!(with.storages[0].free_after_bytes, 468 * GIB);
    // One that is born and stays off takes a disk and no memory.
    birth.steps.pop();
    let off = room(vec![birth]);
    assert_eq!(off.nodes[0].cpu.free_after, off.nodes[0].cpu.free);
    assert_eq!(off.storages[0].planned_bytes, 132 << 30);
}

#[test]
fn a_change_counts_with_its_difference_whatever_it_is_split_into() {
    let mut restart = action("a", Verb::Update, Some("1"), vec![StepOp::Shutdown, StepOp::Start]);
    restart.fields = vec![field(FieldKind::Cpu, Value::Count(6))];
    let grow = Setting::DiskSize { disk: "boot".into(), slot: "scsi0".into(), to: Bytes::gib(15) };
    let mut free = action("a", Verb::Update, Some("1"), vec![StepOp::Configure(vec![grow])]);
    free.fields = vec![field(FieldKind::Memory, Value::Size(Bytes::gib(10)))];
    let room = room(vec![free, restart]);
    assert_eq!(room.nodes[0].cpu.free_after, 26 - 4);
    assert_eq!(room.nodes[0].memory_bytes.free_after, (70 - 6) * GIB);
    assert_eq!(room.storages[0].planned_bytes, 5 << 30);
}

#[test]
fn what_stops_or_goes_gives_its_memory_back_and_no_disk_is_counted_as_freed() {
    let stop = room(vec![action("a", Verb::Stop, Some("1"), vec![StepOp::Shutdown])]);
    assert_eq!(stop.nodes[0].memory_bytes.free_after, 74 * GIB);
    let mut delete = action("a", Verb::Delete, Some("1"), vec![StepOp::Stop, StepOp::Delete]);
    delete.data_loss.volumes.push(LostVolume {
        volume: "fast:scsi0".into(),
        label: "boot".into(),
        size: Some(Bytes::gib(10)),
    });
    let gone = room(vec![delete]);
    assert_eq!(gone.nodes[0].cpu.free_after, 28);
    assert_eq!(gone.storages[0].free_after_bytes, gone.storages[0].free_bytes);
    assert!(gone.notes[0].contains("10 GiB"), "{:?}", gone.notes);
    // A machine that is off took nothing.
    let off = room(vec![action("c", Verb::Delete, Some("3"), vec![StepOp::Delete])]);
    assert_eq!(off.nodes[0].cpu.free_after, 26);
}

#[test]
fn a_storage_that_many_hosts_share_is_one() {
    let mut seen = inventory();
    let mut other = seen.storages[0].clone();
    other.node = "pve2".into();
    seen.storages.push(other.clone());
    other.shared = false;
    other.name = "local".into();
    seen.storages.push(other);
    let room = room_of(seen, Vec::new());
    let names: Vec<(&str, Option<&str>)> = room
        .storages
        .iter()
        .map(|it| (it.storage.as_str(), it.node.as_ref().map(NodeName::as_str)))
        .collect();
    assert_eq!(names, [("fast", None), ("local", Some("pve2"))]);
}

#[test]
fn what_is_not_counted_is_said() {
    let mut seen = inventory();
    seen.coverage = Coverage::Incomplete { gaps: vec!["pve3 does not answer".into()] };
    let mut homeless = guest(PowerState::Running, 1, 1);
    homeless.node = None;
    seen.listed.insert("4".into(), homeless);
    seen.storages[0].promised = Some(Bytes::gib(701));
    let room = room_of(seen, Vec::new());
    let text = room.notes.join("\n");
    assert!(text.contains("pve3 does not answer") && text.contains("not counted: 1"), "{text}");
    assert!(text.contains("thin disks on fast"), "{text}");
    assert_eq!(room.nodes[0].state, NodeState::Maintenance);
    assert!(self::room(Vec::new()).notes.is_empty());
}

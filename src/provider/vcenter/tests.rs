//! Walks: desired → steps → a tiny machine → observed, and back to what was desired. The
//! machine here is a fold over the neutral steps that takes no liberties the product does
//! not take; the wire is not in it.

use super::{Vcenter, slots};
use crate::{
    model::*,
    ownership::{intent_id, machine_uuid},
    provider::guest_init,
};
use std::collections::{BTreeMap, BTreeSet};

mod build;
mod customize;
mod pool_share;
mod pools;
mod product;
mod update;
mod world;

use world::{Card, World};

const MAC: &str = "00:50:56:0A:0B:0C";

fn key() -> ResourceKey {
    ResourceKey::vm("web-1")
}

fn place() -> Place {
    Place { file: "novahost.yaml".into(), line: 1, column: 1 }
}

fn desired(spec: MachineSpec, medium: Medium) -> DesiredMachine {
    DesiredMachine {
        key: key(),
        hypervisor: "vc".into(),
        spec,
        power: Power::Running,
        birth: Some(BirthSource {
            image: "debian-13".into(),
            medium,
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

fn medium(linked: bool) -> Medium {
    Medium::Template { id: Some("vm-9".into()), name: None, linked, snapshot: None }
}

fn from_template(spec: MachineSpec) -> DesiredMachine {
    desired(spec, medium(false))
}

/// A spec that declares every field that a machine from a template can have.
fn full_spec() -> MachineSpec {
    let disk =
        |size| DiskSpec { size: Some(size), storage: Some("fast".into()), ..DiskSpec::default() };
    let nic = NicSpec {
        network: Some(NetworkBinding { name: Some("web".into()), native: "VM Network".into() }),
        vlan: None,
        mac: Some(MAC.parse().unwrap()),
        model: Some(NicModel::Vmxnet3),
        ip: Some(IpSetting::Static { address: "10.20.0.71".parse().unwrap(), prefix: 24 }),
        gateway: Some("10.20.0.1".parse().unwrap()),
    };
    MachineSpec {
        name: Some("web-1".into()),
        cpu: Some(4),
        sockets: Some(2),
        memory: Some(Bytes::gib(4)),
        firmware: Some(Firmware::SecureBoot),
        tpm: None,
        hardware_version: Some(21),
        boot: Some(vec![BootDevice::Disk, BootDevice::Cdrom, BootDevice::Network]),
        cdrom: Some(Cdrom::Iso("[fast] iso/tools.iso".into())),
        autostart: None,
        protect: Some(true),
        tags: None,
        labels: [].into(),
        notes: Some("Front end\nsecond line".into()),
        pool: Some("acme".into()),
        extra: [("disk.EnableUUID".into(), "TRUE".into())].into(),
        disks: [
            ("boot".into(), disk(Bytes::gib(32))),
            ("data".into(), DiskSpec { on_remove: OnRemove::Delete, ..disk(Bytes::gib(100)) }),
        ]
        .into(),
        nics: [("eth0".into(), nic)].into(),
        init: Some(InitSpec {
            hostname: Some("web-1".into()),
            domain: Some("example.net".into()),
            user: Some("deploy".into()),
            ssh_keys: Some(vec!["ssh-ed25519 AAAA+/= deploy@host".into()]),
            password: Some(SecretRef { source: SecretSource::Secret("pw".into()), version: 1 }),
            dns: Some(vec!["10.20.0.2".parse().unwrap(), "10.20.0.3".parse().unwrap()]),
            customization: None,
            digest: Some("0123456789abcdef0123456789abcdef".into()),
        }),
    }
}

/// A template with a disk, a CD drive and two cards.
fn template() -> World {
    let mut world = World {
        exists: true,
        name: "tpl-debian-13".into(),
        cpu: 2,
        sockets: 2,
        memory: Bytes::gib(2),
        firmware: Some(Firmware::Uefi),
        hardware: 19,
        ..World::default()
    };
    world.disks.insert("scsi0:0".into(), (Bytes::gib(8), "fast".into()));
    world.drives.insert("ide0:0".into(), Cdrom::None);
    for key in [4000, 4001] {
        let mac = MacAddress([0, 0x50, 0x56, 0x80, 0, key as u8]);
        let card = Card { key, mac, network: "none".into(), model: NicModel::E1000 };
        world.cards.push(card);
    }
    world
}

fn allotted(spec: &MachineSpec) -> Allotted {
    let mac = |name: &DeviceName| {
        let last = name.as_str().bytes().fold(0_u8, u8::wrapping_add);
        (name.clone(), MacAddress([0, 0x50, 0x56, 0x01, 0, last]))
    };
    Allotted {
        node: Some("/dc/host/cluster".into()),
        macs: spec.nics.keys().map(mac).collect(),
        ..Allotted::default()
    }
}

fn build(
    machine: &DesiredMachine,
    template: Option<&ObservedMachine>,
    seen: Option<&ObservedMachine>,
) -> Result<Lowered, Vec<Unsupported>> {
    let spec = Vcenter.normalize(machine)?;
    let allotted = allotted(&spec);
    let snapshot =
        SnapshotSeen { id: "snapshot-3".into(), name: "base".into(), ..SnapshotSeen::default() };
    let build = Build {
        machine,
        spec: &spec,
        template,
        snapshot: Some(&snapshot),
        allotted: &allotted,
        seen,
    };
    Vcenter.lower(&Change::Build(build))
}

fn ops(lowered: &Lowered) -> Vec<&'static str> {
    lowered.steps.iter().map(|step| step.op.name()).collect()
}

fn settings(step: &Step) -> &[Setting] {
    match &step.op {
        StepOp::Configure(settings) => settings,
        StepOp::Create(birth) => &birth.settings,
        other => panic!("{other:?}"),
    }
}

/// Every declared field reads back as it was declared.
fn assert_converged(spec: &MachineSpec, world: &World) {
    let seen = world.seen();
    let mut differences = Vec::new();
    spec.visit(|path, value| {
        let observed = seen.spec.get(&path);
        if observed.as_ref() != Some(&value) {
            differences.push(format!("{path}: {value} != {observed:?}"));
        }
    });
    assert_eq!(differences, Vec::<String>::new());
}

//! Small machines that products are asked about, one field at a time.

use super::Reason;
use crate::model::{
    Autostart, BirthSource, BootDevice, Bus, Bytes, Cdrom, Change, Customization, DesiredMachine,
    DesiredPool, DeviceName, DiskSpec, Disruption, FieldDelta, FieldKind, FieldPath, Firmware,
    GrantChange, GuestIdentity, GuestOs, Hot, InitSpec, IpSetting, MachineSpec, MarkerState,
    Medium, NetworkBinding, NicModel, NicSpec, ObservedMachine, ObservedPool, OnRemove, Place,
    PoolChange, Power, PowerState, Product, SecretRef, SecretSource, SnapshotPolicy, Told, Value,
    WindowsSetup,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn place() -> Place {
    Place { file: "".into(), line: 1, column: 1 }
}

fn disk() -> DeviceName {
    "boot".into()
}

fn nic() -> DeviceName {
    "eth0".into()
}

/// A key that does no harm anywhere.
fn key() -> DeviceName {
    "disk.EnableUUID".into()
}

/// A machine that every product takes.
fn plain() -> MachineSpec {
    let network = Some(NetworkBinding { name: None, native: "lan".to_owned() });
    MachineSpec {
        name: Some("probe".to_owned()),
        cpu: Some(2),
        memory: Some(Bytes::gib(1)),
        disks: [(disk(), DiskSpec { size: Some(Bytes::gib(8)), ..DiskSpec::default() })].into(),
        nics: [(nic(), NicSpec { network, ..NicSpec::default() })].into(),
        ..MachineSpec::default()
    }
}

/// A machine that declares a field; none for what no machine declares.
pub(super) fn declares(product: &dyn Product, kind: FieldKind) -> Option<DesiredMachine> {
    let mut spec = plain();
    set(&mut spec, kind, product)?;
    let path = FieldPath {
        kind,
        device: match kind.has_device() {
            true if kind == FieldKind::Extra => Some(key()),
            true if spec.get(&FieldPath::on(kind, &nic())).is_some() => Some(nic()),
            true => Some(disk()),
            false => None,
        },
    };
    Some(DesiredMachine {
        key: crate::model::ResourceKey::vm("probe"),
        hypervisor: "probe".into(),
        spec,
        power: Power::Running,
        birth: Some(BirthSource {
            image: "probe".into(),
            medium: Medium::Template { id: None, name: None, linked: false, snapshot: None },
            firmware: None,
            takes_init: true,
            agent: true,
            os: match kind {
                FieldKind::InitWindows => GuestOs::Windows,
                _ => GuestOs::Linux,
            },
        }),
        after: Vec::new(),
        pinned_node: None,
        spread: (kind == FieldKind::Spread).then(|| "probe".into()),
        wanted_id: None,
        adopt: None,
        was: None,
        service_plan: None,
        snapshots: (kind == FieldKind::Snapshots)
            .then_some(SnapshotPolicy { before_change: true, keep: SnapshotPolicy::KEEP }),
        place: place(),
        places: vec![(path, place())],
    })
}

fn set(spec: &mut MachineSpec, kind: FieldKind, product: &dyn Product) -> Option<()> {
    use FieldKind as K;
    match kind {
        // Every machine has these.
        K::Name | K::Cpu | K::Memory | K::Power | K::Disk | K::Nic | K::DiskSize => {}
        // A policy beside what is compared.
        K::Snapshots => {}
        K::NicNetwork => {}
        K::Sockets => spec.sockets = Some(2),
        K::Firmware => spec.firmware = Some(Firmware::Uefi),
        K::Tpm => spec.tpm = Some(true),
        K::HardwareVersion => spec.hardware_version = Some(19),
        K::Extra => drop(spec.extra.insert(key(), "TRUE".to_owned())),
        K::Boot => spec.boot = Some(vec![BootDevice::Disk]),
        K::Cdrom => spec.cdrom = Some(Cdrom::None),
        K::Autostart => {
            spec.autostart = Some(Autostart { enabled: true, order: None, wait_s: None });
        }
        K::Protect => spec.protect = Some(true),
        K::Tags => spec.tags = Some(["probe".to_owned()].into()),
        K::Notes => spec.notes = Some("probe".to_owned()),
        K::Pool => spec.pool = Some("probe".into()),
        K::DiskBus | K::DiskStorage | K::DiskOnRemove => {
            let disk = spec.disks.get_mut(&disk())?;
            disk.bus = (kind == K::DiskBus).then_some(Bus::Scsi);
            disk.storage = (kind == K::DiskStorage).then(|| "probe".into());
            if kind == K::DiskOnRemove {
                disk.on_remove = OnRemove::Delete;
            }
        }
        K::NicVlan | K::NicMac | K::NicModel | K::NicIp | K::NicGateway => {
            let nic = spec.nics.get_mut(&nic())?;
            nic.vlan = (kind == K::NicVlan).then_some(7);
            nic.mac = (kind == K::NicMac).then(|| product.capabilities().macs.at(1));
            nic.model = (kind == K::NicModel).then_some(NicModel::E1000);
            if matches!(kind, K::NicIp | K::NicGateway) {
                nic.ip = Some(IpSetting::Static { address: ADDRESS, prefix: 24 });
                nic.gateway = (kind == K::NicGateway).then_some(GATEWAY);
            }
        }
        K::InitHostname => init(spec).hostname = Some("probe".to_owned()),
        K::InitDomain => init(spec).domain = Some("example.net".to_owned()),
        K::InitUser => init(spec).user = Some("probe".to_owned()),
        K::InitSshKeys => init(spec).ssh_keys = Some(vec!["ssh-ed25519 AAAA probe".to_owned()]),
        K::InitDns => init(spec).dns = Some(vec![GATEWAY]),
        K::InitDigest => drop(init(spec)),
        K::InitPassword => {
            let source = SecretSource::Env("PROBE".to_owned());
            init(spec).password = Some(SecretRef { source, version: 1 });
        }
        K::InitWindows => {
            let windows = WindowsSetup {
                organization: "Probe".to_owned(),
                timezone: None,
                product_key: None,
                join: None,
                run_once: Vec::new(),
            };
            customize(spec, GuestIdentity::Windows(Box::new(windows)));
        }
        K::InitCustomization => customize(spec, GuestIdentity::Kept("probe".to_owned())),
        K::Label => {
            spec.labels.insert("boot".into(), ["probe".to_owned()].into());
        }
        // It is not a part of the machine itself.
        K::Spread => {}
        K::Comment | K::Acl | K::Marker | K::LabelValues | K::Members | K::Member | K::Enabled => {
            return None;
        }
    }
    Some(())
}

fn init(spec: &mut MachineSpec) -> &mut InitSpec {
    spec.init.get_or_insert_with(InitSpec::default)
}

fn customize(spec: &mut MachineSpec, identity: GuestIdentity) {
    init(spec).customization = Some(Box::new(Customization { identity, told: Told::default() }));
}

/// Why a product makes no pools, where it makes none.
pub(super) fn pools(product: &dyn Product, kind: FieldKind) -> Option<Reason> {
    if kind == FieldKind::Acl {
        let nothing = GrantChange::default();
        let refused = product.lower(&Change::Grants(&nothing)).err()?.into_iter().next()?;
        return Some(Reason { text: refused.why, help: refused.help, machines: None });
    }
    if kind != FieldKind::Comment {
        return None;
    }
    let pool = DesiredPool {
        key: "pool/probe".parse().ok()?,
        comment: Some("probe".to_owned()),
        at: BTreeMap::new(),
        acl: BTreeMap::new(),
        place: place(),
    };
    let seen = ObservedPool::default();
    let change = Change::CreatePool(PoolChange { pool: &pool, seen: Some(&seen) });
    let refused = product.lower(&change).err()?.into_iter().next()?;
    Some(Reason { text: refused.why, help: refused.help, machines: None })
}

/// What a later change costs a running machine: the price by the field alone, then what
/// else it costs on machines of other kinds and to other values.
pub(super) fn prices(product: &dyn Product, kind: FieldKind) -> Vec<Disruption> {
    let Some(usual) = product.capabilities().changes.get(&kind) else { return Vec::new() };
    let mut found = vec![*usual];
    let field = FieldPath { kind, device: kind.has_device().then(|| "probe".into()) };
    let sized = [FieldKind::Memory, FieldKind::DiskSize].contains(&kind);
    let value = |count: u64| match sized {
        true => Value::Size(Bytes::gib(count)),
        false => Value::Count(count),
    };
    let (less, more) = (value(1), value(2));
    let deltas = [(Some(&less), Some(&more)), (Some(&more), Some(&less)), (Some(&less), None)];
    for hot in [BTreeSet::new(), [Hot::CpuUp, Hot::CpuDown, Hot::MemoryUp].into()] {
        let seen = observed(hot);
        for (before, after) in deltas {
            let delta = FieldDelta { field: &field, before, after };
            let price = product.cost(&delta, &seen, true);
            found.extend(price.filter(|price| !found.contains(price)));
        }
    }
    found
}

fn observed(hot: BTreeSet<Hot>) -> ObservedMachine {
    ObservedMachine {
        id: "probe".into(),
        node: None,
        uuid: None,
        template: false,
        snapshots: Vec::new(),
        power: PowerState::Running,
        hot,
        lock: None,
        marker: MarkerState::None,
        bulk_mark: false,
        spec: MachineSpec::default(),
        next: None,
        devices: Vec::new(),
        known_labels: BTreeMap::new(),
        setup_waits: false,
        addresses: Vec::new(),
    }
}

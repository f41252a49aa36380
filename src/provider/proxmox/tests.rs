//! Walks: desired → steps → native requests → a tiny server → observed, and back to
//! what was desired. The server here is a fold over options, just enough to hold
//! what was sent; `mock-servers` is the honest one.

use super::{
    Proxmox,
    call::{Answers, Method, NativeRequest, RawGuest, native_request},
    property::{Property, parse_size, print_size},
    translate::{GuestRow, Options, PendingItem, RawConfig, machine, raw_config},
};
use crate::{
    model::*,
    ownership::{MarkerKey, intent_id, machine_uuid},
    provider::{Call, GuestSecrets},
};
use secrecy::SecretString;
use std::collections::{BTreeMap, BTreeSet};

mod build;
mod update;

const MAC: &str = "BC:24:11:0A:0B:0C";

/// One guest on a tiny server. While it runs, cores, memory and the like stay
/// pending, as do disks that cannot be hot-plugged.
#[derive(Clone, Debug, Default)]
struct Server {
    exists: bool,
    running: bool,
    pool: Option<String>,
    current: Options,
    next: Options,
    volumes: u32,
    template: Options,
    log: Vec<NativeRequest>,
    /// Drives whose volumes go with them.
    doomed: BTreeSet<String>,
}

fn is_hotplugged(key: &str) -> bool {
    const COLD: [&str; 12] = [
        "cores",
        "sockets",
        "memory",
        "bios",
        "boot",
        "efidisk0",
        "tpmstate0",
        "ide",
        "sata",
        "machine",
        "smbios1",
        "scsihw",
    ];
    !COLD.iter().any(|cold| key.starts_with(cold))
}

impl Server {
    fn of(options: &[(&str, &str)]) -> Self {
        let current: Options = options.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Self { exists: true, next: current.clone(), current, volumes: 10, ..Self::default() }
    }

    fn with_template(options: &[(&str, &str)]) -> Self {
        let template = options.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        Self { template, ..Self::default() }
    }

    fn row(&self) -> GuestRow {
        GuestRow {
            vmid: 20071,
            node: "pve1".into(),
            name: None,
            kind: GuestKind::Vm,
            template: false,
            pool: self.pool.clone(),
            tags: None,
            lock: None,
            power: if self.running { PowerState::Running } else { PowerState::Stopped },
            maxmem: None,
            maxcpu: None,
        }
    }

    fn config(&self) -> RawConfig {
        let items = self.current.keys().chain(self.next.keys()).collect::<BTreeSet<_>>();
        let digest = PendingItem {
            key: "digest".into(),
            value: Some("d1".into()),
            ..PendingItem::default()
        };
        let items = items.into_iter().map(|key| {
            let (value, next) = (self.current.get(key), self.next.get(key));
            PendingItem {
                key: key.clone(),
                value: value.cloned(),
                pending: next.filter(|_| next != value).cloned(),
                delete: next.is_none(),
            }
        });
        raw_config(items.chain([digest]))
    }

    fn seen(&self) -> ObservedMachine {
        machine(Some(&"acme".into()), &self.row(), &self.config())
    }

    fn fresh(&self) -> Fresh {
        if !self.exists {
            let raw = serde_json::Value::Null;
            return Fresh { object: FreshObject::Absent, version: None, raw };
        }
        let raw = RawGuest { node: "pve1".into(), config: self.config() };
        Fresh {
            object: FreshObject::Machine(Box::new(self.seen())),
            version: Some("d1".into()),
            raw: serde_json::to_value(raw).unwrap(),
        }
    }

    fn store(&mut self, key: &str, value: &str) {
        let mut value = value.to_owned();
        let mut property = Property::lenient(&value);
        let allocates = |it: &str| it.split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned()));
        if let Some((storage, what)) = property.first.as_deref().and_then(allocates) {
            if what == "cloudinit" {
                value = format!("{storage}:vm-20071-cloudinit,media=cdrom");
            } else if let Some(size) = parse_size(&format!("{what}G")) {
                property.first = Some(format!("{storage}:vm-20071-disk-{}", self.volumes));
                self.volumes += 1;
                property.set("size", print_size(size));
                value = property.to_string();
            }
        }
        self.next.insert(key.to_owned(), value.clone());
        let is_medium = value.contains("media=cdrom") && self.current.contains_key(key);
        if !self.running || is_hotplugged(key) || is_medium {
            self.current.insert(key.to_owned(), value);
        }
    }

    fn remove(&mut self, key: &str) {
        self.next.remove(key);
        if self.running && !is_hotplugged(key) {
            return;
        }
        let Some(old) = self.current.remove(key) else { return };
        if key.starts_with("unused") || !old.contains("disk-") || self.doomed.remove(key) {
            return;
        }
        let volume = Property::lenient(&old).first.unwrap();
        let free = (0..).map(|n| format!("unused{n}")).find(|k| !self.next.contains_key(k));
        self.next.insert(free.clone().unwrap(), volume.clone());
        self.current.insert(free.unwrap(), volume);
    }

    fn start(&mut self) {
        let gone: Vec<String> =
            self.current.keys().filter(|key| !self.next.contains_key(*key)).cloned().collect();
        self.running = false;
        gone.iter().for_each(|key| self.remove(key));
        self.current = self.next.clone();
        self.running = true;
    }

    fn apply(&mut self, request: &NativeRequest) {
        self.log.push(request.clone());
        let param = |key: &str| {
            request.params.iter().find(|(at, _)| at == key).map(|(_, value)| value.clone())
        };
        let path = request.path.as_str();
        if path.ends_with("/clone") {
            self.exists = true;
            self.next = self.template.clone();
            self.next.remove("template");
            self.next.insert("name".into(), param("name").unwrap());
            self.next.insert("description".into(), param("description").unwrap());
            let drawn = "uuid=11111111-2222-4333-8444-555555555555";
            self.next.insert("smbios1".into(), drawn.into());
            self.current = self.next.clone();
            self.pool = param("pool");
        } else if path.ends_with("/resize") {
            let slot = param("disk").unwrap();
            let mut disk = Property::lenient(&self.next[&slot]);
            disk.set("size", param("size").unwrap());
            self.next.insert(slot.clone(), disk.to_string());
            self.current.insert(slot, disk.to_string());
        } else if path.ends_with("/status/start") {
            self.start();
        } else if path.contains("/status/") {
            self.running = false;
        } else if path == "/pools" {
            self.pool = param("poolid").filter(|_| param("delete").is_none());
        } else if request.method == Method::Delete {
            self.exists = false;
        } else {
            self.exists = true;
            self.pool = param("pool").or(self.pool.take());
            for key in param("delete").unwrap_or_default().split(',') {
                if param("force").is_some() {
                    self.doomed.insert(key.to_owned());
                }
                self.remove(key);
            }
            let own = ["vmid", "pool", "digest", "delete", "force"];
            for (key, value) in &request.params {
                if !own.contains(&key.as_str()) {
                    self.store(key, value);
                }
            }
        }
    }

    /// Carries out steps as a runner would, proving each one's begin and end.
    fn run(&mut self, steps: &[Step]) {
        for step in steps {
            assert!(self.holds(&step.begin), "begin of {step:?}\n{:?}", self.seen());
            if self.holds(&step.end) {
                continue;
            }
            self.apply(&self.request(step));
            assert!(self.holds(&step.end), "end of {step:?}\n{:?}", self.seen());
        }
    }

    fn request(&self, step: &Step) -> NativeRequest {
        native_request(&call(step, &target(), &identity(), &self.fresh())).unwrap()
    }

    fn holds(&self, expect: &Expect) -> bool {
        if expect.exists.is_some_and(|exists| exists != self.exists) {
            return false;
        }
        if !self.exists {
            return true;
        }
        let seen = self.seen();
        let spec = if expect.in_force { &seen.spec } else { seen.settled() };
        expect.power.is_none_or(|power| power == seen.power)
            && expect
                .stage
                .is_none_or(|stage| seen.marker.found().is_some_and(|marker| marker.stage == stage))
            && expect.fields.iter().all(|(path, value)| spec.get(path) == *value)
            && expect.slots.iter().all(|(slot, is)| seen.device(slot.as_str()).is_some() == *is)
    }

    fn lines(&self) -> Vec<String> {
        let line = |request: &NativeRequest| {
            let params = request.params.iter().map(|(key, value)| format!("{key}={value}"));
            let params = params.collect::<Vec<_>>().join("&");
            format!("{:?} {} {params}", request.method, request.path)
        };
        self.log.iter().map(line).collect()
    }
}

fn key() -> ResourceKey {
    ResourceKey::vm("web-1")
}

fn target() -> Target {
    Target::with_id(key(), "20071", Some("pve1".into()))
}

fn identity() -> Identity {
    let intent = intent_id("plan", &key());
    let uuid = Some(machine_uuid(&"acme".into(), &key(), intent));
    Identity { project: "acme".into(), key: key(), intent, uuid }
}

fn call<'a>(
    step: &'a Step,
    target: &'a Target,
    identity: &'a Identity,
    fresh: &'a Fresh,
) -> Call<'a> {
    static SECRETS: std::sync::LazyLock<GuestSecrets> = std::sync::LazyLock::new(|| {
        [(InitSecret::Password, SecretString::from("hunter2".to_owned()))].into()
    });
    Call {
        step,
        op: &step.op,
        target,
        identity,
        plan_id: "0123456789ab",
        fresh,
        marker_key: None,
        secrets: &SECRETS,
    }
}

fn place() -> Place {
    Place { file: "novahost.yaml".into(), line: 1, column: 1 }
}

fn desired(spec: MachineSpec, medium: Medium) -> DesiredMachine {
    DesiredMachine {
        key: key(),
        hypervisor: "pve".into(),
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

fn from_template(spec: MachineSpec) -> DesiredMachine {
    let medium =
        Medium::Template { id: Some("9000".into()), name: None, linked: false, snapshot: None };
    desired(spec, medium)
}

/// A spec that declares every field that a machine from a template can have.
fn full_spec() -> MachineSpec {
    let disk = |size: Option<Bytes>| DiskSpec {
        size,
        storage: Some("fast".into()),
        ..DiskSpec::default()
    };
    let nic = NicSpec {
        network: Some(NetworkBinding { name: Some("web".into()), native: "vmbr0".into() }),
        vlan: Some(20),
        mac: Some(MAC.parse().unwrap()),
        model: Some(NicModel::Virtio),
        ip: Some(IpSetting::Static { address: "10.20.0.71".parse().unwrap(), prefix: 24 }),
        gateway: Some("10.20.0.1".parse().unwrap()),
    };
    MachineSpec {
        name: Some("web-1".into()),
        cpu: Some(4),
        sockets: Some(2),
        memory: Some(Bytes::gib(4)),
        firmware: Some(Firmware::SecureBoot),
        tpm: Some(true),
        hardware_version: None,
        boot: Some(vec![BootDevice::Disk, BootDevice::Cdrom, BootDevice::Network]),
        cdrom: Some(Cdrom::Iso("local:iso/tools.iso".into())),
        autostart: Some(Autostart { enabled: true, order: Some(2), wait_s: Some(30) }),
        protect: Some(true),
        tags: Some(["prod".to_owned(), "web".to_owned()].into()),
        labels: [].into(),
        notes: Some("Front end\nsecond line".into()),
        pool: Some("acme".into()),
        extra: BTreeMap::new(),
        disks: [
            ("boot".into(), disk(Some(Bytes::gib(32)))),
            ("data".into(), DiskSpec { bus: Some(Bus::Virtio), ..disk(Some(Bytes::gib(100))) }),
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

fn template_options() -> Vec<(&'static str, &'static str)> {
    vec![
        ("name", "tpl-debian-13"),
        ("template", "1"),
        ("protection", "0"),
        ("memory", "2048"),
        ("balloon", "8192"),
        ("boot", "order=scsi0"),
        ("scsi0", "fast:base-9000-disk-0,discard=on,size=8G"),
        ("ide2", "fast:vm-9000-cloudinit,media=cdrom"),
        ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr9,firewall=1,tag=99"),
        ("net1", "virtio=BC:24:11:00:00:02,bridge=vmbr9"),
        ("ipconfig1", "ip=10.9.9.9/24"),
        ("smbios1", "uuid=99999999-2222-4333-8444-555555555555"),
        ("tags", "template"),
        ("description", "golden image"),
    ]
}

fn template_seen(options: &[(&str, &str)]) -> ObservedMachine {
    let server = Server::of(options);
    let row = GuestRow { vmid: 9000, template: true, ..server.row() };
    machine(Some(&"acme".into()), &row, &server.config())
}

fn allotted() -> Allotted {
    Allotted { id: Some("20071".into()), node: Some("pve1".into()), ..Allotted::default() }
}

fn normalized(machine: &DesiredMachine) -> MachineSpec {
    Proxmox.normalize(machine).unwrap()
}

/// Every declared field reads back as it was declared.
fn assert_converged(spec: &MachineSpec, server: &Server) {
    let seen = server.seen();
    let mut differences = Vec::new();
    spec.visit(|path, value| {
        let observed = seen.spec.get(&path);
        if observed.as_ref() != Some(&value) {
            differences.push(format!("{path}: {value} != {observed:?}"));
        }
    });
    assert_eq!(differences, Vec::<String>::new());
    assert_eq!(seen.next, None);
}

#[test]
fn the_digest_is_an_item_of_the_pending_list() {
    let config = Server::of(&[("cores", "4")]).config();
    assert_eq!(config.digest.as_deref(), Some("d1"));
    assert!(!config.current.contains_key("digest") && !config.next.contains_key("digest"));
}

#[test]
fn unset_options_are_reported_as_their_defaults() {
    let seen = Server::of(&[]).seen();
    let expected = MachineSpec {
        cpu: Some(1),
        sockets: Some(1),
        memory: Some(Bytes::mib(512)),
        firmware: Some(Firmware::Bios),
        tpm: Some(false),
        cdrom: Some(Cdrom::None),
        autostart: Some(Autostart { enabled: false, order: None, wait_s: None }),
        protect: Some(false),
        tags: Some(BTreeSet::new()),
        notes: Some(String::new()),
        ..MachineSpec::default()
    };
    assert_eq!(seen.spec, expected);
}

#[test]
fn pending_values_are_told_from_those_in_force() {
    let mut server = Server::of(&[("cores", "2"), ("memory", "1024")]);
    server.running = true;
    server.store("cores", "4");
    let seen = server.seen();
    assert_eq!((seen.spec.cpu, seen.settled().cpu), (Some(2), Some(4)));
    assert_eq!(seen.spec.memory, seen.settled().memory);
}

#[test]
fn every_kind_of_device_is_listed_with_the_boot_disk_first() {
    let seen = Server::of(&[
        ("scsi0", "a:vm-1-disk-0,size=4G"),
        ("scsi1", "a:vm-1-disk-1,size=8G"),
        ("scsi10", "a:vm-1-disk-2,size=8G"),
        ("scsi2", "a:vm-1-disk-3,size=8G"),
        ("boot", "order=scsi1;ide0"),
        ("ide0", "local:iso/a.iso,media=cdrom"),
        ("ide2", "a:vm-1-cloudinit,media=cdrom"),
        ("efidisk0", "a:vm-1-disk-4,size=528K"),
        ("tpmstate0", "a:vm-1-disk-5,size=4M,version=v2.0"),
        ("unused0", "a:vm-1-disk-6"),
        ("net0", "e1000=BC:24:11:00:00:01,bridge=vmbr0"),
        ("scsihw", "virtio-scsi-single"),
    ])
    .seen();
    let slots: Vec<(&str, DeviceKind)> =
        seen.devices.iter().map(|it| (it.slot.as_str(), it.kind)).collect();
    use DeviceKind as K;
    let expected = [
        ("scsi1", K::Disk),
        ("efidisk0", K::Firmware),
        ("ide0", K::Cdrom),
        ("ide2", K::Seed),
        ("net0", K::Nic),
        ("scsi0", K::Disk),
        ("scsi2", K::Disk),
        ("scsi10", K::Disk),
        ("tpmstate0", K::Tpm),
        ("unused0", K::Detached),
    ];
    assert_eq!(slots, expected);
    assert_eq!(seen.device("scsi10").unwrap().size, Some(Bytes::gib(8)));
    assert_eq!(seen.spec.boot, Some(vec![BootDevice::Disk, BootDevice::Cdrom]));
    assert_eq!(seen.spec.cdrom, Some(Cdrom::Iso("local:iso/a.iso".into())));
}

#[test]
fn a_boot_order_with_an_unknown_device_has_no_kinds() {
    let seen = Server::of(&[
        ("scsi0", "a:vm-1-disk-0,size=4G"),
        ("net0", "virtio=BC:24:11:00:00:01"),
        ("net1", "virtio=BC:24:11:00:00:02"),
        ("boot", "order=scsi0;net1"),
    ])
    .seen();
    assert_eq!(seen.spec.boot, None);
}

#[test]
fn the_mark_of_a_pool_stands_at_the_end_of_its_line() {
    let pool = DesiredPool {
        key: ResourceKey::pool("acme"),
        comment: Some("Acme production".into()),
        at: BTreeMap::new(),
        acl: BTreeMap::new(),
        place: place(),
    };
    let lowered =
        Proxmox.lower(&Change::CreatePool(PoolChange { pool: &pool, seen: None })).unwrap();
    let target = Target::with_id(pool.key.clone(), "acme", None);
    let identity = Identity { key: pool.key.clone(), ..identity() };
    let fresh = Fresh { object: FreshObject::Absent, version: None, raw: serde_json::Value::Null };
    let key = MarkerKey::new(*b"k");
    let call =
        Call { marker_key: Some(&key), ..call(&lowered.steps[0], &target, &identity, &fresh) };
    let request = native_request(&call).unwrap();
    assert_eq!((request.method, request.answers), (Method::Post, Answers::Nothing));
    let (_, comment) = &request.params[0];
    assert!(comment.starts_with("Acme production novahost/1 project=acme key=pool/acme"));
    assert!(!comment.contains('\n'));
    let seen = super::translate::pool(comment, BTreeSet::new(), false);
    assert_eq!(seen.comment, "Acme production");
    assert!(key.verifies(seen.marker.found().unwrap()));
    let gone = super::translate::pool("plain text", BTreeSet::new(), false);
    assert_eq!((gone.comment.as_str(), gone.marker), ("plain text", MarkerState::None));
}

#[test]
fn secrets_are_not_shown() {
    let request = NativeRequest {
        method: Method::Post,
        path: "/x".into(),
        params: vec![("cipassword".into(), "hunter2".into()), ("ciuser".into(), "a".into())],
        secret_params: vec!["cipassword"],
        answers: Answers::Task,
    };
    let shown = format!("{request:?}");
    assert!(!shown.contains("hunter2") && shown.contains("****") && shown.contains("\"a\""));
}

#[test]
fn our_tag_can_be_left_out_where_it_is_refused() {
    let request = |tags: &str| NativeRequest {
        method: Method::Post,
        path: "/x".into(),
        params: vec![("tags".into(), tags.into())],
        secret_params: Vec::new(),
        answers: Answers::Task,
    };
    let without = |tags: &str| request(tags).without_bulk_tag(&"acme".into());
    assert_eq!(without("nh-acme;web"), Some(request("web")));
    assert!(without("nh-acme").unwrap().params.is_empty());
    assert_eq!(without("web"), None);
}

#[test]
fn every_field_has_a_cost_or_is_known_to_be_fixed() {
    use FieldKind as K;
    let refused = [
        K::Label,
        K::LabelValues,
        K::Snapshots,
        K::HardwareVersion,
        K::Extra,
        K::Spread,
        K::Acl,
        K::Members,
        K::Member,
        K::Enabled,
    ];
    let told = [K::InitPassword, K::InitWindows, K::InitCustomization];
    let fixed = [K::DiskBus, K::DiskStorage].into_iter().chain(told).chain(refused);
    let fixed: Vec<FieldKind> = fixed.collect();
    let capabilities = Proxmox.capabilities();
    for kind in FieldKind::ALL {
        let has_cost = capabilities.cost(kind, true).is_some();
        assert_ne!(has_cost, fixed.contains(&kind), "{kind:?}");
    }
    assert_eq!(capabilities.cost(FieldKind::Memory, false), Some(Disruption::None));
    assert_eq!(capabilities.cost(FieldKind::Name, false), Some(Disruption::Reinit));
}

fn faults(edit: impl FnOnce(&mut MachineSpec)) -> BTreeMap<String, String> {
    let mut spec = full_spec();
    edit(&mut spec);
    let found = Proxmox.normalize(&from_template(spec)).err().unwrap_or_default();
    found.into_iter().map(|it| (it.field.to_string(), it.why)).collect()
}

#[test]
fn what_the_product_cannot_have_is_an_error_on_its_field() {
    let eth0 = |spec: &mut MachineSpec, edit: fn(&mut NicSpec)| {
        edit(spec.nics.get_mut("eth0").unwrap());
    };
    let boot = |spec: &mut MachineSpec, size| {
        spec.disks.get_mut("boot").unwrap().size = Some(size);
    };
    let cases: Vec<(&str, BTreeMap<String, String>)> = vec![
        (
            "name",
            faults(|it| {
                it.name = Some("web_1".into());
                it.init = None;
            }),
        ),
        ("sockets", faults(|it| it.sockets = Some(3))),
        ("memory", faults(|it| it.memory = Some(Bytes(Bytes::MIB + 1)))),
        ("memory", faults(|it| it.memory = Some(Bytes::mib(8)))),
        ("tags", faults(|it| it.tags = Some(["a b".to_owned()].into()))),
        (
            "label.tenant",
            faults(|it| drop(it.labels.insert("tenant".into(), ["acme".to_owned()].into()))),
        ),
        ("tags", faults(|it| it.tags = Some(["nh-other".to_owned()].into()))),
        ("hardware_version", faults(|it| it.hardware_version = Some(21))),
        ("extra_config.a.b", faults(|it| drop(it.extra.insert("a.b".into(), "1".into())))),
        ("notes", faults(|it| it.notes = Some("novahost/1 x".into()))),
        ("notes", faults(|it| it.notes = Some("x".repeat(8000)))),
        ("boot", faults(|it| it.boot = Some(vec![BootDevice::Disk, BootDevice::Disk]))),
        ("cdrom", faults(|it| it.cdrom = Some(Cdrom::Iso("a.iso".into())))),
        ("disk.boot.size", faults(|it| boot(it, Bytes::mib(1)))),
        ("disk.data", faults(|it| it.disks.get_mut("data").unwrap().slot = Some(16))),
        ("nic.eth0.vlan", faults(|it| eth0(it, |nic| nic.vlan = Some(4095)))),
        ("nic.eth0.mac", faults(|it| eth0(it, |nic| nic.mac = "01:00:00:00:00:01".parse().ok()))),
        ("nic.eth0.gateway", faults(|it| eth0(it, |nic| nic.ip = Some(IpSetting::Dhcp)))),
        (
            "init.hostname",
            faults(|it| {
                it.init.as_mut().unwrap().hostname = Some("other".into());
            }),
        ),
    ];
    for (field, found) in cases {
        assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), [field], "{found:?}");
    }
}

#[test]
fn a_spec_is_spelt_as_it_will_be_read_back() {
    let mut spec = full_spec();
    spec.tags = Some(["Web".to_owned(), "PROD".to_owned()].into());
    spec.notes = Some("Front end\nsecond line \n\n".into());
    spec.init.as_mut().unwrap().ssh_keys =
        Some(vec![" ssh-ed25519 AAAA+/= deploy@host\n".into(), "\n".into()]);
    assert_eq!(normalized(&from_template(spec)), full_spec());
}

#[test]
fn an_address_needs_an_image_that_reads_it() {
    let mut machine = from_template(MachineSpec { init: None, ..full_spec() });
    machine.birth.as_mut().unwrap().takes_init = false;
    let found = Proxmox.normalize(&machine).unwrap_err();
    assert_eq!(found[0].field.to_string(), "nic.eth0.ip");
    let nic = machine.spec.nics.get_mut("eth0").unwrap();
    (nic.ip, nic.gateway) = (Some(IpSetting::Dhcp), None);
    assert_eq!(Proxmox.normalize(&machine).unwrap().nics["eth0"].ip, None);
}

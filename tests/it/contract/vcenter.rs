//! VMware vCenter as a subject: the simulated installation, in one reading of the points
//! that nobody has confirmed.

use super::subject::{
    Act, CROWD, Door, Need, Point, Props, Scene, Subject, Trouble, WRONG_SECRET, World as Stage,
};
use crate::support::recording_of;
use async_trait::async_trait;
use mock_servers::vcenter::{
    self, Control, Fault, FaultPoint, Options, Switches, World,
    access::{ADMIN, Grant, NO_ACCESS, READ_ONLY, VIEW, canonical},
    events::Event,
    vm::Vm,
    world::{Entity, Kind},
};
use novahost::{
    clock::Clock,
    model::{At, Birthplace, Grantee, Name, NativeId, Product, ResourceKey, Target, TaskRef},
    provider::{
        Provider,
        endpoint::Endpoint,
        tls::{Fingerprint, TlsTrust},
        vcenter::{DeclaredLabels, PORT, PoolPlace, Settings, Vcenter, VcenterProvider},
    },
};
use secrecy::SecretString;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Three clusters, of which one does not choose hosts: there the host is chosen by a plan.
const WORLD: &str = include_str!("../../../fixtures/worlds/vcenter-three.yaml");
const USER: &str = "novahost@vsphere.local";
const PASSWORD: &str = "sandbox-password";
/// A group that hides something, once our account is in it.
const OPERATORS: &str = "operators@vsphere.local";

/// Somebody, a group, and somebody whom the directory does not know.
const PEOPLE: [(&str, bool); 3] = [
    (r"VSPHERE.LOCAL\reader", false),
    (r"VSPHERE.LOCAL\operators", true),
    (r"VSPHERE.LOCAL\nobody", false),
];

/// Every method that the client can send.
const CALLS: [&str; 48] = [
    "AddAuthorizationRole",
    "AddCustomFieldDef",
    "CloneVM_Task",
    "ContinueRetrievePropertiesEx",
    "CreateContainerView",
    "CreateFolder",
    "CreateResourcePool",
    "CreateSnapshot_Task",
    "CreateVM_Task",
    "CurrentTime",
    "CustomizeVM_Task",
    "DestroyView",
    "Destroy_Task",
    "UnregisterAndDestroy_Task",
    "FindAllByUuid",
    "FindChild",
    "GetCustomizationSpec",
    "Login",
    "Logout",
    "PowerOffVM_Task",
    "PowerOnVM_Task",
    "QueryEvents",
    "ReconfigVM_Task",
    "ReconfigureComputeResource_Task",
    "RelocateVM_Task",
    "RemoveEntityPermission",
    "RemoveSnapshot_Task",
    "RetrieveAllPermissions",
    "RetrieveEntityPermissions",
    "RetrievePropertiesEx",
    "RetrieveServiceContent",
    "RetrieveUserGroups",
    "SetEntityPermissions",
    "SetField",
    "ShutdownGuest",
    "UpgradeVM_Task",
    "tags.attach",
    "tags.categories",
    "tags.category",
    "tags.detach",
    "tags.login",
    "tags.logout",
    "tags.make-category",
    "tags.make-tag",
    "tags.of-category",
    "tags.tag",
    "tags.worn",
    "vimServiceVersions.xml",
];

/// Descriptions of guests that the installation keeps: of a Linux that names its guests
/// itself, of a Windows with a password, and one that came from another installation.
const SPECS: [(&str, &str, &str); 3] = [
    (
        "linux",
        "Linux",
        r#"<options xsi:type="CustomizationLinuxOptions"/>
        <identity xsi:type="CustomizationLinuxPrep"><hostName xsi:type="CustomizationVirtualMachineName"/>
        <domain>acme.example</domain><timeZone>Europe/Paris</timeZone><hwClockUTC>true</hwClockUTC></identity>
        <globalIPSettings><dnsServerList>192.0.2.53</dnsServerList></globalIPSettings>
        <nicSettingMap><adapter><ip xsi:type="CustomizationFixedIp"><ipAddress>192.0.2.9</ipAddress></ip>
        <subnetMask>255.255.255.0</subnetMask></adapter></nicSettingMap>"#,
    ),
    (
        "windows",
        "Windows",
        r#"<options xsi:type="CustomizationWinOptions"><changeSID>true</changeSID><deleteAccounts>false</deleteAccounts></options>
        <identity xsi:type="CustomizationSysprep"><guiUnattended><password><value>c2VjcmV0</value>
        <plainText>false</plainText></password><timeZone>105</timeZone><autoLogon>false</autoLogon>
        <autoLogonCount>0</autoLogonCount></guiUnattended><userData><fullName>Acme</fullName>
        <orgName>Acme</orgName><computerName xsi:type="CustomizationUnknownName"/><productId></productId>
        </userData><identification><joinWorkgroup>ACME</joinWorkgroup></identification></identity>
        <globalIPSettings/><encryptionKey>{KEY}</encryptionKey>"#,
    ),
    (
        "elsewhere",
        "Windows",
        r#"<identity xsi:type="CustomizationSysprep"><guiUnattended><password><value>c2VjcmV0</value>
        <plainText>false</plainText></password><timeZone>105</timeZone><autoLogon>false</autoLogon>
        <autoLogonCount>0</autoLogonCount></guiUnattended><userData><fullName>Acme</fullName>
        <orgName>Acme</orgName><computerName xsi:type="CustomizationUnknownName"/><productId></productId>
        </userData><identification/></identity><globalIPSettings/>
        <encryptionKey>YW5vdGhlcg==</encryptionKey>"#,
    ),
];

/// One reading.
pub struct Installation {
    switches: Switches,
    seen: Mutex<Vec<Control>>,
    used: Mutex<BTreeSet<String>>,
}

impl Installation {
    pub fn new(switches: Switches) -> Self {
        Self { switches, seen: Mutex::default(), used: Mutex::default() }
    }
}

#[async_trait]
impl Subject for Installation {
    fn position(&self) -> String {
        let switches = if self.switches == Switches::default() { "default" } else { "flipped" };
        format!("vcenter {switches}")
    }

    async fn world(&self, rule: &str, scene: Scene, faulty: bool) -> Arc<dyn Stage> {
        let mut options = Options::new(7);
        options.switches = self.switches;
        options.record = recording_of("vcenter", faulty, &format!("contract-{rule}"));
        // A refusal of credentials is late, and its lateness is no rule.
        options.timing.login_delay = Duration::ZERO;
        let mut world = world();
        match scene {
            Scene::Usual | Scene::Labelled => {}
            Scene::Slow => {
                let long = Duration::from_millis(500);
                options.timing.kinds.clear();
                options.timing.task = (long, long);
            }
            Scene::Idle => options.timing.keep_alive = Duration::from_millis(250),
            Scene::Crowd => {
                crowd(&mut world);
                options.page_max = 25;
            }
        }
        let props = props(&world);
        let server = vcenter::serve(world, options).await.unwrap();
        let control = server.control();
        for (name, kind, inside) in SPECS {
            assert!(control.keep_spec(name, kind, inside), "{name}");
        }
        self.seen.lock().unwrap().push(control.clone());
        let labelled = scene == Scene::Labelled;
        Arc::new(Played { server, control, props, labelled })
    }

    fn calls(&self) -> (BTreeMap<String, usize>, BTreeSet<String>) {
        let mut sent: BTreeMap<String, usize> = BTreeMap::new();
        for control in self.seen.lock().unwrap().iter() {
            for (method, times) in control.counts() {
                *sent.entry(method).or_default() += times;
            }
        }
        let known: BTreeSet<String> = CALLS.iter().map(|it| (*it).to_owned()).collect();
        let unknown: Vec<_> = sent.keys().filter(|it| !known.contains(*it)).collect();
        assert!(unknown.is_empty(), "the client sends what is in no list: {unknown:?}");
        let unsent = known.into_iter().filter(|it| !sent.contains_key(it)).collect();
        (sent, unsent)
    }

    fn note(&self, word: String) {
        self.used.lock().unwrap().insert(word);
    }

    fn used(&self) -> BTreeSet<String> {
        self.used.lock().unwrap().clone()
    }

    fn lacks(&self) -> BTreeMap<Need, &'static str> {
        let unfiltered = self.switches.hidden_in_lists;
        let hides = (!unfiltered).then_some((Need::HiddenTold, "lists leave out what is hidden"));
        let always = [
            (Need::NamedTasks, "events name accounts and no tasks"),
            (Need::HostsKnow, "the inventory is the server's, whichever host is silent"),
            (Need::Quorum, "one server writes"),
            (Need::ChosenIds, "the server chooses ids"),
            (Need::OwnPools, "a pool is a folder and a resource pool"),
            (Need::Pending, "nothing waits for the next start"),
            (Need::Addresses, "one server has one address"),
            (Need::Compression, "its simulator does not compress"),
            (Need::Warnings, "a task ends well or badly"),
            (Need::Containers, "all guests are machines"),
        ];
        always.into_iter().chain(hides).collect()
    }

    fn unspoken(&self) -> BTreeMap<&'static str, &'static str> {
        let pools = "a pool is a folder and a resource pool";
        [
            ("grow-disk", "a disk grows in a configuration"),
            ("create-pool", pools),
            ("delete-pool", pools),
            ("setting tpm", "a TPM needs a key provider"),
            ("setting autostart", "it is a setting of hosts"),
            ("setting tags", "a tag belongs to a category"),
            ("setting machine-uuid", "a machine is born with it"),
        ]
        .into()
    }
}

fn folder(world: &World, name: &str) -> String {
    world.find("Folder", name).unwrap().to_owned()
}

/// The world of the file, with folders in folders; one of them has a name that is stored
/// with an escape.
fn world() -> World {
    let mut world = World::from_yaml(WORLD).unwrap();
    for (parent, name) in [("legacy", "shared"), ("novahost", "a%2fb"), ("a%2fb", "team")] {
        let parent = folder(&world, parent);
        let holds = ["Folder", "VirtualMachine", "VirtualApp"].map(str::to_owned);
        world.add("group", Entity::new(name, Some(&parent), Kind::Folder(holds.into())));
    }
    let shared = folder(&world, "shared");
    let dns = world.find("VirtualMachine", "dns-legacy").unwrap().to_owned();
    world.entities.get_mut(&dns).unwrap().parent = Some(shared);
    world
}

/// Many machines with the mark of our project.
fn crowd(world: &mut World) {
    let like = world.find("VirtualMachine", "old-print").unwrap().to_owned();
    let template = world.find("VirtualMachine", "tpl-debian-13").unwrap().to_owned();
    let machines: Vec<String> = world.vms().map(|(id, _)| id.to_owned()).collect();
    for n in 0..CROWD {
        let mut entity = world.entities[&like].clone();
        entity.name = format!("m-{n}");
        let Kind::Vm(vm) = &mut entity.kind else { unreachable!() };
        let uuid = uuid::Uuid::from_u128(0x1000 + n as u128).to_string();
        vm.instance_uuid.clone_from(&uuid);
        vm.config.extra.insert(
            "novahost.id".to_owned(),
            format!(
                "novahost/1 project=acme key=vm/m-{n} uuid={uuid} id=vm-1 stage=ready intent=c1d2e3f4-0000-5000-8000-000000020500 protect=0"
            ),
        );
        world.add("vm", entity);
    }
    for id in machines.iter().filter(|id| **id != template) {
        world.entities.remove(id);
    }
}

fn props(world: &World) -> Props {
    let target = |name: &str, node: &str| {
        let id = world.find("VirtualMachine", name).unwrap_or("vm-0");
        Target::with_id(ResourceKey::vm("someone"), id, Some(node.into()))
    };
    Props {
        hypervisor: "vc-paris".into(),
        hosts: ["C1".into(), "esx2.example.test".into(), "C3".into()],
        template: target("tpl-debian-13", "C1"),
        template_name: "tpl-debian-13".into(),
        foreign: target("team-web", "esx2.example.test"),
        free: None,
        storage: "fast".into(),
        other_storage: "local-lvm".into(),
        outsider: r"VSPHERE.LOCAL\ops".into(),
        people: Some(PEOPLE.map(|(name, group)| Grantee::new(name, group))),
        networks: ["VM Network".into(), "dvs-app".into()],
        iso: "[local] iso/opnsense.iso".into(),
        pool: "shared-infra".into(),
        linked_grows: false,
        protects_itself: false,
        bad_notes: "bell \u{7}".to_owned(),
        decorations: vec![
            "vendor.key",
            "start_connected: false",
            "limit: 4321",
            "cpu_hot_add: true",
        ],
        second_disk: "scsi0:1",
    }
}

struct Played {
    server: vcenter::Server,
    control: Control,
    props: Props,
    labelled: bool,
}

/// What a configuration declares in a world with labels.
fn labels() -> DeclaredLabels {
    let values = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
    let all: BTreeMap<Name, BTreeSet<String>> =
        [("tenant".into(), values(&["acme", "beta"])), ("tier".into(), values(&["silver"]))].into();
    DeclaredLabels { machines: [(super::lab::key(), all.clone())].into(), values: all }
}

impl Played {
    fn settings(&self) -> Settings {
        let place = |folder: &str, pool: &str| PoolPlace {
            folder: Some(folder.into()),
            resource_pool: Some(pool.into()),
            grantees: BTreeSet::new(),
        };
        let grantees = PEOPLE.map(|(name, group)| Grantee::new(name, group)).into();
        let tenant = PoolPlace { grantees, ..place("novahost/x%2Fy/tenant", "/Tenants/ten%25ant") };
        let pools: BTreeMap<Name, PoolPlace> = [
            ("shared-infra".into(), place("legacy/shared", "shared-infra")),
            ("team".into(), place("novahost/a%2Fb/team/", "shared-infra")),
            ("later".into(), place("novahost/later", "shared-infra")),
            ("tenant".into(), tenant),
        ]
        .into();
        Settings {
            name: self.props.hypervisor.clone(),
            project: Some("acme".into()),
            endpoint: Endpoint::parse(&self.server.endpoint(), PORT).unwrap(),
            allowed_hosts: BTreeSet::new(),
            username: USER.into(),
            password: SecretString::from(PASSWORD),
            tls: TlsTrust::Ca(self.server.ca_pem().to_owned().into()),
            datacenter: None,
            cluster: Some("C1".into()),
            folder: "novahost".into(),
            pools,
            setups: ["elsewhere", "linux", "nothing", "windows"].map(str::to_owned).into(),
            labels: if self.labelled { labels() } else { DeclaredLabels::default() },
            keys: [(
                super::lab::key(),
                ["disk.EnableUUID", "tools.syncTime"].map(str::to_owned).into(),
            )]
            .into(),
            reads_max: 8,
            writes_max: 4,
            expected_identity: None,
            settle: Duration::from_millis(300),
        }
    }

    /// The machine at a place, whether it has an id that somebody knows or not.
    fn find(world: &World, at: &At) -> Option<String> {
        let found = match at {
            At::Id(id) => world.vm(id.as_str()).map(|_| id.as_str()),
            At::Birth(place) => world.find("VirtualMachine", &place.name),
        };
        found.map(str::to_owned)
    }

    /// Something that somebody else did, as the log of events tells it.
    fn filed(&self, ty: &str, id: &NativeId) {
        let now_ms = u64::try_from(Clock::system().now_ms()).unwrap();
        self.control.edit(|world| {
            world.counters.event += 1;
            let key = world.counters.event;
            let name = world.entities[id.as_str()].name.clone();
            world.events.push(Event {
                key,
                chain: key,
                ty: ty.to_owned(),
                when_ms: now_ms,
                user: self.props.outsider.clone(),
                vm: Some((id.to_string(), name)),
                message: String::new(),
            });
        });
    }

    fn change(&self, id: &NativeId, change: impl FnOnce(&mut Vm)) {
        self.control.change_vm(id.as_str(), change);
    }

    /// Puts one permission on the root; on nothing else is there one for our account.
    fn on_root(&self, role: Option<i32>) {
        self.control.edit(|world| {
            let ours = canonical(USER);
            for entity in world.entities.values_mut() {
                entity.grants.retain(|grant| grant.principal != ours);
            }
            let root = world.root().to_owned();
            let root = world.entities.get_mut(&root).unwrap();
            root.grants.extend(role.map(|role| grant(USER, false, role)));
        });
    }
}

fn grant(principal: &str, group: bool, role: i32) -> Grant {
    Grant { principal: canonical(principal), group, role, propagate: true }
}

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("https://{}", listener.local_addr().unwrap())
}

impl Stage for Played {
    fn props(&self) -> &Props {
        &self.props
    }

    fn provider(&self, door: Door) -> Arc<dyn Provider> {
        let mut settings = self.settings();
        match door {
            Door::Usual | Door::Session => {}
            Door::WrongSecret => settings.password = SecretString::from(WRONG_SECRET),
            Door::WrongPin => settings.tls = TlsTrust::Pins(vec![Fingerprint([3; 32])]),
            Door::WrongAuthority => {
                let key = rcgen::KeyPair::generate().unwrap();
                let other = rcgen::CertificateParams::new(vec!["other".to_owned()]).unwrap();
                settings.tls = TlsTrust::Ca(other.self_signed(&key).unwrap().pem().into());
            }
            Door::RightPin => {
                let pin = self.server.leaf_sha256().parse().unwrap();
                settings.tls = TlsTrust::Pins(vec![pin]);
            }
            Door::WrongIdentity => {
                settings.expected_identity = Some(uuid::Uuid::from_u128(5).to_string());
            }
            Door::RightIdentity => {
                let uuid = self.control.inspect(|world| world.instance_uuid.to_uppercase());
                settings.expected_identity = Some(uuid);
            }
            Door::Dead => settings.endpoint = Endpoint::parse(&nobody(), PORT).unwrap(),
            Door::FirstDead => unreachable!("one server has one address"),
        }
        Arc::new(VcenterProvider::new(settings, Clock::system()).unwrap())
    }

    fn product(&self) -> &'static dyn Product {
        &Vcenter
    }

    fn outsider(&self, act: Act<'_>) {
        let control = &self.control;
        match act {
            Act::Edit(id) => self.change(id, |vm| vm.config.cpus += 1),
            Act::Work(id) => {
                self.filed("VmReconfiguredEvent", id);
                self.outsider(Act::Edit(id));
            }
            Act::Destroy(id) => {
                self.filed("VmRemovedEvent", id);
                self.outsider(Act::Delete(id));
            }
            Act::Rename(id, name) => {
                control.edit(|world| {
                    name.clone_into(&mut world.entities.get_mut(id.as_str()).unwrap().name);
                });
                self.change(id, |_| {});
            }
            Act::Delete(id) => control.delete_vm(id.as_str()),
            Act::Lock(id) => control.busy(id.as_str(), true),
            Act::Unlock(id) => control.busy(id.as_str(), false),
            Act::Power(id, on) => control.power(id.as_str(), on),
            Act::Migrate(id) => control.edit(|world| {
                let host = world.find("HostSystem", "esx3.example.test").unwrap().to_owned();
                let cluster = world.entities[&host].parent.clone().unwrap();
                let Kind::Cluster { pool, .. } = world.entities[&cluster].kind.clone() else {
                    unreachable!()
                };
                let vm = world.vm_mut(id.as_str()).unwrap();
                (vm.host, vm.pool) = (host, Some(pool));
            }),
            Act::Decorate(id) => self.change(id, |vm| {
                vm.config.annotation = "Written by hand.".to_owned();
                vm.config.extra.insert("vendor.key".to_owned(), "kept".to_owned());
                vm.config.memory.limit = 4321;
                vm.config.cpu_hot_add = true;
                vm.config.nics_mut().for_each(|nic| nic.start_connected = false);
            }),
            Act::BeginBirth(at) => {
                let At::Birth(place) = at else { unreachable!("ids are the server's") };
                let like = control.find_vm("old-print").unwrap();
                let made = control.clone_vm(&like, &place.name).unwrap();
                control.edit(|world| {
                    let novahost = folder(world, "novahost");
                    world.entities.get_mut(&made).unwrap().parent = Some(novahost);
                    let vm = world.vm_mut(&made).unwrap();
                    vm.forming = Some("task-0".to_owned());
                });
            }
            Act::NeedsPerson(id) => self.change(id, |vm| {
                vm.question = Some("Did you move it, or did you copy it?".to_owned());
            }),
            Act::TakeTools(id) => self.change(id, |vm| vm.behaviour.tools = false),
            Act::Deafen(id) => self.change(id, |vm| {
                (vm.behaviour.tools, vm.behaviour.answers_shutdown) = (true, false);
            }),
            Act::HostDown(down) => control.host_offline("esx3.example.test", down),
            Act::Frozen(_) => unreachable!("one server writes"),
            Act::Narrow => {
                self.on_root(None);
                control.edit(|world| {
                    let root = world.root().to_owned();
                    let seen = Grant { propagate: false, ..grant(USER, false, VIEW) };
                    world.entities.get_mut(&root).unwrap().grants.push(seen);
                    let center = world.find("Datacenter", "DC0").unwrap().to_owned();
                    let legacy = folder(world, "legacy");
                    // On each machine: one is seen by its pool too.
                    let hidden: Vec<String> = world
                        .vms()
                        .filter(|(id, _)| world.is_below(id, &legacy))
                        .map(|(id, _)| id.to_owned())
                        .collect();
                    let mut give = |id: &str, role| {
                        let entity = world.entities.get_mut(id).unwrap();
                        entity.grants.push(grant(USER, false, role));
                    };
                    give(&center, ADMIN);
                    hidden.iter().for_each(|id| give(id, NO_ACCESS));
                });
            }
            // For a group that our user is in; nobody can ask for that.
            Act::Hide(id) => control.edit(|world| {
                let user = world.access.users.get_mut(&canonical(USER)).unwrap();
                user.groups.insert(OPERATORS.to_owned());
                let entity = world.entities.get_mut(id.as_str()).unwrap();
                entity.grants.push(grant(OPERATORS, true, NO_ACCESS));
            }),
            Act::ReadOnly => self.on_root(Some(READ_ONLY)),
            Act::Crowded(crowded) => control.crowd_hosts(crowded),
            Act::EndSessions => control.end_sessions(),
            Act::Sibling(id, name) => {
                let made = control.clone_vm(id.as_str(), name).unwrap();
                self.change(&made.as_str().into(), |vm| {
                    let marker = format!(
                        "novahost/1 project=acme key=vm/{name} uuid={} id={made} stage=ready \
                         intent=c1d2e3f4-0000-5000-8000-000000020500 init=none protect=0",
                        vm.instance_uuid
                    );
                    vm.config.extra.insert("novahost.id".to_owned(), marker);
                });
            }
            Act::Windows(id) => control.change_vm(id.as_str(), |vm| {
                vm.config.guest_id = "windows2019srv_64Guest".to_owned();
            }),
            Act::Label(id, key, value) => control.edit(|world| {
                let found = world.tagging.categories.iter().find(|(_, it)| it.name == key);
                let category = match found.map(|(urn, _)| urn.clone()) {
                    Some(urn) => urn,
                    None => world.add_category(key, true, &[]),
                };
                let tag = world.add_tag(&category, value);
                world.tagging.attached.insert((tag, id.to_string()));
            }),
            Act::BranchOff(id, name) => {
                let made = control.clone_vm(id.as_str(), name).unwrap();
                control.edit(|world| {
                    let source = &world.vm(id.as_str()).unwrap().snapshots[0];
                    let base = source.config.disks().next().unwrap().file.clone();
                    let vm = world.vm_mut(&made).unwrap();
                    vm.config.extra.clear();
                    let file = vm.config.disks().next().unwrap().file.clone();
                    world.volumes.get_mut(&file).unwrap().parent = Some(base);
                });
            }
            Act::Ruin(id) => self.change(id, |vm| vm.connection = "inaccessible".to_owned()),
            Act::Permit(id, who) => control.edit(|world| {
                let principal = canonical(who);
                let grant = Grant { principal, group: false, role: ADMIN, propagate: true };
                world.entities.get_mut(id.as_str()).unwrap().grants.push(grant);
            }),
            Act::MakePool(name) => control.edit(|world| {
                let parent = folder(world, "novahost");
                let holds = ["Folder", "VirtualMachine", "VirtualApp"].map(str::to_owned);
                world.add("group", Entity::new(name, Some(&parent), Kind::Folder(holds.into())));
            }),
        }
    }

    fn trouble(&self, at: Point, what: Trouble, times: usize) {
        let mut left = times;
        self.control.set_fault(Box::new(move |point: &FaultPoint| {
            let reads = point.method == "RetrievePropertiesEx";
            let whole = point.arrival.text.contains("ContainerView");
            let hit = match at {
                Point::Listing => reads && whole,
                Point::NextPage => point.method == "ContinueRetrievePropertiesEx",
                Point::HostListing => unreachable!("hosts are not asked"),
                Point::Machine => reads && point.arrival.text.contains("config.hardware.device"),
                Point::Mutation => point.arrival.mutates,
            };
            if !hit || left == 0 {
                return None;
            }
            left -= 1;
            Some(fault(&what))
        }));
    }

    fn calm(&self) {
        self.control.clear_fault();
    }

    fn requests(&self) -> usize {
        self.control.requests().len()
    }

    fn mutations(&self) -> usize {
        self.control.requests().iter().filter(|it| it.mutates).count()
    }

    fn logins(&self) -> usize {
        self.control.counts().get("Login").copied().unwrap_or(0)
    }

    fn compressed(&self) -> usize {
        0
    }

    fn permits(&self, id: &NativeId) -> Vec<String> {
        self.control.inspect(|world| {
            let grants = &world.entities[id.as_str()].grants;
            let others = grants.iter().filter(|it| it.role < 0);
            others.map(|it| format!("{}: {} {}", it.principal, it.role, it.propagate)).collect()
        })
    }

    fn truth(&self, at: &At) -> String {
        self.control.inspect(|world| match Self::find(world, at) {
            None => "nothing".to_owned(),
            Some(id) => {
                let entity = &world.entities[&id];
                format!("{} {:?} {:?}", entity.name, entity.parent, world.vm(&id))
            }
        })
    }

    fn occupied(&self, birth: &Birthplace) -> (At, At) {
        let made = self.control.stranger(&birth.name).unwrap();
        self.control.edit(|world| {
            let place = birth.pool.as_ref().map(|_| folder(world, "shared"));
            let parent = place.unwrap_or_else(|| folder(world, "novahost"));
            world.entities.get_mut(&made).unwrap().parent = Some(parent);
        });
        (At::Birth(birth.clone()), At::Id(made.as_str().into()))
    }

    fn hears(&self, at: &At) -> bool {
        let now_ms = u64::try_from(Clock::system().now_ms()).unwrap();
        self.control.inspect(|world| {
            let id = Self::find(world, at).unwrap_or_default();
            let Some(vm) = world.vm(&id) else { return true };
            vm.power != "poweredOn" || !vm.behaviour.tools || now_ms > vm.started_ms + 100
        })
    }

    fn detached(&self, at: &At) -> usize {
        self.control.inspect(|world| {
            let id = Self::find(world, at).unwrap();
            let vm = world.vm(&id).unwrap();
            let held: Vec<&str> = vm.config.disks().map(|disk| disk.file.as_str()).collect();
            let volumes = world.volumes.iter();
            volumes.filter(|(file, it)| it.owner == id && !held.contains(&file.as_str())).count()
        })
    }

    fn other_task(&self, task: &TaskRef) -> TaskRef {
        let number = task.0.rsplit('-').next().unwrap();
        TaskRef(task.0.replacen(&format!("task-{number}"), "task-999999", 1))
    }

    fn born(&self, name: &str) -> usize {
        self.control.inspect(|world| {
            world
                .entities
                .values()
                .filter(|it| matches!(it.kind, Kind::Vm(_)) && it.name == name)
                .count()
        })
    }

    fn hangs_on(&self, at: &At) -> Option<String> {
        self.control.inspect(|world| {
            let vm = world.vm(&Self::find(world, at)?)?;
            let file = &vm.config.disks().next()?.file;
            let parent = world.volumes[file].parent.clone()?;
            let mut snapshots = world.vms().flat_map(|(_, vm)| vm.snapshots.iter());
            let found = snapshots.find(|it| it.config.disks().any(|disk| disk.file == parent));
            found.map(|it| it.id.clone())
        })
    }

    fn labels(&self, at: &At) -> BTreeSet<String> {
        self.control.inspect(|world| world.tags_of(&Self::find(world, at).unwrap()))
    }

    fn told(&self, at: &At) -> Vec<String> {
        let specs = self
            .control
            .inspect(|world| world.vm(&Self::find(world, at).unwrap()).unwrap().setup.done.clone());
        let spec = &specs.last().unwrap().1;
        let identity = spec.get("identity").unwrap();
        let user = identity.get("userData").and_then(|it| it.get("computerName"));
        let name = user.or_else(|| identity.get("hostName")).unwrap();
        let card = |entry: &vcenter::Elem| {
            let adapter = entry.get("adapter").unwrap();
            match adapter.get("ip").unwrap().text_of("ipAddress") {
                Some(address) => {
                    let mask: std::net::Ipv4Addr =
                        adapter.text_of("subnetMask").unwrap().parse().unwrap();
                    format!("{address}/{}", u32::from(mask).count_ones())
                }
                None => "dhcp".to_owned(),
            }
        };
        let name = name.text_of("name").unwrap_or("?").to_owned();
        std::iter::once(name).chain(spec.all("nicSettingMap").map(card)).collect()
    }

    fn sessions(&self) -> usize {
        self.control.inspect(|world| world.sessions.len() + world.tagging.sessions.len())
    }

    fn secrets(&self) -> Vec<String> {
        [PASSWORD, WRONG_SECRET].map(str::to_owned).to_vec()
    }
}

/// Every method that the source names, but for what waits in one long request: a runner
/// asks about tasks one look at a time.
#[test]
fn every_method_of_the_source_is_in_the_list() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/provider/vcenter");
    let mut found = BTreeSet::new();
    for folder in [folder.clone(), folder.join("vim"), folder.join("customize")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !name.ends_with(".rs") || name.ends_with("tests.rs") || name == "tasks.rs" {
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                let literals = line.split('"').skip(1).step_by(2);
                let is_call = |it: &&str| {
                    let upper = it.starts_with(|letter: char| letter.is_ascii_uppercase());
                    let named = ["method = ", "method: ", "search("];
                    let named = named.iter().any(|it| line.contains(it));
                    upper && (it.ends_with("_Task") || named)
                };
                found.extend(literals.filter(is_call).map(str::to_owned));
            }
        }
    }
    assert!(found.len() >= 10, "the source is read wrongly: {found:?}");
    let strange: Vec<_> = found.iter().filter(|it| !CALLS.contains(&it.as_str())).collect();
    assert!(strange.is_empty(), "methods that no rule is asked to reach: {strange:?}");
}

fn fault(what: &Trouble) -> Fault {
    match what {
        Trouble::LostBefore => Fault::DropBefore,
        Trouble::LostAfter => Fault::DropAfter,
        Trouble::GatewayBefore => Fault::Status(503, "no healthy upstream".into()),
        Trouble::GatewayAfter => Fault::StatusAfter(503, "no healthy upstream".into()),
        Trouble::Cut => Fault::CutBody,
        Trouble::Refused(text) => Fault::Refused("SystemError".into(), text.clone()),
        Trouble::Echo => Fault::Echo(500),
        Trouble::Expired => Fault::Deed(vcenter::Deed::EndSessions),
        Trouble::Redirect => Fault::Status(301, "Moved Permanently".into()),
        Trouble::TaskFails(text) => Fault::TaskFails(text.clone()),
        Trouble::TaskDies => Fault::TaskVanishes,
        Trouble::TaskWarns(_) => unreachable!("a task ends well or badly"),
    }
}

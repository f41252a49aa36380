//! Proxmox VE as a subject: the simulated cluster, in one release and one reading of the
//! points that its sources leave open.

use super::subject::{
    Act, CROWD, Door, Need, Point, Props, Scene, Subject, Trouble, WRONG_SECRET, World as Stage,
};
use crate::support::{self, HYPERVISOR, Setup, TOKEN_ID, TOKEN_SECRET};
use async_trait::async_trait;
use mock_servers::pve::{
    Control, Fault, FaultPoint, Release, Switches, Timing, World,
    access::{AclEntry, AclKind},
    upid::Upid,
    world::{Guest, GuestKind, Pool, Task},
};
use novahost::{
    clock::Clock,
    model::{At, Birthplace, NativeId, Product, ResourceKey, Target, TaskRef},
    provider::{
        Provider,
        endpoint::Endpoint,
        proxmox::{Auth, PORT, Proxmox, ProxmoxProvider},
        tls::{Fingerprint, TlsTrust},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Every call that the client can send. `every_path_of_the_source_is_in_the_list` holds
/// it to the source, and each position's run to what arrived.
const CALLS: [(&str, &str); 30] = [
    ("GET", "/version"),
    ("POST", "/access/ticket"),
    ("GET", "/access/permissions"),
    ("GET", "/access/acl"),
    ("GET", "/access/roles"),
    ("GET", "/access/users/{userid}"),
    ("GET", "/cluster/resources"),
    ("GET", "/cluster/status"),
    ("GET", "/cluster/nextid"),
    ("GET", "/cluster/tasks"),
    ("GET", "/nodes"),
    ("GET", "/nodes/{node}/network"),
    ("GET", "/nodes/{node}/certificates/info"),
    ("GET", "/nodes/{node}/storage/{storage}/content"),
    ("GET", "/nodes/{node}/tasks"),
    ("GET", "/nodes/{node}/tasks/{upid}/status"),
    ("GET", "/nodes/{node}/tasks/{upid}/log"),
    ("GET", "/nodes/{node}/qemu"),
    ("POST", "/nodes/{node}/qemu"),
    ("DELETE", "/nodes/{node}/qemu/{vmid}"),
    ("GET", "/nodes/{node}/qemu/{vmid}/pending"),
    ("POST", "/nodes/{node}/qemu/{vmid}/config"),
    ("GET", "/nodes/{node}/qemu/{vmid}/status/current"),
    ("POST", "/nodes/{node}/qemu/{vmid}/status/{op}"),
    ("POST", "/nodes/{node}/qemu/{vmid}/clone"),
    ("PUT", "/nodes/{node}/qemu/{vmid}/resize"),
    ("GET", "/pools"),
    ("POST", "/pools"),
    ("PUT", "/pools"),
    ("DELETE", "/pools"),
];

/// One release, one reading.
pub struct Cluster {
    release: Release,
    switches: Switches,
    seen: Mutex<Vec<Control>>,
    used: Mutex<BTreeSet<String>>,
}

impl Cluster {
    pub fn new(release: Release, switches: Switches) -> Self {
        Self { release, switches, seen: Mutex::default(), used: Mutex::default() }
    }
}

#[async_trait]
impl Subject for Cluster {
    fn position(&self) -> String {
        let switches = if self.switches == Switches::default() { "default" } else { "flipped" };
        format!("proxmox {} {switches}", self.release)
    }

    async fn world(&self, rule: &str, scene: Scene, faulty: bool) -> Arc<dyn Stage> {
        let mut timing = Timing::fast();
        // A refusal of credentials is late, and its lateness is no rule.
        timing.auth_delay = Duration::ZERO;
        // Every read sees what is: no rule is about the age of a broadcast.
        timing.statistics = Duration::ZERO;
        let mut setup =
            Setup { release: self.release, switches: self.switches, faulty, ..Setup::default() };
        match scene {
            Scene::Usual | Scene::Labelled => {}
            Scene::Slow => {
                let long = Duration::from_millis(500);
                timing.kinds.clear();
                timing.task = (long, long);
            }
            Scene::Idle => timing.keep_alive = Duration::from_millis(250),
            Scene::Crowd => {
                let marker = |id: u32, _: usize| Some((format!("m {id}"), "nh-acme".to_owned()));
                setup.world = World::synthetic(3, CROWD, 7, &marker);
            }
        }
        setup.timing = timing;
        let cluster = support::Cluster::start(&format!("contract-{rule}"), setup).await;
        let identity = identity(&cluster);
        self.seen.lock().unwrap().push(cluster.control.clone());
        Arc::new(Played { cluster, identity, props: props() })
    }

    fn calls(&self) -> (BTreeMap<String, usize>, BTreeSet<String>) {
        let mut sent: BTreeMap<String, usize> = BTreeMap::new();
        let spell = |call: &(&str, &str)| format!("{} {}", call.0, call.1);
        let mut unknown = BTreeSet::new();
        for request in self.seen.lock().unwrap().iter().flat_map(Control::requests) {
            let path = if request.template.is_empty() { &request.path } else { &request.template };
            let known = CALLS.iter().find(|it| it.0 == request.method && fits(it.1, path));
            match known {
                Some(call) => *sent.entry(spell(call)).or_default() += 1,
                None => drop(unknown.insert(format!("{} {path}", request.method))),
            }
        }
        assert!(unknown.is_empty(), "the client sends what is in no list: {unknown:?}");
        let unsent = CALLS.iter().map(spell).filter(|it| !sent.contains_key(it)).collect();
        (sent, unsent)
    }

    fn note(&self, word: String) {
        self.used.lock().unwrap().insert(word);
    }

    fn used(&self) -> BTreeSet<String> {
        self.used.lock().unwrap().clone()
    }

    fn lacks(&self) -> BTreeMap<Need, &'static str> {
        [
            (Need::AssignedIds, "the client chooses ids"),
            (Need::PartedPools, "a pool is one object"),
            (Need::Pages, "lists come in one piece"),
            (Need::TypedFailures, "a task fails in words alone"),
            (Need::Queue, "a task begins as soon as it is made"),
            (Need::Tools, "a shutdown is tried whoever hears it"),
            (Need::Sessions, "tickets end by themselves"),
            (Need::Spreads, "nothing keeps machines apart there yet"),
            (Need::Labels, "labels are not made there yet"),
            (Need::Setups, "guests are not set up by the product"),
            (Need::Snapshots, "a linked clone hangs on the template itself"),
            (Need::DiskMoves, "a disk stays where it was made"),
            (Need::OwnSnapshots, "novahost takes no snapshots there yet"),
        ]
        .into()
    }

    fn unspoken(&self) -> BTreeMap<&'static str, &'static str> {
        let parts = "a pool is one object";
        let grants = "nothing is granted on pools yet";
        let spreads = "nothing keeps machines apart there yet";
        let labels = "labels are not made there yet";
        let nothing = "there is no such thing there";
        let snapshots = "snapshots are not taken yet";
        [
            ("setting disk-size", "a disk grows in a call of its own"),
            ("define-label", labels),
            ("define-label-value", labels),
            ("set-label", labels),
            ("clear-label", labels),
            ("move-disks", "a disk stays where it was made"),
            ("upgrade-hardware", nothing),
            ("customize", "guests are not set up by the product"),
            ("setting hardware-version", nothing),
            ("setting extra", nothing),
            ("take-snapshot, own", snapshots),
            ("take-snapshot, by hand", snapshots),
            ("remove-snapshot", snapshots),
            ("make-role", grants),
            ("grant", grants),
            ("revoke", grants),
            ("make-part, mark", parts),
            ("make-part, group-above", parts),
            ("make-part, group", parts),
            ("make-part, share-above", parts),
            ("make-part, share", parts),
            ("mark-part", parts),
            ("remove-part", parts),
            ("create-spread", spreads),
            ("set-spread", spreads),
            ("delete-spread", spreads),
        ]
        .into()
    }
}

/// Whether two paths are the same but for what stands in braces.
fn fits(template: &str, path: &str) -> bool {
    let (a, b): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    a.len() == b.len()
        && a.iter().zip(&b).all(|(a, b)| a == b || a.starts_with('{') || b.starts_with('{'))
}

/// The identity that trust settings would hold, worked out without the client.
fn identity(cluster: &support::Cluster) -> String {
    let root = Fingerprint::of_pem(&cluster.ca()).unwrap();
    format!("{}/{root}", cluster.control.inspect(|world| world.cluster.clone()))
}

fn props() -> Props {
    let target =
        |id: &str, node: &str| Target::with_id(ResourceKey::vm("someone"), id, Some(node.into()));
    Props {
        hypervisor: HYPERVISOR.into(),
        hosts: ["pve1".into(), "pve2".into(), "pve3".into()],
        template: target("9000", "pve1"),
        template_name: "tpl-debian-13".into(),
        foreign: target("20500", "pve2"),
        free: Some(["20071".into(), "20072".into()]),
        storage: "fast".into(),
        other_storage: "local-lvm".into(),
        outsider: "root@pam".into(),
        people: None,
        networks: ["vmbr0".into(), "vmbr1".into()],
        iso: "local:iso/opnsense.iso".into(),
        pool: "shared-infra".into(),
        linked_grows: true,
        protects_itself: true,
        bad_notes: "n".repeat(9000),
        decorations: vec!["firewall=1", "rate=12", "down=33", "disk,network"],
        second_disk: "scsi1",
    }
}

struct Played {
    cluster: support::Cluster,
    identity: String,
    props: Props,
}

fn vmid(id: &NativeId) -> u32 {
    id.as_str().parse().unwrap()
}

/// The number of an object; every object has one from before it is there.
fn at_vmid(at: &At) -> u32 {
    at.as_str().parse().unwrap()
}

impl Played {
    /// Gives our token this role at this path, and nothing else anywhere.
    fn only(&self, path: &str, role: &str) {
        self.cluster.control.edit(|world| {
            world.access.acl.retain(|row| row.who != TOKEN_ID);
            world.access.acl.push(row(path, role));
        });
    }

    /// A task of somebody else in the log, ended well.
    fn filed(&self, kind: &str, id: &NativeId) {
        let now_ms = u64::try_from(Clock::system().now_ms()).unwrap();
        self.cluster.control.edit(|world| {
            let node = world.guests[&vmid(id)].node.clone();
            let upid = Upid {
                node: node.clone(),
                pid: 4_000_000 + u32::try_from(world.tasks.len()).unwrap(),
                pstart: 1_234_567,
                starttime: now_ms / 1000,
                kind: kind.to_owned(),
                id: id.to_string(),
                user: self.props.outsider.clone(),
            };
            let task = Task {
                node,
                pid: upid.pid,
                pstart: upid.pstart,
                starttime: upid.starttime,
                kind: upid.kind.clone(),
                id: upid.id.clone(),
                user: upid.user.clone(),
                token: None,
                endtime: Some(upid.starttime),
                exit: Some("OK".to_owned()),
                log: vec!["TASK OK".to_owned()],
                work: None,
                begun: true,
                polls: 0,
            };
            world.tasks.insert(upid.to_string(), task);
        });
    }

    fn edit(&self, id: &NativeId, change: impl FnOnce(&mut Guest)) {
        self.cluster.control.edit(|world| change(world.guests.get_mut(&vmid(id)).unwrap()));
    }
}

fn row(path: &str, role: &str) -> AclEntry {
    AclEntry {
        path: path.into(),
        kind: AclKind::Token,
        who: TOKEN_ID.into(),
        role: role.into(),
        propagate: true,
    }
}

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("https://{}", listener.local_addr().unwrap())
}

impl Stage for Played {
    fn props(&self) -> &Props {
        &self.props
    }

    fn provider(&self, door: Door) -> Arc<dyn Provider> {
        if door == Door::Usual {
            return Arc::new(self.cluster.provider("acme"));
        }
        let mut settings = self.cluster.settings("acme");
        match door {
            Door::Usual => {}
            Door::WrongSecret => {
                settings.auth = Auth::Token { id: TOKEN_ID.into(), secret: WRONG_SECRET.into() };
            }
            Door::Session => {
                let (username, password) = ("novahost@pve".into(), "sandbox-password".into());
                settings.auth = Auth::Password { username, password };
            }
            Door::WrongPin => settings.tls = TlsTrust::Pins(vec![Fingerprint([3; 32])]),
            Door::WrongAuthority => {
                let key = rcgen::KeyPair::generate().unwrap();
                let other = rcgen::CertificateParams::new(vec!["other".to_owned()]).unwrap();
                settings.tls = TlsTrust::Ca(other.self_signed(&key).unwrap().pem().into());
            }
            Door::RightPin => {
                let pin = self.cluster.server.leaf_sha256().parse().unwrap();
                settings.tls = TlsTrust::Pins(vec![pin]);
            }
            Door::WrongIdentity => {
                settings.expected_identity = Some(format!("lyon/sha256:{}", "ab".repeat(32)));
            }
            Door::RightIdentity => settings.expected_identity = Some(self.identity.clone()),
            Door::Dead => settings.endpoints = vec![Endpoint::parse(&nobody(), PORT).unwrap()],
            Door::FirstDead => {
                let both = [nobody(), self.cluster.endpoint()];
                settings.endpoints = both.map(|it| Endpoint::parse(&it, PORT).unwrap()).into();
            }
        }
        Arc::new(ProxmoxProvider::new(settings, Clock::system()).unwrap())
    }

    fn product(&self) -> &'static dyn Product {
        &Proxmox
    }

    fn outsider(&self, act: Act<'_>) {
        let control = &self.cluster.control;
        match act {
            Act::Edit(id) => self.edit(id, |guest| {
                let cores: u32 = guest.get("cores").map_or(1, |text| text.parse().unwrap());
                guest.config.insert("cores".into(), (cores + 1).to_string());
            }),
            Act::Work(id) => {
                self.filed("qmconfig", id);
                self.outsider(Act::Edit(id));
            }
            Act::Destroy(id) => {
                self.filed("qmdestroy", id);
                self.outsider(Act::Delete(id));
            }
            Act::Rename(id, name) => control.rename(vmid(id), name),
            Act::Delete(id) => control.delete_guest(vmid(id)),
            Act::Lock(id) => control.lock(vmid(id), "backup"),
            Act::Unlock(id) => control.unlock(vmid(id)),
            Act::Power(id, on) => control.power(vmid(id), on),
            Act::Migrate(id) => control.migrate_guest(vmid(id), self.props.hosts[2].as_str()),
            Act::Decorate(id) => self.edit(id, |guest| {
                let net = guest.config.get_mut("net0").unwrap();
                net.push_str(",firewall=1,rate=12");
                let notes = guest.config.get_mut("description").unwrap();
                *notes = format!("Written by hand.\n{notes}");
                guest.config.insert("startup".into(), "order=9,up=5,down=33".into());
                guest.config.insert("hotplug".into(), "disk,network".into());
            }),
            Act::BeginBirth(at) => control.edit(|world| {
                let mut guest = Guest::new(self.props.hosts[0].as_str(), GuestKind::Qemu);
                guest.config.insert("lock".into(), "clone".into());
                world.guests.insert(at_vmid(at), guest);
            }),
            Act::NeedsPerson(id) => control.lock(vmid(id), "suspended"),
            Act::TakeTools(_) | Act::Crowded(_) | Act::EndSessions => unreachable!("it has none"),
            Act::Deafen(id) => self.edit(id, |guest| guest.behaviour.answers_shutdown = false),
            Act::HostDown(down) => control.node_offline(self.props.hosts[2].as_str(), down),
            Act::Frozen(frozen) => control.quorum(!frozen),
            Act::Narrow => self.only(&format!("/pool/{}", self.props.pool), "PVEAuditor"),
            // A row for a group that our user is in; the groups have to be asked for.
            Act::Hide(id) => control.edit(|world| {
                world.access.acl.push(row(&format!("/vms/{id}"), "NoAccess"));
                let user = world.access.users.get_mut("novahost@pve").unwrap();
                user.groups.insert("ops".into());
                let group = AclEntry {
                    kind: AclKind::Group,
                    who: "ops".into(),
                    ..row("/vms/101", "PVEAuditor")
                };
                world.access.acl.push(group);
            }),
            Act::Sibling(..) => unreachable!("nothing keeps machines apart there yet"),
            Act::Windows(_) => unreachable!("guests are not set up by the product"),
            Act::Label(..) => unreachable!("labels are not made there yet"),
            Act::BranchOff(..) | Act::Ruin(..) => {
                unreachable!("novahost takes no snapshots there yet")
            }
            Act::Permit(..) => unreachable!("nothing is granted there yet"),
            Act::MakePool(name) => control.edit(|world| {
                world.pools.insert(name.to_owned(), Pool::default());
            }),
            Act::ReadOnly => self.only("/", "PVEAuditor"),
        }
    }

    fn trouble(&self, at: Point, what: Trouble, times: usize) {
        let mut left = times;
        self.cluster.control.set_fault(Box::new(move |point: &FaultPoint| {
            let get = point.method == "GET";
            let hit = match at {
                Point::Listing => get && point.template == "/cluster/resources",
                Point::NextPage => unreachable!("lists come in one piece"),
                Point::HostListing => get && point.template == "/nodes/{node}/qemu",
                Point::Machine => get && point.template.ends_with("/{vmid}/pending"),
                Point::Mutation => !get && point.template != "/access/ticket",
            };
            if !hit || left == 0 {
                return None;
            }
            left -= 1;
            Some(fault(&what))
        }));
    }

    fn calm(&self) {
        self.cluster.control.clear_fault();
    }

    fn requests(&self) -> usize {
        self.cluster.control.requests().len()
    }

    fn mutations(&self) -> usize {
        let all = self.cluster.control.requests();
        all.iter().filter(|it| it.method != "GET" && it.template != "/access/ticket").count()
    }

    fn logins(&self) -> usize {
        let all = self.cluster.control.requests();
        all.iter().filter(|it| it.template == "/access/ticket").count()
    }

    fn compressed(&self) -> usize {
        self.cluster.control.requests().iter().filter(|it| it.compressed).count()
    }

    fn permits(&self, _: &NativeId) -> Vec<String> {
        unreachable!("nothing is granted there yet")
    }

    fn truth(&self, at: &At) -> String {
        self.cluster.control.inspect(|world| {
            let Some(guest) = world.guests.get(&at_vmid(at)) else { return "nothing".to_owned() };
            let pool = world.pool_of(at_vmid(at));
            format!(
                "{} {pool:?} {} {:?}",
                guest.node,
                guest.running,
                (&guest.config, &guest.pending, &guest.pending_delete)
            )
        })
    }

    fn occupied(&self, _: &Birthplace) -> (At, At) {
        (self.props.foreign.at.clone(), self.props.foreign.at.clone())
    }

    fn hears(&self, _: &At) -> bool {
        true
    }

    fn detached(&self, at: &At) -> usize {
        self.cluster.control.inspect(|world| {
            let config = &world.guests[&at_vmid(at)].config;
            config.keys().filter(|key| key.starts_with("unused")).count()
        })
    }

    fn other_task(&self, task: &TaskRef) -> TaskRef {
        TaskRef(task.0.replacen("qmclone", "qmcreate", 1))
    }

    fn born(&self, name: &str) -> usize {
        self.cluster.control.inspect(|world| {
            world.guests.values().filter(|guest| guest.get("name") == Some(name)).count()
        })
    }

    fn hangs_on(&self, _: &At) -> Option<String> {
        None
    }

    fn labels(&self, _: &At) -> BTreeSet<String> {
        unreachable!("labels are not made there yet")
    }

    fn told(&self, _: &At) -> Vec<String> {
        unreachable!("guests are not set up by the product")
    }

    fn sessions(&self) -> usize {
        0
    }

    fn secrets(&self) -> Vec<String> {
        [TOKEN_SECRET, "sandbox-password", WRONG_SECRET].map(str::to_owned).to_vec()
    }
}

fn fault(what: &Trouble) -> Fault {
    match what {
        Trouble::LostBefore => Fault::DropBefore,
        Trouble::LostAfter => Fault::DropAfter,
        Trouble::GatewayBefore => Fault::Status(596, "Connection timed out".into()),
        Trouble::GatewayAfter => Fault::StatusAfter(596, "Connection timed out".into()),
        Trouble::Cut => Fault::CutBody,
        Trouble::Refused(text) => Fault::Status(500, text.clone()),
        Trouble::Echo => Fault::Echo(500),
        Trouble::Expired => Fault::Status(401, "permission denied - invalid PVE ticket".into()),
        Trouble::Redirect => Fault::Status(301, "Moved Permanently".into()),
        Trouble::TaskFails(text) => Fault::TaskFails(text.clone()),
        Trouble::TaskDies => Fault::TaskUnexpectedStatus,
        Trouble::TaskWarns(text) => Fault::TaskWarns(text.clone()),
    }
}

/// Texts of the client's source that are paths, or ends of paths: what stands in braces
/// is left as `{}`.
fn paths_of_the_source() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/provider/proxmox");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "rs")
            || path.to_string_lossy().ends_with("tests.rs")
        {
            continue;
        }
        // What access rows are about looks like a path too, and is none; neither is a
        // command line.
        let rows = ["coverage.rs", "privileges.rs"];
        if rows.iter().any(|it| path.ends_with(it)) {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for literal in line.split('"').skip(1).step_by(2) {
                if let Some(at) =
                    literal.find('/').filter(|at| *at == 0 || literal.starts_with('{'))
                {
                    let path: Vec<_> = literal[at..].split('/').skip(1).collect();
                    let is_word = |it: &&str| {
                        it.starts_with('{') && it.ends_with('}')
                            || !it.is_empty() && it.bytes().all(|it| it.is_ascii_lowercase())
                    };
                    if path.iter().all(is_word) {
                        found.insert(format!("/{}", path.join("/")));
                    }
                }
            }
        }
    }
    found
}

#[test]
fn every_path_of_the_source_is_in_the_list() {
    let paths = paths_of_the_source();
    assert!(paths.len() >= 15, "the source is read wrongly: {paths:?}");
    let known = |path: &str| {
        CALLS.iter().any(|(_, template)| {
            let cut = template.split('/').count().checked_sub(path.split('/').count());
            let end: Option<Vec<_>> = cut.map(|cut| template.split('/').skip(cut + 1).collect());
            end.is_some_and(|end| fits(&format!("/{}", end.join("/")), path))
        })
    };
    let strange: Vec<_> = paths
        .iter()
        // The stem of a guest's path is made in one place and ends in `{rest}`.
        .map(|path| path.replace("/{}{rest}", "/{}"))
        .filter(|path| !known(path))
        .collect();
    assert!(strange.is_empty(), "paths that no rule is asked to reach: {strange:?}");
}

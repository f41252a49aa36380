//! The Proxmox provider against the simulated cluster, over real HTTPS.

#![allow(clippy::unwrap_used, reason = "helpers of tests are test code too")]

use crate::support::{Cluster, Setup, WORLD};
use mock_servers::pve::{Fault, FaultPoint, Release, World};
use novahost::{
    clock::Clock,
    model::{
        Bytes, CloneFrom, Coverage, DeviceMap, ErrorKind, Expect, FailureKind, Fresh, FreshObject,
        GuestKind, Identity, Intent, Located, MapEntry, MarkerDraft, NodeName, PowerState,
        RefusalKind, ResourceKey, Scope, Setting, Stage, Step, StepOp, Submitted, Target, TaskRef,
        TaskState, Wait,
    },
    provider::{
        Call, Provider,
        endpoint::Endpoint,
        proxmox::{Auth, PORT, ProxmoxProvider, Settings},
        tls::TlsTrust,
    },
    store::{NewRun, RunHandle, Store, Who},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use uuid::Uuid;

const ID: u32 = 20071;

struct Lab {
    cluster: Cluster,
    clock: Clock,
    run: RunHandle,
}

async fn lab() -> Lab {
    lab_of(Release::V9_2, World::from_yaml(WORLD).unwrap()).await
}

async fn lab_of(release: Release, world: World) -> Lab {
    let setup = Setup { release, world, faulty: true, ..Setup::default() };
    let cluster = Cluster::start("provider_proxmox", setup).await;
    let clock = Clock::system();
    let run = NewRun {
        id: Uuid::now_v7(),
        project: "acme".into(),
        plan_id: "0".repeat(64),
        plan_json: "{}".into(),
        kind: "apply".into(),
        who: Who { user: "test".into(), host: "test".into(), ..Who::default() },
        started_ms: clock.now_ms(),
        actions: vec![(
            "vm/web-7:create".into(),
            ResourceKey::vm("web-7"),
            "pve-paris".into(),
            novahost::model::Verb::Create,
        )],
    };
    let run = Store::open_in_memory().await.unwrap().begin_run(run).await.unwrap();
    Lab { cluster, clock, run }
}

fn target() -> Target {
    Target::with_id(ResourceKey::vm("web-7"), ID.to_string().as_str(), Some("pve1".into()))
}

fn template() -> Target {
    Target::with_id(ResourceKey::vm("template"), "9000", Some("pve1".into()))
}

fn identity() -> Identity {
    Identity {
        project: "acme".into(),
        key: ResourceKey::vm("web-7"),
        intent: Uuid::from_u128(7),
        uuid: Some(Uuid::from_u128(8)),
    }
}

fn draft(stage: Stage) -> MarkerDraft {
    let entry = |slot: &str| MapEntry { slot: slot.into(), confirmed: true };
    let map = DeviceMap {
        disks: BTreeMap::from([("boot".into(), entry("scsi0"))]),
        nics: BTreeMap::from([("eth0".into(), entry("net0"))]),
        ..DeviceMap::default()
    };
    MarkerDraft { protect: Some(false), map, ..MarkerDraft::new(stage) }
}

fn step(op: StepOp, end: Expect) -> Step {
    Step {
        op,
        begin: Expect::default(),
        end,
        wait: Wait::Task,
        otherwise: None,
        learns: BTreeSet::new(),
        guarded: true,
    }
}

fn clone_step() -> Step {
    let from = CloneFrom {
        template: "9000".into(),
        template_node: Some("pve1".into()),
        template_name: Some("tpl-debian-13".into()),
        template_uuid: None,
        linked: true,
        snapshot: None,
        name: "web-7".into(),
        node: Some("pve1".into()),
        storage: None,
        pool: None,
        marker: draft(Stage::New),
    };
    step(StepOp::Clone(Box::new(from)), Expect { exists: Some(true), ..Expect::default() })
}

fn configure_step() -> Step {
    let settings = vec![
        Setting::Cpu { total: 4, sockets: 1 },
        Setting::Memory(Bytes::gib(4)),
        Setting::MachineUuid,
        Setting::Marker(draft(Stage::Ready)),
    ];
    let end = Expect { stage: Some(Stage::Ready), ..Expect::default() };
    step(StepOp::Configure(settings), end)
}

fn start_step() -> Step {
    step(StepOp::Start, Expect { power: Some(PowerState::Running), ..Expect::default() })
}

impl Lab {
    fn provider(&self) -> ProxmoxProvider {
        self.with(|_| {})
    }

    fn with(&self, edit: impl FnOnce(&mut Settings)) -> ProxmoxProvider {
        let mut settings = self.cluster.settings("acme");
        edit(&mut settings);
        ProxmoxProvider::new(settings, self.clock.clone()).unwrap()
    }

    fn intent(&self, step: &Step, index: u32) -> Intent {
        Intent {
            run: self.run.id(),
            action: "vm/web-7:create".into(),
            step: index,
            attempt: 1,
            hypervisor: "pve-paris".into(),
            target: target(),
            identity: identity(),
            op: step.op.name().into(),
            source: matches!(step.op, StepOp::Clone(_)).then(template),
            end: step.end.clone(),
            begun_ms: self.clock.now_ms(),
            task: None,
        }
    }

    /// One journalled call on what was just read.
    async fn submit(
        &self,
        provider: &ProxmoxProvider,
        step: &Step,
        index: u32,
        fresh: &Fresh,
    ) -> (Submitted, Intent) {
        let durable = self.run.intend(self.intent(step, index), None).await.unwrap();
        let call = Call {
            step,
            op: &step.op,
            target: &target(),
            identity: &identity(),
            plan_id: "0123456789ab",
            fresh,
            marker_key: None,
            secrets: &Default::default(),
        };
        (provider.submit(&call, &durable).await, durable.intent().clone())
    }

    async fn finish(&self, provider: &ProxmoxProvider, step: &Step, index: u32) -> TaskState {
        let fresh = provider.read(&target()).await.unwrap();
        match self.submit(provider, step, index, &fresh).await.0 {
            Submitted::Accepted(task) => wait(provider, &task).await,
            other => panic!("not accepted: {other:?}"),
        }
    }

    fn fault(&self, template: &'static str, fault: Fault) {
        let mut left = Some(fault);
        self.cluster.control.set_fault(Box::new(move |point: &FaultPoint| {
            if point.method != "GET" && point.template == template { left.take() } else { None }
        }));
    }

    fn count(&self) -> usize {
        self.cluster.control.requests().len()
    }
}

async fn wait(provider: &ProxmoxProvider, task: &TaskRef) -> TaskState {
    for _ in 0..200 {
        let state = provider.poll(std::slice::from_ref(task)).await.remove(0);
        if state != TaskState::Running {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the task never ended");
}

async fn settle(provider: &ProxmoxProvider, intent: &Intent) -> Located {
    for _ in 0..200 {
        match provider.locate(intent).await {
            Located::StillUnknown(_) | Located::Running(_) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            located => return located,
        }
    }
    panic!("it never became known");
}

fn scope() -> Scope {
    Scope {
        project: Some("acme".into()),
        names: ["web-7".to_owned()].into(),
        templates: ["9000".into()].into(),
        isos: ["local:iso/opnsense.iso".to_owned(), "local:iso/missing.iso".to_owned()].into(),
        ..Scope::default()
    }
}

#[tokio::test]
async fn the_fixture_is_observed_whole_within_the_budget_of_requests() {
    let lab = lab().await;
    let inventory = lab.provider().observe(&scope()).await;
    assert_eq!(inventory.coverage, Coverage::Complete, "{:?}", inventory.notes);
    assert_eq!(inventory.version, "Proxmox VE 9.2");
    assert!(inventory.identity.starts_with("pve-paris/sha256:"), "{}", inventory.identity);
    assert_eq!(inventory.listed.len(), 7);
    assert_eq!(inventory.listed["200"].guest, GuestKind::Container);
    let read: Vec<_> = inventory.machines.keys().map(ToString::to_string).collect();
    assert_eq!(read, ["20500", "9000"]);
    let foreign = &inventory.machines["20500"];
    assert_eq!(foreign.power, PowerState::Running);
    assert_eq!(foreign.marker.found().unwrap().project.as_str(), "other-team");
    assert!(inventory.machines["9000"].template);
    assert!(inventory.unreadable.is_empty());
    assert_eq!(inventory.isos, ["local:iso/opnsense.iso".to_owned()].into());
    assert_eq!(inventory.pools["shared-infra"].members, ["200".into()].into());
    let node = &inventory.nodes["pve1"];
    assert_eq!((node.online, node.cpus, node.memory), (true, 16, Bytes::gib(64)));
    assert!(node.networks.as_ref().unwrap().contains("vmbr0"));
    let fast = inventory.storages.iter().filter(|row| row.name.as_str() == "fast");
    assert!(fast.clone().count() == 3 && fast.clone().all(|row| row.shared && row.holds_disks));
    let (candidates, nodes) = (read.len(), 3);
    assert!(lab.count() <= candidates + 3 * nodes + 10, "{} requests", lab.count());
}

#[tokio::test]
async fn a_machine_is_cloned_configured_and_started() {
    for release in [Release::V8_4, Release::V9_2] {
        walk(&lab_of(release, World::from_yaml(WORLD).unwrap()).await).await;
    }
}

async fn walk(lab: &Lab) {
    let provider = lab.provider();
    let fresh = provider.read(&target()).await.unwrap();
    assert!(matches!(fresh.object, FreshObject::Absent));
    for (index, step) in [clone_step(), configure_step(), start_step()].iter().enumerate() {
        let state = lab.finish(&provider, step, u32::try_from(index).unwrap()).await;
        assert!(matches!(state, TaskState::Done(_)), "{}: {state:?}", step.op.name());
    }
    let fresh = provider.read(&target()).await.unwrap();
    let FreshObject::Machine(machine) = &fresh.object else { panic!("{fresh:?}") };
    assert!(fresh.version.is_some());
    assert_eq!(machine.power, PowerState::Running);
    assert_eq!(machine.uuid, identity().uuid);
    assert_eq!((machine.spec.cpu, machine.spec.memory), (Some(4), Some(Bytes::gib(4))));
    let marker = machine.marker.found().unwrap();
    assert_eq!((marker.stage, marker.intent), (Stage::Ready, identity().intent));
    let inventory = provider.observe(&scope()).await;
    assert!(inventory.machines.contains_key("20071"));
    let listing = provider.list().await.unwrap();
    assert!(listing.guests.contains_key("20071") && listing.gaps.is_empty());
    assert_eq!(listing.online.len(), 3);
}

#[tokio::test]
async fn a_lost_reply_is_unknown_and_looking_finds_what_happened() {
    let faults: [(Fault, bool); 3] = [
        (Fault::DropAfter, true),
        (Fault::StatusAfter(596, "Connection timed out".into()), true),
        (Fault::DropBefore, false),
    ];
    for (fault, happened) in faults {
        let lab = lab().await;
        let provider = lab.provider();
        let fresh = provider.read(&target()).await.unwrap();
        let step = clone_step();
        lab.fault("/nodes/{node}/qemu/{vmid}/clone", fault.clone());
        let (submitted, intent) = lab.submit(&provider, &step, 0, &fresh).await;
        assert!(matches!(submitted, Submitted::Unknown(_)), "{fault:?}: {submitted:?}");
        let located = settle(&provider, &intent).await;
        assert_eq!(matches!(located, Located::Happened(_)), happened, "{fault:?}: {located:?}");
        let clones = lab.cluster.control.requests();
        let clones = clones.iter().filter(|it| it.template.ends_with("/clone")).count();
        assert!(clones <= 1, "a mutation is sent once");
    }
}

#[tokio::test]
async fn lost_replies_of_later_steps_are_looked_up_too() {
    let lab = lab().await;
    let provider = lab.provider();
    assert!(matches!(lab.finish(&provider, &clone_step(), 0).await, TaskState::Done(_)));
    let steps = [
        (configure_step(), "/nodes/{node}/qemu/{vmid}/config"),
        (start_step(), "/nodes/{node}/qemu/{vmid}/status/start"),
    ];
    for (index, (step, template)) in steps.iter().enumerate() {
        let index = u32::try_from(index).unwrap();
        for (attempt, fault, happened) in
            [(0, Fault::DropBefore, false), (1, Fault::DropAfter, true)]
        {
            let fresh = provider.read(&target()).await.unwrap();
            lab.fault(template, fault);
            let at = 1 + 2 * index + attempt;
            let (submitted, intent) = lab.submit(&provider, step, at, &fresh).await;
            assert!(matches!(submitted, Submitted::Unknown(_)), "{template}: {submitted:?}");
            let located = settle(&provider, &intent).await;
            assert_eq!(
                matches!(located, Located::Happened(_)),
                happened,
                "{template}: {located:?}"
            );
        }
    }
}

#[tokio::test]
async fn many_machines_are_read_within_the_budget() {
    let marker = |id: u32, _: usize| Some((format!("machine {id}"), "nh-acme".to_owned()));
    let world = World::synthetic(4, 200, 7, &marker);
    let lab = lab_of(Release::V9_2, world).await;
    let inventory = lab.provider().observe(&scope()).await;
    assert_eq!(inventory.coverage, Coverage::Complete, "{:?}", inventory.notes);
    assert_eq!(inventory.machines.len(), 200);
    assert!(inventory.machines.values().all(|machine| machine.bulk_mark));
    assert!(lab.count() <= 200 + 3 * 4 + 10, "{} requests", lab.count());
}

#[tokio::test]
async fn a_failed_clone_task_is_told_and_did_not_happen() {
    let lab = lab().await;
    let provider = lab.provider();
    lab.fault("/nodes/{node}/qemu/{vmid}/clone", Fault::TaskFails("no space left".into()));
    let fresh = provider.read(&target()).await.unwrap();
    let (submitted, mut intent) = lab.submit(&provider, &clone_step(), 0, &fresh).await;
    let Submitted::Accepted(task) = submitted else { panic!("{submitted:?}") };
    let state = wait(&provider, &task).await;
    assert!(
        matches!(&state, TaskState::Failed(it) if it.text.contains("no space left")),
        "{state:?}"
    );
    intent.task = Some(task);
    assert!(matches!(settle(&provider, &intent).await, Located::DidNotHappen(_)));
}

#[tokio::test]
async fn a_write_over_a_changed_machine_is_a_conflict_and_over_a_locked_one_is_busy() {
    let lab = lab().await;
    let provider = lab.provider();
    assert!(matches!(lab.finish(&provider, &clone_step(), 0).await, TaskState::Done(_)));
    let fresh = provider.read(&target()).await.unwrap();
    lab.cluster.control.edit_config(ID, "cores", Some("3"));
    let refused = |submitted: Submitted| match submitted {
        Submitted::Refused(refusal) => refusal.kind,
        other => panic!("{other:?}"),
    };
    let (submitted, _) = lab.submit(&provider, &configure_step(), 1, &fresh).await;
    assert_eq!(refused(submitted), RefusalKind::Conflict);
    let fresh = provider.read(&target()).await.unwrap();
    lab.cluster.control.lock(ID, "backup");
    let fresh = Fresh { version: None, ..fresh };
    let unguarded = Step { guarded: false, ..configure_step() };
    let (submitted, _) = lab.submit(&provider, &unguarded, 2, &fresh).await;
    assert_eq!(refused(submitted), RefusalKind::Busy);
    let (submitted, _) = lab.submit(&provider, &clone_step(), 3, &fresh).await;
    assert_eq!(refused(submitted), RefusalKind::Exists);
    assert!(lab.cluster.control.inspect(|world| world.guests[&ID].get("cores") == Some("3")));
}

#[tokio::test]
async fn a_machine_is_read_wherever_it_moved_and_absence_needs_all_nodes() {
    let lab = lab().await;
    let provider = lab.provider();
    let control = lab.cluster.control;
    let foreign = Target::with_id(target().key, "20500", Some("pve1".into()));
    let fresh = provider.read(&foreign).await.unwrap();
    let FreshObject::Machine(machine) = fresh.object else { panic!("{fresh:?}") };
    assert_eq!(machine.node, Some(NodeName::from("pve2")));
    control.node_offline("pve3", true);
    let error = provider.read(&target()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    let inventory = provider.observe(&scope()).await;
    assert!(matches!(inventory.coverage, Coverage::Incomplete { .. }));
    control.node_offline("pve3", false);
    control.quorum(false);
    assert!(provider.read(&target()).await.is_err());
    assert!(!provider.list().await.unwrap().gaps.is_empty());
    control.quorum(true);
    control.delete_guest(20500);
    assert!(matches!(provider.read(&foreign).await.unwrap().object, FreshObject::Absent));
}

#[tokio::test]
async fn an_account_with_fewer_rights_is_scoped_and_asks_for_pinned_ids() {
    let lab = lab().await;
    lab.cluster.control.edit(|world| {
        world.access.acl.retain(|row| row.who != "novahost@pve!sandbox");
        let row = world.access.acl[0].clone();
        world.access.acl.push(mock_servers::pve::access::AclEntry {
            path: "/pool/shared-infra".into(),
            kind: mock_servers::pve::access::AclKind::Token,
            who: "novahost@pve!sandbox".into(),
            ..row
        });
    });
    let mut scope = scope();
    scope.pinned = ["20071".into(), "20500".into()].into();
    let inventory = lab.provider().observe(&scope).await;
    assert!(matches!(inventory.coverage, Coverage::Scoped { .. }), "{:?}", inventory.coverage);
    assert_eq!(inventory.free_ids, ["20071".into()].into());
    // Hidden is not absent.
    let hidden = Target::with_id(target().key, "20500", Some("pve2".into()));
    let error = lab.provider().read(&hidden).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Permission);
}

#[tokio::test]
async fn wrong_credentials_certificates_and_identities_each_have_their_own_failure() {
    let lab = lab().await;
    let failure = |inventory: novahost::model::HypervisorInventory| match inventory.coverage {
        Coverage::Failed { kind, error } => (kind, error),
        other => panic!("{other:?}"),
    };
    let wrong = lab.with(|it| {
        it.auth = Auth::Token { id: "novahost@pve!sandbox".into(), secret: "hunter2-secret".into() }
    });
    let (kind, error) = failure(wrong.observe(&scope()).await);
    assert_eq!(kind, FailureKind::Auth);
    assert!(!error.contains("hunter2-secret") && !format!("{wrong:?}").contains("hunter2-secret"));
    let pinned = lab.with(|it| {
        it.tls = TlsTrust::Pins(vec![novahost::provider::tls::Fingerprint([3; 32])]);
    });
    let (kind, error) = failure(pinned.observe(&scope()).await);
    assert_eq!(kind, FailureKind::Trust);
    let own: novahost::provider::tls::Fingerprint =
        lab.cluster.server.leaf_sha256().parse().unwrap();
    assert!(error.contains(&own.to_string()) && error.contains("030303"), "{error}");
    let expected = format!("pve-lyon/sha256:{}", "ab".repeat(32));
    let other = lab.with(|it| it.expected_identity = Some(expected));
    assert_eq!(failure(other.observe(&scope()).await).0, FailureKind::Trust);
    assert_eq!(other.list().await.unwrap_err().kind, ErrorKind::Identity);
    let identity = lab.provider().observe(&scope()).await.identity;
    let same = lab.with(|it| it.expected_identity = Some(identity));
    assert!(same.list().await.unwrap().gaps.is_empty());
    let fresh = proof_of_absence();
    let (submitted, _) = lab.submit(&other, &clone_step(), 0, &fresh).await;
    let Submitted::NotSent(error) = submitted else { panic!("{submitted:?}") };
    assert_eq!(error.kind, ErrorKind::Identity);
    let (submitted, _) = lab.submit(&same, &clone_step(), 1, &fresh).await;
    assert!(matches!(submitted, Submitted::Accepted(_)), "{submitted:?}");
}

/// Proof of absence, as a read would bring it.
fn proof_of_absence() -> Fresh {
    Fresh { object: FreshObject::Absent, version: None, raw: serde_json::Value::Null }
}

#[tokio::test]
async fn a_user_logs_in_once_and_again_when_the_ticket_is_refused() {
    let lab = lab().await;
    let provider = lab.with(|it| {
        it.auth =
            Auth::Password { username: "novahost@pve".into(), password: "sandbox-password".into() };
        it.tls = TlsTrust::Pins(vec![lab.cluster.server.leaf_sha256().parse().unwrap()]);
    });
    assert_eq!(provider.observe(&scope()).await.coverage, Coverage::Complete);
    let logins = || {
        let all = lab.cluster.control.requests();
        all.iter().filter(|request| request.template == "/access/ticket").count()
    };
    assert_eq!(logins(), 1);
    assert!(matches!(lab.finish(&provider, &clone_step(), 0).await, TaskState::Done(_)));
    assert_eq!(logins(), 1);
    let mut refused = false;
    lab.cluster.control.set_fault(Box::new(move |point: &FaultPoint| {
        let first = point.template == "/cluster/resources" && !refused;
        refused |= first;
        first.then(|| Fault::Status(401, "permission denied - invalid PVE ticket".into()))
    }));
    assert!(provider.list().await.is_ok());
    assert_eq!(logins(), 2);
}

#[tokio::test]
async fn reads_are_tried_again_and_a_host_without_trust_gets_nothing() {
    let lab = lab().await;
    let provider = lab.provider();
    let mut dropped = 0;
    lab.cluster.control.set_fault(Box::new(move |point: &FaultPoint| {
        let hit = point.template == "/cluster/resources" && dropped < 2;
        dropped += usize::from(hit);
        hit.then(
            || if dropped == 1 { Fault::DropBefore } else { Fault::Status(596, String::new()) },
        )
    }));
    assert!(provider.list().await.is_ok());
    let mut settings = lab.cluster.settings("acme");
    settings.endpoints = vec![Endpoint::parse("https://pve1.example", PORT).unwrap()];
    let error = ProxmoxProvider::new(settings, lab.clock.clone()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Trust);
}

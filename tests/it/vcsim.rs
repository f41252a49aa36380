//! The vCenter client against VMware's own simulator. It runs when `NOVAHOST_VCSIM` names
//! the program; with `NOVAHOST_GOVC`, VMware's own client looks at what ours did.
//! `.ci/conformance` builds both.
//!
//! What passes here proves less than it seems: the simulator takes fields in any order,
//! asks for no privilege and has no capacity to run out of.

#![allow(clippy::print_stderr, reason = "measurements, and that nothing was tested, are told")]

use novahost::{
    clock::Clock,
    provider::{
        endpoint::Endpoint,
        tls::{TlsTrust, probe},
        vcenter::vim::{
            CallError, ClientSettings, FaultKind, MoRef, Node, Proof, Request, Val, VimClient,
            collect::{Collected, Paths},
            tasks::TaskStatus,
        },
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use uuid::Uuid;

mod grants;
mod road;
mod setups;

const USER: &str = "nova@vsphere.local";
const PASSWORD: &str = "nova-test";
/// What a plan has to know of every machine, whosever it is.
const LEAN: &[&str] = &[
    "name",
    "parent",
    "resourcePool",
    "runtime.powerState",
    "runtime.connectionState",
    "runtime.host",
    "config.template",
    "config.uuid",
    "config.instanceUuid",
    "config.changeVersion",
    "config.guestId",
    "config.firmware",
    "config.annotation",
    "config.hardware.numCPU",
    "config.hardware.numCoresPerSocket",
    "config.hardware.memoryMB",
    "datastore",
    "network",
    "guest.toolsRunningStatus",
    "guest.hostName",
    "customValue",
    "runtime.question",
    "recentTask",
];

const NO_GOVC: &str = "NOVAHOST_GOVC names govc wherever vcsim is at hand";

/// The simulator, ended by its own id.
struct Vcsim {
    child: Child,
    endpoint: Endpoint,
    // Where it keeps what it makes up.
    files: TempDir,
}

impl Vcsim {
    /// `None`, said aloud, when there is no simulator to run.
    fn start(args: &[&str]) -> Option<Self> {
        let Ok(program) = env::var("NOVAHOST_VCSIM") else {
            eprintln!("skipped: NOVAHOST_VCSIM names no vcsim");
            return None;
        };
        let files = tempfile::tempdir().unwrap();
        let mut child = Command::new(program)
            .args(["-l", "127.0.0.1:0", "-username", USER, "-password", PASSWORD])
            .args(args)
            .env("TMPDIR", files.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (_, rest) = line.split_once("://").unwrap();
        let host = rest.split_once("/sdk").unwrap().0;
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let endpoint = Endpoint::parse(host, 443).unwrap();
        Some(Self { child, endpoint, files })
    }

    async fn settings(&self) -> ClientSettings {
        let (host, port) = (&self.endpoint.host, self.endpoint.port);
        let seen = probe(host, port, Duration::from_secs(10)).await.unwrap();
        ClientSettings {
            endpoint: self.endpoint.clone(),
            username: USER.into(),
            password: PASSWORD.into(),
            tls: TlsTrust::Pins(vec![seen.leaf]),
            allowed_hosts: BTreeSet::new(),
            reads_max: 4,
            writes_max: 4,
            patience: Duration::from_secs(60),
        }
    }

    async fn client(&self) -> VimClient {
        VimClient::new(self.settings().await, Clock::system()).unwrap()
    }

    /// What VMware's own client prints, when it is there.
    fn govc(&self, args: &[&str]) -> Option<String> {
        let program = env::var("NOVAHOST_GOVC").ok()?;
        let output = Command::new(program)
            .args(args)
            .env("GOVC_URL", self.endpoint.to_string())
            .env("GOVC_USERNAME", USER)
            .env("GOVC_PASSWORD", PASSWORD)
            .env("GOVC_INSECURE", "true")
            .env("GOVC_PERSIST_SESSION", "false")
            .env("HOME", self.files.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(String::from_utf8(output.stdout).unwrap())
    }

    /// Sessions that our client left behind.
    fn sessions_of_ours(&self) -> usize {
        let listed = self.govc(&["session.ls"]).expect(NO_GOVC);
        listed.lines().filter(|line| line.contains("novahost/")).count()
    }
}

impl Drop for Vcsim {
    fn drop(&mut self) {
        // Asked first, so that it removes what it made.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        for _ in 0..100 {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn root(client: &VimClient) -> MoRef {
    client.service().await.unwrap().part("rootFolder").unwrap()
}

async fn all(client: &VimClient, kind: &'static str, paths: &[&str]) -> Collected {
    client.collect(&root(client).await, &[Paths::of(kind, paths)], "test").await.unwrap()
}

/// One call that makes a task.
async fn start(
    client: &VimClient,
    method: &str,
    this: &MoRef,
    args: &[(&str, Val)],
) -> Result<MoRef, CallError> {
    let request = Request { method, this, args, operation: Some("test-1") };
    Ok(client.mutate(&request).await?.moref_at("returnval").unwrap())
}

/// Waits for one task.
async fn end(client: &VimClient, task: &MoRef) -> TaskStatus {
    for _ in 0..1_000 {
        let mut states = client.task_states(std::slice::from_ref(task), "test").await.unwrap();
        match states.remove(0) {
            TaskStatus::Queued | TaskStatus::Running => {}
            over => return over,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{task} does not end");
}

async fn props(client: &VimClient, of: &MoRef, paths: &[&str]) -> BTreeMap<String, Node> {
    let paths = Paths::of("VirtualMachine", paths);
    let read = client.properties(std::slice::from_ref(of), &paths, "test").await.unwrap();
    read.objects.into_iter().next().map(|it| it.props).unwrap_or_default()
}

/// How many machines the measurements are made with: 1,000, or `NOVAHOST_VCSIM_MACHINES`.
/// The simulator takes minutes to make up 5,000.
fn machines_wanted() -> usize {
    let asked = env::var("NOVAHOST_VCSIM_MACHINES").ok();
    asked.map_or(1_000, |text| text.parse().expect("NOVAHOST_VCSIM_MACHINES is a number"))
}

#[tokio::test]
async fn many_machines_come_in_pages() {
    let machines = machines_wanted();
    let pages = u64::try_from(machines.div_ceil(500)).unwrap();
    let per_pool = (machines / 2).to_string();
    let Some(vcsim) = Vcsim::start(&["-autostart=false", "-vm", &per_pool]) else { return };
    let client = vcsim.client().await;
    client.time("test").await.unwrap();
    let (before, begun) = (client.requests(), now());
    let found = all(&client, "VirtualMachine", LEAN).await;
    let (requests, took) = (client.requests() - before, begun.elapsed());
    eprintln!("{machines} machines, {} properties each: {requests} requests, {took:?}", LEAN.len());
    let (args, begun) = ([&["object.collect", "-type", "m", "-json", "/"], LEAN].concat(), now());
    if let Some(printed) = vcsim.govc(&args) {
        let (bytes, took) = (printed.len(), begun.elapsed());
        eprintln!("govc, with login, logout and {bytes} bytes of JSON to print: {took:?}");
    }
    let names: BTreeSet<&str> =
        found.objects.iter().map(|it| it.props["name"].text.as_str()).collect();
    assert_eq!((found.objects.len(), names.len()), (machines, machines));
    assert!(found.objects.iter().all(|it| it.missing.is_empty()));
    assert!(found.objects.iter().all(|it| it.props["runtime.host"].as_moref().is_some()));
    // A view is made and ended around the pages.
    assert_eq!(requests, pages + 2);
    client.close().await;
    assert_eq!(vcsim.sessions_of_ours(), 0);
}

#[tokio::test]
async fn a_machine_is_cloned_changed_run_and_deleted() {
    let Some(vcsim) = Vcsim::start(&["-autostart=false"]) else { return };
    let client = vcsim.client().await;
    let service = client.service().await.unwrap();
    eprintln!("vcsim says that it is {} ({})", service.full_name, service.api);
    let folder = all(&client, "Datacenter", &["vmFolder"]).await;
    let folder = folder.objects[0].props["vmFolder"].as_moref().unwrap();
    let template = all(&client, "VirtualMachine", &["resourcePool", "datastore"]).await;
    let template = &template.objects[0];
    let uuid = Uuid::new_v4().to_string();
    let mark = "novahost v1 <&> \"ü\"\nsecond line";
    let option =
        Val::obj("OptionValue").with("key", "novahost.id").with("value", Val::any_text(mark));
    let config = Val::obj("VirtualMachineConfigSpec")
        .with("instanceUuid", uuid.as_str())
        .with("extraConfig", Val::arr([option]));
    let location = Val::obj("VirtualMachineRelocateSpec")
        .with("datastore", template.props["datastore"].morefs()[0].clone())
        .with("pool", template.props["resourcePool"].as_moref().unwrap());
    let spec = Val::obj("VirtualMachineCloneSpec")
        .with("location", location)
        .with("template", false)
        .with("config", config)
        .with("powerOn", false);
    let args = [("folder", (&folder).into()), ("name", "web-1".into()), ("spec", spec)];
    let task = start(&client, "CloneVM_Task", &template.obj, &args).await.unwrap();
    let TaskStatus::Success { result: Some(made) } = end(&client, &task).await else {
        panic!("the clone failed");
    };
    let machine = made.as_moref().unwrap();
    let marked = "config.extraConfig[\"novahost.id\"].value";
    let read = props(&client, &machine, &["config.instanceUuid", "name", marked]).await;
    assert_eq!(read["config.instanceUuid"].text, uuid);
    assert_eq!(read[marked].text, mark);
    if let Some(info) = vcsim.govc(&["vm.info", "-e", "/DC0/vm/web-1"]) {
        assert!(info.contains("web-1") && info.contains("novahost.id"), "{info}");
    }

    // The same name again: the task fails, with the fault in it.
    let again = start(&client, "CloneVM_Task", &template.obj, &args).await;
    let fault = match again {
        Ok(task) => match end(&client, &task).await {
            TaskStatus::Error(fault) => fault,
            other => panic!("{other:?}"),
        },
        Err(error) => error.fault().unwrap().clone(),
    };
    assert!(fault.is(&FaultKind::DuplicateName), "{fault}");

    let spec = Val::obj("VirtualMachineConfigSpec").with("numCPUs", 4).with("memoryMB", 2048);
    let task = start(&client, "ReconfigVM_Task", &machine, &[("spec", spec)]).await.unwrap();
    assert!(matches!(end(&client, &task).await, TaskStatus::Success { .. }));
    let hardware = ["config.hardware.numCPU", "config.hardware.memoryMB"];
    let read = props(&client, &machine, &hardware).await;
    assert_eq!((read[hardware[0]].as_i64(), read[hardware[1]].as_i64()), (Some(4), Some(2048)));

    for (method, state) in [("PowerOnVM_Task", "poweredOn"), ("PowerOffVM_Task", "poweredOff")] {
        let task = start(&client, method, &machine, &[]).await.unwrap();
        assert!(matches!(end(&client, &task).await, TaskStatus::Success { .. }));
        let read = props(&client, &machine, &["runtime.powerState"]).await;
        assert_eq!(read["runtime.powerState"].as_word(), Some(state));
    }
    let task = start(&client, "PowerOffVM_Task", &machine, &[]).await.unwrap();
    let TaskStatus::Error(fault) = end(&client, &task).await else { panic!("it was off") };
    assert!(fault.is(&FaultKind::InvalidPowerState), "{fault}");

    let task = start(&client, "Destroy_Task", &machine, &[]).await.unwrap();
    assert!(matches!(end(&client, &task).await, TaskStatus::Success { .. }));
    assert!(props(&client, &machine, &["name"]).await.is_empty());
    let gone = start(&client, "PowerOnVM_Task", &machine, &[]).await.unwrap_err();
    assert!(gone.is_fault(&FaultKind::ManagedObjectNotFound), "{gone}");
    assert_eq!(gone.fault().unwrap().object(), Some(machine));
    let never = MoRef::new("Task", "task-999999");
    let states = client.task_states(&[task, never], "test").await.unwrap();
    assert!(matches!(states[0], TaskStatus::Success { .. }));
    assert_eq!(states[1], TaskStatus::Gone);

    client.close().await;
    assert_eq!(vcsim.sessions_of_ours(), 0);
}

/// The arguments that clone a machine beside itself.
async fn beside(client: &VimClient, template: &MoRef, name: &str) -> [(&'static str, Val); 3] {
    let read = props(client, template, &["parent", "resourcePool", "datastore"]).await;
    let location = Val::obj("VirtualMachineRelocateSpec")
        .with("datastore", read["datastore"].morefs()[0].clone())
        .with("pool", read["resourcePool"].as_moref().unwrap());
    let spec = Val::obj("VirtualMachineCloneSpec")
        .with("location", location)
        .with("template", false)
        .with("powerOn", false);
    let folder = read["parent"].as_moref().unwrap();
    [("folder", folder.into()), ("name", name.into()), ("spec", spec)]
}

#[tokio::test]
async fn many_slow_tasks_are_asked_for_with_one_request() {
    let slow = ["-autostart=false", "-method-delay", "CloneVm:3000,LockHandoff:0"];
    let Some(vcsim) = Vcsim::start(&slow) else { return };
    let client = vcsim.client().await;
    let template = all(&client, "VirtualMachine", &["name"]).await.objects.remove(0).obj;
    let mut tasks = Vec::new();
    for index in 0..20 {
        let args = beside(&client, &template, &format!("web-{index}")).await;
        tasks.push(start(&client, "CloneVM_Task", &template, &args).await.unwrap());
    }
    let (before, begun) = (client.requests(), now());
    let mut polls = 0;
    while !tasks.is_empty() {
        let states = client.task_states(&tasks, "test").await.unwrap();
        let mut states = states.iter();
        tasks.retain(|_| !states.next().unwrap().is_final());
        polls += 1;
        assert!(polls < 100, "{} tasks have no end", tasks.len());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let (requests, took) = (client.requests() - before, begun.elapsed());
    eprintln!("20 clones of 3 s: {polls} polls, {requests} requests, {took:?}");
    assert_eq!(requests, polls, "one request for all of them");
    client.close().await;
    assert_eq!(vcsim.sessions_of_ours(), 0);
}

#[tokio::test]
async fn a_session_that_somebody_has_ended_is_replaced() {
    let Some(vcsim) = Vcsim::start(&["-autostart=false"]) else { return };
    let client = vcsim.client().await;
    let machines = all(&client, "VirtualMachine", &["name"]).await.objects;
    let of: Vec<MoRef> = machines.iter().map(|it| it.obj.clone()).collect();
    let end_ours = || {
        let listed = vcsim.govc(&["session.ls"]).expect(NO_GOVC);
        let ours = listed.lines().filter(|line| line.contains("novahost/"));
        let ended = ours.map(|line| vcsim.govc(&["session.rm", line.split(' ').next().unwrap()]));
        assert_eq!(ended.count(), 1, "{listed}");
    };
    end_ours();
    // On a dead session this call answers, with nothing in it that can be read.
    let paths = Paths::of("VirtualMachine", &["name"]);
    let read = client.properties(&of, &paths, "test").await.unwrap();
    assert!(read.objects.iter().all(|it| it.props.contains_key("name")));
    end_ours();
    assert_eq!(all(&client, "VirtualMachine", &["name"]).await.objects.len(), of.len());
    end_ours();
    start(&client, "PowerOnVM_Task", &of[0], &[]).await.unwrap();
    client.close().await;
    assert_eq!(vcsim.sessions_of_ours(), 0);
}

#[tokio::test]
async fn a_session_that_the_server_has_dropped_is_replaced() {
    let fault = "PowerOnVM_Task:NotAuthenticated:0:1,CreateContainerView:NotAuthenticated:1:1";
    let Some(vcsim) = Vcsim::start(&["-autostart=false", "-fault", fault]) else { return };
    let client = vcsim.client().await;
    let machine = all(&client, "VirtualMachine", &["name"]).await.objects.remove(0).obj;
    assert_eq!(all(&client, "VirtualMachine", &["name"]).await.objects.len(), 4);
    let task = start(&client, "PowerOnVM_Task", &machine, &[]).await.unwrap();
    assert!(matches!(end(&client, &task).await, TaskStatus::Success { .. }));
    client.close().await;
    // The simulator only says that they are gone: each was given up for another one.
    assert_eq!(vcsim.sessions_of_ours(), 2);
}

#[tokio::test]
async fn a_wrong_password_is_refused_as_such() {
    let Some(vcsim) = Vcsim::start(&[]) else { return };
    let settings = ClientSettings { password: "wrong".into(), ..vcsim.settings().await };
    let client = VimClient::new(settings, Clock::system()).unwrap();
    let error = client.time("test").await.unwrap_err();
    assert!(matches!(error, CallError::Auth(_)), "{error}");
    assert_eq!(error.proof(), Proof::Refused);
    assert_eq!(vcsim.sessions_of_ours(), 0);
}

#[allow(clippy::disallowed_methods, reason = "a measurement for people to read")]
fn now() -> Instant {
    Instant::now()
}

//! The whole road against VMware's own simulator: the real binary plans, applies, finds
//! drift, adopts and deletes, and VMware's own clients look at what it did.
//!
//! govc is asked where `NOVAHOST_GOVC` names it; pyvmomi where `NOVAHOST_PYTHON` names an
//! interpreter that has it. `.ci/conformance` sets both.

use super::{NO_GOVC, PASSWORD, USER, Vcsim, machines_wanted, now};
use crate::scratch::{Scratch, repository};
use novahost::provider::tls::probe;
use std::{collections::BTreeMap, env, fs, process::Command, time::Duration};

/// Who did what is told apart by the account.
const PROJECT: &str = r#"version: 1
project: acme-lab
hypervisors:
  vc:
    type: vcenter
    endpoint: https://ENDPOINT
    auth: { username: nova@vsphere.local, password: env:VC_PASSWORD }
    defaults: { datacenter: DC0, cluster: DC0_C0, datastore: LocalDS_0, folder: novahost }
networks:
  web: { cidr: 10.20.0.0/24, gateway: 10.20.0.1, at: { vc: { portgroup: VM Network } } }
  back: { at: { vc: { portgroup: DC0_DVPG0 } } }
images:
  base:
    os: linux
    init: cloud-init
    at: { vc: { template: DC0_C0_RP0_VM0, clone: full } }
  disc: { os: bsd, init: none, at: { vc: { iso: "[LocalDS_0] iso/disc.iso" } } }
pools:
  team: { at: { vc: { folder: novahost/team, resource_pool: team } } }
"#;

const MACHINES: &str = r#"vms:
  web-{1..2}:
    hypervisor: vc
    image: base
    pool: team
    resources: { cpu: 2, memory: 512MiB, disk: 16GiB }
    disks: { data: { size: 2GiB, on_remove: delete } }
    nics: { eth0: { network: web, ip: 10.20.0.71-10.20.0.72 }, eth1: { network: back } }
    init: { hostname: "web-{n}", user: deploy, ssh_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO+/abc= deploy"] }
    notes: Front end
    vcenter: { hardware_version: 19, extra_config: { disk.EnableUUID: "TRUE" } }
    power: running
  router:
    hypervisor: vc
    image: disc
    resources: { cpu: 1, memory: 256MiB, disk: 4GiB }
    nics: { wan: { network: web } }
    after: [web-1]
"#;

/// A project beside the simulator, and outside of it the trust settings.
pub(super) struct Road {
    pub(super) vcsim: Vcsim,
    pub(super) project: Scratch,
    trace: std::path::PathBuf,
}

impl Road {
    pub(super) async fn begin(name: &str) -> Option<Self> {
        let road = Self::over(name, &["-vm", "3"]).await?;
        road.govc(&["vm.power", "-off", "DC0_C0_RP0_VM0"]);
        road.govc(&["vm.markastemplate", "DC0_C0_RP0_VM0"]);
        Some(road)
    }

    async fn over(name: &str, args: &[&str]) -> Option<Self> {
        let files = tempfile::tempdir().unwrap().keep();
        let trace = files.join("trace");
        let traced = ["-trace-file", trace.to_str().unwrap()];
        let vcsim = Vcsim::start(&[args, &traced].concat())?;
        let (host, port) = (vcsim.endpoint.host.clone(), vcsim.endpoint.port);
        let seen = probe(&host, port, Duration::from_secs(10)).await.unwrap();
        let trust = files.join("trust.toml");
        let text = format!(
            "[hypervisors.vc]\nhosts = [\"{host}:{port}\"]\npins = [\"{}\"]\n\
             secrets = [\"env:VC_PASSWORD\"]\n[store]\npath = \"{}\"\n",
            seen.leaf,
            files.join("journal.db").display()
        );
        fs::write(&trust, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(&trust, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let yaml = PROJECT.replace("ENDPOINT", &format!("{host}:{port}"));
        let project = Scratch::with(name, &yaml)
            .variable("NOVAHOST_TRUST", trust.to_str().unwrap())
            .variable("VC_PASSWORD", PASSWORD);
        let road = Self { vcsim, project, trace };
        road.govc(&["folder.create", "/DC0/vm/novahost"]);
        road.govc(&["folder.create", "/DC0/vm/novahost/team"]);
        road.govc(&["pool.create", "/DC0/host/DC0_C0/Resources/team"]);
        Some(road)
    }

    /// What VMware's own client prints.
    pub(super) fn govc(&self, args: &[&str]) -> String {
        self.vcsim.govc(args).expect(NO_GOVC)
    }

    pub(super) fn declare(&self, machines: &str) {
        let yaml = self.project.read("novahost.yaml");
        let head = yaml.split("vms:").next().unwrap();
        self.project.write("novahost.yaml", &format!("{head}{machines}"));
    }

    /// Methods that began a task since the simulator started, in their order.
    pub(super) fn tasks(&self) -> Vec<String> {
        self.methods().into_iter().filter(|it| it.ends_with("_Task")).collect()
    }

    /// Methods that were called since the simulator started, in their order.
    pub(super) fn methods(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.trace).unwrap();
        let requests = text.lines().filter(|line| line.starts_with("Request:"));
        let method = |line: &str| {
            let body = line.split("Body><").nth(1)?;
            Some(body.split([' ', '>']).next()?.to_owned())
        };
        requests.filter_map(method).collect()
    }

    /// Ends a command by Ctrl-C once it has called this method; tells its exit code.
    fn interrupt(&self, command: &str, method: &str) -> Option<i32> {
        let before = self.methods().len();
        let mut command = self.project.command(command);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        for _ in 0..1_000 {
            if self.methods().iter().skip(before).any(|it| it == method) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        crate::scratch::send("INT", child.id());
        child.wait().unwrap().code()
    }

    /// Everything outside of our folder, as VMware's own client saves it.
    fn others(&self) -> BTreeMap<String, String> {
        let list = self.govc(&["find", "/DC0/vm", "-type", "m"]);
        let others = list.lines().filter(|path| !path.starts_with("/DC0/vm/novahost/"));
        assert!(others.clone().count() > 0, "there is nothing beside ours in {list}");
        let info = |path: &str| {
            let paths = ["config", "name", "parent", "resourcePool", "runtime.powerState"];
            self.govc(&[&["object.collect", "-json", path][..], &paths].concat())
        };
        others.map(|path| (path.to_owned(), info(path))).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_road_is_walked_and_nothing_beside_it() {
    let Some(road) = Road::begin("vcsim-road").await else { return };
    let others = road.others();
    road.declare(MACHINES);
    road.project.run("plan --detailed-exitcode").code(2).says("3 to create");
    assert_eq!(road.tasks().iter().filter(|it| *it == "CloneVM_Task").count(), 0);
    road.project.run("apply --yes").code(0).says("3 done");
    assert_eq!(road.others(), others, "what is not ours is as it was");
    for name in ["web-1", "web-2"] {
        let info = road.govc(&["vm.info", "-json", &format!("/DC0/vm/novahost/team/{name}")]);
        for wanted in [
            "\"memoryMB\":512",
            "\"numCPU\":2",
            "\"annotation\":\"Front end\"",
            "\"capacityInBytes\":17179869184",
            "\"capacityInBytes\":2147483648",
            "key=vm/",
            "stage=ready",
            "\"powerState\":\"poweredOn\"",
            "\"version\":\"vmx-19\"",
            "\"key\":\"disk.EnableUUID\"",
        ] {
            let squeezed = |text: &str| text.split_whitespace().collect::<String>();
            assert!(squeezed(&info).contains(&squeezed(wanted)), "{name}: no {wanted} in {info}");
        }
    }
    let pool = road.govc(&["pool.info", "-json", "/DC0/host/DC0_C0/Resources/team"]);
    assert!(pool.contains("\"team\""), "{pool}");
    assert!(road.govc(&["ls", "/DC0/vm/novahost"]).contains("router"));
    seen_by_pyvmomi(&road);

    let before = road.tasks().len();
    let clones = road.tasks().iter().filter(|it| *it == "CloneVM_Task").count();
    assert_eq!(clones, 2, "the trace tells of tasks");
    road.project.run("plan --detailed-exitcode").code(0).says("Nothing to do. 4 unchanged.");
    road.project.run("apply --yes").code(0).says("Nothing to do. 4 unchanged.");
    assert_eq!(road.tasks().len(), before, "a second apply begins no task");
    assert_eq!(road.vcsim.sessions_of_ours(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_found_adoption_leaves_no_difference_and_a_delete_takes_what_it_said() {
    let Some(road) = Road::begin("vcsim-life").await else { return };
    road.declare(MACHINES);
    road.project.run("apply --yes").code(0).says("3 done");
    road.project.run("drift").code(0);
    let web = "/DC0/vm/novahost/team/web-1";
    road.govc(&["vm.change", "-vm", web, "-m", "1024"]);
    road.govc(&["vm.power", "-off", "-force", "/DC0/vm/novahost/team/web-2"]);
    let found = road.project.run("drift").code(2);
    found.clone().says("memory    declared 512 MiB, observed 1 GiB");
    found.says("power     declared running, observed stopped");
    // Less memory needs a restart, which waits for its consent; what needs none is done.
    road.project.run("apply --yes").code(0).says("1 waiting");
    assert!(road.govc(&["vm.info", web]).contains("1024MB"));
    road.project.run("apply --yes --allow restart").code(0);
    assert!(road.govc(&["vm.info", web]).contains("512MB"));
    road.project.run("drift").code(0);

    let old = road.govc(&["ls", "-i", "/DC0/vm/DC0_H0_VM0"]);
    let id = old.trim().rsplit(':').next().unwrap();
    let adopted = format!(
        "{MACHINES}  old:\n    name: DC0_H0_VM0\n    hypervisor: vc\n    adopt: vc/{id}\n    resources: {{ cpu: 1 }}\n"
    );
    road.declare(&adopted);
    road.project.run("apply --yes").code(0).says("1 done");
    road.project.run("plan --detailed-exitcode").code(0).says("Nothing to do. 5 unchanged.");

    road.declare(MACHINES);
    road.project.run("apply --yes").code(0).says("1 waiting");
    assert!(road.govc(&["ls", "/DC0/vm"]).contains("DC0_H0_VM0"), "nothing goes unasked");
    road.project.run("forget vm/old --yes").code(0);
    assert!(road.govc(&["ls", "/DC0/vm"]).contains("DC0_H0_VM0"));
    let info = road.govc(&["vm.info", "-e", "/DC0/vm/DC0_H0_VM0"]);
    assert!(!info.contains("novahost.id:"), "{info}");

    road.declare("");
    road.project.run("apply --yes --allow delete --expect-shrink 3").code(0).says("3 done");
    let left = road.govc(&["find", "/DC0/vm/novahost", "-type", "m"]);
    assert_eq!(left.trim(), "", "{left}");
    assert!(road.govc(&["ls", "/DC0/vm"]).contains("DC0_H0_VM0"));
    assert_eq!(road.vcsim.sessions_of_ours(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_over_many_machines_is_one_view_and_its_pages() {
    let machines = machines_wanted();
    let per_pool = (machines / 2).to_string();
    let args = ["-autostart=false", "-vm", &per_pool];
    let Some(road) = Road::over("vcsim-many", &args).await else { return };
    road.declare("");
    let (before, begun) = (road.methods().len(), now());
    road.project.run("plan --detailed-exitcode").code(0).says("Nothing to do.");
    let (took, methods) = (begun.elapsed(), road.methods().split_off(before));
    eprintln!("a plan over {machines} machines: {} requests, {took:?}", methods.len());
    // A page is 500 objects; hosts, folders and the like fit into the last one, or one more.
    let pages = methods.iter().filter(|it| it.ends_with("RetrievePropertiesEx")).count();
    assert!(pages >= machines / 500, "{methods:?}");
    assert!(methods.len() <= machines / 500 + 12, "{methods:?}");
    assert_eq!(road.vcsim.sessions_of_ours(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_interrupted_logs_out_all_the_same() {
    let Some(road) = Road::begin("vcsim-interrupt").await else { return };
    road.declare(MACHINES);
    // In the middle of its work: the first clone is asked for, and the rest is not done.
    assert_eq!(road.interrupt("apply --yes", "CloneVM_Task"), Some(130));
    assert_eq!(road.vcsim.sessions_of_ours(), 0);
    road.project.run("apply --yes").code(0);
    road.project.run("plan --detailed-exitcode").code(0);
    let wrong = road.project.command("plan").env("VC_PASSWORD", "wrong").output().unwrap();
    assert_eq!(wrong.status.code(), Some(4), "{}", String::from_utf8_lossy(&wrong.stderr));
    assert_eq!(road.vcsim.sessions_of_ours(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_looks_logs_out_too_when_interrupted() {
    let slow = ["-vm", "3", "-method-delay", "CreateContainerView:2000"];
    let Some(road) = Road::over("vcsim-look", &slow).await else { return };
    road.declare("");
    for command in ["plan", "drift", "get vms", "apply --yes"] {
        assert_eq!(road.interrupt(command, "CreateContainerView"), Some(130), "{command}");
        assert_eq!(road.vcsim.sessions_of_ours(), 0, "{command}");
    }
}

const LABELLED: &str = r#"vms:
  web-{1..2}:
    hypervisor: vc
    image: base
    labels: { tenant: acme, tier: front }
    nics: { eth0: { network: web, ip: 10.20.0.71-10.20.0.72 } }
    power: stopped
"#;

/// Labels are tags that VMware's own client sees; what others put on stays.
#[tokio::test(flavor = "multi_thread")]
async fn labels_are_tags_that_others_see_and_others_tags_stay() {
    let Some(road) = Road::begin("vcsim-labels").await else { return };
    // Somebody's own category, spelt another way, and a tag beside ours.
    road.govc(&["tags.category.create", "-m", "-t", "VirtualMachine", "Tier"]);
    road.govc(&["tags.create", "-c", "Tier", "gold"]);
    road.declare(LABELLED);
    road.project.run("apply --yes").code(0).says("2 done");
    let worn = |name: &str| {
        let path = format!("/DC0/vm/novahost/{name}");
        let listed = road.govc(&["tags.attached.ls", "-r", &path]);
        let mut tags: Vec<String> = listed.lines().map(|it| it.trim().to_owned()).collect();
        tags.sort();
        tags
    };
    assert_eq!((worn("web-1"), worn("web-2")), (both(), both()));
    let category = road.govc(&["tags.category.info", "-json", "tenant"]);
    assert!(category.contains("SINGLE") && category.contains("acme-lab"), "{category}");
    road.govc(&["tags.attach", "-c", "Tier", "gold", "/DC0/vm/novahost/web-1"]);
    road.govc(&["tags.detach", "-c", "tenant", "acme", "/DC0/vm/novahost/web-2"]);
    let found = road.project.run("drift").code(2);
    found.says("declared acme").says("vm/web-2");
    road.project.run("apply --yes").code(0).says("1 done");
    assert_eq!(worn("web-1"), ["acme", "front", "gold"]);
    assert_eq!(worn("web-2"), both());

    road.declare(&LABELLED.replace("tenant: acme", "tenant: beta"));
    road.project.run("apply --yes").code(0).says("2 done");
    assert_eq!(worn("web-1"), ["beta", "front", "gold"]);
    road.project.run("plan --detailed-exitcode").code(0).says("Nothing to do.");
    // No task tells of these calls: what there is to see is what they leave behind.
    let all = || {
        let machines = ["web-1", "web-2"].map(worn);
        // It lists them in any order.
        let listed = ["tags.category.ls", "tags.ls"].map(|it| {
            let told: serde_json::Value = serde_json::from_str(&road.govc(&[it, "-json"])).unwrap();
            let all = told.as_array().unwrap().iter().map(ToString::to_string);
            all.collect::<std::collections::BTreeSet<_>>()
        });
        assert!(listed.iter().all(|it| it.len() > 1), "{listed:?}");
        (machines, listed)
    };
    let before = all();
    road.project.run("apply --yes").code(0).says("Nothing to do.");
    assert_eq!(all(), before, "a second apply changes nothing");
    assert_eq!(road.vcsim.sessions_of_ours(), 0);
}

/// Machines are kept apart by a rule that VMware's own client lists.
#[tokio::test(flavor = "multi_thread")]
async fn a_spread_is_a_rule_of_the_cluster() {
    let Some(road) = Road::begin("vcsim-spread").await else { return };
    let spread = LABELLED
        .replace("    labels: { tenant: acme, tier: front }\n", "    placement: { spread: web }\n");
    road.declare(&spread);
    road.project.run("apply --yes").code(0).says("3 done");
    let cluster = "/DC0/host/DC0_C0";
    let rule = ["cluster.rule.info", "-cluster", cluster, "-name", "nh-acme-lab-web"];
    let listed = road.govc(&rule);
    assert!(listed.contains("ClusterAntiAffinityRuleSpec"), "{listed}");
    assert!(listed.contains("web-1") && listed.contains("web-2"), "{listed}");
    let before = road.tasks().len();
    road.project.run("plan --detailed-exitcode").code(0).says("Nothing to do.");
    road.project.run("apply --yes").code(0).says("Nothing to do.");
    assert_eq!(road.tasks().len(), before, "a second apply begins no task");
    road.declare(&spread.replace("    placement: { spread: web }\n", ""));
    road.project.run("apply --yes --allow delete").code(0).says("1 done");
    assert!(!road.govc(&["cluster.rule.ls", "-cluster", cluster]).contains("nh-"));
    assert_eq!(road.vcsim.sessions_of_ours(), 0);
}

fn both() -> Vec<String> {
    vec!["acme".to_owned(), "front".to_owned()]
}

/// Names of a machine's snapshots, as VMware's own client draws the tree.
fn snapshots(road: &Road, machine: &str) -> Vec<String> {
    let tree = road.govc(&["snapshot.tree", "-vm", machine]);
    // A dot says where the machine is now.
    let lines = tree.lines().map(str::trim).filter(|line| !line.is_empty() && *line != ".");
    lines.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_machine_is_stopped_started_and_kept_and_no_other() {
    let Some(road) = Road::begin("vcsim-vm").await else { return };
    let others = road.others();
    road.declare(MACHINES);
    road.project.run("apply --yes").code(0);
    let web = "/DC0/vm/novahost/team/web-1";
    let stopped = road.project.run("vm stop web-1 --yes").code(0);
    stopped.says_in_words("the next apply starts it again");
    assert!(road.govc(&["vm.info", web]).contains("poweredOff"));
    assert!(road.govc(&["vm.info", "/DC0/vm/novahost/team/web-2"]).contains("poweredOn"));
    road.project.run("vm start web-1 --yes").code(0);
    assert!(road.govc(&["vm.info", web]).contains("poweredOn"));
    road.project.run("vm reboot web-1 --yes").code(0);
    road.project.run("vm snapshot web-1 --name before-upgrade --yes").code(0);
    assert_eq!(snapshots(&road, web), ["before-upgrade"]);
    road.project.run("describe vm/web-1").code(0).says("snapshot before-upgrade");
    road.project.run("plan --detailed-exitcode").code(0).says("Nothing to do. 4 unchanged.");
    let tasks = road.tasks().len();
    road.project.run("vm snapshot web-1 --name before-upgrade --yes").code(5).warns("already");
    road.project.run("vm stop DC0_H0_VM0 --yes").code(5).warns("is unmanaged");
    assert_eq!(road.tasks().len(), tasks, "what is refused begins no task");
    assert_eq!(road.others(), others, "what is not ours is as it was");
    if let Some(said) = seen_by_pyvmomi(&road) {
        assert!(said.contains("snapshot before-upgrade of web-1: "), "{said}");
    }
    assert_eq!(road.vcsim.sessions_of_ours(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_taken_before_changes_and_kept_to_a_number() {
    let Some(road) = Road::begin("vcsim-snapshots").await else { return };
    let others = road.others();
    let kept = "    power: running\n    snapshots: { before_change: true, keep: 1 }\n";
    let machines = MACHINES.replacen("    power: running\n", kept, 1);
    road.declare(&machines);
    road.project.run("apply --yes").code(0);
    let web = "/DC0/vm/novahost/team/web-1";
    assert_eq!(snapshots(&road, web), Vec::<String>::new());
    road.project.run("vm snapshot web-1 --name mine --yes").code(0);
    for (from, to) in [("512MiB", "384MiB"), ("384MiB", "256MiB")] {
        let yaml = road.project.read("novahost.yaml");
        let (head, tail) = yaml.split_once("vms:").unwrap();
        let less = tail.replacen(&format!("memory: {from}"), &format!("memory: {to}"), 1);
        road.project.write("novahost.yaml", &format!("{head}vms:{less}"));
        road.project.run("apply --yes --allow restart").code(0);
    }
    let taken = snapshots(&road, web);
    assert_eq!(taken.len(), 3, "{taken:?}");
    assert!(taken[1..].iter().all(|it| it.starts_with("novahost-")), "{taken:?}");
    if let Some(said) = seen_by_pyvmomi(&road) {
        let line = said.lines().find(|line| line.contains(&taken[1])).unwrap();
        assert!(line.contains("project=acme-lab key=vm/web-1 "), "{line}");
    }
    road.project.run("plan").code(0).says("2 to update");
    road.project.run("apply --yes").code(0).says("waiting");
    assert_eq!(snapshots(&road, web), taken, "a loss waits for its consent");
    road.project.run("apply --yes --allow data-loss").code(0);
    assert_eq!(snapshots(&road, web), [taken[0].clone(), taken[2].clone()]);
    road.project.run("plan --detailed-exitcode").code(0).says("Nothing to do.");
    assert_eq!(road.others(), others, "what is not ours is as it was");
    assert_eq!(road.vcsim.sessions_of_ours(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_made_marked_and_removed_and_what_was_there_stays() {
    let Some(road) = Road::begin("vcsim-pools").await else { return };
    let head = road.project.read("novahost.yaml");
    let head = head.split("pools:").next().unwrap();
    let pools = "pools:\n  tenant: { comment: Of the tenant, at: { vc: { folder: Tenants/acme, \
                 resource_pool: Tenants/acme } } }\n  team: { at: { vc: { folder: novahost/team, \
                 resource_pool: team } } }\n";
    let machine = "vms:\n  web-1: { hypervisor: vc, image: base, pool: tenant, power: stopped, \
                   resources: { cpu: 1, memory: 256MiB } }\n";
    road.project.write("novahost.yaml", &format!("{head}{pools}{machine}"));
    road.project.run("plan --detailed-exitcode").code(2).says("folder Tenants/acme");
    road.project.run("apply --yes").code(0).says("2 done");
    let folder = road.govc(&["folder.info", "/DC0/vm/Tenants/acme"]);
    assert!(folder.contains("acme"), "{folder}");
    let share = "/DC0/host/DC0_C0/Resources/Tenants/acme";
    let info = road.govc(&["pool.info", share]);
    for wanted in [
        "CPU Shares:       normal",
        "Mem Reservation:  0MB (expandable=true)",
        "Mem Limit:        -1MB",
    ] {
        assert!(info.contains(wanted), "no {wanted} in {info}");
    }
    for (kind, path) in [("folder", "/DC0/vm/Tenants/acme"), ("share", share)] {
        let fields = road.govc(&["fields.info", "-n", "novahost.id", path]);
        assert!(fields.contains("key=pool/tenant"), "{kind}: {fields}");
    }
    assert!(road.govc(&["ls", "/DC0/vm/Tenants/acme"]).contains("web-1"));
    let before = road.methods().len();
    road.project.run("plan --detailed-exitcode").code(0).says("Nothing to do.");
    road.project.run("apply --yes").code(0).says("Nothing to do.");
    let sent = road.methods().split_off(before);
    let changes = ["CreateFolder", "CreateResourcePool", "SetField", "AddCustomFieldDef"];
    assert!(sent.iter().all(|it| !it.ends_with("_Task") && !changes.contains(&it.as_str())));

    road.project.write("novahost.yaml", head);
    road.project.run("apply --yes").code(0).says("waiting");
    for path in ["/DC0/vm/Tenants/*", "/DC0/host/DC0_C0/Resources/Tenants/*"] {
        assert!(road.govc(&["ls", path]).contains("acme"), "nothing goes unasked: {path}");
    }
    // The machine and the resource pool go. This simulator does not know the call by which a
    // folder goes without the files of what is in it: the refusal is told, nothing else is tried.
    let ran = road.project.run("apply --yes --allow delete --expect-shrink 9").code(7);
    ran.says("UnregisterAndDestroy");
    assert_eq!(
        road.methods().iter().filter(|it| it.starts_with("UnregisterAndDestroy")).count(),
        1
    );
    // Of a resource pool, `ls` without a star names the pool itself.
    assert!(!road.govc(&["ls", "/DC0/host/DC0_C0/Resources/Tenants/*"]).contains("acme"));
    assert_eq!(road.govc(&["ls", "/DC0/vm/Tenants/acme"]).trim(), "", "nothing is in it");
    assert!(road.govc(&["folder.info", "/DC0/vm/Tenants/acme"]).contains("acme"));
    // What was there before bears no mark, and stays.
    assert!(road.govc(&["ls", "/DC0/vm/novahost"]).contains("team"));
    assert!(road.govc(&["ls", "/DC0/host/DC0_C0/Resources/*"]).contains("team"));
    assert_eq!(road.vcsim.sessions_of_ours(), 0);
}

/// A client in another language reads the same, property by property.
fn seen_by_pyvmomi(road: &Road) -> Option<String> {
    let Ok(python) = env::var("NOVAHOST_PYTHON") else { return None };
    let script = repository().join("tests/conformance/look.py");
    let (host, port) = (&road.vcsim.endpoint.host, road.vcsim.endpoint.port);
    let output = Command::new(python)
        .arg(script)
        .args([host, &port.to_string(), USER, PASSWORD, "acme-lab"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("3 machines"), "{said}");
    Some(said.into_owned())
}

//! Exit codes, each driven through the real binary.

use crate::scratch::{HYPERVISOR, Ran, SMALL, Scratch, runtime, send, wait_for, wait_until};
use mock_servers::pve::{Fault, FaultPoint, Options, Release, Server, World, serve};
use novahost::{
    clock::Clock,
    store::{LeaseHolder, Store},
};
use std::{net::TcpListener, process::Stdio, time::Duration};

const FIRST_WORLD: &str = include_str!("../../fixtures/worlds/proxmox.yaml");
const TOKEN: &str = "00000000-0000-4000-8000-00000000a11a";

fn small(name: &str) -> Scratch {
    Scratch::with(name, SMALL)
}

/// A cluster outside of the binary, so that faults can be planted, and a project for it.
struct Lab {
    // Held so that it goes on serving.
    _runtime: tokio::runtime::Runtime,
    server: Server,
    scratch: Scratch,
}

fn lab(name: &str) -> Lab {
    let runtime = runtime();
    let world = World::from_yaml(FIRST_WORLD).unwrap();
    let server = runtime.block_on(serve(world, Options::new(Release::V9_2, 7))).unwrap();
    let scratch = small(name).unrecorded().variable("NOVAHOST_PVE_TOKEN", TOKEN);
    scratch.write("ca.pem", server.ca_pem());
    scratch.edit(
        "endpoint: https://127.0.0.1:8006",
        &format!("endpoint: {}\n    tls: {{ ca_file: ca.pem }}", server.endpoint()),
    );
    Lab { _runtime: runtime, server, scratch }
}

impl Lab {
    /// From now on the hook decides what goes wrong.
    fn fault(&self, hook: impl FnMut(&FaultPoint) -> Option<Fault> + Send + 'static) {
        self.server.control().set_fault(Box::new(hook));
    }
}

#[test]
fn code_0_when_all_is_done_or_only_withheld() {
    let it = small("exit-0");
    it.applied();
    it.edit("cpu: 2, memory", "cpu: 4, memory");
    // `b` is off and takes it at once; the running ones wait for consent.
    it.sandbox("apply --yes").code(0).says("2 waiting");
    it.sandbox("plan").code(0).says("--allow restart");
}

#[test]
fn code_0_against_a_cluster_that_is_not_in_the_process() {
    let it = lab("exit-0-outside");
    it.scratch.run("plan").code(0).says("5 to create");
    it.scratch.run("apply --yes").code(0).says("Apply: 5 done");
    it.scratch.run("plan --detailed-exitcode").code(0);
    it.scratch.run("audit verify").code(0).says("unbroken");
}

#[test]
fn code_1_for_anything_else_that_goes_wrong() {
    let it = small("exit-1");
    it.sandbox("runs list").code(1).warns("there is no journal").warns("hint:");
    it.run("show nothing-here --sandbox").code(1);
    it.sandbox("runs resume 0123").code(1).warns("no run `0123`");
    it.write("plan.json", "{ \"format\": 1 }");
    it.sandbox("apply plan.json --yes").code(1).warns("plan.json");
    it.run("plan --inventory absent.json").code(1).warns("absent.json");
}

#[test]
fn code_2_for_differences_and_nothing_else() {
    let it = small("exit-2");
    it.sandbox("plan --detailed-exitcode").code(2);
    it.sandbox("plan").code(0);
    it.applied();
    it.sandbox("drift").code(0).says("No drift.");
    let id = it.id_of("vm/a");
    it.operator(|control| control.edit_config(id, "cores", Some("3")));
    it.sandbox("drift").code(2).says("vm/a");
    it.sandbox("drift --target vm/b").code(0).says("No drift.").says_not("vm/a");
}

#[test]
fn code_3_for_yaml_that_is_wrong() {
    let it = small("exit-3");
    it.edit("memory: 2GiB", "memory: 2GiBB");
    for line in ["validate", "plan --sandbox", "apply --yes --sandbox", "drift --sandbox"] {
        it.run(line).code(3).warns("novahost.yaml:31").warns("nothing was read or changed").fits();
    }
    it.run("plan --sandbox absent.yaml").code(3);
    assert!(!it.path(".novahost").exists(), "no simulator was started");
}

#[test]
fn code_4_when_the_login_is_refused_or_its_secret_is_not_there() {
    let it = lab("exit-4");
    let mut scratch = it.scratch;
    scratch.run("plan").code(0);
    scratch.variables = vec![("NOVAHOST_PVE_TOKEN".into(), TOKEN.replace('a', "b"))];
    scratch.run("plan").code(4).says_not("to create");
    scratch.run("apply --yes").code(4);
    scratch.variables.clear();
    scratch.run("plan").code(4).warns("NOVAHOST_PVE_TOKEN");
    assert!(it.server.control().inspect(|world| world.pools.len() == 1), "nothing was made");
}

#[test]
fn code_5_when_nobody_said_yes() {
    let it = small("exit-5-yes");
    it.sandbox("apply").code(5).says("5 to create").warns("--yes");
    assert!(it.ids_of("vm/a").is_empty());
}

#[test]
fn code_5_when_the_yaml_lost_nearly_everything() {
    let it = Scratch::project("exit-5-empty", Release::V9_2);
    it.applied();
    let yaml = it.read("novahost.yaml");
    let before = it.world().guests.len();
    let (head, rest) = yaml.split_once("vms:\n").unwrap();
    let policy = &rest[rest.find("policy:").unwrap()..];
    it.write("novahost.yaml", &format!("{head}vms: {{}}\n\n{policy}"));
    it.sandbox("plan").code(0);
    let refused = it.sandbox("apply --yes --allow delete").code(5);
    assert!(refused.err.contains("expect-shrink"), "{refused}");
    assert_eq!(it.world().guests.len(), before);
}

#[test]
fn code_5_when_trust_does_not_know_the_host_and_no_secret_leaves() {
    let it = small("exit-5-trust").variable("NOVAHOST_PVE_TOKEN", TOKEN);
    // A name that never resolves: nothing may be asked there.
    it.edit("https://127.0.0.1:8006", "https://pve.example.invalid:8006");
    let started = it.run("plan").code(5);
    assert!(started.err.contains("pve.example.invalid"), "{started}");
    it.run("apply --yes").code(5);
    assert!(!format!("{started}").contains(TOKEN));
}

/// On an address that is not loopback: not even a certificate is looked at, because nobody sits there to be asked.
#[test]
fn an_unknown_host_gets_no_connection() {
    // The address this machine would use to reach the documentation network; connecting
    // a datagram socket sends nothing.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    if probe.connect("203.0.113.1:9").is_err() {
        return;
    }
    let own = probe.local_addr().unwrap().ip();
    if own.is_loopback() || own.is_unspecified() {
        return;
    }
    let listener = TcpListener::bind((own, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let it = small("exit-5-bytes").variable("NOVAHOST_PVE_TOKEN", TOKEN);
    it.edit("https://127.0.0.1:8006", &format!("https://{own}:{port}"));
    it.run("plan").code(5).warns("trust add");
    listener.set_nonblocking(true).unwrap();
    let nobody = listener.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn code_6_for_a_saved_plan_after_the_yaml_changed() {
    let it = small("exit-6-yaml");
    it.sandbox("plan --out plan.json").code(0);
    it.edit("notes: First", "notes: Second");
    it.sandbox("apply plan.json --yes").code(6).warns("novahost.yaml");
    assert!(it.ids_of("vm/a").is_empty());
}

#[test]
fn code_6_for_a_saved_plan_after_the_world_moved() {
    let it = small("exit-6-world");
    it.applied();
    it.edit("notes: First", "notes: Second");
    it.sandbox("plan --out plan.json").code(0).says("1 to update");
    let id = it.id_of("vm/a");
    it.operator(|control| {
        let text = control.inspect(|world| world.guests[&id].config["description"].clone());
        control.edit_config(id, "description", Some(&text.replacen("First", "Third", 1)));
    });
    it.sandbox("apply plan.json --yes").code(6).warns("stale: vm/a");
    assert!(it.config("vm/a", "description").unwrap().starts_with("Third"));
}

#[test]
fn code_6_for_an_approval_of_another_plan() {
    let it = small("exit-6-approve");
    it.sandbox("apply --yes --approve 0123456789ab").code(6).warns("not the approved");
    it.sandbox("apply --yes --approve 0123").code(64).warns("12 or more digits");
    assert!(it.ids_of("vm/a").is_empty());
}

#[test]
fn code_7_when_one_action_fails_and_its_neighbours_run() {
    let it = lab("exit-7");
    it.fault(|point| {
        let hit = point.method == "POST" && point.template.ends_with("/resize")
            || point.method == "PUT" && point.template.ends_with("/resize");
        hit.then(|| Fault::TaskFails("no space left on device".to_owned()))
    });
    // Only `b` gets a larger disk than the others; their boot disks are all grown.
    let ran = it.scratch.run("apply --yes").code(7);
    assert!(ran.out.contains("failed: vm/"), "{ran}");
    assert!(ran.out.contains("2 done"), "the pools were made: {ran}");
    // Once the fault is gone the next run builds to the end what it began.
    it.server.control().clear_fault();
    it.scratch.run("apply --yes").code(0);
    it.scratch.run("plan --detailed-exitcode").code(0);
}

#[test]
fn code_8_while_another_run_holds_the_lease() {
    let it = small("exit-8");
    it.applied();
    it.edit("notes: First", "notes: Second");
    runtime().block_on(async {
        let store = Store::open(&it.path(".novahost/sandbox/journal.db")).await.unwrap();
        let holder = LeaseHolder {
            run: uuid::Uuid::now_v7(),
            who: "marie".into(),
            pid: 4242,
            host: "desk".into(),
            process: None,
        };
        let all = [HYPERVISOR.into()];
        let lease = store
            .acquire_lease(&"shop".into(), &all, holder, 60_000, Clock::system().now_ms())
            .await;
        let lease = lease.unwrap().unwrap();
        it.sandbox("apply --yes").code(8).warns("locked by marie@desk (pid 4242");
        it.sandbox("plan").code(0);
        store.release_lease(&lease).await.unwrap();
        it.sandbox("apply --yes").code(0);
    });
}

#[test]
fn code_9_when_a_node_is_offline_and_nothing_is_created_there() {
    let it = small("exit-9");
    it.applied();
    it.edit("  c:\n", "  d: { profile: small }\n  c:\n");
    it.operator(|control| control.node_offline("pve3", true));
    it.sandbox("plan").code(9);
    it.sandbox("plan --allow-partial").code(0);
    it.sandbox("plan --allow-partial --detailed-exitcode").code(2);
    it.sandbox("apply --yes").code(9);
    it.sandbox("apply --yes --allow-partial").code(5);
    assert!(it.ids_of("vm/d").is_empty());
    // What is known and complete in itself still goes on.
    it.edit("notes: First", "notes: Second");
    it.sandbox("apply --yes --allow-partial").code(7).says("1 done");
    it.operator(|control| control.node_offline("pve3", false));
    it.applied();
    it.settled();
}

#[test]
fn code_10_when_the_end_of_a_call_cannot_be_told() {
    let it = lab("exit-10");
    let mut lost = false;
    it.fault(move |point| {
        if lost {
            return Some(Fault::DropBefore);
        }
        lost = point.method == "POST" && point.template.ends_with("/clone");
        lost.then_some(Fault::DropAfter)
    });
    let mut command = it.scratch.command("apply --yes --target vm/b");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let asked = |template: &str| {
        let all = it.server.control().requests();
        all.iter().filter(|it| it.template.ends_with(template)).count()
    };
    wait_until("the clone was asked for", || asked("/clone") > 0);
    // What became of it is looked up for minutes; a person who is in a hurry says so
    // twice, and is told how to go on.
    send("INT", child.id());
    std::thread::sleep(Duration::from_millis(300));
    send("INT", child.id());
    let ran = Ran::of("apply --yes --target vm/b", &mut child, String::new()).code(10);
    assert!(ran.out.contains("runs resume"), "{ran}");
    it.scratch.run("runs list").code(0).says("exit 10");
    it.server.control().clear_fault();
    it.scratch.run("runs resume").code(0).says("All is known");
    it.scratch.run("apply --yes").code(0);
    it.scratch.run("plan --detailed-exitcode").code(0);
    let born = it.server.control().inspect(|world| {
        world.guests.values().filter(|it| it.config.get("name").is_some_and(|it| it == "b")).count()
    });
    assert_eq!(born, 1);
}

#[test]
fn code_64_for_wrong_usage_decided_before_anything_runs() {
    let it = small("exit-64");
    for line in ["plam", "plan --nope", "apply --allow reboot", "get", "plan --target web"] {
        it.run(line).code(64);
    }
    it.run("").code(64);
    it.run("--help").code(0);
    it.run("--version").code(0);
    assert!(!it.path(".novahost").exists());
}

fn signalled(signal: &str) -> (Ran, Scratch) {
    let it = small(&format!("exit-{signal}"));
    let mut child = it.spawn("apply --yes");
    let mut rest = wait_for(&mut child, "vm/b:create ...");
    send(signal, child.id());
    let mut err = String::new();
    std::io::Read::read_to_string(&mut rest, &mut err).unwrap();
    (Ran::of("apply --yes", &mut child, err), it)
}

#[test]
fn code_130_after_ctrl_c_and_143_after_a_request_to_terminate() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let (ran, it) = signalled(signal);
        let ran = ran.code(code);
        assert!(ran.out.contains("not begun"), "{ran}");
        // `c` waits for `a`, which had not ended: it was never begun.
        assert!(it.ids_of("vm/c").is_empty(), "{ran}");
        it.sandbox("runs list").code(0).says(&format!("exit {code}"));
        it.applied();
        it.settled();
        for key in ["vm/a", "vm/b", "vm/c"] {
            it.id_of(key);
        }
    }
}

/// A machine on a vCenter that asks for what none has.
const UNFIT: &str = "version: 1
project: unfit
hypervisors:
  vc: { type: vcenter, endpoint: https://127.0.0.1:8443, auth: { username: a@b.c, password: env:X } }
networks: { lan: { vlan: 7, at: { vc: { portgroup: VM Network } } } }
images: { debian: { os: linux, init: cloud-init, at: { vc: { template: tpl-debian-13 } } } }
vms:
  fits: { hypervisor: vc, image: debian, nics: { eth0: { network: lan } } }
  unfit:
    hypervisor: vc
    image: debian
    tags: [web]
    nics: { eth0: { network: lan, vlan: 8 } }
";

#[test]
fn what_a_product_does_not_have_is_refused_before_anything_is_asked() {
    let it = Scratch::empty("unfit", Release::V9_2);
    it.write("novahost.yaml", UNFIT);
    let ran = it.run("validate").code(3);
    let ran =
        ran.warns("error[unsupported]: `tags` cannot be had on vc").warns("novahost.yaml:12:");
    let ran = ran.warns("`nic.eth0.vlan` cannot be had on vc").warns("novahost.yaml:13:");
    ran.warns("help: leave `tags:` out").warns("2 errors in the YAML");
    it.run("validate --format json").code(3).says("\"subject\": \"vm/unfit\"");
    // Where it could run is answered all the same.
    let ran = it.run("validate --portability novahost.yaml").code(0).fits();
    ran.says("not for 1 of 2 [").says("a card has no VLAN of its own");
    let ran = it.run("validate --portability --format json").code(0);
    let table: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(table["products"], serde_json::json!(["Proxmox VE", "VMware vCenter"]));
    it.run("validate --portability").code(0).fits().says("restart or online");
}

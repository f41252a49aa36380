//! `drift`: what differs, of which class, and who made it so.

use crate::scratch::{Ran, SMALL, Scratch, runtime};
use mock_servers::pve::{Options, Release, Server, World, serve};
use novahost::{
    clock::Clock,
    provider::tls::{TlsTrust, client_config},
};
use serde_json::Value;

const FIRST_WORLD: &str = include_str!("../../fixtures/worlds/proxmox.yaml");
const TOKEN: &str = "00000000-0000-4000-8000-00000000a11a";

/// A cluster that is up between two commands, a project that is applied to it, and
/// root's hands on the same interface.
struct Lab {
    runtime: tokio::runtime::Runtime,
    server: Server,
    scratch: Scratch,
    client: reqwest::Client,
}

fn lab(name: &str) -> Lab {
    let runtime = runtime();
    let world = World::from_yaml(FIRST_WORLD).unwrap();
    let server = runtime.block_on(serve(world, Options::new(Release::V9_2, 7))).unwrap();
    let scratch = Scratch::with(name, SMALL).unrecorded().variable("NOVAHOST_PVE_TOKEN", TOKEN);
    scratch.write("ca.pem", server.ca_pem());
    scratch.edit(
        "endpoint: https://127.0.0.1:8006",
        &format!("endpoint: {}\n    tls: {{ ca_file: ca.pem }}", server.endpoint()),
    );
    scratch.run("apply --yes").code(0);
    let trust = TlsTrust::Ca(server.ca_pem().into());
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(client_config(&trust, &["http/1.1"]).unwrap())
        .no_proxy()
        .build()
        .unwrap();
    Lab { runtime, server, scratch, client }
}

impl Lab {
    fn drift(&self, rest: &str) -> Ran {
        self.scratch.run(&format!("drift {rest}")).fits()
    }

    fn id_of(&self, key: &str) -> u32 {
        self.server.control().inspect(|world| {
            let is = |text: &str| text.split_whitespace().any(|it| it == format!("key={key}"));
            let mut all = world.guests.iter();
            let mut named = all.by_ref().filter(|(_, it)| it.get("description").is_some_and(is));
            *named.next().unwrap().0
        })
    }

    /// Root logs in and sends one request; a task that comes of it is waited for.
    fn root(&self, method: reqwest::Method, path: &str, params: &[(&str, &str)]) {
        self.runtime.block_on(async {
            let base = format!("{}/api2/json", self.server.endpoint());
            let login = [("username", "root@pam"), ("password", "sandbox-root")];
            let ticket = self.client.post(format!("{base}/access/ticket")).form(&login);
            let ticket: Value = ticket.send().await.unwrap().json().await.unwrap();
            let text = |name: &str| ticket["data"][name].as_str().unwrap().to_owned();
            let request = self
                .client
                .request(method, format!("{base}{path}"))
                .header("Cookie", format!("PVEAuthCookie={}", text("ticket")))
                .header("CSRFPreventionToken", text("CSRFPreventionToken"))
                .form(params);
            let reply = request.send().await.unwrap();
            assert_eq!(reply.status(), 200, "{path}: {reply:?}");
            let control = self.server.control();
            for _ in 0..2_000 {
                if control.is_idle() {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            panic!("the task of {path} does not end");
        });
    }

    /// One difference of the JSON document.
    #[track_caller]
    fn difference(&self, address: &str) -> Value {
        let ran = self.scratch.run("drift --format json").code(2);
        let json: Value = serde_json::from_str(&ran.out).unwrap();
        let all = json["differences"].as_array().unwrap();
        all.iter().find(|it| it["address"] == address).unwrap_or_else(|| panic!("{ran}")).clone()
    }
}

/// Where a machine's requests go.
fn guest(id: u32, rest: &str) -> String {
    format!("/nodes/pve1/qemu/{id}/{rest}")
}

#[test]
fn an_edit_by_a_task_is_named_with_its_author() {
    let it = lab("drift-author");
    it.drift("").code(0).says("No drift. 5 unchanged.").says_not("Next:");
    let (a, c) = (it.id_of("vm/a"), it.id_of("vm/c"));
    it.root(reqwest::Method::POST, &guest(a, "config"), &[("tags", "nh-shop;mine")]);
    it.root(reqwest::Method::POST, &guest(c, "status/stop"), &[]);
    let ran = it.drift("").code(2);
    let ran = ran.says("[drift] vm/a on pve-paris, id").says("[drift] vm/c");
    let ran = ran.says("author    root@pam, qmconfig, 20").says("author    root@pam, qmstop, 20");
    let ran =
        ran.says("declared running, observed stopped").says("Differences: 2 drift. 3 unchanged.");
    let ran = ran.says_in_words("Next: novahost plan").says_not("perhaps");
    assert!(ran.err.is_empty(), "{ran}");
    let named = it.difference("vm/c");
    assert_eq!(
        (&named["author"]["who"], &named["author"]["task"]),
        (&"root@pam".into(), &"qmstop".into())
    );
    assert_eq!((&named["author"]["perhaps"], &named["class"]), (&false.into(), &"drift".into()));
    let at: jiff::Timestamp = named["author"]["at"].as_str().unwrap().parse().unwrap();
    assert!((Clock::system().now_ms() - at.as_millisecond()).abs() < 600_000);
    assert_eq!(named["fields"][0]["field"], "power");
    // Put right, it is nobody's any more; what root did before our last write is not the
    // cause of what comes after it.
    it.scratch.run("apply --yes").code(0);
    it.drift("--detailed-exitcode").code(0).says("No drift. 5 unchanged.");
}

#[test]
fn an_edit_without_a_task_has_no_author_and_a_changed_file_is_no_drift() {
    let it = lab("drift-put");
    let a = it.id_of("vm/a");
    // The synchronous form makes no task.
    it.root(reqwest::Method::PUT, &guest(a, "config"), &[("tags", "nh-shop;mine")]);
    it.scratch.edit(
        "      eth0: { network: lan, ip: dhcp }\n",
        "      eth0: { network: lan, ip: dhcp }\n    notes: Mine\n",
    );
    let before = it.server.control().requests().len();
    let ran = it.drift("").code(2).says("[drift] vm/a").says("[config-changed] vm/c");
    ran.says("Differences: 1 config-changed, 1 drift. 3 unchanged.").says_not("author");
    let asked = || {
        let all = it.server.control().requests();
        all.into_iter().skip(before).filter(|it| it.path.ends_with("/tasks")).count()
    };
    assert_eq!(asked(), 1, "one reading of the log of the only node");
    assert!(it.difference("vm/a")["author"].is_null());
    assert!(it.difference("vm/c")["author"].is_null());
    // A file that changed is nobody's deed on the hypervisor: no log is read for it.
    it.scratch.run("apply --yes").code(0);
    it.scratch.edit("notes: Mine", "notes: Yours");
    let seen = asked();
    it.drift("").code(2).says("Differences: 1 config-changed.");
    assert_eq!(asked(), seen);
    it.scratch.run("plan").code(0);
    assert_eq!(asked(), seen, "a plan asks for no authors");
}

#[test]
fn a_machine_that_somebody_destroyed_is_vanished_and_one_without_marker_has_lost_it() {
    let it = lab("drift-gone");
    let (a, b) = (it.id_of("vm/a"), it.id_of("vm/b"));
    it.root(reqwest::Method::DELETE, &format!("/nodes/pve1/qemu/{b}"), &[]);
    it.root(reqwest::Method::POST, &guest(a, "config"), &[("delete", "description")]);
    let ran = it.drift("").code(2);
    let ran = ran.says("[vanished] vm/b").says("declared, not observed");
    let ran = ran.says("author    root@pam, qmdestroy, 20");
    let ran = ran.says("[lost-marker] vm/a").says("author    root@pam, qmconfig, 20");
    ran.says("1 vanished").says("1 lost-marker").says("help");
    let gone = it.difference("vm/b");
    assert_eq!((&gone["declared"], &gone["observed"]), (&true.into(), &false.into()));
    assert_eq!(gone["id"], b.to_string());
    let lost = it.difference("vm/a");
    assert_eq!(
        (&lost["class"], &lost["author"]["task"]),
        (&"lost-marker".into(), &"qmconfig".into())
    );
}

#[test]
fn an_account_that_may_not_read_the_log_says_so_and_the_exit_code_stays() {
    let it = lab("drift-blind");
    let a = it.id_of("vm/a");
    it.root(reqwest::Method::POST, &guest(a, "config"), &[("tags", "nh-shop;mine")]);
    it.server.control().set_fault(Box::new(|point| {
        point
            .template
            .ends_with("/tasks")
            .then(|| mock_servers::pve::Fault::Status(403, "Permission check failed".into()))
    }));
    let ran = it.drift("").code(2).says("[drift] vm/a").says("Notes").says_not("root@pam");
    ran.says("authors on pve-paris: could not read the tasks of node `pve1`");
}

#[test]
fn a_journal_that_was_lost_leaves_a_difference_without_a_class_of_cause() {
    let it = lab("drift-journal");
    let a = it.id_of("vm/a");
    it.root(reqwest::Method::POST, &guest(a, "config"), &[("tags", "nh-shop;mine")]);
    std::fs::remove_dir_all(it.scratch.path("home")).unwrap();
    it.drift("").code(2).says("[different] vm/a").says_not("author").says_not("[drift]");
}

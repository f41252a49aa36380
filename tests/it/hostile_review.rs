//! Pull requests that try to steal a credential. Each attack is a test on the real binary: a trap listens where the
//! attack points, secrets are programs that leave a witness, and neither may notice anything.

use crate::{
    hostile::{Form, harmless},
    scratch::{Ran, SMALL, Scratch},
};
use mock_servers::pve::{Options, Release, Server, World, serve};
use std::{
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tempfile::TempDir;

/// Where trust binds the hypervisor; nothing listens there.
const BOUND: &str = "127.0.0.1:1";
/// The value of every secret here.
const VALUE: &str = "hunter2-51f0";
/// Every command that would connect, or run something.
const LINES: [&str; 5] = ["plan", "apply --yes", "drift", "get vms", "describe vm/a"];

/// A listener that counts who comes.
struct Trap {
    port: u16,
    seen: Arc<AtomicUsize>,
}

impl Trap {
    fn set() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        // Ends with the test's process; each visitor is counted and let go.
        std::thread::spawn(move || {
            for visitor in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                drop(visitor);
            }
        });
        Self { port, seen }
    }

    fn visitors(&self) -> usize {
        // Whoever connected is in the queue of the listener; one more visit, and all before it are counted.
        let before = self.seen.load(Ordering::SeqCst);
        drop(std::net::TcpStream::connect(("127.0.0.1", self.port)).unwrap());
        crate::scratch::wait_until("the trap counts", || self.seen.load(Ordering::SeqCst) > before);
        self.seen.fetch_sub(1, Ordering::SeqCst) - 1
    }
}

/// A project, trust settings beside it, and a trap.
struct Review {
    it: Scratch,
    outside: TempDir,
    trap: Trap,
}

impl Review {
    /// `{trap}` in the YAML is the trap's port. `trust` is added to the file.
    fn of(yaml: &str, trust: &str) -> Self {
        let trap = Trap::set();
        let yaml = yaml.replace("{trap}", &trap.port.to_string());
        let trust = trust.replace("{trap}", &trap.port.to_string());
        let it = Scratch::with("hostile-review", &yaml).unrecorded();
        let outside = tempfile::tempdir().unwrap();
        let path = outside.path().join("trust.toml");
        let it = it
            .variable("NOVAHOST_TRUST", path.to_str().unwrap())
            .variable("PVE_TOKEN", VALUE)
            .variable("AWS_SECRET_ACCESS_KEY", VALUE);
        let review = Self { it, outside, trap };
        let script = review.outside.path().join("fetch");
        let witness = review.witness();
        let text = format!("#!/bin/sh\necho ran >> '{}'\necho {VALUE}\n", witness.display());
        write(&script, &text, 0o700);
        let all = format!(
            "{trust}\n[secrets.pve]\ncmd = [\"{0}\"]\n[secrets.mark]\ncmd = [\"{0}\", \"mark\"]\n\
             [secrets.guest]\ncmd = [\"{0}\", \"guest\"]\n[secrets.lab]\ncmd = [\"{0}\", \"lab\"]\n\
             [secrets.alias]\ncmd = [\"{0}\"]\n[secrets.token]\nenv = \"PVE_TOKEN\"\n",
            script.display()
        );
        write(&path, &all, 0o600);
        review
    }

    /// Written by every program that trust knows, when it runs.
    fn witness(&self) -> PathBuf {
        self.outside.path().join("witness")
    }

    /// Demands that a command is refused, and that nobody noticed anything.
    #[track_caller]
    fn refuses(&self, line: &str, codes: &[i32]) -> Ran {
        let ran = self.it.bounded(line);
        assert!(codes.contains(&ran.code), "{ran}");
        harmless(&ran, Form::Text);
        self.nobody_noticed(&ran);
        ran
    }

    #[track_caller]
    fn nobody_noticed(&self, ran: &Ran) {
        assert_eq!(self.trap.visitors(), 0, "the trap was visited by {ran}");
        assert!(!self.witness().exists(), "a program ran for {ran}");
        assert!(!format!("{}{}", ran.out, ran.err).contains(VALUE), "a secret in {ran}");
    }

    #[track_caller]
    fn refuses_all(&self, codes: &[i32]) {
        for line in LINES {
            self.refuses(line, codes);
        }
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Trust as a team has it: the name, one host, one secret, a key for markers.
fn bound() -> String {
    format!(
        "guest = [\"secret:guest\"]\nmarker_key = \"secret:mark\"\n\
         [hypervisors.pve-paris]\nhosts = [\"{BOUND}\"]\nsecrets = [\"secret:pve\", \"secret:token\"]\n\
         [hypervisors.pve-lab]\nhosts = [\"127.0.0.1:2\"]\nsecrets = [\"secret:lab\"]\n"
    )
}

/// The small project with another endpoint line.
fn at(endpoint: &str) -> String {
    SMALL
        .replace("endpoint: https://127.0.0.1:8006", endpoint)
        .replace("env:NOVAHOST_PVE_TOKEN", "secret:pve")
}

fn attack(yaml: &str, codes: &[i32]) {
    Review::of(yaml, &bound()).refuses_all(codes);
}

#[test]
fn the_trap_and_the_witness_work_where_trust_allows_the_host() {
    let trust =
        "[hypervisors.pve-paris]\nhosts = [\"0.0.0.0:{trap}\"]\nsecrets = [\"secret:pve\"]\n";
    let review = Review::of(&at("endpoint: https://0.0.0.0:{trap}"), trust);
    let ran = review.it.bounded("plan");
    assert_ne!(ran.code, 0, "{ran}");
    assert!(review.trap.visitors() > 0, "{ran}");
    assert!(review.witness().exists(), "{ran}");
}

#[test]
fn an_endpoint_that_is_repointed_gets_nothing() {
    attack(&at("endpoint: https://127.0.0.1:{trap}"), &[5]);
}

#[test]
fn an_endpoint_that_is_added_gets_nothing() {
    attack(&at("endpoints: [https://127.0.0.1:1, https://127.0.0.1:{trap}]"), &[5]);
    attack(&at("endpoints: [https://127.0.0.1:{trap}, https://127.0.0.1:1]"), &[5]);
}

#[test]
fn a_user_or_a_password_in_an_address_is_refused() {
    for url in [
        "https://127.0.0.1:1@127.0.0.1:{trap}",
        "https://pve@127.0.0.1:{trap}",
        "https://:x@127.0.0.1:{trap}",
        "https://127.0.0.1:1%40127.0.0.1:{trap}",
        "https://127.0.0.1:1\\\\@127.0.0.1:{trap}",
        "https://127.0.0.1:{trap}/x?y=127.0.0.1:1",
        "https://127.0.0.1:{trap}#@127.0.0.1:1",
    ] {
        attack(&at(&format!("endpoint: \"{url}\"")), &[3, 5]);
    }
}

#[test]
fn an_address_without_encryption_is_refused() {
    for url in ["http://127.0.0.1:{trap}", "HTTP://127.0.0.1:{trap}", "ftp://127.0.0.1:{trap}"] {
        attack(&at(&format!("endpoint: \"{url}\"")), &[3]);
    }
}

#[test]
fn another_spelling_of_a_host_is_no_way_around() {
    for host in [
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "LOCALHOST",
        "localhost.",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "ⓛocalhost",
        "loca\u{ad}lhost",
        "127.0.0.1%00",
        " 127.0.0.1",
    ] {
        let review = Review::of(&at(&format!("endpoint: \"https://{host}:{{trap}}\"")), &bound());
        review.refuses("plan", &[3, 5]);
        review.refuses("apply --yes", &[3, 5]);
    }
}

#[test]
fn a_spelling_that_is_not_loopback_by_name_is_not_exempt() {
    // A new name: what is loopback needs no entry, and these lead there, but do not say so.
    for host in ["0.0.0.0", "[::ffff:127.0.0.1]"] {
        let yaml =
            at(&format!("endpoint: \"https://{host}:{{trap}}\"")).replace("pve-paris", "pve-new");
        Review::of(&yaml, &bound()).refuses_all(&[5]);
        let open = yaml.replace("secret:pve", "env:AWS_SECRET_ACCESS_KEY");
        Review::of(&open, &bound()).refuses_all(&[5]);
    }
}

#[test]
fn a_hypervisor_under_another_name_does_not_take_its_secret_along() {
    for secret in [
        "secret:pve",
        "secret:token",
        "env:PVE_TOKEN",
        "secret:alias",
        "secret:mark",
        "secret:guest",
    ] {
        let yaml = at("endpoint: https://127.0.0.1:{trap}")
            .replace("pve-paris", "pve-new")
            .replace("secret:pve", secret);
        let review = Review::of(&yaml, &bound());
        review.refuses("plan", &[5]);
        review.refuses("apply --yes", &[5]);
    }
}

#[test]
fn one_hypervisor_does_not_get_the_login_of_another() {
    let second = "  pve-lab:\n    type: proxmox\n    endpoint: https://127.0.0.1:2\n    \
                  auth: { token_id: a@pve!b, token_secret: secret:pve }\n\nnetworks:";
    let yaml = at("endpoint: https://127.0.0.1:1").replacen("\nnetworks:", second, 1);
    // The first one alone would be fine, and its program is not run either.
    attack(&yaml, &[5]);
    let swapped = at("endpoint: https://127.0.0.1:1").replace("secret:pve", "secret:lab");
    attack(&swapped, &[5]);
}

#[test]
fn a_login_takes_no_secret_that_trust_does_not_bind_to_it() {
    for secret in [
        "env:AWS_SECRET_ACCESS_KEY",
        "env:HOME",
        "secret:mark",
        "secret:guest",
        "secret:unknown",
        "file:/etc/passwd",
        "file:novahost.yaml",
    ] {
        let review = Review::of(
            &at("endpoint: https://127.0.0.1:1").replace("secret:pve", secret),
            &bound(),
        );
        review.refuses("plan", &[5]);
    }
}

#[test]
fn a_command_in_the_tree_is_not_run() {
    for secret in [
        "\"cmd:touch pwned\"",
        "{ cmd: [touch, pwned] }",
        "\"$(touch pwned)\"",
        "\"env:$(touch pwned)\"",
        "\"secret:`touch pwned`\"",
        "\"file:|touch pwned\"",
    ] {
        let yaml = at("endpoint: https://127.0.0.1:1").replace("secret:pve", secret);
        let review = Review::of(&yaml, &bound());
        for line in ["validate", "plan", "apply --yes"] {
            review.refuses(line, if line == "validate" { &[0, 3] } else { &[3, 5] });
        }
        assert!(!review.it.path("pwned").exists());
    }
}

#[test]
fn looking_without_a_connection_runs_nothing_and_connects_to_nothing() {
    let review = Review::of(&at("endpoint: https://127.0.0.1:{trap}"), &bound());
    review.it.write("seen.json", "{\"hypervisors\": {}}");
    for line in ["validate", "validate --format json"] {
        let ran = review.it.bounded(line).code(0);
        review.nobody_noticed(&ran);
    }
    for line in ["plan --inventory seen.json", "plan --inventory gone.json", "schema", "version"] {
        let ran = review.it.bounded(line);
        assert_ne!(ran.code, 70, "{ran}");
        review.nobody_noticed(&ran);
    }
}

/// The project at a real cluster that trust binds, for what shows only after a login.
struct Served {
    review: Review,
    server: Server,
    _runtime: tokio::runtime::Runtime,
}

impl Served {
    fn of(edit: impl Fn(String) -> String, tls: &str) -> Self {
        let runtime = crate::scratch::runtime();
        let world = World::from_yaml(include_str!("../../fixtures/worlds/proxmox.yaml")).unwrap();
        let server = runtime.block_on(serve(world, Options::new(Release::V9_2, 7))).unwrap();
        let endpoint = server.endpoint();
        let host = endpoint.strip_prefix("https://").unwrap();
        let trust = format!(
            "guest = [\"secret:guest\"]\n[hypervisors.pve-paris]\nhosts = [\"{host}\"]\n\
             secrets = [\"env:SIM_TOKEN\", \"secret:pve\"]\n{tls}\n\
             [hypervisors.pve-lab]\nhosts = [\"127.0.0.1:2\"]\nsecrets = [\"secret:lab\"]\n"
        );
        let yaml = at(&format!("endpoint: {endpoint}\n    tls: {{ ca_file: ca.pem }}"))
            .replace("secret:pve", "env:SIM_TOKEN");
        let mut review = Review::of(&edit(yaml), &trust);
        review.it = review.it.variable("SIM_TOKEN", novahost::sandbox::TOKEN_SECRET);
        review.it.write("ca.pem", server.ca_pem());
        Self { review, server, _runtime: runtime }
    }

    fn requests(&self) -> usize {
        self.server.control().requests().len()
    }
}

fn with_password(yaml: &str, reference: &str) -> String {
    yaml.replace("init: { user: deploy,", &format!("init: {{ password: {reference}, user: deploy,"))
}

#[test]
fn no_secret_of_a_hypervisor_goes_into_a_guest_under_any_spelling() {
    for reference in [
        "secret:pve",
        "secret:alias",
        "secret:lab",
        "secret:mark",
        "{ from: secret:pve }",
        "{ from: \"secret:pve\", version: 7 }",
        "env:SIM_TOKEN",
        "{ from: env:SIM_TOKEN, version: 2 }",
        "env:HOME",
        "env:AWS_SECRET_ACCESS_KEY",
        "secret:unknown",
        "file:novahost.yaml",
        "file:../trust.toml",
        "file:/etc/passwd",
    ] {
        let it = Served::of(|yaml| with_password(&yaml, reference), "");
        let ran = it.review.refuses("apply --yes", &[3, 5]);
        let changes = it.server.control().requests().iter().filter(|it| it.method != "GET").count();
        assert_eq!(changes, 0, "something was changed by {ran}");
    }
}

#[test]
fn a_secret_for_guests_is_fetched_when_it_is_used_and_not_before() {
    let it = Served::of(|yaml| with_password(&yaml, "secret:guest"), "");
    for line in ["validate", "plan", "plan --out plan.json", "drift"] {
        let ran = it.review.it.bounded(line);
        assert!([0, 2].contains(&ran.code), "{ran}");
        it.review.nobody_noticed(&ran);
    }
    it.review.it.bounded("apply --yes").code(0);
    assert!(it.review.witness().exists());
}

#[test]
fn tls_of_the_tree_does_not_widen_what_trust_pins() {
    let pin = format!("pins = [\"sha256:{}\"]", "0".repeat(64));
    let it = Served::of(|yaml| yaml, &pin);
    for line in LINES {
        let ran = it.review.it.bounded(line);
        assert_ne!(ran.code, 0, "{ran}");
        it.review.nobody_noticed(&ran);
    }
    assert_eq!(it.requests(), 0, "a request went to a server that is not pinned");
}

#[test]
fn another_identity_behind_a_bound_host_is_believed_nothing() {
    let it = Served::of(|yaml| yaml, "identity = \"pve-paris/sha256:00\"");
    let ran = it.review.it.bounded("apply --yes").code(5).says_in_words("trust settings expect");
    let changes = it.server.control().requests().iter().filter(|it| it.method != "GET").count();
    assert_eq!(changes, 0, "{ran}");
}

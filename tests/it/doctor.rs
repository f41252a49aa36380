//! `doctor` on the real binary: each check where it fails, and that nothing is changed
//! or sent to a stranger meanwhile.

use crate::scratch::{Ran, SMALL, Scratch, repository, runtime};
use mock_servers::pve::{
    Options, Release, Server, World,
    access::{AclEntry, AclKind},
    serve,
};
use regex_lite::Regex;
use std::{net::TcpListener, path::PathBuf};
use tempfile::TempDir;

const FIRST_WORLD: &str = include_str!("../../fixtures/worlds/proxmox.yaml");
const TOKEN: &str = "00000000-0000-4000-8000-00000000a11a";
/// The line of `SMALL` that says where the cluster is.
const ENDPOINT: &str = "endpoint: https://127.0.0.1:8006";

/// A cluster outside of the binary, a project for it, and trust settings beside it.
struct Lab {
    // Held so that it goes on serving.
    _runtime: tokio::runtime::Runtime,
    server: Server,
    scratch: Scratch,
    /// Outside of the project.
    aside: TempDir,
}

fn world() -> World {
    World::from_yaml(FIRST_WORLD).unwrap()
}

fn lab(name: &str) -> Lab {
    lab_of(name, world(), 0)
}

fn lab_of(name: &str, world: World, clock_ahead: i64) -> Lab {
    let runtime = runtime();
    let mut options = Options::new(Release::V9_2, 7);
    options.clock_ahead = clock_ahead;
    let server = runtime.block_on(serve(world, options)).unwrap();
    let scratch = Scratch::with(name, SMALL).unrecorded().variable("NOVAHOST_PVE_TOKEN", TOKEN);
    scratch.write("ca.pem", server.ca_pem());
    scratch.edit(
        ENDPOINT,
        &format!("endpoint: {}\n    tls: {{ ca_file: ca.pem }}", server.endpoint()),
    );
    Lab { _runtime: runtime, server, scratch, aside: tempfile::tempdir().unwrap() }
}

impl Lab {
    fn host(&self) -> String {
        self.server.endpoint().trim_start_matches("https://").to_owned()
    }

    /// Trust settings with one entry, ended by these lines.
    fn trusting(mut self, lines: &str) -> Self {
        let text = format!(
            "[hypervisors.pve-paris]\nhosts = [\"{}\"]\nsecrets = [\"env:NOVAHOST_PVE_TOKEN\"]\n{lines}\n",
            self.host()
        );
        let path = self.trust(&text, 0o600);
        self.scratch.variables.push(("NOVAHOST_TRUST".into(), path.display().to_string()));
        self
    }

    fn trust(&self, text: &str, mode: u32) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.aside.path().join("trust.toml");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn doctor(&self) -> Ran {
        let ran = self.scratch.run("doctor").fits();
        let changed = self.server.control().requests();
        let changed: Vec<_> = changed.iter().filter(|it| it.method != "GET").collect();
        assert!(changed.is_empty(), "the doctor changed something: {changed:?}");
        assert!(!format!("{ran}").contains(TOKEN));
        assert!(!self.scratch.path("home/.local").exists(), "a journal was made");
        ran
    }

    fn asked(&self) -> usize {
        self.server.control().requests().len()
    }
}

/// What is different in every run, replaced; lines joined that were wrapped.
fn steady(ran: &Ran, folder: &str) -> String {
    let joined = Regex::new(r"\n {27,}").unwrap().replace_all(&ran.out, " ").into_owned();
    let mut text = joined;
    for (pattern, word) in [
        (r"sha256:[0-9a-f]+(?: [0-9a-f]+)?", "sha256:DIGEST"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
        (r"/[^\n]*journal ?\.? ?db", "JOURNAL"),
        (r"novahost \d+\.\d+\.\d+", "novahost VERSION"),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, word).into_owned();
    }
    text.replace(folder, "FOLDER")
}

fn compare(text: &str, file: &str) {
    let path = repository().join("fixtures/cli").join(file);
    if std::env::var_os("NOVAHOST_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == kept, "{file} differs; NOVAHOST_BLESS=1 writes it anew\n{text}");
}

#[test]
fn all_is_well_in_the_sandbox_and_the_page_is_as_it_was_reviewed() {
    let it = Scratch::project("doctor-ok", Release::V9_2).unrecorded();
    it.sandbox("apply --yes").code(0);
    let before = it.world();
    let ran = it.sandbox("doctor").code(0).fits();
    let rows = Regex::new(r"\d+ rows").unwrap();
    let folder = it.path("").display().to_string();
    let page = steady(&ran, folder.trim_end_matches('/'));
    compare(&rows.replace_all(&page, "N rows"), "doctor-ok.txt");
    let after = it.world();
    let held = |world: &World| {
        let configs: Vec<_> =
            world.guests.iter().map(|(id, it)| (*id, it.config.clone())).collect();
        format!("{configs:?} {:?} {}", world.pools, world.tasks.len())
    };
    assert_eq!(held(&before), held(&after));
    let ascii = it.sandbox("doctor --ascii").code(0);
    assert!(ascii.out.is_ascii());
    it.sandbox("doctor nobody").code(3).warns("no hypervisor `nobody`");
    it.sandbox("doctor pve-paris").code(0).says("pve-paris\n");
}

#[test]
fn a_wrong_pin_is_refused_with_the_one_that_was_seen_and_how_to_pin_it() {
    let wrong = format!("sha256:{}", "7".repeat(64));
    let it = lab("doctor-pin").trusting(&format!("pins = [\"{wrong}\"]"));
    let ran = it.doctor().code(5);
    assert_eq!(it.asked(), 0, "a request reached a server that is not trusted");
    let seen = it.server.leaf_sha256().replace(':', "").to_lowercase();
    assert!(
        ran.out.contains(&format!(
            "    pins = [\n      \"{wrong}\",\n      \"sha256:{seen}\",\n    ]"
        )),
        "{ran}"
    );
    let folder = it.aside.path().display().to_string();
    compare(&steady(&ran, &folder), "doctor-bad.txt");
    // The lines, as they are shown, make it well.
    let pinned = lab("doctor-pinned");
    let right = pinned.server.leaf_sha256().replace(':', "").to_lowercase();
    let pinned = pinned.trusting(&format!("pins = [\n  \"{wrong}\",\n  \"sha256:{right}\",\n]"));
    pinned.doctor().code(0).says("is one that is pinned").says_in_words("which trust does not pin");
}

#[test]
fn a_certificate_of_another_authority_is_refused_before_anything_is_sent() {
    let other = lab("doctor-other-ca");
    let it = lab("doctor-ca").trusting("ca_file = \"ca.pem\"");
    std::fs::write(it.aside.path().join("ca.pem"), other.server.ca_pem()).unwrap();
    let ran = it.doctor().code(5);
    let ran = ran.says_in_words("FAIL doctor.tls").says_in_words("authority that is not trusted");
    ran.says_in_words("skipped doctor.login nothing is sent to a server that is not trusted");
    assert_eq!(it.asked(), 0);
    std::fs::write(it.aside.path().join("ca.pem"), it.server.ca_pem()).unwrap();
    it.doctor().code(0).says_in_words("ok doctor.tls");
}

#[test]
fn a_wrong_token_says_where_to_look_and_a_missing_one_that_it_is_missing() {
    let mut it = lab("doctor-token");
    let wrong = TOKEN.replace('a', "b");
    it.scratch.variables = vec![("NOVAHOST_PVE_TOKEN".into(), wrong.clone())];
    let ran =
        it.doctor().code(4).says_in_words("FAIL doctor.login `novahost@pve!sandbox` is refused");
    assert!(!format!("{ran}").contains(&wrong));
    let ran = ran.says("pveum user token list novahost@pve");
    ran.says_in_words("skipped doctor.privileges the login failed");
    it.scratch.variables.clear();
    let before = it.asked();
    it.doctor().code(4).says_in_words("FAIL doctor.secret").says("NOVAHOST_PVE_TOKEN");
    assert_eq!(it.asked(), before);
}

#[test]
fn a_token_that_expired_is_refused_and_one_that_will_is_worth_a_word() {
    let now = novahost::clock::Clock::system().now_ms() / 1000;
    let ending = |at: i64| {
        let mut world = world();
        let user = world.access.users.get_mut("novahost@pve").unwrap();
        user.tokens.get_mut("sandbox").unwrap().expire = u64::try_from(at).unwrap();
        world
    };
    let soon = lab_of("doctor-expires", ending(now + 3 * 86_400 + 60), 0);
    let ran = soon.doctor().code(0).says_in_words("warn doctor.login");
    ran.says_in_words("expires in 3 days").says("pveum user token modify novahost@pve sandbox");
    let gone = lab_of("doctor-expired", ending(now - 60), 0);
    gone.doctor().code(4).says_in_words("FAIL doctor.login");
}

#[test]
fn a_node_that_is_offline_and_a_lost_quorum_make_it_incomplete() {
    let it = lab("doctor-offline");
    it.server.control().node_offline("pve3", true);
    let ran = it.doctor().code(9).says_in_words("FAIL doctor.quorum offline: `pve3`, of 3 nodes");
    ran.says_in_words("FAIL doctor.inventory incomplete");
    it.server.control().node_offline("pve3", false);
    it.server.control().quorum(false);
    it.doctor().code(9).says_in_words("FAIL doctor.quorum the cluster has no quorum");
}

#[test]
fn another_installation_behind_the_name_is_not_believed() {
    let it = lab("doctor-identity");
    let identity = format!("identity = \"pve-lyon/sha256:{}\"", "1".repeat(64));
    let it = it.trusting(&identity);
    let ran = it.doctor().code(5).says_in_words("FAIL doctor.identity another installation");
    let ran = ran.says_in_words("skipped doctor.privileges nothing is believed");
    let ran = ran.says("pve-root-ca.pem");
    // What answered is told, so that a person can compare it.
    assert!(ran.out.contains("pve-paris/sha256:"), "{ran}");
}

#[test]
fn two_names_of_one_installation_are_told() {
    let it = lab("doctor-twice");
    let yaml = it.scratch.read("novahost.yaml");
    let (_, entry) = yaml.split_once("  pve-paris:\n").unwrap();
    let (entry, _) = entry.split_once("\nnetworks:").unwrap();
    it.scratch.edit("\nnetworks:\n", &format!("  pve-twin:\n{entry}\nnetworks:\n"));
    let ran = it.doctor().code(5).says_in_words("FAIL doctor.identity `pve-twin` is the same");
    ran.says_in_words("FAIL doctor.identity `pve-paris` is the same installation");
    it.scratch.run("doctor pve-twin").code(0).says("pve-twin\n").says_not("pve-paris\n");
}

#[test]
fn a_clock_that_is_off_is_told_and_too_far_off_is_a_failure() {
    for (ahead, code, wanted) in [
        (45, 0, "warn doctor.clock the server's clock is 4"),
        (-3600, 1, "FAIL doctor.clock the server's clock is 3"),
    ] {
        let it = lab_of("doctor-clock", world(), ahead);
        let side = if ahead > 0 { "s ahead of ours" } else { "s behind ours" };
        it.doctor().code(code).says_in_words(wanted).says_in_words(side).says("chronyc tracking");
    }
}

/// A port that nobody listens on.
fn dead() -> String {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("https://{}", socket.local_addr().unwrap())
}

#[test]
fn an_endpoint_that_is_down_is_named_and_all_of_them_are_a_failure() {
    let it = lab("doctor-reach");
    let (dead, alive) = (dead(), it.server.endpoint());
    it.scratch.edit(&format!("endpoint: {alive}"), &format!("endpoints: [{dead}, {alive}]"));
    let ran = it.doctor().code(0).says_in_words("warn doctor.reach 1 of 2 endpoints answer");
    ran.says_in_words(&format!("{dead}: the connection is refused"));
    it.scratch.edit(&format!("endpoints: [{dead}, {alive}]"), &format!("endpoint: {dead}"));
    let ran = it.doctor().code(9).says_in_words("FAIL doctor.reach no endpoint answers");
    ran.says_in_words("skipped doctor.tls no endpoint answers");
}

#[test]
fn a_host_that_trust_does_not_know_is_not_asked_anything() {
    let it = Scratch::with("doctor-host", SMALL).variable("NOVAHOST_PVE_TOKEN", TOKEN);
    it.edit("https://127.0.0.1:8006", "https://pve.example.invalid:8006");
    let ran = it.run("doctor").code(5).says_in_words("FAIL doctor.host no trust settings for");
    let ran = ran.says("[hypervisors.pve-paris]").says("novahost trust add pve-paris");
    let ran = ran.says_in_words("skipped doctor.reach trust does not allow it").fits();
    assert!(!format!("{ran}").contains(TOKEN));
}

#[test]
fn trust_settings_that_others_could_write_end_everything() {
    let it = lab("doctor-trust").trusting("");
    let text = std::fs::read_to_string(it.aside.path().join("trust.toml")).unwrap();
    it.trust(&text, 0o666);
    let ran = it.scratch.run("doctor").code(5).says_in_words("FAIL doctor.trust");
    ran.says_in_words("chmod 0640").says_in_words("skipped doctor.login the trust settings cannot");
    it.scratch.write("trust.toml", &text);
    let below = it.scratch.path("trust.toml").display().to_string();
    let ran = it.scratch.run(&format!("doctor --trust {below}")).code(5);
    ran.says_in_words("FAIL doctor.trust").says_in_words("move them out of the tree");
    assert_eq!(it.asked(), 0);
}

#[test]
fn a_secret_that_is_not_the_hypervisor_s_is_refused() {
    let mut it = lab("doctor-secret");
    let host = it.host();
    let path = it.trust(&format!("[hypervisors.pve-paris]\nhosts = [\"{host}\"]\n"), 0o600);
    it.scratch.variables.push(("NOVAHOST_TRUST".into(), path.display().to_string()));
    let ran = it.doctor().code(5).says_in_words("FAIL doctor.host trust settings do not let");
    ran.says_in_words("skipped doctor.secret");
    assert_eq!(it.asked(), 0);
}

#[test]
fn what_the_account_has_too_much_is_told_with_what_it_could_do() {
    let mut mighty = world();
    for row in &mut mighty.access.acl {
        row.role = "Administrator".into();
    }
    let it = lab_of("doctor-excess", mighty, 0);
    let ran = it.doctor().code(0).says_in_words("warn doctor.excess");
    let ran = ran.says_in_words("Permissions.Modify gives itself and everybody any right");
    ran.says_in_words("ok doctor.privileges");
    // `SMALL` starts nothing in an order: what the role has for that is too much here.
    let usual = lab("doctor-excess-usual");
    let ran = usual.doctor().code(0).says_in_words("Sys.Modify changes hosts");
    ran.says("pveum role modify NovahostProvisioner --privs");
}

#[test]
fn a_row_that_takes_rights_away_is_mended_where_it_stands() {
    let mut world = world();
    world.access.acl.push(AclEntry {
        path: "/storage/fast".into(),
        kind: AclKind::Token,
        who: "novahost@pve!sandbox".into(),
        role: "PVEPoolUser".into(),
        propagate: true,
    });
    let it = lab_of("doctor-row", world, 0);
    let ran = it.doctor().code(1).says_in_words("Datastore.AllocateSpace on `/storage/fast`");
    let flat = ran.out.replace("\\\n", " ");
    let flat = flat.split_whitespace().collect::<Vec<_>>().join(" ");
    // A built-in role cannot be changed: another one is added on the same path.
    let wanted =
        "pveum acl modify /storage/fast --tokens 'novahost@pve!sandbox' --roles NovahostMore";
    assert!(flat.contains(wanted), "{ran}");
}

#[test]
fn a_journal_that_was_changed_or_that_others_can_read_is_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let it = Scratch::with("doctor-journal", SMALL).unrecorded();
    it.applied();
    let path = it.path(".novahost/sandbox/journal.db");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = it.sandbox("doctor").code(0).says_in_words("warn doctor.journal");
    ran.says_in_words("has mode 0644").says("chmod 0600");
    let journal = rusqlite::Connection::open(&path).unwrap();
    journal.execute("DROP TRIGGER entries_are_not_edited", []).unwrap();
    let changed =
        journal.execute("UPDATE entries SET body = replace(body, 'run', 'ran') WHERE seq = 2", []);
    drop(journal);
    assert_eq!(changed.unwrap(), 1);
    it.sandbox("doctor").code(1).says_in_words("FAIL doctor.journal the chain of");
    std::fs::write(&path, "not a database").unwrap();
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
    it.sandbox("doctor").code(1).says_in_words("FAIL doctor.journal");
}

#[test]
fn programs_get_codes_states_and_the_exit_code() {
    let it = lab("doctor-json");
    it.server.control().node_offline("pve2", true);
    let ran = it.scratch.run("doctor --format json").code(9);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["exit_code"], 9);
    assert_eq!(json["groups"][0]["hypervisor"], serde_json::Value::Null);
    assert_eq!(json["groups"][1]["hypervisor"], "pve-paris");
    let findings = json["groups"][1]["findings"].as_array().unwrap();
    let state = |code: &str| {
        findings.iter().find(|it| it["check"] == code).unwrap()["state"].as_str().unwrap()
    };
    assert_eq!((state("doctor.quorum"), state("doctor.tls")), ("fail", "ok"));
}

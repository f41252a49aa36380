//! No secret gets into anything that is printed or kept.

use crate::scratch::{SMALL, Scratch, runtime};
use mock_servers::pve::{Options, Release, World, serve};
use std::path::{Path, PathBuf};

const FIRST_WORLD: &str = include_str!("../../fixtures/worlds/proxmox.yaml");
/// The token that the simulator takes.
const TOKEN: &str = "00000000-0000-4000-8000-00000000a11a";
/// A password for a guest, as no text has it by accident.
const PASSWORD: &str = "correct-horse-7f3a9";
/// What every secret is in the sandbox.
const STAND_IN: &str = "novahost-sandbox";

fn files(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Files below the project that hold a text.
pub fn holding(it: &Scratch, text: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    files(&it.path(""), &mut all);
    assert!(!all.is_empty());
    let holds = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(text.len()).any(|it| it == text.as_bytes())
    };
    all.retain(holds);
    all
}

fn with_password(reference: &str) -> String {
    SMALL.replace(
        "    init: { user: deploy,",
        &format!("    init: {{ password: {{ from: \"{reference}\", version: 1 }}, user: deploy,"),
    )
}

/// Every command that prints what it learnt.
const LOOKS: &[&str] = &[
    "plan --steps",
    "plan --format json",
    "plan --format markdown",
    "apply --yes",
    "apply --yes --format json",
    "describe vm/a",
    "describe vm/a --format json",
    "get vms --format json",
    "runs list --format json",
    "audit list --limit 1000 --format json",
    "audit list --limit 1000",
    "audit export",
    "inventory snapshot --out seen.json",
    "drift",
];

#[test]
fn nothing_of_a_real_run_holds_its_token_or_a_guests_password() {
    let runtime = runtime();
    let world = World::from_yaml(FIRST_WORLD).unwrap();
    let server = runtime.block_on(serve(world, Options::new(Release::V9_2, 7))).unwrap();
    let it = Scratch::with("secrets", &with_password("secret:first"))
        .unrecorded()
        .variable("NOVAHOST_PVE_TOKEN", TOKEN)
        .variable("GUEST_PASSWORD", PASSWORD);
    it.write("ca.pem", server.ca_pem());
    it.edit(
        "endpoint: https://127.0.0.1:8006",
        &format!("endpoint: {}\n    tls: {{ ca_file: ca.pem }}", server.endpoint()),
    );
    // Trust settings lie outside of the tree that they judge.
    let outside = tempfile::tempdir().unwrap();
    let trust = outside.path().join("trust.toml");
    std::fs::write(
        &trust,
        "guest = [\"secret:first\"]\n\n[secrets.first]\nenv = \"GUEST_PASSWORD\"\n",
    )
    .unwrap();
    // Others must not be able to write down whom to believe.
    let mut mode = std::fs::metadata(&trust).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o600);
    std::fs::set_permissions(&trust, mode).unwrap();
    let it = it.variable("NOVAHOST_TRUST", trust.to_str().unwrap());
    it.run("plan --out plan.json").code(0);
    it.run("apply plan.json --yes").code(0).says("5 done");
    for look in LOOKS {
        let ran = it.run(look).code(0);
        for secret in [TOKEN, PASSWORD] {
            assert!(!format!("{}{}", ran.out, ran.err).contains(secret), "a secret in {ran}");
        }
    }
    let given = server.control().inspect(|world| {
        world.guests.values().filter(|it| it.config.contains_key("cipassword")).count()
    });
    assert_eq!(given, 1, "the guest has its password");
    for secret in [TOKEN, PASSWORD] {
        assert_eq!(holding(&it, secret), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_recording_of_the_sandbox_holds_neither_the_token_nor_a_password() {
    let it = Scratch::with("secrets-recorded", &with_password("secret:first")).unrecorded();
    it.sandbox("apply --yes --record exchanges.jsonl").code(0).says("5 done");
    it.sandbox("plan --record exchanges.jsonl").code(0);
    assert!(it.read("exchanges.jsonl").contains("cipassword"), "it was recorded");
    let holds = |secret: &str, allowed: &dyn Fn(&Path) -> bool| {
        let mut found = holding(&it, secret);
        found.retain(|path| !allowed(path));
        assert_eq!(found, Vec::<PathBuf>::new(), "{secret}");
    };
    // The world is the hypervisor's own disk: it has to know its tokens and guests.
    let world = |path: &Path| path == it.world_file();
    holds(TOKEN, &world);
    holds(&format!("cipassword={STAND_IN}"), &world);
    holds(&format!("\"{STAND_IN}\""), &world);
}

#[test]
fn a_wrong_token_is_not_repeated_in_the_refusal() {
    let runtime = runtime();
    let world = World::from_yaml(FIRST_WORLD).unwrap();
    let server = runtime.block_on(serve(world, Options::new(Release::V8_4, 7))).unwrap();
    let wrong = "11111111-2222-4333-8444-555555555555";
    let it = Scratch::with("secrets-wrong", SMALL).variable("NOVAHOST_PVE_TOKEN", wrong);
    it.write("ca.pem", server.ca_pem());
    it.edit(
        "endpoint: https://127.0.0.1:8006",
        &format!("endpoint: {}\n    tls: {{ ca_file: ca.pem }}", server.endpoint()),
    );
    let ran = it.run("plan").code(4);
    assert!(!format!("{ran}").contains(wrong));
    assert_eq!(holding(&it, wrong), Vec::<PathBuf>::new());
}

//! A reviewed tree that wants to read what is outside of it: through paths, links, globs, settings and references.
//! All of it is refused, and nothing of what lies there gets into any output.

use crate::{
    hostile::{Form, harmless},
    scratch::{Ran, SMALL, Scratch},
};
use mock_servers::pve::Release;
use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// In every file that lies outside.
const CANARY: &str = "canary-9d41c7";

/// A tree, and beside it what it must not reach.
struct Trees {
    it: Scratch,
    outside: TempDir,
}

impl Trees {
    fn new(yaml: &str) -> Self {
        let it = Scratch::empty("hostile-tree", Release::V9_2).unrecorded();
        let it = it.variable("CANARY", CANARY);
        let outside = tempfile::tempdir().unwrap();
        let trees = Self { it, outside };
        for name in ["a.yaml", "novahost.toml", "novahost.yaml"] {
            std::fs::write(trees.path(name), format!("{CANARY}: {CANARY}\n")).unwrap();
        }
        // Good ones: where they lie is all that is wrong with them.
        let key = include_str!("../../keys/deploy.pub");
        std::fs::write(trees.path("key.pub"), format!("{} {CANARY}\n", key.trim())).unwrap();
        let ca = rcgen::generate_simple_self_signed([CANARY.to_owned()]).unwrap().cert.pem();
        std::fs::write(trees.path("ca.pem"), ca).unwrap();
        trees.it.write("novahost.yaml", yaml);
        trees
    }

    /// A file outside of the tree.
    fn path(&self, name: &str) -> PathBuf {
        self.outside.path().join(name)
    }

    #[track_caller]
    fn refuses(&self, line: &str, code: i32, says: &str) -> Ran {
        let ran = self.it.bounded(line);
        assert_eq!(ran.code, code, "{ran}");
        harmless(&ran, Form::Text);
        let all = format!("{}{}", ran.out, ran.err);
        assert!(!all.contains(CANARY), "what lies outside is shown: {ran}");
        assert!(!all.contains("root:x:"), "/etc/passwd is shown: {ran}");
        assert!(all.contains(says), "`{says}` is not said: {ran}");
        ran
    }
}

fn including(glob: &str) -> String {
    format!("version: 1\nproject: shop\ninclude: [\"{glob}\"]\n")
}

/// The small project with one key read from a file.
fn with_key(reference: &str) -> String {
    SMALL.replace("file:keys/deploy.pub", reference)
}

#[test]
fn an_include_does_not_lead_out_by_its_path() {
    for glob in [
        "../a.yaml",
        "/etc/passwd",
        "x/../../a.yaml",
        "./../a.yaml",
        "../*.yaml",
        "/etc/*",
        "../../../../../../etc/passwd",
        "{..,.}/a.yaml",
        "x/*/../../../a.yaml",
        "..//..//etc/passwd",
    ] {
        let trees = Trees::new(&including(glob));
        let ran = trees.it.bounded("validate");
        assert_eq!(ran.code, 3, "{ran}");
        let codes = ["outside-root", "invalid-glob", "include-without-match"];
        assert!(codes.iter().any(|code| ran.err.contains(code)), "{ran}");
        trees.refuses("validate", 3, "novahost.yaml:3:");
    }
}

#[test]
fn an_include_does_not_lead_out_by_a_link() {
    for glob in ["a.yaml", "*.yaml", "**/*.yaml"] {
        let trees = Trees::new(&including(glob));
        symlink(trees.path("a.yaml"), trees.it.path("a.yaml")).unwrap();
        trees.refuses("validate", 3, "error[outside-root]");
    }
    for glob in ["out/a.yaml", "out/*.yaml", "*/a.yaml", "**/a.yaml"] {
        let trees = Trees::new(&including(glob));
        symlink(trees.outside.path(), trees.it.path("out")).unwrap();
        trees.refuses("validate", 3, "error[outside-root]");
    }
    // A link to a link, and a relative one.
    let trees = Trees::new(&including("b.yaml"));
    symlink(trees.path("a.yaml"), trees.it.path("c.yaml")).unwrap();
    symlink("c.yaml", trees.it.path("b.yaml")).unwrap();
    trees.refuses("validate", 3, "error[outside-root]");
}

#[test]
fn links_in_a_circle_end() {
    for glob in ["loop.yaml", "**/*.yaml", "d/d/d/d/loop.yaml"] {
        let trees = Trees::new(&including(glob));
        symlink("loop.yaml", trees.it.path("loop.yaml")).unwrap();
        // Two of them make more paths than could ever be looked at.
        symlink(".", trees.it.path("d")).unwrap();
        symlink(".", trees.it.path("e")).unwrap();
        trees.refuses("validate", 3, "loop.yaml");
    }
}

#[test]
fn a_first_file_that_is_a_link_out_is_refused() {
    let trees = Trees::new("");
    std::fs::remove_file(trees.it.path("novahost.yaml")).unwrap();
    symlink(trees.path("novahost.yaml"), trees.it.path("novahost.yaml")).unwrap();
    trees.refuses("validate", 3, "outside");
}

#[test]
fn a_root_is_not_left_by_a_first_file() {
    let trees = Trees::new("version: 1\nproject: shop\n");
    std::fs::create_dir(trees.it.path("sub")).unwrap();
    trees.refuses("validate --root sub", 3, "is outside of the root");
    trees.refuses("validate --root sub sub/../novahost.yaml", 3, "is outside of the root");
    trees.refuses("validate --root novahost.yaml", 3, "root");
    trees.refuses("validate --root gone", 3, "root");
    // A root that is a link is the folder behind it.
    symlink(trees.outside.path(), trees.it.path("sub/out")).unwrap();
    trees.refuses("validate --root sub/out", 3, "is outside of the root");
}

#[test]
fn a_key_file_does_not_lead_out() {
    for (reference, code) in [
        ("file:/etc/passwd", "outside-root"),
        ("file:../key.pub", "outside-root"),
        ("file:/proc/self/environ", "outside-root"),
        ("file:keys/../../key.pub", "outside-root"),
        ("file:link.pub", "outside-root"),
        ("file:out/key.pub", "outside-root"),
        ("file:self/environ", "outside-root"),
        ("file:pipe", "unreadable-file"),
        ("file:zero", "outside-root"),
        ("file:.", "unreadable-file"),
    ] {
        let trees = Trees::new(&with_key(reference));
        symlink(trees.path("key.pub"), trees.it.path("link.pub")).unwrap();
        symlink(trees.outside.path(), trees.it.path("out")).unwrap();
        symlink("/proc/self", trees.it.path("self")).unwrap();
        symlink("/dev/zero", trees.it.path("zero")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(trees.it.path("pipe")).status();
        assert!(made.unwrap().success());
        trees.refuses("validate", 3, "novahost.yaml:39:");
        trees.refuses("validate", 3, &format!("error[{code}]"));
    }
}

#[test]
fn the_authority_of_a_certificate_does_not_lead_out() {
    for (path, code) in [
        ("/etc/passwd", "outside-root"),
        ("../ca.pem", "outside-root"),
        ("link.pem", "outside-root"),
        ("pipe.pem", "unreadable-file"),
    ] {
        let tls = format!("endpoint: https://127.0.0.1:8006\n    tls: {{ ca_file: {path} }}");
        let trees = Trees::new(&SMALL.replace("endpoint: https://127.0.0.1:8006", &tls));
        trees.it.copy(&crate::scratch::repository().join("keys"), "keys");
        symlink(trees.path("ca.pem"), trees.it.path("link.pem")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(trees.it.path("pipe.pem")).status();
        assert!(made.unwrap().success());
        trees.refuses("plan", 3, "novahost.yaml:8:");
        trees.refuses("plan", 3, &format!("error[{code}]"));
    }
}

#[test]
fn a_key_that_is_the_trust_file_is_refused() {
    let trees = Trees::new("");
    let trust = trees.path("trust.toml");
    std::fs::write(&trust, format!("# {CANARY}\n")).unwrap();
    trees.it.write("novahost.yaml", &with_key(&format!("file:{}", trust.display())));
    trees.refuses("validate", 3, "error[outside-root]");
    symlink(&trust, trees.it.path("t")).unwrap();
    trees.it.write("novahost.yaml", &with_key("file:t"));
    trees.refuses("validate", 3, "error[outside-root]");
}

#[test]
fn settings_of_the_tree_are_the_trees_own() {
    let yaml = "version: 1\nproject: shop\n";
    // What is wrong with settings is told by line and key; a link would tell it of any file.
    for target in ["novahost.toml", "key.pub"] {
        let trees = Trees::new(yaml);
        symlink(trees.path(target), trees.it.path("novahost.toml")).unwrap();
        trees.refuses("plan", 3, "leads out of the reviewed tree");
    }
    for device in ["/dev/zero", "/proc/self/environ", "/etc/passwd"] {
        let trees = Trees::new(yaml);
        symlink(device, trees.it.path("novahost.toml")).unwrap();
        trees.refuses("plan", 3, "leads out of the reviewed tree");
    }
    let trees = Trees::new(yaml);
    let made = std::process::Command::new("mkfifo").arg(trees.it.path("novahost.toml")).status();
    assert!(made.unwrap().success());
    trees.refuses("plan", 3, "no plain file");
    for table in [
        "[hypervisors.pve-paris]\nhosts = [\"evil.example:8006\"]\n",
        "[secrets.pve]\ncmd = [\"touch\", \"pwned\"]\n",
        "marker_key = \"env:CANARY\"\n",
        "guest = [\"env:CANARY\"]\n",
        "[store]\npath = \"/etc\"\n",
    ] {
        let trees = Trees::new(yaml);
        trees.it.write("novahost.toml", table);
        trees.refuses("plan", 3, "belongs in the trust settings");
        assert!(!trees.it.path("pwned").exists());
    }
}

#[test]
fn trust_settings_and_journal_do_not_lie_below_the_tree() {
    let trees = Trees::new("version: 1\nproject: shop\n");
    let private = |path: &Path, text: &str| {
        std::fs::write(path, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, mode).unwrap();
    };
    private(&trees.it.path("trust.toml"), "");
    std::fs::create_dir_all(trees.it.path("home/.config/novahost")).unwrap();
    trees.refuses("plan --trust trust.toml", 5, "lie below");
    trees.refuses("plan --trust ./home/../trust.toml", 5, "lie below");
    symlink(trees.path("trust.toml"), trees.it.path("link.toml")).unwrap();
    private(&trees.path("trust.toml"), "");
    trees.refuses("plan --trust link.toml", 5, "lie below");
    // The tree's own folder as a home would be the same.
    private(&trees.it.path("home/.config/novahost/trust.toml"), "");
    trees.refuses("plan", 5, "lie below");
    let store = format!("[store]\npath = \"{}\"\n", trees.it.path("x").display());
    private(&trees.path("trust.toml"), &store);
    let line = format!("plan --trust {}", trees.path("trust.toml").display());
    trees.refuses(&line, 5, "leads below the reviewed tree");
}

#[test]
fn the_sandbox_writes_through_no_link_of_the_tree() {
    let victim = "precious\n";
    for (link, folder) in [
        (".novahost", true),
        (".novahost/sandbox", true),
        (".novahost/sandbox/lock", false),
        (".novahost/sandbox/pve-paris.json", false),
        (".novahost/sandbox/journal.db", false),
    ] {
        let trees = Trees::new(SMALL);
        trees.it.copy(&crate::scratch::repository().join("keys"), "keys");
        std::fs::write(trees.path("victim"), victim).unwrap();
        std::fs::create_dir(trees.path("folder")).unwrap();
        std::fs::create_dir_all(trees.it.path(link).parent().unwrap()).unwrap();
        symlink(trees.path(if folder { "folder" } else { "victim" }), trees.it.path(link)).unwrap();
        trees.refuses("apply --yes --sandbox", 1, "writes through none");
        assert_eq!(std::fs::read_to_string(trees.path("victim")).unwrap(), victim);
        assert_eq!(std::fs::read_dir(trees.path("folder")).unwrap().count(), 0, "{link}");
    }
}

//! Hostile YAML, given to the real binary within bounds of memory: each file of the corpus has its verdict in
//! `fixtures/hostile/yaml/verdicts.txt`, and whatever is said of it is harmless, fits, and names file and line.

use crate::{
    hostile::{Form, harmless},
    scratch::{Ran, Scratch, repository},
};
use mock_servers::pve::Release;
use std::{collections::BTreeMap, fmt::Write as _, path::Path};

/// Characters of one line of a message: the longest message, and what stands before it.
const LINE_MAX: usize = 420;
/// Bytes of one file, as the README says.
const FILE_BYTES_MAX: usize = 16 << 20;

fn corpus() -> std::path::PathBuf {
    repository().join("fixtures/hostile/yaml")
}

/// The verdicts by file: `accepted`, or the codes of what is wrong.
fn verdicts() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(corpus().join("verdicts.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let pair = |line: &str| {
        let (name, verdict) = line.split_once('|').unwrap();
        (name.trim().to_owned(), verdict.trim().to_owned())
    };
    lines.map(pair).collect()
}

fn codes(ran: &Ran) -> String {
    let problems: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let mut codes: Vec<&str> =
        problems.as_array().unwrap().iter().map(|it| it["code"].as_str().unwrap()).collect();
    codes.sort_unstable();
    codes.dedup();
    if ran.code == 0 { "accepted".to_owned() } else { codes.join(" ") }
}

/// What is said of a file is harmless, fits, and names a place in it.
#[track_caller]
fn well_said(ran: &Ran, file: &str) {
    harmless(ran, Form::Text);
    let all = || ran.out.lines().chain(ran.err.lines());
    let widest = all().map(|line| line.chars().count()).max().unwrap_or(0);
    assert!(widest <= LINE_MAX, "{widest} columns: {ran}");
    assert!(!ran.err.contains("hunter2"), "a password is repeated: {ran}");
    if ran.code != 0 {
        let errors = all().filter(|line| line.starts_with("error[")).count();
        let place = format!("--> {file}:");
        let with_line = |line: &str| {
            let rest = line.split_once(&place).map(|(_, rest)| rest);
            rest.is_some_and(|rest| rest.starts_with(|it: char| it.is_ascii_digit()))
        };
        let places = all().filter(|line| with_line(line)).count();
        assert!(errors > 0 && places >= errors, "{errors} errors, {places} places: {ran}");
    }
}

#[test]
fn every_hostile_file_has_the_verdict_of_the_table() {
    let wanted = verdicts();
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(corpus()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "yaml") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        // Alone in its folder: some of them include all that they can find.
        let it = Scratch::empty("hostile-yaml", Release::V9_2);
        it.copy(&path, "it.yaml");
        let ran = it.bounded("validate it.yaml --format json");
        assert!([0, 3].contains(&ran.code), "{name}: {ran}");
        harmless(&ran, Form::Json);
        let text = it.bounded("validate it.yaml");
        assert_eq!(text.code, ran.code, "{text}");
        well_said(&text, "it.yaml");
        assert!(!it.path("pwned").exists(), "{name} ran something");
        found.insert(name, codes(&ran));
    }
    if std::env::var_os("NOVAHOST_GOLDEN").is_some_and(|it| it == "write") {
        let head = std::fs::read_to_string(corpus().join("verdicts.txt")).unwrap_or_default();
        let mut text: String = head
            .lines()
            .filter(|it| it.starts_with('#'))
            .fold(String::new(), |all, it| all + it + "\n");
        for (name, verdict) in &found {
            let _ = writeln!(text, "{name:<26} | {verdict}");
        }
        std::fs::write(corpus().join("verdicts.txt"), text).unwrap();
        return;
    }
    assert_eq!(found, wanted);
}

/// A folder with a first file that includes `it.yaml`, whatever that is.
fn including() -> Scratch {
    let it = Scratch::empty("hostile-yaml-kind", Release::V9_2);
    it.write("novahost.yaml", "version: 1\nproject: shop\ninclude: [it.yaml]\n");
    it
}

#[track_caller]
fn refused(it: &Scratch, line: &str, code: &str) {
    let ran = it.bounded(line);
    assert_eq!(ran.code, 3, "{ran}");
    assert!(ran.err.contains(&format!("error[{code}]")), "`{code}` is not said: {ran}");
    harmless(&ran, Form::Text);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let it = including();
    std::fs::create_dir(it.path("it.yaml")).unwrap();
    refused(&it, "validate", "unreadable-file");
    refused(&it, "validate it.yaml", "file-not-found");

    let it = including();
    std::os::unix::fs::symlink(".", it.path("it.yaml")).unwrap();
    refused(&it, "validate", "unreadable-file");

    let it = including();
    let made = std::process::Command::new("mkfifo").arg(it.path("it.yaml")).status().unwrap();
    assert!(made.success());
    refused(&it, "validate", "unreadable-file");
    refused(&it, "validate it.yaml", "unreadable-file");

    let it = including();
    let _socket = std::os::unix::net::UnixListener::bind(it.path("it.yaml")).unwrap();
    refused(&it, "validate", "unreadable-file");
    refused(&it, "validate it.yaml", "unreadable-file");

    for device in ["/dev/zero", "/dev/tty", "/proc/self/environ", "/dev/fd/0"] {
        let it = including();
        std::os::unix::fs::symlink(device, it.path("it.yaml")).unwrap();
        let ran = it.bounded("validate");
        assert_eq!(ran.code, 3, "{ran}");
        let said = ["error[outside-root]", "error[unreadable-file]", "error[file-not-found]"];
        assert!(said.iter().any(|code| ran.err.contains(code)), "{ran}");
        assert!(!ran.err.contains("HOME="), "{ran}");
    }
    // A first file is a person's own choice, but it must end.
    refused(&it, "validate /dev/zero", "unreadable-file");
}

#[test]
fn what_is_beyond_a_bound_is_refused_within_it() {
    let head = "version: 1\nproject: shop\n";
    let many = |count: usize, line: &dyn Fn(usize) -> String| -> String {
        (0..count).fold(head.to_owned(), |text, at| text + &line(at))
    };
    let cases: Vec<(&str, String)> = vec![
        ("file-too-large", format!("{head}#{}\n", "x".repeat(FILE_BYTES_MAX))),
        ("scalar-too-long", format!("{head}notes: {}\n", "x".repeat((1 << 20) + 1))),
        ("scalar-too-long", format!("{head}notes: \"{}\"\n", "\\x41".repeat((1 << 20) + 1))),
        ("too-many-values", format!("{head}a: [{}]\n", "0,".repeat(2_000_001))),
        ("duplicate-key", many(10_000, &|at| format!("k{}: 1\n", at / 2))),
        ("unknown-field", many(5_000, &|at| format!("k{at}: 1\n"))),
        ("unknown-alias", format!("{head}a: [{}]\n", "*b,".repeat(100_000))),
        ("key-not-text", many(5_000, &|at| format!("{at}: 1\n"))),
    ];
    for (code, text) in cases {
        let it = Scratch::empty("hostile-yaml-bounds", Release::V9_2);
        it.write("it.yaml", &text);
        let ran = it.bounded("validate it.yaml");
        assert_eq!(ran.code, 3, "{code}: {}", ran.code);
        assert!(ran.err.contains(&format!("error[{code}]")), "{code}: {:.500}", ran.err);
        assert!(ran.err.len() < 200_000, "{} bytes are said of `{code}`", ran.err.len());
        well_said(&ran, "it.yaml");
    }
}

#[test]
fn a_crowd_of_files_is_refused_within_its_bound() {
    let it = Scratch::empty("hostile-yaml-crowd", Release::V9_2);
    it.write("novahost.yaml", "version: 1\nproject: shop\ninclude: [\"many/*.yaml\"]\n");
    std::fs::create_dir(it.path("many")).unwrap();
    for at in 0..10_050 {
        std::fs::write(it.path(&format!("many/{at}.yaml")), "").unwrap();
    }
    refused(&it, "validate", "too-many-files");
    assert!(Path::new(&it.path("many")).is_dir());
}

//! The README says what is so: its tables, commands, tests, links and plan are
//! compared with the program.

use clap::CommandFactory as _;
use novahost::{
    apply::ExitClass,
    cli::args::Cli,
    provider::{proxmox::Proxmox, vcenter::Vcenter},
    report::{self, Support},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Pages whose links are followed and whose commands are looked up.
const PAGES: [&str; 5] =
    ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "ARCHITECTURE.md"];

/// Every exit class; a new one is found by `code_of`, which the compiler keeps whole.
const CLASSES: [ExitClass; 14] = {
    use ExitClass::*;
    [
        Bug,
        Unknown,
        Interrupted,
        Terminated,
        Partial,
        Stale,
        Locked,
        Refused,
        Auth,
        Incomplete,
        Config,
        Error,
        Differences,
        Ok,
    ]
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The text below a heading, up to the next one.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| {
        panic!("the README has no section `{heading}`");
    });
    rest.split_once("\n## ").map_or(rest, |(own, _)| own)
}

/// The cells of each row of a table, without its head.
fn rows(section: &str) -> Vec<Vec<String>> {
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |line: &str| {
        let inner = line.trim_matches('|');
        inner.split('|').map(|cell| cell.trim().replace('`', "")).collect()
    };
    lines.map(cells).collect()
}

/// What stands between backquotes on one line, and in blocks that are set in.
fn quoted(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if fenced || line.starts_with("    ") {
            found.push(line.trim().to_owned());
        }
    }
    let joined = text.replace('\n', " ");
    found.extend(joined.split('`').skip(1).step_by(2).map(str::to_owned));
    found
}

/// The class after which the next one must be listed; has no wildcard on purpose.
fn is_listed(class: ExitClass) -> bool {
    match class {
        ExitClass::Bug
        | ExitClass::Unknown
        | ExitClass::Interrupted
        | ExitClass::Terminated
        | ExitClass::Partial
        | ExitClass::Stale
        | ExitClass::Locked
        | ExitClass::Refused
        | ExitClass::Auth
        | ExitClass::Incomplete
        | ExitClass::Config
        | ExitClass::Error
        | ExitClass::Differences
        | ExitClass::Ok => CLASSES.contains(&class),
    }
}

#[test]
fn the_table_of_exit_codes_is_the_programs() {
    assert!(CLASSES.into_iter().all(is_listed));
    let mut wanted: BTreeSet<u8> = CLASSES.iter().map(|it| it.code()).collect();
    // Wrong usage is decided before anything has a class.
    wanted.insert(64);
    let text = page("README.md");
    let table = rows(section(&text, "Exit codes"));
    let written: BTreeSet<u8> = table.iter().map(|row| row[0].parse().unwrap()).collect();
    assert_eq!(written, wanted);
    assert_eq!(table.len(), wanted.len(), "a code stands twice");
    // The order of precedence, as `Ord` has it.
    let order: Vec<u8> = CLASSES.iter().map(|it| it.code()).filter(|it| *it != 0).collect();
    let mut sorted = CLASSES;
    sorted.sort();
    assert_eq!(sorted, CLASSES);
    let (_, sentence) = section(&text, "Exit codes").split_once("Several at once: ").unwrap();
    let (sentence, _) = sentence.split_once(", in this order").unwrap();
    let said: Vec<u8> = sentence.split([',', '/']).map(|it| it.trim().parse().unwrap()).collect();
    assert_eq!(said, order);
}

#[test]
fn the_help_lists_every_exit_code() {
    let help = Cli::command().render_long_help().to_string();
    let (_, codes) = help.split_once("Exit codes:").unwrap();
    let words: BTreeSet<&str> = codes.split(|it: char| !it.is_ascii_digit()).collect();
    for class in CLASSES {
        assert!(words.contains(class.code().to_string().as_str()), "{class:?} is not in --help");
    }
}

/// A line that begins with the program's name must be one that it understands.
fn check_command(line: &str) -> Result<(), String> {
    let mut command = &Cli::command();
    let mut words = line.split_whitespace().skip(1).peekable();
    while let Some(word) = words.peek().filter(|word| !word.starts_with('-')) {
        let Some(next) = command.find_subcommand(word) else { break };
        command = next;
        words.next();
    }
    if command.get_name() == "novahost" && words.peek().is_some_and(|it| !it.starts_with('-')) {
        return Err(format!("`{line}`: there is no such command"));
    }
    if command.has_subcommands() && command.get_name() != "novahost" && words.peek().is_some() {
        return Err(format!("`{line}`: there is no such command below it"));
    }
    let program = Cli::command();
    for flag in words.filter_map(|word| word.strip_prefix("--")) {
        let name = flag.split(['=', ',', '.', ')', '\\']).next().unwrap_or_default();
        let knows = |it: &clap::Command| it.get_arguments().any(|arg| arg.get_long() == Some(name));
        if !name.is_empty() && !knows(command) && !knows(&program) && name != "help" {
            return Err(format!("`{line}`: `{}` has no --{name}", command.get_name()));
        }
    }
    Ok(())
}

#[test]
fn every_command_that_is_named_exists() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for name in PAGES {
        for text in quoted(&page(name)) {
            let text = text.split(" #").next().unwrap_or_default();
            let text = text.strip_prefix("Next: ").unwrap_or(text);
            if text.starts_with("novahost ") {
                seen += 1;
                wrong.extend(check_command(text).err().map(|error| format!("{name}: {error}")));
            }
        }
    }
    assert!(seen > 20, "only {seen} commands were found: the reader of pages is broken");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_check_of_commands_can_fail() {
    assert!(check_command("novahost plan --sandbox").is_ok());
    assert!(check_command("novahost import vm").is_err());
    assert!(check_command("novahost audit rewrite").is_err());
    assert!(check_command("novahost plan --force").is_err());
}

/// All sources that the program is made of.
fn sources(below: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(below).unwrap().flatten().map(|entry| entry.path());
    let deeper = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    entries.flat_map(deeper).collect()
}

#[test]
fn no_message_names_a_command_that_does_not_exist() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in sources(&root().join("src")) {
        let code = fs::read_to_string(&path).unwrap();
        for (at, _) in code.match_indices("`novahost ") {
            let text = code[at + 1..].split(['`', '\n', '{']).next().unwrap_or_default();
            seen += 1;
            wrong.extend(check_command(text).err().map(|it| format!("{}: {it}", path.display())));
        }
    }
    assert!(seen > 5, "only {seen} commands were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_test_that_is_named_exists() {
    let mut seen = 0;
    for name in PAGES {
        for text in quoted(&page(name)) {
            let Some((file, function)) = text.split_once(".rs::") else { continue };
            let code = page(&format!("{file}.rs"));
            let at = code.find(&format!("fn {function}(")).unwrap_or_else(|| {
                panic!("{name} names `{text}`, which is not there");
            });
            let before = &code[code[..at].rfind("\n\n").unwrap_or(0)..at];
            assert!(before.contains("#[test]") || before.contains("#[tokio::test"), "{text}");
            seen += 1;
        }
    }
    assert!(seen >= 10, "only {seen} tests were found");
}

#[test]
fn every_link_leads_somewhere() {
    for name in PAGES {
        let text = page(name);
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap_or_default();
            if let Some(anchor) = target.strip_prefix('#') {
                let known = text
                    .lines()
                    .filter_map(|it| it.strip_prefix("## "))
                    .any(|heading| heading.to_ascii_lowercase().replace(' ', "-") == anchor);
                assert!(known, "{name}: no heading for #{anchor}");
            } else if !target.starts_with("https://") {
                assert!(root().join(target).exists(), "{name} links to {target}");
            }
        }
    }
}

/// A cell of the README's table.
fn cell(support: &Support) -> String {
    if !support.create {
        return "no".to_owned();
    }
    match support.change.as_slice() {
        [] if support.read_back => "fixed".to_owned(),
        [] => "with init".to_owned(),
        classes => classes.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(" or "),
    }
}

#[test]
fn the_table_of_fields_is_the_products() {
    let text = page("README.md");
    let mut written: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows(section(&text, "Fields")) {
        let twice = written.insert(row[0].clone(), row[2..].to_vec());
        assert_eq!(twice, None, "{} stands twice", row[0]);
    }
    let table = report::portability(&[&Proxmox, &Vcenter]);
    for row in &table.fields {
        let read = row.on.iter().all(|it| it.read_back);
        let mut wanted: Vec<String> = row.on.iter().map(cell).collect();
        wanted.push(if read { "yes" } else { "no" }.to_owned());
        assert_eq!(written.remove(&row.field), Some(wanted), "{}", row.field);
    }
    assert!(written.is_empty(), "no product knows {written:?}");
}

fn novahost(folder: &Path, args: &[&str]) -> (String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_novahost"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("NOVAHOST_")) {
        command.env_remove(name);
    }
    let command = command.args(args).current_dir(folder).env("COLUMNS", "80");
    let done = command.env("LC_ALL", "C.UTF-8").env("NO_COLOR", "1").output().unwrap();
    (String::from_utf8(done.stdout).unwrap(), done.status.code().unwrap())
}

#[test]
fn the_plan_that_is_shown_is_the_one_that_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = folder.path().join("novahost.yaml");
    let give = |name: &str| fs::copy(root().join("fixtures/readme").join(name), &yaml).unwrap();
    give("before.yaml");
    let (text, code) = novahost(folder.path(), &["apply", "--sandbox", "--yes"]);
    assert_eq!(code, 0, "{text}");
    give("after.yaml");
    let (made, code) = novahost(folder.path(), &["plan", "--sandbox"]);
    assert_eq!(code, 0, "{made}");
    let text = page("README.md");
    let (_, rest) = text.split_once("```text\n").unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    // The time is the only thing that may differ.
    let undated = |text: &str| {
        let (head, rest) = text.trim_end().split_once('\n').unwrap();
        format!("{}\n{rest}", head.split(" made ").next().unwrap())
    };
    assert_eq!(undated(shown), undated(&made));
}

#[test]
fn the_trust_settings_that_are_shown_are_sound() {
    let text = page("README.md");
    let (_, rest) = text.split_once("    marker_key = ").unwrap();
    let example: String = format!("    marker_key = {rest}")
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(|line| format!("{}\n", line.trim()))
        .collect();
    // Digests are cut short for the reader.
    let example = example.replace("...", &"0".repeat(60));
    let found =
        novahost::trust::Trust::parse(&example, Path::new("/etc/novahost/trust.toml"), None);
    assert!(found.is_ok(), "{found:?}");
}

#[test]
fn a_saved_plan_of_another_file_is_applied_with_that_file() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = folder.path().join("lab.yaml");
    fs::copy(root().join("fixtures/readme/before.yaml"), yaml).unwrap();
    let run = |args: &[&str]| novahost(folder.path(), args);
    let (text, code) = run(&["plan", "--sandbox", "lab.yaml", "--out", "plan.json"]);
    assert_eq!(code, 0, "{text}");
    let (_, code) = run(&["apply", "--sandbox", "plan.json", "--yes"]);
    assert_eq!(code, 3, "without it, novahost.yaml is looked for");
    let (text, code) = run(&["apply", "--sandbox", "plan.json", "-f", "lab.yaml", "--yes"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("Apply: 4 done."), "{text}");
    let (_, code) = run(&["apply", "--sandbox", "lab.yaml", "-f", "lab.yaml", "--yes"]);
    assert_eq!(code, 3);
}

#[test]
fn the_first_file_is_valid() {
    let text = page("README.md");
    let yaml: String = section(&text, "A first file")
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .map(|line| format!("{line}\n"))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("novahost.yaml"), yaml).unwrap();
    let (said, code) = novahost(folder.path(), &["validate"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(said, "novahost.yaml is valid: 1 hypervisor, 1 machine, 0 pools.\n");
}

#[test]
fn what_is_protected_is_blocked_and_the_exit_code_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = folder.path().join("novahost.yaml");
    let before = page("fixtures/readme/before.yaml");
    fs::write(&yaml, &before).unwrap();
    let (text, code) = novahost(folder.path(), &["apply", "--sandbox", "--yes"]);
    assert_eq!(code, 0, "{text}");
    let without = |names: &[&str]| -> String {
        let gone = |line: &&str| names.iter().any(|it| line.starts_with(&format!("  {it}:")));
        before.lines().filter(|line| !gone(line)).map(|line| format!("{line}\n")).collect()
    };
    let apply = ["apply", "--sandbox", "--yes", "--allow", "delete"];
    fs::write(&yaml, without(&["db-1"])).unwrap();
    let (text, code) = novahost(folder.path(), &apply);
    assert!(text.contains("\n!   - delete vm/db-1 DELETE"), "{text}");
    assert_eq!(code, 5, "nothing ran: {text}");
    fs::write(&yaml, without(&["db-1", "old-1"])).unwrap();
    let (text, code) = novahost(folder.path(), &apply);
    assert!(text.contains("Apply: 1 done, 1 blocked by the plan."), "{text}");
    assert_eq!(code, 7, "the rest ran: {text}");
}

//! What the program says about itself.

use crate::scratch::{Scratch, repository};
use mock_servers::pve::Release;
use std::fmt::Write as _;

const COMMANDS: &[&str] = &[
    "",
    "validate",
    "plan",
    "show",
    "apply",
    "adopt",
    "forget",
    "get",
    "describe",
    "capacity",
    "drift",
    "doctor",
    "trust",
    "trust add",
    "trust list",
    "audit",
    "audit list",
    "audit show",
    "audit verify",
    "audit export",
    "runs",
    "runs list",
    "runs show",
    "runs resume",
    "vm",
    "vm start",
    "vm stop",
    "vm reboot",
    "vm snapshot",
    "inventory",
    "inventory snapshot",
    "sandbox",
    "sandbox serve",
    "sandbox reset",
    "schema",
    "completions",
    "version",
];

fn it() -> Scratch {
    Scratch::empty("help", Release::V9_2)
}

#[test]
fn the_help_of_every_command_fits_80_columns_and_is_as_it_was_reviewed() {
    let it = it();
    let mut all = String::new();
    for command in COMMANDS {
        let ran = it.run(&format!("{command} --help")).code(0).fits();
        let _ = write!(all, "$ novahost {command} --help\n{}\n", ran.out);
    }
    let all: String = all.lines().map(|it| format!("{}\n", it.trim_end())).collect();
    let kept = repository().join("fixtures/cli/help.txt");
    if std::env::var_os("NOVAHOST_BLESS").is_some() {
        std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
        std::fs::write(&kept, &all).unwrap();
    }
    let kept = std::fs::read_to_string(&kept).unwrap();
    assert!(all == kept, "help changed; NOVAHOST_BLESS=1 writes it anew\n{all}");
}

/// Every command that the help of its parent lists is in the list above.
#[test]
fn no_command_is_forgotten_by_these_tests() {
    let it = it();
    for parent in COMMANDS.iter().filter(|it| !it.contains(' ')) {
        let help = it.run(&format!("{parent} --help")).code(0).out;
        let Some((_, listed)) = help.split_once("Commands:\n") else { continue };
        for line in listed.lines().take_while(|it| !it.is_empty()) {
            let name = line.split_whitespace().next().unwrap();
            // A continued description is indented further.
            if line.starts_with("   ") {
                continue;
            }
            let whole = format!("{parent} {name}");
            assert!(COMMANDS.contains(&whole.trim()), "`{whole}` is not tested");
        }
    }
}

#[test]
fn the_exit_codes_in_the_help_are_all_of_them() {
    let help = it().run("--help").code(0).out;
    let codes = help.split_once("Exit codes:").unwrap().1;
    for code in ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "64", "70", "130", "143"] {
        assert!(codes.split([' ', ',', '/', '\n']).any(|it| it == code), "{code} is missing");
    }
}

#[test]
fn the_schema_is_the_one_in_the_repository() {
    let schema = it().run("schema").code(0).out;
    let kept = repository().join("schemas/novahost.schema.json");
    assert_eq!(schema.trim_end(), std::fs::read_to_string(kept).unwrap().trim_end());
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = it().run(&format!("completions {shell}")).code(0).out;
        for command in ["plan", "apply", "runs"] {
            assert!(script.contains(command), "{shell} does not know `{command}`");
        }
    }
    it().run("completions tcsh").code(64);
}

#[test]
fn the_version_is_the_packages() {
    let wanted = format!("novahost {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(it().run("version").code(0).out, wanted);
    assert_eq!(it().run("--version").code(0).out, wanted);
}

//! The shape of the source, held by a test: who may import whom, what pure modules
//! may not call, and where printing and the clock live.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What each top-level module may name of the others, from the top of the road down.
const IMPORTS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("clock", &[]),
    ("ownership", &["model"]),
    ("config", &["model"]),
    ("diff", &["model"]),
    ("alloc", &["model"]),
    ("plan", &["model", "ownership", "diff", "alloc"]),
    ("guard", &["model", "ownership", "plan"]),
    ("capacity", &["model", "ownership"]),
    ("report", &["model", "plan", "guard", "capacity"]),
    ("settings", &["model"]),
    ("secrets", &["model", "ownership", "trust"]),
    ("trust", &["model", "settings"]),
    ("store", &["model", "clock"]),
    // `store` is checked more closely below: the durable intent and nothing else.
    ("provider", &["model", "ownership", "clock", "store"]),
    ("inventory", &["model", "provider", "clock"]),
    ("apply", &["model", "ownership", "diff", "plan", "guard", "provider", "store", "clock"]),
    (
        "reconcile",
        &[
            "model",
            "config",
            "ownership",
            "diff",
            "plan",
            "guard",
            "provider",
            "inventory",
            "store",
            "apply",
            "clock",
            "trust",
            "secrets",
            "settings",
        ],
    ),
];

/// Modules that must be a function of their arguments.
const PURE: &[&str] = &[
    "src/model",
    "src/ownership",
    "src/diff",
    "src/alloc",
    "src/plan",
    "src/guard",
    "src/capacity",
    "src/report",
    "src/provider/adoption.rs",
    "src/provider/checks.rs",
    "src/provider/guest_init.rs",
    "src/provider/guest_init/read.rs",
    "src/provider/lowering.rs",
    "src/provider/lowering",
    "src/provider/failure.rs",
    "src/provider/proxmox/product.rs",
    "src/provider/proxmox/lower",
    "src/provider/proxmox/translate.rs",
    "src/provider/proxmox/property.rs",
    "src/provider/proxmox/call.rs",
    "src/provider/proxmox/privileges.rs",
    "src/provider/vcenter/vim/codec.rs",
    "src/provider/vcenter/vim/error.rs",
    "src/provider/vcenter/vim/fault.rs",
    "src/provider/vcenter/vim/node.rs",
    "src/provider/vcenter/vim/service.rs",
    "src/provider/vcenter/vim/soap.rs",
    "src/provider/vcenter/vim/val.rs",
    "src/provider/vcenter/product.rs",
    "src/provider/vcenter/normalize.rs",
    "src/provider/vcenter/slots.rs",
    "src/provider/vcenter/lower",
    "src/provider/vcenter/call.rs",
    "src/provider/vcenter/editor.rs",
    "src/provider/vcenter/grants.rs",
    "src/provider/vcenter/spreads.rs",
    "src/provider/vcenter/pool_call.rs",
    "src/provider/vcenter/pools.rs",
    "src/provider/vcenter/pool_share.rs",
    "src/provider/vcenter/customize/spec.rs",
    "src/provider/vcenter/customize/kept.rs",
    "src/provider/vcenter/customize/check.rs",
    "src/provider/vcenter/timezones.rs",
    "src/provider/vcenter/tag_book.rs",
    "src/provider/vcenter/chains.rs",
    "src/provider/vcenter/device_change.rs",
    "src/provider/vcenter/devices.rs",
    "src/provider/vcenter/extra.rs",
    "src/provider/vcenter/guarded.rs",
    "src/provider/vcenter/places.rs",
    "src/provider/vcenter/refusal.rs",
    "src/provider/vcenter/translate.rs",
];

/// What a pure module may not say.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net::Tcp",
    "std::env",
    "tokio::",
    "reqwest",
    "rusqlite",
    "async fn",
    ".await",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "rand::",
    "HashMap",
    "HashSet",
    "println!",
    "eprintln!",
    "tracing::",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(below: &Path) -> Vec<PathBuf> {
    if below.is_file() {
        return vec![below.to_owned()];
    }
    let Ok(entries) = fs::read_dir(below) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .flat_map(|entry| rust_files(&entry.path()))
        .filter(|path| path.extension().is_some_and(|it| it == "rs"))
        .collect();
    files.sort();
    files
}

/// The lines of a file without its tests. These stand last in their file, by custom; a
/// module of tests in a file of its own is `tests.rs`.
fn before_tests(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    lines.enumerate().map(|(number, line)| (number + 1, line.to_owned())).collect()
}

/// The code of a file without comments and without its tests.
fn code(path: &Path) -> Vec<(usize, String)> {
    let bare = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    before_tests(path).into_iter().map(|(number, line)| (number, bare(&line))).collect()
}

fn is_test_file(path: &Path) -> bool {
    path.file_name().is_some_and(|it| it.to_string_lossy().ends_with("tests.rs"))
        || path.components().any(|it| it.as_os_str() == "tests")
}

fn modules_named(lines: &[(usize, String)]) -> BTreeSet<(usize, String)> {
    let text: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
    let joined = text.join("\n");
    let mut named = BTreeSet::new();
    for (start, _) in joined.match_indices("crate::") {
        let line = joined[..start].matches('\n').count() + 1;
        let rest = &joined[start + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            for part in top_level(group) {
                let word: String = part
                    .trim()
                    .chars()
                    .take_while(|it| it.is_alphanumeric() || *it == '_')
                    .collect();
                named.insert((line, word));
            }
        } else {
            let word: String =
                rest.chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect();
            named.insert((line, word));
        }
    }
    named
}

/// The parts of `{a::{b, c}, d}` at its own level.
fn top_level(group: &str) -> Vec<String> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => parts.push(String::new()),
            other => {
                if depth == 0
                    && let Some(part) = parts.last_mut()
                {
                    part.push(other);
                }
            }
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    for (module, allowed) in IMPORTS {
        let folder = root().join("src").join(module);
        let file = root().join("src").join(format!("{module}.rs"));
        let files = rust_files(&folder).into_iter().chain(rust_files(&file));
        for path in files.filter(|path| !is_test_file(path)) {
            for (line, named) in modules_named(&code(&path)) {
                let known = IMPORTS.iter().any(|(name, _)| *name == named);
                if known && named != *module && !allowed.contains(&named.as_str()) {
                    let shown = path.strip_prefix(root()).unwrap().display();
                    wrong.push(format!("{shown}:{line}: {module} imports {named}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the table:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_stands_in_the_table() {
    let known: BTreeSet<&str> = IMPORTS.iter().map(|(name, _)| *name).collect();
    for entry in fs::read_dir(root().join("src")).unwrap().flatten() {
        let name = entry.path().file_stem().unwrap().to_string_lossy().into_owned();
        // `planted` is empty in every program that anybody uses.
        let shell = matches!(name.as_str(), "main" | "lib" | "cli" | "sandbox" | "planted");
        assert!(shell || known.contains(name.as_str()), "src/{name} is not in the import table");
    }
}

#[test]
fn a_provider_names_nothing_of_the_store_but_the_durable_intent() {
    for path in rust_files(&root().join("src/provider")) {
        for (line, text) in code(&path) {
            for (at, _) in text.match_indices("store::") {
                let rest = &text[at + "store::".len()..];
                assert!(
                    rest.starts_with("DurableIntent"),
                    "{}:{line}: a provider may only take a durable intent",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn pure_modules_do_not_touch_the_world() {
    let mut wrong = Vec::new();
    for place in PURE {
        let files = rust_files(&root().join(place));
        assert!(!files.is_empty(), "{place} is gone: correct the list");
        for path in files.into_iter().filter(|path| !is_test_file(path)) {
            for (line, text) in code(&path) {
                for word in IMPURE.iter().filter(|word| text.contains(**word)) {
                    let shown = path.strip_prefix(root()).unwrap().display();
                    wrong.push(format!("{shown}:{line}: `{word}`"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "impure words in pure modules:\n{}", wrong.join("\n"));
}

#[test]
fn the_simulators_do_not_know_novahost() {
    let manifest = fs::read_to_string(root().join("mock-servers/Cargo.toml")).unwrap();
    assert!(!manifest.contains("novahost ="), "mock-servers must not depend on novahost");
    for path in rust_files(&root().join("mock-servers")) {
        for (line, text) in code(&path) {
            assert!(!text.contains("novahost::"), "{}:{line}", path.display());
        }
    }
}

#[test]
fn the_oracle_of_the_campaigns_does_not_know_novahost() {
    let path = root().join("tests/campaigns/oracle.rs");
    let wrong: Vec<(usize, String)> = code(&path)
        .into_iter()
        .filter(|(_, line)| line.contains("novahost::") || line.contains("crate::"))
        .collect();
    assert!(wrong.is_empty(), "the oracle must judge by itself: {wrong:?}");
}

#[test]
fn tests_that_the_documents_name_are_there() {
    let mut wrong = Vec::new();
    let mut named = 0;
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for word in text.split('`') {
            let Some((file, test)) = word.split_once(".rs::") else { continue };
            named += 1;
            let source = fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_default();
            if !source.contains(&format!("fn {test}(")) {
                wrong.push(format!("{document}: `{word}`"));
            }
        }
    }
    assert!(named > 20, "only {named} tests are named");
    assert!(wrong.is_empty(), "named and not there: {wrong:#?}");
}

#[test]
fn every_scenario_says_which_rule_it_holds() {
    let rules = fs::read_to_string(root().join("tests/rules.toml")).unwrap();
    let rules: toml::Table = rules.parse().unwrap();
    let named: BTreeSet<&str> = rules["rule"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|rule| rule["tests"].as_array().unwrap())
        .map(|test| test.as_str().unwrap())
        .collect();
    let mut missing = Vec::new();
    let below = root().join("tests/it");
    for path in rust_files(&below) {
        let name = path.strip_prefix(&below).unwrap().with_extension("");
        let module = name.to_str().unwrap().replace('/', "::");
        if !module.starts_with("ownership::") && !module.starts_with("hostile_") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for after in text.split("#[test]\n").skip(1) {
            let test = after.split_once("fn ").unwrap().1.split('(').next().unwrap();
            let test = format!("{module}::{test}");
            // The traps themselves are no rule of the product.
            if !named.contains(test.as_str()) && !test.contains("the_trap_and_the_witness_work") {
                missing.push(test);
            }
        }
    }
    assert!(missing.is_empty(), "not in tests/rules.toml: {missing:#?}");
}

/// `.ci/rules` runs by hand: what it takes out must not have moved away meanwhile.
#[test]
fn every_rule_that_can_be_taken_out_is_where_it_is_said_to_be() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let rules = fs::read_to_string(root().join("tests/rules.toml")).unwrap();
    let rules: toml::Table = rules.parse().unwrap();
    let mut wrong = Vec::new();
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for rule in rules["rule"].as_array().unwrap() {
        for edit in rule["edit"].as_array().unwrap() {
            let file = edit["file"].as_str().unwrap();
            let text = files.entry(file).or_insert_with(|| {
                words(&fs::read_to_string(root().join(file)).unwrap_or_default())
            });
            let was = words(edit["was"].as_str().unwrap());
            let places = text.matches(&was).count();
            if places != 1 {
                wrong.push(format!("{}: {places} places in {file} are {was}", rule["name"]));
            }
        }
    }
    assert!(!files.is_empty());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn planted_bugs_are_in_no_program_that_anybody_uses() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(!manifest.contains("default = ["), "no feature is on by default");
    let source = fs::read_to_string(root().join("src/planted.rs")).unwrap();
    assert!(source.contains("pub const fn is_planted(self) -> bool {\n        false\n    }"));
}

#[test]
fn product_names_stay_out_of_the_core() {
    // The core gets products as data; a name in it would be a special case, and a product's
    // own word in a comment or a help text is one that the next product makes wrong.
    const PLACES: &[&str] =
        &["diff", "alloc", "plan", "guard", "apply", "capacity", "ownership", "reconcile.rs"];
    const WORDS: &[&str] = &[
        "proxmox",
        "pve",
        "vmid",
        "qemu",
        "vcenter",
        "vmware",
        "moref",
        "vmx",
        "nutanix",
        "workstation",
    ];
    let mut wrong = Vec::new();
    for place in PLACES {
        let files = rust_files(&root().join("src").join(place));
        assert!(!files.is_empty(), "src/{place} is gone: correct the list");
        for path in files.into_iter().filter(|it| !is_test_file(it)) {
            for (line, text) in before_tests(&path) {
                let lower = text.to_ascii_lowercase();
                for word in WORDS.iter().filter(|word| lower.contains(**word)) {
                    let shown = path.strip_prefix(root()).unwrap().display();
                    wrong.push(format!("{shown}:{line}: `{word}`"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "words of a product in the core:\n{}", wrong.join("\n"));
}

#[test]
fn no_test_file_is_forgotten() {
    let main = fs::read_to_string(root().join("tests/it/main.rs")).unwrap();
    for path in rust_files(&root().join("tests/it")) {
        let relative = path.strip_prefix(root().join("tests/it")).unwrap();
        if relative.components().count() > 1 {
            continue;
        }
        let name = relative.file_stem().unwrap().to_string_lossy().into_owned();
        if name != "main" {
            assert!(main.contains(&format!("mod {name};")), "tests/it/main.rs lacks `mod {name};`");
        }
    }
}

use super::diagnostic::one_line;
use super::*;
use crate::model::{
    Cdrom, HypervisorConfig, HypervisorName, Medium, NativeId, NodeName, PoolBinding, ResourceKey,
    StorageName,
};
use std::collections::BTreeSet;
use std::fs;

/// All problems of a report, one per line, each followed by its help.
fn lines(loaded: &Loaded) -> String {
    let mut text = String::new();
    for problem in loaded.report.sorted(&loaded.sources) {
        text.push_str(&one_line(&problem, &loaded.sources));
        text.push('\n');
        for label in problem.related.iter().filter(|label| !label.text.is_empty()) {
            let at = loaded.sources.location(label.span);
            text.push_str(&format!("    {}:{}: {}\n", at.path, at.line, label.text));
        }
        for help in &problem.help {
            text.push_str(&format!("    help: {help}\n"));
        }
    }
    text
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files of a folder whose name ends in `.yaml`, sorted.
fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    files.sort();
    files
}

#[test]
fn the_first_file_of_the_repository_loads() {
    let loaded = load(repository(), &Options::default());
    assert_eq!(lines(&loaded), "");
    let desired = loaded.desired.expect("no errors");
    assert_eq!(desired.machines.len(), 6);
    let files: Vec<&String> = desired.files.keys().collect();
    assert_eq!(files, ["keys/deploy.pub", "novahost.yaml"]);
}

/// `NOVAHOST_BLESS=1 cargo test --lib config` writes what is found; the difference is reviewed like code.
#[test]
fn erroneous_files_are_answered_in_words_that_help() {
    let folder = repository().join("fixtures/config/errors");
    let options = Options { root: Some(folder.clone()) };
    let mut wrong = Vec::new();
    for path in yaml_files(&folder) {
        let loaded = load(&path, &options);
        let found = lines(&loaded);
        assert!(loaded.desired.is_none(), "{} has errors", path.display());
        let text = diagnostic::render_text(&loaded.report, &loaded.sources, false, 100);
        assert!(!text.contains("hunter2"), "a secret is shown for {}:\n{text}", path.display());
        let expected = path.with_extension("expected");
        if std::env::var_os("NOVAHOST_BLESS").is_some() {
            fs::write(&expected, &found).expect("it can be written");
        }
        if fs::read_to_string(&expected).unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", expected.display()));
        }
    }
    assert!(wrong.is_empty(), "other problems than expected:\n{}", wrong.join("\n"));
}

/// Files that a person would load: each is complete.
fn examples() -> Vec<PathBuf> {
    let mut files = yaml_files(&repository().join("examples"));
    files.push(repository().join("examples/split/novahost.yaml"));
    files.push(repository().join("fixtures/config/vcenter.yaml"));
    files.push(repository().join("novahost.yaml"));
    files
}

#[test]
fn every_example_loads_without_a_word() {
    for path in examples() {
        let loaded = load(&path, &Options::default());
        assert_eq!(lines(&loaded), "", "{}", path.display());
        assert!(!loaded.desired.expect("no errors").machines.is_empty());
    }
}

#[test]
fn a_vcenter_is_taken_as_it_is_written() {
    let path = repository().join("fixtures/config/vcenter.yaml");
    let desired = load(&path, &Options::default()).desired.expect("no errors");
    let at = HypervisorName::from("vc-lyon");
    let config = &desired.hypervisors[&at];
    let HypervisorConfig::Vcenter(vcenter) = config else { panic!("{config:?}") };
    assert_eq!(vcenter.username, "novahost@vsphere.local");
    assert_eq!(vcenter.datacenter.as_deref(), Some("DC0"));
    assert_eq!(vcenter.folder.as_deref(), Some("novahost/Front end"));
    assert_eq!((vcenter.reads_max, vcenter.fingerprints.len()), (2, 1));
    assert_eq!(config.endpoints(), ["https://vcenter.example.net"]);
    assert_eq!(config.secret().to_string(), "env:NOVAHOST_VC_PASSWORD");
    assert_eq!(config.default_node().map(NodeName::as_str), Some("DC0_C0"));
    assert_eq!(config.default_storage().map(StorageName::as_str), Some("LocalDS_0"));
    assert_eq!((config.allowed_nodes(), config.id_range()), (None, None));
    assert_eq!((config.maintenance().len(), config.writes_max()), (0, 6));

    let machine = |name: &str| &desired.machines[&ResourceKey::vm(name)];
    let medium = |name: &str| machine(name).birth.as_ref().map(|birth| birth.medium.clone());
    let web = machine("web-1");
    let (name, snapshot) = (Some("tpl-debian-13".into()), Some("base".into()));
    let template = Medium::Template { id: None, name, linked: true, snapshot };
    assert_eq!(medium("web-1"), Some(template));
    let volume = "[LocalDS_0] iso/opnsense 26.iso".to_owned();
    assert_eq!(medium("router"), Some(Medium::Iso { volume: volume.clone() }));
    assert_eq!(machine("router").spec.cdrom, Some(Cdrom::Iso(volume)));
    assert_eq!(web.pinned_node.as_ref().map(NodeName::as_str), Some("DC0_C1"));
    let network = web.spec.nics["eth1"].network.as_ref().map(|it| it.native.as_str());
    assert_eq!(network, Some("/DC0/network/Backend"));
    assert_eq!(machine("old").adopt.as_ref().map(NativeId::as_str), Some("vm-66"));

    let pool = |name: &str| &desired.pools[&ResourceKey::pool(name)].at;
    let (folder, resource_pool) = (Some("Tenants/acme".into()), Some("acme".into()));
    assert_eq!(pool("acme")[&at], PoolBinding::Vcenter { folder, resource_pool });
    assert_eq!(pool("acme")["pve-paris"], PoolBinding::Named);
    let named =
        PoolBinding::Vcenter { folder: Some("plain".into()), resource_pool: Some("/plain".into()) };
    assert_eq!(pool("plain")[&at], named);
}

#[test]
fn a_vcenter_has_limits_of_its_own_and_a_port_where_one_is_written() {
    let loaded = in_memory(
        "version: 1\nproject: p\nhypervisors: { vc: { type: vcenter, endpoint: 'https://vc:8443/', auth: { username: 'LAB\\novahost', password: env:P } } }\n",
    );
    assert_eq!(lines(&loaded), "");
    let desired = loaded.desired.expect("no errors");
    let HypervisorConfig::Vcenter(vcenter) = &desired.hypervisors["vc"] else {
        panic!("not a vCenter");
    };
    assert_eq!((vcenter.reads_max, vcenter.writes_max), (4, 8));
    assert_eq!((&*vcenter.endpoint, &*vcenter.username), ("https://vc:8443", "LAB\\novahost"));
}

/// Fields of a mapping that some file uses; `*` is any name, or any item of a list.
fn used(node: &yaml::Node, path: &[&str], found: &mut BTreeSet<String>) {
    let Some((step, rest)) = path.split_first() else {
        found.extend(node.as_map().unwrap_or_default().iter().map(|entry| entry.key.to_string()));
        return;
    };
    for item in node.as_seq().unwrap_or_default().iter().filter(|_| *step == "*") {
        used(item, rest, found);
    }
    for entry in node.as_map().unwrap_or_default() {
        if *step == "*" || *step == &*entry.key {
            used(&entry.value, rest, found);
        }
    }
}

#[test]
fn every_field_of_the_language_is_in_an_example() {
    let mut roots = Vec::new();
    for path in examples() {
        let text = fs::read_to_string(&path).expect("it is there");
        let mut report = Report::new();
        roots.extend(yaml::parse(&text, diagnostic::FileId(0), &mut report));
    }
    let mut missing = Vec::new();
    for table in schema::TABLES {
        let mut found = BTreeSet::new();
        let path: Vec<&str> = table.path.split('.').filter(|step| !step.is_empty()).collect();
        roots.iter().for_each(|root| used(root, &path, &mut found));
        let unused = table.fields.iter().filter(|field| !found.contains(field.name));
        missing.extend(unused.map(|field| format!("{}.{}", table.path, field.name)));
    }
    assert!(missing.is_empty(), "in no example: {}", missing.join(", "));
}

fn in_memory(text: &str) -> Loaded {
    load_str(&BTreeMap::from([(FILE_NAME.to_owned(), text.to_owned())]), FILE_NAME)
}

const HEAD: &str = "version: 1\nproject: hostile\n";

/// Each of these once cost, or could cost, time or memory out of proportion to its size.
#[test]
fn hostile_documents_end_in_errors_and_soon() {
    let repeat =
        |count: usize, each: &dyn Fn(usize) -> String| -> String { (0..count).map(each).collect() };
    let documents = [
        // An unknown name on every line, each of which could be compared with all others.
        format!(
            "{HEAD}vms:\n{}",
            repeat(5_000, &|at| format!("  a{at}: {{ after: [b{at}], profile: c{at} }}\n"))
        ),
        // One machine with as many disks as others have bytes.
        format!(
            "{HEAD}vms:\n  a:\n    disks:\n{}",
            repeat(20_000, &|at| format!("      d{at}: {{ size: 1GiB, bus: scsi, slot: 1 }}\n"))
        ),
        // A large profile that a short pattern uses often.
        format!(
            "{HEAD}profiles:\n  p:\n    tags: [{}]\nvms:\n  a-{{1..10000}}: {{ profile: p }}\n",
            "x, ".repeat(5_000)
        ),
        // Patterns of patterns.
        format!("{HEAD}vms:\n{}", repeat(20, &|at| format!("  a{at}-{{1..10000}}: {{}}\n"))),
        format!("{HEAD}vms: {}{}\n", "{ a: ".repeat(5_000), "}".repeat(5_000)),
        format!(
            "{HEAD}networks:\n  n:\n    reserved: [{}]\n",
            "10.0.0.0-10.255.255.255, ".repeat(5_000)
        ),
        format!("{HEAD}policy: {{ name_pattern: \"{}\" }}\n", "(a{1,900}){1,900}"),
        format!("{HEAD}vms: {{ \"{}\": {{}} }}\n", "a".repeat(100_000)),
        "\u{feff}\u{202e}version: 1\n".to_owned(),
        "---\nversion: 1\n---\nversion: 1\n".to_owned(),
        "- version: 1\n".to_owned(),
        "just a text".to_owned(),
        String::new(),
    ];
    for document in documents {
        let loaded = in_memory(&document);
        let shown: String = document.chars().take(60).collect();
        assert!(loaded.desired.is_none() && loaded.report.has_errors(), "{shown}");
        let text = lines(&loaded);
        assert!(
            text.len() < 5 << 20 && !text.contains('\u{202e}'),
            "{shown}: {} bytes",
            text.len()
        );
    }
}

#[test]
fn nothing_is_lost_when_one_section_is_broken() {
    let loaded = in_memory(
        "version: one\nproject: Bad Name\nvms: { a: { tags: [A], power: on, after: [nobody] } }\npolicy: [x]\n",
    );
    let mut codes: Vec<&str> = loaded.report.iter().map(|one| one.code).collect();
    codes.sort_unstable();
    assert_eq!(
        codes,
        [
            "invalid-value",
            "invalid-value",
            "unknown-machine",
            "unknown-value",
            "wrong-type",
            "wrong-type"
        ]
    );
}

#[test]
fn the_root_is_the_nearest_folder_with_settings_and_may_be_named() {
    let root = tempfile::tempdir().expect("a folder");
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    let base = "version: 1\nproject: p\n";
    write("up.yaml", "pools: {}\n");
    write("site/novahost.yaml", &format!("{base}include: [../up.yaml]\n"));
    let site = root.path().join("site");
    let codes = |options: &Options| {
        let loaded = load(&site, options);
        loaded.report.iter().map(|one| one.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&Options::default()), ["outside-root"]);
    assert_eq!(codes(&Options { root: Some(root.path().to_owned()) }), Vec::<&str>::new());
    write(SETTINGS_NAME, "");
    let loaded = load(&site, &Options::default());
    let files = loaded.desired.expect("no errors").files;
    assert_eq!(files.into_keys().collect::<Vec<_>>(), ["site/novahost.yaml", "up.yaml"]);
    let elsewhere = tempfile::tempdir().expect("a folder");
    assert_eq!(codes(&Options { root: Some(elsewhere.path().to_owned()) }), ["unreadable-file"]);
    let absent = load(&root.path().join("nothing.yaml"), &Options::default());
    assert!(lines(&absent).contains("does not exist"));
}

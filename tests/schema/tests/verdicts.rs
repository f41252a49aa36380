//! The schema and the reader come from one table; here an independent validator holds them to the same verdicts.
//!
//! Two claims. What the schema refuses, the reader refuses: an editor never marks what works. What the
//! reader refuses for its shape (and not for what it refers to), the schema refuses: an editor marks it.

#![allow(clippy::expect_used, reason = "a test ends where something is not as expected")]

use jsonschema::Validator;
use novahost::config::{self, Loaded, schema::json_schema};
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Problems of shape alone, which a schema can express.
const OF_SHAPE: [&str; 6] =
    ["unknown-field", "not-supported-yet", "wrong-type", "unknown-value", "plain-secret", "empty"];

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFabR2Z19k0jBqCUFDH0r6DojBKOKvOU8EVP5gRjlRC deploy";

static SCHEMA: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::validator_for(&json_schema()).expect("the schema is a schema"));

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Loads a document from memory. JSON is YAML.
fn load(document: &Json) -> Loaded {
    let files = [("novahost.yaml", document.to_string()), ("keys/deploy.pub", format!("{KEY}\n"))];
    let files: BTreeMap<String, String> =
        files.into_iter().map(|(path, text)| (path.to_owned(), text)).collect();
    config::load_str(&files, "novahost.yaml")
}

/// Problems that stand in one file, as `code: message`.
fn problems(loaded: &Loaded, file: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let all = loaded.report.iter().filter(|one| wanted(one.code));
    let here = all.filter(|one| loaded.sources.path(one.primary.span.file) == file);
    here.map(|one| format!("{}: {}", one.code, one.message)).collect()
}

/// Holds both claims against one document.
fn one_verdict(document: &Json, loaded: &Loaded, file: &str) -> Result<(), TestCaseError> {
    let refusals: Vec<String> = SCHEMA
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    let shape = problems(loaded, file, |code| OF_SHAPE.contains(&code));
    prop_assert!(
        refusals.is_empty() || loaded.report.has_errors(),
        "only the schema refuses: {refusals:?}\n{document:#}"
    );
    prop_assert!(
        shape.is_empty() || !refusals.is_empty(),
        "only the reader refuses: {shape:?}\n{document:#}"
    );
    Ok(())
}

/// Fields of a machine with values that are fine together in any choice.
fn fine_fields() -> Vec<(&'static str, Vec<Json>)> {
    vec![
        ("name", vec![json!("Native-1.example.net")]),
        ("plan", vec![json!("small")]),
        (
            "disks",
            vec![
                json!({ "boot": { "size": "40GiB" } }),
                json!({ "data": { "size": "1 TiB", "bus": "scsi", "slot": 1, "storage": "fast", "on_remove": "delete" } }),
            ],
        ),
        (
            "nics",
            vec![
                json!({ "eth0": { "network": "web", "ip": "dhcp", "mac": "bc-24-11-00-00-01", "model": "e1000" } }),
                json!({ "eth0": { "network": "web", "ip": "10.20.0.7", "gateway": "none", "vlan": 7 } }),
                json!({ "eth0": { "network": "web", "ip": "10.20.0.7/24", "gateway": "10.20.0.9" } }),
            ],
        ),
        (
            "init",
            vec![
                json!({ "hostname": "web-1", "user": "deploy", "ssh_keys": ["file:keys/deploy.pub", KEY] }),
                json!({ "user": "deploy", "password": "secret:deploy", "dns": ["10.20.0.2", "2001:db8::2"] }),
                json!({ "domain": "example.net", "user": "a", "password": { "from": "env:PW", "version": 2 } }),
            ],
        ),
        ("firmware", vec![json!("bios"), json!("secure-boot")]),
        ("tpm", vec![json!(true)]),
        ("boot", vec![json!(["disk", "network", "cdrom"])]),
        ("cdrom", vec![json!("none"), json!("local:iso/debian-13.iso")]),
        ("power", vec![json!("running"), json!("once")]),
        ("autostart", vec![json!(true), json!({ "order": 3, "wait": "90s" }), json!({})]),
        ("protect", vec![json!(false)]),
        ("tags", vec![json!(["web", "a.b+c_d"])]),
        ("notes", vec![json!("Two\nlines")]),
        ("pool", vec![json!("acme")]),
        ("placement", vec![json!({ "node": "auto" }), json!({ "node": "pve1" })]),
        ("proxmox", vec![json!({ "vmid": 20001 }), json!({})]),
    ]
}

fn document(machine: &Map<String, Json>) -> Json {
    json!({
        "version": 1,
        "project": "verdicts",
        "hypervisors": { "pve": {
            "type": "proxmox",
            "endpoints": ["https://pve1.example.net:8006", "https://[2001:db8::1]:8006/"],
            "auth": { "token_id": "novahost@pve!ci", "token_secret": "env:PVE" },
            "tls": { "fingerprints": [format!("sha256:{}", "ab".repeat(32))] },
            "vmid_range": "20000-29999",
            "nodes": { "allow": ["pve1"], "maintenance": [] },
            "defaults": { "node": "pve1", "storage": "local-lvm" },
            "limits": { "reads": 8 },
        }, "vc": {
            "type": "vcenter",
            "endpoint": "https://vcenter.example.net",
            "auth": { "username": "novahost@vsphere.local", "password": "env:VC" },
            "tls": { "fingerprints": [format!("sha256:{}", "cd".repeat(32))] },
            "defaults": { "datacenter": "DC0", "cluster": "DC0_C0", "datastore": "LocalDS_0", "folder": "a/b" },
            "limits": { "writes": 2 },
        } },
        "networks": { "web": {
            "cidr": "10.20.0.0/24", "gateway": "10.20.0.1", "dns": ["10.20.0.2"], "search": ["example.net"],
            "reserved": ["10.20.0.60", "10.20.0.70-10.20.0.79"], "vlan": 20, "at": { "pve": { "bridge": "vmbr0" }, "vc": { "portgroup": "VM Network" } },
        } },
        "images": {
            "debian": { "os": "linux", "init": "cloud-init", "firmware": "uefi", "agent": true,
                        "at": { "pve": { "template": { "id": 9000, "name": "tpl" }, "clone": "full" },
                                "vc": { "template": "tpl", "clone": "linked", "snapshot": "base" } } },
            "installer": { "os": "bsd", "at": { "pve": { "iso": "local:iso/a.iso" }, "vc": { "iso": "[LocalDS_0] iso/a.iso" } } },
        },
        "plans": { "small": { "cpu": 2, "memory": "4GiB", "disk": "32GiB", "order": 1, "price": 2.5, "description": "S" } },
        "pools": { "acme": { "comment": "Acme", "at": { "pve": {}, "vc": { "folder": "Tenants/acme", "resource_pool": "acme" } } } },
        "profiles": { "base": { "hypervisor": "pve", "image": "debian", "tags": ["x"] } },
        "vms": {
            "one": machine,
            "on-vc": { "hypervisor": "vc", "image": "debian", "pool": "acme", "name": "On a vCenter",
                       "disks": { "data": { "size": "1GiB", "storage": "Fast disks (1)" } },
                       "nics": { "eth0": { "network": "web", "ip": "10.20.0.20" } },
                       "cdrom": "[LocalDS_0] iso/tools.iso", "placement": { "node": "DC0_C0" } },
            "many-{1..2}": { "profile": "base", "init": { "hostname": "many-{n}" },
                             "nics": { "eth0": { "network": "web", "ip": "10.20.0.11-10.20.0.12" } }, "after": ["one"] },
        },
        "policy": { "budgets": { "deletes": 1 }, "name_pattern": "^[A-Za-z]", "capacity": { "memory_headroom": "10%" } },
    })
}

/// A document that both accept.
fn fine() -> impl Strategy<Value = Json> {
    let fields = fine_fields();
    let choices = fields.iter().map(|(_, values)| 0..=values.len()).collect::<Vec<_>>();
    choices.prop_map(move |chosen| {
        let mut machine = Map::new();
        machine.insert("profile".to_owned(), json!("base"));
        for ((field, values), choice) in fields.iter().zip(chosen) {
            if let Some(value) = values.get(choice) {
                machine.insert((*field).to_owned(), value.clone());
            }
        }
        document(&machine)
    })
}

/// What one slip of a person does to a document.
#[derive(Debug, Clone)]
enum Slip {
    Replace(Json),
    Remove,
    Rename(String),
    Add(String, Json),
}

fn slip() -> impl Strategy<Value = Slip> {
    let value = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        (-5i64..100_000).prop_map(Json::from),
        Just(json!(1.5)),
        Just(json!([])),
        Just(json!({})),
        Just(json!(["x", 1])),
        Just(json!({ "x": 1 })),
        "[a-z0-9:./ -]{0,12}".prop_map(Json::from),
        prop::sample::select(vec![
            "",
            "auto",
            "dhcp",
            "none",
            "yes",
            "4G",
            "4096",
            "10.20.0.300",
            "10.20.0.0/33",
            "0755",
            "env:",
            "secret:x",
            "file:",
            "hunter2",
            "Web",
            "a_b",
            "-a",
            "https://x",
            "running",
            "uefi",
            "local:iso/",
            "[x] a",
            "a/b",
            "vcenter",
            "10%",
            "90s",
            "\u{7f}",
        ])
        .prop_map(Json::from),
    ];
    let key = prop_oneof![
        prop::sample::select(vec![
            "memory",
            "client",
            "ha",
            "users",
            "mtu",
            "ssd",
            "size",
            "ip",
            "at",
            "profile",
            "x",
            "bridge",
            "portgroup",
            "folder",
            "snapshot",
            "host",
            "token_id"
        ])
        .prop_map(str::to_owned),
        "[a-zA-Z_{}.-]{1,8}",
    ];
    prop_oneof![
        4 => value.clone().prop_map(Slip::Replace),
        2 => Just(Slip::Remove),
        1 => key.clone().prop_map(Slip::Rename),
        2 => (key, value).prop_map(|(key, value)| Slip::Add(key, value)),
    ]
}

/// Pointers to everything in a document.
fn pointers(node: &Json, at: &str, all: &mut Vec<String>) {
    let mut go = |key: &str, child: &Json| {
        let pointer = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        all.push(pointer.clone());
        pointers(child, &pointer, all);
    };
    match node {
        Json::Object(map) => map.iter().for_each(|(key, child)| go(key, child)),
        Json::Array(items) => {
            items.iter().enumerate().for_each(|(index, child)| go(&index.to_string(), child));
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn apply(mut document: Json, place: &prop::sample::Index, slip: Slip) -> Json {
    let mut all = Vec::new();
    pointers(&document, "", &mut all);
    let pointer = all[place.index(all.len())].clone();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
    let key = key.replace("~1", "/").replace("~0", "~");
    match slip {
        Slip::Replace(value) => *document.pointer_mut(&pointer).expect("it is there") = value,
        Slip::Add(new, value) => {
            if let Some(Json::Object(map)) = document.pointer_mut(&pointer) {
                map.insert(new, value);
            }
        }
        Slip::Remove | Slip::Rename(_) => match document.pointer_mut(parent) {
            Some(Json::Object(map)) => {
                let value = map.remove(&key);
                if let (Slip::Rename(new), Some(value)) = (slip, value) {
                    map.insert(new, value);
                }
            }
            Some(Json::Array(items)) => {
                items.remove(key.parse::<usize>().expect("an index"));
            }
            _ => {}
        },
    }
    document
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_fine_is_fine_to_both(document in fine()) {
        let refusals: Vec<String> = SCHEMA.iter_errors(&document).map(|error| error.to_string()).collect();
        prop_assert!(refusals.is_empty(), "{refusals:?}");
        let loaded = load(&document);
        prop_assert!(!loaded.report.has_errors(), "{:?}", problems(&loaded, "novahost.yaml", |_| true));
    }

    #[test]
    fn one_slip_gets_one_verdict(document in fine(), place in any::<prop::sample::Index>(), slip in slip()) {
        let document = apply(document, &place, slip);
        one_verdict(&document, &load(&document), "novahost.yaml")?;
    }
}

/// Every YAML file of the repository that is meant for novahost.
#[test]
fn files_get_one_verdict() {
    let mut seen = 0;
    for folder in ["", "examples", "examples/split", "fixtures/config", "fixtures/config/errors"] {
        let folder = repository().join(folder);
        for entry in fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("an entry").path();
            let text = fs::read_to_string(&path).unwrap_or_default();
            if path.extension().is_none_or(|end| end != "yaml") {
                continue;
            }
            // What no YAML reader takes has no verdict of a schema.
            let Ok(document) = serde_yaml::from_str::<Json>(&text) else { continue };
            let options = config::Options { root: Some(folder.clone()) };
            let loaded = config::load(&path, &options);
            let name = path.file_name().expect("a name").to_string_lossy();
            if let Err(error) = one_verdict(&document, &loaded, &name) {
                panic!("{}: {error}", path.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} files were found");
}

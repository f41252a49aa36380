//! One file, two products: the examples with their hypervisor turned into a vCenter, and
//! what then fits and what is refused.

use crate::scratch::{Scratch, repository};
use mock_servers::pve::Release;
use serde_yaml::{Mapping, Value};

/// Turns every cluster of a document into a vCenter, and native names into those of the
/// sandbox's vCenter. Nothing else is touched: what is said of machines stays.
pub fn as_vcenter(text: &str) -> String {
    let mut document: Value = serde_yaml::from_str(text).unwrap();
    let root = document.as_mapping_mut().unwrap();
    for (_, hypervisor) in entries(root, "hypervisors") {
        *hypervisor = turned(hypervisor);
    }
    for (_, network) in entries(root, "networks") {
        for (_, at) in entries(network.as_mapping_mut().unwrap(), "at") {
            let bridge = at["bridge"].as_str().unwrap();
            let group = if bridge == "vmbr0" { "VM Network" } else { "web" };
            *at = serde_yaml::from_str(&format!("{{ portgroup: {group} }}")).unwrap();
        }
    }
    for (_, image) in entries(root, "images") {
        for (_, at) in entries(image.as_mapping_mut().unwrap(), "at") {
            image_there(at.as_mapping_mut().unwrap());
        }
    }
    for (_, machine) in entries(root, "vms") {
        for (_, disk) in entries(machine.as_mapping_mut().unwrap(), "disks") {
            let disk = disk.as_mapping_mut().unwrap();
            if disk.get("storage").and_then(Value::as_str) == Some("local-zfs") {
                disk.insert("storage".into(), "local-lvm".into());
            }
        }
    }
    serde_yaml::to_string(&document).unwrap()
}

fn entries<'a>(
    of: &'a mut Mapping,
    key: &str,
) -> impl Iterator<Item = (&'a Value, &'a mut Value)> + use<'a> {
    of.get_mut(key).and_then(Value::as_mapping_mut).into_iter().flat_map(Mapping::iter_mut)
}

fn turned(hypervisor: &Value) -> Value {
    if hypervisor["type"].as_str() != Some("proxmox") {
        return hypervisor.clone();
    }
    let storage = hypervisor["defaults"]["storage"].as_str().unwrap();
    let storage = if storage == "local-zfs" { "local-lvm" } else { storage };
    let text = format!(
        "{{ type: vcenter, endpoint: 'https://127.0.0.1:8443', auth: {{ username: novahost@vsphere.local, password: env:NOVAHOST_VC_PASSWORD }}, defaults: {{ datacenter: DC0, cluster: DC0_C0, datastore: {storage}, folder: novahost }} }}"
    );
    serde_yaml::from_str(&text).unwrap()
}

fn image_there(at: &mut Mapping) {
    if let Some(name) = at.get("template").map(|it| it["name"].clone()) {
        at.insert("template".into(), name);
    }
    if at.get("clone").and_then(Value::as_str) == Some("linked") {
        at.insert("snapshot".into(), "base".into());
    }
    if let Some((storage, file)) =
        at.get("iso").and_then(Value::as_str).and_then(|it| it.split_once(':'))
    {
        let there = format!("[{storage}] {file}");
        at.insert("iso".into(), there.into());
    }
}

/// Who says that something does not fit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    /// Nobody has to: it is a native name.
    Nobody,
    /// `validate`: what the product never has.
    Validate,
    /// `plan`: what this hypervisor does not have.
    Plan,
}

/// Something of an example that does not fit: who says so in which words, and what has to
/// be written in its place.
type Unfit = (Says, &'static str, &'static str, &'static str);

/// Every example with what of it does not fit, in the order in which it is mended.
const EXAMPLES: [(&str, &[Unfit]); 8] = {
    use Says::{Nobody, Plan, Validate};
    [
        ("minimal.yaml", &[]),
        ("guest-init.yaml", &[]),
        ("adopt.yaml", &[(Nobody, "", "pve-paris/101", "pve-paris/vm-23")]),
        (
            "disks.yaml",
            &[
                (Validate, "vCenter has no virtio controllers", "bus: virtio, ", ""),
                (Plan, "stays as large as the template's", "clone: linked", "clone: full"),
            ],
        ),
        (
            "installer.yaml",
            &[
                (Validate, "a virtual TPM needs a key provider", "    tpm: true\n", ""),
                (
                    Validate,
                    "what a host starts by itself is a setting of the host",
                    "    autostart: { order: 1, wait: 1m }",
                    "   ",
                ),
            ],
        ),
        (
            "many-machines.yaml",
            &[(Validate, "a tag of vCenter belongs to a category", "    tags: [k8s]\n", "")],
        ),
        (
            "networks.yaml",
            &[
                (Validate, "a card has no VLAN of its own", ", vlan: 40", ""),
                (
                    Validate,
                    "the server refuses BC:24:11:00:00:01",
                    "BC:24:11:00:00:01",
                    "00:50:56:00:00:01",
                ),
            ],
        ),
        (
            "policy.yaml",
            &[(Validate, "a tag of vCenter belongs to a category", ", tags: [shop]", "")],
        ),
    ]
};

/// Those that name what only one product has, or that have tests of their own.
const OTHERS: [&str; 2] = ["cluster.yaml", "windows.yaml"];
/// Those that have a vCenter already.
const WITH_VCENTER: [&str; 2] = ["vcenter.yaml", "both.yaml"];

fn project(example: &str, yaml: &str) -> Scratch {
    let it = Scratch::empty(example, Release::V9_2).unrecorded();
    it.copy(&repository().join("examples/keys"), "keys");
    it.write("novahost.yaml", yaml);
    it
}

fn converges(it: &Scratch) {
    let text = it.read("novahost.yaml");
    it.run("validate").code(0);
    it.sandbox("plan").code(0);
    let ran = it.sandbox("apply --yes");
    assert_eq!(ran.code, 0, "{ran}\n{text}");
    // What is taken over is changed by the plan after it.
    if text.contains("adopt:") {
        it.applied();
    }
    it.settled();
}

#[test]
fn examples_run_on_a_vcenter_or_are_refused_with_a_reason() {
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for (file, unfit) in EXAMPLES {
        let mut text = std::fs::read_to_string(repository().join("examples").join(file)).unwrap();
        let it = project(file, &as_vcenter(&text));
        for (who, words, from, to) in unfit {
            let said = match who {
                Says::Nobody => String::new(),
                Says::Validate => it.run("validate").code(3).err,
                Says::Plan => {
                    it.run("validate").code(0);
                    it.sandbox("plan").out
                }
            };
            assert!(flat(&said).contains(words), "{file}: nobody says `{words}`\n{said}");
            assert!(text.contains(from), "{file} has no `{from}`");
            text = text.replace(from, to);
            it.write("novahost.yaml", &as_vcenter(&text));
        }
        converges(&it);
    }
}

#[test]
fn the_examples_with_a_vcenter_settle() {
    for file in WITH_VCENTER {
        let text = std::fs::read_to_string(repository().join("examples").join(file)).unwrap();
        converges(&project(file, &text));
    }
}

/// What a product does not have yet is refused where it stands, and never dropped.
#[test]
fn labels_are_refused_on_a_cluster_with_their_place() {
    let it = Scratch::with("labels-refused", crate::scratch::SMALL).unrecorded();
    it.edit("    tags: [web]\n", "    tags: [web]\n    labels: { tenant: acme }\n");
    let text = it.read("novahost.yaml");
    let line = text.lines().position(|it| it.contains("labels:")).unwrap() + 1;
    let ran = it.run("validate").code(3);
    ran.warns("`label.tenant` cannot be had on pve-paris")
        .warns("not supported yet")
        .warns(&format!("novahost.yaml:{line}"));
}

#[test]
fn no_example_is_left_out() {
    let listed = |file: &String| {
        OTHERS.contains(&file.as_str())
            || WITH_VCENTER.contains(&file.as_str())
            || EXAMPLES.iter().any(|it| it.0 == file)
    };
    let files = std::fs::read_dir(repository().join("examples")).unwrap();
    let left: Vec<String> = files
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .filter(|file| file.ends_with(".yaml") && !listed(file))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

//! The steps that a vCenter is asked for.
//!
//! One write sets everything of a machine, so `configure` has a column for each thing that
//! it may be for; in its text the marker's stage and the kind of the change are plain words.

use super::{Column, Story};
use std::collections::BTreeMap;

const POOLS: &str = "pools:\n  team: { at: { vc: { folder: team, resource_pool: team } } }\n  other: { at: { vc: { folder: other, resource_pool: other } } }\n";
const WEB: &str = "vms:\n  a:\n    hypervisor: vc\n    image: debian\n    resources: { cpu: 1, memory: 1GiB, disk: 12GiB }\n    nics: { eth0: { network: web, ip: 10.20.0.71 } }\n    init: { user: deploy, password: env:GUEST }\n    power: running\n    pool: team\n    disks: { data: { size: 2GiB, on_remove: delete } }\n";
const ISO: &str = "vms:\n  i:\n    hypervisor: vc\n    image: installer\n    plan: small\n    nics: { eth0: { network: web } }\n    boot: [cdrom, disk]\n    power: running\n";

pub(super) fn stories() -> BTreeMap<&'static str, Story> {
    let whole = format!("{POOLS}{WEB}");
    let story = Story::new;
    // Another kind of card is another card, and a boot order can only name what is there.
    let ordered = whole
        .replace("web, ip: 10.20.0.71", "web, model: e1000, ip: 10.20.0.71")
        .replace("power: running", "power: running\n    boot: [network, disk]");
    let changed = whole
        .replace("pool: team", "pool: other")
        .replace("power: running", "power: running\n    notes: Changed");
    let restarted = whole.replace("cpu: 1, memory: 1GiB", "cpu: 2, memory: 2GiB");
    let grown = whole
        .replace("size: 2GiB", "size: 4GiB")
        .replace("10.20.0.71 } }", "10.20.0.71 }, eth1: { network: back } }");
    let labelled = |labels: &str| {
        whole.replace("power: running", &format!("power: running\n    labels: {{ {labels} }}"))
    };
    let shrunk = whole.replace("    disks: { data: { size: 2GiB, on_remove: delete } }\n", "");
    let made =
        "pools:\n  own: { at: { vc: { folder: own, resource_pool: own } }, comment: Ours }\n"
            .to_owned();
    let kept = whole.replace(
        "power: running",
        "power: running\n    snapshots: { before_change: true, keep: 1 }",
    );
    let later = kept
        .replace("cpu: 1, memory: 1GiB", "cpu: 2, memory: 1GiB")
        .replace("power: running", "power: running\n    vcenter: { hardware_version: 20 }");
    let moved = whole
        .replace("size: 2GiB, on_remove: delete", "size: 2GiB, storage: local, on_remove: delete");
    let set_up = "vms:\n  a:\n    hypervisor: vc\n    image: plain\n    plan: small\n    nics: { eth0: { network: web, ip: 10.20.0.71 } }\n    init: { hostname: a, customization_spec: old-linux }\n    power: running\n"
        .to_owned();
    let two = format!("{whole}{}", WEB.replace("vms:\n  a:", "  b:").replace("0.71", "0.72"));
    let apart = two.replace("power: running", "power: running\n    placement: { spread: web }");
    [
        ("birth", story("", whole.clone(), &[])),
        ("ordered", story("", ordered, &[])),
        ("installer", story("", ISO.to_owned(), &[])),
        ("change", story(&whole, changed, &[])),
        ("restart", story(&whole, restarted, &[])),
        ("grow", story(&whole, grown, &[])),
        ("labels", story(&labelled("tenant: acme"), labelled("tenant: other, stage: night"), &[])),
        ("volume", story(&whole, shrunk, &[])),
        ("pool", story("", made.clone(), &[])),
        ("no-pool", story(&made, String::new(), &["pool/own"])),
        ("kept", story(&kept, later, &[])),
        ("setup", story("", set_up, &[])),
        ("moved", story(&whole, moved, &[])),
        ("apart", story(&two, apart, &[])),
        ("delete", story(&whole, POOLS.to_owned(), &["vm/a"])),
        ("hard", Story { stubborn: true, ..story(&whole, POOLS.to_owned(), &["vm/a"]) }),
    ]
    .into()
}

pub(super) fn columns() -> Vec<Column> {
    let column = Column::of;
    // Labels are calls of another interface, which has no tasks.
    let label = |name, call| Column { task: false, ..column(name, "labels", call, "") };
    let nobodys = |name, call| Column { guest: false, ..label(name, call) };
    let read = |name, call, with, after| Column::read(name, call, with, after);
    vec![
        column("clone", "birth", "clone", ""),
        column("create", "installer", "create", ""),
        column("hardware", "ordered", "configure", "stage=new"),
        column("ready", "birth", "configure", "stage=ready"),
        column("start", "birth", "start", ""),
        column("update", "change", "configure", "Changed"),
        column("set-pool", "change", "relocate", ""),
        column("grow", "grow", "configure", ""),
        nobodys("make-label", "make-label"),
        nobodys("make-value", "make-label-value"),
        label("unlabel", "unlabel"),
        label("label", "label"),
        // It only asks the guest: no task is begun.
        Column { task: false, ..column("shutdown", "restart", "shutdown", "") },
        column("restart", "restart", "start", ""),
        column("volume", "volume", "configure", "destroy"),
        nobodys("define-mark", "define-mark").of_story("pool"),
        nobodys("make-folder", "create-folder").of_story("pool"),
        nobodys("make-pool", "create-pool").of_story("pool"),
        nobodys("mark", "mark-part").of_story("pool"),
        Column { guest: false, ..column("no-folder", "no-pool", "delete-folder", "") },
        Column { guest: false, ..column("no-share", "no-pool", "delete-pool", "") },
        column("customize", "setup", "customize", ""),
        column("snapshot", "kept", "snapshot", ""),
        column("upgrade", "kept", "upgrade", ""),
        column("move-disks", "moved", "relocate", ""),
        Column { guest: false, ..column("apart", "apart", "change-rules", "") },
        column("deleting", "delete", "configure", "stage=deleting"),
        column("stop", "hard", "stop", ""),
        column("delete", "delete", "delete", ""),
        read("who", "read-other", "RetrieveServiceContent", 0),
        read("log-in", "log-in", "", 0),
        read("list", "list", "read the inventory", 0),
        read("list-later", "list", "list the machines", 0),
        read("rights", "read-other", "RetrieveAllPermissions", 0),
        read("find", "read-other", "FindAllByUuid", 0),
        read("read-config", "read-config", "", 0),
        read("config-later", "read-config", "", 3),
        Column { mutates: false, ..nobodys("read-labels", "read-labels") },
        read("read-task", "read-task", "", 0),
    ]
}

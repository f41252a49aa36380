//! The steps that Proxmox VE is asked for.

use super::{Column, Story};
use std::collections::BTreeMap;

const POOL: &str =
    "pools:\n  team: { comment: One, at: { pve: {} } }\n  other: { at: { pve: {} } }\n";
const WEB: &str = "vms:\n  a:\n    hypervisor: pve\n    image: debian\n    resources: { cpu: 1, memory: 1GiB, disk: 12GiB }\n    nics: { eth0: { network: web, ip: 10.20.0.71 } }\n    init: { user: deploy, password: env:GUEST }\n    power: running\n    pool: team\n    disks: { data: { size: 2GiB, on_remove: delete } }\n";
const ISO: &str = "vms:\n  i:\n    hypervisor: pve\n    image: installer\n    plan: small\n    nics: { eth0: { network: web } }\n    power: running\n";

pub(super) fn stories() -> BTreeMap<&'static str, Story> {
    let whole = format!("{POOL}{WEB}");
    let story = Story::new;
    let changed = whole
        .replace("comment: One", "comment: Two")
        .replace("pool: team", "pool: other")
        .replace("power: running", "power: running\n    tags: [new]");
    let restarted = whole.replace("cpu: 1, memory: 1GiB", "cpu: 2, memory: 2GiB");
    let shrunk = whole.replace("    disks: { data: { size: 2GiB, on_remove: delete } }\n", "");
    [
        ("birth", story("", whole.clone(), &[])),
        ("installer", story("", ISO.to_owned(), &[])),
        ("change", story(&whole, changed, &[])),
        ("restart", story(&whole, restarted, &[])),
        ("delete", story(&whole, POOL.to_owned(), &["vm/a"])),
        ("hard", Story { stubborn: true, ..story(&whole, POOL.to_owned(), &["vm/a"]) }),
        ("volume", story(&whole, shrunk, &[])),
        ("no-pool", story(POOL, String::new(), &["pool/team", "pool/other"])),
    ]
    .into()
}

pub(super) fn columns() -> Vec<Column> {
    let column = Column::of;
    let pool = |name, story, call: &str, with: &str| Column {
        task: false,
        guest: false,
        ..column(name, story, call, with)
    };
    let read = |name, call, after| Column::read(name, call, "", after);
    vec![
        pool("create-pool", "birth", "create-pool", ""),
        column("clone", "birth", "clone", ""),
        column("create", "installer", "create", ""),
        column("configure", "birth", "configure", "stage=new"),
        column("resize", "birth", "resize", ""),
        column("ready", "birth", "configure", "stage=ready"),
        column("start", "birth", "start", ""),
        column("update", "change", "configure", "tags"),
        Column { guest: true, ..pool("set-pool", "change", "change-pool", "vms") },
        pool("comment", "change", "change-pool", "comment"),
        column("shutdown", "restart", "shutdown", ""),
        column("restart", "restart", "start", ""),
        column("volume", "volume", "configure", "delete="),
        column("deleting", "delete", "configure", "stage=deleting"),
        column("stop", "hard", "stop", ""),
        column("delete", "delete", "delete", ""),
        pool("delete-pool", "no-pool", "delete-pool", ""),
        read("list", "list", 0),
        read("list-later", "list", 1),
        read("read-config", "read-config", 0),
        read("config-later", "read-config", 6),
        read("read-power", "read-power", 0),
        read("read-task", "read-task", 0),
        read("next-id", "next-id", 0),
        read("pools", "list-pools", 0),
        read("quorum", "cluster-status", 0),
        read("rights", "read-permissions", 0),
    ]
}

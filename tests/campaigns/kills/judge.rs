//! What must be true after every kill, and what at the end. Reads the cluster's own
//! truth; of the program's words only those that are held against it.

use super::{
    lab::{Lab, Ran},
    scenario::Scenario,
};
use mock_servers::pve::{World, world::Guest};
use rusqlite::{Connection, OpenFlags};
use std::collections::{BTreeMap, BTreeSet};

const PROJECT: &str = "project=kills";
/// Guests of other people and templates in the first world.
const OTHERS: [u32; 7] = [101, 102, 200, 9000, 9001, 9002, 20500];

/// Other people's guests, volumes and pools, as text; byte for byte the same for ever.
pub fn others(world: &World) -> Vec<String> {
    let mut lines = Vec::new();
    for id in OTHERS {
        let mut guest = serde_json::to_value(world.guests.get(&id)).unwrap();
        if let Some(guest) = guest.as_object_mut() {
            // What a node broadcasts moves by itself.
            guest.remove("statistics");
        }
        lines.push(format!("guest {id}: {guest}"));
    }
    for (name, volume) in world.volumes.iter().filter(|(_, it)| OTHERS.contains(&it.vmid)) {
        lines.push(format!("volume {name}: {volume:?}"));
    }
    lines.push(format!("pool {:?}", world.pools.get("shared-infra")));
    for (name, storage) in &world.storages {
        lines.push(format!("storage {name}: {storage:?}"));
    }
    lines
}

/// One word of a marker of this project in some text.
fn marked<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let line = text.lines().rev().find(|it| it.starts_with("novahost/1 "))?;
    let mut words = line.split_whitespace();
    words.clone().find(|it| *it == PROJECT)?;
    words.find_map(|it| it.strip_prefix(word)?.strip_prefix('='))
}

fn word<'g>(guest: &'g Guest, name: &str) -> Option<&'g str> {
    marked(guest.config.get("description")?, name)
}

fn ours(world: &World) -> impl Iterator<Item = (u32, &Guest)> {
    world.guests.iter().map(|(id, guest)| (*id, guest)).filter(|(id, _)| !OTHERS.contains(id))
}

/// What must be true at any time.
pub fn always(lab: &Lab, before: &[String], wrong: &mut Vec<String>) {
    wrong.append(&mut lab.accusations());
    wrong.append(&mut lab.oracle.violations());
    lab.control.inspect(|world| {
        let now = others(world);
        for (was, is) in before.iter().zip(&now).filter(|(was, is)| was != is) {
            wrong.push(format!("of other people: {was}\n  is now {is}"));
        }
        if before.len() != now.len() {
            wrong.push("something of other people came or went".to_owned());
        }
        let mut keys: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (id, guest) in ours(world) {
            if let Some(key) = word(guest, "key") {
                keys.entry(key).or_default().push(id);
            }
            started_rightly(id, guest, wrong);
        }
        for (key, ids) in keys.iter().filter(|(_, ids)| ids.len() > 1) {
            wrong.push(format!("{key} is there more than once: {ids:?}"));
        }
    });
}

fn started_rightly(id: u32, guest: &Guest, wrong: &mut Vec<String>) {
    let cloud_init = guest.config.values().any(|it| it.contains("cloudinit"));
    for boot in &guest.boots {
        let stage = boot.notes.as_deref().and_then(|it| marked(it, "stage"));
        if stage != Some("ready") {
            wrong.push(format!("{id} was started at stage {stage:?}"));
        }
        if cloud_init && (!boot.had_seed || boot.addresses.is_empty()) {
            wrong.push(format!("{id} was started before its cloud-init: {boot:?}"));
        }
    }
}

/// What must be true once it is all over.
pub fn end(lab: &Lab, scenario: &Scenario, wrong: &mut Vec<String>) {
    lab.quiet();
    lab.oracle.at_rest();
    wrong.append(&mut lab.oracle.violations());
    lab.control.inspect(|world| {
        let wanted: BTreeSet<&str> = scenario.ends.iter().map(|it| it.key).collect();
        for (id, guest) in ours(world) {
            match word(guest, "key") {
                None => wrong.push(format!("{id} is an orphan without a marker")),
                Some(key) if !wanted.contains(key) => {
                    wrong.push(format!("{id} is a left-over {key}"));
                }
                Some(_) => {}
            }
        }
        for it in scenario.ends {
            let Some((id, guest)) =
                ours(world).find(|(_, guest)| word(guest, "key") == Some(it.key))
            else {
                wrong.push(format!("{} is not there", it.key));
                continue;
            };
            if guest.boots.len() != it.boots || !guest.running {
                let (boots, running) = (guest.boots.len(), guest.running);
                wrong.push(format!("{} has {boots} starts, running {running}", it.key));
            }
            for (option, value) in it.holds {
                if guest.get(option) != Some(value) {
                    wrong.push(format!("{}: {option} is {:?}", it.key, guest.get(option)));
                }
            }
            let volumes: Vec<&String> = world
                .volumes
                .iter()
                .filter(|(_, it)| it.vmid == id)
                .map(|(name, _)| name)
                .collect();
            if volumes.len() != it.volumes {
                wrong.push(format!("{} has volumes {volumes:?}", it.key));
            }
        }
        for (name, volume) in &world.volumes {
            if !world.guests.contains_key(&volume.vmid) {
                wrong.push(format!("volume {name} is an orphan"));
            }
        }
        let pools: Vec<&str> =
            world.pools.keys().map(String::as_str).filter(|it| *it != "shared-infra").collect();
        if pools != scenario.pools {
            wrong.push(format!("the pools are {pools:?}"));
        }
    });
    wrong.append(&mut lab.leaks());
}

/// A step of the journal.
#[derive(Debug)]
pub struct Step {
    op: String,
    native: String,
    outcome: Option<String>,
}

/// Steps by row.
pub fn steps(lab: &Lab) -> BTreeMap<i64, Step> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let Ok(conn) = Connection::open_with_flags(lab.journal(), flags) else {
        return BTreeMap::new();
    };
    let Ok(mut statement) = conn.prepare("SELECT id, op, native_id, outcome FROM steps") else {
        // Killed before the tables were made.
        return BTreeMap::new();
    };
    let read = |row: &rusqlite::Row<'_>| {
        Ok((row.get(0)?, Step { op: row.get(1)?, native: row.get(2)?, outcome: row.get(3)? }))
    };
    statement.query_map([], read).unwrap().map(Result::unwrap).collect()
}

fn is_open(step: &Step) -> bool {
    matches!(step.outcome.as_deref(), None | Some("unknown"))
}

/// Whether `runs resume` told the truth.
pub fn resumed(lab: &Lab, before: &BTreeMap<i64, Step>, ran: &Ran, wrong: &mut Vec<String>) {
    let after = steps(lab);
    let open = after.values().filter(|it| is_open(it)).count();
    let said = ran.out.trim_end().lines().last().unwrap_or_default();
    let true_words = match (open, before.values().any(is_open)) {
        (0, false) => ran.code == Some(0) && said == "Nothing is open.",
        (0, true) => ran.code == Some(0) && said.starts_with("All is known."),
        (_, _) => ran.code == Some(10) && said.contains("cannot be told yet"),
    };
    if !true_words {
        wrong.push(format!("{open} calls are open, and this is said: {ran}"));
    }
    lab.quiet();
    lab.control.inspect(|world| {
        for (row, was) in before.iter().filter(|(_, it)| is_open(it)) {
            let Some(is) = after.get(row).filter(|it| !is_open(it)) else { continue };
            if let Some(false) = is_true(world, &after, is) {
                wrong.push(format!("`{was:?}` was looked up as {:?}, which is not so", is.outcome));
            }
        }
    });
}

/// Whether the world shows what a row claims; `None` where it cannot be seen now.
fn is_true(world: &World, steps: &BTreeMap<i64, Step>, step: &Step) -> Option<bool> {
    let happened = step.outcome.as_deref() == Some("done");
    let guest = step.native.parse::<u32>().ok().and_then(|id| world.guests.get(&id));
    let undone = |op: &str| steps.values().any(|it| it.op == op && it.native == step.native);
    match step.op.as_str() {
        "clone" | "create" if !undone("delete") => Some(guest.is_some() == happened),
        "delete" => Some(guest.is_none() == happened),
        "start" if !undone("shutdown") && !undone("stop") => {
            Some(guest.is_some_and(|it| it.running) == happened)
        }
        "create-pool" => Some(world.pools.contains_key(&step.native) == happened),
        "delete-pool" => Some(world.pools.contains_key(&step.native) != happened),
        _ => None,
    }
}

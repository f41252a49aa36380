//! What must be true after every kill, and what at the end. Reads the cluster's own
//! truth; of the program's words only those that are held against it.

mod pve;
mod vcenter;

use super::{
    Prepared,
    lab::{Lab, Ran},
};
use crate::stage::World;
use rusqlite::{Connection, OpenFlags};
use std::collections::{BTreeMap, BTreeSet};

const PROJECT: &str = "project=kills";

/// One machine that was not there at first.
pub struct Machine {
    pub id: String,
    pub name: String,
    /// The key in its mark, if that is of this project.
    pub key: Option<String>,
    pub running: bool,
    /// How often it was started.
    pub boots: usize,
    /// What was wrong with its starts.
    pub wrong: Vec<String>,
    /// Options of its configuration, by the product's names.
    pub options: BTreeMap<String, String>,
    /// Its volumes.
    pub volumes: Vec<String>,
}

/// What came to a world since its beginning.
pub struct Seen {
    pub machines: Vec<Machine>,
    /// What of the pools of this project is there, and what keeps its machines apart.
    pub pools: Vec<String>,
    /// Parts of pools that bear no mark, by what they would be with one.
    pub unmarked: Vec<String>,
    /// Volumes without their machine, and other things that nobody asked for.
    pub orphans: Vec<String>,
}

/// The same of any product.
fn seen(lab: &Lab, first: &World) -> Seen {
    match (lab.stage.world(), first) {
        (World::Pve(world), World::Pve(first)) => pve::seen(&world, first),
        (World::Vcenter(world), World::Vcenter(first)) => vcenter::seen(&world, first),
        (World::Pve(_) | World::Vcenter(_), _) => panic!("worlds of two products"),
    }
}

/// Other people's things, as text; byte for byte the same for ever.
pub fn others(world: &World, first: &World) -> Vec<String> {
    match (world, first) {
        (World::Pve(world), World::Pve(first)) => pve::others(world, first),
        (World::Vcenter(world), World::Vcenter(first)) => vcenter::others(world, first),
        (World::Pve(_) | World::Vcenter(_), _) => panic!("worlds of two products"),
    }
}

/// One word of a marker of this project in some text.
fn marked<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let line = text.lines().rev().find(|it| it.starts_with("novahost/1 "))?;
    let mut words = line.split_whitespace();
    words.clone().find(|it| *it == PROJECT)?;
    words.find_map(|it| it.strip_prefix(word)?.strip_prefix('='))
}

/// What must be true at any time.
pub fn always(lab: &Lab, prepared: &Prepared, wrong: &mut Vec<String>) {
    wrong.append(&mut lab.accusations());
    wrong.append(&mut lab.oracle.violations());
    let now = others(&lab.stage.world(), &prepared.first);
    for (was, is) in prepared.others.iter().zip(&now).filter(|(was, is)| was != is) {
        wrong.push(format!("of other people: {was}\n  is now {is}"));
    }
    if prepared.others.len() != now.len() {
        wrong.push("something of other people came or went".to_owned());
    }
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for machine in seen(lab, &prepared.first).machines {
        wrong.extend(machine.wrong);
        if let Some(key) = machine.key {
            keys.entry(key).or_default().push(machine.id);
        }
    }
    for (key, ids) in keys.iter().filter(|(_, ids)| ids.len() > 1) {
        wrong.push(format!("{key} is there more than once: {ids:?}"));
    }
}

/// What must be true once it is all over.
pub fn end(lab: &Lab, prepared: &Prepared, wrong: &mut Vec<String>) {
    lab.quiet();
    lab.oracle.at_rest();
    wrong.append(&mut lab.oracle.violations());
    let scenario = prepared.scenario;
    let seen = seen(lab, &prepared.first);
    let wanted: BTreeSet<&str> = scenario.ends.iter().map(|it| it.key).collect();
    for Machine { id, key, .. } in &seen.machines {
        match key.as_deref() {
            None => wrong.push(format!("{id} is an orphan without a marker")),
            Some(key) if !wanted.contains(key) => {
                wrong.push(format!("{id} is a left-over {key}"));
            }
            Some(_) => {}
        }
    }
    for it in scenario.ends {
        let Some(machine) = seen.machines.iter().find(|one| one.key.as_deref() == Some(it.key))
        else {
            wrong.push(format!("{} is not there", it.key));
            continue;
        };
        if machine.boots != it.boots || !machine.running {
            let (boots, running) = (machine.boots, machine.running);
            wrong.push(format!("{} has {boots} starts, running {running}", it.key));
        }
        for (option, value) in it.holds {
            let is = machine.options.get(*option);
            if is.is_none_or(|is| is != value) {
                wrong.push(format!("{}: {option} is {is:?}", it.key));
            }
        }
        if machine.volumes.len() != it.volumes {
            wrong.push(format!("{} has volumes {:?}", it.key, machine.volumes));
        }
    }
    wrong.extend(seen.orphans.iter().map(|it| format!("{it} is an orphan")));
    // Where a part cannot be born with its mark, one whose maker died in between is nobody's
    // for ever, which is safe; and only such a one is.
    let steps = steps(lab);
    let parts =
        |op: &'static str| steps.values().filter(move |it| it.op == op && !it.is_definition);
    let done = |it: &&Step| it.outcome.as_deref() == Some("done");
    let made = parts("make-part").filter(|it| done(it) || is_open(it)).count();
    if seen.unmarked.len() > made.saturating_sub(parts("mark-part").filter(done).count()) {
        wrong.push(format!("{:?} bear no mark: {steps:?}", seen.unmarked));
    }
    let mut pools = [seen.pools.clone(), seen.unmarked.clone()].concat();
    pools.sort();
    if pools != scenario.pools {
        wrong.push(format!("the pools are {pools:?}"));
    }
    wrong.append(&mut lab.leaks());
}

/// A step of the journal.
#[derive(Debug)]
pub struct Step {
    key: String,
    op: String,
    native: String,
    outcome: Option<String>,
    /// It makes what marks are written into, and no part.
    is_definition: bool,
}

/// Steps by row.
pub fn steps(lab: &Lab) -> BTreeMap<i64, Step> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let Ok(conn) = Connection::open_with_flags(lab.journal(), flags) else {
        return BTreeMap::new();
    };
    // A birth whose id the product chooses has a name in its place.
    let sql = "SELECT id, key, op,
         coalesce(nullif(native_id, ''), json_extract(intent, '$.target.birth.name'), ''), outcome,
         intent LIKE '%mark:novahost%'
         FROM steps";
    let Ok(mut statement) = conn.prepare(sql) else {
        // Killed before the tables were made.
        return BTreeMap::new();
    };
    let read = |row: &rusqlite::Row<'_>| {
        let (key, op) = (row.get(1)?, row.get(2)?);
        Ok((
            row.get(0)?,
            Step { key, op, native: row.get(3)?, outcome: row.get(4)?, is_definition: row.get(5)? },
        ))
    };
    statement.query_map([], read).unwrap().map(Result::unwrap).collect()
}

fn is_open(step: &Step) -> bool {
    matches!(step.outcome.as_deref(), None | Some("unknown"))
}

/// Whether `runs resume` told the truth.
pub fn resumed(
    (lab, first): (&Lab, &World),
    before: &BTreeMap<i64, Step>,
    ran: &Ran,
    wrong: &mut Vec<String>,
) {
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
    let seen = seen(lab, first);
    for (row, was) in before.iter().filter(|(_, it)| is_open(it)) {
        let Some(is) = after.get(row).filter(|it| !is_open(it)) else { continue };
        if let Some(false) = is_true(&seen, &after, (*row, is)) {
            wrong.push(format!("`{was:?}` was looked up as {:?}, which is not so", is.outcome));
        }
    }
}

/// Whether the world shows what a row claims; `None` where it cannot be seen now.
fn is_true(seen: &Seen, steps: &BTreeMap<i64, Step>, (row, step): (i64, &Step)) -> Option<bool> {
    let happened = step.outcome.as_deref() == Some("done");
    let machine = seen.machines.iter().find(|it| it.id == step.native || it.name == step.native);
    let same = |it: &Step| match machine {
        Some(machine) => it.native == machine.id || it.native == machine.name,
        // What is gone has lost its other name; its key is left.
        None => it.native == step.native || it.key == step.key,
    };
    // Only what was sent later can have undone it.
    let later = || steps.range(row + 1..).map(|(_, it)| it);
    let undone = |op: &str| later().any(|it| it.op == op && same(it));
    match step.op.as_str() {
        "clone" | "create" if !undone("delete") => Some(machine.is_some() == happened),
        "delete" => Some(machine.is_none() == happened),
        "start" if !undone("shutdown") && !undone("stop") => {
            Some(machine.is_some_and(|it| it.running) == happened)
        }
        "create-pool" => Some(seen.pools.contains(&step.native) == happened),
        "delete-pool" => Some(seen.pools.contains(&step.native) != happened),
        _ => None,
    }
}

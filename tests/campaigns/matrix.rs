//! Every fault at every step: the table `matrix.txt` says how each cell ends.
//!
//! A cell is one cluster, one configuration that needs the step, and one fault that strikes
//! at it. It counts only when the simulator confirms that the fault struck there. Letters:
//! `c` the run that met the fault converged; `n` it said that it did not, and the next run
//! converged; `p` other people's deed stands in the way, and is named; `-` the fault
//! cannot strike there. Two letters: either, as the fault comes early or late.
//!
//! `NOVAHOST_GOLDEN=write` writes the table; `NOVAHOST_CAMPAIGN_CELL=row/column` runs one.

use crate::{
    faults::{brings_strangers, lasts, of_people, of_tasks, of_the_network},
    lab::{Lab, Prepared},
    page,
    stage::{Fault, Product},
};
use mock_servers::harness::{FaultPlan, Rule, Where};
use novahost::apply::ExitClass;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::PathBuf,
    sync::Arc,
};
use tokio::task::JoinSet;

/// Cells at a time.
const AT_ONCE: usize = 6;
/// Runs without faults after which a cell must have come to its end.
const QUIET_RUNS: usize = 3;

const POOL: &str =
    "pools:\n  team: { comment: One, at: { pve: {} } }\n  other: { at: { pve: {} } }\n";
const WEB: &str = "vms:\n  a:\n    hypervisor: pve\n    image: debian\n    resources: { cpu: 1, memory: 1GiB, disk: 12GiB }\n    nics: { eth0: { network: web, ip: 10.20.0.71 } }\n    init: { user: deploy, password: env:GUEST }\n    power: running\n    pool: team\n    disks: { data: { size: 2GiB, on_remove: delete } }\n";
const ISO: &str = "vms:\n  i:\n    hypervisor: pve\n    image: installer\n    plan: small\n    nics: { eth0: { network: web } }\n    power: running\n";

/// What is there, what is asked for, and what that may delete.
struct Story {
    before: String,
    after: String,
    may_delete: &'static [&'static str],
    /// The guest does not go down when it is asked to.
    stubborn: bool,
}

/// A step of a story that a fault can strike at.
struct Column {
    name: &'static str,
    story: &'static str,
    at: Where,
    after: u64,
    /// Begins a task.
    task: bool,
    /// Is about a guest.
    guest: bool,
    mutates: bool,
}

fn stories() -> BTreeMap<&'static str, Story> {
    let whole = format!("{POOL}{WEB}");
    let story = |before: &str, after: String, may_delete| Story {
        before: before.to_owned(),
        after,
        may_delete,
        stubborn: false,
    };
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

fn columns() -> Vec<Column> {
    let column = |name, story, call: &str, with: &str| Column {
        name,
        story,
        at: Where { call: call.into(), with: with.into(), object: String::new() },
        after: 0,
        task: true,
        guest: true,
        mutates: true,
    };
    let pool = |name, story, call: &str, with: &str| Column {
        task: false,
        guest: false,
        ..column(name, story, call, with)
    };
    let read = |name, call: &str, after| Column {
        after,
        task: false,
        guest: false,
        mutates: false,
        ..column(name, "birth", call, "")
    };
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

/// Every fault, and whether people do it.
fn rows(product: Product) -> Vec<(String, Fault, &'static str)> {
    let kind = |kind| move |(name, fault): (String, Fault)| (name, fault, kind);
    let network = of_the_network(product).into_iter().map(kind("network"));
    let tasks = of_tasks(product).into_iter().map(kind("task"));
    network.chain(tasks).chain(of_people(product).into_iter().map(kind("people"))).collect()
}

/// Whether a fault is of the task that a request begins, and not of the request.
fn strikes_tasks(name: &str) -> bool {
    name.starts_with("task-") || name == "no-worker"
}

/// Whether a fault can strike at a step at all.
fn applies(name: &str, kind: &str, column: &Column) -> bool {
    match kind {
        // Only lists have an earlier answer.
        "network" if name == "stale-list" => column.name == "list-later",
        // An answer that comes late or ends a session says nothing of effects.
        "network" => true,
        "task" if !strikes_tasks(name) => column.mutates && column.guest,
        "task" => column.task,
        _ => column.mutates && column.guest,
    }
}

/// What is there before a story, made once.
async fn prepare(product: Product, story: &Story) -> Prepared {
    let lab = Lab::start(product, 4).await;
    let runner = lab.runner(0, 4).await;
    if !story.before.is_empty() {
        let applied = lab.apply(&runner, &story.before).await;
        if applied.exit != ExitClass::Ok {
            let (words, summary) = (&applied.words, &applied.summary);
            lab.oracle.blame(format!("before any fault: {words:?} {summary:?}"));
        }
    }
    if story.stubborn {
        lab.stage.guests_are_stubborn();
    }
    let wrong = lab.oracle.violations();
    // A planted bug may show as early as here; that is told with the cell.
    lab.keep(runner, wrong).await
}

/// One cell: its letter, or what is wrong.
async fn cell(
    prepared: &Prepared,
    story: &Story,
    column: &Column,
    name: &str,
    fault: Fault,
) -> Result<char, String> {
    if let Some(wrong) = prepared.wrong.first() {
        return Err(wrong.clone());
    }
    let lab = Lab::resume(prepared).await;
    let runner = lab.resumed_runner(prepared, name == "session-ended").await;
    lab.may_delete(story.may_delete.iter().map(|it| (*it).to_owned()));
    let rule =
        Rule { name: name.to_owned(), at: column.at.clone(), after: column.after, times: 1, fault };
    lab.plant(FaultPlan::new(vec![rule], None));
    lab.arm(true);
    let first = lab.apply(&runner, &story.after).await;
    lab.arm(false);
    let fired = lab.fired();
    let struck = fired.iter().any(|it| it.call == column.at.call);
    let mut rest = lab.rest(&runner, &story.after).await;
    let clean = |rest: &crate::lab::Rest| rest.actions.is_empty() && rest.blocked.is_empty();
    let mut letter = if first.exit == ExitClass::Ok && clean(&rest) { 'c' } else { 'n' };
    if first.exit == ExitClass::Ok && !clean(&rest) && lab.oracle.disturbed().is_empty() {
        lab.oracle.blame(format!("exit 0, and still to do: {:?} {:?}", rest.actions, rest.words));
    }
    // While what people did lasts, somebody tries again.
    if lasts(name) {
        lab.apply(&runner, &story.after).await;
    }
    lab.heal();
    let mut last = first;
    for _ in 0..QUIET_RUNS {
        if clean(&rest) {
            break;
        }
        last = lab.apply(&runner, &story.after).await;
        rest = lab.rest(&runner, &story.after).await;
    }
    if !clean(&rest) {
        letter = 'p';
        let people =
            !lab.oracle.disturbed().is_empty() || fired.iter().any(|it| brings_strangers(&it.rule));
        // A copy beside a half-made machine: the run ends with 10 and says which.
        let told = !rest.blocked.is_empty() || last.exit == ExitClass::Unknown;
        if !people || !told {
            lab.oracle.blame(format!(
                "does not converge: {:?} {:?} {:?}",
                rest.actions, rest.words, last.summary
            ));
        }
    }
    lab.oracle.at_rest();
    let oracle = lab.oracle.clone();
    lab.stop(vec![runner]).await;
    let violations = oracle.violations();
    if !struck {
        return Err(format!("{name} never struck at {}: it struck {fired:?}", column.name));
    }
    if violations.is_empty() { Ok(letter) } else { Err(violations.join("\n    ")) }
}

/// One cell by its names: what is wrong with it, if anything.
pub async fn one(product: Product, row: &str, column: &str) -> Option<String> {
    let (stories, columns) = (stories(), columns());
    let (_, fault, _) = rows(product).into_iter().find(|(name, ..)| name == row).unwrap();
    let column = columns.iter().find(|it| it.name == column).unwrap();
    let story = &stories[column.story];
    let prepared = prepare(product, story).await;
    cell(&prepared, story, column, row, fault).await.err()
}

fn path(product: Product) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/campaigns/{}.txt", product.file("matrix")))
}

/// The table of the repository: row, column, letters.
fn expected(product: Product) -> BTreeMap<(String, String), String> {
    let text = std::fs::read_to_string(path(product)).unwrap_or_default();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<&str> = lines.next().unwrap_or("").split_whitespace().collect();
    let mut cells = BTreeMap::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let Some(row) = words.next() else { continue };
        for (column, letters) in names.iter().zip(words) {
            cells.insert((row.to_owned(), (*column).to_owned()), letters.to_owned());
        }
    }
    cells
}

fn table(product: Product, found: &BTreeMap<(String, String), String>) -> String {
    let columns = columns();
    let mut text = String::from(
        "# How each fault (rows) at each step (columns) ends; `matrix.rs` says what the letters mean.\n",
    );
    let _ = write!(text, "{:18}", "");
    for column in &columns {
        let _ = write!(text, " {}", column.name);
    }
    for (row, ..) in rows(product) {
        let _ = write!(text, "\n{row:18}");
        for column in &columns {
            let key = (row.clone(), column.name.to_owned());
            let letters = found.get(&key).map_or("?", String::as_str);
            let _ = write!(text, " {letters:width$}", width = column.name.len());
        }
        let end = text.trim_end().len();
        text.truncate(end);
    }
    text.push('\n');
    text
}

#[test]
fn every_fault_at_every_step_ends_as_the_table_says() {
    all(Product::Pve);
}

fn all(product: Product) {
    let _guard = crate::without_bugs();
    let runtime = crate::runtime();
    let mut found = BTreeMap::new();
    let mut problems = Vec::new();
    let only = std::env::var("NOVAHOST_CAMPAIGN_CELL").ok();
    let begun: u64 = runtime.block_on(async {
        let stories = Arc::new(stories());
        let mut prepared = BTreeMap::new();
        for (name, story) in stories.iter() {
            prepared.insert(*name, prepare(product, story).await);
        }
        let (prepared, columns) = (Arc::new(prepared), Arc::new(columns()));
        let mut waiting = Vec::new();
        for (row, fault, kind) in rows(product) {
            for (index, column) in columns.iter().enumerate() {
                let key = (row.clone(), column.name.to_owned());
                if !applies(&row, kind, column) {
                    found.insert(key, "-".to_owned());
                } else if only.as_ref().is_none_or(|it| *it == format!("{row}/{}", column.name)) {
                    waiting.push((row.clone(), fault.clone(), index));
                }
            }
        }
        let count = waiting.len() as u64;
        let mut running = JoinSet::new();
        loop {
            while running.len() < AT_ONCE {
                let Some((row, fault, index)) = waiting.pop() else { break };
                let (stories, prepared, columns) =
                    (Arc::clone(&stories), Arc::clone(&prepared), Arc::clone(&columns));
                running.spawn(async move {
                    let column = &columns[index];
                    let (story, before) = (&stories[column.story], &prepared[column.story]);
                    let ended = cell(before, story, column, &row, fault).await;
                    (row, column.name, ended)
                });
            }
            let Some(done) = running.join_next().await else { return count };
            let (row, column, ended) = done.unwrap();
            match ended {
                Ok(letter) => drop(found.insert((row, column.to_owned()), letter.to_string())),
                Err(why) => problems.push(format!("{row} at {column}:\n    {why}")),
            }
        }
    });
    let table_before = expected(product);
    if std::env::var("NOVAHOST_GOLDEN").is_ok_and(|it| it == "write") {
        for (key, letters) in &mut found {
            // Both ends have been seen: the table keeps both.
            let old = table_before.get(key).map_or("", String::as_str);
            let all: BTreeSet<char> = old.chars().chain(letters.chars()).collect();
            *letters = all.into_iter().filter(|it| *it != '?').collect();
        }
        std::fs::write(path(product), table(product, &found)).unwrap();
    } else if only.is_none() {
        for (key, letters) in &found {
            let wanted = table_before.get(key).map_or("", String::as_str);
            // On a busy machine a run may give up where it else would have waited it out, or
            // the other way round: whether a person is needed does not depend on that.
            let converges = |it: &str| it.contains(['c', 'n']);
            let same =
                wanted.contains(letters.as_str()) || (converges(wanted) && converges(letters));
            if wanted.is_empty() || !same {
                problems.push(format!(
                    "{} at {}: `{letters}`, the table says `{wanted}`",
                    key.0, key.1
                ));
            }
        }
        let known: BTreeSet<&(String, String)> = found.keys().collect();
        for key in table_before.keys().filter(|key| !known.contains(key)) {
            problems.push(format!("the table has {} at {}, which no longer exists", key.0, key.1));
        }
    }
    let count = |letter: &str| found.values().filter(|it| it.contains(letter)).count();
    page::write(
        &product.file("matrix"),
        &json!({
            "faults": rows(product).len(),
            "steps": columns().len(),
            "cells": begun,
            "cannot strike": count("-"),
            "converged in the run": count("c"),
            "converged in the next run": count("n"),
            "stopped for a person": count("p"),
            "violated": problems.len(),
        }),
    );
    assert!(problems.is_empty(), "{} cells:\n{}", problems.len(), problems.join("\n"));
}

//! Every fault at every step: the table `matrix.txt` says how each cell ends.
//!
//! A cell is one cluster, one configuration that needs the step, and one fault that strikes
//! at it. It counts only when the simulator confirms that the fault struck there. Letters:
//! `c` the run that met the fault converged; `n` it said that it did not, and the next run
//! converged; `p` other people's deed stands in the way, and is named; `-` the fault
//! cannot strike there. Two letters: either, as the fault comes early or late, or by the reading of
//! what the sources leave open.
//!
//! `NOVAHOST_GOLDEN=write` writes the table; `NOVAHOST_CAMPAIGN_CELL=row/column` runs one.

mod pve;
mod vcenter;

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

impl Story {
    fn new(before: &str, after: String, may_delete: &'static [&'static str]) -> Self {
        Self { before: before.to_owned(), after, may_delete, stubborn: false }
    }
}

impl Column {
    /// A call about a guest that begins a task.
    fn of(name: &'static str, story: &'static str, call: &str, with: &str) -> Self {
        Self {
            name,
            story,
            at: Where { call: call.into(), with: with.into(), object: String::new() },
            after: 0,
            task: true,
            guest: true,
            mutates: true,
        }
    }

    /// The same call in another story.
    fn of_story(self, story: &'static str) -> Self {
        Self { story, ..self }
    }

    /// A look, in the story of a birth.
    fn read(name: &'static str, call: &str, with: &str, after: u64) -> Self {
        let column = Self::of(name, "birth", call, with);
        Self { after, task: false, guest: false, mutates: false, ..column }
    }
}

fn stories(product: Product) -> BTreeMap<&'static str, Story> {
    match product {
        Product::Pve => pve::stories(),
        Product::Vcenter => vcenter::stories(),
    }
}

fn columns(product: Product) -> Vec<Column> {
    match product {
        Product::Pve => pve::columns(),
        Product::Vcenter => vcenter::columns(),
    }
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

/// Seeds of the worlds that the stories play in: one for each reading of what the sources
/// leave open.
fn readings(product: Product) -> &'static [u64] {
    match product {
        Product::Pve => &[4],
        Product::Vcenter => &[5, 4],
    }
}

/// The readings that a cell is played in: all of them in the long mode, else one by turns,
/// so that each row and each column meets them all.
fn readings_of(product: Product, row: usize, column: usize) -> Vec<u64> {
    let all = readings(product);
    match page::is_long() {
        true => all.to_vec(),
        false => vec![all[(row + column) % all.len()]],
    }
}

/// What is there before a story, made once.
async fn prepare(product: Product, story: &Story, seed: u64) -> Prepared {
    let lab = Lab::start(product, seed).await;
    let runner = lab.runner(0, seed).await;
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

/// One cell by its names, in every reading: what is wrong with it, if anything, also by the
/// table.
pub async fn one(product: Product, row: &str, column: &str) -> Option<String> {
    let (stories, columns) = (stories(product), columns(product));
    let (_, fault, _) = rows(product).into_iter().find(|(name, ..)| name == row).unwrap();
    let column = columns.iter().find(|it| it.name == column).unwrap();
    let story = &stories[column.story];
    let table = expected(product);
    for seed in readings(product) {
        let prepared = prepare(product, story, *seed).await;
        let letter = match cell(&prepared, story, column, row, fault.clone()).await {
            Ok(letter) => letter,
            Err(wrong) => return Some(wrong),
        };
        let wanted = table.get(&(row.to_owned(), column.name.to_owned()));
        let wanted = wanted.map_or("-", String::as_str);
        // Some are struck where people do nothing in the campaign itself.
        if wanted != "-" && !agrees(wanted, letter) {
            return Some(format!("it ends with `{letter}`, the table says `{wanted}`"));
        }
    }
    None
}

/// Whether an end is one that the table has. On a busy machine a run may give up where it
/// else would have waited it out, or the other way round: whether a person is needed does
/// not depend on that.
fn agrees(wanted: &str, letter: char) -> bool {
    let converges = |it: char| matches!(it, 'c' | 'n');
    wanted.contains(letter) || (converges(letter) && wanted.contains(converges))
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
    let columns = columns(product);
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

#[test]
fn every_fault_at_every_step_over_vcenter_ends_as_the_table_says() {
    all(Product::Vcenter);
}

fn all(product: Product) {
    let _guard = crate::without_bugs();
    let runtime = crate::runtime();
    let mut found = BTreeMap::new();
    let mut problems = Vec::new();
    let only = std::env::var("NOVAHOST_CAMPAIGN_CELL").ok();
    let begun: u64 = runtime.block_on(async {
        let stories = Arc::new(stories(product));
        let mut prepared = BTreeMap::new();
        for (name, story) in stories.iter() {
            for seed in readings(product) {
                prepared.insert((*name, *seed), prepare(product, story, *seed).await);
            }
        }
        let (prepared, columns) = (Arc::new(prepared), Arc::new(columns(product)));
        let mut waiting = Vec::new();
        for (number, (row, fault, kind)) in rows(product).into_iter().enumerate() {
            for (index, column) in columns.iter().enumerate() {
                let key = (row.clone(), column.name.to_owned());
                if !applies(&row, kind, column) {
                    found.insert(key, "-".to_owned());
                } else if only.as_ref().is_none_or(|it| *it == format!("{row}/{}", column.name)) {
                    let readings = readings_of(product, number, index).into_iter();
                    waiting.extend(readings.map(|seed| (row.clone(), fault.clone(), index, seed)));
                }
            }
        }
        let count = waiting.len() as u64;
        let mut running = JoinSet::new();
        loop {
            while running.len() < AT_ONCE {
                let Some((row, fault, index, seed)) = waiting.pop() else { break };
                let (stories, prepared, columns) =
                    (Arc::clone(&stories), Arc::clone(&prepared), Arc::clone(&columns));
                running.spawn(async move {
                    let column = &columns[index];
                    let story = &stories[column.story];
                    let before = &prepared[&(column.story, seed)];
                    let ended = cell(before, story, column, &row, fault).await;
                    (row, column.name, seed, ended)
                });
            }
            let Some(done) = running.join_next().await else { return count };
            let (row, column, seed, ended) = done.unwrap();
            match ended {
                Ok(letter) => {
                    let letters: &mut String = found.entry((row, column.to_owned())).or_default();
                    if !letters.contains(letter) {
                        letters.push(letter);
                    }
                }
                Err(why) => problems.push(format!("{row} at {column}, seed {seed}:\n    {why}")),
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
            let same = letters.chars().all(|it| agrees(wanted, it));
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
            "steps": columns(product).len(),
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

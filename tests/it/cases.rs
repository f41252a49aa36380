//! Cases: two configurations and a world, walked along the whole road in four phases.
//!
//! Each file of `fixtures/cases` is one case. Its `before` is applied to the common
//! world, `world` says what people did to it since, and `after` is planned. Then come
//! the four phases: the expected plan (`plan`), nothing left after it ran, the expected
//! way back to `before` (`back`), and nothing left again. Planning is pure, but reading
//! and writing are not, so the phases run through the real provider, runner and journal
//! against the simulated hypervisor.
//!
//! Every case is played on Proxmox VE. One with a `vcenter` entry is played on a vCenter
//! too, with the same YAML: only the common file differs, in which the hypervisor is of the
//! other type. What is planned there stands below `vcenter`, in that product's own classes;
//! what is done to whom must be the same, unless `differs` says why not.
//!
//! `NOVAHOST_GOLDEN=write` writes what is planned into the files; `NOVAHOST_CASE=name`
//! runs only those whose name contains it.
#![allow(clippy::unwrap_used, reason = "helpers of tests are test code too")]

#[path = "cases/disturb.rs"]
mod disturb;
#[path = "cases/fifty.rs"]
mod fifty;
#[path = "cases/lab.rs"]
mod lab;
#[path = "cases/lines.rs"]
mod lines;
#[path = "cases/pools.rs"]
mod pools;

use lab::Lab;
use lines::{essence, lines};
use novahost::store::Store;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// Cases at a time: enough to hide the waiting, few enough to leave the machine usable.
const AT_ONCE: usize = 8;
/// The four plans, as files call them.
const PHASES: [&str; 4] = ["plan", "then", "back", "finally"];
/// The least number of cases that are played on both products.
const ON_BOTH: usize = 25;

/// Which product a case is played on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// A simulated cluster of Proxmox VE.
    Proxmox,
    /// A simulated vCenter.
    Vcenter,
}

impl On {
    /// The file that every configuration includes.
    fn common(self) -> &'static str {
        match self {
            Self::Proxmox => "common.yaml",
            Self::Vcenter => "vcenter.yaml",
        }
    }

    /// The file with what is there at the beginning.
    fn world(self) -> &'static str {
        match self {
            Self::Proxmox => "world.yaml",
            Self::Vcenter => "vcenter-world.yaml",
        }
    }

    /// An id in lines. What the server counts up depends on what else was going on.
    fn shown_id(self, id: &str) -> &str {
        match self {
            Self::Proxmox => id,
            Self::Vcenter => id.split_once('-').map_or(id, |(kind, _)| kind),
        }
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it shows.
    about: String,
    /// A configuration of somebody else on the same cluster, applied first. It must
    /// need nothing at any time.
    #[serde(default)]
    neighbour: Option<String>,
    /// The start.
    #[serde(default)]
    before: String,
    /// What people did to the world since.
    #[serde(default)]
    world: Vec<String>,
    /// `lost`: the journal is gone once `before` was applied.
    #[serde(default)]
    journal: Option<String>,
    /// Signs markers.
    #[serde(default)]
    marker_key: Option<String>,
    /// What is asked for.
    #[serde(default)]
    after: String,
    /// What the plan is shown under beside `--yes`; what is applied is all of it.
    #[serde(default)]
    consent: Vec<String>,
    /// Why the second plan is not empty, when it is not: something is blocked or kept.
    #[serde(default)]
    stays: Option<String>,
    /// Why there is no way back, when there is none.
    #[serde(default)]
    one_way: Option<String>,
    #[serde(default)]
    plan: String,
    #[serde(default)]
    then: String,
    #[serde(default)]
    back: String,
    #[serde(default)]
    finally: String,
    /// The same on a vCenter.
    #[serde(default)]
    vcenter: Option<OnVcenter>,
}

/// What is another way on a vCenter.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnVcenter {
    /// Why something else is done there, when it is.
    #[serde(default)]
    differs: Option<String>,
    /// Native words of the configurations, and what stands there in their place.
    #[serde(default)]
    words: BTreeMap<String, String>,
    /// In the place of `world`.
    #[serde(default)]
    world: Option<Vec<String>>,
    /// In the place of `stays`; empty when nothing does.
    #[serde(default)]
    stays: Option<String>,
    #[serde(default)]
    plan: String,
    #[serde(default)]
    then: String,
    #[serde(default)]
    back: String,
    #[serde(default)]
    finally: String,
}

impl Case {
    /// The case as it is played on a product.
    fn on(&self, on: On) -> Option<Self> {
        match on {
            On::Proxmox => Some(self.clone()),
            On::Vcenter => self.vcenter.clone().map(|it| self.with(it)),
        }
    }

    fn with(&self, other: OnVcenter) -> Self {
        let mut case = self.clone();
        for text in [&mut case.before, &mut case.after].into_iter().chain(&mut case.neighbour) {
            for (word, there) in &other.words {
                *text = text.replace(word, there);
            }
        }
        if let Some(world) = other.world {
            case.world = world;
        }
        if let Some(stays) = other.stays {
            case.stays = Some(stays).filter(|it| !it.is_empty());
        }
        (case.plan, case.then) = (other.plan, other.then);
        (case.back, case.finally) = (other.back, other.finally);
        case
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cases")
}

/// What the four plans were.
struct Outcome {
    plans: [String; 4],
    problems: Vec<String>,
}

async fn walk(case: &Case, on: On) -> Outcome {
    let mut lab = Lab::start(case, on).await;
    let mut problems = Vec::new();
    let mut must = |what: &str, result: Result<(), String>| {
        if let Err(text) = result {
            problems.push(format!("{what} did not end well:\n{text}"));
        }
    };
    if let Some(neighbour) = &case.neighbour {
        must("the neighbour", lab.apply(neighbour).await);
    }
    must("`before`", lab.apply(&case.before).await);
    for line in &case.world {
        lab.disturb(line);
    }
    if case.journal.as_deref() == Some("lost") {
        lab.store = Store::open_in_memory().await.unwrap();
    }
    let first = lab.look(&case.after, &case.consent).await;
    let mut plans = [lines(&first, on), String::new(), String::new(), String::new()];
    must("`after`", lab.apply(&case.after).await);
    plans[1] = lines(&lab.look(&case.after, &[]).await, on);
    if case.one_way.is_none() {
        plans[2] = lines(&lab.look(&case.before, &[]).await, on);
        must("the way back", lab.apply(&case.before).await);
        plans[3] = lines(&lab.look(&case.before, &[]).await, on);
    }
    if let Some(neighbour) = &case.neighbour {
        let look = lab.look(neighbour, &[]).await;
        let seen = lines(&look, on);
        if seen != "nothing\n" {
            problems.push(format!("the neighbour was touched:\n{seen}"));
        }
    }
    for server in lab.servers.into_values() {
        server.stop().await;
    }
    Outcome { plans, problems }
}

/// The four plans as they stand in a file, set in by so much.
fn written(plans: &[String; 4], indent: &str) -> String {
    let mut out = String::new();
    for (name, plan) in PHASES.iter().zip(plans) {
        let quiet = plan == "nothing\n" || plan.is_empty();
        if quiet && (*name == "then" || *name == "finally") || plan.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{indent}{name}: |");
        for line in plan.lines() {
            let _ = writeln!(out, "{indent}  {line}");
        }
    }
    out
}

/// A file with other plans, after everything that a person wrote.
fn with_plans(text: &str, on: On, plans: &[String; 4]) -> String {
    let (first, other) = match text.split_once("\nvcenter:") {
        Some((first, other)) => (first, Some(other)),
        None => (text, None),
    };
    let first = first.trim_end();
    match on {
        On::Proxmox => {
            let head = first.split("\nplan:").next().unwrap_or_default().trim_end();
            let other = other.map_or_else(String::new, |it| format!("vcenter:{it}"));
            format!("{head}\n{}{other}", written(plans, ""))
        }
        On::Vcenter => {
            let head = other.unwrap_or_default().split("\n  plan:").next().unwrap_or_default();
            let head = head.trim_end().trim_end_matches("{}").trim_end();
            format!("{first}\nvcenter:{head}\n{}", written(plans, "  "))
        }
    }
}

/// What a case says that is not so on one product.
fn wrong_on(name: &str, case: &Case, outcome: &Outcome, write: bool) -> Vec<String> {
    let Outcome { plans, problems } = outcome;
    let mut wrong: Vec<String> =
        problems.iter().map(|it| format!("{name} ({}): {it}", case.about)).collect();
    let nothing = || "nothing\n".to_owned();
    let or_nothing = |it: &String| if it.is_empty() { nothing() } else { it.clone() };
    let back = if case.one_way.is_some() { String::new() } else { case.back.clone() };
    let finally = if case.one_way.is_some() { String::new() } else { or_nothing(&case.finally) };
    let wanted = [case.plan.clone(), or_nothing(&case.then), back, finally];
    for (at, (wanted, found)) in PHASES.iter().zip(wanted.iter().zip(plans)) {
        if !write && wanted != found {
            wrong.push(format!("{name}, {at}: wanted\n{wanted}found\n{found}"));
        }
    }
    for (at, plan) in [("then", &plans[1]), ("finally", &plans[3])] {
        if case.stays.is_none() && !plan.is_empty() && *plan != nothing() {
            wrong.push(format!("{name}, {at}: something is left to do\n{plan}"));
        }
    }
    let quiet = |plan: &String| plan.is_empty() || *plan == nothing();
    if let Some(why) = case.stays.as_ref().filter(|_| quiet(&plans[1]) && quiet(&plans[3])) {
        wrong.push(format!("{name}: nothing stays, though `stays` says: {why}"));
    }
    wrong
}

/// Where two products do different things and nobody said why, and the other way round.
fn unlike(
    name: &str,
    differs: Option<&str>,
    one: &[String; 4],
    other: &[String; 4],
) -> Vec<String> {
    let mut found = Vec::new();
    for (at, (one, other)) in PHASES.iter().zip(one.iter().zip(other)) {
        let (one, other) = (essence(one), essence(other));
        let gone: Vec<_> = one.difference(&other).collect();
        let new: Vec<_> = other.difference(&one).collect();
        if !gone.is_empty() || !new.is_empty() {
            found.push(format!("{name}, {at}: there\n{gone:#?}\nand on a vCenter\n{new:#?}"));
        }
    }
    match differs {
        Some(why) if found.is_empty() => {
            vec![format!("{name}: nothing differs, though `differs` says: {why}")]
        }
        Some(_) => Vec::new(),
        None => found,
    }
}

async fn one(path: PathBuf, write: bool) -> Vec<String> {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let mut text = std::fs::read_to_string(&path).unwrap();
    let case: Case = match serde_yaml::from_str(&text) {
        Ok(case) => case,
        Err(error) => return vec![format!("{name}: {error}")],
    };
    let mut wrong = Vec::new();
    let mut played = Vec::new();
    for on in [On::Proxmox, On::Vcenter] {
        let Some(case) = case.on(on) else { continue };
        let outcome = walk(&case, on).await;
        wrong.extend(wrong_on(&format!("{name} on {on:?}"), &case, &outcome, write));
        text = with_plans(&text, on, &outcome.plans);
        played.push(outcome.plans);
    }
    if write {
        std::fs::write(&path, text).unwrap();
    }
    if let ([first, other], Some(there)) = (played.as_slice(), &case.vcenter) {
        wrong.extend(unlike(&name, there.differs.as_deref(), first, other));
    }
    wrong
}

fn paths() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|it| it.unwrap().path())
        .filter(|it| it.extension().is_some_and(|it| it == "yaml"))
        .collect();
    paths.sort();
    paths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cases_hold_in_four_phases() {
    let write = std::env::var("NOVAHOST_GOLDEN").is_ok_and(|it| it == "write");
    let wanted = std::env::var("NOVAHOST_CASE").unwrap_or_default();
    let mut paths = paths();
    paths.retain(|it| it.file_stem().unwrap().to_string_lossy().contains(&wanted));
    assert!(!paths.is_empty(), "no case is called like `{wanted}`");
    let count = paths.len();
    let (mut running, mut wrong) = (tokio::task::JoinSet::new(), Vec::new());
    let mut paths = paths.into_iter();
    loop {
        while running.len() < AT_ONCE
            && let Some(path) = paths.next()
        {
            running.spawn(one(path, write));
        }
        match running.join_next().await {
            Some(Ok(found)) => wrong.extend(found),
            Some(Err(panic)) => wrong.push(panic.to_string()),
            None => break,
        }
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{} problems in {count} cases:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn many_cases_are_played_on_both_products() {
    let texts = paths().into_iter().map(|path| std::fs::read_to_string(path).unwrap());
    let cases = texts.map(|text| serde_yaml::from_str::<Case>(&text).unwrap());
    let (both, apart): (Vec<_>, Vec<_>) =
        cases.filter_map(|case| case.vcenter).partition(|it| it.differs.is_none());
    assert!(both.len() >= ON_BOTH, "{} alike, {} not", both.len(), apart.len());
}

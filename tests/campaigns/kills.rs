//! kill -9 of the real program at every request and every commit of its journal, and
//! again while the next run goes on. Nothing unsafe happens, and the next runs converge.
//!
//! The cluster lives in this process, so that it goes on when the program dies. A kill
//! point is named `SCENARIO/POINT`, or `SCENARIO/POINT+POINT` when the run after it is
//! killed too; `NOVAHOST_CAMPAIGN_ONLY` runs one of them alone. Without the feature
//! `planted` the program cannot be killed at its commits; then only requests count.
#![allow(clippy::disallowed_methods, reason = "the wall clock is theirs to read")]

mod judge;
mod lab;
mod scenario;
mod witness;

use crate::{
    page::{self, folder, is_long},
    stage::{Product, World},
};
use lab::{Asked, Frozen, Lab, Point, Position, Ran, SECRETS, locked};
use scenario::Scenario;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Trials at a time: far more than a runner has cores, since nearly all of a trial is
/// waiting for disks and for pauses of the program.
const AT_ONCE: usize = 10;
/// Single kills of the short campaign, the needed ones included, and double ones.
const SHORT: (usize, usize) = (130, 24);
/// Those over a vCenter.
const SHORT_VCENTER: (usize, usize) = (90, 12);
/// Double kills of each scenario in the long campaign, beside `EVERY_PAIR`.
const LONG_DOUBLE: usize = 60;
/// In the long campaign every kill of this scenario is followed by every second one.
const EVERY_PAIR: &str = "pool";
/// What is in the name of every kind of request that ends a session.
const GOODBYE: &str = " log-out ";
/// So many runs after a kill must be enough.
const RECOVERIES_MAX: usize = 3;

/// A scenario that was carried out once without a kill.
struct Prepared {
    scenario: &'static Scenario,
    /// The world before anybody came.
    first: World,
    start: Frozen,
    /// Other people's things.
    others: Vec<String>,
    requests: Vec<Asked>,
    commits: Vec<String>,
}

/// What is interrupted at a point, and its name without a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Read,
    Change,
    Commit,
}

type Kind = (What, String);

fn prepare(product: Product, scenario: &'static Scenario) -> Prepared {
    let nobody = Frozen::first(product);
    let lab = Lab::thaw(scenario, &nobody, 7);
    // As the simulator has it: it may have been completed there.
    let first = lab.stage.world();
    let mut prepared = Prepared {
        scenario,
        others: judge::others(&first, &first),
        first,
        start: nobody,
        requests: Vec::new(),
        commits: Vec::new(),
    };
    let mut wrong = Vec::new();
    if !scenario.before.is_empty() {
        lab.asks_for(scenario.before);
        expect(&lab.run("apply --yes", None), 0, &mut wrong);
    }
    lab.asks_for(scenario.after);
    prepared.start = lab.freeze();
    let census = lab.run(&scenario.apply(), None);
    expect(&census, 0, &mut wrong);
    judge::always(&lab, &prepared, &mut wrong);
    expect(&lab.run("plan --detailed-exitcode", None), 0, &mut wrong);
    judge::end(&lab, &prepared, &mut wrong);
    assert!(wrong.is_empty(), "{} without a kill: {wrong:#?}", scenario.name);
    (prepared.requests, prepared.commits) = (census.requests, census.commits);
    prepared
}

impl Prepared {
    /// Every place where it can be killed.
    fn points(&self) -> Vec<Point> {
        let requests = (0_u64..).zip(&self.requests);
        let http =
            requests.flat_map(|(n, _)| Position::ALL.map(|position| Point::Http(n, position)));
        let commits = (0_u64..).zip(&self.commits);
        let journal = commits.flat_map(|(n, _)| [false, true].map(|after| Point::Commit(n, after)));
        http.chain(journal).collect()
    }

    /// What is interrupted there, without its number.
    fn kind(&self, point: Point) -> Kind {
        let index = |n: u64| usize::try_from(n).unwrap();
        match point {
            Point::Http(n, position) => {
                let asked = &self.requests[index(n)];
                let what = if asked.mutates { What::Change } else { What::Read };
                (what, format!("{} {position:?}", asked.words))
            }
            Point::Commit(n, after) => {
                let side = if after { "after" } else { "before" };
                (What::Commit, format!("{} {side}", self.commits[index(n)]))
            }
        }
    }
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Trial {
    scenario: usize,
    points: Vec<Point>,
    /// Whether `runs resume` is asked after each kill.
    resumes: bool,
}

impl Trial {
    fn name(&self, all: &[Prepared]) -> String {
        let points: Vec<String> = self.points.iter().map(ToString::to_string).collect();
        format!("{}/{}", all[self.scenario].scenario.name, points.join("+"))
    }
}

/// What came of it.
#[derive(Debug, Default)]
struct Outcome {
    /// Kills that hit; a run can end before its time comes.
    kills: usize,
    /// Runs until nothing was left to do.
    recoveries: usize,
    slowest_ms: u128,
    resumed_known: usize,
    resumed_open: usize,
    wrong: Vec<String>,
}

fn expect(ran: &Ran, code: i32, wrong: &mut Vec<String>) {
    if ran.code != Some(code) {
        wrong.push(format!("exit {code} was due: {ran}"));
    }
    silent(ran, wrong);
}

fn silent(ran: &Ran, wrong: &mut Vec<String>) {
    for secret in SECRETS {
        if ran.out.contains(secret) || ran.err.contains(secret) {
            wrong.push(format!("`novahost {}` tells a secret", ran.line));
        }
    }
}

fn run(trial: &Trial, prepared: &Prepared) -> Outcome {
    let mut outcome = Outcome::default();
    let lab = Lab::thaw(prepared.scenario, &prepared.start, 11);
    lab.asks_for(prepared.scenario.after);
    let apply = prepared.scenario.apply();
    for point in &trial.points {
        let ran = lab.run(&apply, Some(*point));
        silent(&ran, &mut outcome.wrong);
        after_a_kill(trial, &lab, prepared, &mut outcome);
        match ran.code {
            None => outcome.kills += 1,
            Some(0 | 7 | 10) => {}
            Some(_) => outcome.wrong.push(format!("it ended by itself, and badly: {ran}")),
        }
    }
    let mut last = None;
    while outcome.recoveries < RECOVERIES_MAX {
        outcome.recoveries += 1;
        let ran = lab.run(&apply, None);
        silent(&ran, &mut outcome.wrong);
        judge::always(&lab, prepared, &mut outcome.wrong);
        outcome.slowest_ms = outcome.slowest_ms.max(ran.took.as_millis());
        if ran.code == Some(8) {
            outcome.wrong.push(format!("a dead run locks the next one out: {ran}"));
        }
        let done = ran.code == Some(0);
        last = Some(ran);
        if done {
            break;
        }
    }
    if let Some(ran) = last.filter(|it| it.code != Some(0)) {
        outcome.wrong.push(format!("after {RECOVERIES_MAX} runs it is not done: {ran}"));
    }
    expect(&lab.run("plan --detailed-exitcode", None), 0, &mut outcome.wrong);
    expect(&lab.run("audit verify", None), 0, &mut outcome.wrong);
    judge::always(&lab, prepared, &mut outcome.wrong);
    judge::end(&lab, prepared, &mut outcome.wrong);
    let mut seen = BTreeSet::new();
    outcome.wrong.retain(|it| seen.insert(it.clone()));
    outcome
}

fn after_a_kill(trial: &Trial, lab: &Lab, prepared: &Prepared, outcome: &mut Outcome) {
    judge::always(lab, prepared, &mut outcome.wrong);
    if !lab.journal().exists() {
        return;
    }
    expect(&lab.run("audit verify", None), 0, &mut outcome.wrong);
    if trial.resumes {
        let before = judge::steps(lab);
        let ran = lab.run("runs resume", None);
        silent(&ran, &mut outcome.wrong);
        judge::resumed((lab, &prepared.first), &before, &ran, &mut outcome.wrong);
        match ran.code {
            Some(0) => outcome.resumed_known += 1,
            _ => outcome.resumed_open += 1,
        }
        judge::always(lab, prepared, &mut outcome.wrong);
    }
}

/// A number that looks random and is the same every time.
fn mix(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_mul(0xd1b5_4a32_d192_ed03);
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 32)
}

/// One point of a list, by seed.
fn seeded(points: &[Point], seed: u64) -> Point {
    let len = u64::try_from(points.len()).unwrap();
    points[usize::try_from(mix(seed, len) % len).unwrap()]
}

/// Every trial of the long campaign; of the short one, first a trial for every kind of
/// interruption, then every k-th of the rest.
fn trials(
    all: &[Prepared],
    (most_single, most_double): (usize, usize),
    is_long: bool,
) -> Vec<Trial> {
    let mut singles = Vec::new();
    for (scenario, prepared) in all.iter().enumerate() {
        for point in prepared.points() {
            singles.push((prepared.kind(point), scenario, point));
        }
    }
    let chosen: Vec<usize> = if is_long {
        (0..singles.len()).collect()
    } else {
        let mut seen = BTreeSet::new();
        let mut chosen: BTreeSet<usize> =
            (0..singles.len()).filter(|it| seen.insert(singles[*it].0.clone())).collect();
        let room = most_single.saturating_sub(chosen.len()).max(1);
        chosen.extend((0..singles.len()).step_by(singles.len().div_ceil(room)));
        chosen.into_iter().collect()
    };
    let mut trials: Vec<Trial> = chosen
        .iter()
        .enumerate()
        .map(|(turn, index)| {
            let (_, scenario, point) = singles[*index];
            Trial { scenario, points: vec![point], resumes: is_long || turn % 4 == 0 }
        })
        .collect();
    for (scenario, prepared) in all.iter().enumerate() {
        let points = prepared.points();
        if is_long && prepared.scenario.name == EVERY_PAIR {
            trials.extend(points.iter().flat_map(|first| {
                points.iter().map(move |second| Trial {
                    scenario,
                    points: vec![*first, *second],
                    resumes: false,
                })
            }));
            continue;
        }
        let count = if is_long { LONG_DOUBLE } else { most_double.div_ceil(all.len()) };
        for turn in 0..u64::try_from(count).unwrap() {
            let seed = mix(u64::try_from(scenario).unwrap(), turn);
            // The second run has less to do; a point beyond its end would hit nothing.
            let half = &points[..points.len() / 2];
            let pair = vec![seeded(&points, seed), seeded(half, seed ^ 1)];
            trials.push(Trial { scenario, points: pair, resumes: turn % 2 == 0 });
        }
    }
    if is_long {
        // So that a campaign that is cut short has seen something of everything.
        trials.sort_by_key(|it| {
            let text = format!("{it:?}");
            text.bytes().fold(0, |hash, byte| mix(hash, u64::from(byte)))
        });
    }
    trials
}

/// The trial that somebody asked for by name; `None` when the name is not of ours.
fn asked_for(all: &[Prepared], wanted: &str) -> Option<Trial> {
    let (name, points) = wanted.split_once('/')?;
    let scenario = all.iter().position(|it| it.scenario.name == name)?;
    let points: Option<Vec<Point>> = points
        .split('+')
        .map(|text| {
            let mut parts = text.split(':');
            let (kind, n, at) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
            Some(match (kind, at) {
                ("http", "before") => Point::Http(n, Position::Before),
                ("http", "effect") => Point::Http(n, Position::Effect),
                ("http", "reply") => Point::Http(n, Position::Reply),
                ("commit", "before") => Point::Commit(n, false),
                ("commit", "after") => Point::Commit(n, true),
                _ => return None,
            })
        })
        .collect();
    Some(Trial { scenario, points: points?, resumes: true })
}

/// Runs them in their order, as far as the time that was given goes; a failure is in a
/// file as soon as it is known.
fn run_all(product: Product, trials: &[Trial], all: &[Prepared]) -> BTreeMap<usize, Outcome> {
    let minutes = std::env::var("NOVAHOST_CAMPAIGN_MINUTES").ok();
    let minutes: Option<u64> = minutes.map(|it| it.parse().unwrap());
    let begun = Instant::now();
    let is_late =
        || minutes.is_some_and(|it| begun.elapsed() > Duration::from_secs(it.saturating_mul(60)));
    let file = format!("{}-failed.txt", product.file("kills"));
    let failed = Mutex::new(std::fs::File::create(folder().join(file)).unwrap());
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((index, trial)) = {
                    let index = next.fetch_add(1, Ordering::SeqCst);
                    trials.get(index).filter(|_| !is_late()).map(|trial| (index, trial))
                } {
                    let outcome = run(trial, &all[trial.scenario]);
                    if !outcome.wrong.is_empty() {
                        let text = failure(trial, &outcome, all);
                        locked(&failed).write_all(text.as_bytes()).unwrap();
                    }
                    locked(&outcomes).insert(index, outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

/// What went wrong, and how to see it alone.
fn failure(trial: &Trial, outcome: &Outcome, all: &[Prepared]) -> String {
    let name = trial.name(all);
    format!("NOVAHOST_CAMPAIGN_ONLY={name}\n  {}\n", outcome.wrong.join("\n  "))
}

/// Counts of one scenario, or of all.
fn figures<'o>(ran: impl Iterator<Item = (&'o Trial, &'o Outcome)>) -> Value {
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    let mut recoveries: BTreeMap<usize, usize> = BTreeMap::new();
    let mut slowest_ms = 0;
    for (trial, outcome) in ran {
        let kind = match trial.points.as_slice() {
            [Point::Http(..)] => ("http_kills", "http_kills_survived"),
            [Point::Commit(..)] => ("journal_kills", "journal_kills_survived"),
            _ => ("double_kills", "double_kills_survived"),
        };
        if outcome.kills < trial.points.len() {
            *count.entry("ended_before_the_kill").or_default() += 1;
        } else {
            *count.entry(kind.0).or_default() += 1;
            *count.entry(kind.1).or_default() += usize::from(outcome.wrong.is_empty());
        }
        *count.entry("processes_killed").or_default() += outcome.kills;
        *count.entry("resumed_all_known").or_default() += outcome.resumed_known;
        *count.entry("resumed_some_open").or_default() += outcome.resumed_open;
        *recoveries.entry(outcome.recoveries).or_default() += 1;
        slowest_ms = slowest_ms.max(outcome.slowest_ms);
    }
    let recoveries: BTreeMap<String, usize> =
        recoveries.into_iter().map(|(runs, times)| (runs.to_string(), times)).collect();
    json!({ "counts": count, "runs_until_done": recoveries, "slowest_recovery_ms": slowest_ms })
}

fn report(all: &[Prepared], trials: &[Trial], outcomes: &[Outcome], seconds: u64) -> Value {
    let pairs = || trials.iter().zip(outcomes);
    let every: BTreeSet<Kind> =
        all.iter().flat_map(|it| it.points().into_iter().map(|point| it.kind(point))).collect();
    let hit: BTreeSet<Kind> = pairs()
        .filter(|(_, outcome)| outcome.kills > 0)
        .map(|(trial, _)| all[trial.scenario].kind(trial.points[0]))
        .collect();
    let of = |kinds: &BTreeSet<Kind>, like: &[What]| {
        kinds.iter().filter(|it| like.contains(&it.0)).count()
    };
    let coverage = |like: &[What]| json!({ "of": of(&every, like), "killed_at": of(&hit, like) });
    let scenarios: BTreeMap<&str, Value> = all
        .iter()
        .enumerate()
        .map(|(index, it)| {
            let mut value = figures(pairs().filter(|(trial, _)| trial.scenario == index));
            value["requests"] = it.requests.len().into();
            value["commits"] = it.commits.len().into();
            value["points"] = it.points().len().into();
            (it.scenario.name, value)
        })
        .collect();
    let failures: Vec<String> =
        pairs().filter(|(_, it)| !it.wrong.is_empty()).map(|(trial, _)| trial.name(all)).collect();
    let journal = if cfg!(feature = "planted") { "run" } else { "not run: needs `planted`" };
    json!({
        "campaign": "kills",
        "mode": if is_long() { "long" } else { "short" },
        "seconds": seconds,
        "journal_points": journal,
        "points": all.iter().map(|it| it.points().len()).sum::<usize>(),
        "points_tried": pairs().filter(|(it, _)| it.points.len() == 1).count(),
        "double_kills_tried": pairs().filter(|(it, _)| it.points.len() > 1).count(),
        "kinds_of_request_and_position": coverage(&[What::Read, What::Change]),
        "kinds_of_change_and_position": coverage(&[What::Change]),
        "kinds_of_commit_and_side": coverage(&[What::Commit]),
        "goodbyes_hit": hit.iter().filter(|it| it.1.contains(GOODBYE)).count(),
        "not_hit": every.difference(&hit).map(|it| &it.1).collect::<Vec<_>>(),
        "total": figures(pairs()),
        "scenarios": scenarios,
        "failures": failures,
    })
}

#[test]
fn killed_anywhere_nothing_unsafe_happens_and_the_next_runs_converge() {
    campaign(Product::Pve, SHORT);
}

#[test]
fn killed_anywhere_over_vcenter_nothing_unsafe_happens_and_the_next_runs_converge() {
    campaign(Product::Vcenter, SHORT_VCENTER);
}

fn campaign(product: Product, short: (usize, usize)) {
    let begun = Instant::now();
    let all: Vec<Prepared> = scenario::all(product).iter().map(|it| prepare(product, it)).collect();
    let only = std::env::var("NOVAHOST_CAMPAIGN_ONLY").ok();
    let trials = match &only {
        Some(wanted) => match asked_for(&all, wanted) {
            Some(trial) => vec![trial],
            None => return,
        },
        None => trials(&all, short, is_long()),
    };
    let (planned, outcomes) = (trials.len(), run_all(product, &trials, &all));
    let trials: Vec<Trial> = outcomes.keys().map(|index| trials[*index].clone()).collect();
    let outcomes: Vec<Outcome> = outcomes.into_values().collect();
    let mut report = report(&all, &trials, &outcomes, begun.elapsed().as_secs());
    report["left_out_for_want_of_time"] = (planned - trials.len()).into();
    let text = serde_json::to_string_pretty(&report).unwrap();
    if only.is_none() {
        page::write(&product.file("kills"), &report);
    }
    let mut failed = String::new();
    for (trial, outcome) in trials.iter().zip(&outcomes).filter(|(_, it)| !it.wrong.is_empty()) {
        failed.push_str(&failure(trial, outcome, &all));
    }
    assert!(failed.is_empty(), "{text}\n{failed}");
    // Each kind of interruption was tried, but for what came as the run ended: the last
    // replies, and goodbyes, which lie beyond the end of a run that had to ask less often;
    // where some of them were hit, the others are a matter of chance.
    let not_hit = report["not_hit"].as_array().unwrap();
    let all_tried = only.is_none() && planned == trials.len();
    let some_goodbyes = report["goodbyes_hit"].as_u64() > Some(0);
    let is_last = |it: &Value| {
        let is_goodbye = |it: &str| some_goodbyes && it.contains(GOODBYE);
        it.as_str().is_some_and(|it| it.ends_with("Reply") || is_goodbye(it))
    };
    assert!(!all_tried || not_hit.iter().all(is_last), "{text}");
}

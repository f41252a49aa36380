//! Many short histories by chance: configurations change, faults strike, other people
//! meddle. Nothing unsafe happens; once all is quiet, it converges, or stops and says why.

use crate::{
    faults::{brings_strangers, of_people, of_tasks, of_the_network},
    fleet::Fleet,
    lab::{Applied, Lab, is_done},
    page::{self, Tally},
    stage::{Fault, Product},
};
use mock_servers::harness::{Chance, Dice, FaultPlan, Fired};
use novahost::apply::ExitClass;
use std::collections::{BTreeMap, BTreeSet};
use tokio::task::JoinSet;

/// Histories before every change; each kind of fault strikes in hundreds of places.
const SHORT: u64 = 240;
/// Those over a vCenter.
const SHORT_VCENTER: u64 = 60;
/// Histories of the long mode.
const LONG: u64 = 6000;
/// Histories at a time: enough to hide the waiting.
const AT_ONCE: usize = 12;
/// Histories after which figures are written.
const PIECE: u64 = 240;
/// Runs without faults after which a history must have converged.
const QUIET_RUNS: usize = 4;

/// What one history came to.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub fired: Vec<Fired>,
    pub violations: Vec<String>,
    /// Keys that stay blocked after others meddled with them, and under which code.
    pub stopped: BTreeMap<String, String>,
    pub counts: (u64, u64, u64),
    pub runs: u64,
    /// The last configuration.
    pub fleet: String,
}

/// Which faults a history meets, by its seed: the network alone, or people as well.
fn faults(product: Product, seed: u64, without: &BTreeSet<String>) -> FaultPlan<Fault> {
    let hostile = seed % 2 == 1;
    let mut dice = Dice::of(seed, &["odds"]);
    let mut changes = of_tasks(product);
    if hostile {
        changes.extend(of_people(product));
    }
    FaultPlan::new(
        vec![],
        Some(Chance {
            seed,
            reads: 5 + dice.roll(60),
            writes: 60 + dice.roll(400),
            any: of_the_network(product),
            changes,
            without: without.clone(),
            most: 40,
        }),
    )
}

/// Walks one history. The same seed meets the same faults.
pub async fn history(product: Product, seed: u64, without: &BTreeSet<String>) -> Told {
    let lab = Lab::start(product, seed).await;
    let runner = if seed.is_multiple_of(5) {
        lab.runner_with_password(seed).await
    } else {
        lab.runner(0, seed).await
    };
    let runner = runner.one_at_a_time();
    let mut dice = Dice::of(seed, &["fleet"]);
    let mut fleet = Fleet::first(product, &mut dice);
    let mut may_delete = BTreeSet::new();
    let mut told = Told::default();
    // A quarter begins with machines that are there and complete.
    if seed % 4 == 3 {
        let first = lab.apply(&runner, &fleet.yaml()).await;
        if first.exit != ExitClass::Ok {
            lab.oracle.blame(format!(
                "without faults: {:?} {:?} {:?}",
                first.exit, first.words, first.summary
            ));
        }
        let next = fleet.next(&mut dice);
        may_delete.extend(fleet.loses(&next));
        fleet = next;
    }
    lab.plant(faults(product, seed, without));
    for _ in 0..2 + dice.roll(3) {
        lab.may_delete(may_delete.iter().cloned());
        lab.arm(true);
        let struck = lab.fired().len();
        // Now and then nobody consents to more than what disturbs no guest.
        let full = dice.roll(5) != 0;
        lab.oracle.rules(|rules| rules.consent = full);
        let applied = lab.apply_with(&runner, &fleet.yaml(), full).await;
        lab.oracle.rules(|rules| rules.consent = true);
        lab.arm(false);
        told.runs += 1;
        if !full {
            continue;
        }
        honest(&lab, &runner, &fleet, &applied, struck).await;
        if dice.roll(2) == 0 {
            let next = fleet.next(&mut dice);
            may_delete.extend(fleet.loses(&next));
            fleet = next;
        }
    }
    lab.may_delete(may_delete.iter().cloned());
    settle(&lab, &runner, &fleet, &mut told).await;
    lab.oracle.at_rest();
    told.fired = lab.fired();
    told.counts = lab.oracle.counts();
    let oracle = lab.oracle.clone();
    lab.stop(vec![runner]).await;
    told.violations = oracle.violations();
    told.fleet = fleet.yaml();
    told
}

/// What a run says of itself must be so.
async fn honest(
    lab: &Lab,
    runner: &crate::lab::Runner,
    fleet: &Fleet,
    applied: &Applied,
    struck: usize,
) {
    let Some(summary) = &applied.summary else { return };
    let product = lab.stage.product();
    let deeds: Vec<String> = lab.fired()[struck..].iter().map(|it| it.rule.clone()).collect();
    let people: BTreeSet<String> = of_people(product).into_iter().map(|(name, _)| name).collect();
    // Where somebody meddled, what was so a moment ago may be so no more.
    if deeds.iter().any(|it| people.contains(it)) {
        return;
    }
    let rest = lab.rest(runner, &fleet.yaml()).await;
    if !rest.complete {
        return;
    }
    // What people did in an earlier run may show only once other things are gone.
    let meddled = lab.oracle.disturbed();
    let blocked = rest.blocked.keys().any(|key| !meddled.contains(key));
    // A half-made machine is built with the disks that it has; what is no longer declared
    // goes with the next plan, which a note of the run says.
    let built = |id: &String| {
        summary.actions.iter().any(|it| {
            it.id.as_str() == format!("{}:continue", it.key)
                && id.starts_with(&format!("{}:update", it.key))
        })
    };
    let left: Vec<&String> = rest.actions.iter().filter(|id| !built(id)).collect();
    if applied.exit == ExitClass::Ok && (blocked || !left.is_empty()) {
        let (actions, blocked) = (&rest.actions, &rest.blocked);
        lab.oracle.blame(format!("exit 0, and still to do: {actions:?} {blocked:?}"));
    }
    for report in summary.actions.iter().filter(|it| is_done(&it.ended)) {
        // Another action of the same machine may not have been reached.
        let all_done =
            summary.actions.iter().filter(|it| it.key == report.key).all(|it| is_done(&it.ended));
        if all_done && left.iter().any(|id| id.starts_with(&format!("{}:", report.key))) {
            let (id, actions) = (&report.id, &rest.actions);
            lab.oracle.blame(format!("{id} is said to be done, and still to do: {actions:?}"));
        }
    }
}

/// Faults stop; what remains must converge, or be blocked for what people did.
async fn settle(lab: &Lab, runner: &crate::lab::Runner, fleet: &Fleet, told: &mut Told) {
    lab.heal();
    let mut last = Vec::new();
    let mut refused = Vec::new();
    for _ in 0..QUIET_RUNS {
        let applied = lab.apply(runner, &fleet.yaml()).await;
        told.runs += 1;
        refused.clone_from(&applied.refused);
        last.push(format!("{:?} {:?} {:?}", applied.exit, applied.refused, applied.summary));
        let rest = lab.rest(runner, &fleet.yaml()).await;
        if rest.actions.is_empty() && rest.blocked.is_empty() {
            return;
        }
    }
    let rest = lab.rest(runner, &fleet.yaml()).await;
    let meddled = lab.oracle.disturbed();
    let strangers = lab.fired().iter().any(|it| brings_strangers(&it.rule));
    for (key, code) in &rest.blocked {
        told.stopped.insert(key.clone(), code.clone());
    }
    // What people did may look like the work of another project as a whole.
    if let (Some(code), false) = (refused.first(), meddled.is_empty()) {
        told.stopped.insert("the run".to_owned(), code.clone());
        return;
    }
    for key in rest.blocked.keys().chain(&rest.keys) {
        let excused =
            meddled.contains(key) || strangers || !meddled.is_empty() && key.starts_with("pool/");
        if !excused {
            lab.oracle.blame(format!(
                "{key} does not converge: to do {:?}, blocked {:?} {:?}, last run {}",
                rest.actions,
                rest.blocked,
                rest.words,
                last.last().map_or("", String::as_str)
            ));
        }
    }
}

/// Takes strikes away one after the other for as long as it still fails.
async fn smaller(product: Product, seed: u64, told: Told) -> (Told, BTreeSet<String>) {
    let (mut told, mut without) = (told, BTreeSet::new());
    loop {
        let mut shrunk = false;
        for strike in told.fired.clone() {
            let mut fewer: BTreeSet<String> = without.clone();
            fewer.insert(strike.place());
            let again = history(product, seed, &fewer).await;
            if !again.violations.is_empty() && again.fired.len() < told.fired.len() {
                (told, without, shrunk) = (again, fewer, true);
                break;
            }
        }
        if !shrunk {
            return (told, without);
        }
    }
}

/// One failure, as somebody can run it again.
async fn describe(product: Product, seed: u64, told: Told) -> String {
    let before = told.fired.len();
    let (told, without) = smaller(product, seed, told).await;
    let strikes: Vec<String> =
        told.fired.iter().map(|it| format!("{} at {}", it.rule, it.place())).collect();
    format!(
        "seed {seed} (NOVAHOST_CAMPAIGN_SEED={seed}), {before} faults made {}: {strikes:?}, without {without:?}\n  {}\n{}",
        strikes.len(),
        told.violations.join("\n  "),
        told.fleet
    )
}

/// Walks these histories, several at a time. Stops at the first failure when asked to.
pub async fn walk(
    product: Product,
    seeds: impl IntoIterator<Item = u64>,
    stop_early: bool,
) -> Vec<(u64, Told)> {
    let mut seeds = seeds.into_iter();
    let (mut running, mut all) = (JoinSet::new(), Vec::new());
    loop {
        while running.len() < AT_ONCE {
            let Some(seed) = seeds.next() else { break };
            running.spawn(async move { (seed, history(product, seed, &BTreeSet::new()).await) });
        }
        let Some(done) = running.join_next().await else { return all };
        let (seed, told) = done.unwrap();
        let failed = !told.violations.is_empty();
        all.push((seed, told));
        if failed && stop_early {
            running.abort_all();
            return all;
        }
    }
}

#[test]
fn histories_do_no_harm_and_converge() {
    all(Product::Pve, SHORT, LONG);
}

#[test]
fn histories_over_vcenter_do_no_harm_and_converge() {
    all(Product::Vcenter, SHORT_VCENTER, LONG);
}

fn all(product: Product, short: u64, long: u64) {
    let _guard = crate::without_bugs();
    crate::runtime().block_on(async {
        let only = std::env::var("NOVAHOST_CAMPAIGN_SEED").ok();
        let seeds = match only.and_then(|it| it.parse().ok()) {
            Some(seed) => seed..seed + 1,
            None => 0..page::size("HISTORIES", short, long),
        };
        let mut tally = Tally::new(product.file("histories"));
        let (mut failures, mut from) = (Vec::new(), seeds.start);
        // In pieces, so that a long run that is stopped has told what it found so far.
        while from < seeds.end && !page::is_late() {
            let piece = from..seeds.end.min(from + PIECE);
            from = piece.end;
            for (seed, told) in walk(product, piece, false).await {
                tally.ran(seed, &told);
                if !told.violations.is_empty() && failures.len() < 3 {
                    failures.push(describe(product, seed, told).await);
                }
            }
            tally.write(seeds.start..from);
        }
        assert!(
            failures.is_empty(),
            "{} histories failed:\n{}",
            tally.violated(),
            failures.join("\n")
        );
    });
}

//! Two or three people with journals of their own apply to one project at the same time.

use crate::{
    faults::{of_tasks, of_the_network},
    histories::Told,
    lab::{Lab, Runner},
    page::{self, Tally},
    stage::Product,
};
use mock_servers::harness::{Chance, Dice, FaultPlan};
use std::{collections::BTreeSet, time::Duration};
use tokio::task::JoinSet;

/// Races before every change, and in the long mode.
const SHORT: u64 = 60;
const SHORT_VCENTER: u64 = 40;
const LONG: u64 = 1000;
/// Races at a time.
const AT_ONCE: usize = 4;
/// Runs without rivals after which it must have converged.
const QUIET_RUNS: usize = 4;

fn machine(product: Product, key: &str, more: &str) -> String {
    let hypervisor = product.hypervisor();
    let host = 50 + u64::from(key.as_bytes()[0] - b'a');
    format!(
        "  {key}:\n    hypervisor: {hypervisor}\n    image: debian\n    plan: small\n    power: running\n    nics: {{ eth0: {{ network: web, ip: 10.20.0.{host} }} }}\n    init: {{ user: deploy }}\n{more}"
    )
}

/// What each of the racers asks for, and what may be deleted.
fn course(product: Product, kind: u64, dice: &mut Dice) -> (String, Vec<String>, BTreeSet<String>) {
    let machine = |key: &str, more: &str| machine(product, key, more);
    let line = |text: &str| format!("    {text}\n");
    let both = format!("vms:\n{}{}", machine("a", ""), machine("b", ""));
    match kind {
        // The same from nothing: births at the same ids.
        0 => (String::new(), vec![both.clone(), both], BTreeSet::new()),
        // The same key at different ids: nothing but the look before `ready` tells.
        1 => {
            let at = |id: u64| {
                // Where ids are not chosen, names are.
                if product == Product::Vcenter {
                    let name = format!("name: a-{id}");
                    return format!("vms:\n{}", machine("a", &line(&name)));
                }
                let pin = format!("proxmox: {{ vmid: {id} }}");
                format!("vms:\n{}", machine("a", &line(&pin)))
            };
            (String::new(), vec![at(20700), at(20710)], BTreeSet::new())
        }
        // Edits that do not agree.
        2 => {
            let tagged = |tag: &str| {
                let tags = match product {
                    Product::Pve => line(&format!("tags: [{tag}]")),
                    Product::Vcenter => line(&format!("notes: {tag}")),
                };
                format!("vms:\n{}{}", machine("a", &tags), machine("b", &tags))
            };
            (both, vec![tagged("one"), tagged("two"), tagged("three")], BTreeSet::new())
        }
        // One removes what another changes.
        3 => {
            let notes = line(&format!("notes: Remark {}", dice.roll(9)));
            let less = format!("vms:\n{}", machine("b", ""));
            let more = format!("vms:\n{}{}", machine("a", &notes), machine("b", ""));
            (both, vec![less, more], ["vm/a".to_owned()].into())
        }
        // Three from nothing.
        _ => (String::new(), vec![both.clone(), both.clone(), both], BTreeSet::new()),
    }
}

async fn race(product: Product, seed: u64) -> Told {
    let lab = Lab::start(product, seed).await;
    let mut dice = Dice::of(seed, &["race"]);
    let (before, asked, may_delete) = course(product, seed % 5, &mut dice);
    let mut runners: Vec<Runner> = Vec::new();
    for number in 0..asked.len() {
        runners.push(lab.runner(number, seed * 10 + number as u64).await);
    }
    lab.may_delete(may_delete);
    if !before.is_empty() {
        lab.apply(&runners[0], &before).await;
    }
    lab.plant(FaultPlan::new(
        vec![],
        Some(Chance {
            seed,
            reads: 5,
            writes: 50 + dice.roll(150),
            any: of_the_network(product),
            // Slow tasks are what makes a race long.
            changes: of_tasks(product)
                .into_iter()
                .filter(|(name, _)| name == "task-slow")
                .collect(),
            without: BTreeSet::new(),
            most: 12,
        }),
    ));
    lab.arm(true);
    let starts: Vec<Duration> =
        asked.iter().map(|_| Duration::from_millis(dice.roll(120))).collect();
    let racers = runners.iter().zip(&asked).zip(&starts).map(|((runner, yaml), late)| {
        let lab = &lab;
        async move {
            tokio::time::sleep(*late).await;
            lab.apply(runner, yaml).await
        }
    });
    let mut told = Told { runs: asked.len() as u64, ..Told::default() };
    futures_join(racers.collect()).await;
    lab.heal();
    // The last word is that of one of them.
    let (runner, yaml) = (&runners[0], &asked[0]);
    let mut rest = lab.rest(runner, yaml).await;
    for _ in 0..QUIET_RUNS {
        if rest.actions.is_empty() && rest.blocked.is_empty() {
            break;
        }
        lab.apply(runner, yaml).await;
        told.runs += 1;
        rest = lab.rest(runner, yaml).await;
    }
    told.stopped = rest.blocked.clone();
    // Two half-made machines of one key stop everybody until a person chooses.
    let twins = rest.blocked.values().all(|code| code == "duplicate");
    if !rest.actions.is_empty() || !twins {
        let (actions, blocked) = (&rest.actions, &rest.blocked);
        lab.oracle.blame(format!("does not converge: {actions:?} {blocked:?} {:?}", rest.words));
    }
    if rest.blocked.is_empty() {
        lab.oracle.at_rest();
    }
    told.fired = lab.fired();
    told.counts = lab.oracle.counts();
    let oracle = lab.oracle.clone();
    lab.stop(runners).await;
    told.violations = oracle.violations();
    told
}

/// Waits for all of them.
async fn futures_join<F: Future>(all: Vec<F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.into_iter().map(|it| (Box::pin(it), None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (future, done) in &mut all {
            if done.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    all.into_iter().filter_map(|(_, done)| done).collect()
}

/// Races these seeds, several at a time.
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
            running.spawn(async move { (seed, race(product, seed).await) });
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
fn rivals_never_start_two_machines_of_one_key() {
    all(Product::Pve, SHORT);
}

#[test]
fn rivals_over_vcenter_never_start_two_machines_of_one_key() {
    all(Product::Vcenter, SHORT_VCENTER);
}

fn all(product: Product, short: u64) {
    let _guard = crate::without_bugs();
    crate::runtime().block_on(async {
        let only = std::env::var("NOVAHOST_CAMPAIGN_SEED").ok();
        let seeds = match only.and_then(|it| it.parse().ok()) {
            Some(seed) => seed..seed + 1,
            None => 0..page::size("RACES", short, LONG),
        };
        let mut tally = Tally::new(product.file("races"));
        let mut failures = Vec::new();
        for (seed, told) in walk(product, seeds.clone(), false).await {
            tally.ran(seed, &told);
            if !told.violations.is_empty() {
                failures.push(format!(
                    "seed {seed} (NOVAHOST_CAMPAIGN_SEED={seed}), course {}: {}",
                    seed % 5,
                    told.violations.join("\n  ")
                ));
            }
        }
        tally.write(seeds);
        assert!(failures.is_empty(), "{} races:\n{}", failures.len(), failures.join("\n"));
    });
}

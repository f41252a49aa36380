//! The contract of a provider, as a table of rules that run over every product.
//!
//! A rule knows the model and [`subject::Subject`], and no product. Each product's
//! subject brings its simulator, in every position in which it can be played; a failure
//! names rule and position. `table` holds the list, from which the table of
//! ARCHITECTURE.md, section 6, is checked.

mod births;
mod grants;
mod kept;
mod lab;
mod labels;
mod life;
mod lost;
mod observe;
mod parts;
mod proxmox;
mod read;
mod refused;
mod setups;
mod spreads;
mod subject;
mod table;
mod tasks;
mod transport;
mod vcenter;

use lab::Lab;
use mock_servers::pve::{Release, Switches};
use mock_servers::vcenter::Switches as Readings;
use std::{collections::BTreeSet, sync::Arc};
use subject::Subject;
use table::{RULES, Rule};

/// Rules at once: enough that their waits overlap.
const AT_ONCE: usize = 12;

/// Runs every rule over a subject, then asks whether the rules have gone everywhere.
#[allow(clippy::print_stdout, reason = "the counts are for whoever asks with --nocapture")]
async fn run(subject: Arc<dyn Subject>) {
    let position = subject.position();
    let permits = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let lacks = subject.lacks();
    let missing = |rule: &&Rule| rule.needs.iter().find_map(|need| lacks.get(need));
    for (rule, why) in RULES.iter().filter_map(|rule| Some((rule, missing(&rule)?))) {
        println!("{position}: skipped {}: {why}", rule.name);
    }
    let only = std::env::var("NOVAHOST_RULE").ok();
    let asked = |rule: &&Rule| only.as_ref().is_none_or(|only| rule.name.contains(only.as_str()));
    let running: Vec<_> = RULES
        .iter()
        .filter(|rule| missing(rule).is_none() && asked(rule))
        .map(|rule| {
            let (subject, permits) = (Arc::clone(&subject), Arc::clone(&permits));
            let work = tokio::spawn(async move {
                let _permit = permits.acquire().await;
                (rule.check)(Lab::open(subject, rule).await).await;
            });
            (rule, work)
        })
        .collect();
    let mut failures = Vec::new();
    for (rule, work) in running {
        if let Err(error) = work.await {
            failures.push(format!("{} at {position}: {}", rule.name, words(error)));
        }
    }
    assert!(failures.is_empty(), "{} rules broken:\n{}", failures.len(), failures.join("\n"));
    if only.is_some() {
        return;
    }
    let (calls, unsent) = subject.calls();
    for (call, times) in calls {
        println!("{position}: {times:5} × {call}");
    }
    assert!(unsent.is_empty(), "{position}: no rule makes the client send {unsent:?}");
    let unspoken = subject.unspoken();
    let mut words = lab::vocabulary();
    words.retain(|word| !unspoken.contains_key(word.as_str()));
    let unused: BTreeSet<_> = words.difference(&subject.used()).cloned().collect();
    assert!(unused.is_empty(), "{position}: no rule sends {unused:?}");
}

fn words(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "it was ended".to_owned() };
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "it panicked without words".to_owned())
}

async fn proxmox(release: Release, switches: Switches) {
    run(Arc::new(proxmox::Cluster::new(release, switches))).await;
}

#[tokio::test]
async fn proxmox_8_4_keeps_the_contract() {
    proxmox(Release::V8_4, Switches::default()).await;
}

#[tokio::test]
async fn proxmox_8_4_flipped_keeps_the_contract() {
    proxmox(Release::V8_4, Switches::flipped()).await;
}

#[tokio::test]
async fn proxmox_9_2_keeps_the_contract() {
    proxmox(Release::V9_2, Switches::default()).await;
}

#[tokio::test]
async fn proxmox_9_2_flipped_keeps_the_contract() {
    proxmox(Release::V9_2, Switches::flipped()).await;
}

async fn vcenter(readings: Readings) {
    run(Arc::new(vcenter::Installation::new(readings))).await;
}

#[tokio::test]
async fn vcenter_keeps_the_contract() {
    vcenter(Readings::default()).await;
}

#[tokio::test]
async fn vcenter_flipped_keeps_the_contract() {
    vcenter(Readings::flipped()).await;
}

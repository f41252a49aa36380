//! Bugs that are planted on purpose must be found by the campaigns, each by the one named
//! here. What no campaign finds is a campaign that proves nothing.
//!
//! The rows of the ownership table have bugs of their own, which its scenarios find
//! (`tests/it/planted.rs`).

use crate::{
    histories, matrix, page, races,
    stage::Product::{self, Pve, Vcenter},
};
use novahost::{
    clock::Clock,
    planted::{Bug, plant},
};
use serde_json::json;
use std::ops::Range;

/// Who finds a bug.
enum By {
    /// One cell of the matrix: fault, step.
    Cell(&'static str, &'static str),
    /// Histories of these seeds; they begin where one that finds it is near.
    Histories(Range<u64>),
    /// Races, up to so many.
    Races(u64),
}

const CATCHES: &[(Bug, Product, By)] = &[
    (Bug::OwnershipProvedOnce, Pve, By::Cell("steals-mark", "config-later")),
    (Bug::OwnershipProvedOnce, Vcenter, By::Cell("steals-mark", "config-later")),
    (Bug::UuidHalfNotCompared, Vcenter, By::Cell("clones", "ready")),
    (Bug::DigestNotSent, Pve, By::Cell("steals-mark", "update")),
    (Bug::DigestNotSent, Vcenter, By::Cell("steals-mark", "update")),
    (Bug::DeleteUnannounced, Pve, By::Cell("slow", "delete")),
    (Bug::DeleteUnannounced, Vcenter, By::Cell("slow", "delete")),
    (Bug::HiddenRowIgnored, Pve, By::Cell("hides", "update")),
    (Bug::HiddenRowIgnored, Vcenter, By::Cell("hides", "update")),
    (Bug::MissingIgnored, Vcenter, By::Cell("veils", "update")),
    (Bug::PlanCountsItself, Pve, By::Cell("slow", "start")),
    (Bug::PlanCountsItself, Vcenter, By::Cell("slow", "update")),
    (Bug::TagsNotReadBack, Pve, By::Cell("slow", "update")),
    (Bug::RestartUnasked, Pve, By::Histories(16..120)),
    (Bug::RestartUnasked, Vcenter, By::Histories(16..120)),
    (Bug::IntentAfterwards, Pve, By::Cell("slow", "start")),
    (Bug::IntentAfterwards, Vcenter, By::Cell("slow", "start")),
    (Bug::FailureIsDone, Pve, By::Cell("task-fails", "start")),
    (Bug::FailureIsDone, Vcenter, By::Cell("task-fails", "start")),
    (Bug::PostSentTwice, Pve, By::Cell("http-596-after", "configure")),
    (Bug::PostSentTwice, Vcenter, By::Cell("reset-after", "clone")),
    (Bug::TwinNotSeen, Pve, By::Races(60)),
    (Bug::TwinNotSeen, Vcenter, By::Races(60)),
    (Bug::StartedUnready, Pve, By::Cell("slow", "start")),
    (Bug::StartedUnready, Vcenter, By::Cell("slow", "start")),
    (Bug::LostBirthDenied, Pve, By::Cell("reset-after", "clone")),
    (Bug::LostBirthDenied, Vcenter, By::Cell("reset-after", "clone")),
    (Bug::SecretNoted, Pve, By::Cell("slow", "configure")),
    (Bug::SecretNoted, Vcenter, By::Cell("slow", "ready")),
    (Bug::SecretEchoed, Pve, By::Cell("echo", "configure")),
];

/// What a campaign says of a bug, and after how many tries.
async fn hunt(product: Product, by: &By) -> (String, u64, Option<String>) {
    let (name, all) = match by {
        By::Cell(row, column) => {
            let found = matrix::one(product, row, column).await;
            return (format!("matrix: {row} at {column}"), 1, found);
        }
        By::Histories(seeds) => ("histories", histories::walk(product, seeds.clone(), true).await),
        By::Races(most) => {
            // Births of one key at two ids.
            let seeds = (0..*most).filter(|seed| seed % 5 == 1);
            ("races", races::walk(product, seeds, true).await)
        }
    };
    let found = all.iter().find(|(_, told)| !told.violations.is_empty());
    let text = found.map(|(seed, told)| format!("seed {seed}: {}", told.violations[0]));
    (name.to_owned(), all.len() as u64, text)
}

/// Takes the bug out again however the hunt ends: another campaign would find it too.
struct Planted;

impl Planted {
    fn of(bug: Bug) -> Self {
        plant(bug);
        Self
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        plant(Bug::None);
    }
}

#[test]
fn every_planted_bug_is_found() {
    let _guard = crate::PLANTING.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    let only = std::env::var("NOVAHOST_PLANTED").ok();
    let (mut rows, mut missed) = (Vec::new(), Vec::new());
    for (bug, product, by) in CATCHES {
        let row = Bug::ALL.iter().find(|(it, ..)| it == bug).expect("every bug has a row");
        let (_, name, promise, _, words) = *row;
        if only.as_ref().is_some_and(|it| it != name) {
            continue;
        }
        let clock = Clock::system();
        let planted = Planted::of(*bug);
        let (campaign, tries, found) = crate::runtime().block_on(hunt(*product, by));
        drop(planted);
        let seconds = clock.monotonic().as_secs_f64();
        let over = product.name();
        if found.is_none() {
            missed.push(format!("{name} over {over}"));
        }
        rows.push(json!({
            "bug": name, "promise": promise, "breaks": words, "product": over, "campaign": campaign,
            "tries": tries, "seconds": (seconds * 10.0).round() / 10.0, "found": found,
        }));
    }
    if only.is_none() {
        page::write("planted", &json!({ "bugs": rows, "missed": missed }));
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

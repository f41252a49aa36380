//! Bugs that are planted on purpose must be found by the campaigns, each by the one named
//! here. What no campaign finds is a campaign that proves nothing.
//!
//! The rows of the ownership table have bugs of their own, which its scenarios find
//! (`tests/it/planted.rs`).

use crate::{histories, matrix, page, races, stage::Product};
use novahost::{
    clock::Clock,
    planted::{Bug, plant},
};
use serde_json::json;

/// Who finds a bug.
enum By {
    /// One cell of the matrix: fault, step.
    Cell(&'static str, &'static str),
    /// Histories, up to so many.
    Histories(u64),
    /// Races, up to so many.
    Races(u64),
}

const CATCHES: &[(Bug, By)] = &[
    (Bug::OwnershipProvedOnce, By::Cell("steals-mark", "config-later")),
    (Bug::DigestNotSent, By::Cell("steals-mark", "update")),
    (Bug::DeleteUnannounced, By::Cell("slow", "delete")),
    (Bug::HiddenRowIgnored, By::Cell("hides", "update")),
    (Bug::PlanCountsItself, By::Cell("slow", "start")),
    (Bug::TagsNotReadBack, By::Cell("slow", "update")),
    (Bug::RestartUnasked, By::Histories(120)),
    (Bug::IntentAfterwards, By::Cell("slow", "start")),
    (Bug::FailureIsDone, By::Cell("task-fails", "start")),
    (Bug::PostSentTwice, By::Cell("http-596-after", "configure")),
    (Bug::TwinNotSeen, By::Races(60)),
    (Bug::StartedUnready, By::Cell("slow", "start")),
    (Bug::LostBirthDenied, By::Cell("reset-after", "clone")),
    (Bug::SecretNoted, By::Cell("slow", "configure")),
    (Bug::SecretEchoed, By::Cell("echo", "configure")),
];

/// What a campaign says of a bug, and after how many tries.
async fn hunt(by: &By) -> (String, u64, Option<String>) {
    match by {
        By::Cell(row, column) => {
            let found = matrix::one(Product::Pve, row, column).await;
            (format!("matrix: {row} at {column}"), 1, found)
        }
        By::Histories(most) => {
            let all = histories::walk(Product::Pve, 0..*most, true).await;
            let found = all.iter().find(|(_, told)| !told.violations.is_empty());
            let text = found.map(|(seed, told)| format!("seed {seed}: {}", told.violations[0]));
            ("histories".to_owned(), all.len() as u64, text)
        }
        By::Races(most) => {
            // Births of one key at two ids.
            let all =
                races::walk(Product::Pve, (0..*most).filter(|seed| seed % 5 == 1), true).await;
            let found = all.iter().find(|(_, told)| !told.violations.is_empty());
            let text = found.map(|(seed, told)| format!("seed {seed}: {}", told.violations[0]));
            ("races".to_owned(), all.len() as u64, text)
        }
    }
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
    for (bug, by) in CATCHES {
        let row = Bug::ALL.iter().find(|(it, ..)| it == bug).expect("every bug has a row");
        let (_, name, promise, _, words) = *row;
        if only.as_ref().is_some_and(|it| it != name) {
            continue;
        }
        let clock = Clock::system();
        let planted = Planted::of(*bug);
        let (campaign, tries, found) = crate::runtime().block_on(hunt(by));
        drop(planted);
        let seconds = clock.monotonic().as_secs_f64();
        if found.is_none() {
            missed.push(name);
        }
        rows.push(json!({
            "bug": name, "promise": promise, "breaks": words, "campaign": campaign,
            "tries": tries, "seconds": (seconds * 10.0).round() / 10.0, "found": found,
        }));
    }
    if only.is_none() {
        page::write("planted", &json!({ "bugs": rows, "missed": missed }));
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

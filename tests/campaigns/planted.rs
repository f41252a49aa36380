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

/// Bug, where, who finds it, and what is said of what it does: whatever else went wrong
/// has not found it.
type Catch = (Bug, Product, By, &'static str);

const CATCHES: &[Catch] = &[
    (Bug::OwnershipProvedOnce, Pve, By::Cell("steals-mark", "config-later"), "is not ours"),
    (Bug::OwnershipProvedOnce, Vcenter, By::Cell("steals-mark", "config-later"), "is not ours"),
    (Bug::UuidHalfNotCompared, Vcenter, By::Cell("clones", "ready"), "it ends with `p`"),
    (Bug::DigestNotSent, Pve, By::Cell("steals-mark", "update"), "is not ours"),
    (Bug::DigestNotSent, Vcenter, By::Cell("steals-mark", "update"), "is not ours"),
    (Bug::DeleteUnannounced, Pve, By::Cell("slow", "delete"), "was deleted at stage `ready`"),
    (Bug::DeleteUnannounced, Vcenter, By::Cell("slow", "delete"), "was deleted at stage `ready`"),
    (Bug::HiddenRowIgnored, Pve, By::Cell("hides", "update"), "is there, and planned to be made"),
    (
        Bug::HiddenRowIgnored,
        Vcenter,
        By::Cell("hides", "update"),
        "is there, and planned to be made",
    ),
    (Bug::MissingIgnored, Vcenter, By::Cell("veils", "update"), "and is not seen as that"),
    (Bug::PlanCountsItself, Pve, By::Cell("slow", "start"), "the same inputs gave two plans"),
    (Bug::PlanCountsItself, Vcenter, By::Cell("slow", "update"), "the same inputs gave two plans"),
    (
        Bug::TagsNotReadBack,
        Pve,
        By::Cell("slow", "update"),
        r#"does not converge: ["vm/a:update"]"#,
    ),
    (Bug::RestartUnasked, Pve, By::Histories(16..120), "and nobody consented"),
    (Bug::RestartUnasked, Vcenter, By::Histories(16..120), "and nobody consented"),
    (Bug::IntentAfterwards, Pve, By::Cell("slow", "start"), "has no row of its own in the journal"),
    (
        Bug::IntentAfterwards,
        Vcenter,
        By::Cell("slow", "start"),
        "has no row of its own in the journal",
    ),
    (
        Bug::FailureIsDone,
        Pve,
        By::Cell("task-fails", "start"),
        r#"exit 0, and still to do: ["vm/a:start"]"#,
    ),
    (
        Bug::FailureIsDone,
        Vcenter,
        By::Cell("task-fails", "start"),
        r#"exit 0, and still to do: ["vm/a:start"]"#,
    ),
    (
        Bug::PostSentTwice,
        Pve,
        By::Cell("http-596-after", "configure"),
        "has no row of its own in the journal",
    ),
    (
        Bug::PostSentTwice,
        Vcenter,
        By::Cell("reset-after", "clone"),
        "has no row of its own in the journal",
    ),
    (Bug::TwinNotSeen, Pve, By::Races(60), "vm/a runs twice"),
    (Bug::TwinNotSeen, Vcenter, By::Races(60), "vm/a runs twice"),
    (Bug::StartedUnready, Pve, By::Cell("slow", "start"), "was started at stage `new`"),
    (Bug::StartedUnready, Vcenter, By::Cell("slow", "start"), "was started at stage `new`"),
    (
        Bug::LostBirthDenied,
        Pve,
        By::Cell("reset-after", "clone"),
        "was made by a call that the journal calls",
    ),
    (
        Bug::LostBirthDenied,
        Vcenter,
        By::Cell("reset-after", "clone"),
        "was made by a call that the journal calls",
    ),
    (Bug::SecretNoted, Pve, By::Cell("slow", "configure"), "a secret is in a summary"),
    (Bug::SecretNoted, Vcenter, By::Cell("slow", "ready"), "a secret is in a summary"),
    (Bug::SecretEchoed, Pve, By::Cell("echo", "configure"), "a secret is in"),
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
    let text = found.map(|(seed, told)| format!("seed {seed}: {}", told.violations.join("\n    ")));
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
    for (bug, product, by, says) in CATCHES {
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
        match &found {
            None => missed.push(format!("{name} over {over}")),
            Some(text) if !text.contains(says) => {
                missed.push(format!("{name} over {over}: `{says}` is not in\n    {text}"));
            }
            Some(_) => {}
        }
        rows.push(json!({
            "bug": name, "promise": promise, "breaks": words, "product": over, "campaign": campaign,
            "tries": tries, "seconds": (seconds * 10.0).round() / 10.0, "found": found,
        }));
    }
    if only.is_none() {
        page::write("planted", &json!({ "bugs": rows, "missed": missed }));
    }
    assert!(missed.is_empty(), "not found: {}", missed.join("\n"));
}

/// Those of the ownership table have to be in the other list, and are held to it there.
#[test]
fn every_bug_of_no_row_of_the_ownership_table_is_hunted() {
    let hunted = |bug: Bug| CATCHES.iter().any(|(it, ..)| *it == bug);
    let nobodys: Vec<&str> = Bug::ALL
        .iter()
        .filter(|(bug, .., row, _)| row.is_empty() && !hunted(*bug))
        .map(|(_, name, ..)| *name)
        .collect();
    assert!(nobodys.is_empty(), "no campaign hunts {nobodys:?}");
    // In the order of their declaration, so that none that has no words is overlooked.
    let numbers = Bug::ALL.iter().map(|(bug, ..)| usize::from(*bug as u8));
    assert!(numbers.eq(1..=Bug::ALL.len()), "a bug is not in `Bug::ALL`");
}

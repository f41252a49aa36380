//! What the campaigns found, for the reliability page.

use crate::histories::Told;
use novahost::clock::Clock;
use serde_json::{Value, json};
use std::{collections::BTreeMap, ops::Range, path::PathBuf, sync::LazyLock};

/// Whether a campaign runs for as long as it takes.
pub fn is_long() -> bool {
    std::env::var("NOVAHOST_CAMPAIGN").is_ok_and(|it| it == "long")
}

/// How much of it: by mode, unless `NOVAHOST_CAMPAIGN_name` says a number.
pub fn size(name: &str, short: u64, long: u64) -> u64 {
    let asked = std::env::var(format!("NOVAHOST_CAMPAIGN_{name}")).ok();
    asked.and_then(|it| it.parse().ok()).unwrap_or(if is_long() { long } else { short })
}

/// Whether the minutes that were given are over (`NOVAHOST_CAMPAIGN_MINUTES`).
pub fn is_late() -> bool {
    static BEGUN: LazyLock<Clock> = LazyLock::new(Clock::system);
    let asked = std::env::var("NOVAHOST_CAMPAIGN_MINUTES").ok();
    let minutes: Option<u64> = asked.and_then(|it| it.parse().ok());
    minutes.is_some_and(|it| BEGUN.monotonic().as_secs() >= it * 60)
}

/// Where campaigns leave their figures.
pub fn folder() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/campaigns");
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Writes the figures of one campaign.
pub fn write(name: &str, figures: &Value) {
    let text = serde_json::to_string_pretty(figures).unwrap();
    std::fs::write(folder().join(format!("{name}.json")), text).unwrap();
}

/// The figures of a campaign that walks histories.
pub struct Tally {
    name: String,
    faults: BTreeMap<String, u64>,
    failed: Vec<u64>,
    histories: u64,
    converged: u64,
    stopped: BTreeMap<String, u64>,
    runs: u64,
    sends: u64,
    effects: u64,
    starts: u64,
}

impl Tally {
    pub fn new(name: String) -> Self {
        Self {
            name,
            faults: BTreeMap::new(),
            failed: Vec::new(),
            histories: 0,
            converged: 0,
            stopped: BTreeMap::new(),
            runs: 0,
            sends: 0,
            effects: 0,
            starts: 0,
        }
    }

    pub fn ran(&mut self, seed: u64, told: &Told) {
        for strike in &told.fired {
            *self.faults.entry(strike.rule.clone()).or_default() += 1;
        }
        if !told.violations.is_empty() {
            self.failed.push(seed);
        }
        self.histories += 1;
        self.runs += told.runs;
        self.converged += u64::from(told.violations.is_empty() && told.stopped.is_empty());
        for code in told.stopped.values() {
            *self.stopped.entry(code.clone()).or_default() += 1;
        }
        self.sends += told.counts.0;
        self.effects += told.counts.1;
        self.starts += told.counts.2;
    }

    pub fn violated(&self) -> usize {
        self.failed.len()
    }

    pub fn write(&self, seeds: Range<u64>) {
        write(
            &self.name,
            &json!({
                "mode": if is_long() { "long" } else { "short" },
                "seeds": [seeds.start, seeds.end],
                "histories": self.histories,
                "runs": self.runs,
                "converged": self.converged,
                "honestly stopped": self.histories - self.converged - self.failed.len() as u64,
                "violated": self.failed.len(),
                "failed seeds": self.failed,
                "codes": self.stopped,
                "requests that change": self.sends,
                "changes": self.effects,
                "starts": self.starts,
                "faults": self.faults,
            }),
        );
    }
}

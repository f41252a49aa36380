//! Plans as text for people, JSON for programs and Markdown for reviews.
//!
//! Input: a plan and the envelope it was judged into. Output: strings. Nothing is
//! printed here, no terminal is asked what it can do and no clock is read; the same
//! input gives the same bytes. Every text that a hypervisor or a file brought is
//! made inert on its way through.

mod capacity;
mod command;
mod document;
mod drift;
mod drift_page;
mod entries;
mod entry;
mod findings;
#[cfg(test)]
mod fixture;
mod group;
mod inert;
mod layout;
mod markdown;
mod narrow;
mod next;
mod plan_text;
mod portability;
mod steps;
mod totals;
mod words;

pub use capacity::capacity_text;
pub use command::command_text;
pub use document::{PlanFileError, parse_plan, plan_json};
pub use drift::{Class, Difference, Drift, FieldDifference, Named};
pub use drift_page::{drift_json, drift_markdown, drift_text};
pub use entries::{Entries, adopting_entries, adopting_line};
pub use findings::findings_text;
pub use inert::{inert_json, inert_lines, inert_markdown, inert_page};
pub use markdown::plan_markdown;
pub use next::next_command;
pub use plan_text::plan_text;
pub use portability::{
    FieldRow, Portability, Reason, Support, portability, portability_of, portability_text,
};
pub use steps::part_words;
pub use totals::{Totals, totals};

/// What the reader's screen can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether colours may be used. They never carry a meaning of their own.
    pub color: bool,
    /// Whether anything but ASCII can be shown.
    pub unicode: bool,
    /// Columns. Less than 40 is taken as 40, where nothing useful fits any more.
    pub width: usize,
}

impl Style {
    /// What works everywhere: 80 columns of ASCII.
    pub const PLAIN: Style = Style { color: false, unicode: false, width: 80 };
}

/// What the reader asked to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether the single calls of each action are listed.
    pub steps: bool,
    /// The path that was planned, or the plan file, as it was typed; the last line
    /// names it in the next command.
    pub subject: Option<String>,
    /// The YAML that a saved plan belongs to, when it is not the default.
    pub file: Option<String>,
    /// Whether the simulators were asked; the next command asks them too.
    pub sandbox: bool,
    /// Whether the plan is about to run: then it does not end in what to type.
    pub running: bool,
}

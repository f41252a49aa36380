//! A plan as a page for people.

use super::{
    Options, Style, Totals, entry,
    group::{Group, SINGLE_MAX, group},
    inert::inert_lines,
    layout::{Canvas, Paint, Piece, width_of},
    narrow::narrowed,
    next,
    totals::{number, totals},
};
use crate::model::{Action, ActionId, Blocked, Code, Envelope, HypervisorName, Plan, Verb};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Entries of one verb that are shown in full in a large plan; of those that a person
/// must agree to, more.
const CALM_ENTRIES_MAX: usize = 20;
const GRAVE_ENTRIES_MAX: usize = 60;
/// Lines of one kind (gaps of a hypervisor, objects of a refusal) that are shown.
const LINES_MAX: usize = 10;
/// Notes that are shown.
const NOTES_MAX: usize = 20;
/// Digits of the plan id that a person compares by eye.
const ID_DIGITS: usize = 12;

/// The whole page, ending in the next command.
///
/// `envelope` is the plan's own, or what `apply` judged with a person's consent.
pub fn plan_text(plan: &Plan, envelope: &Envelope, options: &Options, style: &Style) -> String {
    let (plan, envelope) = narrowed(plan, envelope);
    let (plan, envelope) = (&*plan, &*envelope);
    let mut page = Page {
        canvas: Canvas::new(style),
        plan,
        envelope,
        steps: options.steps,
        totals: totals(plan, envelope),
    };
    page.header();
    page.refusals();
    page.waves();
    page.blocked();
    page.notes();
    page.end(options);
    inert_lines(&page.canvas.finish()).into_owned()
}

struct Page<'a> {
    canvas: Canvas,
    plan: &'a Plan,
    envelope: &'a Envelope,
    steps: bool,
    totals: Totals,
}

impl<'a> Page<'a> {
    fn header(&mut self) {
        let id: String = self.plan.plan_id.chars().take(ID_DIGITS).collect();
        let id = self.canvas.data(&id).into_owned();
        let project = self.canvas.data(self.plan.body.project.as_str()).into_owned();
        let mut pieces = vec![
            Piece::new(Paint::Bold, format!("Plan {id}")),
            Piece::plain(format!("for {project}")),
        ];
        if let Some(made) = &self.envelope.made_at {
            pieces.push(Piece::new(Paint::Dim, format!("made {}", self.canvas.data(made))));
        }
        self.canvas.words(0, &pieces);
        if !self.envelope.hypervisors.is_empty() {
            self.canvas.blank();
        }
        self.hypervisors();
        self.targeted();
        if self.totals.actions() > SINGLE_MAX {
            self.canvas.blank();
            self.count();
        }
    }

    fn hypervisors(&mut self) {
        let name_width = self.widest(|(name, _)| name.as_str());
        let version_width = self.widest(|(_, it)| it.version.as_str());
        for (name, read) in &self.envelope.hypervisors {
            let complete = read.coverage == "complete";
            let paint = if complete { Paint::Plain } else { Paint::Danger };
            let name = self.canvas.data(name.as_str()).into_owned();
            let version = match read.version.as_str() {
                "" => "not read".to_owned(),
                version => self.canvas.data(version).into_owned(),
            };
            let pad = " ".repeat(version_width.saturating_sub(width_of(&version)));
            let coverage = self.canvas.data(&read.coverage).into_owned();
            // The columns are kept by `verbatim`.
            let mut facts = vec![format!("{version}{pad}"), coverage];
            if !read.version.is_empty() {
                let (guests, owned) = (read.guests as usize, read.owned as usize);
                facts.push(format!("{} guests, {} ours", number(guests), number(owned)));
            }
            if let Some(age) = read.age_s.filter(|age| *age >= 60) {
                facts.push(format!("read {} min ago", age / 60));
            }
            let line = facts.join("  ");
            let lead =
                format!("{name}{}  ", " ".repeat(name_width.saturating_sub(width_of(&name))));
            if 2 + width_of(&lead) + width_of(&line) > self.canvas.width() {
                // Too long for columns: it is broken between facts.
                let hang = name_width.max(width_of(&name));
                let facts = facts.iter().map(|it| Piece::whole(paint, it.trim_end()));
                self.canvas.row(2, &name, hang, &facts.collect::<Vec<_>>());
            } else {
                self.canvas.verbatim(2, &lead, &line, paint);
            }
            self.gaps(&read.coverage, &read.gaps);
        }
    }

    fn widest(
        &self,
        text: impl Fn((&'a HypervisorName, &'a crate::model::HypervisorSummary)) -> &'a str,
    ) -> usize {
        let widths =
            self.envelope.hypervisors.iter().map(|it| width_of(&self.canvas.data(text(it))));
        // A name of any length must leave room for the rest.
        widths.max().unwrap_or(0).clamp(8, 24)
    }

    fn gaps(&mut self, coverage: &str, gaps: &[String]) {
        let rest = gaps.len().saturating_sub(LINES_MAX);
        for gap in gaps.iter().take(LINES_MAX) {
            let text = self.canvas.data(gap).into_owned();
            self.canvas.row(4, "!", 1, &[Piece::plain(text)]);
        }
        if rest > 0 {
            self.more(4, rest, "gaps");
        }
        let meaning = match coverage {
            "scoped" => "creates only at pinned ids, deletes nothing there",
            "partial" => "unknown is not absent: creates and deletes nothing there",
            "failed" => "its machines are unknown, not gone: nothing is done there",
            _ => return,
        };
        self.canvas.words(4, &[Piece::new(Paint::Dim, meaning)]);
    }

    fn targeted(&mut self) {
        let Some(targeted) = &self.envelope.targeted else { return };
        let mut text = format!("only {}", self.canvas.data(&targeted.targets.join(", ")));
        if !targeted.added.is_empty() {
            let added: Vec<_> = targeted.added.iter().map(ActionId::as_str).collect();
            let _ = write!(text, "; needed with it: {}", self.canvas.data(&added.join(", ")));
        }
        let _ = write!(text, "; {} left out", number(targeted.left_out as usize));
        self.canvas.row(2, "--target", 8, &[Piece::plain(text)]);
    }

    fn refusals(&mut self) {
        for refused in &self.envelope.refusals {
            self.canvas.blank();
            let message = self.canvas.data(&refused.message).into_owned();
            self.canvas.row(
                0,
                "!",
                1,
                &[
                    Piece::new(Paint::Danger, format!("REFUSED {}:", refused.code)),
                    Piece::plain(message),
                ],
            );
            if !refused.objects.is_empty() {
                let objects = self.listed(&refused.objects);
                self.canvas.row(8, "these", 8, &[Piece::plain(objects)]);
            }
            let help = self.canvas.data(&refused.help).into_owned();
            self.canvas.row(8, "help", 8, &[Piece::plain(help)]);
        }
    }

    fn waves(&mut self) {
        let by_id: BTreeMap<&ActionId, &'a Action> =
            self.plan.body.actions.iter().map(|action| (&action.id, action)).collect();
        let mut left: BTreeSet<&ActionId> = by_id.keys().copied().collect();
        let alone = self.verbs_shown_singly();
        let mut limits = Limits::default();
        let count = self.envelope.waves.len();
        for (index, wave) in self.envelope.waves.iter().enumerate() {
            let actions: Vec<_> = wave
                .iter()
                .filter(|id| left.remove(id))
                .filter_map(|id| by_id.get(id).copied())
                .collect();
            let heading = format!("Wave {} of {}", number(index + 1), number(count));
            self.wave(&heading, &actions, &alone, &mut limits);
        }
        // What waits may have no wave of its own yet.
        let rest: Vec<_> = left.iter().filter_map(|id| by_id.get(id).copied()).collect();
        self.wave("Not in this run", &rest, &alone, &mut limits);
        self.hidden(&limits);
    }

    fn verbs_shown_singly(&self) -> BTreeSet<Verb> {
        let mut counts: BTreeMap<Verb, usize> = BTreeMap::new();
        for action in &self.plan.body.actions {
            *counts.entry(action.verb).or_default() += 1;
        }
        counts.into_iter().filter(|(_, count)| *count <= SINGLE_MAX).map(|(verb, _)| verb).collect()
    }

    fn wave(
        &mut self,
        heading: &str,
        actions: &[&'a Action],
        alone: &BTreeSet<Verb>,
        limits: &mut Limits,
    ) {
        let groups = group(actions, alone, self.envelope);
        let mut headed = false;
        for group in &groups {
            if !limits.admit(group, alone.contains(&group.first.verb)) {
                continue;
            }
            if !headed {
                self.canvas.blank();
                self.canvas.words(0, &[Piece::new(Paint::Bold, heading)]);
                headed = true;
            }
            self.canvas.blank();
            entry::write(&mut self.canvas, group, self.envelope, self.steps);
        }
    }

    fn hidden(&mut self, limits: &Limits) {
        if limits.hidden.is_empty() {
            return;
        }
        self.canvas.blank();
        for (verb, count) in &limits.hidden {
            let text = format!(
                "{} and {} more to {verb}; --format json shows all",
                self.canvas.ellipsis(),
                number(*count)
            );
            self.canvas.words(0, &[Piece::plain(text)]);
        }
    }

    fn blocked(&mut self) {
        let all = &self.plan.body.blocked;
        if all.is_empty() {
            return;
        }
        self.canvas.blank();
        self.canvas.words(0, &[Piece::new(Paint::Bold, "Blocked")]);
        let mut sets: BTreeMap<(Code, &HypervisorName, &str), Vec<&Blocked>> = BTreeMap::new();
        for blocked in all {
            // A few are told apart by what is said of them; a crowd only by cause.
            let own = if all.len() > SINGLE_MAX { "" } else { blocked.message.as_str() };
            sets.entry((blocked.code, &blocked.hypervisor, own)).or_default().push(blocked);
        }
        let mut sets: Vec<_> = sets.into_values().collect();
        if all.len() <= SINGLE_MAX {
            sets.sort_by_key(|set| set[0]);
        }
        for set in &sets {
            self.canvas.blank();
            self.blocked_entry(set);
        }
    }

    fn blocked_entry(&mut self, set: &[&Blocked]) {
        let first = set[0];
        let mut headline = self.canvas.data(&first.key.to_string()).into_owned();
        if set.len() > 1 {
            headline = format!("{} objects like {headline}", number(set.len()));
        }
        let verb = first.verb.filter(|verb| set.iter().all(|it| it.verb == Some(*verb)));
        let verb = verb.map(|verb| format!("{verb} ")).unwrap_or_default();
        let on = format!("on {}", self.canvas.data(first.hypervisor.as_str()));
        self.canvas.row(
            0,
            "",
            2,
            &[
                Piece::new(Paint::Danger, format!("! {verb}")),
                Piece::new(Paint::Bold, headline),
                Piece::plain(on),
                Piece::new(Paint::Danger, format!("[{}]", first.code)),
            ],
        );
        let mut rows = Vec::new();
        if set.len() > 1 {
            let names: Vec<_> = set.iter().map(|it| it.key.to_string()).collect();
            rows.push(("these", self.listed(&names)));
        }
        rows.push(("why", self.canvas.data(&first.message).into_owned()));
        rows.push(("help", self.canvas.data(&first.help).into_owned()));
        // Alike does not mean written in one place.
        let places: BTreeSet<_> =
            set.iter().filter_map(|it| it.place.as_ref()).map(ToString::to_string).collect();
        if !places.is_empty() {
            let places: Vec<_> = places.into_iter().collect();
            rows.push(("at", self.listed(&places)));
        }
        for (label, text) in rows.into_iter().filter(|(_, text)| !text.is_empty()) {
            self.canvas.row(8, label, 8, &[Piece::plain(text)]);
        }
    }

    fn notes(&mut self) {
        let notes = &self.envelope.notes;
        if notes.is_empty() {
            return;
        }
        self.canvas.blank();
        self.canvas.words(0, &[Piece::new(Paint::Bold, "Notes")]);
        for note in notes.iter().take(NOTES_MAX) {
            let about = note.key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default();
            let text = self.canvas.data(&format!("{about}{}", note.text)).into_owned();
            self.canvas.row(2, "", 0, &[Piece::plain(text)]);
        }
        let rest = notes.len().saturating_sub(NOTES_MAX);
        if rest > 0 {
            self.more(2, rest, "notes");
        }
    }

    fn end(&mut self, options: &Options) {
        self.canvas.blank();
        self.count();
        if !options.running {
            next::write(&mut self.canvas, &next::next(self.plan, self.envelope, options));
        }
    }

    /// The totals; what is not done now goes to a line of its own when both do not
    /// fit on one.
    fn count(&mut self) {
        let [line, extra] = self.totals.parts();
        if width_of(&line) + 1 + width_of(&extra) <= self.canvas.width() {
            return self.canvas.words(0, &[Piece::new(Paint::Bold, self.totals.line())]);
        }
        self.canvas.words(0, &[Piece::new(Paint::Bold, line)]);
        self.canvas.words(0, &[Piece::new(Paint::Bold, extra)]);
    }

    /// A few of many, on one wrapped line.
    fn listed(&self, all: &[String]) -> String {
        let shown = all.iter().take(LINES_MAX).cloned().collect::<Vec<_>>().join(", ");
        let mut text = self.canvas.data(&shown).into_owned();
        let rest = all.len().saturating_sub(LINES_MAX);
        if rest > 0 {
            let _ = write!(text, " {} and {} more", self.canvas.ellipsis(), number(rest));
        }
        text
    }

    fn more(&mut self, indent: usize, count: usize, what: &str) {
        let text = format!("{} and {} more {what}", self.canvas.ellipsis(), number(count));
        self.canvas.words(indent, &[Piece::plain(text)]);
    }
}

/// How much of each verb has been shown, over all waves.
#[derive(Default)]
struct Limits {
    shown: BTreeMap<(Verb, bool), usize>,
    hidden: BTreeMap<Verb, usize>,
}

impl Limits {
    /// Whether there is still room for an entry.
    fn admit(&mut self, group: &Group<'_>, always: bool) -> bool {
        let verb = group.first.verb;
        let grave = group.first.disruption().needs_consent() || !group.first.data_loss.is_none();
        let shown = self.shown.entry((verb, grave)).or_default();
        let max = if grave { GRAVE_ENTRIES_MAX } else { CALM_ENTRIES_MAX };
        if always || *shown < max {
            *shown += 1;
            return true;
        }
        *self.hidden.entry(verb).or_default() += group.members.len();
        false
    }
}

#[cfg(test)]
#[path = "plan_text_tests.rs"]
mod tests;

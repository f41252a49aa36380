//! A plan as a comment on a review.

use super::{
    Options, Style,
    inert::{inert_html, inert_lines, inert_markdown},
    narrow::narrowed,
    plan_text,
    totals::{number, totals},
    words::{danger, forbids, reason, sign},
};
use crate::model::{Action, Envelope, Plan};
use std::fmt::Write as _;

/// Rows of the table; what disturbs comes first, so a cut loses the harmless.
pub(super) const ROWS_MAX: usize = 50;
/// Bytes of the details. Comments end at 65,536 characters on the services we know.
pub(super) const DETAILS_MAX: usize = 40_000;
/// Bytes above the details after which no row is begun: with the longest row and the
/// details it is still a comment.
pub(super) const HEAD_MAX: usize = 16_000;

/// Totals, a table of what is done, and the page for people folded away.
pub fn plan_markdown(plan: &Plan, envelope: &Envelope, options: &Options) -> String {
    let (plan, envelope) = narrowed(plan, envelope);
    let (plan, envelope) = (&*plan, &*envelope);
    let id: String = plan.plan_id.chars().take(12).collect();
    let mut text = format!(
        "### {}\n\n{} for {}\n",
        totals(plan, envelope).line(),
        inert_markdown(&id),
        inert_markdown(plan.body.project.as_str())
    );
    not_read(&mut text, envelope);
    for refused in &envelope.refusals {
        if text.len() > HEAD_MAX {
            break;
        }
        let _ = write!(
            text,
            "\n**REFUSED** {}: {} Help: {}\n",
            inert_markdown(refused.code.as_str()),
            inert_markdown(&refused.message),
            inert_markdown(&refused.help)
        );
    }
    table(&mut text, plan, envelope);
    blocked(&mut text, plan);
    details(&mut text, plan, envelope, options);
    inert_lines(&text).into_owned()
}

fn not_read(text: &mut String, envelope: &Envelope) {
    for (name, read) in envelope.hypervisors.iter().filter(|(_, it)| it.coverage != "complete") {
        if text.len() > HEAD_MAX {
            return;
        }
        let gap = read.gaps.first().map(|gap| format!(": {}", inert_markdown(gap)));
        let _ = write!(
            text,
            "\n**Not complete**: {} ({}){}\n",
            inert_markdown(name.as_str()),
            inert_markdown(&read.coverage),
            gap.unwrap_or_default()
        );
    }
}

fn table(text: &mut String, plan: &Plan, envelope: &Envelope) {
    if plan.body.actions.is_empty() {
        return;
    }
    text.push_str("\n| | what | where | costs | why |\n|---|---|---|---|---|\n");
    let mut actions: Vec<&Action> = plan.body.actions.iter().collect();
    actions.sort_by_key(|action| std::cmp::Reverse(action.disruption()));
    let mut rows = 0;
    for action in actions.iter().take(ROWS_MAX) {
        if text.len() > HEAD_MAX {
            break;
        }
        rows += 1;
        let waits = match envelope.waiting.get(&action.id) {
            Some(waiting) if forbids(waiting.code) => "! ",
            Some(_) => "… ",
            None => "",
        };
        let mut costs = danger(action).join(", ");
        if !action.data_loss.is_none() {
            let _ = write!(costs, " ({} lost)", action.data_loss.bytes());
        }
        let why = envelope.reasons.get(&action.id).map_or("", |it| reason(*it));
        let _ = writeln!(
            text,
            "| {waits}{} | {} {} | {} | {costs} | {why} |",
            sign(action.verb).0,
            action.verb,
            inert_markdown(&action.key.to_string()),
            inert_markdown(action.hypervisor.as_str()),
        );
    }
    let rest = actions.len() - rows;
    if rest > 0 {
        let _ = writeln!(text, "\n… and {} more.", number(rest));
    }
}

fn blocked(text: &mut String, plan: &Plan) {
    let mut rows = 0;
    for blocked in plan.body.blocked.iter().take(ROWS_MAX) {
        if text.len() > HEAD_MAX {
            break;
        }
        rows += 1;
        let _ = write!(
            text,
            "\n- **blocked** {} {}: {}",
            inert_markdown(&blocked.key.to_string()),
            inert_markdown(blocked.code.as_str()),
            inert_markdown(&blocked.message)
        );
    }
    let rest = plan.body.blocked.len() - rows;
    if rest > 0 {
        let _ = write!(text, "\n- … and {} more blocked", number(rest));
    }
    if !plan.body.blocked.is_empty() {
        text.push('\n');
    }
}

fn details(text: &mut String, plan: &Plan, envelope: &Envelope, options: &Options) {
    let style = Style { color: false, unicode: true, width: 100 };
    fold(text, &plan_text(plan, envelope, options, &style), DETAILS_MAX);
}

/// A page for people, folded away.
pub(super) fn fold(text: &mut String, page: &str, bytes_max: usize) {
    let page = inert_html(page);
    text.push_str("\n<details><summary>Details</summary>\n\n<pre>\n");
    let mut left = bytes_max;
    for line in page.lines() {
        let Some(after) = left.checked_sub(line.len() + 1) else {
            text.push_str("… cut here; --format json has all of it\n");
            break;
        };
        left = after;
        // A blank line would not end the element, but some pages render it badly.
        text.push_str(if line.is_empty() { " " } else { line });
        text.push('\n');
    }
    text.push_str("</pre>\n</details>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{create, planned, sample};

    #[test]
    fn the_comment_begins_with_the_totals_and_folds_the_rest() {
        let plan = sample();
        let text = plan_markdown(&plan, &plan.envelope, &Options::default());
        assert!(text.starts_with("### Plan: 1 to create"), "{text}");
        let table = text.find("| ± | replace").or_else(|| text.find("| … ± | replace"));
        assert!(table < text.find("<details>"), "{text}");
        assert!(text.trim_end().ends_with("</details>"));
    }

    #[test]
    fn hostile_text_cannot_leave_its_cell_or_the_details() {
        let mut plan = sample();
        plan.body.blocked[0].message = "</pre></details>`@team` | **x**\n::error::y".into();
        let text = plan_markdown(&plan, &plan.envelope, &Options::default());
        assert_eq!(text.matches("</pre>").count(), 1);
        assert_eq!(text.matches("</details>").count(), 1);
        assert!(!text.contains("@team"));
        assert!(text.lines().all(|line| !line.trim_start().starts_with("::")));
    }

    #[test]
    fn a_huge_plan_still_fits_into_a_comment() {
        let actions = (0..5_000).map(|n| create(&format!("m-{n:05}"), 1 + n)).collect();
        let plan = planned(actions);
        let text = plan_markdown(&plan, &plan.envelope, &Options::default());
        assert!(text.chars().count() < 65_536, "{}", text.len());
        assert!(text.contains("and 4,950 more"));
    }
}

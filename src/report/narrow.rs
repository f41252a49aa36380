//! What `--target` leaves of a plan for its readers. The document stays whole, because
//! the plan's id is that of the whole; pages show only what may run.

use crate::model::{Envelope, Plan};
use std::borrow::Cow;

/// The plan and its envelope, with what was left out gone.
pub(super) fn narrowed<'a>(
    plan: &'a Plan,
    envelope: &'a Envelope,
) -> (Cow<'a, Plan>, Cow<'a, Envelope>) {
    if envelope.targeted.is_none() {
        return (Cow::Borrowed(plan), Cow::Borrowed(envelope));
    }
    let mut plan = plan.clone();
    plan.body.actions.retain(|it| envelope.covers(&it.id));
    plan.body.blocked.retain(|it| envelope.covers_key(&it.key));
    let mut envelope = envelope.clone();
    for wave in &mut envelope.waves {
        wave.retain(|id| plan.body.actions.iter().any(|it| it.id == *id));
    }
    envelope.waves.retain(|wave| !wave.is_empty());
    envelope.waiting.retain(|id, _| plan.body.actions.iter().any(|it| it.id == *id));
    (Cow::Owned(plan), Cow::Owned(envelope))
}

#[cfg(test)]
mod tests {
    use crate::{
        model::Targeted,
        report::{Options, Style, fixture::sample, plan_markdown, plan_text},
    };

    #[test]
    fn what_a_target_leaves_out_is_not_shown_and_the_next_command_keeps_the_target() {
        let mut plan = sample();
        let first = plan.body.actions[0].clone();
        plan.envelope.targeted = Some(Targeted {
            targets: vec![first.key.to_string()],
            added: Vec::new(),
            chosen: [first.id.clone()].into(),
            left_out: u32::try_from(plan.body.actions.len() - 1).unwrap(),
        });
        let text = plan_text(&plan, &plan.envelope, &Options::default(), &Style::PLAIN);
        let markdown = plan_markdown(&plan, &plan.envelope, &Options::default());
        for other in plan.body.actions[1..].iter().filter(|it| it.key != first.key) {
            let heading = format!("{} {}", other.verb, other.key);
            assert!(!text.contains(&heading), "{text}");
            assert!(!markdown.contains(&heading), "{markdown}");
        }
        assert!(text.contains(&format!("{} {}", first.verb, first.key)), "{text}");
        assert!(text.contains(&format!("--target {}", first.key)), "{text}");
    }
}

//! Plan documents: written whole, and trusted only after they were checked again.

use super::inert::inert_json;
use crate::model::{ActionId, PLAN_FORMAT, Plan, plan_id};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Why a text is not a plan that may be applied.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// It is not JSON, or has a field that this version does not know.
    #[error("not a plan document")]
    Syntax(#[from] serde_json::Error),
    /// It was written by another version.
    #[error("the plan document has format {found}, this version reads {PLAN_FORMAT}; plan again")]
    Format {
        /// What it says.
        found: u32,
    },
    /// Its body is not what the id stands for.
    #[error("the plan document was changed: it says `{written}`, its content is `{computed}`")]
    Id {
        /// What it says.
        written: String,
        /// What its body gives.
        computed: String,
    },
    /// Two actions have one id.
    #[error("two actions of the plan document have the id `{0}`")]
    Twice(ActionId),
    /// An edge, a wave or a waiting entry names an action that is not there.
    #[error("the plan document speaks of `{0}`, which is none of its actions")]
    NoSuchAction(ActionId),
}

/// The whole document, as it is saved and as `--format json` shows it.
pub fn plan_json(plan: &Plan) -> String {
    // A plan holds nothing that JSON cannot hold; a test writes one of each kind.
    #[allow(clippy::expect_used, reason = "a plan has text keys and whole numbers only")]
    let mut text = inert_json(serde_json::to_string_pretty(plan).expect("a plan is JSON"));
    text.push('\n');
    text
}

/// Reads a document and checks what was true when it was written.
///
/// # Errors
/// When it is no plan, of another format, changed since, or speaks of actions that
/// it does not have.
pub fn parse_plan(text: &str) -> Result<Plan, PlanFileError> {
    let plan: Plan = serde_json::from_str(text).map_err(|error| match format_of(text) {
        Some(found) if found != PLAN_FORMAT => PlanFileError::Format { found },
        Some(_) | None => PlanFileError::Syntax(error),
    })?;
    if plan.body.format != PLAN_FORMAT {
        return Err(PlanFileError::Format { found: plan.body.format });
    }
    let computed = plan_id(&plan.body);
    if computed != plan.plan_id {
        return Err(PlanFileError::Id { written: plan.plan_id, computed });
    }
    check_names(&plan)?;
    Ok(plan)
}

/// The format of a document that cannot be read in full.
fn format_of(text: &str) -> Option<u32> {
    #[derive(Deserialize)]
    struct Outer {
        body: Inner,
    }
    #[derive(Deserialize)]
    struct Inner {
        format: u32,
    }
    serde_json::from_str::<Outer>(text).ok().map(|outer| outer.body.format)
}

/// The envelope is outside of the digest, so what it names is looked up.
fn check_names(plan: &Plan) -> Result<(), PlanFileError> {
    let mut known = BTreeSet::new();
    for action in &plan.body.actions {
        if !known.insert(&action.id) {
            return Err(PlanFileError::Twice(action.id.clone()));
        }
    }
    let edges = plan.body.edges.iter().flat_map(|edge| [&edge.before, &edge.after]);
    let mut named = edges
        .chain(plan.envelope.waves.iter().flatten())
        .chain(plan.envelope.waiting.keys())
        .chain(plan.envelope.reasons.keys());
    match named.find(|id| !known.contains(id)) {
        Some(stranger) => Err(PlanFileError::NoSuchAction(stranger.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::sample;

    #[test]
    fn a_document_reads_back_as_the_plan_it_was() {
        let plan = sample();
        assert_eq!(parse_plan(&plan_json(&plan)).unwrap(), plan);
    }

    #[test]
    fn a_changed_body_is_refused_whatever_was_changed() {
        let text = plan_json(&sample());
        for (from, to) in [
            ("\"size\": 8589934592", "\"size\": 17179869184"),
            ("\"vm/old-1:delete\"", "\"vm/old-2:delete\""),
            ("\"unchanged\": 52", "\"unchanged\": 53"),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "{from}");
            assert!(matches!(parse_plan(&changed), Err(PlanFileError::Id { .. })), "{from}");
        }
    }

    #[test]
    fn a_field_that_is_not_known_is_refused() {
        let text = plan_json(&sample()).replacen("\"plan_id\"", "\"note\": 1, \"plan_id\"", 1);
        let error = parse_plan(&text).unwrap_err();
        assert!(matches!(error, PlanFileError::Syntax(_)), "{error:?}");
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("note"));
    }

    #[test]
    fn another_format_is_named_also_when_its_fields_are_strange() {
        let mut plan = sample();
        plan.body.format = 7;
        plan.plan_id = plan_id(&plan.body);
        let text = plan_json(&plan);
        assert!(matches!(parse_plan(&text), Err(PlanFileError::Format { found: 7 })));
        let strange = text.replacen("\"project\"", "\"novelty\": 1, \"project\"", 1);
        assert!(matches!(parse_plan(&strange), Err(PlanFileError::Format { found: 7 })));
    }

    #[test]
    fn an_envelope_cannot_speak_of_actions_that_are_not_there() {
        let mut plan = sample();
        plan.envelope.waves.push(vec!["vm/ghost:create".into()]);
        let error = parse_plan(&plan_json(&plan)).unwrap_err();
        assert!(
            matches!(error, PlanFileError::NoSuchAction(id) if id.as_str() == "vm/ghost:create")
        );
    }

    #[test]
    fn two_actions_of_one_id_are_refused() {
        let mut plan = sample();
        let first = plan.body.actions[0].clone();
        plan.body.actions.push(first);
        plan.plan_id = plan_id(&plan.body);
        assert!(matches!(parse_plan(&plan_json(&plan)), Err(PlanFileError::Twice(_))));
    }

    #[test]
    fn the_id_is_the_digest_of_the_whole_body() {
        let mut plan = sample();
        assert_eq!(plan_id(&plan.body), crate::model::digest_of(&plan.body));
        plan.body.actions.clear();
        plan.body.edges.clear();
        assert_eq!(plan_id(&plan.body), crate::model::digest_of(&plan.body));
    }

    #[test]
    fn the_envelope_does_not_change_the_id() {
        let mut plan = sample();
        plan.envelope.made_at = Some("2026-01-01T00:00:00Z".into());
        plan.envelope.waiting.clear();
        assert!(parse_plan(&plan_json(&plan)).is_ok());
    }
}

//! `apply`.

use super::{
    args::{Apply, Format, Global},
    error::CliError,
    output::Output,
    plan as plan_command, progress,
    run::{Purpose, Shown, blocked, execute, show_summary},
    session::{self, Session},
};
use crate::{
    apply::{Ended, ExitClass, RunSummary, Stop, exit_class},
    model::{ActionId, Consent, Plan},
    reconcile::{self, Reconciled},
    report,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// `apply [PLAN|PATH]`.
pub async fn run(global: &Global, args: Apply, output: &Output) -> Result<ExitClass, CliError> {
    let saved = match &args.path {
        Some(path) if is_plan(path) => Some(plan_command::read_plan(path)?),
        Some(_) | None => None,
    };
    // A saved plan belongs to the YAML beside it; its path is not in the plan, because
    // the same plan has the same id on any machine.
    let yaml: Option<PathBuf> = match &saved {
        Some(_) => args.file.clone(),
        None if args.path.is_some() && args.file.is_some() => {
            let text = "`--file` goes with a saved plan; name the YAML once";
            return Err(CliError::new(ExitClass::Config, text));
        }
        None => args.path.clone().or_else(|| args.file.clone()),
    };
    if let (Some(plan), Some(wanted)) = (&saved, &args.approve) {
        check_approval(plan, wanted)?;
    }
    let session = Session::open(global, yaml.as_deref(), output).await?;
    let result = run_in(&session, &args, saved).await;
    session.close().await;
    result
}

/// A plan document, by its first byte: YAML that begins with a brace has no use here.
fn is_plan(path: &Path) -> bool {
    use std::io::Read as _;
    let mut first = [0_u8; 64];
    let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut first)).unwrap_or(0);
    first[..read].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

fn check_approval(plan: &Plan, wanted: &str) -> Result<(), CliError> {
    if plan.plan_id.starts_with(wanted) {
        return Ok(());
    }
    Err(CliError::new(
        ExitClass::Stale,
        format!("the plan is {}, not the approved {wanted}; nothing was run", plan.plan_id),
    )
    .hint("look at the plan again and approve its id"))
}

fn consent_of(args: &Apply, yes: bool) -> Consent {
    let mut allow: BTreeMap<_, Option<BTreeSet<_>>> = BTreeMap::new();
    for it in &args.allow {
        let slot = allow.entry(it.class).or_insert_with(|| Some(BTreeSet::new()));
        match (&it.keys, slot.as_mut()) {
            // Once for all is for all, in whatever order the flags came.
            (None, _) => *slot = None,
            (Some(keys), Some(known)) => known.extend(keys.iter().cloned()),
            (Some(_), None) => {}
        }
    }
    Consent {
        yes,
        allow,
        confirm: args.confirm.iter().cloned().collect(),
        expect_shrink: args.expect_shrink,
    }
}

/// Plans, asks and runs. Signals are heeded from here on: before the first call they end
/// the command, afterwards they end the run in an orderly way.
pub(super) async fn run_in(
    session: &Session,
    args: &Apply,
    saved: Option<Plan>,
) -> Result<ExitClass, CliError> {
    let stop = Stop::default();
    let signals = tokio::spawn(progress::watch_signals(stop.clone()));
    let result = run_until(session, args, saved, &stop).await;
    signals.abort();
    result
}

async fn run_until(
    session: &Session,
    args: &Apply,
    saved: Option<Plan>,
    stop: &Stop,
) -> Result<ExitClass, CliError> {
    let output = &session.output;
    let store = session.store().await?;
    let history = session.history_of(&store).await?;
    let inventory = progress::unless_stopped(stop, session.observe(&history)).await??;
    let products = plan_command::borrow(&session.desired);
    let known = session.known(&inventory, &history, &products);
    let mut made = plan_command::reconciled(known, &args.looking.target, &session.clock)?;
    let mut stale = Vec::new();
    if let Some(saved) = saved {
        stale = keep_what_is_saved(&mut made, &saved)?;
    } else if let Some(wanted) = &args.approve {
        check_approval(&made.plan, wanted)?;
    }
    let consent = consent_of(args, true);
    reconcile::judge(known, &mut made, &consent);
    let coverage = session::coverage_class(&inventory)
        .filter(|class| !(*class == ExitClass::Incomplete && args.looking.allow_partial));
    let format = args.format.unwrap_or(output.format);
    if format != Format::Json {
        let asked = args.yes || output.interactive;
        let running =
            asked && made.verdict.refusals.is_empty() && !made.verdict.runnable.is_empty();
        // `apply` is not the command that would go on with it.
        let forgets = !session.desired.forget.is_empty();
        let options = options(session, args, running || forgets);
        plan_command::show_plan_as(&made.plan, Format::Text, &options, output);
    }
    for line in &stale {
        output.remark(format!("stale: {line}"));
    }
    let blocked = blocked(&made.plan) + made.verdict.forbidden.len();
    let refused = !made.verdict.refusals.is_empty();
    if refused {
        return Err(refusal(&made));
    }
    if made.verdict.runnable.is_empty() {
        let mut class = coverage.unwrap_or(ExitClass::Ok);
        if !stale.is_empty() {
            class = class.min(ExitClass::Stale);
        }
        if blocked > 0 && coverage.is_none() {
            class = class.min(ExitClass::Refused);
        }
        return Ok(class);
    }
    if !args.yes {
        if !output.interactive {
            return Err(CliError::new(
                ExitClass::Refused,
                "nobody said yes, and there is no terminal to ask",
            )
            .hint("look at the plan above, then add `--yes`"));
        }
        let count = super::validate::count(made.verdict.runnable.len(), "action");
        let (terminal, question) = (*output, format!("\nRun {count}?"));
        let answer = tokio::task::spawn_blocking(move || terminal.ask(&question));
        if !progress::unless_stopped(stop, answer).await?.unwrap_or(false) {
            return Err(CliError::new(ExitClass::Refused, "not run"));
        }
    }
    let forgets = !session.desired.forget.is_empty();
    let purpose = Purpose {
        kind: if forgets { "forget" } else { "apply" }.to_owned(),
        title: "Apply",
        reason: args.reason.clone(),
        ticket: args.ticket.clone(),
        settles: true,
    };
    let (summary, head, id) = execute(session, &store, &purpose, &made, &inventory, stop).await?;
    let mut class = exit_class(&summary);
    if !stale.is_empty() {
        class =
            class.min(if summary.anything_ran() { ExitClass::Partial } else { ExitClass::Stale });
    }
    if let Some(coverage) = coverage {
        class = class.min(coverage);
    }
    if !made.verdict.forbidden.is_empty() {
        let ran = summary.anything_ran();
        class = class.min(if ran { ExitClass::Partial } else { ExitClass::Refused });
    }
    let run = Shown { id, head: &head, title: purpose.title };
    show_summary(&summary, &made, &run, format, class, output);
    if format != Format::Json && session.desired.forget.is_empty() {
        show_rest(&summary, &made, &options(session, args, false), output);
    }
    Ok(class)
}

/// How the plan of this run is shown; the last line names what was typed.
fn options(session: &Session, args: &Apply, running: bool) -> report::Options {
    let typed = args.path.as_ref().unwrap_or(&session.path);
    report::Options {
        steps: false,
        subject: Some(typed.display().to_string()),
        file: args.file.as_ref().map(|it| it.display().to_string()),
        sandbox: session.output.sandbox,
        running,
    }
}

/// The command for what waited, when all that ran went well; after a failure the next
/// plan says more than this one can.
fn show_rest(summary: &RunSummary, made: &Reconciled, options: &report::Options, output: &Output) {
    let failed = |it: &Ended| !matches!(it, Ended::Done | Ended::Skipped(_));
    if summary.interrupted.is_some() || summary.actions.iter().any(|it| failed(&it.ended)) {
        return;
    }
    let mut rest = made.plan.clone();
    rest.body.actions.retain(|it| rest.envelope.waiting.contains_key(&it.id));
    if let Some(command) = report::next_command(&rest, &rest.envelope, options) {
        output.print(format!("Next: {command}"));
    }
}

/// Keeps of the plan made now what is equal in the saved one, and says what is not.
fn keep_what_is_saved(made: &mut Reconciled, saved: &Plan) -> Result<Vec<String>, CliError> {
    if saved.body.project != made.plan.body.project {
        return Err(CliError::new(
            ExitClass::Stale,
            format!(
                "the plan is for project `{}`, the YAML says `{}`",
                saved.body.project, made.plan.body.project
            ),
        ));
    }
    if saved.body.files != made.plan.body.files {
        let changed: Vec<&str> = saved
            .body
            .files
            .iter()
            .filter(|(path, digest)| made.plan.body.files.get(*path) != Some(digest))
            .map(|(path, _)| path.as_str())
            .chain(
                made.plan
                    .body
                    .files
                    .keys()
                    .filter(|path| !saved.body.files.contains_key(*path))
                    .map(String::as_str),
            )
            .collect();
        return Err(CliError::new(
            ExitClass::Stale,
            format!("the YAML is not what the plan was made from: {}", changed.join(", ")),
        )
        .hint("plan again, or name the YAML that it was made from with `--file`"));
    }
    let now: BTreeMap<&ActionId, &crate::model::Action> =
        made.plan.body.actions.iter().map(|it| (&it.id, it)).collect();
    let mut stale = Vec::new();
    let mut equal = BTreeSet::new();
    for action in saved.body.actions.iter().filter(|it| saved.envelope.covers(&it.id)) {
        match now.get(&action.id) {
            Some(found) if is_same(action, found) => {
                equal.insert(action.id.clone());
            }
            Some(found) => stale.push(format!("{}: {}", action.id, what_moved(action, found))),
            // Nothing of it is left to do, or something is in its way now.
            None => {
                let blocked = made.plan.body.blocked.iter().find(|it| it.key == action.key);
                if let Some(blocked) = blocked {
                    stale.push(format!("{}: {}", action.id, blocked.message));
                }
            }
        }
    }
    // The ids of machines are derived from the plan that was approved.
    made.plan.plan_id.clone_from(&saved.plan_id);
    let chosen = match &made.chosen {
        Some(chosen) => chosen.intersection(&equal).cloned().collect(),
        None => equal,
    };
    made.chosen = Some(chosen);
    Ok(stale)
}

/// Whether two plans have the same action. An object that exists is where it is: that
/// high availability moved it since is nobody's choice, and no reason to ask again.
fn is_same(then: &crate::model::Action, now: &crate::model::Action) -> bool {
    let there = crate::model::Action { node: now.node.clone(), ..then.clone() };
    if now.base.is_some() { there == *now } else { then == now }
}

/// The first thing in which two plans for one action differ.
fn what_moved(then: &crate::model::Action, now: &crate::model::Action) -> String {
    for field in &then.fields {
        match now.fields.iter().find(|it| it.field == field.field) {
            None => return format!("{} is no longer to be changed", field.field),
            Some(other) if other.before != field.before => {
                let shown = |value: &Option<crate::model::Value>| {
                    value.as_ref().map_or_else(|| "unset".to_owned(), ToString::to_string)
                };
                return format!(
                    "{} was {} when it was planned and is {} now",
                    field.field,
                    shown(&field.before),
                    shown(&other.before)
                );
            }
            Some(_) => {}
        }
    }
    if let Some(added) =
        now.fields.iter().find(|it| !then.fields.iter().any(|old| old.field == it.field))
    {
        return format!("{} would be changed too", added.field);
    }
    if then.claims != now.claims {
        let lost: Vec<String> = then
            .claims
            .iter()
            .filter(|it| !now.claims.contains(it))
            .map(|it| format!("{it:?}"))
            .collect();
        return format!("a choice is taken: {}", lost.join(", "));
    }
    if then.base != now.base {
        return "the object changed since it was planned".to_owned();
    }
    "its steps would be others now".to_owned()
}

fn refusal(made: &Reconciled) -> CliError {
    let mut error = CliError::new(ExitClass::Refused, "the run is refused; nothing was changed");
    for it in &made.verdict.refusals {
        error = error.hint(format!("{}: {}", it.code, it.help));
    }
    error
}

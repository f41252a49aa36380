//! `plan`, `show`.

use super::{
    args::{Format, Global, Plan as PlanArgs, Show},
    audit,
    error::CliError,
    output::Output,
    session::{self, Session},
};
use crate::{
    apply::ExitClass,
    clock::Clock,
    model::{Consent, History, Inventory, Plan, Product, ResourceKey},
    reconcile::{self, Known, Reconciled},
    report,
};
use std::path::Path;

/// What a plan is judged by when nobody allowed anything by name.
pub fn plain_consent() -> Consent {
    Consent { yes: true, ..Consent::default() }
}

/// `plan`.
pub async fn plan(global: &Global, args: PlanArgs, output: &Output) -> Result<ExitClass, CliError> {
    if let Some(snapshot) = &args.inventory {
        return plan_offline(global, &args, snapshot, output);
    }
    let session = Session::open(global, args.source.path.as_deref(), output).await?;
    session.look(async |session| plan_online(session, &args).await).await
}

async fn plan_online(session: &Session, args: &PlanArgs) -> Result<ExitClass, CliError> {
    let history = session.history().await?;
    let inventory = session.observe(&history).await?;
    let products = borrow(&session.desired);
    let known = session.known(&inventory, &history, &products);
    let reconciled = reconciled(known, &args.looking.target, &session.clock)?;
    let shown = Shown {
        subject: session.path.display().to_string(),
        format: args.format.unwrap_or(session.output.format),
        steps: args.steps,
    };
    finish(&reconciled.plan, &inventory, args, &shown, &session.output)
}

fn plan_offline(
    global: &Global,
    args: &PlanArgs,
    snapshot: &Path,
    output: &Output,
) -> Result<ExitClass, CliError> {
    let path = session::path_of(args.source.path.as_deref());
    let (desired, _, settings) = session::load(global, &path, output)?;
    let output = output.with(global, &settings);
    let text = std::fs::read_to_string(snapshot).map_err(|error| {
        CliError::new(ExitClass::Error, format!("could not read `{}`: {error}", snapshot.display()))
    })?;
    let inventory: Inventory = serde_json::from_str(&text).map_err(|error| {
        CliError::new(
            ExitClass::Error,
            format!("`{}` is not an inventory: {error}", snapshot.display()),
        )
        .hint("make one with `novahost inventory snapshot`")
    })?;
    let products = borrow(&desired);
    let history = History::default();
    let known = Known {
        desired: &desired,
        inventory: &inventory,
        history: &history,
        products: &products,
        marker_key: None,
    };
    let reconciled = reconciled(known, &args.looking.target, &Clock::system())?;
    let shown = Shown {
        subject: path.display().to_string(),
        format: args.format.unwrap_or(output.format),
        steps: args.steps,
    };
    finish(&reconciled.plan, &inventory, args, &shown, &output)
}

/// How a plan is shown.
struct Shown {
    subject: String,
    format: Format,
    steps: bool,
}

type Products<'a> = std::collections::BTreeMap<crate::model::HypervisorName, &'a dyn Product>;

/// The products of a configuration, for one walk of the road.
pub fn borrow(desired: &crate::model::DesiredState) -> Products<'static> {
    session::products(desired)
}

/// Walks the pure part of the road and dates the plan.
pub fn reconciled(
    known: Known<'_>,
    targets: &[ResourceKey],
    clock: &Clock,
) -> Result<Reconciled, CliError> {
    let mut reconciled = reconcile::reconcile(known, targets, &plain_consent())
        .map_err(|error| CliError::of(ExitClass::Config, &error))?;
    let now = jiff::Timestamp::from_millisecond(clock.now_ms());
    reconciled.plan.envelope.made_at = now.ok().map(|it| it.to_string());
    reconciled.plan.envelope.made_by = Some(format!("novahost {}", env!("CARGO_PKG_VERSION")));
    Ok(reconciled)
}

fn finish(
    plan: &Plan,
    inventory: &Inventory,
    args: &PlanArgs,
    shown: &Shown,
    output: &Output,
) -> Result<ExitClass, CliError> {
    if let Some(out) = &args.out {
        write_private(out, &report::plan_json(plan))?;
    }
    let usual = shown.subject == crate::config::FILE_NAME;
    let (subject, file) = match &args.out {
        Some(out) => (out.display().to_string(), (!usual).then(|| shown.subject.clone())),
        None => (shown.subject.clone(), None),
    };
    let options = report::Options {
        steps: shown.steps,
        subject: Some(subject),
        file,
        sandbox: output.sandbox,
        running: false,
    };
    show_plan_as(plan, shown.format, &options, output);
    Ok(class_of(plan, inventory, args.detailed_exitcode, args.looking.allow_partial))
}

/// The exit class of a plan that is only looked at.
pub fn class_of(plan: &Plan, inventory: &Inventory, detailed: bool, partial: bool) -> ExitClass {
    let differs = plan.body.actions.iter().any(|it| plan.envelope.covers(&it.id))
        || plan.body.blocked.iter().any(|it| plan.envelope.covers_key(&it.key));
    let difference = if detailed && differs { ExitClass::Differences } else { ExitClass::Ok };
    match session::coverage_class(inventory) {
        Some(ExitClass::Incomplete) if partial => difference,
        Some(class) => class.min(difference),
        None => difference,
    }
}

/// Prints a plan.
pub fn show_plan(
    plan: &Plan,
    format: Format,
    steps: bool,
    subject: Option<String>,
    output: &Output,
) {
    let options =
        report::Options { steps, subject, file: None, sandbox: output.sandbox, running: false };
    show_plan_as(plan, format, &options, output);
}

/// Prints a plan, as the options say.
pub fn show_plan_as(plan: &Plan, format: Format, options: &report::Options, output: &Output) {
    match format {
        Format::Text => {
            output.print(report::plan_text(plan, &plan.envelope, options, &output.style()));
        }
        Format::Json => output.print_whole(report::plan_json(plan)),
        Format::Markdown => {
            output.print_whole(report::plan_markdown(plan, &plan.envelope, options));
        }
    }
}

/// `show PLAN|RUN`.
pub async fn show(global: &Global, args: &Show, output: &Output) -> Result<ExitClass, CliError> {
    let path = Path::new(&args.what);
    if !path.is_file() {
        return audit::show_run(global, &args.what, output).await;
    }
    let plan = read_plan(path)?;
    let format = args.format.unwrap_or(output.format);
    show_plan(&plan, format, args.steps, Some(args.what.clone()), output);
    Ok(ExitClass::Ok)
}

/// Reads a saved plan and checks it as it was checked when written.
pub fn read_plan(path: &Path) -> Result<Plan, CliError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        CliError::new(ExitClass::Error, format!("could not read `{}`: {error}", path.display()))
    })?;
    report::parse_plan(&text).map_err(|error| {
        let mut end = CliError::of(ExitClass::Error, &error);
        end.message = format!("`{}`: {}", path.display(), end.message);
        end
    })
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_private(path: &Path, text: &str) -> Result<(), CliError> {
    use std::io::Write as _;
    let failed = |error: std::io::Error| {
        CliError::new(ExitClass::Error, format!("could not write `{}`: {error}", path.display()))
    };
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    let name = path.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
    let part = folder.join(format!(".{name}.{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&part).map_err(failed)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.and_then(|()| std::fs::rename(&part, path)).map_err(|error| {
        // Half a file would only confuse; that it cannot be removed either changes nothing.
        let _ = std::fs::remove_file(&part);
        failed(error)
    })
}

//! `audit` and `runs`: the journal, read.

use super::{
    args::{Audit, Format, Global, Runs},
    error::CliError,
    output::Output,
    session::{self, Session},
};
use crate::{
    apply::{self, ExitClass},
    model::inert,
    report,
    store::{EntryFilter, EntryRow, RunDetail, RunRow, Store, Who},
};
use std::{io::Write, path::PathBuf};
use uuid::Uuid;

/// Newest runs among which the beginning of an id is looked up.
const RUNS_SEARCHED: u32 = 10_000;

/// Where the journal is, without reading any YAML.
fn place(global: &Global) -> Result<PathBuf, CliError> {
    let root = match &global.root {
        Some(root) => root.clone(),
        None => std::env::current_dir().unwrap_or_default(),
    };
    let trust = session::read_trust(global, &root)?;
    Ok(session::store_path(&trust, &root))
}

async fn open(global: &Global) -> Result<Store, CliError> {
    let path = place(global)?;
    if !path.exists() {
        return Err(CliError::new(
            ExitClass::Error,
            format!("there is no journal at `{}` yet", path.display()),
        )
        .hint("the first `apply` makes it; with simulators, add `--sandbox`"));
    }
    Store::open(&path).await.map_err(CliError::from)
}

/// `audit list|show|verify|export`.
pub async fn audit(global: &Global, args: Audit, output: &Output) -> Result<ExitClass, CliError> {
    let store = open(global).await?;
    match args {
        Audit::List { key, limit, format } => {
            let entries = store.entries(EntryFilter { run: None, key, limit }).await?;
            match format.unwrap_or(output.format) {
                Format::Json => output.print_json(&entries),
                Format::Text | Format::Markdown => show_entries(&entries, output),
            }
        }
        Audit::Show { run } => {
            let detail = find_run(&store, &run).await?;
            show_entries(&detail.entries, output);
        }
        Audit::Verify => {
            let report = store.verify_chain().await?;
            if let Some(bad) = report.first_bad {
                return Err(CliError::new(
                    ExitClass::Error,
                    format!("the chain is broken: {bad}"),
                )
                .hint("rows before it are as they were written; keep the file and look for a backup"));
            }
            output.print(format!(
                "{}, unbroken. Head {}.",
                super::validate::count(usize::try_from(report.rows).unwrap_or(usize::MAX), "row"),
                report.head
            ));
            output.remark("Compare the head with the one that the last `apply` printed: rows cut off at the end show only there.");
        }
        Audit::Export => {
            store.export(Harmless(std::io::stdout().lock())).await?;
        }
    }
    Ok(ExitClass::Ok)
}

/// Lines of JSON on their way out, spelt so that no text in them acts on a screen or a
/// log. They read back as the same values, so hashes over those still hold.
struct Harmless<W>(W);

impl<W: Write> Write for Harmless<W> {
    /// Takes whole lines, as an export writes them: half a character would be refused.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = std::str::from_utf8(bytes).map_err(std::io::Error::other)?;
        self.0.write_all(report::inert_json(text.to_owned()).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// `runs list|show|resume`.
pub async fn runs(global: &Global, args: Runs, output: &Output) -> Result<ExitClass, CliError> {
    match args {
        Runs::List { limit, format } => {
            let rows = open(global).await?.runs(None, limit).await?;
            match format.unwrap_or(output.format) {
                Format::Json => output.print_json(&rows),
                Format::Text | Format::Markdown => {
                    if rows.is_empty() {
                        output.print("No runs yet.");
                    }
                    for row in &rows {
                        output.print(run_line(row));
                    }
                }
            }
            Ok(ExitClass::Ok)
        }
        Runs::Show { run } => show_run(global, &run, output).await,
        Runs::Resume { run, file } => {
            let session = Session::open(global, file.as_deref(), output).await?;
            let result = resume(&session, run.as_deref()).await;
            session.close().await;
            result
        }
    }
}

/// Prints one run.
pub async fn show_run(global: &Global, run: &str, output: &Output) -> Result<ExitClass, CliError> {
    let store = open(global).await?;
    let detail = find_run(&store, run).await?;
    output.print(run_line(&detail.run));
    for action in &detail.actions {
        let state =
            action.state.as_ref().map_or_else(|| "not begun".to_owned(), ToString::to_string);
        output.print(format!("\n{}  {}", action.id, inert(&state)));
        for step in detail.steps.iter().filter(|it| it.action == action.id) {
            let outcome =
                step.outcome.as_ref().map_or_else(|| "open".to_owned(), ToString::to_string);
            output.print(format!(
                "  {} {:<14} {}  {}",
                step.step + 1,
                step.op,
                when(step.begun_ms),
                inert(&outcome)
            ));
        }
    }
    Ok(ExitClass::Ok)
}

async fn find_run(store: &Store, wanted: &str) -> Result<RunDetail, CliError> {
    let wanted = wanted.to_ascii_lowercase();
    let rows = store.runs(None, RUNS_SEARCHED).await?;
    let found: Vec<Uuid> =
        rows.iter().map(|it| it.id).filter(|id| id.to_string().starts_with(&wanted)).collect();
    let missing =
        || CliError::new(ExitClass::Error, format!("there is no file and no run `{wanted}`"));
    match found.as_slice() {
        [id] => store.run(*id).await?.ok_or_else(missing),
        [] => Err(missing().hint("`novahost runs list` shows them")),
        several => Err(CliError::new(
            ExitClass::Error,
            format!("{} runs begin with `{wanted}`; give more of the id", several.len()),
        )),
    }
}

/// Looks up every call that broken runs left open, and writes down what became of it.
async fn resume(session: &Session, wanted: Option<&str>) -> Result<ExitClass, CliError> {
    let store = session.store().await?;
    let rows = store.runs(Some(&session.desired.project), RUNS_SEARCHED).await?;
    let mut class = ExitClass::Ok;
    let (mut looked, mut open) = (0, 0);
    let is_wanted = |row: &RunRow| {
        wanted.is_none_or(|wanted| row.id.to_string().starts_with(&wanted.to_lowercase()))
    };
    if let Some(wanted) = wanted
        && !rows.iter().any(is_wanted)
    {
        return Err(CliError::new(
            ExitClass::Error,
            format!("there is no run `{wanted}` of project `{}`", session.desired.project),
        )
        .hint("`novahost runs list` shows them"));
    }
    for row in rows {
        if !is_wanted(&row) {
            continue;
        }
        if store.open_intents(row.id).await?.is_empty() {
            continue;
        }
        let who = session::who(&session.root, None, None);
        let Some(handle) = store.resume_run(row.id, who, session.clock.now_ms()).await? else {
            continue;
        };
        let found = apply::resume(&handle, &session.providers, &session.clock).await?;
        for it in found {
            looked += 1;
            let text = match &it.outcome {
                Some(outcome) => outcome.to_string(),
                None => "still going on".to_owned(),
            };
            if matches!(it.outcome, None | Some(crate::store::StepOutcome::Unknown(_))) {
                open += 1;
                class = class.min(ExitClass::Unknown);
            }
            session.output.print(format!(
                "{} {}: {}",
                it.intent.action,
                it.intent.op,
                inert(&text)
            ));
        }
    }
    session.output.print(match (looked, open) {
        (0, _) => "Nothing is open.".to_owned(),
        (_, 0) => "All is known. Plan again: the next plan does the rest.".to_owned(),
        (_, open) => format!("{open} of {looked} cannot be told yet; ask again later."),
    });
    Ok(class)
}

fn run_line(row: &RunRow) -> String {
    let end = match (row.code, &row.summary) {
        (Some(code), Some(summary)) => format!("exit {code}: {summary}"),
        (Some(code), None) => format!("exit {code}"),
        (None, _) => "NOT FINISHED".to_owned(),
    };
    let mut line = format!(
        "{}  {}  {}\n  {}  {}@{}  plan {}  {}",
        row.id,
        when(row.started_ms),
        inert(&row.kind),
        row.project,
        row.who.user,
        row.who.host,
        row.plan_id.get(..12).unwrap_or(&row.plan_id),
        inert(&end)
    );
    let given = given(&row.who);
    if !given.is_empty() {
        line.push_str(&format!("\n  {given}"));
    }
    line
}

/// What somebody said of a run when they began it: `reason: disk swap  ticket: OPS-7`.
fn given(who: &Who) -> String {
    let reason = who.reason.as_ref().map(|it| format!("reason: {it}"));
    let ticket = who.ticket.as_ref().map(|it| format!("ticket: {it}"));
    let all: Vec<String> = reason.into_iter().chain(ticket).collect();
    inert(&all.join("  ")).into_owned()
}

fn show_entries(entries: &[EntryRow], output: &Output) {
    if entries.is_empty() {
        output.print("No entries.");
    }
    let mut run = None;
    for row in entries {
        let it = &row.entry;
        if run != Some(it.run) {
            run = Some(it.run);
            let who = format!("run {}  {}@{}", it.run, it.who.user, it.who.host);
            let parts = [inert(&who).into_owned(), given(&it.who)];
            output.print(parts.join("  ").trim_end());
        }
        let mut parts = vec![it.seq.to_string(), when(it.at_ms), it.event.to_string()];
        parts.extend(it.action.as_ref().map(ToString::to_string));
        parts.extend(it.step.map(|step| format!("step {}", step + 1)));
        parts.extend(it.op.clone());
        parts.extend(it.id.as_ref().map(|id| format!("id {id}")));
        parts.extend(it.state.clone());
        parts.extend(it.text.clone());
        output.print(inert(&parts.join("  ")));
    }
}

fn when(ms: i64) -> String {
    let stamp = jiff::Timestamp::from_millisecond(ms);
    stamp.map_or_else(|_| ms.to_string(), |it| it.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

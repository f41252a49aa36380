//! `vm start|stop|reboot|snapshot`: one machine of ours, here and now, by the same road as
//! an apply: proofs, journal, lease and runner.

use super::{
    args::{Format, Global, Vm, VmCommand},
    error::CliError,
    output::Output,
    plan as plan_command, progress,
    run::{self as runs, Purpose},
    session::{self, Session},
};
use crate::{
    apply::{Ended, ExitClass, Stop, exit_class},
    model::{Allowance, Code, Consent, ResourceKey},
    plan::{self, Answer, Command, Input, NotDone, Planned},
    reconcile::{self, Reconciled},
    report,
    store::Store,
};

/// `vm COMMAND NAME`.
pub async fn run(global: &Global, args: Vm, output: &Output) -> Result<ExitClass, CliError> {
    let what = args.command.what();
    let key = what.machine.clone();
    let session = Session::open(global, what.file.as_deref(), output).await?;
    let stop = Stop::default();
    let signals = tokio::spawn(progress::watch_signals(stop.clone()));
    let result = run_until(&session, &args.command, &key, &stop).await;
    signals.abort();
    session.close().await;
    result
}

async fn run_until(
    session: &Session,
    args: &VmCommand,
    key: &ResourceKey,
    stop: &Stop,
) -> Result<ExitClass, CliError> {
    let output = &session.output;
    let store = session.store().await?;
    let history = session.history_of(&store).await?;
    let inventory = progress::unless_stopped(stop, session.observe(&history)).await??;
    let products = plan_command::borrow(&session.desired);
    let known = session.known(&inventory, &history, &products);
    let command = command(session, args);
    let format = args.what().format.unwrap_or(output.format);
    let input = Input {
        desired: known.desired,
        inventory: known.inventory,
        history: known.history,
        products: known.products,
        marker_key: known.marker_key,
    };
    let planned = match plan::command(input, key, &command) {
        Ok(Answer::Do(planned)) => *planned,
        Ok(Answer::AlreadySo(text)) => {
            match format {
                Format::Json => output.print_json(&nothing_done(key, &text)),
                Format::Text | Format::Markdown => {
                    output.print(format!("{text}. Nothing was done."));
                }
            }
            return Ok(ExitClass::Ok);
        }
        Err(refusal) => return Err(not_done(refusal, &inventory)),
    };
    let Planned { plan, ownership } = planned;
    let mut made =
        Reconciled { plan, ownership, verdict: crate::guard::Verdict::default(), chosen: None };
    // Whoever names a command and a machine has named the class that it is of.
    let consent = Consent {
        yes: true,
        allow: [(Allowance::Restart, Some([key.clone()].into()))].into(),
        ..Consent::default()
    };
    reconcile::judge_command(known, &mut made, &consent);
    let page = report::command_text(&made.plan, &output.style());
    match format {
        // What is asked about below has to be seen, and the document stays one.
        Format::Json if !args.what().yes => output.remark(page),
        Format::Json => {}
        Format::Text | Format::Markdown => output.print(page),
    }
    if let Some(text) = forbidden(&made) {
        return Err(CliError::new(ExitClass::Refused, text));
    }
    consented(session, args, &command, key, stop).await?;
    carry_out(session, args, &command, &store, &made, &inventory, (format, stop)).await
}

/// One question on a terminal, or `--yes`.
async fn consented(
    session: &Session,
    args: &VmCommand,
    command: &Command,
    key: &ResourceKey,
    stop: &Stop,
) -> Result<(), CliError> {
    if args.what().yes {
        return Ok(());
    }
    let output = session.output;
    if !output.interactive {
        let text = "nobody said yes, and there is no terminal to ask";
        return Err(CliError::new(ExitClass::Refused, text)
            .hint("look at what it costs above, then add `--yes`"));
    }
    let word = match command {
        Command::Start => "Start",
        Command::Stop { .. } => "Stop",
        Command::Reboot { .. } => "Restart",
        Command::Snapshot { .. } => "Take a snapshot of",
    };
    let question = format!("\n{word} {key}?");
    let answer = tokio::task::spawn_blocking(move || output.ask(&question));
    if progress::unless_stopped(stop, answer).await?.unwrap_or(false) {
        return Ok(());
    }
    Err(CliError::new(ExitClass::Refused, "not run"))
}

async fn carry_out(
    session: &Session,
    args: &VmCommand,
    command: &Command,
    store: &Store,
    made: &Reconciled,
    inventory: &crate::model::Inventory,
    (format, stop): (Format, &Stop),
) -> Result<ExitClass, CliError> {
    let purpose = Purpose {
        kind: format!("vm {}", command.as_str()),
        title: "Command",
        reason: args.what().reason.clone(),
        ticket: args.what().ticket.clone(),
        // The plan is of one machine and says nothing of what its entry asks.
        settles: false,
    };
    let (summary, head, id) =
        runs::execute(session, store, &purpose, made, inventory, stop).await?;
    let class = exit_class(&summary);
    let run = runs::Shown { id, head: &head, title: purpose.title };
    runs::show_summary(&summary, made, &run, format, class, &session.output);
    let gently = matches!(command, Command::Stop { hard: false } | Command::Reboot { hard: false });
    if gently && summary.actions.iter().any(|it| matches!(it.ended, Ended::Failed(_))) {
        session.output.remark(
            "help: a guest without its tools, or one that hangs, hears no shutdown; `--hard` \
             takes its power then, and what it has not written is lost",
        );
    }
    Ok(class)
}

/// The document of a command that had nothing to do.
fn nothing_done(key: &ResourceKey, text: &str) -> serde_json::Value {
    serde_json::json!({
        "address": key,
        "exit_code": ExitClass::Ok.code(),
        "summary": format!("{text}. Nothing was done."),
        "actions": [],
    })
}

fn command(session: &Session, args: &VmCommand) -> Command {
    match args {
        VmCommand::Start(_) => Command::Start,
        VmCommand::Stop { hard, .. } => Command::Stop { hard: *hard },
        VmCommand::Reboot { hard, .. } => Command::Reboot { hard: *hard },
        VmCommand::Snapshot { name, .. } => Command::Snapshot {
            name: name.clone().unwrap_or_else(|| by_hand(session.clock.now_ms())),
        },
    }
}

/// What a snapshot is called that nobody gave a name: the moment, to the second.
fn by_hand(now_ms: i64) -> String {
    let now = jiff::Timestamp::from_millisecond(now_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("manual-{}", now.strftime("%Y%m%d-%H%M%S"))
}

/// A machine that may be there and was not seen ends like an inventory that was not read;
/// one that is not ours is refused; one that is nowhere is an error.
fn not_done(refusal: NotDone, inventory: &crate::model::Inventory) -> CliError {
    let NotDone { code, message, help } = refusal;
    let unseen = matches!(
        code,
        Some(Code::FailedHypervisor | Code::IncompleteInventory | Code::UnreadableObject)
    );
    let class = match (code, session::coverage_class(inventory)) {
        (Some(_), Some(class)) if unseen => class,
        (Some(_), _) => ExitClass::Refused,
        (None, _) => ExitClass::Error,
    };
    let text = match code {
        Some(code) => format!("{message} [{code}]; nothing was done"),
        None => message,
    };
    CliError::new(class, text).hint(help)
}

/// Why the guard does not let it run, when it does not.
fn forbidden(made: &Reconciled) -> Option<String> {
    let verdict = &made.verdict;
    let refused = verdict.refusals.first().map(|it| format!("{}: {}", it.message, it.help));
    let forbidden = verdict.forbidden.values().next().map(|it| it.message.clone());
    let waiting = verdict.waiting.values().next().map(|it| it.message.clone());
    refused.or(forbidden).or(waiting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_without_a_name_is_called_after_the_moment() {
        assert_eq!(by_hand(1_795_862_880_000), "manual-20261128-104800");
    }
}

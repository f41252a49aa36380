//! The command line: a thin shell over the road. It parses, asks, prints and picks
//! the exit code; it decides nothing.

mod address;
mod adopt;
mod apply;
pub mod args;
mod audit;
mod capacity;
mod connect;
mod describe;
mod doctor;
mod drift;
mod error;
mod exit;
mod forget;
mod get;
mod inventory;
mod output;
mod plan;
mod progress;
mod run;
mod sandbox;
mod session;
mod trust;
mod validate;
mod vm;

use crate::apply::ExitClass;
use args::{Cli, Command};
use clap::{CommandFactory as _, Parser as _};
use error::CliError;
use output::Output;
use std::process::ExitCode;

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results, everything else is a usage error.
            let _ = error.print();
            let code = if error.use_stderr() { exit::USAGE } else { 0 };
            return ExitCode::from(code);
        }
    };
    let output = Output::new(&cli.global);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = guarded(|| runtime.block_on(dispatch(cli, &output)));
            // A task that hangs in a system call must not keep the program.
            runtime.shutdown_timeout(std::time::Duration::from_secs(2));
            result
        }
        Err(error) => Err(CliError::of(ExitClass::Error, &error)),
    };
    match result {
        Ok(class) => ExitCode::from(class.code()),
        Err(error) => {
            if !error.message.is_empty() {
                output.remark(format!("error: {}", crate::model::inert(&error.message)));
            }
            for hint in &error.hints {
                output.remark(format!("hint: {hint}"));
            }
            ExitCode::from(error.class.code())
        }
    }
}

/// Runs to the end, or to a panic, which is a bug and has an exit code of its own. Its
/// message is on standard error already.
fn guarded(run: impl FnOnce() -> Result<ExitClass, CliError>) -> Result<ExitClass, CliError> {
    // Nothing that the closure held is looked at afterwards.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|_| {
        Err(CliError::new(
            ExitClass::Bug,
            "this is a bug in novahost; what it did so far is in the journal",
        )
        .hint("`novahost runs resume` looks up what is open; please report the lines above"))
    })
}

async fn dispatch(cli: Cli, output: &Output) -> Result<ExitClass, CliError> {
    let global = &cli.global;
    match cli.command {
        Command::Validate(args) => validate::run(global, &args, output),
        Command::Plan(args) => plan::plan(global, args, output).await,
        Command::Capacity(args) => capacity::run(global, args, output).await,
        Command::Drift(args) => drift::run(global, &args, output).await,
        Command::Show(args) => plan::show(global, &args, output).await,
        Command::Apply(args) => apply::run(global, args, output).await,
        Command::Adopt(args) => adopt::run(global, args, output).await,
        Command::Forget(args) => forget::run(global, args, output).await,
        Command::Get(args) => get::get(global, &args, output).await,
        Command::Describe(args) => describe::describe(global, &args, output).await,
        Command::Doctor(args) => doctor::run(global, args, output).await,
        Command::Trust(args) => trust::run(global, args, output).await,
        Command::Audit(args) => audit::audit(global, args, output).await,
        Command::Runs(args) => audit::runs(global, args, output).await,
        Command::Vm(args) => vm::run(global, args, output).await,
        Command::Inventory(args) => inventory::run(global, args, output).await,
        Command::Sandbox(args) => sandbox::run(global, args, output).await,
        Command::Schema => {
            output.print_whole(crate::config::schema::json_schema_text());
            Ok(ExitClass::Ok)
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "novahost", &mut text);
            output.print_whole(String::from_utf8_lossy(&text));
            Ok(ExitClass::Ok)
        }
        Command::Version => {
            output.print(format!("novahost {}", env!("CARGO_PKG_VERSION")));
            Ok(ExitClass::Ok)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_bug_and_ends_with_70() {
        let end = guarded(|| panic!("on purpose"));
        assert_eq!(end.unwrap_err().class.code(), 70);
        assert_eq!(guarded(|| Ok(ExitClass::Ok)).unwrap(), ExitClass::Ok);
    }
}

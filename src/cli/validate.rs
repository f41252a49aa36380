//! `validate`, and showing problems of the YAML.

use super::{
    args::{Format, Global, Validate},
    error::CliError,
    output::Output,
    session,
};
use crate::{
    apply::ExitClass,
    config::{self, Loaded},
};

/// Checks the YAML. Opens no connection and needs no credentials.
pub fn run(global: &Global, args: &Validate, output: &Output) -> Result<ExitClass, CliError> {
    let path = session::path_of(args.source.path.as_deref());
    let loaded = config::load(&path, &config::Options { root: global.root.clone() });
    match args.format.unwrap_or(output.format) {
        Format::Json => {
            let json = config::diagnostic::to_json(&loaded.report, &loaded.sources);
            output.print_json(&json);
        }
        Format::Text | Format::Markdown => {
            show_problems(&loaded, output);
            if let Some(desired) = &loaded.desired {
                output.print(format!(
                    "{} is valid: {}, {}, {}.",
                    path.display(),
                    count(desired.hypervisors.len(), "hypervisor"),
                    count(desired.machines.len(), "machine"),
                    count(desired.pools.len(), "pool"),
                ));
            }
        }
    }
    Ok(if loaded.desired.is_some() { ExitClass::Ok } else { ExitClass::Config })
}

/// `1 machine`, `2 machines`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Prints every problem with its place, and how many there are.
pub fn show_problems(loaded: &Loaded, output: &Output) {
    if loaded.report.is_empty() {
        return;
    }
    output.remark(config::diagnostic::render_text(
        &loaded.report,
        &loaded.sources,
        output.color,
        output.width,
    ));
    let errors = loaded
        .report
        .iter()
        .filter(|it| it.severity == config::diagnostic::Severity::Error)
        .count();
    if errors > 0 {
        output
            .remark(format!("{} in the YAML; nothing was read or changed", count(errors, "error")));
    }
}

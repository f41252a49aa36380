//! `validate`, with the table of what runs where, and showing problems of the YAML.

use super::{
    args::{Format, Global, Validate},
    error::CliError,
    output::Output,
    session,
};
use crate::{
    apply::ExitClass,
    config::{
        self, Loaded,
        diagnostic::{Diagnostic, FileId, Span},
    },
    model::Unsupported,
    report::{self, Portability},
};

/// Checks the YAML. Opens no connection and needs no credentials.
pub fn run(global: &Global, args: &Validate, output: &Output) -> Result<ExitClass, CliError> {
    let format = args.format.unwrap_or(output.format);
    if args.portability && args.source.path.is_none() {
        show_table(&report::portability(&session::all_products()), format, output);
        return Ok(ExitClass::Ok);
    }
    let path = session::path_of(args.source.path.as_deref());
    let mut loaded = config::load(&path, &config::Options { root: global.root.clone() });
    // A machine that does not fit where it is now is part of the answer, and no error.
    if args.portability
        && let Some(desired) = &loaded.desired
    {
        let own = session::products(desired);
        let table = report::portability_of(desired, &own, &session::all_products());
        show_table(&table, format, output);
        return Ok(ExitClass::Ok);
    }
    refuse_what_does_not_fit(&mut loaded);
    let fine = loaded.desired.is_some() && !loaded.report.has_errors();
    match format {
        Format::Json => {
            let json = config::diagnostic::to_json(&loaded.report, &loaded.sources);
            output.print_json(&json);
        }
        Format::Text | Format::Markdown => {
            show_problems(&loaded, output);
            if let Some(desired) = loaded.desired.as_ref().filter(|_| fine) {
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
    Ok(if fine { ExitClass::Ok } else { ExitClass::Config })
}

fn show_table(table: &Portability, format: Format, output: &Output) {
    match format {
        Format::Json => output.print_json(table),
        Format::Text | Format::Markdown => {
            output.print(report::portability_text(table, &output.style()));
        }
    }
}

/// Asks the product of every machine whether it can have what is declared. A plan blocks
/// the machine alone; a check of the files says it as loudly as anything else.
fn refuse_what_does_not_fit(loaded: &mut Loaded) {
    let Some(desired) = &loaded.desired else { return };
    let products = session::products(desired);
    for machine in desired.machines.values() {
        let Some(product) = products.get(&machine.hypervisor) else { continue };
        for Unsupported { field, why, help } in
            product.normalize(machine).err().into_iter().flatten()
        {
            let place = machine.place_of(&field);
            let nowhere = Span { file: FileId(0), start: 0, end: 0 };
            let span = loaded.sources.span_at(place).unwrap_or(nowhere);
            let text = format!("`{field}` cannot be had on {}: {why}", machine.hypervisor);
            let diagnostic = Diagnostic::error("unsupported", span, text)
                .help(help)
                .subject(machine.key.to_string().into());
            loaded.report.push(diagnostic);
        }
    }
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

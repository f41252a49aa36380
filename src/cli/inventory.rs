//! `inventory snapshot`.

use super::{
    args::{Global, Inventory},
    error::CliError,
    output::Output,
    plan::write_private,
    session::{self, Session},
};
use crate::apply::ExitClass;

/// Writes what the hypervisors report: compared fields only, no secrets.
pub async fn run(global: &Global, args: Inventory, output: &Output) -> Result<ExitClass, CliError> {
    let Inventory::Snapshot { source, out } = args;
    let session = Session::open(global, source.path.as_deref(), output).await?;
    session
        .look(async |session| {
            let history = session.history().await?;
            let inventory = session.observe(&history).await?;
            let text = serde_json::to_string_pretty(&inventory).unwrap_or_default();
            write_private(&out, &text)?;
            let guests: usize = inventory.hypervisors.values().map(|it| it.listed.len()).sum();
            output.print(format!(
                "{}: {} with {}.",
                out.display(),
                super::validate::count(inventory.hypervisors.len(), "hypervisor"),
                super::validate::count(guests, "guest")
            ));
            Ok(session::coverage_class(&inventory).unwrap_or(ExitClass::Ok))
        })
        .await
}

//! `sandbox serve|reset`.

use super::{
    args::{Global, Sandbox as SandboxArgs},
    error::CliError,
    output::Output,
    session,
};
use crate::{apply::ExitClass, sandbox};

/// Serves the simulators by hand, or forgets their worlds.
pub async fn run(
    global: &Global,
    args: SandboxArgs,
    output: &Output,
) -> Result<ExitClass, CliError> {
    match args {
        SandboxArgs::Serve { file } => {
            let path = session::path_of(file.as_deref());
            let (desired, root, _) = session::load(global, &path, output)?;
            let started = sandbox::Sandbox::start_alone(
                &root,
                &desired.hypervisors,
                global.record.as_deref(),
            );
            let running = started.await?;
            let folder = sandbox::folder(&root);
            for (name, address) in running.addresses() {
                let ca = folder.join(format!("{name}.ca.pem"));
                std::fs::write(&ca, &address.ca_pem).map_err(|error| {
                    CliError::new(
                        ExitClass::Error,
                        format!("could not write `{}`: {error}", ca.display()),
                    )
                })?;
                let (endpoint, ca) = (&address.endpoint, ca.display());
                let token = format!("{}={}", sandbox::TOKEN_ID, sandbox::TOKEN_SECRET);
                output.print(format!(
                    "{name}\n  endpoint  {endpoint}\n  CA        {ca}\n  token     {token}\n  try       \
                     curl --cacert {ca} \\\n              \
                     -H 'Authorization: PVEAPIToken={token}' \\\n              \
                     {endpoint}/api2/json/version"
                ));
            }
            output.remark("Serving until Ctrl-C.");
            let _ = tokio::signal::ctrl_c().await;
            running.stop().await;
            Ok(ExitClass::Ok)
        }
        SandboxArgs::Reset { file } => {
            let path = session::path_of(file.as_deref());
            let (_, root, _) = session::load(global, &path, output)?;
            let had =
                sandbox::reset(&root).map_err(|error| CliError::of(ExitClass::Error, &error))?;
            output.print(if had {
                "The sandbox is as new."
            } else {
                "The sandbox was new already."
            });
            Ok(ExitClass::Ok)
        }
    }
}

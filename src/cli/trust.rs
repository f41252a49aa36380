//! `trust`, and the one question about a hypervisor that trust does not know.

use super::{
    args::{Global, Trust as TrustArgs},
    error::CliError,
    output::Output,
    session,
};
use crate::{
    apply::ExitClass,
    model::{DesiredState, HypervisorConfig, HypervisorName},
    provider::tls,
    trust::{Endpoint, NewEntry, Presented, Refusal, Sources, Trust, add_entry},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a look at a certificate may take.
const PROBE_MAX: Duration = Duration::from_secs(10);

/// `trust add|list`.
pub async fn run(global: &Global, args: TrustArgs, output: &Output) -> Result<ExitClass, CliError> {
    match args {
        TrustArgs::List => list(global, output),
        TrustArgs::Add { name, file, yes } => {
            let path = session::path_of(file.as_deref());
            let (desired, root, _) = session::load(global, &path, output)?;
            let name = HypervisorName::from(name);
            let config = desired.hypervisors.get(&name).ok_or_else(|| {
                CliError::new(
                    ExitClass::Config,
                    format!("there is no hypervisor `{name}` in the YAML"),
                )
            })?;
            let trust = session::read_trust(global, &root)?;
            let entry = look(&name, config).await?;
            if !yes && (!output.interactive || !agree(&entry, config, output)) {
                return Err(refused_lines(&trust, &entry));
            }
            write(global, &root, &entry, output)?;
            Ok(ExitClass::Ok)
        }
    }
}

fn list(global: &Global, output: &Output) -> Result<ExitClass, CliError> {
    let root = std::env::current_dir().unwrap_or_default();
    let trust = session::read_trust(global, &root)?;
    let Some(file) = trust.file() else {
        output.print("No trust settings: only loopback can be reached. `novahost trust add NAME` begins them.");
        return Ok(ExitClass::Ok);
    };
    output.print(format!("{}", file.display()));
    for (name, binding) in trust.hypervisors() {
        output.print(format!("\n{name}"));
        let hosts: Vec<String> = binding.hosts.iter().map(ToString::to_string).collect();
        output.print(format!("  hosts     {}", hosts.join(", ")));
        output.print(format!("  identity  {}", binding.identity.as_deref().unwrap_or("any")));
        let tls = match (&binding.ca_file, binding.pins.is_empty()) {
            (_, false) => binding.pins.iter().map(|pin| format!("sha256:{pin}")).collect(),
            (Some(ca), true) => vec![format!("CA {}", ca.display())],
            (None, true) => vec!["as the YAML says, or system roots".to_owned()],
        };
        for line in tls {
            output.print(format!("  tls       {line}"));
        }
        let count = binding.secrets.len();
        output.print(format!("  secrets   {count}"));
    }
    Ok(ExitClass::Ok)
}

/// Asks once for every hypervisor that trust does not know, on a terminal; elsewhere
/// refuses with the lines to add. No socket has carried a secret by then.
pub async fn settle(
    global: &Global,
    root: &Path,
    desired: &DesiredState,
    trust: Trust,
    output: &Output,
) -> Result<Trust, CliError> {
    let mut changed = false;
    for (name, config) in &desired.hypervisors {
        for text in config.endpoints() {
            let endpoint =
                Endpoint::of_url(text).map_err(|error| CliError::of(ExitClass::Config, &error))?;
            let Err(refusal) = trust.may_connect(name, &endpoint) else { continue };
            if !matches!(refusal, Refusal::NoEntry { .. }) || !output.interactive {
                let lines = lines_to_add(&refusal, &endpoint, config, &trust, false).await;
                return Err(refused(&refusal, lines));
            }
            let entry = look(name, config).await?;
            if !agree(&entry, config, output) {
                return Err(refused_lines(&trust, &entry));
            }
            write(global, root, &entry, output)?;
            changed = true;
            break;
        }
    }
    if changed { session::read_trust(global, root) } else { Ok(trust) }
}

/// What to add to the trust settings. The certificate that the endpoint shows is part of
/// it only where a person is there: a reviewed file must not be able to make a machine
/// that works alone connect to wherever it says.
pub async fn lines_to_add(
    refusal: &Refusal,
    endpoint: &Endpoint,
    config: &HypervisorConfig,
    trust: &Trust,
    interactive: bool,
) -> Option<String> {
    let presented = if interactive {
        let probe = tls::probe(endpoint.host(), endpoint.port(), PROBE_MAX).await;
        Presented { identity: None, pin: probe.ok().map(|it| hex(&it.leaf)) }
    } else {
        Presented::default()
    };
    refusal.lines_to_add(trust, &secrets(config), &presented)
}

/// The references that its login uses.
pub fn secrets(config: &HypervisorConfig) -> Vec<String> {
    vec![config.secret().to_string()]
}

fn hex(fingerprint: &tls::Fingerprint) -> String {
    crate::model::hex(&fingerprint.0)
}

/// Looks at every endpoint of a hypervisor; each node of a cluster has its own leaf.
async fn look(name: &HypervisorName, config: &HypervisorConfig) -> Result<NewEntry, CliError> {
    let mut entry = NewEntry {
        name: name.clone(),
        hosts: Vec::new(),
        identity: None,
        pins: Vec::new(),
        secrets: secrets(config),
    };
    for text in config.endpoints() {
        let endpoint =
            Endpoint::of_url(text).map_err(|error| CliError::of(ExitClass::Config, &error))?;
        let probe = tls::probe(endpoint.host(), endpoint.port(), PROBE_MAX)
            .await
            .map_err(|error| CliError::of(ExitClass::Error, &error))?;
        let pin = hex(&probe.leaf);
        if !entry.pins.contains(&pin) {
            entry.pins.push(pin);
        }
        entry.hosts.push(endpoint);
    }
    Ok(entry)
}

/// What shows the fingerprint on the host itself, past every network in between.
fn own_fingerprint(config: &HypervisorConfig) -> &'static str {
    match config {
        HypervisorConfig::Proxmox(_) => {
            "openssl x509 -noout -fingerprint -sha256 -in /etc/pve/local/pve-ssl.pem"
        }
        HypervisorConfig::Vcenter(_) => {
            "/usr/lib/vmware-vmafd/bin/vecs-cli entry getcert --store MACHINE_SSL_CERT --alias __MACHINE_CERT | openssl x509 -noout -fingerprint -sha256"
        }
    }
}

fn agree(entry: &NewEntry, config: &HypervisorConfig, output: &Output) -> bool {
    output.remark(format!(
        "Hypervisor `{}` is not in the trust settings. It showed:\n\n{}\n\
         Compare the fingerprint with what the host itself says, for example\n  \
         {}\n",
        entry.name,
        entry.render(),
        own_fingerprint(config)
    ));
    output.ask("Trust it, and let it have these secrets?")
}

/// Where a new entry is written: the file that is in use, else the user's own.
fn write(global: &Global, root: &Path, entry: &NewEntry, output: &Output) -> Result<(), CliError> {
    let variable = |name: &str| std::env::var(name).ok();
    let sources = Sources::usual(root.to_owned(), global.trust.clone(), variable);
    let found: Option<PathBuf> =
        sources.find().map_err(|error| CliError::of(ExitClass::Refused, &error))?;
    let path = found.or(sources.user).unwrap_or(sources.system);
    add_entry(&path, entry).map_err(|error| CliError::of(ExitClass::Refused, &error))?;
    output.remark(format!("Written to {}.", path.display()));
    Ok(())
}

fn refused(refusal: &Refusal, lines: Option<String>) -> CliError {
    let mut error = CliError::of(ExitClass::Refused, refusal);
    if let Some(lines) = lines {
        error =
            error.hint(format!("if this is meant, add, with the fingerprint as `pins`:\n{lines}"));
    }
    error.hint("`novahost trust add NAME` does the same, and shows the fingerprint")
}

fn refused_lines(trust: &Trust, entry: &NewEntry) -> CliError {
    let file = trust
        .file()
        .map_or_else(|| "~/.config/novahost/trust.toml".to_owned(), |it| it.display().to_string());
    CliError::new(ExitClass::Refused, format!("hypervisor `{}` was not trusted", entry.name))
        .hint(format!("after checking the fingerprint, add to {file}:\n{}", entry.render()))
}

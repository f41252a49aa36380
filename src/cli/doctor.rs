//! `doctor`: asks whoever knows, shows what they found, picks the exit code.

use super::{
    args::{Doctor, Format, Global},
    error::CliError,
    output::Output,
    session::{self, Session},
    trust,
};
use crate::{
    apply::ExitClass,
    inventory,
    model::{
        Check, DesiredState, Examination, Finding, FindingGroup, Health, HypervisorConfig,
        HypervisorName, Scope,
    },
    provider::Provider,
    report,
    store::Store,
    trust::{Endpoint, Refusal, Trust, one_identity_twice},
};
use serde::Serialize;
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// What may be at most allowed on the journal: it tells who did what.
#[cfg(unix)]
const JOURNAL_MODE_MAX: u32 = 0o600;

/// The result for programs.
#[derive(Serialize)]
struct Document<'a> {
    novahost: &'a str,
    exit_code: u8,
    groups: &'a [FindingGroup],
}

/// Examines this machine and the hypervisors. Opens no run and changes nothing.
pub async fn run(global: &Global, args: Doctor, output: &Output) -> Result<ExitClass, CliError> {
    let path = session::path_of(args.file.as_deref());
    let loaded = session::load(global, &path, output)?;
    let chosen = chosen(&loaded.0, &args.hypervisors)?;
    let output = output.with(global, &loaded.2);
    let groups = match session::read_trust(global, &loaded.1) {
        Ok(trust) => {
            let session = Session::unconnected(global, path, loaded, trust, &output).await?;
            let groups = examine(&session, &chosen).await;
            session.close().await;
            groups
        }
        // Nobody can be asked without knowing whom to believe.
        Err(error) => distrusted(&error.message, &chosen),
    };
    let class = class_of(&groups);
    let novahost = env!("CARGO_PKG_VERSION");
    match args.format.unwrap_or(output.format) {
        Format::Json => {
            output.print_json(&Document { novahost, exit_code: class.code(), groups: &groups });
        }
        Format::Text | Format::Markdown => {
            output.print(report::findings_text(novahost, &groups, &output.style()));
        }
    }
    Ok(class)
}

fn chosen(desired: &DesiredState, asked: &[String]) -> Result<Vec<HypervisorName>, CliError> {
    for name in asked {
        if !desired.hypervisors.contains_key(&HypervisorName::from(name.as_str())) {
            return Err(CliError::new(
                ExitClass::Config,
                format!("there is no hypervisor `{name}` in the YAML"),
            ));
        }
    }
    let is_asked =
        |name: &&HypervisorName| asked.is_empty() || asked.iter().any(|it| it == name.as_str());
    Ok(desired.hypervisors.keys().filter(is_asked).cloned().collect())
}

/// Which exit code the findings deserve.
fn class_of(groups: &[FindingGroup]) -> ExitClass {
    let failed = groups.iter().flat_map(|it| &it.findings).filter(|it| it.state == Health::Fail);
    let class = |finding: &Finding| match finding.check {
        Check::Key | Check::Secret | Check::Login => ExitClass::Auth,
        Check::Trust | Check::Host | Check::Tls | Check::Identity => ExitClass::Refused,
        Check::Reach | Check::Quorum | Check::Inventory => ExitClass::Incomplete,
        Check::Journal | Check::Version | Check::Clock | Check::Privileges | Check::Excess => {
            ExitClass::Error
        }
    };
    failed.map(class).min().unwrap_or(ExitClass::Ok)
}

fn distrusted(why: &str, chosen: &[HypervisorName]) -> Vec<FindingGroup> {
    let why_not = "the trust settings cannot be used";
    let skipped = |check| Finding::skipped(check, why_not);
    let mut local = vec![Finding::fail(Check::Trust, why)];
    local.extend([Check::Key, Check::Journal].map(skipped));
    let others = chosen.iter().map(|name| FindingGroup {
        hypervisor: Some(name.clone()),
        findings: [Check::Host, Check::Secret]
            .map(skipped)
            .into_iter()
            .chain(Examination::default().skip_rest(why_not).findings)
            .collect(),
    });
    std::iter::once(FindingGroup { hypervisor: None, findings: local }).chain(others).collect()
}

async fn examine(session: &Session, chosen: &[HypervisorName]) -> Vec<FindingGroup> {
    let local = vec![settings(session), key(session).await, journal(&session.store_path).await];
    let mut groups = vec![FindingGroup { hypervisor: None, findings: local }];
    let history = session.history().await.unwrap_or_default();
    let scopes = inventory::scopes(&session.desired, &history);
    let mut identities: BTreeMap<HypervisorName, String> = BTreeMap::new();
    for name in chosen {
        let scope = scopes.get(name).cloned().unwrap_or_default();
        let (findings, identity) = hypervisor(session, name, &scope).await;
        identities.extend(identity.map(|identity| (name.clone(), identity)));
        groups.push(FindingGroup { hypervisor: Some(name.clone()), findings });
    }
    let pairs = identities.iter().map(|(name, it)| (name, it.as_str()));
    if let Some((one, other)) = one_identity_twice(pairs) {
        for (name, twin) in [(one, other), (other, one)] {
            let text = format!("`{twin}` is the same installation");
            let finding = Finding::fail(Check::Identity, text).say(
                "keep one of the two entries; a cluster with several nodes takes several `endpoints`",
            );
            replace(&mut groups, name, finding);
        }
    }
    groups
}

/// Puts a finding in the place of the one of the same check.
fn replace(groups: &mut [FindingGroup], name: &HypervisorName, finding: Finding) {
    let own = groups.iter_mut().filter(|it| it.hypervisor.as_ref() == Some(name));
    let place = own.flat_map(|it| &mut it.findings).find(|it| it.check == finding.check);
    if let Some(place) = place {
        *place = finding;
    }
}

fn settings(session: &Session) -> Finding {
    if session.trust.is_sandbox() {
        return Finding::skipped(Check::Trust, "the sandbox reads no trust settings");
    }
    match session.trust.file() {
        Some(path) => Finding::ok(Check::Trust, path.display().to_string()),
        None => Finding::ok(Check::Trust, "none: only loopback can be reached"),
    }
}

async fn key(session: &Session) -> Finding {
    match session.secrets.marker_key().await {
        Ok(Some(_)) => Finding::ok(Check::Key, "marks are signed"),
        Ok(None) => {
            Finding::ok(Check::Key, "none: deletes need the journal or `--confirm` as witness")
        }
        Err(error) => Finding::fail(Check::Key, super::error::chain(&error))
            .say("correct `marker_key` in the trust settings, or where its value comes from"),
    }
}

async fn journal(path: &Path) -> Finding {
    let shown = path.display();
    if !path.exists() {
        return Finding::ok(Check::Journal, format!("none yet; the first apply makes {shown}"));
    }
    let opened = async { Store::open(path).await?.verify_chain().await };
    let report = match opened.await {
        Ok(report) => report,
        Err(error) => {
            return Finding::fail(Check::Journal, super::error::chain(&error))
                .say("nothing can be applied without it; look at its folder and its owner");
        }
    };
    if let Some(bad) = report.first_bad {
        return Finding::fail(Check::Journal, format!("the chain of {shown} is broken: {bad}"))
            .say(
                "somebody changed it, or the disk did; rows before that are as they were written. \
                 Keep the file and look for a backup",
            );
    }
    if let Some(mode) = too_wide(path) {
        return Finding::warn(Check::Journal, format!("{shown} has mode {mode:04o}"))
            .say("others can read or change what was done here:")
            .run(format!("chmod 0600 {shown}"));
    }
    Finding::ok(Check::Journal, format!("{shown}, {} rows, unbroken", report.rows))
}

#[cfg(unix)]
fn too_wide(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & !JOURNAL_MODE_MAX != 0).then_some(mode)
}

#[cfg(not(unix))]
fn too_wide(_: &Path) -> Option<u32> {
    None
}

/// The checks of one hypervisor, and what identifies it. Nothing is sent before trust
/// has agreed.
async fn hypervisor(
    session: &Session,
    name: &HypervisorName,
    scope: &Scope,
) -> (Vec<Finding>, Option<String>) {
    let config = &session.desired.hypervisors[name];
    let (mut findings, provider) = connect(session, name, config).await;
    let mut exam = match &provider {
        Some(provider) => provider.examine(&session.desired, scope).await,
        None => {
            let failed = findings.iter().find(|it| it.state == Health::Fail);
            let why = match failed.map(|it| it.check) {
                Some(Check::Secret) => "there is no secret to log in with",
                _ => "trust does not allow it",
            };
            Examination::default().skip_rest(why)
        }
    };
    if let Some(finding) = believed(&session.trust, name, &exam) {
        let place = exam.findings.iter_mut().find(|it| it.check == Check::Identity);
        if let Some(place) = place {
            *place = finding;
        }
    }
    if let Some(provider) = provider {
        provider.close().await;
    }
    findings.append(&mut exam.findings);
    (findings, exam.identity)
}

/// What trust says of who answered, when that is worth a word.
fn believed(trust: &Trust, name: &HypervisorName, exam: &Examination) -> Option<Finding> {
    let identity = exam.identity.as_ref().filter(|_| !trust.is_sandbox())?;
    if let Err(refusal) = trust.may_believe(name, identity) {
        return Some(Finding::fail(Check::Identity, refusal.to_string()));
    }
    let binding = trust.hypervisors().get(name)?;
    binding.identity.is_none().then(|| {
        Finding::warn(Check::Identity, format!("{identity}, which trust does not pin"))
            .say("if that is the one you mean, add to its entry in the trust settings:")
            .write(format!("identity = \"{identity}\""))
    })
}

/// Whether trust lets this name have its endpoints and its secret; a provider when so.
async fn connect(
    session: &Session,
    name: &HypervisorName,
    config: &HypervisorConfig,
) -> (Vec<Finding>, Option<Arc<dyn Provider>>) {
    let mut host = bound(session, name, config).await;
    if host.state == Health::Fail {
        let secret = Finding::skipped(Check::Secret, "trust does not allow it");
        return (vec![host, secret], None);
    }
    let reference = trust::secrets(config).join(", ");
    let error = match session.provider(name, config).await {
        Ok(provider) => {
            let text = match &session.sandbox {
                Some(_) => "a stand-in for the simulator".to_owned(),
                None => reference,
            };
            return (vec![host, Finding::ok(Check::Secret, text)], Some(provider));
        }
        Err(error) => error,
    };
    let secret = match error.class {
        ExitClass::Refused => {
            host = Finding::fail(Check::Host, error.message);
            host = host
                .say("if it may go there, add it to `secrets` of the entry in the trust settings");
            Finding::skipped(Check::Secret, "trust does not allow it")
        }
        _ => Finding::fail(Check::Secret, error.message),
    };
    let secret = error.hints.into_iter().fold(secret, Finding::say);
    (vec![host, secret], None)
}

async fn bound(session: &Session, name: &HypervisorName, config: &HypervisorConfig) -> Finding {
    if session.sandbox.is_some() {
        return Finding::ok(Check::Host, "a simulator on loopback");
    }
    for text in config.endpoints() {
        let endpoint = match Endpoint::of_url(text) {
            Ok(endpoint) => endpoint,
            Err(error) => return Finding::fail(Check::Host, error.to_string()),
        };
        let Err(refusal) = session.trust.may_connect(name, &endpoint) else { continue };
        let person = session.output.interactive;
        let lines = trust::lines_to_add(&refusal, &endpoint, config, &session.trust, person).await;
        let mut finding = Finding::fail(Check::Host, refusal.to_string());
        if let Some(lines) = lines {
            finding = finding.say("after checking the fingerprint, add:");
            finding = lines.lines().fold(finding, Finding::write);
        }
        // An entry that is there is for an editor to change.
        if matches!(refusal, Refusal::NoEntry { .. }) {
            let command = format!("novahost trust add {name}");
            finding = finding.say("or let novahost ask and write it:").run(command);
        }
        return finding;
    }
    match session.trust.hypervisors().get(name) {
        Some(binding) => {
            let hosts: Vec<String> = binding.hosts.iter().map(ToString::to_string).collect();
            Finding::ok(Check::Host, format!("trusted at {}", hosts.join(", ")))
        }
        None => Finding::ok(Check::Host, "loopback, which needs no entry"),
    }
}

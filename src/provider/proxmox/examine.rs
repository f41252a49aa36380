//! What would stand in the way of planning and applying, looked at in the order in
//! which it would: the network, the certificate, the login, who answers, and what the
//! account may do there. Reads only; what the rights mean is judged in `privileges`.

use super::{
    client::Client,
    error::CallError,
    identity::SelfId,
    locate::CLOCK_SKEW_S,
    look,
    observe::{gather, joined, observe},
    privileges::{self, Account},
    provider::Inner,
    spelling::segment,
    wire,
};
use crate::{
    model::{
        Check, Coverage, DesiredState, ErrorKind, Examination, FailureKind, Finding, Fix, Health,
        HypervisorInventory, Marker, NodeName, ProviderError, Scope,
    },
    provider::{
        endpoint::Endpoint,
        tls::{self, PinMismatch, TlsTrust},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How long one endpoint may take to answer, and to show its certificate.
const ENDPOINT_MAX: Duration = Duration::from_secs(5);
/// A clock that is this far off is on its way out of what is allowed.
const CLOCK_WARN_S: i64 = 30;
/// A login that ends sooner than this is worth a word: the next holiday is longer.
const EXPIRY_WARN_S: i64 = 14 * DAY_S;
const DAY_S: i64 = 24 * 60 * 60;
/// What is tested (`major.minor`); later minor versions of the last major as well.
const OLDEST: (u32, u32) = (8, 4);
const NEWEST_MAJOR: u32 = 9;
/// Names listed before the rest is counted.
const NAMES_MAX: usize = 12;

pub(super) async fn examine(
    inner: &Arc<Inner>,
    desired: &DesiredState,
    scope: &Scope,
) -> Examination {
    let mut exam = Examination::default();
    let alive = reach(&inner.client, &mut exam).await;
    if alive.is_empty() {
        return exam.skip_rest("no endpoint answers");
    }
    if !certificates(inner, &alive, &mut exam).await {
        return exam.skip_rest("nothing is sent to a server that is not trusted");
    }
    let Some(login) = log_in(inner, &mut exam).await else {
        return exam.skip_rest("the login failed");
    };
    let Some(cluster) = identify(inner, &mut exam).await else {
        return exam.skip_rest("nothing is believed of an installation that is not the one meant");
    };
    exam.findings.push(version(&login.version));
    exam.findings.push(judge_clock(&login));
    exam.findings.push(quorum(&cluster));
    let seen = observe(inner, scope).await;
    rights(inner, desired, &seen, &login, &mut exam).await;
    exam.findings.push(coverage_of(desired, &seen));
    exam
}

/// Which endpoints take a connection, by index.
async fn reach(client: &Client, exam: &mut Examination) -> Vec<usize> {
    let all: Vec<Endpoint> = client.endpoints().to_vec();
    let answers =
        gather(client.reads_max, all.clone(), |endpoint| async move { connect(&endpoint).await })
            .await;
    let mut finding = Finding::ok(Check::Reach, "");
    let mut alive = Vec::new();
    for (index, (endpoint, answer)) in all.iter().zip(answers).enumerate() {
        match answer {
            Ok(()) => alive.push(index),
            Err(why) => finding = finding.detail(format!("{endpoint}: {why}")),
        }
    }
    (finding.state, finding.text) = match (alive.len(), all.len()) {
        (0, _) => (Health::Fail, "no endpoint answers".to_owned()),
        (up, count) if up < count => {
            (Health::Warn, format!("{up} of {count} endpoints answer; the others are down"))
        }
        (_, 1) => (Health::Ok, format!("{} answers", all[0])),
        (_, count) => (Health::Ok, format!("all {count} endpoints answer")),
    };
    if finding.state != Health::Ok {
        finding = finding.say(
            "check the address, the firewall between here and port 8006, and on the node: \
             systemctl status pveproxy",
        );
    }
    exam.findings.push(finding);
    alive
}

async fn connect(endpoint: &Endpoint) -> Result<(), String> {
    let host = endpoint.host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = endpoint.port;
    let attempt = async {
        let found = tokio::net::lookup_host((host.as_str(), port)).await;
        let addresses: Vec<_> =
            found.map_err(|_| "its name cannot be resolved".to_owned())?.collect();
        let stream = tokio::net::TcpStream::connect(addresses.as_slice()).await;
        stream.map(drop).map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "the connection is refused".to_owned(),
            _ => error.to_string(),
        })
    };
    match tokio::time::timeout(ENDPOINT_MAX, attempt).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", ENDPOINT_MAX.as_secs())),
    }
}

/// Whether every endpoint that answers is trusted.
async fn certificates(inner: &Arc<Inner>, alive: &[usize], exam: &mut Examination) -> bool {
    let trust = inner.client.tls();
    let secured: Vec<&Endpoint> =
        alive.iter().map(|index| &inner.client.endpoints()[*index]).filter(|it| it.https).collect();
    let mut finding = Finding::ok(Check::Tls, trusted_by(trust));
    let mut pins = match trust {
        TlsTrust::Pins(pins) => pins.clone(),
        TlsTrust::System | TlsTrust::Ca(_) | TlsTrust::InsecureLoopback => Vec::new(),
    };
    for endpoint in &secured {
        let Err(error) = tls::verify(trust, &endpoint.host, endpoint.port, ENDPOINT_MAX).await
        else {
            continue;
        };
        finding.state = Health::Fail;
        finding.text = "a certificate is not trusted, so nothing is sent there".to_owned();
        finding = finding.detail(format!("{endpoint}: {}", trouble(&error)));
        if let Ok(seen) = tls::probe(&endpoint.host, endpoint.port, ENDPOINT_MAX).await {
            finding = finding.detail(format!("it showed {}", seen.leaf));
            if !pins.contains(&seen.leaf) {
                pins.push(seen.leaf);
            }
        }
    }
    if secured.is_empty() {
        finding.text = "not encrypted, which is possible on loopback only".to_owned();
    }
    let failed = finding.state == Health::Fail;
    if failed {
        finding = mend_certificate(finding, inner, &pins);
    }
    exam.findings.push(finding);
    !failed
}

fn mend_certificate(finding: Finding, inner: &Inner, pins: &[tls::Fingerprint]) -> Finding {
    let list: Vec<String> = pins.iter().map(|pin| format!("\"{pin}\"")).collect();
    finding
        .say("compare the fingerprint with what the node itself says:")
        .run("openssl x509 -noout -fingerprint -sha256 -in /etc/pve/local/pve-ssl.pem")
        .say("only when they are equal, pin it in the trust settings (one pin for each node):")
        .write(format!("[hypervisors.{}]", inner.name))
        .write(format!("pins = [{}]", list.join(", ")))
        .say(
            "or trust the authority of the cluster there instead of pins; the file is \
             /etc/pve/pve-root-ca.pem on every node:",
        )
        .write("ca_file = \"pve-root-ca.pem\"")
}

fn trusted_by(trust: &TlsTrust) -> &'static str {
    match trust {
        TlsTrust::System => "signed by an authority of this system, for this name",
        TlsTrust::Ca(_) => "signed by the authority that is trusted, for this name",
        TlsTrust::Pins(_) => "is one that is pinned",
        TlsTrust::InsecureLoopback => "not verified, which is possible on loopback only",
    }
}

/// Why a handshake failed, in words.
fn trouble(error: &tls::ProbeError) -> String {
    use rustls::CertificateError as C;
    if let Some(PinMismatch { .. }) = tls::pin_mismatch(error) {
        return "its certificate is none of the pinned ones".to_owned();
    }
    match tls::certificate_trouble(error) {
        // Authorities of two clusters may bear one name; then only the signature differs.
        Some(C::UnknownIssuer | C::BadSignature) => {
            "it is signed by an authority that is not trusted".to_owned()
        }
        Some(C::Expired | C::ExpiredContext { .. }) => "its certificate has expired".to_owned(),
        Some(C::NotValidYet | C::NotValidYetContext { .. }) => {
            "its certificate is not valid yet: check the clock of this machine".to_owned()
        }
        Some(C::NotValidForName | C::NotValidForNameContext { .. }) => {
            "its certificate is for another name".to_owned()
        }
        Some(other) => other.to_string(),
        None => joined(error),
    }
}

/// What a login brought.
struct Login {
    version: wire::Version,
    /// How far the server's clock is ahead of ours; `None` = it tells no time.
    ahead_ms: Option<i64>,
    user: Option<wire::User>,
}

/// Between us and the end of a login, in the server's own words where it has any.
async fn log_in(inner: &Inner, exam: &mut Examination) -> Option<Login> {
    let client = &inner.client;
    let version = match client.get::<wire::Version>("/version", &[]).await {
        Ok(version) => version,
        Err(error) => {
            exam.findings.push(refused(client, error));
            return None;
        }
    };
    let before = inner.clock.now_ms();
    let date = client.date_s().await.ok().flatten();
    let after = inner.clock.now_ms();
    // The header has whole seconds, cut off: half of one is the best guess.
    let ahead_ms = date.map(|date| date * 1000 + 500 - (before + after) / 2);
    let user = client.identity().split('!').next().unwrap_or_default();
    let path = format!("/access/users/{}", segment(user));
    let user = client.get::<wire::User>(&path, &[]).await.ok();
    let login = Login { version, ahead_ms, user };
    let server_now_s = (after + ahead_ms.unwrap_or_default()) / 1000;
    exam.findings.push(logged_in(client.identity(), login.user.as_ref(), server_now_s));
    Some(login)
}

fn refused(client: &Client, error: CallError) -> Finding {
    let who = client.identity();
    let user = who.split('!').next().unwrap_or_default();
    match error {
        CallError::Auth(text) => Finding::fail(Check::Login, format!("`{who}` is refused"))
            .detail(match text.trim() {
                "" => "the server does not say why".to_owned(),
                text => format!("the server says: {text}"),
            })
            .say(
                "the user or token does not exist or is disabled, it has expired, or the secret \
                 is another one; the server often does not tell which. On a node:",
            )
            .run("pveum user list --full")
            .run(format!("pveum user token list {}", privileges::word(user)))
            .say(
                "the secret of a token is shown once, when it is made: when it is lost, remove \
                 the token and make it again",
            ),
        CallError::NotSent { .. }
        | CallError::Certificate { .. }
        | CallError::Refused { .. }
        | CallError::Gateway { .. }
        | CallError::Lost { .. }
        | CallError::Decode(_) => {
            let error = error.into_provider("log in");
            Finding::fail(Check::Login, "whether the credentials are right cannot be told")
                .detail(joined(&error))
                .say("is this a Proxmox VE node, and is it well? Look at its own interface")
        }
    }
}

/// A login that works, and until when.
fn logged_in(who: &str, user: Option<&wire::User>, server_now_s: i64) -> Finding {
    let finding = Finding::ok(Check::Login, format!("as `{who}`"));
    let Some(user) = user else { return finding };
    let token = who.split_once('!').and_then(|(_, token)| user.tokens.as_ref()?.get(token));
    let ends = [user.expire, token.and_then(|it| it.expire)];
    let ends = ends.into_iter().flatten().filter(|it| it.0 > 0);
    let Some(end_s) = ends.map(|it| i64::try_from(it.0).unwrap_or(i64::MAX)).min() else {
        return finding;
    };
    let left_s = end_s.saturating_sub(server_now_s);
    let text = format!("as `{who}`, which expires in {} days", left_s / DAY_S);
    if left_s >= EXPIRY_WARN_S {
        return Finding::ok(Check::Login, text);
    }
    Finding::warn(Check::Login, text)
        .say("give it more time before that; on a node, with seconds since 1970, or 0 for never:")
        .run(match who.split_once('!') {
            Some((user, token)) => format!(
                "pveum user token modify {} {} --expire 0",
                privileges::word(user),
                privileges::word(token)
            ),
            None => format!("pveum user modify {} --expire 0", privileges::word(who)),
        })
}

/// What the cluster says of itself.
struct Cluster {
    quorate: Option<bool>,
    nodes: BTreeMap<NodeName, bool>,
}

async fn identify(inner: &Inner, exam: &mut Examination) -> Option<Cluster> {
    match try_identify(inner).await {
        Ok((cluster, Some(identity))) => {
            exam.findings.push(Finding::ok(Check::Identity, identity.to_string()));
            exam.identity = Some(identity.to_string());
            Some(cluster)
        }
        Ok((cluster, None)) => {
            let text = "the installation does not tell its identity";
            exam.findings.push(Finding::warn(Check::Identity, text));
            Some(cluster)
        }
        Err(error) if error.kind == ErrorKind::Identity => {
            let finding = Finding::fail(Check::Identity, "another installation answers")
                .detail(joined(&*error.source))
                .say(
                    "if the endpoint is wrong, correct it. If the cluster was installed anew or \
                     got another root certificate, compare the fingerprint on a node:",
                )
                .run("openssl x509 -noout -fingerprint -sha256 -in /etc/pve/pve-root-ca.pem")
                .say("only when it is the one above, correct `identity` in the trust settings");
            exam.findings.push(finding);
            None
        }
        Err(error) => {
            let finding =
                Finding::fail(Check::Identity, "who answers cannot be told").detail(joined(&error));
            exam.findings.push(finding);
            None
        }
    }
}

async fn try_identify(inner: &Inner) -> Result<(Cluster, Option<SelfId>), ProviderError> {
    let client = &inner.client;
    let status = match client.get::<Vec<wire::StatusRow>>("/cluster/status", &[]).await {
        Ok(rows) => Some(rows),
        Err(error) if error.is_forbidden() => None,
        Err(error) => return Err(error.into_provider("read the cluster's status")),
    };
    let rows = look::resources(client, Some("node")).await;
    let rows = rows.map_err(|error| error.into_provider("list nodes"))?.nodes;
    let nodes = look::nodes_online(status.as_deref(), &rows);
    let identity = inner.identify(status.as_deref(), &nodes).await?;
    Ok((Cluster { quorate: status.as_deref().map(look::quorate), nodes }, identity))
}

fn version(told: &wire::Version) -> Finding {
    let full = &told.version.0;
    let release = told.release.as_ref().unwrap_or(&told.version);
    let mut parts = release.0.split('.').map(|part| part.parse::<u32>().ok());
    let (major, minor) = (parts.next().flatten(), parts.next().flatten().unwrap_or_default());
    let text = format!("Proxmox VE {full}");
    match major {
        Some(major) if (major, minor) < OLDEST => {
            Finding::fail(Check::Version, format!("{text}, older than what is supported"))
                .say("upgrade it to 8.4 or 9.x")
        }
        Some(major) if major <= NEWEST_MAJOR => Finding::ok(Check::Version, text),
        Some(_) => Finding::warn(Check::Version, format!("{text}, newer than what was tested"))
            .say("look for a newer novahost; 8.4 to 9.x are supported"),
        None => Finding::warn(Check::Version, format!("{text}, which is no known version"))
            .say("8.4 to 9.x are supported"),
    }
}

fn judge_clock(login: &Login) -> Finding {
    let Some(ahead_ms) = login.ahead_ms else {
        return Finding::warn(Check::Clock, "the server tells no time");
    };
    let off_s = ahead_ms.abs() / 1000;
    let side = if ahead_ms > 0 { "ahead of" } else { "behind" };
    let text = format!("the server's clock is {off_s} s {side} ours");
    let finding = if off_s < 2 {
        return Finding::ok(Check::Clock, "the server's clock agrees with ours");
    } else if off_s < CLOCK_WARN_S {
        return Finding::ok(Check::Clock, text);
    } else if off_s <= CLOCK_SKEW_S {
        Finding::warn(Check::Clock, text)
    } else {
        Finding::fail(Check::Clock, text).detail(format!(
            "beyond {CLOCK_SKEW_S} s a call whose answer was lost may not be found again, and \
             tokens and tickets expire at other times than they say"
        ))
    };
    finding
        .say("let both keep their time by NTP. Here: timedatectl. On a node:")
        .run("chronyc tracking")
}

fn quorum(cluster: &Cluster) -> Finding {
    let silent: Vec<&str> = cluster
        .nodes
        .iter()
        .filter(|(_, online)| !**online)
        .map(|(node, _)| node.as_str())
        .collect();
    let count = cluster.nodes.len();
    if cluster.quorate == Some(false) {
        return Finding::fail(Check::Quorum, "the cluster has no quorum: nothing can be changed")
            .say("bring back the nodes that are missing; on a node:")
            .run("pvecm status");
    }
    if !silent.is_empty() {
        let list = silent.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
        return Finding::fail(Check::Quorum, format!("offline: {list}, of {count} nodes")).say(
            "bring it back, or take it out of the cluster for good; until then the inventory \
                 is incomplete and nothing is created or deleted",
        );
    }
    match cluster.quorate {
        Some(_) if count == 1 => Finding::ok(Check::Quorum, "a single node, online"),
        Some(_) => Finding::ok(Check::Quorum, format!("quorate, all {count} nodes online")),
        None => Finding::warn(Check::Quorum, "the account may not read the cluster's status"),
    }
}

/// Adds what is missing and what is too much.
async fn rights(
    inner: &Inner,
    desired: &DesiredState,
    seen: &HypervisorInventory,
    login: &Login,
    exam: &mut Examination,
) {
    let client = &inner.client;
    let (permissions, acl, roles) = tokio::join!(
        client.get::<wire::Permissions>("/access/permissions", &[]),
        client.get::<Vec<wire::AclRow>>("/access/acl", &[]),
        client.get::<Vec<wire::Role>>("/access/roles", &[]),
    );
    let permissions = match permissions {
        Ok(permissions) => permissions,
        Err(error) => {
            let error = error.into_provider("read the account's permissions");
            exam.findings.push(Finding::fail(Check::Privileges, joined(&error)));
            exam.findings.push(Finding::skipped(Check::Excess, "its permissions are not known"));
            return;
        }
    };
    // Rows and roles only choose between commands; without them the usual ones do.
    let acl = acl.unwrap_or_default();
    let roles: BTreeMap<String, bool> = roles
        .unwrap_or_default()
        .into_iter()
        .map(|role| (role.roleid, role.special.is_some_and(|flag| flag.0)))
        .collect();
    let groups: Option<BTreeSet<String>> =
        login.user.as_ref().map(|user| user.groups.iter().cloned().collect());
    let token = client.identity().split_once('!').map(|(_, token)| token);
    let known = login.user.as_ref().and_then(|user| user.tokens.as_ref());
    let account = Account {
        identity: client.identity(),
        separated: token.and_then(|token| known?.get(token)?.privsep).map(|flag| flag.0),
        permissions: &permissions,
        acl: &acl,
        groups: groups.as_ref(),
        roles: &roles,
    };
    let needs = privileges::needs(desired, &inner.name, seen);
    exam.findings.push(lacks(&needs, &account));
    exam.findings.push(exceeds(&needs, &account));
}

fn lacks(needs: &BTreeSet<privileges::Need>, account: &Account<'_>) -> Finding {
    let missing = privileges::missing(needs, account);
    if missing.is_empty() {
        let names: BTreeSet<&str> = needs.iter().map(|need| need.privilege).collect();
        let text = format!("all {} that this project needs", names.len());
        return Finding::ok(Check::Privileges, text);
    }
    let names: BTreeSet<&str> = missing.iter().map(|need| need.privilege).collect();
    let text = match names.len() {
        1 => "one that this project needs is missing".to_owned(),
        count => format!("{count} that this project needs are missing"),
    };
    let mut finding = Finding::fail(Check::Privileges, text);
    finding.details = privileges::told(&missing);
    finding.fix.push(Fix::Say("on a node, as root:".to_owned()));
    finding.fix.extend(privileges::grants(&missing, account).into_iter().map(Fix::Run));
    finding
}

fn exceeds(needs: &BTreeSet<privileges::Need>, account: &Account<'_>) -> Finding {
    if account.is_root() {
        return Finding::warn(Check::Excess, "the account is root, which may do everything")
            .say("make an account of its own with the role that the README lists");
    }
    let excess = privileges::excess(needs, account);
    if excess.is_empty() {
        return Finding::ok(Check::Excess, "nothing beyond that");
    }
    let (dangerous, others): (Vec<_>, Vec<_>) =
        excess.into_iter().partition(|it| it.danger.is_some());
    let count = dangerous.len() + others.len();
    let plural = if count == 1 { "" } else { "s" };
    let text = format!("{count} privilege{plural} that this project does not need");
    let state = if dangerous.is_empty() { Health::Ok } else { Health::Warn };
    let mut finding = Finding::new(Check::Excess, state, text);
    for it in &dangerous {
        finding = finding.detail(format!("{} {}", it.privilege, it.danger.unwrap_or_default()));
    }
    if !others.is_empty() {
        let mut names: Vec<&str> =
            others.iter().take(NAMES_MAX).map(|it| it.privilege.as_str()).collect();
        let more = format!("and {} more", others.len().saturating_sub(NAMES_MAX));
        if others.len() > NAMES_MAX {
            names.push(&more);
        }
        finding = finding.detail(names.join(", "));
    }
    if state == Health::Ok {
        return finding;
    }
    let finding = finding.say("take them away, unless something else needs them");
    match privileges::trim(needs, account) {
        Some(command) => finding.run(command),
        None => finding,
    }
}

fn coverage_of(desired: &DesiredState, seen: &HypervisorInventory) -> Finding {
    let is_ours = |marker: Option<&Marker>| marker.is_some_and(|it| it.project == desired.project);
    let ours = seen.machines.values().filter(|it| is_ours(it.marker.found())).count();
    match &seen.coverage {
        Coverage::Complete => Finding::ok(
            Check::Inventory,
            format!("complete: {} guests, {ours} ours", seen.listed.len()),
        ),
        Coverage::Scoped { why, .. } => {
            Finding::warn(Check::Inventory, "scoped").detail(why.clone()).say(
                "machines are created only at an id that the YAML pins, and none is deleted, \
                 until the account sees all guests",
            )
        }
        Coverage::Incomplete { gaps } => {
            let mut finding =
                Finding::fail(Check::Inventory, "incomplete: nothing is created or deleted");
            finding.details.clone_from(gaps);
            finding
        }
        Coverage::Failed { error, kind } => {
            let text = match kind {
                FailureKind::Unreachable => "it cannot be read",
                FailureKind::Auth => "it cannot be read: the credentials are refused",
                FailureKind::Trust => "it cannot be read: it is not trusted",
            };
            Finding::fail(Check::Inventory, text).detail(error.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(ahead_ms: Option<i64>) -> Login {
        let version = serde_json::from_str(r#"{"version":"9.2.11","release":"9.2"}"#).unwrap();
        Login { version, ahead_ms, user: None }
    }

    fn told(json: &str) -> Finding {
        version(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn versions_are_supported_tested_or_neither() {
        for good in ["8.4", "9.0", "9.9", "8.10"] {
            let json = format!(r#"{{"version":"{good}.1","release":"{good}"}}"#);
            assert_eq!(told(&json).state, Health::Ok, "{good}");
        }
        assert_eq!(told(r#"{"version":"8.3.5","release":"8.3"}"#).state, Health::Fail);
        assert_eq!(told(r#"{"version":"7.4-17","release":"7.4"}"#).state, Health::Fail);
        assert_eq!(told(r#"{"version":"10.0.1","release":"10.0"}"#).state, Health::Warn);
        assert_eq!(told(r#"{"version":"9"}"#).state, Health::Ok);
        assert_eq!(told(r#"{"version":"trixie"}"#).state, Health::Warn);
    }

    #[test]
    fn a_clock_may_be_as_far_off_as_lost_calls_can_be_found() {
        let state = |ahead_ms| judge_clock(&login(ahead_ms)).state;
        for fine in [0, 1_400, -29_000] {
            assert_eq!(state(Some(fine)), Health::Ok, "{fine}");
        }
        assert_eq!(state(Some(-45_000)), Health::Warn);
        assert_eq!(state(Some(60_900)), Health::Warn);
        assert_eq!(state(Some(61_000)), Health::Fail);
        assert_eq!(state(Some(-3_600_000)), Health::Fail);
        assert_eq!(state(None), Health::Warn);
        assert!(judge_clock(&login(Some(-45_000))).text.contains("45 s behind"));
    }

    #[test]
    fn a_login_that_ends_soon_is_worth_a_word() {
        let user = |json: &str| serde_json::from_str::<wire::User>(json).unwrap();
        let who = "nova@pve!plan";
        let now = 1_800_000_000;
        let at = |days: i64| now + days * DAY_S + 5;
        let with = |user_ends: i64, token_ends: i64| {
            let json = format!(
                r#"{{"expire":{user_ends},"tokens":{{"plan":{{"expire":"{token_ends}","privsep":1}}}}}}"#
            );
            logged_in(who, Some(&user(&json)), now)
        };
        assert_eq!(with(0, 0).state, Health::Ok);
        assert_eq!(with(0, at(30)).state, Health::Ok);
        let soon = with(0, at(3));
        assert_eq!(soon.state, Health::Warn);
        assert!(soon.text.contains("in 3 days"), "{}", soon.text);
        // The user's own end counts as well, whichever comes first.
        assert_eq!(with(at(2), at(30)).state, Health::Warn);
        assert_eq!(logged_in(who, Some(&user("{}")), now).state, Health::Ok);
        assert_eq!(logged_in(who, None, now).state, Health::Ok);
    }
}

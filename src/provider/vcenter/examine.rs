//! What would stand in the way of planning and applying, looked at in the order in which
//! it would: the network, the certificate, the login, who answers, and what the account
//! may do there. Reads only.

use super::{access, observe::observe, provider::Inner, rights};
use crate::model::{
    Check, Coverage, DesiredMachine, DesiredPool, DesiredState, ErrorKind, Examination, FieldKind,
    Finding, HypervisorInventory, Scope,
};
use crate::provider::checks::customization;
use std::collections::BTreeSet;

/// What is needed for all that is done here, wherever machines of ours are.
const NEEDED: [&str; 30] = [
    "System.Anonymous",
    "System.View",
    "System.Read",
    "Datastore.AllocateSpace",
    "Network.Assign",
    "Resource.AssignVMToPool",
    "Resource.ColdMigrate",
    "Resource.HotMigrate",
    "VirtualMachine.Config.AddExistingDisk",
    "VirtualMachine.Config.AddNewDisk",
    "VirtualMachine.Config.AddRemoveDevice",
    "VirtualMachine.Config.AdvancedConfig",
    "VirtualMachine.Config.Annotation",
    "VirtualMachine.Config.CPUCount",
    "VirtualMachine.Config.DiskExtend",
    "VirtualMachine.Config.EditDevice",
    "VirtualMachine.Config.Memory",
    "VirtualMachine.Config.RemoveDisk",
    "VirtualMachine.Config.Rename",
    "VirtualMachine.Config.Settings",
    "VirtualMachine.Interact.PowerOff",
    "VirtualMachine.Interact.PowerOn",
    "VirtualMachine.Interact.SetCDMedia",
    "VirtualMachine.Interact.DeviceConnection",
    "VirtualMachine.Inventory.Create",
    "VirtualMachine.Inventory.CreateFromExisting",
    "VirtualMachine.Inventory.Delete",
    "VirtualMachine.Inventory.Move",
    "VirtualMachine.Provisioning.Clone",
    "VirtualMachine.Provisioning.DeployTemplate",
];
/// What is needed besides where a configuration declares labels.
const FOR_LABELS: [&str; 3] = [
    "InventoryService.Tagging.AttachTag",
    "InventoryService.Tagging.CreateCategory",
    "InventoryService.Tagging.CreateTag",
];
/// What a field needs beside that, where machines declare it.
const NEEDED_BY_FIELD: [(FieldKind, &str); 1] =
    [(FieldKind::HardwareVersion, "VirtualMachine.Config.UpgradeVirtualHardware")];
/// What is needed besides where an entry asks for snapshots before changes.
const NEEDED_FOR_SNAPSHOTS: [&str; 2] =
    ["VirtualMachine.State.CreateSnapshot", "VirtualMachine.State.RemoveSnapshot"];
/// What setting guests up needs besides, and using a description of one that is kept.
const FOR_SETUPS: &str = "VirtualMachine.Provisioning.Customize";
const FOR_KEPT_SETUPS: &str = "VirtualMachine.Provisioning.ReadCustSpecs";
/// What making and removing pools needs besides.
const FOR_POOLS: [&str; 6] = [
    "Folder.Create",
    "Folder.Delete",
    "Resource.CreatePool",
    "Resource.DeletePool",
    "Global.ManageCustomFields",
    "Global.SetCustomField",
];
/// What granting something on pools needs besides.
const FOR_GRANTS: [&str; 2] = [access::GRANTS, access::MAKES_ROLES];
/// What is needed besides where machines are kept apart.
const FOR_SPREADS: &str = "Host.Inventory.EditCluster";
/// A clock that is this far off is on its way out of what is allowed.
const CLOCK_WARN_S: i64 = 30;
/// A clock that is this far off makes logs and claims useless.
const CLOCK_MAX_S: i64 = 60;
/// The oldest version whose interface is spoken.
const OLDEST: (u32, u32) = (6, 5);
const NEWEST_MAJOR: u32 = 9;
/// Names listed before the rest is counted.
const NAMES_MAX: usize = 12;

pub(super) async fn examine(inner: &Inner, desired: &DesiredState, scope: &Scope) -> Examination {
    let mut exam = Examination::default();
    let endpoint = inner.client.endpoint().clone();
    let service = match inner.client.service().await {
        Ok(service) => service,
        Err(error) => {
            let error = error.into_provider(format!("reach {endpoint}"));
            return no_service(exam, &error);
        }
    };
    exam.findings.push(Finding::ok(Check::Reach, format!("{endpoint} answers")));
    exam.findings.push(Finding::ok(Check::Tls, "the certificate is one that is trusted"));
    let time = match inner.client.time("read the clock").await {
        Ok(time) => time,
        Err(error) => {
            let error = error.into_provider("log in");
            let text = super::observe::joined(&error);
            exam.findings.push(Finding::fail(Check::Login, text).say(way_in(error.kind)));
            return exam.skip_rest("the login failed");
        }
    };
    let user = inner.client.username();
    exam.findings.push(Finding::ok(Check::Login, format!("`{user}` is logged in")));
    exam.identity = Some(service.instance_uuid.clone());
    if let Err(error) = inner.confirm_identity().await {
        let text = super::observe::joined(&error);
        exam.findings.push(
            Finding::fail(Check::Identity, text)
                .say("find out which vCenter answers before its identity is trusted"),
        );
        return exam.skip_rest("nothing is believed of an installation that is not the one meant");
    }
    let known = match inner.expected_identity {
        Some(_) => "it is the vCenter that is trusted",
        None => "no identity is pinned for it",
    };
    let text = format!("{known} ({})", service.instance_uuid);
    exam.findings.push(match inner.expected_identity {
        Some(_) => Finding::ok(Check::Identity, text),
        None => Finding::warn(Check::Identity, text)
            .say("pin it in the trust settings:")
            .write(format!("[hypervisors.{}]", inner.name))
            .write(format!("identity = \"{}\"", service.instance_uuid)),
    });
    exam.findings.push(version(&service.full_name, &service.version));
    exam.findings.push(clock(inner.clock.now_ms(), &time));
    let seen = observe(inner, scope).await;
    exam.findings.push(hosts(&seen));
    privileges(inner, needed(inner, desired), &mut exam).await;
    exam.findings.push(coverage_of(&seen));
    exam
}

/// What to do about a login that came to nothing.
fn way_in(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Auth => {
            "check user and password; a wrong one is sent once, so nothing is locked"
        }
        ErrorKind::Permission | ErrorKind::Refused => {
            "look at the account in vCenter: it may be locked, or have no role anywhere"
        }
        ErrorKind::Unreachable => {
            "try again: the vCenter is slow, or has too many sessions; the password was not refused"
        }
        ErrorKind::Certificate | ErrorKind::Trust | ErrorKind::Identity | ErrorKind::Decode => {
            "find out what answers at this address before a password is sent to it"
        }
    }
}

fn no_service(mut exam: Examination, error: &crate::model::ProviderError) -> Examination {
    let text = super::observe::joined(error);
    match error.kind {
        ErrorKind::Certificate | ErrorKind::Trust => {
            exam.findings.push(Finding::ok(Check::Reach, "it takes connections"));
            exam.findings.push(Finding::fail(Check::Tls, text).say(
                "compare the fingerprint with the one that the vCenter's own management \
                     interface shows; only when they are equal, pin it in the trust settings, \
                     or trust the authority that signed it (`ca_file`)",
            ));
            exam.skip_rest("nothing is sent to a server that is not trusted")
        }
        ErrorKind::Identity | ErrorKind::Decode => {
            exam.findings.push(
                Finding::fail(Check::Reach, text)
                    .say("something answers, and it is no vCenter: check address and port, and proxies on the way"),
            );
            exam.skip_rest("no vCenter answers")
        }
        ErrorKind::Unreachable | ErrorKind::Auth | ErrorKind::Permission | ErrorKind::Refused => {
            exam.findings.push(
                Finding::fail(Check::Reach, text)
                    .say("check the address, and the firewall between here and port 443"),
            );
            exam.skip_rest("the vCenter does not answer")
        }
    }
}

fn version(full_name: &str, version: &str) -> Finding {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let at = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if at < OLDEST {
        let (major, minor) = OLDEST;
        return Finding::fail(Check::Version, format!("{full_name} is too old"))
            .say(format!("{major}.{minor} is the oldest whose interface is spoken"));
    }
    if at.0 > NEWEST_MAJOR {
        return Finding::warn(Check::Version, format!("{full_name} is newer than what is known"));
    }
    Finding::ok(Check::Version, full_name)
}

fn clock(now_ms: i64, server: &str) -> Finding {
    let Ok(time) = server.trim().parse::<jiff::Timestamp>() else {
        return Finding::warn(Check::Clock, "its clock cannot be read");
    };
    let off_s = (time.as_millisecond() - now_ms) / 1000;
    let text = match off_s {
        0 => "its clock agrees with ours".to_owned(),
        off if off > 0 => format!("its clock is {off} s ahead of ours"),
        off => format!("its clock is {} s behind ours", -off),
    };
    match off_s.abs() {
        off if off > CLOCK_MAX_S => {
            Finding::fail(Check::Clock, text).say("let both follow the same time servers")
        }
        off if off > CLOCK_WARN_S => {
            Finding::warn(Check::Clock, text).say("let both follow the same time servers")
        }
        _ => Finding::ok(Check::Clock, text),
    }
}

fn hosts(seen: &HypervisorInventory) -> Finding {
    let down: Vec<String> =
        seen.nodes.iter().filter(|(_, it)| !it.online).map(|(name, _)| name.to_string()).collect();
    let count = seen.nodes.len();
    if down.is_empty() {
        return Finding::ok(Check::Quorum, format!("all {count} clusters and hosts are connected"));
    }
    let text = format!("{} of {count} clusters and hosts are not connected", down.len());
    let finding = Finding::warn(Check::Quorum, text);
    down.into_iter().take(NAMES_MAX).fold(finding, Finding::detail)
}

/// The privileges that what is declared here needs.
fn needed(inner: &Inner, desired: &DesiredState) -> Vec<&'static str> {
    let mut used = BTreeSet::new();
    for machine in desired.machines.values().filter(|it| it.hypervisor == inner.name) {
        machine.spec.visit(|path, _| {
            used.insert(path.kind);
        });
    }
    let spreads =
        desired.machines.values().any(|it| it.hypervisor == inner.name && it.spread.is_some());
    let by_field = NEEDED_BY_FIELD.into_iter().filter(|(kind, _)| used.contains(kind));
    let here = |it: &&DesiredMachine| it.hypervisor == inner.name;
    let snapshots = desired.machines.values().filter(here).any(|it| it.snapshots.is_some());
    let for_snapshots = NEEDED_FOR_SNAPSHOTS.into_iter().filter(|_| snapshots);
    let by_field = by_field.map(|(_, privilege)| privilege);
    let has_pools = desired.pools.values().any(|pool| pool.at.contains_key(&inner.name));
    let of_pools = FOR_POOLS.into_iter().filter(|_| has_pools);
    let grants = |pool: &DesiredPool| pool.acl.get(&inner.name).is_some_and(|it| !it.is_empty());
    let grants = desired.pools.values().any(grants);
    let for_grants = FOR_GRANTS.into_iter().filter(|_| grants);
    let for_spreads = spreads.then_some(FOR_SPREADS);
    let setups = desired.machines.values().filter(here).any(|it| customization(&it.spec).is_some());
    let for_setups = setups.then_some(FOR_SETUPS);
    let for_kept = (!inner.setups.is_empty()).then_some(FOR_KEPT_SETUPS);
    NEEDED
        .into_iter()
        .chain(by_field)
        .chain(for_snapshots)
        .chain(of_pools)
        .chain(for_grants)
        .chain(for_spreads)
        .chain(for_setups)
        .chain(for_kept)
        .collect()
}

async fn privileges(inner: &Inner, needed: Vec<&'static str>, exam: &mut Examination) {
    let rights = match rights::on_root(inner).await {
        Ok(rights) => rights,
        Err(error) => {
            let text = super::observe::joined(&error);
            exam.findings.push(Finding::fail(Check::Privileges, text));
            exam.findings.push(Finding::skipped(Check::Excess, "its rights cannot be read"));
            return;
        }
    };
    let labels = FOR_LABELS.into_iter().filter(|_| inner.tagging.is_used());
    let missing: Vec<&str> =
        needed.into_iter().chain(labels).filter(|it| !rights.has(it)).collect();
    exam.findings.push(if missing.is_empty() {
        Finding::ok(Check::Privileges, "the account may do all that is needed")
    } else {
        let text = format!("{} privileges are missing on the root folder", missing.len());
        // They may be given further down, where our machines are, which is not looked at.
        let finding = Finding::warn(Check::Privileges, text)
            .say("give them to a role of the account there, or where its machines will be");
        missing.into_iter().fold(finding, Finding::detail)
    });
    exam.findings.push(match rights.is_admin() {
        true => Finding::warn(Check::Excess, "the account is an administrator of the vCenter")
            .say("give it a role with the privileges above instead"),
        false => Finding::ok(Check::Excess, "the account is no administrator"),
    });
}

fn coverage_of(seen: &HypervisorInventory) -> Finding {
    match &seen.coverage {
        Coverage::Complete => {
            Finding::ok(Check::Inventory, format!("all {} machines are visible", seen.listed.len()))
        }
        Coverage::Scoped { why, help } => Finding::warn(Check::Inventory, why.clone()).say(help),
        Coverage::Incomplete { gaps } => {
            let text = "what is not seen is not believed to be absent";
            gaps.iter()
                .take(NAMES_MAX)
                .fold(Finding::fail(Check::Inventory, text), |it, gap| it.detail(gap.clone()))
        }
        Coverage::Failed { error, .. } => Finding::fail(Check::Inventory, error.clone()),
    }
}

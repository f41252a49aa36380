//! What a guest that the product sets up can be told, and what it cannot.
//!
//! What it is told cannot be read back. So it is taken out of the fields that are compared,
//! and the digest in the marker stands for all of it.

use super::super::timezones;
use crate::{
    model::{
        Customization, DesiredMachine, FieldKind, FieldPath, GuestIdentity, GuestOs, InitSpec,
        IpSetting, MachineSpec, Medium, ToldNic, WindowsSetup,
    },
    provider::checks::{Check, is_dns_name},
};
use std::net::IpAddr;

/// Letters of a computer name: that of NetBIOS, which Windows still has.
const COMPUTER_NAME_MAX: usize = 15;

/// Checks what is declared, and takes what cannot be read back out of the compared fields.
pub(in super::super) fn normalize(
    check: &mut Check,
    machine: &DesiredMachine,
    spec: &mut MachineSpec,
) {
    let Some(mut init) = spec.init.take() else { return };
    if let Some(mut setup) = init.customization.take() {
        medium(check, machine, &setup);
        addresses(check, machine);
        documents(check, &init, &setup);
        take(&mut setup, &mut init, spec);
        names(check, machine, &setup, spec);
        if let GuestIdentity::Windows(windows) = &setup.identity {
            sysprep(check, machine, &init, windows);
        }
        init.customization = Some(setup);
    }
    spec.init = Some(init);
}

/// The field that says how a guest is set up.
fn field(setup: &Customization) -> FieldKind {
    match setup.identity {
        GuestIdentity::Windows(_) => FieldKind::InitWindows,
        GuestIdentity::Kept(_) => FieldKind::InitCustomization,
    }
}

fn os(machine: &DesiredMachine) -> Option<GuestOs> {
    machine.birth.as_ref().map(|birth| birth.os)
}

fn medium(check: &mut Check, machine: &DesiredMachine, setup: &Customization) {
    let medium = machine.birth.as_ref().map(|birth| &birth.medium);
    if let Some(Medium::Iso { .. }) = medium {
        let why = "an installer is no guest yet that could be set up";
        check.fail_of(field(setup), why, "use an image that is a template");
    }
    match (os(machine), &setup.identity) {
        (Some(GuestOs::Linux | GuestOs::Bsd | GuestOs::Other), GuestIdentity::Windows(_)) => {
            let why = "the guest of the image is no Windows";
            check.fail_of(FieldKind::InitWindows, why, "leave `windows:` out");
        }
        (Some(GuestOs::Bsd | GuestOs::Other), GuestIdentity::Kept(_)) => {
            let why = "the product sets up Windows and Linux, and no other guests";
            check.fail_of(FieldKind::InitCustomization, why, "leave `customization_spec:` out");
        }
        (None | Some(GuestOs::Windows), GuestIdentity::Windows(_))
        | (None | Some(GuestOs::Windows | GuestOs::Linux), GuestIdentity::Kept(_)) => {}
    }
}

/// Each card is given an address or asks for one; there is no third thing to say.
fn addresses(check: &mut Check, machine: &DesiredMachine) {
    for (name, nic) in &machine.spec.nics {
        let why = match nic.ip {
            Some(IpSetting::None) => "a guest that is set up cannot be told to leave a card alone",
            Some(IpSetting::Static { address: IpAddr::V6(_), .. }) => {
                "novahost does not hand IPv6 addresses to such guests yet"
            }
            Some(IpSetting::Static { address: IpAddr::V4(_), .. } | IpSetting::Dhcp) | None => {
                continue;
            }
        };
        let help = "write an IPv4 address or `dhcp`";
        check.fail(FieldPath::on(FieldKind::NicIp, name), why, help);
    }
}

/// What only first-boot documents can say.
fn documents(check: &mut Check, init: &InitSpec, setup: &Customization) {
    let says = |kind| match kind {
        FieldKind::InitUser => init.user.is_some(),
        FieldKind::InitSshKeys => init.ssh_keys.is_some(),
        _ => init.password.is_some(),
    };
    let kept = matches!(setup.identity, GuestIdentity::Kept(_));
    let fields = [FieldKind::InitUser, FieldKind::InitSshKeys, FieldKind::InitPassword];
    for kind in fields.into_iter().filter(|kind| says(*kind)) {
        let (why, help) = match (kind, kept) {
            (FieldKind::InitPassword, false) => continue,
            (FieldKind::InitPassword, _) => {
                ("the description has the password of the guest", "leave `password:` out")
            }
            _ => ("nothing in such a guest reads it", "leave it out"),
        };
        check.fail_of(kind, why, help);
    }
}

/// Names and addresses that are declared now; those that were taken before stay.
fn take(setup: &mut Customization, init: &mut InitSpec, spec: &mut MachineSpec) {
    let told = &mut setup.told;
    told.hostname = init.hostname.take().or(told.hostname.take());
    told.domain = init.domain.take().or(told.domain.take());
    let dns = init.dns.take().filter(|all| !all.is_empty());
    told.dns = dns.or(told.dns.take());
    for (name, nic) in &mut spec.nics {
        if let Some(ip) = nic.ip.take() {
            told.nics.insert(name.clone(), ToldNic { ip, gateway: nic.gateway.take() });
        }
    }
}

fn names(check: &mut Check, machine: &DesiredMachine, setup: &Customization, spec: &MachineSpec) {
    let windows = matches!(setup.identity, GuestIdentity::Windows(_));
    let written = setup.told.hostname.as_deref();
    // A description that is kept may say how guests are called.
    let Some(name) = written.or(spec.name.as_deref().filter(|_| windows)) else { return };
    let why = match os(machine) {
        Some(GuestOs::Windows) => computer_name(name),
        _ if windows => computer_name(name),
        _ if is_dns_name(name) && !name.contains('.') => None,
        _ => Some("is no host name".to_owned()),
    };
    let Some(why) = why else { return };
    let help = match written {
        Some(_) => "write another `hostname:`",
        None => "set `hostname:` below `init:`",
    };
    check.fail_of(FieldKind::InitHostname, format!("`{name}` {why}"), help);
}

/// Why Windows cannot be called so.
pub(super) fn computer_name(name: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if name.len() > COMPUTER_NAME_MAX {
        let count = name.len();
        return Some(format!(
            "has {count} letters, and a Windows is called by at most {COMPUTER_NAME_MAX}"
        ));
    }
    if name.is_empty() || !name.bytes().all(plain) || name.starts_with('-') || name.ends_with('-') {
        return Some("is no name for a Windows: letters, digits and hyphens inside".to_owned());
    }
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| "is a number, which no Windows can be called".to_owned())
}

fn sysprep(check: &mut Check, machine: &DesiredMachine, init: &InitSpec, windows: &WindowsSetup) {
    let mut fail = |why: String, help: &str| check.fail_of(FieldKind::InitWindows, why, help);
    if windows.organization.trim().is_empty() {
        fail("it is registered to nobody".to_owned(), "write the name of an `organization:`");
    }
    if !windows.run_once.is_empty() && init.password.is_none() {
        let why = "commands run once at a logon of Administrator, which needs its password";
        fail(why.to_owned(), "write `password:` below `init:`, or leave `run_once:` out");
    }
    if let Some(zone) = windows.timezone.as_deref().filter(|it| timezones::index_of(it).is_none()) {
        let why = format!("Windows has no time zone that keeps the clock of `{zone}`");
        fail(why, "write another name, such as `Europe/Paris`, or `UTC`");
    }
    if machine.birth.as_ref().is_some_and(|birth| !birth.takes_init) {
        let why = "nothing says that the image was prepared for it".to_owned();
        fail(why, "write `init: sysprep` on the image");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_windows_is_called_by_a_short_plain_name() {
        for name in ["WEB-1", "a", "abcdefghijklmno", "1web"] {
            assert_eq!(computer_name(name), None, "{name}");
        }
        for name in ["abcdefghijklmnop", "", "web_1", "web.1", "-web", "web-", "12345", "wéb"] {
            assert!(computer_name(name).is_some(), "{name}");
        }
    }
}

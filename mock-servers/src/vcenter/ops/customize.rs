//! Guests that are set up at their next start, and the descriptions that are kept for that.

use crate::vcenter::fault::{Fault, Outcome};
use crate::vcenter::ops::reconfigure::readable;
use crate::vcenter::server::Core;
use crate::vcenter::val::{Val, int, obj, text, time};
use crate::vcenter::vm::{DeviceKind, Vm};
use crate::vcenter::world::KeptSpec;
use crate::vcenter::xml::Elem;

/// Letters of the name of a Windows.
const COMPUTER_NAME_MAX: usize = 15;

/// Leaves a description with a machine, for its next start.
pub(crate) fn customize(core: &mut Core, id: &str, spec: &Elem) -> Outcome<()> {
    let Some(vm) = core.world.vm(id).cloned() else {
        return Err(Fault::gone("VirtualMachine", id));
    };
    readable(core, &vm)?;
    if vm.template {
        return Err(Fault::state("A template is set up by nobody."));
    }
    if vm.power != "poweredOff" {
        return Err(Fault::power(Some("poweredOff"), &vm.power));
    }
    if vm.setup.waits.is_some() {
        let message = "A customization operation is already pending for the virtual machine.";
        return Err(Fault::new("CustomizationPending", message, vec![]));
    }
    let (entries, cards) = (spec.all("nicSettingMap").count(), vm.config.nics().count());
    if entries != cards {
        let fields = vec![("numberOfNicsInSpec", int(entries)), ("numberOfNicsInVM", int(cards))];
        let message = "The number of network adapter settings is not that of the adapters.";
        return Err(Fault::new("NicSettingMismatch", message, fields));
    }
    identity(core, &vm, spec)?;
    for entry in spec.all("nicSettingMap") {
        adapter(entry)?;
    }
    let now = core.now_ms();
    let change = core.world.new_change(now);
    let keeps = core.switches.setup_keeps_version;
    if let Some(vm) = core.world.vm_mut(id) {
        vm.setup.waits = Some(spec.clone());
        if !keeps {
            (vm.change, vm.modified_ms) = (change, now);
        }
    }
    Ok(())
}

/// Whom the guest is to be, and whether that can be had.
fn identity(core: &Core, vm: &Vm, spec: &Elem) -> Outcome<()> {
    let Some(identity) = spec.get("identity") else { return Err(Fault::argument("identity")) };
    let windows = vm.config.guest_id.starts_with("win");
    let fits = match identity.ty.as_str() {
        "CustomizationSysprep" => windows,
        "CustomizationLinuxPrep" => !windows && !vm.config.guest_id.contains("bsd"),
        _ => return Err(Fault::unsupported(&format!("{} in this simulator", identity.ty))),
    };
    if !fits {
        let fields = vec![("uncustomizableGuestOS", text(vm.config.guest_id.clone()))];
        let message = format!(
            "Customization of the guest operating system '{}' is not supported in this configuration.",
            vm.config.guest_id
        );
        return Err(Fault::new("UncustomizableGuest", message, fields));
    }
    if !windows {
        return name(identity.get("hostName"), "spec.identity.hostName", false);
    }
    let user = identity.get("userData");
    let field = |name| user.and_then(|it| it.text_of(name)).unwrap_or("").trim();
    for required in ["fullName", "orgName"] {
        if field(required).is_empty() {
            return Err(Fault::argument(&format!("spec.identity.userData.{required}")));
        }
    }
    name(user.and_then(|it| it.get("computerName")), "spec.identity.userData.computerName", true)?;
    let unattended = identity.get("guiUnattended");
    let password = unattended.and_then(|it| it.get("password"));
    if unattended.and_then(|it| it.flag("autoLogon")) == Some(true) && password.is_none() {
        return Err(Fault::argument("spec.identity.guiUnattended.password"));
    }
    let joins = identity.get("identification");
    let joined = joins.and_then(|it| it.get("domainAdminPassword"));
    let domain = joins.is_some_and(|it| it.get("joinDomain").is_some());
    if domain && (joined.is_none() || joins.and_then(|it| it.get("domainAdmin")).is_none()) {
        return Err(Fault::argument("spec.identity.identification.domainAdmin"));
    }
    let foreign = spec.text_of("encryptionKey") != Some(core.world.setup_key().as_str());
    let encrypted = password.into_iter().chain(joined).any(|it| it.flag("plainText") != Some(true));
    if encrypted && foreign {
        let message = "One or more passwords cannot be decrypted by this server.";
        return Err(Fault::new("CannotDecryptPasswords", message, vec![]));
    }
    Ok(())
}

fn name(name: Option<&Elem>, property: &str, windows: bool) -> Outcome<()> {
    let bad = || Err(Fault::argument(property));
    let Some(name) = name else { return bad() };
    match name.ty.as_str() {
        "CustomizationVirtualMachineName" | "CustomizationPrefixName" => Ok(()),
        "CustomizationFixedName" => {
            let text = name.text_of("name").unwrap_or("");
            let plain = text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
            let digits = text.bytes().all(|it| it.is_ascii_digit());
            let long = text.len() > if windows { COMPUTER_NAME_MAX } else { 63 };
            if text.is_empty() || !plain || long || windows && digits { bad() } else { Ok(()) }
        }
        // Somebody or something would have to be asked.
        _ => bad(),
    }
}

fn adapter(entry: &Elem) -> Outcome<()> {
    let adapter = entry.get("adapter");
    let ip = adapter.and_then(|it| it.get("ip"));
    let fixed =
        |text: Option<&str>| text.is_some_and(|it| it.parse::<std::net::Ipv4Addr>().is_ok());
    match ip.map(|ip| (ip.ty.as_str(), ip.text_of("ipAddress"))) {
        Some(("CustomizationDhcpIpGenerator", _)) => Ok(()),
        Some(("CustomizationFixedIp", address))
            if fixed(address) && fixed(adapter.and_then(|it| it.text_of("subnetMask"))) =>
        {
            Ok(())
        }
        _ => Err(Fault::argument("spec.nicSettingMap.adapter.ip")),
    }
}

/// A description that is kept, with its passwords as the server keeps them.
pub(crate) fn kept(core: &Core, name: &str) -> Outcome<Val> {
    let Some(kept) = core.world.specs.get(name) else {
        let message = format!("The customization specification '{name}' was not found.");
        return Err(Fault::new("NotFound", message, vec![]));
    };
    let fields = vec![("info", info(name, kept)), ("spec", Val::Raw(kept.spec.clone()))];
    Ok(obj("CustomizationSpecItem", fields))
}

/// What is said of a description in the list.
pub(crate) fn info(name: &str, kept: &KeptSpec) -> Val {
    let fields = vec![
        ("name", text(name)),
        ("description", text("")),
        ("type", text(kept.kind.clone())),
        ("changeVersion", text(kept.changed_ms.to_string())),
        ("lastUpdateTime", time(kept.changed_ms)),
    ];
    obj("CustomizationSpecInfo", fields)
}

/// The name that a description gives a guest, where it says one.
pub(crate) fn told_name(spec: &Elem) -> Option<String> {
    let identity = spec.get("identity")?;
    let user = identity.get("userData");
    let name = user.and_then(|it| it.get("computerName")).or_else(|| identity.get("hostName"))?;
    name.text_of("name").map(str::to_owned)
}

/// The addresses that a description gives the cards of a machine, in the order of their keys.
pub(crate) fn told_addresses(vm: &Vm, spec: &Elem) -> Vec<(String, Option<(String, i64)>)> {
    let mut cards: Vec<(i64, &str)> = vm
        .config
        .devices
        .iter()
        .filter_map(|device| match &device.kind {
            DeviceKind::Nic(nic) => Some((device.key, nic.mac.as_str())),
            _ => None,
        })
        .collect();
    cards.sort_unstable();
    let given = |entry: &Elem| {
        let adapter = entry.get("adapter")?;
        let address = adapter.get("ip")?.text_of("ipAddress")?;
        let mask: std::net::Ipv4Addr = adapter.text_of("subnetMask")?.parse().ok()?;
        Some((address.to_owned(), i64::from(u32::from(mask).count_ones())))
    };
    let entries = spec.all("nicSettingMap").map(given).chain(std::iter::repeat(None));
    cards.into_iter().zip(entries).map(|((_, mac), given)| (mac.to_owned(), given)).collect()
}

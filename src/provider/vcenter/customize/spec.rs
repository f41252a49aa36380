//! The description of a guest, as one call takes it.
//!
//! Pure. `CustomizeVM_Task` leaves it with the machine, and the host's tools carry it out
//! when the machine is started next. Passwords travel as they are (`plainText`): what
//! encrypts them is the connection, and none but TLS is spoken to a vCenter.

use super::{super::devices::nic_model, super::timezones, kept};
use crate::{
    model::{
        Customization, FreshObject, GuestIdentity, InitSecret, IpSetting, Seed, SeedNic, Told,
        WindowsSetup,
    },
    provider::{
        Call,
        vcenter::{
            devices::in_slot,
            vim::{Node, Val},
        },
    },
};
use std::net::IpAddr;

/// A Windows that joins no domain is in this workgroup, as one that was installed by hand.
const WORKGROUP: &str = "WORKGROUP";

/// The description for one machine. `devices` are its own, `kept` is the one that the
/// product keeps, where the machine is set up by such a one.
///
/// # Errors
/// In words, when the two do not fit.
pub(in super::super) fn description(
    call: &Call<'_>,
    seed: &Seed,
    devices: &[Node],
    kept: Option<&Node>,
) -> Result<Val, String> {
    let setup = seed.init.customization.as_deref();
    let setup = setup.ok_or("the step does not say how the guest is set up")?;
    let name = match &call.fresh.object {
        FreshObject::Machine(seen) => seen.spec.name.clone().unwrap_or_default(),
        FreshObject::Pool(_)
        | FreshObject::Spread(_)
        | FreshObject::Absent
        | FreshObject::Unreadable(_) => return Err("there is no machine to set up".to_owned()),
    };
    let cards = cards(call, seed, devices);
    match &setup.identity {
        GuestIdentity::Windows(windows) => Ok(of_windows(call, (setup, windows), &name, &cards)),
        GuestIdentity::Kept(wanted) => {
            let kept = kept.ok_or_else(|| format!("the description `{wanted}` was not read"))?;
            kept::fitted(kept, &setup.told, &name, &cards)
        }
    }
}

/// What each card is told, in the order of their keys: the server asks for one entry a
/// card, and goes by that order.
fn cards<'a>(call: &Call<'_>, seed: &'a Seed, devices: &[Node]) -> Vec<Option<&'a SeedNic>> {
    let none = crate::model::DeviceMap::default();
    let map = match &call.fresh.object {
        FreshObject::Machine(seen) => seen.marker.found().map_or(&none, |marker| &marker.map),
        FreshObject::Pool(_)
        | FreshObject::Spread(_)
        | FreshObject::Absent
        | FreshObject::Unreadable(_) => &none,
    };
    let mut keys: Vec<i64> = devices
        .iter()
        .filter(|device| nic_model(device).is_some())
        .filter_map(|device| device.i64_at("key"))
        .collect();
    keys.sort_unstable();
    let told = |key: &i64| {
        seed.nics.values().find(|nic| {
            in_slot(devices, map, &nic.slot).and_then(|it| it.i64_at("key")) == Some(*key)
        })
    };
    keys.iter().map(told).collect()
}

fn of_windows(
    call: &Call<'_>,
    (setup, windows): (&Customization, &WindowsSetup),
    name: &str,
    cards: &[Option<&SeedNic>],
) -> Val {
    let told = &setup.told;
    let secret = |which| call.secrets.get(&which).cloned().map(Val::secret);
    let password = |which| {
        let text = secret(which)?;
        Some(Val::obj("CustomizationPassword").with("value", text).with("plainText", true))
    };
    let zone = windows.timezone.as_deref().and_then(timezones::index_of);
    let runs = !windows.run_once.is_empty();
    let unattended = Val::obj("CustomizationGuiUnattended")
        .with_some("password", password(InitSecret::Password))
        .with("timeZone", zone.unwrap_or(timezones::UTC))
        // Commands run at the first logon; without one they would wait for a person.
        .with("autoLogon", runs)
        .with("autoLogonCount", i64::from(runs));
    let user = Val::obj("CustomizationUserData")
        .with("fullName", windows.organization.as_str())
        .with("orgName", windows.organization.as_str())
        .with("computerName", fixed_name(told.hostname.as_deref().unwrap_or(name)))
        .with("productId", secret(InitSecret::ProductKey).unwrap_or_else(|| "".into()));
    let commands = Val::arr(windows.run_once.iter().map(String::as_str));
    let once = runs.then(|| Val::obj("CustomizationGuiRunOnce").with("commandList", commands));
    let identification = match &windows.join {
        None => Val::obj("CustomizationIdentification").with("joinWorkgroup", WORKGROUP),
        Some(join) => Val::obj("CustomizationIdentification")
            .with("joinDomain", join.domain.as_str())
            .with("domainAdmin", join.user.as_str())
            .with_some("domainAdminPassword", password(InitSecret::JoinPassword)),
    };
    let identity = Val::obj("CustomizationSysprep")
        .with("guiUnattended", unattended)
        .with("userData", user)
        .with_some("guiRunOnce", once)
        .with("identification", identification);
    // A copy with the identity of its template would not be let into a domain.
    let options =
        Val::obj("CustomizationWinOptions").with("changeSID", true).with("deleteAccounts", false);
    let search: Vec<&str> = told.domain.as_deref().into_iter().collect();
    let global = Val::obj("CustomizationGlobalIPSettings").with("dnsSuffixList", Val::arr(search));
    let adapters = cards.iter().map(|card| match card {
        Some(card) => adapter(card, told),
        None => by_dhcp(told),
    });
    Val::obj("CustomizationSpec")
        .with("options", options)
        .with("identity", identity)
        .with("globalIPSettings", global)
        .with("nicSettingMap", Val::arr(adapters.map(mapping)))
}

pub(super) fn fixed_name(name: &str) -> Val {
    Val::obj("CustomizationFixedName").with("name", name)
}

/// One entry of the map. Cards are not named by their addresses: the order says which.
pub(super) fn mapping(adapter: Val) -> Val {
    Val::obj("CustomizationAdapterMapping").with("adapter", adapter)
}

/// A card that asks for its address.
pub(super) fn by_dhcp(told: &Told) -> Val {
    with_resolvers(
        Val::obj("CustomizationIPSettings").with("ip", Val::obj("CustomizationDhcpIpGenerator")),
        told,
    )
}

/// A card that is told how it gets its address.
pub(super) fn adapter(card: &SeedNic, told: &Told) -> Val {
    let IpSetting::Static { address, prefix } = card.ip else { return by_dhcp(told) };
    let ip = Val::obj("CustomizationFixedIp").with("ipAddress", address.to_string());
    let gateways = card.gateway.iter().map(IpAddr::to_string);
    let settings = Val::obj("CustomizationIPSettings")
        .with("ip", ip)
        .with("subnetMask", mask(prefix))
        .with("gateway", Val::arr(gateways));
    with_resolvers(settings, told)
}

/// Windows has its resolvers by card.
fn with_resolvers(settings: Val, told: &Told) -> Val {
    let resolvers = told.dns.iter().flatten().map(IpAddr::to_string);
    settings
        .with("dnsServerList", Val::arr(resolvers))
        .with_some("dnsDomain", told.domain.as_deref())
}

/// A prefix length as a mask.
fn mask(prefix: u8) -> String {
    let bits = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
    std::net::Ipv4Addr::from(bits).to_string()
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn a_prefix_is_a_mask() {
        assert_eq!(mask(24), "255.255.255.0");
        assert_eq!(mask(26), "255.255.255.192");
        assert_eq!((mask(0).as_str(), mask(32).as_str()), ("0.0.0.0", "255.255.255.255"));
    }
}

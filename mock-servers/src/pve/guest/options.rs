//! Who may set which option of a virtual machine.

use crate::pve::access::Identity;
use crate::pve::error::{ApiError, ApiResult};
use crate::pve::propstring;
use crate::pve::server::Core;
use crate::pve::work::Settings;
use crate::pve::world::{indexed, is_cdrom, is_disk_key, is_net_key, is_unused_key};

/// Options that belong to cloud-init.
pub(crate) fn is_cloudinit_option(key: &str) -> bool {
    matches!(
        key,
        "cicustom"
            | "cipassword"
            | "citype"
            | "ciuser"
            | "ciupgrade"
            | "nameserver"
            | "searchdomain"
            | "sshkeys"
    ) || indexed(key, "ipconfig")
}

/// The privileges of which one is needed; empty where only the superuser may.
fn needed(key: &str) -> &'static [&'static str] {
    match key {
        "cores" | "sockets" | "vcpus" | "cpu" | "cpulimit" | "cpuunits" | "numa" | "affinity"
        | "smp" => &["VM.Config.CPU"],
        "memory" | "balloon" | "shares" | "hugepages" | "keephugepages" | "allow-ksm" => {
            &["VM.Config.Memory"]
        }
        "acpi" | "hotplug" | "kvm" | "machine" | "scsihw" | "smbios1" | "tablet" | "vga"
        | "watchdog" | "audio0" | "rng0" | "arch" | "amd-sev" | "intel-tdx" => {
            &["VM.Config.HWType"]
        }
        "agent" | "autostart" | "bios" | "description" | "keyboard" | "localtime"
        | "migrate_downtime" | "migrate_speed" | "name" | "onboot" | "ostype" | "protection"
        | "reboot" | "startdate" | "startup" | "tdf" | "template" | "tags" | "vmgenid"
        | "spice_enhancements" | "ivshmem" | "freeze" => &["VM.Config.Options"],
        "boot" | "bootdisk" | "vmstatestorage" => &["VM.Config.Disk"],
        _ if is_net_key(key) => &["VM.Config.Network"],
        _ if is_cloudinit_option(key) => &["VM.Config.Cloudinit", "VM.Config.Network"],
        _ if indexed(key, "numa") => &["VM.Config.CPU"],
        _ if indexed(key, "usb")
            || indexed(key, "serial")
            || indexed(key, "parallel")
            || indexed(key, "hostpci") =>
        {
            &["VM.Config.HWType"]
        }
        _ if is_unused_key(key) => &["VM.Config.Disk"],
        _ => &[],
    }
}

/// What a drive string needs: the drive that carries first-boot configuration is both a CD
/// and more than that.
fn for_drive(value: &str) -> &'static [&'static str] {
    if value.contains(":cloudinit") || value.contains("-cloudinit") {
        &["VM.Config.Cloudinit", "VM.Config.CDROM"]
    } else if is_cdrom(value) {
        &["VM.Config.CDROM"]
    } else {
        &["VM.Config.Disk"]
    }
}

/// Checks one drive of a guest that exists.
pub(crate) fn check_drive(core: &Core, who: &Identity, vmid: u32, value: &str) -> ApiResult<()> {
    core.need(who, &format!("/vms/{vmid}"), for_drive(value))
}

/// A privilege on the guest, or on the pool it is to be born in.
pub(crate) fn need_on_guest(
    core: &Core,
    who: &Identity,
    vmid: u32,
    pool: Option<&str>,
    privileges: &[&str],
) -> ApiResult<()> {
    if let Some(pool) = pool
        && core.need_any(who, &format!("/pool/{pool}"), privileges).is_ok()
    {
        return Ok(());
    }
    let path = format!("/vms/{vmid}");
    match privileges {
        [only] => core.need(who, &path, &[only]),
        several => core.need_any(who, &path, several),
    }
}

/// Checks every option that is set or deleted.
pub(crate) fn check<'a>(
    core: &Core,
    who: &Identity,
    vmid: u32,
    pool: Option<&str>,
    keys: impl Iterator<Item = (&'a str, &'a str)>,
) -> ApiResult<()> {
    for (key, value) in keys {
        if is_disk_key(key) {
            for privilege in for_drive(value) {
                need_on_guest(core, who, vmid, pool, &[privilege])?;
            }
            continue;
        }
        let device_of_host = (indexed(key, "serial") && !value.is_empty() && value != "socket")
            || (indexed(key, "hostpci") && !value.is_empty() && !value.contains("mapping="))
            || (indexed(key, "usb")
                && !value.is_empty()
                && !value.contains("spice")
                && !value.contains("mapping="));
        if device_of_host && !who.is_root() {
            return Err(ApiError::died(format!(
                "only root can set '{key}' config for real devices"
            )));
        }
        let privileges = needed(key);
        if privileges.is_empty() {
            if who.is_root() {
                continue;
            }
            return Err(ApiError::died(format!("only root can set '{key}' config")));
        }
        need_on_guest(core, who, vmid, pool, privileges)?;
        if key == "startup" {
            core.need(who, "/", &["Sys.Modify"])?;
        }
    }
    Ok(())
}

/// Checks that the caller may attach to the bridges that the interfaces name.
pub(crate) fn check_bridges(core: &Core, who: &Identity, settings: &Settings) -> ApiResult<()> {
    for (key, value) in settings.iter().filter(|(key, _)| is_net_key(key)) {
        let net =
            propstring::normalize_net(value).map_err(|text| ApiError::parameter(key, text))?;
        check_bridge(core, who, &net)?;
    }
    Ok(())
}

/// Checks one interface.
pub(crate) fn check_bridge(
    core: &Core,
    who: &Identity,
    net: &propstring::NetString,
) -> ApiResult<()> {
    let Some(bridge) = net.opts.get("bridge") else {
        return Ok(());
    };
    let mut path = format!("/sdn/zones/localnetwork/{bridge}");
    if let Some(tag) = net.opts.get("tag") {
        path = format!("{path}/{tag}");
    }
    core.need(who, &path, &["SDN.Use"])
}

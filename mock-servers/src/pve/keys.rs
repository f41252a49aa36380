//! What the keys and values of a guest's configuration mean.

use super::propstring;
use super::world::{Guest, GuestKind};

/// Configured memory in MiB; `memory` may be a property string.
pub(crate) fn memory_mib(guest: &Guest) -> u64 {
    let text = guest.get("memory").unwrap_or("512");
    let number = text
        .split(',')
        .next()
        .map_or(text, |first| first.strip_prefix("current=").unwrap_or(first));
    number.parse().unwrap_or(512)
}

/// Whether an option of a virtual machine holds a drive.
pub(crate) fn is_disk_key(key: &str) -> bool {
    let digits = key.trim_start_matches(|character: char| character.is_ascii_lowercase());
    let bus = &key[..key.len() - digits.len()];
    let Ok(index) = digits.parse::<u32>() else {
        return false;
    };
    match bus {
        "ide" => index < 4,
        "sata" => index < 6,
        "scsi" => index < 31,
        "virtio" => index < 16,
        "efidisk" | "tpmstate" => index == 0,
        _ => false,
    }
}

/// Whether an option is a detached volume.
pub(crate) fn is_unused_key(key: &str) -> bool {
    indexed(key, "unused")
}

/// Whether an option is a network interface.
pub(crate) fn is_net_key(key: &str) -> bool {
    indexed(key, "net")
}

/// Whether an option is `prefix` followed by a number.
pub(crate) fn indexed(key: &str, prefix: &str) -> bool {
    key.strip_prefix(prefix)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a drive string is a CD drive (cloud-init included).
pub(crate) fn is_cdrom(value: &str) -> bool {
    value.split(',').any(|part| part == "media=cdrom")
}

/// Whether a drive string is the cloud-init drive.
pub(crate) fn is_cloudinit(value: &str) -> bool {
    let volume = value.split(',').next().unwrap_or("");
    volume.split_once(':').is_some_and(|(_, name)| {
        name == "cloudinit"
            || name.rsplit('/').next().is_some_and(|last| {
                last.strip_prefix("vm-")
                    .is_some_and(|rest| rest.trim_end_matches(".qcow2").ends_with("-cloudinit"))
            })
    })
}

/// The `size=` of a drive or mount string.
pub(crate) fn size_in(value: &str) -> Option<u64> {
    let text = value.split(',').find_map(|part| part.strip_prefix("size="))?;
    propstring::size_to_bytes(text)
}

/// The guest a volume is named after.
pub(crate) fn owner_of(volname: &str) -> Option<u32> {
    let last = volname.rsplit('/').next()?;
    let rest = last
        .strip_prefix("vm-")
        .or_else(|| last.strip_prefix("base-"))
        .or_else(|| last.strip_prefix("subvol-"))
        .or_else(|| last.strip_prefix("basevol-"))?;
    rest.split('-').next()?.parse().ok()
}

/// Storage, volume name and size of an option that names a guest's own volume.
pub(crate) fn named_volume(
    kind: GuestKind,
    key: &str,
    value: &str,
) -> Option<(String, String, u64)> {
    let holds = match kind {
        GuestKind::Qemu => is_disk_key(key) || is_unused_key(key),
        GuestKind::Lxc => key == "rootfs" || indexed(key, "mp") || is_unused_key(key),
    };
    if !holds {
        return None;
    }
    let volume = value.split(',').next()?;
    let (storage, volname) = volume.split_once(':')?;
    owner_of(volname)?;
    Some((storage.to_owned(), volname.to_owned(), size_in(value).unwrap_or(4 * 1024 * 1024)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart_by_bus_and_number() {
        assert!(is_disk_key("scsi30") && is_disk_key("efidisk0") && is_disk_key("ide3"));
        assert!(!is_disk_key("scsi31") && !is_disk_key("scsihw") && !is_disk_key("ide4"));
        assert!(is_net_key("net0") && !is_net_key("network") && is_unused_key("unused12"));
    }

    #[test]
    fn a_cloud_init_drive_is_known_by_its_volume() {
        assert!(is_cloudinit("fast:vm-100-cloudinit,media=cdrom"));
        assert!(is_cloudinit("local:100/vm-100-cloudinit.qcow2,media=cdrom"));
        assert!(is_cloudinit("fast:cloudinit"));
        assert!(!is_cloudinit("local:iso/debian.iso,media=cdrom"));
    }

    #[test]
    fn a_volume_belongs_to_the_guest_in_its_name() {
        assert_eq!(owner_of("base-9000-disk-0/vm-101-disk-0"), Some(101));
        assert_eq!(owner_of("9000/base-9000-disk-0.qcow2"), Some(9000));
        assert_eq!(owner_of("iso/x.iso"), None);
    }
}

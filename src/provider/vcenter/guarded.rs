//! Which keys of the free configuration an entry may set.
//!
//! Pure. The free configuration is the machine's own file: behind some of its keys are
//! files and devices of the host, and others are fields that novahost declares and compares.
//! A reviewed file must not reach the former, and two places for one thing never converge.
//! Keys are compared without regard to case, as the host reads them.

/// Letters of a key.
const KEY_MAX: usize = 128;
/// Letters of a value; keys that hold documents are not set by hand.
const VALUE_MAX: usize = 4096;

/// Why a key is refused, and what to do.
pub(super) struct Refused {
    pub(super) why: String,
    pub(super) help: &'static str,
}

/// Whether a machine may be given this key and value. `seeded`: it has first-boot documents,
/// which travel by keys too.
pub(super) fn check(key: &str, value: &str, seeded: bool) -> Result<(), Refused> {
    let refuse = |why: String, help| Err(Refused { why, help });
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._:-".contains(letter);
    if key.is_empty() || key.len() > KEY_MAX || !key.chars().all(plain) {
        let why = format!("`{}` is no key", crate::model::inert(key));
        return refuse(why, "a key has up to 128 letters, digits, `.`, `_`, `:` and `-`");
    }
    if value.len() > VALUE_MAX || value.chars().any(char::is_control) {
        let why = format!("the value of `{key}` is too long, or holds a control character");
        return refuse(why, "keep to one line of at most 4096 bytes");
    }
    let lower = key.to_ascii_lowercase();
    let found = RULES.iter().find(|rule| rule.takes(&lower));
    match found.map(|rule| rule.because) {
        None => Ok(()),
        Some(Because::Ours) => refuse(
            format!("`{key}` is novahost's own mark"),
            "leave it out: it is written and read with the machine",
        ),
        Some(Because::Host) => refuse(
            format!("`{key}` reaches files or devices of the host"),
            "leave it out: who needs that sets it on the vCenter, by hand",
        ),
        Some(Because::Field(field)) => refuse(
            format!("`{key}` is what `{field}` says of the machine"),
            "write it there: two places for one thing never agree",
        ),
        // Only what makes the wall between guest and client higher.
        Some(Because::Wall)
            if lower.ends_with(".disable") && value.eq_ignore_ascii_case("true") =>
        {
            Ok(())
        }
        Some(Because::Wall) => refuse(
            format!("`{key}` opens what separates the guest from whoever looks at it"),
            "only `isolation.….disable: \"TRUE\"` can be set, which closes it",
        ),
        Some(Because::FirstBoot) if !seeded => Ok(()),
        Some(Because::FirstBoot) => refuse(
            format!(
                "what begins with `guestinfo.`, as `{key}`, is how `init` and addresses reach the guest"
            ),
            "say it in `init`, or leave `init` and addresses out",
        ),
    }
}

/// Why a key is not anybody's to set.
#[derive(Clone, Copy)]
enum Because {
    Ours,
    Host,
    Field(&'static str),
    Wall,
    FirstBoot,
}

/// How a rule knows its keys; all in lower case.
#[derive(Clone, Copy)]
enum Shape {
    /// The key itself.
    Is(&'static str),
    /// What begins like this.
    Starts(&'static str),
    /// What ends like this.
    Ends(&'static str),
    /// A kind of device with its number: `scsi0`, `scsi0:1.present`.
    Device(&'static str),
    /// What begins like the first, but the second.
    StartsBut(&'static str, &'static str),
}

struct Rule {
    shape: Shape,
    because: Because,
}

impl Rule {
    fn takes(&self, key: &str) -> bool {
        match self.shape {
            Shape::Is(word) => key == word,
            Shape::Starts(head) => key.starts_with(head),
            Shape::Ends(tail) => key.ends_with(tail),
            Shape::Device(kind) => key
                .strip_prefix(kind)
                .is_some_and(|rest| rest.starts_with(|it: char| it.is_ascii_digit() || it == '.')),
            Shape::StartsBut(head, but) => key.starts_with(head) && key != but,
        }
    }
}

const fn rule(shape: Shape, because: Because) -> Rule {
    Rule { shape, because }
}

/// The first that takes a key decides.
const RULES: &[Rule] = {
    use {Because as B, Shape as S};
    &[
        rule(S::Starts("novahost."), B::Ours),
        rule(S::Starts("guestinfo."), B::FirstBoot),
        rule(S::Starts("tools.deploypkg."), B::Field("init")),
        rule(S::Starts("isolation."), B::Wall),
        // Files of the host, wherever a device or a log names them.
        rule(S::Ends(".filename"), B::Host),
        rule(S::Ends(".dir"), B::Host),
        rule(S::Ends(".path"), B::Host),
        rule(S::Ends("file"), B::Host),
        rule(S::Starts("vmx.log."), B::Host),
        rule(S::Starts("workingdir"), B::Host),
        rule(S::Starts("sched.swap."), B::Host),
        rule(S::Is("nvram"), B::Host),
        // Devices that are the host's, or lead there.
        rule(S::Starts("pcipassthru"), B::Host),
        rule(S::Device("serial"), B::Host),
        rule(S::Device("parallel"), B::Host),
        rule(S::Device("floppy"), B::Host),
        rule(S::Starts("usb"), B::Host),
        rule(S::Device("sound"), B::Host),
        rule(S::Device("sharedfolder"), B::Host),
        // A console without a password.
        rule(S::Starts("remotedisplay."), B::Host),
        rule(S::Starts("vmsafe."), B::Host),
        rule(S::Starts("dvfilter"), B::Host),
        rule(S::Starts("ethernet"), B::Field("nics")),
        rule(S::Device("scsi"), B::Field("disks")),
        rule(S::Device("sata"), B::Field("disks")),
        rule(S::Device("nvme"), B::Field("disks")),
        rule(S::Device("ide"), B::Field("disks")),
        // The identifiers of disks that a guest sees are a switch and nothing more.
        rule(S::StartsBut("disk.", "disk.enableuuid"), B::Field("disks")),
        rule(S::Is("numvcpus"), B::Field("resources.cpu")),
        rule(S::Starts("cpuid.corespersocket"), B::Field("resources.sockets")),
        rule(S::Is("memsize"), B::Field("resources.memory")),
        rule(S::Is("displayname"), B::Field("name")),
        rule(S::Is("annotation"), B::Field("notes")),
        rule(S::Is("firmware"), B::Field("firmware")),
        rule(S::Starts("uefi."), B::Field("firmware")),
        rule(S::Starts("bios.bootorder"), B::Field("boot")),
        rule(S::Starts("vtpm."), B::Field("tpm")),
        rule(S::Starts("encryption."), B::Field("tpm")),
        rule(S::Starts("virtualhw."), B::Field("vcenter.hardware_version")),
        rule(S::Is("guestos"), B::Field("image")),
        rule(S::Starts("uuid."), B::Ours),
        rule(S::Starts("vc.uuid"), B::Ours),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule whose every key an earlier one takes says what nobody hears.
    #[test]
    fn every_rule_decides_something() {
        for (at, rule) in RULES.iter().enumerate() {
            let key = match rule.shape {
                Shape::Is(word) => word.to_owned(),
                Shape::Starts(head) | Shape::StartsBut(head, _) => format!("{head}zz"),
                Shape::Ends(tail) => format!("zz{tail}"),
                Shape::Device(kind) => format!("{kind}0.zz"),
            };
            let first = RULES.iter().position(|it| it.takes(&key));
            assert_eq!(first, Some(at), "{key}");
        }
    }

    #[test]
    fn harmless_keys_are_taken_and_dangerous_ones_are_refused_in_any_case() {
        let harmless = [
            ("disk.EnableUUID", "TRUE"),
            ("sched.cpu.latencySensitivity", "high"),
            ("isolation.tools.copy.disable", "TRUE"),
            ("tools.syncTime", "FALSE"),
            ("svga.autodetect", "TRUE"),
            ("vmx.reboot.powerCycle", "TRUE"),
            ("guestinfo.role", "web"),
            ("idevice.x", "1"),
            ("log.rotateSize", "1000"),
        ];
        for (key, value) in harmless {
            assert!(check(key, value, false).is_ok(), "{key}");
        }
        let refused = [
            "novahost.id",
            "NovaHost.ID",
            "scsi0:1.fileName",
            "serial0.present",
            "pciPassthru0.present",
            "vmx.log.filename",
            "log.fileName",
            "sched.swap.dir",
            "ethernet0.virtualDev",
            "scsi0.virtualDev",
            "disk.locking",
            "RemoteDisplay.vnc.enabled",
            "isolation.tools.hgfs.enable",
            "sharedFolder0.hostPath",
            "virtualHW.version",
            "memsize",
            "uuid.bios",
            "a b",
            "",
            "k\"].x",
        ];
        for key in refused {
            let found = check(key, "TRUE", false).err();
            assert!(found.is_some_and(|it| !it.why.is_empty() && !it.help.is_empty()), "{key}");
        }
        assert!(check("isolation.tools.copy.disable", "FALSE", false).is_err());
        assert!(check("guestinfo.role", "web", true).is_err());
        assert!(check("tools.syncTime", "two\nlines", false).is_err());
    }
}

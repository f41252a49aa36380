//! Property strings, `default,key=value,...`: reading, checking, and printing the way the server
//! stores them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::schema::{self, Format, Kind, NET, OPTIONS, Prop, Release, Value};

/// A check of all keys together; the error is its text without the final newline.
pub(super) type Whole = fn(&BTreeMap<String, String>) -> Result<(), String>;

const MISSING_KEY: &str = "missing key in comma-separated list property";
const DUPLICATE: &str = "duplicate key in comma-separated list property";
const NO_DEFAULT: &str = "value without key, but schema does not define a default key";

/// Reads and checks a property string; `path` is the name of the option in error texts.
pub(super) fn parse(
    props: &[Prop],
    text: &str,
    path: &str,
    release: Release,
) -> Result<BTreeMap<String, String>, String> {
    let fields = split(props, text, release)?;
    let values = fields.iter().map(|(k, v)| (k.as_str(), Value::One(v))).collect();
    let mut errors = schema::Errors::new();
    let all: Vec<&Prop> = props.iter().collect();
    schema::check_object(path, &all, &values, release, &mut errors);
    if errors.is_empty() {
        return Ok(fields);
    }
    let mut message = "format error".to_owned();
    for (key, error) in errors {
        let _ = write!(message, "\n{key}: {error}");
    }
    Err(message)
}

fn split(props: &[Prop], text: &str, release: Release) -> Result<BTreeMap<String, String>, String> {
    let mut fields = BTreeMap::new();
    let mut default_used = false;
    for part in text.split(',') {
        if part.trim().is_empty() {
            continue;
        }
        let Some((key, value)) = part.split_once('=') else {
            let default = props.iter().find(|p| p.default_key).ok_or(NO_DEFAULT)?;
            let taken = fields.get(default.name).is_some_and(|v| v != "0");
            if default_used || taken {
                return Err(format!("{DUPLICATE}: {}", default.name));
            }
            default_used = true;
            fields.insert(default.name.to_owned(), part.to_owned());
            continue;
        };
        if key.is_empty() || value.is_empty() || value.contains('\n') {
            return Err(MISSING_KEY.to_owned());
        }
        if fields.contains_key(key) {
            return Err(format!("{DUPLICATE}: {key}"));
        }
        let mut prop = schema::find(props, key, release);
        let mut name = key;
        if let Some(Prop { kind: Kind::Alias { key: target, name_to }, .. }) = prop {
            if let Some(name_to) = name_to
                && fields.insert((*name_to).to_owned(), key.to_owned()).is_some()
            {
                return Err(format!("key alias '{name_to}' is already defined"));
            }
            name = target;
            prop = schema::find(props, name, release);
        }
        let value = match prop.map(|p| p.kind) {
            Some(Kind::Boolean) => boolean(value).unwrap_or(value),
            _ => value,
        };
        fields.insert(name.to_owned(), value.to_owned());
    }
    Ok(fields)
}

/// The spellings of a boolean that property strings take, beside 0 and 1.
fn boolean(text: &str) -> Option<&'static str> {
    let is = |words: [&str; 4]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(["1", "on", "yes", "true"]) {
        Some("1")
    } else if is(["0", "off", "no", "false"]) {
        Some("0")
    } else {
        None
    }
}

/// Reads the property string of an option of a virtual machine, such as `agent` or `cpu`: its
/// keys and values, with the default key named and booleans as 0 and 1.
///
/// # Errors
/// The text of parameter verification, `invalid format - ...` with its final newline; or that
/// `key` is no option with a property string.
pub fn parse_option(
    key: &str,
    value: &str,
    release: Release,
) -> Result<BTreeMap<String, String>, String> {
    let prop = schema::find(OPTIONS, key, release);
    let Some(Prop { format: Format::Props(props, whole), .. }) = prop else {
        return Err(format!("'{key}' has no property string"));
    };
    let checked = parse(props, value, key, release).and_then(|fields| {
        whole.map_or(Ok(()), |whole| whole(&fields))?;
        Ok(fields)
    });
    checked.map_err(|text| format!("invalid format - {text}\n"))
}

/// Reads in the newer release, then in the older one, whose configs may hold more keys.
fn parse_any(props: &[Prop], key: &str, value: &str) -> Option<BTreeMap<String, String>> {
    [Release::V9_2, Release::V8_4]
        .into_iter()
        .find_map(|release| parse(props, value, key, release).ok())
}

/// A drive: its volume, and its other keys as they are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskString {
    /// Volume id, `<storage>:<size>` to allocate, a path, `none` or `cdrom`.
    pub volume: String,
    /// All keys but the volume; booleans are 0 or 1.
    pub opts: BTreeMap<String, String>,
}

impl DiskString {
    /// The string as the server stores it.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = self.volume.clone();
        print_rest(&mut text, &self.opts);
        text
    }

    /// The size in bytes, when the string tells it.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.opts.get("size").and_then(|size| size_to_bytes(size))
    }

    /// Whether this is a CD drive.
    #[must_use]
    pub fn is_cdrom(&self) -> bool {
        self.opts.get("media").is_some_and(|media| media == "cdrom")
    }
}

/// A network device: its model and address, and its other keys as they are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetString {
    /// Device model, such as `virtio`.
    pub model: String,
    /// MAC address in the case it was given.
    pub mac: Option<String>,
    /// All other keys; booleans are 0 or 1.
    pub opts: BTreeMap<String, String>,
}

impl NetString {
    /// The string as the server stores it.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = self.model.clone();
        if let Some(mac) = &self.mac {
            let _ = write!(text, "={mac}");
        }
        print_rest(&mut text, &self.opts);
        text
    }
}

fn print_rest(text: &mut String, opts: &BTreeMap<String, String>) {
    for (key, value) in opts {
        let _ = match (key.as_str(), size_to_bytes(value)) {
            ("size", Some(bytes)) => write!(text, ",size={}", print_size(bytes)),
            _ => write!(text, ",{key}={value}"),
        };
    }
}

/// Reads the drive option `key` (`scsi0`, `efidisk0`, `unused3`...).
///
/// # Errors
/// When the string or the combination of its keys is refused.
pub fn normalize_disk(key: &str, value: &str) -> Result<DiskString, String> {
    const REFUSED: &str = "unable to parse drive options";
    let props = schema::drive_props(key).ok_or(REFUSED)?;
    let mut opts = parse_any(props, key, value).ok_or(REFUSED)?;
    for name in ["bps", "bps_rd", "bps_wr"] {
        if opts.remove(name).is_some() {
            let megabytes = format!("m{name}");
            if opts.contains_key(&megabytes) {
                return Err(REFUSED.to_owned());
            }
            // The server means to convert the value but converts whether there is one, so that
            // any limit in bytes ends as nought.
            opts.insert(megabytes, "0.000".to_owned());
        }
    }
    let set = |name: &str| opts.get(name).is_some_and(|v| v != "0");
    let needs = [
        ("mbps_max", "mbps"),
        ("mbps_rd_max", "mbps_rd"),
        ("mbps_wr_max", "mbps_wr"),
        ("bps_max_length", "mbps_max"),
        ("bps_rd_max_length", "mbps_rd_max"),
        ("bps_wr_max_length", "mbps_wr_max"),
        ("iops_max_length", "iops_max"),
        ("iops_rd_max_length", "iops_rd_max"),
        ("iops_wr_max_length", "iops_wr_max"),
    ];
    let excludes =
        [("mbps_rd", "mbps"), ("mbps_wr", "mbps"), ("iops_rd", "iops"), ("iops_wr", "iops")];
    let cdrom = opts.get("media").is_some_and(|media| media == "cdrom");
    let refused = needs.iter().any(|(name, other)| set(name) && !set(other))
        || excludes.iter().any(|(name, other)| set(name) && set(other))
        || cdrom && (set("snapshot") || set("format") || key.starts_with("virtio"));
    if refused {
        return Err(REFUSED.to_owned());
    }
    if let Some(size) = opts.get_mut("size")
        && let Some(bytes) = size_to_bytes(size)
    {
        *size = print_size(bytes);
    }
    let volume = opts.remove("file").ok_or(REFUSED)?;
    Ok(DiskString { volume, opts })
}

/// Reads a network device option.
///
/// # Errors
/// When the string is refused.
pub fn normalize_net(value: &str) -> Result<NetString, String> {
    const REFUSED: &str = "unable to parse network options";
    let mut opts = parse_any(NET, "net", value).ok_or(REFUSED)?;
    let model = opts.remove("model").ok_or(REFUSED)?;
    let mac = opts.remove("macaddr");
    Ok(NetString { model, mac, opts })
}

/// A disk size in bytes: a number, maybe with a fraction, and a binary unit `K`, `M`, `G`, `T`
/// (also written `KiB` and so on); without a unit it counts bytes.
#[must_use]
pub fn size_to_bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.strip_suffix("iB").filter(|unit| !unit.is_empty()).unwrap_or(unit) {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let part: f64 = format!("0.{fraction}").parse().ok()?;
    let scale = 1u64 << shift;
    // A fraction below 1 of at most 1 TiB is exact enough in a float, and cannot be negative.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rest = (part * scale as f64) as u64;
    whole.checked_mul(scale)?.checked_add(rest)
}

/// A size in the largest unit that divides it exactly.
#[must_use]
pub fn print_size(bytes: u64) -> String {
    let mut size = bytes;
    let mut unit = "";
    for larger in ["K", "M", "G", "T"] {
        if !size.is_multiple_of(1024) {
            break;
        }
        size /= 1024;
        unit = larger;
    }
    format!("{size}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(text: &str) -> String {
        normalize_disk("scsi0", text).unwrap().print()
    }

    fn net(text: &str) -> String {
        normalize_net(text).unwrap().print()
    }

    #[test]
    fn drives_are_printed_in_a_fixed_order() {
        assert_eq!(
            disk("local-lvm:vm-100-disk-0,ssd=1,iothread=on,discard=on,size=32768M"),
            "local-lvm:vm-100-disk-0,discard=on,iothread=1,size=32G,ssd=1"
        );
        assert_eq!(disk("ssd=yes,volume=local:1"), "local:1,ssd=1");
        assert_eq!(disk("none,media=cdrom"), "none,media=cdrom");
        assert_eq!(disk("local-lvm:cloudinit,"), "local-lvm:cloudinit");
        let read = normalize_disk("scsi0", "local:32,size=1.5G").unwrap();
        assert_eq!((read.volume.as_str(), read.size()), ("local:32", Some(1536 << 20)));
        assert_eq!(
            normalize_disk("efidisk0", "a1:1,pre-enrolled-keys=on,efitype=4m").unwrap().print(),
            "a1:1,efitype=4m,pre-enrolled-keys=1"
        );
    }

    #[test]
    fn limits_in_bytes_are_mangled() {
        assert_eq!(disk("local:1,bps_rd=1048576"), "local:1,mbps_rd=0.000");
        assert_eq!(disk("local:1,mbps=10,mbps_max=20.5"), "local:1,mbps=10,mbps_max=20.5");
    }

    #[test]
    fn drives_that_do_not_parse() {
        for (key, text) in [
            ("scsi0", "local:1,discard=maybe"),
            ("scsi0", "local:1,bps=1,mbps=1"),
            ("scsi0", "local:1,mbps_max=20"),
            ("scsi0", "local:1,iops=5,iops_rd=5"),
            ("scsi0", "ssd=1"),
            ("scsi31", "local:1"),
            ("virtio0", "local:1,ssd=1"),
            ("virtio0", "none,media=cdrom"),
            ("ide2", "none,media=cdrom,format=raw"),
        ] {
            assert_eq!(
                normalize_disk(key, text).unwrap_err(),
                "unable to parse drive options",
                "{key} {text}"
            );
        }
        // Disk geometry was known to the older release only.
        assert_eq!(disk("local:1,cyls=5"), "local:1,cyls=5");
    }

    #[test]
    fn nets_are_printed_with_the_model_first() {
        assert_eq!(
            net("model=virtio,bridge=vmbr0,macaddr=bc:24:11:aa:bb:cc"),
            "virtio=bc:24:11:aa:bb:cc,bridge=vmbr0"
        );
        assert_eq!(
            net("bridge=vmbr0,virtio=BC:24:11:AA:BB:CC,tag=10,rate=12.5,queues=4,link_down=yes"),
            "virtio=BC:24:11:AA:BB:CC,bridge=vmbr0,link_down=1,queues=4,rate=12.5,tag=10"
        );
        assert_eq!(net("virtio,bridge=vmbr0,firewall=1"), "virtio,bridge=vmbr0,firewall=1");
        assert_eq!(net("e1000,trunks=2;3-5"), "e1000,trunks=2;3-5");
        let read = normalize_net("virtio,bridge=vmbr0").unwrap();
        assert_eq!((read.model.as_str(), read.mac), ("virtio", None));
    }

    #[test]
    fn nets_that_do_not_parse() {
        for text in ["bridge=vmbr0", "virtio,bridg=x", "virtio=01:00:5e:00:00:01", "virtio,tag=0"] {
            assert!(normalize_net(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, printed) in [
            ("1024M", "1G"),
            ("1.5G", "1536M"),
            ("1025M", "1025M"),
            ("32768M", "32G"),
            ("1000", "1000"),
            ("2048", "2K"),
            ("4096GiB", "4T"),
        ] {
            assert_eq!(print_size(size_to_bytes(text).unwrap()), printed, "{text}");
        }
        for text in ["", "G", "1GB", ".5G", "1.G", "-1", "1.5.5G", "1iB"] {
            assert_eq!(size_to_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn options_are_read_by_name() {
        let agent = parse_option("agent", "1,fstrim_cloned_disks=on", Release::V9_2).unwrap();
        assert_eq!((agent["enabled"].as_str(), agent["fstrim_cloned_disks"].as_str()), ("1", "1"));
        let boot = parse_option("boot", "order=scsi0;net0", Release::V9_2).unwrap();
        assert_eq!(boot["order"], "scsi0;net0");
        assert_eq!(
            parse_option("memory", "2G", Release::V9_2).unwrap_err(),
            "invalid format - format error\nmemory.current: type check ('integer') failed - got \
             '2G'\n"
        );
        assert!(parse_option("cores", "1", Release::V9_2).is_err());
    }

    #[test]
    fn malformed_strings() {
        let refuse = |text: &str| parse(NET, text, "net0", Release::V9_2).unwrap_err();
        assert_eq!(refuse("virtio,bridge="), MISSING_KEY);
        assert_eq!(refuse("virtio,e1000"), format!("{DUPLICATE}: model"));
        assert_eq!(refuse("virtio,tag=1,tag=2"), format!("{DUPLICATE}: tag"));
        assert_eq!(
            refuse("virtio=BC:24:11:00:00:01,e1000=BC:24:11:00:00:02"),
            "key alias 'model' is already defined"
        );
        assert_eq!(
            parse_option("cicustom", "local:x", Release::V9_2).unwrap_err(),
            format!("invalid format - {NO_DEFAULT}\n")
        );
    }
}

//! The marker as text: two lines at the end of an object's notes.
//!
//! ```text
//! novahost/1 project=acme key=vm/web-1 uuid=… id=20071 stage=ready intent=… init=… protect=0 mac=…
//! novahost-map/1 disk.boot=scsi0 disk.data=scsi1? nic.eth0=net0 ip.eth0=10.20.0.52
//! ```
//!
//! Reading is strict: a line that begins like a marker and has anything else wrong
//! is *garbled*, which blocks, and never *none*, which would read as unmanaged.

use crate::model::{
    DeviceMap, DeviceName, MapEntry, Marker, MarkerState, ProjectName, ResourceKey, Stage,
    is_active,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::{collections::BTreeMap, fmt::Write as _};
use uuid::Uuid;

const LINE: &str = "novahost/1";
const MAP_LINE: &str = "novahost-map/1";
/// Begins the tag that is put on everything of a project. A signal for reading in
/// the right order; it proves nothing.
pub const BULK_TAG_PREFIX: &str = "nh-";
/// The namespace of every UUID that novahost derives.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_3c5e_8a40_5b7a_9a62_0d5c_7e4b_1f93);

/// The tag of a project.
pub fn bulk_tag(project: &ProjectName) -> String {
    format!("{BULK_TAG_PREFIX}{project}")
}

/// Whose mark is among these tags: that of `ours` if it is there, else the first.
pub fn marked<'a>(
    tags: impl IntoIterator<Item = &'a String>,
    ours: Option<&ProjectName>,
) -> Option<ProjectName> {
    let mut first = None;
    for project in tags.into_iter().filter_map(|tag| tag.strip_prefix(BULK_TAG_PREFIX)) {
        if ours.is_some_and(|ours| ours.as_str() == project) {
            return ours.cloned();
        }
        first = first.or(Some(project));
    }
    first.map(ProjectName::from)
}

/// Which creation of a key one plan means.
pub fn intent_id(plan_id: &str, key: &ResourceKey) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("intent/{plan_id}/{key}").as_bytes())
}

/// The machine UUID of one creation.
pub fn machine_uuid(project: &ProjectName, key: &ResourceKey, intent: Uuid) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("machine/{project}/{key}/{intent}").as_bytes())
}

/// Signs markers, so that a forged or edited one is known. Its `Debug` shows stars.
#[derive(Clone)]
pub struct MarkerKey(Vec<u8>);

impl std::fmt::Debug for MarkerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MarkerKey(****)")
    }
}

impl MarkerKey {
    /// A key from the trust settings.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The digest that belongs into this marker, hex.
    pub fn sign(&self, marker: &Marker) -> String {
        let unsigned = Marker { mac: None, ..marker.clone() };
        // HMAC takes keys of any length, so this cannot fail.
        #[allow(clippy::expect_used, reason = "HMAC-SHA256 accepts every key length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any key length is fine");
        mac.update(render(&unsigned).as_bytes());
        let digest = mac.finalize().into_bytes();
        digest.iter().take(16).fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// Whether the marker carries the right digest.
    pub fn verifies(&self, marker: &Marker) -> bool {
        let Some(given) = &marker.mac else { return false };
        let wanted = self.sign(marker);
        // Both are public text on the object, but a constant-time habit costs nothing.
        given.len() == wanted.len()
            && given.bytes().zip(wanted.bytes()).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
    }
}

/// The marker's two lines, without a final newline.
pub fn render(marker: &Marker) -> String {
    let mut text = format!(
        "{LINE} project={} key={} uuid={} id={} stage={} intent={} init={} protect={}",
        marker.project,
        marker.key,
        marker.uuid.map_or_else(|| "none".to_owned(), |uuid| uuid.to_string()),
        marker.id.as_ref().map_or("pending", |id| id.as_str()),
        marker.stage.as_str(),
        marker.intent,
        marker.init.as_deref().unwrap_or("none"),
        u8::from(marker.protect),
    );
    if let Some(mac) = &marker.mac {
        let _ = write!(text, " mac={mac}");
    }
    if marker.map != DeviceMap::default() {
        text.push('\n');
        text.push_str(MAP_LINE);
        for (prefix, entries) in [("disk", &marker.map.disks), ("nic", &marker.map.nics)] {
            for (name, entry) in entries {
                let mark = if entry.confirmed { "" } else { "?" };
                let _ = write!(text, " {prefix}.{name}={}{mark}", entry.slot);
            }
        }
        for (name, address) in &marker.map.addresses {
            let _ = write!(text, " ip.{name}={address}");
        }
        for name in &marker.map.delete_on_remove {
            let _ = write!(text, " remove.{name}=delete");
        }
    }
    text
}

/// Notes as a person wrote them, and the marker that stands at their end.
pub fn split_notes(notes: &str) -> (String, MarkerState) {
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for line in notes.lines() {
        let word = line.split_whitespace().next().unwrap_or_default();
        // Any version and any damage counts as ours to judge, so that a marker of a
        // later version is garbled to us and not invisible.
        if word.starts_with("novahost/") || word.starts_with("novahost-map/") {
            own.push(line);
        } else {
            others.push(line);
        }
    }
    let notes = others.join("\n").trim_end().to_owned();
    (notes, if own.is_empty() { MarkerState::None } else { parse_lines(&own) })
}

/// Reads a marker from a text that holds nothing else.
pub fn parse(text: &str) -> MarkerState {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() { MarkerState::None } else { parse_lines(&lines) }
}

fn parse_lines(lines: &[&str]) -> MarkerState {
    match try_parse(lines) {
        Some(marker) => MarkerState::Found(Box::new(marker)),
        None => MarkerState::Garbled(lines.join(" / ").chars().take(300).collect()),
    }
}

fn try_parse(lines: &[&str]) -> Option<Marker> {
    let (mut head, mut map) = (None, None);
    for line in lines {
        // We set words apart by blanks and write nothing that is not seen.
        if line.chars().any(|it| it != ' ' && (it.is_whitespace() || is_active(it))) {
            return None;
        }
        let mut words = line.split_whitespace();
        let slot = match words.next()? {
            LINE => &mut head,
            MAP_LINE => &mut map,
            _ => return None,
        };
        // The same line twice is somebody's paste: which one is true cannot be told.
        if slot.replace(fields(words)?).is_some() {
            return None;
        }
    }
    let mut head = head?;
    let mut take = |name: &str| head.remove(name);
    let marker = Marker {
        project: ProjectName::from(take("project")?),
        key: take("key")?.parse().ok()?,
        uuid: match take("uuid")? {
            "none" => None,
            text => Some(text.parse().ok()?),
        },
        id: match take("id")? {
            "pending" => None,
            text => Some(text.into()),
        },
        stage: match take("stage")? {
            "new" => Stage::New,
            "ready" => Stage::Ready,
            "deleting" => Stage::Deleting,
            _ => return None,
        },
        intent: take("intent")?.parse().ok()?,
        init: match take("init")? {
            "none" => None,
            text => Some(text.to_owned()),
        },
        protect: match take("protect")? {
            "0" => false,
            "1" => true,
            _ => return None,
        },
        mac: take("mac").map(str::to_owned),
        map: map.map_or(Some(DeviceMap::default()), parse_map)?,
    };
    head.is_empty().then_some(marker)
}

fn fields<'a>(words: impl Iterator<Item = &'a str>) -> Option<BTreeMap<&'a str, &'a str>> {
    let mut fields = BTreeMap::new();
    for word in words {
        let (name, value) = word.split_once('=')?;
        if value.is_empty() || fields.insert(name, value).is_some() {
            return None;
        }
    }
    Some(fields)
}

fn parse_map(fields: BTreeMap<&str, &str>) -> Option<DeviceMap> {
    let mut map = DeviceMap::default();
    for (name, value) in fields {
        let (kind, device) = name.split_once('.')?;
        let device = DeviceName::from(device);
        let entry = || {
            let (slot, confirmed) = match value.strip_suffix('?') {
                Some(slot) => (slot, false),
                None => (value, true),
            };
            MapEntry { slot: slot.into(), confirmed }
        };
        match kind {
            "disk" => drop(map.disks.insert(device, entry())),
            "nic" => drop(map.nics.insert(device, entry())),
            "ip" => drop(map.addresses.insert(device, value.to_owned())),
            "remove" if value == "delete" => drop(map.delete_on_remove.insert(device)),
            _ => return None,
        }
    }
    Some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker() -> Marker {
        let key = ResourceKey::vm("web-1");
        let intent = intent_id("abc", &key);
        let entry = |slot: &str, confirmed| MapEntry { slot: slot.into(), confirmed };
        Marker {
            uuid: Some(machine_uuid(&"acme".into(), &key, intent)),
            project: "acme".into(),
            key,
            id: Some("20071".into()),
            stage: Stage::Ready,
            intent,
            init: Some("0123456789abcdef0123456789abcdef".into()),
            protect: true,
            mac: None,
            map: DeviceMap {
                disks: [
                    ("boot".into(), entry("scsi0", true)),
                    ("data".into(), entry("scsi1", false)),
                ]
                .into(),
                nics: [("eth0".into(), entry("net0", true))].into(),
                addresses: [("eth0".into(), "10.20.0.52".into())].into(),
                delete_on_remove: ["data".into()].into(),
            },
        }
    }

    #[test]
    fn our_bulk_mark_goes_before_that_of_another_project() {
        let tags = ["nh-beta", "nh-acme", "web"].map(str::to_owned);
        assert_eq!(marked(&tags, Some(&"acme".into())), Some("acme".into()));
        assert_eq!(marked(&tags, Some(&"other".into())), Some("beta".into()));
        assert_eq!(marked(&tags, None), Some("beta".into()));
        assert_eq!(marked(&["web".to_owned()], Some(&"acme".into())), None);
    }

    #[test]
    fn a_marker_reads_back_as_written() {
        assert_eq!(parse(&render(&marker())), MarkerState::Found(Box::new(marker())));
        let bare =
            Marker { uuid: None, id: None, init: None, map: DeviceMap::default(), ..marker() };
        assert_eq!(parse(&render(&bare)), MarkerState::Found(Box::new(bare)));
    }

    #[test]
    fn notes_and_marker_are_told_apart() {
        let text = format!("Front end\nsecond line\n\n{}\n", render(&marker()));
        let (notes, state) = split_notes(&text);
        assert_eq!(notes, "Front end\nsecond line");
        assert_eq!(state.found(), Some(&marker()));
        assert_eq!(split_notes("just notes"), ("just notes".into(), MarkerState::None));
    }

    #[test]
    fn damage_is_garbled_and_never_none() {
        let good = render(&marker());
        let damaged = [
            good.replace("stage=ready", "stage=maybe"),
            good.replace(" protect=1", ""),
            good.replace("novahost/1", "novahost/2"),
            good.replace("project=acme", "project=acme colour=red"),
            format!("{good}\n{good}"),
            good.lines().nth(1).unwrap().to_owned(),
            good.replace(' ', "\u{a0}"),
            good.replace("project=acme", "project=ac\u{200b}me"),
        ];
        for text in damaged {
            assert!(matches!(parse(&text), MarkerState::Garbled(_)), "{text}");
        }
    }

    #[test]
    fn a_signature_holds_every_part_of_the_marker() {
        let key = MarkerKey::new(*b"0123456789abcdef");
        let mut signed = marker();
        signed.mac = Some(key.sign(&signed));
        assert!(key.verifies(&signed));
        let edits: [fn(&mut Marker); 5] = [
            |m| m.key = ResourceKey::vm("web-2"),
            |m| m.stage = Stage::Deleting,
            |m| m.protect = false,
            |m| m.map.disks.clear(),
            |m| m.id = Some("20072".into()),
        ];
        for edit in edits {
            let mut forged = signed.clone();
            edit(&mut forged);
            assert!(!key.verifies(&forged));
        }
        assert!(!MarkerKey::new(*b"another").verifies(&signed));
        assert!(!key.verifies(&marker()));
        assert_eq!(format!("{key:?}"), "MarkerKey(****)");
    }
}

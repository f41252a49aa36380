//! The free keys of a machine: the marker, the first-boot documents, and what an entry sets.
//!
//! Pure. Keys are asked for one by one; a server that does not know how to answer that is
//! asked for all of them. Values come from a place that the guest can write to, so they are
//! bounded in size before and after they are unpacked.

use super::vim::collect::ObjectContent;
use crate::model::{DesiredState, HypervisorName, ResourceKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
};

/// A key of the free configuration.
pub(super) type Extra<'a> = &'a str;

/// Free keys that entries declare, by entry: of all that a machine has, only these are read.
pub(super) type DeclaredKeys = BTreeMap<ResourceKey, BTreeSet<String>>;

/// The free keys that entries on one vCenter declare.
#[must_use]
pub fn declared_keys(
    desired: &DesiredState,
    at: &HypervisorName,
) -> BTreeMap<ResourceKey, BTreeSet<String>> {
    let here = desired.machines.values().filter(|it| it.hypervisor == *at);
    let keys = here.map(|it| {
        let own: BTreeSet<String> = it.spec.extra.keys().map(ToString::to_string).collect();
        (it.key.clone(), own)
    });
    keys.filter(|(_, own)| !own.is_empty()).collect()
}

/// The first line of the marker.
pub(super) const ID: Extra<'_> = "novahost.id";
/// Its second line: which device is which.
pub(super) const MAP: Extra<'_> = "novahost.map";
/// Names and addresses for the guest.
pub(super) const METADATA: Extra<'_> = "guestinfo.metadata";
/// How they are packed.
pub(super) const METADATA_ENCODING: Extra<'_> = "guestinfo.metadata.encoding";
/// Users and the rest.
pub(super) const USERDATA: Extra<'_> = "guestinfo.userdata";
/// How it is packed.
pub(super) const USERDATA_ENCODING: Extra<'_> = "guestinfo.userdata.encoding";

/// What a document may take in a key, packed. The server's own limit is not documented;
/// this is what other tools stay below.
pub(super) const PACKED_MAX: usize = 64 * 1024;
/// What is unpacked at most: ours are a few kilobytes, and a guest may have put anything
/// there.
const UNPACKED_MAX: u64 = 1024 * 1024;
/// The encoding that we write.
pub(super) const PACKED: &str = "gzip+base64";

/// The property path of one key.
pub(super) fn path(key: Extra<'_>) -> String {
    format!("config.extraConfig[\"{key}\"].value")
}

/// All keys at once, for servers that do not tell single ones.
pub(super) const WHOLE: &str = "config.extraConfig";

/// The value of a key, however it was asked for.
pub(super) fn value(object: &ObjectContent, key: Extra<'_>) -> Option<String> {
    if let Some(single) = object.props.get(&path(key)) {
        return Some(single.text.clone());
    }
    let all = object.props.get(WHOLE)?;
    let entry = all.children.iter().find(|entry| entry.text_at("key") == Some(key))?;
    entry.text_at("value").map(str::to_owned)
}

/// Packs a document as it is written to a key.
pub(super) fn encode(document: &str) -> Result<String, String> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let packed = packer
        .write_all(document.as_bytes())
        .and_then(|()| packer.finish())
        .map_err(|error| format!("the first-boot documents cannot be packed: {error}"))?;
    let text = STANDARD.encode(packed);
    if text.len() > PACKED_MAX {
        return Err(format!(
            "the first-boot documents take {} bytes, more than the {PACKED_MAX} of a key",
            text.len()
        ));
    }
    Ok(text)
}

/// Unpacks a document; none when it is not one, or beyond the bounds.
pub(super) fn decode(text: &str, encoding: Option<&str>) -> Option<String> {
    let text = text.trim();
    // What a guest leaves in place of what it has read and must not show again.
    if text.is_empty() || text == "---" || text.len() > PACKED_MAX {
        return None;
    }
    let bytes = match encoding.map(str::trim).unwrap_or_default() {
        "" => text.as_bytes().to_vec(),
        "base64" | "b64" => STANDARD.decode(text).ok()?,
        "gzip+base64" | "gz+b64" => {
            let packed = STANDARD.decode(text).ok()?;
            let mut bytes = Vec::new();
            let limited = flate2::read::GzDecoder::new(packed.as_slice()).take(UNPACKED_MAX + 1);
            std::io::BufReader::new(limited).read_to_end(&mut bytes).ok()?;
            bytes
        }
        _ => return None,
    };
    (bytes.len() as u64 <= UNPACKED_MAX).then_some(())?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_again() {
        let document = "#cloud-config\n{\"hostname\":\"web-1\"}";
        let packed = encode(document).unwrap();
        assert_eq!(encode(document).unwrap(), packed, "the same document is packed the same");
        assert_eq!(decode(&packed, Some(PACKED)).as_deref(), Some(document));
        assert_eq!(decode("plain", None).as_deref(), Some("plain"));
        assert_eq!(decode(&STANDARD.encode("x"), Some("b64")).as_deref(), Some("x"));
    }

    #[test]
    fn what_a_guest_may_have_put_there_does_no_harm() {
        for (text, encoding) in [
            ("---", Some(PACKED)),
            ("", None),
            ("not base64!", Some(PACKED)),
            ("AAAA", Some(PACKED)),
            ("x", Some("rot13")),
        ] {
            assert_eq!(decode(text, encoding), None, "{text}");
        }
        // A bomb is unpacked up to the bound and no further.
        let bomb = encode(&"0".repeat(8 * 1024 * 1024)).unwrap();
        assert_eq!(decode(&bomb, Some(PACKED)), None);
        assert_eq!(decode(&"A".repeat(PACKED_MAX + 4), Some("b64")), None);
    }
}

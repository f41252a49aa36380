//! Free texts, names, tags and keys as the server reads and stores them.

/// Splits a list value: at NUL when there is one, else at commas, semicolons and white space.
#[must_use]
pub fn split_list(text: &str) -> Vec<&str> {
    if text.contains('\0') {
        let mut parts: Vec<&str> = text.split('\0').collect();
        while parts.last().is_some_and(|part| part.is_empty()) {
            parts.pop();
        }
        return parts;
    }
    text.split(|c: char| c == ',' || c == ';' || c.is_whitespace())
        .filter(|part| !part.is_empty())
        .collect()
}

/// Whether `tag` is made of allowed characters.
#[must_use]
pub fn valid_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'-' | b'+' | b'.'))
}

/// Tags as stored with the default tag style: lower-case, unique, sorted, joined with `;`.
///
/// # Errors
/// When a tag has a character that is not allowed.
pub fn normalize_tags(text: &str) -> Result<String, String> {
    let mut tags = Vec::new();
    for tag in split_list(text) {
        if !valid_tag(tag) {
            return Err("invalid characters in tag".to_owned());
        }
        tags.push(tag.to_ascii_lowercase());
    }
    tags.sort_unstable();
    tags.dedup();
    Ok(tags.join(";"))
}

/// A description as the config of a virtual machine keeps it: without trailing white space.
#[must_use]
pub fn strip_description(text: &str) -> String {
    text.trim_end().to_owned()
}

fn valid_label(label: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    edge(label.bytes().next())
        && edge(label.bytes().last())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Whether `name` is a DNS name the server accepts for a guest.
#[must_use]
pub fn valid_dns_name(name: &str) -> bool {
    name.split('.').all(valid_label)
}

/// Whether `name` can be the name of a node: one DNS label.
#[must_use]
pub fn valid_node_name(name: &str) -> bool {
    valid_label(name)
}

/// Whether `text` keeps to the alphabet of percent-encoded values.
#[must_use]
pub fn is_urlencoded(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-%_.!~*'()".contains(&b))
}

/// Removes the inner percent-encoding that `sshkeys` carries on the wire and in the config.
///
/// # Errors
/// When the value is not percent-encoded.
pub fn decode_sshkeys(text: &str) -> Result<String, String> {
    if !is_urlencoded(text) {
        return Err(format!("invalid urlencoded string: {text}"));
    }
    Ok(percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned())
}

/// Whether `line` is one public key as ssh-keygen accepts it: the type, and a blob that says the
/// same type inside. Options before the type are allowed, as in an authorized keys file.
#[must_use]
pub fn valid_ssh_key_line(line: &str) -> bool {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    words.windows(2).take(2).any(|pair| key_matches(pair[0], pair[1]))
}

fn key_matches(kind: &str, encoded: &str) -> bool {
    const KINDS: [&str; 7] = [
        "ssh-rsa",
        "ssh-dss",
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
    ];
    if !KINDS.contains(&kind) {
        return false;
    }
    let Some(blob) = base64(encoded) else {
        return false;
    };
    let Some((inner, rest)) = take_field(&blob) else {
        return false;
    };
    inner == kind.as_bytes()
        && match kind {
            "ssh-ed25519" => {
                take_field(rest).is_some_and(|(key, end)| key.len() == 32 && end.is_empty())
            }
            _ => take_field(rest).is_some_and(|(first, _)| !first.is_empty()),
        }
}

/// Splits one length-prefixed field off an SSH key blob.
fn take_field(blob: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.split_at_checked(length)
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - body.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(body.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0u32);
    for c in body.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_lowered_sorted_and_joined() {
        assert_eq!(normalize_tags("Web;nova;alpha").unwrap(), "alpha;nova;web");
        assert_eq!(normalize_tags("b, a  B;a").unwrap(), "a;b");
        assert_eq!(normalize_tags("").unwrap(), "");
        assert_eq!(normalize_tags("_x;1+a.b-c").unwrap(), "1+a.b-c;_x");
        assert_eq!(normalize_tags("a b/c").unwrap_err(), "invalid characters in tag");
        assert!(normalize_tags("-a").is_err());
    }

    #[test]
    fn descriptions_lose_trailing_space_only() {
        assert_eq!(strip_description("  a\nb \n\n"), "  a\nb");
    }

    #[test]
    fn dns_names() {
        for good in ["web-1", "a", "A.b.c-d", "1"] {
            assert!(valid_dns_name(good), "{good}");
        }
        for bad in ["bad_name", "", "-a", "a-", "a..b", "a.", "é"] {
            assert!(!valid_dns_name(bad), "{bad}");
        }
    }

    #[test]
    fn keys_carry_an_inner_encoding() {
        assert_eq!(
            decode_sshkeys("ssh-ed25519%20AAAA%20me%40host%0A").unwrap(),
            "ssh-ed25519 AAAA me@host\n"
        );
        assert_eq!(
            decode_sshkeys("ssh-ed25519 AAAA").unwrap_err(),
            "invalid urlencoded string: ssh-ed25519 AAAA"
        );
    }

    #[test]
    fn key_lines() {
        let key = format!("AAAAC3NzaC1lZDI1NTE5AAAAI{}", "A".repeat(43));
        assert!(valid_ssh_key_line(&format!("ssh-ed25519 {key} me@host")));
        assert!(valid_ssh_key_line(&format!("no-pty ssh-ed25519 {key}")));
        assert!(!valid_ssh_key_line(&format!("ssh-rsa {key}")));
        assert!(!valid_ssh_key_line("ssh-ed25519 AAAA me@host"));
        assert!(!valid_ssh_key_line("ssh-ed25519"));
        assert!(!valid_ssh_key_line(&format!("ssh-ed25519 {}", &key[..64])));
    }

    #[test]
    fn lists_split_at_nul_or_at_separators() {
        assert_eq!(split_list(" a,b;;c\td "), ["a", "b", "c", "d"]);
        assert_eq!(split_list("a b\0c\0"), ["a b", "c"]);
    }
}

//! First-boot configuration: keys read, gaps filled from networks, and its digest.

use super::entries::MachineEntry;
use crate::config::decode::Cx;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{KeyText, RawInit, is_public_key};
use crate::config::scalar::Spanned;
use crate::config::source::{DataFile, DataRef, sha256_hex};
use crate::model::{DeviceName, InitSpec, NicSpec};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The public keys that files hold, or why they hold none.
#[derive(Debug, Default)]
pub struct KeyFiles(BTreeMap<DataRef, Result<Arc<[String]>, String>>);

/// The file that a key line names.
fn key_ref(key: &Spanned<KeyText>) -> Option<DataRef> {
    let path = key.value.0.strip_prefix("file:")?;
    Some(DataRef { span: key.span, path: path.into() })
}

/// Files that machines name.
pub fn data_refs(entries: &[MachineEntry]) -> impl Iterator<Item = DataRef> {
    let inits = entries.iter().filter_map(|entry| entry.raw.as_ref()?.init.as_ref());
    inits
        .filter_map(|init| init.value.ssh_keys.as_ref())
        .flat_map(|keys| &keys.value)
        .filter_map(key_ref)
}

impl KeyFiles {
    /// Reads the keys of all files, each once.
    pub fn new(data: &BTreeMap<DataRef, DataFile>) -> Self {
        Self(data.iter().map(|(wanted, file)| (wanted.clone(), public_keys(file))).collect())
    }
}

fn public_keys(file: &DataFile) -> Result<Arc<[String]>, String> {
    let mut keys = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        let line = line.trim();
        if line.contains("PRIVATE KEY") {
            return Err(format!("`{}` holds a private key", file.path));
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !is_public_key(line) {
            return Err(format!("line {} of `{}` is not a public key", at + 1, file.path));
        }
        keys.push(line.to_owned());
    }
    if keys.is_empty() {
        return Err(format!("`{}` holds no key", file.path));
    }
    Ok(keys.into())
}

/// All public keys of a list, in its order. Files that could not be read have been reported.
pub fn ssh_keys(
    written: &[Spanned<KeyText>],
    files: &KeyFiles,
    cx: &mut Cx<'_>,
) -> Option<Vec<String>> {
    let mut keys: Vec<String> = Vec::new();
    let mut complete = true;
    for key in written {
        let Some(wanted) = key_ref(key) else {
            keys.push(key.value.0.trim_end().to_owned());
            continue;
        };
        match files.0.get(&wanted) {
            Some(Ok(lines)) => keys.extend(lines.iter().cloned()),
            Some(Err(message)) => {
                let help = "name the `.pub` file: one public key per line";
                let problem = Diagnostic::error("invalid-file", key.span, message.clone());
                cx.push(problem.help(help));
                complete = false;
            }
            None => complete = false,
        }
    }
    complete.then_some(keys)
}

/// The fields that need no look at anything else.
pub fn plain_fields(raw: &RawInit) -> InitSpec {
    let text = |value: &Arc<str>| value.to_string();
    InitSpec {
        hostname: raw.hostname.as_ref().map(|host| text(&host.value.0)),
        domain: raw.domain.as_ref().map(|domain| domain.value.to_string()),
        user: raw.user.as_ref().map(|user| text(&user.value.0)),
        ssh_keys: None,
        password: raw.password.as_ref().map(|password| password.value.clone()),
        dns: raw.dns.as_ref().map(|dns| dns.value.clone()),
        customization: None,
        digest: None,
    }
}

/// First 128 bits of the SHA-256 of the canonical document, as 32 hexadecimal digits.
///
/// The document holds the fields that are set, and the address and gateway of each card; keys are in order of
/// their names. Of a secret it holds reference and version, so that it can be computed without the secret.
pub fn digest(init: &InitSpec, nics: &BTreeMap<DeviceName, NicSpec>) -> String {
    let mut document = Map::new();
    let mut put = |key: &str, value: Option<Json>| {
        if let Some(value) = value {
            document.insert(key.to_owned(), value);
        }
    };
    put("hostname", init.hostname.as_ref().map(|host| json!(host)));
    put("domain", init.domain.as_ref().map(|domain| json!(domain)));
    put("user", init.user.as_ref().map(|user| json!(user)));
    put("ssh_keys", init.ssh_keys.as_ref().map(|keys| json!(keys)));
    put("dns", init.dns.as_ref().map(|dns| json!(dns)));
    put("setup", init.customization.as_deref().map(super::setup::document));
    let password = init.password.as_ref();
    let reference = |secret: &crate::model::SecretRef| json!({ "from": secret.to_string(), "version": secret.version });
    put("password", password.map(reference));
    let cards = nics.iter().filter_map(|(name, nic)| {
        let mut card = Map::new();
        card.insert("ip".to_owned(), json!(nic.ip?.to_string()));
        if let Some(gateway) = nic.gateway {
            card.insert("gateway".to_owned(), json!(gateway));
        }
        Some((name.to_string(), Json::Object(card)))
    });
    let cards: Map<String, Json> = cards.collect();
    put("nics", (!cards.is_empty()).then_some(Json::Object(cards)));
    sorted(&mut document);
    let mut digest = sha256_hex(Json::Object(document).to_string().as_bytes());
    digest.truncate(32);
    digest
}

/// Sorts keys at the two levels that the document has, whatever map the JSON library was built with.
fn sorted(document: &mut Map<String, Json>) {
    let mut entries: Vec<(String, Json)> = std::mem::take(document).into_iter().collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    for (key, mut value) in entries {
        if let Json::Object(inner) = &mut value {
            sorted(inner);
        }
        document.insert(key, value);
    }
}

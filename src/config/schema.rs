//! The JSON Schema of the language, from the same tables as its readers.
//!
//! Editors complete and check files with it. What it cannot say (whether a name refers to
//! something, whether values fit together) is left to `validate`.

use super::decode::{FieldDoc, schema_of};
use super::raw::*;
use serde_json::Value as Json;

/// What the schema is called by others. A name, not an address: the file is in the repository.
const ID: &str = "urn:novahost:schema:1";

/// The schema of a file (JSON Schema 2020-12).
pub fn json_schema() -> Json {
    schema_of::<RawConfig>(ID, "novahost.yaml")
}

/// The schema as the text of `schemas/novahost.schema.json`.
pub fn json_schema_text() -> String {
    format!("{:#}\n", json_schema())
}

/// A mapping of the language.
#[derive(Debug, Clone, Copy)]
pub struct TableDoc {
    /// Where it stands, with `*` for a name: `vms.*.disks.*`.
    pub path: &'static str,
    /// Its fields.
    pub fields: &'static [FieldDoc],
    /// Fields of the language that this version does not support.
    pub later: &'static [&'static str],
}

/// All mappings of the language, for `explain` and for tests that nothing is without an example.
pub const TABLES: &[TableDoc] = &[
    table("", RawConfig::FIELDS, RawConfig::LATER),
    table("include.*", RawCarefulInclude::FIELDS, RawCarefulInclude::LATER),
    table("hypervisors.*", RawProxmox::FIELDS, RawProxmox::LATER),
    table("hypervisors.*.auth", RawToken::FIELDS, RawToken::LATER),
    table("hypervisors.*.auth", RawLogin::FIELDS, RawLogin::LATER),
    table("hypervisors.*.tls", RawTls::FIELDS, RawTls::LATER),
    table("hypervisors.*.nodes", RawNodes::FIELDS, RawNodes::LATER),
    table("hypervisors.*.defaults", RawDefaults::FIELDS, RawDefaults::LATER),
    table("hypervisors.*.limits", RawLimits::FIELDS, RawLimits::LATER),
    table("hypervisors.*", RawVcenter::FIELDS, RawVcenter::LATER),
    table("hypervisors.*.auth", RawVcenterLogin::FIELDS, RawVcenterLogin::LATER),
    table("hypervisors.*.defaults", RawVcenterDefaults::FIELDS, RawVcenterDefaults::LATER),
    table("hypervisors.*.limits", RawVcenterLimits::FIELDS, RawVcenterLimits::LATER),
    table("networks.*", RawNetwork::FIELDS, RawNetwork::LATER),
    table("networks.*.at.*", RawNetworkAt::FIELDS, RawNetworkAt::LATER),
    table("images.*", RawImage::FIELDS, RawImage::LATER),
    table("images.*.at.*", RawImageAt::FIELDS, RawImageAt::LATER),
    table("images.*.at.*.template", RawKnownTemplate::FIELDS, RawKnownTemplate::LATER),
    table("plans.*", RawServicePlan::FIELDS, RawServicePlan::LATER),
    table("users.*", RawUser::FIELDS, RawUser::LATER),
    table("users.*.at.*", RawUserAt::FIELDS, RawUserAt::LATER),
    table("pools.*", RawPool::FIELDS, RawPool::LATER),
    table("pools.*.acl.*", RawGrant::FIELDS, RawGrant::LATER),
    table("pools.*.at.*", RawPoolAt::FIELDS, RawPoolAt::LATER),
    table("vms.*", RawMachine::FIELDS, RawMachine::LATER),
    table("vms.*.resources", RawResources::FIELDS, RawResources::LATER),
    table("vms.*.disks.*", RawDisk::FIELDS, RawDisk::LATER),
    table("vms.*.nics.*", RawNic::FIELDS, RawNic::LATER),
    table("vms.*.init", RawInit::FIELDS, RawInit::LATER),
    table("vms.*.init.password", &PASSWORD, &[]),
    table("vms.*.init.windows", RawWindows::FIELDS, RawWindows::LATER),
    table("vms.*.init.windows.join", RawJoin::FIELDS, RawJoin::LATER),
    table("vms.*.autostart", RawAutostartOrder::FIELDS, RawAutostartOrder::LATER),
    table("vms.*.placement", RawPlacement::FIELDS, RawPlacement::LATER),
    table("vms.*.proxmox", RawProxmoxExtras::FIELDS, RawProxmoxExtras::LATER),
    table("policy", RawPolicy::FIELDS, RawPolicy::LATER),
    table("policy.budgets", RawBudgets::FIELDS, RawBudgets::LATER),
    table("policy.capacity", RawCapacity::FIELDS, RawCapacity::LATER),
];

/// The long form of a reference to a secret.
const PASSWORD: [FieldDoc; 2] = [
    FieldDoc { name: "from", doc: "`env:NAME`, `file:PATH` or `secret:NAME`." },
    FieldDoc { name: "version", doc: "Compared in place of the value." },
];

const fn table(
    path: &'static str,
    fields: &'static [FieldDoc],
    later: &'static [&'static str],
) -> TableDoc {
    TableDoc { path, fields, later }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// `novahost schema > schemas/novahost.schema.json` writes it anew; so does `NOVAHOST_BLESS=1` here.
    #[test]
    fn the_schema_in_the_repository_is_the_one_of_the_tables() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/novahost.schema.json");
        if std::env::var_os("NOVAHOST_BLESS").is_some() {
            std::fs::write(&path, json_schema_text()).expect("it can be written");
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == json_schema_text(),
            "stale; run: novahost schema > schemas/novahost.schema.json"
        );
    }

    #[test]
    fn every_field_says_what_it_is() {
        for table in TABLES {
            for field in table.fields {
                assert!(!field.doc.trim().is_empty(), "{}.{}", table.path, field.name);
            }
        }
    }
}

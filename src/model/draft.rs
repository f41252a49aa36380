//! A marker that is to be written, as what changes of it.

use super::{DeviceMap, DeviceName, FieldKind, FieldPath, MapEntry, Stage};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A marker to be written. Project, key, uuid, id and intent come from the run:
/// the plan cannot hold values that are derived from its own digest.
///
/// Of the map it holds what to change, not the whole: when one run carries out
/// several actions on a machine, a later one must not write back the map that was
/// seen before the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkerDraft {
    /// The stage to write.
    pub stage: Stage,
    /// Digest of the first-boot document to write; absent = keep what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Deletion protection; absent = keep what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protect: Option<bool>,
    /// Entries to set. For each of its disks, `delete_on_remove` says whether that is
    /// to be remembered. An entry whose device the fresh read shows is written as
    /// confirmed, whatever it says here.
    pub map: DeviceMap,
    /// Entries to take out: `disk.NAME`, `nic.NAME`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub forget: BTreeSet<FieldPath>,
}

impl MarkerDraft {
    /// A draft that writes a stage and keeps everything else.
    pub fn new(stage: Stage) -> Self {
        Self {
            stage,
            init: None,
            protect: None,
            map: DeviceMap::default(),
            forget: BTreeSet::new(),
        }
    }

    /// The changes that lead from one map to another.
    pub fn turn(&mut self, old: &DeviceMap, new: DeviceMap) {
        let forget = |kind, entries: &BTreeMap<DeviceName, MapEntry>, kept: &BTreeMap<_, _>| {
            let gone = entries.keys().filter(|name| !kept.contains_key(*name));
            gone.map(|name| FieldPath::on(kind, name)).collect::<Vec<_>>()
        };
        self.forget.extend(forget(FieldKind::Disk, &old.disks, &new.disks));
        self.forget.extend(forget(FieldKind::Nic, &old.nics, &new.nics));
        let mut new = new;
        new.disks.retain(|name, entry| {
            let remembered = new.delete_on_remove.contains(name);
            old.disks.get(name) != Some(entry) || old.delete_on_remove.contains(name) != remembered
        });
        new.delete_on_remove.retain(|name| new.disks.contains_key(name));
        new.nics.retain(|name, entry| old.nics.get(name) != Some(entry));
        new.addresses.retain(|name, address| old.addresses.get(name) != Some(address));
        self.map = new;
    }

    /// The map that is written over the one that is there.
    pub fn map_over(&self, old: &DeviceMap) -> DeviceMap {
        let mut map = old.clone();
        for path in &self.forget {
            let Some(name) = &path.device else { continue };
            if path.kind == FieldKind::Disk {
                map.disks.remove(name);
                map.delete_on_remove.remove(name);
            } else {
                map.nics.remove(name);
                map.addresses.remove(name);
            }
        }
        for (name, entry) in &self.map.disks {
            map.disks.insert(name.clone(), entry.clone());
            map.delete_on_remove.remove(name);
        }
        map.delete_on_remove.extend(self.map.delete_on_remove.iter().cloned());
        map.nics.extend(self.map.nics.clone());
        map.addresses.extend(self.map.addresses.clone());
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(slot: &str) -> MapEntry {
        MapEntry { slot: slot.into(), confirmed: true }
    }

    fn map(disks: &[(&str, &str)], delete: &[&str]) -> DeviceMap {
        DeviceMap {
            disks: disks.iter().map(|(name, slot)| ((*name).into(), entry(slot))).collect(),
            delete_on_remove: delete.iter().map(|name| (*name).into()).collect(),
            ..DeviceMap::default()
        }
    }

    #[test]
    fn a_draft_turns_one_map_into_another() {
        let old = map(&[("boot", "scsi0"), ("data", "scsi1"), ("logs", "scsi2")], &["logs"]);
        let new = map(&[("boot", "scsi0"), ("data", "scsi1"), ("more", "scsi3")], &["data"]);
        let mut draft = MarkerDraft::new(Stage::Ready);
        draft.turn(&old, new.clone());
        assert_eq!(draft.map_over(&old), new);
        assert!(!draft.map.disks.contains_key("boot"), "what does not change is not written");
    }

    #[test]
    fn a_later_draft_keeps_what_an_earlier_one_of_the_run_wrote() {
        let seen = map(&[("boot", "scsi0"), ("data", "scsi1")], &[]);
        let (mut first, mut second) =
            (MarkerDraft::new(Stage::Ready), MarkerDraft::new(Stage::Ready));
        first.turn(&seen, map(&[("boot", "scsi0"), ("more", "scsi2")], &[]));
        second.turn(&seen, seen.clone());
        let after = second.map_over(&first.map_over(&seen));
        assert_eq!(after, map(&[("boot", "scsi0"), ("more", "scsi2")], &[]));
    }
}

//! Whose a snapshot is: what novahost writes into the description of one that it takes by
//! itself, and reading that back.
//!
//! A name proves nothing, and so does a description: people copy both. Only what has our
//! name and names this very machine by its UUID counts as taken by us, and nothing else is
//! ever removed.

use crate::model::{ObservedMachine, ProjectName, ResourceKey, SnapshotMark, SnapshotSeen};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use uuid::Uuid;

/// Begins the name of every snapshot that novahost takes before a change.
pub const SNAPSHOT_PREFIX: &str = "novahost-";
/// Begins the description of one.
const LINE: &str = "novahost-snapshot/1";
/// Digits that tell one snapshot of a machine from another: 48 bits.
const DIGITS: usize = 12;

/// The name of the snapshot that is taken before a change. It follows from what is seen and
/// what is to be done, so that two plans over the same world mean the same snapshot; and from
/// the snapshots that are there, so that none from an earlier time passes for it.
pub fn snapshot_name(key: &ResourceKey, base: &str, there: &[SnapshotSeen]) -> String {
    let mut digest = Sha256::new();
    for part in [key.to_string().as_str(), base].into_iter().chain(there.iter().map(|it| &*it.id)) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let mut name = SNAPSHOT_PREFIX.to_owned();
    for byte in digest.finalize().iter().take(DIGITS / 2) {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// The description of a snapshot that is taken before a change.
pub fn snapshot_note(mark: &SnapshotMark) -> String {
    let SnapshotMark { project, key, uuid, plan } = mark;
    format!("{LINE} project={project} key={key} uuid={uuid} plan={plan}")
}

/// Reads a description. `None`: it is somebody else's, or not as we write it.
pub fn snapshot_mark(description: &str) -> Option<SnapshotMark> {
    let mut words = description.split_whitespace();
    if words.next() != Some(LINE) {
        return None;
    }
    let mut value = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=');
    let project = ProjectName::from(value("project")?);
    let key = value("key")?.parse().ok()?;
    let uuid = value("uuid")?.parse().ok()?;
    let plan = value("plan")?.to_owned();
    Some(SnapshotMark { project, key, uuid, plan })
}

/// Whether novahost took this snapshot before a change of this machine.
pub fn owns_snapshot(project: &ProjectName, uuid: Option<Uuid>, snapshot: &SnapshotSeen) -> bool {
    snapshot.name.starts_with(SNAPSHOT_PREFIX)
        && snapshot.mark.as_ref().is_some_and(|mark| {
            // By the machine and not by the entry, which may have been renamed since.
            mark.project == *project && Some(mark.uuid) == uuid
        })
}

/// The snapshots of a machine that novahost took before changes, the oldest first.
pub fn own_snapshots<'a>(
    project: &ProjectName,
    machine: &'a ObservedMachine,
) -> Vec<&'a SnapshotSeen> {
    let mut own: Vec<&SnapshotSeen> =
        machine.snapshots.iter().filter(|it| owns_snapshot(project, machine.uuid, it)).collect();
    // A tree is listed by branches, which says nothing of age. Of two of one moment the one
    // that is listed first is the parent.
    own.sort_by_key(|it| it.created_ms);
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: Uuid = Uuid::from_u128(7);

    fn mark() -> SnapshotMark {
        SnapshotMark {
            project: "acme".into(),
            key: ResourceKey::vm("web-1"),
            uuid: UUID,
            plan: "1a2b3c".to_owned(),
        }
    }

    fn seen(name: &str, description: &str) -> SnapshotSeen {
        SnapshotSeen {
            id: "snapshot-1".to_owned(),
            name: name.to_owned(),
            mark: snapshot_mark(description),
            ..SnapshotSeen::default()
        }
    }

    #[test]
    fn a_note_is_read_back() {
        assert_eq!(snapshot_mark(&snapshot_note(&mark())), Some(mark()));
        for other in ["", "before the upgrade", "novahost-snapshot/2 project=acme", LINE] {
            assert_eq!(snapshot_mark(other), None, "{other}");
        }
        let damaged = snapshot_note(&mark()).replace("uuid=", "uuid=x");
        assert_eq!(snapshot_mark(&damaged), None);
    }

    #[test]
    fn ours_is_what_has_our_name_and_names_this_machine() {
        let note = snapshot_note(&mark());
        let owns = |it: &SnapshotSeen| owns_snapshot(&"acme".into(), Some(UUID), it);
        assert!(owns(&seen("novahost-0123456789ab", &note)));
        assert!(!owns(&seen("novahost-0123456789ab", "")), "a name alone");
        assert!(!owns(&seen("by-hand", &note)), "a description alone");
        let other = seen("novahost-0123456789ab", &note.replace("=acme", "=other"));
        assert!(!owns(&other), "another project's");
        let copy = seen("novahost-0123456789ab", &note);
        assert!(!owns_snapshot(&"acme".into(), Some(Uuid::from_u128(8)), &copy), "another machine");
        assert!(!owns_snapshot(&"acme".into(), None, &copy));
    }

    #[test]
    fn a_name_follows_from_what_is_seen() {
        let key = ResourceKey::vm("web-1");
        let name = snapshot_name(&key, "base", &[]);
        assert_eq!(name, snapshot_name(&key, "base", &[]));
        assert_eq!(name.len(), SNAPSHOT_PREFIX.len() + DIGITS);
        let there = [seen("x", "")];
        let others = [
            snapshot_name(&ResourceKey::vm("web-2"), "base", &[]),
            snapshot_name(&key, "other", &[]),
            snapshot_name(&key, "base", &there),
        ];
        assert!(!others.contains(&name));
    }
}

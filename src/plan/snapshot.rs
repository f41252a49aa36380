//! Which snapshot of its template a linked clone hangs on.
//!
//! It is chosen in the plan, where people can see it, and named by its id, so that the
//! clone is never made from another one that was taken since.

use super::machines::Trouble;
use crate::model::{BirthSource, Code, Medium, ObservedMachine, SnapshotSeen};

/// The newest snapshot for a linked clone, none for a full one. A template without
/// snapshots blocks the birth: taking one is a change to a template that is not ours.
pub(super) fn linked_snapshot<'a>(
    birth: &BirthSource,
    template: &'a ObservedMachine,
) -> Result<Option<&'a SnapshotSeen>, Trouble> {
    match &birth.medium {
        Medium::Iso { .. } | Medium::Template { linked: false, .. } => Ok(None),
        Medium::Template { linked: true, .. } => match template.snapshots.last() {
            Some(newest) => Ok(Some(newest)),
            None => Err(Trouble {
                code: Code::TemplateSnapshot,
                message: format!(
                    "template {} has no snapshot, and a linked clone needs one to hang on",
                    template.id
                ),
                help: format!(
                    "take a snapshot of the template, or write `clone: full` in `images.{}`",
                    birth.image
                ),
                place: None,
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GuestOs, MachineSpec, MarkerState, PowerState};

    fn template(snapshots: &[&str]) -> ObservedMachine {
        let seen = |id: &&str| SnapshotSeen {
            id: (*id).to_owned(),
            name: "golden".to_owned(),
            with_memory: false,
        };
        ObservedMachine {
            id: "vm-9".into(),
            node: None,
            uuid: None,
            template: true,
            snapshots: snapshots.iter().map(seen).collect(),
            hot: [].into(),
            power: PowerState::Stopped,
            lock: None,
            marker: MarkerState::None,
            bulk_mark: false,
            spec: MachineSpec::default(),
            next: None,
            devices: Vec::new(),
            addresses: Vec::new(),
        }
    }

    fn birth(linked: bool) -> BirthSource {
        BirthSource {
            image: "debian".into(),
            medium: Medium::Template {
                id: Some("vm-9".into()),
                name: None,
                linked,
                snapshot: None,
            },
            firmware: None,
            takes_init: true,
            agent: true,
            os: GuestOs::Linux,
        }
    }

    fn chosen(linked: bool, snapshots: &[&str]) -> Result<Option<String>, Code> {
        linked_snapshot(&birth(linked), &template(snapshots))
            .map(|it| it.map(|it| it.id.clone()))
            .map_err(|trouble| trouble.code)
    }

    #[test]
    fn a_linked_clone_hangs_on_the_newest_snapshot_and_is_blocked_without_one() {
        assert_eq!(chosen(true, &["s-1", "s-2"]), Ok(Some("s-2".to_owned())));
        assert_eq!(chosen(true, &[]), Err(Code::TemplateSnapshot));
    }

    #[test]
    fn a_full_clone_needs_no_snapshot() {
        assert_eq!(chosen(false, &["s-1"]), Ok(None));
        assert_eq!(chosen(false, &[]), Ok(None));
    }
}

//! Which snapshot of its template a linked clone hangs on.
//!
//! It is chosen in the plan, where people can see it, and named by its id, so that the
//! clone is never made from another one that was taken since.

use super::machines::Trouble;
use crate::model::{BirthSource, Code, Medium, ObservedMachine, SnapshotSeen};

/// The snapshot for a linked clone, none for a full one: the one that the image names, else
/// the newest. A template without it blocks the birth: taking one is a change to a template
/// that is not ours.
pub(super) fn linked_snapshot<'a>(
    birth: &BirthSource,
    template: &'a ObservedMachine,
) -> Result<Option<&'a SnapshotSeen>, Trouble> {
    let Medium::Template { linked: true, snapshot, .. } = &birth.medium else { return Ok(None) };
    let all = &template.snapshots;
    let named = |name: &str| {
        let mut found = all.iter().filter(|it| it.name == name);
        (found.next(), found.next().is_some())
    };
    let trouble = |message: String, help: String| Trouble {
        code: Code::TemplateSnapshot,
        message,
        help,
        place: None,
    };
    let (found, is_double) = match snapshot {
        Some(name) => named(name),
        None => (all.last(), false),
    };
    let image = &birth.image;
    match (found, snapshot) {
        (Some(_), Some(name)) if is_double => Err(trouble(
            format!("template {} has several snapshots `{name}`", template.id),
            "rename all of them but one: their names are all that tells them apart".to_owned(),
        )),
        (Some(found), _) => Ok(Some(found)),
        (None, Some(name)) => Err(trouble(
            format!("template {} has no snapshot `{name}`", template.id),
            match all.is_empty() {
                true => format!("take it, or write `clone: full` in `images.{image}`"),
                false => format!("take it, or name another in `images.{image}`: {}", names(all)),
            },
        )),
        (None, None) => Err(trouble(
            format!(
                "template {} has no snapshot, and a linked clone needs one to hang on",
                template.id
            ),
            format!("take a snapshot of the template, or write `clone: full` in `images.{image}`"),
        )),
    }
}

fn names(all: &[SnapshotSeen]) -> String {
    let names: Vec<String> = all.iter().map(|it| format!("`{}`", it.name)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GuestOs, MachineSpec, MarkerState, PowerState};

    fn template(snapshots: &[&str]) -> ObservedMachine {
        let seen = |text: &&str| {
            let (id, name) = text.split_once('=').unwrap_or((text, "golden"));
            SnapshotSeen { id: id.to_owned(), name: name.to_owned(), ..SnapshotSeen::default() }
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
            known_labels: [].into(),
            setup_waits: false,
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
    fn the_named_snapshot_is_taken_and_no_other() {
        let named = |snapshots: &[&str]| {
            let mut birth = birth(true);
            if let Medium::Template { snapshot, .. } = &mut birth.medium {
                *snapshot = Some("base".to_owned());
            }
            linked_snapshot(&birth, &template(snapshots))
                .map(|it| it.map(|it| it.id.clone()))
                .map_err(|trouble| (trouble.code, trouble.help))
        };
        assert_eq!(named(&["s-1=base", "s-2=later"]), Ok(Some("s-1".to_owned())));
        let (code, help) = named(&["s-2=later"]).unwrap_err();
        assert_eq!(code, Code::TemplateSnapshot);
        assert!(help.contains("`later`"), "{help}");
        assert!(named(&["s-1=base", "s-2=base"]).is_err(), "which of two is meant nobody knows");
    }

    #[test]
    fn a_full_clone_needs_no_snapshot() {
        assert_eq!(chosen(false, &["s-1"]), Ok(None));
        assert_eq!(chosen(false, &[]), Ok(None));
    }
}

//! Whether a person's word is enough to take a machine over.

use super::{Binding, MarkerKey, binding};
use crate::model::{MarkerState, ObservedMachine, ProjectName, ResourceKey, Words};

/// Why a machine cannot be adopted, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAdoptable {
    /// Why, as the end of "106 on paris …".
    pub why: String,
    /// What to do about it.
    pub way_out: WayOut,
}

/// What to do about a machine that cannot be adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WayOut {
    /// A machine is to be made from this template.
    MakeFrom,
    /// Its marker is to be mended or removed.
    Mend,
    /// The other project is to give it up, under this key.
    GiveUp(ResourceKey),
    /// It is this key already, and can be renamed.
    Rename(ResourceKey),
    /// It is to get a machine uuid.
    Identity,
}

impl NotAdoptable {
    /// What to do, in the words of the machine's product.
    pub fn help(&self, words: &Words) -> String {
        match &self.way_out {
            WayOut::MakeFrom => "make a machine from it with `image:`".to_owned(),
            WayOut::Mend => format!(
                "put its lines back as they were, or remove them from its {}",
                words.marker_home
            ),
            WayOut::GiveUp(key) => format!(
                "let that project give it up first: remove its entry there, then `novahost forget {key}`"
            ),
            WayOut::Rename(key) => {
                format!("write `was: {}` instead to rename it, or forget that key first", key.name)
            }
            WayOut::Identity => {
                format!("give it one ({}), at a time when it may restart", words.uuid_home)
            }
        }
    }
}

/// Judges one machine that was read in full. A marker that names our project and binds
/// nothing is no reason against it: whoever wrote `adopt:` says which copy is the true
/// one.
///
/// # Errors
/// When it is a template, has no identity to bind to, or is somebody's.
pub fn adoptable(
    project: &ProjectName,
    key: &ResourceKey,
    machine: &ObservedMachine,
    marker_key: Option<&MarkerKey>,
) -> Result<(), NotAdoptable> {
    let no = |why: String, way_out| Err(NotAdoptable { why, way_out });
    if machine.template {
        return no("is a template".to_owned(), WayOut::MakeFrom);
    }
    match &machine.marker {
        MarkerState::None => {}
        MarkerState::Garbled(_) => {
            return no("has a marker that cannot be read".to_owned(), WayOut::Mend);
        }
        MarkerState::Found(marker) if marker.project != *project => {
            return no(
                format!("belongs to project `{}`, as {}", marker.project, marker.key),
                WayOut::GiveUp(marker.key.clone()),
            );
        }
        MarkerState::Found(marker) if marker.key != *key => {
            let bound = binding(project, &marker.key, machine, marker_key);
            if !matches!(bound, Binding::NotOurs(_)) {
                return no(
                    format!("is {} of this project already", marker.key),
                    WayOut::Rename(marker.key.clone()),
                );
            }
        }
        MarkerState::Found(_) => {}
    }
    if machine.uuid.is_none() {
        return no(
            "has no machine uuid, so that a marker could not be bound to it".to_owned(),
            WayOut::Identity,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeviceMap, MachineSpec, Marker, PowerState, Stage};
    use crate::ownership::{intent_id, machine_uuid};

    fn project() -> ProjectName {
        "acme".into()
    }

    fn key() -> ResourceKey {
        ResourceKey::vm("web")
    }

    fn marked(project: &str, key: &ResourceKey, id: &str) -> ObservedMachine {
        let project: ProjectName = project.into();
        let intent = intent_id("plan", key);
        let uuid = machine_uuid(&project, key, intent);
        let marker = Marker {
            project,
            key: key.clone(),
            uuid: Some(uuid),
            id: Some(id.into()),
            stage: Stage::Ready,
            intent,
            init: None,
            protect: false,
            mac: None,
            map: DeviceMap::default(),
        };
        ObservedMachine {
            id: "106".into(),
            node: None,
            uuid: Some(uuid),
            template: false,
            snapshots: Vec::new(),
            hot: [].into(),
            power: PowerState::Running,
            lock: None,
            marker: MarkerState::Found(Box::new(marker)),
            bulk_mark: false,
            spec: MachineSpec::default(),
            next: None,
            devices: Vec::new(),
            known_labels: [].into(),
            setup_waits: false,
            addresses: Vec::new(),
        }
    }

    fn judge(machine: &ObservedMachine) -> Result<(), String> {
        let words = Words {
            id_setting: None,
            id_range: "",
            marker_home: "notes",
            uuid_home: "in its settings",
        };
        adoptable(&project(), &key(), machine, None).map_err(|it| it.help(&words))
    }

    #[test]
    fn what_nobody_marked_can_be_adopted_and_a_template_cannot() {
        let mut it = marked("acme", &key(), "106");
        it.marker = MarkerState::None;
        assert_eq!(judge(&it), Ok(()));
        it.template = true;
        assert!(judge(&it).is_err());
        it.template = false;
        it.uuid = None;
        assert!(judge(&it).unwrap_err().contains("in its settings"));
    }

    #[test]
    fn a_marker_of_this_project_that_does_not_bind_is_no_obstacle() {
        // Moved, or a copy: it names another id than its own.
        assert_eq!(judge(&marked("acme", &key(), "105")), Ok(()));
        let other = ResourceKey::vm("other");
        assert_eq!(judge(&marked("acme", &other, "105")), Ok(()));
    }

    #[test]
    fn what_is_somebodys_says_how_it_is_given_up() {
        let foreign = judge(&marked("other-team", &key(), "105")).unwrap_err();
        assert!(foreign.contains("novahost forget vm/web"), "{foreign}");
        let bound = judge(&marked("acme", &ResourceKey::vm("other"), "106")).unwrap_err();
        assert!(bound.contains("was: other"), "{bound}");
        let mut garbled = marked("acme", &key(), "106");
        garbled.marker = MarkerState::Garbled("novahost/9".into());
        assert!(judge(&garbled).is_err());
    }
}

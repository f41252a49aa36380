//! Whether a fresh read shows the object that an action means. Pure.

use crate::{
    model::{
        FreshObject, Identity, Marker, ObservedPool, PartSeen, PartState, ProjectName, ResourceKey,
        Stage, Target,
    },
    ownership::{Binding, MarkerKey, binding, machine_uuid},
};

/// What a fresh read shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ours {
    /// The object, and how far its life has come.
    Yes {
        /// Its stage.
        stage: Stage,
        /// Whose it is, by its own marker.
        identity: Identity,
    },
    /// Nothing is there.
    Absent,
    /// Something is there that is not ours, and why.
    No(String),
    /// Something is there that cannot be read, and why.
    Unreadable(String),
}

/// Judges a fresh read against one entry.
pub(super) fn ours(
    project: &ProjectName,
    target: &Target,
    object: &FreshObject,
    marker_key: Option<&MarkerKey>,
) -> Ours {
    let key = &target.key;
    match object {
        FreshObject::Absent => Ours::Absent,
        FreshObject::Unreadable(why) => Ours::Unreadable(why.clone()),
        FreshObject::Pool(pool) => match pool_marker(project, target, pool, marker_key) {
            Ok(marker) => Ours::Yes { stage: marker.stage, identity: whose(project, key, marker) },
            Err(why) => Ours::No(why),
        },
        FreshObject::Spread(spread) => match &spread.foreign {
            _ if spread.key != *key => Ours::No(format!("it is {}", spread.key)),
            Some(why) => Ours::No(why.clone()),
            None => {
                let (project, key, intent) = (project.clone(), key.clone(), uuid::Uuid::nil());
                let identity = Identity { project, key, intent, uuid: None };
                Ours::Yes { stage: Stage::Ready, identity }
            }
        },
        FreshObject::Machine(machine) => {
            if let Some(id) = target.id()
                && machine.id != *id
            {
                return Ours::No(format!("{} was read instead of {id}", machine.id));
            }
            if machine.template {
                return Ours::No("it is a template now".to_owned());
            }
            let stage = match binding(project, key, machine, marker_key) {
                Binding::Ready => Stage::Ready,
                Binding::New => Stage::New,
                Binding::Deleting => Stage::Deleting,
                Binding::NotOurs(why) => return Ours::No(why),
            };
            match machine.marker.found() {
                Some(marker) => Ours::Yes { stage, identity: whose(project, key, marker) },
                None => Ours::No("it has no marker".to_owned()),
            }
        }
    }
}

fn whose(project: &ProjectName, key: &ResourceKey, marker: &Marker) -> Identity {
    Identity {
        project: project.clone(),
        key: key.clone(),
        intent: marker.intent,
        uuid: marker.uuid.or_else(|| match key.kind {
            crate::model::Kind::Vm => Some(machine_uuid(project, key, marker.intent)),
            crate::model::Kind::Pool | crate::model::Kind::Spread => None,
        }),
    }
}

/// The marker of one part of a pool, when it makes the part ours.
pub(super) fn part_marker<'a>(
    project: &ProjectName,
    key: &ResourceKey,
    part: &'a PartSeen,
    marker_key: Option<&MarkerKey>,
) -> Result<&'a Marker, String> {
    let marker = part.marker.found().ok_or("it has no marker that can be read")?;
    if marker.project != *project {
        return Err(format!("it belongs to project `{}`", marker.project));
    }
    if marker.key != *key {
        return Err(format!("its marker says `{}`", marker.key));
    }
    if part.state() != PartState::Marked {
        return Err("its marker was copied from another object".to_owned());
    }
    if marker_key.is_some_and(|secret| !secret.verifies(marker)) {
        return Err("the signature of its marker is wrong".to_owned());
    }
    Ok(marker)
}

fn pool_marker<'a>(
    project: &ProjectName,
    target: &Target,
    pool: &'a ObservedPool,
    marker_key: Option<&MarkerKey>,
) -> Result<&'a Marker, String> {
    if !pool.parts.is_empty() {
        let mut parts = pool.parts.values();
        let ours = parts.find_map(|it| part_marker(project, &target.key, it, marker_key).ok());
        return ours.ok_or_else(|| "none of its parts bears our marker".to_owned());
    }
    let marker = pool.marker.found().ok_or("it has no marker that can be read")?;
    if marker.project != *project {
        return Err(format!("it belongs to project `{}`", marker.project));
    }
    if marker.key != target.key {
        return Err(format!("its marker says `{}`", marker.key));
    }
    // A pool's name is its native id, and it cannot be renamed: a marker that names
    // none is as good.
    if marker.id.as_ref().is_some_and(|id| Some(id) != target.id()) {
        return Err("its marker names another id".to_owned());
    }
    if marker_key.is_some_and(|secret| !secret.verifies(marker)) {
        return Err("the signature of its marker is wrong".to_owned());
    }
    Ok(marker)
}

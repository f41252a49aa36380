//! Pools of one configuration that have a folder or a resource pool in common.
//!
//! Pure. One object bears one mark, so it is one pool's own, and to the others it is on the
//! way to theirs: they use it, make it where it is missing, and leave it.

use super::{
    places::{PoolPlace, path_names, share_fits},
    pools::PoolReader,
    vim::MoRef,
};
use crate::model::{Kind, Name, PartKind};

impl PoolReader<'_> {
    /// Whose own a folder or a resource pool is of those pools that end in it: that of the one
    /// which marked it, else of the first by name, so that every run says the same.
    pub(super) fn owner(
        &self,
        kind: PartKind,
        names: &[String],
        object: Option<&MoRef>,
    ) -> Option<&Name> {
        let ends_here = || {
            let pools = self.pools.iter().filter(|(_, place)| ends_in(place, kind, names));
            pools.map(|(name, _)| name)
        };
        let marker = object.map(|it| (it, self.attributes.marker(self.places, it)));
        let marked = marker.as_ref().and_then(|(object, state)| {
            let marker = state.found()?;
            let is_ours = Some(&marker.project) == self.project
                && marker.key.kind == Kind::Pool
                && marker.id.as_ref().is_some_and(|id| id.as_str() == object.value);
            is_ours.then_some(&marker.key.name)
        });
        let by_mark = marked.and_then(|name| ends_here().find(|it| *it == name));
        by_mark.or_else(|| ends_here().next())
    }
}

fn path_of(place: &PoolPlace, kind: PartKind) -> Option<&str> {
    match kind.as_own() {
        PartKind::Group => place.folder.as_deref(),
        PartKind::Share => place.resource_pool.as_deref(),
        PartKind::Mark | PartKind::GroupAbove | PartKind::ShareAbove => None,
    }
}

/// Whether a place's own folder or resource pool has these names on the way to it. One that
/// is told by the end of its path may be made at the root.
fn ends_in(place: &PoolPlace, kind: PartKind, names: &[String]) -> bool {
    let Some(path) = path_of(place, kind) else { return false };
    path_names(path) == names || (kind == PartKind::Share && share_fits(path, names))
}

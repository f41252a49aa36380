//! Pools of one configuration that have a folder or a resource pool in common.
//!
//! Pure. One object bears one mark, so it is one pool's own, and to the others it is on the
//! way to theirs: they use it, make it where it is missing, and leave it.

use super::{
    places::{PoolPlace, path_names},
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
            let pools = self.pools.iter().filter(|(_, it)| self.ends_in(it, (kind, names), object));
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

    /// Whether a place's own folder or resource pool is this one, which has these names on the
    /// way to it. A resource pool that is told by the end of its path is the one that fits, and
    /// made at the root where none does; where two do, nothing is done with the place.
    fn ends_in(
        &self,
        place: &PoolPlace,
        (kind, names): (PartKind, &[String]),
        object: Option<&MoRef>,
    ) -> bool {
        let path = match kind.as_own() {
            PartKind::Group => place.folder.as_deref(),
            PartKind::Share => place.resource_pool.as_deref(),
            PartKind::Mark | PartKind::GroupAbove | PartKind::ShareAbove => None,
        };
        let wanted = path.map(path_names).unwrap_or_default();
        let Some(path) = path.filter(|_| !wanted.is_empty() && wanted.last() == names.last())
        else {
            return false;
        };
        if kind.as_own() == PartKind::Group {
            return wanted == names;
        }
        let mut is_anywhere = false;
        for node in self.places.nodes.values() {
            match self.places.share(node, path) {
                Ok(Some((found, _))) if Some(&found) == object => return true,
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => is_anywhere = true,
            }
        }
        !is_anywhere && wanted == names
    }
}

//! Pools of a vCenter: each is a folder, for names and rights, and a resource pool, for what
//! its machines may use. Which of them are there, which bear our mark, and why what is missing
//! cannot be made.
//!
//! Pure: read from the index of places. A mark is the value of a custom attribute, since
//! neither folders nor resource pools have a comment; it names the object that it is on, so
//! that a copied one marks nothing.

use super::{
    places::{NodePlace, Places, PoolPlace, escape, path_names},
    rights::Roles,
    vim::{MoRef, Node},
};
use crate::{
    model::{
        GrantRole, Grantee, Hindrance, Kind, MarkerState, Name, NativeId, ObservedPool, PartKind,
        PartSeen, PoolPart, ProjectName, ResourceKey,
    },
    ownership,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The attribute that holds our mark.
pub(super) const MARK: &str = "novahost.id";
/// The attribute that holds a pool's comment.
pub(super) const COMMENT: &str = "novahost.comment";

/// The custom attributes that are ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attributes {
    /// The id of what keeps them.
    pub manager: String,
    /// The key of each, by name. Those that are defined for one kind of object alone are
    /// not usable, and stand below.
    pub keys: BTreeMap<String, i64>,
    /// Names of ours that somebody defined for one kind of object alone.
    pub narrow: BTreeSet<String>,
}

/// The form of `Fresh::raw` of a pool: what its calls name beside its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPool {
    /// The custom attributes.
    pub attributes: Attributes,
    /// The id of what keeps roles and permissions.
    pub authorization: String,
    /// The numbers of our roles that are there.
    pub roles: BTreeMap<GrantRole, i64>,
    /// Those who have something on its parts, as the server spells them.
    pub spelled: BTreeMap<Grantee, String>,
}

impl Attributes {
    /// Reads the list of definitions.
    pub fn of(manager: &MoRef, list: Option<&Node>) -> Self {
        let mut found = Self { manager: manager.value.clone(), ..Self::default() };
        for one in list.map_or(&[][..], |it| it.children.as_slice()) {
            let (Some(name), Some(key)) = (one.text_at("name"), one.i64_at("key")) else {
                continue;
            };
            if ![MARK, COMMENT].contains(&name) {
                continue;
            }
            match one.word_at("managedObjectType") {
                None => drop(found.keys.insert(name.to_owned(), key)),
                Some(_) => drop(found.narrow.insert(name.to_owned())),
            }
        }
        found
    }

    fn value<'a>(&self, places: &'a Places, object: &MoRef, name: &str) -> Option<&'a str> {
        let key = self.keys.get(name)?;
        places.custom(object, *key).filter(|it| !it.is_empty())
    }

    pub fn marker(&self, places: &Places, object: &MoRef) -> MarkerState {
        match self.value(places, object, MARK) {
            Some(text) => ownership::parse(text),
            None => MarkerState::None,
        }
    }
}

/// What pools are looked for with.
#[derive(Clone, Copy)]
pub(super) struct PoolReader<'a> {
    pub places: &'a Places,
    pub attributes: &'a Attributes,
    /// Whose mark counts as ours.
    pub project: Option<&'a ProjectName>,
    /// What the pools of the configuration are here.
    pub pools: &'a BTreeMap<Name, PoolPlace>,
    pub datacenter: Option<&'a str>,
    /// The folder of machines in no pool, below the datacenter's.
    pub folder: &'a str,
    /// The cluster that is preferred when nothing else decides.
    pub cluster: Option<&'a str>,
}

impl PoolReader<'_> {
    /// Every pool that the configuration names or that bears our mark.
    pub fn all(&self) -> BTreeMap<Name, ObservedPool> {
        let marked = self.marked();
        let names: BTreeSet<&Name> = self.pools.keys().chain(marked.keys()).collect();
        let one = |name: &Name| Some((name.clone(), self.build(name, &marked)?));
        names.into_iter().filter_map(one).collect()
    }

    /// One pool.
    pub fn one(&self, name: &Name) -> Option<ObservedPool> {
        self.build(name, &self.marked())
    }

    /// Folders and resource pools that bear a mark of this project which names them.
    fn marked(&self) -> BTreeMap<Name, Vec<MoRef>> {
        let mut found: BTreeMap<Name, Vec<MoRef>> = BTreeMap::new();
        for object in self.places.with_customs() {
            let state = self.attributes.marker(self.places, object);
            let Some(marker) = state.found() else { continue };
            let names_it = marker.id.as_ref().is_some_and(|id| id.as_str() == object.value);
            if names_it && Some(&marker.project) == self.project && marker.key.kind == Kind::Pool {
                found.entry(marker.key.name.clone()).or_default().push(object.clone());
            }
        }
        found
    }

    fn build(&self, name: &Name, marked: &BTreeMap<Name, Vec<MoRef>>) -> Option<ObservedPool> {
        let datacenter = self.places.datacenter(self.datacenter).ok()?;
        let mut pool = ObservedPool::default();
        if let Some(place) = self.pools.get(name) {
            self.add_folders(&datacenter, (name, place), &mut pool);
            self.add_shares((name, place), &mut pool);
        }
        let known: BTreeSet<NativeId> =
            pool.parts.values().filter_map(|part| part.id.clone()).collect();
        let strays = marked.get(name).into_iter().flatten();
        for object in strays.filter(|it| !known.contains(it.value.as_str())) {
            let seen = self.seen(Some(object), self.takes_the_rest(object));
            pool.parts.insert(self.part_of(object), seen);
        }
        if pool.parts.is_empty() {
            // A pool that is nothing of its own here is the place of machines in none.
            return self.pools.contains_key(name).then_some(pool);
        }
        for attribute in [MARK, COMMENT] {
            let key = self.attributes.keys.get(attribute);
            let id = key.map(|key| key.to_string().as_str().into());
            let seen = PartSeen { id, named: true, ..PartSeen::default() };
            pool.parts.insert(PoolPart::new(PartKind::Mark, attribute), seen);
        }
        let ours = self.project.and_then(|project| {
            pool.parts
                .values()
                .find(|part| part.is_marked_by(project, &ResourceKey::pool(name.clone())))
        });
        if let Some(part) = ours {
            pool.marker = part.marker.clone();
        }
        pool.comment = self.comment(&pool, name).unwrap_or_default();
        Some(pool)
    }

    /// Whether machines in no pool are made in it, so that the configuration names it without
    /// any pool.
    fn takes_the_rest(&self, object: &MoRef) -> bool {
        object.kind == "Folder"
            && self.places.folder_path(object).is_some_and(|path| path == path_names(self.folder))
    }

    fn comment(&self, pool: &ObservedPool, name: &Name) -> Option<String> {
        let (part, id) = bearer(pool, self.project?, &ResourceKey::pool(name.clone()))?;
        let object = reference(part.kind, id);
        self.attributes.value(self.places, &object, COMMENT).map(str::to_owned)
    }

    fn seen(&self, object: Option<&MoRef>, named: bool) -> PartSeen {
        PartSeen {
            id: object.map(|it| it.value.as_str().into()),
            marker: object.map(|it| self.attributes.marker(self.places, it)).unwrap_or_default(),
            named,
            empty: object.is_some_and(|it| self.places.is_childless(it)),
            grants: BTreeSet::new(),
        }
    }

    /// What an object with our mark is a part as.
    fn part_of(&self, object: &MoRef) -> PoolPart {
        let joined = |names: Vec<String>| join(&names);
        if object.kind == "Folder" {
            let path = self.places.folder_path(object).map(joined);
            return PoolPart::new(PartKind::Group, path.unwrap_or_else(|| object.value.clone()));
        }
        let at = self.places.node_of_pool(object).and_then(|node| {
            let root = self.places.nodes.get(node)?.root_pool.as_ref()?;
            Some(share_name(node.as_str(), &join(&self.places.pool_path(object, root)?)))
        });
        PoolPart::new(PartKind::Share, at.unwrap_or_else(|| object.value.clone()))
    }

    fn add_folders(
        &self,
        datacenter: &MoRef,
        (pool_name, place): (&Name, &PoolPlace),
        pool: &mut ObservedPool,
    ) {
        let Some(path) = &place.folder else { return };
        let names = path_names(path);
        let mut at = self.places.vm_folder(datacenter);
        for (index, name) in names.iter().enumerate() {
            at = at.and_then(|parent| self.places.child(&parent, "Folder", name));
            let is_own = index + 1 == names.len()
                && self.owner(PartKind::Group, &names, at.as_ref()) == Some(pool_name);
            let kind = if is_own { PartKind::Group } else { PartKind::GroupAbove };
            let seen = self.seen(at.as_ref(), true);
            pool.parts.insert(PoolPart::new(kind, join(&names[..=index])), seen);
        }
    }

    fn add_shares(&self, (name, place): (&Name, &PoolPlace), pool: &mut ObservedPool) {
        let Some(path) = &place.resource_pool else { return };
        let mut found: BTreeMap<MoRef, (String, Vec<String>)> = BTreeMap::new();
        for (node, at) in &self.places.nodes {
            match self.places.share(at, path) {
                Ok(Some((share, names))) => {
                    found.entry(share).or_insert((node.to_string(), names));
                }
                Ok(None) => {}
                Err(why) => {
                    let help = "write its path from the cluster's root, beginning with `/`";
                    pool.hindrance = Some(Hindrance { why, help: help.to_owned() });
                }
            }
        }
        for (node, names) in found.values() {
            let root = self.places.nodes.get(node.as_str()).and_then(|it| it.root_pool.clone());
            self.add_way(name, (root, node, names), pool);
        }
        if !found.is_empty() || pool.hindrance.is_some() {
            return;
        }
        let (node, at) = match self.home() {
            Ok(home) => home,
            Err(hindrance) => {
                pool.hindrance = Some(hindrance);
                let part = PoolPart::new(PartKind::Share, join(&path_names(path)));
                pool.parts.insert(part, self.seen(None, true));
                return;
            }
        };
        self.add_way(name, (at.root_pool.clone(), node, &path_names(path)), pool);
    }

    /// Resource pools from a root to the pool's own.
    fn add_way(
        &self,
        pool_name: &Name,
        (root, node, names): (Option<MoRef>, &str, &[String]),
        pool: &mut ObservedPool,
    ) {
        let mut at = root;
        for (index, name) in names.iter().enumerate() {
            at = at.and_then(|parent| self.places.child(&parent, "ResourcePool", name));
            let is_own = index + 1 == names.len()
                && self.owner(PartKind::Share, names, at.as_ref()) == Some(pool_name);
            let kind = if is_own { PartKind::Share } else { PartKind::ShareAbove };
            let part = PoolPart::new(kind, share_name(node, &join(&names[..=index])));
            pool.parts.insert(part, self.seen(at.as_ref(), true));
        }
    }

    /// Where a resource pool is made that is nowhere: in the preferred cluster, or the only
    /// one. Only clusters that spread load by themselves take resource pools.
    fn home(&self) -> Result<(&str, &NodePlace), Hindrance> {
        let hindrance = |why: String, help: &str| Hindrance { why, help: help.to_owned() };
        let mut clusters = self.places.nodes.iter().filter(|(_, it)| it.takes_pools);
        if let Some(wanted) = self.cluster {
            let found = clusters.find(|(name, _)| name.as_str() == wanted);
            return found.map(|(name, it)| (name.as_str(), it)).ok_or_else(|| {
                let why = format!("`{wanted}` is no cluster with DRS, and takes no resource pools");
                let help = "turn DRS on, name another cluster in `defaults.cluster`, or write \
                            `folder` without `resource_pool`";
                hindrance(why, help)
            });
        }
        match (clusters.next(), clusters.next()) {
            (Some((name, it)), None) => Ok((name.as_str(), it)),
            (None, _) => {
                let why = "no cluster with DRS is there, and nothing else takes resource pools";
                let help = "turn DRS on, or write `folder` without `resource_pool`";
                Err(hindrance(why.to_owned(), help))
            }
            (Some((one, _)), Some((two, _))) => {
                let why = format!("a resource pool could be made in `{one}`, `{two}`, or more");
                let help = "name the cluster in `defaults.cluster`, or make it there by hand";
                Err(hindrance(why, help))
            }
        }
    }

    /// Why what is missing of a pool cannot be made by this account. `held` are its roles on
    /// the root of everything.
    pub fn hinder(&self, pool: &mut ObservedPool, roles: &Roles, held: &[i64]) {
        let lacks = |roles_there: &[i64], privilege: &str| {
            !roles_there.is_empty() && !roles_there.iter().any(|it| roles.gives(*it, privilege))
        };
        let missing = |kind: PartKind| {
            pool.parts.iter().any(|(part, it)| part.kind == kind && it.named && it.id.is_none())
        };
        let (folder, share) = (missing(PartKind::Group), missing(PartKind::Share));
        if pool.hindrance.is_some() || (!folder && !share) {
            return;
        }
        let mut wanted: Vec<&str> = Vec::new();
        if let Some(name) = self.attributes.narrow.first() {
            pool.hindrance = Some(Hindrance {
                why: format!("the custom attribute `{name}` is defined for one kind of object"),
                help: "remove that definition, or make it one for all kinds (Global)".to_owned(),
            });
            return;
        }
        if !self.attributes.keys.contains_key(MARK) && lacks(held, "Global.ManageCustomFields") {
            wanted.push("Global.ManageCustomFields on the root folder");
        }
        let parents = [
            (folder, PartKind::GroupAbove, "Folder.Create", "Folder.Create on the folder above"),
            (
                share,
                PartKind::ShareAbove,
                "Resource.CreatePool",
                "Resource.CreatePool on the cluster",
            ),
        ];
        for (_, kind, privilege, words) in parents.into_iter().filter(|it| it.0) {
            let Some(parent) = self.nearest(pool, kind) else { continue };
            let there = self.places.roles(&parent);
            if lacks(there, privilege) {
                wanted.push(words);
            }
            if lacks(there, "Global.SetCustomField") {
                wanted.push("Global.SetCustomField there");
            }
        }
        if !wanted.is_empty() {
            // Both kinds of parts may lack the same one, with another between the two.
            let wanted: BTreeSet<&str> = wanted.into_iter().collect();
            let wanted: Vec<&str> = wanted.into_iter().collect();
            pool.hindrance = Some(Hindrance {
                why: format!("the account may not make it as ours: it lacks {}", wanted.join(", ")),
                help: "grant these, or make what is missing by hand: then it is used for \
                       membership only"
                    .to_owned(),
            });
        }
    }

    /// The object in which the first missing one of a kind is made.
    fn nearest(&self, pool: &ObservedPool, above: PartKind) -> Option<MoRef> {
        let there = pool.parts.iter().filter(|(part, it)| part.kind == above && it.named);
        let last = there.filter_map(|(_, it)| it.id.as_ref()).next_back();
        match (last, above) {
            (Some(id), _) => Some(reference(above, id)),
            (None, PartKind::ShareAbove) => self.home().ok()?.1.root_pool.clone(),
            (None, _) => {
                let datacenter = self.places.datacenter(self.datacenter).ok()?;
                self.places.vm_folder(&datacenter)
            }
        }
    }
}

/// The part that a pool's comment is written on: the first that bears this project's and this
/// pool's mark. Others may have marked one that the configuration names, too, and what is
/// written on that would stand in their pool.
pub(super) fn bearer<'a>(
    pool: &'a ObservedPool,
    project: &ProjectName,
    key: &ResourceKey,
) -> Option<(&'a PoolPart, &'a NativeId)> {
    let ours = pool.parts.iter().find(|(_, it)| it.is_marked_by(project, key));
    ours.and_then(|(part, it)| Some((part, it.id.as_ref()?)))
}

/// The object that a part is.
pub(super) fn reference(kind: PartKind, id: &NativeId) -> MoRef {
    let kind = match kind {
        PartKind::Group | PartKind::GroupAbove => "Folder",
        PartKind::Share | PartKind::ShareAbove => "ResourcePool",
        PartKind::Mark => "CustomFieldsManager",
    };
    MoRef::new(kind, id.as_str())
}

fn join(names: &[String]) -> String {
    names.iter().map(|name| escape(name)).collect::<Vec<_>>().join("/")
}

fn share_name(node: &str, path: &str) -> String {
    format!("{}/{path}", escape(node))
}

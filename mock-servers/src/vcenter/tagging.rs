//! Categories, tags, and what bears them; with sessions of their own, since another service
//! keeps them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::server::Core;
use super::world::World;

/// What the service of tags keeps.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tagging {
    /// Categories, by URN.
    pub categories: BTreeMap<String, Category>,
    /// Tags, by URN.
    pub tags: BTreeMap<String, Tag>,
    /// Tag and object, by URN and managed object id.
    pub attached: BTreeSet<(String, String)>,
    /// Sessions, by token.
    pub sessions: BTreeMap<String, TagSession>,
}

/// A category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// Its name; no two have the same.
    pub name: String,
    /// For people.
    pub description: String,
    /// Whether an object can have several of its tags.
    pub multiple: bool,
    /// Kinds of objects that can have its tags; empty for all.
    pub kinds: BTreeSet<String>,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// Its name; no two of a category have the same.
    pub name: String,
    /// For people.
    pub description: String,
    /// Its category.
    pub category: String,
}

/// A session of this service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TagSession {
    /// Who, as `DOMAIN\name`.
    pub user: String,
    /// When it was last used.
    pub active_ms: u64,
}

/// Why something is not done: the kind of error, and its words.
#[derive(Debug, Clone)]
pub(crate) struct No(pub(crate) u16, pub(crate) &'static str, pub(crate) String);

/// Privileges of this service.
pub(crate) const ATTACH: &str = "InventoryService.Tagging.AttachTag";
pub(crate) const CREATE_TAG: &str = "InventoryService.Tagging.CreateTag";
pub(crate) const CREATE_CATEGORY: &str = "InventoryService.Tagging.CreateCategory";

impl No {
    fn missing(what: &str) -> Self {
        Self(404, "not_found", format!("{what} was not found."))
    }

    fn invalid(text: impl Into<String>) -> Self {
        Self(400, "invalid_argument", text.into())
    }

    fn exists(name: &str) -> Self {
        Self(400, "already_exists", format!("'{name}' already exists."))
    }

    fn unauthorized(privilege: &str) -> Self {
        Self(403, "unauthorized", format!("The privilege '{privilege}' is missing."))
    }
}

impl World {
    /// Makes a category, whoever may; tells its URN.
    pub fn add_category(&mut self, name: &str, multiple: bool, kinds: &[&str]) -> String {
        let category = Category {
            name: name.to_owned(),
            description: String::new(),
            multiple,
            kinds: kinds.iter().map(|it| (*it).to_owned()).collect(),
        };
        let id = self.urn("Category");
        self.tagging.categories.insert(id.clone(), category);
        id
    }

    /// Makes a tag, whoever may; tells its URN.
    pub fn add_tag(&mut self, category: &str, name: &str) -> String {
        let tag = Tag {
            name: name.to_owned(),
            description: String::new(),
            category: category.to_owned(),
        };
        let id = self.urn("Tag");
        self.tagging.tags.insert(id.clone(), tag);
        id
    }

    fn urn(&mut self, kind: &str) -> String {
        let uuid = self.new_uuid();
        format!("urn:vmomi:InventoryService{kind}:{uuid}:GLOBAL")
    }

    /// What an object bears, as `category=tag`.
    #[must_use]
    pub fn tags_of(&self, object: &str) -> BTreeSet<String> {
        let tagging = &self.tagging;
        let mine = tagging.attached.iter().filter(|(_, on)| on == object);
        mine.filter_map(|(tag, _)| {
            let tag = tagging.tags.get(tag)?;
            let category = tagging.categories.get(&tag.category)?;
            Some(format!("{}={}", category.name, tag.name))
        })
        .collect()
    }
}

impl Core {
    fn same(&self, one: &str, other: &str) -> bool {
        match self.switches.tags_by_case {
            true => one == other,
            false => one.eq_ignore_ascii_case(other),
        }
    }

    fn sees_tags(&self, user: &str) -> bool {
        self.world.may(user, self.world.root(), "System.Read")
    }

    fn need_of_root(&self, user: &str, privilege: &str) -> Result<(), No> {
        match self.world.may(user, self.world.root(), privilege) {
            true => Ok(()),
            false => Err(No::unauthorized(privilege)),
        }
    }

    /// Begins a session, when the password is right and there is room.
    pub(crate) fn tag_log_in(&mut self, name: &str, password: &str) -> Result<String, u16> {
        self.tag_expire();
        let found = self.world.access.user(name);
        let right = found.filter(|(_, it)| it.password == password && !password.is_empty());
        let Some(user) = right.map(|(user, _)| user.to_owned()) else { return Err(401) };
        if self.world.tagging.sessions.len() >= self.world.sessions_max {
            return Err(503);
        }
        let token = self.world.new_uuid().replace('-', "");
        let active_ms = self.now_ms();
        self.cookies.insert(token.clone(), user.clone());
        self.world.tagging.sessions.insert(token.clone(), TagSession { user, active_ms });
        Ok(token)
    }

    /// The user of a session that still lives; using it keeps it alive.
    pub(crate) fn tag_user(&mut self, token: &str) -> Option<String> {
        self.tag_expire();
        let now = self.now_ms();
        let session = self.world.tagging.sessions.get_mut(token)?;
        session.active_ms = now;
        Some(session.user.clone())
    }

    /// Ends a session.
    pub(crate) fn tag_log_out(&mut self, token: &str) {
        self.world.tagging.sessions.remove(token);
    }

    /// Ends sessions that have rested for too long.
    pub(crate) fn tag_expire(&mut self) {
        let now = self.now_ms();
        let idle = u64::try_from(self.timing.session_idle.as_millis()).unwrap_or(u64::MAX);
        self.world.tagging.sessions.retain(|_, it| now < it.active_ms.saturating_add(idle));
    }

    /// The URNs of all categories that somebody sees.
    pub(crate) fn categories(&self, user: &str) -> Vec<String> {
        match self.sees_tags(user) {
            true => self.world.tagging.categories.keys().cloned().collect(),
            false => Vec::new(),
        }
    }

    /// One category.
    pub(crate) fn category(&self, user: &str, id: &str) -> Result<&Category, No> {
        let found = self.world.tagging.categories.get(id).filter(|_| self.sees_tags(user));
        found.ok_or_else(|| No::missing(id))
    }

    /// One tag.
    pub(crate) fn tag(&self, user: &str, id: &str) -> Result<&Tag, No> {
        let found = self.world.tagging.tags.get(id).filter(|_| self.sees_tags(user));
        found.ok_or_else(|| No::missing(id))
    }

    /// The URNs of the tags of a category.
    pub(crate) fn tags_of_category(&self, user: &str, id: &str) -> Result<Vec<String>, No> {
        self.category(user, id)?;
        let here = self.world.tagging.tags.iter().filter(|(_, tag)| tag.category == id);
        Ok(here.map(|(id, _)| id.clone()).collect())
    }

    /// The tags of an object, as far as somebody sees both.
    pub(crate) fn tags_on(&self, user: &str, object: &str) -> Vec<String> {
        let sees = self.sees_tags(user) && self.world.may(user, object, "System.Read");
        let mine = self.world.tagging.attached.iter().filter(|(_, on)| on == object && sees);
        mine.map(|(tag, _)| tag.clone()).collect()
    }

    /// Makes a category.
    pub(crate) fn make_category(&mut self, user: &str, new: Category) -> Result<String, No> {
        self.need_of_root(user, CREATE_CATEGORY)?;
        if new.name.is_empty() || new.name.len() > 256 {
            return Err(No::invalid("The name is invalid."));
        }
        if self.world.tagging.categories.values().any(|it| self.same(&it.name, &new.name)) {
            return Err(No::exists(&new.name));
        }
        let id = self.world.urn("Category");
        self.world.tagging.categories.insert(id.clone(), new);
        Ok(id)
    }

    /// Makes a tag.
    pub(crate) fn make_tag(&mut self, user: &str, new: Tag) -> Result<String, No> {
        self.category(user, &new.category)?;
        self.need_of_root(user, CREATE_TAG)?;
        if new.name.is_empty() || new.name.len() > 256 {
            return Err(No::invalid("The name is invalid."));
        }
        let mut here = self.world.tagging.tags.values().filter(|it| it.category == new.category);
        if here.any(|it| self.same(&it.name, &new.name)) {
            return Err(No::exists(&new.name));
        }
        let id = self.world.urn("Tag");
        self.world.tagging.tags.insert(id.clone(), new);
        Ok(id)
    }

    /// What attaching and detaching ask for first.
    fn on(&self, user: &str, tag: &str, (kind, object): (&str, &str)) -> Result<Category, No> {
        let found = self.tag(user, tag)?.clone();
        let entity = self.world.entities.get(object);
        let Some(entity) = entity.filter(|it| it.type_name() == kind) else {
            return Err(No::missing(object));
        };
        if !self.world.may(user, object, ATTACH) || !self.world.may(user, self.world.root(), ATTACH)
        {
            return Err(No::unauthorized(ATTACH));
        }
        let category = self.category(user, &found.category)?.clone();
        if !category.kinds.is_empty() && !category.kinds.contains(entity.type_name()) {
            return Err(No::invalid(format!(
                "Tags of '{}' cannot be attached to a {kind}.",
                category.name
            )));
        }
        Ok(category)
    }

    /// Puts a tag on an object. What is there already is no error.
    pub(crate) fn attach(&mut self, user: &str, tag: &str, object: (&str, &str)) -> Result<(), No> {
        let category = self.on(user, tag, object)?;
        let at = (tag.to_owned(), object.1.to_owned());
        if self.world.tagging.attached.contains(&at) {
            return Ok(());
        }
        let of = self.world.tagging.tags.get(tag).map(|it| it.category.clone());
        let others: Vec<(String, String)> = self
            .world
            .tagging
            .attached
            .iter()
            .filter(|(other, on)| {
                *on == at.1
                    && self.world.tagging.tags.get(other).map(|it| &it.category) == of.as_ref()
            })
            .cloned()
            .collect();
        if !category.multiple && !others.is_empty() {
            if !self.switches.single_tag_replaced {
                return Err(No::invalid(format!(
                    "The category '{}' allows one tag per object.",
                    category.name
                )));
            }
            for other in others {
                self.world.tagging.attached.remove(&other);
            }
        }
        self.world.tagging.attached.insert(at);
        Ok(())
    }

    /// Takes a tag off an object. What is not there is no error.
    pub(crate) fn detach(&mut self, user: &str, tag: &str, object: (&str, &str)) -> Result<(), No> {
        self.on(user, tag, object)?;
        self.world.tagging.attached.remove(&(tag.to_owned(), object.1.to_owned()));
        Ok(())
    }
}

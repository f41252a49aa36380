//! Users, groups, roles, and who may do what.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::fault::{Fault, Outcome};
use super::val::Val;
use super::world::{Kind, World};

/// The role that gives everything.
pub const ADMIN: i32 = -1;
/// The role that may look.
pub const READ_ONLY: i32 = -2;
/// The role that sees names.
pub const VIEW: i32 = -3;
/// The role of everybody.
pub const ANONYMOUS: i32 = -4;
/// The role that hides.
pub const NO_ACCESS: i32 = -5;

/// What every role that somebody makes allows.
pub const OF_EVERY_ROLE: [&str; 3] = ["System.Anonymous", "System.Read", "System.View"];

/// Users, groups and roles.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Access {
    /// Users, by `DOMAIN\name`.
    pub users: BTreeMap<String, User>,
    /// Groups, by `DOMAIN\name`.
    pub groups: BTreeSet<String>,
    /// Roles that somebody made, by id.
    pub roles: BTreeMap<i32, Role>,
}

/// A user.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Password.
    pub password: String,
    /// Groups, by `DOMAIN\name`.
    #[serde(default)]
    pub groups: BTreeSet<String>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("User").field("groups", &self.groups).finish_non_exhaustive()
    }
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Name; no two have the same.
    pub name: String,
    /// Privileges.
    pub privileges: BTreeSet<String>,
}

/// A permission on one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Who, as `DOMAIN\name`.
    pub principal: String,
    /// A group.
    pub group: bool,
    /// Which role.
    pub role: i32,
    /// Also on all below.
    pub propagate: bool,
}

/// A principal as it is stored: `DOMAIN\name`.
#[must_use]
pub fn canonical(name: &str) -> String {
    match (name.split_once('@'), name.split_once('\\')) {
        (Some((user, domain)), _) => format!("{}\\{user}", domain.to_uppercase()),
        (None, Some((domain, user))) => format!("{}\\{user}", domain.to_uppercase()),
        (None, None) => name.to_owned(),
    }
}

/// Privileges of a role that comes with the product; none means all.
fn system(role: i32) -> Option<(&'static str, Option<&'static [&'static str]>)> {
    Some(match role {
        ADMIN => ("Admin", None),
        READ_ONLY => ("ReadOnly", Some(&["System.Anonymous", "System.Read", "System.View"])),
        VIEW => ("View", Some(&["System.Anonymous", "System.View"])),
        ANONYMOUS => ("Anonymous", Some(&["System.Anonymous"])),
        NO_ACCESS => ("NoAccess", Some(&[])),
        _ => return None,
    })
}

impl Access {
    /// Finds a user by any spelling of his name.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<(&str, &User)> {
        let wanted = canonical(name);
        let found = self.users.iter().find(|(name, _)| name.eq_ignore_ascii_case(&wanted));
        found.map(|(name, user)| (name.as_str(), user))
    }

    /// A principal as it is stored, if there is one.
    #[must_use]
    pub fn principal(&self, name: &str, group: bool) -> Option<&str> {
        let wanted = canonical(name);
        let mut names: Box<dyn Iterator<Item = &String>> =
            if group { Box::new(self.groups.iter()) } else { Box::new(self.users.keys()) };
        names.find(|name| name.eq_ignore_ascii_case(&wanted)).map(String::as_str)
    }

    /// Domains of which there is anybody.
    pub(crate) fn domains(&self) -> BTreeSet<&str> {
        let names = self.users.keys().chain(&self.groups);
        names.filter_map(|name| Some(name.split_once('\\')?.0)).collect()
    }

    /// Makes a role.
    pub fn add_role(&mut self, name: &str, privileges: BTreeSet<String>) -> i32 {
        let id = self.roles.keys().next_back().map_or(1, |last| last.max(&0) + 1);
        let mut privileges = privileges;
        // Every role that somebody makes may at least look.
        privileges.extend(OF_EVERY_ROLE.map(str::to_owned));
        self.roles.insert(id, Role { name: name.to_owned(), privileges });
        id
    }

    /// A role's id.
    #[must_use]
    pub fn role_id(&self, name: &str) -> Option<i32> {
        let made = self.roles.iter().find(|(_, role)| role.name == name).map(|(id, _)| *id);
        made.or_else(|| (NO_ACCESS..=ADMIN).find(|id| system(*id).is_some_and(|it| it.0 == name)))
    }

    /// Whether there is such a role.
    #[must_use]
    pub fn has_role(&self, role: i32) -> bool {
        self.roles.contains_key(&role) || system(role).is_some()
    }

    /// All roles: id, name, privileges, and whether it came with the product.
    pub(crate) fn all_roles(&self) -> Vec<(i32, &str, Vec<&str>, bool)> {
        let given = (NO_ACCESS..=ADMIN).rev().filter_map(|id| {
            let (name, privileges) = system(id)?;
            Some((id, name, privileges.unwrap_or(PRIVILEGES).to_vec(), true))
        });
        let made = self.roles.iter().map(|(id, role)| {
            (*id, role.name.as_str(), role.privileges.iter().map(String::as_str).collect(), false)
        });
        given.chain(made).collect()
    }

    fn allows(&self, role: i32, privilege: &str) -> bool {
        match system(role) {
            Some((_, None)) => true,
            Some((_, Some(list))) => list.contains(&privilege),
            None => self.roles.get(&role).is_some_and(|it| it.privileges.contains(privilege)),
        }
    }
}

/// Privileges that this simulator asks for anywhere.
pub(crate) const PRIVILEGES: &[&str] = &[
    "Authorization.ModifyPermissions",
    "Authorization.ModifyRoles",
    "Datastore.AllocateSpace",
    "Datastore.Browse",
    "Folder.Create",
    "Folder.Delete",
    "Folder.Move",
    "Folder.Rename",
    "Global.CancelTask",
    "Global.ManageCustomFields",
    "Global.SetCustomField",
    "Host.Inventory.EditCluster",
    "InventoryService.Tagging.AttachTag",
    "InventoryService.Tagging.CreateCategory",
    "InventoryService.Tagging.CreateTag",
    "Network.Assign",
    "Resource.AssignVMToPool",
    "Resource.ColdMigrate",
    "Resource.CreatePool",
    "Resource.DeletePool",
    "Resource.EditPool",
    "Resource.HotMigrate",
    "Resource.RenamePool",
    "System.Anonymous",
    "System.Read",
    "System.View",
    "VirtualMachine.Config.AddNewDisk",
    "VirtualMachine.Config.AddRemoveDevice",
    "VirtualMachine.Config.AdvancedConfig",
    "VirtualMachine.Config.Annotation",
    "VirtualMachine.Config.CPUCount",
    "VirtualMachine.Config.DiskExtend",
    "VirtualMachine.Config.EditDevice",
    "VirtualMachine.Config.Memory",
    "VirtualMachine.Config.RemoveDisk",
    "VirtualMachine.Config.Rename",
    "VirtualMachine.Config.Resource",
    "VirtualMachine.Config.Settings",
    "VirtualMachine.Interact.AnswerQuestion",
    "VirtualMachine.Interact.ConsoleInteract",
    "VirtualMachine.Interact.PowerOff",
    "VirtualMachine.Interact.PowerOn",
    "VirtualMachine.Interact.Reset",
    "VirtualMachine.Interact.Suspend",
    "VirtualMachine.Inventory.Create",
    "VirtualMachine.Inventory.CreateFromExisting",
    "VirtualMachine.Inventory.Delete",
    "VirtualMachine.Inventory.Move",
    "VirtualMachine.Inventory.Register",
    "VirtualMachine.Inventory.Unregister",
    "VirtualMachine.Provisioning.Clone",
    "VirtualMachine.Provisioning.DeployTemplate",
    "VirtualMachine.Provisioning.MarkAsTemplate",
    "VirtualMachine.Provisioning.MarkAsVM",
    "VirtualMachine.State.CreateSnapshot",
    "VirtualMachine.State.RemoveSnapshot",
    "VirtualMachine.State.RevertToSnapshot",
];

impl World {
    /// Whether somebody may do something to an object.
    ///
    /// A permission nearer to the object hides those above it; one for the user himself hides
    /// those for his groups at the same place. A machine inherits from its folder and its pool.
    #[must_use]
    pub fn may(&self, user: &str, id: &str, privilege: &str) -> bool {
        if self.may_along(user, id, privilege) {
            return true;
        }
        let direct = self.roles_at(user, id, true).is_some();
        match self.vm(id).and_then(|vm| vm.pool.as_deref()) {
            Some(pool) if !direct => self.may_along(user, pool, privilege),
            Some(_) | None => false,
        }
    }

    fn may_along(&self, user: &str, id: &str, privilege: &str) -> bool {
        let mut at = Some(id);
        while let Some(here) = at {
            if let Some(roles) = self.roles_at(user, here, here == id) {
                return roles.iter().any(|role| self.access.allows(*role, privilege));
            }
            at = self.entities.get(here).and_then(|entity| entity.parent.as_deref());
        }
        false
    }

    /// Roles that decide what a user may do to an object.
    pub(crate) fn effective_roles(&self, user: &str, id: &str) -> Vec<i32> {
        let mut at = Some(id);
        while let Some(here) = at {
            if let Some(roles) = self.roles_at(user, here, here == id) {
                return roles;
            }
            at = self.entities.get(here).and_then(|entity| entity.parent.as_deref());
        }
        Vec::new()
    }

    /// Roles that a user has by permissions set right on an object.
    fn roles_at(&self, user: &str, id: &str, is_target: bool) -> Option<Vec<i32>> {
        let grants = &self.entities.get(id)?.grants;
        let counts = |grant: &&Grant| is_target || grant.propagate;
        let own = |grant: &&Grant| !grant.group && grant.principal.eq_ignore_ascii_case(user);
        if let Some(grant) = grants.iter().filter(counts).find(own) {
            return Some(vec![grant.role]);
        }
        let groups = &self.access.users.get(user)?.groups;
        let of = |grant: &&Grant| {
            grant.group
                && groups.iter().any(|it| canonical(it).eq_ignore_ascii_case(&grant.principal))
        };
        let roles: Vec<i32> = grants.iter().filter(counts).filter(of).map(|it| it.role).collect();
        if roles.is_empty() { None } else { Some(roles) }
    }

    /// Refuses unless somebody may do something to an object.
    pub(crate) fn need(&self, user: &str, id: &str, privilege: &str) -> Outcome<()> {
        if self.may(user, id, privilege) {
            return Ok(());
        }
        let kind = self.entities.get(id).map_or("ManagedEntity", |entity| entity.type_name());
        Err(Fault::no_permission(Val::Ref(kind.into(), id.to_owned()), privilege))
    }

    /// Whether permissions can be set on an object.
    pub(crate) fn takes_grants(&self, id: &str) -> bool {
        let Some(entity) = self.entities.get(id) else { return false };
        let above = entity.parent.as_deref().and_then(|parent| self.entities.get(parent));
        !matches!(
            (&entity.kind, above.map(|it| &it.kind)),
            (Kind::Folder(_), Some(Kind::Datacenter { .. }))
                | (Kind::Pool(_), Some(Kind::Cluster { .. }))
        )
    }
}

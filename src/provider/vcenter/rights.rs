//! What the account may see and do, as far as absence depends on it.
//!
//! Objects below a permission that takes the right to see them away are simply not in a
//! view: nothing says that they are missing. So the rights on the root are read, and every
//! permission further down that could hide something from this account. Of permissions too
//! the server tells only those on objects that the account sees; so what hosts say that
//! they have is compared with what the view shows.

use super::{
    grants::Row,
    provider::Inner,
    vim::{
        CallError, FaultKind, MoRef, Node, Request,
        collect::{ObjectContent, Paths},
    },
};
use crate::{model::ProviderError, planted::Bug};
use std::collections::{BTreeMap, BTreeSet};

/// Without it an object cannot be read, and is not in a view.
const READ: &str = "System.Read";

/// What can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// Everything.
    Whole,
    /// Perhaps not everything.
    Partial {
        /// What is missing.
        why: String,
        /// What to do about it.
        help: String,
    },
}

/// Roles by their number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roles {
    privileges: BTreeMap<i64, BTreeSet<String>>,
    names: BTreeMap<String, i64>,
}

impl Roles {
    /// Reads the list of roles.
    pub fn of(list: &Node) -> Self {
        let mut roles = Self::default();
        for role in &list.children {
            let Some(id) = role.i64_at("roleId") else { continue };
            let privileges = role.all("privilege").map(|it| it.text.clone()).collect();
            roles.privileges.insert(id, privileges);
            roles.names.extend(role.text_at("name").map(|name| (name.to_owned(), id)));
        }
        roles
    }

    /// The number of a role.
    pub fn id(&self, name: &str) -> Option<i64> {
        self.names.get(name).copied()
    }

    /// The name of a role.
    pub fn name(&self, id: i64) -> Option<&str> {
        self.names.iter().find(|(_, it)| **it == id).map(|(name, _)| name.as_str())
    }

    /// What a role lists.
    pub fn privileges(&self, id: i64) -> Option<&BTreeSet<String>> {
        self.privileges.get(&id)
    }

    /// Whether a role has a privilege.
    pub fn gives(&self, role: i64, privilege: &str) -> bool {
        // The administrator has every privilege, whatever is listed for it.
        role == -1 || self.privileges.get(&role).is_some_and(|all| all.contains(privilege))
    }
}

/// What this account has on the root of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RootRights {
    /// All roles that there are.
    pub roles: Roles,
    /// Those that it has.
    pub held: Vec<i64>,
}

impl RootRights {
    /// Whether it has a privilege there.
    pub fn has(&self, privilege: &str) -> bool {
        self.held.iter().any(|role| self.roles.gives(*role, privilege))
    }

    /// Whether it is an administrator there.
    pub fn is_admin(&self) -> bool {
        self.held.contains(&-1)
    }
}

/// Reads what the account has on the root.
pub(super) async fn on_root(inner: &Inner) -> Result<RootRights, ProviderError> {
    let operation = "read the account's rights";
    let spell = |error: CallError| error.into_provider(operation);
    let service = inner.client.service().await.map_err(spell)?;
    let root = service.part("rootFolder").map_err(spell)?;
    let manager = service.part("authorizationManager").map_err(spell)?;
    let roles = roles_of(inner, &manager, operation).await?;
    let held = property(inner, &root, "Folder", "effectiveRole", operation).await?;
    Ok(RootRights {
        roles,
        held: held.iter().flat_map(|it| &it.children).filter_map(Node::as_i64).collect(),
    })
}

/// Reads all roles that there are.
pub(super) async fn roles(inner: &Inner, operation: &str) -> Result<Roles, ProviderError> {
    let manager = inner.client.service().await.and_then(|it| it.part("authorizationManager"));
    let manager = manager.map_err(|error| error.into_provider(operation))?;
    roles_of(inner, &manager, operation).await
}

async fn roles_of(inner: &Inner, manager: &MoRef, operation: &str) -> Result<Roles, ProviderError> {
    let list = property(inner, manager, "AuthorizationManager", "roleList", operation).await?;
    Ok(list.as_ref().map(Roles::of).unwrap_or_default())
}

async fn property(
    inner: &Inner,
    of: &MoRef,
    kind: &'static str,
    path: &str,
    operation: &str,
) -> Result<Option<Node>, ProviderError> {
    let paths = Paths::of(kind, &[path]);
    let read = inner.client.properties(std::slice::from_ref(of), &paths, operation).await;
    let read = read.map_err(|error| error.into_provider(operation))?;
    Ok(read.objects.into_iter().next().and_then(|mut object| object.props.remove(path)))
}

/// Whether a role lets an object be seen and read. Three of the system's own do not; every
/// role that somebody makes does, because the product puts those privileges into it.
fn shows(role: i64) -> bool {
    !matches!(role, -5..=-3)
}

/// Whether everything can be seen, by all permissions that are told. `held` are the roles of
/// the account on the root.
pub(super) async fn sight(
    inner: &Inner,
    held: &[i64],
    permissions: &Permissions,
) -> Result<Sight, ProviderError> {
    if !held.iter().any(|role| shows(*role)) {
        return Ok(Sight::Partial {
            why: format!("the account has no `{READ}` on the root of the vCenter"),
            help: "give it the role `Read-only` on the root folder, with propagation".to_owned(),
        });
    }
    let rows = &permissions.rows;
    let account = inner.client.username();
    let root = inner.client.service().await.and_then(|it| it.part("rootFolder"));
    let root = root.map_err(|error| error.into_provider("read the permissions"))?;
    let at_root: Vec<&Row> =
        rows.iter().filter(|row| row.entity == root && row.is_about(account)).collect();
    // A role on the root alone shows the root alone.
    if at_root.is_empty() || at_root.iter().any(|row| !row.propagates) {
        return Ok(Sight::Partial {
            why: "the account's role on the root of the vCenter is not propagated".to_owned(),
            help: "tick `Propagate to children` on that permission".to_owned(),
        });
    }
    let unseen = Bug::HiddenRowIgnored.is_planted();
    let found = rows.iter().find(|row| row.may_hide_from(account) && !unseen);
    Ok(match found {
        None => Sight::Whole,
        Some(row) => Sight::Partial {
            why: format!(
                "the role `{}` of `{}` on {} may hide machines from the account",
                hiding_role(row.role),
                row.principal,
                row.entity
            ),
            help: "remove that permission, or use an account that it is not about".to_owned(),
        },
    })
}

/// The product's names of the roles that hide.
fn hiding_role(role: i64) -> &'static str {
    match role {
        -3 => "View",
        -4 => "Anonymous",
        _ => "No access",
    }
}

/// All permissions that are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Permissions {
    /// Those that say on what they are.
    pub rows: Vec<Row>,
    /// Whether there are others, so that objects have to be asked one by one.
    pub nameless: bool,
}

impl Row {
    /// Whether it may be about the account. Who is in a group is not known here, so that one
    /// for any group counts.
    fn is_about(&self, account: &str) -> bool {
        self.group || same_account(&self.principal, account)
    }

    /// Whether it takes sight away from the account.
    fn may_hide_from(&self, account: &str) -> bool {
        !shows(self.role) && self.is_about(account)
    }
}

/// `user@domain` and `DOMAIN\user` are one account.
pub(super) fn same_account(a: &str, b: &str) -> bool {
    let parts = |text: &str| {
        let text = text.to_ascii_lowercase();
        match (text.split_once('\\'), text.split_once('@')) {
            (Some((domain, user)), _) | (None, Some((user, domain))) => {
                (user.to_owned(), Some(domain.to_owned()))
            }
            (None, None) => (text.clone(), None),
        }
    };
    let ((user_a, domain_a), (user_b, domain_b)) = (parts(a), parts(b));
    let domains = domain_a.is_none() || domain_b.is_none() || domain_a == domain_b;
    user_a == user_b && domains
}

/// How many of these machines, which hosts say they have and which no view shows, are kept
/// from the account. Others were made or removed between the two looks.
pub(super) async fn hidden(inner: &Inner, machines: &[MoRef]) -> Result<usize, ProviderError> {
    if machines.is_empty() || Bug::HiddenRowIgnored.is_planted() {
        return Ok(0);
    }
    let operation = "look for what is hidden";
    let paths = Paths::of("VirtualMachine", &["name"]);
    let read = inner.client.properties(machines, &paths, operation).await;
    let read = read.map_err(|error| error.into_provider(operation))?;
    let may_not =
        |it: &&ObjectContent| it.missing.values().any(|it| it.is(&FaultKind::NoPermission));
    Ok(read.objects.iter().filter(may_not).count())
}

/// Reads all permissions on what the account sees. Who may not read the root, by the roles
/// that are `held` there, is not told of them all: then objects are asked one by one.
pub(super) async fn permissions(inner: &Inner, held: &[i64]) -> Result<Permissions, ProviderError> {
    if !held.iter().any(|role| shows(*role)) {
        return Ok(Permissions { nameless: true, ..Permissions::default() });
    }
    let operation = "read the permissions";
    let spell = |error: CallError| error.into_provider(operation);
    let service = inner.client.service().await.map_err(spell)?;
    let manager = service.part("authorizationManager").map_err(spell)?;
    let method = "RetrieveAllPermissions";
    let request = Request { method, this: &manager, args: &[], operation: Some(operation) };
    let answer = inner.client.read(&request).await.map_err(spell)?;
    let named = |node: &Node| row(node, node.moref_at("entity")?);
    Ok(Permissions {
        rows: answer.all("returnval").filter_map(named).collect(),
        nameless: answer.all("returnval").any(|it| it.moref_at("entity").is_none()),
    })
}

/// Reads one permission on an object.
pub(super) fn row(node: &Node, entity: MoRef) -> Option<Row> {
    Some(Row {
        entity,
        principal: node.text_at("principal").unwrap_or_default().to_owned(),
        group: node.bool_at("group") == Some(true),
        role: node.i64_at("roleId")?,
        propagates: node.bool_at("propagate") == Some(true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_an_account_are_one() {
        assert!(same_account("novahost@vsphere.local", "VSPHERE.LOCAL\\novahost"));
        assert!(same_account("Administrator", "administrator@vsphere.local"));
        assert!(!same_account("novahost@vsphere.local", "CORP\\novahost"));
        assert!(!same_account("alice@corp", "bob@corp"));
    }
}

//! Who has what on pools, and whether those whom the configuration names are there: what the
//! server is asked for, and when.

use super::{
    grants::{self, Row},
    observe::joined,
    places::Places,
    pools::reference,
    provider::Inner,
    rights::{self, Permissions, Roles, RootRights, same_account},
    vim::{CallError, FaultKind, MoRef, Request, Val},
};
use crate::model::{
    Grantee, GranteeSeen, Hindrance, Name, ObservedPool, PoolPart, ProjectName, ProviderError,
    ResourceKey,
};
use std::collections::{BTreeMap, BTreeSet};

/// What granting needs. Assigning one asks for the first of them on the object and on the one
/// above it.
pub(super) const GRANTS: &str = "Authorization.ModifyPermissions";
/// What making a role needs, on the root.
pub(super) const MAKES_ROLES: &str = "Authorization.ModifyRoles";

/// Whether anything is or was granted on one of these pools, so that it has to be looked at.
pub(super) fn is_asked_for(
    inner: &Inner,
    pools: &BTreeMap<Name, ObservedPool>,
    permissions: &Permissions,
) -> bool {
    pools.iter().any(|(name, pool)| {
        !inner.grantees(name).is_empty()
            || marked(inner.project.as_ref(), name, pool).iter().any(|(_, object)| {
                permissions.nameless || permissions.rows.iter().any(|row| row.entity == *object)
            })
    })
}

/// Tells pools what is granted on them, and whether more can be.
pub(super) async fn take(
    inner: &Inner,
    places: &Places,
    pools: &mut BTreeMap<Name, ObservedPool>,
    permissions: &Permissions,
    rights: &RootRights,
) -> Result<(), ProviderError> {
    let Some(project) = &inner.project else { return Ok(()) };
    let mut asked: BTreeMap<Grantee, GranteeSeen> = BTreeMap::new();
    for (name, pool) in pools {
        let wanted = inner.grantees(name);
        let mut found = BTreeMap::new();
        for (part, object) in marked(Some(project), name, pool) {
            let own = match permissions.nameless {
                true => Some(on_object(inner, &object, "read the permissions").await?),
                false => None,
            };
            let rows = own.as_deref().unwrap_or(&permissions.rows);
            found.insert(part, grants::on(&object, rows, &rights.roles, project, &wanted));
        }
        let ours = found.values().flatten().any(|it| it.role.is_some());
        for (part, grants) in found {
            pool.parts.entry(part).and_modify(|it| it.grants = grants);
        }
        if wanted.is_empty() && !ours {
            continue;
        }
        for grantee in wanted {
            let seen = match asked.get(&grantee) {
                Some(seen) => seen.clone(),
                None => look_up(inner, &grantee).await,
            };
            asked.insert(grantee.clone(), seen.clone());
            pool.access.grantees.insert(grantee, seen);
        }
        pool.access.roles = grants::roles_seen(project, &rights.roles);
        pool.access.hindrance = hindrance(inner, places, name, pool, rights);
    }
    Ok(())
}

/// Tells a pool that was read afresh what is granted on it, and gives what its calls name.
pub(super) async fn refresh(
    inner: &Inner,
    name: &Name,
    pool: &mut ObservedPool,
    operation: &str,
) -> Result<Named, ProviderError> {
    let objects = marked(inner.project.as_ref(), name, pool);
    let Some(project) = inner.project.as_ref().filter(|_| !objects.is_empty()) else {
        return Ok(Named::default());
    };
    let roles: Roles = rights::roles(inner, operation).await?;
    let wanted = inner.grantees(name);
    let mut named = Named { roles: grants::role_ids(project, &roles), ..Named::default() };
    for (part, object) in objects {
        let rows = on_object(inner, &object, operation).await?;
        let grants = grants::on(&object, &rows, &roles, project, &wanted);
        pool.parts.entry(part).and_modify(|it| it.grants = grants);
        for row in rows {
            named.spelled.insert(Grantee::new(&row.principal, row.group), row.principal);
        }
    }
    pool.access.roles = grants::roles_seen(project, &roles);
    Ok(named)
}

/// What calls about grants name.
#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    /// Roles of ours by their number.
    pub roles: BTreeMap<crate::model::GrantRole, i64>,
    /// Those who have something, as the server spells them.
    pub spelled: BTreeMap<Grantee, String>,
}

/// The objects of a pool that bear our mark.
fn marked(
    project: Option<&ProjectName>,
    name: &Name,
    pool: &ObservedPool,
) -> Vec<(PoolPart, MoRef)> {
    let Some(project) = project else { return Vec::new() };
    let key = ResourceKey::pool(name.clone());
    let own = pool.parts.iter().filter(|(part, _)| part.kind.is_own());
    let ours = own.filter(|(_, it)| it.is_marked_by(project, &key));
    let object = |part: &PoolPart, id| (part.clone(), reference(part.kind, id));
    ours.filter_map(|(part, it)| Some(object(part, it.id.as_ref()?))).collect()
}

/// The permissions that are set right on one object.
async fn on_object(
    inner: &Inner,
    object: &MoRef,
    operation: &str,
) -> Result<Vec<Row>, ProviderError> {
    let spell = |error: CallError| error.into_provider(operation);
    let manager = inner.client.service().await.and_then(|it| it.part("authorizationManager"));
    let manager = manager.map_err(spell)?;
    let args = [("entity", object.clone().into()), ("inherited", false.into())];
    let method = "RetrieveEntityPermissions";
    let request = Request { method, this: &manager, args: &args, operation: Some(operation) };
    let answer = inner.client.read(&request).await.map_err(spell)?;
    // What is asked of one object is told of it, whether or not each row says so.
    Ok(answer.all("returnval").filter_map(|node| rights::row(node, object.clone())).collect())
}

/// Whether the server knows somebody. Where our own account is one of them, a grant would take
/// the place of all that it has on the object from above.
async fn look_up(inner: &Inner, grantee: &Grantee) -> GranteeSeen {
    let account = inner.client.username();
    if !grantee.is_group() && same_account(grantee.principal(), account) {
        return GranteeSeen::HoldsUs;
    }
    match search(inner, grantee, None).await {
        Found::No | Found::NoSuchDomain => return GranteeSeen::Missing,
        Found::Yes if !grantee.is_group() => return GranteeSeen::Known,
        Found::Yes => {}
        Found::NoSuchMember => return GranteeSeen::Unasked("it was not asked so".to_owned()),
        Found::Unknown(why) => return GranteeSeen::Unasked(why),
    }
    let account = Grantee::new(account, false);
    let full = account.principal();
    let (domain, bare) = (account.domain().unwrap_or_default(), account.name());
    // Which spelling it takes of somebody, no documentation says.
    let mut last = Found::NoSuchMember;
    for member in [full, bare] {
        last = search(inner, grantee, Some(member)).await;
        if last != Found::NoSuchMember {
            break;
        }
    }
    match last {
        Found::Yes => GranteeSeen::HoldsUs,
        Found::No => GranteeSeen::Known,
        // Groups of a domain that does not know the account do not have it in them.
        Found::NoSuchMember if !domain.is_empty() && grantee.domain() != Some(domain) => {
            GranteeSeen::Known
        }
        Found::NoSuchMember | Found::NoSuchDomain => {
            GranteeSeen::Unasked(format!("whether `{full}` is in it, it does not say"))
        }
        Found::Unknown(why) => GranteeSeen::Unasked(why),
    }
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Yes,
    No,
    NoSuchDomain,
    NoSuchMember,
    Unknown(String),
}

/// Whether the directory has somebody, or a group that somebody is in.
async fn search(inner: &Inner, grantee: &Grantee, member: Option<&str>) -> Found {
    // Permissions name a domain in capitals, whatever its directory calls it. A search for a
    // part of a name is without regard to case; of one for the whole, that is not said.
    let domain = grantee.domain().map(str::to_owned);
    let lower = domain.as_ref().map(|domain| domain.to_lowercase());
    let mut found = Found::NoSuchDomain;
    for domain in [&domain, &lower] {
        for exact in [true, false] {
            found = search_in(inner, grantee, (domain.as_deref(), exact), member).await;
            if found != Found::No {
                break;
            }
        }
        if found != Found::NoSuchDomain {
            break;
        }
    }
    found
}

async fn search_in(
    inner: &Inner,
    grantee: &Grantee,
    (domain, exact): (Option<&str>, bool),
    member: Option<&str>,
) -> Found {
    let directory = inner.client.service().await.and_then(|it| it.part("userDirectory"));
    let directory = match directory {
        Ok(directory) => directory,
        Err(error) => return Found::Unknown(joined(&error)),
    };
    let name = grantee.name();
    let mut args: Vec<(&str, Val)> = Vec::new();
    args.extend(domain.map(|domain| ("domain", domain.into())));
    args.push(("searchStr", name.into()));
    args.extend(member.map(|member| ("belongsToUser", member.into())));
    args.push(("exactMatch", exact.into()));
    args.push(("findUsers", (!grantee.is_group()).into()));
    args.push(("findGroups", grantee.is_group().into()));
    let operation = Some("look for those who are granted something");
    let request =
        Request { method: "RetrieveUserGroups", this: &directory, args: &args, operation };
    let answer = match inner.client.read(&request).await {
        Ok(answer) => answer,
        Err(error) => {
            let is = |name: &str| error.is_fault(&FaultKind::Other(name.to_owned()));
            return match (is("NotFound"), is("UserNotFound") && member.is_some()) {
                (true, _) => Found::NoSuchDomain,
                (false, true) => Found::NoSuchMember,
                (false, false) => Found::Unknown(joined(&error)),
            };
        }
    };
    // Told with the domain or without it.
    let found = answer.all("returnval").any(|it| {
        let told = it.text_at("principal").unwrap_or_default().to_lowercase();
        let bare = told.rsplit_once('\\').map_or(told.as_str(), |(_, name)| name);
        bare == name && it.bool_at("group") == Some(grantee.is_group())
    });
    if found { Found::Yes } else { Found::No }
}

/// Why this account can grant nothing on a pool, where its roles say so.
fn hindrance(
    inner: &Inner,
    places: &Places,
    name: &Name,
    pool: &ObservedPool,
    rights: &RootRights,
) -> Option<Hindrance> {
    let lacks = |held: &[i64], privilege: &str| {
        !held.is_empty() && !held.iter().any(|role| rights.roles.gives(*role, privilege))
    };
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for (part, object) in marked(inner.project.as_ref(), name, pool) {
        if lacks(places.roles(&object), GRANTS) {
            wanted.insert(format!("{GRANTS} on {}", part.name));
        }
    }
    let has_all = pool.access.roles.len() == crate::model::GrantRole::ALL.len();
    if !inner.grantees(name).is_empty() && !has_all && lacks(&rights.held, MAKES_ROLES) {
        wanted.insert(format!("{MAKES_ROLES} on the root folder"));
    }
    let all = wanted.into_iter().collect::<Vec<_>>().join(", ");
    (!all.is_empty()).then(|| Hindrance {
        why: format!("the account may not grant or take away anything on it: it lacks {all}"),
        help: "give it these, or leave `acl:` out and grant by hand".to_owned(),
    })
}

impl Inner {
    /// Those to whom the configuration grants something on a pool.
    pub fn grantees(&self, pool: &Name) -> BTreeSet<Grantee> {
        self.pools.get(pool).map(|it| it.grantees.clone()).unwrap_or_default()
    }
}

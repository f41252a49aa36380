//! Permissions, roles and custom attributes.

use std::collections::BTreeSet;

use super::place::named;
use crate::vcenter::access::{ADMIN, ANONYMOUS, Grant, OF_EVERY_ROLE, PRIVILEGES, VIEW, canonical};
use crate::vcenter::fault::{Fault, Outcome};
use crate::vcenter::props::{field_def, reference};
use crate::vcenter::server::Core;
use crate::vcenter::val::{Val, arr, flag, int, obj, text};
use crate::vcenter::world::CustomField;
use crate::vcenter::xml::Elem;

/// A permission as it is told.
pub(crate) fn permission(core: &Core, on: &str, grant: &Grant) -> Val {
    obj(
        "Permission",
        vec![
            ("entity", reference(core, on)),
            ("principal", text(grant.principal.clone())),
            ("group", flag(grant.group)),
            ("roleId", int(grant.role)),
            ("propagate", flag(grant.propagate)),
        ],
    )
}

/// Adds or changes permissions, one principal after the other; those of others stay.
pub(crate) fn set(core: &mut Core, user: &str, args: &Elem) -> Outcome<()> {
    let Some(entity) = args.get("entity") else { return Err(Fault::argument("entity")) };
    let id = named(core, entity, "ManagedEntity")?;
    need_to_grant(core, user, &id)?;
    if !core.world.takes_grants(&id) {
        return Err(Fault::argument("entity"));
    }
    for one in args.all("permission") {
        if one.get("entity").is_some() {
            return Err(Fault::argument("permission.entity"));
        }
        let group = one.flag("group").unwrap_or(false);
        let name = one.text_of("principal").unwrap_or("");
        let Some(principal) = core.world.access.principal(name, group).map(str::to_owned) else {
            return Err(Fault::user_unknown(name));
        };
        let role = one.number("roleId").and_then(|it| i32::try_from(it).ok()).unwrap_or(0);
        if !core.world.access.has_role(role) {
            return Err(not_found("The role was not found."));
        }
        if matches!(role, VIEW | ANONYMOUS) {
            return Err(Fault::argument("permission.roleId"));
        }
        let grant =
            Grant { principal, group, role, propagate: one.flag("propagate").unwrap_or(false) };
        let Some(entity) = core.world.entities.get_mut(&id) else { continue };
        let before = entity.grants.clone();
        entity.grants.retain(|it| it.principal != grant.principal || it.group != group);
        entity.grants.push(grant);
        keep_an_admin(core, &id, before)?;
    }
    Ok(())
}

/// Permissions are set by who may do so on the object and on the one above it.
fn need_to_grant(core: &Core, user: &str, id: &str) -> Outcome<()> {
    let above = core.world.entities.get(id).and_then(|entity| entity.parent.as_deref());
    for id in [id].into_iter().chain(above) {
        core.world.need(user, id, "Authorization.ModifyPermissions")?;
    }
    Ok(())
}

/// The last administrator of everything stays one.
fn keep_an_admin(core: &mut Core, id: &str, before: Vec<Grant>) -> Outcome<()> {
    let root = core.world.root().to_owned();
    let admins = |grants: &[Grant]| grants.iter().any(|it| it.role == ADMIN && it.propagate);
    if id != root || !admins(&before) {
        return Ok(());
    }
    let Some(entity) = core.world.entities.get_mut(id) else { return Ok(()) };
    if admins(&entity.grants) {
        return Ok(());
    }
    entity.grants = before;
    let message = "The last permission of an administrator cannot be removed.";
    Err(Fault::new("AuthMinimumAdminPermission", message, vec![]))
}

fn not_found(message: &str) -> Fault {
    Fault::new("NotFound", message, vec![])
}

/// Permissions of an object, and with `inherited` those that reach it from above.
pub(crate) fn list(core: &Core, user: &str, args: &Elem) -> Outcome<Val> {
    let Some(entity) = args.get("entity") else { return Err(Fault::argument("entity")) };
    let id = named(core, entity, "ManagedEntity")?;
    core.world.need(user, &id, "System.Read")?;
    let mut found = Vec::new();
    let mut at = Some(id.clone());
    while let Some(here) = at {
        let Some(entity) = core.world.entities.get(&here) else { break };
        let own = here == id;
        found.extend(
            entity
                .grants
                .iter()
                .filter(|it| own || it.propagate)
                .map(|it| permission(core, &here, it)),
        );
        at = if args.flag("inherited") == Some(true) { entity.parent.clone() } else { None };
    }
    Ok(arr("Permission", found))
}

/// Users and groups of one domain, by their name without it.
pub(crate) fn search(core: &Core, args: &Elem) -> Outcome<Val> {
    let access = &core.world.access;
    // Without a domain, the machine itself is searched, which has nobody.
    let domain = args.text_of("domain").unwrap_or("localos").to_uppercase();
    if !access.domains().contains(domain.as_str()) {
        return Err(not_found("The domain was not found."));
    }
    let wanted = args.text_of("searchStr").unwrap_or("");
    let exact = args.flag("exactMatch") == Some(true);
    // Parts are compared without regard to case; whether whole names are is a switch.
    let fits = |name: &str| match (exact, core.switches.directory_tells_domains) {
        (true, true) => name.eq_ignore_ascii_case(wanted),
        (true, false) => name == wanted,
        (false, _) => name.to_lowercase().contains(&wanted.to_lowercase()),
    };
    // Only groups that have the user in them, and not in a group in them.
    let members = match args.text_of("belongsToUser") {
        Some(name) => {
            // Which of the two spellings counts is a switch, as for what is told.
            let full = canonical(name);
            let full = match (full.contains('\\'), core.switches.directory_tells_domains) {
                (true, true) => full,
                (false, false) => format!("{domain}\\{full}"),
                (true, false) | (false, true) => return Err(Fault::user_unknown(name)),
            };
            let found = access.user(&full).filter(|_| full.starts_with(&domain));
            Some(&found.ok_or_else(|| Fault::user_unknown(name))?.1.groups)
        }
        None => None,
    };
    let users =
        access.users.keys().filter(|_| args.flag("findUsers") == Some(true) && members.is_none());
    let groups = access.groups.iter().filter(|name| {
        args.flag("findGroups") == Some(true)
            && members.is_none_or(|of| of.iter().any(|it| canonical(it) == canonical(name)))
    });
    let all = users.map(|it| (it, false)).chain(groups.map(|it| (it, true)));
    let found = all.filter_map(|(full, group)| {
        let (of, name) = full.split_once('\\')?;
        (of == domain && fits(name)).then(|| {
            let told = if core.switches.directory_tells_domains { full.as_str() } else { name };
            obj("UserSearchResult", vec![("principal", text(told)), ("group", flag(group))])
        })
    });
    Ok(arr("UserSearchResult", found.collect()))
}

/// Every permission on objects that the caller sees.
pub(crate) fn all(core: &Core, user: &str) -> Val {
    let seen = core.world.entities.iter().filter(|(id, _)| core.world.may(user, id, "System.View"));
    let rows = seen.flat_map(|(id, it)| it.grants.iter().map(|grant| permission(core, id, grant)));
    arr("Permission", rows.collect())
}

/// Takes a permission away.
pub(crate) fn remove(core: &mut Core, user: &str, args: &Elem) -> Outcome<()> {
    let Some(entity) = args.get("entity") else { return Err(Fault::argument("entity")) };
    let id = named(core, entity, "ManagedEntity")?;
    need_to_grant(core, user, &id)?;
    let group = args.flag("isGroup").unwrap_or(false);
    let name = args.text_of("user").unwrap_or("");
    let wanted = canonical(name);
    let Some(entity) = core.world.entities.get_mut(&id) else { return Ok(()) };
    let before = entity.grants.clone();
    entity.grants.retain(|it| !it.principal.eq_ignore_ascii_case(&wanted) || it.group != group);
    if entity.grants.len() == before.len() {
        return Err(not_found("The permission was not found."));
    }
    keep_an_admin(core, &id, before)
}

fn privileges(args: &Elem) -> Outcome<BTreeSet<String>> {
    let list: BTreeSet<String> = args.all("privIds").map(|it| it.text.clone()).collect();
    match list.iter().find(|it| !it.contains('.')) {
        Some(_) => Err(Fault::argument("privIds")),
        None => Ok(list),
    }
}

/// Makes a role.
pub(crate) fn add_role(core: &mut Core, args: &Elem) -> Outcome<Val> {
    let name = args.text_of("name").unwrap_or("");
    if name.is_empty() {
        return Err(Fault::new("InvalidName", "The name is invalid.", vec![("name", text(name))]));
    }
    if core.world.access.role_id(name).is_some() {
        let fields = vec![("name", text(name))];
        return Err(Fault::new(
            "AlreadyExists",
            format!("The role '{name}' already exists."),
            fields,
        ));
    }
    let privileges = privileges(args)?;
    Ok(int(core.world.access.add_role(name, privileges)))
}

/// Changes or removes a role.
pub(crate) fn change_role(core: &mut Core, args: &Elem, gone: bool) -> Outcome<()> {
    let id = args.number("roleId").and_then(|it| i32::try_from(it).ok()).unwrap_or(0);
    if id < 0 {
        return Err(Fault::argument("roleId"));
    }
    if gone {
        let used =
            core.world.entities.values().any(|it| it.grants.iter().any(|grant| grant.role == id));
        if used && args.flag("failIfUsed") == Some(true) {
            return Err(Fault::new("RemoveFailed", "The role is in use.", vec![]));
        }
        core.world.access.roles.remove(&id).ok_or_else(|| not_found("The role was not found."))?;
        for entity in core.world.entities.values_mut() {
            entity.grants.retain(|grant| grant.role != id);
        }
        return Ok(());
    }
    let list = privileges(args)?;
    let taken = args.text_of("newName").and_then(|name| core.world.access.role_id(name));
    if taken.is_some_and(|other| other != id) {
        let message = "A role of that name already exists.";
        return Err(Fault::new("AlreadyExists", message, vec![]));
    }
    let role =
        core.world.access.roles.get_mut(&id).ok_or_else(|| not_found("The role was not found."))?;
    role.name = args.text_of("newName").unwrap_or(&role.name).to_owned();
    role.privileges = list;
    role.privileges.extend(OF_EVERY_ROLE.map(str::to_owned));
    Ok(())
}

/// Which of some privileges a session has on some objects.
pub(crate) fn check(core: &Core, args: &Elem) -> Outcome<Val> {
    let key = args.text_of("sessionId").unwrap_or("");
    let Some(session) = core.world.sessions.values().find(|it| it.key == key) else {
        return Err(Fault::argument("sessionId"));
    };
    let mut answers = Vec::new();
    for entity in args.all("entity") {
        let id = named(core, entity, "ManagedEntity")?;
        let granted = args.all("privId").map(|privilege| {
            let has = core.world.may(&session.user, &id, &privilege.text);
            obj(
                "PrivilegeAvailability",
                vec![("privId", text(privilege.text.clone())), ("isGranted", flag(has))],
            )
        });
        let granted = arr("PrivilegeAvailability", granted.collect());
        answers.push(obj(
            "EntityPrivilege",
            vec![("entity", reference(core, &id)), ("privAvailability", granted)],
        ));
    }
    Ok(arr("EntityPrivilege", answers))
}

/// The privileges that somebody has on some objects.
pub(crate) fn fetch(core: &Core, args: &Elem) -> Outcome<Val> {
    let name = args.text_of("userName").unwrap_or("");
    let Some((user, _)) = core.world.access.user(name) else {
        return Err(Fault::user_unknown(name));
    };
    let mut answers = Vec::new();
    for entity in args.all("entities") {
        let id = named(core, entity, "ManagedEntity")?;
        let has = PRIVILEGES.iter().filter(|it| core.world.may(user, &id, it)).map(|it| text(*it));
        answers.push((id.clone(), arr("string", has.collect())));
    }
    let value = |(id, list): (String, Val)| {
        obj("UserPrivilegeResult", vec![("entity", reference(core, &id)), ("privileges", list)])
    };
    Ok(arr("UserPrivilegeResult", answers.into_iter().map(value).collect()))
}

/// Defines a custom attribute.
pub(crate) fn add_field(core: &mut Core, args: &Elem) -> Outcome<Val> {
    let name = args.text_of("name").unwrap_or("");
    if name.is_empty() {
        return Err(Fault::new("InvalidName", "The name is invalid.", vec![("name", text(name))]));
    }
    if core.world.fields.values().any(|it| it.name == name) {
        let other = Val::Ref("CustomFieldsManager".into(), "CustomFieldsManager".to_owned());
        return Err(Fault::duplicate(name, other));
    }
    let key = core.world.fields.keys().next_back().map_or(101, |last| last + 1);
    let field =
        CustomField { name: name.to_owned(), of: args.text_of("moType").map(str::to_owned) };
    let answer = field_def(key, &field);
    core.world.fields.insert(key, field);
    Ok(answer)
}

/// Removes a custom attribute with all its values.
pub(crate) fn remove_field(core: &mut Core, args: &Elem) -> Outcome<()> {
    let key = args.number("key").and_then(|it| i32::try_from(it).ok()).unwrap_or(0);
    core.world.fields.remove(&key).ok_or_else(|| Fault::argument("key"))?;
    for entity in core.world.entities.values_mut() {
        entity.custom.remove(&key);
    }
    Ok(())
}

/// Sets a custom attribute of an object.
pub(crate) fn set_field(core: &mut Core, user: &str, args: &Elem) -> Outcome<()> {
    let Some(entity) = args.get("entity") else { return Err(Fault::argument("entity")) };
    let id = named(core, entity, "ManagedEntity")?;
    core.world.need(user, &id, "Global.SetCustomField")?;
    let key = args.number("key").and_then(|it| i32::try_from(it).ok()).unwrap_or(0);
    let Some(field) = core.world.fields.get(&key) else { return Err(Fault::argument("key")) };
    let kind = core.world.entities.get(&id).map_or("", |it| it.type_name());
    if field.of.as_deref().is_some_and(|of| of != kind) {
        return Err(Fault::argument("key"));
    }
    let value = args.text_of("value").unwrap_or("").to_owned();
    if let Some(entity) = core.world.entities.get_mut(&id) {
        entity.custom.insert(key, value);
    }
    Ok(())
}

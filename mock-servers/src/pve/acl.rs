//! Users, roles, the access control list and what the caller may do.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::access::{AclEntry, AclKind, Identity};
use super::error::{ApiError, ApiResult};
use super::router::{Call, Outcome};
use super::server::Core;

/// `GET /access/permissions`.
pub(crate) fn permissions(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let who = match call.get("userid") {
        Some(name) if name != call.who.to_string() => {
            core.need(&call.who, "/access", &["Sys.Audit"])?;
            match name.split_once('!') {
                Some((user, token)) => Identity::token(user, token),
                None => Identity::user(name),
            }
        }
        _ => call.who.clone(),
    };
    let paths: BTreeSet<String> = match call.get("path") {
        Some(path) => BTreeSet::from([path.to_owned()]),
        None => {
            let mut paths: BTreeSet<String> = [
                "/",
                "/access",
                "/access/groups",
                "/access/realm",
                "/nodes",
                "/pool",
                "/sdn",
                "/storage",
                "/vms",
            ]
            .into_iter()
            .map(str::to_owned)
            .collect();
            if core.is_nine() {
                paths.insert("/mapping".to_owned());
            }
            paths.extend(core.world.access.acl.iter().map(|entry| entry.path.clone()));
            for (name, pool) in &core.world.pools {
                paths.insert(format!("/pool/{name}"));
                // Members of a pool have paths that no entry names.
                paths.extend(pool.guests.iter().map(|vmid| format!("/vms/{vmid}")));
                paths.extend(pool.storages.iter().map(|storage| format!("/storage/{storage}")));
            }
            paths
        }
    };
    let mut data = Map::new();
    for path in paths {
        let held: Map<String, Value> = core
            .privileges(&who, &path)
            .into_iter()
            .map(|(privilege, propagates)| (privilege, json!(u8::from(propagates))))
            .collect();
        if !held.is_empty() || call.get("path").is_some() {
            data.insert(path, Value::Object(held));
        }
    }
    Ok(Outcome::Data(Value::Object(data)))
}

/// Whether the caller may hand out roles on a path at all.
pub(crate) fn may_modify(core: &Core, who: &Identity, path: &str) -> ApiResult<()> {
    if !path.starts_with('/') {
        return Err(ApiError::parameter("path", format!("invalid ACL path '{path}'")));
    }
    let allocate = if path.starts_with("/vms") {
        "VM.Allocate"
    } else if path.starts_with("/pool") {
        "Pool.Allocate"
    } else if path.starts_with("/storage") {
        "Datastore.Allocate"
    } else {
        "Permissions.Modify"
    };
    let held = core.privileges(who, path);
    if held.contains_key("Permissions.Modify") || held.contains_key(allocate) {
        Ok(())
    } else {
        Err(ApiError::forbidden(&format!("{path}, Permissions.Modify")))
    }
}

fn kind_name(kind: AclKind) -> &'static str {
    match kind {
        AclKind::User => "user",
        AclKind::Group => "group",
        AclKind::Token => "token",
    }
}

/// `GET /access/acl`.
pub(crate) fn list(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let sees_all = core.has(&call.who, "/access", "Sys.Audit");
    let rows = core
        .world
        .access
        .acl
        .iter()
        .filter(|entry| call.get("path").is_none_or(|path| path == entry.path))
        .filter(|entry| sees_all || core.has(&call.who, &entry.path, "Permissions.Modify"))
        .map(|entry| {
            json!({
                "path": entry.path, "type": kind_name(entry.kind), "ugid": entry.who, "roleid": entry.role,
                "propagate": u8::from(entry.propagate),
            })
        })
        .collect();
    Ok(Outcome::Data(Value::Array(rows)))
}

/// `PUT /access/acl`: adds or removes, never replaces.
pub(crate) fn update(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let failed = |text: String| ApiError::died(format!("ACL update failed: {text}"));
    let path = call.get("path").unwrap_or("/").to_owned();
    let deleting = call.flag("delete");
    let propagate = call.get("propagate").is_none_or(|text| text == "1");
    let known = core.world.access.all_roles(core.release);
    let mut subjects = Vec::new();
    for (list, kind) in
        [("users", AclKind::User), ("groups", AclKind::Group), ("tokens", AclKind::Token)]
    {
        subjects.extend(call.list(list).into_iter().map(|who| (kind, who)));
    }
    if subjects.is_empty() {
        let text = "either 'users', 'groups' or 'tokens' is required.";
        return Err(ApiError::parameters(
            ["users", "groups", "tokens"]
                .into_iter()
                .map(|key| (key.to_owned(), text.to_owned()))
                .collect(),
        ));
    }
    let own = core.privileges(&call.who, &path);
    for role in call.list("roles") {
        let Some(privileges) = known.get(&role) else {
            return Err(failed(format!("role '{role}' does not exist")));
        };
        if !own.contains_key("Permissions.Modify")
            && let Some(missing) = privileges.iter().find(|privilege| !own.contains_key(*privilege))
        {
            // Without the general right one may only hand out what one has.
            return Err(ApiError::forbidden(&format!("{path}, {missing}")));
        }
        for (kind, who) in &subjects {
            let access = &core.world.access;
            let exists = match kind {
                AclKind::User => access.users.contains_key(who),
                AclKind::Group => access.groups.contains(who),
                AclKind::Token => who.split_once('!').is_some_and(|(user, id)| {
                    access.users.get(user).is_some_and(|user| user.tokens.contains_key(id))
                }),
            };
            if !exists && !deleting {
                return Err(failed(format!("{} '{who}' does not exist", kind_name(*kind))));
            }
            let acl = &mut core.world.access.acl;
            acl.retain(|entry| {
                !(entry.path == path
                    && entry.kind == *kind
                    && &entry.who == who
                    && entry.role == role)
            });
            if !deleting {
                acl.push(AclEntry {
                    path: path.clone(),
                    kind: *kind,
                    who: who.clone(),
                    role: role.clone(),
                    propagate,
                });
            }
        }
    }
    Ok(Outcome::Null)
}

/// `GET /access/users`.
pub(crate) fn users(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let held = core.privileges(&call.who, "/access/groups");
    let sees_all = held.contains_key("Sys.Audit") || held.contains_key("User.Modify");
    let full = call.flag("full");
    let mut rows = Vec::new();
    for (name, user) in &core.world.access.users {
        if !sees_all && name != &call.who.user {
            continue;
        }
        let realm = name.rsplit('@').next().unwrap_or("");
        let mut row = json!({
            "userid": name, "enable": u8::from(user.enable), "expire": user.expire, "realm-type": realm,
        });
        for (key, value) in [
            ("email", &user.email),
            ("firstname", &user.firstname),
            ("lastname", &user.lastname),
            ("comment", &user.comment),
        ] {
            if let Some(value) = value {
                row[key] = json!(value);
            }
        }
        if full {
            row["groups"] = json!(user.groups.iter().cloned().collect::<Vec<_>>().join(","));
            row["tokens"] = user
                .tokens
                .iter()
                .map(|(id, token)| {
                    json!({"tokenid": id, "privsep": u8::from(token.privsep), "expire": token.expire})
                })
                .collect();
        }
        rows.push(row);
    }
    Ok(Outcome::Data(Value::Array(rows)))
}

/// `GET /access/users/{userid}`: unlike in the list, groups are an array and tokens an object.
pub(crate) fn user(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    const ENOUGH: [&str; 2] = ["User.Modify", "Sys.Audit"];
    let name = call.id("userid");
    let Some(user) = core.world.access.users.get(name) else {
        return Err(ApiError::died(format!("no such user ('{name}')")));
    };
    let through_group = user
        .groups
        .iter()
        .any(|group| core.need_any(&call.who, &format!("/access/groups/{group}"), &ENOUGH).is_ok());
    if !through_group {
        core.need_any(&call.who, "/access/groups", &ENOUGH)?;
    }
    let tokens: Map<String, Value> = user
        .tokens
        .iter()
        .map(|(id, token)| {
            (id.clone(), json!({"privsep": u8::from(token.privsep), "expire": token.expire}))
        })
        .collect();
    let mut row = json!({
        "enable": u8::from(user.enable), "expire": user.expire, "groups": user.groups, "tokens": tokens,
    });
    for (key, value) in [
        ("email", &user.email),
        ("firstname", &user.firstname),
        ("lastname", &user.lastname),
        ("comment", &user.comment),
    ] {
        if let Some(value) = value {
            row[key] = json!(value);
        }
    }
    Ok(Outcome::Data(row))
}

/// `GET /access/roles`.
pub(crate) fn roles(core: &mut Core, _call: &Call) -> ApiResult<Outcome> {
    let access = &core.world.access;
    let rows = access
        .all_roles(core.release)
        .iter()
        .map(|(name, privileges)| {
            let text = privileges.iter().cloned().collect::<Vec<_>>().join(",");
            let mut row = json!({"roleid": name, "privs": text});
            if !access.custom_roles.contains_key(name) {
                row["special"] = json!(1);
            }
            row
        })
        .collect();
    Ok(Outcome::Data(Value::Array(rows)))
}

/// `GET /access/domains`: the login dialog needs it before anyone is known.
pub(crate) fn domains(_core: &mut Core, _call: &Call) -> ApiResult<Outcome> {
    Ok(Outcome::Data(json!([
        {"realm": "pam", "type": "pam", "comment": "Linux PAM standard authentication"},
        {"realm": "pve", "type": "pve", "comment": "Proxmox VE authentication server"},
    ])))
}

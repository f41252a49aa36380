//! Roles of ours, and what is granted with them.
//!
//! Pure. A role is called `nh-PROJECT-viewer` and so on, and is found by its name: numbers
//! differ between servers. A role has no room for a mark, so that one whose privileges are not
//! exactly those of the table counts as somebody's change, and is neither granted nor written.

use super::{rights::Roles, vim::MoRef};
use crate::model::{GrantRole, GrantSeen, Grantee, ProjectName, RoleSeen};
use std::collections::{BTreeMap, BTreeSet};

/// What the product puts into every role that somebody makes: to see and to read.
pub(super) const OF_EVERY_ROLE: [&str; 3] = ["System.Anonymous", "System.Read", "System.View"];

/// Who may look needs nothing beside that.
const VIEWER: [&str; 0] = [];

/// To use machines as they are. No media and no devices: what is connected to a machine is
/// what its entry says.
const OPERATOR: [&str; 6] = [
    // A machine that asks something stands still until somebody answers.
    "VirtualMachine.Interact.AnswerQuestion",
    "VirtualMachine.Interact.ConsoleInteract",
    "VirtualMachine.Interact.PowerOff",
    "VirtualMachine.Interact.PowerOn",
    "VirtualMachine.Interact.Reset",
    "VirtualMachine.Interact.Suspend",
];

/// That, and what is no part of an entry: notes, where these are not declared, and snapshots of
/// one's own. Not a machine's advanced configuration, in which the mark is; not its hardware,
/// which would only be drift; and not its life: nobody who is granted this can make, move or
/// remove a machine, or grant anything to others.
const ADMIN: [&str; 10] = [
    "VirtualMachine.Config.Annotation",
    "VirtualMachine.Interact.AnswerQuestion",
    "VirtualMachine.Interact.ConsoleInteract",
    "VirtualMachine.Interact.PowerOff",
    "VirtualMachine.Interact.PowerOn",
    "VirtualMachine.Interact.Reset",
    "VirtualMachine.Interact.Suspend",
    "VirtualMachine.State.CreateSnapshot",
    "VirtualMachine.State.RemoveSnapshot",
    "VirtualMachine.State.RevertToSnapshot",
];

/// What a role of ours allows beside what every role does.
pub(super) fn privileges(role: GrantRole) -> &'static [&'static str] {
    match role {
        GrantRole::Viewer => &VIEWER,
        GrantRole::Operator => &OPERATOR,
        GrantRole::Admin => &ADMIN,
    }
}

/// A role's name. The last word is one of ours, so that no two projects have one in common.
pub(super) fn role_name(project: &ProjectName, role: GrantRole) -> String {
    format!("nh-{project}-{role}")
}

/// Roles of ours that are there, by what they allow.
pub(super) fn roles_seen(project: &ProjectName, roles: &Roles) -> BTreeMap<GrantRole, RoleSeen> {
    let seen = |role: GrantRole| {
        let native = role_name(project, role);
        let there = roles.privileges(roles.id(&native)?)?;
        let wanted: BTreeSet<&str> = privileges(role).iter().copied().collect();
        let has: BTreeSet<&str> = there.iter().map(String::as_str).collect();
        let more = has.iter().filter(|it| !wanted.contains(*it) && !OF_EVERY_ROLE.contains(it));
        let more: BTreeSet<String> = more.map(|it| (*it).to_owned()).collect();
        let fewer: BTreeSet<String> = wanted.difference(&has).map(|it| (*it).to_owned()).collect();
        let seen = match more.is_empty() && fewer.is_empty() {
            true => RoleSeen::Whole,
            false => RoleSeen::Changed { native, more, fewer },
        };
        Some((role, seen))
    };
    GrantRole::ALL.into_iter().filter_map(seen).collect()
}

/// The numbers of our roles that are there.
pub(super) fn role_ids(project: &ProjectName, roles: &Roles) -> BTreeMap<GrantRole, i64> {
    let id = |role: GrantRole| Some((role, roles.id(&role_name(project, role))?));
    GrantRole::ALL.into_iter().filter_map(id).collect()
}

/// One permission somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// On which object.
    pub entity: MoRef,
    /// Whose, as the server spells it.
    pub principal: String,
    /// Whether these are several.
    pub group: bool,
    /// Which role, by its number.
    pub role: i64,
    /// Whether it holds for all below, too.
    pub propagates: bool,
}

/// What of the permissions on one object concerns us: those with a role of ours, and those of
/// people to whom the configuration grants something there.
pub(super) fn on(
    object: &MoRef,
    rows: &[Row],
    roles: &Roles,
    project: &ProjectName,
    wanted: &BTreeSet<Grantee>,
) -> BTreeSet<GrantSeen> {
    let ids = role_ids(project, roles);
    let seen = |row: &Row| {
        let grantee = Grantee::new(&row.principal, row.group);
        let role = ids.iter().find(|(_, id)| **id == row.role).map(|(role, _)| *role);
        let concerns = role.is_some() || wanted.contains(&grantee);
        let name = roles.name(row.role).map(str::to_owned);
        concerns.then(|| GrantSeen {
            grantee,
            role,
            native: name.unwrap_or_else(|| format!("number {}", row.role)),
            whole: row.propagates,
        })
    };
    rows.iter().filter(|row| row.entity == *object).filter_map(seen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::vcenter::vim::soap::parse;

    fn roles(extra: &str) -> Roles {
        let list = |all: &[&str]| -> String {
            let all = all.iter().chain(&OF_EVERY_ROLE);
            all.map(|it| format!("<privilege>{it}</privilege>")).collect()
        };
        let text = format!(
            "<roleList><AuthorizationRole><roleId>-1</roleId><name>Admin</name>\
             </AuthorizationRole><AuthorizationRole><roleId>7</roleId>\
             <name>nh-acme-operator</name>{}</AuthorizationRole><AuthorizationRole>\
             <roleId>8</roleId><name>nh-acme-viewer</name>{}{extra}</AuthorizationRole>\
             <AuthorizationRole><roleId>9</roleId><name>nh-acme-lab-viewer</name>{}\
             </AuthorizationRole></roleList>",
            list(&OPERATOR),
            list(&VIEWER),
            list(&VIEWER),
        );
        Roles::of(&parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_role_is_ours_only_as_it_should_be() {
        let project = ProjectName::from("acme");
        let seen = roles_seen(&project, &roles(""));
        assert_eq!(
            seen.keys().copied().collect::<Vec<_>>(),
            [GrantRole::Viewer, GrantRole::Operator]
        );
        assert!(seen.values().all(|it| *it == RoleSeen::Whole), "{seen:?}");
        let widened = roles("<privilege>Datastore.Browse</privilege>");
        let RoleSeen::Changed { more, fewer, .. } =
            &roles_seen(&project, &widened)[&GrantRole::Viewer]
        else {
            panic!("it was changed")
        };
        assert_eq!((more.len(), fewer.len()), (1, 0));
    }

    #[test]
    fn no_role_can_remove_or_disguise_a_machine_or_grant_anything() {
        for role in GrantRole::ALL {
            for privilege in privileges(role) {
                let harmful = ["Inventory", "AdvancedConfig", "Authorization", "Provisioning"];
                assert!(!harmful.iter().any(|it| privilege.contains(it)), "{privilege}");
            }
        }
        let is_in = |less: GrantRole, more: GrantRole| {
            privileges(less).iter().all(|it| privileges(more).contains(it))
        };
        assert!(is_in(GrantRole::Viewer, GrantRole::Operator));
        assert!(is_in(GrantRole::Operator, GrantRole::Admin));
    }

    #[test]
    fn of_permissions_those_that_concern_us_are_kept() {
        let project = ProjectName::from("acme");
        let at = MoRef::new("Folder", "group-v9");
        let row = |principal: &str, role: i64| Row {
            entity: at.clone(),
            principal: principal.to_owned(),
            group: false,
            role,
            propagates: true,
        };
        let elsewhere = Row { entity: MoRef::new("Folder", "group-v8"), ..row("D\\eve", 8) };
        let rows = [
            row("D\\Bob", 8),
            row("D\\carol", -1),
            row("D\\dave", -1),
            // The viewer of another project.
            row("D\\erin", 9),
            elsewhere,
        ];
        let wanted = [Grantee::new("carol@d", false)].into();
        let seen = on(&at, &rows, &roles(""), &project, &wanted);
        let told: Vec<_> = seen.iter().map(|it| (it.grantee.to_string(), it.role)).collect();
        assert_eq!(
            told,
            [("D\\bob".to_owned(), Some(GrantRole::Viewer)), ("D\\carol".to_owned(), None)]
        );
    }
}

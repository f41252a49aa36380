//! How far the absence of a guest can be believed: a pure judgement over rows.
//!
//! Complete needs a whole cluster and an account that sees every guest. Access rows
//! below `/vms` *replace* what is inherited, so one row can hide one guest from an
//! account that otherwise sees all; they are looked at one by one.

use super::wire::{AclRow, Permissions};
use crate::model::{Coverage, NodeName};
use std::collections::{BTreeMap, BTreeSet};

/// The privilege without which a guest is left out of every list.
const SEE_GUESTS: &str = "VM.Audit";
/// The privilege without which access rows of others are left out of their list.
const SEE_ACCESS: &str = "Sys.Audit";
/// The role that takes everything away, also from members of a pool.
const NO_ACCESS: &str = "NoAccess";

/// What the judgement rests on.
pub(super) struct Facts<'a> {
    /// Calls that failed, one line each.
    pub gaps: &'a [String],
    /// Whether the cluster has a quorum; `None` = the account may not know.
    pub quorate: Option<bool>,
    /// Hosts, and whether they answer.
    pub nodes: &'a BTreeMap<NodeName, bool>,
    /// What the account may do.
    pub permissions: &'a Permissions,
    /// Who may do what, as far as the account may see.
    pub acl: &'a [AclRow],
    /// `user@realm`, or `user@realm!token`.
    pub identity: &'a str,
    /// The user's groups; `None` = not known, so that every group may be one.
    pub groups: Option<&'a BTreeSet<String>>,
}

/// What shows all guests to an account.
const SEE_ALL: &str =
    "give the account VM.Audit on `/vms` with propagation, and take away rows that hide guests";

/// The verdict. What did not answer outweighs what may not be seen.
pub(super) fn judge_coverage(facts: &Facts<'_>) -> Coverage {
    let mut gaps = facts.gaps.to_vec();
    if facts.quorate == Some(false) {
        gaps.push("the cluster has no quorum".into());
    }
    if facts.nodes.is_empty() {
        gaps.push("no node is listed".into());
    }
    let silent = facts.nodes.iter().filter(|(_, online)| !**online);
    gaps.extend(silent.map(|(node, _)| format!("node `{node}` is not online")));
    if !gaps.is_empty() {
        return Coverage::Incomplete { gaps };
    }
    match hidden(facts) {
        Some(why) => Coverage::Scoped { why, help: SEE_ALL.to_owned() },
        None => Coverage::Complete,
    }
}

/// Why some guest may be hidden from this account.
fn hidden(facts: &Facts<'_>) -> Option<String> {
    if facts.quorate.is_none() {
        return Some(format!(
            "the account may not read the cluster's status ({SEE_ACCESS} on `/`)"
        ));
    }
    if !["/vms", "/"].iter().any(|path| inherited(facts.permissions, path, SEE_GUESTS)) {
        return Some(format!("the account has no propagated {SEE_GUESTS} on `/` or `/vms`"));
    }
    let reads_access = match facts.permissions.get("/access") {
        Some(privileges) => privileges.contains_key(SEE_ACCESS),
        None => inherited(facts.permissions, "/", SEE_ACCESS),
    };
    if !reads_access {
        return Some(format!("the account may not read access rows ({SEE_ACCESS} on `/access`)"));
    }
    let row = facts
        .acl
        .iter()
        .find(|row| applies(row, facts.identity, facts.groups) && takes_away(row, facts))?;
    Some(format!(
        "role `{}` of {} `{}` hides guests at `{}`",
        row.roleid, row.kind, row.ugid, row.path
    ))
}

/// Whether a row is about groups, so that memberships matter.
pub(super) fn needs_groups(acl: &[AclRow]) -> bool {
    acl.iter().any(|row| row.kind == "group" && (is_below_vms(row) || is_pool(row)))
}

fn inherited(permissions: &Permissions, path: &str, privilege: &str) -> bool {
    permissions.get(path).and_then(|all| all.get(privilege)).is_some_and(|spreads| spreads.0)
}

fn is_below_vms(row: &AclRow) -> bool {
    row.path == "/vms" || row.path.starts_with("/vms/")
}

fn is_pool(row: &AclRow) -> bool {
    row.path == "/pool" || row.path.starts_with("/pool/")
}

/// Whether a row is about this account, or may be.
pub(super) fn applies(row: &AclRow, identity: &str, groups: Option<&BTreeSet<String>>) -> bool {
    let user = identity.split('!').next().unwrap_or_default();
    match row.kind.as_str() {
        "user" => row.ugid == user,
        "token" => row.ugid == identity,
        "group" => groups.is_none_or(|groups| groups.contains(&row.ugid)),
        // A kind of a later version may mean anybody.
        _ => true,
    }
}

/// The server has already worked out what holds at each path that a row names; a
/// path that is left out there holds nothing.
fn takes_away(row: &AclRow, facts: &Facts<'_>) -> bool {
    if is_pool(row) {
        // Roles on a pool only add, but for this one.
        return row.roleid == NO_ACCESS;
    }
    let effective = facts.permissions.get(&row.path);
    is_below_vms(row) && !effective.is_some_and(|all| all.contains_key(SEE_GUESTS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::proxmox::wire::Flag;

    struct World {
        gaps: Vec<String>,
        quorate: Option<bool>,
        nodes: BTreeMap<NodeName, bool>,
        permissions: Permissions,
        acl: Vec<AclRow>,
        groups: Option<BTreeSet<String>>,
    }

    fn grant(world: &mut World, path: &str, privilege: &str, spreads: bool) {
        let at = world.permissions.entry(path.into()).or_default();
        at.insert(privilege.into(), Flag(spreads));
    }

    fn row(world: &mut World, path: &str, kind: &str, ugid: &str, roleid: &str) {
        let text = |text: &str| text.to_owned();
        world.acl.push(AclRow {
            path: text(path),
            kind: text(kind),
            ugid: text(ugid),
            roleid: text(roleid),
        });
    }

    fn auditor() -> World {
        let mut world = World {
            gaps: vec![],
            quorate: Some(true),
            nodes: [("pve1".into(), true), ("pve2".into(), true)].into(),
            permissions: Permissions::new(),
            acl: vec![],
            groups: Some(["ops".to_owned()].into()),
        };
        grant(&mut world, "/vms", "VM.Audit", true);
        grant(&mut world, "/access", "Sys.Audit", true);
        world
    }

    fn judge(world: &World) -> Coverage {
        judge_coverage(&Facts {
            gaps: &world.gaps,
            quorate: world.quorate,
            nodes: &world.nodes,
            permissions: &world.permissions,
            acl: &world.acl,
            identity: "nova@pve!plan",
            groups: world.groups.as_ref(),
        })
    }

    fn is_scoped(world: &World) -> bool {
        matches!(judge(world), Coverage::Scoped { .. })
    }

    fn is_incomplete(world: &World) -> bool {
        matches!(judge(world), Coverage::Incomplete { .. })
    }

    #[test]
    fn an_account_that_sees_all_of_a_whole_cluster_is_complete() {
        assert_eq!(judge(&auditor()), Coverage::Complete);
        let mut root = auditor();
        root.permissions.clear();
        grant(&mut root, "/", "VM.Audit", true);
        grant(&mut root, "/", "Sys.Audit", true);
        assert_eq!(judge(&root), Coverage::Complete);
    }

    #[test]
    fn a_silent_node_a_lost_quorum_or_a_failed_call_is_incomplete_whatever_the_rights() {
        let edits: [fn(&mut World); 4] = [
            |it| {
                it.nodes.insert("pve2".into(), false);
            },
            |it| it.quorate = Some(false),
            |it| it.gaps.push("could not list guests of `pve1`".into()),
            |it| it.nodes.clear(),
        ];
        for edit in edits {
            let mut world = auditor();
            world.permissions.clear();
            edit(&mut world);
            assert!(is_incomplete(&world));
        }
    }

    #[test]
    fn fewer_rights_are_scoped() {
        let mut not_spread = auditor();
        grant(&mut not_spread, "/vms", "VM.Audit", false);
        let mut pool_only = auditor();
        pool_only.permissions.remove("/vms");
        grant(&mut pool_only, "/pool/nova", "VM.Audit", true);
        let mut blind_to_access = auditor();
        blind_to_access.permissions.remove("/access");
        let mut blind_to_status = auditor();
        blind_to_status.quorate = None;
        for world in [not_spread, pool_only, blind_to_access, blind_to_status] {
            assert!(is_scoped(&world));
        }
    }

    #[test]
    fn a_row_that_hides_one_guest_from_us_is_scoped() {
        let ours = [("user", "nova@pve"), ("group", "ops"), ("token", "nova@pve!plan")];
        for (kind, ugid) in ours {
            let mut world = auditor();
            row(&mut world, "/vms/100", kind, ugid, "PVEPoolUser");
            assert!(is_scoped(&world), "{kind}");
            // The same row with a role that lets us see it hides nothing.
            grant(&mut world, "/vms/100", "VM.Audit", false);
            assert_eq!(judge(&world), Coverage::Complete, "{kind}");
        }
    }

    #[test]
    fn no_access_on_a_pool_hides_its_members_and_other_roles_there_do_not() {
        let mut world = auditor();
        row(&mut world, "/pool/lab", "group", "ops", "PVEPoolUser");
        assert_eq!(judge(&world), Coverage::Complete);
        row(&mut world, "/pool/lab", "group", "ops", "NoAccess");
        assert!(is_scoped(&world));
    }

    #[test]
    fn rows_of_others_hide_nothing_unless_they_may_be_ours() {
        let mut world = auditor();
        row(&mut world, "/vms/100", "user", "other@pve", "NoAccess");
        row(&mut world, "/vms/100", "token", "nova@pve!other", "NoAccess");
        row(&mut world, "/vms/100", "group", "guests", "NoAccess");
        row(&mut world, "/storage/x", "user", "nova@pve", "NoAccess");
        assert_eq!(judge(&world), Coverage::Complete);
        assert!(needs_groups(&world.acl));
        world.groups = None;
        assert!(is_scoped(&world));
    }
}

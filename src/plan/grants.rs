//! What people may do with a pool: what is to be granted on its parts, and what is to be
//! taken away.
//!
//! A grant is ours when it gives a role of ours on a part that bears our mark; no other is
//! touched. A role of ours that somebody changed is never granted, and never put right: what
//! it allows is said by nobody but the product, and a name is no mark.

use super::{Builder, base::pool_base, group_action, pools::pool_action_id};
use crate::model::{
    Action, Blocked, Change, Code, DesiredPool, Disruption, FieldChange, FieldKind, FieldPath,
    Grant, GrantChange, GrantEnd, GrantSeen, GranteeSeen, HypervisorName, ObservedPool, PartSeen,
    PoolPart, Reason, ResourceKey, RoleSeen, Value, Verb, grant_lines,
};
use std::collections::BTreeSet;

/// Grants of one pool, as they are to be changed.
pub(super) struct PlannedGrants {
    pub(super) change: GrantChange,
    pub(super) field: FieldChange,
}

/// The parts of a pool by what may be granted on them.
struct Parts<'a> {
    /// Ours, or to be made by this plan: what the entry grants is granted here.
    wanted: Vec<(&'a PoolPart, &'a PartSeen)>,
    /// All of ours, those among them that the entry does not name any more.
    ours: Vec<(&'a PoolPart, &'a PartSeen)>,
    /// There without our mark.
    foreign: Vec<&'a PoolPart>,
}

impl Builder<'_> {
    /// What is to become of the grants on a pool; `None` = nothing. What cannot be granted is
    /// blocked, each with the line that asks for it; everything else goes on.
    pub(super) fn plan_grants(
        &mut self,
        pool: &DesiredPool,
        hypervisor: &HypervisorName,
        seen: &ObservedPool,
    ) -> Option<PlannedGrants> {
        let asked = pool.acl.get(hypervisor).map_or(&[][..], Vec::as_slice);
        let parts = self.parts_for_grants(pool, seen);
        let kept: BTreeSet<_> = asked.iter().map(|it| &it.grantee).collect();
        let mut change = GrantChange::default();
        for (part, it) in &parts.ours {
            let gone = |seen: &&GrantSeen| seen.role.is_some() && !kept.contains(&seen.grantee);
            let gone = it.grants.iter().filter(gone);
            change.take.extend(gone.map(|seen| ((*part).clone(), seen.grantee.clone())));
        }
        for grant in asked {
            match refusal(grant, seen, &parts) {
                Some(refused) => self.block_grant(pool, hypervisor, grant, refused),
                None => give(grant, seen, &parts, &mut change),
            }
        }
        if change.is_empty() {
            return None;
        }
        if let Some(hindrance) = &seen.access.hindrance {
            let place = asked.first().map_or(&pool.place, |grant| &grant.place);
            self.block(Blocked {
                key: pool.key.clone(),
                hypervisor: hypervisor.clone(),
                verb: Some(Verb::Update),
                code: Code::GrantRefused,
                message: hindrance.why.clone(),
                help: hindrance.help.clone(),
                place: Some(place.clone()),
            });
            return None;
        }
        let place = asked.first().map_or(&pool.place, |grant| &grant.place);
        let field = FieldChange {
            field: FieldPath::of(FieldKind::Acl),
            before: Some(Value::set(&seen.grant_lines())),
            after: Some(Value::set(&lines_after(&parts, &change))),
            // Nobody's machine notices. What is taken away can be granted again.
            disruption: Disruption::Online,
            place: Some(place.clone()),
            pending: false,
        };
        Some(PlannedGrants { change, field })
    }

    /// What was granted on a pool whose entry is gone goes with the entry, also where the pool
    /// itself has to stay.
    pub(super) fn take_all_grants(
        &mut self,
        key: &ResourceKey,
        hypervisor: &HypervisorName,
        seen: &ObservedPool,
    ) {
        let project = &self.input.desired.project;
        let own = seen.parts.iter().filter(|(part, _)| part.kind.is_own());
        let own = own.filter(|(_, it)| it.is_marked_by(project, key));
        let parts = Parts { wanted: Vec::new(), ours: own.collect(), foreign: Vec::new() };
        let given = |(part, it): &(&PoolPart, &PartSeen)| {
            let part = (*part).clone();
            let own = it.grants.iter().filter(|seen| seen.role.is_some());
            own.map(|seen| (part.clone(), seen.grantee.clone())).collect::<Vec<_>>()
        };
        let take: Vec<_> = parts.ours.iter().flat_map(given).collect();
        if take.is_empty() {
            return;
        }
        let change = GrantChange { take, ..GrantChange::default() };
        let granting = Change::Grants(&change);
        let Some(steps) = self.lowered(key, hypervisor, Verb::Update, None, &granting) else {
            return;
        };
        let field = FieldChange {
            field: FieldPath::of(FieldKind::Acl),
            before: Some(Value::set(&seen.grant_lines())),
            after: Some(Value::set(&lines_after(&parts, &change))),
            disruption: Disruption::Online,
            place: None,
            pending: false,
        };
        let bare = group_action(
            pool_action_id(key, hypervisor, Verb::Update),
            (key, hypervisor),
            Verb::Update,
            steps,
        );
        let action = Action {
            native_id: Some(key.name.as_str().into()),
            fields: vec![field],
            classes: [Disruption::Online].into(),
            base: Some(pool_base(seen)),
            ..bare
        };
        self.add(action, Reason::Removed);
    }

    fn parts_for_grants<'a>(&self, pool: &DesiredPool, seen: &'a ObservedPool) -> Parts<'a> {
        let own = || seen.parts.iter().filter(|(part, _)| part.kind.is_own());
        let ours = |it: &PartSeen| self.is_ours(pool, it);
        Parts {
            wanted: own().filter(|(_, it)| it.named && (it.id.is_none() || ours(it))).collect(),
            ours: own().filter(|(_, it)| ours(it)).collect(),
            foreign: own()
                .filter(|(_, it)| it.named && it.id.is_some() && !ours(it))
                .map(|(part, _)| part)
                .collect(),
        }
    }

    fn block_grant(
        &mut self,
        pool: &DesiredPool,
        hypervisor: &HypervisorName,
        grant: &Grant,
        (code, why, help): Refused,
    ) {
        self.block(Blocked {
            key: pool.key.clone(),
            hypervisor: hypervisor.clone(),
            verb: Some(Verb::Update),
            code,
            message: format!("`{}` is not made {} of it: {why}", grant.user, grant.role),
            help: help.to_owned(),
            place: Some(grant.place.clone()),
        });
    }
}

/// Why something is not granted, and what to do.
type Refused = (Code, String, &'static str);

fn refusal(grant: &Grant, seen: &ObservedPool, parts: &Parts<'_>) -> Option<Refused> {
    let grantee = &grant.grantee;
    if let Some(part) = parts.foreign.first() {
        let why = format!("`{}` is there without our mark, and is used only", part.name);
        let help = "grant it there by hand, or let the pool have places of its own";
        return Some((Code::GrantForeign, why, help));
    }
    if parts.wanted.is_empty() {
        let why = "the pool has no place of its own there".to_owned();
        return Some((Code::GrantForeign, why, "give the pool places of its own under `at:`"));
    }
    let refused = match seen.access.grantees.get(grantee) {
        Some(GranteeSeen::Known) | None => None,
        Some(GranteeSeen::Missing) => Some((
            Code::GranteeUnknown,
            format!("`{grantee}` is not known there"),
            "write the name under `users:` as it is shown there, or make the account first",
        )),
        Some(GranteeSeen::HoldsUs) => Some((
            Code::GrantRefused,
            format!("our own account is in `{grantee}`, and would have no other rights there"),
            "take the account out of that group, or grant it to another one",
        )),
        Some(GranteeSeen::Unasked(why)) => Some((
            Code::GrantRefused,
            format!("whether `{grantee}` is there could not be asked: {why}"),
            "plan again when it answers",
        )),
    };
    let changed = || match seen.access.roles.get(&grant.role) {
        Some(RoleSeen::Changed { native, more, fewer }) => Some((
            Code::RoleChanged,
            format!("the role `{native}` {}", differs(more, fewer)),
            "give the role back what it was, or delete it when nobody needs it: then it is \
             made anew",
        )),
        Some(RoleSeen::Whole) | None => None,
    };
    let taken = || {
        let others = |it: &&GrantSeen| it.grantee == *grantee && it.role.is_none();
        let (part, found) = parts
            .ours
            .iter()
            .find_map(|(part, it)| Some((part, it.grants.iter().find(others)?)))?;
        Some((
            Code::GrantForeign,
            format!("somebody gave them the role `{}` on `{}`", found.native, part.name),
            "take that one away by hand first: nobody has two roles on one object",
        ))
    };
    refused.or_else(changed).or_else(taken)
}

fn differs(more: &BTreeSet<String>, fewer: &BTreeSet<String>) -> String {
    let list = |all: &BTreeSet<String>| all.iter().cloned().collect::<Vec<_>>().join(", ");
    match (more.is_empty(), fewer.is_empty()) {
        (false, false) => {
            format!("allows {} by now, and does not allow {}", list(more), list(fewer))
        }
        (false, true) => format!("allows {} by now", list(more)),
        (true, _) => format!("does not allow {}", list(fewer)),
    }
}

fn give(grant: &Grant, seen: &ObservedPool, parts: &Parts<'_>, change: &mut GrantChange) {
    for (part, it) in &parts.wanted {
        let end = GrantEnd {
            part: (*part).clone(),
            grantee: grant.grantee.clone(),
            role: Some(grant.role),
        };
        if end.holds(&it.grants) {
            continue;
        }
        if !seen.access.roles.contains_key(&grant.role) {
            change.make.insert(grant.role);
        }
        change.give.push((end.part, end.grantee, grant.role));
    }
}

/// What is granted on every part once the change is made.
fn lines_after(parts: &Parts<'_>, change: &GrantChange) -> BTreeSet<String> {
    let all: BTreeSet<&PoolPart> =
        parts.ours.iter().chain(&parts.wanted).map(|(part, _)| *part).collect();
    let seen = |part: &PoolPart| {
        let mut found = parts.ours.iter().filter(|(it, _)| *it == part);
        found.next().map(|(_, it)| it.grants.clone()).unwrap_or_default()
    };
    let after = |part: &&PoolPart| {
        let mut grants = seen(part);
        let given = || change.give.iter().filter(|(it, _, _)| it == *part);
        let moved = |it: &GrantSeen| {
            given().any(|(_, grantee, _)| *grantee == it.grantee)
                || change.take.contains(&((*part).clone(), it.grantee.clone()))
        };
        grants.retain(|it| !moved(it));
        grants.extend(given().map(|(_, grantee, role)| GrantSeen {
            grantee: grantee.clone(),
            role: Some(*role),
            native: String::new(),
            whole: true,
        }));
        grants
    };
    let after: Vec<BTreeSet<GrantSeen>> = all.iter().map(after).collect();
    grant_lines(&after.iter().collect::<Vec<_>>())
}

//! Pools whose entry is gone.

use super::{own_parts, pool_action_id};
use crate::{
    model::{
        Action, Blocked, Change, Code, Disruption, HypervisorInventory, HypervisorName, NativeId,
        ObservedPool, PartSeen, Reason, ResourceKey, Verb,
    },
    plan::{Builder, base::pool_base, group_action},
};
use std::collections::BTreeMap;

impl Builder<'_> {
    pub(super) fn plan_removed_pool(
        &mut self,
        key: &ResourceKey,
        hypervisor: &HypervisorName,
        found: &HypervisorInventory,
        seen: &ObservedPool,
    ) {
        if let Some(text) = self.used_under_another_name(hypervisor, found, seen) {
            self.take_all_grants(key, hypervisor, seen);
            return self.note(key, text);
        }
        let blocked = |code, message: String, help: &str| Blocked {
            key: key.clone(),
            hypervisor: hypervisor.clone(),
            verb: Some(Verb::Delete),
            code,
            message,
            help: help.to_owned(),
            place: None,
        };
        if !found.coverage.is_complete() {
            let text = format!("{hypervisor} was not read completely, so nothing is deleted there");
            let help = "plan again when all of it answers";
            return self.block(blocked(Code::IncompleteInventory, text, help));
        }
        if let Some(what) = self.what_stays(key, hypervisor, seen) {
            let text = format!("pool `{}` on {hypervisor} still holds {what}", key.name);
            let help =
                "move it out (an entry that names no pool stays where it is), or keep the pool";
            self.take_all_grants(key, hypervisor, seen);
            return self.block(blocked(Code::PoolNotEmpty, text, help));
        }
        let change = Change::DeletePool(seen);
        let Some(steps) = self.lowered(key, hypervisor, Verb::Delete, None, &change) else {
            return;
        };
        let bare = group_action(
            pool_action_id(key, hypervisor, Verb::Delete),
            (key, hypervisor),
            Verb::Delete,
            steps,
        );
        let action = Action {
            native_id: Some(key.name.as_str().into()),
            classes: [Disruption::Delete].into(),
            base: Some(pool_base(seen)),
            ..bare
        };
        self.add(action, Reason::Removed);
    }

    /// Whether something else in the configuration names what the pool is made of: its entry was
    /// renamed, another is put below it, or machines in no pool go there. What machines are to
    /// be in is nothing to remove, empty or not.
    fn used_under_another_name(
        &self,
        hypervisor: &HypervisorName,
        found: &HypervisorInventory,
        seen: &ObservedPool,
    ) -> Option<String> {
        let desired = self.input.desired.pools.values();
        let here = desired.filter(|it| it.at.contains_key(hypervisor));
        let seen_here = here.filter_map(|it| Some((&it.key, found.pools.get(&it.key.name)?)));
        let named: BTreeMap<&NativeId, &ResourceKey> = seen_here
            .flat_map(|(key, other)| other.parts.values().map(move |it| (it, key)))
            .filter(|(it, _)| it.named)
            .filter_map(|(it, key)| Some((it.id.as_ref()?, key)))
            .collect();
        let other = |it: &PartSeen| {
            let entry = named.get(it.id.as_ref()?).map(ToString::to_string);
            entry.or_else(|| it.named.then(|| "what is in no pool".to_owned()))
        };
        let (part, other) = own_parts(seen).find_map(|(part, it)| Some((part, other(it)?)))?;
        Some(format!(
            "`{}` on {hypervisor} bears its mark, and {other} is there now: nothing of it is \
             removed. An entry of the old name would have it as ours again",
            part.name
        ))
    }

    /// What is in a pool and does not leave it in this very plan, in words. What leaves does so
    /// first: by an edge.
    fn what_stays(
        &self,
        key: &ResourceKey,
        hypervisor: &HypervisorName,
        seen: &ObservedPool,
    ) -> Option<String> {
        let ours = self.ownership.owned.iter().filter(|(_, it)| it.hypervisor == *hypervisor);
        let ours: BTreeMap<&NativeId, &ResourceKey> = ours.map(|(key, it)| (&it.id, key)).collect();
        let leaves = |id: &NativeId| {
            ours.get(id).is_some_and(|member| self.is_to_leave(member, key, hypervisor))
        };
        let stay: Vec<String> = seen
            .members
            .iter()
            .filter(|id| !leaves(id))
            .map(|id| self.called(hypervisor, id))
            .collect();
        match (stay.is_empty(), seen.other_members) {
            (true, false) => None,
            (true, true) => Some("what is no machine".to_owned()),
            (false, _) => Some(stay.join(", ")),
        }
    }

    /// Whether a machine of ours goes, or its entry names another pool. One that names none
    /// stays where it is.
    fn is_to_leave(
        &self,
        member: &ResourceKey,
        pool: &ResourceKey,
        hypervisor: &HypervisorName,
    ) -> bool {
        let desired = self.input.desired;
        let renamed = || desired.machines.values().find(|it| it.was.as_ref() == Some(member));
        match desired.machines.get(member).or_else(renamed) {
            Some(it) => {
                it.hypervisor != *hypervisor
                    || it.spec.pool.as_ref().is_some_and(|name| *name != pool.name)
            }
            None => !desired.forget.contains(member),
        }
    }
}

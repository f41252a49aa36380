//! Actions on pools.

use super::{Builder, base::pool_base};
use crate::model::{
    Action, ActionId, Blocked, Change, Code, Coverage, DataLoss, DesiredPool, Disruption,
    FieldChange, FieldKind, FieldPath, Hindrance, HypervisorInventory, HypervisorName, Kind,
    ObservedPool, PartSeen, PartState, PoolChange, PoolPart, Reason, ResourceKey, Value, Verb,
    pool_address,
};
use std::collections::BTreeSet;

/// How a pool on a hypervisor stands to this project.
enum Standing<'a> {
    Absent,
    Ours(&'a ObservedPool),
    /// Exists without our mark: used for membership, never changed.
    NotOurs,
    /// Is made of several objects, each of which stands for itself.
    Parts(&'a ObservedPool),
}

impl Builder<'_> {
    pub(super) fn plan_pools(&mut self) {
        let desired = self.input.desired;
        for pool in desired.pools.values() {
            for hypervisor in pool.at.keys() {
                self.plan_pool(pool, hypervisor);
            }
        }
        let inventory = self.input.inventory;
        for (hypervisor, found) in &inventory.hypervisors {
            for (name, seen) in &found.pools {
                let Some(marker) = seen.marker.found() else { continue };
                let ours = marker.project == desired.project
                    && marker.key.kind == Kind::Pool
                    && marker.key.name == *name;
                let wanted = desired
                    .pools
                    .get(&marker.key)
                    .is_some_and(|pool| pool.at.contains_key(hypervisor));
                if ours && !wanted && seen.exists() {
                    self.plan_removed_pool(&marker.key, hypervisor, found, seen);
                }
            }
        }
    }

    fn standing<'a>(&self, key: &ResourceKey, found: &'a HypervisorInventory) -> Standing<'a> {
        match found.pools.get(&key.name) {
            None => Standing::Absent,
            Some(seen) if !seen.parts.is_empty() => Standing::Parts(seen),
            Some(seen) => match seen.marker.found() {
                Some(it) if it.project == self.input.desired.project && it.key == *key => {
                    Standing::Ours(seen)
                }
                Some(_) | None => Standing::NotOurs,
            },
        }
    }

    fn plan_pool(&mut self, pool: &DesiredPool, hypervisor: &HypervisorName) {
        let blocked = |code, message: String, help: &str| Blocked {
            key: pool.key.clone(),
            hypervisor: hypervisor.clone(),
            verb: Some(Verb::Create),
            code,
            message,
            help: help.to_owned(),
            place: Some(pool.place.clone()),
        };
        let Some(found) = self.input.inventory.hypervisors.get(hypervisor) else { return };
        if matches!(found.coverage, Coverage::Failed { .. }) {
            let text = format!("{hypervisor} was not read");
            self.block(blocked(Code::FailedHypervisor, text, "plan again when it answers"));
            return;
        }
        match self.standing(&pool.key, found) {
            Standing::NotOurs => {
                self.unchanged += 1;
                self.note(
                    &pool.key,
                    format!("exists on {hypervisor} without our mark: used for membership only"),
                );
            }
            Standing::Ours(seen) => self.update_pool(pool, hypervisor, seen),
            Standing::Parts(seen) => self.plan_parts(pool, hypervisor, found, seen),
            Standing::Absent if !found.coverage.is_complete() => {
                let text =
                    format!("{hypervisor} was not read completely, so absence is not proved");
                let help = "plan again when all of it answers, or widen the account's rights";
                self.block(blocked(Code::IncompleteInventory, text, help));
            }
            Standing::Absent => self.create_pool(pool, hypervisor, None),
        }
    }

    /// What is missing is made; what is there without our mark is used for membership.
    fn plan_parts(
        &mut self,
        pool: &DesiredPool,
        hypervisor: &HypervisorName,
        found: &HypervisorInventory,
        seen: &ObservedPool,
    ) {
        self.note_parts(pool, hypervisor, seen);
        let missing: Vec<&str> = own_parts(seen)
            .filter(|(_, it)| it.named && it.id.is_none())
            .map(|(part, _)| part.name.as_str())
            .collect();
        if missing.is_empty() {
            let ours = own_parts(seen).any(|(_, it)| it.named && self.is_ours(pool, it));
            match (ours, &seen.hindrance) {
                (_, Some(hindrance)) => self.block_hindered(pool, hypervisor, hindrance),
                (true, None) => self.update_pool(pool, hypervisor, seen),
                (false, None) => self.unchanged += 1,
            }
        } else if !found.coverage.is_complete() {
            self.block(Blocked {
                key: pool.key.clone(),
                hypervisor: hypervisor.clone(),
                verb: Some(Verb::Create),
                code: Code::IncompleteInventory,
                message: format!(
                    "{hypervisor} was not read completely, so it is not proved that {} is absent",
                    missing.join(", ")
                ),
                help: "plan again when all of it answers, or widen the account's rights".to_owned(),
                place: Some(pool.place.clone()),
            });
        } else if let Some(hindrance) = &seen.hindrance {
            self.block_hindered(pool, hypervisor, hindrance);
        } else {
            self.create_pool(pool, hypervisor, Some(seen));
        }
    }

    fn block_hindered(
        &mut self,
        pool: &DesiredPool,
        hypervisor: &HypervisorName,
        hindrance: &Hindrance,
    ) {
        self.block(Blocked {
            key: pool.key.clone(),
            hypervisor: hypervisor.clone(),
            verb: Some(Verb::Create),
            code: Code::PoolMissing,
            message: hindrance.why.clone(),
            help: hindrance.help.clone(),
            place: Some(pool.place.clone()),
        });
    }

    fn is_ours(&self, pool: &DesiredPool, part: &PartSeen) -> bool {
        let of_pool = |marker: &crate::model::Marker| {
            marker.project == self.input.desired.project && marker.key == pool.key
        };
        part.state() == PartState::Marked && part.marker.found().is_some_and(of_pool)
    }

    fn note_parts(&mut self, pool: &DesiredPool, hypervisor: &HypervisorName, seen: &ObservedPool) {
        let mut lines = Vec::new();
        for (part, it) in own_parts(seen).filter(|(_, it)| it.id.is_some()) {
            let name = &part.name;
            match (it.named, self.is_ours(pool, it)) {
                (true, true) => {}
                (true, false) => lines.push(format!(
                    "`{name}` exists on {hypervisor} without our mark: used for membership only"
                )),
                // Whether a person renamed it or the entry did, it may hold what is not ours.
                (false, _) => lines.push(format!(
                    "`{name}` on {hypervisor} bears the pool's mark, and the entry does not name \
                     it (any more): it is left alone until the entry is gone"
                )),
            }
        }
        for line in lines {
            self.note(&pool.key, line);
        }
    }

    fn create_pool(
        &mut self,
        pool: &DesiredPool,
        hypervisor: &HypervisorName,
        seen: Option<&ObservedPool>,
    ) {
        let comment = FieldChange {
            field: FieldPath::of(FieldKind::Comment),
            before: None,
            after: pool.comment.clone().map(Value::Text),
            disruption: Disruption::None,
            place: Some(pool.place.clone()),
            pending: false,
        };
        let fields = if pool.comment.is_some() { vec![comment] } else { Vec::new() };
        let change = Change::CreatePool(PoolChange { pool, seen });
        self.pool_action(pool, hypervisor, Verb::Create, fields, seen, &change);
    }

    fn update_pool(
        &mut self,
        pool: &DesiredPool,
        hypervisor: &HypervisorName,
        seen: &ObservedPool,
    ) {
        let Some(comment) = pool.comment.as_ref().filter(|it| **it != seen.comment) else {
            self.unchanged += 1;
            return;
        };
        let change = FieldChange {
            field: FieldPath::of(FieldKind::Comment),
            before: Some(Value::Text(seen.comment.clone())),
            after: Some(Value::Text(comment.clone())),
            disruption: Disruption::Online,
            place: Some(pool.place.clone()),
            pending: false,
        };
        let lowered = Change::UpdatePool(PoolChange { pool, seen: Some(seen) });
        self.pool_action(pool, hypervisor, Verb::Update, vec![change], Some(seen), &lowered);
    }

    fn pool_action(
        &mut self,
        pool: &DesiredPool,
        hypervisor: &HypervisorName,
        verb: Verb,
        fields: Vec<FieldChange>,
        seen: Option<&ObservedPool>,
        change: &Change<'_>,
    ) {
        let Some(product) = self.input.products.get(hypervisor) else { return };
        let lowered = match product.lower(change) {
            Ok(lowered) => lowered,
            Err(all) => {
                let text: Vec<&str> = all.iter().map(|it| it.why.as_str()).collect();
                self.block(Blocked {
                    key: pool.key.clone(),
                    hypervisor: hypervisor.clone(),
                    verb: Some(verb),
                    code: Code::Unsupported,
                    message: text.join("; "),
                    help: all.first().map(|it| it.help.clone()).unwrap_or_default(),
                    place: Some(pool.place.clone()),
                });
                return;
            }
        };
        let classes: BTreeSet<Disruption> =
            fields.iter().map(|it| it.disruption).filter(|it| *it > Disruption::None).collect();
        let action = Action {
            id: pool_action_id(&pool.key, hypervisor, verb),
            key: pool.key.clone(),
            hypervisor: hypervisor.clone(),
            native_id: Some(pool.key.name.as_str().into()),
            node: None,
            verb,
            fields,
            classes,
            data_loss: DataLoss::default(),
            reversible: true,
            place: Some(pool.place.clone()),
            steps: lowered.steps,
            base: seen.map(pool_base),
            claims: Vec::new(),
            choices: Vec::new(),
            protected: false,
        };
        let reason = if verb == Verb::Create { Reason::New } else { Reason::Different };
        self.add(action, reason);
    }

    fn plan_removed_pool(
        &mut self,
        key: &ResourceKey,
        hypervisor: &HypervisorName,
        found: &HypervisorInventory,
        seen: &ObservedPool,
    ) {
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
            self.block(blocked(Code::IncompleteInventory, text, help));
            return;
        }
        let owned = &self.ownership.owned;
        let desired = self.input.desired;
        // Members that leave in this very plan do not count; edges make them leave first.
        let leaves = |id: &crate::model::NativeId| {
            owned.iter().any(|(member, it)| {
                let wanted = desired.machines.get(member);
                it.hypervisor == *hypervisor
                    && it.id == *id
                    && wanted.is_none_or(|it| it.spec.pool.as_ref() != Some(&key.name))
            })
        };
        let stay: Vec<&str> = seen
            .members
            .iter()
            .filter(|id| !leaves(id))
            .map(crate::model::NativeId::as_str)
            .collect();
        if !stay.is_empty() || seen.other_members {
            let what = match stay.is_empty() {
                true => "what is no machine".to_owned(),
                false => stay.join(", "),
            };
            let text = format!("pool `{}` on {hypervisor} still holds {what}", key.name);
            self.block(blocked(Code::PoolNotEmpty, text, "move them out, or keep the pool"));
            return;
        }
        let Some(product) = self.input.products.get(hypervisor) else { return };
        let Ok(lowered) = product.lower(&Change::DeletePool(seen)) else { return };
        let action = Action {
            id: pool_action_id(key, hypervisor, Verb::Delete),
            key: key.clone(),
            hypervisor: hypervisor.clone(),
            native_id: Some(key.name.as_str().into()),
            node: None,
            verb: Verb::Delete,
            fields: Vec::new(),
            classes: [Disruption::Delete].into(),
            data_loss: DataLoss::default(),
            reversible: true,
            place: None,
            steps: lowered.steps,
            base: Some(pool_base(seen)),
            claims: Vec::new(),
            choices: Vec::new(),
            protected: false,
        };
        self.add(action, Reason::Removed);
    }
}

/// The parts that are the pool's own, in order.
fn own_parts(seen: &ObservedPool) -> impl Iterator<Item = (&PoolPart, &PartSeen)> {
    seen.parts.iter().filter(|(part, _)| part.kind.is_own())
}

pub(super) fn pool_action_id(
    key: &ResourceKey,
    hypervisor: &HypervisorName,
    verb: Verb,
) -> ActionId {
    ActionId::from(format!("{}:{verb}", pool_address(key, hypervisor)))
}

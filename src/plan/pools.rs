//! Actions on pools.

mod removal;

use super::{Builder, base::pool_base, grants::PlannedGrants, group_action};
use crate::model::{
    Action, ActionId, Blocked, Change, Code, Coverage, DesiredPool, Disruption, FieldChange,
    FieldKind, FieldPath, Hindrance, HypervisorInventory, HypervisorName, Kind, Marker,
    ObservedPool, PartSeen, PartState, PoolChange, PoolPart, Reason, ResourceKey, Value, Verb,
    pool_address,
};
use std::collections::BTreeSet;

/// How a pool on a hypervisor stands to this project.
enum Standing<'a> {
    Absent,
    Ours(&'a ObservedPool),
    /// Exists without the mark of this entry: used for membership, never changed.
    NotOurs(&'a ObservedPool),
    /// Is made of several objects, each of which stands for itself.
    Parts(&'a ObservedPool),
}

/// What is to be done about one pool.
struct Work<'a> {
    verb: Verb,
    /// Its comment, where that is to be written.
    field: Option<FieldChange>,
    /// What is done about the pool itself.
    change: Option<Change<'a>>,
    grants: Option<PlannedGrants>,
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
                Some(_) | None => Standing::NotOurs(seen),
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
            Standing::NotOurs(seen) => {
                self.unchanged += 1;
                let stands = self.not_ours(hypervisor, seen.marker.found());
                self.note(&pool.key, format!("{stands}: used for membership only"));
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
                // What was ours by another name may still grant something.
                (false, None) => self.change_pool(pool, hypervisor, seen, None),
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

    pub(super) fn is_ours(&self, pool: &DesiredPool, part: &PartSeen) -> bool {
        let of_pool = |marker: &Marker| {
            marker.project == self.input.desired.project && marker.key == pool.key
        };
        part.state() == PartState::Marked && part.marker.found().is_some_and(of_pool)
    }

    /// How something stands that does not bear the mark of its entry, as words after its name.
    fn not_ours(&self, hypervisor: &HypervisorName, marker: Option<&Marker>) -> String {
        match marker {
            None => format!("exists on {hypervisor} without our mark"),
            Some(it) if it.project == self.input.desired.project => {
                format!("on {hypervisor} bears the mark of {}", it.key)
            }
            Some(it) => format!("on {hypervisor} bears the mark of project `{}`", it.project),
        }
    }

    fn note_parts(&mut self, pool: &DesiredPool, hypervisor: &HypervisorName, seen: &ObservedPool) {
        let mut lines = Vec::new();
        for (part, it) in own_parts(seen).filter(|(_, it)| it.id.is_some()) {
            let name = &part.name;
            match (it.named, self.is_ours(pool, it)) {
                (true, true) => {}
                (true, false) => {
                    // A mark that names another object was copied, and says nothing.
                    let bound = it.marker.found().filter(|_| it.state() == PartState::Marked);
                    let stands = self.not_ours(hypervisor, bound);
                    lines.push(format!("`{name}` {stands}: used for membership only"));
                }
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
        let work = Work {
            verb: Verb::Create,
            field: pool.comment.is_some().then_some(comment),
            change: Some(Change::CreatePool(PoolChange { pool, seen })),
            grants: seen.and_then(|seen| self.plan_grants(pool, hypervisor, seen)),
        };
        self.pool_action(pool, hypervisor, seen, work);
    }

    fn update_pool(
        &mut self,
        pool: &DesiredPool,
        hypervisor: &HypervisorName,
        seen: &ObservedPool,
    ) {
        let comment = pool.comment.as_ref().filter(|it| **it != seen.comment);
        self.change_pool(pool, hypervisor, seen, comment);
    }

    fn change_pool(
        &mut self,
        pool: &DesiredPool,
        hypervisor: &HypervisorName,
        seen: &ObservedPool,
        comment: Option<&String>,
    ) {
        let blocked = self.blocked.len();
        let grants = self.plan_grants(pool, hypervisor, seen);
        if comment.is_none() && grants.is_none() {
            self.unchanged += u32::from(self.blocked.len() == blocked);
            return;
        }
        let field = comment.map(|comment| FieldChange {
            field: FieldPath::of(FieldKind::Comment),
            before: Some(Value::Text(seen.comment.clone())),
            after: Some(Value::Text(comment.clone())),
            disruption: Disruption::Online,
            place: Some(pool.place.clone()),
            pending: false,
        });
        let change = comment.map(|_| Change::UpdatePool(PoolChange { pool, seen: Some(seen) }));
        let work = Work { verb: Verb::Update, field, change, grants };
        self.pool_action(pool, hypervisor, Some(seen), work);
    }

    fn pool_action(
        &mut self,
        pool: &DesiredPool,
        hypervisor: &HypervisorName,
        seen: Option<&ObservedPool>,
        work: Work<'_>,
    ) {
        let Work { verb, field, change, grants } = work;
        let place = Some(&pool.place);
        // What is granted comes last: it is granted on what is there and ours by then.
        let granting = grants.as_ref().map(|it| Change::Grants(&it.change));
        let mut steps = Vec::new();
        for change in change.iter().chain(granting.as_ref()) {
            match self.lowered(&pool.key, hypervisor, verb, place, change) {
                Some(more) => steps.extend(more),
                None => return,
            }
        }
        let fields: Vec<FieldChange> = field.into_iter().chain(grants.map(|it| it.field)).collect();
        let classes: BTreeSet<Disruption> =
            fields.iter().map(|it| it.disruption).filter(|it| *it > Disruption::None).collect();
        let bare = group_action(
            pool_action_id(&pool.key, hypervisor, verb),
            (&pool.key, hypervisor),
            verb,
            steps,
        );
        let action = Action {
            native_id: Some(pool.key.name.as_str().into()),
            fields,
            classes,
            place: Some(pool.place.clone()),
            base: seen.map(pool_base),
            ..bare
        };
        let reason = if verb == Verb::Create { Reason::New } else { Reason::Different };
        self.add(action, reason);
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

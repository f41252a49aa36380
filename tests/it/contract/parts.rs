//! Pools where the product has none: each is made of several objects, one call each.

use super::lab::{Lab, unmet};
use novahost::model::{
    Change, DesiredPool, Expect, FieldKind, FieldPath, FreshObject, MarkerState, ObservedPool,
    PartKind, PartState, PoolBinding, PoolChange, RefusalKind, ResourceKey, StepOp, Target, Value,
};

pub fn target() -> Target {
    Target::with_id(ResourceKey::pool("tenant"), "tenant", None)
}

pub fn desired(lab: &Lab, comment: &str) -> DesiredPool {
    DesiredPool {
        key: target().key,
        comment: Some(comment.into()),
        at: [(lab.props().hypervisor.clone(), PoolBinding::Named)].into(),
        acl: [].into(),
        place: super::lab::place(),
    }
}

pub async fn seen(lab: &Lab) -> ObservedPool {
    match lab.provider.read(&target()).await.unwrap().object {
        FreshObject::Pool(pool) => pool,
        other => panic!("no pool: {other:?}"),
    }
}

fn states(pool: &ObservedPool, own: bool) -> Vec<PartState> {
    let parts = pool.parts.iter().filter(|(part, _)| part.kind.is_own() == own);
    parts.map(|(_, it)| it.state()).collect()
}

pub async fn a_pool_of_parts_is_made_described_and_removed(lab: Lab) {
    let before = seen(&lab).await;
    assert!(!before.exists() && before.hindrance.is_none());
    let listed = lab.observe().await.pools["tenant"].clone();
    assert_eq!(listed.parts, before.parts, "a listing and a look see the same parts");
    let ours = desired(&lab, "Of the team: a=b; c&d, ä");
    let steps = lab.lower(&Change::CreatePool(PoolChange { pool: &ours, seen: Some(&before) }));
    let made = |kind| {
        let is = |op: &StepOp| matches!(op, StepOp::MakePart { part } if part.kind == kind);
        steps.iter().filter(|step| is(&step.op)).count()
    };
    // A group in another one, and a share in another one: those on the way are made too.
    for kind in [PartKind::GroupAbove, PartKind::Group, PartKind::ShareAbove, PartKind::Share] {
        assert_eq!(made(kind), 1, "{kind:?}");
    }
    for step in &steps {
        lab.must_at(&target(), step).await;
    }
    let after = seen(&lab).await;
    assert_eq!(states(&after, true), [PartState::Marked; 2]);
    assert!(states(&after, false).iter().all(|state| *state == PartState::There));
    assert_eq!(after.marker.found().map(|marker| &marker.key), Some(&target().key));
    assert_eq!(after.comment, "Of the team: a=b; c&d, ä");
    for step in &steps {
        let object = FreshObject::Pool(after.clone());
        assert_eq!(unmet(&step.end, &object), Vec::<String>::new(), "{:?}", step.op);
    }
    let again = lab.lower(&Change::CreatePool(PoolChange { pool: &ours, seen: Some(&after) }));
    assert!(again.is_empty(), "{again:?}");
    let ours = desired(&lab, "Of others");
    for step in lab.lower(&Change::UpdatePool(PoolChange { pool: &ours, seen: Some(&after) })) {
        lab.must_at(&target(), &step).await;
    }
    let listed = lab.observe().await.pools["tenant"].clone();
    assert_eq!((listed.comment.as_str(), listed.other_members), ("Of others", false));
    assert!(listed.hindrance.is_none() && listed.members.is_empty());
    let removal = lab.lower(&Change::DeletePool(&listed));
    assert_eq!(removal.len(), 2);
    for step in &removal {
        lab.must_at(&target(), step).await;
    }
    let gone = seen(&lab).await;
    assert_eq!(states(&gone, true), [PartState::Absent; 2]);
    assert!(!gone.exists() && gone.marker == MarkerState::None);
    // What others may use stays.
    assert!(states(&gone, false).iter().all(|state| *state == PartState::There));
}

pub async fn a_lost_call_about_a_part_is_looked_up(lab: Lab) {
    let before = seen(&lab).await;
    let ours = desired(&lab, "one");
    let change = Change::CreatePool(PoolChange { pool: &ours, seen: Some(&before) });
    for step in lab.lower(&change) {
        super::lost::lose(&lab, &target(), &step).await;
    }
    let after = seen(&lab).await;
    for step in lab.lower(&Change::DeletePool(&after)) {
        super::lost::lose(&lab, &target(), &step).await;
    }
}

pub async fn a_part_that_is_there_is_not_made_again(lab: Lab) {
    let before = lab.provider.read(&target()).await.unwrap();
    let FreshObject::Pool(pool) = &before.object else { panic!("no pool") };
    let ours = desired(&lab, "one");
    let change = Change::CreatePool(PoolChange { pool: &ours, seen: Some(pool) });
    for step in lab.lower(&change) {
        lab.must_at(&target(), &step).await;
        let StepOp::MakePart { .. } = &step.op else { continue };
        let (submitted, _) = lab.submit(&*lab.provider, &target(), &step, &step.op, &before).await;
        assert_eq!(super::lab::refused(submitted), RefusalKind::Exists, "{:?}", step.op);
    }
}

pub async fn a_pool_says_what_is_in_it(lab: Lab) {
    let before = seen(&lab).await;
    let ours = desired(&lab, "");
    for step in lab.lower(&Change::CreatePool(PoolChange { pool: &ours, seen: Some(&before) })) {
        lab.must_at(&target(), &step).await;
    }
    let empty = |pool: &ObservedPool| {
        let own = pool.parts.iter().filter(|(part, _)| part.kind.is_own());
        own.map(|(_, it)| it.empty).collect::<Vec<_>>()
    };
    assert_eq!(empty(&seen(&lab).await), [true, true]);
    let mut machine = lab.small().await;
    machine.spec.pool = Some("tenant".into());
    lab.update(&machine).await;
    assert_eq!(empty(&seen(&lab).await), [false, false]);
    let listed = lab.observe().await.pools["tenant"].clone();
    assert_eq!(empty(&listed), [false, false]);
    assert_eq!(listed.members, [lab.id()].into());
    let out = super::lab::bare(
        StepOp::SetPool { pool: None },
        Expect {
            fields: [(FieldPath::of(FieldKind::Pool), None::<Value>)].into(),
            ..Expect::default()
        },
    );
    lab.must(&out).await;
    assert_eq!(empty(&seen(&lab).await), [true, true]);
}

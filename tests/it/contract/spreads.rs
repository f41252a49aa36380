//! Machines that are kept on different hosts: a rule that our name and our machines make ours.

use super::{lab::Lab, lost::lose, subject::Act};
use novahost::model::{
    Change, FreshObject, ObservedSpread, ResourceKey, Spread, Step, StepOp, Target,
};
use std::collections::BTreeSet;

fn spread(lab: &Lab, names: &[&str]) -> Spread {
    Spread {
        key: ResourceKey::spread("apart"),
        node: lab.props().hosts[0].clone(),
        members: names.iter().map(|name| ResourceKey::vm(*name)).collect(),
    }
}

fn target(of: &Spread) -> Target {
    let id = ObservedSpread::id_of(&of.key, &of.node);
    Target::with_id(of.key.clone(), id, Some(of.node.clone()))
}

/// Three machines of ours, and the rule that keeps two of them apart.
async fn two(lab: &Lab) -> Spread {
    lab.small().await;
    lab.act(Act::Sibling(&lab.id(), "web-8"));
    lab.act(Act::Sibling(&lab.id(), "web-9"));
    spread(lab, &["web-7", "web-8"])
}

async fn seen(lab: &Lab, of: &Spread) -> ObservedSpread {
    match lab.provider.read(&target(of)).await.unwrap().object {
        FreshObject::Spread(spread) => spread,
        other => panic!("no rule: {other:?}"),
    }
}

fn one(mut steps: Vec<Step>) -> Step {
    assert_eq!(steps.len(), 1, "{steps:?}");
    steps.remove(0)
}

pub async fn machines_are_kept_apart_by_a_rule_of_our_name(lab: Lab) {
    let first = two(&lab).await;
    let at = target(&first);
    assert!(matches!(lab.provider.read(&at).await.unwrap().object, FreshObject::Absent));
    lab.must_at(&at, &one(lab.lower(&Change::CreateSpread(&first)))).await;
    let wider = spread(&lab, &["web-7", "web-8", "web-9"]);
    lab.must_at(&at, &one(lab.lower(&Change::UpdateSpread(&wider)))).await;
    let now = seen(&lab, &first).await;
    assert_eq!((&now.members, now.enabled, &now.foreign), (&wider.members, true, &None));
    let listed = lab.observe().await.spreads;
    assert_eq!(listed.values().collect::<Vec<_>>(), [&now], "a read says what the inventory says");
    // One that is gone is in no rule, whether the product goes on naming it or not.
    let sibling = lab.observe().await.listed.into_iter();
    let mut sibling = sibling.filter(|(_, row)| row.name.as_deref() == Some("web-9"));
    lab.act(Act::Delete(&sibling.next().unwrap().0));
    assert_eq!(seen(&lab, &first).await.members, first.members);
    lab.must_at(&at, &one(lab.lower(&Change::DeleteSpread(&now)))).await;
    assert!(matches!(lab.provider.read(&at).await.unwrap().object, FreshObject::Absent));
    assert!(lab.observe().await.spreads.is_empty());
}

pub async fn a_rule_with_machines_of_others_is_not_ours(lab: Lab) {
    let first = two(&lab).await;
    let at = target(&first);
    lab.must_at(&at, &one(lab.lower(&Change::CreateSpread(&first)))).await;
    // What loses its mark is nobody's, and so is the rule that it is in.
    let forget = lab.lower(&Change::Forget(&lab.seen().await));
    lab.must(&one(forget)).await;
    let now = seen(&lab, &first).await;
    assert_eq!(now.members, BTreeSet::from([ResourceKey::vm("web-8")]));
    let why = now.foreign.expect("it has a machine of nobody's");
    assert!(why.contains(lab.id().as_str()), "{why}");
}

pub async fn a_lost_call_about_a_rule_is_looked_up(lab: Lab) {
    let first = two(&lab).await;
    let at = target(&first);
    lose(&lab, &at, &one(lab.lower(&Change::CreateSpread(&first)))).await;
    let wider = spread(&lab, &["web-7", "web-8", "web-9"]);
    lose(&lab, &at, &one(lab.lower(&Change::UpdateSpread(&wider)))).await;
    let now = seen(&lab, &first).await;
    let step = one(lab.lower(&Change::DeleteSpread(&now)));
    assert_eq!(step.op, StepOp::DeleteSpread);
    lose(&lab, &at, &step).await;
}

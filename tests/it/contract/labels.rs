//! Labels: read back as declared, beside whatever else a machine bears.

use super::{
    lab::{Lab, unmet},
    subject::Act,
};
use novahost::model::{DesiredMachine, RefusalKind, Stage, StepOp, Submitted};
use std::collections::BTreeSet;

fn set(machine: &mut DesiredMachine, key: &str, value: &str) {
    machine.spec.labels.insert(key.into(), [value.to_owned()].into());
}

fn all(labels: &[&str]) -> BTreeSet<String> {
    labels.iter().map(|it| (*it).to_owned()).collect()
}

async fn names(lab: &Lab, machine: &DesiredMachine) -> Vec<&'static str> {
    lab.update_steps(machine, false).await.iter().map(|step| step.op.name()).collect()
}

pub async fn a_machine_bears_its_labels_beside_those_of_others(lab: Lab) {
    let mut machine = lab.small().await;
    let at = lab.target().at;
    lab.act(Act::Label(&lab.id(), "Backup Policy", "daily"));
    // Some other machine's key, under which this one bears something already.
    lab.act(Act::Label(&lab.id(), "tier", "gold"));
    set(&mut machine, "tenant", "acme");
    assert_eq!(names(&lab, &machine).await, ["define-label", "define-label-value", "set-label"]);
    lab.update(&machine).await;
    lab.assert_as_declared(&machine, &lab.seen().await);
    // The product takes one value of what we made; the other one goes first.
    set(&mut machine, "tenant", "beta");
    assert_eq!(names(&lab, &machine).await, ["define-label-value", "clear-label", "set-label"]);
    lab.update(&machine).await;
    set(&mut machine, "tenant", "acme");
    assert_eq!(names(&lab, &machine).await, ["clear-label", "set-label"]);
    lab.update(&machine).await;
    set(&mut machine, "tier", "silver");
    lab.update(&machine).await;
    let borne = all(&["Backup Policy=daily", "tenant=acme", "tier=gold", "tier=silver"]);
    assert_eq!(lab.world.labels(&at), borne);
    // What is not declared any more is nobody's to take off.
    machine.spec.labels.clear();
    assert!(names(&lab, &machine).await.is_empty());
    lab.provider.close().await;
    assert_eq!(lab.world.sessions(), 0);
}

pub async fn a_machine_is_born_with_its_labels(lab: Lab) {
    let mut machine = lab.desired(true);
    set(&mut machine, "tenant", "acme");
    // A clone may be born with what its template bears.
    lab.act(Act::Label(lab.props().template.id().unwrap(), "tier", "gold"));
    set(&mut machine, "tier", "silver");
    let steps = lab.build_steps(&machine, None).await;
    let at = |is: fn(&StepOp) -> bool| steps.iter().rposition(|step| is(&step.op)).unwrap();
    let labelled = at(|op| matches!(op, StepOp::SetLabel { .. }));
    let ready = at(|op| op.writes_stage() == Some(Stage::Ready));
    assert!(labelled < ready, "nothing is ready, and so starts, before it bears its labels");
    for step in &steps {
        // As a run does: what holds already is not sent.
        let known =
            step.op.is_about_labels() && unmet(&step.end, &lab.read().await.object).is_empty();
        if !known {
            lab.must(step).await;
        }
    }
    let seen = lab.seen().await;
    assert!(names(&lab, &machine).await.is_empty(), "it differs from what is declared");
    let borne = lab.world.labels(&lab.target().at);
    assert!(borne.is_superset(&all(&["tenant=acme", "tier=silver"])), "{borne:?}");
    // Half-made, it is given what is missing and nothing twice.
    let again = lab.build_steps(&machine, Some(&seen)).await;
    assert!(!again.iter().any(|step| step.op.is_about_labels()), "{again:?}");
}

pub async fn a_label_that_may_not_be_made_is_a_permission(lab: Lab) {
    let mut machine = lab.small().await;
    set(&mut machine, "tenant", "acme");
    let steps = lab.update_steps(&machine, false).await;
    lab.act(Act::ReadOnly);
    let (submitted, _) = lab.send(&steps[0], &lab.read().await).await;
    let Submitted::Refused(refusal) = submitted else { panic!("{submitted:?}") };
    assert_eq!(refusal.kind, RefusalKind::Permission, "{}", refusal.text);
    assert!(refusal.text.contains("CreateCategory"), "{}", refusal.text);
}

/// What others label by is nobody's business here, however much of it there is.
pub async fn tags_of_others_are_not_asked_about_one_by_one(lab: Lab) {
    let mut machine = lab.small().await;
    set(&mut machine, "tenant", "acme");
    set(&mut machine, "tier", "silver");
    lab.update(&machine).await;
    for number in 0..40 {
        lab.act(Act::Label(&lab.id(), "Backup Policy", &format!("copy {number}")));
    }
    let asked = || lab.world.requests();
    let before = asked();
    lab.read().await;
    let of_first = asked() - before;
    assert!(of_first < 20, "{of_first} requests for one machine");
    // Nor are they looked at again right afterwards.
    lab.read().await;
    assert!(asked() - before < 2 * of_first, "{} after {of_first}", asked() - before);
    lab.assert_as_declared(&machine, &lab.seen().await);
}

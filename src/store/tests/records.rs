//! Runs, actions, steps, ownership: what is written is what is read.

use super::*;
use crate::model::{At, Birthplace, FailureKind, OpenBirth, Remembered, StepOp};
use serde_json::json;

fn open(machine: u32) -> OpenBirth {
    OpenBirth {
        key: key(machine),
        hypervisor: pve(),
        intent: birth(1, machine).identity.intent,
        id: Some(native(machine)),
    }
}

fn remembered(machine: u32) -> Remembered {
    Remembered { key: key(machine), hypervisor: pve(), id: native(machine) }
}

async fn memory() -> (Store, RunHandle) {
    let store = Store::open_in_memory().await.unwrap();
    let run = store.begin_run(new_run(1, 4)).await.unwrap();
    (store, run)
}

#[tokio::test]
async fn a_run_reads_back_with_all_that_it_did() {
    let (store, run) = memory().await;
    let states = [
        ActionState::Running,
        ActionState::Failed("no room".into()),
        ActionState::Unknown("reply lost".into()),
    ];
    for (machine, state) in (0..).zip(states.clone()) {
        run.action_state(&action(machine), state, 5).await.unwrap();
    }
    let intent = run.intend(birth(1, 0), Some("b".into())).await.unwrap();
    run.accepted(&intent, &task("UPID:1"), 6).await.unwrap();
    let outcome = StepOutcome::Refused("VM 100 already exists".into());
    run.finished(&intent, outcome.clone(), Some("a".into()), 7).await.unwrap();
    run.action_state(&action(0), ActionState::Done, 8).await.unwrap();
    let head = run.finish(7, "1 done, 3 not".into(), 9).await.unwrap();

    let detail = store.run(run.id()).await.unwrap().unwrap();
    assert_eq!(detail.run.who, who());
    assert_eq!((detail.run.code, detail.run.finished_ms), (Some(7), Some(9)));
    assert_eq!((detail.run.actions, detail.run.done), (4, 1));
    assert_eq!(detail.run.head.as_deref(), Some(&*head));
    assert_eq!(detail.plan_json, "{}");
    let read: Vec<_> = detail.actions.into_iter().map(|action| action.state).collect();
    let [_, failed, unknown] = states;
    assert_eq!(read, [Some(ActionState::Done), Some(failed), Some(unknown), None]);
    let step = &detail.steps[0];
    assert_eq!(step.outcome, Some(outcome));
    assert_eq!(step.task, Some(task("UPID:1")));
    assert_eq!((step.before.as_deref(), step.after.as_deref()), (Some("b"), Some("a")));
    assert_eq!((step.begun_ms, step.accepted_ms, step.finished_ms), (1000, Some(6), Some(7)));
    assert_eq!(detail.entries.last().unwrap().hash, head);
    assert!(detail.entries.iter().all(|row| row.entry.plan_id == "p1" && row.entry.who == who()));
}

#[tokio::test]
async fn runs_are_listed_newest_first_and_by_project() {
    let (store, _run) = memory().await;
    store.begin_run(new_run(2, 0)).await.unwrap();
    store.begin_run(NewRun { project: "other".into(), ..new_run(3, 0) }).await.unwrap();
    let ids = |runs: Vec<RunRow>| runs.into_iter().map(|run| run.id).collect::<Vec<_>>();
    assert_eq!(ids(store.runs(None, 2).await.unwrap()), [run_id(3), run_id(2)]);
    assert_eq!(ids(store.runs(Some(&project()), 9).await.unwrap()), [run_id(2), run_id(1)]);
    assert_eq!(store.run(run_id(77)).await.unwrap(), None);
}

#[tokio::test]
async fn a_birth_is_open_until_its_outcome_is_known() {
    let (store, run) = memory().await;
    let mut all = Vec::new();
    for machine in 0..4 {
        all.push(run.intend(birth(1, machine), None).await.unwrap());
    }
    let outcomes = [
        StepOutcome::Done,
        StepOutcome::Refused("taken".into()),
        StepOutcome::Unknown("reply lost".into()),
    ];
    for (intent, outcome) in all.iter().zip(outcomes) {
        run.finished(intent, outcome, None, 2).await.unwrap();
    }
    let history = store.history(&project()).await.unwrap();
    assert_eq!(history.open, [open(2), open(3)].into());
    assert!(history.owned.is_empty());
    assert_eq!(store.history(&"other".into()).await.unwrap(), History::default());
}

#[tokio::test]
async fn what_is_learnt_of_an_object_closes_its_births_and_no_later_ones() {
    let (store, run) = memory().await;
    run.intend(birth(1, 0), None).await.unwrap();
    run.intend(birth(1, 1), None).await.unwrap();
    run.owned(&key(0), &pve(), &native(0), 2).await.unwrap();
    run.disowned(&key(1), &pve(), &native(1), 2).await.unwrap();
    let history = store.history(&project()).await.unwrap();
    assert_eq!(history.owned, [remembered(0)].into());
    assert!(history.open.is_empty());

    run.disowned(&key(0), &pve(), &native(0), 3).await.unwrap();
    run.intend(Intent { attempt: 2, ..birth(1, 0) }, None).await.unwrap();
    let history = store.history(&project()).await.unwrap();
    assert!(history.owned.is_empty());
    assert_eq!(history.open, [open(0)].into());
}

#[tokio::test]
async fn a_birth_without_an_id_is_closed_by_what_is_learnt_of_its_key() {
    let (store, run) = memory().await;
    let unborn = |machine| {
        let place = Birthplace { name: "web".into(), pool: None, uuid: None };
        let at = At::Birth(place);
        let target = Target { at, ..birth(1, machine).target };
        Intent { target, ..birth(1, machine) }
    };
    run.intend(unborn(0), None).await.unwrap();
    run.intend(unborn(1), None).await.unwrap();
    let nameless = |machine| OpenBirth { id: None, ..open(machine) };
    let history = store.history(&project()).await.unwrap();
    assert_eq!(history.open, [nameless(0), nameless(1)].into());
    let intents = run.open_intents().await.unwrap();
    assert_eq!(*intents[1].intent(), unborn(1), "it is read back as it was meant");
    run.owned(&key(0), &pve(), &native(0), 2).await.unwrap();
    let history = store.history(&project()).await.unwrap();
    assert_eq!(history.open, [nameless(1)].into());
}

#[tokio::test]
async fn only_births_are_open_births() {
    let (store, run) = memory().await;
    run.intend(Intent { op: "configure".into(), ..birth(1, 0) }, None).await.unwrap();
    assert!(store.history(&project()).await.unwrap().open.is_empty());
    assert_eq!(run.open_intents().await.unwrap().len(), 1);
}

// The journal holds names; they must mean what the vocabulary means by them.
#[test]
fn a_birth_is_known_by_its_name() {
    let clone = json!({ "clone": {
        "template": "900", "template_node": null, "template_name": null, "template_uuid": null,
        "linked": false, "name": "web-1", "node": null, "storage": null, "pool": null,
        "marker": { "stage": "new", "init": null, "protect": false, "map": {} },
    } });
    let create = json!({ "create": {
        "name": "web-1", "node": null, "pool": null, "settings": [],
        "source": {
            "image": "debian", "medium": { "iso": { "volume": "local:iso/debian.iso" } },
            "firmware": null, "takes_init": false, "agent": false, "os": "linux",
        },
    } });
    let pool = json!({ "create-pool": { "comment": "" } });
    let others =
        [json!("start"), json!("delete"), json!("delete-pool"), json!({ "configure": [] })];
    let mut births = 0;
    for op in [clone, create, pool].into_iter().chain(others) {
        let op: StepOp = serde_json::from_value(op).unwrap();
        assert_eq!(StepOp::is_birth_name(op.name()), op.is_birth(), "{}", op.name());
        births += u32::from(op.is_birth());
    }
    assert_eq!(births, 3);
}

#[tokio::test]
async fn a_known_outcome_is_not_written_over() {
    let (store, run) = memory().await;
    let intent = run.intend(birth(1, 0), None).await.unwrap();
    run.finished(&intent, StepOutcome::Unknown("reply lost".into()), None, 2).await.unwrap();
    run.finished(&intent, StepOutcome::Done, None, 3).await.unwrap();
    let rows = store.verify_chain().await.unwrap().rows;
    run.finished(&intent, StepOutcome::Done, None, 4).await.unwrap();
    assert_eq!(store.verify_chain().await.unwrap().rows, rows, "the same twice is one");
    let error =
        run.finished(&intent, StepOutcome::NotSent("no".into()), None, 5).await.unwrap_err();
    assert_eq!(error.to_string(), "step 0 of action `vm/web-0:create` already ended as done");
}

#[tokio::test]
async fn a_call_is_recorded_once_and_its_fallback_apart() {
    let (_store, run) = memory().await;
    let shutdown = Intent { op: "shutdown".into(), ..birth(1, 0) };
    run.intend(shutdown.clone(), None).await.unwrap();
    assert!(run.intend(shutdown.clone(), None).await.is_err());
    run.intend(Intent { op: "stop".into(), ..shutdown }, None).await.unwrap();
}

#[tokio::test]
async fn a_finished_run_takes_no_call_until_it_is_resumed() {
    let (store, run) = memory().await;
    run.finish(10, "unknown".into(), 2).await.unwrap();
    let refused = run.intend(birth(1, 0), None).await;
    assert!(matches!(refused, Err(StoreError::RunFinished(_))), "{refused:?}");
    assert!(matches!(run.finish(0, String::new(), 3).await, Err(StoreError::RunFinished(_))));

    let bob = Who { user: "bob".into(), ..who() };
    let again = store.resume_run(run.id(), bob.clone(), 4).await.unwrap().unwrap();
    again.intend(birth(1, 0), None).await.unwrap();
    let rows = store.entries(EntryFilter::default()).await.unwrap();
    assert_eq!(rows.last().unwrap().entry.who, bob);
    again.finish(0, String::new(), 5).await.unwrap();
    assert_eq!(store.verify_chain().await.unwrap().first_bad, None);
    assert!(store.resume_run(run_id(77), who(), 6).await.unwrap().is_none());
}

#[tokio::test]
async fn a_step_of_another_run_is_refused() {
    let (store, run) = memory().await;
    let other = store.begin_run(new_run(2, 1)).await.unwrap();
    let intent = run.intend(birth(1, 0), None).await.unwrap();
    for refused in [
        other.intend(birth(1, 1), None).await.map(drop),
        other.accepted(&intent, &task("t"), 2).await,
        other.finished(&intent, StepOutcome::Done, None, 2).await,
    ] {
        assert!(matches!(refused, Err(StoreError::OtherRun { .. })), "{refused:?}");
    }
    // A proof from another file carries a row number that means something else here.
    let elsewhere = Store::open_in_memory().await.unwrap();
    let there = elsewhere.begin_run(new_run(2, 1)).await.unwrap();
    let stray = there.intend(birth(2, 0), None).await.unwrap();
    let refused = other.finished(&stray, StepOutcome::Done, None, 2).await;
    assert!(matches!(refused, Err(StoreError::OtherRun { .. })), "{refused:?}");
}

#[tokio::test]
async fn an_action_that_the_run_does_not_have_is_refused() {
    let (store, run) = memory().await;
    let rows = store.verify_chain().await.unwrap().rows;
    let refused = run.action_state(&action(9), ActionState::Done, 2).await;
    assert!(matches!(refused, Err(StoreError::NoSuchAction { .. })), "{refused:?}");
    assert_eq!(store.verify_chain().await.unwrap().rows, rows);
}

#[tokio::test]
async fn long_texts_are_cut_and_strange_ones_kept() {
    let (store, run) = memory().await;
    let strange = "\u{1b}[31m\u{0} ü".to_owned();
    run.action_state(&action(0), ActionState::Failed(strange.clone()), 2).await.unwrap();
    run.action_state(&action(1), ActionState::Failed("ü".repeat(5000)), 2).await.unwrap();
    let actions = store.run(run.id()).await.unwrap().unwrap().actions;
    assert_eq!(actions[0].state, Some(ActionState::Failed(strange)));
    let Some(ActionState::Failed(cut)) = &actions[1].state else { panic!("{actions:?}") };
    assert_eq!(cut.chars().count(), 2001);
}

#[tokio::test]
async fn the_last_inventory_of_each_project_is_kept() {
    let (store, _run) = memory().await;
    let [old, new] =
        ["old", "new"].map(|text| HypervisorInventory::failed(text, FailureKind::Unreachable));
    store.save_inventory(&project(), &pve(), &old, 1).await.unwrap();
    store.save_inventory(&project(), &pve(), &new, 2).await.unwrap();
    store.save_inventory(&"other".into(), &pve(), &old, 3).await.unwrap();
    assert_eq!(store.last_inventory(&project(), &pve()).await.unwrap(), Some((new, 2)));
    assert_eq!(store.last_inventory(&project(), &"pve2".into()).await.unwrap(), None);
}

#[tokio::test]
async fn the_last_write_and_all_tasks_of_an_object_are_told_over_all_runs() {
    let (store, run) = memory().await;
    let first = run.intend(birth(1, 1), None).await.unwrap();
    run.accepted(&first, &task("UPID:1"), 6).await.unwrap();
    run.finished(&first, StepOutcome::Done, None, 7).await.unwrap();
    let other = run.intend(birth(1, 2), None).await.unwrap();
    run.finished(&other, StepOutcome::Refused("busy".into()), None, 70).await.unwrap();
    let again = store.begin_run(new_run(2, 4)).await.unwrap();
    let second = again.intend(birth(2, 1), None).await.unwrap();
    again.accepted(&second, &task("UPID:2"), 90).await.unwrap();
    let keys = [key(1), key(2), key(3)];
    let written = store.written(&project(), keys.into()).await.unwrap();
    let tasks = [task("UPID:1"), task("UPID:2")].into();
    assert_eq!(written[&key(1)], Written { at_ms: Some(90), tasks });
    // What was refused did nothing.
    assert_eq!(written[&key(2)], Written::default());
    assert!(!written.contains_key(&key(3)));
    assert!(store.written(&"other".into(), [key(1)].into()).await.unwrap().is_empty());
}

//! What became of a call whose reply was lost. Looks at the object and at the node's
//! tasks; never sends anything again.
//!
//! The object outweighs the tasks: a task list is filed under the source for clones
//! and has whole seconds of another clock, so that it can say that something still
//! runs, but never alone that our call happened.

use super::{
    error::CallError, observe::joined, provider::Inner, spelling::segment, upid::Upid, wire,
};
use crate::model::{
    Fresh, FreshObject, Intent, Kind, Located, NodeName, Receipt, TaskRef, TaskState,
};
use crate::planted::Bug;
use crate::provider::evidence::{Evidence, judge_object};
use std::collections::BTreeSet;

/// How far the clocks of runner and node may differ; tasks that began earlier than
/// this before our call are not its.
pub(super) const CLOCK_SKEW_S: i64 = 60;
/// Tasks of one guest within a minute or a few: more than a page cannot be ours.
const TASKS_MAX: &str = "500";

pub(super) async fn locate(inner: &Inner, intent: &Intent) -> Located {
    let mut failed = None;
    if let Some(task) = &intent.task {
        match inner.task_state(task).await {
            TaskState::Queued | TaskState::Running => return Located::Running(task.clone()),
            TaskState::Done(receipt) => return Located::Happened(receipt),
            TaskState::Failed(refusal) => failed = Some(refusal.text),
            TaskState::Unknown(_) => {}
        }
    }
    let birth = matches!(intent.op.as_str(), "clone" | "create");
    if birth && Bug::LostBirthDenied.strikes(intent.target.at.as_str()) {
        return Located::DidNotHappen("nothing was heard of it".to_owned());
    }
    let fresh = match inner.read(&intent.target).await {
        Ok(fresh) => fresh,
        Err(error) => return Located::StillUnknown(joined(&error)),
    };
    let evidence = judge_object(intent, &fresh.object);
    if let Evidence::Happened = evidence {
        return Located::Happened(Receipt::default());
    }
    if let Some(text) = failed {
        return match evidence {
            Evidence::InFlight(why) | Evidence::CannotTell(why) => Located::StillUnknown(why),
            Evidence::NotThere(_) | Evidence::Happened => {
                Located::DidNotHappen(format!("its task failed: {text}"))
            }
        };
    }
    let running = match running_tasks(inner, intent, &fresh).await {
        Ok(running) => running,
        Err(error) => return Located::StillUnknown(joined(&error)),
    };
    let evidence = match evidence {
        // Its task may have ended between the two looks; only what is read after no task
        // was seen can prove that nothing happened.
        Evidence::NotThere(_) if running.is_empty() => match inner.read(&intent.target).await {
            Ok(fresh) => judge_object(intent, &fresh.object),
            Err(error) => return Located::StillUnknown(joined(&error)),
        },
        evidence => evidence,
    };
    let age_ms = inner.clock.now_ms().saturating_sub(intent.begun_ms);
    let settled = u128::try_from(age_ms).is_ok_and(|age| age >= inner.settle.as_millis());
    conclude(evidence, running, settled, intent.source.is_some())
}

/// Types of the tasks that a step begins; none for calls that end with their reply.
fn task_types(op: &str) -> &'static [&'static str] {
    match op {
        "clone" => &["qmclone"],
        "create" => &["qmcreate"],
        "configure" => &["qmconfig"],
        "grow-disk" => &["resize"],
        "start" => &["qmstart", "hastart"],
        "shutdown" => &["qmshutdown", "hastop"],
        "stop" => &["qmstop", "hastop"],
        "delete" => &["qmdestroy"],
        _ => &[],
    }
}

/// Tasks of this account that run now and may be the call's.
async fn running_tasks(
    inner: &Inner,
    intent: &Intent,
    fresh: &Fresh,
) -> Result<Vec<TaskRef>, CallError> {
    let types = task_types(&intent.op);
    if intent.target.key.kind == Kind::Pool || types.is_empty() {
        return Ok(Vec::new());
    }
    let subject = intent.source.as_ref().unwrap_or(&intent.target);
    let since_s = intent.begun_ms / 1000 - CLOCK_SKEW_S;
    let mut nodes: BTreeSet<NodeName> = subject.node.iter().cloned().collect();
    if let FreshObject::Machine(machine) = &fresh.object
        && intent.source.is_none()
    {
        nodes.extend(machine.node.clone());
    }
    if nodes.is_empty() {
        let online: Vec<wire::NodeRow> = inner.client.get("/nodes", &[]).await?;
        let online = online.into_iter().filter(|row| row.status.as_deref() == Some("online"));
        nodes.extend(online.map(|row| NodeName::from(row.node)));
    }
    let mut running = Vec::new();
    for node in nodes {
        let path = format!("/nodes/{}/tasks", segment(node.as_str()));
        let since = since_s.max(0).to_string();
        let params = [
            ("source", "all"),
            ("vmid", subject.at.as_str()),
            ("since", since.as_str()),
            ("limit", TASKS_MAX),
        ];
        let rows: Vec<wire::TaskRow> = inner.client.get(&path, &params).await?;
        running.extend(rows.into_iter().filter_map(|row| {
            let upid = Upid::parse(&row.upid)?;
            let ours = upid.user == inner.client.identity()
                && upid.id == subject.at.as_str()
                && types.contains(&upid.kind.as_str())
                && upid.started_s >= since_s;
            (ours && is_running(&row)).then(|| TaskRef(row.upid.clone()))
        }));
    }
    running.sort();
    running.dedup();
    Ok(running)
}

/// Active tasks have no end and no status, or the word `RUNNING`.
fn is_running(row: &wire::TaskRow) -> bool {
    let status = row.status.as_ref().map(|status| status.0.as_str());
    row.endtime.is_none() && matches!(status, None | Some("RUNNING" | "running" | ""))
}

/// The verdict over object and tasks. A clone's task does not say what it makes, so a
/// running one is ours only when the object shows that somebody is making it.
fn conclude(
    evidence: Evidence,
    mut running: Vec<TaskRef>,
    settled: bool,
    is_clone: bool,
) -> Located {
    let only = if running.len() == 1 { running.pop() } else { None };
    match (evidence, only) {
        (Evidence::Happened, _) => Located::Happened(Receipt::default()),
        (Evidence::InFlight(_), Some(task)) => Located::Running(task),
        (Evidence::NotThere(_) | Evidence::CannotTell(_), Some(task)) if !is_clone => {
            Located::Running(task)
        }
        (Evidence::InFlight(why) | Evidence::CannotTell(why), _) => Located::StillUnknown(why),
        (Evidence::NotThere(why), Some(_)) => {
            Located::StillUnknown(format!("{why}, and a clone from the same source runs"))
        }
        (Evidence::NotThere(why), None) if !running.is_empty() => {
            Located::StillUnknown(format!("{why}, and {} tasks run", running.len()))
        }
        (Evidence::NotThere(why), None) if settled => {
            Located::DidNotHappen(format!("{why}, and no task of it runs"))
        }
        (Evidence::NotThere(why), None) => {
            Located::StillUnknown(format!("{why}, and the call may still be on its way"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Expect, Identity, Marker, MarkerState, ObservedMachine, PowerState, ResourceKey, Stage,
        Target,
    };
    use crate::provider::evidence::holds;
    use uuid::Uuid;

    fn intent(op: &str, end: Expect) -> Intent {
        let key = ResourceKey::vm("web-1");
        Intent {
            run: Uuid::nil(),
            action: "vm/web-1:create".into(),
            step: 0,
            attempt: 1,
            hypervisor: "pve".into(),
            target: Target::with_id(key.clone(), "100", Some("pve1".into())),
            identity: Identity {
                project: "acme".into(),
                key,
                intent: Uuid::from_u128(7),
                uuid: None,
            },
            op: op.into(),
            source: None,
            end,
            begun_ms: 0,
            task: None,
        }
    }

    fn machine(intent: Uuid, lock: Option<&str>) -> ObservedMachine {
        let marker = Marker {
            project: "acme".into(),
            key: ResourceKey::vm("web-1"),
            uuid: None,
            id: Some("100".into()),
            stage: Stage::New,
            intent,
            init: None,
            protect: false,
            mac: None,
            map: crate::model::DeviceMap::default(),
        };
        ObservedMachine {
            id: "100".into(),
            node: Some("pve1".into()),
            uuid: None,
            template: false,
            snapshots: Vec::new(),
            hot: [].into(),
            power: PowerState::Stopped,
            lock: lock.map(super::super::translate::lock),
            marker: MarkerState::Found(Box::new(marker)),
            bulk_mark: true,
            spec: crate::model::MachineSpec::default(),
            next: None,
            devices: vec![],
            known_labels: [].into(),
            setup_waits: false,
            addresses: vec![],
        }
    }

    fn object(intent: Uuid, lock: Option<&str>) -> FreshObject {
        FreshObject::Machine(Box::new(machine(intent, lock)))
    }

    fn task(text: &str) -> TaskRef {
        TaskRef(text.into())
    }

    #[test]
    fn a_birth_happened_only_when_the_machine_carries_our_intent_and_is_unlocked() {
        let birth = intent("clone", Expect { exists: Some(true), ..Expect::default() });
        let ours = Uuid::from_u128(7);
        assert_eq!(judge_object(&birth, &object(ours, None)), Evidence::Happened);
        assert!(matches!(
            judge_object(&birth, &object(ours, Some("clone"))),
            Evidence::InFlight(_)
        ));
        let others = judge_object(&birth, &object(Uuid::from_u128(8), None));
        assert!(matches!(others, Evidence::NotThere(_)));
        let locked = FreshObject::Unreadable("it is being made".into());
        assert!(matches!(judge_object(&birth, &locked), Evidence::InFlight(_)));
    }

    #[test]
    fn a_delete_happened_when_nothing_is_left() {
        let end = Expect { exists: Some(false), ..Expect::default() };
        let delete = intent("delete", end);
        assert_eq!(judge_object(&delete, &FreshObject::Absent), Evidence::Happened);
        let there = judge_object(&delete, &object(Uuid::from_u128(7), None));
        assert!(matches!(there, Evidence::NotThere(_)));
    }

    #[test]
    fn an_end_is_judged_by_power_and_stage_and_one_without_content_is_not() {
        let end = |power| Expect { power: Some(power), ..Expect::default() };
        let here = machine(Uuid::nil(), None);
        assert_eq!(holds(&end(PowerState::Stopped), &here), Some(true));
        assert_eq!(holds(&end(PowerState::Running), &here), Some(false));
        let ready = Expect { stage: Some(Stage::Ready), ..Expect::default() };
        assert_eq!(holds(&ready, &here), Some(false));
        assert_eq!(holds(&Expect::default(), &here), None);
        let slot = Expect { slots: [("scsi1".into(), true)].into(), ..Expect::default() };
        assert_eq!(holds(&slot, &here), Some(false));
    }

    #[test]
    fn absence_proves_nothing_before_the_call_has_settled_or_while_a_clone_runs() {
        let nothing = || Evidence::NotThere("vm 100 does not exist".into());
        let early = conclude(nothing(), vec![], false, true);
        assert!(matches!(early, Located::StillUnknown(_)));
        let clone_runs = conclude(nothing(), vec![task("a")], true, true);
        assert!(matches!(clone_runs, Located::StillUnknown(_)));
        let two = conclude(nothing(), vec![task("a"), task("b")], true, false);
        assert!(matches!(two, Located::StillUnknown(_)));
        let settled = conclude(nothing(), vec![], true, true);
        assert!(matches!(settled, Located::DidNotHappen(_)));
    }

    #[test]
    fn the_only_running_task_of_the_object_is_the_calls_own() {
        let start = conclude(Evidence::NotThere(String::new()), vec![task("a")], true, false);
        assert_eq!(start, Located::Running(task("a")));
        let clone = conclude(Evidence::InFlight(String::new()), vec![task("a")], true, true);
        assert_eq!(clone, Located::Running(task("a")));
        let unclear =
            conclude(Evidence::InFlight(String::new()), vec![task("a"), task("b")], true, true);
        assert!(matches!(unclear, Located::StillUnknown(_)));
    }
}

//! The runner against a small world with faults.

mod owner;
mod simulation;
mod world;

use super::*;
use crate::{
    model::*,
    ownership::{intent_id, machine_uuid},
    plan::machine_base,
    store::{ActionState, NewRun, StepOutcome, Store, Who},
};
use std::time::Duration;
use world::{Fault, World, machine, marker, owned, project};

const PLAN_ID: &str = "a1b2c3";

fn step(op: StepOp, end: Expect, guarded: bool) -> Step {
    Step {
        op,
        begin: Expect::default(),
        end,
        wait: Wait::Task,
        otherwise: None,
        learns: BTreeSet::new(),
        guarded,
    }
}

fn draft(stage: Stage) -> MarkerDraft {
    MarkerDraft { protect: Some(false), ..MarkerDraft::new(stage) }
}

fn stage(stage: Stage) -> Expect {
    Expect { stage: Some(stage), ..Expect::default() }
}

fn power(power: PowerState) -> Expect {
    Expect { power: Some(power), ..Expect::default() }
}

fn memory(size: Bytes) -> Expect {
    let fields = [(FieldPath::of(FieldKind::Memory), Some(Value::Size(size)))].into();
    Expect { fields, ..Expect::default() }
}

fn action(name: &str, verb: Verb, id: &str, steps: Vec<Step>, base: Option<Base>) -> Action {
    let key = ResourceKey::vm(name);
    Action {
        id: format!("{key}:{verb}").into(),
        key,
        hypervisor: "pve".into(),
        native_id: Some(id.into()),
        node: Some("pve1".into()),
        verb,
        fields: Vec::new(),
        classes: BTreeSet::new(),
        data_loss: DataLoss::default(),
        reversible: true,
        place: None,
        steps,
        base,
        claims: Vec::new(),
        choices: Vec::new(),
        protected: false,
    }
}

fn create(name: &str, id: &str) -> Action {
    let from = CloneFrom {
        template: "9000".into(),
        template_node: Some("pve1".into()),
        template_name: Some("debian".to_owned()),
        template_uuid: None,
        linked: false,
        snapshot: None,
        name: name.to_owned(),
        node: Some("pve1".into()),
        storage: None,
        pool: None,
        marker: draft(Stage::New),
    };
    let born = Expect { exists: Some(true), ..stage(Stage::New) };
    let build = StepOp::Configure(vec![
        Setting::Memory(Bytes::gib(4)),
        Setting::MachineUuid,
        Setting::Marker(draft(Stage::New)),
    ]);
    let complete = StepOp::Configure(vec![Setting::Marker(draft(Stage::Ready))]);
    let mut steps = vec![
        step(StepOp::Clone(Box::new(from)), born, false),
        step(build, memory(Bytes::gib(4)), true),
        step(complete, stage(Stage::Ready), true),
        step(StepOp::Start, power(PowerState::Running), false),
    ];
    steps[1].begin = power(PowerState::Stopped);
    let mut it = action(name, Verb::Create, id, steps, None);
    it.claims =
        vec![Claim::Id(id.into()), Claim::Name(name.to_owned()), Claim::Node("pve1".into())];
    it.fields = vec![changed(FieldKind::Memory, None, Value::Size(Bytes::gib(4)))];
    it
}

/// The same where the hypervisor assigns the id.
fn create_unnumbered(name: &str) -> Action {
    let mut it = create(name, "0");
    it.native_id = None;
    it.claims.retain(|claim| !matches!(claim, Claim::Id(_)));
    it.steps[0].learns = [Fact::NativeId].into();
    it
}

fn changed(kind: FieldKind, before: Option<Value>, after: Value) -> FieldChange {
    FieldChange {
        field: FieldPath::of(kind),
        before,
        after: Some(after),
        disruption: Disruption::None,
        place: None,
        pending: false,
    }
}

fn base(world: &World, id: &str, kinds: &[FieldKind]) -> Option<Base> {
    let seen = world.get(id)?;
    Some(machine_base(&seen, kinds.iter().map(|kind| FieldPath::of(*kind)).collect()))
}

fn update(world: &World, name: &str, id: &str) -> Action {
    let op = StepOp::Configure(vec![Setting::Memory(Bytes::gib(8))]);
    let steps = vec![step(op, memory(Bytes::gib(8)), true)];
    let base = base(world, id, &[FieldKind::Memory]);
    let mut it = action(name, Verb::Update, id, steps, base);
    it.fields = vec![changed(FieldKind::Memory, None, Value::Size(Bytes::gib(8)))];
    it
}

fn delete(world: &World, name: &str, id: &str) -> Action {
    let mark =
        StepOp::Configure(vec![Setting::Protect(false), Setting::Marker(draft(Stage::Deleting))]);
    let gone = Expect { exists: Some(false), ..Expect::default() };
    let mut steps = vec![
        step(StepOp::Shutdown, power(PowerState::Stopped), false),
        step(mark, stage(Stage::Deleting), true),
        step(StepOp::Delete, gone, false),
    ];
    steps[0].wait = Wait::PowerOff { within_s: 120 };
    steps[0].otherwise = Some(StepOp::Stop);
    let base = base(world, id, &[FieldKind::Power]);
    action(name, Verb::Delete, id, steps, base)
}

fn plan(actions: Vec<Action>, edges: &[(&str, &str)]) -> Plan {
    let edge = |(before, after): &(&str, &str)| Edge {
        before: (*before).into(),
        after: (*after).into(),
        reason: EdgeReason::After,
    };
    Plan {
        plan_id: PLAN_ID.to_owned(),
        body: PlanBody {
            format: PLAN_FORMAT,
            project: project(),
            files: BTreeMap::new(),
            policy: Policy::default(),
            actions,
            edges: edges.iter().map(edge).collect(),
            blocked: Vec::new(),
            unchanged: 0,
        },
        envelope: Envelope::default(),
    }
}

fn inputs(world: &Arc<World>, plan: Plan) -> Inputs {
    let runnable = plan.body.actions.iter().map(|it| it.id.clone()).collect();
    let provider: Arc<dyn Provider> = world.clone();
    world.journal.begin_run();
    Inputs {
        runnable,
        plan: Arc::new(plan),
        inventory: Arc::new(world.inventory()),
        providers: [("pve".into(), provider)].into(),
        unreadable: BTreeMap::new(),
        journal: world.journal.clone(),
        marker_key: None,
        secrets: Arc::new(|_| Err("no secrets here".to_owned())),
        clock: world.clock.clone(),
        limits: Limits::default(),
        stop: Stop::default(),
        events: mpsc::channel(1000).0,
        jitter_seed: 1,
    }
}

async fn apply(world: &Arc<World>, actions: Vec<Action>) -> RunSummary {
    let summary = run(inputs(world, plan(actions, &[]))).await;
    nothing_unsafe(world);
    summary
}

fn nothing_unsafe(world: &World) {
    assert_eq!(world.state().violations, Vec::<String>::new());
    assert!(world.journal.attempts_are_unique());
    assert_eq!(*world.journal.rewritten.lock().unwrap(), 0, "an outcome was written twice");
}

fn script(world: &World, faults: &[Option<Fault>]) {
    world.state().script = faults.iter().copied().collect();
}

fn only(summary: &RunSummary) -> &Ended {
    assert_eq!(summary.actions.len(), 1);
    &summary.actions[0].ended
}

fn ops(world: &World) -> Vec<&'static str> {
    world.state().wrote.iter().map(|it| it.op).collect()
}

fn outcomes(world: &World) -> Vec<(String, &'static str)> {
    let word = |outcome: &Option<StepOutcome>| match outcome {
        None => "open",
        Some(StepOutcome::Done) => "done",
        Some(StepOutcome::AlreadySo) => "already so",
        Some(StepOutcome::Refused(_)) => "refused",
        Some(StepOutcome::NotSent(_)) => "not sent",
        Some(StepOutcome::Unknown(_)) => "unknown",
    };
    world.journal.outcomes().iter().map(|(op, _, it)| (op.clone(), word(it))).collect()
}

#[tokio::test]
async fn a_machine_is_made_powered_off_completed_and_then_started() {
    let world = World::new();
    let summary = apply(&world, vec![create("web-1", "100")]).await;
    assert_eq!(only(&summary), &Ended::Done);
    assert_eq!(ops(&world), ["clone", "configure", "configure", "start"]);
    let made = world.get("100").unwrap();
    let key = ResourceKey::vm("web-1");
    let intent = intent_id(PLAN_ID, &key);
    assert_eq!(made.uuid, Some(machine_uuid(&project(), &key, intent)));
    assert_eq!(made.power, PowerState::Running);
    assert!(world.journal.owned.lock().unwrap().contains(&(key, "100".into())));
    assert_eq!(exit_class(&summary), ExitClass::Ok);
}

#[tokio::test]
async fn a_second_run_of_the_same_plan_sends_nothing() {
    let world = World::new();
    apply(&world, vec![create("web-1", "100")]).await;
    let before = ops(&world).len();
    let summary = apply(&world, vec![create("web-1", "100")]).await;
    assert_eq!(only(&summary), &Ended::Done);
    assert_eq!((ops(&world).len(), summary.actions[0].already_so), (before, 4));
}

#[tokio::test]
async fn a_changed_base_is_stale_and_nothing_is_sent() {
    let world = World::new();
    world.put(owned("200", "db-1"));
    let planned = update(&world, "db-1", "200");
    let mut edited = world.get("200").unwrap();
    edited.spec.memory = Some(Bytes::gib(3));
    world.put(edited);
    let summary = apply(&world, vec![planned]).await;
    let Ended::Stale(why) = only(&summary) else { panic!("{summary:?}") };
    assert!(why.contains("memory"), "{why}");
    assert_eq!((ops(&world).len(), exit_class(&summary)), (0, ExitClass::Stale));
}

#[tokio::test]
async fn a_field_that_the_action_does_not_touch_may_change() {
    let world = World::new();
    world.put(owned("200", "db-1"));
    let planned = update(&world, "db-1", "200");
    script(&world, &[Some(Fault::Conflict)]);
    let summary = apply(&world, vec![planned]).await;
    assert_eq!(only(&summary), &Ended::Done);
    let sent = [("configure".to_owned(), "refused"), ("configure".to_owned(), "done")];
    assert_eq!(outcomes(&world), sent);
}

#[tokio::test]
async fn a_competing_edit_of_the_same_field_wins_and_the_action_is_stale() {
    let world = World::new();
    world.put(owned("200", "db-1"));
    let planned = update(&world, "db-1", "200");
    script(&world, &[Some(Fault::CompetingEdit)]);
    let summary = apply(&world, vec![planned]).await;
    assert!(matches!(only(&summary), Ended::Stale(_)), "{summary:?}");
    assert_eq!(world.get("200").unwrap().spec.memory, Some(Bytes::gib(7)));
}

#[tokio::test]
async fn conflicts_without_end_fail_after_a_bound() {
    let world = World::new();
    world.put(owned("200", "db-1"));
    let planned = update(&world, "db-1", "200");
    script(&world, &[Some(Fault::Conflict); 20]);
    let summary = apply(&world, vec![planned]).await;
    assert!(matches!(only(&summary), Ended::Failed(why) if why.contains("keeps changing")));
    assert_eq!(outcomes(&world).len(), 6);
}

#[tokio::test]
async fn a_machine_that_is_not_ours_is_never_touched() {
    let edits: [fn(&mut ObservedMachine); 6] = [
        |it| it.marker = MarkerState::None,
        |it| it.marker = MarkerState::Garbled("novahost/9".to_owned()),
        |it| it.uuid = Some(uuid::Uuid::from_u128(9)),
        |it| it.template = true,
        |it| {
            if let MarkerState::Found(marker) = &mut it.marker {
                marker.key = ResourceKey::vm("other");
            }
        },
        |it| {
            if let MarkerState::Found(marker) = &mut it.marker {
                marker.id = Some("201".into());
            }
        },
    ];
    for edit in edits {
        for verb in [update, delete] {
            let world = World::new();
            world.put(owned("200", "db-1"));
            let planned = verb(&world, "db-1", "200");
            let mut edited = world.get("200").unwrap();
            edit(&mut edited);
            world.put(edited);
            let summary = apply(&world, vec![planned]).await;
            // By whose it is, and not only because it is no longer as planned.
            let Ended::Stale(why) = only(&summary) else { panic!("{summary:?}") };
            assert!(why.contains("is not ours"), "{why}");
            assert_eq!(outcomes(&world), []);
        }
    }
}

#[tokio::test]
async fn a_wrong_signature_is_not_ours() {
    let world = World::new();
    world.put(owned("200", "db-1"));
    let planned = plan(vec![update(&world, "db-1", "200")], &[]);
    let marker_key = Some(MarkerKey::new(*b"0123456789abcdef"));
    let summary = run(Inputs { marker_key, ..inputs(&world, planned) }).await;
    assert!(matches!(only(&summary), Ended::Stale(_)));
    assert_eq!(outcomes(&world), []);
}

#[tokio::test]
async fn a_marker_that_is_stolen_between_two_steps_stops_the_action() {
    let world = World::new();
    script(&world, &[None, Some(Fault::Stolen)]);
    let summary = apply(&world, vec![create("web-1", "100")]).await;
    assert!(matches!(only(&summary), Ended::Stale(_)), "{summary:?}");
    assert_eq!(ops(&world), ["clone"]);
}

#[tokio::test]
async fn a_marker_of_another_creation_of_the_same_key_is_another_machine() {
    let world = World::new();
    script(&world, &[None, Some(Fault::Rewritten)]);
    let summary = apply(&world, vec![create("web-1", "100")]).await;
    assert!(matches!(only(&summary), Ended::Stale(why) if why.contains("marker")), "{summary:?}");
    assert_eq!(ops(&world), ["clone"]);
}

#[tokio::test]
async fn nothing_is_started_before_it_is_ready_whatever_the_plan_says() {
    let world = World::new();
    let mut planned = create("web-1", "100");
    planned.steps.remove(2);
    let summary = apply(&world, vec![planned]).await;
    assert!(matches!(only(&summary), Ended::Stale(why) if why.contains("never started")));
    assert_eq!(world.get("100").unwrap().power, PowerState::Stopped);
}

#[tokio::test]
async fn what_our_own_step_wrote_must_still_be_there_at_the_next_one() {
    let world = World::new();
    script(&world, &[None, None, Some(Fault::CompetingEdit)]);
    let summary = apply(&world, vec![create("web-1", "100")]).await;
    assert!(matches!(only(&summary), Ended::Stale(why) if why.contains("between two steps")));
    assert_eq!(ops(&world), ["clone", "configure"]);
}

#[tokio::test]
async fn a_call_that_proved_lost_frees_nobody_from_the_base() {
    let world = World::new();
    world.put(owned("200", "db-1"));
    let planned = update(&world, "db-1", "200");
    script(&world, &[Some(Fault::LostBefore), Some(Fault::CompetingEdit)]);
    let summary = apply(&world, vec![planned]).await;
    assert!(matches!(only(&summary), Ended::Stale(_)), "{summary:?}");
    assert_eq!(world.get("200").unwrap().spec.memory, Some(Bytes::gib(7)));
}

#[tokio::test]
async fn a_taken_id_is_looked_at_and_never_adopted() {
    for late in [false, true] {
        let world = World::new();
        let planned = plan(vec![create("web-1", "100")], &[]);
        let inputs = inputs(&world, planned);
        if late {
            script(&world, &[Some(Fault::IdTaken)]);
        } else {
            world.put(machine("100"));
        }
        let summary = run(inputs).await;
        assert!(matches!(only(&summary), Ended::Stale(_)), "{summary:?}");
        assert_eq!(world.get("100"), Some(machine("100")));
        assert!(world.journal.owned.lock().unwrap().is_empty());
        nothing_unsafe(&world);
    }
}

#[tokio::test]
async fn a_lost_claim_stops_a_birth_before_anything_is_sent() {
    let named = |name: &str| {
        let mut it = machine("300");
        it.spec.name = Some(name.to_owned());
        it
    };
    let mut addressed = machine("300");
    addressed.addresses = vec!["10.0.0.5".parse().unwrap()];
    let mut fat = machine("300");
    fat.spec.memory = Some(Bytes::gib(60));
    fat.power = PowerState::Running;
    for (taker, word) in
        [(named("web-1"), "name"), (addressed, "address"), (fat, "room"), (machine("301"), "host")]
    {
        let world = World::new();
        let mut planned = create("web-1", "100");
        planned.claims.push(Claim::Address("10.0.0.5".parse().unwrap()));
        planned.claims.push(Claim::Capacity { node: "pve1".into(), memory: Bytes::gib(4) });
        if word == "host" {
            planned.claims.push(Claim::Node("pve9".into()));
        }
        let inputs = inputs(&world, plan(vec![planned], &[]));
        world.put(taker);
        let summary = run(inputs).await;
        let Ended::Stale(why) = only(&summary) else { panic!("{word}: {summary:?}") };
        assert!(why.contains(word), "{word}: {why}");
        assert_eq!(outcomes(&world), []);
    }
}

#[tokio::test]
async fn another_template_behind_the_id_is_not_cloned() {
    let world = World::new();
    let mut template = world.get("9000").unwrap();
    template.spec.name = Some("something else".to_owned());
    world.put(template);
    let summary = apply(&world, vec![create("web-1", "100")]).await;
    assert!(matches!(only(&summary), Ended::Stale(why) if why.contains("another name")));
    assert_eq!(outcomes(&world), []);
}

#[tokio::test]
async fn a_lost_reply_is_looked_up_and_sent_again_only_when_it_did_not_happen() {
    let world = World::new();
    script(&world, &[Some(Fault::LostAfter), Some(Fault::LostBefore)]);
    let summary = apply(&world, vec![create("web-1", "100")]).await;
    assert_eq!(only(&summary), &Ended::Done);
    assert_eq!(ops(&world), ["clone", "configure", "configure", "start"]);
    let words: Vec<_> = outcomes(&world).into_iter().map(|(_, word)| word).collect();
    assert_eq!(words, ["done", "refused", "done", "done", "done"]);
}

#[tokio::test]
async fn what_cannot_be_told_is_unknown_and_blocks_dependents_but_not_neighbours() {
    let world = World::new();
    let actions = vec![create("web-1", "100"), create("web-2", "101"), create("web-3", "102")];
    let planned = plan(actions, &[("vm/web-1:create", "vm/web-2:create")]);
    script(&world, &[Some(Fault::Fog)]);
    let mut inputs = inputs(&world, planned);
    inputs.limits.run = 1;
    let summary = run(inputs).await;
    let ended: Vec<&Ended> = summary.actions.iter().map(|it| &it.ended).collect();
    assert!(matches!(ended[0], Ended::Unknown(_)), "{ended:?}");
    assert!(matches!(ended[1], Ended::Blocked(why) if why.contains("vm/web-1:create")));
    assert_eq!(ended[2], &Ended::Done);
    assert_eq!(exit_class(&summary), ExitClass::Unknown);
    nothing_unsafe(&world);
}

#[tokio::test]
async fn a_task_that_failed_is_believed_only_after_a_look() {
    let world = World::new();
    world.put(owned("200", "db-1"));
    let planned = update(&world, "db-1", "200");
    script(&world, &[Some(Fault::Partial)]);
    let summary = apply(&world, vec![planned]).await;
    assert_eq!(only(&summary), &Ended::Done);
    assert!(summary.actions[0].notes[0].contains("hotplug problem"));

    let world = World::new();
    world.put(owned("200", "db-1"));
    script(&world, &[Some(Fault::TaskFails)]);
    let planned = update(&world, "db-1", "200");
    let summary = apply(&world, vec![planned]).await;
    assert!(matches!(only(&summary), Ended::Failed(why) if why.contains("storage is full")));
    assert_eq!(exit_class(&summary), ExitClass::Partial);
}

#[tokio::test]
async fn a_task_that_met_a_conflict_did_nothing_and_is_begun_again_after_another_look() {
    let world = World::new();
    world.put(owned("200", "db-1"));
    script(&world, &[Some(Fault::TaskConflicts)]);
    let summary = apply(&world, vec![update(&world, "db-1", "200")]).await;
    assert_eq!(only(&summary), &Ended::Done);
    let ends: Vec<_> = world.journal.outcomes().into_iter().map(|row| row.2).collect();
    let refused = Some(StepOutcome::Refused("changed concurrently".into()));
    assert_eq!(ends, [refused, Some(StepOutcome::Done)]);
    // Who never lets us in is named in the end.
    let world = World::new();
    world.put(owned("200", "db-1"));
    script(&world, &[Some(Fault::TaskConflicts); 9]);
    let summary = apply(&world, vec![update(&world, "db-1", "200")]).await;
    let failed = matches!(only(&summary), Ended::Failed(why) if why.contains("keeps changing"));
    assert!(failed, "{summary:?}");
}

#[tokio::test]
async fn a_guest_that_cannot_be_asked_is_not_waited_for() {
    let world = World::new();
    let mut guest = owned("200", "old-1");
    guest.power = PowerState::Running;
    world.put(guest);
    script(&world, &[Some(Fault::Deaf)]);
    let began = world.clock.monotonic();
    let summary = apply(&world, vec![delete(&world, "old-1", "200")]).await;
    nothing_unsafe(&world);
    assert_eq!(only(&summary), &Ended::Done);
    assert_eq!(ops(&world), ["stop", "configure", "delete"]);
    assert!(world.clock.monotonic() - began < Duration::from_secs(60), "it was waited for");
}

#[tokio::test]
async fn an_id_that_the_hypervisor_assigns_is_learnt_from_the_task_or_by_a_look() {
    for fault in [None, Some(Fault::LostAfter), Some(Fault::LostBefore), Some(Fault::Conflict)] {
        let world = World::new();
        world.state().assigns_ids = true;
        script(&world, &[fault]);
        let actions = || vec![create_unnumbered("web-1")];
        let summary = apply(&world, actions()).await;
        nothing_unsafe(&world);
        assert_eq!(only(&summary), &Ended::Done, "{fault:?}");
        assert_eq!(ops(&world), ["clone", "configure", "configure", "start"], "{fault:?}");
        let owned = world.journal.owned.lock().unwrap().clone();
        let made = owned.first().map(|(_, id)| id.clone()).unwrap();
        let marker = world.get(made.as_str()).unwrap().marker;
        assert_eq!(marker.found().unwrap().id, Some(made), "{fault:?}");
        let again = apply(&world, actions()).await;
        assert_eq!((only(&again), again.actions[0].sent), (&Ended::Done, 0), "{fault:?}");
    }
    // A name that is somebody else's is looked at, and left alone.
    let world = World::new();
    world.state().assigns_ids = true;
    let mut other = machine("vm-7");
    other.spec.name = Some("web-1".to_owned());
    world.put(other);
    let summary = apply(&world, vec![create_unnumbered("web-1")]).await;
    assert!(matches!(only(&summary), Ended::Stale(why) if why.contains("taken")), "{summary:?}");
    assert!(ops(&world).is_empty());
}

#[tokio::test]
async fn a_lock_is_waited_for_up_to_a_bound() {
    let world = World::new();
    world.put(owned("200", "db-1"));
    script(&world, &[Some(Fault::Busy); 9]);
    let summary = apply(&world, vec![update(&world, "db-1", "200")]).await;
    assert_eq!(only(&summary), &Ended::Done);

    for (kind, text) in [(LockKind::Busy, "backup"), (LockKind::NeedsPerson, "suspended")] {
        let world = World::new();
        let mut locked = owned("200", "db-1");
        locked.lock = Some(Lock { kind, text: text.to_owned() });
        world.put(locked);
        let begun = world.clock.monotonic();
        let summary = apply(&world, vec![update(&world, "db-1", "200")]).await;
        let said = format!("locked ({text})");
        assert!(matches!(only(&summary), Ended::Failed(why) if why.contains(&said)));
        assert_eq!(outcomes(&world), []);
        // What no work will end is not waited for.
        let waited = world.clock.monotonic() - begun > Duration::from_secs(1);
        assert_eq!(waited, kind == LockKind::Busy);
    }
}

#[tokio::test]
async fn what_is_suspended_is_not_changed_and_not_waited_for() {
    let world = World::new();
    let mut guest = owned("200", "db-1");
    guest.power = PowerState::Suspended;
    world.put(guest);
    let begun = world.clock.monotonic();
    let summary = apply(&world, vec![update(&world, "db-1", "200")]).await;
    assert!(matches!(only(&summary), Ended::Failed(why) if why.contains("is suspended")));
    assert_eq!(outcomes(&world), []);
    assert!(world.clock.monotonic() - begun < Duration::from_secs(1));
}

#[tokio::test]
async fn a_guest_that_ignores_the_shutdown_is_stopped_only_when_the_plan_says_so() {
    for has_fallback in [true, false] {
        let world = World::new();
        world.state().obeys_shutdown = false;
        let mut guest = owned("200", "db-1");
        guest.power = PowerState::Running;
        world.put(guest);
        let mut planned = delete(&world, "db-1", "200");
        if !has_fallback {
            planned.steps[0].otherwise = None;
        }
        let begun = world.clock.monotonic();
        let summary = apply(&world, vec![planned]).await;
        assert!(world.clock.monotonic() - begun >= Duration::from_secs(120));
        if has_fallback {
            assert_eq!(only(&summary), &Ended::Done);
            assert_eq!(ops(&world), ["shutdown", "stop", "configure", "delete"]);
            assert_eq!(world.get("200"), None);
        } else {
            assert!(matches!(only(&summary), Ended::Failed(_)));
            assert_eq!(world.get("200").unwrap().power, PowerState::Running);
        }
    }
}

#[tokio::test]
async fn what_is_already_gone_is_deleted() {
    let world = World::new();
    world.put(owned("200", "db-1"));
    let planned = delete(&world, "db-1", "200");
    world.state().machines.remove("200");
    let summary = apply(&world, vec![planned]).await;
    assert_eq!(only(&summary), &Ended::Done);
    assert_eq!(outcomes(&world), []);
}

#[tokio::test]
async fn a_delete_takes_no_volume_that_the_plan_did_not_show() {
    let disk = |volume: &str| Device {
        slot: "scsi0".into(),
        kind: DeviceKind::Disk,
        volume: Some(volume.to_owned()),
        storage: None,
        size: Some(Bytes::gib(1)),
        linked: false,
        mac: None,
        network: None,
        vlan: None,
    };
    for (hung_on, goes) in [("fast:own", true), ("fast:of-another", false)] {
        let world = World::new();
        let mut guest = owned("200", "old-1");
        guest.devices = vec![disk("fast:own")];
        world.put(guest.clone());
        let mut planned = delete(&world, "old-1", "200");
        planned.data_loss.volumes = vec![LostVolume {
            volume: "fast:own".to_owned(),
            label: "boot".to_owned(),
            size: None,
        }];
        guest.devices.push(disk(hung_on));
        world.put(guest);
        let summary = apply(&world, vec![planned]).await;
        assert_eq!(world.get("200").is_none(), goes, "{summary:?}");
        if !goes {
            let named = matches!(only(&summary), Ended::Stale(why) if why.contains(hung_on));
            assert!(named, "{summary:?}");
        }
    }
}

#[tokio::test]
async fn an_unguarded_delete_needs_the_note_that_it_is_on_its_way_out() {
    let world = World::new();
    world.put(owned("200", "db-1"));
    let mut planned = delete(&world, "db-1", "200");
    planned.steps.remove(1);
    let summary = apply(&world, vec![planned]).await;
    assert!(matches!(only(&summary), Ended::Stale(why) if why.contains("deleting")));
    assert!(world.get("200").is_some());
}

#[tokio::test]
async fn a_complete_twin_makes_us_take_back_what_we_made() {
    let world = World::new();
    script(&world, &[Some(Fault::Twin(Stage::Ready))]);
    let summary = apply(&world, vec![create("web-1", "100")]).await;
    assert!(matches!(only(&summary), Ended::Stale(why) if why.contains("removed again")));
    assert_eq!(world.get("100"), None);
    assert!(world.state().started.is_empty());
    let last: Vec<_> = outcomes(&world).into_iter().rev().take(2).collect();
    assert_eq!(last, [("delete".to_owned(), "done"), ("configure".to_owned(), "done")]);
}

#[tokio::test]
async fn a_half_made_twin_stops_us_because_nobody_can_tell_who_is_older() {
    let world = World::new();
    script(&world, &[None, Some(Fault::Twin(Stage::New))]);
    let summary = apply(&world, vec![create("web-1", "100")]).await;
    assert!(matches!(only(&summary), Ended::Unknown(_)), "{summary:?}");
    assert_eq!(world.get("100").unwrap().power, PowerState::Stopped);
    assert_eq!(exit_class(&summary), ExitClass::Unknown);
}

#[tokio::test]
async fn what_another_run_made_is_not_taken_back() {
    let world = World::new();
    script(&world, &[None, Some(Fault::TaskFails)]);
    apply(&world, vec![create("web-1", "100")]).await;
    let inputs = inputs(&world, plan(vec![create("web-1", "100")], &[]));
    let mut twin = machine("777");
    twin.marker = marker(&ResourceKey::vm("web-1"), &twin, Stage::Ready);
    world.put(twin);
    let summary = run(inputs).await;
    assert!(matches!(only(&summary), Ended::Unknown(_)), "{summary:?}");
    nothing_unsafe(&world);
    assert!(world.get("100").is_some());
}

#[tokio::test]
async fn a_birth_that_cannot_be_read_yet_is_waited_for() {
    let world = World::new();
    let inputs = inputs(&world, plan(vec![create("web-1", "100")], &[]));
    world.state().being_born.insert("7777".into());
    let summary = run(inputs).await;
    assert!(matches!(only(&summary), Ended::Unknown(why) if why.contains("7777")));
    assert!(world.state().started.is_empty());
}

#[tokio::test]
async fn without_the_journal_nothing_is_sent() {
    for left in 0..14 {
        let world = World::new();
        *world.journal.writes_left.lock().unwrap() = Some(left);
        let actions = vec![create("web-1", "100"), create("web-2", "101")];
        let summary = apply(&world, actions).await;
        assert!(summary.journal_error.is_some(), "{left}: {summary:?}");
        // An action's first write, then two or three for each call.
        assert!(world.state().wrote.len() <= usize::try_from(left).unwrap() / 2, "{left}");
        assert!(summary.actions.iter().all(|it| it.ended != Ended::Done), "{left}");
        assert!(summary.actions.iter().all(|it| it.cause == Some(Cause::Journal)), "{summary:?}");
    }
}

#[tokio::test]
async fn an_interrupt_starts_nothing_new_and_follows_what_is_open() {
    let world = World::new();
    let planned = plan(vec![create("web-1", "100"), create("web-2", "101")], &[]);
    let (events, mut taken) = mpsc::channel(1000);
    let mut inputs = Inputs { events, ..inputs(&world, planned) };
    inputs.limits.run = 1;
    let stop = inputs.stop.clone();
    let watcher = tokio::spawn(async move {
        while let Some(event) = taken.recv().await {
            if matches!(event, Event::Step { number: 2, .. }) {
                stop.gentle.cancel();
            }
        }
    });
    let summary = run(inputs).await;
    watcher.await.unwrap();
    assert_eq!(summary.interrupted, Some(Signal::Interrupt));
    assert_eq!(exit_class(&summary), ExitClass::Interrupted);
    assert_eq!(ops(&world), ["clone", "configure"]);
    assert!(matches!(summary.actions[1].ended, Ended::Skipped(_)), "{summary:?}");
    assert!(outcomes(&world).iter().all(|(_, word)| *word == "done"));
}

#[tokio::test]
async fn a_guest_that_went_down_for_a_change_that_failed_is_started_again() {
    for (fault, runs) in [(Fault::TaskFails, true), (Fault::Fog, false), (Fault::Stolen, false)] {
        let world = World::new();
        let mut guest = owned("200", "db-1");
        guest.power = PowerState::Running;
        world.put(guest);
        let mut steps = vec![
            step(StepOp::Shutdown, power(PowerState::Stopped), false),
            step(
                StepOp::Configure(vec![Setting::Memory(Bytes::gib(8))]),
                memory(Bytes::gib(8)),
                true,
            ),
            step(StepOp::Start, power(PowerState::Running), false),
        ];
        steps[0].wait = Wait::PowerOff { within_s: 120 };
        let base = base(&world, "200", &[FieldKind::Memory, FieldKind::Power]);
        script(&world, &[None, Some(fault)]);
        let summary = apply(&world, vec![action("db-1", Verb::Update, "200", steps, base)]).await;
        nothing_unsafe(&world);
        assert_ne!(only(&summary), &Ended::Done);
        let is_up = world.get("200").unwrap().power == PowerState::Running;
        assert_eq!(is_up, runs, "{fault:?}: {summary:?}");
        let said = summary.actions[0].notes.iter().any(|note| note.contains("started again as"));
        assert_eq!(said, runs, "{fault:?}");
    }
}

#[tokio::test]
async fn an_interrupt_does_not_leave_a_guest_down_that_we_took_down() {
    let world = World::new();
    let mut guest = owned("200", "db-1");
    guest.power = PowerState::Running;
    world.put(guest);
    let mut steps = vec![
        step(StepOp::Shutdown, power(PowerState::Stopped), false),
        step(StepOp::Start, power(PowerState::Running), false),
    ];
    steps[0].wait = Wait::PowerOff { within_s: 120 };
    let base = base(&world, "200", &[FieldKind::Power]);
    let planned = plan(vec![action("db-1", Verb::Restart, "200", steps, base)], &[]);
    let (events, mut taken) = mpsc::channel(1000);
    let inputs = Inputs { events, ..inputs(&world, planned) };
    let stop = inputs.stop.clone();
    let watcher = tokio::spawn(async move {
        while let Some(event) = taken.recv().await {
            if matches!(event, Event::Step { number: 1, .. }) {
                stop.gentle.cancel();
            }
        }
    });
    let summary = run(inputs).await;
    watcher.await.unwrap();
    nothing_unsafe(&world);
    assert_eq!(only(&summary), &Ended::Done);
    assert_eq!(ops(&world), ["shutdown", "start"]);
}

#[tokio::test]
async fn a_detached_run_leaves_its_call_open_and_resume_closes_it() {
    let world = World::new();
    world.put(owned("200", "db-1"));
    let planned = plan(vec![update(&world, "db-1", "200")], &[]);
    let (events, mut taken) = mpsc::channel(1000);
    let inputs = Inputs { events, ..inputs(&world, planned) };
    let (stop, providers) = (inputs.stop.clone(), inputs.providers.clone());
    world.state().task_time = Duration::from_secs(600);
    let watcher = tokio::spawn(async move {
        while let Some(event) = taken.recv().await {
            if matches!(event, Event::Step { .. }) {
                stop.detach.cancel();
            }
        }
    });
    let summary = run(inputs).await;
    watcher.await.unwrap();
    assert!(matches!(only(&summary), Ended::Unknown(_)), "{summary:?}");
    assert_eq!(outcomes(&world), [("configure".to_owned(), "open")]);

    let journal = world.journal.clone();
    let early = resume(journal.as_ref(), &providers, &world.clock).await.unwrap();
    assert_eq!(early[0].outcome, None, "its task still runs");
    world.calm();
    let late = resume(journal.as_ref(), &providers, &world.clock).await.unwrap();
    assert_eq!(late[0].outcome, Some(StepOutcome::Done));
    assert_eq!(outcomes(&world), [("configure".to_owned(), "done")]);
    assert_eq!(ops(&world).len(), 1);
}

#[tokio::test]
async fn an_action_that_breaks_does_not_take_the_others_with_it() {
    let world = World::new();
    script(&world, &[Some(Fault::Panic)]);
    let actions = vec![create("web-1", "100"), create("web-2", "101")];
    let mut inputs = inputs(&world, plan(actions, &[]));
    inputs.limits.run = 1;
    let summary = run(inputs).await;
    assert_eq!(summary.actions[0].cause, Some(Cause::Bug));
    assert_eq!(summary.actions[1].ended, Ended::Done);
    assert_eq!(exit_class(&summary), ExitClass::Bug);
}

#[tokio::test]
async fn refused_credentials_have_their_own_exit_code() {
    let world = World::new();
    world.put(owned("200", "db-1"));
    script(&world, &[Some(Fault::Auth)]);
    let summary = apply(&world, vec![update(&world, "db-1", "200")]).await;
    assert_eq!(exit_class(&summary), ExitClass::Auth);
}

#[tokio::test]
async fn a_second_action_on_one_object_knows_the_changes_of_the_first() {
    for meddled in [false, true] {
        let world = World::new();
        world.put(owned("200", "db-1"));
        let first = update(&world, "db-1", "200");
        let op = StepOp::Configure(vec![Setting::Cpu { total: 4, sockets: 1 }]);
        let fields = [(FieldPath::of(FieldKind::Cpu), Some(Value::Count(4)))].into();
        let end = Expect { fields, ..Expect::default() };
        let base = base(&world, "200", &[FieldKind::Memory, FieldKind::Cpu]);
        let second = action("db-1", Verb::Restart, "200", vec![step(op, end, true)], base);
        let edges = [("vm/db-1:update", "vm/db-1:restart")];
        // Somebody edits what the second one reads, right before its call.
        script(&world, &[None, meddled.then_some(Fault::CompetingEdit)]);
        let summary = run(inputs(&world, plan(vec![first, second], &edges))).await;
        assert_eq!(summary.actions[0].ended, Ended::Done);
        let second = &summary.actions[1].ended;
        assert_eq!(matches!(second, Ended::Stale(_)), meddled, "{second:?}");
        assert_eq!(*second == Ended::Done, !meddled, "{second:?}");
    }
}

#[tokio::test]
async fn a_field_that_did_not_take_is_named() {
    let world = World::new();
    world.put(owned("200", "db-1"));
    let mut planned = update(&world, "db-1", "200");
    planned.fields.push(changed(FieldKind::Notes, None, "hello".into()));
    let summary = apply(&world, vec![planned]).await;
    assert!(matches!(only(&summary), Ended::Failed(why) if why.contains("notes")));
}

#[tokio::test]
async fn bounds_hold_and_one_listing_serves_many() {
    let world = World::new();
    let actions = (0..12).map(|n| create(&format!("web-{n:02}"), &(100 + n).to_string())).collect();
    let mut inputs = inputs(&world, plan(actions, &[]));
    inputs.limits.writes.insert("pve".into(), 3);
    let summary = run(inputs).await;
    assert_eq!(summary.count(|it| *it == Ended::Done), 12, "{summary:?}");
    nothing_unsafe(&world);
    let state = world.state();
    assert!(state.in_flight_max <= 3, "{}", state.in_flight_max);
    assert!(state.in_flight_max >= 2, "they ran one by one");
    // 48 tasks of 3 s, each asked about a dozen times, three at a time.
    assert!(state.polls <= 48 * 12 / 2, "{} questions about tasks", state.polls);
    assert!(state.lists <= 24, "{} listings", state.lists);
}

#[tokio::test]
async fn clones_of_one_template_are_bounded() {
    let world = World::new();
    let mut actions: Vec<Action> =
        (0..6).map(|n| create(&format!("web-{n}"), &(100 + n).to_string())).collect();
    actions.iter_mut().for_each(|it| it.steps.truncate(1));
    let mut inputs = inputs(&world, plan(actions, &[]));
    inputs.limits.writes.insert("pve".into(), 6);
    // They end at their birth here, so nothing but clones runs.
    let summary = run(inputs).await;
    assert_eq!(world.state().in_flight_max, 2, "{summary:?}");
}

#[tokio::test]
async fn a_password_is_resolved_before_the_row_is_written() {
    let world = World::new();
    let mut planned = create("web-1", "100");
    let password = SecretRef { source: SecretSource::Env("PASSWORD".to_owned()), version: 1 };
    let init = InitSpec { password: Some(password), ..InitSpec::default() };
    let seed = Seed {
        init,
        nics: BTreeMap::new(),
        slot: Some("ide2".into()),
        storage: Some("local".into()),
    };
    planned.steps[1].op = StepOp::Configure(vec![Setting::Seed(Box::new(seed))]);
    let summary = apply(&world, vec![planned]).await;
    assert!(matches!(only(&summary), Ended::Failed(why) if why.contains("env:PASSWORD")));
    assert_eq!(outcomes(&world), [("clone".to_owned(), "done")]);
}

#[tokio::test]
async fn actions_that_wait_for_each_other_or_for_nobody_do_not_hang() {
    let world = World::new();
    let actions = vec![create("web-1", "100"), create("web-2", "101"), create("web-3", "102")];
    let edges = [
        ("vm/web-1:create", "vm/web-2:create"),
        ("vm/web-2:create", "vm/web-1:create"),
        ("vm/none:create", "vm/web-3:create"),
    ];
    let summary = run(inputs(&world, plan(actions, &edges))).await;
    assert_eq!(summary.actions[0].cause, Some(Cause::Bug));
    assert!(matches!(summary.actions[2].ended, Ended::Blocked(_)));
    assert_eq!(outcomes(&world), []);
}

#[tokio::test]
async fn the_real_journal_holds_every_call_with_its_outcome() {
    let world = World::new();
    let planned = plan(vec![create("web-1", "100")], &[]);
    let store = Store::open_in_memory().await.unwrap();
    let id = uuid::Uuid::from_u128(42);
    let it = &planned.body.actions[0];
    let handle = store
        .begin_run(NewRun {
            id,
            project: project(),
            plan_id: PLAN_ID.to_owned(),
            plan_json: "{}".to_owned(),
            kind: "apply".to_owned(),
            who: Who::default(),
            started_ms: 1,
            actions: vec![(it.id.clone(), it.key.clone(), it.hypervisor.clone(), it.verb)],
        })
        .await
        .unwrap();
    world.state().eyes_on_rows = false;
    script(&world, &[Some(Fault::LostAfter), None, Some(Fault::LostBefore)]);
    let summary = run(Inputs { journal: Arc::new(handle), ..inputs(&world, planned) }).await;
    assert_eq!(only(&summary), &Ended::Done);
    let kept = store.run(id).await.unwrap().unwrap();
    let words: Vec<_> = kept
        .steps
        .iter()
        .map(|row| (row.op.as_str(), matches!(row.outcome, Some(StepOutcome::Done))))
        .collect();
    let sent = [
        ("clone", true),
        ("configure", true),
        ("configure", false),
        ("configure", true),
        ("start", true),
    ];
    assert_eq!(words, sent);
    assert_eq!(kept.actions[0].state, Some(ActionState::Done));
    assert_eq!(store.open_intents(id).await.unwrap().len(), 0);
    let history = store.history(&project()).await.unwrap();
    assert!(history.remembers(&ResourceKey::vm("web-1"), &"pve".into(), &"100".into()));
}

#[test]
fn the_worst_exit_class_wins() {
    let report = |ended: Ended, cause, sent| ActionReport {
        id: "a".into(),
        key: ResourceKey::vm("a"),
        hypervisor: "pve".into(),
        ended,
        cause,
        sent,
        already_so: 0,
        notes: Vec::new(),
    };
    let stale = || report(Ended::Stale("x".into()), None, 0);
    let failed = |cause| report(Ended::Failed("x".into()), Some(cause), 0);
    let done = || report(Ended::Done, None, 1);
    let unknown = || report(Ended::Unknown("x".into()), None, 1);
    let blocked = || report(Ended::Blocked("x".into()), None, 0);
    let skipped = || report(Ended::Skipped("x".into()), None, 0);
    let class = |actions: Vec<ActionReport>, interrupted, blocked_in_plan| {
        exit_class(&RunSummary { actions, interrupted, blocked_in_plan, journal_error: None })
    };
    assert_eq!(class(vec![], None, 0), ExitClass::Ok);
    assert_eq!(class(vec![skipped()], None, 0), ExitClass::Ok);
    assert_eq!(class(vec![stale(), blocked()], None, 0), ExitClass::Stale);
    assert_eq!(class(vec![stale(), done()], None, 0), ExitClass::Partial);
    assert_eq!(class(vec![failed(Cause::Other)], None, 0), ExitClass::Error);
    assert_eq!(class(vec![failed(Cause::Auth)], None, 0), ExitClass::Auth);
    assert_eq!(class(vec![failed(Cause::Other), stale()], None, 0), ExitClass::Stale);
    assert_eq!(class(vec![done()], None, 2), ExitClass::Partial);
    assert_eq!(class(vec![], None, 2), ExitClass::Refused);
    assert_eq!(class(vec![done(), unknown(), stale()], None, 0), ExitClass::Unknown);
    assert_eq!(class(vec![done(), stale()], Some(Signal::Terminate), 0), ExitClass::Terminated);
    assert_eq!(class(vec![unknown(), failed(Cause::Bug)], Some(Signal::Interrupt), 0).code(), 70);
    let codes: Vec<u8> = [
        ExitClass::Bug,
        ExitClass::Unknown,
        ExitClass::Interrupted,
        ExitClass::Partial,
        ExitClass::Stale,
        ExitClass::Locked,
        ExitClass::Refused,
        ExitClass::Auth,
        ExitClass::Incomplete,
        ExitClass::Config,
        ExitClass::Error,
        ExitClass::Differences,
        ExitClass::Ok,
    ]
    .map(ExitClass::code)
    .into();
    assert_eq!(codes, [70, 10, 130, 7, 6, 8, 5, 4, 9, 3, 1, 2, 0]);
}

#[test]
fn a_machine_marker_helper_makes_machines_that_bind() {
    let it = owned("200", "db-1");
    let key = ResourceKey::vm("db-1");
    assert_eq!(it.marker, marker(&key, &it, Stage::Ready));
    assert_eq!(
        crate::ownership::binding(&project(), &key, &it, None),
        crate::ownership::Binding::Ready
    );
}

fn snapshot(id: &str, own: bool) -> SnapshotSeen {
    let mark = own.then(|| SnapshotMark {
        project: project(),
        key: ResourceKey::vm("db-1"),
        uuid: owned("200", "db-1").uuid.unwrap(),
        plan: "p".to_owned(),
    });
    let name = "novahost-0123456789ab".to_owned();
    SnapshotSeen { id: id.to_owned(), name, mark, ..SnapshotSeen::default() }
}

fn removal(world: &World, id: &str) -> Action {
    let op = StepOp::RemoveSnapshot { id: id.to_owned(), name: "novahost-0123456789ab".to_owned() };
    let end = Expect { no_snapshots: [id.to_owned()].into(), ..Expect::default() };
    let steps = vec![step(op, end, false)];
    action("db-1", Verb::Update, "200", steps, base(world, "200", &[]))
}

#[tokio::test]
async fn only_a_snapshot_of_our_own_is_removed_whatever_the_plan_says() {
    for (own, ended) in [(true, &Ended::Done), (false, &Ended::Stale(String::new()))] {
        let world = World::new();
        let mut guest = owned("200", "db-1");
        guest.snapshots = vec![snapshot("s1", own), snapshot("s2", true)];
        world.put(guest);
        let summary = apply(&world, vec![removal(&world, "s1")]).await;
        let found = only(&summary);
        assert_eq!(std::mem::discriminant(found), std::mem::discriminant(ended), "{summary:?}");
        let left: Vec<String> =
            world.get("200").unwrap().snapshots.into_iter().map(|it| it.id).collect();
        let wanted: &[&str] = if own { &["s2"] } else { &["s1", "s2"] };
        assert_eq!(left, wanted);
        assert_eq!(ops(&world), if own { vec!["remove-snapshot"] } else { vec![] });
    }
}

#[tokio::test]
async fn a_snapshot_that_is_there_already_is_not_taken_again() {
    let world = World::new();
    world.put(owned("200", "db-1"));
    let take = TakeSnapshot { name: "novahost-0123456789ab".to_owned(), before_change: true };
    let end = Expect { snapshots: [take.name.clone()].into(), ..Expect::default() };
    let planned = || {
        let steps = vec![step(StepOp::TakeSnapshot(take.clone()), end.clone(), false)];
        action("db-1", Verb::Snapshot, "200", steps, base(&world, "200", &[]))
    };
    // Its reply is lost: it is looked up by its name.
    script(&world, &[Some(Fault::LostAfter)]);
    let summary = apply(&world, vec![planned()]).await;
    assert_eq!(only(&summary), &Ended::Done, "{summary:?}");
    let summary = apply(&world, vec![planned()]).await;
    assert_eq!((only(&summary), summary.actions[0].already_so), (&Ended::Done, 1));
    assert_eq!(world.get("200").unwrap().snapshots.len(), 1);
    assert_eq!(ops(&world), ["take-snapshot"]);
}

//! The runner against a small world with faults.

mod birth;
mod doubt;
mod ours;
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
async fn a_second_run_of_the_same_plan_sends_nothing() {
    let world = World::new();
    apply(&world, vec![create("web-1", "100")]).await;
    let before = ops(&world).len();
    let summary = apply(&world, vec![create("web-1", "100")]).await;
    assert_eq!(only(&summary), &Ended::Done);
    assert_eq!((ops(&world).len(), summary.actions[0].already_so), (before, 4));
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

//! Replies that are lost, tasks that fail, locks and guests that do not hear.

use super::*;

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
async fn a_field_that_did_not_take_is_named() {
    let world = World::new();
    world.put(owned("200", "db-1"));
    let mut planned = update(&world, "db-1", "200");
    planned.fields.push(changed(FieldKind::Notes, None, "hello".into()));
    let summary = apply(&world, vec![planned]).await;
    assert!(matches!(only(&summary), Ended::Failed(why) if why.contains("notes")));
}

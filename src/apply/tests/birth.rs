//! How a machine comes to be: claims, twins, ids that are told later.

use super::*;

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
async fn nothing_is_started_before_it_is_ready_whatever_the_plan_says() {
    let world = World::new();
    let mut planned = create("web-1", "100");
    planned.steps.remove(2);
    let summary = apply(&world, vec![planned]).await;
    assert!(matches!(only(&summary), Ended::Stale(why) if why.contains("never started")));
    assert_eq!(world.get("100").unwrap().power, PowerState::Stopped);
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

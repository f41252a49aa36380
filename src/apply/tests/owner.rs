//! Machines that change hands.

use super::*;

fn key() -> ResourceKey {
    ResourceKey::vm("db-1")
}

fn owner(owner: Owner) -> Expect {
    Expect { owner: Some(owner), ..Expect::default() }
}

/// An adoption of the machine as it is now, with the device that it binds in its base.
fn adopt(world: &World) -> Action {
    let seen = world.get("200").unwrap();
    let end = Expect { owner: Some(Owner::Entry(key())), ..stage(Stage::Ready) };
    let op = StepOp::Configure(vec![Setting::Marker(draft(Stage::Ready))]);
    let read = [FieldPath::on(FieldKind::Disk, &"scsi0".into()), FieldPath::of(FieldKind::Name)];
    let base = Some(machine_base(&seen, read.into()));
    action("db-1", Verb::Adopt, "200", vec![step(op, end, true)], base)
}

fn rename(world: &World, from: &str) -> Action {
    let end = Expect { owner: Some(Owner::Entry(key())), ..stage(Stage::Ready) };
    let op = StepOp::Configure(vec![Setting::Marker(draft(Stage::Ready))]);
    let mut steps = vec![step(op, end, true)];
    steps[0].begin = owner(Owner::Entry(ResourceKey::vm(from)));
    action("db-1", Verb::Rename, "200", steps, base(world, "200", &[]))
}

fn forget(world: &World) -> Action {
    let op = StepOp::Configure(vec![Setting::Unmark]);
    let mut steps = vec![step(op, owner(Owner::Nobody), true)];
    steps[0].begin = owner(Owner::Entry(key()));
    action("db-1", Verb::Forget, "200", steps, base(world, "200", &[]))
}

fn unmanaged() -> ObservedMachine {
    let mut it = machine("200");
    it.power = PowerState::Running;
    it.devices = vec![Device {
        slot: "scsi0".into(),
        kind: DeviceKind::Disk,
        volume: Some("fast:disk-0".to_owned()),
        storage: Some("fast".into()),
        size: Some(Bytes::gib(8)),
        linked: false,
        mac: None,
        network: None,
        vlan: None,
    }];
    it
}

/// As a restore under another id leaves it: its own uuid, and another id in the marker.
fn moved() -> ObservedMachine {
    let mut it = owned("200", "db-1");
    if let MarkerState::Found(marker) = &mut it.marker {
        marker.id = Some("199".into());
    }
    it
}

fn remembers(world: &World, key: &ResourceKey) -> bool {
    world.journal.owned.lock().unwrap().contains(&(key.clone(), "200".into()))
}

#[tokio::test]
async fn an_adopted_machine_gets_our_marker_with_its_own_halves_and_is_remembered() {
    for before in [unmanaged(), moved()] {
        let world = World::new();
        world.put(before.clone());
        let summary = apply(&world, vec![adopt(&world)]).await;
        assert_eq!(only(&summary), &Ended::Done);
        assert_eq!(ops(&world), ["configure"]);
        let after = world.get("200").unwrap();
        let marker = after.marker.found().unwrap();
        assert_eq!((&marker.key, &marker.id), (&key(), &Some("200".into())));
        assert_eq!((marker.uuid, after.uuid), (before.uuid, before.uuid));
        assert_eq!(marker.intent, intent_id(PLAN_ID, &key()));
        assert_eq!(after.power, before.power);
        assert!(remembers(&world, &key()));
    }
}

#[tokio::test]
async fn an_adoption_is_done_once_and_a_lost_reply_is_looked_up() {
    for before in [unmanaged(), moved()] {
        for fault in [Fault::LostAfter, Fault::LostBefore, Fault::Conflict, Fault::Busy] {
            let world = World::new();
            world.put(before.clone());
            let planned = adopt(&world);
            script(&world, &[Some(fault)]);
            let summary = apply(&world, vec![planned.clone()]).await;
            assert_eq!(only(&summary), &Ended::Done, "{fault:?}");
            assert_eq!(ops(&world), ["configure"], "{fault:?}");
            let again = apply(&world, vec![planned]).await;
            assert_eq!((only(&again), ops(&world).len()), (&Ended::Done, 1), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn what_is_not_as_it_was_reviewed_is_not_adopted() {
    let edits: [fn(&mut ObservedMachine); 6] = [
        |it| it.uuid = Some(uuid::Uuid::from_u128(9)),
        |it| it.template = true,
        |it| it.devices[0].volume = Some("fast:another".to_owned()),
        |it| it.devices.clear(),
        |it| it.marker = owned("200", "other").marker,
        |it| {
            it.marker = owned("200", "db-1").marker;
            if let MarkerState::Found(marker) = &mut it.marker {
                marker.project = "thief".into();
            }
        },
    ];
    for (index, edit) in edits.into_iter().enumerate() {
        let world = World::new();
        world.put(unmanaged());
        let planned = adopt(&world);
        let mut edited = unmanaged();
        edit(&mut edited);
        world.put(edited.clone());
        let summary = apply(&world, vec![planned]).await;
        assert!(matches!(only(&summary), Ended::Stale(_)), "{index}: {summary:?}");
        assert_eq!((ops(&world).len(), world.get("200").unwrap()), (0, edited), "{index}");
        assert!(!remembers(&world, &key()));
    }
}

#[tokio::test]
async fn a_marker_that_another_project_puts_there_first_is_left_alone() {
    let world = World::new();
    world.put(moved());
    let planned = adopt(&world);
    script(&world, &[Some(Fault::Stolen)]);
    let summary = apply(&world, vec![planned]).await;
    assert!(matches!(only(&summary), Ended::Stale(why) if why.contains("thief")), "{summary:?}");
    let marker = world.get("200").unwrap().marker;
    assert_eq!(marker.found().unwrap().project, "thief".into());
}

#[tokio::test]
async fn a_renamed_machine_keeps_uuid_and_intent() {
    let world = World::new();
    world.put(owned("200", "web"));
    let before = world.get("200").unwrap().marker.found().unwrap().clone();
    let planned = rename(&world, "web");
    let summary = apply(&world, vec![planned.clone()]).await;
    assert_eq!(only(&summary), &Ended::Done);
    let after = world.get("200").unwrap().marker.found().unwrap().clone();
    assert_eq!((&after.key, after.uuid, after.intent), (&key(), before.uuid, before.intent));
    assert!(remembers(&world, &key()) && !remembers(&world, &before.key));
    let again = apply(&world, vec![planned]).await;
    assert_eq!((only(&again), ops(&world).len()), (&Ended::Done, 1));
}

#[tokio::test]
async fn what_does_not_bear_the_old_key_is_not_renamed() {
    let world = World::new();
    world.put(owned("200", "web"));
    let planned = rename(&world, "web");
    world.put(owned("200", "third"));
    let summary = apply(&world, vec![planned]).await;
    assert!(matches!(only(&summary), Ended::Stale(why) if why.contains("not ours")), "{summary:?}");
    assert_eq!(ops(&world).len(), 0);
}

#[tokio::test]
async fn a_forgotten_machine_is_nobodys_and_goes_on_running() {
    for fault in [None, Some(Fault::LostAfter), Some(Fault::LostBefore), Some(Fault::Conflict)] {
        let world = World::new();
        let mut before = owned("200", "db-1");
        before.power = PowerState::Running;
        world.put(before.clone());
        world.journal.owned.lock().unwrap().insert((key(), "200".into()));
        let planned = forget(&world);
        script(&world, &[fault]);
        let summary = apply(&world, vec![planned.clone()]).await;
        assert_eq!(only(&summary), &Ended::Done, "{fault:?}");
        let after = world.get("200").unwrap();
        assert_eq!((&after.marker, after.power), (&MarkerState::None, PowerState::Running));
        assert!(!remembers(&world, &key()));
        let again = apply(&world, vec![planned]).await;
        assert_eq!((only(&again), ops(&world).len()), (&Ended::Done, 1), "{fault:?}");
    }
}

#[tokio::test]
async fn only_what_is_ours_now_is_forgotten() {
    let world = World::new();
    world.put(owned("200", "db-1"));
    let planned = forget(&world);
    world.put(owned("200", "other"));
    let summary = apply(&world, vec![planned]).await;
    assert!(matches!(only(&summary), Ended::Stale(_)), "{summary:?}");
    assert_eq!(ops(&world).len(), 0);
}

#[tokio::test]
async fn a_memory_is_forgotten_only_while_nothing_bears_the_marker() {
    for (there, wanted) in
        [(Some(unmanaged()), true), (None, true), (Some(owned("200", "db-1")), false)]
    {
        let world = World::new();
        there.into_iter().for_each(|it| world.put(it));
        world.journal.owned.lock().unwrap().insert((key(), "200".into()));
        let summary = apply(&world, vec![action("db-1", Verb::Forget, "200", vec![], None)]).await;
        assert_eq!(only(&summary) == &Ended::Done, wanted, "{summary:?}");
        assert_eq!(remembers(&world, &key()), !wanted);
        assert_eq!(ops(&world).len(), 0);
    }
}

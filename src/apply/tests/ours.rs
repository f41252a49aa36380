//! What may be touched: proved again on every fresh read, right before every write.

use super::*;

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

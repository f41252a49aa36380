//! What came with a product that chooses ids itself, queues its tasks and asks questions; the
//! rules hold for every product that has the matter.

use super::{
    lab::{Lab, unmet},
    subject::{Act, CROWD, Need, Point, Trouble},
};
use novahost::model::{
    At, Bytes, Change, Coverage, FailureKind, FreshObject, Located, LockKind, NetworkBinding,
    NicModel, NicSpec, PowerState, RefusalKind, StepOp, Submitted, Target, TaskState,
};

pub async fn the_id_that_a_birth_tells_is_the_machine_s(lab: Lab) {
    for machine in [lab.desired(true), lab.desired_from_iso()] {
        let lab = lab.again().await;
        let birth = lab.build_steps(&machine, None).await.remove(0);
        let target = lab.target();
        let state = lab.carry_out(&target, &birth, &birth.op).await;
        let TaskState::Done(receipt) = state else { panic!("{state:?}") };
        let seen = lab.seen().await;
        // Told by the product, or known before; one of both.
        let known = receipt.id.as_ref().or(target.id());
        assert_eq!(known, Some(&seen.id));
        assert_eq!(receipt.id.is_some(), lab.has(Need::AssignedIds));
        let fresh = lab.provider.read(&Target { at: At::Id(seen.id.clone()), ..target }).await;
        let FreshObject::Machine(machine) = fresh.unwrap().object else { panic!("no machine") };
        assert_eq!(machine.marker.found().unwrap().key, super::lab::key());
    }
}

pub async fn a_birth_is_found_by_our_uuid_and_never_made_twice(lab: Lab) {
    for machine in [lab.desired(true), lab.desired_from_iso()] {
        let lab = lab.again().await;
        let step = lab.build_steps(&machine, None).await.remove(0);
        let fresh = lab.read().await;
        lab.trouble(Point::Mutation, Trouble::LostAfter);
        let (submitted, intent) = lab.send(&step, &fresh).await;
        assert!(matches!(submitted, Submitted::Unknown(_)), "{submitted:?}");
        let Located::Happened(receipt) = lab.settle(&intent).await else { panic!("not found") };
        let seen = lab.seen().await;
        assert_eq!(receipt.id.as_ref().or(intent.target.id()), Some(&seen.id));
        // Somebody gives it another name before we look again: it is ours all the same.
        lab.act(Act::Rename(&seen.id, "renamed"));
        let fresh = lab.provider.read(&intent.target).await.unwrap();
        let FreshObject::Machine(found) = &fresh.object else { panic!("{fresh:?}") };
        assert_eq!(found.id, seen.id);
        assert!(matches!(lab.settle(&intent).await, Located::Happened(_)));
        assert_eq!(lab.world.mutations(), 1);
        assert_eq!(lab.world.born("web-7") + lab.world.born("renamed"), 1);
    }
}

pub async fn a_conflict_in_a_task_is_told_as_one(lab: Lab) {
    let mut machine = lab.small().await;
    machine.spec.memory = Some(Bytes::gib(3));
    let step = lab.update_steps(&machine, false).await.remove(0);
    let fresh = lab.read().await;
    lab.act(Act::Edit(&lab.id()));
    let Submitted::Accepted(task) = lab.send(&step, &fresh).await.0 else { panic!("no task") };
    let TaskState::Failed(refusal) = lab.wait(&task).await else { panic!("it was done") };
    assert_eq!(refusal.kind, RefusalKind::Conflict, "{refusal:?}");
    assert!(refusal.kind.leaves_all_as_it_was());
    // After another look it is done.
    let step = lab.update_steps(&machine, false).await.remove(0);
    lab.must(&step).await;
}

pub async fn what_waits_for_its_turn_is_queued(lab: Lab) {
    let step = lab.build_steps(&lab.desired(false), None).await.remove(0);
    let fresh = lab.read().await;
    lab.act(Act::Crowded(true));
    let (submitted, mut intent) = lab.send(&step, &fresh).await;
    let Submitted::Accepted(task) = submitted else { panic!("{submitted:?}") };
    let states = lab.provider.poll(std::slice::from_ref(&task)).await;
    assert_eq!(states, [TaskState::Queued]);
    // Not there, and not proved never to come: with the task's name and without it.
    for known in [None, Some(task.clone())] {
        intent.task = known;
        for _ in 0..20 {
            let located = lab.provider.locate(&intent).await;
            let open = matches!(located, Located::Running(_) | Located::StillUnknown(_));
            assert!(open, "{located:?}");
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        }
    }
    lab.act(Act::Crowded(false));
    assert!(matches!(lab.settle(&intent).await, Located::Happened(_)));
}

pub async fn a_machine_that_needs_a_person_is_locked(lab: Lab) {
    let mut machine = lab.small().await;
    let free = lab.seen().await;
    assert_eq!(free.lock, None);
    machine.spec.memory = Some(Bytes::gib(3));
    let step = lab.update_steps(&machine, false).await.remove(0);
    lab.act(Act::NeedsPerson(&lab.id()));
    let listed = lab.observe().await.listed[&lab.id()].clone();
    assert!(listed.lock.is_some(), "{listed:?}");
    let lock = lab.seen().await.lock.unwrap();
    assert_eq!(lock.kind, LockKind::NeedsPerson, "{lock:?}");
    assert!(!lock.text.is_empty());
    let (fresh, truth) = (lab.read().await, lab.truth());
    let refusal = lab.send(&step, &fresh).await.0;
    lab.refusal(refusal, "").await;
    assert_eq!(lab.truth(), truth);
}

pub async fn a_card_that_was_added_is_found_by_its_handle(lab: Lab) {
    let mut machine = lab.small().await;
    let nic = |index: usize| NicSpec {
        network: Some(NetworkBinding { name: None, native: lab.props().networks[index].clone() }),
        model: Some(NicModel::E1000),
        ..NicSpec::default()
    };
    machine.spec.nics.insert("eth1".into(), nic(0));
    machine.spec.nics.insert("eth2".into(), nic(1));
    lab.update(&machine).await;
    let seen = lab.seen().await;
    let map = seen.marker.found().unwrap().map.clone();
    for name in ["eth0", "eth1", "eth2"] {
        let entry = &map.nics[name];
        let device = seen.device(entry.slot.as_str()).unwrap();
        assert_eq!(
            device.network.as_ref(),
            seen.spec.nics[name].network.as_ref().map(|it| &it.native)
        );
    }
    // The next write finds it there, changes it, and takes the right one away.
    machine.spec.nics.get_mut("eth2").unwrap().network = nic(0).network;
    lab.update(&machine).await;
    let kept = lab.seen().await;
    assert_eq!(kept.spec.nics["eth2"].mac, seen.spec.nics["eth2"].mac);
    machine.spec.nics.remove("eth1");
    lab.update(&machine).await;
    let last = lab.seen().await;
    assert_eq!(
        last.spec.nics.keys().map(novahost::model::DeviceName::as_str).collect::<Vec<_>>(),
        ["eth0", "eth2"]
    );
    assert_eq!(last.spec.nics["eth2"].mac, seen.spec.nics["eth2"].mac);
    // That write was the next one of the map, after the card had been seen.
    assert!(last.marker.found().unwrap().map.nics["eth2"].confirmed);
}

pub async fn a_guest_without_tools_is_deaf(lab: Lab) {
    lab.small().await;
    for step in lab.lower(&Change::Start) {
        lab.must(&step).await;
    }
    lab.act(Act::TakeTools(&lab.id()));
    let steps = lab.lower(&Change::Delete(&lab.seen().await));
    let shutdown = steps.iter().find(|step| step.op == StepOp::Shutdown).unwrap();
    let fresh = lab.read().await;
    let refusal = lab.send(shutdown, &fresh).await.0;
    let refusal = lab.refusal(refusal, "").await;
    assert_eq!(refusal.kind, RefusalKind::GuestDeaf, "{refusal:?}");
    let instead = shutdown.otherwise.clone().unwrap();
    lab.carry_out(&lab.target(), shutdown, &instead).await;
    assert_eq!(lab.seen().await.power, PowerState::Stopped);
}

pub async fn a_linked_clone_hangs_on_the_named_snapshot(lab: Lab) {
    let machine = lab.desired(true);
    let birth = lab.build_steps(&machine, None).await.remove(0);
    let StepOp::Clone(from) = &birth.op else { panic!("{birth:?}") };
    let named = from.snapshot.clone().unwrap();
    let template = lab.template().await;
    assert!(template.snapshots.iter().any(|it| it.id == named));
    lab.must(&birth).await;
    assert_eq!(lab.world.hangs_on(&lab.target().at).as_deref(), Some(named.as_str()));
    // One that is gone by now is not replaced by another.
    let mut gone = (**from).clone();
    gone.snapshot = Some("snapshot-0".into());
    let step = novahost::model::Step { op: StepOp::Clone(Box::new(gone)), ..birth };
    let other = lab.birth(1);
    let (submitted, _) =
        lab.submit(&*lab.provider, &other, &step, &step.op, &super::lab::absent()).await;
    lab.refusal(submitted, "").await;
    assert_eq!(lab.world.truth(&other.at), "nothing");
    assert_eq!(lab.world.hangs_on(&lab.target().at).as_deref(), Some(named.as_str()));
}

pub async fn missing_rights_never_make_an_inventory_smaller(lab: Lab) {
    let whole = lab.observe().await;
    assert_eq!(whole.coverage, Coverage::Complete);
    let hides = Act::Hide(lab.props().foreign.id().unwrap());
    let told = |act: &Act<'_>| lab.has(Need::HiddenTold) || matches!(act, Act::Narrow);
    for act in [hides, Act::Narrow].into_iter().filter(told) {
        lab.act(act);
        let seen = lab.observe().await;
        let less = seen.listed.len() < whole.listed.len();
        assert!(less, "{act:?} hides nothing");
        let told = matches!(seen.coverage, Coverage::Scoped { .. } | Coverage::Incomplete { .. });
        assert!(told, "{act:?}: {:?}", seen.coverage);
    }
}

pub async fn a_dead_session_is_no_empty_inventory(lab: Lab) {
    let whole = lab.observe().await;
    for _ in 0..2 {
        // The session is renewed, and everything is there again.
        lab.act(Act::EndSessions);
        let seen = lab.observe().await;
        assert_eq!((seen.coverage, seen.listed.len()), (Coverage::Complete, whole.listed.len()));
        lab.act(Act::EndSessions);
        assert_eq!(lab.provider.list().await.unwrap().guests.len(), whole.listed.len());
        lab.act(Act::EndSessions);
        let fresh = lab.provider.read(&lab.props().foreign).await.unwrap();
        assert!(matches!(fresh.object, FreshObject::Machine(_)), "{fresh:?}");
    }
    // One that dies with every listing is a failure, not an empty place.
    lab.world.trouble(Point::Listing, Trouble::Expired, usize::MAX);
    let seen = lab.observe().await;
    assert!(seen.listed.is_empty());
    let Coverage::Failed { kind, .. } = seen.coverage else { panic!("{:?}", seen.coverage) };
    assert!(matches!(kind, FailureKind::Auth | FailureKind::Unreachable), "{kind:?}");
    assert!(lab.provider.list().await.is_err());
}

pub async fn a_broken_chain_of_pages_is_never_a_shorter_list(lab: Lab) {
    let whole = lab.observe().await;
    assert!(whole.listed.len() > CROWD);
    // A page that is lost once is no matter: the list is read again from its beginning.
    for trouble in [Trouble::LostAfter, Trouble::Expired] {
        lab.trouble(Point::NextPage, trouble.clone());
        let seen = lab.observe().await;
        assert_eq!(seen.coverage, Coverage::Complete, "{trouble:?}");
        assert_eq!(seen.listed, whole.listed, "{trouble:?}");
    }
    for trouble in [Trouble::LostAfter, Trouble::Cut, Trouble::Expired] {
        lab.world.trouble(Point::NextPage, trouble.clone(), usize::MAX);
        let seen = lab.observe().await;
        assert!(seen.listed.is_empty(), "{trouble:?}");
        assert!(matches!(seen.coverage, Coverage::Failed { .. }), "{trouble:?}");
        assert!(lab.provider.list().await.is_err(), "{trouble:?}");
    }
}

pub async fn a_closed_provider_leaves_no_session(lab: Lab) {
    assert_eq!(lab.world.sessions(), 0);
    lab.small().await;
    assert_eq!(lab.world.sessions(), 1);
    lab.provider.close().await;
    assert_eq!(lab.world.sessions(), 0);
    // It can be used again, and closed again.
    assert_eq!(unmet(&novahost::model::Expect::default(), &lab.read().await.object), [""; 0]);
    assert_eq!(lab.world.sessions(), 1);
    lab.provider.close().await;
    lab.provider.close().await;
    assert_eq!(lab.world.sessions(), 0);
}

//! Leases: who may write, and who learns that it may not any longer.

use super::*;

const TTL: i64 = 1000;

fn holder(run: u128) -> LeaseHolder {
    let pid = u32::try_from(run).unwrap();
    LeaseHolder { run: run_id(run), who: "ana".into(), pid, host: "desk".into(), process: None }
}

async fn take(store: &Store, run: u128, places: &[&str], now_ms: i64) -> Result<Lease, LeaseTaken> {
    let places: Vec<_> = places.iter().map(|name| HypervisorName::from(*name)).collect();
    store.acquire_lease(&project(), &places, holder(run), TTL, now_ms).await.unwrap()
}

fn at(begun_ms: i64, run: u128, machine: u32) -> Intent {
    Intent { begun_ms, ..birth(run, machine) }
}

#[tokio::test]
async fn a_lease_keeps_others_out_and_names_its_holder() {
    let store = Store::open_in_memory().await.unwrap();
    let lease = take(&store, 1, &["pve", "pve2"], 0).await.unwrap();
    assert_eq!((lease.expires_ms, lease.taken_over.len()), (TTL, 0));
    let taken = take(&store, 2, &["pve2"], 999).await.unwrap_err();
    assert_eq!(taken.holder, holder(1));
    assert_eq!(
        taken.to_string(),
        format!(
            "`pve2` is leased for project `acme` to ana on desk (process 1, run {})",
            run_id(1)
        )
    );
    take(&store, 2, &["pve3"], 999).await.unwrap();
    let other = store.acquire_lease(&"other".into(), &[pve()], holder(3), TTL, 999).await;
    other.unwrap().unwrap();
}

#[tokio::test]
async fn a_lease_is_given_on_all_hypervisors_or_on_none() {
    let store = Store::open_in_memory().await.unwrap();
    take(&store, 1, &["pve2"], 0).await.unwrap();
    take(&store, 2, &["pve", "pve2"], 1).await.unwrap_err();
    take(&store, 3, &["pve"], 1).await.unwrap();
}

#[tokio::test]
async fn a_lease_that_ran_out_is_taken_over_and_that_is_said() {
    let store = Store::open_in_memory().await.unwrap();
    let first = take(&store, 1, &["pve"], 0).await.unwrap();
    let second = take(&store, 2, &["pve"], TTL).await.unwrap();
    assert_eq!(second.taken_over[0].holder, holder(1));
    assert!(second.epochs[&pve()] > first.epochs[&pve()]);
    let rows = store.entries(EntryFilter::default()).await.unwrap();
    assert_eq!(rows[0].entry.event, Event::LeaseTakenOver);
    assert!(rows[0].entry.text.as_ref().unwrap().contains("process 1"));
    let lost = store.renew_lease(&first, TTL, TTL + 1).await.unwrap().unwrap_err();
    assert_eq!(lost.holder, holder(2));
}

#[tokio::test]
async fn a_released_lease_is_free_and_was_not_taken_over() {
    let store = Store::open_in_memory().await.unwrap();
    let first = take(&store, 1, &["pve"], 0).await.unwrap();
    store.release_lease(&first).await.unwrap();
    let second = take(&store, 2, &["pve"], 1).await.unwrap();
    assert!(second.taken_over.is_empty());
    assert!(second.epochs[&pve()] > first.epochs[&pve()]);
    // The late release of a lease that is another's by now changes nothing.
    store.release_lease(&first).await.unwrap();
    take(&store, 3, &["pve"], 2).await.unwrap_err();
}

#[tokio::test]
async fn a_renewed_lease_lasts_from_then_on() {
    let store = Store::open_in_memory().await.unwrap();
    let lease = take(&store, 1, &["pve"], 0).await.unwrap();
    let renewed = store.renew_lease(&lease, TTL, 900).await.unwrap().unwrap();
    assert_eq!(renewed.expires_ms, 900 + TTL);
    take(&store, 2, &["pve"], TTL + 1).await.unwrap_err();
    take(&store, 2, &["pve"], 900 + TTL).await.unwrap();
}

#[tokio::test]
async fn a_run_that_lost_its_lease_can_write_no_intent() {
    let place = place();
    let (left, right) = (place.open().await, place.open().await);
    let run = left.begin_run(new_run(1, 2)).await.unwrap();
    let other = right.begin_run(new_run(2, 2)).await.unwrap();
    take(&left, 1, &["pve"], 0).await.unwrap();
    run.intend(at(1, 1, 0), None).await.unwrap();
    // Late, but nobody else came: still the only one.
    run.intend(at(TTL + 1, 1, 1), None).await.unwrap();

    let lease = take(&right, 2, &["pve"], TTL + 2).await.unwrap();
    other.intend(at(TTL + 3, 2, 0), None).await.unwrap();
    let lost = run.intend(Intent { attempt: 2, ..at(TTL + 3, 1, 0) }, None).await.unwrap_err();
    assert!(matches!(lost, StoreError::LeaseLost { .. }), "{lost:?}");
    assert!(lost.to_string().contains("process 2"), "{lost}");

    // Not even after the other has gone again: what it did was not planned with.
    right.release_lease(&lease).await.unwrap();
    run.intend(Intent { attempt: 2, ..at(TTL + 4, 1, 0) }, None).await.unwrap_err();
    // Outcomes of calls that are out already are still taken.
    let open = run.open_intents().await.unwrap();
    run.finished(&open[0], StepOutcome::Done, None, TTL + 5).await.unwrap();
}

#[tokio::test]
async fn a_run_without_a_lease_writes_only_where_nobody_has_one() {
    let place = place();
    let (left, right) = (place.open().await, place.open().await);
    let run = left.begin_run(new_run(1, 2)).await.unwrap();
    run.intend(at(1, 1, 0), None).await.unwrap();
    take(&right, 2, &["pve"], 2).await.unwrap();
    run.intend(at(3, 1, 1), None).await.unwrap_err();
    run.intend(Intent { hypervisor: "pve2".into(), ..at(3, 1, 1) }, None).await.unwrap();
}

// One run in two processes: the first was thought dead and its run was resumed.
#[tokio::test]
async fn a_resumed_run_shuts_out_the_process_that_had_it() {
    let place = place();
    let (left, right) = (place.open().await, place.open().await);
    let run = left.begin_run(new_run(1, 2)).await.unwrap();
    take(&left, 1, &["pve"], 0).await.unwrap();
    let resumed = right.resume_run(run_id(1), who(), TTL).await.unwrap().unwrap();
    let second = LeaseHolder { pid: 99, ..holder(1) };
    let lease = right.acquire_lease(&project(), &[pve()], second, TTL, TTL).await.unwrap();
    assert_eq!(lease.unwrap().taken_over.len(), 1);
    resumed.intend(at(TTL + 1, 1, 0), None).await.unwrap();
    run.intend(at(TTL + 1, 1, 1), None).await.unwrap_err();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_lease_of_a_process_that_was_killed_is_free_at_once() {
    let store = Store::open_in_memory().await.unwrap();
    let alive = LeaseHolder { process: this_process(), ..holder(1) };
    store.acquire_lease(&project(), &[pve()], alive, TTL, 0).await.unwrap().unwrap();
    take(&store, 2, &["pve"], 1).await.unwrap_err();

    // The same number, given to another process: ours started at another time.
    let named = this_process().unwrap();
    let (rest, _) = named.rsplit_once(' ').unwrap();
    let dead = LeaseHolder { process: Some(format!("{rest} 1")), ..holder(3) };
    let places = ["pve2".into()];
    let first = store.acquire_lease(&project(), &places, dead.clone(), TTL, 0).await.unwrap();
    let second = take(&store, 4, &["pve2"], 1).await.unwrap();
    assert_eq!(second.taken_over[0].holder, dead);
    let lost = store.renew_lease(&first.unwrap(), TTL, 2).await.unwrap().unwrap_err();
    assert_eq!(lost.holder, holder(4));
}

//! Group commit, and what happens to a group when something fails.

use super::*;
use crate::store::error::Failure;

/// Holds the writer until released, so that a group gathers behind it.
async fn hold(store: &Store) -> std::sync::mpsc::Sender<()> {
    let (release, held) = std::sync::mpsc::channel();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let store = store.clone();
    tokio::spawn(async move {
        let wait = move |_: &rusqlite::Connection| {
            let _ = begun.send(());
            let _ = held.recv();
            Ok::<_, Failure>(())
        };
        store.writer.run("wait", wait).await
    });
    has_begun.await.unwrap();
    release
}

/// Begins `count` intents that all wait behind the writer, then lets it go.
async fn gather(store: &Store, run: &RunHandle, count: u32) -> Vec<Result<(), StoreError>> {
    let release = hold(store).await;
    let mut callers = tokio::task::JoinSet::new();
    for machine in 0..count {
        let run = run.clone();
        callers.spawn(async move { run.intend(birth(1, machine), None).await.map(drop) });
    }
    while store.writer.waiting() < count as usize {
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    callers.join_all().await
}

#[tokio::test]
async fn intents_that_wait_together_share_one_commit() {
    let place = place();
    let store = place.open().await;
    let run = store.begin_run(new_run(1, 50)).await.unwrap();
    let before = store.commits();
    assert!(gather(&store, &run, 50).await.into_iter().all(|outcome| outcome.is_ok()));
    // One for the piece that held the writer, one for all fifty.
    assert_eq!(store.commits() - before, 2);
}

#[tokio::test]
async fn a_step_costs_at_most_three_commits() {
    let place = place();
    let store = place.open().await;
    let run = store.begin_run(new_run(1, 1)).await.unwrap();
    let before = store.commits();
    let intent = run.intend(birth(1, 0), None).await.unwrap();
    run.accepted(&intent, &task("t"), 2).await.unwrap();
    run.finished(&intent, StepOutcome::Done, None, 3).await.unwrap();
    assert_eq!(store.commits() - before, 3);
}

#[tokio::test]
async fn work_that_fails_takes_back_its_own_rows_only() {
    let place = place();
    let store = place.open().await;
    let run = store.begin_run(new_run(1, 3)).await.unwrap();
    run.intend(birth(1, 1), None).await.unwrap();
    // The second of three is there already: its entry is written before its step is
    // refused, and must go with it.
    let outcomes = gather(&store, &run, 3).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2);
    let report = store.verify_chain().await.unwrap();
    assert_eq!((report.rows, report.first_bad), (4, None));
    assert_eq!(run.open_intents().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_full_disk_fails_the_intent_and_leaves_the_chain_whole() {
    let place = place();
    let store = place.open().await;
    let run = store.begin_run(new_run(1, 200)).await.unwrap();
    // SQLite reports a database at its page limit as it reports a full disk.
    let limit = |pages: i64| {
        store.writer.run("limit", move |conn| {
            conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
            Ok(())
        })
    };
    limit(1).await.unwrap();
    let outcomes = gather(&store, &run, 200).await;
    let errors: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(!errors.is_empty());
    for error in &errors {
        assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&place.path.display().to_string()), "{text}");
        assert!(text.contains("free some space"), "{text}");
    }
    let stored = run.open_intents().await.unwrap().len();
    assert_eq!(
        stored,
        outcomes.len() - errors.len(),
        "an answer is `Ok` exactly if its row is there"
    );
    limit(1_000_000).await.unwrap();
    run.intend(birth(1, 500), None).await.unwrap();
    assert_eq!(store.verify_chain().await.unwrap().first_bad, None);
}

#[tokio::test]
async fn a_store_that_cannot_be_written_says_so() {
    let place = place();
    let store = place.open().await;
    let run = store.begin_run(new_run(1, 1)).await.unwrap();
    let forbid = |conn: &rusqlite::Connection| Ok(conn.pragma_update(None, "query_only", true)?);
    store.writer.run("limit", forbid).await.unwrap();
    let error = run.intend(birth(1, 0), None).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    assert!(error.to_string().contains(&place.path.display().to_string()), "{error}");
    assert!(run.open_intents().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_locked_store_says_so_and_works_again() {
    let place = place();
    let store = place.open().await;
    let run = store.begin_run(new_run(1, 1)).await.unwrap();
    let short = std::time::Duration::from_millis(20);
    store.writer.run("limit", move |conn| Ok(conn.busy_timeout(short)?)).await.unwrap();
    let other = place.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = run.intend(birth(1, 0), None).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with("could not record an intent: another process has"), "{text}");
    // Readers are not kept out by a writer.
    store.verify_chain().await.unwrap();
    other.execute_batch("ROLLBACK").unwrap();
    run.intend(birth(1, 0), None).await.unwrap();
}

/// Queues an intent, a piece of work that spoils things, and another intent, all
/// for one group; returns what the two intents were told.
async fn around(
    store: &Store,
    run: &RunHandle,
    spoil: fn(&rusqlite::Connection) -> Result<(), Failure>,
) -> [Result<(), StoreError>; 2] {
    let release = hold(store).await;
    let intend = |machine| {
        let run = run.clone();
        tokio::spawn(async move { run.intend(birth(1, machine), None).await.map(drop) })
    };
    let queued = async |count| {
        while store.writer.waiting() < count {
            tokio::task::yield_now().await;
        }
    };
    let first = intend(0);
    queued(1).await;
    let spoilt = {
        let store = store.clone();
        tokio::spawn(async move { store.writer.run("spoil", spoil).await })
    };
    queued(2).await;
    let second = intend(1);
    queued(3).await;
    release.send(()).unwrap();
    spoilt.await.unwrap().unwrap_err();
    [first.await.unwrap(), second.await.unwrap()]
}

#[tokio::test]
async fn a_commit_that_fails_answers_everybody_with_an_error() {
    let place = place();
    let store = place.open().await;
    let run = store.begin_run(new_run(1, 9)).await.unwrap();
    // A constraint that is checked at the commit makes that, and only that, fail.
    let spoil = |conn: &rusqlite::Connection| {
        conn.execute_batch(
            "PRAGMA defer_foreign_keys = ON;
             INSERT INTO actions (run, ordinal, id, key, hypervisor, verb)
             VALUES ('none', 0, 'a', 'vm/a', 'h', 'create');",
        )?;
        Ok(())
    };
    assert!(around(&store, &run, spoil).await.iter().all(Result::is_err));
    assert!(run.open_intents().await.unwrap().is_empty());
    run.intend(birth(1, 0), None).await.unwrap();
    assert_eq!(store.verify_chain().await.unwrap().first_bad, None);
}

// What SQLite does on its own after some I/O errors.
#[tokio::test]
async fn a_transaction_that_was_rolled_back_midway_takes_its_answers_along() {
    let place = place();
    let store = place.open().await;
    let run = store.begin_run(new_run(1, 9)).await.unwrap();
    let spoil = |conn: &rusqlite::Connection| {
        conn.execute_batch("ROLLBACK")?;
        Err(rusqlite::Error::InvalidQuery.into())
    };
    let [first, second] = around(&store, &run, spoil).await;
    assert!(first.is_err(), "its row was rolled back");
    assert!(second.is_ok(), "it had a transaction of its own");
    let open = run.open_intents().await.unwrap();
    let open: Vec<_> = open.iter().map(|intent| &intent.intent().action).collect();
    assert_eq!(open, [&action(1)]);
    assert_eq!(store.verify_chain().await.unwrap().first_bad, None);
}

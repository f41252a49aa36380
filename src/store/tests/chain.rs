//! The chain: what walking it sees, and what only a head kept outside can see.

use super::*;
use crate::store::chain::{GENESIS, digest};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A finished run of 11 rows, and its head.
async fn filled(place: &Place) -> (Store, String) {
    let store = place.open().await;
    let run = store.begin_run(new_run(1, 3)).await.unwrap();
    for machine in 0..3 {
        let intent = run.intend(birth(1, machine), None).await.unwrap();
        run.accepted(&intent, &task("t"), 2).await.unwrap();
        run.finished(&intent, StepOutcome::Done, None, 3).await.unwrap();
    }
    let head = run.finish(0, "done".into(), 4).await.unwrap();
    (store, head)
}

async fn first_bad(store: &Store) -> Option<(i64, ChainFault)> {
    store.verify_chain().await.unwrap().first_bad.map(|bad| (bad.seq, bad.fault))
}

#[tokio::test]
async fn a_whole_chain_verifies_and_ends_in_the_head_that_was_printed() {
    let place = place();
    let (store, head) = filled(&place).await;
    let report = store.verify_chain().await.unwrap();
    assert_eq!(report, ChainReport { rows: 11, head: head.clone(), first_bad: None });
    assert_eq!(store.find_head(&head.to_uppercase()).await.unwrap(), Some(11));
    assert_eq!(store.find_head("00").await.unwrap(), None);
}

#[tokio::test]
async fn an_empty_chain_verifies() {
    let store = Store::open_in_memory().await.unwrap();
    let report = store.verify_chain().await.unwrap();
    assert_eq!(report, ChainReport { rows: 0, head: GENESIS.into(), first_bad: None });
}

#[tokio::test]
async fn an_edited_row_is_named() {
    let place = place();
    let (store, _) = filled(&place).await;
    place.tamper(
        "UPDATE entries SET body = replace(body, '\"user\":\"ana\"', '\"user\":\"eve\"')
         WHERE seq = 4",
    );
    assert_eq!(first_bad(&store).await, Some((4, ChainFault::Edited)));
}

#[tokio::test]
async fn a_row_that_was_edited_and_hashed_anew_is_named_by_the_next() {
    let place = place();
    let (store, _) = filled(&place).await;
    let (prev, body): (String, String) = place
        .raw()
        .query_row("SELECT prev, body FROM entries WHERE seq = 4", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    let body = body.replace("ana", "eve");
    let hash = digest(&prev, &body);
    place.tamper(&format!("UPDATE entries SET body = '{body}', hash = '{hash}' WHERE seq = 4"));
    assert_eq!(first_bad(&store).await, Some((5, ChainFault::Unlinked)));
}

#[tokio::test]
async fn a_deleted_row_is_named() {
    let place = place();
    let (store, _) = filled(&place).await;
    place.tamper("DELETE FROM entries WHERE seq IN (6, 7)");
    assert_eq!(first_bad(&store).await, Some((6, ChainFault::Missing)));
}

#[tokio::test]
async fn a_deleted_row_is_named_though_the_rest_moved_up() {
    let place = place();
    let (store, _) = filled(&place).await;
    place.tamper(
        "DELETE FROM entries WHERE seq = 6;
         UPDATE entries SET seq = seq - 1 WHERE seq > 6;",
    );
    assert_eq!(first_bad(&store).await, Some((6, ChainFault::Unlinked)));
}

#[tokio::test]
async fn a_tail_that_was_cut_off_is_seen_by_what_points_into_it() {
    let place = place();
    let (store, _) = filled(&place).await;
    place.tamper("DELETE FROM entries WHERE seq > 8");
    assert_eq!(first_bad(&store).await, Some((9, ChainFault::CutOff)));
}

// The limit of an offline walk, written down as a test: a careful hand that also
// mends what points to the end leaves a chain that verifies. The head in the CI log
// is what tells.
#[tokio::test]
async fn a_tail_that_was_cut_with_care_is_seen_only_by_a_head_kept_outside() {
    let place = place();
    let (store, head) = filled(&place).await;
    place.tamper(
        "DELETE FROM entries WHERE seq > 8;
         DELETE FROM steps WHERE seq > 8;
         UPDATE runs SET head = NULL, head_seq = NULL, finished_ms = NULL;",
    );
    let report = store.verify_chain().await.unwrap();
    assert_eq!(report.first_bad, None);
    assert_ne!(report.head, head);
    assert_eq!(store.find_head(&head).await.unwrap(), None);
}

#[tokio::test]
async fn a_chain_that_was_hashed_anew_is_seen_by_the_heads_of_its_runs() {
    let place = place();
    let (store, _) = filled(&place).await;
    let mut sql = String::new();
    let mut prev = GENESIS.to_owned();
    for row in store.entries(EntryFilter::default()).await.unwrap() {
        let mut entry = row.entry;
        entry.who.user = "eve".into();
        let body = serde_json::to_string(&entry).unwrap();
        let hash = digest(&prev, &body);
        sql += &format!(
            "UPDATE entries SET prev = '{prev}', hash = '{hash}', body = '{body}'
             WHERE seq = {};",
            entry.seq
        );
        prev = hash;
    }
    place.tamper(&sql);
    assert_eq!(first_bad(&store).await, Some((11, ChainFault::Rewritten)));
}

#[tokio::test]
async fn the_database_itself_refuses_to_edit_delete_or_insert_between() {
    let place = place();
    let (_store, _) = filled(&place).await;
    let conn = place.raw();
    for sql in [
        "UPDATE entries SET body = '{}' WHERE seq = 3",
        "DELETE FROM entries WHERE seq = 11",
        "INSERT INTO entries (seq, prev, hash, body) VALUES (13, '', 'x', '{}')",
        "INSERT OR REPLACE INTO entries (seq, prev, hash, body) VALUES (3, '', 'x', '{}')",
    ] {
        let error = conn.execute_batch(sql).unwrap_err().to_string();
        assert!(error.contains("entries of the journal are"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn entries_are_found_by_run_and_by_object() {
    let place = place();
    let store = place.open().await;
    for number in 1..3 {
        let run = store.begin_run(new_run(number, 2)).await.unwrap();
        for machine in 0..2 {
            run.intend(birth(number, machine), None).await.unwrap();
        }
    }
    let seqs = async |run, key, limit| {
        let rows = store.entries(EntryFilter { run, key, limit }).await.unwrap();
        rows.into_iter().map(|row| row.entry.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(Some(run_id(2)), None, 9).await, [4, 5, 6]);
    assert_eq!(seqs(None, Some(key(1)), 9).await, [3, 6]);
    assert_eq!(seqs(Some(run_id(1)), Some(key(1)), 9).await, [3]);
    assert_eq!(seqs(None, None, 2).await, [5, 6]);
}

#[tokio::test]
async fn an_export_can_be_checked_without_the_store() {
    let place = place();
    let (store, head) = filled(&place).await;
    let mut out = Vec::new();
    assert_eq!(store.export(&mut out).await.unwrap(), 11);
    let mut prev = GENESIS.to_owned();
    for line in String::from_utf8(out).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        assert_eq!(text("prev"), prev);
        assert_eq!(text("hash"), digest(&prev, &text("body")));
        prev = text("hash");
    }
    assert_eq!(prev, head);
}

// The hash is over bytes: they must not depend on the order of fields in a source file.
#[tokio::test]
async fn bodies_are_canonical() {
    let place = place();
    let (store, _) = filled(&place).await;
    let full = Who {
        ci_job: Some("7".into()),
        git_commit: Some("c".into()),
        ticket: Some("T".into()),
        ..who()
    };
    store.resume_run(run_id(1), full, 9).await.unwrap();
    let mut statement = place.raw();
    let transaction = statement.transaction().unwrap();
    let mut query = transaction.prepare("SELECT body FROM entries").unwrap();
    for body in query.query_map([], |row| row.get::<_, String>(0)).unwrap() {
        let body = body.unwrap();
        let sorted: BTreeMap<String, serde_json::Value> = serde_json::from_str(&body).unwrap();
        let sorted: BTreeMap<_, _> = sorted
            .into_iter()
            .map(|(name, value)| match value {
                serde_json::Value::Object(fields) => {
                    let fields: BTreeMap<_, _> = fields.into_iter().collect();
                    (name, serde_json::to_string(&fields).unwrap())
                }
                value => (name, value.to_string()),
            })
            .collect();
        let parts: Vec<_> =
            sorted.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        assert_eq!(body, format!("{{{}}}", parts.join(",")));
    }
}

#[tokio::test]
async fn two_stores_on_one_file_write_one_chain() {
    let place = place();
    let (left, right) = (place.open().await, place.open().await);
    let run = left.begin_run(new_run(1, 2)).await.unwrap();
    let other = right.begin_run(new_run(2, 2)).await.unwrap();
    run.intend(birth(1, 0), None).await.unwrap();
    other.intend(birth(2, 1), None).await.unwrap();
    run.intend(birth(1, 1), None).await.unwrap();
    let head = other.finish(0, "done".into(), 4).await.unwrap();
    for store in [left, right] {
        let report = store.verify_chain().await.unwrap();
        assert_eq!(report, ChainReport { rows: 6, head: head.clone(), first_bad: None });
    }
}

/// What one caller does, on which of two stores.
#[derive(Clone, Debug)]
enum Deed {
    Intend,
    Finish,
    State,
    Own,
    Fail,
    Cancel,
}

fn deeds() -> impl Strategy<Value = Vec<(bool, Deed)>> {
    let deed = prop_oneof![
        4 => Just(Deed::Intend),
        2 => Just(Deed::Finish),
        1 => Just(Deed::State),
        1 => Just(Deed::Own),
        2 => Just(Deed::Fail),
        2 => Just(Deed::Cancel),
    ];
    proptest::collection::vec((any::<bool>(), deed), 1..40)
}

/// Does one deed; returns how many rows it must have added at least and at most.
async fn perform(run: RunHandle, number: u128, machine: u32, deed: Deed) -> (u64, u64) {
    match deed {
        Deed::Intend => run.intend(birth(number, machine), None).await.map(drop).unwrap(),
        Deed::Finish => {
            let intent = run.intend(birth(number, machine), None).await.unwrap();
            run.finished(&intent, StepOutcome::Done, None, 3).await.unwrap();
            return (2, 2);
        }
        Deed::State => run.action_state(&action(machine), ActionState::Done, 2).await.unwrap(),
        Deed::Own => run.owned(&key(machine), &pve(), &native(machine), 2).await.unwrap(),
        Deed::Fail => {
            run.action_state(&"no:such".into(), ActionState::Done, 2).await.unwrap_err();
            return (0, 0);
        }
        // A caller that gives up before its answer: the row may be there or not.
        Deed::Cancel => {
            let intent = run.intend(birth(number, machine), None);
            let _ = tokio::time::timeout(std::time::Duration::ZERO, intent).await;
            return (0, 1);
        }
    }
    (1, 1)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_yields_a_valid_chain(deeds in deeds()) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
        runtime.block_on(async {
            let place = place();
            let stores = [place.open().await, place.open().await];
            let count = u32::try_from(deeds.len()).unwrap();
            let mut runs = Vec::new();
            for (number, store) in (1..).zip(&stores) {
                runs.push(store.begin_run(new_run(number, count)).await.unwrap());
            }
            let mut callers = tokio::task::JoinSet::new();
            for (machine, (second, deed)) in (0..).zip(deeds) {
                let run = runs[usize::from(second)].clone();
                callers.spawn(perform(run, 1 + u128::from(second), machine, deed));
            }
            let (mut least, mut most) = (2, 2);
            for (low, high) in callers.join_all().await {
                (least, most) = (least + low, most + high);
            }
            let report = stores[0].verify_chain().await.unwrap();
            assert_eq!(report.first_bad, None);
            assert!((least..=most).contains(&report.rows), "{least} {} {most}", report.rows);
            let filter = EntryFilter { limit: 1000, ..EntryFilter::default() };
            let rows = stores[1].entries(filter).await.unwrap();
            let hashes: BTreeSet<_> = rows.iter().map(|row| &row.hash).collect();
            assert_eq!(hashes.len(), rows.len());
        });
    }
}

//! What a crash leaves behind.

use super::*;
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

/// Names the database to the child of `a_killed_process_leaves_its_open_calls`.
const CHILD_STORE: &str = "NOVAHOST_TEST_CHILD_STORE";

#[tokio::test]
async fn an_intent_is_in_the_files_before_its_proof_is_returned() {
    let place = place();
    let store = place.open().await;
    let run = store.begin_run(new_run(1, 1)).await.unwrap();
    run.intend(birth(1, 0), None).await.unwrap();
    // The database and its log as they are at this moment: what a kill would leave.
    let copy = super::place();
    for suffix in ["", "-wal"] {
        let name = |path: &Path| format!("{}{suffix}", path.display());
        std::fs::copy(name(&place.path), name(&copy.path)).unwrap();
    }
    let open = copy.open().await.open_intents(run_id(1)).await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(*open[0].intent(), birth(1, 0));
}

#[tokio::test]
async fn a_run_that_broke_off_reads_as_such_and_can_be_closed() {
    let place = place();
    {
        let run = place.open().await.begin_run(new_run(1, 3)).await.unwrap();
        let done = run.intend(birth(1, 0), None).await.unwrap();
        run.finished(&done, StepOutcome::Done, None, 2).await.unwrap();
        let with_task = run.intend(birth(1, 1), None).await.unwrap();
        run.accepted(&with_task, &task("UPID:7"), 3).await.unwrap();
        run.intend(birth(1, 2), None).await.unwrap();
    }
    let store = place.open().await;
    assert_eq!(store.runs(None, 9).await.unwrap()[0].finished_ms, None);
    assert_eq!(store.history(&project()).await.unwrap().open.len(), 2);
    let run = store.resume_run(run_id(1), who(), 9).await.unwrap().unwrap();
    let open = run.open_intents().await.unwrap();
    let seen: Vec<_> = open.iter().map(|it| (&it.intent().action, &it.intent().task)).collect();
    assert_eq!(seen, [(&action(1), &Some(task("UPID:7"))), (&action(2), &None)]);

    run.finished(&open[0], StepOutcome::Done, None, 10).await.unwrap();
    let gone = StepOutcome::NotSent("no task of it exists".into());
    run.finished(&open[1], gone, None, 10).await.unwrap();
    assert!(run.open_intents().await.unwrap().is_empty());
    assert!(store.history(&project()).await.unwrap().open.is_empty());
    assert_eq!(store.verify_chain().await.unwrap().first_bad, None);
}

#[tokio::test]
async fn a_killed_process_leaves_its_open_calls() {
    let place = place();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::crash::child_that_is_killed", "--nocapture"])
        .env(CHILD_STORE, &place.path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .any(|line| line.unwrap().contains("durable"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(said, "the child ended before its row was on disk");

    let store = place.open().await;
    let open = store.open_intents(run_id(1)).await.unwrap();
    assert_eq!(open[0].intent().task, Some(task("UPID:9")));
    assert_eq!(store.verify_chain().await.unwrap().first_bad, None);
    store.begin_run(new_run(2, 0)).await.unwrap();
}

#[tokio::test]
// Without the variable, which its parent sets, it has nothing to do.
async fn child_that_is_killed() {
    let Some(path) = std::env::var_os(CHILD_STORE) else { return };
    let run = Store::open(Path::new(&path)).await.unwrap().begin_run(new_run(1, 1)).await.unwrap();
    let intent = run.intend(birth(1, 0), None).await.unwrap();
    run.accepted(&intent, &task("UPID:9"), 2).await.unwrap();
    println!("durable");
    std::future::pending::<()>().await;
}

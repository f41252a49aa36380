//! Opening: files, modes, versions, strangers.

use super::*;

#[cfg(unix)]
#[tokio::test]
async fn folder_and_files_are_for_their_user_only() {
    use std::os::unix::fs::PermissionsExt;
    let outer = place();
    let path = outer.path.with_file_name("new").join("deep").join("store.db");
    let store = Store::open(&path).await.unwrap();
    store.begin_run(new_run(1, 1)).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for suffix in ["", "-wal", "-shm"] {
        assert_eq!(mode(Path::new(&format!("{}{suffix}", path.display()))), 0o600, "{suffix}");
    }
}

#[tokio::test]
async fn many_may_open_a_new_file_at_once() {
    let place = place();
    let mut all = tokio::task::JoinSet::new();
    for number in 1..9 {
        let path = place.path.clone();
        all.spawn(async move {
            Store::open(&path).await.unwrap().begin_run(new_run(number, 1)).await.unwrap();
        });
    }
    all.join_all().await;
    let report = place.open().await.verify_chain().await.unwrap();
    assert_eq!((report.rows, report.first_bad), (8, None));
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let place = place();
    drop(place.open().await);
    place.raw().pragma_update(None, "user_version", 7).unwrap();
    let error = Store::open(&place.path).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("schema version 7") && text.contains("up to 2"), "{text}");
    let version: i64 =
        place.raw().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, 7);
}

#[tokio::test]
async fn a_database_of_something_else_is_left_alone() {
    let place = place();
    place.raw().execute_batch("CREATE TABLE theirs (a)").unwrap();
    let error = Store::open(&place.path).await.unwrap_err();
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error:?}");
    let tables: i64 =
        place.raw().query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_called_damaged() {
    let place = place();
    std::fs::write(&place.path, "this is not a database, and it is long enough".repeat(99))
        .unwrap();
    let error = Store::open(&place.path).await.unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains(&place.path.display().to_string()), "{error}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let place = place();
    std::fs::write(&place.path, "a file").unwrap();
    let error = Store::open(&place.path.join("below").join("store.db")).await.unwrap_err();
    assert!(matches!(error, StoreError::Folder { .. }), "{error:?}");
    assert!(error.to_string().contains("below"), "{error}");
}

#[tokio::test]
async fn commits_are_durable_and_readers_cannot_write() {
    let place = place();
    let store = place.open().await;
    let pragma = |name: &'static str| {
        store.writer.run("ask", move |conn| {
            Ok(conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0))?)
        })
    };
    assert_eq!(pragma("synchronous").await.unwrap(), 2);
    assert_eq!(pragma("recursive_triggers").await.unwrap(), 1);
    let written = store
        .reader
        .run("write", |conn| Ok(conn.execute("DELETE FROM runs", [])?))
        .await
        .unwrap_err();
    assert!(matches!(written, StoreError::ReadOnly { .. }), "{written:?}");
}

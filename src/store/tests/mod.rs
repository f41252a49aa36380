//! Claims about the whole store. Times are small numbers: the store asks no clock.

mod chain;
mod crash;
mod groups;
mod leases;
mod opening;
mod records;

use super::*;
use crate::model::{Expect, Identity, Intent, NativeId, ResourceKey, Target, TaskRef, Verb};
use std::path::PathBuf;

/// A folder that is gone with the test, and a database in it.
struct Place {
    #[allow(dead_code, reason = "removes the folder when dropped")]
    folder: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    Place { folder, path }
}

impl Place {
    async fn open(&self) -> Store {
        Store::open(&self.path).await.unwrap()
    }

    /// A connection that does what no verb of the store does.
    fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(&self.path).unwrap()
    }

    /// Changes the file as somebody would who wants to hide something.
    fn tamper(&self, sql: &str) {
        let conn = self.raw();
        conn.execute_batch(
            "DROP TRIGGER IF EXISTS entries_are_not_edited;
             DROP TRIGGER IF EXISTS entries_are_not_deleted;",
        )
        .unwrap();
        conn.execute_batch(sql).unwrap();
    }
}

fn run_id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn project() -> ProjectName {
    "acme".into()
}

fn pve() -> HypervisorName {
    "pve".into()
}

fn who() -> Who {
    Who {
        user: "ana".into(),
        host: "desk".into(),
        reason: Some("more room".into()),
        ..Who::default()
    }
}

fn new_run(number: u128, machines: u32) -> NewRun {
    let actions = (0..machines)
        .map(|machine| {
            let key = key(machine);
            (format!("{key}:create").into(), key, pve(), Verb::Create)
        })
        .collect();
    NewRun {
        id: run_id(number),
        project: project(),
        plan_id: "p1".into(),
        plan_json: "{}".into(),
        kind: "apply".into(),
        who: who(),
        started_ms: 100 + i64::try_from(number).unwrap(),
        actions,
    }
}

fn key(machine: u32) -> ResourceKey {
    ResourceKey::vm(format!("web-{machine}"))
}

fn native(machine: u32) -> NativeId {
    (20_000 + machine).to_string().into()
}

fn action(machine: u32) -> crate::model::ActionId {
    format!("{}:create", key(machine)).into()
}

fn task(text: &str) -> TaskRef {
    TaskRef(text.to_owned())
}

/// The first call of a creation.
fn birth(run: u128, machine: u32) -> Intent {
    let intent = run_id(9_000 + u128::from(machine));
    Intent {
        run: run_id(run),
        action: action(machine),
        step: 0,
        attempt: 1,
        hypervisor: pve(),
        target: Target::with_id(key(machine), native(machine), None),
        identity: Identity { project: project(), key: key(machine), intent, uuid: None },
        op: "clone".into(),
        source: None,
        end: Expect { exists: Some(true), ..Expect::default() },
        begun_ms: 1000,
        task: None,
    }
}

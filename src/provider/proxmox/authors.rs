//! Who changed a machine, by the task logs of the nodes: one reading per node, however
//! many machines are on it, and one of the cluster for machines that are gone.
//!
//! A synchronous edit of a configuration makes no task, so a log that names nobody
//! proves nothing.

use super::{
    client::Client,
    locate::CLOCK_SKEW_S,
    observe::joined,
    provider::Inner,
    spelling::segment,
    upid::Upid,
    wire::{self, Permissions},
};
use crate::model::{Altered, Author, Authors, FieldKind, NodeName};
use std::collections::{BTreeMap, BTreeSet};

/// Rows of one node's log. A night of backups and restarts of its guests; more would
/// make a nightly look the node's heaviest client.
const ROWS_MAX: usize = 500;
/// The privilege without which a log shows only the account's own tasks.
const SEE_TASKS: &str = "Sys.Audit";

/// Reads the logs and names whom they name.
pub(super) async fn authors(inner: &Inner, altered: &[Altered]) -> Authors {
    let mut said = Authors::default();
    if altered.is_empty() {
        return said;
    }
    if let Err(error) = inner.confirm_identity().await {
        said.gaps.push(joined(&error));
        return said;
    }
    let mut logs: BTreeMap<Option<&NodeName>, Vec<&Altered>> = BTreeMap::new();
    for it in altered {
        logs.entry(it.node.as_ref()).or_default().push(it);
    }
    let mut nameless = BTreeSet::new();
    for (node, machines) in logs {
        let rows = match read(&inner.client, node, &machines).await {
            Ok(rows) => rows,
            Err(why) => {
                said.gaps.push(why);
                continue;
            }
        };
        let whole = rows.len() < ROWS_MAX;
        let tasks: Vec<Upid> = rows.iter().filter_map(ended_well).collect();
        for machine in &machines {
            let author = author(&tasks, machine, inner.client.identity());
            said.found.extend(author.map(|it| (machine.id.clone(), it)));
        }
        if machines.iter().any(|it| !said.found.contains_key(&it.id)) {
            nameless.insert(node);
            if let Some(node) = node.filter(|_| !whole) {
                said.gaps
                    .push(format!("only the last {ROWS_MAX} tasks of node `{node}` were read"));
            }
        }
    }
    said.gaps.extend(blind(&inner.client, &nameless).await);
    said
}

/// One log. The cluster's is a short window over all nodes; that of a node goes back
/// further, and can be asked from a time on.
async fn read(
    client: &Client,
    node: Option<&NodeName>,
    machines: &[&Altered],
) -> Result<Vec<wire::TaskRow>, String> {
    let Some(node) = node else {
        let rows = client.get("/cluster/tasks", &[]).await;
        return rows.map_err(|error| joined(&error.into_provider("read the cluster's tasks")));
    };
    let path = format!("/nodes/{}/tasks", segment(node.as_str()));
    let (limit, since) = (ROWS_MAX.to_string(), since(machines).map(|it| it.to_string()));
    let mut params = vec![("source", "archive"), ("limit", limit.as_str())];
    params.extend(since.as_deref().map(|since| ("since", since)));
    let rows = client.get(&path, &params).await;
    rows.map_err(|error| joined(&error.into_provider(format!("read the tasks of node `{node}`"))))
}

/// From when on, in seconds; `None` when of some machine nobody knows.
fn since(machines: &[&Altered]) -> Option<i64> {
    let all: Option<Vec<i64>> = machines.iter().map(|it| it.since_ms.map(earliest)).collect();
    all?.into_iter().min()
}

/// Our clock and the node's may differ; what is ours in that time is known by its name.
fn earliest(since_ms: i64) -> i64 {
    (since_ms / 1000 - CLOCK_SKEW_S).max(0)
}

fn ended_well(row: &wire::TaskRow) -> Option<Upid> {
    let status = row.status.as_ref().map(|it| it.0.as_str())?;
    let well = status == "OK" || status.starts_with("WARNINGS: ");
    Upid::parse(&row.upid).filter(|_| well && row.endtime.is_some())
}

/// The last task of somebody else that can explain the difference.
fn author(tasks: &[Upid], machine: &Altered, account: &str) -> Option<Author> {
    let ours = machine.ours.iter().filter_map(|it| Upid::parse(&it.0)).collect::<Vec<_>>();
    let theirs = |it: &&Upid| match machine.since_ms {
        Some(since_ms) => it.started_s >= earliest(since_ms) && !ours.contains(it),
        // Without a journal our own work is not known by its name, only by its account.
        None => it.user != account,
    };
    let last = tasks
        .iter()
        .filter(|it| it.id == machine.id.as_str() && explains(&it.kind, &machine.fields))
        .filter(theirs)
        .max_by_key(|it| it.started_s)?;
    Some(Author {
        who: last.user.clone(),
        task: last.kind.clone(),
        at_ms: last.started_s.saturating_mul(1000),
    })
}

/// Whether a task of this type can have made such a difference.
fn explains(kind: &str, fields: &BTreeSet<FieldKind>) -> bool {
    let config = |it: &FieldKind| {
        // A pool's members and its comment are edited without a task.
        !matches!(it, FieldKind::Power | FieldKind::Pool | FieldKind::Comment)
    };
    let disk = |it: &FieldKind| {
        use FieldKind::{Disk, DiskBus, DiskSize, DiskStorage};
        matches!(it, Disk | DiskBus | DiskSize | DiskStorage)
    };
    let power = |it: &FieldKind| *it == FieldKind::Power;
    match kind {
        // They put a whole machine back.
        "qmrestore" | "qmrollback" => true,
        "qmconfig" => fields.is_empty() || fields.iter().any(config),
        "resize" | "qmmove" => fields.iter().any(disk),
        "qmstart" | "qmstop" | "qmshutdown" | "qmsuspend" | "hastart" | "hastop" => {
            fields.iter().any(power)
        }
        // A restart brings pending values into force.
        "qmreboot" => fields.iter().any(config),
        "qmdestroy" | "qmtemplate" | "qmigrate" => fields.is_empty(),
        _ => false,
    }
}

/// Logs that show this account nothing but its own tasks.
async fn blind(client: &Client, nodes: &BTreeSet<Option<&NodeName>>) -> Vec<String> {
    if nodes.is_empty() {
        return Vec::new();
    }
    let read = client.get::<Permissions>("/access/permissions", &[]).await;
    let permissions = match read {
        Ok(permissions) => permissions,
        Err(error) => return vec![joined(&error.into_provider("read the account's permissions"))],
    };
    let blind = nodes.iter().filter(|node| !sees(&permissions, **node));
    blind
        .map(|node| {
            let (whose, path) = match node {
                Some(node) => (format!("node `{node}`"), format!("/nodes/{node}")),
                None => ("the cluster".to_owned(), "/".to_owned()),
            };
            format!("this account sees only its own tasks of {whose} ({SEE_TASKS} on `{path}`)")
        })
        .collect()
}

/// The server has worked out what holds at each path that it lists; below, what is
/// propagated from the nearest one holds.
fn sees(permissions: &Permissions, node: Option<&NodeName>) -> bool {
    let own = match node {
        Some(node) => format!("/nodes/{node}"),
        None => "/".to_owned(),
    };
    if let Some(here) = permissions.get(&own) {
        return here.contains_key(SEE_TASKS);
    }
    let above = ["/nodes", "/"].into_iter().find_map(|path| permissions.get(path));
    above.and_then(|all| all.get(SEE_TASKS)).is_some_and(|spreads| spreads.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TaskRef;
    use serde_json::{Value, json};

    const TOKEN: &str = "novahost@pve!ci";

    fn upid(kind: &str, id: u32, user: &str, start: i64) -> String {
        format!("UPID:pve1:0000C350:0012D687:{start:08X}:{kind}:{id}:{user}:")
    }

    fn row(upid: &str, status: &str) -> wire::TaskRow {
        serde_json::from_value(json!({ "upid": upid, "status": status, "endtime": 9000 })).unwrap()
    }

    fn machine(fields: &[FieldKind]) -> Altered {
        Altered {
            id: "100".into(),
            node: Some("pve1".into()),
            fields: fields.iter().copied().collect(),
            since_ms: Some(5_000_000),
            ours: BTreeSet::new(),
        }
    }

    fn named(rows: &[wire::TaskRow], machine: &Altered) -> Option<(String, i64)> {
        let tasks: Vec<Upid> = rows.iter().filter_map(ended_well).collect();
        author(&tasks, machine, TOKEN).map(|it| (it.who, it.at_ms))
    }

    #[test]
    fn the_last_task_that_ended_well_is_named() {
        let rows = [
            row(&upid("qmconfig", 100, "root@pam", 5500), "OK"),
            row(&upid("qmconfig", 100, "ops@pve!laptop", 5600), "WARNINGS: 1"),
            row(&upid("qmconfig", 100, "late@pve", 5700), "can't lock file"),
            row(&upid("qmconfig", 101, "other@pve", 5800), "OK"),
            row(&upid("vncproxy", 100, "curious@pve", 5900), "OK"),
        ];
        let found = named(&rows, &machine(&[FieldKind::Cpu]));
        assert_eq!(found, Some(("ops@pve!laptop".into(), 5_600_000)));
        let running: wire::TaskRow =
            serde_json::from_value(json!({ "upid": upid("qmconfig", 100, "x@pam", 5999) }))
                .unwrap();
        assert_eq!(named(&[running], &machine(&[FieldKind::Cpu])), None);
    }

    #[test]
    fn what_was_before_our_last_write_or_is_our_own_is_not_named() {
        let ours = upid("qmconfig", 100, TOKEN, 5001);
        let rows = [row(&upid("qmconfig", 100, "root@pam", 4000), "OK"), row(&ours, "OK")];
        let mut it = machine(&[FieldKind::Cpu]);
        // Our account, and none of our tasks: somebody else has the token.
        assert_eq!(named(&rows, &it), Some((TOKEN.into(), 5_001_000)));
        it.ours.insert(TaskRef(ours));
        assert_eq!(named(&rows, &it), None);
        // Nobody remembers: the last one that is not of our account.
        it.since_ms = None;
        assert_eq!(named(&rows, &it), Some(("root@pam".into(), 4_000_000)));
    }

    #[test]
    fn a_task_is_named_only_for_what_it_can_have_changed() {
        use FieldKind::{Cpu, DiskSize, Pool, Power};
        let yes =
            |kind: &str, fields: &[FieldKind]| explains(kind, &fields.iter().copied().collect());
        assert!(yes("qmstop", &[Power]) && !yes("qmconfig", &[Power]) && !yes("qmstop", &[Cpu]));
        assert!(yes("resize", &[DiskSize]) && !yes("resize", &[Cpu]));
        assert!(!yes("qmconfig", &[Pool]) && yes("qmconfig", &[Pool, Cpu]));
        assert!(yes("qmdestroy", &[]) && !yes("qmdestroy", &[Cpu]) && yes("qmconfig", &[]));
        assert!(yes("qmrollback", &[Power]) && yes("qmrestore", &[]) && !yes("vzdump", &[Cpu]));
    }

    #[test]
    fn one_machine_that_nobody_remembers_opens_the_whole_log() {
        let (known, mut unknown) = (machine(&[]), machine(&[]));
        assert_eq!(since(&[&known, &known]), Some(5000 - CLOCK_SKEW_S));
        unknown.since_ms = None;
        assert_eq!(since(&[&known, &unknown]), None);
    }

    #[test]
    fn the_nearest_row_says_whose_tasks_are_seen() {
        let read = |value: Value| serde_json::from_value::<Permissions>(value).unwrap();
        let node = NodeName::from("pve1");
        let all = read(json!({ "/": { "Sys.Audit": 1 } }));
        assert!(sees(&all, Some(&node)) && sees(&all, None));
        let root_only = read(json!({ "/": { "Sys.Audit": 0 } }));
        assert!(!sees(&root_only, Some(&node)) && sees(&root_only, None));
        let taken = read(json!({ "/": { "Sys.Audit": 1 }, "/nodes/pve1": {} }));
        assert!(!sees(&taken, Some(&node)) && sees(&taken, None));
    }
}

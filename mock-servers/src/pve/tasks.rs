//! The task registry: UPIDs, status, logs, lists.

use serde_json::{Map, Value, json};

use super::access::Identity;
use super::error::{ApiError, ApiResult};
use super::router::{Call, Outcome};
use super::server::Core;
use super::upid::Upid;
use super::work::{Done, Work};
use super::world::Task;

/// Exit status of a worker that died without a word.
pub(crate) const UNEXPECTED: &str = "unexpected status";

/// How many rows `/cluster/tasks` remembers of each node.
const CLUSTER_WINDOW: usize = 25;

/// Notes a new running task and returns its UPID.
pub(crate) fn register(core: &mut Core, node: &str, who: &Identity, work: &Work) -> String {
    core.world.counters.pid = core.world.counters.pid.wrapping_add(1 + core.world.counters.pid % 7);
    if core.world.counters.pid < 1000 {
        core.world.counters.pid = 50_000;
    }
    let starttime = core.now();
    let task = Task {
        node: node.to_owned(),
        pid: core.world.counters.pid,
        pstart: 1_000_000 + core.world.random() % 100_000_000,
        starttime,
        kind: work.kind().to_owned(),
        id: work.vmid().to_string(),
        user: who.user.clone(),
        token: who.token.clone(),
        endtime: None,
        exit: None,
        log: Vec::new(),
        work: Some(work.clone()),
        begun: false,
        polls: 0,
    };
    let upid = Upid {
        node: node.to_owned(),
        pid: task.pid,
        pstart: task.pstart,
        starttime,
        kind: task.kind.clone(),
        id: task.id.clone(),
        user: who.to_string(),
    }
    .to_string();
    core.world.tasks.insert(upid.clone(), task);
    upid
}

/// Remembers that the first half took effect, for the case that the process stops before the second.
pub(crate) fn mark_begun(core: &mut Core, upid: &str, lines: &[String]) {
    if let Some(task) = core.world.tasks.get_mut(upid) {
        task.begun = true;
        task.log.extend(lines.iter().cloned());
    }
}

/// Ends a task with the last line that the real worker would write.
pub(crate) fn close(core: &mut Core, upid: &str, result: &ApiResult<Done>) {
    core.workers.remove(upid);
    let now = core.now();
    let Some(task) = core.world.tasks.get_mut(upid) else {
        return;
    };
    if task.exit.is_some() {
        return;
    }
    task.work = None;
    task.endtime = Some(now);
    match result {
        Ok(done) => {
            task.log.extend(done.log.iter().cloned());
            for warning in &done.warnings {
                task.log.push(format!("WARN: {warning}"));
            }
            if done.warnings.is_empty() {
                task.log.push("TASK OK".to_owned());
                task.exit = Some("OK".to_owned());
            } else {
                let status = format!("WARNINGS: {}", done.warnings.len());
                task.log.push(format!("TASK {status}"));
                task.exit = Some(status);
            }
        }
        Err(error) => {
            let text = error.as_exit_status();
            if text != UNEXPECTED {
                task.log.push(format!("TASK ERROR: {text}"));
            }
            task.exit = Some(text);
        }
    }
}

/// Ends a task that was told to stop.
pub(crate) fn interrupt(core: &mut Core, upid: &str) {
    let Some(worker) = core.workers.remove(upid) else {
        return;
    };
    worker.abort();
    let Some(task) = core.world.tasks.get(upid) else {
        return;
    };
    let (node, work, begun) = (task.node.clone(), task.work.clone(), task.begun);
    if let Some(work) = work
        && (begun || matches!(work, Work::Create(_)))
    {
        work.abandon(core, &node);
    }
    close(core, upid, &Err(ApiError::died("interrupted by signal")));
}

/// The workers of a node die; nothing is cleaned up.
pub(crate) fn vanish_on(core: &mut Core, node: &str) {
    let open: Vec<String> = core
        .world
        .tasks
        .iter()
        .filter(|(_, task)| task.node == node && task.exit.is_none())
        .map(|(upid, _)| upid.clone())
        .collect();
    for upid in open {
        if let Some(worker) = core.workers.remove(&upid) {
            worker.abort();
        }
        close(core, &upid, &Err(ApiError::died(UNEXPECTED)));
    }
}

fn parse(call: &Call) -> ApiResult<Upid> {
    call.id("upid").parse().map_err(|_| ApiError::parameter("upid", "unable to parse worker upid"))
}

/// The task of the path, readable by its owner or with `Sys.Audit` on the node.
fn readable<'a>(
    core: &'a mut Core,
    call: &Call,
    privilege: &str,
) -> ApiResult<(String, &'a mut Task)> {
    let upid = parse(call)?;
    let text = upid.to_string();
    let node = call.id("node").to_owned();
    // Only this node's index knows the file.
    if upid.node != node || !core.world.tasks.contains_key(&text) {
        return Err(ApiError::parameter("upid", "no such task"));
    }
    let owner = upid.user.split('!').next() == Some(call.who.user.as_str());
    if !owner {
        core.need(&call.who, &format!("/nodes/{node}"), &[privilege])?;
    }
    let task = core
        .world
        .tasks
        .get_mut(&text)
        .ok_or_else(|| ApiError::parameter("upid", "no such task"))?;
    Ok((text, task))
}

/// `GET …/tasks/{upid}/status`.
pub(crate) fn status(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let late = core.switches.late_task_file;
    let (upid, task) = readable(core, call, "Sys.Audit")?;
    task.polls += 1;
    if late && task.polls == 1 {
        return Err(ApiError::parameter("upid", "no such task"));
    }
    let mut row = base_row(&upid, task, false);
    row.insert("status".into(), json!(if task.exit.is_some() { "stopped" } else { "running" }));
    if let Some(exit) = &task.exit {
        row.insert("exitstatus".into(), json!(exit));
    }
    if let Some(token) = &task.token {
        row.insert("tokenid".into(), json!(token));
    }
    Ok(Outcome::Data(Value::Object(row)))
}

/// `GET …/tasks/{upid}/log`.
pub(crate) fn log(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let (_, task) = readable(core, call, "Sys.Audit")?;
    let mut lines = task.log.clone();
    if lines.is_empty() {
        lines.push("no content".to_owned());
    }
    let start = call.number("start").unwrap_or(0) as usize;
    let limit = match call.number("limit") {
        Some(0) => usize::MAX,
        Some(limit) => limit as usize,
        None => 50,
    };
    let total = lines.len();
    let rows: Vec<Value> = lines
        .iter()
        .enumerate()
        .skip(start)
        .take(limit)
        .map(|(index, text)| json!({"n": index + 1, "t": text}))
        .collect();
    Ok(Outcome::Page(Value::Array(rows), total))
}

/// `DELETE …/tasks/{upid}`.
pub(crate) fn stop(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let (upid, _) = readable(core, call, "Sys.Modify")?;
    interrupt(core, &upid);
    Ok(Outcome::Null)
}

fn base_row(upid: &str, task: &Task, full_user: bool) -> Map<String, Value> {
    let user = match (&task.token, full_user) {
        (Some(token), true) => format!("{}!{token}", task.user),
        _ => task.user.clone(),
    };
    let mut row = Map::new();
    row.insert("upid".into(), json!(upid));
    row.insert("node".into(), json!(task.node));
    row.insert("pid".into(), json!(task.pid));
    row.insert("pstart".into(), json!(task.pstart));
    row.insert("starttime".into(), json!(task.starttime));
    row.insert("type".into(), json!(task.kind));
    row.insert("id".into(), json!(task.id));
    row.insert("user".into(), json!(user));
    row
}

fn list_row(upid: &str, task: &Task) -> Value {
    let mut row = base_row(upid, task, false);
    if let Some(token) = &task.token {
        row.insert("tokenid".into(), json!(token));
    }
    match (&task.exit, task.endtime) {
        (Some(exit), Some(end)) => {
            row.insert("status".into(), json!(exit));
            row.insert("endtime".into(), json!(end));
        }
        _ => {
            row.insert("status".into(), json!("RUNNING"));
        }
    }
    Value::Object(row)
}

/// `GET /nodes/{node}/tasks`.
pub(crate) fn list(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let node = call.id("node");
    let sees_all = core.has(&call.who, &format!("/nodes/{node}"), "Sys.Audit");
    let source = call.get("source").unwrap_or("archive");
    let mut rows: Vec<(&String, &Task)> = core
        .world
        .tasks
        .iter()
        .filter(|(_, task)| task.node == node)
        .filter(|(_, task)| sees_all || task.user == call.who.user)
        .filter(|(_, task)| match source {
            "active" => task.exit.is_none(),
            "archive" => task.exit.is_some(),
            _ => true,
        })
        .filter(|(_, task)| call.get("vmid").is_none_or(|vmid| task.id == vmid))
        .filter(|(_, task)| call.get("typefilter").is_none_or(|kind| task.kind == kind))
        .filter(|(_, task)| call.get("userfilter").is_none_or(|user| task.user.contains(user)))
        .filter(|(_, task)| call.number("since").is_none_or(|since| task.starttime >= since))
        .filter(|(_, task)| call.number("until").is_none_or(|until| task.starttime <= until))
        .filter(|(_, task)| {
            !call.flag("errors") || task.exit.as_deref().is_some_and(|exit| exit != "OK")
        })
        .collect();
    // Running ones first, then the newest.
    rows.sort_by_key(|(_, task)| {
        (task.exit.is_some(), std::cmp::Reverse((task.starttime, task.pid)))
    });
    let total = rows.len();
    let start = call.number("start").unwrap_or(0) as usize;
    let limit = call.number("limit").unwrap_or(50) as usize;
    let page =
        rows.iter().skip(start).take(limit).map(|(upid, task)| list_row(upid, task)).collect();
    Ok(Outcome::Page(Value::Array(page), total))
}

/// `GET /cluster/tasks`: a short window over all nodes.
pub(crate) fn recent(core: &mut Core, call: &Call) -> ApiResult<Outcome> {
    let sees_all = core.has(&call.who, "/", "Sys.Audit");
    let mut rows = Vec::new();
    for node in core.world.nodes.keys() {
        let mut own: Vec<_> = core
            .world
            .tasks
            .iter()
            .filter(|(_, task)| &task.node == node && (sees_all || task.user == call.who.user))
            .collect();
        own.sort_by_key(|(_, task)| std::cmp::Reverse((task.starttime, task.pid)));
        for (upid, task) in own.into_iter().take(CLUSTER_WINDOW) {
            let mut row = base_row(upid, task, true);
            if let (Some(exit), Some(end)) = (&task.exit, task.endtime) {
                row.insert("status".into(), json!(exit));
                row.insert("endtime".into(), json!(end));
            }
            rows.push(Value::Object(row));
        }
    }
    Ok(Outcome::Data(Value::Array(rows)))
}

//! The methods there are, who may call them, and the order in which a call is checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::access::Identity;
use super::auth::{self, Credentials};
use super::error::{ApiError, ApiResult};
use super::faults::TaskFault;
use super::form::{self, Params};
use super::guest::{
    agent, clone, create, destroy, disks, lxc, migrate, power, snapshot, template, update, view,
};
use super::jobs::{self, Origin};
use super::server::{Core, Shared};
use super::work::Work;
use super::{acl, inventory, nodes, pool, schema, storage, tasks};
use crate::harness::Actor;

/// What a method may ask for before it answers.
pub(crate) enum Outcome {
    /// `data: null`.
    Null,
    /// The data.
    Data(Value),
    /// A list with `total` beside it.
    Page(Value, usize),
    /// A task on this node; the reply is its UPID.
    Task(String, Work),
    /// Work inside the request.
    Inline(String, Work),
    /// A task whose end is awaited for some seconds: null if it succeeded by then.
    Awaited(String, Work, u32),
}

/// What goes into a successful reply.
pub(crate) struct Answer {
    pub(crate) data: Value,
    pub(crate) total: Option<usize>,
}

/// One call, checked up to its method's own code.
pub(crate) struct Call {
    pub(crate) who: Identity,
    pub(crate) params: Params,
    ids: BTreeMap<String, String>,
}

impl Call {
    /// A parameter of the path.
    pub(crate) fn id(&self, name: &str) -> &str {
        self.ids.get(name).map_or("", String::as_str)
    }

    /// The guest of the path.
    pub(crate) fn vmid(&self) -> u32 {
        self.id("vmid").parse().unwrap_or(0)
    }

    /// A parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.params.get(name)
    }

    /// A numeric parameter.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(|text| text.parse().ok())
    }

    /// A boolean parameter; absent is false.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|text| text == "1")
    }

    /// A list parameter.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let text = self.params.joined(name).unwrap_or_default();
        text.split([',', ';', ' ', '\0', '\n', '\t'])
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

/// Who may call a method, before its own checks.
enum Rule {
    World,
    All,
    Each(&'static str, &'static [&'static str]),
    One(&'static str, &'static [&'static str]),
    Clone,
    Agent,
    AclModify,
}

use Rule::{Each, One};

type Handler = fn(&mut Core, &Call) -> ApiResult<Outcome>;

/// Method, template, rule, code.
type Endpoint = (&'static str, &'static str, Rule, Handler);

const CONFIG: Rule = One(
    "/vms/{vmid}",
    &[
        "VM.Config.Disk",
        "VM.Config.CDROM",
        "VM.Config.CPU",
        "VM.Config.Memory",
        "VM.Config.Network",
        "VM.Config.HWType",
        "VM.Config.Options",
        "VM.Config.Cloudinit",
    ],
);
const AUDIT: Rule = Each("/vms/{vmid}", &["VM.Audit"]);
const POWER: Rule = Each("/vms/{vmid}", &["VM.PowerMgmt"]);
const DISK: Rule = Each("/vms/{vmid}", &["VM.Config.Disk"]);
const VM_ALLOCATE: Rule = Each("/vms/{vmid}", &["VM.Allocate"]);
const SNAPSHOT: Rule = Each("/vms/{vmid}", &["VM.Snapshot"]);
const POOL: Rule = Each("/pool/{poolid}", &["Pool.Allocate"]);

static ENDPOINTS: &[Endpoint] = &[
    ("GET", "/version", Rule::All, nodes::version),
    ("POST", "/access/ticket", Rule::World, auth::ticket),
    ("GET", "/access/permissions", Rule::All, acl::permissions),
    ("GET", "/access/acl", Rule::All, acl::list),
    ("PUT", "/access/acl", Rule::AclModify, acl::update),
    ("GET", "/access/users", Rule::All, acl::users),
    ("GET", "/access/users/{userid}", Rule::All, acl::user),
    ("GET", "/access/roles", Rule::All, acl::roles),
    ("GET", "/access/domains", Rule::World, acl::domains),
    ("GET", "/cluster/resources", Rule::All, inventory::resources),
    ("GET", "/cluster/status", Each("/", &["Sys.Audit"]), inventory::cluster_status),
    ("GET", "/cluster/nextid", Rule::All, inventory::next_id),
    ("GET", "/cluster/tasks", Rule::All, tasks::recent),
    ("GET", "/nodes", Rule::All, nodes::list),
    ("GET", "/nodes/{node}/status", Each("/nodes/{node}", &["Sys.Audit"]), nodes::status),
    ("GET", "/nodes/{node}/version", Rule::All, nodes::version),
    ("GET", "/nodes/{node}/network", Rule::All, nodes::network),
    ("GET", "/nodes/{node}/certificates/info", Rule::All, nodes::certificates),
    ("GET", "/nodes/{node}/storage", Rule::All, storage::on_node),
    (
        "GET",
        "/nodes/{node}/storage/{storage}/content",
        One("/storage/{storage}", &["Datastore.Audit", "Datastore.AllocateSpace"]),
        storage::content,
    ),
    ("GET", "/nodes/{node}/tasks", Rule::All, tasks::list),
    ("GET", "/nodes/{node}/tasks/{upid}/status", Rule::All, tasks::status),
    ("GET", "/nodes/{node}/tasks/{upid}/log", Rule::All, tasks::log),
    ("DELETE", "/nodes/{node}/tasks/{upid}", Rule::All, tasks::stop),
    ("GET", "/nodes/{node}/qemu", Rule::All, inventory::qemu_list),
    ("POST", "/nodes/{node}/qemu", Rule::All, create::post),
    ("DELETE", "/nodes/{node}/qemu/{vmid}", VM_ALLOCATE, destroy::delete),
    ("GET", "/nodes/{node}/qemu/{vmid}/config", AUDIT, view::config),
    ("PUT", "/nodes/{node}/qemu/{vmid}/config", CONFIG, update::put),
    ("POST", "/nodes/{node}/qemu/{vmid}/config", CONFIG, update::post),
    ("GET", "/nodes/{node}/qemu/{vmid}/pending", AUDIT, view::pending),
    ("GET", "/nodes/{node}/qemu/{vmid}/status/current", AUDIT, view::current),
    ("POST", "/nodes/{node}/qemu/{vmid}/status/start", POWER, power::start),
    ("POST", "/nodes/{node}/qemu/{vmid}/status/stop", POWER, power::stop),
    ("POST", "/nodes/{node}/qemu/{vmid}/status/shutdown", POWER, power::shutdown),
    ("POST", "/nodes/{node}/qemu/{vmid}/status/reboot", POWER, power::reboot),
    ("POST", "/nodes/{node}/qemu/{vmid}/status/reset", POWER, power::reset),
    ("POST", "/nodes/{node}/qemu/{vmid}/clone", Rule::Clone, clone::post),
    ("PUT", "/nodes/{node}/qemu/{vmid}/resize", DISK, disks::resize),
    ("POST", "/nodes/{node}/qemu/{vmid}/move_disk", DISK, disks::move_disk),
    ("PUT", "/nodes/{node}/qemu/{vmid}/unlink", DISK, update::unlink),
    (
        "POST",
        "/nodes/{node}/qemu/{vmid}/migrate",
        Each("/vms/{vmid}", &["VM.Migrate"]),
        migrate::post,
    ),
    (
        "PUT",
        "/nodes/{node}/qemu/{vmid}/cloudinit",
        Each("/vms/{vmid}", &["VM.Config.Cloudinit"]),
        view::cloudinit,
    ),
    (
        "GET",
        "/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces",
        Rule::Agent,
        agent::interfaces,
    ),
    ("GET", "/nodes/{node}/qemu/{vmid}/snapshot", AUDIT, snapshot::list),
    ("POST", "/nodes/{node}/qemu/{vmid}/snapshot", SNAPSHOT, snapshot::post),
    ("DELETE", "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}", SNAPSHOT, snapshot::delete),
    (
        "POST",
        "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/rollback",
        One("/vms/{vmid}", &["VM.Snapshot", "VM.Snapshot.Rollback"]),
        snapshot::rollback,
    ),
    ("POST", "/nodes/{node}/qemu/{vmid}/template", VM_ALLOCATE, template::post),
    ("GET", "/nodes/{node}/lxc", Rule::All, inventory::lxc_list),
    ("GET", "/nodes/{node}/lxc/{vmid}/config", AUDIT, lxc::config),
    ("GET", "/nodes/{node}/lxc/{vmid}/status/current", AUDIT, lxc::current),
    ("GET", "/storage", Rule::All, storage::definitions),
    ("GET", "/pools", Rule::All, pool::list),
    ("POST", "/pools", POOL, pool::create),
    ("PUT", "/pools", POOL, pool::update),
    ("DELETE", "/pools", POOL, pool::delete),
    ("GET", "/pools/{poolid}", Each("/pool/{poolid}", &["Pool.Audit"]), pool::read),
    ("PUT", "/pools/{poolid}", POOL, pool::update),
    ("DELETE", "/pools/{poolid}", POOL, pool::delete),
];

/// A method that was found for a path.
pub(crate) struct Route {
    endpoint: &'static Endpoint,
    ids: BTreeMap<String, String>,
}

impl Route {
    pub(crate) fn template(&self) -> &'static str {
        self.endpoint.1
    }

    /// The values of the path's placeholders.
    pub(crate) fn ids(&self) -> &BTreeMap<String, String> {
        &self.ids
    }
}

/// The method for a path, if there is one.
pub(crate) fn find(method: &str, segments: &[String]) -> Option<Route> {
    ENDPOINTS.iter().filter(|endpoint| endpoint.0 == method).find_map(|endpoint| {
        let wanted: Vec<&str> = endpoint.1.split('/').filter(|part| !part.is_empty()).collect();
        if wanted.len() != segments.len() {
            return None;
        }
        let mut ids = BTreeMap::new();
        for (want, got) in wanted.iter().zip(segments) {
            if let Some(name) = want.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                ids.insert(name.to_owned(), got.clone());
            } else if want != got {
                return None;
            }
        }
        Some(Route { endpoint, ids })
    })
}

/// A request as the front end hands it on.
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) route: Option<Route>,
    pub(crate) credentials: Credentials,
    pub(crate) fault: Option<TaskFault>,
    pub(crate) number: u64,
    pub(crate) turn: usize,
}

/// Checks and carries out a call, in the order of the real daemons: authentication, path, token, declared
/// privileges, node, parameters, then the method's own code.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    ask: Ask<'_>,
    body: Result<Params, ApiError>,
    query: &Params,
) -> ApiResult<Answer> {
    let open = ask.route.as_ref().is_some_and(|route| matches!(route.endpoint.2, Rule::World));
    let who = if open {
        if ask.credentials.is_token() && ask.method != "GET" {
            return Err(ApiError::new(403, "API tokens may not call this method"));
        }
        Identity::user("")
    } else {
        ask.credentials.check(&shared.core(), ask.method)?
    };
    let body = body?;
    let Some(route) = ask.route else {
        return Err(ApiError::new(
            501,
            format!("Method '{} {}' not implemented", ask.method, ask.path),
        ));
    };
    let mut params = form::merge(body, query.clone());
    for (name, value) in &route.ids {
        if params.get(name).is_some_and(|given| given != value) {
            let text = "duplicate parameter (already defined in URI) with conflicting values!";
            return Err(ApiError::parameter(name, text));
        }
        params.insert(name.clone(), value.clone());
    }
    let origin =
        Origin { request: ask.number, by: Actor::Client(who.to_string()), fault: ask.fault };
    let call = Call { who, params, ids: route.ids };
    if let Some(field) = &shared.field {
        field.serve(call.ids.get("node").map(String::as_str), ask.method == "GET", ask.turn).await;
    }
    let outcome = {
        let mut core = shared.core();
        if core.timing.statistics.is_zero() && ask.method == "GET" {
            core.world.refresh_statistics(crate::clock::unix_millis(), 0);
        }
        allowed(&core, &route.endpoint.2, &call)?;
        reachable(&core, &call)?;
        schema::check(ask.method, route.endpoint.1, &call.params, core.release)
            .map_err(ApiError::parameters)?;
        if ask.method != "GET" && route.endpoint.1 != "/access/ticket" {
            core.need_quorum()?;
        }
        let outcome = (route.endpoint.3)(&mut core, &call);
        if ask.method != "GET" {
            origin.note(&mut core);
        }
        let outcome = outcome?;
        match outcome {
            Outcome::Null => {
                return Ok(Answer { data: Value::Null, total: None });
            }
            Outcome::Data(data) => return Ok(Answer { data, total: None }),
            Outcome::Page(data, total) => {
                return Ok(Answer { data, total: Some(total) });
            }
            Outcome::Task(node, work) => {
                let upid = jobs::spawn(shared, &mut core, &node, &call.who, work, origin);
                return Ok(Answer { data: json!(upid), total: None });
            }
            Outcome::Awaited(node, work, seconds) => {
                let upid = jobs::spawn(shared, &mut core, &node, &call.who, work, origin.clone());
                Pending::Task(upid, seconds)
            }
            Outcome::Inline(node, work) => Pending::Inline(node, work),
        }
    };
    match outcome {
        Pending::Inline(node, work) => {
            jobs::inline(shared, &node, work, origin).await?;
            Ok(Answer { data: Value::Null, total: None })
        }
        Pending::Task(upid, seconds) => awaited(shared, &upid, seconds, call.vmid()).await,
    }
}

enum Pending {
    Task(String, u32),
    Inline(String, Work),
}

async fn awaited(shared: &Arc<Shared>, upid: &str, seconds: u32, vmid: u32) -> ApiResult<Answer> {
    /// Looks per waited second; the real server looks at short intervals too.
    const LOOKS: u32 = 10;
    for _ in 0..seconds * LOOKS {
        let exit = shared.core().world.tasks.get(upid).and_then(|task| task.exit.clone());
        match exit {
            Some(exit) if exit == "OK" || exit.starts_with("WARNINGS") => {
                return Ok(Answer { data: Value::Null, total: None });
            }
            Some(exit) => {
                return Err(ApiError::died(format!("failed to update VM {vmid}: {exit}")));
            }
            None => {
                let pause = (shared.options.timing.second / LOOKS).max(Duration::from_millis(1));
                tokio::time::sleep(pause).await;
            }
        }
    }
    Ok(Answer { data: json!(upid), total: None })
}

fn allowed(core: &Core, rule: &Rule, call: &Call) -> ApiResult<()> {
    match rule {
        Rule::World | Rule::All => Ok(()),
        Each(path, privileges) => core.need(&call.who, &fill(path, call), privileges),
        One(path, privileges) => core.need_any(&call.who, &fill(path, call), privileges),
        Rule::Clone => {
            core.need(&call.who, &format!("/vms/{}", call.id("vmid")), &["VM.Clone"])?;
            let target = format!("/vms/{}", call.get("newid").unwrap_or(""));
            if core.has(&call.who, &target, "VM.Allocate") {
                return Ok(());
            }
            match call.get("pool") {
                Some(pool) => core.need(&call.who, &format!("/pool/{pool}"), &["VM.Allocate"]),
                None => core.need(&call.who, &target, &["VM.Allocate"]),
            }
        }
        Rule::Agent => {
            let path = format!("/vms/{}", call.id("vmid"));
            if core.is_nine() {
                core.need_any(
                    &call.who,
                    &path,
                    &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"],
                )
            } else {
                core.need(&call.who, &path, &["VM.Monitor"])
            }
        }
        Rule::AclModify => acl::may_modify(core, &call.who, call.get("path").unwrap_or("")),
    }
}

fn fill(path: &str, call: &Call) -> String {
    path.split('/')
        .map(|part| match part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) => call.get(name).unwrap_or(""),
            None => part,
        })
        .collect::<Vec<_>>()
        .join("/")
}

/// Calls about a node are forwarded to it.
fn reachable(core: &Core, call: &Call) -> ApiResult<()> {
    let Some(name) = call.ids.get("node") else {
        return Ok(());
    };
    match core.world.nodes.get(name) {
        None => Err(ApiError::died(format!(
            "hostname lookup '{name}' failed - failed to get address info for: {name}: Name or service not known"
        ))),
        Some(node) if node.online => Ok(()),
        Some(_) if core.switches.offline_596 => Err(ApiError::new(596, "Connection timed out")),
        Some(_) => Err(ApiError::new(595, "No route to host")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_parameters_checked() {
        let unknown: Vec<_> = ENDPOINTS
            .iter()
            .filter(|endpoint| !schema::known(endpoint.0, endpoint.1))
            .map(|endpoint| (endpoint.0, endpoint.1))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn a_path_finds_its_method_and_its_ids() {
        let segments = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        let route = find("GET", &segments("nodes/pve1/qemu/100/config")).expect("a route");
        assert_eq!(route.template(), "/nodes/{node}/qemu/{vmid}/config");
        assert_eq!(route.ids["vmid"], "100");
        assert!(find("PATCH", &segments("version")).is_none());
        assert!(find("GET", &segments("nodes/pve1/qemu/100")).is_none());
    }
}

//! From a call to its answer.

use std::sync::Arc;
use std::time::Duration;

use super::collector::Reader;
use super::events;
use super::fault::{Fault, Outcome};
use super::faults::TaskFault;
use super::guard::{need_others, privileges, receiver};
use super::ops::{access, customize, folders, pools, power};
use super::schema::schema;
use super::server::{Core, Shared};
use super::session::Refused;
use super::val::{Val, flag, refs, time, write};
use super::xml::Elem;
use super::{props, tasks};
use crate::harness::Actor;

/// One call, read and checked.
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) elem: &'a Elem,
    /// Kind of the object that it is called on, as exactly as it is known.
    pub(crate) kind: &'a str,
    /// Id of that object.
    pub(crate) on: &'a str,
    pub(crate) cookie: &'a str,
    pub(crate) user: &'a str,
    pub(crate) n: u64,
    pub(crate) operation: Option<String>,
    pub(crate) fault: Option<TaskFault>,
}

/// What the front end knows of a request.
pub(crate) struct Ask<'a> {
    pub(crate) body: Result<&'a Elem, String>,
    pub(crate) cookie: Option<&'a str>,
    pub(crate) agent: &'a str,
    pub(crate) n: u64,
    pub(crate) fault: Option<TaskFault>,
}

/// What is answered.
pub(crate) enum Answer {
    /// The body of the response, and the cookie of a new session.
    Done(String, Option<String>),
    Fault(Fault),
    /// No SOAP at all: the session table is full.
    Full,
}

/// The method element of an envelope, and the name that the client gave its request.
pub(crate) fn open(envelope: &Elem) -> Result<(&Elem, Option<String>), String> {
    if envelope.name != "Envelope" {
        return Err(format!("Unexpected element tag \"{}\" seen", envelope.name));
    }
    let operation =
        envelope.get("Header").and_then(|it| it.text_of("operationID")).map(str::to_owned);
    let method = envelope.get("Body").and_then(|body| body.kids.first());
    method.map(|it| (it, operation)).ok_or_else(|| "no method in the body".to_owned())
}

/// Answers one request.
pub(crate) async fn answer(shared: &Arc<Shared>, ask: Ask<'_>) -> Answer {
    let opened = ask.body.and_then(open);
    let (elem, operation) = match opened {
        Ok(opened) => opened,
        Err(text) => {
            return Answer::Fault(Fault::client(format!("{text}\n\nwhile parsing SOAP envelope")));
        }
    };
    let method = elem.name.as_str();
    if !schema().has_method(method) {
        let on = elem
            .get("_this")
            .map_or(("ServiceInstance", ""), |it| (it.kind.as_str(), it.text.trim()));
        let receiver = Val::Ref(on.0.to_owned().into(), on.1.to_owned());
        let fields = vec![("receiver", receiver), ("method", super::val::text(method))];
        let message = format!("The method is not found: {method} in this simulator");
        return Answer::Fault(Fault::new("MethodNotFound", message, fields));
    }
    if let Err(fault) = schema().check_call(elem) {
        return Answer::Fault(fault);
    }
    let this = elem.get("_this").cloned().unwrap_or_default();
    let on = this.text.trim().to_owned();
    if method == "Login" {
        return log_in(shared, elem, ask.cookie, ask.agent).await;
    }
    let (user, kind) = {
        let mut core = shared.core();
        let user = core.authenticate(ask.cookie);
        if user.is_none() && !open_to_all(&core, method) {
            let on = Val::Ref(this.kind.clone().into(), on.clone());
            return Answer::Fault(Fault::not_authenticated(on));
        }
        let dead_view = user.is_none();
        if !core.knows(&this.kind, &on) && !dead_view {
            return Answer::Fault(Fault::gone(&this.kind, &on));
        }
        let kind = core
            .world
            .entities
            .get(&on)
            .map_or_else(|| this.kind.clone(), |it| it.type_name().to_owned());
        (user, kind)
    };
    let cookie = ask.cookie.unwrap_or("").to_owned();
    let answered = if method == "WaitForUpdatesEx" {
        wait(shared, (&cookie, user.as_deref().unwrap_or("")), &on, elem).await
    } else {
        let call = Call {
            shared,
            elem,
            kind: &kind,
            on: &on,
            cookie: &cookie,
            user: user.as_deref().unwrap_or(""),
            n: ask.n,
            operation,
            fault: ask.fault,
        };
        let mut core = shared.core();
        tasks::forget(&mut core);
        let answered = dispatch(&mut core, &call, user.is_some());
        // Reads change nothing that anybody watches.
        if !reads(method) {
            core.note(Some(ask.n), &Actor::Client(call.user.to_owned()));
        }
        answered
    };
    match answered {
        Ok(value) => Answer::Done(body(method, value.as_ref()), None),
        Err(fault) => Answer::Fault(fault),
    }
}

/// Methods that need no session.
fn open_to_all(core: &Core, method: &str) -> bool {
    match method {
        "RetrieveServiceContent" => true,
        "RetrievePropertiesEx" => !core.switches.dead_session_faults,
        _ => false,
    }
}

/// Methods that change nothing in the world.
pub(crate) fn reads(method: &str) -> bool {
    const BEGINNINGS: [&str; 9] = [
        "Retrieve",
        "Continue",
        "Query",
        "Find",
        "HasPrivilege",
        "Fetch",
        "WaitFor",
        "Get",
        "Does",
    ];
    const WHOLE: [&str; 14] = [
        "CurrentTime",
        "Login",
        "Logout",
        "CreateContainerView",
        "CreateListView",
        "ModifyListView",
        "DestroyView",
        "CreatePropertyCollector",
        "DestroyPropertyCollector",
        "CreateFilter",
        "DestroyPropertyFilter",
        "CancelWaitForUpdates",
        "CancelRetrievePropertiesEx",
        "",
    ];
    BEGINNINGS.iter().any(|it| method.starts_with(it)) || WHOLE.contains(&method)
}

async fn log_in(shared: &Arc<Shared>, elem: &Elem, cookie: Option<&str>, agent: &str) -> Answer {
    let (outcome, delay) = {
        let mut core = shared.core();
        (core.log_in(elem, cookie, agent), core.timing.login_delay)
    };
    match outcome {
        Ok((cookie, session)) => Answer::Done(body("Login", Some(&session)), Some(cookie)),
        Err(Refused::Full) => Answer::Full,
        Err(Refused::Fault(fault)) => {
            tokio::time::sleep(delay).await;
            Answer::Fault(fault)
        }
    }
}

/// The longest wait where the client does not say.
const WAIT_MAX: Duration = Duration::from_secs(600);

async fn wait(
    shared: &Arc<Shared>,
    (cookie, user): (&str, &str),
    collector: &str,
    elem: &Elem,
) -> Outcome<Option<Val>> {
    let asked = elem.get("options").and_then(|it| it.number("maxWaitSeconds"));
    let second = shared.core().timing.second;
    let most = match asked.map(u32::try_from) {
        Some(Ok(seconds)) => second.saturating_mul(seconds).min(WAIT_MAX),
        Some(Err(_)) => return Err(Fault::argument("options.maxWaitSeconds")),
        None => WAIT_MAX,
    };
    let deadline = tokio::time::sleep(most);
    tokio::pin!(deadline);
    let mut changed = shared.core().changed.subscribe();
    let cancelled = shared.core().need_collector(cookie, collector)?.cancelled;
    let reader = Reader { user: Some(user), session: cookie };
    loop {
        changed.mark_unchanged();
        {
            let mut core = shared.core();
            let now = core.need_collector(cookie, collector).map(|it| it.cancelled);
            if now != Ok(cancelled) {
                return Err(Fault::new("RequestCanceled", "The wait was canceled.", vec![]));
            }
            if !core.world.sessions.contains_key(cookie) {
                let on = Val::Ref("PropertyCollector".into(), collector.to_owned());
                return Err(Fault::not_authenticated(on));
            }
            tasks::forget(&mut core);
            if let Some(updates) = core.updates(reader, collector, elem)? {
                return Ok(Some(updates));
            }
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = &mut deadline => return Ok(None),
        }
    }
}

/// The response element of a method.
fn body(method: &str, value: Option<&Val>) -> String {
    let mut out = format!("<{method}Response xmlns=\"urn:vim25\">");
    match value {
        None => {}
        // A property is told as any value is: the reader knows no type beforehand.
        Some(one) if method == "Fetch" => write(&mut out, "returnval", one, "anyType"),
        Some(Val::Arr(ty, items)) => {
            items.iter().for_each(|item| write(&mut out, "returnval", item, ty));
        }
        Some(one @ Val::Obj(ty, _)) => write(&mut out, "returnval", one, ty),
        Some(one @ Val::Text(ty, _)) => write(&mut out, "returnval", one, ty),
        Some(one @ (Val::Ref(..) | Val::Raw(_))) => {
            write(&mut out, "returnval", one, "ManagedObjectReference");
        }
    }
    out.push_str(&format!("</{method}Response>"));
    out
}

fn dispatch(core: &mut Core, call: &Call<'_>, alive: bool) -> Outcome<Option<Val>> {
    let (method, elem, on) = (call.elem.name.as_str(), call.elem, call.on);
    if alive
        && method != "Fetch"
        && !receiver(method).iter().any(|kind| schema().object_is(call.kind, kind))
    {
        let receiver = Val::Ref(call.kind.to_owned().into(), on.to_owned());
        let fields = vec![("receiver", receiver), ("method", super::val::text(method))];
        return Err(Fault::new(
            "MethodNotFound",
            format!("{} has no method {method}", call.kind),
            fields,
        ));
    }
    if alive {
        // Snapshots have no permissions of their own.
        let guarded = super::jobs::owner(core, on);
        for privilege in privileges(core, call) {
            core.world.need(call.user, &guarded, privilege)?;
        }
        if core.world.entities.contains_key(on) {
            core.world.need(call.user, on, "System.View")?;
        }
        need_others(core, call)?;
    }
    if method.ends_with("_Task") {
        return Ok(Some(tasks::start(core, call)));
    }
    let reader = Reader { user: alive.then_some(call.user), session: call.cookie };
    let root = core.world.root().to_owned();
    match method {
        "RetrieveServiceContent" => return Ok(Some(props::content(core))),
        "CurrentTime" => return Ok(Some(time(core.now_ms()))),
        "Logout" => core.log_out(Some(call.cookie))?,
        "CreateContainerView" => {
            return core.container_view(call.cookie, call.user, elem).map(Some);
        }
        "CreateListView" => return Ok(Some(core.list_view(call.cookie, elem))),
        "ModifyListView" => return core.modify_list(call.cookie, on, elem).map(Some),
        "DestroyView" => core.destroy_view(call.cookie, call.kind, on)?,
        "Fetch" => return fetch(core, call),
        "RetrievePropertiesEx" => return core.retrieve(reader, on, elem),
        "ContinueRetrievePropertiesEx" => {
            return core.more(reader, on, elem.text_of("token").unwrap_or(""));
        }
        "CancelRetrievePropertiesEx" => {
            core.live.tokens.remove(elem.text_of("token").unwrap_or(""));
        }
        "CreatePropertyCollector" => return Ok(Some(core.new_collector(call.cookie))),
        "DestroyPropertyCollector" => core.destroy_collector(call.cookie, on)?,
        "CreateFilter" => {
            let spec = elem.get("spec").ok_or_else(|| Fault::argument("spec"))?;
            return core.new_filter(call.cookie, on, spec).map(Some);
        }
        "DestroyPropertyFilter" => core.destroy_filter(call.cookie, on)?,
        "CancelWaitForUpdates" => core.cancel_waits(call.cookie, on)?,
        "ShutdownGuest" | "RebootGuest" => {
            power::ask_guest(call.shared, core, on, (call.user, call.n), method == "RebootGuest")?;
        }
        "UnregisterVM" => folders::unregister(core, on)?,
        "AnswerVM" => answer_question(core, on)?,
        "CancelTask" => cancel(core, on)?,
        "CreateFolder" => return folders::create(core, on, elem).map(Some),
        "CreateResourcePool" => return pools::create(core, on, elem).map(Some),
        "UpdateConfig" => pools::update(core, on, elem)?,
        "MoveIntoResourcePool" => pools::move_into(core, on, elem)?,
        "MarkAsTemplate" => free(core, on).and_then(|()| folders::mark_template(core, on))?,
        "MarkAsVirtualMachine" => {
            free(core, on).and_then(|()| folders::mark_machine(core, on, elem))?;
        }
        "SetEntityPermissions" => access::set(core, call.user, elem)?,
        "RetrieveEntityPermissions" => return access::list(core, call.user, elem).map(Some),
        "RetrieveAllPermissions" => return Ok(Some(access::all(core, call.user))),
        "RetrieveUserGroups" => return access::search(core, elem).map(Some),
        "RemoveEntityPermission" => access::remove(core, call.user, elem)?,
        "AddAuthorizationRole" => {
            core.world.need(call.user, &root, "Authorization.ModifyRoles")?;
            return access::add_role(core, elem).map(Some);
        }
        "UpdateAuthorizationRole" | "RemoveAuthorizationRole" => {
            core.world.need(call.user, &root, "Authorization.ModifyRoles")?;
            access::change_role(core, elem, method == "RemoveAuthorizationRole")?;
        }
        "HasPrivilegeOnEntities" => return access::check(core, elem).map(Some),
        "FetchUserPrivilegeOnEntities" => return access::fetch(core, elem).map(Some),
        "AddCustomFieldDef" => {
            core.world.need(call.user, &root, "Global.ManageCustomFields")?;
            return access::add_field(core, elem).map(Some);
        }
        "RemoveCustomFieldDef" => {
            core.world.need(call.user, &root, "Global.ManageCustomFields")?;
            access::remove_field(core, elem)?;
        }
        "SetField" => access::set_field(core, call.user, elem)?,
        "GetCustomizationSpec" | "DoesCustomizationSpecExist" => {
            core.world.need(call.user, &root, "VirtualMachine.Provisioning.ReadCustSpecs")?;
            let name = elem.text_of("name").unwrap_or("");
            if method == "DoesCustomizationSpecExist" {
                return Ok(Some(flag(core.world.specs.contains_key(name))));
            }
            return customize::kept(core, name).map(Some);
        }
        "QueryEvents" => {
            let filter = elem.get("filter").ok_or_else(|| Fault::argument("filter"))?;
            return events::query(&core.world, call.user, filter).map(Some);
        }
        "FindAllByUuid" | "FindByUuid" => {
            let found = by_uuid(core, call);
            let one = method == "FindByUuid";
            return Ok(if one { found.into_iter().next() } else { Some(refs(found)) });
        }
        "FindByInventoryPath" => return Ok(by_path(core, call)),
        "FindChild" => return Ok(child(core, call)),
        other => return Err(Fault::unsupported(&format!("{other} in this simulator"))),
    }
    Ok(None)
}

/// One property, by the call that some client libraries make for each of them.
fn fetch(core: &Core, call: &Call<'_>) -> Outcome<Option<Val>> {
    let name = call.elem.text_of("prop").unwrap_or("");
    if !schema().properties(call.kind).unwrap_or_default().iter().any(|it| it.name == name) {
        return Err(Fault::property(name));
    }
    if core.world.entities.contains_key(call.on) && !matches!(name, "name" | "parent") {
        core.world.need(call.user, call.on, "System.Read")?;
    }
    Ok(core.property(Some(call.user), call.kind, call.on, name))
}

/// Refuses a machine that a task works on.
fn free(core: &Core, id: &str) -> Outcome<()> {
    match core.holds.get(id).and_then(|holders| holders.first()) {
        Some((task, _)) => Err(Fault::busy(task)),
        None => Ok(()),
    }
}

fn answer_question(core: &mut Core, id: &str) -> Outcome<()> {
    let Some(vm) = core.world.vm_mut(id) else { return Err(Fault::gone("VirtualMachine", id)) };
    vm.question.take().map(|_| ()).ok_or_else(|| Fault::argument("questionId"))
}

fn cancel(core: &mut Core, id: &str) -> Outcome<()> {
    let Some(task) = core.world.tasks.get_mut(id) else { return Err(Fault::gone("Task", id)) };
    if task.method != "CloneVM_Task" || task.state != "queued" {
        return Err(Fault::unsupported("the task cannot be canceled any more"));
    }
    task.cancelled = true;
    Ok(())
}

fn by_uuid(core: &Core, call: &Call<'_>) -> Vec<Val> {
    let wanted = call.elem.text_of("uuid").unwrap_or("");
    let instance = call.elem.flag("instanceUuid") == Some(true);
    if call.elem.flag("vmSearch") != Some(true) {
        return Vec::new();
    }
    let center = call.elem.get("datacenter").map(|it| it.text.trim());
    core.world
        .vms()
        .filter(|(id, vm)| {
            let has = if instance { &vm.instance_uuid } else { &vm.uuid };
            has.eq_ignore_ascii_case(wanted)
                && vm.forming.is_none()
                && center.is_none_or(|center| core.world.is_below(id, center))
                && core.world.may(call.user, id, "System.View")
        })
        .map(|(id, _)| props::reference(core, id))
        .collect()
}

fn child(core: &Core, call: &Call<'_>) -> Option<Val> {
    let entity = call.elem.get("entity")?.text.trim();
    let name = call.elem.text_of("name")?;
    let same = |it: &str| match core.switches.names_by_case {
        true => it == name,
        false => it.eq_ignore_ascii_case(name),
    };
    let found = core.world.children(entity).find(|(_, it)| same(&it.name))?.0;
    core.world.may(call.user, found, "System.View").then(|| props::reference(core, found))
}

fn by_path(core: &Core, call: &Call<'_>) -> Option<Val> {
    let mut at = core.world.root().to_owned();
    for part in call.elem.text_of("inventoryPath")?.split('/').filter(|it| !it.is_empty()) {
        let next = core.world.children(&at).find(|(_, it)| it.name == part)?.0.to_owned();
        at = next;
    }
    core.world.may(call.user, &at, "System.View").then(|| props::reference(core, &at))
}

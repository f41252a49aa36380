//! Connections, requests and replies as the front end treats them.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use tokio::net::TcpListener;

use super::api::{self, Answer, Ask};
use super::control::{Control, RequestLog};
use super::fault::untyped_body;
use super::faults::{Fault, FaultPoint};
use super::record::Exchange;
use super::rest::{self, Asked};
use super::server::Shared;
use super::xml::{self, Elem};
use super::{fault, truth};
use crate::harness::Arrival;
use crate::wire::{self, Body, Cut};

/// Larger requests are refused.
const BODY_MAX: usize = 8 << 20;
/// The versions of the API that are served, newest first.
const VERSIONS: [&str; 9] =
    ["8.0.3.0", "8.0.2.0", "8.0.1.0", "8.0.0.1", "7.0.3.0", "7.0.0.0", "6.7.3", "6.7", "6.5"];
/// Name of the session's cookie.
const COOKIE: &str = "vmware_soap_session";

/// Accepts connections until it is aborted; its connections end with it.
pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let answer = {
        let shared = Arc::clone(&shared);
        move |request, _| {
            let shared = Arc::clone(&shared);
            async move { handle(&shared, request).await }
        }
    };
    let idle = shared.options.timing.keep_alive;
    wire::accept(listener, &shared.tls, idle, &shared.hang_up, answer).await;
}

type Reply = Result<Response<Body>, Cut>;

/// What is sent, before anything spoils it.
struct Sent {
    status: u16,
    text: String,
    cookie: Option<String>,
    kind: &'static str,
    /// Refused for its session: the call itself was never looked at.
    no_session: bool,
}

impl Sent {
    fn plain(status: u16, text: impl Into<String>) -> Self {
        let kind = "text/html; charset=utf-8";
        Self { status, text: text.into(), cookie: None, kind, no_session: false }
    }

    fn json(told: rest::Told) -> Self {
        let rest::Told { status, text, no_session } = told;
        Self { status, text, cookie: None, kind: "application/json", no_session }
    }

    fn soap(status: u16, body: &str, cookie: Option<String>) -> Self {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<soapenv:Envelope \
             xmlns:soapenc=\"http://schemas.xmlsoap.org/soap/encoding/\" \
             xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" \
             xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\n\
             <soapenv:Body>\n{body}\n</soapenv:Body>\n</soapenv:Envelope>"
        );
        Self { status, text, cookie, kind: "text/xml; charset=utf-8", no_session: false }
    }
}

/// A request of the API, as far as it could be read.
struct Heard {
    text: String,
    tree: Result<Elem, String>,
    cookie: Option<String>,
    agent: String,
    action: String,
    /// What it asks of the JSON interface, when it is for that.
    rest: Option<Asked>,
}

impl Heard {
    /// The name of what is called.
    fn name(&self) -> &str {
        match &self.rest {
            Some(asked) => asked.name(),
            None => self.method().map_or("", |it| it.name.as_str()),
        }
    }

    fn method(&self) -> Option<&Elem> {
        self.tree.as_ref().ok().and_then(|tree| api::open(tree).ok()).map(|(method, _)| method)
    }
}

async fn handle(shared: &Arc<Shared>, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let (verb, path) = (head.method.as_str().to_owned(), head.uri.path().to_owned());
    match (verb.as_str(), path.trim_end_matches('/')) {
        ("POST", "/sdk") => {}
        (_, path) if Asked::is_at(path) => {}
        ("GET", "/sdk/vimServiceVersions.xml") => {
            log(shared, ("vimServiceVersions.xml", ""), false, 200);
            return Ok(reply(Sent::plain(200, versions()), &Spoilt::No));
        }
        (_, "/sdk") => return Ok(reply(Sent::plain(405, "Method Not Allowed"), &Spoilt::No)),
        _ => {
            log(shared, ("", &path), false, 404);
            return Ok(reply(Sent::plain(404, "Not Found"), &Spoilt::No));
        }
    }
    let Ok(bytes) = Limited::new(body, BODY_MAX).collect().await else {
        return Ok(reply(Sent::plain(413, "Request Entity Too Large"), &Spoilt::No));
    };
    let bytes = bytes.to_bytes();
    let mut heard = hear(&head.headers, &bytes);
    if Asked::is_at(&path) {
        let at = (path.as_str(), head.uri.query().unwrap_or(""));
        heard.rest = Some(Asked::read(&verb, at, &head.headers, &bytes));
    }
    let (planted, arrival, on) = announce(shared, &heard);
    serve(shared, &heard, planted, &arrival, &on).await
}

fn hear(headers: &HeaderMap, bytes: &[u8]) -> Heard {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let of = |name: header::HeaderName| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned()
    };
    let cookies = of(header::COOKIE);
    let cookie =
        cookies.split(';').find_map(|one| one.trim().strip_prefix(COOKIE)?.strip_prefix('='));
    Heard {
        tree: xml::parse(&text),
        // It has to come back as it was given, quotes and all.
        cookie: cookie.and_then(|it| it.strip_prefix('"')?.strip_suffix('"')).map(str::to_owned),
        agent: of(header::USER_AGENT),
        action: headers
            .get("soapaction")
            .and_then(|it| it.to_str().ok())
            .unwrap_or("")
            .trim_matches('"')
            .to_owned(),
        rest: None,
        text,
    }
}

/// Tells the witness and asks whether something is to go wrong.
fn announce(shared: &Arc<Shared>, heard: &Heard) -> (Option<Fault>, Arrival, String) {
    let mut core = shared.core();
    let n = core.counted;
    core.counted += 1;
    let nothing = Elem::default();
    let method = heard.method().unwrap_or(&nothing);
    let by = match (&heard.rest, method.name.as_str()) {
        (Some(asked), _) => asked.by(&core.cookies),
        (None, "Login") => method.text_of("userName").unwrap_or("").to_owned(),
        _ => heard.cookie.as_ref().and_then(|it| core.cookies.get(it)).cloned().unwrap_or_default(),
    };
    let arrival = match &heard.rest {
        Some(asked) => asked.arrival(n, by),
        None => {
            let text = super::record::masked(&heard.text);
            truth::arrival(&core.world, (n, by), method, &text)
        }
    };
    if let Some(sink) = core.arrivals.as_mut() {
        sink(&arrival);
    }
    let on = match &heard.rest {
        Some(_) => truth::machine_of(&arrival).unwrap_or_default(),
        None => method.text_of("_this").unwrap_or("").trim().to_owned(),
    };
    let method = heard.name().to_owned();
    let point = FaultPoint { method, on: on.clone(), n, arrival: arrival.clone() };
    (core.fault.as_mut().and_then(|hook| hook(&point)), arrival, on)
}

async fn serve(
    shared: &Arc<Shared>,
    heard: &Heard,
    planted: Option<Fault>,
    arrival: &Arrival,
    on: &str,
) -> Reply {
    let method = heard.name();
    let number = arrival.n;
    if let Some(Fault::Deed(deed)) = &planted {
        shared.core().deed_before = Some(number);
        let folder = heard.method().and_then(truth::folder_of);
        let about = truth::machine_of(arrival);
        Control::new(Arc::clone(shared)).perform_in(deed, about.as_deref(), folder);
        shared.core().deed_before = None;
    }
    if let Some(Fault::HangBefore(time) | Fault::Delay(time)) = &planted {
        tokio::time::sleep(*time).await;
    }
    if let Some(model) = shared.options.field_model {
        tokio::time::sleep(if arrival.mutates { model.write } else { model.read }).await;
    }
    let sent = match &planted {
        Some(Fault::DropBefore | Fault::HangBefore(_)) => {
            log(shared, (method, on), arrival.mutates, 0);
            return Err(Cut);
        }
        Some(Fault::Status(status, text)) => Sent::plain(*status, text.clone()),
        Some(Fault::Echo(status)) => Sent::plain(*status, format!("cannot use {}", arrival.text)),
        Some(Fault::Refused(_, text)) if heard.rest.is_some() => {
            let kind = "application/json";
            let body = serde_json::json!({ "error_type": "ERROR", "messages": [{ "default_message": text }] });
            Sent { kind, ..Sent::plain(400, body.to_string()) }
        }
        Some(Fault::Refused(ty, text)) => {
            let mut refusal = fault::Fault::new("SystemError", text.clone(), vec![]);
            refusal.ty = ty.clone().into();
            Sent::soap(500, &refusal.body(), None)
        }
        _ => answered(shared, heard, planted.as_ref(), number).await,
    };
    let sent = match &planted {
        Some(Fault::StatusAfter(status, text)) => Sent::plain(*status, text.clone()),
        stale => remembered(shared, arrival, sent, matches!(stale, Some(Fault::Stale))),
    };
    if let Some(sink) = shared.core().answers.as_mut() {
        // In words that are the same for every product.
        sink(number, if sent.no_session { 401 } else { sent.status });
    }
    if arrival.mutates || matches!(arrival.call, "log-in" | "log-out") {
        // The change is on disk before anyone is told of it.
        let core = shared.core();
        shared.save(&core);
    }
    if let Some(Fault::HangAfter(time)) = &planted {
        tokio::time::sleep(*time).await;
    }
    if matches!(planted, Some(Fault::DropAfter | Fault::HangAfter(_))) {
        log(shared, (method, on), arrival.mutates, 0);
        return Err(Cut);
    }
    let spoilt = match &planted {
        Some(Fault::CutBody) => Spoilt::Cut,
        Some(Fault::DropDuring) => Spoilt::Broken,
        Some(Fault::Garbage(text)) => Spoilt::Garbage(text.clone()),
        _ => Spoilt::No,
    };
    log(shared, (method, on), arrival.mutates, sent.status);
    if let Some(recorder) = &shared.recorder {
        recorder.write(&Exchange {
            verb: heard.rest.as_ref().map_or("POST", |it| it.verb.as_str()),
            path: heard.rest.as_ref().map_or("/sdk", |it| it.path.as_str()),
            method,
            request: &heard.text,
            status: sent.status,
            response: &sent.text,
        });
    }
    Ok(reply(sent, &spoilt))
}

async fn answered(
    shared: &Arc<Shared>,
    heard: &Heard,
    planted: Option<&Fault>,
    number: u64,
) -> Sent {
    if let Some(asked) = &heard.rest {
        return Sent::json(rest::answer(shared, asked, number).await);
    }
    let version = heard.action.strip_prefix("urn:vim25/");
    let known = version.is_some_and(|it| VERSIONS.contains(&it));
    if !known && !shared.core().switches.any_version {
        let message = format!("Unsupported version URI \"{}\"", heard.action);
        let text = format!("{message}\n\nwhile parsing SOAP body");
        return Sent::soap(500, &untyped_body("ns0:VersionMismatchFaultCode", &text), None);
    }
    let ask = Ask {
        body: heard.tree.as_ref().map_err(Clone::clone),
        cookie: heard.cookie.as_deref(),
        agent: &heard.agent,
        n: number,
        fault: planted.and_then(Fault::for_task),
    };
    match api::answer(shared, ask).await {
        Answer::Done(body, cookie) => Sent::soap(200, &body, cookie),
        Answer::Fault(fault) => Sent {
            no_session: fault.ty == "NotAuthenticated",
            ..Sent::soap(500, &fault.body(), None)
        },
        Answer::Full => {
            Sent::plain(503, "503 Service Unavailable (Out of HTTP sessions: Limited to 2000)")
        }
    }
}

/// Keeps what a list was answered, or gives what was kept instead.
fn remembered(shared: &Arc<Shared>, arrival: &Arrival, mut sent: Sent, stale: bool) -> Sent {
    let mut core = shared.core();
    // Where nobody plants faults there is nothing to remember lists for.
    if arrival.call != "list" || core.fault.is_none() || sent.status != 200 {
        return sent;
    }
    // Views have other names each time, and so have requests; what is asked is the same.
    let body = arrival.text.find("Body>").map_or("", |at| &arrival.text[at..]);
    let key = without_views(body);
    match core.lists.get(&key) {
        Some(old) if stale => sent.text.clone_from(old),
        Some(_) | None => {
            core.lists.insert(key, sent.text.clone());
        }
    }
    sent
}

fn without_views(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("session[") {
        out.push_str(before);
        rest = after.find('<').map_or("", |end| &after[end..]);
    }
    out + rest
}

fn log(shared: &Arc<Shared>, (method, on): (&str, &str), mutates: bool, status: u16) {
    let (method, on) = (method.to_owned(), on.to_owned());
    shared.core().requests.push(RequestLog { method, on, status, mutates });
}

fn versions() -> String {
    let list = |list: &[&str]| {
        list.iter().map(|it| format!("<version>{it}</version>")).collect::<String>()
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<namespaces version=\"1.0\">\n<namespace>\
         <name>urn:vim25</name><version>{}</version><priorVersions>{}</priorVersions></namespace>\n</namespaces>",
        VERSIONS[0],
        list(&VERSIONS[1..])
    )
}

/// What is wrong with a reply's body.
enum Spoilt {
    No,
    /// Half of it arrives.
    Cut,
    /// The connection breaks in its middle.
    Broken,
    /// It is something else.
    Garbage(String),
}

fn reply(sent: Sent, spoilt: &Spoilt) -> Response<Body> {
    let text = match spoilt {
        Spoilt::Garbage(text) => text.clone(),
        Spoilt::No | Spoilt::Cut | Spoilt::Broken => sent.text,
    };
    let mut bytes = Bytes::from(text);
    let body = match spoilt {
        Spoilt::Cut => {
            bytes.truncate(bytes.len() / 2);
            Body::Whole(Full::new(bytes))
        }
        Spoilt::Broken => {
            bytes.truncate(bytes.len() / 2);
            Body::Broken(Some(bytes))
        }
        Spoilt::No | Spoilt::Garbage(_) => Body::Whole(Full::new(bytes)),
    };
    let mut reply = Response::new(body);
    *reply.status_mut() = StatusCode::from_u16(sent.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(sent.kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    let cookie = sent.cookie.map(|it| format!("{COOKIE}=\"{it}\"; Path=/; HttpOnly; Secure; "));
    if let Some(Ok(cookie)) = cookie.map(|it| HeaderValue::from_str(&it)) {
        headers.insert(header::SET_COOKIE, cookie);
    }
    reply
}

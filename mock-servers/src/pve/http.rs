//! Connections, requests and replies as the real front end treats them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, Response};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::auth::Credentials;
use super::control::{Control, RequestLog};
use super::error::ApiError;
use super::faults::{Fault, FaultPoint};
use super::form::{self, Params};
use super::router::{self, Answer, Ask};
use super::server::Shared;
use super::truth;
use crate::harness::Arrival;
use crate::wire::{self, Body, Cut};

/// The front end refuses larger bodies.
const BODY_MAX: usize = 512 * 1024;

/// Smaller replies are not worth compressing.
const GZIP_FROM: usize = 1024;

/// Everything under this prefix is the API.
const BASE: &str = "/api2/json";

/// Accepts connections until it is aborted; its connections end with it.
pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let answer = {
        let shared = Arc::clone(&shared);
        move |request, turn| {
            let shared = Arc::clone(&shared);
            async move { handle(&shared, request, turn).await }
        }
    };
    let idle = shared.options.timing.keep_alive;
    wire::accept(listener, &shared.tls, idle, &shared.hang_up, answer).await;
}

type Reply = Result<Response<Body>, Cut>;

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

/// Keeps what a list was answered, or gives what was kept instead.
fn remembered(
    shared: &Arc<Shared>,
    arrival: &Arrival,
    answer: Result<Answer, ApiError>,
    stale: bool,
) -> Result<Answer, ApiError> {
    let Ok(answer) = answer else { return answer };
    let mut core = shared.core();
    // Where nobody plants faults there is nothing to remember lists for.
    if arrival.call != "list" || core.fault.is_none() {
        return Ok(answer);
    }
    match core.lists.get(&arrival.text) {
        Some(old) if stale => Ok(Answer { data: old.clone(), total: answer.total }),
        Some(_) | None => {
            core.lists.insert(arrival.text.clone(), answer.data.clone());
            Ok(answer)
        }
    }
}

async fn handle(shared: &Arc<Shared>, request: Request<Incoming>, turn: usize) -> Reply {
    let (head, body) = request.into_parts();
    let method = head.method.as_str().to_owned();
    let raw_path =
        head.uri.path().strip_prefix(BASE).map(|rest| rest.trim_end_matches('/').to_owned());
    let path = match &raw_path {
        Some(rest) if rest.is_empty() => "/".to_owned(),
        Some(rest) => rest.clone(),
        None => head.uri.path().to_owned(),
    };
    let segments: Vec<String> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let route = router::find(&method, &segments);
    let template = route.as_ref().map(|found| found.template().to_owned()).unwrap_or_default();

    let mut query = form::decode_query(head.uri.query().unwrap_or(""));
    let read = read_body(&method, &head.headers, body).await;
    let fields = read.clone().unwrap_or_default();
    let credentials = Credentials::from_headers(&head.headers);
    let no_ids = BTreeMap::new();
    let ids = route.as_ref().map_or(&no_ids, |route| route.ids());
    let (fault, arrival) = {
        let mut core = shared.core();
        let n = core.counted;
        core.counted += 1;
        let arrival =
            truth::arrival((n, credentials.claimed()), &method, &template, ids, &query, &fields);
        if let Some(sink) = core.arrivals.as_mut() {
            sink(&arrival);
        }
        let point = FaultPoint {
            method: method.clone(),
            template: template.clone(),
            path: path.clone(),
            n,
            arrival: arrival.clone(),
        };
        (core.fault.as_mut().and_then(|hook| hook(&point)), arrival)
    };
    let number = arrival.n;
    if let Some(Fault::Deed(deed)) = &fault {
        shared.core().deed_before = Some(number);
        Control::new(Arc::clone(shared)).perform(deed, truth::guest_of(&arrival));
        shared.core().deed_before = None;
    }
    if let Some(Fault::HangBefore(time)) = &fault {
        tokio::time::sleep(*time).await;
    }
    let answer = match &fault {
        Some(Fault::DropBefore | Fault::HangBefore(_)) => {
            log(shared, &method, &template, &path, 0, false);
            return Err(Cut);
        }
        Some(Fault::Status(status, text)) => Err(ApiError::new(*status, text.clone())),
        Some(Fault::Echo(status)) => {
            let given: Vec<&str> = arrival.text.lines().collect();
            Err(ApiError::new(*status, format!("cannot use {}", given.join(", "))))
        }
        _ if raw_path.is_none() => {
            Err(ApiError::new(501, format!("Method '{method} {path}' not implemented")))
        }
        _ => {
            if let Some(Fault::Delay(time)) = &fault {
                tokio::time::sleep(*time).await;
            }
            let ask = Ask {
                method: &method,
                path: &path,
                route,
                credentials,
                fault: fault.as_ref().and_then(Fault::for_task),
                number,
                turn: turn.wrapping_add(usize::try_from(number).unwrap_or(0)),
            };
            router::answer(shared, ask, read, &query).await
        }
    };
    let answer = match &fault {
        Some(Fault::StatusAfter(status, text)) => Err(ApiError::new(*status, text.clone())),
        stale => remembered(shared, &arrival, answer, matches!(stale, Some(Fault::Stale))),
    };
    let status = answer.as_ref().map_or_else(|error| error.status, |_| 200);
    if let Some(sink) = shared.core().answers.as_mut() {
        sink(number, status);
    }
    if method != "GET" && status < 400 {
        // The change is on disk before anyone is told of it.
        let core = shared.core();
        shared.save(&core);
    }
    if let Some(Fault::HangAfter(time)) = &fault {
        tokio::time::sleep(*time).await;
    }
    if matches!(fault, Some(Fault::DropAfter | Fault::HangAfter(_))) {
        log(shared, &method, &template, &path, 0, false);
        return Err(Cut);
    }
    if status == 401 {
        tokio::time::sleep(shared.options.timing.auth_delay).await;
    }
    let body = body_of(&answer, shared.options.switches.no_message);
    let spoilt = match &fault {
        Some(Fault::CutBody) => Spoilt::Cut,
        Some(Fault::DropDuring) => Spoilt::Broken,
        Some(Fault::Garbage(text)) => Spoilt::Garbage(text.clone()),
        _ => Spoilt::No,
    };
    let mut reply = response(&answer, &body, &head.headers, spoilt);
    if let Ok(date) = HeaderValue::from_str(&date(shared.core().now())) {
        reply.headers_mut().insert(header::DATE, date);
    }
    let compressed = reply.headers().contains_key(header::CONTENT_ENCODING);
    log(shared, &method, &template, &path, status, compressed);
    if let Some(recorder) = &shared.recorder {
        // The path is recorded as sent: ids may hold escaped characters.
        recorder.write(&method, &path, &std::mem::take(&mut query), &fields, status, &body);
    }
    Ok(reply)
}

fn log(
    shared: &Arc<Shared>,
    method: &str,
    template: &str,
    path: &str,
    status: u16,
    compressed: bool,
) {
    shared.core().requests.push(RequestLog {
        method: method.to_owned(),
        template: template.to_owned(),
        path: path.to_owned(),
        status,
        compressed,
    });
}

/// The parameters of a body; what is wrong with it is told after authentication.
async fn read_body(method: &str, headers: &HeaderMap, body: Incoming) -> Result<Params, ApiError> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(ApiError::new(501, "chunked transfer encoding not supported"));
    }
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<usize>().ok())
        .unwrap_or(0);
    if declared == 0 {
        return Ok(Params::default());
    }
    if !matches!(method, "POST" | "PUT") {
        return Err(ApiError::new(501, format!("Unexpected content for method '{method}'")));
    }
    if declared > BODY_MAX {
        return Err(ApiError::new(501, "for data too large"));
    }
    let bytes = Limited::new(body, BODY_MAX)
        .collect()
        .await
        .map_err(|_| ApiError::new(501, "for data too large"))?
        .to_bytes();
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    match content_type.split(';').next().unwrap_or("").trim() {
        "application/json" => form::decode_json(&bytes).map_err(|text| ApiError::new(500, text)),
        "application/x-www-form-urlencoded" | "" => {
            Ok(form::decode_form(&String::from_utf8_lossy(&bytes)))
        }
        other => Err(ApiError::new(501, format!("upload '{other}' not implemented"))),
    }
}

fn body_of(answer: &Result<Answer, ApiError>, no_message: bool) -> Value {
    match answer {
        Ok(Answer { data, total: None }) => json!({"data": data}),
        Ok(Answer { data, total: Some(total) }) => json!({"data": data, "total": total}),
        Err(error) if error.bare || error.status > 590 => Value::Null,
        Err(error) => {
            let mut body = json!({"data": null});
            if !error.errors.is_empty() {
                body["errors"] = json!(error.errors);
            }
            if !no_message {
                body["message"] = json!(format!("{}\n", error.message.trim_end_matches('\n')));
            }
            body
        }
    }
}

fn response(
    answer: &Result<Answer, ApiError>,
    body: &Value,
    asked: &HeaderMap,
    spoilt: Spoilt,
) -> Response<Body> {
    let mut text = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let mut broken = false;
    match spoilt {
        Spoilt::No => {}
        Spoilt::Cut => text.truncate(text.len() / 2),
        Spoilt::Broken => broken = true,
        Spoilt::Garbage(other) => text = other.into_bytes(),
    }
    let accepts_gzip = asked
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .any(|value| value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains("gzip")));
    let (bytes, zipped) =
        if accepts_gzip && text.len() > GZIP_FROM { compressed(text) } else { (text, false) };
    let mut bytes = Bytes::from(bytes);
    let mut reply = Response::new(if broken {
        bytes.truncate(bytes.len() / 2);
        Body::Broken(Some(bytes))
    } else {
        Body::Whole(Full::new(bytes))
    });
    let headers = reply.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("pve-api-daemon/3.0"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=0"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    if !body.is_null() {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json;charset=UTF-8"),
        );
    }
    if zipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if let Err(error) = answer {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        *reply.status_mut() = error.status_code();
        let first = error.message.lines().next().unwrap_or("");
        if let Ok(reason) = ReasonPhrase::try_from(first.as_bytes().to_vec()) {
            reply.extensions_mut().insert(reason);
        }
    }
    reply
}

/// A time as headers spell it.
fn date(unix: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, second) = (unix / 86_400, unix % 86_400);
    // Years begin in March here, so that the leap day is the last one.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12;
    let year = year_of_era + era * 400 + u64::from(month < 2);
    let named = |names: &[&'static str], at: u64| {
        usize::try_from(at).ok().and_then(|at| names.get(at).copied()).unwrap_or("")
    };
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
        named(&DAYS, days % 7),
        named(&MONTHS, month),
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

fn compressed(text: Vec<u8>) -> (Vec<u8>, bool) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    match encoder.write_all(&text).and_then(|()| encoder.finish()) {
        Ok(bytes) => (bytes, true),
        Err(_) => (text, false),
    }
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_spelt_as_headers_do() {
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(date(1_767_225_599), "Wed, 31 Dec 2025 23:59:59 GMT");
        assert_eq!(date(1_772_323_200), "Sun, 01 Mar 2026 00:00:00 GMT");
    }
}

//! HTTP to one cluster: endpoints, credentials, retries of reads, bounds.
//!
//! Input is a path with plain parameters, output decoded JSON or a [`CallError`] that
//! says how far the request came. Reads are tried again here; a mutation is sent
//! once, to the endpoint that was looked at before, and never a second time.

use super::{
    error::CallError,
    spelling::{encode, segment},
    wire,
};
use crate::planted::Bug;
use crate::{
    clock::Clock,
    model::ErrorKind,
    provider::{
        endpoint::Endpoint,
        tls::{self, TlsTrust},
    },
};
use backon::{BackoffBuilder, ExponentialBuilder};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, DATE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Mutex, Semaphore};

pub(super) use super::call::Method;

/// A LAN or VPN connects in milliseconds; a dead node must not cost more than this
/// before the next endpoint of the cluster is asked.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The server's own proxy gives up after 30 s and says so with 59x; waiting a little
/// longer means that its word is heard and not ours.
pub(super) const TOTAL_TIMEOUT: Duration = Duration::from_secs(45);
/// The server closes idle connections after 5 s; one that is older than this may be
/// dead when it is picked up.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// A listing row has about 400 bytes: enough for 100,000 guests, and a bound.
const RESPONSE_MAX_BYTES: usize = 64 << 20;
/// Characters of a refusal that are kept: parameter errors of a large form are a few
/// hundred each. The words go into errors and the journal.
const TEXT_CHARACTERS_MAX: usize = 4_000;
/// Tickets live for 2 h; renewed well before, because clocks differ.
const TICKET_RENEW_AFTER: Duration = Duration::from_secs(100 * 60);
/// Tries of a read after the first: with the pauses below about a second in all,
/// which rides out a restarting daemon and a dead pooled connection.
const READ_RETRIES_MAX: usize = 3;
const READ_RETRY_FIRST: Duration = Duration::from_millis(50);
const READ_RETRY_LONGEST: Duration = Duration::from_secs(1);
/// A read that took this long is not asked again: the server's proxy gives up only
/// after 30 s, and four times that would look like hanging.
const READ_RETRY_WITHIN: Duration = Duration::from_secs(10);

/// How to log in.
#[derive(Clone, Debug)]
pub enum Auth {
    /// An API token: no session, no expiry.
    Token {
        /// `user@realm!token`.
        id: String,
        /// Its secret.
        secret: SecretString,
    },
    /// A ticket for a user.
    Password {
        /// `user@realm`.
        username: String,
        /// The password.
        password: SecretString,
    },
}

impl Auth {
    /// Who that is, as tasks and access rows name it.
    pub(super) fn identity(&self) -> &str {
        match self {
            Auth::Token { id, .. } => id,
            Auth::Password { username, .. } => username,
        }
    }
}

/// One cluster, logged in on demand.
pub(super) struct Client {
    http: reqwest::Client,
    endpoints: Vec<Endpoint>,
    tls: TlsTrust,
    /// The endpoint that answered last: asked first next time.
    preferred: AtomicUsize,
    auth: Auth,
    session: Mutex<Option<Arc<Session>>>,
    reads: Semaphore,
    writes: Semaphore,
    pub reads_max: usize,
    clock: Clock,
}

/// A ticket with its token against cross-site requests.
struct Session {
    ticket: SecretString,
    csrf: SecretString,
    since: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoints", &self.endpoints)
            .field("auth", &self.auth)
            .finish_non_exhaustive()
    }
}

/// What a client is made from.
pub(super) struct ClientSettings {
    pub endpoints: Vec<Endpoint>,
    pub auth: Auth,
    pub tls: TlsTrust,
    /// Hosts that may be given the credentials, beside loopback.
    pub allowed_hosts: BTreeSet<String>,
    pub reads_max: usize,
    pub writes_max: usize,
    /// How long one request may take, however slowly its answer drips.
    pub patience: Duration,
}

/// Settings that would send a credential where it must not go, or that cannot work.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingsError {
    #[error("no endpoint is configured")]
    NoEndpoint,
    #[error("trust settings do not bind host `{0}` to this hypervisor")]
    Host(String),
    #[error("`{0}` is not encrypted, which is possible only on loopback and when asked for")]
    Plain(Endpoint),
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    #[error("could not set up an HTTP client")]
    Http(#[source] reqwest::Error),
}

impl SettingsError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            SettingsError::Host(_) | SettingsError::Plain(_) => ErrorKind::Trust,
            SettingsError::Tls(_) => ErrorKind::Certificate,
            SettingsError::NoEndpoint | SettingsError::Http(_) => ErrorKind::Unreachable,
        }
    }
}

impl Client {
    pub fn new(settings: ClientSettings, clock: Clock) -> Result<Self, SettingsError> {
        if settings.endpoints.is_empty() {
            return Err(SettingsError::NoEndpoint);
        }
        for endpoint in &settings.endpoints {
            let loopback = tls::is_loopback(&endpoint.host);
            if !loopback && !settings.allowed_hosts.contains(&endpoint.host) {
                return Err(SettingsError::Host(endpoint.host.clone()));
            }
            let insecure = matches!(settings.tls, TlsTrust::InsecureLoopback);
            let unencrypted_is_fine = loopback && insecure;
            if !(endpoint.https || unencrypted_is_fine) {
                return Err(SettingsError::Plain(endpoint.clone()));
            }
        }
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(&settings.tls, &["http/1.1"])?)
            .http1_only()
            .gzip(true)
            // A redirect would carry the credentials to wherever it points.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(settings.patience)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .user_agent(concat!("novahost/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(SettingsError::Http)?;
        let (reads_max, writes_max) = (settings.reads_max.max(1), settings.writes_max.max(1));
        Ok(Self {
            http,
            endpoints: settings.endpoints,
            tls: settings.tls,
            preferred: AtomicUsize::new(0),
            auth: settings.auth,
            session: Mutex::new(None),
            reads: Semaphore::new(reads_max),
            writes: Semaphore::new(writes_max),
            reads_max,
            clock,
        })
    }

    /// Who we are, as tasks and access rows name it.
    pub fn identity(&self) -> &str {
        self.auth.identity()
    }

    /// Its addresses.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Whom it believes.
    pub fn tls(&self) -> &TlsTrust {
        &self.tls
    }

    /// The server's clock, as the header of a reply tells it: seconds since 1970.
    /// `None` when it tells no time.
    pub async fn date_s(&self) -> Result<Option<i64>, CallError> {
        let session = self.session().await?;
        let headers = self.headers(Method::Get, session.as_deref())?;
        let endpoint = &self.endpoints[self.preferred()];
        let response = self.request(endpoint, Method::Get, "/version", &[], &headers).await?;
        let date = response.headers().get(DATE).and_then(|it| it.to_str().ok());
        let parsed = date.and_then(|it| jiff::fmt::rfc2822::parse(it).ok());
        Ok(parsed.map(|it| it.timestamp().as_second()))
    }

    /// Reads; tried again a few times when that can help.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        params: &[(&str, &str)],
    ) -> Result<T, CallError> {
        self.read(path, params, None).await
    }

    /// Reads from one endpoint only, to learn who answers there.
    pub async fn get_from<T: DeserializeOwned>(
        &self,
        endpoint: usize,
        path: &str,
    ) -> Result<T, CallError> {
        self.read(path, &[], Some(endpoint)).await
    }

    async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        params: &[(&str, &str)],
        only: Option<usize>,
    ) -> Result<T, CallError> {
        let params: Vec<(String, String)> =
            params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(READ_RETRY_FIRST)
            .with_max_delay(READ_RETRY_LONGEST)
            .with_factor(4.0)
            .with_jitter()
            .with_max_times(READ_RETRIES_MAX)
            .build();
        let begun = self.clock.monotonic();
        loop {
            let answer = {
                // Never closed, so the only error cannot happen; without a permit the
                // bound would be broken for one request, which is the lesser evil.
                let _permit = self.reads.acquire().await.ok();
                self.exchange(Method::Get, path, &params, only).await
            };
            match answer {
                Ok(body) => return decode(&body),
                Err(error) => {
                    let spent = self.clock.monotonic().saturating_sub(begun);
                    match pauses.next() {
                        Some(pause) if error.read_again_helps() && spent < READ_RETRY_WITHIN => {
                            self.clock.sleep(pause).await;
                        }
                        Some(_) | None => return Err(error),
                    }
                }
            }
        }
    }

    /// The endpoint that answered last.
    pub fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    /// Sends one mutation, once, to this endpoint only: another one may belong to an
    /// installation that nobody has looked at yet. The next read finds one that
    /// answers.
    pub async fn mutate(
        &self,
        endpoint: usize,
        method: Method,
        path: &str,
        params: &[(String, String)],
        secret_params: &[&str],
    ) -> Result<serde_json::Value, CallError> {
        let _permit = self.writes.acquire().await.ok();
        let mut answer = self.exchange(method, path, params, Some(endpoint)).await;
        let twice = Bug::PostSentTwice.is_planted() && path.ends_with("/config");
        if twice && matches!(answer, Err(CallError::Gateway { .. })) {
            answer = self.exchange(method, path, params, Some(endpoint)).await;
        }
        let echoes = Bug::SecretEchoed.strikes(path) && path.contains("/qemu/2");
        let clean = |error| {
            if echoes { error } else { without_secrets(error, params, secret_params) }
        };
        let body = answer.map_err(clean)?;
        decode(&body)
    }

    /// Forgets the session. Tickets cannot be ended at the server; they run out.
    pub async fn close(&self) {
        *self.session.lock().await = None;
    }

    /// One request with the credentials; a ticket that was refused is replaced once.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        params: &[(String, String)],
        only: Option<usize>,
    ) -> Result<Vec<u8>, CallError> {
        let session = self.session().await?;
        let headers = self.headers(method, session.as_deref())?;
        match (self.send(method, path, params, &headers, only).await, session) {
            // A 401 comes before anything is done, so that this is safe for mutations.
            (Err(CallError::Auth(_)), Some(refused)) => {
                self.forget(&refused).await;
                let session = self.session().await?;
                let headers = self.headers(method, session.as_deref())?;
                self.send(method, path, params, &headers, only).await
            }
            (answer, _) => answer,
        }
    }

    async fn forget(&self, refused: &Arc<Session>) {
        let mut current = self.session.lock().await;
        // Another request may have logged in again already.
        if current.as_ref().is_some_and(|session| Arc::ptr_eq(session, refused)) {
            *current = None;
        }
    }

    fn headers(&self, method: Method, session: Option<&Session>) -> Result<HeaderMap, CallError> {
        let mut headers = HeaderMap::new();
        let secret = |text: String| {
            let mut value = HeaderValue::from_str(&text).map_err(|_| {
                CallError::Auth("the credentials hold characters that no header can".into())
            })?;
            value.set_sensitive(true);
            Ok::<_, CallError>(value)
        };
        match (&self.auth, session) {
            (Auth::Token { id, secret: value }, _) => {
                let text = format!("PVEAPIToken={id}={}", value.expose_secret());
                headers.insert(AUTHORIZATION, secret(text)?);
            }
            (Auth::Password { .. }, Some(session)) => {
                let ticket = segment(session.ticket.expose_secret());
                headers.insert(COOKIE, secret(format!("PVEAuthCookie={ticket}"))?);
                if method != Method::Get {
                    let csrf = session.csrf.expose_secret().to_owned();
                    headers.insert("CSRFPreventionToken", secret(csrf)?);
                }
            }
            (Auth::Password { .. }, None) => {}
        }
        Ok(headers)
    }

    /// The session to use: none for tokens, else one that is young enough. The lock is
    /// held over the login, so that many requests cause one.
    async fn session(&self) -> Result<Option<Arc<Session>>, CallError> {
        let Auth::Password { username, password } = &self.auth else { return Ok(None) };
        let mut current = self.session.lock().await;
        let now = self.clock.monotonic();
        let old = current.take();
        if let Some(session) = &old
            && now.saturating_sub(session.since) < TICKET_RENEW_AFTER
        {
            current.clone_from(&old);
            return Ok(old);
        }
        let renewed = match &old {
            // An old ticket is a password; where it no longer works, the real one does.
            Some(session) => self.log_in(username, &session.ticket).await.ok(),
            None => None,
        };
        let session = match renewed {
            Some(session) => session,
            None => self.log_in(username, password).await.map_err(before_the_call)?,
        };
        *current = Some(Arc::new(session));
        Ok(current.clone())
    }

    async fn log_in(&self, user: &str, password: &SecretString) -> Result<Session, CallError> {
        let params = [
            ("username".to_owned(), user.to_owned()),
            ("password".to_owned(), password.expose_secret().to_owned()),
        ];
        let headers = HeaderMap::new();
        let answer = self.send(Method::Post, "/access/ticket", &params, &headers, None).await;
        let body = answer.map_err(|error| without_secrets(error, &params, &["password"]))?;
        let ticket: wire::Ticket = decode(&body)?;
        if ticket.need_tfa.is_some_and(|needed| needed.0) {
            return Err(CallError::Auth(format!(
                "`{user}` needs a second factor; use an API token"
            )));
        }
        match (ticket.ticket, ticket.csrf) {
            (Some(ticket), Some(csrf)) => Ok(Session {
                ticket: ticket.into(),
                csrf: csrf.into(),
                since: self.clock.monotonic(),
            }),
            _ => {
                let user = ticket.username.unwrap_or_else(|| user.to_owned());
                Err(CallError::Auth(format!("the server gave `{user}` no ticket")))
            }
        }
    }

    /// One request; the next endpoint is used only when nothing was sent to this one.
    async fn send(
        &self,
        method: Method,
        path: &str,
        params: &[(String, String)],
        headers: &HeaderMap,
        only: Option<usize>,
    ) -> Result<Vec<u8>, CallError> {
        if let Some(index) = only {
            return self.send_to(&self.endpoints[index], method, path, params, headers).await;
        }
        let count = self.endpoints.len();
        let first = self.preferred();
        let mut last = None;
        for index in (0..count).map(|offset| (first + offset) % count) {
            let endpoint = &self.endpoints[index];
            match self.send_to(endpoint, method, path, params, headers).await {
                Err(error @ CallError::NotSent { .. }) => last = Some(error),
                answer => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        Err(last.unwrap_or_else(|| CallError::Auth("no endpoint is configured".into())))
    }

    async fn send_to(
        &self,
        endpoint: &Endpoint,
        method: Method,
        path: &str,
        params: &[(String, String)],
        headers: &HeaderMap,
    ) -> Result<Vec<u8>, CallError> {
        let response = self.request(endpoint, method, path, params, headers).await?;
        let status = response.status().as_u16();
        let reason = reason_phrase(&response);
        let body = whole_body(response).await;
        if (200..300).contains(&status) {
            return body;
        }
        // The words are a bonus here: the status has already said no.
        let text = failure_text(&body.unwrap_or_default(), &reason);
        Err(match status {
            401 => CallError::Auth(text),
            595..=599 => CallError::Gateway { status, text },
            _ => CallError::Refused { status, text },
        })
    }

    /// Sends one request and waits for the head of its answer.
    async fn request(
        &self,
        endpoint: &Endpoint,
        method: Method,
        path: &str,
        params: &[(String, String)],
        headers: &HeaderMap,
    ) -> Result<reqwest::Response, CallError> {
        let mut url = format!("{endpoint}/api2/json{path}");
        let query = matches!(method, Method::Get | Method::Delete);
        if query && !params.is_empty() {
            url = format!("{url}?{}", encode(params));
        }
        let mut request = match method {
            Method::Get => self.http.get(url),
            Method::Delete => self.http.delete(url),
            Method::Post => self.http.post(url),
            Method::Put => self.http.put(url),
        };
        request = request.headers(headers.clone());
        if !query {
            const FORM_TYPE: HeaderValue =
                HeaderValue::from_static("application/x-www-form-urlencoded");
            request = request.header(CONTENT_TYPE, FORM_TYPE).body(encode(params));
        }
        request.send().await.map_err(|error| transport_error(endpoint, error))
    }
}

/// A login that came to nothing: the call that it was for has not left, however far
/// the login itself came.
fn before_the_call(error: CallError) -> CallError {
    match error {
        CallError::Auth(_) | CallError::NotSent { .. } | CallError::Certificate { .. } => error,
        CallError::Lost { .. }
        | CallError::Gateway { .. }
        | CallError::Refused { .. }
        | CallError::Decode(_) => CallError::NotSent {
            endpoint: "the cluster: the login failed".into(),
            timed_out: matches!(error, CallError::Lost { timed_out: true, .. }),
            source: Box::new(error),
        },
    }
}

fn transport_error(endpoint: &Endpoint, error: reqwest::Error) -> CallError {
    let endpoint = endpoint.to_string();
    // The address would carry parameters of reads into logs.
    let error = error.without_url();
    if let Some(mismatch) = tls::pin_mismatch(&error) {
        return CallError::Certificate { endpoint, why: mismatch.to_string() };
    }
    if let Some(trouble) = tls::certificate_trouble(&error) {
        return CallError::Certificate { endpoint, why: trouble.to_string() };
    }
    let timed_out = error.is_timeout();
    if error.is_connect() || error.is_builder() {
        CallError::NotSent { endpoint, timed_out, source: Box::new(error) }
    } else {
        CallError::Lost { timed_out, source: Box::new(error) }
    }
}

/// The whole body, within bounds; a body that was cut short is an error.
async fn whole_body(mut response: reqwest::Response) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > RESPONSE_MAX_BYTES => {
                let text = format!("the answer is longer than {RESPONSE_MAX_BYTES} bytes");
                return Err(CallError::Decode(text.into()));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => {
                let timed_out = error.is_timeout();
                return Err(CallError::Lost { timed_out, source: error.without_url().into() });
            }
        }
    }
}

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, CallError> {
    serde_json::from_slice::<wire::Envelope<T>>(body)
        .map(|envelope| envelope.data)
        .map_err(|error| CallError::Decode(error.into()))
}

/// The words of the status line, which up to version 8.3 are the only place where an
/// error is told. The HTTP client keeps them in a type that it does not export, but
/// prints them in its own error: `HTTP status server error (500 VM is locked)`.
fn reason_phrase(response: &reqwest::Response) -> String {
    let Err(error) = response.error_for_status_ref() else { return String::new() };
    let text = error.without_url().to_string();
    let inner = text.split_once('(').map_or("", |(_, rest)| rest);
    let inner = inner.strip_suffix(')').unwrap_or(inner);
    let reason = inner.split_once(' ').map_or("", |(_, reason)| reason);
    let standard = response.status().canonical_reason();
    if standard.is_some_and(|standard| standard == reason) || reason.starts_with('<') {
        // `Internal Server Error` and `<unknown status code>` say nothing.
        return String::new();
    }
    reason.to_owned()
}

/// The server's words: the body's, with the faults of single parameters, else the
/// reason phrase.
pub(super) fn failure_text(body: &[u8], reason: &str) -> String {
    let failure: wire::Failure = serde_json::from_slice(body).unwrap_or_default();
    let message = failure.message.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let mut text = message.unwrap_or(reason).trim().to_owned();
    for (name, fault) in failure.errors.unwrap_or_default() {
        let separator = if text.is_empty() { "" } else { " " };
        text = format!("{text}{separator}{name}: {}", fault.0.trim());
    }
    if let Some((at, _)) = text.char_indices().nth(TEXT_CHARACTERS_MAX) {
        text.truncate(at);
        text.push_str("...");
    }
    text
}

/// Takes secret values out of what the server said: some messages repeat a parameter.
fn without_secrets(error: CallError, params: &[(String, String)], secret: &[&str]) -> CallError {
    let clean = |text: String| {
        let secrets = params
            .iter()
            .filter(|(name, value)| secret.contains(&name.as_str()) && !value.is_empty());
        secrets.fold(text, |text, (_, value)| {
            text.replace(value.as_str(), "****").replace(&segment(value), "****")
        })
    };
    match error {
        CallError::Refused { status, text } => CallError::Refused { status, text: clean(text) },
        CallError::Gateway { status, text } => CallError::Gateway { status, text: clean(text) },
        CallError::Auth(text) => CallError::Auth(clean(text)),
        other @ (CallError::NotSent { .. }
        | CallError::Certificate { .. }
        | CallError::Lost { .. }
        | CallError::Decode(_)) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// A plain server that gives these raw replies, one connection each, and keeps
    /// what it was sent.
    async fn server(replies: &[&str]) -> (Endpoint, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (replies, kept): (Vec<String>, _) =
            (replies.iter().map(|reply| (*reply).to_owned()).collect(), Arc::clone(&seen));
        tokio::spawn(async move {
            for reply in replies {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                loop {
                    let length = stream.read(&mut buffer).await.unwrap();
                    request.extend_from_slice(&buffer[..length]);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let wanted = head
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: "))
                        .map_or(0, |length| length.parse().unwrap());
                    if body.len() >= wanted {
                        kept.lock().await.push(text);
                        break;
                    }
                }
                stream.write_all(reply.as_bytes()).await.unwrap();
                let _ = stream.shutdown().await;
            }
        });
        (Endpoint { host: "127.0.0.1".into(), port, https: false }, seen)
    }

    fn settings(endpoints: Vec<Endpoint>) -> ClientSettings {
        ClientSettings {
            endpoints,
            auth: Auth::Token { id: "nova@pve!plan".into(), secret: "s3cret".into() },
            tls: TlsTrust::InsecureLoopback,
            allowed_hosts: BTreeSet::new(),
            reads_max: 2,
            writes_max: 2,
            patience: TOTAL_TIMEOUT,
        }
    }

    fn client(endpoints: Vec<Endpoint>) -> Client {
        Client::new(settings(endpoints), Clock::system()).unwrap()
    }

    fn reply(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
    }

    async fn post(endpoint: Endpoint) -> Result<serde_json::Value, CallError> {
        client(vec![endpoint]).mutate(0, Method::Post, "/x", &[], &[]).await
    }

    #[tokio::test]
    async fn the_words_of_an_old_server_are_in_its_status_line() {
        let (endpoint, _) = server(&[&reply("500 VM is locked (backup)", "")]).await;
        let error = post(endpoint).await.unwrap_err();
        assert!(
            matches!(&error, CallError::Refused { status: 500, text } if text == "VM is locked (backup)"),
            "{error}"
        );
        let (endpoint, _) = server(&[&reply("500 Internal Server Error", "")]).await;
        let error = post(endpoint).await.unwrap_err();
        assert!(matches!(&error, CallError::Refused { text, .. } if text.is_empty()), "{error}");
        let (endpoint, _) = server(&[&reply("595 No route to host", "")]).await;
        let error = post(endpoint).await.unwrap_err();
        assert!(
            matches!(&error, CallError::Gateway { status: 595, text } if text == "No route to host"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_new_server_s_body_says_more_than_its_status_line() {
        let body = r#"{"data":null,"message":"Parameter verification failed.\n","errors":{"memory":"type check failed\n"}}"#;
        let (endpoint, _) = server(&[&reply("400 Parameter verification failed.", body)]).await;
        let error = post(endpoint).await.unwrap_err().to_string();
        assert!(
            error.ends_with("Parameter verification failed. memory: type check failed"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_answer_that_was_cut_short_is_lost_and_a_wrong_one_is_not_understood() {
        let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"data\":null}";
        let (endpoint, _) = server(&[cut]).await;
        assert!(matches!(post(endpoint).await, Err(CallError::Lost { timed_out: false, .. })));
        for body in ["<html>", "{}", ""] {
            let (endpoint, _) = server(&[&reply("200 OK", body)]).await;
            assert!(matches!(post(endpoint).await, Err(CallError::Decode(_))), "{body}");
        }
        let redirect =
            "HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
        let (endpoint, _) = server(&[redirect]).await;
        assert!(matches!(post(endpoint).await, Err(CallError::Refused { status: 301, .. })));
    }

    /// A server that writes this head, then this piece again and again, until nobody
    /// takes it any more. Says how many bytes it got rid of.
    async fn endless(head: &str, piece: Vec<u8>) -> (Endpoint, tokio::task::JoinHandle<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let head = head.to_owned();
        let sent = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut sent = 0;
            // Ten times the bound is for ever.
            while sent < 10 * RESPONSE_MAX_BYTES && stream.write_all(&piece).await.is_ok() {
                sent += piece.len();
            }
            sent
        });
        (Endpoint { host: "127.0.0.1".into(), port, https: false }, sent)
    }

    /// What lies between two programs of one machine: buffers of sockets.
    const ON_THE_WAY: usize = 32 << 20;

    #[tokio::test]
    async fn an_answer_without_end_is_given_up_at_the_bound() {
        let piece = vec![b' '; 1 << 20];
        for status in ["200 OK", "500 Internal Server Error"] {
            let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n");
            let (endpoint, sent) = endless(&head, piece.clone()).await;
            assert!(post(endpoint).await.is_err());
            let sent = sent.await.unwrap();
            assert!(sent <= RESPONSE_MAX_BYTES + ON_THE_WAY, "{sent} bytes were taken");
        }
    }

    #[tokio::test]
    async fn a_compressed_answer_is_bounded_by_what_it_becomes() {
        use flate2::{Compression, write::GzEncoder};
        use std::io::Write as _;
        // Two hundred megabytes of blanks in two hundred kilobytes.
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        let blanks = vec![b' '; 1 << 20];
        for _ in 0..200 {
            packed.write_all(&blanks).unwrap();
        }
        let packed = packed.finish().unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
            packed.len()
        );
        let (endpoint, _) = endless(&head, packed).await;
        let error = post(endpoint).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, format!("the answer is longer than {RESPONSE_MAX_BYTES} bytes"));
    }

    #[tokio::test]
    async fn an_answer_that_drips_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let endpoint = Endpoint { host: "127.0.0.1".into(), port, https: false };
        let drips = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
            stream.write_all(head).await.unwrap();
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let patience = Duration::from_millis(300);
        let settings = ClientSettings { patience, ..settings(vec![endpoint]) };
        let client = Client::new(settings, Clock::system()).unwrap();
        let error = client.mutate(0, Method::Post, "/x", &[], &[]).await.unwrap_err();
        assert!(matches!(error, CallError::Lost { .. }), "{error}");
        // Whoever drips finds nobody any more.
        drips.await.unwrap();
    }

    #[tokio::test]
    async fn json_that_is_deep_broken_or_no_text_is_not_understood() {
        let deep = format!("{{\"data\":{}", "[".repeat(200_000));
        for body in [&deep, "{\"data\":\"\\ud800\"}", "{\"data\":1e99999}", "{\"data\":\"\u{1}\"}"]
        {
            let (endpoint, _) = server(&[&reply("200 OK", body)]).await;
            let answer = post(endpoint).await;
            assert!(matches!(answer, Err(CallError::Decode(_))), "{body:.40}");
        }
    }

    #[tokio::test]
    async fn long_words_of_a_refusal_are_cut() {
        let body = format!("{{\"message\":\"{}\"}}", "x".repeat(1 << 20));
        let (endpoint, _) = server(&[&reply("400 bad", &body)]).await;
        assert!(post(endpoint).await.unwrap_err().to_string().len() < TEXT_CHARACTERS_MAX + 100);
    }

    #[tokio::test]
    async fn values_are_encoded_whole_and_secrets_do_not_come_back_in_errors() {
        let body = r#"{"message":"cipassword 'p;w=1' is too weak"}"#;
        let (endpoint, seen) = server(&[&reply("400 bad", body)]).await;
        let params = [
            ("cipassword".to_owned(), "p;w=1".to_owned()),
            ("net0".to_owned(), "virtio=AA:BB,bridge=vmbr0+&".to_owned()),
        ];
        let client = client(vec![endpoint]);
        let error =
            client.mutate(0, Method::Post, "/x", &params, &["cipassword"]).await.unwrap_err();
        assert_eq!(error.to_string(), "the server answered 400: cipassword '****' is too weak");
        let seen = seen.lock().await;
        let sent = "cipassword=p%3Bw%3D1&net0=virtio%3DAA%3ABB%2Cbridge%3Dvmbr0%2B%26";
        assert!(seen[0].ends_with(sent), "{}", seen[0]);
        assert!(seen[0].contains("authorization: PVEAPIToken=nova@pve!plan=s3cret"));
        assert!(!format!("{client:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn reads_go_to_the_next_endpoint_and_stay_there_and_mutations_do_not_wander() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = gone.local_addr().unwrap().port();
        drop(gone);
        let dead = Endpoint { host: "127.0.0.1".into(), port, https: false };
        let good = reply("200 OK", r#"{"data":"1"}"#);
        let (alive, _) = server(&[&good, &good]).await;
        let client = client(vec![dead, alive]);
        let lost = client.mutate(client.preferred(), Method::Post, "/x", &[], &[]).await;
        assert!(matches!(lost, Err(CallError::NotSent { timed_out: false, .. })));
        assert_eq!(client.get::<wire::Text>("/version", &[]).await.unwrap().0, "1");
        assert_eq!(client.preferred(), 1);
        assert!(client.mutate(client.preferred(), Method::Post, "/x", &[], &[]).await.is_ok());
    }

    #[tokio::test]
    async fn a_broken_login_means_that_the_call_never_left() {
        let (endpoint, seen) = server(&[&reply("596 Connection timed out", "")]).await;
        let auth = Auth::Password { username: "nova@pve".into(), password: "hunter2".into() };
        let settings = ClientSettings { auth, ..settings(vec![endpoint]) };
        let client = Client::new(settings, Clock::system()).unwrap();
        let error = client.mutate(0, Method::Post, "/x", &[], &[]).await.unwrap_err();
        assert!(matches!(error, CallError::NotSent { .. }), "{error}");
        assert!(seen.lock().await[0].starts_with("POST /api2/json/access/ticket"));
    }

    #[test]
    fn credentials_go_only_to_bound_hosts_and_plain_http_only_to_loopback() {
        let refused = |endpoint: &str, edit: fn(&mut ClientSettings)| {
            let mut settings = settings(vec![Endpoint::parse(endpoint, 8006).unwrap()]);
            edit(&mut settings);
            Client::new(settings, Clock::system()).map(drop).map_err(|error| error.kind())
        };
        let bind = |it: &mut ClientSettings| {
            it.allowed_hosts.insert("pve1.example".into());
        };
        assert_eq!(refused("https://pve1.example", |_| {}), Err(ErrorKind::Trust));
        assert_eq!(refused("https://pve1.example", bind), Ok(()));
        assert_eq!(refused("http://pve1.example", bind), Err(ErrorKind::Trust));
        assert_eq!(refused("http://127.0.0.1", |_| {}), Ok(()));
        let system = |it: &mut ClientSettings| {
            it.tls = TlsTrust::Pins(vec![tls::Fingerprint([0; 32])]);
        };
        assert_eq!(refused("http://127.0.0.1", system), Err(ErrorKind::Trust));
    }
}

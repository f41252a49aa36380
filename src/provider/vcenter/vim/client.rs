//! One vCenter, logged in on demand: one session, reads that are tried again, and
//! mutations that are sent once.
//!
//! Input is a method with its arguments, output the tree that came back or a
//! [`CallError`] that says what the failure proves.

use super::{
    codec::{Codec, DecodeError, Request},
    error::{CallError, Proof},
    fault::{Fault, FaultKind, starred},
    http::{Http, Post, Reply, SettingsError},
    node::Node,
    service::{Service, choose_api, instance},
    soap::{Soap, parse},
    val::{MoRef, Val},
};
use crate::{
    clock::Clock,
    planted::Bug,
    provider::{endpoint::Endpoint, tls::TlsTrust},
};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use reqwest::header::HeaderValue;
use secrecy::SecretString;
use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Mutex, OnceCell, Semaphore};

/// Sessions end after 30 min of rest, or earlier when somebody has set it so. One that
/// rested longer than this is asked whether it lives before anything rests on it.
const PROBE_AFTER: Duration = Duration::from_secs(5 * 60);
/// Nobody waits for the end of a session for long.
const LOGOUT_PATIENCE: Duration = Duration::from_secs(10);
/// Tries of a read after the first: with the pauses below about a second in all,
/// which rides out a restarting service and a dead pooled connection.
const READ_RETRIES_MAX: usize = 3;
const READ_RETRY_FIRST: Duration = Duration::from_millis(50);
const READ_RETRY_LONGEST: Duration = Duration::from_secs(1);
/// A read that took this long is not asked again: four times that would look like
/// hanging.
const READ_RETRY_WITHIN: Duration = Duration::from_secs(10);

/// What a client is made from.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Where it answers.
    pub endpoint: Endpoint,
    /// `user@domain` or `DOMAIN\user`.
    pub username: String,
    /// Its password.
    pub password: SecretString,
    /// Whom to believe.
    pub tls: TlsTrust,
    /// Hosts that may be given the credentials, beside loopback.
    pub allowed_hosts: BTreeSet<String>,
    /// Reads under way at once.
    pub reads_max: usize,
    /// Mutations under way at once.
    pub writes_max: usize,
    /// How long one request may take, however slowly its answer drips.
    pub patience: Duration,
}

/// One vCenter. Ends its session in [`close`](VimClient::close); one that is dropped
/// without that leaves a session behind until the server forgets it.
pub struct VimClient {
    http: Arc<Http>,
    codec: Box<dyn Codec>,
    username: String,
    password: SecretString,
    service: OnceCell<Arc<Service>>,
    session: Mutex<State>,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    clock: Clock,
    requests: AtomicU64,
}

/// What another interface of the same server is spoken to with: the same connections under
/// the same trust, the same credentials, and the same bounds on what is under way at once.
#[derive(Clone)]
pub(in crate::provider::vcenter) struct Door {
    pub http: Arc<Http>,
    pub username: String,
    pub password: SecretString,
    pub reads: Arc<Semaphore>,
    pub writes: Arc<Semaphore>,
    pub clock: Clock,
}

enum State {
    None,
    Live(Arc<Session>),
    /// The session ended; the next login finds out whether it is the same vCenter still.
    Lost,
    /// A wrong password is sent once: more would lock the account.
    Refused(String),
}

/// One login. What is made in it (views, filters, page tokens) dies with it.
pub(super) struct Session {
    cookie: HeaderValue,
    used_ms: AtomicU64,
}

/// The tries that a read has.
pub(in crate::provider::vcenter) struct Tries<'a> {
    clock: &'a Clock,
    begun: Duration,
    pauses: ExponentialBackoff,
}

impl<'a> Tries<'a> {
    /// None was made yet.
    pub fn begin(clock: &'a Clock) -> Self {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(READ_RETRY_FIRST)
            .with_max_delay(READ_RETRY_LONGEST)
            .with_factor(4.0)
            .with_jitter()
            .with_max_times(READ_RETRIES_MAX)
            .build();
        Self { clock, begun: clock.monotonic(), pauses }
    }

    /// Waits before the next try, or gives the error back when there is none that helps.
    pub async fn after(&mut self, error: CallError) -> Result<(), CallError> {
        let spent = self.clock.monotonic().saturating_sub(self.begun);
        match self.pauses.next() {
            Some(pause) if error.read_again_helps() && spent < READ_RETRY_WITHIN => {
                self.clock.sleep(pause).await;
                Ok(())
            }
            Some(_) | None => Err(error),
        }
    }
}

impl fmt::Debug for VimClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VimClient")
            .field("endpoint", self.http.endpoint())
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl VimClient {
    /// A client that has not spoken yet.
    ///
    /// # Errors
    /// When the settings would send the credentials where they must not go.
    pub fn new(settings: ClientSettings, clock: Clock) -> Result<Self, SettingsError> {
        let http = Http::new(
            settings.endpoint,
            &settings.tls,
            &settings.allowed_hosts,
            settings.patience,
        )?;
        Ok(Self {
            http: Arc::new(http),
            codec: Box::new(Soap),
            username: settings.username,
            password: settings.password,
            service: OnceCell::new(),
            session: Mutex::new(State::None),
            reads: Arc::new(Semaphore::new(settings.reads_max.max(1))),
            writes: Arc::new(Semaphore::new(settings.writes_max.max(1))),
            clock,
            requests: AtomicU64::new(0),
        })
    }

    /// Where it answers.
    pub fn endpoint(&self) -> &Endpoint {
        self.http.endpoint()
    }

    /// The way to another interface of this server.
    pub(in crate::provider::vcenter) fn door(&self) -> Door {
        Door {
            http: Arc::clone(&self.http),
            username: self.username.clone(),
            password: self.password.clone(),
            reads: Arc::clone(&self.reads),
            writes: Arc::clone(&self.writes),
            clock: self.clock.clone(),
        }
    }

    /// Who we are, as tasks and events name it.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// How many requests were sent so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// What answers there, asked once and without any credential.
    ///
    /// # Errors
    /// When it does not answer, or is no vCenter.
    pub async fn service(&self) -> Result<Arc<Service>, CallError> {
        self.service.get_or_try_init(|| self.ask_who()).await.cloned()
    }

    /// The server's clock, as it spells it; also proves that the session lives.
    ///
    /// # Errors
    /// As any read.
    pub async fn time(&self, operation: &str) -> Result<String, CallError> {
        let this = instance();
        let method = "CurrentTime";
        let request = Request { method, this: &this, args: &[], operation: Some(operation) };
        let answer = self.read(&request).await?;
        let time = answer.returned().and_then(Node::as_word).map(ToOwned::to_owned);
        time.ok_or_else(|| CallError::Decode("the server tells no time".into()))
    }

    /// A call that changes nothing; tried again a few times when that can help.
    ///
    /// # Errors
    /// Whatever the last try brought.
    pub async fn read(&self, request: &Request<'_>) -> Result<Node, CallError> {
        let mut tries = self.tries();
        loop {
            let answer = {
                // Never closed, so the only error cannot happen; without a permit the
                // bound would be broken for one request, which is the lesser evil.
                let _permit = self.reads.acquire().await.ok();
                self.exchange(request).await
            };
            match answer {
                Ok(node) => return Ok(node),
                Err(error) => tries.after(error).await?,
            }
        }
    }

    fn tries(&self) -> Tries<'_> {
        Tries::begin(&self.clock)
    }

    /// A call that changes something: sent once. It is sent a second time only when the
    /// server has refused the session, which it does before it looks at the call.
    ///
    /// # Errors
    /// [`CallError::proof`] says whether it may have happened all the same.
    pub async fn mutate(&self, request: &Request<'_>) -> Result<Node, CallError> {
        let _permit = self.writes.acquire().await.ok();
        let mut answer = self.exchange(request).await;
        let twice = Bug::PostSentTwice.is_planted() && request.method == "CloneVM_Task";
        if twice && answer.as_ref().is_err_and(|error| error.proof() == Proof::Unknown) {
            answer = self.exchange(request).await;
        }
        answer
    }

    /// Ends the session. Errors are of no use to anyone and are swallowed.
    pub async fn close(&self) {
        let session = {
            let mut state = self.session.lock().await;
            let State::Live(session) = &*state else { return };
            let session = Arc::clone(session);
            *state = State::Lost;
            session
        };
        let Ok(this) = self.part("sessionManager").await else { return };
        let request = Request { method: "Logout", this: &this, args: &[], operation: None };
        let _ = self.send(&request, Some(&session), Some(LOGOUT_PATIENCE)).await;
    }

    /// One of the parts of the service.
    pub(super) async fn part(&self, name: &str) -> Result<MoRef, CallError> {
        self.service().await?.part(name)
    }

    /// Waits as the clock does.
    pub(super) async fn pause(&self, pause: Duration) {
        self.clock.sleep(pause).await;
    }

    /// A read within this session and no other, tried once: for whatever rests on things
    /// that live as long as the session.
    pub(super) async fn read_in(
        &self,
        session: &Session,
        request: &Request<'_>,
    ) -> Result<Node, CallError> {
        let _permit = self.reads.acquire().await.ok();
        self.send(request, Some(session), None).await
    }

    /// The session to use: the present one, when it lives, or a new one. The lock is held
    /// over probe and login, so that many requests cause one.
    pub(super) async fn session(&self) -> Result<Arc<Session>, CallError> {
        let mut state = self.session.lock().await;
        let endpoint = || self.http.endpoint().to_string();
        if let State::Live(session) = &*state {
            let session = Arc::clone(session);
            match self.lives(&session).await {
                Ok(true) => return Ok(session),
                Ok(false) => *state = State::Lost,
                Err(error) => return Err(error.before_the_call(&endpoint())),
            }
        }
        if let State::Refused(why) = &*state {
            return Err(CallError::Auth(why.clone()));
        }
        let again = matches!(*state, State::Lost);
        match self.log_in(again).await {
            Ok(session) => {
                let session = Arc::new(session);
                *state = State::Live(Arc::clone(&session));
                Ok(session)
            }
            Err(error) => {
                if let CallError::Auth(why) = &error {
                    *state = State::Refused(why.clone());
                }
                Err(error.before_the_call(&endpoint()))
            }
        }
    }

    /// Drops a session that the server does not know any more.
    pub(super) async fn forget(&self, refused: &Arc<Session>) {
        let mut state = self.session.lock().await;
        // Another request may have logged in again already.
        if matches!(&*state, State::Live(session) if Arc::ptr_eq(session, refused)) {
            *state = State::Lost;
        }
    }

    /// One call with the session; one that was refused is replaced once.
    async fn exchange(&self, request: &Request<'_>) -> Result<Node, CallError> {
        let session = self.session().await?;
        match self.send(request, Some(&session), None).await {
            Err(error) if error.is_fault(&FaultKind::NotAuthenticated) => {
                self.forget(&session).await;
                let session = self.session().await?;
                self.send(request, Some(&session), None).await
            }
            answer => answer,
        }
    }

    async fn lives(&self, session: &Session) -> Result<bool, CallError> {
        let now_ms = milliseconds(self.clock.monotonic());
        let rested_ms = now_ms.saturating_sub(session.used_ms.load(Ordering::Relaxed));
        if rested_ms < milliseconds(PROBE_AFTER) {
            return Ok(true);
        }
        let this = instance();
        let probe = Request { method: "CurrentTime", this: &this, args: &[], operation: None };
        match self.send(&probe, Some(session), None).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_fault(&FaultKind::NotAuthenticated) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Asks the service who it is; tried again as any read is.
    async fn ask_who(&self) -> Result<Arc<Service>, CallError> {
        let mut tries = self.tries();
        loop {
            match self.introduce().await {
                Ok(service) => return Ok(service),
                Err(error) => tries.after(error).await?,
            }
        }
    }

    async fn introduce(&self) -> Result<Arc<Service>, CallError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let reply = self.http.get("/sdk/vimServiceVersions.xml").await?;
        let api = match reply.status {
            200 => parse(&reply.body).ok().as_ref().and_then(choose_api),
            502..=504 => return Err(gateway(reply.status)),
            _ => None,
        };
        let no_list = || CallError::Identity("no vCenter answers there: no versions".into());
        let api = api.ok_or_else(no_list)?;
        self.content(&api).await.map(Arc::new)
    }

    async fn content(&self, api: &str) -> Result<Service, CallError> {
        let this = instance();
        let method = "RetrieveServiceContent";
        let request = Request { method, this: &this, args: &[], operation: None };
        let reply = self.post(api, &request, None, None).await?;
        let answer = self.decode(&request, &reply)?;
        let none = || CallError::Decode("the service has no content".into());
        Service::read(api, answer.into_returned().ok_or_else(none)?)
    }

    /// A new session. `again` when there was one before: another vCenter may answer under
    /// this name by now, to which our references mean other things.
    async fn log_in(&self, again: bool) -> Result<Session, CallError> {
        let service = self.service().await?;
        if again {
            let present = self.content(&service.api).await?;
            if present.instance_uuid != service.instance_uuid {
                let text = format!(
                    "another vCenter answers: `{}` was `{}` before",
                    present.instance_uuid, service.instance_uuid
                );
                return Err(CallError::Identity(text));
            }
        }
        let this = service.part("sessionManager")?;
        let args = [
            ("userName", self.username.as_str().into()),
            ("password", Val::secret(self.password.clone())),
            ("locale", "en_US".into()),
        ];
        let request = Request { method: "Login", this: &this, args: &args, operation: None };
        let reply = self.post(&service.api, &request, None, None).await?;
        match self.decode(&request, &reply) {
            Ok(_) => {}
            Err(CallError::Fault(fault)) if is_no(&fault) => {
                return Err(CallError::Auth(fault.to_string()));
            }
            Err(error) => return Err(error),
        }
        let no_cookie = || CallError::Decode("the login brought no session".into());
        let cookie = reply.cookie.ok_or_else(no_cookie)?;
        let used_ms = AtomicU64::new(milliseconds(self.clock.monotonic()));
        Ok(Session { cookie, used_ms })
    }

    async fn send(
        &self,
        request: &Request<'_>,
        session: Option<&Session>,
        patience: Option<Duration>,
    ) -> Result<Node, CallError> {
        let service = self.service().await?;
        let reply = self.post(&service.api, request, session, patience).await?;
        if let Some(session) = session {
            // Whatever it says, the server has looked at the session.
            session.used_ms.store(milliseconds(self.clock.monotonic()), Ordering::Relaxed);
        }
        self.decode(request, &reply)
    }

    async fn post(
        &self,
        api: &str,
        request: &Request<'_>,
        session: Option<&Session>,
        patience: Option<Duration>,
    ) -> Result<Reply, CallError> {
        let body = self.codec.encode(request)?;
        let post = Post {
            content_type: self.codec.content_type(),
            action: &format!("urn:vim25/{api}"),
            cookie: session.map(|session| &session.cookie),
            patience,
        };
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.http.post(body, &post).await
    }

    fn decode(&self, request: &Request<'_>, reply: &Reply) -> Result<Node, CallError> {
        match self.codec.decode(request.method, reply.status, &reply.body) {
            Ok(node) => Ok(node),
            Err(DecodeError::Fault(fault)) => {
                let mut secrets = Vec::new();
                request.args.iter().for_each(|(_, value)| value.secrets(&mut secrets));
                Err(CallError::Fault(Box::new(fault.without(&secrets))))
            }
            Err(DecodeError::Unreadable(_)) if reply.status != 200 => Err(gateway(reply.status)),
            Err(DecodeError::Unreadable(why)) => {
                let mut secrets = Vec::new();
                request.args.iter().for_each(|(_, value)| value.secrets(&mut secrets));
                Err(CallError::Decode(starred(&why, &secrets).into()))
            }
        }
    }
}

/// Whether a login was refused for what it is, so that another one brings the same.
fn is_no(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::InvalidLogin | FaultKind::NoPermission)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The pages of proxies say nothing that the status does not.
fn gateway(status: u16) -> CallError {
    let text = match status {
        503 => "the service is starting, or has no room for another session",
        502 | 504 => "the service behind it does not answer",
        _ => "not an answer of the service",
    };
    CallError::Gateway { status, text: text.into() }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

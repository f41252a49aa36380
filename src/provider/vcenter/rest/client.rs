//! One session of the JSON interface, made when something is first asked and ended with
//! the provider: reads that are tried again, and changes that are sent once.

use super::wire::{self, Ask, Form};
use crate::{
    model::{ErrorKind, ProviderError, Refusal, RefusalKind, Retry},
    provider::vcenter::vim::{
        CallError, Proof,
        client::{Door, Tries},
        http::{Ask as Sent, Reply},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{
    Method,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use std::{fmt, sync::Arc, time::Duration};
use tokio::sync::{Mutex, OnceCell};

/// The header that carries the session.
const SESSION: &str = "vmware-api-session-id";
/// Nobody waits for the end of a session for long.
const LOGOUT_PATIENCE: Duration = Duration::from_secs(10);

/// Why a call brought no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// It did not come as far as the service.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A question was given up inside of novahost.
    #[error("a question about tags ended before its answer: that is a mistake in novahost")]
    Broken,
    /// The service said no, so that nothing happened.
    #[error("the server refused ({status}{}{kind}){}{text}", if kind.is_empty() { "" } else { ", " }, if text.is_empty() { "" } else { ": " })]
    Refused {
        /// Its status.
        status: u16,
        /// What kind of error it names; empty when it names none.
        kind: String,
        /// Its words.
        text: String,
    },
}

impl RestError {
    /// What this failure proves of a call that changes something.
    pub fn proof(&self) -> Proof {
        match self {
            RestError::Call(error) => error.proof(),
            RestError::Refused { .. } => Proof::Refused,
            // Only questions are given up.
            RestError::Broken => Proof::NotSent,
        }
    }

    /// Whether what was asked for does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self, RestError::Refused { status: 404, .. })
    }

    /// Whether the session is no good.
    fn is_unauthenticated(&self) -> bool {
        matches!(self, RestError::Refused { status: 401, .. })
    }

    /// A refusal in the words of the contract.
    pub fn refusal(&self) -> Refusal {
        let text = crate::provider::failure::joined(self);
        let kind = match self {
            RestError::Refused { status: 401, .. } | RestError::Call(_) => RefusalKind::Auth,
            RestError::Refused { status: 403, .. } => RefusalKind::Permission,
            RestError::Refused { status: 404, .. } => RefusalKind::Missing,
            // Somebody else was faster: a look says whether it is what was wanted.
            RestError::Refused { kind, .. } if kind == "ALREADY_EXISTS" => RefusalKind::Conflict,
            RestError::Refused { kind, .. } if kind == "UNAUTHORIZED" => RefusalKind::Permission,
            RestError::Refused { .. } | RestError::Broken => RefusalKind::Invalid,
        };
        Refusal { kind, text }
    }

    /// This error as the contract of providers spells it.
    pub fn into_provider(self, operation: impl Into<String>) -> ProviderError {
        let kind = match &self {
            RestError::Call(_) => None,
            RestError::Broken => Some(ErrorKind::Decode),
            RestError::Refused { .. } => Some(match self.refusal().kind {
                RefusalKind::Auth => ErrorKind::Auth,
                RefusalKind::Permission => ErrorKind::Permission,
                RefusalKind::Conflict
                | RefusalKind::Busy
                | RefusalKind::Exists
                | RefusalKind::Missing
                | RefusalKind::GuestDeaf
                | RefusalKind::Invalid => ErrorKind::Refused,
            }),
        };
        match (self, kind) {
            (RestError::Call(error), _) => error.into_provider(operation),
            (error, kind) => ProviderError {
                operation: operation.into(),
                kind: kind.unwrap_or(ErrorKind::Refused),
                retry: Retry::No,
                source: Box::new(error),
            },
        }
    }
}

/// One vCenter, by its JSON interface.
pub struct RestClient {
    door: Door,
    form: OnceCell<Form>,
    session: Mutex<State>,
}

enum State {
    None,
    Live(Arc<HeaderValue>),
    /// A wrong password is sent once: more would lock the account.
    Refused(String),
}

impl fmt::Debug for RestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestClient")
            .field("endpoint", self.door.http.endpoint())
            .finish_non_exhaustive()
    }
}

impl RestClient {
    /// A client that has not spoken yet.
    pub fn new(door: Door) -> Self {
        Self { door, form: OnceCell::new(), session: Mutex::new(State::None) }
    }

    /// Asks something; tried again a few times when that can help.
    pub async fn read<T: DeserializeOwned>(&self, ask: &Ask) -> Result<T, RestError> {
        let mut tries = Tries::begin(&self.door.clock);
        loop {
            let answer = {
                // Never closed; see the other interface.
                let _permit = self.door.reads.acquire().await.ok();
                self.exchange(ask).await
            };
            match answer {
                Ok((form, reply)) => {
                    let decoded = wire::read(form, &reply.body);
                    return decoded.map_err(|error| CallError::Decode(error.into()).into());
                }
                Err(RestError::Call(error)) => tries.after(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Changes something: sent once, and a second time only when the server has refused
    /// the session, which it does before it looks at the call.
    pub async fn change(&self, ask: &Ask) -> Result<(), RestError> {
        let _permit = self.door.writes.acquire().await.ok();
        self.exchange(ask).await.map(drop)
    }

    /// Ends the session. Errors are of no use to anyone and are swallowed.
    pub async fn close(&self) {
        let mut state = self.session.lock().await;
        let State::Live(session) = std::mem::replace(&mut *state, State::None) else { return };
        let Some(form) = self.form.get() else { return };
        let ask = Sent {
            method: Method::DELETE,
            path: form.session(),
            headers: with(SESSION, &session),
            body: None,
            patience: Some(LOGOUT_PATIENCE),
        };
        let _ = self.door.http.ask(ask).await;
    }

    async fn exchange(&self, ask: &Ask) -> Result<(Form, Reply), RestError> {
        if !ask.is_sound() {
            return Err(CallError::Decode("the server told an id that is none".into()).into());
        }
        let (form, session) = self.session().await?;
        match self.send(ask, form, &session).await {
            Err(error) if error.is_unauthenticated() => {
                self.forget(&session).await;
                let (form, session) = self.session().await?;
                Ok((form, self.send(ask, form, &session).await?))
            }
            answer => Ok((form, answer?)),
        }
    }

    async fn send(&self, ask: &Ask, form: Form, session: &HeaderValue) -> Result<Reply, RestError> {
        let written = ask.write(form);
        let sent = Sent {
            method: if written.post { Method::POST } else { Method::GET },
            path: &written.path,
            headers: with(SESSION, session),
            body: written.body.map(|body| body.to_string().into_bytes()),
            patience: None,
        };
        judge(self.door.http.ask(sent).await?)
    }

    /// The session to use, with the form that the server speaks. The lock is held over the
    /// login, so that many requests cause one.
    async fn session(&self) -> Result<(Form, Arc<HeaderValue>), RestError> {
        let mut state = self.session.lock().await;
        match &*state {
            State::Live(session) => {
                let form = self.form.get().copied().unwrap_or(Form::Api);
                return Ok((form, Arc::clone(session)));
            }
            State::Refused(why) => return Err(CallError::Auth(why.clone()).into()),
            State::None => {}
        }
        let endpoint = self.door.http.endpoint().to_string();
        match self.log_in().await {
            Ok((form, session)) => {
                let _ = self.form.set(form);
                let session = Arc::new(session);
                *state = State::Live(Arc::clone(&session));
                Ok((form, session))
            }
            Err(RestError::Refused { status: 401, text, .. }) => {
                let why = match text.is_empty() {
                    true => "the JSON interface takes no such user or password".to_owned(),
                    false => text,
                };
                *state = State::Refused(why.clone());
                Err(CallError::Auth(why).into())
            }
            // What it was for has not left, however far the login came.
            Err(RestError::Call(error)) => Err(error.before_the_call(&endpoint).into()),
            Err(error) => Err(error),
        }
    }

    async fn forget(&self, refused: &Arc<HeaderValue>) {
        let mut state = self.session.lock().await;
        // Another request may have logged in again already.
        if matches!(&*state, State::Live(session) if Arc::ptr_eq(session, refused)) {
            *state = State::None;
        }
    }

    /// A new session, in the newer form where there is one.
    async fn log_in(&self) -> Result<(Form, HeaderValue), RestError> {
        if let Some(form) = self.form.get() {
            return Ok((*form, self.log_in_by(*form).await?));
        }
        match self.log_in_by(Form::Api).await {
            Err(error) if error.is_missing() => Ok((Form::Rest, self.log_in_by(Form::Rest).await?)),
            answer => Ok((Form::Api, answer?)),
        }
    }

    async fn log_in_by(&self, form: Form) -> Result<HeaderValue, RestError> {
        let Door { username, password, .. } = &self.door;
        let secret = STANDARD.encode(format!("{username}:{}", password.expose_secret()));
        let unsendable = |_| CallError::Decode("the session cannot be sent in a header".into());
        let basic = HeaderValue::from_str(&format!("Basic {secret}")).map_err(unsendable)?;
        let ask = Sent {
            method: Method::POST,
            path: form.session(),
            headers: with(AUTHORIZATION.as_str(), &basic),
            body: None,
            patience: None,
        };
        let reply = judge(self.door.http.ask(ask).await?)?;
        let token: String =
            wire::read(form, &reply.body).map_err(|error| CallError::Decode(error.into()))?;
        let mut session = HeaderValue::from_str(&token).map_err(unsendable)?;
        session.set_sensitive(true);
        Ok(session)
    }
}

fn with(name: &'static str, value: &HeaderValue) -> HeaderMap {
    let mut value = value.clone();
    value.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(name, value);
    headers
}

/// A reply by its status. What the service itself says no to did not happen; what stands
/// before it, or broke in it, proves nothing.
fn judge(reply: Reply) -> Result<Reply, RestError> {
    match reply.status {
        200..=299 => Ok(reply),
        400..=499 => {
            let (kind, text) = wire::trouble(&reply.body);
            Err(RestError::Refused { status: reply.status, kind, text })
        }
        status => {
            let text = match status {
                503 => "the service is starting, or has no room for another session",
                _ => "the service behind it does not answer as it should",
            };
            Err(CallError::Gateway { status, text: text.to_owned() }.into())
        }
    }
}

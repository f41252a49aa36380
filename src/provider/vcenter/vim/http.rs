//! HTTP to one vCenter: whom it trusts, and how much it waits for and takes.
//!
//! Input is a body, output a reply or a [`CallError`] that says how far the request
//! came. Nothing is tried again here.

use super::error::CallError;
use crate::{
    model::ErrorKind,
    provider::{
        endpoint::Endpoint,
        tls::{self, TlsTrust},
    },
};
use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use std::{collections::BTreeSet, time::Duration};

/// A LAN or VPN connects in milliseconds; a dead server must not cost more than this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than the pauses inside of one piece of work, shorter than the servers and
/// firewalls on the way keep a connection that nobody uses.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// A page of 500 machines with all their devices has about 10 MB: enough, and a bound.
const RESPONSE_MAX_BYTES: usize = 64 << 20;
/// The cookie of the service; others are nobody's business here.
const COOKIE_NAME: &[u8] = b"vmware_soap_session=";

/// Settings that would send a credential where it must not go, or that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The host may not have the credentials.
    #[error("trust settings do not bind host `{0}` to this hypervisor")]
    Host(String),
    /// Plain HTTP to somewhere else.
    #[error("`{0}` is not encrypted, which is possible only on loopback and when asked for")]
    Plain(Endpoint),
    /// Trust that cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The HTTP library refuses.
    #[error("could not set up an HTTP client")]
    Http(#[source] reqwest::Error),
}

impl SettingsError {
    /// What kind of trouble.
    pub fn kind(&self) -> ErrorKind {
        match self {
            SettingsError::Host(_) | SettingsError::Plain(_) => ErrorKind::Trust,
            SettingsError::Tls(_) => ErrorKind::Certificate,
            SettingsError::Http(_) => ErrorKind::Unreachable,
        }
    }
}

/// One server.
#[derive(Debug)]
pub(in crate::provider::vcenter) struct Http {
    client: reqwest::Client,
    endpoint: Endpoint,
}

/// What came back.
pub(in crate::provider::vcenter) struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
    /// The session, as the server spelt it.
    pub cookie: Option<HeaderValue>,
}

/// One request to another interface of the same server.
pub(in crate::provider::vcenter) struct Ask<'a> {
    pub method: reqwest::Method,
    /// Path and query.
    pub path: &'a str,
    pub headers: HeaderMap,
    /// JSON.
    pub body: Option<Vec<u8>>,
    /// Instead of the usual patience.
    pub patience: Option<Duration>,
}

/// What goes out, beside the body.
pub(super) struct Post<'a> {
    pub content_type: &'static str,
    /// Which version of the interface is spoken.
    pub action: &'a str,
    pub cookie: Option<&'a HeaderValue>,
    /// Instead of the usual patience.
    pub patience: Option<Duration>,
}

impl Http {
    pub fn new(
        endpoint: Endpoint,
        trust: &TlsTrust,
        allowed_hosts: &BTreeSet<String>,
        patience: Duration,
    ) -> Result<Self, SettingsError> {
        let loopback = tls::is_loopback(&endpoint.host);
        if !loopback && !allowed_hosts.contains(&endpoint.host) {
            return Err(SettingsError::Host(endpoint.host));
        }
        let unencrypted_is_fine = loopback && matches!(trust, TlsTrust::InsecureLoopback);
        if !(endpoint.https || unencrypted_is_fine) {
            return Err(SettingsError::Plain(endpoint));
        }
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(trust, &["http/1.1"])?)
            .http1_only()
            .gzip(true)
            // A redirect would carry the credentials to wherever it points.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(patience)
            .pool_idle_timeout(IDLE_TIMEOUT)
            // It shows in the server's list of sessions.
            .user_agent(concat!("novahost/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(SettingsError::Http)?;
        Ok(Self { client, endpoint })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Reads a file of the service, without any credential.
    pub async fn get(&self, path: &str) -> Result<Reply, CallError> {
        let request = self.client.get(format!("{}{path}", self.endpoint));
        self.reply(request).await
    }

    /// Sends one call, once.
    pub(in crate::provider::vcenter::vim) async fn post(
        &self,
        body: Vec<u8>,
        post: &Post<'_>,
    ) -> Result<Reply, CallError> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(post.content_type));
        let action = HeaderValue::from_str(post.action)
            .map_err(|_| CallError::Identity("the server's version is no version".into()))?;
        headers.insert("SOAPAction", action);
        if let Some(cookie) = post.cookie {
            headers.insert(COOKIE, cookie.clone());
        }
        let url = format!("{}/sdk", self.endpoint);
        let mut request = self.client.post(url).headers(headers).body(body);
        if let Some(patience) = post.patience {
            request = request.timeout(patience);
        }
        self.reply(request).await
    }

    /// Sends one request of another interface, once.
    pub async fn ask(&self, ask: Ask<'_>) -> Result<Reply, CallError> {
        let url = format!("{}{}", self.endpoint, ask.path);
        let mut request = self.client.request(ask.method, url).headers(ask.headers);
        if let Some(body) = ask.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        if let Some(patience) = ask.patience {
            request = request.timeout(patience);
        }
        self.reply(request).await
    }

    async fn reply(&self, request: reqwest::RequestBuilder) -> Result<Reply, CallError> {
        let response = request.send().await.map_err(|error| self.trouble(error))?;
        let status = response.status().as_u16();
        let cookie = response.headers().get_all(SET_COOKIE).iter().find_map(session_cookie);
        Ok(Reply { status, cookie, body: whole_body(response).await? })
    }

    fn trouble(&self, error: reqwest::Error) -> CallError {
        let endpoint = self.endpoint.to_string();
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
}

/// Name and value, byte for byte: real servers put the value in quotes and want it back
/// so. What follows (path, flags) is for browsers.
fn session_cookie(header: &HeaderValue) -> Option<HeaderValue> {
    let pair = header.as_bytes().split(|byte| *byte == b';').next()?;
    let pair = pair.trim_ascii();
    if !pair.starts_with(COOKIE_NAME) || pair.len() == COOKIE_NAME.len() {
        return None;
    }
    let mut cookie = HeaderValue::from_bytes(pair).ok()?;
    cookie.set_sensitive(true);
    Some(cookie)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_kept_byte_for_byte_and_shown_to_nobody() {
        let cookie = |text: &str| session_cookie(&HeaderValue::from_str(text).unwrap());
        let kept = cookie("vmware_soap_session=\"a b/=\"; Path=/; HttpOnly; Secure").unwrap();
        assert_eq!(kept.as_bytes(), b"vmware_soap_session=\"a b/=\"");
        assert!(!format!("{kept:?}").contains("a b"));
        assert!(cookie("vmware_client=VMware").is_none());
        assert!(cookie("vmware_soap_session=; Path=/").is_none());
    }

    #[test]
    fn credentials_go_only_to_bound_hosts_and_plain_http_only_to_loopback() {
        let refused = |endpoint: &str, trust: TlsTrust, allowed: &[&str]| {
            let allowed = allowed.iter().map(|it| (*it).to_owned()).collect();
            let endpoint = Endpoint::parse(endpoint, 443).unwrap();
            let made = Http::new(endpoint, &trust, &allowed, Duration::from_secs(1));
            made.map(drop).map_err(|error| error.kind())
        };
        let insecure = || TlsTrust::InsecureLoopback;
        let pin = || TlsTrust::Pins(vec![tls::Fingerprint([0; 32])]);
        let vc = "https://vc.example";
        assert_eq!(refused(vc, insecure(), &[]), Err(ErrorKind::Trust));
        assert_eq!(refused(vc, insecure(), &["vc.example"]), Ok(()));
        assert_eq!(
            refused("http://vc.example", insecure(), &["vc.example"]),
            Err(ErrorKind::Trust)
        );
        assert_eq!(refused("http://127.0.0.1", insecure(), &[]), Ok(()));
        assert_eq!(refused("http://127.0.0.1", pin(), &[]), Err(ErrorKind::Trust));
    }
}

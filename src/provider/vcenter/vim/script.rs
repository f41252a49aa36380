//! A server for tests that answers what it was told to, one call after the other.

use super::client::{ClientSettings, VimClient};
use crate::{
    clock::Clock,
    provider::{endpoint::Endpoint, tls::TlsTrust},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// One answer.
pub enum Say {
    /// The inside of the response to the method that was called.
    Returns(String),
    /// The same, with a session.
    Session(&'static str),
    /// A fault of this type with these fields.
    Fault(&'static str, &'static str),
    /// The connection ends after the request was read.
    Nothing,
    /// Another status and body.
    Status(u16, &'static str),
}

pub struct Script {
    pub endpoint: Endpoint,
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl Script {
    /// One that hears nothing.
    pub fn of(endpoint: Endpoint) -> Self {
        Self { endpoint, seen: Arc::default() }
    }

    /// The methods that were called, in order, each with the session that came along.
    pub fn called(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(called, _)| called.clone()).collect()
    }

    /// The whole requests.
    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(_, text)| text.clone()).collect()
    }

    pub fn client(&self) -> VimClient {
        self.client_at(Clock::system())
    }

    pub fn client_at(&self, clock: Clock) -> VimClient {
        let settings = ClientSettings {
            endpoint: self.endpoint.clone(),
            username: "nova@vsphere.local".into(),
            password: "hunter2".into(),
            tls: TlsTrust::InsecureLoopback,
            allowed_hosts: BTreeSet::new(),
            reads_max: 2,
            writes_max: 2,
            patience: Duration::from_secs(20),
        };
        VimClient::new(settings, clock).unwrap()
    }
}

pub const VERSIONS: &str = "<namespaces><namespace><name>urn:vim25</name><version>8.0.3.0</version>\
    <priorVersions><version>6.7</version></priorVersions></namespace></namespaces>";

/// What a vCenter says of itself.
pub fn content(uuid: &str) -> Say {
    Say::Returns(format!(
        "<returnval><rootFolder type=\"Folder\">group-d1</rootFolder>\
         <propertyCollector type=\"PropertyCollector\">pc</propertyCollector>\
         <viewManager type=\"ViewManager\">vm</viewManager>\
         <about><fullName>It</fullName><apiType>VirtualCenter</apiType>\
         <instanceUuid>{uuid}</instanceUuid></about>\
         <sessionManager type=\"SessionManager\">sm</sessionManager></returnval>"
    ))
}

/// A server that introduces itself, gives a first session `one`, and then says these.
pub async fn after_login(steps: Vec<Say>) -> Script {
    let mut all = vec![Say::Status(200, VERSIONS), content("u-1"), Say::Session("one")];
    all.extend(steps);
    script(all).await
}

/// The calls of a login, as [`Script::called`] tells them.
pub const LOGIN: [&str; 3] = ["GET", "RetrieveServiceContent", "Login"];

pub async fn script(steps: Vec<Say>) -> Script {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        for step in steps {
            let (mut stream, _) = listener.accept().await.unwrap();
            let text = request(&mut stream).await;
            let method = method(&text);
            let session = text.lines().find_map(|line| line.strip_prefix("cookie: "));
            let session = session.map_or(String::new(), |it| format!(" {it}"));
            kept.lock().unwrap().push((format!("{method}{session}"), text));
            let _ = stream.write_all(reply(&step, &method).as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    Script { endpoint: Endpoint { host: "127.0.0.1".into(), port, https: false }, seen }
}

async fn request(stream: &mut TcpStream) -> String {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut buffer).await.unwrap();
        request.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let wanted = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= wanted.map_or(0, |length| length.parse().unwrap()) {
            return text;
        }
    }
}

fn method(text: &str) -> String {
    match text.split_once("<soapenv:Body><") {
        Some((_, rest)) => rest.split([' ', '>']).next().unwrap().to_owned(),
        None => text.split(' ').next().unwrap().to_owned(),
    }
}

fn reply(step: &Say, method: &str) -> String {
    let soap = |inner: &str| {
        format!(
            "<Envelope xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><Body>{inner}\
             </Body></Envelope>"
        )
    };
    let response = |inner: &str| soap(&format!("<{method}Response>{inner}</{method}Response>"));
    let (status, headers, body) = match step {
        Say::Returns(inner) => (200, String::new(), response(inner)),
        Say::Session(value) => {
            let header = format!("set-cookie: vmware_soap_session=\"{value}\"; Path=/; Secure\r\n");
            (200, header, response("<returnval><key>k</key></returnval>"))
        }
        Say::Fault(kind, fields) => {
            let fault = format!(
                "<Fault><faultcode>ServerFaultCode</faultcode><faultstring>no</faultstring>\
                 <detail><{kind}Fault xsi:type=\"{kind}\">{fields}</{kind}Fault></detail></Fault>"
            );
            (500, String::new(), soap(&fault))
        }
        Say::Nothing => return String::new(),
        Say::Status(status, body) => (*status, String::new(), (*body).to_owned()),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

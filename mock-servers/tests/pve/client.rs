//! A plain client: one connection per request, nothing hidden.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::ext::ReasonPhrase;
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use mock_servers::pve::{Control, Options, Release, Server, World, serve};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio_rustls::TlsConnector;

pub const RELEASES: [Release; 2] = [Release::V8_4, Release::V9_2];
pub const FIXTURE: &str = include_str!("../../../fixtures/worlds/proxmox.yaml");
const TOKEN: &str = "novahost@pve!sandbox=00000000-0000-4000-8000-00000000a11a";

/// A cluster with a client for it.
pub struct Cluster {
    pub server: Server,
    pub api: Api,
    pub control: Control,
}

#[derive(Clone)]
pub struct Api {
    address: String,
    connector: TlsConnector,
    pub headers: Vec<(String, String)>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub reason: String,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Reply {
    pub fn data(&self) -> &Value {
        assert_eq!(self.status, 200, "{self:?}");
        &self.body["data"]
    }

    pub fn text(&self) -> String {
        self.data().as_str().expect("a string").to_owned()
    }

    /// Asserts a refusal.
    pub fn refused(&self, status: u16, text: &str) {
        let all = format!("{} {}", self.reason, self.body);
        assert!(
            self.status == status && all.contains(text),
            "wanted {status} {text}, got {self:?}"
        );
    }
}

pub fn world() -> World {
    let mut world = World::from_yaml(FIXTURE).expect("the fixture is a world");
    // These tests call more than the account of the fixture needs.
    let more = ["VM.GuestAgent.Audit", "VM.Migrate", "VM.Monitor", "VM.Snapshot"];
    for role in world.access.custom_roles.values_mut() {
        role.extend(more.map(str::to_owned));
    }
    world
}

/// Options for a test; with `NOVAHOST_CONTRACTS` set, every exchange is kept in that folder.
pub fn options(release: Release) -> Options {
    let mut options = Options::new(release, 7);
    if let Some(folder) = std::env::var_os("NOVAHOST_CONTRACTS") {
        let name = match release {
            Release::V8_4 => "8.4-server-simulator.jsonl",
            Release::V9_2 => "9.2-server-simulator.jsonl",
        };
        options.record = Some(PathBuf::from(folder).join(name));
    }
    options
}

pub async fn cluster(release: Release) -> Cluster {
    start(world(), options(release)).await
}

pub async fn start(world: World, options: Options) -> Cluster {
    let server = serve(world, options).await.expect("a server");
    let api = Api::new(&server);
    let control = server.control();
    Cluster { server, api, control }
}

impl Api {
    pub fn new(server: &Server) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(server.ca_pem().as_bytes()).expect("a certificate");
        roots.add(ca).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            address: server.endpoint().trim_start_matches("https://").to_owned(),
            connector: TlsConnector::from(Arc::new(config)),
            headers: vec![("Authorization".to_owned(), format!("PVEAPIToken={TOKEN}"))],
        }
    }

    /// The same client with other credentials.
    pub fn with(&self, headers: &[(&str, &str)]) -> Self {
        let headers =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { headers, ..self.clone() }
    }

    pub fn token(&self, token: &str) -> Self {
        self.with(&[("Authorization", &format!("PVEAPIToken={token}"))])
    }

    pub async fn send(&self, method: &str, path: &str, body: &str) -> Result<Reply, String> {
        let stream = tokio::net::TcpStream::connect(&self.address)
            .await
            .map_err(|error| error.to_string())?;
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let stream =
            self.connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api2/json{path}"))
            .header("Host", "pve");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if !body.is_empty() {
            let kind = if body.starts_with('{') {
                "application/json"
            } else {
                "application/x-www-form-urlencoded"
            };
            request = request.header("Content-Type", kind);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).expect("a request");
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        Self::read(response).await
    }

    /// A raw TLS connection, for what a well-behaved client would not do.
    pub async fn raw(&self) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        let stream = tokio::net::TcpStream::connect(&self.address).await.expect("a connection");
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        self.connector.connect(name, stream).await.expect("TLS")
    }

    async fn read(response: Response<hyper::body::Incoming>) -> Result<Reply, String> {
        let (head, body) = response.into_parts();
        let mut bytes =
            body.collect().await.map_err(|error| error.to_string())?.to_bytes().to_vec();
        if head.headers.get("content-encoding").is_some_and(|value| value == "gzip") {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut plain).expect("gzip");
            bytes = plain;
        }
        let reason = head.extensions.get::<ReasonPhrase>().map_or_else(String::new, |reason| {
            String::from_utf8_lossy(reason.as_bytes()).into_owned()
        });
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Reply { status: head.status.as_u16(), reason, headers: head.headers, body })
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "").await.expect("a reply")
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, "").await.expect("a reply")
    }

    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Reply {
        self.send("POST", path, &encode(form)).await.expect("a reply")
    }

    pub async fn put(&self, path: &str, form: &[(&str, &str)]) -> Reply {
        self.send("PUT", path, &encode(form)).await.expect("a reply")
    }

    /// Follows a task to its end and returns its exit status.
    pub async fn wait(&self, upid: &str) -> String {
        let node = upid.split(':').nth(1).expect("a node");
        for _ in 0..2000 {
            let reply = self.get(&format!("/nodes/{node}/tasks/{upid}/status")).await;
            if let Some(exit) = reply.data()["exitstatus"].as_str() {
                return exit.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{upid} does not end");
    }

    /// A change that must succeed, with its task.
    pub async fn done(&self, method: &str, path: &str, form: &[(&str, &str)]) {
        let reply = self.send(method, path, &encode(form)).await.expect("a reply");
        if let Some(upid) = reply.data().as_str() {
            assert_eq!(self.wait(upid).await, "OK", "{method} {path}");
        }
    }

    /// A change whose task must fail with this text.
    pub async fn fails(&self, method: &str, path: &str, form: &[(&str, &str)], text: &str) {
        let reply = self.send(method, path, &encode(form)).await.expect("a reply");
        let exit = self.wait(&reply.text()).await;
        assert!(exit.contains(text), "wanted {text}, got {exit}");
    }
}

pub fn encode(form: &[(&str, &str)]) -> String {
    let escape = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    form.iter()
        .map(|(key, value)| format!("{}={}", escape(key), escape(value)))
        .collect::<Vec<_>>()
        .join("&")
}

//! A plain SOAP client: one connection per request, nothing hidden.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use mock_servers::vcenter::{Control, Options, Server, World, serve};
use quick_xml::Reader;
use quick_xml::events::Event;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

pub const FIXTURE: &str = include_str!("../../../fixtures/worlds/vcenter.yaml");
pub const USER: (&str, &str) = ("novahost@vsphere.local", "sandbox-password");

/// A vCenter with a client for it.
pub struct Center {
    pub server: Server,
    pub api: Api,
    pub control: Control,
}

#[derive(Clone)]
pub struct Api {
    address: String,
    connector: TlsConnector,
    pub cookie: Arc<Mutex<String>>,
    pub action: String,
    /// Sent along with every request.
    pub headers: Vec<(&'static str, String)>,
}

#[derive(Debug, Clone, Default)]
pub struct Node {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub text: String,
    pub kids: Vec<Node>,
}

impl Node {
    pub fn get(&self, path: &str) -> Option<&Node> {
        path.split('/').try_fold(self, |at, name| at.kids.iter().find(|kid| kid.name == name))
    }

    pub fn text(&self, path: &str) -> &str {
        self.get(path).map_or("", |node| node.text.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&Node> {
        self.kids.iter().filter(|kid| kid.name == name).collect()
    }

    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The properties of an `ObjectContent`.
    pub fn prop(&self, name: &str) -> Option<&Node> {
        self.all("propSet").into_iter().find(|it| it.text("name") == name)?.get("val")
    }
}

pub fn parse(text: &str) -> Node {
    let mut reader = Reader::from_str(text);
    let mut open = vec![Node::default()];
    loop {
        match reader.read_event().expect("XML") {
            Event::Start(start) => {
                let attributes = start.attributes().map(|it| it.expect("an attribute"));
                let attributes =
                    attributes.map(|it| (it.key.into_inner().to_owned(), it.value.into_owned()));
                let name = start.local_name().into_inner().to_owned();
                open.push(Node { name, attributes: attributes.collect(), ..Node::default() });
            }
            Event::Empty(start) => {
                let name = start.local_name().into_inner().to_owned();
                open.last_mut().unwrap().kids.push(Node { name, ..Node::default() });
            }
            Event::End(_) => {
                let done = open.pop().unwrap();
                open.last_mut().unwrap().kids.push(done);
            }
            Event::Text(text) => open.last_mut().unwrap().text.push_str(&text.xml10_content()),
            Event::GeneralRef(name) => {
                let letter = match &*name.xml10_content() {
                    "lt" => '<',
                    "gt" => '>',
                    "quot" => '"',
                    "amp" => '&',
                    _ => name.resolve_char_ref().expect("a reference").expect("a letter"),
                };
                open.last_mut().unwrap().text.push(letter);
            }
            Event::Eof => return open.pop().unwrap(),
            _ => {}
        }
    }
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub text: String,
    pub cookie: Option<String>,
}

impl Reply {
    /// The response element of an answer that is no fault.
    pub fn done(&self) -> Node {
        assert_eq!(self.status, 200, "{}", self.text);
        parse(&self.text).get("Envelope/Body").expect("a body").kids[0].clone()
    }

    /// What was returned.
    pub fn value(&self) -> Node {
        self.done().get("returnval").cloned().unwrap_or_else(|| panic!("nothing: {}", self.text))
    }

    /// Type and text of the fault.
    pub fn fault(&self) -> (String, Node) {
        assert_eq!(self.status, 500, "{}", self.text);
        let fault = parse(&self.text).get("Envelope/Body/Fault").expect("a fault").clone();
        let detail =
            fault.get("detail").and_then(|it| it.kids.first()).cloned().unwrap_or_default();
        (detail.attribute("xsi:type").to_owned(), fault)
    }

    /// Asserts a fault.
    pub fn refused(&self, ty: &str, piece: &str) {
        let (found, _) = self.fault();
        assert!(found == ty && self.text.contains(piece), "wanted {ty} {piece}: {}", self.text);
    }
}

pub fn world() -> World {
    World::from_yaml(FIXTURE).expect("the fixture is a world")
}

pub async fn center() -> Center {
    start(world(), Options::new(7)).await
}

pub async fn start(world: World, options: Options) -> Center {
    let center = start_without_login(world, options).await;
    center.api.log_in(USER).await;
    center
}

pub async fn start_without_login(world: World, options: Options) -> Center {
    let server = serve(world, options).await.expect("a server");
    let api = Api::new(&server);
    let control = server.control();
    Center { server, api, control }
}

impl Center {
    /// The id of something by its kind and name.
    pub fn id(&self, kind: &str, name: &str) -> String {
        self.control.inspect(|world| world.find(kind, name).expect(name).to_owned())
    }

    pub fn vm(&self, name: &str) -> String {
        self.id("VirtualMachine", name)
    }

    /// A change token as it is now.
    pub fn change(&self, id: &str) -> String {
        self.control.inspect(|world| world.vm(id).expect("a machine").change.clone())
    }

    /// A clone specification into the folder `novahost`.
    pub fn clone_args(&self, name: &str, location: &str, rest: &str) -> String {
        format!(
            "<folder type=\"Folder\">{}</folder><name>{name}</name><spec><location>{location}\
             <pool type=\"ResourcePool\">{}</pool></location><template>false</template>{rest}</spec>",
            self.id("Folder", "novahost"),
            self.id("ResourcePool", "Resources"),
        )
    }

    /// Clones a template and gives the new machine's id.
    pub async fn cloned(&self, template: &str, name: &str) -> String {
        let args = self.clone_args(name, "", "<powerOn>false</powerOn>");
        let source = self.vm(template);
        let info = self.api.done("CloneVM_Task", ("VirtualMachine", &source), &args).await;
        info.text("result").to_owned()
    }

    /// Reconfigures a machine; gives the task's end.
    pub async fn reconfigure(&self, id: &str, spec: &str) -> Node {
        let args = format!("<spec>{spec}</spec>");
        self.api.task("ReconfigVM_Task", ("VirtualMachine", id), &args).await
    }
}

/// The type of the error of a task that failed.
pub fn error_of(info: &Node) -> &str {
    assert_eq!(info.text("state"), "error", "{info:?}");
    info.get("error/fault").expect("an error").attribute("xsi:type")
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
            cookie: Arc::default(),
            action: "urn:vim25/6.7".to_owned(),
            headers: Vec::new(),
        }
    }

    /// The same client without a session.
    pub fn fresh(&self) -> Self {
        Self { cookie: Arc::default(), ..self.clone() }
    }

    pub async fn http(&self, verb: &str, path: &str, body: String) -> Result<Reply, String> {
        let say = |error: &dyn std::fmt::Display| error.to_string();
        let stream = tokio::net::TcpStream::connect(&self.address).await.map_err(|it| say(&it))?;
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let stream = self.connector.connect(name, stream).await.map_err(|it| say(&it))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|it| say(&it))?;
        tokio::spawn(connection);
        let cookie = self.cookie.lock().unwrap().clone();
        let mut request = Request::builder()
            .method(verb)
            .uri(path)
            .header("Host", "vcenter")
            .header("Content-Type", "text/xml; charset=utf-8")
            .header("SOAPAction", &self.action);
        if !cookie.is_empty() {
            request = request.header("Cookie", format!("vmware_soap_session={cookie}"));
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        let response = sender.send_request(request).await.map_err(|it| say(&it))?;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.map_err(|it| say(&it))?.to_bytes();
        let cookie = head.headers.get("set-cookie").and_then(|it| it.to_str().ok());
        let cookie = cookie.and_then(|it| it.split(';').next()?.split_once('=')).map(|it| it.1);
        Ok(Reply {
            status: head.status.as_u16(),
            text: String::from_utf8_lossy(&bytes).into_owned(),
            cookie: cookie.map(str::to_owned),
        })
    }

    /// Any call, whatever comes of it.
    pub async fn try_call(
        &self,
        method: &str,
        on: (&str, &str),
        args: &str,
    ) -> Result<Reply, String> {
        let (kind, id) = on;
        let body = format!(
            "<?xml version=\"1.0\"?><soapenv:Envelope \
             xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" \
             xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><soapenv:Body>\
             <{method} xmlns=\"urn:vim25\"><_this type=\"{kind}\">{id}</_this>{args}</{method}>\
             </soapenv:Body></soapenv:Envelope>"
        );
        self.http("POST", "/sdk", body).await
    }

    pub async fn call(&self, method: &str, on: (&str, &str), args: &str) -> Reply {
        self.try_call(method, on, args).await.expect("a reply")
    }

    pub async fn log_in(&self, (user, password): (&str, &str)) -> Node {
        let args = format!("<userName>{user}</userName><password>{password}</password>");
        let reply = self.call("Login", ("SessionManager", "SessionManager"), &args).await;
        let session = reply.value();
        *self.cookie.lock().unwrap() = reply.cookie.clone().expect("a cookie");
        session
    }

    pub async fn time(&self) -> Reply {
        self.call("CurrentTime", ("ServiceInstance", "ServiceInstance"), "").await
    }

    pub async fn retrieve(&self, spec: &str, options: &str) -> Reply {
        let args = format!("<specSet>{spec}</specSet><options>{options}</options>");
        self.call("RetrievePropertiesEx", ("PropertyCollector", "propertyCollector"), &args).await
    }

    /// Some properties of one object.
    pub async fn read(&self, (kind, id): (&str, &str), paths: &[&str]) -> Node {
        let spec =
            format!("{}<objectSet><obj type=\"{kind}\">{id}</obj></objectSet>", props(kind, paths));
        self.retrieve(&spec, "").await.value().get("objects").expect("an object").clone()
    }

    /// A view of everything of some kinds.
    pub async fn view(&self, center: &Center, kinds: &[&str]) -> String {
        let root = center.control.inspect(|world| world.root().to_owned());
        let kinds: String = kinds.iter().map(|it| format!("<type>{it}</type>")).collect();
        let args = format!(
            "<container type=\"Folder\">{root}</container>{kinds}<recursive>true</recursive>"
        );
        self.call("CreateContainerView", ("ViewManager", "ViewManager"), &args).await.value().text
    }

    /// Starts a task and follows it to its end.
    pub async fn task(&self, method: &str, on: (&str, &str), args: &str) -> Node {
        let task = self.call(method, on, args).await.value().text;
        self.ended(&task).await
    }

    pub async fn ended(&self, task: &str) -> Node {
        for _ in 0..2000 {
            let found = self.read(("Task", task), &["info"]).await;
            let info = found.prop("info").expect("info");
            if matches!(info.text("state"), "success" | "error") {
                return info.clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{task} does not end");
    }

    /// A task that must succeed.
    pub async fn done(&self, method: &str, on: (&str, &str), args: &str) -> Node {
        let info = self.task(method, on, args).await;
        assert_eq!(info.text("state"), "success", "{method}: {info:?}");
        info
    }
}

/// A property specification.
pub fn props(kind: &str, paths: &[&str]) -> String {
    let paths: String = paths
        .iter()
        .map(|it| format!("<pathSet>{}</pathSet>", it.replace('"', "&quot;")))
        .collect();
    format!("<propSet><type>{kind}</type><all>false</all>{paths}</propSet>")
}

/// An object specification that goes through a view.
pub fn through(kind: &str, view: &str) -> String {
    format!(
        "<objectSet><obj type=\"{kind}\">{view}</obj><skip>true</skip>\
         <selectSet xsi:type=\"TraversalSpec\"><name>v</name><type>{kind}</type><path>view</path>\
         <skip>false</skip></selectSet></objectSet>"
    )
}

/// A free key.
pub fn extra(key: &str, value: &str) -> String {
    format!(
        "<extraConfig><key>{key}</key><value xsi:type=\"xsd:string\">{value}</value></extraConfig>"
    )
}

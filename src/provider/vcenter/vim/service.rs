//! What answers: which version of the interface is spoken, and where its parts are.
//!
//! Pure. The server shapes its answers for the version that is declared, so an old and
//! stable one is preferred to its newest.

use super::{error::CallError, fault::bounded, node::Node, val::MoRef};

/// In the order of preference: the oldest that has everything that is used, then the
/// newer ones, for servers that have dropped it, then the one before.
const VERSIONS: [&str; 7] = ["6.7", "6.7.3", "7.0.0.0", "7.0.3.0", "8.0.1.0", "8.0.3.0", "6.5"];
/// Where every call begins; the same on all servers.
pub(super) const INSTANCE: &str = "ServiceInstance";

/// One vCenter, as it introduces itself before any login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The version of the interface that is declared with each call.
    pub api: String,
    /// Which vCenter this is: references mean something only together with it.
    pub instance_uuid: String,
    /// Product and version in words.
    pub full_name: String,
    /// The product's version.
    pub version: String,
    /// Its build.
    pub build: String,
    content: Node,
}

impl Service {
    /// Reads the content of a service.
    ///
    /// # Errors
    /// When it is not a vCenter.
    pub fn read(api: &str, content: Node) -> Result<Self, CallError> {
        let about = |name: &str| content.word_at(&format!("about.{name}"));
        let identity = |text: String| CallError::Identity(bounded(&text));
        let full_name = about("fullName").unwrap_or_default().to_owned();
        match about("apiType") {
            Some("VirtualCenter") => {}
            Some(other) => {
                let text = format!("`{full_name}` is no vCenter: its interface is `{other}`");
                return Err(identity(text));
            }
            None => return Err(identity("the service does not say what it is".into())),
        }
        let uuid = about("instanceUuid");
        let uuid = uuid.ok_or_else(|| identity("the vCenter does not say which it is".into()))?;
        Ok(Self {
            api: api.to_owned(),
            instance_uuid: uuid.to_ascii_lowercase(),
            version: about("version").unwrap_or_default().to_owned(),
            build: about("build").unwrap_or_default().to_owned(),
            full_name,
            content,
        })
    }

    /// One of its parts, by the name of the field that names it: `viewManager`. Ids differ
    /// between servers.
    ///
    /// # Errors
    /// When this server has no such part.
    pub fn part(&self, name: &str) -> Result<MoRef, CallError> {
        let missing = || CallError::Identity(format!("this vCenter has no `{name}`"));
        self.content.moref_at(name).ok_or_else(missing)
    }
}

/// The reference at which every call begins.
pub fn instance() -> MoRef {
    MoRef::new(INSTANCE, INSTANCE)
}

/// The version to declare, by the server's own list. `None` when it is not such a list.
pub(super) fn choose_api(list: &Node) -> Option<String> {
    let namespace = list
        .all("namespace")
        .find(|namespace| namespace.word_at("name").is_some_and(|name| name == "urn:vim25"))?;
    let newest = namespace.word_at("version")?;
    let prior = namespace.child("priorVersions");
    let prior = prior.into_iter().flat_map(|prior| prior.all("version")).filter_map(Node::as_word);
    let listed: Vec<&str> = std::iter::once(newest).chain(prior).collect();
    let chosen = VERSIONS.into_iter().find(|version| listed.contains(version)).unwrap_or(newest);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    chosen.bytes().all(plain).then(|| chosen.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::vcenter::vim::soap::parse;

    fn chosen(newest: &str, prior: &[&str]) -> Option<String> {
        let prior: String = prior.iter().map(|it| format!("<version>{it}</version>")).collect();
        let text = format!(
            "<namespaces version=\"1.0\"><namespace><name>urn:vim2</name><version>2.5</version>\
             </namespace><namespace><name>urn:vim25</name><version>{newest}</version>\
             <priorVersions>{prior}</priorVersions></namespace></namespaces>"
        );
        choose_api(&parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn an_old_stable_version_is_declared_where_the_server_has_it() {
        let api = |text: &str| Some(text.to_owned());
        assert_eq!(chosen("8.0.3.0", &["8.0.1.0", "7.0.0.0", "6.7", "6.5"]), api("6.7"));
        assert_eq!(chosen("9.2.0.0", &["8.0.3.0", "8.0.1.0"]), api("8.0.1.0"));
        assert_eq!(chosen("6.5", &["6.0", "5.5"]), api("6.5"));
        assert_eq!(chosen("10.0.0.0", &[]), api("10.0.0.0"));
        assert_eq!(chosen("a b", &[]), None);
        assert_eq!(choose_api(&Node::new("html")), None);
    }

    #[test]
    fn only_a_vcenter_is_taken_for_one() {
        let content = |kind: &str| {
            let text = format!(
                "<returnval><rootFolder type=\"Folder\">group-d1</rootFolder><about>\
                 <fullName>It</fullName><apiType>{kind}</apiType><instanceUuid>AB-1</instanceUuid>\
                 </about></returnval>"
            );
            Service::read("6.7", parse(text.as_bytes()).unwrap())
        };
        let service = content("VirtualCenter").unwrap();
        assert_eq!(service.instance_uuid, "ab-1");
        assert_eq!(service.part("rootFolder").unwrap(), MoRef::new("Folder", "group-d1"));
        assert!(matches!(service.part("viewManager"), Err(CallError::Identity(_))));
        let refused = content("HostAgent").unwrap_err();
        assert_eq!(refused.to_string(), "`It` is no vCenter: its interface is `HostAgent`");
    }
}

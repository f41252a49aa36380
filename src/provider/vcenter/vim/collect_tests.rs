use super::*;
use crate::provider::vcenter::vim::script::{LOGIN, Say, after_login, content};

fn view() -> Say {
    Say::Returns("<returnval type=\"ContainerView\">session[1]2</returnval>".into())
}

fn void() -> Say {
    Say::Returns(String::new())
}

fn machine(id: u32, inner: &str) -> String {
    format!(
        "<objects><obj type=\"VirtualMachine\">vm-{id}</obj><propSet><name>name</name>\
         <val xsi:type=\"xsd:string\">web-{id}</val></propSet>{inner}</objects>"
    )
}

fn page(token: Option<&str>, objects: &[String]) -> Say {
    let token = token.map_or(String::new(), |it| format!("<token>{it}</token>"));
    Say::Returns(format!("<returnval>{token}{}</returnval>", objects.concat()))
}

fn missing(path: &str, kind: &str) -> String {
    format!(
        "<missingSet><path>{path}</path><fault><fault xsi:type=\"{kind}\"/></fault></missingSet>"
    )
}

fn names(collected: &Collected) -> Vec<&str> {
    collected.objects.iter().map(|it| it.props["name"].text.as_str()).collect()
}

async fn collect(client: &VimClient, optional: &[&str]) -> Result<Collected, CallError> {
    let optional = optional.iter().map(|path| (*path).to_owned()).collect();
    let paths = Paths { optional, ..Paths::of("VirtualMachine", &["name"]) };
    client.collect(&MoRef::new("Folder", "group-d1"), &[paths], "op").await
}

/// Methods after the first login, without sessions.
fn after(called: &[String]) -> Vec<&str> {
    called[LOGIN.len()..].iter().map(|it| it.split(' ').next().unwrap()).collect()
}

#[tokio::test]
async fn pages_are_read_to_the_end_and_the_view_is_ended() {
    let denied = missing("config", "NoPermission");
    let steps = vec![
        view(),
        page(Some("t1"), &[machine(1, ""), machine(2, &denied)]),
        page(None, &[machine(3, "")]),
        void(),
    ];
    let server = after_login(steps).await;
    let client = server.client();
    let collected = collect(&client, &[]).await.unwrap();
    assert_eq!(names(&collected), ["web-1", "web-2", "web-3"]);
    assert_eq!(collected.objects[1].missing["config"].kind, FaultKind::NoPermission);
    let called = server.called();
    let expected = [
        "CreateContainerView",
        "RetrievePropertiesEx",
        "ContinueRetrievePropertiesEx",
        "DestroyView",
    ];
    assert_eq!(after(&called), expected);
    let spec = server.requests()[4].split_once("<specSet").unwrap().1.to_owned();
    assert_eq!(
        format!("<specSet{}", spec.split_once("</RetrievePropertiesEx>").unwrap().0),
        "<specSet xsi:type=\"PropertyFilterSpec\"><propSet xsi:type=\"PropertySpec\">\
         <type>VirtualMachine</type><all>false</all><pathSet>name</pathSet></propSet>\
         <objectSet xsi:type=\"ObjectSpec\"><obj type=\"ContainerView\">session[1]2</obj>\
         <skip>true</skip><selectSet xsi:type=\"TraversalSpec\"><name>v</name>\
         <type>ContainerView</type><path>view</path><skip>false</skip></selectSet></objectSet>\
         <objectSet xsi:type=\"ObjectSpec\"><obj type=\"Folder\">group-d1</obj>\
         <skip>false</skip></objectSet>\
         <reportMissingObjectsInResults>true</reportMissingObjectsInResults></specSet>\
         <options xsi:type=\"RetrieveOptions\"><maxObjects>500</maxObjects></options>"
    );
}

#[tokio::test]
async fn no_object_at_all_is_an_answer() {
    let server = after_login(vec![view(), void(), void()]).await;
    assert_eq!(collect(&server.client(), &[]).await.unwrap(), Collected::default());
}

#[tokio::test]
async fn a_dead_session_in_the_answer_is_no_inventory_of_nameless_machines() {
    let nameless = || {
        Say::Returns(format!(
            "<returnval><objects><obj type=\"VirtualMachine\">vm-1</obj>{}</objects></returnval>",
            missing("name", "NotAuthenticated")
        ))
    };
    let again = || [content("u-1"), Say::Session("two"), view()];
    let mut steps = vec![view(), nameless(), void()];
    steps.extend(again());
    steps.extend([page(None, &[machine(1, "")]), void()]);
    let server = after_login(steps).await;
    assert_eq!(names(&collect(&server.client(), &[]).await.unwrap()), ["web-1"]);
    let mut steps = vec![view(), nameless(), void()];
    for _ in 0..RESTARTS_MAX {
        steps.extend(again());
        steps.extend([nameless(), void()]);
    }
    let server = after_login(steps).await;
    let error = collect(&server.client(), &[]).await.unwrap_err();
    assert!(error.is_fault(&FaultKind::NotAuthenticated), "{error}");
}

#[tokio::test]
async fn a_spent_token_and_a_lost_page_restart_the_whole_read() {
    let token = Say::Fault("InvalidProperty", "<name>token</name>");
    let steps = vec![
        view(),
        page(Some("t1"), &[machine(1, "")]),
        token,
        void(),
        view(),
        page(Some("t2"), &[machine(1, "")]),
        Say::Nothing,
        void(),
        view(),
        page(None, &[machine(1, ""), machine(2, "")]),
        void(),
    ];
    let server = after_login(steps).await;
    let collected = collect(&server.client(), &[]).await.unwrap();
    assert_eq!(names(&collected), ["web-1", "web-2"]);
}

#[tokio::test]
async fn a_path_that_the_server_does_not_know_is_given_up_when_it_is_optional() {
    let unknown = || Say::Fault("InvalidProperty", "<name>config.new</name>");
    let steps = vec![view(), unknown(), void(), view(), page(None, &[machine(1, "")]), void()];
    let server = after_login(steps).await;
    let collected = collect(&server.client(), &["config.new"]).await.unwrap();
    assert_eq!(collected.dropped, BTreeSet::from(["config.new".to_owned()]));
    assert!(!server.requests()[7].contains("config.new"));
    let server = after_login(vec![view(), unknown(), void()]).await;
    let error = collect(&server.client(), &["config.old"]).await.unwrap_err();
    assert!(error.is_fault(&FaultKind::InvalidProperty), "{error}");
}

#[tokio::test]
async fn single_objects_need_no_view_and_those_that_are_gone_are_left_out() {
    let gone = "<obj type=\"VirtualMachine\">vm-2</obj>";
    let steps = vec![Say::Fault("ManagedObjectNotFound", gone), page(None, &[machine(1, "")])];
    let server = after_login(steps).await;
    let of = [MoRef::new("VirtualMachine", "vm-1"), MoRef::new("VirtualMachine", "vm-2")];
    let paths = Paths::of("VirtualMachine", &["name"]);
    let client = server.client();
    let collected = client.properties(&of, &paths, "op").await.unwrap();
    assert_eq!(names(&collected), ["web-1"]);
    assert_eq!(after(&server.called()), ["RetrievePropertiesEx", "RetrievePropertiesEx"]);
    assert!(client.properties(&[], &paths, "op").await.unwrap().objects.is_empty());
}

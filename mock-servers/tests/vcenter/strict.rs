//! Requests that are wrong on purpose, and sessions.

use std::time::Duration;

use mock_servers::vcenter::{Options, Switches};

use crate::client::{USER, center, extra, props, start, start_without_login, through, world};

#[tokio::test]
async fn elements_have_their_order_and_their_types() {
    let center = center().await;
    let api = &center.api;
    let vm = center.vm("old-print");
    let on = ("VirtualMachine", vm.as_str());
    let wrong = [
        ("<memoryMB>512</memoryMB><numCPUs>1</numCPUs>", "Unexpected element tag \"numCPUs\" seen"),
        ("<nonsense>1</nonsense>", "Unexpected element tag \"nonsense\" seen"),
        ("<numCPUs>1</numCPUs><numCPUs>1</numCPUs>", "numCPUs provided multiple times"),
        ("<numCPUs>many</numCPUs>", "is no int"),
        ("<extraConfig><key>a</key><value>b</value></extraConfig>", "without xsi:type"),
        ("<extraConfig><key>a</key></extraConfig>", "Required property value is missing"),
        (
            "<deviceChange><operation>add</operation><device><key>-1</key></device></deviceChange>",
            "abstract type without xsi:type",
        ),
        (
            "<deviceChange><operation>replace</operation><device xsi:type=\"VirtualFloppy\"><key>1</key></device></deviceChange>",
            "not a value of the enumeration",
        ),
    ];
    for (spec, said) in wrong {
        let reply = api.call("ReconfigVM_Task", on, &format!("<spec>{spec}</spec>")).await;
        reply.refused("InvalidRequest", "ClientFaultCode");
        let (_, fault) = reply.fault();
        assert!(fault.text("faultstring").contains(said), "{said}: {}", fault.text("faultstring"));
    }
    let folder = center.id("Folder", "novahost");
    let args = format!("<name>x</name><folder type=\"Folder\">{folder}</folder>");
    api.call("CloneVM_Task", on, &args).await.refused("InvalidRequest", "seen");
    api.call("NoSuch", on, "").await.refused("MethodNotFound", "NoSuch");
    api.call("PowerOnVM_Task", ("VirtualMachine", "vm-1"), "")
        .await
        .refused("ManagedObjectNotFound", "vm-1");
    api.call("PowerOnVM_Task", ("Folder", &folder), "")
        .await
        .refused("MethodNotFound", "PowerOnVM_Task");
    let reply = api.http("POST", "/sdk", "<a>".to_owned()).await.expect("a reply");
    reply.refused("InvalidRequest", "ClientFaultCode");
    assert_eq!(center.control.counts().get("ReconfigVM_Task"), Some(&wrong.len()));
}

#[tokio::test]
async fn the_version_is_negotiated() {
    let center = center().await;
    let list = center
        .api
        .http("GET", "/sdk/vimServiceVersions.xml", String::new())
        .await
        .expect("a reply");
    assert!(
        list.text.contains("<version>8.0.3.0</version>")
            && list.text.contains("<version>6.7</version>")
    );
    let mut api = center.api.clone();
    api.action = "urn:vim25/99.0".to_owned();
    let reply = api.time().await;
    assert_eq!(reply.status, 500);
    assert!(
        reply.text.contains("VersionMismatchFaultCode")
            && reply.text.contains("Unsupported version URI")
    );
}

#[tokio::test]
async fn the_banner_says_what_it_is() {
    let center = start_without_login(world(), Options::new(1)).await;
    let on = ("ServiceInstance", "ServiceInstance");
    let content = center.api.call("RetrieveServiceContent", on, "").await.value();
    assert_eq!(content.text("about/apiType"), "VirtualCenter");
    assert!(content.text("about/fullName").contains("novahost mock"));
    let uuid = center.control.inspect(|world| world.instance_uuid.clone());
    assert_eq!(content.text("about/instanceUuid"), uuid);
}

#[tokio::test]
async fn sessions_are_needed_and_end() {
    let center = start_without_login(world(), Options::new(1)).await;
    let api = &center.api;
    api.time().await.refused("NotAuthenticated", "System.View");
    let on = ("SessionManager", "SessionManager");
    let args = "<userName>novahost@vsphere.local</userName><password>no</password>";
    api.call("Login", on, args).await.refused("InvalidLogin", "");
    let session = api.log_in(USER).await;
    assert_eq!(session.text("userName"), "VSPHERE.LOCAL\\novahost");
    assert!(api.cookie.lock().unwrap().starts_with('"'));
    let again = format!("<userName>{}</userName><password>{}</password>", USER.0, USER.1);
    api.call("Login", on, &again).await.refused("InvalidLogin", "");
    assert!(api.time().await.value().text.ends_with('Z'));
    // Use keeps it alive; half an hour of rest ends it.
    center.control.advance(Duration::from_secs(1700));
    api.time().await.done();
    center.control.advance(Duration::from_secs(1700));
    api.time().await.done();
    center.control.advance(Duration::from_secs(1801));
    api.time().await.refused("NotAuthenticated", "System.View");
    *api.cookie.lock().unwrap() = String::new();
    api.log_in(USER).await;
    api.call("Logout", on, "").await.done();
    api.time().await.refused("NotAuthenticated", "System.View");
}

#[tokio::test]
async fn a_dead_session_reads_nameless_machines() {
    let mut center = center().await;
    for faults in [false, true] {
        if faults {
            let options = Options {
                switches: Switches { dead_session_faults: true, ..Switches::default() },
                ..Options::new(1)
            };
            center = start(world(), options).await;
        }
        let api = &center.api;
        let view = api.view(&center, &["VirtualMachine"]).await;
        center.control.end_sessions();
        let spec =
            props("VirtualMachine", &["name", "config.uuid"]) + &through("ContainerView", &view);
        let reply = api.retrieve(&spec, "").await;
        if faults {
            reply.refused("NotAuthenticated", "");
            continue;
        }
        let result = reply.value();
        assert_eq!(result.all("objects").len(), 7);
        for object in result.all("objects") {
            assert!(object.all("propSet").is_empty());
            let missing = object.all("missingSet");
            assert_eq!(missing.len(), 2);
            let fault = missing[0].get("fault/fault").expect("a fault");
            assert_eq!(fault.attribute("xsi:type"), "NotAuthenticated");
        }
    }
}

#[tokio::test]
async fn the_session_table_has_an_end() {
    let mut world = world();
    world.sessions_max = 1;
    let center = start(world, Options::new(1)).await;
    let args = format!("<userName>{}</userName><password>{}</password>", USER.0, USER.1);
    let reply = center.api.fresh().call("Login", ("SessionManager", "SessionManager"), &args).await;
    assert_eq!(reply.status, 503);
    assert!(!reply.text.contains("Envelope"));
    center.api.call("Logout", ("SessionManager", "SessionManager"), "").await.done();
    center.api.fresh().log_in(USER).await;
}

#[tokio::test]
async fn values_of_free_keys_are_strings() {
    let center = center().await;
    let vm = center.vm("old-print");
    let int = "<extraConfig><key>a</key><value xsi:type=\"xsd:int\">1</value></extraConfig>";
    let info = center.reconfigure(&vm, int).await;
    assert_eq!(crate::client::error_of(&info), "InvalidArgument");
    center.reconfigure(&vm, &extra("a", "1")).await;
    let value =
        center.control.inspect(|world| world.vm(&vm).unwrap().config.extra.get("a").cloned());
    assert_eq!(value.as_deref(), Some("1"));
    center.reconfigure(&vm, &extra("a", "")).await;
    assert!(center.control.inspect(|world| world.vm(&vm).unwrap().config.extra.is_empty()));
}

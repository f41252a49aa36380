//! Guests that are set up at their next start.

use crate::client::{center, error_of};

const LINUX: &str = r#"<identity xsi:type="CustomizationLinuxPrep"><hostName xsi:type="CustomizationFixedName"><name>web-1</name></hostName><domain>example.test</domain></identity><globalIPSettings/>"#;

fn card(ip: &str) -> String {
    format!("<nicSettingMap><adapter>{ip}</adapter></nicSettingMap>")
}

const DHCP: &str = r#"<ip xsi:type="CustomizationDhcpIpGenerator"/>"#;
const FIXED: &str = r#"<ip xsi:type="CustomizationFixedIp"><ipAddress>192.0.2.9</ipAddress></ip><subnetMask>255.255.255.0</subnetMask>"#;

#[tokio::test]
async fn a_guest_is_set_up_once_at_its_next_start() {
    let center = center().await;
    let vm = center.cloned("tpl-debian-13", "web").await;
    let on = ("VirtualMachine", vm.as_str());
    let change = center.change(&vm);
    let args = format!("<spec>{LINUX}{}</spec>", card(FIXED));
    assert_eq!(center.api.task("CustomizeVM_Task", on, &args).await.text("state"), "success");
    assert_ne!(center.change(&vm), change);
    let waits = "config.tools.pendingCustomization";
    let seen = center.api.read(on, &[waits]).await;
    assert!(!seen.prop(waits).unwrap().text.is_empty());
    let again = center.api.task("CustomizeVM_Task", on, &args).await;
    assert_eq!(error_of(&again), "CustomizationPending");
    center.api.done("PowerOnVM_Task", on, "").await;
    assert!(center.api.read(on, &[waits]).await.prop(waits).is_none());
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let told = center.api.read(on, &["guest.hostName", "guest.ipAddress"]).await;
    assert_eq!(told.prop("guest.hostName").unwrap().text, "web-1");
    assert_eq!(told.prop("guest.ipAddress").unwrap().text, "192.0.2.9");
    let running = center.api.task("CustomizeVM_Task", on, &args).await;
    assert_eq!(error_of(&running), "InvalidPowerState");
}

#[tokio::test]
async fn a_description_that_does_not_fit_is_refused() {
    let center = center().await;
    let vm = center.cloned("tpl-debian-13", "web").await;
    let windows = |name: &str, unattended: &str| {
        format!(
            r#"<identity xsi:type="CustomizationSysprep"><guiUnattended>{unattended}</guiUnattended><userData><fullName>A</fullName><orgName>A</orgName><computerName xsi:type="CustomizationFixedName"><name>{name}</name></computerName><productId></productId></userData><identification><joinWorkgroup>W</joinWorkgroup></identification></identity><globalIPSettings/>"#
        )
    };
    let off =
        "<timeZone>85</timeZone><autoLogon>false</autoLogon><autoLogonCount>0</autoLogonCount>";
    let own =
        "<timeZone>85</timeZone><autoLogon>true</autoLogon><autoLogonCount>1</autoLogonCount>";
    let hidden =
        format!("<password><value>eA==</value><plainText>false</plainText></password>{off}");
    let one = card(DHCP);
    let asks = card(r#"<ip xsi:type="CustomizationUnknownIpGenerator"/>"#);
    let refused = async |spec: String, fault: &str| {
        let on = ("VirtualMachine", vm.as_str());
        let args = format!("<spec>{spec}</spec>");
        let info = center.api.task("CustomizeVM_Task", on, &args).await;
        assert_eq!(error_of(&info), fault, "{spec}");
        let waits = center.control.inspect(|world| world.vm(&vm).unwrap().setup.waits.clone());
        assert_eq!(waits, None);
    };
    refused(LINUX.to_owned(), "NicSettingMismatch").await;
    refused(format!("{LINUX}{asks}"), "InvalidArgument").await;
    refused(format!("{}{one}", windows("web-1", off)), "UncustomizableGuest").await;
    center.control.change_vm(&vm, |vm| vm.config.guest_id = "windows2019srv_64Guest".to_owned());
    refused(format!("{LINUX}{one}"), "UncustomizableGuest").await;
    for name in ["a-name-of-17-more", "12345", "web_1", ""] {
        refused(format!("{}{one}", windows(name, off)), "InvalidArgument").await;
    }
    refused(format!("{}{one}", windows("web-1", own)), "InvalidArgument").await;
    refused(format!("{}{one}", windows("web-1", &hidden)), "CannotDecryptPasswords").await;
    // The order of elements is the schema's.
    let args = format!("<spec>{one}{LINUX}</spec>");
    let reply = center.api.call("CustomizeVM_Task", ("VirtualMachine", &vm), &args).await;
    reply.refused("InvalidRequest", "Unexpected element tag");
}

#[tokio::test]
async fn descriptions_are_kept_and_told_to_who_may_read_them() {
    let center = center().await;
    let manager = ("CustomizationSpecManager", "CustomizationSpecManager");
    assert!(center.control.keep_spec("web", "Linux", LINUX));
    assert!(!center.control.keep_spec("bad", "Linux", "<identity/>"), "it is none");
    let name = |name: &str| format!("<name>{name}</name>");
    for (spec, is) in [("web", "true"), ("bad", "false")] {
        let reply = center.api.call("DoesCustomizationSpecExist", manager, &name(spec)).await;
        assert_eq!(reply.value().text, is);
    }
    let item = center.api.call("GetCustomizationSpec", manager, &name("web")).await.value();
    assert_eq!((item.text("info/type"), item.text("info/name")), ("Linux", "web"));
    let identity = item.get("spec/identity").unwrap();
    assert_eq!(identity.attribute("xsi:type"), "CustomizationLinuxPrep");
    assert_eq!(identity.text("hostName/name"), "web-1");
    center.api.call("GetCustomizationSpec", manager, &name("bad")).await.refused("NotFound", "bad");
    let key = center.api.read(manager, &["encryptionKey"]).await;
    assert!(!key.prop("encryptionKey").unwrap().text.is_empty());
}

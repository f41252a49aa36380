use super::*;
use crate::provider::vcenter::vim::{fault::FaultKind, val::MoRef};

const ENVELOPE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" \
xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">";

fn encoded(method: &str, args: &[(&str, Val)]) -> Result<String, EncodeError> {
    let this = MoRef::new("VirtualMachine", "vm-66");
    let request = Request { method, this: &this, args, operation: None };
    let text = String::from_utf8(Soap.encode(&request)?).unwrap();
    let body = text.strip_prefix(ENVELOPE).unwrap().strip_prefix("<soapenv:Body>").unwrap();
    Ok(body.strip_suffix("</soapenv:Body></soapenv:Envelope>").unwrap().to_owned())
}

fn answer(inner: &str) -> String {
    format!("{ENVELOPE}<soapenv:Body>{inner}</soapenv:Body></soapenv:Envelope>")
}

fn decoded(method: &str, status: u16, inner: &str) -> Result<Node, DecodeError> {
    Soap.decode(method, status, answer(inner).as_bytes())
}

#[test]
fn a_call_without_arguments_and_with_an_operation() {
    let this = MoRef::new("VirtualMachine", "vm-66");
    let request =
        Request { method: "PowerOnVM_Task", this: &this, args: &[], operation: Some("nova-1") };
    let expected = format!(
        "{ENVELOPE}<soapenv:Header><operationID xmlns=\"urn:vim25\">nova-1</operationID>\
         </soapenv:Header><soapenv:Body><PowerOnVM_Task xmlns=\"urn:vim25\">\
         <_this type=\"VirtualMachine\">vm-66</_this></PowerOnVM_Task></soapenv:Body>\
         </soapenv:Envelope>"
    );
    assert_eq!(String::from_utf8(Soap.encode(&request).unwrap()).unwrap(), expected);
}

#[test]
fn fields_go_out_in_the_order_given_with_their_types() {
    let option = |key: &str, value: Val| {
        Val::obj("OptionValue").with("key", key.to_owned()).with("value", value)
    };
    let spec = Val::obj("VirtualMachineConfigSpec")
        .with("name", "web-1")
        .with("numCPUs", 2)
        .with("memoryHotAddEnabled", true)
        .with_some("annotation", None::<&str>)
        .with(
            "extraConfig",
            Val::arr([
                option("novahost.id", Val::any_text("a<b>&\"'")),
                option("guestinfo.userdata", Val::any_secret("p".into())),
            ]),
        );
    let pool = MoRef::new("ResourcePool", "resgroup-23");
    let args = [("config", spec), ("pool", (&pool).into()), ("none", Val::Arr(vec![]))];
    assert_eq!(
        encoded("CreateVM_Task", &args).unwrap(),
        "<CreateVM_Task xmlns=\"urn:vim25\"><_this type=\"VirtualMachine\">vm-66</_this>\
         <config xsi:type=\"VirtualMachineConfigSpec\"><name>web-1</name><numCPUs>2</numCPUs>\
         <memoryHotAddEnabled>true</memoryHotAddEnabled>\
         <extraConfig xsi:type=\"OptionValue\"><key>novahost.id</key>\
         <value xsi:type=\"xsd:string\">a&lt;b&gt;&amp;\"'</value></extraConfig>\
         <extraConfig xsi:type=\"OptionValue\"><key>guestinfo.userdata</key>\
         <value xsi:type=\"xsd:string\">p</value></extraConfig></config>\
         <pool type=\"ResourcePool\">resgroup-23</pool></CreateVM_Task>"
    );
}

#[test]
fn texts_come_back_as_they_were_sent_or_are_refused() {
    for text in ["", " ", "a\r\nb\rc\n\td", "]]>", "&#13;", "&amp;lt;", "ü€😀", "\u{7f}\u{85}"]
    {
        let sent = encoded("Rename_Task", &[("newName", text.into())]).unwrap();
        let back = parse(answer(&sent).as_bytes()).unwrap();
        assert_eq!(back.text_at("Body.Rename_Task.newName"), Some(text), "{text:?}");
    }
    for text in ["a\0b", "\u{1b}[31m", "\u{8}", "\u{fffe}", "\u{ffff}"] {
        let refused = encoded("Rename_Task", &[("newName", text.into())]);
        assert_eq!(refused, Err(EncodeError::Character("newName".into())), "{text:?}");
    }
}

#[test]
fn names_cannot_become_markup() {
    let hostile = MoRef::new("Folder\"><x/><a b=\"", "group-1");
    assert!(matches!(encoded("M", &[("folder", hostile.into())]), Err(EncodeError::Name(_))));
    for name in ["", "a b", "a:b", "1a", "a>", "ü"] {
        assert!(encoded("M", &[(name, "x".into())]).is_err(), "{name}");
        // Without a type of its own, a value is of the type that its field has.
        let typed = encoded("M", &[("spec", Val::obj(name.to_owned()))]);
        assert_eq!(typed.is_err(), !name.is_empty(), "{name}");
    }
}

#[test]
fn both_types_of_an_element_are_read_whatever_the_prefix() {
    let value = "<XResponse xmlns=\"urn:vim25\"><returnval>\
        <val xmlns:_XMLSchema-instance=\"http://www.w3.org/2001/XMLSchema-instance\" \
        type=\"ResourcePool\" _XMLSchema-instance:type=\"ManagedObjectReference\">resgroup-23</val>\
        <val xsi:type=\"xsd:string\">DC0 &amp; &#x41;<![CDATA[<b>]]></val>\
        <val other:type=\"no\" xmlns:other=\"urn:other\">x</val>\
        <faultToleranceState></faultToleranceState></returnval></XResponse>";
    let node = decoded("X", 200, value).unwrap().into_returned().unwrap();
    let values: Vec<&Node> = node.all("val").collect();
    assert_eq!(values[0].as_moref(), Some(MoRef::new("ResourcePool", "resgroup-23")));
    assert!(values[0].is_a("ManagedObjectReference"));
    assert!(values[1].is_a("string"));
    assert_eq!(values[1].text, "DC0 & A<b>");
    assert_eq!((&values[2].data_type, &values[2].ref_type), (&None, &None));
    assert_eq!(node.word_at("faultToleranceState"), None);
}

#[test]
fn an_answer_may_return_nothing() {
    let node = decoded("WaitForUpdatesEx", 200, "<WaitForUpdatesExResponse/>").unwrap();
    assert!(node.returned().is_none());
}

#[test]
fn faults_are_told_by_the_type_of_their_data() {
    let fault = |inner: &str| match decoded("X", 500, inner) {
        Err(DecodeError::Fault(fault)) => *fault,
        other => panic!("{other:?}"),
    };
    let typed = fault(
        "<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring/><detail>\
         <NotAuthenticatedFault xmlns=\"urn:vim25\" xsi:type=\"NotAuthenticated\">\
         <object type=\"ServiceInstance\">ServiceInstance</object>\
         <privilegeId>System.View</privilegeId></NotAuthenticatedFault></detail></soapenv:Fault>",
    );
    assert_eq!(typed.kind, FaultKind::NotAuthenticated);
    assert_eq!(typed.privilege(), Some("System.View"));
    let untyped = fault(
        "<soapenv:Fault><faultcode>soapenv:ClientFaultCode</faultcode>\
         <faultstring>no element found</faultstring></soapenv:Fault>",
    );
    assert_eq!(untyped.kind, FaultKind::Untyped("ClientFaultCode".into()));
    assert_eq!(untyped.text, "no element found");
}

#[test]
fn what_is_no_answer_to_this_call_is_not_taken_for_one() {
    let unreadable = |method: &str, status: u16, body: &str| {
        let result = Soap.decode(method, status, body.as_bytes());
        matches!(result, Err(DecodeError::Unreadable(_)))
    };
    assert!(unreadable("X", 503, "<html><body>Service Unavailable</body></html>"));
    assert!(unreadable("X", 200, ""));
    assert!(unreadable("X", 200, "{}"));
    assert!(unreadable("X", 200, &answer("")));
    assert!(unreadable("X", 200, &answer("<YResponse/>")));
    assert!(unreadable("X", 202, &answer("<XResponse/>")));
    let whole = answer("<XResponse/>");
    for cut in 0..whole.len() {
        assert!(unreadable("X", 200, &whole[..cut]), "{cut}");
    }
}

#[test]
fn nothing_expands_and_nothing_is_fetched() {
    let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><x>&b;</x>";
    assert!(parse(bomb.as_bytes()).is_err());
    assert!(parse(b"<!DOCTYPE x SYSTEM \"file:///etc/passwd\"><x/>").is_err());
    assert!(parse(b"<x>&b;</x>").is_err());
    assert!(parse(b"<x>&#0;</x>").is_err());
    assert!(parse(b"<x>&#xd800;</x>").is_err());
    assert!(parse(b"<x>\xff</x>").is_err());
    for broken in ["<a></b>", "<a/><b/>", "<a/>x", "</a>", "<a", "<a b=>x</a>x", "x"] {
        assert!(parse(broken.as_bytes()).is_err(), "{broken}");
    }
}

/// Anything that takes more than its length in steps would not end here.
#[test]
fn hostile_shapes_are_refused_or_read_in_one_go() {
    let depth = DEPTH_MAX + 1;
    assert!(parse(format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth)).as_bytes()).is_err());
    let fits = DEPTH_MAX - 1;
    assert!(parse(format!("{}{}", "<a>".repeat(fits), "</a>".repeat(fits)).as_bytes()).is_ok());
    assert!(parse("<a>".repeat(2_000_000).as_bytes()).is_err());
    let wide = format!("<r>{}</r>", "<a/>".repeat(ELEMENTS_MAX));
    assert!(parse(wide.as_bytes()).is_err());
    let attributes: String = (0..100_000).map(|n| format!(" a{n}=\"\"")).collect();
    assert!(parse(format!("<r{attributes}/>").as_bytes()).is_err());
    let names: String = (0..100_000).map(|n| format!(" xmlns:a{n}=\"u\"")).collect();
    assert!(parse(format!("<r{names}/>").as_bytes()).is_err());
    let pieces = format!("<r>{}</r>", "a&amp;".repeat(1_000_000));
    assert_eq!(parse(pieces.as_bytes()).unwrap().text.len(), 2_000_000);
    let comments = format!("<r>{}</r>", "<!---->".repeat(1_000_000));
    assert!(parse(comments.as_bytes()).is_ok());
}

mod anything {
    use super::*;
    use proptest::prelude::*;

    const PIECES: &[&str] = &[
        "<a>",
        "</a>",
        "<a/>",
        "<Envelope>",
        "<Body>",
        "</Body>",
        "</Envelope>",
        "<XResponse>",
        "<Fault>",
        "<detail>",
        " type=\"x:y\"",
        "<b xmlns:q=\"u\" q:type='z'>",
        "&amp;",
        "&#x41;",
        "&",
        ";",
        "<",
        ">",
        "<![CDATA[",
        "]]>",
        "<!--",
        "-->",
        "<?",
        "?>",
        "<!DOCTYPE",
        "\u{fe}",
        "\u{0}",
        "text",
        " ",
        "\"",
        "'",
        "=",
        "xmlns=\"\"",
    ];

    proptest! {
        #[test]
        fn nothing_that_is_sent_ends_the_program(
            pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..60),
        ) {
            let _ = Soap.decode("X", 200, pieces.concat().as_bytes());
        }

        #[test]
        fn any_text_that_can_be_sent_comes_back(text in "\\PC*|[\t\n\r<>&'\"]*") {
            let sent = encoded("M", &[("v", text.as_str().into())]);
            if let Ok(sent) = sent {
                let back = parse(answer(&sent).as_bytes()).unwrap();
                prop_assert_eq!(back.text_at("Body.M.v"), Some(text.as_str()));
            }
        }
    }
}

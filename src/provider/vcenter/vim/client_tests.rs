use super::*;
use crate::provider::vcenter::vim::{
    error::Proof,
    script::{LOGIN, Say, Script, VERSIONS, after_login, content, script},
};

const ONE: &str = " vmware_soap_session=\"one\"";
const TWO: &str = " vmware_soap_session=\"two\"";

fn time() -> Say {
    Say::Returns("<returnval>2026-01-01T00:00:00Z</returnval>".into())
}

fn dead() -> Say {
    Say::Fault("NotAuthenticated", "<privilegeId>System.View</privilegeId>")
}

async fn power_on(client: &VimClient) -> Result<Node, CallError> {
    let this = MoRef::new("VirtualMachine", "vm-1");
    let method = "PowerOnVM_Task";
    client.mutate(&Request { method, this: &this, args: &[], operation: Some("op-1") }).await
}

fn calls(after: &[&str]) -> Vec<String> {
    LOGIN.iter().chain(after).map(|it| (*it).to_owned()).collect()
}

#[tokio::test]
async fn one_login_serves_all_calls_and_is_ended() {
    let server = after_login(vec![time(), time(), Say::Returns(String::new())]).await;
    let client = server.client();
    assert_eq!(client.time("op-7").await.unwrap(), "2026-01-01T00:00:00Z");
    client.time("op-8").await.unwrap();
    client.close().await;
    client.close().await;
    let once = format!("CurrentTime{ONE}");
    assert_eq!(server.called(), calls(&[&once, &once, &format!("Logout{ONE}")]));
    let requests = server.requests();
    let agent = format!("user-agent: novahost/{}", env!("CARGO_PKG_VERSION"));
    assert!(requests.iter().all(|text| text.contains(&agent)));
    assert!(requests[3].contains("soapaction: urn:vim25/6.7"), "{}", requests[3]);
    assert!(requests[3].contains("<operationID xmlns=\"urn:vim25\">op-7</operationID>"));
    assert_eq!(client.requests(), 6);
}

#[tokio::test]
async fn many_calls_at_once_log_in_once() {
    let server = after_login(vec![time(), time(), time()]).await;
    let client = server.client();
    let (a, b, c) = tokio::join!(client.time("a"), client.time("b"), client.time("c"));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(server.called().iter().filter(|it| it.starts_with("Login")).count(), 1);
}

#[tokio::test]
async fn a_session_that_ended_is_replaced_once_also_for_mutations() {
    let task = Say::Returns("<returnval type=\"Task\">task-1</returnval>".into());
    let server = after_login(vec![dead(), content("u-1"), Say::Session("two"), task, dead()]).await;
    let client = server.client();
    let answer = power_on(&client).await.unwrap();
    assert_eq!(answer.moref_at("returnval"), Some(MoRef::new("Task", "task-1")));
    let (first, second) = (format!("PowerOnVM_Task{ONE}"), format!("PowerOnVM_Task{TWO}"));
    let expected = calls(&[&first, "RetrieveServiceContent", "Login", &second]);
    assert_eq!(server.called(), expected);
}

#[tokio::test]
async fn a_second_refusal_of_the_session_is_an_error() {
    let server = after_login(vec![dead(), content("u-1"), Say::Session("two"), dead()]).await;
    let error = power_on(&server.client()).await.unwrap_err();
    assert!(error.is_fault(&FaultKind::NotAuthenticated));
    assert_eq!(error.proof(), Proof::Refused);
}

#[tokio::test]
async fn another_vcenter_under_the_same_name_is_not_spoken_to() {
    let server = after_login(vec![dead(), content("u-2")]).await;
    let error = power_on(&server.client()).await.unwrap_err();
    assert!(matches!(error, CallError::Identity(_)), "{error}");
    assert_eq!(error.proof(), Proof::NotSent);
}

#[tokio::test]
async fn a_wrong_password_is_sent_once() {
    let refused = vec![
        Say::Status(200, VERSIONS),
        content("u-1"),
        Say::Fault("InvalidLogin", "<x>hunter2</x>"),
    ];
    let server = script(refused).await;
    let client = server.client();
    for _ in 0..3 {
        let error = client.time("op").await.unwrap_err();
        assert!(matches!(&error, CallError::Auth(_)), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
    assert_eq!(server.called(), LOGIN);
    assert!(!format!("{client:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_session_that_rested_is_asked_whether_it_lives() {
    let task = || Say::Returns("<returnval type=\"Task\">task-1</returnval>".into());
    let steps = vec![task(), time(), task(), dead(), content("u-1"), Say::Session("two"), task()];
    let server = after_login(steps).await;
    let clock = Clock::fixed(0);
    let client = server.client_at(clock.clone());
    power_on(&client).await.unwrap();
    clock.advance(Duration::from_secs(6 * 60));
    power_on(&client).await.unwrap();
    clock.advance(Duration::from_secs(60 * 60));
    power_on(&client).await.unwrap();
    let (on, probe) = (format!("PowerOnVM_Task{ONE}"), format!("CurrentTime{ONE}"));
    let last = format!("PowerOnVM_Task{TWO}");
    let expected = calls(&[&on, &probe, &on, &probe, "RetrieveServiceContent", "Login", &last]);
    assert_eq!(server.called(), expected);
}

#[tokio::test]
async fn a_lost_reply_of_a_mutation_is_unknown_and_it_is_not_sent_again() {
    let server = after_login(vec![Say::Nothing, time()]).await;
    let client = server.client();
    let error = power_on(&client).await.unwrap_err();
    assert!(matches!(error, CallError::Lost { .. }), "{error}");
    assert_eq!(error.proof(), Proof::Unknown);
    assert_eq!(server.called().len(), 4);
}

#[tokio::test]
async fn a_lost_reply_of_a_login_leaves_the_mutation_unsent() {
    let server = script(vec![Say::Status(200, VERSIONS), content("u-1"), Say::Nothing]).await;
    let error = power_on(&server.client()).await.unwrap_err();
    assert_eq!(error.proof(), Proof::NotSent);
    assert_eq!(server.called(), LOGIN);
}

#[tokio::test]
async fn a_read_is_tried_again_after_a_lost_reply_and_a_busy_proxy() {
    let busy = Say::Status(503, "<html>Out of HTTP sessions</html>");
    let server = after_login(vec![Say::Nothing, busy, time()]).await;
    assert!(server.client().time("op").await.is_ok());
    let server = after_login(vec![Say::Status(503, "")]).await;
    let error = power_on(&server.client()).await.unwrap_err();
    assert!(matches!(error, CallError::Gateway { status: 503, .. }), "{error}");
    assert_eq!(error.proof(), Proof::Unknown);
}

#[tokio::test]
async fn what_the_server_repeats_of_a_secret_is_not_kept() {
    let server = after_login(vec![Say::Fault("InvalidArgument", "<v>is seed-word</v>")]).await;
    let this = MoRef::new("VirtualMachine", "vm-1");
    let args = [("spec", Val::any_secret("seed-word".into()))];
    let method = "ReconfigVM_Task";
    let request = Request { method, this: &this, args: &args, operation: None };
    let error = server.client().mutate(&request).await.unwrap_err();
    assert!(!format!("{error:?}").contains("seed-word"));
    assert!(error.is_fault(&FaultKind::InvalidArgument));
}

#[tokio::test]
async fn other_services_are_not_taken_for_a_vcenter_and_get_no_password() {
    for first in [Say::Status(404, ""), Say::Status(200, "<html/>"), Say::Status(301, "")] {
        let server = script(vec![first]).await;
        let error = server.client().time("op").await.unwrap_err();
        assert!(matches!(error, CallError::Identity(_)), "{error}");
        assert_eq!(server.called(), ["GET"]);
    }
}

#[tokio::test]
async fn nobody_at_home_is_not_sent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let endpoint = Endpoint { host: "127.0.0.1".into(), port, https: false };
    let client = Script::of(endpoint).client();
    let error = power_on(&client).await.unwrap_err();
    assert_eq!(error.proof(), Proof::NotSent);
}

#[tokio::test]
async fn a_login_after_the_end_asks_again_who_answers() {
    let steps = vec![time(), Say::Returns(String::new()), content("u-2")];
    let server = after_login(steps).await;
    let client = server.client();
    client.time("op").await.unwrap();
    client.close().await;
    assert!(matches!(client.time("op").await, Err(CallError::Identity(_))));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = after_login(vec![Say::Status(307, "")]).await;
    let error = power_on(&server.client()).await.unwrap_err();
    assert!(matches!(error, CallError::Gateway { status: 307, .. }), "{error}");
}

#[tokio::test]
async fn an_answer_without_end_is_given_up_at_the_bound() {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    const BOUND: usize = 64 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sent = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.unwrap();
        let (piece, mut sent) = (vec![b' '; 1 << 20], 0);
        // Ten times the bound is for ever.
        while sent < 10 * BOUND && stream.write_all(&piece).await.is_ok() {
            sent += piece.len();
        }
        sent
    });
    let endpoint = Endpoint { host: "127.0.0.1".into(), port, https: false };
    assert!(Script::of(endpoint).client().service().await.is_err());
    // What lies between two programs of one machine: buffers of sockets.
    assert!(sent.await.unwrap() <= BOUND + (32 << 20));
}

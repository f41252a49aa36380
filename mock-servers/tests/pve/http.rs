//! What the front end does to connections and bodies.

use std::time::Duration;

use mock_servers::pve::Timing;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::client::{RELEASES, cluster, options, start, world};

async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("a write");
    let mut bytes = vec![0; 64 * 1024];
    let count = stream.read(&mut bytes).await.expect("a reply");
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let mut options = options(RELEASES[1]);
    options.timing = Timing { keep_alive: Duration::from_millis(80), ..Timing::fast() };
    let cluster = start(world(), options).await;
    let mut stream = cluster.api.raw().await;
    let reply =
        exchange(&mut stream, "GET /api2/json/access/domains HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    let again =
        exchange(&mut stream, "GET /api2/json/access/domains HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(again.starts_with("HTTP/1.1 200"), "kept alive at first");
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(2), stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "closed when idle");
}

#[tokio::test]
async fn the_reason_phrase_tells_the_error_and_the_connection_ends() {
    let cluster = cluster(RELEASES[0]).await;
    let mut stream = cluster.api.raw().await;
    let (_, token) = cluster.api.headers[0].clone();
    let request = format!(
        "GET /api2/json/nodes/pve1/qemu/1/config HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n"
    );
    let reply = exchange(&mut stream, &request).await;
    assert!(reply.starts_with("HTTP/1.1 400 Parameter verification failed."), "{reply}");
    let mut rest = Vec::new();
    assert!(stream.read_to_end(&mut rest).await.is_ok());
}

#[tokio::test]
async fn large_and_chunked_bodies_are_refused() {
    let cluster = cluster(RELEASES[1]).await;
    let large = format!("poolid=a&comment={}", "x".repeat(600 * 1024));
    // The refusal may come before the body is read to its end, which some clients see as a broken connection.
    if let Ok(reply) = cluster.api.send("POST", "/pools", &large).await {
        reply.refused(501, "for data too large");
    }
    let mut headers: Vec<(&str, &str)> =
        cluster.api.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    headers.push(("Transfer-Encoding", "chunked"));
    let chunked =
        cluster.api.with(&headers).send("POST", "/pools", "poolid=a").await.expect("a reply");
    chunked.refused(501, "chunked");
    assert!(!cluster.control.inspect(|world| world.pools.contains_key("a")));
}

#[tokio::test]
async fn raw_separators_in_a_form_lose_what_follows() {
    let cluster = cluster(RELEASES[1]).await;
    let sent = "tags=b;a&description=x=y";
    let reply =
        cluster.api.send("PUT", "/nodes/pve2/qemu/102/config", sent).await.expect("a reply");
    // The `;` splits the pair: an option named `a` appears, which is not one.
    reply.refused(400, "property is not defined in schema");
}

#[tokio::test]
async fn two_clusters_live_in_one_process_and_one_cluster_on_two_ports() {
    let mut options = options(RELEASES[1]);
    options.endpoints = 2;
    let one = start(world(), options).await;
    let two = cluster(RELEASES[0]).await;
    assert_eq!(one.server.endpoints().len(), 2);
    assert_ne!(one.server.leaf_sha256(), two.server.leaf_sha256());
    assert_eq!(one.api.get("/version").await.data()["release"], "9.2");
    assert_eq!(two.api.get("/version").await.data()["release"], "8.4");
    two.server.stop().await;
    assert!(two.api.send("GET", "/version", "").await.is_err());
}

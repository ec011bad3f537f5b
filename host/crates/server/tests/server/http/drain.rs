//! How the server stops.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use wharf_server::Config;

use super::{config, start};
use crate::support::http::{Client, get, request};

const GOOD: &str = r#"{"input": [1, 2]}"#;

#[tokio::test]
async fn a_request_in_flight_is_answered() {
    let server = start(config()).await;
    let mut busy = Client::connect(server.address).await;
    busy.send(request("slow", "", GOOD)).await;
    let mut idle = Client::connect(server.address).await;
    idle.send(request("echo", "", GOOD)).await;
    assert_eq!(idle.answer().await.status, 200);
    server.gate().arrived(1).await;

    server.shutdown.cancel();
    // The idle connection is closed, no new one is taken, and operators can still look.
    assert_eq!(idle.closed().await, b"");
    assert!(TcpStream::connect(server.address).await.is_err());
    assert_eq!(
        get(server.admin, "GET", "/admin/snapshot").await.status,
        200
    );
    assert!(!server.serve.is_finished());

    server.gate().open();
    let answer = busy.answer().await;
    assert_eq!(
        (answer.status, answer.field("connection")),
        (200, Some("close"))
    );
    server.serve.await.unwrap();
    assert!(TcpStream::connect(server.admin).await.is_err());
}

#[tokio::test]
async fn what_does_not_finish_is_cut() {
    let mut server = start(Config {
        drain_timeout_ms: 200,
        ..config()
    })
    .await;
    let mut client = Client::connect(server.address).await;
    client.send(request("slow", "", GOOD)).await;
    server.gate().arrived(1).await;
    let start = Instant::now();
    server.shutdown.cancel();
    assert_eq!(client.closed().await, b"");
    (&mut server.serve).await.unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    server.idle().await;
}

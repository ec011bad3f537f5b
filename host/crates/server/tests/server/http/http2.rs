//! HTTP/2 with prior knowledge, by its own client and by hand.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use wharf_server::Config;

use super::{config, start};
use crate::support::grpc::{Call, pause_now_and_then};
use crate::support::http::{Client, PATIENCE};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:method: POST`, `:scheme: http`, `:path: /` of the static table of HPACK, and `:authority: x`.
const POST: &[u8] = b"\x83\x86\x84\x41\x01x";

pub(crate) async fn connect(address: SocketAddr) -> h2::client::SendRequest<Bytes> {
    let socket = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn infer(
    client: &mut h2::client::SendRequest<Bytes>,
    route: &str,
) -> Result<(u16, Bytes), h2::Error> {
    let request = http::Request::post(format!("http://x/v1/infer/{route}"))
        .body(())
        .unwrap();
    let mut client = client.clone().ready().await?;
    let (answer, mut body) = client.send_request(request, false)?;
    body.send_data(Bytes::from_static(br#"{"input": "#), false)?;
    body.send_data(Bytes::from_static(b"[1, 2]}"), true)?;
    whole(answer).await
}

/// Asks for a path.
pub(super) async fn fetch(
    client: &mut h2::client::SendRequest<Bytes>,
    path: &str,
) -> Result<(u16, Bytes), h2::Error> {
    ask(client, http::Request::get(format!("http://x{path}"))).await
}

/// Sends a request without a body.
async fn ask(
    client: &h2::client::SendRequest<Bytes>,
    request: http::request::Builder,
) -> Result<(u16, Bytes), h2::Error> {
    let mut client = client.clone().ready().await?;
    let (answer, _) = client.send_request(request.body(()).unwrap(), true)?;
    whole(answer).await
}

async fn whole(answer: h2::client::ResponseFuture) -> Result<(u16, Bytes), h2::Error> {
    let answer = answer.await?;
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok((status, bytes.into()))
}

#[tokio::test]
async fn both_protocols_share_the_port() {
    let server = start(config()).await;
    let mut client = connect(server.address).await;
    for _ in 0..3 {
        let (status, body) = infer(&mut client, "echo").await.unwrap();
        assert_eq!((status, &body[..]), (200, &br#"{"output":[1.0,2.0]}"#[..]));
    }
    assert_eq!(infer(&mut client, "none").await.unwrap().0, 404);
    server.is_well().await;
}

#[tokio::test]
async fn a_stream_that_is_reset_frees_its_slot() {
    let server = start(config()).await;
    let mut client = connect(server.address).await;
    for started in 1..=200 {
        let mut waiting = client.clone();
        let asking = tokio::spawn(async move { infer(&mut waiting, "slow").await });
        server.gate().arrived(started).await;
        asking.abort();
        server.idle().await;
    }
    assert_eq!(infer(&mut client, "echo").await.unwrap().0, 200);
}

#[tokio::test]
async fn a_drain_says_goodbye() {
    let server = start(config()).await;
    let mut client = connect(server.address).await;
    let mut waiting = client.clone();
    let asking = tokio::spawn(async move { infer(&mut waiting, "slow").await });
    server.gate().arrived(1).await;
    server.shutdown.cancel();
    // GOAWAY has come when the client takes no more requests.
    while infer(&mut client, "echo").await.is_ok() {}
    server.gate().open();
    assert_eq!(asking.await.unwrap().unwrap().0, 200);
    server.serve.await.unwrap();
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Sends a flood and reads until the server closes: it must say GOAWAY first, and leave its other clients alone.
async fn flood(name: &str, frames: Vec<u8>) {
    let server = start(config()).await;
    let mut other = connect(server.address).await;
    assert_eq!(infer(&mut other, "echo").await.unwrap().0, 200);
    let Client { socket, .. } = Client::connect(server.address).await;
    let (mut read, mut write) = socket.into_split();
    // Read while sending: a server that is not read would be stuck in the middle of its own answers.
    let sending = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let start = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        let _ = write.write_all(&start).await;
        while write.write_all(&frames).await.is_ok() {}
    });
    let mut said = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut said);
    let _ = tokio::time::timeout(PATIENCE, reading)
        .await
        .unwrap_or_else(|_| panic!("{name}: the server goes along with it"));
    sending.await.unwrap();
    assert!(kinds(&said).contains(&GOAWAY), "{name}: {:?}", kinds(&said));
    assert_eq!(infer(&mut other, "echo").await.unwrap().0, 200, "{name}");
    server.is_well().await;
}

/// The kinds of the frames.
fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        kinds.push(*kind);
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        bytes = rest.get(length..).unwrap_or_default();
    }
    kinds
}

#[tokio::test]
async fn a_header_block_that_does_not_end_is_cut_off() {
    // An idle connection would be closed as well, only later than anybody waits here.
    let server = start(Config {
        idle_timeout_ms: 600_000,
        ..config()
    })
    .await;
    let unended = frame(HEADERS, 0, 1, POST);
    // A field of 126 bytes that comes byte by byte.
    let long = frame(
        HEADERS,
        END_HEADERS,
        1,
        &[POST, b"\x40\x01a\x7f\0", &[b'b'; 127]].concat(),
    );
    let more = frame(CONTINUATION, 0, 1, b"\x40\x01a\x01b");
    for (sent, trickled) in [
        (&unended[..], &[][..]),
        (&long[..20], &[]),
        (&long[..40], b"b"),
        (&unended, &more),
    ] {
        let mut client = Client::connect(server.address).await;
        let opening = [PREFACE, &frame(SETTINGS, 0, 0, &[]), sent].concat();
        client.send(opening).await;
        let mut trickle = tokio::time::interval(Duration::from_millis(400));
        let (mut read, mut write) = client.socket.split();
        let mut said = Vec::new();
        let closed = async {
            let mut reading =
                std::pin::pin!(tokio::io::AsyncReadExt::read_to_end(&mut read, &mut said));
            loop {
                tokio::select! {
                    _ = reading.as_mut() => break,
                    _ = trickle.tick() => {
                        let _ = tokio::io::AsyncWriteExt::write_all(&mut write, trickled).await;
                    }
                }
            }
        };
        let closed = tokio::time::timeout(PATIENCE, closed).await;
        assert!(closed.is_ok(), "{sent:?}: the server goes along with it");
        // It is the time that is over: nothing is wrong with the frames.
        assert!(!kinds(&said).contains(&GOAWAY), "{:?}", kinds(&said));
    }
    server.is_well().await;
}

#[tokio::test]
async fn a_header_of_too_many_fields_is_refused() {
    let server = start(config()).await;
    let mut client = connect(server.address).await;
    for (count, status) in [(100, 200), (101, 431)] {
        let mut request = http::Request::get("http://x/v2/health/live");
        for _ in 0..count {
            request = request.header("x", "y");
        }
        let (got, body) = ask(&client, request).await.unwrap();
        assert_eq!(got, status, "{count}");
        if status != 200 {
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["field"], "headers", "{problem}");
            assert!(problem["detail"].to_string().contains("101"), "{problem}");
        }
    }
    // The connection goes on.
    assert_eq!(infer(&mut client, "echo").await.unwrap().0, 200);

    // Two more come from the call itself.
    let call = Call::infer(server.address, &[("x", "y"); 99]).await;
    let ended = call.finish(Bytes::new()).await;
    assert_eq!(ended.code, 11, "{ended:?}");
    assert!(ended.message.starts_with("headers: "), "{ended:?}");
}

#[tokio::test]
async fn a_header_of_too_many_bytes_is_refused() {
    let server = start(config()).await;
    let mut client = connect(server.address).await;
    let request = http::Request::get("http://x/v2/health/live").header("x", "y".repeat(17 << 10));
    assert_eq!(ask(&client, request).await.unwrap().0, 431);
    assert_eq!(infer(&mut client, "echo").await.unwrap().0, 200);
}

#[tokio::test]
async fn a_body_of_too_many_frames_is_refused() {
    let server = start(Config {
        body_timeout_ms: 20_000,
        ..config()
    })
    .await;
    let mut client = connect(server.address).await;
    let request = http::Request::post("http://x/v1/infer/echo")
        .body(())
        .unwrap();
    let mut ready = client.clone().ready().await.unwrap();
    let (answer, mut body) = ready.send_request(request, false).unwrap();
    let sending = tokio::spawn(async move {
        // The server may have answered before all of it is sent.
        for count in 0..=65_536 {
            pause_now_and_then(count).await;
            body.reserve_capacity(1);
            let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await;
            let sent = matches!(room, Some(Ok(_)))
                .then(|| body.send_data(Bytes::from_static(b" "), false));
            if !matches!(sent, Some(Ok(()))) {
                return;
            }
        }
        let _ = body.send_data(Bytes::new(), true);
    });
    let (status, problem) = whole(answer).await.unwrap();
    let problem = String::from_utf8_lossy(&problem);
    assert_eq!(status, 400, "{problem}");
    assert!(problem.contains("65536 chunks"), "{problem}");
    sending.await.unwrap();
    assert_eq!(infer(&mut client, "echo").await.unwrap().0, 200);
}

#[tokio::test]
async fn rapid_resets_are_ended() {
    let mut frames = Vec::new();
    for stream in (1..20_000).step_by(2) {
        frames.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, POST));
        frames.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    flood("rapid reset", frames).await;
}

#[tokio::test]
async fn continuation_floods_are_ended() {
    let mut frames = frame(HEADERS, 0, 1, POST);
    for _ in 0..10_000 {
        frames.extend(frame(CONTINUATION, 0, 1, b"\x40\x01a\x01b"));
    }
    flood("continuation", frames).await;
}

#[tokio::test]
async fn empty_data_floods_are_ended() {
    let mut frames = frame(HEADERS, END_HEADERS, 1, POST);
    for _ in 0..10_000 {
        frames.extend(frame(DATA, 0, 1, &[]));
    }
    flood("empty data", frames).await;
}

//! HTTP/2 with prior knowledge, by its own client and by hand.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::{config, start};
use crate::support::http::Client;

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
    let request = http::Request::get(format!("http://x{path}"))
        .body(())
        .unwrap();
    let mut client = client.clone().ready().await?;
    let (answer, _) = client.send_request(request, true)?;
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
    let _ = tokio::time::timeout(std::time::Duration::from_secs(30), reading)
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

//! Calls whose frames are wrong, late, too large or compressed.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use prost::Message as _;
use wharf_server::Config;
use wharf_server::inference::ModelInferResponse;

use super::{config, start, start_with};
use crate::support::Running;
use crate::support::grpc::{Call, bytes_of, floats, frame, pause_now_and_then};

const GZIP: (&str, &str) = ("grpc-encoding", "gzip");
const DEFLATE: (&str, &str) = ("grpc-encoding", "deflate");

fn request() -> Vec<u8> {
    floats("echo", &[1.0, 2.0]).encode_to_vec()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn refused(
    server: &Running,
    fields: &[(&'static str, &str)],
    body: Bytes,
    code: i32,
) -> String {
    let ended = Call::infer(server.address, fields).await.finish(body).await;
    assert_eq!(ended.code, code, "{ended:?}");
    assert!(ended.body.is_empty());
    ended.message
}

#[tokio::test]
async fn frames_may_be_cut_anywhere() {
    let server = start().await;
    let message = frame(0, &request());
    let mut call = Call::infer(server.address, &[]).await;
    for byte in message.iter() {
        assert!(call.send(vec![*byte]).await);
    }
    call.end();
    let answer: ModelInferResponse = call.ended().await.message();
    assert_eq!(answer.raw_output_contents, [bytes_of(&[1.0, 2.0])]);
}

#[tokio::test]
async fn frames_that_break_the_rules_are_refused() {
    let server = start().await;
    let whole = frame(0, &request());
    for body in [
        Bytes::new(),
        // The flag of compression without an encoding, and a flag that is none.
        frame(1, &request()),
        frame(2, &request()),
        // Cut in the prefix and in the message, and two messages.
        whole.slice(..3),
        whole.slice(..20),
        [&whole[..], &whole].concat().into(),
    ] {
        let message = refused(&server, &[], body, 13).await;
        assert!(!message.is_empty());
    }
    let message = refused(&server, &[], frame(0, b"\xff\xff"), 3).await;
    assert!(message.starts_with("request: "), "{message}");
    server.is_well().await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_before_it_is_read() {
    let server = start().await;
    // Only its prefix is sent.
    let mut call = Call::infer(server.address, &[]).await;
    call.send(&[0, 0xff, 0xff, 0xff, 0xff][..]).await;
    let ended = call.ended().await;
    assert_eq!(ended.code, 11, "{ended:?}");
    assert!(ended.message.starts_with("body: "), "{ended:?}");
    assert!(ended.message.contains("server.max_body_bytes"));
    server.is_well().await;
}

#[tokio::test]
async fn a_message_of_too_many_frames_is_refused() {
    let server = start_with(Config {
        body_timeout_ms: 20_000,
        ..config()
    })
    .await;
    let message = frame(0, &[0; 65_600]);
    let mut call = Call::infer(server.address, &[]).await;
    for (count, byte) in message.iter().enumerate() {
        pause_now_and_then(count).await;
        if !call.send(vec![*byte]).await {
            break;
        }
    }
    let ended = call.ended().await;
    assert_eq!(ended.code, 13, "{ended:?}");
    assert!(ended.message.contains("too many frames"), "{ended:?}");
    server.is_well().await;
}

#[tokio::test]
async fn a_message_that_trickles_is_refused() {
    let server = start().await;
    let mut call = Call::infer(server.address, &[]).await;
    call.send(&[0, 0, 0, 0, 9, 1][..]).await;
    let ended = call.ended().await;
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.message.contains("did not arrive within 500 ms"));
    server.is_well().await;
}

#[tokio::test]
async fn compressed_messages_are_read_and_answered() {
    let server = start().await;
    let body = frame(1, &gzip(&request()));
    // Whoever compresses and accepts it is answered so.
    let fields = [GZIP, ("grpc-accept-encoding", "identity, gzip")];
    let call = Call::infer(server.address, &fields).await;
    let ended = call.finish(body.clone()).await;
    assert_eq!((ended.code, ended.body[0]), (0, 1));
    assert_eq!(ended.headers["grpc-encoding"], "gzip");
    let mut plain = Vec::new();
    let mut decoder = GzDecoder::new(&ended.body[5..]);
    std::io::Read::read_to_end(&mut decoder, &mut plain).unwrap();
    let answer = ModelInferResponse::decode(&plain[..]).unwrap();
    assert_eq!(answer.raw_output_contents, [bytes_of(&[1.0, 2.0])]);
    // Who does not compress, or does not accept it, is not.
    let call = Call::infer(server.address, &[GZIP]).await;
    let _: ModelInferResponse = call.finish(body).await.message();
    let fields = [GZIP, ("grpc-accept-encoding", "gzip")];
    let call = Call::infer(server.address, &fields[1..]).await;
    let _: ModelInferResponse = call.finish(frame(0, &request())).await.message();
    // A message of a compressed call may be plain.
    let call = Call::infer(server.address, &[GZIP]).await;
    let _: ModelInferResponse = call.finish(frame(0, &request())).await.message();
    let message = refused(&server, &[GZIP], frame(1, &request()), 3).await;
    assert!(
        message.contains("is not what its content encoding says"),
        "{message}"
    );
    let unknown = ("grpc-encoding", "snappy");
    let message = refused(&server, &[unknown], frame(1, &request()), 12).await;
    assert!(message.starts_with("grpc-encoding: "), "{message}");
}

#[tokio::test]
async fn deflate_is_a_coding_as_well() {
    let server = start().await;
    let body = frame(1, &deflate(&request()));
    let fields = [DEFLATE, ("grpc-accept-encoding", "identity,deflate, gzip")];
    let call = Call::infer(server.address, &fields).await;
    let ended = call.finish(body.clone()).await;
    assert_eq!((ended.code, ended.body[0]), (0, 1));
    assert_eq!(ended.headers["grpc-encoding"], "deflate");
    let mut plain = Vec::new();
    let mut decoder = ZlibDecoder::new(&ended.body[5..]);
    std::io::Read::read_to_end(&mut decoder, &mut plain).unwrap();
    let answer = ModelInferResponse::decode(&plain[..]).unwrap();
    assert_eq!(answer.raw_output_contents, [bytes_of(&[1.0, 2.0])]);
    // Who accepts gzip alone is not answered with deflate.
    let fields = [DEFLATE, ("grpc-accept-encoding", "gzip")];
    let call = Call::infer(server.address, &fields).await;
    let _: ModelInferResponse = call.finish(body).await.message();
    refused(&server, &[DEFLATE], frame(1, &gzip(&request())), 3).await;
}

#[tokio::test]
async fn a_bomb_is_not_decompressed() {
    let server = start().await;
    let zeros = vec![0; 256 << 20];
    for (fields, bomb) in [(GZIP, gzip(&zeros)), (DEFLATE, deflate(&zeros))] {
        assert!(bomb.len() < 1 << 20);
        let message = refused(&server, &[fields], frame(1, &bomb), 11).await;
        assert!(message.contains("decompressed"), "{message}");
    }
    server.is_well().await;
}

#[tokio::test]
async fn many_small_fields_are_refused() {
    let server = start().await;
    // Each is an input without a name: read into structures, they would take a hundred times as much.
    let inputs = [0x2a, 0].repeat(500_000);
    let message = refused(&server, &[], frame(0, &inputs), 11).await;
    assert!(message.contains("16384"), "{message}");
    server.is_well().await;
}

#[tokio::test]
async fn a_timeout_that_is_none_is_refused() {
    let server = start().await;
    let fields = [("grpc-timeout", "soon")];
    let message = refused(&server, &fields, frame(0, &request()), 3).await;
    assert!(message.starts_with("grpc-timeout: "), "{message}");
    // One that is over already ends the call, whatever it is for.
    let fields = [("grpc-timeout", "0n")];
    refused(&server, &fields, frame(0, &request()), 4).await;
}

#[tokio::test]
async fn a_call_that_there_is_not_is_refused() {
    let server = start().await;
    for path in ["/inference.GRPCInferenceService/None", "/none", "/"] {
        let call = Call::begin(server.address, path, &[]).await;
        let ended = call.finish(frame(0, &[])).await;
        assert_eq!(ended.code, 12, "{path}");
    }
    // What an answer repeats of its request is bounded.
    let long = format!("{}\u{1}", "n".repeat(100_000));
    let request = floats(&long, &[1.0, 2.0]).encode_to_vec();
    let message = refused(&server, &[], frame(0, &request), 3).await;
    assert!(message.len() < 3000, "{}", message.len());
}

#[tokio::test]
async fn an_id_is_kept() {
    let server = start().await;
    let call = Call::infer(server.address, &[("x-request-id", "mine")]).await;
    let ended = call.finish(frame(0, &request())).await;
    assert_eq!(ended.headers["x-request-id"], "mine");
}

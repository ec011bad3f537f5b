//! The Open Inference Protocol, over REST and over gRPC.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use serde_json::json;
use wharf_core::ErrorKind;
use wharf_protobuf::{Fields, Message};
use wharf_testkit::{closed_port, eventually};

use crate::peer::{
    Body, Handler, Peer, Speaks, answering, described, echo, good, handler, json as document,
    status,
};
use crate::site::{Site, ask, ask_within, idle, settings};

#[tokio::test]
async fn tensors_travel_as_binary_data_or_as_json_as_the_peer_can() {
    let plain = handler(|request| async move {
        match request.uri().path() {
            "/v2" => status(404, "no such thing"),
            _ => match described(&request) {
                Some(answer) => answer,
                None => echo(request).await,
            },
        }
    });
    for (handler, binary) in [(good(), true), (plain, false)] {
        let peer = Peer::start(Speaks::Http1, handler).await;
        let site = Site::new();
        let endpoints = [format!("http://{}", peer.address)];
        let model = site
            .model(&settings(
                "oip-http",
                &endpoints,
                "request_headers = ['x-user']",
            ))
            .await;
        let info = model.info();
        assert_eq!(info.platform, "wharf_upstream");
        assert_eq!(&*info.inputs[0].name, "x");
        assert_eq!(info.outputs[0].shape, [None]);
        assert_eq!(ask(&model, &[1.0, 2.5]).await.unwrap(), [1.0, 2.5]);
        let seen = peer.seen("/infer");
        assert_eq!(
            seen[0]
                .headers
                .contains_key("inference-header-content-length"),
            binary
        );
        assert_eq!(seen[0].headers["x-request-id"], "test");
        assert_eq!(seen[0].headers["x-user"], "7");
        let wrong = wharf_core::Tensor::from_vec("x", [1], vec![1_i32]).unwrap();
        let error = model.infer(&wharf_testkit::request("r"), vec![wrong]).await;
        assert_eq!(error.unwrap_err().field(), Some("x"));
        assert!(!model.load().latency.is_zero());
        idle(&model).await;
    }
}

/// A call's answer: messages, and then its status.
fn call(messages: &[Bytes], code: u16) -> Response<Body> {
    let mut frames = Vec::new();
    for message in messages {
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(message.len() as u32);
        framed.put_slice(message);
        frames.push(Ok(Frame::data(framed.freeze())));
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.into());
    trailers.insert("grpc-message", "too%20much".parse().unwrap());
    trailers.insert("retry-after", 9.into());
    frames.push(Ok(Frame::trailers(trailers)));
    let mut response =
        Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync());
    let media_type = "application/grpc".parse().unwrap();
    response.headers_mut().insert("content-type", media_type);
    response
}

fn tensor(name: &str, shape: i64) -> Message {
    Message::new()
        .bytes(1, name)
        .bytes(2, "FP32")
        .packed(3, &[shape])
}

async fn grpc_echo(request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    if path.ends_with("ModelMetadata") {
        let message = Message::new()
            .bytes(1, "echo")
            .message(4, &tensor("x", -1))
            .message(5, &tensor("y", -1));
        return call(&[message.into_bytes().into()], 0);
    }
    let raw = Fields::of(&body[5..]).find_map(|field| match field.unwrap() {
        (7, field) => Some(field.bytes().unwrap().to_vec()),
        _ => None,
    });
    let raw = raw.unwrap();
    if raw.is_empty() {
        return call(&[], 8);
    }
    let message = Message::new()
        .bytes(1, "echo")
        .message(5, &tensor("y", raw.len() as i64 / 4))
        .bytes(6, &raw);
    call(&[message.into_bytes().into()], 0)
}

fn grpc() -> Handler {
    handler(grpc_echo)
}

#[tokio::test]
async fn tensors_travel_as_raw_contents_over_grpc() {
    let peer = Peer::start(Speaks::Http2, grpc()).await;
    let site = Site::new();
    let endpoints = [format!("http://{}", peer.address)];
    let model = site
        .model(&settings("oip-grpc", &endpoints, "version = 3"))
        .await;
    assert_eq!(model.info().version, 3);
    let large: Vec<f32> = (0..100_000).map(|n| n as f32).collect();
    assert_eq!(ask(&model, &large).await.unwrap(), large);
    assert_eq!(ask(&model, &[1.5]).await.unwrap(), [1.5]);
    let seen = peer.seen("/ModelInfer");
    assert_eq!(seen[0].headers["via"], "1.1 wharf");
    let timeout = seen[0].headers["grpc-timeout"].to_str().unwrap();
    let millis: u64 = timeout.strip_suffix('m').unwrap().parse().unwrap();
    assert!((1..=10_000).contains(&millis), "{timeout}");
    // A status is the peer's word, also where it comes after the header.
    let error = ask(&model, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert!(error.message().ends_with("too much"), "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(9)));
    idle(&model).await;
}

#[tokio::test]
async fn what_is_more_than_a_connection_takes_goes_over_another_one() {
    let hanging = handler(|request| async move {
        match request.uri().path().ends_with("ModelMetadata") {
            true => grpc_echo(request).await,
            false => std::future::pending().await,
        }
    });
    let peer = Peer::start(Speaks::Http2, hanging).await;
    let site = Site::new();
    let endpoints = [format!("http://{}", peer.address)];
    let model = site
        .model(&settings("oip-grpc", &endpoints, "max_connections = 3"))
        .await;
    // A connection of the peer takes two hundred.
    let asking: Vec<_> = (0..300)
        .map(|_| {
            let model = std::sync::Arc::clone(&model);
            tokio::spawn(async move { ask(&model, &[1.0]).await })
        })
        .collect();
    eventually("all are asked", || peer.seen("/ModelInfer").len() == 300).await;
    let error = ask(&model, &[1.0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("connections"), "{error}");
    for task in asking {
        task.abort();
    }
    idle(&model).await;
}

#[tokio::test]
async fn what_a_peer_refuses_is_the_clients_error_and_what_it_has_no_room_for_may_come_again() {
    for (code, kind, retry) in [
        (400, ErrorKind::InvalidArgument, None),
        (422, ErrorKind::Unprocessable, None),
        (429, ErrorKind::QuotaExceeded, Some(7)),
        (503, ErrorKind::Unavailable, Some(7)),
        (500, ErrorKind::UpstreamFault, None),
        (401, ErrorKind::UpstreamFault, None),
    ] {
        let refusal = move || {
            let text = json!({"detail": "no\r\nway", "error": "x"});
            let mut response = document(&text);
            *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
            if retry.is_some() {
                response.headers_mut().insert("retry-after", 7.into());
            }
            response
        };
        let peer = Peer::start(Speaks::Http1, answering(refusal)).await;
        let site = Site::new();
        let endpoints = [format!("http://{}", peer.address)];
        let model = site
            .model(&settings("oip-http", &endpoints, "retries = 0"))
            .await;
        let error = ask(&model, &[1.0]).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{code}");
        assert_eq!(
            error.retry_after(),
            retry.map(Duration::from_secs),
            "{code}"
        );
        let told = error.message().contains("no  way");
        assert_eq!(told, matches!(code, 400 | 422 | 429), "{error}");
        assert!(!error.message().contains("127.0.0.1"));
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there_loads_once_it_is_and_stays() {
    let port = closed_port();
    let site = Site::new();
    let endpoints = [format!("http://{}", port.local_addr().unwrap())];
    let upstream = site
        .open(&settings(
            "oip-http",
            &endpoints,
            "refresh_ms = 50\n[breaker]\nconsecutive_failures = 0",
        ))
        .await
        .unwrap();
    assert!(upstream.model().is_none());
    let problem = upstream.problem().unwrap();
    assert_eq!(problem.key.as_deref(), Some("endpoints"));
    assert!(problem.message.contains("cannot be reached"), "{problem}");

    let peer = Peer::on(port.listen(16).unwrap(), Speaks::Http1, good());
    eventually("it is there", || upstream.model().is_some()).await;
    assert!(upstream.problem().is_none());
    assert!(site.changes.load(Ordering::SeqCst) > 0);
    let model = upstream.model().unwrap();
    assert_eq!(ask(&model, &[1.0]).await.unwrap(), [1.0]);

    // The same model goes on being that one, and one that is gone stays in force.
    let asked = peer.seen("/v2/models/echo").len();
    eventually("asked again", || peer.seen("/v2/models/echo").len() > asked).await;
    peer.end().await;
    eventually("missed", || upstream.problem().is_some()).await;
    assert!(std::sync::Arc::ptr_eq(&upstream.model().unwrap(), &model));
    let error = ask_within(&model, Duration::from_secs(5), &[1.0]).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_model_that_changed_is_learnt_after_an_answer_that_does_not_fit() {
    let changed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_changed = std::sync::Arc::clone(&changed);
    let peer = handler(move |request| {
        let changed = is_changed.load(Ordering::SeqCst);
        async move {
            let name = if changed { "z" } else { "y" };
            match (request.uri().path(), described(&request)) {
                ("/v2/models/echo", _) => document(&json!({
                    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
                    "outputs": [{"name": name, "datatype": "FP32", "shape": [1]}],
                })),
                (_, Some(answer)) => answer,
                _ => document(&json!({"outputs": [
                    {"name": name, "datatype": "FP32", "shape": [1], "data": [1]}]})),
            }
        }
    });
    let peer = Peer::start(Speaks::Http1, peer).await;
    let site = Site::new();
    let endpoints = [format!("http://{}", peer.address)];
    let upstream = site
        .open(&settings("oip-http", &endpoints, ""))
        .await
        .unwrap();
    let model = upstream.model().unwrap();
    assert_eq!(ask(&model, &[1.0]).await.unwrap(), [1.0]);
    changed.store(true, Ordering::SeqCst);
    let error = ask(&model, &[1.0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UpstreamFault);
    let output = || upstream.model().unwrap().info().outputs[0].name.clone();
    eventually("learnt", || &*output() == "z").await;
}

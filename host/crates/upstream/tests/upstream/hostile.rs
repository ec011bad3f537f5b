//! Peers that lie, hang, redirect and flood. Each comes to an error of its kind, and the next request is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::json;
use wharf_core::{ErrorKind, RequestContext};
use wharf_testkit::{eventually, request, request_with};

use crate::peer::{
    Body, Handler, Peer, Speaks, answering, described, echo, full, good, handler, json as document,
    status,
};
use crate::site::{Site, ask, ask_within, idle, infer, settings};

fn output(shape: &serde_json::Value, data: &serde_json::Value) -> Response<Body> {
    document(&json!({"outputs": [{"name": "y", "datatype": "FP32", "shape": shape, "data": data}]}))
}

fn with(mut response: Response<Body>, name: &'static str, value: &str) -> Response<Body> {
    response.headers_mut().insert(name, value.parse().unwrap());
    response
}

/// An answer that does not end, in pieces of a KiB.
fn endless() -> Response<Body> {
    let piece = || Some((Ok(Frame::data(Bytes::from(vec![b' '; 1024]))), ()));
    let body = StreamBody::new(stream::unfold((), move |()| async move { piece() }));
    with(
        Response::new(body.boxed_unsync()),
        "content-type",
        "application/json",
    )
}

fn gzip_bomb() -> Response<Body> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&vec![b' '; 1 << 20]).unwrap();
    let body = encoder.finish().unwrap();
    let response = with(
        Response::new(full(body)),
        "content-type",
        "application/json",
    );
    with(response, "content-encoding", "gzip")
}

#[tokio::test]
async fn every_lie_is_a_bad_gateway_and_the_next_request_is_served() {
    type Lie = fn() -> Response<Body>;
    let lies: [(&str, Lie); 10] = [
        ("other size", || output(&json!([2]), &json!([1]))),
        ("other rank", || output(&json!([1, 1]), &json!([1]))),
        ("petabytes", || output(&json!([1_u64 << 50]), &json!([1]))),
        ("no output", || document(&json!({"outputs": []}))),
        ("no json", || {
            with(status(200, "["), "content-type", "application/json")
        }),
        ("other media type", || {
            with(status(200, "{}"), "content-type", "text/html")
        }),
        ("redirect", || {
            with(status(307, ""), "location", "http://127.0.0.1:1/secret")
        }),
        ("endless", endless),
        ("gzip bomb", gzip_bomb),
        ("long document", || {
            with(
                output(&json!([1]), &json!([1])),
                "inference-header-content-length",
                "99999999999",
            )
        }),
    ];
    for (name, lie) in lies {
        let honest = Arc::new(AtomicBool::new(false));
        let is_honest = Arc::clone(&honest);
        let peer = handler(move |request| {
            let honest = is_honest.load(Ordering::SeqCst);
            async move {
                match described(&request) {
                    Some(answer) => answer,
                    None if honest => echo(request).await,
                    None => lie(),
                }
            }
        });
        let peer = Peer::start(Speaks::Http1, peer).await;
        let site = Site::new();
        let endpoints = [format!("http://{}", peer.address)];
        let model = site
            .model(&settings("oip-http", &endpoints, "max_body_bytes = 65536"))
            .await;
        let error = ask(&model, &[1.0]).await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::UpstreamFault, "{name}: {error}");
        assert!(!error.message().contains("secret") && !error.message().contains("127"));
        assert_eq!(peer.seen("/infer").len(), 1, "{name}: asked once");
        honest.store(true, Ordering::SeqCst);
        assert_eq!(ask(&model, &[2.0]).await.unwrap(), [2.0], "{name}");
        idle(&model).await;
    }
}

#[tokio::test]
async fn metadata_that_lies_is_a_problem_and_no_model() {
    let peer = answering(|| status(500, ""));
    let lying = handler(|_request| async {
        document(
            &json!({"inputs": [{"name": "x", "datatype": "FP99", "shape": [1]}], "outputs": []}),
        )
    });
    for handler in [lying, handler(|_request| async { endless() })] {
        let peer = Peer::start(Speaks::Http1, handler).await;
        let site = Site::new();
        let endpoints = [format!("http://{}", peer.address)];
        let upstream = site
            .open(&settings("oip-http", &endpoints, ""))
            .await
            .unwrap();
        assert!(upstream.model().is_none());
        assert!(upstream.problem().unwrap().message.contains("answer"));
    }
    drop(peer);
}

/// Says when it is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_hanging_peer_ends_at_the_deadline_and_its_connection_is_not_used_again() {
    let dropped = Arc::<AtomicUsize>::default();
    let counts = Arc::clone(&dropped);
    let first = Arc::new(AtomicBool::new(true));
    let hanging = handler(move |request| {
        let guard = Dropped(Arc::clone(&counts));
        let first = Arc::clone(&first);
        async move {
            match described(&request) {
                Some(answer) => {
                    std::mem::forget(guard);
                    answer
                }
                None if first.swap(false, Ordering::SeqCst) => {
                    std::future::pending::<()>().await;
                    drop(guard);
                    status(200, "")
                }
                None => {
                    std::mem::forget(guard);
                    echo(request).await
                }
            }
        }
    });
    let peer = Peer::start(Speaks::Http1, hanging).await;
    let site = Site::new();
    let endpoints = [format!("http://{}", peer.address)];
    let model = site
        .model(&settings("oip-http", &endpoints, "timeout_ms = 60000"))
        .await;
    let began = Instant::now();
    let error = ask_within(&model, Duration::from_millis(300), &[1.0]).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert!(began.elapsed() < Duration::from_secs(10));
    // The peer is told: what it works on is dropped with its connection.
    eventually("the call ends there", || {
        dropped.load(Ordering::SeqCst) == 1
    })
    .await;
    assert_eq!(ask(&model, &[3.0]).await.unwrap(), [3.0]);
    idle(&model).await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_call() {
    let dropped = Arc::<AtomicUsize>::default();
    let counts = Arc::clone(&dropped);
    let hanging = handler(move |request| {
        let guard = Dropped(Arc::clone(&counts));
        async move {
            if let Some(answer) = described(&request) {
                std::mem::forget(guard);
                return answer;
            }
            std::future::pending::<()>().await;
            drop(guard);
            status(200, "")
        }
    });
    let peer = Peer::start(Speaks::Http1, hanging).await;
    let site = Site::new();
    let endpoints = [format!("http://{}", peer.address)];
    let model = site.model(&settings("oip-http", &endpoints, "")).await;
    let asking = tokio::spawn({
        let model = Arc::clone(&model);
        async move { ask(&model, &[1.0]).await }
    });
    eventually("it is asked", || peer.seen("/infer").len() == 1).await;
    assert_eq!(model.load().in_flight, 1);
    asking.abort();
    idle(&model).await;
    eventually("the call ends there", || {
        dropped.load(Ordering::SeqCst) == 1
    })
    .await;
}

#[tokio::test]
async fn what_is_too_much_at_once_is_refused_at_once() {
    let peer = Peer::start(Speaks::Http1, hanging()).await;
    let site = Site::new();
    let endpoints = [format!("http://{}", peer.address)];
    let model = site
        .model(&settings("oip-http", &endpoints, "max_in_flight = 1"))
        .await;
    let asking = tokio::spawn({
        let model = Arc::clone(&model);
        async move { ask(&model, &[1.0]).await }
    });
    eventually("it is asked", || model.load().in_flight == 1).await;
    assert!(model.check_room().is_err());
    let error = ask(&model, &[1.0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.retry_after().is_some());
    asking.abort();
    idle(&model).await;
    assert!(model.check_room().is_ok());
}

#[tokio::test]
async fn a_good_peer_stays_good() {
    let peer = Peer::start(Speaks::Http1, good()).await;
    let site = Site::new();
    let endpoints = [format!("http://{}", peer.address)];
    let model = site
        .model(&settings("oip-http", &endpoints, "max_connections = 2"))
        .await;
    for round in 0..50 {
        let value = round as f32;
        assert_eq!(ask(&model, &[value]).await.unwrap(), [value]);
    }
}

/// Describes itself, and says nothing more.
fn hanging() -> Handler {
    handler(|request| async move {
        match described(&request) {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    })
}

#[tokio::test]
async fn a_peer_that_hangs_is_accused_by_the_routes_deadline_and_not_by_a_clients() {
    let peer = Peer::start(Speaks::Http1, hanging()).await;
    let site = Site::new();
    let endpoints = [format!("http://{}", peer.address)];
    let more = "timeout_ms = 60000\n[breaker]\nconsecutive_failures = 2\nopen_ms = 60000";
    let model = site.model(&settings("oip-http", &endpoints, more)).await;
    let time = Duration::from_millis(200);
    for _ in 0..3 {
        let hasty = RequestContext {
            deadline: Instant::now() + time,
            ..(*request("echo")).clone()
        };
        let error = infer(&model, &hasty, &[1.0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deadline);
    }
    for expected in [
        ErrorKind::Deadline,
        ErrorKind::Deadline,
        ErrorKind::Unavailable,
    ] {
        let error = infer(&model, &request_with("echo", time, &[]), &[1.0]).await;
        assert_eq!(error.unwrap_err().kind(), expected);
    }
}

#[tokio::test]
async fn a_peer_that_runs_out_of_time_is_accused_and_another_one_asked() {
    let late = Peer::start(Speaks::Http1, answering(|| status(504, ""))).await;
    let good = Peer::start(Speaks::Http1, good()).await;
    let site = Site::new();
    let endpoints = [late.address, good.address].map(|it| format!("http://{it}"));
    let more = "retry_budget = 1.0\n[ejection]\nconsecutive_failures = 2\ninterval_ms = 60000";
    let model = site.model(&settings("oip-http", &endpoints, more)).await;
    for _ in 0..40 {
        assert_eq!(ask(&model, &[1.0]).await.unwrap(), [1.0]);
    }
    assert_eq!(late.seen("/infer").len(), 2, "it is out");
}

#[tokio::test]
async fn a_kept_connection_that_closes_costs_no_request() {
    let asked = Arc::<AtomicUsize>::default();
    let counts = Arc::clone(&asked);
    let closing = handler(move |request| {
        let asked = Arc::clone(&counts);
        async move {
            if let Some(answer) = described(&request) {
                return answer;
            }
            // The connection ends with whoever works on it.
            assert_ne!(asked.fetch_add(1, Ordering::SeqCst), 1, "it closes now");
            echo(request).await
        }
    });
    let peer = Peer::start(Speaks::Http1, closing).await;
    let site = Site::new();
    let endpoints = [format!("http://{}", peer.address)];
    let more = "retries = 0\n[breaker]\nconsecutive_failures = 1\nopen_ms = 60000";
    let model = site.model(&settings("oip-http", &endpoints, more)).await;
    for value in [1.0, 2.0, 3.0] {
        assert_eq!(ask(&model, &[value]).await.unwrap(), [value]);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 4, "one of them twice");
}

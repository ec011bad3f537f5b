//! Plain services: bodies both ways, as they come.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, BodyStream as Frames, Full, StreamBody};
use tokio::sync::mpsc;
use wharf_core::{BodyStream, Error, ErrorKind, Model, Result, Streamed};
use wharf_testkit::{closed_port, eventually, request_with};

use crate::peer::{Handler, Peer, Speaks, empty, full, handler, status};
use crate::site::{Site, idle, settings};

fn sent(body: BodyStream) -> Streamed {
    Streamed {
        status: http::StatusCode::OK,
        media_type: "text/plain".into(),
        headers: http::HeaderMap::new(),
        body,
    }
}

fn whole(text: &'static str) -> Streamed {
    let body = Full::new(Bytes::from_static(text.as_bytes()));
    sent(Box::pin(body.map_err(|never| match never {})))
}

async fn exchange(model: &Arc<dyn Model>, time: Duration, sent: Streamed) -> Result<Streamed> {
    let request = request_with("echo", time, &[("cookie", "secret")]);
    model.service().unwrap().exchange(&request, sent).await
}

/// Gives back what comes, as it comes.
fn echoing() -> Handler {
    handler(|request| async move {
        let frames = Frames::new(request.into_body());
        let frames =
            frames.map(|frame| frame.map_err(|error| std::io::Error::other(error.to_string())));
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        let headers = response.headers_mut();
        headers.insert("content-type", "text/x-echo".parse().unwrap());
        headers.insert("x-score", "1".parse().unwrap());
        headers.insert("set-cookie", "a=b".parse().unwrap());
        response
    })
}

async fn open(site: &Site, peer: &Peer, more: &str) -> Arc<dyn Model> {
    let endpoints = [format!("http://{}/score?a=1", peer.address)];
    site.model(&settings("http", &endpoints, more)).await
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_first_byte_arrives_before_the_last_is_sent() {
    let peer = Peer::start(Speaks::Http1, echoing()).await;
    let site = Site::new();
    let model = open(&site, &peer, "answer_headers = ['x-score']").await;
    let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
    let pieces = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let body = StreamBody::new(pieces.map(|piece| Ok::<_, Error>(Frame::data(piece))));
    sender.send(Bytes::from_static(b"first")).await.unwrap();
    let answer = exchange(&model, LONG, sent(Box::pin(body))).await.unwrap();
    assert_eq!(&*answer.media_type, "text/x-echo");
    assert_eq!(answer.headers["x-score"], "1");
    assert_eq!(answer.headers.len(), 1);
    let mut body = answer.body;
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "first");
    sender.send(Bytes::from_static(b"last")).await.unwrap();
    drop(sender);
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "last");
    assert!(body.frame().await.is_none());
    assert_eq!(
        model.load().in_flight,
        1,
        "its place is kept until it is dropped"
    );
    drop(body);
    idle(&model).await;
    let seen = peer.seen("/score");
    assert_eq!(seen[0].headers["content-type"], "text/plain");
    assert!(!seen[0].headers.contains_key("cookie"));
}

#[tokio::test]
async fn an_answer_that_does_not_come_to_its_end_ends_with_an_error() {
    // One that hangs within its answer, one that breaks off, and one that is longer than it may be.
    let hanging = handler(|_request| async {
        let begun = futures_util::stream::once(async { Ok(Frame::data(Bytes::from_static(b"a"))) });
        let body = StreamBody::new(begun.chain(futures_util::stream::pending()));
        Response::new(body.boxed_unsync())
    });
    let broken = handler(|_request| async {
        let begun = futures_util::stream::once(async { Ok(Frame::data(Bytes::from_static(b"a"))) });
        let end = futures_util::stream::once(async {
            // While it waits, what was written is sent.
            tokio::task::yield_now().await;
            Err(std::io::Error::other("broken"))
        });
        Response::new(StreamBody::new(begun.chain(end)).boxed_unsync())
    });
    let long = handler(|_request| async {
        let pieces = (0..100).map(|_| Ok(Frame::data(Bytes::from(vec![b'a'; 100]))));
        Response::new(StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync())
    });
    for (handler, kind) in [
        (hanging, ErrorKind::Deadline),
        (broken, ErrorKind::UpstreamFault),
        (long, ErrorKind::UpstreamFault),
    ] {
        let peer = Peer::start(Speaks::Http1, handler).await;
        let site = Site::new();
        let model = open(&site, &peer, "max_body_bytes = 1000").await;
        let time = Duration::from_millis(500);
        let answer = exchange(&model, time, whole("x")).await.unwrap();
        let error = answer.body.collect().await.expect_err("it breaks off");
        assert_eq!(error.kind(), kind);
        idle(&model).await;
    }
}

#[tokio::test]
async fn a_body_is_sent_once_and_a_dead_endpoint_costs_nothing() {
    let failing = Peer::start(Speaks::Http1, handler(|_request| async { status(503, "") })).await;
    let site = Site::new();
    let model = open(&site, &failing, "").await;
    let error = exchange(&model, LONG, whole("x")).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(failing.seen("/score").len(), 1);

    let dead = closed_port();
    let good = Peer::start(Speaks::Http1, echoing()).await;
    let endpoints =
        [dead.local_addr().unwrap(), good.address].map(|it| format!("http://{it}/score"));
    let model = site
        .model(&settings("http", &endpoints, "retry_budget = 1.0"))
        .await;
    for _ in 0..20 {
        let answer = exchange(&model, LONG, whole("hello")).await.unwrap();
        let body = answer.body.collect().await.unwrap().to_bytes();
        assert_eq!(body, "hello");
    }
}

#[tokio::test]
async fn the_clients_own_mistake_is_no_fault_of_the_service() {
    let peer = Peer::start(
        Speaks::Http1,
        handler(|request| async move {
            match request.into_body().collect().await {
                Ok(body) => Response::new(full(body.to_bytes())),
                Err(_) => Response::new(empty()),
            }
        }),
    )
    .await;
    let site = Site::new();
    let model = open(&site, &peer, "").await;
    let pieces = [
        Ok(Frame::data(Bytes::from_static(b"a"))),
        Err(Error::invalid("body", "is cut off")),
    ];
    let body = StreamBody::new(futures_util::stream::iter(pieces));
    let error = exchange(&model, LONG, sent(Box::pin(body)))
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(error.field(), Some("body"));
    idle(&model).await;
}

#[tokio::test]
async fn a_client_that_leaves_within_the_answer_ends_it_there() {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let receiver = Arc::new(parking_lot::Mutex::new(Some(receiver)));
    let slow = handler(move |_request| {
        let mut receiver = receiver.lock().take().unwrap();
        async move {
            let pieces = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
            let body = StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece))));
            Response::new(body.boxed_unsync())
        }
    });
    let peer = Peer::start(Speaks::Http1, slow).await;
    let site = Site::new();
    let model = open(&site, &peer, "").await;
    let answer = exchange(&model, LONG, whole("x")).await.unwrap();
    drop(answer);
    idle(&model).await;
    // The server drops its answer once it notices that nobody reads it.
    eventually("nobody sends", || {
        // It is noticed by sending.
        let _ = sender.try_send(Bytes::from_static(b"more"));
        sender.is_closed()
    })
    .await;
}

/// What a client begins to send, and does not go on with while it is kept.
fn begun() -> (mpsc::Sender<Bytes>, Streamed) {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
    sender.try_send(Bytes::from_static(b"first")).unwrap();
    let pieces = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let body = StreamBody::new(pieces.map(|piece| Ok::<_, Error>(Frame::data(piece))));
    (sender, sent(Box::pin(body)))
}

/// Answers when it has the whole body.
fn patient() -> Handler {
    handler(|request| async move {
        match request.into_body().collect().await {
            Ok(body) => Response::new(full(body.to_bytes())),
            Err(_) => Response::new(empty()),
        }
    })
}

/// A breaker that opens at the first failure.
const STRICT: &str = "timeout_ms = 300\n[breaker]\nconsecutive_failures = 1\nopen_ms = 60000";

#[tokio::test]
async fn a_slow_client_is_no_fault_of_the_service() {
    let peer = Peer::start(Speaks::Http1, patient()).await;
    let site = Site::new();
    let model = open(&site, &peer, STRICT).await;
    let (sender, body) = begun();
    let error = exchange(&model, LONG, body).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    drop(sender);
    // One that sends the rest just before the time is over has taken it from the service.
    let (sender, body) = begun();
    let late = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(250)).await;
        drop(sender);
    });
    // It answers in time, or it does not.
    let _either = exchange(&model, LONG, body).await;
    late.await.unwrap();
    // And one that leaves has seen no fault.
    let (_sender, body) = begun();
    let left = tokio::time::timeout(Duration::from_millis(200), exchange(&model, LONG, body));
    assert!(left.await.is_err());
    let answer = exchange(&model, LONG, whole("x")).await.unwrap();
    assert_eq!(answer.body.collect().await.unwrap().to_bytes(), "x");
}

#[tokio::test]
async fn what_a_client_asks_wrongly_is_its_own_and_never_opens_the_breaker() {
    for (code, kind) in [
        (404, ErrorKind::NotFound),
        (403, ErrorKind::PermissionDenied),
        (415, ErrorKind::InvalidArgument),
        (405, ErrorKind::UpstreamFault),
    ] {
        let peer = Peer::start(
            Speaks::Http1,
            handler(move |_request| async move { status(code, r#"{"detail": "no such thing"}"#) }),
        )
        .await;
        let site = Site::new();
        let model = open(&site, &peer, STRICT).await;
        for _ in 0..3 {
            let error = exchange(&model, LONG, whole("x")).await.err().unwrap();
            assert_eq!(error.kind(), kind, "{code}");
            assert!(error.message().ends_with("no such thing"), "{error}");
        }
    }
}

/// An answer that begins and then goes on so.
fn beginning(
    rest: impl futures_util::Stream<Item = std::io::Result<Frame<Bytes>>> + Send + 'static,
) -> Response<crate::peer::Body> {
    let begun = futures_util::stream::once(async { Ok(Frame::data(Bytes::from_static(b"a"))) });
    Response::new(StreamBody::new(begun.chain(rest)).boxed_unsync())
}

#[tokio::test]
async fn answers_that_do_not_come_to_their_end_open_the_breaker() {
    let hanging = handler(|_request| async { beginning(futures_util::stream::pending()) });
    let broken = handler(|_request| async {
        beginning(futures_util::stream::once(async {
            tokio::task::yield_now().await;
            Err(std::io::Error::other("broken"))
        }))
    });
    for (handler, kind) in [
        (hanging, ErrorKind::Deadline),
        (broken, ErrorKind::UpstreamFault),
    ] {
        let peer = Peer::start(Speaks::Http1, handler).await;
        let site = Site::new();
        let more = "timeout_ms = 300\n[breaker]\nconsecutive_failures = 2\nopen_ms = 60000";
        let model = open(&site, &peer, more).await;
        // One whose client leaves within it says nothing.
        drop(exchange(&model, LONG, whole("x")).await.unwrap());
        for _ in 0..2 {
            let answer = exchange(&model, LONG, whole("x")).await.unwrap();
            let error = answer.body.collect().await.expect_err("it does not end");
            assert_eq!(error.kind(), kind);
        }
        let error = exchange(&model, LONG, whole("x")).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_within_the_answer_accuses_nobody() {
    let peer = Peer::start(Speaks::Http1, echoing()).await;
    let site = Site::new();
    let model = open(&site, &peer, STRICT).await;
    let (sender, mut receiver) = mpsc::channel::<Result<Bytes>>(1);
    sender.send(Ok(Bytes::from_static(b"first"))).await.unwrap();
    let pieces = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    let body = StreamBody::new(pieces.map(|piece| piece.map(Frame::data)));
    let mut answer = exchange(&model, LONG, sent(Box::pin(body))).await.unwrap();
    answer.body.frame().await.unwrap().unwrap();
    // While it says nothing, the service has nothing to answer.
    let waits = tokio::time::timeout(Duration::from_millis(700), answer.body.frame());
    assert!(waits.await.is_err());
    sender
        .send(Err(Error::invalid("body", "is cut off")))
        .await
        .unwrap();
    let error = answer.body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.field(), Some("body"));
    let answer = exchange(&model, LONG, whole("x")).await.unwrap();
    assert_eq!(answer.body.collect().await.unwrap().to_bytes(), "x");
}

#[tokio::test]
async fn a_service_is_told_its_time_and_the_client_its_status() {
    for code in [200, 201, 204] {
        let peer = Peer::start(
            Speaks::Http1,
            handler(move |_request| async move { status(code, "") }),
        )
        .await;
        let site = Site::new();
        let model = open(&site, &peer, "").await;
        let time = Duration::from_secs(5);
        let answer = exchange(&model, time, whole("x")).await.unwrap();
        assert_eq!(answer.status, code);
        let seen = &peer.seen("/score")[0].headers;
        assert_eq!(seen["via"], "1.1 wharf");
        let time = seen["x-envoy-expected-rq-timeout-ms"].to_str().unwrap();
        let millis: u64 = time.parse().unwrap();
        assert!((1..=5_000).contains(&millis), "{millis}");
    }
}

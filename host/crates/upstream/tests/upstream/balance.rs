//! Several endpoints: which of them is asked, and what becomes of those that fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wharf_core::ErrorKind;
use wharf_testkit::eventually;

use crate::peer::{Handler, Peer, Speaks, described, echo, good, handler, status};
use crate::site::{Site, ask, idle, settings};

/// A peer that fails while it is told to.
fn flapping(fails: &Arc<AtomicBool>) -> Handler {
    let fails = Arc::clone(fails);
    handler(move |request| {
        let fails = fails.load(Ordering::SeqCst);
        async move {
            match described(&request) {
                Some(answer) => answer,
                None if fails => status(502, ""),
                None => echo(request).await,
            }
        }
    })
}

fn endpoints(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(|it| format!("http://{it}")).collect()
}

#[tokio::test]
async fn one_of_two_that_dies_costs_no_request() {
    let one = Peer::start(Speaks::Http1, good()).await;
    let other = Peer::start(Speaks::Http1, good()).await;
    let site = Site::new();
    let both = endpoints(&[one.address, other.address]);
    let model = site
        .model(&settings("oip-http", &both, "retry_budget = 1.0"))
        .await;
    for _ in 0..40 {
        ask(&model, &[1.0]).await.unwrap();
    }
    assert!(!one.seen("/infer").is_empty() && !other.seen("/infer").is_empty());
    other.end().await;
    for _ in 0..40 {
        assert_eq!(ask(&model, &[1.0]).await.unwrap(), [1.0]);
    }
    idle(&model).await;
}

#[tokio::test]
async fn an_endpoint_that_keeps_failing_is_left_alone_and_comes_back() {
    let fails = Arc::new(AtomicBool::new(true));
    let one = Peer::start(Speaks::Http1, good()).await;
    let other = Peer::start(Speaks::Http1, flapping(&fails)).await;
    let site = Site::new();
    let both = endpoints(&[one.address, other.address]);
    let more = "retry_budget = 1.0\n[ejection]\nconsecutive_failures = 2\ninterval_ms = 400";
    let model = site.model(&settings("oip-http", &both, more)).await;
    while other.seen("/infer").len() < 2 {
        ask(&model, &[1.0]).await.unwrap();
    }
    for _ in 0..20 {
        ask(&model, &[1.0]).await.unwrap();
    }
    let asked = other.seen("/infer").len();
    assert!(asked <= 3, "{asked}: it is out");
    fails.store(false, Ordering::SeqCst);
    let latest = std::time::Instant::now() + Duration::from_secs(20);
    while other.seen("/infer").len() < asked + 3 {
        ask(&model, &[1.0]).await.unwrap();
        assert!(std::time::Instant::now() < latest, "it does not come back");
    }
}

#[tokio::test]
async fn retries_end_with_their_budget() {
    let fails = Arc::new(AtomicBool::new(true));
    let peer = Peer::start(Speaks::Http1, flapping(&fails)).await;
    let site = Site::new();
    let more = "retries = 3\nretry_budget = 0.1\n[breaker]\nconsecutive_failures = 0";
    let model = site
        .model(&settings("oip-http", &endpoints(&[peer.address]), more))
        .await;
    for _ in 0..50 {
        let error = ask(&model, &[1.0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UpstreamFault);
    }
    // Ten that are free, and a tenth of the requests.
    let attempts = peer.seen("/infer").len();
    assert!((60..=66).contains(&attempts), "{attempts}");
}

#[tokio::test]
async fn an_upstream_that_fails_as_a_whole_is_asked_nothing_for_a_while() {
    let fails = Arc::new(AtomicBool::new(true));
    let peer = Peer::start(Speaks::Http1, flapping(&fails)).await;
    let site = Site::new();
    let more = "retries = 0\n[breaker]\nconsecutive_failures = 3\nopen_ms = 3000";
    let model = site
        .model(&settings("oip-http", &endpoints(&[peer.address]), more))
        .await;
    for _ in 0..3 {
        let error = ask(&model, &[1.0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UpstreamFault);
    }
    for _ in 0..10 {
        let error = ask(&model, &[1.0]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.retry_after().is_some());
    }
    assert_eq!(peer.seen("/infer").len(), 3);
    assert_eq!(
        model.check_room().unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert!(model.load().rests);
    fails.store(false, Ordering::SeqCst);
    eventually("it may be asked", || model.check_room().is_ok()).await;
    assert!(!model.load().rests);
    assert_eq!(ask(&model, &[1.0]).await.unwrap(), [1.0]);
    assert_eq!(ask(&model, &[1.0]).await.unwrap(), [1.0]);
}

#[tokio::test]
async fn many_at_once_are_spread() {
    let one = Peer::start(Speaks::Http1, good()).await;
    let other = Peer::start(Speaks::Http1, good()).await;
    let site = Site::new();
    let both = endpoints(&[one.address, other.address]);
    let model = site.model(&settings("oip-http", &both, "")).await;
    let asking = (0..64).map(|index| {
        let model = Arc::clone(&model);
        async move { ask(&model, &[index as f32]).await }
    });
    for answer in futures_util::future::join_all(asking).await {
        answer.unwrap();
    }
    let (one, other) = (one.seen("/infer").len(), other.seen("/infer").len());
    assert_eq!(one + other, 64);
    assert!(one >= 16 && other >= 16, "{one} and {other}");
    idle(&model).await;
}

//! A plugin that keeps failing is not called for a while.

use bytes::Bytes;
use wharf_core::{ErrorKind, Name};
use wharf_serving::{Config, EventKind};
use wharf_testkit::{body, request, token};

use crate::harness::{Harness, by_order, failing_site};

const FILE: &str = "plugins/tens.wasm";
const TENS: [(&str, &str); 1] = [("plugin", "tens")];

fn pausing(milliseconds: u64) -> Config {
    Config {
        breaker_faults: 4,
        breaker_pause_ms: milliseconds,
        rollback_after_faults: 0,
        ..by_order()
    }
}

fn faults(harness: &Harness) -> u64 {
    let status = harness.serving.status();
    let tens = status.plugins.iter().find(|p| p.name.as_str() == "tens");
    tens.unwrap().health.faults
}

#[tokio::test]
async fn it_is_spared_and_the_client_is_told_when_to_try_again() {
    let harness = Harness::start(failing_site("closed", "trap"), pausing(60_000)).await;
    for _ in 0..4 {
        let error = harness.run("sum", body("1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PluginFault);
    }
    for _ in 0..10 {
        let error = harness.run("sum", body("1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let wait = error.retry_after().unwrap().as_secs();
        assert!((25..=60).contains(&wait), "{wait} s");
    }
    assert_eq!(faults(&harness), 4);
    assert_eq!(harness.happened(EventKind::Paused, FILE), 1);
    assert_eq!(
        harness.metric("plugin_breaker_opened_total", &TENS),
        Some(1.0)
    );
    assert_eq!(
        harness.metric("plugin_breaker_refused_total", &TENS),
        Some(10.0)
    );
    // Another release starts with a clean slate.
    harness.site.plugin("tens", "scale 10");
    harness.serving.reload().await;
    assert_eq!(harness.ask("sum", "1").await, "11");
}

#[tokio::test]
async fn the_routes_policy_says_what_the_request_gets_meanwhile() {
    let harness = Harness::start(failing_site("skip", "trap"), pausing(60_000)).await;
    for _ in 0..10 {
        assert_eq!(harness.ask("sum", "1").await, "2");
    }
    assert_eq!(faults(&harness), 4);

    let harness = Harness::start(failing_site("previous", "scale 10"), pausing(60_000)).await;
    assert_eq!(harness.ask("sum", "1").await, "11");
    harness.site.plugin("tens", "scale 20\ntrap");
    harness.serving.reload().await;
    for _ in 0..10 {
        assert_eq!(harness.ask("sum", "1").await, "11");
    }
    assert_eq!(faults(&harness), 4);
}

#[tokio::test]
async fn a_call_that_succeeds_after_a_pause_ends_it() {
    let harness = Harness::start(failing_site("closed", "trap-on 7"), pausing(10)).await;
    for _ in 0..4 {
        harness.run("sum", body("7")).await.unwrap_err();
    }
    assert_eq!(harness.happened(EventKind::Paused, FILE), 1);
    let answered = async || loop {
        match harness.run("sum", body("1")).await {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
        }
        tokio::task::yield_now().await;
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), answered())
        .await
        .expect("it is called again");
    assert_eq!(harness.happened(EventKind::Resumed, FILE), 1);
    assert_eq!(
        harness.metric("plugin_breaker_closed_total", &TENS),
        Some(1.0)
    );
    harness.run("sum", body("7")).await.unwrap_err();
    harness.run("sum", body("1")).await.unwrap();
}

#[tokio::test]
async fn what_a_guest_refuses_and_clients_that_leave_open_nothing() {
    for kind in [ErrorKind::InvalidArgument, ErrorKind::PluginFault] {
        let refusing = failing_site("closed", &format!("refuse {}", kind.name()));
        let harness = Harness::start(refusing, pausing(60_000)).await;
        for _ in 0..40 {
            let error = harness.run("sum", body("1")).await.unwrap_err();
            assert_eq!(error.kind(), kind);
        }
        assert_eq!(harness.happened(EventKind::Paused, FILE), 0);
    }
    let harness = Harness::start(failing_site("closed", "gate way"), pausing(60_000)).await;
    for _ in 0..40 {
        let mut left = Box::pin(harness.run("sum", body("1")));
        assert!(futures_util::FutureExt::now_or_never(&mut left).is_none());
        drop(left);
    }
    harness.plugins.gates.get("way").open();
    assert_eq!(harness.ask("sum", "1").await, "2");
    assert_eq!(harness.happened(EventKind::Paused, FILE), 0);
}

#[tokio::test]
async fn a_share_of_bad_requests_among_good_ones_opens_nothing() {
    let config = Config {
        rollback_after_faults: 0,
        ..by_order()
    };
    let harness = Harness::start(failing_site("closed", "trap-on 7"), config).await;
    // Two of three calls fail, which is less than 24 of 32.
    for _ in 0..100 {
        harness.run("sum", body("7")).await.unwrap_err();
        harness.run("sum", body("7")).await.unwrap_err();
        assert_eq!(harness.ask("sum", "1").await, "2");
    }
    assert_eq!(harness.happened(EventKind::Paused, FILE), 0);
}

/// A site with the plugin `tens` as a filter that does as its script says.
async fn filtering(plugin: &str) -> Harness {
    let site = wharf_testkit::Site::new();
    site.plugin(
        "tens",
        &format!("stages token-filter chunk-filter\n{plugin}"),
    );
    Harness::start(site, pausing(60_000)).await
}

fn tens() -> [Name; 1] {
    [Name::new("tens").unwrap()]
}

#[tokio::test]
async fn a_filter_that_fails_every_text_is_not_opened_for_a_while() {
    let harness = filtering("trap-at x").await;
    let snapshot = harness.serving.snapshot();
    let (request, tens) = (request("chat"), tens());
    // One text that works is under way all the time.
    let mut good = snapshot.filter_tokens(&request, &tens).await.unwrap();
    good.push(vec![token("a")]).await.unwrap();
    for at in 0..4 {
        // Each begins well. Texts and bodies count together.
        let error = if at % 2 == 0 {
            let mut text = snapshot.filter_tokens(&request, &tens).await.unwrap();
            text.push(vec![token("a")]).await.unwrap();
            text.push(vec![token("x")]).await.unwrap_err()
        } else {
            let opened = snapshot.filter_chunks(&request, &tens, "text/plain");
            let mut body = opened.await.unwrap();
            body.push(Bytes::from("a")).await.unwrap();
            body.push(Bytes::from("x")).await.unwrap_err()
        };
        assert_eq!(error.kind(), ErrorKind::PluginFault);
    }
    assert_eq!(harness.happened(EventKind::Paused, FILE), 1);
    let error = snapshot.filter_tokens(&request, &tens).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.retry_after().is_some());
    let opened = snapshot.filter_chunks(&request, &tens, "text/plain");
    assert_eq!(opened.await.err().unwrap().kind(), ErrorKind::Unavailable);
    assert_eq!(
        harness.metric("plugin_breaker_refused_total", &TENS),
        Some(2.0)
    );
    // No text is refused in its middle.
    good.push(vec![token("b")]).await.unwrap();
    good.finish().await.unwrap();
}

#[tokio::test]
async fn texts_that_are_left_and_stopped_open_nothing() {
    let harness = filtering("stop-at x").await;
    let snapshot = harness.serving.snapshot();
    let (request, tens) = (request("chat"), tens());
    for at in 0..40 {
        let mut text = snapshot.filter_tokens(&request, &tens).await.unwrap();
        text.push(vec![token("a")]).await.unwrap();
        if at % 2 == 0 {
            text.push(vec![token("x")]).await.unwrap();
        }
    }
    assert_eq!(harness.happened(EventKind::Paused, FILE), 0);
    let unknown = [Name::new("nobody").unwrap()];
    let error = snapshot
        .filter_tokens(&request, &unknown)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn a_text_after_a_pause_decides_with_its_first_good_verdict() {
    let site = wharf_testkit::Site::new();
    site.plugin("tens", "stages token-filter\ntrap-at x");
    let harness = Harness::start(site, pausing(10)).await;
    let snapshot = harness.serving.snapshot();
    let (request, tens) = (request("chat"), tens());
    for _ in 0..4 {
        let mut text = snapshot.filter_tokens(&request, &tens).await.unwrap();
        text.push(vec![token("x")]).await.unwrap_err();
    }
    let opened = async || loop {
        match snapshot.filter_tokens(&request, &tens).await {
            Ok(text) => break text,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
        }
        tokio::task::yield_now().await;
    };
    let within = tokio::time::timeout(std::time::Duration::from_secs(10), opened());
    let mut text = within.await.expect("a text is tried");
    text.push(vec![token("a")]).await.unwrap();
    assert_eq!(harness.happened(EventKind::Resumed, FILE), 1);
    // Others begin while it goes on.
    snapshot.filter_tokens(&request, &tens).await.unwrap();
}

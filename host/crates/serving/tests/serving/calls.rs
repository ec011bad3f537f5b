//! Calls of routes and models by plugins.

use std::sync::Arc;
use std::time::Duration;

use wharf_core::{ErrorKind, Payload};
use wharf_testkit::{Site, body, eventually, request, request_with, tensor, text};

use crate::harness::{Harness, by_order};

/// The route `outer`, whose plugin sends what it gets through `inner` first, with these settings.
fn calling(inner: &str) -> Site {
    let site = Site::new();
    site.model("sum", 1, "add 1");
    site.model("inner-model", 1, "add 10");
    site.plugin("tens", "scale 10");
    site.plugin("ask", "call inner");
    site.plugin("say", "");
    site.route("inner", inner);
    site.route("outer", "model = 'sum'\npre = ['ask']\npost = ['say']");
    site
}

const INNER: &str = "model = 'inner-model'\npre = ['tens']\ninput = 'tensors'";

fn in_flight(harness: &Harness) -> f64 {
    let of = |route| harness.metric("serving_in_flight", &[("endpoint", route)]);
    of("outer").unwrap_or_default() + of("inner").unwrap_or_default()
}

#[tokio::test]
async fn a_call_goes_the_whole_way_of_its_target_and_counts_there() {
    let harness = Harness::start(calling(INNER), by_order()).await;
    assert_eq!(harness.ask("outer", "2").await, "31");
    for endpoint in ["inner", "outer"] {
        let labels = [("endpoint", endpoint), ("outcome", "ok")];
        let requests = harness.metric("model_request_total", &labels);
        assert_eq!(requests, Some(1.0), "{endpoint}");
    }
    assert_eq!(in_flight(&harness), 0.0);
    harness.serving.shutdown().await;
}

#[tokio::test]
async fn a_call_names_versions_and_labels_as_a_client_does() {
    let site = Site::new();
    site.put("models/sum/model.toml", "policy = \"all\"\nlabel old 1");
    site.model("sum", 1, "add 1");
    site.model("sum", 2, "add 2");
    let harness = Harness::start(site, by_order()).await;
    harness.site.route(
        "outer",
        "model = 'sum'\nversion = 2\npre = ['ask']\npost = ['say']",
    );
    harness.site.plugin("say", "");
    for (call, answer) in [
        ("sum", Ok("4")),
        ("sum 1", Ok("3")),
        ("sum old", Ok("3")),
        ("sum 7", Err("sum has no such version, but 1, 2, old")),
        ("sum a/b", Err("a version is a number, or a label")),
        ("nobody", Err("there is no route or model nobody")),
        ("../sum", Err("a name is 1 to 128 letters")),
    ] {
        harness.site.plugin("ask", &format!("call {call}"));
        harness.serving.reload().await;
        let given = harness.run("outer", body("0")).await;
        let given = given.map(|outcome| text(&outcome.payload));
        match (given, answer) {
            (Ok(given), Ok(answer)) => assert_eq!(given, answer, "{call}"),
            (Err(error), Err(message)) => {
                assert!(error.message().contains(message), "{call}: {error}");
            }
            (given, _) => panic!("{call}: {given:?}"),
        }
    }
}

#[tokio::test]
async fn a_route_that_calls_itself_ends_with_the_reason() {
    let site = calling(INNER);
    site.plugin("ask", "call outer");
    site.route("outer", "model = 'sum'\npre = ['ask']\npost = ['say']");
    let harness = Harness::start(site, by_order()).await;
    let error = harness.run("outer", body("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginFault);
    assert!(error.message().contains("more than 4 deep"), "{error}");
    // The client's own request, and the four that lie behind it.
    let labels = [("endpoint", "outer"), ("outcome", "plugin-fault")];
    assert_eq!(harness.metric("model_request_total", &labels), Some(5.0));
    assert_eq!(in_flight(&harness), 0.0);
}

#[tokio::test]
async fn a_call_has_no_more_time_than_its_target_and_its_request() {
    let site = calling(&format!("{INNER}\ntimeout_ms = 50"));
    site.model("inner-model", 1, "gate inner");
    let harness = Harness::start(site, by_order()).await;
    let error = harness.run("outer", body("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    harness.site.route("inner", INNER);
    harness.serving.reload().await;
    let snapshot = harness.serving.snapshot();
    let brief = request_with("outer", Duration::from_millis(50), &[]);
    let outer = snapshot.route("outer").unwrap();
    let error = outer.run(&brief, body("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert_eq!(in_flight(&harness), 0.0);
}

#[tokio::test]
async fn a_full_target_refuses_the_call_at_once() {
    let site = calling(&format!("{INNER}\nmax_in_flight = 1"));
    site.model("inner-model", 1, "gate inner");
    let harness = Harness::start(site, by_order()).await;
    let snapshot = harness.serving.snapshot();
    let first = tokio::spawn(async move {
        let inner = snapshot.route("inner").unwrap();
        let input = Payload::Tensors(vec![tensor("input", &[1.0])]);
        inner.run(&request("inner"), input).await.map(drop)
    });
    let gate = harness.engine.gates.get("inner");
    gate.arrived(1).await;
    let error = harness.run("outer", body("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    gate.open();
    first.await.unwrap().unwrap();
    harness.run("outer", body("1")).await.unwrap();
}

#[tokio::test]
async fn a_call_under_way_keeps_the_target_that_is_replaced() {
    let site = calling(INNER);
    site.model("inner-model", 1, "gate old\nadd 10");
    let harness = Arc::new(Harness::start(site, by_order()).await);
    let asking = tokio::spawn({
        let harness = Arc::clone(&harness);
        async move { harness.ask("outer", "2").await }
    });
    let gate = harness.engine.gates.get("old");
    gate.arrived(1).await;
    harness.site.model("inner-model", 1, "add 50");
    assert!(harness.serving.reload().await.changed);
    assert_eq!(harness.ask("outer", "2").await, "71");
    gate.open();
    assert_eq!(asking.await.unwrap(), "31");
    harness.drained().await;
}

#[tokio::test]
async fn a_request_that_leaves_cancels_its_calls() {
    let site = calling(INNER);
    site.model("inner-model", 1, "gate inner");
    let harness = Arc::new(Harness::start(site, by_order()).await);
    let asking = tokio::spawn({
        let harness = Arc::clone(&harness);
        async move { harness.ask("outer", "2").await }
    });
    harness.engine.gates.get("inner").arrived(1).await;
    assert_eq!(in_flight(&harness), 2.0);
    asking.abort();
    eventually("both routes idle", || in_flight(&harness) == 0.0).await;
}

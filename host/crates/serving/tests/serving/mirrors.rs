//! Requests that plugins mirror: nobody waits for them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_core::{ErrorKind, Payload, RequestContext, Result};
use wharf_serving::Config;
use wharf_testkit::{Site, body, eventually, request, request_with, tensor, text};

use crate::harness::{Harness, by_order};

/// The route `outer`, whose plugin mirrors what it gets to `shadow`, a model that does as its script says.
fn mirroring(shadow: &str) -> Site {
    let site = Site::new();
    site.model("sum", 1, "add 1");
    site.model("next", 1, shadow);
    site.plugin("split", "mirror shadow");
    site.plugin("say", "");
    site.route("shadow", "model = 'next'");
    site.route("outer", "model = 'sum'\npre = ['split']\npost = ['say']");
    site
}

fn mirrored(harness: &Harness, target: &str, outcome: &str) -> f64 {
    let labels = [("endpoint", target), ("outcome", outcome)];
    let count = harness.metric("mirrored_request_total", &labels);
    count.unwrap_or_default()
}

fn in_flight(harness: &Harness, route: &str) -> f64 {
    let labels = [("endpoint", route)];
    let count = harness.metric("serving_in_flight", &labels);
    count.unwrap_or_default()
}

/// Mirrors a request to `shadow`, as a plugin does that works for this one.
fn mirror(harness: &Harness, request: &Arc<RequestContext>) -> Result<()> {
    let input = Payload::Tensors(vec![tensor("input", &[1.0])]);
    let models = harness.plugins.models();
    models.mirror(request, "shadow", None, input)
}

#[tokio::test]
async fn a_mirrored_request_goes_the_whole_way_of_its_target_and_counts_there() {
    let harness = Harness::start(mirroring("add 10"), by_order()).await;
    assert_eq!(harness.ask("outer", "2").await, "3");
    eventually("it has ended", || mirrored(&harness, "shadow", "ok") == 1.0).await;
    for endpoint in ["shadow", "outer"] {
        let labels = [("endpoint", endpoint), ("outcome", "ok")];
        let requests = harness.metric("model_request_total", &labels);
        assert_eq!(requests, Some(1.0), "{endpoint}");
    }
    harness.serving.shutdown().await;
}

#[tokio::test]
async fn a_slow_target_holds_no_client_up_and_takes_no_more_than_it_may() {
    let config = Config {
        max_mirrored: 4,
        ..by_order()
    };
    let harness = Harness::start(mirroring("gate slow"), config).await;
    let mut times = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        assert_eq!(harness.ask("outer", "2").await, "3");
        times.push(began.elapsed());
    }
    // All were answered while none of the mirrored ones was, which have ten seconds.
    times.sort();
    assert!(times[198] < Duration::from_secs(1), "{:?}", times[198]);
    harness.engine.gates.get("slow").arrived(4).await;
    assert_eq!(mirrored(&harness, "shadow", "full"), 196.0);
    assert_eq!(in_flight(&harness, "shadow"), 4.0);
    let error = mirror(&harness, &request("outer")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    harness.engine.gates.get("slow").open();
    eventually("all have ended", || {
        mirrored(&harness, "shadow", "ok") == 4.0
    })
    .await;
    mirror(&harness, &request("outer")).unwrap();
    eventually("there is room again", || {
        mirrored(&harness, "shadow", "ok") == 5.0
    })
    .await;
}

#[tokio::test]
async fn a_failing_target_is_counted_and_changes_no_answer() {
    let harness = Harness::start(mirroring("refuse internal"), by_order()).await;
    assert_eq!(harness.ask("outer", "2").await, "3");
    eventually("it has failed", || {
        mirrored(&harness, "shadow", "internal") == 1.0
    })
    .await;
    // A target that is not there is refused at once, and its name becomes no series.
    harness.site.remove("routes/shadow.toml");
    assert!(harness.serving.reload().await.changed);
    assert_eq!(harness.ask("outer", "2").await, "3");
    let error = mirror(&harness, &request("outer")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(mirrored(&harness, "shadow", "not-found"), 0.0);
}

#[tokio::test]
async fn it_has_the_time_of_its_target_and_the_tenant_of_its_request_and_goes_last() {
    let harness = Harness::start(mirroring("note\nlevels 3"), by_order()).await;
    let mut asked = Arc::unwrap_or_clone(request_with("outer", Duration::ZERO, &[]));
    asked.tenant = Some("acme".into());
    // The client's time is over, and it has left.
    mirror(&harness, &Arc::new(asked)).unwrap();
    eventually("it has ended", || mirrored(&harness, "shadow", "ok") == 1.0).await;
    let noted = harness.engine.noted();
    assert_eq!(noted.len(), 1);
    assert_eq!(noted[0].tenant.as_deref(), Some("acme"));
    assert_eq!((&*noted[0].route, noted[0].depth), ("shadow", 1));
    assert!(noted[0].remaining() > Duration::from_secs(5));
    let priority = noted[0].scheduling.priority;
    assert_eq!(priority.map(std::num::NonZero::get), Some(3));
}

#[tokio::test]
async fn it_ends_with_the_time_of_its_target() {
    let site = mirroring("gate never");
    site.route("shadow", "model = 'next'\ntimeout_ms = 50");
    let harness = Harness::start(site, by_order()).await;
    assert_eq!(harness.ask("outer", "2").await, "3");
    eventually("its time is over", || {
        mirrored(&harness, "shadow", "deadline") == 1.0
    })
    .await;
    assert_eq!(in_flight(&harness, "shadow"), 0.0);
}

#[tokio::test]
async fn a_route_that_mirrors_to_itself_comes_to_an_end() {
    let site = mirroring("add 10");
    site.plugin("split", "mirror outer");
    let harness = Harness::start(site, by_order()).await;
    assert_eq!(harness.ask("outer", "2").await, "3");
    eventually("four have ended", || {
        mirrored(&harness, "outer", "ok") == 4.0
    })
    .await;
    let labels = [("endpoint", "outer"), ("outcome", "ok")];
    assert_eq!(harness.metric("model_request_total", &labels), Some(5.0));
}

#[tokio::test]
async fn it_keeps_the_target_that_is_replaced_meanwhile() {
    let harness = Harness::start(mirroring("gate old"), by_order()).await;
    assert_eq!(harness.ask("outer", "2").await, "3");
    harness.engine.gates.get("old").arrived(1).await;
    harness.site.model("next", 1, "add 50");
    assert!(harness.serving.reload().await.changed);
    harness.engine.gates.get("old").open();
    eventually("it has ended", || mirrored(&harness, "shadow", "ok") == 1.0).await;
    harness.drained().await;
}

#[tokio::test]
async fn the_end_of_serving_ends_what_is_mirrored_and_joins_it() {
    let harness = Harness::start(mirroring("gate never"), by_order()).await;
    assert_eq!(harness.ask("outer", "2").await, "3");
    harness.engine.gates.get("never").arrived(1).await;
    harness.serving.shutdown().await;
    assert_eq!(in_flight(&harness, "shadow"), 0.0);
    assert_eq!(mirrored(&harness, "shadow", "cancelled"), 1.0);
    let error = mirror(&harness, &request("outer")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // What is in force stays so, for requests that still run.
    let outcome = harness.run("outer", body("2")).await.unwrap();
    assert_eq!(text(&outcome.payload), "3");
}

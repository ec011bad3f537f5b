//! The way of a request.

use std::time::Duration;

use wharf_core::{ErrorKind, Payload};
use wharf_serving::{Config, RouteInput};
use wharf_testkit::{Site, body, eventually, request, request_with, tensor};

use crate::harness::{Harness, by_order};

/// A route that multiplies by ten, adds one, and says `done`.
fn arithmetic() -> Site {
    let site = Site::new();
    site.model("sum", 1, "add 1");
    site.plugin("tens", "scale 10");
    site.plugin("say", "tag done");
    site.route("sum", "model = 'sum'\npre = ['tens']\npost = ['say']");
    site
}

#[tokio::test]
async fn a_request_goes_through_pre_model_and_post() {
    let harness = Harness::start(arithmetic(), by_order()).await;
    let outcome = harness.run("sum", body("1 2")).await.unwrap();
    assert_eq!(wharf_testkit::text(&outcome.payload), "11 21 done");
    assert_eq!((outcome.model.as_str(), outcome.version), ("sum", 1));
    let snapshot = harness.serving.snapshot();
    assert_eq!(snapshot.route("sum").unwrap().input(), RouteInput::Body);
    harness.serving.shutdown().await;
}

#[tokio::test]
async fn a_model_has_a_route_of_its_own_name() {
    let site = Site::new();
    site.model("sum", 1, "add 1");
    site.model("sum", 2, "add 2");
    let harness = Harness::start(site, by_order()).await;
    assert_eq!(harness.number("sum", 5.0).await, 7.0);
    let snapshot = harness.serving.snapshot();
    let route = snapshot.route("sum").unwrap();
    assert!(route.spec().implicit);
    let RouteInput::Tensors(specs) = route.input() else {
        panic!("it takes tensors");
    };
    assert_eq!(&*specs[0].name, "input");
    assert!(snapshot.route("nobody").is_none());
}

#[tokio::test]
async fn the_router_chooses_and_keeps_to_the_candidates() {
    let site = Site::new();
    site.put("models/sum/model.toml", "policy = \"all\"");
    site.model("sum", 1, "add 1");
    site.model("sum", 2, "add 2");
    site.plugin("choose", "stages router\npick new");
    site.route(
        "sum",
        "router = 'choose'\n[[candidates]]\nmodel = 'sum'\nversion = 1\nlabels = ['old']\n\
         [[candidates]]\nmodel = 'sum'\nversion = 2\nlabels = ['new']",
    );
    let harness = Harness::start(site, by_order()).await;
    assert_eq!(harness.number("sum", 0.0).await, 2.0);
    harness.site.plugin("choose", "stages router\npick old");
    assert!(harness.serving.reload().await.changed);
    assert_eq!(harness.number("sum", 0.0).await, 1.0);
}

#[tokio::test]
async fn a_full_route_refuses_at_once_and_recovers() {
    let site = Site::new();
    site.model("slow", 1, "gate slow");
    site.route("slow", "model = 'slow'\nmax_in_flight = 1");
    let harness = Harness::start(site, by_order()).await;
    let gate = harness.engine.gates.get("slow");
    let input = || Payload::Tensors(vec![tensor("input", &[1.0])]);
    let snapshot = harness.serving.snapshot();
    let first = tokio::spawn(async move {
        let route = snapshot.route("slow").unwrap();
        route.run(&request("slow"), input()).await
    });
    gate.arrived(1).await;
    let error = harness.run("slow", input()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.retry_after().is_some());
    // The same before anything is read for a request.
    let snapshot = harness.serving.snapshot();
    let early = snapshot.route("slow").unwrap().check_room().unwrap_err();
    assert_eq!(early.kind(), ErrorKind::Unavailable);
    assert!(early.retry_after().is_some());
    assert_eq!(refused(&harness, "slow", "full"), Some(2.0));
    assert_eq!(
        harness.metric("serving_in_flight", &[("endpoint", "slow")]),
        Some(1.0)
    );
    gate.open();
    first.await.unwrap().unwrap();
    snapshot.route("slow").unwrap().check_room().unwrap();
    harness.run("slow", input()).await.unwrap();
    assert_eq!(refused(&harness, "slow", "full"), Some(2.0));
    assert_eq!(
        harness.metric("serving_in_flight", &[("endpoint", "slow")]),
        Some(0.0)
    );
}

#[tokio::test]
async fn the_deadline_ends_a_request_wherever_it_is() {
    let site = Site::new();
    site.model("slow", 1, "gate never");
    site.model("fast", 1, "");
    site.plugin("slow", "gate never");
    site.route("stuck", "model = 'fast'\npre = ['slow']");
    let harness = Harness::start(site, by_order()).await;
    let snapshot = harness.serving.snapshot();
    let input = Payload::Tensors(vec![tensor("input", &[1.0])]);
    for route in ["slow", "stuck"] {
        let route = snapshot.route(route).unwrap();
        let request = request_with("slow", Duration::from_millis(500), &[]);
        let error = route.run(&request, input.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deadline);
        assert_eq!(route.in_flight(), 0);
    }
    // A deadline that has passed already is noticed before any work.
    let request = request_with("fast", Duration::ZERO, &[]);
    let route = snapshot.route("fast").unwrap();
    let error = route.run(&request, input).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    // Those that had a model already count with it.
    for (route, count) in [("slow", None), ("stuck", None), ("fast", Some(1.0))] {
        assert_eq!(refused(&harness, route, "deadline"), count, "{route}");
    }
}

#[tokio::test]
async fn what_ends_before_a_model_is_chosen_is_counted() {
    let site = Site::new();
    site.model("sum", 1, "add 1");
    site.plugin("trap", "stages router\ntrap");
    site.plugin("stuck", "stages router\ngate never");
    site.plugin("choose", "stages router\npick any");
    for router in ["trap", "stuck", "choose"] {
        let candidate = "[[candidates]]\nmodel = 'sum'\nlabels = ['any']";
        site.route(router, &format!("router = '{router}'\n{candidate}"));
    }
    let harness = Harness::start(site, by_order()).await;
    let snapshot = harness.serving.snapshot();
    let input = || Payload::Tensors(vec![tensor("input", &[1.0])]);
    harness.run("trap", input()).await.unwrap_err();
    let request = request_with("stuck", Duration::from_millis(500), &[]);
    let stuck = snapshot.route("stuck").unwrap();
    stuck.run(&request, input()).await.unwrap_err();
    harness.run("choose", input()).await.unwrap();
    for (route, reason, count) in [
        ("trap", "router", Some(1.0)),
        ("trap", "deadline", None),
        ("stuck", "deadline", Some(1.0)),
        ("stuck", "router", None),
        ("choose", "router", None),
    ] {
        assert_eq!(refused(&harness, route, reason), count, "{route} {reason}");
    }
}

fn refused(harness: &Harness, route: &str, reason: &str) -> Option<f64> {
    let labels = [("endpoint", route), ("reason", reason)];
    harness.metric("route_refused_total", &labels)
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    let site = Site::new();
    site.model("slow", 1, "gate never");
    let harness = Harness::start(site, by_order()).await;
    let snapshot = harness.serving.snapshot();
    let running = tokio::spawn(async move {
        let route = snapshot.route("slow").unwrap();
        let input = Payload::Tensors(vec![tensor("input", &[1.0])]);
        route.run(&request("slow"), input).await
    });
    harness.engine.gates.get("never").arrived(1).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    let snapshot = harness.serving.snapshot();
    let route = snapshot.route("slow").unwrap();
    eventually("the place is free", || route.in_flight() == 0).await;
    assert_eq!(
        harness.metric("model_request_total", &[("outcome", "cancelled")]),
        Some(1.0)
    );
}

#[tokio::test]
async fn requests_are_counted_by_route_and_model_version() {
    let harness = Harness::start(arithmetic(), by_order()).await;
    harness.ask("sum", "1").await;
    harness.ask("sum", "2").await;
    harness.run("sum", body("no number")).await.unwrap_err();
    let count = |outcome: &str| {
        harness.metric(
            "model_request_total",
            &[
                ("endpoint", "sum"),
                ("model", "sum"),
                ("model_version", "1"),
                ("outcome", outcome),
            ],
        )
    };
    assert_eq!(count("ok"), Some(2.0));
    assert_eq!(count("invalid-argument"), Some(1.0));
    assert_eq!(count("internal"), None);
}

#[tokio::test]
async fn a_body_never_reaches_a_model() {
    let site = arithmetic();
    site.plugin("lazy", "keep-body");
    site.route("lazy", "model = 'sum'\npre = ['lazy']");
    site.route("plain", "model = 'sum'");
    let harness = Harness::start(site, by_order()).await;
    let error = harness.run("plain", body("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let error = harness.run("lazy", body("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginFault);
}

#[tokio::test]
async fn new_settings_reach_routes_without_a_reload() {
    let harness = Harness::start(arithmetic(), by_order()).await;
    let timeout = |harness: &Harness| {
        let snapshot = harness.serving.snapshot();
        snapshot.route("sum").unwrap().timeout()
    };
    assert_eq!(timeout(&harness), Duration::from_secs(10));
    let config = Config {
        default_timeout_ms: 1_500,
        ..by_order()
    };
    harness.serving.reconfigure(config).unwrap();
    assert_eq!(timeout(&harness), Duration::from_millis(1_500));
    let config = Config {
        max_in_flight: 0,
        ..by_order()
    };
    let error = harness.serving.reconfigure(config).unwrap_err();
    assert_eq!(error.key.as_deref(), Some("serving.max_in_flight"));
    assert_eq!(timeout(&harness), Duration::from_millis(1_500));
    assert_eq!(harness.plugins.loads(), 2);
}

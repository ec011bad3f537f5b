//! Requests that name a version, by its number or by a label.

use std::sync::Arc;

use wharf_core::{ErrorKind, Payload};
use wharf_serving::{Missing, Route, RouteInput, RouteOutput};
use wharf_testkit::{Site, request, tensor, values};

use crate::harness::{Harness, by_order};

/// Three versions that all serve, two of them with labels.
fn site() -> Site {
    let site = Site::new();
    site.put(
        "models/sum/model.toml",
        "policy = \"all\"\nlabel stable 1\nlabel canary 3",
    );
    for version in 1..=3 {
        site.model("sum", version, &format!("add {version}"));
    }
    site
}

fn endpoint(harness: &Harness, name: &str, version: Option<&str>) -> Result<Arc<Route>, Missing> {
    let snapshot = harness.serving.snapshot();
    snapshot.endpoint(name, version).map(Arc::clone)
}

/// What a version of a route makes of 0.
async fn asked(harness: &Harness, name: &str, version: Option<&str>) -> f32 {
    let route = endpoint(harness, name, version).unwrap();
    let input = Payload::Tensors(vec![tensor("input", &[0.0])]);
    let outcome = route.run(&request(name), input).await.unwrap();
    values(&outcome.payload)[0]
}

#[tokio::test]
async fn a_version_is_named_by_number_or_label() {
    let harness = Harness::start(site(), by_order()).await;
    for (version, answer) in [
        (None, 3.0),
        (Some("1"), 1.0),
        (Some("2"), 2.0),
        (Some("3"), 3.0),
        (Some("stable"), 1.0),
        (Some("canary"), 3.0),
    ] {
        assert_eq!(asked(&harness, "sum", version).await, answer, "{version:?}");
    }
    let route = endpoint(&harness, "sum", None).unwrap();
    assert_eq!(route.versions(), [1, 2, 3]);
    assert_eq!(route.labels(), [("canary".into(), 3), ("stable".into(), 1)]);
    let pinned = endpoint(&harness, "sum", Some("2")).unwrap();
    assert_eq!(pinned.versions(), [2]);
    assert_eq!(pinned.model_info().version, 2);
    assert!(matches!(pinned.input(), RouteInput::Tensors(_)));
    assert!(matches!(pinned.outputs(), RouteOutput::Tensors(_)));
    let there = ["1", "2", "3", "canary", "stable"].map(str::to_owned);
    for version in ["4", "-1", "+1", "1.0", "none", "99999999999999999999999"] {
        let missing = endpoint(&harness, "sum", Some(version)).err();
        assert_eq!(missing, Some(Missing::Version(there.to_vec())), "{version}");
    }
    assert_eq!(
        endpoint(&harness, "nobody", Some("1")).err(),
        Some(Missing::Name)
    );
}

#[tokio::test]
async fn a_version_of_a_route_has_its_stages_and_no_router() {
    let site = site();
    site.model("other", 2, "add 20");
    site.plugin("choose", "stages router\npick new");
    site.plugin("tens", "scale 10");
    site.route(
        "mix",
        "router = 'choose'\npre = ['tens']\ninput = 'tensors'\n\
         [[candidates]]\nmodel = 'sum'\nversion = 2\nlabels = ['old', 'stable']\n\
         [[candidates]]\nmodel = 'other'\nlabels = ['new']\n\
         [[candidates]]\nmodel = 'sum'",
    );
    let harness = Harness::start(site, by_order()).await;
    let ask = async |version| asked(&harness, "mix", version).await;
    assert_eq!(ask(None).await, 20.0);
    // A number is the first candidate's that has it.
    assert_eq!(ask(Some("2")).await, 2.0);
    assert_eq!(ask(Some("1")).await, 1.0);
    // A candidate's label goes before the model's own of the same name.
    assert_eq!(ask(Some("stable")).await, 2.0);
    assert_eq!(ask(Some("new")).await, 20.0);
    assert_eq!(ask(Some("canary")).await, 3.0);
    let route = endpoint(&harness, "mix", Some("new")).unwrap();
    let input = Payload::Tensors(vec![tensor("input", &[1.0])]);
    let outcome = route.run(&request("mix"), input).await.unwrap();
    assert_eq!(values(&outcome.payload), [30.0]);
}

#[tokio::test]
async fn a_label_moves_without_a_load_and_never_to_what_does_not_serve() {
    let harness = Harness::start(site(), by_order()).await;
    assert!(!harness.serving.reload().await.changed);
    let pinned = endpoint(&harness, "sum", Some("2")).unwrap();

    // The settings are part of a fake's digest, so all load anew but one that is broken.
    harness.site.model("sum", 2, "broken");
    harness.site.put(
        "models/sum/model.toml",
        "policy = \"all\"\nlabel stable 4\nlabel canary 3",
    );
    harness.site.model("sum", 4, "broken");
    harness.serving.reload().await;
    assert_eq!(asked(&harness, "sum", Some("stable")).await, 1.0);
    let kept = endpoint(&harness, "sum", Some("2")).unwrap();
    assert!(Arc::ptr_eq(&pinned, &kept), "its model is the same");

    harness.site.model("sum", 4, "add 4");
    harness.serving.reload().await;
    assert_eq!(asked(&harness, "sum", Some("stable")).await, 4.0);
    assert_eq!(asked(&harness, "sum", None).await, 4.0);
}

/// A label names a version, and makes it serve. Who names none goes where the policy says.
#[tokio::test]
async fn a_label_takes_over_no_traffic() {
    let site = site();
    site.put(
        "models/sum/model.toml",
        "only 1\nlabel canary 3\nlabel old 2",
    );
    site.route("named", "model = 'sum'");
    let harness = Harness::start(site, by_order()).await;
    for name in ["sum", "named"] {
        assert_eq!(asked(&harness, name, None).await, 1.0);
        assert_eq!(asked(&harness, name, Some("canary")).await, 3.0);
        assert_eq!(asked(&harness, name, Some("3")).await, 3.0);
    }
    let snapshot = harness.serving.snapshot();
    let default = snapshot.model("sum", None).map(|it| it.info().version);
    assert_eq!(default, Some(1));

    // The policy goes over to another.
    harness.site.put(
        "models/sum/model.toml",
        "only 3\nlabel canary 3\nlabel old 2",
    );
    harness.serving.reload().await;
    assert_eq!(asked(&harness, "sum", None).await, 3.0);
    assert_eq!(asked(&harness, "named", None).await, 3.0);

    // Where nothing that the policy picks can be loaded, what a label names is better than nothing.
    harness.site.model("sum", 1, "broken");
    harness.site.remove("models/sum/3");
    harness
        .site
        .put("models/sum/model.toml", "only 1\nlabel old 2");
    let harness = Harness::start(harness.site, by_order()).await;
    assert_eq!(asked(&harness, "sum", None).await, 2.0);
}

#[tokio::test]
async fn a_version_is_named_as_its_folder_is() {
    let harness = Harness::start(site(), by_order()).await;
    for version in ["01", "001", "00"] {
        let missing = endpoint(&harness, "sum", Some(version)).err();
        assert!(matches!(missing, Some(Missing::Version(_))), "{version}");
    }
}

#[tokio::test]
async fn versions_share_the_places_of_their_route() {
    let site = Site::new();
    site.put("models/slow/model.toml", "policy = \"all\"");
    site.model("slow", 1, "gate slow");
    site.model("slow", 2, "");
    site.route("slow", "model = 'slow'\nmax_in_flight = 1");
    let harness = Harness::start(site, by_order()).await;
    let first = endpoint(&harness, "slow", Some("1")).unwrap();
    let input = || Payload::Tensors(vec![tensor("input", &[1.0])]);
    let running = tokio::spawn(async move { first.run(&request("slow"), input()).await });
    let gate = harness.engine.gates.get("slow");
    gate.arrived(1).await;
    let second = endpoint(&harness, "slow", Some("2")).unwrap();
    let error = second.run(&request("slow"), input()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    gate.open();
    running.await.unwrap().unwrap();
    second.run(&request("slow"), input()).await.unwrap();
}

#[tokio::test]
async fn a_full_model_is_seen_before_the_request_is_read() {
    let site = Site::new();
    site.model("full", 1, "no-room");
    site.plugin("choose", "stages router\npick any");
    site.route(
        "routed",
        "router = 'choose'\n[[candidates]]\nmodel = 'full'\nlabels = ['any']",
    );
    let harness = Harness::start(site, by_order()).await;
    let error = endpoint(&harness, "full", None).unwrap().check_room();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    // The router may know another way.
    let routed = endpoint(&harness, "routed", None).unwrap();
    routed.check_room().unwrap();
    let pinned = endpoint(&harness, "routed", Some("1")).unwrap();
    pinned.check_room().unwrap_err();
    // It failed where it would have gone to.
    let fails = |name: &str| {
        let statistics = harness.serving.statistics();
        let mut of_name = statistics.iter().filter(|it| it.name.as_str() == name);
        of_name.next().unwrap().fail.count
    };
    assert_eq!((fails("full"), fails("routed")), (1, 1));
    for route in ["full", "routed"] {
        let labels = [("endpoint", route), ("reason", "model_full")];
        let count = harness.metric("route_refused_total", &labels);
        assert_eq!(count, Some(1.0), "{route}");
    }
}

//! Upstreams beside the models of a site.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use wharf_core::{ErrorKind, Payload, Streamed};
use wharf_serving::{EventKind, ModelState, RouteInput, RouteOutput};
use wharf_testkit::{Site, body, eventually, request, request_with, tensor};

use crate::harness::{Harness, by_order, check, places, watching};

#[tokio::test]
async fn an_upstream_is_a_model_like_one_of_the_site() {
    let site = Site::new();
    site.model("local", 1, "add 1");
    site.upstream("remote", "add 10");
    site.plugin("choose", "stages router\npick far");
    site.plugin("numbers", "");
    site.route(
        "named",
        "upstream = 'remote'\npre = ['numbers']\npost = ['numbers']",
    );
    site.route(
        "spread",
        "router = 'choose'\n[[candidates]]\nmodel = 'local'\n[[candidates]]\nupstream = 'remote'\nlabels = ['far']",
    );
    let harness = Harness::start(site, by_order()).await;
    assert_eq!(harness.errors(), Vec::<String>::new());
    assert_eq!(harness.number("remote", 1.0).await, 11.0);
    assert_eq!(harness.ask("named", "1").await, "11");
    assert_eq!(harness.number("spread", 1.0).await, 11.0);
    assert_eq!(
        harness.happened(EventKind::Loaded, "upstreams/remote.toml"),
        1
    );
    let labels = [
        ("model", "remote"),
        ("endpoint", "spread"),
        ("outcome", "ok"),
    ];
    assert_eq!(harness.metric("model_request_total", &labels), Some(1.0));
    let status = harness.serving.status();
    assert!(
        status
            .models
            .iter()
            .any(|model| model.name.as_str() == "remote")
    );

    // Its file is followed like any other.
    harness.site.upstream("remote", "add 20");
    harness.serving.reload().await;
    assert_eq!(harness.number("spread", 1.0).await, 21.0);
    harness.site.upstream("remote", "broken");
    harness.serving.reload().await;
    assert_eq!(harness.errors(), ["upstreams/remote.toml"]);
    assert_eq!(
        harness.number("remote", 1.0).await,
        21.0,
        "what was opened stays"
    );
    harness.site.remove("upstreams/remote.toml");
    harness.serving.reload().await;
    assert!(harness.serving.snapshot().route("remote").is_none());
    assert!(harness.serving.snapshot().route("named").is_none());
    let snapshot = harness.serving.snapshot();
    let left = snapshot.route("spread").unwrap();
    assert_eq!(left.models().count(), 1, "what is left of it serves");
    drop(snapshot);
    harness.drained().await;
    harness.serving.shutdown().await;
}

#[tokio::test]
async fn a_router_is_not_offered_what_is_asked_nothing_for_a_while() {
    let site = Site::new();
    site.model("local", 1, "add 1");
    site.upstream("remote", "add 10\nrests");
    site.upstream("other", "add 20\nrests");
    site.plugin("first", "stages router");
    site.plugin("picky", "stages router\npick far");
    let candidates = |names: &[&str]| {
        let candidate = |name: &&str| match *name {
            "local" => "[[candidates]]\nmodel = 'local'\n".to_owned(),
            name => format!("[[candidates]]\nupstream = '{name}'\n"),
        };
        let candidates: String = names.iter().map(candidate).collect();
        format!("router = 'first'\n{candidates}")
    };
    site.route("some", &candidates(&["remote", "other", "local"]));
    site.route("none", &candidates(&["other", "remote"]));
    site.route(
        "sticky",
        "router = 'picky'\n[[candidates]]\nmodel = 'local'\n[[candidates]]\nupstream = 'other'\nlabels = ['far']",
    );
    let harness = Harness::start(site, by_order()).await;
    assert_eq!(harness.number("some", 1.0).await, 2.0);
    // A router that would have no other gets it after all: what it chose says when it is asked again.
    assert_eq!(harness.number("sticky", 1.0).await, 21.0);
    // Where all of them rest, the router has its choice, and the client gets what the chosen one says.
    assert_eq!(harness.number("none", 1.0).await, 21.0);

    harness.site.upstream("remote", "add 30");
    harness.serving.reload().await;
    assert_eq!(harness.number("some", 1.0).await, 31.0);
    harness.serving.shutdown().await;
}

#[tokio::test]
async fn an_upstream_comes_into_force_when_it_answers() {
    let site = Site::new();
    site.upstream("remote", "add 10\nabsent");
    site.route("named", "upstream = 'remote'");
    let harness = Harness::start(site, by_order()).await;
    assert_eq!(
        harness.errors(),
        [
            "routes/named.toml [model]",
            "upstreams/remote.toml [endpoints]"
        ]
    );
    let errors = harness.serving.status().errors;
    assert!(errors[0].message.contains("nobody answers"), "{errors:?}");
    assert!(!harness.serving.ready());
    let index = harness.serving.index();
    let remote = index
        .iter()
        .find(|entry| entry.name.as_str() == "remote")
        .unwrap();
    assert_eq!(remote.state, ModelState::Unavailable);
    harness.upstreams.arrives("remote");
    eventually("it is in force", || harness.errors().is_empty()).await;
    assert_eq!(harness.number("named", 1.0).await, 11.0);
    assert!(harness.serving.ready());
    harness.serving.shutdown().await;
}

#[tokio::test]
async fn an_upstream_that_is_written_is_noticed() {
    let harness = Harness::start(Site::new(), watching()).await;
    harness.site.upstream("remote", "add 10");
    eventually("it is in force", || {
        harness.serving.snapshot().route("remote").is_some()
    })
    .await;
    harness.serving.shutdown().await;
}

#[tokio::test]
async fn a_name_is_one_things_only_and_what_is_wrong_is_said() {
    let site = Site::new();
    site.model("same", 1, "add 1");
    site.upstream("same", "add 10");
    site.upstream("wrong", "unreadable");
    site.upstream("body", "service");
    site.model("sum", 1, "add 1");
    site.plugin("choose", "stages router");
    site.route("unknown", "upstream = 'nowhere'");
    site.route("tensors", "upstream = 'body'\ninput = 'tensors'");
    site.route(
        "mixed",
        "router = 'choose'\n[[candidates]]\nmodel = 'sum'\n[[candidates]]\nupstream = 'body'",
    );
    let found = places(&check(&site));
    assert_eq!(
        found,
        [
            "routes/mixed.toml [candidates]",
            "routes/tensors.toml [input]",
            "routes/unknown.toml [model]",
            "upstreams/same.toml []",
            "upstreams/wrong.toml []",
        ]
    );
    let harness = Harness::start(site, by_order()).await;
    assert_eq!(
        harness.number("same", 1.0).await,
        2.0,
        "the site's own keeps the name"
    );
}

#[tokio::test]
async fn bodies_go_through_a_service_and_its_stages() {
    let site = Site::new();
    site.upstream("echo", "service");
    site.plugin("same", "stages preprocess\nkeep-body");
    site.route("staged", "upstream = 'echo'\npre = ['same']");
    let harness = Harness::start(site, by_order()).await;
    assert_eq!(harness.errors(), Vec::<String>::new());
    assert_eq!(harness.ask("staged", "hello").await, "hello");
    assert_eq!(harness.ask("echo", "hello").await, "hello");
    let snapshot = harness.serving.snapshot();
    let (plain, staged) = (
        snapshot.route("echo").unwrap(),
        snapshot.route("staged").unwrap(),
    );
    assert!(plain.streams() && !staged.streams());
    assert_eq!(
        (plain.input(), plain.outputs()),
        (RouteInput::Body, RouteOutput::Body)
    );
    let tensors = Payload::Tensors(vec![tensor("x", &[1.0])]);
    let error = harness.run("echo", tensors).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let error = staged
        .stream(&request("staged"), sent("x"))
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

fn sent(text: &'static str) -> Streamed {
    let body = Full::new(Bytes::from_static(text.as_bytes()));
    Streamed {
        status: http::StatusCode::OK,
        media_type: "text/plain".into(),
        headers: http::HeaderMap::new(),
        body: Box::pin(body.map_err(|never| match never {})),
    }
}

#[tokio::test]
async fn a_streamed_request_keeps_its_place_until_its_answer_is_dropped() {
    let site = Site::new();
    site.upstream("echo", "service");
    site.route("one", "upstream = 'echo'\nmax_in_flight = 1");
    let harness = Harness::start(site, by_order()).await;
    let snapshot = harness.serving.snapshot();
    let route = snapshot.route("one").unwrap();
    let answer = route.stream(&request("one"), sent("hello")).await.unwrap();
    assert_eq!(route.in_flight(), 1);
    let full = route
        .stream(&request("one"), sent("x"))
        .await
        .err()
        .unwrap();
    assert_eq!(full.kind(), ErrorKind::Unavailable);
    assert_eq!(answer.body.collect().await.unwrap().to_bytes(), "hello");
    assert_eq!(route.in_flight(), 0);
    let late = request_with("one", Duration::ZERO, &[]);
    let error = route.stream(&late, sent("x")).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert_eq!(route.in_flight(), 0);
    let ok = [("endpoint", "one"), ("outcome", "ok")];
    assert_eq!(harness.metric("model_request_total", &ok), Some(1.0));
    // A body is taken whole as well, as by a call of a plugin.
    assert!(harness.run("one", body("x")).await.is_ok());
}

#[tokio::test]
async fn a_candidate_that_nobody_describes_takes_what_the_others_take() {
    let site = Site::new();
    site.model("local", 1, "inputs a");
    site.upstream("remote", "unknown");
    site.plugin("choose", "stages router\npick far");
    let candidates = "[[candidates]]\nupstream = 'remote'\n[[candidates]]\nmodel = 'local'\n";
    site.route("spread", &format!("router = 'choose'\n{candidates}"));
    let harness = Harness::start(site, by_order()).await;
    assert_eq!(harness.errors(), Vec::<String>::new());
    let snapshot = harness.serving.snapshot();
    let route = snapshot.route("spread").unwrap();
    assert!(route.is_described() && !snapshot.route("remote").unwrap().is_described());
    let RouteInput::Tensors([input]) = route.input() else {
        panic!("it takes one tensor");
    };
    assert_eq!(&*input.name, "a");
}

//! Loads and unloads while something is under way: requests, other loads, the end of the server.

use std::sync::Arc;

use tokio::task::JoinHandle;
use wharf_core::{Error, ErrorKind, Payload};
use wharf_serving::{
    Author, Config, ModelChange, ModelState, PartContent, Precondition, Runtimes, Serving,
    SiteChange, SitePart,
};
use wharf_testkit::{
    FakeEngine, FakePluginHost, Site, eventually, request, tensor, values, within,
};

use crate::harness::{Harness, by_order, files, name, settings, watching};
use crate::lifecycle::{entry, explicit, site};

#[tokio::test]
async fn the_index_shows_what_loads_and_what_drains() {
    let site = Site::new();
    site.model("slow", 1, "gate run\nload-gate load");
    let (mut config, load) = (explicit(&[]), "load");
    config.drain_timeout_ms = 60_000;
    let harness = Harness::start(site, config).await;
    let (load, run) = (
        harness.engine.gates.get(load),
        harness.engine.gates.get("run"),
    );
    let serving = harness.serving.clone();
    let loading = tokio::spawn(async move {
        let change = ModelChange::default();
        serving.load_model(&name("slow"), change).await
    });
    load.arrived(1).await;
    assert_eq!(harness.index("slow"), [entry(1, ModelState::Loading, "")]);
    // An unload that comes while the model loads comes after it, and so does another load.
    let serving = harness.serving.clone();
    let unloading =
        tokio::spawn(async move { serving.unload_model(&name("slow"), Author::Operator).await });
    load.open();
    loading.await.unwrap().unwrap();
    unloading.await.unwrap().unwrap();
    assert!(!harness.serves("slow"));
    harness.load("slow").await.unwrap();

    let snapshot = harness.serving.snapshot();
    let running = tokio::spawn(async move {
        let input = Payload::Tensors(vec![tensor("input", &[1.0])]);
        snapshot
            .route("slow")
            .unwrap()
            .run(&request("slow"), input)
            .await
    });
    run.arrived(1).await;
    let serving = harness.serving.clone();
    let unloading =
        tokio::spawn(async move { serving.unload_model(&name("slow"), Author::Operator).await });
    eventually("it is out of force", || !harness.serves("slow")).await;
    let draining = entry(1, ModelState::Unloading, "unloaded by request");
    assert_eq!(harness.index("slow"), [draining]);
    assert!(!unloading.is_finished());
    run.open();
    assert_eq!(values(&running.await.unwrap().unwrap().payload), [1.0]);
    unloading.await.unwrap().unwrap();
    assert_eq!(harness.engine.live(), 0);
    assert_eq!(harness.index("slow")[0].1, ModelState::Unavailable);
}

#[tokio::test]
async fn an_unload_waits_no_longer_than_the_drain_timeout() {
    let site = Site::new();
    site.model("stuck", 1, "gate never");
    let config = Config {
        drain_timeout_ms: 20,
        ..by_order()
    };
    let harness = Harness::start(site, config).await;
    let snapshot = harness.serving.snapshot();
    let running = tokio::spawn(async move {
        let input = Payload::Tensors(vec![tensor("input", &[1.0])]);
        snapshot
            .route("stuck")
            .unwrap()
            .run(&request("stuck"), input)
            .await
    });
    harness.engine.gates.get("never").arrived(1).await;
    harness.unload("stuck").await.unwrap();
    assert_eq!(harness.index("stuck")[0].1, ModelState::Unloading);
    running.abort();
}

#[tokio::test]
async fn no_request_fails_while_a_model_is_loaded_again_and_again() {
    let site = Site::new();
    site.model("sum", 1, "add 1");
    site.route("kept", "model = 'sum'");
    let harness = Harness::start(site, watching()).await;
    let serving = harness.serving.clone();
    let client = tokio::spawn(async move {
        for _ in 0..3000 {
            let snapshot = serving.snapshot();
            let route = snapshot.route("kept").unwrap();
            let input = Payload::Tensors(vec![tensor("input", &[0.0])]);
            let outcome = route.run(&request("kept"), input).await.unwrap();
            assert!(values(&outcome.payload)[0] >= 1.0);
            tokio::task::yield_now().await;
        }
    });
    let (mut round, sum) = (1, name("sum"));
    while !client.is_finished() {
        round += 1;
        let script = format!("add {round}\nend\n");
        let change = files(&[(round % 3 + 1, "model.onnx", &script)]);
        let loads = [
            harness.serving.load_model(&sum, change),
            harness.serving.load_model(&sum, ModelChange::default()),
        ];
        for loaded in futures_util::future::join_all(loads).await {
            loaded.unwrap();
        }
    }
    client.await.unwrap();
    harness.drained().await;
    assert!(harness.errors().is_empty());
    assert_eq!(harness.engine.live(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_or_any_more_says_so() {
    let site = Site::new();
    site.model("slow", 1, "load-gate load");
    site.model("sum", 1, "");
    let harness = Harness::start(site, explicit(&["sum"])).await;
    let config = Config {
        drain_timeout_ms: 20,
        ..explicit(&[])
    };
    harness.serving.reconfigure(config).unwrap();
    let serving = harness.serving.clone();
    let loading = tokio::spawn(async move {
        let change = settings(&[("a", 1)]);
        serving.load_model(&name("slow"), change).await
    });
    let gate = harness.engine.gates.get("load");
    gate.arrived(1).await;
    harness.serving.shutdown().await;
    let error = loading.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    for error in [
        harness.load("sum").await.unwrap_err(),
        harness.unload("sum").await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    assert_eq!(
        harness.number("sum", 1.0).await,
        1.0,
        "what is in force stays"
    );
    assert!(!harness.site.path().join(".staging").exists());
    gate.open();
}

#[tokio::test]
async fn asks_wait_in_a_bounded_queue_and_leave_with_their_client() {
    let site = site();
    site.model("slow", 1, "load-gate load");
    let harness = Harness::start(site, explicit(&[])).await;
    let load = |model: &str| {
        let (serving, model) = (harness.serving.clone(), name(model));
        tokio::spawn(async move { serving.load_model(&model, ModelChange::default()).await })
    };
    let gate = harness.engine.gates.get("load");
    let slow = load("slow");
    gate.arrived(1).await;
    let waiting: Vec<_> = (0..40).map(|_| load("sum")).collect();
    let refused = || waiting.iter().filter(|load| load.is_finished()).count();
    eventually("the queue is full", || refused() == 40 - 16).await;
    let other = harness.load("other").await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Unavailable);
    assert!(other.retry_after().is_some());
    // All who wait leave: nothing is loaded for them.
    for waiting in waiting {
        waiting.abort();
        let _ = waiting.await;
    }
    gate.open();
    slow.await.unwrap().unwrap();
    harness.load("other").await.unwrap();
    assert!(!harness.serves("sum"));
    assert_eq!(harness.engine.loads(), 2);
}

/// A site with a model in force, and a load of another that stands in its warm-up.
async fn warming_up(config: Config) -> (Harness, JoinHandle<Result<(), Error>>) {
    let site = site();
    site.model("slow", 1, "add 1");
    let harness = Harness::start(site, config).await;
    let serving = harness.serving.clone();
    let loading = tokio::spawn(async move {
        let change = files(&[(2, "model.onnx", "warm-up-gate warm\nend\n")]);
        serving.load_model(&name("slow"), change).await
    });
    harness.engine.gates.get("warm").arrived(1).await;
    (harness, loading)
}

#[tokio::test]
async fn a_load_ends_with_the_server() {
    let config = Config {
        drain_timeout_ms: 600_000,
        ..by_order()
    };
    let (harness, loading) = warming_up(config).await;
    within(harness.serving.shutdown()).await;
    let error = loading.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(harness.errors(), Vec::<String>::new());
    assert_eq!(harness.number("slow", 1.0).await, 2.0);
}

#[tokio::test]
async fn a_first_load_ends_with_the_server_and_says_nothing_of_the_site() {
    let site = site();
    site.model("slow", 1, "warm-up-gate warm");
    let config = Config {
        drain_timeout_ms: 600_000,
        ..by_order()
    };
    let (engine, plugins) = (FakeEngine::default(), FakePluginHost::default());
    let runtimes = Runtimes {
        engine: Arc::new(engine.clone()),
        plugins: Arc::new(plugins),
        upstreams: None,
    };
    let meter = opentelemetry::global::meter("test");
    let serving = Serving::open(config, site.path().to_owned(), runtimes, &meter).unwrap();
    engine.gates.get("warm").arrived(1).await;
    within(serving.shutdown()).await;
    assert!(serving.status().errors.is_empty());
    assert!(serving.status().events.is_empty());
}

#[tokio::test]
async fn whoever_takes_a_model_out_does_not_wait_for_its_warm_up() {
    let (harness, loading) = warming_up(by_order()).await;
    within(harness.unload("slow")).await.unwrap();
    let error = loading.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::Conflict, Some("model"))
    );
    assert!(!harness.serves("slow") && !harness.site.path().join("models/slow/2").exists());

    let (harness, loading) = warming_up(by_order()).await;
    let change = SiteChange {
        part: SitePart::Model(name("slow")),
        content: PartContent::Nothing,
        only_if: Precondition::None,
        by: Author::Operator,
    };
    within(harness.serving.change_site(change)).await.unwrap();
    assert_eq!(
        loading.await.unwrap().unwrap_err().kind(),
        ErrorKind::Conflict
    );
    assert!(!harness.site.path().join("models/slow").exists());
}

#[tokio::test]
async fn a_change_waits_for_its_turn_no_longer_than_it_may_and_is_not_made_then() {
    let config = Config {
        change_wait_ms: 20,
        ..by_order()
    };
    let (harness, loading) = warming_up(config).await;
    let route = SiteChange {
        part: SitePart::Route(name("late")),
        content: PartContent::Bytes("model = 'sum'".into()),
        only_if: Precondition::None,
        by: Author::Operator,
    };
    let error = within(harness.serving.change_site(route))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("being loaded"), "{error}");
    assert!(error.retry_after().is_some());
    // What is begun is waited for.
    harness.engine.gates.get("warm").open();
    loading.await.unwrap().unwrap();
    harness.load("sum").await.unwrap();
    assert!(!harness.site.path().join("routes/late.toml").exists());
}

//! Changes of a site while it is served, read by order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use wharf_core::Payload;
use wharf_serving::{Author, Config, EventKind};
use wharf_testkit::{Site, body, eventually, request, tensor, text, values};

use crate::harness::{Harness, by_order};

fn site() -> Site {
    let site = Site::new();
    site.model("sum", 1, "add 1");
    site.plugin("tens", "scale 10");
    site.plugin("say", "");
    site.route("sum", "model = 'sum'\npre = ['tens']\npost = ['say']");
    site
}

#[tokio::test]
async fn each_kind_of_change_takes_effect_by_one_swap() {
    let harness = Harness::start(site(), by_order()).await;
    assert_eq!(harness.ask("sum", "1").await, "11");
    harness.site.plugin("tens", "scale 20");
    harness.site.model("sum", 2, "add 2");
    harness.site.route(
        "twice",
        "model = 'sum'\npre = ['tens', 'tens']\npost = ['say']",
    );
    let before = harness.serving.snapshot().generation();
    let report = harness.serving.reload().await;
    assert_eq!(report.generation, before + 1);
    assert!(report.errors.is_empty());
    assert_eq!(harness.ask("sum", "1").await, "22");
    assert_eq!(harness.ask("twice", "1").await, "402");
    // Settings are part of a plugin.
    harness.site.put("plugins/tens.toml", "[settings]");
    assert!(harness.serving.reload().await.changed);
    harness.site.remove("routes/twice.toml");
    harness.serving.reload().await;
    assert!(harness.serving.snapshot().route("twice").is_none());
}

#[tokio::test]
async fn unchanged_content_is_no_reload() {
    let harness = Harness::start(site(), by_order()).await;
    let loads = (harness.engine.loads(), harness.plugins.loads());
    harness.site.plugin("tens", "scale 10");
    harness.site.model("sum", 1, "add 1");
    let report = harness.serving.reload().await;
    assert!(!report.changed);
    assert_eq!(loads, (harness.engine.loads(), harness.plugins.loads()));
}

#[tokio::test]
async fn the_release_before_comes_back_without_a_load() {
    let harness = Harness::start(site(), by_order()).await;
    harness.site.plugin("tens", "scale 20");
    harness.serving.reload().await;
    let loads = harness.plugins.loads();
    harness.site.plugin("tens", "scale 10");
    harness.serving.reload().await;
    assert_eq!(harness.ask("sum", "1").await, "11");
    assert_eq!(harness.plugins.loads(), loads);
}

#[tokio::test]
async fn an_older_version_goes_when_the_newer_one_serves() {
    let harness = Harness::start(site(), by_order()).await;
    harness.site.model("sum", 2, "broken");
    let report = harness.serving.reload().await;
    assert_eq!(report.errors[0].file, "models/sum/2/model.onnx");
    assert_eq!(harness.ask("sum", "1").await, "11");
    harness.site.model("sum", 2, "add 2");
    assert!(harness.serving.reload().await.errors.is_empty());
    assert_eq!(harness.ask("sum", "1").await, "12");
    assert!(harness.serving.snapshot().model("sum", Some(1)).is_none());
    harness.drained().await;
    assert_eq!(harness.engine.live(), 1);
}

/// A version that serves in the place of a broken one follows its files: what a restart would serve serves already.
#[tokio::test]
async fn what_serves_in_the_place_of_a_broken_version_is_not_frozen() {
    let site = Site::new();
    site.model("sum", 1, "add 1");
    site.model("sum", 2, "add 2");
    let harness = Harness::start(site, by_order()).await;
    harness.site.model("sum", 3, "broken");
    harness.serving.reload().await;
    assert_eq!(harness.number("sum", 0.0).await, 2.0);
    let reason = || {
        let index = harness.serving.index();
        let mut entries = index.into_iter();
        let entry = entries.find(|entry| entry.version == Some(2));
        entry.unwrap().reason
    };
    assert!(reason().contains("version 3: broken by script"));

    harness.site.model("sum", 2, "add 20");
    harness.serving.reload().await;
    assert_eq!(harness.number("sum", 0.0).await, 20.0);
    // It is not loaded again, nor is one below it.
    let loads = harness.engine.loads();
    harness.serving.reload().await;
    assert_eq!(harness.engine.loads(), loads + 1, "only version 3 is tried");

    // Content of its own that is broken leaves it as it is, and the index says so.
    harness.site.model("sum", 2, "broken");
    harness.serving.reload().await;
    assert_eq!(harness.number("sum", 0.0).await, 20.0);
    assert!(reason().contains("newer content was refused"));
    assert!(harness.serving.snapshot().model("sum", Some(1)).is_none());
    harness.site.model("sum", 2, "add 20");
    harness.serving.reload().await;
    assert!(!reason().contains("newer content"), "{}", reason());

    harness.site.model("sum", 3, "add 3");
    harness.serving.reload().await;
    assert_eq!(harness.number("sum", 0.0).await, 3.0);
    harness.drained().await;
    assert_eq!(harness.engine.live(), 1);
    assert!(harness.errors().is_empty());
}

#[tokio::test]
async fn ready_is_who_serves_something_of_what_there_is() {
    let site = Site::new();
    let harness = Harness::start(site, by_order()).await;
    assert!(harness.serving.ready(), "there is nothing to serve");
    harness.site.model("sum", 1, "broken");
    harness.serving.reload().await;
    assert!(!harness.serving.ready());
    harness.site.model("other", 1, "add 1");
    harness.serving.reload().await;
    assert!(harness.serving.ready(), "one is broken beside another");
    harness.site.remove("models/sum");
    harness.site.route("named", "model = 'other'");
    harness.serving.reload().await;
    // A client's own doing is no fault of the site's.
    let name = crate::harness::name("other");
    harness
        .serving
        .unload_model(&name, Author::Operator)
        .await
        .unwrap();
    assert!(harness.serving.snapshot().route("named").is_none());
    assert!(harness.serving.ready());
    harness.site.route("lost", "model = 'nobody'");
    harness.serving.reload().await;
    assert!(!harness.serving.ready());
}

#[tokio::test]
async fn a_request_finishes_on_the_model_that_it_began_with() {
    let site = Site::new();
    site.model("slow", 1, "gate slow\nadd 1");
    let harness = Harness::start(site, by_order()).await;
    let gate = harness.engine.gates.get("slow");
    let snapshot = harness.serving.snapshot();
    let running = tokio::spawn(async move {
        let route = snapshot.route("slow").unwrap();
        let input = Payload::Tensors(vec![tensor("input", &[1.0])]);
        route.run(&request("slow"), input).await
    });
    gate.arrived(1).await;
    harness.site.remove("models/slow");
    harness.serving.reload().await;
    assert!(harness.serving.snapshot().route("slow").is_none());
    assert_eq!(harness.engine.live(), 1);
    let draining = harness.serving.status().draining;
    assert!(
        draining
            .iter()
            .any(|d| d.subject == "slow/1" && d.references > 0)
    );
    gate.open();
    let outcome = running.await.unwrap().unwrap();
    assert_eq!(values(&outcome.payload), [2.0]);
    harness.drained().await;
    assert_eq!(harness.engine.live(), 0);
    assert_eq!(harness.engine.dropped_by(), ["wharf-reaper"]);
}

#[tokio::test]
async fn a_removed_model_takes_its_routes_along() {
    let harness = Harness::start(site(), by_order()).await;
    harness.site.remove("models/sum");
    let report = harness.serving.reload().await;
    assert!(harness.serving.snapshot().route("sum").is_none());
    assert_eq!(report.errors[0].file, "routes/sum.toml");
    assert_eq!(report.errors[0].key.as_deref(), Some("model"));
    harness.drained().await;
    assert_eq!(harness.engine.live(), 0);
    harness.site.model("sum", 3, "add 3");
    harness.serving.reload().await;
    assert_eq!(harness.ask("sum", "1").await, "13");
    assert!(harness.errors().is_empty());
}

#[tokio::test]
async fn a_removed_candidate_leaves_the_others() {
    let site = Site::new();
    site.model("a", 1, "add 1");
    site.model("b", 1, "add 2");
    site.plugin("choose", "stages router");
    site.route(
        "either",
        "router = 'choose'\n[[candidates]]\nmodel = 'a'\n[[candidates]]\nmodel = 'b'",
    );
    let harness = Harness::start(site, by_order()).await;
    assert_eq!(harness.number("either", 0.0).await, 1.0);
    harness.site.remove("models/a");
    harness.serving.reload().await;
    assert_eq!(harness.number("either", 0.0).await, 2.0);
    assert_eq!(harness.errors(), ["routes/either.toml [candidates[0]]"]);
    harness.site.model("a", 1, "add 5");
    harness.serving.reload().await;
    assert_eq!(harness.number("either", 0.0).await, 5.0);
    assert!(harness.errors().is_empty());
}

#[tokio::test]
async fn a_removed_plugin_serves_the_routes_that_use_it() {
    let harness = Harness::start(site(), by_order()).await;
    harness.site.remove("plugins/tens.wasm");
    harness.serving.reload().await;
    assert_eq!(harness.errors(), ["routes/sum.toml [pre[0]]"]);
    assert_eq!(harness.ask("sum", "1").await, "11");
    // The route follows its model meanwhile.
    harness.site.model("sum", 2, "add 2");
    harness.serving.reload().await;
    assert_eq!(harness.ask("sum", "1").await, "12");
    harness
        .site
        .route("sum", "model = 'sum'\npre = ['say']\npost = ['say']");
    harness.serving.reload().await;
    assert!(harness.errors().is_empty());
    assert_eq!(harness.ask("sum", "1").await, "3");
    harness.drained().await;
    assert_eq!(harness.plugins.live(), 1);
    assert_eq!(harness.happened(EventKind::Removed, "plugins/tens.wasm"), 1);
}

#[tokio::test]
async fn a_slow_load_delays_no_request() {
    let harness = Harness::start(site(), by_order()).await;
    harness.site.model("big", 1, "load-gate big");
    let serving = harness.serving.clone();
    let reload = tokio::spawn(async move { serving.reload().await });
    let gate = harness.engine.gates.get("big");
    gate.arrived(1).await;
    assert_eq!(harness.ask("sum", "1").await, "11");
    assert!(harness.serving.snapshot().route("big").is_none());
    gate.open();
    assert!(reload.await.unwrap().changed);
    assert!(harness.serving.snapshot().route("big").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_everything_changes() {
    let harness = Harness::start(site(), by_order()).await;
    let (stop, answered) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (serving, stop) = (harness.serving.clone(), Arc::clone(&stop));
            let answered = Arc::clone(&answered);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let snapshot = serving.snapshot();
                    let route = snapshot.route("sum").unwrap();
                    let outcome = route.run(&request("sum"), body("1")).await.unwrap();
                    // Each answer is of one generation: never a new plugin with an old model.
                    let generation: f32 = text(&outcome.payload).parse().unwrap();
                    assert_eq!(generation % 11.0, 0.0);
                    answered.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for round in 2..40_u64 {
        harness
            .site
            .plugin("tens", &format!("scale {}", round * 10));
        harness.site.model("sum", 1, &format!("add {round}"));
        let before = answered.load(Ordering::Relaxed);
        assert!(harness.serving.reload().await.changed);
        eventually("requests go on", || {
            answered.load(Ordering::Relaxed) > before
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    harness.drained().await;
    assert_eq!(harness.engine.live(), 1);
    // The two in force, and the release before for a roll-back.
    assert_eq!(harness.plugins.live(), 3);
    assert!(
        harness
            .engine
            .dropped_by()
            .iter()
            .all(|t| t == "wharf-reaper")
    );
    for (kind, count) in [("snapshot", 1.0), ("model", 1.0), ("plugin", 2.0)] {
        let live = harness.metric("serving_live_generations", &[("kind", kind)]);
        assert_eq!(live, Some(count), "{kind}");
    }
    harness.serving.shutdown().await;
}

#[tokio::test]
async fn shutdown_ends_everything_but_what_is_in_force() {
    let harness = Harness::start(site(), by_order()).await;
    harness.serving.shutdown().await;
    assert_eq!(harness.ask("sum", "1").await, "11");
    harness.site.plugin("tens", "scale 20");
    assert!(!harness.serving.reload().await.changed);
    assert_eq!(harness.ask("sum", "1").await, "11");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever_for_a_load() {
    let config = Config {
        drain_timeout_ms: 1,
        ..by_order()
    };
    let harness = Harness::start(site(), config).await;
    harness.site.model("big", 1, "load-gate big");
    let serving = harness.serving.clone();
    let reload = tokio::spawn(async move { serving.reload().await });
    let gate = harness.engine.gates.get("big");
    gate.arrived(1).await;
    harness.serving.shutdown().await;
    assert!(!reload.await.unwrap().changed);
    gate.open();
}

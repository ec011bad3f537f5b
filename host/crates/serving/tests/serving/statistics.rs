//! What requests came to, as Triton's statistics count it.

use std::time::Duration;

use wharf_core::{Payload, Tensor};
use wharf_serving::{ModelStatistics, Tally};
use wharf_testkit::{Site, body, eventually, request, request_with, tensor};

use crate::harness::{Harness, by_order};

fn of(harness: &Harness, name: &str, version: u64) -> ModelStatistics {
    let statistics = harness.serving.statistics();
    let mut found = statistics
        .into_iter()
        .filter(|one| one.name.as_str() == name && one.version == version);
    let one = found.next().expect("it is in force");
    assert!(found.next().is_none());
    one
}

/// So many rows of one number.
fn rows(count: u64) -> Payload {
    let data = vec![0.0_f32; usize::try_from(count).unwrap()];
    Payload::Tensors(vec![Tensor::from_vec("input", [count, 1], data).unwrap()])
}

fn tally(count: u64, microseconds: u64) -> Tally {
    Tally {
        count,
        time: Duration::from_micros(microseconds),
    }
}

#[tokio::test]
async fn requests_rows_runs_and_times_add_up() {
    let site = Site::new();
    site.model("sum", 1, "max-rows 512\ntimes 1 2 3 4");
    let harness = Harness::start(site, by_order()).await;
    let untouched = of(&harness, "sum", 1);
    assert_eq!(untouched.last_inference, None);
    assert!(untouched.batches.is_empty());
    for count in [1, 3, 3, 200] {
        harness.run("sum", rows(count)).await.unwrap();
    }
    harness.run("sum", body("none")).await.unwrap_err();
    let statistics = of(&harness, "sum", 1);
    assert_eq!(statistics.inference_count, 207);
    assert_eq!(statistics.execution_count, 4);
    assert_eq!(statistics.success.count, 4);
    assert!(statistics.success.time > Duration::ZERO);
    assert_eq!(statistics.fail.count, 1);
    assert!(statistics.last_inference.is_some());
    assert_eq!(statistics.queue, tally(4, 4));
    assert_eq!(statistics.compute_input, tally(4, 8));
    assert_eq!(statistics.compute_infer, tally(4, 12));
    assert_eq!(statistics.compute_output, tally(4, 16));
    assert_eq!(statistics.cache_hit, Tally::default());
    let batches: Vec<(u64, Tally)> = statistics
        .batches
        .iter()
        .map(|batch| (batch.rows, batch.compute_infer))
        .collect();
    assert_eq!(
        batches,
        [(1, tally(1, 3)), (3, tally(2, 6)), (256, tally(1, 3))]
    );
}

#[tokio::test]
async fn what_the_cache_answered_was_not_computed() {
    let site = Site::new();
    site.model("known", 1, "times 1 2 3 4\ncache hit 7");
    site.model("new", 1, "times 1 2 3 4\ncache miss 9");
    let harness = Harness::start(site, by_order()).await;
    harness.number("known", 1.0).await;
    harness.number("new", 1.0).await;
    let known = of(&harness, "known", 1);
    assert_eq!((known.success.count, known.inference_count), (1, 0));
    assert_eq!(known.execution_count, 0);
    assert_eq!(known.cache_hit, tally(1, 7));
    assert_eq!(known.queue.count, 1);
    assert_eq!(known.compute_infer, Tally::default());
    let new = of(&harness, "new", 1);
    assert_eq!(new.cache_miss, tally(1, 9));
    assert_eq!(new.compute_infer, tally(1, 3));
    assert_eq!((new.inference_count, new.execution_count), (1, 1));
}

#[tokio::test]
async fn a_request_that_is_given_up_has_failed() {
    let site = Site::new();
    site.model("slow", 1, "gate never");
    let harness = Harness::start(site, by_order()).await;
    let snapshot = harness.serving.snapshot();
    let late = request_with("slow", Duration::from_secs(1), &[]);
    let input = || Payload::Tensors(vec![tensor("input", &[1.0])]);
    let route = snapshot.route("slow").unwrap();
    route.run(&late, input()).await.unwrap_err();
    harness.engine.gates.get("never").arrived(1).await;
    let taken = harness.serving.snapshot();
    let leaving = tokio::spawn(async move {
        let route = taken.route("slow").unwrap();
        route.run(&request("slow"), input()).await
    });
    harness.engine.gates.get("never").arrived(2).await;
    leaving.abort();
    eventually("both are counted", || {
        of(&harness, "slow", 1).fail.count == 2
    })
    .await;
    assert!(of(&harness, "slow", 1).fail.time >= Duration::from_millis(100));
    for outcome in ["deadline", "cancelled"] {
        let count = harness.metric("model_request_total", &[("outcome", outcome)]);
        assert_eq!(count, Some(1.0), "{outcome}");
    }
}

#[tokio::test]
async fn names_and_versions_count_apart_and_a_reload_keeps_the_counts() {
    let site = Site::new();
    site.put("models/sum/model.toml", "policy = \"all\"");
    site.model("sum", 1, "add 1");
    site.model("sum", 2, "add 2");
    site.route("alias", "model = 'sum'\nversion = 1");
    let harness = Harness::start(site, by_order()).await;
    harness.number("sum", 0.0).await;
    harness.number("alias", 0.0).await;
    let snapshot = harness.serving.snapshot();
    let pinned = snapshot.endpoint("sum", Some("1")).unwrap();
    for _ in 0..2 {
        let input = Payload::Tensors(vec![tensor("input", &[1.0])]);
        pinned.run(&request("sum"), input).await.unwrap();
    }
    harness.site.model("sum", 1, "add 5");
    assert!(harness.serving.reload().await.changed);
    let counts: Vec<(String, u64, u64)> = harness
        .serving
        .statistics()
        .into_iter()
        .map(|one| (one.name.to_string(), one.version, one.success.count))
        .collect();
    let expected = [("alias", 1, 1), ("sum", 1, 2), ("sum", 2, 1)];
    assert_eq!(
        counts,
        expected.map(|(name, version, count)| (name.to_owned(), version, count))
    );
}

//! The first-party routers as components: what they choose, and the metrics whose names are the operator's.

use std::sync::Arc;
use std::time::Duration;

use wharf_core::{Candidate, ErrorKind, ModelLoad, Plugin};

use crate::site::{Site, guest, request, request_with};

fn candidate(label: &str, load: ModelLoad) -> Candidate {
    Candidate {
        model: label.parse().unwrap(),
        version: 1,
        labels: Arc::from([label.to_owned()]),
        load,
    }
}

fn waiting(label: &str, queue_depth: u32) -> Candidate {
    let load = ModelLoad {
        queue_depth,
        ..ModelLoad::default()
    };
    candidate(label, load)
}

fn load(site: &Site, name: &str, settings: &str) -> Arc<dyn Plugin> {
    site.load(name, &guest(name), settings).unwrap()
}

const EXPERIMENT: &str = "[settings]
experiment = 'ranker-2026'
sticky_by = 'header'
sticky_header = 'x-user'
force_header = 'x-variant'
[settings.variants]
control = { label = 'stable', weight = 50 }
treatment = { label = 'new', weight = 50 }
";

#[tokio::test]
async fn ab_test_keeps_users_and_counts_exposures_by_variant() {
    let site = Site::new();
    let router = load(&site, "ab-test", EXPERIMENT);
    let candidates = ["stable", "new"].map(|label| candidate(label, ModelLoad::default()));
    let mut chosen = Vec::new();
    for user in 0..100 {
        let user = user.to_string();
        let request = request_with(&[("x-user", user.as_str())]);
        let first = router.route(&request, &candidates).await.unwrap();
        let again = router.route(&request, &candidates).await.unwrap();
        assert_eq!(first, again);
        chosen.push(first);
    }
    let treated = chosen.iter().filter(|one| **one == 1).count();
    assert!((30..70).contains(&treated), "{treated} of 100");
    let labels = &[("plugin", "ab-test")];
    let exposures =
        |variant: &str| site.metric(&format!("plugin_ab_test_{variant}_exposures_total"), labels);
    assert_eq!(exposures("treatment"), 2.0 * treated as f64);
    assert_eq!(exposures("control"), 200.0 - 2.0 * treated as f64);

    let forced = request_with(&[("x-user", "7"), ("x-variant", "treatment")]);
    assert_eq!(router.route(&forced, &candidates).await.unwrap(), 1);
    assert_eq!(site.metric("plugin_ab_test_forced_total", labels), 1.0);
    let unknown = request_with(&[("x-variant", "placebo")]);
    let error = router.route(&unknown, &candidates).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.field()),
        (ErrorKind::InvalidArgument, Some("x-variant"))
    );
    assert_eq!(router.health().faults, 0);
    let dropped = site.metric("plugin_metric_value_dropped_total", &[]);
    assert_eq!(dropped, 0.0);

    let text = site
        .load(
            "ab-test",
            &guest("ab-test"),
            &EXPERIMENT.replace("treatment", "Treatment"),
        )
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(text.contains("settings.variants.Treatment"), "{text}");
}

const ORDER: &str = "[settings]
order = ['large', 'small']
limits.max_queue_depth = 10
limits.max_latency_ms = 100
probe_percent = 0
";

#[tokio::test]
async fn fallback_passes_over_what_is_busy_and_says_why() {
    let site = Site::new();
    let router = load(&site, "fallback", ORDER);
    let slow = ModelLoad {
        latency: Duration::from_millis(150),
        ..ModelLoad::default()
    };
    for (large, chosen) in [
        (waiting("large", 10), 0),
        (waiting("large", 11), 1),
        (candidate("large", slow), 1),
        // An instance of its own remembers nothing.
        (waiting("large", 9), 0),
    ] {
        let candidates = [large, waiting("small", 0)];
        let given = router.route(&request(), &candidates).await.unwrap();
        assert_eq!(given, chosen, "{candidates:?}");
    }
    for (metric, count) in [
        ("large_chosen", 2.0),
        ("small_chosen", 2.0),
        ("passed_over_queue_depth", 1.0),
        ("passed_over_latency", 1.0),
        ("passed_over_recovering", 0.0),
        ("none_well", 0.0),
    ] {
        let name = format!("plugin_fallback_{metric}_total");
        assert_eq!(
            site.metric(&name, &[("plugin", "fallback")]),
            count,
            "{name}"
        );
    }
    let refuses = format!("{ORDER}otherwise = 'refuse'\n");
    let router = load(&site, "fallback", &refuses);
    let full = [waiting("large", 11), waiting("small", 11)];
    let error = router.route(&request(), &full).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(router.health().faults, 0);

    let text = site
        .load("fallback", &guest("fallback"), &ORDER.replace("large", ""))
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(text.contains("settings.order[0]"), "{text}");
}

#[tokio::test]
async fn a_shared_instance_of_fallback_waits_until_a_candidate_has_recovered() {
    let site = Site::new();
    let router = load(&site, "fallback", &format!("isolation = 'shared'\n{ORDER}"));
    // One request at a time, so one instance serves them all.
    let mut chosen = Vec::new();
    for queue_depth in [11, 9, 8, 10] {
        let candidates = [waiting("large", queue_depth), waiting("small", 0)];
        chosen.push(router.route(&request(), &candidates).await.unwrap());
    }
    assert_eq!(chosen, [1, 1, 0, 0]);
    let recovering = site.metric("plugin_fallback_passed_over_recovering_total", &[]);
    assert_eq!(recovering, 1.0);
}

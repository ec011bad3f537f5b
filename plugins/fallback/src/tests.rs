use wharf_plugin_sdk::{Candidate, Error, Lifecycle, Request, Router, testing};

use crate::Fallback;
use crate::settings::Settings;

fn fallback(settings: &str) -> Fallback {
    testing::plugin(settings).unwrap()
}

fn well(label: &str) -> Candidate {
    Candidate {
        model: label.to_owned(),
        version: 1,
        labels: vec![label.to_owned()],
        free_memory: Some(8 << 30),
        ..Candidate::default()
    }
}

fn waiting(label: &str, queue_depth: u32) -> Candidate {
    Candidate {
        queue_depth,
        ..well(label)
    }
}

fn slow(label: &str, latency_ms: u64) -> Candidate {
    Candidate {
        latency_us: latency_ms * 1000,
        ..well(label)
    }
}

fn choose(plugin: &Fallback, candidates: &[Candidate]) -> usize {
    plugin.route(&Request::new("chat"), candidates).unwrap()
}

/// The metrics that were added to since the last call.
fn counted() -> Vec<&'static str> {
    testing::take_values()
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}

const QUEUE: &str = r#"{"order": ["large", "small"], "limits": {"max_queue_depth": 10}}"#;

#[test]
fn the_preferred_one_is_chosen_while_it_is_well() {
    let plugin = fallback(QUEUE);
    assert_eq!(choose(&plugin, &[waiting("large", 10), well("small")]), 0);
    // The order is that of the settings.
    assert_eq!(choose(&plugin, &[well("small"), waiting("large", 10)]), 1);
    assert_eq!(counted(), ["fallback_large_chosen_total"; 2]);
}

#[test]
fn each_limit_has_its_cause() {
    let all = r#"{
        "order": ["large", "small"], "probe_percent": 0,
        "limits": {"max_queue_depth": 10, "max_in_flight": 4, "max_latency_ms": 2.5, "min_free_memory_mb": 1024}
    }"#;
    for (large, cause) in [
        (waiting("large", 11), "queue_depth"),
        (
            Candidate {
                in_flight: 5,
                ..well("large")
            },
            "in_flight",
        ),
        (
            Candidate {
                free_memory: Some((1 << 30) - 1),
                ..well("large")
            },
            "free_memory",
        ),
        (slow("large", 3), "latency"),
    ] {
        assert_eq!(choose(&fallback(all), &[large, well("small")]), 1);
        let passed_over = format!("fallback_passed_over_{cause}_total");
        assert_eq!(
            counted(),
            [passed_over.as_str(), "fallback_small_chosen_total"]
        );
    }
    let untold = Candidate {
        free_memory: None,
        ..well("large")
    };
    assert_eq!(choose(&fallback(all), &[untold, well("small")]), 0);
    assert_eq!(
        choose(&fallback(all), &[slow("large", 2), well("small")]),
        0
    );
}

#[test]
fn a_label_may_have_limits_of_its_own() {
    let plugin = fallback(
        r#"{
            "order": ["a", "b", "c"], "limits": {"max_queue_depth": 10, "max_in_flight": 1},
            "limits_of": {"b": {"max_queue_depth": 2}, "c": {"max_queue_depth": 100}}
        }"#,
    );
    let queues = |a, b, c| [waiting("a", a), waiting("b", b), waiting("c", c)];
    assert_eq!(choose(&plugin, &queues(11, 2, 0)), 1);
    assert_eq!(choose(&plugin, &queues(11, 3, 50)), 2);
    let busy = Candidate {
        in_flight: 2,
        ..well("b")
    };
    assert_eq!(choose(&plugin, &[waiting("a", 11), busy, well("c")]), 2);
}

#[test]
fn candidates_of_one_label_are_tried_in_turn_and_a_version_is_a_label() {
    let plugin = fallback(r#"{"order": ["2", "small"], "limits": {"max_queue_depth": 1}}"#);
    let second = |model, queue_depth| Candidate {
        version: 2,
        ..waiting(model, queue_depth)
    };
    let candidates = [
        well("small"),
        second("a", 5),
        second("b", 1),
        second("c", 0),
    ];
    assert_eq!(choose(&plugin, &candidates), 2);
    assert_eq!(counted().last(), Some(&"fallback_2_chosen_total"));
}

#[test]
fn where_none_is_well_the_settings_say() {
    let full = [waiting("large", 11), waiting("small", 11)];
    for (otherwise, chosen) in [("first", 0), ("last", 1)] {
        let settings = QUEUE.replace(
            "\"order\"",
            &format!(r#""otherwise": "{otherwise}", "order""#),
        );
        assert_eq!(choose(&fallback(&settings), &full), chosen);
        assert!(counted().contains(&"fallback_none_well_total"));
    }
    assert_eq!(choose(&fallback(QUEUE), &full), 1);
    let settings = QUEUE.replace("\"order\"", r#""otherwise": "refuse", "order""#);
    let refused = fallback(&settings).route(&Request::new("chat"), &full);
    assert!(matches!(refused, Err(Error::Unavailable(_))));
    // Nor where the route has none of them.
    let unknown = fallback(QUEUE).route(&Request::new("chat"), &[well("other")]);
    assert!(matches!(unknown, Err(Error::Unavailable(_))));
}

#[test]
fn an_instance_remembers_until_a_candidate_has_recovered() {
    let plugin = fallback(QUEUE);
    let with = |queue_depth| choose(&plugin, &[waiting("large", queue_depth), well("small")]);
    assert_eq!(with(10), 0, "it is at its limit, and was never beyond it");
    assert_eq!(with(11), 1);
    testing::take_values();
    assert_eq!(with(9), 1, "80 % of the limit are 8");
    assert_eq!(
        counted(),
        [
            "fallback_passed_over_recovering_total",
            "fallback_small_chosen_total"
        ]
    );
    assert_eq!(with(8), 0);
    assert_eq!(with(10), 0, "it is well again");
    // Another instance does not know.
    assert_eq!(with(11), 1);
    assert_eq!(
        choose(&fallback(QUEUE), &[waiting("large", 9), well("small")]),
        0
    );
    let settings = QUEUE.replace("\"order\"", r#""recover_percent": 100, "order""#);
    let plugin = fallback(&settings);
    assert_eq!(choose(&plugin, &[waiting("large", 11), well("small")]), 1);
    assert_eq!(choose(&plugin, &[waiting("large", 10), well("small")]), 0);
}

#[test]
fn free_memory_recovers_upwards() {
    let plugin =
        fallback(r#"{"order": ["large", "small"], "limits": {"min_free_memory_mb": 800}}"#);
    let with = |megabytes: u64| {
        let large = Candidate {
            free_memory: Some(megabytes << 20),
            ..well("large")
        };
        choose(&plugin, &[large, well("small")])
    };
    assert_eq!([800, 799, 999, 1000, 801].map(with), [0, 1, 1, 0, 0]);
}

#[test]
fn what_is_remembered_does_not_grow_without_end() {
    let plugin = fallback(QUEUE);
    for version in 0..1000 {
        let large = Candidate {
            version,
            ..waiting("large", 11)
        };
        assert_eq!(choose(&plugin, &[large, well("small")]), 1);
    }
    let last = Candidate {
        version: 999,
        ..waiting("large", 9)
    };
    assert_eq!(choose(&plugin, &[last, well("small")]), 1);
    let first = Candidate {
        version: 0,
        ..waiting("large", 9)
    };
    assert_eq!(
        choose(&plugin, &[first, well("small")]),
        0,
        "it is forgotten"
    );
}

#[test]
fn a_slow_candidate_is_asked_now_and_then() {
    let settings = |percent: f64| {
        format!(
            r#"{{"order": ["large", "small"], "limits": {{"max_latency_ms": 10, "max_queue_depth": 5}}, "probe_percent": {percent}}}"#
        )
    };
    let share = |percent, large: &Candidate| {
        let plugin = fallback(&settings(percent));
        let probed = (0..5000).filter(|index| {
            let request = Request::new("chat").with_id(&format!("request-{index}"));
            plugin
                .route(&request, &[large.clone(), well("small")])
                .unwrap()
                == 0
        });
        probed.count() as f64 / 5000.0
    };
    assert!((share(5.0, &slow("large", 20)) - 0.05).abs() < 0.012);
    let probes = counted();
    let count = |name: &str| probes.iter().filter(|counted| **counted == name).count();
    assert_eq!(
        count("fallback_probes_total"),
        count("fallback_large_chosen_total")
    );
    assert_eq!(share(0.0, &slow("large", 20)), 0.0);
    let full = Candidate {
        queue_depth: 6,
        ..slow("large", 20)
    };
    assert_eq!(share(100.0, &full), 0.0, "a full one is never asked");
}

#[test]
fn every_label_has_a_metric() {
    let settings = QUEUE.replace("large", "GPU-Large.1");
    let settings: Settings = serde_json::from_str(&settings).unwrap();
    let metrics = Fallback::metrics(&settings);
    let names: Vec<&str> = metrics.iter().map(|metric| metric.name()).collect();
    assert_eq!(names.len(), Fallback::METRICS.len() + 2);
    assert!(names.contains(&"fallback_gpu_large_1_chosen_total"));
    assert!(names.contains(&"fallback_small_chosen_total"));
}

#[test]
fn a_wrong_setting_is_refused_by_its_name() {
    let with = |rest: &str| {
        format!(r#"{{"order": ["a", "b"], "limits": {{"max_queue_depth": 1}}, {rest}}}"#)
    };
    let order =
        |order: &str| format!(r#"{{"order": {order}, "limits": {{"max_queue_depth": 1}}}}"#);
    for (settings, field) in [
        ("{}".to_owned(), "order"),
        (order("[]"), "order"),
        (order(r#"["a", ""]"#), "order[1]"),
        (order(r#"["a", "b", "a"]"#), "order[2]"),
        (order(r#"["a-1", "A_1"]"#), "order[1]"),
        (r#"{"order": ["a"]}"#.to_owned(), "limits"),
        (
            r#"{"order": ["a"], "limits": {"max_queue": 1}}"#.to_owned(),
            "limits.max_queue",
        ),
        (
            r#"{"order": ["a"], "limits": {"max_queue_depth": -1}}"#.to_owned(),
            "limits.max_queue_depth",
        ),
        (
            r#"{"order": ["a"], "limits": {"max_latency_ms": 0}}"#.to_owned(),
            "limits.max_latency_ms",
        ),
        (with(r#""limits_of": {"c": {}}"#), "limits_of.c"),
        (
            with(r#""limits_of": {"b": {"max_latency_ms": -1}}"#),
            "limits_of.b.max_latency_ms",
        ),
        (with(r#""otherwise": "random""#), "otherwise"),
        (with(r#""recover_percent": 0"#), "recover_percent"),
        (with(r#""recover_percent": 101"#), "recover_percent"),
        (with(r#""probe_percent": 101"#), "probe_percent"),
        (with(r#""probe": 1"#), "probe"),
    ] {
        let error = testing::plugin::<Fallback>(&settings).err().unwrap();
        assert_eq!(error.field(), Some(field), "{settings}: {error}");
    }
}

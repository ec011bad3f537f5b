use wharf_plugin_sdk::{Candidate, Error, Lifecycle, Request, Result, Router, testing};

use crate::AbTest;
use crate::settings::Settings;

const EVEN: &str = r#"{
    "experiment": "ranker-2026",
    "sticky_by": "header", "sticky_header": "x-user", "force_header": "x-variant",
    "variants": {"control": {"label": "stable", "weight": 50}, "treatment": {"label": "new", "weight": 50}}
}"#;

fn candidates() -> [Candidate; 2] {
    ["stable", "new"].map(|label| Candidate {
        model: label.to_owned(),
        version: 1,
        labels: vec![label.to_owned()],
        ..Candidate::default()
    })
}

fn ab_test(settings: &str) -> AbTest {
    testing::plugin(settings).unwrap()
}

fn request(index: usize) -> Request {
    Request::new("rank").with_id(&format!("request-{index}"))
}

fn user(index: usize) -> Request {
    request(index * 7 + 1).with_header("X-User", &format!("user-{index}"))
}

/// Which candidate each of so many users gets.
fn drawn(settings: &str, count: usize) -> Vec<usize> {
    let plugin = ab_test(settings);
    let drawn = (0..count).map(|index| plugin.route(&user(index), &candidates()));
    drawn.collect::<Result<_>>().unwrap()
}

fn share(drawn: &[usize]) -> f64 {
    drawn.iter().filter(|one| **one == 1).count() as f64 / drawn.len() as f64
}

/// Values of the metrics since the last call, added up by name.
fn counted(name: &str) -> f64 {
    let values = testing::take_values().into_iter();
    values
        .filter(|(of, _)| *of == name)
        .map(|(_, value)| value)
        .sum()
}

#[test]
fn users_divide_by_the_weights_and_stay() {
    let first = drawn(EVEN, 10_000);
    // Four standard deviations of a share of a half in 10,000 draws are 0.02.
    assert!((share(&first) - 0.5).abs() < 0.02, "{}", share(&first));
    assert_eq!(first, drawn(EVEN, 10_000));
    let uneven = EVEN.replace("\"new\", \"weight\": 50", "\"new\", \"weight\": 5");
    assert!((share(&drawn(&uneven, 10_000)) - 5.0 / 55.0).abs() < 0.012);
}

#[test]
fn a_user_stays_whatever_the_request_and_the_order_of_the_candidates() {
    let plugin = ab_test(EVEN);
    let [stable, new] = candidates();
    for index in 0..100 {
        let chosen = plugin.route(&user(index), &candidates()).unwrap();
        let later = user(index).with_id("another");
        assert_eq!(plugin.route(&later, &candidates()).unwrap(), chosen);
        let swapped = [new.clone(), stable.clone()];
        assert_eq!(plugin.route(&later, &swapped).unwrap(), 1 - chosen);
    }
}

#[test]
fn a_larger_weight_moves_users_only_towards_it() {
    let larger = EVEN.replace("\"new\", \"weight\": 50", "\"new\", \"weight\": 80");
    let (before, after) = (drawn(EVEN, 5000), drawn(&larger, 5000));
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(before, after)| before <= after)
    );
    assert!(share(&after) > share(&before));
}

#[test]
fn another_experiment_draws_users_anew() {
    let other = EVEN.replace("ranker-2026", "ranker-2027");
    let (one, other) = (drawn(EVEN, 10_000), drawn(&other, 10_000));
    let same = one.iter().zip(&other).filter(|(one, other)| one == other);
    let same = same.count() as f64 / 10_000.0;
    assert!(
        (same - 0.5).abs() < 0.02,
        "{same} of the users got the same"
    );
}

#[test]
fn draws_never_change() {
    assert_eq!(drawn(EVEN, 12), [1, 0, 1, 0, 1, 0, 0, 1, 0, 0, 1, 0]);
}

#[test]
fn tenants_and_requests_are_keys_too() {
    let settings = |by: &str| {
        format!(
            r#"{{"experiment": "e", "sticky_by": "{by}", "variants": {{"stable": {{"weight": 1}}, "new": {{"weight": 1}}}}}}"#
        )
    };
    let by_tenant = ab_test(&settings("tenant"));
    let of = |index: usize| request(index).with_tenant(&format!("tenant-{}", index % 40));
    let drawn: Vec<usize> = (0..80)
        .map(|index| by_tenant.route(&of(index), &candidates()).unwrap())
        .collect();
    assert_eq!(drawn[..40], drawn[40..]);
    assert!((0.2..0.8).contains(&share(&drawn)));
    assert_eq!(counted("ab_test_unkeyed_total"), 0.0);
    by_tenant.route(&request(0), &candidates()).unwrap();
    assert_eq!(counted("ab_test_unkeyed_total"), 1.0);

    let by_request = ab_test(&settings("request"));
    let drawn: Vec<usize> = (0..200)
        .map(|index| by_request.route(&request(index), &candidates()).unwrap())
        .collect();
    assert!((0.35..0.65).contains(&share(&drawn)));
    assert_eq!(counted("ab_test_unkeyed_total"), 0.0);
}

#[test]
fn a_request_without_the_header_is_drawn_alone_and_counted() {
    let plugin = ab_test(EVEN);
    let empty = |index: usize| request(index).with_header("x-user", "");
    for index in 0..100 {
        plugin.route(&request(index), &candidates()).unwrap();
        plugin.route(&empty(index), &candidates()).unwrap();
    }
    let values = testing::take_values();
    let sum = |name: &str| values.iter().filter(|(of, _)| *of == name).count();
    assert_eq!(sum("ab_test_unkeyed_total"), 200);
    let (control, treatment) = (
        sum("ab_test_control_exposures_total"),
        sum("ab_test_treatment_exposures_total"),
    );
    assert_eq!(control + treatment, 200);
    assert!(control > 60 && treatment > 60);
}

#[test]
fn a_forced_variant_is_no_exposure() {
    let plugin = ab_test(EVEN);
    for (variant, chosen) in [("control", 0), ("treatment", 1)] {
        for index in 0..20 {
            let forced = user(index).with_header("X-Variant", variant);
            assert_eq!(plugin.route(&forced, &candidates()).unwrap(), chosen);
        }
    }
    let values = testing::take_values();
    assert!(
        values
            .iter()
            .all(|(name, _)| *name == "ab_test_forced_total")
    );
    assert_eq!(values.len(), 40);

    let unknown = user(0).with_header("x-variant", "stable");
    let error = plugin.route(&unknown, &candidates()).unwrap_err();
    assert_eq!(error.field(), Some("x-variant"));
    assert!(error.message().ends_with("control, treatment"), "{error}");
    // Without the setting the header means nothing.
    let closed = EVEN.replace(r#", "force_header": "x-variant""#, "");
    assert!(ab_test(&closed).route(&unknown, &candidates()).is_ok());
}

#[test]
fn a_weight_of_0_is_for_those_who_force_it() {
    let paused = EVEN.replace("\"new\", \"weight\": 50", "\"new\", \"weight\": 0");
    assert!(drawn(&paused, 200).iter().all(|one| *one == 0));
    let forced = user(0).with_header("x-variant", "treatment");
    assert_eq!(ab_test(&paused).route(&forced, &candidates()).unwrap(), 1);
}

#[test]
fn candidates_of_one_label_share_its_requests_and_a_version_is_a_label() {
    let settings = r#"{"experiment": "e", "variants": {"a": {"label": "2", "weight": 1}, "b": {"label": "x", "weight": 0}}}"#;
    let [mut one, mut two] = candidates();
    (one.version, two.version) = (2, 2);
    let plugin = ab_test(settings);
    let drawn: Vec<usize> = (0..200)
        .map(|index| {
            plugin
                .route(&request(index), &[one.clone(), two.clone()])
                .unwrap()
        })
        .collect();
    assert!((0.35..0.65).contains(&share(&drawn)), "{}", share(&drawn));
}

#[test]
fn a_variant_without_a_candidate_is_refused_and_not_counted() {
    let plugin = ab_test(EVEN);
    let only = &candidates()[..1];
    let refused = (0..100).filter(|index| match plugin.route(&user(*index), only) {
        Ok(chosen) => chosen != 0,
        Err(error) => matches!(&error, Error::Unavailable(text) if text.contains("`new`")),
    });
    assert_eq!(refused.count(), 56);
    assert_eq!(counted("ab_test_treatment_exposures_total"), 0.0);
}

#[test]
fn every_variant_has_a_metric() {
    let settings: Settings = serde_json::from_str(EVEN).unwrap();
    let names: Vec<&str> = AbTest::metrics(&settings)
        .iter()
        .map(|metric| metric.name())
        .collect();
    assert_eq!(
        names,
        [
            "ab_test_forced_total",
            "ab_test_unkeyed_total",
            "ab_test_control_exposures_total",
            "ab_test_treatment_exposures_total"
        ]
    );
}

#[test]
fn a_wrong_setting_is_refused_by_its_name() {
    let with = |rest: &str| {
        format!(
            r#"{{"experiment": "e", "variants": {{"a": {{"weight": 1}}, "b": {{"weight": 1}}}}, {rest}}}"#
        )
    };
    let long = "a".repeat(33);
    let variants = |variants: &str| format!(r#"{{"experiment": "e", "variants": {variants}}}"#);
    for (settings, field) in [
        ("{}".to_owned(), "experiment"),
        (with(r#""experiments": "f""#), "experiments"),
        (with(r#""sticky_by": "cookie""#), "sticky_by"),
        (with(r#""sticky_by": "header""#), "sticky_header"),
        (with(r#""sticky_header": "x-user""#), "sticky_by"),
        (with(r#""force_header": "x variant""#), "force_header"),
        (variants("{}"), "variants"),
        (variants(r#"{"a": {"weight": 1}}"#), "variants"),
        (
            variants(r#"{"a": {"weight": 0}, "b": {"weight": 0}}"#),
            "variants",
        ),
        (
            variants(r#"{"a": {"weight": -1}, "b": {"weight": 1}}"#),
            "variants.a.weight",
        ),
        (
            variants(r#"{"a": {}, "b": {"weight": 1}}"#),
            "variants.a.weight",
        ),
        (
            variants(r#"{"A": {"weight": 1}, "b": {"weight": 1}}"#),
            "variants.A",
        ),
        (
            variants(r#"{"a": {"weight": 1, "label": ""}, "b": {"weight": 1}}"#),
            "variants.a.label",
        ),
        (
            variants(&format!(
                r#"{{"{long}": {{"weight": 1}}, "b": {{"weight": 1}}}}"#
            )),
            &format!("variants.{long}"),
        ),
    ] {
        let error = testing::plugin::<AbTest>(&settings).err().unwrap();
        assert_eq!(error.field(), Some(field), "{settings}: {error}");
    }
    let unnamed = r#"{"experiment": "", "variants": {"a": {"weight": 1}, "b": {"weight": 1}}}"#;
    let error = testing::plugin::<AbTest>(unnamed).err().unwrap();
    assert_eq!(error.field(), Some("experiment"));
}

use wharf_plugin_sdk::{Candidate, Error, Request, Router, testing};

use crate::Canary;

fn candidate(version: u64, label: &str) -> Candidate {
    Candidate {
        model: "digits".to_owned(),
        version,
        labels: vec![label.to_owned()],
        ..Candidate::default()
    }
}

fn canary(settings: &str) -> Canary {
    testing::plugin(settings).unwrap()
}

/// The candidates chosen for this many requests, or this many users.
fn chosen(
    plugin: &Canary,
    candidates: &[Candidate],
    count: usize,
    request: impl Fn(usize) -> Request,
) -> Vec<usize> {
    (0..count)
        .map(|index| plugin.route(&request(index), candidates).unwrap())
        .collect()
}

fn share(chosen: &[usize], candidate: usize) -> f64 {
    chosen.iter().filter(|one| **one == candidate).count() as f64 / chosen.len() as f64
}

fn by_id(index: usize) -> Request {
    Request::new("digits").with_id(&format!("request-{index}"))
}

fn by_user(index: usize) -> Request {
    by_id(index).with_header("X-User", &format!("user-{}", index % 5000))
}

#[test]
fn requests_divide_by_the_weights() {
    let plugin = canary(r#"{"weights": {"stable": 90, "canary": 10}}"#);
    let chosen = chosen(
        &plugin,
        &[candidate(1, "stable"), candidate(2, "canary")],
        20_000,
        by_id,
    );
    let canary = share(&chosen, 1);
    // Four standard deviations of a share of 0.1 in 20,000 draws are 0.0085.
    assert!((canary - 0.1).abs() < 0.0085, "{canary}");
}

#[test]
fn a_label_that_candidates_share_divides_its_weight() {
    let plugin = canary(r#"{"weights": {"stable": 1, "canary": 1}}"#);
    let candidates = [
        candidate(1, "stable"),
        candidate(2, "stable"),
        candidate(3, "canary"),
    ];
    let chosen = chosen(&plugin, &candidates, 20_000, by_id);
    for (index, wanted) in [(0, 0.25), (1, 0.25), (2, 0.5)] {
        assert!((share(&chosen, index) - wanted).abs() < 0.015, "{index}");
    }
}

#[test]
fn a_version_is_a_label_too() {
    let plugin = canary(r#"{"weights": {"2": 1}}"#);
    let candidates = [candidate(1, "stable"), candidate(2, "new")];
    assert!(
        chosen(&plugin, &candidates, 100, by_id)
            .iter()
            .all(|index| *index == 1)
    );
}

#[test]
fn a_user_stays_with_a_version() {
    let plugin = canary(r#"{"weights": {"stable": 50, "canary": 50}, "sticky_header": "x-user"}"#);
    let candidates = [candidate(1, "stable"), candidate(2, "canary")];
    let chosen = chosen(&plugin, &candidates, 10_000, by_user);
    assert_eq!(chosen[..5000], chosen[5000..]);
    // The order of the candidates is the route file's business, not the user's.
    let swapped = [candidate(2, "canary"), candidate(1, "stable")];
    assert!(
        (0..100).all(|index| plugin.route(&by_user(index), &swapped).unwrap() == 1 - chosen[index])
    );
}

#[test]
fn a_larger_weight_moves_users_only_towards_it() {
    let candidates = [candidate(1, "stable"), candidate(2, "canary")];
    let users = |canary_weight: u32| {
        let settings = format!(
            r#"{{"weights": {{"stable": 80, "canary": {canary_weight}}}, "sticky_header": "x-user"}}"#
        );
        chosen(&canary(&settings), &candidates, 5000, by_user)
    };
    let (before, after) = (users(20), users(80));
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(before, after)| *before == 0 || *after == 1)
    );
    assert!(share(&after, 1) > share(&before, 1));
}

#[test]
fn a_request_without_the_header_is_drawn_alone() {
    let plugin = canary(r#"{"weights": {"stable": 1, "canary": 1}, "sticky_header": "x-user"}"#);
    let candidates = [candidate(1, "stable"), candidate(2, "canary")];
    let empty = |index: usize| by_id(index).with_header("x-user", "");
    for chosen in [
        chosen(&plugin, &candidates, 200, by_id),
        chosen(&plugin, &candidates, 200, empty),
    ] {
        assert!(share(&chosen, 0) > 0.3 && share(&chosen, 1) > 0.3);
    }
}

#[test]
fn the_hash_never_changes() {
    let plugin = canary(r#"{"weights": {"stable": 50, "canary": 50}, "sticky_header": "x-user"}"#);
    let candidates = [candidate(1, "stable"), candidate(2, "canary")];
    assert_eq!(
        chosen(&plugin, &candidates, 12, by_user),
        [0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1]
    );
}

#[test]
fn candidates_without_weight_get_nothing() {
    let plugin = canary(r#"{"weights": {"stable": 1, "canary": 0}}"#);
    let candidates = [
        candidate(1, "canary"),
        candidate(2, "stable"),
        candidate(3, "unknown"),
    ];
    assert!(
        chosen(&plugin, &candidates, 500, by_id)
            .iter()
            .all(|index| *index == 1)
    );
    let error = plugin
        .route(&by_id(0), &[candidate(1, "canary")])
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
}

#[test]
fn a_wrong_setting_is_refused_by_its_name() {
    for (settings, field) in [
        ("{}", "weights"),
        (r#"{"weights": {}}"#, "weights"),
        (r#"{"weights": {"a": 0}}"#, "weights"),
        (r#"{"weights": {"a": -1}}"#, "weights.a"),
        (r#"{"weights": {"a": "many"}}"#, "weights.a"),
        (
            r#"{"weights": {"a": 1}, "sticky_header": ""}"#,
            "sticky_header",
        ),
        (
            r#"{"weights": {"a": 1}, "sticky_header": "x user"}"#,
            "sticky_header",
        ),
        (r#"{"weights": {"a": 1}, "sticky": "x-user"}"#, "sticky"),
    ] {
        assert_eq!(
            testing::plugin::<Canary>(settings).err().unwrap().field(),
            Some(field),
            "{settings}"
        );
    }
}

use super::check::{Tables, check};
use super::*;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Gateway {
    plans: BTreeMap<String, PlanConfig>,
    tenants: BTreeMap<String, TenantConfig>,
    quota: StoreConfig,
}

fn read(text: &str) -> Gateway {
    toml::from_str(text).unwrap()
}

fn tables(gateway: &Gateway) -> Tables<'_> {
    Tables {
        plans: &gateway.plans,
        tenants: &gateway.tenants,
        quota: &gateway.quota,
    }
}

#[test]
fn what_is_not_said_stays_as_it_was() {
    let gateway = read(
        "[plans.free]\nmax_concurrent = 3\n[plans.enterprise]\nrequests_per_s = 50\n[plans.own]\nmax_concurrent = 9\ntokens_per_min = 9\n",
    );
    let plans = all_plans(&gateway.plans);
    assert_eq!(plans["free"].requests_per_s, Some(5.0));
    assert_eq!(plans["free"].burst, Some(10));
    assert_eq!(plans["free"].max_concurrent, Some(3));
    assert_eq!(plans["enterprise"].requests_per_s, Some(50.0));
    assert_eq!(plans["enterprise"].burst, None, "the burst of another rate");
    assert_eq!(plans["own"].requests_per_s, None);
    check(tables(&gateway)).unwrap();
    check(tables(&Gateway::default())).unwrap();
}

#[test]
fn what_is_wrong_is_named() {
    for (text, key) in [
        ("[plans.p]", "gateway.plans.p"),
        ("[plans.p.models.m]", "gateway.plans.p.models.m"),
        ("[plans.p]\ntokens_per_min = 9", "gateway.plans.p"),
        (
            "[plans.p.models.m]\ntokens_per_min = 9",
            "gateway.plans.p.models.m",
        ),
        ("[plans.\"a b\"]", "gateway.plans.\"a b\""),
        ("[plans.p]\nburst = 3", "gateway.plans.p.burst"),
        (
            "[plans.p]\nrequests_per_s = 0",
            "gateway.plans.p.requests_per_s",
        ),
        (
            "[plans.p]\nrequests_per_s = nan",
            "gateway.plans.p.requests_per_s",
        ),
        (
            "[plans.p]\nrequests_per_s = -1",
            "gateway.plans.p.requests_per_s",
        ),
        (
            "[plans.p]\nrequests_per_s = 1e7",
            "gateway.plans.p.requests_per_s",
        ),
        (
            "[plans.p]\nrequests_per_s = 1\nburst = 0",
            "gateway.plans.p.burst",
        ),
        (
            "[plans.p]\nrequests_per_s = 1\nburst = 9999999",
            "gateway.plans.p.burst",
        ),
        ("[plans.free]\nwindow_s = 0", "gateway.plans.free.window_s"),
        (
            "[plans.p]\nmax_concurrent = 0",
            "gateway.plans.p.max_concurrent",
        ),
        (
            "[plans.p]\ntokens_per_min = 0",
            "gateway.plans.p.tokens_per_min",
        ),
        (
            "[plans.p]\ntokens_per_min = 60000000001",
            "gateway.plans.p.tokens_per_min",
        ),
        (
            "[plans.free]\ntoken_burst = 5",
            "gateway.plans.free.token_burst",
        ),
        (
            "[plans.free.models.m]\nrequests_per_s = 6",
            "gateway.plans.free.models.m.requests_per_s",
        ),
        (
            "[tenants.acme]\nplan = \"gold\"",
            "gateway.tenants.acme.plan",
        ),
        ("[tenants.\"a/b\"]", "gateway.tenants.\"a/b\""),
        (
            "[quota]\ndefault_plan = \"gold\"",
            "gateway.quota.default_plan",
        ),
        ("[quota]\nstore = \"redis\"", "gateway.quota.redis_url"),
        ("[quota]\nprocesses = 0", "gateway.quota.processes"),
        ("[quota]\nmax_tenants = 0", "gateway.quota.max_tenants"),
        ("[quota]\ntimeout_ms = 0", "gateway.quota.timeout_ms"),
        ("[quota]\nlease_s = 4000", "gateway.quota.lease_s"),
        ("[quota]\nprefix = \"a{b\"", "gateway.quota.prefix"),
    ] {
        let error = check(tables(&read(text))).unwrap_err();
        assert_eq!(error.key.as_deref(), Some(key), "{error}");
        assert_eq!(error.file, "wharf.toml");
    }
}

#[test]
fn tokens_alone_are_no_limit() {
    let error = check(tables(&read("[plans.p]\ntokens_per_min = 9"))).unwrap_err();
    assert!(
        error.message.contains("only generation uses"),
        "{}",
        error.message
    );
    check(tables(&read(
        "[plans.p]\ntokens_per_min = 9\nmax_concurrent = 1",
    )))
    .unwrap();
}

#[test]
fn parts_are_given_of_a_number_of_processes() {
    let quota = |more: &str| {
        let redis = "[quota]\nstore = \"redis\"\nredis_url = \"redis://127.0.0.1\"";
        check(tables(&read(&format!("{redis}\n{more}"))))
    };
    let error = quota("when_down = \"local\"").unwrap_err();
    assert_eq!(error.key.as_deref(), Some("gateway.quota.processes"));
    quota("when_down = \"local\"\nprocesses = 1").unwrap();
    quota("when_down = \"closed\"").unwrap();
    // Of what is counted in memory each process gives the whole, and nothing is shared.
    check(tables(&read("[quota]\nwhen_down = \"local\""))).unwrap();
}

#[test]
fn the_address_of_redis_is_never_shown() {
    let secret = "hunter2";
    for url in [
        "redis://:hunter2@127.0.0.1:6379/notanumber",
        "rediss://:hunter2@127.0.0.1/notanumber",
        "hunter2",
        "http://hunter2",
    ] {
        let text = format!("[quota]\nstore = \"redis\"\nredis_url = \"{url}\"");
        let gateway = read(&text);
        let error = check(tables(&gateway)).unwrap_err();
        assert_eq!(error.key.as_deref(), Some("gateway.quota.redis_url"));
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
        assert!(!format!("{:?}", gateway.quota).contains(secret));
    }
    for url in [
        "redis://:hunter2@127.0.0.1:6379/1",
        "rediss://:hunter2@127.0.0.1",
        "redis+unix:///run/redis.sock",
    ] {
        let text = format!("[quota]\nstore = \"redis\"\nredis_url = \"{url}\"");
        check(tables(&read(&text))).unwrap();
    }
}

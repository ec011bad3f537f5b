use std::time::Duration;

use http::HeaderValue;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use wharf_core::{ErrorKind, Quota};
use wharf_testkit::RedisServer;

use super::clock::Said;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The tables of `[gateway]`, without that in their names.
fn config(text: &str) -> Config {
    toml::from_str(text).unwrap()
}

fn of(tenant: &str) -> Principal {
    Principal {
        tenant: Some(tenant.into()),
        subject: "ada".into(),
        roles: Vec::new(),
        scopes: Vec::new(),
        context: HeaderValue::from_static("{}"),
    }
}

fn meter() -> Meter {
    SdkMeterProvider::default().meter("test")
}

fn in_memory(text: &str) -> (Quotas, Arc<Said>) {
    let clock = Arc::new(Said::default());
    let config = config(text);
    check(&config).unwrap();
    let said = Arc::clone(&clock) as Arc<dyn Clock>;
    (Quotas::with(&config, None, &meter(), said), clock)
}

fn open(config: &Config) -> Result<Quotas, LoadError> {
    Quotas::open(config, Path::new("."), &meter())
}

/// What is answered at once.
fn admit(quotas: &Quotas, tenant: &str, route: &str) -> Admission {
    match quotas.admit(&of(tenant), route) {
        Prompt::Now(admission) => admission,
        Prompt::Later(_) => panic!("nothing in memory is waited for"),
    }
}

fn burst(quotas: &Quotas, tenant: &str, route: &str) -> usize {
    (0..1000)
        .take_while(|_| admit(quotas, tenant, route).outcome.is_ok())
        .count()
}

#[test]
fn a_tenant_that_nobody_lists_is_on_the_free_plan() {
    let (quotas, clock) = in_memory("");
    let first = admit(&quotas, "acme", "digits");
    assert!(first.outcome.is_ok());
    let free = |remaining, reset| {
        Some(Quota {
            policy: "free".into(),
            limit: 300,
            window: 60 * SECOND,
            remaining,
            reset,
        })
    };
    assert_eq!(first.quota, free(9, SECOND / 5));
    assert_eq!(burst(&quotas, "acme", "digits"), 9);
    let refused = admit(&quotas, "acme", "digits");
    assert_eq!(refused.quota, free(0, 2 * SECOND));
    let error = refused.outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert_eq!(error.retry_after(), Some(SECOND / 5));
    assert_eq!(
        error.message(),
        "the plan \"free\" allows 5 requests/s, and 10 at once; try again in 200 ms"
    );
    clock.pass(60 * SECOND);
    assert_eq!(burst(&quotas, "acme", "digits"), 10);
}

#[test]
fn who_has_no_tenant_has_no_quota() {
    let (quotas, _) = in_memory("");
    let nobody = Principal {
        tenant: None,
        ..of("acme")
    };
    for _ in 0..1000 {
        let Prompt::Now(admission) = quotas.admit(&nobody, "digits") else {
            panic!("nothing is waited for");
        };
        assert!(admission.outcome.is_ok() && admission.quota.is_none());
    }
}

#[test]
fn tenants_are_on_their_plans() {
    let (quotas, _) = in_memory(
        "[tenants.acme]\nplan = \"enterprise\"\n[tenants.tiny]\nplan = \"own\"\n[tenants.rest]\n\
         [plans.own]\nrequests_per_s = 0.5\nwindow_s = 10\n",
    );
    assert_eq!(burst(&quotas, "acme", "digits"), 300);
    assert_eq!(burst(&quotas, "rest", "digits"), 10);
    let quota = admit(&quotas, "tiny", "digits").quota.unwrap();
    assert_eq!(
        (&*quota.policy, quota.limit, quota.remaining),
        ("own", 5, 0)
    );
}

#[test]
fn a_model_has_limits_beside_those_of_the_plan() {
    let (quotas, _) = in_memory("[plans.free.models.large]\nrequests_per_s = 1\nburst = 2\n");
    let quota = admit(&quotas, "acme", "large").quota.unwrap();
    assert_eq!((&*quota.policy, quota.remaining), ("free/large", 1));
    assert_eq!(burst(&quotas, "acme", "large"), 1);
    let error = admit(&quotas, "acme", "large").outcome.unwrap_err();
    assert!(error.message().contains("of \"large\""), "{error}");
    assert_eq!(burst(&quotas, "acme", "digits"), 8);
}

#[test]
fn requests_at_one_time_are_counted_until_they_end() {
    let (quotas, _) = in_memory("[plans.free]\nmax_concurrent = 2\n");
    let held: Vec<_> = (0..2)
        .map(|_| admit(&quotas, "acme", "digits").outcome.unwrap())
        .collect();
    let error = admit(&quotas, "acme", "digits").outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert!(error.message().contains("2 requests at a time"), "{error}");
    assert!(error.retry_after().is_some());
    drop(held);
    assert!(admit(&quotas, "acme", "digits").outcome.is_ok());
}

#[tokio::test]
async fn tokens_are_reserved_and_settled() {
    let (quotas, clock) = in_memory("[plans.free]\ntokens_per_min = 60\ntoken_burst = 100\n");
    let acme = of("acme");
    let reserve = |tokens| quotas.reserve(&acme, "chat", tokens).get();
    let first = reserve(100).await.unwrap();
    let error = reserve(10).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
    assert_eq!(error.retry_after(), Some(10 * SECOND));
    first.settle(150);
    assert_eq!(
        reserve(10).await.err().unwrap().retry_after(),
        Some(60 * SECOND)
    );
    clock.pass(60 * SECOND);
    reserve(10).await.unwrap().settle(0);
    reserve(10).await.unwrap().settle(10);
    let error = reserve(101).await.err().unwrap();
    assert_eq!(error.retry_after(), None);
    assert!(error.message().contains("make it smaller"), "{error}");
    let unlimited = of("other");
    let (quotas, _) = in_memory("");
    assert!(
        quotas
            .reserve(&unlimited, "chat", u64::MAX)
            .get()
            .await
            .is_ok()
    );
}

#[test]
fn other_plans_take_effect_at_once_and_forgive_nothing() {
    let (quotas, _) = in_memory("");
    assert_eq!(burst(&quotas, "acme", "digits"), 10);
    quotas.reconfigure(&config("[plans.free]\nrequests_per_s = 5\nburst = 15\n"));
    assert_eq!(burst(&quotas, "acme", "digits"), 5);
    quotas.reconfigure(&config("[tenants.acme]\nplan = \"enterprise\"\n"));
    assert!(admit(&quotas, "acme", "digits").outcome.is_err());
}

#[test]
fn wrong_settings_open_nothing() {
    let error = open(&config("[quota]\nstore = \"redis\"\n")).err();
    let key = error.and_then(|error| error.key);
    assert_eq!(key.as_deref(), Some("gateway.quota.redis_url"));
    let error = config("[plans.free]\nburst = 0\n").check().unwrap_err();
    assert_eq!(error.key.as_deref(), Some("gateway.plans.free.burst"));
}

/// Settings that count in this server, of which each burst is given once in a test.
fn counted_in(redis: &RedisServer, more: &str) -> Config {
    config(&format!(
        "[plans.free]\nrequests_per_s = 0.001\nburst = 12\n\
         [quota]\nstore = \"redis\"\nredis_url = \"{}\"\ntimeout_ms = 5000\n{more}",
        redis.url()
    ))
}

async fn burst_in_redis(quotas: &Quotas, tenant: &str) -> (usize, ErrorKind) {
    let tenant = of(tenant);
    for given in 0..1000 {
        if let Err(error) = quotas.admit(&tenant, "digits").get().await.outcome {
            return (given, error.kind());
        }
    }
    panic!("there is no end");
}

/// Waits until Redis decides again: its answers name a quota.
async fn redis_decides(quotas: &Quotas, limit: u64) {
    let tenant = of("probe");
    for _ in 0..1000 {
        let admission = quotas.admit(&tenant, "digits").get().await;
        if admission
            .quota
            .is_some_and(|quota| quota.remaining <= limit)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("redis does not decide");
}

#[tokio::test]
async fn closed_refuses_while_redis_is_down_and_goes_on_after() {
    let mut redis = RedisServer::start().await;
    let quotas = open(&counted_in(&redis, "")).unwrap();
    assert_eq!(
        burst_in_redis(&quotas, "acme").await,
        (12, ErrorKind::QuotaExceeded)
    );
    redis.kill();
    assert_eq!(
        burst_in_redis(&quotas, "acme").await,
        (0, ErrorKind::Unavailable)
    );
    let refused = quotas.admit(&of("rival"), "digits").get().await;
    assert!(refused.outcome.unwrap_err().retry_after().is_some());
    redis.restart().await;
    redis_decides(&quotas, 12).await;
    assert_eq!(
        burst_in_redis(&quotas, "rival").await,
        (12, ErrorKind::QuotaExceeded)
    );
    quotas.shutdown().await;
}

#[tokio::test]
async fn local_gives_a_part_while_redis_is_down_and_the_whole_after() {
    let mut redis = RedisServer::start().await;
    let settings = counted_in(&redis, "when_down = \"local\"\nprocesses = 3\n");
    let quotas = open(&settings).unwrap();
    assert_eq!(
        burst_in_redis(&quotas, "acme").await,
        (12, ErrorKind::QuotaExceeded)
    );
    redis.kill();
    for tenant in ["acme", "rival"] {
        assert_eq!(
            burst_in_redis(&quotas, tenant).await,
            (4, ErrorKind::QuotaExceeded)
        );
    }
    redis.restart().await;
    // Of its part, the probe would be told that three are left at most; of the whole, eleven.
    let tenant = of("probe");
    let mut remaining = 0;
    for _ in 0..1000 {
        let admission = quotas.admit(&tenant, "digits").get().await;
        remaining = admission.quota.map_or(0, |quota| quota.remaining);
        if remaining > 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(remaining > 3, "redis does not decide again");
    assert_eq!(
        burst_in_redis(&quotas, "other").await,
        (12, ErrorKind::QuotaExceeded)
    );
    quotas.shutdown().await;
}

#[tokio::test]
async fn a_redis_that_is_not_there_at_the_start_is_waited_for() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let quotas = open(&counted_in(&redis, "")).unwrap();
    assert_eq!(
        burst_in_redis(&quotas, "acme").await,
        (0, ErrorKind::Unavailable)
    );
    redis.restart().await;
    redis_decides(&quotas, 12).await;
    assert_eq!(
        burst_in_redis(&quotas, "acme").await,
        (12, ErrorKind::QuotaExceeded)
    );
    quotas.shutdown().await;
}

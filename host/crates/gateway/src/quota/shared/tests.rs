use std::path::Path;

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use redis::Client;
use redis::aio::MultiplexedConnection;
use wharf_testkit::{RedisServer, eventually};

use super::super::claim::{Good, PARTS, Part, Refusal};
use super::super::config::Secret;
use super::super::gcra::Wait;
use super::*;

mod alike;

const SECOND: Duration = Duration::from_secs(1);

/// The store of one process.
fn store(redis: &RedisServer, lease_s: u32) -> Shared {
    let config = StoreConfig {
        redis_url: Some(Secret::new(redis.url())),
        timeout_ms: 10_000,
        lease_s,
        ..StoreConfig::default()
    };
    let metrics = Metrics::new(&SdkMeterProvider::default().meter("test"));
    Shared::open(dial(&config), &config, &metrics)
}

fn dial(config: &StoreConfig) -> Dial {
    Dial::open(config, Path::new(".")).unwrap()
}

/// A claim on a quota that gets nothing back while a test lasts.
fn requests(burst: u64) -> Claim<'static> {
    Claim {
        tenant: "acme",
        model: None,
        of: Good::Requests,
        units: 1,
        rates: [Some(Rate::new(1.0, 1000 * SECOND, burst)), None],
        places: [None; PARTS],
    }
}

fn places(most: u32) -> Claim<'static> {
    Claim {
        rates: [None; PARTS],
        places: [Some(most), None],
        ..requests(1)
    }
}

async fn take(store: &Shared, claim: &Claim<'_>) -> Result<Option<Lease>, Refusal> {
    store.take(claim).await.expect("redis answers").outcome
}

/// Waits until a claim is given.
async fn given_in_time(store: &Shared, claim: &Claim<'_>) -> Option<Lease> {
    for _ in 0..1000 {
        if let Ok(lease) = take(store, claim).await {
            return lease;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is never given");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_at_once_over_two_processes_get_the_burst_and_no_more() {
    let redis = RedisServer::start().await;
    let stores = [store(&redis, 30), store(&redis, 30)].map(Arc::new);
    let tries: Vec<_> = (0..1000)
        .map(|number: usize| {
            let store = Arc::clone(&stores[number % 2]);
            tokio::spawn(async move { take(&store, &requests(100)).await.is_ok() })
        })
        .collect();
    let mut given = 0;
    for one in tries {
        given += usize::from(one.await.unwrap());
    }
    assert_eq!(given, 100);
    for store in stores {
        store.shutdown().await;
    }
}

#[tokio::test]
async fn a_refusal_says_how_long_to_wait_and_costs_nothing_elsewhere() {
    let redis = RedisServer::start().await;
    let store = store(&redis, 30);
    let both = Claim {
        model: Some("digits"),
        rates: [requests(10).rates[0], requests(2).rates[0]],
        ..requests(1)
    };
    let mut given = 0;
    let refusal = loop {
        match take(&store, &both).await {
            Ok(none) => given += usize::from(none.is_none()),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(given, 2);
    let Refusal::Rate(Part::Model, Wait::For(wait)) = refusal else {
        panic!("{refusal:?}");
    };
    assert!(wait > 900 * SECOND && wait <= 1000 * SECOND, "{wait:?}");
    let mut left = 0;
    while take(&store, &requests(10)).await.is_ok() {
        left += 1;
    }
    assert_eq!(left, 8);
    store.shutdown().await;
}

#[tokio::test]
async fn places_are_shared_and_given_back() {
    let redis = RedisServer::start().await;
    let (one, other) = (store(&redis, 30), store(&redis, 30));
    let mut held = Vec::new();
    for store in [&one, &other].into_iter().cycle().take(5) {
        held.push(take(store, &places(5)).await.unwrap());
    }
    assert_eq!(
        take(&other, &places(5)).await.err(),
        Some(Refusal::Places(Part::Whole))
    );
    held.remove(0);
    held.push(given_in_time(&other, &places(5)).await);
    assert!(take(&one, &places(5)).await.is_err());
    drop(held);
    // What is given back at the end is given back before the end.
    one.shutdown().await;
    other.shutdown().await;
    let third = store(&redis, 30);
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(take(&third, &places(5)).await.unwrap());
    }
    third.shutdown().await;
}

#[tokio::test]
async fn a_request_that_is_given_up_holds_no_place() {
    let redis = RedisServer::start().await;
    let store = store(&redis, 30);
    drop(take(&store, &places(1)).await);
    drop(given_in_time(&store, &places(1)).await);
    let claim = places(1);
    for _ in 0..20 {
        // It is asked for, and nobody waits for the answer.
        let mut asking = std::pin::pin!(store.take(&claim));
        tokio::select! {
            biased;
            _ = &mut asking => {}
            () = tokio::task::yield_now() => {}
        }
    }
    assert!(given_in_time(&store, &claim).await.is_some());
    store.shutdown().await;
}

#[tokio::test]
async fn a_lease_lasts_as_long_as_its_request_and_not_longer_than_its_process() {
    let redis = RedisServer::start().await;
    let (one, other) = (store(&redis, 1), store(&redis, 1));
    let lease = take(&one, &places(1)).await.unwrap();
    let begun = Instant::now();
    while begun.elapsed() < 5 * SECOND / 2 {
        assert!(take(&other, &places(1)).await.is_err(), "it is prolonged");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The process ends with the request in it.
    let keeper = one.keeper.lock().take().unwrap();
    keeper.abort();
    let _aborted = keeper.await;
    std::mem::forget(lease);
    assert!(given_in_time(&other, &places(1)).await.is_some());
    other.shutdown().await;
}

#[tokio::test]
async fn tokens_are_settled_for_all_processes() {
    let redis = RedisServer::start().await;
    let (one, other) = (store(&redis, 30), store(&redis, 30));
    let claim = |tokens| Claim {
        of: Good::Tokens,
        units: tokens,
        ..requests(100)
    };
    let reserved = one.reserve(&claim(100)).await.unwrap().outcome.unwrap();
    assert!(take(&other, &claim(1)).await.is_err());
    reserved.settle(40);
    given_in_time(&other, &claim(60)).await;
    assert!(take(&one, &claim(1)).await.is_err());
    assert_eq!(
        take(&one, &claim(101)).await.err(),
        Some(Refusal::Rate(Part::Whole, Wait::Never))
    );
    one.shutdown().await;
    other.shutdown().await;
}

#[tokio::test]
async fn a_script_that_redis_has_forgotten_is_sent_again() {
    let redis = RedisServer::start().await;
    let store = store(&redis, 30);
    take(&store, &requests(10)).await.unwrap();
    let mut other = connection(&redis).await;
    let mut flush = redis::cmd("SCRIPT");
    let () = flush.arg("FLUSH").query_async(&mut other).await.unwrap();
    take(&store, &requests(10)).await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*")
        .query_async(&mut other)
        .await
        .unwrap();
    assert_eq!(keys, ["wharf:{acme}:requests"]);
    let lives: i64 = redis::cmd("PTTL")
        .arg(&keys[0])
        .query_async(&mut other)
        .await
        .unwrap();
    assert!(lives > 0, "a key goes by itself: {lives}");
    store.shutdown().await;
}

/// A connection of the test's own.
async fn connection(redis: &RedisServer) -> MultiplexedConnection {
    let client = Client::open(redis.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// How many connections a server has been asked for.
async fn connections(other: &mut MultiplexedConnection) -> String {
    let mut stats = redis::cmd("INFO");
    let stats: String = stats.arg("stats").query_async(other).await.unwrap();
    let line = stats
        .lines()
        .find(|line| line.starts_with("total_connections_received:"));
    line.unwrap().to_owned()
}

#[tokio::test]
async fn a_key_that_is_of_no_use_fails_its_own_tenant_alone() {
    let redis = RedisServer::start().await;
    let store = store(&redis, 1);
    let mut other = connection(&redis).await;
    let of = |tenant| Claim {
        tenant,
        ..requests(1000)
    };
    let rival = Claim {
        tenant: "rival",
        ..places(1000)
    };
    let lease = take(&store, &rival).await.unwrap();
    let mut spoil = redis::pipe();
    spoil.del("wharf:{rival}:places");
    spoil.lpush("wharf:{rival}:places", "x");
    spoil.lpush("wharf:{acme}:requests", "x");
    // A debt that no number of the answer can hold.
    spoil.set(
        "wharf:{odd}:requests",
        format!("{0}{0} {0}", "9".repeat(15)),
    );
    spoil.exec_async(&mut other).await.unwrap();
    let before = connections(&mut other).await;
    let begun = Instant::now();
    // As long as the lease is to be prolonged a few times, which cannot be.
    while begun.elapsed() < SECOND {
        assert_eq!(store.take(&of("acme")).await.err(), Some(Down));
        assert_eq!(store.take(&rival).await.err(), Some(Down));
        drop(store.take(&of("odd")).await);
        take(&store, &of("healthy")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Nor can it be given back.
    drop(lease);
    store.shutdown().await;
    assert_eq!(connections(&mut other).await, before, "it is the same");
}

#[tokio::test]
async fn a_connection_that_breaks_costs_no_request_its_answer() {
    let redis = RedisServer::start().await;
    let store = store(&redis, 30);
    take(&store, &requests(1000)).await.unwrap();
    let mut other = connection(&redis).await;
    let mut kill = redis::cmd("CLIENT");
    kill.arg("KILL").arg("TYPE").arg("normal");
    let killed: u32 = kill.query_async(&mut other).await.unwrap();
    assert!(killed >= 1);
    for _ in 0..10 {
        take(&store, &requests(1000)).await.unwrap();
    }
    store.shutdown().await;
}

#[tokio::test]
async fn what_hangs_is_noticed_once_and_not_waited_for_again() {
    let redis = RedisServer::start().await;
    let config = StoreConfig {
        redis_url: Some(Secret::new(redis.url())),
        timeout_ms: 200,
        ..StoreConfig::default()
    };
    let metrics = Metrics::new(&SdkMeterProvider::default().meter("test"));
    let store = Shared::open(dial(&config), &config, &metrics);
    given_up_to(&store).await;
    redis.pause();
    assert_eq!(store.take(&requests(1000)).await.err(), Some(Down));
    let begun = Instant::now();
    for _ in 0..1000 {
        assert_eq!(store.take(&requests(1000)).await.err(), Some(Down));
    }
    assert!(
        begun.elapsed() < 100 * Duration::from_millis(200),
        "each of them waited"
    );
    redis.resume();
    given_up_to(&store).await;
    store.shutdown().await;
}

/// Waits until Redis answers.
async fn given_up_to(store: &Shared) {
    for _ in 0..1000 {
        if store.take(&requests(1000)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("redis does not come back");
}

#[tokio::test]
async fn a_redis_that_lost_all_hears_of_the_leases_again() {
    let mut redis = RedisServer::start().await;
    let (one, other) = (store(&redis, 30), store(&redis, 30));
    let lease = take(&one, &places(1)).await.unwrap();
    redis.restart().await;
    let connection = connection(&redis).await;
    let mut found = 0_u64;
    for _ in 0..1000 {
        let mut connection = connection.clone();
        found = redis::cmd("ZCARD")
            .arg("wharf:{acme}:places")
            .query_async(&mut connection)
            .await
            .unwrap();
        if found == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(found, 1);
    drop(lease);
    eventually("the lease is not held any more", || {
        one.leases.by_set().is_empty()
    })
    .await;
    given_up_to(&other).await;
    assert!(given_in_time(&other, &places(1)).await.is_some());
    one.shutdown().await;
    other.shutdown().await;
}

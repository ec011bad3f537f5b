use super::*;
use crate::config::Config;

fn ticker() -> Ticker {
    let config = Config {
        header_timeout_ms: 1000,
        idle_timeout_ms: 4000,
        write_timeout_ms: 2000,
        ..Config::default()
    };
    Ticker::new(&config.limits().unwrap())
}

/// Ticks until something is overdue, with the paused clock of tokio.
async fn first_overdue(ticker: &mut Ticker, watch: &Watch) -> (Overdue, Duration) {
    let start = Instant::now();
    loop {
        ticker.tick().await;
        if let Some(overdue) = ticker.look(watch) {
            return (overdue, start.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_has_its_time() {
    let (mut ticker, watch) = (ticker(), Watch::default());
    watch.set_in_head(true);
    let (overdue, after) = first_overdue(&mut ticker, &watch).await;
    assert_eq!(overdue, Overdue::Header);
    assert!(after <= Duration::from_secs(1), "{after:?}");
    assert!(after >= Duration::from_millis(600), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn many_slow_headers_are_not_one() {
    let (mut ticker, watch) = (ticker(), Watch::default());
    for _ in 0..20 {
        watch.set_in_head(true);
        ticker.tick().await;
        assert_eq!(ticker.look(&watch), None);
        drop(watch.begin());
        watch.set_in_head(false);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stuck_write_has_its_time() {
    let (mut ticker, watch) = (ticker(), Watch::default());
    let _begun = watch.begin();
    watch.set_write_stuck(true);
    let (overdue, after) = first_overdue(&mut ticker, &watch).await;
    assert_eq!(overdue, Overdue::Write);
    assert!(after <= Duration::from_secs(2), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn idleness_ends_gently_then_hard() {
    let (mut ticker, watch) = (ticker(), Watch::default());
    let (overdue, after) = first_overdue(&mut ticker, &watch).await;
    assert_eq!(overdue, Overdue::Idle);
    assert!(after <= Duration::from_secs(4), "{after:?}");
    assert_eq!(first_overdue(&mut ticker, &watch).await.0, Overdue::Goodbye);
}

#[tokio::test(start_paused = true)]
async fn a_request_in_flight_is_not_idle() {
    let (mut ticker, watch) = (ticker(), Watch::default());
    let begun = watch.begin();
    for _ in 0..100 {
        ticker.tick().await;
        assert_eq!(ticker.look(&watch), None);
    }
    drop(begun);
    assert_eq!(first_overdue(&mut ticker, &watch).await.0, Overdue::Idle);
}

#[test]
fn the_malformed_request_is_the_one_named() {
    let watch = Watch::default();
    watch.set_malformed(1, Malformed::Host);
    assert_eq!(watch.begin().malformed, None);
    assert_eq!(watch.begin().malformed, Some(Malformed::Host));
    assert_eq!(watch.begin().malformed, None);
}

use wharf_testkit::closed_port;

use super::*;
use crate::cli::bench::call::RestBody;
use crate::cli::bench::fake::{FakeServer, Reply};
use crate::cli::bench::statistics::Failure;

const OVERLOADED: &str = r#"{"error":"the queue is full"}"#;

fn load(server: &FakeServer, pace: Pace) -> Load {
    let target = server.url().parse().unwrap();
    let body = RestBody::given("{}".into()).unwrap();
    Load {
        address: server.address,
        call: Call::post(&target, "/infer", body).unwrap(),
        pace,
        connections: 1,
        threads: 1,
        warmup: Duration::ZERO,
        duration: Duration::from_millis(1500),
        timeout: Duration::from_secs(10),
    }
}

async fn measure(load: &Load) -> Measured {
    let progress = Arc::new(Progress::default());
    run(load, &progress, &CancellationToken::new())
        .await
        .unwrap()
}

/// A server that answers at once but for one request, which it holds for 600 ms.
async fn stalls_once() -> FakeServer {
    FakeServer::start(|asked| Reply {
        delay: Duration::from_millis(if asked.number == 20 { 600 } else { 0 }),
        ..Reply::new(200, "{}")
    })
    .await
}

#[tokio::test]
async fn an_open_loop_counts_who_waits_for_a_stalled_server() {
    let server = stalls_once().await;
    let measured = measure(&load(&server, Pace::Open { rate: 100.0 })).await;
    let recorder = measured.recorder;
    assert_eq!((recorder.requests(), recorder.unsent), (150, 0));
    assert_eq!(recorder.succeeded.count(), 150);
    assert_eq!(measured.lines, 1);
    // 60 requests were due while the server stalled; the last quarter of all waited longer than 200 ms.
    let quarter = recorder.succeeded.percentile(75.0);
    assert!(quarter > Duration::from_millis(150), "{quarter:?}");
}

#[tokio::test]
async fn a_closed_loop_leaves_them_out() {
    let server = stalls_once().await;
    let recorder = measure(&load(&server, Pace::Closed)).await.recorder;
    assert!(recorder.requests() > 40, "{}", recorder.requests());
    let quarter = recorder.succeeded.percentile(75.0);
    assert!(quarter < Duration::from_millis(150), "{quarter:?}");
    assert!(recorder.succeeded.max() > Duration::from_millis(590));
}

#[tokio::test]
async fn an_open_loop_opens_connections_as_it_needs_them() {
    let server = FakeServer::start(|_| Reply {
        delay: Duration::from_millis(300),
        ..Reply::new(200, "{}")
    })
    .await;
    let mut load = load(&server, Pace::Open { rate: 40.0 });
    load.connections = 64;
    load.threads = 2;
    let measured = measure(&load).await;
    assert_eq!(measured.recorder.succeeded.count(), 60);
    // 12 are under way at a time.
    assert!((6..=60).contains(&measured.lines), "{}", measured.lines);
    let median = measured.recorder.succeeded.percentile(50.0);
    assert!(median < Duration::from_millis(900), "{median:?}");
}

#[tokio::test]
async fn what_no_connection_was_free_for_is_told() {
    let server = FakeServer::start(|_| Reply {
        delay: Duration::from_secs(60),
        ..Reply::new(200, "{}")
    })
    .await;
    let mut load = load(&server, Pace::Open { rate: 100.0 });
    (load.duration, load.timeout) = (Duration::from_millis(200), Duration::from_millis(300));
    let recorder = measure(&load).await.recorder;
    let timeouts = recorder.failures[&Failure::Timeout].count;
    assert_eq!(recorder.requests(), timeouts);
    assert!(timeouts >= 1);
    assert_eq!(recorder.unsent + timeouts, 20);
}

#[tokio::test]
async fn refusals_and_failures_are_counted_apart() {
    let server = FakeServer::start(|asked| match asked.number % 3 {
        0 => Reply::new(503, OVERLOADED),
        1 => Reply::new(500, "plain words"),
        _ => Reply::new(200, "{}"),
    })
    .await;
    let recorder = measure(&load(&server, Pace::Open { rate: 200.0 }))
        .await
        .recorder;
    assert_eq!(recorder.requests(), 300);
    let failed = &recorder.failures[&Failure::Status(500)];
    assert_eq!(
        (failed.count, failed.message.as_str()),
        (100, "plain words")
    );
    assert_eq!(recorder.refused.count(), 100);
    assert_eq!(recorder.refusal, "the queue is full");
    assert_eq!(recorder.succeeded.count(), 100);
    assert_eq!(recorder.received, 100 * (OVERLOADED.len() as u64 + 11 + 2));
}

#[tokio::test]
async fn a_connection_that_the_server_closes_is_opened_again() {
    let server = FakeServer::start(|_| Reply {
        headers: vec![("connection", "close")],
        ..Reply::new(200, "{}")
    })
    .await;
    let recorder = measure(&load(&server, Pace::Open { rate: 50.0 }))
        .await
        .recorder;
    assert_eq!(
        (recorder.succeeded.count(), recorder.failed_count()),
        (75, 0)
    );
}

#[tokio::test]
async fn a_server_that_is_gone_fails_every_request() {
    let server = FakeServer::start(|_| Reply::new(200, "{}")).await;
    let port = closed_port();
    let mut gone = load(&server, Pace::Closed);
    gone.address = port.local_addr().unwrap();
    let recorder = measure(&gone).await.recorder;
    assert_eq!(
        recorder.requests(),
        recorder.failures[&Failure::Connect].count
    );
    // It rests between attempts.
    assert!(
        (2..200).contains(&recorder.requests()),
        "{}",
        recorder.requests()
    );
}

#[tokio::test]
async fn the_warm_up_is_not_counted() {
    let server = FakeServer::start(|_| Reply::new(200, "{}")).await;
    let mut load = load(&server, Pace::Open { rate: 100.0 });
    (load.warmup, load.duration) = (Duration::from_millis(500), Duration::from_millis(500));
    let recorder = measure(&load).await.recorder;
    assert_eq!(recorder.requests(), 50);
}

#[tokio::test]
async fn a_load_that_is_stopped_ends_at_once() {
    let server = FakeServer::start(|_| Reply::new(200, "{}")).await;
    for pace in [Pace::Closed, Pace::Open { rate: 500.0 }] {
        let mut load = load(&server, pace);
        load.duration = Duration::from_secs(3600);
        let (progress, stop) = (Arc::new(Progress::default()), CancellationToken::new());
        let enough = async {
            while progress.succeeded.load(Ordering::Relaxed) < 50 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stop.cancel();
        };
        let (measured, ()) = tokio::join!(run(&load, &progress, &stop), enough);
        let measured = measured.unwrap();
        assert!(measured.early);
        assert!(measured.recorder.succeeded.count() >= 50);
        assert!(
            measured.elapsed < Duration::from_secs(60),
            "{:?}",
            measured.elapsed
        );
    }
}

#[tokio::test]
async fn grpc_is_judged_by_its_own_status() {
    let server = FakeServer::start(|asked| {
        assert_eq!(asked.path, "/inference.GRPCInferenceService/ModelInfer");
        assert_eq!(asked.headers["content-type"], "application/grpc");
        assert_eq!(&asked.body[..], b"\0\0\0\0\x03abc");
        Reply {
            headers: match asked.number % 3 {
                0 => vec![("grpc-status", "0")],
                1 => vec![
                    ("grpc-status", "14"),
                    ("grpc-message", "the queue%20is full"),
                ],
                _ => vec![("grpc-status", "3"), ("grpc-message", "no such input")],
            },
            ..Reply::new(200, "")
        }
    })
    .await;
    let mut load = load(&server, Pace::Open { rate: 60.0 });
    load.call = Call::grpc(&server.url().parse().unwrap(), "ModelInfer", b"abc").unwrap();
    let recorder = measure(&load).await.recorder;
    assert_eq!(
        (recorder.succeeded.count(), recorder.refused.count()),
        (30, 30)
    );
    assert_eq!(recorder.refusal, "the queue is full");
    assert_eq!(
        recorder.failures[&Failure::Grpc(3)].message,
        "no such input"
    );
}

#[test]
fn a_load_is_split_without_loss() {
    let target = "http://server".parse().unwrap();
    let load = Load {
        address: ([127, 0, 0, 1], 1).into(),
        call: Call::get(&target, "/").unwrap(),
        pace: Pace::Open { rate: 100.0 },
        connections: 10,
        threads: 4,
        warmup: Duration::ZERO,
        duration: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
    };
    let split: Vec<_> = parts(&load).collect();
    let connections: Vec<u32> = split.iter().map(|(part, _)| part.connections).collect();
    assert_eq!(connections, [3, 3, 2, 2]);
    let late: Vec<u128> = split.iter().map(|(_, late)| late.as_millis()).collect();
    assert_eq!(late, [0, 10, 20, 30]);
    assert!(
        split
            .iter()
            .all(|(part, _)| part.pace == Pace::Open { rate: 25.0 })
    );
}

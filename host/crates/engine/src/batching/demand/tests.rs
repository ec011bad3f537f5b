use super::*;

const fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn capacity(run: Duration) -> Capacity {
    Capacity {
        run,
        per_request: run,
        delay: Duration::ZERO,
        instances: 2,
        rows: 1,
    }
}

/// Plays arrivals and answers, a pair a millisecond, and says in which millisecond the state changed.
fn play(
    demand: &mut Demand,
    start: Instant,
    capacity: Capacity,
    events: impl Iterator<Item = (u64, u64)>,
) -> Vec<(u64, Change)> {
    events
        .zip(0..)
        .filter_map(|((came, went), at)| {
            let change = demand.count(came, went, start + ms(at), capacity);
            (change != Change::None).then_some((at, change))
        })
        .collect()
}

/// So many requests in a hundred milliseconds, evenly.
fn rate(at: u64, per_100: u64) -> u64 {
    (at + 1) * per_100 / 100 - at * per_100 / 100
}

#[test]
fn ten_times_the_load_is_seen_within_a_few_runs_and_forgotten_after() {
    // Runs of 20 ms on two instances: 10 answers in 100 ms.
    let start = Instant::now();
    let mut demand = Demand::new(start);
    let events = (0..1000).map(|at| {
        let came = if at < 500 { 80 } else { 8 };
        (rate(at, came), rate(at, 10))
    });
    let changes = play(&mut demand, start, capacity(ms(20)), events);
    let [(begins, Change::Overloaded), (ends, Change::Calm)] = changes[..] else {
        panic!("{changes:?}");
    };
    assert!(begins <= 80, "seen after {begins} ms");
    assert!((500..=600).contains(&ends), "forgotten after {ends} ms");
}

#[test]
fn a_crowd_that_waits_its_turn_is_no_overload() {
    let start = Instant::now();
    for connecting in [1, 20, 39] {
        let mut demand = Demand::new(start);
        // Then each answer brings the next request.
        let events = (0..1000).map(|at| {
            let first = if at < connecting { 64 / connecting } else { 0 };
            (first + rate(at, 10), rate(at, 10))
        });
        let changes = play(&mut demand, start, capacity(ms(20)), events);
        assert_eq!(changes, [], "connecting in {connecting} ms");
    }
}

/// Open-loop clients at three quarters of what two instances of 20 ms a run can do. They halt now and then, and catch up at
/// once or slowly.
#[test]
fn clients_that_halt_and_catch_up_are_no_overload() {
    let start = Instant::now();
    for (halt, every) in [
        (1, 1),
        (50, 1),
        (100, 2),
        (200, 3),
        (300, 1),
        (300, 3),
        (300, 4),
    ] {
        let mut demand = Demand::new(start);
        let mut random = 1_u64;
        let (mut due, mut waiting, mut done) = (0_u64, 0_u64, [0_u64; 2]);
        let events = (0..20_000).map(|at| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // 75 a second, each at a time of its own.
            due += u64::from((random >> 33) % 1000 < 75);
            let sends = at % 1000 >= halt && at % every == 0;
            let came = if sends { due.min(1) } else { 0 };
            due -= came;
            waiting += came;
            let mut went = 0;
            for done in &mut done {
                went += u64::from(*done == at);
                if *done <= at && waiting > 0 {
                    waiting -= 1;
                    *done = at + 20;
                }
            }
            (came, went)
        });
        let changes = play(&mut demand, start, capacity(ms(20)), events);
        assert_eq!(changes, [], "halts of {halt} ms, then one in {every} ms");
    }
}

#[test]
fn a_short_model_has_more_clients() {
    let start = Instant::now();
    let mut demand = Demand::new(start);
    let events = (0..1000).map(|at| (if at < 70 { 1 } else { 0 } + 20, 20));
    let changes = play(
        &mut demand,
        start,
        capacity(Duration::from_micros(100)),
        events,
    );
    assert_eq!(changes, [], "70 clients that come slowly");

    let mut demand = Demand::new(start);
    let events = (0..200).map(|_| (160, 20));
    let changes = play(
        &mut demand,
        start,
        capacity(Duration::from_micros(100)),
        events,
    );
    assert_eq!(changes, [(60, Change::Overloaded)]);
}

#[test]
fn what_gathers_during_the_delay_is_no_overload() {
    let start = Instant::now();
    let mut demand = Demand::new(start);
    let slow = Capacity {
        per_request: ms(10),
        delay: ms(500),
        ..capacity(ms(20))
    };
    let events = (0..5000).map(|at| (rate(at, 10), if at % 500 == 499 { 50 } else { 0 }));
    assert_eq!(play(&mut demand, start, slow, events), []);
}

#[test]
fn a_rest_ends_it() {
    let start = Instant::now();
    let mut demand = Demand::new(start);
    let overload = (0..200).map(|_| (8, 1));
    assert_eq!(play(&mut demand, start, capacity(ms(1)), overload).len(), 1);
    let change = demand.count(1, 0, start + ms(2000), capacity(ms(1)));
    assert_eq!(change, Change::Calm, "though the last window grew");
}

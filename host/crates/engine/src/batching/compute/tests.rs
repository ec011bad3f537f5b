use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;

use super::*;

const NONE: Duration = Duration::ZERO;

fn running() -> AtomicBool {
    AtomicBool::new(false)
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn slots_are_taken_and_given_back() {
    let gate = Gate::new(2);
    let (narrow, wide) = (
        Share::new(Arc::clone(&gate), 1),
        Share::new(Arc::clone(&gate), 16),
    );
    let all = wide.try_enter(NONE).unwrap();
    assert!(wide.try_enter(NONE).is_none(), "no more than all");
    drop(all);
    let (one, two) = (narrow.try_enter(NONE).unwrap(), narrow.try_enter(NONE));
    assert!(narrow.try_enter(NONE).is_none());
    drop((one, two));
    assert_eq!(gate.free.load(SeqCst), 2);
}

#[test]
fn the_least_consumed_time_goes_first() {
    let gate = Gate::new(1);
    let (hot, quiet) = (
        Share::new(Arc::clone(&gate), 1),
        Share::new(Arc::clone(&gate), 1),
    );
    let other = Share::new(Arc::clone(&gate), 1);
    hot.account.used.store(1_000_000, Relaxed);
    let held = other.try_enter(NONE).unwrap();
    // Neither may go ahead because it has no run.
    hot.account.running.fetch_add(1, Relaxed);
    quiet.account.running.fetch_add(1, Relaxed);
    let (done, order) = mpsc::channel();
    std::thread::scope(|scope| {
        for (name, share, before) in [("hot", &hot, 0), ("quiet", &quiet, 1)] {
            until("the one before waits", || {
                gate.waiting.load(SeqCst) == before
            });
            let done = done.clone();
            scope.spawn(move || {
                let seat = share.enter(NONE, &running()).unwrap();
                done.send(name).unwrap();
                drop(seat);
            });
        }
        until("both wait", || gate.waiting.load(SeqCst) == 2);
        assert!(
            quiet.try_enter(NONE).is_none(),
            "nobody passes those who wait"
        );
        drop(held);
    });
    assert_eq!(order.iter().take(2).collect::<Vec<_>>(), ["quiet", "hot"]);
    assert_eq!(gate.free.load(SeqCst), 1);
}

#[test]
fn a_rest_saves_no_credit() {
    let gate = Gate::new(1);
    let (hot, rested) = (
        Share::new(Arc::clone(&gate), 1),
        Share::new(Arc::clone(&gate), 1),
    );
    for _ in 0..10 {
        drop(hot.try_enter(Duration::from_secs(1)).unwrap());
        hot.account.used.fetch_add(1_000_000_000, Relaxed);
    }
    drop(rested.try_enter(NONE).unwrap());
    let behind = hot
        .account
        .used
        .load(Relaxed)
        .saturating_sub(rested.account.used.load(Relaxed));
    assert!(behind <= 1_100_000_000, "{behind} ns of credit");
}

#[test]
fn who_has_no_run_does_not_wait_for_the_end_of_a_long_one() {
    let gate = Gate::new(1);
    let (endless, quiet) = (
        Share::new(Arc::clone(&gate), 1),
        Share::new(Arc::clone(&gate), 1),
    );
    let held = endless.try_enter(NONE).unwrap();
    // Though it has had far more.
    quiet.account.used.store(1 << 60, Relaxed);
    let seat = quiet.enter(NONE, &running()).unwrap();
    assert_eq!(gate.free.load(SeqCst), -1, "it went ahead");
    drop((seat, held));
    assert_eq!(gate.free.load(SeqCst), 1);
}

#[test]
fn who_has_a_run_waits_until_it_is_told_to_stop() {
    let gate = Gate::new(1);
    let hot = Share::new(Arc::clone(&gate), 1);
    let held = hot.try_enter(NONE).unwrap();
    let stop = running();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| hot.enter(NONE, &stop).is_none());
        until("it waits", || gate.waiting.load(SeqCst) == 1);
        stop.store(true, SeqCst);
        hot.wake();
        assert!(waiting.join().unwrap());
    });
    drop(held);
    assert_eq!((gate.waiting.load(SeqCst), gate.free.load(SeqCst)), (0, 1));
}

#[test]
fn who_has_no_run_goes_ahead_until_it_has_had_more_than_others() {
    let gate = Gate::new(1);
    let (long, short) = (
        Share::new(Arc::clone(&gate), 1),
        Share::new(Arc::clone(&gate), 1),
    );
    let held = long.try_enter(NONE).unwrap();
    let mut runs = 0_u32;
    while let Some(seat) = short.try_enter(NONE) {
        assert!(short.try_enter(NONE).is_none(), "one at a time");
        drop(seat);
        short.account.used.fetch_add(100_000, Relaxed);
        runs += 1;
        // Its own runs move the clock too, so that it is never locked out; here that is undone.
        gate.clock.store(0, Relaxed);
    }
    assert!((5..=11).contains(&runs), "{runs} runs of 0.1 ms");
    drop(held);
}

#[test]
fn crowds_leave_the_gate_as_it_was() {
    let gate = Gate::new(3);
    let shares: Vec<Share> = [1, 2, 3]
        .map(|width| Share::new(Arc::clone(&gate), width))
        .into();
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..6_usize {
            let (share, inside) = (&shares[thread % 3], &inside);
            scope.spawn(move || {
                for _ in 0..2000 {
                    let seat = share
                        .try_enter(NONE)
                        .or_else(|| share.enter(NONE, &running()));
                    inside.fetch_add(1, Relaxed);
                    drop(seat);
                }
            });
        }
    });
    assert_eq!(inside.load(Relaxed), 12_000);
    assert_eq!((gate.waiting.load(SeqCst), gate.free.load(SeqCst)), (0, 3));
    assert!(gate.waiters.lock().is_empty());
    for share in &shares {
        assert_eq!(share.account.running.load(Relaxed), 0);
    }
}

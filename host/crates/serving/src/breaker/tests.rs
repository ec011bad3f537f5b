use super::*;

/// Pauses so long that none ends by itself.
const HOURS: Duration = Duration::from_secs(36_000);

fn opening_after(faults: u32, pause: Duration) -> impl Fn() -> BreakerSettings {
    move || BreakerSettings {
        faults,
        pause,
        longest: pause * 8,
    }
}

fn call(breaker: &Breaker, fate: Fate, settings: impl Fn() -> BreakerSettings) -> Change {
    let permit = breaker.admit(&settings).expect("calls are made");
    breaker.ended(&permit, fate, &settings)
}

#[test]
fn it_opens_at_its_share_of_faults_and_refuses_at_once() {
    let (breaker, settings) = (Breaker::default(), opening_after(3, HOURS));
    // Two of three calls fail, and of 32 calls never so many as 24.
    let patient = opening_after(24, HOURS);
    for _ in 0..100 {
        for fate in [Fate::Fault, Fate::Fault, Fate::Ended] {
            assert_eq!(call(&breaker, fate, &patient), Change::None);
        }
    }
    for _ in 0..32 {
        assert_eq!(call(&breaker, Fate::Ended, &settings), Change::None);
    }
    for fate in [Fate::Fault, Fate::Nothing, Fate::Fault] {
        assert_eq!(call(&breaker, fate, &settings), Change::None);
    }
    let late = breaker.admit(&settings).unwrap();
    let Change::Opened(pause) = call(&breaker, Fate::Fault, &settings) else {
        panic!("it did not open");
    };
    assert!((HOURS / 2..=HOURS).contains(&pause), "{pause:?}");
    let left = breaker.admit(&settings).unwrap_err();
    assert!(left <= pause && left > HOURS / 3, "{left:?}");
    assert_eq!(breaker.ended(&late, Fate::Fault, &settings), Change::None);
    assert!(breaker.admit(&settings).is_err());
}

#[test]
fn zero_switches_it_off() {
    let (breaker, settings) = (Breaker::default(), opening_after(0, HOURS));
    for _ in 0..100 {
        assert_eq!(call(&breaker, Fate::Fault, &settings), Change::None);
    }
    // Also one that is open.
    let on = opening_after(1, HOURS);
    assert!(matches!(
        call(&breaker, Fate::Fault, &on),
        Change::Opened(_)
    ));
    breaker.admit(&on).expect_err("it is open");
    assert_eq!(call(&breaker, Fate::Fault, &settings), Change::None);
}

#[test]
fn one_call_at_a_time_is_tried_and_decides() {
    // A pause of no length is over at once.
    let (breaker, settings) = (Breaker::default(), opening_after(1, Duration::ZERO));
    assert!(matches!(
        call(&breaker, Fate::Fault, &settings),
        Change::Opened(_)
    ));
    let probe = breaker.admit(&settings).unwrap();
    assert_eq!(probe, Permit::Probe);
    breaker
        .admit(&settings)
        .expect_err("another call is being tried");
    assert_eq!(
        breaker.ended(&probe, Fate::Fault, &settings),
        Change::StaysOpen
    );
    // One that leaves makes room for the next.
    let probe = breaker.admit(&settings).unwrap();
    assert_eq!(
        breaker.ended(&probe, Fate::Nothing, &settings),
        Change::None
    );
    let probe = breaker.admit(&settings).unwrap();
    assert_eq!(
        breaker.ended(&probe, Fate::Ended, &settings),
        Change::Closed
    );
    assert_eq!(breaker.admit(&settings), Ok(Permit::Call));
}

#[test]
fn pauses_double_up_to_the_longest() {
    let settings = opening_after(1, Duration::from_secs(1))();
    let mut pause = Pause::default();
    for most in [1, 2, 4, 8, 8, 8] {
        let length = pause.prolong(settings).as_secs_f64();
        let most = f64::from(most);
        assert!((most / 2.0..=most).contains(&length), "{length} of {most}");
    }
    for _ in 0..100 {
        assert!(pause.prolong(settings).as_secs_f64() <= 8.0);
    }
}

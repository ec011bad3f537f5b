use std::time::Duration;

use super::super::claim::Refusal;
use super::super::clock::Said;
use super::super::gcra::Wait;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn memory(most: usize) -> (Arc<Memory>, Arc<Said>) {
    let clock = Arc::new(Said::default());
    let memory = Memory::new(most, Arc::clone(&clock) as Arc<dyn Clock>);
    (Arc::new(memory), clock)
}

fn rate(per_second: f64, burst: u64) -> Option<Rate> {
    Some(Rate::new(per_second, SECOND, burst))
}

fn requests(tenant: &str) -> Claim<'_> {
    Claim {
        tenant,
        model: None,
        of: Good::Requests,
        units: 1,
        rates: [rate(5.0, 10), None],
        places: [None; PARTS],
    }
}

fn admitted(memory: &Memory, claim: &Claim<'_>) -> bool {
    memory.take(claim).unwrap().outcome.is_ok()
}

#[test]
fn a_tenant_has_its_burst_and_then_its_rate_whatever_others_do() {
    let (memory, clock) = memory(10);
    let burst = |tenant: &str| {
        (0..20)
            .filter(|_| admitted(&memory, &requests(tenant)))
            .count()
    };
    assert_eq!(burst("acme"), 10);
    assert_eq!(burst("rival"), 10);
    let refused = memory.take(&requests("acme")).unwrap();
    assert_eq!(refused.debts[0], 2_000_000_000);
    let wait = Wait::For(SECOND / 5);
    assert_eq!(
        refused.outcome.err(),
        Some(Refusal::Rate(Part::Whole, wait))
    );
    clock.pass(SECOND);
    assert_eq!(burst("acme"), 5);
}

#[test]
fn what_one_limit_refuses_costs_nothing_of_the_other() {
    let (memory, _clock) = memory(10);
    let of_model = Claim {
        model: Some("digits"),
        rates: [rate(5.0, 10), rate(1.0, 2)],
        ..requests("acme")
    };
    let given = (0..20).filter(|_| admitted(&memory, &of_model)).count();
    assert_eq!(given, 2);
    let left = (0..20)
        .filter(|_| admitted(&memory, &requests("acme")))
        .count();
    assert_eq!(left, 8);
}

#[test]
fn places_are_given_back_and_refusals_take_none() {
    let (memory, _clock) = memory(10);
    let claim = Claim {
        model: Some("digits"),
        rates: [None; PARTS],
        places: [Some(3), Some(1)],
        ..requests("acme")
    };
    let take = || memory.take(&claim).unwrap().outcome;
    let first = take().unwrap();
    assert_eq!(take().err(), Some(Refusal::Places(Part::Model)));
    let whole = Claim {
        model: None,
        places: [Some(3), None],
        ..claim.clone()
    };
    let others: Vec<_> = (0..2)
        .map(|_| memory.take(&whole).unwrap().outcome.unwrap())
        .collect();
    let full = memory.take(&whole).unwrap().outcome.err();
    assert_eq!(full, Some(Refusal::Places(Part::Whole)));
    drop(first);
    assert!(take().is_ok());
    drop(others);
    let account = memory.accounts.get("acme").unwrap();
    assert!(account.lock().is_settled(0));
}

#[test]
fn tokens_that_are_not_used_go_back_and_more_are_owed() {
    let (memory, clock) = memory(10);
    let claim = |tokens| Claim {
        of: Good::Tokens,
        units: tokens,
        rates: [rate(10.0, 100), None],
        ..requests("acme")
    };
    let reserve = |tokens| memory.reserve(&claim(tokens)).unwrap().outcome;
    let first = reserve(100).unwrap();
    assert!(reserve(1).is_err());
    first.settle(40);
    let second = reserve(60).unwrap();
    assert!(reserve(1).is_err());
    second.settle(160);
    assert_eq!(
        reserve(1).err(),
        Some(Refusal::Rate(
            Part::Whole,
            Wait::For(Duration::from_millis(10_100))
        ))
    );
    clock.pass(Duration::from_millis(10_100));
    assert!(reserve(1).is_ok(), "dropped, it is used up");
    assert!(reserve(1).is_err());
    assert_eq!(
        reserve(101).err(),
        Some(Refusal::Rate(Part::Whole, Wait::Never))
    );
    // Requests are counted apart.
    assert!(admitted(&memory, &requests("acme")));
}

#[test]
fn idle_tenants_make_room_and_busy_ones_do_not() {
    let (memory, clock) = memory(100);
    for tenant in 0..100 {
        assert!(admitted(&memory, &requests(&format!("t{tenant}"))));
    }
    assert!(
        memory.take(&requests("stranger")).is_err(),
        "all owe something"
    );
    assert!(admitted(&memory, &requests("t7")), "who is known goes on");
    let places = Claim {
        rates: [None; PARTS],
        places: [Some(1), None],
        ..requests("t8")
    };
    let held = memory.take(&places).unwrap().outcome.unwrap();
    clock.pass(2 * SECOND);
    assert!(admitted(&memory, &requests("stranger")));
    assert_eq!(memory.tenants(), 2, "the one that holds a place stays");
    assert!(memory.take(&places).unwrap().outcome.is_err());
    drop(held);
    clock.pass(60 * SECOND);
    assert!(admitted(&memory, &requests("other")));
    assert_eq!(memory.tenants(), 1);
}

#[test]
fn a_thousand_at_once_get_the_burst_and_no_more() {
    let (memory, _clock) = memory(10);
    let claim = Claim {
        rates: [rate(1.0, 100), None],
        ..requests("acme")
    };
    let given: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..125).filter(|_| admitted(&memory, &claim)).count()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(given, 100);
}

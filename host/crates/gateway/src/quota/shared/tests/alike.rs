//! The script in Redis and the counts in memory are one algorithm: whatever is asked of both, in whatever order and at whatever times,
//! they give the same.

use std::collections::VecDeque;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::aio::MultiplexedConnection;
use tokio::runtime::Runtime;

use super::super::super::clock::{Clock, Said};
use super::super::super::memory::{self, Memory, Place};
use super::*;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Request {
        model: bool,
    },
    Tokens {
        tokens: u64,
        model: bool,
    },
    /// The request that runs longest ends.
    End,
    /// The tokens that were set aside longest ago are settled.
    Settle {
        used: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0_u64..700_000).prop_map(Step::Pass),
        any::<bool>().prop_map(|model| Step::Request { model }),
        (1_u64..30, any::<bool>()).prop_map(|(tokens, model)| Step::Tokens { tokens, model }),
        Just(Step::End),
        (0_u64..60).prop_map(|used| Step::Settle { used }),
    ];
    prop::collection::vec(step, 1..80)
}

#[derive(Clone, Debug)]
struct Plan {
    requests: [Rate; PARTS],
    tokens: [Rate; PARTS],
    places: [Option<u32>; PARTS],
}

fn plan() -> impl Strategy<Value = Plan> {
    let rate = |most_burst: u64| {
        (1_u32..50, 1..most_burst)
            .prop_map(|(per_second, burst)| Rate::new(f64::from(per_second), SECOND, burst))
    };
    let places = || prop::option::of(1_u32..4);
    (
        [rate(12), rate(6)],
        [rate(40), rate(25)],
        [places(), places()],
    )
        .prop_map(|(requests, tokens, places)| Plan {
            requests,
            tokens,
            places,
        })
}

/// Both stores, of which Redis has the time of the other.
struct Both {
    memory: Arc<Memory>,
    clock: Arc<Said>,
    redis: MultiplexedConnection,
    script: Take,
    prefix: String,
    leases: u64,
    running: VecDeque<(Option<Place>, String, Keys)>,
    reserved: VecDeque<(memory::Reserved, Keys, [Option<Rate>; PARTS], u64)>,
}

impl Both {
    async fn play(&mut self, plan: &Plan, step: &Step) {
        match *step {
            Step::Pass(micros) => self.clock.pass(Duration::from_micros(micros)),
            Step::Request { model } => {
                let claim = claim(plan, Good::Requests, 1, model);
                let keys = Keys::of(&self.prefix, &claim);
                let in_memory = self.memory.take(&claim).unwrap();
                let lease = format!("lease-{}", self.leases);
                self.leases += 1;
                let in_redis = self.ask(&keys, &claim, &lease).await;
                assert_eq!(in_memory.outcome.as_ref().err(), in_redis.err().as_ref());
                if let Ok(place) = in_memory.outcome {
                    self.running.push_back((place, lease, keys));
                }
            }
            Step::Tokens { tokens, model } => {
                let claim = claim(plan, Good::Tokens, tokens, model);
                let keys = Keys::of(&self.prefix, &claim);
                let in_memory = self.memory.reserve(&claim).unwrap();
                let in_redis = self.ask(&keys, &claim, "").await;
                assert_eq!(in_memory.outcome.as_ref().err(), in_redis.err().as_ref());
                if let Ok(reserved) = in_memory.outcome {
                    self.reserved
                        .push_back((reserved, keys, claim.rates, tokens));
                }
            }
            Step::End => {
                let Some((place, lease, keys)) = self.running.pop_front() else {
                    return;
                };
                drop(place);
                for set in keys.places.iter() {
                    let mut release = redis::cmd("ZREM");
                    release.arg(set).arg(&lease);
                    release.exec_async(&mut self.redis).await.unwrap();
                }
            }
            Step::Settle { used } => {
                let Some((reserved, keys, rates, tokens)) = self.reserved.pop_front() else {
                    return;
                };
                reserved.settle(used);
                let rates = rates.iter().flatten();
                let differences: Vec<_> = rates.map(|rate| rate.difference(tokens, used)).collect();
                let mut pipeline = redis::pipe();
                script::settle(&mut pipeline, &keys.meters, &differences, self.now());
                pipeline.exec_async(&mut self.redis).await.unwrap();
            }
        }
    }

    /// What the script says, judged by what it says of how things stood.
    async fn ask(&mut self, keys: &Keys, claim: &Claim<'_>, lease: &str) -> Result<(), Refusal> {
        let term = Term {
            name: lease,
            length: 100_000 * SECOND,
        };
        let call = self.script.of(keys, claim, term, self.now());
        let answer: Vec<u64> = call.invoke_async(&mut self.redis).await.unwrap();
        let (taken, standing) = script::answer(claim, &answer).expect("an answer of the script");
        let judged = claim.judge(&standing);
        assert_eq!(taken, judged.is_ok(), "{claim:?} {standing:?}");
        judged.map(drop)
    }

    fn now(&self) -> u64 {
        self.clock.now()
    }
}

fn claim(plan: &Plan, of: Good, units: u64, model: bool) -> Claim<'static> {
    let rates = match of {
        Good::Requests => plan.requests,
        Good::Tokens => plan.tokens,
    };
    let parts = [true, model];
    let of_parts = |part: Part| parts[part as usize].then_some(rates[part as usize]);
    let places = match of {
        Good::Requests => plan.places,
        Good::Tokens => [None; PARTS],
    };
    Claim {
        tenant: "acme",
        model: model.then_some("digits"),
        of,
        units,
        rates: Part::ALL.map(of_parts),
        places: [places[0], places[1].filter(|_| model)],
    }
}

#[test]
fn redis_and_memory_decide_alike() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(RedisServer::start());
    let client = Client::open(server.url()).unwrap();
    let redis = runtime
        .block_on(client.get_multiplexed_async_connection())
        .unwrap();
    let case = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config {
        cases: 96,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&(plan(), steps()), |(plan, steps)| {
        case.set(case.get() + 1);
        let clock = Arc::new(Said::default());
        // In these days, so that the numbers have the size that they have.
        clock.pass(1_800_000_000 * SECOND);
        let mut both = Both {
            memory: Arc::new(Memory::new(10, Arc::clone(&clock) as Arc<dyn Clock>)),
            clock,
            redis: redis.clone(),
            script: Take::new(),
            prefix: format!("case{}", case.get()),
            leases: 0,
            running: VecDeque::new(),
            reserved: VecDeque::new(),
        };
        runtime.block_on(async {
            for step in &steps {
                both.play(&plan, step).await;
            }
        });
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

use std::collections::HashSet;

use proptest::prelude::*;
use wharf_testkit::{Reference, known_keys};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn stores() -> Stores {
    Stores::new(&opentelemetry::global::meter("test"))
}

fn grant(text: &str) -> Grant {
    let grant: Grant = toml::from_str(text).unwrap();
    grant.check().unwrap();
    grant
}

fn open(stores: &Stores, text: &str) -> State {
    stores.open(grant(text), (None, &"counter".parse().unwrap()))
}

fn text(found: Option<Found>) -> Option<String> {
    found.map(|found| String::from_utf8(found.value.to_vec()).unwrap())
}

fn tenant(name: &str) -> Tenant {
    Some(name.into())
}

#[test]
fn many_threads_that_swap_one_counter_lose_nothing() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 2_000;
    let stores = stores();
    let state = open(&stores, "");
    let versions: Vec<u64> = std::thread::scope(|scope| {
        let swap = || {
            let view = state.view(None, Instant::now());
            let mut versions = Vec::new();
            while (versions.len() as u64) < ROUNDS {
                let there = view.get("sum");
                let version = there.as_ref().map_or(0, |found| found.version);
                let sum: u64 = text(there).map_or(0, |text| text.parse().unwrap());
                let value = (sum + 1).to_string().into_bytes();
                match view.compare_and_swap("sum", version, value, None).unwrap() {
                    Swap::Done(version) => versions.push(version),
                    Swap::Differs(there) => assert!(there.unwrap().version > version),
                }
            }
            versions
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(swap)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    let view = state.view(None, Instant::now());
    let sum = (THREADS * ROUNDS).to_string();
    assert_eq!(text(view.get("sum")), Some(sum));
    let different: HashSet<u64> = versions.iter().copied().collect();
    assert_eq!(different.len(), versions.len(), "a version was given twice");
    assert!(versions.iter().all(|version| *version > 0));
}

#[test]
fn many_threads_that_add_lose_nothing_while_scopes_come_and_go() {
    const ROUNDS: i64 = 5_000;
    let stores = stores();
    let state = open(&stores, "tenants = 4");
    std::thread::scope(|scope| {
        let adding: Vec<_> = (0..4)
            .map(|thread| {
                let state = &state;
                scope.spawn(move || {
                    let shared = state.view(tenant("a"), Instant::now());
                    let own =
                        state.view(Some(format!("own-{}", thread % 2).into()), Instant::now());
                    for round in 0..ROUNDS {
                        shared.increment("sum", 1, None).unwrap().unwrap();
                        // These come and go under the sweep.
                        own.set("here", vec![1], None).unwrap();
                        own.delete("here");
                        assert!(shared.get("sum").is_some(), "{round}");
                    }
                })
            })
            .collect();
        while !adding.iter().all(|thread| thread.is_finished()) {
            stores.sweep(Instant::now());
        }
    });
    let view = state.view(tenant("a"), Instant::now());
    assert_eq!(text(view.get("sum")), Some((4 * ROUNDS).to_string()));
}

#[test]
fn tenants_see_their_own_unless_the_grant_says_otherwise() {
    let (stores, now) = (stores(), Instant::now());
    let state = open(&stores, "");
    for name in [tenant("a"), tenant("b"), None] {
        let value = format!("{name:?}").into_bytes();
        state.view(name, now).set("k", value, None).unwrap();
    }
    for name in [tenant("a"), tenant("b"), None] {
        let expected = format!("{name:?}");
        assert_eq!(text(state.view(name, now).get("k")), Some(expected));
    }
    assert!(state.view(tenant("c"), now).keys("", 9).is_empty());

    let shared = open(&stores, "scope = 'plugin'");
    let view = shared.view(tenant("a"), now);
    assert_eq!(view.get("k"), None, "what was written apart is not shown");
    view.set("k", b"shared".to_vec(), None).unwrap();
    assert_eq!(
        text(shared.view(None, now).get("k")).as_deref(),
        Some("shared")
    );
}

#[test]
fn tenants_have_a_bound_and_an_empty_one_gives_way() {
    let (stores, now) = (stores(), Instant::now());
    let state = open(&stores, "tenants = 2");
    for name in ["a", "b"] {
        state
            .view(tenant(name), now)
            .set("k", vec![1], None)
            .unwrap();
    }
    let third = state.view(tenant("c"), now);
    assert_eq!(third.set("k", vec![1], None), Err(Refused::Tenants));
    assert_eq!(third.get("k"), None);
    state.view(tenant("a"), now).delete("k");
    stores.sweep(now);
    let version = third.set("k", vec![1], None).unwrap();
    // A tenant that comes back gets no version that it had before.
    state.view(tenant("c"), now).delete("k");
    stores.sweep(now);
    let again = state
        .view(tenant("a"), now)
        .set("k", vec![1], None)
        .unwrap();
    assert!(again > version);
}

#[test]
fn a_state_outlives_its_plugin_for_a_while() {
    let (stores, start) = (stores(), Instant::now());
    let first = open(&stores, "");
    first
        .view(None, start)
        .set("k", b"kept".to_vec(), None)
        .unwrap();
    // A release takes over while the one before is there.
    let second = open(&stores, "");
    drop(first);
    stores.sweep(start);
    stores.sweep(start + 2 * KEPT);
    assert_eq!(
        text(second.view(None, start).get("k")).as_deref(),
        Some("kept")
    );
    // The plugin goes, and comes back in time.
    drop(second);
    stores.sweep(start + 2 * KEPT);
    stores.sweep(start + 2 * KEPT + KEPT / 2);
    let third = open(&stores, "");
    assert_eq!(
        text(third.view(None, start).get("k")).as_deref(),
        Some("kept")
    );
    // It stays away.
    drop(third);
    stores.sweep(start + HOUR);
    stores.sweep(start + HOUR + KEPT);
    assert_eq!(open(&stores, "").view(None, start).get("k"), None);
    assert_eq!(sizes(&stores.places).len(), 1);
}

#[test]
fn what_is_over_is_dropped_although_nobody_asks() {
    let (stores, now) = (stores(), Instant::now());
    let state = open(&stores, "");
    let view = state.view(tenant("a"), now);
    for key in 0..500 {
        view.set(&format!("{key:03}"), vec![0; 7], Some(1000))
            .unwrap();
    }
    let size = || sizes(&stores.places)[&"counter".parse::<Name>().unwrap()];
    assert_eq!((size().entries, size().bytes), (500, 5000));
    stores.sweep(now + Duration::from_millis(999));
    assert_eq!(size().entries, 500);
    stores.sweep(now + Duration::from_millis(1000));
    assert_eq!(size(), StateSize::default());
    assert!(state.store.scopes.read().is_empty());
}

#[test]
fn a_grant_out_of_its_bounds_is_refused() {
    for key in ["entries", "kb", "key_bytes", "tenants"] {
        let grant: Grant = toml::from_str(&format!("{key} = 0")).unwrap();
        assert_eq!(grant.check().unwrap_err().0, key);
        let grant: Grant = toml::from_str(&format!("{key} = 4000000000")).unwrap();
        assert_eq!(grant.check().unwrap_err().0, key);
    }
    assert!(open(&stores(), "key_bytes = 3").check_key("four").is_err());
}

#[test]
fn the_reference_has_every_key_with_its_default() {
    let reference = Reference::new(include_str!("../../../../../reference/plugin.toml"));
    let error = toml::from_str::<Grant>("no-such-key = 1").unwrap_err();
    for key in known_keys(error.message()) {
        assert!(reference.has("grants.state", key), "{key} is missing");
    }
    let file: toml::Table = reference.text().parse().unwrap();
    let given = file["grants"]["state"].clone().try_into::<Grant>().unwrap();
    assert_eq!(given, Grant::default());
}

/// An operation on a few keys, so that they meet.
#[derive(Clone, Debug)]
enum Operation {
    Set(u8, usize, Option<u64>),
    Swap(u8, bool, Option<u64>),
    Add(u8, i64, Option<u64>),
    Delete(u8),
    Pass(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    let end = || proptest::option::of(0..40_u64);
    prop_oneof![
        (0..6_u8, 0..400_usize, end()).prop_map(|(key, size, end)| Operation::Set(key, size, end)),
        (0..6_u8, any::<bool>(), end())
            .prop_map(|(key, fits, end)| Operation::Swap(key, fits, end)),
        (0..6_u8, -3..3_i64, end()).prop_map(|(key, by, end)| Operation::Add(key, by, end)),
        (0..6_u8).prop_map(Operation::Delete),
        (0..20_u64).prop_map(Operation::Pass),
    ]
}

/// What a state must be: values with an end, in milliseconds.
type Model = BTreeMap<String, (Vec<u8>, u64, Option<u64>)>;

proptest! {
    #[test]
    fn it_does_what_a_simple_map_would_do(operations in proptest::collection::vec(operation(), 1..120)) {
        let (stores, start) = (stores(), Instant::now());
        let state = open(&stores, "entries = 4\nkb = 1");
        let (mut model, mut now_ms, mut newest) = (Model::new(), 0_u64, 0);
        for operation in operations {
            model.retain(|_, (.., end)| end.is_none_or(|end| now_ms < end));
            let view = state.view(None, start + Duration::from_millis(now_ms));
            let until = |end: Option<u64>| end.map(|ms| now_ms + ms);
            let fits = |model: &Model, key: &str, value: &[u8]| {
                let others = model.iter().filter(|(other, _)| *other != key);
                let bytes: usize = others.clone().map(|(key, (value, ..))| key.len() + value.len()).sum();
                let entries = others.count() + 1;
                entries <= 4 && bytes + key.len() + value.len() <= 1024
            };
            match operation {
                Operation::Pass(ms) => now_ms += ms,
                Operation::Delete(key) => {
                    let key = format!("k{key}");
                    prop_assert_eq!(view.delete(&key), model.remove(&key).is_some());
                }
                Operation::Set(key, size, end) => {
                    let (key, value) = (format!("k{key}"), vec![b'x'; size]);
                    match view.set(&key, value.clone(), end) {
                        Ok(version) => {
                            prop_assert!(fits(&model, &key, &value) && version > newest);
                            newest = version;
                            model.insert(key, (value, version, until(end)));
                        }
                        Err(_) => prop_assert!(!fits(&model, &key, &value)),
                    }
                }
                Operation::Swap(key, right, end) => {
                    let key = format!("k{key}");
                    let there = model.get(&key).map_or(0, |(_, version, _)| *version);
                    let expected = if right { there } else { newest + 1 };
                    match view.compare_and_swap(&key, expected, b"swapped".to_vec(), end) {
                        Ok(Swap::Done(version)) => {
                            prop_assert!(right && version > newest);
                            newest = version;
                            model.insert(key, (b"swapped".to_vec(), version, until(end)));
                        }
                        Ok(Swap::Differs(found)) => {
                            prop_assert!(!right);
                            prop_assert_eq!(found.map_or(0, |found| found.version), there);
                        }
                        Err(_) => prop_assert!(!fits(&model, &key, b"swapped")),
                    }
                }
                Operation::Add(key, by, end) => {
                    let key = format!("k{key}");
                    let there = model.get(&key);
                    let number: Option<i64> = there.map_or(Some(0), |(value, ..)| {
                        std::str::from_utf8(value).unwrap().parse().ok()
                    });
                    match view.increment(&key, by, end) {
                        Ok(Ok(sum)) => {
                            prop_assert_eq!(Some(sum), number.map(|number| number + by));
                            let end = there.map_or(until(end), |(.., end)| *end);
                            newest = view.get(&key).map_or(newest + 1, |found| found.version);
                            model.insert(key, (sum.to_string().into_bytes(), newest, end));
                        }
                        Ok(Err(_)) => prop_assert_eq!(number, None),
                        Err(_) => {
                            let value = (number.unwrap_or_default() + by).to_string();
                            prop_assert!(!fits(&model, &key, value.as_bytes()));
                        }
                    }
                }
            }
            model.retain(|_, (.., end)| end.is_none_or(|end| now_ms < end));
            let view = state.view(None, start + Duration::from_millis(now_ms));
            let keys: Vec<String> = view.keys("", 9).iter().map(|key| key.to_string()).collect();
            prop_assert_eq!(&keys, &model.keys().cloned().collect::<Vec<_>>());
            for (key, (value, version, _)) in &model {
                let found = view.get(key).unwrap();
                prop_assert_eq!((&found.value[..], found.version), (&value[..], *version));
            }
        }
    }
}

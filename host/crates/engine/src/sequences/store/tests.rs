use std::num::NonZeroU64;

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;

use super::*;

const IDLE: Duration = Duration::from_millis(100);

fn store(capacity: usize) -> Store {
    let meter = SdkMeterProvider::default().meter("test");
    let gauge = meter.i64_up_down_counter("sequences").build();
    Store::new(IDLE, capacity, gauge.bind(&[]))
}

fn key(number: u64) -> Key {
    let number = NonZeroU64::new(number).unwrap();
    (None, SequenceId::Number(number))
}

fn state(bytes: usize) -> Vec<Tensor> {
    vec![Tensor::from_vec("s", [bytes as u64], vec![1_u8; bytes]).unwrap()]
}

fn held(store: &Store) -> (usize, u64) {
    let inner = store.inner.lock();
    (inner.entries.len(), inner.bytes)
}

#[test]
fn a_sequence_is_kept_from_its_start_to_its_end() {
    let store = store(8);
    let now = Instant::now();
    let error = store.join(key(1), false, now).err().unwrap();
    assert_eq!(error.field(), Some("parameters.sequence_id"));
    assert!(
        error.message().contains("forgotten after 100 ms"),
        "{error}"
    );

    let first = store.join(key(1), true, now).unwrap();
    assert!(first.state().is_err(), "it has not begun");
    first.keep(state(10)).unwrap();
    drop(first);
    assert_eq!(held(&store), (1, 10));
    let second = store.join(key(1), false, now).unwrap();
    assert_eq!(second.state().unwrap()[0].data().len(), 10);
    second.keep(state(30)).unwrap();
    assert_eq!(held(&store), (1, 30));
    second.end();
    drop(second);
    assert_eq!(held(&store), (0, 0));
}

#[test]
fn a_start_that_failed_leaves_nothing_behind() {
    let store = store(8);
    let now = Instant::now();
    let first = store.join(key(1), true, now).unwrap();
    // Sent before the answer to the first.
    let second = store.join(key(1), false, now).unwrap();
    drop(first);
    assert!(second.state().is_err());
    drop(second);
    assert_eq!(held(&store), (0, 0));
}

#[test]
fn the_number_of_sequences_is_bounded_and_rest_makes_room() {
    let store = store(2);
    let now = Instant::now();
    let busy = store.join(key(1), true, now).unwrap();
    store
        .join(key(2), true, now)
        .unwrap()
        .keep(state(1))
        .unwrap();
    let error = store.join(key(3), true, now).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.retry_after().is_some());
    let later = Instant::now() + IDLE;
    drop(store.join(key(3), true, later).unwrap());
    assert!(
        store.join(key(2), false, later).is_err(),
        "it was forgotten"
    );
    assert!(busy.state().is_err());
    assert_eq!(held(&store).0, 1, "who works is not forgotten");
}

#[test]
fn who_rests_is_forgotten_without_a_request() {
    let store = store(8);
    let now = Instant::now();
    assert_eq!(store.wake_at(now), Some(now + IDLE));
    assert_eq!(store.wake_at(now), None, "somebody looks already");
    store
        .join(key(1), true, now)
        .unwrap()
        .keep(state(1))
        .unwrap();
    let early = Instant::now();
    assert!(store.sweep(early).is_some_and(|next| next > early));
    assert_eq!(held(&store).0, 1);
    assert_eq!(store.sweep(early + 2 * IDLE), None);
    assert_eq!(held(&store), (0, 0));
    assert!(store.wake_at(now).is_some(), "and the next one asks again");
}

#[test]
fn tenants_do_not_see_each_others_sequences() {
    let store = store(8);
    let now = Instant::now();
    store
        .join(key(1), true, now)
        .unwrap()
        .keep(state(1))
        .unwrap();
    let of_another = (Some("b".into()), key(1).1);
    assert!(store.join(of_another, false, now).is_err());
}

#[test]
fn one_sequence_does_not_take_everything() {
    let store = store(8);
    let now = Instant::now();
    let members: Vec<_> = (0..=WAITING)
        .map(|_| store.join(key(1), true, now).unwrap())
        .collect();
    let error = store.join(key(1), true, now).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    drop(members);
    assert_eq!(held(&store).0, 0);
}

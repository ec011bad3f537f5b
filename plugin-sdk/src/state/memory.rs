//! State for native tests: a map of the thread that runs the test, and a clock that the test sets.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Error, Result};

pub(crate) use super::{Entry, Swapped};

/// The longest key of a grant that sets no other.
const KEY_BYTES: usize = 256;

#[derive(Default)]
struct State {
    values: BTreeMap<String, Value>,
    version: u64,
    now_ms: u64,
}

struct Value {
    entry: Entry,
    ends_ms: Option<u64>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Lets time pass for what the plugin keeps in [`crate::state`], on this thread.
pub fn pass_time(time: Duration) {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    with(|state| state.now_ms = state.now_ms.saturating_add(ms));
}

/// Forgets what the plugin keeps in [`crate::state`], on this thread: as when the host begins anew.
pub fn clear_state() {
    STATE.take();
}

pub(crate) fn get(key: &str) -> Result<Option<Entry>> {
    Ok(with(|state| {
        state.values.get(key).map(|value| value.entry.clone())
    }))
}

pub(crate) fn set(key: &str, value: &[u8], expires_ms: Option<u64>) -> Result<u64> {
    check(key)?;
    Ok(with(|state| {
        let ends_ms = state.ends(expires_ms);
        state.write(key, value, ends_ms)
    }))
}

pub(crate) fn compare_and_swap(
    key: &str,
    version: u64,
    value: &[u8],
    expires_ms: Option<u64>,
) -> Result<Swapped> {
    check(key)?;
    Ok(with(|state| {
        let there = state.values.get(key).map(|value| value.entry.clone());
        if there.as_ref().map_or(0, |entry| entry.version) != version {
            return Swapped::Differs(there);
        }
        let ends_ms = state.ends(expires_ms);
        Swapped::Done(state.write(key, value, ends_ms))
    }))
}

pub(crate) fn increment(key: &str, by: i64, expires_ms: Option<u64>) -> Result<i64> {
    check(key)?;
    with(|state| {
        let (number, ends_ms) = match state.values.get(key) {
            None => (0, state.ends(expires_ms)),
            Some(value) => (number(&value.entry.value)?, value.ends_ms),
        };
        let sum = number
            .checked_add(by)
            .ok_or_else(|| Error::invalid("the sum would be no number of 64 bits"))?;
        state.write(key, sum.to_string().as_bytes(), ends_ms);
        Ok(sum)
    })
}

pub(crate) fn delete(key: &str) -> Result<bool> {
    Ok(with(|state| state.values.remove(key).is_some()))
}

pub(crate) fn keys(prefix: &str, limit: u32) -> Result<Vec<String>> {
    Ok(with(|state| {
        let keys = state.values.keys();
        let keys = keys.filter(|key| key.starts_with(prefix));
        keys.take(limit as usize).cloned().collect()
    }))
}

fn with<T>(operation: impl FnOnce(&mut State) -> T) -> T {
    STATE.with_borrow_mut(|state| {
        let now_ms = state.now_ms;
        let lives = |value: &Value| value.ends_ms.is_none_or(|end| now_ms < end);
        state.values.retain(|_, value| lives(value));
        operation(state)
    })
}

fn check(key: &str) -> Result<()> {
    if key.len() > KEY_BYTES {
        return Err(Error::invalid(format!(
            "the key has {} bytes, and {KEY_BYTES} is the most",
            key.len()
        )));
    }
    Ok(())
}

fn number(value: &[u8]) -> Result<i64> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::invalid("the value is no decimal number of 64 bits"))
}

impl State {
    fn ends(&self, expires_ms: Option<u64>) -> Option<u64> {
        expires_ms.map(|ms| self.now_ms.saturating_add(ms))
    }

    fn write(&mut self, key: &str, value: &[u8], ends_ms: Option<u64>) -> u64 {
        self.version += 1;
        let entry = Entry {
            value: value.to_vec(),
            version: self.version,
        };
        self.values.insert(key.to_owned(), Value { entry, ends_ms });
        self.version
    }
}

#[cfg(test)]
mod tests {
    use crate::state::*;
    use crate::testing::{clear_state, pass_time};

    #[test]
    fn values_end_when_the_test_says() {
        clear_state();
        let second = Some(Duration::from_secs(1));
        set("short", "1", second).unwrap();
        set("long", "2", None).unwrap();
        assert_eq!(increment("n", 2, second), Ok(2));
        pass_time(Duration::from_millis(600));
        assert_eq!(increment("n", 3, second), Ok(5));
        assert_eq!(keys("", 9).unwrap(), ["long", "n", "short"]);
        pass_time(Duration::from_millis(400));
        assert_eq!(keys("", 9).unwrap(), ["long"]);
        assert_eq!(increment("n", 1, second), Ok(1), "from the first addition");
        assert!(delete("long").unwrap() && !delete("long").unwrap());
    }

    #[test]
    fn a_swap_needs_the_version_that_is_there() {
        clear_state();
        assert_eq!(
            compare_and_swap("k", 3, "x", None),
            Ok(Swapped::Differs(None))
        );
        let Ok(Swapped::Done(first)) = compare_and_swap("k", 0, "a", None) else {
            panic!("nothing was there");
        };
        let Ok(Swapped::Differs(Some(there))) = compare_and_swap("k", 0, "b", None) else {
            panic!("something is there");
        };
        assert_eq!(
            there,
            Entry {
                value: b"a".to_vec(),
                version: first
            }
        );
        assert!(set("k", "b", None).unwrap() > first);
    }

    #[test]
    fn what_the_host_refuses_is_refused() {
        clear_state();
        assert!(set(&"k".repeat(257), "", None).is_err());
        set("k", "no number", None).unwrap();
        assert!(increment("k", 1, None).is_err());
        set("k", i64::MAX.to_string(), None).unwrap();
        assert!(increment("k", 1, None).is_err());
    }

    #[test]
    fn an_update_begins_again_where_another_was_faster() {
        clear_state();
        let mut calls = 0;
        let written = update("k", None, |there| {
            calls += 1;
            if calls == 1 {
                set("k", "faster", None)?;
            }
            Ok([there.unwrap_or(b"none"), b"!"].concat())
        });
        assert_eq!(written.unwrap(), b"faster!");
        assert_eq!(calls, 2);
    }

    #[test]
    fn a_part_of_a_millisecond_is_a_whole_one() {
        assert_eq!(millis(Some(Duration::from_micros(1))), Some(1));
        assert_eq!(millis(Some(Duration::from_millis(7))), Some(7));
        assert_eq!(millis(Some(Duration::MAX)), Some(u64::MAX));
    }
}

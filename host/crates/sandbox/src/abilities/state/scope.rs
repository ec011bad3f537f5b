//! The values of one scope: keys in order, and what ends when.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Refused, next};

/// The entries that one hold of the lock drops at the most for being over: others wait for it.
const DROPPED_AT_ONCE: usize = 64;

/// The table of one scope. An entry whose time is over may still be in it, and is as good as gone.
#[derive(Default)]
pub(super) struct Scope {
    entries: BTreeMap<Arc<str>, Slot>,
    /// The keys of entries that end, by when. Their version tells those apart that end at the same time.
    ends: BTreeMap<(Instant, u64), Arc<str>>,
    /// Of all keys and values.
    bytes: u64,
}

struct Slot {
    value: Bytes,
    version: u64,
    expires_at: Option<Instant>,
}

/// A value that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) value: Bytes,
    pub(crate) version: u64,
}

/// What a compare-and-swap came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Swap {
    /// The value was written; its version.
    Done(u64),
    /// Another value is there.
    Differs(Option<Found>),
}

/// Why nothing was added to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotCounted {
    /// It is no decimal number.
    NoNumber,
    /// The sum would not fit.
    Overflow,
}

/// What a write is done under.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) entries: usize,
    pub(super) bytes: u64,
    pub(super) version: &'a AtomicU64,
    pub(super) now: Instant,
    pub(super) expires_at: Option<Instant>,
}

impl Terms<'_> {
    /// The same with an end. A time beyond what the clock can say is no end.
    pub(super) fn until(self, expires_ms: Option<u64>) -> Self {
        let expires_at = expires_ms.and_then(|ms| self.now.checked_add(Duration::from_millis(ms)));
        Self { expires_at, ..self }
    }
}

impl Slot {
    fn lives(&self, now: Instant) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    fn found(&self) -> Found {
        Found {
            value: self.value.clone(),
            version: self.version,
        }
    }
}

impl Scope {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn get(&self, key: &str, now: Instant) -> Option<Found> {
        self.living(key, now).map(Slot::found)
    }

    pub(super) fn keys(&self, prefix: &str, limit: usize, now: Instant) -> Vec<Arc<str>> {
        self.entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, slot)| slot.lives(now))
            .map(|(key, _)| Arc::clone(key))
            .take(limit)
            .collect()
    }

    pub(super) fn delete(&mut self, key: &str, now: Instant) -> bool {
        self.remove(key).is_some_and(|slot| slot.lives(now))
    }

    pub(super) fn set(
        &mut self,
        key: &str,
        value: Vec<u8>,
        terms: Terms<'_>,
    ) -> Result<u64, Refused> {
        self.expire(terms.now);
        self.make_room(key, value.len(), &terms)?;
        let version = next(terms.version);
        let key = match self.entries.get_key_value(key) {
            Some((key, _)) => Arc::clone(key),
            None => Arc::from(key),
        };
        self.remove(&key);
        self.bytes += (key.len() + value.len()) as u64;
        if let Some(end) = terms.expires_at {
            self.ends.insert((end, version), Arc::clone(&key));
        }
        let slot = Slot {
            value: value.into(),
            version,
            expires_at: terms.expires_at,
        };
        self.entries.insert(key, slot);
        Ok(version)
    }

    pub(super) fn compare_and_swap(
        &mut self,
        key: &str,
        version: u64,
        value: Vec<u8>,
        terms: Terms<'_>,
    ) -> Result<Swap, Refused> {
        let there = self.living(key, terms.now);
        if there.map_or(0, |slot| slot.version) != version {
            return Ok(Swap::Differs(there.map(Slot::found)));
        }
        self.set(key, value, terms).map(Swap::Done)
    }

    /// Adds. The end of a value that is there stays: only the first addition sets it.
    pub(super) fn increment(
        &mut self,
        key: &str,
        by: i64,
        terms: Terms<'_>,
    ) -> Result<Result<i64, NotCounted>, Refused> {
        let (sum, expires_at) = match self.living(key, terms.now) {
            None => (Ok(by), terms.expires_at),
            Some(slot) => (plus(&slot.value, by), slot.expires_at),
        };
        let sum = match sum {
            Ok(sum) => sum,
            Err(refused) => return Ok(Err(refused)),
        };
        let terms = Terms {
            expires_at,
            ..terms
        };
        self.set(key, sum.to_string().into_bytes(), terms)?;
        Ok(Ok(sum))
    }

    /// Drops entries whose time is over. Says whether there may be more of them.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        (0..DROPPED_AT_ONCE).all(|_| self.drop_expired(now))
    }

    fn living(&self, key: &str, now: Instant) -> Option<&Slot> {
        self.entries.get(key).filter(|slot| slot.lives(now))
    }

    /// Sees to it that a value fits, in the place of what the key has. Gives up only what is over.
    fn make_room(&mut self, key: &str, value: usize, terms: &Terms<'_>) -> Result<(), Refused> {
        loop {
            let before = self.entries.get(key);
            let entries = self.entries.len() + usize::from(before.is_none());
            let freed = before.map_or(0, |slot| (key.len() + slot.value.len()) as u64);
            let bytes = self.bytes - freed + (key.len() + value) as u64;
            let refused = if entries > terms.entries {
                Refused::Entries
            } else if bytes > terms.bytes {
                Refused::Bytes
            } else {
                return Ok(());
            };
            if !self.drop_expired(terms.now) {
                return Err(refused);
            }
        }
    }

    fn drop_expired(&mut self, now: Instant) -> bool {
        let over = self
            .ends
            .first_key_value()
            .filter(|((end, _), _)| *end <= now);
        let Some((_, key)) = over else { return false };
        let key = Arc::clone(key);
        self.remove(&key);
        true
    }

    fn remove(&mut self, key: &str) -> Option<Slot> {
        let (key, slot) = self.entries.remove_entry(key)?;
        self.bytes -= (key.len() + slot.value.len()) as u64;
        if let Some(end) = slot.expires_at {
            self.ends.remove(&(end, slot.version));
        }
        Some(slot)
    }
}

fn plus(value: &[u8], by: i64) -> Result<i64, NotCounted> {
    let number: i64 = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(NotCounted::NoNumber)?;
    number.checked_add(by).ok_or(NotCounted::Overflow)
}

#[cfg(test)]
mod tests;

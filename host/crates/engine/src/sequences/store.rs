//! The memory of the sequences of one model.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::metrics::BoundUpDownCounter;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wharf_core::{Error, ErrorKind, Result, SequenceId, Tensor};

use crate::batching::Sweep;

/// Requests of one sequence that may wait for their turn.
const WAITING: u32 = 64;
/// The bytes that all states of a model may take.
const BYTES: u64 = 1 << 30;

/// A sequence, and whose it is.
pub(super) type Key = (Option<Arc<str>>, SequenceId);

pub(super) struct Store {
    idle: Duration,
    capacity: usize,
    inner: Mutex<Inner>,
    gauge: BoundUpDownCounter<i64>,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<Key, Entry>,
    /// Of all states.
    bytes: u64,
    /// Whether somebody is to look for those that rest too long.
    watched: bool,
}

struct Entry {
    /// One permit, given in the order of asking.
    turn: Arc<Semaphore>,
    /// Requests that run or wait for their turn.
    members: u32,
    last: Instant,
    /// None until the first request succeeded, and after the last.
    state: Option<Arc<[Tensor]>>,
}

impl Entry {
    fn rests_since(&self) -> Option<Instant> {
        (self.members == 0).then_some(self.last)
    }

    fn bytes(&self) -> u64 {
        self.state.as_deref().map_or(0, size)
    }
}

/// A request's place in its sequence. Where nothing is kept when the last is dropped, the sequence is gone.
pub(super) struct Member<'a> {
    store: &'a Store,
    key: Key,
    turn: Arc<Semaphore>,
}

impl Store {
    pub(super) fn new(idle: Duration, capacity: usize, gauge: BoundUpDownCounter<i64>) -> Self {
        Self {
            idle,
            capacity,
            inner: Mutex::default(),
            gauge,
        }
    }

    /// Lines a request up with those of its sequence.
    pub(super) fn join(&self, key: Key, start: bool, now: Instant) -> Result<Member<'_>> {
        let mut inner = self.inner.lock();
        let rested = inner.entries.get(&key).is_some_and(|entry| {
            entry
                .rests_since()
                .is_some_and(|since| now.saturating_duration_since(since) >= self.idle)
        });
        if rested {
            self.forget(&mut inner, &key);
        }
        if !inner.entries.contains_key(&key) {
            if !start {
                return Err(self.unknown());
            }
            if inner.entries.len() >= self.capacity {
                self.forget_rested(&mut inner, now);
            }
            if inner.entries.len() >= self.capacity {
                return Err(self.full(&inner, now));
            }
            inner.entries.insert(
                key.clone(),
                Entry {
                    turn: Arc::new(Semaphore::new(1)),
                    members: 0,
                    last: now,
                    state: None,
                },
            );
            self.gauge.add(1);
        }
        let entry = inner
            .entries
            .get_mut(&key)
            .expect("it was there, or has been put there");
        if entry.members > WAITING {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("{WAITING} requests of this sequence wait already; wait for their answers"),
            )
            .with_retry_after(Duration::from_secs(1)));
        }
        entry.members += 1;
        let turn = Arc::clone(&entry.turn);
        drop(inner);
        Ok(Member {
            store: self,
            key,
            turn,
        })
    }

    /// When somebody should look for what rests too long, where nobody is going to.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let mut inner = self.inner.lock();
        (!std::mem::replace(&mut inner.watched, true)).then(|| now + self.idle)
    }

    fn forget(&self, inner: &mut Inner, key: &Key) {
        if let Some(entry) = inner.entries.remove(key) {
            inner.bytes -= entry.bytes();
            self.gauge.add(-1);
        }
    }

    fn forget_rested(&self, inner: &mut Inner, now: Instant) {
        let rested: Vec<Key> = inner
            .entries
            .iter()
            .filter(|(_, entry)| {
                entry
                    .rests_since()
                    .is_some_and(|since| now.saturating_duration_since(since) >= self.idle)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in rested {
            self.forget(inner, &key);
        }
    }

    fn unknown(&self) -> Error {
        let message = format!(
            "the sequence has not begun, or was forgotten after {} ms without a request; send sequence_start",
            self.idle.as_millis()
        );
        Error::invalid("parameters.sequence_id", message)
    }

    fn full(&self, inner: &Inner, now: Instant) -> Error {
        // The first to be forgotten, if its client stays away.
        let first = inner.entries.values().filter_map(Entry::rests_since).min();
        let wait = first.map_or(self.idle, |since| {
            (since + self.idle).saturating_duration_since(now)
        });
        Error::new(
            ErrorKind::Unavailable,
            format!(
                "the model keeps {} sequences, which is all it may; end one with sequence_end",
                self.capacity
            ),
        )
        .with_retry_after(wait.max(Duration::from_secs(1)))
    }
}

impl Sweep for Store {
    fn sweep(&self, now: Instant) -> Option<Instant> {
        let mut inner = self.inner.lock();
        self.forget_rested(&mut inner, now);
        if inner.entries.is_empty() {
            inner.watched = false;
            return None;
        }
        let first = inner
            .entries
            .values()
            .map(|entry| entry.rests_since().unwrap_or(now))
            .min();
        // Not more often than it takes to see something: many may end one after another.
        first.map(|since| (since + self.idle).max(now + self.idle / 16))
    }
}

impl Member<'_> {
    /// Waits until those before have answered.
    pub(super) async fn turn(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.turn)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed")
    }

    /// What the request before left. For who has the turn.
    pub(super) fn state(&self) -> Result<Arc<[Tensor]>> {
        let inner = self.store.inner.lock();
        inner
            .entries
            .get(&self.key)
            .and_then(|entry| entry.state.clone())
            .ok_or_else(|| self.store.unknown())
    }

    /// Leaves this for the next request. For who has the turn.
    pub(super) fn keep(&self, state: Vec<Tensor>) -> Result<()> {
        let mut inner = self.store.inner.lock();
        let Inner { entries, bytes, .. } = &mut *inner;
        let entry = entries
            .get_mut(&self.key)
            .expect("a sequence stays as long as it has a member");
        let new = *bytes - entry.bytes() + size(&state);
        if new > BYTES {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the model's sequences take all the memory that they may; end some with sequence_end",
            )
            .with_retry_after(Duration::from_secs(1)));
        }
        *bytes = new;
        entry.state = Some(state.into());
        Ok(())
    }

    /// Ends the sequence. For who has the turn.
    pub(super) fn end(&self) {
        let mut inner = self.store.inner.lock();
        let Inner { entries, bytes, .. } = &mut *inner;
        if let Some(entry) = entries.get_mut(&self.key) {
            *bytes -= entry.bytes();
            entry.state = None;
        }
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        let mut inner = self.store.inner.lock();
        let Some(entry) = inner.entries.get_mut(&self.key) else {
            return;
        };
        entry.members -= 1;
        entry.last = Instant::now();
        if entry.members == 0 && entry.state.is_none() {
            self.store.forget(&mut inner, &self.key);
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let kept = self.inner.get_mut().entries.len();
        self.gauge.add(-i64::try_from(kept).unwrap_or(i64::MAX));
    }
}

fn size(state: &[Tensor]) -> u64 {
    state.iter().map(|tensor| tensor.data().len() as u64).sum()
}

#[cfg(test)]
mod tests;

//! The calls that wait to be written: bounded in number and in bytes, for each holds the data of a request.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

use super::Call;

/// The most calls that wait.
const CALLS: usize = 64;

/// The most that they hold together, in bytes. One that is larger waits alone.
const BYTES: u64 = 64 << 20;

/// There is no room for one more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The calls that wait.
pub(super) struct Queue<T = Call> {
    waiting: Mutex<Waiting<T>>,
    changed: Condvar,
}

struct Waiting<T> {
    calls: VecDeque<(T, u64)>,
    bytes: u64,
    closed: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                calls: VecDeque::new(),
                bytes: 0,
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }
}

impl<T> Queue<T> {
    /// Leaves a call that holds so many bytes.
    ///
    /// # Errors
    /// [`Full`] where there is no room, or nobody takes calls any more.
    pub(super) fn put(&self, call: T, bytes: u64) -> Result<(), Full> {
        let mut waiting = self.waiting.lock();
        let fits = waiting.calls.is_empty() || waiting.bytes.saturating_add(bytes) <= BYTES;
        if waiting.closed || !fits || waiting.calls.len() >= CALLS {
            return Err(Full);
        }
        waiting.bytes = waiting.bytes.saturating_add(bytes);
        waiting.calls.push_back((call, bytes));
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for a call. None once the queue is closed and empty.
    pub(super) fn take(&self) -> Option<T> {
        let mut waiting = self.waiting.lock();
        loop {
            if let Some((call, bytes)) = waiting.calls.pop_front() {
                waiting.bytes -= bytes;
                return Some(call);
            }
            if waiting.closed {
                return None;
            }
            self.changed.wait(&mut waiting);
        }
    }

    /// Takes no more calls; those that wait are still given out.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_in_calls_and_bytes() {
        let queue = Queue::default();
        for call in 0..CALLS {
            queue.put(call, 1).unwrap();
        }
        assert_eq!(queue.put(CALLS, 1), Err(Full));
        assert_eq!(queue.take(), Some(0));
        assert_eq!(queue.put(CALLS, BYTES), Err(Full));
        queue.put(CALLS, 1).unwrap();

        let queue = Queue::default();
        queue.put("large", BYTES + 1).unwrap();
        assert_eq!(queue.put("small", 1), Err(Full));
        assert_eq!(queue.take(), Some("large"));
        queue.put("small", 1).unwrap();
    }

    #[test]
    fn what_waits_when_it_closes_is_still_taken() {
        let queue = Queue::default();
        queue.put("one", 1).unwrap();
        queue.close();
        assert_eq!(queue.put("two", 1), Err(Full));
        assert_eq!((queue.take(), queue.take()), (Some("one"), None));
    }
}

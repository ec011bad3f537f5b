//! What a connection is waiting for, and since when.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::framing::Malformed;
use super::socket::Socket;
use crate::config::Limits;

/// The notes of a connection. Its stream and its requests write them, mostly on the connection's own task, so the atomics
/// order nothing.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Requests that were begun.
    requests: AtomicU64,
    in_flight: AtomicU32,
    /// The number of the request that is to be refused by what its header is made of, and the reason.
    malformed: AtomicU64,
    reason: AtomicU8,
    in_head: AtomicBool,
    /// Header blocks that took more than one read: tells one long wait from many short ones.
    heads: AtomicU64,
    write_stuck: AtomicBool,
    /// Writes that got stuck.
    writes: AtomicU64,
    /// The socket, once the protocol is done with it in the middle of a message.
    left: Mutex<Option<Socket>>,
    /// Whether the client had its time.
    abandoned: AtomicBool,
    /// Who is connected, as far as the network says.
    pub(crate) peer: Option<SocketAddr>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            requests: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            malformed: AtomicU64::new(u64::MAX),
            reason: AtomicU8::new(0),
            in_head: AtomicBool::new(false),
            heads: AtomicU64::new(0),
            write_stuck: AtomicBool::new(false),
            writes: AtomicU64::new(0),
            left: Mutex::new(None),
            abandoned: AtomicBool::new(false),
            peer: None,
        }
    }
}

impl Watch {
    /// The notes of a connection with this peer.
    pub(super) fn of(peer: SocketAddr) -> Self {
        Self {
            peer: Some(peer),
            ..Self::default()
        }
    }

    /// Notes that a request began; the guard notes its end.
    pub(crate) fn begin(&self) -> Begun<'_> {
        let number = self.enter();
        Begun {
            watch: self,
            malformed: self.malformed(number),
        }
    }

    /// Notes that a request began, and gives its number.
    pub(crate) fn enter(&self) -> u64 {
        self.in_flight.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed)
    }

    /// Notes that a request ended.
    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Says that the socket is to be closed at once.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Relaxed);
    }

    pub(super) fn leave_socket(&self, socket: Socket) {
        if self.abandoned.load(Relaxed) {
            return;
        }
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
    }

    pub(super) fn take_left(&self) -> Option<Socket> {
        self.left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    pub(super) fn set_malformed(&self, request: u64, malformed: Malformed) {
        // A connection reads and begins its requests in one task.
        self.reason.store(malformed as u8, Relaxed);
        self.malformed.store(request, Relaxed);
    }

    /// Why a request is to be refused.
    fn malformed(&self, request: u64) -> Option<Malformed> {
        if request != self.malformed.load(Relaxed) {
            return None;
        }
        let reason = self.reason.load(Relaxed);
        let mut reasons = [Malformed::Lengths, Malformed::Coding, Malformed::Host].into_iter();
        reasons.find(|known| *known as u8 == reason)
    }

    pub(super) fn set_in_head(&self, in_head: bool) {
        self.in_head.store(in_head, Relaxed);
        if in_head {
            self.heads.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn set_write_stuck(&self, stuck: bool) {
        self.write_stuck.store(stuck, Relaxed);
        if stuck {
            self.writes.fetch_add(1, Relaxed);
        }
    }
}

/// A request that is being worked on.
pub(crate) struct Begun<'a> {
    watch: &'a Watch,
    /// Why it is to be refused, by what its header is made of.
    pub(crate) malformed: Option<Malformed>,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.watch.leave();
    }
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    Idle,
    Header,
    Write,
    /// The client did not end the connection when it was asked to.
    Goodbye,
}

/// Looks at the notes, a few times in the shortest time that a connection may wait.
pub(super) struct Ticker {
    interval: Interval,
    period: Duration,
    header: Wait,
    write: Wait,
    idle: Wait,
    goodbye: Option<Instant>,
    header_timeout: Duration,
    write_timeout: Duration,
    idle_timeout: Duration,
}

/// How long one and the same thing has been waited for.
#[derive(Debug, Default)]
struct Wait {
    since: Option<(u64, Instant)>,
}

impl Wait {
    /// The time since the wait with this number was first seen.
    fn observe(&mut self, waiting: bool, number: u64, now: Instant) -> Duration {
        match self.since {
            Some((seen, since)) if waiting && seen == number => now - since,
            _ => {
                self.since = waiting.then_some((number, now));
                Duration::ZERO
            }
        }
    }
}

impl Ticker {
    pub(super) fn new(limits: &Limits) -> Self {
        let shortest = limits
            .header_timeout
            .min(limits.write_timeout)
            .min(limits.idle_timeout);
        let period = shortest / 10;
        let mut interval = tokio::time::interval_at(Instant::now() + period, period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            interval,
            period,
            header: Wait::default(),
            write: Wait::default(),
            idle: Wait::default(),
            goodbye: None,
            header_timeout: limits.header_timeout,
            write_timeout: limits.write_timeout,
            idle_timeout: limits.idle_timeout,
        }
    }

    pub(super) async fn tick(&mut self) {
        self.interval.tick().await;
    }

    /// Says what has been waited for too long. A wait began up to a period before it was first seen and is not seen again
    /// for another: both are taken off the limit, so that it is never exceeded.
    pub(super) fn look(&mut self, watch: &Watch) -> Option<Overdue> {
        let now = Instant::now();
        let slack = self.period * 2;
        let in_head = watch.in_head.load(Relaxed);
        if self.header.observe(in_head, watch.heads.load(Relaxed), now) + slack
            > self.header_timeout
        {
            return Some(Overdue::Header);
        }
        let stuck = watch.write_stuck.load(Relaxed);
        if self.write.observe(stuck, watch.writes.load(Relaxed), now) + slack > self.write_timeout {
            return Some(Overdue::Write);
        }
        let idle = watch.in_flight.load(Relaxed) == 0 && !in_head;
        let idle = self.idle.observe(idle, watch.requests.load(Relaxed), now);
        if idle + slack <= self.idle_timeout {
            self.goodbye = None;
            return None;
        }
        match self.goodbye {
            None => {
                self.goodbye = Some(now);
                Some(Overdue::Idle)
            }
            Some(since) => (now - since > self.header_timeout).then_some(Overdue::Goodbye),
        }
    }
}

#[cfg(test)]
mod tests;

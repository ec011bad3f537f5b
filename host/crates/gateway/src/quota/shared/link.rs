//! The connection to Redis as requests see it: there, or not there, and that is known at once.

use std::fmt::Display;
use std::io;
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::metrics::Metrics;

/// How often the log says that Redis refuses something.
const COMPLAINT: Duration = Duration::from_secs(1);

/// The connection that all requests of this process share.
pub(super) struct Link {
    state: watch::Sender<State>,
    /// What becomes of requests meanwhile, for the log.
    meanwhile: &'static str,
    /// When it was last said that Redis refuses something.
    complained: Mutex<Option<Instant>>,
    metrics: Metrics,
}

#[derive(Clone)]
enum State {
    /// Nobody knows yet.
    Starting,
    Up(Connection),
    /// The connection broke, and the next one is being made.
    Broken,
    Down,
}

/// What went wrong on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Redis refused this one thing. The connection is as good as before.
    Refused,
    /// The connection broke. The next one may be there at once.
    Broken,
    /// Redis does not answer, or says that it is of no use now.
    Down,
}

impl Fault {
    fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Io if error.is_timeout() => Self::Down,
            ErrorKind::Io => Self::Broken,
            // Of the server as a whole, and another one may be at its address by now.
            ErrorKind::Server(
                ServerErrorKind::ReadOnly
                | ServerErrorKind::MasterDown
                | ServerErrorKind::BusyLoading,
            ) => Self::Down,
            _ => Self::Refused,
        }
    }
}

/// Redis' answer, which is waited for so long.
pub(super) async fn in_time<T>(
    time: Duration,
    answer: impl Future<Output = RedisResult<T>>,
) -> RedisResult<T> {
    timeout(time, answer).await.unwrap_or_else(|_| {
        let silence = "there is no answer in time";
        Err(io::Error::new(io::ErrorKind::TimedOut, silence).into())
    })
}

/// A connection, and which one of all that there have been.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) redis: MultiplexedConnection,
    number: u64,
}

impl Link {
    pub(super) fn new(meanwhile: &'static str, metrics: Metrics) -> Self {
        metrics.redis_is_down();
        Self {
            state: watch::Sender::new(State::Starting),
            meanwhile,
            complained: Mutex::new(None),
            metrics,
        }
    }

    /// The connection; none while there is none. It is waited for only at the start and while a broken one is replaced, until it is known
    /// whether there is one.
    pub(super) async fn connection(&self, until: Instant) -> Option<Connection> {
        if let Some(known) = self.known() {
            return known;
        }
        let mut state = self.state.subscribe();
        let known = state.wait_for(|state| !matches!(state, State::Starting | State::Broken));
        // The guard of the state goes here: it must not be held by whoever waits.
        let in_time = timeout_at(until, known).await.is_ok();
        if in_time {
            self.known().flatten()
        } else {
            None
        }
    }

    fn known(&self) -> Option<Option<Connection>> {
        match &*self.state.borrow() {
            State::Starting | State::Broken => None,
            State::Up(connection) => Some(Some(connection.clone())),
            State::Down => Some(None),
        }
    }

    /// There is a connection.
    pub(super) fn is_up(&self, redis: MultiplexedConnection, number: u64) -> Connection {
        let connection = Connection { redis, number };
        let before = self.state.send_replace(State::Up(connection.clone()));
        self.metrics.redis_is_up();
        match before {
            State::Starting => tracing::info!("quotas are counted in redis"),
            State::Up(_) | State::Broken | State::Down => {
                tracing::info!("redis answers again; quotas are counted in it");
            }
        }
        connection
    }

    /// Something failed on a connection. What is said of one that has been replaced since changes nothing.
    pub(super) fn failed(&self, connection: &Connection, error: &RedisError) -> Fault {
        let is_this =
            |state: &State| matches!(state, State::Up(up) if up.number == connection.number);
        let fault = Fault::of(error);
        match fault {
            Fault::Refused => self.complain(error),
            Fault::Broken => {
                if self.change(is_this, State::Broken) {
                    tracing::warn!(%error, "the connection to redis broke; another one is made");
                }
            }
            Fault::Down => self.go_down(is_this, error),
        }
        fault
    }

    /// Says that Redis refused something: once in a while, for it may be every request of a tenant.
    fn complain(&self, error: &RedisError) {
        let now = Instant::now();
        let mut complained = self.complained.lock();
        if complained.is_none_or(|before| now - before >= COMPLAINT) {
            *complained = Some(now);
            tracing::error!(%error, "redis refuses to count for a quota; others are counted as before");
        }
    }

    /// There is none to be had.
    pub(super) fn is_missing(&self, error: &dyn Display) {
        self.go_down(|state| !matches!(state, State::Down), error);
    }

    fn go_down(&self, when: impl FnOnce(&State) -> bool, error: &dyn Display) {
        if self.change(when, State::Down) {
            self.metrics.redis_is_down();
            tracing::warn!(%error, "redis does not answer; until it does, {}", self.meanwhile);
        }
    }

    fn change(&self, when: impl FnOnce(&State) -> bool, to: State) -> bool {
        self.state.send_if_modified(|state| {
            let changes = when(state);
            if changes {
                *state = to;
            }
            changes
        })
    }

    /// Waits until a connection is not in use any more.
    pub(super) async fn lost(&self, connection: &Connection) {
        let mut state = self.state.subscribe();
        let other =
            |state: &State| !matches!(state, State::Up(up) if up.number == connection.number);
        // The sender is here: it does not go away.
        let _state = state.wait_for(other).await;
    }
}

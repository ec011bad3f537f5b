//! The connection to Redis as requests see it: there, or not there, and that is known at once.

use std::fmt::Display;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::sync::watch;
use tokio::time::timeout;

use super::super::metrics::Metrics;

/// The connection that all requests of this process share.
pub(super) struct Link {
    state: watch::Sender<State>,
    /// What becomes of requests meanwhile, for the log.
    meanwhile: &'static str,
    metrics: Metrics,
}

#[derive(Clone)]
enum State {
    /// Nobody knows yet.
    Starting,
    Up(Connection),
    Down,
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
            metrics,
        }
    }

    /// The connection; none while there is none. Only at the start it is waited for, until it is known whether there is one.
    pub(super) async fn connection(&self, patience: Duration) -> Option<Connection> {
        if let Some(known) = self.known() {
            return known;
        }
        let mut state = self.state.subscribe();
        let known = state.wait_for(|state| !matches!(state, State::Starting));
        // The guard of the state goes here: it must not be held by whoever waits.
        let in_time = timeout(patience, known).await.is_ok();
        if in_time {
            self.known().flatten()
        } else {
            None
        }
    }

    fn known(&self) -> Option<Option<Connection>> {
        match &*self.state.borrow() {
            State::Starting => None,
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
            State::Up(_) | State::Down => {
                tracing::info!("redis answers again; quotas are counted in it");
            }
        }
        connection
    }

    /// A connection failed. What is said of one that has been replaced since changes nothing.
    pub(super) fn failed(&self, connection: &Connection, error: &dyn Display) {
        let is_this =
            |state: &State| matches!(state, State::Up(up) if up.number == connection.number);
        self.go_down(is_this, error);
    }

    /// There is none to be had.
    pub(super) fn is_missing(&self, error: &dyn Display) {
        self.go_down(|state| !matches!(state, State::Down), error);
    }

    fn go_down(&self, when: impl FnOnce(&State) -> bool, error: &dyn Display) {
        let changed = self.state.send_if_modified(|state| {
            let changes = when(state);
            if changes {
                *state = State::Down;
            }
            changes
        });
        if changed {
            self.metrics.redis_is_down();
            tracing::warn!(%error, "redis does not answer; until it does, {}", self.meanwhile);
        }
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

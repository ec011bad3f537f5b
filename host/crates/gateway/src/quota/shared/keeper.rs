//! The task that owns the connection to Redis: it connects, notices when Redis does not answer, prolongs leases and runs errands.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisResult};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::super::metrics::Metrics;
use super::dial::Dial;
use super::errand::Errand;
use super::lease::Leases;
use super::link::{Connection, Fault, Link, in_time};
use super::script;

/// Redis is asked this often whether it is there: so it is known before a request has to find it out.
const PING: Duration = Duration::from_secs(1);
/// The pause before a connection is tried again for the second time, and the longest that it grows to. The first time there is none.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// A connection that lasted this long was a good one: the next is tried without a pause again.
const GOOD: Duration = Duration::from_secs(10);
/// The errands that go in one pipeline.
const BATCH: usize = 256;
/// The leases that one call prolongs.
const RENEWED: usize = 1000;

/// How long things take.
#[derive(Clone, Copy)]
pub(super) struct Times {
    /// For an answer.
    pub(super) timeout: Duration,
    /// Of a lease that is not prolonged.
    pub(super) lease: Duration,
}

pub(super) struct Keeper {
    pub(super) dial: Dial,
    pub(super) times: Times,
    pub(super) link: Arc<Link>,
    pub(super) leases: Arc<Leases>,
    pub(super) errands: mpsc::Receiver<Errand>,
    pub(super) stop: CancellationToken,
    pub(super) metrics: Metrics,
}

impl Keeper {
    /// Works until it is told to stop, and then gives back what is left.
    pub(super) async fn work(mut self) {
        let stop = self.stop.clone();
        let mut pause = Duration::ZERO;
        for number in 0.. {
            let connected = tokio::select! {
                connected = self.connect() => connected,
                () = stop.cancelled() => return,
            };
            match connected {
                Ok(redis) => {
                    let since = Instant::now();
                    let connection = self.link.is_up(redis, number);
                    self.serve(&connection).await;
                    if stop.is_cancelled() {
                        return;
                    }
                    if since.elapsed() >= GOOD {
                        pause = Duration::ZERO;
                    }
                }
                Err(error) => self.link.is_missing(&error),
            }
            if !pause.is_zero() {
                // No request waits for that.
                self.link.is_missing(&"its connections do not last");
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            pause = (2 * pause).clamp(PAUSES.0, PAUSES.1);
        }
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.times.timeout))
            // Whoever asks has a timeout.
            .set_response_timeout(None);
        let connecting = async {
            let mut redis = self.dial.connect(&config).await?;
            redis::cmd("PING").exec_async(&mut redis).await?;
            Ok(redis)
        };
        in_time(2 * self.times.timeout, connecting).await
    }

    /// Serves a connection until it fails, or until there is nothing to be done any more.
    async fn serve(&mut self, connection: &Connection) {
        let link = Arc::clone(&self.link);
        let stop = self.stop.clone();
        let mut lost = std::pin::pin!(link.lost(connection));
        let mut ticks = interval(PING.min(self.times.lease / 3));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = &mut lost => return,
                () = stop.cancelled() => break,
                // The first tick is at once: leases that Redis has lost are there again.
                _ = ticks.tick() => self.renew(connection).await,
                received = self.errands.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return;
                    }
                    self.run(connection, &mut batch).await;
                }
            }
        }
        self.errands.close();
        while self.errands.recv_many(&mut batch, BATCH).await > 0 {
            self.run(connection, &mut batch).await;
        }
    }

    /// Prolongs all leases; where there are none, only asks whether Redis is there.
    async fn renew(&self, connection: &Connection) {
        let mut pipeline = redis::pipe();
        pipeline.cmd("PING").ignore();
        for (set, names) in self.leases.by_set() {
            for names in names.chunks(RENEWED) {
                script::renew(&mut pipeline, &set, names, self.times.lease);
            }
        }
        if let Err(error) = self.send(connection, &pipeline).await {
            self.link.failed(connection, &error);
        }
    }

    async fn run(&self, connection: &Connection, errands: &mut Vec<Errand>) {
        let mut pipeline = redis::pipe();
        for errand in &*errands {
            errand.add_to(&mut pipeline);
        }
        if let Err(error) = self.send(connection, &pipeline).await {
            let dropped = match self.link.failed(connection, &error) {
                // The others were run.
                Fault::Refused => error.into_server_errors().map_or(1, |errors| errors.len()),
                Fault::Broken | Fault::Down => errands.len(),
            };
            for _ in 0..dropped {
                self.metrics.errand_dropped();
            }
        }
        errands.clear();
    }

    async fn send(&self, connection: &Connection, pipeline: &Pipeline) -> RedisResult<()> {
        let mut redis = connection.redis.clone();
        in_time(self.times.timeout, pipeline.exec_async(&mut redis)).await
    }
}

//! An upstream as requests see it: its endpoints with all that decides which of them is asked, and whether any is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use wharf_core::{Error, ErrorKind, ModelLoad, Name};

use crate::breaker::{Breaker, Leave, Turn};
use crate::budget::RetryBudget;
use crate::connection::{Connections, Lanes, Secured};
use crate::endpoint::{Endpoint, Endpoints};
use crate::fault::Fault;
use crate::metrics::{Gauges, Instruments, UpstreamMetrics};
use crate::settings::Settings;

/// When a client that came to a full upstream may come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What requests to an upstream share.
pub(crate) struct Peer {
    pub(crate) settings: Settings,
    pub(crate) connections: Connections,
    pub(crate) endpoints: Endpoints,
    pub(crate) budget: RetryBudget,
    pub(crate) metrics: UpstreamMetrics,
    breaker: Arc<Breaker>,
    in_flight: AtomicU32,
    /// The moving average of the time of an attempt that ended well, in nanoseconds.
    latency: AtomicU64,
}

/// A request's place among those under way.
pub(crate) struct UnderWay(Arc<Peer>);

impl Peer {
    pub(crate) fn new(
        settings: Settings,
        tls: Option<Secured>,
        instruments: &Instruments,
    ) -> Arc<Self> {
        let endpoint = |address| {
            let metrics = instruments.of_endpoint(&settings.name, address);
            let lanes = Lanes::new(&settings);
            Arc::new(Endpoint::new(address.clone(), metrics, lanes))
        };
        let endpoints = settings.addresses.iter().map(endpoint).collect();
        let peer = Arc::new(Self {
            connections: Connections::new(&settings, tls),
            endpoints: Endpoints::new(endpoints, settings.ejection),
            budget: RetryBudget::new(settings.retry_budget),
            metrics: instruments.of_upstream(&settings.name),
            breaker: Arc::new(Breaker::new(settings.breaker)),
            in_flight: AtomicU32::new(0),
            latency: AtomicU64::new(0),
            settings,
        });
        let gauges: Arc<dyn Gauges> = Arc::<Self>::clone(&peer);
        instruments.watch(Arc::downgrade(&gauges));
        peer
    }

    /// Takes a place, or says at once that there is none: waiting here would be another queue.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<UnderWay, Error> {
        let most = self.settings.max_in_flight;
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= most {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            return Err(full());
        }
        Ok(UnderWay(Arc::clone(self)))
    }

    /// Asks the breaker.
    pub(crate) fn leave(&self) -> Result<Leave, Error> {
        self.breaker.enter().map_err(|wait| {
            self.metrics.refused.add(1);
            rests(wait)
        })
    }

    /// Says early what [`Peer::begin`] and [`Peer::leave`] would say now.
    pub(crate) fn check_room(&self) -> Result<(), Error> {
        if self.in_flight.load(Ordering::Relaxed) >= self.settings.max_in_flight {
            return Err(full());
        }
        match self.breaker.wait() {
            Some(wait) => Err(rests(wait)),
            None => Ok(()),
        }
    }

    /// Notes how a request ended.
    pub(crate) fn ended(&self, leave: Leave, fault: Option<&Fault>) {
        let counts_unavailable = self.settings.ejection.counts_unavailable;
        let turn = match fault {
            None | Some(Fault::Refused { .. }) => leave.succeeded(),
            Some(fault) if fault.is_the_endpoints(counts_unavailable) => leave.failed(),
            // It says nothing of the upstream.
            Some(_) => return,
        };
        let upstream = &self.settings.name;
        match turn {
            Turn::None => {}
            Turn::Opened => {
                self.metrics.opened.add(1);
                tracing::warn!(%upstream, "requests to the upstream keep failing; it is asked nothing for a while");
            }
            Turn::Closed => {
                self.metrics.closed.add(1);
                tracing::info!(%upstream, "the upstream answers again");
            }
        }
    }

    /// Notes that an endpoint failed.
    pub(crate) fn endpoint_failed(&self, endpoint: &Endpoint) {
        if self.endpoints.failed(endpoint) {
            endpoint.metrics.ejections.add(1);
            let (upstream, endpoint) = (&self.settings.name, endpoint.address.authority());
            tracing::warn!(%upstream, %endpoint, "an endpoint keeps failing; it is asked nothing for a while");
        }
    }

    /// Notes how long an attempt took that ended well.
    pub(crate) fn took(&self, time: Duration) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
        // Two at once may lose one of them: it is an average.
        let before = self.latency.load(Ordering::Relaxed);
        let now = match before {
            0 => time,
            before => before - before / 8 + time / 8,
        };
        self.latency.store(now, Ordering::Relaxed);
    }

    /// How it does at this moment.
    pub(crate) fn load(&self) -> ModelLoad {
        ModelLoad {
            queue_depth: 0,
            in_flight: self.in_flight.load(Ordering::Relaxed),
            latency: Duration::from_nanos(self.latency.load(Ordering::Relaxed)),
            free_memory: None,
            rests: self.breaker.wait().is_some() || self.endpoints.are_all_out(),
        }
    }
}

impl Gauges for Peer {
    fn name(&self) -> &Name {
        &self.settings.name
    }

    fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed).into()
    }

    fn endpoints_out(&self) -> u64 {
        self.endpoints.out() as u64
    }

    fn breaker_open(&self) -> u64 {
        self.breaker.is_open().into()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn full() -> Error {
    let message = "the upstream has as many requests as it is sent at once; try again later";
    Error::new(ErrorKind::Unavailable, message).with_retry_after(RETRY_AFTER)
}

/// What a request gets while none is sent.
pub(crate) fn rests(wait: Duration) -> Error {
    let message = "the upstream fails, and is asked nothing for a while; try again later";
    Error::new(ErrorKind::Unavailable, message).with_retry_after(wait)
}

//! The endpoints of an upstream, and the choice among them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::connection::{Lane, Lanes};
use crate::health::{Health, Verdict};
use crate::metrics::EndpointMetrics;
use crate::settings::{Address, Ejection};

/// A server that has what the upstream stands for.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    pub(crate) metrics: EndpointMetrics,
    lanes: Arc<Lanes>,
    in_flight: AtomicU32,
    health: Mutex<Health>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Endpoints {
    all: Vec<Arc<Endpoint>>,
    policy: Ejection,
}

/// A request to an endpoint, while it is under way.
#[derive(Debug)]
pub(crate) struct Visit {
    endpoint: Arc<Endpoint>,
    lane: Option<Lane>,
}

impl Endpoint {
    pub(crate) fn new(address: Address, metrics: EndpointMetrics, lanes: Arc<Lanes>) -> Self {
        Self {
            address,
            metrics,
            lanes,
            in_flight: AtomicU32::new(0),
            health: Mutex::default(),
        }
    }

    fn is_out(&self, now: Instant) -> Option<Instant> {
        self.health.lock().out_until(now)
    }

    /// It answered.
    pub(crate) fn succeeded(&self) {
        self.health.lock().succeeded();
    }
}

impl Endpoints {
    pub(crate) fn new(all: Vec<Arc<Endpoint>>, policy: Ejection) -> Self {
        Self { all, policy }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.all.iter()
    }

    /// Chooses an endpoint: of two that are drawn by lot the one with less to do. That is nearly as good as looking at all of
    /// them, and does not send everybody to the one that just became idle. One that was tried is chosen only where there is no
    /// other.
    ///
    /// # Errors
    /// When the first of them comes back, where all are out.
    pub(crate) fn choose(&self, tried: &[Arc<Endpoint>]) -> Result<Visit, Instant> {
        let now = Instant::now();
        let (mut fresh, mut again) = (Vec::new(), Vec::new());
        let mut back: Option<Instant> = None;
        for endpoint in &self.all {
            match endpoint.is_out(now) {
                Some(until) => back = Some(back.map_or(until, |back| back.min(until))),
                None if tried.iter().any(|it| Arc::ptr_eq(it, endpoint)) => again.push(endpoint),
                None => fresh.push(endpoint),
            }
        }
        let mut there = if fresh.is_empty() { again } else { fresh };
        let mut draw =
            || (!there.is_empty()).then(|| there.swap_remove(fastrand::usize(..there.len())));
        let chosen = match (draw(), draw()) {
            (Some(a), Some(b)) if b.in_flight() < a.in_flight() => b,
            (Some(a), _) => a,
            (None, _) => return Err(back.unwrap_or(now)),
        };
        chosen.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Visit {
            endpoint: Arc::clone(chosen),
            lane: chosen.lanes.enter(),
        })
    }

    /// Notes that an endpoint failed, and takes it out where that is due. Says whether it did.
    pub(crate) fn failed(&self, endpoint: &Endpoint) -> bool {
        let now = Instant::now();
        if endpoint.health.lock().failed(&self.policy, now) == Verdict::Stays {
            return false;
        }
        let out = self.out();
        let most = (self.all.len() as f64 * self.policy.max_fraction).floor() as usize;
        if out >= most {
            return false;
        }
        endpoint.health.lock().eject(&self.policy, now);
        true
    }

    /// How many are out.
    pub(crate) fn out(&self) -> usize {
        let now = Instant::now();
        self.iter().filter(|it| it.is_out(now).is_some()).count()
    }

    /// Whether there is none to choose.
    pub(crate) fn are_all_out(&self) -> bool {
        let now = Instant::now();
        self.iter().all(|it| it.is_out(now).is_some())
    }
}

impl Endpoint {
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl Visit {
    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Where the request goes; none where all connections have as many as they may.
    pub(crate) fn lane(&self) -> Option<&Lane> {
        self.lane.as_ref()
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settings::Protocol;

    fn endpoints(count: usize, max_fraction: f64) -> Endpoints {
        let endpoint = |index| {
            let address = Address::parse(&format!("http://peer{index}"), Protocol::OipHttp);
            let lanes = Lanes::of(u32::MAX, 1);
            Arc::new(Endpoint::new(
                address.unwrap(),
                EndpointMetrics::default(),
                lanes,
            ))
        };
        let policy = Ejection {
            after: 1,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(1),
            max_fraction,
            counts_unavailable: false,
        };
        Endpoints::new((0..count).map(endpoint).collect(), policy)
    }

    #[tokio::test(start_paused = true)]
    async fn the_busier_of_two_is_not_chosen() {
        let endpoints = endpoints(2, 0.5);
        let visits: Vec<_> = (0..10).map(|_| endpoints.choose(&[]).unwrap()).collect();
        assert!(endpoints.iter().all(|endpoint| endpoint.in_flight() == 5));
        drop(visits);
        assert!(endpoints.iter().all(|endpoint| endpoint.in_flight() == 0));
    }

    #[tokio::test(start_paused = true)]
    async fn another_one_is_tried_while_there_is_one() {
        let endpoints = endpoints(2, 0.5);
        let first = Arc::clone(endpoints.choose(&[]).unwrap().endpoint());
        for _ in 0..10 {
            let second = endpoints.choose(std::slice::from_ref(&first)).unwrap();
            assert!(!Arc::ptr_eq(second.endpoint(), &first));
        }
        let all: Vec<_> = endpoints.iter().cloned().collect();
        assert!(endpoints.choose(&all).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_out_are_left_alone_and_come_back() {
        let half = endpoints(3, 0.5);
        let failed: Vec<_> = half.iter().map(|it| half.failed(it)).collect();
        assert_eq!(failed, [true, false, false]);
        for _ in 0..10 {
            let visit = half.choose(&[]).unwrap();
            assert_ne!(&**visit.endpoint().address.authority(), "peer0:80");
        }
        assert!(!half.are_all_out());
        let whole = endpoints(2, 1.0);
        assert!(whole.iter().all(|it| whole.failed(it)));
        assert!(whole.are_all_out());
        let back = whole.choose(&[]).unwrap_err();
        assert_eq!(back - Instant::now(), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(whole.choose(&[]).is_ok());
        assert_eq!((whole.out(), whole.are_all_out()), (0, false));
    }
}

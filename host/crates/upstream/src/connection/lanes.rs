//! How requests share the connections to an endpoint. Over HTTP/2 many go over one: what is more than the peer takes would wait
//! unseen, so that there is another connection in time.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::settings::{Protocol, Settings};

/// The requests that a connection of HTTP/2 has at once: servers take a hundred and more.
const MOST_REQUESTS: u32 = 100;

/// The lanes to an endpoint: a connection each over HTTP/2. Over HTTP/1.1 there is one, since each request has a connection of
/// its own there.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// The requests in each.
    requests: Mutex<Vec<u32>>,
    most_requests: u32,
    most_lanes: usize,
}

/// A request's place in a lane.
#[derive(Debug)]
pub(crate) struct Lane {
    lanes: Arc<Lanes>,
    index: usize,
}

impl Lanes {
    pub(crate) fn new(settings: &Settings) -> Arc<Self> {
        match settings.protocol {
            Protocol::OipGrpc => Self::of(MOST_REQUESTS, settings.max_connections),
            Protocol::OipHttp | Protocol::Http => Self::of(u32::MAX, 1),
        }
    }

    pub(crate) fn of(most_requests: u32, most_lanes: usize) -> Arc<Self> {
        Arc::new(Self {
            requests: Mutex::default(),
            most_requests,
            most_lanes,
        })
    }

    /// Takes a place in the first lane that has one, so that the last ones become idle; none where all are full.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Lane> {
        let mut requests = self.requests.lock();
        let free = requests.iter().position(|it| *it < self.most_requests);
        let index = free.unwrap_or(requests.len());
        if index == requests.len() {
            if index >= self.most_lanes {
                return None;
            }
            requests.push(0);
        }
        requests[index] += 1;
        Some(Lane {
            lanes: Arc::clone(self),
            index,
        })
    }
}

impl Lane {
    pub(crate) fn index(&self) -> usize {
        self.index
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.lanes.requests.lock()[self.index] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_opened_where_the_others_are_full() {
        let lanes = Lanes::of(2, 2);
        let taken: Vec<_> = (0..4).map(|_| lanes.enter().unwrap()).collect();
        let indices: Vec<_> = taken.iter().map(Lane::index).collect();
        assert_eq!(indices, [0, 0, 1, 1]);
        assert!(lanes.enter().is_none());
        drop(taken);
        assert_eq!(lanes.enter().unwrap().index(), 0);
    }
}

//! A line of the queue: the requests of one level, in the order in which they are served.
//!
//! That is the order of arrival as long as all are of one tenant. Where several have requests in the line, each gets the same share of
//! the rows, whoever sends more: a request begins in virtual time where the one before of its tenant ends, and no sooner than the end of
//! what was served last; it lasts as many units as it takes of a run; and what ends first is served first (self-clocked fair queueing).
//! Those are the shares of deficit round robin. Unlike rounds over a list of tenants, this leaves one ordered line, of which a batch may
//! take what fits, and a small request does not wait for a turn behind large ones.
//!
//! Requests without a tenant are those of one more.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::Job;

/// Where a request stands in its line. No two are equal: that is the id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::batching) struct Spot {
    /// When it ends, in virtual time.
    end: u64,
    /// In the order of arrival.
    id: u64,
}

/// Whose request it is.
pub(in crate::batching) type Tenant = Option<Arc<str>>;

impl Spot {
    /// That of a request which is in no line yet.
    pub(super) fn arriving(id: u64) -> Self {
        Self { end: 0, id }
    }
}

#[derive(Default)]
pub(super) struct Line {
    /// Ascending by their spots.
    jobs: VecDeque<Job>,
    /// By tenant. Empty as long as all requests in the line are of one: then nothing here costs anything.
    flows: HashMap<Tenant, Flow>,
    /// The end of what was served last.
    now: u64,
}

/// What is known of a tenant whose requests meet those of others.
#[derive(Default)]
struct Flow {
    /// When its last request ends, in virtual time.
    end: u64,
    /// What waits of it.
    units: u64,
}

impl Line {
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn get(&self, index: usize) -> &Job {
        &self.jobs[index]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter()
    }

    /// When the request came that has waited longest.
    pub(super) fn oldest(&self) -> Option<Instant> {
        if self.flows.is_empty() {
            return self.jobs.front().map(|job| job.enqueued);
        }
        self.jobs.iter().map(|job| job.enqueued).min()
    }

    /// Gives a request its place, and says which.
    pub(super) fn push(&mut self, mut job: Job) -> Spot {
        job.spot.end = match self.jobs.back() {
            None => self.now.saturating_add(job.units),
            Some(last) if self.flows.is_empty() && last.tenant == job.tenant => {
                last.spot.end.saturating_add(job.units)
            }
            Some(_) => {
                self.tell_tenants_apart();
                let now = self.now;
                let flow = self.flows.entry(job.tenant.clone()).or_default();
                flow.end = flow.end.max(now).saturating_add(job.units);
                flow.units += job.units;
                flow.end
            }
        };
        let spot = job.spot;
        let index = self.jobs.partition_point(|other| other.spot < spot);
        self.jobs.insert(index, job);
        spot
    }

    /// From now on, flows are kept.
    fn tell_tenants_apart(&mut self) {
        if let (true, Some(last)) = (self.flows.is_empty(), self.jobs.back()) {
            let flow = Flow {
                end: last.spot.end,
                units: self.jobs.iter().map(|job| job.units).sum(),
            };
            self.flows.insert(last.tenant.clone(), flow);
        }
        // Those go who have nothing in the line and are not ahead of it: they would start like strangers.
        if self.flows.len() > 2 * self.jobs.len() + 8 {
            let now = self.now;
            self.flows
                .retain(|_, flow| flow.units > 0 || flow.end > now);
        }
    }

    /// Where a request is.
    pub(super) fn find(&self, spot: Spot) -> Option<usize> {
        self.jobs.binary_search_by_key(&spot, |job| job.spot).ok()
    }

    /// Takes a request out that is served.
    pub(super) fn serve(&mut self, index: usize) -> Option<Job> {
        self.now = self.now.max(self.jobs.get(index)?.spot.end);
        self.take(index, |_, _| {})
    }

    /// Takes a request out that is not served. Was it the last of its tenant, the next one takes its place.
    pub(super) fn give_up(&mut self, index: usize) -> Option<Job> {
        self.take(index, |flow, job| {
            if flow.end == job.spot.end {
                flow.end = flow.end.saturating_sub(job.units);
            }
        })
    }

    fn take(&mut self, index: usize, change: impl FnOnce(&mut Flow, &Job)) -> Option<Job> {
        let job = self.jobs.remove(index)?;
        if self.jobs.is_empty() {
            // Nobody waits: all begin anew.
            self.flows.clear();
            self.now = 0;
        } else if let Some(flow) = self.flows.get_mut(&job.tenant) {
            flow.units = flow.units.saturating_sub(job.units);
            change(flow, &job);
        }
        Some(job)
    }

    /// The oldest request of the tenant that has most in the line.
    pub(super) fn oldest_of_most(&self) -> Option<usize> {
        match self.most() {
            None if self.is_empty() => None,
            None => Some(0),
            Some((tenant, _)) => self.jobs.iter().position(|job| job.tenant == *tenant),
        }
    }

    /// The newest request of the tenant that has most in the line, where that is more than the one that asks would have with so many units
    /// more.
    pub(super) fn newest_of_more(&self, tenant: &Tenant, units: u64) -> Option<usize> {
        let (most, held) = if self.flows.is_empty() {
            let last = self.jobs.back()?;
            // Who asks for more of what is all its own is refused itself.
            if last.tenant == *tenant {
                return None;
            }
            let held = self.jobs.iter().map(|job| job.units).sum();
            (&last.tenant, held)
        } else {
            self.most()?
        };
        let own = self.flows.get(tenant).map_or(0, |flow| flow.units);
        if held <= own.saturating_add(units) {
            return None;
        }
        self.jobs.iter().rposition(|job| job.tenant == *most)
    }

    /// The tenant that has most in the line, where there are several.
    fn most(&self) -> Option<(&Tenant, u64)> {
        let flows = self.flows.iter().map(|(tenant, flow)| (tenant, flow.units));
        flows.max_by_key(|(_, units)| *units)
    }
}

#[cfg(test)]
impl Line {
    /// The tenants that are told apart.
    pub(super) fn flows(&self) -> usize {
        self.flows.len()
    }
}

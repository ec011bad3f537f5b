//! The line of the queue: its requests, in the order in which they are served.
//!
//! As long as all are of one tenant, the higher levels of priority come first, and each is in the order of arrival. Where several tenants
//! have requests in the line, each gets the same share of the rows, whoever sends more: a request begins in virtual time where the one
//! before of its tenant ends, and no sooner than the end of what was served last; it lasts as many units as it takes of a run; and what
//! ends first is served first (self-clocked fair queueing). Those are the shares of deficit round robin. Unlike rounds over a list of
//! tenants, this leaves one ordered line, of which a batch may take what fits, and a small request does not wait for a turn behind large
//! ones. Levels then order the requests of each tenant: one of a higher level begins where the first below it would have, and those move
//! back. So they change nothing of what other tenants get.
//!
//! Requests without a tenant are those of one more.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::Job;

/// Whose request it is.
pub(in crate::batching) type Tenant = Option<Arc<str>>;

#[derive(Default)]
pub(super) struct Line {
    /// In the order in which they are served.
    jobs: VecDeque<Job>,
    /// By tenant. Empty as long as all requests in the line are of one: then nothing here costs anything, and their ends are not known.
    flows: HashMap<Tenant, Flow>,
    /// The end of what was served last, where tenants are told apart.
    now: u64,
}

/// What is known of a tenant whose requests meet those of others.
#[derive(Default)]
struct Flow {
    /// When its last request ends, in virtual time.
    end: u64,
    /// Those that wait, and their units.
    requests: usize,
    units: u64,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn first(&self) -> Option<&Job> {
        self.jobs.front()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter()
    }

    /// When the request came that has waited longest.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.jobs.iter().map(|job| job.enqueued).min()
    }

    /// Says whether a tenant has a request in the line.
    pub(super) fn has_any_of(&self, tenant: &Tenant) -> bool {
        match self.jobs.back() {
            Some(last) if self.flows.is_empty() => last.tenant == *tenant,
            _ => self.flows.get(tenant).is_some_and(|flow| flow.requests > 0),
        }
    }

    /// Gives a request its place.
    pub(super) fn push(&mut self, mut job: Job) {
        if self.flows.is_empty() && (self.is_empty() || self.has_any_of(&job.tenant)) {
            let index = self.jobs.partition_point(|other| other.level <= job.level);
            self.jobs.insert(index, job);
            return;
        }
        self.tell_tenants_apart();
        let end = self.begin_of(&job.tenant).saturating_add(job.units);
        let flow = self.flows.entry(job.tenant.clone()).or_default();
        flow.end = end;
        flow.requests += 1;
        flow.units += job.units;
        job.end = self.pass_lower(&job).unwrap_or(end);
        let index = self.jobs.partition_point(|other| other.spot() < job.spot());
        self.jobs.insert(index, job);
    }

    /// Where the next request of a tenant begins, in virtual time.
    fn begin_of(&self, tenant: &Tenant) -> u64 {
        self.flows
            .get(tenant)
            .map_or(self.now, |flow| flow.end.max(self.now))
    }

    /// Moves what is of the tenant of a request and of a lower level behind it, and says where the request ends then.
    fn pass_lower(&mut self, job: &Job) -> Option<u64> {
        let lower = self
            .jobs
            .iter_mut()
            .filter(|other| other.tenant == job.tenant && other.level > job.level);
        let mut end = None;
        for other in lower {
            end.get_or_insert((other.end + job.units).saturating_sub(other.units));
            other.end = other.end.saturating_add(job.units);
        }
        if end.is_some() {
            self.sort();
        }
        end
    }

    /// Orders the line again where ends have changed.
    fn sort(&mut self) {
        self.jobs
            .make_contiguous()
            .sort_unstable_by_key(|job| job.spot());
    }

    /// From now on, flows are kept.
    fn tell_tenants_apart(&mut self) {
        if let (true, Some(last)) = (self.flows.is_empty(), self.jobs.back()) {
            let tenant = last.tenant.clone();
            let mut flow = Flow {
                end: self.now,
                ..Flow::default()
            };
            for job in &mut self.jobs {
                flow.end += job.units;
                flow.requests += 1;
                flow.units += job.units;
                job.end = flow.end;
            }
            self.flows.insert(tenant, flow);
        }
        // Those go who have nothing in the line and are not ahead of it: they would start like strangers.
        if self.flows.len() > 2 * self.jobs.len() + 8 {
            let now = self.now;
            self.flows
                .retain(|_, flow| flow.requests > 0 || flow.end > now);
        }
    }

    /// Where a request is.
    pub(super) fn find(&self, id: u64) -> Option<usize> {
        self.jobs.iter().position(|job| job.id == id)
    }

    /// Takes a request out that is served.
    pub(super) fn serve(&mut self, index: usize) -> Option<Job> {
        self.now = self.now.max(self.jobs.get(index)?.end);
        self.take(index)
    }

    /// Takes a request out that is not served. Those behind it of its tenant move up.
    pub(super) fn give_up(&mut self, index: usize) -> Option<Job> {
        let job = self.take(index)?;
        if let Some(flow) = self.flows.get_mut(&job.tenant) {
            flow.end = flow.end.saturating_sub(job.units);
            let mut moved = false;
            for other in self.jobs.range_mut(index..) {
                if other.tenant == job.tenant {
                    other.end = other.end.saturating_sub(job.units);
                    moved = true;
                }
            }
            if moved {
                self.sort();
            }
        }
        Some(job)
    }

    fn take(&mut self, index: usize) -> Option<Job> {
        let job = self.jobs.remove(index)?;
        if self.jobs.is_empty() {
            // Nobody waits: all begin anew.
            self.flows.clear();
            self.now = 0;
        } else if let Some(flow) = self.flows.get_mut(&job.tenant) {
            flow.requests = flow.requests.saturating_sub(1);
            flow.units = flow.units.saturating_sub(job.units);
        }
        Some(job)
    }

    /// The oldest request of the lowest level, of the tenant that has most in the line. Where tenants are told apart, each keeps one.
    pub(super) fn oldest_of_most(&self) -> Option<usize> {
        let flows = self.flows.iter().filter(|(_, flow)| flow.requests > 1);
        let most = flows.max_by_key(|(_, flow)| flow.units);
        if most.is_none() && !self.flows.is_empty() {
            return None;
        }
        let own = || {
            let jobs = self.jobs.iter().enumerate();
            jobs.filter(|(_, job)| most.is_none_or(|(tenant, _)| job.tenant == *tenant))
        };
        let lowest = own().next_back()?.1.level;
        own()
            .find(|(_, job)| job.level == lowest)
            .map(|(index, _)| index)
    }

    /// The last request that would be served after one of so many units that came of this tenant, where it is another's and not all that the
    /// other has in the line.
    pub(super) fn last_after(&mut self, tenant: &Tenant, units: u64) -> Option<usize> {
        // Who asks for more of what is all its own is refused itself.
        if self.jobs.back()?.tenant == *tenant {
            return None;
        }
        self.tell_tenants_apart();
        let end = self.begin_of(tenant).saturating_add(units);
        let may_leave = |job: &Job| {
            let flow = self.flows.get(&job.tenant);
            job.tenant != *tenant && flow.is_some_and(|flow| flow.requests > 1)
        };
        let last = self.jobs.iter().rposition(may_leave)?;
        (self.jobs[last].end > end).then_some(last)
    }
}

#[cfg(test)]
impl Line {
    /// The tenants that are told apart.
    pub(super) fn flows(&self) -> usize {
        self.flows.len()
    }
}

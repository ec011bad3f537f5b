//! The work of a pool's thread: drops used instances, makes new ones, gives idle ones up, and goes over to better code.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use wasmtime::PoolConcurrencyLimitError;

use super::fresh::FreshShelf;
use super::kept::KeptShelf;
use super::{Instances, Shelf};
use crate::fault::refusal;
use crate::instance::{GuestInstance, StartError};
use crate::metrics::DraftEnd;

/// How often the thread looks around when nobody wakes it.
const ROUND: Duration = Duration::from_millis(500);

impl Instances {
    /// Works until the pool is given up.
    pub(super) fn tend(&self, runtime: &Runtime) {
        while !self.is_over() {
            self.drop_used();
            self.go_over(runtime);
            match &self.shelf {
                // One at a time: used instances hold the memory that the next ones need, and requests that take them as fast as they
                // are made are not to keep better code waiting.
                Shelf::Fresh(shelf) if self.add_fresh(shelf, runtime) => continue,
                Shelf::Fresh(shelf) => shelf.shrink_when_idle(),
                Shelf::Kept(shelf) => shelf.expire(Instant::now()),
            }
            std::thread::park_timeout(ROUND);
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn drop_used(&self) {
        while let Some(instance) = self.used.pop() {
            drop(instance);
        }
    }

    /// Makes an instance ahead of time, where more are to stand ready. Gives whether it did.
    fn add_fresh(&self, shelf: &FreshShelf, runtime: &Runtime) -> bool {
        shelf.wants_more() && self.make(runtime).is_some_and(|new| shelf.put(new))
    }

    fn make(&self, runtime: &Runtime) -> Option<Box<GuestInstance>> {
        match runtime.block_on(self.factory.load_full().start()) {
            Ok(instance) => Some(instance),
            Err(error) => {
                // The requests that then make an instance of their own report it.
                let (plugin, error) = (&self.plugin.name, self.shown(error));
                tracing::debug!(%plugin, %error, "cannot make a plugin instance ahead of time");
                None
            }
        }
    }

    /// Tries out what was offered, and makes new instances of it from then on. Instances in use are none of its business: who has
    /// one gives it back to be dropped.
    fn go_over(&self, runtime: &Runtime) {
        let Some(offered) = self.offered.lock().take() else {
            return;
        };
        let (plugin, digest) = (&self.plugin.name, &self.plugin.digest);
        match runtime.block_on(offered.try_out()) {
            Ok(()) => {}
            Err(StartError::Fault(error, _))
                if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() =>
            {
                // There is no room for one more instance just now.
                self.offered.lock().get_or_insert(offered);
                return;
            }
            Err(error) => {
                let error = self.shown(error);
                tracing::error!(
                    %plugin, %digest, %error,
                    "the optimised code of a plugin fails where the draft of it did not; the draft serves on"
                );
                self.metrics.drafts.ended(DraftEnd::Kept);
                return;
            }
        }
        // The shelf first: what is made of the better code from here on is to find its place there.
        if let Shelf::Kept(shelf) = &self.shelf {
            shelf.go_over(offered.tier);
        }
        self.factory.store(Arc::new(offered));
        match &self.shelf {
            Shelf::Fresh(shelf) => self.renew_fresh(shelf, runtime),
            Shelf::Kept(shelf) => self.renew_kept(shelf, runtime),
        }
        self.metrics.drafts.ended(DraftEnd::Replaced);
        tracing::debug!(%plugin, %digest, "the plugin has gone over from its draft to optimised code");
    }

    /// Replaces what stands ready, one by one: requests find instances all the while.
    fn renew_fresh(&self, shelf: &FreshShelf, runtime: &Runtime) {
        // Only this thread puts instances there, and the oldest is always taken first: so many are of the draft at most.
        for _ in 0..shelf.len() {
            let new = if self.is_over() {
                None
            } else {
                self.make(runtime)
            };
            // One that goes without another is made up for when the shelf is filled next.
            shelf.exchange(new);
        }
    }

    /// Replaces kept instances of the draft that are idle.
    fn renew_kept(&self, shelf: &KeptShelf, runtime: &Runtime) {
        while let Some(tenant) = shelf.outdated() {
            let new = if self.is_over() {
                None
            } else {
                self.make(runtime)
            };
            shelf.exchange(&tenant, new);
        }
    }

    /// What went wrong at the start of an instance, without secrets.
    fn shown(&self, error: StartError) -> String {
        let error = match error {
            StartError::Fault(error, _) => format!("{error:?}"),
            StartError::Refused(error) => refusal(error, &self.plugin).to_string(),
        };
        let shown = self.plugin.abilities.hide(&error, usize::MAX);
        shown.into_owned()
    }
}

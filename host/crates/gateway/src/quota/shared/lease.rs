//! Places of `max_concurrent` that all processes share: leases in a sorted set of Redis, by when they end. A lease is prolonged as long as
//! its request lasts, and given back after it. Those of a process that ends otherwise end by themselves.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::errand::{Errand, Errands};

/// The leases of this process.
pub(super) struct Leases {
    /// Tells this process from the others.
    process: String,
    next: AtomicU64,
    /// The sets that each is in, by its name.
    held: Mutex<HashMap<Arc<str>, Arc<[String]>>>,
    errands: Errands,
}

/// A lease, given back on drop.
pub(crate) struct Lease {
    leases: Arc<Leases>,
    pub(super) name: Arc<str>,
    /// The sets that it may be in.
    sets: Arc<[String]>,
}

impl Leases {
    pub(super) fn new(errands: Errands) -> Self {
        // The only source of chance in the standard library: each one has keys of its own.
        let (one, other) = (
            RandomState::new().hash_one(1),
            RandomState::new().hash_one(2),
        );
        Self {
            process: format!("{one:016x}{other:016x}"),
            next: AtomicU64::new(0),
            held: Mutex::default(),
            errands,
        }
    }

    /// A lease that is yet to be asked for. It is made before, so that it is given back also where nobody waits for the answer; in no
    /// sets, where nothing is to be leased.
    pub(super) fn prepare(self: &Arc<Self>, sets: &Arc<[String]>) -> Lease {
        let name = if sets.is_empty() {
            Arc::from("")
        } else {
            let number = self.next.fetch_add(1, Relaxed);
            format!("{}-{number:x}", self.process).into()
        };
        Lease {
            leases: Arc::clone(self),
            name,
            sets: Arc::clone(sets),
        }
    }

    /// The names of all leases that are held, by set.
    pub(super) fn by_set(&self) -> HashMap<String, Vec<String>> {
        let mut sets = HashMap::<_, Vec<_>>::new();
        for (name, of) in &*self.held.lock() {
            for set in of.iter() {
                let names = sets.entry(set.clone()).or_default();
                names.push(name.to_string());
            }
        }
        sets
    }
}

impl Lease {
    /// It was given: from now on it is prolonged. None where there was nothing to lease.
    pub(super) fn given(self) -> Option<Self> {
        if self.sets.is_empty() {
            return None;
        }
        let sets = Arc::clone(&self.sets);
        self.leases.held.lock().insert(Arc::clone(&self.name), sets);
        Some(self)
    }

    /// It was refused: there is nothing to give back.
    pub(super) fn refused(mut self) {
        self.sets = Arc::default();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.sets.is_empty() {
            return;
        }
        self.leases.held.lock().remove(&self.name);
        self.leases.errands.send(Errand::Release {
            name: Arc::clone(&self.name),
            sets: Arc::clone(&self.sets),
        });
    }
}

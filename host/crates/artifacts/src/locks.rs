//! Locks of what has a name: a model, an upload, a content. There are as many as are held or waited for.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

type Lock = tokio::sync::Mutex<()>;

/// A lock for each name.
pub(crate) struct Locks<K>(Mutex<HashMap<K, Weak<Lock>>>);

/// What is held as long as this is.
pub(crate) type Held = OwnedMutexGuard<()>;

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Locks<K> {
    /// Waits until nobody holds it.
    pub(crate) async fn lock(&self, name: K) -> Held {
        self.of(name).lock_owned().await
    }

    /// None where somebody holds it.
    pub(crate) fn try_lock(&self, name: K) -> Option<Held> {
        self.of(name).try_lock_owned().ok()
    }

    fn of(&self, name: K) -> Arc<Lock> {
        let mut locks = self.0.lock();
        locks.retain(|_name, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(&name).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(Lock::default());
        locks.insert(name, Arc::downgrade(&lock));
        lock
    }
}

//! Host memory that a guest's handles hold: what it makes counts against its `memory_mb`, as its own memory does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// Data below this size is not counted, so that small tensors stay cheap: the limit `handles` bounds how many there are.
const COUNTED_FROM: usize = 1024;

/// The host memory that one instance's handles hold, in bytes.
#[derive(Clone, Default)]
pub(crate) struct HeldBytes(Arc<AtomicU64>);

/// Data that is counted for as long as anything refers to it: a handle, another shape of it, or a payload under way.
struct Counted {
    data: Bytes,
    held: HeldBytes,
}

impl HeldBytes {
    /// What is held now.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts the data until its last reference is dropped. Copies nothing.
    pub(crate) fn count(&self, data: Bytes) -> Bytes {
        if data.len() < COUNTED_FROM {
            return data;
        }
        self.0.fetch_add(data.len() as u64, Ordering::Relaxed);
        Bytes::from_owner(Counted {
            data,
            held: self.clone(),
        })
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.held
            .0
            .fetch_sub(self.data.len() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_counts_until_its_last_reference_is_gone() {
        let held = HeldBytes::default();
        let data = held.count(Bytes::from(vec![1; 5000]));
        let part = data.slice(10..20);
        assert_eq!(held.get(), 5000);
        drop(data);
        assert_eq!(held.get(), 5000);
        drop(part);
        assert_eq!(held.get(), 0);
    }

    #[test]
    fn small_data_is_not_counted() {
        let held = HeldBytes::default();
        let _data = held.count(Bytes::from(vec![1; COUNTED_FROM - 1]));
        assert_eq!(held.get(), 0);
    }
}

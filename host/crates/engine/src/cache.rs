//! Remembers answers: a model whose `model.toml` says so answers the same inputs with the same outputs, without a run.
//!
//! One cache serves all models of an engine, bounded in bytes. An answer is found by the loaded instance of the model and by a
//! BLAKE3 hash of the inputs: names, datatypes, shapes and bytes. Inputs are not trusted, so the hash must be one for which
//! nobody finds two inputs. Equal requests that come at one time may each run. Requests of sequences never come here.
//!
//! Tenants share the answers: what a model makes of inputs does not depend on who sends them, and who gets an answer has sent
//! all that it was made of. What one may learn, by the time of an answer, is that somebody asked the same before.

mod key;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use opentelemetry::metrics::BoundCounter;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};
use wharf_core::{AlignedBytes, CacheLookup, Error, Inference, Result, Tensor, Timings};

use crate::metrics::LookupMetrics;

/// The bytes of a cache where `wharf.toml` says nothing.
pub(crate) const BYTES: u64 = 64 << 20;
/// What an entry takes beside its outputs' data: the key, the tensors' names and shapes, the cache's own books.
const ENTRY: u64 = 256;
const OUTPUT: u64 = 128;
/// Each shard has its part of the bytes, and an answer must fit in one.
const SHARDS: usize = 4;
/// More inputs than so many bytes are hashed on a thread that may block: this many take about a millisecond.
const HASHED_INLINE: u64 = 1 << 20;

/// The answers of all models of an engine.
pub(crate) struct ResponseCache {
    entries: Cache<Key, Entry, Weight, DefaultHashBuilder, Evictions>,
    next_model: AtomicU64,
}

/// The part of the cache that belongs to one loaded model. Dropping it forgets the answers.
pub(crate) struct ModelCache {
    cache: Arc<ResponseCache>,
    model: u64,
    metrics: LookupMetrics,
}

/// What a look came to.
pub(crate) enum Lookup<'a> {
    Hit(Inference),
    Miss(Miss<'a>),
}

/// The place of an answer that is not there yet.
pub(crate) struct Miss<'a> {
    cache: &'a ModelCache,
    key: Key,
    looked: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    /// A number that no other load of a model has, of this version or another.
    model: u64,
    inputs: [u8; 32],
}

#[derive(Clone)]
struct Entry {
    outputs: Arc<[Tensor]>,
    weight: u64,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Key, Entry> for Weight {
    fn weight(&self, _: &Key, entry: &Entry) -> u64 {
        entry.weight
    }
}

/// Counts what had to go for want of room.
#[derive(Clone)]
struct Evictions(BoundCounter<u64>);

impl Lifecycle<Key, Entry> for Evictions {
    type RequestState = ();

    fn on_evict(&self, _: &mut (), _: Key, _: Entry) {
        self.0.add(1);
    }
}

impl ResponseCache {
    pub(crate) fn new(bytes: u64, evictions: BoundCounter<u64>) -> Arc<Self> {
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .weight_capacity(bytes)
            // For the size of its first table alone.
            .estimated_items_capacity(1024)
            .build()
            .expect("every option that must be there is");
        Arc::new(Self {
            entries: Cache::with_options(
                options,
                Weight,
                DefaultHashBuilder::default(),
                Evictions(evictions),
            ),
            next_model: AtomicU64::new(0),
        })
    }

    /// The bytes that are in use.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.weight()
    }

    /// A part for a model that has just been loaded.
    pub(crate) fn open(self: &Arc<Self>, metrics: LookupMetrics) -> ModelCache {
        ModelCache {
            cache: Arc::clone(self),
            model: self.next_model.fetch_add(1, Relaxed),
            metrics,
        }
    }
}

impl ModelCache {
    /// Looks for the answer to inputs that are in the model's order.
    pub(crate) async fn look(&self, inputs: &[Tensor]) -> Result<Lookup<'_>> {
        let started = Instant::now();
        let key = self.key(inputs).await?;
        let Some(entry) = self.cache.entries.get(&key) else {
            self.metrics.miss();
            return Ok(Lookup::Miss(Miss {
                cache: self,
                key,
                looked: started.elapsed(),
            }));
        };
        self.metrics.hit();
        Ok(Lookup::Hit(Inference {
            outputs: entry.outputs.to_vec(),
            timings: Timings {
                cache: Some(CacheLookup::Hit(started.elapsed())),
                ..Timings::default()
            },
        }))
    }

    async fn key(&self, inputs: &[Tensor]) -> Result<Key> {
        let bytes: u64 = inputs.iter().map(|tensor| tensor.data().len() as u64).sum();
        let inputs = if bytes <= HASHED_INLINE {
            key::hash(inputs)
        } else {
            let inputs = inputs.to_vec();
            tokio::task::spawn_blocking(move || key::hash(&inputs))
                .await
                .map_err(Error::internal)?
        };
        Ok(Key {
            model: self.model,
            inputs,
        })
    }
}

impl Miss<'_> {
    /// Remembers the answer where it fits. The data are copied: they may be a part of a batch, or belong to a session.
    pub(crate) fn store(self, mut inference: Inference) -> Inference {
        let started = Instant::now();
        let entries = &self.cache.cache.entries;
        let data: u64 = inference
            .outputs
            .iter()
            .map(|tensor| tensor.data().len() as u64 + OUTPUT)
            .sum();
        let weight = data + ENTRY;
        if weight <= entries.shard_capacity() {
            let copies: Option<Arc<[Tensor]>> = inference.outputs.iter().map(copy).collect();
            if let Some(outputs) = copies {
                entries.insert(self.key, Entry { outputs, weight });
            }
        }
        inference.timings.cache = Some(CacheLookup::Miss(self.looked + started.elapsed()));
        inference
    }
}

/// The same tensor with data of its own.
pub(crate) fn copy(tensor: &Tensor) -> Option<Tensor> {
    Tensor::new(
        tensor.shared_name(),
        tensor.datatype(),
        tensor.shape().clone(),
        AlignedBytes::copy_from(tensor.data()).into(),
    )
    .ok()
}

impl Drop for ModelCache {
    fn drop(&mut self) {
        self.cache.entries.retain(|key, _| key.model != self.model);
    }
}

#[cfg(test)]
mod tests;

//! The snapshot in force and what belongs to it: the one place where it is swapped.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use wharf_core::{Engine, Name, PluginHost};

use crate::config::Config;
use crate::events::Journal;
use crate::guarded::Guards;
use crate::lifecycle::IndexEntry;
use crate::metrics::{Gauges, Metrics};
use crate::reaper::{Reaper, Retired};
use crate::site::Ports;
use crate::snapshot::Snapshot;
use crate::state::{Effects, State, Surroundings, UnderWay, Versions};
use crate::status::{ReloadReport, SiteStatus};

/// What requests, the reload and the roll-back share.
pub(crate) struct InForce {
    pub(crate) site: PathBuf,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) plugins: Arc<dyn PluginHost>,
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) reaper: Reaper,
    pub(crate) faults: Arc<Notify>,
    pub(crate) guards: Arc<Guards>,
    /// Whether the first load is done.
    pub(crate) ready: watch::Sender<bool>,
    metrics: Arc<Metrics>,
    current: ArcSwap<Snapshot>,
    state: Mutex<State>,
    /// The versions that are being loaded.
    loading: Mutex<Versions>,
}

impl InForce {
    pub(crate) fn new(
        config: Config,
        site: PathBuf,
        engine: Arc<dyn Engine>,
        plugins: Arc<dyn PluginHost>,
    ) -> std::io::Result<Self> {
        let metrics = Arc::<Metrics>::default();
        let faults = Arc::<Notify>::default();
        let journal = Arc::new(Journal::new(Arc::clone(&metrics)));
        let config = Arc::new(ArcSwap::from_pointee(config));
        let guards = Arc::new(Guards::new(
            Arc::clone(&config),
            Arc::clone(&journal),
            Arc::clone(&metrics),
            Arc::clone(&faults),
        ));
        let state = Mutex::new(State::new(&config.load(), &guards));
        Ok(Self {
            site,
            engine,
            plugins,
            config,
            journal,
            reaper: Reaper::start()?,
            faults,
            guards,
            ready: watch::Sender::new(false),
            metrics,
            current: ArcSwap::default(),
            state,
            loading: Mutex::default(),
        })
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(crate) fn ports(&self) -> Ports<'_> {
        Ports {
            engine: &*self.engine,
            plugins: &*self.plugins,
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Reads the state.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.lock())
    }

    /// Changes the state, and puts what comes of it in force by one swap. What retires goes to the reaper after the swap:
    /// until then requests still take it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State, &mut Effects)) -> ReloadReport {
        let mut state = self.state.lock();
        let mut effects = Effects::default();
        change(&mut state, &mut effects);
        let config = self.config.load();
        let around = Surroundings {
            config: &config,
            metrics: &self.metrics,
            faults: &self.faults,
        };
        let mut snapshot = state.link(around, &mut effects);
        let old = self.snapshot();
        let changed = !snapshot.same_as(&old);
        let mut generation = old.generation();
        drop(old);
        if changed {
            generation += 1;
            snapshot.generation = generation;
            let old = self.current.swap(Arc::new(snapshot));
            self.reaper.retire(Retired::Snapshot(old));
        }
        for retired in effects.retired {
            self.reaper.retire(retired);
        }
        for (kind, file, message) in effects.events {
            self.journal.note(kind, file, message);
        }
        let errors = state.errors();
        self.journal.set_errors(&errors);
        if state.plugins.keep_any() {
            // A probation has begun, and wants to be watched.
            self.faults.notify_one();
        }
        ReloadReport {
            generation,
            changed,
            errors,
        }
    }

    /// Says that versions are being loaded, until what is given back is dropped.
    pub(crate) fn loading(&self, versions: Versions) -> Loading<'_> {
        *self.loading.lock() = versions;
        Loading(self)
    }

    pub(crate) fn index(&self) -> Vec<IndexEntry> {
        let under_way = UnderWay {
            loading: self.loading.lock().clone(),
            unloading: self.reaper.models(),
        };
        self.read(|state| state.index(&under_way))
    }

    pub(crate) fn status(&self) -> SiteStatus {
        let (plugins, models) = self.read(|state| (state.plugins.status(), state.models.status()));
        SiteStatus {
            generation: self.current.load().generation(),
            ready: *self.ready.borrow(),
            plugins,
            models,
            draining: self.reaper.draining(),
            events: self.journal.events(),
            errors: self.journal.errors(),
        }
    }
}

/// Versions that are being loaded. Only the task of the site loads, one pass at a time.
pub(crate) struct Loading<'a>(&'a InForce);

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.0.loading.lock().clear();
    }
}

impl Gauges for InForce {
    fn live(&self) -> [(&'static str, u64); 3] {
        let current = self.current.load();
        let [snapshots, models, plugins] = self.reaper.counts();
        [
            ("snapshot", 1 + snapshots),
            ("model", current.models().count() as u64 + models),
            ("plugin", current.plugins().count() as u64 + plugins),
        ]
    }

    fn in_flight(&self) -> Vec<(Name, u64)> {
        let current = self.current.load();
        current
            .routes()
            .map(|route| (route.name().clone(), u64::from(route.in_flight())))
            .collect()
    }
}

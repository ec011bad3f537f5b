//! The snapshot in force and what belongs to it: the one place where it is swapped.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use wharf_core::{Changed, Engine, LoadError, Name, PluginHost, Upstreams};

use crate::bundle::Reading;
use crate::config::Config;
use crate::events::Journal;
use crate::guarded::Guards;
use crate::lifecycle::{self, IndexEntry};
use crate::metrics::{Gauges, Metrics};
use crate::mirrors::Mirrors;
use crate::reaper::{Reaper, Retired};
use crate::route::RouteSpec;
use crate::serving::Runtimes;
use crate::site::{Ports, UpstreamPort};
use crate::snapshot::Snapshot;
use crate::state::{Effects, State, Surroundings, UnderWay, Versions, write_record};
use crate::status::{ReloadReport, SiteStatus};

/// What requests, the reload and the roll-back share.
pub(crate) struct InForce {
    pub(crate) site: PathBuf,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) plugins: Arc<dyn PluginHost>,
    upstreams: Option<Arc<dyn Upstreams>>,
    /// What upstreams call when they learnt something; it wakes whoever waits for `upstreams_changed`.
    tell_changed: Changed,
    pub(crate) upstreams_changed: Arc<Notify>,
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) reaper: Reaper,
    pub(crate) faults: Arc<Notify>,
    /// Told of the faults of bundles' releases.
    pub(crate) noticed: Arc<Notify>,
    pub(crate) guards: Arc<Guards>,
    pub(crate) mirrors: Mirrors,
    /// Whether the first load is done.
    pub(crate) loaded: watch::Sender<bool>,
    /// Whether requests are to be sent here.
    pub(crate) ready: watch::Sender<bool>,
    metrics: Arc<Metrics>,
    current: ArcSwap<Snapshot>,
    state: Mutex<State>,
    /// The versions that are being loaded.
    loading: Mutex<Versions>,
    /// Held while what became of releases is written.
    saving: Mutex<()>,
}

impl InForce {
    pub(crate) fn new(config: Config, site: PathBuf, runtimes: Runtimes) -> std::io::Result<Self> {
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
        let noticed = Arc::<Notify>::default();
        let upstreams_changed = Arc::<Notify>::default();
        let changed = Arc::clone(&upstreams_changed);
        let state = Mutex::new(State::of_site(&config.load(), &guards, &noticed));
        Ok(Self {
            site,
            engine: runtimes.engine,
            plugins: runtimes.plugins,
            upstreams: runtimes.upstreams,
            tell_changed: Arc::new(move || changed.notify_one()),
            upstreams_changed,
            config,
            journal,
            reaper: Reaper::start()?,
            faults,
            noticed,
            guards,
            mirrors: Mirrors::default(),
            loaded: watch::Sender::new(false),
            ready: watch::Sender::new(false),
            metrics,
            current: ArcSwap::default(),
            state,
            loading: Mutex::default(),
            saving: Mutex::default(),
        })
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(crate) fn ports(&self) -> Ports<'_> {
        Ports {
            engine: &*self.engine,
            plugins: &*self.plugins,
            upstreams: self.upstreams.as_deref().map(|port| UpstreamPort {
                port,
                changed: &self.tell_changed,
            }),
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
            member: None,
        };
        let mut snapshot = state.link(around, &mut effects);
        let old = self.snapshot();
        let changed = !snapshot.same_as(&old);
        let mut generation = old.generation();
        drop(old);
        let serves = !snapshot.routes.is_empty() || !state.wants_any();
        if changed {
            generation += 1;
            snapshot.generation = generation;
            let old = self.current.swap(Arc::new(snapshot));
            self.reaper.retire(Retired::Snapshot(old));
        }
        // After the swap: whoever is told of it finds what serves.
        self.tell_ready(serves);
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
        if state.bundles.on_trial() {
            self.noticed.notify_one();
        }
        ReloadReport {
            generation,
            changed,
            errors,
        }
    }

    /// Says that the first load is done.
    pub(crate) fn first_load_done(&self) {
        let state = self.state.lock();
        let serves = !self.current.load().routes.is_empty() || !state.wants_any();
        // First, so that whoever waited for the load finds it so.
        self.ready
            .send_if_modified(|known| std::mem::replace(known, serves) != serves);
        self.loaded.send_replace(true);
    }

    /// Ready is who has loaded the site for the first time and serves something of it, where it has something to serve. One
    /// thing that is broken beside others that serve is no reason to take the others away.
    fn tell_ready(&self, serves: bool) {
        let ready = serves && *self.loaded.borrow();
        self.ready
            .send_if_modified(|known| std::mem::replace(known, ready) != ready);
    }

    /// Says that versions are being loaded, until what is given back is dropped.
    pub(crate) fn loading(&self, versions: Versions) -> Loading<'_> {
        *self.loading.lock() = versions;
        Loading(self)
    }

    pub(crate) fn index(&self) -> Vec<IndexEntry> {
        let under_way = self.under_way();
        self.read(|state| state.index(&under_way))
    }

    /// How every version of every model of the site is, without what routes and bundles have.
    pub(crate) fn model_index(&self) -> Vec<IndexEntry> {
        let under_way = self.under_way();
        self.read(|state| state.models.index(&under_way))
    }

    fn under_way(&self) -> UnderWay {
        UnderWay {
            loading: self.loading.lock().clone(),
            unloading: self.reaper.models(),
        }
    }

    /// Says what keeps a route from being in force, without changing anything.
    pub(crate) fn check_route(&self, spec: &Arc<RouteSpec>) -> Vec<LoadError> {
        let config = self.config.load();
        // What it would count is of no route: metrics of its own.
        let metrics = Metrics::default();
        let around = Surroundings {
            config: &config,
            metrics: &metrics,
            faults: &self.faults,
            member: None,
        };
        self.state.lock().check_route(spec, around)
    }

    /// Writes what became of releases to the site. Blocks.
    pub(crate) fn save_bundles(&self) {
        // One after the other: what is written last is the newest.
        let _saving = self.saving.lock();
        let _site = match lifecycle::lock(&self.site) {
            Ok(lock) => lock,
            // Another process changes the site. What is not written now is written with the next pass.
            Err(lifecycle::Busy) => return,
        };
        for (bundle, record) in self.read(|state| state.bundles.to_save()) {
            let result = write_record(&self.site, &bundle, &record);
            self.state.lock().bundles.saved(&bundle, &record, result);
        }
    }

    pub(crate) fn status(&self) -> SiteStatus {
        let (plugins, models) = self.read(|state| {
            let mut models = state.models.status();
            models.extend(state.upstreams.status());
            models.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
            (state.plugins.status(), models)
        });
        SiteStatus {
            generation: self.current.load().generation(),
            loaded: *self.loaded.borrow(),
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
        let [of_plugins, of_models] = self.read(|state| state.bundles.parts());
        [
            ("snapshot", 1 + snapshots),
            (
                "model",
                current.models().count() as u64 + of_models + models,
            ),
            (
                "plugin",
                current.plugins().count() as u64 + of_plugins + plugins,
            ),
        ]
    }

    fn in_flight(&self) -> Vec<(Name, u64)> {
        let current = self.current.load();
        current
            .routes()
            .map(|route| {
                let name = route.name();
                // What is on trial has a limit of its own, so that it takes no place from what is in force.
                let on_trial = current.drawn.get(name.as_str());
                let on_trial = on_trial.map_or(0, |drawn| drawn.route.in_flight());
                (name.clone(), u64::from(route.in_flight() + on_trial))
            })
            .collect()
    }

    fn bundles(&self) -> Vec<Reading> {
        self.read(|state| state.bundles.readings())
    }
}

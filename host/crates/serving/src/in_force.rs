//! The snapshot in force and what belongs to it: the one place where it is swapped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use wharf_core::{
    ArtifactStore, Cancel, Changed, Engine, LoadError, ModelVersion, Name, PluginHost, Upstreams,
};

use crate::bundle::Reading;
use crate::config::Config;
use crate::events::Journal;
use crate::guarded::Guards;
use crate::lifecycle::{self, Author, IndexEntry};
use crate::metrics::{Gauges, Metrics};
use crate::mirrors::Mirrors;
use crate::reaper::{Reaper, Retired};
use crate::route::RouteSpec;
use crate::serving::Runtimes;
use crate::site::{Ports, UpstreamPort};
use crate::snapshot::{Asked, Snapshot};
use crate::state::{Effects, State, Surroundings, UnderWay, Versions, write_record};
use crate::status::{ReloadReport, SiteStatus};

/// What requests, the reload and the roll-back share.
pub(crate) struct InForce {
    pub(crate) site: PathBuf,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) plugins: Arc<dyn PluginHost>,
    upstreams: Option<Arc<dyn Upstreams>>,
    /// Where the artifacts of models are kept, if anywhere.
    pub(crate) artifacts: OnceLock<Arc<dyn ArtifactStore>>,
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
    /// The versions that are being loaded, each with what ends its load.
    loading: Mutex<BTreeMap<(Name, u64), Cancel>>,
    /// Ends every load: the server ends.
    pub(crate) ending: Cancel,
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
            artifacts: OnceLock::new(),
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
            ending: Cancel::default(),
            saving: Mutex::default(),
        })
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(crate) fn ports(&self) -> Ports<'_> {
        self.ports_until(&self.ending)
    }

    /// The same, with what ends a load of a model.
    pub(crate) fn ports_until<'a>(&'a self, cancel: &'a Cancel) -> Ports<'a> {
        Ports {
            engine: &*self.engine,
            plugins: &*self.plugins,
            upstreams: self.upstreams.as_deref().map(|port| UpstreamPort {
                port,
                changed: &self.tell_changed,
            }),
            cancel,
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
        let cancels = versions.into_iter();
        *self.loading.lock() = cancels
            .map(|version| (version, self.ending.child()))
            .collect();
        Loading(self)
    }

    /// What ends the load of a version that is being loaded.
    pub(crate) fn cancel_of(&self, version: &ModelVersion) -> Cancel {
        let loading = self.loading.lock();
        let cancel = loading.get(&(version.name.clone(), version.version));
        cancel.unwrap_or(&self.ending).clone()
    }

    /// Ends the loads of a model of the site, which is to be loaded no more, where it is the author's to say so.
    pub(crate) fn cancel_loads(&self, model: &Name, by: &Author) {
        // A model that the site does not have yet is not whoever's that wants it gone.
        let tenants = self.read(|state| state.models.tenants_of(model));
        if tenants.is_none_or(|tenants| by.check(model, Some(&tenants)).is_err()) {
            return;
        }
        let loading = self.loading.lock();
        let loads = loading.iter().filter(|((name, _), _)| name == model);
        loads.for_each(|(_, cancel)| cancel.cancel());
    }

    /// Whether a model is being loaded.
    pub(crate) fn is_loading(&self) -> bool {
        !self.loading.lock().is_empty()
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

    /// Why what the site has under a name does not serve, although it is to, where it is there for whoever asks.
    pub(crate) fn absence(&self, asked: Asked<'_>) -> Option<String> {
        let name = Name::new(asked.name).ok()?;
        let versions = (name.clone(), 0)..=(name.clone(), u64::MAX);
        let is_loading = self.loading.lock().range(versions).next().is_some();
        let absence = self.read(|state| {
            let loading = || is_loading.then(|| state.models.loading(&name));
            state.absence(&name).or_else(loading)
        })?;
        absence
            .tenants
            .include(asked.tenant)
            .then_some(absence.reason)
    }

    fn under_way(&self) -> UnderWay {
        UnderWay {
            loading: self.loading.lock().keys().cloned().collect(),
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

//! A site that is looked at without serving it: what serving would refuse, and what would be in force.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::Notify;
use wharf_core::{Changed, LoadError};

use crate::config::Config;
use crate::metrics::Metrics;
use crate::reconcile::fall_back;
use crate::serving::Runtimes;
use crate::site::{Focus, Look, Ports, Scanner, UpstreamPort};
use crate::snapshot::Snapshot;
use crate::state::{Effects, Purpose, StandIn, State, Surroundings};
use crate::watcher::Whole;

/// Loads a whole site, every model of it, serves nothing, and says what would be refused, sorted by file. Blocks, and runs on a thread
/// that may block.
#[must_use]
pub fn check(config: &Config, site: &Path, runtimes: &Runtimes) -> Vec<LoadError> {
    inspect(config, site, runtimes).1
}

/// The same, with what would be in force of it beside what would be refused; the routes of bundles are not among it. It changes
/// nothing in the site, so that another process may serve it meanwhile.
#[must_use]
pub fn inspect(config: &Config, site: &Path, runtimes: &Runtimes) -> (Snapshot, Vec<LoadError>) {
    // Each upstream is asked once: nobody waits for what it says later.
    let changed: Changed = Arc::new(|| {});
    let upstreams = runtimes.upstreams.as_deref();
    let engine = &*runtimes.engine;
    let ports = Ports {
        engine,
        plugins: &*runtimes.plugins,
        upstreams: upstreams.map(|port| UpstreamPort {
            port,
            changed: &changed,
        }),
    };
    let mut scanner = Scanner::new(site);
    scanner.focus = Focus::All;
    let mut scan = scanner.scan(ports, Look::Thorough, &Whole::new());
    let mut state = State::default();
    let in_bundles = state.check_bundles(&mut scan, ports);
    let mut effects = Effects::default();
    let loads = state.plan(&mut scan, &Purpose::Thorough);
    let mut loaded: Vec<_> = loads.into_iter().map(|load| load.run(ports)).collect();
    let fallbacks: Vec<_> = state
        .fallen(&scan, &loaded, &Purpose::Thorough)
        .into_iter()
        .flat_map(|version| fall_back(engine, version, |_| StandIn::Loads))
        .collect();
    loaded.extend(fallbacks);
    state.apply(scan, loaded, &Purpose::Thorough, &mut effects);
    let around = Surroundings {
        config,
        metrics: &Metrics::default(),
        faults: &Arc::new(Notify::new()),
        member: None,
    };
    let snapshot = state.link(around, &mut effects);
    let mut errors = state.errors();
    errors.extend(in_bundles);
    errors.extend(config.check().err().map(Arc::new));
    drop(state);
    let mut errors: Vec<LoadError> = errors.into_iter().map(unshared).collect();
    errors.sort_by(|a, b| (&a.file, &a.key).cmp(&(&b.file, &b.key)));
    (snapshot, errors)
}

/// Takes an error out of what shared it; where something still does, the copy goes without the cause.
fn unshared(error: Arc<LoadError>) -> LoadError {
    Arc::try_unwrap(error).unwrap_or_else(|error| LoadError {
        file: error.file.clone(),
        key: error.key.clone(),
        message: error.message.clone(),
        for_clients: error.for_clients.clone(),
        source: None,
    })
}

//! `wharf check`: what serving would refuse.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::Notify;
use wharf_core::{Engine, LoadError, PluginHost};

use crate::config::Config;
use crate::metrics::Metrics;
use crate::reconcile::fall_back;
use crate::site::{Focus, Look, Ports, Scanner};
use crate::state::{Effects, Purpose, StandIn, State, Surroundings};
use crate::watcher::Whole;

/// Loads a whole site, every model of it, serves nothing, and says what would be refused, sorted by file. Blocks, and runs on a thread
/// that may block.
#[must_use]
pub fn check(
    config: &Config,
    site: &Path,
    engine: &dyn Engine,
    plugins: &dyn PluginHost,
) -> Vec<LoadError> {
    let ports = Ports { engine, plugins };
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
    state.link(around, &mut effects);
    let mut errors = state.errors();
    errors.extend(in_bundles);
    errors.extend(config.check().err().map(Arc::new));
    drop(state);
    let mut errors: Vec<LoadError> = errors.into_iter().map(unshared).collect();
    errors.sort_by(|a, b| (&a.file, &a.key).cmp(&(&b.file, &b.key)));
    errors
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

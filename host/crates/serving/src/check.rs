//! A site that is looked at without serving it: what serving would refuse, and what would be in force.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::Notify;
use wharf_core::{Cancel, Changed, LoadError};

use crate::config::Config;
use crate::metrics::Metrics;
use crate::reconcile::fall_back;
use crate::serving::Runtimes;
use crate::site::{Focus, Look, Ports, Scan, Scanner, UpstreamPort};
use crate::snapshot::Snapshot;
use crate::state::{Effects, Load, Loaded, Purpose, StandIn, State, Surroundings};
use crate::watcher::Whole;

/// Loads a whole site, every model and every release of it, serves nothing, and says what would be refused, sorted by file. Blocks, and
/// runs on a thread that may block.
#[must_use]
pub fn check(config: &Config, site: &Path, runtimes: &Runtimes) -> Vec<LoadError> {
    // Each upstream is asked once: nobody waits for what it says later.
    let changed: Changed = Arc::new(|| {});
    let (cancel, state) = (Cancel::default(), State::default());
    let ports = ports(runtimes, &changed, &cancel);
    let mut scan = scan(site, ports);
    let in_bundles = state.check_bundles(&mut scan, ports);
    let (_, mut errors) = load(config, scan, state, ports);
    errors.extend(in_bundles);
    errors.extend(config.check().err().map(Arc::new));
    sorted(errors)
}

/// Loads what would be in force of a site, serves nothing, and gives that beside what would be refused, sorted by file. Of bundles it
/// is the releases in force and on trial. It changes nothing in the site, so that another process may serve it meanwhile. Blocks.
#[must_use]
pub fn inspect(config: &Config, site: &Path, runtimes: &Runtimes) -> (Snapshot, Vec<LoadError>) {
    let changed: Changed = Arc::new(|| {});
    let cancel = Cancel::default();
    let ports = ports(runtimes, &changed, &cancel);
    let (snapshot, errors) = load(config, scan(site, ports), State::default(), ports);
    (snapshot, sorted(errors))
}

fn ports<'a>(runtimes: &'a Runtimes, changed: &'a Changed, cancel: &'a Cancel) -> Ports<'a> {
    let upstreams = runtimes.upstreams.as_deref();
    Ports {
        engine: &*runtimes.engine,
        plugins: &*runtimes.plugins,
        upstreams: upstreams.map(|port| UpstreamPort { port, changed }),
        cancel,
    }
}

fn scan(site: &Path, ports: Ports<'_>) -> Scan {
    let mut scanner = Scanner::new(site);
    scanner.focus = Focus::All;
    scanner.scan(ports, Look::Thorough, &Whole::new())
}

/// Loads what a look found, as the first pass of a server would.
fn load(
    config: &Config,
    mut scan: Scan,
    mut state: State,
    ports: Ports<'_>,
) -> (Snapshot, Vec<Arc<LoadError>>) {
    let purpose = Purpose::Thorough;
    let mut effects = Effects::default();
    let run = |loads: Vec<Load>| loads.into_iter().map(|load| load.run(ports));
    let mut loaded: Vec<Loaded> = run(state.plan(&mut scan, &purpose)).collect();
    loop {
        let more = state.plan_releases(&mut scan, &purpose, &loaded);
        if more.is_empty() {
            break;
        }
        loaded.extend(run(more));
    }
    let fallbacks: Vec<_> = state
        .fallen(&scan, &loaded, &purpose)
        .into_iter()
        .flat_map(|version| fall_back(ports, version, |_| StandIn::Loads))
        .collect();
    loaded.extend(fallbacks);
    state.apply(scan, loaded, &purpose, &mut effects);
    let around = Surroundings {
        config,
        metrics: &Metrics::default(),
        faults: &Arc::new(Notify::new()),
        member: None,
    };
    let snapshot = state.link(around, &mut effects);
    (snapshot, state.errors())
}

fn sorted(errors: Vec<Arc<LoadError>>) -> Vec<LoadError> {
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

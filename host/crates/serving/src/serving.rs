//! The handle to a site that is served.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry::metrics::Meter;
use parking_lot::Mutex;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wharf_core::{Engine, Error, ErrorKind, LoadError, ModelCalls, PluginHost, Result, Upstreams};

use crate::bundle::{self, BundleStatus};
use crate::config::Config;
use crate::in_force::InForce;
use crate::lifecycle;
use crate::rollback;
use crate::snapshot::Snapshot;
use crate::state::State;
use crate::status::{ReloadReport, SiteStatus};
use crate::upstreams;
use crate::watcher::{Ask, Reply, SiteTask};

/// The most asks that wait at once. Whoever wants a reload then waits to wait, and one pass answers all of them; whoever wants
/// a model loaded or unloaded is refused.
pub(crate) const MOST_ASKS: usize = 16;

/// When a client that asked too early may ask again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

fn unavailable(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, message)
}

/// What is said to whoever asks for something while the server ends.
pub(crate) fn ending() -> Error {
    unavailable("the server is shutting down; ask another one")
}

/// A site that is served. Cloning it is cheap, and every clone is the same.
#[derive(Clone)]
pub struct Serving(Arc<Inner>);

struct Inner {
    in_force: Arc<InForce>,
    asks: mpsc::Sender<Ask>,
    site_config: watch::Receiver<Arc<str>>,
    stop: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What a site is served with.
#[derive(Clone)]
pub struct Runtimes {
    /// What runs models.
    pub engine: Arc<dyn Engine>,
    /// What runs plugins.
    pub plugins: Arc<dyn PluginHost>,
    /// What reaches other servers; none where upstreams are refused.
    pub upstreams: Option<Arc<dyn Upstreams>>,
}

impl Serving {
    /// Begins to serve a site that has no upstreams: as [`Serving::open`].
    ///
    /// # Errors
    /// As [`Serving::open`].
    pub fn start(
        config: Config,
        site: PathBuf,
        engine: Arc<dyn Engine>,
        plugins: Arc<dyn PluginHost>,
        meter: &Meter,
    ) -> Result<Self, LoadError> {
        let runtimes = Runtimes {
            engine,
            plugins,
            upstreams: None,
        };
        Self::open(config, site, runtimes, meter)
    }

    /// Begins to load a site and to watch it; [`Serving::loaded`] waits for the first load. A model, plugin or route that is
    /// refused is an event and no failure.
    ///
    /// # Errors
    /// Where a setting is out of its range, or the site is not a folder.
    pub fn open(
        config: Config,
        site: PathBuf,
        runtimes: Runtimes,
        meter: &Meter,
    ) -> Result<Self, LoadError> {
        config.check()?;
        if !site.is_dir() {
            return Err(LoadError::new(
                ".",
                "the site is not a folder; name one with --site",
            ));
        }
        // Before anything is read: a change that was begun is the new state, and one that was only prepared is none.
        lifecycle::recover(&site)?;
        let in_force = InForce::new(config, site, runtimes).map_err(|error| {
            LoadError::new(".", "no thread can be started for the reaper").with_source(error)
        })?;
        let in_force = Arc::new(in_force);
        // Weak, since what is in force owns the plugins that call it.
        let models: Weak<dyn ModelCalls> = Arc::<InForce>::downgrade(&in_force);
        in_force.plugins.connect(models);
        let outside = Arc::downgrade(&in_force);
        in_force.change(|state, _| state.bundles.connect(outside));
        in_force.metrics().register(meter, &in_force);
        let (asks, asked) = mpsc::channel(MOST_ASKS);
        let (config_sender, site_config) = watch::channel(Arc::from(""));
        let stop = CancellationToken::new();
        let site_task = SiteTask::new(Arc::clone(&in_force), asked, config_sender, stop.clone());
        let tasks = vec![
            tokio::spawn(site_task.run()),
            tokio::spawn(rollback::watch(Arc::clone(&in_force), stop.clone())),
            tokio::spawn(bundle::watch(Arc::clone(&in_force), stop.clone())),
            tokio::spawn(upstreams::watch(Arc::clone(&in_force), stop.clone())),
        ];
        Ok(Self(Arc::new(Inner {
            in_force,
            asks,
            site_config,
            stop,
            tasks: Mutex::new(tasks),
        })))
    }

    /// What is in force. A request takes it once, at its start, and keeps it to its end.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.in_force.snapshot()
    }

    /// Whether the first load is done.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        *self.0.in_force.loaded.borrow()
    }

    /// Whether requests are to be sent here: the first load is done, and something serves or the site has nothing to serve.
    #[must_use]
    pub fn ready(&self) -> bool {
        *self.0.in_force.ready.borrow()
    }

    /// Tells of each change of [`Serving::ready`].
    #[must_use]
    pub fn ready_changed(&self) -> watch::Receiver<bool> {
        self.0.in_force.ready.subscribe()
    }

    /// Waits until the first load is done. What was found is then in force or refused.
    pub async fn loaded(&self) {
        let mut loaded = self.0.in_force.loaded.subscribe();
        // It cannot fail: the sender lives as long as this value.
        let _ = loaded.wait_for(|loaded| *loaded).await;
    }

    /// Looks at the content of everything in the site, and waits until what is there is in force or refused. What failed
    /// before is tried again. Once serving is shut down it changes nothing.
    pub async fn reload(&self) -> ReloadReport {
        let (ask, answer) = oneshot::channel();
        // Where nobody takes it, the ask is dropped with the error of sending it, and the answer is an error as well.
        drop(self.0.asks.send(Ask::Reload(ask)).await);
        answer.await.unwrap_or_else(|_| ReloadReport {
            generation: self.snapshot().generation(),
            changed: false,
            errors: self.0.in_force.read(State::errors),
        })
    }

    /// Asks the task of the site for something, and waits for its answer.
    pub(crate) async fn ask(&self, ask: impl FnOnce(Reply) -> Ask) -> Result<()> {
        if !self.is_loaded() {
            return Err(unavailable("the server is still loading; try again soon")
                .with_retry_after(RETRY_AFTER));
        }
        let (reply, answer) = Reply::new();
        self.0
            .asks
            .try_send(ask(reply))
            .map_err(|error| match error {
                TrySendError::Full(_) => {
                    unavailable("many loads and reloads wait already; try again later")
                        .with_retry_after(RETRY_AFTER)
                }
                TrySendError::Closed(_) => ending(),
            })?;
        let in_force = &self.0.in_force;
        let patience = in_force.config.load().change_wait();
        answer.within(patience).await.unwrap_or_else(|| {
            let under_way = match in_force.is_loading() {
                true => "a model that is being loaded",
                false => "other changes of the site",
            };
            let message = format!(
                "the change waited too long for {under_way}, and was not begun; try again later"
            );
            Err(Error::new(ErrorKind::Unavailable, message).with_retry_after(RETRY_AFTER))
        })
    }

    pub(crate) fn in_force(&self) -> &InForce {
        &self.0.in_force
    }

    /// Goes over to other settings. Limits and deadlines of routes follow at once; `watch` at the next start.
    ///
    /// # Errors
    /// Where a setting is out of its range: then the old settings stay.
    pub fn reconfigure(&self, config: Config) -> Result<(), LoadError> {
        config.check()?;
        let in_force = &self.0.in_force;
        in_force.change(|_, _| in_force.config.store(Arc::new(config)));
        Ok(())
    }

    /// Tells of each change of `wharf.toml`: its whole text, empty where there is none. The program parses it, and hands
    /// serving's part to [`Serving::reconfigure`].
    #[must_use]
    pub fn site_config_changed(&self) -> watch::Receiver<Arc<str>> {
        self.0.site_config.clone()
    }

    /// Notes an error that concerns `wharf.toml`, or with none that it is mended: it shows among the site's errors.
    pub fn set_site_config_error(&self, error: Option<LoadError>) {
        self.0.in_force.change(|state, _| {
            state.site_config_error = error.map(Arc::new);
        });
    }

    /// What is loaded, what drains, and what went wrong.
    #[must_use]
    pub fn status(&self) -> SiteStatus {
        self.0.in_force.status()
    }

    /// The bundles of the site with their releases, sorted by name.
    #[must_use]
    pub fn bundles(&self) -> Vec<BundleStatus> {
        self.0.in_force.read(|state| state.bundles.status())
    }

    /// Stops watching, reloading and reaping, and joins what does so. What is in force stays so, for requests that still
    /// run, but for those that were mirrored: they are ended. A load that runs is ended where that can be, and waited for, up to
    /// `drain_timeout_ms`.
    pub async fn shutdown(&self) {
        self.0.end();
        self.0.in_force.mirrors.stop().await;
        let tasks = std::mem::take(&mut *self.0.tasks.lock());
        let patience = self.0.in_force.config.load().drain_timeout();
        for mut task in tasks {
            match timeout(patience, &mut task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a task of serving failed"),
                Err(_) => {
                    tracing::warn!("a load still runs at shutdown; it is left behind");
                    task.abort();
                }
            }
        }
        // A verdict that was reached on the way here is one for the next start, too.
        bundle::save(&self.0.in_force).await;
        let in_force = Arc::clone(&self.0.in_force);
        if let Err(error) = spawn_blocking(move || in_force.reaper.stop()).await {
            tracing::error!(%error, "the reaper could not be stopped");
        }
    }
}

impl Inner {
    fn end(&self) {
        self.stop.cancel();
        self.in_force.ending.cancel();
    }
}

/// A handle that is dropped without `shutdown` leaves nothing running.
impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}

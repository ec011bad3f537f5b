//! Notices that the site changed, and reads it again.
//!
//! What the operating system reports is only a hint that something happened. The site is then looked at as a whole, and
//! compared by content. So it does not matter how a file was written, whether by a rename, in place, or by swapping the link
//! `..data` as Kubernetes does; and where reports are lost, as on network file systems, a look from time to time finds what
//! they would have said.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::in_force::InForce;
use crate::reconcile::reconcile;
use crate::site::{Look, Scan, Scanner};
use crate::status::ReloadReport;

/// Someone who waits for a reload.
pub(crate) type Ask = oneshot::Sender<ReloadReport>;

/// A site that never gets quiet is looked at all the same, after this many times the quiet that was waited for.
const MOST_DEBOUNCES: u32 = 10;

/// The task that reads the site. All passes are its own, one at a time.
pub(crate) struct SiteTask {
    in_force: Arc<InForce>,
    asks: mpsc::Receiver<Ask>,
    site_config: watch::Sender<Arc<str>>,
    stop: CancellationToken,
    eyes: Option<Eyes>,
    changed: Arc<Notify>,
    watch: bool,
}

/// What looks at the site: lent to a blocking thread for each look.
struct Eyes {
    site: PathBuf,
    scanner: Scanner,
    watcher: Option<RecommendedWatcher>,
    changed: Arc<Notify>,
    watch: bool,
    /// Whether the log has said that watching does not work.
    complained: bool,
}

impl SiteTask {
    pub(crate) fn new(
        in_force: Arc<InForce>,
        asks: mpsc::Receiver<Ask>,
        site_config: watch::Sender<Arc<str>>,
        stop: CancellationToken,
    ) -> Self {
        let watch = in_force.config.load().watch;
        Self {
            in_force,
            asks,
            site_config,
            stop,
            eyes: None,
            changed: Arc::default(),
            watch,
        }
    }

    /// Reads the site at first, and then whenever someone asks, something changes or time passes, until it is stopped.
    pub(crate) async fn run(mut self) {
        // The first look loads the site. `wharf.toml` is then what the configuration was made of, and no change.
        let (_, mut unsettled) = self.pass(Look::Thorough).await;
        self.in_force.ready.send_replace(true);
        let mut next_rescan = Instant::now() + self.in_force.config.load().rescan();
        loop {
            let config = self.in_force.config.load_full();
            let debounce = config.debounce();
            let mut waiting = Vec::new();
            let mut look = Look::AfterChange(debounce);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                ask = self.asks.recv() => match ask {
                    Some(ask) => waiting.push(ask),
                    None => return,
                },
                () = sleep_until(next_rescan), if self.watch => look = Look::Rescan,
                () = self.changed.notified() => waiting.extend(self.quiet(debounce).await),
                () = sleep(debounce), if unsettled => {}
            }
            waiting.extend(std::iter::from_fn(|| self.asks.try_recv().ok()));
            if !waiting.is_empty() {
                look = Look::Thorough;
            }
            if look != Look::AfterChange(debounce) {
                next_rescan = Instant::now() + config.rescan();
            }
            let (report, again) = self.pass(look).await;
            unsettled = again && self.watch;
            for ask in waiting {
                // Whoever asked may have left.
                let _ = ask.send(report.clone());
            }
        }
    }

    /// Waits until nothing has changed for a while, or somebody asks for a reload.
    async fn quiet(&mut self, debounce: Duration) -> Option<Ask> {
        let latest = Instant::now() + debounce * MOST_DEBOUNCES;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return None,
                ask = self.asks.recv() => return ask,
                () = sleep_until(latest.min(Instant::now() + debounce)) => return None,
                () = self.changed.notified() => {}
            }
            if Instant::now() >= latest {
                return None;
            }
        }
    }

    /// Looks once, and puts what is there in force. Says also whether something is being written and wants another look.
    async fn pass(&mut self, look: Look) -> (ReloadReport, bool) {
        let mut eyes = match self.eyes.take() {
            Some(eyes) => eyes,
            None => Eyes::new(&self.in_force, self.watch, Arc::clone(&self.changed)),
        };
        let in_force = Arc::clone(&self.in_force);
        let looked = spawn_blocking(move || {
            let scan = eyes.look(&in_force, look);
            (eyes, scan)
        })
        .await;
        let (eyes, scan) = match looked {
            Ok(looked) => looked,
            // The runtime ends before the look began.
            Err(error) if error.is_cancelled() => return (ReloadReport::default(), false),
            // The memory of what was seen is lost with it, and made anew at the next look.
            Err(error) => {
                tracing::error!(%error, "reading the site panicked; this is a bug");
                return (ReloadReport::default(), false);
            }
        };
        self.eyes = Some(eyes);
        let unsettled = scan.unsettled;
        if let Some(text) = scan.site_config.clone() {
            self.site_config.send_if_modified(|known| {
                let changed = *known != text && *self.in_force.ready.borrow();
                *known = text;
                changed
            });
        }
        let report = reconcile(&self.in_force, scan, look == Look::Thorough).await;
        (report, unsettled)
    }
}

impl Eyes {
    fn new(in_force: &InForce, watch: bool, changed: Arc<Notify>) -> Self {
        Self {
            site: in_force.site.clone(),
            scanner: Scanner::new(&in_force.site),
            watcher: None,
            changed,
            watch,
            complained: false,
        }
    }

    /// Looks at the site. The watch is set before, so that what changes during the look is noticed.
    fn look(&mut self, in_force: &InForce, look: Look) -> Scan {
        if self.watch
            && let Err(error) = self.attend()
        {
            self.watcher = None;
            if !std::mem::replace(&mut self.complained, true) {
                tracing::warn!(
                    %error,
                    "the site cannot be watched; changes are found by looking from time to time (rescan_ms)"
                );
            }
        }
        self.scanner.scan(in_force.ports(), look)
    }

    /// Watches the site and every folder in it. Done anew before each look: folders behind new links, and a site folder
    /// that was replaced by another, are watched from then on. What is watched already costs nothing.
    fn attend(&mut self) -> notify::Result<()> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            None => {
                let changed = Arc::clone(&self.changed);
                self.watcher
                    .insert(notify::recommended_watcher(move |event| {
                        if matters(&event) {
                            changed.notify_one();
                        }
                    })?)
            }
        };
        watcher.watch(&self.site, RecursiveMode::Recursive)
    }
}

/// Whether an event may be a change. Our own looking is reported as well, as access; and a queue that ran over is an error
/// or an event of no kind, after which everything may have changed.
fn matters(event: &notify::Result<notify::Event>) -> bool {
    match event {
        Ok(event) => match event.kind {
            EventKind::Access(access) => {
                access == AccessKind::Close(AccessMode::Write) || event.need_rescan()
            }
            _ => true,
        },
        Err(_) => true,
    }
}

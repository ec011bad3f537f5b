//! Notices that the site changed, and reads it again.
//!
//! What the operating system reports is only a hint that something happened. The site is then looked at as a whole, and
//! compared by content. So it does not matter how a file was written, whether by a rename, in place, or by swapping the link
//! `..data` as Kubernetes does; and where reports are lost, as on network file systems, a look from time to time finds what
//! they would have said.

mod asks;
mod bundles;
mod changes;
mod models;
mod parts;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::in_force::InForce;
use crate::reconcile::reconcile;
use crate::site::{FOLDERS, Look, Scan, Scanner};
use crate::state::Purpose;
use crate::status::ReloadReport;
use changes::Changes;

pub(crate) use asks::{Ask, Reply};
pub(crate) use changes::Whole;
pub(crate) use models::unprocessable;

/// A site that never gets quiet is looked at all the same, after this many times the quiet that was waited for.
const MOST_DEBOUNCES: u32 = 10;

/// The task that reads the site. All passes are its own, one at a time.
pub(crate) struct SiteTask {
    in_force: Arc<InForce>,
    asks: mpsc::Receiver<Ask>,
    site_config: watch::Sender<Arc<str>>,
    stop: CancellationToken,
    eyes: Option<Eyes>,
    changes: Arc<Changes>,
    watch: bool,
    /// Whether something is being written that wants another look.
    unsettled: bool,
}

/// What looks at the site: lent to a blocking thread for each look.
struct Eyes {
    site: PathBuf,
    scanner: Scanner,
    watcher: Option<RecommendedWatcher>,
    changes: Arc<Changes>,
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
        let changes = Arc::new(Changes::new(&in_force.site));
        Self {
            in_force,
            asks,
            site_config,
            stop,
            eyes: None,
            changes,
            watch,
            unsettled: false,
        }
    }

    /// Reads the site at first, and then whenever someone asks, something changes or time passes, until it is stopped.
    pub(crate) async fn run(mut self) {
        // The first look loads the site. `wharf.toml` is then what the configuration was made of, and no change.
        let (_, unsettled) = self.pass(Look::Thorough).await;
        self.unsettled = unsettled;
        self.in_force.first_load_done();
        let mut next_rescan = Instant::now() + self.in_force.config.load().rescan();
        loop {
            let config = self.in_force.config.load_full();
            let debounce = config.debounce();
            let (mut asked, mut ahead) = (None, None);
            let mut due = true;
            let mut look = Look::AfterChange(debounce);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                ask = self.asks.recv() => match ask {
                    Some(ask) => (asked, due) = (Some(ask), false),
                    None => return,
                },
                () = sleep_until(next_rescan), if self.watch => look = Look::Rescan(debounce),
                () = self.changes.changed() => (asked, ahead) = self.quiet(debounce).await,
                () = sleep(debounce), if self.unsettled => {}
            }
            // What was seen ahead would not be true any more after what is asked for: that comes next.
            let waiting = match ahead {
                Some(_) => Vec::new(),
                None => self.answer(asked).await,
            };
            if !waiting.is_empty() {
                look = Look::Thorough;
            } else if !due {
                // Asks for models come before everything else here, and must not keep a look from its time.
                if !self.watch || Instant::now() < next_rescan {
                    continue;
                }
                look = Look::Rescan(debounce);
            }
            if look != Look::AfterChange(debounce) {
                next_rescan = Instant::now() + config.rescan();
            }
            let (report, again) = match ahead {
                Some(scan) => self.put_in_force(look, scan).await,
                None => self.pass(look).await,
            };
            self.unsettled = again && self.watch;
            for answer in waiting {
                // Whoever asked may have left.
                let _ = answer.send(report.clone());
            }
        }
    }

    /// Waits until nothing has changed for a while, or somebody asks for something. Where all that changed is whole, the while is
    /// short, and the site is looked at meanwhile: gives what was seen, where nothing has changed since.
    async fn quiet(&mut self, debounce: Duration) -> (Option<Ask>, Option<Scan>) {
        let latest = Instant::now() + debounce * MOST_DEBOUNCES;
        // Once: where more comes each time, the look that counts is the one after it.
        let mut may_look = true;
        loop {
            let patience = self.changes.patience(debounce);
            let until = latest.min(Instant::now() + patience);
            let ahead = if patience < debounce && std::mem::take(&mut may_look) {
                self.see(Look::AfterChange(debounce), Changes::look_ahead)
                    .await
            } else {
                None
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return (None, None),
                ask = self.asks.recv() => return (ask, None),
                () = self.changes.changed() => {}
                () = sleep_until(until) => match ahead {
                    Some(_) if !self.changes.has_stayed() => {}
                    ahead => return (None, ahead),
                },
            }
            if Instant::now() >= latest {
                return (None, None);
            }
        }
    }

    /// Looks once, and puts what is there in force. Says also whether something is being written and wants another look.
    async fn pass(&mut self, look: Look) -> (ReloadReport, bool) {
        match self.see(look, Changes::take).await {
            Some(scan) => self.put_in_force(look, scan).await,
            None => (ReloadReport::default(), false),
        }
    }

    /// Looks at the site. `begin` says of the changes until now what is whole. None where the runtime ends, or the look panicked.
    async fn see(&mut self, look: Look, begin: fn(&Changes, Duration) -> Whole) -> Option<Scan> {
        let in_force = Arc::clone(&self.in_force);
        self.with_eyes(move |eyes| eyes.look(&in_force, look, begin))
            .await
    }

    async fn put_in_force(&self, look: Look, scan: Scan) -> (ReloadReport, bool) {
        let unsettled = scan.unsettled;
        if let Some(text) = scan.site_config.clone() {
            self.site_config.send_if_modified(|known| {
                let changed = *known != text && *self.in_force.loaded.borrow();
                *known = text;
                changed
            });
        }
        let purpose = match look {
            Look::Thorough => Purpose::Thorough,
            Look::AfterChange(_) | Look::Rescan(_) => Purpose::Follow,
        };
        let report = reconcile(&self.in_force, scan, &purpose, Vec::new()).await;
        (report, unsettled)
    }

    /// Looks at something on a thread that may block. None where that ended without a look.
    async fn with_eyes<T: Send + 'static>(
        &mut self,
        look: impl FnOnce(&mut Eyes) -> T + Send + 'static,
    ) -> Option<T> {
        let mut eyes = match self.eyes.take() {
            Some(eyes) => eyes,
            None => Eyes::new(&self.in_force, self.watch, Arc::clone(&self.changes)),
        };
        let looked = spawn_blocking(move || {
            let seen = look(&mut eyes);
            (eyes, seen)
        })
        .await;
        match looked {
            Ok((eyes, seen)) => {
                self.eyes = Some(eyes);
                Some(seen)
            }
            // The runtime ends before the look began.
            Err(error) if error.is_cancelled() => None,
            // The memory of what was seen is lost with it, and made anew at the next look.
            Err(error) => {
                tracing::error!(%error, "reading the site panicked; this is a bug");
                None
            }
        }
    }
}

impl Eyes {
    fn new(in_force: &InForce, watch: bool, changes: Arc<Changes>) -> Self {
        Self {
            site: in_force.site.clone(),
            scanner: Scanner::new(&in_force.site),
            watcher: None,
            changes,
            watch,
            complained: false,
        }
    }

    /// Looks at the site. The watch is set before, so that what changes during the look is noticed.
    fn look(
        &mut self,
        in_force: &InForce,
        look: Look,
        begin: fn(&Changes, Duration) -> Whole,
    ) -> Scan {
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
        // Any other look takes whatever is there.
        let quiet = match look {
            Look::AfterChange(quiet) => quiet,
            Look::Rescan(_) | Look::Thorough => Duration::ZERO,
        };
        let whole = begin(&self.changes, quiet);
        self.scanner.focus = in_force.read(|state| state.bundles.focus());
        self.scanner.scan(in_force.ports(), look, &whole)
    }

    /// Watches the site and its folders with everything in them. Done anew before each look: folders behind new links, and a site folder
    /// that was replaced by another, are watched from then on. What is watched already costs nothing.
    fn attend(&mut self) -> notify::Result<()> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            None => {
                let changes = Arc::clone(&self.changes);
                self.watcher
                    .insert(notify::recommended_watcher(move |event| {
                        changes.note(&event);
                    })?)
            }
        };
        // Not the site as a whole: what comes and goes in our staging folder is none of the site's content.
        watcher.watch(&self.site, RecursiveMode::NonRecursive)?;
        for folder in FOLDERS.map(|folder| self.site.join(folder)) {
            match watcher.watch(&folder, RecursiveMode::Recursive) {
                // Its making will be noticed by the watch on the site.
                Err(_) if !folder.is_dir() => {}
                watched => watched?,
            }
        }
        Ok(())
    }
}

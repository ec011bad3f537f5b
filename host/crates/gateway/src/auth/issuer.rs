//! An issuer of tokens, and its keys as they are now.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::fetch::Fetcher;
use super::key_file::KeyFile;
use super::keys::KeySet;
use super::remote::Remote;
use super::settings::{IssuerConfig, Wrong};
use crate::metrics::{AuthMetrics, FetchOutcome};

/// Someone whose tokens are believed.
pub(super) struct Issuer {
    pub(super) config: IssuerConfig,
    held: ArcSwap<Held>,
    source: Source,
}

/// Where keys come from.
enum Source {
    /// A file, which is followed.
    File(KeyFile),
    /// An address, which is asked again and again.
    Remote(Box<Remote>),
}

/// The keys, and until when they count.
struct Held {
    keys: Arc<KeySet>,
    until: Until,
}

enum Until {
    /// None were fetched yet.
    Never,
    /// The set could be fetched, but that must happen again by then.
    Time(Instant),
    /// They lie in a file.
    Always,
}

impl Held {
    fn counts(&self) -> bool {
        match self.until {
            Until::Never => false,
            Until::Time(time) => Instant::now() < time,
            Until::Always => true,
        }
    }
}

impl Issuer {
    /// Reads the keys where they lie in a file. Those at an address are fetched later.
    ///
    /// # Errors
    /// The setting that is wrong, and why.
    pub(super) fn open(config: &IssuerConfig, site: &Path) -> Result<Self, Wrong> {
        let remote = match &config.jwks {
            Some(jwks) => config.url(jwks)?,
            None => None,
        };
        let (source, keys, until) = match remote {
            Some(address) => {
                let fetcher = Fetcher::new(address, config.ca_file.as_deref(), site)?;
                let source = Source::Remote(Box::new(Remote::new(fetcher, config)));
                (source, KeySet::default(), Until::Never)
            }
            None => {
                let (key, path) = config.file();
                let (file, content) = KeyFile::open(path, site).map_err(|why| (key, why))?;
                let keys = config.read(&content);
                let keys = keys.map_err(|why| (key, format!("{path} {why}")))?;
                (Source::File(file), keys, Until::Always)
            }
        };
        Ok(Self {
            config: config.clone(),
            held: ArcSwap::from_pointee(Held {
                keys: Arc::new(keys),
                until,
            }),
            source,
        })
    }

    /// The keys that count now.
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        let held = self.held.load();
        held.counts().then(|| Arc::clone(&held.keys))
    }

    /// Whether these are the keys that count now.
    pub(super) fn vouches_by(&self, keys: &Arc<KeySet>) -> bool {
        let held = self.held.load();
        Arc::ptr_eq(&held.keys, keys) && held.counts()
    }

    /// How the last fetch of the keys ended, where none is due: there is nothing to wait for. A file is as new as it can be.
    pub(super) fn lately(&self) -> Option<FetchOutcome> {
        match &self.source {
            Source::File(_) => Some(FetchOutcome::Unchanged),
            Source::Remote(remote) => remote.lately(),
        }
    }

    /// Waits for a newer set. Gives how its fetch ended; none where that takes too long.
    pub(super) async fn news(&self) -> Option<FetchOutcome> {
        match &self.source {
            Source::File(_) => Some(FetchOutcome::Unchanged),
            Source::Remote(remote) => remote.news().await,
        }
    }

    /// Fetches the keys now and then, until [`Issuer::retire`]. Keys in a file are followed by [`Issuer::look`].
    pub(super) async fn follow(&self, metrics: &AuthMetrics) {
        if let Source::Remote(remote) = &self.source {
            remote.follow(self, metrics).await;
        }
    }

    /// Ends [`Issuer::follow`].
    pub(super) fn retire(&self) {
        if let Source::Remote(remote) = &self.source {
            remote.stop();
        }
    }

    /// Looks into the file again. What cannot be used leaves the keys as they are.
    pub(super) fn look(&self, site: &Path) {
        let Source::File(file) = &self.source else {
            return;
        };
        let Some(news) = file.news(site) else { return };
        let read = news.and_then(|content| {
            let keys = self.config.read(&content);
            keys.map_err(|why| format!("{} {why}", file.path()))
        });
        match read {
            Ok(keys) => self.put(keys, Until::Always),
            Err(problem) => {
                tracing::error!(
                    issuer = self.config.issuer,
                    problem,
                    "the issuer's keys stay as they were"
                );
            }
        }
    }

    /// Takes a set that was fetched.
    ///
    /// # Errors
    /// Where it is none, or has no key that can be used. The keys stay as they are.
    pub(super) fn take(&self, document: &[u8], until: Instant) -> Result<(), String> {
        let keys = self.config.read(document)?;
        self.put(keys, Until::Time(until));
        Ok(())
    }

    /// Lets the keys count for longer: the set is still the same.
    pub(super) fn prolong(&self, until: Instant) {
        self.held.rcu(|held| Held {
            keys: Arc::clone(&held.keys),
            until: match held.until {
                Until::Never => Until::Never,
                _ => Until::Time(until),
            },
        });
    }

    fn put(&self, keys: KeySet, until: Until) {
        tracing::info!(
            issuer = self.config.issuer,
            keys = keys.len(),
            "the issuer's keys are in force"
        );
        self.held.store(Arc::new(Held {
            keys: Arc::new(keys),
            until,
        }));
    }
}

impl IssuerConfig {
    /// The file of the keys, and the setting that names it.
    fn file(&self) -> (&'static str, &str) {
        match (&self.jwks, &self.pem) {
            (Some(jwks), _) => ("jwks", jwks),
            (None, pem) => ("pem", pem.as_deref().unwrap_or_default()),
        }
    }

    /// # Errors
    /// Why there are no keys in it that can be used, in words that follow its name.
    fn read(&self, content: &[u8]) -> Result<KeySet, String> {
        if self.jwks.is_none() {
            return KeySet::from_pem(content, &self.algorithms);
        }
        let (keys, left_out) = KeySet::from_jwks(content, &self.algorithms)?;
        for reason in left_out {
            tracing::warn!(
                issuer = self.issuer,
                "a key of the issuer is left out: it {reason}"
            );
        }
        if keys.len() == 0 {
            return Err("has no key that can be used".to_owned());
        }
        Ok(keys)
    }
}

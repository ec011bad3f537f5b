//! Who sends a request: by a token that an issuer signed, or by a key.
//!
//! A token that was verified once is known by its digest until it expires or its issuer's keys change, so that most requests cost a hash
//! and a look-up. Whatever can be known is answered at once; only a key that may be in a newer set is waited for.

mod settings;

mod credential;
mod principal;
mod refusal;
mod trusted;

mod claims;
mod token;

mod fetch;
mod issuer;
mod key_file;
mod keys;
mod remote;

mod api_keys;
mod cache;
mod gate;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wharf_core::{Error, LoadError, Principal, Prompt, Result};

use self::api_keys::KeyBook;
use self::cache::TokenCache;
use self::gate::{Gate, Passage};
use self::issuer::Issuer;
use crate::config::{Access, Config, WithoutTenant, issuer_key, setting};
use crate::metrics::{AuthMetrics, Outcome};

pub use self::api_keys::{ApiKey, ApiKeyError};
pub(crate) use self::key_file::read as read_file;
pub use self::settings::{ApiKeysConfig, IssuerConfig, OneOrMore};

/// How long a changed file goes unnoticed.
const ROUND: Duration = Duration::from_secs(1);

/// Finds out who sends a request.
pub(crate) struct Authenticator {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Held while the settings change: one change begins where the other one ended.
    changing: Mutex<()>,
}

struct Shared {
    site: PathBuf,
    way: ArcSwap<Way>,
    metrics: AuthMetrics,
}

/// How it is found out.
enum Way {
    /// Nobody is asked.
    Open(Arc<Principal>),
    /// A proxy says it.
    Trusted(WithoutTenant),
    /// By credentials.
    Gate(Arc<Gate>),
}

impl Authenticator {
    /// Reads the files of keys, and begins to fetch key sets and to follow files. Files are read here: it never runs on a thread that
    /// serves requests, and it needs a runtime.
    ///
    /// # Errors
    /// Names the setting whose file cannot be used.
    pub(crate) fn open(config: &Config, site: &Path, meter: &Meter) -> Result<Self, LoadError> {
        let way = Way::open(config, site, &[])?;
        let authenticator = Self {
            shared: Arc::new(Shared {
                site: site.to_owned(),
                way: ArcSwap::from_pointee(way),
                metrics: AuthMetrics::new(meter),
            }),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            changing: Mutex::new(()),
        };
        let shared = Arc::clone(&authenticator.shared);
        authenticator.fetch_keys_of(shared.way.load().issuers());
        authenticator.spawn(shared.look_around());
        Ok(authenticator)
    }

    /// Reads the files that settings name, and starts nothing.
    ///
    /// # Errors
    /// As [`Authenticator::open`].
    pub(crate) fn check(config: &Config, site: &Path) -> Result<(), LoadError> {
        Way::open(config, site, &[]).map(drop)
    }

    /// Puts other settings in force. An issuer whose settings are the same keeps its keys.
    ///
    /// # Errors
    /// As [`Authenticator::open`]; what was in force stays so.
    pub(crate) fn reconfigure(&self, config: &Config) -> Result<(), LoadError> {
        let _changing = self.changing.lock();
        let before = self.shared.way.load_full();
        let way = Way::open(config, &self.shared.site, before.issuers())?;
        let is_new = |issuer: &&Arc<Issuer>| !has(before.issuers(), issuer);
        self.fetch_keys_of(way.issuers().iter().filter(is_new));
        let way = Arc::new(way);
        // First in force, so that no request comes to an issuer that has retired.
        self.shared.way.store(Arc::clone(&way));
        let gone = |issuer: &&Arc<Issuer>| !has(way.issuers(), issuer);
        let gone = before.issuers().iter().filter(gone);
        gone.for_each(|issuer| issuer.retire());
        Ok(())
    }

    /// Whether credentials say what their owners may do.
    pub(crate) fn grants_scopes(&self) -> bool {
        matches!(**self.shared.way.load(), Way::Gate(_))
    }

    pub(crate) fn identify<'a>(
        &'a self,
        fields: &'a HeaderMap,
    ) -> Prompt<'a, Result<Arc<Principal>>> {
        let shared = &self.shared;
        match &**shared.way.load() {
            Way::Open(anybody) => Prompt::Now(Ok(Arc::clone(anybody))),
            Way::Trusted(without_tenant) => {
                let said = trusted::principal(fields, *without_tenant);
                Prompt::Now(shared.counted(said.map(|principal| (principal, Outcome::Ok))))
            }
            Way::Gate(gate) => match gate.pass(fields) {
                Prompt::Now(passage) => Prompt::Now(shared.counted(passage)),
                Prompt::Later(passage) => {
                    Prompt::Later(Box::pin(async move { shared.counted(passage.await) }))
                }
            },
        }
    }

    /// Ends what runs in the background, and waits for it.
    pub(crate) async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn fetch_keys_of<'a>(&self, issuers: impl IntoIterator<Item = &'a Arc<Issuer>>) {
        for issuer in issuers {
            let (issuer, shared) = (Arc::clone(issuer), Arc::clone(&self.shared));
            self.spawn(async move { issuer.follow(&shared.metrics).await });
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(work).await;
        });
    }
}

impl Drop for Authenticator {
    /// Nobody may have joined the tasks: they end all the same.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn has(issuers: &[Arc<Issuer>], wanted: &Arc<Issuer>) -> bool {
    issuers.iter().any(|issuer| Arc::ptr_eq(issuer, wanted))
}

impl Way {
    /// `known` are issuers that may be taken over.
    fn open(config: &Config, site: &Path, known: &[Arc<Issuer>]) -> Result<Self, LoadError> {
        match config.auth {
            Access::None => return Ok(Self::Open(principal::anonymous())),
            Access::TrustedNetwork => return Ok(Self::Trusted(config.trusted_without_tenant)),
            Access::Required => {}
        }
        let issuers = config.issuers.iter().enumerate().map(|(index, config)| {
            if let Some(known) = known.iter().find(|known| known.config == *config) {
                return Ok(Arc::clone(known));
            }
            let opened = Issuer::open(config, site);
            opened
                .map(Arc::new)
                .map_err(|(key, problem)| setting(&issuer_key(index, key), problem))
        });
        let keys = config.api_keys.file.as_deref();
        Ok(Self::Gate(Arc::new(Gate {
            issuers: issuers.collect::<Result<_, _>>()?,
            cache: TokenCache::new(config.cached_tokens),
            keys: keys.map(|path| KeyBook::open(path, site)).transpose()?,
        })))
    }

    fn issuers(&self) -> &[Arc<Issuer>] {
        match self {
            Self::Gate(gate) => &gate.issuers,
            Self::Open(_) | Self::Trusted(_) => &[],
        }
    }
}

impl Shared {
    /// Looks into the files of keys, round by round.
    async fn look_around(self: Arc<Self>) {
        loop {
            tokio::time::sleep(ROUND).await;
            let shared = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || {
                if let Way::Gate(gate) = &**shared.way.load() {
                    gate.look(&shared.site);
                }
            });
            if let Err(error) = looked.await {
                tracing::error!(%error, "the files of keys were not looked at");
            }
        }
    }

    fn counted(&self, passage: Passage) -> Result<Arc<Principal>> {
        match passage {
            Ok((principal, outcome)) => {
                self.metrics.authenticated(outcome);
                Ok(principal)
            }
            Err(refusal) => {
                self.metrics.authenticated(refusal.outcome());
                Err(Error::from(refusal))
            }
        }
    }
}

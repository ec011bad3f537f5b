//! The gateway as a whole: what answers the port.

use std::path::Path;
use std::sync::Arc;

use http::HeaderMap;
use opentelemetry::metrics::Meter;
use wharf_core::{Admission, Gatekeeper, LoadError, Principal, Prompt, Result, TokenReserve};

use crate::auth::Authenticator;
use crate::config::Config;
use crate::quota::{self, Quotas};

/// Who sends a request, and how much they may.
pub struct Gateway {
    callers: Authenticator,
    quotas: Quotas,
}

impl Gateway {
    /// Reads what the settings name, and starts what runs in the background. Key sets at addresses are fetched there: requests
    /// that come before wait for them. Files are read here: it never runs on a thread that serves requests. It needs a runtime.
    ///
    /// # Errors
    /// Names the setting that is wrong, or whose file cannot be used.
    pub fn open(config: &Config, site: &Path, meter: &Meter) -> Result<Self, LoadError> {
        config.check()?;
        Ok(Self {
            callers: Authenticator::open(config, site, meter)?,
            quotas: Quotas::open(config, site, meter)?,
        })
    }

    /// Says what [`Gateway::open`] would refuse, without starting anything or asking anybody.
    ///
    /// # Errors
    /// As [`Gateway::open`].
    pub fn check(config: &Config, site: &Path) -> Result<(), LoadError> {
        config.check()?;
        Authenticator::check(config, site)?;
        quota::check_files(config, site)
    }

    /// Puts other settings in force, for requests from now on. It reads files, as [`Gateway::open`] does.
    ///
    /// # Errors
    /// As [`Gateway::open`]; what was in force stays so.
    pub fn reconfigure(&self, config: &Config) -> Result<(), LoadError> {
        config.check()?;
        self.callers.reconfigure(config)?;
        self.quotas.reconfigure(config);
        Ok(())
    }

    /// Ends what runs in the background, and waits for it.
    pub async fn shutdown(&self) {
        self.callers.shutdown().await;
        self.quotas.shutdown().await;
    }
}

impl Gatekeeper for Gateway {
    fn grants_scopes(&self) -> bool {
        self.callers.grants_scopes()
    }

    fn identify<'a>(&'a self, fields: &'a HeaderMap) -> Prompt<'a, Result<Arc<Principal>>> {
        self.callers.identify(fields)
    }

    fn admit<'a>(&'a self, principal: &'a Principal, route: &'a str) -> Prompt<'a, Admission> {
        self.quotas.admit(principal, route)
    }

    fn reserve<'a>(
        &'a self,
        principal: &'a Principal,
        route: &'a str,
        tokens: u64,
    ) -> Prompt<'a, Result<Box<dyn TokenReserve>>> {
        self.quotas.reserve(principal, route, tokens)
    }
}

//! What a request sees of a plugin's state, and the bounds that its writes keep to.

use std::sync::Arc;
use std::time::Instant;

use opentelemetry::metrics::BoundCounter;

use super::scope::{Found, NotCounted, Scope, Swap, Terms};
use super::{Grant, Sharing, Store, Tenant};

/// What a plugin was granted: its state, and the bounds of this release.
pub(crate) struct State {
    pub(super) store: Arc<Store>,
    pub(super) grant: Grant,
    pub(super) refused: [BoundCounter<u64>; Refused::ALL.len()],
}

/// Why something is not written. The limits are those of the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There are as many keys as there may be.
    Entries,
    /// The keys and values take as many bytes as they may.
    Bytes,
    /// As many tenants have values as may have.
    Tenants,
}

impl Refused {
    pub(crate) const ALL: [Self; 3] = [Self::Entries, Self::Bytes, Self::Tenants];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Entries => "entries",
            Self::Bytes => "bytes",
            Self::Tenants => "tenants",
        }
    }
}

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyTooLong {
    pub(crate) most: u32,
}

/// The state as one request sees it, at one moment.
pub(crate) struct View<'a> {
    state: &'a State,
    tenant: Tenant,
    now: Instant,
}

impl State {
    /// The state of a tenant's requests.
    pub(crate) fn view(&self, tenant: Tenant, now: Instant) -> View<'_> {
        let tenant = match self.grant.scope {
            Sharing::Tenant => tenant,
            Sharing::Plugin => None,
        };
        View {
            state: self,
            tenant,
            now,
        }
    }

    /// Says what there is no room for.
    pub(crate) fn explain(&self, refused: Refused) -> String {
        let grant = &self.grant;
        match refused {
            Refused::Entries => format!(
                "the plugin's state has no room for one more key: its grant allows {}",
                grant.entries
            ),
            Refused::Bytes => format!(
                "the plugin's state has no room for the value: its grant allows {} KiB of keys and values",
                grant.kb
            ),
            Refused::Tenants => format!(
                "the plugin's state has no room for one more tenant: its grant allows {}",
                grant.tenants
            ),
        }
    }

    /// # Errors
    /// Where the key is longer than the grant allows.
    pub(crate) fn check_key(&self, key: &str) -> Result<(), KeyTooLong> {
        let most = self.grant.key_bytes;
        if key.len() > most as usize {
            return Err(KeyTooLong { most });
        }
        Ok(())
    }
}

impl View<'_> {
    pub(crate) fn get(&self, key: &str) -> Option<Found> {
        self.read(|scope| scope.get(key, self.now)).flatten()
    }

    pub(crate) fn keys(&self, prefix: &str, limit: u32) -> Vec<Arc<str>> {
        self.read(|scope| scope.keys(prefix, limit as usize, self.now))
            .unwrap_or_default()
    }

    pub(crate) fn delete(&self, key: &str) -> bool {
        self.read(|scope| scope.delete(key, self.now))
            .unwrap_or(false)
    }

    pub(crate) fn set(
        &self,
        key: &str,
        value: Vec<u8>,
        expires_ms: Option<u64>,
    ) -> Result<u64, Refused> {
        self.write(|scope, terms| scope.set(key, value, terms.until(expires_ms)))
    }

    pub(crate) fn compare_and_swap(
        &self,
        key: &str,
        version: u64,
        value: Vec<u8>,
        expires_ms: Option<u64>,
    ) -> Result<Swap, Refused> {
        self.write(|scope, terms| {
            scope.compare_and_swap(key, version, value, terms.until(expires_ms))
        })
    }

    pub(crate) fn increment(
        &self,
        key: &str,
        by: i64,
        expires_ms: Option<u64>,
    ) -> Result<Result<i64, NotCounted>, Refused> {
        self.write(|scope, terms| scope.increment(key, by, terms.until(expires_ms)))
    }

    fn read<T>(&self, operation: impl FnOnce(&mut Scope) -> T) -> Option<T> {
        let scopes = self.state.store.scopes.read();
        let scope = scopes.get(&self.tenant)?;
        let mut scope = scope.lock();
        Some(operation(&mut scope))
    }

    fn write<T>(
        &self,
        operation: impl FnOnce(&mut Scope, Terms<'_>) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let done = self.written(operation);
        if let Err(refused) = &done {
            self.state.refused[*refused as usize].add(1);
        }
        done
    }

    fn written<T>(
        &self,
        operation: impl FnOnce(&mut Scope, Terms<'_>) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let State { store, grant, .. } = self.state;
        let terms = Terms {
            entries: grant.entries as usize,
            bytes: u64::from(grant.kb) << 10,
            version: &store.version,
            now: self.now,
            expires_at: None,
        };
        let scopes = store.scopes.read();
        if let Some(scope) = scopes.get(&self.tenant) {
            return operation(&mut scope.lock(), terms);
        }
        drop(scopes);
        let mut scopes = store.scopes.write();
        if !scopes.contains_key(&self.tenant) && scopes.len() >= grant.tenants as usize {
            return Err(Refused::Tenants);
        }
        let scope = scopes.entry(self.tenant.clone()).or_default();
        operation(scope.get_mut(), terms)
    }
}

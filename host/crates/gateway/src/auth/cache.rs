//! Tokens that were verified, so that each is verified once.
//!
//! Only good tokens are remembered: whoever makes tokens up fills nothing. They are found by their digest, so that no token lies
//! in memory for longer than its request.

use std::sync::Arc;

use quick_cache::sync::Cache;
use wharf_core::Principal;

use super::claims::Proof;
use super::issuer::Issuer;
use super::keys::KeySet;

/// The SHA-256 of a token or a key.
pub(super) type TokenDigest = [u8; 32];

/// The tokens that are remembered. Beyond its capacity, those that are seldom asked for give way.
pub(super) struct TokenCache(Cache<TokenDigest, Arc<Verified>>);

/// A token that was verified, and by what.
pub(super) struct Verified {
    pub(super) proof: Proof,
    pub(super) issuer: Arc<Issuer>,
    /// The keys that verified it. When they give way to others, the token is verified again: so a key that was removed
    /// speaks for nobody from then on.
    pub(super) keys: Arc<KeySet>,
}

impl TokenCache {
    pub(super) fn new(tokens: usize) -> Self {
        Self(Cache::new(tokens))
    }

    /// Whom a token proves, where that is known and still true. Allocates nothing.
    pub(super) fn get(&self, digest: &TokenDigest, now: u64) -> Option<Arc<Principal>> {
        let verified = self.0.get(digest)?;
        if now < verified.proof.until && verified.issuer.vouches_by(&verified.keys) {
            return Some(Arc::clone(&verified.proof.principal));
        }
        self.0.remove(digest);
        None
    }

    pub(super) fn insert(&self, digest: TokenDigest, verified: Verified) {
        self.0.insert(digest, Arc::new(verified));
    }
}

//! What must be so for a change of the site to be made, and the digest that it compares.

use sha2::{Digest as _, Sha256};
use wharf_core::Digest;

pub use wharf_core::{IF_MATCH, IF_NONE_MATCH, Precondition};

/// The digest of a content, as entity tags have it.
pub(crate) fn digest_of(content: &[u8]) -> Digest {
    Digest::new(Sha256::digest(content).into())
}

//! OCI registries: the names of artifacts, the logins for registries, and the part of the distribution API that push and pull use.
//!
//! What an artifact is made of is known to whoever has one: plugins and bundles.

mod content;
mod credentials;
mod reference;
mod registry;

use anyhow::Result;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

pub(crate) use content::{Content, Part};
pub(crate) use credentials::Credentials;
pub(crate) use reference::{Reference, is_digest};
pub(crate) use registry::Registry;

/// The media type of a manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A part of an artifact, by its content.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) annotations: std::collections::BTreeMap<String, String>,
}

/// The digest of bytes, as registries write it.
pub(crate) fn digest(data: &[u8]) -> String {
    written(Sha256::digest(data).as_slice())
}

/// A SHA-256 as registries write it.
pub(crate) fn written(sha256: &[u8]) -> String {
    sha256.iter().fold("sha256:".to_owned(), |text, byte| {
        text + &format!("{byte:02x}")
    })
}

/// Runs what talks to a registry.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

#[cfg(test)]
pub(crate) mod fake;

//! API keys: what clients send that have no tokens.
//!
//! A key is 256 random bits, so the file has its SHA-256 and that is enough: there is nothing to guess that a slow hash, such as
//! passwords need, would protect. It is found by that digest. How long this takes says something of the digest at most, and nobody
//! can steer a digest towards one that they do not know.

mod entry;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use wharf_core::{LoadError, Principal};

use self::entry::Known;
pub use self::entry::{ApiKey, ApiKeyError};
use super::cache::TokenDigest;
use super::key_file::KeyFile;
use super::refusal::Refusal;
use crate::config::setting;

/// What every key begins with. Scanners for leaked secrets know keys by such a beginning, and no JWT has it.
pub(super) const PREFIX: &str = "wharf_";

/// The longest text that is looked for.
const KEY_BYTES: usize = 256;

/// The keys of a file, which is followed.
pub(super) struct KeyBook {
    file: KeyFile,
    keys: ArcSwap<Keys>,
}

/// Whom each key proves, by its digest.
#[derive(Debug)]
struct Keys(HashMap<TokenDigest, Known>);

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    keys: Vec<ApiKey>,
}

impl KeyBook {
    /// # Errors
    /// Where the file is not there, or an entry in it is wrong.
    pub(super) fn open(path: &str, site: &Path) -> Result<Self, LoadError> {
        let (file, content) =
            KeyFile::open(path, site).map_err(|problem| setting("api_keys.file", problem))?;
        let keys = Keys::read(path, &content)?;
        Ok(Self {
            file,
            keys: ArcSwap::from_pointee(keys),
        })
    }

    /// Whom a key proves that came in a field.
    pub(super) fn find(
        &self,
        (key, field): (&str, &'static str),
        now: u64,
    ) -> Result<Arc<Principal>, Refusal> {
        if key.len() > KEY_BYTES {
            return Err(Refusal::UnknownApiKey(field));
        }
        let digest: TokenDigest = Sha256::digest(key).into();
        let keys = self.keys.load();
        let known = keys.0.get(&digest).ok_or(Refusal::UnknownApiKey(field))?;
        if known.expires.is_some_and(|expires| now >= expires) {
            return Err(Refusal::ExpiredApiKey(field));
        }
        Ok(Arc::clone(&known.principal))
    }

    /// Looks into the file again. What cannot be used leaves the keys as they are.
    pub(super) fn look(&self, site: &Path) {
        let path = self.file.path();
        let read = match self.file.news(site) {
            None => return,
            Some(Ok(content)) => Keys::read(path, &content),
            Some(Err(problem)) => Err(setting("api_keys.file", problem)),
        };
        match read {
            Ok(keys) => {
                tracing::info!(keys = keys.0.len(), "the API keys are in force");
                self.keys.store(Arc::new(keys));
            }
            Err(problem) => tracing::error!(%problem, "the API keys stay as they were"),
        }
    }
}

impl Keys {
    fn read(path: &str, content: &[u8]) -> Result<Self, LoadError> {
        let text = std::str::from_utf8(content)
            .map_err(|_| LoadError::new(path, "the file is not UTF-8"))?;
        let document: Document = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = 1 + before.map_or(0, |before| before.matches('\n').count());
            LoadError::new(path, format!("line {line}: {}", error.message()))
        })?;
        let (mut keys, mut names) = (HashMap::new(), BTreeSet::new());
        for (index, key) in document.keys.iter().enumerate() {
            let wrong = |(member, problem): (&str, String)| {
                LoadError::new(path, problem).with_key(format!("keys[{index}].{member}"))
            };
            let (digest, known) = key
                .known()
                .map_err(|error| wrong((error.key, error.message)))?;
            if !names.insert(&key.name) {
                return Err(wrong(("name", "another key has this name".to_owned())));
            }
            if keys.insert(digest, known).is_some() {
                let problem = "another entry is about the same key".to_owned();
                return Err(wrong(("sha256", problem)));
            }
        }
        Ok(Self(keys))
    }
}

#[cfg(test)]
mod tests;

//! Where credentials are looked at: tokens of issuers, and API keys.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use jsonwebtoken::Algorithm;
use sha2::{Digest as _, Sha256};
use wharf_core::{Principal, Prompt};

use super::api_keys::KeyBook;
use super::cache::{TokenCache, TokenDigest, Verified};
use super::claims::{self, Proof};
use super::credential::Credential;
use super::issuer::Issuer;
use super::keys::{KeySet, Mismatch};
use super::refusal::Refusal;
use super::token::{Alg, TOKEN_BYTES, Token};
use crate::metrics::{FetchOutcome, Outcome};

/// Whose credentials are good.
pub(super) struct Gate {
    pub(super) issuers: Vec<Arc<Issuer>>,
    pub(super) cache: TokenCache,
    pub(super) keys: Option<KeyBook>,
}

/// Who was let in, and what that counts as.
pub(super) type Passage = Result<(Arc<Principal>, Outcome), Refusal>;

/// A token whose issuer is believed, and which is signed in a way that is accepted: if only the signature is good.
struct Presented {
    token: Token,
    digest: TokenDigest,
    issuer: Arc<Issuer>,
    algorithm: Algorithm,
}

/// Why a signature is not good now.
enum Trouble {
    /// And it will not be.
    Refused(Refusal),
    /// A newer key set may have the key. Where it has not, this is why.
    NoKey(Refusal),
}

impl Gate {
    /// Finds out who sends a request. Only a token whose key is not there yet is waited for.
    pub(super) fn pass(self: &Arc<Self>, fields: &HeaderMap) -> Prompt<'static, Passage> {
        match Credential::find(fields) {
            Ok(Credential::Token(text)) => self.by_token(text),
            Ok(Credential::Key(key, field)) => Prompt::Now(self.by_key(key, field)),
            Err(refusal) => Prompt::Now(Err(refusal)),
        }
    }

    /// Looks into the files of keys again.
    pub(super) fn look(&self, site: &Path) {
        self.issuers.iter().for_each(|issuer| issuer.look(site));
        self.keys.iter().for_each(|book| book.look(site));
    }

    fn by_key(&self, key: &str, field: &'static str) -> Passage {
        let book = self.keys.as_ref().ok_or(Refusal::UnknownApiKey(field))?;
        let principal = book.find((key, field), now())?;
        Ok((principal, Outcome::Ok))
    }

    fn by_token(self: &Arc<Self>, text: &str) -> Prompt<'static, Passage> {
        // Before anything is done with it: what is too long costs nothing.
        if text.len() > TOKEN_BYTES {
            return Prompt::Now(Err(Refusal::TooLong));
        }
        let digest = Sha256::digest(text).into();
        if let Some(principal) = self.cache.get(&digest, now()) {
            return Prompt::Now(Ok((principal, Outcome::Cached)));
        }
        let presented = match self.presented(text, digest) {
            Ok(presented) => presented,
            Err(refusal) => return Prompt::Now(Err(refusal)),
        };
        match presented.verify() {
            Ok(keys) => Prompt::Now(self.let_in(presented, keys)),
            Err(Trouble::Refused(refusal)) => Prompt::Now(Err(refusal)),
            Err(Trouble::NoKey(_)) => self.with_newer_keys(presented),
        }
    }

    /// Takes a token apart, and finds who is said to have made it.
    fn presented(&self, text: &str, digest: TokenDigest) -> Result<Presented, Refusal> {
        let token = Token::parse(text)?;
        // The claim picks the keys, and nothing else is taken from it: with those of another issuer the signature does not fit.
        let issuer = claims::required(&token.claims, "iss")?.as_str();
        let mut issuers = self.issuers.iter();
        let issuer = issuers
            .find(|known| Some(known.config.issuer.as_str()) == issuer)
            .ok_or(Refusal::Issuer)?;
        let accepted = || issuer.config.accepted();
        let algorithm = match token.alg {
            Alg::Known(algorithm) if issuer.config.algorithms.contains(&algorithm) => algorithm,
            Alg::Known(algorithm) => {
                return Err(Refusal::Algorithm {
                    name: format!("{algorithm:?}"),
                    accepted: accepted(),
                });
            }
            Alg::None => {
                return Err(Refusal::Unsigned {
                    accepted: accepted(),
                });
            }
            Alg::Unknown => {
                return Err(Refusal::Algorithm {
                    name: "an algorithm that is unknown here".to_owned(),
                    accepted: accepted(),
                });
            }
        };
        Ok(Presented {
            digest,
            issuer: Arc::clone(issuer),
            algorithm,
            token,
        })
    }

    fn let_in(&self, presented: Presented, keys: Arc<KeySet>) -> Passage {
        let Presented { token, issuer, .. } = presented;
        let proof = Proof::check(&token.claims, &issuer.config, now())?;
        let principal = Arc::clone(&proof.principal);
        let verified = Verified {
            proof,
            issuer,
            keys,
        };
        self.cache.insert(presented.digest, verified);
        Ok((principal, Outcome::Ok))
    }

    fn with_newer_keys(self: &Arc<Self>, presented: Presented) -> Prompt<'static, Passage> {
        if let Some(fetched) = presented.issuer.lately() {
            return Prompt::Now(self.after(presented, Some(fetched)));
        }
        let gate = Arc::clone(self);
        Prompt::Later(Box::pin(async move {
            let fetched = presented.issuer.news().await;
            gate.after(presented, fetched)
        }))
    }

    /// Looks once more, after a fetch.
    fn after(&self, presented: Presented, fetched: Option<FetchOutcome>) -> Passage {
        match presented.verify() {
            Ok(keys) => self.let_in(presented, keys),
            Err(Trouble::Refused(refusal)) => Err(refusal),
            Err(Trouble::NoKey(refusal)) => Err(match fetched {
                Some(FetchOutcome::Fetched | FetchOutcome::Unchanged) => refusal,
                Some(FetchOutcome::Failed) | None => Refusal::Unavailable {
                    retry_after: presented.issuer.config.min_refetch(),
                },
            }),
        }
    }
}

impl Presented {
    /// The keys one of which signed the token.
    fn verify(&self) -> Result<Arc<KeySet>, Trouble> {
        let keys = self.issuer.keys();
        let keys = keys.ok_or(Trouble::NoKey(Refusal::UnknownKey))?;
        let refusal = match keys.verify(&self.token, self.algorithm) {
            Ok(()) => return Ok(keys),
            Err(Mismatch::NoKey) => Refusal::UnknownKey,
            Err(Mismatch::Signature) => Refusal::Signature,
            Err(Mismatch::Algorithm) => Refusal::KeyAlgorithm,
        };
        // Where the key or the token has no name, nothing else tells that the issuer has other keys by now.
        if keys.has_named(&self.token) {
            Err(Trouble::Refused(refusal))
        } else {
            Err(Trouble::NoKey(refusal))
        }
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

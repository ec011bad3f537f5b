//! Why somebody is not let in.

use std::time::Duration;

use wharf_core::{Error, ErrorKind};

use super::credential::AUTHORIZATION_NAME;
use super::token::{KEY_ID_BYTES, TOKEN_BYTES};
use super::trusted::TENANT;
use crate::metrics::Outcome;

/// What a client is told. Nothing of what it sent is repeated, but names from closed sets: the text may end up in logs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("no credentials: send Authorization: Bearer TOKEN or X-API-Key")]
    Missing,
    #[error("is there more than once: send one")]
    Repeated(&'static str),
    #[error("is there beside x-api-key: send one of them")]
    Both,
    #[error("is not Bearer TOKEN: send a signed JWT or an API key so")]
    Scheme,
    #[error("the token is too long: {TOKEN_BYTES} bytes are the most")]
    TooLong,
    #[error(
        "the token is no signed JWT: three parts in base64url with dots between, the first two of them JSON objects"
    )]
    Shape,
    #[error("the token's header has {0}, which is not accepted")]
    Extension(&'static str),
    #[error("the token's key id is no text of at most {KEY_ID_BYTES} bytes")]
    KeyId,
    #[error("the token is not signed: use {accepted}")]
    Unsigned { accepted: String },
    #[error("signed with {name}, which is not accepted: use {accepted}")]
    Algorithm { name: String, accepted: String },
    #[error("the token's key is not for the algorithm that the token is signed with")]
    KeyAlgorithm,
    #[error("the token is from an issuer that is not accepted")]
    Issuer,
    #[error("the token is signed with a key that its issuer does not have: get a new token")]
    UnknownKey,
    #[error("the token's signature does not fit: get a new token")]
    Signature,
    #[error("the token has no claim {0}")]
    NoClaim(String),
    #[error("the token's claim {claim} {problem}")]
    Claim {
        claim: String,
        problem: &'static str,
    },
    #[error("the token is for another audience")]
    Audience,
    #[error("the token has expired: get a new one")]
    Expired,
    #[error("the token is not valid yet")]
    Early,
    #[error("the token is for a tenant that its issuer does not speak for")]
    Tenant,
    /// By the field that it came in.
    #[error("the API key is unknown")]
    UnknownApiKey(&'static str),
    #[error("the API key has expired: get a new one")]
    ExpiredApiKey(&'static str),
    #[error("the keys of the token's issuer cannot be fetched now")]
    Unavailable { retry_after: Duration },
    /// The proxy that authenticates, in a network that is trusted, names no tenant.
    #[error(
        "there is no tenant: whoever finds out who sends a request names the tenant in x-tenant-id"
    )]
    NoTenant,
    /// A field of that proxy.
    #[error("{problem}")]
    Proxy {
        field: &'static str,
        problem: &'static str,
    },
}

impl Refusal {
    /// What it counts as.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Missing | Self::NoTenant => Outcome::Missing,
            Self::Repeated(_)
            | Self::Both
            | Self::Scheme
            | Self::TooLong
            | Self::Shape
            | Self::Extension(_)
            | Self::KeyId
            | Self::Proxy { .. } => Outcome::Malformed,
            Self::Unsigned { .. } | Self::Algorithm { .. } | Self::KeyAlgorithm => {
                Outcome::Algorithm
            }
            Self::Issuer | Self::Tenant => Outcome::Issuer,
            Self::UnknownKey | Self::UnknownApiKey(_) => Outcome::UnknownKey,
            Self::Signature => Outcome::Signature,
            Self::NoClaim(_) | Self::Claim { .. } => Outcome::Claims,
            Self::Audience => Outcome::Audience,
            Self::Expired | Self::ExpiredApiKey(_) => Outcome::Expired,
            Self::Early => Outcome::Early,
            Self::Unavailable { .. } => Outcome::Unavailable,
        }
    }

    fn field(&self) -> &'static str {
        match self {
            Self::Repeated(field)
            | Self::UnknownApiKey(field)
            | Self::ExpiredApiKey(field)
            | Self::Proxy { field, .. } => field,
            Self::NoTenant => TENANT,
            _ => AUTHORIZATION_NAME,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let error = match refusal {
            Refusal::Unavailable { retry_after } => {
                Error::new(ErrorKind::Unavailable, refusal.to_string())
                    .with_retry_after(retry_after)
            }
            _ => Error::new(ErrorKind::Unauthenticated, refusal.to_string()),
        };
        error.with_field(refusal.field())
    }
}

//! One key, as the file has it.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::DateTime;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};
use wharf_core::{Digest, InvalidDigest, Name, Principal, Scope};

use super::PREFIX;
use crate::auth::cache::TokenDigest;
use crate::auth::principal::{Proved, TooLarge};

/// An entry `[[keys]]` of the file of API keys: everything about a key but the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Whose key it is: what logs and upstreams call the user.
    pub name: String,
    /// The SHA-256 of the key, in 64 hexadecimal digits.
    pub sha256: String,
    /// The tenant that its requests belong to; none for an operator, who sees and changes what all tenants have, and has no quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What it may do, such as `infer:digits`. Without any, nothing.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// What its holder is to the tenant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// From when on it is good for nothing, as RFC 3339 writes times. Without, never.
    #[serde(
        default,
        deserialize_with = "text_or_datetime",
        skip_serializing_if = "Option::is_none"
    )]
    pub expires: Option<String>,
}

/// An entry that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {message}")]
pub struct ApiKeyError {
    /// The key in the entry.
    pub key: &'static str,
    /// What is wrong, and how to mend it.
    pub message: String,
}

/// Whom a key proves.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) principal: Arc<Principal>,
    /// The second, since 1970, from which on it proves nothing.
    pub(super) expires: Option<u64>,
}

/// What `[[keys]]` is in.
#[derive(Serialize)]
struct Document<'a> {
    keys: [&'a ApiKey; 1],
}

impl ApiKey {
    /// Makes a key of 256 random bits. Gives the key, which is nowhere else, and the entry for it, which may do nothing yet.
    ///
    /// # Errors
    /// Where the machine has no random bits to give.
    pub fn generate<'a>(
        name: &str,
        tenant: impl Into<Option<&'a str>>,
    ) -> Result<(String, Self), ApiKeyError> {
        let mut bits = [0; 32];
        let random = rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut bits).map_err(|_| {
            ApiKeyError::new("sha256", "this machine gives no random bits".to_owned())
        })?;
        let key = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bits));
        let entry = Self {
            name: name.to_owned(),
            sha256: Digest::new(Sha256::digest(&key).into()).to_string(),
            tenant: tenant.into().map(str::to_owned),
            scopes: Vec::new(),
            roles: Vec::new(),
            expires: None,
        };
        Ok((key, entry))
    }

    /// Checks the entry as the server does when it reads the file.
    ///
    /// # Errors
    /// Names what is wrong.
    pub fn check(&self) -> Result<(), ApiKeyError> {
        self.known().map(drop)
    }

    /// The entry in TOML, for the file.
    ///
    /// # Errors
    /// Where it cannot be written so.
    pub fn to_toml(&self) -> Result<String, ApiKeyError> {
        toml::to_string(&Document { keys: [self] })
            .map_err(|error| ApiKeyError::new("name", error.to_string()))
    }

    /// The digest of the key, and whom it proves.
    pub(super) fn known(&self) -> Result<(TokenDigest, Known), ApiKeyError> {
        let named = |key, name: &str| {
            Name::new(name).map_err(|error| ApiKeyError::new(key, format!("{name:?}: {error}")))
        };
        let name = named("name", &self.name)?;
        let tenant = self.tenant.as_deref().map(|tenant| named("tenant", tenant));
        let tenant = tenant.transpose()?;
        let scopes = self.scopes.iter().map(|scope| {
            Scope::parse(scope)
                .map_err(|error| ApiKeyError::new("scopes", format!("{scope:?}: {error}")))
        });
        let proved = Proved {
            tenant: tenant.as_ref().map(Name::as_str),
            subject: name.as_str(),
            roles: self
                .roles
                .iter()
                .map(|role| Arc::from(role.as_str()))
                .collect(),
            scopes: scopes.collect::<Result<_, _>>()?,
        };
        let principal = proved.principal().map_err(|TooLarge| {
            ApiKeyError::new(
                "roles",
                "are too many: they have 4096 bytes together".to_owned(),
            )
        })?;
        let expires = self.expires.as_deref().map(second).transpose()?;
        Ok((digest(&self.sha256)?, Known { principal, expires }))
    }
}

impl ApiKeyError {
    fn new(key: &'static str, message: String) -> Self {
        Self { key, message }
    }
}

fn digest(text: &str) -> Result<TokenDigest, ApiKeyError> {
    let digest = text.parse::<Digest>().map_err(|InvalidDigest| {
        let message =
            "must be 64 hexadecimal digits: the SHA-256 of a key that `wharf key new` made";
        ApiKeyError::new("sha256", message.to_owned())
    })?;
    Ok(*digest.as_bytes())
}

fn second(text: &str) -> Result<u64, ApiKeyError> {
    let time = DateTime::parse_from_rfc3339(text).map_err(|error| {
        let message = format!("{text:?} is no time such as 2027-01-31T00:00:00Z: {error}");
        ApiKeyError::new("expires", message)
    })?;
    // What expired before 1970 has expired.
    Ok(u64::try_from(time.timestamp()).unwrap_or(0))
}

/// TOML has times of its own, which are written without quotes.
fn text_or_datetime<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    match toml::Value::deserialize(from)? {
        toml::Value::String(text) => Ok(Some(text)),
        toml::Value::Datetime(time) => Ok(Some(time.to_string())),
        _ => Err(serde::de::Error::custom(
            "a time is expected, such as 2027-01-31T00:00:00Z",
        )),
    }
}

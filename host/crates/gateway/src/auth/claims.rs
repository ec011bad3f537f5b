//! What a token says, once its signature is known to fit: for whom it is, when, and who sends it.

use std::sync::Arc;

use serde_json::Value;
use wharf_core::{Name, Principal, Scope};

use super::principal::{Proved, TooLarge};
use super::refusal::Refusal;
use super::settings::IssuerConfig;
use super::token::Claims;

/// The longest subject.
const SUBJECT_BYTES: usize = 256;
/// The most roles, and the longest.
const ROLES: usize = 64;
const ROLE_BYTES: usize = 128;

/// Whom a token proves, and until when.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) principal: Arc<Principal>,
    /// The second, since 1970, from which on it proves nothing.
    pub(super) until: u64,
}

impl Proof {
    /// Checks the claims at a time, in seconds since 1970.
    ///
    /// # Errors
    /// Names the first claim that is missing or wrong.
    pub(super) fn check(claims: &Claims, issuer: &IssuerConfig, now: u64) -> Result<Self, Refusal> {
        audience(claims, issuer)?;
        let expires = time(claims, "exp")?.saturating_add(issuer.leeway_s);
        if now >= expires {
            return Err(Refusal::Expired);
        }
        if now.saturating_add(issuer.leeway_s) < time(claims, "nbf")? {
            return Err(Refusal::Early);
        }
        let subject = text(claims, "sub")?;
        if subject.is_empty() || subject.len() > SUBJECT_BYTES {
            return Err(wrong("sub", "has not 1 to 256 bytes"));
        }
        let tenant = text(claims, &issuer.tenant_claim)?;
        let tenant = Name::new(tenant).map_err(|_| wrong(&issuer.tenant_claim, NO_NAME))?;
        let spoken_for = issuer.required_tenant.as_deref();
        if spoken_for.is_some_and(|only| only != tenant.as_str()) {
            return Err(Refusal::Tenant);
        }
        let proved = Proved {
            tenant: Some(tenant.as_str()),
            subject,
            roles: roles(claims, &issuer.roles_claim)?,
            scopes: scopes(claims, &issuer.scope_claim)?,
        };
        let principal = proved
            .principal()
            .map_err(|TooLarge| wrong(&issuer.roles_claim, "is too long"))?;
        Ok(Self {
            principal,
            until: expires,
        })
    }
}

const NO_NAME: &str =
    "is no name: 1 to 128 letters, digits, '-', '_' and '.', the first a letter or a digit";

fn audience(claims: &Claims, issuer: &IssuerConfig) -> Result<(), Refusal> {
    let accepted = |text: &str| issuer.audience.as_slice().iter().any(|one| one == text);
    let accepted = match required(claims, "aud")? {
        Value::String(one) => accepted(one),
        Value::Array(several) => several.iter().filter_map(Value::as_str).any(accepted),
        _ => return Err(wrong("aud", "is neither text nor a list")),
    };
    accepted.then_some(()).ok_or(Refusal::Audience)
}

/// A time in seconds since 1970; RFC 7519 allows parts of a second.
fn time(claims: &Claims, name: &str) -> Result<u64, Refusal> {
    let value = required(claims, name)?;
    let whole = value.as_u64();
    whole
        // What is before 1970 is as good as 1970; a conversion never goes beyond what the type holds.
        .or_else(|| value.as_f64().map(|seconds| seconds as u64))
        .ok_or_else(|| wrong(name, "is no time: seconds since 1970"))
}

/// The scopes that this server knows; a token may carry those of other services.
fn scopes(claims: &Claims, name: &str) -> Result<Vec<Scope>, Refusal> {
    let texts = list(claims, name)?;
    Ok(texts.filter_map(|text| Scope::parse(text).ok()).collect())
}

fn roles(claims: &Claims, name: &str) -> Result<Vec<Arc<str>>, Refusal> {
    let roles: Vec<Arc<str>> = list(claims, name)?.map(Arc::from).collect();
    if roles.len() > ROLES || roles.iter().any(|role| role.len() > ROLE_BYTES) {
        return Err(wrong(
            name,
            "has more than 64 entries, or one of more than 128 bytes",
        ));
    }
    Ok(roles)
}

/// The entries of a claim that may be missing: a list of texts, or one text with spaces between, as RFC 8693 has scopes.
fn list<'a>(
    claims: &'a Claims,
    name: &str,
) -> Result<Box<dyn Iterator<Item = &'a str> + 'a>, Refusal> {
    match claims.get(name) {
        None => Ok(Box::new(std::iter::empty())),
        Some(Value::String(text)) => Ok(Box::new(text.split_ascii_whitespace())),
        Some(Value::Array(entries)) if entries.iter().all(Value::is_string) => {
            Ok(Box::new(entries.iter().filter_map(Value::as_str)))
        }
        Some(_) => Err(wrong(name, "is neither text nor a list of texts")),
    }
}

fn text<'a>(claims: &'a Claims, name: &str) -> Result<&'a str, Refusal> {
    let value = required(claims, name)?;
    value.as_str().ok_or_else(|| wrong(name, "is no text"))
}

pub(super) fn required<'a>(claims: &'a Claims, name: &str) -> Result<&'a Value, Refusal> {
    claims
        .get(name)
        .ok_or_else(|| Refusal::NoClaim(name.to_owned()))
}

fn wrong(name: &str, problem: &'static str) -> Refusal {
    Refusal::Claim {
        claim: name.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests;

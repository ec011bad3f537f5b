//! The settings of who is believed: issuers of tokens, and the file of keys.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::Uri;
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use serde::Deserialize;
use url::{Host, Url};
use wharf_core::Name;

/// The setting that is wrong, and why.
pub(super) type Wrong = (&'static str, String);

/// The longest time in a setting.
const DAYS_30_S: u64 = 30 * 24 * 60 * 60;

/// An issuer of tokens: an entry `[[gateway.issuers]]`. It has `issuer`, `audience`, and one of `jwks` and `pem`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IssuerConfig {
    /// The claim `iss` of its tokens, to the letter.
    pub issuer: String,
    /// What the claim `aud` names: this server, as the issuer knows it. One of several is enough.
    pub audience: OneOrMore,
    /// Its set of public keys: a file of the site, or an address.
    pub jwks: Option<String>,
    /// Its one public key in PEM: a file of the site.
    pub pem: Option<String>,
    /// Authorities in PEM that are trusted beside the machine's where the set is fetched.
    pub ca_file: Option<String>,
    /// How its tokens may be signed.
    pub algorithms: Vec<Algorithm>,
    /// How far its clock may be off.
    pub leeway_s: u64,
    /// The claim that names the tenant.
    pub tenant_claim: String,
    /// The claim that lists the scopes.
    pub scope_claim: String,
    /// The claim that lists the roles.
    pub roles_claim: String,
    /// The one tenant that it may speak for. Without, it may for all.
    pub required_tenant: Option<String>,
    /// How often the set is fetched at the least. What the answer says of its age may make that more often.
    pub refresh_s: u64,
    /// How often the set is fetched at the most, whatever tokens say.
    pub min_refetch_s: u64,
    /// How long keys are used after the set could last be fetched.
    pub max_stale_s: u64,
}

/// A text, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a string or a list of strings")]
pub enum OneOrMore {
    /// One.
    One(String),
    /// Several.
    More(Vec<String>),
}

/// The keys of clients that have no tokens: the table `[gateway.api_keys]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiKeysConfig {
    /// The file of the site that lists them.
    pub file: Option<String>,
}

impl Default for IssuerConfig {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: OneOrMore::More(Vec::new()),
            jwks: None,
            pem: None,
            ca_file: None,
            algorithms: vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
            leeway_s: 60,
            tenant_claim: "tenant_id".to_owned(),
            scope_claim: "scope".to_owned(),
            roles_claim: "roles".to_owned(),
            required_tenant: None,
            refresh_s: 300,
            min_refetch_s: 10,
            max_stale_s: 86_400,
        }
    }
}

impl OneOrMore {
    pub(super) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

impl IssuerConfig {
    /// # Errors
    /// The setting that is wrong, and why.
    pub(crate) fn check(&self) -> Result<(), Wrong> {
        if self.issuer.is_empty() {
            return Err(wrong(
                "issuer",
                "name whom the claim iss of the tokens names",
            ));
        }
        let audience = self.audience.as_slice();
        if audience.is_empty() || audience.iter().any(String::is_empty) {
            let message = "name this server as the claim aud of the tokens names it";
            return Err(wrong("audience", message));
        }
        match (&self.jwks, &self.pem) {
            (Some(jwks), None) => {
                self.url(jwks)?;
            }
            (None, Some(pem)) if pem.is_empty() => return Err(wrong("pem", "name a file")),
            (None, Some(_)) => {}
            _ => return Err(wrong("jwks", "set one of jwks and pem: where the keys are")),
        }
        self.check_algorithms()?;
        for (key, claim) in [
            ("tenant_claim", &self.tenant_claim),
            ("scope_claim", &self.scope_claim),
            ("roles_claim", &self.roles_claim),
        ] {
            if claim.is_empty() {
                return Err(wrong(key, "name a claim"));
            }
        }
        if let Some(tenant) = &self.required_tenant {
            Name::new(tenant).map_err(|error| ("required_tenant", error.to_string()))?;
        }
        within("leeway_s", self.leeway_s, 0..=600)?;
        within("min_refetch_s", self.min_refetch_s, 1..=3600)?;
        within("refresh_s", self.refresh_s, self.min_refetch_s..=DAYS_30_S)?;
        within("max_stale_s", self.max_stale_s, self.refresh_s..=DAYS_30_S)
    }

    /// A secret that both sides share would let this server, and whoever reads its files, sign tokens.
    fn check_algorithms(&self) -> Result<(), Wrong> {
        if self.algorithms.is_empty() {
            return Err(wrong("algorithms", "name one at least, such as RS256"));
        }
        let shared = |algorithm: &&Algorithm| algorithm.family() == AlgorithmFamily::Hmac;
        match self.algorithms.iter().find(shared) {
            Some(shared) => {
                let message = format!(
                    "{shared:?} is never accepted: its key is a shared secret. Use RS256, ES256 or EdDSA"
                );
                Err(("algorithms", message))
            }
            None => Ok(()),
        }
    }

    /// The address of the key set; none where it is a file.
    ///
    /// # Errors
    /// Where it is an address that is not asked.
    pub(super) fn url(&self, jwks: &str) -> Result<Option<Uri>, Wrong> {
        if jwks.is_empty() {
            return Err(wrong("jwks", "name a file or an address"));
        }
        if !jwks.contains("://") {
            return Ok(None);
        }
        let url = Url::parse(jwks)
            .ok()
            .filter(|url| url.host().is_some())
            .ok_or_else(|| wrong("jwks", "is no address, such as https://id.example/keys"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "jwks",
                "has a name or a password in it: public keys need none",
            ));
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => {
                let message = "whoever is on the way could put keys of their own into the answer: use https. Plain http is for \
                    addresses of this machine";
                return Err(wrong("jwks", message));
            }
            _ => return Err(wrong("jwks", "use https, or a file of the site")),
        }
        let uri = Uri::try_from(url.as_str());
        uri.map(Some)
            .map_err(|_| wrong("jwks", "is no address that can be asked"))
    }

    /// The names of the algorithms, for whoever used another: `RS256, ES256 or EdDSA`.
    pub(super) fn accepted(&self) -> String {
        let names: Vec<_> = self
            .algorithms
            .iter()
            .map(|algorithm| format!("{algorithm:?}"))
            .collect();
        match names.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }

    pub(super) fn min_refetch(&self) -> Duration {
        Duration::from_secs(self.min_refetch_s)
    }
}

impl ApiKeysConfig {
    /// # Errors
    /// The setting that is wrong, and why.
    pub(crate) fn check(&self) -> Result<(), Wrong> {
        match &self.file {
            Some(file) if file.is_empty() => Err(wrong("file", "name a file of the site")),
            _ => Ok(()),
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn within(key: &'static str, value: u64, range: RangeInclusive<u64>) -> Result<(), Wrong> {
    if range.contains(&value) {
        return Ok(());
    }
    let (low, high) = range.into_inner();
    Err((key, format!("{value} is out of range: use {low} to {high}")))
}

fn wrong(key: &'static str, message: &str) -> Wrong {
    (key, message.to_owned())
}

#[cfg(test)]
mod tests;

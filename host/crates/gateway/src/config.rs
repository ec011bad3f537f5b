//! The settings of the gateway, as an operator writes them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use wharf_core::LoadError;

use crate::auth::{ApiKeysConfig, IssuerConfig};
use crate::quota::{self, PlanConfig, StoreConfig, TenantConfig};

/// The file that has the settings.
const FILE: &str = "wharf.toml";

/// The most tokens that may be remembered.
const MAX_CACHED_TOKENS: usize = 1_000_000;

/// Who may send requests, and how much: the table `[gateway]` of `wharf.toml`. Every key is optional.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who may send requests.
    pub auth: Access,
    /// What becomes of requests without a tenant in a network that is trusted.
    pub trusted_without_tenant: WithoutTenant,
    /// The verified tokens that are remembered, so that each is verified once.
    pub cached_tokens: usize,
    /// Whose tokens are believed.
    pub issuers: Vec<IssuerConfig>,
    /// The keys of clients that have no tokens.
    pub api_keys: ApiKeysConfig,
    /// How much the tenants of a plan may use, by the plan's name.
    pub plans: BTreeMap<String, PlanConfig>,
    /// The tenants that are not on the default plan, by their names.
    pub tenants: BTreeMap<String, TenantConfig>,
    /// Where quotas are counted.
    pub quota: StoreConfig,
}

/// Who may send requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Everybody, where only this machine can connect. With a listener that others reach, the server does not start.
    #[default]
    None,
    /// Everybody who can connect: something before this server finds out who they are, lets nobody else through, and names their
    /// tenant.
    TrustedNetwork,
    /// Whoever proves who they are, by a token or a key.
    Required,
}

/// What becomes of requests without a tenant where [`Access::TrustedNetwork`] is who may send them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WithoutTenant {
    /// They are refused with `Unauthenticated`, by the field `x-tenant-id`.
    #[default]
    Refuse,
    /// They are an operator's: they see what all tenants have, change it where management is on, and have no quota.
    Operator,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            auth: Access::None,
            trusted_without_tenant: WithoutTenant::default(),
            cached_tokens: 10_000,
            issuers: Vec::new(),
            api_keys: ApiKeysConfig::default(),
            plans: BTreeMap::new(),
            tenants: BTreeMap::new(),
            quota: StoreConfig::default(),
        }
    }
}

impl Config {
    /// Checks the settings, without opening anything.
    ///
    /// # Errors
    /// Names the first setting that is wrong.
    pub fn check(&self) -> Result<(), LoadError> {
        if !(1..=MAX_CACHED_TOKENS).contains(&self.cached_tokens) {
            let message = format!("must be a whole number from 1 to {MAX_CACHED_TOKENS}");
            return Err(setting("cached_tokens", message));
        }
        let mut named = BTreeSet::new();
        for (index, issuer) in self.issuers.iter().enumerate() {
            let wrong = |key: &str, message| setting(&issuer_key(index, key), message);
            issuer
                .check()
                .map_err(|(key, message)| wrong(key, message))?;
            if !named.insert(&issuer.issuer) {
                let message = "is there twice: give it one table, with the audiences of both";
                return Err(wrong("issuer", message.to_owned()));
            }
        }
        self.api_keys
            .check()
            .map_err(|(key, message)| setting(&format!("api_keys.{key}"), message))?;
        let nobody = self.issuers.is_empty() && self.api_keys.file.is_none();
        if self.auth == Access::Required && nobody {
            let message = "nobody can prove who they are: name an issuer of tokens in [[gateway.issuers]], or a file of keys in \
                [gateway.api_keys]";
            return Err(setting("auth", message.to_owned()));
        }
        quota::check(self)
    }
}

/// The key of an issuer's setting, without the table `gateway`.
pub(crate) fn issuer_key(index: usize, key: &str) -> String {
    format!("issuers[{index}].{key}")
}

/// A setting of the table `[gateway]` that is wrong.
pub(crate) fn setting(key: &str, message: String) -> LoadError {
    LoadError::new(FILE, message).with_key(format!("gateway.{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> (String, String) {
        let config: Config = toml::from_str(text).unwrap();
        let error = config.check().unwrap_err();
        assert_eq!(error.file, FILE);
        (error.key.unwrap_or_default(), error.message)
    }

    const ISSUER: &str = "[[issuers]]\nissuer = 'https://id.example'\naudience = 'wharf'\n";

    #[test]
    fn the_defaults_let_everybody_in_and_are_well_formed() {
        assert_eq!(Config::default().auth, Access::None);
        Config::default().check().unwrap();
        let full = format!("auth = 'required'\n{ISSUER}jwks = 'keys/id.json'\n");
        toml::from_str::<Config>(&full).unwrap().check().unwrap();
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_place() {
        for (text, key) in [
            ("cached_tokens = 0".to_owned(), "gateway.cached_tokens"),
            ("auth = 'required'".to_owned(), "gateway.auth"),
            ("[api_keys]\nfile = ''".to_owned(), "gateway.api_keys.file"),
            (ISSUER.to_owned(), "gateway.issuers[0].jwks"),
            (
                format!("{ISSUER}jwks = 'a'\npem = 'b'"),
                "gateway.issuers[0].jwks",
            ),
            (
                format!("{ISSUER}jwks = 'a'\n{ISSUER}jwks = 'b'"),
                "gateway.issuers[1].issuer",
            ),
        ] {
            assert_eq!(refusal(&text).0, key, "{text}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        let text = format!("{ISSUER}jwks_url = 'https://id.example/keys'");
        let error = toml::from_str::<Config>(&text).unwrap_err().to_string();
        assert!(error.contains("jwks_url"), "{error}");
    }
}

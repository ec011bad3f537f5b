//! What the tests stand on: gateways of a site, signers of tokens, and servers of key sets.

mod key_server;
mod signer;
mod tls;

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tempfile::TempDir;
use wharf_core::{Error, ErrorKind, Gatekeeper as _, LoadError, Principal, Prompt};
use wharf_gateway::{Config, Gateway};

pub(crate) use key_server::{Answer, KeyServer, untouched};
pub(crate) use signer::{Signer, ec, ed, encoded, key_set, rsa, rsa_other};
pub(crate) use tls::acceptor_and_authority;

pub(crate) const ISSUER: &str = "https://id.example";

/// The gateway of a site in a folder of its own.
pub(crate) struct Place {
    pub(crate) site: TempDir,
    pub(crate) gateway: Gateway,
}

impl Place {
    /// A gateway that requires credentials, with these settings beside that, in a site with these files.
    pub(crate) fn new(settings: &str, files: &[(&str, &str)]) -> Self {
        Self::open(settings, files).unwrap()
    }

    pub(crate) fn open(settings: &str, files: &[(&str, &str)]) -> Result<Self, LoadError> {
        let site = tempfile::tempdir().unwrap();
        for (path, text) in files {
            write(site.path(), path, text);
        }
        let meter = opentelemetry::global::meter("test");
        let gateway = Gateway::open(&config(settings), site.path(), &meter)?;
        Ok(Self { site, gateway })
    }

    /// One that believes tokens of [`ISSUER`] with these keys.
    pub(crate) fn believing(signers: &[&Signer]) -> Self {
        let settings = issuer("jwks = 'keys.json'");
        Self::new(&settings, &[("keys.json", &key_set(signers).to_string())])
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        write(self.site.path(), path, text);
    }

    pub(crate) async fn identify(&self, fields: &[(&str, &str)]) -> Result<Arc<Principal>, Error> {
        self.gateway.identify(&header(fields)).get().await
    }

    /// Shows a token.
    pub(crate) async fn show(&self, token: &str) -> Result<Arc<Principal>, Error> {
        let value = format!("Bearer {token}");
        self.identify(&[("authorization", &value)]).await
    }

    /// Shows a token, and gives what is answered without waiting.
    pub(crate) fn show_now(&self, token: &str) -> Option<Result<Arc<Principal>, Error>> {
        let fields = header(&[("authorization", &format!("Bearer {token}"))]);
        match self.gateway.identify(&fields) {
            Prompt::Now(answer) => Some(answer),
            Prompt::Later(_) => None,
        }
    }

    /// Shows a token that is not good, and gives what the client is told.
    pub(crate) async fn refusal(&self, token: &str) -> String {
        let error = self.show(token).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        assert_eq!(error.field(), Some("authorization"));
        error.message().to_owned()
    }
}

pub(crate) fn config(settings: &str) -> Config {
    toml::from_str(&format!("auth = 'required'\n{settings}")).unwrap()
}

/// The table of [`ISSUER`] with these settings beside.
pub(crate) fn issuer(settings: &str) -> String {
    format!("[[issuers]]\nissuer = '{ISSUER}'\naudience = 'wharf'\n{settings}\n")
}

fn write(site: &Path, path: &str, text: &str) {
    // As an operator should: what is read is whole.
    let coming = site.join("coming");
    std::fs::write(&coming, text).unwrap();
    std::fs::rename(coming, site.join(path)).unwrap();
}

fn header(fields: &[(&str, &str)]) -> HeaderMap {
    let mut header = HeaderMap::new();
    for (name, value) in fields {
        header.append(
            name.parse::<HeaderName>().unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    header
}

pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs()
}

/// The claims of a good token.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "wharf", "exp": now() + 600, "nbf": now() - 5, "sub": "ada",
        "tenant_id": "acme", "scope": "openid infer:digits", "roles": ["dev"]
    })
}

/// The claims of a good token, but for one.
pub(crate) fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

/// The claims of a good token, but for one that is missing.
pub(crate) fn claims_without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name).unwrap();
    claims
}

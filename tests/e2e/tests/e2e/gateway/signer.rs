//! Whoever signs tokens: RSA keys that are made for the tests.

use std::sync::OnceLock;

use anyhow::{Context, Result};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::RsaKeyPair;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// A key pair with a name.
pub(super) struct Signer {
    name: String,
    key: EncodingKey,
}

/// The one that most tests share: RSA keys take a while to make.
pub(super) fn signer() -> Result<&'static Signer> {
    static SHARED: OnceLock<Option<Signer>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| Signer::new("first").ok());
    shared.as_ref().context("no key can be made")
}

/// The key set that an issuer with these keys publishes.
pub(super) fn key_set(signers: &[&Signer]) -> Result<Value> {
    let keys: Result<Vec<_>> = signers.iter().map(|signer| signer.jwk()).collect();
    Ok(json!({ "keys": keys? }))
}

impl Signer {
    pub(super) fn new(name: &str) -> Result<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
        let private = BASE64_STANDARD.encode(pair.as_der()?.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{private}\n-----END PRIVATE KEY-----\n");
        Ok(Self {
            name: name.to_owned(),
            key: EncodingKey::from_rsa_pem(pem.as_bytes())?,
        })
    }

    fn jwk(&self) -> Result<Value> {
        let jwk = Jwk::from_encoding_key(&self.key, Algorithm::RS256)?;
        let mut jwk = serde_json::to_value(jwk)?;
        jwk["kid"] = json!(self.name);
        jwk["use"] = json!("sig");
        Ok(jwk)
    }

    /// A token with these claims.
    pub(super) fn sign(&self, claims: &Value) -> Result<String> {
        let header = json!({"typ": "JWT", "alg": "RS256", "kid": self.name});
        let message = format!("{}.{}", encoded(&header), encoded(claims));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, Algorithm::RS256)?;
        Ok(format!("{message}.{signature}"))
    }
}

/// A token that nobody signed.
pub(super) fn unsigned(claims: &Value) -> String {
    let header = json!({"typ": "JWT", "alg": "none"});
    format!("{}.{}.", encoded(&header), encoded(claims))
}

fn encoded(part: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(part.to_string())
}

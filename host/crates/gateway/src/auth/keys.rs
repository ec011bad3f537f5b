//! The public keys of an issuer.
//!
//! What a key may verify is settled by its type and by the operator, never by what a token says: a public RSA key is no secret of
//! HMAC, whatever `alg` claims.

mod key;

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use self::key::Key;
use super::token::Token;

/// The most keys of a set. Issuers have two or three.
const KEYS: usize = 256;
/// The most keys that are tried for a token that names none.
const TRIED: usize = 8;

/// Keys that are in force together.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Key>);

/// Why no key of a set speaks for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// There is no key of that name. There may be one in a newer set.
    NoKey,
    /// What the keys verify is signed in another way.
    Algorithm,
    /// The token was not signed with them.
    Signature,
}

/// A key set, RFC 7517. Keys are read one by one: one that nobody understands does not spoil the set.
#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a set in JSON. Gives the set, and why keys of it were left out.
    ///
    /// # Errors
    /// Where it is no key set.
    pub(super) fn from_jwks(
        document: &[u8],
        allowed: &[Algorithm],
    ) -> Result<(Self, Vec<&'static str>), String> {
        let document: Document = serde_json::from_slice(document)
            .map_err(|error| format!("is no JSON Web Key Set: {error}"))?;
        if document.keys.len() > KEYS {
            return Err(format!("has more than {KEYS} keys"));
        }
        let (mut keys, mut left_out) = (Vec::new(), Vec::new());
        for key in document.keys {
            let read = serde_json::from_value(key).map_err(|_| "is malformed");
            match read.and_then(|jwk| Key::from_jwk(jwk, allowed)) {
                Ok(key) => keys.push(key),
                Err(reason) => left_out.push(reason),
            }
        }
        Ok((Self(keys), left_out))
    }

    /// Reads one key in PEM.
    ///
    /// # Errors
    /// Where it is no public key, or one that is not accepted.
    pub(super) fn from_pem(pem: &[u8], allowed: &[Algorithm]) -> Result<Self, String> {
        let text = std::str::from_utf8(pem).unwrap_or_default();
        let labels: Vec<_> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("-----BEGIN "))
            .collect();
        match labels[..] {
            ["PUBLIC KEY-----" | "RSA PUBLIC KEY-----"] => {}
            [label] if label.contains("PRIVATE") => {
                return Err("is a private key, which only the issuer should have: give the public one, from \
                    `openssl pkey -in KEY -pubout`"
                    .to_owned());
            }
            [label] if label.contains("CERTIFICATE") => {
                return Err(
                    "is a certificate: give its key, from `openssl x509 -in CERTIFICATE -noout -pubkey`".to_owned(),
                );
            }
            _ => return Err("is not one public key in PEM".to_owned()),
        }
        let key = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem))
            .map_err(|_| "is no public key of RSA, P-256, P-384 or Ed25519".to_owned())?;
        let key = Key::from_pem(&key, allowed).map_err(str::to_owned)?;
        Ok(Self(vec![key]))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a key has the name that the token has: then it is this one that the token means, and a newer set has no other of that
    /// name.
    pub(super) fn has_named(&self, token: &Token) -> bool {
        self.0.iter().any(|key| key.is_named(token))
    }

    /// Whether one of the keys signed the token.
    ///
    /// # Errors
    /// Why none speaks for it.
    pub(super) fn verify(&self, token: &Token, algorithm: Algorithm) -> Result<(), Mismatch> {
        let named: Vec<_> = self.0.iter().filter(|key| key.may_be(token)).collect();
        if named.is_empty() {
            return Err(Mismatch::NoKey);
        }
        let mut fitting = named
            .into_iter()
            .filter(|key| key.algorithms.contains(&algorithm))
            .take(TRIED)
            .peekable();
        if fitting.peek().is_none() {
            return Err(Mismatch::Algorithm);
        }
        match fitting.any(|key| key.signed(token, algorithm)) {
            true => Ok(()),
            false => Err(Mismatch::Signature),
        }
    }
}

#[cfg(test)]
mod tests;

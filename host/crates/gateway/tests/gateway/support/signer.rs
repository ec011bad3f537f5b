//! Whoever signs tokens: keys that are made for the test.

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// A key pair with a name.
pub(crate) struct Signer {
    pub(crate) name: String,
    algorithm: Algorithm,
    key: EncodingKey,
    /// The public key in PEM.
    pub(crate) pem: String,
}

/// RSA keys take a while to make, so the tests share two.
static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("rsa"));
static RSA_OTHER: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("rsa-other"));

pub(crate) fn rsa() -> &'static Signer {
    &RSA
}

pub(crate) fn rsa_other() -> &'static Signer {
    &RSA_OTHER
}

pub(crate) fn ec(name: &str) -> Signer {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let private = pair.to_pkcs8v1().unwrap();
    Signer {
        name: name.to_owned(),
        algorithm: Algorithm::ES256,
        key: EncodingKey::from_ec_der(private.as_ref()),
        pem: pem("PUBLIC KEY", pair.public_key().as_der().unwrap().as_ref()),
    }
}

pub(crate) fn ed(name: &str) -> Signer {
    let pair = Ed25519KeyPair::generate().unwrap();
    let private = pair.to_pkcs8v1().unwrap();
    Signer {
        name: name.to_owned(),
        algorithm: Algorithm::EdDSA,
        key: EncodingKey::from_ed_der(private.as_ref()),
        pem: pem("PUBLIC KEY", pair.public_key().as_der().unwrap().as_ref()),
    }
}

/// The key set that an issuer with these keys publishes.
pub(crate) fn key_set(signers: &[&Signer]) -> Value {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({ "keys": keys })
}

impl Signer {
    fn rsa(name: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let private = pem("PRIVATE KEY", pair.as_der().unwrap().as_ref());
        Self {
            name: name.to_owned(),
            algorithm: Algorithm::RS256,
            key: EncodingKey::from_rsa_pem(private.as_bytes()).unwrap(),
            pem: pem("PUBLIC KEY", pair.public_key().as_der().unwrap().as_ref()),
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(self.name);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A header that names the key.
    pub(crate) fn header(&self) -> Value {
        json!({"typ": "JWT", "alg": format!("{:?}", self.algorithm), "kid": self.name})
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&self.header(), claims)
    }

    /// A token with this header and these claims, signed as the key signs whatever the header says.
    pub(crate) fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encoded(header), encoded(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm);
        format!("{message}.{}", signature.unwrap())
    }
}

/// A part of a token.
pub(crate) fn encoded(part: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(part.to_string())
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

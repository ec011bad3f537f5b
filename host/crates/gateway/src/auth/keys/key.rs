//! One public key, and what it may verify.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};

use crate::auth::token::{KEY_ID_BYTES, Token};

/// The sizes of an RSA modulus. What is shorter can be broken, and what is longer costs whoever verifies.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

#[derive(Debug)]
pub(super) struct Key {
    /// Its name, by which tokens name it.
    id: Option<String>,
    /// What it verifies.
    pub(super) algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl Key {
    pub(super) fn from_jwk(jwk: Jwk, allowed: &[Algorithm]) -> Result<Self, &'static str> {
        let common = jwk.common;
        if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return Err("is not for signatures");
        }
        let verifies = |operations: &Vec<_>| operations.contains(&KeyOperations::Verify);
        if !common.key_operations.as_ref().is_none_or(verifies) {
            return Err("is not for verifying");
        }
        if common
            .key_id
            .as_ref()
            .is_some_and(|id| id.len() > KEY_ID_BYTES)
        {
            return Err("has a name that no token may have");
        }
        let (key, possible) = match &jwk.algorithm {
            AlgorithmParameters::RSA(rsa) => rsa_key(&bytes(&rsa.n)?, &bytes(&rsa.e)?)?,
            AlgorithmParameters::EllipticCurve(ec) => {
                let (possible, size) = curve(&ec.curve)?;
                if bytes(&ec.x)?.len() != size || bytes(&ec.y)?.len() != size {
                    return Err("has a point that is not of its curve");
                }
                let key = DecodingKey::from_ec_components(&ec.x, &ec.y);
                (key.map_err(|_| "is malformed")?, possible)
            }
            AlgorithmParameters::OctetKeyPair(pair) => {
                if pair.curve != EllipticCurve::Ed25519 || bytes(&pair.x)?.len() != 32 {
                    return Err("has a curve that is not used");
                }
                let key = DecodingKey::from_ed_components(&pair.x);
                (key.map_err(|_| "is malformed")?, ED)
            }
            AlgorithmParameters::OctetKey(_) => return Err("is a shared secret"),
            _ => return Err("is of a type that is not used"),
        };
        let own = common.key_algorithm;
        let fits =
            |algorithm: &Algorithm| own.is_none_or(|own| own == KeyAlgorithm::from(*algorithm));
        Self::new(
            common.key_id,
            key,
            possible.iter().copied().filter(fits),
            allowed,
        )
    }

    pub(super) fn from_pem(key: &DecodingKey, allowed: &[Algorithm]) -> Result<Self, &'static str> {
        let der = key.try_get_as_bytes().map_err(|_| "is malformed")?;
        let (key, possible) = match (key.family(), der.len()) {
            (AlgorithmFamily::Rsa, _) => {
                let parts = DEFAULT_PROVIDER
                    .key_utils
                    .rsa_pub_components_from_public_key;
                let (modulus, exponent) = parts(der).map_err(|_| "is malformed")?;
                rsa_key(&modulus, &exponent)?
            }
            // An uncompressed point: a byte, and two numbers.
            (AlgorithmFamily::Ec, 65) => (key.clone(), P256),
            (AlgorithmFamily::Ec, 97) => (key.clone(), P384),
            (AlgorithmFamily::Ed, 32) => (key.clone(), ED),
            _ => return Err("has a curve that is not used: P-256, P-384 and Ed25519 are"),
        };
        Self::new(None, key, possible.iter().copied(), allowed)
    }

    fn new(
        id: Option<String>,
        key: DecodingKey,
        possible: impl Iterator<Item = Algorithm>,
        allowed: &[Algorithm],
    ) -> Result<Self, &'static str> {
        let algorithms: Vec<_> = possible.filter(|one| allowed.contains(one)).collect();
        if algorithms.is_empty() {
            return Err("is for an algorithm that is not in `algorithms`");
        }
        Ok(Self {
            id,
            algorithms,
            key,
        })
    }

    /// Whether the token may mean this key. One without a name is meant by all, and a token that names none means all.
    pub(super) fn may_be(&self, token: &Token) -> bool {
        match (&self.id, &token.key_id) {
            (Some(id), Some(named)) => id == named,
            _ => true,
        }
    }

    /// Whether the token names this key.
    pub(super) fn is_named(&self, token: &Token) -> bool {
        self.id.is_some() && self.id == token.key_id
    }

    pub(super) fn signed(&self, token: &Token, algorithm: Algorithm) -> bool {
        // Explicit: another crate may choose what is used by default.
        let verifier = (DEFAULT_PROVIDER.verifier_factory)(&algorithm, &self.key);
        verifier.is_ok_and(|verifier| {
            let signed = token.signed.as_bytes();
            verifier.verify(signed, &token.signature).is_ok()
        })
    }
}

const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const P256: &[Algorithm] = &[Algorithm::ES256];
const P384: &[Algorithm] = &[Algorithm::ES384];
const ED: &[Algorithm] = &[Algorithm::EdDSA];

/// What a curve is for, and how many bytes a coordinate has.
fn curve(curve: &EllipticCurve) -> Result<(&'static [Algorithm], usize), &'static str> {
    match curve {
        EllipticCurve::P256 => Ok((P256, 32)),
        EllipticCurve::P384 => Ok((P384, 48)),
        _ => Err("has a curve that is not used"),
    }
}

fn rsa_key(
    modulus: &[u8],
    exponent: &[u8],
) -> Result<(DecodingKey, &'static [Algorithm]), &'static str> {
    // Some issuers write the sign byte of ASN.1 along.
    let start = modulus.iter().position(|byte| *byte != 0);
    let modulus = &modulus[start.unwrap_or(modulus.len())..];
    let top = modulus
        .first()
        .map_or(0, |byte| byte.leading_zeros() as usize);
    let bits = modulus.len() * 8 - top;
    if bits < *RSA_BITS.start() {
        return Err("is an RSA key of less than 2048 bits");
    }
    if bits > *RSA_BITS.end() {
        return Err("is an RSA key of more than 8192 bits");
    }
    let key = DecodingKey::from_rsa_raw_components(modulus, exponent);
    Ok((key, RSA))
}

fn bytes(text: &str) -> Result<Vec<u8>, &'static str> {
    BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| "is malformed")
}

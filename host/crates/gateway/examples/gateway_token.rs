//! Makes an RSA key pair, writes its public key to the file that is named, and a token to standard output: for a load on a server that
//! asks for one. `cargo xtask bench` runs it.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RsaKeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

fn main() {
    let file = std::env::args().nth(1).expect("name a file for the key");
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("random bits");
    let public = pair.public_key().as_der().expect("a public key");
    std::fs::write(&file, pem("PUBLIC KEY", public.as_ref())).expect("the file can be written");
    // Some 900 bytes, as tokens of the common issuers have.
    let claims = json!({
        "iss": "https://id.example", "aud": "wharf", "exp": 4_000_000_000_u64, "nbf": 0, "sub": "ada",
        "tenant_id": "acme", "scope": "infer models:read", "roles": ["dev", "ops"], "more": "x".repeat(400)
    });
    let private = pair.as_der().expect("a private key");
    let private = EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes());
    let private = private.expect("the key that was made");
    let token = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &private);
    println!("{}", token.expect("it is signed"));
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

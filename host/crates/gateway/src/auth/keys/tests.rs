use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use serde_json::{Value, json};

use super::*;

const ALLOWED: &[Algorithm] = &[Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

fn read(keys: &Value) -> Result<(KeySet, Vec<&'static str>), String> {
    KeySet::from_jwks(json!({ "keys": keys }).to_string().as_bytes(), ALLOWED)
}

/// So many bytes in base64url, none of them zero.
fn bytes(count: usize) -> String {
    let text = "_".repeat(count.div_ceil(3) * 4);
    match count % 3 {
        0 => text,
        1 => format!("{}w", &text[..text.len() - 3]),
        _ => format!("{}8", &text[..text.len() - 2]),
    }
}

fn rsa(modulus: &str) -> Value {
    json!({"kty": "RSA", "n": modulus, "e": "AQAB"})
}

fn ec(curve: &str, size: usize) -> Value {
    json!({"kty": "EC", "crv": curve, "x": bytes(size), "y": bytes(size)})
}

fn with(mut key: Value, name: &str, value: Value) -> Value {
    key[name] = value;
    key
}

#[test]
fn a_key_that_is_not_understood_does_not_spoil_the_set() {
    let rsa = rsa(&bytes(256));
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": bytes(32)});
    let others = [
        (
            with(rsa.clone(), "use", json!("enc")),
            "is not for signatures",
        ),
        (
            with(rsa.clone(), "key_ops", json!(["sign"])),
            "is not for verifying",
        ),
        (
            with(rsa.clone(), "alg", json!("RSA-OAEP")),
            "is for an algorithm that is not in `algorithms`",
        ),
        (
            with(rsa.clone(), "alg", json!("PS256")),
            "is for an algorithm that is not in `algorithms`",
        ),
        (
            with(rsa.clone(), "alg", json!("HS256")),
            "is for an algorithm that is not in `algorithms`",
        ),
        (
            with(rsa.clone(), "kid", json!("k".repeat(257))),
            "has a name that no token may have",
        ),
        (with(rsa.clone(), "n", json!("***")), "is malformed"),
        (json!({"kty": "oct", "k": "c2VjcmV0"}), "is a shared secret"),
        (json!({"kty": "new"}), "is of a type that is not used"),
        (ec("P-256", 31), "has a point that is not of its curve"),
        (ec("P-521", 66), "has a curve that is not used"),
        (
            ec("P-384", 48),
            "is for an algorithm that is not in `algorithms`",
        ),
        (
            with(ed.clone(), "x", json!(bytes(57))),
            "has a curve that is not used",
        ),
        (json!(7), "is malformed"),
    ];
    let mut keys = vec![rsa, ec("P-256", 32), ed];
    keys.extend(others.iter().map(|(key, _)| key.clone()));
    let (set, left_out) = read(&Value::Array(keys)).unwrap();
    let reasons: Vec<_> = others.iter().map(|(_, reason)| *reason).collect();
    assert_eq!(left_out, reasons);
    let algorithms: Vec<_> = set
        .0
        .iter()
        .flat_map(|key| key.algorithms.clone())
        .collect();
    assert_eq!(algorithms, ALLOWED);
}

#[test]
fn weak_rsa_keys_are_refused_however_they_are_written() {
    let short = "is an RSA key of less than 2048 bits";
    // Zeros in front make a number no larger.
    let padded = format!("AAAA{}", bytes(255));
    for (modulus, reason) in [
        (bytes(128), short),
        (bytes(255), short),
        (padded, short),
        (String::new(), short),
        (bytes(1025), "is an RSA key of more than 8192 bits"),
    ] {
        let (set, left_out) = read(&json!([rsa(&modulus)])).unwrap();
        assert_eq!((set.len(), &left_out[..]), (0, &[reason][..]));
    }
    let sign_byte = format!("AAAA{}", bytes(256));
    assert_eq!(read(&json!([rsa(&sign_byte)])).unwrap().0.len(), 1);
}

#[test]
fn a_document_that_is_no_set_is_refused() {
    for document in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
        let problem = KeySet::from_jwks(document.as_bytes(), ALLOWED).unwrap_err();
        assert!(problem.starts_with("is no JSON Web Key Set"), "{problem}");
    }
    let many = vec![json!({}); KEYS + 1];
    assert_eq!(
        read(&Value::Array(many)).unwrap_err(),
        "has more than 256 keys"
    );
    assert_eq!(read(&json!([])).unwrap().0.len(), 0);
}

/// 1024 bits.
const WEAK: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDUVugFLm/575Hlnm2t82gzSDz1
Wq08FIpBoCVfESIMjEFll3iiDDYziPGbl/OuK83KVharo9+rjXov8kAhElQZpogo
b9sDkbpIM1FHCPWk0lRWSgdqaKdDy7/LLiWFeYAjX4RCA5iEI0bJQ/LYCZMgk8Sg
PF8ppGGJ3lKuephUsQIDAQAB
-----END PUBLIC KEY-----
";

#[test]
fn a_pem_is_one_public_key() {
    let pem = |algorithm| KeyPair::generate_for(algorithm).unwrap().public_key_pem();
    let p256 = pem(&PKCS_ECDSA_P256_SHA256);
    for good in [&p256, &pem(&PKCS_ED25519)] {
        assert_eq!(KeySet::from_pem(good.as_bytes(), ALLOWED).unwrap().len(), 1);
    }
    let private = KeyPair::generate().unwrap().serialize_pem();
    let certificate = p256.replace("PUBLIC KEY", "CERTIFICATE");
    let cut = p256.replace('M', "");
    for (pem, reason) in [
        (private, "is a private key"),
        (certificate, "is a certificate"),
        (format!("{p256}{p256}"), "is not one public key"),
        (String::new(), "is not one public key"),
        (cut, "is no public key of"),
        (WEAK.to_owned(), "is an RSA key of less than 2048 bits"),
        (
            pem(&PKCS_ECDSA_P384_SHA384),
            "is for an algorithm that is not in `algorithms`",
        ),
    ] {
        let problem = KeySet::from_pem(pem.as_bytes(), ALLOWED).unwrap_err();
        assert!(problem.starts_with(reason), "{problem}");
    }
}

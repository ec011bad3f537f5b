//! Tokens that are made to deceive.

use std::sync::atomic::Ordering::SeqCst;

use jsonwebtoken::crypto::sign;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use wharf_core::ErrorKind;

use crate::support::{
    Place, Signer, claims, ec, encoded, issuer, key_set, rsa, rsa_other, untouched,
};

const USE: &str = "use RS256, ES256 or EdDSA";

fn with(signer: &Signer, name: &str, value: Value) -> String {
    let mut header = signer.header();
    header[name] = value;
    signer.sign_as(&header, &claims())
}

#[tokio::test]
async fn a_token_without_a_signature_is_refused() {
    let place = Place::believing(&[rsa()]);
    for alg in ["none", "None", "NONE"] {
        let message = format!("{}.{}", encoded(&json!({"alg": alg})), encoded(&claims()));
        for signature in ["", "AAAA"] {
            let refusal = place.refusal(&format!("{message}.{signature}")).await;
            assert_eq!(refusal, format!("the token is not signed: {USE}"), "{alg}");
        }
    }
    let good = rsa().sign(&claims());
    let (message, _) = good.rsplit_once('.').unwrap();
    let cut = place.refusal(&format!("{message}.")).await;
    assert_eq!(cut, "the token's signature does not fit: get a new token");
}

#[tokio::test]
async fn a_public_key_is_no_shared_secret() {
    // By PEM and by key set: the attacker has both.
    let by_pem = Place::new(&issuer("pem = 'key.pem'"), &[("key.pem", &rsa().pem)]);
    let by_set = Place::believing(&[rsa()]);
    let modulus = rsa().jwk()["n"].as_str().unwrap().to_owned();
    for secret in [
        rsa().pem.as_bytes(),
        rsa().pem.trim().as_bytes(),
        modulus.as_bytes(),
    ] {
        let key = EncodingKey::from_secret(secret).unwrap();
        for (alg, algorithm) in [("HS256", Algorithm::HS256), ("RS256", Algorithm::HS256)] {
            let header = json!({"alg": alg, "kid": "rsa"});
            let message = format!("{}.{}", encoded(&header), encoded(&claims()));
            let signature = sign(message.as_bytes(), &key, algorithm).unwrap();
            let token = format!("{message}.{signature}");
            for place in [&by_pem, &by_set] {
                let refusal = place.refusal(&token).await;
                let expected = match alg {
                    "HS256" => format!("signed with HS256, which is not accepted: {USE}"),
                    _ => "the token's signature does not fit: get a new token".to_owned(),
                };
                assert_eq!(refusal, expected);
            }
        }
    }
}

#[tokio::test]
async fn the_key_says_what_it_verifies_and_not_the_token() {
    let ec = ec("ec");
    let place = Place::believing(&[rsa(), &ec]);
    for (signer, name, value, refusal) in [
        (
            &ec,
            "alg",
            "RS256",
            "the token's key is not for the algorithm",
        ),
        (
            &ec,
            "kid",
            "rsa",
            "the token's key is not for the algorithm",
        ),
        (
            rsa(),
            "alg",
            "ES256",
            "the token's key is not for the algorithm",
        ),
        (
            rsa(),
            "alg",
            "PS256",
            "signed with PS256, which is not accepted",
        ),
        (
            rsa(),
            "alg",
            "ES512",
            "signed with an algorithm that is unknown here",
        ),
        (
            rsa(),
            "alg",
            "rs256",
            "signed with an algorithm that is unknown here",
        ),
        (
            rsa(),
            "alg",
            "",
            "signed with an algorithm that is unknown here",
        ),
    ] {
        let said = place.refusal(&with(signer, name, json!(value))).await;
        assert!(said.starts_with(refusal), "{name} {value}: {said}");
    }
}

#[tokio::test]
async fn nothing_in_a_header_is_dereferenced() {
    let place = Place::believing(&[rsa()]);
    let (address, touched) = untouched().await;
    let own_key = rsa_other().jwk();
    for (name, value) in [
        ("jku", json!(address)),
        ("x5u", json!(address)),
        ("jwk", own_key),
        ("x5c", json!(["MIIB"])),
        ("kid", json!(address)),
        ("kid", json!("../../../../etc/passwd")),
        ("kid", json!("' OR '1'='1")),
        ("kid", json!("rsa\u{0}")),
    ] {
        // A key of the attacker's own, which the header brings along or points to.
        let forged = with(rsa_other(), name, value.clone());
        let said = place.refusal(&forged).await;
        assert!(
            said.contains("a key that its issuer does not have"),
            "{name}: {said}"
        );
        if name != "kid" {
            let mut header = rsa_other().header();
            header["kid"] = json!("rsa");
            header[name] = value.clone();
            let said = place
                .refusal(&rsa_other().sign_as(&header, &claims()))
                .await;
            assert!(said.contains("signature does not fit"), "{name}: {said}");
            // An honest token is not refused for having one.
            place.show(&with(rsa(), name, value)).await.unwrap();
        }
    }
    for id in [
        json!(7),
        json!(["rsa"]),
        json!("k".repeat(300)),
        Value::Null,
    ] {
        let said = place.refusal(&with(rsa(), "kid", id)).await;
        assert_eq!(said, "the token's key id is no text of at most 256 bytes");
    }
    assert_eq!(touched.load(SeqCst), 0);
}

#[tokio::test]
async fn extensions_that_are_not_understood_are_refused() {
    let place = Place::believing(&[rsa()]);
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(true)),
        ("b64", json!(false)),
    ] {
        let said = place.refusal(&with(rsa(), name, value)).await;
        assert_eq!(
            said,
            format!("the token's header has {name}, which is not accepted")
        );
    }
}

#[tokio::test]
async fn what_is_too_long_or_no_token_is_refused() {
    let place = Place::believing(&[rsa()]);
    let good = rsa().sign(&claims());
    for long in [
        "x".repeat(1 << 20),
        format!("{good}{}", "A".repeat(8 << 10)),
        // One byte more than there may be.
        format!("{good}{}", "A".repeat((8 << 10) + 1 - good.len())),
    ] {
        let said = place.refusal(&long).await;
        assert_eq!(said, "the token is too long: 8192 bytes are the most");
    }
    // As long as may be, and honest.
    let padded = crate::support::claims_with("more", json!("x".repeat(5_500)));
    place.show(&rsa().sign(&padded)).await.unwrap();
    let deep = format!("{}1{}", "[".repeat(2_500), "]".repeat(2_500));
    let bomb = format!("{}.{}.AAAA", encoded(&rsa().header()), base64_of(&deep));
    for token in [
        "x".to_owned(),
        "a.b".to_owned(),
        "a.b.c.d.e".to_owned(),
        "..".to_owned(),
        format!("{good}.AAAA"),
        format!("{good}="),
        good.replacen("ey", "e", 1),
        bomb,
    ] {
        let said = place.refusal(&token).await;
        assert!(said.starts_with("the token is no signed JWT"), "{said}");
    }
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text)
}

#[tokio::test]
async fn a_changed_token_is_refused() {
    let place = Place::believing(&[rsa()]);
    let good = rsa().sign(&claims());
    place.show(&good).await.unwrap();
    let parts: Vec<_> = good.split('.').collect();
    let other = encoded(&crate::support::claims_with("tenant_id", json!("rival")));
    let changed = format!("{}.{other}.{}", parts[0], parts[2]);
    let said = place.refusal(&changed).await;
    assert_eq!(said, "the token's signature does not fit: get a new token");
}

#[tokio::test]
async fn credentials_that_two_could_read_differently_are_refused() {
    let place = Place::believing(&[rsa()]);
    let good = format!("Bearer {}", rsa().sign(&claims()));
    for (fields, field) in [
        (
            vec![("authorization", good.as_str()), ("authorization", &good)],
            "authorization",
        ),
        (
            vec![("authorization", &good), ("x-api-key", "wharf_x")],
            "authorization",
        ),
        (
            vec![("x-api-key", "wharf_x"), ("x-api-key", "wharf_x")],
            "x-api-key",
        ),
        (vec![], "authorization"),
        (vec![("authorization", "Basic dTpw")], "authorization"),
        (
            vec![("x-tenant-id", "acme"), ("x-request-context", "{}")],
            "authorization",
        ),
    ] {
        let error = place.identify(&fields).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert_eq!(error.field(), Some(field), "{error}");
    }
    let nothing = place.identify(&[]).await.unwrap_err();
    let advice = "no credentials: send Authorization: Bearer TOKEN or X-API-Key";
    assert_eq!(nothing.message(), advice);
}

#[tokio::test]
async fn no_refusal_repeats_what_was_sent() {
    let place = Place::believing(&[rsa()]);
    let marked = |name: &str| crate::support::claims_with(name, json!("MARK/MARK"));
    let mut tokens: Vec<_> = ["iss", "aud", "tenant_id", "exp", "nbf"]
        .map(|name| rsa().sign(&marked(name)))
        .into();
    tokens.extend(["alg", "kid"].map(|name| with(rsa(), name, json!("MARK/MARK"))));
    for token in tokens {
        let error = place.show(&token).await.unwrap_err();
        let debug = format!("{error:?}");
        assert!(!debug.contains("MARK"), "{debug}");
        assert!(!debug.contains(&token[..40]), "{debug}");
    }
}

#[tokio::test]
async fn a_set_with_keys_that_are_not_for_this_verifies_nothing_by_them() {
    let mut set = key_set(&[rsa(), rsa_other()]);
    set["keys"][1]["use"] = json!("enc");
    set["keys"].as_array_mut().unwrap().push(json!({
        "kty": "oct", "kid": "shared", "alg": "HS256", "k": "c2VjcmV0"
    }));
    let place = Place::new(
        &issuer("jwks = 'keys.json'"),
        &[("keys.json", &set.to_string())],
    );
    place.show(&rsa().sign(&claims())).await.unwrap();
    let said = place.refusal(&rsa_other().sign(&claims())).await;
    assert!(
        said.contains("a key that its issuer does not have"),
        "{said}"
    );
    let key = EncodingKey::from_secret(b"secret").unwrap();
    let header = json!({"alg": "HS256", "kid": "shared"});
    let message = format!("{}.{}", encoded(&header), encoded(&claims()));
    let signature = sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    let said = place.refusal(&format!("{message}.{signature}")).await;
    assert!(said.starts_with("signed with HS256"), "{said}");
}

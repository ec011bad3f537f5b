//! Good tokens, and those that were good or would be.

use std::sync::Arc;

use serde_json::{Value, json};
use wharf_core::{Action, ErrorKind, Gatekeeper as _};

use crate::support::{
    ISSUER, Place, claims, claims_with, claims_without, ec, ed, issuer, key_set, now, rsa,
    rsa_other,
};

#[tokio::test]
async fn a_token_of_each_kind_of_key_lets_its_subject_in() {
    let (ec, ed) = (ec("ec"), ed("ed"));
    let place = Place::believing(&[rsa(), &ec, &ed]);
    for signer in [rsa(), &ec, &ed] {
        let principal = place.show(&signer.sign(&claims())).await.unwrap();
        assert_eq!(principal.tenant.as_deref(), Some("acme"));
        assert_eq!(&*principal.subject, "ada");
        assert_eq!(principal.roles, [Arc::from("dev")]);
        assert!(principal.may(Action::Infer, Some("digits")));
        assert!(!principal.may(Action::Infer, Some("faces")));
        assert_eq!(principal.context, r#"{"user":"ada","roles":["dev"]}"#);
    }
}

#[tokio::test]
async fn a_key_may_be_a_pem() {
    let (ec, ed) = (ec("ec"), ed("ed"));
    for signer in [rsa(), &ec, &ed] {
        let place = Place::new(&issuer("pem = 'key.pem'"), &[("key.pem", &signer.pem)]);
        place.show(&signer.sign(&claims())).await.unwrap();
        // A PEM has no name, so the name in a token is no matter.
        let mut header = signer.header();
        header["kid"] = json!("whatever");
        place
            .show(&signer.sign_as(&header, &claims()))
            .await
            .unwrap();
        header.as_object_mut().unwrap().remove("kid");
        place
            .show(&signer.sign_as(&header, &claims()))
            .await
            .unwrap();
        let other = place.refusal(&rsa_other().sign(&claims())).await;
        assert!(
            other.contains("signature") || other.contains("algorithm"),
            "{other}"
        );
    }
}

#[tokio::test]
async fn the_second_time_a_token_is_known() {
    let place = Place::believing(&[rsa()]);
    let token = rsa().sign(&claims());
    let first = place.show(&token).await.unwrap();
    let second = place.show_now(&token).expect("it is known").unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &second));
}

#[tokio::test]
async fn times_that_do_not_fit_are_refused() {
    let place = Place::believing(&[rsa()]);
    for (name, at, refusal) in [
        ("exp", now() - 61, "the token has expired: get a new one"),
        ("exp", 0, "the token has expired: get a new one"),
        ("nbf", now() + 90, "the token is not valid yet"),
    ] {
        let token = rsa().sign(&claims_with(name, json!(at)));
        assert_eq!(place.refusal(&token).await, refusal, "{name} {at}");
    }
    // Within the leeway.
    for (name, at) in [("exp", now() - 40), ("nbf", now() + 40)] {
        let token = rsa().sign(&claims_with(name, json!(at)));
        place.show(&token).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_that_was_known_expires() {
    let settings = issuer("jwks = 'keys.json'\nleeway_s = 0");
    let place = Place::new(&settings, &[("keys.json", &key_set(&[rsa()]).to_string())]);
    let until = now() + 2;
    let token = rsa().sign(&claims_with("exp", json!(until)));
    place.show(&token).await.unwrap();
    let expired = || place.show_now(&token).is_some_and(|answer| answer.is_err());
    wharf_testkit::eventually("the token expires", expired).await;
    assert!(now() >= until);
    assert_eq!(
        place.refusal(&token).await,
        "the token has expired: get a new one"
    );
}

#[tokio::test]
async fn every_claim_that_is_required_is_asked_for() {
    let place = Place::believing(&[rsa()]);
    for name in ["iss", "aud", "exp", "nbf", "sub", "tenant_id"] {
        let token = rsa().sign(&claims_without(name));
        assert_eq!(
            place.refusal(&token).await,
            format!("the token has no claim {name}")
        );
    }
    for name in ["scope", "roles"] {
        let principal = place
            .show(&rsa().sign(&claims_without(name)))
            .await
            .unwrap();
        assert_eq!(&*principal.subject, "ada");
    }
}

#[tokio::test]
async fn a_token_for_others_is_refused() {
    let place = Place::believing(&[rsa()]);
    for (name, value, refusal) in [
        ("aud", json!("other"), "the token is for another audience"),
        (
            "aud",
            json!(["other", "wharf/"]),
            "the token is for another audience",
        ),
        ("iss", json!("https://evil.example"), NO_ISSUER),
        ("iss", json!("https://id.example/"), NO_ISSUER),
        ("iss", json!([ISSUER]), NO_ISSUER),
        ("tenant_id", json!("a/b"), NO_TENANT),
        ("sub", json!(7), "the token's claim sub is no text"),
    ] {
        let token = rsa().sign(&claims_with(name, value));
        assert_eq!(place.refusal(&token).await, refusal);
    }
    place
        .show(&rsa().sign(&claims_with("aud", json!(["other", "wharf"]))))
        .await
        .unwrap();
}

const NO_ISSUER: &str = "the token is from an issuer that is not accepted";
const NO_TENANT: &str = "the token's claim tenant_id is no name: 1 to 128 letters, digits, '-', '_' and '.', the first a letter or a digit";

#[tokio::test]
async fn issuers_do_not_speak_for_each_other() {
    let second = "https://other.example";
    let settings = format!(
        "{}[[issuers]]\nissuer = '{second}'\naudience = 'wharf'\njwks = 'other.json'\nrequired_tenant = 'rival'\n",
        issuer("jwks = 'keys.json'")
    );
    let files = [
        ("keys.json", key_set(&[rsa()]).to_string()),
        ("other.json", key_set(&[rsa_other()]).to_string()),
    ];
    let place = Place::new(
        &settings,
        &files.each_ref().map(|(path, text)| (*path, text.as_str())),
    );
    let of = |name: &str, tenant: &str| -> Value {
        let mut claims = claims_with("iss", json!(name));
        claims["tenant_id"] = json!(tenant);
        claims
    };
    place.show(&rsa().sign(&of(ISSUER, "acme"))).await.unwrap();
    place
        .show(&rsa_other().sign(&of(second, "rival")))
        .await
        .unwrap();
    // One signs in the name of the other.
    let forged = place.refusal(&rsa_other().sign(&of(ISSUER, "acme"))).await;
    assert!(forged.starts_with("the token is signed with a key that its issuer does not have"));
    let overreaching = place.refusal(&rsa_other().sign(&of(second, "acme"))).await;
    assert_eq!(
        overreaching,
        "the token is for a tenant that its issuer does not speak for"
    );
}

#[tokio::test]
async fn a_network_may_be_trusted_and_nobody_asked() {
    let site = tempfile::tempdir().unwrap();
    let meter = opentelemetry::global::meter("test");
    let open = |auth: &str| {
        let config = toml::from_str(&format!("auth = '{auth}'")).unwrap();
        wharf_gateway::Gateway::open(&config, site.path(), &meter).unwrap()
    };
    let mut fields = http::HeaderMap::new();
    fields.insert("x-tenant-id", "acme".parse().unwrap());
    fields.insert("x-request-context", r#"{"user":"ada"}"#.parse().unwrap());
    fields.insert("authorization", "Bearer x".parse().unwrap());
    let trusting = open("trusted-network");
    let principal = trusting.identify(&fields).get().await.unwrap();
    assert_eq!(principal.tenant.as_deref(), Some("acme"));
    assert_eq!(&*principal.subject, "ada");
    assert!(principal.may(Action::WriteServer, None));
    fields.remove("x-tenant-id");
    let error = trusting.identify(&fields).get().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(error.field(), Some("x-tenant-id"));
    let operator = "auth = 'trusted-network'\ntrusted_without_tenant = 'operator'";
    trusting
        .reconfigure(&toml::from_str(operator).unwrap())
        .unwrap();
    let principal = trusting.identify(&fields).get().await.unwrap();
    assert_eq!((&principal.tenant, &*principal.subject), (&None, "ada"));

    let asking_nobody = open("none");
    let principal = asking_nobody.identify(&fields).get().await.unwrap();
    assert_eq!(
        (&principal.tenant, &*principal.subject),
        (&None, "anonymous")
    );
    assert!(principal.may(Action::WriteServer, None));
}

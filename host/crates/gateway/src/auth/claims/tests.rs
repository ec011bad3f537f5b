use std::sync::Arc;

use serde_json::json;
use wharf_core::Action;

use super::*;
use crate::auth::settings::OneOrMore;

const NOW: u64 = 1_800_000_000;

fn issuer() -> IssuerConfig {
    IssuerConfig {
        issuer: "https://id.example".to_owned(),
        audience: OneOrMore::More(vec!["wharf".to_owned(), "models".to_owned()]),
        ..IssuerConfig::default()
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example", "aud": "wharf", "exp": NOW + 10, "nbf": NOW - 10, "sub": "ada",
        "tenant_id": "acme", "scope": "openid infer:digits models:read", "roles": ["admin", "dev"]
    })
}

fn check(claims: Value) -> Result<Proof, Refusal> {
    Proof::check(&Claims::of(claims), &issuer(), NOW)
}

fn with(name: &str, value: Value) -> Result<Proof, Refusal> {
    let mut claims = claims();
    claims[name] = value;
    check(claims)
}

#[test]
fn a_good_token_says_who_and_what() {
    let proof = check(claims()).unwrap();
    assert_eq!(proof.until, NOW + 10 + 60);
    let principal = proof.principal;
    assert_eq!(principal.tenant.as_deref(), Some("acme"));
    assert_eq!(&*principal.subject, "ada");
    assert_eq!(principal.roles, ["admin", "dev"].map(Arc::from));
    assert_eq!(principal.scopes.len(), 2, "{:?}", principal.scopes);
    assert!(principal.may(Action::Infer, Some("digits")));
    assert!(!principal.may(Action::Infer, Some("faces")));
    assert_eq!(
        principal.context,
        r#"{"user":"ada","roles":["admin","dev"]}"#
    );
}

#[test]
fn every_claim_that_is_required_is_missed() {
    for name in ["aud", "exp", "nbf", "sub", "tenant_id"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        let missed = Refusal::NoClaim(name.to_owned());
        assert_eq!(check(claims).unwrap_err(), missed, "{name}");
        assert_eq!(with(name, Value::Null).unwrap_err(), missed, "{name}");
    }
    for name in ["scope", "roles"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        check(claims).unwrap();
    }
}

#[test]
fn a_claim_of_another_type_is_refused() {
    for (name, value) in [
        ("aud", json!(1)),
        ("exp", json!("tomorrow")),
        ("nbf", json!({})),
        ("sub", json!(7)),
        ("sub", json!("")),
        ("sub", json!("s".repeat(257))),
        ("tenant_id", json!(["acme"])),
        ("tenant_id", json!("../acme")),
        ("tenant_id", json!("")),
        ("scope", json!(true)),
        ("scope", json!([1])),
        ("roles", json!({"admin": true})),
        ("roles", json!(vec!["r"; 65])),
        ("roles", json!(["r".repeat(129)])),
        ("roles", json!(vec!["\u{1f980}".repeat(32); 12])),
    ] {
        let refusal = with(name, value.clone()).unwrap_err();
        let of_claim =
            |refusal: &Refusal| matches!(refusal, Refusal::Claim { claim, .. } if claim == name);
        assert!(of_claim(&refusal), "{name} {value}: {refusal:?}");
    }
}

#[test]
fn times_have_leeway_and_are_exact() {
    for (exp, good) in [(-59, true), (-60, false), (-61, false)] {
        let exp = NOW.checked_add_signed(exp).unwrap();
        let outcome = with("exp", json!(exp));
        assert_eq!(outcome.is_ok(), good, "{exp}");
        if let Err(refusal) = outcome {
            assert_eq!(refusal, Refusal::Expired);
        }
    }
    for (nbf, good) in [(60, true), (61, false)] {
        assert_eq!(with("nbf", json!(NOW + nbf)).is_ok(), good, "{nbf}");
    }
    assert_eq!(with("nbf", json!(NOW + 61)).unwrap_err(), Refusal::Early);
    with("exp", json!(NOW as f64 + 0.5)).unwrap();
    with("exp", json!(u64::MAX)).unwrap();
    with("exp", json!(1e300)).unwrap();
    with("nbf", json!(-1)).unwrap();
    assert_eq!(with("exp", json!(-1)).unwrap_err(), Refusal::Expired);
}

#[test]
fn one_audience_of_several_is_enough() {
    with("aud", json!(["other", "models"])).unwrap();
    for other in [json!("other"), json!([]), json!(["wharf2", 7]), json!("")] {
        assert_eq!(with("aud", other).unwrap_err(), Refusal::Audience);
    }
}

#[test]
fn an_issuer_may_be_kept_to_its_tenant() {
    let issuer = IssuerConfig {
        required_tenant: Some("acme".to_owned()),
        ..issuer()
    };
    let of = |tenant: &str| {
        let mut claims = claims();
        claims["tenant_id"] = json!(tenant);
        Proof::check(&Claims::of(claims), &issuer, NOW)
    };
    of("acme").unwrap();
    assert_eq!(of("rival").unwrap_err(), Refusal::Tenant);
}

#[test]
fn claims_have_the_names_that_the_issuer_gives_them() {
    let issuer = IssuerConfig {
        tenant_claim: "https://id.example/org".to_owned(),
        roles_claim: "/realm_access/roles".to_owned(),
        scope_claim: "scp".to_owned(),
        ..issuer()
    };
    let mut claims = claims();
    claims["https://id.example/org"] = json!("other");
    claims["realm_access"] = json!({"roles": ["deep"]});
    claims["scp"] = json!(["*"]);
    let principal = Proof::check(&Claims::of(claims), &issuer, NOW)
        .unwrap()
        .principal;
    assert_eq!(principal.tenant.as_deref(), Some("other"));
    assert_eq!(principal.roles, [Arc::from("deep")]);
    assert_eq!(principal.scopes, [Scope::All]);
}

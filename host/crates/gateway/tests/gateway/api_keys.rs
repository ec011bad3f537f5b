//! API keys, from their making to their end.

use wharf_core::{Action, ErrorKind};
use wharf_gateway::ApiKey;
use wharf_testkit::eventually;

use crate::support::{Place, claims, issuer, key_set, rsa};

const SETTINGS: &str = "[api_keys]\nfile = 'api-keys.toml'";

fn key(name: &str, tenant: &str) -> (String, String) {
    let (key, mut entry) = ApiKey::generate(name, tenant).unwrap();
    entry.scopes = vec!["infer".to_owned()];
    (key, entry.to_toml().unwrap())
}

#[tokio::test]
async fn a_key_lets_in_by_either_field() {
    let (key, entry) = key("ci", "acme");
    let place = Place::new(SETTINGS, &[("api-keys.toml", &entry)]);
    let bearer = format!("Bearer {key}");
    for fields in [[("x-api-key", key.as_str())], [("authorization", &bearer)]] {
        let principal = place.identify(&fields).await.unwrap();
        assert_eq!(principal.tenant.as_deref(), Some("acme"));
        assert_eq!(&*principal.subject, "ci");
        assert!(principal.may(Action::Infer, Some("digits")));
        assert!(!principal.may(Action::WriteModels, None));
    }
    let (stranger, _) = self::key("ci", "acme");
    for wrong in [stranger.as_str(), "wharf_", "x", &key[..48]] {
        let error = place.identify(&[("x-api-key", wrong)]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert_eq!(error.message(), "the API key is unknown");
        assert_eq!(error.field(), Some("x-api-key"));
    }
    let refusal = place.refusal(&stranger).await;
    assert_eq!(refusal, "the API key is unknown");
    // There is no issuer, so every token is from one that is not accepted.
    let refusal = place.refusal(&rsa().sign(&claims())).await;
    assert_eq!(refusal, "the token is from an issuer that is not accepted");
}

#[tokio::test]
async fn keys_come_and_go_with_the_file() {
    let (first, entry_of_first) = key("first", "acme");
    let (second, entry_of_second) = key("second", "rival");
    let settings = format!("{}{SETTINGS}", issuer("jwks = 'keys.json'"));
    let files = [
        ("keys.json", key_set(&[rsa()]).to_string()),
        ("api-keys.toml", entry_of_first.clone()),
    ];
    let place = Place::new(
        &settings,
        &files.each_ref().map(|(path, text)| (*path, text.as_str())),
    );
    let is_known = |key: &str| {
        let answer = place.show_now(key);
        answer.expect("keys are never waited for").is_ok()
    };
    assert!(is_known(&first) && !is_known(&second));
    place.write(
        "api-keys.toml",
        &format!("{entry_of_first}{entry_of_second}"),
    );
    eventually("the second key is known", || is_known(&second)).await;
    // A broken file changes nothing; that it was seen shows in what comes after it.
    place.write("api-keys.toml", "[[keys]]\nname = 7");
    place.write("api-keys.toml", &entry_of_second);
    eventually("the first key is gone", || !is_known(&first)).await;
    assert!(is_known(&second));
    place.show(&rsa().sign(&claims())).await.unwrap();
    place.gateway.shutdown().await;
}

#[tokio::test]
async fn a_key_that_has_expired_is_refused() {
    let (key, mut entry) = ApiKey::generate("ci", "acme").unwrap();
    entry.expires = Some("2026-01-01T00:00:00Z".to_owned());
    let place = Place::new(SETTINGS, &[("api-keys.toml", &entry.to_toml().unwrap())]);
    let error = place.identify(&[("x-api-key", &key)]).await.unwrap_err();
    assert_eq!(error.message(), "the API key has expired: get a new one");
    assert_eq!(error.field(), Some("x-api-key"));
}

#[tokio::test]
async fn a_file_that_is_wrong_is_named_with_the_place_in_it() {
    let error = Place::open(SETTINGS, &[]).err().unwrap();
    assert_eq!(error.key.as_deref(), Some("gateway.api_keys.file"));
    let (_, entry) = key("ci", "acme");
    let wrong = entry.replace("infer", "inference");
    let error = Place::open(SETTINGS, &[("api-keys.toml", &wrong)])
        .err()
        .unwrap();
    assert_eq!(error.file, "api-keys.toml");
    assert_eq!(error.key.as_deref(), Some("keys[0].scopes"));
}

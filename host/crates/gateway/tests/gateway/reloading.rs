//! Keys and settings that change while requests come.

use std::sync::Arc;

use wharf_core::{Gatekeeper as _, LoadError};
use wharf_gateway::Gateway;
use wharf_testkit::eventually;

use crate::support::{KeyServer, Place, claims, config, ec, issuer, key_set, rsa, rsa_other};

/// Whether a token is let in at once.
fn lets_in(place: &Place, token: &str) -> bool {
    place.show_now(token).is_some_and(|answer| answer.is_ok())
}

#[tokio::test]
async fn keys_in_files_are_followed() {
    let (before, after) = (rsa().sign(&claims()), rsa_other().sign(&claims()));
    for (settings, path, texts) in [
        (
            "jwks = 'keys.json'",
            "keys.json",
            [
                key_set(&[rsa()]).to_string(),
                key_set(&[rsa_other()]).to_string(),
            ],
        ),
        (
            "pem = 'key.pem'",
            "key.pem",
            [rsa().pem.clone(), rsa_other().pem.clone()],
        ),
    ] {
        let place = Place::new(&issuer(settings), &[(path, &texts[0])]);
        assert!(lets_in(&place, &before) && !lets_in(&place, &after));
        place.write(path, &texts[1]);
        eventually("the other key is in force", || lets_in(&place, &after)).await;
        assert!(
            !lets_in(&place, &before),
            "it was known, and by a key that is gone"
        );
        place.gateway.shutdown().await;
    }
}

#[tokio::test]
async fn a_broken_key_file_leaves_the_keys_in_force() {
    let (of_first, of_second) = (ec("first"), ec("second"));
    let settings = format!(
        "{}[[issuers]]\nissuer = 'https://second.example'\naudience = 'wharf'\njwks = 'second.json'\n",
        issuer("jwks = 'first.json'")
    );
    let set = |signer| key_set(&[signer]).to_string();
    let files = [
        ("first.json", set(&of_first)),
        ("second.json", set(&of_first)),
    ];
    let place = Place::new(
        &settings,
        &files.each_ref().map(|(path, text)| (*path, text.as_str())),
    );
    let token = of_first.sign(&claims());
    let mut claims = claims();
    claims["iss"] = "https://second.example".into();
    for (broken, of_other) in [("{\"keys\": [", &of_second), ("{\"keys\": []}", &of_first)] {
        place.write("first.json", broken);
        place.write("second.json", &set(of_other));
        // Files are looked at in the order of the issuers: once the second is seen, so is the first.
        let seen = of_other.sign(&claims);
        eventually("the second file is seen", || lets_in(&place, &seen)).await;
        assert!(lets_in(&place, &token), "{broken}");
    }
}

fn refusal(settings: &str, files: &[(&str, &str)]) -> LoadError {
    let error = Place::open(settings, files).err().unwrap();
    // What checks a site says the same, without starting anything.
    let site = tempfile::tempdir().unwrap();
    for (path, text) in files {
        std::fs::write(site.path().join(path), text).unwrap();
    }
    let checked = Gateway::check(&config(settings), site.path()).unwrap_err();
    assert_eq!(
        (&checked.key, &checked.message),
        (&error.key, &error.message)
    );
    error
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_refused_by_the_setting() {
    let none_usable = "{\"keys\": [{\"kty\": \"oct\", \"k\": \"c2VjcmV0\"}]}";
    for (settings, files, key, what) in [
        (
            "jwks = 'keys.json'",
            vec![],
            "jwks",
            "keys.json is not there",
        ),
        (
            "jwks = '../keys.json'",
            vec![],
            "jwks",
            "leads out of the site",
        ),
        (
            "jwks = 'keys.json'",
            vec![("keys.json", "[]")],
            "jwks",
            "keys.json is no JSON Web Key Set",
        ),
        (
            "jwks = 'keys.json'",
            vec![("keys.json", none_usable)],
            "jwks",
            "keys.json has no key that can be used",
        ),
        ("pem = 'key.pem'", vec![], "pem", "key.pem is not there"),
        (
            "pem = 'key.pem'",
            vec![("key.pem", "nothing")],
            "pem",
            "key.pem is not one public key",
        ),
    ] {
        let error = refusal(&issuer(settings), &files);
        assert_eq!(error.file, "wharf.toml");
        assert_eq!(error.key, Some(format!("gateway.issuers[0].{key}")));
        assert!(error.message.contains(what), "{error}");
    }
    assert_eq!(refusal("", &[]).key.as_deref(), Some("gateway.auth"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_change_while_requests_come() {
    let signer = ec("a");
    let server = KeyServer::start(&[&signer]).await;
    let remote = issuer(&format!("jwks = '{}'", server.url()));
    let place = Place::new(&remote, &[("keys.json", &key_set(&[rsa()]).to_string())]);
    let token = signer.sign(&claims());
    place.show(&token).await.unwrap();

    // An issuer that is as before keeps its keys: nothing is fetched, and nobody waits.
    let second =
        "[[issuers]]\nissuer = 'https://second.example'\naudience = 'wharf'\njwks = 'keys.json'\n";
    place
        .gateway
        .reconfigure(&config(&format!("{remote}{second}")))
        .unwrap();
    assert!(lets_in(&place, &token));
    let mut claims = claims();
    claims["iss"] = "https://second.example".into();
    let of_second = rsa().sign(&claims);
    assert!(lets_in(&place, &of_second));
    assert_eq!(server.asked(), 1);

    // What is wrong leaves everything as it was.
    let broken = config(&format!(
        "{remote}{}",
        second.replace("keys.json", "none.json")
    ));
    let error = place.gateway.reconfigure(&broken).unwrap_err();
    assert_eq!(error.key.as_deref(), Some("gateway.issuers[1].jwks"));
    assert!(lets_in(&place, &token) && lets_in(&place, &of_second));

    // Another audience: what was known by the old one is so no more.
    let other = config(&remote.replace("'wharf'", "'other'"));
    place.gateway.reconfigure(&other).unwrap();
    let said = place.refusal(&token).await;
    assert_eq!(said, "the token is for another audience");

    // An issuer that is gone.
    place.gateway.reconfigure(&config(second)).unwrap();
    let said = place.refusal(&token).await;
    assert_eq!(said, "the token is from an issuer that is not accepted");
    assert!(lets_in(&place, &of_second));

    place
        .gateway
        .reconfigure(&toml::from_str("auth = 'none'").unwrap())
        .unwrap();
    let anybody = place.gateway.identify(&http::HeaderMap::new()).get().await;
    assert_eq!(&*anybody.unwrap().subject, "anonymous");
    place.gateway.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_issuer_that_is_gone_is_asked_no_more() {
    let signer = ec("a");
    let server = KeyServer::start(&[&signer]).await;
    let jwks = format!(
        "jwks = '{}'\nmin_refetch_s = 1\nrefresh_s = 1",
        server.url()
    );
    let place = Place::new(&issuer(&jwks), &[]);
    place.show(&signer.sign(&claims())).await.unwrap();
    let second = KeyServer::start(&[&signer]).await;
    let moved = jwks.replace(&server.url(), &second.url());
    place.gateway.reconfigure(&config(&issuer(&moved))).unwrap();
    place.show(&signer.sign(&claims())).await.unwrap();
    let asked = server.asked();
    eventually("the other one is asked", || second.asked() >= 3).await;
    assert_eq!(server.asked(), asked);
    place.gateway.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_waits_for_keys_outlives_a_change_of_settings() {
    let signer = ec("a");
    let server = KeyServer::start(&[&signer]).await;
    server.hold_after(0);
    let jwks = issuer(&format!("jwks = '{}'", server.url()));
    let place = Arc::new(Place::new(&jwks, &[]));
    let token = signer.sign(&claims());
    let waiting = tokio::spawn({
        let (place, token) = (Arc::clone(&place), token.clone());
        async move { place.show(&token).await }
    });
    eventually("the set is asked for", || server.asked() == 1).await;
    let changed = config(&jwks.replace("'wharf'", "['wharf', 'other']"));
    place.gateway.reconfigure(&changed).unwrap();
    server.let_go(10);
    waiting.await.unwrap().unwrap();
    place.show(&token).await.unwrap();
    place.gateway.shutdown().await;
}

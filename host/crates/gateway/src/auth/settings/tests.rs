use super::*;

fn issuer(more: &str) -> IssuerConfig {
    let text = format!("issuer = 'https://id.example'\naudience = ['a', 'b']\n{more}");
    toml::from_str(&text).unwrap()
}

#[test]
fn only_addresses_that_nobody_can_answer_for_are_asked() {
    for jwks in ["keys/id.json", "/etc/keys.json", "https://id.example/keys"] {
        assert_eq!(
            issuer(&format!("jwks = '{jwks}'")).check(),
            Ok(()),
            "{jwks}"
        );
    }
    for jwks in [
        "http://127.0.0.1:1/k",
        "http://[::1]/k",
        "http://localhost/k",
    ] {
        assert_eq!(
            issuer(&format!("jwks = '{jwks}'")).check(),
            Ok(()),
            "{jwks}"
        );
    }
    for jwks in [
        "",
        "http://id.example/keys",
        "http://127.0.0.1.example/keys",
        "http://10.0.0.1/keys",
        "file:///etc/keys.json",
        "https://user:word@id.example/keys",
        "https://",
    ] {
        let (key, _) = issuer(&format!("jwks = '{jwks}'")).check().unwrap_err();
        assert_eq!(key, "jwks", "{jwks}");
    }
}

#[test]
fn shared_secrets_are_never_accepted() {
    let (key, message) = issuer("pem = 'k'\nalgorithms = ['RS256', 'HS256']")
        .check()
        .unwrap_err();
    assert_eq!(key, "algorithms");
    assert!(message.starts_with("HS256 is never accepted"), "{message}");
    let none = toml::from_str::<IssuerConfig>("algorithms = ['none']");
    assert!(none.is_err());
}

#[test]
fn a_time_out_of_range_is_named() {
    for (more, at) in [
        ("leeway_s = 601", "leeway_s"),
        ("min_refetch_s = 0", "min_refetch_s"),
        ("refresh_s = 5", "refresh_s"),
        ("max_stale_s = 299", "max_stale_s"),
    ] {
        let (key, _) = issuer(&format!("pem = 'k'\n{more}")).check().unwrap_err();
        assert_eq!(key, at);
    }
}

#[test]
fn what_is_accepted_is_said_as_people_do() {
    assert_eq!(issuer("").accepted(), "RS256, ES256 or EdDSA");
    assert_eq!(issuer("algorithms = ['ES384']").accepted(), "ES384");
}

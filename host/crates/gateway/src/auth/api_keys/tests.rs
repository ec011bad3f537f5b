use wharf_core::Action;

use super::*;

const NOW: u64 = 1_800_000_000;
/// The field that keys come in.
const FIELD: &str = "x-api-key";

fn entry(more: &str) -> String {
    let digest = "ab".repeat(32);
    format!("[[keys]]\nname = 'ci'\ntenant = 'acme'\nsha256 = '{digest}'\n{more}\n")
}

fn problem(text: &str) -> (String, String) {
    let error = Keys::read("api-keys.toml", text.as_bytes()).unwrap_err();
    assert_eq!(error.file, "api-keys.toml");
    (error.key.unwrap_or_default(), error.message)
}

#[test]
fn a_key_without_a_tenant_is_an_operators() {
    let (_, mut made) = ApiKey::generate("ops", None).unwrap();
    made.scopes.push("*".to_owned());
    assert!(!made.to_toml().unwrap().contains("tenant"));
    let (_, known) = made.known().unwrap();
    assert_eq!(known.principal.tenant, None);
}

#[test]
fn a_new_key_is_let_in_and_its_neighbours_are_not() {
    let site = tempfile::tempdir().unwrap();
    let (key, mut made) = ApiKey::generate("ci", "acme").unwrap();
    made.scopes = vec!["infer:digits".to_owned(), "models:read".to_owned()];
    made.roles = vec!["robot".to_owned()];
    made.check().unwrap();
    let toml = made.to_toml().unwrap();
    assert!(toml.starts_with("[[keys]]\nname = \"ci\"\n"), "{toml}");
    assert!(!toml.contains(&key) && !toml.contains("expires"), "{toml}");
    std::fs::write(site.path().join("api-keys.toml"), toml).unwrap();

    let book = KeyBook::open("api-keys.toml", site.path()).unwrap();
    let principal = book.find((&key, FIELD), NOW).unwrap();
    assert_eq!(principal.tenant.as_deref(), Some("acme"));
    assert_eq!(&*principal.subject, "ci");
    assert_eq!(principal.context, r#"{"user":"ci","roles":["robot"]}"#);
    assert!(principal.may(Action::Infer, Some("digits")));
    assert!(!principal.may(Action::WriteModels, None));

    let long = key.repeat(10);
    for other in [
        "",
        "wharf_",
        &key[..key.len() - 1],
        &key.to_uppercase(),
        &long,
    ] {
        assert_eq!(
            book.find((other, FIELD), NOW).unwrap_err(),
            Refusal::UnknownApiKey(FIELD)
        );
    }
}

#[test]
fn keys_differ_and_have_256_bits() {
    let (one, _) = ApiKey::generate("a", "t").unwrap();
    let (other, _) = ApiKey::generate("a", "t").unwrap();
    assert_ne!(one, other);
    let bits = one.strip_prefix(PREFIX).unwrap();
    assert_eq!(bits.len(), 43);
}

#[test]
fn a_key_ends_at_its_time() {
    let (key, mut made) = ApiKey::generate("ci", "acme").unwrap();
    made.expires = Some("2027-01-15T09:00:00+01:00".to_owned());
    let toml = made.to_toml().unwrap();
    // Unquoted, as TOML has times.
    let unquoted = toml.replace("\"2027-01-15T09:00:00+01:00\"", "2027-01-15T08:00:00Z");
    assert_ne!(toml, unquoted);
    for text in [toml, unquoted] {
        let keys = Keys::read("api-keys.toml", text.as_bytes()).unwrap();
        let digest: TokenDigest = Sha256::digest(&key).into();
        assert_eq!(keys.0[&digest].expires, Some(NOW));
    }
}

#[test]
fn the_file_is_followed_and_a_broken_one_changes_nothing() {
    let site = tempfile::tempdir().unwrap();
    let path = site.path().join("api-keys.toml");
    let (key, made) = ApiKey::generate("ci", "acme").unwrap();
    std::fs::write(&path, made.to_toml().unwrap()).unwrap();
    let book = KeyBook::open("api-keys.toml", site.path()).unwrap();

    std::fs::write(&path, "[[keys").unwrap();
    book.look(site.path());
    assert!(book.find((&key, FIELD), NOW).is_ok());
    std::fs::remove_file(&path).unwrap();
    book.look(site.path());
    assert!(book.find((&key, FIELD), NOW).is_ok());
    std::fs::write(&path, "").unwrap();
    book.look(site.path());
    assert_eq!(
        book.find((&key, FIELD), NOW).unwrap_err(),
        Refusal::UnknownApiKey(FIELD)
    );
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let same_key = entry("").replace("'ci'", "'other'");
    for (text, key) in [
        (entry("").replace("ab", "xy"), "keys[0].sha256"),
        (entry("").replace("abab", "ab"), "keys[0].sha256"),
        (entry("").replace("'ci'", "'a b'"), "keys[0].name"),
        (entry("").replace("acme", "../acme"), "keys[0].tenant"),
        (entry("scopes = ['infere']"), "keys[0].scopes"),
        (entry("expires = 'tomorrow'"), "keys[0].expires"),
        (entry("expires = 2027-01-31"), "keys[0].expires"),
        (format!("{}{}", entry(""), entry("")), "keys[1].name"),
        (format!("{}{same_key}", entry("")), "keys[1].sha256"),
    ] {
        assert_eq!(problem(&text).0, key, "{text}");
    }
    let (_, message) = problem(&entry("scope = ['infer']"));
    assert!(
        message.starts_with("line 5: unknown field `scope`"),
        "{message}"
    );
    assert!(
        problem(&entry("expires = 7"))
            .1
            .contains("a time is expected")
    );
    assert!(problem("key = 1").1.starts_with("line 1: "));
}

#[test]
fn a_missing_file_is_named_by_its_setting() {
    let site = tempfile::tempdir().unwrap();
    let error = KeyBook::open("api-keys.toml", site.path()).err().unwrap();
    assert_eq!(error.file, "wharf.toml");
    assert_eq!(error.key.as_deref(), Some("gateway.api_keys.file"));
}

use serde::de::Error as _;
use wharf_testkit::{Reference, known_keys};

use super::*;

fn check(text: &str) -> Result<Grant, String> {
    let grant: Grant = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    match grant.check() {
        Ok(()) => Ok(grant),
        Err((key, message)) => Err(format!("{key}: {message}")),
    }
}

#[test]
fn a_grant_names_its_origins_and_has_defaults() {
    let grant = check("origins = ['https://api.example.com']").unwrap();
    assert_eq!(
        (grant.timeout_ms, grant.response_kb, grant.redirects),
        (5000, 8192, 5)
    );
}

#[test]
fn a_wrong_grant_is_refused_with_its_key() {
    for (text, expected) in [
        ("", "origins: name the servers"),
        ("origins = ['example.com']", "origins: \"example.com\""),
        ("origins = ['https://a.b']\ncalls = 0", "calls: must be"),
        (
            "origins = ['https://a.b']\nheaders_kb = 65",
            "headers_kb: must be a whole number from 1 to 64",
        ),
        (
            "origins = ['https://a.b']\nredirects = 21",
            "redirects: must be",
        ),
        ("origin = 'https://a.b'", "unknown field `origin`"),
    ] {
        let error = check(text).unwrap_err();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn the_reference_has_every_key() {
    let reference = Reference::new(include_str!("../../../../../reference/plugin.toml"));
    let error = toml::from_str::<Grant>("no-such-key = 1")
        .err()
        .unwrap_or_else(|| toml::de::Error::custom("read"));
    for key in known_keys(error.message()) {
        assert!(reference.has("grants.http", key), "{key} is missing");
    }
    let text = reference.text().parse::<toml::Table>().unwrap();
    let given: Grant = text["grants"]["http"].clone().try_into().unwrap();
    let defaults = Grant {
        origins: given.origins.clone(),
        ca_file: given.ca_file.clone(),
        ..Grant::default()
    };
    assert_eq!(format!("{given:?}"), format!("{defaults:?}"));
}

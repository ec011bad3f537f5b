use wharf_testkit::{Reference, known_keys};

use super::*;

const REFERENCE: &str = include_str!("../../../../../reference/route.toml");

fn parsed(text: &str) -> Result<RouteSpec, LoadError> {
    parse(Name::new("r").unwrap(), text)
}

#[test]
fn a_whole_route_is_read() {
    let spec = parsed(
        "router = 'canary'\npre = ['a', { plugin = 'b', on_failure = 'skip' }]\npost = ['c']\n\
         timeout_ms = 2000\nmax_in_flight = 8\nmax_body_bytes = 1000\nbody_timeout_ms = 250\ninput = 'tensors'\n\
         [[candidates]]\nmodel = 'm'\nversion = 1\nlabels = ['stable']\n\
         [[candidates]]\nmodel = 'm'\nversion = 2",
    )
    .unwrap();
    assert_eq!(spec.router.unwrap().plugin.as_str(), "canary");
    assert_eq!(spec.pre[1].on_failure, OnFailure::Skip);
    assert_eq!(spec.candidates[0].labels[..], ["stable"]);
    assert_eq!(spec.timeout, Some(Duration::from_secs(2)));
    assert_eq!(spec.max_body_bytes, Some(1000));
    assert_eq!(spec.body_timeout, Some(Duration::from_millis(250)));
    assert_eq!(spec.takes_body, Some(false));
}

#[test]
fn each_refusal_names_the_key() {
    let cases = [
        ("", "model"),
        ("modell = 'a'", "modell"),
        ("model = 'a'\n[[candidates]]\nmodel = 'b'", "candidates"),
        ("model = 'a/b'", "model"),
        ("model = 3", "model"),
        ("model = 'a'\npre = [3]", "pre[0]"),
        ("model = 'a'\npre = ['a', '../b']", "pre[1]"),
        (
            "model = 'a'\npre = [{ plugin = 'x', on_failure = 'open' }]",
            "pre[0].on_failure",
        ),
        ("model = 'a'\ntimeout_ms = 0", "timeout_ms"),
        ("model = 'a'\ntimeout_ms = 99999999999", "timeout_ms"),
        ("model = 'a'\nmax_in_flight = 0", "max_in_flight"),
        ("model = 'a'\nmax_body_bytes = 0", "max_body_bytes"),
        ("model = 'a'\nmax_body_bytes = 4294967297", "max_body_bytes"),
        ("model = 'a'\nbody_timeout_ms = 0", "body_timeout_ms"),
        ("model = 'a'\ninput = 'json'", "input"),
        (
            "[[candidates]]\nmodel = 'a'\n[[candidates]]\nmodel = 'b'",
            "router",
        ),
        (
            "router = 'r'\n[[candidates]]\nmodel = 'a'\n[[candidates]]\nmodel = 'a'",
            "candidates[1]",
        ),
    ];
    for (text, key) in cases {
        let error = parsed(text).unwrap_err();
        assert_eq!(error.key.as_deref(), Some(key), "{text}: {error}");
        assert_eq!(error.file, "routes/r.toml");
    }
}

#[test]
fn what_is_no_toml_names_the_line() {
    let error = parsed("model = 'a'\npre = [").unwrap_err();
    assert!(error.message.starts_with("line 2"), "{error}");
}

#[test]
fn the_reference_is_read() {
    let spec = parsed(REFERENCE).unwrap();
    assert_eq!(spec.candidates.len(), 1);
    assert_eq!(spec.post[0].on_failure, OnFailure::Closed);
    for policy in ["closed", "skip", "previous"] {
        assert!(
            REFERENCE.contains(&format!("#   \"{policy}\" ")),
            "{policy}"
        );
    }
}

#[test]
fn the_reference_has_every_key() {
    let reference = Reference::new(REFERENCE);
    // `model` and the candidates exclude each other: only the schema looks at them here.
    toml::from_str::<RouteFile>(reference.text()).unwrap();
    for (table, text) in [
        ("", "no-such-key = 1"),
        ("candidates", "[[candidates]]\nno-such-key = 1"),
        ("post", "post = [{ no-such-key = 1 }]"),
    ] {
        let error = parsed(text).unwrap_err();
        for key in known_keys(&error.message) {
            assert!(reference.has(table, key), "[{table}] {key} is missing");
        }
    }
}

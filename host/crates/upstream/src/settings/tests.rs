use wharf_testkit::{Reference, known_keys};

use super::*;

const REFERENCE: &str = include_str!("../../../../reference/upstream.toml");

fn parse(text: &str) -> Result<Settings, LoadError> {
    Settings::parse(&Name::new("gpu").unwrap(), text)
}

fn refused(text: &str) -> String {
    let error = parse(text).expect_err(text);
    assert_eq!(error.file, "upstreams/gpu.toml");
    error.key.unwrap_or_default()
}

const LEAST: &str = "protocol = 'oip-http'\nendpoints = ['http://peer:8080']\n";

#[test]
fn the_least_is_a_protocol_and_an_endpoint() {
    let settings = parse(LEAST).unwrap();
    assert_eq!(settings.protocol, Protocol::OipHttp);
    assert_eq!(&*settings.model, "gpu");
    assert_eq!(settings.version, None);
    assert_eq!(settings.retries, 2);
    assert_eq!(settings.files().count(), 0);
}

#[test]
fn the_reference_has_every_key_with_its_default() {
    let reference = Reference::new(REFERENCE);
    let written = parse(REFERENCE).expect("the reference is a good file");
    let by_default = parse(LEAST).unwrap();
    let comparable = |settings: &Settings| {
        format!(
            "{:?}",
            Settings {
                addresses: Vec::new(),
                model: "".into(),
                tls: Tls::default(),
                ..settings.clone()
            }
        )
    };
    assert_eq!(comparable(&written), comparable(&by_default));
    for (table, header) in [
        ("", ""),
        ("tls", "[tls]\n"),
        ("ejection", "[ejection]\n"),
        ("breaker", "[breaker]\n"),
    ] {
        let error = parse(&format!("{LEAST}{header}surely_unknown = 1")).unwrap_err();
        for key in known_keys(&error.message) {
            assert!(
                reference.has(table, key),
                "{table}.{key} is not in the reference"
            );
        }
    }
}

#[test]
fn what_cannot_be_is_refused_by_its_key() {
    for (line, key) in [
        ("model = ''", "model"),
        ("timeout_ms = 0", "timeout_ms"),
        ("retries = 11", "retries"),
        ("retry_budget = 1.5", "retry_budget"),
        ("retry_budget = nan", "retry_budget"),
        ("max_body_bytes = 0", "max_body_bytes"),
        (
            "request_headers = ['x-user', 'Authorization']",
            "request_headers[1]",
        ),
        ("request_headers = ['x-tenant-id']", "request_headers[0]"),
        ("request_headers = ['via']", "request_headers[0]"),
        ("request_headers = ['a b']", "request_headers[0]"),
        ("answer_headers = ['x-a']", "answer_headers"),
        ("[tls]\nserver_name = 'a'", "tls"),
        ("[ejection]\nmax_fraction = 2.0", "ejection.max_fraction"),
        ("[breaker]\nopen_ms = 0", "breaker.open_ms"),
    ] {
        assert_eq!(refused(&format!("{LEAST}{line}")), key, "{line}");
    }
    assert_eq!(refused("protocol = 'http'\nendpoints = []"), "endpoints");
    assert_eq!(
        refused("protocol = 'http'\nendpoints = ['http://a', 'http://a/']"),
        "endpoints[1]"
    );
    assert_eq!(refused("protocol = 'grpc'\nendpoints = []"), "protocol");
    let service = "protocol = 'http'\nendpoints = ['https://a']\n";
    assert_eq!(refused(&format!("{service}model = 'a'")), "model");
    assert_eq!(
        refused(&format!("{service}[tls]\ncert_file = 'a.pem'")),
        "tls.cert_file"
    );
    assert!(parse(&format!("{service}answer_headers = ['x-a']")).is_ok());
    let crossing = "answer_headers = ['x-a', 'Access-Control-Allow-Origin']";
    assert_eq!(
        refused(&format!("{service}{crossing}")),
        "answer_headers[1]"
    );
}

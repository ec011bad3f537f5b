use super::*;

fn config(origins: &[&str]) -> CorsConfig {
    CorsConfig {
        origins: origins.iter().map(ToString::to_string).collect(),
        ..CorsConfig::default()
    }
}

#[test]
fn nobody_is_let_in_by_default() {
    assert!(CorsConfig::default().ready().unwrap().is_none());
}

#[test]
fn what_is_wrong_is_named() {
    let wrong = |config: &CorsConfig| config.ready().unwrap_err().key.into_owned();
    for origin in [
        "",
        "null",
        "app.example",
        "https://",
        "https://app.example/",
        "https://App.example",
        "https://app.example:443",
        "http://app.example:80",
        "https://user@app.example",
        "https://app.example/path",
        "https://a b",
    ] {
        assert_eq!(wrong(&config(&[origin])), "cors.origins", "{origin}");
    }
    assert_eq!(wrong(&config(&["*", "https://a.example"])), "cors.origins");
    let with = |change: fn(&mut CorsConfig)| {
        let mut config = config(&["*"]);
        change(&mut config);
        wrong(&config)
    };
    assert_eq!(with(|config| config.credentials = true), "cors.credentials");
    assert_eq!(with(|config| config.max_age_s = 86_401), "cors.max_age_s");
    assert_eq!(
        with(|config| config.methods = vec!["A B".into()]),
        "cors.methods"
    );
    assert_eq!(
        with(|config| config.headers = vec!["a:b".into()]),
        "cors.headers"
    );
}

#[test]
fn an_origin_is_compared_whole() {
    let cors = config(&["https://app.example", "http://localhost:3000"]);
    let cors = cors.ready().unwrap().unwrap();
    let allowed = |origin: &'static str| {
        let origin = HeaderValue::from_static(origin);
        let trusted = cors.trusts(&origin);
        let headers = HeaderMap::from_iter([(ORIGIN, origin)]);
        let crossing = cors.crossing(&Method::POST, &headers);
        assert!(!crossing.is_preflight);
        assert_eq!(crossing.allowed.is_some(), trusted);
        trusted
    };
    assert!(allowed("https://app.example"));
    assert!(allowed("http://localhost:3000"));
    for origin in [
        "http://app.example",
        "https://app.example:8443",
        "https://app.example.evil.example",
        "https://sub.app.example",
        "null",
        "*",
    ] {
        assert!(!allowed(origin), "{origin}");
    }
}

#[test]
fn all_may_read_and_none_is_trusted() {
    let cors = config(&["*"]).ready().unwrap().unwrap();
    let origin = HeaderValue::from_static("https://app.example");
    assert!(!cors.trusts(&origin));
    let headers = HeaderMap::from_iter([(ORIGIN, origin)]);
    let crossing = cors.crossing(&Method::GET, &headers);
    let mut response = Response::new(());
    cors.name(crossing, &mut response);
    assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    assert!(!response.headers().contains_key(VARY));
}

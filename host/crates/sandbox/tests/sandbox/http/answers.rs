//! What is sent, what comes back, and where redirects lead.

use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::json;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use wharf_core::PluginHost as _;
use wharf_testkit::eventually;

use super::server::Server;
use super::tls::Authority;
use super::{ask, ask_for, fields, get, grant, outbound, seen};
use crate::site::{Log, Site, guest, request_with};

#[tokio::test]
async fn a_request_and_its_answer_go_whole() {
    let (site, server) = (Site::new(), Server::start().await);
    let plugin = outbound(&site, &grant(&[&server]));
    let plan = json!({"requests": [{
        "method": "PUT",
        "url": format!("{}/items/7?x=%20y#part", server.origin()),
        "headers": [["X-Key", "1"], ["x-key", "2"], ["content-type", "not/this"]],
        "body": ["text/plain; charset=utf-8", "the body"],
    }]});
    let outcome = ask(&plugin, plan).await.remove(0);
    assert_eq!(outcome["status"], 201, "{outcome}");
    assert_eq!(outcome["media_type"], "application/json");
    let names: Vec<_> = outcome["headers"].as_array().unwrap().iter().collect();
    assert!(
        names.contains(&&json!(["x-protocol", "HTTP/1.1"])),
        "{names:?}"
    );
    let seen = seen(&outcome);
    assert_eq!(
        (&seen["method"], &seen["target"]),
        (&json!("PUT"), &json!("/items/7?x=%20y"))
    );
    assert_eq!(seen["body"], "the body");
    assert_eq!(fields(&seen, "x-key"), ["1", "2"]);
    assert_eq!(fields(&seen, "content-type"), ["text/plain; charset=utf-8"]);
    assert_eq!(fields(&seen, "content-length"), ["8"]);
    assert_eq!(
        fields(&seen, "host"),
        [format!("127.0.0.1:{}", server.port())]
    );
    assert_eq!(fields(&seen, "user-agent"), ["wharf"]);
    assert!(fields(&seen, "traceparent").is_empty());
    // What is compressed stays compressed, and the connection is used again.
    let outcome = get(&plugin, &format!("{}/gzip", server.origin())).await;
    assert_eq!(
        (&outcome["length"], &outcome["media_type"]),
        (&json!(15), &json!("application/octet-stream"))
    );
    assert_eq!(server.connections().0, 1);
    let ok = [("plugin", "outbound"), ("outcome", "ok")];
    assert_eq!(site.metric("plugin_http_request_total", &ok), 2.0);
    assert_eq!(
        site.metric(
            "plugin_http_request_duration_seconds",
            &[("plugin", "outbound")]
        ),
        2.0
    );
}

#[tokio::test]
async fn what_is_not_granted_is_denied_and_never_asked() {
    let (site, granted, other) = (Site::new(), Server::start().await, Server::start().await);
    let plugin = outbound(&site, &grant(&[&granted]));
    let log = Log::default();
    let kept = log.keep();
    for url in [
        other.origin(),
        format!("http://localhost:{}/", granted.port()),
        format!("https://127.0.0.1:{}/", granted.port()),
        format!("{}/redirect?307&{}/echo", granted.origin(), other.origin()),
        format!(
            "{}/redirect?302&//localhost:{}/",
            granted.origin(),
            other.port()
        ),
    ] {
        let outcome = get(&plugin, &url).await;
        assert_eq!(outcome["error"], "denied", "{url}: {outcome}");
        let message = outcome["message"].as_str().unwrap();
        assert!(message.contains("grants.http.origins"), "{message}");
        assert!(
            !message.contains("127.0.0.1") && !message.contains("localhost"),
            "{message}"
        );
    }
    drop(kept);
    assert!(other.asked().is_empty());
    assert_eq!(granted.asked(), ["/redirect", "/redirect"]);
    let logged = log.text();
    assert!(
        logged.contains(&format!("{} is not granted", other.origin())),
        "{logged}"
    );
    assert_eq!(
        site.metric("plugin_http_request_total", &[("outcome", "denied")]),
        5.0
    );
}

#[tokio::test]
async fn redirects_are_followed_to_what_is_granted() {
    let (site, first, second) = (Site::new(), Server::start().await, Server::start().await);
    let plugin = outbound(&site, &grant(&[&first, &second]));
    let send = |method: &str, from: String| {
        json!({
            "method": method,
            "url": from,
            "headers": [["authorization", "Bearer 1"], ["cookie", "a=b"], ["x-kept", "1"]],
            "body": ["text/plain", "text"],
        })
    };
    let (here, there) = (first.origin(), format!("{}/there", second.origin()));
    let plan = json!({"requests": [
        send("POST", format!("{here}/redirect?307&{there}")),
        send("POST", format!("{here}/redirect?303&/here?x=1")),
        send("POST", format!("{here}/redirect?302&here")),
        send("PUT", format!("{here}/redirect?301&here")),
        send("HEAD", format!("{here}/redirect?303&here")),
    ]});
    let outcomes = ask(&plugin, plan).await;
    let elsewhere = seen(&outcomes[0]);
    assert_eq!(
        (&elsewhere["method"], &elsewhere["body"]),
        (&json!("POST"), &json!("text"))
    );
    assert_eq!(fields(&elsewhere, "x-kept"), ["1"]);
    assert!(
        fields(&elsewhere, "authorization").is_empty() && fields(&elsewhere, "cookie").is_empty()
    );
    for outcome in &outcomes[1..3] {
        let same = seen(outcome);
        assert_eq!(
            (&same["method"], &same["body"]),
            (&json!("GET"), &json!(""))
        );
        assert_eq!(
            (fields(&same, "authorization"), fields(&same, "cookie")),
            (vec!["Bearer 1"], vec!["a=b"])
        );
        assert!(fields(&same, "content-type").is_empty());
    }
    assert_eq!(seen(&outcomes[3])["method"], "PUT");
    assert_eq!(
        (&outcomes[4]["status"], &outcomes[4]["length"]),
        (&json!(201), &json!(0))
    );
}

#[tokio::test]
async fn a_loop_of_redirects_ends() {
    let (site, server) = (Site::new(), Server::start().await);
    let around = format!("{}/redirect?302&/redirect?302%26/", server.origin());
    // A server that always redirects to itself.
    let round = super::server::raw(
        b"HTTP/1.1 302 Found\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n".to_vec(),
        super::server::Then::Close,
    )
    .await;
    let plugin = outbound(
        &site,
        &format!(
            "origins = [{:?}, {round:?}]\nredirects = 3",
            server.origin()
        ),
    );
    let outcome = get(&plugin, &round).await;
    assert_eq!(outcome["error"], "failed", "{outcome}");
    assert!(
        outcome["message"]
            .as_str()
            .unwrap()
            .contains("grants.http.redirects = 3"),
        "{outcome}"
    );
    let plugin = outbound(&site, &format!("{}\nredirects = 0", grant(&[&server])));
    assert_eq!(get(&plugin, &around).await["status"], 302);
    assert_eq!(server.asked(), ["/redirect"]);
    let plugin = outbound(&site, &grant(&[&server]));
    for nowhere in ["ftp://127.0.0.1/", "http://a:b@127.0.0.1/", "http://"] {
        let outcome = get(
            &plugin,
            &format!("{}/redirect?302&{nowhere}", server.origin()),
        )
        .await;
        assert_eq!(outcome["error"], "failed", "{nowhere}: {outcome}");
    }
}

#[tokio::test]
async fn several_requests_run_at_once_within_the_grant() {
    let (site, server) = (Site::new(), Server::start().await);
    let plugin = outbound(&site, &format!("{}\ncalls = 4", grant(&[&server])));
    let requests: Vec<_> = (0..10)
        .map(|number| json!({"url": format!("{}/wait?{number}", server.origin())}))
        .collect();
    let asking = tokio::spawn({
        let plugin = plugin.clone();
        async move { ask(&plugin, json!({"together": true, "requests": requests})).await }
    });
    eventually("four requests wait", || server.waiting().0 == 4).await;
    // The plugin may have no more under way, whoever asks.
    let outcome = get(&plugin, &format!("{}/echo", server.origin())).await;
    assert_eq!(outcome["error"], "unavailable", "{outcome}");
    assert!(
        outcome["message"]
            .as_str()
            .unwrap()
            .contains("grants.http.calls = 4"),
        "{outcome}"
    );
    server.let_go(10);
    let outcomes = asking.await.unwrap();
    let numbers: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome["text"].as_str().unwrap())
        .collect();
    assert_eq!(numbers, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert_eq!(server.waiting().1, 4);
}

#[tokio::test]
async fn the_trace_goes_along() {
    let (site, server) = (Site::new(), Server::start().await);
    let plugin = outbound(&site, &grant(&[&server]));
    let plan = json!({"requests": [{"url": format!("{}/echo", server.origin()), "headers": [["traceparent", "mine"]]}]});
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    // Without spans the client's own trace goes on.
    let traced = request_with(&[("traceparent", parent), ("tracestate", "a=1")]);
    let outcome = ask_for(&plugin, &traced, plan.clone()).await.remove(0);
    let echo = seen(&outcome);
    assert_eq!(
        (fields(&echo, "traceparent"), fields(&echo, "tracestate")),
        (vec![parent], vec!["a=1"])
    );
    let mangled = request_with(&[("traceparent", "00-zz"), ("tracestate", "a=1")]);
    let outcome = ask_for(&plugin, &mangled, plan.clone()).await.remove(0);
    assert_eq!(fields(&seen(&outcome), "traceparent"), ["mine"]);
    // With spans it is that of the request's span.
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let tracer = SdkTracerProvider::default().tracer("test");
    let subscriber =
        tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer));
    let _default = tracing::subscriber::set_default(subscriber);
    let span = tracing::info_span!(target: wharf_core::SPAN_TARGET, "request");
    let trace = span.context().span().span_context().trace_id().to_string();
    let outcome = ask_for(&plugin, &traced, plan)
        .instrument(span)
        .await
        .remove(0);
    let echo = seen(&outcome);
    let sent = fields(&echo, "traceparent");
    assert!(
        sent.len() == 1 && sent[0].contains(&trace),
        "{sent:?}, {trace}"
    );
}

#[tokio::test]
async fn tls_trusts_the_authorities_that_the_grant_names() {
    let (site, authority, stranger) = (Site::new(), Authority::new(), Authority::new());
    let server = Server::start_tls(authority.acceptor(&["h2", "http/1.1"])).await;
    let origin = format!("https://localhost:{}", server.port());
    std::fs::write(site.folder.path().join("own.pem"), authority.pem()).unwrap();
    std::fs::write(site.folder.path().join("other.pem"), stranger.pem()).unwrap();
    let with = |file: &str| format!("origins = [{origin:?}]\nca_file = {file:?}");
    let plugin = outbound(&site, &with("own.pem"));
    let outcome = get(&plugin, &format!("{origin}/echo")).await;
    assert_eq!(outcome["status"], 201, "{outcome}");
    assert!(
        outcome["headers"].to_string().contains("HTTP/2.0"),
        "{outcome}"
    );
    // Another plugin has not the connections that this one's authority vouches for.
    let plugin = outbound(&site, &with("other.pem"));
    let log = Log::default();
    let kept = log.keep();
    let outcome = get(&plugin, &format!("{origin}/echo")).await;
    drop(kept);
    assert_eq!(outcome["error"], "unavailable", "{outcome}");
    assert!(
        log.text().contains("invalid peer certificate"),
        "{}",
        log.text()
    );
    std::fs::write(site.folder.path().join("empty.pem"), "nothing").unwrap();
    for (file, message) in [
        ("empty.pem", "no certificate"),
        ("missing.pem", "cannot read certificates"),
    ] {
        let settings = format!("[grants.http]\n{}", with(file));
        let error = site
            .load("outbound", &guest("outbound"), &settings)
            .err()
            .unwrap();
        assert_eq!(error.key.as_deref(), Some("grants.http.ca_file"));
        assert!(error.message.contains(message), "{error}");
    }
}

#[test]
fn the_authorities_are_part_of_the_plugin() {
    let (site, authority, other) = (Site::new(), Authority::new(), Authority::new());
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    let absolute = elsewhere.path().to_str().unwrap();
    for file in ["own.pem", absolute] {
        let settings =
            format!("[grants.http]\norigins = ['https://a.example']\nca_file = {file:?}\n");
        let path = site.folder.path().join(file);
        let read = |pem: &str| {
            std::fs::write(&path, pem).unwrap();
            let file = site.put("outbound", &guest("outbound"), &settings);
            site.sandbox.read(&file).unwrap()
        };
        let first = read(&authority.pem());
        assert_ne!(read(&other.pem()).digest, first.digest, "{file}");
        assert_eq!(read(&authority.pem()).digest, first.digest, "{file}");
        // What was read is what is loaded.
        read("nothing");
        assert!(site.sandbox.load(&first).is_ok(), "{file}");
    }
    let settings = "[grants.http]\norigins = ['https://a.example']\nca_file = '../own.pem'\n";
    let error = site.load("outbound", &guest("outbound"), settings).err();
    let message = error.unwrap().message;
    assert!(message.contains("leads out of the site"), "{message}");
}

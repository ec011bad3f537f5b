//! What the listeners say of the server.

use std::net::SocketAddr;

use wharf_server::Config;
use wharf_testkit::Site;

use super::{ECHO, config, start, start_with};
use crate::support::Setup;
use crate::support::http::{Answer, Client, get};

#[tokio::test]
async fn health_is_told_by_status_and_body() {
    let server = start(config()).await;
    for (path, body) in [
        ("/v2/health/live", r#"{"live":true}"#),
        ("/v2/health/ready", r#"{"ready":true}"#),
    ] {
        let answer = get(server.address, "GET", path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body));
        assert_eq!(answer.field("content-type"), Some("application/json"));
        assert!(answer.field("x-request-id").is_some());
        let mut client = Client::connect(server.address).await;
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        client.send(head).await;
        let answer = client.closed().await;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}");
    }
}

#[tokio::test]
async fn a_site_of_which_nothing_serves_is_not_ready() {
    let site = Site::new();
    site.model("a", 1, "broken");
    site.route("b", "model = \"a\"\n");
    let server = Setup::new(config(), site).start().await;
    let answer = get(server.address, "GET", "/v2/health/ready").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (400, r#"{"ready":false}"#)
    );
    let snapshot = get(server.admin, "GET", "/admin/snapshot").await.json();
    assert_eq!(
        (&snapshot["loaded"], &snapshot["ready"]),
        (&true.into(), &false.into())
    );
    server.site.model("c", 1, "");
    get(server.admin, "POST", "/admin/reload").await;
    let answer = get(server.address, "GET", "/v2/health/ready").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn the_catalog_lists_what_is_in_force() {
    let server = start(config()).await;
    let routes = get(server.address, "GET", "/v1/routes").await.json();
    let names: Vec<_> = routes["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|route| &route["name"])
        .collect();
    assert_eq!(
        names,
        ["echo", "narrow", "pair", "picture", "slow", "words"]
    );
    let picture = &routes["routes"][3];
    assert_eq!(picture["input"], "body");
    assert_eq!(picture["implicit"], false);
    assert_eq!(picture["pre"][0]["plugin"], "bytes");
    assert_eq!(picture["candidates"][0]["version"], 1);
    let echo = &routes["routes"][0];
    assert_eq!(
        echo["input"]["tensors"][0]["shape"],
        serde_json::json!([-1, 2])
    );
    let models = get(server.address, "GET", "/v1/models").await.json();
    assert_eq!(models["models"][0]["name"], "echo");
    assert_eq!(models["models"][0]["inputs"][0]["datatype"], "FP32");
    let plugins = get(server.address, "GET", "/v1/plugins").await.json();
    assert_eq!(
        plugins["plugins"][0]["stages"],
        serde_json::json!(["preprocess", "postprocess"])
    );
    let index = get(server.address, "GET", "/").await.json();
    assert_eq!(
        (&index["name"], &index["ready"]),
        (&"wharf".into(), &true.into())
    );
}

#[tokio::test]
async fn operators_see_what_is_loaded() {
    let server = start(config()).await;
    let answer = get(server.admin, "GET", "/metrics").await;
    assert_eq!(answer.body, "a_metric 1\n");
    assert!(
        answer
            .field("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let snapshot = get(server.admin, "GET", "/admin/snapshot").await.json();
    assert_eq!(snapshot["ready"], true);
    assert_eq!(snapshot["plugins"][0]["name"], "bytes");
    let digest = snapshot["models"][0]["digest"].as_str().unwrap();
    assert_eq!((&digest[..7], digest.len()), ("sha256:", 7 + 64));
    assert_eq!(snapshot["errors"], serde_json::json!([]));
}

#[tokio::test]
async fn a_reload_says_what_it_found() {
    let server = start(config()).await;
    let route = server.site.path().join("routes/more.toml");
    std::fs::write(&route, "model = \"echo\"\n").unwrap();
    let report = get(server.admin, "POST", "/admin/reload").await.json();
    assert_eq!(report["errors"], serde_json::json!([]));
    let routes = get(server.address, "GET", "/v1/routes").await;
    assert!(routes.body.contains("\"more\""), "{routes:?}");
    std::fs::write(&route, "model = \"nothing\"\n").unwrap();
    let report = get(server.admin, "POST", "/admin/reload").await.json();
    assert_eq!(report["errors"][0]["file"], "routes/more.toml");
    let snapshot = get(server.admin, "GET", "/admin/snapshot").await.json();
    assert_eq!(snapshot["errors"][0]["file"], "routes/more.toml");
}

#[tokio::test]
async fn bundles_are_listed_and_ordered() {
    let site = Site::new();
    site.put(
        "bundles/shop/bundle.toml",
        "mode = 'manual'\nshare_percent = []",
    );
    site.put("bundles/shop/state.toml", "promoted = 1");
    for release in [1, 2] {
        let folder = format!("bundles/shop/{release}");
        site.put(
            &format!("{folder}/models/echo/1/model.onnx"),
            &format!("{ECHO}\nend\n"),
        );
        site.put(&format!("{folder}/routes/shop.toml"), "model = 'echo'");
    }
    let server = start_with(config(), site).await;
    let list = get(server.admin, "GET", "/admin/bundles").await.json();
    let shop = &list["bundles"][0];
    assert_eq!(
        (&shop["name"], &shop["mode"]),
        (&"shop".into(), &"manual".into())
    );
    let [first, second] = [0, 1].map(|index| &shop["releases"][index]);
    assert_eq!(
        (&first["state"], &second["state"]),
        (&"in-force".into(), &"on-trial".into())
    );
    assert_eq!(
        (&first["share_percent"], &second["share_percent"]),
        (&100.0.into(), &0.0.into())
    );
    assert_eq!(first["counts"]["requests"], 0);
    assert!(
        second["reason"]
            .as_str()
            .unwrap()
            .contains("an operator promotes it")
    );
    let routes = get(server.address, "GET", "/v1/routes").await.json();
    assert_eq!(routes["routes"][0]["bundle"]["release"], 1);
    let promoted = get(server.admin, "POST", "/admin/bundles/shop/promote").await;
    let releases = &promoted.json()["bundles"][0]["releases"];
    assert_eq!(releases[1]["state"], "in-force");
    for (path, status) in [
        ("/admin/bundles/shop/promote", 409),
        ("/admin/bundles/shop/promote?release=9", 404),
        ("/admin/bundles/shop/promote?release=x", 400),
        ("/admin/bundles/zoo/rollback", 404),
        ("/admin/bundles/-/rollback", 400),
        ("/admin/bundles/shop/rollback", 200),
    ] {
        assert_eq!(
            get(server.admin, "POST", path).await.status,
            status,
            "{path}"
        );
    }
    assert_eq!(
        get(server.admin, "GET", "/admin/bundles/shop/promote")
            .await
            .status,
        405
    );
}

async fn ask(address: SocketAddr, head: &str, fields: &str) -> Answer {
    let mut client = Client::connect(address).await;
    client
        .send(format!("{head} HTTP/1.1\r\n{fields}\r\n"))
        .await;
    client.answer().await
}

/// A page of a name that its owner lets lead to this machine is of the same origin as the server.
#[tokio::test]
async fn operators_are_answered_under_the_names_of_this_machine_alone() {
    let server = start(config()).await;
    for head in [
        "POST /admin/reload",
        "POST /admin/bundles/shop/promote",
        "POST /admin/bundles/shop/rollback",
        "GET /admin/snapshot",
        "GET /admin/bundles",
        "GET /metrics",
    ] {
        let host = "Host: evil.example:9090\r\nOrigin: http://evil.example:9090\r\n";
        let answer = ask(server.admin, head, host).await;
        assert_eq!(answer.refused_field(), (403, "host".to_owned()), "{head}");
    }
    for host in ["127.0.0.1:9090", "[::1]:9090", "localhost"] {
        for path in ["/admin/snapshot", "/metrics"] {
            let host = format!("Host: {host}\r\n");
            let answer = ask(server.admin, &format!("GET {path}"), &host).await;
            assert_eq!(answer.status, 200, "{path} {host}");
        }
    }
}

#[tokio::test]
async fn metrics_that_are_open_have_any_name_and_so_has_who_asks_for_a_token() {
    let host = "Host: wharf.example\r\n";
    let server = start(Config {
        admin_open_metrics: true,
        ..config()
    })
    .await;
    assert_eq!(ask(server.admin, "GET /metrics", host).await.status, 200);
    let answer = ask(server.admin, "GET /admin/snapshot", host).await;
    assert_eq!(answer.refused_field(), (403, "host".to_owned()));

    let server = start(Config {
        admin_token: Some("0123456789abcdef".to_owned().into()),
        ..config()
    })
    .await;
    let right = format!("{host}Authorization: Bearer 0123456789abcdef\r\n");
    for head in ["GET /metrics", "GET /admin/snapshot", "POST /admin/reload"] {
        assert_eq!(ask(server.admin, head, host).await.status, 401, "{head}");
        assert_eq!(ask(server.admin, head, &right).await.status, 200, "{head}");
    }
}

//! The token of the admin listener.

use std::net::SocketAddr;

use wharf_server::Config;

use super::{config, setup};
use crate::support::http::{Answer, Client, get};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

async fn ask(address: SocketAddr, head: &str, fields: &str) -> Answer {
    let mut client = Client::connect(address).await;
    client
        .send(format!(
            "{head} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
        ))
        .await;
    client.answer().await
}

#[tokio::test]
async fn operators_prove_who_they_are() {
    let server = setup(Config {
        admin_token: Some(TOKEN.to_owned().into()),
        ..config()
    })
    .start()
    .await;
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    for head in [
        "GET /metrics",
        "GET /admin/snapshot",
        "POST /admin/reload",
        "GET /admin/bundles",
        "GET /made/up",
    ] {
        for fields in [
            String::new(),
            format!("Authorization: Bearer {}\r\n", TOKEN.to_uppercase()),
            format!("Authorization: Basic {TOKEN}\r\n"),
            format!("{right}{right}"),
            format!("X-API-Key: {TOKEN}\r\n"),
        ] {
            let answer = ask(server.admin, head, &fields).await;
            assert_eq!(
                answer.refused_field(),
                (401, "authorization".to_owned()),
                "{head} {fields}"
            );
            assert_eq!(answer.field("www-authenticate"), Some("bearer"));
            assert!(!answer.body.contains(TOKEN));
        }
        let status = ask(server.admin, head, &right).await.status;
        assert_eq!(
            status,
            if head.ends_with("up") { 404 } else { 200 },
            "{head}"
        );
    }
    // Clients are not asked.
    assert_eq!(get(server.address, "GET", "/v1/routes").await.status, 200);
    server.end().await;
}

#[tokio::test]
async fn metrics_may_be_left_open() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let config = Config {
        // Others may reach it, and need the token.
        admin_listen: SocketAddr::from(([0, 0, 0, 0], 0)),
        admin_token_file: Some(file.clone()),
        admin_open_metrics: true,
        ..config()
    };
    assert_eq!(config.check(), Ok(()));
    let server = setup(config.clone()).start().await;
    let admin = SocketAddr::from(([127, 0, 0, 1], server.admin.port()));
    assert_eq!(ask(admin, "GET /metrics", "").await.status, 200);
    assert_eq!(ask(admin, "GET /admin/snapshot", "").await.status, 401);
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(ask(admin, "GET /admin/snapshot", &right).await.status, 200);
    server.end().await;

    for content in ["short", "", "with a space in the middle of it"] {
        std::fs::write(&file, content).unwrap();
        let error = config.check_files().unwrap_err();
        assert_eq!(error.key, "admin_token_file", "{error}");
        assert!(content.is_empty() || !error.to_string().contains(content));
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(config.check_files().unwrap_err().key, "admin_token_file");
}

#[test]
fn a_listener_that_others_reach_needs_a_token() {
    let open = |address: &str| {
        let config = Config {
            admin_listen: address.parse().unwrap(),
            ..config()
        };
        config.check()
    };
    for address in [
        "127.0.0.1:0",
        "127.9.9.9:0",
        "[::1]:0",
        "[::ffff:127.0.0.1]:0",
    ] {
        assert_eq!(open(address), Ok(()), "{address}");
    }
    for address in ["0.0.0.0:9090", "[::]:9090", "192.0.2.1:9090"] {
        let error = open(address).unwrap_err();
        assert_eq!(error.key, "admin_token_file", "{address}");
        let text = error.to_string();
        assert!(text.contains("WHARF_SERVER__ADMIN_TOKEN"), "{text}");
    }
    let both = Config {
        admin_token: Some(TOKEN.to_owned().into()),
        admin_token_file: Some("token".into()),
        ..config()
    };
    assert_eq!(both.check().unwrap_err().key, "admin_token_file");
    let short = Config {
        admin_token: Some("short".to_owned().into()),
        ..config()
    };
    let error = short.check().unwrap_err();
    assert_eq!(error.key, "admin_token");
    assert!(!error.to_string().contains("short"), "{error}");
}

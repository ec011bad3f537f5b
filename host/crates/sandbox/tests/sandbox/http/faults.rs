//! Servers that misbehave, requests that are malformed, and callers that leave.

use std::time::Duration;

use serde_json::{Value, json};
use wharf_core::ErrorKind;
use wharf_testkit::{closed_port, eventually};

use super::server::{Server, Then, raw};
use super::{ask, get, grant, outbound};
use crate::site::{Site, body, guest, request, request_within, text};

#[tokio::test]
async fn an_answer_that_is_too_large_is_refused() {
    let (site, server) = (Site::new(), Server::start().await);
    let plugin = outbound(&site, &format!("{}\nresponse_kb = 64", grant(&[&server])));
    for path in ["/large?65537", "/endless"] {
        let outcome = get(&plugin, &format!("{}{path}", server.origin())).await;
        assert_eq!(outcome["error"], "failed", "{path}: {outcome}");
        assert!(
            outcome["message"]
                .as_str()
                .unwrap()
                .contains("grants.http.response_kb = 64"),
            "{outcome}"
        );
    }
    assert_eq!(
        get(&plugin, &format!("{}/large?65536", server.origin())).await["length"],
        65536
    );
    // The server's connections do not outlive what was refused, but for the idle one.
    eventually("refused connections are closed", || {
        server.connections().1 <= 1
    })
    .await;
}

#[tokio::test]
async fn header_blocks_have_a_bound() {
    let site = Site::new();
    let block = |bytes: usize| {
        let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-long: ".to_vec();
        answer.resize(answer.len() + bytes, b'h');
        answer.extend_from_slice(b"\r\n\r\n");
        answer
    };
    let many = (0..1000)
        .map(|number| format!("x-{number}: 1\r\n"))
        .collect::<String>();
    let many = format!("HTTP/1.1 200 OK\r\n{many}\r\n").into_bytes();
    for (answer, headers_kb, expected) in [
        (block(3000), 4, None),
        (block(6000), 4, Some("failed")),
        (block(1 << 20), 64, Some("unavailable")),
        (many, 64, Some("unavailable")),
    ] {
        let origin = raw(answer, Then::Close).await;
        let plugin = outbound(
            &site,
            &format!("origins = [{origin:?}]\nheaders_kb = {headers_kb}"),
        );
        let outcome = get(&plugin, &origin).await;
        assert_eq!(
            outcome["error"].as_str(),
            expected,
            "{headers_kb}: {outcome}"
        );
    }
}

#[tokio::test]
async fn a_server_without_an_answer_is_unavailable() {
    let (site, server) = (Site::new(), Server::start().await);
    let hang = format!("{}/hang", server.origin());
    let port = closed_port();
    let gone = format!("http://{}", port.local_addr().unwrap());
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nten bytes.".to_vec();
    let cases = [
        (hang, "timeout"),
        (gone, "unreachable"),
        (
            raw(b"HTTP/1.1 200 OK\r\nx-slow: ".to_vec(), Then::Hold).await,
            "timeout",
        ),
        (raw(half.clone(), Then::Hold).await, "timeout"),
        (raw(half, Then::Close).await, "unreachable"),
        (raw(Vec::new(), Then::Close).await, "unreachable"),
        (
            raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), Then::Close).await,
            "unreachable",
        ),
        (
            raw(
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec(),
                Then::Close,
            )
            .await,
            "unreachable",
        ),
    ];
    let mut counts = std::collections::BTreeMap::new();
    for (url, outcome) in cases {
        let origin = url.strip_suffix("/hang").unwrap_or(&url).to_owned();
        // Short only where it is waited for: it would come first where the machine is busy.
        let timeout_ms = if outcome == "timeout" { 300 } else { 60_000 };
        let plugin = outbound(
            &site,
            &format!("origins = [{origin:?}]\ntimeout_ms = {timeout_ms}"),
        );
        let came = get(&plugin, &url).await;
        assert_eq!(came["error"], "unavailable", "{url}: {came}");
        let message = came["message"].as_str().unwrap();
        assert!(!message.contains("127.0.0.1"), "{message}");
        *counts.entry(outcome).or_insert(0.0) += 1.0;
        let counted = site.metric("plugin_http_request_total", &[("outcome", outcome)]);
        assert_eq!(counted, counts[outcome], "{url}");
        assert_eq!(plugin.health().faults, 0);
    }
}

#[tokio::test]
async fn a_malformed_request_is_refused_by_its_field() {
    let (site, server) = (Site::new(), Server::start().await);
    let plugin = outbound(
        &site,
        &format!("{}\nrequest_kb = 1\nheaders_kb = 2", grant(&[&server])),
    );
    let url = server.origin();
    let field = |name: &str, value: &str| json!({"url": url, "headers": [[name, value]]});
    let cases = [
        (json!({"url": url, "method": "GET /x"}), "method"),
        (json!({"url": url, "method": "CONNECT"}), "method"),
        (json!({"url": url, "method": ""}), "method"),
        (json!({"url": "/relative"}), "url"),
        (json!({"url": "http://"}), "url"),
        (json!({"url": "file:///etc/passwd"}), "url"),
        (json!({"url": format!("{url}/a b")}), "url"),
        (json!({"url": format!("{url}/a\r\nx-evil: 1")}), "url"),
        (json!({"url": format!(" {url}")}), "url"),
        (
            json!({"url": url.replace("http://", "http://user:word@")}),
            "url",
        ),
        (json!({"url": "http://[::1"}), "url"),
        (field("host", "evil.org"), "headers"),
        (field("Content-Length", "3"), "headers"),
        (field("transfer-encoding", "chunked"), "headers"),
        (field("Connection", "upgrade"), "headers"),
        (field("upgrade", "h2c"), "headers"),
        (field("te", "trailers"), "headers"),
        (field("Proxy-Authorization", "x"), "headers"),
        (field("x-evil", "1\r\nx-more: 2"), "headers"),
        (field("x evil", "1"), "headers"),
        (field("", "1"), "headers"),
        (field("x-long", &"v".repeat(2048)), "headers"),
        (
            json!({"url": format!("{url}/{}", "v".repeat(2048))}),
            "headers",
        ),
        (json!({"url": url, "method": "V".repeat(2048)}), "headers"),
        (json!({"url": url, "body": ["text/plain", 1025]}), "body"),
        (
            json!({"url": url, "body": ["text/plain\r\nx-evil: 1", "x"]}),
            "body",
        ),
    ];
    let count = cases.len();
    for (request, named) in cases {
        let outcome = ask(&plugin, json!({"requests": [request]})).await.remove(0);
        assert_eq!(outcome["error"], "invalid-input", "{request}: {outcome}");
        assert_eq!(outcome["field"], named, "{request}: {outcome}");
    }
    assert!(server.asked().is_empty(), "{:?}", server.asked());
    assert_eq!(
        site.metric("plugin_http_request_total", &[("outcome", "invalid")]),
        count as f64
    );
}

#[tokio::test]
async fn a_request_ends_before_the_one_that_it_is_for() {
    let (site, server) = (Site::new(), Server::start().await);
    let plugin = outbound(&site, &grant(&[&server]));
    let plan = || json!({"requests": [{"url": format!("{}/hang", server.origin())}]});
    // The guest has a moment left to answer with something else. A machine that is busy may take it away, but not every time.
    let mut asked = 0_u32;
    let answer = loop {
        asked += 1;
        let request = request_within(Duration::from_millis(500));
        match plugin.preprocess(&request, body(&plan().to_string())).await {
            Ok(answer) => break text(&answer),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Deadline, "{error}"),
        }
        assert!(asked < 60, "the guest never has a moment left");
    };
    let outcome: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(outcome[0]["error"], "unavailable");
    let mut plan = plan();
    plan["requests"][0]["timeout_ms"] = json!(50);
    let began = std::time::Instant::now();
    assert_eq!(ask(&plugin, plan).await[0]["error"], "unavailable");
    assert!(began.elapsed() < Duration::from_secs(4));
    let timeouts = site.metric("plugin_http_request_total", &[("outcome", "timeout")]);
    assert!(
        (2.0..=f64::from(asked + 1)).contains(&timeouts),
        "{timeouts}"
    );
}

#[tokio::test]
async fn outside_of_a_call_nothing_is_sent() {
    let (site, server) = (Site::new(), Server::start().await);
    let settings = format!(
        "[grants.http]\n{}\n[settings]\nat_start = {:?}",
        grant(&[&server]),
        server.origin()
    );
    site.load("outbound", &guest("outbound"), &settings)
        .unwrap();
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn answers_count_against_the_guests_memory() {
    let (site, server) = (Site::new(), Server::start().await);
    let plugin = outbound(&site, &grant(&[&server]));
    // 64 MiB is the limit of the plugin; each answer is below that of the grant.
    let large = json!({"url": format!("{}/large?8388608", server.origin())});
    let plan = json!({"together": true, "requests": vec![large; 16]});
    let error = plugin
        .preprocess(&request(), body(&plan.to_string()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginFault);
    eventually("nothing is under way", || server.connections().1 <= 16).await;
    assert_eq!(
        get(&plugin, &format!("{}/large?8388608", server.origin())).await["length"],
        8_388_608
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_cancelled_requests_leave_nothing() {
    let (site, server) = (Site::new(), Server::start().await);
    let plugin = outbound(&site, &format!("{}\ncalls = 1", grant(&[&server])));
    let plan = json!({"requests": [{"url": format!("{}/hang", server.origin())}]}).to_string();
    for call in 0..10_000 {
        let request = request();
        let mut asking = plugin.preprocess(&request, body(&plan));
        if call % 20 == 0 {
            // Every so often the server has it before it is given up.
            tokio::select! {
                _ = &mut asking => panic!("there was an answer"),
                () = server.arrived() => {}
            }
        } else {
            assert!(futures_util::poll!(&mut asking).is_pending(), "{call}");
        }
        drop(asking);
    }
    // A call may also end before its guest has asked.
    let cancelled = site.metric("plugin_http_request_total", &[("outcome", "cancelled")]);
    assert!(cancelled >= 500.0, "{cancelled}");
    assert_eq!(site.metric("plugin_http_request_total", &[]), cancelled);
    assert_eq!(site.metric("plugin_instances_in_use", &[]), 0.0);
    eventually("no connection is left", || server.connections().1 == 0).await;
    // The one slot is free.
    assert_eq!(
        get(&plugin, &format!("{}/echo", server.origin())).await["status"],
        201
    );
    assert_eq!(plugin.health().faults, 0);
}

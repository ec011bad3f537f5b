//! How much a client may, and what answers say of it.

use tonic::Code;

use super::{OIP_ROW, ROW, setup};
use crate::support::grpc;

#[tokio::test]
async fn answers_say_what_is_left() {
    let (setup, gatekeeper) = setup();
    let server = setup.start().await;
    let answer = server.by("few", "POST", "/v1/infer/echo", ROW).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("ratelimit-policy"), Some("\"fake\";q=10;w=60"));
    assert_eq!(answer.field("ratelimit"), Some("\"fake\";r=1;t=3"));

    let answer = server
        .by("few", "POST", "/v2/models/echo/infer", OIP_ROW)
        .await;
    assert_eq!(
        (answer.status, answer.field("ratelimit")),
        (200, Some("\"fake\";r=0;t=3"))
    );

    for (path, body) in [("/v1/infer/echo", ROW), ("/v2/models/echo/infer", OIP_ROW)] {
        let answer = server.by("few", "POST", path, body).await;
        assert_eq!(answer.problem()["type"], "urn:wharf:problem:quota-exceeded");
        assert_eq!(
            (answer.status, answer.field("retry-after")),
            (429, Some("3"))
        );
        assert_eq!(answer.field("ratelimit"), Some("\"fake\";r=0;t=3"));
    }
    let status = server.calls("few", "echo").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let fields = status.metadata();
    assert_eq!(fields.get("ratelimit").unwrap(), "\"fake\";r=0;t=3");
    assert_eq!(fields.get("retry-after").unwrap(), "3");

    // Others are not concerned, and nothing is held on to.
    let answer = server.by("ada", "POST", "/v1/infer/echo", ROW).await;
    assert_eq!((answer.status, answer.field("ratelimit")), (200, None));
    server.idle().await;
    assert_eq!(gatekeeper.held(), 0);
    server.stop().await;
}

#[tokio::test]
async fn what_is_refused_for_other_reasons_is_not_counted() {
    let (setup, _) = setup();
    let server = setup.start().await;
    for path in ["/v1/infer/none", "/v1/infer/other", "/v2/models/none/infer"] {
        let answer = server.by("few", "POST", path, OIP_ROW).await;
        assert_eq!(
            (answer.status, answer.field("ratelimit")),
            (404, None),
            "{path}"
        );
    }
    let answer = server.by("few", "POST", "/v1/infer/echo", ROW).await;
    assert_eq!(answer.field("ratelimit"), Some("\"fake\";r=1;t=3"));
    server.stop().await;
}

/// A stream may last longer than its credentials are good, and each of its requests counts.
#[tokio::test]
async fn each_request_of_a_stream_is_asked_who_sends_it() {
    let (setup, gatekeeper) = setup();
    let server = setup.start().await;
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    let requests = futures_util::stream::unfold(requests, async |mut requests| {
        let request = requests.recv().await?;
        Some((request, requests))
    });
    let mut request = tonic::Request::new(requests);
    request
        .metadata_mut()
        .insert("x-api-key", "ada".parse().unwrap());
    let mut client = server.client().await;
    let mut answers = client
        .model_stream_infer(request)
        .await
        .unwrap()
        .into_inner();
    sender
        .send(grpc::floats("echo", &[1.0, 2.0]))
        .await
        .unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().error_message, "");
    sender
        .send(grpc::floats("other", &[1.0, 2.0]))
        .await
        .unwrap();
    let answer = answers.message().await.unwrap().unwrap();
    assert!(
        answer.error_message.contains("there is no model other"),
        "{answer:?}"
    );
    gatekeeper.forget("ada");
    sender
        .send(grpc::floats("echo", &[1.0, 2.0]))
        .await
        .unwrap();
    let answer = answers.message().await.unwrap().unwrap();
    assert!(answer.error_message.contains("credentials"), "{answer:?}");
    drop((sender, answers));
    server.stop().await;
}

#[tokio::test]
async fn changes_of_the_site_count() {
    let (mut setup, _) = setup();
    let gatekeeper = wharf_testkit::FakeGatekeeper::default()
        .with("writes", Some("acme"), &["models:read", "models:write"])
        .limited("writes", 2);
    setup.gatekeeper = Some(std::sync::Arc::new(gatekeeper));
    let server = setup.start().await;
    // Reading does not.
    for _ in 0..3 {
        let answer = server.by("writes", "GET", "/v1/models/own", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let made = server.by("writes", "PUT", "/v1/models/new", "{}").await;
    assert_eq!(
        (made.status, made.field("ratelimit")),
        (201, Some("\"fake\";r=1;t=3"))
    );
    let load = "/v2/repository/models/own/load";
    assert_eq!(server.by("writes", "POST", load, "{}").await.status, 200);
    for (method, path) in [("POST", load), ("DELETE", "/v1/models/new")] {
        let answer = server.by("writes", method, path, "").await;
        assert_eq!(answer.problem()["type"], "urn:wharf:problem:quota-exceeded");
        assert_eq!(
            (answer.status, answer.field("retry-after")),
            (429, Some("3"))
        );
    }
    server.stop().await;
}

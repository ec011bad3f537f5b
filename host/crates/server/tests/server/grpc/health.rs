//! The services for health and reflection.

use std::time::Duration;

use futures_util::stream;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::{v1, v1alpha};
use wharf_testkit::Site;

use super::{config, start};
use crate::support::Setup;

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

fn is(answer: Option<HealthCheckResponse>, status: ServingStatus) -> bool {
    answer.is_some_and(|answer| answer.status() == status)
}

#[tokio::test]
async fn health_is_told_and_followed() {
    let site = Site::new();
    site.model("held", 1, "load-gate load");
    let server = Setup::new(config(), site).begin();
    let mut client = HealthClient::new(server.channel().await);
    let mut watched = client.watch(of("")).await.unwrap().into_inner();
    let next = watched.message().await.unwrap();
    assert!(is(next, ServingStatus::NotServing));
    let answer = client.check(of("")).await.unwrap().into_inner();
    assert!(is(Some(answer), ServingStatus::NotServing));

    server.gates.get("load").open();
    let next = watched.message().await.unwrap();
    assert!(is(next, ServingStatus::Serving));
    for service in ["", "inference.GRPCInferenceService"] {
        let answer = client.check(of(service)).await.unwrap().into_inner();
        assert!(is(Some(answer), ServingStatus::Serving), "{service}");
    }
    let status = client.check(of("none")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let mut unknown = client.watch(of("none")).await.unwrap().into_inner();
    let next = unknown.message().await.unwrap();
    assert!(is(next, ServingStatus::ServiceUnknown));

    // Whoever follows it is told of the drain, and does not hold it up.
    server.shutdown.cancel();
    let next = watched.message().await.unwrap();
    assert!(is(next, ServingStatus::NotServing));
    assert!(watched.message().await.unwrap().is_none());
    assert!(unknown.message().await.unwrap().is_none());
    let ended = tokio::time::timeout(Duration::from_secs(20), server.serve).await;
    ended.expect("the drain hangs").unwrap();
}

#[tokio::test]
async fn reflection_lists_the_services() {
    let server = start().await;
    let mut client = ServerReflectionClient::new(server.channel().await);
    let ask = |message| v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message),
    };
    let asked = stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(
            "inference.ModelConfig".to_owned(),
        )),
    ]);
    let mut answers = client
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner();
    let listed = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = listed else {
        panic!("{listed:?}");
    };
    let names: Vec<&str> = listed
        .service
        .iter()
        .map(|service| &*service.name)
        .collect();
    for name in ["inference.GRPCInferenceService", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let found = answers.message().await.unwrap().unwrap().message_response;
    assert!(
        matches!(found, Some(MessageResponse::FileDescriptorResponse(_))),
        "{found:?}"
    );

    let mut older =
        v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let asked = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    let answers = older
        .server_reflection_info(stream::iter([asked]))
        .await
        .unwrap();
    let listed = answers.into_inner().message().await.unwrap().unwrap();
    assert!(listed.message_response.is_some());
}

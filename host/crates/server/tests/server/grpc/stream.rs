//! `ModelStreamInfer`: answers in the order of their requests, and streams that end before their time.

use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _};
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::Code;
use wharf_server::inference::infer_parameter::ParameterChoice;
use wharf_server::inference::{ModelInferRequest, ModelStreamInferResponse};
use wharf_testkit::eventually;

use super::start;
use crate::support::grpc::{Call, bytes_of, floats, frame, parameter};

/// A request with an id.
fn with_id(model: &str, id: &str) -> ModelInferRequest {
    ModelInferRequest {
        id: id.to_owned(),
        ..floats(model, &[1.0, 2.0])
    }
}

/// Requests as a test sends them.
fn requests() -> (
    mpsc::UnboundedSender<ModelInferRequest>,
    impl Stream<Item = ModelInferRequest> + Send + 'static,
) {
    let (sender, receiver) = mpsc::unbounded_channel::<ModelInferRequest>();
    let requests = stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|request| (request, receiver))
    });
    (sender, requests)
}

fn id(answer: &ModelStreamInferResponse) -> &str {
    &answer.infer_response.as_ref().unwrap().id
}

#[tokio::test]
async fn answers_come_in_the_order_of_their_requests() {
    let server = start().await;
    let mut client = server.client().await;
    let (sender, requests) = requests();
    // The first waits at the gate; the others are answered before, and sent after it.
    sender.send(with_id("slow", "0")).unwrap();
    for index in 1..20 {
        sender.send(with_id("echo", &index.to_string())).unwrap();
    }
    drop(sender);
    let mut answers = client
        .model_stream_infer(requests)
        .await
        .unwrap()
        .into_inner();
    server.gate().arrived(1).await;
    server.gate().open();
    for index in 0..20 {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(
            (id(&answer), &*answer.error_message),
            (&*index.to_string(), "")
        );
        let answer = answer.infer_response.unwrap();
        assert_eq!(answer.raw_output_contents, [bytes_of(&[1.0, 2.0])]);
        let last = ParameterChoice::BoolParam(true);
        assert_eq!(answer.parameters["triton_final_response"], parameter(last));
    }
    assert!(answers.message().await.unwrap().is_none());
    server.is_well().await;
}

#[tokio::test]
async fn a_request_that_fails_leaves_the_stream_open() {
    let server = start().await;
    let mut client = server.client().await;
    let mut wrong = with_id("echo", "2");
    wrong.raw_input_contents.clear();
    let sent = [
        with_id("echo", "0"),
        with_id("none", "1"),
        wrong,
        with_id("echo", "3"),
    ];
    let answers = client.model_stream_infer(stream::iter(sent)).await.unwrap();
    let answers: Vec<_> = answers.into_inner().map(Result::unwrap).collect().await;
    let ids: Vec<&str> = answers.iter().map(id).collect();
    assert_eq!(ids, ["0", "1", "2", "3"]);
    let errors: Vec<&str> = answers
        .iter()
        .map(|answer| &*answer.error_message)
        .collect();
    assert!(errors[0].is_empty() && errors[3].is_empty(), "{errors:?}");
    assert!(errors[1].starts_with("model: "), "{errors:?}");
    assert!(errors[2].starts_with("inputs.x: "), "{errors:?}");
}

#[tokio::test]
async fn requests_under_way_are_bounded() {
    let server = start().await;
    let mut client = server.client().await;
    let (sender, requests) = requests();
    for _ in 0..100 {
        sender.send(with_id("slow", "")).unwrap();
    }
    let answers = client.model_stream_infer(requests).await.unwrap();
    server.gate().arrived(32).await;
    // A request beside the stream is answered meanwhile, and no more of the stream is begun.
    let mut other = server.client().await;
    other
        .model_infer(floats("echo", &[1.0, 2.0]))
        .await
        .unwrap();
    assert_eq!(server.in_flight(), 32);
    server.gate().open();
    drop(sender);
    assert_eq!(answers.into_inner().count().await, 100);
    server.is_well().await;
}

#[tokio::test]
async fn a_sequence_is_kept_in_order() {
    let server = start().await;
    let mut client = server.client().await;
    let (sender, requests) = requests();
    for (id, sequence) in [("0", 7), ("1", 7), ("2", 8), ("3", 0)] {
        let mut request = with_id("slow", id);
        let sequence = parameter(ParameterChoice::Int64Param(sequence));
        request
            .parameters
            .insert("sequence_id".to_owned(), sequence);
        sender.send(request).unwrap();
    }
    drop(sender);
    let answers = client.model_stream_infer(requests).await.unwrap();
    server.gate().arrived(1).await;
    // The second request waits for the first, which is of the same sequence.
    let mut other = server.client().await;
    other
        .model_infer(floats("echo", &[1.0, 2.0]))
        .await
        .unwrap();
    assert_eq!(server.in_flight(), 1);
    server.gate().open();
    let answers: Vec<_> = answers.into_inner().map(Result::unwrap).collect().await;
    let ids: Vec<&str> = answers.iter().map(id).collect();
    assert_eq!(ids, ["0", "1", "2", "3"]);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_all_its_work() {
    let server = start().await;
    let mut client = server.client().await;
    let (sender, requests) = requests();
    for _ in 0..8 {
        sender.send(with_id("slow", "")).unwrap();
    }
    let answers = client.model_stream_infer(requests).await.unwrap();
    server.gate().arrived(8).await;
    drop((answers, sender, client));
    eventually("the slots are free", || server.in_flight() == 0).await;
    server.is_well().await;
}

#[tokio::test]
async fn a_deadline_ends_the_stream() {
    let server = start().await;
    let path = "/inference.GRPCInferenceService/ModelStreamInfer";
    // By hand: the generated client gives up by itself.
    let mut call = Call::begin(server.address, path, &[("grpc-timeout", "100m")]).await;
    call.send(frame(0, &with_id("slow", "").encode_to_vec()))
        .await;
    let ended = call.ended().await;
    assert_eq!(ended.code, Code::DeadlineExceeded as i32, "{ended:?}");
    server.is_well().await;
}

#[tokio::test]
async fn a_drain_ends_a_stream_after_what_is_under_way() {
    let server = start().await;
    let mut client = server.client().await;
    let (sender, requests) = requests();
    sender.send(with_id("slow", "0")).unwrap();
    let mut answers = client
        .model_stream_infer(requests)
        .await
        .unwrap()
        .into_inner();
    server.gate().arrived(1).await;
    server.shutdown.cancel();
    server.gate().open();
    assert_eq!(id(&answers.message().await.unwrap().unwrap()), "0");
    let status = answers.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let ended = tokio::time::timeout(Duration::from_secs(20), server.serve).await;
    ended.expect("the drain hangs").unwrap();
    drop(sender);
}

//! What becomes of uploads whose model, artifact or client changes meanwhile, and of those that come as they must not.

use serde_json::json;
use wharf_core::{ArtifactKind, ArtifactPlace, Digest, Name, NewUpload, Precondition};

use super::{ADD_ONE, ADD_TWO, ARTIFACTS, digest, digest_field, new_upload, started};
use crate::management::models::if_match;
use crate::support::http::Client;

fn new_artifact(model: &str) -> NewUpload {
    NewUpload {
        place: ArtifactPlace {
            model: Name::new(model).unwrap(),
            version: 1,
            file: Name::new("model.onnx").unwrap(),
        },
        kind: ArtifactKind::Weights,
        size: ADD_TWO.len() as u64,
        digest: Digest::new([1; 32]),
        only_if: Precondition::None,
        tenant: None,
    }
}

#[tokio::test]
async fn a_model_that_goes_takes_its_artifacts_and_uploads_along() {
    let (server, store) = started().await;
    server.upload_at_once(1, ADD_ONE).await;
    let begin = async |version| {
        let document = new_upload(version, ADD_TWO);
        let begun = server.write("POST", ARTIFACTS, "", &document).await;
        begun.field("location").unwrap().to_owned()
    };
    let (waits, under_way) = (begin(2).await, begin(3).await);
    assert_eq!(server.part(&waits, 0, &ADD_TWO[..4]).await.status, 204);
    let listed = server.json(&format!("{ARTIFACTS}/uploads")).await;
    let offsets: Vec<_> = listed["uploads"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&offsets[0]["offset"], &offsets[1]["offset"]),
        (&json!(4), &json!(0)),
        "{listed}"
    );
    let mut client = Client::connect(server.address).await;
    let length = ADD_TWO.len();
    let head = format!(
        "PATCH {under_way} HTTP/1.1\r\nHost: localhost\r\nUpload-Offset: 0\r\nContent-Length: {length}\r\n\r\nadd"
    );
    client.send(head).await;
    wharf_testkit::eventually("it has begun", || store.standing(2) == Some(3)).await;

    let deleted = server.send("DELETE", "/v1/models/sum", "", b"").await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    assert_eq!(store.uploads(), 0);
    let gone = server.part(&waits, 4, &ADD_TWO[4..]).await;
    assert_eq!(gone.refused_field(), (404, "model".to_owned()));
    // As it comes where the store could not be reached when the model went.
    store.leave(&new_artifact("sum"), ADD_TWO);
    let answer = server
        .write("POST", "/v1/models", "", &json!({"name": "sum"}))
        .await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(server.json(ARTIFACTS).await, json!({"artifacts": []}));
    client.send(&ADD_TWO[3..]).await;
    let gone = client.answer().await;
    assert_eq!(gone.refused_field(), (404, "upload".to_owned()));
    let gone = server.part(&waits, 4, &ADD_TWO[4..]).await;
    assert_eq!(gone.refused_field(), (404, "upload".to_owned()));
    assert_eq!(server.json(ARTIFACTS).await, json!({"artifacts": []}));
    server.end().await;
}

#[tokio::test]
async fn an_upload_replaces_what_it_says_and_nothing_else() {
    let (server, _store) = started().await;
    let document = new_upload(1, ADD_ONE);
    let early = server.write("POST", ARTIFACTS, "", &document).await;
    server.upload_at_once(1, ADD_ONE).await;
    let unsaid = server.write("POST", ARTIFACTS, "", &document).await;
    assert_eq!(unsaid.refused_field(), (428, "if-match".to_owned()));
    let early = early.field("location").unwrap();
    let unsaid = server.part(early, 0, ADD_ONE).await;
    assert_eq!(unsaid.refused_field(), (428, "if-match".to_owned()));
    let absent = "If-None-Match: *\r\n";
    let there = server.write("POST", ARTIFACTS, absent, &document).await;
    assert_eq!(there.refused_field(), (412, "if-none-match".to_owned()));

    let path = format!("{ARTIFACTS}/1/model.onnx");
    let known = if_match(&server.get(&path).await);
    let late = server.write("POST", ARTIFACTS, &known, &document).await;
    assert_eq!(late.status, 201, "{late:?}");
    let fields = format!("{}{known}", digest_field(9));
    let replaced = server.send("PUT", &path, &fields, ADD_TWO.as_bytes()).await;
    assert_eq!(replaced.status, 200, "{replaced:?}");
    let late = late.field("location").unwrap();
    let stale = server.part(late, 0, ADD_ONE).await;
    assert_eq!(stale.refused_field(), (412, "if-match".to_owned()));
    assert_eq!(server.get(&path).await.body, ADD_TWO);
    server.end().await;
}

#[tokio::test]
async fn what_comes_with_a_coding_or_without_a_length_is_refused() {
    let (server, _store) = started().await;
    let document = new_upload(1, ADD_ONE);
    let begun = server.write("POST", ARTIFACTS, "", &document).await;
    let fields = "Upload-Offset: 0\r\nContent-Encoding: gzip\r\n";
    let coded = server
        .send("PATCH", begun.field("location").unwrap(), fields, b"x")
        .await;
    assert_eq!(coded.refused_field(), (415, "content-encoding".to_owned()));
    let mut client = Client::connect(server.address).await;
    let head = format!(
        "PUT {ARTIFACTS}/1/model.onnx HTTP/1.1\r\nHost: localhost\r\n{}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        digest_field(1)
    );
    client.send(head).await;
    let without = client.answer().await;
    assert_eq!(without.refused_field(), (411, "content-length".to_owned()));
    server.end().await;
}

#[tokio::test]
async fn nothing_is_left_of_a_put_whose_client_leaves() {
    let (server, store) = started().await;
    let mut client = crate::http::http2::connect(server.address).await;
    let request = http::Request::put(format!("http://{}{ARTIFACTS}/1/model.onnx", server.address))
        .header("content-length", ADD_ONE.len())
        .header("repr-digest", digest(1))
        .body(())
        .unwrap();
    let (answer, mut body) = client.send_request(request, false).unwrap();
    body.send_data(ADD_ONE[..3].to_owned().into(), false)
        .unwrap();
    wharf_testkit::eventually("it has begun", || store.standing(0) == Some(3)).await;
    body.send_reset(h2::Reason::CANCEL);
    drop(answer);
    wharf_testkit::eventually("it is given up", || store.uploads() == 0).await;
    server.end().await;
}

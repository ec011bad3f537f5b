//! Artifacts and versions: uploaded, downloaded, promoted and rolled back.

mod meanwhile;

use serde_json::{Value, json};
use wharf_testkit::FakeArtifacts;

use super::models::if_match;
use super::setup;
use crate::support::Running;
use crate::support::http::{Answer, Client};

const ADD_ONE: &str = "add 1\nend\n";
const ADD_TWO: &str = "add 2\nend\n";
const ARTIFACTS: &str = "/v1/models/sum/artifacts";

/// A server with a store, and a model `sum` that is registered.
async fn started() -> (Running, FakeArtifacts) {
    let (mut setup, store) = (setup(), FakeArtifacts::default());
    setup.artifacts = Some(store.clone());
    let server = setup.start().await;
    let answer = server
        .write("POST", "/v1/models", "", &json!({"name": "sum"}))
        .await;
    assert_eq!(answer.status, 201, "{answer:?}");
    (server, store)
}

fn new_upload(version: u64, content: &str) -> Value {
    json!({
        "version": version,
        "file": "model.onnx",
        "kind": "weights",
        "size": content.len(),
        "digest": format!("sha256:{version:064x}"),
    })
}

/// A digest that differs with each byte.
fn digest(byte: u8) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode([byte; 32]);
    format!("sha-256=:{text}:")
}

fn digest_field(byte: u8) -> String {
    format!("Repr-Digest: {}\r\n", digest(byte))
}

impl Running {
    async fn part(&self, upload: &str, offset: u64, content: &str) -> Answer {
        let fields =
            format!("Upload-Offset: {offset}\r\nContent-Type: application/partial-upload\r\n");
        self.send("PATCH", upload, &fields, content.as_bytes())
            .await
    }

    /// Waits for an operation, and gives it.
    async fn ended(&self, path: &str) -> Value {
        let answer = self.send("GET", path, "Prefer: wait=30\r\n", b"").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    async fn upload_at_once(&self, version: u8, content: &str) {
        let path = format!("{ARTIFACTS}/{version}/model.onnx");
        let answer = self
            .send("PUT", &path, &digest_field(version), content.as_bytes())
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let operation = answer.json()["operation"].as_str().unwrap().to_owned();
        assert_eq!(self.ended(&operation).await["state"], "succeeded");
    }

    /// What `sum` makes of 0.
    async fn sum(&self) -> String {
        let answer = self.post("/v1/infer/sum", r#"{"input": [[0]]}"#).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    async fn promote(&self, version: u64, document: &Value) -> Value {
        let path = format!("/v1/models/sum/versions/{version}/promote");
        let answer = self
            .write("POST", &path, "Prefer: wait=30\r\n", document)
            .await;
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(answer.field("preference-applied"), Some("wait=30"));
        let operation = answer.json();
        let id = operation["id"].as_str().unwrap();
        assert_eq!(
            answer.field("location"),
            Some(&*format!("/v1/operations/{id}"))
        );
        operation
    }
}

#[tokio::test]
async fn an_upload_in_parts_becomes_a_version_that_serves() {
    let (server, store) = started().await;
    let begun = server
        .write("POST", ARTIFACTS, "", &new_upload(1, ADD_ONE))
        .await;
    assert_eq!(begun.status, 201, "{begun:?}");
    let upload = begun.field("location").unwrap().to_owned();
    assert_eq!(begun.field("upload-offset"), Some("0"));
    let part = server.part(&upload, 0, &ADD_ONE[..4]).await;
    assert_eq!((part.status, part.field("upload-offset")), (204, Some("4")));
    // As a client asks after a broken connection.
    let mut client = Client::connect(server.address).await;
    client
        .send(format!(
            "HEAD {upload} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ))
        .await;
    let head = String::from_utf8(client.closed().await)
        .unwrap()
        .to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 200") && head.contains("upload-offset: 4\r\n"),
        "{head}"
    );
    for offset in [0, 3, 5, 100] {
        let answer = server.part(&upload, offset, "x").await;
        assert_eq!(answer.refused_field(), (409, "upload-offset".to_owned()));
        assert_eq!(answer.field("upload-offset"), Some("4"));
    }
    let whole = server.part(&upload, 4, &ADD_ONE[4..]).await;
    assert_eq!(whole.status, 201, "{whole:?}");
    assert_eq!(
        whole.field("location"),
        Some("/v1/models/sum/artifacts/1/model.onnx")
    );
    let operation = whole.json()["operation"].as_str().unwrap().to_owned();
    let ended = server.ended(&operation).await;
    assert_eq!(
        (&ended["state"], &ended["progress"]),
        (&json!("succeeded"), &json!(1.0))
    );
    assert_eq!(server.sum().await, r#"{"output":[[1.0]]}"#);
    assert_eq!(store.uploads(), 0);
    assert_eq!(
        server.get(&upload).await.refused_field(),
        (404, "upload".to_owned())
    );
    let listed = server.json(ARTIFACTS).await;
    assert_eq!(listed["artifacts"][0]["kind"], "weights");
    assert!(server.json("/v1/operations").await["operations"][0]["state"] == "succeeded");
    // Nothing is left of what was fetched.
    assert!(
        !server.site.path().join(".landing").exists()
            || std::fs::read_dir(server.site.path().join(".landing"))
                .unwrap()
                .count()
                == 0
    );
    server.end().await;
}

#[tokio::test]
async fn what_is_no_upload_is_refused_with_its_field() {
    let (server, store) = started().await;
    let with = |member: &str, value: Value| {
        let mut document = new_upload(1, ADD_ONE);
        document[member] = value;
        document
    };
    for (document, field) in [
        (with("file", json!("../model.onnx")), "file"),
        (with("file", json!("a/b")), "file"),
        (with("file", json!("..")), "file"),
        (with("kind", json!("secret")), "kind"),
        (with("version", json!(0)), "version"),
        (with("digest", json!("sha256:00")), "digest"),
        (with("digest", json!("md5:00")), "digest"),
        (with("surprise", json!(1)), "surprise"),
        (json!({}), "version"),
    ] {
        let answer = server.write("POST", ARTIFACTS, "", &document).await;
        assert_eq!(
            answer.refused_field(),
            (400, field.to_owned()),
            "{document}"
        );
    }
    for (path, field) in [
        ("/v1/models/sum/artifacts/0/model.onnx", "version"),
        ("/v1/models/sum/artifacts/01/model.onnx", "version"),
        ("/v1/models/sum/artifacts/..%2f/model.onnx", "version"),
        ("/v1/models/sum/artifacts/1/..%2fmodel.onnx", "file"),
        ("/v1/models/sum/artifacts/1/%2e%2e", "file"),
        ("/v1/models/..%2fsum/artifacts/1/a", "model"),
    ] {
        let answer = server.send("PUT", path, &digest_field(1), b"x").await;
        assert_eq!(answer.refused_field(), (400, field.to_owned()), "{path}");
    }
    let unknown = server
        .write(
            "POST",
            "/v1/models/none/artifacts",
            "",
            &new_upload(1, ADD_ONE),
        )
        .await;
    assert_eq!(unknown.refused_field(), (404, "model".to_owned()));
    let begun = server
        .write("POST", ARTIFACTS, "", &new_upload(1, ADD_ONE))
        .await;
    let upload = begun.field("location").unwrap().to_owned();
    let answer = server.send("PATCH", &upload, "", b"x").await;
    assert_eq!(answer.refused_field(), (400, "upload-offset".to_owned()));
    let json = "Upload-Offset: 0\r\nContent-Type: application/json\r\n";
    let answer = server.send("PATCH", &upload, json, b"x").await;
    assert_eq!(answer.refused_field(), (415, "content-type".to_owned()));
    let answer = server.part(&upload, 0, &"x".repeat(1000)).await;
    assert_eq!(answer.refused_field(), (400, "body".to_owned()));
    assert_eq!(server.send("DELETE", &upload, "", b"").await.status, 204);
    assert_eq!(store.uploads(), 0);
    server.end().await;
}

#[tokio::test]
async fn a_torn_part_a_wrong_digest_and_a_full_disk_have_their_status() {
    let (server, store) = started().await;
    let begun = server
        .write("POST", ARTIFACTS, "", &new_upload(1, ADD_ONE))
        .await;
    let upload = begun.field("location").unwrap().to_owned();
    let mut client = Client::connect(server.address).await;
    let head = format!(
        "PATCH {upload} HTTP/1.1\r\nHost: localhost\r\nUpload-Offset: 0\r\nContent-Length: 10\r\n\r\nadd"
    );
    client.send(head).await;
    drop(client);
    wharf_testkit::eventually("what came is kept", || store.standing(0) == Some(3)).await;
    assert_eq!(server.get(&upload).await.field("upload-offset"), Some("3"));

    let wrong = server
        .write("POST", ARTIFACTS, "", &new_upload(2, "wrong"))
        .await;
    let upload = wrong.field("location").unwrap().to_owned();
    let answer = server.part(&upload, 0, "wrong").await;
    assert_eq!(answer.refused_field(), (422, "digest".to_owned()));
    let answer = server
        .send(
            "PUT",
            &format!("{ARTIFACTS}/2/model.onnx"),
            &digest_field(2),
            b"wrong",
        )
        .await;
    assert_eq!(answer.refused_field(), (422, "digest".to_owned()));
    let without = server
        .send("PUT", &format!("{ARTIFACTS}/2/model.onnx"), "", b"x")
        .await;
    assert_eq!(without.refused_field(), (400, "repr-digest".to_owned()));

    store.fill();
    let answer = server.part(begun.field("location").unwrap(), 3, "x").await;
    assert_eq!(answer.status, 507, "{answer:?}");
    answer.problem();
    let answer = server
        .write("POST", ARTIFACTS, "", &new_upload(3, "x"))
        .await;
    assert_eq!(answer.status, 507);
    assert!(
        server.json(ARTIFACTS).await["artifacts"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    server.end().await;
}

#[tokio::test]
async fn a_version_that_does_not_load_leaves_the_old_one_serving() {
    let (server, _store) = started().await;
    server.upload_at_once(1, ADD_ONE).await;
    let path = format!("{ARTIFACTS}/2/model.onnx");
    let answer = server
        .send("PUT", &path, &digest_field(2), b"broken\nend\n")
        .await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let operation = server
        .ended(answer.json()["operation"].as_str().unwrap())
        .await;
    assert_eq!(operation["state"], "failed");
    assert_eq!(operation["error"]["status"], 422);
    assert!(
        operation["error"]["detail"]
            .as_str()
            .unwrap()
            .contains("broken"),
        "{operation}"
    );
    assert!(!operation.to_string().contains("models/sum"), "{operation}");
    assert_eq!(server.sum().await, r#"{"output":[[1.0]]}"#);
    assert!(!server.site.path().join("models/sum/2").exists());
    server.end().await;
}

#[tokio::test]
async fn versions_are_promoted_and_rolled_back() {
    let (server, _store) = started().await;
    server.upload_at_once(1, ADD_ONE).await;
    assert_eq!(server.promote(1, &json!({})).await["state"], "succeeded");
    // From now on a version that comes does not serve by itself.
    server.upload_at_once(2, ADD_TWO).await;
    assert_eq!(server.sum().await, r#"{"output":[[1.0]]}"#);
    let canary = server.promote(2, &json!({"label": "canary"})).await;
    assert_eq!(canary["state"], "succeeded", "{canary}");
    assert_eq!(server.sum().await, r#"{"output":[[1.0]]}"#);
    assert_eq!(server.promote(2, &json!({})).await["state"], "succeeded");
    assert_eq!(server.sum().await, r#"{"output":[[2.0]]}"#);
    assert_eq!(server.json("/v1/models/sum").await["history"], json!([1]));
    let back = server
        .write(
            "POST",
            "/v1/models/sum/rollback",
            "Prefer: wait=30\r\n",
            &json!({}),
        )
        .await;
    assert_eq!(back.status, 202, "{back:?}");
    assert_eq!(back.json()["result"], json!({"model": "sum", "version": 1}));
    assert_eq!(server.sum().await, r#"{"output":[[1.0]]}"#);
    let again = server.post("/v1/models/sum/rollback", "").await;
    assert_eq!(again.refused_field(), (409, "model".to_owned()));
    let none = server.promote(9, &json!({})).await;
    assert_eq!(
        (&none["state"], &none["error"]["status"]),
        (&json!("failed"), &json!(404))
    );
    let path = "/v1/models/sum/versions/0/promote";
    assert_eq!(
        server.post(path, "").await.refused_field(),
        (400, "version".to_owned())
    );
    let unknown = server.get("/v1/operations/999").await;
    assert_eq!(unknown.refused_field(), (404, "operation".to_owned()));
    server.end().await;
}

#[tokio::test]
async fn downloads_come_whole_or_in_ranges() {
    let (server, _store) = started().await;
    let path = format!("{ARTIFACTS}/1/classes.txt?kind=labels");
    let content = b"cat\ndog\nbird\n";
    let answer = server.send("PUT", &path, &digest_field(7), content).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(
        answer.json()["operation"],
        Value::Null,
        "labels alone are no version"
    );
    let path = format!("{ARTIFACTS}/1/classes.txt");
    let whole = server.get(&path).await;
    assert_eq!(
        (whole.status, whole.body.as_bytes()),
        (200, content.as_slice())
    );
    let tag = whole.field("etag").unwrap().to_owned();
    for (fields, status, body, range) in [
        (
            "Range: bytes=4-6\r\n".to_owned(),
            206,
            "dog",
            Some("bytes 4-6/13"),
        ),
        (
            "Range: bytes=-5\r\n".to_owned(),
            206,
            "bird\n",
            Some("bytes 8-12/13"),
        ),
        (
            format!("Range: bytes=0-2\r\nIf-Range: {tag}\r\n"),
            206,
            "cat",
            Some("bytes 0-2/13"),
        ),
        (
            "Range: bytes=0-2\r\nIf-Range: \"old\"\r\n".to_owned(),
            200,
            "cat\ndog\nbird\n",
            None,
        ),
        (format!("If-None-Match: {tag}\r\n"), 304, "", None),
    ] {
        let answer = server.send("GET", &path, &fields, b"").await;
        assert_eq!((answer.status, &*answer.body), (status, body), "{fields}");
        assert_eq!(answer.field("content-range"), range, "{fields}");
    }
    let beyond = server.send("GET", &path, "Range: bytes=13-\r\n", b"").await;
    assert_eq!(beyond.refused_field(), (416, "range".to_owned()));
    assert_eq!(beyond.field("content-range"), Some("bytes */13"));
    // What is there is replaced only by who knows it.
    let again = server
        .send(
            "PUT",
            &path,
            &format!("{}Content-Type: text/plain\r\n", digest_field(8)),
            content,
        )
        .await;
    assert_eq!(again.refused_field(), (400, "kind".to_owned()));
    let known = format!("{path}?kind=labels");
    let again = server.send("PUT", &known, &digest_field(8), content).await;
    assert_eq!(again.refused_field(), (428, "if-match".to_owned()));
    let fields = format!("{}{}", digest_field(8), if_match(&whole));
    assert_eq!(
        server.send("PUT", &known, &fields, content).await.status,
        200
    );
    let stale = server.send("DELETE", &path, &if_match(&whole), b"").await;
    assert_eq!(stale.refused_field(), (412, "if-match".to_owned()));
    assert_eq!(server.send("DELETE", &path, "", b"").await.status, 204);
    assert_eq!(
        server.get(&path).await.refused_field(),
        (404, "artifact".to_owned())
    );
    server.end().await;
}

#[tokio::test]
async fn without_a_store_artifacts_are_not_implemented() {
    let server = super::start().await;
    assert_eq!(server.get("/v1/models/echo/artifacts").await.status, 501);
    server.end().await;
}

//! Regions of shared memory.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::start;

/// An object that goes with the test.
struct Object(String);

impl Object {
    fn new(size: usize) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let object = Self(format!("wharf-management-{}-{number}", std::process::id()));
        fs::write(object.path(), vec![0; size]).unwrap();
        object
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/dev/shm").join(&self.0)
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.path());
    }
}

#[tokio::test]
async fn regions_are_registered_listed_and_forgotten() {
    let server = start().await;
    let object = Object::new(64);
    let key = format!("/{}", object.0);
    let body = json!({"key": key, "offset": 16, "byte_size": 32}).to_string();
    let path = "/v2/systemsharedmemory/region/a%20b/register";
    let answer = server.post(path, &body).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, ""),
        "{answer:?}"
    );
    let status = json!([{"name": "a b", "key": key, "offset": 16, "byte_size": 32}]);
    assert_eq!(server.json("/v2/systemsharedmemory/status").await, status);
    assert_eq!(
        server
            .json("/v2/systemsharedmemory/region/a%20b/status")
            .await,
        status
    );
    assert_eq!(server.post(path, &body).await.status, 409);
    let forget = "/v2/systemsharedmemory/region/a%20b/unregister";
    assert_eq!(server.post(forget, "").await.status, 200);
    assert_eq!(server.post(forget, "").await.status, 200);
    assert_eq!(
        server
            .get("/v2/systemsharedmemory/region/a%20b/status")
            .await
            .status,
        404
    );
    assert_eq!(server.post(path, &body).await.status, 200);
    assert_eq!(
        server
            .post("/v2/systemsharedmemory/unregister", "")
            .await
            .status,
        200
    );
    assert_eq!(
        server.json("/v2/systemsharedmemory/status").await,
        json!([])
    );
    server.end().await;
}

#[tokio::test]
async fn what_is_no_region_is_refused_with_the_field() {
    let server = start().await;
    let object = Object::new(64);
    let key = object.0.as_str();
    let long = "x".repeat(256);
    for (name, body, field) in [
        (
            "r",
            json!({"key": "../../etc/passwd", "byte_size": 1}),
            "key",
        ),
        ("r", json!({"key": "/../shm/x", "byte_size": 1}), "key"),
        ("r", json!({"key": "a\u{0}", "byte_size": 1}), "key"),
        (
            "r",
            json!({"key": "wharf-there-is-none", "byte_size": 1}),
            "key",
        ),
        ("r", json!({"key": key, "byte_size": 65}), "byte_size"),
        ("r", json!({"key": key, "byte_size": 0}), "byte_size"),
        (
            "r",
            json!({"key": key, "offset": u64::MAX, "byte_size": 2}),
            "byte_size",
        ),
        ("r", json!({"key": key, "byte_size": -1}), "body"),
        ("r", json!({"key": key}), "byte_size"),
        ("r", json!({"byte_size": 1}), "key"),
        ("r", json!({"key": null, "byte_size": 1}), "key"),
        ("r", json!([key, 0, 1]), "body"),
        ("r", json!({"key": 7, "byte_size": 1}), "body"),
        ("r", json!({"key": key, "byte_size": 1, "x": 1}), "x"),
        ("r", json!([]), "body"),
        (&long, json!({"key": key, "byte_size": 1}), "name"),
        ("a%0ab", json!({"key": key, "byte_size": 1}), "name"),
    ] {
        let path = format!("/v2/systemsharedmemory/region/{name}/register");
        let answer = server.post(&path, body.to_string()).await;
        assert_eq!(
            answer.refused_field(),
            (400, field.to_owned()),
            "{name} {body}"
        );
    }
    assert_eq!(
        server.json("/v2/systemsharedmemory/status").await,
        json!([])
    );
    server.end().await;
}

/// The memory of a GPU cannot be registered, and clients may ask what is.
#[tokio::test]
async fn regions_of_a_gpu_are_none() {
    let server = start().await;
    let status = server.json("/v2/cudasharedmemory/status").await;
    assert_eq!(status, json!([]));
    let answer = server.get("/v2/cudasharedmemory/region/r/status").await;
    assert_eq!(answer.refused_field(), (404, "name".to_owned()));
    for path in ["unregister", "region/r/unregister"] {
        let path = format!("/v2/cudasharedmemory/{path}");
        assert_eq!(server.post(&path, "").await.status, 200, "{path}");
    }
    let path = "/v2/cudasharedmemory/region/r/register";
    assert_eq!(server.post(path, "{}").await.status, 501);
    server.end().await;
}

//! Models: registered, listed, read, replaced, changed and deleted.

use serde_json::{Value, json};

use super::{setup, start};
use crate::support::Running;
use crate::support::http::Answer;

impl Running {
    /// Sends JSON with header lines of the caller's.
    pub(crate) async fn write(
        &self,
        method: &str,
        path: &str,
        fields: &str,
        document: &Value,
    ) -> Answer {
        let body = document.to_string();
        let fields = format!("Content-Type: application/json\r\n{fields}");
        self.send(method, path, &fields, body.as_bytes()).await
    }

    async fn register(&self, document: &Value) -> Answer {
        self.write("POST", "/v1/models", "", document).await
    }

    async fn patch(&self, path: &str, fields: &str, document: &Value) -> Answer {
        let fields = format!("Content-Type: application/merge-patch+json\r\n{fields}");
        let body = document.to_string();
        self.send("PATCH", path, &fields, body.as_bytes()).await
    }

    fn settings(&self, model: &str) -> String {
        let path = self.site.path().join(format!("models/{model}/model.toml"));
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

pub(crate) fn if_match(answer: &Answer) -> String {
    format!("If-Match: {}\r\n", answer.field("etag").unwrap())
}

fn names(document: &Value) -> Vec<&str> {
    let models = document["models"].as_array().unwrap();
    models
        .iter()
        .map(|model| model["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_registered_model_is_in_the_site_and_waits_for_its_version() {
    let server = start().await;
    let document = json!({
        "name": "faces",
        "modalities": ["image"],
        "labels": {"team": "vision"},
        "description": "finds faces",
        "settings": {"batching": {"max_rows": 8}},
    });
    let answer = server.register(&document).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.field("location"), Some("/v1/models/faces"));
    let model = server.json("/v1/models/faces").await;
    assert_eq!(model["state"], "registered");
    assert_eq!(model["settings"], document["settings"]);
    assert_eq!(model["modalities"], json!(["image"]));
    assert_eq!(model["versions"], json!([]));
    let settings = server.settings("faces");
    assert!(
        settings.contains("max_rows = 8") && settings.contains("team = \"vision\""),
        "{settings}"
    );
    // The watcher does not complain of it, and the server stays ready.
    server.serving.reload().await;
    assert!(server.serving.status().errors.is_empty());
    assert_eq!(server.get("/v2/health/ready").await.status, 200);
    assert_eq!(server.post("/v1/infer/faces", "{}").await.status, 404);
    // A client of the protocol sees it without versions.
    let model = server.json("/v2/models/faces").await;
    assert_eq!(
        (&model["versions"], &model["inputs"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(model["state"], "registered");
    // What the folder changes shows here.
    server
        .site
        .model("faces", 1, "input x FP32 * 2\noutput y FP32 * 2");
    server.serving.reload().await;
    let model = server.json("/v1/models/faces").await;
    assert_eq!(
        (&model["state"], &model["version"]),
        (&json!("ready"), &json!(1))
    );
    assert_eq!(
        server.register(&document).await.refused_field(),
        (409, "name".to_owned())
    );
    server.end().await;
}

#[tokio::test]
async fn what_is_no_model_is_refused_with_its_field() {
    let server = start().await;
    for (document, field) in [
        (json!({}), "name"),
        (json!({"name": "../../etc"}), "name"),
        (json!({"name": "a/b"}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": "x".repeat(129)}), "name"),
        (json!({"name": "m", "modalities": ["smell"]}), "modalities"),
        (
            json!({"name": "m", "modalities": ["text", "text"]}),
            "modalities",
        ),
        (json!({"name": "m", "settings": {"a": null}}), "settings.a"),
        (
            json!({"name": "m", "settings": {"registry": {}}}),
            "settings.registry",
        ),
        (
            json!({"name": "m", "settings": {"broken": 1}}),
            "settings.broken",
        ),
        (json!({"name": "m", "labels": {"a": 1}}), "body"),
        (json!({"name": "m", "surprise": 1}), "surprise"),
        (json!([1]), "body"),
    ] {
        let answer = server.register(&document).await;
        assert_eq!(
            answer.refused_field(),
            (400, field.to_owned()),
            "{document}"
        );
    }
    let answer = server
        .send("POST", "/v1/models", "Content-Type: text/plain\r\n", b"x")
        .await;
    assert_eq!(answer.refused_field(), (415, "content-type".to_owned()));
    let large = vec![b' '; 300_000];
    assert_eq!(
        server.post("/v1/models", &large).await.refused_field(),
        (413, "body".to_owned())
    );
    assert!(!server.site.path().join("models/m").exists());
    for path in [
        "/v1/models/..%2f..%2fetc",
        "/v1/models/%2e%2e",
        "/v1/models/a%00b",
        "/v2/models/..%2fx",
    ] {
        for method in ["PUT", "PATCH", "DELETE"] {
            let answer = server.send(method, path, "", b"{}").await;
            assert_eq!(
                answer.refused_field(),
                (400, "model".to_owned()),
                "{method} {path}"
            );
        }
    }
    server.end().await;
}

#[tokio::test]
async fn lists_have_pages_and_filters() {
    let server = start().await;
    for (name, modality, team) in [
        ("a-one", "image", "x"),
        ("a-two", "text", "x"),
        ("b-one", "image", "y"),
    ] {
        let document = json!({"name": name, "modalities": [modality], "labels": {"team": team}});
        assert_eq!(server.register(&document).await.status, 201);
    }
    let all = ["a-one", "a-two", "b-one", "echo", "labelled"];
    assert_eq!(names(&server.json("/v1/models").await), all);
    assert_eq!(names(&server.json("/v2/models").await), all);
    for (query, found) in [
        ("modality=image", ["a-one", "b-one"].as_slice()),
        ("label=team", &["a-one", "a-two", "b-one"]),
        ("label=team:x", &["a-one", "a-two"]),
        ("label=team%3Dy", &["b-one"]),
        ("name=a-&state=registered&modality=text", &["a-two"]),
        ("state=ready", &["echo", "labelled"]),
        ("name=none", &[]),
    ] {
        let found_there = server.json(&format!("/v1/models?{query}")).await;
        assert_eq!(names(&found_there), found, "{query}");
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.json(&format!("/v2/models?limit=2{cursor}")).await;
        assert!(names(&page).len() <= 2);
        seen.extend(names(&page).into_iter().map(str::to_owned));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, all);
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("cursor=../..", "cursor"),
        ("cursor=YQ", "cursor"),
        ("modality=smell", "modality"),
        ("state=fine", "state"),
        ("sort=name", "sort"),
    ] {
        let answer = server.get(&format!("/v1/models?{query}")).await;
        assert_eq!(answer.refused_field(), (400, field.to_owned()), "{query}");
    }
    // What clients of the list always read.
    let echo = server.json("/v1/models?name=echo").await["models"][0].clone();
    assert_eq!(
        (&echo["version"], &echo["platform"], &echo["device"]),
        (&json!(1), &json!("fake"), &json!("cpu"))
    );
    assert_eq!(echo["inputs"][0]["shape"], json!([-1, 2]));
    server.end().await;
}

#[tokio::test]
async fn of_two_changes_the_later_one_learns_of_the_earlier() {
    let server = start().await;
    let path = "/v1/models/echo";
    let read = server.get(path).await;
    let document = json!({"description": "first", "settings": {"cache": {"enabled": true}}});
    // Without saying what is to be replaced, nothing is.
    let answer = server.write("PUT", path, "", &document).await;
    assert_eq!(answer.refused_field(), (428, "if-match".to_owned()));
    let first = server.write("PUT", path, &if_match(&read), &document).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.json()["description"], "first");
    let second = server
        .write(
            "PUT",
            path,
            &if_match(&read),
            &json!({"description": "second"}),
        )
        .await;
    assert_eq!(second.refused_field(), (412, "if-match".to_owned()));
    let patched = server
        .patch(path, &if_match(&read), &json!({"description": "third"}))
        .await;
    assert_eq!(patched.refused_field(), (412, "if-match".to_owned()));
    let removed = server.send("DELETE", path, &if_match(&read), b"").await;
    assert_eq!(removed.refused_field(), (412, "if-match".to_owned()));
    assert_eq!(server.json(path).await["description"], "first");
    // A patch changes what it names, and takes out what is null.
    let patch = json!({"labels": {"team": "x"}, "settings": {"cache": null}});
    let patched = server.patch(path, "", &patch).await;
    assert_eq!(patched.status, 200, "{patched:?}");
    let model = patched.json();
    assert_eq!(
        (&model["description"], &model["settings"]),
        (&json!("first"), &json!({}))
    );
    assert_eq!(model["labels"], json!({"team": "x"}));
    // One that must be new is not laid over what is there.
    let answer = server
        .write("PUT", path, "If-None-Match: *\r\n", &document)
        .await;
    assert_eq!(answer.refused_field(), (412, "if-none-match".to_owned()));
    let made = server
        .write("PUT", "/v1/models/fresh", "If-None-Match: *\r\n", &document)
        .await;
    assert_eq!(
        (made.status, made.field("location")),
        (201, Some("/v1/models/fresh"))
    );
    for fields in [
        "If-Match: abc\r\n",
        "If-None-Match: \"a\"\r\n",
        "If-Match: *\r\nIf-None-Match: *\r\n",
    ] {
        let answer = server.write("PUT", path, fields, &document).await;
        assert_eq!(answer.status, 400, "{fields}");
    }
    let answer = server.write("PATCH", path, "", &document).await;
    assert_eq!(answer.refused_field(), (415, "content-type".to_owned()));
    let renamed = server.patch(path, "", &json!({"name": "other"})).await;
    assert_eq!(renamed.refused_field(), (400, "name".to_owned()));
    server.end().await;
}

#[tokio::test]
async fn a_model_that_would_not_load_changes_nothing() {
    let server = start().await;
    let before = server.settings("echo");
    let answer = server
        .patch(
            "/v1/models/echo",
            "",
            &json!({"settings": {"broken": true}}),
        )
        .await;
    assert_eq!(answer.refused_field(), (400, "settings.broken".to_owned()));
    assert_eq!(server.settings("echo"), before);
    server.end().await;
}

#[tokio::test]
async fn a_deleted_model_is_gone_and_a_needed_one_stays() {
    let server = start().await;
    let answer = server.send("DELETE", "/v1/models/echo", "", b"").await;
    assert_eq!(answer.refused_field(), (409, "model".to_owned()));
    assert!(answer.body.contains("picture"), "{answer:?}");
    let answer = server.send("DELETE", "/v1/models/labelled", "", b"").await;
    assert_eq!((answer.status, &*answer.body), (204, ""));
    assert!(!server.site.path().join("models/labelled").exists());
    for path in ["/v1/models/labelled", "/v2/models/labelled"] {
        assert_eq!(server.get(path).await.status, 404);
    }
    let answer = server.send("DELETE", "/v1/models/labelled", "", b"").await;
    assert_eq!(answer.refused_field(), (404, "model".to_owned()));
    server.end().await;
}

#[tokio::test]
async fn the_version_of_documents_is_chosen_by_path_or_by_what_is_accepted() {
    let server = start().await;
    let accept = async |path: &str, version: &str| {
        let fields = format!("Accept: application/vnd.wharf.{version}+json\r\n");
        server.send("GET", path, &fields, b"").await
    };
    // Version 2 is what clients of the protocol read, and more.
    let two = server.json("/v2/models/echo").await;
    assert_eq!(
        (&two["versions"], &two["platform"]),
        (&json!(["1"]), &json!("fake"))
    );
    assert_eq!(
        (&two["inputs"][0]["datatype"], &two["state"]),
        (&json!("FP32"), &json!("ready"))
    );
    assert_eq!(accept("/v1/models/echo", "v2").await.json(), two);
    let one = server.json("/v1/models/echo").await;
    assert_eq!(
        (&one["version"], &one["versions"][0]["state"]),
        (&json!(1), &json!("ready"))
    );
    assert_eq!(accept("/v2/models/echo", "v1").await.json(), one);
    // Who names a media type is answered with it.
    let answer = accept("/v2/models/echo", "v1").await;
    let media_type = answer.field("content-type");
    assert_eq!(media_type, Some("application/vnd.wharf.v1+json"));
    assert!(
        answer
            .field("vary")
            .is_some_and(|vary| vary.starts_with("accept"))
    );
    let answer = server.get("/v2/models/echo").await;
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert!(accept("/v1/models", "v2").await.json()["models"][0]["platform"].is_string());
    for path in [
        "/v1/models",
        "/v2/models",
        "/v1/models/echo",
        "/v2/models/echo",
    ] {
        assert_eq!(
            accept(path, "v9").await.refused_field(),
            (406, "accept".to_owned()),
            "{path}"
        );
    }
    assert_eq!(server.get("/v3/models").await.status, 404);
    server.end().await;
}

#[tokio::test]
async fn a_request_with_a_key_is_done_once() {
    let server = start().await;
    let key = "Idempotency-Key: \"8e03978e-40d5-43dd-bc93-6894a57f9324\"\r\n";
    let document = json!({"name": "once"});
    let first = server.write("POST", "/v1/models", key, &document).await;
    assert_eq!(
        (first.status, first.field("idempotency-replayed")),
        (201, None)
    );
    let again = server.write("POST", "/v1/models", key, &document).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(again.field("idempotency-replayed"), Some("true"));
    assert_eq!(again.field("location"), Some("/v1/models/once"));
    let other = server
        .write("POST", "/v1/models", key, &json!({"name": "twice"}))
        .await;
    assert_eq!(other.refused_field(), (422, "idempotency-key".to_owned()));
    for key in ["", "\"\"", "a\"b", "\"a", "a b"] {
        let key = format!("Idempotency-Key: {key}\r\n");
        let answer = server.write("POST", "/v1/models", &key, &document).await;
        assert_eq!(
            answer.refused_field(),
            (400, "idempotency-key".to_owned()),
            "{key}"
        );
    }
    server.end().await;
}

#[tokio::test]
async fn without_management_models_are_read_and_not_changed() {
    let mut setup = setup();
    setup.config.management = Some(false);
    let server = setup.start().await;
    server.json("/v1/models").await;
    server.json("/v1/models/echo").await;
    for (method, path) in [
        ("POST", "/v1/models"),
        ("PUT", "/v1/models/echo"),
        ("PATCH", "/v2/models/echo"),
        ("DELETE", "/v1/models/echo"),
        ("POST", "/v1/models/echo/artifacts"),
        ("PUT", "/v1/models/echo/artifacts/1/model.onnx"),
        ("POST", "/v1/models/echo/versions/1/promote"),
        ("POST", "/v1/models/echo/rollback"),
        ("PUT", "/v1/plugins/bytes"),
        ("DELETE", "/v1/plugins/bytes"),
        ("PUT", "/v1/plugins/bytes/settings"),
        ("PUT", "/v1/routes/picture"),
        ("DELETE", "/v1/routes/picture"),
    ] {
        let answer = server.send(method, path, "", b"{}").await;
        assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
        answer.problem();
    }
    server.end().await;
    // A page of another site may not either, although its browser can reach the server.
    let server = start().await;
    let origin = "Origin: https://evil.example\r\n";
    for method in ["PUT", "PATCH", "DELETE"] {
        let answer = server.send(method, "/v1/models/echo", origin, b"{}").await;
        assert_eq!(
            answer.refused_field(),
            (403, "origin".to_owned()),
            "{method}"
        );
    }
    server.end().await;
}

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use wharf_serving::Serving;
use wharf_testkit::{FakeEngine, FakePluginHost, Site};

use super::*;
use crate::app::AppHandle;
use crate::endpoint::INFER;
use crate::{admin as admin_listener, catalog};

const SURFACES: [Surface; 2] = [Surface::Public, Surface::Admin];

/// Every operation: its path, its method in capitals, and what is said of it.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let item = item.as_object().unwrap().clone();
        let path = path.clone();
        item.into_iter()
            .map(move |(method, operation)| (path.clone(), method.to_uppercase(), operation))
    };
    paths.iter().flat_map(of).collect()
}

fn serving(site: &Site) -> Serving {
    Serving::start(
        wharf_serving::Config::default(),
        site.path().to_owned(),
        Arc::new(FakeEngine::default()),
        Arc::new(FakePluginHost::default()),
        &SdkMeterProvider::default().meter("test"),
    )
    .unwrap()
}

/// The paths that a router has, as its debug form tells them.
fn routed(router: &axum::Router) -> BTreeSet<String> {
    let form = format!("{router:?}");
    // What answers every other path has paths of its own.
    let (form, _) = form.split_once("fallback_router").unwrap();
    let quoted = form.split('"').skip(1).step_by(2);
    quoted
        .filter(|path| path.starts_with('/'))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn every_path_and_method_is_described_and_no_other() {
    let site = Site::new();
    let serving = serving(&site);
    let public = catalog::router(serving.clone(), &AppHandle(Weak::new()));
    let admin = admin_listener::router(
        serving.clone(),
        Arc::new(String::new),
        crate::Config::default().admin_audience(),
    );
    let inference = INFER.map(|endpoint| endpoint.template.to_owned());
    for (surface, router, least) in [(Surface::Public, public, 30), (Surface::Admin, admin, 6)] {
        let mut paths = routed(&router);
        assert!(paths.len() >= least, "{paths:?}");
        if surface == Surface::Public {
            paths.extend(inference.clone());
        }
        // It is for people, and has no API.
        paths.retain(|path| !path.starts_with("/docs"));
        let mut there = BTreeSet::new();
        for path in paths {
            let (endpoint, _) = surface.find(&path);
            assert_eq!(endpoint.template, path, "metrics know the path");
            for method in endpoint
                .allow
                .split(", ")
                .filter(|method| *method != "HEAD")
            {
                there.insert((path.clone(), method.to_owned()));
            }
        }
        let told: BTreeSet<_> = operations(&document(surface))
            .into_iter()
            .map(|(path, method, _)| (path, method))
            .collect();
        assert_eq!(told, there, "{}", surface.name());
    }
    serving.shutdown().await;
}

#[test]
fn what_is_referred_to_is_there() {
    for surface in SURFACES {
        let document = document(surface);
        let mut missing = Vec::new();
        references(&document, &mut |place| {
            if document.pointer(place.trim_start_matches('#')).is_none() {
                missing.push(place.to_owned());
            }
        });
        assert!(missing.is_empty(), "{missing:?}");
    }
}

fn references(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(place)) = members.get("$ref") {
                found(place);
            }
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_operation_says_what_it_is_and_has_examples() {
    for surface in SURFACES {
        let mut ids = BTreeSet::new();
        for (path, method, operation) in operations(&document(surface)) {
            let at = format!("{method} {path}");
            assert!(operation["summary"].is_string(), "{at}");
            assert!(operation["tags"][0].is_string(), "{at}");
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(ids.insert(id), "{at} has the id of another");
            assert!(operation.get(operation::REFUSES).is_none(), "{at}");
            let json = |content: &Value| content.get("application/json").cloned();
            let mut content = vec![operation.pointer("/requestBody/content").and_then(json)];
            let responses = operation["responses"].as_object().unwrap();
            for (status, response) in responses {
                assert!(
                    response["description"].is_string() || response["$ref"].is_string(),
                    "{at}"
                );
                if status == "200" {
                    content.push(response.get("content").and_then(json));
                }
            }
            for content in content.into_iter().flatten() {
                assert!(!content["example"].is_null(), "{at} has no example");
            }
            for status in ["400", "500", "503"] {
                assert!(responses.contains_key(status), "{at} has no {status}");
            }
            let is_open = surface.find(&path).0.is_open();
            assert_eq!(operation["security"] == json!([]), is_open, "{at}");
            for status in ["401", "403", "429"] {
                assert_eq!(responses.contains_key(status), !is_open, "{at}: {status}");
            }
        }
    }
}

#[test]
fn every_status_has_the_document_that_the_server_writes() {
    let document = document(Surface::Public);
    let responses = document["components"]["responses"].as_object().unwrap();
    assert!(responses.len() >= 20);
    for (name, response) in responses {
        let example = &response["content"]["application/problem+json"]["example"];
        let kind = example["type"].as_str().unwrap();
        assert!(kind.starts_with("urn:wharf:problem:"), "{name}: {kind}");
        assert!(example["request_id"].is_string(), "{name}");
        assert!(!example["detail"].as_str().unwrap().contains("hidden"));
    }
    let schema = &document["components"]["schemas"]["Problem"];
    assert_eq!(
        schema["required"],
        json!(["type", "title", "status", "detail", "request_id", "error"])
    );
}

/// What the handlers of management give and ask for beside their documents.
#[test]
fn the_fields_and_statuses_of_management_are_told() {
    let document = document(Surface::Public);
    let of = |method: &str, path: &str| {
        let operation = document["paths"][path][method].clone();
        assert!(operation.is_object(), "{method} {path}");
        operation
    };
    let answers = |operation: &Value, status: &str| {
        let response = &operation["responses"][status];
        assert!(response.is_object(), "{status}: {operation:#}");
        response["headers"].as_object().cloned().unwrap_or_default()
    };
    for version in ["/v1/models", "/v2/models"] {
        let model = format!("{version}/{{model}}");
        let registered = of("post", version);
        assert!(answers(&registered, "201").contains_key("Location"));
        for (method, status) in [
            ("put", "428"),
            ("put", "412"),
            ("patch", "406"),
            ("delete", "204"),
        ] {
            answers(&of(method, &model), status);
        }
        assert!(answers(&of("get", &model), "200").contains_key("ETag"));
        let content = &of("get", version)["responses"]["200"]["content"];
        for media_type in [
            "application/json",
            "application/vnd.wharf.v1+json",
            "application/vnd.wharf.v2+json",
        ] {
            assert!(
                content[media_type]["example"].is_object(),
                "{version} {media_type}"
            );
        }
    }
    let file = "/v1/models/{model}/artifacts/{version}/{file}";
    let download = of("get", file);
    assert!(answers(&download, "206").contains_key("Content-Range"));
    answers(&download, "304");
    answers(&download, "416");
    answers(&of("put", file), "507");
    let append = of("patch", "/v1/models/{model}/artifacts/uploads/{upload}");
    assert!(answers(&append, "204").contains_key("Upload-Offset"));
    let told = append["parameters"].as_array().unwrap();
    assert!(
        told.iter()
            .any(|one| one["name"] == "Upload-Offset" && one["required"] == true)
    );
    let posts = operations(&document);
    let posts = posts
        .iter()
        .filter(|(_, method, operation)| method == "POST" && operation["tags"][0] == "management");
    let mut count = 0;
    for (path, _, operation) in posts {
        count += 1;
        let told = operation["parameters"].as_array().unwrap();
        assert!(
            told.iter().any(|one| one["name"] == "Idempotency-Key"),
            "{path}"
        );
    }
    assert_eq!(count, 5);
}

#[tokio::test]
async fn a_site_has_a_path_for_each_of_its_routes() {
    let site = Site::new();
    site.model("iris", 1, "input x FP32 * 4\noutput y FP32 * 3");
    site.model(
        "two",
        1,
        "input a INT8 * 2\ninput b BOOL 3 optional\noutput c BYTES *",
    );
    site.route("a-b", "model = \"iris\"\n");
    site.route("a_b", "model = \"iris\"\n");
    let serving = serving(&site);
    serving.loaded().await;
    let document: Value = serde_json::from_str(&of_site(&serving.snapshot())).unwrap();
    let schema = |name: &str, place: &str| {
        let operation = &document["paths"][format!("/v1/infer/{name}")]["post"];
        let schema = operation.pointer(place).unwrap_or(&Value::Null);
        assert!(!schema.is_null(), "{operation:#}");
        schema.clone()
    };
    const TAKES: &str = "/requestBody/content/application~1json/schema";
    let row = schema("iris", &format!("{TAKES}/properties/input/anyOf/0"));
    assert_eq!((&row["minItems"], &row["maxItems"]), (&json!(4), &json!(4)));
    let given = schema("iris", "/responses/200/content/application~1json/schema");
    assert_eq!(given["properties"]["output"]["anyOf"][0]["maxItems"], 3);
    let named = schema("two", &format!("{TAKES}/properties/input"));
    assert_eq!(named["required"], json!(["a"]));
    assert_eq!(named["properties"]["b"]["items"]["type"], "boolean");
    assert_eq!(
        schema("two", "/responses/400/$ref"),
        "#/components/responses/InvalidArgument"
    );
    assert_ne!(schema("a-b", "/operationId"), schema("a_b", "/operationId"));
    assert!(document["paths"]["/v1/infer/{route}"].is_object());
    serving.shutdown().await;
}

//! Inference in the Open Inference Protocol, with binary tensor data.

use serde_json::{Value, json};

use super::{config, start};
use crate::support::Running;
use crate::support::http::{Answer, Client, infer};

/// Posts a document and the binary data after it.
async fn post(server: &Running, path: &str, document: &Value, blobs: &[u8]) -> Answer<Vec<u8>> {
    let mut body = document.to_string().into_bytes();
    let fields = format!("Inference-Header-Content-Length: {}\r\n", body.len());
    body.extend_from_slice(blobs);
    infer(server.address, path, &fields, body).await
}

fn floats(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn input(rows: usize) -> Value {
    let parameters = json!({"binary_data_size": rows * 8});
    json!({"name": "x", "shape": [rows, 2], "datatype": "FP32", "parameters": parameters})
}

#[tokio::test]
async fn tensors_go_both_ways() {
    let server = start(config()).await;
    // Small, and larger than what is copied behind the document.
    for rows in [1, 20_000] {
        let blobs = floats(&vec![-1.5; rows * 2]);
        let document = json!({"inputs": [input(rows)], "parameters": {"binary_data_output": true}});
        let answer = post(&server, "echo/infer", &document, &blobs).await;
        assert_eq!(answer.status, 200);
        let media_type = answer.field("content-type");
        assert_eq!(media_type, Some("application/octet-stream"));
        let (document, answered) = answer.split();
        let output = json!({"name": "x_out", "datatype": "FP32", "shape": [rows, 2],
            "parameters": {"binary_data_size": rows * 8}});
        assert_eq!(document["outputs"], json!([output]));
        assert_eq!(answered, blobs);
    }
    server.is_well().await;
}

#[tokio::test]
async fn each_output_has_the_last_word() {
    let server = start(config()).await;
    let inputs = json!([
        {"name": "a", "shape": [2], "datatype": "INT64", "data": [1, 2]},
        {"name": "b", "shape": [3], "datatype": "BOOL", "parameters": {"binary_data_size": 3}},
    ]);
    let output = |name: &str, binary: Option<bool>| match binary {
        Some(binary) => json!({"name": name, "parameters": {"binary_data": binary}}),
        None => json!({"name": name}),
    };
    for (whole, a, b, is_binary) in [
        (false, None, None, [false, false]),
        (true, None, None, [true, true]),
        (true, Some(false), None, [false, true]),
        (false, Some(true), Some(true), [true, true]),
        (false, None, Some(true), [false, true]),
    ] {
        let document = json!({
            "inputs": inputs, "parameters": {"binary_data_output": whole},
            "outputs": [output("b_out", b), output("a_out", a)],
        });
        let answer = post(&server, "pair/infer", &document, &[1, 0, 1]).await;
        let (document, blobs) = answer.split();
        let mut expected = Vec::new();
        // In the order in which they were asked for.
        if is_binary[1] {
            expected.extend_from_slice(&[1, 0, 1]);
            assert_eq!(document["outputs"][0].get("data"), None);
        } else {
            assert_eq!(document["outputs"][0]["data"], json!([true, false, true]));
        }
        if is_binary[0] {
            expected.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        } else {
            assert_eq!(document["outputs"][1]["data"], json!([1, 2]));
        }
        assert_eq!(blobs, expected);
    }
}

#[tokio::test]
async fn a_raw_request_is_its_only_input() {
    let server = start(config()).await;
    let raw = "Inference-Header-Content-Length: 0\r\n";
    let blobs = floats(&[0.5, 7.0]);
    let answer = infer(server.address, "echo/infer", raw, &blobs).await;
    let (document, answered) = answer.split();
    assert_eq!(document["outputs"][0]["shape"], json!([1, 2]));
    assert_eq!(answered, blobs);
    let answer = infer(server.address, "words/infer", raw, "\u{fffd}abc").await;
    let (document, answered) = answer.split();
    assert_eq!(document["outputs"][0]["shape"], json!([1]));
    assert_eq!(&answered[4..], "\u{fffd}abc".as_bytes());
    for (path, body, field) in [
        ("echo/infer", &blobs[..7], "inputs.x"),
        ("echo/infer", &blobs[..4], "inputs.x"),
        ("pair/infer", &blobs[..], "inference-header-content-length"),
    ] {
        let answer = infer(server.address, path, raw, body).await;
        assert_eq!(answer.refused_field(), (400, field.to_owned()));
    }
}

#[tokio::test]
async fn text_that_is_none_needs_binary_data() {
    let server = start(config()).await;
    let parameters = json!({"binary_data_size": 6});
    let input = json!({"name": "w", "shape": [1], "datatype": "BYTES", "parameters": parameters});
    let blobs = [2, 0, 0, 0, 0xff, 0xfe];
    let mut document = json!({"inputs": [input]});
    let answer = post(&server, "words/infer", &document, &blobs).await;
    assert_eq!(answer.refused_field(), (422, "outputs.w".to_owned()));
    document["outputs"] = json!([{"name": "w", "parameters": {"binary_data": true}}]);
    let answer = post(&server, "words/infer", &document, &blobs).await;
    assert_eq!(answer.split().1, blobs);
}

#[tokio::test]
async fn what_does_not_add_up_is_refused() {
    let server = start(config()).await;
    let document = json!({"inputs": [input(1)]});
    let length = document.to_string().len();
    let size = "inputs.x.parameters.binary_data_size";
    for (announced, sent, field) in [
        (length, 8, ""),
        (length, 7, size),
        (length, 9, "body"),
        (length - 1, 9, "body"),
        (length + 1, 8, size),
        (length + 9, 8, "inference-header-content-length"),
        (usize::MAX, 8, "inference-header-content-length"),
    ] {
        let mut body = document.to_string().into_bytes();
        body.extend_from_slice(&floats(&[1.0, 2.0, 3.0])[..sent]);
        let fields = format!("Inference-Header-Content-Length: {announced}\r\n");
        let answer = infer(server.address, "echo/infer", &fields, body).await;
        let status = if field.is_empty() { 200 } else { 400 };
        assert_eq!(
            answer.refused_field(),
            (status, field.to_owned()),
            "{announced} {sent}"
        );
    }
    for value in ["-1", "x", "1, 2"] {
        let fields = format!("Inference-Header-Content-Length: {value}\r\n");
        let answer = infer(server.address, "echo/infer", &fields, "{}").await;
        let field = "inference-header-content-length".to_owned();
        assert_eq!(answer.refused_field(), (400, field), "{value}");
    }
    server.is_well().await;
}

/// An object of shared memory, which goes with the test.
struct Object(std::path::PathBuf);

impl Object {
    fn new(content: &[u8]) -> Self {
        let name = format!("wharf-test-{}-oip", std::process::id());
        let path = std::path::Path::new("/dev/shm").join(name);
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn key(&self) -> String {
        let name = self.0.file_name().unwrap().to_str().unwrap();
        format!("/{name}")
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn tensors_are_read_from_and_written_to_shared_memory() {
    let server = start(config()).await;
    let mut content = floats(&[1.0, 2.0]);
    content.resize(16, 0);
    let object = Object::new(&content);
    let register = json!({"key": object.key(), "offset": 0, "byte_size": 16}).to_string();
    let length = register.len();
    let mut client = Client::connect(server.address).await;
    client
        .send(format!(
            "POST /v2/systemsharedmemory/region/r/register HTTP/1.1\r\nHost: localhost\r\n\
             Content-Length: {length}\r\n\r\n{register}"
        ))
        .await;
    assert_eq!(client.answer().await.status, 200);

    let region = |offset: u64, size: u64| {
        json!({"shared_memory_region": "r", "shared_memory_offset": offset,
            "shared_memory_byte_size": size})
    };
    let document = |from: Value, to: Value| {
        json!({
            "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": from}],
            "outputs": [{"name": "x_out", "parameters": to}],
        })
    };
    let asking = document(region(0, 8), region(8, 8)).to_string();
    let answer = infer(server.address, "echo/infer", "", asking).await;
    let output = &answer.json()["outputs"][0];
    assert_eq!(output["parameters"], region(8, 8));
    assert_eq!(output.get("data"), None);
    let written = std::fs::read(&object.0).unwrap();
    assert_eq!(written[8..], written[..8]);
    for (from, to, field) in [
        (region(0, 4), region(8, 8), "inputs.x"),
        (region(16, 8), region(8, 8), "inputs.x"),
        (region(u64::MAX, 8), region(8, 8), "inputs.x"),
        (region(0, 8), region(8, 4), "outputs.x_out"),
        (region(0, 8), region(12, 8), "outputs.x_out"),
    ] {
        let asking = document(from, to).to_string();
        let answer = infer(server.address, "echo/infer", "", asking).await;
        assert_eq!(answer.refused_field(), (400, field.to_owned()));
    }
    server.is_well().await;
}
